//! Our master with workers of other teams.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::farm::{Master, worker};
use super::support::ports::free_port;
use super::support::student::{Heard, Student, one_shot};
use super::support::wait::pause;
use super::support::wait_until;
use super::{alive, status, submit, wait_log};

/// A foreign worker as `WORKERS` shows it.
pub(super) fn shown(master: &Master, worker: &str) -> Option<Value> {
    let answer = master.ask(&json!({"TASK": "WORKERS"}));
    let workers = answer["WORKERS"].as_array().expect("a list").clone();
    workers.into_iter().find(|shown| shown["WORKER_UUID"] == worker)
}

/// Whether a line is the ACK of this worker's STATUS, in either of the forms that the course's document shows.
fn is_ack(line: &Value, worker: &str) -> bool {
    *line == json!({"STATUS": "ACK"}) || *line == json!({"STATUS": "ACK", "WORKER_UUID": worker})
}

#[test]
fn s2_ct01_a_local_worker_gets_a_query_with_its_user() {
    let master = Master::start(&[]);
    submit(&master, json!("11111111111"));
    let mut student = Student::connect(master.node.port);
    assert_eq!(student.ask(&alive("W-A1")), json!({"TASK": "QUERY", "USER": "11111111111"}));
    let shown = shown(&master, "W-A1").expect("the farm knows it");
    assert_eq!((&shown["STATUS"], &shown["NATIVE"], shown.get("OWNER")), (&json!("BUSY"), &json!(false), None));
}

#[test]
fn s2_ct02_a_borrowed_worker_is_served_as_well_however_it_names_its_owner() {
    let master = Master::start(&[]);
    let owners = ["Master_B", "0b7c1c7e-5a0e-4a35-9a4c-6d9f9f6d2e11", "192.168.0.17", "192.168.0.17:5000"];
    for (nth, owner) in owners.into_iter().enumerate() {
        let job = submit(&master, json!(nth.to_string()));
        let id = format!("W-B{nth}");
        let mut student = Student::connect(master.node.port);
        let borrowed = json!({"WORKER": "ALIVE", "WORKER_UUID": id, "SERVER_UUID": owner});
        assert_eq!(student.ask(&borrowed), json!({"TASK": "QUERY", "USER": nth.to_string()}));
        assert_eq!(shown(&master, &id).expect("the farm knows it")["OWNER"], owner);
        assert!(is_ack(&student.ask(&status("OK", &id)), &id));
        assert_eq!(master.result(&job)["WORKER_UUID"], *id);
        wait_log(&master.node.process, &[&id, "borrowed from", owner, "has finished", &job]);
    }
}

#[test]
fn s2_ct03_an_empty_queue_is_no_task() {
    let master = Master::start(&[]);
    let mut student = Student::connect(master.node.port);
    for _ in 0..3 {
        assert_eq!(student.ask(&alive("W-A1")), json!({"TASK": "NO_TASK"}));
    }
}

#[test]
fn s2_ct04_ok_is_acknowledged_and_ends_the_job() {
    let master = Master::start(&[]);
    let job = submit(&master, json!("1"));
    let mut student = Student::connect(master.node.port);
    student.ask(&alive("W-A1"));
    assert!(is_ack(&student.ask(&status("OK", "W-A1")), "W-A1"));
    let result = master.result(&job);
    assert_eq!((&result["STATUS"], &result["WORKER_UUID"]), (&json!("OK"), &json!("W-A1")));
    wait_log(&master.node.process, &["worker W-A1 has finished", &job, "OK"]);
    assert_eq!(shown(&master, "W-A1").expect("the farm knows it")["DONE"], 1);
}

#[test]
fn s2_ct05_nok_is_acknowledged_and_recorded() {
    let master = Master::start(&["--attempts", "2", "--retry-pause", "0"]);
    let job = submit(&master, json!("1"));
    let mut student = Student::connect(master.node.port);
    for _ in 0..2 {
        assert_eq!(student.ask(&alive("W-A1"))["TASK"], "QUERY");
        assert!(is_ack(&student.ask(&status("NOK", "W-A1")), "W-A1"));
    }
    let result = master.result(&job);
    assert_eq!((&result["STATUS"], &result["ATTEMPT"]), (&json!("BURIED"), &json!(2)), "{result}");
    wait_log(&master.node.process, &["worker W-A1 has finished", &job, "NOK"]);
    assert_eq!(shown(&master, "W-A1").expect("the farm knows it")["FAILED"], 2);
}

