//! Native workers: slots, resumption, calls, quarantine, size.

use super::*;
use crate::core::farm::{MAX_CALLS, MAX_CANDIDATES, MAX_WORKERS};
use crate::core::patience::lost_after;
use crate::wire::{Epoch, ErrorCode, JobOutput, LoanId, MoveKind, NativeMove, Stream, Terms, WorkerMove};

fn welcome(effects: &[Effect]) -> &WorkerWelcome {
    let welcomes: Vec<&WorkerWelcome> = said(effects)
        .into_iter()
        .filter_map(|body| match body {
            Some(Body::WorkerWelcome(welcome)) => Some(&**welcome),
            _ => None,
        })
        .collect();
    assert_eq!(welcomes.len(), 1, "{effects:?}");
    welcomes[0]
}

fn jobs(effects: &[Effect]) -> Vec<&Attempt> {
    said(effects)
        .into_iter()
        .filter_map(|body| match body {
            Some(Body::Job(order)) => Some(&order.attempt),
            _ => None,
        })
        .collect()
}

fn claims(effects: &[Effect]) -> Vec<(WorkerKey, Attempt)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Claim { worker, attempt } => Some((*worker, attempt.clone())),
            _ => None,
        })
        .collect()
}

fn call(n: usize) -> JobOrder {
    JobOrder {
        attempt: attempt(&format!("call-{n}"), 1),
        call: true,
        service: service("primes"),
        method: ServiceName::run(),
        params: Json::null(),
        timeout: Duration::from_secs(1),
        output: false,
    }
}

#[test]
fn it_is_welcomed_and_pushed_up_to_its_slots() {
    let mut world = World::new();
    let effects = world.native(0, "N", 2, &["primes"], &[]);
    assert_eq!(welcome(&effects).drop, []);
    assert_eq!(welcome(&effects).timeout, TIMEOUT);
    assert!(world.farm.changed());
    assert_eq!(world.give(order("x", "sleep", "1")), None, "it does not offer that");
    assert!(world.give(order("a", "primes", "1")).is_some());
    assert!(world.give(order("b", "primes", "1")).is_some());
    assert_eq!(world.give(order("c", "primes", "1")), None);
    assert_eq!(jobs(&world.effects()), [&attempt("a", 1), &attempt("b", 1)]);
    assert!(!world.farm.changed());
    assert_eq!(ended(&world.status(0, Some("N"), Some(attempt("a", 1)), true)).len(), 1);
    assert!(world.farm.changed(), "the slot is free before the result is recorded");
    assert!(world.give(order("c", "primes", "1")).is_some());
    world.effects();
    let effects = world.recorded("a");
    assert!(matches!(said(&effects)[..], [Some(Body::StatusAck(ack))] if ack.attempt == Some(attempt("a", 1))));
}

#[test]
fn the_one_with_the_fewest_is_given_the_next_and_ties_go_round() {
    let mut world = World::new();
    for (n, worker) in ["A", "B", "C"].into_iter().enumerate() {
        world.native(n as u64 * 2, worker, 2, &["primes"], &[]);
    }
    let given: Vec<_> = (0..7).map(|n| world.give(order(&format!("j{n}"), "primes", "1"))).collect();
    let numbers: Vec<_> = given.iter().map(|key| key.map(|key| key.0)).collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(0), Some(1), Some(2), None]);
}

#[test]
fn draining_it_gets_nothing_new_and_keeps_what_it_runs() {
    let mut world = World::new();
    world.native(0, "N", 2, &["primes"], &[]);
    world.give(order("a", "primes", "1"));
    world.effects();
    let effects = world.native(0, "N", 0, &["primes"], &[attempt("a", 1)]);
    assert_eq!(claims(&effects), []);
    assert_eq!(world.give(order("b", "primes", "1")), None);
    assert_eq!(world.farm.call_candidates(&service("primes"), &ServiceName::run()), []);
    assert_eq!(world.view("N").status, WorkerState::Draining);
    assert_eq!(ended(&world.status(0, Some("N"), Some(attempt("a", 1)), true)).len(), 1);
    world.farm.left(&id("N"), world.now);
    assert_eq!(lost(&world.effects()), [] as [&Attempt; 0]);
    assert!(is_ack(said(&world.recorded("a"))[0]), "even after it left");
}

