//! The answers of native nodes: a second, typed pass over a line that the first one has recognised.
//!
//! Nothing here is answered, so an answer that is not whole is just `None`.

mod farm;
mod group;
mod jobs;
mod leases;
mod loans;
mod services;
mod why;

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Event, EventKind, GroupId, GroupPresence, HelloAnswer, Learnt, LoadAnswer, LoadReport, NodeEntry, NodesAnswer,
    Permille, Presence, Role, Score, ServerId, Status, is_valid_name,
};

pub(super) use farm::{attempts, welcome, workers};
pub(super) use group::{agree, elect, members, proved};
pub(super) use jobs::{job, job_output, jobs, redirect};
pub(super) use leases::{leases, settings};
pub(super) use loans::loans;
pub(super) use services::{call, offers};
pub(super) use why::why;

/// Largest figure with three decimals that is read, in thousandths; larger ones count as this. Up to here a JSON
/// number keeps every thousandth (a double has 53 bits).
pub(super) const MAX_THOUSANDTHS: u64 = 1 << 48;

/// A share, from a percentage; above 100 counts as 100.
pub(super) fn permille(percent: f64) -> Option<Permille> {
    (percent >= 0.0).then(|| Permille::new((percent * 10.0).round() as u64))
}

/// Thousandths, from a figure with three decimals.
fn thousandths(figure: f64) -> Option<u64> {
    (figure >= 0.0).then(|| ((figure * 1000.0).round() as u64).min(MAX_THOUSANDTHS))
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Hello<'a> {
    #[serde(borrow)]
    server_id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    address: Cow<'a, str>,
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    group: Cow<'a, str>,
    group_id: Option<String>,
    term: Option<u64>,
    leader: Option<String>,
    founder: Option<String>,
    sees: Option<u64>,
    version: String,
    dialects: Vec<String>,
    line_bytes: u64,
    secret: bool,
    uptime_ms: u64,
    heartbeats: u64,
    interval_ms: u64,
    timeout_ms: u64,
    supervisor: Option<String>,
    supervisor_reached: Option<bool>,
    #[serde(borrow)]
    services: Option<&'a RawValue>,
    cpu: Option<f64>,
    memory: Option<f64>,
    pending: Option<u64>,
    running: Option<u64>,
    workers: Option<u64>,
    saturated: Option<bool>,
}

