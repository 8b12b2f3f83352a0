//! Services as they really run: threads, processes, their trees, and the programs of the examples.

mod bench;
#[cfg(unix)]
mod programs;
#[cfg(unix)]
mod shell;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use mutirao::core::{Outcome, Run, RunId};
use mutirao::service::{Context, Executor, ExecutorConfig, Failure, Service, builtins};
use mutirao::wire::{Json, MAX_OUTPUT_BYTES, ServiceName, ServiceOffer, Stream};

use bench::*;
use support::{DEADLINE, wait_until};

#[test]
fn the_built_in_services_answer() {
    let bench = Bench::builtin();
    assert_eq!(bench.offers(), ["primes", "query", "sleep", "system"]);
    for value in [json!(null), json!({"a": [1, "é"]}), json!("x")] {
        assert_eq!(bench.ok("system.echo", value.clone()), value);
    }
    let info = bench.ok("system.info", Value::Null);
    assert_eq!(info["PID"], std::process::id());
    assert!(info["CORES"].as_u64().unwrap() > 0 && info["MEMORY"].as_u64().unwrap() > 1 << 20, "{info}");
    assert!(!info["OS"].as_str().unwrap().is_empty() && !info["VERSION"].as_str().unwrap().is_empty());
    assert_eq!(bench.ok("system.health", Value::Null)["STATUS"], "ok");
    let query = bench.ok("query.run", json!({"USER": "11111111111"}));
    assert_eq!(query["USER"], "11111111111");
    let (whole, cents) = query["SALDO"].as_str().unwrap().split_once('.').unwrap();
    assert!(whole.parse::<u64>().is_ok() && cents.len() == 2, "{query}");
    assert_eq!(bench.ok("query.run", json!({"USER": "11111111111"})), query);
    assert_ne!(bench.ok("query.run", json!({"USER": "2"}))["SALDO"], query["SALDO"]);
    assert_eq!(bench.ok("sleep.run", json!({"ms": 1})), json!({"ms": 1}));
    assert_eq!(bench.ok("sleep.run", json!(0)), json!({"ms": 0}));
    assert_eq!(bench.ok("primes.count", json!({"n": 100_000})), json!({"n": 100_000, "primes": 9592}));
    let metrics = bench.ok("system.metrics", Value::Null);
    let (runs, ok, running) = (metrics["RUNS"].as_u64().unwrap(), &metrics["RUNS_OK"], &metrics["RUNNING"]);
    assert_eq!((ok, running), (&json!(runs - 1), &json!(1)), "this one is running: {metrics}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let bench = Bench::builtin();
    for (what, params, part, retries) in [
        ("nobody.run", json!(1), "no service nobody", true),
        ("sleep.fly", json!(1), "sleep has no method fly; it has run", false),
        ("sleep.run", json!({"ms": "1"}), "`ms` is \"1\"", false),
        ("query.run", json!({}), "`USER` is null", false),
        ("primes.count", json!({"n": 1.5}), "`n` is 1.5", false),
        ("shell.run", json!({"line": "true"}), "no service shell", true),
    ] {
        let (detail, _, retry) = failed(bench.call(what, params));
        assert!(detail.contains(part) && retry == retries, "{what}: {detail}, {retry}");
    }
    // Valid on the wire, and yet too deep to be taken apart.
    let deep = Json::new("[".repeat(1000) + &"]".repeat(1000)).unwrap();
    let name = |text| ServiceName::new(text).unwrap();
    let run = RunId(bench.next.fetch_add(1, Ordering::SeqCst));
    let (service, method) = (name("system"), name("echo"));
    bench.executor().run(Run { run, service, method, params: deep, timeout: DEADLINE, attempt: None, output: false });
    assert!(failed(bench.end_of(run)).0.contains("PARAMS cannot be read: recursion limit"));
}

#[test]
fn settings_out_of_their_range_are_refused() {
    let refused = |config| match Executor::start(config, Arc::new(Reports::default())) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was started"),
    };
    assert!(refused(ExecutorConfig { threads: 0, ..ExecutorConfig::default() }).contains("threads is 0; expected 1"));
    let rescan = Duration::ZERO;
    assert!(refused(ExecutorConfig { rescan, ..ExecutorConfig::default() }).contains("rescan is 0ns; expected 10 ms"));
    let directory = Some(PathBuf::from("/nowhere/at/all"));
    assert!(refused(ExecutorConfig { directory, ..ExecutorConfig::default() }).starts_with("/nowhere/at/all: "));
    let services = builtins().into_iter().chain(builtins()).collect();
    assert!(refused(ExecutorConfig { services, ..ExecutorConfig::default() }).contains("two services are named"));
}

