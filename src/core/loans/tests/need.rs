//! What a borrower needs, of whom, and which guests it keeps: only what the jobs that wait can use.

use super::borrower::*;
use super::*;
use crate::wire::{LoanState, MAX_WORKERS_NEEDED};

/// A queue with these jobs, above the capacity of 100, at a master with 4 own workers.
fn full_of(waiting: &[(&str, u64)]) -> Saturation {
    let pending = waiting.iter().map(|(_, waiting)| waiting).sum();
    Saturation { needs: needs(waiting), ..saturated(pending, 4) }
}

/// The same below release.
fn few_of(waiting: &[(&str, u64)]) -> Saturation {
    let pending = waiting.iter().map(|(_, waiting)| waiting).sum();
    Saturation { needs: needs(waiting), ..calm(pending) }
}

fn left(effects: &[Effect]) -> Vec<String> {
    releases(effects).into_iter().map(|(worker, _)| worker.to_string()).collect()
}

/// Answers every renewal that is asked for.
fn renew_all(desk: &mut Desk, effects: &[Effect]) {
    for (token, _, action) in actions(effects) {
        let LoanAction::Renew { loans } = action else { panic!("{action:?}") };
        desk.loans.done_by(token, renewed(&loans.iter().collect::<Vec<_>>()), desk.now);
    }
}

/// Lets the time pass while the owner renews, and tells who was sent home.
fn pass_renewed(desk: &mut Desk, from: u64, until: u64) -> Vec<String> {
    let mut gone = Vec::new();
    for ms in (from..=until).step_by(500) {
        let effects = desk.pass(at(ms));
        renew_all(desk, &effects);
        gone.extend(left(&effects));
        gone.extend(left(&desk.effects()));
    }
    gone
}

#[test]
fn a_job_that_nobody_here_can_run_keeps_no_guest() {
    let mut desk = hosting(&["w1", "w2"]);
    desk.loans.load(few_of(&[("slepp", 1)]), at(4_000));
    assert_eq!(left(&desk.effects()), ["w1", "w2"]);
}

#[test]
fn who_runs_what_no_own_worker_does_stays_and_not_who_came_last() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(full_of(&[("render", 60), ("sleep", 90)]), at(0));
    desk.loans.neighbours(vec![neighbour("B", 9102)], at(0));
    let token = asks(&desk.effects())[0].0;
    desk.loans.answered(token, accepted(vec![offer("w1", 1), offer("w2", 2)]), at(0));
    desk.loans.came(Guest { services: vec![service("render")], ..guest("w1", 1) }, at(100));
    desk.loans.came(guest("w2", 2), at(200));
    desk.effects();
    desk.loans.load(few_of(&[("render", 3), ("sleep", 5), ("slepp", 7)]), at(4_000));
    assert_eq!(left(&desk.effects()), ["w2"]);
    assert_eq!(state_of(&desk, "w1"), LoanState::Active);
    desk.loans.load(few_of(&[("sleep", 5), ("slepp", 7)]), at(5_000));
    assert_eq!(left(&desk.effects()), ["w1"]);
}

#[test]
fn guests_for_which_nothing_waits_go_after_a_while_however_full_the_queue_is() {
    let mut desk = hosting(&["w1", "w2"]);
    desk.loans.load(full_of(&[("sleep", 1), ("slepp", 120)]), at(1_000));
    assert_eq!(pass_renewed(&mut desk, 1_000, 20_000), [""; 0], "one job may be for them");
    desk.loans.load(full_of(&[("slepp", 120)]), at(20_000));
    assert_eq!(pass_renewed(&mut desk, 20_000, 25_000), [""; 0]);
    // It ends a job: it may be thanks to it that none waits.
    desk.loans.done(&id("w2"), at(25_000));
    assert_eq!(pass_renewed(&mut desk, 25_000, 29_500), [""; 0], "between two jobs of a burst");
    assert_eq!(pass_renewed(&mut desk, 30_000, 30_000), ["w1"]);
    let why = desk.loans.why(&id("w1"), &[], at(30_000)).unwrap();
    assert!(why.ends_with("nothing has waited for it for 10.0 s: 120 jobs pending"), "{why}");
    assert_eq!(pass_renewed(&mut desk, 30_500, 34_500), [""; 0]);
    assert_eq!(pass_renewed(&mut desk, 35_000, 35_000), ["w2"]);
    // Whoever runs nothing of it is not asked for more, and the reason is said.
    for worker in ["w1", "w2"] {
        desk.loans.gone(&id(worker), at(35_000));
    }
    desk.effects();
    assert!(!desk.loans.wants_neighbours(at(39_999)), "it has just sent somebody home");
    let b = Neighbour { services: vec![service("sleep")], ..neighbour("B", 9102) };
    desk.loans.neighbours(vec![b], at(40_000));
    assert_eq!(asks(&desk.effects()), []);
    let why = desk.loans.why_asks(at(40_100));
    assert!(why.ends_with("of 1 master known none is ALIVE, unsaturated and offers slepp"), "{why}");
}

