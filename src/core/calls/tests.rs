use std::time::Duration;

use super::*;
use crate::wire::{RequestId, ServiceName};

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn id(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

fn request() -> Call {
    let (service, method) = (ServiceName::new("s").unwrap(), ServiceName::run());
    Call { service, method, params: Json::null(), timeout: Duration::from_secs(1), hops: 0 }
}

fn reply(link: u64) -> Reply {
    Reply { link: LinkId(link), id: RequestId::new("a"), turn: 0 }
}

fn peers(names: &[&str], idempotent: bool) -> Vec<Candidate> {
    let link = |nth: usize| Place::Peer(LinkId(nth as u64 * 4 + 1));
    let one = |(nth, name): (usize, &&str)| Candidate { server_id: id(name), at: link(nth), idempotent };
    names.iter().enumerate().map(one).collect()
}

fn begin(calls: &mut Calls, candidates: Vec<Candidate>, ms: u64) {
    calls.begin(reply(2), request(), candidates, || "nobody".to_owned(), at(ms));
    calls.check_invariants();
}

fn tried(effects: &[Effect]) -> Vec<&Place> {
    fn place(effect: &Effect) -> Option<&Place> {
        match effect {
            Effect::Try { at, .. } => Some(at),
            _ => None,
        }
    }
    effects.iter().filter_map(place).collect()
}

fn code(effects: &[Effect]) -> (ErrorCode, bool) {
    match effects.last().unwrap() {
        Effect::Failed { error, .. } => (error.code.clone(), error.retry),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_candidate_does_it_and_the_asker_has_the_result() {
    let mut calls = Calls::default();
    begin(&mut calls, peers(&["a", "b"], false), 0);
    assert_eq!(tried(&calls.take_effects()), [&Place::Peer(LinkId(1))]);
    calls.ended(CallKey(0), None, Outcome::Ok(Json::string("x")), at(5));
    let done = Effect::Done { reply: reply(2), result: Json::string("x"), served_by: id("a") };
    assert_eq!((calls.take_effects(), calls.deadline()), (vec![done], None));
    calls.ended(CallKey(0), None, Outcome::Ok(Json::null()), at(6));
    assert_eq!(calls.take_effects(), [], "a second answer is nobody's");
}

#[test]
fn what_may_be_done_twice_is_tried_elsewhere_and_what_may_not_is_not() {
    for idempotent in [true, false] {
        let mut calls = Calls::default();
        begin(&mut calls, peers(&["a", "b"], idempotent), 0);
        calls.take_effects();
        calls.link_gone(LinkId(1), false, "cut", at(400));
        let effects = calls.take_effects();
        if !idempotent {
            assert_eq!(code(&effects), (ErrorCode::Lost, false));
            continue;
        }
        let Effect::Try { at: place, request, .. } = &effects[0] else { panic!("{effects:?}") };
        assert_eq!((place, request.timeout), (&Place::Peer(LinkId(5)), Duration::from_millis(600)));
        let broken = Outcome::Failed { detail: "crash".to_owned(), result: None, retry: true };
        calls.ended(CallKey(0), None, broken, at(500));
        assert_eq!(code(&calls.take_effects()), (ErrorCode::Failed, true), "nobody is left");
    }
}

#[test]
fn who_refuses_did_not_do_it_so_the_next_is_asked_whatever_the_method() {
    let mut calls = Calls::default();
    begin(&mut calls, peers(&["a", "b"], false), 0);
    calls.take_effects();
    calls.refused(CallKey(0), ErrorAnswer::new("CALL", ErrorCode::Busy, "full"), at(1));
    assert_eq!(tried(&calls.take_effects()), [&Place::Peer(LinkId(5))]);
    calls.refused(CallKey(0), ErrorAnswer::new("CALL", ErrorCode::Busy, "full"), at(1));
    assert_eq!(code(&calls.take_effects()), (ErrorCode::Busy, true));
}

#[test]
fn an_error_of_the_service_is_final_unless_it_says_otherwise() {
    let mut calls = Calls::default();
    begin(&mut calls, peers(&["a", "b"], true), 0);
    calls.take_effects();
    let failed = Outcome::Failed { detail: "no such file".to_owned(), result: None, retry: false };
    calls.ended(CallKey(0), None, failed, at(1));
    assert_eq!(code(&calls.take_effects()), (ErrorCode::Failed, false));
}

#[test]
fn its_time_is_over_at_the_microsecond_and_the_work_is_stopped() {
    let mut calls = Calls::default();
    begin(&mut calls, peers(&["a"], false), 0);
    calls.take_effects();
    assert_eq!(calls.deadline(), Some(at(1000)));
    calls.tick(Time::from_micros(999_999));
    assert_eq!(calls.take_effects(), []);
    calls.tick(at(1000));
    let effects = calls.take_effects();
    assert_eq!(effects[0], Effect::Stop { call: CallKey(0), at: Place::Peer(LinkId(1)) });
    assert_eq!(code(&effects), (ErrorCode::TimedOut, false));
}

#[test]
fn an_asker_that_is_gone_is_not_worked_for() {
    let mut calls = Calls::default();
    begin(&mut calls, peers(&["a"], false), 0);
    calls.take_effects();
    calls.link_gone(LinkId(2), true, "closed", at(1));
    assert_eq!(calls.take_effects(), [Effect::Stop { call: CallKey(0), at: Place::Peer(LinkId(1)) }]);
    calls.check_invariants();
}

#[test]
fn who_failed_thrice_is_asked_last() {
    let mut calls = Calls::default();
    for _ in 0..3 {
        begin(&mut calls, peers(&["a"], false), 0);
        let key = CallKey(calls.next - 1);
        calls.lost(key, "gone", at(0));
    }
    calls.take_effects();
    begin(&mut calls, peers(&["a", "b"], false), 1);
    assert_eq!(tried(&calls.take_effects()), [&Place::Peer(LinkId(5))]);
    begin(&mut calls, peers(&["a"], false), 1);
    assert_eq!(tried(&calls.take_effects()), [&Place::Peer(LinkId(1))], "better than nobody");
}

#[test]
fn nobody_offers_it_says_what_is_missing() {
    let mut calls = Calls::default();
    begin(&mut calls, Vec::new(), 0);
    assert_eq!(code(&calls.take_effects()), (ErrorCode::NoService, true));
}

#[test]
fn names_of_calls_read_back() {
    let call = CallKey(42);
    assert_eq!(CallKey::of_run(call.run()), Some(call));
    assert_eq!(CallKey::of_run(RunId(4)), None);
    assert_eq!(CallKey::of_job(&call.job_id()), Some(call));
    assert_eq!(CallKey::of_id(&call.id()), Some(call));
    assert_eq!(CallKey::of_id("42"), None, "that is a heartbeat");
}

#[test]
fn links_that_go_take_their_calls_with_them_and_nothing_of_them_stays() {
    let mut calls = Calls::default();
    for link in 0..MAX_CALLS as u64 {
        calls.begin(reply(2 * link), request(), peers(&["a"], false), String::new, at(0));
    }
    assert_eq!(calls.take_effects().len(), MAX_CALLS);
    for link in 0..MAX_CALLS as u64 {
        calls.link_gone(LinkId(2 * link), true, "gone", at(1));
    }
    assert_eq!(calls.take_effects().len(), MAX_CALLS, "each is stopped");
    calls.check_invariants();
    assert_eq!((calls.pending.len(), calls.on_links.len()), (0, 0));
}
