//! What masters say to each other about workers, and what they tell workers: the envelopes of 2026/1, with native fields beside them where
//! the message holds some, and the task LOANS.

use crate::wire::{
    Address, Body, Dialect, Epoch, LoanAction, LoanAnswer, LoanDone, LoanId, LoanRecord, LoanRequest, LoanView,
    LoansAnswer, MAX_LINE_BYTES, MoveKind, NativeWorker, OfferedWorker, Registration, Release, ReleaseAnswer,
    RequestId, Returned, ServerId, ServiceName, Terms, WorkerMove,
};

use super::object::{Object, push_text};
use super::{request, response};

/// The dialect that has no envelopes.
const OLDER: Option<Dialect> = Some(Dialect::Gen2025_2);

/// Bytes of the longest sentence in an answer about loans, as JSON.
const SENTENCE: usize = 2048;

/// What is left at the end of a line for what closes it after its last list.
const END: usize = 64;

/// Bytes of the terms of offers on one line: those of 64 native workers have some ten thousand. The workers themselves stand behind them.
const TERMS_BYTES: usize = 24 * 1024;

/// Appends a message about loans; nothing, if `body` is none.
pub(super) fn encode(body: &Body, id: Option<&RequestId>, out: &mut Vec<u8>) {
    match body {
        Body::LoanRequest(asked) if asked.dialect == OLDER => older_request(asked, id, out),
        Body::LoanRequest(asked) => loan_request(asked, id, out),
        Body::LoanAnswer(answer) if matches!(**answer, LoanAnswer::Accepted { dialect: OLDER, .. }) => {
            older_answer(answer, id, out);
        }
        Body::LoanAnswer(answer) => loan_answer(answer, id, out),
        Body::Move(order) if order.dialect == OLDER => older_move(order, id, out),
        Body::Move(order) => worker_move(order, id, out),
        Body::Register(registration) => register(registration, id, out),
        Body::Release(release) => older_release(release, id, out),
        Body::ReleaseAnswer(answer) => older_release_answer(answer, id, out),
        Body::Returned(returned) => notify(returned, id, out),
        Body::Loans { after } => request("LOANS", id, out).maybe("AFTER", after.as_ref().map(LoanId::as_str)).end(),
        Body::LoansAnswer(answer) => response("LOANS", "OK", id, out).loans_answer(answer).end(),
        Body::LoanAction(action) => request("LOANS", id, out).loan_action(action).end(),
        Body::LoanDone(done) => response("LOANS", "OK", id, out).loan_done(done).end(),
        _ => {}
    }
}

/// The begin of an envelope.
fn envelope<'o>(kind: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Object<'o> {
    Object::begin(out).word("type", kind).maybe("request_id", id.map(RequestId::as_str))
}

/// `request_help`.
pub(in crate::wire) fn loan_request(asked: &LoanRequest, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let mut line = envelope("request_help", id, out);
    if let Some(native) = &asked.native {
        line = line.text("GROUP", &native.group);
        line = line.texts("SERVICES", native.services.iter().map(ServiceName::as_str));
    }
    let payload = |payload: Object<'_>| {
        let payload = payload
            .maybe("master_id", asked.master.as_ref().map(ServerId::as_str))
            .number("current_load", asked.load)
            .number("capacity", asked.capacity)
            .number("workers_needed", u64::from(asked.needed));
        let payload = match (&asked.address, asked.port) {
            (Some(address), _) => payload.three("master_address", "master_host", "master_port", address),
            (None, Some(port)) => payload.number("master_port", u64::from(port)),
            (None, None) => payload,
        };
        let uuid = asked.master.as_ref().map(ServerId::as_str);
        payload.maybe("master_uuid", uuid).maybe("master_name", asked.name.as_deref()).close();
    };
    line.object("payload", payload).end();
}

/// `response_accepted`, `response_rejected`.
pub(in crate::wire) fn loan_answer(answer: &LoanAnswer, id: Option<&RequestId>, out: &mut Vec<u8>) {
    match answer {
        LoanAnswer::Accepted { master, offered, workers, .. } => {
            let line = envelope("response_accepted", id, out).offer_terms(workers);
            let room = MAX_LINE_BYTES - END - line.length();
            let payload = |payload: Object<'_>| {
                let payload = payload.master(master.as_ref()).number("workers_offered", u64::from(*offered));
                payload.list("worker_details", room, workers, offered_worker).0.close();
            };
            line.object("payload", payload).end();
        }
        LoanAnswer::Rejected { master, reason } => {
            let payload = |payload: Object<'_>| {
                payload.master(master.as_ref()).cut_text("reason", reason, SENTENCE).close();
            };
            envelope("response_rejected", id, out).object("payload", payload).end();
        }
    }
}

