//! The owner's side, step by step.

use super::*;
use crate::core::loans::{AGREE_WITHIN, Lend, MAX_COOLING, MAX_PROPOSED, PROPOSE_AGAIN};
use crate::wire::{LoanState, MoveKind, Returned};

/// An owner that has just lent these workers to A, with the epochs of the orders.
fn lent(workers: &[&str]) -> (Desk, Vec<Epoch>) {
    lent_with(LoanConfig { keep: 0, ..LoanConfig::default() }, workers)
}

fn lent_with(config: LoanConfig, workers: &[&str]) -> (Desk, Vec<Epoch>) {
    let mut desk = Desk::with("B", 9102, config);
    desk.loans.asked(asked(workers.len() as u32, workers), at(0));
    let effects = desk.effects();
    let effects = desk.agree(effects);
    let epochs = orders(&effects).into_iter().map(|(_, order)| order.native.unwrap().epoch).collect();
    (desk, epochs)
}

fn loan_of(desk: &Desk, worker: &str) -> LoanId {
    desk.loans.owner.view_of(&id(worker), desk.now).unwrap().0.loan_id
}

fn state_of(desk: &Desk, worker: &str) -> LoanState {
    desk.loans.owner.view_of(&id(worker), desk.now).unwrap().0.status
}

fn renew(desk: &mut Desk, from: &str, loans: Vec<LoanId>) -> Vec<LoanId> {
    desk.loans.renew(reply(4, "n"), &id(from), true, loans, desk.now);
    let effects = desk.effects();
    let done = effects.iter().find_map(|effect| match effect {
        Effect::Answer { body: Body::LoanDone(done), .. } => Some((**done).clone()),
        _ => None,
    });
    let done = done.expect("every renewal is answered");
    assert_eq!(done.action, "RENEW");
    done.renewed.into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_loan_is_agreed_on_then_answered_then_ordered() {
    let mut desk = Desk::new("B", 9102);
    desk.loans.asked(asked(2, &["w1", "w2", "w3", "w4"]), at(0));
    let effects = desk.effects();
    let reserved: Vec<&Effect> = effects.iter().filter(|one| matches!(one, Effect::Reserve { .. })).collect();
    assert_eq!(reserved.len(), 2);
    assert!(orders(&effects).is_empty(), "nobody moves before the group has agreed");
    let all = proposals(&effects);
    assert_eq!(all.len(), 2);
    let LoanRecord::Lend(entry) = &all[0].1 else { panic!() };
    assert_eq!((entry.owner.as_str(), entry.borrower.as_str(), entry.lease), ("B", "A", seconds(30)));
    assert_eq!(entry.loan_id.as_str(), format!("B-{}", entry.epoch.counter));
    desk.loans.agreed(all[0].0, Ok(7), at(10));
    assert_eq!(desk.effects(), [], "the other is not agreed on yet");
    desk.loans.agreed(all[1].0, Ok(8), at(20));
    let effects = desk.effects();
    assert!(matches!(effects[0], Effect::Answer { .. }), "the borrower hears first: {effects:?}");
    let LoanAnswer::Accepted { master, offered, workers, .. } = answer_of(&effects) else { panic!() };
    assert_eq!((master.as_ref().map(ServerId::as_str), *offered, workers.len()), (Some("B"), 2, 2));
    let terms = workers[0].terms.as_ref().unwrap();
    assert!(terms.agreed && terms.lease == seconds(30) && terms.epoch == entry.epoch);
    assert_eq!(workers[0].address, Some(address("10.0.0.9:40000")));
    let orders = orders(&effects);
    assert_eq!(orders.len(), 2);
    let order = &orders[0].1;
    assert_eq!((order.kind, order.target.clone()), (MoveKind::Redirect, Some(address("10.0.0.1:9101"))));
    assert_eq!(order.target_id, Some(id("A")));
    let native = order.native.as_ref().unwrap();
    assert_eq!((native.epoch, native.owner.as_str(), native.lease), (entry.epoch, "B", Some(seconds(30))));
    assert_eq!(desk.told(LoanEvent::WorkerLent), 2);
    let heard = desk.traces.iter().find(|(out, ..)| !out).unwrap();
    let said = desk.traces.iter().find(|(out, ..)| *out).unwrap();
    assert_eq!((heard.1, heard.2.as_ref().unwrap().as_str()), ("request_help", "r-1"));
    assert_eq!((said.1, said.2.as_ref().unwrap().as_str()), ("response_accepted", "r-1"));
}

#[test]
fn without_a_majority_it_lends_by_its_own_authority_within_a_second_and_says_so() {
    let mut desk = Desk::new("B", 9102);
    desk.loans.asked(asked(1, &["w1", "w2"]), at(0));
    let first = proposals(&desk.effects())[0].0;
    assert_eq!(desk.loans.deadline(), Some(at(0) + AGREE_WITHIN));
    assert_eq!(desk.pass(at(999)), []);
    let effects = desk.pass(at(1000));
    let LoanAnswer::Accepted { workers, .. } = answer_of(&effects) else { panic!() };
    assert!(!workers[0].terms.as_ref().unwrap().agreed);
    assert_eq!(orders(&effects).len(), 1);
    // The proposal comes to nothing: it is made again until the group knows.
    desk.loans.agreed(first, Err(Unagreed::Unknown("no quorum".into())), at(2000));
    let effects = desk.pass(at(2000) + PROPOSE_AGAIN);
    let again = proposals(&effects);
    assert!(matches!(&again[..], [(_, LoanRecord::Lend(entry))] if entry.worker == id("w1")));
    desk.loans.agreed(again[0].0, Ok(3), at(7100));
    desk.effects();
    assert!(desk.loans.answer(None, Default::default(), at(7100)).loans[0].agreed);
    desk.loans.home(&id("w1"), None, 0, at(7200));
}

#[test]
fn a_refusal_of_the_group_is_not_waited_for() {
    let mut desk = Desk::new("B", 9102);
    desk.loans.asked(asked(1, &["w1", "w2"]), at(0));
    let proposal = proposals(&desk.effects())[0].0;
    desk.loans.agreed(proposal, Err(Unagreed::Never("no group".into())), at(3));
    let effects = desk.effects();
    assert!(matches!(answer_of(&effects), LoanAnswer::Accepted { .. }));
    // Nobody was ever asked, so that there is no end to record.
    let epoch = orders(&effects)[0].1.native.as_ref().unwrap().epoch;
    desk.loans.left(&id("w1"), at(5));
    desk.loans.home(&id("w1"), Some(epoch), 0, at(10));
    assert_eq!(proposals(&desk.effects()), []);
}

#[test]
fn a_loan_that_ends_before_the_group_has_answered_is_ended_there_when_it_has() {
    let mut desk = Desk::new("B", 9102);
    desk.loans.asked(asked(1, &["w1", "w2"]), at(0));
    let proposal = proposals(&desk.effects())[0].0;
    let epoch = orders(&desk.pass(at(1000)))[0].1.native.as_ref().unwrap().epoch;
    desk.loans.home(&id("w1"), Some(epoch), 0, at(1500));
    assert_eq!(proposals(&desk.effects()), [], "the group may not know it");
    desk.loans.agreed(proposal, Ok(4), at(1600));
    assert!(matches!(&proposals(&desk.effects())[..], [(_, LoanRecord::End { .. })]));
}

#[test]
fn ends_of_loans_wait_for_nobody_and_are_recorded_when_that_can_be() {
    let (mut desk, epochs) = lent(&["w1"]);
    let loan = loan_of(&desk, "w1");
    desk.loans.home(&id("w1"), Some(epochs[0]), 0, at(100));
    let effects = desk.effects();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::AtHome { .. })), "{effects:?}");
    let end = proposals(&effects)[0].0;
    assert_eq!(desk.loans.counts().0, 0, "over at once");
    let mut proposal = end;
    for _ in 0..3 {
        let now = desk.now;
        desk.loans.agreed(proposal, Err(Unagreed::Unknown("cut".into())), now);
        let again = proposals(&desk.pass(now + PROPOSE_AGAIN));
        assert!(matches!(&again[..], [(_, LoanRecord::End { loan_id, .. })] if *loan_id == loan), "{again:?}");
        proposal = again[0].0;
    }
    desk.loans.agreed(proposal, Ok(12), desk.now);
    assert_eq!((desk.effects(), desk.loans.deadline()), (Vec::new(), None));
}