#[test]
fn a_guest_that_something_waits_for_again_stays() {
    let mut desk = hosting(&["w1"]);
    desk.loans.load(full_of(&[("slepp", 120)]), at(1_000));
    assert_eq!(pass_renewed(&mut desk, 1_000, 10_500), [""; 0]);
    desk.loans.load(full_of(&[("sleep", 1), ("slepp", 120)]), at(10_600));
    desk.loans.load(full_of(&[("slepp", 120)]), at(10_700));
    assert_eq!(pass_renewed(&mut desk, 10_700, 20_500), [""; 0]);
    // It says that it runs that, now.
    desk.loans.offers(&id("w1"), [service("slepp")].iter(), at(20_600));
    assert_eq!(pass_renewed(&mut desk, 20_700, 60_000), [""; 0]);
    desk.loans.offers(&id("w1"), [service("sleep")].iter(), at(60_000));
    assert_eq!(pass_renewed(&mut desk, 60_000, 69_500), [""; 0]);
    assert_eq!(pass_renewed(&mut desk, 70_000, 70_000), ["w1"]);
}

#[test]
fn a_hold_that_is_longer_than_the_match_timeout_is_waited_for() {
    let mut desk = hosting(&["w1"]);
    let load = Saturation { hold: seconds(20), ..full_of(&[("slepp", 120)]) };
    desk.loans.load(load, at(1_000));
    assert_eq!(pass_renewed(&mut desk, 1_000, 20_500), [""; 0]);
    assert_eq!(pass_renewed(&mut desk, 21_000, 21_000), ["w1"]);
}

#[test]
fn who_has_no_home_to_go_to_stays_whatever_waits() {
    let mut desk = hosting(&["w1"]);
    desk.loans.peer_timeout(&id("B"), at(100));
    desk.loans.load(full_of(&[("slepp", 120)]), at(1_000));
    let effects = desk.pass(at(29_000));
    assert_eq!(left(&effects), [""; 0]);
    assert_eq!(stopped(&desk.pass(at(30_000))), [id("w1")], "its lease is over");
}

#[test]
fn a_guest_that_is_of_no_use_is_none_that_helps() {
    let mut desk = hosting(&["w1"]);
    desk.loans.load(full_of(&[("slepp", 120), ("sleep", 30)]), at(5_000));
    assert_eq!(desk.loans.borrower.missing(), 1, "2 and one is here");
    desk.loans.load(full_of(&[("render", 30), ("slepp", 120)]), at(5_100));
    assert_eq!(desk.loans.borrower.missing(), 2);
    // C runs render; who is here does not.
    let c = Neighbour { services: vec![service("render")], ..neighbour("C", 9103) };
    assert!(desk.loans.wants_neighbours(at(5_100)));
    desk.loans.neighbours(vec![c], at(5_100));
    let [(_, peer, needed)] = &asks(&desk.effects())[..] else { panic!() };
    assert_eq!((peer.as_str(), *needed), ("C", 2), "4 x 30 / 100, and none of it is here");
}

