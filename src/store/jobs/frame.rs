//! The bytes of a segment: its header, and the frames behind it.

use crate::wire::{MAX_ID_BYTES, ServerId};

/// What a segment begins with.
const SEGMENT_MAGIC: [u8; 8] = *b"mutijobs";

/// The version that this program writes and reads. Every version keeps magic, version and sum at their places.
pub(super) const VERSION: u32 = 1;

/// Bytes of the header of a segment.
pub(super) const HEADER_BYTES: usize = 256;

/// Where the sum of the header stands: at its end.
const HEADER_SUM: usize = HEADER_BYTES - 4;

/// What a frame begins with. `0xff` is in no UTF-8 text, so no job can hold what looks like a frame.
const FRAME_MAGIC: [u8; 4] = [0xff, b'J', 0xfe, b'F'];

/// Bytes of a frame before its records.
pub(super) const FRAME_HEAD_BYTES: usize = 44;

/// Most bytes of the records of a frame; more can only be damage.
const MAX_BODY_BYTES: usize = 32 << 20;

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The number of this segment.
    pub(super) segment: u32,
    /// The number of its first batch. All before are in earlier segments, and synced.
    pub(super) first_batch: u64,
    /// Where the segment before it ends: what stands behind that does not count. 0 where there is none.
    pub(super) previous_end: u64,
    /// The oldest segment that was needed when it was written.
    pub(super) oldest: u32,
    /// Whose jobs they are.
    pub(super) master: ServerId,
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// It is not there, or not whole.
    Torn,
    /// It is whole, and another version's, or says what cannot be.
    Foreign(String),
}

impl Header {
    /// Its bytes, [`HEADER_BYTES`] of them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.first_batch.to_le_bytes());
        bytes.extend_from_slice(&self.previous_end.to_le_bytes());
        bytes.extend_from_slice(&self.oldest.to_le_bytes());
        let master = self.master.as_str().as_bytes();
        bytes.push(master.len() as u8);
        bytes.extend_from_slice(master);
        bytes.resize(HEADER_SUM, 0);
        let sum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header at the beginning of `file`.
    pub(super) fn decode(file: &[u8]) -> Result<Header, HeaderError> {
        let bytes = file.get(..HEADER_BYTES).ok_or(HeaderError::Torn)?;
        if bytes[..8] != SEGMENT_MAGIC || crc32fast::hash(&bytes[..HEADER_SUM]) != u32_at(bytes, HEADER_SUM) {
            return Err(HeaderError::Torn);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(HeaderError::Foreign(format!("format is {version}; this version reads format {VERSION}")));
        }
        let length = usize::from(bytes[36]).min(MAX_ID_BYTES);
        let master = std::str::from_utf8(&bytes[37..37 + length]).ok().and_then(ServerId::new);
        Ok(Header {
            segment: u32_at(bytes, 12),
            first_batch: u64_at(bytes, 16),
            previous_end: u64_at(bytes, 24),
            oldest: u32_at(bytes, 32),
            master: master.ok_or_else(|| HeaderError::Foreign("the id of its master is none".to_owned()))?,
        })
    }
}

/// A frame before its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// The number of the batch: one more than that before.
    pub(super) batch: u64,
    /// Every batch up to this one was synced when this one was written.
    pub(super) synced: u64,
    /// When it was written: milliseconds of the wall clock since 1970.
    pub(super) stamp: u64,
    /// The oldest segment that is needed. Files before it are leftovers.
    pub(super) oldest: u32,
}

/// A whole frame of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// What it says of itself.
    pub(super) head: FrameHead,
    /// Its records.
    pub(super) records: &'a [u8],
    /// Bytes of all of it.
    pub(super) bytes: usize,
}

/// Makes room in the empty `buffer` for what [`seal`] writes; records are appended behind it.
pub(super) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(FRAME_HEAD_BYTES, 0);
}

