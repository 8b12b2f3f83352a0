//! Tests named after the laws of the paper (Ongaro and Ousterhout, 2014) and of Ongaro's thesis.

use std::time::Duration;

use super::super::*;
use super::bench::*;
use crate::wire::{
    Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Command, Elect, ElectKind, ElectVote, LedgerItem, VoterChange,
};

fn envelope(from: u64, to: u64, term: u64) -> Envelope {
    Envelope { group_id: group(), from: RaftId(from), to: RaftId(to), term }
}

fn entry(index: u64, term: u64) -> LedgerEntry {
    LedgerEntry { index, term, what: LedgerItem::Command(Box::new(set("x", &format!("{index}.{term}")))) }
}

fn vote_of(from: u64, to: u64, term: u64, log: (u64, u64), pre: bool) -> Letter {
    let kind = ElectKind::Vote {
        pre,
        last_log_index: log.0,
        last_log_term: log.1,
        commit_index: 0,
        commit_term: 0,
        transfer: false,
    };
    Letter::Elect(Elect { envelope: envelope(from, to, term), kind })
}

fn append(from: u64, to: u64, term: u64, prev: (u64, u64), entries: Vec<LedgerEntry>, commit: u64) -> Letter {
    let kind = AgreeKind::Append { prev_log_index: prev.0, prev_log_term: prev.1, entries, leader_commit: commit };
    Letter::Agree(Agree { envelope: envelope(from, to, term), kind })
}

/// What this member has said to the other since it was asked last, in words of the protocol.
fn said(bench: &mut Bench, from: u64, to: u64) -> Vec<Letter> {
    let mine = |letter: &Letter| letter.envelope().from.0 == from && letter.envelope().to.0 == to;
    let (some, rest) = std::mem::take(&mut bench.pool).into_iter().partition::<Vec<_>, _>(|(_, it)| mine(it));
    bench.pool = rest;
    some.into_iter().map(|(_, letter)| letter).collect()
}

fn granted(letters: &[Letter]) -> Option<bool> {
    letters.iter().find_map(|letter| match letter {
        Letter::Vote(ElectVote { granted, .. }) => Some(*granted),
        _ => None,
    })
}

/// One engine whose peers are the test itself, and whose clock does not hold a leader in lease.
fn one_of_three(stored: StoredGroup) -> Bench {
    let mut bench = Bench::new(&[], 1);
    bench.by_hand = true;
    bench.stalled.insert(1);
    bench.add(1, stored);
    bench
}

#[test]
fn a_vote_is_not_said_before_it_is_written() {
    let mut bench = one_of_three(member_of(&[1, 2, 3], 1));
    bench.hand_over(vote_of(2, 1, 2, (1, 1), false));
    assert_eq!(granted(&said(&mut bench, 1, 2)), None);
    assert_eq!(bench.members[&1].pending.len(), 1);
    bench.flush(1);
    assert_eq!(granted(&said(&mut bench, 1, 2)), Some(true));
    bench.hand_over(vote_of(3, 1, 2, (1, 1), false));
    bench.flush(1);
    assert_eq!(granted(&said(&mut bench, 1, 3)), Some(false), "one vote in a term");
}

#[test]
fn a_crash_after_a_written_vote_remembers_it_and_after_an_unwritten_one_votes_again() {
    for kept in [0, 1] {
        let mut bench = one_of_three(member_of(&[1, 2, 3], 1));
        bench.hand_over(vote_of(2, 1, 2, (1, 1), false));
        bench.crash(1, kept);
        bench.start(1);
        bench.hand_over(vote_of(3, 1, 2, (1, 1), false));
        bench.flush(1);
        assert_eq!(granted(&said(&mut bench, 1, 3)), Some(kept == 0));
    }
}

#[test]
fn section_5_4_1_only_an_up_to_date_log_gets_a_vote() {
    for (log, expected) in [((3, 2), true), ((2, 3), true), ((2, 2), false), ((9, 1), false), ((4, 2), true)] {
        let mut stored = member_of(&[1, 2, 3], 1);
        stored.entries = vec![entry(2, 2), entry(3, 2)];
        stored.term = 2;
        for pre in [true, false] {
            let mut bench = one_of_three(stored.clone());
            bench.hand_over(vote_of(2, 1, 5, log, pre));
            bench.flush(1);
            assert_eq!(granted(&said(&mut bench, 1, 2)), Some(expected), "{log:?}, pre-vote {pre}");
        }
    }
}

