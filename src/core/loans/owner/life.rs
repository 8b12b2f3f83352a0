//! The life of a loan at its owner: seen at the borrower, renewed, let go, home.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{Lent, Owner, Renewal, Stage};
use crate::core::links::Reply;
use crate::core::loans::desk::{Desk, workers};
use crate::core::loans::{Effect, Lend, LoanEvent, MAX_RELEASES, longest_stay};
use crate::time::Time;
use crate::wire::{
    Body, Epoch, Host, LoanDone, LoanId, MAX_WORKERS_NEEDED, Release, ReleaseAnswer, RequestId, Returned, ServerId,
};

/// A `COMMAND_RELEASE` whose workers are not all home.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Giving {
    /// Those that are still to come: at least one.
    pub(super) waits: BTreeSet<ServerId>,
    /// Who gives them back, as it says: it is told on another connection where its own is gone.
    to: Option<ServerId>,
    /// Those that are home, and of which it is told together with whoever comes until then.
    home: Option<(Time, Vec<ServerId>)>,
}

/// Workers that come home within this time are told of by one line: two at once are not read by all.
const TOLD_TOGETHER: Duration = Duration::from_millis(250);

impl Giving {
    /// The connection on which it was said is gone. `false`: so nobody can be told any more.
    pub(super) fn outlives_its_link(&self) -> bool {
        self.to.is_some()
    }

    /// When those that are home are told of.
    pub(super) fn due(&self) -> Option<Time> {
        self.home.as_ref().map(|(due, _)| *due)
    }

    /// Whether all were told of.
    pub(super) fn is_over(&self) -> bool {
        self.waits.is_empty() && self.home.is_none()
    }
}

impl Owner {
    /// `LOANS` `RENEW`: every loan of this borrower that goes on is renewed, as far as the policies of now allow it. Those that are not named in
    /// the answer are over: their workers come home.
    pub(in crate::core::loans) fn renew(
        &mut self,
        desk: &mut Desk,
        reply: Reply,
        (from, member): (&ServerId, bool),
        loans: Vec<LoanId>,
        now: Time,
    ) {
        desk.heard("loans_renew", reply.id.as_ref(), from.as_str());
        let lease = desk.config.lease;
        let mut renewed = Vec::new();
        for id in loans.into_iter().take(MAX_WORKERS_NEEDED as usize) {
            let Some(worker) = self.by_id.get(&id).cloned() else { continue };
            let loan = self.lent.get(&worker).expect("what has an id is lent");
            let lives = matches!(loan.stage, Stage::Moving { .. } | Stage::Active);
            if !lives || loan.borrower.peer != *from || renewed.iter().any(|(one, _)| *one == id) {
                continue;
            }
            if let Some(why) = self.withheld(desk, &worker, member) {
                let text = format!("not renewed: {why}");
                desk.decided_again(worker.as_str(), format!("its loan {id} is {text}"));
                self.lent.get_mut(&worker).expect("it was there a moment ago").reason = text;
                continue;
            }
            let loan = self.lent.get_mut(&worker).expect("it was there a moment ago");
            (loan.lease, loan.term) = (now + loan.renewal.term(desk), lease);
            renewed.push((id, lease));
            self.arrived(desk, &worker);
            self.settle(desk, &worker);
        }
        desk.said("loans_renewed", reply.id.as_ref(), from.as_str());
        let done = LoanDone { action: "RENEW".to_owned(), index: None, renewed };
        desk.push(Effect::Answer { reply, body: Body::LoanDone(Box::new(done)) });
    }

    /// Why the loan of this worker may not go on, by the policies of now: one clause. `None`: it may.
    fn withheld(&self, desk: &Desk, worker: &ServerId, member: bool) -> Option<String> {
        let loan = self.lent.get(worker)?;
        match desk.config.lend {
            Lend::Nobody => return Some("workers are lent to nobody here any more".to_owned()),
            Lend::Group if !member => {
                return Some(format!("workers are lent to members of the own group alone, and {} is none", loan.name));
            }
            Lend::Group | Lend::Everyone => {}
        }
        // Those that were lent first stay.
        let cap = desk.config.cap? as usize;
        let all = self.by_borrower.get(&loan.borrower.peer).into_iter().flatten();
        let goes_on = |loan: &Lent| matches!(loan.stage, Stage::Moving { .. } | Stage::Active);
        let before = |other: &Lent| (other.since, &other.loan_id) < (loan.since, &loan.loan_id);
        let first = all.filter_map(|worker| self.lent.get(worker)).filter(|other| goes_on(other) && before(other));
        (first.count() >= cap)
            .then(|| format!("{} has more than {} of this master, cap={cap}", loan.name, workers(cap)))
    }

