//! Loans on one link: in which form they are spoken of, and the look at what follows a registration.
//!
//! ```text
//!   a request, or an order to a worker, that names its form   that form
//!   what answers, and whatever comes later on a link          the form in which the link spoke last
//!   what is said first on a link                              2025/2 where its dialect was told so, else envelopes, which native
//!                                                             nodes speak, too
//! ```

use crate::time::Time;
use crate::wire::decode::Shape;
use crate::wire::encode::{Object, loans as forms};
use crate::wire::{Body, Dialect, Message, REGISTER_WAIT, Registration, WorkerAlive};

use super::Decoded;
use super::cycle::Form;

/// The form in which a link speaks of loans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoanForm {
    /// Envelopes of 2026/1, with native fields where a message has some.
    Envelope,
    /// The same with keys in upper case.
    UpperEnvelope,
    /// 2025/2.
    Older,
    /// The draft before it, in which the answer is a `WORKER_RESPONSE`.
    Draft,
    /// 2025/2 in lower case.
    LowerOlder,
    /// Its draft in lower case.
    LowerDraft,
}

impl LoanForm {
    /// What the shape of a line shows.
    pub(super) fn of(shape: Shape) -> Option<LoanForm> {
        match shape {
            Shape::Envelope => Some(LoanForm::Envelope),
            Shape::UpperEnvelope => Some(LoanForm::UpperEnvelope),
            Shape::Older => Some(LoanForm::Older),
            Shape::Draft => Some(LoanForm::Draft),
            Shape::LowerOlder => Some(LoanForm::LowerOlder),
            Shape::LowerDraft => Some(LoanForm::LowerDraft),
            Shape::Plain | Shape::Id | Shape::Uuid | Shape::Native | Shape::Upper | Shape::Lower => None,
        }
    }

    /// The same in upper case, and whether that is another one.
    fn raised(self) -> (LoanForm, bool) {
        match self {
            LoanForm::LowerOlder => (LoanForm::Older, true),
            LoanForm::LowerDraft => (LoanForm::Draft, true),
            form => (form, false),
        }
    }

    fn lowered(self) -> LoanForm {
        match self {
            LoanForm::Older => LoanForm::LowerOlder,
            LoanForm::Draft => LoanForm::LowerDraft,
            form => form,
        }
    }

    fn of_dialect(dialect: Dialect) -> LoanForm {
        match dialect {
            Dialect::Gen2025_2 => LoanForm::Older,
            Dialect::Native | Dialect::Seed | Dialect::Gen2026_1 => LoanForm::Envelope,
        }
    }
}

/// What is known of a link when something is said on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// The form in which it has spoken of loans.
    pub(super) shown: Option<LoanForm>,
    /// What this node was told to speak here.
    pub(super) told: Option<Dialect>,
    /// The form of the worker cycle.
    pub(super) cycle: Option<Form>,
}

impl Known {
    /// The form of a message that could have any.
    fn form(self, named: Option<Dialect>) -> LoanForm {
        match (named.map(LoanForm::of_dialect), self.shown) {
            (Some(LoanForm::Envelope), Some(LoanForm::UpperEnvelope)) => LoanForm::UpperEnvelope,
            (Some(named), _) => named,
            (None, Some(shown)) => shown,
            (None, None) => self.told.map_or(LoanForm::Envelope, LoanForm::of_dialect),
        }
    }
}

/// Appends a message about loans, or an answer to one whose form depends on it, and tells the form; `None`, and appends nothing, if it is none.
pub(super) fn render(message: &Message, known: Known, out: &mut Vec<u8>) -> Option<LoanForm> {
    let start = out.len();
    let raised = known.shown.map(LoanForm::raised);
    let known = Known { shown: raised.map(|(form, _)| form), ..known };
    let form = render_raised(message, known, out)?;
    match form {
        LoanForm::UpperEnvelope => recase(&mut out[start..], <[u8]>::make_ascii_uppercase, &["type"]),
        LoanForm::Older | LoanForm::Draft if raised.is_some_and(|(_, lower)| lower) => {
            recase(&mut out[start..], <[u8]>::make_ascii_lowercase, &["task", "response", "status", "worker"]);
            return Some(form.lowered());
        }
        _ => {}
    }
    Some(form)
}