#[test]
fn commit_is_bounded_by_the_last_new_entry() {
    let mut stored = member_of(&[1, 2, 3], 1);
    // An old leader's entries, which the new leader has not replaced yet.
    stored.entries = vec![entry(2, 2), entry(3, 2), entry(4, 2)];
    stored.term = 2;
    let mut bench = one_of_three(stored);
    bench.hand_over(append(2, 1, 3, (2, 2), vec![], 4));
    bench.flush(1);
    assert_eq!(bench.engine(1).view().committed, 2, "what follows may be another leader's");
    bench.hand_over(append(2, 1, 3, (2, 2), vec![entry(3, 3)], 9));
    bench.flush(1);
    let view = bench.engine(1).view();
    assert_eq!((view.committed, view.last, view.applied), (3, 3, 3), "and what contradicts is gone");
}

/// Figure 8: an entry of an older term on a majority is not agreed on by being counted.
#[test]
fn figure_8_an_older_terms_entry_is_agreed_on_only_with_one_of_the_leaders_own() {
    let mut stored = member_of(&[1, 2, 3], 1);
    stored.entries = vec![entry(2, 2)];
    stored.term = 3;
    let mut bench = one_of_three(stored);
    bench.stalled.clear();
    // It wins term 4 with the vote of 2; 3 is never heard.
    for _ in 0..200 {
        bench.run(5);
        let letters = said(&mut bench, 1, 2);
        for letter in letters {
            if let Letter::Elect(Elect { kind: ElectKind::Vote { pre, .. }, envelope: asked }) = letter {
                let envelope = envelope(2, 1, asked.term);
                let vote = ElectVote { envelope, pre, granted: true, commit_index: 0, commit_term: 0 };
                bench.hand_over(Letter::Vote(vote));
            }
        }
        if bench.leader().is_some() {
            break;
        }
    }
    let term = bench.engine(1).standing().term;
    assert_eq!((bench.leader(), term), (Some(1), 4));
    bench.flush(1);
    let answer = |match_index| {
        let kind = AgreeAnswerKind::Append { success: true, match_index, hint: None, commit_index: 1 };
        Letter::Answer(AgreeAnswer { envelope: envelope(2, 1, 4), kind })
    };
    bench.hand_over(answer(2));
    assert_eq!(bench.engine(1).view().committed, 1, "entry 2 of term 2 is on a majority, and yet not agreed on");
    bench.hand_over(answer(3));
    assert_eq!(bench.engine(1).view().committed, 3, "the empty entry of term 4 takes it along");
}

#[test]
fn a_leaders_own_entry_counts_only_once_it_is_written() {
    let mut bench = Bench::new(&[1, 2, 3], 5);
    let leader = bench.elect();
    bench.run(100);
    bench.stalled.insert(leader);
    let (index, _) = bench.propose(leader, "a");
    let other = *bench.members.keys().find(|id| **id != leader).unwrap();
    bench.isolate(other);
    bench.run(100);
    assert!(bench.engine(leader).view().committed < index, "one written copy is no majority of three");
    bench.stalled.clear();
    bench.run(50);
    assert!(bench.engine(leader).view().committed >= index);
}

/// A leader applies what it was given, the others what they have read: a duration that its text cannot hold made two ledgers of one log.
#[test]
fn a_leader_holds_each_entry_as_the_others_read_it() {
    let mut bench = Bench::new(&[1, 2, 3], 5);
    let leader = bench.elect();
    let ttl = Duration::from_micros(19_945_844);
    let acquire = Command::Acquire { name: "x".to_owned(), holder: "a".to_owned(), ttl };
    bench.with(leader, |engine, now| engine.propose(acquire, now)).unwrap();
    let entry = bench.engine(leader).entries_tail(1).remove(0);
    assert!(matches!(&entry.what, LedgerItem::Command(command) if command.as_str() == "ACQUIRE"), "{entry:?}");
    let mut text = String::new();
    entry.to_json(&mut text);
    assert_eq!(LedgerEntry::from_json(&text), Ok(entry));
}

