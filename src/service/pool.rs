//! The threads that Rust services run on: started when they are needed, ended when they are not.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use std::{io, thread};

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// Threads that may be busy with work that nobody waits for any more, beyond those that run at a time. More of them
/// take the place of others: whoever offers work that never ends runs out of threads, the machine does not.
const MAX_ABANDONED: usize = 64;

/// Work that may wait for a thread. The core bounds what it starts; this bounds what a fault of it could cost.
const MAX_WAITING: usize = 100_000;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How many threads work at a time.
    most: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
    abandoned: usize,
    started: u64,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// Whether there may be another thread, or as many as there are.
    fn within(&self, most: usize) -> bool {
        self.threads <= most + self.abandoned.min(MAX_ABANDONED)
    }
}

impl Pool {
    /// A pool in which at most `most` threads work at a time.
    pub(super) fn new(most: usize) -> Pool {
        Pool(Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), most }))
    }

    /// Runs `job` on a thread, at once or when its turn comes. It must not panic. An error says why it will never be run.
    pub(super) fn run(&self, job: Job) -> Result<(), String> {
        let mut state = self.0.state();
        if state.ended {
            return Err("this node stops".to_owned());
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(format!("{MAX_WAITING} others wait for a thread already"));
        }
        state.waiting.push_back(job);
        if state.idle >= state.waiting.len() {
            drop(state);
            self.0.changed.notify_one();
            return Ok(());
        }
        state.threads += 1;
        if !state.within(self.0.most) {
            state.threads -= 1;
            return Ok(());
        }
        state.started += 1;
        match self.start(state.started) {
            Ok(()) => Ok(()),
            Err(error) => {
                state.threads -= 1;
                if state.threads > 0 {
                    return Ok(());
                }
                state.waiting.pop_back();
                Err(format!("no thread can be started: {error}"))
            }
        }
    }

    /// A thread is given up: another may take its place.
    pub(super) fn abandon(&self) {
        self.0.state().abandoned += 1;
        // What waits has its turn now; there may be no later call that starts the thread.
        let _ = self.run(Box::new(|| {}));
    }

    /// A thread that was given up is back.
    pub(super) fn returned(&self) {
        self.0.state().abandoned -= 1;
    }

    /// Ends every thread that does not work, and each other one when it is done. What waits is dropped.
    pub(super) fn end(&self) {
        let mut state = self.0.state();
        state.ended = true;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
        self.0.changed.notify_all();
    }

    /// How many threads there are.
    #[cfg(test)]
    fn threads(&self) -> usize {
        self.0.state().threads
    }

    fn start(&self, number: u64) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        thread::Builder::new().name(format!("run-{number}")).spawn(move || work(&shared)).map(drop)
    }
}

impl Clone for Pool {
    fn clone(&self) -> Pool {
        Pool(Arc::clone(&self.0))
    }
}

fn work(shared: &Shared) {
    let mut state = shared.state();
    while !state.ended && state.within(shared.most) {
        if let Some(job) = state.waiting.pop_front() {
            drop(state);
            job();
            state = shared.state();
            continue;
        }
        state.idle += 1;
        let waited = shared.changed.wait_timeout_while(state, IDLE, |state| state.waiting.is_empty() && !state.ended);
        let (awake, timeout) = waited.expect("no holder of this lock panics");
        state = awake;
        state.idle -= 1;
        if timeout.timed_out() && state.waiting.is_empty() {
            break;
        }
    }
    state.threads -= 1;
    // It may have been woken for work that it leaves to others.
    if !state.waiting.is_empty() {
        shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn no_more_than_the_limit_work_at_a_time_and_all_get_their_turn() {
        let pool = Pool::new(3);
        let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (done, all) = channel();
        for _ in 0..200 {
            let (busy, most, done) = (Arc::clone(&busy), Arc::clone(&most), done.clone());
            let job = move || {
                most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                busy.fetch_sub(1, Ordering::SeqCst);
                done.send(()).unwrap();
            };
            pool.run(Box::new(job)).unwrap();
        }
        for _ in 0..200 {
            all.recv_timeout(LONG).unwrap();
        }
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert!(pool.threads() <= 3);
    }

    #[test]
    fn a_thread_that_is_given_up_is_replaced_until_it_is_back() {
        let pool = Pool::new(1);
        let (release, released) = channel::<()>();
        let (done, seen) = channel();
        let stuck_done = done.clone();
        pool.run(Box::new(move || {
            released.recv().unwrap();
            stuck_done.send("stuck").unwrap();
        }))
        .unwrap();
        let next = done.clone();
        pool.run(Box::new(move || next.send("next").unwrap())).unwrap();
        assert!(seen.recv_timeout(Duration::from_millis(50)).is_err(), "the only thread is busy");
        pool.abandon();
        assert_eq!(seen.recv_timeout(LONG).unwrap(), "next");
        release.send(()).unwrap();
        assert_eq!(seen.recv_timeout(LONG).unwrap(), "stuck");
        pool.returned();
        pool.run(Box::new(move || done.send("last").unwrap())).unwrap();
        assert_eq!(seen.recv_timeout(LONG).unwrap(), "last");
    }

    #[test]
    fn nothing_starts_after_the_end() {
        let pool = Pool::new(1);
        pool.end();
        assert_eq!(pool.run(Box::new(|| panic!("it ran"))), Err("this node stops".to_owned()));
    }
}
