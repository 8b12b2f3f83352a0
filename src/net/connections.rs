//! All connections, by slot and by link.

use std::collections::BTreeMap;

use mio::net::TcpStream;
use slab::Slab;

use crate::core::LinkId;
use crate::time::Time;
use crate::wire::Edge;

use super::connection::{Connection, Outbound};

/// Bits of the slot in the id of an accepted link. The rest is a serial number, so that no id comes twice and yet
/// the slot is found without a map.
const SLOT_BITS: u32 = 20;

/// All connections.
#[derive(Default)]
pub(super) struct Connections {
    slots: Slab<Connection>,
    /// Slots of the links that the core named.
    outbound: BTreeMap<LinkId, usize>,
    serial: u64,
}

impl Connections {
    /// Adds an accepted connection. `None` if there is no slot.
    pub(super) fn accepted(&mut self, stream: TcpStream, edge: Edge, now: Time) -> Option<usize> {
        let slot = self.vacant()?;
        self.serial += 1;
        let link = LinkId(((self.serial << SLOT_BITS) | slot as u64) << 1);
        self.slots.insert(Connection::new(stream, link, edge, now));
        Some(slot)
    }

    /// Adds a connection that this node opened. `None` if there is no slot.
    pub(super) fn opened(
        &mut self,
        stream: TcpStream,
        link: LinkId,
        edge: Edge,
        outbound: Outbound,
        now: Time,
    ) -> Option<usize> {
        let slot = self.vacant()?;
        let mut connection = Connection::new(stream, link, edge, now);
        connection.outbound = Some(Box::new(outbound));
        self.slots.insert(connection);
        self.outbound.insert(link, slot);
        Some(slot)
    }

    fn vacant(&self) -> Option<usize> {
        Some(self.slots.vacant_key()).filter(|slot| *slot < 1 << SLOT_BITS)
    }

    /// The slot of a link, if it is still there.
    pub(super) fn find(&self, link: LinkId) -> Option<usize> {
        let slot = if link.is_outbound() {
            *self.outbound.get(&link)?
        } else {
            (link.0 >> 1) as usize & ((1 << SLOT_BITS) - 1)
        };
        self.slots.get(slot).filter(|connection| connection.link == link).map(|_| slot)
    }

    /// The connection in a slot.
    pub(super) fn get(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, slot: usize) -> Option<Connection> {
        let connection = self.slots.try_remove(slot)?;
        if connection.link.is_outbound() {
            self.outbound.remove(&connection.link);
        }
        Some(connection)
    }

    /// How many were accepted and are still there.
    pub(super) fn inbound(&self) -> usize {
        self.slots.len() - self.outbound.len()
    }

    /// All of them.
    pub(super) fn iter(&mut self) -> impl Iterator<Item = (usize, &mut Connection)> {
        self.slots.iter_mut()
    }
}