#[test]
fn a_cut_shorter_than_the_timeout_starts_nothing_twice() {
    let mut world = World::new();
    world.native(0, "N", 4, &["primes"], &[]);
    for job in ["runs", "way", "done", "stopped"] {
        world.give(order(job, "primes", "1"));
    }
    world.effects();
    assert_eq!(ended(&world.status(0, Some("N"), Some(attempt("done", 1)), true)).len(), 1);
    assert_eq!(said(&world.closed(0)), [None], "its STATUS is not answered");
    assert_eq!(world.view("N").status, WorkerState::Away);
    assert_eq!(world.give(order("b", "primes", "1")), None);
    world.farm.unwanted(&id("N"), &attempt("stopped", 1), "cancelled".to_owned(), world.now);
    assert_eq!(world.effects(), [], "it cannot be told");
    world.wait(lost_after(TIMEOUT) - Duration::from_micros(1));
    assert_eq!(world.effects(), []);
    // "way" was lost on the way; "done" was not acknowledged; nobody waits for "stopped".
    let has = [attempt("runs", 1), attempt("done", 1), attempt("stopped", 1)];
    let effects = world.native(2, "N", 4, &["primes"], &has);
    assert_eq!(said(&effects), [], "the welcome waits for the claims");
    let [(key, claim)] = &claims(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(*claim, attempt("stopped", 1));
    world.farm.claimed(*key, claim, false);
    let effects = world.effects();
    assert_eq!(welcome(&effects).drop, [attempt("stopped", 1)]);
    assert_eq!(jobs(&effects), [&attempt("way", 1)], "the same attempt, and only this");
    assert_eq!(lost(&effects), [] as [&Attempt; 0]);
    // It says again what was not acknowledged: that is no second result.
    let effects = world.status(2, Some("N"), Some(attempt("done", 1)), true);
    assert_eq!(effects, []);
    assert!(is_ack(said(&world.recorded("done"))[0]));
    assert_eq!(ended(&world.status(2, Some("N"), Some(attempt("runs", 1)), true)).len(), 1);
}

#[test]
fn what_was_recorded_meanwhile_is_acknowledged_when_it_is_said_again() {
    let mut world = World::new();
    world.native(0, "N", 1, &["primes"], &[]);
    world.give(order("done", "primes", "1"));
    world.effects();
    world.status(0, Some("N"), Some(attempt("done", 1)), true);
    world.closed(0);
    assert_eq!(world.recorded("done"), []);
    let effects = world.native(2, "N", 1, &["primes"], &[attempt("done", 1)]);
    let (key, claim) = claims(&effects).remove(0);
    world.farm.claimed(key, &claim, false);
    assert_eq!(welcome(&world.effects()).drop, [attempt("done", 1)]);
    // Or its STATUS was on the way already: the queue says that it is late, and it is acknowledged.
    assert_eq!(ended(&world.status(2, Some("N"), Some(attempt("done", 1)), true)).len(), 1);
    assert!(is_ack(said(&world.recorded("done"))[0]));
}

#[test]
fn on_a_link_that_stands_nothing_is_sent_twice() {
    let mut world = World::new();
    world.native(0, "N", 2, &["primes"], &[]);
    world.give(order("a", "primes", "1"));
    world.effects();
    let effects = world.native(0, "N", 3, &["primes", "sleep"], &[]);
    assert_eq!(jobs(&effects), [] as [&Attempt; 0], "the JOB and this ALIVE crossed");
    assert!(world.farm.changed());
    assert!(world.give(order("s", "sleep", "1")).is_some(), "its new service is known");
}

#[test]
fn a_late_alive_on_an_older_link_does_not_take_the_session_back() {
    let mut world = World::new();
    world.native(2, "N", 2, &["primes"], &[]);
    world.give(order("a", "primes", "1"));
    world.effects();
    let effects = world.native(0, "N", 2, &["primes"], &[]);
    let expected = matches!(&effects[..], [Effect::Unanswered { .. }, Effect::Close { link: LinkId(0) }]);
    assert!(expected, "{effects:?}");
    world.status(2, Some("N"), Some(attempt("a", 1)), true);
    assert_eq!(world.view("N").status, WorkerState::Idle, "the session is where it was");
}

#[test]
fn a_newer_link_closes_the_older_one() {
    let mut world = World::new();
    world.native(0, "N", 2, &["primes"], &[]);
    world.give(order("a", "primes", "1"));
    world.give(order("b", "primes", "1"));
    world.effects();
    world.status(0, Some("N"), Some(attempt("b", 1)), true);
    let effects = world.native(2, "N", 2, &["primes"], &[attempt("a", 1), attempt("b", 1)]);
    assert!(
        matches!(
            &effects[..],
            [
                Effect::Unanswered { .. },
                Effect::Close { link: LinkId(0) },
                Effect::Answer { body: Body::WorkerWelcome(_), .. },
                Effect::Welcomed { .. },
            ]
        ),
        "{effects:?}"
    );
    assert_eq!(world.closed(0), [], "what is said of the old one changes nothing");
    assert_eq!(world.view("N").status, WorkerState::Busy);
}

#[test]
fn silence_beyond_the_timeout_loses_it_and_each_attempt() {
    for cut in [true, false] {
        let mut world = World::new();
        world.native(0, "N", 2, &["primes"], &[]);
        world.give(order("a", "primes", "1"));
        world.give(order("b", "primes", "1"));
        world.effects();
        world.wait(TIMEOUT / 2);
        world.farm.heard(&id("N"), world.now);
        if cut {
            world.closed(0);
        }
        assert_eq!(world.farm.deadline(), Some(world.now + lost_after(TIMEOUT)));
        world.wait(lost_after(TIMEOUT) - Duration::from_micros(1));
        assert_eq!(world.farm.workers(), 1);
        world.now = world.now + Duration::from_micros(1);
        world.farm.tick(world.now);
        let effects = world.all_effects();
        assert_eq!(lost(&effects), [&attempt("a", 1), &attempt("b", 1)]);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::Event { kind: EventKind::WorkerLost, .. })));
        assert_eq!(effects.iter().any(|effect| matches!(effect, Effect::Close { .. })), !cut);
        assert_eq!(world.farm.workers(), 0);
        // What it ran may be wanted after all, if nobody has begun it anew.
        let effects = world.native(2, "N", 2, &["primes"], &[attempt("a", 1), attempt("b", 1)]);
        for (key, claim) in claims(&effects) {
            world.farm.claimed(key, &claim, claim == attempt("a", 1));
        }
        assert_eq!(welcome(&world.effects()).drop, [attempt("b", 1)]);
        assert_eq!(world.view("N").running, 1);
        // It was kept, but is not there the next time, and nobody here knows how to send it.
        assert_eq!(lost(&world.native(4, "N", 2, &["primes"], &[])), [&attempt("a", 1)]);
    }
}

