//! Reads that wait: for the round of heartbeats which proves that this leader still leads, then until what was agreed on
//! before is applied. One round at a time; what is asked meanwhile shares the next.

use std::collections::VecDeque;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reads {
    /// The number of the last round. Never used twice by an engine, so that a late answer meets no other round.
    round: u64,
    waiting: Vec<u64>,
    asked: Vec<u64>,
    /// With the index that must be applied first.
    proved: VecDeque<(u64, Vec<u64>)>,
}

impl Reads {
    pub(super) fn ask(&mut self, mark: u64) {
        self.waiting.push(mark);
    }

    /// Begins a round, if one is wanted and none runs. Its context.
    pub(super) fn begin(&mut self) -> Option<String> {
        if self.waiting.is_empty() || !self.asked.is_empty() {
            return None;
        }
        self.round += 1;
        self.asked = std::mem::take(&mut self.waiting);
        Some(self.round.to_string())
    }

    /// The round of this context is proved: what it asked may be read once `index` is applied.
    pub(super) fn proved(&mut self, context: &[u8], index: u64) {
        if context == self.round.to_string().as_bytes() && !self.asked.is_empty() {
            self.proved.push_back((index, std::mem::take(&mut self.asked)));
        }
    }

    /// Marks that can be answered, with their index.
    pub(super) fn ready(&mut self, applied: u64) -> Vec<(u64, u64)> {
        let mut ready = Vec::new();
        while self.proved.front().is_some_and(|(index, _)| *index <= applied) {
            let Some((index, marks)) = self.proved.pop_front() else { break };
            ready.extend(marks.into_iter().map(|mark| (mark, index)));
        }
        ready
    }

    /// Leadership is lost: the marks that nobody answers any more, in the order in which they were asked.
    pub(super) fn lose(&mut self) -> Vec<u64> {
        let mut lost: Vec<u64> = self.proved.drain(..).flat_map(|(_, marks)| marks).collect();
        lost.append(&mut self.asked);
        lost.append(&mut self.waiting);
        lost
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.asked.is_empty() && self.proved.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_during_a_round_waits_for_the_next() {
        let mut reads = Reads::default();
        reads.ask(1);
        assert_eq!(reads.begin().as_deref(), Some("1"));
        reads.ask(2);
        assert_eq!(reads.begin(), None);
        reads.proved(b"1", 7);
        assert_eq!(reads.ready(6), []);
        assert_eq!(reads.ready(7), [(1, 7)]);
        assert_eq!(reads.begin().as_deref(), Some("2"));
        reads.proved(b"1", 7);
        assert_eq!(reads.ready(9), [], "the answer to another round proves nothing");
        reads.ask(3);
        assert_eq!(reads.lose(), [2, 3]);
        assert!(reads.is_empty());
    }
}