#[test]
fn loans_of_an_earlier_life_are_ended_in_the_ledger() {
    let (mut desk, _) = lent(&["w1"]);
    let (mine, old) = (LentWorker { loan_id: loan_of(&desk, "w1"), ..of_before("w1", 9) }, of_before("w2", 3));
    desk.loans.in_ledger(&[mine, old.clone()], |_| true, at(1));
    let all = proposals(&desk.effects());
    assert!(matches!(&all[..], [(_, LoanRecord::End { loan_id, .. })] if *loan_id == old.loan_id));
    desk.loans.in_ledger(&[old], |_| true, at(2));
    assert_eq!(desk.effects(), [], "it is under way");
    let many: Vec<LentWorker> = (10..200).map(|n| of_before(&format!("w{n}"), n)).collect();
    desk.loans.in_ledger(&many, |_| true, at(3));
    assert!(proposals(&desk.effects()).len() < MAX_PROPOSED);
}

/// A loan that stands in the ledger from before the start.
fn of_before(worker: &str, counter: u64) -> LentWorker {
    LentWorker {
        loan_id: LoanId::new(format!("B-{counter}")).unwrap(),
        worker: id(worker),
        owner: id("B"),
        borrower: id("A"),
        epoch: Epoch { generation: 0, counter },
        lease: seconds(30),
    }
}

#[test]
fn workers_that_were_lent_before_a_start_count_as_lent_until_they_are_home() {
    let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() });
    let (one, two, three) = (of_before("w1", 3), of_before("w2", 4), of_before("w3", 5));
    let all = [one.clone(), two.clone(), three.clone()];
    desk.loans.in_ledger(&all, |worker| *worker == id("w3"), at(0));
    let ended = |effects: &[Effect]| -> Vec<LoanId> {
        let end = |(_, record)| match record {
            LoanRecord::End { loan_id, .. } => loan_id,
            LoanRecord::Lend(loan) => panic!("{loan:?}"),
        };
        proposals(effects).into_iter().map(end).collect()
    };
    assert_eq!(ended(&desk.effects()), [three.loan_id], "who is at home is not lent");
    assert_eq!(desk.loans.counts().0, 2);
    assert_eq!(state_of(&desk, "w1"), LoanState::Returning);
    let why = desk.loans.why(&id("w1"), &[], at(1)).unwrap();
    assert!(why.contains("started anew"), "{why}");
    assert_eq!(renew(&mut desk, "A", vec![one.loan_id.clone()]), [], "its borrower sends it home");
    desk.loans.in_ledger(&all[..2], |_| false, at(2));
    assert_eq!(desk.effects(), [], "once is enough");
    // Whatever it is told at home outranks what it was told before.
    desk.loans.home(&id("w1"), Some(one.epoch), 0, at(100));
    let effects = desk.effects();
    assert_eq!(ended(&effects), [one.loan_id]);
    let home = effects.iter().find_map(|effect| match effect {
        Effect::AtHome { epoch, .. } => Some(*epoch),
        _ => None,
    });
    assert!(home.unwrap() > one.epoch);
    assert_eq!(desk.told(LoanEvent::WorkerReturned), 1);
    // What never comes is waited for as long as it could be used.
    let effects = desk.pass(at(40_000));
    assert_eq!((ended(&effects), desk.loans.counts().0), (vec![two.loan_id], 0));
    let why = desk.loans.why(&id("w2"), &[], desk.now).unwrap();
    assert!(why.contains("not come home in time"), "{why}");
}

