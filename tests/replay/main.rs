//! The recorded loans of 2025/2 and 2026/1, each replayed with our node in the place of every master and every worker in turn.
//!
//! `fixtures/{2025-2-pushed,2026-1-dialled,2026-1-queued}.ndjson` hold the recordings without the exchanges that repeat: the exact text of
//! each line, who said it to whom and on which connection, in an order in which every line stands behind its causes. Lines of programs that
//! knew nothing of each other may have changed places.

#[path = "../support/mod.rs"]
mod support;

mod compare;
mod recording;
mod stage;
mod wire;

use std::collections::BTreeSet;

use recording::Recording;
use serde_json::{Value, json};
use stage::{Cast, Stage};
use support::Client;
use support::farm::{Master, worker_command};
use support::process::Process;
use support::wait::wait_until;

/// A recording, and how its programs speak.
struct Film {
    text: &'static str,
    dialect: &'static str,
    /// The lender of each worker, and what the lender and the borrower call themselves.
    names: &'static [(&'static str, &'static [&'static str])],
    asks_again: bool,
    one_message: bool,
}

const PUSHED: Film = Film {
    text: include_str!("../fixtures/2025-2-pushed.ndjson"),
    dialect: "2025-2",
    names: &[
        ("masterA", &["SERVER_1"]),
        ("masterB", &["SERVER_2"]),
        ("workerA1", &["W-A1"]),
        ("workerB1", &["W-B1"]),
        ("workerB2", &["W-B2"]),
    ],
    asks_again: false,
    one_message: false,
};

const DIALLED: Film = Film {
    text: include_str!("../fixtures/2026-1-dialled.ndjson"),
    dialect: "2026-1",
    names: &[
        ("masterA", &["A"]),
        ("masterB", &["B"]),
        ("workerA1", &["A1"]),
        ("workerB1", &["B1"]),
        ("workerB2", &["B2"]),
    ],
    asks_again: true,
    one_message: false,
};

const QUEUED: Film = Film {
    text: include_str!("../fixtures/2026-1-queued.ndjson"),
    dialect: "2026-1",
    names: &[
        ("masterA", &["MASTER_8", "MASTER-P2-A433"]),
        ("masterB", &["MASTER_9", "MASTER-P2-362F"]),
        ("workerB1", &["W-866F"]),
        ("workerD", &["W-61CC"]),
    ],
    asks_again: true,
    one_message: true,
};

impl Film {
    fn recording(&self) -> Recording {
        Recording::read(self.text)
    }

    fn cast<'r>(&'r self, recording: &'r Recording, place: &'r str, ours: &str) -> Cast<'r> {
        let names = self.names.iter().find(|(party, _)| *party == place).expect("a party of the recording").1;
        let names = names.iter().map(|name| (*name, ours.to_owned())).collect();
        Cast { recording, place, names, asks_again: self.asks_again, one_message: self.one_message }
    }
}

/// The kinds of the events of a node so far, heard on a stream that was begun before.
fn kinds(events: &mut Client, until: &str) -> Vec<String> {
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != until) {
        kinds.push(events.json()["EVENT"].as_str().expect("an event has a kind").to_owned());
    }
    kinds
}

