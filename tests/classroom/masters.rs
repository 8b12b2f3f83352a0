//! Our worker with masters of other teams.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::discovery::{Beacon, reply, start_worker as start_discovering};
use super::support::farm::worker_command;
use super::support::ports::free_port;
use super::support::process::Process;
use super::support::student::{FakeMaster, Heard, Talk};
use super::support::wait::pause;
use super::support::{wait_until, watch};
use super::wait_log;

/// Fast enough for a test, slow enough for two cores.
const QUICK: [&str; 4] = ["--interval", "0.2", "--timeout", "1"];

/// Tasks that a fake master still has.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Mutex<VecDeque<Value>>>);

impl Queue {
    pub(super) fn of(users: impl IntoIterator<Item = Value>) -> Queue {
        Queue(Arc::new(Mutex::new(users.into_iter().collect())))
    }

    pub(super) fn push(&self, user: Value) {
        self.0.lock().expect("no holder of this lock panics").push_back(user);
    }

    fn pop(&self) -> Option<Value> {
        self.0.lock().expect("no holder of this lock panics").pop_front()
    }

    /// QUERY, or NO_TASK.
    pub(super) fn next(&self) -> Value {
        self.pop().map_or_else(|| json!({"TASK": "NO_TASK"}), |user| json!({"TASK": "QUERY", "USER": user}))
    }
}

/// Ten users.
fn ten() -> Queue {
    Queue::of((0..10).map(|user| Value::from(format!("user-{user}"))))
}

pub(super) fn is_alive(line: &Value) -> bool {
    line["WORKER"] == "ALIVE" && line["WORKER_UUID"].is_string()
}

pub(super) fn is_status(line: &Value) -> bool {
    (line["STATUS"] == "OK" || line["STATUS"] == "NOK") && line["TASK"] == "QUERY" && line["WORKER_UUID"].is_string()
}

fn is_ok(line: &Value) -> bool {
    is_status(line) && line["STATUS"] == "OK"
}

fn is_request(line: &Value) -> bool {
    line["TASK"] == "REQUEST" && line["WORKER_UUID"].is_string()
}

fn is_beat(line: &Value) -> bool {
    line["TASK"] == "HEARTBEAT"
}

fn keys(line: &Value) -> Vec<&str> {
    line.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn ack() -> Value {
    json!({"STATUS": "ACK"})
}

/// A master as the course's document has it: QUERY or NO_TASK, ACK.
pub(super) fn official(queue: &Queue, line: &Value) -> Value {
    if is_alive(line) {
        queue.next()
    } else if is_status(line) {
        json!({"STATUS": "ACK", "WORKER_UUID": line["WORKER_UUID"]})
    } else if line["TYPE"] == "ELECTION_ACK" {
        json!({"TYPE": "ELECTION_ACK", "STATUS": "ACCEPTED", "MASTER_NAME": line["SELECTED_MASTER"]})
    } else {
        panic!("a master of the classroom does not know {line}")
    }
}

/// Serves a kept connection.
fn keep(queue: &Queue, talk: &mut Talk) {
    while let Some(line) = talk.hear() {
        let answer = official(queue, &line);
        talk.say(&answer);
    }
}

fn start_worker(masters: &[&FakeMaster], options: &[&str]) -> Process {
    let addresses: Vec<String> = masters.iter().map(|master| master.address()).collect();
    let mut all = options.to_vec();
    for address in &addresses[1..] {
        all.extend(["--master", address]);
    }
    Process::spawn(&mut worker_command(&addresses[0], "w", &[&QUICK[..], &all].concat()))
}

/// The STATUS lines say each user's task done, none twice.
fn assert_done_once(master: &FakeMaster, tasks: usize) {
    watch(Duration::from_millis(400), || assert_eq!(master.count(is_status), tasks, "{:#?}", master.lines()));
    assert_eq!(master.count(is_ok), tasks, "{:#?}", master.lines());
}

#[test]
fn an_official_master_that_is_asked_on_a_kept_connection() {
    let queue = ten();
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| keep(&serves, talk));
    let worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS OK", 10, is_ok);
    assert_done_once(&master, 10);
    // It asks again and again, in official keys only once it knows whom it speaks to.
    let before = master.count(is_alive);
    master.wait_count("ALIVE", before + 3, is_alive);
    let lines = master.lines();
    // Some masters call their workers, and take no other way.
    let official = ["WORKER", "WORKER_HOST", "WORKER_PORT", "WORKER_UUID"];
    assert_eq!(keys(lines.last().expect("some")), official);
    let reports: Vec<&Value> = lines.iter().filter(|line| is_status(line)).collect();
    for report in &reports {
        assert_eq!(keys(report), ["SALDO", "STATUS", "TASK", "WORKER_UUID"], "and the balance, as some workers say it");
    }
    assert_eq!(
        lines.iter().filter(|line| is_alive(line)).count() + reports.len(),
        lines.len(),
        "and says nothing else"
    );
    // One connection for the cycle: nobody reconnects to a master that keeps it.
    let mut connections: Vec<usize> =
        master.noted().iter().filter(|noted| !is_beat(&noted.line)).map(|noted| noted.connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), 1);
    queue.push(json!("late"));
    master.wait_count("STATUS OK", 11, is_ok);
    wait_log(&worker, &["works for", &master.address()]);
}

