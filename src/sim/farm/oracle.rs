//! The laws of jobs, as clients, executors and disks see them.
//!
//! 1. **Nothing accepted is lost.** Once a client was told that its job is accepted, its key and its id lead to that job.
//! 2. **An end is final.** What a client was told as ended stays so, result and all. Only KICK and CANCEL lead away from BURIED
//!    and only BURY from NOK; each KICK once.
//! 3. **Results are true.** A result was worked out by an executor for this very job, and no result is that of two jobs. A
//!    foreign worker names no job: its result may be that of another task of its own that it was late with.
//! 4. **Attempts are bounded.** None has a number above ATTEMPTS, or ATTEMPTS more for each KICK, beside those whose workers were taken away. A restart of the master
//!    may forget which were begun; else no attempt is begun twice, except by a worker that has lost it in a restart of
//!    its own.
//!    What was noted as begun before a restart is not begun by another while its worker still has it: in farms with one master
//!    and no meddling, for in others a worker may have given it up.
//! 5. **Nothing is given out too early or too late**: before the job is durable, or after a client was told its end.
//! 6. **Slots hold.** A worker never runs more than it has slots, beside what it was told to stop.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Meddling, News};
use super::executor::Made;
use super::ledger::Attempts;
use crate::sim::network::Host;
use crate::time::Time;
use crate::wire::Attempt;

/// What is known of a job by its id.
#[derive(Clone, Debug, Default)]
struct Record {
    /// What a client was told last, if that was an end.
    end: Option<(String, Option<Value>)>,
    cancels: u32,
    buries: u32,
    kicks: u32,
    /// Kicks that explained why it was buried no longer.
    kicked: u32,
    /// Attempts that do not count, as its master has said: their workers were taken away.
    spared: u32,
}

/// What is known of a key.
#[derive(Clone, Debug)]
struct Keyed {
    attempts: u32,
    /// The job that was accepted under it.
    id: Option<String>,
}

/// Who worked out a result.
#[derive(Clone, Debug)]
struct Origin {
    key: String,
    foreign: bool,
}

/// What ought to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    keys: BTreeMap<String, Keyed>,
    jobs: BTreeMap<String, Record>,
    made: BTreeMap<u64, Origin>,
    /// Which job was told to have a native worker's result.
    used: BTreeMap<u64, String>,
    attempts: Attempts,
    /// No cut may double anything: the law of the world of cuts.
    once: bool,
}

impl Oracle {
    /// `once`: nothing may cost an attempt.
    pub(super) fn new(once: bool) -> Oracle {
        Oracle { once, ..Oracle::default() }
    }

    /// Somebody worked out a result.
    pub(super) fn made(&mut self, made: Made, foreign: bool) {
        self.made.insert(made.serial, Origin { key: made.key, foreign });
    }

    /// A client has asked or heard something.
    pub(super) fn heard(&mut self, news: News) -> Result<(), String> {
        match news {
            News::Submitted { key, attempts } => {
                self.keys.insert(key, Keyed { attempts, id: None });
            }
            News::Meddles { id, how } => {
                let record = self.jobs.entry(id).or_default();
                match how {
                    Meddling::Cancel => record.cancels += 1,
                    Meddling::Bury => record.buries += 1,
                    Meddling::Kick => record.kicks += 1,
                }
            }
            News::Missing { id } => return Err(format!("job {id} was accepted, and is forgotten")),
            News::Told { key, id, status, attempt, result } => return self.told(&key, &id, &status, attempt, result),
        }
        Ok(())
    }

    fn told(&mut self, key: &str, id: &str, status: &str, attempt: u64, result: Option<Value>) -> Result<(), String> {
        let Some(keyed) = self.keys.get_mut(key) else { return Err(format!("{key} was never submitted")) };
        match &keyed.id {
            None => keyed.id = Some(id.to_owned()),
            Some(known) if known == id => {}
            Some(known) => return Err(format!("{key} was accepted as {known}, which is forgotten: it is now {id}")),
        }
        let record = self.jobs.entry(id.to_owned()).or_default();
        let most = u64::from(keyed.attempts) * u64::from(1 + record.kicks) + u64::from(record.spared);
        if attempt > most {
            return Err(format!("{id} is told to have had {attempt} attempts of {most}"));
        }
        let ended = matches!(status, "OK" | "NOK" | "CANCELLED" | "BURIED");
        let now = ended.then(|| (status.to_owned(), result.clone()));
        let before = std::mem::replace(&mut record.end, now);
        if let Some((was, had)) = &before
            && !(was == status && *had == result)
            && !record.leads_away(was, status)
        {
            return Err(format!("{id} was told as {was} with {had:?}, and is now {status} with {result:?}"));
        }
        match result {
            Some(result) => self.check_result(key, id, &result),
            None if status == "OK" => Err(format!("{id} is OK without a result")),
            None => Ok(()),
        }
    }

