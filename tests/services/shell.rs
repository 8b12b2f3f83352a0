//! `shell`: commands and their process trees.

use std::fs;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use mutirao::core::Outcome;
use mutirao::wire::Stream;

use crate::bench::*;
use crate::support::{DEADLINE, wait_until};

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
    let line = format!("trap 'echo clean > {}; exit 0' TERM; echo ready; while :; do sleep 0.01; done", done.display());
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
