//! Quarantine: a worker that fails fast while others succeed would eat the queue, for it is idle most often.
//!
//! ```text
//!   3 failures of a service in a row, each within 1 s of its start,      first time: 10 s without work
//!   while another worker did that service within the last 60 s      ──>  again within an hour: 10 min
//! ```
//!
//! A failure that says that trying again would not help is the fault of the job, and does not count.

use std::collections::BTreeMap;
use std::time::Duration;

use super::WorkerKey;
use crate::time::Time;
use crate::wire::{MAX_SERVICES, ServiceName};

/// Failures of one service in a row.
const FAILURES: u32 = 3;

/// A failure after this time has at least tried.
const FAST: Duration = Duration::from_secs(1);

/// How long a success of another worker proves that the service can be done.
const PROOF: Duration = Duration::from_secs(60);

/// The first quarantine: long enough for a program that restarts, short enough for a false alarm.
const SHORT: Duration = Duration::from_secs(10);

/// The next one.
const LONG: Duration = Duration::from_secs(600);

/// The next one counts as such within this time after the beginning of the last.
const MEMORY: Duration = Duration::from_secs(3600);

/// How one worker has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Conduct {
    /// Fast failures in a row, by service.
    streaks: BTreeMap<ServiceName, u32>,
    quarantine: Option<Quarantine>,
    /// When the last quarantine began.
    last: Option<Time>,
}

/// A quarantine that runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Quarantine {
    /// When it ends.
    pub(super) until: Time,
    /// One sentence on why, and for how long.
    pub(super) reason: String,
}

impl Conduct {
    /// It has done an attempt of this service.
    pub(super) fn succeeded(&mut self, service: &ServiceName) {
        self.streaks.remove(service);
    }

    /// It has failed an attempt of this service after `took`. `proved`: another worker can do it. Tells the quarantine
    /// that this begins, if any.
    pub(super) fn failed(
        &mut self,
        service: &ServiceName,
        took: Duration,
        proved: bool,
        now: Time,
    ) -> Option<&Quarantine> {
        if took > FAST {
            self.streaks.remove(service);
            return None;
        }
        let streak = self.streaks.entry(service.clone()).or_default();
        *streak = streak.saturating_add(1);
        // What it still runs when a quarantine begins may go on failing: that is no second offence.
        if *streak < FAILURES || !proved || self.quarantine.is_some() {
            return None;
        }
        let length = match self.last {
            Some(last) if now.since(last) <= MEMORY => LONG,
            _ => SHORT,
        };
        let reason = format!(
            "failed {service} {streak} times in a row, each within {} s, while others succeed; no work for {} s",
            FAST.as_secs(),
            length.as_secs()
        );
        self.streaks.clear();
        self.last = Some(now);
        Some(self.quarantine.insert(Quarantine { until: now + length, reason }))
    }

    /// The quarantine that runs.
    pub(super) fn quarantine(&self) -> Option<&Quarantine> {
        self.quarantine.as_ref()
    }

    /// Ends the quarantine if its time is over. Tells whether it did.
    pub(super) fn lift(&mut self, now: Time) -> bool {
        self.quarantine.take_if(|quarantine| quarantine.until <= now).is_some_and(|_| {
            self.streaks.clear();
            true
        })
    }
}

/// Who has done each service of late: the last success, and the last one of another worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Successes {
    table: BTreeMap<ServiceName, [Option<(WorkerKey, Time)>; 2]>,
}

impl Successes {
    /// This worker has done this service.
    pub(super) fn note(&mut self, service: &ServiceName, worker: WorkerKey, now: Time) {
        if let Some([last, other]) = self.table.get_mut(service) {
            if last.is_some_and(|(by, _)| by != worker) {
                *other = *last;
            }
            *last = Some((worker, now));
            return;
        }
        if self.table.len() >= 4 * MAX_SERVICES {
            self.table.retain(|_, [last, _]| last.is_some_and(|(_, at)| now.since(at) <= PROOF));
        }
        // Where a thousand services are done within a minute, the newest ones go without proof: nobody is quarantined for them.
        if self.table.len() < 4 * MAX_SERVICES {
            self.table.insert(service.clone(), [Some((worker, now)), None]);
        }
    }

