//! What other threads tell the loop, and how they wake it.
//!
//! There is one queue, so that what one thread says arrives in the order in which it was said: what a run prints comes
//! before its end. The queue never makes a teller wait, because a teller may be the loop itself (a run that ends while
//! it is started), or a thread that the loop is about to wait for. What could come without end is bounded apart:
//! samples are left out when many notes wait, and who prints waits for permits, which the loop gives back.
//!
//! Waking costs a system call, so it is done only while the loop sleeps. Before it sleeps it says so, and looks once
//! more; a teller first tells, then looks whether the loop sleeps. Both swap one flag, so that one of them sees the
//! other.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, ThreadId};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::{Registry, Token, Waker};

use crate::core::{LoadSample, Outcome, RunId};
use crate::wire::{ServiceOffer, Stream};

use super::durable::StoreNote;
use super::limits::{NOTES, PRINTED_PIECES};

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
    /// Writes of jobs are durable, or failed.
    Stored(StoreNote),
    /// A run has ended. There is one for each that was started.
    Finished(RunId, Outcome),
    /// A run has printed something.
    Printed {
        /// Which run.
        run: RunId,
        /// Where.
        stream: Stream,
        /// What.
        data: String,
        /// Whether a permit was taken for it, which the loop gives back.
        permit: bool,
    },
    /// What can be run here is now this.
    Offers(Vec<ServiceOffer>),
}

/// The loop's end: takes what was told.
pub(super) struct Mailbox {
    notes: Receiver<Note>,
    permits: Receiver<()>,
    stops: Arc<AtomicU32>,
    /// The threads' end, to be handed out.
    pub(super) post: Post,
}

/// A thread's end: tells and wakes.
#[derive(Clone)]
pub(super) struct Post {
    notes: Sender<Note>,
    /// Full while as much as may be printed waits for the loop.
    permits: Sender<()>,
    bell: Arc<Bell>,
    stops: Arc<AtomicU32>,
}

/// Asks the loop to stop. The first time gently, the second time at once.
#[derive(Clone)]
pub(super) struct Stopper {
    bell: Arc<Bell>,
    stops: Arc<AtomicU32>,
}

/// Wakes the loop.
struct Bell {
    waker: Waker,
    /// The loop will look at the mailbox before it sleeps: because it does not sleep, or because it was woken.
    awake: AtomicBool,
    /// The thread of the loop, once it runs.
    of_loop: OnceLock<ThreadId>,
}

impl Mailbox {
    /// A mailbox whose waking shows up as `token`.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Mailbox> {
        let waker = Waker::new(registry, token)?;
        let bell = Arc::new(Bell { waker, awake: AtomicBool::new(false), of_loop: OnceLock::new() });
        let (sender, notes) = unbounded();
        let (permit, permits) = bounded(PRINTED_PIECES);
        let stops = Arc::new(AtomicU32::new(0));
        let post = Post { notes: sender, permits: permit, bell, stops: Arc::clone(&stops) };
        Ok(Mailbox { notes, permits, stops, post })
    }

    /// The calling thread is the loop's: it is never made to wait for itself.
    pub(super) fn belongs_here(&self) {
        // Only the first call counts, and only one thread ever runs a loop.
        let _ = self.post.bell.of_loop.set(thread::current().id());
    }

    /// The next note, if there is one.
    pub(super) fn take(&self) -> Option<Note> {
        self.notes.try_recv().ok()
    }

    /// Gives back permits of as many pieces that were printed, so that others may be.
    pub(super) fn give_back(&self, permits: usize) {
        for _ in 0..permits {
            let _ = self.permits.try_recv();
        }
    }

    /// How often the loop was asked to stop since the last call.
    pub(super) fn take_stops(&self) -> u32 {
        if self.stops.load(Ordering::Acquire) == 0 { 0 } else { self.stops.swap(0, Ordering::AcqRel) }
    }

    /// Whether notes wait.
    pub(super) fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// The loop wants to sleep. If this returns `false` it must not, because notes wait; if `true`, whoever tells
    /// something from now on wakes it.
    pub(super) fn may_sleep(&self) -> bool {
        self.post.bell.awake.swap(false, Ordering::AcqRel);
        if self.has_notes() {
            self.wakes_up();
            return false;
        }
        true
    }

    /// The loop does not sleep any more, and looks at the mailbox before it does again.
    pub(super) fn wakes_up(&self) {
        self.post.bell.awake.swap(true, Ordering::AcqRel);
    }
}

