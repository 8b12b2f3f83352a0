//! Many jobs over one connection: which are sent when, and which once more. A pure machine; who drives it has the
//! connection and the clock.
//!
//! ```text
//!   waiting ──take──> in flight ──settle──> accepted, refused
//!      ^                 │ QUEUE_FULL, STORE_FAILED; the connection was lost
//!      └─────────────────┘ after a pause
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

/// Jobs whose answers are waited for at most. Enough to keep a node busy while it syncs its disk; their answers fit
/// the buffers of any system, so that neither side waits for the other to read.
pub(super) const WINDOW: usize = 1024;

/// Where the window begins again after a pause.
const SMALL_WINDOW: usize = 16;

/// First and longest pause before jobs are sent again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What a node said to one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has it. `known`: from before, under the same key.
    Accepted {
        /// Whether the key was known.
        known: bool,
    },
    /// Not now: why.
    Later(String),
    /// Not at all: why.
    Refused(String),
}

/// The jobs of a file on their way. Each is known by its place, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pipeline {
    total: usize,
    /// The first that was never sent.
    next: usize,
    /// Those that are to be sent once more.
    again: BTreeSet<usize>,
    in_flight: BTreeSet<usize>,
    /// Those that were sent on a connection that was lost: the node may know them from there.
    unsure: BTreeSet<usize>,
    window: usize,
    /// Whether nothing is sent until a pause has passed, and how long the next one is.
    paused: bool,
    pause: Duration,
    last_trouble: String,
    /// Jobs that were accepted.
    pub(super) accepted: usize,
    /// Those among them whose key the node had from somebody else.
    pub(super) known: usize,
    /// Those that were refused, and why.
    pub(super) refused: Vec<(usize, String)>,
}

impl Pipeline {
    /// `total` jobs, none of them sent.
    pub(super) fn new(total: usize) -> Pipeline {
        Pipeline {
            total,
            next: 0,
            again: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            unsure: BTreeSet::new(),
            window: WINDOW,
            paused: false,
            pause: PAUSES.0,
            last_trouble: String::new(),
            accepted: 0,
            known: 0,
            refused: Vec::new(),
        }
    }

    /// Whether every job has its fate.
    pub(super) fn is_done(&self) -> bool {
        self.accepted + self.refused.len() == self.total
    }

