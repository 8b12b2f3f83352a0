//! WHY says one true sentence with the figures: each reason brought about at a real master, with workers and neighbours typed by hand.

mod support;

use serde_json::{Value, json};
use support::farm::{Master, worker};
use support::ports::free_port;
use support::process::{NodeProcess, Process, command, run};
use support::student::{FakeMaster, Talk, one_shot};
use support::{Client, wait_for, wait_until};

/// A native worker on a connection of its own, as somebody with netcat would be one.
struct ByHand {
    client: Client,
    uuid: &'static str,
}

impl ByHand {
    /// Comes to a master, with one slot for `render`.
    fn join(master: &Master, uuid: &'static str) -> ByHand {
        let mut worker = ByHand { client: master.node.client(), uuid };
        worker.alive(1);
        worker
    }

    fn alive(&mut self, slots: u32) {
        let line = json!({"WORKER": "ALIVE", "WORKER_UUID": self.uuid, "SLOTS": slots, "SERVICES": ["render"]});
        self.client.send_line(&line.to_string());
        self.until("WORKER");
    }

    /// The next line with this `TASK`.
    fn until(&mut self, task: &str) -> Value {
        loop {
            let line = self.client.json();
            if line["TASK"] == task {
                return line;
            }
        }
    }

    /// Takes a job and says how it ended.
    fn ends(&mut self, with: &Value) {
        let job = self.until("JOB");
        let mut status = json!({
            "TASK": "JOB", "WORKER_UUID": self.uuid, "JOB_ID": job["JOB_ID"], "ATTEMPT": job["ATTEMPT"],
        });
        for (key, value) in with.as_object().expect("fields") {
            status[key] = value.clone();
        }
        self.client.send_line(&status.to_string());
    }
}

fn master(options: &[&str]) -> Master {
    let timeout = if options.contains(&"--timeout") { &[][..] } else { &["--timeout", "1"] };
    Master::start(&[&["--durability", "memory", "--interval", "0.2"], timeout, options].concat())
}

fn why(master: &Master, about: &str, what: &str) -> String {
    let answer = master.ask(&json!({"TASK": "WHY", about: what}));
    assert_eq!(answer["RESPONSE"], "OK", "{answer}");
    answer["WHY"].as_str().unwrap_or_else(|| panic!("no sentence in {answer}")).to_owned()
}

/// The text of the newest decision, without how often the like was decided before.
fn latest(master: &Master) -> String {
    let answer = master.ask(&json!({"TASK": "WHY"}));
    let text = answer["DECISIONS"][0]["TEXT"].as_str().unwrap_or_else(|| panic!("no decision in {answer}"));
    let folded = text.strip_suffix(", and this is the last").and_then(|text| text.rsplit_once("; "));
    folded.map_or(text, |(text, _)| text).to_owned()
}

fn render(master: &Master) -> String {
    master.submit("render", Value::Null)
}