/// A worker that asks on one connection, kept open, until so many tasks are done. Returns the users that it served.
fn pull(student: &mut Student, worker: &Value, tasks: usize) -> Vec<Value> {
    let id = worker["WORKER_UUID"].as_str().expect("an id").to_owned();
    let mut users = Vec::new();
    while users.len() < tasks {
        let answer = student.ask(worker);
        if answer["TASK"] == "QUERY" {
            users.push(answer["USER"].clone());
            assert!(is_ack(&student.ask(&status("OK", &id)), &id));
        } else {
            assert_eq!(answer, json!({"TASK": "NO_TASK"}));
            pause(Duration::from_millis(20));
        }
    }
    users
}

#[test]
fn a_worker_that_pulls_on_a_kept_connection_gets_one_task_after_the_other() {
    let master = Master::start(&[]);
    let mut student = Student::connect(master.node.port);
    assert_eq!(student.ask(&alive("W-1")), json!({"TASK": "NO_TASK"}));
    let jobs: Vec<String> = (0..10).map(|user| submit(&master, json!(user))).collect();
    assert_eq!(pull(&mut student, &alive("W-1"), 10), (0..10).map(Value::from).collect::<Vec<_>>());
    for job in &jobs {
        assert_eq!(master.result(job)["STATUS"], "OK");
    }
}

#[test]
fn one_message_a_connection_and_the_status_on_a_new_one() {
    let master = Master::start(&[]);
    let jobs: Vec<String> = (0..5).map(|user| submit(&master, json!(user))).collect();
    for job in &jobs {
        assert_eq!(one_shot(master.node.port, &alive("W-1"))["TASK"], "QUERY");
        assert!(is_ack(&one_shot(master.node.port, &status("OK", "W-1")), "W-1"));
        assert_eq!(master.result(job)["STATUS"], "OK");
    }
    assert_eq!(one_shot(master.node.port, &alive("W-1")), json!({"TASK": "NO_TASK"}));
}

#[test]
fn what_two_such_workers_report_is_not_mixed_up() {
    let master = Master::start(&[]);
    let (one, two) = (submit(&master, json!("1")), submit(&master, json!("2")));
    assert_eq!(one_shot(master.node.port, &alive("W-1"))["USER"], "1");
    assert_eq!(one_shot(master.node.port, &alive("W-2"))["USER"], "2");
    assert!(is_ack(&one_shot(master.node.port, &status("OK", "W-2")), "W-2"));
    assert_eq!(master.result(&two)["WORKER_UUID"], "W-2");
    assert_eq!(master.ask(&json!({"TASK": "RESULT", "JOB_ID": one}))["STATUS"], "RUNNING");
    assert!(is_ack(&one_shot(master.node.port, &status("OK", "W-1")), "W-1"));
    assert_eq!(master.result(&one)["WORKER_UUID"], "W-1");
}

#[test]
fn a_worker_that_waits_in_silence_is_pushed_its_tasks() {
    let master = Master::start(&[]);
    let mut student = Student::connect(master.node.port);
    student.say(&alive("W-1"));
    assert_eq!(student.hear(), json!({"TASK": "NO_TASK"}));
    let jobs: Vec<String> = (0..3).map(|user| submit(&master, json!(user))).collect();
    for (user, job) in jobs.iter().enumerate() {
        assert_eq!(student.hear(), json!({"TASK": "QUERY", "USER": user}), "it says nothing, and a task comes");
        assert_eq!(student.hear_within(Duration::from_millis(300)), Heard::Nothing, "one at a time");
        student.say(&status("OK", "W-1"));
        assert!(is_ack(&student.hear(), "W-1"));
        assert_eq!(master.result(job)["STATUS"], "OK");
    }
    assert_eq!(student.hear_within(Duration::from_millis(500)), Heard::Nothing);
}

