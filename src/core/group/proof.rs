//! Which links lead to members: both ends prove that they know the key of the group before either reads an ELECT or an
//! AGREE with fields there.
//!
//! ```text
//!   dialled link:   unproved ── challenge() ──> Challenged ── counter() ──> Proved
//!   accepted link:  unproved ── challenged() ──> Countered ── response() ──> Proved
//! ```
//!
//! A proof is for one connection; it ends with it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::secret::{Claim, End, Entropy};
use crate::core::{LinkId, Membership};
use crate::time::Time;
use crate::wire::{GroupId, Proof, RaftId, Refuses, ServerId};

/// A challenge that is not answered, or was refused, is said again after this: the other may have joined meanwhile.
const AGAIN: Duration = Duration::from_millis(500);

/// Accepted links on which a proof is under way or done, at most: each is a connection that a stranger can open.
const MAX_ACCEPTED: usize = 1024;

/// Who is at the other end of a link, as it has proved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Party {
    pub(super) raft_id: RaftId,
    pub(super) server_id: ServerId,
    /// Its process.
    pub(super) run: String,
}

impl Party {
    /// As it stands in a claim. No id holds a zero byte.
    fn text(&self) -> String {
        format!("{}/{}/{}", self.server_id, self.raft_id, self.run)
    }
}

/// Who this node is, for its proofs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Me<'a> {
    pub(super) own: &'a Membership,
    pub(super) server_id: &'a ServerId,
    /// Drawn when this process started.
    pub(super) run: &'a str,
}

impl Me<'_> {
    fn party(&self) -> Party {
        Party { raft_id: self.own.raft_id, server_id: self.server_id.clone(), run: self.run.to_owned() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Challenged { asked: String, again: Time },
    Countered { party: Party, asked: String, countered: String, at: Time, refuses: Option<Refuses> },
    Proved(Party),
}

/// The links of a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Proofs {
    links: BTreeMap<LinkId, State>,
    accepted: usize,
}

/// Why a proof failed. The link stays; nothing of the group is read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It names another group.
    OtherGroup(GroupId),
    /// It names a group of ours and does not know its key, or nothing was asked of it.
    Wrong,
    /// Too many others prove themselves at the moment.
    Busy,
    /// It has the key, and its id is at two addresses.
    Twins,
}

/// What the answer to a challenge came to. It has proved the key, whatever it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Countered {
    /// The link leads to a member from now on, once it has heard this.
    Member(Proof),
    /// It says that this node's number belongs to nobody any more.
    Gone,
    /// It says that this node's id is at two addresses. It wants to hear this, to know that this one lives.
    Twins(Proof),
}

/// Who has proved itself on an accepted link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Responded {
    pub(super) party: Party,
    /// When its challenge was drawn: it lived then, or later.
    pub(super) drawn: Time,
    /// It was refused: it is not believed on this link.
    pub(super) refused: bool,
}

impl Proofs {
    pub(super) fn new() -> Proofs {
        Proofs { links: BTreeMap::new(), accepted: 0 }
    }

    /// What is to be said on a dialled link to a member, if anything is now.
    pub(super) fn challenge(&mut self, link: LinkId, me: Me<'_>, entropy: &mut Entropy, now: Time) -> Option<Proof> {
        match self.links.get(&link) {
            Some(State::Challenged { again, .. }) if *again <= now => {}
            Some(_) => return None,
            None => {}
        }
        let challenge = entropy.challenge();
        self.links.insert(link, State::Challenged { asked: challenge.clone(), again: now + AGAIN });
        let (group_id, Party { raft_id, server_id, run }) = (me.own.group_id.clone(), me.party());
        Some(Proof::Challenge { group_id, raft_id, server_id, run, challenge })
    }

