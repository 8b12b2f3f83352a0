//! The log against a disk that crashes, loses power and fails at every point.

mod bench;
mod faults;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use super::log::{Log, Sizes};
use super::recover::{self, Scan};
use crate::core::{JobEnd, JobNumber, JobSpec, JobWrite, StoredJob, StoredState, Ticket};
use crate::store::StateError;
use crate::store::log::machine::SimDisk;
use crate::wire::{JobStatus, Json, ServerId, ServiceName};

/// Small enough that a short history has several segments and is compacted often.
const SMALL: Sizes = Sizes { segment: 900, fill: 200, step: 300, round: 1 << 20 };

type Model = BTreeMap<JobNumber, (JobSpec, StoredState)>;

fn master() -> ServerId {
    ServerId::new("3fa9c1d2-0000-4000-8000-000000000000").unwrap()
}

fn number(count: u64) -> JobNumber {
    JobNumber(JobNumber::first(1).0 + count)
}

fn spec(count: u64) -> JobSpec {
    JobSpec {
        service: ServiceName::new("query").unwrap(),
        method: ServiceName::run(),
        params: Json::new(format!("{{\"n\":{count}}}")).unwrap(),
        priority: 4,
        delay: Duration::ZERO,
        timeout: Duration::from_secs(60),
        attempts: 3,
        key: count.is_multiple_of(3).then(|| format!("key {count}").into()),
    }
}

fn put(count: u64) -> JobWrite {
    JobWrite::Put { number: number(count), spec: spec(count) }
}

fn attempt(count: u64, attempt: u32) -> JobWrite {
    JobWrite::State { number: number(count), state: StoredState::Open { attempt, spared: 0 } }
}

fn end(count: u64) -> JobWrite {
    let state = StoredState::Ended(Box::new(JobEnd {
        status: JobStatus::Ok,
        attempt: 1,
        worker: Some("w1".into()),
        result: Json::new("[1,2,3]"),
        reason: None,
    }));
    JobWrite::State { number: number(count), state }
}

fn remove(count: u64) -> JobWrite {
    JobWrite::Remove { number: number(count) }
}

fn apply(model: &mut Model, batch: &[JobWrite]) {
    for write in batch {
        match write.clone() {
            JobWrite::Put { number, spec } => {
                model.entry(number).or_insert((spec, StoredState::Open { attempt: 0, spared: 0 }));
            }
            JobWrite::State { number, state } => {
                model.entry(number).and_modify(|job| job.1 = state);
            }
            JobWrite::Remove { number } => drop(model.remove(&number)),
        }
    }
}

fn as_model(jobs: &[StoredJob]) -> Model {
    assert!(jobs.windows(2).all(|pair| pair[0].number < pair[1].number));
    jobs.iter().map(|job| (job.number, (job.spec.clone(), job.state.clone()))).collect()
}

/// Jobs that come, run, end and go, with a few that stay from the beginning.
fn script() -> Vec<Vec<JobWrite>> {
    let mut batches = vec![vec![put(1), put(2), attempt(2, 1)]];
    for count in (3..33).step_by(2) {
        batches.push(vec![put(count), put(count + 1)]);
        batches.push(vec![attempt(count, 1), end(count + 1), remove(count)]);
        if count > 9 {
            batches.push(vec![remove(count - 5)]);
        }
    }
    batches.push(vec![end(1)]);
    batches
}

fn scan(disk: &SimDisk) -> Result<Scan, StateError> {
    recover::scan(&mut disk.clone(), &master(), 5_000)
}

fn open(disk: &SimDisk, fsync: bool) -> Result<(Log<SimDisk>, Vec<StoredJob>), StateError> {
    let mut scan = scan(disk)?;
    let jobs = std::mem::take(&mut scan.jobs);
    recover::resume(disk.clone(), scan, &master(), fsync, SMALL, 5_000).map(|log| (log, jobs))
}

/// What became of a history.
#[derive(Clone, Debug, Default)]
struct Outcome {
    /// What was said to be stored, batch by batch.
    stored: Vec<Model>,
    /// The batch of which nothing was said.
    unknown: Option<Vec<JobWrite>>,
}

impl Outcome {
    fn last(&self) -> Model {
        self.stored.last().cloned().unwrap_or_default()
    }

    fn with_unknown(&self) -> Model {
        let mut model = self.last();
        apply(&mut model, self.unknown.as_deref().unwrap_or_default());
        model
    }
}

/// Stores a history, with a step of compaction after each batch. Stops where nothing can be said.
fn run(log: &mut Log<SimDisk>, script: &[Vec<JobWrite>], outcome: &mut Outcome) {
    for batch in script {
        let writes: Vec<_> = batch.iter().map(|write| (Ticket(1), Box::new(write.clone()))).collect();
        let (taken, result) = log.commit(&writes, 4_000);
        assert_eq!(taken, writes.len());
        log.index.check_invariants();
        match result {
            Ok(()) => {
                let mut model = outcome.last();
                apply(&mut model, batch);
                outcome.stored.push(model);
            }
            Err(_) if log.disk.has_crashed() || (0..3).all(|_| log.settle().is_err()) => {
                outcome.unknown = Some(batch.clone());
                return;
            }
            Err(_) => assert!(!log.is_uncertain()),
        }
        let _: Result<(), String> = log.compact(4_000);
        log.index.check_invariants();
    }
}
