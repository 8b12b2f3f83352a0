//! Rounds: one neighbour is asked after the other, the best first, until enough are promised or all have been asked.
//!
//! There is one request at a time, and no round while workers that were promised may still come. A round that comes to nothing is followed by
//! a pause that doubles. What a neighbour said is forgotten with the round, but for the form in which it has offered: its workers go home by that;
//! and, where there are more neighbours than a round asks, that it has promised nobody: those that were not asked come before it in the next one.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::guests::{Stage, Visit};
use super::need::Offers;
use super::{Borrower, MAX_OLDER};
use crate::core::LogLevel;
use crate::core::loans::agenda::take_out;
use crate::core::loans::desk::{Desk, span, workers};
use crate::core::loans::{Effect, LoanEvent, MAX_PROMISED, MAX_ROUND, Neighbour, Party, Token};
use crate::time::Time;
use crate::wire::{
    Dialect, Epoch, LoanAnswer, LoanId, LoanRequest, LoanState, LoanView, MAX_QUOTE, MAX_WORKERS_NEEDED,
    NativeLoanRequest, OfferedWorker, RequestId, ServerId, ServiceName, quote,
};

/// Pause after a round: the load of the node takes that long to show what the guests are worth.
const PAUSE: Duration = Duration::from_secs(2);

/// The longest pause after rounds that came to nothing: a worker that is free again waits at most so long for a borrower that waits for it.
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// Services that a sentence names at most.
const MAX_SAID: usize = 3;

/// Neighbours are being asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Round {
    /// Those that are still to be asked, best first.
    queue: VecDeque<Neighbour>,
    /// There are more neighbours than one round asks: who promises nobody is remembered.
    of_many: bool,
    /// Some have not been asked since the last time that all were, and are not in this round either.
    more: bool,
    /// The request that is under way.
    ask: Option<Ask>,
    /// Workers that were promised in this round.
    got: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ask {
    token: Token,
    request_id: RequestId,
    whom: Neighbour,
    needed: u32,
    sent: Time,
    until: Time,
}

/// A worker that was promised and has not come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Promise {
    pub(super) owner: Party,
    pub(super) name: String,
    /// The owner wants COMMAND_RELEASE first.
    pub(super) asks_back: bool,
    pub(super) terms: Option<Promised>,
    pub(super) since: Time,
    /// After this it is not waited for any more.
    pub(super) until: Time,
}

/// The terms of a native owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Promised {
    pub(super) loan_id: LoanId,
    pub(super) epoch: Epoch,
    /// Until when it may be used: counted from when it was asked for.
    pub(super) lease: Time,
    pub(super) term: Duration,
    pub(super) agreed: bool,
}

/// Workers that were promised without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Unnamed {
    /// By whom, and how many: 1 or more each. All of one round, so at most [`MAX_ROUND`].
    by: Vec<(Neighbour, u32)>,
    pub(super) until: Time,
}

impl Unnamed {
    /// How many are awaited.
    pub(super) fn count(&self) -> u32 {
        self.by.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// One has come that one of these may have promised: the first of them did.
    pub(super) fn take(&mut self, may: impl Fn(&Neighbour) -> bool) -> Option<Neighbour> {
        let at = self.by.iter().position(|(lender, _)| may(lender))?;
        self.by[at].1 -= 1;
        let lender = self.by[at].0.clone();
        self.by.retain(|(_, count)| *count > 0);
        Some(lender)
    }
}

impl Round {
    /// When the request that is under way is given up.
    pub(super) fn until(&self) -> Option<Time> {
        self.ask.as_ref().map(|ask| ask.until)
    }

    #[cfg(test)]
    pub(super) fn bring(&mut self, now: Time) -> bool {
        self.ask.as_mut().is_some_and(|ask| {
            ask.until = now;
            true
        })
    }

    pub(super) fn excuse(&mut self, lost: Duration) {
        if let Some(ask) = &mut self.ask {
            ask.until = ask.until + lost;
        }
    }
}

impl Borrower {
    /// Whether more workers are needed than are here or on their way.
    pub(super) fn lacks(&self) -> bool {
        self.lack() > 0
    }

    fn lack(&self) -> u32 {
        self.missing().saturating_sub(self.recalled)
    }

    /// Of what is lacked, how many workers who run this would help.
    fn lack_of(&self, offers: Offers<'_>) -> u32 {
        let wanted = self.load.extra(self.load.runnable(offers));
        // Those that can run some of the same are here for these jobs.
        let same = |one: &ServiceName| offers.include(one) && self.load.is_for(std::slice::from_ref(one));
        let coming = self.coming(|visit| visit.services.iter().any(same));
        wanted.saturating_sub(coming).saturating_sub(self.recalled).min(self.lack())
    }

