//! The log while the node runs: batches are appended, synced, and given up when the disk refuses.
//!
//! Two rules carry everything else:
//! - A file whose sync failed, or that could not be cut back after a failed write, is never written to again. The next
//!   segment begins, and its header says where the one before ends; what stands behind that does not count.
//! - Nobody is told that a batch failed before it is sure that no restart finds it ([`Log::settle`]).

use std::collections::BTreeMap;

use super::frame::{self, FRAME_HEAD_BYTES, FrameHead, HEADER_BYTES, Header};
use super::index::{JobIndex, Place, Places};
use super::record::{self, MAX_RECORD_BYTES, Part};
use crate::core::Ticket;
use crate::core::{JobNumber, JobWrite};
use crate::store::log::disk::Disk;
use crate::wire::ServerId;

/// Sizes that tests make small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// A segment that is this long is followed by the next one.
    pub(super) segment: u64,
    /// Zeroes that are written ahead of the frames: a sync that has no new length to store is a third faster.
    pub(super) fill: u64,
    /// Bytes of the oldest segment that one step of the compaction looks at.
    pub(super) step: usize,
    /// A round takes no more writes once its frame is this long.
    pub(super) round: usize,
}

/// The sizes in use.
pub(super) const SIZES: Sizes = Sizes { segment: 64 << 20, fill: 1 << 20, step: 128 << 10, round: 4 << 20 };

/// A place in the newest segment between two frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The last batch before it.
    pub(super) batch: u64,
    /// Its byte.
    pub(super) end: u64,
}

/// A record that was copied to another place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) number: JobNumber,
    pub(super) part: Part,
    pub(super) from: Place,
    pub(super) to: Place,
}

/// What the compaction is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compaction {
    /// Nothing to do, or not yet.
    Idle,
    /// Living records of the oldest segment are copied; those before this byte of it are.
    Copying { at: u64 },
}

/// Where a log begins to be written.
#[derive(Debug)]
pub(super) struct Start {
    /// The segments before the newest, with where they end.
    pub(super) older: BTreeMap<u32, u64>,
    /// The newest; 0: there is none.
    pub(super) newest: u32,
    /// Where its last frame ends.
    pub(super) end: u64,
    /// How long its file is.
    pub(super) size: u64,
    /// The last batch.
    pub(super) batch: u64,
    /// The oldest segment.
    pub(super) oldest: u32,
    /// Where the living records are.
    pub(super) index: JobIndex,
}

/// The log of the jobs of a master.
#[derive(Debug)]
pub(super) struct Log<D> {
    pub(super) disk: D,
    pub(super) sizes: Sizes,
    /// Whether a batch is synced before it counts.
    fsync: bool,
    master: ServerId,
    pub(super) index: JobIndex,
    /// The segments before the newest, with where they end.
    pub(super) older: BTreeMap<u32, u64>,
    pub(super) newest: u32,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// How long the file is: zeroes from `end` to here.
    filled: u64,
    /// Zeroes are not written ahead before this byte: the disk was full.
    fill_from: u64,
    /// The last batch that was written.
    batch: u64,
    /// Up to here everything counts: synced, or with `os` written.
    good: Mark,
    /// Up to this batch everything is synced.
    pub(super) synced: u64,
    /// Up to this byte of the newest segment everything is synced.
    pub(super) synced_end: u64,
    /// What the last frame says is synced.
    claimed: u64,
    /// The newest segment is never to be written to again.
    leave: bool,
    /// A batch that did not succeed may still be found by a restart.
    uncertain: bool,
    pub(super) oldest: u32,
    /// Copies that do not count yet.
    pub(super) moves: Vec<Move>,
    pub(super) compaction: Compaction,
    /// The frame that is being made. Kept for its memory.
    pub(super) frame: Vec<u8>,
}

impl<D: Disk> Log<D> {
    /// A log that goes on at `start`, which is synced.
    pub(super) fn new(disk: D, start: Start, master: ServerId, fsync: bool, sizes: Sizes) -> Log<D> {
        Log {
            disk,
            sizes,
            fsync,
            master,
            index: start.index,
            older: start.older,
            newest: start.newest,
            end: start.end,
            filled: start.size,
            fill_from: 0,
            batch: start.batch,
            good: Mark { batch: start.batch, end: start.end },
            synced: start.batch,
            synced_end: start.end,
            claimed: 0,
            leave: start.newest == 0,
            uncertain: false,
            oldest: start.oldest,
            moves: Vec::new(),
            compaction: Compaction::Idle,
            frame: Vec::new(),
        }
    }

