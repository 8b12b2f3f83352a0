//! Masters and workers of the classroom: no leases, no recalls, and other forms.

use super::*;
use crate::core::loans::UNHEARD_FOR;
use crate::wire::{Dialect, LoanState, Release, ReleaseAnswer, Returned};

const HOST: [u8; 4] = [10, 0, 0, 7];

/// A stranger asks for one worker; `known`: its heartbeats are heard.
fn stranger(known: bool, needed: u32, workers: &[&str]) -> Asked {
    let mut asked = asked(needed, workers);
    asked.from = IpAddr::from(HOST);
    asked.request.native = None;
    asked.request.master = known.then(|| id("MASTER_7"));
    asked.request.address = Some(address("10.0.0.7:21201"));
    asked.known = known.then(|| Neighbour { native: false, member: false, ..neighbour("MASTER_7", 9107) });
    asked
}

/// An owner that has lent these to a stranger.
fn lent(known: bool, workers: &[&str], native: bool) -> Desk {
    let config = LoanConfig { keep: 0, ..LoanConfig::default() };
    let mut desk = Desk::with("B", 9102, config);
    let mut asked = stranger(known, workers.len() as u32, workers);
    asked.candidates.iter_mut().for_each(|one| one.native = native);
    desk.loans.asked(asked, at(0));
    let effects = desk.effects();
    let effects = desk.agree(effects);
    for (_, order) in orders(&effects) {
        assert_eq!(order.native.is_some(), native);
        assert_eq!(order.target, Some(address("10.0.0.7:21201")));
        assert!(order.registers, "it is a stranger who speaks envelopes");
    }
    let LoanAnswer::Accepted { workers: offered, .. } = answer_of(&effects) else { panic!() };
    assert!(offered.iter().all(|offer| offer.terms.is_none()), "it would not know what that is");
    desk
}

fn state_of(desk: &Desk, worker: &str) -> LoanState {
    desk.loans.owner.view_of(&id(worker), desk.now).unwrap().0.status
}

#[test]
fn a_stranger_is_answered_within_five_seconds_whatever_the_group_does() {
    let mut desk = Desk::new("B", 9102);
    desk.loans.asked(stranger(true, 1, &["w1", "w2"]), at(0));
    let effects = desk.pass(at(5_000));
    assert!(matches!(answer_of(&effects), LoanAnswer::Accepted { .. }));
}

#[test]
fn workers_register_at_strangers_of_2026_1_and_at_nobody_else() {
    let registers = |asked: Asked| {
        let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() });
        desk.loans.asked(asked, at(0));
        let effects = desk.effects();
        orders(&desk.agree(effects))[0].1.registers
    };
    assert!(registers(stranger(true, 1, &["w1"])));
    let mut older = stranger(true, 1, &["w1"]);
    older.request.dialect = Some(Dialect::Gen2025_2);
    assert!(!registers(older), "2.1b of the course's protocol: it says ALIVE");
    assert!(!registers(asked(1, &["w1"])), "a native borrower knows who comes");
}

#[test]
fn a_stranger_gets_workers_that_run_query() {
    let mut desk = Desk::new("B", 9102);
    let mut asked = stranger(true, 1, &["w1", "w2"]);
    asked.candidates.iter_mut().for_each(|one| one.services = vec![service("sleep")]);
    desk.loans.asked(asked, at(0));
    assert_eq!(refusal_of(&desk.effects()), "no_workers_available");
}

#[test]
fn its_heartbeats_renew_and_its_silence_ends_the_loan() {
    let mut desk = lent(true, &["w1"], false);
    desk.loans.left(&id("w1"), at(100));
    assert_eq!(state_of(&desk, "w1"), LoanState::Active, "that it went is all that is seen");
    for ms in (10_000..100_000).step_by(10_000) {
        desk.pass(at(ms));
        desk.loans.peer_alive(&id("MASTER_7"), at(ms));
        assert_eq!(state_of(&desk, "w1"), LoanState::Active);
    }
    desk.pass(at(121_499));
    assert_eq!(state_of(&desk, "w1"), LoanState::Active);
    desk.pass(at(121_500));
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended);
}

