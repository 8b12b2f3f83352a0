//! The seed: `{"TASK":"HEARTBEAT"}`, answered with `SERVER_ID` and nothing else.

use crate::wire::encode::Object;
use crate::wire::{RequestId, ServerId};

/// The bare heartbeat, to the byte, as this project and as Python's `json.dumps` write it. With their newlines.
const COMPACT: &[u8; 21] = b"{\"TASK\":\"HEARTBEAT\"}\n";
const SPACED: &[u8; 22] = b"{\"TASK\": \"HEARTBEAT\"}\n";

/// Takes the bare heartbeats at the front of `input` and counts them. `input` must stand at the begin of a line.
pub(super) fn take_bare(input: &mut &[u8]) -> usize {
    let mut count = 0;
    let mut rest = *input;
    loop {
        if let Some((first, next)) = rest.split_first_chunk()
            && first == COMPACT
        {
            rest = next;
        } else if let Some((first, next)) = rest.split_first_chunk()
            && first == SPACED
        {
            rest = next;
        } else {
            break;
        }
        count += 1;
    }
    *input = rest;
    count
}

/// Whether a line, without what is blank around it, is the bare heartbeat to the byte.
pub(super) fn is_bare(line: &[u8]) -> bool {
    line == &COMPACT[..COMPACT.len() - 1] || line == &SPACED[..SPACED.len() - 1]
}

/// Appends `line` `count` times. A run of answers is copied in few large steps instead of many small ones.
pub(super) fn repeat(line: &[u8], count: usize, out: &mut Vec<u8>) {
    let start = out.len();
    let total = line.len() * count;
    if total == 0 {
        return;
    }
    out.reserve(total);
    out.extend_from_slice(line);
    while out.len() - start < total {
        let done = out.len() - start;
        let more = done.min(total - done);
        out.extend_from_within(start..start + more);
    }
}

/// Appends the bare heartbeat.
pub(super) fn heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(COMPACT);
}

/// Appends the answer to a heartbeat; the mark of the asker is echoed if it gave one.
pub(super) fn alive(server_id: &ServerId, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).text("TASK", "HEARTBEAT").text("RESPONSE", "ALIVE").id(id);
    line.text("SERVER_ID", server_id.as_str()).end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bare_heartbeats_are_taken_and_nothing_else() {
        let mut input: &[u8] = b"{\"TASK\":\"HEARTBEAT\"}\n{\"TASK\": \"HEARTBEAT\"}\n{\"TASK\":\"HEARTBEAT\"}\r\n";
        assert_eq!(take_bare(&mut input), 2);
        assert_eq!(input, b"{\"TASK\":\"HEARTBEAT\"}\r\n");
        assert_eq!(take_bare(&mut input), 0);
        assert_eq!(take_bare(&mut &b"{\"TASK\":\"HEARTBEAT\"}"[..]), 0);
        assert_eq!(take_bare(&mut &b""[..]), 0);
    }

    #[test]
    fn repetition_is_exact_at_every_count() {
        for count in 0..70 {
            let mut out = b"x".to_vec();
            repeat(b"abc", count, &mut out);
            assert_eq!(out, ["x".as_bytes(), "abc".repeat(count).as_bytes()].concat());
        }
    }
}
