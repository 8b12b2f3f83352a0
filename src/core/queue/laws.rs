//! What always holds in a queue, looked at after each change in debug builds.

use super::job::{Job, State};
use super::machine::Queue;
use crate::core::JobNumber;
use crate::wire::JobStatus;

impl Queue {
    /// What always holds. Above a thousand jobs only a part of them is looked at.
    pub(in crate::core) fn check_invariants(&self) {
        const WHOLE: u64 = 1000;
        let counts = self.counts();
        assert_eq!(self.lanes.len(), counts.queued, "what is QUEUED waits in a lane");
        assert_eq!(self.agenda.len() as u64, counts.delayed + counts.running, "each has its time");
        assert_eq!(self.retention.len(), self.table.len() - self.table.open(), "what has ended is kept");
        let jobs: Box<dyn Iterator<Item = (JobNumber, &Job)>> = if self.table.len() <= WHOLE {
            self.table.check_invariants();
            self.lanes.check_invariants();
            self.disk.check_invariants();
            self.check_holds();
            assert_eq!(self.lanes.opened(), self.table.open(), "lanes count what is open");
            self.names.check_invariants();
            assert_eq!(self.names.uses(), self.table.len(), "each job bears its names");
            Box::new(self.table.some(2 * WHOLE as usize))
        } else {
            Box::new(self.table.some(256))
        };
        for (number, job) in jobs {
            self.check_job(number, job);
        }
    }

    fn check_job(&self, number: JobNumber, job: &Job) {
        match &job.state {
            State::Accepting => assert!(job.writes == 1 && !job.owed && job.attempt == 0, "{number:?}"),
            State::Delayed => assert!(self.agenda.contains(&(job.since, number)), "{number:?}"),
            State::Queued => {
                assert!(self.lanes.contains(job.pair, job.priority, job.since, number), "{number:?}");
            }
            State::Running(run) => {
                assert!(self.agenda.contains(&(run.due, number)), "{number:?}");
                assert!(job.attempt >= 1 && job.attempt <= job.limit(), "{number:?}");
            }
            State::Ended(end) => {
                let buried = end.status == JobStatus::Buried;
                assert!(end.status.is_ended() && self.retention.contains(buried, job.since, number), "{number:?}");
            }
        }
        assert_eq!(job.owed, self.disk.owes_state(number), "{number:?}");
        assert!(job.writes as usize <= self.disk.in_flight(), "{number:?}");
        assert!(job.key.as_ref().is_none_or(|key| self.keys.contains_key(key)), "{number:?}");
        assert!(!job.untold || !job.is_settled(), "what has ended and is settled is told: {number:?}");
        assert!(number < self.next, "{number:?}");
    }
}
