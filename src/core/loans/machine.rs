//! The machine: what comes in, to which of its two sides it goes, and what both are asked together.

use std::net::IpAddr;
use std::time::Duration;

use super::borrower::Borrower;
use super::desk::Desk;
use super::owner::{Borrows, Owner};
use super::{Asked, Candidate, Effect, Guest, LoanConfig, Neighbour, Own, Proposal, Saturation, Token, Unagreed};
use crate::core::LinkId;
use crate::core::links::Reply;
use crate::time::Time;
use crate::wire::{
    Epoch, LentWorker, LoanAction, LoanAnswer, LoanDone, LoanId, LoanState, LoanView, LoansAnswer, Release,
    ReleaseAnswer, RequestId, Returned, ServerId, ServiceName, Terms,
};

/// The loans of a master, in and out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::core) struct Loans {
    pub(super) desk: Desk,
    pub(super) borrower: Borrower,
    pub(super) owner: Owner,
}

impl Loans {
    /// `boot`: how often this identity was started, durably advanced before this is called; below 2^29. `seed`: for marks and jitter.
    pub(in crate::core) fn new(own: Own, config: LoanConfig, boot: u64, seed: u64, now: Time) -> Loans {
        let desk = Desk::new(own, config, boot, seed);
        Loans { desk, borrower: Borrower::new(now), owner: Owner::default() }
    }

    // Both sides.

    /// How the queue stands: at each change of the switch, and when the pending jobs or the own workers change, but not for each of thousands of
    /// jobs: it may look at all loans.
    pub(in crate::core) fn load(&mut self, load: Saturation, now: Time) {
        self.borrower.load(&self.desk, load, now);
        let missing = self.borrower.missing();
        let recalled = self.owner.load(&mut self.desk, self.borrower.queue(), missing, now);
        self.borrower.comes_back(&mut self.desk, recalled, now);
    }

    /// Goes by other policies from now on. A loan that goes on has the lease and the margin that it was given, and comes under the new ones with
    /// its next renewal: what may not be lent any more is not renewed.
    pub(in crate::core) fn configure(&mut self, config: LoanConfig) {
        self.desk.config = config;
    }

    /// This master is called at another address now, or has another name.
    pub(in crate::core) fn rename(&mut self, own: Own) {
        self.desk.own = own;
    }

    /// A request came to nothing: it could not be sent, was answered by an error, or its link is gone.
    pub(in crate::core) fn failed(&mut self, token: Token, reason: &str, now: Time) {
        if !self.owner.recall_failed(&mut self.desk, token, reason) {
            self.borrower.failed(&mut self.desk, token, reason, now);
        }
    }

    /// An [`Effect::Act`] is done: the answer to a RENEW or a RECALL.
    pub(in crate::core) fn done_by(&mut self, token: Token, done: LoanDone, now: Time) {
        if !self.owner.recall_done(&mut self.desk, token) {
            self.borrower.renewed(&mut self.desk, token, done, now);
        }
    }

    /// What becomes due, becomes so.
    pub(in crate::core) fn tick(&mut self, now: Time) {
        self.owner.tick(&mut self.desk, now);
        self.borrower.tick(&mut self.desk, now);
    }

    /// When [`Loans::tick`] is due, or [`Loans::wants_neighbours`] may turn true.
    pub(in crate::core) fn deadline(&self) -> Option<Time> {
        [self.owner.deadline(), self.borrower.deadline()].into_iter().flatten().min()
    }

    /// This process did not run for `lost`, until now. Leases under which guests are used lapse as if it had run: those that are over by now
    /// end at once. What others were waited for is waited for that much longer, and no lease of a worker lent out is shortened by it.
    pub(in crate::core) fn excuse(&mut self, lost: Duration, now: Time) {
        self.owner.excuse(&self.desk, lost);
        self.borrower.excuse(&mut self.desk, lost, now);
    }

    /// What is to be done, in order.
    pub(in crate::core) fn poll_effect(&mut self) -> Option<Effect> {
        self.desk.poll()
    }

    /// What the farm tells a native worker that registers, or refreshes: the guest's owner, epoch, loan and what is left of its lease. `None`: no
    /// guest. A guest whose lease is over has a rest of zero.
    pub(in crate::core) fn terms(&self, worker: &ServerId, now: Time) -> Option<Terms> {
        self.borrower.terms(worker, now)
    }

    // Borrower.

    /// This master wants `COMMAND_RELEASE` before its workers go home (2025/2), as is known beforehand.
    pub(in crate::core) fn speaks_older(&mut self, peer: &ServerId) {
        self.borrower.speaks_older(peer, true);
    }

    /// Whether [`Loans::neighbours`] is wanted now.
    pub(in crate::core) fn wants_neighbours(&self, now: Time) -> bool {
        self.borrower.wants_neighbours(now)
    }

    /// All masters that are known. The node calls this when it is wanted, after it has told how the queue stands now.
    pub(in crate::core) fn neighbours(&mut self, known: Vec<Neighbour>, now: Time) {
        self.borrower.neighbours(&mut self.desk, known, now);
    }

