//! Masters and workers as real processes: jobs done, lost workers, crashes at any moment, nothing lost.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::farm::{Master, worker, worker_command};
use support::process::{Process, command, run};
use support::{DEADLINE, NativePeer, NodeProcess, wait_for, wait_until};

/// Fast enough that a lost worker is noticed within a second.
const QUICK: [&str; 4] = ["--interval", "0.2", "--timeout", "1"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_job_is_done_by_a_worker_and_its_result_is_kept() {
    let master = Master::start(&[]);
    let _worker = worker(&master, "w1", &["--slots", "2"]);
    let job = master.submit("primes.count", json!({"n": 100_000}));
    let result = master.result(&job);
    assert_eq!(result["STATUS"], "OK", "{result}");
    assert!(result["RESULT"].to_string().contains("9592"), "there are 9592 primes below 100000: {result}");
    assert_eq!(master.result(&job)["RESULT"], result["RESULT"]);
    wait_until("the log to say who did it", || {
        master.node.process.stderr.text().lines().any(|line| line.contains(&job) && line.contains("w1"))
    });
}

#[test]
fn what_is_accepted_is_there_after_kill_9_and_what_ended_keeps_its_result() {
    let mut master = Master::start(&QUICK);
    let worker = worker(&master, "w1", &["--slots", "1"]);
    let done = master.submit("sleep", json!({"ms": 1}));
    let before = master.result(&done);
    drop(worker);
    let jobs: Vec<String> = (0..50).map(|_| master.submit("sleep", json!({"ms": 1}))).collect();
    master.crash();
    let after = master.result(&done);
    assert_eq!((&after["STATUS"], &after["RESULT"]), (&before["STATUS"], &before["RESULT"]));
    let _worker = support::farm::worker(&master, "w2", &["--slots", "4"]);
    for job in &jobs {
        assert_eq!(master.result(job)["STATUS"], "OK");
    }
}

#[test]
fn the_same_key_twice_is_one_job_across_a_crash() {
    let mut master = Master::start(&[]);
    let submit = json!({"TASK": "SUBMIT", "SERVICE": "sleep", "KEY": "only-once"});
    let first = master.ask(&submit);
    master.crash();
    let second = master.ask(&submit);
    assert_eq!(first["JOB_ID"], second["JOB_ID"]);
    assert_eq!(second["DUPLICATE"], true, "{second}");
    assert_eq!(master.count("QUEUED"), 1);
}

#[test]
fn what_runs_while_its_master_is_killed_is_not_begun_again_by_another_worker() {
    let mut master = Master::start(&[]);
    let marks = tempfile::tempdir().unwrap();
    let options = ["--slots", "1", "--allow-exec"];
    let workers = ["w1", "w2"].map(|name| worker(&master, name, &options));
    let begins = marks.path().join("begins");
    let script = format!("echo begin >> '{}'; sleep 3", begins.display());
    let begun = || std::fs::read_to_string(&begins).map_or(0, |text| text.lines().count());
    let job = master.submit("shell.run", json!({"command": ["sh", "-c", script]}));
    wait_until("the job to run", || begun() == 1 && master.count("RUNNING") == 1);
    let ask = json!({"TASK": "RESULT", "JOB_ID": job});
    let runner = master.ask(&ask)["WORKER_UUID"].clone();
    let noted = || {
        let files = std::fs::read_dir(master.directory()).unwrap().flatten();
        let stored = walk(files.map(|entry| entry.path()).collect());
        stored.iter().any(|path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            let id = runner.as_str().unwrap().as_bytes();
            bytes.windows(id.len()).any(|window| window == id)
        })
    };
    wait_until("the disk to know who runs it", noted);
    // The one that runs it stands still, so that the other is back first.
    let second = master.worker("w2").is_some_and(|worker| worker["WORKER_UUID"] == runner);
    let first = &workers[usize::from(second)];
    first.signal(rustix::process::Signal::STOP);
    master.crash();
    let fresh = master.submit("sleep", json!({"ms": 1}));
    assert_eq!(master.result(&fresh)["STATUS"], "OK", "the other is back, and a new job starts at once");
    let held = master.ask(&ask);
    assert_eq!(held["STATUS"], "DELAYED", "{held}");
    assert!(held["REASON"].as_str().is_some_and(|why| why.contains("may still run on worker")), "{held}");
    first.signal(rustix::process::Signal::CONT);
    let result = master.result(&job);
    assert_eq!((&result["STATUS"], &result["ATTEMPT"]), (&json!("OK"), &json!(1)), "{result}");
    assert_eq!((&result["WORKER_UUID"], begun()), (&runner, 1), "{result}");
}

