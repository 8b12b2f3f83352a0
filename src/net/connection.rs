//! One connection: its socket, its edge, and what waits on it.

use mio::net::TcpStream;

use crate::core::LinkId;
use crate::time::Time;
use crate::wire::{Address, Dialect, Edge};

use super::limits::{ASKED_LIMIT, HELD_BACK, HIGH_WATER, IDLE_DEADLINE, LINGER, OUTPUT_LIMIT, WRITE_DEADLINE};
use super::outbox::Outbox;

/// One connection. Idle ones are counted in ten thousands, so what most of them do not need is boxed.
pub(super) struct Connection {
    /// The socket.
    pub(super) stream: TcpStream,
    /// Its name in the core.
    pub(super) link: LinkId,
    /// Bytes to messages and back.
    pub(super) edge: Edge,
    /// What is not written yet.
    pub(super) out: Outbox,
    /// When something last came or was sent.
    pub(super) active: Time,
    /// When output last moved while some was waiting; in [`Phase::Finishing`] and [`Phase::Lingering`] also when
    /// that began.
    pub(super) moved: Time,
    /// The timer that is armed, at or before what [`Connection::deadline`] says.
    pub(super) armed: Time,
    /// Input that waits until the output before it is written.
    pub(super) held: Option<Box<[u8]>>,
    /// What only a connection has that this node opened.
    pub(super) outbound: Option<Box<Outbound>>,
    /// Bytes of the output that may wait for more on the same connection, since nobody waits for them. If that is all of it, it
    /// is in no hurry.
    pub(super) unhurried: u32,
    /// Input thrown away while lingering, in bytes.
    pub(super) discarded: u32,
    /// The core will answer some of its requests later.
    pub(super) unanswered: bool,
    /// How far its life has come.
    pub(super) phase: Phase,
    /// The core knows of it.
    pub(super) told: bool,
    /// The other side sends no more.
    pub(super) ended: bool,
    /// Output was left when it was last flushed.
    pub(super) waits: bool,
    /// Not read because too much output waits.
    pub(super) paused: bool,
    /// Not read because too many requests are unanswered.
    pub(super) full: bool,
    /// Output that waits has what a job printed in it.
    pub(super) prints: bool,
    /// An `EVENTS` stream runs on it.
    pub(super) streams: bool,
    /// Will be looked after at the end of the turn.
    pub(super) dirty: bool,
    /// Its output is held back for a moment.
    pub(super) held_back: bool,
    /// Will be read on in the next turn.
    pub(super) again: bool,
}

/// What only a connection has that this node opened.
pub(super) struct Outbound {
    /// Whom it called.
    pub(super) address: Address,
    /// What the other side was last found to speak.
    pub(super) spoken: Option<Dialect>,
    /// A heartbeat was sent.
    pub(super) asked: bool,
    /// Something was received.
    pub(super) heard: bool,
}

/// How far the life of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Questions are read and answered.
    Open,
    /// Nothing is read; what waits is written.
    Finishing,
    /// All is written and said to be the end; input is thrown away until the other side ends, too.
    Lingering,
}

impl Connection {
    /// A connection whose life begins at `now`.
    pub(super) fn new(stream: TcpStream, link: LinkId, edge: Edge, now: Time) -> Connection {
        Connection {
            stream,
            link,
            edge,
            out: Outbox::default(),
            active: now,
            moved: now,
            armed: Time::FAR,
            held: None,
            outbound: None,
            unhurried: 0,
            discarded: 0,
            unanswered: false,
            phase: Phase::Open,
            told: false,
            ended: false,
            waits: false,
            paused: false,
            full: false,
            prints: false,
            streams: false,
            dirty: false,
            held_back: false,
            again: false,
        }
    }

    /// Stops answering: writes what waits, then ends. Does nothing if that has begun.
    pub(super) fn finish(&mut self, now: Time) {
        if self.phase == Phase::Open {
            self.phase = Phase::Finishing;
            self.moved = now;
            self.held = None;
            self.paused = false;
            self.full = false;
            self.told = false;
        }
    }

    /// When something must be done about it at the latest.
    pub(super) fn deadline(&self) -> Time {
        match self.phase {
            Phase::Open => self.edge_deadline().min(self.write_deadline()).min(self.idle_deadline()),
            Phase::Finishing => self.moved + WRITE_DEADLINE,
            Phase::Lingering => self.moved + LINGER,
        }
    }

    /// When its edge wants to be woken. While it is not read its silence is ours, not the other side's.
    pub(super) fn edge_deadline(&self) -> Time {
        if self.blocked() || self.held.is_some() { Time::FAR } else { self.edge.deadline().unwrap_or(Time::FAR) }
    }

    /// When the output that waits must have moved.
    pub(super) fn write_deadline(&self) -> Time {
        if self.out.pending() > 0 { self.moved + WRITE_DEADLINE } else { Time::FAR }
    }

    /// When silence ends it. Links that this node opened are the core's to close, and who listens to a stream or waits
    /// for an answer has nothing to say.
    pub(super) fn idle_deadline(&self) -> Time {
        let listens = self.streams || self.unanswered;
        if listens || self.link.is_outbound() { Time::FAR } else { self.active + IDLE_DEADLINE }
    }

    /// Output above which it is cut. Who asked for something may take it at leisure; a stream goes on by itself, and its
    /// reader must keep up. What this node itself streams on a link of its own is held back instead.
    pub(super) fn output_limit(&self) -> usize {
        let stream = (self.streams || self.prints) && self.outbound.is_none();
        if stream { OUTPUT_LIMIT } else { ASKED_LIMIT }
    }

    /// Output above which it is not read: who does not take answers asks no more. On a link of this node's own it is
    /// read on, since the other side may be waiting for just that before it takes more.
    pub(super) fn read_limit(&self) -> usize {
        if self.outbound.is_none() { HIGH_WATER } else { usize::MAX }
    }

    /// Something was added to its output, where `before` bytes were: whether that may wait for more.
    pub(super) fn added(&mut self, before: usize, may_wait: bool) {
        if !may_wait {
            self.unhurried = 0;
        } else if before == 0 || before == self.unhurried as usize {
            self.unhurried = u32::try_from(self.out.pending()).unwrap_or(0);
        }
    }

    /// Whether its output may be held back for a moment: nobody waits for any of it, and nothing else depends on its being
    /// written.
    pub(super) fn may_be_held_back(&self) -> bool {
        let pending = self.out.pending();
        let calm = self.phase == Phase::Open && !self.ended && !self.waits && !self.blocked();
        calm && pending > 0 && pending == self.unhurried as usize && pending <= HELD_BACK
    }

    /// Whether it is not read for now, since answers do not keep up with its requests.
    pub(super) fn blocked(&self) -> bool {
        self.paused || self.full
    }

    /// Whether some of its requests are answered later, and whether so many that it is not to be read. Returns whether it may be
    /// read again now.
    pub(super) fn set_unanswered(&mut self, waits: bool, full: bool) -> bool {
        self.unanswered = waits;
        self.edge.set_waiting(waits);
        std::mem::replace(&mut self.full, full) && !full
    }
}
