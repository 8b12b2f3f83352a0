//! One run while it lasts: whether it shall stop, what it prints, when its time is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::core::{Outcome, Run};
use crate::wire::{MAX_OUTPUT_BYTES, Stream};

use super::output::pieces;
use super::{Failure, Report, spoken};

/// Most bytes of one run that are shown while it runs. Work that prints for ever must not fill the node's memory.
const MAX_SHOWN: usize = 4 << 20;

/// What an executor did so far.
#[derive(Debug)]
pub(super) struct Counts {
    /// When it was started.
    pub(super) since: Instant,
    /// Runs that it was given.
    pub(super) begun: AtomicU64,
    /// Those that ended with a result.
    pub(super) ok: AtomicU64,
    /// Those that ended without.
    pub(super) failed: AtomicU64,
}

impl Counts {
    /// Nothing yet.
    pub(super) fn new() -> Counts {
        let zero = || AtomicU64::new(0);
        Counts { since: Instant::now(), begun: zero(), ok: zero(), failed: zero() }
    }

    /// A run has ended.
    pub(super) fn count(&self, outcome: &Outcome) {
        let ended = if matches!(outcome, Outcome::Ok(_)) { &self.ok } else { &self.failed };
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why a run shall stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its time is over.
    TimedOut,
    /// Somebody said so.
    Stopped,
}

/// Where a run is with the pool of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In its queue, done, or at a program.
    Elsewhere,
    /// A thread works on it.
    OnThread,
    /// A thread still works on it, but nobody waits for that thread any more.
    Abandoned,
}

/// One run.
pub(super) struct Running {
    /// What is to be done.
    pub(super) run: Run,
    /// When its time is over.
    pub(super) deadline: Instant,
    /// How much time that was.
    pub(super) timeout: Duration,
    pub(super) counts: Arc<Counts>,
    report: Arc<dyn Report>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    stop: Option<Why>,
    /// When it is ended by force.
    kill_at: Option<Instant>,
    place: Place,
    /// Somebody is told when it shall stop, and reports its end.
    kept: bool,
    ended: bool,
    shown: usize,
    /// Called once when the run shall stop.
    on_stop: Option<Box<dyn FnOnce() + Send>>,
}

impl Running {
    /// A run whose time begins now. `most` is the longest time that its service allows.
    pub(super) fn new(run: Run, most: Option<Duration>, counts: Arc<Counts>, report: Arc<dyn Report>) -> Running {
        let timeout = most.map_or(run.timeout, |most| most.min(run.timeout));
        let state = State {
            stop: None,
            kill_at: None,
            place: Place::Elsewhere,
            kept: false,
            ended: false,
            shown: 0,
            on_stop: None,
        };
        let deadline = Instant::now() + timeout;
        Running { run, deadline, timeout, counts, report, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Tells it to stop; by force at `kill_at`. The first reason counts, the earlier force does.
    pub(super) fn stop(&self, why: Why, kill_at: Instant) {
        let mut state = self.state();
        state.stop.get_or_insert(why);
        state.kill_at = Some(state.kill_at.map_or(kill_at, |at| at.min(kill_at)));
        let on_stop = state.on_stop.take();
        drop(state);
        self.changed.notify_all();
        if let Some(on_stop) = on_stop {
            on_stop();
        }
    }

    /// Calls `tell` when it shall stop, at once if it shall already.
    pub(super) fn on_stop(&self, tell: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        state.kept = true;
        match state.stop {
            Some(_) => {
                drop(state);
                tell();
            }
            None => state.on_stop = Some(Box::new(tell)),
        }
    }

    /// When it is ended by force, if it shall stop.
    pub(super) fn kill_at(&self) -> Option<Instant> {
        self.state().kill_at
    }

    /// Why it shall stop.
    pub(super) fn why(&self) -> Option<Why> {
        let told = self.state().stop;
        told.or_else(|| (Instant::now() >= self.deadline).then_some(Why::TimedOut))
    }

    /// Whether it shall stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.why().is_some()
    }

    /// Waits for `time`, shorter if it shall stop. Whether it was all of `time`.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or(self.deadline).min(self.deadline);
        let waits = until.saturating_duration_since(now);
        let state = self.state();
        let state = self.changed.wait_timeout_while(state, waits, |state| state.stop.is_none());
        let is_told = state.expect("no holder of this lock panics").0.stop.is_some();
        !is_told && time <= waits
    }

    /// Shows what it prints to whoever asked for that.
    pub(super) fn print(&self, stream: Stream, text: &str) {
        if !self.run.output || text.is_empty() {
            return;
        }
        // Reported under the lock: nothing is printed after the end.
        let mut state = self.state();
        if state.ended || state.shown >= MAX_SHOWN {
            return;
        }
        for piece in pieces(text, MAX_OUTPUT_BYTES) {
            self.report.printed(self.run.run, stream, piece.to_owned());
        }
        state.shown += text.len();
        if state.shown >= MAX_SHOWN {
            let note = format!("\n[more than {} MiB were printed; the rest is not shown]\n", MAX_SHOWN >> 20);
            self.report.printed(self.run.run, Stream::Err, note);
        }
    }

    /// From now on nothing is printed.
    pub(super) fn end(&self) {
        self.state().ended = true;
    }

    /// A thread takes it. False if it has ended or shall stop already.
    pub(super) fn take(&self) -> bool {
        let mut state = self.state();
        let takes = !state.ended && state.stop.is_none();
        if takes {
            state.place = Place::OnThread;
        }
        takes
    }

    /// The thread that took it is done with it. Whether somebody still waited for the thread.
    pub(super) fn leave(&self) -> bool {
        let before = std::mem::replace(&mut self.state().place, Place::Elsewhere);
        before == Place::OnThread
    }

    /// Gives up the thread that works on it. Whether there is one.
    pub(super) fn abandon(&self) -> bool {
        let mut state = self.state();
        let is_on_thread = state.place == Place::OnThread;
        if is_on_thread {
            state.place = Place::Abandoned;
        }
        is_on_thread
    }

    /// Whether somebody works on it who sees that it shall stop, and reports its end.
    pub(super) fn is_kept(&self) -> bool {
        let state = self.state();
        state.kept || state.place != Place::Elsewhere
    }

    /// The outcome of a run that was stopped for this reason.
    pub(super) fn stopped(&self, why: Why) -> Outcome {
        Failure::broken(match why {
            Why::TimedOut => format!("no result within {}; stopped", spoken(self.timeout)),
            Why::Stopped => "stopped before it had a result".to_owned(),
        })
        .into()
    }

    /// What this outcome means: that of work which failed because it was stopped is that it was stopped.
    pub(super) fn judged(&self, outcome: Outcome) -> Outcome {
        match (&outcome, self.why()) {
            (Outcome::Failed { retry: true, .. }, Some(why)) => self.stopped(why),
            _ => outcome,
        }
    }
}
