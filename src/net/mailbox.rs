//! What other threads tell the loop, and how they wake it.
//!
//! There is one queue, so that what one thread says arrives in the order in which it was said: what a run prints comes
//! before its end. The queue never makes a teller wait, because a teller may be the loop itself (a run that ends while
//! it is started), or a thread that the loop is about to wait for. Each kind of note is bounded by its cause, and
//! samples are left out when many notes wait.
//!
//! Waking costs a system call, so it is done only while the loop sleeps. Before it sleeps it says so, and looks once
//! more; a teller first tells, then looks whether the loop sleeps. Both swap one flag, so that one of them sees the
//! other.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::{Registry, Token, Waker};

use crate::core::{LoadSample, Outcome, RunId};
use crate::wire::{ServiceOffer, Stream};

use super::durable::{GroupNote, StoreNote};
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
    /// Writes of jobs are durable, or failed.
    Stored(StoreNote),
    /// Writes of the group are durable, or the disk refuses them.
    Group(GroupNote),
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
    },
    /// What can be run here is now this.
    Offers(Vec<ServiceOffer>),
    /// A report to the supervisor was handed over, or why not.
    Reported(Result<(), String>),
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
}

impl Mailbox {
    /// A mailbox whose waking shows up as `token`.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Mailbox> {
        let waker = Waker::new(registry, token)?;
        let bell = Arc::new(Bell { waker, awake: AtomicBool::new(false) });
        let (sender, notes) = unbounded();
        let stops = Arc::new(AtomicU32::new(0));
        let post = Post { notes: sender, bell, stops: Arc::clone(&stops) };
        Ok(Mailbox { notes, stops, post })
    }

    /// The next note, if there is one.
    pub(super) fn take(&self) -> Option<Note> {
        self.notes.try_recv().ok()
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
    fn stops_are_counted() {
        let (_poll, mailbox) = mailbox();
        let stopper = mailbox.post.stopper();
        stopper.stop();
        stopper.clone().stop();
        assert_eq!(mailbox.take_stops(), 2);
        assert_eq!(mailbox.take_stops(), 0);
    }
}