#[test]
fn a_master_that_closes_after_each_answer() {
    let queue = ten();
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| {
        if let Some(line) = talk.hear() {
            let answer = official(&serves, &line);
            talk.say(&answer);
        }
    });
    let worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS OK", 10, is_ok);
    assert_done_once(&master, 10);
    let before = master.count(is_alive);
    master.wait_count("ALIVE", before + 3, is_alive);
    // Nobody is flooded: an idle worker asks once an interval.
    let before = master.count(is_alive);
    watch(Duration::from_secs(1), || {});
    assert!(master.count(is_alive) - before <= 8, "{} ALIVE in a second", master.count(is_alive) - before);
    queue.push(json!("late"));
    master.wait_count("STATUS OK", 11, is_ok);
    let log = worker.stderr.text();
    assert!(!log.contains("FALLBACK") && !log.contains("WARN"), "a close after an answer is no failure: {log}");
}

#[test]
fn a_master_that_pushes_and_says_neither_ack_nor_no_task() {
    let queue = ten();
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "SERVER_1", true, move |talk| {
        let Some(first) = talk.hear() else { return };
        assert!(is_alive(&first), "{first}");
        loop {
            match serves.pop() {
                Some(user) => talk.say(&json!({"TASK": "QUERY", "USER": user})),
                // Idle, it says so now and then, as recorded.
                None => talk.say(&json!({"TASK": "KEEPALIVE"})),
            }
            match talk.hear_within(Duration::from_secs(3)) {
                Heard::Line(line) if is_ok(&line) || line["STATUS"] == "PONG" => {}
                Heard::Line(line) if is_alive(&line) => {}
                Heard::Closed => return,
                other => panic!("{other:?}"),
            }
            pause(Duration::from_millis(50));
        }
    });
    let worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS OK", 10, is_ok);
    assert_done_once(&master, 10);
    master.wait_count("PONG", 3, |line| line["STATUS"] == "PONG" && line["WORKER_UUID"].is_string());
    queue.push(json!("late"));
    master.wait_count("STATUS OK", 11, is_ok);
    assert!(!worker.stderr.text().contains("FALLBACK"), "{}", worker.stderr.text());
}

#[test]
fn a_master_that_pushes_after_a_long_silence() {
    let master = FakeMaster::start(free_port(), "SERVER_1", true, move |talk| {
        let Some(first) = talk.hear() else { return };
        assert!(is_alive(&first), "{first}");
        // Longer than the worker waits for an answer.
        let heard = talk.hear_within(Duration::from_secs(7));
        assert_eq!(heard, Heard::Nothing, "it waits for what is pushed");
        talk.say(&json!({"TASK": "QUERY", "USER": "1"}));
        while talk.hear().is_some() {}
    });
    let worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS OK", 1, is_ok);
    assert_eq!(master.count(is_alive), 1);
    assert!(!worker.stderr.text().contains("FALLBACK"), "{}", worker.stderr.text());
}