/// A member that claims what the leader has not yet written itself would be counted for it later.
#[test]
fn a_match_beyond_the_leaders_log_counts_for_nothing() {
    let mut bench = Bench::new(&[1, 2, 3], 5);
    let leader = bench.elect();
    bench.run(200);
    bench.isolate(leader);
    let (before, term) = (bench.engine(leader).view(), bench.engine(leader).standing().term);
    let liar = if leader == 1 { 2 } else { 1 };
    let kind = AgreeAnswerKind::Append {
        success: true,
        match_index: before.last + 2,
        hint: None,
        commit_index: before.committed,
    };
    let lie = Letter::Answer(AgreeAnswer { envelope: envelope(liar, leader, term), kind });
    let taken = bench.with(leader, |engine, now| engine.step(lie, now));
    bench.propose(leader, "a");
    bench.propose(leader, "b");
    bench.flush(leader);
    assert_eq!(bench.engine(leader).view().committed, before.committed, "nobody else has them");
    assert!(matches!(taken, Err(Refused::Unlawful(_))), "{taken:?}");
}

#[test]
fn a_lone_voter_says_nothing_of_a_term_that_it_may_forget() {
    let mut bench = Bench::new(&[1], 3);
    bench.elect();
    bench.change(1, &[], &[2], &[]).unwrap();
    bench.add(2, joiner(2));
    bench.run(500);
    bench.compact(1);
    bench.flush(1);
    bench.crash(1, 9);
    bench.stalled.insert(1);
    bench.pool.clear();
    bench.start(1);
    // The bench checks each letter against the disk as well.
    bench.run(200);
    let letters = said(&mut bench, 1, 2);
    assert!(letters.is_empty(), "{letters:?}");
    assert_eq!(bench.leader(), Some(1));
    bench.stalled.clear();
    bench.run(100);
    assert_eq!(bench.members[&2].applied, bench.members[&1].applied);
}

#[test]
fn one_change_of_voters_at_a_time() {
    let mut bench = Bench::new(&[1, 2, 3], 7);
    let leader = bench.elect();
    bench.run(100);
    for other in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        bench.stalled.insert(other);
    }
    bench.change(leader, &[], &[4], &[]).unwrap();
    let refused = bench.change(leader, &[], &[5], &[]);
    assert!(matches!(refused, Err(Refused::NotNow(_))), "{refused:?}");
    bench.stalled.clear();
    bench.run(100);
    bench.change(leader, &[], &[5], &[]).unwrap();
    bench.run(100);
    assert_eq!(bench.engine(leader).view().members.learners, ids(&[4, 5]));
}

#[test]
fn what_is_proposed_in_one_turn_is_one_letter_to_each_and_waits_for_nothing_else() {
    let mut bench = Bench::new(&[1, 2, 3], 40);
    let leader = bench.elect();
    bench.run(100);
    bench.by_hand = true;
    bench.pool.clear();
    let proposed: Vec<(u64, u64)> = (0..10)
        .map(|n: u64| bench.with(leader, |engine, now| engine.propose(set("x", &n.to_string()), now)).unwrap())
        .collect();
    assert_eq!(bench.pool, [], "nobody hears of them before the turn ends");
    assert!(bench.engine(leader).deadline().is_some_and(|due| due <= bench.now), "which is due at once");
    bench.with(leader, |engine, now| engine.tick(now));
    for other in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        let letters = said(&mut bench, leader, other);
        let [Letter::Agree(Agree { kind: AgreeKind::Append { entries, prev_log_index, .. }, .. })] = &letters[..]
        else {
            panic!("{letters:?}")
        };
        assert_eq!(entries.iter().map(|it| (it.index, it.term)).collect::<Vec<_>>(), proposed);
        assert_eq!(prev_log_index + 1, proposed[0].0);
        letters.into_iter().for_each(|letter| bench.pool.push((bench.now, letter)));
    }
    // Anything else that comes first ends the turn too.
    bench.with(leader, |engine, now| engine.propose(set("x", "last"), now)).unwrap();
    let before = bench.pool.len();
    bench.flush(leader);
    assert_eq!(bench.pool.len(), before + 2, "a write that is done");
    bench.by_hand = false;
    bench.run(50);
    assert_eq!(bench.members[&leader].applied, proposed[9].0 + 1);
}

#[test]
fn a_change_waits_until_the_leader_has_agreed_on_an_entry_of_its_term() {
    let mut bench = Bench::new(&[1, 2, 3], 8);
    let first = bench.elect();
    bench.run(100);
    bench.crash(first, 9);
    while bench.leader().is_none() {
        bench.run(5);
    }
    let leader = bench.leader().unwrap();
    assert!(matches!(bench.change(leader, &[], &[4], &[]), Err(Refused::NotNow(_))));
    bench.run(200);
    bench.change(leader, &[], &[4], &[]).unwrap();
}

