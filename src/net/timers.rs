//! Timers: who is to be woken when.

use std::collections::BTreeSet;

use crate::time::Time;

/// Who is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// The connection in this slot.
    Connection(u32),
    /// The attempt in this slot of the dialer.
    Dial(u32),
    /// The acceptor, after a pause.
    Acceptor,
    /// The watcher's registry.
    Registry,
    /// The end of stopping.
    Stop,
}

/// Timers in the order of their time. Who arms one remembers its time and cancels it by that, so a timer never
/// outlives its owner and wakes no successor in the same slot.
#[derive(Debug, Default)]
pub(super) struct Timers {
    armed: BTreeSet<(Time, Who)>,
}

impl Timers {
    /// Wakes `who` at `at`. [`Time::FAR`] is never, and takes no memory.
    pub(super) fn arm(&mut self, at: Time, who: Who) {
        if at != Time::FAR {
            self.armed.insert((at, who));
        }
    }

    /// Forgets the timer that was armed for exactly this time, if it has not fired.
    pub(super) fn cancel(&mut self, at: Time, who: Who) {
        if at != Time::FAR {
            self.armed.remove(&(at, who));
        }
    }

    /// The earliest time.
    pub(super) fn next(&self) -> Option<Time> {
        self.armed.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer whose time has come.
    pub(super) fn expire(&mut self, now: Time) -> Option<Who> {
        let (at, _) = self.armed.first()?;
        if *at > now {
            return None;
        }
        self.armed.pop_first().map(|(_, who)| who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Time {
        Time::from_micros(us)
    }

    #[test]
    fn timers_fire_in_order_and_not_before_their_time() {
        let mut timers = Timers::default();
        timers.arm(at(30), Who::Connection(1));
        timers.arm(at(10), Who::Dial(7));
        timers.arm(at(10), Who::Acceptor);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.expire(at(9)), None);
        assert_eq!(timers.expire(at(10)), Some(Who::Dial(7)));
        assert_eq!(timers.expire(at(29)), Some(Who::Acceptor));
        assert_eq!(timers.expire(at(29)), None);
        assert_eq!(timers.expire(at(30)), Some(Who::Connection(1)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cancelled_timer_wakes_nobody_and_others_of_the_same_time_stay() {
        let mut timers = Timers::default();
        timers.arm(at(10), Who::Connection(1));
        timers.arm(at(10), Who::Connection(2));
        timers.cancel(at(10), Who::Connection(1));
        timers.cancel(at(11), Who::Connection(2));
        assert_eq!(timers.expire(at(10)), Some(Who::Connection(2)));
        assert_eq!(timers.expire(at(10)), None);
    }

    #[test]
    fn never_takes_no_memory() {
        let mut timers = Timers::default();
        timers.arm(Time::FAR, Who::Connection(1));
        assert_eq!(timers.next(), None);
    }
}
