//! The cycle of workers in the form that a link understands: native, official, or all in lower case.
//!
//! ```text
//!   the worker begins (nothing is known)      WORKER ALIVE with official keys, native extras and lower-case twins
//!   the master has answered                   the form of its answer, until the link ends
//!   a master                                  the form in which the worker spoke
//! ```

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::wire::decode::Shape;
use crate::wire::encode::{Object, encode};
use crate::wire::fields::is_known;
use crate::wire::{Body, Json, MAX_LINE_BYTES, Message, StatusAck, WorkerAlive, WorkerStatus};

use super::Dialect;

/// The form of the cycle on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With SLOTS, JOB_ID and what else native nodes say.
    Native,
    /// Only what the classroom's documents name.
    Upper,
    /// The same in lower case.
    Lower,
}

/// What a line of the cycle means on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is for the core.
    Message,
    /// It answers nothing that was asked here.
    Stray,
    /// It is an order, and there is no master at the other end: this deserves an error. The name of its task.
    Order(&'static str),
}

/// What a body means on a link that was accepted, or opened; `works`: this node has spoken there as a worker.
pub(super) fn meaning(body: &Body, outbound: bool, works: bool) -> Meaning {
    match (body, outbound, works) {
        // What a master says to its worker.
        (Body::Job(_) | Body::JobStop(_) | Body::KeepAlive | Body::NoTask | Body::StatusAck(_), true, true) => {
            Meaning::Message
        }
        (Body::ElectionAccepted { .. } | Body::WorkerWelcome(_) | Body::Query { .. }, true, true) => Meaning::Message,
        (Body::Job(_), false, _) => Meaning::Order("JOB"),
        (Body::JobStop(_), false, _) => Meaning::Order("STOP"),
        (Body::KeepAlive, false, _) => Meaning::Order("KEEPALIVE"),
        (Body::Job(_) | Body::JobStop(_) | Body::KeepAlive | Body::NoTask | Body::StatusAck(_), _, _) => Meaning::Stray,
        (Body::ElectionAccepted { .. } | Body::WorkerWelcome(_), _, _) => Meaning::Stray,
        // What a worker says to its master, and a client to any node.
        (Body::WorkerAlive(_) | Body::WorkerStatus(_) | Body::TaskRequest { .. }, true, _) => Meaning::Stray,
        (Body::Pong { .. } | Body::ElectionAck { .. } | Body::Query { .. }, true, _) => Meaning::Stray,
        // Of loans: questions come on links that were accepted, answers on those that this node opened.
        (Body::LoanRequest(_) | Body::Register(_) | Body::Release(_) | Body::Returned(_), true, _) => Meaning::Stray,
        (Body::LoanAnswer(_), false, _) => Meaning::Stray,
        // On a link that was accepted, it is for a worker that listens; who is none says nothing.
        (Body::Move(_), true, false) => Meaning::Stray,
        // A foreign master means its worker, and would not understand an answer.
        (Body::WhereTo { .. }, true, true) => Meaning::Stray,
        _ => Meaning::Message,
    }
}

/// Whether only a worker says this.
pub(super) fn is_of_worker(body: &Body) -> bool {
    matches!(
        body,
        Body::WorkerAlive(_)
            | Body::WorkerStatus(_)
            | Body::TaskRequest { .. }
            | Body::Pong { .. }
            | Body::ElectionAck { .. }
            | Body::Register(_)
    )
}

/// The form of a link whose master was called with this dialect.
pub(super) fn of_dialect(dialect: Option<Dialect>) -> Option<Form> {
    match dialect? {
        Dialect::Native => Some(Form::Native),
        Dialect::Seed | Dialect::Gen2025_2 | Dialect::Gen2026_1 => Some(Form::Upper),
    }
}

