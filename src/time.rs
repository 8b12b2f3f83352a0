//! Time as the cores know it: whole microseconds of a clock that counts suspension.
//!
//! A core never reads a clock. The shell (`net`) reads one, the simulator (`sim`) makes one up, and both pass
//! [`Time`] in. The epoch is arbitrary (machine start, in practice), so a [`Time`] never goes on the wire: only
//! durations do.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: whole microseconds since an arbitrary epoch of this process' clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The epoch itself. Simulations start here.
    pub const ZERO: Time = Time(0);
    /// Later than anything that happens; the deadline of what has none.
    pub const FAR: Time = Time(u64::MAX);

    /// The point `us` microseconds after the epoch.
    pub const fn from_micros(us: u64) -> Time {
        Time(us)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time that passed since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Whole microseconds of a duration. More than 584,000 years saturate.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A duration in seconds with one decimal, such as `7.2`, without floating point. Rounds down.
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.as_secs(), self.0.subsec_millis() / 100)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(micros(duration)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_one_decimal() {
        assert_eq!(Seconds(Duration::from_millis(7_290)).to_string(), "7.2");
        assert_eq!(Seconds(Duration::ZERO).to_string(), "0.0");
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Time::ZERO - second, Time::ZERO);
        assert_eq!(Time::FAR + second, Time::FAR);
        assert_eq!(Time::ZERO.since(Time::FAR), Duration::ZERO);
        assert_eq!((Time::ZERO + second).since(Time::ZERO), second);
    }
}