#[test]
fn what_the_ledger_holds_no_longer_was_not_lent_after_all() {
    let mut desk = Desk::with("B", 9102, LoanConfig::default());
    desk.loans.in_ledger(&[of_before("w1", 3)], |_| false, at(0));
    assert_eq!(desk.loans.counts().0, 1);
    desk.loans.in_ledger(&[], |_| false, at(1));
    assert_eq!(desk.loans.counts().0, 0, "its copy was behind");
    let now = Epoch { generation: 0, counter: (1 << 24) + 7 };
    let lately = LentWorker { epoch: now, ..of_before("w2", 4) };
    desk.loans.in_ledger(&[lately], |_| false, at(2));
    assert_eq!(desk.loans.counts().0, 0, "a loan of this start that is not known is over");
}

#[test]
fn every_refusal_has_its_word_and_its_reason() {
    let refusal = |config: LoanConfig, change: &dyn Fn(&mut Asked)| {
        let mut desk = Desk::with("B", 9102, config);
        let mut asked = asked(2, &["w1", "w2", "w3"]);
        change(&mut asked);
        desk.loans.asked(asked, at(0));
        let effects = desk.effects();
        let reason = refusal_of(&effects).to_owned();
        assert_eq!(effects.len(), 1, "nobody is reserved: {effects:?}");
        assert_eq!(desk.told(LoanEvent::LoanRefused), 1);
        (reason, desk.decisions.last().unwrap().clone())
    };
    let fine = LoanConfig::default;
    let all = |change: fn(&mut Candidate)| move |asked: &mut Asked| asked.candidates.iter_mut().for_each(change);
    let cases = [
        (
            refusal(fine(), &all(|one| one.idle = false)),
            "no_workers_available",
            "no worker is idle (0 of 3 workers here idle, keep=1)",
        ),
        (refusal(fine(), &all(|one| one.draining = true)), "no_workers_available", "no worker is idle"),
        (refusal(fine(), &all(|one| one.quarantined = true)), "no_workers_available", "no worker is idle"),
        (refusal(fine(), &all(|one| one.services.clear())), "no_workers_available", "no idle worker offers sleep"),
        (
            refusal(LoanConfig { keep: 3, ..fine() }, &|_| {}),
            "no_workers_available",
            "kept (3 of 3 workers here idle, keep=3)",
        ),
        (refusal(LoanConfig { lend: Lend::Nobody, ..fine() }, &|_| {}), "refused", "lent to nobody"),
        (
            refusal(LoanConfig { lend: Lend::Group, ..fine() }, &|asked| asked.known.as_mut().unwrap().member = false),
            "refused",
            "members of the own group, and a is none",
        ),
        (refusal(fine(), &|asked| asked.known.as_mut().unwrap().peer = id("B")), "refused", "itself"),
        (
            refusal(fine(), &|asked| {
                asked.request.address = Some(address("10.0.0.2:9102"));
                asked.trusted = vec![address("10.0.0.2:9102")];
            }),
            "refused",
            "itself",
        ),
        (
            refusal(fine(), &|asked| {
                asked.known = None;
                (asked.request.address, asked.request.port) = (None, None);
            }),
            "refused",
            "does not say where it listens",
        ),
    ];
    for ((reason, why), word, part) in &cases {
        assert_eq!(reason, word, "{why}");
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn a_saturated_owner_refuses_and_one_that_borrows_itself_too() {
    let mut desk = Desk::new("B", 9102);
    desk.loans.load(saturated(101, 4), at(0));
    desk.loans.asked(asked(1, &["w1", "w2"]), at(0));
    assert_eq!(refusal_of(&desk.effects()), "high_load");
    desk.loans.neighbours(vec![neighbour("C", 9103)], at(0));
    let token = asks(&desk.effects())[0].0;
    let epoch = Epoch { generation: 0, counter: 1 };
    let (loan_id, lease) = (LoanId::new("C-1").unwrap(), seconds(30));
    let terms = Some(OfferTerms { loan_id: loan_id.clone(), epoch, lease, agreed: true });
    let workers = vec![OfferedWorker { worker: id("x"), address: None, terms }];
    desk.loans.answered(token, LoanAnswer::Accepted { master: None, offered: 1, workers, dialect: None }, at(1));
    desk.loans.load(calm(70), at(2));
    desk.effects();
    for now in [at(3), at(5)] {
        desk.loans.asked(asked(1, &["w1", "w2"]), now);
        assert_eq!(refusal_of(&desk.effects()), "high_load");
        let promised = desk.loans.borrower.awaits() == 1;
        let rests = if promised { "waits for 1 worker of others" } else { "works with 1 worker of others" };
        assert!(desk.decisions.last().unwrap().contains(rests), "{:?}", desk.decisions.last());
        let why = desk.loans.why(&id("w1"), &[candidate("w1"), candidate("w2")], now).unwrap();
        assert_eq!(why, format!("not lent: this master {rests} itself"));
        assert_eq!(promised, now == at(3));
        let (owner, loan_id) = (Some(id("C")), Some(loan_id.clone()));
        let (worker, services, epoch) = (id("x"), vec![service("sleep")], Some(epoch));
        let guest = Guest { worker, owner, lender: None, home: None, loan_id, epoch, native: true, services };
        desk.loans.came(guest, at(4));
        desk.effects();
    }
    desk.loans.gone(&id("x"), at(6));
    desk.effects();
    desk.loans.asked(asked(1, &["w1", "w2"]), at(7));
    assert_eq!(proposals(&desk.effects()).len(), 1, "it is free to lend again");
}

#[test]
fn keep_cap_and_needed_bound_what_is_lent() {
    let given = |config: LoanConfig, needed: u32, workers: &[&str]| {
        let mut desk = Desk::with("B", 9102, config);
        desk.loans.asked(asked(needed, workers), at(0));
        proposals(&desk.effects()).len()
    };
    let six = ["w1", "w2", "w3", "w4", "w5", "w6"];
    assert_eq!(given(LoanConfig::default(), 64, &six), 5, "one is kept");
    assert_eq!(given(LoanConfig { keep: 4, ..LoanConfig::default() }, 64, &six), 2);
    assert_eq!(given(LoanConfig { cap: Some(3), ..LoanConfig::default() }, 64, &six), 3);
    assert_eq!(given(LoanConfig::default(), 2, &six), 2);
    assert_eq!(given(LoanConfig::default(), 0, &six), 1, "who asks for none wants one");
}

#[test]
fn busy_workers_are_kept_so_that_idle_ones_can_go() {
    let mut desk = Desk::new("B", 9102);
    let mut asked = asked(5, &["w1", "w2", "w3"]);
    asked.candidates[0].idle = false;
    desk.loans.asked(asked, at(0));
    assert_eq!(proposals(&desk.effects()).len(), 2, "w1 is the one that stays");
}

#[test]
fn nobody_is_promised_twice_and_the_cap_counts_what_is_lent() {
    let mut desk = Desk::with("B", 9102, LoanConfig { cap: Some(2), keep: 0, ..LoanConfig::default() });
    desk.loans.asked(asked(1, &["w1", "w2", "w3"]), at(0));
    let mut again = asked(5, &["w1", "w2", "w3"]);
    again.reply = reply(6, "r-2");
    desk.loans.asked(again.clone(), at(1));
    let effects = desk.effects();
    let workers: BTreeSet<ServerId> = proposals(&effects)
        .iter()
        .map(|(_, record)| match record {
            LoanRecord::Lend(entry) => entry.worker.clone(),
            LoanRecord::End { .. } => panic!(),
        })
        .collect();
    assert_eq!(workers.len(), 2);
    desk.loans.asked(again, at(2));
    assert_eq!(refusal_of(&desk.effects()), "refused");
    assert!(desk.decisions.last().unwrap().contains("cap=2"), "{:?}", desk.decisions.last());
}

#[test]
fn after_a_loan_the_borrower_cools_down() {
    let (mut desk, epochs) = lent(&["w1"]);
    desk.loans.home(&id("w1"), Some(epochs[0]), 0, at(1000));
    desk.effects();
    desk.loans.asked(asked(1, &["w1", "w2"]), at(5999));
    assert_eq!(refusal_of(&desk.effects()), "refused");
    assert!(desk.decisions.last().unwrap().contains("cooling down"));
    desk.loans.asked(asked(1, &["w1", "w2"]), at(6000));
    assert_eq!(proposals(&desk.effects()).len(), 1, "the refusal has not begun it anew");
}

#[test]
fn under_the_name_of_another_nobody_uses_up_what_is_its() {
    let mut desk = Desk::with("B", 9102, LoanConfig { cap: Some(1), keep: 0, ..LoanConfig::default() });
    let mut liar = asked(1, &["w1", "w2"]);
    (liar.known, liar.from) = (None, IpAddr::from([10, 6, 6, 6]));
    desk.loans.asked(liar, at(0));
    let effects = desk.effects();
    let effects = desk.agree(effects);
    assert_eq!(orders(&effects)[0].1.target, Some(address("10.6.6.6:9101")), "it is sent to whoever asked");
    let LoanAnswer::Accepted { workers, .. } = answer_of(&effects) else { panic!() };
    assert_eq!(workers[0].terms, None);
    desk.loans.asked(asked(1, &["w2"]), at(1));
    assert_eq!(proposals(&desk.effects()).len(), 1, "the true A has none yet, and cools down from nothing");
}

#[test]
fn the_same_refusal_is_told_once_a_second() {
    let mut desk = Desk::new("B", 9102);
    for ms in (0..2_000).step_by(10) {
        desk.loans.asked(asked(1, &["w1"]), at(ms));
        assert_eq!(refusal_of(&desk.effects()), "no_workers_available");
    }
    assert_eq!(desk.told(LoanEvent::LoanRefused), 2);
}

#[test]
fn those_that_cool_down_are_bounded() {
    let mut desk = Desk::with("B", 9102, LoanConfig { lend: Lend::Nobody, ..LoanConfig::default() });
    for n in 0..MAX_COOLING as u64 + 50 {
        let mut asked = asked(1, &["w1"]);
        asked.known = None;
        asked.from = IpAddr::from([10, 1, (n >> 8) as u8, n as u8]);
        asked.request.address = None;
        desk.loans.asked(asked, at(n));
        desk.effects();
    }
    assert_eq!(desk.loans.owner.all_cooling(at(1100)).count(), MAX_COOLING);
}

#[test]
fn a_worker_that_does_not_show_itself_is_taken_back() {
    let (mut desk, epochs) = lent(&["w1"]);
    assert_eq!(desk.pass(at(9_999)), []);
    let effects = desk.pass(at(10_000));
    let Effect::TakeBack { worker, epoch, .. } = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(*worker, id("w1"));
    assert!(*epoch > epochs[0], "the order is outranked");
    assert_eq!(desk.loans.counts().0, 0);
    // Should it be there after all, its lease is not renewed.
    let loan = loan_of(&desk, "w1");
    assert_eq!(renew(&mut desk, "A", vec![loan]), []);
}

#[test]
fn a_renewal_is_the_proof_of_arrival_and_makes_the_lease_count_anew() {
    let (mut desk, _) = lent(&["w1", "w2"]);
    let (w1, w2) = (loan_of(&desk, "w1"), loan_of(&desk, "w2"));
    desk.pass(at(9_000));
    let again = renew(&mut desk, "A", vec![w1.clone(), w1.clone()]);
    assert!(matches!(&again[..], [id] if *id == w1), "named once: {again:?}");
    assert_eq!((state_of(&desk, "w1"), state_of(&desk, "w2")), (LoanState::Active, LoanState::Moving));
    desk.pass(at(10_000));
    assert_eq!(state_of(&desk, "w2"), LoanState::Ended);
    assert_eq!(renew(&mut desk, "C", vec![w1.clone()]), [], "it is not C's");
    assert_eq!(renew(&mut desk, "A", vec![w1.clone(), w2]), [w1]);
    // From that answer the lease counts, and a twentieth for the clocks.
    assert_eq!(desk.pass(at(41_499)), []);
    desk.pass(at(41_500));
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended);
    assert!(desk.events.last().unwrap().1.contains("without a renewal"), "{:?}", desk.events.last());
}

#[test]
fn a_pause_of_the_owner_shortens_nothing() {
    let (mut desk, _) = lent(&["w1"]);
    let loan = loan_of(&desk, "w1");
    renew(&mut desk, "A", vec![loan.clone()]);
    desk.now = at(60_000);
    desk.loans.excuse(seconds(60), at(60_000));
    desk.loans.tick(at(60_000));
    assert_eq!(desk.effects(), []);
    assert_eq!(renew(&mut desk, "A", vec![loan.clone()]), [loan], "what lay in the buffer counts");
}

#[test]
fn the_return_of_a_worker_ends_its_loan_and_gives_it_a_new_epoch() {
    let (mut desk, epochs) = lent(&["w1"]);
    desk.loans.left(&id("w1"), at(10));
    let loan = loan_of(&desk, "w1");
    renew(&mut desk, "A", vec![loan]);
    desk.loans.home(&id("w1"), Some(epochs[0]), 0, at(500));
    let effects = desk.effects();
    let home = effects.iter().find_map(|effect| match effect {
        Effect::AtHome { epoch, .. } => Some(*epoch),
        _ => None,
    });
    assert!(home.unwrap() > epochs[0]);
    assert_eq!(desk.told(LoanEvent::WorkerReturned), 1);
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended);
    // It registers anew after a cut: nothing has happened meanwhile, and no number is used up.
    desk.loans.home(&id("w1"), home, 0, at(600));
    assert_eq!(desk.effects(), [Effect::AtHome { worker: id("w1"), epoch: home.unwrap() }]);
}