#[test]
fn time_in_which_this_process_did_not_run_is_nobodys_silence() {
    let mut world = World::new();
    world.native(0, "N", 1, &["primes"], &[]);
    world.now = world.now + TIMEOUT * 3;
    world.farm.excuse(TIMEOUT * 3, world.now);
    world.farm.tick(world.now);
    assert_eq!(world.farm.workers(), 1);
    assert_eq!(world.farm.deadline(), Some(world.now + lost_after(TIMEOUT)));
}

#[test]
fn a_goodbye_loses_it_at_once() {
    let mut world = World::new();
    world.native(0, "N", 1, &["primes"], &[]);
    world.give(order("a", "primes", "1"));
    world.effects();
    world.farm.left(&id("N"), world.now);
    assert_eq!(lost(&world.effects()), [&attempt("a", 1)]);
    assert_eq!((world.farm.workers(), world.farm.deadline()), (0, None));
}

#[test]
fn what_nobody_waits_for_is_stopped_and_its_slot_is_free() {
    let mut world = World::new();
    world.native(0, "N", 1, &["primes"], &[]);
    world.give(order("a", "primes", "1"));
    world.effects();
    world.farm.unwanted(&id("N"), &attempt("a", 1), "cancelled".to_owned(), world.now);
    let effects = world.effects();
    assert!(matches!(said(&effects)[..], [Some(Body::JobStop(stop))] if stop.attempt == attempt("a", 1)));
    assert!(world.give(order("b", "primes", "1")).is_some());
    world.effects();
    let effects = world.status(0, Some("N"), Some(attempt("a", 1)), true);
    assert_eq!(ended(&effects).len(), 1, "it was done all the same: the queue decides");
    assert_eq!(world.view("N").running, 1);
}

