//! The connection of somebody who speaks lines to a master and is no node: a client, a foreign worker.
//!
//! ```text
//!   down ─ call ─> dialling ──> up: lines come ──> down
//!    ^                └─ refused ─┘    └─ closed by the other side, or here
//! ```

use serde_json::Value;

use crate::sim::network::{Arrival, Conn};

/// The connection.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// None. Its holder calls next.
    Down,
    /// It was asked for; its number, once it is told. The network speaks next.
    Dialling(Option<Conn>),
    /// It stands.
    Up {
        conn: Conn,
        /// What came and is not a whole line yet.
        read: Vec<u8>,
    },
}

/// What an arrival means to who holds the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The connection stands.
    Up,
    /// There is none any more; this end of it is to be closed, if it had one. The holder says so and sets it down.
    Lost(Option<Conn>),
    /// Something came: see [`Line::next`].
    Read,
    /// Nothing: it is about a connection that was given up.
    Stale,
}

impl Line {
    /// Something arrived.
    pub(super) fn arrival(&mut self, arrival: Arrival) -> Turn {
        match (arrival, &mut *self) {
            (Arrival::Connected { conn }, Line::Dialling(Some(mine))) if conn == *mine => {
                *self = Line::Up { conn, read: Vec::new() };
                Turn::Up
            }
            (Arrival::Refused { conn, .. }, Line::Dialling(Some(mine))) if conn == *mine => Turn::Lost(None),
            (Arrival::Closed { conn }, Line::Up { conn: mine, .. }) if conn == *mine => Turn::Lost(Some(conn)),
            (Arrival::Bytes { conn, bytes }, Line::Up { conn: mine, read }) if conn == *mine => {
                read.extend(bytes);
                Turn::Read
            }
            _ => Turn::Stale,
        }
    }

    /// The next whole line, `null` if it is no JSON. Nothing once the line is down.
    pub(super) fn next(&mut self) -> Option<Value> {
        let Line::Up { read, .. } = self else { return None };
        let end = read.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = read.drain(..=end).collect();
        Some(serde_json::from_slice(&line).unwrap_or(Value::Null))
    }
}