    /// A worker was seen at its borrower.
    pub(super) fn arrived(&mut self, desk: &mut Desk, worker: &ServerId) {
        let Some(loan) = self.lent.get_mut(worker) else { return };
        if !matches!(loan.stage, Stage::Moving { .. }) {
            return;
        }
        (loan.stage, loan.here) = (Stage::Active, false);
        loan.reason = format!("it works for {}", loan.name);
        let text = format!("it is at {} on loan {}", loan.name, loan.loan_id);
        desk.decided(worker.as_str(), text);
        self.settle(desk, worker);
    }

    /// An own worker is not here any more.
    pub(in crate::core::loans) fn left(&mut self, desk: &mut Desk, worker: &ServerId, now: Time) {
        let Some(loan) = self.lent.get_mut(worker) else { return };
        match loan.stage {
            Stage::Proposed { deal } => self.withdraw(desk, deal, worker, now),
            Stage::Moving { .. } => {
                loan.here = false;
                // A stranger says nothing when the worker has come: that it went is all that is seen of it.
                if loan.renewal != Renewal::Lease {
                    self.arrived(desk, worker);
                }
            }
            _ => {}
        }
    }

    /// A foreign worker was told to go, and is still there: that it goes is seen when its link does.
    pub(in crate::core::loans) fn told(&mut self, desk: &Desk, worker: &ServerId, now: Time) {
        let Some(loan) = self.lent.get_mut(worker) else { return };
        let within = now + desk.config.match_timeout;
        match &mut loan.stage {
            // Who borrows it natively says when it has come; nothing is waited for longer than it was promised.
            Stage::Moving { until } if loan.renewal != Renewal::Lease => *until = (*until).max(within),
            _ => {}
        }
        self.settle(desk, worker);
    }

    /// An own worker has registered here.
    pub(in crate::core::loans) fn home(
        &mut self,
        desk: &mut Desk,
        worker: &ServerId,
        seen: Option<Epoch>,
        generation: u64,
        now: Time,
    ) {
        if let Some(loan) = self.lent.get_mut(worker) {
            let unread = loan.native && seen.is_none_or(|seen| seen < loan.ordered);
            match loan.stage {
                Stage::Proposed { .. } => {}
                // The order was lost with its link: it is given again.
                Stage::Moving { .. } if unread && desk.orders_left() > 1 => return self.order_again(desk, worker, now),
                // Somebody says that it is there, and it has never gone.
                _ if unread => {
                    loan.here = true;
                    let reason = format!("it never went to {}", loan.name);
                    self.take_back(desk, worker, &reason, now);
                }
                _ => {
                    let reason = match loan.stage {
                        Stage::Moving { .. } => format!("it has come back and was never seen at {}", loan.name),
                        Stage::Recalled { .. } => "it was recalled, and is home".to_owned(),
                        _ => "it is home".to_owned(),
                    };
                    self.end(desk, worker, LoanEvent::WorkerReturned, &reason, now);
                }
            }
        }
        self.at_home(desk, worker, seen, generation);
    }

    /// A worker is here that has not read the order to go. It is welcomed at home, so that whatever it has obeyed before is outranked, and then
    /// told again.
    fn order_again(&mut self, desk: &mut Desk, worker: &ServerId, now: Time) {
        let Some(generation) = self.lent.get(worker).map(|loan| loan.epoch.generation) else { return };
        let (Some(home), Some(epoch)) = (desk.epoch(generation), desk.epoch(generation)) else { return };
        let Some(loan) = self.lent.get_mut(worker) else { return };
        (loan.here, loan.ordered, loan.epoch) = (true, epoch, epoch);
        let order = loan.order(desk, loan.lease.since(now));
        self.note(worker, epoch, false);
        desk.push(Effect::AtHome { worker: worker.clone(), epoch: home });
        desk.push(Effect::Order { worker: worker.clone(), order });
    }

