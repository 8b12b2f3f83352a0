//! This project's own form: `SERVER_ID` with who the speaker is, and how busy.

use crate::wire::encode::{Object, encode};
use crate::wire::{Body, GroupPresence, Heartbeat, Message, Presence, RequestId};

/// Appends a heartbeat between nodes that know each other to be native.
pub(super) fn heartbeat(presence: &Presence, id: Option<&RequestId>, out: &mut Vec<u8>) {
    Object::begin(out).text("TASK", "HEARTBEAT").id(id).presence(presence).end();
}

/// Many programs of the classroom read this many bytes and take them for a line.
const ONE_READ: usize = 1024;

/// Appends the heartbeat for somebody whose dialect is not known: `SERVER_UUID` and the native fields together,
/// which every generation understands. Without the services, and then without how it stands in its group, where it
/// would be too long for some; the next heartbeat tells them, if the answer has shown that the other is native.
pub(super) fn first_heartbeat(presence: &Presence, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let start = out.len();
    let render = |presence: &Presence, out: &mut Vec<u8>| {
        let line = Object::begin(out).text("TASK", "HEARTBEAT").id(id);
        line.text("SERVER_UUID", presence.server_id.as_str()).presence(presence).end();
    };
    render(presence, out);
    if out.len() - start > ONE_READ {
        out.truncate(start);
        let shorter = Presence { services: Vec::new(), ..presence.clone() };
        render(&shorter, out);
        if out.len() - start > ONE_READ {
            out.truncate(start);
            render(&Presence { group_presence: GroupPresence::default(), ..shorter }, out);
        }
    }
}

/// Appends a heartbeat that says no more than `heartbeat` itself holds.
pub(super) fn plain_heartbeat(heartbeat: &Heartbeat, id: Option<&RequestId>, out: &mut Vec<u8>) {
    encode(&Message { id: id.cloned(), body: Body::Heartbeat(heartbeat.clone()) }, out);
}
