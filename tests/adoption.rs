//! Workers whose owner is gone, as real processes: they go on elsewhere, are adopted by the word of the ledger, and do not move back.

mod support;

use serde_json::{Value, json};

use support::farm::worker_command;
use support::group::Masters;
use support::process::Process;
use support::{wait_for, wait_until};

/// An owner counts as gone for good after three seconds.
const OPTIONS: [&str; 6] = ["--interval", "0.2", "--timeout", "1", "--forget-owner", "3"];

/// The worker of this name at a master, if it is there.
fn worker(masters: &Masters, nth: usize, name: &str) -> Option<Value> {
    let answer = masters.ask(nth, &json!({"TASK": "WORKERS"}));
    answer["WORKERS"].as_array()?.iter().find(|worker| worker["NAME"] == name).cloned()
}

/// The id of a master.
fn id(masters: &Masters, nth: usize) -> String {
    masters.ask(nth, &json!({"TASK": "HELLO"}))["SERVER_ID"].as_str().expect("an id").to_owned()
}

fn join(masters: &Masters, nth: usize, name: &str, options: &[&str]) -> Process {
    let quick = ["--interval", "0.2", "--timeout", "1"];
    let all: Vec<&str> = quick.iter().chain(options).copied().collect();
    let process = Process::spawn(&mut worker_command(&masters.address(nth), name, &all));
    wait_until(&format!("{name} to be at home at m{nth}"), || {
        worker(masters, nth, name).is_some_and(|worker| worker["STATUS"] == "IDLE" && worker["OWNER"].is_null())
    });
    process
}

#[test]
fn orphans_spread_over_the_masters_that_adopt_them_and_do_not_move_back() {
    let mut masters = Masters::started(3, &OPTIONS);
    let names = ["w1", "w2", "w3", "w4"];
    let workers: Vec<Process> = names.iter().map(|name| join(&masters, 0, name, &[])).collect();
    let owner = id(&masters, 0);
    masters.kill(0);
    // Guests first, that say whose they are and already work.
    for name in names {
        let guest = wait_for("the worker to be elsewhere", || (1..3).find_map(|nth| worker(&masters, nth, name)));
        assert!(guest["OWNER"] == owner.as_str() || guest["OWNER"].is_null(), "{guest}");
    }
    let own = |masters: &Masters, nth: usize| {
        names.into_iter().filter(|name| worker(masters, nth, name).is_some_and(|it| it["OWNER"].is_null())).count()
    };
    wait_until("each of the two to adopt two", || own(&masters, 1) == 2 && own(&masters, 2) == 2);
    let ledger = masters.ask(1, &json!({"TASK": "AGREE"})).to_string();
    assert!(ledger.contains("adopts the worker"), "{ledger}");
    let decisions = masters.ask(1, &json!({"TASK": "WHY"}))["DECISIONS"].to_string();
    assert_eq!(
        decisions.matches(", generation 1").count(),
        4,
        "each that was here or is now is a decision: {decisions}"
    );
    // The owner is back: it reads the ledger, and its workers are others' now.
    masters.start(0);
    wait_until("the first to follow", || masters.ask(0, &json!({"TASK": "ELECT"}))["QUORUM"] == true);
    let sleep = json!({"TASK": "SUBMIT", "SERVICE": "sleep", "PARAMS": {"ms": 10}, "WAIT_MS": 20_000});
    for nth in [1, 2] {
        assert_eq!(masters.ask(nth, &sleep)["STATUS"], "OK");
    }
    assert_eq!([0, 1, 2].map(|nth| own(&masters, nth)), [0, 2, 2]);
    drop(workers);
}

#[test]
fn a_worker_that_was_started_anew_at_its_former_owner_is_sent_to_who_adopted_it() {
    let mut masters = Masters::started(3, &OPTIONS);
    let state = tempfile::tempdir().expect("a directory");
    let data = state.path().to_str().expect("plain letters");
    let start = |masters: &Masters| {
        let quick = ["--interval", "0.2", "--timeout", "1", "--name", "w1", "--port", "0", "--data-dir", data];
        let master = masters.address(0);
        let all: Vec<&str> = ["worker", "--master", master.as_str()].into_iter().chain(quick).collect();
        Process::spawn(&mut support::process::command(all))
    };
    let mut process = start(&masters);
    wait_until("w1 to be at home", || worker(&masters, 0, "w1").is_some());
    masters.kill(0);
    let adopter = wait_for("w1 to be adopted", || {
        (1..3).find(|nth| worker(&masters, *nth, "w1").is_some_and(|it| it["OWNER"].is_null()))
    });
    process.kill();
    masters.start(0);
    wait_until("the first to follow", || masters.ask(0, &json!({"TASK": "ELECT"}))["QUORUM"] == true);
    let _process = start(&masters);
    wait_until("w1 to be at its new owner", || {
        worker(&masters, adopter, "w1").is_some_and(|it| it["OWNER"].is_null() && it["STATUS"] == "IDLE")
            && worker(&masters, 0, "w1").is_none()
    });
}

#[test]
fn an_owner_that_is_back_in_time_has_its_workers_again() {
    let mut masters = Masters::new(3, &["--interval", "0.2", "--timeout", "1", "--forget-owner", "600"]);
    (0..3).for_each(|nth| masters.start(nth));
    masters.wait_voters(3);
    let _worker = join(&masters, 0, "w1", &[]);
    masters.kill(0);
    wait_until("w1 to be a guest", || (1..3).any(|nth| worker(&masters, nth, "w1").is_some()));
    masters.start(0);
    wait_until("w1 to be at home again", || {
        worker(&masters, 0, "w1").is_some_and(|it| it["OWNER"].is_null() && it["STATUS"] == "IDLE")
    });
    let ledger = masters.ask(1, &json!({"TASK": "AGREE"})).to_string();
    assert!(!ledger.contains("adopts"), "{ledger}");
}
