//! One job: what it is, how far it has come, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use super::super::{JobEnd, StoredState};
use super::moment::Moment;
use super::names::Pair;
use crate::time::{Seconds, Time, micros};
use crate::wire::{JobId, JobStatus, JobView, Json, ServerId, ServiceName};

/// What a native worker has beyond the time of the order: it enforces that time itself, and its report needs a way.
pub(super) const MARGIN: Duration = Duration::from_secs(1);

/// Longest pause after a failed attempt.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Longest reason that is kept, in bytes: a sentence and the end of stderr.
const MAX_REASON: usize = 4096;

/// Bytes that a job counts for beside its texts: about what it takes in memory with its places in the indexes.
const JOB_BYTES: u64 = 200;

/// How far a job has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// It is being written. The disk speaks next.
    Accepting,
    /// It waits for its time, which is [`Job::since`].
    Delayed,
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Running(Run),
    /// It has ended. [`Job::since`] is when, [`Job::why`] why where it is not OK.
    Ended(End),
}

/// The attempt that runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) worker: ServerId,
    /// When it was begun, or claimed again.
    pub(super) begun: Moment,
    /// When its time is up.
    pub(super) due: Moment,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct End {
    /// OK, NOK, CANCELLED or BURIED.
    pub(super) status: JobStatus,
    /// Who finished it.
    pub(super) worker: Option<ServerId>,
    pub(super) result: Option<Json>,
}

/// One job. A million of them wait in memory: what is seldom there shares its place, and what all of a kind have in
/// common stands with its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Job {
    /// Its service and method.
    pub(super) pair: Pair,
    /// With what. `None`, which stands for `null`, once it is OK or CANCELLED: nobody needs it any more.
    params: Option<Json>,
    pub(super) key: Option<Arc<str>>,
    pub(super) accepted: Moment,
    /// DELAYED: until when. QUEUED, RUNNING: from when on it waits or waited. Ended: when.
    pub(super) since: Moment,
    /// Time of one attempt, in microseconds.
    timeout: u64,
    pub(super) state: State,
    /// Why the last attempt failed; of one that has ended, why it is not OK.
    pub(super) why: Option<Box<str>>,
    /// Attempts that were begun.
    pub(super) attempt: u32,
    /// Attempts of one round. Kicking a job that has used them up begins another round.
    attempts: u32,
    /// Attempts of those begun that do not count: their worker was taken away. At most `attempt`; beyond 255 they count again, and none is the last.
    pub(super) spared: u8,
    /// Writes whose fate is not told yet.
    pub(super) writes: u32,
    pub(super) priority: u8,
    /// Bytes of its service and its method, together.
    names: u8,
    /// Its state must be written again.
    pub(super) owed: bool,
    /// Its end must be told when it is settled.
    pub(super) untold: bool,
    /// It is from before a restart, which may have forgotten attempts.
    pub(super) restored: bool,
    /// The last attempt was lost, not answered: its worker may come back with it.
    pub(super) resumable: bool,
    /// The disk was told of the attempt that runs.
    pub(super) noted: bool,
}

/// What makes a job.
pub(super) struct Making {
    pub(super) pair: Pair,
    /// Bytes of its service and its method, together: see [`names_of`].
    pub(super) names: u8,
    pub(super) params: Json,
    pub(super) key: Option<Arc<str>>,
    pub(super) priority: u8,
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
    pub(super) accepted: Moment,
    pub(super) since: Moment,
    pub(super) state: State,
}

impl Job {
    /// A job of which no attempt was begun.
    pub(super) fn new(making: Making) -> Job {
        let Making { pair, names, params, key, priority, timeout, attempts, accepted, since, state } = making;
        Job {
            pair,
            names,
            params: Some(params),
            key,
            accepted,
            since,
            timeout: micros(timeout),
            state,
            why: None,
            attempt: 0,
            attempts: attempts.max(1),
            spared: 0,
            writes: 0,
            priority,
            owed: false,
            untold: false,
            restored: false,
            resumable: false,
            noted: false,
        }
    }

