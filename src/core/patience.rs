//! How long a master waits for a native worker that is silent, and what the worker does so that this is enough.
//!
//! The law: **a cut that is shorter than the master's timeout starts nothing twice.** Let a cut begin at `C` and end at
//! `H < C + timeout`, and let no way through the network take more than half of [`ROUND_TRIP`].
//!
//! 1. A worker says something on its session at least every [`pace`]. So the master's last word of it came at
//!    `C - pace - ROUND_TRIP / 2` or later: the next one left within the pace, and was still under way at `C`.
//! 2. A worker that has had no answer for [`ANSWER`] takes the link for dead, closes it and dials. Each attempt to dial
//!    takes at most [`DIAL`], and the next follows within [`AGAIN`]. So none of what TCP repeats ever later is waited for:
//!    - a link that the cut has silenced for good, or that dies without a sign in it, is given up at `C + pace + ANSWER`
//!      or, where something was said just before the end, at `H + ANSWER`;
//!    - the last attempt that the cut swallows ends at `H + DIAL`, and the next begins at `H + DIAL + AGAIN`.
//! 3. From there three ways lead to the first word: SYN, its answer, ALIVE. So the word comes before
//!    `H + max(ANSWER, DIAL + AGAIN) + ROUND_TRIP * 3 / 2`, or before `C + pace + ANSWER + ROUND_TRIP * 3 / 2`.
//! 4. Both are within [`lost_after`] of the last word, `timeout + pace + RESUME`, if
//!    `RESUME >= max(ANSWER, DIAL + AGAIN) + ROUND_TRIP * 2`; the second also because a pace is less than the timeout,
//!    or so short that [`RESUME`] has room for it.
//!
//! Where ways are longer, [`ANSWER`] and [`DIAL`] grow with them, and the law holds for cuts that are as much shorter.

use std::time::Duration;

use crate::time::micros;

/// What a master allows for beside its timeout and the worker's pace: the time in which a worker resumes after a cut.
pub(super) const RESUME: Duration = Duration::from_secs(2);

/// How long a worker waits for the answer to a sign of life before it takes the link for dead.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// How long one attempt of a worker to come back to its master takes at most.
pub(super) const DIAL: Duration = Duration::from_secs(1);

/// Pause between two of them. Where the master refuses at once it doubles up to [`DIAL`]: no cut is in the way then.
pub(super) const AGAIN: Duration = Duration::from_millis(250);

/// The longest way there and back for which the arithmetic holds to the letter.
const ROUND_TRIP: Duration = Duration::from_millis(250);

const _: () = assert!(RESUME.as_millis() >= DIAL.as_millis() + AGAIN.as_millis() + ROUND_TRIP.as_millis() * 2);
const _: () = assert!(RESUME.as_millis() >= ANSWER.as_millis() + ROUND_TRIP.as_millis() * 2);

/// Signs of life need not come more often than this, however long the timeout.
const PACE_MOST: Duration = Duration::from_secs(2);

/// Nor more often than this, however short it is.
const PACE_LEAST: Duration = Duration::from_millis(50);

/// The longest pause between two signs of life of a native worker whose master has this timeout: it follows from what
/// the welcome says, so that both ends know it whatever their intervals are.
pub(super) fn pace(timeout: Duration) -> Duration {
    (timeout / 3).clamp(PACE_LEAST, PACE_MOST)
}

/// Signs of life of a worker on a lease, which is renewed in the answers to them, come no more often than this, however short the lease.
const LEASE_LEAST: Duration = Duration::from_millis(200);

/// The pause before the next sign of life of a native worker: the [`pace`], and a third of what is left of its lease where
/// that is less, so that a renewal is heard of in time. `rest`: how long its lease still goes on; `None`: it has none.
pub(super) fn refresh_within(timeout: Duration, rest: Option<Duration>) -> Duration {
    let third = rest.map_or(Duration::MAX, |rest| (rest / 3).max(LEASE_LEAST));
    pace(timeout).min(third)
}

/// Silence after which a native worker is TIMEOUT: what it runs is queued again then and not before. 10 s at the default
/// timeout of 6 s. Whole microseconds, as [`crate::time::Time`] counts them: what is due then is over then.
pub(crate) fn lost_after(timeout: Duration) -> Duration {
    Duration::from_micros(micros(timeout + pace(timeout) + RESUME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_on_a_lease_asks_three_times_while_it_lasts_and_never_less_often_than_its_pace() {
        let ms = Duration::from_millis;
        assert_eq!(refresh_within(ms(6000), None), ms(2000));
        for (rest, within) in
            [(30_000, 2000), (6000, 2000), (3000, 1000), (1000, 333), (600, 200), (100, 200), (0, 200)]
        {
            assert_eq!(refresh_within(ms(6000), Some(ms(rest))).as_millis(), within, "{rest} ms are left");
        }
        assert_eq!(refresh_within(ms(300), Some(ms(1000))), ms(100), "the farm's patience goes first");
    }

    #[test]
    fn a_worker_whose_link_dies_without_a_sign_resumes_in_time_at_any_timeout() {
        for ms in [11_u64, 100, 149, 150, 1000, 6000, 60_000, 86_400_000] {
            let timeout = Duration::from_millis(ms);
            let last = ROUND_TRIP / 2 + pace(timeout);
            let silent = last + pace(timeout) + ANSWER + ROUND_TRIP * 3 / 2;
            assert!(silent <= lost_after(timeout), "timeout {timeout:?}: {silent:?}");
            let cut = last + timeout + ANSWER.max(DIAL + AGAIN) + ROUND_TRIP * 3 / 2;
            assert!(cut <= lost_after(timeout), "timeout {timeout:?}: {cut:?}");
            assert_eq!(lost_after(timeout).subsec_nanos() % 1000, 0, "or the farm would wait for a time that is over");
        }
        assert_eq!(lost_after(Duration::from_secs(6)), Duration::from_secs(10));
    }
}
