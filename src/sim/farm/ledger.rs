//! Who was given which attempt, and who started it: what may happen twice, and why.

use std::collections::BTreeMap;

use crate::sim::network::Host;
use crate::time::Time;
use crate::wire::Attempt;

/// A start of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    worker: Host,
    /// How often the worker had been started.
    life: u64,
    /// How often the master of the job had been started.
    master: u64,
    /// The worker was told to stop it, and has forgotten it.
    dropped: bool,
}

/// What is known of an attempt.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// In which life the master sent it last, and to whom.
    order: Option<(u64, Host)>,
    /// In which life the master sent it first.
    first: Option<u64>,
    starts: Vec<Start>,
}

/// All attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    entries: BTreeMap<Attempt, Entry>,
    /// Those that are held after a restart: for whom, and until when.
    held: BTreeMap<Attempt, (Host, Time)>,
    count: u64,
}

impl Attempts {
    /// Law: in one life of a master an attempt is one worker's.
    pub(super) fn ordered(&mut self, attempt: Attempt, worker: Host, life: u64) -> Result<(), String> {
        let entry = self.entries.entry(attempt.clone()).or_default();
        if let Some((before, other)) = entry.order
            && before == life
            && other != worker
        {
            return Err(format!("{attempt:?} was given to worker {other}, and now to {worker} by the same master"));
        }
        entry.order = Some((life, worker));
        entry.first.get_or_insert(life);
        Ok(())
    }

    /// Law: an attempt is started once, unless its master was started again since it was first given out (it may have
    /// forgotten that it was begun), or its worker since it started it (it had lost it). `most`: the highest number
    /// that an attempt at this job may have.
    pub(super) fn started(
        &mut self,
        attempt: &Attempt,
        most: u32,
        worker: Host,
        life: u64,
        master: u64,
    ) -> Result<(), String> {
        if attempt.attempt > most {
            return Err(format!("{attempt:?} is started, and {most} are allowed"));
        }
        let Some(entry) = self.entries.get_mut(attempt) else {
            return Err(format!("{attempt:?} is started on worker {worker}, and nobody has sent it"));
        };
        for before in &entry.starts {
            let forgotten = if before.worker == worker {
                before.life != life || before.master != master
            } else {
                entry.first != Some(master)
            };
            if !forgotten {
                return Err(format!("{attempt:?} is started on worker {worker}, and was on {} before", before.worker));
            }
        }
        entry.starts.push(Start { worker, life, master, dropped: false });
        self.count += 1;
        Ok(())
    }

    /// A master starts and finds noted that `worker` had begun this attempt: it is held until then.
    pub(super) fn held(&mut self, attempt: Attempt, worker: Host, until: Time) {
        self.held.insert(attempt, (worker, until));
    }

    /// A worker was told to stop an attempt.
    pub(super) fn dropped(&mut self, attempt: &Attempt, worker: Host) {
        let starts = self.entries.get_mut(attempt).map(|entry| entry.starts.iter_mut());
        starts.into_iter().flatten().filter(|start| start.worker == worker).for_each(|start| start.dropped = true);
    }

    /// Law: an attempt that is held is nobody else's while its worker, in its life `life`, still has it.
    pub(super) fn takes(
        &self,
        attempt: &Attempt,
        by: Host,
        now: Time,
        life: impl Fn(Host) -> u64,
    ) -> Result<(), String> {
        let (Some((worker, until)), Some(entry)) = (self.held.get(attempt), self.entries.get(attempt)) else {
            return Ok(());
        };
        let mut starts = entry.starts.iter();
        let has = starts.any(|start| start.worker == *worker && start.life == life(*worker) && !start.dropped);
        if has && by != *worker && now < *until {
            return Err(format!("{attempt:?} is started on worker {by}, and {worker} had begun it before the restart"));
        }
        Ok(())
    }

    /// How many were started.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::JobId;

    fn attempt() -> Attempt {
        Attempt { job_id: JobId::new("master-0-1-0").unwrap(), attempt: 1 }
    }

    #[test]
    fn an_attempt_is_started_once_unless_somebody_has_forgotten_it() {
        let mut all = Attempts::default();
        assert!(all.started(&attempt(), 3, 5, 1, 1).is_err(), "nobody has sent it");
        all.ordered(attempt(), 5, 1).unwrap();
        all.started(&attempt(), 3, 5, 1, 1).unwrap();
        assert!(all.started(&attempt(), 3, 5, 1, 1).is_err(), "twice by one process");
        assert!(all.ordered(attempt(), 6, 1).is_err(), "two workers in one life");
        all.started(&attempt(), 3, 5, 2, 1).unwrap();
        assert!(all.started(&attempt(), 3, 6, 1, 1).is_err(), "another worker in the same life of the master");
        all.ordered(attempt(), 6, 2).unwrap();
        all.started(&attempt(), 3, 6, 1, 2).unwrap();
        assert!(all.started(&attempt(), 0, 6, 2, 2).is_err(), "more than are allowed");
        assert_eq!(all.count(), 3);
        all.held(attempt(), 6, Time::from_micros(9));
        let takes = |by, now, life| all.takes(&attempt(), by, Time::from_micros(now), |_| life);
        assert!(takes(5, 8, 1).is_err(), "worker 6 still has it");
        assert!(takes(6, 8, 1).is_ok() && takes(5, 9, 1).is_ok() && takes(5, 8, 2).is_ok());
    }
}
