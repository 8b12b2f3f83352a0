//! The bytes of one connection: read, decode, hand on.
//!
//! This is the hot path. A bare heartbeat costs one read and one write, and nothing else that could be counted: no
//! allocation, no clock, no timer, no look-up, no word to the core.

use std::io::{ErrorKind, Read};

use crate::core::Input;
use crate::wire::{CloseReason, Decoded};

use super::connection::Phase;
use super::limits::{ANSWERS_PER_TURN, BATCH, HIGH_WATER, LINGER_BYTES, PIECE, READS_PER_TURN};
use super::os;
use super::reactor::Reactor;

impl Reactor {
    /// The socket of a connection is ready for something.
    pub(super) fn ready(&mut self, slot: usize, event: &mio::event::Event, buffer: &mut [u8]) {
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.ended && (event.is_error() || event.is_write_closed()) {
            return self.close(slot, "broken");
        }
        // Not read, so that reading cannot find it.
        if connection.full && event.is_error() {
            return self.close(slot, "broken while its answers were waited for");
        }
        // It is settled below; outputs of the core need not mark it.
        connection.dirty = true;
        let to_end = event.is_read_closed() || event.is_error();
        self.told = 0;
        if to_end || event.is_readable() {
            self.read(slot, to_end, buffer);
        }
        self.has_read(slot);
    }

    /// Writes what came of a connection's input, or has it written at the end of the turn.
    fn has_read(&mut self, slot: usize) {
        if self.told >= BATCH {
            // Whoever it is for can work on it while this node goes on.
            self.settle_node();
            self.dirty.push(slot);
            self.write_dirty();
        } else if self.unsettled {
            // There may be more for the same connections: then it is written together.
            self.dirty.push(slot);
        } else {
            self.settle(slot);
        }
    }

    /// Goes on with the connections that had more than their share in the last turn.
    pub(super) fn read_on(&mut self, buffer: &mut [u8]) {
        for slot in std::mem::take(&mut self.again) {
            let Some(connection) = self.connections.get(slot) else { continue };
            if !std::mem::take(&mut connection.again) || connection.blocked() {
                continue;
            }
            connection.dirty = true;
            self.told = 0;
            let mut spent = 0;
            if let Some(held) = connection.held.take() {
                self.decode(slot, &held, &mut spent);
            }
            // Whether it has ended was told by an event that is gone, so it is read until it says.
            self.read(slot, true, buffer);
            self.has_read(slot);
        }
    }

