//! The thread that stores the group: everything that waits is one batch, one write and one sync.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::GroupNote;
use super::log::Log;
use crate::core::{GroupWrite, LogTicket};
use crate::store::log::disk::Disk;
use crate::store::log::feeder::Feeder;

/// What the disk has refused is tried again this often.
const RETRY: Duration = Duration::from_millis(200);

/// A compaction that failed waits this long: a full disk is left to the commits.
const COMPACT_AGAIN: Duration = Duration::from_secs(10);

type Batch = Vec<(LogTicket, GroupWrite)>;

/// Hands writes to the thread that stores them.
///
/// Dropping it stores and syncs what is queued, for at most half a second.
#[derive(Debug)]
pub struct GroupWriter(Feeder<(LogTicket, GroupWrite)>);

impl GroupWriter {
    /// Takes one write. It is not stored before [`GroupWriter::flush`].
    pub fn push(&mut self, ticket: LogTicket, write: GroupWrite) {
        self.0.push((ticket, write));
    }

    /// Hands over what was pushed, without waiting. To be called once a turn of the loop; with nothing pushed it does
    /// nothing.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

/// Starts the thread. Without a log every write counts at once.
pub(super) fn start<D: Disk + Send + 'static>(
    log: Option<Log<D>>,
    tell: impl Fn(GroupNote) + Send + 'static,
) -> io::Result<GroupWriter> {
    let body = move |queued: Receiver<Batch>| match log {
        Some(log) => Worker::new(log, queued, tell).run(),
        None => queued.iter().filter_map(|batch| batch.last().map(|last| last.0)).for_each(|through| {
            tell(GroupNote::Written { through });
        }),
    };
    Feeder::start("group", body).map(GroupWriter)
}

struct Worker<D, T> {
    log: Log<D>,
    queued: Receiver<Batch>,
    tell: T,
    /// What was received and is not taken.
    waiting: VecDeque<(LogTicket, GroupWrite)>,
    /// The last write that the log has taken and not stored.
    taken: Option<LogTicket>,
    /// What the disk refuses is tried again at this time.
    retry_at: Option<Instant>,
    compact_from: Instant,
    /// A write contradicted those before it: nothing that comes after it is stored any more.
    refuses: bool,
}

impl<D: Disk, T: Fn(GroupNote)> Worker<D, T> {
    fn new(log: Log<D>, queued: Receiver<Batch>, tell: T) -> Worker<D, T> {
        let (waiting, compact_from) = (VecDeque::new(), Instant::now());
        Worker { log, queued, tell, waiting, taken: None, retry_at: None, compact_from, refuses: false }
    }

    /// Runs until the channel is closed and everything in it is stored, or the disk refuses it.
    fn run(mut self) {
        loop {
            let is_open = self.receive();
            self.take();
            if !is_open || self.retry_at.is_none_or(|at| at <= Instant::now()) {
                self.store();
            }
            if is_open {
                self.compact();
            } else if self.retry_at.is_some() || self.waiting.is_empty() && self.taken.is_none() {
                break;
            }
        }
        if let Err(reason) = self.log.mark() {
            log::debug!("group: {reason}");
        }
    }

    /// Takes what is queued. Waits for it where there is nothing else to do. Returns whether more may come.
    fn receive(&mut self) -> bool {
        let wake_at = match self.retry_at {
            Some(at) => Some(at),
            None if !self.waiting.is_empty() => Some(Instant::now()),
            None if self.log.wants_compaction() => Some(self.compact_from),
            None => None,
        };
        let received = match wake_at {
            Some(at) => self.queued.recv_deadline(at),
            None => self.queued.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(batch) => self.waiting.extend(batch),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
        while let Ok(batch) = self.queued.try_recv() {
            self.waiting.extend(batch);
        }
        true
    }

    /// Lets the log take what waits, up to one batch.
    fn take(&mut self) {
        while !self.refuses && !self.log.is_long() {
            let Some((ticket, write)) = self.waiting.pop_front() else { return };
            match self.log.take(write) {
                Ok(()) => self.taken = Some(ticket),
                Err(what) => {
                    let reason = format!("write {} cannot be stored: {what}", ticket.0);
                    log::error!("group: {reason}; nothing is stored of the group any more, restart this node");
                    self.refuses = true;
                    (self.tell)(GroupNote::Trouble { reason });
                }
            }
        }
        if self.refuses {
            self.waiting.clear();
        }
    }

    /// One batch, one write, one sync, one note.
    fn store(&mut self) {
        let Some(through) = self.taken else { return };
        match self.log.store() {
            Ok(()) => {
                self.taken = None;
                if self.retry_at.take().is_some() && !self.refuses {
                    log::info!("group: it is stored again");
                    (self.tell)(GroupNote::Well);
                }
                (self.tell)(GroupNote::Written { through });
            }
            Err(reason) => {
                if self.retry_at.replace(Instant::now() + RETRY).is_none() {
                    log::error!("group: {reason}; trying again");
                    if !self.refuses {
                        (self.tell)(GroupNote::Trouble { reason });
                    }
                } else {
                    log::debug!("group: {reason}; trying again");
                }
            }
        }
    }

    fn compact(&mut self) {
        let is_due = self.taken.is_none() && self.log.wants_compaction() && self.compact_from <= Instant::now();
        if is_due && let Err(reason) = self.log.compact() {
            log::warn!("group: the log cannot be made smaller: {reason}; trying again");
            self.compact_from = Instant::now() + COMPACT_AGAIN;
        }
    }
}
