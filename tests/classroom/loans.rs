//! Sprint 3: loans with masters and workers of other teams, the cases S3-CT01 to S3-CT09 by their names.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::farm::Master;
use super::support::ports::free_port;
use super::support::student::{FakeMaster, Student, Talk, one_shot};
use super::support::{wait_for, wait_until};
use super::{alive, status, submit, wait_log};

/// Saturated above one job, at once; quick to see who is there.
pub(super) const BUSY: [&str; 10] =
    ["--capacity", "1", "--release", "1", "--hold", "0", "--cooldown", "0", "--interval", "0.2"];

/// The official request for two workers, with the address that most add.
fn request_help(id: &str, port: u16, needed: u64) -> Value {
    json!({"type": "request_help", "request_id": id, "payload": {
        "master_id": "Master_A", "current_load": 150, "capacity": 100, "workers_needed": needed,
        "master_address": format!("127.0.0.1:{port}"),
    }})
}

/// A master of ours that lends all that it has, with so many foreign workers that asked once.
pub(super) fn lender(workers: &[&str], options: &[&str]) -> Master {
    let master = Master::start(&[&["--keep", "0", "--interval", "0.2", "--timeout", "1"], options].concat());
    for worker in workers {
        assert_eq!(one_shot(master.node.port, &alive(worker))["TASK"], "NO_TASK");
    }
    master
}

/// What a master answers to the next ALIVE, once that is an order to go.
pub(super) fn order_to(master: &Master, worker: &Value) -> Value {
    wait_for("an order to go", || {
        let answer = one_shot(master.node.port, worker);
        (answer["TASK"] != "NO_TASK" && answer["TASK"] != "QUERY").then_some(answer)
    })
}

#[test]
fn s3_ct01_two_idle_workers_are_offered_and_each_is_redirected() {
    let master = lender(&["B1", "B2"], &[]);
    let answer = one_shot(master.node.port, &request_help("1b2c", 9999, 2));
    assert_eq!(answer["type"], "response_accepted", "{answer}");
    assert_eq!(answer["request_id"], "1b2c");
    assert_eq!(answer["payload"]["workers_offered"], 2);
    let details = answer["payload"]["worker_details"].as_array().expect("details").clone();
    let ids: Vec<&str> = details.iter().filter_map(|detail| detail["id"].as_str()).collect();
    assert_eq!(ids.len(), 2, "{answer}");
    for worker in ["B1", "B2"] {
        assert!(ids.contains(&worker));
        let order = order_to(&master, &alive(worker));
        assert_eq!(order["type"], "command_redirect", "{order}");
        assert_eq!(order["payload"]["new_master_address"], "127.0.0.1:9999", "{order}");
    }
    wait_log(&master.node.process, &["request_help", "1b2c"]);
    wait_log(&master.node.process, &["response_accepted", "1b2c"]);
}

#[test]
fn s3_ct02_a_loaded_master_refuses_and_redirects_nobody() {
    let master = lender(&["B1"], &["--capacity", "1", "--release", "1", "--hold", "0"]);
    // `render` is what nobody here can do: the jobs wait, and the worker stays idle.
    (0..5).for_each(|_| drop(master.submit("render", Value::Null)));
    wait_log(&master.node.process, &["SATURATED"]);
    let answer = one_shot(master.node.port, &request_help("77", 9999, 1));
    assert_eq!(answer["type"], "response_rejected", "{answer}");
    assert_eq!((&answer["request_id"], &answer["payload"]["reason"]), (&json!("77"), &json!("high_load")));
    assert_eq!(one_shot(master.node.port, &alive("B1"))["TASK"], "NO_TASK");
}

