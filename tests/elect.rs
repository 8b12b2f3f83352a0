//! `node elect` as real processes: one command at a time, whoever is killed, stopped or cut off.
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use support::group::{Masters, QUICK};
use support::process::{NodeProcess, Process, command, run};
use support::terminal::Terminal;
use support::{wait_for, wait_until};

/// A command that writes a line every so often: when, by which fence, and that it is it. `$1`: the file, `$2`: what it does on TERM.
const WRITER: &str = r#"
trap "$2" TERM
echo "$MUTIRAO_FENCE start $$" >> "$1"
while :; do
  echo "$MUTIRAO_FENCE $(date +%s%N)" >> "$1"
  sleep 0.02
done
"#;

/// Where the commands of one test write.
struct Journal {
    directory: TempDir,
}

impl Journal {
    fn new() -> Journal {
        Journal { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.path()).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }

    /// The starts so far: fence, and number of the process.
    fn starts(&self) -> Vec<(u64, i32)> {
        let starts = self.lines().into_iter().filter(|line| line.len() == 3 && line[1] == "start");
        starts.map(|line| (line[0].parse().expect("a fence"), line[2].parse().expect("a process"))).collect()
    }

    /// Waits until so many have started. Returns the last one.
    fn wait_starts(&self, count: usize) -> (u64, i32) {
        wait_for(&format!("start {count}"), || self.starts().get(count - 1).copied())
    }

    /// Asserts that no two wrote at the same time, and that each fence is larger than the one before.
    fn assert_one_at_a_time(&self) {
        let mut spans: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        // One that was killed while it asked for the time wrote none.
        for line in self.lines().iter().filter(|line| line.len() == 2 && !line[1].is_empty()) {
            let (fence, at): (u64, u64) = (line[0].parse().expect("a fence"), line[1].parse().expect("a time"));
            let span = spans.entry(fence).or_insert((at, at));
            *span = (span.0.min(at), span.1.max(at));
        }
        let spans: Vec<(u64, u64)> = spans.into_values().collect();
        for pair in spans.windows(2) {
            assert!(pair[0].1 < pair[1].0, "two commands wrote at the same time: {pair:?}");
        }
        let fences: Vec<u64> = self.starts().into_iter().map(|(fence, _)| fence).collect();
        assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "{fences:?}");
    }
}

fn exists(process: i32) -> bool {
    // One that has ended and was not reaped yet runs no more.
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// `node elect` with these options and this command.
fn elect(to: &str, options: &[&str], words: &[&str]) -> Process {
    Process::spawn(&mut elect_command(to, options, words))
}

fn elect_command(to: &str, options: &[&str], words: &[&str]) -> Command {
    let head = ["elect", "job", "--to", to];
    command(head.iter().chain(options).chain(&["--"]).chain(words))
}

/// A candidate whose command writes into the journal.
fn writer(to: &str, ttl: &str, journal: &Journal) -> Process {
    let path = journal.path();
    elect(to, &["--ttl", ttl], &["sh", "-c", WRITER, "writer", path.to_str().expect("a path"), ":"])
}

fn child_of(process: u32) -> u32 {
    wait_for("the child of a process", || {
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    })
}

fn kill(process: u32, signal: Signal) {
    let pid = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, signal).expect("it can be signalled");
}

