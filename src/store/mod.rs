//! What survives a restart: the identity, and what peers speak.

use crate::wire::DialectMemory;

/// Writes files of the state directory on a thread of its own, so that the event loop never waits for a disk.
pub struct Writer {}

impl Writer {
    /// Stores what peers speak. Returns at once; of several calls in a row only the last is sure to be written.
    pub fn save_dialects(&self, _memory: &DialectMemory) {
        todo!()
    }
}