/// The form of a link after this message came. Native once is native for good, as some lines are alike in both; only
/// the ALIVE of another worker can change that.
pub(super) fn shown(form: Option<Form>, body: &Body, shape: Shape) -> Option<Form> {
    // An election is spelt alike by everybody: it tells nothing.
    if matches!(body, Body::ElectionAck { .. } | Body::ElectionAccepted { .. }) {
        return form;
    }
    let found = match shape {
        Shape::Native => Form::Native,
        Shape::Upper => Form::Upper,
        Shape::Lower => Form::Lower,
        Shape::Plain | Shape::Id | Shape::Uuid => return form,
        Shape::Envelope | Shape::UpperEnvelope => return form,
        Shape::Older | Shape::Draft | Shape::LowerOlder | Shape::LowerDraft => return form,
    };
    // Native nodes say the election in the official form, too: it tells nothing of what they understand.
    if matches!((body, found), (Body::ElectionAck { .. } | Body::ElectionAccepted { .. }, Form::Upper)) {
        return form;
    }
    if form == Some(Form::Native) && !matches!(body, Body::WorkerAlive(_)) {
        return form;
    }
    Some(found)
}

/// Appends a line of the cycle. Whatever else it is given, it renders in native form.
pub(super) fn render(message: &Message, form: Option<Form>, out: &mut Vec<u8>) {
    match (&message.body, form) {
        (Body::WorkerAlive(alive), None) => universal_alive(alive, message, out),
        (Body::WorkerAlive(alive), Some(Form::Upper)) => {
            let line = Object::begin(out).text("WORKER", "ALIVE").worker_uuid(Some(&alive.worker));
            line.maybe("SERVER_UUID", alive.owner.as_deref()).listens(alive, "WORKER_HOST", "WORKER_PORT").end();
        }
        (Body::WorkerStatus(status), None) if status.attempt.is_none() => universal_status(status, out),
        (Body::WorkerStatus(status), Some(Form::Upper)) => official_status(status, out).end(),
        (Body::StatusAck(ack), Some(Form::Upper)) => {
            let ack = StatusAck { worker: ack.worker.clone(), attempt: None };
            encode(&Message { id: message.id.clone(), body: Body::StatusAck(Box::new(ack)) }, out);
        }
        (_, Some(Form::Lower)) => lower(message, out),
        _ => encode(message, out),
    }
}

/// What every family reads: official keys, what is native, and the lower-case twins, side by side.
fn universal_alive(alive: &WorkerAlive, message: &Message, out: &mut Vec<u8>) {
    let line = Object::begin(out).text("WORKER", "ALIVE").id(message.id.as_ref());
    let line = lower_alive(line.worker_alive(alive), alive);
    // What native masters do not need stands behind; one that is not native has said it already.
    let line = match &alive.native {
        Some(_) => {
            let strange = WorkerAlive { native: None, ..alive.clone() };
            line.listens(&strange, "WORKER_HOST", "WORKER_PORT")
        }
        None => line,
    };
    line.end();
}

fn lower_alive<'o>(line: Object<'o>, alive: &WorkerAlive) -> Object<'o> {
    line.text("worker", "alive").text("worker_uuid", alive.worker.as_str()).maybe("server_uuid", alive.owner.as_deref())
}

fn official_status<'o>(status: &WorkerStatus, out: &'o mut Vec<u8>) -> Object<'o> {
    let word = if status.ok { "OK" } else { "NOK" };
    let line = Object::begin(out).text("STATUS", word).text("TASK", "QUERY").worker_uuid(status.worker.as_ref());
    members(line, status.result.as_ref(), str::to_owned)
}

fn lower_status<'o>(line: Object<'o>, status: &WorkerStatus) -> Object<'o> {
    let line = line.text("status", if status.ok { "ok" } else { "nok" }).text("task", "query");
    line.maybe("worker_uuid", status.worker.as_ref().map(|id| id.as_str()))
}

/// A new connection to a master that answers one message on each: its form is not known here again.
fn universal_status(status: &WorkerStatus, out: &mut Vec<u8>) {
    lower_status(official_status(status, out), status).end();
}

