//! When a timetable is due. All candidates reckon alike: a tick is the moment, in whole seconds since 1970, at which a multiple of the
//! interval begins, so that the interval can be changed and ticks stay comparable.
//!
//! The clock of the wall gives the phase only. That no tick is run twice is the ledger's: a tick is claimed before it is run, and only
//! one later than all that were claimed can be. A clock that is behind runs ticks late; one that is ahead runs them early, and then
//! everybody waits until their clocks have passed what it has claimed. A clock that is set back makes the timetable wait as well.

use super::Missed;

/// A timetable whose lease is held here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Timetable {
    every: u64,
    missed: Missed,
    /// The last tick that was claimed by anybody; 0 if none was.
    last: u64,
    /// The tick that is waited for.
    next: u64,
}

impl Timetable {
    /// A timetable with a tick every so many seconds, 1 or more. `last`: the last tick that was claimed by anybody, 0 for none: then
    /// nothing was missed. `unix`: seconds since 1970 now.
    pub(super) fn new(every: u64, missed: Missed, last: u64, unix: u64) -> Timetable {
        let mut table = Timetable { every: every.max(1), missed, last, next: 0 };
        table.look(unix);
        table
    }

    /// Which tick is to be claimed and run now, if any. Not to be asked while one is run.
    pub(super) fn due(&mut self, unix: u64) -> Option<u64> {
        let current = self.begun(unix);
        if current < self.next {
            return None;
        }
        if current > self.next {
            // This process slept through ticks.
            match self.missed {
                Missed::Run => self.next = current,
                Missed::Skip => {
                    self.next = self.after(current);
                    return None;
                }
            }
        }
        Some(self.next)
    }

    /// The tick was claimed, by whomever: it is not due any more. To be told again when what it ran has ended.
    pub(super) fn claimed(&mut self, tick: u64, unix: u64) {
        self.last = self.last.max(tick);
        self.look(unix);
    }

    /// When the next tick begins, in seconds since 1970.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How far the last claimed tick lies ahead of this clock, in seconds; 0 where it does not. More than an interval means that
    /// somebody's clock is wrong.
    pub(super) fn ahead(&self, unix: u64) -> u64 {
        self.last.saturating_sub(unix)
    }

    fn look(&mut self, unix: u64) {
        let current = self.begun(unix);
        self.next = match self.missed {
            Missed::Run if self.last > 0 && self.last < current => current,
            _ => self.after(current.max(self.last)),
        };
    }

    /// The tick that has begun last.
    fn begun(&self, unix: u64) -> u64 {
        unix / self.every * self.every
    }

    /// The tick after a moment.
    fn after(&self, moment: u64) -> u64 {
        self.begun(moment).saturating_add(self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_timetable_begins_with_the_next_tick() {
        for missed in [Missed::Run, Missed::Skip] {
            let mut table = Timetable::new(60, missed, 0, 1000);
            assert_eq!(
                (table.due(1000), table.next(), table.due(1019), table.due(1020)),
                (None, 1020, None, Some(1020))
            );
            table.claimed(1020, 1020);
            assert_eq!((table.due(1079), table.due(1080)), (None, Some(1080)));
        }
    }

    #[test]
    fn what_was_missed_over_a_failover_is_run_once_or_skipped() {
        let mut run = Timetable::new(60, Missed::Run, 600, 1000);
        assert_eq!(run.due(1000), Some(960), "several missed ones are one");
        run.claimed(960, 1000);
        assert_eq!((run.due(1001), run.due(1020)), (None, Some(1020)));
        let mut skip = Timetable::new(60, Missed::Skip, 600, 1000);
        assert_eq!((skip.due(1000), skip.due(1020)), (None, Some(1020)));
    }

    #[test]
    fn a_command_that_takes_longer_than_the_interval_delays_or_skips() {
        let mut run = Timetable::new(10, Missed::Run, 100, 100);
        run.claimed(110, 110);
        run.claimed(110, 135);
        assert_eq!(run.due(135), Some(130));
        let mut skip = Timetable::new(10, Missed::Skip, 100, 100);
        skip.claimed(110, 110);
        skip.claimed(110, 135);
        assert_eq!((skip.due(135), skip.due(140)), (None, Some(140)));
        assert_eq!(skip.due(155), None, "slept through");
        assert_eq!(skip.due(160), Some(160));
    }

    #[test]
    fn a_clock_that_was_ahead_makes_the_others_wait_and_changed_intervals_stay_comparable() {
        let mut table = Timetable::new(60, Missed::Run, 6000, 1000);
        assert_eq!((table.due(1000), table.next(), table.ahead(1000)), (None, 6060, 5000));
        let mut table = Timetable::new(7, Missed::Run, 960, 1000);
        assert_eq!(table.due(1000), Some(994));
    }

    proptest! {
        /// Whatever clocks show and whoever holds: what is due is later than all that was claimed, a multiple of the interval, and not of
        /// the future.
        #[test]
        fn no_tick_is_due_twice(
            every in 1..100u64,
            run in any::<bool>(),
            steps in proptest::collection::vec((0..2000u64, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let missed = if run { Missed::Run } else { Missed::Skip };
            let mut last = 0;
            let mut table = Timetable::new(every, missed, last, 0);
            for (unix, another, fails) in steps {
                if another {
                    table = Timetable::new(every, missed, last, unix);
                }
                if let Some(tick) = table.due(unix) {
                    prop_assert!(tick > last && tick % every == 0 && tick <= unix);
                    prop_assert_eq!(table.due(unix), Some(tick), "until it is claimed");
                    if !fails {
                        last = tick;
                        table.claimed(tick, unix);
                        prop_assert_eq!(table.due(unix), None);
                    }
                } else {
                    prop_assert!(table.next() > unix);
                }
            }
        }
    }
}