    fn check_result(&mut self, key: &str, id: &str, result: &Value) -> Result<(), String> {
        let serial = result["SERIAL"].as_u64();
        let Some((serial, origin)) = serial.and_then(|serial| Some((serial, self.made.get(&serial)?))) else {
            return Err(format!("{id} has a result that nobody worked out: {result}"));
        };
        if origin.foreign {
            return Ok(());
        }
        if origin.key != key {
            return Err(format!("{id} is {key}, and has the result of {}", origin.key));
        }
        let first = self.used.entry(serial).or_insert_with(|| id.to_owned());
        if first != id {
            return Err(format!("result {serial} is recorded for {first} and for {id}"));
        }
        Ok(())
    }

    /// A master has sent an attempt to a worker. `life`: how often the master had been started; `durable`: whether its disk has the job; `spared`: how
    /// many attempts of this job do not count.
    pub(super) fn ordered(
        &mut self,
        attempt: Attempt,
        worker: Host,
        life: u64,
        durable: bool,
        spared: u32,
    ) -> Result<(), String> {
        self.spared(attempt.job_id.as_str(), spared);
        if !durable {
            return Err(format!("{attempt:?} is given out, and its job is not durable"));
        }
        let id = attempt.job_id.as_str();
        if let Some(record) = self.jobs.get(id)
            && let Some((was, _)) = &record.end
            && !record.may_go_on(was)
        {
            return Err(format!("{attempt:?} is given out, and a client was told that its job is {was}"));
        }
        self.attempts.ordered(attempt, worker, life)
    }

    /// A master says that so many attempts of a job do not count.
    pub(super) fn spared(&mut self, id: &str, spared: u32) {
        if spared > 0 {
            let record = self.jobs.entry(id.to_owned()).or_default();
            record.spared = record.spared.max(spared);
        }
    }

    /// A master starts and finds noted that `worker` had begun this attempt: it is held until then.
    pub(super) fn held(&mut self, attempt: Attempt, worker: Host, until: Time) {
        self.attempts.held(attempt, worker, until);
    }

    /// A worker was told to stop an attempt.
    pub(super) fn dropped(&mut self, attempt: &Attempt, worker: Host) {
        self.attempts.dropped(attempt, worker);
    }

    /// A worker starts an attempt at this time. `life`: how often a worker has been started, or a number that is none's
    /// while it is down.
    pub(super) fn takes(
        &self,
        attempt: &Attempt,
        by: Host,
        now: Time,
        life: impl Fn(Host) -> u64,
    ) -> Result<(), String> {
        self.attempts.takes(attempt, by, now, life)
    }

    /// A worker has started an attempt. `life`: how often the worker had been started; `master`: how often the master of the job.
    pub(super) fn started(
        &mut self,
        attempt: &Attempt,
        key: &str,
        worker: Host,
        life: u64,
        master: u64,
    ) -> Result<(), String> {
        let Some(keyed) = self.keys.get(key) else {
            return Err(format!("{attempt:?} is for {key}, which nobody submitted"));
        };
        let record = self.jobs.get(attempt.job_id.as_str());
        let (kicks, spared) = record.map_or((0, 0), |record| (record.kicks, record.spared));
        let most = keyed.attempts * (1 + kicks) + spared;
        if self.once && attempt.attempt != 1 {
            return Err(format!("{attempt:?} is started: a short cut has cost an attempt"));
        }
        self.attempts.started(attempt, most, worker, life, master)
    }

    /// So many run on a worker that has so many slots.
    pub(super) fn runs(&self, worker: Host, busy: usize, slots: u32) -> Result<(), String> {
        if busy > slots as usize {
            return Err(format!("worker {worker} runs {busy} attempts on {slots} slots"));
        }
        Ok(())
    }

    /// Attempts that were started.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts.count()
    }

    /// The jobs that were accepted, as clients know them.
    pub(super) fn accepted(&self) -> BTreeSet<&str> {
        self.keys.values().filter_map(|keyed| keyed.id.as_deref()).collect()
    }
}

impl Record {
    /// Whether an end that was told may give way to another state. Uses the requests up that explain it.
    fn leads_away(&mut self, was: &str, is: &str) -> bool {
        match (was, is) {
            ("BURIED", "CANCELLED") if self.cancels > 0 => true,
            ("NOK", "BURIED") if self.buries > 0 => true,
            ("NOK", "CANCELLED") if self.buries > 0 && self.cancels > 0 => true,
            ("BURIED", _) if self.kicks > self.kicked => {
                self.kicked += 1;
                true
            }
            ("NOK", _) if self.buries > 0 && self.kicks > self.kicked => {
                self.kicked += 1;
                true
            }
            _ => false,
        }
    }

    /// Whether attempts may be made although a client was told this end.
    fn may_go_on(&self, was: &str) -> bool {
        match was {
            "BURIED" => self.kicks > 0,
            "NOK" => self.buries > 0 && self.kicks > 0,
            _ => false,
        }
    }
}
