//! Snapshots on their way: a ledger in pieces of bounded lines, one at a time, each asked for by the receiver.
//!
//! ```text
//!   leader                                   member
//!     │ AGREE SNAPSHOT OFFSET=0                │ Receiving
//!     │ ─────────────────────────────────────> │
//!     │ <───── AGREE OK SNAPSHOT NEXT=24576 ── │
//!     │ AGREE SNAPSHOT OFFSET=24576 DONE=true  │
//!     │ ─────────────────────────────────────> │ whole: stepped
//!     │ <───── AGREE OK APPEND MATCH_INDEX ─── │ once it is durable
//! ```
//!
//! A piece that is not answered in time is sent again; after many times without an answer the leader gives up, and begins anew when the member is
//! heard again. A receiver that was restarted asks from the start.

use std::sync::Arc;
use std::time::Duration;

use crate::time::Time;
use crate::wire::{AGREE_BYTES, AgreeKind, RaftId, SnapshotHead};

/// Times that one piece is sent before the leader gives up.
const MAX_TRIES: u32 = 20;

/// What is sent to one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sending {
    head: SnapshotHead,
    text: Arc<str>,
    /// Where the piece on its way begins.
    offset: usize,
    tries: u32,
    again_at: Time,
    again_after: Duration,
}

/// What became of a sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The piece at the offset is to be sent.
    Send,
    /// Nothing to do now.
    Wait,
    /// The member has all of it.
    Done,
    /// The member does not answer.
    GaveUp,
}

impl Sending {
    /// Begins; the first piece is to be sent. Pieces are sent again after `again_after`.
    pub(super) fn new(head: SnapshotHead, text: Arc<str>, again_after: Duration, now: Time) -> Sending {
        Sending { head, text, offset: 0, tries: 1, again_at: now + again_after, again_after }
    }

    /// Index of the snapshot.
    pub(super) fn index(&self) -> u64 {
        self.head.index
    }

    /// When it is to be called.
    pub(super) fn again_at(&self) -> Time {
        self.again_at
    }

    /// The piece at the offset: at most [`AGREE_BYTES`] of text, whole characters.
    pub(super) fn piece(&self) -> AgreeKind {
        let mut end = (self.offset + AGREE_BYTES).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        AgreeKind::Snapshot {
            last_index: self.head.index,
            last_term: self.head.term,
            members: self.head.members.clone(),
            offset: self.offset as u64,
            data: self.text[self.offset..end].to_owned(),
            done: end == self.text.len(),
        }
    }

    /// The member wants the piece at `next`. An answer from before counts only if it moves on, or if nothing has come for so long that the piece
    /// was sent again: else every doubled answer would double all that follow.
    pub(super) fn wanted(&mut self, index: u64, next: u64, now: Time) -> Progress {
        let Ok(next) = usize::try_from(next) else { return Progress::Wait };
        let lawful = next <= self.text.len() && self.text.is_char_boundary(next);
        if index != self.head.index || !lawful || next == self.offset || (next < self.offset && self.tries == 1) {
            return Progress::Wait;
        }
        (self.offset, self.tries, self.again_at) = (next, 1, now + self.again_after);
        if next == self.text.len() { Progress::Done } else { Progress::Send }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Time) -> Progress {
        if now < self.again_at {
            return Progress::Wait;
        }
        if self.tries == MAX_TRIES {
            return Progress::GaveUp;
        }
        self.tries += 1;
        self.again_at = now + self.again_after;
        Progress::Send
    }
}

/// What a member has of one snapshot of one leader in one term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Receiving {
    from: RaftId,
    term: u64,
    head: SnapshotHead,
    text: String,
}

impl Receiving {
    /// Whether it is of this term.
    pub(super) fn is_of(&self, term: u64) -> bool {
        self.term == term
    }

