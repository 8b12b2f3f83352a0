//! What is on its way to the disk, since when, and what is owed to it while it is ill.
//!
//! A disk that is slow refuses nothing: what waits for it goes on waiting, and is told so.
//!
//! ```text
//!            a write failed                              1 s later, then 2, 4 ... 10 s: a small batch of what is owed
//!   well ─────────────────────> ill ───────────────────────────────────> ill, one batch in flight
//!     ^                          ^  └─ a second later: one submission  ──────^   │     │
//!     │                          └─────────────────── failed ────────────────────┘     │
//!     └──────────────────────────────────────────────── written ───────────────────────┘  then all that is owed
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::super::{JobNumber, Ticket};
use crate::time::Time;

/// Pause before the first retry. Doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause between retries: a disk that is well again is noticed within this time.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Time between two submissions that are let through to an ill disk.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Writes of one retry: if the disk is full, few may fit where many do not.
const RETRY_BATCH: usize = 64;

/// Writes that a disk which is well again gets at a time, so that new ones find their way between.
const FLUSH_BATCH: usize = 1000;

/// A disk whose oldest write is under way for longer is slow. A healthy one takes milliseconds, a laptop's that wakes up
/// some hundreds of them.
const SLOW_DISK: Duration = Duration::from_secs(1);

/// What a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A job is accepted with it.
    Put,
    /// The state of a job.
    State,
    /// A job is forgotten.
    Remove,
    /// An attempt runs: a hint for a restart, for which nobody waits.
    Note,
}

/// A write whose fate is not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    ticket: Ticket,
    pub(super) number: JobNumber,
    pub(super) kind: Kind,
    sent: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Illness {
    reason: Box<str>,
    /// The last ticket that failed: what is written after it proves health.
    through: Ticket,
    pause: Duration,
    /// When what is owed is tried again.
    retry: Time,
    /// When a submission is let through.
    probe: Time,
}

/// The writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Disk {
    last: Ticket,
    /// In the order of the tickets.
    flights: VecDeque<Flight>,
    /// Jobs whose state must be written again.
    states: BTreeSet<JobNumber>,
    /// Jobs that must be removed again.
    removes: BTreeSet<JobNumber>,
    ill: Option<Illness>,
    /// That it is slow was told: the write that showed it went out then.
    slow: Option<Time>,
}

impl Disk {
    /// A write goes out: its ticket.
    pub(super) fn send(&mut self, number: JobNumber, kind: Kind, now: Time) -> Ticket {
        self.last.0 += 1;
        self.flights.push_back(Flight { ticket: self.last, number, kind, sent: now });
        self.last
    }

    /// For how long the oldest write is under way, where that is too long.
    pub(super) fn slow_for(&self, now: Time) -> Option<Duration> {
        self.flights.front().map(|oldest| now.since(oldest.sent)).filter(|age| *age >= SLOW_DISK)
    }

    /// When the oldest write that is under way is so for too long.
    pub(super) fn slow_at(&self) -> Option<Time> {
        self.flights.front().map(|oldest| oldest.sent + SLOW_DISK)
    }

    /// Whether the disk has become slow, and nobody was told. One that is ill is worse than that.
    pub(super) fn slows(&mut self, now: Time) -> bool {
        let begins = self.slow.is_none() && self.ill.is_none() && self.slow_for(now).is_some();
        if begins {
            self.slow = self.flights.front().map(|oldest| oldest.sent);
        }
        begins
    }

    /// Whether a disk that was told to be slow is so no more. For how long it was.
    pub(super) fn quickens(&mut self, now: Time) -> Option<Duration> {
        let since = self.slow.take_if(|_| self.flights.front().is_none_or(|oldest| now < oldest.sent + SLOW_DISK))?;
        Some(now.since(since))
    }

    /// This process did not run for so long: the disk had no time to answer.
    pub(super) fn excuse(&mut self, lost: Duration) {
        let sent = self.flights.iter_mut().map(|flight| &mut flight.sent);
        sent.chain(&mut self.slow).for_each(|sent| *sent = *sent + lost);
    }

    /// A write must wait until the disk is well.
    pub(super) fn owe(&mut self, number: JobNumber, kind: Kind) {
        match kind {
            Kind::State => self.states.insert(number),
            Kind::Remove => self.removes.insert(number),
            Kind::Put => unreachable!("a job whose Put failed is refused"),
            Kind::Note => unreachable!("a hint is not given twice"),
        };
    }

    /// Why nothing can be written now, if so.
    pub(super) fn illness(&self) -> Option<&str> {
        self.ill.as_ref().map(|ill| &*ill.reason)
    }