    /// Whether answers are waited for.
    pub(super) fn is_waiting(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// The jobs to send now; they are in flight from here on. Those that were sent before come first.
    pub(super) fn take(&mut self) -> Vec<usize> {
        if self.paused {
            return Vec::new();
        }
        let room = self.window.saturating_sub(self.in_flight.len());
        let mut taken = Vec::with_capacity(room.min(self.total - self.next + self.again.len()));
        while taken.len() < room
            && let Some(job) = self.again.pop_first()
        {
            taken.push(job);
        }
        while taken.len() < room && self.next < self.total {
            taken.push(self.next);
            self.next += 1;
        }
        self.in_flight.extend(&taken);
        taken
    }

    /// What the node said to a job. An answer to one that is not in flight, such as a second one, changes nothing.
    pub(super) fn settle(&mut self, job: usize, fate: Fate) {
        if !self.in_flight.remove(&job) {
            return;
        }
        match fate {
            Fate::Accepted { known } => {
                self.accepted += 1;
                self.known += usize::from(known && !self.unsure.remove(&job));
                self.window = (self.window + 1).min(WINDOW);
                self.pause = PAUSES.0;
            }
            Fate::Later(why) => {
                self.again.insert(job);
                self.trouble(why);
            }
            Fate::Refused(why) => self.refused.push((job, why)),
        }
    }

    /// The connection is gone, or could not be made: what was in flight may or may not have arrived.
    pub(super) fn lost(&mut self, why: String) {
        let sent = std::mem::take(&mut self.in_flight);
        self.unsure.extend(&sent);
        self.again.extend(sent);
        self.trouble(why);
    }

    fn trouble(&mut self, why: String) {
        (self.paused, self.last_trouble) = (true, why);
        self.window = SMALL_WINDOW;
    }

    /// The pause that must pass now, after which sending goes on; `None` where there is no need for one. The next one
    /// is twice as long, unless a job is accepted in between.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        if !self.paused || self.is_waiting() {
            return None;
        }
        self.paused = false;
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSES.1);
        Some(pause)
    }

    /// Gives up: what has no fate is refused.
    pub(super) fn give_up(&mut self) {
        let left = std::mem::take(&mut self.in_flight).into_iter().chain(std::mem::take(&mut self.again));
        let left: BTreeSet<usize> = left.chain(self.next..self.total).collect();
        self.next = self.total;
        self.refused.extend(left.into_iter().map(|job| (job, format!("given up: {}", self.last_trouble))));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn at_most_a_window_is_in_flight_and_it_is_filled_up() {
        let mut jobs = Pipeline::new(3000);
        assert_eq!(jobs.take(), (0..WINDOW).collect::<Vec<_>>());
        assert!(jobs.take().is_empty() && jobs.pause().is_none());
        jobs.settle(5, Fate::Accepted { known: false });
        jobs.settle(5, Fate::Accepted { known: false });
        assert_eq!((jobs.take(), jobs.accepted), (vec![WINDOW], 1));
    }

    #[test]
    fn a_full_queue_stops_the_sending_until_a_pause_that_grows() {
        let mut jobs = Pipeline::new(3);
        jobs.take();
        jobs.settle(0, Fate::Later("full".to_owned()));
        assert!(jobs.take().is_empty() && jobs.pause().is_none(), "the other answers come first");
        jobs.settle(1, Fate::Accepted { known: false });
        jobs.settle(2, Fate::Later("full".to_owned()));
        assert_eq!(jobs.pause(), Some(PAUSES.0));
        assert_eq!(jobs.take(), [0, 2]);
        jobs.lost("gone".to_owned());
        assert_eq!(jobs.pause(), Some(PAUSES.0 * 2));
        for _ in 0..20 {
            jobs.take();
            jobs.lost("gone".to_owned());
            assert!(jobs.pause().unwrap() <= PAUSES.1);
        }
    }

    #[test]
    fn a_key_that_is_known_from_our_own_lost_try_is_not_told_as_somebody_elses() {
        let mut jobs = Pipeline::new(2);
        jobs.take();
        jobs.settle(1, Fate::Accepted { known: true });
        jobs.lost("gone".to_owned());
        jobs.pause();
        assert_eq!(jobs.take(), [0]);
        jobs.settle(0, Fate::Accepted { known: true });
        assert_eq!((jobs.accepted, jobs.known, jobs.is_done()), (2, 1, true));
    }

    #[test]
    fn giving_up_names_every_job_that_is_left() {
        let mut jobs = Pipeline::new(2000);
        jobs.take();
        jobs.settle(0, Fate::Accepted { known: false });
        jobs.settle(1, Fate::Refused("no".to_owned()));
        jobs.lost("nobody listens".to_owned());
        jobs.give_up();
        assert!(jobs.is_done() && !jobs.is_waiting());
        assert_eq!(jobs.refused.len(), 1999);
        assert_eq!(jobs.refused.last().unwrap(), &(1999, "given up: nobody listens".to_owned()));
    }

    proptest! {
        /// Whatever the node says and however often the connection is lost, each job gets one fate, and the node gets
        /// each that it has not refused.
        #[test]
        fn every_job_gets_one_fate(total in 0_usize..200, says in prop::collection::vec(0_u8..8, 0..2000)) {
            let mut jobs = Pipeline::new(total);
            let mut says = says.into_iter();
            let mut at_node = BTreeSet::new();
            let mut refused = BTreeSet::new();
            let mut rounds = 0;
            while !jobs.is_done() {
                rounds += 1;
                prop_assert!(rounds < 5000, "it goes nowhere");
                let sent = jobs.take();
                prop_assert!(jobs.in_flight.len() <= WINDOW);
                prop_assert!(!sent.is_empty() || jobs.is_waiting() || jobs.paused);
                for job in sent {
                    // Where the script is over the node is well.
                    match says.next().unwrap_or(7) {
                        0 => jobs.settle(job, Fate::Later("full".to_owned())),
                        1 => { jobs.lost("gone".to_owned()); }
                        2 => { at_node.insert(job); jobs.lost("gone".to_owned()); }
                        3 => { jobs.settle(job, Fate::Refused("no".to_owned())); refused.insert(job); }
                        _ => { let known = !at_node.insert(job); jobs.settle(job, Fate::Accepted { known }); }
                    }
                }
                if !jobs.is_waiting() { jobs.pause(); }
            }
            let told: Vec<usize> = jobs.refused.iter().map(|(job, _)| *job).collect();
            let distinct: BTreeSet<usize> = told.iter().copied().collect();
            prop_assert_eq!(told.len(), distinct.len());
            prop_assert_eq!(jobs.known, 0, "nobody else submitted them");
            for job in 0..total {
                prop_assert!(at_node.contains(&job) || distinct.contains(&job));
            }
        }
    }
}