#[test]
fn the_family_of_task_request_gets_its_ack_first() {
    let master = Master::start(&[]);
    let mut student = Student::connect(master.node.port);
    let request = json!({"TASK": "REQUEST", "WORKER_UUID": "W-1"});
    // It does not look at the answer to its ALIVE, only whether there is one.
    assert_eq!(student.ask(&alive("W-1")), json!({"TASK": "NO_TASK"}), "nobody can know yet");
    assert_eq!(student.ask(&request), json!({"TASK": "NO_TASK"}));
    let job = submit(&master, json!("7"));
    assert_eq!(student.ask(&request), json!({"TASK": "QUERY", "USER": "7"}));
    assert!(is_ack(&student.ask(&status("OK", "W-1")), "W-1"));
    assert_eq!(master.result(&job)["STATUS"], "OK");
    assert!(is_ack(&student.ask(&alive("W-1")), "W-1"), "from now on ALIVE is acknowledged");
    assert_eq!(student.ask(&request), json!({"TASK": "NO_TASK"}));
    // On a new connection, too, and without saying who it is.
    let mut again = Student::connect(master.node.port);
    assert!(is_ack(&again.ask(&alive("W-1")), "W-1"));
    submit(&master, json!("8"));
    assert_eq!(again.ask(&json!({"TASK": "REQUEST"})), json!({"TASK": "QUERY", "USER": "8"}));
}

#[test]
fn a_keepalive_of_the_worker_and_a_pong_disturb_nothing() {
    let master = Master::start(&[]);
    let mut student = Student::connect(master.node.port);
    assert_eq!(student.ask(&alive("W-1")), json!({"TASK": "NO_TASK"}));
    student.say(&json!({"STATUS": "PONG", "WORKER_UUID": "W-1"}));
    assert_eq!(student.hear_within(Duration::from_millis(300)), Heard::Nothing, "a PONG is never answered");
    assert_eq!(student.ask(&alive("W-1")), json!({"TASK": "NO_TASK"}));
}

#[test]
fn the_family_in_lower_case_is_answered_in_lower_case() {
    let master = Master::start(&[]);
    let mut student = Student::connect(master.node.port);
    let lower = json!({"worker": "alive", "worker_uuid": "w-1"});
    assert_eq!(student.ask(&lower), json!({"task": "no_task"}));
    let job = submit(&master, json!("7"));
    assert_eq!(student.ask(&lower), json!({"task": "query", "user": "7"}));
    let ack = student.ask(&json!({"status": "ok", "task": "query", "worker_uuid": "w-1"}));
    assert!(ack == json!({"status": "ack"}) || ack == json!({"status": "ack", "worker_uuid": "w-1"}), "{ack}");
    assert_eq!(master.result(&job)["WORKER_UUID"], "w-1");
}

#[test]
fn a_list_of_users_and_what_a_status_adds_pass_as_they_are() {
    let master = Master::start(&[]);
    let job = submit(&master, json!(["111", "222"]));
    let mut student = Student::connect(master.node.port);
    assert_eq!(student.ask(&alive("W-1")), json!({"TASK": "QUERY", "USER": ["111", "222"]}));
    let report = json!({"WORKER_UUID": "W-1", "TASK": "QUERY", "STATUS": "OK", "CPF": "111", "SALDO": "25.000"});
    assert!(is_ack(&student.ask(&report), "W-1"));
    assert_eq!(master.result(&job)["RESULT"], json!({"CPF": "111", "SALDO": "25.000"}));
}

#[test]
fn a_status_that_does_not_say_whose_it_is_belongs_to_its_connection() {
    let master = Master::start(&[]);
    let job = submit(&master, json!("1"));
    let mut student = Student::connect(master.node.port);
    student.ask(&alive("W-1"));
    assert!(is_ack(&student.ask(&json!({"STATUS": "OK", "TASK": "QUERY"})), "W-1"));
    assert_eq!(master.result(&job)["WORKER_UUID"], "W-1");
    // On a new connection nobody can tell; it is acknowledged all the same, or the worker would hang.
    submit(&master, json!("2"));
    assert_eq!(one_shot(master.node.port, &alive("W-1"))["TASK"], "QUERY");
    assert_eq!(one_shot(master.node.port, &json!({"STATUS": "OK", "TASK": "QUERY"}))["STATUS"], "ACK");
    assert_eq!(master.count("RUNNING"), 1);
}