#[test]
fn one_that_is_never_heard_has_an_open_ended_loan_that_ends_some_day() {
    let mut desk = lent(false, &["w1"], false);
    desk.loans.left(&id("w1"), at(100));
    let view = desk.loans.answer(None, Default::default(), at(100)).loans.remove(0);
    assert_eq!((view.lease, view.peer.as_str()), (None, "10.0.0.7:21201"));
    desk.pass(at(0) + UNHEARD_FOR);
    assert_eq!(state_of(&desk, "w1"), LoanState::Active);
    desk.pass(at(0) + UNHEARD_FOR + seconds(2));
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended);
}

#[test]
fn one_that_nobody_calls_lives_by_its_own_heartbeats_and_its_silence_ends_the_loan() {
    let mut stranger = stranger(false, 1, &["w1"]);
    stranger.request.master = Some(id("MASTER_7"));
    // A native worker would be back after ten minutes.
    stranger.candidates.iter_mut().for_each(|one| one.native = false);
    let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() });
    desk.loans.asked(stranger, at(0));
    let effects = desk.effects();
    desk.agree(effects);
    desk.loans.left(&id("w1"), at(100));
    let lease = |desk: &Desk| desk.loans.answer(None, Default::default(), desk.now).loans.remove(0).lease;
    // Neither another name at its host, nor its name at another host.
    desk.loans.borrower_heard(&id("MASTER_8"), IpAddr::from(HOST), at(1_000));
    desk.loans.borrower_heard(&id("MASTER_7"), IpAddr::from([10, 6, 6, 6]), at(1_000));
    assert_eq!(lease(&desk), None, "it was not heard");
    for second in (10..4000).step_by(10) {
        desk.pass(at(second * 1000));
        desk.loans.borrower_heard(&id("MASTER_7"), IpAddr::from(HOST), desk.now);
        assert_eq!(lease(&desk), Some(seconds(30)), "{second} s");
    }
    desk.pass(at(3_990_000 + 31_499));
    assert_eq!(state_of(&desk, "w1"), LoanState::Active);
    desk.pass(at(3_990_000 + 31_500));
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended);
}

#[test]
fn the_heartbeats_of_a_native_borrower_renew_nothing() {
    let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() });
    desk.loans.asked(asked(1, &["w1"]), at(0));
    let effects = desk.effects();
    desk.agree(effects);
    desk.loans.left(&id("w1"), at(100));
    for second in 1..=31 {
        desk.pass(at(second * 1000));
        desk.loans.borrower_heard(&id("A"), IpAddr::from([10, 0, 0, 1]), desk.now);
    }
    desk.pass(at(31_500));
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended, "its lease counts");
}

#[test]
fn a_native_worker_that_does_not_come_back_is_not_counted_as_lent_for_ever() {
    for (known, native, ends) in [(true, true, true), (true, false, false), (false, true, true), (false, false, false)]
    {
        let mut desk = lent(known, &["w1"], native);
        desk.loans.left(&id("w1"), at(100));
        for second in 1..=663 {
            desk.pass(at(second * 1000));
            desk.loans.peer_alive(&id("MASTER_7"), at(second * 1000));
            assert!(second > 660 || state_of(&desk, "w1") == LoanState::Active, "{second} s");
        }
        assert_eq!(state_of(&desk, "w1") == LoanState::Ended, ends, "a foreign one may stay");
    }
}

#[test]
fn a_worker_that_never_goes_to_it_is_taken_back() {
    let mut desk = lent(true, &["w1"], false);
    assert!(desk.pass(at(10_000)).iter().any(|effect| matches!(effect, Effect::TakeBack { .. })));
}

/// S3-CT08.
#[test]
fn when_it_dies_its_loans_are_over() {
    let mut desk = lent(true, &["w1"], false);
    desk.loans.left(&id("w1"), at(100));
    desk.loans.peer_timeout(&id("MASTER_7"), at(1_000));
    assert_eq!((state_of(&desk, "w1"), desk.loans.counts().0), (LoanState::Ended, 0));
    desk.loans.home(&id("w1"), None, 0, at(2_000));
    desk.effects();
    desk.loans.asked(stranger(true, 1, &["w1", "w2"]), at(7_000));
    assert!(!proposals(&desk.effects()).is_empty(), "it can be lent again");
}

#[test]
fn a_saturated_owner_does_not_recall_from_a_stranger() {
    let mut desk = lent(true, &["w1"], true);
    desk.loans.left(&id("w1"), at(100));
    desk.loans.load(saturated(101, 4), at(200));
    assert_eq!(actions(&desk.effects()), []);
    assert!(desk.loans.wants_neighbours(at(200)), "so that it has to ask");
}