fn offered_worker(offered: &OfferedWorker, out: &mut Vec<u8>) {
    let worker = offered.worker.as_str();
    let object = Object::begin(out).text("id", worker).text("worker_uuid", worker);
    object.maybe_address("address", offered.address.as_ref()).close();
}

/// `command_redirect`, `command_release`.
pub(in crate::wire) fn worker_move(order: &WorkerMove, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let kind = match order.kind {
        MoveKind::Redirect => "command_redirect",
        MoveKind::Return => "command_release",
    };
    let mut line = envelope(kind, id, out);
    if let Some(native) = &order.native {
        line = line
            .maybe("SERVER_ID", order.target_id.as_ref().map(ServerId::as_str))
            .text("OWNER", native.owner.as_str())
            .epoch(native.epoch)
            .loan_id(native.loan_id.as_ref())
            .maybe_millis("LEASE_MS", native.lease)
            .maybe_millis("STAY_MS", native.stay)
            .maybe_millis("GRACE_MS", native.grace);
        if order.registers {
            line = line.flag("REGISTER", true);
        }
    }
    let (target_id, name) = (order.target_id.as_ref().map(ServerId::as_str), order.target_name.as_deref());
    let payload = |payload: Object<'_>| {
        let payload = match (order.kind, &order.target) {
            (_, None) => payload,
            (MoveKind::Redirect, Some(address)) => {
                payload.three("new_master_address", "new_master_host", "new_master_port", address)
            }
            (MoveKind::Return, Some(address)) => {
                payload.three("original_master_address", "return_to_master_host", "return_to_master_port", address)
            }
        };
        let [id, uuid, called] = match order.kind {
            MoveKind::Redirect => ["new_master_id", "new_master_uuid", "new_master_name"],
            MoveKind::Return => ["original_master_id", "original_master_uuid", "original_master_name"],
        };
        payload.maybe(id, target_id).maybe(uuid, target_id).maybe(called, name).close();
    };
    line.object("payload", payload).end();
}

/// `register_temporary_worker`. What makes some masters answer `ACK` is said only where it is wanted.
pub(in crate::wire) fn register(registration: &Registration, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let Registration { worker, home, owner, listens, wants_ack } = registration;
    let payload = |payload: Object<'_>| {
        let payload = payload.text("worker_id", worker.as_str()).text("worker_uuid", worker.as_str());
        let payload = payload.maybe_address("original_master_address", home.as_ref());
        let owned_by = if *wants_ack { "original_master_id" } else { "original_master_uuid" };
        let payload = payload.maybe(owned_by, owner.as_deref());
        match listens {
            Some(address) if *wants_ack => payload.address("worker_address", address).close(),
            Some(Address { host, port }) => {
                payload.text("worker_host", &host.to_string()).number("worker_port", u64::from(*port)).close();
            }
            None => payload.close(),
        }
    };
    envelope("register_temporary_worker", id, out).object("payload", payload).end();
}

/// `notify_worker_returned`.
pub(in crate::wire) fn notify(returned: &Returned, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let worker = returned.worker.as_str();
    let line = envelope("notify_worker_returned", id, out).loan_id(returned.loan_id.as_ref());
    line.object("payload", |payload| payload.text("worker_id", worker).text("worker_uuid", worker).close()).end();
}

/// `WORKER_REQUEST` of 2025/2.
pub(in crate::wire) fn older_request(asked: &LoanRequest, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let requestor = |object: Object<'_>| {
        let object = match (&asked.address, asked.port) {
            (Some(Address { host, port }), _) => object.text("ip", &host.to_string()).number("port", u64::from(*port)),
            (None, Some(port)) => object.number("port", u64::from(port)),
            (None, None) => object,
        };
        object.number("needed", u64::from(asked.needed)).close();
    };
    let line = request("WORKER_REQUEST", id, out).object("REQUESTOR_INFO", requestor);
    line.maybe("SERVER_UUID", asked.master.as_ref().map(ServerId::as_str)).end();
}

/// `AVAILABLE`, `UNAVAILABLE` of 2025/2.
pub(in crate::wire) fn older_answer(answer: &LoanAnswer, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let (LoanAnswer::Accepted { master, .. } | LoanAnswer::Rejected { master, .. }) = answer;
    let line = Object::begin(out).maybe("SERVER_UUID", master.as_ref().map(ServerId::as_str));
    match answer {
        LoanAnswer::Accepted { workers, .. } => {
            let workers = workers.iter().map(|offered| &offered.worker);
            line.word("RESPONSE", "AVAILABLE").id(id).workers_uuid(workers).end();
        }
        LoanAnswer::Rejected { .. } => line.word("RESPONSE", "UNAVAILABLE").id(id).end(),
    }
}

