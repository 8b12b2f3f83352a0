//! Who waits for which job.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::links::Reply;
use crate::core::pages::Pages;
use crate::core::timeline::Timeline;
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
    /// Where those stand who wait for a job.
    by_job: Pages,
    rows: Vec<Option<Waiting>>,
    /// Rows where nobody stands.
    free: Vec<u32>,
    /// When whose wait is over; a job stands here once for each end of its waits.
    agenda: Timeline<(Time, JobNumber)>,
    /// The jobs that are waited for on each link: a link that goes finds its own without a look at all others.
    by_link: BTreeMap<LinkId, Timeline<JobNumber>>,
    count: usize,
    /// Those among them that want to see what the work prints.
    watching: usize,
}

/// Those who wait for one job: mostly who has submitted it, and nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Waiting {
    One(Waiter),
    Many(Vec<Waiter>),
}

impl Waiting {
    fn all(&self) -> &[Waiter] {
        match self {
            Waiting::One(waiter) => std::slice::from_ref(waiter),
            Waiting::Many(waiters) => waiters,
        }
    }
}

/// Those who were taken out, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Taken {
    one: Option<Waiter>,
    many: std::vec::IntoIter<Waiter>,
}

impl Iterator for Taken {
    type Item = Waiter;

    fn next(&mut self) -> Option<Waiter> {
        self.one.take().or_else(|| self.many.next())
    }
}

/// Those who wait for an end at most. Each holds an answer back on a link.
pub(super) const MAX_WAITERS: usize = 100_000;

/// Rows that are kept although nobody stands there.
const SMALL: usize = 1024;

impl Waiters {
    pub(super) fn add(&mut self, number: JobNumber, waiter: Waiter) {
        self.agenda.insert((waiter.until.end(), number));
        self.count += 1;
        self.watching += usize::from(waiter.output);
        self.by_link.entry(waiter.reply.link).or_default().insert(number);
        let Some(row) = self.row(number) else { return self.place(number, Waiting::One(waiter)) };
        match &mut self.rows[row as usize] {
            Some(Waiting::Many(waiters)) => waiters.push(waiter),
            one => {
                let Some(Waiting::One(first)) = one.take() else { return };
                *one = Some(Waiting::Many(vec![first, waiter]));
            }
        }
    }

    fn row(&self, number: JobNumber) -> Option<u32> {
        self.by_job.get(number.0)
    }

