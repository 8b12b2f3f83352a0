//! The borrower's side, step by step.

use super::*;
use crate::wire::{LoanState, MoveKind, RequestId};

const EPOCH: Epoch = Epoch { generation: 0, counter: 7 };

pub(super) fn loan(n: u64) -> LoanId {
    LoanId::new(format!("B-{n}")).unwrap()
}

pub(super) fn offer(worker: &str, n: u64) -> OfferedWorker {
    let terms = OfferTerms { loan_id: loan(n), epoch: EPOCH, lease: seconds(30), agreed: true };
    OfferedWorker { worker: id(worker), address: None, terms: Some(terms) }
}

pub(super) fn accepted(workers: Vec<OfferedWorker>) -> LoanAnswer {
    LoanAnswer::Accepted { master: Some(id("B")), offered: workers.len() as u32, workers, dialect: None }
}

pub(super) fn rejected(reason: &str) -> LoanAnswer {
    LoanAnswer::Rejected { master: Some(id("B")), reason: reason.to_owned() }
}

pub(super) fn guest(worker: &str, n: u64) -> Guest {
    Guest {
        worker: id(worker),
        owner: Some(id("B")),
        lender: None,
        home: Some(address("10.0.0.2:9102")),
        loan_id: Some(loan(n)),
        epoch: Some(EPOCH),
        native: true,
        services: vec![service("query"), service("sleep")],
    }
}

/// A master A that is saturated and needs two workers, and asks B, then C.
fn asking() -> Desk {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    desk.loans.neighbours(vec![neighbour("C", 9103), neighbour("B", 9102)], at(0));
    desk
}

/// The same, to which B has lent these, and they have come.
pub(super) fn hosting(workers: &[&str]) -> Desk {
    let mut desk = asking();
    let token = asks(&desk.effects())[0].0;
    let offers = workers.iter().zip(1..).map(|(worker, n)| offer(worker, n)).collect();
    desk.loans.answered(token, accepted(offers), at(0));
    for (worker, n) in workers.iter().zip(1..) {
        desk.loans.came(guest(worker, n), at(0));
    }
    let effects = desk.effects();
    for (token, _, action) in actions(&effects) {
        let LoanAction::Renew { loans } = action else { panic!() };
        desk.loans.done_by(token, renewed(&loans.iter().collect::<Vec<_>>()), at(0));
    }
    // What is still asked is refused.
    let effects = [effects, desk.effects()].concat();
    for (token, ..) in asks(&effects) {
        desk.loans.answered(token, rejected("refused"), at(0));
    }
    desk.effects();
    desk
}

pub(super) fn state_of(desk: &Desk, worker: &str) -> LoanState {
    desk.loans.borrower.view_of(&id(worker), desk.now).unwrap().0.status
}

fn rest_of(desk: &Desk, worker: &str, now: Time) -> Option<Duration> {
    desk.loans.terms(&id(worker), now).unwrap().lease
}

pub(super) fn releases(effects: &[Effect]) -> Vec<(ServerId, WorkerMove)> {
    let all = effects.iter().filter_map(|effect| match effect {
        Effect::Release { worker, order } => Some((worker.clone(), order.clone())),
        _ => None,
    });
    all.collect()
}

pub(super) fn stopped(effects: &[Effect]) -> Vec<ServerId> {
    let all = effects.iter().filter_map(|effect| match effect {
        Effect::Stop { worker, .. } => Some(worker.clone()),
        _ => None,
    });
    all.collect()
}

