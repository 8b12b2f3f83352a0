//! The jobs of a master on disk: an append log of its own, in segments of 64 MiB.
//!
//! A log and not a database, because of the figures: one batch is one write and one `fdatasync`, and nothing else.
//!
//! ```text
//!   jobs-00000001.log     header │ frame │ frame │ frame │ what the next header says is behind the end
//!   jobs-00000002.log     header │ frame │ frame │ zeroes, written ahead
//!
//!   header, 256 bytes     magic 8 │ version 4 │ segment 4 │ first batch 8 │ end of the segment before 8
//!                         │ oldest segment 4 │ length and id of the master 1 + n │ zeroes │ crc 4
//!   frame, one a batch    magic 4 │ crc 4 │ length of the records 4 │ batch 8 │ synced through 8 │ wall clock ms 8
//!                         │ oldest segment 4 │ crc of the head 4 │ records
//!   record                length 4 │ kind 1 │ job number │ of a copy: its ms │ what is stored
//! ```
//!
//! Numbers of fixed size are little-endian, those in records have seven bits a byte. The crc is CRC-32 of all that
//! follows it in the frame. Texts are a length and UTF-8. Kinds: 1 put, 2 state, 3 removal, 4 copied put, 5 copied
//! state.
//!
//! **Batches** are numbered on, across segments. A batch is stored as a whole or not at all. Each says up to which
//! batch everything was synced when it was written.
//!
//! **Restart.** The newest segment is followed to the first frame that is not whole. If a whole frame behind it says
//! that the broken one was synced, this is damage, and the log is refused as it is. If none does, the broken one was
//! never acknowledged: a torn tail, which is cut off and reported. Earlier segments must be whole up to the end that
//! the next header names; a missing one, another master's, or another version's is refused. Damage to the very last
//! batch cannot be told from a torn one, so each start and each orderly end writes an empty batch behind it.
//!
//! **Errors.** A batch that cannot be written is cut off again. After a sync that failed nobody knows what the disk
//! holds, and a second sync that succeeds says nothing about the first: the segment is never written to again, and
//! the next one begins, whose header ends it where it was last known to be whole. Only then is it said that the batch
//! failed; until that is possible nothing is said. Later batches are tried again.
//! The disk is trusted in one point: writing to a sector leaves bytes of it that do not change as they are.
//!
//! **Compaction.** When more than half of all bytes are not needed, living records of the oldest segment are copied to
//! the newest, a small step a batch. Once they are synced, an empty batch says that the oldest segment is not needed,
//! and once that is synced, the file is removed.
//!
//! **With `os`** nothing waits for a sync, save the end of a segment; a power cut may lose the last batches, as a whole
//! and from the end.

mod boot;
mod compact;
mod frame;
mod index;
mod log;
mod record;
mod recover;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::io;
use std::path::Path;

pub(super) use boot::BOOT;
pub use writer::JobWriter;

use self::log::Log;
use super::log::disk::{Disk, FileDisk};
use super::state_dir::io_error;
use super::{StateError, reserve};
use crate::core::StoredJob;
use crate::core::Ticket;
use crate::wire::{Durability, ServerId};

/// The directory of the segments in the state directory.
pub(super) const JOBS: &str = "jobs";

/// What a start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// How often the master was started, this time included: 1 or more, never the same twice.
    pub boot: u32,
    /// The jobs, ascending. Ages are by the wall clock.
    pub jobs: Vec<StoredJob>,
    /// What of the log was cut off because a crash had torn it, for the log of the node. Nobody was ever told that it
    /// was stored, save with `os` before a power cut.
    pub rolled_back: Option<String>,
    /// What is left alone because nothing is stored this time (`memory`), for the log of the node.
    pub left_alone: Option<String>,
    /// Bytes of the log.
    pub bytes: u64,
    /// Its segments.
    pub segments: usize,
}

/// What the thread that stores jobs says. The loop hands it to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreNote {
    /// Every write up to this ticket that was not told to have failed is as durable as asked for.
    Written {
        /// The last of them.
        through: Ticket,
    },
    /// These writes failed, together. No restart finds any of them.
    Failed {
        /// The first of them.
        from: Ticket,
        /// The last of them.
        through: Ticket,
        /// Why, for people.
        reason: String,
    },
}

