//! All runs that have not ended, and the thread that watches over their deadlines.
//!
//! Being in this table is what makes a run unended: whoever takes it out reports it, so that each is reported once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use crate::core::{Outcome, RunId};

use super::running::{Counts, Running, Why};
use super::{Report, STOP_GRACE, within_limits};

/// Between the end by force and the report that it did not help. Ending a process tree takes some milliseconds.
const FORCE_TAKES: Duration = Duration::from_secs(1);

/// The table of runs.
pub(super) struct Runs {
    report: Arc<dyn Report>,
    counts: Arc<Counts>,
    state: Mutex<State>,
    changed: Condvar,
    /// A thread of the pool is given up.
    abandoned: Box<dyn Fn() + Send + Sync>,
}

struct State {
    runs: BTreeMap<RunId, Entry>,
    alarms: BTreeSet<(Instant, RunId)>,
    ended: bool,
}

struct Entry {
    running: Arc<Running>,
    alarm: Instant,
    /// It was told to stop; the next alarm gives it up.
    is_told: bool,
}

impl Runs {
    /// An empty table. `abandoned` is called when a thread is given up that works on a run and does not stop.
    pub(super) fn new(
        report: Arc<dyn Report>,
        counts: Arc<Counts>,
        abandoned: impl Fn() + Send + Sync + 'static,
    ) -> Runs {
        let state = State { runs: BTreeMap::new(), alarms: BTreeSet::new(), ended: false };
        let abandoned = Box::new(abandoned);
        Runs { report, counts, state: Mutex::new(state), changed: Condvar::new(), abandoned }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Starts the thread that watches over the deadlines, until [`Runs::end`].
    pub(super) fn watch(self: &Arc<Runs>) -> io::Result<JoinHandle<()>> {
        let runs = Arc::clone(self);
        let thread = thread::Builder::new().name("run-watch".into()).stack_size(256 * 1024);
        thread.spawn(move || runs.watch_deadlines())
    }

    /// A run begins. False if its id is in use, which is told to nobody: the other one will be.
    pub(super) fn add(&self, running: Arc<Running>) -> bool {
        let mut state = self.state();
        let (id, alarm) = (running.run.run, running.deadline);
        if state.runs.contains_key(&id) {
            return false;
        }
        state.runs.insert(id, Entry { running, alarm, is_told: false });
        let is_first = state.alarms.first().is_none_or(|first| alarm < first.0);
        state.alarms.insert((alarm, id));
        drop(state);
        if is_first {
            self.changed.notify_all();
        }
        true
    }

    /// A run has ended. Only the first outcome of a run counts.
    pub(super) fn finish(&self, run: RunId, outcome: Outcome) {
        let mut state = self.state();
        let Some(entry) = state.runs.remove(&run) else { return };
        state.alarms.remove(&(entry.alarm, run));
        drop(state);
        entry.running.end();
        self.tell(run, outcome);
    }

    /// Reports the end of a run that is in no table.
    pub(super) fn tell(&self, run: RunId, outcome: Outcome) {
        let outcome = within_limits(outcome);
        self.counts.count(&outcome);
        self.report.finished(run, outcome);
    }

    /// Somebody wants a run to stop.
    pub(super) fn stop(&self, run: RunId) {
        self.tell_to_stop(run, Why::Stopped, STOP_GRACE);
    }

    /// All shall stop, by force after `grace`.
    pub(super) fn stop_all(&self, grace: Duration) {
        let all: Vec<RunId> = self.state().runs.keys().copied().collect();
        all.into_iter().for_each(|run| self.tell_to_stop(run, Why::Stopped, grace));
    }

    /// Waits until all have ended, at most until `until`.
    pub(super) fn wait_for_none(&self, until: Instant) {
        let mut state = self.state();
        while !state.runs.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Ends are not announced, since nobody but the end of the executor waits for them.
            let step = left.min(Duration::from_millis(5));
            state = self.changed.wait_timeout(state, step).expect("no holder of this lock panics").0;
        }
    }

    /// Ends the thread, and gives up what has not ended.
    pub(super) fn end(&self) {
        let left: Vec<Arc<Running>> = {
            let mut state = self.state();
            state.ended = true;
            state.runs.values().map(|entry| Arc::clone(&entry.running)).collect()
        };
        self.changed.notify_all();
        left.iter().for_each(|running| self.give_up(running, Why::Stopped));
    }

    fn tell_to_stop(&self, run: RunId, why: Why, grace: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        let Some(entry) = state.runs.get_mut(&run) else { return };
        let running = Arc::clone(&entry.running);
        // Saying it again does not put the end off.
        let last = if mem::replace(&mut entry.is_told, true) { Some(entry.alarm) } else { None };
        let alarm = now + grace + FORCE_TAKES;
        let alarm = last.map_or(alarm, |last| last.min(alarm));
        let old = mem::replace(&mut entry.alarm, alarm);
        state.alarms.remove(&(old, run));
        state.alarms.insert((alarm, run));
        drop(state);
        // The watch may sleep longer than that.
        self.changed.notify_all();
        running.stop(why, now + grace);
        if !running.is_kept() {
            self.finish(run, running.stopped(why));
        }
    }

    /// It did not stop when it was told to.
    fn give_up(&self, running: &Arc<Running>, why: Why) {
        if running.abandon() {
            let run = &running.run;
            log::warn!("{}.{} does not stop when told to; its thread is given up", run.service, run.method);
            (self.abandoned)();
        }
        self.finish(running.run.run, running.stopped(running.why().unwrap_or(why)));
    }

    fn watch_deadlines(&self) {
        let mut state = self.state();
        while !state.ended {
            let now = Instant::now();
            let Some(&(alarm, run)) = state.alarms.first() else {
                state = self.changed.wait(state).expect("no holder of this lock panics");
                continue;
            };
            if alarm > now {
                state = self.changed.wait_timeout(state, alarm - now).expect("no holder of this lock panics").0;
                continue;
            }
            let entry = state.runs.get(&run).map(|entry| (Arc::clone(&entry.running), entry.is_told));
            drop(state);
            match entry {
                Some((running, true)) => self.give_up(&running, Why::Stopped),
                Some((_, false)) => self.tell_to_stop(run, Why::TimedOut, STOP_GRACE),
                None => {}
            }
            state = self.state();
        }
    }
}

impl Counts {
    /// Runs that have begun and not ended.
    pub(super) fn running(&self) -> u64 {
        let ended = self.ok.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed);
        self.begun.load(Ordering::Relaxed).saturating_sub(ended)
    }
}