#[test]
fn only_a_saturated_master_asks_and_for_as_many_as_it_needs() {
    let mut desk = Desk::new("A", 9101);
    assert!(!desk.loans.wants_neighbours(at(0)));
    desk.loans.load(Saturation { pending: 150, ..calm(0) }, at(0));
    assert!(!desk.loans.wants_neighbours(at(0)), "the hold time is not over");
    desk.loans.load(saturated(150, 4), at(0));
    assert!(desk.loans.wants_neighbours(at(0)));
    desk.loans.neighbours(vec![neighbour("B", 9102)], at(0));
    let effects = desk.effects();
    let Effect::Ask { to, request, request_id, link, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((to.peer.as_str(), request.needed, request.load, request.capacity), ("B", 2, 150, 100));
    assert_eq!((request.master.clone(), request.address.clone()), (Some(id("A")), Some(address("10.0.0.1:9101"))));
    assert_eq!(request.native.as_ref().unwrap().services, [service("query"), service("sleep")]);
    assert_eq!((*link, request_id.as_str().len()), (Some(LinkId(1)), 36));
    assert_eq!(desk.traces[0].2.as_ref(), Some(request_id), "the log has the mark of the request");
    assert!(!desk.loans.wants_neighbours(at(1)), "one round at a time");
}

#[test]
fn the_best_neighbour_that_can_help_is_asked_first() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    let mut all: Vec<Neighbour> = (2..8).map(|n| neighbour(&format!("M{n}"), 9100 + n)).collect();
    all.reverse();
    let by_name = |all: &mut Vec<Neighbour>, name: &str| all.iter().position(|one| one.peer == id(name)).unwrap();
    let at_two = by_name(&mut all, "M2");
    all[at_two].alive = false;
    let at_three = by_name(&mut all, "M3");
    all[at_three].saturated = true;
    let at_four = by_name(&mut all, "M4");
    all[at_four].services = vec![service("render")];
    let at_seven = by_name(&mut all, "M7");
    all[at_seven].score = 1;
    all.push(neighbour("A", 9101));
    desk.loans.neighbours(all, at(0));
    let mut order = Vec::new();
    while let Some((token, peer, _)) = asks(&desk.effects()).first().cloned() {
        order.push(peer.to_string());
        desk.loans.answered(token, rejected("high_load"), at(0));
    }
    assert_eq!(order, ["M7", "M5", "M6"], "dead, saturated, unable ones and itself are not asked");
}

/// S3-CT07.
#[test]
fn a_neighbour_that_is_silent_for_five_seconds_is_given_up_and_the_next_is_asked() {
    let mut desk = asking();
    let first = asks(&desk.effects())[0].clone();
    assert_eq!(first.1, id("B"));
    assert_eq!(desk.pass(at(4_999)), []);
    let effects = desk.pass(at(5_000));
    assert!(effects.contains(&Effect::Drop { token: first.0 }));
    assert_eq!(asks(&effects)[0].1, id("C"));
    assert!(desk.events.iter().any(|(_, text)| text == "b did not answer within 5.0 s"), "{:?}", desk.events);
    // The late answer promises nothing.
    desk.loans.answered(first.0, accepted(vec![offer("w1", 1)]), at(5_100));
    assert_eq!((desk.effects(), desk.loans.borrower.borrows()), (Vec::new(), 0));
}

#[test]
fn what_one_does_not_offer_the_next_is_asked_for() {
    let mut desk = asking();
    let token = asks(&desk.effects())[0].0;
    desk.loans.answered(token, accepted(vec![offer("w1", 1)]), at(10));
    let next = asks(&desk.effects());
    assert_eq!((next[0].1.as_str(), next[0].2), ("C", 1));
    desk.loans.failed(next[0].0, "connection refused", at(20));
    assert_eq!(asks(&desk.effects()), []);
    assert!(!desk.loans.wants_neighbours(at(5_000)), "no request while promised ones may come");
    assert_eq!(desk.loans.why_asks(at(1_010)), "asks nobody: 1 worker on the way, promised 1.0 s ago by b");
    desk.pass(at(10_010));
    assert!(desk.loans.wants_neighbours(at(10_010)), "it did not come");
    assert_eq!(desk.loans.deadline(), Some(at(2_020)), "the node is told to look");
}

#[test]
fn a_liar_that_offers_too_many_is_believed_for_what_was_asked() {
    let mut desk = asking();
    let token = asks(&desk.effects())[0].0;
    desk.loans.answered(token, accepted((0..64).map(|n| offer(&format!("w{n}"), n)).collect()), at(0));
    assert_eq!(desk.loans.borrower.borrows(), 2);
    let mut desk = asking();
    let token = asks(&desk.effects())[0].0;
    let many = LoanAnswer::Accepted { master: None, offered: u32::MAX, workers: Vec::new(), dialect: None };
    desk.loans.answered(token, many, at(0));
    assert_eq!(desk.loans.borrower.borrows(), 2);
    desk.pass(at(10_000));
    assert_eq!(desk.loans.borrower.borrows(), 0, "and not for longer than they may take");
}

