//! What the peers at each address speak: told, or found out.

use std::collections::BTreeMap;

use crate::wire::{Address, MAX_DIALECTS};

use super::Dialect;

/// What the peers at each address speak: told by `--peer host:port,dialect=NAME`, or found out.
///
/// A peer whose dialect was not told gets, first on every connection, the heartbeat that every generation
/// understands. So a node that replaces an older program at the same address is recognised at once. Only a peer
/// that will not answer that one gets others:
///
/// ```text
///             unanswered               unanswered                  unanswered
///   universal ──────────> Trying(seed) ──────────> Trying(2026-1) ───────────> universal
///                              │ answered
///                              v           unanswered
///                         Proved(seed) ──────────────> Strict(seed)
/// ```
///
/// `Proved` speaks the universal form once more, because a peer that merely crashed in that moment looks the same
/// as one that dislikes the form.
#[derive(Clone, Debug, Default)]
pub struct DialectMemory {
    entries: BTreeMap<Address, Entry>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    told: Option<Dialect>,
    found: Option<Dialect>,
    stage: Stage,
}

/// Which form the next connection opens with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The one that every generation understands, or the native one where that is found.
    #[default]
    Universal,
    /// This one, after others were not answered.
    Trying(Dialect),
    /// The universal one again, since this one was answered when that was not.
    Proved(Dialect),
    /// This one: the universal one was refused before and after it was answered.
    Strict(Dialect),
}

impl DialectMemory {
    /// Notes what the operator says the peer at this address speaks. Nothing that is found out later changes it.
    pub fn tell(&mut self, address: &Address, dialect: Dialect) {
        self.entries.entry(address.clone()).or_default().told = Some(dialect);
    }

    /// Notes what the peer at this address turned out to speak. Returns whether that is news, worth storing.
    pub fn learn(&mut self, address: &Address, dialect: Dialect) -> bool {
        if self.entries.get(address).is_some_and(|entry| entry.told.is_some()) {
            return false;
        }
        let Some(entry) = self.entry(address) else { return false };
        entry.stage = match entry.stage {
            _ if dialect == Dialect::Native => Stage::Universal,
            Stage::Trying(tried) => Stage::Proved(tried),
            stage => stage,
        };
        // The heartbeats of both are alike; who was heard to speak the words of 2025/2 beside them speaks them still.
        let alike = entry.found == Some(Dialect::Gen2025_2) && dialect == Dialect::Gen2026_1;
        let news = entry.found != Some(dialect) && !alike;
        if news {
            entry.found = Some(dialect);
        }
        news
    }

    /// What to open the next connection to this address with; `None` is the heartbeat that every generation
    /// understands. It is `None` for a foreign peer that was found out too, as long as it answers that heartbeat.
    pub fn get(&self, address: &Address) -> Option<Dialect> {
        let entry = self.entries.get(address)?;
        let found = match entry.stage {
            Stage::Trying(dialect) | Stage::Strict(dialect) => Some(dialect),
            Stage::Universal | Stage::Proved(_) => entry.found.filter(|found| *found == Dialect::Native),
        };
        entry.told.or(found)
    }

    /// The peer at this address took a connection and closed it without any answer to the heartbeat, in the form
    /// that [`DialectMemory::get`] had named. The next call tries another form; what was told is never given up.
    pub fn unanswered(&mut self, address: &Address) {
        let Some(entry) = self.entry(address) else { return };
        if entry.told.is_some() {
            return;
        }
        let native = entry.found == Some(Dialect::Native);
        entry.stage = match entry.stage {
            // Another program may have taken the place of a native node: what was found is in doubt.
            Stage::Universal if native => {
                entry.found = None;
                Stage::Universal
            }
            Stage::Universal => Stage::Trying(Dialect::Seed),
            // The heartbeat of 2025/2 is that of 2026/1: one try serves for both.
            Stage::Trying(Dialect::Seed) => Stage::Trying(Dialect::Gen2026_1),
            Stage::Trying(_) | Stage::Strict(_) => Stage::Universal,
            Stage::Proved(dialect) => Stage::Strict(dialect),
        };
    }

    /// The entry of an address; none if there are too many others.
    fn entry(&mut self, address: &Address) -> Option<&mut Entry> {
        if self.entries.len() >= MAX_DIALECTS && !self.entries.contains_key(address) {
            return None;
        }
        Some(self.entries.entry(address.clone()).or_default())
    }

