//! A loan in which anybody dies at any time: each party of it is killed with SIGKILL at each of its steps, or suspended beyond the lease.
//! No accepted job is lost, every loan ends, and the worker ends at home. The table of docs/testing.md names every cell.
#![cfg(target_os = "linux")]

mod support;

use std::fs;

use serde_json::json;
use support::lending::{Lab, Party, Step};
use support::wait::wait_until;

/// One cell: the loan is held at a step, a party is killed, the others deal with it, it is started anew, and all ends well.
fn cell(step: Step, victim: Party, first: First) {
    let mut lab = Lab::start();
    lab.reach(step);
    lab.party(victim).kill();
    for party in [Party::Borrower, Party::Owner, Party::Worker] {
        lab.party(party).resume();
    }
    lab.watch();
    match first {
        First::Restart => {}
        First::Home => lab.wait_home(),
        First::Done => {
            lab.open_all();
            lab.wait_borrower_done();
        }
    }
    lab.party(victim).start();
    lab.settle();
}

/// What comes before the victim is started anew.
enum First {
    /// Nothing: it is back before anybody counts it as TIMEOUT.
    Restart,
    /// The worker is at home, and its owner counts it as such: the borrower is dead.
    Home,
    /// The borrower's jobs are done, and no loan goes on there: another one is dead.
    Done,
}

macro_rules! cells {
    ($($name:ident: $step:ident, $party:ident, $first:ident;)*) => {
        $(
            #[test]
            fn $name() {
                cell(Step::$step, Party::$party, First::$first);
            }
        )*

        const CELLS: &[(&str, Step, Party)] = &[$((stringify!($name), Step::$step, Party::$party)),*];
    };
}

cells! {
    asked_and_the_borrower_dies: Asked, Borrower, Home;
    asked_and_the_owner_dies: Asked, Owner, Done;
    asked_and_the_worker_dies: Asked, Worker, Restart;
    agreed_and_the_borrower_dies: Agreed, Borrower, Home;
    agreed_and_the_owner_dies: Agreed, Owner, Restart;
    agreed_and_the_worker_dies: Agreed, Worker, Done;
    redirected_and_the_borrower_dies: Redirected, Borrower, Home;
    redirected_and_the_owner_dies: Redirected, Owner, Done;
    redirected_and_the_worker_dies: Redirected, Worker, Restart;
    working_and_the_borrower_dies: Working, Borrower, Home;
    working_and_the_owner_dies: Working, Owner, Done;
    working_and_the_worker_dies: Working, Worker, Done;
    renewing_and_the_borrower_dies: Renewing, Borrower, Restart;
    renewing_and_the_owner_dies: Renewing, Owner, Restart;
    renewing_and_the_worker_dies: Renewing, Worker, Restart;
    leaving_and_the_borrower_dies: Leaving, Borrower, Restart;
    leaving_and_the_owner_dies: Leaving, Owner, Done;
    leaving_and_the_worker_dies: Leaving, Worker, Done;
    recalled_and_the_borrower_dies: Recalled, Borrower, Home;
    recalled_and_the_owner_dies: Recalled, Owner, Restart;
    recalled_and_the_worker_dies: Recalled, Worker, Restart;
    home_and_the_borrower_dies: Home, Borrower, Home;
    home_and_the_owner_dies: Home, Owner, Done;
    home_and_the_worker_dies: Home, Worker, Done;
}

#[test]
fn a_borrower_that_is_suspended_beyond_the_lease_uses_nobody_after_it() {
    let mut lab = Lab::start();
    lab.reach(Step::Working);
    lab.borrower.suspend();
    lab.wait_home();
    // At home it works again, and nothing of before is in the way.
    lab.owner_works();
    let before = lab.runs("w").len();
    lab.borrower.resume();
    lab.settle();
    let (runs, job) = (lab.runs("w"), lab.guests_job());
    let late: Vec<&String> = runs[before..].iter().filter(|run| run.ends_with(job)).collect();
    // Its queue is as long as before, so it may ask anew, and be lent the same worker on a loan of its own.
    let loans = lab.borrower.logged(&["WORKER_BORROWED"]);
    assert!(late.is_empty() || loans == 2, "its lease was over: {late:?}, {loans} loans");
    let done_here = lab.runs("b1").contains(&format!("end {job}"));
    assert!(done_here || loans == 2, "what it could not end was done again here");
}

#[test]
fn an_owner_that_is_suspended_beyond_the_lease_has_its_worker_back() {
    let mut lab = Lab::start();
    lab.reach(Step::Working);
    lab.owner.suspend();
    // The lease runs out unrenewed: the job that was under way is done by somebody else, or later.
    lab.borrower.wait_logged(1, &["LOAN_ENDED", "its lease is over"]);
    lab.open_all();
    lab.wait_borrower_done();
    lab.owner.resume();
    lab.settle();
}

#[test]
fn an_owner_that_was_killed_knows_from_the_ledger_whom_it_had_lent() {
    let options = ["--lease", "20", "--grace", "10"];
    let mut lab = Lab::start_at([const { None }; 3], &options);
    lab.reach(Step::Working);
    lab.owner.kill();
    lab.owner.start();
    // Its worker ends what it runs at the borrower before it comes, and the job waits at its gate.
    wait_until("the loan of before to be shown", || {
        let loans = lab.owner.live_loans();
        let [loan] = &loans[..] else { return false };
        assert_eq!((&loan["STATUS"], &loan["DIRECTION"]), (&json!("RETURNING"), &json!("OUT")), "{loan}");
        assert!(loan["REASON"].as_str().is_some_and(|reason| reason.contains("started anew")), "{loan}");
        true
    });
    let answer = lab.owner.ask(&json!({"TASK": "LOANS"}));
    assert_eq!((&answer["LOCAL"], &answer["LENT"]), (&json!(0), &json!(1)), "{answer}");
    lab.open_all();
    lab.settle();
}

#[test]
fn a_borrower_that_was_killed_knows_from_the_ledger_what_was_agreed_on() {
    let mut lab = Lab::start_at([const { None }; 3], &["--lease", "20"]);
    lab.reach(Step::Working);
    lab.borrower.kill();
    lab.borrower.start();
    wait_until("the guest to be known again, as agreed on", || {
        let loans = lab.borrower.live_loans();
        loans.iter().any(|loan| loan["DIRECTION"] == "IN" && loan["STATUS"] == "ACTIVE" && loan["AGREED"] == true)
    });
    lab.open_all();
    lab.settle();
}

#[test]
fn the_table_of_the_paper_names_every_cell() {
    let paper = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/testing.md")).expect("the paper");
    let rows: Vec<Vec<&str>> = (paper.lines().skip_while(|line| !line.starts_with("| step of the loan |")))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows[0][1..], ["the borrower dies", "the owner dies", "the worker dies"]);
    let steps = [
        Step::Asked,
        Step::Agreed,
        Step::Redirected,
        Step::Working,
        Step::Renewing,
        Step::Leaving,
        Step::Recalled,
        Step::Home,
    ];
    assert_eq!(rows.len(), 2 + steps.len(), "a head, a rule, and a row for each step");
    assert_eq!(CELLS.len(), 3 * steps.len());
    for (row, step) in rows[2..].iter().zip(steps) {
        for (text, party) in row[1..].iter().zip([Party::Borrower, Party::Owner, Party::Worker]) {
            let cell = CELLS.iter().find(|(_, at, who)| (*at, *who) == (step, party)).expect("every cell is a test");
            assert!(text.contains(&format!("`{}`", cell.0)), "{step:?}, {party:?}: {text}");
        }
    }
}
