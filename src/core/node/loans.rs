//! Loans: what masters and workers say of them, and what the machine of loans wants done.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Node;
use super::errands::{DIAL, Errands, Waits, Way};
use super::needs::Told;
use crate::core::links::Reply;
use crate::core::loans::{
    Asked, Candidate, Counts, Effect, FOREIGN_SERVICE, Guest, LoanConfig, LoanEvent, Loans, Neighbour, Own, Party,
    Proposal, Unagreed,
};
use crate::core::{LinkId, LogLevel, Output};
use crate::time::Time;
use crate::wire::{
    Address, Body, Epoch, ErrorAnswer, ErrorCode, EventKind, Host, Listens, LoanAction, LoanAnswer, LoanRequest,
    LoanView, MAX_QUOTE, Message, REGISTER_WAIT, Registration, Release, ReleaseAnswer, RequestId, Returned, ServerId,
    ServiceName, StatusAck, Terms, WorkerAlive, WorkerMove, quote,
};

/// How long before a registration is handed on its worker may have spoken elsewhere: it was held back for a while, and that may end late.
const SINCE: Duration = REGISTER_WAIT.saturating_mul(4);

/// How often what the ledger says of own loans is compared with what this master knows.
const COMPARE: Duration = Duration::from_secs(5);

/// The loans of a master, and what they need of the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Desk {
    pub(super) loans: Loans,
    /// The policies of this node's own options; what the group has agreed on goes before them.
    pub(super) own: LoanConfig,
    /// Those that it goes by.
    pub(super) policies: LoanConfig,
    pub(super) errands: Errands,
    /// Marks of what the group was asked.
    proposals: BTreeMap<u64, Proposal>,
    /// What was said of the queue last.
    pub(super) told: Told,
    /// When the ledger is looked at next.
    compare: Time,
    /// An own worker that has just come home, and the epoch that its welcome bears.
    home: Option<(ServerId, Epoch)>,
}

impl Node {
    /// Lends and borrows workers by these settings. Called once, before the first input, on a master. `boot` as in [`Node::restored`].
    ///
    /// # Errors
    /// Where the settings are out of range. The node lends and borrows nothing then.
    pub fn lend(&mut self, settings: LoanConfig, boot: u32, seed: u64, now: Time) -> Result<(), String> {
        settings.check().map_err(|error| error.to_string())?;
        let loans = Loans::new(self.loan_own(), settings.clone(), u64::from(boot), seed, now);
        let desk = Desk {
            loans,
            policies: settings.clone(),
            own: settings,
            errands: Errands::default(),
            proposals: BTreeMap::new(),
            told: Told::new(now),
            compare: now,
            home: None,
        };
        self.desk = Some(Box::new(desk));
        Ok(())
    }

    /// Own workers that are promised, on their way or at a borrower, and workers of others that are here on loan.
    pub(crate) fn loan_counts(&self) -> (u64, u64) {
        self.desk.as_ref().map_or((0, 0), |desk| desk.loans.counts())
    }

    /// Where the workers of this master are, and who else is here. Each worker counts once.
    pub(super) fn worker_counts(&self) -> Counts {
        let (own, guests) = self.farm.whose();
        let Some(desk) = &self.desk else { return Counts { local: own, lent: 0, borrowed: guests } };
        let leaving =
            desk.loans.lent().filter(|(worker, _)| self.farm.is_borrowed(worker) == Some(false)).count() as u64;
        // One that has registered and has not asked for work yet is none of the farm's.
        let coming = desk.loans.guests().filter(|(worker, _)| self.farm.is_borrowed(worker).is_none()).count() as u64;
        Counts { local: own - leaving, lent: desk.loans.counts().0, borrowed: guests + coming }
    }

    /// The loans that go on, out and in, for who checks the laws of loans.
    pub(crate) fn loan_views(&self, now: Time) -> Vec<LoanView> {
        self.desk.as_ref().map_or_else(Vec::new, |desk| desk.loans.views(now))
    }

    /// Own workers that are here and get nothing because they are promised, for who checks the laws of loans.
    pub(crate) fn spoken_for(&self) -> impl Iterator<Item = &ServerId> {
        self.farm.spoken_for()
    }

    fn loan_own(&self) -> Own {
        Own {
            server_id: self.identity.server_id.clone(),
            name: self.identity.name.clone(),
            group: self.config.group.clone(),
            address: self.own_address(),
        }
    }

    pub(super) fn loans_deadline(&self) -> Option<Time> {
        let desk = self.desk.as_ref()?;
        [desk.loans.deadline(), desk.told.deadline()].into_iter().flatten().min()
    }

    pub(super) fn tick_loans(&mut self, now: Time) {
        let Some(desk) = &mut self.desk else { return };
        desk.loans.tick(now);
        if desk.compare <= now {
            desk.compare = now + COMPARE;
            if let Some(group) = &self.group {
                let own = group.loans_of(&self.identity.server_id);
                // A stranger was never told of a lease: nobody can say whether its worker is on its way.
                let of_member: BTreeSet<&ServerId> =
                    own.iter().filter(|loan| group.has_member(&loan.borrower)).map(|loan| &loan.worker).collect();
                let away =
                    |worker: &ServerId| of_member.contains(worker) && self.farm.is_borrowed(worker) != Some(false);
                desk.loans.in_ledger(&own, |worker| !away(worker), now);
            }
        }
    }

    /// Asks the registry for neighbours where a round of requests begins.
    pub(super) fn offer_neighbours(&mut self, now: Time) {
        let wanted = |node: &Node| node.desk.as_ref().is_some_and(|desk| desk.loans.wants_neighbours(now));
        if self.stopped || !wanted(self) {
            return;
        }
        self.tell_loans_load_now(now);
        if !wanted(self) {
            return;
        }
        let known = self.neighbours();
        let own = self.loan_own();
        if let Some(desk) = &mut self.desk {
            desk.loans.rename(own);
            desk.loans.neighbours(known, now);
        }
    }