fn submit(master: &Master, fields: &Value) -> String {
    let mut line = json!({"TASK": "SUBMIT", "SERVICE": "render"});
    for (key, value) in fields.as_object().expect("fields") {
        line[key] = value.clone();
    }
    let answer = master.ask(&line);
    answer["JOB_ID"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn wait_why(master: &Master, about: &str, what: &str, expected: &str) {
    let mut last = String::new();
    let holds = || {
        last = why(master, about, what);
        last.starts_with(expected)
    };
    wait_until(&format!("WHY of {what} to say `{expected}`"), holds);
}

/// Another master asks for workers, as 2026/1 does, and is told.
fn request(master: &Master, name: &str, needed: u64) -> Value {
    let line = json!({"type": "request_help", "request_id": "r1", "payload": {
        "master_id": name, "current_load": 150, "capacity": 100, "workers_needed": needed,
        "master_address": "127.0.0.1:9999",
    }});
    one_shot(master.node.port, &line)
}

// ---- jobs -------------------------------------------------------------------------------------------------------

#[test]
fn a_job_waits_because_nobody_offers_its_service() {
    let master = master(&[]);
    let job = render(&master);
    assert_eq!(why(&master, "JOB_ID", &job), "waits: no worker offers the service `render`");
}

#[test]
fn a_job_waits_because_the_workers_are_busy_and_others_are_ahead_of_it() {
    let master = master(&[]);
    let mut first = ByHand::join(&master, "w1");
    let jobs: Vec<String> = (0..3).map(|_| render(&master)).collect();
    assert_eq!(first.until("JOB")["JOB_ID"], *jobs[0]);
    assert_eq!(why(&master, "JOB_ID", &jobs[0]), "attempt 1 runs on worker w1");
    let next = "waits: the only worker that offers `render` is busy; it is the next";
    assert_eq!(why(&master, "JOB_ID", &jobs[1]), next);
    let mut second = ByHand::join(&master, "w2");
    second.until("JOB");
    let jobs: Vec<String> = (0..3).map(|_| render(&master)).collect();
    let last = "waits: 2 workers offer `render`, both busy; 3 jobs ahead of it";
    assert_eq!(why(&master, "JOB_ID", &jobs[2]), last);
    // One of priority 9 goes before all of them.
    let urgent = submit(&master, &json!({"PRIORITY": 9}));
    assert!(why(&master, "JOB_ID", &urgent).ends_with("both busy; it is the next"));
    assert!(why(&master, "JOB_ID", &jobs[2]).ends_with("both busy; 4 jobs ahead of it"));
}

#[test]
fn a_job_waits_because_the_only_worker_is_draining() {
    let master = master(&[]);
    ByHand::join(&master, "w1").alive(0);
    let mut worker = ByHand::join(&master, "w2");
    worker.alive(0);
    let job = render(&master);
    wait_why(&master, "JOB_ID", &job, "waits: ");
    let all = why(&master, "JOB_ID", &job);
    assert!(all.contains("draining"), "{all}");
}

#[test]
fn a_job_waits_because_the_only_worker_is_not_alive() {
    let master = master(&["--timeout", "30"]);
    drop(ByHand::join(&master, "w1"));
    let job = render(&master);
    wait_why(&master, "JOB_ID", &job, "waits: the only worker that offers `render` is not ALIVE");
}

#[test]
fn a_job_waits_for_its_delay() {
    let master = master(&[]);
    let job = submit(&master, &json!({"DELAY_MS": 60_000}));
    let text = why(&master, "JOB_ID", &job);
    let rest = text.strip_prefix("not before ").and_then(|rest| rest.strip_suffix(" s from now, as its DELAY_MS says"));
    let rest: f64 = rest.and_then(|rest| rest.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    assert!((30.0..=60.0).contains(&rest), "{text}");
}

#[test]
fn a_job_waits_for_its_next_attempt_and_is_buried_after_the_last() {
    let master = master(&["--retry-pause", "30"]);
    let mut worker = ByHand::join(&master, "w1");
    let again = submit(&master, &json!({"ATTEMPTS": 3}));
    worker.ends(&json!({"STATUS": "NOK", "DETAIL": "no ink", "RETRY": true}));
    wait_why(&master, "JOB_ID", &again, "attempt 2 of 3 in ");
    assert!(why(&master, "JOB_ID", &again).contains("no ink"), "{}", why(&master, "JOB_ID", &again));
    let once = submit(&master, &json!({"ATTEMPTS": 1}));
    worker.ends(&json!({"STATUS": "NOK", "DETAIL": "no paper", "RETRY": true}));
    wait_why(&master, "JOB_ID", &once, "BURIED at attempt 1 on worker w1: 1 attempt failed; the last: no paper");
}

#[test]
fn a_job_has_ended() {
    let master = master(&[]);
    let mut worker = ByHand::join(&master, "w1");
    let job = render(&master);
    worker.ends(&json!({"STATUS": "OK", "RESULT": 1}));
    wait_why(&master, "JOB_ID", &job, "it ended OK at attempt 1 on worker w1");
    let key = submit(&master, &json!({"KEY": "k"}));
    worker.ends(&json!({"STATUS": "NOK", "DETAIL": "no such page", "RETRY": false}));
    wait_why(&master, "JOB_ID", &key, "NOK at attempt 1 on worker w1: no such page");
    assert_eq!(why(&master, "KEY", "k"), why(&master, "JOB_ID", &key));
    let cancelled = submit(&master, &json!({"DELAY_MS": 60_000}));
    master.ask(&json!({"TASK": "CANCEL", "JOB_ID": cancelled}));
    wait_why(&master, "JOB_ID", &cancelled, "CANCELLED at attempt 0");
}

// ---- workers ----------------------------------------------------------------------------------------------------

/// What WHY says after the status of the worker.
fn not_lent(master: &Master, worker: &str) -> String {
    let text = why(master, "WORKER_UUID", worker);
    let (_, lent) = text.split_once("; ").unwrap_or_else(|| panic!("{text}"));
    lent.to_owned()
}

#[test]
fn a_worker_is_kept() {
    let master = master(&["--keep", "1"]);
    let _worker = ByHand::join(&master, "w1");
    assert_eq!(not_lent(&master, "w1"), "not lent: it is kept, keep=1, and 1 worker here and well");
}

#[test]
fn a_worker_is_kept_or_not_as_the_group_agrees() {
    let master = master(&["--keep", "1"]);
    let _worker = ByHand::join(&master, "w1");
    let agree = |name: &str, value: Value| {
        let answer = wait_for("the group to agree", || {
            let answer = master.ask(&json!({"TASK": "SETTINGS", "NAME": name, "VALUE": value}));
            (answer["RESPONSE"] == "OK").then_some(answer)
        });
        assert_eq!(answer["SETTINGS"][0]["NAME"], *name, "{answer}");
    };
    agree("keep", json!(0));
    assert_eq!(not_lent(&master, "w1"), "not lent: nobody has asked for workers");
    agree("lend", json!("nobody"));
    assert_eq!(not_lent(&master, "w1"), "not lent: workers are lent to nobody here");
    agree("lend", Value::Null);
    agree("keep", Value::Null);
    assert_eq!(not_lent(&master, "w1"), "not lent: it is kept, keep=1, and 1 worker here and well");
}

#[test]
fn a_worker_is_not_lent_because_nobody_asks() {
    let master = master(&["--keep", "1"]);
    let _workers = [ByHand::join(&master, "w1"), ByHand::join(&master, "w2")];
    assert_eq!(not_lent(&master, "w1"), "not lent: nobody has asked for workers");
}

#[test]
fn a_worker_is_not_lent_because_it_is_busy_or_draining() {
    let master = master(&["--keep", "0"]);
    let mut worker = ByHand::join(&master, "w1");
    render(&master);
    worker.until("JOB");
    assert_eq!(not_lent(&master, "w1"), "not lent: it is busy");
    let mut leaving = ByHand::join(&master, "w2");
    leaving.alive(0);
    assert_eq!(not_lent(&master, "w2"), "not lent: it is draining");
}

#[test]
fn a_worker_is_not_lent_because_it_is_in_quarantine_which_is_a_decision() {
    let master = master(&["--keep", "0"]);
    let mut good = ByHand::join(&master, "w1");
    let done = render(&master);
    good.ends(&json!({"STATUS": "OK", "RESULT": 1}));
    assert_eq!(master.result(&done)["STATUS"], "OK");
    // It takes no more, so that the other one gets all.
    good.alive(0);
    let mut bad = ByHand::join(&master, "w2");
    for _ in 0..3 {
        submit(&master, &json!({"ATTEMPTS": 1}));
        bad.ends(&json!({"STATUS": "NOK", "DETAIL": "no ink", "RETRY": true}));
    }
    wait_why(&master, "WORKER_UUID", "w2", "QUARANTINED");
    let text = why(&master, "WORKER_UUID", "w2");
    assert!(text.ends_with("; not lent: it is in quarantine"), "{text}");
    let answer = master.ask(&json!({"TASK": "WHY"}));
    let decision = &answer["DECISIONS"][0];
    assert_eq!(decision["ABOUT"], "w2", "{answer}");
    let text = decision["TEXT"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(text.starts_with("quarantined: failed render 3 times in a row, "), "{text}");
}

#[test]
fn a_worker_is_not_lent_because_workers_are_lent_to_nobody() {
    let master = master(&["--keep", "0", "--lend", "nobody"]);
    let _worker = ByHand::join(&master, "w1");
    assert_eq!(not_lent(&master, "w1"), "not lent: workers are lent to nobody here");
    let answer = request(&master, "Master_A", 1);
    assert_eq!(answer["type"], "response_rejected", "{answer}");
    assert_eq!(latest(&master), "Master_A asked for 1 worker: refused, workers are lent to nobody here");
}

#[test]
fn a_worker_is_not_lent_because_its_master_is_saturated_itself() {
    let master = master(&["--keep", "0", "--capacity", "1", "--release", "1", "--hold", "0"]);
    let _worker = ByHand::join(&master, "w1");
    // What nobody here offers: the worker stays idle.
    (0..3).for_each(|_| drop(master.submit("paint", Value::Null)));
    wait_why(&master, "WORKER_UUID", "w1", "IDLE");
    wait_until("the master to be saturated", || not_lent(&master, "w1") == "not lent: this master is saturated itself");
    request(&master, "Master_A", 2);
    assert_eq!(latest(&master), "Master_A asked for 2 workers: high_load, this master is saturated itself");
}

#[test]
fn a_request_is_refused_because_the_idle_ones_are_kept_or_none_is_idle() {
    let master = master(&["--keep", "1"]);
    request(&master, "Master_A", 2);
    let none =
        "Master_A asked for 2 workers: no_workers_available, no worker is idle (0 of 0 workers here idle, keep=1)";
    assert_eq!(latest(&master), none);
    // A foreign worker: foreign masters have work for those alone that do `query`.
    let alive = json!({"WORKER": "ALIVE", "WORKER_UUID": "B1"});
    assert_eq!(one_shot(master.node.port, &alive)["TASK"], "NO_TASK");
    request(&master, "Master_A", 2);
    let kept =
        "Master_A asked for 2 workers: no_workers_available, the idle ones are kept (1 of 1 worker here idle, keep=1)";
    assert_eq!(latest(&master), kept);
    let _other = ByHand::join(&master, "w1");
    request(&master, "Master_A", 1);
    let text = not_lent(&master, "w1");
    assert!(text.starts_with("not lent: "), "{text}");
}

#[test]
fn a_request_is_refused_because_no_idle_worker_offers_what_is_needed() {
    let master = master(&["--keep", "0"]);
    let _worker = ByHand::join(&master, "w1");
    request(&master, "Master_A", 1);
    let text = "Master_A asked for 1 worker: no_workers_available, no idle worker offers query (1 of 1 worker here idle, keep=0)";
    assert_eq!(latest(&master), text);
    let asked = not_lent(&master, "w1");
    let last = "not lent: nobody has asked since the last request, ";
    assert!(asked.starts_with(last) && asked.ends_with(text), "{asked}");
}

#[test]
fn a_worker_is_lent_and_a_second_one_not_because_of_the_cap_and_then_the_cool_down() {
    let master = master(&["--keep", "0", "--cap", "1", "--cooldown", "60"]);
    for uuid in ["B1", "B2"] {
        assert_eq!(one_shot(master.node.port, &json!({"WORKER": "ALIVE", "WORKER_UUID": uuid}))["TASK"], "NO_TASK");
    }
    let answer = request(&master, "Master_A", 2);
    assert_eq!(answer["payload"]["workers_offered"], 1, "{answer}");
    let given = "2 wanted, 1 given (2 of 2 workers here idle, keep=0, cap=1, 0 lent to it before)";
    let told = master.ask(&json!({"TASK": "WHY"})).to_string();
    assert!(told.contains(given), "{told}");
    let lent = why(&master, "WORKER_UUID", "B1");
    assert!(lent.contains("; lent to 127.0.0.1:9999 for ") && lent.contains("open-ended"), "{lent}");
    let loans = master.ask(&json!({"TASK": "LOANS"}));
    let loan = loans["LOANS"][0]["LOAN_ID"].as_str().unwrap_or_else(|| panic!("{loans}")).to_owned();
    let text = why(&master, "LOAN_ID", &loan);
    assert!(text.starts_with("B1 is lent to 127.0.0.1:9999 for ") && text.contains(&loan), "{text}");
    request(&master, "Master_A", 1);
    assert_eq!(latest(&master), "Master_A asked for 1 worker: refused, Master_A has 1 worker of this master, cap=1");
    request(&master, "Master_A", 1);
    let cooling = latest(&master);
    let begin = "Master_A asked for 1 worker: refused, Master_A is cooling down for ";
    assert!(cooling.starts_with(begin) && cooling.ends_with(" s more"), "{cooling}");
}

#[test]
fn a_worker_is_not_lent_and_the_last_request_is_told_though_another_borrower_cools_down() {
    let master = master(&["--keep", "0", "--cooldown", "60"]);
    let alive = json!({"WORKER": "ALIVE", "WORKER_UUID": "B1"});
    assert_eq!(one_shot(master.node.port, &alive)["TASK"], "NO_TASK");
    let _worker = ByHand::join(&master, "w1");
    assert_eq!(request(&master, "Master_A", 1)["type"], "response_accepted");
    // It goes, and comes home at once.
    assert_eq!(one_shot(master.node.port, &alive)["type"], "command_redirect");
    wait_until("B1 to be home", || one_shot(master.node.port, &alive)["TASK"] == "NO_TASK");
    master.submit("query", json!({"USER": "1"}));
    wait_until("B1 to be busy", || one_shot(master.node.port, &alive)["TASK"] == "QUERY");
    let line = json!({"type": "request_help", "request_id": "r2", "payload": {
        "master_id": "Master_C", "current_load": 150, "capacity": 100, "workers_needed": 1, "master_address": "127.0.0.1:9998",
    }});
    assert_eq!(one_shot(master.node.port, &line)["type"], "response_rejected");
    let text = not_lent(&master, "w1");
    let begin = "not lent: nobody has asked since the last request, ";
    assert!(
        text.starts_with(begin) && text.contains(" ago: Master_C asked for 1 worker: no_workers_available, "),
        "{text}"
    );
    assert!(text.contains("; 127.0.0.1:9999 may borrow again in ") && text.ends_with(" s"), "{text}");
}

#[test]
fn a_job_waits_because_the_only_worker_is_promised_to_another_master() {
    let master = master(&["--keep", "0"]);
    assert_eq!(one_shot(master.node.port, &json!({"WORKER": "ALIVE", "WORKER_UUID": "B1"}))["TASK"], "NO_TASK");
    assert_eq!(request(&master, "Master_A", 1)["type"], "response_accepted");
    // It is told when it asks for work again.
    let job = master.submit("query", json!({"USER": "1"}));
    assert_eq!(
        why(&master, "JOB_ID", &job),
        "waits: the only worker that offers `query` is promised to another master"
    );
}

/// What `node why` prints.
fn printed(about: &str, address: &str) -> String {
    let output = run(["why", about, "--to", address]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_worker_says_itself_why_it_is_where_it_is_and_what_it_did_not_obey() {
    // A master of the classroom that sends home who is at home.
    let master = FakeMaster::start(free_port(), "Master_B", true, |talk: &mut Talk| {
        while let Some(line) = talk.hear() {
            if line["WORKER"] == "ALIVE" {
                talk.say(&json!({"TASK": "NO_TASK"}));
                talk.say(&json!({"type": "command_release", "request_id": "r1", "payload": {
                    "original_master_address": "127.0.0.1:9999",
                }}));
            }
        }
    });
    let (port, at) = (free_port(), master.address());
    let options = ["worker", "--master", &at, "--name", "wilma", "--ephemeral", "--interval", "0.2", "--port"];
    let process = Process::spawn(command(options).arg(port.to_string()));
    let worker = NodeProcess::listening(process, port).expect("the port is free");
    let refused = "RETURN of the master at ";
    let told = wait_for("the worker to have refused an order", || {
        let answer = worker.ask(&json!({"TASK": "WHY", "WORKER_UUID": "wilma"}).to_string());
        answer["DECISIONS"].to_string().contains(refused).then_some(answer)
    });
    let why = told["WHY"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned();
    assert!(why.starts_with("serving: it works for a foreign master at ") && why.contains(&at), "{why}");
    assert_eq!(told["DECISIONS"][0]["ABOUT"], told["SERVER_ID"], "{told}");
    let by_id = json!({"TASK": "WHY", "WORKER_UUID": told["SERVER_ID"]});
    assert!(worker.ask(&by_id.to_string())["WHY"].as_str().is_some_and(|why| why.starts_with("serving: ")));
    let text = printed("wilma", &worker.address());
    assert!(text.starts_with("worker: serving: ") && text.contains(refused), "{text}");
    let other = worker.ask(&json!({"TASK": "WHY", "WORKER_UUID": "fred"}).to_string());
    assert_eq!(other["ERROR"], "NOT_FOUND", "{other}");
}

// ---- loans between native masters, and peers --------------------------------------------------------------------

#[test]
fn a_guest_is_borrowed_its_owner_has_lent_it_and_then_the_loan_is_over() {
    let quick = ["--hold", "0", "--cooldown", "0", "--keep", "0"];
    let lender = master(&[&quick[..], &["--name", "lender"]].concat());
    let lent = worker(&lender, "guest", &[]);
    let options = ["--name", "hungry", "--capacity", "2", "--release", "1", "--peer", &lender.address()];
    let hungry = master(&[&quick[..], &options].concat());
    hungry.node.wait_status(&lender.address(), "ALIVE");
    let calm = "for workers this master asks nobody: 0 jobs pending, saturated above capacity=2";
    assert!(why(&hungry, "PEER", "lender").ends_with(calm), "{}", why(&hungry, "PEER", "lender"));
    let itself =
        "it is this master itself, not saturated: 0 jobs pending, capacity=2, release=1; for workers it asks nobody: ";
    for called in ["hungry".to_owned(), hungry.address()] {
        assert!(why(&hungry, "PEER", &called).starts_with(itself), "{}", why(&hungry, "PEER", &called));
    }
    let shown = printed("hungry", &hungry.address());
    assert!(shown.starts_with(&format!("peer: {itself}")), "{shown}");
    let jobs: Vec<String> = (0..8).map(|_| hungry.submit("sleep", json!({"ms": 500}))).collect();
    wait_why(&hungry, "PEER", "hungry", "it is this master itself, saturated for ");
    let guest = wait_for("the worker to go over", || hungry.worker("guest"));
    let uuid = guest["WORKER_UUID"].as_str().expect("an id").to_owned();
    let text = why(&hungry, "WORKER_UUID", &uuid);
    assert!(text.contains("; borrowed from lender for ") && text.contains(" of its lease left"), "{text}");
    // By its name, too.
    wait_until("the owner to know that it works there", || {
        why(&lender, "WORKER_UUID", &uuid).starts_with("lent to hungry for ")
    });
    for job in &jobs {
        assert_eq!(hungry.result(job)["STATUS"], "OK");
    }
    lender.wait_worker("guest", "IDLE");
    let loans = lender.ask(&json!({"TASK": "LOANS"}));
    let loan = loans["LOANS"][0]["LOAN_ID"].as_str().unwrap_or_else(|| panic!("{loans}")).to_owned();
    let over = why(&lender, "LOAN_ID", &loan);
    assert!(over.starts_with("over for ") && over.contains(" was lent to hungry: "), "{over}");
    let gone = why(&hungry, "WORKER_UUID", &uuid);
    assert!(gone.starts_with("not here: its loan ") && gone.contains("(borrowed from lender) ended "), "{gone}");
    drop(lent);
}

#[test]
fn a_job_that_nobody_can_run_keeps_no_guest() {
    let quick = ["--hold", "0", "--cooldown", "0", "--keep", "0"];
    let lender = master(&[&quick[..], &["--name", "lender"]].concat());
    let lent = worker(&lender, "guest", &[]);
    let options = ["--name", "hungry", "--capacity", "3", "--release", "2", "--peer", &lender.address()];
    let hungry = master(&[&quick[..], &options].concat());
    hungry.node.wait_status(&lender.address(), "ALIVE");
    let slepp = hungry.submit("slepp", Value::Null);
    let jobs: Vec<String> = (0..8).map(|_| hungry.submit("sleep", json!({"ms": 100}))).collect();
    wait_for("the worker to go over", || hungry.worker("guest"));
    for job in &jobs {
        assert_eq!(hungry.result(job)["STATUS"], "OK");
    }
    // It is home for good, though that job waits.
    lender.wait_worker("guest", "IDLE");
    assert_eq!(why(&hungry, "JOB_ID", &slepp), "waits: no worker offers the service `slepp`");
    wait_until("nobody to be borrowed any more", || hungry.ask(&json!({"TASK": "LOANS"}))["BORROWED"] == 0);
    // Many of them saturate it; but nobody has them, and it says so.
    (0..4).for_each(|_| drop(hungry.submit("slepp", Value::Null)));
    let nobody = "of 1 master known none is ALIVE, unsaturated and offers slepp";
    wait_until("it to say that nobody offers that", || why(&hungry, "PEER", "hungry").ends_with(nobody));
    assert_eq!(lender.worker("guest").map(|guest| guest["STATUS"].clone()), Some(json!("IDLE")));
    drop(lent);
}

#[test]
fn a_peer_has_never_answered_is_alive_and_is_lost() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let master = master(&["--peer", &address]);
    wait_why(&master, "PEER", &address, "UNKNOWN: has never answered; ");
    let peer = support::NodeProcess::start_on(port, &["--ephemeral", "--name", "neighbour", "--interval", "0.2"]);
    wait_why(&master, "PEER", &address, "ALIVE: answered ");
    assert!(why(&master, "PEER", "neighbour").starts_with("ALIVE: "));
    drop(peer);
    wait_why(&master, "PEER", &address, "TIMEOUT: no answer for ");
    let text = why(&master, "PEER", &address);
    assert!(text.contains("the timeout is 1.0 s"), "{text}");
}
