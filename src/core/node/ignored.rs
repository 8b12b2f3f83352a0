//! Lines that nobody answers: people read of them in the log, and never so many that the log is flooded.

use std::time::Duration;

use super::Node;
use crate::core::{LinkId, LogLevel};
use crate::time::Time;

/// Time between two of these lines in the log, whatever comes on however many links: somebody who calls again and again
/// to say the same is a few hundred lines an hour beside the rest.
const EVERY: Duration = Duration::from_secs(1);

/// What was told of such lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ignored {
    /// From then on another may be told.
    next: Time,
    /// Lines since the last one that was told.
    untold: u64,
}

impl Ignored {
    /// Whether the `nth` such line of a link is told: the 1st, 10th, 100th ... Then, how many were not since the last one.
    fn tell(&mut self, nth: u32, now: Time) -> Option<u64> {
        let counts = nth > 0 && 10_u32.pow(nth.ilog10()) == nth;
        if !counts || now < self.next {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.next = now + EVERY;
        Some(std::mem::take(&mut self.untold))
    }
}

impl Node {
    /// A line came on an accepted link that deserves no answer.
    pub(super) fn ignore(&mut self, link: LinkId, why: &str, line: &str, now: Time) {
        let Some((nth, from)) = self.links.ignored(link) else { return };
        let Some(untold) = self.ignored.tell(nth, now) else { return };
        let mut text = format!("a line of {from} is ignored: {why}: `{line}`");
        if untold > 0 {
            text.push_str(&format!("; {untold} more since the last one that stands here"));
        }
        self.log(LogLevel::Warn, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_a_few_lines() {
        let (mut ignored, ms) = (Ignored::default(), |ms| Time::ZERO + Duration::from_millis(ms));
        let told: Vec<u32> =
            (1..=12_000).filter(|nth| ignored.tell(*nth, ms(u64::from(*nth) * 2000)).is_some()).collect();
        assert_eq!(told, [1, 10, 100, 1000, 10_000], "of one link");
        let begun = 30_000_000;
        let told: Vec<Option<u64>> =
            (0..2500).map(|at| ignored.tell(1, ms(begun + at))).filter(Option::is_some).collect();
        assert_eq!(told, [Some(2000), Some(999), Some(999)], "of many links");
    }
}
