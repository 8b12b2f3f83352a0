//! The thread that stores jobs: everything that waits is one batch, one write and one sync.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::StoreNote;
use super::log::Log;
use crate::core::JobWrite;
use crate::core::Ticket;
use crate::store::log::disk::Disk;
use crate::store::log::feeder::Feeder;

/// What could not be made sure of is tried again this often.
const RETRY: Duration = Duration::from_millis(500);

/// A compaction that failed waits this long: a full disk is left to the commits.
const COMPACT_AGAIN: Duration = Duration::from_secs(10);

type Batch = Vec<(Ticket, Box<JobWrite>)>;

/// Hands writes to the thread that stores them.
///
/// Dropping it stores and syncs what is queued, for at most half a second.
#[derive(Debug)]
pub struct JobWriter(Feeder<(Ticket, Box<JobWrite>)>);

impl JobWriter {
    /// Takes one write. It is not stored before [`JobWriter::flush`].
    pub fn push(&mut self, ticket: Ticket, write: Box<JobWrite>) {
        self.0.push((ticket, write));
    }

    /// Hands over what was pushed, without waiting. To be called once a turn of the loop; with nothing pushed it does
    /// nothing.
    pub fn flush(&mut self) {
        self.0.flush();
    }

    /// Stores what is queued and ends the thread, for at most half a second. Dropping does the same.
    pub fn finish(self) {}
}

/// Starts the thread. Without a log every write counts at once.
pub(super) fn start<D: Disk + Send + 'static>(
    log: Option<Log<D>>,
    tell: impl Fn(StoreNote) + Send + 'static,
) -> io::Result<JobWriter> {
    let body = move |queued: Receiver<Batch>| match log {
        Some(log) => Worker::new(log, queued, tell).run(),
        None => queued.iter().filter_map(|batch: Batch| batch.last().map(|last| last.0)).for_each(|through| {
            tell(StoreNote::Written { through });
        }),
    };
    Feeder::start("jobs", body).map(JobWriter)
}

struct Worker<D, T> {
    log: Log<D>,
    queued: Receiver<Batch>,
    tell: T,
    /// What was received, in order; those before `next` are done.
    waiting: Batch,
    next: usize,
    /// A batch that failed, but that a restart might still find: nothing can be said of it yet.
    held: Option<StoreNote>,
    compact_from: Instant,
    /// Whether the last batch failed, so that an episode is logged once.
    failing: bool,
}

impl<D: Disk, T: Fn(StoreNote)> Worker<D, T> {
    fn new(log: Log<D>, queued: Receiver<Batch>, tell: T) -> Worker<D, T> {
        let compact_from = Instant::now();
        Worker { log, queued, tell, waiting: Vec::new(), next: 0, held: None, compact_from, failing: false }
    }

    /// Runs until the channel is closed and everything in it is stored.
    fn run(mut self) {
        loop {
            let is_open = self.receive();
            self.settle();
            if self.held.is_none() && self.next < self.waiting.len() {
                self.round();
            }
            self.compact();
            if !is_open && (self.held.is_some() || self.next == self.waiting.len()) {
                break;
            }
        }
        self.log.close(now());
    }

    /// Takes what is queued. Waits for it where there is nothing else to do. Returns whether more may come.
    fn receive(&mut self) -> bool {
        if self.next == self.waiting.len() {
            self.waiting.clear();
            self.next = 0;
        }
        let has_work = self.held.is_none() && self.next < self.waiting.len();
        let pause = self.compact_from.saturating_duration_since(Instant::now());
        let received = if has_work {
            Err(RecvTimeoutError::Timeout)
        } else if self.held.is_some() {
            self.queued.recv_timeout(RETRY)
        } else if self.log.wants_compaction() {
            self.queued.recv_timeout(pause)
        } else {
            self.queued.recv().map_err(|_| RecvTimeoutError::Disconnected)
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

    /// One batch, one write, one sync, one note.
    fn round(&mut self) {
        let writes = &self.waiting[self.next..];
        let (taken, result) = self.log.commit(writes, now());
        let (from, through) = (writes[0].0, writes[taken - 1].0);
        self.next += taken;
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    log::info!("jobs: they are stored again");
                }
                (self.tell)(StoreNote::Written { through });
            }
            Err(reason) => {
                if !std::mem::replace(&mut self.failing, true) {
                    log::error!("jobs: {reason}");
                }
                self.held = Some(StoreNote::Failed { from, through, reason });
                self.settle();
            }
        }
    }

    /// Says that a batch failed, once no restart can find it.
    fn settle(&mut self) {
        if self.held.is_none() {
            return;
        }
        match self.log.settle() {
            Ok(()) => self.held.take().into_iter().for_each(&self.tell),
            Err(reason) => log::debug!("jobs: {reason}; trying again"),
        }
    }

    fn compact(&mut self) {
        if self.held.is_some() || !self.log.wants_compaction() || Instant::now() < self.compact_from {
            return;
        }
        if let Err(reason) = self.log.compact(now()) {
            log::warn!("jobs: the log cannot be made smaller: {reason}; trying again");
            self.compact_from = Instant::now() + COMPACT_AGAIN;
        }
    }
}

/// Milliseconds of the wall clock since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