#[test]
fn lines_that_never_get_their_newline_are_served() {
    let master = Master::start(&[]);
    let job = submit(&master, json!("1"));
    let mut student = Student::connect(master.node.port);
    student.send(r#"{"WORKER": "ALIVE", "WORKER_UUID": "W-1"}"#);
    assert_eq!(student.hear(), json!({"TASK": "QUERY", "USER": "1"}));
    student.send(r#"{"STATUS": "OK", "TASK": "QUERY", "WORKER_UUID": "W-1"}"#);
    assert!(is_ack(&student.hear(), "W-1"));
    assert_eq!(master.result(&job)["STATUS"], "OK");
}

#[test]
fn heartbeat_and_alive_at_once_are_answered_both_and_in_order() {
    // As recorded (2026-1-dialled): each connection begins with a heartbeat, and the worker hears before it goes on.
    let master = Master::start(&[]);
    let mut student = Student::connect(master.node.port);
    let beat = student.ask(&json!({"SERVER_UUID": "W-1", "TASK": "HEARTBEAT"}));
    assert_eq!((&beat["TASK"], &beat["RESPONSE"]), (&json!("HEARTBEAT"), &json!("ALIVE")));
    assert_eq!(beat["SERVER_UUID"], master.node.server_id(), "always with our own");
    assert_eq!(student.ask(&alive("W-1")), json!({"TASK": "NO_TASK"}));
}

#[test]
fn a_worker_that_restarts_with_a_task_gets_the_same_task_again() {
    let master = Master::start(&[]);
    let job = submit(&master, json!("1"));
    assert_eq!(one_shot(master.node.port, &alive("W-1"))["USER"], "1");
    let mut student = Student::connect(master.node.port);
    assert_eq!(student.ask(&alive("W-1"))["USER"], "1");
    assert!(is_ack(&student.ask(&status("OK", "W-1")), "W-1"));
    let result = master.result(&job);
    assert_eq!((&result["STATUS"], &result["ATTEMPT"]), (&json!("OK"), &json!(1)));
}

/// A foreign worker on a thread: serves until told to stop, and notes whom it served.
fn spawn_foreign(
    port: u16,
    me: Value,
    kept: bool,
    stop: Arc<AtomicBool>,
    served: Arc<Mutex<Vec<String>>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let id = me["WORKER_UUID"].as_str().expect("an id").to_owned();
        let mut kept = kept.then(|| Student::connect(port));
        let mut ask = |line: &Value| match &mut kept {
            Some(student) => student.ask(line),
            None => one_shot(port, line),
        };
        while !stop.load(Ordering::Acquire) {
            let answer = ask(&me);
            if answer["TASK"] != "QUERY" {
                pause(Duration::from_millis(10));
                continue;
            }
            pause(Duration::from_millis(5));
            let user = answer["USER"].as_str().expect("a user").to_owned();
            served.lock().expect("no holder of this lock panics").push(user);
            assert!(is_ack(&ask(&status("OK", &id)), &id));
        }
    })
}

#[test]
fn two_foreign_workers_and_a_native_one_share_a_queue_and_the_log_says_who_did_what() {
    let master = Master::start(&[]);
    let users: Vec<String> = (0..30).map(|user| format!("user-{user}")).collect();
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let borrowed = json!({"WORKER": "ALIVE", "WORKER_UUID": "W-B9", "SERVER_UUID": "Master_B"});
    let spawn =
        |me: Value, kept: bool| spawn_foreign(master.node.port, me, kept, Arc::clone(&stop), Arc::clone(&served));
    let threads = [spawn(alive("W-A1"), true), spawn(borrowed, false)];
    let _native = worker(&master, "native", &["--slots", "1"]);
    for id in ["W-A1", "W-B9"] {
        wait_until("the foreign workers to be known", || shown(&master, id).is_some());
    }
    let jobs: Vec<String> = users.iter().map(|user| submit(&master, json!(user))).collect();
    let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (job, user) in jobs.iter().zip(&users) {
        let result = master.result(job);
        assert_eq!((&result["STATUS"], &result["ATTEMPT"]), (&json!("OK"), &json!(1)), "{result}");
        let who = result["WORKER_UUID"].as_str().expect("somebody did it").to_owned();
        let words = match who.as_str() {
            "W-A1" => vec!["worker W-A1 has finished", job],
            "W-B9" => vec!["worker W-B9, borrowed from Master_B", "has finished", job],
            native => vec!["JOB_ENDED", job, "by worker", native],
        };
        wait_log(&master.node.process, &words);
        by.entry(who).or_default().push(user.clone());
    }
    stop.store(true, Ordering::Release);
    for thread in threads {
        thread.join().expect("a foreign worker hears what it expects");
    }
    assert_eq!(by.len(), 3, "everybody had a part: {by:?}");
    let lines = master.node.process.stderr.lines();
    for job in &jobs {
        let told = lines.iter().filter(|line| line.contains("JOB_ENDED") && line.contains(&format!("{job} "))).count();
        assert_eq!(told, 1, "{job} is told once");
    }
    let mut foreign: Vec<&String> = ["W-A1", "W-B9"].iter().flat_map(|id| &by[*id]).collect();
    let mut served = served.lock().unwrap().clone();
    foreign.sort();
    served.sort();
    assert_eq!(served.iter().collect::<Vec<_>>(), foreign, "nobody was given anything twice");
}