#[test]
fn rounds_that_come_to_nothing_are_followed_by_longer_pauses() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let begun = desk.now;
        desk.loans.neighbours(vec![neighbour("B", 9102)], begun);
        let token = asks(&desk.effects())[0].0;
        desk.loans.answered(token, rejected("no_workers_available"), begun);
        desk.effects();
        let due = desk.loans.deadline().unwrap();
        pauses.push(due.since(begun).as_secs_f32());
        assert!(desk.loans.why_asks(begun).contains("b refuses: no_workers_available"));
        desk.now = due;
        assert!(desk.loans.wants_neighbours(due));
    }
    assert!((1.8..=2.0).contains(&pauses[0]) && (9.0..=10.0).contains(&pauses[7]), "{pauses:?}");
    desk.loans.load(calm(10), desk.now);
    assert_eq!(desk.loans.deadline(), None, "a master that is not saturated asks nobody, ever");
}

#[test]
fn nobody_to_ask_is_a_round_that_comes_to_nothing() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    desk.loans.neighbours(Vec::new(), at(0));
    assert_eq!(desk.effects(), []);
    assert!(!desk.loans.wants_neighbours(at(1_000)) && desk.loans.wants_neighbours(at(2_000)));
}

/// S3-CT04.
#[test]
fn a_worker_that_comes_is_borrowed_and_its_owner_hears_of_it_at_once() {
    let mut desk = asking();
    let token = asks(&desk.effects())[0].0;
    desk.loans.answered(token, accepted(vec![offer("w1", 1), offer("w2", 2)]), at(200));
    assert_eq!(desk.effects(), [], "two are enough");
    desk.loans.came(guest("w1", 1), at(1_000));
    let effects = desk.effects();
    // Counted from when it was asked for, at 0.
    assert_eq!(effects[0], Effect::Lease { worker: id("w1"), rest: Some(seconds(29)) });
    let (token, to, action) = actions(&effects)[0].clone();
    assert_eq!((to.peer.as_str(), action), ("B", LoanAction::Renew { loans: vec![loan(1)] }));
    assert_eq!(desk.told(LoanEvent::WorkerBorrowed), 1);
    desk.loans.done_by(token, renewed(&[&loan(1)]), at(3_000));
    // Counted from when the renewal was sent, at 1 s, not from its answer.
    assert_eq!(rest_of(&desk, "w1", at(3_000)), Some(seconds(28)));
    let terms = desk.loans.terms(&id("w1"), at(3_000)).unwrap();
    assert_eq!((terms.owner, terms.epoch, terms.loan_id), (id("B"), EPOCH, Some(loan(1))));
    assert_eq!(terms.owner_address, Some(address("10.0.0.2:9102")));
    // The next renewal is due at a third.
    desk.effects();
    assert_eq!(actions(&desk.pass(at(10_199))), []);
    let effects = desk.pass(at(11_000));
    assert_eq!(actions(&effects).len(), 1);
    assert_eq!(desk.loans.borrower.view_of(&id("w2"), at(11_000)), None, "it did not come, and is forgotten");
}

#[test]
fn all_loans_of_an_owner_are_renewed_together() {
    let mut desk = hosting(&["w1", "w2"]);
    let all = actions(&desk.pass(at(10_000)));
    assert_eq!(all.len(), 1, "{all:?}");
    let LoanAction::Renew { loans } = &all[0].2 else { panic!() };
    assert_eq!(*loans, [loan(1), loan(2)]);
    desk.loans.done_by(all[0].0, renewed(&[&loan(1), &loan(2)]), at(10_001));
    desk.effects();
    let marks = |kind: &str| -> Vec<RequestId> {
        desk.traces.iter().filter(|trace| trace.1 == kind).filter_map(|trace| trace.2.clone()).collect()
    };
    let (asked, answered) = (marks("loans_renew"), marks("loans_renewed"));
    assert!(!answered.is_empty() && answered.iter().all(|mark| asked.contains(mark)), "{:?}", desk.traces);
}

#[test]
fn a_guest_whose_lease_runs_out_is_not_used_any_more() {
    let mut desk = hosting(&["w1"]);
    let mut effects = Vec::new();
    for ms in (0..30_000).step_by(500) {
        effects.extend(desk.pass(at(ms)));
        assert_eq!(stopped(&effects), [], "at {ms}");
    }
    assert!(actions(&effects).len() >= 3, "renewals that are not answered are repeated: {effects:?}");
    let effects = desk.pass(at(30_000));
    assert_eq!(stopped(&effects), [id("w1")]);
    let order = &releases(&effects)[0].1;
    assert_eq!(order.native.as_ref().unwrap().grace, Some(Duration::ZERO));
    assert_eq!(rest_of(&desk, "w1", at(30_000)), Some(Duration::ZERO));
    // A renewal that is answered now is too late.
    for (token, ..) in actions(&effects) {
        desk.loans.done_by(token, renewed(&[&loan(1)]), at(30_001));
    }
    assert_eq!(state_of(&desk, "w1"), LoanState::Returning);
    desk.loans.gone(&id("w1"), at(30_500));
    desk.effects();
    assert_eq!(desk.loans.counts().1, 0);
}