    fn place(&mut self, number: JobNumber, waiting: Waiting) {
        let row = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            u32::try_from(self.rows.len() - 1).expect("no more than may wait")
        });
        self.rows[row as usize] = Some(waiting);
        self.by_job.insert(number.0, row);
    }

    /// Nobody waits for this job any more, who stood in this row.
    fn vacate(&mut self, number: JobNumber, row: u32) -> Option<Waiting> {
        self.by_job.remove(number.0);
        let waiting = self.rows[row as usize].take();
        self.free.push(row);
        if self.by_job.len() == 0 {
            self.rows.clear();
            self.free.clear();
            if self.rows.capacity() > SMALL {
                self.rows.shrink_to(SMALL);
                self.free.shrink_to(SMALL);
            }
        }
        waiting
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= MAX_WAITERS
    }

    /// All who wait for this job.
    pub(super) fn of(&self, number: JobNumber) -> impl Iterator<Item = &Waiter> {
        let waiting = self.row(number).and_then(|row| self.rows[row as usize].as_ref());
        waiting.map_or(&[][..], Waiting::all).iter()
    }

    /// Whether somebody wants to see what this job prints.
    pub(super) fn watch(&self, number: JobNumber) -> bool {
        self.watching > 0 && self.of(number).any(|waiter| waiter.output)
    }

    /// The jobs that somebody waits for.
    pub(super) fn jobs(&self) -> Vec<JobNumber> {
        self.by_job.iter().map(|(number, _)| JobNumber(number)).collect()
    }

    /// Takes those out who have waited for what is the case now.
    pub(super) fn take(&mut self, number: JobNumber, ready: impl Fn(&Waiter) -> bool) -> Taken {
        let Some(row) = self.row(number) else { return Taken::default() };
        let Some(waiting) = &mut self.rows[row as usize] else { return Taken::default() };
        match waiting {
            Waiting::One(waiter) if !ready(waiter) => Taken::default(),
            Waiting::One(_) => {
                let Some(Waiting::One(waiter)) = self.vacate(number, row) else { return Taken::default() };
                self.count -= 1;
                self.watching -= usize::from(waiter.output);
                self.agenda.remove(&(waiter.until.end(), number));
                self.unlist(waiter.reply.link, number);
                Taken { one: Some(waiter), ..Taken::default() }
            }
            Waiting::Many(waiters) => {
                let taken: Vec<Waiter> = waiters.extract_if(.., |waiter| ready(waiter)).collect();
                let ends: BTreeSet<Time> = waiters.iter().map(|waiter| waiter.until.end()).collect();
                let links: BTreeSet<LinkId> = waiters.iter().map(|waiter| waiter.reply.link).collect();
                if waiters.is_empty() {
                    self.vacate(number, row);
                }
                self.count -= taken.len();
                for waiter in &taken {
                    self.watching -= usize::from(waiter.output);
                    if !ends.contains(&waiter.until.end()) {
                        self.agenda.remove(&(waiter.until.end(), number));
                    }
                    if !links.contains(&waiter.reply.link) {
                        self.unlist(waiter.reply.link, number);
                    }
                }
                Taken { one: None, many: taken.into_iter() }
            }
        }
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
        while let Some(number) = self.by_link.get(&link).and_then(Timeline::first).copied() {
            if self.take(number, |waiter| waiter.reply.link == link).next().is_none() {
                debug_assert!(false, "what is listed at a link waits");
                self.unlist(link, number);
            }
        }
    }

    /// Nobody waits on this link for this job any more.
    fn unlist(&mut self, link: LinkId, number: JobNumber) {
        let Some(jobs) = self.by_link.get_mut(&link) else { return };
        jobs.remove(&number);
        if jobs.is_empty() {
            self.by_link.remove(&link);
        }
    }

    pub(super) fn check_invariants(&self) {
        if self.count <= 1000 {
            assert_eq!(self.by_job.len() + self.free.len(), self.rows.len(), "each row is taken or free");
            let all = || {
                let numbers = self.by_job.iter().map(|(number, _)| JobNumber(number));
                numbers.flat_map(|number| self.of(number).map(move |one| (number, one)))
            };
            assert_eq!(self.count, all().count());
            assert_eq!(self.watching, all().filter(|(_, waiter)| waiter.output).count());
            let mut waits: Vec<_> = all().map(|(number, waiter)| (waiter.reply.link, number)).collect();
            waits.sort_unstable();
            waits.dedup();
            let listed = self.by_link.iter().flat_map(|(link, jobs)| jobs.iter().map(|number| (*link, *number)));
            let mut listed: Vec<_> = listed.collect();
            listed.sort_unstable();
            assert_eq!(waits, listed, "each wait is listed at its link");
            for (at, number) in self.agenda.iter() {
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
        assert_eq!(waiters.take(job, |waiter| matches!(waiter.until, Until::Settled(_))).count(), 1);
        waiters.link_gone(LinkId(2));
        waiters.check_invariants();
        assert_eq!(
            (waiters.deadline(), waiters.due(Time::from_micros(4)), waiters.due(end)),
            (Some(end), None, Some(job))
        );
        assert_eq!(waiters.take(job, |_| true).count(), 1);
        assert_eq!((waiters.deadline(), waiters.count), (None, 0));
    }

    #[test]
    fn a_hundred_thousand_who_wait_are_all_answered_or_leave_and_nothing_of_them_stays() {
        let (mut waiters, end) = (Waiters::default(), Time::from_micros(5));
        for link in 0..MAX_WAITERS as u64 {
            waiters.add(JobNumber(1), waiter(link, Until::Ended(end)));
        }
        assert!(waiters.is_full());
        assert_eq!(waiters.take(JobNumber(1), |_| true).count(), MAX_WAITERS);
        for link in 0..MAX_WAITERS as u64 {
            waiters.add(JobNumber(link), waiter(link, Until::Ended(end)));
        }
        (0..MAX_WAITERS as u64).for_each(|link| waiters.link_gone(LinkId(link)));
        assert_eq!(waiters, Waiters::default());
    }
}