/// All files below these.
fn walk(mut paths: Vec<std::path::PathBuf>) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        match std::fs::read_dir(&path) {
            Ok(inside) => paths.extend(inside.flatten().map(|entry| entry.path())),
            Err(_) => files.push(path),
        }
    }
    files
}

#[test]
fn short_jobs_do_not_wait_for_a_long_one() {
    let master = Master::start(&[]);
    let _one = worker(&master, "w1", &["--slots", "1"]);
    let _two = worker(&master, "w2", &["--slots", "1"]);
    let begun = Instant::now();
    let long = master.submit("sleep", json!({"ms": 10_000}));
    let short: Vec<String> = (0..50).map(|_| master.submit("sleep", json!({"ms": 10}))).collect();
    for job in &short {
        assert_eq!(master.result(job)["STATUS"], "OK");
    }
    assert!(begun.elapsed() < Duration::from_millis(1500), "the short ones took {:?}", begun.elapsed());
    let running = master.ask(&json!({"TASK": "RESULT", "JOB_ID": long}));
    assert_eq!(running["STATUS"], "RUNNING", "{running}");
}

#[test]
fn a_worker_that_is_killed_loses_nothing_and_its_job_is_done_by_another() {
    let master = Master::start(&QUICK);
    let mut first = worker(&master, "w1", &["--slots", "1", "--interval", "0.2", "--timeout", "1"]);
    let job = master.submit("sleep", json!({"ms": 300}));
    wait_until("the job to run", || master.count("RUNNING") == 1);
    first.kill();
    let _second = worker(&master, "w2", &["--slots", "1"]);
    let result = master.result(&job);
    assert_eq!((&result["STATUS"], &result["ATTEMPT"]), (&json!("OK"), &json!(2)), "{result}");
}

#[test]
fn a_worker_that_stands_still_beyond_its_deadline_gives_its_job_up() {
    use rustix::process::Signal;
    let master = Master::start(&QUICK);
    let first = worker(&master, "w1", &["--slots", "1", "--interval", "0.2", "--timeout", "1"]);
    let job = master.submit("sleep", json!({"ms": 100}));
    wait_until("the job to be taken", || master.count("RUNNING") == 1 || master.count("OK") == 1);
    first.signal(Signal::STOP);
    let other = master.submit("sleep", json!({"ms": 100}));
    let _second = worker(&master, "w2", &["--slots", "1"]);
    for job in [&job, &other] {
        assert_eq!(master.result(job)["STATUS"], "OK");
    }
    first.signal(Signal::CONT);
    wait_until("the first worker to come back", || {
        master.worker("w1").is_some_and(|worker| worker["STATUS"] == "IDLE")
    });
    assert_eq!(master.count("OK"), 2, "a late result is not a second one");
}

