//! Whose turn it is, step by step: B owns the workers, A and C want them.

use super::*;
use crate::core::loans::LoanConfig;

fn owner() -> Desk {
    Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() })
}

/// What a native master asks, while these workers are at B.
fn asked_by(name: &str, port: u16, needed: u32, workers: &[&str]) -> Asked {
    let from = own(name, port);
    let (master, named, address) = (Some(from.server_id), Some(from.name), Some(from.address));
    Asked {
        from: IpAddr::from([10, 0, 0, (port - 9100) as u8]),
        request: LoanRequest { master, name: named, address, port: Some(port), ..request(needed) },
        known: Some(neighbour(name, port)),
        ..asked(needed, workers)
    }
}

/// It asks; what B does then. Who gets something is seen to have it.
fn asks_for(desk: &mut Desk, name: &str, needed: u32, workers: &[&str], now: u64) -> Vec<Effect> {
    let port = if name == "A" { 9101 } else { 9103 };
    desk.pass(at(now));
    desk.loans.asked(asked_by(name, port, needed, workers), at(now));
    let effects = desk.effects();
    let effects = desk.agree(effects);
    for (worker, _) in orders(&effects) {
        desk.loans.left(&worker, at(now));
        renew(desk, name);
    }
    effects
}

/// A borrower renews all that it has.
fn renew(desk: &mut Desk, from: &str) {
    let loans = desk.loans.owner.views(desk.now).into_iter().filter(|view| view.peer == from);
    let loans = loans.map(|view| view.loan_id).collect();
    desk.loans.renew(reply(4, "n"), &id(from), true, loans, desk.now);
    desk.effects();
}

/// Until then, all loans are renewed every ten seconds.
fn goes_on(desk: &mut Desk, until: u64) {
    let mut now = desk.now;
    while now < at(until) {
        now = (now + seconds(10)).min(at(until));
        desk.pass(now);
        renew(desk, "A");
        renew(desk, "C");
    }
}

fn recalled(effects: &[Effect]) -> Vec<ServerId> {
    let recalled = actions(effects).into_iter().filter_map(|(_, _, action)| match action {
        LoanAction::Recall { worker, .. } => Some(worker),
        _ => None,
    });
    recalled.collect()
}

fn comes_home(desk: &mut Desk, worker: &str) {
    let epoch = desk.loans.owner.view_of(&id(worker), desk.now).unwrap().0.epoch;
    desk.loans.home(&id(worker), epoch, 0, desk.now);
    desk.effects();
}

fn given(effects: &[Effect]) -> Vec<ServerId> {
    orders(effects).into_iter().map(|(worker, _)| worker).collect()
}

#[test]
fn who_has_all_gives_some_back_after_its_turn_and_they_are_kept_for_who_waits() {
    let mut desk = owner();
    assert_eq!(given(&asks_for(&mut desk, "A", 4, &["w1", "w2", "w3", "w4"], 0)).len(), 4);
    for now in [1000, 20_000, 59_000] {
        goes_on(&mut desk, now);
        let effects = asks_for(&mut desk, "C", 4, &[], now);
        assert_eq!((refusal_of(&effects), recalled(&effects)), ("no_workers_available", vec![]), "A has its turn");
    }
    goes_on(&mut desk, 60_000);
    let effects = asks_for(&mut desk, "C", 4, &[], 60_000);
    assert_eq!(recalled(&effects), [id("w1"), id("w2")], "two each");
    let effects = asks_for(&mut desk, "C", 4, &[], 61_000);
    assert_eq!(recalled(&effects), [], "they are on their way");
    comes_home(&mut desk, "w1");
    comes_home(&mut desk, "w2");
    goes_on(&mut desk, 70_000);
    let why = desk.loans.why(&id("w1"), &[candidate("w1"), candidate("w2")], desk.now).unwrap();
    assert_eq!(why, "not lent: it is kept for a borrower that waits, until it asks again");
    let effects = asks_for(&mut desk, "A", 4, &["w1", "w2"], 70_000);
    assert_eq!(refusal_of(&effects), "no_workers_available");
    assert!(
        desk.decisions.last().unwrap().contains("kept for another master that waits"),
        "{:?}",
        desk.decisions.last()
    );
    assert_eq!(given(&asks_for(&mut desk, "C", 4, &["w1", "w2"], 71_000)), [id("w1"), id("w2")]);
    // Both have two: nobody is sent on its way any more, whoever asks.
    for now in [100_000, 140_000, 180_000, 220_000] {
        goes_on(&mut desk, now);
        assert_eq!(recalled(&asks_for(&mut desk, "A", 2, &[], now)), []);
        assert_eq!(recalled(&asks_for(&mut desk, "C", 2, &[], now + 1)), []);
    }
}

