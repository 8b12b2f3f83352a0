//! Services as they really run: threads, processes, their trees, and the programs of the examples.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use mutirao::core::{Outcome, Run, RunId};
use mutirao::service::{Context, Executor, ExecutorConfig, Failure, Report, Service, builtins};
use mutirao::wire::{Attempt, JobId, Json, MAX_OUTPUT_BYTES, ServiceName, ServiceOffer, Stream};

use support::{DEADLINE, wait_for, wait_until, watch};

/// Everything that an executor reports.
#[derive(Default)]
struct Reports {
    finished: Mutex<BTreeMap<RunId, Vec<Outcome>>>,
    printed: Mutex<Vec<(RunId, Stream, String)>>,
    offers: Mutex<Vec<Vec<String>>>,
    /// Something was printed by a run that had ended.
    is_late: AtomicBool,
}

impl Report for Reports {
    fn finished(&self, run: RunId, outcome: Outcome) {
        self.finished.lock().unwrap().entry(run).or_default().push(outcome);
    }

    fn printed(&self, run: RunId, stream: Stream, text: String) {
        assert!(!text.is_empty() && text.len() <= MAX_OUTPUT_BYTES);
        if self.finished.lock().unwrap().contains_key(&run) {
            self.is_late.store(true, Ordering::SeqCst);
        }
        self.printed.lock().unwrap().push((run, stream, text));
    }

    fn offers(&self, offers: Vec<ServiceOffer>) {
        assert!(offers.is_sorted());
        self.offers.lock().unwrap().push(offers.iter().map(|offer| offer.name.to_string()).collect());
    }
}

/// An executor, what it reports, and a directory for manifests.
struct Bench {
    executor: Option<Executor>,
    reports: Arc<Reports>,
    place: tempfile::TempDir,
    next: AtomicU64,
}

impl Bench {
    fn with(config: ExecutorConfig) -> Bench {
        let reports = Arc::new(Reports::default());
        let executor = Executor::start(config, Arc::clone(&reports) as Arc<dyn Report>).unwrap();
        let place = tempfile::tempdir().unwrap();
        Bench { executor: Some(executor), reports, place, next: AtomicU64::new(1) }
    }

    fn builtin() -> Bench {
        Bench::with(ExecutorConfig::default())
    }

    fn shell() -> Bench {
        Bench::with(ExecutorConfig { allow_exec: true, ..ExecutorConfig::default() })
    }

    /// With these files in its directory, `NAME.toml` being manifests.
    fn programs(files: &[(&str, &str)]) -> Bench {
        let place = tempfile::tempdir().unwrap();
        files.iter().for_each(|(file, text)| put(place.path(), file, text));
        let rescan = Duration::from_millis(20);
        let directory = Some(place.path().to_owned());
        let mut bench = Bench::with(ExecutorConfig { directory, rescan, ..ExecutorConfig::default() });
        bench.place = place;
        bench
    }

    fn executor(&self) -> &Executor {
        self.executor.as_ref().unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        put(self.place.path(), name, text);
    }

    /// What a file holds, once a program has written a whole line to it.
    fn line_of(&self, name: &str) -> String {
        wait_for(name, || {
            let text = fs::read_to_string(self.file(name)).unwrap_or_default();
            text.strip_suffix('\n').map(str::to_owned)
        })
    }

    fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.file(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn begin(&self, what: &str, params: Value, timeout: Duration) -> RunId {
        let (service, method) = what.split_once('.').unwrap();
        let run = RunId(self.next.fetch_add(1, Ordering::SeqCst));
        let name = |text| ServiceName::new(text).unwrap();
        let attempt = Attempt { job_id: JobId::new(format!("test-1-{}", run.0)).unwrap(), attempt: 2 };
        let (service, method, params) = (name(service), name(method), Json::of(&params));
        let started = Instant::now();
        self.executor().run(Run { run, service, method, params, timeout, attempt: Some(attempt), output: true });
        assert!(started.elapsed() < Duration::from_secs(1), "run returns at once");
        run
    }

    fn ended(&self, run: RunId) -> Option<Outcome> {
        self.reports.finished.lock().unwrap().get(&run).map(|outcomes| outcomes[0].clone())
    }

    fn end_of(&self, run: RunId) -> Outcome {
        wait_for(&format!("the end of {run:?}"), || self.ended(run))
    }

    fn call(&self, what: &str, params: Value) -> Outcome {
        self.end_of(self.begin(what, params, DEADLINE))
    }

    fn ok(&self, what: &str, params: Value) -> Value {
        match self.call(what, params) {
            Outcome::Ok(result) => result.value(),
            failed => panic!("{what}: {failed:?}"),
        }
    }

    fn printed(&self, run: RunId, stream: Stream) -> String {
        let printed = self.reports.printed.lock().unwrap();
        printed.iter().filter(|(of, on, _)| (*of, *on) == (run, stream)).map(|(_, _, text)| text.as_str()).collect()
    }

    fn offers(&self) -> Vec<String> {
        self.reports.offers.lock().unwrap().last().unwrap().clone()
    }

    fn finish(&mut self, grace: Duration) {
        self.executor.take().unwrap().finish(grace);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.executor.take());
        if std::thread::panicking() {
            return;
        }
        let finished = self.reports.finished.lock().unwrap();
        for run in (1..self.next.load(Ordering::SeqCst)).map(RunId) {
            let ends = finished.get(&run).map_or(0, Vec::len);
            assert_eq!(ends, 1, "{run:?} has {ends} ends: {finished:?}");
        }
        assert!(!self.reports.is_late.load(Ordering::SeqCst), "something was printed after the end of its run");
    }
}

fn put(place: &Path, name: &str, text: &str) {
    // In one step, so that no look meets half a file.
    let half = place.join(format!(".{name}.new"));
    fs::write(&half, text).unwrap();
    fs::rename(half, place.join(name)).unwrap();
}

