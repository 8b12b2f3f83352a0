//! Who waits for what: requests that cannot be answered at once, each with the time at which it is answered all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::LinkId;
use crate::core::links::Reply;
use crate::time::Time;
use crate::wire::{Body, RaftId, RequestId};

/// How long a request waits for a leader, and then for the leader: longer than any election of a majority that is there.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Requests that may wait at a time. Each holds a place of a connection too.
pub(super) const MAX_WAITING: usize = 10_000;

/// The begin of the `ID` of a request that is handed on to the leader.
const HANDED_ON: &str = "group-";

/// A request and who asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asker {
    pub(super) reply: Reply,
    pub(super) body: Body,
    /// When it is answered by an error at the latest.
    pub(super) until: Time,
    /// A member has handed it on: it is not handed on again.
    pub(super) by_member: bool,
    /// A leader that is gone was asked: it may have been done, or may be in the log.
    pub(super) may_be_done: bool,
}

/// A request whose entry was proposed here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Proposed {
    term: u64,
    asker: Asker,
}

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its entry is the one that was agreed on.
    Agreed(Asker),
    /// Another entry has its index: it was not done.
    Displaced(Asker),
}

/// Whether an answer with this `ID` is one to a request that was handed on.
pub(in crate::core) fn is_handed_on(id: &RequestId) -> bool {
    id.as_str().starts_with(HANDED_ON)
}

/// All that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Desk {
    /// For a leader.
    held: Vec<Asker>,
    /// For an entry to be agreed on, by its index.
    proposed: BTreeMap<u64, Vec<Proposed>>,
    /// For the confirmation that this node still leads, by mark.
    reads: BTreeMap<u64, Asker>,
    /// For the leader's answer, by number.
    handed_on: BTreeMap<u64, (LinkId, Asker)>,
    /// For a lease to become free.
    leases: Vec<Asker>,
    /// For a member to lead.
    transfer: Option<(Asker, RaftId)>,
    next: u64,
    /// How many wait in `proposed`.
    proposals: usize,
    /// Nobody's time is over before. It is looked for anew when it has come, not whenever somebody is answered: it is asked for at every
    /// input.
    earliest: Option<Time>,
}