#[test]
fn command_release_is_acknowledged_and_completed_once() {
    let mut desk = lent(false, &["w1", "w2"], false);
    desk.loans.left(&id("w1"), at(10));
    desk.loans.left(&id("w2"), at(10));
    let master = Some(id("10.0.0.7:21201"));
    let release = Release { master, workers: vec![id("w1"), id("w2"), id("w9")] };
    desk.loans.released(reply(8, "x"), None, IpAddr::from([10, 6, 6, 6]), release.clone(), at(900));
    desk.effects();
    assert_eq!(state_of(&desk, "w1"), LoanState::Active, "another host has nothing to give back");
    desk.loans.released(reply(6, "x"), None, IpAddr::from(HOST), release, at(1_000));
    let effects = desk.effects();
    let Effect::Answer { body: Body::ReleaseAnswer(answer), .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((answer.completed, answer.workers.len()), (false, 3));
    assert_eq!(state_of(&desk, "w1"), LoanState::Returning);
    desk.loans.home(&id("w1"), None, 0, at(2_000));
    let completed = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Completed { link, answer, .. } => Some((link, answer)),
            _ => None,
        })
    };
    let answer = |worker| ReleaseAnswer { master: Some(id("B")), workers: vec![id(worker)], completed: true };
    assert_eq!(completed(desk.effects()), None, "others may come at the same time");
    assert_eq!(completed(desk.pass(at(2_300))), Some((LinkId(6), answer("w1"))));
    desk.loans.home(&id("w2"), None, 0, at(3_000));
    assert_eq!(
        completed(desk.pass(at(3_300))),
        Some((LinkId(6), answer("w2"))),
        "those that come later by another line"
    );
    desk.loans.home(&id("w2"), None, 0, at(4_000));
    assert_eq!(completed(desk.pass(at(5_000))), None);
    assert_eq!(desk.traces.iter().filter(|(out, kind, ..)| *out && *kind == "release_completed").count(), 2);
}

#[test]
fn workers_that_come_home_together_are_told_of_by_one_line() {
    let mut desk = lent(false, &["w1", "w2"], false);
    desk.loans.left(&id("w1"), at(10));
    desk.loans.left(&id("w2"), at(10));
    let release = Release { master: None, workers: vec![id("w1"), id("w2")] };
    desk.loans.released(reply(6, "x"), None, IpAddr::from(HOST), release, at(1_000));
    desk.effects();
    desk.loans.home(&id("w2"), None, 0, at(2_000));
    let early = desk.pass(at(2_100));
    assert!(!early.iter().any(|effect| matches!(effect, Effect::Completed { .. })), "others may follow: {early:?}");
    desk.loans.home(&id("w1"), None, 0, at(2_100));
    desk.effects();
    let told: Vec<Vec<ServerId>> = (desk.pass(at(9_000)).into_iter())
        .filter_map(|effect| match effect {
            Effect::Completed { answer, .. } => Some(answer.workers),
            _ => None,
        })
        .collect();
    assert_eq!(told, [vec![id("w2"), id("w1")]]);
}

#[test]
fn a_release_whose_link_is_gone_is_not_completed() {
    let mut desk = lent(false, &["w1"], false);
    desk.loans.left(&id("w1"), at(10));
    let release = Release { master: None, workers: vec![id("w1")] };
    desk.loans.released(reply(6, "x"), None, IpAddr::from(HOST), release, at(1_000));
    desk.loans.link_closed(LinkId(6), at(1_100));
    desk.effects();
    desk.loans.home(&id("w1"), None, 0, at(2_000));
    assert!(
        !desk.pass(at(3_000)).iter().any(|effect| matches!(effect, Effect::Completed { .. })),
        "nobody knows to whom"
    );
}

#[test]
fn a_release_of_somebody_who_says_who_he_is_is_completed_though_its_link_is_gone() {
    let mut desk = lent(false, &["w1"], false);
    desk.loans.left(&id("w1"), at(10));
    let release = Release { master: Some(id("SERVER_1")), workers: vec![id("w1")] };
    desk.loans.released(reply(6, "x"), None, IpAddr::from(HOST), release, at(1_000));
    desk.loans.link_closed(LinkId(6), at(1_100));
    desk.effects();
    desk.loans.home(&id("w1"), None, 0, at(2_000));
    let told = |effect: &Effect| matches!(effect, Effect::Completed { to: Some(to), .. } if *to == id("SERVER_1"));
    assert_eq!(desk.pass(at(3_000)).iter().filter(|effect| told(effect)).count(), 1);
}

