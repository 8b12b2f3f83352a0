//! How the loop hands writes to the thread that stores them, without ever waiting for it.

use std::io;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

/// How long the end of a node waits for the disk.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// The loop's end of the queue to a thread that stores.
///
/// Dropping it lets the thread store what is queued, for at most half a second.
#[derive(Debug)]
pub(in crate::store) struct Feeder<W> {
    /// The name of the thread, in the log too.
    name: &'static str,
    /// What was pushed since the last flush.
    collected: Vec<W>,
    /// `None` once the thread is told to end.
    queue: Option<Sender<Vec<W>>>,
    ended: Receiver<()>,
}

impl<W: Send + 'static> Feeder<W> {
    /// Starts a thread of this name. It has ended when `body` returns, which it does when its queue is closed and empty, and
    /// not before.
    pub(in crate::store) fn start(
        name: &'static str,
        body: impl FnOnce(Receiver<Vec<W>>) + Send + 'static,
    ) -> io::Result<Feeder<W>> {
        let (queue, queued) = unbounded();
        let (end, ended) = bounded(0);
        let run = move || {
            body(queued);
            // Wakes who waits for the end.
            drop(end);
        };
        thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Feeder { name, collected: Vec::new(), queue: Some(queue), ended })
    }
}

impl<W> Feeder<W> {
    /// Takes one write. The thread does not see it before [`Feeder::flush`].
    pub(in crate::store) fn push(&mut self, write: W) {
        self.collected.push(write);
    }

    /// Hands over what was pushed, together and without waiting. With nothing pushed it does nothing.
    pub(in crate::store) fn flush(&mut self) {
        if self.collected.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.collected);
        // The thread ends after the sender is dropped, and never before.
        if let Some(Err(refused)) = self.queue.as_ref().map(|queue| queue.send(batch)) {
            log::error!("{}: the thread that stores is gone; {} writes are lost", self.name, refused.0.len());
        }
    }
}

impl<W> Drop for Feeder<W> {
    fn drop(&mut self) {
        self.flush();
        self.queue = None;
        if self.ended.recv_timeout(FLUSH_WITHIN) == Err(RecvTimeoutError::Timeout) {
            log::warn!("{}: the disk takes longer than {} ms; going without it", self.name, FLUSH_WITHIN.as_millis());
        }
    }
}
