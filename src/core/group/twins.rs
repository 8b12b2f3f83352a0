//! One id at two addresses at once: a copied data directory, a cloned machine (design.md section 7).
//!
//! Each process draws a `RUN` when it starts, and signs it whenever it proves the key. A restart shows another run, and the old one
//! never again. So if a run answers a fresh challenge after another has proved itself since its last word, both live:
//!
//! ```text
//!   run a proves ── run b proves ──> older links are hung up ── a proves anew ──> twins
//! ```
//!
//! No time is in that proof. Time is in its end: once one of the two has been silent for a timeout, the other is believed again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Effect;
use super::machine::Group;
use super::proof::{Me, Responded};
use crate::core::{LinkId, LogLevel};
use crate::time::{Seconds, Time};
use crate::wire::{Body, EventKind, Message, RequestId, ServerId};

/// Runs of one id that are remembered.
const MOST_RUNS: usize = 4;

/// Ids that are remembered. Only who knows the key gets here.
const MOST_IDS: usize = 1024;

/// A process that has proved an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    run: String,
    last: Time,
}

/// What is known of one id: its runs in the order in which they came, and until when it counts as doubled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Id {
    runs: Vec<Run>,
    doubled: Option<Time>,
}

/// The runs of every id that has proved itself here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Twins {
    ids: BTreeMap<ServerId, Id>,
}

impl Twins {
    /// A run has answered a challenge that was drawn at `drawn`. Tells whether the id is doubled, and was not before.
    pub(super) fn proved(&mut self, id: &ServerId, run: &str, drawn: Time, now: Time, timeout: Duration) -> bool {
        if !self.ids.contains_key(id) && self.ids.len() >= MOST_IDS {
            let oldest = self.ids.iter().min_by_key(|(_, id)| id.runs.iter().map(|run| run.last).max());
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.ids.remove(&oldest);
            }
        }
        let known = self.ids.entry(id.clone()).or_default();
        let at = known.runs.iter().position(|it| it.run == run);
        // Others that have spoken lately, before this one was asked. Between two words of one run there is none of another, unless both live.
        let before = at.map(|at| known.runs[at].last);
        let others = known.runs.iter().filter(|it| it.run != run && it.last <= drawn && it.last + timeout > now);
        let between = others.clone().any(|other| before.is_some_and(|before| before < other.last));
        let was = known.doubled.is_some();
        // While both are known to live it is enough that the other has spoken lately.
        if between || (was && others.count() > 0) {
            known.doubled = Some(now + timeout);
        }
        match at {
            Some(at) => known.runs[at].last = now,
            None => {
                if known.runs.len() >= MOST_RUNS {
                    known.runs.remove(0);
                }
                known.runs.push(Run { run: run.to_owned(), last: now });
            }
        }
        !was && known.doubled.is_some()
    }

    /// Whether this id is at two addresses at once.
    pub(super) fn is_doubled(&self, id: &ServerId) -> bool {
        self.ids.get(id).is_some_and(|id| id.doubled.is_some())
    }

    /// The ids that are doubled no more: one of the two was silent for a timeout. Only who has spoken since is remembered, so that
    /// what it says next is news of one.
    pub(super) fn over(&mut self, now: Time, timeout: Duration) -> Vec<ServerId> {
        let mut over = Vec::new();
        for (id, known) in &mut self.ids {
            if known.doubled.is_some_and(|until| until <= now) {
                known.doubled = None;
                known.runs.retain(|run| run.last + timeout > now);
                // Both may have been silent, or one be back at this very time: whoever comes next is the first.
                if known.runs.len() > 1 {
                    known.runs.clear();
                }
                over.push(id.clone());
            }
        }
        over
    }
}

impl Group {
    /// A member has proved itself on an accepted link. Tells whether it is believed there.
    pub(super) fn has_proved(&mut self, responded: Responded, now: Time) -> bool {
        let timeout = self.timeout;
        let Some(seat) = &mut self.seat else { return false };
        let Responded { party, drawn, refused } = responded;
        if party.server_id == self.own_id {
            // It has answered a challenge of this process: both live.
            if party.run != self.run {
                self.told_of_twin(party.server_id, now);
            }
            return false;
        }
        if seat.twins.proved(&party.server_id, &party.run, drawn, now, timeout) {
            let name = seat.ledger.member(party.raft_id).map_or(party.server_id.short(), |member| &member.name);
            let detail = format!(
                "the id of {name} is at two addresses at once; neither has a vote here until one of them was silent for {} s; was a data \
                 directory copied?",
                Seconds(timeout)
            );
            self.log(LogLevel::Warn, detail.clone());
            self.event(EventKind::Twins, Some(party.server_id.clone()), detail);
        }
        let Some(seat) = &mut self.seat else { return false };
        // Of a process that is gone these links are dead. A twin calls again, and shows by its proof that it lives.
        let others = seat.proofs.of_other_runs(&party);
        let believed = !refused && !seat.twins.is_doubled(&party.server_id);
        if believed {
            seat.heard.insert(party.raft_id, now);
        }
        for link in others {
            seat.proofs.closed(link);
            self.effects.push_back(Effect::Close(link));
        }
        believed
    }

    /// Who answers at a link with this node's own id has proved to be a copy, or to be this node.
    pub(super) fn found_double(&mut self, link: LinkId, is_copy: bool, now: Time) {
        match is_copy {
            true => self.told_of_twin(self.own_id.clone(), now),
            false => self.effects.push_back(Effect::Itself(link)),
        }
    }

