//! Time of an engine: ticks of the `raft` crate, and which time does not count.
//!
//! An election is about silence that this process could have heard. So time in which its loop did not run makes no ticks:
//!
//! - If more than two heartbeats pass between two calls, one tick counts, whatever the time was: a suspended process, or one
//!   that got no processor, hears first and judges later.
//! - What [`Clock::delayed`] measures of shorter delays does not count either.
//! - Where the loop is late, leaders are probably late too (they often share the machine), and then both ends of the silence are: the drawn
//!   timeout is longer by twice the largest delay of late, at most up to four times [`Pace::election`]. A delay of late is halved every five
//!   seconds. Example: delays of 80 ms, drawn 300 ms: stands after 460 ms of silence.

use std::time::Duration;

use crate::time::{Time, micros};

use super::Pace;

/// Ticks of an election timeout: the drawn ones are spread over as many values.
pub(super) const ELECTION_TICKS: u64 = 25;
/// The longest that a timeout is stretched to, exclusive.
pub(super) const MAX_ELECTION_TICKS: u64 = 4 * ELECTION_TICKS;
/// Time after which a measured delay is halved.
const LAG_HALVES: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Clock {
    pace: Pace,
    tick: Duration,
    /// Up to here time was turned into ticks, or does not count.
    counted: Time,
    /// When the loop was last seen to run.
    seen: Time,
    lag: Duration,
    lag_since: Time,
}

impl Clock {
    pub(super) fn new(pace: Pace, now: Time) -> Clock {
        let tick = Duration::from_micros((micros(pace.election) / ELECTION_TICKS).max(1));
        Clock { pace, tick, counted: now, seen: now, lag: Duration::ZERO, lag_since: now }
    }

    /// The loop runs.
    pub(super) fn observe(&mut self, now: Time) {
        let gap = now.since(self.seen);
        if gap > self.pace.heartbeat * 2 {
            self.counted = self.counted.max(now - self.tick);
        }
        // What is to come counts, however late it was before.
        self.counted = self.counted.min(now);
        self.seen = self.seen.max(now);
        while self.lag > Duration::ZERO && now.since(self.lag_since) >= LAG_HALVES {
            self.lag_since = self.lag_since + LAG_HALVES;
            self.lag = if self.lag < Duration::from_millis(1) { Duration::ZERO } else { self.lag / 2 };
        }
    }

    /// How many ticks are due.
    pub(super) fn due(&mut self, now: Time) -> u64 {
        let ticks = micros(now.since(self.counted)) / micros(self.tick);
        self.counted = self.counted + Duration::from_micros(ticks * micros(self.tick));
        ticks
    }

    /// What was counted up to now means nothing: a leader was heard, or silence begins.
    pub(super) fn restart(&mut self, now: Time) {
        self.counted = self.counted.max(now);
    }

    /// The loop was late by this when it last ran.
    pub(super) fn delayed(&mut self, by: Duration, now: Time) {
        self.counted = self.counted + by;
        if by >= self.lag {
            (self.lag, self.lag_since) = (by, now);
        }
    }

    /// Ticks by which a drawn timeout is longer at the moment.
    pub(super) fn stretch(&self) -> u64 {
        micros(self.lag).saturating_mul(2) / micros(self.tick)
    }

    /// When `ticks` more are due.
    pub(super) fn after(&self, ticks: u64) -> Time {
        self.counted + Duration::from_micros(ticks.saturating_mul(micros(self.tick)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn a_tick_is_a_share_of_the_election_timeout() {
        let mut clock = Clock::new(Pace::default(), at(0));
        clock.observe(at(49));
        assert_eq!(clock.due(at(49)), 4);
        clock.observe(at(50));
        assert_eq!(clock.due(at(50)), 1, "what is left over is not lost");
        assert_eq!(clock.after(3), at(80));
    }

    #[test]
    fn a_suspended_process_counts_one_tick() {
        let mut clock = Clock::new(Pace::default(), at(0));
        clock.observe(at(3_600_000));
        assert_eq!(clock.due(at(3_600_000)), 1);
        assert_eq!(clock.due(at(3_600_000)), 0);
        clock.observe(at(3_600_050));
        assert_eq!(clock.due(at(3_600_050)), 5, "and then goes on as before");
    }

    #[test]
    fn measured_delays_do_not_count_and_stretch_for_a_while() {
        let mut clock = Clock::new(Pace::default(), at(0));
        clock.observe(at(90));
        clock.delayed(Duration::from_millis(80), at(90));
        assert_eq!(clock.due(at(90)), 1);
        assert_eq!(clock.stretch(), 16, "twice 80 ms in ticks of 10 ms");
        for ms in (0..=60_000).step_by(50) {
            clock.observe(at(100 + ms));
        }
        assert_eq!(clock.stretch(), 0);
        clock.due(at(60_100));
        clock.delayed(Duration::from_secs(1), at(60_100));
        clock.delayed(Duration::from_secs(1), at(60_100));
        clock.observe(at(60_150));
        assert_eq!(clock.after(0), at(60_150), "what is to come counts");
    }
}