    /// Somebody asks for a proof on an accepted link: what is answered. With `refuses` it is told that it is not believed, and why.
    pub(super) fn challenged(
        &mut self,
        link: LinkId,
        proof: &Proof,
        refuses: Option<Refuses>,
        me: Me<'_>,
        entropy: &mut Entropy,
        now: Time,
    ) -> Result<Proof, Failed> {
        let Proof::Challenge { group_id, raft_id, server_id, run, challenge } = proof else {
            return Err(Failed::Wrong);
        };
        if *group_id != me.own.group_id {
            return Err(Failed::OtherGroup(group_id.clone()));
        }
        if link.is_outbound() {
            return Err(Failed::Wrong);
        }
        if !self.links.contains_key(&link) {
            if self.accepted >= MAX_ACCEPTED {
                return Err(Failed::Busy);
            }
            self.accepted += 1;
        }
        let dialler = Party { raft_id: *raft_id, server_id: server_id.clone(), run: run.clone() };
        let countered = entropy.challenge();
        let accepter = me.party();
        let claim = Claim {
            end: End::Accepter { refuses },
            group_id: me.own.group_id.as_str(),
            dialler: &dialler.text(),
            accepter: &accepter.text(),
            asked: challenge,
            countered: &countered,
        };
        let proof = claim.prove(&me.own.key);
        let Party { raft_id, server_id, run } = accepter;
        let (group_id, challenge) = (me.own.group_id.clone(), countered.clone());
        let asked = claim.asked.to_owned();
        self.links.insert(link, State::Countered { party: dialler, asked, countered, at: now, refuses });
        Ok(Proof::Counter { group_id, raft_id, server_id, run, challenge, proof, refuses })
    }

    /// The other end of a dialled link has answered. Unless it refuses, the link leads to a member from now on.
    pub(super) fn countered(&mut self, link: LinkId, proof: &Proof, me: Me<'_>) -> Result<Countered, Failed> {
        let Proof::Counter { group_id, raft_id, server_id, run, challenge, proof, refuses } = proof else {
            return Err(Failed::Wrong);
        };
        let Some(State::Challenged { asked, .. }) = self.links.get(&link) else { return Err(Failed::Wrong) };
        if *group_id != me.own.group_id {
            return Err(Failed::OtherGroup(group_id.clone()));
        }
        let party = Party { raft_id: *raft_id, server_id: server_id.clone(), run: run.clone() };
        let claim = Claim {
            end: End::Accepter { refuses: *refuses },
            group_id: me.own.group_id.as_str(),
            dialler: &me.party().text(),
            accepter: &party.text(),
            asked,
            countered: challenge,
        };
        if !claim.holds(&me.own.key, proof) {
            return Err(Failed::Wrong);
        }
        let response = Proof::Response { proof: Claim { end: End::Dialler, ..claim }.prove(&me.own.key) };
        // Who was refused asks again at its time: its link stays as it is.
        Ok(match refuses {
            None => {
                self.links.insert(link, State::Proved(party));
                Countered::Member(response)
            }
            Some(Refuses::Gone) => Countered::Gone,
            Some(Refuses::Twins) => Countered::Twins(response),
        })
    }

    /// The other end of an accepted link proves itself.
    pub(super) fn responded(&mut self, link: LinkId, proof: &str, me: Me<'_>) -> Result<Responded, Failed> {
        let Some(State::Countered { party, asked, countered, at, refuses }) = self.links.get(&link) else {
            return Err(Failed::Wrong);
        };
        let claim = Claim {
            end: End::Dialler,
            group_id: me.own.group_id.as_str(),
            dialler: &party.text(),
            accepter: &me.party().text(),
            asked,
            countered,
        };
        let holds = claim.holds(&me.own.key, proof);
        let responded = Responded { party: party.clone(), drawn: *at, refused: refuses.is_some() };
        if !holds || responded.refused {
            self.closed(link);
        }
        if !holds {
            return Err(Failed::Wrong);
        }
        if !responded.refused {
            self.links.insert(link, State::Proved(responded.party.clone()));
        }
        Ok(responded)
    }

    /// The accepted links that another run of this id has proved: its process is gone, or is a twin, which proves itself anew then.
    pub(super) fn of_other_runs(&self, party: &Party) -> Vec<LinkId> {
        let other = |(link, state): (&LinkId, &State)| {
            let other = matches!(state, State::Proved(it) if it.server_id == party.server_id && it.run != party.run);
            (other && !link.is_outbound()).then_some(*link)
        };
        self.links.iter().filter_map(other).collect()
    }

    /// What the other ends of dialled links have proved is asked for once more: they may not take this node for a member any more.
    pub(super) fn doubt(&mut self) {
        self.links.retain(|link, state| !link.is_outbound() || !matches!(state, State::Proved(_)));
    }

    /// Forgets a link.
    pub(super) fn closed(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() && !link.is_outbound() {
            self.accepted -= 1;
        }
    }

    /// Who has proved itself on this link.
    pub(super) fn party(&self, link: LinkId) -> Option<&Party> {
        match self.links.get(&link) {
            Some(State::Proved(party)) => Some(party),
            _ => None,
        }
    }