    /// What was found out, in the order of addresses, for storing. What was told is told again at the next start.
    pub fn known(&self) -> impl Iterator<Item = (&Address, Dialect)> {
        self.entries.iter().filter_map(|(address, entry)| Some((address, entry.found?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        "127.0.0.1:9102".parse().unwrap()
    }

    #[test]
    fn what_was_told_is_never_given_up() {
        let mut memory = DialectMemory::default();
        memory.tell(&address(), Dialect::Gen2025_2);
        assert!(!memory.learn(&address(), Dialect::Native));
        for _ in 0..5 {
            memory.unanswered(&address());
            assert_eq!(memory.get(&address()), Some(Dialect::Gen2025_2));
        }
        assert_eq!(memory.known().count(), 0, "what was told is not stored as found");
    }

    #[test]
    fn heartbeats_that_both_speak_do_not_hide_who_has_spoken_2025_2() {
        let mut memory = DialectMemory::default();
        assert!(memory.learn(&address(), Dialect::Gen2026_1));
        assert!(memory.learn(&address(), Dialect::Gen2025_2));
        assert!(!memory.learn(&address(), Dialect::Gen2026_1));
        assert_eq!(memory.known().next(), Some((&address(), Dialect::Gen2025_2)));
        assert!(memory.learn(&address(), Dialect::Native), "another program is there now");
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = DialectMemory::default();
        for port in 1..=MAX_DIALECTS + 1 {
            let address: Address = format!("10.0.0.1:{port}").parse().unwrap();
            memory.unanswered(&address);
            assert_eq!(memory.learn(&address, Dialect::Native), port <= MAX_DIALECTS);
        }
        assert_eq!(memory.known().count(), MAX_DIALECTS);
    }

    #[test]
    fn an_unanswered_heartbeat_is_tried_in_every_form_and_then_again() {
        let mut memory = DialectMemory::default();
        assert_eq!(memory.get(&address()), None);
        for _ in 0..2 {
            for form in [Some(Dialect::Seed), Some(Dialect::Gen2026_1), None] {
                memory.unanswered(&address());
                assert_eq!(memory.get(&address()), form);
            }
        }
        assert_eq!(memory.known().count(), 0, "a try is no knowledge");
    }

    #[test]
    fn a_found_native_peer_is_remembered_until_it_does_not_answer() {
        let mut memory = DialectMemory::default();
        assert!(memory.learn(&address(), Dialect::Native));
        assert!(!memory.learn(&address(), Dialect::Native));
        assert_eq!(memory.get(&address()), Some(Dialect::Native));
        memory.unanswered(&address());
        assert_eq!(memory.get(&address()), None);
        memory.unanswered(&address());
        assert_eq!(memory.get(&address()), Some(Dialect::Seed));
    }

    #[test]
    fn a_seed_that_answers_the_universal_form_keeps_getting_it() {
        let mut memory = DialectMemory::default();
        assert!(memory.learn(&address(), Dialect::Seed));
        assert_eq!(memory.get(&address()), None);
        assert_eq!(memory.known().collect::<Vec<_>>(), [(&address(), Dialect::Seed)]);
        assert!(memory.learn(&address(), Dialect::Native), "a native node took its place");
        assert_eq!(memory.get(&address()), Some(Dialect::Native));
    }

    #[test]
    fn one_crash_does_not_turn_a_native_peer_into_a_seed_for_ever() {
        let mut memory = DialectMemory::default();
        memory.unanswered(&address());
        assert_eq!(memory.get(&address()), Some(Dialect::Seed));
        // It is back, and answers the bare heartbeat in kind, more than once.
        memory.learn(&address(), Dialect::Seed);
        memory.learn(&address(), Dialect::Seed);
        assert_eq!(memory.get(&address()), None, "the next connection asks in the universal form again");
        memory.learn(&address(), Dialect::Native);
        assert_eq!(memory.get(&address()), Some(Dialect::Native));
    }

    #[test]
    fn a_strict_peer_costs_two_refusals_and_no_more() {
        let mut memory = DialectMemory::default();
        memory.unanswered(&address());
        memory.learn(&address(), Dialect::Seed);
        memory.unanswered(&address());
        for _ in 0..5 {
            assert_eq!(memory.get(&address()), Some(Dialect::Seed));
            memory.learn(&address(), Dialect::Seed);
        }
        memory.unanswered(&address());
        assert_eq!(memory.get(&address()), None, "it may have been replaced");
    }
}