/// What a result says in the classroom's way: members of an object with upper-case names and plain values, such as
/// `CPF` and `SALDO`, that mean nothing else in a STATUS.
fn members<'o>(mut line: Object<'o>, result: Option<&Json>, name: impl Fn(&str) -> String) -> Object<'o> {
    let Some(result) = result.filter(|result| result.as_str().trim_start().starts_with('{')) else { return line };
    let found: BTreeMap<String, &RawValue> = serde_json::from_str(result.as_str()).unwrap_or_default();
    for (key, value) in found {
        let plain = !value.get().starts_with(['{', '[']);
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let written = name(&key);
        if !plain || key.is_empty() || !key.bytes().all(upper) || is_known(&key) || is_known(&written) {
            continue;
        }
        // Room for what ends the line, and for the twins of a universal one.
        if line.length() + written.len() + value.get().len() + 1024 > MAX_LINE_BYTES {
            break;
        }
        line = line.json(&written, &Json::trusted(value.get()));
    }
    line
}

/// Everything in lower case; what has no such form is rendered in native form.
fn lower(message: &Message, out: &mut Vec<u8>) {
    let id = message.id.as_ref();
    let uuid = |worker: &Option<crate::wire::ServerId>| worker.as_ref().map(|id| id.as_str().to_owned());
    match &message.body {
        Body::WorkerAlive(alive) => {
            lower_alive(Object::begin(out), alive).listens(alive, "worker_host", "worker_port").end();
        }
        Body::WorkerStatus(status) => {
            let line = lower_status(Object::begin(out), status);
            members(line, status.result.as_ref(), str::to_ascii_lowercase).end();
        }
        Body::StatusAck(ack) => {
            let line = Object::begin(out).text("status", "ack").id(id);
            line.maybe("worker_uuid", uuid(&ack.worker).as_deref()).end();
        }
        Body::Query { user } => Object::begin(out).text("task", "query").id(id).json("user", user).end(),
        Body::NoTask => Object::begin(out).text("task", "no_task").id(id).end(),
        Body::KeepAlive => Object::begin(out).text("task", "keepalive").end(),
        Body::Pong { worker } => {
            Object::begin(out).text("status", "pong").maybe("worker_uuid", uuid(worker).as_deref()).end();
        }
        Body::TaskRequest { worker } => {
            Object::begin(out).text("task", "request").maybe("worker_uuid", uuid(worker).as_deref()).end();
        }
        Body::ElectionAck { worker, selected } => {
            let line = Object::begin(out).text("type", "election_ack").text("worker_uuid", worker.as_str());
            line.text("selected_master", selected).end();
        }
        Body::ElectionAccepted { master } => {
            let line = Object::begin(out).text("type", "election_ack").id(id).text("status", "accepted");
            line.text("master_name", master).end();
        }
        _ => encode(message, out),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::time::Time;
    use crate::wire::dialect::{Decoded, Edge, Prepared};
    use crate::wire::encode::tests::{json, worker_alive, worker_status};
    use crate::wire::{
        Attempt, JobId, JobOrder, NativeWorker, RequestId, ServerId, ServiceName, ServiceOffer, WorkerWelcome, decode,
    };

    use super::*;

    fn id(text: &str) -> ServerId {
        ServerId::new(text).unwrap()
    }

    fn attempt() -> Attempt {
        Attempt { job_id: JobId::new("3fa9c1d2-7-42").unwrap(), attempt: 1 }
    }

    fn alive() -> Body {
        let services = vec![ServiceOffer { name: ServiceName::run(), methods: vec![], idempotent: vec![] }];
        let native = NativeWorker {
            name: "anna".to_owned(),
            slots: 4,
            services,
            jobs: vec![attempt()],
            epoch: None,
            loan_id: None,
        };
        Body::WorkerAlive(Box::new(WorkerAlive {
            worker: id("W"),
            owner: None,
            listens: None,
            native: Some(Box::new(native)),
        }))
    }

    fn status(attempt: Option<Attempt>) -> Body {
        let result = Json::new(r#"{"CPF":"111","SALDO":25.0,"lower":1,"DEEP":{"a":1},"TASK":"x","USER":"y"}"#);
        let (worker, detail) = (Some(id("W")), None);
        Body::WorkerStatus(Box::new(WorkerStatus { worker, attempt, ok: true, result, detail, retry: true }))
    }

    fn ack() -> Body {
        Body::StatusAck(Box::new(StatusAck { worker: Some(id("W")), attempt: Some(attempt()) }))
    }

    fn query() -> Body {
        Body::Query { user: Json::new("[1, 2]").unwrap() }
    }

    fn welcome() -> Body {
        let (server_id, name, timeout) = (id("M"), "m".to_owned(), Duration::from_secs(6));
        Body::WorkerWelcome(Box::new(WorkerWelcome {
            server_id,
            name,
            timeout,
            failover: vec![],
            drop: vec![],
            terms: None,
        }))
    }

    fn say(edge: &mut Edge, body: Body) -> String {
        let mut out = Vec::new();
        edge.render(&Message::plain(body), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn hear(edge: &mut Edge, line: &str) -> Vec<Body> {
        let (mut input, mut bodies) = (line.as_bytes(), Vec::new());
        while let Some(decoded) = edge.poll(&Prepared::new(&id("ME")), &mut input, Time::ZERO, &mut Vec::new()) {
            match decoded {
                Decoded::Message(message) => bodies.push(message.body),
                other => panic!("{line}: {other:?}"),
            }
        }
        bodies
    }

    const UNIVERSAL: &str = "{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\",\"NAME\":\"anna\",\"SLOTS\":4,\"WAIT\":true,\
                             \"SERVICES\":[\"run\"],\"JOBS\":[\"3fa9c1d2-7-42/1\"],\"worker\":\"alive\",\
                             \"worker_uuid\":\"W\"}\n";

    #[test]
    fn a_native_worker_that_was_accepted_after_its_election_still_says_that_it_is_native() {
        let (mut worker, mut master) = (Edge::outbound(None), Edge::inbound());
        let election = Body::ElectionAck { worker: id("W"), selected: "m".to_owned() };
        let told = say(&mut worker, election.clone());
        assert_eq!(hear(&mut master, &told), [election]);
        let accepted = say(&mut master, Body::ElectionAccepted { master: "m".to_owned() });
        hear(&mut worker, &accepted);
        let asked = say(&mut worker, alive());
        assert_eq!(hear(&mut master, &asked), [alive()]);
        let welcomed = say(&mut master, welcome());
        assert_eq!(hear(&mut worker, &welcomed), [welcome()]);
    }

    #[test]
    fn a_worker_begins_in_the_form_that_everybody_reads_and_goes_on_in_that_of_the_answer() {
        let official = "{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\"}\n";
        let native = "{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\",\"NAME\":\"anna\",\"SLOTS\":4,\"WAIT\":true,\
                      \"SERVICES\":[\"run\"],\"JOBS\":[\"3fa9c1d2-7-42/1\"]}\n";
        let lower = "{\"worker\":\"alive\",\"worker_uuid\":\"W\"}\n";
        let greeting = "{\"TASK\":\"WORKER\",\"RESPONSE\":\"OK\",\"SERVER_ID\":\"M\",\"NAME\":\"m\",\"TIMEOUT_MS\":6000,\
                        \"FAILOVER\":[],\"DROP\":[]}\n";
        for (answer, form) in [
            ("{\"TASK\":\"NO_TASK\"}\n", official),
            ("{\"TASK\": \"QUERY\", \"USER\": 1}\n", official),
            ("{\"STATUS\":\"ACK\"}\n", official),
            ("{\"TYPE\":\"ELECTION_ACK\",\"STATUS\":\"ACCEPTED\",\"MASTER_NAME\":\"M\"}\n", UNIVERSAL),
            ("{\"task\":\"no_task\"}\n", lower),
            ("{\"task\":\"query\",\"user\":1}\n", lower),
            (greeting, native),
        ] {
            let mut edge = Edge::outbound(None);
            assert_eq!(say(&mut edge, alive()), UNIVERSAL);
            assert_eq!(hear(&mut edge, answer).len(), 1, "{answer}");
            assert_eq!(say(&mut edge, alive()), form, "{answer}");
        }
        for (dialect, form) in [(Dialect::Native, native), (Dialect::Gen2025_2, official), (Dialect::Seed, official)] {
            assert_eq!(say(&mut Edge::outbound(Some(dialect)), alive()), form);
        }
        let owned = Body::WorkerAlive(Box::new(WorkerAlive {
            worker: id("W"),
            owner: Some("B".into()),
            listens: None,
            native: None,
        }));
        let expected = "{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\",\"SERVER_UUID\":\"B\",\"worker\":\"alive\",\
                        \"worker_uuid\":\"W\",\"server_uuid\":\"B\"}\n";
        assert_eq!(say(&mut Edge::outbound(None), owned), expected);
    }

    #[test]
    fn a_status_says_to_foreign_masters_what_they_know() {
        let official = "{\"STATUS\":\"OK\",\"TASK\":\"QUERY\",\"WORKER_UUID\":\"W\",\"CPF\":\"111\",\"SALDO\":25.0}\n";
        let lower = "{\"status\":\"ok\",\"task\":\"query\",\"worker_uuid\":\"W\",\"cpf\":\"111\",\"saldo\":25.0}\n";
        let universal = "{\"STATUS\":\"OK\",\"TASK\":\"QUERY\",\"WORKER_UUID\":\"W\",\"CPF\":\"111\",\"SALDO\":25.0,\
                         \"status\":\"ok\",\"task\":\"query\",\"worker_uuid\":\"W\"}\n";
        let mut edge = Edge::outbound(None);
        assert_eq!(say(&mut edge, status(None)), universal, "on a new connection");
        hear(&mut edge, "{\"STATUS\":\"ACK\"}\n");
        assert_eq!(say(&mut edge, status(None)), official);
        let mut edge = Edge::outbound(None);
        say(&mut edge, alive());
        hear(&mut edge, "{\"task\":\"query\",\"user\":1}\n");
        assert_eq!(say(&mut edge, status(None)), lower);
        assert_eq!(
            say(&mut edge, Body::Pong { worker: Some(id("W")) }),
            "{\"status\":\"pong\",\"worker_uuid\":\"W\"}\n"
        );
        assert_eq!(say(&mut edge, Body::TaskRequest { worker: None }), "{\"task\":\"request\"}\n");
        let native = say(&mut Edge::outbound(None), status(Some(attempt())));
        let begin = "{\"STATUS\":\"OK\",\"TASK\":\"JOB\",\"WORKER_UUID\":\"W\",\"JOB_ID\":\"3fa9c1d2-7-42\",\"ATTEMPT\":1,\
                     \"RESULT\":{\"CPF\"";
        assert!(native.starts_with(begin), "{native}");
    }

    #[test]
    fn an_election_does_not_tell_a_native_master_from_another() {
        let mut edge = Edge::outbound(None);
        let first = say(&mut edge, alive());
        let accepted = "{\"TYPE\":\"ELECTION_ACK\",\"STATUS\":\"ACCEPTED\",\"MASTER_NAME\":\"M\"}\n";
        assert_eq!(hear(&mut edge, accepted).len(), 1);
        assert_eq!(say(&mut edge, alive()), first, "the next ALIVE still has the form that everybody reads");
    }

    #[test]
    fn a_master_answers_each_worker_in_its_own_form() {
        let lines =
            |edge: &mut Edge| [query(), Body::NoTask, ack(), Body::KeepAlive].map(|body| say(edge, body)).concat();
        let accepted = || Body::ElectionAccepted { master: "M".to_owned() };

        let mut upper = Edge::inbound();
        hear(&mut upper, "{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\"}\n");
        let official = "{\"TASK\":\"QUERY\",\"USER\":[1, 2]}\n{\"TASK\":\"NO_TASK\"}\n\
                        {\"STATUS\":\"ACK\",\"WORKER_UUID\":\"W\"}\n{\"TASK\":\"KEEPALIVE\"}\n";
        assert_eq!(lines(&mut upper), official);
        assert_eq!(
            say(&mut upper, accepted()),
            "{\"TYPE\":\"ELECTION_ACK\",\"STATUS\":\"ACCEPTED\",\"MASTER_NAME\":\"M\"}\n"
        );

        let mut lower = Edge::inbound();
        hear(&mut lower, "{\"worker\":\"alive\",\"worker_uuid\":\"W\"}\n");
        let expected = "{\"task\":\"query\",\"user\":[1, 2]}\n{\"task\":\"no_task\"}\n\
                        {\"status\":\"ack\",\"worker_uuid\":\"W\"}\n{\"task\":\"keepalive\"}\n";
        assert_eq!(lines(&mut lower), expected);
        assert_eq!(
            say(&mut lower, accepted()),
            "{\"type\":\"election_ack\",\"status\":\"accepted\",\"master_name\":\"M\"}\n"
        );

        let mut native = Edge::inbound();
        assert_eq!(hear(&mut native, UNIVERSAL), [alive()], "our first line is native to ourselves");
        hear(&mut native, "{\"STATUS\":\"PONG\",\"WORKER_UUID\":\"W\"}\n");
        let native_ack = "{\"STATUS\":\"ACK\",\"WORKER_UUID\":\"W\",\"JOB_ID\":\"3fa9c1d2-7-42\",\"ATTEMPT\":1}\n";
        assert_eq!(say(&mut native, ack()), native_ack, "a line that is alike in both forms changes nothing");
        hear(&mut native, "{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\"}\n");
        assert_eq!(lines(&mut native), official, "another worker");
    }

    #[test]
    fn two_native_edges_understand_each_other() {
        let (mut ours, mut theirs) = (Edge::outbound(None), Edge::inbound());
        let order = Body::Job(Arc::new(JobOrder {
            attempt: attempt(),
            call: true,
            service: ServiceName::run(),
            method: ServiceName::run(),
            params: Json::null(),
            timeout: Duration::from_secs(1),
            output: true,
        }));
        for body in [alive(), welcome(), order, status(Some(attempt())), ack(), alive()] {
            let (speaker, hearer) =
                if is_of_worker(&body) { (&mut ours, &mut theirs) } else { (&mut theirs, &mut ours) };
            assert_eq!(hear(hearer, &say(speaker, body.clone())), [body]);
        }
    }

    fn form() -> impl Strategy<Value = Option<Form>> {
        proptest::sample::select(vec![None, Some(Form::Native), Some(Form::Upper), Some(Form::Lower)])
    }

    proptest! {
        #[test]
        fn a_worker_is_recognised_in_every_form(alive in worker_alive(), form in form(), mark in any::<bool>()) {
            let message =
                Message { id: mark.then(|| RequestId::new("1")).flatten(), body: Body::WorkerAlive(Box::new(alive.clone())) };
            let mut out = Vec::new();
            render(&message, form, &mut out);
            let native = alive.native.filter(|_| matches!(form, None | Some(Form::Native)));
            let expected = Body::WorkerAlive(Box::new(WorkerAlive { native, ..alive }));
            prop_assert_eq!(decode(&out).map(|message| message.body), Ok(expected), "{}", String::from_utf8_lossy(&out));
        }

        #[test]
        fn so_is_its_status(status in worker_status(), result in json(), form in form()) {
            let status = WorkerStatus { result: Some(result), ..status };
            let mut out = Vec::new();
            render(&Message::plain(Body::WorkerStatus(Box::new(status.clone()))), form, &mut out);
            match decode(&out).map(|message| message.body) {
                Ok(Body::WorkerStatus(read)) => prop_assert_eq!((&read.worker, read.ok), (&status.worker, status.ok)),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
