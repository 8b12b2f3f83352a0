//! The log while the node runs: writes are taken, stored as a batch, and tried again until the disk takes them.
//!
//! Three rules carry everything else:
//! - A batch is written only once the one before it is synced. So a broken frame with a whole one behind it is damage, and one at the
//!   end was never told to be written.
//! - A file has its final name only once its first frame, which holds everything up to then, is synced.
//! - A file whose sync failed, or that could not be cut back after a failed write, is never written to again. The next
//!   file begins, with everything in it.

use super::frame::{self, FILL};
use super::record;
use crate::core::{GroupWrite, StoredGroup};
use crate::store::log::disk::Disk;
use crate::wire::ServerId;

/// Sizes that tests make small.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Blanks that are written ahead of the frames: a sync that has no new length to store is faster.
    pub(super) fill: u64,
    /// A shorter file is not compacted.
    pub(super) compact: u64,
    /// A batch takes no more writes once it is this long.
    pub(super) round: usize,
}

/// The sizes in use.
pub(super) const SIZES: Sizes = Sizes { fill: 256 << 10, compact: 1 << 20, round: 4 << 20 };

/// Where a log begins to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// The number of the file; 0: there is none.
    pub(super) file: u32,
    /// Where its last frame ends.
    pub(super) end: u64,
    /// How long it is.
    pub(super) size: u64,
    /// Its last batch.
    pub(super) batch: u64,
}

/// What is stored of the group of a master.
#[derive(Debug)]
pub(super) struct Log<D> {
    pub(super) disk: D,
    pub(super) sizes: Sizes,
    master: ServerId,
    /// Everything that was taken, stored or not.
    state: StoredGroup,
    file: u32,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// How long the file is: blanks from `end` to here.
    filled: u64,
    /// Blanks are not written ahead before this byte: the disk was full.
    fill_from: u64,
    /// The last batch that is stored.
    batch: u64,
    /// Whether that one has no records: one more would say nothing.
    is_marked: bool,
    /// The file is never to be written to again.
    leave: bool,
    /// The file holds what is to be forgotten: an old group, and its key.
    has_past: bool,
    /// A file that is this long is compacted if that is worth it.
    weigh_at: u64,
    /// Records that were taken and are not stored.
    pending: String,
}

impl<D: Disk> Log<D> {
    /// A log that goes on at `start`, which is synced.
    pub(super) fn new(disk: D, start: Start, state: StoredGroup, master: ServerId, sizes: Sizes) -> Log<D> {
        Log {
            disk,
            sizes,
            master,
            state,
            file: start.file,
            end: start.end,
            filled: start.size,
            fill_from: 0,
            batch: start.batch,
            is_marked: false,
            leave: start.file == 0,
            has_past: false,
            weigh_at: sizes.compact,
            pending: String::new(),
        }
    }

    /// Takes a write, for [`Log::store`].
    ///
    /// # Errors
    /// It contradicts what was taken before, or could not be read back. Nothing is changed; nothing that comes after it is to be
    /// stored.
    pub(super) fn take(&mut self, write: GroupWrite) -> Result<(), String> {
        let start = self.pending.len();
        record::write(&write, &mut self.pending);
        // What a restart refuses is not written in the first place.
        let readable = match record::is_plain(&write) {
            true => Ok(()),
            false => record::read_all(&self.pending.as_bytes()[start..]).try_for_each(|line| line.map(|_| ())),
        };
        let leaves =
            matches!(write, GroupWrite::Belong { .. } | GroupWrite::Begin(_)) && self.state.membership.is_some();
        let taken = readable.and_then(|()| self.state.apply(write).map_err(str::to_owned));
        match taken {
            Ok(()) => self.has_past |= leaves,
            Err(_) => self.pending.truncate(start),
        }
        taken
    }

    /// Whether a batch is long enough to be stored before it takes more.
    pub(super) fn is_long(&self) -> bool {
        self.pending.len() >= self.sizes.round
    }

