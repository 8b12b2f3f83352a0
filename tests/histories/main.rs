//! What clients of a group see while its nodes are killed, stopped and cut off from each other, checked for linearizability.
//!
//! A run prints its seed. `MUTIRAO_HISTORY_SEED` draws the same calls and faults again, `MUTIRAO_HISTORY_SECONDS` makes a run longer,
//! `MUTIRAO_HISTORY_NODES` says how many nodes there are.
#![cfg(unix)]

mod book;
mod check;
mod clients;
mod contenders;
mod lease;
#[cfg(target_os = "linux")]
mod network;
mod processes;
mod register;
mod seed;
#[path = "../support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use book::Book;
use clients::{Caller, Doors, rounds};
use contenders::Belief;
use seed::{Draw, from_env, seed};
use support::group::{Masters, QUICK};
use support::wait_until;

const CALLERS: usize = 5;
const CONTENDERS: usize = 3;

/// How long a run lasts, and how many nodes it has.
fn size(seconds: u64, nodes: usize) -> (Duration, usize) {
    let seconds = from_env("MUTIRAO_HISTORY_SECONDS").unwrap_or(seconds);
    (Duration::from_secs(seconds), from_env("MUTIRAO_HISTORY_NODES").map_or(nodes, |nodes| nodes as usize))
}

/// Tells the threads of a run to end, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets clients call while faults come and go, then checks what they have seen.
fn run(doors: &dyn Doors, seed: u64, lasts: Duration, mut fault: impl FnMut(&mut Draw) -> String + Send) {
    let (book, stop) = (Book::default(), AtomicBool::new(false));
    let mut callers: Vec<Caller<'_>> = (0..CALLERS).map(|nth| Caller::new(nth, doors, &book, seed)).collect();
    let until = Instant::now() + lasts;
    let (faults, rounds, beliefs) = thread::scope(|scope| {
        let ends = &stop;
        let contenders: Vec<_> =
            (0..CONTENDERS).map(|nth| scope.spawn(move || contenders::contend(nth, doors, seed, ends))).collect();
        let nemesis = scope.spawn(move || {
            let (mut draw, mut faults) = (Draw::new(seed, 0), 0);
            while !ends.load(Ordering::Relaxed) {
                println!("{}", fault(&mut draw));
                faults += 1;
            }
            faults
        });
        let rounds = {
            let _stops = Stop(&stop);
            rounds(&mut callers, until)
        };
        let faults: u64 = nemesis.join().expect("the faults end");
        let beliefs: Vec<Belief> =
            contenders.into_iter().flat_map(|contender| contender.join().expect("contenders end")).collect();
        (faults, rounds, beliefs)
    });
    // All is healed: every node answers every read.
    for nth in 0..doors.count() {
        wait_until(&format!("node {nth} to answer reads"), || callers[0].read_all(nth));
    }
    let (answers, done) = (book.answers(), book.counted("OK"));
    println!("{faults} faults, {rounds} rounds; answers: {answers}");
    let checked = book.check().unwrap_or_else(|error| panic!("{error}"));
    let held = contenders::check(beliefs).unwrap_or_else(|error| panic!("{error}"));
    println!("{checked:?}; {held} terms of one holder after the other");
    let seconds = lasts.as_secs();
    assert!(faults >= seconds / 8 && done >= 10 * seconds && held as u64 >= seconds / 20, "that proves little");
    assert!(checked.unsettled * 100 <= checked.windows, "windows are too long to search: {checked:?}");
}

#[test]
fn what_is_agreed_on_is_linearizable_while_nodes_are_killed_and_stopped() {
    let (lasts, nodes) = size(20, 3);
    let seed = seed();
    let mut masters = Masters::started(nodes, &QUICK);
    let ports = processes::Ports((0..nodes).map(|nth| masters.node(nth).port).collect());
    run(&ports, seed, lasts, |draw| processes::fault(&mut masters, nodes, draw));
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root, ip and nft; run by .ci/run"]
fn what_is_agreed_on_is_linearizable_while_the_network_is_cut() {
    let (lasts, nodes) = size(25, 5);
    let seed = seed();
    let lab = network::Lab::started(nodes);
    run(&lab, seed, lasts, |draw| lab.fault(draw));
}