#[test]
fn an_order_that_was_lost_with_its_link_is_given_again() {
    let (mut desk, epochs) = lent(&["w1"]);
    desk.loans.left(&id("w1"), at(10));
    desk.loans.home(&id("w1"), None, 0, at(1000));
    let effects = desk.effects();
    let Effect::AtHome { epoch: home, .. } = &effects[0] else { panic!("{effects:?}") };
    let again = orders(&effects);
    let native = again[0].1.native.as_ref().unwrap();
    // Each has an epoch of its own, and whatever it has obeyed before is outranked.
    assert!(epochs[0] < *home && *home < native.epoch);
    assert_eq!((native.lease, native.loan_id.clone()), (Some(seconds(29)), Some(loan_of(&desk, "w1"))));
    assert_eq!(state_of(&desk, "w1"), LoanState::Moving);
    desk.loans.home(&id("w1"), Some(*home), 0, at(1500));
    assert_eq!(orders(&desk.effects()).len(), 1, "once more");
    desk.loans.home(&id("w1"), Some(Epoch { counter: native.epoch.counter + 2, generation: 0 }), 0, at(2000));
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended, "it has been away, and is back");
}

#[test]
fn a_borrower_that_claims_a_worker_which_never_went_does_not_keep_it() {
    let (mut desk, epochs) = lent(&["w1"]);
    let loan = loan_of(&desk, "w1");
    assert_eq!(renew(&mut desk, "A", vec![loan.clone()]).len(), 1);
    desk.loans.home(&id("w1"), None, 0, at(10));
    let effects = desk.effects();
    assert!(matches!(&effects[0], Effect::TakeBack { epoch, .. } if *epoch > epochs[0]), "{effects:?}");
    assert_eq!(renew(&mut desk, "A", vec![loan]), []);
}

