//! As much of gRPC as a yardstick needs: unary calls of etcd over one HTTP/2 connection, without sockets.
//!
//! etcd's own JSON gateway would cost it a second hop and a translation of each request; a gRPC crate would bring a hundred others. One fixed
//! call needs little: headers are literals that are never indexed (RFC 7541, 6.2.2), so that nothing is remembered between
//! requests, and of an answer the message alone is read: a server that has one to give has done what was asked.

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes that either side may send before the other has given it more, in each stream and in all together.
const WINDOW: i64 = 65_535;
/// The longest frame that is sent, and that a server may send.
const FRAME: usize = 16_384;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Of DATA and HEADERS: the last of its stream. Of SETTINGS and PING: an answer.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a call has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Which call.
    pub(crate) stream: u32,
    /// The message; `None`: it was refused, and says why in headers that are not read.
    pub(crate) message: Option<Vec<u8>>,
}

/// One connection, as its bytes.
pub(crate) struct Connection {
    next_stream: u32,
    /// What may still be sent.
    window: i64,
    /// What was received and not given back.
    owed: u32,
    input: Vec<u8>,
    /// Streams that wait, with what has come of their message.
    open: Vec<(u32, Vec<u8>)>,
}

impl Connection {
    /// A connection, and what is to be said first.
    pub(crate) fn new(out: &mut Vec<u8>) -> Connection {
        out.extend_from_slice(PREFACE);
        // SETTINGS_HEADER_TABLE_SIZE 0: nothing is to be remembered here either.
        frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0], out);
        Connection { next_stream: 1, window: WINDOW, owed: 0, input: Vec::new(), open: Vec::new() }
    }

    /// Begins a call, such as of `/etcdserverpb.KV/Put`. Its number.
    pub(crate) fn call(&mut self, path: &str, message: &[u8], out: &mut Vec<u8>) -> Result<u32, String> {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut headers = Vec::with_capacity(128);
        // :method POST and :scheme http stand in the static table.
        headers.extend_from_slice(&[0x83, 0x86]);
        let literals =
            [(":path", path), (":authority", "etcd"), ("content-type", "application/grpc"), ("te", "trailers")];
        for (name, value) in literals {
            headers.push(0);
            for text in [name, value] {
                // Longer ones would need the length in several bytes.
                headers.push(u8::try_from(text.len()).ok().filter(|it| *it < 127).ok_or("a header is too long")?);
                headers.extend_from_slice(text.as_bytes());
            }
        }
        frame(HEADERS, END_HEADERS, stream, &headers, out);
        let mut data = vec![0];
        data.extend_from_slice(&u32::try_from(message.len()).map_err(|_| "the message is too long")?.to_be_bytes());
        data.extend_from_slice(message);
        self.window -= data.len() as i64;
        if self.window < 0 || data.len() > FRAME {
            return Err("etcd takes no more on this connection".to_owned());
        }
        frame(DATA, END_STREAM, stream, &data, out);
        self.open.push((stream, Vec::new()));
        Ok(stream)
    }

    /// Takes what has come. What is to be said about it goes to `out`, calls that have ended to `answers`.
    pub(crate) fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>, answers: &mut Vec<Answer>) -> Result<(), String> {
        self.input.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(head) = self.input.get(taken..taken + 9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            if length > FRAME {
                return Err(format!("a frame of {length} bytes"));
            }
            let Some(payload) = self.input.get(taken + 9..taken + 9 + length) else { break };
            taken += 9 + length;
            match kind {
                DATA => {
                    self.owed += length as u32;
                    if let Some((_, message)) = self.open.iter_mut().find(|(open, _)| *open == stream) {
                        message.extend_from_slice(payload);
                    }
                }
                SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[], out),
                PING if flags & ACK == 0 => {
                    let payload = payload.to_vec();
                    frame(PING, ACK, 0, &payload, out);
                }
                WINDOW_UPDATE if stream == 0 => {
                    let bytes: [u8; 4] = payload.try_into().map_err(|_| "a WINDOW_UPDATE of another length")?;
                    self.window += i64::from(u32::from_be_bytes(bytes));
                }
                GOAWAY => return Err("etcd ends the connection".to_owned()),
                // Values of headers are not looked at, nor settings that allow more than is used.
                HEADERS | CONTINUATION | SETTINGS | PING | WINDOW_UPDATE | RST_STREAM => {}
                other => return Err(format!("a frame of kind {other}")),
            }
            let ended = kind == RST_STREAM || matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
            if ended && let Some(place) = self.open.iter().position(|(open, _)| *open == stream) {
                let (stream, message) = self.open.swap_remove(place);
                let message = (kind != RST_STREAM && message.len() >= 5).then(|| message[5..].to_vec());
                answers.push(Answer { stream, message });
            }
        }
        self.input.drain(..taken);
        if i64::from(self.owed) > WINDOW / 2 {
            frame(WINDOW_UPDATE, 0, 0, &self.owed.to_be_bytes(), out);
            self.owed = 0;
        }
        Ok(())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let length = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A PutRequest of protobuf: `key` is field 1, `value` field 2.
pub(crate) fn put_request(key: &str, value: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(4 + key.len() + value.len());
    for (tag, text) in [(0x0a, key), (0x12, value)] {
        assert!(text.len() < 128, "its length is one byte");
        message.extend_from_slice(&[tag, text.len() as u8]);
        message.extend_from_slice(text.as_bytes());
    }
    message
}

/// The number in this field of a protobuf message; 0 where it is left out, as protobuf has it. `None`: the message is broken.
pub(crate) fn number(mut message: &[u8], field: u64) -> Option<u64> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                if tag >> 3 == field {
                    return Some(value);
                }
            }
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(0)
}

/// The message in field 1 of a protobuf message: in every answer of etcd its header.
pub(crate) fn header(mut message: &[u8]) -> Option<&[u8]> {
    if varint(&mut message)? != 0x0a {
        return None;
    }
    let length = usize::try_from(varint(&mut message)?).ok()?;
    message.get(..length)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