#[test]
fn a_status_of_somebody_unknown_is_told_and_one_of_nobody_is_not_acknowledged() {
    let mut world = World::new();
    assert_eq!(ended(&world.status(0, Some("gone"), Some(attempt("a", 1)), true))[0].1, "gone");
    assert!(is_ack(said(&world.recorded("a"))[0]));
    let effects = world.status(0, None, Some(attempt("a", 1)), true);
    assert_eq!(said(&effects), [None]);
}

#[test]
fn calls_take_no_slot_and_go_with_the_link() {
    let mut world = World::new();
    world.native(0, "A", 1, &["primes"], &[]);
    world.native(2, "B", 1, &["primes"], &[]);
    world.give(order("a", "primes", "1"));
    world.effects();
    let ids = |world: &World| -> Vec<String> {
        let best = world.farm.call_candidates(&service("primes"), &ServiceName::run());
        best.iter().map(|(_, id)| id.to_string()).collect()
    };
    assert_eq!(ids(&world), ["A", "B"], "a job does not count");
    let a = world.farm.key_of(&id("A")).unwrap();
    assert!(world.farm.call(a, call(1), world.now));
    assert_eq!(ids(&world), ["B", "A"]);
    assert!(!world.farm.call(a, call(1), world.now), "its id is taken");
    assert!(world.farm.call(a, call(2), world.now) && world.farm.call(a, call(3), world.now));
    assert_eq!(jobs(&world.effects()).len(), 3);
    let output = |job: &str| JobOutput {
        job_id: JobId::new(job).unwrap(),
        attempt: 1,
        stream: Stream::Out,
        data: "x".to_owned(),
    };
    for (job, its) in [("a", true), ("call-1", true), ("b", false)] {
        world.farm.printed(LinkId(0), output(job), world.now);
        assert_eq!(world.effects(), Vec::from_iter(its.then(|| Effect::Printed(output(job)))));
    }
    let effects = world.status(0, Some("A"), Some(attempt("call-1", 1)), true);
    assert!(matches!(&effects[..], [Effect::CallEnded { .. }, Effect::Answer { body: Body::StatusAck(_), .. }]));
    world.farm.call_stop(&JobId::new("call-2").unwrap());
    assert!(matches!(said(&world.effects())[..], [Some(Body::JobStop(_))]));
    let effects = world.closed(0);
    assert!(matches!(&effects[..], [Effect::CallLost { call, .. }] if call.as_str() == "call-3"), "{effects:?}");
    assert!(!world.farm.call(a, call(4), world.now), "there is no link");
    assert_eq!(world.view("A").running, 1, "the job stays");
}

#[test]
fn calls_and_candidates_are_bounded() {
    let mut world = World::new();
    for n in 0..20 {
        world.native(n * 2, &format!("N{n}"), 1, &["primes"], &[]);
    }
    assert_eq!(world.farm.call_candidates(&service("primes"), &ServiceName::run()).len(), MAX_CANDIDATES);
    let key = world.farm.key_of(&id("N0")).unwrap();
    for n in 0..MAX_CALLS {
        assert!(world.farm.call(key, call(n), world.now));
    }
    assert!(!world.farm.call(key, call(MAX_CALLS), world.now));
    world.effects();
}

#[test]
fn a_worker_that_fails_fast_while_others_succeed_gets_no_work_for_a_while() {
    let mut world = World::new();
    world.native(0, "bad", 1, &["primes"], &[]);
    world.native(2, "good", 8, &["primes"], &[]);
    for n in 0..4 {
        let good = world.farm.key_of(&id("good")).unwrap();
        let bad = world.farm.key_of(&id("bad")).unwrap();
        world.farm.assign(good, order(&format!("g{n}"), "primes", "1"), world.now);
        world.status(2, Some("good"), Some(attempt(&format!("g{n}"), 1)), true);
        if n == 3 {
            break;
        }
        world.farm.assign(bad, order(&format!("b{n}"), "primes", "1"), world.now);
        world.farm.poll_effect();
        world.status(0, Some("bad"), Some(attempt(&format!("b{n}"), 1)), false);
    }
    let view = world.view("bad");
    assert_eq!(view.status, WorkerState::Quarantined);
    assert!(view.reason.contains("failed primes 3 times in a row"), "{}", view.reason);
    world.farm.changed();
    let census = world.farm.census(&service("primes"), &ServiceName::run());
    assert_eq!((census.offering, census.alive, census.idle, census.quarantined), (2, 2, 1, 1));
    let figures = world.farm.figures(world.now);
    assert_eq!((figures.registered, figures.alive, figures.idle, figures.failed), (2, 2, 1, 1));
    for _ in 0..10 {
        world.wait(Duration::from_secs(1));
        world.farm.heard(&id("bad"), world.now);
        world.farm.heard(&id("good"), world.now);
    }
    assert!(world.farm.changed(), "it is lifted by itself");
    assert_eq!(world.view("bad").status, WorkerState::Idle);
}