#[test]
fn a_worker_that_was_promised_and_leaves_is_not_offered() {
    let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() });
    desk.loans.asked(asked(2, &["w1", "w2"]), at(0));
    let all = proposals(&desk.effects());
    desk.loans.left(&id("w1"), at(5));
    assert_eq!(desk.effects(), [Effect::Free { worker: id("w1") }], "it may resume");
    desk.loans.agreed(all[1].0, Ok(2), at(6));
    let effects = desk.effects();
    let LoanAnswer::Accepted { offered, workers, .. } = answer_of(&effects) else { panic!() };
    assert_eq!((*offered, workers.len(), workers[0].worker.as_str()), (1, 1, "w2"));
    desk.loans.agreed(all[0].0, Ok(1), at(7));
    assert!(matches!(&proposals(&desk.effects())[..], [(_, LoanRecord::End { .. })]));
    // The last one leaves: the borrower hears that there is none.
    let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() });
    desk.loans.asked(asked(1, &["w1"]), at(0));
    desk.loans.left(&id("w1"), at(5));
    assert_eq!(refusal_of(&desk.effects()), "no_workers_available");
}

#[test]
fn a_promised_worker_that_registers_anew_is_told_an_order_that_it_will_obey() {
    let mut desk = Desk::new("B", 9102);
    desk.loans.asked(asked(1, &["w1", "w2"]), at(0));
    let effects = desk.effects();
    desk.loans.home(&id("w1"), Some(Epoch { generation: 0, counter: 5 }), 0, at(1));
    let home = match desk.effects()[..] {
        [Effect::AtHome { epoch, .. }] => epoch,
        ref effects => panic!("{effects:?}"),
    };
    let effects = desk.agree(effects);
    assert!(orders(&effects)[0].1.native.as_ref().unwrap().epoch > home);
}

