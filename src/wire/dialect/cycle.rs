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
    let found = match shape {
        Shape::Native => Form::Native,
        Shape::Upper => Form::Upper,
        Shape::Lower => Form::Lower,
        Shape::Plain | Shape::Id | Shape::Uuid => return form,
    };
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
            line.maybe("SERVER_UUID", alive.owner.as_deref()).end();
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
    lower_alive(line.worker_alive(alive), alive).end();
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
        Body::WorkerAlive(alive) => lower_alive(Object::begin(out), alive).end(),
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
