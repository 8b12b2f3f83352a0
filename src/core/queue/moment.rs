//! Points in time that may lie before the epoch of the clock.

use std::time::Duration;

use crate::time::{Time, micros};

/// A point in time that may lie before [`Time::ZERO`]: a job that a restart finds is older than the clock, and a
/// priority moves it further back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Moment(i64);

impl Moment {
    /// The moment of a time. The far future saturates.
    pub(super) fn at(time: Time) -> Moment {
        Moment(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
    }

    /// `duration` earlier.
    pub(super) fn before(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(whole(duration)))
    }

    /// `duration` later.
    pub(super) fn after(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(whole(duration)))
    }

    /// The time that passed since `earlier`; zero if `earlier` is later.
    pub(super) fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// The time of this moment; the epoch for what lies before it.
    pub(super) fn time(self) -> Time {
        Time::from_micros(u64::try_from(self.0).unwrap_or_default())
    }
}

fn whole(duration: Duration) -> i64 {
    i64::try_from(micros(duration)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_from_before_the_epoch_are_kept() {
        let (now, day) = (Moment::at(Time::from_micros(5)), Duration::from_secs(86_400));
        assert_eq!(now.since(now.before(day)), day);
        assert_eq!(now.before(day).time(), Time::ZERO);
        assert_eq!(now.before(day).after(day), now);
        assert_eq!(now.since(now.after(day)), Duration::ZERO);
        assert!(Moment::at(Time::FAR) >= now.after(Duration::MAX));
    }
}
