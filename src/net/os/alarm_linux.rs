//! An alarm that wakes the poll: a timerfd.
//!
//! A poll that waits with a time-out arms and disarms a kernel timer each time. A node under load waits some hundred
//! thousand times a second for a deadline that is seconds away, so the deadline is told to the kernel once, when it
//! comes nearer, and the poll waits without one. The clock is the one that counts suspension: a deadline that passes
//! while the machine sleeps wakes the loop as soon as the machine does.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::time::Time;

/// An alarm for one poll.
pub(in super::super) struct Alarm {
    timer: OwnedFd,
    /// When it rings; [`Time::FAR`] if it does not.
    at: Time,
}

impl Alarm {
    /// An alarm that shows up as `token` when it rings.
    pub(in super::super) fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, at: Time::FAR })
    }

    /// Makes sure that the poll wakes up at `at`, or earlier. Returns the time-out that the poll needs for that.
    pub(in super::super) fn arm(&mut self, at: Time, now: Time) -> Option<Duration> {
        if at >= self.at {
            return None;
        }
        let us = at.as_micros();
        // Zero would disarm it.
        let tv_sec = i64::try_from(us / 1_000_000).unwrap_or(i64::MAX);
        let tv_nsec = i64::try_from(us % 1_000_000 * 1_000).unwrap_or(0).max(i64::from(tv_sec == 0));
        let spec =
            Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: Timespec { tv_sec, tv_nsec } };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec) {
            Ok(_) => {
                self.at = at;
                None
            }
            // Not seen to happen; the poll's own time-out does as well.
            Err(_) => Some(at.since(now)),
        }
    }

    /// It rang. Setting it anew makes it quiet, so there is nothing to read.
    pub(in super::super) fn rang(&mut self) {
        self.at = Time::FAR;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::os;
    use mio::{Events, Poll};

    #[test]
    fn it_wakes_the_poll_at_its_time_again_and_again() {
        let mut poll = Poll::new().unwrap();
        let mut alarm = Alarm::new(poll.registry(), Token(7)).unwrap();
        let mut events = Events::with_capacity(4);
        for _ in 0..3 {
            let now = os::now();
            let at = now + Duration::from_millis(5);
            assert_eq!(alarm.arm(at, now), None);
            assert_eq!(alarm.arm(at + Duration::from_secs(1), now), None, "a later time leaves it as it is");
            poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
            assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(7)]);
            assert!(os::now() >= at);
            alarm.rang();
        }
        let past = os::now() - Duration::from_secs(1);
        alarm.arm(past, os::now());
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert!(!events.is_empty(), "a time that is over rings at once");
    }
}