#[test]
fn a_master_that_acknowledges_alive_and_wants_a_request() {
    let queue = ten();
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| {
        while let Some(line) = talk.hear() {
            let answer = match &line {
                line if is_alive(line) || is_status(line) => ack(),
                line if is_request(line) => serves.next(),
                other => panic!("{other}"),
            };
            talk.say(&answer);
        }
    });
    let _worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS OK", 10, is_ok);
    assert_done_once(&master, 10);
    let lines = master.lines();
    for pair in lines.windows(2).filter(|pair| is_alive(&pair[0])) {
        assert!(is_request(&pair[1]), "after the ACK of ALIVE it asks: {pair:?}");
        assert_eq!(keys(&pair[1]), ["TASK", "WORKER_UUID"]);
    }
    queue.push(json!("late"));
    master.wait_count("STATUS OK", 11, is_ok);
}

#[test]
fn the_same_with_one_message_a_connection() {
    let queue = Queue::of([json!("1"), json!("2")]);
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| {
        let Some(line) = talk.hear() else { return };
        let answer = if is_request(&line) { serves.next() } else { ack() };
        talk.say(&answer);
    });
    let _worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS OK", 2, is_ok);
    assert_done_once(&master, 2);
}

#[test]
fn a_master_that_never_acknowledges_a_status() {
    for closes in [false, true] {
        let queue = Queue::of([json!("1"), json!("2")]);
        let serves = queue.clone();
        let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| {
            while let Some(line) = talk.hear() {
                if is_alive(&line) {
                    let answer = serves.next();
                    talk.say(&answer);
                } else if closes {
                    return;
                }
            }
        });
        let worker = start_worker(&[&master], &[]);
        master.wait_count("STATUS OK", 2, is_ok);
        let before = master.count(is_alive);
        master.wait_count("ALIVE", before + 2, is_alive);
        assert_done_once(&master, 2);
        assert!(!worker.stderr.text().contains("FALLBACK"), "{}", worker.stderr.text());
    }
}

#[test]
fn a_master_in_lower_case_that_reads_nothing_else() {
    let queue = ten();
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "master_1", true, move |talk| {
        while let Some(line) = talk.hear() {
            assert!(line["worker_uuid"].is_string(), "{line}");
            let answer = match (line["worker"].as_str(), line["status"].as_str()) {
                (Some("alive"), _) => {
                    serves.pop().map_or(json!({"task": "no_task"}), |user| json!({"task": "query", "user": user}))
                }
                (None, Some("ok")) if line["task"] == "query" => json!({"status": "ack"}),
                _ => panic!("{line}"),
            };
            talk.say(&answer);
        }
    });
    let _worker = start_worker(&[&master], &[]);
    let is_done = |line: &Value| line["status"] == "ok";
    master.wait_count("status ok", 10, is_done);
    watch(Duration::from_millis(400), || assert_eq!(master.count(is_done), 10));
    let all = ["worker", "worker_host", "worker_port", "worker_uuid"];
    assert_eq!(keys(master.lines().last().expect("some")), all);
}

#[test]
fn a_master_that_reads_known_keys_only_and_answers_what_it_does_not_know_with_nothing() {
    // As a chain of `if message.get(...) ==` does, the task before the status and the worker last.
    let queue = ten();
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| {
        while let Some(line) = talk.hear() {
            let (worker, status) = (line.get("WORKER"), line.get("STATUS"));
            if worker == Some(&json!("ALIVE")) {
                let answer = serves.next();
                talk.say(&answer);
            } else if status == Some(&json!("OK")) || status == Some(&json!("NOK")) {
                talk.say(&ack());
            }
        }
    });
    let _worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS OK", 10, is_ok);
    assert_done_once(&master, 10);
}

#[test]
fn a_master_that_never_sends_a_newline() {
    let queue = Queue::of([json!("1"), json!("2")]);
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| {
        while let Some(line) = talk.hear() {
            let answer = official(&serves, &line).to_string();
            talk.send(&answer);
        }
    });
    let _worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS OK", 2, is_ok);
    assert_done_once(&master, 2);
}

#[test]
fn users_in_a_list_are_looked_up_and_nonsense_is_nok() {
    let queue = Queue::of([json!(["1", "2"]), json!({"no": "user"}), json!(7)]);
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| keep(&serves, talk));
    let _worker = start_worker(&[&master], &[]);
    master.wait_count("STATUS", 3, is_status);
    let words: Vec<Value> = master.lines().into_iter().filter(is_status).map(|line| line["STATUS"].clone()).collect();
    assert_eq!(words, ["OK", "NOK", "OK"]);
}