    /// Whether a round may begin.
    pub(in crate::core::loans) fn wants_neighbours(&self, now: Time) -> bool {
        let waits = !self.promises.is_empty() || self.unnamed.count() > 0;
        self.round.is_none() && !waits && self.again <= now && self.lacks()
    }

    /// Begins a round with those that are worth asking.
    pub(in crate::core::loans) fn neighbours(&mut self, desk: &mut Desk, known: Vec<Neighbour>, now: Time) {
        if !self.wants_neighbours(now) {
            return;
        }
        let itself = |one: &Neighbour| one.peer == desk.own.server_id || one.address == desk.own.address;
        let mut queue: Vec<Neighbour> = known.into_iter().filter(|one| !itself(one)).collect();
        let all = queue.len();
        queue.retain(|one| one.alive && !one.saturated && self.lack_of(one.offers()) > 0);
        if queue.is_empty() {
            // Nobody is asked, and so nobody is spared by a longer pause.
            self.outcome = self.nobody_of(all);
            self.again = self.again.max(now + PAUSE);
            return;
        }
        let of_many = queue.len() > MAX_ROUND;
        let fresh = queue.iter().filter(|one| !self.passed.contains(&one.peer)).count();
        if !of_many || fresh == 0 {
            self.passed.clear();
        } else {
            let known: BTreeSet<&ServerId> = queue.iter().map(|one| &one.peer).collect();
            self.passed.retain(|peer| known.contains(peer));
        }
        let more = of_many && (fresh == 0 || fresh > MAX_ROUND);
        let rank = |one: &Neighbour| (self.passed.contains(&one.peer), one.score);
        queue.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.peer.cmp(&b.peer)));
        queue.truncate(MAX_ROUND);
        self.round = Some(Round { queue: queue.into(), of_many, more, ask: None, got: 0 });
        self.ask_next(desk, now);
    }

    /// Why there is nobody to ask: none of so many others.
    fn nobody_of(&self, all: usize) -> String {
        if all == 0 {
            return "no other master is known".to_owned();
        }
        let mut wanted: Vec<&str> = self.load.needs.iter().map(|need| need.service.as_str()).take(MAX_SAID).collect();
        if self.load.needs.len() > MAX_SAID {
            wanted.push("or another that is needed");
        }
        let (wanted, which) = (wanted.join(", "), if all == 1 { "master" } else { "masters" });
        format!("of {all} {which} known none is ALIVE, unsaturated and offers {wanted}")
    }

    /// The next of the round that can help, and with how many workers at most.
    fn next_of_round(&mut self) -> Option<(Neighbour, u32)> {
        while self.lacks() {
            let whom = self.round.as_mut()?.queue.pop_front()?;
            let needed = self.lack_of(whom.offers()).min(MAX_WORKERS_NEEDED);
            if needed > 0 {
                return Some((whom, needed));
            }
        }
        None
    }

    /// Asks the next, or ends the round.
    fn ask_next(&mut self, desk: &mut Desk, now: Time) {
        if self.round.is_none() {
            return;
        }
        let Some((whom, needed)) = self.next_of_round() else { return self.end_round(desk, now) };
        let (token, request_id) = (desk.token(), desk.request_id());
        let services = self.load.needs.iter().map(|need| need.service.clone()).collect();
        let native = NativeLoanRequest { services, group: desk.own.group.clone() };
        let request = LoanRequest {
            master: Some(desk.own.server_id.clone()),
            name: Some(desk.own.name.clone()),
            address: Some(desk.own.address.clone()),
            port: Some(desk.own.address.port),
            load: self.load.pending,
            capacity: self.load.capacity,
            needed,
            native: Some(native),
            dialect: None,
        };
        let (pending, capacity) = (self.load.pending, self.load.capacity);
        let detail = format!(
            "{} is asked for {}: {pending} jobs pending, capacity={capacity}",
            whom.name,
            workers(needed as usize)
        );
        desk.said("request_help", Some(&request_id), whom.peer.as_str());
        desk.decided(whom.peer.as_str(), detail.clone());
        desk.event(LoanEvent::LoanAsked, None, Some(&whom.peer), detail);
        let to = whom.party();
        desk.push(Effect::Ask { token, to, link: whom.link, request_id: request_id.clone(), request });
        let ask = Ask { token, request_id, whom, needed, sent: now, until: now + desk.config.answer };
        if let Some(round) = &mut self.round {
            round.ask = Some(ask);
        }
    }

    fn end_round(&mut self, desk: &mut Desk, now: Time) {
        let Some(round) = self.round.take() else { return };
        let pause = if round.got > 0 || !self.lacks() {
            self.fruitless = 0;
            PAUSE
        } else if round.more {
            // This was no answer of all yet.
            desk.rng.shortened(PAUSE)
        } else {
            let doubled = PAUSE.saturating_mul(1 << self.fruitless.min(8));
            self.fruitless = self.fruitless.saturating_add(1);
            desk.rng.shortened(doubled.min(PAUSE_MOST))
        };
        self.again = self.again.max(now + pause);
    }

    /// What a neighbour says.
    pub(in crate::core::loans) fn answered(&mut self, desk: &mut Desk, token: Token, answer: LoanAnswer, now: Time) {
        let Some(ask) = self.take_ask(token) else {
            let (LoanAnswer::Accepted { master, .. } | LoanAnswer::Rejected { master, .. }) = &answer;
            let who = master.as_ref().map_or("a master that does not say who it is", ServerId::as_str);
            let text = format!("an answer of {who} to a request for workers came too late, and counts for nothing");
            return desk.log(LogLevel::Info, text);
        };
        let (name, peer) = (ask.whom.name.clone(), ask.whom.peer.clone());
        match answer {
            LoanAnswer::Rejected { reason, .. } => {
                desk.heard("response_rejected", Some(&ask.request_id), peer.as_str());
                let reason = quote(&reason, MAX_QUOTE);
                self.refused(desk, &ask.whom, &format!("{name} refuses: {reason}"));
            }
            LoanAnswer::Accepted { offered, workers: named, dialect, .. } => {
                desk.heard("response_accepted", Some(&ask.request_id), peer.as_str());
                // Who offers in the form of 2025/2 wants to be asked before its workers go home, and knows no other way.
                let mut ask = ask;
                let older = dialect == Some(Dialect::Gen2025_2);
                ask.whom.asks_back |= older;
                self.speaks_older(&peer, older);
                let got = self.promised(desk, &ask, offered, named, now);
                if got == 0 {
                    self.refused(desk, &ask.whom, &format!("{name} accepts, and offers nobody"));
                } else {
                    self.outcome = format!("{name} has promised {}", workers(got as usize));
                    let detail = format!("{}, of {} asked for", self.outcome, ask.needed);
                    desk.decided(peer.as_str(), detail.clone());
                    desk.event(LoanEvent::LoanAccepted, None, Some(&peer), detail);
                    if let Some(round) = &mut self.round {
                        round.got += got;
                    }
                }
            }
        }
        self.ask_next(desk, now);
    }

    /// How a neighbour has offered: its workers may come late, or under other names than those that it told.
    pub(in crate::core::loans) fn speaks_older(&mut self, peer: &ServerId, older: bool) {
        if !older {
            self.older.remove(peer);
        } else if self.older.len() < MAX_OLDER {
            self.older.insert(peer.clone());
        }
    }

    /// Notes who was promised. Tells how many count.
    fn promised(&mut self, desk: &Desk, ask: &Ask, offered: u32, named: Vec<OfferedWorker>, now: Time) -> u32 {
        let until = now + desk.config.match_timeout;
        let listed = named.len();
        let mut got = 0;
        for OfferedWorker { worker, terms, .. } in named {
            let room = got < ask.needed && self.promises.len() + (self.unnamed.count() as usize) < MAX_PROMISED;
            if !room || self.promises.contains_key(&worker) {
                continue;
            }
            // Who is quicker than the answer is here already.
            got += 1;
            let terms = terms.map(|terms| Promised {
                loan_id: terms.loan_id,
                epoch: terms.epoch,
                lease: ask.sent + terms.lease,
                term: terms.lease,
                agreed: terms.agreed,
            });
            let (owner, name) = (ask.whom.party(), ask.whom.name.clone());
            let promise = Promise { owner, name, asks_back: ask.whom.asks_back, terms, since: now, until };
            let loan_id = promise.loan_id();
            let fits = |visit: &Visit| visit.loan_id.as_ref() == loan_id || (!visit.native && visit.loan_id.is_none());
            let came = |visit: &Visit| visit.stage == Stage::Active && fits(visit);
            if self.guests.get(&worker).is_some_and(came) {
                self.invite(&worker, promise);
            } else {
                self.promises.insert(worker, promise);
            }
        }
        if listed == 0 && offered > 0 {
            got = offered.min(ask.needed);
            let coming = self.promises.len() + self.unnamed.count() as usize;
            got = got.min(u32::try_from(MAX_PROMISED.saturating_sub(coming)).unwrap_or(0));
            if got > 0 {
                self.unnamed.by.push((ask.whom.clone(), got));
                self.unnamed.until = until;
            }
        }
        got
    }

    fn refused(&mut self, desk: &mut Desk, whom: &Neighbour, why: &str) {
        if self.round.as_ref().is_some_and(|round| round.of_many) {
            self.passed.insert(whom.peer.clone());
        }
        why.clone_into(&mut self.outcome);
        desk.decided(whom.peer.as_str(), why.to_owned());
        desk.event(LoanEvent::LoanRefused, None, Some(&whom.peer), why.to_owned());
    }

    /// A request came to nothing. `false`: the token is of something else.
    pub(super) fn ask_failed(&mut self, desk: &mut Desk, token: Token, reason: &str, now: Time) -> bool {
        let Some(ask) = self.take_ask(token) else { return false };
        let why = format!("{} could not be asked: {}", ask.whom.name, quote(reason, MAX_QUOTE));
        self.refused(desk, &ask.whom, &why);
        self.ask_next(desk, now);
        true
    }

    pub(super) fn tick_round(&mut self, desk: &mut Desk, now: Time) {
        let late = self.round.as_ref().and_then(|round| round.ask.as_ref()).filter(|ask| ask.until <= now);
        if let Some(token) = late.map(|ask| ask.token)
            && let Some(ask) = self.take_ask(token)
        {
            desk.push(Effect::Drop { token });
            let why = format!("{} did not answer within {}", ask.whom.name, span(now.since(ask.sent)));
            desk.log(LogLevel::Warn, format!("request_help: {why}"));
            self.refused(desk, &ask.whom, &why);
            self.ask_next(desk, now);
        }
        let late = |promise: &Promise| promise.until <= now;
        for (worker, promise) in take_out(&mut self.promises, |_, promise| late(promise)) {
            let within = span(desk.config.match_timeout);
            let text = format!("it was promised by {}, and did not come within {within}", promise.name);
            desk.decided(worker.as_str(), text.clone());
            desk.event(LoanEvent::LoanEnded, Some(&worker), Some(&promise.owner.peer), format!("{worker}: {text}"));
        }
        if self.unnamed.until <= now {
            self.unnamed.by.clear();
        }
    }

    fn take_ask(&mut self, token: Token) -> Option<Ask> {
        self.round.as_mut()?.ask.take_if(|ask| ask.token == token)
    }

    /// Why nobody is asked, or who is: one sentence.
    pub(in crate::core::loans) fn why_asks(&self, now: Time) -> String {
        let load = &self.load;
        if let Some(ask) = self.round.as_ref().and_then(|round| round.ask.as_ref()) {
            let (name, needed) = (&ask.whom.name, workers(ask.needed as usize));
            return format!("waits for {name}, which was asked for {needed} {} ago", span(now.since(ask.sent)));
        }
        if !load.saturated {
            let (pending, capacity, hold) = (load.pending, load.capacity, span(load.hold));
            return match pending > capacity {
                true => format!(
                    "asks nobody yet: {pending} jobs pending are above capacity={capacity}; it counts as saturated when that has lasted {hold}"
                ),
                false => format!("asks nobody: {pending} jobs pending, saturated above capacity={capacity}"),
            };
        }
        if let Some(promise) = self.promises.values().next() {
            let count = workers(self.promises.len() + self.unnamed.count() as usize);
            let since = span(now.since(promise.since));
            return format!("asks nobody: {count} on the way, promised {since} ago by {}", promise.name);
        }
        if self.unnamed.count() > 0 {
            return format!("asks nobody: {} on the way", workers(self.unnamed.count() as usize));
        }
        if !self.lacks() {
            let useful = |visit: &&Visit| visit.stage == Stage::Active && visit.is_useful();
            let here = workers(self.guests.values().filter(useful).count());
            let recalled = workers(self.recalled as usize);
            return format!(
                "asks nobody: {here} of others here and {recalled} recalled are enough for {} jobs, capacity={}",
                load.pending, load.capacity
            );
        }
        if self.again > now {
            return format!("asks again in {}: {}", span(self.again.since(now)), self.outcome);
        }
        format!("is about to ask: {}", self.outcome)
    }
}

impl Promise {
    /// On which loan it comes, where its owner is native.
    pub(super) fn loan_id(&self) -> Option<&LoanId> {
        self.terms.as_ref().map(|terms| &terms.loan_id)
    }

    /// What people are shown of it, where it has an id.
    pub(super) fn view(&self, worker: &ServerId, now: Time) -> Option<LoanView> {
        let terms = self.terms.as_ref()?;
        Some(LoanView {
            loan_id: terms.loan_id.clone(),
            worker: worker.clone(),
            out: false,
            peer: self.owner.peer.to_string(),
            status: LoanState::Moving,
            epoch: Some(terms.epoch),
            lease: Some(terms.lease.since(now)),
            agreed: terms.agreed,
            age: now.since(self.since),
            done: 0,
            reason: format!("{} has promised it, and it has not come yet", self.name),
        })
    }
}

impl Neighbour {
    pub(super) fn party(&self) -> Party {
        Party { peer: self.peer.clone(), address: Some(self.address.clone()) }
    }
}
