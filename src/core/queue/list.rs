//! The listing of jobs, a page at a time.

use super::super::JobNumber;
use super::Queue;
use super::job::Job;
use crate::time::Time;
use crate::wire::{JOBS_PAGE, JobStatus, JobView, JobsQuery};

/// Jobs that a listing looks at once it has found one: some tenths of a millisecond.
const LOOK_AT: usize = 10_000;

/// Jobs that it looks at until it has found the first one, so that the asker always gets on.
const LOOK_AT_MOST: usize = 1_000_000;

impl Queue {
    /// A page of jobs in the order of their acceptance, and whether there may be more behind its last one. An `AFTER`
    /// that is not kept any more begins where it was; one of another master finds nothing.
    ///
    /// Jobs whose end the disk has not confirmed are listed as RUNNING still; where one status is asked for, not at all.
    pub(in crate::core) fn list(&self, query: &JobsQuery, now: Time) -> (Vec<JobView>, bool) {
        let after = match &query.after {
            None => None,
            Some(id) => match self.ids.place(id) {
                None => return (Vec::new(), false),
                place => place,
            },
        };
        let service = query.service.as_ref();
        if service.is_some_and(|name| !self.names.has_service(name)) {
            return (Vec::new(), false);
        }
        let mut page = Vec::new();
        for (looked, (number, job)) in self.table.after(after, query.status).enumerate() {
            if page.len() == JOBS_PAGE || looked >= LOOK_AT_MOST || looked >= LOOK_AT && !page.is_empty() {
                return (page, true);
            }
            let fits = service.is_none_or(|name| name == self.names.service(job.pair))
                && query.status.is_none_or(|status| shown(job) == Some(status));
            if fits && let Some(view) = self.listed(number, job, now) {
                page.push(view);
            }
        }
        (page, false)
    }

    fn listed(&self, number: JobNumber, job: &Job, now: Time) -> Option<JobView> {
        let names = (self.names.service(job.pair), self.names.method(job.pair));
        let mut view = job.view(self.id(number), now, Some(names))?;
        self.explain_hold(number, &mut view, now);
        if shown(job) == Some(view.status) {
            return Some(view);
        }
        let slow = self.disk_trouble(now).map(|trouble| format!("; {trouble}")).unwrap_or_default();
        let reason = Some(format!("its end is being written to the disk{slow}"));
        Some(JobView { status: JobStatus::Running, result: None, worker: None, reason, ..view })
    }
}

/// The status with which a job is listed.
fn shown(job: &Job) -> Option<JobStatus> {
    let status = job.status()?;
    Some(if status.is_ended() && !job.is_settled() { JobStatus::Running } else { status })
}
