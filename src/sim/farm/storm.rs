//! The law of programs of other people: they hear no more lines than they have said, beside a heartbeat and a request now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sim::network::Host;
use crate::time::{Time, micros};

/// Lines that may come at once: links are made anew, and what was asked is asked of each.
const BURST: u64 = 60;

/// What went between one program and all nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    said: u64,
    heard: u64,
}

/// All that are watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Storms {
    all: BTreeMap<Host, Lines>,
}

impl Storms {
    /// A program says something.
    pub(super) fn says(&mut self, host: Host, bytes: &[u8]) {
        self.all.entry(host).or_default().said += lines(bytes);
    }

    /// A node says something to it. `every`: the time between two lines that nobody has asked for, of all nodes together.
    pub(super) fn hears(&mut self, host: Host, bytes: &[u8], every: Duration, now: Time) -> Result<(), String> {
        let entry = self.all.entry(host).or_default();
        entry.heard += lines(bytes);
        let (said, heard) = (entry.said, entry.heard);
        let most = said + BURST + now.as_micros() / micros(every).max(1);
        if heard > most {
            return Err(format!("program {host} has said {said} lines, and has heard {heard}, more than {most}"));
        }
        Ok(())
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_may_be_answered_and_little_more_comes() {
        let mut storms = Storms::default();
        let second = Duration::from_secs(1);
        let hears = |storms: &mut Storms, at| storms.hears(3, b"{}\n", second, Time::from_micros(at));
        for _ in 0..BURST {
            hears(&mut storms, 0).unwrap();
        }
        assert!(hears(&mut storms, 999_999).is_err());
        storms.says(3, b"{}\n");
        assert!(hears(&mut storms, 1_000_000).is_ok(), "an answer, and a second has passed");
        assert!(hears(&mut storms, 1_000_000).is_err());
    }
}
