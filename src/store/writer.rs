//! The thread that writes, so that the event loop never waits for a disk.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};

use super::dialects::{self, Snapshot};
use super::{StateDir, StateError};
use crate::wire::DialectMemory;

/// After a write that failed, the next attempt. A full disk is not asked more often than this.
const RETRY: Duration = Duration::from_secs(10);

/// How long the end of a node waits for the disk. Together with the goodbyes it stays within a second.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// Writes files of the state directory on a thread of its own, so that the event loop never waits for a disk.
///
/// Dropping it writes what is outstanding, for at most half a second.
#[derive(Debug)]
pub struct Writer {
    /// Room for one snapshot: a newer one takes the place of one that waits. `None` once the writer is told to end.
    newest: Option<Sender<Snapshot>>,
    waiting: Receiver<Snapshot>,
    ended: Receiver<()>,
}

impl Writer {
    /// Starts the thread for this directory, which must stay locked for as long as the writer lives.
    pub fn start(dir: &StateDir) -> Result<Writer, StateError> {
        let (newest, waiting) = bounded(1);
        let (end, ended) = bounded(0);
        let path = dir.path().to_owned();
        let snapshots = waiting.clone();
        let body = move || {
            write_until_closed(&snapshots, |snapshot| dialects::write(&path, snapshot), &path);
            // Wakes who waits for the end.
            drop(end);
        };
        thread::Builder::new().name("store".to_owned()).spawn(body).map_err(|error| StateError::Io {
            action: "start a thread for",
            path: dir.path().to_owned(),
            error,
        })?;
        Ok(Writer { newest: Some(newest), waiting, ended })
    }

    /// Stores what peers speak. Returns at once; of several calls in a row only the last is sure to be written.
    pub fn save_dialects(&self, memory: &DialectMemory) {
        let Some(newest) = &self.newest else { return };
        let mut snapshot = dialects::snapshot(memory);
        while let Err(TrySendError::Full(refused)) = newest.try_send(snapshot) {
            snapshot = refused;
            // The older one makes room; or the thread has just taken it, which does as well.
            let _: Result<Snapshot, TryRecvError> = self.waiting.try_recv();
        }
    }

    /// Writes what is outstanding and ends the thread, for at most half a second. Dropping does the same.
    pub fn finish(self) {}
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.newest = None;
        if self.ended.recv_timeout(FLUSH_WITHIN) == Err(RecvTimeoutError::Timeout) {
            log::warn!("state: the disk takes longer than {} ms; going without it", FLUSH_WITHIN.as_millis());
        }
    }
}

/// Writes each snapshot, and a failed one again, until the channel is closed and empty. Logs the first failure of
/// an episode and its end.
fn write_until_closed(
    snapshots: &Receiver<Snapshot>,
    mut write: impl FnMut(&Snapshot) -> std::io::Result<()>,
    path: &Path,
) {
    let shown: PathBuf = path.join(dialects::DIALECTS);
    let mut failed: Option<Snapshot> = None;
    loop {
        let received = match failed {
            Some(_) => snapshots.recv_timeout(RETRY),
            None => snapshots.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let closed = received == Err(RecvTimeoutError::Disconnected);
        if let Some(snapshot) = received.ok().or_else(|| failed.clone()) {
            match (write(&snapshot), failed.is_some()) {
                (Ok(()), was_failing) => {
                    failed = None;
                    if was_failing {
                        log::info!("state: {} is written again", shown.display());
                    }
                }
                (Err(error), was_failing) => {
                    failed = Some(snapshot);
                    if !was_failing {
                        log::warn!("state: cannot write {}: {error}; trying again", shown.display());
                    }
                }
            }
        }
        if closed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::wire::{Address, Dialect};

    fn memory(ports: std::ops::RangeInclusive<u16>) -> DialectMemory {
        let mut memory = DialectMemory::default();
        for port in ports {
            let address: Address = format!("127.0.0.1:{port}").parse().unwrap();
            memory.learn(&address, Dialect::Seed);
        }
        memory
    }

    #[test]
    fn the_last_of_many_saves_is_written_before_the_end() {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(base.path(), "127.0.0.1:9101".parse().unwrap()).unwrap();
        let writer = Writer::start(&dir).unwrap();
        for last in 1..=200 {
            writer.save_dialects(&memory(1..=last));
        }
        writer.finish();
        assert_eq!(dir.dialects().known().count(), 200);
    }

    #[test]
    fn a_snapshot_that_could_not_be_written_is_written_at_the_end() {
        let (send, receive) = bounded(1);
        send.send(dialects::snapshot(&memory(1..=3))).unwrap();
        drop(send);
        let mut written = Vec::new();
        let mut attempts = 0;
        let write = |snapshot: &Snapshot| {
            attempts += 1;
            if attempts == 1 {
                return Err(io::Error::other("no space"));
            }
            written.push(snapshot.len());
            Ok(())
        };
        write_until_closed(&receive, write, Path::new("/nowhere"));
        assert_eq!(written, [3]);
    }
}
