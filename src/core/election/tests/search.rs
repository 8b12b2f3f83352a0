//! A bounded search over the actions of three engines. An engine cannot be cloned, so each path is rebuilt from its begin;
//! what the oracle of the bench forbids is found on the shortest path to it.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use super::super::*;
use super::bench::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// This one hears nothing for as long as it takes to stand.
    Silence(u64),
    /// The oldest letter of this one arrives, and the next ones, until the first does not reach anybody.
    Deliver(u64),
    /// The oldest letter of this one is lost.
    Lose(u64),
    /// Its disk writes.
    Flush(u64),
    /// It crashes, and is started again: nothing that waits is written.
    Crash(u64),
    Propose(u64),
}

fn acts() -> Vec<Act> {
    let mut acts = Vec::new();
    for id in [1, 2, 3] {
        acts.extend([Act::Deliver(id), Act::Flush(id), Act::Crash(id)]);
        if id < 3 {
            acts.extend([Act::Silence(id), Act::Propose(id), Act::Lose(id)]);
        }
    }
    acts
}

fn begin() -> Bench {
    let mut bench = Bench::new(&[1, 2, 3], 1);
    bench.by_hand = true;
    bench
}

fn perform(bench: &mut Bench, act: Act) {
    match act {
        Act::Silence(id) => {
            for _ in 0..11 {
                bench.now = bench.now + std::time::Duration::from_millis(50);
                bench.with(id, |engine, now| engine.tick(now));
            }
        }
        Act::Deliver(to) => {
            if let Some(place) = bench.pool.iter().position(|(_, letter)| letter.envelope().to.0 == to) {
                let (_, letter) = bench.pool.remove(place);
                bench.hand_over(letter);
            }
        }
        Act::Lose(from) => {
            if let Some(place) = bench.pool.iter().position(|(_, letter)| letter.envelope().from.0 == from) {
                bench.pool.remove(place);
            }
        }
        Act::Flush(id) => bench.flush(id),
        Act::Crash(id) => {
            bench.crash(id, 0);
            bench.start(id);
        }
        Act::Propose(id) => {
            if bench.engine(id).standing().role == GroupRole::Leader && bench.engine(id).view().last < 5 {
                bench.propose(id, "x");
            }
        }
    }
}

/// What tells two states apart, as far as the search cares.
fn print(bench: &Bench) -> u64 {
    let mut print = Trace(0xcbf2_9ce4_8422_2325);
    for (id, member) in &bench.members {
        let engine = bench.engine(*id);
        (id, &member.stored, member.applied, engine.standing(), engine.view(), engine.entries_tail(9)).hash(&mut print);
        for (ticket, write, _) in &member.pending {
            (ticket, write).hash(&mut print);
        }
    }
    for (_, letter) in &bench.pool {
        letter.hash(&mut print);
    }
    print.finish()
}

/// Breadth first from the end of `way`, at most `most` states. How many there were, and how many leaders.
fn search(way: &[Act], most: usize) -> (usize, u64) {
    let mut seen = BTreeSet::new();
    let mut paths: Vec<Vec<Act>> = vec![way.to_vec()];
    let (mut next, mut leaders) = (0, 0);
    while next < paths.len() && seen.len() < most {
        for act in acts() {
            let mut path = paths[next].clone();
            path.push(act);
            let mut bench = begin();
            for act in &path {
                perform(&mut bench, *act);
            }
            if seen.insert(print(&bench)) {
                leaders = leaders.max(bench.leaders.keys().count() as u64);
                paths.push(path);
            }
        }
        next += 1;
    }
    (seen.len(), leaders)
}

#[test]
fn no_short_path_from_the_begin_breaks_a_law() {
    let (states, _) = search(&[], 1500);
    assert!(states >= 1500, "{states}");
}

/// Two of three stand in a row: what the first has begun is where laws break.
#[test]
fn no_short_path_around_two_elections_breaks_a_law() {
    use Act::*;
    // Pre-vote and vote of 1 with the help of 2.
    let elected = [Silence(1), Deliver(2), Deliver(1), Flush(1), Deliver(2), Flush(2), Deliver(1)];
    let mut bench = begin();
    elected.iter().for_each(|act| perform(&mut bench, *act));
    assert_eq!(bench.leader(), Some(1), "{:?}", bench.pool);
    let (states, leaders) = search(&elected, 1500);
    assert!(states >= 1500 && leaders >= 1);
    let again = [Propose(1), Silence(2), Silence(3), Deliver(3), Deliver(2), Flush(2)];
    let (states, _) = search(&[&elected[..], &again[..]].concat(), 1500);
    assert!(states >= 1500);
}
