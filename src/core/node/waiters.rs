//! Who waits for which job.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::links::Reply;
use crate::core::{JobNumber, LinkId};
use crate::time::Time;
use crate::wire::JobTask;

/// Somebody who is answered when a job has come far enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waiter {
    /// To whom.
    pub(super) reply: Reply,
    /// What is answered.
    pub(super) task: JobTask,
    /// SUBMIT of a key that was known.
    pub(super) duplicate: bool,
    /// What it waits for.
    pub(super) until: Until,
    /// It wants to see what the work prints.
    pub(super) output: bool,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Until {
    /// That what was done to the job is durable, at most until then.
    Settled(Time),
    /// That the job has ended, at most until then.
    Ended(Time),
}

/// Those who wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Waiters {
    by_job: BTreeMap<JobNumber, Vec<Waiter>>,
    /// When whose wait is over; a job stands here once for each of its waits.
    agenda: BTreeSet<(Time, JobNumber)>,
    /// How many waits for which job stand on which link: a link that goes finds its own without a look at all others.
    by_link: BTreeMap<LinkId, BTreeMap<JobNumber, u32>>,
    count: usize,
}

/// Those who wait for an end at most. Each holds an answer back on a link.
pub(super) const MAX_WAITERS: usize = 100_000;

impl Waiters {
    pub(super) fn add(&mut self, number: JobNumber, waiter: Waiter) {
        self.agenda.insert((waiter.until.end(), number));
        self.count += 1;
        *self.by_link.entry(waiter.reply.link).or_default().entry(number).or_default() += 1;
        self.by_job.entry(number).or_default().push(waiter);
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= MAX_WAITERS
    }

    /// All who wait for this job.
    pub(super) fn of(&self, number: JobNumber) -> impl Iterator<Item = &Waiter> {
        self.by_job.get(&number).into_iter().flatten()
    }

    /// The jobs that somebody waits for.
    pub(super) fn jobs(&self) -> Vec<JobNumber> {
        self.by_job.keys().copied().collect()
    }

    /// Takes those out who have waited for what is the case now.
    pub(super) fn take(&mut self, number: JobNumber, ready: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let Some(waiters) = self.by_job.get_mut(&number) else { return Vec::new() };
        let taken: Vec<Waiter> = waiters.extract_if(.., |waiter| ready(waiter)).collect();
        if waiters.is_empty() {
            self.by_job.remove(&number);
        }
        self.count -= taken.len();
        for waiter in &taken {
            self.unlist(waiter.reply.link, number);
        }
        let mut over: BTreeSet<Time> = taken.iter().map(|waiter| waiter.until.end()).collect();
        for waiter in self.of(number) {
            over.remove(&waiter.until.end());
        }
        for end in over {
            self.agenda.remove(&(end, number));
        }
        taken
    }

    /// A job of which somebody's wait is over.
    pub(super) fn due(&self, now: Time) -> Option<JobNumber> {
        self.agenda.first().filter(|(at, _)| *at <= now).map(|(_, number)| *number)
    }

    /// When the next wait is over.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// A link is gone: who waits on it waits no more.
    pub(super) fn link_gone(&mut self, link: LinkId) {
        let jobs = self.by_link.get(&link).map(|jobs| jobs.keys().copied().collect::<Vec<_>>());
        for number in jobs.unwrap_or_default() {
            self.take(number, |waiter| waiter.reply.link == link);
        }
    }

    /// One wait less of this link for this job.
    fn unlist(&mut self, link: LinkId, number: JobNumber) {
        let Some(jobs) = self.by_link.get_mut(&link) else { return };
        if let Some(count) = jobs.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                jobs.remove(&number);
            }
        }
        if jobs.is_empty() {
            self.by_link.remove(&link);
        }
    }

    pub(super) fn check_invariants(&self) {
        if self.count <= 1000 {
            assert_eq!(self.count, self.by_job.values().map(Vec::len).sum::<usize>());
            let listed = self.by_link.values().flat_map(BTreeMap::values).map(|count| *count as usize);
            assert_eq!(self.count, listed.sum::<usize>(), "each wait is listed at its link");
            for (at, number) in &self.agenda {
                assert!(self.of(*number).any(|waiter| waiter.until.end() == *at), "a wait that is due is somebody's");
            }
        }
    }
}

impl Until {
    fn end(self) -> Time {
        let (Until::Settled(at) | Until::Ended(at)) = self;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(link: u64, until: Until) -> Waiter {
        let reply = Reply { link: LinkId(link), id: None, turn: 0 };
        Waiter { reply, task: JobTask::Result, duplicate: false, until, output: false }
    }

    #[test]
    fn waits_end_by_the_job_by_the_time_and_by_the_link() {
        let (mut waiters, job, end) = (Waiters::default(), JobNumber(1), Time::from_micros(5));
        waiters.add(job, waiter(2, Until::Ended(end)));
        waiters.add(job, waiter(4, Until::Ended(end)));
        waiters.add(job, waiter(6, Until::Settled(Time::from_micros(3))));
        assert_eq!((waiters.due(Time::from_micros(2)), waiters.due(Time::from_micros(3))), (None, Some(job)));
        assert_eq!(waiters.take(job, |waiter| matches!(waiter.until, Until::Settled(_))).len(), 1);
        waiters.link_gone(LinkId(2));
        waiters.check_invariants();
        assert_eq!(
            (waiters.deadline(), waiters.due(Time::from_micros(4)), waiters.due(end)),
            (Some(end), None, Some(job))
        );
        assert_eq!(waiters.take(job, |_| true).len(), 1);
        assert_eq!((waiters.deadline(), waiters.count), (None, 0));
    }

    #[test]
    fn a_hundred_thousand_who_wait_are_all_answered_or_leave_and_nothing_of_them_stays() {
        let (mut waiters, end) = (Waiters::default(), Time::from_micros(5));
        for link in 0..MAX_WAITERS as u64 {
            waiters.add(JobNumber(1), waiter(link, Until::Ended(end)));
        }
        assert!(waiters.is_full());
        assert_eq!(waiters.take(JobNumber(1), |_| true).len(), MAX_WAITERS);
        for link in 0..MAX_WAITERS as u64 {
            waiters.add(JobNumber(link), waiter(link, Until::Ended(end)));
        }
        (0..MAX_WAITERS as u64).for_each(|link| waiters.link_gone(LinkId(link)));
        assert_eq!(waiters, Waiters::default());
    }
}