#[test]
fn notify_is_believed_of_the_host_that_has_the_worker() {
    let mut desk = lent(false, &["w1"], false);
    desk.loans.left(&id("w1"), at(10));
    let returned = Returned { worker: id("w1"), loan_id: None };
    desk.loans.returned(None, IpAddr::from([10, 6, 6, 6]), returned.clone(), None, at(20));
    assert_eq!(state_of(&desk, "w1"), LoanState::Active);
    desk.loans.returned(None, IpAddr::from(HOST), returned, None, at(30));
    assert_eq!(state_of(&desk, "w1"), LoanState::Returning);
}

fn foreign(worker: &str) -> Guest {
    let home = Some(address("10.0.0.7:21201"));
    let services = vec![service("query")];
    Guest { worker: id(worker), owner: None, lender: None, home, loan_id: None, epoch: None, native: false, services }
}

/// A borrower to which a master of 2025/2 has lent these.
fn hosting(asks_back: bool, workers: &[&str]) -> Desk {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    let lender = Neighbour { native: false, asks_back, member: false, ..neighbour("SERVER_2", 9107) };
    desk.loans.neighbours(vec![lender], at(0));
    let token = asks(&desk.effects())[0].0;
    let offers = workers.iter().map(|worker| OfferedWorker { worker: id(worker), address: None, terms: None });
    let (master, offered) = (Some(id("SERVER_2")), workers.len() as u32);
    desk.loans.answered(
        token,
        LoanAnswer::Accepted { master, offered, workers: offers.collect(), dialect: None },
        at(0),
    );
    for worker in workers {
        desk.loans.came(foreign(worker), at(100));
    }
    assert_eq!(actions(&desk.effects()), [], "strangers are not asked for leases");
    desk
}

#[test]
fn a_guest_of_a_stranger_has_no_lease_and_goes_home_by_return() {
    let mut desk = hosting(false, &["W-B1"]);
    assert_eq!(desk.loans.terms(&id("W-B1"), at(200)).unwrap().lease, None);
    assert_eq!(desk.pass(at(600_000)), []);
    desk.loans.load(calm(0), at(600_000));
    let effects = desk.effects();
    let Effect::Release { order, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!((order.native.clone(), order.target.clone()), (None, Some(address("10.0.0.7:21201"))));
    // It asks once more before it goes, and is told again.
    desk.loans.came(foreign("W-B1"), at(600_100));
    assert!(desk.effects().iter().any(|effect| matches!(effect, Effect::Release { .. })));
    desk.loans.gone(&id("W-B1"), at(601_000));
    let effects = desk.effects();
    let Effect::Notify { to, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(to.address, Some(address("10.0.0.7:9107")));
}

#[test]
fn an_owner_of_2025_is_asked_before_its_workers_go() {
    let mut desk = hosting(true, &["W-B1", "W-B2"]);
    desk.loans.load(calm(0), at(1_000));
    let effects = desk.effects();
    let [Effect::GiveBack { token, release, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(release.workers, [id("W-B1"), id("W-B2")]);
    let answer = ReleaseAnswer { master: Some(id("SERVER_2")), workers: release.workers.clone(), completed: false };
    desk.loans.release_answered(*token, answer, at(1_100));
    let sent = desk.effects().iter().filter(|effect| matches!(effect, Effect::Release { .. })).count();
    assert_eq!(sent, 2);
    // One that says nothing is not waited for.
    let mut desk = hosting(true, &["W-B1"]);
    desk.loans.load(calm(0), at(1_000));
    desk.effects();
    assert_eq!(desk.pass(at(5_999)), []);
    assert!(desk.pass(at(6_000)).iter().any(|effect| matches!(effect, Effect::Release { .. })));
}

/// S2-CT02: it is served although nobody asked for it.
#[test]
fn an_uninvited_guest_is_given_work_before_it_is_sent_home() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(calm(3), at(0));
    desk.loans.came(foreign("W-X"), at(0));
    assert_eq!(desk.effects(), [Effect::Lease { worker: id("W-X"), rest: None }]);
    assert_eq!(desk.loans.borrower.borrows(), 0, "nobody keeps this master from lending by sending it workers");
    assert_eq!(desk.pass(at(9_999)), []);
    assert!(matches!(&desk.pass(at(10_000))[..], [Effect::Release { .. }]));
}

#[test]
fn a_foreign_worker_of_a_native_owner_is_on_the_loan_that_was_promised() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(101, 4), at(0));
    desk.loans.neighbours(vec![neighbour("B", 9102)], at(0));
    let token = asks(&desk.effects())[0].0;
    let (loan_id, epoch) = (LoanId::new("B-1").unwrap(), Epoch { generation: 0, counter: 1 });
    let terms = Some(OfferTerms { loan_id: loan_id.clone(), epoch, lease: seconds(30), agreed: false });
    let workers = vec![OfferedWorker { worker: id("W-B1"), address: None, terms }];
    desk.loans.answered(token, LoanAnswer::Accepted { master: None, offered: 1, workers, dialect: None }, at(0));
    desk.loans.came(foreign("W-B1"), at(100));
    let all = actions(&desk.effects());
    assert_eq!(all[0].2, LoanAction::Renew { loans: vec![loan_id] }, "so that the owner hears of it");
    desk.loans.came(foreign("W-B1"), at(200));
    assert_eq!(desk.loans.counts().1, 1, "its next ALIVE is no other guest");
    let effects = desk.pass(at(30_000));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Stop { .. })), "the lease binds who uses it");
}

