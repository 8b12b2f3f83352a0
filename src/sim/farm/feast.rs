//! The law of fairness: borrowers that are saturated for long, at one owner, share its workers.
//!
//! The time is measured in which all of them are saturated at once. Over [`ROUNDS`] turns of each none has less than a quarter of what another has.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sim::network::Host;
use crate::time::{Time, micros};

/// Turns of each borrower that must have passed before anything is said.
const ROUNDS: u32 = 3;

/// What a turn takes beside itself, generously: three of the longest pauses between two requests, in which a free worker waits for whose turn it is.
const PAUSE: Duration = Duration::from_secs(30);

/// No borrower has more than so many times the worker time of another.
const FACTOR: u64 = 4;

/// What the borrowers have had.
#[derive(Clone, Debug, Default)]
pub(super) struct Feast {
    last: Time,
    /// Since when all were saturated, without a pause.
    since: Option<Time>,
    /// How long all were, beside the first turns.
    hungry: Duration,
    /// Worker time of each, in microseconds.
    had: BTreeMap<Host, u64>,
}

impl Feast {
    /// How the borrowers stand: saturated, and with so many workers of the owner. `turn`: how long a loan goes on before another's turn comes.
    pub(super) fn sample(&mut self, now: Time, borrowers: &[(Host, bool, u64)], turn: Duration) {
        let passed = now.since(self.last);
        self.last = now;
        if !borrowers.iter().all(|(_, saturated, _)| *saturated) {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(now);
        // The first comer may have its turn, and the others may have to ask twice.
        if now.since(since) < turn * 2 + Duration::from_secs(60) {
            return;
        }
        self.hungry += passed;
        for (host, _, workers) in borrowers {
            *self.had.entry(*host).or_default() += workers * micros(passed);
        }
    }

    /// Whether it was measured for long enough to tell.
    pub(super) fn is_told(&self, turn: Duration) -> bool {
        let borrowers = u32::try_from(self.had.len()).unwrap_or(u32::MAX);
        !self.had.is_empty() && self.hungry >= (turn + PAUSE) * borrowers * ROUNDS
    }

    /// The law.
    pub(super) fn check(&self, turn: Duration) -> Result<(), String> {
        let (Some(least), Some(most)) = (self.had.values().min(), self.had.values().max()) else { return Ok(()) };
        if self.is_told(turn) && *most > least * FACTOR {
            return Err(format!("in {:?} of hunger the borrowers had workers for {:?} us", self.hungry, self.had));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_has_less_than_a_quarter_of_what_another_has() {
        let turn = Duration::from_secs(10);
        let measured = |mine: u64, yours: u64| {
            let mut feast = Feast::default();
            for second in 0..400 {
                let now = Time::ZERO + Duration::from_secs(second);
                feast.sample(now, &[(1, true, mine), (2, true, yours)], turn);
            }
            assert!(feast.is_told(turn));
            feast.check(turn)
        };
        assert!(measured(4, 1).is_ok() && measured(1, 4).is_ok());
        assert!(measured(5, 1).is_err() && measured(1, 0).is_err());
        let mut feast = Feast::default();
        feast.sample(Time::ZERO + Duration::from_secs(300), &[(1, true, 3), (2, false, 0)], turn);
        assert!(!feast.is_told(turn) && feast.check(turn).is_ok(), "one of them is not hungry");
    }
}