#[test]
fn the_first_ctrl_c_drains_a_worker_and_the_second_ends_it() {
    use rustix::process::Signal;
    let master = Master::start(&[]);
    let mut first = worker(&master, "w1", &["--slots", "1"]);
    let job = master.submit("sleep", json!({"ms": 700}));
    wait_until("the job to run", || master.count("RUNNING") == 1);
    first.signal(Signal::INT);
    master.wait_worker("w1", "DRAINING");
    let waits = master.submit("sleep", json!({"ms": 1}));
    let why = master.ask(&json!({"TASK": "RESULT", "JOB_ID": waits}))["REASON"].clone();
    assert_eq!(why, "waits: the only worker that offers `sleep` is draining");
    assert_eq!(master.result(&job)["STATUS"], "OK", "what ran is finished");
    let (status, _) = first.wait();
    assert!(status.success(), "{status}");
    assert_eq!(master.ask(&json!({"TASK": "RESULT", "JOB_ID": waits}))["STATUS"], "QUEUED");

    let mut second = worker(&master, "w2", &["--slots", "1"]);
    master.result(&waits);
    let long = master.submit("sleep", json!({"ms": 60_000}));
    wait_until("the long job to run", || master.count("RUNNING") == 1);
    second.signal(Signal::INT);
    master.wait_worker("w2", "DRAINING");
    second.signal(Signal::INT);
    let (_, took) = second.wait();
    assert!(took < Duration::from_secs(3), "the second Ctrl-C ends it, and took {took:?}");
    wait_until("its goodbye", || {
        master.node.process.stderr.lines().iter().any(|line| line.contains("WORKER_LEFT") && line.contains("w2"))
    });
    // It has the job before it is ever seen idle.
    let _third = Process::spawn(&mut worker_command(&master.address(), "w3", &["--slots", "1"]));
    wait_until("the long job to run elsewhere", || {
        master.ask(&json!({"TASK": "RESULT", "JOB_ID": long}))["STATUS"] == "RUNNING"
            && master.worker("w3").is_some_and(|worker| worker["STATUS"] == "BUSY")
    });
}

#[test]
fn shell_run_streams_its_output_and_ends_with_its_exit_code() {
    let master = Master::start(&[]);
    let _worker = worker(&master, "w1", &["--slots", "1", "--allow-exec"]);
    let script = "echo one; echo two >&2; exit 7";
    let ran = run(["submit", "--to", &master.address(), "--wait", "shell.run", "--", "sh", "-c", script]);
    assert_eq!(ran.status.code(), Some(7), "{ran:?}");
    assert_eq!(text(&ran.stdout), "one\n");
    assert!(text(&ran.stderr).contains("two\n"), "{ran:?}");
}

#[test]
fn shell_run_is_there_only_where_it_is_allowed() {
    let master = Master::start(&[]);
    let _worker = worker(&master, "w1", &["--slots", "1"]);
    let job = master.submit("shell.run", json!({"command": ["true"]}));
    let answer = master.ask(&json!({"TASK": "RESULT", "JOB_ID": job, "WAIT_MS": 300}));
    assert_eq!(answer["STATUS"], "QUEUED", "{answer}");
    assert!(answer["REASON"].as_str().is_some_and(|why| why.contains("no worker offers")), "{answer}");
    let refused = run(["worker", "--master", "127.0.0.1:1", "--allow-exec", "--insecure", "--host", "0.0.0.0"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(text(&refused.stderr).contains("--allow-exec"), "{refused:?}");
}

#[test]
fn the_command_line_submits_asks_cancels_and_lists() {
    let master = Master::start(&[]);
    let to = ["--to", &master.address()];
    let node = |args: &[&str]| run([args, &to].concat());
    let submitted = node(&["submit", "sleep.run", "{\"ms\":1}", "--key", "mine", "--json"]);
    assert!(submitted.status.success(), "{submitted:?}");
    let answer: Value = serde_json::from_slice(&submitted.stdout).expect("one line of JSON");
    let id = answer["JOB_ID"].as_str().expect("an id").to_owned();
    assert!(text(&node(&["result", &id]).stdout).contains("QUEUED"));
    assert!(text(&node(&["jobs"]).stdout).contains('1'));
    let bad = node(&["submit", "sleep.run", "{ms:1}"]);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let cancelled = node(&["cancel", "--key", "mine"]);
    assert!(text(&cancelled.stdout).contains("CANCELLED"), "{cancelled:?}");
    assert_eq!(master.count("CANCELLED"), 1);
}

#[test]
fn a_file_of_jobs_is_submitted_in_one_go() {
    let master = Master::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.ndjson");
    let lines: Vec<String> = (0..5000).map(|n| format!("{{\"SERVICE\":\"sleep\",\"PARAMS\":{n}}}\n")).collect();
    std::fs::write(&file, lines.concat()).unwrap();
    let ran = run(["submit", "--to", &master.address(), "--file", file.to_str().unwrap()]);
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(master.count("QUEUED"), 5000);
}

#[test]
fn a_listing_changes_nothing_and_blocks_nobody() {
    let master = Master::start(&["--durability", "memory"]);
    let mut client = master.node.client();
    let line = "{\"TASK\":\"SUBMIT\",\"SERVICE\":\"nobody\"}\n";
    for _ in 0..100 {
        client.send(line.repeat(1000).as_bytes()).unwrap();
        (0..1000).for_each(|_| drop(client.line()));
    }
    let begun = Instant::now();
    let listed = run(["jobs", "--list", "--json", "--to", &master.address()]);
    assert!(listed.status.success(), "{listed:?}");
    let (listing, slowest) = (AtomicBool::new(true), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run(["jobs", "--list", "--json", "--to", &master.address()]);
            listing.store(false, Ordering::Release);
        });
        let mut client = master.node.client();
        while listing.load(Ordering::Acquire) && begun.elapsed() < DEADLINE {
            let asked = Instant::now();
            client.ask(r#"{"TASK":"HEARTBEAT","ID":"x"}"#);
            slowest.fetch_max(u64::try_from(asked.elapsed().as_millis()).unwrap(), Ordering::Relaxed);
        }
    });
    assert!(slowest.load(Ordering::Relaxed) < 500, "a heartbeat took {slowest:?} ms beside a listing");
    assert_eq!(master.count("QUEUED"), 100_000);
}