#[test]
fn after_a_pause_of_the_borrower_every_lease_that_it_outlived_has_lapsed() {
    let mut desk = hosting(&["w1"]);
    let token = actions(&desk.pass(at(10_000)))[0].0;
    desk.loans.excuse(seconds(25), at(35_000));
    assert_eq!(stopped(&desk.effects()), [id("w1")], "before anything that lies in a buffer is read");
    desk.loans.done_by(token, renewed(&[&loan(1)]), at(35_000));
    assert_eq!(desk.effects(), []);
}

#[test]
fn what_others_were_waited_for_is_waited_for_as_long_after_a_pause() {
    let mut desk = asking();
    let token = asks(&desk.effects())[0].0;
    desk.loans.excuse(seconds(60), at(60_000));
    desk.now = at(60_000);
    desk.loans.tick(at(60_000));
    assert_eq!(desk.effects(), [], "its answer may lie in a buffer");
    desk.loans.answered(token, accepted(vec![offer("w1", 1), offer("w2", 2)]), at(60_000));
    desk.loans.came(guest("w1", 1), at(60_100));
    // But the lease is counted from when it was asked for.
    assert_eq!(stopped(&desk.effects()), [id("w1")]);
}

#[test]
fn a_loan_that_is_not_renewed_ends_with_grace() {
    let mut desk = hosting(&["w1", "w2"]);
    let token = actions(&desk.pass(at(10_000)))[0].0;
    desk.loans.done_by(token, renewed(&[&loan(2)]), at(10_100));
    let sent = releases(&desk.effects());
    assert_eq!((sent.len(), &sent[0].0), (1, &id("w1")));
    assert_eq!(sent[0].1.native.as_ref().unwrap().grace, Some(seconds(10)));
    assert_eq!(stopped(&desk.pass(at(20_100))), [id("w1")]);
    assert_eq!(state_of(&desk, "w2"), LoanState::Active);
}

#[test]
fn a_worker_that_nobody_promised_is_used_while_its_owner_is_asked() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(101, 4), at(0));
    desk.loans.came(guest("w9", 9), at(0));
    let effects = desk.effects();
    assert_eq!(effects[0], Effect::Lease { worker: id("w9"), rest: Some(seconds(5)) });
    let token = actions(&effects)[0].0;
    desk.loans.done_by(token, renewed(&[]), at(100));
    assert_eq!(releases(&desk.effects())[0].0, id("w9"), "its owner has taken it back");
    // If its owner renews the loan, it is a guest as any other.
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(101, 4), at(0));
    desk.loans.came(guest("w9", 9), at(0));
    assert_eq!(desk.loans.borrower.borrows(), 0);
    let token = actions(&desk.effects())[0].0;
    desk.loans.done_by(token, renewed(&[&loan(9)]), at(100));
    assert_eq!(desk.loans.borrower.borrows(), 1);
    // Without an answer it stops.
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(101, 4), at(0));
    desk.loans.came(guest("w9", 9), at(0));
    assert_eq!(stopped(&desk.pass(at(5_000))), [id("w9")]);
}

