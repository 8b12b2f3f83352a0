//! Learners that catch up by a snapshot in pieces, and restarts at every point.

use super::super::*;
use super::bench::*;
use crate::wire::{AGREE_BYTES, Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind};

fn is_piece(letter: &Letter) -> bool {
    matches!(letter, Letter::Agree(Agree { kind: AgreeKind::Snapshot { .. }, .. }))
}

fn is_answer(letter: &Letter) -> bool {
    matches!(letter, Letter::Answer(AgreeAnswer { kind: AgreeAnswerKind::Piece { .. }, .. }))
}

/// A group of three with a long ledger of which no log has the begin any more.
fn long_group(seed: u64) -> (Bench, u64) {
    let mut bench = Bench::new(&[1, 2, 3], seed);
    let leader = bench.elect();
    for _ in 0..30 {
        bench.propose(leader, &"x".repeat(AGREE_BYTES / 4));
        bench.run(20);
    }
    for _ in 0..600 {
        bench.propose(leader, "y");
    }
    bench.run(500);
    for id in [1, 2, 3] {
        bench.compact(id);
    }
    bench.run(100);
    (bench, leader)
}

fn caught_up(bench: &Bench, id: u64) -> bool {
    let leader = bench.leader().unwrap();
    bench.members[&id].applied == bench.members[&leader].applied
        && bench.members[&id].text == bench.members[&leader].text
}

#[test]
fn a_learner_catches_up_in_pieces_and_is_promoted() {
    let (mut bench, leader) = long_group(1);
    bench.change(leader, &[], &[4], &[]).unwrap();
    bench.add(4, joiner(4));
    bench.run(1000);
    assert!(caught_up(&bench, 4));
    assert!(bench.pieces > 6 && bench.installs == 1, "{} pieces, {} snapshots", bench.pieces, bench.installs);
    let progress = bench.engine(leader).progress();
    let learner = progress.iter().find(|member| member.id == RaftId(4)).unwrap();
    assert!(learner.heard && learner.matched == bench.engine(leader).view().last, "{learner:?}");
    bench.change(leader, &[4], &[], &[]).unwrap();
    bench.run(200);
    assert_eq!(bench.engine(4).standing().role, GroupRole::Follower);
    assert_eq!(bench.engine(4).view().members, bench.engine(leader).view().members);
}

#[test]
fn lost_pieces_and_answers_are_sent_again() {
    let (mut bench, leader) = long_group(2);
    bench.change(leader, &[], &[4], &[]).unwrap();
    bench.add(4, joiner(4));
    bench.weather = Weather { loss: 300, doubled: 300, way: 20, disk: 5 };
    bench.run(20_000);
    bench.heal();
    bench.run(1000);
    assert!(caught_up(&bench, 4));
}

#[test]
fn doubled_pieces_do_not_multiply() {
    let (mut bench, leader) = long_group(3);
    let before = bench.pieces;
    bench.change(leader, &[], &[4], &[]).unwrap();
    bench.add(4, joiner(4));
    bench.weather.doubled = 1000;
    bench.run(1000);
    assert!(caught_up(&bench, 4));
    let sent = bench.pieces - before;
    let whole = bench.members[&leader].text.len().div_ceil(AGREE_BYTES) as u64;
    assert!(sent <= whole + 4, "{sent} pieces for {whole}");
}

#[test]
fn a_new_leader_begins_the_snapshot_anew() {
    let (mut bench, leader) = long_group(4);
    bench.change(leader, &[], &[4], &[]).unwrap();
    bench.run(100);
    bench.add(4, joiner(4));
    bench.by_hand = true;
    for _ in 0..200 {
        bench.run(5);
        // Pieces go slowly: the first three only.
        if bench.pieces < 3 {
            bench.deliver(|_| true);
        } else {
            bench.deliver(|letter| !is_piece(letter));
        }
        if bench.pieces >= 3 {
            break;
        }
    }
    assert!(bench.members[&4].applied == 0 && bench.pieces >= 3);
    bench.by_hand = false;
    bench.pool.retain(|(_, letter)| !is_piece(letter) && !is_answer(letter));
    bench.crash(leader, 9);
    bench.run(3000);
    assert_ne!(bench.leader(), Some(leader));
    assert!(caught_up(&bench, 4), "{} of {:?}", bench.members[&4].applied, bench.leader());
}

