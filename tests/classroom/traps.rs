//! The traps of course-protocol.md, "How 2026/1 implementations differ", each with its test. Those that stand elsewhere:
//!
//! | trap | test |
//! | --- | --- |
//! | the lender's own port number, where several peers are at the requester's host | `core::loans::address`, `who_says_nothing_is_where_it_is_known_to_be` |
//! | a redirect that is queued, pushed, dialled; a register that is answered by nothing, by ACK; a notice that is answered by nothing, by ACK | `tests/replay` |
//! | one message a connection; pushed tasks; masters and workers in lower case; no newline; TASK REQUEST; keep-alive | `workers`, `masters` |
//! | FIND_MASTER; names that are not in the order of their numbers | `discovery` |
//! | an unknown type; a neighbour that never answers | `loans`, `s3_ct09`, `s3_ct07` |
//! | two lines back to back | every test here: `Student` panics where anything stands behind the first line of a `recv` |

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::loans::{BUSY, lender, order_to, register, wait_alive};
use super::support::farm::Master;
use super::support::ports::free_port;
use super::support::student::{FakeMaster, Heard, Student, Talk, one_shot, python};
use super::support::wait_until;
use super::{alive, status, submit, wait_log};

/// A request with these fields in its payload.
fn asks(payload: Value) -> Value {
    json!({"type": "request_help", "request_id": "r", "payload": payload})
}

/// A foreign master that answers heartbeats and says nothing else.
fn silent(name: &str) -> FakeMaster {
    FakeMaster::start(free_port(), name, true, |talk: &mut Talk| while talk.hear().is_some() {})
}

#[test]
fn the_address_of_the_requester_is_found_in_each_way_in_which_it_is_said() {
    let said: [Value; 6] = [
        json!({"master_id": "A", "workers_needed": 1, "master_address": "127.0.0.1:9999"}),
        json!({"master_id": "A", "workers_needed": 1, "master_host": "127.0.0.1", "master_port": 9999}),
        json!({"master_id": "A", "workers_needed": 1, "host": "127.0.0.1", "port": 9999}),
        json!({"master_id": "A", "workers_needed": 1, "target_host": "127.0.0.1", "target_port": "9999"}),
        json!({"master_id": "A", "workers_needed": 1, "reply_address": "127.0.0.1:9999"}),
        // A port, and the host of the connection.
        json!({"master_id": "A", "workers_needed": 1, "master_port": 9999}),
    ];
    for payload in said {
        let master = lender(&["B1"], &[]);
        let answer = one_shot(master.node.port, &asks(payload.clone()));
        assert_eq!(answer["type"], "response_accepted", "{payload}: {answer}");
        let order = order_to(&master, &alive("B1"));
        assert_eq!(order["payload"]["new_master_address"], "127.0.0.1:9999", "{payload}");
        assert!(
            order["request_id"].as_str().is_some_and(|mark| !mark.is_empty()),
            "official, and some insist: {order}"
        );
    }
}

#[test]
fn a_requester_that_says_no_address_is_looked_up_by_its_master_id() {
    let peer = silent("Master_A");
    let told = format!("{},dialect=2026-1", peer.address());
    let master = lender(&["B1"], &["--peer", &told]);
    wait_until("the peer to be ALIVE", || wait_alive(&master, &peer.address()));
    let answer = one_shot(master.node.port, &asks(json!({"master_id": "Master_A", "workers_needed": 1})));
    assert_eq!(answer["type"], "response_accepted", "{answer}");
    assert_eq!(order_to(&master, &alive("B1"))["payload"]["new_master_address"], peer.address());
}

#[test]
fn a_request_without_a_mark_in_upper_case_with_other_keys_or_without_its_newline_is_answered_in_its_form() {
    let one = |line: &str| {
        let master = lender(&["B1"], &[]);
        let mut student = Student::connect(master.node.port);
        student.send(line);
        student.hear()
    };
    let plain = json!({"type": "request_help", "payload": {
        "master_id": "A", "workers_needed": 1, "master_address": "127.0.0.1:9999", "mood": {"x": [1]},
    }, "colour": "red"});
    let answer = one(&format!("{}\n", python(&plain)));
    assert_eq!((&answer["type"], answer.get("request_id")), (&json!("response_accepted"), None), "{answer}");

    let upper = r#"{"TYPE": "REQUEST_HELP", "REQUEST_ID": "77", "PAYLOAD": {"MASTER_ID": "A", "CURRENT_LOAD": 9, "CAPACITY": 3, "WORKERS_NEEDED": 1, "MASTER_ADDRESS": "127.0.0.1:9999"}}"#;
    let answer = one(&format!("{upper}\n"));
    assert_eq!((&answer["TYPE"], &answer["REQUEST_ID"]), (&json!("RESPONSE_ACCEPTED"), &json!("77")), "{answer}");
    assert_eq!(answer["PAYLOAD"]["WORKERS_OFFERED"], 1, "{answer}");

    let family = json!({"type": "request_help", "request_id": "78", "payload": {
        "master_uuid": "A", "master_name": "ana", "master_host": "127.0.0.1", "master_port": 9999,
        "saturation_threshold": 10, "release_threshold": 6, "current_load": 12, "workers_needed": 1,
    }});
    // The last object of a program that forgets its newline.
    let answer = one(&python(&family));
    assert_eq!((&answer["type"], &answer["request_id"]), (&json!("response_accepted"), &json!("78")), "{answer}");
    let detail = &answer["payload"]["worker_details"][0];
    assert_eq!((&detail["id"], &detail["worker_uuid"]), (&json!("B1"), &json!("B1")), "{answer}");
}

