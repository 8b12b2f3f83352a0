//! Connections begin and end.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::Interest;
use mio::net::TcpStream;

use crate::core::Input;
use crate::time::Time;
use crate::wire::{Decoded, Edge};

use super::connection::{Outbound, Phase};
use super::dialer::Dialled;
use super::limits::{ACCEPT_PAUSE, HOLD, LINGERING_REFUSALS, LOW_WATER, SETTLE_ROUNDS};
use super::listener::Accepted;
use super::reactor::Reactor;
use super::stopping::Stopping;
use super::timers::Who;
use super::tokens;

const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

impl Reactor {
    /// Accepts who waits, within bounds.
    pub(super) fn accept(&mut self) {
        self.accept_more = false;
        let Some(acceptor) = self.acceptor.as_mut().filter(|_| self.accept_at <= self.now) else { return };
        let mut streams = Vec::new();
        let accepted = acceptor.accept(&mut streams);
        self.accept_more = accepted == Accepted::More;
        for stream in streams {
            self.welcome(stream);
        }
        if accepted == Accepted::Pause {
            self.accept_at = self.now + ACCEPT_PAUSE;
            self.timers.arm(self.accept_at, Who::Acceptor);
        }
    }

    fn welcome(&mut self, mut stream: TcpStream) {
        let full = self.connections.inbound() >= self.room;
        if full && self.connections.inbound() >= self.room + LINGERING_REFUSALS {
            // One line fits into any socket's buffer; where it does not, nobody listens.
            let _ = stream.write(&self.busy);
            return;
        }
        let Some(slot) = self.connections.accepted(stream, Edge::inbound(), self.now) else { return };
        let Some(connection) = self.connections.get(slot) else { return };
        if let Err(error) = self.poll.registry().register(&mut connection.stream, tokens::connection(slot), BOTH) {
            log::warn!(target: super::LOG, "cannot serve a connection: {error}");
            self.connections.remove(slot);
            return;
        }
        if full {
            connection.out.buffer(&mut self.pool).extend_from_slice(&self.busy);
            connection.finish(self.now);
        }
        self.settle(slot);
    }