#[test]
fn a_worker_that_does_not_say_who_it_is_stands_in_the_log_and_is_not_answered() {
    let master = Master::start(&[]);
    submit(&master, json!("1"));
    let lines = [
        json!({"WORKER": "ALIVE"}),
        json!({"worker": "alive"}),
        json!({"WORKER": "Alive"}),
        json!({"WORKER": "ALIVE", "SERVER_UUID": "Master_B"}),
        json!({"worker": "alive", "server_uuid": "Master_B"}),
        json!({"WORKER": "ALIVE", "WORKER_UUID": null}),
        json!({"WORKER": "ALIVE", "WORKER_UUID": ""}),
        json!({"WORKER": "ALIVE", "WORKER_HOST": "127.0.0.1", "WORKER_PORT": 5001}),
        json!({"WORKER": "ALIVE", "NAME": "anna", "SLOTS": 4, "WAIT": true}),
    ];
    for line in &lines {
        let mut student = Student::connect(master.node.port);
        // A line a second is shown, so that nobody floods the log: said again until it is.
        wait_until(&format!("{line} in the log"), || {
            student = Student::connect(master.node.port);
            student.say(line);
            let begin = super::support::student::python(line);
            pause(Duration::from_millis(50));
            let shown = |shown: &String| {
                shown.contains("WARN")
                    && shown.contains(&begin)
                    && shown.contains("ALIVE")
                    && shown.contains("WORKER_UUID")
            };
            master.node.process.stderr.lines().iter().any(shown)
        });
        assert_eq!(student.hear_within(Duration::from_millis(50)), Heard::Nothing, "{line}");
    }
    // A flood on one connection and on many is a few lines, and the node is well.
    let told = || master.node.process.stderr.lines().iter().filter(|line| line.contains("is ignored")).count();
    let (before, begun) = (told(), std::time::Instant::now());
    let mut student = Student::connect(master.node.port);
    student.send(&"{\"WORKER\": \"ALIVE\"}\n".repeat(20_000));
    for _ in 0..100 {
        Student::connect(master.node.port).say(&lines[0]);
    }
    assert_eq!(student.ask(&json!({"WORKER": "ALIVE", "WORKER_UUID": "W-1"}))["TASK"], "QUERY");
    let most = usize::try_from(begun.elapsed().as_secs()).expect("some seconds") + 2;
    assert!(told() - before <= most, "{} lines in {:?}", told() - before, begun.elapsed());
}

#[test]
fn a_worker_that_listens_on_a_port_of_its_own_is_served_on_the_connection_that_it_opened() {
    let master = Master::start(&[]);
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).expect("the port is free");
    own.set_nonblocking(true).expect("a listener can be made not to block");
    let port = own.local_addr().expect("it is bound").port();
    let variants = [
        json!({"WORKER": "ALIVE", "WORKER_UUID": "W-1", "port": port}),
        json!({"WORKER": "ALIVE", "WORKER_UUID": "W-2", "WORKER_HOST": "127.0.0.1", "WORKER_PORT": port}),
        json!({"worker": "alive", "worker_uuid": "W-3", "worker_host": "127.0.0.1", "worker_port": port}),
    ];
    for (nth, me) in variants.iter().enumerate() {
        let (id, lower) = (format!("W-{}", nth + 1), me["worker"].is_string());
        let job = submit(&master, json!("1"));
        // One message on each connection: whoever has a port of its own need not keep one.
        let task = one_shot(master.node.port, me);
        assert_eq!(task[if lower { "task" } else { "TASK" }], if lower { "query" } else { "QUERY" }, "{task}");
        let ack = one_shot(master.node.port, &status("OK", &id));
        assert!(is_ack(&ack, &id), "{ack}");
        let result = master.result(&job);
        assert_eq!((&result["STATUS"], &result["WORKER_UUID"]), (&json!("OK"), &json!(id)), "{result}");
    }
    // An address inside a payload proves nothing: nobody is called there.
    let called = own.accept();
    assert!(called.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
}