#[test]
fn an_asker_that_hangs_up_gets_nobody() {
    let mut desk = Desk::new("B", 9102);
    desk.loans.asked(asked(1, &["w1", "w2"]), at(0));
    desk.effects();
    desk.loans.link_closed(LinkId(4), at(1));
    let effects = desk.effects();
    assert_eq!(effects, [Effect::Free { worker: id("w1") }, Effect::Unanswered { reply: reply(4, "r-1") }]);
    assert_eq!((desk.loans.counts().0, desk.loans.deadline()), (0, None));
}

#[test]
fn an_owner_recalls_nobody_for_jobs_that_it_cannot_run() {
    let (mut desk, _) = lent(&["w1", "w2", "w3"]);
    for worker in ["w1", "w2", "w3"] {
        desk.loans.left(&id(worker), at(10));
        let loan = loan_of(&desk, worker);
        renew(&mut desk, "A", vec![loan]);
    }
    desk.now = at(1000);
    desk.loans.load(Saturation { needs: needs(&[("slepp", 300)]), ..saturated(300, 4) }, at(1000));
    assert_eq!(actions(&desk.effects()), []);
    // Ten of them could be run at home: one is enough for these.
    let some = needs(&[("sleep", 10), ("slepp", 290)]);
    desk.loans.load(Saturation { needs: some, ..saturated(300, 4) }, at(1100));
    assert_eq!(actions(&desk.effects()).len(), 1);
}

#[test]
fn an_owner_that_saturates_recalls_as_many_as_it_needs_the_oldest_first() {
    let (mut desk, epochs) = lent(&["w1", "w2", "w3"]);
    for worker in ["w1", "w2", "w3"] {
        desk.loans.left(&id(worker), at(10));
        let loan = loan_of(&desk, worker);
        renew(&mut desk, "A", vec![loan]);
    }
    desk.now = at(1000);
    // 150 at a capacity of 100 with 4 workers need 2.
    desk.loans.load(saturated(150, 4), at(1000));
    let effects = desk.effects();
    let told = actions(&effects);
    assert_eq!(told.len(), 2, "{effects:?}");
    let (token, to, LoanAction::Recall { worker, epoch, grace, .. }) = &told[0] else { panic!() };
    assert_eq!((to.peer.as_str(), worker.as_str(), *grace), ("A", "w1", seconds(10)));
    assert!(*epoch > epochs[2], "each order has an epoch of its own");
    assert_eq!(asks(&effects), [], "who comes home is not asked for elsewhere");
    assert!(!desk.loans.wants_neighbours(at(1000)));
    desk.loans.load(saturated(150, 4), at(1100));
    assert_eq!(desk.effects(), [], "they are on their way");
    // A recalled loan is not renewed; the recall is said again until it is heard.
    let loan = loan_of(&desk, "w1");
    assert_eq!(renew(&mut desk, "A", vec![loan]), []);
    desk.loans.failed(*token, "link gone", at(2000));
    let effects = desk.pass(at(6000));
    assert_eq!(actions(&effects).len(), 2, "both again, one was never answered: {effects:?}");
    let seen = *epoch;
    desk.loans.home(&id("w1"), Some(seen), 0, at(7000));
    let effects = desk.effects();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Drop { .. })));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::AtHome { epoch, .. } if *epoch > seen)));
    assert_eq!(desk.told(LoanEvent::WorkerRecalled), 2);
}

#[test]
fn a_recall_that_was_heard_is_repeated_only_after_its_grace() {
    let (mut desk, _) = lent(&["w1"]);
    desk.loans.left(&id("w1"), at(10));
    let loan = loan_of(&desk, "w1");
    renew(&mut desk, "A", vec![loan]);
    desk.loans.load(saturated(101, 4), at(100));
    let (token, ..) = actions(&desk.effects())[0].clone();
    desk.loans.done_by(token, LoanDone { action: "RECALL".into(), index: None, renewed: Vec::new() }, at(150));
    assert_eq!(actions(&desk.pass(at(15_099))), []);
    let mark = |kind: &str| desk.traces.iter().find(|trace| trace.1 == kind).and_then(|trace| trace.2.clone());
    assert!(mark("loans_recall").is_some() && mark("loans_recalled") == mark("loans_recall"), "{:?}", desk.traces);
    assert_eq!(actions(&desk.pass(at(15_100))).len(), 1);
    // If it never comes, the lease ends the loan all the same.
    desk.pass(at(31_500));
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended);
}

#[test]
fn an_owner_that_saturates_keeps_whom_it_has_only_promised() {
    let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() });
    desk.loans.asked(asked(1, &["w1"]), at(0));
    desk.effects();
    desk.loans.load(saturated(101, 4), at(500));
    let effects = desk.effects();
    assert_eq!(refusal_of(&effects), "high_load");
    assert!(effects.contains(&Effect::Free { worker: id("w1") }));
    // One that was told and has not gone is taken back, without a word to the borrower.
    let (mut desk, epochs) = lent(&["w1"]);
    desk.loans.load(saturated(101, 4), at(500));
    let effects = desk.effects();
    assert!(matches!(&effects[0], Effect::TakeBack { epoch, .. } if *epoch > epochs[0]));
    assert_eq!(actions(&effects), []);
}