/// A service that does what its method says.
struct Odd(Arc<AtomicBool>);

impl Service for Odd {
    fn offer(&self) -> ServiceOffer {
        let name = |name| ServiceName::new(name).unwrap();
        let methods = ["panic", "panic_text", "cheap_panic", "deaf", "big", "chat"].map(name).to_vec();
        ServiceOffer { name: name("odd"), methods, idempotent: Vec::new() }
    }

    fn call(&self, method: &str, params: &Value, context: &Context) -> Result<Value, Failure> {
        match method {
            "panic" => panic!("a fixed text"),
            "deaf" => {
                // Hears of no stop until the test says so.
                wait_until("the test to be done", || self.0.load(Ordering::SeqCst));
                Ok(Value::Null)
            }
            "big" => Ok("x".repeat(100_000).into()),
            "chat" => {
                assert_eq!(context.attempt().map(|attempt| attempt.attempt), Some(2));
                context.print(Stream::Out, &"é".repeat(MAX_OUTPUT_BYTES));
                context.print(Stream::Err, "");
                Err(Failure::refused("no").with(params.clone()))
            }
            _ => panic!("a text of {}", params),
        }
    }

    fn is_cheap(&self, method: &str) -> bool {
        method == "cheap_panic"
    }
}

fn odd(threads: usize) -> (Bench, Arc<AtomicBool>) {
    let is_done = Arc::new(AtomicBool::new(false));
    let services: Vec<Box<dyn Service>> = vec![Box::new(Odd(Arc::clone(&is_done)))];
    let services = services.into_iter().chain(builtins()).collect();
    (Bench::with(ExecutorConfig { services, threads, ..ExecutorConfig::default() }), is_done)
}

#[test]
fn a_panic_is_a_failure_and_nothing_else() {
    let (bench, _) = odd(1);
    for _ in 0..3 {
        let panicked = |text: &str| (format!("odd panicked: {text}"), None, true);
        assert_eq!(failed(bench.call("odd.panic", json!(1))), panicked("a fixed text"));
        assert_eq!(failed(bench.call("odd.panic_text", json!(7))), panicked("a text of 7"));
        assert_eq!(failed(bench.call("odd.cheap_panic", json!(8))), panicked("a text of 8"));
    }
    assert_eq!(bench.ok("sleep.run", json!(1)), json!({"ms": 1}), "the only thread still works");
}

#[test]
fn results_have_a_size_and_prints_come_in_pieces() {
    let (bench, _) = odd(2);
    let (detail, _, retry) = failed(bench.call("odd.big", json!(1)));
    assert!(detail.contains("100002 bytes") && !retry, "{detail}");
    let run = bench.begin("odd.chat", json!({"a": 1}), DEADLINE);
    assert_eq!(failed(bench.end_of(run)), ("no".to_owned(), Some(json!({"a": 1})), false));
    assert_eq!(bench.printed(run, Stream::Out), "é".repeat(MAX_OUTPUT_BYTES));
}

