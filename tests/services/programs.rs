//! Programs that are supervised: their lines, crashes, health, limits and manifests.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use mutirao::core::{Outcome, RunId};
use mutirao::wire::{Json, Stream};

use crate::bench::*;
use crate::support::{DEADLINE, wait_until, watch};

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
    let ill =
        program("case $line in *ping*) if [ -e ill ]; then rm ill; sleep 1000; else answer 1; fi;; *) answer 2;; esac");
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
    assert!(detail.starts_with("exit status 1; stderr ends: ") && detail.contains("MemoryError") && retry, "{detail}");
    assert_eq!(bench.ok("m.run", json!(10)), json!(10 << 20));
}