    /// The masters that are known, native and foreign.
    fn neighbours(&self) -> Vec<Neighbour> {
        let group_id = self.group_presence().group_id;
        let mut known = self.registry.neighbours();
        for neighbour in &mut known {
            neighbour.asks_back = self.config.hints.get(&neighbour.address).is_some_and(|hint| hint.older);
            neighbour.member = group_id.is_some()
                && self.group.as_ref().is_some_and(|group| group.has_member(&neighbour.peer))
                && neighbour.member;
        }
        known
    }

    /// A request of another master about loans.
    pub(super) fn loan_request(&mut self, reply: Reply, body: Body, now: Time) {
        let Some(from) = self.links.get(reply.link).map(|link| link.remote.ip()) else {
            return self.unanswered(&reply);
        };
        if self.desk.is_none() || self.stopped {
            return self.no_loans(&reply, &body);
        }
        self.links.touch(reply.link);
        let speaker = self.speaker(reply.link);
        if matches!(body, Body::Loans { .. }) {
            self.tell_loans_load_now(now);
        }
        match body {
            Body::LoanRequest(request) => self.asked_for_workers(reply, from, *request, speaker, now),
            Body::Release(release) => self.given_back(reply, speaker, from, *release, now),
            Body::Returned(returned) => self.told_returned(&reply, speaker, from, *returned, now),
            Body::LoanAction(action) => {
                let Some(peer) = speaker else {
                    let detail =
                        "only a native master that heartbeats on this connection, or dials it as itself, may say this";
                    return self.reply_error(&reply, ErrorAnswer::new("LOANS", ErrorCode::NotAMember, detail));
                };
                let group_id = self.group_presence().group_id;
                let member = group_id.is_some() && self.group.as_ref().is_some_and(|group| group.has_member(&peer));
                let Some(desk) = &mut self.desk else { return };
                match *action {
                    LoanAction::Renew { loans } => desk.loans.renew(reply, &peer, member, loans, now),
                    other => desk.loans.recalled(reply, &peer, other, now),
                }
            }
            Body::Loans { after } => {
                let counts = self.worker_counts();
                let Some(desk) = &self.desk else { return };
                let mut answer = desk.loans.answer(after.as_ref(), counts, now);
                // A borrower that was started anew was not told; the ledger knows.
                if let Some(group) = &self.group {
                    let guests = answer.loans.iter_mut().filter(|view| !view.out && !view.agreed);
                    guests.for_each(|view| view.agreed = group.holds(&view.loan_id));
                }
                self.reply(&reply, Body::LoansAnswer(Box::new(answer)));
            }
            _ => self.unanswered(&reply),
        }
    }

    /// A node that lends nothing, a worker or one that stops, says so: in the words of the asker's own protocol where it is a stranger's.
    fn no_loans(&mut self, reply: &Reply, body: &Body) {
        match body {
            Body::LoanRequest(_) => {
                let master = Some(self.identity.server_id.clone());
                let answer = LoanAnswer::Rejected { master, reason: "refused".to_owned() };
                self.reply(reply, Body::LoanAnswer(Box::new(answer)));
            }
            Body::Loans { .. } | Body::LoanAction(_) => {
                let error = if self.stopped {
                    Self::stopping("LOANS")
                } else {
                    let none =
                        || ErrorAnswer::new("LOANS", ErrorCode::NotAMaster, "this node lends and borrows no workers");
                    self.not_a_master("LOANS").unwrap_or_else(none)
                };
                self.reply_error(reply, error);
            }
            _ => self.unanswered(reply),
        }
    }

    /// The native node that speaks on a link. Who says that it is a member must have proved it there.
    fn speaker(&self, link: LinkId) -> Option<ServerId> {
        let accepted = self.links.get(link).and_then(|link| link.speaker.clone());
        let named = accepted.or_else(|| self.registry.peer_of(link).cloned())?;
        let member = self.group.as_ref().filter(|group| group.has_member(&named));
        match member {
            Some(group) => group.proved_on(link).cloned().filter(|proved| *proved == named),
            None => Some(named),
        }
    }

    fn asked_for_workers(
        &mut self,
        reply: Reply,
        from: IpAddr,
        request: LoanRequest,
        speaker: Option<ServerId>,
        now: Time,
    ) {
        let all = self.neighbours();
        let mut trusted: Vec<Address> = self.config.peers.clone();
        trusted.extend(all.iter().filter(|neighbour| neighbour.member).map(|neighbour| neighbour.address.clone()));
        let known = self.who_asks(&all, &request, from, speaker, &trusted);
        let candidates = self.candidates_to_lend();
        let asked = Asked { reply, from, request, known, trusted, candidates };
        if let Some(desk) = &mut self.desk {
            desk.loans.asked(asked, now);
        }
    }

    pub(super) fn candidates_to_lend(&self) -> Vec<Candidate> {
        let own = self.farm.own().map(|worker| Candidate {
            worker: worker.worker.clone(),
            native: worker.native,
            idle: worker.idle,
            promised: worker.promised,
            quarantined: worker.quarantined,
            draining: worker.draining,
            services: worker.services.iter().map(|offer| offer.name.clone()).collect(),
            slots: worker.slots,
            generation: worker.generation,
            // Programs of the classroom read it and nothing rests on it: one that connects for each message has no port of its own.
            address: Some(Address::of(
                (worker.link.and_then(|link| self.links.get(link)))
                    .map_or_else(|| SocketAddr::new(worker.host, 0), |link| link.remote),
            )),
        });
        own.collect()
    }