    /// Reads a connection until it is empty or has had its share. `to_end`: a short read may be followed by the end.
    fn read(&mut self, slot: usize, to_end: bool, buffer: &mut [u8]) {
        let mut spent = 0;
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.connections.get(slot) else { return };
            let readable = match connection.phase {
                Phase::Open => !connection.blocked() && !connection.ended && connection.held.is_none(),
                Phase::Finishing => false,
                Phase::Lingering => true,
            };
            if !readable {
                return;
            }
            match connection.stream.read(buffer) {
                Ok(0) => return self.end_of_input(slot),
                Ok(count) => {
                    if connection.phase == Phase::Lingering {
                        connection.discarded =
                            connection.discarded.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
                        if connection.discarded > LINGER_BYTES {
                            return self.close(slot, "sent on after its end");
                        }
                    } else {
                        connection.active = self.now;
                        if let Some(outbound) = &mut connection.outbound {
                            outbound.heard = true;
                        }
                        self.decode(slot, &buffer[..count], &mut spent);
                        if self.choked(slot, &mut spent) {
                            return;
                        }
                    }
                    if os::SHORT_READ_DRAINS && count < buffer.len() && !to_end {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.close(slot, &error.to_string()),
            }
        }
        self.mark_again(slot);
    }

    /// Decodes input and hands on what it says, as far as answers find room.
    fn decode(&mut self, slot: usize, mut input: &[u8], spent: &mut usize) {
        while !input.is_empty() {
            let length = piece(input);
            let mut rest = &input[..length];
            loop {
                let Some(connection) = self.connections.get(slot) else { return };
                if connection.phase != Phase::Open {
                    return;
                }
                let out = connection.out.buffer(&mut self.pool);
                match connection.edge.poll(&self.prepared, &mut rest, self.now, out) {
                    None => break,
                    Some(decoded) => self.decoded(slot, decoded),
                }
                if !rest.is_empty() && self.choked(slot, spent) {
                    return self.hold(slot, &input[length - rest.len()..]);
                }
            }
            input = &input[length..];
            if !input.is_empty() && self.choked(slot, spent) {
                return self.hold(slot, input);
            }
        }
        self.look_at_edge(slot);
    }

    /// Keeps input until there is room for its answers.
    fn hold(&mut self, slot: usize, input: &[u8]) {
        if let Some(connection) = self.connections.get(slot)
            && connection.phase == Phase::Open
        {
            connection.held = Some(input.into());
        }
        self.look_at_edge(slot);
    }

    /// Whether a connection must wait before more of its input is answered: because too many answers are waited for,
    /// because its output does not flow, or because it has had its share of this turn. Whatever makes it wait also makes it go on.
    fn choked(&mut self, slot: usize, spent: &mut usize) -> bool {
        let Some(connection) = self.connections.get(slot) else { return true };
        if connection.full {
            return true;
        }
        if connection.out.pending() <= HIGH_WATER {
            return false;
        }
        match connection.out.flush(&mut connection.stream, &mut self.pool) {
            Err(error) => {
                self.close(slot, &error.to_string());
                return true;
            }
            Ok(flushed) => {
                *spent += flushed.bytes;
                if flushed.bytes > 0 {
                    connection.moved = self.now;
                }
            }
        }
        if connection.out.pending() > connection.read_limit() {
            connection.paused = true;
            return true;
        }
        if *spent > ANSWERS_PER_TURN {
            self.mark_again(slot);
            return true;
        }
        false
    }

    /// Hands on what an edge decoded.
    pub(super) fn decoded(&mut self, slot: usize, decoded: Decoded) {
        match decoded {
            Decoded::Message(message) => {
                if !self.introduce(slot) {
                    return;
                }
                let Some(connection) = self.connections.get(slot) else { return };
                let link = connection.link;
                // Those before it on the same connection count before it.
                self.heartbeats += connection.edge.take_heartbeats();
                self.told += 1;
                self.tell_one_of_many(Input::Message { link, message });
            }
            Decoded::Refused(message) => {
                if !self.introduce(slot) {
                    return;
                }
                let Some(link) = self.connections.get(slot).map(|connection| connection.link) else { return };
                self.tell(Input::Refused { link, message: *message });
            }
            Decoded::Stray { line, wrong } => {
                let Some(link) = self.connections.get(slot).map(|connection| connection.link) else { return };
                self.tell(Input::Stray { link, line, wrong });
            }
            Decoded::Ignored { why, line, refusal } => {
                if !self.introduce(slot) {
                    return;
                }
                let Some(link) = self.connections.get(slot).map(|connection| connection.link) else { return };
                self.tell(Input::Ignored { link, why, line, refusal });
            }
            Decoded::Close(reason) => self.hang_up(slot, explain(reason)),
        }
    }

    /// The other side sends no more. What it has asked is still answered.
    fn end_of_input(&mut self, slot: usize) {
        let Some(connection) = self.connections.get(slot) else { return };
        connection.ended = true;
        if connection.phase == Phase::Lingering {
            return self.close(slot, "finished");
        }
        while let Some(connection) = self.connections.get(slot).filter(|connection| connection.phase == Phase::Open) {
            let out = connection.out.buffer(&mut self.pool);
            match connection.edge.finish(&self.prepared, self.now, out) {
                Some(decoded) => self.decoded(slot, decoded),
                None => break,
            }
        }
        self.look_at_edge(slot);
    }

    /// Takes what the edge has learnt: heartbeats that it answered, and on a link of our own what is spoken there.
    pub(super) fn look_at_edge(&mut self, slot: usize) {
        let Some(connection) = self.connections.get(slot) else { return };
        self.heartbeats += connection.edge.take_heartbeats();
        if let Some(outbound) = &mut connection.outbound {
            let spoken = connection.edge.spoken();
            if let Some(dialect) = spoken
                && outbound.spoken != spoken
            {
                outbound.spoken = spoken;
                if self.dialects.learn(&outbound.address, dialect) {
                    self.store_dialects();
                }
            }
        }
    }
}

/// How much of the input an edge is given at once: whole lines, about [`PIECE`] of them, since answers that the edge
/// makes by itself are only bounded by what it is given. A longer line is one answer, and goes whole.
fn piece(input: &[u8]) -> usize {
    let Some(head) = input.get(..PIECE) else { return input.len() };
    if let Some(end) = memchr::memrchr(b'\n', head) {
        return end + 1;
    }
    memchr::memchr(b'\n', &input[PIECE..]).map_or(input.len(), |end| PIECE + end + 1)
}

fn explain(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::LineTooLong => "sent a line that is too long",
        CloseReason::LineTooSlow => "did not end its line in time",
        CloseReason::Http => "speaks HTTP, which is not served yet",
        CloseReason::HeadTooSlow => "began like HTTP and stopped",
        CloseReason::Tls => "speaks TLS, which is not served yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_whole_lines_and_short_unless_one_line_is_long() {
        assert_eq!(piece(b"a\nb"), 3, "what is short goes whole");
        let lines = b"0123456789\n".repeat(1000);
        let length = piece(&lines);
        assert!(length <= PIECE && length > PIECE - 11 && lines[length - 1] == b'\n');
        let mut long = vec![b'x'; PIECE * 2];
        assert_eq!(piece(&long), long.len());
        long.push(b'\n');
        let end = long.len();
        long.extend_from_slice(&lines);
        assert_eq!(piece(&long), end, "what follows a long line waits for its own piece");
    }
}