#[test]
fn a_change_of_two_is_joint_and_ends_by_itself() {
    let mut bench = Bench::new(&[1, 2, 3], 9);
    let leader = bench.elect();
    bench.change(leader, &[], &[4], &[]).unwrap();
    bench.add(4, joiner(4));
    bench.run(500);
    let gone = [1, 2, 3].into_iter().find(|id| *id != leader).unwrap();
    bench.change(leader, &[4], &[], &[gone]).unwrap();
    bench.run(300);
    let members = bench.engine(leader).view().members;
    assert!(members.voters_outgoing.is_empty() && !members.voters.contains(&RaftId(gone)));
    assert!(members.voters.contains(&RaftId(4)));
    let changes = bench.agreed.values().filter(|entry| matches!(entry.what, LedgerItem::Change(_))).count();
    assert_eq!(changes, 3, "the learner, the joint change, its end");
}

#[test]
fn changes_that_contradict_the_members_are_refused() {
    let mut bench = Bench::new(&[1, 2, 3], 10);
    let leader = bench.elect();
    bench.run(100);
    let before = bench.engine(leader).view();
    let cases: [(&[u64], &[u64], &[u64]); 7] = [
        (&[], &[], &[]),
        (&[1], &[], &[]),
        (&[], &[], &[9]),
        (&[4], &[4], &[]),
        (&[0], &[], &[]),
        (&[], &[], &[leader]),
        (&[4, 5, 6], &[], &[]),
    ];
    for (voters, learners, remove) in cases {
        bench.change(leader, voters, learners, remove).unwrap_err();
    }
    assert_eq!(bench.engine(leader).view(), before);
    let follower = bench.members.keys().copied().find(|id| *id != leader).unwrap();
    assert_eq!(bench.change(follower, &[], &[4], &[]), Err(Refused::NotLeader));
    let refused = bench.with(follower, |engine, now| engine.propose(set("x", "y"), now));
    assert_eq!(refused, Err(Refused::NotLeader));
    assert_eq!(bench.with(follower, |engine, now| engine.read(1, now)), Err(Refused::NotLeader));
    assert_eq!(bench.with(follower, |engine, now| engine.transfer(RaftId(leader), now)), Err(Refused::NotLeader));
}

/// Section 9.6 of the thesis: who comes back does not depose a healthy leader.
#[test]
fn pre_vote_a_member_that_was_cut_off_comes_back_quietly() {
    let mut bench = Bench::new(&[1, 2, 3], 11);
    let leader = bench.elect();
    let term = bench.engine(leader).standing().term;
    let other = [1, 2, 3].into_iter().find(|id| *id != leader).unwrap();
    bench.isolate(other);
    bench.run(5000);
    assert_eq!(bench.engine(other).standing().term, term, "asking changes no term");
    bench.heal();
    bench.run(1000);
    assert_eq!((bench.leader(), bench.engine(leader).standing().term), (Some(leader), term));
}

#[test]
fn a_suspended_member_comes_back_quietly_and_a_suspended_leader_follows() {
    let mut bench = Bench::new(&[1, 2, 3], 12);
    let leader = bench.elect();
    let term = bench.engine(leader).standing().term;
    let other = [1, 2, 3].into_iter().find(|id| *id != leader).unwrap();
    let sleep = |bench: &mut Bench, id: u64| {
        let until = bench.now + Duration::from_secs(5);
        bench.members.get_mut(&id).unwrap().asleep_until = until;
        bench.run(6000);
    };
    sleep(&mut bench, other);
    assert_eq!((bench.leader(), bench.engine(leader).standing().term), (Some(leader), term));
    let candidates = bench.members[&other].roles.iter().filter(|role| role.role == GroupRole::Candidate).count();
    let before = bench.members[&other].roles.iter().filter(|role| role.term < term).count();
    assert!(candidates <= before, "it did not even ask: {:?}", bench.members[&other].roles);
    sleep(&mut bench, leader);
    assert_ne!(bench.leader(), Some(leader));
    assert_eq!(bench.engine(leader).standing().role, GroupRole::Follower);
}

#[test]
fn check_quorum_a_leader_that_hears_nobody_steps_down() {
    let mut bench = Bench::new(&[1, 2, 3], 13);
    let leader = bench.elect();
    bench.isolate(leader);
    bench.run(700);
    assert_ne!(bench.engine(leader).standing().role, GroupRole::Leader);
    assert!(bench.leader().is_some_and(|other| other != leader), "and the others have one");
}