    fn given_back(&mut self, reply: Reply, speaker: Option<ServerId>, from: IpAddr, release: Release, now: Time) {
        if let Some(desk) = &mut self.desk {
            desk.loans.released(reply, speaker.as_ref(), from, release, now);
        }
    }

    fn told_returned(&mut self, reply: &Reply, speaker: Option<ServerId>, from: IpAddr, returned: Returned, now: Time) {
        let worker = returned.worker.clone();
        let native = returned.loan_id.is_some();
        if let Some(desk) = &mut self.desk {
            desk.loans.returned(speaker.as_ref(), from, returned, reply.id.as_ref(), now);
        }
        if native {
            let ack = StatusAck { worker: Some(worker), attempt: None };
            self.reply(reply, Body::StatusAck(Box::new(ack)));
        } else if reply.id.is_some() {
            // Not laid down; who marks it may wait for its mark, and nobody minds an answer.
            let ack = StatusAck { worker: None, attempt: None };
            self.reply(reply, Body::StatusAck(Box::new(ack)));
        } else {
            self.unanswered(reply);
        }
    }

    /// A worker says ALIVE: whom it belongs to, and what a native one is told of that.
    pub(super) fn worker_shows(&mut self, link: LinkId, alive: &mut WorkerAlive, now: Time) -> Option<Terms> {
        // Some programs name this master where it is their own: they are nobody's guests.
        if alive.native.is_none() && alive.owner.as_deref().is_some_and(|owner| self.is_own(owner, link)) {
            alive.owner = None;
        }
        self.worker_of(link, alive, None, now)
    }

    /// The same of one that may have said where it is at home.
    pub(super) fn worker_of(
        &mut self,
        link: LinkId,
        alive: &WorkerAlive,
        home: Option<Address>,
        now: Time,
    ) -> Option<Terms> {
        let terms = self.terms_for(alive);
        let own_id = self.identity.server_id.clone();
        let (worker, native) = (alive.worker.clone(), alive.native.as_deref());
        let owner = match &terms {
            Some(terms) => (terms.owner != own_id).then(|| terms.owner.clone()),
            None => alive.owner.as_deref().and_then(ServerId::new).filter(|owner| *owner != own_id),
        };
        let epoch = native.and_then(|native| native.epoch);
        // A foreign one that was told to go is not of the farm any more: so it is home again, or anew.
        let fresh = match native {
            Some(_) => self.farm.link_of(&worker) != Some(link),
            None => self.farm.is_borrowed(&worker) != Some(owner.is_some()),
        };
        let home = home.or_else(|| alive.owner.as_deref().and_then(|text| text.parse().ok()));
        let lender = owner.as_ref().filter(|_| fresh).and_then(|owner| {
            let at_home = || self.peer_named(&home.as_ref()?.to_string());
            self.peer_named(owner.as_str()).or_else(at_home)
        });
        let older = |lender: &&Party| {
            let hint = lender.address.as_ref().and_then(|address| self.config.hints.get(address));
            hint.is_some_and(|hint| hint.older)
        };
        let older = lender.as_ref().filter(older).map(|lender| lender.peer.clone());
        let Some(desk) = &mut self.desk else { return terms };
        if let Some(owner) = owner {
            older.into_iter().for_each(|lender| desk.loans.speaks_older(&lender));
            // A native worker without a loan has lost its owner, or has not heard of its new one: that is no loan of anybody.
            let orphan = native.is_some_and(|native| native.loan_id.is_none());
            if fresh && orphan {
                desk.loans.gone(&worker, now);
            } else if fresh {
                let loan_id = native.and_then(|native| native.loan_id.clone());
                let services = match native {
                    Some(native) => native.services.iter().map(|offer| offer.name.clone()).collect(),
                    None => ServiceName::new(FOREIGN_SERVICE).into_iter().collect(),
                };
                let guest = Guest {
                    worker: worker.clone(),
                    owner: Some(owner),
                    lender,
                    home,
                    loan_id,
                    epoch,
                    native: native.is_some(),
                    services,
                };
                desk.loans.came(guest, now);
                // What is said to one that the farm does not know yet waits until it does: it may be sent home at once.
                if self.farm.is_borrowed(&worker).is_some() {
                    self.carry_out_loans(now);
                }
            } else if let Some(native) = native {
                desk.loans.offers(&worker, native.services.iter().map(|offer| &offer.name), now);
            }
            let lent = self.desk.as_ref().filter(|_| !orphan).and_then(|desk| desk.loans.terms(&worker, now));
            // What the owner's home is, the registry may know where the loan does not.
            return match (terms, lent.filter(|_| native.is_some())) {
                (Some(terms), Some(lent)) => {
                    let owner_address = lent.owner_address.or(terms.owner_address);
                    let epoch = lent.epoch.max(terms.epoch);
                    Some(Terms { owner_address, epoch, ..lent })
                }
                (terms, _) => terms,
            };
        }
        if !fresh {
            let known = self.farm.terms_of(&worker).map(|known| known.epoch).unwrap_or_default();
            return terms.map(|terms| Terms { epoch: terms.epoch.max(known), ..terms });
        }
        let generation = terms.as_ref().map_or(0, |terms| terms.epoch.generation);
        // A process that was started anew here knows of no loan: it is nobody's guest any more.
        desk.loans.gone(&worker, now);
        desk.loans.home(&worker, epoch, generation, now);
        self.carry_out_loans(now);
        let home = self.desk.as_mut().and_then(|desk| desk.home.take_if(|(who, _)| *who == worker));
        terms.map(|terms| match home {
            Some((_, epoch)) => Terms { epoch: epoch.max(terms.epoch), ..terms },
            None => terms,
        })
    }