/// A master alone, which leads.
fn master() -> NodeProcess {
    let node = NodeProcess::start(&QUICK);
    wait_until("it to lead", || node.ask(r#"{"TASK":"ELECT"}"#)["STATE"] == "LEADER");
    node
}

fn lease(node: &NodeProcess) -> Value {
    node.ask(r#"{"TASK":"LEASE"}"#)["LEASES"][0].clone()
}

#[test]
fn environment_input_outputs_and_exit_codes_pass() {
    let node = master();
    let script =
        r#"echo "$MUTIRAO_LEASE $MUTIRAO_FENCE $MUTIRAO_HOLDER ${MUTIRAO_TICK-none} $OWN"; cat; echo err >&2; exit 3"#;
    let mut child = elect_command(&node.address(), &[], &["sh", "-c", script])
        .env("OWN", "inherited")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"from stdin\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let (first, rest) = out.split_once('\n').unwrap();
    let words: Vec<&str> = first.split(' ').collect();
    assert_eq!((words[0], &words[3..]), ("job", &["none", "inherited"][..]), "{out}");
    assert!(words[1].parse::<u64>().is_ok_and(|fence| fence > 0) && words[2].contains('-'), "{out}");
    assert_eq!((rest, output.stderr.as_slice(), output.status.code()), ("from stdin\n", &b"err\n"[..], Some(3)));
    assert!(lease(&node).is_null(), "it is released");

    let code = |words: &[&str]| elect(&node.address(), &[], words).wait().0.code();
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), Some(137));
    assert_eq!(code(&["no-such-command-here"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    assert_eq!(code(&["true"]), Some(0));
}

#[test]
fn wrong_command_lines_are_refused_with_what_was_expected() {
    let long = "x".repeat(65);
    for (args, expected) in [
        (&["elect", "job"][..], "COMMAND"),
        (&["elect", "job", "--ttl", "0.5", "--", "true"], "expected 1 s to 1 h"),
        (&["elect", "job", "--ttl", "2h", "--", "true"], "expected 1 s to 1 h"),
        (&["elect", &long, "--", "true"], "1 to 64 bytes"),
        (&["elect", "job", "--to", "nowhere", "--", "true"], "no port"),
        (&["elect", "job", "--every", "1.5", "--", "true"], "whole seconds"),
        (&["elect", "job", "--grace", "5", "--", "true"], "a quarter of --ttl"),
        (&["elect", "job", "--missed", "skip", "--", "true"], "--every"),
        (&["lease"], "ls"),
        (&["__elect-guard"], "no command of its own"),
        (&["__elect-exec", "1"], "no command of its own"),
    ] {
        let output = run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(expected), "{args:?}: {text}");
    }
    for what in [&["completions", "bash"][..], &["completions", "zsh"], &["man"], &["--help"]] {
        let text = String::from_utf8_lossy(&run(what).stdout).into_owned();
        let hidden = ["guard", "elect-exec", "elect__exec"];
        assert!(text.contains("elect") && !hidden.iter().any(|word| text.contains(word)), "{what:?}");
    }
}

#[test]
fn signals_reach_the_command_and_end_who_waits() {
    let node = master();
    let journal = Journal::new();
    let script = r#"for s in INT TERM HUP QUIT USR1 USR2; do trap "echo $s; [ $s = TERM ] && exit 7" $s; done
        echo "$MUTIRAO_FENCE start $$" >> "$1"; while :; do sleep 0.02; done"#;
    let path = journal.path();
    let mut holder = elect(&node.address(), &[], &["sh", "-c", script, "signals", path.to_str().unwrap()]);
    journal.wait_starts(1);
    let mut waiting = writer(&node.address(), "10s", &journal);
    wait_until("it to say who holds it", || waiting.stderr.text().contains("is held by"));
    let text = waiting.stderr.text();
    assert!(text.contains(lease(&node)["HOLDER"].as_str().unwrap()) && text.lines().count() == 1, "{text}");
    let names = [("INT", Signal::INT), ("HUP", Signal::HUP), ("QUIT", Signal::QUIT), ("USR1", Signal::USR1)];
    for (name, signal) in names.into_iter().chain([("USR2", Signal::USR2)]) {
        holder.signal(signal);
        wait_until(&format!("{name} to be passed on"), || holder.stdout.lines().iter().any(|line| line == name));
    }
    waiting.signal(Signal::USR1);
    waiting.signal(Signal::INT);
    assert_eq!(waiting.wait().0.code(), Some(130), "who waits ends at once");
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().0.code(), Some(7));
    assert!(lease(&node).is_null(), "it is released");
}

#[test]
fn one_of_three_runs_and_when_it_is_killed_another_does_and_nothing_of_the_first_is_left() {
    let masters = Masters::started(3, &QUICK);
    let journal = Journal::new();
    let children = journal.directory.path().join("children");
    // A grandchild in a session of its own, one of them with nothing in its environment and without a parent; TERM is not heard.
    let script = format!(
        r#"(setsid sh -c 'echo $$ >> {0}; exec sleep 1000' &)
           (env -i setsid /bin/sh -c 'echo $$ >> {0}; trap "" TERM; while :; do sleep 1000; done' &)
           {WRITER}"#,
        children.display(),
    );
    let path = journal.path();
    let words = ["sh", "-c", &script, "writer", path.to_str().unwrap(), ":"];
    let mut candidates: Vec<Process> =
        (0..3).map(|nth| elect(&masters.address(nth), &["--ttl", "1s"], &words)).collect();
    let (_, first) = journal.wait_starts(1);
    let grandchildren = wait_for("two grandchildren", || {
        let text = fs::read_to_string(&children).ok()?;
        let found: Vec<i32> = text.lines().map(|line| line.parse().expect("a process")).collect();
        (found.len() == 2).then_some(found)
    });
    let is_ancestor = |candidate: &Process| {
        let child = fs::read_to_string(format!("/proc/{0}/task/{0}/children", candidate.id())).unwrap_or_default();
        !child.trim().is_empty()
    };
    assert_eq!(candidates.iter().filter(|candidate| is_ancestor(candidate)).count(), 1, "one runs");
    let holder = candidates.iter().position(is_ancestor).unwrap();
    candidates[holder].kill();
    journal.wait_starts(2);
    assert!(!exists(first) && !grandchildren.iter().any(|process| exists(*process)), "something is left");
    journal.assert_one_at_a_time();
}

#[test]
fn without_its_guard_the_command_dies_and_is_started_again() {
    let node = master();
    let journal = Journal::new();
    let candidate = writer(&node.address(), "2s", &journal);
    let (_, first) = journal.wait_starts(1);
    kill(child_of(candidate.id()), Signal::KILL);
    wait_until("the command to die", || !exists(first));
    journal.wait_starts(2);
    journal.assert_one_at_a_time();
    assert!(candidate.stderr.text().contains("guard"), "{}", candidate.stderr.text());
    // Without both, the system kills what is left.
    let (_, second) = journal.wait_starts(2);
    let guard = child_of(candidate.id());
    candidate.signal(Signal::STOP);
    kill(guard, Signal::KILL);
    wait_until("the command to die", || !exists(second));
}

#[test]
fn a_stopped_process_or_guard_does_not_let_the_command_outlive_its_lease() {
    let node = master();
    let journal = Journal::new();
    let candidates = [writer(&node.address(), "1s", &journal), writer(&node.address(), "1s", &journal)];
    let holder = |nth: usize| {
        let (_, process) = journal.wait_starts(nth);
        // command <- guard <- node elect
        let elect = candidates.iter().position(|it| {
            fs::read_to_string(format!("/proc/{process}/environ"))
                .is_ok_and(|environ| environ.contains(&format!("-{}-", it.id())))
        });
        (process, elect.expect("one of the candidates"))
    };
    let (first, stopped) = holder(1);
    candidates[stopped].signal(Signal::STOP);
    journal.wait_starts(2);
    assert!(!exists(first));
    candidates[stopped].signal(Signal::CONT);
    wait_until("it to say so", || candidates[stopped].stderr.text().contains("lost `job`"));
    // Now the guard of the other is stopped, and it cannot be reached any more either.
    let (second, other) = holder(2);
    kill(child_of(candidates[other].id()), Signal::STOP);
    candidates[other].signal(Signal::STOP);
    candidates[other].signal(Signal::CONT);
    wait_until("the lease to be renewed", || exists(second));
    candidates[other].signal(Signal::INT);
    journal.assert_one_at_a_time();
}

#[test]
fn a_master_that_is_killed_and_leaders_that_change_restart_nothing() {
    transfers(20);
}

#[test]
#[ignore = "it takes a minute: 100 elections, no restart"]
fn a_hundred_elections_restart_nothing() {
    transfers(100);
}

fn transfers(count: usize) {
    let mut masters = Masters::started(3, &QUICK);
    let journal = Journal::new();
    let leader = masters.wait_leader();
    // It is told of one master only, and learns of the others.
    let candidate = writer(&masters.address(leader), "6s", &journal);
    let (fence, process) = journal.wait_starts(1);
    let term = |masters: &Masters, nth: usize| masters.ask(nth, &json!({"TASK": "ELECT"}))["TERM"].as_u64().unwrap();
    let before = term(&masters, leader);
    let mut next = leader;
    for _ in 0..count {
        next = (next + 1) % 3;
        let name = format!("m{next}");
        let address = masters.address(next);
        wait_until("the leadership to be handed over", || {
            run(["lead", name.as_str(), "--to", &address]).status.success() && masters.leader() == Some(next)
        });
    }
    assert!(term(&masters, next) >= before + count as u64, "there were as many elections");
    // The one that it was told of dies, as does whoever leads then.
    masters.kill(leader);
    let second = masters.wait_leader();
    masters.start(leader);
    masters.wait_voters(3);
    masters.kill(second);
    masters.wait_leader();
    let renewed = Instant::now() + Duration::from_secs(6);
    wait_until("the time of the lease to have gone by", || Instant::now() > renewed);
    assert_eq!((journal.starts(), exists(process)), (vec![(fence, process)], true), "{}", candidate.stderr.text());
}

#[test]
fn without_a_majority_the_command_is_stopped_in_time_and_starts_again_when_it_is_back() {
    let mut masters = Masters::started(3, &QUICK);
    let journal = Journal::new();
    let addresses = (0..3).map(|nth| masters.address(nth)).collect::<Vec<_>>().join(",");
    let candidate = writer(&addresses, "1s", &journal);
    let (_, first) = journal.wait_starts(1);
    let lost = Instant::now();
    masters.kill(0);
    masters.kill(1);
    wait_until("the command to be stopped", || !exists(first));
    assert!(lost.elapsed() < Duration::from_millis(1000), "not in time: {:?}", lost.elapsed());
    wait_until("it to say so", || candidate.stderr.text().contains("the command is stopped"));
    masters.start(0);
    journal.wait_starts(2);
    journal.assert_one_at_a_time();
}

/// The lines of a timetable's runs: tick, fence.
fn ticks(path: &Path) -> Vec<(u64, u64)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok()).expect("a number");
    text.lines().map(|line| (number(line.split(' ').next()), number(line.split(' ').nth(1)))).collect()
}