#[test]
fn section_3_10_leadership_is_handed_over_within_a_few_round_trips() {
    let mut bench = Bench::new(&[1, 2, 3], 14);
    let leader = bench.elect();
    bench.run(200);
    let to = [1, 2, 3].into_iter().find(|id| *id != leader).unwrap();
    bench.with(leader, |engine, now| engine.transfer(RaftId(to), now)).unwrap();
    assert!(matches!(
        bench.with(leader, |engine, now| engine.propose(set("x", "y"), now)),
        Err(Refused::NotNow(_)) | Err(Refused::NotLeader)
    ));
    bench.run(60);
    assert_eq!(bench.leader(), Some(to));
    let silent = [1, 2, 3].into_iter().find(|id| *id != leader && *id != to).unwrap();
    bench.isolate(silent);
    bench.run(800);
    assert!(bench.with(to, |engine, now| engine.transfer(RaftId(silent), now)).is_err());
}

#[test]
fn section_6_4_a_read_needs_a_round_of_heartbeats() {
    let mut bench = Bench::new(&[1, 2, 3], 15);
    let leader = bench.elect();
    bench.run(100);
    let (index, _) = bench.propose(leader, "a");
    bench.run(50);
    bench.marks.extend([(1, index), (2, index)]);
    bench.with(leader, |engine, now| engine.read(1, now)).unwrap();
    assert_eq!(bench.members[&leader].reads, []);
    bench.with(leader, |engine, now| engine.read(2, now)).unwrap();
    bench.run(60);
    assert_eq!(bench.members[&leader].reads, [(1, Some(index)), (2, Some(index))]);
}

#[test]
fn section_6_4_a_deposed_leader_answers_no_read() {
    let mut bench = Bench::new(&[1, 2, 3], 16);
    let old = bench.elect();
    bench.run(100);
    // It is asleep while another is elected and agrees on something.
    let until = bench.now + Duration::from_secs(3);
    bench.members.get_mut(&old).unwrap().asleep_until = until;
    bench.run(2000);
    let new = bench.leader().filter(|id| *id != old);
    let new = new.unwrap_or_else(|| {
        bench
            .members
            .keys()
            .copied()
            .find(|id| *id != old && bench.engine(*id).standing().role == GroupRole::Leader)
            .unwrap()
    });
    let (index, _) = bench.propose(new, "b");
    bench.run(100);
    assert!(bench.members[&new].applied >= index);
    bench.marks.insert(7, index);
    bench.with(old, |engine, now| engine.read(7, now)).unwrap();
    assert_eq!(bench.members[&old].reads, [], "it still believes that it leads, and does not answer");
    bench.run(2000);
    assert_eq!(bench.members[&old].reads, [(7, None)]);
}

#[test]
fn a_lone_voter_reads_at_once_and_needs_nobody() {
    let stored =
        founding(GroupId::new("fedcba9876543210").unwrap(), joiner(1).membership.unwrap(), (1, 1), String::new());
    let mut bench = Bench::new(&[], 17);
    bench.add(1, stored);
    assert_eq!(bench.leader(), Some(1), "there is nothing to wait for");
    bench.marks.insert(1, 2);
    bench.with(1, |engine, now| engine.read(1, now)).unwrap();
    assert_eq!(bench.members[&1].reads, [], "its first entry is not agreed on yet");
    bench.flush(1);
    assert_eq!(bench.members[&1].reads, [(1, Some(2))]);
    bench.marks.insert(2, 2);
    bench.with(1, |engine, now| engine.read(2, now)).unwrap();
    assert_eq!(bench.members[&1].reads.len(), 2);
    bench.run(2000);
    assert_eq!(bench.engine(1).deadline(), None, "a founder alone sleeps");
    assert!(bench.engine(1).next_ticket() > LogTicket(1));
}

#[test]
fn a_late_loop_waits_longer_before_it_stands() {
    let silence = |late: u64| {
        let mut bench = one_of_three(member_of(&[1, 2, 3], 1));
        let start = bench.now;
        loop {
            bench.run(5);
            bench.flush(1);
            if late > 0 {
                bench.with(1, |engine, _| engine.delayed(Duration::from_millis(late)));
            }
            if !said(&mut bench, 1, 2).is_empty() {
                return bench.now.since(start);
            }
        }
    };
    assert!((Duration::from_millis(250)..=Duration::from_millis(560)).contains(&silence(0)));
    assert!(silence(4) > Duration::from_secs(1), "of each 5 ms, 4 were not heard in");
}