    /// Its status, or `None` while it is being accepted.
    pub(super) fn status(&self) -> Option<JobStatus> {
        match &self.state {
            State::Accepting => None,
            State::Delayed => Some(JobStatus::Delayed),
            State::Queued => Some(JobStatus::Queued),
            State::Running(_) => Some(JobStatus::Running),
            State::Ended(end) => Some(end.status),
        }
    }

    /// Whether no write is outstanding.
    pub(super) fn is_settled(&self) -> bool {
        self.writes == 0 && !self.owed
    }

    /// What it counts for, in bytes: [`JOB_BYTES`] and the length of each of its texts.
    pub(super) fn cost(&self) -> u64 {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let state = match &self.state {
            State::Ended(end) => {
                let result = end.result.as_ref().map_or(0, |result| result.as_str().len());
                result + end.worker.as_ref().map_or(0, |worker| worker.as_str().len())
            }
            _ => 0,
        };
        let key = self.key.as_ref().map_or(0, |key| key.len());
        let params = self.params.as_ref().map_or("null", Json::as_str).len();
        cost_of(self.names, params, key) + (text(&self.why) + state) as u64
    }

    /// With what it is done.
    pub(super) fn params(&self) -> Json {
        self.params.clone().unwrap_or_else(Json::null)
    }

