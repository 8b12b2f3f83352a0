//! Chance from a seed: the only source of it in the cores and in their simulator.

use std::time::Duration;

use crate::time::micros;

/// A generator of 64-bit numbers (SplitMix64: Steele, Lea and Flood, OOPSLA 2014). Good for jitter, not for secrets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The generator of this seed. Same seed, same numbers.
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0. The bias is below `bound` / 2^64.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("a product of two 64-bit numbers, shifted by 64, fits in 64 bits")
    }

    /// `duration`, shortened by a random share of at most a tenth: spreads what would otherwise happen all at once,
    /// and keeps `duration` as the upper bound.
    pub(crate) fn shortened(&mut self, duration: Duration) -> Duration {
        let tenth = micros(duration) / 10;
        duration - Duration::from_micros(self.below(tenth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        for _ in 0..100 {
            assert_eq!(a.next(), b.next());
        }
        assert_ne!(Rng::new(8).next(), Rng::new(9).next());
    }

    #[test]
    fn first_number_of_seed_zero_is_the_published_one() {
        assert_eq!(Rng::new(0).next(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_reaches_both_halves() {
        let mut rng = Rng::new(1);
        let full = Duration::from_millis(1000);
        let drawn: Vec<_> = (0..200).map(|_| rng.shortened(full)).collect();
        assert!(drawn.iter().all(|d| *d >= Duration::from_millis(900) && *d <= full));
        assert!(drawn.iter().any(|d| *d < Duration::from_millis(930)));
        assert!(drawn.iter().any(|d| *d > Duration::from_millis(970)));
        assert_eq!(rng.shortened(Duration::ZERO), Duration::ZERO);
    }
}
