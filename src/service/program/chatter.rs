//! What a program prints beside its answers, in the log: bounded, so that no program fills the log of its node.

use std::time::{Duration, Instant};

use crate::wire::ServiceName;

/// Lines of one program that are logged in a second.
const MOST: u32 = 100;

const PERIOD: Duration = Duration::from_secs(1);

/// The chatter of one program.
#[derive(Debug)]
pub(super) struct Chatter {
    since: Instant,
    said: u32,
}

impl Chatter {
    /// Nothing was said.
    pub(super) fn new(now: Instant) -> Chatter {
        Chatter { since: now, said: 0 }
    }

    /// Logs a line of it, if it did not log too many.
    pub(super) fn note(&mut self, name: &ServiceName, line: &str) {
        let (is_logged, left_out) = self.count(Instant::now());
        if left_out > 0 {
            log::info!("service {name}: {left_out} lines left out");
        }
        if is_logged {
            log::info!("service {name}: {line}");
        }
    }

    /// Whether a line is logged now, and how many before it were not.
    fn count(&mut self, now: Instant) -> (bool, u32) {
        let mut left_out = 0;
        if now.saturating_duration_since(self.since) >= PERIOD {
            left_out = self.said.saturating_sub(MOST);
            *self = Chatter::new(now);
        }
        self.said = self.said.saturating_add(1);
        (self.said <= MOST, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_lines_a_second_are_logged_and_the_others_are_counted() {
        let start = Instant::now();
        let mut chatter = Chatter::new(start);
        let logged = (0..250).filter(|_| chatter.count(start).0).count();
        assert_eq!(logged, 100);
        assert_eq!(chatter.count(start + PERIOD), (true, 150));
        assert_eq!(chatter.count(start + PERIOD), (true, 0));
    }
}
