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

/// Masters that lend, in a group of three with leases of two seconds.
const LENDING: [&str; 20] = [
    "--interval",
    "0.2",
    "--timeout",
    "1",
    "--forget-owner",
    "4",
    "--lease",
    "2",
    "--grace",
    "1",
    "--hold",
    "0.1",
    "--capacity",
    "4",
    "--release",
    "2",
    "--cooldown",
    "0.2",
    "--cpu-threshold",
    "0",
];

/// Three masters, of which the one that has w1 lends it to the one that has a1 and many jobs. `leader`: who of the two leads.
fn lent(leader: Side) -> (Masters, [usize; 3], [Process; 2], Vec<String>) {
    let options: Vec<&str> = LENDING.iter().chain(&["--keep", "0"]).copied().collect();
    let masters = Masters::started(3, &options);
    let first = masters.wait_leader();
    let (second, third) = ((first + 1) % 3, (first + 2) % 3);
    let (owner, borrower) = match leader {
        Side::Owner => (first, second),
        Side::Borrower => (second, first),
    };
    let workers = [join(&masters, owner, "w1", &["--slots", "1"]), join(&masters, borrower, "a1", &["--slots", "1"])];
    let sleep = json!({"TASK": "SUBMIT", "SERVICE": "sleep", "PARAMS": {"ms": 100}});
    let jobs = (0..150).map(|_| {
        let answer = masters.ask(borrower, &sleep);
        answer["JOB_ID"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    });
    let jobs = jobs.collect();
    wait_until("w1 to work for the borrower, as the group has agreed", || {
        let loans = masters.ask(borrower, &json!({"TASK": "LOANS"}));
        loans["LOANS"].as_array().is_some_and(|all| {
            all.iter().any(|loan| loan["STATUS"] == "ACTIVE" && loan["AGREED"] == true && loan["DIRECTION"] == "IN")
        })
    });
    (masters, [owner, borrower, third], workers, jobs)
}

/// Who leads the group when its worker is lent.
#[derive(Clone, Copy)]
enum Side {
    Owner,
    Borrower,
}

/// Loans that the ledger of this master holds.
fn open_loans(masters: &Masters, nth: usize) -> Vec<Value> {
    let answer = masters.ask(nth, &json!({"TASK": "LOANS"}));
    let all = answer["LOANS"].as_array().expect("a list").clone();
    all.into_iter().filter(|loan| loan["STATUS"] != "ENDED").collect()
}

#[test]
fn a_lent_worker_whose_owner_leads_and_dies_serves_out_its_lease_is_adopted_and_stays() {
    let (mut masters, [owner, borrower, third], workers, jobs) = lent(Side::Owner);
    masters.kill(owner);
    let adopter = wait_for("w1 to be adopted", || {
        [borrower, third].into_iter().find(|nth| worker(&masters, *nth, "w1").is_some_and(|it| it["OWNER"].is_null()))
    });
    masters.start(owner);
    wait_until("the owner to follow", || masters.ask(owner, &json!({"TASK": "ELECT"}))["QUORUM"] == true);
    for job in &jobs {
        let result = masters.ask(borrower, &json!({"TASK": "RESULT", "JOB_ID": job, "WAIT_MS": 20_000}));
        assert_eq!(result["STATUS"], "OK", "{result}");
    }
    // It may be lent anew by who has adopted it; its first owner has lost it for good.
    wait_until("all loans to be over", || {
        [owner, borrower, third].iter().all(|nth| open_loans(&masters, *nth).is_empty())
    });
    wait_until("w1 to be at home", || {
        worker(&masters, adopter, "w1").is_some_and(|it| it["OWNER"].is_null() && it["STATUS"] == "IDLE")
    });
    let counts = masters.ask(owner, &json!({"TASK": "LOANS"}));
    assert_eq!((&counts["LOCAL"], &counts["LENT"]), (&json!(0), &json!(0)), "{counts}");
    drop(workers);
}

#[test]
fn when_a_borrower_dies_that_leads_its_guest_goes_home_and_the_others_note_the_end() {
    let (mut masters, [owner, borrower, third], workers, jobs) = lent(Side::Borrower);
    masters.kill(borrower);
    wait_until("w1 to be at home", || {
        worker(&masters, owner, "w1").is_some_and(|it| it["OWNER"].is_null() && it["STATUS"] == "IDLE")
    });
    let ended = || masters.ask(third, &json!({"TASK": "AGREE"})).to_string().contains(" is over: ");
    wait_until("the ledger to note it", || open_loans(&masters, owner).is_empty() && ended());
    masters.start(borrower);
    for job in &jobs {
        let result = wait_for("the borrower to answer", || {
            let result = masters.ask(borrower, &json!({"TASK": "RESULT", "JOB_ID": job, "WAIT_MS": 20_000}));
            (result["RESPONSE"] == "OK").then_some(result)
        });
        assert_eq!(result["STATUS"], "OK", "{result}");
    }
    wait_until("all loans to be over", || {
        [owner, borrower, third].iter().all(|nth| open_loans(&masters, *nth).is_empty())
    });
    drop(workers);
}