#[test]
fn a_run_ends_at_its_time_out_and_when_it_is_stopped() {
    let bench = Bench::builtin();
    let started = Instant::now();
    let slow = bench.begin("sleep.run", json!(600_000), ms(150));
    let counting = bench.begin("primes.count", json!(10_000_000_000u64), ms(150));
    for run in [slow, counting] {
        assert_eq!(failed(bench.end_of(run)), ("no result within 150 ms; stopped".to_owned(), None, true));
    }
    assert!(started.elapsed() >= ms(150));
    let run = bench.begin("sleep.run", json!(600_000), DEADLINE);
    bench.executor().stop(run);
    bench.executor().stop(run);
    assert_eq!(failed(bench.end_of(run)), ("stopped before it had a result".to_owned(), None, true));
    bench.executor().stop(run);
    bench.executor().stop(RunId(u64::MAX));
}

#[test]
fn work_that_hears_nothing_is_given_up_and_does_not_hold_others() {
    let (bench, is_done) = odd(1);
    let deaf = bench.begin("odd.deaf", json!(1), ms(50));
    let next = bench.begin("sleep.run", json!(1), DEADLINE);
    let late = bench.begin("sleep.run", json!(1), ms(60));
    assert_eq!(failed(bench.end_of(late)).0, "no result within 60 ms; stopped", "no thread was free for it");
    assert_eq!(failed(bench.end_of(deaf)).0, "no result within 50 ms; stopped");
    assert_eq!(bench.end_of(next), Outcome::Ok(Json::new("{\"ms\":1}").unwrap()));
    is_done.store(true, Ordering::SeqCst);
}

#[test]
fn more_runs_than_threads_get_their_turn() {
    let bench = Bench::with(ExecutorConfig { threads: 2, ..ExecutorConfig::default() });
    let runs: Vec<RunId> = (0..50).map(|_| bench.begin("sleep.run", json!(2), DEADLINE)).collect();
    for run in runs {
        assert!(matches!(bench.end_of(run), Outcome::Ok(_)));
    }
}

#[test]
fn the_end_of_an_executor_is_the_end_of_its_runs() {
    let mut bench = Bench::builtin();
    let runs: Vec<RunId> = (0..100).map(|_| bench.begin("sleep.run", json!(600_000), DEADLINE)).collect();
    let started = Instant::now();
    bench.finish(Duration::from_secs(10));
    assert!(started.elapsed() < Duration::from_secs(10), "sleep ends when it is asked to");
    for run in runs {
        assert_eq!(failed(bench.ended(run).unwrap()).0, "stopped before it had a result");
    }
}

#[cfg(unix)]
#[test]
fn the_services_of_the_examples_work() {
    let directory = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/services"));
    let bench = Bench::with(ExecutorConfig { directory, ..ExecutorConfig::default() });
    let kernel = bench.ok("hostinfo.kernel", Value::Null);
    let name = Command::new("uname").arg("-s").output().unwrap();
    assert_eq!(kernel["name"].as_str(), std::str::from_utf8(&name.stdout).unwrap().lines().next());
    assert!(!bench.ok("hostinfo.uptime", Value::Null).as_str().unwrap().is_empty());
    let disk = bench.ok("hostinfo.disk", Value::Null);
    assert!(disk["total_kb"].as_u64().unwrap() >= disk["free_kb"].as_u64().unwrap(), "{disk}");
    if has("python3") {
        let text = json!({"text": "one two\ntwo é", "n": 2});
        assert_eq!(bench.ok("wordcount.count", text.clone()), json!({"lines": 2, "words": 4, "characters": 13}));
        assert_eq!(bench.ok("wordcount.top", text), json!([["two", 2], ["one", 1]]));
        let (detail, _, retry) = failed(bench.call("wordcount.count", json!({})));
        assert!(detail.contains("`text` is missing") && !retry, "{detail}");
    }
    // A `node` that is a node of mutirão has no such option.
    if Command::new("node").args(["-e", "0"]).status().is_ok_and(|status| status.success()) {
        assert_eq!(bench.ok("slug.run", json!({"text": "Olá, Mutirão!"})), json!({"slug": "ola-mutirao"}));
        assert!(failed(bench.call("slug.run", json!(1))).0.contains("`text` is missing"));
    } else {
        println!("skipped: Node.js is not installed as `node`");
    }
}
