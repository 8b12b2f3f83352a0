//! What masters tell of their farms, and their workers.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::wire::{
    Address, Attempt, JobId, MAX_FAILOVER, ServerId, ServiceName, WorkerState, WorkerView, WorkerWelcome, WorkersAnswer,
};

use super::loans::terms;
use super::name;

/// The attempts in a list of `"<JOB_ID>/<ATTEMPT>"`. What is none is left out.
pub(in crate::wire) fn attempts(text: &str) -> Vec<Attempt> {
    let parse = |text: &str| {
        let (job_id, attempt) = text.rsplit_once('/')?;
        Some(Attempt { job_id: JobId::new(job_id)?, attempt: attempt.parse().ok()? })
    };
    let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    let text = |item: &RawValue| serde_json::from_str::<String>(item.get()).ok();
    items.into_iter().filter_map(|item| parse(&text(item)?)).collect()
}

/// The welcome of a native master.
pub(in crate::wire) fn welcome(text: &str) -> Option<WorkerWelcome> {
    #[derive(Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct Welcome<'a> {
        #[serde(borrow)]
        server_id: Cow<'a, str>,
        name: String,
        timeout_ms: u64,
        failover: Option<Vec<String>>,
        #[serde(borrow)]
        drop: Option<&'a RawValue>,
        owner: Option<IgnoredAny>,
    }
    let welcome: Welcome = serde_json::from_str(text).ok()?;
    let failover = welcome.failover.unwrap_or_default();
    Some(WorkerWelcome {
        server_id: ServerId::new(welcome.server_id)?,
        name: name(welcome.name)?,
        timeout: Duration::from_millis(welcome.timeout_ms),
        failover: failover.iter().filter_map(|text| text.parse::<Address>().ok()).take(MAX_FAILOVER).collect(),
        drop: welcome.drop.map(|drop| attempts(drop.get())).unwrap_or_default(),
        terms: welcome.owner.and_then(|_| terms(text)).map(Box::new),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Worker<'a> {
    #[serde(borrow)]
    worker_uuid: Cow<'a, str>,
    name: String,
    #[serde(borrow)]
    status: Cow<'a, str>,
    native: bool,
    owner: Option<String>,
    slots: u32,
    running: u32,
    done: u64,
    failed: u64,
    services: Vec<String>,
    last_seen_ms: u64,
    reason: Option<String>,
}

/// The answer to `WORKERS`.
pub(in crate::wire) fn workers(text: &str) -> Option<WorkersAnswer> {
    #[derive(Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct Workers<'a> {
        #[serde(borrow)]
        server_id: Cow<'a, str>,
        #[serde(borrow)]
        workers: Vec<Worker<'a>>,
        more: Option<bool>,
    }
    let answer: Workers = serde_json::from_str(text).ok()?;
    Some(WorkersAnswer {
        server_id: ServerId::new(answer.server_id)?,
        workers: answer.workers.into_iter().map(worker).collect::<Option<_>>()?,
        more: answer.more.unwrap_or_default(),
    })
}

fn worker(worker: Worker) -> Option<WorkerView> {
    Some(WorkerView {
        worker: ServerId::new(worker.worker_uuid)?,
        name: worker.name,
        status: WorkerState::parse(&worker.status)?,
        native: worker.native,
        owner: worker.owner,
        slots: worker.slots,
        running: worker.running,
        done: worker.done,
        failed: worker.failed,
        services: worker.services.into_iter().map(ServiceName::new).collect::<Option<_>>()?,
        last_seen: Duration::from_millis(worker.last_seen_ms),
        reason: worker.reason.unwrap_or_default(),
    })
}