    /// Stores what was taken, as one batch: one write, one sync. After an error nothing is known of it, and it is to be tried again;
    /// more may be taken meanwhile.
    pub(super) fn store(&mut self) -> Result<(), String> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.leave {
            return self.begin_file();
        }
        self.append(self.sizes.fill)?;
        self.pending.clear();
        Ok(())
    }

    /// Says, at the beginning and the end, that the last batch was synced, so that damage to it is told from a torn write.
    pub(super) fn mark(&mut self) -> Result<(), String> {
        if self.leave || self.is_marked || !self.pending.is_empty() {
            return Ok(());
        }
        // Without blanks: a start must leave room to others on a disk that is all but full.
        self.append(0)
    }

    /// Whether [`Log::compact`] may have something to do.
    pub(super) fn wants_compaction(&self) -> bool {
        !self.leave && (self.has_past || self.end >= self.weigh_at)
    }

    /// Goes on in a new file, which holds only what lives, where more than half of this one does not. To be called when
    /// everything is stored. After an error everything is as durable as before.
    pub(super) fn compact(&mut self) -> Result<(), String> {
        if !self.wants_compaction() {
            return Ok(());
        }
        let length = self.base(self.file).len() as u64;
        if !self.has_past && length > self.end / 2 {
            // Weighed again once this can be otherwise.
            self.weigh_at = (2 * length).max(self.end + self.sizes.compact / 2);
            return Ok(());
        }
        self.begin_file()
    }

    /// Begins the next file with everything that was taken, stored or not, which is stored by that.
    pub(super) fn begin_file(&mut self) -> Result<(), String> {
        let Some(number) = self.file.checked_add(1) else { return Err("the numbers of files are used up".to_owned()) };
        let mut frame = Vec::new();
        frame::write(self.batch + 1, self.base(number).as_bytes(), &mut frame);
        let made = self.disk.create(0).and_then(|()| self.disk.write(0, 0, &frame)).and_then(|()| self.disk.sync(0));
        if let Err(error) = made {
            // It takes room that the other file may need.
            let _: std::io::Result<()> = self.disk.remove(0);
            return Err(format!("cannot write {}: {error}", self.disk.path(number).display()));
        }
        // From here on a restart may find it.
        self.leave = true;
        let named = self.disk.rename(0, number).and_then(|()| self.disk.sync_dir());
        named.map_err(|error| format!("cannot begin {}: {error}", self.disk.path(number).display()))?;
        if self.file != 0 {
            // Where it stays, the next start removes it.
            let _: std::io::Result<()> = self.disk.remove(self.file);
        }
        let end = frame.len() as u64;
        (self.file, self.batch, self.end, self.filled, self.fill_from) = (number, self.batch + 1, end, end, 0);
        (self.leave, self.has_past, self.is_marked) = (false, false, false);
        self.weigh_at = self.sizes.compact.max(2 * end);
        self.pending.clear();
        Ok(())
    }

    /// The records of the first frame of a file: everything.
    fn base(&self, number: u32) -> String {
        let mut body = String::new();
        record::file(number, &self.master, &mut body);
        record::state(&self.state, &mut body);
        body
    }

    /// Writes and syncs what is pending, as the frame behind the last one, with `fill` blanks behind it where the file must grow.
    fn append(&mut self, fill: u64) -> Result<(), String> {
        let mut frame = Vec::new();
        frame::write(self.batch + 1, self.pending.as_bytes(), &mut frame);
        let length = frame.len();
        let end = self.end + length as u64;
        if end > self.filled && end >= self.fill_from && fill > 0 {
            frame.resize(length + fill as usize, FILL);
        }
        let mut written = self.disk.write(self.file, self.end, &frame);
        if written.is_err() && frame.len() > length {
            // A disk that has no room for the blanks may have some for the frame, and others need what is left.
            self.cut()?;
            self.fill_from = end + fill;
            frame.truncate(length);
            written = self.disk.write(self.file, self.end, &frame);
        }
        if let Err(error) = written {
            self.cut()?;
            return Err(format!("cannot write {}: {error}", self.path()));
        }
        self.filled = self.filled.max(self.end + frame.len() as u64);
        if let Err(error) = self.disk.sync(self.file) {
            self.leave = true;
            return Err(format!("cannot sync {}: {error}", self.path()));
        }
        (self.end, self.batch, self.is_marked) = (end, self.batch + 1, self.pending.is_empty());
        Ok(())
    }

    /// Cuts off what a write that failed may have left.
    fn cut(&mut self) -> Result<(), String> {
        if let Err(error) = self.disk.truncate(self.file, self.end) {
            self.leave = true;
            return Err(format!("cannot cut {}: {error}", self.path()));
        }
        self.filled = self.end;
        Ok(())
    }

    fn path(&self) -> String {
        self.disk.path(self.file).display().to_string()
    }

    /// Everything that was taken.
    #[cfg(test)]
    pub(super) fn state(&self) -> &StoredGroup {
        &self.state
    }
}
