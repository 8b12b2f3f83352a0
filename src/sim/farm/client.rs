//! A client: submits jobs with keys until they are accepted, asks what became of them, and sometimes meddles.
//!
//! ```text
//!   down ─ call ─> dialling ──> up: one request at a time ──> its answer, a pause, the next request
//!    ^                │          │ lost, or no answer in time: whatever was asked may have been done or not
//!    └────────────────┴──────────┘
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use super::line::{Line, Turn};
use super::plan::FarmPlan;
use crate::core::LinkId;
use crate::sim::host::Wish;
use crate::sim::network::{Arrival, Conn, Host};
use crate::sim::plan::Dice;
use crate::time::Time;

/// How long an answer is waited for, beyond what the request itself waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a call may take.
const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// Kicks of one job at most: else a client could go on for ever.
const MAX_KICKS: u32 = 2;

/// What a client asks for that changes a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meddling {
    Cancel,
    Bury,
    Kick,
}

/// What the oracle is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A job is submitted for the first time.
    Submitted { key: String, attempts: u32 },
    /// Something is asked for that may change a job.
    Meddles { id: String, how: Meddling },
    /// A master has told how a job stands.
    Told { key: String, id: String, status: String, attempt: u64, result: Option<Value> },
    /// A master says that it does not know a job.
    Missing { id: String },
}

/// A job of a client.
#[derive(Clone, Debug)]
struct Job {
    key: String,
    submit: Value,
    submitted: bool,
    id: Option<String>,
    /// What it was last told, and why.
    status: String,
    reason: String,
    kicks: u32,
    /// It was told as ended after all was well again.
    checked: bool,
}

impl Job {
    fn is_ended(&self) -> bool {
        matches!(self.status.as_str(), "OK" | "NOK" | "CANCELLED" | "BURIED")
    }
}

/// A request that is not answered yet.
#[derive(Clone, Debug)]
struct Pending {
    id: String,
    nth: usize,
    until: Time,
}

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    server: Host,
    jobs: Vec<Job>,
    line: Line,
    pending: Option<Pending>,
    asked: u64,
    due: Time,
    meddle: bool,
    calm: bool,
    pub(super) news: Vec<News>,
    pub(super) wishes: Vec<Wish>,
}

impl Client {
    pub(super) fn new(host: Host, plan: &FarmPlan, now: Time, dice: &mut Dice) -> Client {
        let jobs = (0..plan.jobs).map(|nth| {
            let key = format!("job-{host}-{nth}");
            let foreign = plan.foreigners > 0 && dice.chance(50);
            let delay = if dice.chance(20) { dice.between(1, 3000) } else { 0 };
            let submit = json!({
                "TASK": "SUBMIT", "SERVICE": if foreign { "query" } else { "work" }, "PARAMS": { "USER": &key },
                "KEY": &key, "ATTEMPTS": dice.between(1, 4), "PRIORITY": dice.between(0, 9), "DELAY_MS": delay,
                "TIMEOUT_MS": u64::try_from(plan.job_timeout.as_millis()).unwrap_or(u64::MAX),
            });
            let status = String::new();
            Job { key, submit, submitted: false, id: None, status, reason: String::new(), kicks: 0, checked: false }
        });
        Client {
            server: plan.home(host),
            jobs: jobs.collect(),
            line: Line::Down,
            pending: None,
            asked: 0,
            due: now,
            meddle: plan.meddle,
            calm: false,
            news: Vec::new(),
            wishes: Vec::new(),
        }
    }

    /// All is well from now on: nothing is meddled with any more, and every end is asked for once more.
    pub(super) fn calm(&mut self) {
        self.calm = true;
    }

    /// Whether every job was accepted and has been told as ended since all is well.
    pub(super) fn is_done(&self) -> bool {
        self.calm && self.jobs.iter().all(|job| job.checked)
    }

    /// What is still missing, for people.
    pub(super) fn missing(&self) -> String {
        let missing = |job: &&Job| !job.checked;
        let told = |job: &Job| format!("{} ({:?}) is {:?}, {}", job.key, job.id, job.status, job.reason);
        self.jobs.iter().filter(missing).map(told).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn called(&mut self, conn: Conn) {
        self.line = Line::Dialling(Some(conn));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match (&self.line, &self.pending) {
            (Line::Dialling(_), _) => None,
            (_, Some(pending)) => Some(pending.until),
            (_, None) => Some(self.due).filter(|_| !self.is_done()),
        }
    }

    pub(super) fn tick(&mut self, now: Time, dice: &mut Dice) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        match (&self.line, &self.pending) {
            (Line::Dialling(_), _) => {}
            (Line::Up { conn, .. }, Some(_)) => {
                self.wishes.push(Wish::Close { conn: *conn });
                self.lose(now, dice);
            }
            (Line::Down, _) => {
                self.line = Line::Dialling(None);
                self.wishes.push(Wish::Call { link: LinkId(0), server: self.server, within: DIAL_WITHIN });
            }
            (Line::Up { .. }, None) => self.ask(now, dice),
        }
    }