/// The same of an older draft, which knows no `SERVER_UUID`.
pub(in crate::wire) fn draft_answer(answer: &LoanAnswer, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let (LoanAnswer::Accepted { master, .. } | LoanAnswer::Rejected { master, .. }) = answer;
    let accepted = matches!(answer, LoanAnswer::Accepted { .. });
    let line = request("WORKER_RESPONSE", id, out).word("STATUS", if accepted { "ACK" } else { "NACK" });
    let line = line.maybe("MASTER_UUID", master.as_ref().map(ServerId::as_str));
    match answer {
        LoanAnswer::Accepted { workers, .. } => {
            let workers = workers.iter().map(|offered| &offered.worker);
            line.ids("WORKERS", workers).end();
        }
        LoanAnswer::Rejected { .. } => line.end(),
    }
}

/// `REDIRECT`, `RETURN` of 2025/2.
pub(in crate::wire) fn older_move(order: &WorkerMove, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let (task, key) = match order.kind {
        MoveKind::Redirect => ("REDIRECT", "SERVER_REDIRECT"),
        MoveKind::Return => ("RETURN", "SERVER_RETURN"),
    };
    let line = request(task, id, out);
    match &order.target {
        Some(Address { host, port }) => {
            line.object(key, |to| to.text("ip", &host.to_string()).number("port", u64::from(*port)).close()).end();
        }
        None => line.end(),
    }
}

/// The same of an older draft.
pub(in crate::wire) fn draft_move(order: &WorkerMove, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let Some(Address { host, port }) = &order.target else { return older_move(order, id, out) };
    let to = |to: Object<'_>| to.text("IP", &host.to_string()).number("PORT", u64::from(*port)).close();
    match order.kind {
        // Where it is at home, and whom else it could call, who sends it has not said.
        MoveKind::Redirect => {
            let line = request("REDIRECT", id, out).object("TARGET_MASTER", to);
            line.ids("FAILOVER_LIST", std::iter::empty()).end();
        }
        MoveKind::Return => request("RETURN", id, out).object("TARGET_MASTER", to).object("HOME_MASTER", to).end(),
    }
}

/// `COMMAND_RELEASE` of 2025/2.
pub(in crate::wire) fn older_release(release: &Release, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).maybe("SERVER_UUID", release.master.as_ref().map(ServerId::as_str));
    line.word("TASK", "COMMAND_RELEASE").id(id).workers_uuid(&release.workers).end();
}

/// `RELEASE_ACK`, `RELEASE_COMPLETED` of 2025/2.
pub(in crate::wire) fn older_release_answer(answer: &ReleaseAnswer, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).maybe("SERVER_UUID", answer.master.as_ref().map(ServerId::as_str));
    let word = if answer.completed { "RELEASE_COMPLETED" } else { "RELEASE_ACK" };
    line.word("RESPONSE", word).id(id).workers_uuid(&answer.workers).end();
}

impl<'o> Object<'o> {
    /// An object within this one, written and closed by `write`.
    pub(in crate::wire) fn object(mut self, key: &str, write: impl FnOnce(Object<'_>)) -> Object<'o> {
        self.key(key);
        write(Object::begin(self.out));
        self
    }

    /// `EPOCH`.
    fn epoch(mut self, epoch: Epoch) -> Object<'o> {
        self.key("EPOCH");
        self.out.extend_from_slice(format!("[{},{}]", epoch.generation, epoch.counter).as_bytes());
        self
    }

    fn loan_id(self, loan_id: Option<&LoanId>) -> Object<'o> {
        self.maybe("LOAN_ID", loan_id.map(LoanId::as_str))
    }

