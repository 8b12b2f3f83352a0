//! An alarm where there is no timerfd: the poll's own time-out.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

use crate::time::Time;

/// An alarm for one poll.
pub(in super::super) struct Alarm;

impl Alarm {
    /// An alarm that never shows up as an event.
    pub(in super::super) fn new(_registry: &Registry, _token: Token) -> io::Result<Alarm> {
        Ok(Alarm)
    }

    /// The time-out that the poll needs to wake up at `at`.
    pub(in super::super) fn arm(&mut self, at: Time, now: Time) -> Option<Duration> {
        (at != Time::FAR).then(|| at.since(now))
    }

    /// Never called: nothing rings.
    pub(in super::super) fn rang(&mut self) {}
}