#[test]
fn a_borrower_that_is_timeout_has_no_loans() {
    let (mut desk, epochs) = lent(&["w1", "w2"]);
    desk.loans.left(&id("w1"), at(10));
    let loan = loan_of(&desk, "w1");
    renew(&mut desk, "A", vec![loan.clone()]);
    desk.loans.peer_timeout(&id("A"), at(1000));
    let effects = desk.effects();
    let taken: Vec<&Effect> = effects.iter().filter(|effect| matches!(effect, Effect::TakeBack { .. })).collect();
    assert_eq!(taken.len(), 1, "w2 has not gone yet: {effects:?}");
    assert_eq!(desk.loans.counts().0, 0);
    assert_eq!(renew(&mut desk, "A", vec![loan]), [], "it was only cut off: its guest goes home");
    desk.loans.home(&id("w1"), Some(epochs[0]), 0, at(5000));
    assert!(desk.effects().iter().any(|effect| matches!(effect, Effect::AtHome { .. })));
}

#[test]
fn who_let_a_worker_go_gets_no_renewal_and_the_loan_ends_without_it_too() {
    let (mut desk, _) = lent(&["w1"]);
    desk.loans.left(&id("w1"), at(10));
    let loan = loan_of(&desk, "w1");
    renew(&mut desk, "A", vec![loan.clone()]);
    let returned = Returned { worker: id("w1"), loan_id: Some(loan.clone()) };
    let elsewhere = IpAddr::from([10, 6, 6, 6]);
    desk.loans.returned(Some(&id("C")), elsewhere, returned.clone(), None, at(20));
    assert_eq!(state_of(&desk, "w1"), LoanState::Active, "C has nothing to say about it");
    desk.loans.returned(Some(&id("A")), elsewhere, returned, None, at(20));
    assert_eq!(state_of(&desk, "w1"), LoanState::Returning);
    assert_eq!(renew(&mut desk, "A", vec![loan]), []);
    desk.pass(at(31_520));
    assert_eq!(state_of(&desk, "w1"), LoanState::Ended);
}

#[test]
fn an_adopted_worker_is_nobodys_business_any_more() {
    let (mut desk, _) = lent(&["w1", "w2"]);
    desk.loans.disowned(&id("w1"), at(10));
    let effects = desk.effects();
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Propose { .. })), "{effects:?}");
    assert_eq!(desk.loans.counts().0, 1);
}

#[test]
fn why_and_loans_tell_the_truth_with_figures() {
    let (mut desk, _) = lent(&["w1", "w2"]);
    desk.now = at(2500);
    let loan = loan_of(&desk, "w1");
    let why = |desk: &Desk, worker: &str, here: &[&str]| {
        let here: Vec<Candidate> = here.iter().map(|worker| candidate(worker)).collect();
        desk.loans.why(&id(worker), &here, desk.now)
    };
    let text = why(&desk, "w1", &[]).unwrap();
    assert_eq!(
        text,
        format!("lent to A for 2.5 s on loan {loan}, MOVING, 27.5 s of its lease left: it is to show itself at a")
    );
    assert!(desk.loans.why_loan(&loan, desk.now).unwrap().starts_with("w1 is lent to A for 2.5 s"));
    desk.loans.left(&id("w1"), at(2600));
    desk.loans.home(&id("w1"), Some(Epoch { generation: 0, counter: 1 << 40 }), 0, at(3000));
    desk.effects();
    desk.now = at(4000);
    assert!(desk.loans.why_loan(&loan, desk.now).unwrap().starts_with("over for 1.0 s: w1 was lent to A"));
    let text = why(&desk, "w1", &["w1"]).unwrap();
    let last =
        "a asked for workers: 2 wanted, 2 given (2 of 2 workers here idle, keep=0, cap=none, 0 lent to it before)";
    assert_eq!(
        text,
        format!("not lent: nobody has asked since the last request, 4.0 s ago: {last}; A may borrow again in 4.0 s")
    );
    desk.now = at(9000);
    let text = why(&desk, "w1", &["w1"]).unwrap();
    assert!(text.contains("the last request, 9.0 s ago: a asked for workers: 2 wanted, 2 given"), "{text}");
    assert_eq!(why(&desk, "unknown", &["w1"]), None);
    let mut desk = Desk::new("B", 9102);
    assert_eq!(why(&desk, "w1", &["w1"]).unwrap(), "not lent: it is kept, keep=1, and 1 worker here and well");
    assert_eq!(why(&desk, "w1", &["w1", "w2"]).unwrap(), "not lent: nobody has asked for workers");
    desk.loans.load(saturated(101, 4), at(0));
    assert_eq!(why(&desk, "w1", &["w1", "w2"]).unwrap(), "not lent: this master is saturated itself");
}

#[test]
fn the_list_has_pages() {
    let workers: Vec<String> = (0..150).map(|n| format!("w{n:03}")).collect();
    let workers: Vec<&str> = workers.iter().map(String::as_str).collect();
    let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, ..LoanConfig::default() });
    for part in workers.chunks(50) {
        desk.loans.asked(asked(50, part), at(0));
        desk.effects();
    }
    let first = desk.loans.answer(None, Default::default(), at(1));
    assert!(first.more && first.loans.len() == 128);
    let rest = desk.loans.answer(Some(&first.loans[127].loan_id), Default::default(), at(1));
    assert!(!rest.more && rest.loans.len() == 22);
    assert!(first.loans.iter().all(|view| view.status == LoanState::Proposed && view.out));
}