#[test]
fn instances_and_offers_are_those_that_can_be_called() {
    let mut world = World::new();
    world.native(0, "A", 1, &["primes", "sleep"], &[]);
    world.native(2, "B", 1, &["primes"], &[]);
    world.alive(4, "W");
    assert_eq!(world.farm.offers(), [offer("primes"), offer("sleep")]);
    world.closed(0);
    assert_eq!(world.farm.offers(), [offer("primes")]);
    let instances = world.farm.instances();
    assert_eq!(instances.iter().map(|instance| instance.server_id.as_str()).collect::<Vec<_>>(), ["B"]);
}

#[test]
fn pages_of_the_view_miss_nobody() {
    let mut world = World::new();
    for n in 0..250 {
        world.native(n * 2, &format!("N{n:03}"), 1, &["primes"], &[]);
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (views, more) = world.farm.view(after.as_ref(), world.now);
        after = views.last().map(|view| view.worker.clone());
        seen.extend(views.into_iter().map(|view| view.worker));
        if !more {
            break;
        }
    }
    assert_eq!(seen.len(), 250);
    assert!(seen.is_sorted());
}

#[test]
fn ten_thousand_workers_are_no_slower_to_pick_from_than_ten() {
    // Counted in work, not in time: all of one kind share a set, so a pick looks at one entry for each kind.
    let mut world = World::new();
    for n in 0..10_000_u64 {
        let reply = Reply { link: LinkId(n * 2), id: None, turn: n };
        let said = NativeWorker {
            name: "n".to_owned(),
            slots: 2,
            services: vec![offer("primes")],
            jobs: Vec::new(),
            epoch: None,
            loan_id: None,
        };
        let alive =
            WorkerAlive { worker: id(&format!("N{n}")), owner: None, listens: None, native: Some(Box::new(said)) };
        world.farm.alive(reply, here(), alive, world.now);
        while world.farm.poll_effect().is_some() {}
    }
    let mut given = BTreeMap::new();
    for n in 0..20_000 {
        let key = world.give(order(&format!("j{n}"), "primes", "1")).expect("there is room");
        *given.entry(key).or_insert(0) += 1;
        while world.farm.poll_effect().is_some() {}
    }
    assert!(given.len() == 10_000 && given.values().all(|count| *count == 2), "evenly");
    assert_eq!(world.give(order("more", "primes", "1")), None);
    assert_eq!(world.farm.index.kinds(&service("primes")), 1);
    world.farm.check_invariants();
}

#[test]
fn a_full_farm_refuses_clearly_and_makes_room_from_names_that_nobody_holds() {
    let mut world = World::new();
    world.alive(1_000_000, "W");
    world.closed(1_000_000);
    for n in 0..=MAX_WORKERS as u64 {
        let reply = world.reply(n * 2);
        let said = NativeWorker {
            name: "n".to_owned(),
            slots: 1,
            services: Vec::new(),
            jobs: Vec::new(),
            epoch: None,
            loan_id: None,
        };
        let alive =
            WorkerAlive { worker: id(&format!("N{n}")), owner: None, listens: None, native: Some(Box::new(said)) };
        world.farm.alive(reply, here(), alive, world.now);
        if n < MAX_WORKERS as u64 {
            while let Some(effect) = world.farm.poll_effect() {
                assert!(!matches!(effect, Effect::Answer { body: Body::Error(_), .. }));
                if let Effect::Answer { reply, .. } = effect {
                    world.held.remove(&reply);
                }
            }
        }
    }
    assert!(world.farm.key_of(&id("W")).is_none());
    let effects = world.effects();
    assert!(matches!(said(&effects)[..], [Some(Body::Error(error))] if error.code == ErrorCode::Busy && error.retry));
    assert_eq!(said(&world.alive(1_000_002, "W")), [Some(&Body::NoTask)]);
}