impl Post {
    /// Tells. For what is bounded by its cause and must not be lost.
    pub(super) fn send(&self, note: Note) {
        if self.notes.send(note).is_ok() {
            self.bell.ring();
        }
    }

    /// Tells, unless many notes wait. For what the next one of its kind replaces.
    pub(super) fn offer(&self, note: Note) {
        if self.notes.len() < NOTES {
            self.send(note);
        }
    }

    /// Tells what a run has printed, and waits while more than enough of that waits for the loop. Once the loop has
    /// ended nobody waits and nothing is told.
    pub(super) fn print(&self, run: RunId, stream: Stream, data: String) {
        let permit = if self.bell.of_loop.get() == Some(&thread::current().id()) {
            self.permits.try_send(()).is_ok()
        } else if self.permits.send(()).is_ok() {
            true
        } else {
            return;
        };
        self.send(Note::Printed { run, stream, data, permit });
    }

    /// A handle that can only ask to stop.
    pub(super) fn stopper(&self) -> Stopper {
        Stopper { bell: Arc::clone(&self.bell), stops: Arc::clone(&self.stops) }
    }
}

impl Stopper {
    /// Asks. Does nothing when the loop has ended.
    pub(super) fn stop(&self) {
        self.stops.fetch_add(1, Ordering::AcqRel);
        // The loop looks at notes before it sleeps, not at this: it is woken in any case.
        self.bell.wake();
    }
}

impl Bell {
    /// Wakes the loop if it sleeps.
    fn ring(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::warn!(target: super::LOG, "cannot wake the event loop: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mio::{Events, Poll};

    use super::*;
    use crate::wire::{Json, Permille};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn mailbox() -> (Poll, Mailbox) {
        let poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(3)).unwrap();
        (poll, mailbox)
    }

    fn sample(cpu: u64) -> LoadSample {
        LoadSample { cpu: Permille::new(cpu), memory: Permille::new(6) }
    }

    /// Tokens that show up within `patience`.
    fn woken(poll: &mut Poll, patience: Duration) -> Vec<Token> {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(patience)).unwrap();
        events.iter().map(|event| event.token()).collect()
    }

