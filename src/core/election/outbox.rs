//! Letters of a leader that wait for the end of the loop's turn, so that what many ask for in one turn goes to each follower in one.
//!
//! To wait here is to be on the way for longer, which a letter may be. Letters to one member keep their order.

use super::Letter;
use crate::wire::{Agree, AgreeKind, LedgerEntry, RaftId};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Outbox {
    letters: Vec<(RaftId, Letter)>,
    /// Bytes of the entries of each, about.
    bytes: Vec<u64>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Puts a letter behind the others. Entries that follow on those of the last letter to this member become part of it, as long as it has at
    /// most `most` bytes of them.
    pub(super) fn put(&mut self, to: RaftId, letter: Letter, most: u64) {
        let bytes = letter_bytes(&letter);
        let last = self.letters.iter_mut().zip(&mut self.bytes).rev().find(|((other, _), _)| *other == to);
        if let Some(((_, before), so_far)) = last
            && *so_far + bytes <= most
            && follows(before, &letter)
        {
            *so_far += bytes;
            join(before, letter);
            return;
        }
        self.letters.push((to, letter));
        self.bytes.push(bytes);
    }

    /// All of them, in order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (RaftId, Letter)> {
        self.bytes.clear();
        std::mem::take(&mut self.letters).into_iter()
    }
}

fn letter_bytes(letter: &Letter) -> u64 {
    match letter {
        Letter::Agree(Agree { kind: AgreeKind::Append { entries, .. }, .. }) => {
            entries.iter().map(|entry| super::convert::weight(&entry.what) as u64).sum()
        }
        _ => 0,
    }
}

/// Whether the entries of `next` follow on those of `letter`, of one leader in one term.
fn follows(letter: &Letter, next: &Letter) -> bool {
    let (Letter::Agree(letter), Letter::Agree(next)) = (letter, next) else { return false };
    let AgreeKind::Append { prev_log_index, prev_log_term, entries, .. } = &letter.kind else { return false };
    let AgreeKind::Append { prev_log_index: index, prev_log_term: term, .. } = &next.kind else { return false };
    let end =
        entries.last().map_or((*prev_log_index, *prev_log_term), |LedgerEntry { index, term, .. }| (*index, *term));
    letter.envelope == next.envelope && end == (*index, *term)
}

/// Makes one of two of which the second follows on the first.
fn join(letter: &mut Letter, next: Letter) {
    if let Letter::Agree(Agree { kind: AgreeKind::Append { entries, leader_commit, .. }, .. }) = letter
        && let Letter::Agree(Agree { kind: AgreeKind::Append { entries: more, leader_commit: newer, .. }, .. }) = next
    {
        entries.extend(more);
        *leader_commit = newer.max(*leader_commit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Command, Envelope, GroupId, Json, LedgerItem};

    fn append(to: u64, term: u64, (index, prev_term): (u64, u64), count: u64, commit: u64) -> Letter {
        let group_id = GroupId::new("00000000-0000").unwrap();
        let set = || Command::Set { name: "x".to_owned(), value: Json::new("1").unwrap() };
        let entry = |nth| LedgerEntry { index: index + nth, term, what: LedgerItem::Command(Box::new(set())) };
        Letter::Agree(Agree {
            envelope: Envelope { group_id, from: RaftId(1), to: RaftId(to), term },
            kind: AgreeKind::Append {
                prev_log_index: index,
                prev_log_term: prev_term,
                entries: (1..=count).map(entry).collect(),
                leader_commit: commit,
            },
        })
    }

    fn posted(letters: &[(u64, Letter)], most: u64) -> Vec<(RaftId, Letter)> {
        let mut outbox = Outbox::default();
        letters.iter().for_each(|(to, letter)| outbox.put(RaftId(*to), letter.clone(), most));
        let taken = outbox.take().collect();
        assert!(outbox.is_empty());
        taken
    }

    #[test]
    fn entries_that_follow_on_one_another_go_together_to_each_member() {
        let letters = [
            (2, append(2, 3, (7, 3), 1, 5)),
            (3, append(3, 3, (7, 3), 1, 5)),
            (2, append(2, 3, (8, 3), 2, 6)),
            (3, append(3, 3, (8, 3), 2, 6)),
            (2, append(2, 3, (10, 3), 0, 9)),
        ];
        let expected = [(RaftId(2), append(2, 3, (7, 3), 3, 9)), (RaftId(3), append(3, 3, (7, 3), 3, 6))];
        assert_eq!(posted(&letters, 1 << 20), expected);
    }

    #[test]
    fn what_does_not_follow_or_is_too_long_goes_by_itself_and_in_order() {
        let alone = [
            append(2, 3, (7, 3), 2, 5),
            // A gap, the same again, an older place, another term.
            append(2, 3, (10, 3), 1, 5),
            append(2, 3, (10, 3), 1, 5),
            append(2, 3, (7, 3), 1, 5),
            append(2, 4, (8, 3), 1, 5),
            append(2, 4, (9, 3), 1, 5),
        ];
        let letters: Vec<(u64, Letter)> = alone.iter().map(|letter| (2, letter.clone())).collect();
        let expected: Vec<(RaftId, Letter)> = alone.iter().map(|letter| (RaftId(2), letter.clone())).collect();
        assert_eq!(posted(&letters, 1 << 20), expected);
        let following = [(2, append(2, 3, (7, 3), 1, 5)), (2, append(2, 3, (8, 3), 1, 5))];
        assert_eq!(posted(&following, 100).len(), 2, "two entries have more than 100 bytes");
        assert_eq!(posted(&following, 1000).len(), 1);
    }
}