/// The answer to `HELLO`.
pub(super) fn hello(text: &str) -> Option<HelloAnswer> {
    let hello: Hello = serde_json::from_str(text).ok()?;
    let load = (hello.cpu, hello.memory, hello.pending, hello.running, hello.workers, hello.saturated);
    Some(HelloAnswer {
        presence: Presence {
            server_id: ServerId::new(hello.server_id)?,
            name: name(hello.name)?,
            address: hello.address.parse().ok()?,
            role: Role::parse(&hello.role)?,
            group: name(hello.group)?,
            group_presence: GroupPresence {
                group_id: valid(hello.group_id, GroupId::new)?,
                term: hello.term.unwrap_or_default(),
                leader: valid(hello.leader, ServerId::new)?,
                founder: valid(hello.founder, ServerId::new)?,
                sees: hello.sees.unwrap_or_default(),
            },
            load: report(load)?.unwrap_or_default(),
            services: hello.services.map(|services| offers(services.get())).unwrap_or_default(),
        },
        version: hello.version,
        dialects: hello.dialects,
        line_bytes: hello.line_bytes,
        secret: hello.secret,
        uptime: Duration::from_millis(hello.uptime_ms),
        heartbeats: hello.heartbeats,
        interval: Duration::from_millis(hello.interval_ms),
        timeout: Duration::from_millis(hello.timeout_ms),
        supervisor: valid(hello.supervisor, |text| text.parse().ok())?,
        supervisor_reached: hello.supervisor_reached,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Nodes<'a> {
    #[serde(borrow)]
    server_id: Cow<'a, str>,
    #[serde(borrow)]
    nodes: Vec<Node<'a>>,
    more: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Node<'a> {
    key: String,
    server_id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    address: Cow<'a, str>,
    role: Option<String>,
    group: Option<String>,
    group_id: Option<String>,
    leads: Option<bool>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    last_seen_ms: Option<u64>,
    rtt_ms: Option<f64>,
    cpu: Option<f64>,
    memory: Option<f64>,
    pending: Option<u64>,
    running: Option<u64>,
    workers: Option<u64>,
    saturated: Option<bool>,
    score: Option<f64>,
    #[serde(borrow)]
    learnt: Cow<'a, str>,
    reason: Option<String>,
}

/// The answer to `NODES`.
pub(super) fn nodes(text: &str) -> Option<NodesAnswer> {
    let answer: Nodes = serde_json::from_str(text).ok()?;
    Some(NodesAnswer {
        server_id: ServerId::new(answer.server_id)?,
        nodes: answer.nodes.into_iter().map(node).collect::<Option<_>>()?,
        more: answer.more.unwrap_or_default(),
    })
}

fn node(node: Node) -> Option<NodeEntry> {
    let load = (node.cpu, node.memory, node.pending, node.running, node.workers, node.saturated);
    Some(NodeEntry {
        key: node.key,
        server_id: valid(node.server_id, ServerId::new)?,
        name: valid(node.name, name)?,
        address: node.address.parse().ok()?,
        role: valid(node.role, |word| Role::parse(&word))?,
        group: valid(node.group, name)?,
        group_id: valid(node.group_id, GroupId::new)?,
        leads: node.leads.unwrap_or_default(),
        status: Status::parse(&node.status)?,
        last_seen: node.last_seen_ms.map(Duration::from_millis),
        rtt: valid(node.rtt_ms, thousandths)?.map(Duration::from_micros),
        load: report(load)?,
        score: valid(node.score, thousandths)?.map(Score),
        learnt: Learnt::parse(&node.learnt)?,
        reason: node.reason.unwrap_or_default(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Load<'a> {
    #[serde(borrow)]
    server_id: Cow<'a, str>,
    cpu: Option<f64>,
    memory: Option<f64>,
    pending: Option<u64>,
    running: Option<u64>,
    workers: Option<u64>,
    saturated: Option<bool>,
    score: f64,
    hot: bool,
    capacity: u64,
    release: u64,
    hold_ms: u64,
    cpu_threshold: f64,
}

/// The answer to `LOAD`.
pub(super) fn load(text: &str) -> Option<LoadAnswer> {
    let load: Load = serde_json::from_str(text).ok()?;
    Some(LoadAnswer {
        server_id: ServerId::new(load.server_id)?,
        load: report((load.cpu, load.memory, load.pending, load.running, load.workers, load.saturated))??,
        score: Score(thousandths(load.score)?),
        hot: load.hot,
        capacity: load.capacity,
        release: load.release,
        hold: Duration::from_millis(load.hold_ms),
        cpu_threshold: permille(load.cpu_threshold)?,
    })
}

/// The answer to `EVENTS`: its `SEQ`.
pub(super) fn events(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct Events {
        seq: u64,
    }
    serde_json::from_str(text).ok().map(|Events { seq }| seq)
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct OneEvent<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    seq: u64,
    server_id: Option<String>,
    address: Option<String>,
    detail: Option<String>,
}

/// One event of a stream.
pub(super) fn event(text: &str) -> Option<Event> {
    let event: OneEvent = serde_json::from_str(text).ok()?;
    Some(Event {
        seq: event.seq,
        kind: EventKind::parse(&event.event)?,
        server_id: valid(event.server_id, ServerId::new)?,
        address: valid(event.address, |text| text.parse().ok())?,
        detail: event.detail.unwrap_or_default(),
    })
}

fn name<'a>(text: impl Into<Cow<'a, str>>) -> Option<String> {
    let text = text.into();
    is_valid_name(&text).then(|| text.into_owned())
}

/// An optional field: `None` if it is there and not valid.
fn valid<T, U>(field: Option<T>, parse: impl FnOnce(T) -> Option<U>) -> Option<Option<U>> {
    match field {
        None => Some(None),
        Some(value) => parse(value).map(Some),
    }
}

/// `CPU`, `MEMORY`, `PENDING`, `RUNNING`, `WORKERS`, `SATURATED`.
type LoadFields = (Option<f64>, Option<f64>, Option<u64>, Option<u64>, Option<u64>, Option<bool>);

/// A load, where any field of it is there; the inner `None` says that none is, the outer one that one is not valid.
fn report(fields: LoadFields) -> Option<Option<LoadReport>> {
    if fields == (None, None, None, None, None, None) {
        return Some(None);
    }
    let (cpu, memory, pending, running, workers, saturated) = fields;
    Some(Some(LoadReport {
        cpu: valid(cpu, permille)?.unwrap_or_default(),
        memory: valid(memory, permille)?.unwrap_or_default(),
        pending: pending.unwrap_or_default(),
        running: running.unwrap_or_default(),
        workers: workers.unwrap_or_default(),
        saturated: saturated.unwrap_or_default(),
    }))
}