    /// `register_temporary_worker`, and no ALIVE behind it.
    pub(super) fn registers(&mut self, reply: Reply, host: IpAddr, registration: Registration, now: Time) {
        let Registration { worker, home, owner, listens, wants_ack } = registration;
        // It has gone on elsewhere while this waited for what follows it: nobody listens here any more.
        if self.farm.spoke_elsewhere(&worker, reply.link, now - SINCE) {
            return self.unanswered(&reply);
        }
        let owner = owner.or_else(|| home.as_ref().map(Address::to_string));
        let owner = owner.filter(|owner| !self.is_own(owner, reply.link));
        let listens = self.believed(listens.map(Into::into), host);
        let alive = WorkerAlive { worker: worker.clone(), owner, listens, native: None };
        if self.is_impostor(host, &alive) {
            return self.reply(&reply, Body::NoTask);
        }
        self.worker_of(reply.link, &alive, home, now);
        if wants_ack {
            let ack = StatusAck { worker: Some(worker), attempt: None };
            return self.reply(&reply, Body::StatusAck(Box::new(ack)));
        }
        self.farm.alive_with(reply, host, alive, None, now);
    }

    /// A worker is not here any more. Only one of the two sides knows it.
    pub(super) fn worker_gone(&mut self, worker: &ServerId, now: Time) {
        let pushed = self.farm.is_pushed_away(worker);
        let Some(desk) = &mut self.desk else { return };
        desk.loans.gone(worker, now);
        if pushed {
            // It was told, and nothing says yet that it heeds it.
            desk.loans.told(worker, now);
        } else {
            desk.loans.left(worker, now);
        }
    }

    /// Something on a link that this master opened is the answer to an errand.
    pub(super) fn errand_answered(&mut self, link: LinkId, id: Option<&RequestId>, body: &Body, now: Time) -> bool {
        let answers = matches!(
            body,
            Body::LoanAnswer(_) | Body::LoanDone(_) | Body::ReleaseAnswer(_) | Body::Error(_) | Body::StatusAck(_)
        );
        let Some(desk) = self.desk.as_mut().filter(|_| answers) else { return false };
        // There it can be the answer to nothing else.
        if let (Some(mark), Body::LoanAnswer(_) | Body::LoanDone(_)) = (id, body)
            && let Some(asked) = desk.errands.asked_as(link, mark)
        {
            let [mark, asked] = [mark, asked].map(|mark| quote(mark.as_str(), MAX_QUOTE));
            self.errand_failed(link, &format!("it answered request_id `{mark}`, and was asked with `{asked}`"), now);
            return true;
        }
        let Some((waits, done_with)) = desk.errands.answered(link, id) else { return false };
        match (waits, body.clone()) {
            (Waits::Nobody, _) => {}
            (Waits::Worker(worker), Body::StatusAck(_)) => self.farm.called(&worker, Ok(()), now),
            (Waits::Worker(worker), _) => self.farm.called(&worker, Err("it answered something else"), now),
            (Waits::Loans(token), Body::LoanAnswer(answer)) => desk.loans.answered(token, *answer, now),
            (Waits::Loans(token), Body::LoanDone(done)) => desk.loans.done_by(token, *done, now),
            (Waits::Loans(token), Body::ReleaseAnswer(answer)) => desk.loans.release_answered(token, *answer, now),
            (Waits::Loans(token), Body::Error(error)) => {
                desk.loans.failed(token, &format!("{}: {}", error.code.as_str(), error.detail), now);
            }
            (Waits::Loans(token), _) => desk.loans.failed(token, "it answered with an ACK", now),
        }
        if let Some(link) = done_with {
            self.links.closed(link);
            self.outputs.push_back(Output::Close { link });
        }
        true
    }

    /// What came on a link that this master opened for the machine of loans is no answer to what it has said there.
    pub(super) fn errand_failed(&mut self, link: LinkId, reason: &str, now: Time) {
        let Some(desk) = &mut self.desk else { return };
        let Some(token) = desk.errands.failed(link) else { return };
        desk.loans.failed(token, reason, now);
        self.links.closed(link);
        self.outputs.push_back(Output::Close { link });
    }

    /// Something answers, on a link that stays, what nobody waits for any more.
    pub(super) fn late_answer(&mut self, link: LinkId, id: Option<&RequestId>, body: &Body, now: Time) {
        let kind = match body {
            Body::LoanAnswer(answer) => match **answer {
                LoanAnswer::Accepted { .. } => "response_accepted",
                LoanAnswer::Rejected { .. } => "response_rejected",
            },
            Body::LoanDone(done) if done.action == "RENEW" => "loans_renewed",
            _ => "loans_recalled",
        };
        let peer = self.registry.peer_of(link).map_or_else(|| "somebody".to_owned(), ToString::to_string);
        self.trace(false, kind, id, &peer, now);
        let text = format!("{kind} of {peer} came too late, or to no question, and counts for nothing");
        self.log_often(LogLevel::Info, &format!("{kind} of {peer} that nobody waits for"), text, now);
    }

    /// An owner of 2025/2 says, on a link of either side, that workers are home: nothing rests on it.
    pub(super) fn release_told(&mut self, link: LinkId, id: Option<&RequestId>, answer: &ReleaseAnswer, now: Time) {
        let Some(remote) = self.links.get(link).map(|link| link.remote).filter(|_| self.desk.is_some()) else { return };
        let kind = if answer.completed { "release_completed" } else { "release_ack" };
        let who = answer.master.as_ref().map_or_else(|| remote.to_string(), |master| quote(master.as_str(), MAX_QUOTE));
        self.trace(false, kind, id, &who, now);
    }