fn failed(outcome: Outcome) -> (String, Option<Value>, bool) {
    match outcome {
        Outcome::Failed { detail, result, retry } => (detail, result.map(|result| result.value()), retry),
        Outcome::Ok(result) => panic!("expected a failure, got {result}"),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A manifest of the program `run.sh`.
fn manifest(name: &str, more: &str) -> String {
    format!("name = \"{name}\"\ncommand = [\"sh\", \"run.sh\"]\nmethods = [\"run\", \"ping\"]\n{more}\n")
}

/// A program in shell that reads requests; `body` has `$id` and `$line`, and `answer JSON`.
fn program(body: &str) -> String {
    format!(
        "echo $$ >> pids\nanswer() {{ printf '{{\"ID\":\"%s\",\"RESULT\":%s}}\\n' \"$id\" \"$1\"; }}\n\
         while IFS= read -r line; do\nid=${{line#*:\\\"}}; id=${{id%%\\\"*}}\n{body}\ndone\necho closed >> ends\n"
    )
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Whether a process of this number lives and is no zombie.
#[cfg(target_os = "linux")]
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

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
mod shell {
    use super::*;

    #[test]
    fn commands_run_and_their_ends_are_told() {
        let bench = Bench::shell();
        assert_eq!(bench.offers(), ["primes", "query", "shell", "sleep", "system"]);
        let all = json!({"EXIT": 0, "STDOUT": "out\n", "STDERR": "err\n"});
        assert_eq!(bench.ok("shell.run", json!({"line": "echo out; echo err >&2"})), all);
        let command = json!({
            "command": ["sh", "-c", "cat; echo $A $JOB_ID $ATTEMPT; pwd"],
            "env": {"A": "b c"}, "dir": "/", "stdin": "given\n",
        });
        let run = bench.begin("shell.run", command, DEADLINE);
        let Outcome::Ok(result) = bench.end_of(run) else { panic!("{:?}", bench.ended(run)) };
        assert_eq!(result.value()["STDOUT"], format!("given\nb c test-1-{} 2\n/\n", run.0));
        let (detail, result, retry) = failed(bench.call("shell.run", json!({"line": "echo no >&2; exit 3"})));
        let expected = json!({"EXIT": 3, "STDOUT": "", "STDERR": "no\n"});
        assert_eq!((detail.as_str(), result, retry), ("exit status 3", Some(expected), false));
        let (detail, result, retry) = failed(bench.call("shell.run", json!({"line": "kill -9 $$"})));
        let expected = json!({"SIGNAL": 9, "STDOUT": "", "STDERR": ""});
        assert_eq!((detail.as_str(), result, retry), ("ended by signal 9", Some(expected), false));
        let (detail, _, retry) = failed(bench.call("shell.run", json!({"command": ["/no/such/program"]})));
        assert!(detail.starts_with("/no/such/program cannot be started: ") && !retry, "{detail}");
        assert!(failed(bench.call("shell.run", json!({"lime": "x"}))).0.contains("neither `command` nor `line`"));
    }

    #[test]
    fn what_is_printed_is_seen_while_it_runs_and_the_end_of_it_is_kept() {
        let bench = Bench::shell();
        let waits = json!({"line": "printf 'h\\303'; read -r x", "stdin": null});
        let run = bench.begin("shell.run", waits, DEADLINE);
        // `read` has nothing to read and ends; the cut character is told when it is sure that it stays cut.
        assert!(failed(bench.end_of(run)).0.contains("exit status 1"));
        assert_eq!(bench.printed(run, Stream::Out), "h\u{fffd}");

        let place = bench.file("go");
        let line = format!("echo first; while [ ! -e {} ]; do sleep 0.01; done; echo second", place.display());
        let run = bench.begin("shell.run", json!({ "line": line }), DEADLINE);
        wait_until("the first line", || bench.printed(run, Stream::Out) == "first\n");
        assert_eq!(bench.ended(run), None);
        fs::write(place, "").unwrap();
        bench.end_of(run);
        assert_eq!(bench.printed(run, Stream::Out), "first\nsecond\n");

        let line = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
        let result = bench.ok("shell.run", json!({ "line": line }));
        let kept = result["STDOUT"].as_str().unwrap();
        assert!(kept.len() <= 16 * 1024 && kept.ends_with("line 19998\nline 19999\n"), "{}", kept.len());
    }

    #[test]
    fn output_without_end_is_not_shown_without_end() {
        let bench = Bench::shell();
        let run = bench.begin("shell.run", json!({"line": "yes"}), ms(1500));
        assert_eq!(failed(bench.end_of(run)).0, "no result within 1.5 s; stopped");
        let shown = bench.printed(run, Stream::Out).len();
        assert!((1 << 20..5 << 20).contains(&shown), "{shown} bytes");
        assert!(bench.printed(run, Stream::Err).contains("more than 4 MiB were printed"));
    }

    #[test]
    fn who_ignores_the_request_to_stop_is_killed() {
        let bench = Bench::shell();
        let line = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
        let run = bench.begin("shell.run", json!({ "line": line }), DEADLINE);
        wait_until("the trap", || bench.printed(run, Stream::Out) == "ready\n");
        let started = Instant::now();
        bench.executor().stop(run);
        assert_eq!(failed(bench.end_of(run)), ("stopped before it had a result".to_owned(), None, true));
        let took = started.elapsed();
        assert!(took >= ms(1900) && took < ms(5000), "asked, and killed two seconds later: {took:?}");
    }

    #[test]
    fn who_cleans_up_when_asked_has_the_time_to() {
        let bench = Bench::shell();
        let done = bench.file("done");
        let line =
            format!("trap 'echo clean > {}; exit 0' TERM; echo ready; while :; do sleep 0.01; done", done.display());
        let run = bench.begin("shell.run", json!({ "line": line }), DEADLINE);
        wait_until("the trap", || bench.printed(run, Stream::Out) == "ready\n");
        bench.executor().stop(run);
        assert_eq!(failed(bench.end_of(run)).0, "stopped before it had a result");
        assert_eq!(bench.line_of("done"), "clean");
    }

    /// The tree of a command: itself, a child, a grandchild in a session of its own whose parent is gone.
    #[cfg(target_os = "linux")]
    const TREE: &str = "sleep 1001 & echo $! > child; (setsid sh -c 'echo $$ > daemon; exec sleep 1002' &) ; \
                        setsid sh -c 'sleep 1003 & echo $! > orphan'; sleep 0.01 & wait $!; ";

    #[test]
    #[cfg(target_os = "linux")]
    fn the_whole_process_tree_ends_with_a_run_and_strangers_do_not() {
        let bench = Bench::shell();
        let mut stranger = Command::new("sleep").arg("1004").env("MUTIRAO_RUN", "somebody else's").spawn().unwrap();
        let dir = bench.place.path().to_str().unwrap().to_owned();
        let begin = |rest: &str, timeout| {
            let _ = ["child", "daemon", "orphan"].map(|file| fs::remove_file(bench.file(file)));
            let run = bench.begin("shell.run", json!({"line": format!("{TREE}{rest}"), "dir": dir}), timeout);
            (run, ["child", "daemon", "orphan"].map(|file| bench.line_of(file)))
        };
        let gone = |pids: &[String]| wait_until("the tree to be gone", || pids.iter().all(|pid| !lives(pid)));

        let (run, pids) = begin("sleep 1005", DEADLINE);
        assert!(pids.iter().all(|pid| lives(pid)), "{pids:?}");
        bench.executor().stop(run);
        assert_eq!(failed(bench.end_of(run)).0, "stopped before it had a result");
        gone(&pids);

        let (run, pids) = begin("trap '' TERM; while :; do sleep 0.05; done", ms(1000));
        assert_eq!(failed(bench.end_of(run)).0, "no result within 1 s; stopped");
        gone(&pids);

        let (run, pids) = begin("exit 0", DEADLINE);
        assert!(matches!(bench.end_of(run), Outcome::Ok(_)), "what stays in the background holds nothing up");
        gone(&pids);

        let (_, pids) = begin("sleep 1006", DEADLINE);
        drop(bench);
        gone(&pids);
        assert!(lives(&stranger.id().to_string()));
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

#[cfg(unix)]
mod programs {
    use super::*;

    #[test]
    fn a_program_is_asked_by_lines_and_answers_by_lines() {
        let echo = program("answer \"$line\"");
        let bench = Bench::programs(&[("e.toml", &manifest("e", "")), ("run.sh", &echo)]);
        assert_eq!(bench.offers(), ["e", "primes", "query", "sleep", "system"]);
        let run = bench.begin("e.run", json!({"a": "é\n"}), Duration::from_secs(60));
        let Outcome::Ok(request) = bench.end_of(run) else { panic!("{:?}", bench.ended(run)) };
        let mut request = request.value();
        let left = request["TIMEOUT_MS"].take().as_u64().unwrap();
        assert!(left <= 60_000 && left > 30_000, "{left}");
        let expected = json!({
            "ID": "1", "METHOD": "run", "PARAMS": {"a": "é\n"}, "JOB_ID": format!("test-1-{}", run.0), "ATTEMPT": 2,
            "TIMEOUT_MS": null,
        });
        assert_eq!(request, expected);
        let (detail, _, retry) = failed(bench.call("e.fly", json!(1)));
        assert_eq!((detail.as_str(), retry), ("e has no method fly; it has run, ping", false));
        assert_eq!(bench.lines("pids").len(), 1, "one process for all");
    }

    #[test]
    fn errors_strays_and_unknown_ids_break_nothing() {
        let odd = program(
            "echo 'starting {\"ID\"'; echo warn >&2; echo '{\"ID\":\"99\",\"RESULT\":1}'; echo '{\"ID\":\"x\",\"RESULT\":1}'\n\
             echo '{\"RESULT\":1}'; echo\n\
             case $line in *ping*) printf '{\"ID\":%s,\"ERROR\":\"no\",\"RETRY\":true,\"RESULT\":[1]}\\n' \"$id\";; *) answer 5;; esac",
        );
        let bench = Bench::programs(&[("o.toml", &manifest("o", "")), ("run.sh", &odd)]);
        let run = bench.begin("o.run", json!(1), DEADLINE);
        assert_eq!(bench.end_of(run), Outcome::Ok(Json::new("5").unwrap()));
        assert_eq!(bench.printed(run, Stream::Out), "starting {\"ID\"\n{\"RESULT\":1}\n\n");
        assert_eq!(failed(bench.call("o.ping", json!(1))), ("no".to_owned(), Some(json!([1])), true));
        assert_eq!(bench.ok("o.run", json!(1)), json!(5));
    }

    #[test]
    fn what_a_program_prints_is_shown_to_the_only_run_in_flight() {
        let bench = Bench::programs(&[
            ("p.toml", &manifest("p", "")),
            ("run.sh", &program("echo working; echo hard >&2\nwhile [ ! -e go ]; do sleep 0.01; done; answer 1")),
        ]);
        let run = bench.begin("p.run", json!(1), DEADLINE);
        wait_until("stdout and stderr", || {
            (bench.printed(run, Stream::Out), bench.printed(run, Stream::Err)) == ("working\n".into(), "hard\n".into())
        });
        assert_eq!(bench.ended(run), None);
        bench.put("go", "");
        assert!(matches!(bench.end_of(run), Outcome::Ok(_)));
    }

    #[test]
    fn requests_wait_for_a_slow_start_and_for_their_turn() {
        let slow = format!("while [ ! -e go ]; do sleep 0.01; done\n{}", program("answer 1"));
        let bench = Bench::programs(&[("s.toml", &manifest("s", "")), ("run.sh", &slow)]);
        let early: Vec<RunId> = (0..20).map(|_| bench.begin("s.run", json!(1), DEADLINE)).collect();
        let hurried = bench.begin("s.run", json!(1), ms(50));
        assert_eq!(failed(bench.end_of(hurried)).0, "no result within 50 ms; stopped");
        assert!(early.iter().all(|run| bench.ended(*run).is_none()));
        bench.put("go", "");
        for run in early {
            assert_eq!(bench.end_of(run), Outcome::Ok(Json::new("1").unwrap()));
        }
    }

    #[test]
    fn concurrency_is_how_many_are_in_flight_and_answers_may_come_in_any_order() {
        // Answers every second request, and then the one before it.
        let swap = program("if [ -n \"$kept\" ]; then new=$id; answer 2; id=$kept; answer 1; kept=; else kept=$id; fi");
        let bench = Bench::programs(&[("c.toml", &manifest("c", "concurrency = 2")), ("run.sh", &swap)]);
        let runs: Vec<RunId> = (0..6).map(|_| bench.begin("c.run", json!(1), DEADLINE)).collect();
        for (run, expected) in runs.iter().zip(["1", "2"].into_iter().cycle()) {
            assert_eq!(bench.end_of(*run), Outcome::Ok(Json::new(expected).unwrap()));
        }
    }

    #[test]
    fn a_crash_fails_what_is_in_flight_with_the_end_of_stderr_and_the_program_comes_back() {
        let crash = program("case $line in *ping*) echo 'it hurts' >&2; exit 3;; *) answer 1;; esac");
        let bench = Bench::programs(&[("c.toml", &manifest("c", "")), ("run.sh", &crash)]);
        for _ in 0..2 {
            let (detail, _, retry) = failed(bench.call("c.ping", json!(1)));
            assert_eq!((detail.as_str(), retry), ("exit status 3; stderr ends: it hurts", true));
            assert_eq!(bench.ok("c.run", json!(1)), json!(1));
        }
        assert_eq!(bench.lines("pids").len(), 3);
    }

    #[test]
    fn a_program_that_crashes_again_and_again_is_started_less_and_less_and_not_offered() {
        let bench =
            Bench::programs(&[("c.toml", &manifest("c", "")), ("run.sh", "date +%s%N >> starts; echo x >&2; exit 1")]);
        wait_until("it to be withdrawn", || bench.offers() == ["primes", "query", "sleep", "system"]);
        let (detail, _, retry) = failed(bench.call("c.run", json!(1)));
        assert_eq!((detail.as_str(), retry), ("c is down: exit status 1; stderr ends: x", true));
        // Withdrawn at the pause of 1.6 s: after those of 0.1, 0.2, 0.4 and 0.8 s.
        let starts: Vec<u64> = bench.lines("starts").iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(starts.len(), 5, "{starts:?}");
        for (pair, least) in starts.windows(2).zip([100, 200, 400, 800]) {
            assert!((pair[1] - pair[0]) / 1_000_000 >= least, "{starts:?}");
        }
        bench.put("run.sh", &program("answer 1"));
        wait_until("it to be offered again", || bench.offers().contains(&"c".to_owned()));
        assert_eq!(bench.ok("c.run", json!(1)), json!(1));
    }

    #[test]
    fn a_program_that_cannot_be_started_is_withdrawn_and_says_why() {
        let text = "name = \"n\"\ncommand = [\"./nothing\"]\nmethods = [\"run\"]\n";
        let bench = Bench::programs(&[("n.toml", text)]);
        wait_until("it to be withdrawn", || !bench.offers().contains(&"n".to_owned()));
        let (detail, _, retry) = failed(bench.call("n.run", json!(1)));
        assert!(detail.starts_with("n is down: ./nothing cannot be started: ") && retry, "{detail}");
    }

    #[test]
    fn a_request_that_hangs_costs_its_process_and_nothing_more() {
        let hang = program("case $line in *ping*) sleep 1000;; *) answer 1;; esac");
        let bench = Bench::programs(&[("h.toml", &manifest("h", "timeout = \"300ms\"")), ("run.sh", &hang)]);
        assert_eq!(bench.ok("h.run", json!(1)), json!(1));
        let hanging = bench.begin("h.ping", json!(1), DEADLINE);
        assert_eq!(failed(bench.end_of(hanging)), ("no result within 300 ms; stopped".to_owned(), None, true));
        for _ in 0..3 {
            let stopped = bench.begin("h.ping", json!(1), DEADLINE);
            bench.executor().stop(stopped);
            assert_eq!(failed(bench.end_of(stopped)).0, "stopped before it had a result");
            assert_eq!(bench.ok("h.run", json!(1)), json!(1));
        }
    }

    #[test]
    fn a_stop_does_not_harm_the_other_requests_of_a_process() {
        let shared = program("case $line in *ping*) kept=$id;; *) answer 1;; esac");
        let bench = Bench::programs(&[("s.toml", &manifest("s", "concurrency = 4")), ("run.sh", &shared)]);
        let hanging = bench.begin("s.ping", json!(1), DEADLINE);
        let other = bench.begin("s.ping", json!(1), ms(700));
        bench.executor().stop(hanging);
        assert_eq!(failed(bench.end_of(hanging)).0, "stopped before it had a result");
        assert_eq!(bench.ok("s.run", json!(1)), json!(1));
        assert_eq!(bench.lines("pids").len(), 1);
        // A time-out does: the process may hang.
        assert_eq!(failed(bench.end_of(other)).0, "no result within 700 ms; stopped");
        assert_eq!(bench.ok("s.run", json!(1)), json!(1));
        assert_eq!(bench.lines("pids").len(), 2);
    }

    #[test]
    fn a_program_that_is_ill_is_started_again_and_offered_when_it_is_well() {
        let ill = program(
            "case $line in *ping*) if [ -e ill ]; then echo '{\"ID\":'$id',\"ERROR\":\"fever\"}'; else answer 1; fi;; *) answer 2;; esac",
        );
        let health = "health = \"ping\"\ninterval = \"100ms\"";
        let bench = Bench::programs(&[("h.toml", &manifest("h", health)), ("run.sh", &ill)]);
        assert_eq!(bench.ok("h.run", json!(1)), json!(2));
        bench.put("ill", "");
        wait_until("it to be withdrawn", || !bench.offers().contains(&"h".to_owned()));
        assert_eq!(failed(bench.call("h.run", json!(1))).0, "h is down: its health check says: fever");
        fs::remove_file(bench.file("ill")).unwrap();
        wait_until("it to be offered again", || bench.offers().contains(&"h".to_owned()));
        assert_eq!(bench.ok("h.run", json!(1)), json!(2));
        assert!(bench.lines("pids").len() >= 2, "it was started again");
    }

    #[test]
    fn a_program_that_does_not_answer_its_health_check_is_started_again() {
        let ill = program(
            "case $line in *ping*) if [ -e ill ]; then rm ill; sleep 1000; else answer 1; fi;; *) answer 2;; esac",
        );
        let health = "health = \"ping\"\ninterval = \"200ms\"";
        let bench = Bench::programs(&[("h.toml", &manifest("h", health)), ("run.sh", &ill)]);
        wait_until("it to have answered", || matches!(bench.call("h.run", json!(1)), Outcome::Ok(_)));
        bench.put("ill", "");
        wait_until("a second process", || bench.lines("pids").len() == 2);
        wait_until("it to be offered again", || bench.offers().contains(&"h".to_owned()));
        assert_eq!(bench.ok("h.run", json!(1)), json!(2));
    }

    #[test]
    fn who_closes_its_output_is_started_again() {
        let mute = program("if [ -e mute ]; then rm mute; exec >&-; else answer 1; fi");
        let bench = Bench::programs(&[("m.toml", &manifest("m", "")), ("run.sh", &mute)]);
        bench.put("mute", "");
        let (detail, _, retry) = failed(bench.call("m.run", json!(1)));
        assert_eq!((detail.as_str(), retry), ("it has closed its standard output", true));
        assert_eq!(bench.ok("m.run", json!(1)), json!(1));
    }

    #[test]
    fn answers_over_the_limit_are_failures_and_the_program_goes_on() {
        let long = program(
            "case $line in *ping*) text=0123456789; for i in 1 2 3 4 5 6 7 8 9; do text=$text$text; done; answer \"\\\"$text\\\"\";; \
             *) answer 1;; esac",
        );
        let bench = Bench::programs(&[("l.toml", &manifest("l", "output = 2048")), ("run.sh", &long)]);
        for _ in 0..2 {
            let (detail, _, retry) = failed(bench.call("l.ping", json!(1)));
            assert!(detail.contains("longer than the 2048 bytes that `output`") && !retry, "{detail}");
            assert_eq!(bench.ok("l.run", json!(1)), json!(1));
        }
        assert_eq!(bench.lines("pids").len(), 1);
    }

    #[test]
    fn a_flood_of_strays_holds_nothing_up() {
        let flood = program("i=0; while [ $i -lt 20000 ]; do echo noise; echo more >&2; i=$((i+1)); done; answer 1");
        let bench = Bench::programs(&[("f.toml", &manifest("f", "")), ("run.sh", &flood)]);
        let run = bench.begin("f.run", json!(1), DEADLINE);
        assert_eq!(bench.end_of(run), Outcome::Ok(Json::new("1").unwrap()));
        assert_eq!(bench.printed(run, Stream::Out).len(), 20_000 * "noise\n".len());
    }

    #[test]
    fn services_come_change_and_go_with_their_manifests() {
        let bench = Bench::programs(&[("bad.toml", "name = \"bad\"\n"), ("system.toml", &manifest("system", ""))]);
        assert_eq!(bench.offers(), ["primes", "query", "sleep", "system"], "a bad one and a taken name change nothing");
        assert_eq!(bench.ok("system.echo", json!(1)), json!(1));

        bench.put("run.sh", &program("while [ -e hold ]; do sleep 0.01; done; answer 1"));
        bench.put("a.toml", &manifest("a", ""));
        wait_until("a", || bench.offers() == ["a", "primes", "query", "sleep", "system"]);
        assert_eq!(bench.ok("a.run", json!(1)), json!(1));

        // A change takes effect when nothing is in flight.
        bench.put("hold", "");
        let old = bench.begin("a.run", json!(1), DEADLINE);
        bench.put("run.sh", &program("answer 2"));
        let new = bench.begin("a.run", json!(1), DEADLINE);
        watch(ms(200), || assert_eq!((bench.ended(old), bench.ended(new)), (None, None)));
        fs::remove_file(bench.file("hold")).unwrap();
        assert_eq!(bench.end_of(old), Outcome::Ok(Json::new("1").unwrap()));
        // It may have been given to the old process before the change was seen.
        assert!(matches!(bench.end_of(new), Outcome::Ok(_)));
        wait_until("the new program", || bench.ok("a.run", json!(1)) == json!(2));
        assert_eq!(bench.lines("ends"), ["closed"], "the old one was let go, not killed");

        bench.put("a.toml", "name = ");
        bench.put("b.toml", &manifest("b", ""));
        wait_until("b", || bench.offers().contains(&"b".to_owned()));
        assert_eq!(bench.ok("a.run", json!(1)), json!(2), "a manifest that went bad changes nothing");

        fs::remove_file(bench.file("a.toml")).unwrap();
        wait_until("a to go", || bench.offers() == ["b", "primes", "query", "sleep", "system"]);
        assert_eq!(failed(bench.call("a.run", json!(1))).0, "this node has no service a");
        wait_until("its process to end", || bench.lines("ends").len() == 2);
        assert_eq!(bench.ok("b.run", json!(1)), json!(2));
    }

    #[test]
    fn a_program_is_let_go_gracefully_and_its_request_may_still_be_answered() {
        let mut bench = Bench::programs(&[
            ("g.toml", &manifest("g", "")),
            ("run.sh", &program("echo begun > begun; while [ ! -e go ]; do sleep 0.01; done; answer 1")),
        ]);
        let run = bench.begin("g.run", json!(1), DEADLINE);
        bench.line_of("begun");
        let started = Instant::now();
        bench.finish(ms(1000));
        assert!(started.elapsed() < ms(4000), "{:?}", started.elapsed());
        assert_eq!(failed(bench.ended(run).unwrap()).0, "stopped before it had a result");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_tree_of_a_program_ends_with_it() {
        let daemon = "(setsid sh -c 'trap \"\" TERM; echo $$ > daemon; while :; do sleep 0.05; done' &)\n";
        let crash = program("case $line in *ping*) exit 1;; *) answer 1;; esac");
        let mut bench = Bench::programs(&[("d.toml", &manifest("d", "")), ("run.sh", &format!("{daemon}{crash}"))]);
        assert_eq!(bench.ok("d.run", json!(1)), json!(1));
        let first = bench.line_of("daemon");
        fs::remove_file(bench.file("daemon")).unwrap();
        assert_eq!(failed(bench.call("d.ping", json!(1))).0, "exit status 1");
        wait_until("the daemon to be gone", || !lives(&first));
        assert_eq!(bench.ok("d.run", json!(1)), json!(1));
        let second = bench.line_of("daemon");
        assert!(lives(&second));
        bench.finish(ms(200));
        assert!(!lives(&second), "nothing is left when the executor is gone");
        assert!(bench.lines("pids").iter().all(|pid| !lives(pid)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_has_a_limit() {
        if !has("python3") {
            return;
        }
        let hungry = "import json, sys\nfor line in sys.stdin:\n    r = json.loads(line)\n    n = len(bytearray(r['PARAMS'] << 20))\n    \
                      print(json.dumps({'ID': r['ID'], 'RESULT': n}), flush=True)\n";
        let text = "name = \"m\"\ncommand = [\"python3\", \"m.py\"]\nmethods = [\"run\"]\nmemory = \"200MiB\"\n";
        let bench = Bench::programs(&[("m.toml", text), ("m.py", hungry)]);
        assert_eq!(bench.ok("m.run", json!(10)), json!(10 << 20));
        let (detail, _, retry) = failed(bench.call("m.run", json!(400)));
        assert!(
            detail.starts_with("exit status 1; stderr ends: ") && detail.contains("MemoryError") && retry,
            "{detail}"
        );
        assert_eq!(bench.ok("m.run", json!(10)), json!(10 << 20));
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
