//! Lines about loans: of every generation, in every variant that is known, hostile ones, and the recorded ones.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;
use crate::wire::encode::encode;

use super::*;

fn sid(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

fn addr(text: &str) -> Option<Address> {
    Some(text.parse().unwrap())
}

fn offers(ids: &[(&str, Option<&str>)]) -> Vec<OfferedWorker> {
    let offer = |(id, address): &(&str, Option<&str>)| OfferedWorker {
        worker: sid(id),
        address: address.and_then(addr),
        terms: None,
    };
    ids.iter().map(offer).collect()
}

fn asked(master: Option<&str>, address: Option<Address>, load: u64, capacity: u64, needed: u32) -> LoanRequest {
    let master = master.map(sid);
    LoanRequest { master, name: None, address, port: None, load, capacity, needed, dialect: None, native: None }
}

fn request(asked: LoanRequest) -> Body {
    Body::LoanRequest(Box::new(asked))
}

fn accepted(master: Option<&str>, offered: u32, workers: Vec<OfferedWorker>, older: bool) -> Body {
    let dialect = older.then_some(Dialect::Gen2025_2);
    Body::LoanAnswer(Box::new(LoanAnswer::Accepted { master: master.map(sid), offered, workers, dialect }))
}

fn rejected(master: Option<&str>, reason: &str) -> Body {
    Body::LoanAnswer(Box::new(LoanAnswer::Rejected { master: master.map(sid), reason: reason.to_owned() }))
}

fn moved(kind: MoveKind, target: Option<&str>, target_id: Option<&str>, older: bool) -> Body {
    Body::Move(Box::new(WorkerMove {
        kind,
        target: target.and_then(addr),
        target_id: target_id.map(sid),
        target_name: None,
        dialect: older.then_some(Dialect::Gen2025_2),
        registers: kind == MoveKind::Redirect && !older,
        native: None,
    }))
}

fn register(worker: &str, home: Option<&str>, owner: Option<&str>, listens: Option<&str>, wants_ack: bool) -> Body {
    Body::Register(Box::new(Registration {
        worker: sid(worker),
        home: home.and_then(addr),
        owner: owner.map(str::to_owned),
        listens: listens.and_then(addr),
        wants_ack,
    }))
}

fn release(master: Option<&str>, workers: &[&str]) -> Body {
    let (master, workers) = (master.map(sid), workers.iter().map(|id| sid(id)).collect());
    Body::Release(Box::new(Release { master, workers }))
}

fn released(master: &str, workers: &[&str], completed: bool) -> Body {
    let (master, workers) = (id(master), workers.iter().map(|id| sid(id)).collect());
    Body::ReleaseAnswer(Box::new(ReleaseAnswer { master, workers, completed }))
}

fn returned(worker: &str) -> Body {
    Body::Returned(Box::new(Returned { worker: sid(worker), loan_id: None }))
}

fn ack(worker: Option<&str>) -> Body {
    Body::StatusAck(Box::new(StatusAck { worker: worker.map(sid), attempt: None }))
}

use MoveKind::{Redirect as Lend, Return as Back};
use Shape::{Draft, Envelope, Older, Upper, UpperEnvelope};

/// Lines, what they say, with which mark, and in which form.
fn table() -> Vec<(&'static str, Option<&'static str>, Body, Shape)> {
    let older = |asked: LoanRequest| request(LoanRequest { dialect: Some(Dialect::Gen2025_2), ..asked });
    let a = || addr("10.0.0.1:8000");
    vec![
        // 2025/2, as its document has it.
        (
            r#"{"TASK": "WORKER_REQUEST", "REQUESTOR_INFO": {"ip": "127.0.0.1", "port": 21201}}"#,
            None,
            older(asked(None, addr("127.0.0.1:21201"), 0, 0, 1)),
            Older,
        ),
        (
            r#"{"SERVER_UUID": "SERVER_2", "RESPONSE": "AVAILABLE", "WORKERS_UUID": ["W-B2"]}"#,
            None,
            accepted(Some("SERVER_2"), 1, offers(&[("W-B2", None)]), true),
            Older,
        ),
        (
            r#"{"SERVER_UUID": "SERVER_B", "RESPONSE": "UNAVAILABLE"}"#,
            None,
            rejected(Some("SERVER_B"), "UNAVAILABLE"),
            Older,
        ),
        (
            r#"{"TASK": "REDIRECT", "SERVER_REDIRECT": {"ip": "127.0.0.1", "port": 20902}}"#,
            None,
            moved(Lend, Some("127.0.0.1:20902"), None, true),
            Older,
        ),
        (
            r#"{"TASK": "RETURN", "SERVER_RETURN": {"ip": "127.0.0.2", "port": 20902}}"#,
            None,
            moved(Back, Some("127.0.0.2:20902"), None, true),
            Older,
        ),
        (
            r#"{"SERVER_UUID": "SERVER_1", "TASK": "COMMAND_RELEASE", "WORKERS_UUID": ["W-B2"]}"#,
            None,
            release(Some("SERVER_1"), &["W-B2"]),
            Older,
        ),
        (
            r#"{"SERVER_UUID": "SERVER_2", "RESPONSE": "RELEASE_ACK", "WORKERS_UUID": ["W-B2"]}"#,
            None,
            released("SERVER_2", &["W-B2"], false),
            Older,
        ),
        (
            r#"{"SERVER_UUID": "SERVER_2", "RESPONSE": "RELEASE_COMPLETED", "WORKERS_UUID": ["W-B2"]}"#,
            None,
            released("SERVER_2", &["W-B2"], true),
            Older,
        ),
        // Its variants and drafts.
        (
            r#"{"TASK":"WORKER_REQUEST","REQUESTOR_INFO":{"ip":"127.0.0.1","port":"20902","needed":"3"}}"#,
            None,
            older(asked(None, addr("127.0.0.1:20902"), 0, 0, 3)),
            Older,
        ),
        (
            r#"{"TASK":"WORKER_REQUEST","SERVER_UUID":"A","REQUESTOR_INFO":{"port":20902,"needed":900}}"#,
            None,
            older(LoanRequest { port: Some(20902), ..asked(Some("A"), None, 0, 0, MAX_WORKERS_NEEDED) }),
            Older,
        ),
        (r#"{"TASK":"WORKER_REQUEST","WORKERS_NEEDED":5}"#, None, older(asked(None, None, 0, 0, 5)), Draft),
        (
            r#"{"TASK":"WORKER_RESPONSE","STATUS":"ACK","MASTER_UUID":"M","WORKERS":["W1",{"WORKER_UUID":"W2"}]}"#,
            None,
            accepted(Some("M"), 2, offers(&[("W1", None), ("W2", None)]), true),
            Draft,
        ),
        (r#"{"TASK":"WORKER_RESPONSE","STATUS":"NACK"}"#, None, rejected(None, "UNAVAILABLE"), Draft),
        (
            r#"{"TASK":"REDIRECT","TARGET_MASTER":{"IP":"10.0.0.1","PORT":8000},"HOME_MASTER":{"IP":"10.0.0.2","PORT":1},"FAILOVER_LIST":[]}"#,
            None,
            moved(Lend, Some("10.0.0.1:8000"), None, true),
            Older,
        ),
        (
            r#"{"TASK":"REDIRECT","SERVER_REDIRECT":"10.0.0.1:8000"}"#,
            None,
            moved(Lend, Some("10.0.0.1:8000"), None, true),
            Older,
        ),
        (r#"{"TASK":"RETURN"}"#, None, moved(Back, None, None, true), Older),
        (r#"{"TASK":"return","SERVER_RETURN":null}"#, None, moved(Back, None, None, true), Older),
        (r#"{"TASK":"COMMAND_RELEASE","WORKERS_UUID":[]}"#, None, release(None, &[]), Older),
        // 2026/1, as its document has it.
        (
            r#"{"type":"request_help","request_id":"9af1-x","payload":{"master_id":"A","current_load":150,"capacity":100,"workers_needed":2}}"#,
            Some("9af1-x"),
            request(asked(Some("A"), None, 150, 100, 2)),
            Envelope,
        ),
        (
            r#"{"type":"response_accepted","request_id":"r","payload":{"workers_offered":2,"worker_details":[{"id":"B1","address":"10.0.0.2:9001"}]}}"#,
            Some("r"),
            accepted(None, 2, offers(&[("B1", Some("10.0.0.2:9001"))]), false),
            Envelope,
        ),
        (
            r#"{"type":"response_rejected","request_id":"r","payload":{"reason":"high_load"}}"#,
            Some("r"),
            rejected(None, "high_load"),
            Envelope,
        ),
        (
            r#"{"type":"command_redirect","request_id":"r","payload":{"new_master_address":"10.0.0.1:8000"}}"#,
            Some("r"),
            moved(Lend, Some("10.0.0.1:8000"), None, false),
            Envelope,
        ),
        (
            r#"{"type":"register_temporary_worker","request_id":"r","payload":{"worker_id":"B1","original_master_address":"10.0.0.2:8000"}}"#,
            Some("r"),
            register("B1", Some("10.0.0.2:8000"), None, None, false),
            Envelope,
        ),
        (
            r#"{"type":"command_release","request_id":"r","payload":{"original_master_address":"10.0.0.2:8000"}}"#,
            Some("r"),
            moved(Back, Some("10.0.0.2:8000"), None, false),
            Envelope,
        ),
        (
            r#"{"type":"notify_worker_returned","request_id":"r","payload":{"worker_id":"B1"}}"#,
            Some("r"),
            returned("B1"),
            Envelope,
        ),
        (r#"{"type":"ack","request_id":"r","payload":{"worker_id":"B1"}}"#, Some("r"), ack(Some("B1")), Envelope),
        (r#"{"type":"ack"}"#, None, ack(None), Envelope),
        (r#"{"STATUS":"ACK","request_id":"r"}"#, Some("r"), ack(None), Upper),
        (r#"{"STATUS":"ACK","WORKER_UUID":"B1","REQUEST_ID":7}"#, Some("7"), ack(Some("B1")), Upper),
        // Where the requester is.
        (
            r#"{"type":"request_help","payload":{"master_id":"A","master_address":"10.0.0.1:8000","master_host":"x","master_port":1}}"#,
            None,
            request(asked(Some("A"), a(), 0, 0, 1)),
            Envelope,
        ),
        (
            r#"{"type":"request_help","payload":{"master_id":"A","master_address":"nowhere","master_host":"10.0.0.1","master_port":"8000"}}"#,
            None,
            request(asked(Some("A"), a(), 0, 0, 1)),
            Envelope,
        ),
        (
            r#"{"type":"request_help","payload":{"master_id":"A","host":"10.0.0.1","port":8000}}"#,
            None,
            request(asked(Some("A"), a(), 0, 0, 1)),
            Envelope,
        ),
        (
            r#"{"type":"request_help","payload":{"master_id":"A","target_host":"10.0.0.1","target_port":8000}}"#,
            None,
            request(asked(Some("A"), a(), 0, 0, 1)),
            Envelope,
        ),
        (
            r#"{"type":"request_help","payload":{"master_id":"A","reply_address":"10.0.0.1:8000"}}"#,
            None,
            request(asked(Some("A"), a(), 0, 0, 1)),
            Envelope,
        ),
        (
            r#"{"type":"request_help","payload":{"master_id":"A","port":8000}}"#,
            None,
            request(LoanRequest { port: Some(8000), ..asked(Some("A"), None, 0, 0, 1) }),
            Envelope,
        ),
        // Numbers as strings, ids as numbers, marks of every kind, fields that nobody knows.
        (
            r#"{"type":"request_help","request_id":7,"payload":{"master_id":5,"current_load":"150","capacity":100.0,"workers_needed":" 2 "}}"#,
            Some("7"),
            request(asked(Some("5"), None, 150, 100, 2)),
            Envelope,
        ),
        (
            r#"{"type":"request_help","request_id":null,"payload":{"master_id":"A","workers_needed":0,"colour":["red"]},"x":{}}"#,
            None,
            request(asked(Some("A"), None, 0, 0, 1)),
            Envelope,
        ),
        (
            r#"{"type":"request_help","request_id":["r"],"payload":{"master_id":"A"}}"#,
            None,
            request(asked(Some("A"), None, 0, 0, 1)),
            Envelope,
        ),
        (
            r#"{"type":"request_help","request_id":"","payload":{"master_id":"A"}}"#,
            Some(""),
            request(asked(Some("A"), None, 0, 0, 1)),
            Envelope,
        ),
        // Own keys of one family.
        (
            r#"{"type":"request_help","request_id":"r","payload":{"master_uuid":"A","master_name":"ana","master_host":"10.0.0.1","master_port":8000,"current_load":9,"saturation_threshold":5,"release_threshold":3}}"#,
            Some("r"),
            request(LoanRequest { name: Some("ana".to_owned()), ..asked(Some("A"), a(), 9, 5, 1) }),
            Envelope,
        ),
        (
            r#"{"type":"command_redirect","request_id":"r","payload":{"new_master_host":"10.0.0.1","new_master_port":8000,"new_master_uuid":"A"}}"#,
            Some("r"),
            moved(Lend, Some("10.0.0.1:8000"), Some("A"), false),
            Envelope,
        ),
        (
            r#"{"type":"command_release","request_id":"r","payload":{"return_to_master_host":"10.0.0.2","return_to_master_port":8000}}"#,
            Some("r"),
            moved(Back, Some("10.0.0.2:8000"), None, false),
            Envelope,
        ),
        (
            r#"{"type":"command_release","request_id":"r","payload":{}}"#,
            Some("r"),
            moved(Back, None, None, false),
            Envelope,
        ),
        (r#"{"type":"command_release","request_id":"r"}"#, Some("r"), moved(Back, None, None, false), Envelope),
        (
            r#"{"type":"response_accepted","payload":{"worker_details":[{"worker_uuid":"B1","host":"10.0.0.2","port":1},"B2",{"no":1},7]}}"#,
            None,
            accepted(None, 3, offers(&[("B1", Some("10.0.0.2:1")), ("B2", None), ("7", None)]), false),
            Envelope,
        ),
        (
            r#"{"type":"response_accepted","payload":{"workers_offered":"2"}}"#,
            None,
            accepted(None, 2, vec![], false),
            Envelope,
        ),
        (r#"{"type":"notify_worker_returned","payload":{"worker_uuid":"B1"}}"#, None, returned("B1"), Envelope),
        // Flat, in upper case.
        (
            r#"{"type":"register_temporary_worker","request_id":"r","WORKER_UUID":"B1","ORIGINAL_MASTER_UUID":"B","ORIGINAL_MASTER_HOST":"10.0.0.2","ORIGINAL_MASTER_PORT":8000}"#,
            Some("r"),
            register("B1", Some("10.0.0.2:8000"), Some("B"), None, false),
            Envelope,
        ),
        (
            r#"{"TYPE":"REGISTER_TEMPORARY_WORKER","WORKER_UUID":"B1","WORKER_HOST":"10.0.0.3","WORKER_PORT":"9"}"#,
            None,
            register("B1", None, None, Some("10.0.0.3:9"), false),
            UpperEnvelope,
        ),
        // Everything in upper case.
        (
            r#"{"TYPE":"REQUEST_HELP","REQUEST_ID":"r","PAYLOAD":{"MASTER_ID":"A","CURRENT_LOAD":150,"CAPACITY":100,"WORKERS_NEEDED":2,"MASTER_ADDRESS":"10.0.0.1:8000"}}"#,
            Some("r"),
            request(asked(Some("A"), a(), 150, 100, 2)),
            UpperEnvelope,
        ),
        (
            r#"{"TYPE":"RESPONSE_ACCEPTED","REQUEST_ID":"r","PAYLOAD":{"WORKERS_OFFERED":1,"WORKER_DETAILS":[{"ID":"B1","ADDRESS":"10.0.0.2:1"}]}}"#,
            Some("r"),
            accepted(None, 1, offers(&[("B1", Some("10.0.0.2:1"))]), false),
            UpperEnvelope,
        ),
        (
            r#"{"TYPE":"RESPONSE_REJECTED","REQUEST_ID":"r","PAYLOAD":{"REASON":"refused"}}"#,
            Some("r"),
            rejected(None, "refused"),
            UpperEnvelope,
        ),
        (
            r#"{"TYPE":"COMMAND_REDIRECT","REQUEST_ID":"r","PAYLOAD":{"NEW_MASTER_ADDRESS":"10.0.0.1:8000"}}"#,
            Some("r"),
            moved(Lend, Some("10.0.0.1:8000"), None, false),
            UpperEnvelope,
        ),
        (
            r#"{"TYPE":"COMMAND_RELEASE","REQUEST_ID":"r","PAYLOAD":{"ORIGINAL_MASTER_ADDRESS":"10.0.0.2:8000"}}"#,
            Some("r"),
            moved(Back, Some("10.0.0.2:8000"), None, false),
            UpperEnvelope,
        ),
        (
            r#"{"TYPE":"NOTIFY_WORKER_RETURNED","REQUEST_ID":"r","PAYLOAD":{"WORKER_ID":"B1"}}"#,
            Some("r"),
            returned("B1"),
            UpperEnvelope,
        ),
        (r#"{"TYPE":"ACK","REQUEST_ID":"r"}"#, Some("r"), ack(None), UpperEnvelope),
        (
            r#"{"type":"REGISTER_TEMPORARY_WORKER","payload":{"worker_id":"B1","original_master_id":"B","worker_address":"10.0.0.3:9"}}"#,
            None,
            register("B1", None, Some("B"), Some("10.0.0.3:9"), true),
            Envelope,
        ),
    ]
}

#[test]
fn every_line_about_loans_reads_in_every_generation_and_variant() {
    for (line, mark, body, shape) in table() {
        let (message, found) = read(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!((&message.body, message.id.as_ref().map(RequestId::as_str), found), (&body, mark, shape), "{line}");
        let mut again = Vec::new();
        encode(&message, &mut again);
        assert_eq!(decode(&again), Ok(message), "{line}: {}", String::from_utf8_lossy(&again));
    }
}

#[test]
fn each_of_them_reads_alike_wherever_it_is_cut() {
    use crate::wire::{Decoded, Edge, Prepared};
    let prepared = Prepared::new(&sid("ME"));
    for (line, ..) in table() {
        let whole = format!("{line}\n");
        let hear = |pieces: &[&str]| {
            let (mut edge, mut out, mut heard) = (Edge::inbound(), Vec::new(), Vec::<Decoded>::new());
            for piece in pieces {
                let mut input = piece.as_bytes();
                heard.extend(std::iter::from_fn(|| edge.poll(&prepared, &mut input, Time::ZERO, &mut out)));
            }
            heard.extend(std::iter::from_fn(|| edge.finish(&prepared, Time::ZERO, &mut out)));
            (heard, out)
        };
        let expected = hear(&[&whole]);
        assert!(expected.1.is_empty(), "{line}: nothing is answered here");
        for cut in 0..whole.len() {
            assert_eq!(hear(&[&whole[..cut], &whole[cut..]]), expected, "{line} cut at {cut}");
        }
    }
}

#[test]
fn what_is_not_whole_is_ignored_and_the_reason_names_the_field() {
    for (line, field) in [
        (r#"{"type":"request_help"}"#, "master_id"),
        (r#"{"type":"request_help","request_id":"1","payload":{}}"#, "master_id"),
        (r#"{"type":"request_help","payload":{"master_id":""}}"#, "master_id"),
        (r#"{"type":"request_help","payload":{"master_id":{"a":1}}}"#, "master_id"),
        (r#"{"type":"request_help","payload":[{"master_id":"A"}]}"#, "payload"),
        (r#"{"type":"request_help","payload":"{}"}"#, "payload"),
        (r#"{"type":"request_help","payload":{"master_id":"A","current_load":-1}}"#, "current_load"),
        (r#"{"type":"request_help","payload":{"master_id":"A","current_load":true}}"#, "current_load"),
        (r#"{"type":"request_help","payload":{"master_id":"A","capacity":[]}}"#, "capacity"),
        (r#"{"type":"request_help","payload":{"master_id":"A","workers_needed":"some"}}"#, "workers_needed"),
        (r#"{"type":"request_help","payload":{"master_id":"A","workers_needed":1.5}}"#, "workers_needed"),
        (r#"{"type":"request_help","payload":{"master_id":"A","master_id":"B"}}"#, "twice"),
        (r#"{"type":"request_help","payload":{},"payload":{"master_id":"A"}}"#, "twice"),
        (r#"{"type":"request_help","type":"request_help","payload":{"master_id":"A"}}"#, "twice"),
        (r#"{"type":"request_help","GROUP":5,"payload":{"master_id":"A"}}"#, "GROUP"),
        (r#"{"type":"request_help","GROUP":"g","SERVICES":"a","payload":{"master_id":"A"}}"#, "SERVICES"),
        (r#"{"type":"response_accepted","payload":{}}"#, "workers_offered"),
        (r#"{"type":"response_accepted","payload":{"workers_offered":"all"}}"#, "workers_offered"),
        (r#"{"type":"response_accepted","payload":{"workers_offered":1,"worker_details":{}}}"#, "worker_details"),
        (r#"{"type":"response_accepted","LOANS":[{}],"payload":{"workers_offered":1}}"#, "LOANS"),
        (r#"{"type":"response_rejected","payload":{}}"#, "reason"),
        (r#"{"type":"response_rejected","payload":{"reason":["high_load"]}}"#, "reason"),
        (r#"{"type":"command_redirect","payload":{}}"#, "new_master_address"),
        (r#"{"type":"command_redirect","payload":{"new_master_address":"10.0.0.1"}}"#, "new_master_address"),
        (r#"{"type":"command_redirect","OWNER":"B","payload":{"new_master_address":"10.0.0.1:1"}}"#, "EPOCH"),
        (r#"{"type":"command_redirect","EPOCH":[1,2],"payload":{"new_master_address":"10.0.0.1:1"}}"#, "OWNER"),
        (r#"{"type":"command_release","OWNER":"B","EPOCH":[1,-2],"payload":{}}"#, "EPOCH"),
        (r#"{"type":"command_release","OWNER":"B","EPOCH":[0,9007199254740992],"payload":{}}"#, "EPOCH"),
        (r#"{"type":"command_release","OWNER":"B","EPOCH":[0,1],"LEASE_MS":"x","payload":{}}"#, "LEASE_MS"),
        (r#"{"type":"command_release","OWNER":"B","EPOCH":[0,1],"LOAN_ID":"a b","payload":{}}"#, "LOAN_ID"),
        (r#"{"type":"command_release","payload":{"original_master_address":"home"}}"#, "original_master_address"),
        (r#"{"type":"register_temporary_worker","payload":{"original_master_address":"10.0.0.2:1"}}"#, "worker_id"),
        (r#"{"type":"notify_worker_returned","payload":{}}"#, "worker_id"),
        (r#"{"type":"notify_worker_returned","LOAN_ID":7,"payload":{"worker_id":"W"}}"#, "LOAN_ID"),
        (r#"{"TASK":"WORKER_REQUEST"}"#, "REQUESTOR_INFO"),
        (r#"{"TASK":"WORKER_REQUEST","REQUESTOR_INFO":7}"#, "REQUESTOR_INFO"),
        (r#"{"TASK":"WORKER_REQUEST","WORKERS_NEEDED":"many"}"#, "whole number"),
        (r#"{"RESPONSE":"AVAILABLE","WORKERS_UUID":7}"#, "WORKERS_UUID"),
        (r#"{"TASK":"COMMAND_RELEASE","SERVER_UUID":"A"}"#, "WORKERS_UUID"),
        (r#"{"TASK":"COMMAND_RELEASE","WORKERS_UUID":[],"WORKERS_UUID":[]}"#, "twice"),
        (r#"{"RESPONSE":"RELEASE_ACK"}"#, "WORKERS_UUID"),
        (r#"{"TASK":"RETURN","SERVER_RETURN":{"ip":"127.0.0.1","port":0}}"#, "SERVER_RETURN"),
        (r#"{"TASK":"WORKER_RESPONSE","STATUS":"PERHAPS"}"#, "STATUS"),
        (r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SLOTS":1,"EPOCH":[1]}"#, "EPOCH"),
        (r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SLOTS":1,"EPOCH":{}}"#, "EPOCH"),
        (r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SLOTS":1,"LOAN_ID":5}"#, "LOAN_ID"),
    ] {
        assert!(is_ignored(line), "{line}");
        assert!(why_ignored(line.as_bytes()).contains(field), "{line}: {}", why_ignored(line.as_bytes()));
    }
}

#[test]
fn a_list_that_never_ends_is_cut_and_an_envelope_that_is_not_known_stays_so() {
    let many = vec![r#"{"id":"B1"}"#; 1000].join(",");
    let line = format!(
        r#"{{"type":"response_accepted","payload":{{"workers_offered":99999999999,"worker_details":[{many}]}}}}"#
    );
    let Body::LoanAnswer(answer) = body(&line) else { panic!() };
    let LoanAnswer::Accepted { offered, workers, .. } = *answer else { panic!() };
    assert_eq!((offered, workers.len()), (u32::MAX, MAX_WORKERS_NEEDED as usize));
    for line in [r#"{"type":"request_kitchen","payload":{}}"#, r#"{"TYPE":"REQUEST"}"#, r#"{"type":"elect_me"}"#] {
        assert!(is_ignored(line), "{line}");
    }
    assert_eq!(body(r#"{"TASK":"REDIRECT"}"#), Body::WhereTo { hops: 0 }, "a question");
    let there = r#"{"TASK":"REDIRECT","RESPONSE":"REDIRECT","TARGET":"127.0.0.1:1"}"#;
    assert!(matches!(body(there), Body::Redirect(_)), "an answer");
    assert_eq!(body(r#"{"type":"request_help","payload":{},"TASK":"LOAD"}"#), Body::Load, "a task is a task");
}

#[test]
fn native_fields_stand_beside_the_payload() {
    let epoch = Epoch { generation: 1, counter: 12 };
    let loan = LoanId::new("3fa9c1d2-12").unwrap();
    let line = r#"{"type":"command_redirect","request_id":"r","SERVER_ID":"A","OWNER":"B","EPOCH":[1,12],"LOAN_ID":"3fa9c1d2-12","LEASE_MS":30000,"STAY_MS":600000,"payload":{"new_master_address":"10.0.0.1:8000"}}"#;
    let Body::Move(order) = body(line) else { panic!() };
    let (lease, stay, grace) = (Some(Duration::from_secs(30)), Some(Duration::from_secs(600)), None);
    assert_eq!(
        order.native,
        Some(NativeMove { owner: sid("B"), epoch, loan_id: Some(loan.clone()), lease, stay, grace })
    );
    let alive = r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SLOTS":1,"EPOCH":[1,12],"LOAN_ID":"3fa9c1d2-12"}"#;
    let Body::WorkerAlive(alive) = body(alive) else { panic!() };
    let native = alive.native.unwrap();
    assert_eq!((native.epoch, native.loan_id), (Some(epoch), Some(loan)));
    let foreign = r#"{"WORKER":"ALIVE","WORKER_UUID":"W","EPOCH":"stone age","LOAN_ID":5}"#;
    assert!(
        matches!(body(foreign), Body::WorkerAlive(alive) if alive.native.is_none()),
        "who is not native may say so"
    );
    // The welcome has terms only where OWNER and EPOCH are valid.
    let terms = |fields: &str| {
        let line = format!(r#"{{"TASK":"WORKER","RESPONSE":"OK","SERVER_ID":"M","NAME":"m","TIMEOUT_MS":1{fields}}}"#);
        let Body::WorkerWelcome(welcome) = body(&line) else { panic!("{line}") };
        welcome.terms
    };
    assert_eq!(terms(r#","OWNER":"B","EPOCH":[0,3]"#).unwrap().epoch, Epoch { generation: 0, counter: 3 });
    for none in
        ["", r#","OWNER":"B""#, r#","EPOCH":[0,3]"#, r#","OWNER":"B","EPOCH":[0]"#, r#","OWNER":7,"EPOCH":[0,3]"#]
    {
        assert_eq!(terms(none), None, "{none}");
    }
}

#[test]
fn where_a_foreign_worker_listens_is_read_in_all_its_forms() {
    let listens = |fields: &str| match body(&format!(r#"{{"WORKER":"ALIVE","WORKER_UUID":"W"{fields}}}"#)) {
        Body::WorkerAlive(alive) => alive.listens.map(|at| (at.host.map(|host| host.to_string()), at.port)),
        other => panic!("{other:?}"),
    };
    let here = Some((Some("10.0.0.3".to_owned()), 9001));
    assert_eq!(listens(r#","WORKER_HOST":"10.0.0.3","WORKER_PORT":9001"#), here);
    assert_eq!(listens(r#","worker_host":"10.0.0.3","worker_port":"9001""#), here);
    assert_eq!(listens(r#","port":9001"#), Some((None, 9001)));
    for none in ["", r#","WORKER_HOST":"x""#, r#","port":0"#, r#","WORKER_PORT":70000"#, r#","WORKER_PORT":[1]"#] {
        assert_eq!(listens(none), None, "{none}");
    }
}

#[test]
fn errors_of_loans_name_the_field_and_what_was_expected() {
    let (bad, missing) = (ErrorCode::BadField, ErrorCode::MissingField);
    let recall = r#""ACTION":"RECALL","LOAN_ID":"l","WORKER_UUID":"W","EPOCH":[0,1],"GRACE_MS":1"#;
    let lend = r#""ACTION":"RECORD","KIND":"LEND","LOAN_ID":"l","WORKER_UUID":"W","OWNER":"B","BORROWER":"A","EPOCH":[0,1],"LEASE_MS":1"#;
    let adopt = r#""ACTION":"ADOPT","SERVER_ID":"M","WORKERS":[{"WORKER_UUID":"W","OWNER":"B","GENERATION":0}]"#;
    for good in ["", recall, lend, adopt, r#""ACTION":"RENEW","LOANS":["l"]"#, r#""AFTER":"l""#] {
        body(&format!(r#"{{"TASK":"LOANS"{}{good}}}"#, if good.is_empty() { "" } else { "," }));
    }
    let without = |fields: &str, part: &str| fields.replace(part, "");
    for (fields, code, says) in [
        (
            r#""LOAN_ID":"l""#.to_owned(),
            &missing,
            "`ACTION` is missing; expected one of RENEW, RECALL, RECORD or ADOPT",
        ),
        (r#""ACTION":"LEND""#.to_owned(), &bad, "`ACTION`: there is no \"LEND\"; expected one of RENEW"),
        (r#""ACTION":7"#.to_owned(), &bad, "`ACTION` is 7; expected one of RENEW"),
        (r#""AFTER":"""#.to_owned(), &bad, "`AFTER` is \"\"; expected the id of a loan"),
        (r#""ACTION":"RENEW""#.to_owned(), &missing, "`LOANS` is missing; expected a list of ids of loans"),
        (r#""ACTION":"RENEW","LOANS":"l""#.to_owned(), &bad, "`LOANS` is \"l\"; expected a list of at most 64"),
        (
            r#""ACTION":"RENEW","LOANS":["l",5]"#.to_owned(),
            &bad,
            "`LOANS`: it has 5; expected each to be the id of a loan",
        ),
        (
            format!(r#""ACTION":"RENEW","LOANS":[{}]"#, vec!["\"l\""; 65].join(",")),
            &bad,
            "`LOANS`: it has 65 items; expected at most 64",
        ),
        (without(recall, r#""LOAN_ID":"l","#), &missing, "`LOAN_ID` is missing; expected the id of a loan, 1 to 64"),
        (recall.replace("\"l\"", "\"l m\""), &bad, "`LOAN_ID` is \"l m\"; expected the id of a loan"),
        (without(recall, r#","EPOCH":[0,1]"#), &missing, "`EPOCH` is missing; expected a list of two whole numbers"),
        (recall.replace("[0,1]", "[0]"), &bad, "`EPOCH` is an array; expected a list of two whole numbers"),
        (recall.replace("[0,1]", "[0,9007199254740992]"), &bad, "`EPOCH` is an array"),
        (
            without(recall, r#","GRACE_MS":1"#),
            &missing,
            "`GRACE_MS` is missing; expected a whole number of milliseconds from 0 to 86400000",
        ),
        (
            recall.replace("_MS\":1", "_MS\":86400001"),
            &bad,
            "`GRACE_MS` is 86400001; expected a whole number of milliseconds from 0 to 86400000",
        ),
        (without(lend, r#""KIND":"LEND","#), &missing, "`KIND` is missing; expected one of LEND or END"),
        (lend.replace("LEND", "SELL"), &bad, "`KIND`: there is no \"SELL\""),
        (without(lend, r#","BORROWER":"A""#), &missing, "`BORROWER` is missing"),
        (r#""ACTION":"RECORD","KIND":"END","LOAN_ID":"l""#.to_owned(), &missing, "`REASON` is missing"),
        (
            adopt.replace("\"GENERATION\":0", "\"GENERATION\":-1"),
            &bad,
            "`WORKERS`: `GENERATION` is -1; expected a whole number",
        ),
        (without(adopt, r#","OWNER":"B""#), &bad, "`WORKERS`: `OWNER` is missing"),
    ] {
        let (_, error) = error(format!(r#"{{"TASK":"LOANS",{fields}}}"#));
        assert_eq!((error.task.as_str(), &error.code), ("LOANS", code), "{fields}");
        assert!(error.detail.contains(says), "{fields}: {}", error.detail);
    }
}

/// Every word of 2025/2 in lower case says what it does in upper case.
#[test]
fn the_lines_of_2025_2_are_read_in_either_letter_case() {
    for line in [
        r#"{"TASK":"WORKER_REQUEST","SERVER_UUID":"a","REQUESTOR_INFO":{"ip":"127.0.0.1","port":20902,"needed":3}}"#,
        r#"{"TASK":"WORKER_REQUEST","WORKERS_NEEDED":5}"#,
        r#"{"TASK":"WORKER_RESPONSE","STATUS":"ACK","MASTER_UUID":"m","WORKERS":["w"]}"#,
        r#"{"TASK":"WORKER_RESPONSE","STATUS":"NACK"}"#,
        r#"{"SERVER_UUID":"b","RESPONSE":"AVAILABLE","WORKERS_UUID":["w"]}"#,
        r#"{"SERVER_UUID":"b","RESPONSE":"UNAVAILABLE"}"#,
        r#"{"TASK":"REDIRECT","SERVER_REDIRECT":{"ip":"127.0.0.1","port":20902}}"#,
        r#"{"TASK":"RETURN","SERVER_RETURN":{"ip":"127.0.0.1","port":20902}}"#,
        r#"{"TASK":"COMMAND_RELEASE","SERVER_UUID":"a","WORKERS_UUID":["w"]}"#,
        r#"{"SERVER_UUID":"b","RESPONSE":"RELEASE_ACK","WORKERS_UUID":["w"]}"#,
        r#"{"SERVER_UUID":"b","RESPONSE":"RELEASE_COMPLETED","WORKERS_UUID":["w"]}"#,
    ] {
        let (upper, shape) = read(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        let lower = line.to_ascii_lowercase();
        let (found, lower_shape) = read(lower.as_bytes()).unwrap_or_else(|error| panic!("{lower}: {error:?}"));
        assert_eq!(found, upper, "{lower}");
        let lowered = match shape {
            Older => Shape::LowerOlder,
            Draft => Shape::LowerDraft,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(lower_shape, lowered, "{lower}");
    }
    // A bare one is no order, in neither.
    assert!(read(br#"{"task":"redirect"}"#).is_err());
}

/// The conversations of loans in the recordings `2025-2-pushed`, `2026-1-dialled` and `2026-1-queued`, line by line, with what repeats on a
/// connection left out.
const RECORDED: &str = include_str!("../../../../tests/fixtures/loans.ndjson");

#[test]
fn every_recorded_line_of_a_loan_is_a_message_on_the_link_it_came_on() {
    use crate::wire::{Decoded, Edge, Prepared};
    let prepared = Prepared::new(&sid("ME"));
    let mut links: BTreeMap<(String, u64), (Edge, Edge)> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in RECORDED.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let (raw, place) = (record["raw"].as_str().unwrap(), record["recording"].as_str().unwrap().to_owned());
        let (message, _) = read(raw.trim_end().as_bytes()).unwrap_or_else(|error| panic!("{raw}: {error:?}"));
        let said: serde_json::Value = serde_json::from_str(raw).unwrap();
        let word = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let expected = match (word("type").as_str(), word("TASK").as_str(), word("RESPONSE").as_str()) {
            ("request_help", ..) | (_, "WORKER_REQUEST", _) => "LoanRequest",
            ("response_accepted" | "response_rejected", ..) | (.., "AVAILABLE" | "UNAVAILABLE") => "LoanAnswer",
            ("command_redirect" | "command_release", ..) | (_, "REDIRECT" | "RETURN", _) => "Move",
            ("register_temporary_worker", ..) => "Register",
            ("notify_worker_returned", ..) => "Returned",
            (_, "COMMAND_RELEASE", _) => "Release",
            (.., "RELEASE_ACK" | "RELEASE_COMPLETED") => "ReleaseAnswer",
            _ => "",
        };
        let kind = format!("{:?}", message.body);
        let kind = kind.split(['(', ' ']).next().unwrap().to_owned();
        assert!(expected.is_empty() || kind == expected, "{raw}: {kind}");
        assert_eq!(message.id.as_ref().map(RequestId::as_str), said["request_id"].as_str(), "{raw}");
        *kinds.entry(kind).or_default() += 1;

        // Who opened the connection said it to one of our edges, and hears on another.
        let links = links.entry((place, record["conn"].as_u64().unwrap()));
        let (theirs, ours) = links.or_insert_with(|| (Edge::inbound(), Edge::outbound(None)));
        let (mut input, mut out) = (raw.as_bytes(), Vec::new());
        let hearer = match record["dir"] == "c>s" {
            true => {
                ours.render(&message, &mut Vec::new());
                theirs
            }
            false => ours,
        };
        let first = hearer.poll(&prepared, &mut input, Time::ZERO, &mut out);
        let first = first.or_else(|| hearer.expire(&prepared, REGISTER_WAIT_IS_OVER, &mut out));
        assert!(first == Some(Decoded::Message(message)) && out.is_empty(), "{raw}: {first:?}");
    }
    for kind in ["LoanRequest", "LoanAnswer", "Move", "Register", "Returned", "Release", "ReleaseAnswer", "StatusAck"] {
        assert!(kinds.get(kind).is_some_and(|count| *count >= 1), "no {kind}: {kinds:?}");
    }
}

const REGISTER_WAIT_IS_OVER: Time = Time::from_micros(1_000_000);
