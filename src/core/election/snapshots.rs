//! Snapshots on their way, of either end: pieces that come, pieces that go.

use raft::{SnapshotStatus, StateRole};

use super::convert::snapshot_message;
use super::engine::Engine;
use super::pieces::{Progress, Receiving};
use super::{Effect, Letter};
use crate::wire::{Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Envelope, RaftId, SnapshotHead};

impl Engine {
    pub(super) fn take_piece(&mut self, envelope: &Envelope, head: SnapshotHead, piece: (u64, &str, bool)) {
        let raft = &self.raw.raft;
        if raft.term != envelope.term || raft.leader_id != envelope.from.0 || raft.state != StateRole::Follower {
            // The speaker leads, as it would have said by a heartbeat.
            let kind = AgreeKind::Heartbeat { leader_commit: 0, context: None };
            let _ = self.take_letter(Letter::Agree(Agree { envelope: envelope.clone(), kind }));
        }
        self.raw.raft.election_elapsed = 0;
        self.clock.restart(self.now);
        if head.index <= self.raw.raft.raft_log.committed {
            // What it has is newer: the crate answers so.
            self.receiving = None;
            self.step_snapshot(envelope, head, None);
            return;
        }
        let last_index = head.index;
        let sender = (envelope.from, envelope.term);
        let (receiving, next, whole) = Receiving::take(self.receiving.take(), sender, head, piece);
        self.receiving = receiving;
        let kind = AgreeAnswerKind::Piece { last_index, next };
        let envelope_back = self.envelope(envelope.from, envelope.term);
        let letter = Letter::Answer(AgreeAnswer { envelope: envelope_back, kind });
        self.effects.push_back(Effect::Send { to: envelope.from, letter });
        if let Some((head, text)) = whole {
            self.step_snapshot(envelope, head, Some(text));
        }
    }

    pub(super) fn step_snapshot(&mut self, envelope: &Envelope, mut head: SnapshotHead, text: Option<String>) {
        let sets = &mut head.members;
        if ![&sets.voters, &sets.learners, &sets.voters_outgoing].into_iter().any(|ids| ids.contains(&self.me)) {
            // It is from before this member was taken in, and the crate would refuse it. The entry that took it in follows; until then it is a
            // learner, which counts for nothing.
            let place = sets.learners.partition_point(|id| *id < self.me);
            sets.learners.insert(place, self.me);
        }
        let message = snapshot_message(envelope.from, self.me, envelope.term, &head);
        self.stashed_text = text.map(|text| (head, text));
        let _ = self.raw.step(message);
        self.draw(false);
        self.take_ready_all();
        self.stashed_text = None;
    }

    pub(super) fn go_on_sending(&mut self, to: RaftId, progress: Progress) {
        let status = match progress {
            Progress::Wait => return,
            Progress::Send => {
                let Some(sending) = self.sendings.get(&to) else { return };
                let letter =
                    Letter::Agree(Agree { envelope: self.envelope(to, self.raw.raft.term), kind: sending.piece() });
                self.effects.push_back(Effect::Send { to, letter });
                return;
            }
            Progress::Done => SnapshotStatus::Finish,
            Progress::GaveUp => SnapshotStatus::Failure,
        };
        // Without this word the crate waits for ever, and the member gets nothing more.
        self.sendings.remove(&to);
        self.raw.report_snapshot(to.0, status);
    }
}