/// A borrower to which SERVER_2, a stranger, has offered one worker in the form of 2025/2, without saying which.
fn offered_nameless() -> Desk {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    let lender = Neighbour { native: false, member: false, ..neighbour("SERVER_2", 9107) };
    desk.loans.neighbours(vec![lender], at(0));
    let token = asks(&desk.effects())[0].0;
    let (master, dialect) = (Some(id("SERVER_2")), Some(Dialect::Gen2025_2));
    desk.loans.answered(token, LoanAnswer::Accepted { master, offered: 1, workers: Vec::new(), dialect }, at(0));
    desk.effects();
    desk
}

#[test]
fn a_guest_that_was_promised_without_a_name_is_given_back_to_who_promised_it() {
    let mut desk = offered_nameless();
    let guest = Guest { home: None, owner: Some(id("somebody")), ..foreign("W-B1") };
    desk.loans.came(guest, at(100));
    desk.effects();
    assert_eq!(desk.loans.borrower.borrows(), 1, "it is the one that was promised, and no other is awaited");
    desk.loans.load(calm(0), at(1_000));
    let effects = desk.effects();
    let [Effect::GiveBack { token, to, release }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((to.peer.as_str(), &to.address), ("SERVER_2", &Some(address("10.0.0.7:9107"))));
    assert_eq!(release.workers, [id("W-B1")]);
    desk.loans.failed(*token, "connection refused", at(1_100));
    let effects = desk.effects();
    let [Effect::Release { order, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((order.dialect, &order.target), (Some(Dialect::Gen2025_2), &Some(address("10.0.0.7:9107"))));
}

#[test]
fn a_guest_of_another_master_is_not_the_one_that_was_promised_without_a_name() {
    let mut desk = offered_nameless();
    let lender = Some(Party { peer: id("SERVER_3"), address: Some(address("10.0.0.8:9108")) });
    desk.loans.came(Guest { lender, home: None, owner: Some(id("SERVER_3")), ..foreign("W-C1") }, at(100));
    desk.effects();
    assert_eq!(desk.loans.borrower.borrows(), 1, "that one is still awaited");
    desk.loans.load(calm(0), at(10_200));
    desk.pass(at(10_200));
    let order = desk.loans.terms(&id("W-C1"), at(10_200)).unwrap();
    assert_eq!((order.owner, order.owner_address), (id("SERVER_3"), Some(address("10.0.0.8:9108"))));
}

#[test]
fn a_master_of_2025_is_asked_for_a_worker_too_that_comes_under_another_name() {
    let mut desk = offered_nameless();
    desk.pass(at(10_000));
    let lender = Some(Party { peer: id("SERVER_2"), address: Some(address("10.0.0.7:9107")) });
    desk.loans.came(Guest { lender, home: None, owner: Some(id("SERVER_2")), ..foreign("W-Z") }, at(10_100));
    desk.effects();
    desk.loans.load(calm(0), at(30_000));
    let effects = desk.effects();
    assert!(matches!(&effects[..], [Effect::GiveBack { to, .. }] if to.address.is_some()), "{effects:?}");
}