#[test]
fn a_timetable_runs_each_tick_once_whoever_fails() {
    let masters = Masters::started(3, &QUICK);
    let journal = Journal::new();
    let path = journal.path();
    let script = r#"echo "$MUTIRAO_TICK $MUTIRAO_FENCE $MUTIRAO_HOLDER" >> "$1"; exit 4"#;
    let words = ["sh", "-c", script, "tick", path.to_str().unwrap()];
    let options = ["--ttl", "1s", "--every", "1s"];
    let mut candidates: Vec<Process> = (0..3).map(|nth| elect(&masters.address(nth), &options, &words)).collect();
    wait_until("two ticks", || ticks(&path).len() >= 2);
    let text = fs::read_to_string(&path).unwrap();
    let holder = candidates.iter().position(|it| text.contains(&format!("-{}-", it.id()))).unwrap();
    wait_until("the failure to be told", || candidates[holder].stderr.text().contains("exit code 4"));
    candidates[holder].kill();
    let (_, fence) = *ticks(&path).last().unwrap();
    wait_until("two ticks of another", || ticks(&path).iter().filter(|(_, it)| *it > fence).count() >= 2);
    // The one that holds it now ends by its own word.
    let text = fs::read_to_string(&path).unwrap();
    let holder = candidates.iter().rposition(|it| text.contains(&format!("-{}-", it.id())) && exists(it.id() as i32));
    let holder = &mut candidates[holder.unwrap()];
    holder.signal(Signal::TERM);
    assert_eq!(holder.wait().0.code(), Some(143));
    let all: Vec<u64> = ticks(&path).into_iter().map(|(tick, _)| tick).collect();
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "a tick was run twice: {all:?}");
    let listed = run(["lease", "ls", "--to", &masters.address(2)]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains("job") && all.iter().any(|tick| text.contains(&tick.to_string())), "{text}");
}

