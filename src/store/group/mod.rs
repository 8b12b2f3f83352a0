//! What a master must not forget of its group: the term and its vote, the log, the snapshot, and who it is there.
//!
//! An append log in a text file, so that it can be read beside the Raft paper with a pager. There is one file at a time.
//!
//! ```text
//!   group-00000003.log
//!     #16 204 8a0c61f2                                             batch 16, 204 bytes of records, their sum
//!     {"FILE":{"FORMAT":1,"NUMBER":3,"MASTER":"3fa9c1d2-..."}}     the first frame of a file holds everything
//!     {"BELONG":{"STATE_ID":"...","GROUP_ID":"...","RAFT_ID":2,"KEY":"..."}}
//!     {"SNAPSHOT":{"INDEX":40,"TERM":6,"MEMBERS":{"VOTERS":[1,2,3],...},"LEDGER":"..."}}
//!     {"VOTE":{"TERM":7,"COMMIT":40,"VOTED_FOR":1}}
//!     #17 73 0e4f90bb                                              each other one what came since
//!     {"ENTRY":{"INDEX":41,"TERM":7,"DO":{"SET":{"NAME":"capacity","VALUE":200}}}}
//!     #18 0 5f3d8c1e                                               nothing: says that batch 17 was synced
//!                                                                  blank lines, written ahead
//! ```
//!
//! The sum is the CRC-32 of the head line before it and of the records. `ENTRY` follows on what stands before it and replaces what is
//! stored from its index on, `SNAPSHOT` drops the entries that it holds, `BELONG` forgets everything before it:
//! [`StoredGroup::apply`] is the whole rule.
//!
//! **Batches** are numbered on, across files, and stored as a whole or not at all. One is written only once the one before it is
//! synced.
//!
//! **Restart.** The newest file is followed to the first frame that is not whole. If a whole frame stands behind it, this is
//! damage, and the log is refused as it is. If none does, the broken one was never told to be written: a torn tail, which
//! is cut off and reported. Damage to the very last batch cannot be told from a torn one, so each start and each orderly end
//! writes an empty batch behind it. A file is written under another name (`group-00000000.log`), synced and renamed: its first
//! frame is always whole, or damaged. Older files are leftovers.
//!
//! **Errors.** A batch that cannot be written is cut off and tried again, and so is all that came meanwhile. After a sync that
//! failed nobody knows what the disk holds, and a second sync that succeeds says nothing about the first: the file is never written
//! to again, and the next one begins, with everything in it. Until that succeeds nothing is told to be written.
//! The disk is trusted in one point: writing to a sector leaves bytes of it that do not change as they are.
//!
//! **Compaction** is the next file as well: when the file is above 1 MiB and less than half of it lives, and when another group
//! begins, for the key of the old one is nobody's business any more. The file is its owner's alone: it holds the key.

mod frame;
mod log;
mod record;
mod recover;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::io;
use std::path::Path;

use uuid::Uuid;

pub use writer::GroupWriter;

use self::log::Log;
use super::log::disk::FileDisk;
use super::state_dir::io_error;
use super::{StateError, reserve};
use crate::core::{LogTicket, StoredGroup};
use crate::wire::{GroupId, ServerId};

/// The directory of the log in the state directory, and what the names of its files begin with.
pub(super) const GROUP: &str = "group";

/// What the thread that stores the group says. The loop hands it to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupNote {
    /// Every write up to this ticket is durable.
    Written {
        /// The last of them.
        through: LogTicket,
    },
    /// What waits cannot be stored. It is tried again until it is, and nothing is told to be written meanwhile. Told once an
    /// episode.
    Trouble {
        /// Why, for people.
        reason: String,
    },
    /// The episode is over.
    Well,
}

/// What is stored of the group of a master, before its thread is started.
pub struct GroupStore {
    /// `None`: nothing is stored.
    log: Option<Log<FileDisk>>,
}

impl fmt::Debug for GroupStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupStore").field("stores", &self.log.is_some()).finish_non_exhaustive()
    }
}

impl GroupStore {
    /// Opens what is stored of the group of `master` in its state directory, which must stay locked for as long as it is used.
    /// Returns what was found, and what of it was cut off because a crash had torn it, for the log of the node: nobody was ever told
    /// that it was written. A directory without a group gets a state id, which lasts when this returns.
    ///
    /// To be opened before the jobs, which take all the room that they find.
    ///
    /// # Errors
    /// What is damaged, another master's or another version's, and nothing is changed then; or the system refuses. On a disk that is
    /// full a start has the room that earlier starts have laid aside.
    pub fn open(dir: &Path, master: &ServerId) -> Result<(GroupStore, StoredGroup, Option<String>), StateError> {
        reserve::with_room(dir, || {
            let group_dir = dir.join(GROUP);
            let mut disk = FileDisk::new(&group_dir, GROUP).map_err(io_error("make the directory", &group_dir))?;
            let scan = recover::scan(&mut disk, master, new_state_id())?;
            let log = recover::resume(disk, &scan, master, log::SIZES)?;
            Ok((GroupStore { log: Some(log) }, scan.group, scan.rolled_back))
        })
    }

    /// A store that keeps nothing (`--ephemeral`): every write is told to be written at once.
    pub fn in_memory() -> (GroupStore, StoredGroup) {
        (GroupStore { log: None }, StoredGroup::fresh(new_state_id()))
    }

    /// Starts the thread that stores. It calls `tell` once a batch, in the order of the tickets.
    pub fn start(self, tell: impl Fn(GroupNote) + Send + 'static) -> io::Result<GroupWriter> {
        writer::start(self.log, tell)
    }
}

/// What was found, in words, such as `group 3fa9c1d2, member 2, term 7, 41 entries behind snapshot 1200`. Without the key.
pub fn describe(group: &StoredGroup) -> String {
    let Some(membership) = &group.membership else { return "no group yet".to_owned() };
    let entries = match group.entries.len() {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    };
    let behind = match group.snapshot_index() {
        0 => String::new(),
        index => format!(" behind snapshot {index}"),
    };
    let (id, member, term) = (membership.group_id.short(), membership.raft_id, group.term);
    format!("group {id}, member {member}, term {term}, {entries}{behind}")
}

fn new_state_id() -> GroupId {
    GroupId::new(Uuid::new_v4().to_string()).expect("a uuid is 36 characters of 0-9a-f-")
}