#[test]
fn election_timeouts_are_spread_and_drawn_from_the_seed() {
    let stands = |seed: u64| {
        let mut engine =
            Engine::new(&member_of(&[1, 2, 3], 1), Pace::default(), seed, LogTicket(1), crate::time::Time::ZERO)
                .unwrap();
        let mut stood = Vec::new();
        for ms in 0..4000 {
            let now = crate::time::Time::from_micros(ms * 1000);
            engine.tick(now);
            while let Some(effect) = engine.poll_effect() {
                if let Effect::Send { to: RaftId(2), letter: Letter::Elect(_) } = effect {
                    stood.push(ms);
                }
            }
        }
        stood
    };
    assert_eq!(stands(1), stands(1), "the crate's own chance has no part");
    let first: std::collections::BTreeSet<u64> = (0..60).map(|seed| stands(seed)[0]).collect();
    assert!(first.len() > 15, "{first:?}");
    assert!(first.iter().all(|ms| (250..=510).contains(ms)), "{first:?}");
    let times = stands(1);
    let gaps: std::collections::BTreeSet<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() > 3, "drawn anew each time: {gaps:?}");
}

#[test]
fn a_removed_leader_leads_no_more() {
    // The old leader proposed to remove 2, and 2 became leader with that entry in its log.
    let change = VoterChange { remove: ids(&[2]), ..VoterChange::default() };
    let mut bench = Bench::new(&[], 19);
    for id in [1, 2, 3] {
        let mut stored = member_of(&[1, 2, 3], id);
        if id != 1 {
            stored.entries = vec![LedgerEntry { index: 2, term: 2, what: LedgerItem::Change(change.clone()) }];
        }
        stored.term = 2;
        bench.add(id, stored);
    }
    bench.by_hand = true;
    while !bench.leaders.values().any(|id| *id == 2) {
        bench.run(5);
        // 3 may vote, and not stand.
        bench.pool.retain(|(_, letter)| !matches!(letter, Letter::Elect(elect) if elect.envelope.from.0 == 3));
        bench.deliver(|_| true);
    }
    bench.by_hand = false;
    bench.run(2000);
    let leader = bench.leader().unwrap();
    assert_ne!(leader, 2);
    assert_eq!(bench.engine(leader).view().members.voters, ids(&[1, 3]));
    assert_eq!(bench.engine(2).standing().role, GroupRole::Learner);
}

#[test]
fn a_learner_votes_for_who_knows_that_it_has_a_vote() {
    let mut bench = Bench::new(&[], 20);
    let mut learner = member_of(&[1], 2);
    learner.snapshot.as_mut().unwrap().0.members.learners = ids(&[2]);
    bench.add(1, member_of(&[1, 2], 1));
    bench.add(2, learner);
    assert_eq!(bench.elect(), 1);
    bench.run(200);
    bench.crash(1, 9);
    bench.start(1);
    assert_eq!(bench.elect(), 1, "it has just heard a leader, and votes once that is long ago");
}

#[test]
fn who_has_not_written_its_log_does_not_stand() {
    let mut bench = one_of_three(member_of(&[1, 2], 1));
    let change = VoterChange { remove: ids(&[2]), ..VoterChange::default() };
    let removal = LedgerEntry { index: 2, term: 2, what: LedgerItem::Change(change) };
    bench.hand_over(append(2, 1, 2, (1, 1), vec![removal], 2));
    bench.flush(1);
    assert_eq!(bench.engine(1).view().members.voters, ids(&[1]));
    bench.hand_over(append(2, 1, 2, (2, 2), vec![entry(3, 2)], 2));
    bench.run(1000);
    assert_eq!(
        bench.engine(1).standing().role,
        GroupRole::Follower,
        "alone it would lead at once, with what it may lose"
    );
    bench.flush(1);
    bench.run(1000);
    assert_eq!(bench.leader(), Some(1));
}

#[test]
fn a_vote_that_was_not_asked_for_yet_counts_for_nothing() {
    let mut bench = one_of_three(member_of(&[1, 2, 3], 1));
    bench.run(600);
    let vote = |pre, term| {
        let envelope = envelope(2, 1, term);
        Letter::Vote(ElectVote { envelope, pre, granted: true, commit_index: 0, commit_term: 0 })
    };
    bench.hand_over(vote(true, 2));
    assert_eq!(bench.engine(1).standing().term, 2);
    bench.hand_over(vote(false, 2));
    assert_eq!(bench.leader(), None, "its own vote is not written, and it has asked nobody");
    bench.flush(1);
    bench.hand_over(vote(false, 2));
    assert_eq!(bench.leader(), Some(1));
}