#[test]
fn strangers_are_asked_for_what_query_needs_and_natives_for_what_they_offer() {
    let stranger = || Neighbour { native: false, member: false, link: None, ..neighbour("F", 9107) };
    let asked = |load: Saturation, whom: Vec<Neighbour>| {
        let mut desk = Desk::new("A", 9101);
        desk.loans.load(load, at(0));
        desk.loans.neighbours(whom, at(0));
        let mut all = Vec::new();
        while let Some((token, peer, needed)) = asks(&desk.effects()).first().cloned() {
            all.push((peer.to_string(), needed));
            desk.loans.answered(token, rejected("high_load"), at(0));
        }
        all
    };
    let whom = |name: &str, needed: u32| (name.to_owned(), needed);
    assert_eq!(asked(full_of(&[("sleep", 500)]), vec![stranger()]), []);
    assert_eq!(asked(full_of(&[("query", 500)]), vec![stranger()]), [whom("F", 16)], "4 x 400 / 100");
    assert_eq!(asked(full_of(&[("query", 3), ("sleep", 500)]), vec![stranger()]), [whom("F", 1)], "4 x 3 / 100");
    let b = Neighbour { services: vec![service("render"), service("sleep")], ..neighbour("B", 9102) };
    let c = Neighbour { services: vec![service("primes")], ..neighbour("C", 9103) };
    let d = neighbour("D", 9104);
    let load = full_of(&[("query", 100), ("render", 25), ("slepp", 375)]);
    let all = vec![stranger(), b, c, d];
    assert_eq!(asked(load, all), [whom("B", 1), whom("D", 16), whom("F", 4)], "D does not say what it has");
}

#[test]
fn what_one_has_promised_the_others_are_not_asked_for_though_they_could_help() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(full_of(&[("query", 75), ("sleep", 75)]), at(0));
    let f = Neighbour { native: false, score: 1, ..neighbour("F", 9107) };
    let b = Neighbour { services: vec![service("sleep")], ..neighbour("B", 9102) };
    desk.loans.neighbours(vec![b, f], at(0));
    let [(token, peer, 2)] = &asks(&desk.effects())[..] else { panic!() };
    assert_eq!(peer.as_str(), "F");
    let two = LoanAnswer::Accepted { master: None, offered: 2, workers: Vec::new(), dialect: None };
    desk.loans.answered(*token, two, at(0));
    assert_eq!(asks(&desk.effects()), []);
}

/// A with a queue for which it needs `needed` workers, all of which B lends it, with how many it was asked for each time.
fn with_many(needed: u32) -> (Desk, Vec<u32>) {
    let mut desk = Desk::new("A", 9101);
    let load = full_of(&[("sleep", u64::from(needed) * 25 + 100)]);
    let (mut had, mut asked) = (0, Vec::new());
    desk.loans.load(load, at(0));
    while desk.loans.wants_neighbours(desk.now) {
        desk.loans.neighbours(vec![neighbour("B", 9102)], desk.now);
        let (token, _, needed) = asks(&desk.effects())[0].clone();
        asked.push(needed);
        let workers = (had..had + u64::from(needed)).map(|n| offer(&format!("w{n}"), n)).collect();
        desk.loans.answered(token, accepted(workers), desk.now);
        for n in had..had + u64::from(needed) {
            desk.loans.came(guest(&format!("w{n}"), n), desk.now);
        }
        had += u64::from(needed);
        let effects = desk.effects();
        renew_all(&mut desk, &effects);
        desk.effects();
        let begun = desk.now;
        let effects = desk.pass(begun + seconds(2));
        renew_all(&mut desk, &effects);
        desk.effects();
    }
    (desk, asked)
}

#[test]
fn more_are_borrowed_than_one_request_can_ask_for() {
    let (desk, asked) = with_many(150);
    assert_eq!(asked, [64, 64, 22]);
    assert_eq!(desk.loans.counts().1, 150);
    let why = desk.loans.why_asks(desk.now);
    assert_eq!(
        why,
        "asks nobody: 150 workers of others here and 0 workers recalled are enough for 3850 jobs, capacity=100"
    );
}

#[test]
fn the_loans_of_many_guests_are_renewed_by_several_requests_each_with_its_own() {
    let (mut desk, _) = with_many(150);
    for turn in 0..8 {
        let until = desk.loans.deadline().unwrap();
        let effects = desk.pass(until);
        let all = actions(&effects);
        let mut named: Vec<LoanId> = Vec::new();
        for (_, _, action) in &all {
            let LoanAction::Renew { loans } = action else { panic!("{action:?}") };
            assert!(!loans.is_empty() && loans.len() <= MAX_WORKERS_NEEDED as usize);
            named.extend(loans.iter().cloned());
        }
        let (count, each) = (named.len(), named.into_iter().collect::<BTreeSet<_>>());
        assert_eq!((count, each.len()), (150, 150), "turn {turn}: each once");
        assert!(effects.iter().all(|effect| !matches!(effect, Effect::Drop { .. })), "none gives way to another");
        // In any order.
        for (token, _, action) in all.into_iter().rev() {
            let LoanAction::Renew { loans } = action else { panic!() };
            desk.loans.done_by(token, renewed(&loans.iter().collect::<Vec<_>>()), desk.now);
        }
        assert_eq!(stopped(&desk.effects()), []);
    }
    assert!(desk.now > at(60_000), "twice the lease");
    assert_eq!(desk.loans.counts().1, 150);
}

