//! 2025/2: `SERVER_UUID` first, in the heartbeat and in its answer. 2026/1 kept this form.

use crate::wire::encode::Object;
use crate::wire::{RequestId, ServerId};

/// Appends the heartbeat.
pub(super) fn heartbeat(server_id: &ServerId, out: &mut Vec<u8>) {
    Object::begin(out).text("SERVER_UUID", server_id.as_str()).text("TASK", "HEARTBEAT").end();
}

/// Appends the answer to a heartbeat; the mark of the asker is echoed if it gave one.
pub(super) fn alive(server_id: &ServerId, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).text("SERVER_UUID", server_id.as_str()).text("TASK", "HEARTBEAT");
    line.text("RESPONSE", "ALIVE").id(id).end();
}