    /// Tells the farm the epoch of the welcome: one that outranks every order that is under way.
    fn at_home(&mut self, desk: &mut Desk, worker: &ServerId, seen: Option<Epoch>, generation: u64) {
        let standing = self.standing.get(worker);
        if standing.is_none() && seen.is_none() {
            return;
        }
        let told = standing.filter(|standing| {
            let recent = seen.is_none_or(|seen| seen <= standing.epoch);
            standing.home && recent && standing.epoch.generation >= generation
        });
        let Some(epoch) = told.map(|standing| standing.epoch).or_else(|| desk.epoch(generation)) else { return };
        self.note(worker, epoch, true);
        desk.push(Effect::AtHome { worker: worker.clone(), epoch });
    }

    /// This worker belongs to somebody else now.
    pub(in crate::core::loans) fn disowned(&mut self, desk: &mut Desk, worker: &ServerId, now: Time) {
        if let Some(Stage::Proposed { deal }) = self.lent.get(worker).map(|loan| &loan.stage) {
            let deal = *deal;
            self.withdraw(desk, deal, worker, now);
        }
        self.end(desk, worker, LoanEvent::LoanEnded, "it was adopted by another master", now);
        self.standing.remove(worker);
    }

    /// `COMMAND_RELEASE`: the borrower gives workers back.
    pub(in crate::core::loans) fn released(
        &mut self,
        desk: &mut Desk,
        reply: Reply,
        speaker: Option<&ServerId>,
        from: IpAddr,
        release: Release,
        now: Time,
    ) {
        let from_whom =
            speaker.or(release.master.as_ref()).map_or_else(|| from.to_string(), |speaker| speaker.to_string());
        desk.heard("command_release", reply.id.as_ref(), &from_whom);
        let (mut may_come, mut waits) = (Vec::new(), BTreeSet::new());
        for worker in release.workers {
            match self.lent.get(&worker) {
                // Whoever is not lent, as far as is known here, may come home as well.
                None => may_come.push(worker),
                // What the ledger says of a loan of before does not tell at which host its borrower is.
                Some(loan) if loan.remembered => may_come.push(worker),
                Some(loan) if loan.is_with(speaker, from) => {
                    let reason = format!("{} lets it go", loan.name);
                    self.let_go(desk, &worker, reason, now);
                    waits.insert(worker.clone());
                    may_come.push(worker);
                }
                Some(_) => {}
            }
        }
        desk.said("release_ack", reply.id.as_ref(), &from_whom);
        let link = reply.link;
        let master = Some(desk.own.server_id.clone());
        let answer = ReleaseAnswer { master, workers: may_come, completed: false };
        desk.push(Effect::Answer { reply, body: Body::ReleaseAnswer(Box::new(answer)) });
        if waits.is_empty() || (self.givings.len() >= MAX_RELEASES && !self.givings.contains_key(&link)) {
            return;
        }
        let to = release.master;
        let giving = self.givings.entry(link).or_insert_with(|| Giving { waits: BTreeSet::new(), to, home: None });
        giving.waits.append(&mut waits);
    }

    /// A loan is over; `home`: its worker is here. Who gave it back is told so.
    pub(super) fn given_back(&mut self, worker: &ServerId, home: bool, now: Time) {
        for giving in self.givings.values_mut() {
            if giving.waits.remove(worker) && home {
                giving.home.get_or_insert_with(|| (now + TOLD_TOGETHER, Vec::new())).1.push(worker.clone());
            }
        }
        self.givings.retain(|_, giving| !giving.is_over());
    }

    /// Says RELEASE_COMPLETED where it is due.
    pub(super) fn tick_givings(&mut self, desk: &mut Desk, now: Time) {
        for (link, giving) in &mut self.givings {
            let Some((_, workers)) = giving.home.take_if(|(due, _)| *due <= now) else { continue };
            desk.said("release_completed", None, giving.to.as_ref().map_or("who gave them back", ServerId::as_str));
            let answer = ReleaseAnswer { master: Some(desk.own.server_id.clone()), workers, completed: true };
            desk.push(Effect::Completed { link: *link, to: giving.to.clone(), answer });
        }
        self.givings.retain(|_, giving| !giving.is_over());
    }

    /// `notify_worker_returned`: the borrower has sent a worker home.
    pub(in crate::core::loans) fn returned(
        &mut self,
        desk: &mut Desk,
        speaker: Option<&ServerId>,
        from: IpAddr,
        (returned, request_id): (Returned, Option<&RequestId>),
        now: Time,
    ) {
        let from_whom = speaker.map_or_else(|| from.to_string(), |speaker| speaker.to_string());
        desk.heard("notify_worker_returned", request_id, &from_whom);
        let Some(loan) = self.lent.get(&returned.worker) else { return };
        let same = returned.loan_id.is_none_or(|id| id == loan.loan_id);
        if same && loan.is_with(speaker, from) {
            let reason = format!("it has left {}", loan.name);
            self.let_go(desk, &returned.worker, reason, now);
        }
    }

