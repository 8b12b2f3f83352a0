//! What other threads tell the loop, and how they wake it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::{Registry, Token, Waker};

use crate::core::LoadSample;

use super::limits::NOTES;

/// What a thread has to tell.
#[derive(Debug)]
pub(super) enum Note {
    /// The machine was measured.
    Sample(LoadSample),
    /// A name was looked up.
    Resolved {
        /// The name that was asked for.
        name: String,
        /// Its addresses, best first, or why there are none.
        found: Result<Vec<IpAddr>, String>,
    },
}

/// The loop's end: takes what was told.
pub(super) struct Mailbox {
    notes: Receiver<Note>,
    stops: Arc<AtomicU32>,
    /// The threads' end, to be handed out.
    pub(super) post: Post,
}

/// A thread's end: tells and wakes.
#[derive(Clone)]
pub(super) struct Post {
    notes: Sender<Note>,
    waker: Arc<Waker>,
    stops: Arc<AtomicU32>,
}

/// Asks the loop to stop. The first time gently, the second time at once.
#[derive(Clone)]
pub(super) struct Stopper {
    waker: Arc<Waker>,
    stops: Arc<AtomicU32>,
}

impl Mailbox {
    /// A mailbox whose waking shows up as `token`.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Mailbox> {
        let waker = Arc::new(Waker::new(registry, token)?);
        let (sender, notes) = bounded(NOTES);
        let stops = Arc::new(AtomicU32::new(0));
        Ok(Mailbox { notes, stops: Arc::clone(&stops), post: Post { notes: sender, waker, stops } })
    }

    /// The next note, if there is one.
    pub(super) fn take(&self) -> Option<Note> {
        self.notes.try_recv().ok()
    }

    /// How often the loop was asked to stop since the last call.
    pub(super) fn take_stops(&self) -> u32 {
        self.stops.swap(0, Ordering::AcqRel)
    }
}

impl Post {
    /// Tells, and waits while the mailbox is full. For what must not be lost.
    pub(super) fn send(&self, note: Note) {
        if self.notes.send(note).is_ok() {
            wake(&self.waker);
        }
    }

    /// Tells, unless the mailbox is full. For what the next one of its kind replaces.
    pub(super) fn offer(&self, note: Note) {
        if self.notes.try_send(note).is_ok() {
            wake(&self.waker);
        }
    }

    /// A handle that can only ask to stop.
    pub(super) fn stopper(&self) -> Stopper {
        Stopper { waker: Arc::clone(&self.waker), stops: Arc::clone(&self.stops) }
    }
}

impl Stopper {
    /// Asks. Does nothing when the loop has ended.
    pub(super) fn stop(&self) {
        self.stops.fetch_add(1, Ordering::AcqRel);
        wake(&self.waker);
    }
}

fn wake(waker: &Waker) {
    if let Err(error) = waker.wake() {
        log::warn!(target: super::LOG, "cannot wake the event loop: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;
    use crate::wire::Permille;

    #[test]
    fn a_note_from_another_thread_wakes_the_poll() {
        let mut poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(3)).unwrap();
        let sample = LoadSample { cpu: Permille::new(5), memory: Permille::new(6) };
        let post = mailbox.post.clone();
        let thread = std::thread::spawn(move || post.send(Note::Sample(sample)));
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(3)]);
        thread.join().unwrap();
        assert!(matches!(mailbox.take(), Some(Note::Sample(got)) if got == sample));
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn a_full_mailbox_drops_offers_and_keeps_what_it_has() {
        let poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(3)).unwrap();
        let sample = LoadSample { cpu: Permille::new(1), memory: Permille::new(1) };
        for _ in 0..NOTES + 10 {
            mailbox.post.offer(Note::Sample(sample));
        }
        assert_eq!(std::iter::from_fn(|| mailbox.take()).count(), NOTES);
    }

    #[test]
    fn stops_are_counted() {
        let poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(3)).unwrap();
        let stopper = mailbox.post.stopper();
        stopper.stop();
        stopper.clone().stop();
        assert_eq!(mailbox.take_stops(), 2);
        assert_eq!(mailbox.take_stops(), 0);
    }
}
