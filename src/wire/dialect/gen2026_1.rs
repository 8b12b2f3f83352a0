//! 2026/1: the heartbeats of 2025/2, and envelopes with a lower-case `type` beside them.

use crate::wire::encode::Object;
use crate::wire::{RequestId, ServerId};

/// Heartbeats did not change between the two generations.
pub(super) use super::gen2025_2::heartbeat;

/// Appends the answer to the heartbeat of the family that writes everything in lower case.
pub(super) fn lower_alive(server_id: &ServerId, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).text("server_uuid", server_id.as_str()).text("task", "heartbeat");
    line.text("response", "alive").id(id).end();
}

/// The `type` values that answer something, in this generation and around it. No error answers them.
const ANSWER_TYPES: [&str; 7] = [
    "response_accepted",
    "response_rejected",
    "ack",
    "heartbeat_ack",
    "registration_ack",
    "protocol_error",
    "election_ack",
];

/// Whether a `type`, or `TYPE`, is that of an answer. One family writes everything in upper case.
pub(in crate::wire) fn is_answer_type(word: &str) -> bool {
    ANSWER_TYPES.iter().any(|answer| answer.eq_ignore_ascii_case(word))
}