#[test]
fn a_call_is_served_here_by_a_worker_and_by_a_peer() {
    let master = Master::start(&QUICK);
    let far = Master::start(&["--peer", &master.address(), "--interval", "0.2", "--timeout", "2"]);
    let _worker = worker(&master, "w1", &["--slots", "1"]);
    let call = |at: &Master, service: &str, method: &str, params: Value| {
        at.ask(&json!({"TASK": "CALL", "SERVICE": service, "METHOD": method, "PARAMS": params}))
    };
    assert_eq!(call(&master, "system", "echo", json!(5))["RESULT"], 5);
    let by_worker = call(&master, "primes", "count", json!({"n": 100}));
    assert!(by_worker["RESULT"].to_string().contains("25"), "{by_worker}");
    assert_ne!(by_worker["SERVED_BY"].as_str(), Some(master.node.server_id().as_str()));
    let by_peer = wait_for("the peer to know the service", || {
        let answer = call(&far, "primes", "count", json!({"n": 100}));
        (answer["RESPONSE"] == "OK").then_some(answer)
    });
    assert_eq!(by_peer["SERVED_BY"], by_worker["SERVED_BY"]);
    let ran = run(["call", &far.address(), "primes.count", "{\"n\":100}"]);
    assert!(text(&ran.stdout).contains("25"), "{ran:?}");
}

#[test]
fn a_worker_without_a_master_finds_one_and_another_when_that_dies() {
    let port = support::ports::free_port().to_string();
    let quick = ["--interval", "0.2", "--timeout", "1", "--discovery", &port];
    let mut small = Master::start(&[&quick[..], &["--name", "MASTER_10"]].concat());
    let large = Master::start(&[&quick[..], &["--name", "MASTER_2"]].concat());
    let options = ["worker", "--name", "w", "--port", "0", "--ephemeral"];
    let worker = Process::spawn(&mut command([&options[..], &quick].concat()));
    small.wait_worker("w", "IDLE");
    // The log is written by a thread of its own: it may come after the deed.
    let logged = |word: &str| wait_until(&format!("{word} in the log"), || worker.stderr.text().contains(word));
    ["DISCOVERY", "ELECTION", "CONNECTING"].into_iter().for_each(logged);
    assert!(large.worker("w").is_none(), "the other is ignored");
    small.node.process.kill();
    large.wait_worker("w", "IDLE");
    logged("FALLBACK");
}

#[test]
fn a_program_with_a_service_of_its_own_is_a_worker() {
    let master = Master::start(&[]);
    // Cargo puts examples beside the directory of test programs.
    let programs = std::env::current_exe().unwrap();
    let program = programs.parent().and_then(std::path::Path::parent).unwrap().join("examples/own_service");
    assert!(program.exists(), "cargo test builds the examples: {}", program.display());
    let _worker = Process::spawn(std::process::Command::new(program).arg(master.address()));
    master.wait_worker("anagrams", "IDLE");
    let result = master.result(&master.submit("anagrams", json!({"word": "listen"})));
    assert!(result["RESULT"]["anagrams"].to_string().contains("silent"), "{result}");
}