impl Desk {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.held.len()
            + self.proposals
            + self.reads.len()
            + self.handed_on.len()
            + self.leases.len()
            + usize::from(self.transfer.is_some())
    }

    /// Waits for a leader.
    pub(super) fn hold(&mut self, asker: Asker) {
        self.expect(&asker);
        self.held.push(asker);
    }

    /// Those who wait for a leader: there is one now, or there will be none.
    pub(super) fn take_held(&mut self) -> Vec<Asker> {
        std::mem::take(&mut self.held)
    }

    /// Waits for the entry of this index and term.
    pub(super) fn propose(&mut self, index: u64, term: u64, asker: Asker) {
        self.expect(&asker);
        self.proposals += 1;
        self.proposed.entry(index).or_default().push(Proposed { term, asker });
    }

    /// The entry of this index is agreed on, and is of this term: who waited for that index.
    pub(super) fn agreed(&mut self, index: u64, term: u64) -> Vec<Fate> {
        let mut fates = Vec::new();
        // What a snapshot jumped over is lost sight of: it may have been done; its time will run out.
        for proposed in self.proposed.remove(&index).unwrap_or_default() {
            self.proposals -= 1;
            let same = proposed.term == term;
            fates.push(if same { Fate::Agreed(proposed.asker) } else { Fate::Displaced(proposed.asker) });
        }
        fates
    }

    /// Waits for a confirmation. Returns its mark.
    pub(super) fn read(&mut self, asker: Asker) -> u64 {
        self.expect(&asker);
        self.next += 1;
        self.reads.insert(self.next, asker);
        self.next
    }

    /// The confirmation with this mark has come, or will not.
    pub(super) fn confirmed(&mut self, mark: u64) -> Option<Asker> {
        self.reads.remove(&mark)
    }

    /// Waits for the leader's answer on this link. Returns the `ID` of the request.
    pub(super) fn hand_on(&mut self, link: LinkId, asker: Asker) -> Option<RequestId> {
        self.expect(&asker);
        self.next += 1;
        self.handed_on.insert(self.next, (link, asker));
        RequestId::new(format!("{HANDED_ON}{}", self.next))
    }

    /// The leader has answered on this link.
    pub(super) fn answered(&mut self, link: LinkId, id: &RequestId) -> Option<Asker> {
        let number = id.as_str().strip_prefix(HANDED_ON)?.parse().ok()?;
        let (asked, _) = self.handed_on.get(&number)?;
        if *asked != link {
            return None;
        }
        self.handed_on.remove(&number).map(|(_, asker)| asker)
    }

    /// The link is gone: what was handed on over it will not be answered; who asked over it is gone.
    pub(super) fn closed(&mut self, link: LinkId) -> Vec<Asker> {
        let lost: Vec<u64> =
            (self.handed_on.iter()).filter(|(_, (over, _))| *over == link).map(|(nth, _)| *nth).collect();
        let unanswered = lost.iter().filter_map(|nth| self.handed_on.remove(nth)).map(|(_, asker)| asker).collect();
        let stays = |asker: &Asker| asker.reply.link != link;
        self.held.retain(stays);
        self.leases.retain(stays);
        self.reads.retain(|_, asker| stays(asker));
        self.handed_on.retain(|_, (_, asker)| stays(asker));
        if self.transfer.as_ref().is_some_and(|(asker, _)| !stays(asker)) {
            self.transfer = None;
        }
        unanswered
    }

    /// Waits for a lease.
    pub(super) fn await_lease(&mut self, asker: Asker) {
        self.expect(&asker);
        self.leases.push(asker);
    }

    /// Who has waited longest for the lease of this name.
    pub(super) fn next_for_lease(&mut self, name: &str) -> Option<Asker> {
        let waits = |asker: &Asker| matches!(&asker.body, Body::Lease(request) if request.name == name);
        let position = self.leases.iter().position(waits)?;
        Some(self.leases.remove(position))
    }

    /// Those who wait for leases: this node does not lead any more.
    pub(super) fn take_lease_waiters(&mut self) -> Vec<Asker> {
        std::mem::take(&mut self.leases)
    }

    /// Waits for this member to lead. Who waited for another one before gives way: only one transfer is under way.
    pub(super) fn hold_transfer(&mut self, asker: Asker, to: RaftId) {
        self.expect(&asker);
        if let Some((before, _)) = self.transfer.replace((asker, to)) {
            self.held.push(before);
        }
    }

    /// Who waits for a member to lead.
    pub(super) fn take_transfer(&mut self) -> Option<(Asker, RaftId)> {
        self.transfer.take()
    }

    /// When [`Desk::overdue`] is due, or earlier.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.earliest
    }

    fn expect(&mut self, asker: &Asker) {
        self.earliest = Some(self.earliest.map_or(asker.until, |earliest| earliest.min(asker.until)));
    }

    /// Whose time is over first, of all.
    fn first(&self) -> Option<Time> {
        let proposed = self.proposed.values().flatten().map(|proposed| &proposed.asker);
        let handed_on = self.handed_on.values().map(|(_, asker)| asker);
        let transfer = self.transfer.iter().map(|(asker, _)| asker);
        let all = self.held.iter().chain(proposed).chain(self.reads.values()).chain(handed_on).chain(&self.leases);
        all.chain(transfer).map(|asker| asker.until).min()
    }

    /// Those whose time is over, and what they waited for.
    pub(super) fn overdue(&mut self, now: Time) -> Vec<(Asker, Wanted)> {
        let mut over = Vec::new();
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return over;
        }
        let due = |asker: &Asker| asker.until <= now;
        over.extend(self.held.extract_if(.., |asker| due(asker)).map(|asker| (asker, Wanted::Leader)));
        over.extend(self.leases.extract_if(.., |asker| due(asker)).map(|asker| (asker, Wanted::Lease)));
        for waiting in self.proposed.values_mut() {
            let before = waiting.len();
            let late = waiting.extract_if(.., |proposed| due(&proposed.asker));
            over.extend(late.map(|proposed| (proposed.asker, Wanted::Agreement)));
            self.proposals -= before - waiting.len();
        }
        self.proposed.retain(|_, waiting| !waiting.is_empty());
        let reads: Vec<u64> = self.reads.iter().filter(|(_, asker)| due(asker)).map(|(mark, _)| *mark).collect();
        over.extend(reads.iter().filter_map(|mark| Some((self.reads.remove(mark)?, Wanted::Confirmation))));
        let late: Vec<u64> =
            (self.handed_on.iter()).filter(|(_, (_, asker))| due(asker)).map(|(nth, _)| *nth).collect();
        over.extend(late.iter().filter_map(|nth| Some((self.handed_on.remove(nth)?.1, Wanted::Answer))));
        if self.transfer.as_ref().is_some_and(|(asker, _)| due(asker)) {
            over.extend(self.transfer.take().map(|(asker, _)| (asker, Wanted::Leader)));
        }
        self.earliest = self.first();
        over
    }

    /// Gives up everybody: this node leaves its group.
    pub(super) fn drain(&mut self) -> Vec<Asker> {
        let old = std::mem::take(self);
        self.next = old.next;
        let proposed = old.proposed.into_values().flatten().map(|proposed| proposed.asker);
        let handed_on = old.handed_on.into_values().map(|(_, asker)| asker);
        let transfer = old.transfer.map(|(asker, _)| asker);
        let waiting = old.held.into_iter().chain(proposed).chain(old.reads.into_values()).chain(handed_on);
        waiting.chain(old.leases).chain(transfer).collect()
    }
}