    /// Whether another than this worker has done this service of late.
    pub(super) fn by_another(&self, service: &ServiceName, worker: WorkerKey, now: Time) -> bool {
        let of_late = |(by, at): (WorkerKey, Time)| by != worker && now.since(at) <= PROOF;
        self.table.get(service).is_some_and(|both| both.iter().flatten().copied().any(of_late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(20);

    fn second(n: u64) -> Time {
        Time::ZERO + Duration::from_secs(n)
    }

    fn primes() -> ServiceName {
        ServiceName::new("primes").unwrap()
    }

    /// Fails three times at `now`; tells how long the quarantine lasts that this begins.
    fn thrice(conduct: &mut Conduct, now: Time) -> Option<Duration> {
        assert_eq!(conduct.failed(&primes(), QUICK, true, now), None);
        assert_eq!(conduct.failed(&primes(), QUICK, true, now), None);
        conduct.failed(&primes(), QUICK, true, now).map(|quarantine| quarantine.until.since(now))
    }

    #[test]
    fn three_fast_failures_are_ten_seconds_then_ten_minutes_within_an_hour() {
        let mut conduct = Conduct::default();
        assert_eq!(thrice(&mut conduct, second(0)), Some(SHORT));
        assert!(!conduct.lift(second(9)));
        assert!(conduct.lift(second(10)));
        assert!(!conduct.lift(second(11)), "only once");
        assert_eq!(thrice(&mut conduct, second(3600)), Some(LONG));
        assert!(conduct.lift(second(4200)));
        assert_eq!(thrice(&mut conduct, second(3600 + 3601)), Some(SHORT), "an hour is forgotten");
    }

    #[test]
    fn a_success_or_a_slow_failure_breaks_the_row() {
        let mut conduct = Conduct::default();
        for breaks in [true, false] {
            conduct.failed(&primes(), QUICK, true, second(0));
            conduct.failed(&primes(), QUICK, true, second(0));
            if breaks {
                conduct.succeeded(&primes());
            } else {
                conduct.failed(&primes(), FAST + QUICK, true, second(0));
            }
        }
        assert_eq!(conduct.failed(&primes(), FAST, true, second(0)), None);
        assert_eq!(conduct.failed(&ServiceName::run(), FAST, true, second(0)), None, "each service has its own row");
        assert_eq!(conduct.failed(&primes(), FAST, true, second(0)), None);
        assert!(conduct.failed(&primes(), FAST, true, second(0)).is_some());
    }

    #[test]
    fn without_proof_that_it_can_be_done_nobody_is_blamed() {
        let mut conduct = Conduct::default();
        for _ in 0..10 {
            assert_eq!(conduct.failed(&primes(), QUICK, false, second(0)), None);
        }
        assert!(conduct.failed(&primes(), QUICK, true, second(0)).is_some(), "until there is one");
        assert_eq!(conduct.failed(&primes(), QUICK, true, second(0)), None, "one quarantine at a time");
    }

    #[test]
    fn proof_is_another_workers_and_a_minute_old_at_most() {
        let (mut successes, one, two) = (Successes::default(), WorkerKey(1), WorkerKey(2));
        successes.note(&primes(), one, second(0));
        assert!(!successes.by_another(&primes(), one, second(0)));
        assert!(successes.by_another(&primes(), two, second(60)));
        assert!(!successes.by_another(&primes(), two, second(61)));
        successes.note(&primes(), two, second(30));
        successes.note(&primes(), two, second(40));
        assert!(successes.by_another(&primes(), two, second(60)), "the one before is remembered");
        assert!(successes.by_another(&primes(), one, second(60)));
        assert!(!successes.by_another(&ServiceName::run(), one, second(60)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut successes = Successes::default();
        for n in 0..5000 {
            successes.note(&ServiceName::new(format!("s{n}")).unwrap(), WorkerKey(1), second(0));
        }
        assert_eq!(successes.table.len(), 4 * MAX_SERVICES);
        successes.note(&primes(), WorkerKey(1), second(61));
        assert_eq!(successes.table.len(), 1);
    }
}