#[test]
fn a_renewal_that_is_lost_is_repeated_and_one_that_nobody_waits_for_is_dropped() {
    let (mut desk, _) = with_many(150);
    let due = desk.loans.deadline().unwrap();
    let all = actions(&desk.pass(due));
    assert_eq!(all.len(), 3);
    for (token, _, action) in &all[1..] {
        let LoanAction::Renew { loans } = action else { panic!() };
        desk.loans.done_by(*token, renewed(&loans.iter().collect::<Vec<_>>()), desk.now);
    }
    desk.effects();
    // No answer within 5 s: once more, and the others with it.
    let again = desk.loans.deadline().unwrap();
    assert_eq!(again, due + seconds(5));
    let effects = desk.pass(again);
    assert!(effects.contains(&Effect::Drop { token: all[0].0 }));
    let repeated = actions(&effects);
    assert_eq!((repeated.len(), &repeated[0].2), (3, &all[0].2));
    let (token, LoanAction::Renew { loans }) = (repeated[0].0, &repeated[0].2) else { panic!() };
    // Its workers are gone one after the other: with the last of them the request.
    let (last, others) = loans.split_last().unwrap();
    let worker = |loan: &LoanId| id(&loan.as_str().replace("B-", "w"));
    for loan in others {
        desk.loans.gone(&worker(loan), desk.now);
    }
    assert!(!desk.effects().contains(&Effect::Drop { token }));
    desk.loans.gone(&worker(last), desk.now);
    assert!(desk.effects().contains(&Effect::Drop { token }));
}

/// The neighbours that are asked in the rounds of this long, one list a round. `gives`: who promises a worker, which never comes.
fn rounds(desk: &mut Desk, known: usize, count: usize, gives: &[usize]) -> Vec<Vec<usize>> {
    let all: Vec<Neighbour> =
        (0..known).map(|n| Neighbour { score: 1000 - n as u64, ..neighbour(&format!("M{n:03}"), 9102) }).collect();
    let mut rounds = Vec::new();
    for round in 0..count {
        while !desk.loans.wants_neighbours(desk.now) {
            let due = desk.loans.deadline().unwrap();
            desk.pass(due);
        }
        desk.loans.neighbours(all.clone(), desk.now);
        let mut asked = Vec::new();
        while let Some((token, peer, _)) = asks(&desk.effects()).first().cloned() {
            let n: usize = peer.as_str()[1..].parse().unwrap();
            asked.push(n);
            let offers = vec![offer(&format!("w{round}-{n}"), n as u64)];
            let answer = if gives.contains(&n) { accepted(offers) } else { rejected("high_load") };
            desk.loans.answered(token, answer, desk.now);
        }
        rounds.push(asked);
    }
    rounds
}

#[test]
fn neighbours_that_one_round_does_not_reach_are_asked_in_the_next() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    let best_first = |from: usize, to: usize| (to..=from).rev().collect::<Vec<_>>();
    let asked = rounds(&mut desk, 17, 4, &[]);
    assert_eq!(asked[0], best_first(16, 1));
    assert_eq!(asked[1], [vec![0], best_first(16, 2)].concat(), "the last one, and then the best");
    assert_eq!(asked[2..], asked[..2], "and over again");

    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    let asked = rounds(&mut desk, 40, 3, &[]);
    let cycle: Vec<usize> = asked.concat().into_iter().take(40).collect();
    assert_eq!(cycle, best_first(39, 0), "best first over all of them");
    assert!(desk.now < at(5_000), "a round that has not reached all yet is no reason to wait for long: {:?}", desk.now);

    // With no more than a round reaches, it is always the best first.
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    assert_eq!(rounds(&mut desk, 16, 3, &[]), vec![best_first(15, 0); 3]);
}