    /// The newest link to this member: with `dialled`, one that this node opened, else one that it accepted.
    pub(super) fn link_to(&self, raft_id: RaftId, dialled: bool) -> Option<LinkId> {
        let leads = |(link, state): (&LinkId, &State)| {
            let fits = matches!(state, State::Proved(party) if party.raft_id == raft_id);
            (fits && link.is_outbound() == dialled).then_some(*link)
        };
        self.links.iter().rev().find_map(leads)
    }

    /// Panics if the table contradicts itself.
    pub(super) fn check_invariants(&self) {
        assert_eq!(
            self.accepted,
            self.links.keys().filter(|link| !link.is_outbound()).count(),
            "accepted links are counted"
        );
        for (link, state) in &self.links {
            let dialled = matches!(state, State::Challenged { .. });
            let accepted = matches!(state, State::Countered { .. });
            assert!(!dialled || link.is_outbound(), "only who dialled asks first");
            assert!(!accepted || !link.is_outbound(), "only who accepted counters");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALLED: LinkId = LinkId(1);
    const ACCEPTED: LinkId = LinkId(2);
    const RUN: &str = "00112233445566778899aabbccddeeff";
    const DRAWN: Time = Time::ZERO;

    struct Side {
        own: Membership,
        server_id: ServerId,
        proofs: Proofs,
        entropy: Entropy,
    }

    impl Side {
        fn challenge(&mut self, link: LinkId, now: Time) -> Option<Proof> {
            let me = Me { own: &self.own, server_id: &self.server_id, run: RUN };
            self.proofs.challenge(link, me, &mut self.entropy, now)
        }

        fn challenged(&mut self, link: LinkId, proof: &Proof, refuses: Option<Refuses>) -> Result<Proof, Failed> {
            let me = Me { own: &self.own, server_id: &self.server_id, run: RUN };
            self.proofs.challenged(link, proof, refuses, me, &mut self.entropy, DRAWN)
        }

        fn countered(&mut self, link: LinkId, proof: &Proof) -> Result<Countered, Failed> {
            self.proofs.countered(link, proof, Me { own: &self.own, server_id: &self.server_id, run: RUN })
        }

        fn responded(&mut self, link: LinkId, proof: &str) -> Result<Responded, Failed> {
            self.proofs.responded(link, proof, Me { own: &self.own, server_id: &self.server_id, run: RUN })
        }
    }

    fn side(raft_id: u64, key: &str, draw: u8) -> Side {
        let group_id = GroupId::new("00000000-aaaa").unwrap();
        let own = Membership { group_id, raft_id: RaftId(raft_id), key: key.to_owned() };
        let server_id = ServerId::new(format!("server-{raft_id}")).unwrap();
        Side { own, server_id, proofs: Proofs::new(), entropy: Entropy::new([draw; 32]) }
    }

    fn handshake(a: &mut Side, b: &mut Side) -> Result<(Proof, Proof, Proof), Failed> {
        let challenge = a.challenge(DIALLED, Time::ZERO).expect("due");
        let counter = b.challenged(ACCEPTED, &challenge, None)?;
        let Countered::Member(response) = a.countered(DIALLED, &counter)? else { panic!("nobody refuses") };
        let Proof::Response { proof } = &response else { panic!("{response:?}") };
        b.responded(ACCEPTED, proof)?;
        a.proofs.check_invariants();
        b.proofs.check_invariants();
        Ok((challenge, counter, response))
    }

    #[test]
    fn who_is_refused_hears_it_from_a_member_and_is_not_believed() {
        for refuses in [Refuses::Gone, Refuses::Twins] {
            let (mut a, mut b) = (side(1, "key", 1), side(2, "key", 2));
            let challenge = a.challenge(DIALLED, Time::ZERO).unwrap();
            let counter = b.challenged(ACCEPTED, &challenge, Some(refuses)).unwrap();
            // A stranger on the way makes nobody give up its seat, and lets nobody in.
            for other in [None, Some(Refuses::Gone), Some(Refuses::Twins)].into_iter().filter(|it| *it != Some(refuses))
            {
                let Proof::Counter { group_id, raft_id, server_id, run, challenge, proof, .. } = counter.clone() else {
                    panic!()
                };
                let forged = Proof::Counter { group_id, raft_id, server_id, run, challenge, proof, refuses: other };
                assert_eq!(a.countered(DIALLED, &forged), Err(Failed::Wrong));
            }
            let said = a.countered(DIALLED, &counter).unwrap();
            assert_eq!(a.proofs.party(DIALLED), None);
            match (refuses, said) {
                (Refuses::Gone, Countered::Gone) => {}
                (Refuses::Twins, Countered::Twins(Proof::Response { proof })) => {
                    let lives = b.responded(ACCEPTED, &proof).unwrap();
                    assert_eq!((lives.party.raft_id, lives.refused, lives.drawn), (RaftId(1), true, DRAWN));
                    assert_eq!(b.proofs.party(ACCEPTED), None);
                    b.proofs.check_invariants();
                }
                (_, said) => panic!("{said:?}"),
            }
        }
    }

    #[test]
    fn two_that_know_the_key_prove_it_to_each_other() {
        let (mut a, mut b) = (side(1, "key", 1), side(2, "key", 2));
        handshake(&mut a, &mut b).unwrap();
        assert_eq!(a.proofs.party(DIALLED).map(|party| party.raft_id), Some(RaftId(2)));
        assert_eq!(b.proofs.party(ACCEPTED).map(|party| party.raft_id), Some(RaftId(1)));
        assert_eq!(a.proofs.link_to(RaftId(2), true), Some(DIALLED));
        assert_eq!(b.proofs.link_to(RaftId(1), false), Some(ACCEPTED));
        b.proofs.closed(ACCEPTED);
        assert_eq!(b.proofs.party(ACCEPTED), None);
        b.proofs.check_invariants();
    }

    #[test]
    fn who_doubts_asks_again_on_the_links_that_it_dialled() {
        let (mut a, mut b) = (side(1, "key", 1), side(2, "key", 2));
        handshake(&mut a, &mut b).unwrap();
        a.proofs.doubt();
        b.proofs.doubt();
        assert_eq!(a.proofs.party(DIALLED), None);
        assert!(b.proofs.party(ACCEPTED).is_some(), "the other end asks for itself");
        handshake(&mut a, &mut b).unwrap();
        assert!(a.proofs.party(DIALLED).is_some());
    }

    #[test]
    fn another_key_or_group_is_refused_by_either_end() {
        let (mut a, mut b) = (side(1, "key", 1), side(2, "other", 2));
        assert_eq!(handshake(&mut a, &mut b), Err(Failed::Wrong));
        assert_eq!((a.proofs.party(DIALLED), b.proofs.party(ACCEPTED)), (None, None));
        let mut c = side(3, "key", 3);
        c.own.group_id = GroupId::new("00000000-bbbb").unwrap();
        let mut a = side(1, "key", 1);
        assert_eq!(handshake(&mut a, &mut c), Err(Failed::OtherGroup(a.own.group_id.clone())));
    }

    #[test]
    fn what_was_recorded_proves_nothing_on_another_connection() {
        let (mut a, mut b) = (side(1, "key", 1), side(2, "key", 2));
        let (challenge, counter, response) = handshake(&mut a, &mut b).unwrap();
        // A stranger says on a fresh connection what the member said.
        let fresh = LinkId(4);
        b.challenged(fresh, &challenge, None).unwrap();
        let Proof::Response { proof } = &response else { panic!("{response:?}") };
        assert_eq!(b.responded(fresh, proof), Err(Failed::Wrong));
        assert_eq!(b.proofs.party(fresh), None);
        // A stranger answers as the accepter did.
        let again = LinkId(5);
        a.challenge(again, Time::ZERO).unwrap();
        assert_eq!(a.countered(again, &counter), Err(Failed::Wrong));
        // A proof of the accepter is none of the dialler: it cannot be thrown back.
        let Proof::Counter { proof, .. } = &counter else { panic!("{counter:?}") };
        b.challenged(fresh, &challenge, None).unwrap();
        assert_eq!(b.responded(fresh, proof), Err(Failed::Wrong));
    }

    #[test]
    fn a_challenge_without_an_answer_is_said_again_and_not_at_once() {
        let mut a = side(1, "key", 1);
        let mut ask = |now| a.challenge(DIALLED, now).is_some();
        assert!(ask(Time::ZERO));
        assert!(!ask(Time::ZERO + AGAIN - Duration::from_micros(1)));
        assert!(ask(Time::ZERO + AGAIN));
    }

    #[test]
    fn strangers_do_not_fill_the_table_without_bounds() {
        let (mut a, mut b) = (side(1, "key", 1), side(2, "key", 2));
        let challenge = a.challenge(DIALLED, Time::ZERO).unwrap();
        for nth in 0..MAX_ACCEPTED as u64 {
            b.challenged(LinkId(nth * 2), &challenge, None).unwrap();
        }
        let next = LinkId(MAX_ACCEPTED as u64 * 2);
        let refused = b.challenged(next, &challenge, None);
        assert_eq!(refused, Err(Failed::Busy));
        b.proofs.check_invariants();
    }
}
