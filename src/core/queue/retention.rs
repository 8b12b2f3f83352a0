//! Which ended jobs are kept, and for how long.
//!
//! - Ended jobs: `keep_results` at most, for `keep_for` at most.
//! - Buried jobs: as many as may wait or run, or `keep_results` if that is more, for ten times `keep_for`: somebody may
//!   want to kick them.
//! - Both together hold at most half of `max_bytes`, so that old results never keep new jobs out.
//!
//! The oldest go first, and none sooner than [`GRACE`] after its end, so that who waits for it gets it.

use std::time::Duration;

use super::super::timeline::Timeline;
use super::super::{JobNumber, QueueConfig};
use super::moment::Moment;
use crate::time::Time;

/// What even a job that is one too many is kept for.
const GRACE: Duration = Duration::from_millis(100);

/// How much later than it is due one that is one too many is looked for: so many go at one look, instead of one look each.
const SWEEP: Duration = Duration::from_millis(2);

/// How much longer than others buried jobs are kept.
const BURIED_TIMES: u32 = 10;

/// Why a job is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is too old.
    Age,
    /// There are too many.
    Count,
    /// They hold too many bytes.
    Bytes,
}

/// The ended jobs by the time of their end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Retention {
    ended: Timeline<(Moment, JobNumber)>,
    buried: Timeline<(Moment, JobNumber)>,
    /// Not before this time, although something is due: the disk must be well first.
    rests: Time,
}

impl Retention {
    /// A job has ended at `since`.
    pub(super) fn insert(&mut self, buried: bool, since: Moment, number: JobNumber) {
        self.set(buried).insert((since, number));
    }

    /// It is kicked or forgotten.
    pub(super) fn remove(&mut self, buried: bool, since: Moment, number: JobNumber) {
        self.set(buried).remove(&(since, number));
    }

    fn set(&mut self, buried: bool) -> &mut Timeline<(Moment, JobNumber)> {
        if buried { &mut self.buried } else { &mut self.ended }
    }

    /// How many are kept.
    pub(super) fn len(&self) -> u64 {
        (self.ended.len() + self.buried.len()) as u64
    }

    /// Whether this job is kept here.
    pub(super) fn contains(&self, buried: bool, since: Moment, number: JobNumber) -> bool {
        if buried { self.buried.contains(&(since, number)) } else { self.ended.contains(&(since, number)) }
    }

    /// Nothing is forgotten before `until`.
    pub(super) fn rest(&mut self, until: Time) {
        self.rests = until;
    }

    /// The next one to go, when, and why. `bytes`: of all that are kept.
    fn next(&self, config: &QueueConfig, bytes: u64) -> Option<(Moment, JobNumber, Why)> {
        let half = bytes > config.max_bytes / 2;
        let of = |jobs: &Timeline<(Moment, JobNumber)>, most: u64, keep: Duration, half: bool| {
            let (since, number) = *jobs.first()?;
            Some(match (jobs.len() as u64 > most, half) {
                (true, _) => (since.after(GRACE), number, Why::Count),
                (_, true) => (since.after(GRACE), number, Why::Bytes),
                _ => (since.after(keep), number, Why::Age),
            })
        };
        let ended = of(&self.ended, config.keep_results, config.keep_for, half);
        if self.buried.is_empty() {
            return ended;
        }
        let keep = config.keep_for.saturating_mul(BURIED_TIMES);
        // Results make room before jobs that somebody may still want to be done.
        let buried = of(&self.buried, config.max_jobs.max(config.keep_results), keep, half && self.ended.is_empty());
        [ended, buried].into_iter().flatten().min_by_key(|(due, number, _)| (*due, *number))
    }

    /// A job that is to be forgotten now, and why.
    pub(super) fn due(&self, config: &QueueConfig, bytes: u64, now: Time) -> Option<(JobNumber, Why)> {
        let (due, number, why) = self.next(config, bytes)?;
        (now >= self.rests && Moment::at(now) >= due).then_some((number, why))
    }

    /// When [`Retention::due`] has one, or some.
    pub(super) fn deadline(&self, config: &QueueConfig, bytes: u64) -> Option<Time> {
        let (due, _, why) = self.next(config, bytes)?;
        let at = if why == Why::Age { due.time() } else { due.time() + SWEEP };
        Some(at.max(self.rests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn config() -> QueueConfig {
        QueueConfig { keep_results: 2, keep_for: Duration::from_secs(10), max_jobs: 1, ..QueueConfig::default() }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_but_not_at_once() {
        let mut kept = Retention::default();
        (1..=3).for_each(|n| kept.insert(false, Moment::at(at(n)), JobNumber(n)));
        assert_eq!(kept.deadline(&config(), 0), Some(at(103)), "with those of the two milliseconds after it");
        assert_eq!(kept.due(&config(), 0, at(100)), None);
        assert_eq!(kept.due(&config(), 0, at(101)), Some((JobNumber(1), Why::Count)));
        kept.remove(false, Moment::at(at(1)), JobNumber(1));
        assert_eq!(kept.deadline(&config(), 0), Some(at(10_002)), "then by age");
        assert_eq!(kept.due(&config(), 0, at(10_002)), Some((JobNumber(2), Why::Age)));
    }

    #[test]
    fn buried_jobs_are_kept_ten_times_as_long() {
        let mut kept = Retention::default();
        kept.insert(true, Moment::at(at(0)), JobNumber(1));
        assert_eq!(kept.deadline(&config(), 0), Some(at(100_000)));
        kept.insert(true, Moment::at(at(50)), JobNumber(2));
        assert_eq!(kept.deadline(&config(), 0), Some(at(100_000)));
        kept.insert(true, Moment::at(at(60)), JobNumber(3));
        assert_eq!(kept.deadline(&config(), 0), Some(at(102)), "one too many");
    }

    #[test]
    fn results_make_room_before_buried_jobs_when_half_of_the_bytes_are_used() {
        let (mut kept, config) = (Retention::default(), config());
        kept.insert(true, Moment::at(at(0)), JobNumber(1));
        kept.insert(false, Moment::at(at(5)), JobNumber(2));
        let bytes = config.max_bytes / 2 + 1;
        assert_eq!(kept.due(&config, bytes, at(1000)), Some((JobNumber(2), Why::Bytes)));
        kept.remove(false, Moment::at(at(5)), JobNumber(2));
        assert_eq!(kept.due(&config, bytes, at(1000)), Some((JobNumber(1), Why::Bytes)));
        kept.rest(at(3000));
        assert_eq!(kept.due(&config, bytes, at(1000)), None);
        assert_eq!(kept.deadline(&config, bytes), Some(at(3000)));
    }
}