    pub(super) fn arrival(&mut self, arrival: Arrival, now: Time, dice: &mut Dice) {
        match self.line.arrival(arrival) {
            Turn::Up => self.due = now,
            Turn::Lost(end) => {
                self.wishes.extend(end.map(|conn| Wish::Close { conn }));
                self.lose(now, dice);
            }
            Turn::Read => {
                while let Some(line) = self.line.next() {
                    self.answered(&line, now, dice);
                }
            }
            Turn::Stale => {}
        }
    }

    fn lose(&mut self, now: Time, dice: &mut Dice) {
        (self.line, self.pending) = (Line::Down, None);
        self.due = now + dice.duration(Duration::from_millis(1), Duration::from_millis(500));
    }

    /// Asks something: what is not accepted is submitted first, most of the time.
    fn ask(&mut self, now: Time, dice: &mut Dice) {
        let fresh = self.jobs.iter().position(|job| job.id.is_none());
        let known: Vec<usize> = (0..self.jobs.len()).filter(|nth| self.wants_to_know(*nth, dice)).collect();
        let (nth, mut request, wait) = match fresh {
            Some(nth) if known.is_empty() || dice.chance(70) => {
                let job = &mut self.jobs[nth];
                if !std::mem::replace(&mut job.submitted, true) {
                    let attempts = job.submit["ATTEMPTS"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
                    self.news.push(News::Submitted { key: job.key.clone(), attempts });
                }
                let wait = if dice.chance(20) { dice.between(1, 3000) } else { 0 };
                (nth, job.submit.clone(), wait)
            }
            _ if known.is_empty() => {
                self.due = now + dice.duration(Duration::from_millis(10), Duration::from_secs(2));
                return;
            }
            _ => {
                let nth = known[dice.pick(known.len())];
                let (request, wait) = self.about(nth, dice);
                (nth, request, wait)
            }
        };
        self.asked += 1;
        let id = self.asked.to_string();
        request["ID"] = json!(&id);
        if wait > 0 {
            request["WAIT_MS"] = json!(wait);
        }
        let Line::Up { conn, .. } = &self.line else { return };
        self.wishes.push(Wish::Send { conn: *conn, bytes: format!("{request}\n").into_bytes() });
        self.pending = Some(Pending { id, nth, until: now + PATIENCE + Duration::from_millis(wait) });
    }

    fn wants_to_know(&self, nth: usize, dice: &mut Dice) -> bool {
        let job = &self.jobs[nth];
        let again = if self.calm { !job.checked } else { dice.chance(20) };
        job.id.is_some() && (!job.is_ended() || again)
    }

    /// A question about an accepted job, or an order; and how long it waits for the end.
    fn about(&mut self, nth: usize, dice: &mut Dice) -> (Value, u64) {
        let meddle = self.meddle && !self.calm;
        let job = &mut self.jobs[nth];
        let id = job.id.clone().unwrap_or_default();
        let how = match job.status.as_str() {
            "BURIED" if meddle && job.kicks < MAX_KICKS && dice.chance(60) => Some(("KICK", Meddling::Kick)),
            "BURIED" if meddle && dice.chance(5) => Some(("CANCEL", Meddling::Cancel)),
            "OK" | "CANCELLED" | "BURIED" => None,
            "NOK" if meddle && dice.chance(10) => Some(("BURY", Meddling::Bury)),
            "NOK" => None,
            _ if meddle && dice.chance(4) => Some(("CANCEL", Meddling::Cancel)),
            _ if meddle && dice.chance(4) => Some(("BURY", Meddling::Bury)),
            _ => None,
        };
        if let Some((task, how)) = how {
            job.kicks += u32::from(how == Meddling::Kick);
            self.news.push(News::Meddles { id: id.clone(), how });
            return (json!({ "TASK": task, "JOB_ID": id }), 0);
        }
        // The key must lead to the same job for ever.
        match dice.pick(10) {
            0 => (job.submit.clone(), 0),
            1 => (json!({ "TASK": "RESULT", "KEY": &job.key }), 0),
            2 => (json!({ "TASK": "RESULT", "JOB_ID": id }), 0),
            _ => (json!({ "TASK": "RESULT", "JOB_ID": id }), dice.between(1, 20_000)),
        }
    }

    fn answered(&mut self, answer: &Value, now: Time, dice: &mut Dice) {
        let Some(pending) = self.pending.take_if(|pending| answer["ID"] == pending.id.as_str()) else { return };
        self.due = now + dice.duration(Duration::from_millis(1), Duration::from_millis(200));
        let (calm, job) = (self.calm, &mut self.jobs[pending.nth]);
        if answer["RESPONSE"] == "OK" {
            let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
            let (id, status) = (text("JOB_ID"), text("STATUS"));
            job.id = Some(id.clone());
            job.status.clone_from(&status);
            job.reason = text("REASON");
            job.checked = calm && job.is_ended();
            let (key, attempt) = (job.key.clone(), answer["ATTEMPT"].as_u64().unwrap_or(0));
            self.news.push(News::Told { key, id, status, attempt, result: answer.get("RESULT").cloned() });
        } else if answer["ERROR"] == "NOT_FOUND" {
            self.news.push(News::Missing { id: job.id.clone().unwrap_or_default() });
        } else {
            // STORE_FAILED, STOPPING, WRONG_STATE: later.
            self.due = now + dice.duration(Duration::from_millis(100), Duration::from_secs(1));
        }
    }
}
