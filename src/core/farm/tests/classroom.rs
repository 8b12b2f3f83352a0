//! The classroom's workers: sprint 2 in its variants.

use super::*;
use crate::core::farm::{MAX_LEFT_BEHIND, PAUSE_BEFORE_PUSH, WAITS_FOR_PUSH};

const CPF: &str = r#"{"USER":"11111111111"}"#;

#[test]
fn s2_ct01_alive_is_answered_query_when_there_is_a_task() {
    let mut world = World::new();
    world.alive_from(here(), 0, "W-B1", None);
    assert!(world.farm.changed(), "the node is told to look at its queue");
    assert!(world.give(order("j", "query", CPF)).is_some());
    assert_eq!(said(&world.end()), [Some(&query(r#""11111111111""#))]);
    assert_eq!(world.view("W-B1").status, WorkerState::Busy);
    assert_eq!(world.give(order("k", "query", CPF)), None, "one job at a time");
}

#[test]
fn s2_ct02_a_borrowed_worker_is_known_as_one_and_served_all_the_same() {
    let mut world = World::new();
    world.alive_from(here(), 0, "W-B1", Some("SERVER_2"));
    world.give(order("j", "query", CPF));
    let effects = world.all_effects();
    assert!(effects.iter().any(|effect| matches!(effect,
        Effect::Event { kind: EventKind::WorkerJoined, detail, .. } if detail.contains("borrowed from SERVER_2"))));
    assert_eq!(said(&effects), [Some(&query(r#""11111111111""#))]);
    assert_eq!(world.view("W-B1").owner.as_deref(), Some("SERVER_2"));
    let reply = world.reply(0);
    let worker = Some(id("W-B1"));
    let status = WorkerStatus { worker, attempt: None, ok: true, result: None, detail: None, retry: true };
    world.farm.status(reply, status, world.now);
    let finished = "worker W-B1, borrowed from SERVER_2 has finished job j, attempt 1: OK";
    assert!(world.all_effects().iter().any(|e| matches!(e, Effect::Log { text, .. } if text == finished)));
}

#[test]
fn s2_ct03_alive_is_answered_no_task_when_the_queue_is_empty() {
    let mut world = World::new();
    assert_eq!(said(&world.alive(0, "W-B1")), [Some(&Body::NoTask)]);
    assert_eq!(world.view("W-B1").status, WorkerState::Idle);
}

#[test]
fn s2_ct04_status_ok_is_acknowledged_when_it_is_recorded() {
    let mut world = World::new();
    world.alive_from(here(), 0, "W-B1", None);
    world.give(order("j", "query", CPF));
    world.end();
    let effects = world.status(0, Some("W-B1"), None, true);
    let result = Outcome::Ok(Json::new(r#"{"STATUS":"OK"}"#).unwrap());
    assert_eq!(ended(&effects), [(&attempt("j", 1), "W-B1", &result)]);
    assert_eq!(said(&effects), [], "not before it is durable");
    let effects = world.recorded("j");
    assert!(matches!(said(&effects)[..], [Some(Body::StatusAck(_))]));
    assert_eq!((world.view("W-B1").done, world.view("W-B1").failed), (1, 0));
    assert_eq!(world.recorded("j"), [], "once");
}

#[test]
fn s2_ct05_status_nok_is_acknowledged_and_the_failure_is_recorded() {
    let mut world = World::new();
    world.alive_from(here(), 0, "W-B1", None);
    world.give(order("j", "query", CPF));
    world.end();
    let effects = world.status(0, Some("W-B1"), None, false);
    assert!(matches!(ended(&effects)[..], [(_, "W-B1", Outcome::Failed { retry: true, .. })]));
    assert!(is_ack(said(&world.recorded("j"))[0]));
    assert_eq!((world.view("W-B1").done, world.view("W-B1").failed), (0, 1));
}

#[test]
fn user_is_the_member_of_that_name_or_all_of_the_params() {
    for (params, user) in [(r#"{"USER":[1,2]}"#, "[1,2]"), (r#""x""#, r#""x""#), (r#"{"n":1}"#, r#"{"n":1}"#)] {
        let mut world = World::new();
        world.alive_from(here(), 0, "W", None);
        world.give(order("j", "query", params));
        assert_eq!(said(&world.end()), [Some(&query(user))]);
    }
}

#[test]
fn one_message_a_connection_status_comes_on_a_new_one() {
    let mut world = World::new();
    world.alive_from(here(), 0, "W", None);
    world.give(order("j", "query", CPF));
    world.end();
    assert_eq!(world.closed(0), [], "the job waits for its deadline");
    world.wait(TIMEOUT * 100);
    assert_eq!(world.effects(), [], "however long that is");
    assert_eq!(ended(&world.status(2, Some("W"), None, true)).len(), 1);
    assert!(is_ack(said(&world.recorded("j"))[0]));
    world.closed(2);
    assert_eq!(said(&world.alive(4, "W")), [Some(&Body::NoTask)]);
    world.closed(4);
    assert_eq!(world.view("W").status, WorkerState::Idle);
}

#[test]
fn status_without_worker_uuid_is_matched_by_its_link() {
    let mut world = World::new();
    world.alive_from(here(), 0, "W", None);
    world.give(order("j", "query", CPF));
    world.end();
    let effects = world.status(2, None, None, true);
    assert_eq!(ended(&effects), [], "nobody is known on that link");
    assert!(is_ack(said(&effects)[0]), "but who asks for an ACK gets one");
    assert_eq!(ended(&world.status(0, None, None, true)).len(), 1);
}

#[test]
fn an_alive_with_a_job_outstanding_is_answered_by_the_same_query() {
    let mut world = World::new();
    world.alive_from(here(), 0, "W", None);
    world.give(order("j", "query", CPF));
    world.end();
    assert_eq!(said(&world.alive(0, "W")), [Some(&query(r#""11111111111""#))]);
    assert_eq!(said(&world.alive(2, "W")), [Some(&query(r#""11111111111""#))], "on another link as well");
    let effects = world.status(2, Some("W"), None, true);
    assert_eq!(ended(&effects)[0].0, &attempt("j", 1), "the same attempt");
}

#[test]
fn a_silent_worker_on_a_kept_link_is_pushed_after_a_while() {
    let mut world = World::new();
    world.alive(0, "W");
    world.farm.changed();
    assert_eq!(world.give(order("j", "query", CPF)), None, "it may be about to ask");
    world.wait(WAITS_FOR_PUSH);
    assert!(world.farm.changed());
    assert!(world.give(order("j", "query", CPF)).is_some());
    let effects = world.effects();
    assert!(matches!(
        &effects[..],
        [Effect::Send { link: LinkId(0), message: Message { body: Body::Query { .. }, .. } }]
    ));
    assert_eq!(world.give(order("k", "query", CPF)), None, "one unasked line at most");
    // Its ALIVE crossed the QUERY on the way: that has answered it.
    assert_eq!(said(&world.alive(0, "W")), [None]);
    assert_eq!(said(&world.alive(0, "W")), [Some(&query(r#""11111111111""#))], "but not the next one");
    assert_eq!(ended(&world.status(0, Some("W"), None, true)).len(), 1);
}

#[test]
fn a_pushed_query_whose_link_is_gone_has_answered_nothing() {
    let mut world = World::new();
    world.alive(0, "W");
    world.wait(WAITS_FOR_PUSH);
    world.give(order("j", "query", CPF));
    world.effects();
    world.closed(0);
    assert_eq!(said(&world.alive(2, "W")), [Some(&query(r#""11111111111""#))]);
}

#[test]
fn a_worker_that_does_what_is_pushed_is_pushed_again_soon_but_not_with_the_ack() {
    let mut world = World::new();
    world.alive(0, "W");
    world.wait(WAITS_FOR_PUSH);
    world.give(order("j", "query", CPF));
    world.effects();
    world.status(0, Some("W"), None, true);
    world.wait(WAITS_FOR_PUSH);
    assert_eq!(world.give(order("k", "query", CPF)), None, "its ACK has not gone out");
    world.recorded("j");
    assert_eq!(world.give(order("k", "query", CPF)), None, "never two lines back to back");
    world.wait(PAUSE_BEFORE_PUSH);
    assert!(world.give(order("k", "query", CPF)).is_some());
    world.effects();
    world.status(0, Some("W"), None, true);
    world.recorded("k");
    world.alive(0, "W");
    world.wait(PAUSE_BEFORE_PUSH);
    assert_eq!(world.give(order("l", "query", CPF)), None, "it asks by itself again");
}

#[test]
fn the_family_of_task_request_gets_ack_for_alive_and_the_task_for_its_request() {
    let mut world = World::new();
    assert_eq!(said(&world.alive(0, "W")), [Some(&Body::NoTask)], "not known yet");
    world.request(0, None);
    assert_eq!(said(&world.end()), [Some(&Body::NoTask)]);
    assert!(is_ack(said(&world.alive(0, "W"))[0]));
    world.request(0, Some("W"));
    assert!(world.give(order("j", "query", CPF)).is_some());
    assert_eq!(said(&world.end()), [Some(&query(r#""11111111111""#))]);
    assert_eq!(ended(&world.status(0, Some("W"), None, true)).len(), 1);
    world.request(8, None);
    assert_eq!(said(&world.end()), [Some(&Body::NoTask)], "nobody is known there");
}

#[test]
fn what_nobody_waits_for_keeps_the_slot_until_the_worker_speaks() {
    let mut world = World::new();
    world.alive_from(here(), 0, "W", None);
    world.give(order("j", "query", CPF));
    world.end();
    world.farm.unwanted(&id("W"), &attempt("j", 1), "overdue".to_owned(), world.now);
    assert_eq!(world.effects(), [], "a foreign worker cannot be told");
    assert_eq!(world.give(order("k", "query", CPF)), None);
    let mut late = World { farm: world.farm.clone(), held: world.held.clone(), ..World::new() };
    assert_eq!(ended(&late.status(0, Some("W"), None, true)).len(), 1, "a late result is told");
    assert_eq!((late.view("W").done, late.view("W").failed), (0, 1));
    assert!(is_ack(said(&late.recorded("j"))[0]));
    world.alive_from(here(), 0, "W", None);
    assert!(world.give(order("k", "query", CPF)).is_some(), "it asks for more: the slot is free");
    assert_eq!(said(&world.end()), [Some(&query(r#""11111111111""#))]);
    assert_eq!(ended(&world.status(0, Some("W"), None, true))[0].0, &attempt("k", 1));
}

#[test]
fn a_worker_that_is_gone_is_forgotten_after_ten_timeouts() {
    let mut world = World::new();
    world.alive(0, "W");
    world.wait(TIMEOUT * 20);
    assert_eq!(world.farm.workers(), 1, "its link stands");
    world.closed(0);
    world.alive(2, "W");
    world.closed(2);
    world.wait(TIMEOUT);
    assert_eq!(world.view("W").status, WorkerState::Away);
    world.wait(TIMEOUT * 9 - Duration::from_micros(1));
    assert_eq!(world.farm.workers(), 1);
    world.wait(Duration::from_micros(1));
    assert_eq!(world.farm.workers(), 0);
    assert_eq!(world.farm.census(&service("query"), &ServiceName::run()).offering, 0);
}

#[test]
fn the_recorded_cycle_of_2025_2() {
    // Two workers on kept links; each gets QUERY for its ALIVE, reports with CPF and SALDO, and waits to be pushed.
    let mut world = World::new();
    for (link, worker) in [(0, "W-B1"), (2, "W-B2")] {
        world.alive_from(here(), link, worker, None);
        world.give(order(worker, "query", CPF));
        assert_eq!(said(&world.end()), [Some(&query(r#""11111111111""#))]);
    }
    for (link, worker) in [(0, "W-B1"), (2, "W-B2")] {
        let reply = world.reply(link);
        let result = Json::new(r#"{"CPF":"11111111111","SALDO":"25.000"}"#);
        let who = Some(id(worker));
        let status = WorkerStatus { worker: who, attempt: None, ok: true, result, detail: None, retry: true };
        world.farm.status(reply, status, world.now);
        let effects = world.effects();
        assert!(matches!(ended(&effects)[..], [(_, _, Outcome::Ok(result))] if result.as_str().contains("SALDO")));
        assert!(is_ack(said(&world.recorded(worker))[0]));
    }
    world.wait(WAITS_FOR_PUSH);
    assert!(world.give(order("k", "query", CPF)).is_some() && world.give(order("l", "query", CPF)).is_some());
    assert_eq!(world.effects().len(), 2, "both are pushed");
    // W-B2 goes to another master by an order of its owner, closes, and comes back as its own.
    world.closed(2);
    world.alive_from(here(), 6, "W-B2", None);
    assert_eq!(said(&world.end()), [Some(&query(r#""11111111111""#))]);
}

#[test]
fn names_without_a_connection_are_bounded_by_host() {
    let mut world = World::new();
    let far = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    world.alive_from(far, 0, "honest", None);
    world.end();
    world.closed(0);
    world.alive_from(here(), 0, "busy", None);
    world.give(order("j", "query", CPF));
    world.end();
    world.closed(0);
    for n in 0..MAX_LEFT_BEHIND + 10 {
        world.alive(2, &format!("made-up-{n}"));
        world.closed(2);
        world.now = world.now + Duration::from_micros(1);
    }
    assert_eq!(world.farm.workers() as usize, MAX_LEFT_BEHIND + 2);
    assert_eq!(world.view("honest").status, WorkerState::Idle);
    assert_eq!(world.view("busy").status, WorkerState::Busy);
    assert!(world.farm.key_of(&id("made-up-0")).is_none(), "the longest silent go first");
}

#[test]
fn two_names_on_one_link_are_two_workers_of_which_the_last_is_reached() {
    let mut world = World::new();
    world.alive_from(here(), 0, "A", None);
    world.alive_from(here(), 0, "B", None);
    assert_eq!(said(&world.effects()), [Some(&Body::NoTask)], "A is answered before B takes the link");
    world.give(order("j", "query", CPF));
    assert_eq!(said(&world.end()), [Some(&query(r#""11111111111""#))]);
    assert_eq!(world.view("B").running, 1);
    assert_eq!(ended(&world.status(0, Some("B"), None, true)).len(), 1);
    world.closed(0);
    assert!(world.held.is_empty(), "{:?}", world.held);
}

#[test]
fn a_native_workers_name_is_not_to_be_had() {
    let mut world = World::new();
    world.native(0, "N", 1, &["query"], &[]);
    world.give(order("j", "query", CPF));
    world.effects();
    assert_eq!(said(&world.alive(2, "N")), [Some(&Body::NoTask)]);
    world.request(2, Some("N"));
    assert_eq!(said(&world.end()), [Some(&Body::NoTask)]);
    assert_eq!((world.view("N").native, world.view("N").running), (true, 1));
}