/// The stored jobs of a master, before its thread is started.
pub struct JobStore {
    /// `None`: nothing is stored.
    log: Option<Log<FileDisk>>,
}

impl fmt::Debug for JobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the index: it has an entry for each job.
        f.debug_struct("JobStore").field("stores", &self.log.is_some()).finish_non_exhaustive()
    }
}

impl JobStore {
    /// Opens the jobs of `master` in its state directory, which must stay locked for as long as they are used, and
    /// counts this start.
    ///
    /// What is damaged, another master's or another version's is an error, and nothing is changed. With
    /// [`Durability::Memory`] the start is counted, nothing is stored, and jobs of earlier starts are left alone.
    ///
    /// A start needs some room: it is counted, and the log is ended orderly. On a disk that is full that room comes from a
    /// reserve that earlier starts have laid aside.
    pub fn open(dir: &Path, durability: Durability, master: &ServerId) -> Result<(JobStore, Recovered), StateError> {
        reserve::with_room(dir, || JobStore::open_once(dir, durability, master))
    }

    fn open_once(dir: &Path, durability: Durability, master: &ServerId) -> Result<(JobStore, Recovered), StateError> {
        let now = writer::now();
        let before = boot::read(dir)?;
        let jobs_dir = dir.join(JOBS);
        if durability == Durability::Memory {
            let left_alone = left_alone(&jobs_dir, master, now);
            let boot = next_boot(dir, before)?;
            let (jobs, bytes, segments) = (Vec::new(), 0, 0);
            let recovered = Recovered { boot, jobs, rolled_back: None, left_alone, bytes, segments };
            return Ok((JobStore { log: None }, recovered));
        }
        let mut disk = FileDisk::new(&jobs_dir, JOBS).map_err(io_error("make the directory", &jobs_dir))?;
        let mut scan = recover::scan(&mut disk, master, now)?;
        let highest = scan.highest.map_or(0, |number| number.boot());
        if highest > before.unwrap_or(0) {
            let counted =
                before.map_or("no start is counted".to_owned(), |before| format!("{before} starts are counted"));
            let what = format!("{counted}, and {} has jobs of start {highest}", jobs_dir.display());
            return Err(StateError::Damaged { file: dir.join(BOOT), what });
        }
        let boot = next_boot(dir, before)?;
        let jobs = std::mem::take(&mut scan.jobs);
        let rolled_back = scan.rolled_back.take();
        let log = recover::resume(disk, scan, master, durability == Durability::Fsync, log::SIZES, now)?;
        let (bytes, segments) = (log.bytes(), log.older.len() + 1);
        let recovered = Recovered { boot, jobs, rolled_back, left_alone: None, bytes, segments };
        Ok((JobStore { log: Some(log) }, recovered))
    }

    /// Starts the thread that stores. It calls `tell` once a batch, in the order of the tickets.
    pub fn start(self, tell: impl Fn(StoreNote) + Send + 'static) -> io::Result<JobWriter> {
        writer::start(self.log, tell)
    }
}

fn next_boot(dir: &Path, before: Option<u32>) -> Result<u32, StateError> {
    let Some(boot) = before.unwrap_or(0).checked_add(1) else {
        return Err(StateError::Damaged { file: dir.join(BOOT), what: "no number of a start is left".to_owned() });
    };
    boot::write(dir, boot)?;
    Ok(boot)
}

/// What a log that is not used now holds, if it holds something.
fn left_alone(jobs_dir: &Path, master: &ServerId, now: u64) -> Option<String> {
    if !jobs_dir.is_dir() {
        return None;
    }
    let scan = FileDisk::new(jobs_dir, JOBS).map_err(io_error("open", jobs_dir)).and_then(|mut disk| {
        let is_empty = disk.list().is_ok_and(|segments| segments.is_empty());
        if is_empty { Ok(None) } else { recover::scan(&mut disk, master, now).map(Some) }
    });
    let dir = jobs_dir.display();
    match scan {
        Ok(None) => None,
        Ok(Some(scan)) if scan.jobs.is_empty() => None,
        Ok(Some(scan)) => Some(format!("{} jobs of earlier starts stay in {dir}, unused", scan.jobs.len())),
        Err(error) => Some(format!("what is in {dir} stays there, unused: {error}")),
    }
}