    /// Whether a submission may go out now: always if well, else one a second with nothing beside it.
    pub(super) fn admits(&mut self, now: Time) -> bool {
        let idle = self.flights.is_empty();
        match &mut self.ill {
            None => true,
            Some(ill) if idle && now >= ill.probe => {
                ill.probe = now + PROBE_EVERY;
                true
            }
            Some(_) => false,
        }
    }

    /// The next write that is durable when all through this ticket are. Call until `None`.
    pub(super) fn landed(&mut self, through: Ticket) -> Option<Flight> {
        if self.flights.front()?.ticket > through {
            return None;
        }
        self.flights.pop_front()
    }

    /// The disk has written all through this ticket. Tells whether that ends an illness.
    pub(super) fn heals(&mut self, through: Ticket) -> bool {
        self.ill.take_if(|ill| through > ill.through).is_some()
    }

    /// The writes of this range failed: those of them that were in flight, and whether an illness begins.
    pub(super) fn failed(&mut self, from: Ticket, through: Ticket, reason: &str, now: Time) -> (Vec<Flight>, bool) {
        let begin = self.flights.partition_point(|flight| flight.ticket < from);
        let end = self.flights.partition_point(|flight| flight.ticket <= through).max(begin);
        let failed: Vec<_> = self.flights.drain(begin..end).collect();
        let Some(last) = failed.last() else {
            return (failed, false);
        };
        // A disk that refuses has answered; that it is ill is said instead.
        self.slow = None;
        let (pause, begins) = self.ill.as_ref().map_or((FIRST_PAUSE, true), |ill| (ill.pause, false));
        self.ill = Some(Illness {
            reason: reason.into(),
            through: last.ticket.max(self.ill.as_ref().map_or(Ticket(0), |ill| ill.through)),
            pause,
            retry: now + pause,
            probe: now + PROBE_EVERY,
        });
        (failed, begins)
    }

    /// What is owed and may be written now, at most a batch.
    pub(super) fn due(&mut self, now: Time) -> Vec<(JobNumber, Kind)> {
        let idle = self.flights.is_empty();
        let most = match &mut self.ill {
            None => FLUSH_BATCH,
            Some(ill) if idle && now >= ill.retry => {
                ill.pause = (ill.pause * 2).min(MAX_PAUSE);
                ill.retry = now + ill.pause;
                RETRY_BATCH
            }
            Some(_) => return Vec::new(),
        };
        let states = self.states.iter().map(|number| (*number, Kind::State));
        let removes = self.removes.iter().map(|number| (*number, Kind::Remove));
        let due: Vec<_> = states.chain(removes).take(most).collect();
        for (number, kind) in &due {
            match kind {
                Kind::State => self.states.remove(number),
                _ => self.removes.remove(number),
            };
        }
        due
    }

    /// When [`Disk::due`] or [`Disk::slows`] has something, if nothing else happens before.
    pub(super) fn deadline(&self) -> Option<Time> {
        if !self.flights.is_empty() {
            return self.slow_at().filter(|_| self.slow.is_none() && self.ill.is_none());
        }
        self.ill.as_ref().filter(|_| self.owes() > 0).map(|ill| ill.retry)
    }

    /// How many writes are owed.
    pub(super) fn owes(&self) -> usize {
        self.states.len() + self.removes.len()
    }

    /// How many writes are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether the state of this job is owed.
    pub(super) fn owes_state(&self, number: JobNumber) -> bool {
        self.states.contains(&number)
    }