#[test]
fn a_receiver_that_crashes_midway_gets_all_of_it() {
    let (mut bench, leader) = long_group(5);
    bench.change(leader, &[], &[4], &[]).unwrap();
    bench.add(4, joiner(4));
    let before = bench.pieces;
    while bench.pieces < before + 4 {
        bench.run(5);
    }
    bench.crash(4, 0);
    bench.run(300);
    bench.start(4);
    bench.run(6000);
    assert!(caught_up(&bench, 4));
}

#[test]
fn a_crash_at_each_write_of_a_snapshot_leaves_a_member_that_starts() {
    for kept in 0..4 {
        let (mut bench, leader) = long_group(6);
        bench.change(leader, &[], &[4], &[]).unwrap();
        bench.add(4, joiner(4));
        bench.stalled.insert(4);
        bench.run(200);
        // Its first write is the term.
        bench.flush(4);
        bench.run(1000);
        bench.crash(4, kept);
        bench.stalled.clear();
        bench.start(4);
        bench.run(3000);
        assert!(caught_up(&bench, 4), "{kept} writes kept");
    }
}

/// Each prefix of what a member wrote is a state that it starts from, and goes on with the others from.
#[test]
fn a_restart_from_each_prefix_of_the_writes() {
    let mut kept = 0;
    loop {
        let mut bench = Bench::new(&[1, 2, 3], 7);
        let leader = bench.elect();
        bench.run(200);
        let id = [1, 2, 3].into_iter().find(|id| *id != leader).unwrap();
        bench.stalled.insert(id);
        for n in 0..5 {
            bench.propose(leader, &n.to_string());
            bench.run(10);
        }
        bench.change(leader, &[], &[4], &[]).unwrap();
        bench.add(4, joiner(4));
        bench.run(400);
        let writes = bench.members[&id].pending.len();
        assert!(writes > 5, "{writes}");
        bench.crash(id, kept);
        bench.stalled.clear();
        bench.start(id);
        bench.run(1000);
        assert!(caught_up(&bench, id), "{kept} writes kept");
        if kept == writes {
            break;
        }
        kept += 1;
    }
}

#[test]
fn a_slow_follower_gets_entries_while_they_are_kept_and_else_the_ledger() {
    for (missed, installs) in [(100, 0), (1000, 1)] {
        let mut bench = Bench::new(&[1, 2, 3], 8);
        let leader = bench.elect();
        bench.run(100);
        let id = [1, 2, 3].into_iter().find(|id| *id != leader).unwrap();
        bench.crash(id, 9);
        for n in 0..missed {
            bench.propose(leader, "z");
            if n % 50 == 0 {
                bench.run(10);
            }
        }
        bench.run(200);
        bench.compact(leader);
        bench.start(id);
        bench.run(1500);
        assert!(caught_up(&bench, id));
        assert_eq!(bench.installs, installs, "{missed} missed");
    }
}

#[test]
fn what_is_stored_and_contradicts_itself_is_refused() {
    let start = |stored: &StoredGroup| Engine::new(stored, Pace::default(), 1, LogTicket(1), crate::time::Time::ZERO);
    let lawful = member_of(&[1, 2, 3], 1);
    start(&lawful).unwrap();
    let mut gap = lawful.clone();
    gap.entries = vec![LedgerEntry { index: 3, term: 1, what: crate::wire::LedgerItem::Empty }];
    let mut falls = lawful.clone();
    falls.entries = vec![LedgerEntry { index: 2, term: 0, what: crate::wire::LedgerItem::Empty }];
    let mut nobody = lawful.clone();
    nobody.membership.as_mut().unwrap().raft_id = RaftId(0);
    let mut void = lawful.clone();
    void.snapshot.as_mut().unwrap().0.members.voters.clear();
    let none = StoredGroup { membership: None, ..lawful.clone() };
    for stored in [gap, falls, nobody, void, none] {
        start(&stored).unwrap_err();
    }
    // A commit that is beyond what a crash left is no harm.
    let ahead = StoredGroup { commit: 99, ..lawful };
    assert_eq!(start(&ahead).unwrap().view().committed, 1);
}
