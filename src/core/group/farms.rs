//! What the group agrees on about workers: adoptions and loans.
//!
//! Only members ask for either. Who adopts an orphan is chosen by the leader, from the loads that heartbeats tell, so that the orphans of a
//! master that is gone spread instead of rushing to one.

use super::View;
use super::desk::PATIENCE;
use super::machine::Group;
use crate::core::LinkId;
use crate::core::ledger::Ledger;
use crate::core::links::Reply;
use crate::time::Time;
use crate::wire::{
    Address, Adoption, Body, Command, ErrorCode, LentWorker, LoanAction, LoanDone, LoanId, LoanRecord, Orphan, ServerId,
};

impl Group {
    /// This node itself asks for something; [`super::Effect::Answer`] with a reply on [`LinkId::OWN`] whose turn is `mark` answers it, within
    /// five seconds and an election.
    pub(in crate::core) fn ask(&mut self, mark: u64, action: LoanAction, now: Time) {
        let reply = Reply { link: LinkId::OWN, id: None, turn: mark };
        self.asked(LinkId::OWN, reply, Body::LoanAction(Box::new(action)), now);
    }

    /// Whether a master belongs to the group, as far as this node knows.
    pub(in crate::core) fn has_member(&self, server_id: &ServerId) -> bool {
        self.ledger().member_by_server(server_id).is_some()
    }

    /// The member that has proved the key of the group on this link.
    pub(in crate::core) fn proved_on(&self, link: LinkId) -> Option<&ServerId> {
        let seat = self.seat.as_ref()?;
        let party = seat.proofs.party(link)?;
        seat.ledger.member(party.raft_id).map(|member| &member.server_id)
    }

    /// Where a member listens.
    pub(in crate::core) fn member_address(&self, server_id: &ServerId) -> Option<Address> {
        self.ledger().member_by_server(server_id).map(|(_, member)| member.address.clone())
    }

    /// The latest adoption of a worker, as far as this node knows.
    pub(in crate::core) fn adoption(&self, worker: &ServerId) -> Option<&Adoption> {
        self.ledger().adoption(worker)
    }

    /// The open loans of an owner, as far as this node knows.
    pub(in crate::core) fn loans_of(&self, owner: &ServerId) -> Vec<LentWorker> {
        self.ledger().loans().filter(|loan| loan.owner == *owner).cloned().collect()
    }

    /// Whether a loan is open, as far as this node knows.
    pub(in crate::core) fn holds(&self, loan: &LoanId) -> bool {
        self.ledger().loans().any(|one| one.loan_id == *loan)
    }

    /// The change of the ledger that a request about workers comes to.
    pub(super) fn loan_command(&self, action: &LoanAction) -> Result<Command, (ErrorCode, String)> {
        match action {
            LoanAction::Record(LoanRecord::Lend(loan)) => Ok(Command::Lend(loan.clone())),
            LoanAction::Record(LoanRecord::End { loan_id, reason }) => {
                Ok(Command::End { loan_id: loan_id.clone(), reason: reason.clone() })
            }
            LoanAction::Adopt { master, workers } => {
                let gone = |owner: &ServerId| *owner != self.own_id && !self.view.is_alive(owner);
                let workers: Vec<&Orphan> = workers.iter().filter(|orphan| gone(&orphan.owner)).collect();
                if workers.is_empty() {
                    let detail = "WORKERS: the leader sees their owners ALIVE; they are no orphans";
                    return Err((ErrorCode::WrongState, detail.to_owned()));
                }
                Ok(Command::Adopt { workers: spread(&workers, master, self.ledger(), &self.view, &self.own_id) })
            }
            LoanAction::Renew { .. } | LoanAction::Recall { .. } => {
                Err((ErrorCode::BadField, "ACTION: expected RECORD or ADOPT of who asks the group".to_owned()))
            }
        }
    }

    /// What about workers is agreed on.
    pub(super) fn loan_done(&mut self, reply: Reply, action: &LoanAction, index: u64) {
        let word = if matches!(action, LoanAction::Adopt { .. }) { "ADOPT" } else { "RECORD" };
        let done = LoanDone { action: word.to_owned(), index: Some(index), renewed: Vec::new() };
        self.answer(reply, Body::LoanDone(Box::new(done)));
    }
}

const _: () = assert!(PATIENCE.as_secs() == 5, "the documentation of `ask` says so");