    /// Stores the first of `writes` as one batch, at the wall clock `now`. Returns how many those are (at least one),
    /// and whether they are stored, all or none. On an error, [`Log::settle`] before anybody is told.
    pub(super) fn commit(&mut self, writes: &[(Ticket, Box<JobWrite>)], now: u64) -> (usize, Result<(), String>) {
        if let Err(reason) = self.make_room() {
            return (writes.len(), Err(reason));
        }
        let mut undo = Vec::new();
        frame::begin(&mut self.frame);
        let taken = self.encode(writes, &mut undo);
        if taken == 0 {
            return (1, Err(format!("a job of more than {MAX_RECORD_BYTES} bytes cannot be stored")));
        }
        // Writes about jobs that are not there say nothing.
        if self.frame.len() == FRAME_HEAD_BYTES {
            return (taken, Ok(()));
        }
        let written = self.append(now).and_then(|()| self.count());
        if written.is_err() {
            for (number, before) in undo.into_iter().rev() {
                self.index.set(number, before);
            }
        }
        self.index.tidy();
        (taken, written)
    }

    /// Makes sure that no restart finds what did not succeed. An error: not yet; to be tried again.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        if self.uncertain { self.begin_segment() } else { Ok(()) }
    }

    /// Says, at the end, that the last batch was synced, so that damage to it is told from a torn write.
    pub(super) fn close(&mut self, now: u64) {
        if self.claimed < self.batch && self.make_room().is_ok() && self.sync().is_ok() {
            let _: Result<(), String> = self.mark(now);
        }
    }

    /// Writes a batch without records, which says what is synced and which segments are needed, and syncs it.
    pub(super) fn mark(&mut self, now: u64) -> Result<(), String> {
        frame::begin(&mut self.frame);
        self.append(now).and_then(|()| self.sync())
    }

    /// The last batch that was written.
    pub(super) fn last_batch(&self) -> u64 {
        self.batch
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.older.values().sum::<u64>() + self.end
    }

    /// Begins the next segment where this one is full or to be left.
    pub(super) fn make_room(&mut self) -> Result<(), String> {
        if self.leave {
            return self.begin_segment();
        }
        if self.end < self.sizes.segment {
            return Ok(());
        }
        // Only the newest segment may end in what is not synced.
        if self.synced < self.batch {
            self.sync()?;
        }
        self.begin_segment()
    }

    /// Writes the frame whose records are in `self.frame` behind the last one.
    pub(super) fn append(&mut self, now: u64) -> Result<(), String> {
        let head = FrameHead { batch: self.batch + 1, synced: self.synced, stamp: now, oldest: self.oldest };
        frame::seal(&mut self.frame, head);
        let length = self.frame.len();
        let end = self.end + length as u64;
        let mut written = Err(String::new());
        if end > self.filled && end >= self.fill_from && self.sizes.fill > 0 {
            // The segment's end, as a rule, or one more stretch of zeroes behind a frame that goes beyond it.
            let filled = (end + self.sizes.fill).min(self.sizes.segment.max(end));
            self.frame.resize(length + (filled - end) as usize, 0);
            written = self.write_frame();
            self.frame.truncate(length);
            match written {
                Ok(()) => self.filled = filled,
                // A disk that has no room for the zeroes may have some for the frame.
                Err(_) => self.fill_from = end + self.sizes.fill,
            }
        }
        if written.is_err() {
            written = self.write_frame();
        }
        if let Err(reason) = written {
            match self.disk.truncate(self.newest, self.end) {
                Ok(()) => self.filled = self.end,
                Err(error) => {
                    log::error!("jobs: cannot cut {}: {error}", self.disk.path(self.newest).display());
                    self.abandon();
                }
            }
            return Err(reason);
        }
        self.end = end;
        self.filled = self.filled.max(end);
        self.batch += 1;
        self.claimed = head.synced;
        Ok(())
    }

    fn write_frame(&mut self) -> Result<(), String> {
        let written = self.disk.write(self.newest, self.end, &self.frame);
        written.map_err(|error| format!("cannot write {}: {error}", self.disk.path(self.newest).display()))
    }

    /// Syncs all that is written. After an error the segment is left, and what was not synced is given up.
    pub(super) fn sync(&mut self) -> Result<(), String> {
        if let Err(error) = self.disk.sync(self.newest) {
            self.abandon();
            return Err(format!("cannot sync {}: {error}", self.disk.path(self.newest).display()));
        }
        (self.synced, self.synced_end) = (self.batch, self.end);
        self.count_as_good();
        Ok(())
    }

    /// Makes what is written as durable as asked for.
    fn count(&mut self) -> Result<(), String> {
        if self.fsync {
            return self.sync();
        }
        self.count_as_good();
        Ok(())
    }

    /// What is written counts from now on, copies too.
    fn count_as_good(&mut self) {
        self.good = Mark { batch: self.batch, end: self.end };
        for moved in self.moves.drain(..) {
            let Some(mut places) = self.index.get(moved.number) else { continue };
            let place = if moved.part == Part::Put { &mut places.put } else { &mut places.state };
            // Another state may have taken its place since.
            if *place == moved.from {
                *place = moved.to;
                self.index.set(moved.number, Some(places));
            }
        }
    }

    /// Never writes to the newest segment again. What does not count yet never will.
    fn abandon(&mut self) {
        self.leave = true;
        self.uncertain = true;
        (self.batch, self.end) = (self.good.batch, self.good.end);
        self.moves.clear();
        self.compaction = Compaction::Idle;
    }

    /// Begins the next segment, whose header says where this one ends. An error: there is none, and this one is left.
    pub(super) fn begin_segment(&mut self) -> Result<(), String> {
        let was_uncertain = self.uncertain;
        // A header that reached the disk ends the old segment, even if what comes next fails.
        self.leave = true;
        if self.newest != 0 && self.synced < self.batch {
            self.write_again()?;
        }
        let Some(number) = self.newest.checked_add(1) else { return Err("the segments are used up".to_owned()) };
        let header = Header {
            segment: number,
            first_batch: self.batch + 1,
            previous_end: if self.newest == 0 { 0 } else { self.end },
            oldest: if self.newest == 0 { number } else { self.oldest },
            master: self.master.clone(),
        };
        let made = self.disk.create(number);
        let made = made.and_then(|()| self.disk.write(number, 0, &header.encode()));
        let made = made.and_then(|()| self.disk.sync(number)).and_then(|()| self.disk.sync_dir());
        made.map_err(|error| format!("cannot begin {}: {error}", self.disk.path(number).display()))?;
        if was_uncertain {
            // It does not count any more; that its bytes are gone is only tidier.
            let _: std::io::Result<()> = self.disk.truncate(self.newest, self.end);
        }
        if self.newest != 0 {
            self.older.insert(self.newest, self.end);
        }
        let end = HEADER_BYTES as u64;
        (self.newest, self.oldest) = (number, header.oldest);
        (self.end, self.filled, self.fill_from) = (end, end, 0);
        (self.synced, self.synced_end) = (self.batch, end);
        self.good = Mark { batch: self.batch, end };
        (self.leave, self.uncertain) = (false, false);
        Ok(())
    }

    /// Makes what counts last where a sync failed, before the segment is left. Only with `os` there is such a thing.
    ///
    /// Written again, the bytes are found by the next sync, which those of the failed one are not.
    fn write_again(&mut self) -> Result<(), String> {
        let length = usize::try_from(self.end - self.synced_end).unwrap_or(usize::MAX);
        let (newest, at) = (self.newest, self.synced_end);
        let bytes = self.disk.read(newest, at, length);
        let synced = bytes.and_then(|bytes| self.disk.write(newest, at, &bytes)).and_then(|()| self.disk.sync(newest));
        synced.map_err(|error| format!("cannot sync {}: {error}", self.disk.path(newest).display()))?;
        (self.synced, self.synced_end) = (self.batch, self.end);
        Ok(())
    }

    /// Whether a batch that did not succeed may still be found by a restart.
    #[cfg(test)]
    pub(super) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    /// Appends the records of the first writes to the frame and enters them into the index. Returns how many.
    fn encode(&mut self, writes: &[(Ticket, Box<JobWrite>)], undo: &mut Vec<(JobNumber, Option<Places>)>) -> usize {
        for (taken, (_, write)) in writes.iter().enumerate() {
            if self.frame.len() >= self.sizes.round {
                return taken;
            }
            let number = write.number();
            let known = self.index.get(number);
            match (&**write, known) {
                // Its put failed, or it was removed: there is nothing that this could be about.
                (JobWrite::State { .. } | JobWrite::Remove { .. }, None) => continue,
                (JobWrite::Put { .. }, Some(_)) => {
                    log::error!("jobs: job {} is put a second time; ignored", number.0);
                    continue;
                }
                _ => {}
            }
            let start = self.frame.len();
            let length = record::encode(write, &mut self.frame);
            if length > MAX_RECORD_BYTES {
                self.frame.truncate(start);
                return taken;
            }
            let at = (self.end + start as u64) as u32;
            let place = Place { segment: self.newest, at, len: length as u32 };
            let places = match (&**write, known) {
                (JobWrite::Put { .. }, _) => Some(Places { put: place, state: Place::default() }),
                (JobWrite::State { .. }, Some(known)) => Some(Places { state: place, ..known }),
                _ => None,
            };
            undo.push((number, self.index.set(number, places)));
        }
        writes.len()
    }
}