    /// Whether a link is one of an errand.
    pub(super) fn is_errand(&self, link: LinkId) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.errands.is_dialled(link))
    }

    /// The connection of an errand stands.
    pub(super) fn errand_opened(&mut self, link: LinkId) {
        let Some((message, waits)) = self.desk.as_mut().and_then(|desk| desk.errands.opened(link)) else { return };
        self.trace_sent(link, &message);
        self.send(link, message);
        if !waits {
            self.links.closed(link);
            self.outputs.push_back(Output::Close { link });
        }
    }

    /// A link is gone: whoever waits there for an answer learns it.
    pub(super) fn errands_closed(&mut self, link: LinkId, reason: &str, now: Time) {
        let unsaid = self.desk.as_ref().and_then(|desk| desk.errands.unsaid(link)).map(|message| message.body.clone());
        if let Some(Body::Returned(returned)) = unsaid {
            let text = format!("notify_worker_returned for {} could not be said: {reason}", returned.worker);
            self.log_often(LogLevel::Warn, "notify_worker_returned that could not be said", text, now);
        }
        let Some(desk) = &mut self.desk else { return };
        match desk.errands.closed(link) {
            Some(Waits::Loans(token)) => desk.loans.failed(token, reason, now),
            Some(Waits::Worker(worker)) => self.farm.called(&worker, Err(reason), now),
            Some(Waits::Nobody) | None => {}
        }
        for token in desk.errands.lost(link) {
            desk.loans.failed(token, reason, now);
        }
        desk.loans.link_closed(link, now);
    }

    /// Calls a foreign worker to tell it where to go.
    pub(super) fn call_worker(&mut self, worker: ServerId, address: Address, order: WorkerMove, now: Time) {
        let message = self.marked(Message::plain(Body::Move(Box::new(order))));
        let link = self.desk.as_mut().and_then(|desk| desk.errands.dial(Waits::Worker(worker.clone()), message));
        match link {
            Some(link) => self.outputs.push_back(Output::Open { link, address, within: DIAL }),
            None => self.farm.called(&worker, Err("too many connections for loans are open"), now),
        }
    }

    /// Nobody waits any more for a worker to answer its call.
    pub(super) fn hang_up_worker(&mut self, worker: ServerId) {
        let link = self.desk.as_mut().and_then(|desk| desk.errands.hang_up(&Waits::Worker(worker)));
        if let Some(link) = link {
            self.links.closed(link);
            self.outputs.push_back(Output::Close { link });
        }
    }

    /// An order to a foreign worker has a mark of its own, as every envelope has: strict programs ignore one without.
    pub(super) fn marked(&mut self, message: Message) -> Message {
        let bare = message.id.is_none() && matches!(&message.body, Body::Move(order) if order.native.is_none());
        let id = self.desk.as_mut().filter(|_| bare).map(|desk| desk.loans.mark());
        Message { id: id.or(message.id), body: message.body }
    }

    /// Where a foreign worker may be called: at its own host, or at one that the operator has named; nowhere, if it says another.
    pub(super) fn believed(&self, listens: Option<Listens>, host: IpAddr) -> Option<Listens> {
        let Listens { host: said, port } = listens?;
        let own = Some(Listens { host: Some(Host::Ip(host.to_canonical())), port });
        match said {
            None => own,
            Some(Host::Ip(ip)) if ip.to_canonical() == host.to_canonical() || ip.is_unspecified() => own,
            Some(Host::Name(name)) if name == "localhost" && host.to_canonical().is_loopback() => own,
            Some(said) if self.config.peers.iter().any(|peer| peer.host == said) => {
                Some(Listens { host: Some(said), port })
            }
            Some(_) => None,
        }
    }

    /// The group has answered a proposal of the loans. `false`: it was none of theirs.
    pub(super) fn proposal_answered(&mut self, mark: u64, body: &Body, now: Time) -> bool {
        let Some(desk) = &mut self.desk else { return false };
        let Some(proposal) = desk.proposals.remove(&mark) else { return false };
        let outcome = match body {
            Body::LoanDone(done) => Ok(done.index.unwrap_or_default()),
            Body::Error(error) => {
                let why = format!("{}: {}", error.code.as_str(), error.detail);
                Err(match error.code {
                    ErrorCode::NoGroup | ErrorCode::BadField | ErrorCode::WrongState => Unagreed::Never(why),
                    _ => Unagreed::Unknown(why),
                })
            }
            _ => Err(Unagreed::Unknown("the group gave another answer".to_owned())),
        };
        desk.loans.agreed(proposal, outcome, now);
        true
    }

    /// Carries out what the loans want done. Returns whether there was anything.
    pub(super) fn carry_out_loans(&mut self, now: Time) -> bool {
        let mut any = false;
        while let Some(effect) = self.desk.as_mut().and_then(|desk| desk.loans.poll_effect()) {
            any = true;
            self.carry_out_loan(effect, now);
        }
        any
    }

    fn carry_out_loan(&mut self, effect: Effect, now: Time) {
        match effect {
            Effect::Ask { token, to, link, request_id, request } => {
                let message = Message { id: Some(request_id), body: Body::LoanRequest(Box::new(request)) };
                // Whoever waits for it learns it if it fails.
                let _ = self.run_errand(Some(token), &to, link, message, now);
            }
            Effect::Act { token, to, request_id, action } => {
                let message = Message { id: Some(request_id), body: Body::LoanAction(Box::new(action)) };
                let _ = self.run_errand(Some(token), &to, None, message, now);
            }
            Effect::GiveBack { token, to, release } => {
                let message = Message::plain(Body::Release(Box::new(release)));
                let _ = self.run_errand(Some(token), &to, None, message, now);
            }
            Effect::Notify { to, request_id, returned } => {
                let worker = returned.worker.clone();
                let message = Message { id: request_id, body: Body::Returned(Box::new(returned)) };
                if let Err(why) = self.run_errand(None, &to, None, message, now) {
                    let text = format!("{} is not told that {worker} goes home to it: {why}", to.peer);
                    self.log(LogLevel::Warn, text);
                }
            }
            Effect::Drop { token } => {
                if let Some(link) = self.desk.as_mut().and_then(|desk| desk.errands.drop(token)) {
                    self.links.closed(link);
                    self.outputs.push_back(Output::Close { link });
                }
            }
            Effect::Answer { reply, body } => self.reply(&reply, body),
            Effect::Unanswered { reply } => self.unanswered(&reply),
            Effect::Completed { link, to, answer } => {
                let message = Message::plain(Body::ReleaseAnswer(Box::new(answer)));
                match to {
                    _ if self.links.get(link).is_some() => self.send(link, message),
                    Some(peer) => {
                        let _ = self.run_errand(None, &Party { peer, address: None }, None, message, now);
                    }
                    None => {}
                }
            }
            Effect::Propose { proposal, record } => {
                let mark = self.bonds.mark();
                let Some(desk) = &mut self.desk else { return };
                match &mut self.group {
                    Some(group) => {
                        desk.proposals.insert(mark, proposal);
                        group.ask(mark, LoanAction::Record(record), now);
                    }
                    None => {
                        let why = "this master takes no part in agreement".to_owned();
                        desk.loans.agreed(proposal, Err(Unagreed::Never(why)), now);
                    }
                }
            }
            Effect::Reserve { worker } => self.farm.reserve(&worker, true, now),
            Effect::Free { worker } => self.farm.reserve(&worker, false, now),
            Effect::Order { worker, order } | Effect::Release { worker, order } => {
                let target = order.target.map(|target| self.gate(target));
                self.farm.send_off(&worker, WorkerMove { target, ..order }, now);
            }
            Effect::TakeBack { worker, epoch, reason } => self.take_back(&worker, epoch, reason, now),
            Effect::AtHome { worker, epoch } => {
                if let Some(desk) = &mut self.desk {
                    desk.home = Some((worker, epoch));
                }
            }
            Effect::Stop { worker, reason } => self.farm.cut_off(&worker, &reason, now),
            Effect::Lease { worker, rest } => {
                if let Some(terms) = self.farm.terms_of(&worker).cloned() {
                    self.farm.set_terms_of(&worker, Terms { lease: rest, ..terms });
                }
            }
            Effect::Event { kind, worker, peer, detail } => {
                let kind = match kind {
                    LoanEvent::LoanAsked => EventKind::LoanAsked,
                    LoanEvent::LoanAccepted => EventKind::LoanAccepted,
                    LoanEvent::LoanRefused => EventKind::LoanRefused,
                    LoanEvent::WorkerLent => EventKind::WorkerLent,
                    LoanEvent::WorkerBorrowed => EventKind::WorkerBorrowed,
                    LoanEvent::WorkerReturned => EventKind::WorkerReturned,
                    LoanEvent::LoanEnded => EventKind::LoanEnded,
                    LoanEvent::WorkerRecalled => EventKind::WorkerRecalled,
                };
                let Counts { local, lent, borrowed } = self.worker_counts();
                let detail = format!("{detail}; {local} own workers here, {lent} lent, {borrowed} borrowed");
                match (kind, worker, peer) {
                    (EventKind::LoanRefused, None, Some(peer)) => self.refusal(peer, detail, now),
                    (kind, worker, peer) => self.event(kind, worker.or(peer), None, detail),
                }
            }
            Effect::Trace { out, kind, request_id, peer } => {
                self.trace(out, kind, request_id.as_ref(), &peer, now);
            }
            Effect::Decision { about, text, folds } => {
                let what = format!("decided about {about}");
                self.log_often(LogLevel::Debug, &what, format!("{what}: {text}"), now);
                match folds {
                    true => self.decisions.fold(about, text, now),
                    false => self.decisions.note(about, text, now),
                }
            }
            Effect::Log { level, text } => self.log(level, text),
        }
    }

    /// An order is void. Who is here stays, and is told an epoch above that of the order.
    fn take_back(&mut self, worker: &ServerId, epoch: Epoch, reason: String, now: Time) {
        self.log(LogLevel::Info, format!("worker {worker} is not lent after all: {reason}"));
        self.farm.keep(worker, now);
        if let Some(terms) = self.farm.terms_of(worker).cloned() {
            let terms = Terms { epoch: epoch.max(terms.epoch), ..terms };
            let order = self.order(crate::wire::MoveKind::Redirect, None, &terms);
            self.farm.rebind(worker, order, terms, now);
        }
    }

    /// Says something to another master: on the native link to it where one stands, else on a connection of its own. Fails with why that cannot
    /// even be tried; who waits by a token has been told by then.
    fn run_errand(
        &mut self,
        token: Option<crate::core::loans::Token>,
        to: &Party,
        link: Option<LinkId>,
        message: Message,
        now: Time,
    ) -> Result<(), &'static str> {
        let link =
            link.or_else(|| self.registry.native_link_to(&to.peer)).filter(|link| self.links.get(*link).is_some());
        let known = || self.registry.standing_of(&to.peer, now).map(|(_, _, address)| address);
        let way = match (link, &to.address) {
            (Some(link), _) => Some(Way::Link(link)),
            (None, Some(address)) => Some(Way::Dial(address.clone())),
            // Whoever is named only is called where it is a peer.
            (None, None) => known().map(Way::Dial),
        };
        let Some(desk) = &mut self.desk else { return Ok(()) };
        let failed = match way {
            Some(Way::Link(link)) => {
                if let (Some(token), Some(id)) = (token, &message.id) {
                    desk.errands.share(token, link, id.clone());
                }
                self.trace_sent(link, &message);
                self.send(link, message);
                None
            }
            Some(Way::Dial(address)) => match desk.errands.dial(token.into(), message) {
                Some(link) => {
                    self.outputs.push_back(Output::Open { link, address, within: DIAL });
                    None
                }
                None => Some("too many connections for loans are open"),
            },
            None => Some("nobody knows where it is called"),
        };
        if let (Some(why), Some(token), Some(desk)) = (failed, token, &mut self.desk) {
            desk.loans.failed(token, why, now);
        }
        failed.map_or(Ok(()), Err)
    }

    /// What nobody waits for is logged when it is sent: whether it ever is, is not known before.
    fn trace_sent(&mut self, link: LinkId, message: &Message) {
        if let Body::Returned(returned) = &message.body
            && let Some(to) = self.links.get(link).map(|link| link.remote)
        {
            let mark = message.id.as_ref().map_or("none", RequestId::as_str);
            let worker = &returned.worker;
            let text = format!("loan message notify_worker_returned to {to}, request_id {mark}: worker {worker}");
            self.log(LogLevel::Info, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::loans::Saturation;
    use crate::core::{Config, Identity, Input};
    use crate::wire::{LoanId, MoveKind, NativeWorker, OfferTerms, OfferedWorker, ServiceOffer};
    use std::time::Duration;

    fn id(text: &str) -> ServerId {
        ServerId::new(text).unwrap()
    }

    fn master() -> Node {
        let identity = Identity { server_id: id("A"), name: "a".to_owned() };
        let mut node = Node::new(Config::default(), identity, 1, Time::ZERO).unwrap();
        node.lend(LoanConfig { keep: 0, ..LoanConfig::default() }, 1, 1, Time::ZERO).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], 9101));
        for link in [2, 4] {
            node.handle(Input::LinkOpened { link: LinkId(link), local: at, remote: at }, Time::ZERO);
        }
        node
    }

    /// What a native worker is told that says ALIVE on this link.
    fn alive_on(
        node: &mut Node,
        link: u64,
        worker: &str,
        owner: Option<&str>,
        loan: Option<&LoanId>,
        now: Time,
    ) -> Vec<Body> {
        let link = LinkId(link);
        let services = vec![ServiceOffer {
            name: ServiceName::new("query").unwrap(),
            methods: vec![ServiceName::new("run").unwrap()],
            idempotent: Vec::new(),
        }];
        let epoch = loan.map(|_| Epoch { generation: 0, counter: 7 });
        let native = NativeWorker {
            name: worker.to_owned(),
            slots: 1,
            services,
            epoch,
            loan_id: loan.cloned(),
            jobs: Vec::new(),
        };
        let (worker, owner) = (id(worker), owner.map(str::to_owned));
        let alive = WorkerAlive { worker, owner, listens: None, native: Some(Box::new(native)) };
        let message = Message::plain(Body::WorkerAlive(Box::new(alive)));
        node.handle(Input::Message { link, message }, now);
        let outputs = std::iter::from_fn(|| node.poll_output());
        let said = outputs.filter_map(|output| match output {
            Output::Send { link: to, message } if to == link => Some(message.body),
            _ => None,
        });
        said.collect()
    }

    /// It needs workers, and B is there to be asked.
    fn needs(loans: &mut Loans) -> Saturation {
        let saturated = Saturation {
            saturated: true,
            pending: 150,
            capacity: 100,
            release: 60,
            workers: 1,
            ..Saturation::default()
        };
        loans.load(saturated.clone(), Time::ZERO);
        let known = Neighbour {
            peer: id("B"),
            name: "b".into(),
            address: "127.0.0.1:9102".parse().unwrap(),
            link: None,
            native: true,
            alive: true,
            saturated: false,
            score: 1,
            member: false,
            services: Vec::new(),
            asks_back: false,
        };
        loans.neighbours(vec![known], Time::ZERO);
        saturated
    }

    /// A asks B, on a connection of its own: the connection, and the mark.
    fn asks(node: &mut Node) -> (LinkId, RequestId) {
        let loans = &mut node.desk.as_mut().unwrap().loans;
        needs(loans);
        node.carry_out_loans(Time::ZERO);
        let link = std::iter::from_fn(|| node.poll_output()).find_map(|output| match output {
            Output::Open { link, .. } => Some(link),
            _ => None,
        });
        let (link, at) = (link.unwrap(), SocketAddr::from(([127, 0, 0, 1], 9102)));
        node.handle(Input::LinkOpened { link, local: at, remote: at }, Time::ZERO);
        let mark = std::iter::from_fn(|| node.poll_output()).find_map(|output| match output {
            Output::Send { link: to, message } if to == link => message.id,
            _ => None,
        });
        (link, mark.unwrap())
    }

    /// What people are told of refusals, and whether the connection is closed.
    fn told(node: &mut Node, link: LinkId) -> (Vec<String>, bool) {
        let (mut refusals, mut closed) = (Vec::new(), false);
        while let Some(output) = node.poll_output() {
            match output {
                Output::Event(event) if event.kind == EventKind::LoanRefused => refusals.push(event.detail),
                Output::Close { link: which } => closed |= which == link,
                _ => {}
            }
        }
        (refusals, closed)
    }

    #[test]
    fn an_answer_that_cannot_be_read_or_bears_another_mark_fails_the_request_at_once() {
        let mut node = master();
        let (link, _) = asks(&mut node);
        node.handle(Input::Stray { link, line: "hm".to_owned(), wrong: None }, Time::ZERO);
        assert_eq!(told(&mut node, link), (Vec::new(), false), "the answer may come yet");
        let wrong = Some("a response_accepted whose `worker_details` is no list of workers");
        node.handle(Input::Stray { link, line: "{..}".to_owned(), wrong }, Time::ZERO);
        let (refusals, closed) = told(&mut node, link);
        assert!(closed && refusals.len() == 1 && refusals[0].contains("is no list of workers: `{..}`"), "{refusals:?}");

        let mut node = master();
        let (link, mark) = asks(&mut node);
        let answer = LoanAnswer::Rejected { master: Some(id("B")), reason: "high_load".to_owned() };
        let body = Body::LoanAnswer(Box::new(answer));
        let message = Message { id: RequestId::new("another"), body: body.clone() };
        node.handle(Input::Message { link, message }, Time::ZERO);
        let (refusals, closed) = told(&mut node, link);
        let both = |text: &String| text.contains("`another`") && text.contains(mark.as_str());
        assert!(closed && refusals.len() == 1 && both(&refusals[0]), "{refusals:?}");

        for echoed in [true, false] {
            let mut node = master();
            let (link, mark) = asks(&mut node);
            node.handle(
                Input::Message { link, message: Message { id: echoed.then_some(mark), body: body.clone() } },
                Time::ZERO,
            );
            let (refusals, closed) = told(&mut node, link);
            assert!(closed && refusals[0].contains("b refuses: high_load"), "{refusals:?}");
        }
    }

    #[test]
    fn an_answer_that_comes_too_late_is_in_the_log_with_its_mark() {
        let mut node = master();
        let body = Body::LoanDone(Box::new(crate::wire::LoanDone {
            action: "RENEW".to_owned(),
            index: None,
            renewed: Vec::new(),
        }));
        let message = Message { id: RequestId::new("late-1"), body };
        node.handle(Input::Message { link: LinkId(1), message }, Time::ZERO);
        let log = std::iter::from_fn(|| node.poll_output()).filter_map(|output| match output {
            Output::Log { text, .. } => Some(text),
            _ => None,
        });
        let log: Vec<String> = log.collect();
        assert!(
            log.iter().any(|text| text.contains("loans_renewed") && text.ends_with("request_id late-1")),
            "{log:?}"
        );
    }

    /// A is promised the worker `w` of B on this loan, and then needs it no more.
    fn promised_for_nothing(node: &mut Node, loan: &LoanId) {
        let loans = &mut node.desk.as_mut().unwrap().loans;
        let saturated = needs(loans);
        let token = std::iter::from_fn(|| loans.poll_effect()).find_map(|effect| match effect {
            Effect::Ask { token, .. } => Some(token),
            _ => None,
        });
        let epoch = Epoch { generation: 0, counter: 7 };
        let terms = OfferTerms { loan_id: loan.clone(), epoch, lease: Duration::from_secs(30), agreed: true };
        let workers = vec![OfferedWorker { worker: id("w"), address: None, terms: Some(terms) }];
        let answer = LoanAnswer::Accepted { master: Some(id("B")), offered: 1, workers, dialect: None };
        loans.answered(token.unwrap(), answer, Time::ZERO);
        loans.load(Saturation { saturated: false, released: true, pending: 0, ..saturated }, Time::ZERO);
        while loans.poll_effect().is_some() {}
    }

    #[test]
    fn who_comes_when_it_is_not_needed_any_more_is_sent_home_behind_its_welcome() {
        let (mut node, loan) = (master(), LoanId::new("B-1").unwrap());
        promised_for_nothing(&mut node, &loan);
        let told = alive_on(&mut node, 2, "w", Some("B"), Some(&loan), Time::ZERO);
        let [_, Body::Move(order)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(order.kind, MoveKind::Return);
        assert_eq!(order.native.as_ref().unwrap().loan_id.as_ref(), Some(&loan));
    }

    #[test]
    fn a_worker_is_counted_once_wherever_it_is() {
        let (mut node, loan) = (master(), LoanId::new("B-1").unwrap());
        let comes = |node: &mut Node, link: u64, worker: &str, owner: Option<&str>, loan: Option<&LoanId>| {
            alive_on(node, link, worker, owner, loan, Time::ZERO)
        };
        comes(&mut node, 2, "own", None, None);
        assert_eq!(node.worker_counts(), Counts { local: 1, lent: 0, borrowed: 0 });
        // It has its order, and has not left.
        let request = LoanRequest {
            master: Some(id("C")),
            name: None,
            address: Some("127.0.0.1:9103".parse().unwrap()),
            port: None,
            load: 150,
            capacity: 100,
            needed: 1,
            native: None,
            dialect: None,
        };
        let message = Message { id: RequestId::new("r"), body: Body::LoanRequest(Box::new(request)) };
        node.handle(Input::Message { link: LinkId(4), message }, Time::ZERO);
        assert!(node.farm.link_of(&id("own")).is_some(), "it is here");
        assert_eq!(node.worker_counts(), Counts { local: 0, lent: 1, borrowed: 0 });
        node.handle(Input::LinkClosed { link: LinkId(2), reason: "gone".to_owned() }, Time::ZERO);
        assert_eq!(node.worker_counts(), Counts { local: 0, lent: 1, borrowed: 0 });

        let mut node = master();
        promised_for_nothing(&mut node, &loan);
        comes(&mut node, 4, "w", Some("B"), Some(&loan));
        assert_eq!(node.worker_counts(), Counts { local: 0, lent: 0, borrowed: 1 });
    }
}
