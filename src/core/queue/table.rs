//! All jobs by number, with their counts and bytes by status.
//!
//! Numbers are nearly consecutive, so jobs stand in pages of 64: eight bytes a job for its place, and a page tells by
//! one word a status which of its jobs have it, so that a search for the running ones among a million skips the rest.
//! Pages stand in books of 64, so that the tree above them is small: every step of a job begins with a look into it.

use std::collections::BTreeMap;

use super::super::JobNumber;
use super::job::{Job, State};
use crate::wire::JobStatus;

/// Jobs of one page.
const PAGE: u64 = 64;

/// Pages of one book.
const BOOK: u64 = 64;

/// The statuses and, as the last one, being accepted.
const STATUSES: usize = JobStatus::ALL.len() + 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Page {
    jobs: [Option<Box<Job>>; PAGE as usize],
    /// For each status a bit for each job that has it.
    with: [u64; STATUSES],
}

impl Page {
    fn new() -> Box<Page> {
        Box::new(Page { jobs: [const { None }; PAGE as usize], with: [0; STATUSES] })
    }

    fn is_empty(&self) -> bool {
        self.with.iter().all(|bits| *bits == 0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Book {
    pages: [Option<Box<Page>>; BOOK as usize],
    /// How many pages there are.
    count: u32,
}

/// Jobs and bytes of one status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Tally {
    pub(super) jobs: u64,
    pub(super) bytes: u64,
}

/// All jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Table {
    books: BTreeMap<u64, Box<Book>>,
    tallies: [Tally; STATUSES],
}

const fn place(number: JobNumber) -> (u64, usize) {
    (number.0 / PAGE, (number.0 % PAGE) as usize)
}

/// Where a status is counted.
const fn column(status: Option<JobStatus>) -> usize {
    match status {
        Some(status) => status as usize,
        None => STATUSES - 1,
    }
}

impl Table {
    /// The job, if it is here.
    pub(super) fn get(&self, number: JobNumber) -> Option<&Job> {
        let (page, slot) = place(number);
        self.page(page)?.jobs[slot].as_deref()
    }

    fn page(&self, at: u64) -> Option<&Page> {
        self.books.get(&(at / BOOK))?.pages[(at % BOOK) as usize].as_deref()
    }

    fn page_mut(&mut self, at: u64) -> Option<&mut Page> {
        self.books.get_mut(&(at / BOOK))?.pages[(at % BOOK) as usize].as_deref_mut()
    }

    /// The pages from this one on, in order.
    fn pages(&self, from: u64) -> impl DoubleEndedIterator<Item = (u64, &Page)> {
        let pages = self.books.range(from / BOOK..).flat_map(|(book, pages)| {
            let pages = pages.pages.iter().enumerate();
            pages.filter_map(move |(at, page)| Some((book * BOOK + at as u64, page.as_deref()?)))
        });
        pages.filter(move |(at, _)| *at >= from)
    }

    /// Adds a job. Its number must be new.
    pub(super) fn insert(&mut self, number: JobNumber, job: Job) {
        let (at, slot) = place(number);
        let column = column(job.status());
        self.tallies[column].jobs += 1;
        self.tallies[column].bytes += job.cost();
        let book = self.books.entry(at / BOOK);
        let book = book.or_insert_with(|| Box::new(Book { pages: [const { None }; BOOK as usize], count: 0 }));
        let page = book.pages[(at % BOOK) as usize].get_or_insert_with(|| {
            book.count += 1;
            Page::new()
        });
        page.with[column] |= 1 << slot;
        let before = page.jobs[slot].replace(Box::new(job));
        debug_assert!(before.is_none(), "numbers are never reused");
    }

    /// Changes a job; every change goes through here, so that the counts are right.
    pub(super) fn change<R>(&mut self, number: JobNumber, change: impl FnOnce(&mut Job) -> R) -> Option<R> {
        let (page, slot) = place(number);
        let books = &mut self.books;
        let page = books.get_mut(&(page / BOOK))?.pages[(page % BOOK) as usize].as_deref_mut()?;
        let job = page.jobs[slot].as_deref_mut()?;
        let (from, cost) = (column(job.status()), job.cost());
        let answer = change(job);
        let to = column(job.status());
        self.tallies[from].bytes -= cost;
        self.tallies[to].bytes += job.cost();
        if from != to {
            self.tallies[from].jobs -= 1;
            self.tallies[to].jobs += 1;
            page.with[from] &= !(1 << slot);
            page.with[to] |= 1 << slot;
        }
        Some(answer)
    }

