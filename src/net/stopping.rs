//! The end of the loop.

use std::io::Read;

use crate::core::{Command, Input};
use crate::time::Time;

use super::Stop;
use super::connection::Phase;
use super::limits::{READS_PER_TURN, STOP_DEADLINE};
use super::reactor::Reactor;
use super::timers::Who;

/// How far stopping has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopping {
    /// Nobody asked.
    No,
    /// The node was told and says its goodbyes. Ends at the latest then.
    Told(Time),
    /// The node has stopped, and what waits is written. Ends at the latest then.
    Flushing(Time),
    /// Asked twice.
    Forced,
}

impl Reactor {
    /// Somebody asks to stop. The first time gently; the second time at once, if this one may hurry.
    pub(super) fn stop(&mut self, may_force: bool) {
        if self.stopping == Stopping::No {
            self.begin_to_stop();
            self.tell(Input::Command(Command::Stop));
        } else if may_force {
            // A worker says goodbye even now: what of it can be written at once, is.
            self.tell(Input::Command(Command::Stop));
            self.stopping = Stopping::Forced;
        }
    }

    /// From here on it ends in time, whatever the core says.
    pub(super) fn begin_to_stop(&mut self) {
        let end = self.now + self.stop_within;
        self.stopping = Stopping::Told(end);
        self.timers.arm(end, Who::Stop);
        if !self.serves_to_the_end {
            // Connections are refused by the operating system, and peers see it.
            self.acceptor = None;
        }
    }

    /// When the loop ends at the latest, once it was told to stop.
    #[cfg(test)]
    pub(super) fn stops_by(&self) -> Option<Time> {
        match self.stopping {
            Stopping::Told(end) | Stopping::Flushing(end) => Some(end),
            Stopping::No | Stopping::Forced => None,
        }
    }

    /// The node has stopped: every connection ends once its output is written.
    pub(super) fn node_stopped(&mut self) {
        let end = match self.stopping {
            // A worker may have its whole grace left.
            Stopping::Told(end) => end.min(self.now + STOP_DEADLINE),
            Stopping::Flushing(_) | Stopping::Forced => return,
            Stopping::No => self.now + STOP_DEADLINE,
        };
        self.timers.arm(end, Who::Stop);
        self.acceptor = None;
        self.stopping = Stopping::Flushing(end);
        let slots: Vec<usize> = self.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            if let Some(connection) = self.connections.get(slot) {
                connection.finish(self.now);
            }
            self.mark(slot);
        }
    }

    /// Whether the node has stopped, so that nothing new begins.
    pub(super) fn is_flushing(&self) -> bool {
        matches!(self.stopping, Stopping::Flushing(_))
    }

    /// Whether the loop has come to its end.
    pub(super) fn ended(&mut self, buffer: &mut [u8]) -> Option<Stop> {
        let stop = if self.stopping == Stopping::Forced { Stop::Forced } else { Stop::Graceful };
        match self.stopping {
            Stopping::No => return None,
            Stopping::Forced => {}
            Stopping::Told(end) if self.now < end => return None,
            Stopping::Flushing(end) if self.now < end => {
                if self.connections.iter().any(|(_, connection)| connection.phase != Phase::Lingering) {
                    return None;
                }
            }
            Stopping::Told(_) | Stopping::Flushing(_) => {
                log::warn!(target: super::LOG, "stopped with output unwritten, which was not taken in time");
            }
        }
        // Unread input would turn the end of the connection into a reset, which may overtake the answers.
        for (_, connection) in self.connections.iter() {
            for _ in 0..READS_PER_TURN {
                if !matches!(connection.stream.read(buffer), Ok(count) if count == buffer.len()) {
                    break;
                }
            }
        }
        Some(stop)
    }
}