#[test]
fn what_may_not_be_lent_any_more_is_not_renewed() {
    let config = LoanConfig { keep: 0, ..LoanConfig::default() };
    let renewed = |config: LoanConfig, member: bool| {
        let (mut desk, _) = lent_with(LoanConfig { keep: 0, ..LoanConfig::default() }, &["w1", "w2", "w3"]);
        desk.now = at(1000);
        let all: Vec<LoanId> = ["w1", "w2", "w3"].iter().map(|worker| loan_of(&desk, worker)).collect();
        let before = all.clone();
        assert_eq!(renew(&mut desk, "A", all.clone()), all);
        desk.loans.configure(config);
        desk.now = at(10_000);
        desk.loans.renew(reply(4, "n"), &id("A"), member, all, desk.now);
        let effects = desk.effects();
        let done = effects.iter().find_map(|effect| match effect {
            Effect::Answer { body: Body::LoanDone(done), .. } => Some(done.renewed.clone()),
            _ => None,
        });
        let left: Vec<usize> =
            done.unwrap().iter().map(|(id, _)| before.iter().position(|one| one == id).unwrap()).collect();
        let why = desk.loans.why(&id("w3"), &[], desk.now).unwrap();
        desk.loans.tick(at(30_999));
        desk.loans.tick(at(32_500));
        desk.effects();
        // Whoever is not renewed is over when its lease and the margin are.
        for (nth, worker) in ["w1", "w2", "w3"].iter().enumerate() {
            assert_eq!(desk.loans.has_lent(&id(worker)), left.contains(&nth), "{worker}");
        }
        (left, why)
    };
    assert_eq!(renewed(config.clone(), false).0, [0, 1, 2]);
    let (left, why) = renewed(LoanConfig { lend: Lend::Nobody, ..config.clone() }, true);
    assert_eq!(left, [0; 0]);
    assert!(
        why.ends_with("ACTIVE, 21.0 s of its lease left: not renewed: workers are lent to nobody here any more"),
        "{why}"
    );
    assert_eq!(renewed(LoanConfig { lend: Lend::Group, ..config.clone() }, true).0, [0, 1, 2]);
    let (left, why) = renewed(LoanConfig { lend: Lend::Group, ..config.clone() }, false);
    assert_eq!(left, [0; 0]);
    assert!(why.ends_with("not renewed: workers are lent to members of the own group alone, and a is none"), "{why}");
    let (left, why) = renewed(LoanConfig { cap: Some(2), ..config }, true);
    assert_eq!(left, [0, 1], "those that were lent first stay");
    assert!(why.ends_with("not renewed: a has more than 2 workers of this master, cap=2"), "{why}");
}

#[test]
fn the_margin_is_that_of_the_lease_that_was_given() {
    let config = |lease: u64| LoanConfig { keep: 0, lease: seconds(lease), ..LoanConfig::default() };
    let (mut desk, _) = lent_with(config(1000), &["w1"]);
    let loan = loan_of(&desk, "w1");
    renew(&mut desk, "A", vec![loan.clone()]);
    desk.loans.configure(config(1));
    // A pause of the process has all times worked out anew.
    desk.loans.excuse(Duration::from_millis(1), at(1));
    // A twentieth of 1000 s: the borrower may count that much slower.
    desk.loans.tick(at(1_050_000));
    assert!(desk.loans.has_lent(&id("w1")));
    desk.loans.tick(at(1_050_001));
    assert!(!desk.loans.has_lent(&id("w1")));
    desk.effects();
    // Nor is a short one waited for by the margin of longer ones.
    let (mut desk, _) = lent_with(config(1), &["w1"]);
    let loan = loan_of(&desk, "w1");
    renew(&mut desk, "A", vec![loan]);
    desk.loans.configure(config(1000));
    desk.loans.tick(at(1_049));
    assert!(desk.loans.has_lent(&id("w1")));
    desk.loans.tick(at(1_050));
    assert!(!desk.loans.has_lent(&id("w1")));
    desk.effects();
    // The next renewal is by the new lease.
    let (mut desk, _) = lent_with(config(1000), &["w1"]);
    desk.loans.configure(config(1));
    let loan = loan_of(&desk, "w1");
    renew(&mut desk, "A", vec![loan]);
    desk.loans.tick(at(1_049));
    assert!(desk.loans.has_lent(&id("w1")));
    desk.loans.tick(at(1_050));
    assert!(!desk.loans.has_lent(&id("w1")));
    desk.effects();
}

#[test]
fn what_is_full_is_said_as_it_is() {
    let told = |desk: &Desk| desk.loans.owner.room(&desk.loans.desk);
    let mut desk = Desk::with("B", 9102, LoanConfig { keep: 0, cooldown: Duration::ZERO, ..LoanConfig::default() });
    assert!(told(&desk).0 > 0);
    for n in 0..256 {
        let mut asked = asked(1, &[]);
        asked.candidates = vec![candidate(&format!("w{n}"))];
        desk.loans.asked(asked, at(0));
    }
    assert_eq!(told(&desk), (0, "too many requests wait here for the agreement of the group"));
    desk.effects();
    desk.loans.asked(asked(1, &["x"]), at(0));
    assert_eq!(refusal_of(&desk.effects()), "refused");
    assert!(
        desk.decisions.last().unwrap().ends_with("refused, too many requests wait here for the agreement of the group")
    );
    desk.loans.tick(at(0) + AGREE_WITHIN);
    desk.effects();
    assert!(told(&desk).0 > 0, "they have been answered");
    while desk.loans.desk.counter().is_some() {}
    assert_eq!(told(&desk), (0, "no further order can be given here before the next start"));
}

#[test]
fn who_was_refused_meanwhile_has_asked() {
    let (mut desk, _) = lent(&["w1"]);
    desk.loans.left(&id("w1"), at(100));
    desk.loans.home(&id("w1"), Some(Epoch { generation: 0, counter: 1 << 40 }), 0, at(1000));
    let mut other = asked(1, &[]);
    (other.known, other.request.master) = (Some(neighbour("C", 9103)), Some(id("C")));
    desk.loans.asked(other, at(1500));
    desk.effects();
    let why = desk.loans.why(&id("w1"), &[candidate("w1")], at(2000)).unwrap();
    let refused = "c asked for 1 worker: no_workers_available, no worker is idle (0 of 0 workers here idle, keep=0)";
    let expected =
        format!("not lent: nobody has asked since the last request, 0.5 s ago: {refused}; A may borrow again in 4.0 s");
    assert_eq!(why, expected);
}