#[test]
fn s3_ct03_two_requests_at_once_have_each_its_own_request_id() {
    let (one, other) = (lender(&["B1"], &[]), lender(&[], &[]));
    let (mut to_one, mut to_other) = (Student::connect(one.node.port), Student::connect(other.node.port));
    to_one.say(&request_help("first", 9999, 1));
    to_other.say(&request_help("second", 9999, 1));
    let (first, second) = (to_one.hear(), to_other.hear());
    assert_eq!((&first["request_id"], &first["type"]), (&json!("first"), &json!("response_accepted")));
    assert_eq!((&second["request_id"], &second["type"]), (&json!("second"), &json!("response_rejected")));
    assert_eq!(second["payload"]["reason"], "no_workers_available");
}

/// A foreign master that lends one worker when it is asked, and notes what it is told.
fn foreign_lender(name: &str, answers: bool) -> FakeMaster {
    let owner = name.to_owned();
    FakeMaster::start(free_port(), name, true, move |talk: &mut Talk| {
        while let Some(line) = talk.hear() {
            if line["type"] == "request_help" && answers {
                talk.say(&json!({"type": "response_accepted", "request_id": line["request_id"], "payload": {
                    "workers_offered": 1, "worker_details": [{"id": "B1", "address": "127.0.0.1:7001"}], "master_id": owner,
                }}));
            }
        }
    })
}