/// S3-CT06.
#[test]
fn when_the_load_falls_guests_go_home_the_oldest_first_and_the_owner_is_told() {
    let mut desk = hosting(&["w1", "w2"]);
    // One job of what the own workers do not run, which both guests do.
    let mut load = calm(59);
    load.needs.iter_mut().for_each(|need| (need.waiting, need.own) = (1, need.service != service("sleep")));
    desk.loans.load(load, at(4_000));
    let sent = releases(&desk.effects());
    assert_eq!(sent.iter().map(|(worker, _)| worker.as_str()).collect::<Vec<_>>(), ["w1"], "one is still needed");
    let order = &sent[0].1;
    assert_eq!((order.kind, order.target.clone()), (MoveKind::Return, Some(address("10.0.0.2:9102"))));
    let native = order.native.as_ref().unwrap();
    assert_eq!((native.epoch, native.loan_id.clone(), native.grace), (EPOCH, Some(loan(1)), None));
    // It ends what it runs: its lease goes on until it has gone.
    let LoanAction::Renew { loans } = &actions(&desk.pass(at(10_000)))[0].2 else { panic!() };
    assert_eq!(loans.len(), 2);
    desk.loans.gone(&id("w1"), at(11_000));
    let effects = desk.effects();
    let Effect::Notify { to, returned, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((to.peer.as_str(), returned.worker.as_str(), &returned.loan_id), ("B", "w1", &Some(loan(1))));
    desk.loans.load(calm(0), at(12_000));
    assert_eq!(releases(&desk.effects())[0].0, id("w2"));
}

#[test]
fn between_release_and_capacity_nobody_is_asked_and_nobody_leaves() {
    let mut desk = hosting(&["w1", "w2"]);
    desk.loans.load(Saturation { pending: 80, ..saturated(0, 4) }, at(1_000));
    desk.loans.load(Saturation { saturated: false, released: false, ..calm(80) }, at(2_000));
    assert_eq!(desk.effects(), []);
    assert!(!desk.loans.wants_neighbours(at(60_000)));
}

#[test]
fn whoever_has_sent_guests_home_does_not_ask_for_others_at_once() {
    let mut desk = hosting(&["w1", "w2"]);
    desk.loans.load(calm(10), at(20_000));
    assert_eq!(releases(&desk.effects()).len(), 2);
    desk.loans.load(saturated(500, 4), at(20_100));
    assert!(!desk.loans.wants_neighbours(at(24_999)));
    assert!(desk.loans.wants_neighbours(at(25_000)));
}

#[test]
fn a_recalled_guest_finishes_has_grace_and_is_stopped() {
    let mut desk = hosting(&["w1"]);
    let higher = Epoch { counter: 9, ..EPOCH };
    let action = LoanAction::Recall { loan_id: loan(1), worker: id("w1"), epoch: higher, grace: seconds(3) };
    desk.loans.recalled(reply(4, "x"), &id("C"), action.clone(), at(900));
    assert_eq!(releases(&desk.effects()), [], "it is not C's");
    desk.loans.recalled(reply(4, "r"), &id("B"), action.clone(), at(1_000));
    let effects = desk.effects();
    let native = releases(&effects)[0].1.native.clone().unwrap();
    assert_eq!((native.epoch, native.grace), (higher, Some(seconds(3))));
    assert!(matches!(effects.last(), Some(Effect::Answer { body: Body::LoanDone(_), .. })));
    assert_eq!(desk.told(LoanEvent::WorkerRecalled), 1);
    // Said twice is done once, and answered twice.
    desk.loans.recalled(reply(4, "r"), &id("B"), action, at(1_500));
    let effects = desk.effects();
    assert!(releases(&effects).is_empty() && effects.len() == 1);
    // Its link was cut: it is told again, with what is left of the grace.
    desk.loans.came(guest("w1", 1), at(2_000));
    let native = releases(&desk.effects())[0].1.native.clone().unwrap();
    assert_eq!((native.epoch, native.grace), (higher, Some(seconds(2))));
    assert_eq!(actions(&desk.pass(at(3_999))), [], "its lease is not renewed");
    assert_eq!(stopped(&desk.pass(at(4_000))), [id("w1")]);
}

#[test]
fn a_recall_of_one_that_has_not_come_is_answered_and_it_is_not_waited_for() {
    let mut desk = asking();
    let token = asks(&desk.effects())[0].0;
    desk.loans.answered(token, accepted(vec![offer("w1", 1), offer("w2", 2)]), at(0));
    let higher = Epoch { counter: 9, ..EPOCH };
    let action = LoanAction::Recall { loan_id: loan(1), worker: id("w1"), epoch: higher, grace: seconds(3) };
    desk.loans.recalled(reply(4, "r"), &id("B"), action, at(10));
    assert!(matches!(&desk.effects()[..], [Effect::Answer { body: Body::LoanDone(_), .. }]));
    assert_eq!(desk.loans.borrower.borrows(), 1);
    desk.loans.recalled(reply(4, "r"), &id("B"), LoanAction::Renew { loans: Vec::new() }, at(10));
    assert!(matches!(&desk.effects()[..], [Effect::Answer { body: Body::Error(_), .. }]));
}

#[test]
fn a_guest_that_resumes_is_the_same_guest_and_on_another_loan_it_is_another() {
    let mut desk = hosting(&["w1"]);
    desk.loans.done(&id("w1"), at(1_500));
    desk.loans.came(guest("w1", 1), at(2_000));
    assert_eq!(desk.effects(), [Effect::Lease { worker: id("w1"), rest: Some(seconds(28)) }]);
    assert_eq!(desk.loans.answer(None, Default::default(), at(2_000)).loans[0].done, 1);
    desk.loans.came(guest("w1", 5), at(3_000));
    desk.effects();
    assert_eq!(desk.loans.terms(&id("w1"), at(3_000)).unwrap().loan_id, Some(loan(5)));
    assert_eq!((desk.told(LoanEvent::WorkerBorrowed), desk.told(LoanEvent::WorkerReturned)), (2, 1));
}

#[test]
fn a_guest_that_is_quicker_than_the_answer_gets_its_terms_when_it_comes() {
    let mut desk = asking();
    let token = asks(&desk.effects())[0].0;
    desk.loans.came(guest("w1", 1), at(50));
    desk.effects();
    desk.loans.answered(token, accepted(vec![offer("w1", 1)]), at(100));
    assert_eq!(rest_of(&desk, "w1", at(100)), Some(Duration::from_millis(29_900)));
    assert_eq!(desk.loans.borrower.borrows(), 1);
    assert_eq!(asks(&desk.effects())[0].2, 1, "one more is needed");
}

#[test]
fn why_of_a_guest_names_its_owner_and_figures() {
    let mut desk = hosting(&["w1"]);
    desk.now = at(2_000);
    let why = desk.loans.why(&id("w1"), &[], at(2_000)).unwrap();
    assert_eq!(why, "borrowed from B for 2.0 s on loan B-1, ACTIVE, 28.0 s of its lease left: it works here");
    assert!(desk.loans.why_loan(&loan(1), at(2_000)).unwrap().starts_with("w1 is borrowed from B for 2.0 s"));
    desk.loans.gone(&id("w1"), at(3_000));
    let why = desk.loans.why(&id("w1"), &[], at(4_000)).unwrap();
    assert_eq!(why, "not here: its loan B-1 (borrowed from B) ended 1.0 s ago: its link is gone");
    let counts = crate::core::loans::Counts { local: 4, lent: 1, borrowed: 2 };
    let answer = desk.loans.answer(None, counts, at(4_000));
    assert_eq!((answer.local, answer.lent, answer.borrowed), (4, 1, 2));
    assert!(answer.asks.starts_with("asks again in") || answer.asks.starts_with("is about to ask"), "{}", answer.asks);
}

#[test]
fn who_has_no_home_to_go_to_serves_out_its_lease() {
    let mut desk = hosting(&["w1", "w2"]);
    desk.loans.peer_timeout(&id("B"), at(100));
    desk.loans.load(calm(0), at(100));
    assert_eq!(releases(&desk.effects()), [], "nobody is there to go to");
    assert_eq!(state_of(&desk, "w1"), LoanState::Active);
    // It is not used beyond its lease, and goes then.
    let effects = desk.pass(at(30_100));
    assert_eq!(stopped(&effects), [id("w1"), id("w2")]);
    assert_eq!(releases(&effects).len(), 2);

    let mut desk = hosting(&["w1"]);
    desk.loans.peer_timeout(&id("B"), at(100));
    desk.loans.load(calm(0), at(100));
    desk.loans.peer_alive(&id("C"), at(200));
    assert_eq!(releases(&desk.effects()), [], "another one");
    desk.loans.peer_alive(&id("B"), at(300));
    assert_eq!(releases(&desk.effects())[0].0, id("w1"), "its owner is back");
    // An answer of it is a sign of life, too.
    let mut desk = hosting(&["w1"]);
    desk.loans.peer_timeout(&id("B"), at(100));
    desk.loans.load(calm(0), at(100));
    let effects = desk.pass(at(10_000));
    let [(token, ..)] = actions(&effects)[..] else { panic!("{effects:?}") };
    desk.loans.done_by(token, renewed(&[&loan(1)]), at(10_050));
    assert_eq!(releases(&desk.effects())[0].0, id("w1"));
    // Of a master that is TIMEOUT when its worker comes the same is true.
    let mut desk = hosting(&[]);
    desk.loans.peer_timeout(&id("B"), at(100));
    desk.loans.came(guest("w3", 3), at(200));
    desk.loans.load(calm(0), at(20_000));
    assert_eq!(releases(&desk.effects()), []);
}
