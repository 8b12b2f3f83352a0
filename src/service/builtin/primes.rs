//! `primes`: real work for a CPU, of any length, whose result can be checked.

use serde_json::{Value, json};

use crate::service::{Context, Failure, Service};
use crate::wire::ServiceOffer;

use super::{offer, whole_number};

/// Highest `n`: some ten seconds of one core, and base primes that fit some KiB.
const MAX_N: u64 = 10_000_000_000;

/// Odd numbers that are sieved at a time, one byte each: they stay in the first cache, and a stop is seen some ten
/// thousand times a second.
const SEGMENT: u64 = 32 * 1024;

/// `primes.count {"n":..}`, or just the number: how many primes are below `n`, at most 10^10: `{"n":..,"primes":..}`. Keeps one core
/// busy (10^9 takes about a second), and ends early when it is stopped.
pub struct Primes;

impl Service for Primes {
    fn offer(&self) -> ServiceOffer {
        offer("primes", &["count"], &["count"])
    }

    fn call(&self, _: &str, params: &Value, context: &Context) -> Result<Value, Failure> {
        let n = whole_number(params, "n", MAX_N)?;
        match count(n, || context.is_stopped()) {
            Some(primes) => Ok(json!({ "n": n, "primes": primes })),
            None => Err(Failure::broken("stopped before all were counted")),
        }
    }
}

/// How many primes are below `n`, or `None` when `stops` said so. The sieve of Eratosthenes over odd numbers, in
/// segments.
fn count(n: u64, stops: impl Fn() -> bool) -> Option<u64> {
    if n <= 2 {
        return Some(0);
    }
    let base = odd_primes_to(n.isqrt());
    // The next odd multiple of each that is not crossed out.
    let mut next: Vec<u64> = base.iter().map(|prime| prime * prime).collect();
    let mut found = 1;
    let mut low = 3;
    let mut composite = vec![false; SEGMENT as usize];
    while low < n {
        if stops() {
            return None;
        }
        // Odd numbers low, low + 2, ... below high.
        let high = n.min(low + 2 * SEGMENT);
        let numbers = (high - low).div_ceil(2) as usize;
        composite[..numbers].fill(false);
        for (prime, next) in base.iter().zip(&mut next) {
            if *next >= high {
                // Squares grow, but a multiple that was passed may lie anywhere.
                if prime * prime >= high {
                    break;
                }
                continue;
            }
            let mut at = ((*next - low) / 2) as usize;
            while at < numbers {
                composite[at] = true;
                at += *prime as usize;
            }
            *next = low + 2 * at as u64;
        }
        found += composite[..numbers].iter().filter(|composite| !**composite).count() as u64;
        low += 2 * SEGMENT;
    }
    Some(found)
}

/// The odd primes up to `last`, which is small.
fn odd_primes_to(last: u64) -> Vec<u64> {
    let mut composite = vec![false; last as usize + 1];
    let mut primes = Vec::new();
    for number in (3..=last).step_by(2) {
        if !composite[number as usize] {
            primes.push(number);
            (number * number..=last).step_by(2 * number as usize).for_each(|at| composite[at as usize] = true);
        }
    }
    primes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_those_of_trial_division_and_of_the_tables() {
        let is_prime = |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        let mut expected = 0;
        for n in 0..3000 {
            assert_eq!(count(n, || false), Some(expected), "below {n}");
            expected += u64::from(is_prime(n));
        }
        // Around the edges of segments, and beyond them.
        let first = 3 + 2 * SEGMENT;
        for n in [first - 1, first, first + 1, first + 2, first + 2 * SEGMENT] {
            assert_eq!(count(n, || false), Some((0..n).filter(|n| is_prime(*n)).count() as u64), "below {n}");
        }
        assert_eq!(count(1_000_000, || false), Some(78_498));
        assert_eq!(count(10_000_000, || false), Some(664_579));
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        assert_eq!(count(MAX_N, || true), None);
    }
}