#[test]
fn those_that_cannot_help_take_no_place_of_a_round() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(full_of(&[("query", 1), ("sleep", 300)]), at(0));
    let foreign =
        Guest { native: false, loan_id: None, epoch: None, services: vec![service("query")], ..guest("f", 1) };
    desk.loans.came(foreign, at(0));
    let stranger = |n: u16| Neighbour { native: false, link: None, score: 1, ..neighbour(&format!("S{n}"), 9110 + n) };
    let lender = Neighbour { services: vec![service("sleep")], score: 900, ..neighbour("B", 9102) };
    let known = || (0..20).map(stranger).chain([lender.clone()]).collect::<Vec<Neighbour>>();
    for _ in 0..3 {
        let now = desk.now;
        desk.loans.neighbours(known(), now);
        let asked = asks(&desk.effects());
        assert_eq!(
            asked.iter().map(|(_, peer, _)| peer.as_str()).collect::<Vec<&str>>(),
            ["B"],
            "the foreign guest does what they could"
        );
        desk.loans.answered(asked[0].0, rejected("high_load"), now);
        desk.effects();
        desk.now = desk.now + seconds(11);
    }
}

#[test]
fn who_has_given_somebody_is_not_put_behind_those_that_refuse() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(saturated(150, 4), at(0));
    let asked = rounds(&mut desk, 18, 2, &[17, 0]);
    assert_eq!(asked[0], (2..=17).rev().collect::<Vec<_>>());
    assert_eq!(asked[1][..3], [17, 1, 0]);
    // After the saturation it is the best first again.
    desk.loans.load(calm(10), desk.now);
    desk.effects();
    desk.loans.load(saturated(150, 4), desk.now);
    assert_eq!(rounds(&mut desk, 18, 1, &[])[0], (2..=17).rev().collect::<Vec<_>>());
}

#[test]
fn during_the_hold_it_is_said_that_the_hold_is_not_over() {
    let mut desk = Desk::new("A", 9101);
    desk.loans.load(calm(150), at(0));
    assert_eq!(
        desk.loans.why_asks(at(0)),
        "asks nobody yet: 150 jobs pending are above capacity=100; it counts as saturated when that has lasted 2.0 s"
    );
    desk.loans.load(calm(100), at(0));
    assert_eq!(desk.loans.why_asks(at(0)), "asks nobody: 100 jobs pending, saturated above capacity=100");
    desk.loans.load(saturated(150, 4), at(2_000));
    desk.loans.neighbours(Vec::new(), at(2_000));
    assert!(desk.loans.why_asks(at(2_000)).ends_with("no other master is known"));
}

proptest::proptest! {
    #[test]
    fn nobody_stays_for_what_it_cannot_run_and_nobody_goes_whom_a_job_needs(
        waiting in proptest::collection::vec((0..5_usize, 1..4_u64), 0..5),
        guests in proptest::collection::vec(proptest::collection::vec(0..5_usize, 0..4), 1..6),
    ) {
        let names = ["primes", "query", "render", "sleep", "slepp"];
        let mut counts = [0; 5];
        waiting.iter().for_each(|(which, jobs)| counts[*which] += jobs);
        let some: Vec<(&str, u64)> = names.into_iter().zip(counts).collect();
        let mut desk = Desk::new("A", 9101);
        desk.loans.load(saturated(1000, 4), at(0));
        for (n, runs) in guests.iter().enumerate() {
            let services = runs.iter().map(|which| service(names[*which])).collect();
            desk.loans.came(Guest { services, ..guest(&format!("w{n}"), n as u64) }, at(n as u64));
        }
        let effects = desk.effects();
        renew_all(&mut desk, &effects);
        desk.effects();
        desk.loans.load(few_of(&some), at(100));
        let gone = left(&desk.effects());
        // Without own workers for them: `render` and `slepp`.
        let mut rest = [0, 0, counts[2], 0, counts[4]];
        for (n, runs) in guests.iter().enumerate().rev() {
            let stays = !gone.contains(&format!("w{n}"));
            let can = runs.iter().any(|which| [2, 4].contains(which) && counts[*which] > 0);
            proptest::prop_assert!(can || !stays, "w{} stays for nothing", n);
            if !stays {
                continue;
            }
            if let Some(which) = runs.iter().find(|which| rest[**which] > 0) {
                rest[*which] -= 1;
            }
        }
        let kept = guests.len() - gone.len();
        proptest::prop_assert!(kept as u64 <= counts[2] + counts[4], "one guest a job");
        for (n, runs) in guests.iter().enumerate() {
            let needed = runs.iter().any(|which| rest[*which] > 0);
            proptest::prop_assert!(!needed || !gone.contains(&format!("w{n}")), "w{} is missing", n);
        }
    }
}