/// An owner for each orphan: the ALIVE member with the most jobs a worker, as it said last; of those with none, that with the fewest
/// workers. What is given counts at once; the orphans themselves do not count as workers of `host`, where they are.
fn spread(orphans: &[&Orphan], host: &ServerId, ledger: &Ledger, view: &View, own_id: &ServerId) -> Vec<Adoption> {
    // Jobs that wait, workers, and who.
    let mut masters: Vec<(u64, u64, &ServerId)> = ledger
        .members()
        .filter_map(|(_, member)| {
            let (pending, workers) = if member.server_id == *own_id {
                view.own_load
            } else {
                view.masters.iter().find(|it| it.server_id == member.server_id && it.alive)?.load
            };
            let orphans = if member.server_id == *host { orphans.len() as u64 } else { 0 };
            Some((pending, workers.saturating_sub(orphans), &member.server_id))
        })
        .collect();
    masters.sort_by_key(|(.., id)| *id);
    masters.dedup_by_key(|(.., id)| *id);
    let mut adoptions = Vec::new();
    for orphan in orphans {
        // The first of equals, in the order of their ids.
        let mut best: Option<usize> = None;
        for (nth, (pending, workers, id)) in masters.iter().enumerate() {
            let more = |(other_pending, other_workers): (u64, u64)| {
                (u128::from(*pending) + 1) * (u128::from(other_workers) + 1)
                    > (u128::from(other_pending) + 1) * (u128::from(*workers) + 1)
            };
            if **id != orphan.owner && best.is_none_or(|best| more((masters[best].0, masters[best].1))) {
                best = Some(nth);
            }
        }
        let Some(best) = best else { continue };
        masters[best].1 += 1;
        adoptions.push(Adoption {
            worker: orphan.worker.clone(),
            from: orphan.owner.clone(),
            owner: masters[best].2.clone(),
            generation: ledger.adoption(&orphan.worker).map_or(0, |it| it.generation) + 1,
        });
    }
    adoptions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::group::Sight;
    use crate::wire::{GroupId, GroupPresence, LedgerEntry, LedgerItem, NewMember};

    fn server(nth: u64) -> ServerId {
        ServerId::new(format!("master-{nth}")).unwrap()
    }

    fn ledger(members: u64) -> Ledger {
        let mut ledger = Ledger::default();
        let group_id = GroupId::new("aaaaaaaa").unwrap();
        for nth in 1..=members {
            let member = NewMember {
                server_id: server(nth),
                state_id: GroupId::new(format!("0000000{nth}")).unwrap(),
                name: format!("m{nth}"),
                address: format!("10.0.0.{nth}:9101").parse().unwrap(),
            };
            let command = match nth {
                1 => Command::Found { group_id: group_id.clone(), group: "default".to_owned(), member },
                _ => Command::Admit(member),
            };
            ledger.apply(&LedgerEntry { index: nth, term: 1, what: LedgerItem::Command(Box::new(command)) });
        }
        ledger
    }

    fn sight(nth: u64, alive: bool, load: (u64, u64)) -> Sight {
        Sight {
            server_id: server(nth),
            name: format!("m{nth}"),
            address: format!("10.0.0.{nth}:9101").parse().unwrap(),
            link: None,
            alive,
            group: "default".to_owned(),
            presence: GroupPresence::default(),
            load,
        }
    }

    fn orphans(count: u64, owner: u64) -> Vec<Orphan> {
        let worker = |nth| ServerId::new(format!("worker-{nth}")).unwrap();
        (0..count).map(|nth| Orphan { worker: worker(nth), owner: server(owner), generation: 0 }).collect()
    }

    fn given(view: &View, members: u64, orphans: &[Orphan]) -> Vec<u64> {
        let orphans: Vec<&Orphan> = orphans.iter().collect();
        let adoptions = spread(&orphans, &server(9), &ledger(members), view, &server(1));
        (1..=members).map(|nth| adoptions.iter().filter(|it| it.owner == server(nth)).count() as u64).collect()
    }

    #[test]
    fn orphans_go_where_the_most_jobs_wait_for_a_worker_and_else_where_the_fewest_workers_are() {
        let masters = vec![sight(2, true, (0, 4)), sight(3, true, (0, 1)), sight(4, false, (0, 0))];
        let view = View { masters, own_load: (0, 1), ..View::default() };
        assert_eq!(
            given(&view, 4, &orphans(2, 4)),
            [1, 0, 1, 0],
            "neither the one that is gone nor the one that has many"
        );
        assert_eq!(given(&view, 4, &orphans(8, 4)), [4, 1, 3, 0], "what is given counts: five, five and four");
        let masters = vec![sight(2, true, (200, 4)), sight(3, true, (3, 1))];
        let view = View { masters, own_load: (0, 0), ..View::default() };
        assert_eq!(given(&view, 4, &orphans(3, 4)), [0, 3, 0, 0]);
    }

    #[test]
    fn the_orphans_themselves_are_no_workers_of_the_master_where_they_are() {
        let view = View { masters: vec![sight(2, true, (0, 4))], own_load: (0, 0), ..View::default() };
        let orphans = orphans(4, 3);
        let orphans: Vec<&Orphan> = orphans.iter().collect();
        let adoptions = spread(&orphans, &server(2), &ledger(3), &view, &server(1));
        assert_eq!(adoptions.iter().filter(|it| it.owner == server(1)).count(), 2, "two stay");
    }

    #[test]
    fn nobody_adopts_where_nobody_is_and_the_owner_never_does() {
        let view = View { masters: vec![sight(2, false, (0, 0))], own_load: (0, 0), ..View::default() };
        let orphans = orphans(1, 1);
        assert_eq!(given(&view, 2, &orphans), [0, 0], "this node is the owner, and the other is gone");
    }
}
