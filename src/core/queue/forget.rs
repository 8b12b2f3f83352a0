//! Which ended jobs are forgotten: those that are too old or too many, and where nothing is kept those whose end was told.

use std::time::Duration;

use super::super::{JobNumber, LogLevel};
use super::Effect;
use super::machine::{Queue, TICK_BATCH};
use super::retention::Why;
use crate::time::Time;
use crate::wire::JobStatus;

/// How long nothing is forgotten when the disk has not confirmed the end of the oldest job.
const REST: Duration = Duration::from_secs(1);

impl Queue {
    /// Somebody who waited for the end of this job was told it. Where no results are kept, nobody else is promised it: it is
    /// forgotten now. One with a key stays for a moment, since a repeated SUBMIT would run it again; so does what stands
    /// on a disk, which is cleared in larger numbers.
    pub(in crate::core) fn told(&mut self, number: JobNumber) {
        if self.config.keep_results > 0 || self.is_durable() {
            return;
        }
        let delivered = |status| matches!(status, JobStatus::Ok | JobStatus::Nok | JobStatus::Cancelled);
        let job = self.table.get(number).filter(|job| job.key.is_none());
        if job.and_then(|job| job.status()).is_some_and(delivered) {
            self.withdraw(number);
            if let Some(job) = self.drop_job(number) {
                self.names.give_back(job.pair);
            }
        }
    }

    /// Forgets ended jobs that are too old or too many.
    pub(super) fn forget_old(&mut self, now: Time) {
        for _ in 0..TICK_BATCH {
            let Some((number, why)) = self.retention.due(&self.config, self.kept_bytes(), now) else { return };
            if self.disk.illness().is_some() || !self.is_settled(number) {
                // Its end must be told before it is forgotten.
                return self.retention.rest(now + REST);
            }
            self.withdraw(number);
            let Some(job) = self.drop_job(number) else { return };
            if job.status() == Some(JobStatus::Buried) {
                let reason = match why {
                    Why::Age => "it is too old",
                    Why::Count => "more jobs are buried than max-jobs and keep-results allow",
                    Why::Bytes => "buried jobs hold more than half of max-bytes",
                };
                let (id, task) = (self.id(number), self.names.task(job.pair));
                let text = format!("buried job {id} ({task}) is forgotten: {reason}");
                self.effects.push_back(Effect::Log { level: LogLevel::Warn, text });
            }
            self.names.give_back(job.pair);
            if self.is_durable() {
                self.send_remove(number, now);
            }
        }
    }
}