    /// Time of one attempt.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_micros(self.timeout)
    }

    /// The last attempt of this round: the next multiple of its attempts above those that were begun before the
    /// round, beside those that do not count. It follows from the counts alone, so that a restart comes to the same.
    pub(super) fn limit(&self) -> u32 {
        let begun = match self.state {
            // The attempt that runs belongs to its round.
            State::Running(_) => self.attempt.saturating_sub(1),
            _ => self.attempt,
        };
        let spared = u32::from(self.spared);
        let rounds = begun.saturating_sub(spared) / self.attempts;
        rounds.saturating_add(1).saturating_mul(self.attempts).saturating_add(spared)
    }

    /// How many attempts count, if `nth` is the last one.
    pub(super) fn counted(&self, nth: u32) -> u32 {
        nth.saturating_sub(self.spared.into())
    }

    /// Attempt `nth` does not count.
    pub(super) fn spare(&mut self, nth: u32) {
        self.attempt = nth;
        self.spared = self.spared.saturating_add(1);
    }

    /// The attempt that runs, if one does, and who makes it.
    pub(super) fn running(&self) -> Option<(u32, &ServerId)> {
        match &self.state {
            State::Running(run) => Some((self.attempt, &run.worker)),
            _ => None,
        }
    }

    /// Whether attempt `nth` is the one that runs, on this worker.
    pub(super) fn is_run_by(&self, nth: u32, worker: &ServerId) -> bool {
        matches!(&self.state, State::Running(run) if run.worker == *worker) && self.attempt == nth
    }

    /// Whether attempt `nth` was begun, as far as can be known.
    pub(super) fn may_have_begun(&self, nth: u32) -> bool {
        nth >= 1 && (nth <= self.attempt || self.restored && nth <= self.limit())
    }

    /// Whether attempt `nth`, which a worker says it runs, may go on, given that no other runs.
    pub(super) fn may_resume(&self, nth: u32) -> bool {
        let known = nth == self.attempt && self.resumable;
        let forgotten = nth > self.attempt && self.restored && nth <= self.limit();
        nth >= 1 && (known || forgotten)
    }

    /// Attempt `nth` is made by `worker` from `now` on.
    pub(super) fn run(&mut self, nth: u32, worker: &ServerId, now: Moment) -> Moment {
        let due = now.after(self.timeout()).after(MARGIN);
        self.attempt = nth;
        (self.resumable, self.noted) = (false, false);
        self.state = State::Running(Run { worker: worker.clone(), begun: now, due });
        due
    }

    /// The pause after attempt `nth` failed: doubled with each of its round.
    pub(super) fn pause(&self, first: Duration, nth: u32) -> Duration {
        let doublings = self.counted(nth).saturating_sub(1) % self.attempts;
        first.saturating_mul(1 << doublings.min(20)).min(MAX_PAUSE)
    }

    /// It has ended, after so many attempts; `why` where it is not OK.
    pub(super) fn end(&mut self, end: End, attempt: u32, why: Option<Box<str>>, now: Moment) {
        if matches!(end.status, JobStatus::Ok | JobStatus::Cancelled) {
            self.params = None;
        }
        self.why = why;
        self.attempt = attempt;
        self.since = now;
        self.untold = true;
        self.resumable = false;
        self.state = State::Ended(end);
    }

    /// What a restart must know.
    pub(super) fn stored(&self) -> StoredState {
        match &self.state {
            State::Ended(end) => StoredState::Ended(Box::new(JobEnd {
                status: end.status,
                attempt: self.attempt,
                worker: end.worker.as_ref().map(|worker| worker.as_str().into()),
                result: end.result.clone(),
                reason: self.why.clone(),
            })),
            State::Running(run) if self.noted => {
                StoredState::Begun { attempt: self.attempt, spared: self.spared, worker: run.worker.as_str().into() }
            }
            // The attempt that runs is not a failed one yet: its start is not stored.
            State::Running(_) => StoredState::Open { attempt: self.attempt - 1, spared: self.spared },
            _ => StoredState::Open { attempt: self.attempt, spared: self.spared },
        }
    }

    /// What is said of it. `None` while it is being accepted. `names`: its service and method, where they and its age
    /// are said.
    pub(super) fn view(
        &self,
        job_id: JobId,
        now: Time,
        names: Option<(&ServiceName, &ServiceName)>,
    ) -> Option<JobView> {
        let status = self.status()?;
        let (worker, result, reason) = match &self.state {
            State::Running(run) => (Some(run.worker.clone()), None, Some(self.reason(now))),
            State::Ended(end) => (end.worker.clone(), end.result.clone(), self.why.as_deref().map(str::to_owned)),
            _ => (None, None, Some(self.reason(now))),
        };
        Some(JobView {
            job_id,
            status,
            service: names.map(|(service, _)| service.clone()),
            method: names.map(|(_, method)| method.clone()),
            attempt: self.attempt,
            age: names.map(|_| Moment::at(now).since(self.accepted)),
            worker,
            result,
            reason,
        })
    }

    /// Why it has not ended.
    fn reason(&self, now: Time) -> String {
        let now = Moment::at(now);
        match &self.state {
            State::Running(run) => format!("on worker {} for {} s", run.worker, Seconds(now.since(run.begun))),
            State::Delayed if self.attempt == 0 => {
                format!("not before {} s from now, as its DELAY_MS says", Seconds(self.since.since(now)))
            }
            State::Delayed => {
                let (next, limit) = (self.attempt + 1, self.limit());
                let mut text = format!("attempt {next} of {limit} in {} s", Seconds(self.since.since(now)));
                if let Some(last) = &self.why {
                    text.push_str(": ");
                    text.push_str(last);
                }
                text
            }
            _ => "waits for a worker".to_owned(),
        }
    }
}

/// Bytes of a service and a method, together: 64 each at most.
pub(super) fn names_of(service: &ServiceName, method: &ServiceName) -> u8 {
    const { assert!(2 * crate::wire::MAX_NAME_BYTES <= u8::MAX as usize) };
    (service.as_str().len() + method.as_str().len()) as u8
}

/// What a job with texts of these lengths counts for, in bytes, when it is submitted.
pub(super) fn cost_of(names: u8, params: usize, key: usize) -> u64 {
    JOB_BYTES + (usize::from(names) + params + key) as u64
}