    /// The answer to an [`Effect::Ask`].
    pub(in crate::core) fn answered(&mut self, token: Token, answer: LoanAnswer, now: Time) {
        self.borrower.answered(&mut self.desk, token, answer, now);
    }

    /// A worker that is not ours has registered, or registers anew. Called before it is welcomed.
    pub(in crate::core) fn came(&mut self, guest: Guest, now: Time) {
        self.borrower.came(&mut self.desk, guest, now);
    }

    /// A guest has left, or the farm has taken it for lost.
    pub(in crate::core) fn gone(&mut self, worker: &ServerId, now: Time) {
        self.borrower.gone(&mut self.desk, worker, now);
    }

    /// A guest has ended a job.
    pub(in crate::core) fn done(&mut self, worker: &ServerId, now: Time) {
        self.borrower.done(&self.desk, worker, now);
    }

    /// A worker that was here before says what it runs now. Nothing happens unless it is a guest, and that has changed.
    pub(in crate::core) fn offers<'a>(
        &mut self,
        worker: &ServerId,
        services: impl Iterator<Item = &'a ServiceName> + Clone,
        now: Time,
    ) {
        self.borrower.offers(&self.desk, worker, services, now);
    }

    /// Whether somebody is borrowed, or promised: what the jobs that wait need decides who stays.
    pub(in crate::core) fn is_borrowing(&self) -> bool {
        self.borrower.count() > 0 || self.borrower.borrows() > 0
    }

    /// `LOANS` `RECALL` of the native master `from`. `action` that is something else is answered by an error.
    pub(in crate::core) fn recalled(&mut self, reply: Reply, from: &ServerId, action: LoanAction, now: Time) {
        self.borrower.recalled(&mut self.desk, reply, from, action, now);
    }

    /// The answer to an [`Effect::GiveBack`]. `RELEASE_COMPLETED`, which nobody asked for, comes here too, with any token.
    pub(in crate::core) fn release_answered(&mut self, token: Token, answer: ReleaseAnswer, now: Time) {
        self.borrower.release_answered(&mut self.desk, token, answer, now);
    }

    // Owner.

    /// A master asks for workers.
    pub(in crate::core) fn asked(&mut self, asked: Asked, now: Time) {
        let borrows = self.rests_on();
        self.owner.asked(&mut self.desk, asked, borrows, now);
    }

    /// The group has agreed on a proposal, at this index; or it has not, as far as is known.
    pub(in crate::core) fn agreed(&mut self, proposal: Proposal, outcome: Result<u64, Unagreed>, now: Time) {
        self.owner.agreed(&mut self.desk, proposal, outcome, now);
    }

    /// These loans of this owner stand in the ledger as begun and not ended. Called after a start, and every now and then. Those that are not known
    /// here, from before a crash, are ended there: at once where their workers are `here`, at home, else when these are, or are waited for no more.
    pub(in crate::core) fn in_ledger(&mut self, loans: &[LentWorker], here: impl Fn(&ServerId) -> bool, now: Time) {
        self.owner.in_ledger(&mut self.desk, loans, here, now);
    }

    /// `LOANS` `RENEW` of the native master `from`. `member`: it is one of the own group.
    pub(in crate::core) fn renew(
        &mut self,
        reply: Reply,
        from: &ServerId,
        member: bool,
        loans: Vec<LoanId>,
        now: Time,
    ) {
        self.owner.renew(&mut self.desk, reply, (from, member), loans, now);
    }

    /// An own worker has registered here: a native one on each new link, with the highest epoch that it has seen; a foreign one when it says
    /// ALIVE after the farm has given it its order. Called before it is welcomed.
    pub(in crate::core) fn home(&mut self, worker: &ServerId, seen: Option<Epoch>, generation: u64, now: Time) {
        self.owner.home(&mut self.desk, worker, seen, generation, now);
    }

    /// An own worker is not here any more: its link is gone, it said goodbye, or the farm has lost it. One that obeys an order does so, too.
    pub(in crate::core) fn left(&mut self, worker: &ServerId, now: Time) {
        self.owner.left(&mut self.desk, worker, now);
    }

    /// A foreign worker was told to go on a link on which it waited to be pushed, and which still stands: [`Loans::left`] follows when that is
    /// gone. If it never is, the worker has not heeded the order, and is taken back.
    pub(in crate::core) fn told(&mut self, worker: &ServerId, now: Time) {
        self.owner.told(&self.desk, worker, now);
    }

    /// This worker has another owner now, as the ledger says: its loan, if any, is over here, and nothing more is said about it.
    pub(in crate::core) fn disowned(&mut self, worker: &ServerId, now: Time) {
        self.owner.disowned(&mut self.desk, worker, now);
    }

    /// `COMMAND_RELEASE`. `speaker`: who speaks on the link, where it has proved who it is; `from`: its address.
    pub(in crate::core) fn released(
        &mut self,
        reply: Reply,
        speaker: Option<&ServerId>,
        from: IpAddr,
        release: Release,
        now: Time,
    ) {
        self.owner.released(&mut self.desk, reply, speaker, from, release, now);
    }

    /// `notify_worker_returned`; who says so as for [`Loans::released`]. The node acknowledges it where the asker is native. The worker's own
    /// return is the proof.
    pub(in crate::core) fn returned(
        &mut self,
        speaker: Option<&ServerId>,
        from: IpAddr,
        returned: Returned,
        request_id: Option<&RequestId>,
        now: Time,
    ) {
        self.owner.returned(&mut self.desk, speaker, from, (returned, request_id), now);
    }

    /// A heartbeat of this master was heard, or it has answered one.
    pub(in crate::core) fn peer_alive(&mut self, peer: &ServerId, now: Time) {
        self.owner.peer_alive(&self.desk, peer, now);
        self.borrower.peer_alive(&mut self.desk, peer, now);
    }

    /// Somebody at this address who calls itself `speaker` heartbeats this master.
    pub(in crate::core) fn borrower_heard(&mut self, speaker: &ServerId, from: IpAddr, now: Time) {
        self.owner.borrower_heard(&self.desk, speaker, from, now);
    }

    /// This master has not answered for the timeout, or has said goodbye.
    pub(in crate::core) fn peer_timeout(&mut self, peer: &ServerId, now: Time) {
        self.owner.peer_timeout(&mut self.desk, peer, now);
        self.borrower.peer_timeout(peer);
    }

    /// A link is gone: nobody waits there for an answer.
    pub(in crate::core) fn link_closed(&mut self, link: LinkId, now: Time) {
        self.owner.link_closed(&mut self.desk, link, now);
    }

    // Looks.

    /// Workers of others on which this master rests.
    pub(super) fn rests_on(&self) -> Borrows {
        let promised = self.borrower.awaits();
        Borrows { here: self.borrower.borrows() - promised, promised }
    }

    /// The answer to `LOANS`. The counts of workers come from the farm.
    pub(in crate::core) fn answer(&self, after: Option<&LoanId>, counts: Counts, now: Time) -> LoansAnswer {
        super::show::answer(self, after, counts, now)
    }

    /// The loans that go on, out and in.
    pub(in crate::core) fn views(&self, now: Time) -> Vec<LoanView> {
        let all = self.owner.views(now).into_iter().chain(self.borrower.views(now));
        all.filter(|view| view.status != LoanState::Ended).collect()
    }

    /// Why this worker is where it is, and whether it is lent. `candidates`: all own workers that are here. `None`: nothing is known of it.
    pub(in crate::core) fn why(&self, worker: &ServerId, candidates: &[Candidate], now: Time) -> Option<String> {
        super::show::why(self, worker, candidates, now)
    }

    /// How this loan stands, and why. `None`: not known, or over for long.
    pub(in crate::core) fn why_loan(&self, loan: &LoanId, now: Time) -> Option<String> {
        super::show::why_loan(self, loan, now)
    }

    /// Why this master asks its neighbours for workers, or does not.
    pub(in crate::core) fn why_asks(&self, now: Time) -> String {
        super::show::why_asks(self, now)
    }

    /// A mark for an envelope to a stranger: a uuid v4.
    pub(in crate::core) fn mark(&mut self) -> RequestId {
        self.desk.request_id()
    }

    /// Own workers that are promised, on their way, or at a borrower; and guests.
    pub(in crate::core) fn counts(&self) -> (u64, u64) {
        (self.owner.count() as u64, self.borrower.count() as u64)
    }

    /// Whether this own worker is promised, on its way, or at a borrower.
    pub(in crate::core) fn has_lent(&self, worker: &ServerId) -> bool {
        self.owner.has(worker)
    }

    /// Whether it is, and is a native one.
    pub(in crate::core) fn has_lent_native(&self, worker: &ServerId) -> bool {
        self.owner.has_native(worker)
    }

    /// Own workers that are promised, on their way, or at a borrower, each with that borrower.
    pub(in crate::core) fn lent(&self) -> impl Iterator<Item = (&ServerId, &ServerId)> {
        self.owner.borrowers()
    }

    /// Guests, each with its owner.
    pub(in crate::core) fn guests(&self) -> impl Iterator<Item = (&ServerId, &ServerId)> {
        self.borrower.owners()
    }

    /// Panics if the machine contradicts itself.
    pub(in crate::core) fn check_invariants(&self) {
        self.owner.check_invariants();
        self.borrower.check_invariants();
    }
}

/// The counts of workers that LOANS shows. No worker is in two of them: one that is promised and has not left yet is lent, since it gets
/// nothing more to do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(in crate::core) struct Counts {
    /// Own workers that are here, and not lent.
    pub(in crate::core) local: u64,
    /// Own workers that are promised, on their way, or at a borrower.
    pub(in crate::core) lent: u64,
    /// Workers of others that are here.
    pub(in crate::core) borrowed: u64,
}
