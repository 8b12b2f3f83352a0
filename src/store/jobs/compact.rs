//! Compaction: what lives in the oldest segment is copied to the newest, and the oldest is removed.
//!
//! A copy counts once it is synced; until then the original does. The oldest segment is removed once a synced frame
//! says that it is not needed. So a crash finds the original, the copy, or both, which is the same.

use super::frame::{self, FRAME_HEAD_BYTES, Frame, HEADER_BYTES};
use super::index::Place;
use super::log::{Compaction, Log, Move};
use super::record::{self, Part};
use crate::store::log::disk::Disk;

/// Copies of more bytes than this are synced by the compaction itself, so that no commit waits for all of them.
const UNSYNCED_BYTES: u64 = 1 << 20;

impl<D: Disk> Log<D> {
    /// Whether more than half of all bytes are not needed, and there is a segment that can go.
    pub(super) fn is_wasteful(&self) -> bool {
        let bytes = self.bytes();
        !self.older.is_empty() && bytes - self.index.live_bytes().min(bytes) > bytes / 2
    }

    /// Whether [`Log::compact`] has something to do.
    pub(super) fn wants_compaction(&self) -> bool {
        self.compaction != Compaction::Idle || self.is_wasteful()
    }

    /// Takes one step, at the wall clock `now`. An error leaves everything as it was; it may be tried again later.
    pub(super) fn compact(&mut self, now: u64) -> Result<(), String> {
        if !self.wants_compaction() {
            return Ok(());
        }
        self.make_room()?;
        let Some((&segment, &end)) = self.older.first_key_value() else { return Ok(()) };
        let at = match self.compaction {
            Compaction::Idle => HEADER_BYTES as u64,
            Compaction::Copying { at } => at,
        };
        if at < end && self.index.live_bytes_of(segment) > 0 {
            let at = self.copy(segment, at, end, now)?;
            self.compaction = Compaction::Copying { at };
            if self.end - self.synced_end > UNSYNCED_BYTES {
                self.sync()?;
            }
            return Ok(());
        }
        self.remove_oldest(segment, now)
    }

    /// Copies what lives in the frames of `segment` from `at` on, as far as one step goes. Returns where it went.
    fn copy(&mut self, segment: u32, at: u64, end: u64, now: u64) -> Result<u64, String> {
        let bytes = self.read_frames(segment, at, end)?;
        frame::begin(&mut self.frame);
        let first = self.moves.len();
        let mut done = 0;
        while let Some(frame) = frame::parse(&bytes[done..]) {
            if let Err(what) = self.copy_frame(segment, at + done as u64, &frame) {
                self.moves.truncate(first);
                return Err(format!("{}: at byte {}: {what}", self.disk.path(segment).display(), at + done as u64));
            }
            done += frame.bytes;
        }
        if self.moves.len() > first {
            self.append(now).inspect_err(|_| self.moves.truncate(first))?;
        }
        Ok(at + done as u64)
    }

    /// At least one whole frame of `segment` at `at`.
    fn read_frames(&mut self, segment: u32, at: u64, end: u64) -> Result<Vec<u8>, String> {
        let path = self.disk.path(segment);
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let mut read = |length: usize| {
            let bytes = self.disk.read(segment, at, length.min(left));
            bytes.map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let mut bytes = read(self.sizes.step.max(FRAME_HEAD_BYTES))?;
        match frame::measure(&bytes) {
            Some(length) if length > bytes.len() => bytes = read(length)?,
            _ => {}
        }
        // The living ones behind it stay where they are; the next start says more.
        frame::parse(&bytes).map(|_| ()).ok_or_else(|| format!("{}: at byte {at}: damaged", path.display()))?;
        Ok(bytes)
    }

    fn copy_frame(&mut self, segment: u32, at: u64, frame: &Frame<'_>) -> Result<(), &'static str> {
        let mut rest = frame.records;
        let mut at = at + FRAME_HEAD_BYTES as u64;
        while !rest.is_empty() {
            let length = record::length(rest)?;
            let (bytes, behind) = rest.split_at(length);
            let from = Place { segment, at: at as u32, len: length as u32 };
            let (number, part) = record::peek(bytes)?;
            let lives = self.index.get(number).is_some_and(|places| match part {
                Part::Put => places.put == from,
                Part::State => places.state == from,
                Part::Remove => false,
            });
            if lives {
                let found = record::decode(bytes)?;
                let start = self.end + self.frame.len() as u64;
                let len = record::encode_copy(&found, found.stamp.unwrap_or(frame.head.stamp), &mut self.frame);
                let to = Place { segment: self.newest, at: start as u32, len: len as u32 };
                self.moves.push(Move { number, part, from, to });
            }
            at += length as u64;
            rest = behind;
        }
        Ok(())
    }

    fn remove_oldest(&mut self, segment: u32, now: u64) -> Result<(), String> {
        if self.synced < self.last_batch() {
            self.sync()?;
        }
        if self.index.live_bytes_of(segment) > 0 {
            // Copies were given up meanwhile. Again, from its beginning.
            self.compaction = Compaction::Idle;
            return Ok(());
        }
        let oldest = self.older.keys().nth(1).copied().unwrap_or(self.newest);
        let before = std::mem::replace(&mut self.oldest, oldest);
        self.mark(now).inspect_err(|_| self.oldest = before)?;
        self.older.remove(&segment);
        self.compaction = Compaction::Idle;
        // Where it stays, the next start removes it.
        let path = self.disk.path(segment);
        self.disk.remove(segment).map_err(|error| format!("cannot remove {}: {error}", path.display()))
    }
}