    /// What came of an attempt to open a connection.
    pub(super) fn dialled(&mut self, dialled: Option<Dialled>) {
        let (link, address, stream) = match dialled {
            None => return,
            Some(Dialled::Refused { link, reason }) => return self.tell(Input::LinkRefused { link, reason }),
            Some(Dialled::Connected { .. }) if self.is_flushing() => return,
            Some(Dialled::Connected { link, address, stream }) => (link, address, stream),
        };
        let ends = stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?)));
        let ends = ends.and_then(|ends| stream.set_nodelay(true).map(|()| ends));
        let edge = Edge::outbound(self.dialects.get(&address));
        let outbound = Outbound { address, spoken: None, asked: false, heard: false };
        let (local, remote) = match ends {
            Ok(ends) => ends,
            Err(error) => return self.tell(Input::LinkRefused { link, reason: error.to_string() }),
        };
        let Some(slot) = self.connections.opened(stream, link, edge, outbound, self.now) else {
            let reason = "this node has no slot for another connection".to_owned();
            return self.tell(Input::LinkRefused { link, reason });
        };
        let Some(connection) = self.connections.get(slot) else { return };
        // Until now events of this socket stood for the attempt.
        if let Err(error) = self.poll.registry().reregister(&mut connection.stream, tokens::connection(slot), BOTH) {
            self.connections.remove(slot);
            return self.tell(Input::LinkRefused { link, reason: error.to_string() });
        }
        connection.told = true;
        self.tell(Input::LinkOpened { link, local: canonical(local), remote: canonical(remote) });
        self.settle(slot);
    }

    /// Tells the core of an accepted connection, just before its first message. Returns whether the core knows of
    /// it now.
    pub(super) fn introduce(&mut self, slot: usize) -> bool {
        let Some(connection) = self.connections.get(slot) else { return false };
        if connection.told || connection.phase != Phase::Open {
            return connection.told;
        }
        let ends = connection.stream.local_addr().and_then(|local| Ok((local, connection.stream.peer_addr()?)));
        match ends {
            Ok((local, remote)) => {
                connection.told = true;
                let link = connection.link;
                self.tell(Input::LinkOpened { link, local: canonical(local), remote: canonical(remote) });
                self.connections.get(slot).is_some_and(|connection| connection.told)
            }
            Err(error) => {
                self.close(slot, &error.to_string());
                false
            }
        }
    }

    /// Writes what every marked connection has, tells what happened on the way, and does it again where that brought
    /// more.
    pub(super) fn settle_all(&mut self) {
        for _ in 0..SETTLE_ROUNDS {
            self.settle_node();
            self.write_dirty();
            self.tell_later();
            if self.dirty.is_empty() {
                break;
            }
        }
    }

    /// Writes what every marked connection has.
    pub(super) fn write_dirty(&mut self) {
        let count = self.dirty.len();
        for at in 0..count {
            let slot = self.dirty[at];
            if self.connections.get(slot).is_some_and(|connection| connection.dirty) {
                self.settle(slot);
            }
        }
        // Those that were marked meanwhile come next.
        self.dirty.drain(..count);
    }

    /// Has what is held back written at the end of this turn.
    pub(super) fn hurry(&mut self) {
        for slot in std::mem::take(&mut self.held_back) {
            if let Some(connection) = self.connections.get(slot)
                && std::mem::take(&mut connection.held_back)
            {
                connection.unhurried = 0;
                self.mark(slot);
            }
        }
    }

    /// Writes what waits on a connection, and takes its life on from there.
    pub(super) fn settle(&mut self, slot: usize) {
        let holds_back = self.stopping == Stopping::No;
        let Some(connection) = self.connections.get(slot) else { return };
        connection.dirty = false;
        if holds_back && connection.may_be_held_back() {
            connection.moved = self.now;
            if !std::mem::replace(&mut connection.held_back, true) {
                if self.held_back.is_empty() {
                    self.held_until = self.now + HOLD;
                }
                self.held_back.push(slot);
            }
            return self.arm(slot);
        }
        connection.held_back = false;
        let flushed = match connection.out.flush(&mut connection.stream, &mut self.pool) {
            Ok(flushed) => flushed,
            Err(error) => return self.close(slot, &error.to_string()),
        };
        if !flushed.all && (flushed.bytes > 0 || !connection.waits) {
            connection.moved = self.now;
        }
        connection.waits = !flushed.all;
        match connection.phase {
            Phase::Open => {
                let pending = connection.out.pending();
                if pending > connection.output_limit() {
                    return self.close(slot, "took its output too slowly");
                }
                connection.prints &= !flushed.all;
                let listens = (connection.streams || connection.unanswered) && connection.outbound.is_none();
                if connection.ended && !listens && (flushed.all || connection.outbound.is_some()) {
                    return self.close(slot, "closed by the other side");
                }
                if connection.paused && pending <= LOW_WATER {
                    connection.paused = false;
                    self.mark_again(slot);
                } else if pending > connection.read_limit() {
                    connection.paused = true;
                }
            }
            Phase::Finishing if flushed.all => {
                // An error says that the other side has gone, which reading will find.
                let _ = connection.stream.shutdown(Shutdown::Write);
                if connection.ended {
                    return self.close(slot, "finished");
                }
                connection.phase = Phase::Lingering;
                connection.moved = self.now;
                self.mark_again(slot);
            }
            Phase::Finishing | Phase::Lingering => {}
        }
        self.arm(slot);
    }

    /// Sees to it that the connection's timer does not fire too late. One that fires too early is armed again then,
    /// so that an answered question moves no timer.
    fn arm(&mut self, slot: usize) {
        let Some(connection) = self.connections.get(slot) else { return };
        let wanted = connection.deadline();
        if wanted < connection.armed {
            let who = Who::Connection(u32::try_from(slot).expect("slots have 20 bits"));
            self.timers.cancel(connection.armed, who);
            // Later than now, so that firing timers comes to an end.
            connection.armed = wanted.max(self.now + Duration::from_micros(1));
            self.timers.arm(connection.armed, who);
        }
    }

    /// The timer of a connection fired.
    pub(super) fn expired(&mut self, slot: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get(slot) else { return };
        connection.armed = Time::FAR;
        if connection.phase != Phase::Open {
            if connection.deadline() <= now {
                return self.close(slot, "ended without the other side");
            }
        } else if connection.write_deadline() <= now {
            return self.close(slot, "took no output for too long");
        } else if connection.idle_deadline() <= now {
            self.hang_up(slot, "idle for too long");
        } else if connection.edge_deadline() <= now {
            self.expire_edge(slot);
        }
        self.settle(slot);
    }

    fn expire_edge(&mut self, slot: usize) {
        while let Some(connection) = self.connections.get(slot).filter(|connection| connection.phase == Phase::Open) {
            let out = connection.out.buffer(&mut self.pool);
            let decoded: Option<Decoded> = connection.edge.expire(&self.prepared, self.now, out);
            match decoded {
                Some(decoded) => self.decoded(slot, decoded),
                None => break,
            }
        }
        self.look_at_edge(slot);
    }

    /// Ends a connection once its output is written; the core hears of it now.
    pub(super) fn hang_up(&mut self, slot: usize, reason: &str) {
        let Some(connection) = self.connections.get(slot) else { return };
        let (link, told) = (connection.link, connection.told);
        connection.finish(self.now);
        if told {
            self.tell(Input::LinkClosed { link, reason: reason.to_owned() });
        }
        self.mark(slot);
    }

    /// Ends a connection at once. The core hears of it if it knew it and did not close it itself.
    pub(super) fn close(&mut self, slot: usize, reason: &str) {
        let Some(connection) = self.connections.remove(slot) else { return };
        if let Ok(index) = u32::try_from(slot) {
            self.timers.cancel(connection.armed, Who::Connection(index));
        }
        if let Some(outbound) = &connection.outbound
            && connection.phase == Phase::Open
            && outbound.asked
            && !outbound.heard
        {
            self.dialects.unanswered(&outbound.address);
        }
        // What was heard last: the core may have closed it because of that.
        if let Some(outbound) = &connection.outbound
            && let Some(dialect) = connection.edge.spoken()
            && outbound.spoken != Some(dialect)
            && self.dialects.learn(&outbound.address, dialect)
        {
            self.store_dialects();
        }
        if connection.told {
            log::debug!(target: super::LOG, "link {} ended: {reason}", connection.link.0);
            self.tell(Input::LinkClosed { link: connection.link, reason: reason.to_owned() });
        }
    }
}

/// An IPv4 address as such, even where the socket serves both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