#[test]
fn an_order_bears_the_keys_of_every_family() {
    let master = lender(&["B1"], &[]);
    one_shot(master.node.port, &asks(json!({"master_id": "A", "master_address": "127.0.0.1:9999"})));
    let order = order_to(&master, &alive("B1"));
    let payload = &order["payload"];
    assert_eq!((&payload["new_master_host"], &payload["new_master_port"]), (&json!("127.0.0.1"), &json!(9999)));
    assert_eq!((&payload["new_master_id"], &payload["new_master_uuid"]), (&json!("A"), &json!("A")), "{order}");
}

#[test]
fn register_and_alive_at_once_get_one_answer_and_register_alone_gets_a_task_or_none() {
    let owner = silent("Master_B");
    let master = Master::start(&BUSY);
    let both = json!({"type": "register_temporary_worker", "request_id": "r1", "payload": {
        "worker_id": "B1", "original_master_address": owner.address(),
    }});
    let borrowed = json!({"WORKER": "ALIVE", "WORKER_UUID": "B1", "SERVER_UUID": owner.address()});
    let mut student = Student::connect(master.node.port);
    student.send(&format!("{}\n{}\n", python(&both), python(&borrowed)));
    assert_eq!(student.hear()["TASK"], "NO_TASK");
    assert_eq!(student.hear_within(Duration::from_millis(600)), Heard::Nothing, "ALIVE was answered, and nothing else");
    student.close();

    // One that takes what comes for the answer to its registration.
    submit(&master, json!("user-1"));
    let flat = json!({"type": "register_temporary_worker", "request_id": "r2", "WORKER_UUID": "B2",
        "ORIGINAL_MASTER_HOST": "127.0.0.1", "ORIGINAL_MASTER_PORT": owner.port});
    let mut student = Student::connect(master.node.port);
    let answer = student.ask(&flat);
    assert_eq!((&answer["TASK"], &answer["USER"]), (&json!("QUERY"), &json!("user-1")), "{answer}");
    assert_eq!(student.ask(&status("OK", "B2"))["STATUS"], "ACK");

    // One that waits for its ACK, and goes home without it.
    let answer = one_shot(master.node.port, &register(&owner));
    assert_eq!(
        (&answer["STATUS"], &answer["WORKER_UUID"], &answer["request_id"]),
        (&json!("ACK"), &json!("B1"), &json!("r1"))
    );
}

#[test]
fn a_register_that_waits_for_nothing_does_not_take_the_worker_away_from_its_next_connection() {
    let owner = silent("Master_B");
    let master = Master::start(&BUSY);
    let line = json!({"type": "register_temporary_worker", "request_id": "r1", "payload": {
        "worker_id": "B1", "original_master_address": owner.address(),
    }});
    let mut first = Student::connect(master.node.port);
    first.say(&line);
    let borrowed = json!({"WORKER": "ALIVE", "WORKER_UUID": "B1", "SERVER_UUID": owner.address()});
    let mut second = Student::connect(master.node.port);
    assert_eq!(second.ask(&borrowed)["TASK"], "NO_TASK");
    // Longer than a registration waits for what follows it.
    assert_eq!(
        first.hear_within(Duration::from_millis(800)),
        Heard::Nothing,
        "its answer would be lost, or taken for another"
    );
}