/// The same, in the letter case of the generation itself.
fn render_raised(message: &Message, known: Known, out: &mut Vec<u8>) -> Option<LoanForm> {
    let id = message.id.as_ref();
    let form = match &message.body {
        Body::LoanRequest(asked) => match known.form(asked.dialect) {
            form @ (LoanForm::Older | LoanForm::Draft) => {
                forms::older_request(asked, None, out);
                form
            }
            form => {
                forms::loan_request(asked, id, out);
                form
            }
        },
        Body::LoanAnswer(answer) => {
            let form = known.form(None);
            match form {
                LoanForm::Older => forms::older_answer(answer, id, out),
                LoanForm::Draft => forms::draft_answer(answer, id, out),
                _ => forms::loan_answer(answer, id, out),
            }
            form
        }
        Body::Move(order) => {
            // What is native has no form but an envelope.
            let named = if order.native.is_some() { Some(Dialect::Native) } else { order.dialect };
            let form = match (known.form(named), known.shown) {
                (LoanForm::Older, Some(LoanForm::Draft)) => LoanForm::Draft,
                (form, _) => form,
            };
            match form {
                LoanForm::Draft => forms::draft_move(order, None, out),
                LoanForm::Older => forms::older_move(order, None, out),
                _ => forms::worker_move(order, id, out),
            }
            form
        }
        Body::Register(registration) => match known.form(None) {
            // There a borrowed worker says whose it is, and nothing else.
            form @ (LoanForm::Older | LoanForm::Draft) => {
                borrowed_alive(registration, out);
                form
            }
            form => {
                forms::register(registration, id, out);
                form
            }
        },
        Body::Returned(returned) => {
            forms::notify(returned, id, out);
            match known.shown {
                Some(LoanForm::UpperEnvelope) => LoanForm::UpperEnvelope,
                _ => LoanForm::Envelope,
            }
        }
        Body::Release(release) => {
            forms::older_release(release, None, out);
            LoanForm::Older
        }
        Body::ReleaseAnswer(answer) => {
            forms::older_release_answer(answer, id, out);
            LoanForm::Older
        }
        _ => return answer(message, known, out),
    };
    Some(form)
}

/// The answers to an envelope that are lines of the worker cycle: they bear its mark as envelopes do, or not at all.
fn answer(message: &Message, known: Known, out: &mut Vec<u8>) -> Option<LoanForm> {
    let form = known.shown.filter(|form| matches!(form, LoanForm::Envelope | LoanForm::UpperEnvelope))?;
    let id = message.id.as_ref()?;
    match &message.body {
        Body::StatusAck(ack) if ack.attempt.is_none() => {
            let mark = if form == LoanForm::UpperEnvelope { "REQUEST_ID" } else { "request_id" };
            let lower = known.cycle == Some(Form::Lower);
            let line = Object::begin(out);
            let line = if lower { line.word("status", "ack") } else { line.word("STATUS", "ACK") };
            let worker = ack.worker.as_ref().map(|id| id.as_str());
            let line = line.maybe(if lower { "worker_uuid" } else { "WORKER_UUID" }, worker);
            line.text(mark, id.as_str()).end();
        }
        Body::Query { .. } | Body::NoTask if known.cycle != Some(Form::Native) => {
            super::cycle::render(&Message::plain(message.body.clone()), known.cycle, out);
        }
        _ => return None,
    }
    Some(form)
}

fn borrowed_alive(registration: &Registration, out: &mut Vec<u8>) {
    let Registration { worker, home, owner, .. } = registration;
    let owner = owner.clone().or_else(|| home.as_ref().map(|home| home.to_string()));
    let line = Object::begin(out).text("WORKER", "ALIVE").worker_uuid(Some(worker));
    line.maybe("SERVER_UUID", owner.as_deref()).end();
}

/// Turns the keys of a line, and the values of these, into another letter case. The line is one that was just written: compact, and without
/// escapes in keys.
fn recase(line: &mut [u8], turn: fn(&mut [u8]), words: &[&str]) {
    let mut at = 0;
    let mut is_word = false;
    while let Some(begin) = line[at..].iter().position(|byte| *byte == b'"').map(|quote| at + quote + 1) {
        let mut end = begin;
        while line.get(end).is_some_and(|byte| *byte != b'"') {
            end += if line[end] == b'\\' { 2 } else { 1 };
        }
        let end = end.min(line.len());
        let is_key = line.get(end + 1) == Some(&b':');
        if is_key || is_word {
            turn(&mut line[begin..end]);
        }
        is_word = is_key && words.iter().any(|word| line[begin..end].eq_ignore_ascii_case(word.as_bytes()));
        at = (end + 1).min(line.len());
    }
}

/// A registration that waits for what follows it.
#[derive(Debug)]
pub(super) struct Held {
    /// The registration, until it was handed on.
    registration: Option<Message>,
    /// Until when it waits.
    until: Time,
    /// What came after it, and is no part of it.
    next: Option<Decoded>,
}

impl Held {
    /// Whether this begins to wait.
    pub(super) fn is_due(decoded: &Decoded) -> bool {
        matches!(decoded, Decoded::Message(Message { body: Body::Register(_), .. }))
    }

    fn new(registration: Message, now: Time) -> Box<Held> {
        Box::new(Held { registration: Some(registration), until: now + REGISTER_WAIT, next: None })
    }

    /// When [`Held::expire`] has something to hand on.
    pub(super) fn until(&self) -> Time {
        self.until
    }
}

/// Takes what came: a registration begins to wait; ALIVE of the same worker after it takes its place, and all it said; anything else
/// comes after it. Tells what is to be handed on now.
pub(super) fn look_ahead(held: &mut Option<Box<Held>>, decoded: Decoded, now: Time) -> Option<Decoded> {
    let first = held.take().and_then(|held| held.registration);
    match (first, decoded) {
        (None, Decoded::Message(registration)) if matches!(registration.body, Body::Register(_)) => {
            *held = Some(Held::new(registration, now));
            None
        }
        (None, decoded) => Some(decoded),
        // Whom the edge hangs up on is told nothing more.
        (Some(_), close @ Decoded::Close(_)) => Some(close),
        (Some(first), Decoded::Message(second)) => match merge(&first, second) {
            Ok(alive) => Some(Decoded::Message(alive)),
            Err(second) if matches!(second.body, Body::Register(_)) => {
                *held = Some(Held::new(second, now));
                Some(Decoded::Message(first))
            }
            Err(second) => {
                *held = Some(Box::new(Held { registration: None, until: now, next: Some(Decoded::Message(second)) }));
                Some(Decoded::Message(first))
            }
        },
        (Some(first), second) => {
            *held = Some(Box::new(Held { registration: None, until: now, next: Some(second) }));
            Some(Decoded::Message(first))
        }
    }
}