    /// Takes a lawful piece: what is received now, where it goes on, and the text if it is whole. What `before` had of another snapshot, leader or
    /// term is forgotten once this one begins.
    pub(super) fn take(
        before: Option<Receiving>,
        (from, term): (RaftId, u64),
        head: SnapshotHead,
        (offset, data, done): (u64, &str, bool),
    ) -> (Option<Receiving>, u64, Option<(SnapshotHead, String)>) {
        let same = before.filter(|it| it.from == from && it.term == term && it.head == head);
        let mut receiving = same.unwrap_or_else(|| Receiving { from, term, head, text: String::new() });
        if offset == receiving.text.len() as u64 {
            receiving.text.push_str(data);
            if done {
                let next = receiving.text.len() as u64;
                return (None, next, Some((receiving.head, receiving.text)));
            }
        }
        let next = receiving.text.len() as u64;
        (Some(receiving), next, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::VoterSets;

    fn head() -> SnapshotHead {
        let members = VoterSets { voters: vec![RaftId(1)], ..VoterSets::default() };
        SnapshotHead { index: 9, term: 2, members }
    }

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn sending(text: &str) -> Sending {
        Sending::new(head(), text.into(), Duration::from_millis(200), at(0))
    }

    fn take(before: Option<Receiving>, piece: &AgreeKind) -> (Option<Receiving>, u64, Option<String>) {
        let AgreeKind::Snapshot { offset, data, done, .. } = piece else { panic!("{piece:?}") };
        let (receiving, next, whole) = Receiving::take(before, (RaftId(1), 3), head(), (*offset, data.as_str(), *done));
        (receiving, next, whole.map(|(_, text)| text))
    }

    #[test]
    fn pieces_come_together_again_at_whole_characters() {
        let text = "ação ".repeat(20_000);
        let mut sending = sending(&text);
        let (mut receiving, mut pieces) = (None, 0);
        loop {
            let piece = sending.piece();
            pieces += 1;
            let (next, whole);
            (receiving, next, whole) = take(receiving, &piece);
            let progress = sending.wanted(9, next, at(0));
            if let Some(whole) = whole {
                assert_eq!((whole, progress), (text.clone(), Progress::Done));
                break;
            }
            assert_eq!(progress, Progress::Send);
        }
        assert_eq!(pieces, text.len().div_ceil(AGREE_BYTES));
    }

    #[test]
    fn doubled_answers_are_not_answered_twice_and_a_restarted_member_gets_all() {
        let mut sending = sending(&"x".repeat(3 * AGREE_BYTES));
        let second = AGREE_BYTES as u64;
        assert_eq!(sending.wanted(9, second, at(1)), Progress::Send);
        assert_eq!(sending.wanted(9, second, at(2)), Progress::Wait);
        assert_eq!(sending.wanted(9, 0, at(3)), Progress::Wait, "a late answer");
        assert_eq!(sending.wanted(8, 2 * second, at(3)), Progress::Wait, "an answer of another snapshot");
        assert_eq!(sending.wanted(9, u64::MAX, at(3)), Progress::Wait);
        assert_eq!(sending.tick(at(201)), Progress::Send);
        assert_eq!(sending.wanted(9, 0, at(202)), Progress::Send, "it was asked again, and has nothing");
    }

    #[test]
    fn who_never_answers_is_given_up() {
        let mut sending = sending("x");
        let (mut now, mut sent) = (at(0), 1);
        loop {
            now = now + Duration::from_millis(200);
            match sending.tick(now) {
                Progress::Send => sent += 1,
                Progress::GaveUp => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sent, MAX_TRIES);
    }

    #[test]
    fn another_leader_begins_anew() {
        let (first, next, _) = Receiving::take(None, (RaftId(1), 3), head(), (0, "ab", false));
        assert_eq!(next, 2);
        let (second, next, _) = Receiving::take(first, (RaftId(2), 4), head(), (2, "cd", true));
        assert_eq!(next, 0, "what another has begun is not gone on with");
        let (_, _, whole) = Receiving::take(second, (RaftId(2), 4), head(), (0, "abcd", true));
        assert_eq!(whole.unwrap().1, "abcd");
    }

    #[test]
    fn the_empty_ledger_is_one_piece() {
        let (_, next, whole) = take(None, &sending("").piece());
        assert_eq!((next, whole.as_deref()), (0, Some("")));
        assert_eq!(sending("").wanted(9, 0, at(0)), Progress::Wait, "its answer is the APPEND that follows");
    }
}
