//! The recorded conversation of two nodes of the seed, replayed with our node in the place of either; and what workers
//! and masters were recorded to say.
//!
//! `fixtures/seed.ndjson` holds the lines of the recording `seed.ndjson` that are about data, in their order: when,
//! on which connection, from whom, and the exact text.

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mutirao::wire::{Body, decode, decode_datagram};
use serde_json::{Value, json};
use support::fake_peer::Closing;
use support::farm::{Master, worker_command};
use support::ports::free_port;
use support::process::Process;
use support::student::{FakeMaster, Student, Talk};
use support::wait::pause;
use support::{FakePeer, NodeProcess, wait_until};

const SEED: &str = include_str!("fixtures/seed.ndjson");

/// One exchange on one connection of the recording.
struct Exchange {
    asker: String,
    request: String,
    answer: String,
}

fn exchanges() -> Vec<Exchange> {
    let mut connections: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in SEED.lines() {
        let record: Value = serde_json::from_str(line).expect("a recording is JSON lines");
        connections.entry(record["conn"].as_u64().expect("conn is a number")).or_default().push(record);
    }
    let text = |record: &Value, key: &str| record[key].as_str().expect("a string").to_owned();
    let exchange = |records: Vec<Value>| {
        let [request, answer] = &records[..] else { panic!("expected one request and one answer, got {records:?}") };
        assert_eq!((&request["dir"], &answer["dir"]), (&"c>s".into(), &"s>c".into()));
        Exchange { asker: text(request, "from"), request: text(request, "raw"), answer: text(answer, "raw") }
    };
    connections.into_values().map(exchange).collect()
}