#[test]
fn one_worker_is_shared_by_turns() {
    let mut desk = owner();
    asks_for(&mut desk, "A", 1, &["w1"], 0);
    let mut has = ("A", "C");
    let mut now = 0;
    for _ in 0..4 {
        let (holder, waits) = has;
        now += 59_000;
        goes_on(&mut desk, now);
        assert_eq!(recalled(&asks_for(&mut desk, waits, 1, &[], now)), [], "{holder} has its turn");
        now += 2000;
        goes_on(&mut desk, now);
        assert_eq!(recalled(&asks_for(&mut desk, waits, 1, &[], now)), [id("w1")]);
        comes_home(&mut desk, "w1");
        now += 6000;
        assert_eq!(refusal_of(&asks_for(&mut desk, holder, 1, &["w1"], now)), "no_workers_available");
        now += 1;
        assert_eq!(given(&asks_for(&mut desk, waits, 1, &["w1"], now)), [id("w1")]);
        has = (waits, holder);
    }
}

#[test]
fn who_does_not_ask_again_is_waited_for_no_longer_than_a_minute() {
    let mut desk = owner();
    asks_for(&mut desk, "A", 2, &["w1", "w2"], 0);
    goes_on(&mut desk, 60_000);
    assert_eq!(recalled(&asks_for(&mut desk, "C", 2, &[], 60_000)), [id("w1")]);
    comes_home(&mut desk, "w1");
    goes_on(&mut desk, 119_000);
    assert_eq!(refusal_of(&asks_for(&mut desk, "A", 1, &["w1"], 119_000)), "no_workers_available");
    goes_on(&mut desk, 120_000);
    assert_eq!(given(&asks_for(&mut desk, "A", 1, &["w1"], 120_000)), [id("w1")]);
}

#[test]
fn who_is_lost_is_waited_for_no_longer_and_what_it_cannot_use_is_not_sent_for() {
    let mut desk = owner();
    asks_for(&mut desk, "A", 2, &["w1", "w2"], 0);
    goes_on(&mut desk, 61_000);
    let mut other = asked_by("C", 9103, 2, &[]);
    other.request.native =
        other.request.native.map(|native| NativeLoanRequest { services: vec![service("render")], ..native });
    desk.loans.asked(other, desk.now);
    assert_eq!(recalled(&desk.effects()), [], "neither of them can render");
    assert_eq!(recalled(&asks_for(&mut desk, "C", 2, &[], 61_500)), [id("w1")]);
    comes_home(&mut desk, "w1");
    goes_on(&mut desk, 70_000);
    let now = desk.now;
    desk.loans.peer_timeout(&id("C"), now);
    assert_eq!(given(&asks_for(&mut desk, "A", 1, &["w1"], 70_000)), [id("w1")]);
}

#[test]
fn a_borrower_alone_waits_for_nobody() {
    let mut desk = owner();
    asks_for(&mut desk, "A", 1, &["w1"], 0);
    goes_on(&mut desk, 100_000);
    assert_eq!(recalled(&asks_for(&mut desk, "A", 1, &[], 100_000)), []);
    assert_eq!(desk.loans.owner.waiting(desk.now), 0);
}
