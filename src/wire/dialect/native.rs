//! This project's own form: `SERVER_ID` with who the speaker is, and how busy.

use crate::wire::encode::{Object, encode};
use crate::wire::{Body, Heartbeat, Message, Presence, RequestId};

/// Appends a heartbeat between nodes that know each other to be native.
pub(super) fn heartbeat(presence: &Presence, id: Option<&RequestId>, out: &mut Vec<u8>) {
    Object::begin(out).text("TASK", "HEARTBEAT").id(id).presence(presence).end();
}

/// Appends the heartbeat for somebody whose dialect is not known: `SERVER_UUID` and the native fields together,
/// which every generation understands.
pub(super) fn first_heartbeat(presence: &Presence, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).text("TASK", "HEARTBEAT").id(id);
    line.text("SERVER_UUID", presence.server_id.as_str()).presence(presence).end();
}

/// Appends a heartbeat that says no more than `heartbeat` itself holds.
pub(super) fn plain_heartbeat(heartbeat: &Heartbeat, id: Option<&RequestId>, out: &mut Vec<u8>) {
    encode(&Message { id: id.cloned(), body: Body::Heartbeat(heartbeat.clone()) }, out);
}
