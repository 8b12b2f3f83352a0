//! The text of a file: frames, each a head line and the lines of its records.

use std::fmt::Write as _;

/// A head line is not longer: `#`, two numbers of twenty digits, a sum of eight, two blanks and the line end.
const MAX_HEAD_BYTES: usize = 1 + 20 + 1 + 20 + 1 + 8 + 1;

/// What is written ahead of the frames. A file system leaves zeroes where a power cut took the text and kept the length.
pub(super) const FILL: u8 = b'\n';

/// A whole frame of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The number of the batch: one more than that before.
    pub(super) batch: u64,
    /// Its records, each a line.
    pub(super) body: &'a [u8],
    /// Bytes of all of it.
    pub(super) bytes: usize,
}

/// Appends the frame of a batch to `out`. `body` is records, each with its line end.
pub(super) fn write(batch: u64, body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(head(batch, body).as_bytes());
    out.extend_from_slice(body);
}

fn head(batch: u64, body: &[u8]) -> String {
    let mut head = format!("#{batch} {} ", body.len());
    let mut sum = crc32fast::Hasher::new();
    sum.update(head.as_bytes());
    sum.update(body);
    let _ = writeln!(head, "{:08x}", sum.finalize());
    head
}

/// The frame at the beginning of `bytes`, if it is whole.
pub(super) fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let start = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
    let line = std::str::from_utf8(&start[..memchr::memchr(b'\n', start)?]).ok()?;
    let mut words = line.strip_prefix('#')?.split(' ');
    let (batch, length) = (words.next()?.parse().ok()?, words.next()?.parse::<usize>().ok()?);
    let behind = line.len() + 1;
    let body = bytes.get(behind..behind.checked_add(length)?)?;
    // Written again, it must be the same: there is one way to write it, and its sum is right.
    (head(batch, body).as_bytes() == &bytes[..behind]).then_some(Frame { batch, body, bytes: behind + length })
}

/// Every whole frame of `bytes`, wherever it begins, with where that is.
pub(super) fn find(bytes: &[u8]) -> impl Iterator<Item = (usize, Frame<'_>)> {
    memchr::memchr_iter(b'#', bytes).filter_map(|at| Some((at, parse(&bytes[at..])?)))
}

/// Whether nothing was ever written here.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == FILL || *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(batch: u64, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(batch, body, &mut out);
        out
    }

    #[test]
    fn a_frame_reads_back_and_no_flipped_bit_passes() {
        for body in [&b"{\"VOTE\":{\"TERM\":7}}\n"[..], b""] {
            let mut bytes = frame(u64::MAX, body);
            assert_eq!(parse(&bytes), Some(Frame { batch: u64::MAX, body, bytes: bytes.len() }));
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(parse(&bytes), None, "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn it_looks_as_the_documents_say() {
        assert_eq!(frame(17, b"{}\n"), b"#17 3 1a2963bd\n{}\n");
    }

    #[test]
    fn heads_that_cannot_be_are_no_frames() {
        let good = String::from_utf8(frame(17, b"{}\n")).unwrap();
        for (from, to) in
            [("#17", "#017"), ("#17", "#+17"), (" 3 ", " 03 "), (" 3 ", " 18446744073709551615 "), ("\n{", " x\n{")]
        {
            assert_eq!(parse(good.replacen(from, to, 1).as_bytes()), None, "{to}");
        }
        assert_eq!(parse("#".repeat(100).as_bytes()), None);
    }

    #[test]
    fn frames_are_found_behind_damage_and_are_not_made_of_what_users_say() {
        let mut bytes = frame(1, b"{\"SAY\":\"#2 0 00000000\\n\"}\n");
        let second = bytes.len() + 3;
        bytes.extend_from_slice(b"##\n");
        bytes.extend(frame(9, b"{}\n"));
        bytes[8] ^= 1;
        let found: Vec<(usize, u64)> = find(&bytes).map(|(at, frame)| (at, frame.batch)).collect();
        assert_eq!(found, [(second, 9)]);
    }
}