    fn maybe_address(self, key: &str, address: Option<&Address>) -> Object<'o> {
        match address {
            Some(address) => self.address(key, address),
            None => self,
        }
    }

    /// An address, and its host and port beside it.
    fn three(self, whole: &str, host: &str, port: &str, address: &Address) -> Object<'o> {
        let line = self.address(whole, address).text(host, &address.host.to_string());
        line.number(port, u64::from(address.port))
    }

    fn master(self, master: Option<&ServerId>) -> Object<'o> {
        let id = master.map(ServerId::as_str);
        self.maybe("master_id", id).maybe("master_uuid", id)
    }

    /// `LOANS`: the terms of those offers that have some.
    fn offer_terms(self, workers: &[OfferedWorker]) -> Object<'o> {
        let terms = workers.iter().filter_map(|offered| Some((&offered.worker, offered.terms.as_ref()?)));
        if terms.clone().next().is_none() {
            return self;
        }
        let room = self.length() + TERMS_BYTES;
        self.list("LOANS", room, terms, |(worker, terms), out| {
            Object::begin(out)
                .text("WORKER_UUID", worker.as_str())
                .loan_id(Some(&terms.loan_id))
                .epoch(terms.epoch)
                .millis("LEASE_MS", terms.lease)
                .flag("AGREED", terms.agreed)
                .close();
        })
        .0
    }

    fn workers_uuid<'t>(self, workers: impl IntoIterator<Item = &'t ServerId>) -> Object<'o> {
        self.ids("WORKERS_UUID", workers)
    }

    fn ids<'t>(self, key: &str, ids: impl IntoIterator<Item = &'t ServerId>) -> Object<'o> {
        self.list(key, MAX_LINE_BYTES - END, ids, |id, out| push_text(out, id.as_str())).0
    }

    /// What a native worker says of its orders.
    pub(super) fn obeys(self, native: &NativeWorker) -> Object<'o> {
        let line = match native.epoch {
            Some(epoch) => self.epoch(epoch),
            None => self,
        };
        line.loan_id(native.loan_id.as_ref())
    }

    /// How a native worker stands with the master that welcomes it.
    pub(super) fn terms(self, terms: &Terms) -> Object<'o> {
        self.text("OWNER", terms.owner.as_str())
            .maybe_address("OWNER_ADDRESS", terms.owner_address.as_ref())
            .epoch(terms.epoch)
            .loan_id(terms.loan_id.as_ref())
            .maybe_millis("LEASE_MS", terms.lease)
    }

    fn loan_action(self, action: &LoanAction) -> Object<'o> {
        match action {
            LoanAction::Renew { loans } => {
                self.word("ACTION", "RENEW").texts("LOANS", loans.iter().map(LoanId::as_str))
            }
            LoanAction::Recall { loan_id, worker, epoch, grace } => self
                .word("ACTION", "RECALL")
                .loan_id(Some(loan_id))
                .text("WORKER_UUID", worker.as_str())
                .epoch(*epoch)
                .millis("GRACE_MS", *grace),
            LoanAction::Record(LoanRecord::Lend(lent)) => self
                .word("ACTION", "RECORD")
                .word("KIND", "LEND")
                .loan_id(Some(&lent.loan_id))
                .text("WORKER_UUID", lent.worker.as_str())
                .text("OWNER", lent.owner.as_str())
                .text("BORROWER", lent.borrower.as_str())
                .epoch(lent.epoch)
                .millis("LEASE_MS", lent.lease),
            LoanAction::Record(LoanRecord::End { loan_id, reason }) => {
                self.word("ACTION", "RECORD").word("KIND", "END").loan_id(Some(loan_id)).sentence("REASON", reason)
            }
            LoanAction::Adopt { master, workers } => {
                let line = self.word("ACTION", "ADOPT").text("SERVER_ID", master.as_str());
                let room = MAX_LINE_BYTES - END;
                line.list("WORKERS", room, workers, |orphan, out| {
                    Object::begin(out)
                        .text("WORKER_UUID", orphan.worker.as_str())
                        .text("OWNER", orphan.owner.as_str())
                        .number("GENERATION", orphan.generation)
                        .close();
                })
                .0
            }
        }
    }

    fn loan_done(self, done: &LoanDone) -> Object<'o> {
        let mut line = self.text("ACTION", &done.action);
        if let Some(index) = done.index {
            line = line.number("INDEX", index);
        }
        if done.renewed.is_empty() && done.action != "RENEW" {
            return line;
        }
        line.list("RENEWED", MAX_LINE_BYTES - END, &done.renewed, |(loan_id, lease), out| {
            Object::begin(out).loan_id(Some(loan_id)).millis("LEASE_MS", *lease).close();
        })
        .0
    }

    fn loans_answer(self, answer: &LoansAnswer) -> Object<'o> {
        let line = self
            .text("SERVER_ID", answer.server_id.as_str())
            .number("LOCAL", answer.local)
            .number("LENT", answer.lent)
            .number("BORROWED", answer.borrowed)
            .cut_text("ASKED", &answer.asks, SENTENCE);
        line.page("LOANS", &answer.loans, answer.more, |entry, loan| entry.loan(loan))
    }

    fn loan(self, loan: &LoanView) -> Object<'o> {
        let mut line = self
            .loan_id(Some(&loan.loan_id))
            .text("WORKER_UUID", loan.worker.as_str())
            .word("DIRECTION", if loan.out { "OUT" } else { "IN" })
            .cut_text("PEER", &loan.peer, SENTENCE)
            .word("STATUS", loan.status.as_str());
        if let Some(epoch) = loan.epoch {
            line = line.epoch(epoch);
        }
        line.maybe_millis("LEASE_MS", loan.lease)
            .flag("AGREED", loan.agreed)
            .millis("AGE_MS", loan.age)
            .number("DONE", loan.done)
            .cut_text("REASON", &loan.reason, SENTENCE)
    }
}
