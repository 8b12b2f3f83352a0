//! The clock of the loop.

use crate::time::Time;

use super::os;

/// Reads the operating system's clock and never runs backwards, whatever that does.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Time,
}

impl Clock {
    /// The time now.
    pub(super) fn now(&mut self) -> Time {
        self.last = self.last.max(os::now());
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_forwards_only() {
        let mut clock = Clock { last: Time::from_micros(u64::MAX / 2) };
        assert_eq!(clock.now(), Time::from_micros(u64::MAX / 2));
        let mut clock = Clock::default();
        let first = clock.now();
        assert!(first > Time::ZERO);
        while clock.now() == first {}
        assert!(clock.now() > first);
    }
}