/// A guest that registers, with the highest epoch that it has seen and how it stands.
fn bound(world: &mut World, link: u64, seen: Option<Epoch>, welcome: Epoch) -> Vec<Effect> {
    let reply = world.reply(link);
    let said = NativeWorker { name: "N".into(), slots: 1, services: vec![], jobs: vec![], epoch: seen, loan_id: None };
    let owner = Some("other".to_owned());
    let alive = WorkerAlive { worker: id("N"), owner, listens: None, native: Some(Box::new(said)) };
    let terms = Terms { owner: id("other"), owner_address: None, epoch: welcome, loan_id: None, lease: None };
    world.farm.alive_with(reply, here(), alive, Some(terms), world.now);
    world.effects()
}

#[test]
fn an_order_that_a_guest_would_not_obey_any_more_is_forgotten_when_it_comes_again() {
    let epoch = |generation, counter| Epoch { generation, counter };
    let (home, adopted) = (MoveKind::Return, MoveKind::Redirect);
    // The order that was under way, what the worker has seen by now, what its welcome bears, and whether it is still to go.
    for (kind, loan, order, seen, welcome, goes) in [
        (home, None, epoch(0, 5), Some(epoch(0, 5)), epoch(0, 5), true),
        (home, LoanId::new("L"), epoch(0, 5), Some(epoch(0, 5)), epoch(0, 5), false),
        (home, None, epoch(0, 5), Some(epoch(0, 6)), epoch(0, 6), false),
        (adopted, None, epoch(1, 0), Some(epoch(1, 0)), epoch(1, 0), true),
        (adopted, None, epoch(1, 0), None, epoch(1, 0), false),
        (adopted, None, epoch(0, 7), Some(epoch(0, 5)), epoch(0, 6), true),
    ] {
        let mut world = World::new();
        bound(&mut world, 0, Some(epoch(0, 5)), epoch(0, 5));
        let native =
            NativeMove { owner: id("other"), epoch: order, loan_id: loan, lease: None, stay: None, grace: None };
        let order = WorkerMove {
            kind,
            target: Some("10.0.0.9:9101".parse().unwrap()),
            target_id: None,
            target_name: None,
            native: Some(native),
            dialect: None,
            registers: false,
        };
        assert!(world.farm.send_off(&id("N"), order, world.now));
        world.farm.cut_off(&id("N"), "its lease is over", world.now);
        world.closed(0);
        let effects = bound(&mut world, 2, seen, welcome);
        let told = said(&effects).iter().any(|body| matches!(body, Some(Body::Move(_))));
        let guest = world.farm.guests().next().unwrap();
        assert_eq!((told, guest.goes), (goes, goes), "{kind:?} {seen:?}: {effects:?}");
    }
}

#[test]
fn a_guest_that_could_be_used_no_longer_is_given_work_once_it_is_an_own_one() {
    let epoch = |generation| Epoch { generation, counter: 5 };
    for rebound in [false, true] {
        let mut world = World::new();
        bound(&mut world, 0, Some(epoch(0)), epoch(0));
        world.farm.cut_off(&id("N"), "its lease is over", world.now);
        let owner = world.farm.server_id.clone();
        let terms = Terms { owner: owner.clone(), owner_address: None, epoch: epoch(1), loan_id: None, lease: None };
        if rebound {
            // It was adopted while its link was cut, and is told so when it comes again.
            let native = NativeMove { owner, epoch: epoch(1), loan_id: None, lease: None, stay: None, grace: None };
            let order = WorkerMove {
                kind: MoveKind::Redirect,
                target: None,
                target_id: None,
                target_name: None,
                native: Some(native),
                dialect: None,
                registers: false,
            };
            world.farm.rebind(&id("N"), order, terms.clone(), world.now);
        }
        world.closed(0);
        let reply = world.reply(2);
        let native =
            NativeWorker { name: "N".into(), slots: 1, services: vec![], jobs: vec![], epoch: None, loan_id: None };
        let alive = WorkerAlive { worker: id("N"), owner: None, listens: None, native: Some(Box::new(native)) };
        world.farm.alive_with(reply, here(), alive, Some(terms), world.now);
        world.effects();
        assert_eq!(world.farm.spoken_for().count(), 0);
        assert!(world.farm.own().next().is_some_and(|own| own.idle && !own.promised), "rebound: {rebound}");
    }
}