/// What came after a registration that was handed on.
pub(super) fn after(held: &mut Option<Box<Held>>) -> Option<Decoded> {
    if held.as_ref()?.registration.is_some() {
        return None;
    }
    held.take()?.next
}

/// The registration that nothing has followed.
pub(super) fn give_up(held: &mut Option<Box<Held>>) -> Option<Decoded> {
    held.take()?.registration.map(Decoded::Message)
}

/// ALIVE with what the registration of the same worker has said; `Err`, if it is none.
fn merge(first: &Message, second: Message) -> Result<Message, Message> {
    match (&first.body, second) {
        (Body::Register(registration), Message { id, body: Body::WorkerAlive(alive) })
            if alive.worker == registration.worker =>
        {
            let home = || registration.home.as_ref().map(|home| home.to_string());
            let owner = alive.owner.clone().or_else(|| registration.owner.clone()).or_else(home);
            let listens = alive.listens.clone().or_else(|| registration.listens.clone().map(Into::into));
            let alive = WorkerAlive { owner, listens, ..*alive };
            Ok(Message { id, body: Body::WorkerAlive(Box::new(alive)) })
        }
        (_, second) => Err(second),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::wire::dialect::{Decoded, Edge, Prepared};
    use crate::wire::encode::tests::loans::{registration, worker_move};
    use crate::wire::{
        Epoch, HeartbeatAnswer, LoanAnswer, LoanRequest, MoveKind, NativeMove, OfferedWorker, Release, ReleaseAnswer,
        RequestId, Returned, ServerId, StatusAck, WorkerMove, decode,
    };

    use super::*;

    fn id(text: &str) -> ServerId {
        ServerId::new(text).unwrap()
    }

    /// An edge, its time, and what it has handed on.
    struct Link {
        edge: Edge,
        now: Time,
        heard: Vec<Decoded>,
        out: Vec<u8>,
    }

    impl Link {
        fn new(edge: Edge) -> Link {
            Link { edge, now: Time::ZERO, heard: Vec::new(), out: Vec::new() }
        }

        fn prepared() -> Prepared {
            Prepared::new(&id("ME"))
        }

        fn feed(&mut self, text: &str) -> &mut Link {
            let mut input = text.as_bytes();
            while let Some(decoded) = self.edge.poll(&Link::prepared(), &mut input, self.now, &mut self.out) {
                self.act(decoded);
            }
            self
        }

        fn act(&mut self, decoded: Decoded) {
            if let Decoded::Message(Message { id: mark, body: Body::Heartbeat(_) }) = &decoded {
                let answer = Body::HeartbeatAnswer(HeartbeatAnswer { server_id: id("ME"), presence: None });
                self.edge.render(&Message { id: mark.clone(), body: answer }, &mut self.out);
            }
            self.heard.push(decoded);
        }

        fn wait(&mut self, millis: u64) -> &mut Link {
            self.now = self.now + Duration::from_millis(millis);
            while let Some(decoded) = self.edge.expire(&Link::prepared(), self.now, &mut self.out) {
                self.act(decoded);
            }
            self
        }

        fn finish(&mut self) -> &mut Link {
            while let Some(decoded) = self.edge.finish(&Link::prepared(), self.now, &mut self.out) {
                self.act(decoded);
            }
            self
        }

        fn say(&mut self, mark: Option<&str>, body: Body) -> String {
            self.out.clear();
            self.edge.render(&Message { id: mark.and_then(RequestId::new), body }, &mut self.out);
            let said = String::from_utf8(std::mem::take(&mut self.out)).unwrap();
            said.strip_suffix('\n').map(str::to_owned).unwrap_or(said)
        }

        /// What was handed on, in short.
        fn words(&mut self) -> Vec<String> {
            let word = |decoded: Decoded| match decoded {
                Decoded::Message(Message { body: Body::WorkerAlive(alive), .. }) => {
                    format!("ALIVE of {:?}", alive.owner.as_deref().unwrap_or_default())
                }
                Decoded::Message(message) => format!("{:?}", message.body).split(['(', ' ']).next().unwrap().to_owned(),
                other => format!("{other:?}").split(['(', ' ']).next().unwrap().to_owned(),
            };
            std::mem::take(&mut self.heard).into_iter().map(word).collect()
        }
    }

    const REGISTER: &str = r#"{"type":"register_temporary_worker","request_id":"r","payload":{"worker_id":"W","original_master_address":"10.0.0.2:8000"}}"#;
    const ALIVE: &str = r#"{"WORKER":"ALIVE","WORKER_UUID":"W"}"#;
    const BARE: &str = r#"{"TASK":"HEARTBEAT"}"#;

    #[test]
    fn an_edge_without_loans_owns_nothing_for_them() {
        assert!(size_of::<Edge>() <= 96, "{}", size_of::<Edge>());
    }

    #[test]
    fn alive_right_behind_a_registration_takes_its_place_and_what_it_said() {
        for pause in [0, 249] {
            let mut link = Link::new(Edge::inbound());
            link.feed(&format!("{REGISTER}\n"));
            assert_eq!(link.heard, [], "it waits");
            assert_eq!(link.edge.deadline(), Some(Time::ZERO + REGISTER_WAIT));
            assert!(link.edge.heap_bytes() > 0);
            link.wait(pause).feed(&format!("{ALIVE}\n"));
            assert_eq!(link.words(), [r#"ALIVE of "10.0.0.2:8000""#]);
            assert_eq!((link.edge.deadline(), link.edge.heap_bytes()), (None, 0));
        }
        let named = REGISTER.replace(r#""}}"#, r#"","original_master_id":"B","worker_address":"10.0.0.3:9"}}"#);
        let mut link = Link::new(Edge::inbound());
        link.feed(&format!("{named}\n{ALIVE}\n"));
        let Some(Decoded::Message(Message { body: Body::WorkerAlive(alive), .. })) = link.heard.first() else {
            panic!()
        };
        assert_eq!(alive.owner.as_deref(), Some("B"));
        assert_eq!(alive.listens.as_ref().map(|at| at.port), Some(9));
        let mut link = Link::new(Edge::inbound());
        link.feed(&format!("{named}\n{}\n", ALIVE.replace("}", r#","SERVER_UUID":"C"}"#)));
        assert_eq!(link.words(), [r#"ALIVE of "C""#], "what it says itself goes before");
        // The last line may have no newline.
        let mut link = Link::new(Edge::inbound());
        link.feed(&format!("{REGISTER}\n{ALIVE}")).wait(99);
        assert_eq!(link.heard, []);
        link.wait(1);
        assert_eq!(link.words(), [r#"ALIVE of "10.0.0.2:8000""#]);
    }

    #[test]
    fn a_registration_that_nothing_follows_is_handed_on_and_so_is_what_is_no_part_of_it() {
        let mut link = Link::new(Edge::inbound());
        link.feed(&format!("{REGISTER}\n")).wait(250);
        assert_eq!(link.words(), ["Register"]);
        assert_eq!((link.edge.deadline(), link.edge.heap_bytes()), (None, 0));
        link.feed(&format!("{ALIVE}\n"));
        assert_eq!(link.words(), [r#"ALIVE of """#], "too late");

        link.feed(&format!("{REGISTER}\n")).finish();
        assert_eq!(link.words(), ["Register"], "the stream has ended");
        let other = ALIVE.replace("\"W\"", "\"V\"");
        link.feed(&format!("{REGISTER}\n{other}\n"));
        assert_eq!(link.words(), ["Register", r#"ALIVE of """#], "another worker");
        link.feed(&format!("{REGISTER}\n{REGISTER}\n{ALIVE}\n"));
        assert_eq!(link.words(), ["Register", r#"ALIVE of "10.0.0.2:8000""#]);
        link.feed(&format!("{REGISTER}\n{BARE}\n{BARE}\n"));
        assert_eq!(link.words(), ["Register", "Heartbeat"], "its answer comes before that of the heartbeat");
        assert_eq!(link.edge.take_heartbeats(), 1, "the next is answered at the edge again");
        link.feed(&format!("{REGISTER}\nx\n"));
        assert_eq!(link.words(), ["Register", "Refused"], "and before an error");
        link.feed(&format!("{REGISTER}\n{{\"type\":\"x\"}}\n"));
        assert_eq!(link.words(), ["Register", "Ignored"]);
        let long = "x".repeat(crate::wire::MAX_LINE_BYTES + 1);
        link.feed(&format!("{REGISTER}\n{long}\n"));
        assert_eq!(link.words(), ["Close"]);
        assert_eq!((link.edge.deadline(), link.edge.heap_bytes()), (None, 0));
        let mut ours = Link::new(Edge::outbound(None));
        ours.feed(&format!("{REGISTER}\n"));
        assert_eq!(ours.words(), ["Stray"], "on a link that this node opened");
    }

    fn request(dialect: Option<Dialect>) -> Body {
        Body::LoanRequest(Box::new(LoanRequest {
            master: Some(id("A")),
            name: None,
            address: Some("10.0.0.1:8000".parse().unwrap()),
            port: None,
            load: 150,
            capacity: 100,
            needed: 2,
            dialect,
            native: None,
        }))
    }

    fn accept() -> Body {
        let workers = vec![OfferedWorker { worker: id("W"), address: None, terms: None }];
        Body::LoanAnswer(Box::new(LoanAnswer::Accepted { master: Some(id("B")), offered: 1, workers, dialect: None }))
    }

    fn reject() -> Body {
        Body::LoanAnswer(Box::new(LoanAnswer::Rejected { master: Some(id("B")), reason: "high_load".to_owned() }))
    }

    fn order(kind: MoveKind, dialect: Option<Dialect>) -> Body {
        let target = Some("10.0.0.1:8000".parse().unwrap());
        let (target_id, target_name) = (Some(id("A")), None);
        Body::Move(Box::new(WorkerMove {
            kind,
            target,
            target_id,
            target_name,
            dialect,
            registers: false,
            native: None,
        }))
    }

    #[test]
    fn a_request_is_answered_in_the_form_in_which_it_came() {
        for (line, mark, yes, no) in [
            (
                r#"{"type":"request_help","request_id":"r","payload":{"master_id":"A"}}"#,
                Some("r"),
                r#"{"type":"response_accepted","request_id":"r","payload":{"master_id":"B","master_uuid":"B","workers_offered":1,"worker_details":[{"id":"W","worker_uuid":"W"}]}}"#,
                r#"{"type":"response_rejected","request_id":"r","payload":{"master_id":"B","master_uuid":"B","reason":"high_load"}}"#,
            ),
            (
                r#"{"TYPE":"REQUEST_HELP","REQUEST_ID":"r\"x\"","PAYLOAD":{"MASTER_ID":"A"}}"#,
                Some("r\"x\""),
                r#"{"TYPE":"RESPONSE_ACCEPTED","REQUEST_ID":"r\"x\"","PAYLOAD":{"MASTER_ID":"B","MASTER_UUID":"B","WORKERS_OFFERED":1,"WORKER_DETAILS":[{"ID":"W","WORKER_UUID":"W"}]}}"#,
                r#"{"TYPE":"RESPONSE_REJECTED","REQUEST_ID":"r\"x\"","PAYLOAD":{"MASTER_ID":"B","MASTER_UUID":"B","REASON":"high_load"}}"#,
            ),
            (
                r#"{"TASK":"WORKER_REQUEST","REQUESTOR_INFO":{"ip":"10.0.0.1","port":8000}}"#,
                None,
                r#"{"SERVER_UUID":"B","RESPONSE":"AVAILABLE","WORKERS_UUID":["W"]}"#,
                r#"{"SERVER_UUID":"B","RESPONSE":"UNAVAILABLE"}"#,
            ),
            (
                r#"{"TASK":"WORKER_REQUEST","WORKERS_NEEDED":5}"#,
                None,
                r#"{"TASK":"WORKER_RESPONSE","STATUS":"ACK","MASTER_UUID":"B","WORKERS":["W"]}"#,
                r#"{"TASK":"WORKER_RESPONSE","STATUS":"NACK","MASTER_UUID":"B"}"#,
            ),
            (
                r#"{"task":"worker_request","requestor_info":{"ip":"10.0.0.1","port":8000}}"#,
                None,
                r#"{"server_uuid":"B","response":"available","workers_uuid":["W"]}"#,
                r#"{"server_uuid":"B","response":"unavailable"}"#,
            ),
            (
                r#"{"task":"worker_request","workers_needed":5}"#,
                None,
                r#"{"task":"worker_response","status":"ack","master_uuid":"B","workers":["W"]}"#,
                r#"{"task":"worker_response","status":"nack","master_uuid":"B"}"#,
            ),
        ] {
            let mut link = Link::new(Edge::inbound());
            link.feed(&format!("{line}\n"));
            assert_eq!(link.words(), ["LoanRequest"], "{line}");
            assert_eq!((link.say(mark, accept()).as_str(), link.say(mark, reject()).as_str()), (yes, no));
        }
    }

    #[test]
    fn a_request_that_cannot_be_read_is_refused_in_the_form_in_which_it_came() {
        for (line, mark, refusal) in [
            (
                r#"{"type":"request_help","request_id":"r","payload":{"master_id":"A","workers_needed":-1}}"#,
                Some("r"),
                r#"{"type":"response_rejected","request_id":"r","payload":{"reason":"refused"}}"#,
            ),
            (
                r#"{"TYPE":"REQUEST_HELP","REQUEST_ID":7,"PAYLOAD":{"WORKERS_NEEDED":1.5}}"#,
                Some("7"),
                r#"{"TYPE":"RESPONSE_REJECTED","REQUEST_ID":"7","PAYLOAD":{"REASON":"refused"}}"#,
            ),
            (
                r#"{"type":"request_help","payload":7}"#,
                None,
                r#"{"type":"response_rejected","payload":{"reason":"refused"}}"#,
            ),
            (r#"{"TASK":"WORKER_REQUEST","REQUESTOR_INFO":7}"#, None, r#"{"RESPONSE":"UNAVAILABLE"}"#),
            (r#"{"TASK":"WORKER_REQUEST","WORKERS_NEEDED":-1}"#, None, r#"{"TASK":"WORKER_RESPONSE","STATUS":"NACK"}"#),
            (r#"{"task":"worker_request"}"#, None, r#"{"response":"unavailable"}"#),
        ] {
            let mut link = Link::new(Edge::inbound());
            link.feed(&format!(
                "{line}
"
            ));
            let Some(Decoded::Ignored { refusal: Some(answer), .. }) = link.heard.first() else {
                panic!("{line}: {:?}", link.heard)
            };
            assert_eq!(answer.id.as_ref().map(RequestId::as_str), mark, "{line}");
            let body = answer.body.clone();
            assert_eq!(link.say(mark, body), refusal, "{line}");
            let mut ours = Link::new(Edge::outbound(None));
            ours.feed(&format!("{line}\n"));
            assert_eq!(
                (ours.words(), ours.out.len()),
                (vec!["Stray".to_owned()], 0),
                "nobody answers on a link of his own"
            );
        }
        let mut link = Link::new(Edge::inbound());
        for line in [
            r#"{"type":"request_help","type":"x"}"#,
            r#"{"type":"notify_worker_returned"}"#,
            r#"{"TASK":"COMMAND_RELEASE"}"#,
        ] {
            link.feed(&format!("{line}\n"));
        }
        assert_eq!(link.heard.len(), 3);
        assert!(
            link.heard.iter().all(|heard| matches!(heard, Decoded::Ignored { refusal: None, .. })),
            "{:?}",
            link.heard
        );
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_told_from_what_is_none() {
        let mut link = Link::new(Edge::outbound(None));
        let mut wrong = |line: &str| {
            link.feed(&format!("{line}\n"));
            match link.heard.pop() {
                Some(Decoded::Stray { wrong, .. }) => wrong,
                other => panic!("{line}: {other:?}"),
            }
        };
        for (line, why) in [
            (r#"{"type":"response_accepted","request_id":"r","payload":{}}"#, "workers_offered"),
            (r#"{"type":"response_rejected","payload":{"reason":7.5,"reason":1}}"#, "twice"),
            (r#"{"RESPONSE":"AVAILABLE"}"#, "WORKERS_UUID"),
            (r#"{"response":"available","workers_uuid":7}"#, "WORKERS_UUID"),
            ("sorry", "no JSON object"),
            ("[]", "no JSON object"),
        ] {
            assert!(wrong(line).is_some_and(|found| found.contains(why)), "{line}: {:?}", wrong(line));
        }
        for line in [r#"{"type":"hello"}"#, r#"{"TASK":"DANCE"}"#, r#"{"WORKER":"ALIVE"}"#] {
            assert_eq!(wrong(line), None, "{line}");
        }
    }

    #[test]
    fn who_speaks_first_does_so_in_the_form_that_it_was_told() {
        let older =
            r#"{"TASK":"WORKER_REQUEST","REQUESTOR_INFO":{"ip":"10.0.0.1","port":8000,"needed":2},"SERVER_UUID":"A"}"#;
        let envelope = r#"{"type":"request_help","request_id":"r","payload":{"master_id":"A","current_load":150,"capacity":100,"workers_needed":2,"master_address":"10.0.0.1:8000","master_host":"10.0.0.1","master_port":8000,"master_uuid":"A"}}"#;
        let (old, new) = (Some(Dialect::Gen2025_2), Some(Dialect::Gen2026_1));
        for (told, named, said) in [
            (None, None, envelope),
            (Some(Dialect::Native), None, envelope),
            (old, None, older),
            (old, new, envelope),
            (new, old, older),
            (None, old, older),
        ] {
            assert_eq!(Link::new(Edge::outbound(told)).say(Some("r"), request(named)), said, "{told:?} {named:?}");
        }
        // Nobody has answered the envelope: the same link is asked in the other form, and what answers is remembered.
        let mut link = Link::new(Edge::outbound(None));
        assert_eq!(link.say(Some("r"), request(None)), envelope);
        assert_eq!(link.say(Some("r"), request(old)), older);
        assert_eq!(link.edge.spoken(), None);
        link.feed("{\"SERVER_UUID\":\"B\",\"RESPONSE\":\"UNAVAILABLE\"}\n");
        assert_eq!((link.words(), link.edge.spoken()), (vec!["LoanAnswer".to_owned()], old));
        assert_eq!(link.say(Some("r"), request(None)), older);
        let release = Release { master: Some(id("A")), workers: vec![id("W")] };
        let said = Link::new(Edge::outbound(None)).say(Some("r"), Body::Release(Box::new(release)));
        assert_eq!(said, r#"{"SERVER_UUID":"A","TASK":"COMMAND_RELEASE","WORKERS_UUID":["W"]}"#);
        let completed = ReleaseAnswer { master: Some(id("B")), workers: vec![id("W")], completed: true };
        let said = Link::new(Edge::outbound(None)).say(None, Body::ReleaseAnswer(Box::new(completed)));
        assert_eq!(said, r#"{"SERVER_UUID":"B","RESPONSE":"RELEASE_COMPLETED","WORKERS_UUID":["W"]}"#);
    }

    #[test]
    fn an_order_has_the_form_that_it_names_or_that_its_worker_has_shown() {
        let redirect = r#"{"type":"command_redirect","request_id":"r","payload":{"new_master_address":"10.0.0.1:8000","new_master_host":"10.0.0.1","new_master_port":8000,"new_master_id":"A","new_master_uuid":"A"}}"#;
        let release = r#"{"type":"command_release","request_id":"r","payload":{"original_master_address":"10.0.0.1:8000","return_to_master_host":"10.0.0.1","return_to_master_port":8000,"original_master_id":"A","original_master_uuid":"A"}}"#;
        let old = Some(Dialect::Gen2025_2);
        let mut link = Link::new(Edge::inbound());
        link.feed(&format!("{ALIVE}\n"));
        let mut say = |kind, dialect| link.say(Some("r"), order(kind, dialect));
        assert_eq!(
            say(MoveKind::Redirect, old),
            r#"{"TASK":"REDIRECT","SERVER_REDIRECT":{"ip":"10.0.0.1","port":8000}}"#
        );
        assert_eq!(say(MoveKind::Return, old), r#"{"TASK":"RETURN","SERVER_RETURN":{"ip":"10.0.0.1","port":8000}}"#);
        // Who has spoken the draft is told in it.
        for lower in [false, true] {
            let mut link = Link::new(Edge::inbound());
            let ask = r#"{"TASK":"WORKER_REQUEST","WORKERS_NEEDED":5}"#;
            link.feed(&format!("{}\n{ALIVE}\n", if lower { ask.to_ascii_lowercase() } else { ask.to_owned() }));
            let mut said = |kind| {
                let said = link.say(Some("r"), order(kind, old));
                let Ok(Message { body: Body::Move(read), .. }) = decode(said.as_bytes()) else { panic!("{said}") };
                let Body::Move(order) = order(kind, old) else { panic!() };
                assert_eq!((read.kind, read.target), (kind, order.target), "{said}");
                said
            };
            let (go, back) = (said(MoveKind::Redirect), said(MoveKind::Return));
            if lower {
                assert_eq!(
                    go,
                    r#"{"task":"redirect","target_master":{"ip":"10.0.0.1","port":8000},"failover_list":[]}"#
                );
            } else {
                let expected =
                    r#"{"TASK":"REDIRECT","TARGET_MASTER":{"IP":"10.0.0.1","PORT":8000},"FAILOVER_LIST":[]}"#;
                assert_eq!(go, expected);
                let to = r#"{"IP":"10.0.0.1","PORT":8000}"#;
                assert_eq!(back, format!(r#"{{"TASK":"RETURN","TARGET_MASTER":{to},"HOME_MASTER":{to}}}"#));
            }
        }
        let mut link = Link::new(Edge::inbound());
        link.feed(&format!("{ALIVE}\n"));
        assert_eq!(link.say(Some("r"), order(MoveKind::Redirect, None)), redirect);
        assert_eq!(link.say(Some("r"), order(MoveKind::Return, Some(Dialect::Gen2026_1))), release);
        let mut upper = Link::new(Edge::inbound());
        upper.feed("{\"TYPE\":\"REGISTER_TEMPORARY_WORKER\",\"PAYLOAD\":{\"WORKER_ID\":\"W\"}}\n").wait(250);
        assert!(upper.say(Some("r"), order(MoveKind::Return, None)).starts_with(
            r#"{"TYPE":"COMMAND_RELEASE","REQUEST_ID":"r","PAYLOAD":{"ORIGINAL_MASTER_ADDRESS":"10.0.0.1:8000""#
        ));
        // Native fields are never lost.
        let native = NativeMove {
            owner: id("B"),
            epoch: Epoch { generation: 0, counter: 7 },
            loan_id: None,
            lease: None,
            stay: None,
            grace: None,
        };
        let Body::Move(order) = order(MoveKind::Redirect, old) else { panic!() };
        let said = link.say(None, Body::Move(Box::new(WorkerMove { native: Some(native), ..*order })));
        assert!(
            said.starts_with(r#"{"type":"command_redirect","SERVER_ID":"A","OWNER":"B","EPOCH":[0,7],"payload""#),
            "{said}"
        );
    }

    #[test]
    fn an_acknowledgement_bears_the_mark_as_envelopes_do() {
        let ack = || Body::StatusAck(Box::new(StatusAck { worker: Some(id("W")), attempt: None }));
        let mut link = Link::new(Edge::inbound());
        link.feed(&format!("{REGISTER}\n")).wait(250);
        assert_eq!(link.say(Some("r"), ack()), r#"{"STATUS":"ACK","WORKER_UUID":"W","request_id":"r"}"#);
        assert_eq!(link.say(Some("r"), Body::NoTask), r#"{"TASK":"NO_TASK"}"#);
        assert_eq!(link.say(None, ack()), r#"{"STATUS":"ACK","WORKER_UUID":"W"}"#);
        let mut upper = Link::new(Edge::inbound());
        upper.feed("{\"TYPE\":\"NOTIFY_WORKER_RETURNED\",\"REQUEST_ID\":\"r\",\"PAYLOAD\":{\"WORKER_ID\":\"W\"}}\n");
        assert_eq!(upper.say(Some("r"), ack()), r#"{"STATUS":"ACK","WORKER_UUID":"W","REQUEST_ID":"r"}"#);
        let mut lower = Link::new(Edge::inbound());
        lower.feed("{\"worker\":\"alive\",\"worker_uuid\":\"W\"}\n").feed(&format!("{REGISTER}\n")).wait(250);
        assert_eq!(lower.say(Some("r"), ack()), r#"{"status":"ack","worker_uuid":"W","request_id":"r"}"#);
        // A link that knows no envelopes has the mark of a native node.
        assert_eq!(Link::new(Edge::inbound()).say(Some("r"), ack()), r#"{"STATUS":"ACK","ID":"r","WORKER_UUID":"W"}"#);
    }

    #[test]
    fn who_may_say_what_on_which_link() {
        let lines = [
            ("LoanRequest", r#"{"type":"request_help","payload":{"master_id":"A"}}"#),
            ("LoanAnswer", r#"{"type":"response_rejected","payload":{"reason":"refused"}}"#),
            ("Move", r#"{"TASK":"REDIRECT","SERVER_REDIRECT":{"ip":"10.0.0.1","port":1}}"#),
            ("Release", r#"{"TASK":"COMMAND_RELEASE","WORKERS_UUID":["W"]}"#),
            ("ReleaseAnswer", r#"{"RESPONSE":"RELEASE_COMPLETED","WORKERS_UUID":["W"]}"#),
            ("Returned", r#"{"type":"notify_worker_returned","payload":{"worker_id":"W"}}"#),
            ("StatusAck", r#"{"STATUS":"ACK","request_id":"r"}"#),
            ("Loans", r#"{"TASK":"LOANS"}"#),
        ];
        let hears = |edge: fn() -> Edge| -> Vec<&str> {
            let understood = |(kind, line): &(&'static str, &str)| {
                let mut link = Link::new(edge());
                (link.feed(&format!("{line}\n")).words() == [*kind]).then_some(*kind)
            };
            lines.iter().filter_map(understood).collect()
        };
        assert_eq!(hears(Edge::inbound), ["LoanRequest", "Move", "Release", "ReleaseAnswer", "Returned", "Loans"]);
        assert_eq!(hears(|| Edge::outbound(None)), ["LoanAnswer", "ReleaseAnswer", "Loans"]);
        let works = || {
            let mut edge = Edge::outbound(None);
            let (worker, home, owner, listens) = (id("W"), None, None, None);
            let registration = Registration { worker, home, owner, listens, wants_ack: false };
            edge.render(&Message::plain(Body::Register(Box::new(registration))), &mut Vec::new());
            edge
        };
        assert_eq!(hears(works), ["LoanAnswer", "Move", "ReleaseAnswer", "StatusAck", "Loans"]);
        let told = || {
            let mut edge = Edge::outbound(None);
            let returned = Returned { worker: id("W"), loan_id: None };
            edge.render(&Message::plain(Body::Returned(Box::new(returned))), &mut Vec::new());
            edge
        };
        assert_eq!(hears(told), ["LoanAnswer", "ReleaseAnswer", "StatusAck", "Loans"]);
        // Whatever it is, no error answers it.
        for (_, line) in lines {
            for mut link in [Link::new(Edge::inbound()), Link::new(Edge::outbound(None)), Link::new(works())] {
                assert_eq!(link.feed(&format!("{line}\n")).out, b"", "{line}");
            }
        }
    }

    #[test]
    fn a_borrowed_worker_of_ours_says_whose_it_is_where_envelopes_are_not_known() {
        let registration = Registration {
            worker: id("W"),
            home: Some("10.0.0.2:8000".parse().unwrap()),
            owner: Some("B".to_owned()),
            listens: None,
            wants_ack: true,
        };
        let said =
            |told| Link::new(Edge::outbound(told)).say(Some("r"), Body::Register(Box::new(registration.clone())));
        assert_eq!(said(Some(Dialect::Gen2025_2)), r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SERVER_UUID":"B"}"#);
        assert_eq!(
            said(None),
            r#"{"type":"register_temporary_worker","request_id":"r","payload":{"worker_id":"W","worker_uuid":"W","original_master_address":"10.0.0.2:8000","original_master_id":"B"}}"#
        );
        // What a foreign master answers to that is read as ever.
        let mut link = Link::new(Edge::outbound(None));
        link.say(Some("r"), Body::Register(Box::new(registration)));
        link.feed("{\"STATUS\":\"ACK\",\"WORKER_UUID\":\"W\",\"request_id\":\"r\"}\n{\"TASK\":\"QUERY\",\"USER\":1}\n{\"TASK\":\"NO_TASK\"}\n");
        assert_eq!(link.words(), ["StatusAck", "Query", "NoTask"]);
    }

    proptest! {
        #[test]
        fn an_order_and_a_registration_say_the_same_in_upper_case(order in worker_move(), comer in registration()) {
            for body in [Body::Move(Box::new(WorkerMove { registers: order.kind == MoveKind::Redirect, dialect: None, native: None, ..order })), Body::Register(Box::new(comer))] {
                let message = Message { id: RequestId::new("r\\\"x"), body };
                let mut out = Vec::new();
                let known = Known { shown: Some(LoanForm::UpperEnvelope), told: None, cycle: None };
                render(&message, known, &mut out);
                prop_assert!(out.starts_with(br#"{"TYPE":""#), "{}", String::from_utf8_lossy(&out));
                prop_assert_eq!(decode(&out), Ok(message), "{}", String::from_utf8_lossy(&out));
            }
        }

        #[test]
        fn no_line_makes_it_panic(mut line in proptest::collection::vec(any::<u8>(), 0..60)) {
            recase(&mut line, <[u8]>::make_ascii_uppercase, &["type"]);
        }
    }
}