#[test]
fn missed_ticks_are_run_once_or_skipped() {
    let node = master();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    // A tick of long ago was the last one that was claimed, under a lease of each name.
    let hour = now() / 3600 * 3600;
    for name in ["run", "skip"] {
        let acquire = json!({"TASK": "LEASE", "ACTION": "ACQUIRE", "NAME": name, "HOLDER": "before"});
        let fence = node.ask(&acquire.to_string())["FENCE"].clone();
        for (action, tick) in [("TICK", json!(hour - 36_000)), ("RELEASE", Value::Null)] {
            let request = json!({"TASK": "LEASE", "ACTION": action, "NAME": name, "HOLDER": "before", "FENCE": fence, "TICK": tick});
            assert_eq!(node.ask(&request.to_string())["RESPONSE"], "OK", "{request}");
        }
    }
    let journal = Journal::new();
    let path = journal.path();
    let timetable = |name: &str, missed: &str| {
        let script = r#"echo "$MUTIRAO_TICK $MUTIRAO_FENCE" >> "$1""#;
        let address = node.address();
        let args = ["elect", name, "--to", &address, "--every", "1h", "--missed", missed, "--"];
        let words = ["sh", "-c", script, "tick", path.to_str().unwrap()];
        Process::spawn(&mut command(args.iter().chain(&words)))
    };
    let held = |name: &str| {
        let leases = node.ask(r#"{"TASK":"LEASE"}"#)["LEASES"].clone();
        leases.as_array().unwrap().iter().any(|it| it["NAME"] == name && it["HOLDER"].is_string())
    };
    let mut skips = timetable("skip", "skip");
    wait_until("it to hold the lease", || held("skip"));
    let runs = timetable("run", "run");
    wait_until("the missed one to be run", || !ticks(&path).is_empty());
    // If an hour began a moment ago, it may have been one of both.
    let run: Vec<u64> = ticks(&path).into_iter().map(|(tick, _)| tick).collect();
    assert!(run == [hour] || now() / 3600 * 3600 != hour, "{run:?}");
    skips.signal(Signal::INT);
    assert_eq!(skips.wait().0.code(), Some(130));
    wait_until("it to be released", || !held("skip"));
    drop(runs);
}

#[test]
fn on_a_terminal_the_command_reads_and_what_is_typed_reaches_it_once() {
    let node = master();
    let script = r#"trap 'echo "INT $((n += 1))"' INT; read line; echo "read $line"; while :; do sleep 0.02; done"#;
    let mut terminal = Terminal::start(&elect_command(&node.address(), &[], &["sh", "-c", script]), 80, 24);
    terminal.press(b"hello\n");
    wait_until("it to have read", || terminal.screen().rows().iter().any(|row| row.contains("read hello")));
    terminal.press(&[3]);
    wait_until("Ctrl-C to reach it", || terminal.screen().rows().iter().any(|row| row.contains("INT 1")));
    terminal.press(&[3]);
    wait_until("Ctrl-C to reach it again", || terminal.screen().rows().iter().any(|row| row.contains("INT 2")));
    assert!(!terminal.screen().rows().iter().any(|row| row.contains("INT 3")), "it came twice");
    terminal.press(&[28]);
    assert_eq!(terminal.wait().code(), Some(131));
}