    /// What always holds.
    pub(super) fn check_invariants(&self) {
        assert!(self.flights.back().is_none_or(|flight| flight.ticket <= self.last));
        let live = self.ill.is_some() || self.owes() == 0 || !self.flights.is_empty();
        assert!(self.slow.is_none() || self.ill.is_none(), "one thing is told of it at a time");
        assert!(live, "what is owed to a disk that is well follows what is in flight");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Time {
        Time::ZERO + Duration::from_secs(n)
    }

    #[test]
    fn retries_are_small_and_ever_rarer_up_to_ten_seconds() {
        let mut disk = Disk::default();
        for n in 0..200 {
            disk.send(JobNumber(n), Kind::State, second(0));
        }
        let (failed, begins) = disk.failed(Ticket(1), Ticket(200), "full", second(0));
        assert!(begins);
        failed.iter().for_each(|flight| disk.owe(flight.number, flight.kind));
        let (mut now, mut waits) = (second(0), Vec::new());
        for _ in 0..6 {
            let due = disk.deadline().unwrap();
            waits.push(due.since(now).as_secs());
            now = due;
            let batch = disk.due(now);
            assert_eq!(batch.len(), RETRY_BATCH);
            let tickets: Vec<_> = batch.iter().map(|(number, kind)| disk.send(*number, *kind, second(0))).collect();
            assert_eq!(disk.deadline(), None, "the batch in flight speaks first");
            let (failed, begins) = disk.failed(tickets[0], *tickets.last().unwrap(), "full", now);
            assert!(!begins, "one illness");
            failed.iter().for_each(|flight| disk.owe(flight.number, flight.kind));
        }
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        let batch = disk.due(disk.deadline().unwrap());
        batch.iter().for_each(|(number, kind)| {
            disk.send(*number, *kind, second(0));
        });
        while disk.landed(disk.last).is_some() {}
        assert!(disk.heals(disk.last));
        assert_eq!(disk.due(now).len(), 200 - RETRY_BATCH, "well: the rest at once");
    }

    #[test]
    fn what_was_sent_before_the_failure_proves_no_health() {
        let mut disk = Disk::default();
        (0..4).for_each(|n| {
            disk.send(JobNumber(n), Kind::Put, second(0));
        });
        assert_eq!(disk.failed(Ticket(3), Ticket(3), "io", second(0)).0.len(), 1);
        assert_eq!(disk.landed(Ticket(2)).map(|flight| flight.number), Some(JobNumber(0)));
        assert!(!disk.heals(Ticket(2)));
        assert!(disk.illness().is_some());
        assert!(disk.heals(Ticket(4)));
    }

    #[test]
    fn an_ill_disk_gets_one_submission_a_second() {
        let mut disk = Disk::default();
        disk.send(JobNumber(1), Kind::Put, second(0));
        disk.failed(Ticket(1), Ticket(1), "io", second(0));
        assert!(!disk.admits(second(0)));
        assert!(disk.admits(second(1)));
        assert!(!disk.admits(second(1)));
        disk.send(JobNumber(2), Kind::Put, second(0));
        assert!(!disk.admits(second(9)), "the probe in flight speaks first");
    }

    #[test]
    fn failures_of_nothing_in_flight_are_no_illness() {
        let mut disk = Disk::default();
        disk.send(JobNumber(1), Kind::Put, second(0));
        assert_eq!(disk.failed(Ticket(7), Ticket(3), "io", second(0)), (vec![], false));
        assert_eq!(disk.illness(), None);
    }

    #[test]
    fn a_disk_is_slow_while_its_oldest_write_is_under_way_for_a_second() {
        let (mut disk, ms) = (Disk::default(), |ms| Time::ZERO + Duration::from_millis(ms));
        disk.send(JobNumber(1), Kind::Put, ms(0));
        disk.send(JobNumber(2), Kind::Put, ms(900));
        disk.send(JobNumber(3), Kind::Put, ms(2000));
        assert_eq!((disk.deadline(), disk.slows(ms(999))), (Some(ms(1000)), false));
        assert!(disk.slows(ms(1000)));
        assert_eq!((disk.slows(ms(1500)), disk.deadline()), (false, None), "told once");
        assert!(disk.landed(Ticket(1)).is_some());
        assert_eq!(disk.quickens(ms(2300)), None, "the next one is no quicker");
        assert_eq!(disk.slow_for(ms(2300)), Some(Duration::from_millis(1400)));
        assert!(disk.landed(Ticket(2)).is_some());
        assert_eq!(disk.quickens(ms(2300)), Some(Duration::from_millis(2300)));
        assert_eq!((disk.quickens(ms(2400)), disk.deadline()), (None, Some(ms(3000))), "the next episode");
    }

    #[test]
    fn of_a_slow_disk_that_refuses_only_that_is_told() {
        let mut disk = Disk::default();
        disk.send(JobNumber(1), Kind::Put, second(0));
        disk.send(JobNumber(2), Kind::Put, second(0));
        assert!(disk.slows(second(1)));
        assert!(disk.failed(Ticket(1), Ticket(1), "io", second(2)).1);
        assert_eq!((disk.slows(second(3)), disk.deadline()), (false, None));
        assert!(disk.landed(Ticket(2)).is_some() && disk.heals(Ticket(2)));
        assert_eq!(disk.quickens(second(4)), None);
    }

    #[test]
    fn a_disk_is_not_slow_while_nobody_listens_to_it() {
        let mut disk = Disk::default();
        disk.send(JobNumber(1), Kind::Put, second(0));
        disk.excuse(Duration::from_secs(60));
        assert_eq!((disk.slows(second(60)), disk.deadline()), (false, Some(second(61))));
        assert!(disk.slows(second(61)) && disk.slow_for(second(62)) == Some(Duration::from_secs(2)));
    }
}