    /// Asks again whoever answers with this node's own id: what it proved once is true for a while.
    fn ask_doubles(&mut self, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        let me = Me { own: &seat.membership, server_id: &self.own_id, run: &self.run };
        for link in &self.view.doubles {
            if seat.proofs.party(*link).is_some() {
                seat.proofs.closed(*link);
            }
            if let Some(proof) = seat.proofs.challenge(*link, me, &mut self.entropy, now) {
                let message = Message { id: RequestId::new("proof"), body: Body::Proof(Box::new(proof)) };
                self.effects.push_back(Effect::Send { link: *link, message });
            }
        }
    }

    /// Members, or a copy itself, say that this node's id is at two addresses at once.
    pub(super) fn told_of_twin(&mut self, by: ServerId, now: Time) {
        let until = now + self.timeout;
        let Some(seat) = &mut self.seat else { return };
        if seat.twin_until.replace(until).is_none() {
            let detail = format!("{}, says {}", self.twin_text(), by.short());
            self.log(LogLevel::Warn, detail.clone());
            self.event(EventKind::Twins, Some(self.own_id.clone()), detail);
        }
    }

    /// What is said while this node's id is at two addresses.
    pub(super) fn twin_text(&self) -> String {
        format!(
            "the id of this node is at two addresses at once, so that neither votes until one of them has stopped for {} s; a copied data \
             directory is discarded with --fresh",
            Seconds(self.timeout)
        )
    }

    /// Ends what is over.
    pub(super) fn look_at_twins(&mut self, now: Time) {
        self.ask_doubles(now);
        let timeout = self.timeout;
        let Some(seat) = &mut self.seat else { return };
        let over = seat.twins.over(now, timeout);
        if seat.twin_until.is_some_and(|until| until <= now) {
            seat.twin_until = None;
            self.log(
                LogLevel::Info,
                "nobody says any more that this node's id is at two addresses: it votes again".to_owned(),
            );
        }
        for id in over {
            self.log(LogLevel::Info, format!("the id {} is at one address again", id.short()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(6);
    const NONE: [u64; 0] = [];

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    fn id() -> ServerId {
        ServerId::new("server-1").unwrap()
    }

    /// Each proof: its run, when it was asked for, and when it was answered. The times at which it became doubled.
    fn doubled(twins: &mut Twins, proofs: &[(&str, u64, u64)]) -> Vec<u64> {
        let news = |(run, drawn, now): &(&str, u64, u64)| {
            twins.proved(&id(), run, at(*drawn), at(*now), TIMEOUT).then_some(*now)
        };
        proofs.iter().filter_map(news).collect()
    }

    #[test]
    fn restarts_are_no_twins_however_many() {
        let proofs =
            [("a", 0, 0), ("a", 1, 1), ("b", 2, 2), ("b", 3, 3), ("c", 4, 4), ("d", 5, 5), ("e", 6, 6), ("e", 7, 7)];
        let mut twins = Twins::default();
        assert_eq!(doubled(&mut twins, &proofs), NONE);
        assert!(!twins.is_doubled(&id()));
    }

    #[test]
    fn an_answer_that_was_asked_for_before_the_later_run_came_proves_nothing() {
        assert_eq!(doubled(&mut Twins::default(), &[("a", 0, 0), ("b", 2, 2), ("a", 1, 3)]), NONE);
    }

    #[test]
    fn a_run_that_outlives_a_later_one_is_a_twin_until_one_is_silent() {
        let mut twins = Twins::default();
        assert_eq!(doubled(&mut twins, &[("a", 0, 0), ("b", 2, 2), ("a", 3, 3), ("b", 4, 4), ("a", 5, 5)]), [3]);
        assert!(twins.is_doubled(&id()));
        // From now on only the second is heard; the first counts for a timeout.
        assert_eq!(doubled(&mut twins, &[("b", 9, 9), ("b", 12, 12)]), NONE);
        assert_eq!((twins.over(at(14), TIMEOUT), twins.is_doubled(&id())), (vec![], true));
        assert_eq!((twins.over(at(15), TIMEOUT), twins.is_doubled(&id())), (vec![id()], false));
        assert_eq!(doubled(&mut twins, &[("b", 16, 16), ("c", 17, 17), ("c", 18, 18)]), NONE, "and a restart is none");
    }

    #[test]
    fn the_older_one_may_stay_as_well() {
        let mut twins = Twins::default();
        // The second has spoken at 2 for the last time; the first goes on.
        let proofs = [("a", 0, 0), ("b", 2, 2), ("a", 3, 3), ("a", 7, 7), ("a", 8, 8), ("a", 12, 12)];
        assert_eq!(doubled(&mut twins, &proofs), [3]);
        assert_eq!(twins.over(at(13), TIMEOUT), [id()]);
        assert_eq!(doubled(&mut twins, &[("a", 14, 14), ("a", 15, 15)]), NONE);
    }

    #[test]
    fn one_that_comes_back_after_the_other_has_been_silent_for_long_is_noticed_when_that_one_speaks() {
        let mut twins = Twins::default();
        // The first was cut off; the second has a link and had nothing to prove since. When it is hung up on, it proves itself anew.
        assert_eq!(doubled(&mut twins, &[("a", 0, 0), ("b", 2, 2), ("a", 500, 500), ("b", 501, 501)]), [501]);
    }

    #[test]
    fn ids_and_runs_are_bounded() {
        let mut twins = Twins::default();
        for nth in 0..2 * MOST_IDS as u64 {
            let id = ServerId::new(format!("server-{nth}")).unwrap();
            twins.proved(&id, "a", at(nth), at(nth), TIMEOUT);
        }
        assert_eq!(twins.ids.len(), MOST_IDS);
        for nth in 0..100 {
            assert!(!twins.proved(&id(), &nth.to_string(), at(9000 + nth), at(9000 + nth), TIMEOUT));
        }
        assert!(twins.ids[&id()].runs.len() <= MOST_RUNS);
    }
}