#[test]
fn a_worker_that_says_where_it_listens_is_called_and_where_it_does_not_answer_told_at_its_next_alive() {
    let listens = |worker: &str, host: &str, port: u16| json!({"WORKER": "ALIVE", "WORKER_UUID": worker, "WORKER_HOST": host, "WORKER_PORT": port});
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let port = free_port();
    let noted = Arc::clone(&heard);
    let called = FakeMaster::start(port, "B1", false, move |talk: &mut Talk| {
        while let Some(line) = talk.hear() {
            talk.say(&json!({"STATUS": "ACK", "WORKER_UUID": "B1", "request_id": line["request_id"]}));
            noted.lock().expect("no holder of this lock panics").push(line);
        }
    });
    let master = Master::start(&["--keep", "0", "--interval", "0.2", "--timeout", "1"]);
    let mut student = Student::connect(master.node.port);
    assert_eq!(student.ask(&listens("B1", "127.0.0.1", called.port))["TASK"], "NO_TASK");
    let answer = one_shot(master.node.port, &asks(json!({"master_id": "A", "master_address": "127.0.0.1:9999"})));
    assert_eq!(answer["type"], "response_accepted", "{answer}");
    wait_until("the worker to be called", || !heard.lock().expect("no holder of this lock panics").is_empty());
    let order = heard.lock().expect("no holder of this lock panics")[0].clone();
    assert_eq!(order["payload"]["new_master_address"], "127.0.0.1:9999", "{order}");
    wait_until("the worker to have gone", || super::workers::shown(&master, "B1").is_none());

    // Nobody listens there, and then: a host that is not its own is never called.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let nobody = other.local_addr().expect("it is bound").port();
    drop(other);
    for (host, port) in [("127.0.0.1", nobody), ("203.0.113.7", 9)] {
        let master = Master::start(&["--keep", "0", "--interval", "0.2", "--timeout", "1"]);
        let alive = listens("B2", host, port);
        assert_eq!(one_shot(master.node.port, &alive)["TASK"], "NO_TASK");
        one_shot(master.node.port, &asks(json!({"master_id": "A", "master_address": "127.0.0.1:9999"})));
        assert_eq!(order_to(&master, &alive)["type"], "command_redirect", "{host}");
        if host == "127.0.0.1" {
            wait_log(&master.node.process, &["worker B2 was called to be told where to go"]);
        } else {
            assert!(!master.node.process.stderr.text().contains("was called"), "it is not to be believed");
        }
    }
}

/// Saturates a master of ours that knows a lender which answers notices so, and promises so many workers of which one comes. Returns them
/// when that one was sent home.
fn loan_with(offered: usize, answer: Option<Value>) -> (Master, FakeMaster) {
    let owner = FakeMaster::start(free_port(), "Master_B", true, move |talk: &mut Talk| {
        while let Some(line) = talk.hear() {
            let mark = line["request_id"].clone();
            if line["type"] == "request_help" {
                talk.say(&json!({"type": "response_accepted", "request_id": mark, "payload": {
                    "workers_offered": offered, "worker_details": [{"id": "B1", "address": "127.0.0.1:7001"}],
                }}));
            } else if let Some(answer) = answer.clone().filter(|_| line["type"] == "notify_worker_returned") {
                let answer = python(&answer).replace("\"MARK\"", &python(&mark));
                talk.send(&format!("{answer}\n"));
            }
        }
    });
    let told = format!("{},dialect=2026-1", owner.address());
    let master = Master::start(&[&BUSY[..], &["--timeout", "1", "--peer", &told]].concat());
    wait_until("the lender to be ALIVE", || wait_alive(&master, &owner.address()));
    let jobs: Vec<String> = (0..3).map(|nth| submit(&master, Value::from(format!("user-{nth}")))).collect();
    owner.wait_count("request_help", 1, |line| line["type"] == "request_help");
    assert_eq!(one_shot(master.node.port, &register(&owner))["STATUS"], "ACK");
    let borrowed = json!({"WORKER": "ALIVE", "WORKER_UUID": "B1", "SERVER_UUID": owner.address()});
    wait_until("the worker to be sent home", || {
        let answer = one_shot(master.node.port, &borrowed);
        if answer["TASK"] == "QUERY" {
            assert_eq!(one_shot(master.node.port, &status("OK", "B1"))["STATUS"], "ACK");
        }
        answer["type"] == "command_release"
    });
    assert!(jobs.iter().all(|job| master.result(job)["STATUS"] == "OK"));
    (master, owner)
}

#[test]
fn a_notice_is_answered_by_nothing_by_ack_or_by_an_envelope_and_workers_that_never_come_are_not_waited_for() {
    for (offered, answer) in [
        (1, None),
        (1, Some(json!({"STATUS": "ACK", "request_id": "MARK"}))),
        (5, Some(json!({"type": "ack", "request_id": "MARK", "payload": {}}))),
    ] {
        let (master, owner) = loan_with(offered, answer);
        owner.wait_count("notify_worker_returned", 1, |line| {
            line["type"] == "notify_worker_returned" && line["request_id"].is_string()
        });
        wait_until("the loan to be over", || master.ask(&json!({"TASK": "LOANS"}))["BORROWED"] == 0);
        master.node.assert_healthy();
        let log = master.node.process.stderr.text();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_notice_to_our_master_is_acknowledged_with_its_mark_and_one_without_is_not() {
    let master = lender(&[], &[]);
    let mut student = Student::connect(master.node.port);
    let marked = json!({"type": "notify_worker_returned", "request_id": "n1", "payload": {"worker_id": "B1"}});
    assert_eq!(student.ask(&marked), json!({"STATUS": "ACK", "request_id": "n1"}));
    student.say(&json!({"type": "notify_worker_returned", "payload": {"worker_id": "B1"}}));
    assert_eq!(student.hear_within(Duration::from_millis(300)), Heard::Nothing);
    wait_log(&master.node.process, &["notify_worker_returned", "n1"]);
}