#[test]
fn a_master_that_answers_no_heartbeats_is_served_all_the_same() {
    let queue = ten();
    let serves = queue.clone();
    let master = FakeMaster::start(free_port(), "MASTER_1", false, move |talk| keep(&serves, talk));
    let worker = start_worker(&[&master], &[]);
    master.wait_count("HEARTBEAT", 1, is_beat);
    master.wait_count("STATUS OK", 10, is_ok);
    // Much longer than the timeout: silence of heartbeats alone says nothing of such a master.
    watch(Duration::from_secs(3), || {});
    queue.push(json!("late"));
    master.wait_count("STATUS OK", 11, is_ok);
    assert!(!worker.stderr.text().contains("FALLBACK"), "{}", worker.stderr.text());
}

#[test]
fn heartbeats_of_sprint_1_come_every_interval_with_a_sender() {
    let queue = Queue::default();
    let master = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| keep(&queue, talk));
    let _worker = start_worker(&[&master], &[]);
    master.wait_count("HEARTBEAT", 10, is_beat);
    let beats: Vec<Value> = master.noted().into_iter().map(|noted| noted.line).filter(is_beat).collect();
    let last = beats.last().expect("ten");
    assert_eq!(keys(last), ["SERVER_UUID", "TASK"], "in the form of the answer: {last}");
    let me = master.lines()[0]["WORKER_UUID"].clone();
    assert_eq!(last["SERVER_UUID"], me);
}

#[test]
fn the_second_master_is_served_when_the_first_one_dies() {
    let (ones, twos) = (Queue::of([json!("1")]), Queue::of([json!("2")]));
    let (first, second) = (ones.clone(), twos.clone());
    let one = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| keep(&first, talk));
    let two = FakeMaster::start(free_port(), "MASTER_2", true, move |talk| keep(&second, talk));
    let worker = start_worker(&[&one, &two], &[]);
    one.wait_count("STATUS OK", 1, is_ok);
    assert!(two.noted().is_empty(), "one master at a time");
    let address = one.address();
    drop(one);
    two.wait_count("STATUS OK", 1, is_ok);
    wait_log(&worker, &["FALLBACK", &address]);
    wait_until("the log to say whom it works for", || {
        worker.stderr.lines().iter().any(|line| line.contains("works for") && line.contains(&two.address()))
    });
}

#[test]
fn a_master_that_is_silent_is_given_up_for_one_that_answers() {
    let queue = Queue::of([json!("2")]);
    let serves = queue.clone();
    let mute = FakeMaster::start(free_port(), "MASTER_1", false, |talk| while talk.hear().is_some() {});
    let two = FakeMaster::start(free_port(), "MASTER_2", true, move |talk| keep(&serves, talk));
    let worker = start_worker(&[&mute, &two], &[]);
    two.wait_count("STATUS OK", 1, is_ok);
    wait_log(&worker, &["FALLBACK", &mute.address(), "5 s"]);
}

/// Two neighbouring ports on which nobody listens.
fn port_and_next() -> (u16, u16) {
    loop {
        let port = free_port();
        if std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return (port, port + 1);
        }
    }
}

#[test]
fn a_master_that_serves_workers_on_the_port_after_its_own_is_served_there_and_found_by_discovery_too() {
    for discovered in [false, true] {
        let (queue, (port, next)) = (ten(), port_and_next());
        let serves = queue.clone();
        // Masters speak on the first port; workers have a room of their own, where nobody answers heartbeats.
        let front = FakeMaster::start(port, "MASTER_1", true, |talk| {
            while let Some(line) = talk.hear() {
                assert_eq!(line["TASK"], "HEARTBEAT", "here is nothing for workers");
            }
        });
        let room = FakeMaster::start(next, "MASTER_1", false, move |talk| {
            while let Some(line) = talk.hear() {
                if line["TYPE"] != "ELECTION_ACK" {
                    let answer = official(&serves, &line);
                    talk.say(&answer);
                }
            }
        });
        let udp = free_port();
        let _beacon = discovered.then(|| Beacon::start(udp, Some(reply("MASTER_1", next))));
        let worker = if discovered { start_discovering(udp) } else { start_worker(&[&room], &[]) };
        room.wait_count("STATUS OK", 10, is_ok);
        assert!(front.noted().is_empty(), "{:?}", front.noted());
        assert!(!worker.stderr.text().contains("FALLBACK"), "{}", worker.stderr.text());
    }
}