#[test]
fn every_recorded_request_gets_the_recorded_answer_with_our_id() {
    let exchanges = exchanges();
    assert_eq!(exchanges.len(), 7, "the recording has seven heartbeats");
    for place in ["nodeA", "nodeB"] {
        let node = NodeProcess::start(&[]);
        let id = node.server_id();
        for exchange in exchanges.iter().filter(|exchange| exchange.asker != place) {
            let mut recorded: Value = serde_json::from_str(&exchange.answer).expect("an answer is JSON");
            recorded["SERVER_ID"] = id.clone().into();
            let mut client = node.client();
            client.send(exchange.request.as_bytes()).unwrap();
            assert_eq!(client.json(), recorded, "in the place of {place}");
            // The seed's client closes its end after the answer; nothing more may come.
            client.finish();
            assert_eq!(client.until_closed(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_recorded_peer_is_alive_while_it_answers_and_timeout_once_it_is_killed() {
    for place in ["nodeA", "nodeB"] {
        let exchanges = exchanges();
        // What our node hears in this place: the answers to the requests that this place sent.
        let exchange = exchanges.iter().find(|exchange| exchange.asker == place).expect("both places asked");
        let peer = FakePeer::start(free_port(), exchange.answer.trim_end(), Closing::AfterAnswer);
        let address = peer.address();
        // The recording's 2 s and 6 s, ten and five times as fast.
        let node = NodeProcess::start(&["--peer", &address, "--interval", "0.2", "--timeout", "1.2"]);
        let mut stream = node.client();
        stream.ask(r#"{"TASK":"EVENTS"}"#);
        node.wait_status(&address, "ALIVE");
        // Longer than the timeout by far: were the closes failures, it would show.
        wait_until("fifteen heartbeats to be answered", || peer.heard().len() >= 15);
        assert_eq!(node.status_of(&address).as_deref(), Some("ALIVE"));
        let log = node.process.stderr.text();
        assert!(!log.contains("TIMEOUT") && !log.contains("WARN"), "a close after an answer is no failure: {log}");

        let recorded: Value = serde_json::from_str(&exchange.answer).expect("an answer is JSON");
        let entry = node.nodes().into_iter().find(|entry| entry["ADDRESS"] == *address).expect("a configured peer");
        assert_eq!(entry["SERVER_ID"], recorded["SERVER_ID"]);

        drop(peer);
        node.wait_status(&address, "TIMEOUT");
        let mut kinds = Vec::new();
        while kinds.last().is_none_or(|kind| kind != "PEER_TIMEOUT") {
            kinds.push(stream.json()["EVENT"].as_str().expect("an event has a kind").to_owned());
        }
        let timeouts = kinds.iter().filter(|kind| *kind == "PEER_TIMEOUT").count();
        assert_eq!(timeouts, 1, "{kinds:?}");
    }
}

#[test]
fn what_the_node_asks_is_understood_by_a_reader_of_the_seed() {
    let exchange = &exchanges()[0];
    let peer = FakePeer::start(free_port(), exchange.answer.trim_end(), Closing::AfterAnswer);
    let told = format!("{},dialect=seed", peer.address());
    let node = NodeProcess::start(&["--peer", &told, "--interval", "0.2", "--timeout", "2"]);
    node.wait_status(&peer.address(), "ALIVE");
    let recorded: Value = serde_json::from_str(&exchange.request).expect("a request is JSON");
    for line in peer.heard() {
        assert_eq!(serde_json::from_str::<Value>(&line).expect("a heartbeat is JSON"), recorded);
    }
}

/// Every different line of the worker cycle, and every datagram of discovery, of the recordings `2025-2-pushed`,
/// `2026-1-dialled` and `2026-1-queued`.
const CYCLE: &str = include_str!("fixtures/cycle.ndjson");

#[test]
fn every_recorded_line_of_the_worker_cycle_is_understood() {
    let (mut lines, mut datagrams) = (0, 0);
    for line in CYCLE.lines() {
        let record: Value = serde_json::from_str(line).expect("a recording is JSON lines");
        let raw = record["raw"].as_str().expect("a string");
        if record["ev"] == "udp" {
            let from = "127.0.0.1:20305".parse().expect("an address");
            decode_datagram(raw.as_bytes(), from).unwrap_or_else(|error| panic!("{raw}: {error}"));
            datagrams += 1;
            continue;
        }
        let body = decode(raw.as_bytes()).unwrap_or_else(|error| panic!("{raw}: {error:?}")).body;
        let json: Value = serde_json::from_str(raw).expect("a line is JSON");
        let found = match &body {
            Body::WorkerAlive(alive) => {
                assert_eq!((alive.native.is_none(), alive.owner.as_deref()), (true, json["SERVER_UUID"].as_str()));
                json["WORKER"] == "ALIVE" && json["WORKER_UUID"] == alive.worker.as_str()
            }
            Body::Query { user } => json["TASK"] == "QUERY" && json["USER"] == user.value(),
            Body::NoTask => json["TASK"] == "NO_TASK",
            Body::KeepAlive => json["TASK"] == "KEEPALIVE",
            Body::WorkerStatus(status) => {
                let saldo = status.result.as_ref().map(|result| result.value()["SALDO"].clone());
                assert_eq!(saldo, json.get("SALDO").cloned(), "{raw}");
                json["STATUS"] == if status.ok { "OK" } else { "NOK" }
            }
            Body::StatusAck(ack) => {
                assert_eq!(ack.worker.as_ref().map(|id| id.as_str()), json["WORKER_UUID"].as_str());
                json["STATUS"] == "ACK"
            }
            Body::Pong { .. } => json["STATUS"] == "PONG",
            Body::ElectionAck { selected, .. } => json["SELECTED_MASTER"] == selected.as_str(),
            Body::ElectionAccepted { master } => json["MASTER_NAME"] == master.as_str(),
            _ => false,
        };
        assert!(found, "{raw}: {body:?}");
        lines += 1;
    }
    assert!(lines >= 30 && datagrams >= 3, "{lines} lines and {datagrams} datagrams");
}

/// The lines between workers and masters of the recordings `2025-2-pushed`, `2026-1-dialled` and `2026-1-queued`, in their
/// order, with idle exchanges that repeat more than three times in a row left out.
const TALKS: &str = include_str!("fixtures/worker_talks.ndjson");

/// Recorded seconds are replayed in a twentieth, pauses of at most this.
const LONGEST: Duration = Duration::from_millis(150);

/// One line that was recorded between a worker and a master.
#[derive(Clone, Debug)]
struct Told {
    connection: u64,
    at: f64,
    by_worker: bool,
    raw: String,
    line: Value,
}

/// What one worker and one master of a recording told each other.
#[derive(Debug)]
struct Acquaintance {
    name: String,
    told: Vec<Told>,
}

/// Loans are the next sprint's: a worker that is told to go, goes, registers elsewhere.
fn is_of_loan(line: &Value) -> bool {
    let kind = line["type"].as_str().or(line["TASK"].as_str()).unwrap_or_default();
    ["command_redirect", "command_release", "register_temporary_worker", "REDIRECT", "RETURN"].contains(&kind)
}

/// Everybody's lines without those of loans: the orders (REDIRECT and RETURN, `command_redirect` and `command_release`),
/// the ALIVE that such an order answers, `register_temporary_worker`, and the ACKs to all of these, which carry a
/// `request_id`. Returns with them how many lines were left out.
fn acquaintances() -> (Vec<Acquaintance>, usize) {
    let mut pairs: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for line in TALKS.lines() {
        let record: Value = serde_json::from_str(line).expect("a fixture is JSON lines");
        let text = |key: &str| record[key].as_str().expect("a string").to_owned();
        let name = format!("{} {} {}", text("file"), text("worker"), text("master"));
        let raw = text("raw");
        let line = serde_json::from_str(&raw).expect("a line is JSON");
        // Who dials is not always the worker: some masters dial it with their orders.
        let connection = record["conn"].as_u64().expect("a number");
        let told = Told {
            connection,
            at: record["t"].as_f64().expect("a time"),
            by_worker: record["dir"] == "c>s",
            raw,
            line,
        };
        pairs.entry(name).or_default().push(told);
    }
    let mut left_out = 0;
    let mut all = Vec::new();
    for (name, told) in pairs {
        let mut kept = Vec::new();
        for (place, one) in told.iter().enumerate() {
            let next = told[place + 1..].iter().find(|next| next.connection == one.connection);
            let answered_by_loan = one.line["WORKER"] == "ALIVE" && next.is_some_and(|next| is_of_loan(&next.line));
            if is_of_loan(&one.line) || answered_by_loan || one.line.get("request_id").is_some() {
                left_out += 1;
            } else {
                kept.push(one.clone());
            }
        }
        all.push(Acquaintance { name, told: kept });
    }
    (all, left_out)
}

fn keys(line: &Value) -> Vec<String> {
    line.as_object().expect("an object").keys().cloned().collect()
}

/// Waits as long as the recorded speaker did, compressed.
fn keep_time(last: &mut Option<f64>, at: f64) {
    if let Some(before) = last.replace(at) {
        pause(Duration::from_secs_f64(((at - before) / 20.0).max(0.0)).min(LONGEST));
    }
}

/// Plays a recorded worker against our master. Every answer must have the keys of the recorded one, so that the worker
/// understands it as it did then. Returns how many tasks it did.
fn play_worker(acquaintance: &Acquaintance) -> usize {
    let Acquaintance { name, told } = acquaintance;
    let master = Master::start(&["--attempts", "1"]);
    let mut connections: BTreeMap<u64, Student> = BTreeMap::new();
    let (mut last, mut jobs): (_, Vec<(String, bool)>) = (None, Vec::new());
    let submit = |user: &Value| master.submit("query", json!({ "USER": user }));
    let mut queued: Vec<String> = Vec::new();
    for (place, one) in told.iter().enumerate().filter(|(_, one)| one.by_worker) {
        let here: Vec<&Told> = told[place + 1..].iter().filter(|next| next.connection == one.connection).collect();
        let answer = here.first().filter(|next| !next.by_worker).map(|next| next.line.clone());
        let next_word = here.iter().find(|next| next.by_worker && next.line["STATUS"] != "PONG").map(|next| &next.line);
        let reports_next = next_word.is_some_and(|line| line["TASK"] == "QUERY");
        let student = connections.entry(one.connection).or_insert_with(|| Student::connect(master.node.port));
        keep_time(&mut last, one.at);
        let user =
            || answer.as_ref().filter(|line| line["TASK"] == "QUERY").map_or(json!("1"), |line| line["USER"].clone());
        let context = || format!("{name}: {} was answered {answer:?}", one.raw);
        if one.line["STATUS"] == "PONG" {
            student.send(&one.raw);
        } else if one.line["WORKER"] == "ALIVE" {
            if reports_next {
                queued.push(submit(&user()));
            }
            student.send(&one.raw);
            let heard = student.hear();
            if reports_next {
                assert_eq!(heard, json!({"TASK": "QUERY", "USER": user()}), "{}", context());
            } else {
                assert_eq!(heard, json!({"TASK": "NO_TASK"}), "{}", context());
            }
        } else if one.line["TASK"] == "QUERY" {
            student.send(&one.raw);
            let heard = student.hear();
            assert_eq!(heard["STATUS"], "ACK", "{}", context());
            match &answer {
                Some(recorded) if recorded["STATUS"] == "ACK" => {
                    assert_eq!(keys(&heard), keys(recorded), "{}", context())
                }
                // This master said no ACK; the document of its generation has it (2.5).
                _ => assert_eq!(keys(&heard), ["STATUS", "WORKER_UUID"], "{}", context()),
            }
            jobs.push((queued.pop().expect("a task was queued for it"), one.line["STATUS"] == "OK"));
            if reports_next {
                // Pushed: the worker says nothing more, and reports again.
                queued.push(submit(&user()));
                let heard = student.hear();
                assert_eq!(heard, json!({"TASK": "QUERY", "USER": user()}), "{}", context());
            }
        } else {
            student.send(&one.raw);
            let heard = student.hear();
            let recorded = answer.as_ref().unwrap_or_else(|| panic!("{}", context()));
            assert_eq!(keys(&heard), keys(recorded), "{}", context());
            for key in ["TASK", "RESPONSE", "TYPE", "STATUS"] {
                assert_eq!(heard[key], recorded[key], "{}", context());
            }
        }
    }
    for (job, ok) in &jobs {
        let result = master.result(job);
        assert_eq!(result["STATUS"], if *ok { "OK" } else { "BURIED" }, "{name}: {result}");
    }
    jobs.len()
}

#[test]
fn recorded_workers_understand_our_master() {
    let (all, left_out) = acquaintances();
    assert!(left_out >= 10, "only {left_out} lines of loans are left out");
    let done: Vec<(String, usize)> = thread::scope(|scope| {
        let begun: Vec<_> = all.iter().map(|one| (one, scope.spawn(|| play_worker(one)))).collect();
        begun
            .into_iter()
            .map(|(one, played)| (one.name.clone(), played.join().expect("the worker understands")))
            .collect()
    });
    println!("{done:?}; {left_out} lines of loans are left out");
    assert!(done.len() >= 10 && done.iter().map(|(_, tasks)| tasks).sum::<usize>() >= 40, "{done:?}");
}

/// What a recorded master says to each line of a worker, connection by connection.
type Script = VecDeque<(Value, Vec<String>)>;

/// The connections on which this master served this worker's cycle.
fn scripts(told: &[Told]) -> VecDeque<Script> {
    let mut connections: Vec<u64> = Vec::new();
    for one in told.iter().filter(|one| one.by_worker && one.line["TASK"] != "HEARTBEAT") {
        if !connections.contains(&one.connection) {
            connections.push(one.connection);
        }
    }
    let script = |connection: &u64| {
        let mut script = Script::new();
        for one in told.iter().filter(|one| one.connection == *connection) {
            if one.by_worker {
                script.push_back((one.line.clone(), Vec::new()));
            } else if one.line["TASK"] == "KEEPALIVE" {
                // Unasked: what answers it stands behind.
                script.push_back((Value::Null, vec![one.raw.clone()]));
            } else if let Some((_, answers)) = script.back_mut() {
                answers.push(one.raw.clone());
            }
        }
        script.retain(|(line, _)| line["TASK"] != "HEARTBEAT");
        script
    };
    connections.iter().map(script).collect()
}

/// Says what the recorded master said, until the recorded connection is over.
fn recite(talk: &mut Talk, script: &mut Script, reported: &AtomicUsize) {
    while let Some((expected, answers)) = script.pop_front() {
        if !expected.is_null() {
            let Some(line) = talk.hear() else { return };
            if line["WORKER"] == "ALIVE" && expected["WORKER"] != "ALIVE" {
                // It was not acknowledged and asks again: such a master says nothing to that.
                script.push_front((expected, answers));
                continue;
            }
            for key in ["WORKER", "TASK"] {
                assert_eq!(line[key], expected[key], "the recorded worker said {expected}, ours says {line}");
            }
            if expected["TASK"] == "QUERY" {
                assert!(line["STATUS"] == "OK" || line["STATUS"] == "NOK", "{line}");
                reported.fetch_add(1, Ordering::Relaxed);
            }
        }
        for answer in &answers {
            talk.send(answer);
        }
    }
}

/// Plays a recorded master for our worker. Returns how many tasks that reported.
fn play_master(acquaintance: &Acquaintance) -> usize {
    let scripts = scripts(&acquaintance.told);
    let is_report = |line: &&Value| line["TASK"] == "QUERY" && !line.is_null();
    let tasks: usize = scripts.iter().map(|script| script.iter().map(|(line, _)| line).filter(is_report).count()).sum();
    let reported = Arc::new(AtomicUsize::new(0));
    let beats = acquaintance.told.iter().find(|one| one.line["RESPONSE"] == "ALIVE");
    let beats = beats.map_or("SERVER_1", |one| one.line["SERVER_UUID"].as_str().expect("a name"));
    let left = Mutex::new(scripts);
    let master = {
        let reported = Arc::clone(&reported);
        FakeMaster::start(free_port(), beats, true, move |talk| {
            // A connection of heartbeats takes no script away: nothing else is said on it.
            while let Some(line) = talk.hear() {
                let next = left.lock().expect("no holder of this lock panics").pop_front();
                let Some(mut script) = next else {
                    // The recording is over.
                    if line["WORKER"] == "ALIVE" {
                        talk.say(&json!({"TASK": "NO_TASK"}));
                    }
                    continue;
                };
                let (expected, answers) = script.pop_front().expect("a script begins with a line");
                assert_eq!(line["WORKER"], expected["WORKER"], "the recorded worker said {expected}, ours says {line}");
                for answer in &answers {
                    talk.send(answer);
                }
                recite(talk, &mut script, &reported);
                // As recorded: it closed after its answers, or had sent the worker elsewhere, and a new connection came.
                if !left.lock().expect("no holder of this lock panics").is_empty() {
                    return;
                }
            }
        })
    };
    let options = ["--interval", "0.2", "--timeout", "2"];
    let worker = Process::spawn(&mut worker_command(&master.address(), "w", &options));
    wait_until(&format!("{}: {tasks} tasks", acquaintance.name), || reported.load(Ordering::Relaxed) >= tasks);
    assert!(!worker.stderr.text().contains("FALLBACK"), "{}: {}", acquaintance.name, worker.stderr.text());
    tasks
}

#[test]
fn our_worker_understands_recorded_masters() {
    let (mut all, _) = acquaintances();
    // An election is told to who was discovered; this worker is told its master, and tests/classroom plays elections.
    for one in &mut all {
        let elections: Vec<u64> =
            one.told.iter().filter(|told| told.line["TYPE"] == "ELECTION_ACK").map(|told| told.connection).collect();
        one.told.retain(|told| !elections.contains(&told.connection));
    }
    let done: Vec<(String, usize)> = thread::scope(|scope| {
        let begun: Vec<_> = all.iter().map(|one| (one, scope.spawn(|| play_master(one)))).collect();
        begun
            .into_iter()
            .map(|(one, played)| (one.name.clone(), played.join().expect("the worker understands")))
            .collect()
    });
    println!("{done:?}");
    assert!(done.iter().map(|(_, tasks)| tasks).sum::<usize>() >= 40, "{done:?}");
}