/// A reason as it is kept: its begin, if it is long.
pub(super) fn clipped(mut reason: String) -> Box<str> {
    if reason.len() > MAX_REASON {
        let end = (0..=MAX_REASON).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        reason.truncate(end);
        reason.push('…');
    }
    reason.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(attempts: u32) -> Job {
        let start = Moment::at(Time::ZERO);
        Job::new(Making {
            pair: Pair::new(0),
            names: 8,
            params: Json::null(),
            key: None,
            priority: 4,
            timeout: Duration::from_secs(10),
            attempts,
            accepted: start,
            since: start,
            state: State::Queued,
        })
    }

    #[test]
    fn a_million_of_them_fit_in_what_the_manual_says() {
        // Bytes that the allocator gives in one piece, with its own eight: 144.
        assert!(size_of::<Job>() <= 136, "{}", size_of::<Job>());
    }

    #[test]
    fn rounds_of_attempts_follow_from_the_count() {
        let mut job = job(3);
        let worker = ServerId::new("W1").unwrap();
        for (nth, limit) in [(1, 3), (2, 3), (3, 3), (4, 6), (6, 6), (7, 9)] {
            job.run(nth, &worker, Moment::at(Time::ZERO));
            assert_eq!(job.limit(), limit, "while attempt {nth} runs");
            assert_eq!(job.stored(), StoredState::Open { attempt: nth - 1, spared: 0 });
        }
        job.state = State::Queued;
        job.attempt = 3;
        assert_eq!(job.limit(), 6, "all of the first round were begun");
        job.attempt = u32::MAX;
        assert_eq!(job.limit(), u32::MAX);
    }

    #[test]
    fn attempts_that_were_taken_away_do_not_count() {
        let mut job = job(2);
        let worker = ServerId::new("W1").unwrap();
        let run = |job: &mut Job, nth| {
            job.run(nth, &worker, Moment::at(Time::ZERO));
        };
        for nth in 1..=7 {
            run(&mut job, nth);
            assert_eq!(job.limit(), nth + 1, "both are left");
            job.spare(nth);
            job.state = State::Queued;
        }
        assert_eq!(job.stored(), StoredState::Open { attempt: 7, spared: 7 }, "a restart comes to the same");
        run(&mut job, 8);
        assert_eq!((job.limit(), job.counted(8)), (9, 1));
        job.state = State::Queued;
        run(&mut job, 9);
        assert_eq!((job.limit(), job.counted(9)), (9, 2), "the last one");
        assert_eq!(job.pause(Duration::from_secs(1), 9).as_secs(), 2, "the second failure");
    }

    #[test]
    fn pauses_double_up_to_five_minutes_and_begin_anew_with_a_round() {
        let job = job(20);
        let second = Duration::from_secs(1);
        let pauses: Vec<_> = [1, 2, 3, 9, 10, 20, 21].map(|nth| job.pause(second, nth).as_secs()).into();
        assert_eq!(pauses, [1, 2, 4, 256, 300, 300, 1]);
        assert_eq!(job.pause(Duration::ZERO, 5), Duration::ZERO);
    }

    #[test]
    fn only_attempts_that_can_have_been_begun_count() {
        let mut job = job(3);
        job.attempt = 1;
        assert!(job.may_have_begun(1) && !job.may_have_begun(2) && !job.may_have_begun(0));
        assert!(!job.may_resume(1), "it failed");
        job.resumable = true;
        assert!(job.may_resume(1) && !job.may_resume(2));
        job.restored = true;
        assert!(job.may_resume(3) && !job.may_resume(4) && job.may_have_begun(3) && !job.may_have_begun(4));
    }

    #[test]
    fn long_reasons_are_cut_at_characters() {
        let reason = clipped("ç".repeat(MAX_REASON));
        assert!(reason.len() <= MAX_REASON + '…'.len_utf8() && reason.ends_with("ç…"));
        assert_eq!(&*clipped("short".to_owned()), "short");
    }
}