#[test]
fn programs_in_any_language_are_services() {
    let master = Master::start(&[]);
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/services");
    let _worker = worker(&master, "w1", &["--slots", "2", "--services", directory]);
    let jobs = [
        ("wordcount", "python3", "wordcount.count", json!({"text": "a b a"}), "\"words\":3"),
        ("slug", "node", "slug.run", json!({"text": "Olá, Mundo"}), "ola-mundo"),
        ("hostinfo", "sh", "hostinfo.kernel", json!(null), "\""),
    ];
    for (service, interpreter, job, params, expected) in jobs {
        if std::process::Command::new(interpreter).arg("--version").output().is_err() && interpreter != "sh" {
            println!("SKIPPED: {interpreter} is not installed");
            continue;
        }
        let offered = || master.worker("w1").is_some_and(|worker| worker["SERVICES"].to_string().contains(service));
        wait_until(&format!("{service} to be offered"), offered);
        let result = master.result(&master.submit(job, params));
        assert_eq!(result["STATUS"], "OK", "{job}: {result}");
        assert!(result["RESULT"].to_string().contains(expected), "{job}: {result}");
    }
}

/// Keeps half of the machine busy until it is dropped.
struct Burn(std::sync::Arc<AtomicBool>);

impl Burn {
    fn start() -> Burn {
        let burns = std::sync::Arc::new(AtomicBool::new(true));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..cores.div_ceil(2) {
            let burns = std::sync::Arc::clone(&burns);
            std::thread::spawn(move || {
                while burns.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Burn(burns)
    }
}

impl Drop for Burn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_hot_node_sends_calls_to_a_peer_that_is_idle_and_serves_at_three_hops() {
    let offers = json!([{"NAME": "system", "METHODS": ["echo"]}]);
    let peer = NativePeer::start(support::ports::free_port(), &offers, |request| {
        let result = json!({"scripted": request["PARAMS"]});
        (request["TASK"] == "CALL")
            .then(|| json!({"TASK": "CALL", "RESPONSE": "OK", "RESULT": result, "SERVED_BY": NativePeer::ID}))
    });
    // With a threshold of one percent it is hot as soon as anything runs, and cool only when nothing does.
    let hot = NodeProcess::start(&[&QUICK[..], &["--cpu-threshold", "1", "--peer", &peer.address()]].concat());
    hot.wait_status(&peer.address(), "ALIVE");
    let burn = Burn::start();
    wait_until("the node to be hot, with a score well above that of an idle peer", || {
        let load = hot.ask(r#"{"TASK":"LOAD"}"#);
        load["HOT"] == true && load["SCORE"].as_f64().is_some_and(|score| score >= 15.0)
    });
    let call = |hops: u32| {
        let request = json!({"TASK": "CALL", "SERVICE": "system.echo", "PARAMS": [7], "HOPS": hops});
        hot.ask(&request.to_string())
    };
    for hops in 0..3 {
        let answer = call(hops);
        assert_eq!((&answer["RESPONSE"], &answer["TASK"]), (&json!("REDIRECT"), &json!("CALL")), "{answer}");
        assert_eq!((&answer["TARGET"], &answer["HOPS"]), (&json!(peer.address()), &json!(hops + 1)), "{answer}");
        assert!(answer["REASON"].as_str().is_some_and(|reason| reason.contains("CPU")), "{answer}");
    }
    let served = call(3);
    assert_eq!((&served["RESPONSE"], &served["RESULT"]), (&json!("OK"), &json!([7])), "{served}");
    assert_eq!(served["SERVED_BY"].as_str(), Some(hot.server_id().as_str()));
    // What the peer does not offer is served here, however hot.
    let info = hot.ask(r#"{"TASK":"CALL","SERVICE":"system.info"}"#);
    assert_eq!(info["RESPONSE"], "OK", "{info}");

    let before = peer.asked("CALL").len();
    let ran = run(["call", &hot.address(), "system.echo", "{\"n\":1}", "--json"]);
    drop(burn);
    assert!(ran.status.success(), "{ran:?}");
    let answer: Value = serde_json::from_slice(&ran.stdout).expect("one line of JSON");
    assert_eq!((&answer["RESULT"], &answer["SERVED_BY"]), (&json!({"scripted": {"n": 1}}), &json!(NativePeer::ID)));
    let asked = peer.asked("CALL");
    assert_eq!((asked.len(), &asked[before]["HOPS"]), (before + 1, &json!(1)), "{asked:?}");
}

#[test]
fn a_node_that_is_saturated_without_help_sends_on_who_submits_and_follows() {
    let peer = NativePeer::start(support::ports::free_port(), &json!([]), |request| {
        (request["TASK"] == "SUBMIT").then(
            || json!({"TASK": "SUBMIT", "RESPONSE": "OK", "JOB_ID": "scripted-1-0", "STATUS": "QUEUED", "ATTEMPT": 0}),
        )
    });
    let options = ["--cpu-threshold", "0", "--capacity", "1", "--hold", "0.1", "--peer", &peer.address()];
    let full = NodeProcess::start(&[&QUICK[..], &options].concat());
    full.wait_status(&peer.address(), "ALIVE");
    let submit = |extras: Value| {
        let mut request = json!({"TASK": "SUBMIT", "SERVICE": "nobody"});
        request.as_object_mut().expect("an object").extend(extras.as_object().expect("an object").clone());
        full.ask(&request.to_string())
    };
    (0..2).for_each(|_| assert_eq!(submit(json!({}))["RESPONSE"], "OK"));
    let begun = Instant::now();
    wait_until("the node to be saturated", || full.ask(r#"{"TASK":"LOAD"}"#)["SATURATED"] == true);
    assert_eq!(submit(json!({"FOLLOW": true}))["RESPONSE"], "OK", "help may still come");
    let redirect = wait_for("a redirect", || {
        let answer = submit(json!({"FOLLOW": true}));
        (answer["RESPONSE"] == "REDIRECT").then_some(answer)
    });
    assert!(begun.elapsed() >= Duration::from_secs(5), "after {:?}", begun.elapsed());
    assert_eq!((&redirect["TARGET"], &redirect["HOPS"]), (&json!(peer.address()), &json!(1)), "{redirect}");
    assert_eq!(submit(json!({}))["STATUS"], "QUEUED", "who does not follow is queued");
    assert_eq!(submit(json!({"FOLLOW": true, "HOPS": 3}))["STATUS"], "QUEUED", "three hops are enough");
    assert!(peer.asked("SUBMIT").is_empty(), "nothing is passed on behind a client's back");
    let ran = run(["submit", "--to", &full.address(), "--follow", "--key", "mine", "nobody"]);
    assert_eq!((ran.status.code(), text(&ran.stdout).as_str()), (Some(0), "scripted-1-0 QUEUED\n"), "{ran:?}");
    let asked = peer.asked("SUBMIT");
    assert!(matches!(asked.as_slice(), [one] if one["HOPS"] == 1 && one["KEY"] == "mine"), "{asked:?}");
}

#[test]
fn waiting_for_a_job_shows_its_id_beside_its_result() {
    let master = Master::start(&[]);
    let mut waiting = Process::spawn(&mut command([
        "submit",
        "--to",
        &master.address(),
        "--key",
        "k",
        "--wait",
        "primes.count",
        "{\"n\":100}",
    ]));
    let id = wait_for("its id, though nobody does it yet", || {
        let line = waiting.stderr.lines().into_iter().find_map(|line| line.strip_prefix("job ").map(str::to_owned));
        line.filter(|_| waiting.stdout.lines().is_empty())
    });
    assert_eq!(master.ask(&json!({"TASK": "RESULT", "KEY": "k"}))["JOB_ID"], *id);
    let _worker = worker(&master, "w1", &["--slots", "1"]);
    assert!(waiting.wait().0.success());
    wait_until("the result on standard output", || waiting.stdout.text().contains("25"));
    assert!(!waiting.stdout.text().contains(&id), "{}", waiting.stdout.text());
}

/// Jobs are submitted while master and workers are killed at random moments; every accepted one is done in the end.
fn survive(kills: u32, seed: u64) {
    let mut master = Master::start(&[&QUICK[..], &["--attempts", "100", "--retry-pause", "0.05"]].concat());
    let (port, address) = (master.node.port, master.address());
    let options = ["--slots", "4", "--interval", "0.2", "--timeout", "1"];
    let spawn = |name: &str| Process::spawn(&mut worker_command(&address, name, &options));
    let mut workers: Vec<Process> = (0..3).map(|nth| spawn(&format!("w{nth}"))).collect();
    let stop = AtomicBool::new(false);
    let mut random = seed;
    let accepted: Vec<String> = std::thread::scope(|scope| {
        let submitting = scope.spawn(|| {
            let mut accepted = Vec::new();
            let mut number = 0;
            while !stop.load(Ordering::Acquire) {
                let key = format!("job-{number}");
                let submit = json!({"TASK": "SUBMIT", "SERVICE": "sleep", "PARAMS": {"ms": number % 7}, "KEY": key});
                match Master::try_ask(port, &submit) {
                    Some(answer) if answer["RESPONSE"] == "OK" => {
                        accepted.push(key);
                        number += 1;
                    }
                    // Killed before it answered: the same key again.
                    _ => support::wait::pause(Duration::from_millis(2)),
                }
            }
            accepted
        });
        for _ in 0..kills {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            support::wait::pause(Duration::from_millis((random >> 33) % 60));
            match (random >> 60) % 4 {
                0 | 1 => master.crash(),
                nth => {
                    let nth = usize::try_from(nth - 1).unwrap();
                    workers[nth].kill();
                    workers[nth] = spawn(&format!("w{nth}"));
                }
            }
        }
        stop.store(true, Ordering::Release);
        submitting.join().unwrap()
    });
    assert!(accepted.len() > usize::try_from(kills).unwrap() / 4, "only {} jobs were accepted", accepted.len());
    for key in &accepted {
        let request = json!({"TASK": "RESULT", "KEY": key, "WAIT_MS": 20_000});
        let answer = master.ask(&request);
        assert_eq!(answer["STATUS"], "OK", "seed {seed}: {key} of {} was lost: {answer}", accepted.len());
    }
    println!("{kills} kills, {} jobs accepted, none lost", accepted.len());
}

#[test]
fn fifty_kills_lose_nothing() {
    survive(50, 1);
}

#[test]
#[ignore = "takes minutes: cargo test --test farm -- --ignored a_thousand"]
fn a_thousand_kills_lose_nothing() {
    survive(1000, 2);
}

/// A file system of 1 MiB, mounted for one test.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Small {
        let directory = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory.path())
            .status()
            .expect("mount starts");
        assert!(mounted.success(), "mounting needs root");
        Small(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
#[ignore = "mounts a tmpfs: needs root; run by .ci/run"]
fn a_full_disk_refuses_with_retry_and_loses_nothing() {
    let small = Small::mount();
    let data = small.0.path().to_str().unwrap().to_owned();
    let port = support::ports::free_port();
    let start = || support::NodeProcess::start_on(port, &["--name", "alpha", "--data-dir", &data]);
    let mut node = start();
    let mut accepted = Vec::new();
    let refused = loop {
        let key = format!("key-{}", accepted.len());
        let submit = json!({"TASK": "SUBMIT", "SERVICE": "nobody", "PARAMS": "x".repeat(4000), "KEY": key});
        let answer = node.ask(&submit.to_string());
        match answer["RESPONSE"].as_str() {
            Some("OK") => accepted.push(key),
            _ => break answer,
        }
        assert!(accepted.len() < 1000, "1 MiB never became full");
    };
    assert_eq!((&refused["ERROR"], &refused["RETRY"]), (&json!("STORE_FAILED"), &json!(true)), "{refused}");
    assert!(accepted.len() > 20, "only {} fitted", accepted.len());
    node.assert_healthy();
    node.process.kill();
    let node = start();
    for key in &accepted {
        let answer = node.ask(&json!({"TASK": "RESULT", "KEY": key}).to_string());
        assert_eq!(answer["STATUS"], "QUEUED", "{key} was lost: {answer}");
    }
}