    /// The borrower has let a worker go: it is waited for, as long as its lease could have gone on, and its loan is not renewed any more.
    fn let_go(&mut self, desk: &Desk, worker: &ServerId, reason: String, now: Time) {
        let Some(loan) = self.lent.get_mut(worker) else { return };
        if matches!(loan.stage, Stage::Moving { .. } | Stage::Active | Stage::Recalled { .. }) {
            loan.stage = Stage::Returning { until: now + loan.term + desk.margin_of(loan.term) };
            loan.reason = reason;
            self.settle(desk, worker);
        }
    }

    /// A heartbeat of this master was heard: it renews the loans of strangers.
    pub(in crate::core::loans) fn peer_alive(&mut self, desk: &Desk, peer: &ServerId, now: Time) {
        for worker in self.by_borrower.get(peer).cloned().unwrap_or_default() {
            self.borrower_lives(desk, &worker, now);
        }
    }

    /// Somebody heartbeats this master who calls itself as a stranger did that was lent to, from the same host: that one may be called by nobody
    /// here, and its heartbeats are all that is heard of it.
    pub(in crate::core::loans) fn borrower_heard(&mut self, desk: &Desk, speaker: &ServerId, from: IpAddr, now: Time) {
        let its = |loan: &Lent| loan.said.as_ref() == Some(speaker) && loan.is_at(from);
        let of_it = self.lent.iter().filter(|(_, loan)| loan.renewal != Renewal::Lease && its(loan));
        let all: Vec<ServerId> = of_it.map(|(worker, _)| worker.clone()).collect();
        for worker in all {
            self.borrower_lives(desk, &worker, now);
        }
    }

    /// A stranger that has this worker lives: the loan goes on, and ends by its silence from now on.
    fn borrower_lives(&mut self, desk: &Desk, worker: &ServerId, now: Time) {
        let Some(loan) = self.lent.get_mut(worker) else { return };
        if loan.renewal == Renewal::Lease || !matches!(loan.stage, Stage::Moving { .. } | Stage::Active) {
            return;
        }
        loan.renewal = Renewal::Heartbeats;
        loan.goes_on(desk, now);
        self.settle(desk, worker);
    }

    /// This master is TIMEOUT: its guests go home by themselves, and no loan to it goes on.
    pub(in crate::core::loans) fn peer_timeout(&mut self, desk: &mut Desk, peer: &ServerId, now: Time) {
        self.hungry.remove(peer);
        for worker in self.by_borrower.get(peer).cloned().unwrap_or_default() {
            let Some(loan) = self.lent.get(&worker) else { continue };
            let reason = format!("{} does not answer any more", loan.name);
            match loan.stage {
                Stage::Proposed { deal } => self.cancel(desk, deal, None, &reason, now),
                Stage::Moving { .. } => self.take_back(desk, &worker, &reason, now),
                _ => self.end(desk, &worker, LoanEvent::LoanEnded, &reason, now),
            }
        }
    }
}

impl Lent {
    /// It was heard of: so long it goes on. A native worker at a stranger is back by itself after its longest stay, or will never be.
    pub(super) fn goes_on(&mut self, desk: &Desk, now: Time) {
        (self.lease, self.term) = (now + self.renewal.term(desk), desk.config.lease);
        if self.native && self.renewal != Renewal::Lease {
            let longest = longest_stay(desk.config.lease);
            self.lease = self.lease.min(self.since + longest + longest / 10);
        }
    }

    /// Whether it is this master that has the worker: by the id under which it has proved itself, or by the host at which it is called. What it
    /// says of itself does not count.
    fn is_with(&self, speaker: Option<&ServerId>, from: IpAddr) -> bool {
        speaker == Some(&self.borrower.peer) || (self.is_at(from) && self.renewal != Renewal::Lease)
    }

    /// Whether the borrower is called at this host.
    fn is_at(&self, from: IpAddr) -> bool {
        let host = self.borrower.address.as_ref().map(|address| &address.host);
        matches!(host, Some(Host::Ip(ip)) if ip.to_canonical() == from.to_canonical())
    }
}