/// A master of ours that knows these foreign ones, with so many jobs that wait.
fn borrower(peers: &[&FakeMaster], jobs: usize) -> Master {
    let mut options: Vec<String> = BUSY.iter().map(|option| (*option).to_owned()).collect();
    options.extend(["--timeout".to_owned(), "1".to_owned()]);
    for peer in peers {
        options.extend(["--peer".to_owned(), format!("{},dialect=2026-1", peer.address())]);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let master = Master::start(&options);
    for peer in peers {
        let address = peer.address();
        wait_until("the foreign master to be ALIVE", || {
            master.ask(&json!({"TASK": "NODES"})).to_string().contains(&address) && wait_alive(&master, &address)
        });
    }
    (0..jobs).for_each(|nth| drop(submit(&master, Value::from(format!("user-{nth}")))));
    master
}

pub(super) fn wait_alive(master: &Master, address: &str) -> bool {
    let nodes = master.ask(&json!({"TASK": "NODES"}));
    nodes["NODES"]
        .as_array()
        .is_some_and(|nodes| nodes.iter().any(|node| node["ADDRESS"] == address && node["STATUS"] == "ALIVE"))
}

pub(super) fn register(owner: &FakeMaster) -> Value {
    json!({"type": "register_temporary_worker", "request_id": "r1", "payload": {
        "worker_id": "B1", "original_master_address": owner.address(), "original_master_id": "Master_B",
    }})
}

fn borrowed(owner: &FakeMaster) -> Value {
    json!({"WORKER": "ALIVE", "WORKER_UUID": "B1", "SERVER_UUID": owner.address()})
}

/// A master of ours with three jobs and one worker, which a foreign master has lent it and which has registered; and the answer to that.
fn borrowed_one() -> (FakeMaster, Master, Value) {
    let owner = foreign_lender("Master_B", true);
    let master = borrower(&[&owner], 3);
    owner.wait_count("request_help", 1, |line| line["type"] == "request_help");
    let registered = one_shot(master.node.port, &register(&owner));
    (owner, master, registered)
}

#[test]
fn s3_ct04_a_redirected_worker_registers_and_is_recorded_as_borrowed() {
    let (owner, master, registered) = borrowed_one();
    let asked = owner.lines().into_iter().find(|line| line["type"] == "request_help").expect("it was asked");
    assert!(asked["payload"]["current_load"].as_u64() > asked["payload"]["capacity"].as_u64(), "{asked}");
    assert!(asked["payload"]["workers_needed"].as_u64() >= Some(1), "{asked}");
    assert_eq!((&registered["STATUS"], &registered["request_id"]), (&json!("ACK"), &json!("r1")), "{registered}");
    wait_until("B1 to be recorded as borrowed", || {
        let loans = master.ask(&json!({"TASK": "LOANS"}));
        let listed = loans["LOANS"].as_array().expect("a list").clone();
        let of_it =
            |loan: &Value| loan["WORKER_UUID"] == "B1" && loan["DIRECTION"] == "IN" && loan["STATUS"] == "ACTIVE";
        loans["BORROWED"] == 1 && listed.iter().any(of_it)
    });
}

#[test]
fn s3_ct05_a_borrowed_worker_does_a_task_and_the_log_says_whose_it_is() {
    let (owner, master, registered) = borrowed_one();
    assert_eq!(registered["STATUS"], "ACK", "{registered}");
    let query = wait_for("a task", || {
        let answer = one_shot(master.node.port, &borrowed(&owner));
        (answer["TASK"] == "QUERY").then_some(answer)
    });
    assert!(query["USER"].as_str().is_some_and(|user| user.starts_with("user-")), "{query}");
    assert_eq!(one_shot(master.node.port, &status("OK", "B1"))["STATUS"], "ACK");
    wait_log(&master.node.process, &["B1", "borrowed from", "has finished job", "OK"]);
    assert_eq!(master.count("OK"), 1);
}

#[test]
fn s3_ct06_when_the_load_falls_the_worker_is_released_and_its_owner_told() {
    let owner = foreign_lender("Master_B", true);
    let master = borrower(&[&owner], 3);
    owner.wait_count("request_help", 1, |line| line["type"] == "request_help");
    assert_eq!(one_shot(master.node.port, &register(&owner))["STATUS"], "ACK");
    let released = wait_for("command_release", || {
        let answer = one_shot(master.node.port, &borrowed(&owner));
        if answer["TASK"] == "QUERY" {
            assert_eq!(one_shot(master.node.port, &status("OK", "B1"))["STATUS"], "ACK");
        }
        (answer["type"] == "command_release").then_some(answer)
    });
    assert_eq!(released["payload"]["original_master_address"], owner.address(), "{released}");
    owner.wait_count("notify_worker_returned", 1, |line| {
        line["type"] == "notify_worker_returned" && line["payload"]["worker_id"] == "B1"
    });
    assert_eq!(master.count("OK"), 3);
}

#[test]
fn s3_ct07_a_silent_neighbour_is_given_up_after_five_seconds_and_the_next_is_asked() {
    let (silent, answers) = (foreign_lender("Master_B", false), foreign_lender("Master_C", true));
    let master = borrower(&[&silent, &answers], 3);
    let is_request = |line: &Value| line["type"] == "request_help";
    answers.wait_count("request_help", 1, is_request);
    if silent.count(is_request) == 0 {
        // It was asked second: the first has promised one, and more are asked for once that has not come.
        assert_eq!(one_shot(master.node.port, &register(&answers))["STATUS"], "ACK");
        silent.wait_count("request_help", 1, is_request);
    }
    wait_log(&master.node.process, &["Master_B did not answer within 5"]);
}

#[test]
fn a_foreign_master_is_asked_for_what_its_workers_can_do_and_for_nothing_else() {
    let lender = foreign_lender("Master_B", true);
    let master = borrower(&[&lender], 0);
    for _ in 0..20 {
        master.submit("sleep", json!({"ms": 1}));
    }
    let says = |text: &str| {
        let loans = master.ask(&json!({"TASK": "LOANS"}));
        loans["ASKED"].as_str().is_some_and(|asked| asked.contains(text))
    };
    wait_until("it to say that nobody can help", || says("none is ALIVE, unsaturated and offers sleep"));
    let is_request = |line: &Value| line["type"] == "request_help";
    assert_eq!(lender.count(is_request), 0, "its workers know `query` alone");
    for nth in 0..3 {
        submit(&master, Value::from(format!("user-{nth}")));
    }
    lender.wait_count("request_help", 1, is_request);
    let request = lender.lines().into_iter().find(|line| is_request(line)).expect("it was asked");
    assert_eq!(request["payload"]["current_load"], 23, "{request}");
    assert_eq!(request["payload"]["workers_needed"], 3, "one for each of them: {request}");
}

/// The only loan of this master.
fn only_loan(master: &Master) -> Value {
    let loans = master.ask(&json!({"TASK": "LOANS"}));
    let [loan] = loans["LOANS"].as_array().expect("a list").as_slice() else { panic!("{loans}") };
    loan.clone()
}

/// Lends B1 to the foreign master at this port, and sends it there.
fn lend_b1(master: &Master, port: u16) {
    let answer = one_shot(master.node.port, &request_help("9", port, 1));
    assert_eq!(answer["type"], "response_accepted", "{answer}");
    assert_eq!(order_to(master, &alive("B1"))["type"], "command_redirect");
    assert_eq!(only_loan(master)["STATUS"], "ACTIVE");
}

#[test]
fn s3_ct08_when_a_configured_borrower_dies_its_loan_is_over_and_its_workers_serve_at_home() {
    let borrower = foreign_lender("Master_A", false);
    let peer = format!("{},dialect=2026-1", borrower.address());
    let master = lender(&["B1"], &["--peer", &peer]);
    wait_until("the borrower to be ALIVE", || wait_alive(&master, &borrower.address()));
    lend_b1(&master, borrower.port);
    drop(borrower);
    // The worker has not come home, and need not.
    wait_until("the loan to be over", || only_loan(&master)["STATUS"] == "ENDED");
    let loan = only_loan(&master);
    assert!(loan["REASON"].as_str().is_some_and(|why| why.contains("does not answer any more")), "{loan}");
    assert_eq!(master.ask(&json!({"TASK": "LOANS"}))["LENT"], 0);
    // It is home again, and says so by a plain ALIVE.
    let job = submit(&master, Value::from("user-1"));
    let query = wait_for("a task at home", || {
        let answer = one_shot(master.node.port, &alive("B1"));
        (answer["TASK"] == "QUERY").then_some(answer)
    });
    assert_eq!(query["USER"], "user-1");
    assert_eq!(one_shot(master.node.port, &status("OK", "B1"))["STATUS"], "ACK");
    assert_eq!(master.result(&job)["STATUS"], "OK");
}

#[test]
fn when_a_configured_borrower_of_2025_2_dies_that_has_named_nobody_its_loan_is_over() {
    let borrower = foreign_lender("SERVER_1", false);
    let peer = format!("{},dialect=2025-2", borrower.address());
    let master = lender(&["B1"], &["--peer", &peer]);
    wait_until("the borrower to be ALIVE", || wait_alive(&master, &borrower.address()));
    let requestor = json!({"ip": "127.0.0.1", "port": borrower.port});
    let answer = one_shot(master.node.port, &json!({"TASK": "WORKER_REQUEST", "REQUESTOR_INFO": requestor}));
    assert_eq!(answer["RESPONSE"], "AVAILABLE", "{answer}");
    assert_eq!(order_to(&master, &alive("B1"))["SERVER_REDIRECT"], requestor);
    let loan = only_loan(&master);
    assert_eq!((&loan["PEER"], &loan["STATUS"]), (&json!("SERVER_1"), &json!("ACTIVE")), "{loan}");
    drop(borrower);
    wait_until("the loan to be over", || only_loan(&master)["STATUS"] == "ENDED");
    let loan = only_loan(&master);
    assert!(loan["REASON"].as_str().is_some_and(|why| why.contains("does not answer any more")), "{loan}");
}

#[test]
fn s3_ct08_when_a_borrower_that_nobody_calls_dies_its_loan_is_over_though_its_worker_never_returns() {
    let master = lender(&["B1"], &[]);
    lend_b1(&master, free_port());
    assert!(only_loan(&master)["LEASE_MS"].is_null(), "nothing was heard of it yet");
    // It lives: it heartbeats the lender, which does not call it.
    let mut borrower = Student::connect(master.node.port);
    let heartbeat = json!({"SERVER_UUID": "Master_A", "TASK": "HEARTBEAT"});
    assert_eq!(borrower.ask(&heartbeat)["RESPONSE"], "ALIVE");
    let left = || only_loan(&master)["LEASE_MS"].as_u64();
    assert!(left().is_some_and(|left| left > 20_000), "{:?}", left());
    borrower.close();
    // Half a minute of silence, and a little more.
    wait_until("half of that to be over", || left().is_some_and(|left| left < 15_000));
    assert_eq!(only_loan(&master)["STATUS"], "ACTIVE");
    wait_until("the loan to be over", || only_loan(&master)["STATUS"] == "ENDED");
    let loan = only_loan(&master);
    assert!(loan["REASON"].as_str().is_some_and(|why| why.contains("was not heard any more")), "{loan}");
    assert_eq!(master.ask(&json!({"TASK": "LOANS"}))["LENT"], 0);
}

#[test]
fn s3_ct09_an_unknown_type_is_logged_and_ignored() {
    let master = lender(&["B1"], &[]);
    let mut student = Student::connect(master.node.port);
    student.say(&json!({"type": "dance", "request_id": "5", "payload": {}}));
    assert_eq!(
        student.hear_within(Duration::from_millis(300)),
        super::support::student::Heard::Nothing,
        "nobody is answered"
    );
    wait_log(&master.node.process, &["dance"]);
    assert_eq!(student.ask(&alive("B1"))["TASK"], "NO_TASK");
}

#[test]
fn a_lender_of_2025_2_gets_its_workers_back_by_command_release() {
    let noted: Arc<Mutex<Vec<Value>>> = Arc::default();
    let heard = Arc::clone(&noted);
    let owner = FakeMaster::start(free_port(), "SERVER_2", true, move |talk: &mut Talk| {
        while let Some(line) = talk.hear() {
            heard.lock().expect("no holder of this lock panics").push(line.clone());
            match line["TASK"].as_str() {
                Some("WORKER_REQUEST") => {
                    talk.say(&json!({"SERVER_UUID": "SERVER_2", "RESPONSE": "AVAILABLE", "WORKERS_UUID": ["W-B2"]}));
                }
                Some("COMMAND_RELEASE") => talk.say(
                    &json!({"SERVER_UUID": "SERVER_2", "RESPONSE": "RELEASE_ACK", "WORKERS_UUID": line["WORKERS_UUID"]}),
                ),
                _ => {}
            }
        }
    });
    let mut options: Vec<&str> = BUSY.to_vec();
    let peer = format!("{},dialect=2025-2", owner.address());
    options.extend(["--timeout", "1", "--peer", &peer]);
    let master = Master::start(&options);
    wait_until("the foreign master to be ALIVE", || wait_alive(&master, &owner.address()));
    (0..3).for_each(|nth| drop(submit(&master, Value::from(format!("user-{nth}")))));
    owner.wait_count("WORKER_REQUEST", 1, |line| line["TASK"] == "WORKER_REQUEST");
    let worker = json!({"WORKER": "ALIVE", "WORKER_UUID": "W-B2", "SERVER_UUID": "SERVER_2"});
    let returned = wait_for("RETURN", || {
        let answer = one_shot(master.node.port, &worker);
        if answer["TASK"] == "QUERY" {
            assert_eq!(one_shot(master.node.port, &status("OK", "W-B2"))["STATUS"], "ACK");
        }
        (answer["TASK"] == "RETURN").then_some(answer)
    });
    assert_eq!(returned["SERVER_RETURN"]["port"], owner.port, "{returned}");
    let lines = noted.lock().expect("no holder of this lock panics").clone();
    assert!(
        lines.iter().any(|line| line["TASK"] == "COMMAND_RELEASE" && line["WORKERS_UUID"] == json!(["W-B2"])),
        "{lines:?}"
    );
}