    /// Changes what neither status nor bytes hang on: the writes of a job.
    pub(super) fn change_writes<R>(&mut self, number: JobNumber, change: impl FnOnce(&mut Job) -> R) -> Option<R> {
        let (page, slot) = place(number);
        self.page_mut(page)?.jobs[slot].as_deref_mut().map(change)
    }

    /// Takes a job out.
    pub(super) fn remove(&mut self, number: JobNumber) -> Option<Box<Job>> {
        let (at, slot) = place(number);
        let book = self.books.get_mut(&(at / BOOK))?;
        let place = &mut book.pages[(at % BOOK) as usize];
        let page = place.as_deref_mut()?;
        let job = page.jobs[slot].take()?;
        let column = column(job.status());
        page.with[column] &= !(1 << slot);
        if page.is_empty() {
            *place = None;
            book.count -= 1;
            if book.count == 0 {
                self.books.remove(&(at / BOOK));
            }
        }
        self.tallies[column].jobs -= 1;
        self.tallies[column].bytes -= job.cost();
        Some(job)
    }

    /// Jobs and bytes of a status.
    pub(super) fn tally(&self, status: JobStatus) -> Tally {
        self.tallies[column(Some(status))]
    }

    /// Jobs that have not ended, those that are being accepted among them.
    pub(super) fn open(&self) -> u64 {
        let ended = [JobStatus::Ok, JobStatus::Nok, JobStatus::Cancelled, JobStatus::Buried];
        self.len() - ended.iter().map(|status| self.tally(*status).jobs).sum::<u64>()
    }

    /// All jobs.
    pub(super) fn len(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.jobs).sum()
    }

    /// Bytes of all jobs.
    pub(super) fn bytes(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.bytes).sum()
    }

    /// The jobs after `after`, in order; only those of one status, or all that are accepted. One step of the
    /// iterator looks at one job, or skips pages that have none of the status.
    pub(super) fn after(
        &self,
        after: Option<JobNumber>,
        status: Option<JobStatus>,
    ) -> impl Iterator<Item = (JobNumber, &Job)> {
        let first = after.map_or(0, |number| number.0.saturating_add(1));
        let (begin, skip) = place(JobNumber(first));
        self.pages(begin).flat_map(move |(at, page)| {
            let all = page.with[..STATUSES - 1].iter().fold(0, |all, bits| all | bits);
            let mut bits = status.map_or(all, |status| page.with[column(Some(status))]);
            if at == begin {
                bits &= u64::MAX << skip;
            }
            std::iter::from_fn(move || {
                let slot = bits.trailing_zeros() as usize;
                bits &= bits.checked_sub(1)?;
                Some((JobNumber(at * PAGE + slot as u64), page.jobs[slot].as_deref()?))
            })
        })
    }

    /// The jobs of the first and of the last pages, at most `most`, for a check.
    pub(super) fn some(&self, most: usize) -> impl Iterator<Item = (JobNumber, &Job)> {
        let pages = most.div_ceil(2 * PAGE as usize);
        let firsts = self.pages(0).take(pages);
        let lasts = self.pages(0).rev().take(pages);
        firsts.chain(lasts).flat_map(|(at, page)| {
            let jobs = page.jobs.iter().enumerate();
            jobs.filter_map(move |(slot, job)| Some((JobNumber(at * PAGE + slot as u64), job.as_deref()?)))
        })
    }

    /// What always holds. Looks at every job.
    pub(super) fn check_invariants(&self) {
        let mut tallies = [Tally::default(); STATUSES];
        for book in self.books.values() {
            let pages = book.pages.iter().flatten().count();
            assert!(pages > 0 && pages == book.count as usize, "empty books are dropped");
        }
        for (at, page) in self.pages(0) {
            assert!(!page.is_empty(), "empty pages are dropped: {at}");
            for (slot, job) in page.jobs.iter().enumerate() {
                let mine = job.as_ref().map(|job| column(job.status()));
                for (column, tally) in tallies.iter_mut().enumerate() {
                    let has = page.with[column] >> slot & 1 == 1;
                    assert_eq!(has, mine == Some(column), "the bits of a page are those of its jobs");
                    if has {
                        tally.jobs += 1;
                        tally.bytes += job.as_ref().map_or(0, |job| job.cost());
                    }
                }
                if let Some(job) = job {
                    assert_eq!(job.status().is_none(), job.state == State::Accepting);
                }
            }
        }
        assert_eq!(tallies, self.tallies, "the tallies are the sums");
    }
}