    #[test]
    fn a_note_from_another_thread_wakes_the_poll() {
        let (mut poll, mailbox) = mailbox();
        assert!(mailbox.may_sleep());
        let post = mailbox.post.clone();
        let thread = std::thread::spawn(move || post.send(Note::Sample(sample(5))));
        assert_eq!(woken(&mut poll, PATIENCE), [Token(3)]);
        thread.join().unwrap();
        assert!(matches!(mailbox.take(), Some(Note::Sample(got)) if got == sample(5)));
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn who_is_awake_is_not_woken_and_does_not_fall_asleep_over_notes() {
        let (mut poll, mailbox) = mailbox();
        mailbox.wakes_up();
        mailbox.post.send(Note::Sample(sample(1)));
        assert_eq!(woken(&mut poll, Duration::ZERO), []);
        assert!(!mailbox.may_sleep());
        assert!(mailbox.take().is_some() && mailbox.may_sleep());
        for _ in 0..3 {
            mailbox.post.send(Note::Sample(sample(1)));
        }
        assert_eq!(woken(&mut poll, PATIENCE), [Token(3)]);
    }

    #[test]
    fn no_note_is_slept_over_however_tellers_and_the_loop_meet() {
        const NOTES: u64 = 50_000;
        let (mut poll, mailbox) = mailbox();
        let tellers: Vec<_> = (0..2)
            .map(|_| {
                let post = mailbox.post.clone();
                std::thread::spawn(move || (0..NOTES).for_each(|_| post.send(Note::Sample(sample(1)))))
            })
            .collect();
        let mut events = Events::with_capacity(4);
        let (mut count, give_up) = (0, Instant::now() + PATIENCE);
        while count < 2 * NOTES {
            if mailbox.may_sleep() {
                // Whoever sleeps over a note sleeps for long.
                let begun = Instant::now();
                poll.poll(&mut events, Some(PATIENCE)).unwrap();
                assert!(begun.elapsed() < PATIENCE, "slept over a note");
                mailbox.wakes_up();
            }
            while mailbox.take().is_some() {
                count += 1;
            }
            assert!(Instant::now() < give_up, "only {count} came");
        }
        tellers.into_iter().for_each(|teller| teller.join().unwrap());
    }

    #[test]
    fn many_notes_leave_samples_out_and_keep_what_must_not_be_lost() {
        let (_poll, mailbox) = mailbox();
        for _ in 0..NOTES + 10 {
            mailbox.post.offer(Note::Sample(sample(1)));
        }
        for run in 0..1000 {
            mailbox.post.send(Note::Finished(RunId(run), Outcome::Ok(Json::null())));
        }
        assert_eq!(std::iter::from_fn(|| mailbox.take()).count(), NOTES + 1000);
    }

    #[test]
    fn who_prints_waits_for_the_loop_and_is_set_free_by_its_end() {
        let (_poll, mailbox) = mailbox();
        mailbox.belongs_here();
        let post = mailbox.post.clone();
        let (said, done) = bounded(0);
        let printer = std::thread::spawn(move || {
            for piece in 0..3 * PRINTED_PIECES {
                post.print(RunId(1), Stream::Out, piece.to_string());
            }
            post.send(Note::Finished(RunId(1), Outcome::Ok(Json::null())));
            said.send(()).unwrap();
            // Nobody takes these.
            for _ in 0..2 * PRINTED_PIECES {
                post.print(RunId(2), Stream::Out, String::new());
            }
        });
        let give_up = Instant::now() + PATIENCE;
        let mut printed = 0;
        loop {
            assert!(Instant::now() < give_up, "only {printed} pieces came");
            assert!(mailbox.notes.len() <= PRINTED_PIECES + 1);
            match mailbox.take() {
                Some(Note::Printed { data, permit, .. }) => {
                    mailbox.give_back(usize::from(permit));
                    assert_eq!(data, printed.to_string());
                    printed += 1;
                }
                Some(Note::Finished(..)) => break,
                _ => {}
            }
        }
        assert_eq!(printed, 3 * PRINTED_PIECES, "the end came before what was printed");
        done.recv().unwrap();
        drop(mailbox);
        printer.join().unwrap();
    }

    #[test]
    fn the_loop_never_waits_for_itself() {
        let (_poll, mailbox) = mailbox();
        mailbox.belongs_here();
        for _ in 0..2 * PRINTED_PIECES {
            mailbox.post.print(RunId(1), Stream::Out, String::new());
        }
        let permits = |note| matches!(note, Note::Printed { permit: true, .. });
        let notes: Vec<bool> = std::iter::from_fn(|| mailbox.take()).map(permits).collect();
        assert_eq!(notes.len(), 2 * PRINTED_PIECES);
        assert_eq!(notes.iter().filter(|permit| **permit).count(), PRINTED_PIECES, "what has none gives none back");
    }

    #[test]
    fn stops_are_counted() {
        let (_poll, mailbox) = mailbox();
        let stopper = mailbox.post.stopper();
        stopper.stop();
        stopper.clone().stop();
        assert_eq!(mailbox.take_stops(), 2);
        assert_eq!(mailbox.take_stops(), 0);
    }
}