/// Our master as the saturated one, `masterA`. `jobs`: how many it has.
fn borrows(film: &Film, jobs: usize, borrowed: usize) {
    // How often a saturated master asks is its own affair where one request brings all; the answer to more is that of the recording.
    let again = film.dialect == "2026-1";
    let first = film.recording().said("masterA", "request_help").map(|record| record.conn);
    let asks = |conn: u64, kind: &str| kind.starts_with("re") && Some(conn) != first;
    let recording = film.recording().without(|_, record| {
        let asked = ["request_help", "response_rejected"].contains(&record.kind.as_str());
        again && asked && asks(record.conn, &record.kind)
    });
    let mut stage = Stage::new(film.cast(&recording, "masterA", "ours"));
    let peer = format!("{},dialect={}", stage.address("masterB"), film.dialect);
    let options = ["--capacity", "1", "--release", "1", "--hold", "0", "--cooldown", "0", "--interval", "0.2"];
    let node = Master::start(&[&options[..], &["--timeout", "3", "--attempts", "1", "--peer", &peer]].concat());
    let id = node.node.server_id();
    let mut stage_names = film.cast(&recording, "masterA", &id).names;
    std::mem::swap(stage.names(), &mut stage_names);
    stage.ours_is_at(node.node.port);
    let mut events = node.node.client();
    events.ask(r#"{"TASK":"EVENTS"}"#);
    let address = stage.address("masterB");
    stage.play_until("masterB to be ALIVE", || node.node.status_of(&address).as_deref() == Some("ALIVE"));
    let submitted: Vec<String> =
        (0..jobs).map(|nth| node.submit("query", json!({ "USER": format!("user-{nth}") }))).collect();
    stage.play(&mut |_| ());
    let over = || {
        let loans = node.ask(&json!({"TASK": "LOANS"}));
        (&loans["BORROWED"], &loans["LENT"]) == (&json!(0), &json!(0))
    };
    stage.play_until("the loan to be over", over);
    for job in &submitted {
        let ended = |status: &Value| status == "OK" || status == "BURIED";
        stage.play_until("every job to end", || ended(&node.ask(&json!({"TASK": "RESULT", "JOB_ID": job}))["STATUS"]));
    }
    let kinds = kinds(&mut events, "WORKER_RETURNED");
    for kind in ["SATURATED", "LOAN_ASKED", "LOAN_ACCEPTED", "WORKER_BORROWED"] {
        assert!(kinds.iter().any(|one| one == kind), "no {kind} in {kinds:?}");
    }
    let came = kinds.iter().filter(|kind| *kind == "WORKER_BORROWED").count();
    assert_eq!(came, borrowed, "{kinds:?}");
}

/// Our master as the one that lends, `masterB`. `renamed`: what played workers are called instead, where the choice of our node goes by names.
fn lends(film: &Film, lent: usize, renamed: &[(&'static str, &str)]) {
    let recording = film.recording();
    let mut stage = Stage::new(film.cast(&recording, "masterB", "ours"));
    let peer = format!("{},dialect={}", stage.address("masterA"), film.dialect);
    let options = ["--keep", "0", "--interval", "0.2", "--timeout", "3", "--attempts", "1", "--peer", &peer];
    let node = Master::start(&options);
    let id = node.node.server_id();
    let mut names = film.cast(&recording, "masterB", &id).names;
    names.extend(renamed.iter().map(|(recorded, ours)| (*recorded, (*ours).to_owned())));
    std::mem::swap(stage.names(), &mut names);
    stage.ours_is_at(node.node.port);
    let mut events = node.node.client();
    events.ask(r#"{"TASK":"EVENTS"}"#);
    let address = stage.address("masterA");
    stage.play_until("masterA to be ALIVE", || node.node.status_of(&address).as_deref() == Some("ALIVE"));
    stage.play(&mut |user| drop(node.submit("query", json!({ "USER": user }))));
    stage.play_until("the loan to be over", || node.ask(&json!({"TASK": "LOANS"}))["LENT"] == 0);
    let workers = node.ask(&json!({"TASK": "WORKERS"}));
    let owned = |worker: &Value| worker["OWNER"].is_null();
    let at_home = workers["WORKERS"].as_array().expect("a list").iter().filter(|worker| owned(worker)).count();
    assert_eq!(at_home, lent, "{workers}");
    let mut heard = kinds(&mut events, "WORKER_RETURNED");
    while heard.iter().filter(|kind| *kind == "WORKER_RETURNED").count() < lent {
        heard.extend(kinds(&mut events, "WORKER_RETURNED"));
    }
    let count = |kind: &str| heard.iter().filter(|one| *one == kind).count();
    assert_eq!((count("WORKER_LENT"), count("WORKER_RETURNED")), (lent, lent), "{heard:?}");
    assert!(count("LOAN_ACCEPTED") >= 1, "{heard:?}");
}

/// Our worker in the place of one; `home`: its master. `lent`: it goes to the other and comes back.
fn works(film: &Film, place: &str, home: &str, lent: bool) {
    // Whom it was told needs no election; tests/classroom plays those.
    let recording = film
        .recording()
        .without(|_, record| record.kind.starts_with("ELECTION_ACK") && (record.from == place || record.to == place));
    let mut stage = Stage::new(film.cast(&recording, place, "ours"));
    let (own, other) = (stage.address(home), stage.address(if home == "masterA" { "masterB" } else { "masterA" }));
    let options = ["--interval", "0.2", "--timeout", "3"];
    let worker = Process::spawn(&mut worker_command(&own, "w", &options));
    stage.play(&mut |_| ());
    let text = || worker.stderr.text();
    assert!(!text().contains("FALLBACK"), "{}", text());
    let joined = |address: &str| format!("works for a foreign master at {address}");
    // What it has read last it may not have logged yet.
    if lent {
        let (away, back) = (joined(&other), joined(&own));
        wait_until("it to be home again", || text().find(&away).is_some_and(|away| text().rfind(&back) > Some(away)));
    }
    let places: Vec<usize> = text().match_indices("works for a").map(|(at, _)| at).collect();
    assert!(text().contains(&joined(&own)) && !places.is_empty(), "{}", text());
    assert_eq!(text().contains(&joined(&other)), lent, "{}", text());
    if lent {
        let (away, back) = (text().find(&joined(&other)), text().rfind(&joined(&own)));
        assert!(away < back, "it is home again: {}", text());
    }
}

#[test]
fn of_2025_2_pushed_we_are_the_borrower() {
    borrows(&PUSHED, 8, 2);
}

#[test]
fn of_2025_2_pushed_we_are_the_lender() {
    lends(&PUSHED, 2, &[("W-B2", "W-B0")]);
}

#[test]
fn of_2025_2_pushed_we_are_the_first_worker_that_is_lent() {
    works(&PUSHED, "workerB2", "masterB", true);
}

#[test]
fn of_2025_2_pushed_we_are_the_second_worker_that_is_lent() {
    works(&PUSHED, "workerB1", "masterB", true);
}

#[test]
fn of_2025_2_pushed_we_are_the_borrowers_own_worker() {
    works(&PUSHED, "workerA1", "masterA", false);
}

#[test]
fn of_2026_1_dialled_we_are_the_borrower() {
    borrows(&DIALLED, 8, 2);
}

#[test]
fn of_2026_1_dialled_we_are_the_lender() {
    lends(&DIALLED, 2, &[]);
}

#[test]
fn of_2026_1_dialled_we_are_the_first_worker_that_is_lent() {
    works(&DIALLED, "workerB1", "masterB", true);
}

#[test]
fn of_2026_1_dialled_we_are_the_second_worker_that_is_lent() {
    works(&DIALLED, "workerB2", "masterB", true);
}

#[test]
fn of_2026_1_dialled_we_are_the_borrowers_own_worker() {
    works(&DIALLED, "workerA1", "masterA", false);
}

#[test]
fn of_2026_1_queued_we_are_the_borrower() {
    borrows(&QUEUED, 6, 1);
}

#[test]
fn of_2026_1_queued_we_are_the_lender() {
    lends(&QUEUED, 1, &[]);
}

#[test]
fn of_2026_1_queued_we_are_the_worker_that_is_lent() {
    works(&QUEUED, "workerB1", "masterB", true);
}

#[test]
fn of_2026_1_queued_we_are_the_borrowers_own_worker() {
    works(&QUEUED, "workerD", "masterA", false);
}

#[test]
fn every_party_of_every_recording_is_one_that_the_tests_above_take_the_place_of() {
    for film in [&PUSHED, &DIALLED, &QUEUED] {
        let recording = film.recording();
        let parties: BTreeSet<&str> = recording.records.iter().map(|record| record.from.as_str()).collect();
        let named: BTreeSet<&str> = film.names.iter().map(|(party, _)| *party).collect();
        assert_eq!(parties, named);
        assert!(recording.records.iter().any(|record| recording::is_order(&record.kind)), "a loan is in it");
    }
}