/// Makes a frame of the records in `buffer`.
pub(super) fn seal(buffer: &mut [u8], head: FrameHead) {
    let length = (buffer.len() - FRAME_HEAD_BYTES) as u32;
    buffer[..4].copy_from_slice(&FRAME_MAGIC);
    buffer[8..12].copy_from_slice(&length.to_le_bytes());
    buffer[12..20].copy_from_slice(&head.batch.to_le_bytes());
    buffer[20..28].copy_from_slice(&head.synced.to_le_bytes());
    buffer[28..36].copy_from_slice(&head.stamp.to_le_bytes());
    buffer[36..40].copy_from_slice(&head.oldest.to_le_bytes());
    // The head has a sum of its own: a length is believed before what it measures is read.
    let head_sum = crc32fast::hash(&buffer[8..40]);
    buffer[40..44].copy_from_slice(&head_sum.to_le_bytes());
    let sum = crc32fast::hash(&buffer[8..]);
    buffer[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// The bytes that a frame at the beginning of `bytes` takes, if its head is whole.
pub(super) fn measure(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..FRAME_HEAD_BYTES)?;
    let length = u32_at(head, 8) as usize;
    let whole = head[..4] == FRAME_MAGIC && crc32fast::hash(&head[8..40]) == u32_at(head, 40);
    (whole && length <= MAX_BODY_BYTES).then_some(FRAME_HEAD_BYTES + length)
}

/// The frame at the beginning of `bytes`, if it is whole.
pub(super) fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    let length = measure(bytes)?;
    let frame = bytes.get(..length)?;
    (crc32fast::hash(&frame[8..]) == u32_at(frame, 4)).then(|| Frame {
        head: FrameHead {
            batch: u64_at(frame, 12),
            synced: u64_at(frame, 20),
            stamp: u64_at(frame, 28),
            oldest: u32_at(frame, 36),
        },
        records: &frame[FRAME_HEAD_BYTES..],
        bytes: length,
    })
}

/// Every whole frame of `bytes`, wherever it begins, with where that is.
pub(super) fn find(bytes: &[u8]) -> impl Iterator<Item = (usize, Frame<'_>)> {
    memchr::memmem::find_iter(bytes, &FRAME_MAGIC).filter_map(|at| Some((at, parse(&bytes[at..])?)))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let master = ServerId::new("3fa9c1d2-0000-4000-8000-000000000000").unwrap();
        Header { segment: 7, first_batch: 1 << 40, previous_end: 67_000_000, oldest: 3, master }
    }

    fn frame(records: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        begin(&mut buffer);
        buffer.extend_from_slice(records);
        seal(&mut buffer, FrameHead { batch: 9, synced: 8, stamp: 1_700_000_000_000, oldest: 2 });
        buffer
    }

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_passes() {
        let mut bytes = header().encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(Header::decode(&bytes), Ok(header()));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), Err(HeaderError::Torn), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert_eq!(Header::decode(&bytes[..cut]), Err(HeaderError::Torn));
        }
    }

    #[test]
    fn the_longest_id_of_a_master_fits() {
        let header = Header { master: ServerId::new("x".repeat(MAX_ID_BYTES)).unwrap(), ..header() };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        let sum = crc32fast::hash(&bytes[..HEADER_SUM]).to_le_bytes();
        bytes[HEADER_SUM..].copy_from_slice(&sum);
        let expected = "format is 2; this version reads format 1".to_owned();
        assert_eq!(Header::decode(&bytes), Err(HeaderError::Foreign(expected)));
    }

    #[test]
    fn a_frame_reads_back_and_no_flipped_bit_passes() {
        let mut bytes = frame(b"records");
        let read = parse(&bytes).unwrap();
        assert_eq!((read.records, read.bytes, read.head.batch, read.head.synced), (&b"records"[..], bytes.len(), 9, 8));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), None);
        }
    }

    #[test]
    fn frames_are_found_behind_damage() {
        let mut bytes = frame(b"first");
        let second = bytes.len() + 3;
        bytes.extend_from_slice(b"\xff\xffJ");
        bytes.extend(frame(b"second"));
        bytes[20] ^= 1;
        let found: Vec<(usize, &[u8])> = find(&bytes).map(|(at, frame)| (at, frame.records)).collect();
        assert_eq!(found, [(second, &b"second"[..])]);
    }
}