/// What somebody waited for when the time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// For a leader: nothing was done.
    Leader,
    /// For the leader's answer: it may have been done.
    Answer,
    /// For a majority to agree: it may still be done.
    Agreement,
    /// For a majority to confirm that this node leads: nothing was done.
    Confirmation,
    /// For a lease: it is held by another.
    Lease,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(link: u64, until: u64) -> Asker {
        let reply = Reply { link: LinkId(link), id: None, turn: 0 };
        let body = Body::LedgerQuestion;
        Asker { reply, body, until: Time::from_micros(until), by_member: false, may_be_done: false }
    }

    #[test]
    fn each_is_answered_at_its_time_at_the_latest() {
        let mut desk = Desk::default();
        desk.hold(asker(2, 10));
        desk.propose(7, 1, asker(4, 20));
        desk.read(asker(6, 30));
        desk.hand_on(LinkId(1), asker(8, 40));
        desk.await_lease(asker(10, 50));
        assert_eq!(desk.len(), 5);
        let wanted = [Wanted::Leader, Wanted::Agreement, Wanted::Confirmation, Wanted::Answer, Wanted::Lease];
        for (nth, wanted) in wanted.into_iter().enumerate() {
            let due = Time::from_micros(10 * (nth as u64 + 1));
            assert_eq!(desk.deadline(), Some(due));
            let over = desk.overdue(due);
            assert_eq!(over.iter().map(|(_, wanted)| *wanted).collect::<Vec<_>>(), [wanted]);
        }
        assert_eq!((desk.len(), desk.deadline()), (0, None));
    }

    #[test]
    fn nobody_is_late_though_others_were_answered_and_an_idle_desk_wants_nothing() {
        let mut desk = Desk::default();
        desk.propose(7, 1, asker(2, 10));
        desk.propose(8, 1, asker(4, 20));
        assert_eq!(desk.agreed(7, 1).len(), 1);
        assert!(desk.deadline().is_some_and(|due| due <= Time::from_micros(20)));
        assert_eq!(desk.overdue(Time::from_micros(10)), []);
        assert_eq!((desk.deadline(), desk.len()), (Some(Time::from_micros(20)), 1));
        assert_eq!(desk.agreed(8, 1).len(), 1);
        assert_eq!(desk.overdue(Time::from_micros(20)), []);
        assert_eq!((desk.deadline(), desk.len()), (None, 0));
    }

    #[test]
    fn an_entry_of_another_term_at_the_same_index_is_another_entry() {
        let mut desk = Desk::default();
        desk.propose(7, 1, asker(2, 10));
        desk.propose(7, 3, asker(4, 10));
        assert_eq!(desk.agreed(7, 3), [Fate::Displaced(asker(2, 10)), Fate::Agreed(asker(4, 10))]);
        assert_eq!(desk.agreed(7, 3), []);
    }

    #[test]
    fn an_answer_counts_on_the_link_that_was_asked_alone() {
        let mut desk = Desk::default();
        let id = desk.hand_on(LinkId(1), asker(8, 40)).unwrap();
        assert!(is_handed_on(&id));
        assert_eq!(desk.answered(LinkId(5), &id), None);
        assert_eq!(desk.answered(LinkId(1), &id), Some(asker(8, 40)));
        assert_eq!(desk.answered(LinkId(1), &id), None);
    }

    #[test]
    fn who_hangs_up_waits_no_more_and_what_was_asked_there_comes_back() {
        let mut desk = Desk::default();
        desk.hold(asker(2, 10));
        desk.hand_on(LinkId(1), asker(4, 40));
        assert_eq!(desk.closed(LinkId(2)), []);
        assert_eq!(desk.closed(LinkId(1)), [asker(4, 40)]);
        assert_eq!(desk.len(), 0);
    }
}
