//! Whether the loop looks out for what comes next before it sleeps.
//!
//! To sleep and to be woken costs more than a short job, on both sides: who writes to a socket whose owner sleeps has to
//! wake it. So while the last waits were all as short as that, the loop looks a few more times, and lets others have the
//! core between two looks. One look-out in vain, and it sleeps at once until many waits in a row were short again: so a
//! node with little to do spends nothing on it.

use std::time::Duration;

/// A wait that is as short as this costs less than to sleep and to be woken.
const SHORT: Duration = Duration::from_micros(60);

/// How long the loop looks out at most.
const LOOK: Duration = Duration::from_micros(50);

/// So many short waits in a row, and the next one is expected to be short.
const ENOUGH: u32 = 16;

/// How the last waits were.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Short ones in a row.
    short: u32,
}

impl Lookout {
    /// For how long to look out now; zero: not at all.
    pub(super) fn time(&self) -> Duration {
        if self.short >= ENOUGH { LOOK } else { Duration::ZERO }
    }

    /// Something came after this time of waiting, looking out or asleep.
    pub(super) fn waited(&mut self, time: Duration) {
        self.short = if time <= SHORT { self.short.saturating_add(1).min(ENOUGH) } else { 0 };
    }

    /// It was looked out for in vain.
    pub(super) fn in_vain(&mut self) {
        self.short = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_out_while_waits_are_short_and_after_one_in_vain_not_for_a_while() {
        let mut lookout = Lookout::default();
        for _ in 0..ENOUGH {
            assert_eq!(lookout.time(), Duration::ZERO);
            lookout.waited(SHORT);
        }
        assert_eq!(lookout.time(), LOOK);
        lookout.waited(SHORT);
        assert_eq!(lookout.time(), LOOK);
        lookout.in_vain();
        for _ in 1..ENOUGH {
            lookout.waited(Duration::ZERO);
            assert_eq!(lookout.time(), Duration::ZERO);
        }
        lookout.waited(SHORT + Duration::from_micros(1));
        lookout.waited(Duration::ZERO);
        assert_eq!(lookout.time(), Duration::ZERO, "in a row");
    }
}
