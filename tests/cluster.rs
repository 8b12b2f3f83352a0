//! `node cluster`, `node demo` and `node loans`, as real processes: they show what happens, lose no job, and leave no process behind.
//!
//! Who belongs to a cluster is found by the name of its directory on the command lines of all processes, so on Linux alone.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::ports::free_port;
use support::process::{Output, Process, command, run};
use support::wait::pause;
use tempfile::TempDir;

/// How long anything may take: eight processes and their parent on two cores that others use as well.
const LONG: Duration = Duration::from_secs(60);

/// A cluster in a directory of its own.
struct Cluster {
    process: Process,
    dir: TempDir,
}

impl Cluster {
    fn start(args: &[&str]) -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_str().expect("plain letters").to_owned();
        let all = ["cluster", "--keep-dir", &path].into_iter().chain(args.iter().copied());
        Cluster { process: Process::spawn(&mut command(all)), dir }
    }

    /// Waits until it has printed a line with all of these in it.
    fn wait_line(&self, parts: &[&str]) -> String {
        wait_long(&format!("a line with {parts:?}"), || line_with(&self.process.stdout, parts))
    }

    fn wait_end(&mut self) -> ExitStatus {
        let Cluster { process, .. } = self;
        wait_long("the cluster to end", || process.ended())
    }

    /// How many nodes of it live.
    fn nodes(&self) -> usize {
        processes_with(self.dir.path())
    }

    fn wait_no_node(&self) {
        wait_long("all nodes to be gone", || (self.nodes() == 0).then_some(()));
    }
}

fn wait_long<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < LONG, "waited {LONG:?} in vain for: {what}");
        pause(Duration::from_millis(20));
    }
}

fn line_with(output: &Output, parts: &[&str]) -> Option<String> {
    output.lines().into_iter().find(|line| parts.iter().all(|part| line.contains(part)))
}

/// Nodes, and nobody else, that have a path below this directory on their command line.
fn processes_with(dir: &Path) -> usize {
    let dir = format!("{}/", dir.to_str().expect("plain letters"));
    let entries = fs::read_dir("/proc").expect("Linux has it").flatten();
    let lines = entries.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        fs::read(entry.path().join("cmdline")).ok()
    });
    lines.filter(|line| String::from_utf8_lossy(line).contains(&dir)).count()
}

const PHASES: [&str; 7] = ["saturated", "asked", "agreed", "redirected", "working there", "released", "home again"];

#[test]
fn a_cluster_shows_every_phase_and_ends_with_all_at_home_and_nobody_left() {
    let mut cluster = Cluster::start(&["--jobs", "60", "--job-ms", "50"]);
    let status = cluster.wait_end();
    let text = wait_long("all that it prints", || {
        let text = cluster.process.stdout.text();
        text.contains("nodes were ended").then_some(text)
    });
    assert_eq!(status.code(), Some(0), "{text}");
    for phase in PHASES {
        assert!(text.contains(&format!("----    {phase}, seen at ")), "{phase}");
    }
    assert!(text.contains("60 jobs: 60 OK, 0 failed"), "{text}");
    assert!(text.contains("8 nodes were ended") && text.contains("at home"), "{text}");
    let others = text.lines().find_map(|line| line.strip_suffix(" of them were done by workers of other masters"));
    assert!(others.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count > 0)), "{others:?}");
    for counts in ["-- m1   local 3  lent 0  borrowed 2", "-- m2   local 1  lent 2  borrowed 0"] {
        assert!(text.contains(counts), "{counts}");
    }
    // The logs of all, merged, and each as it came in a file.
    for name in ["m1", "m2", "w1", "w2", "w3", "w4", "w5", "w6"] {
        assert!(text.lines().any(|line| line.get(8..).is_some_and(|line| line.starts_with(name))), "{name}");
        let log = fs::read_to_string(cluster.dir.path().join(format!("{name}.log"))).expect("a log");
        assert!(log.contains("INFO"), "{name}: {log}");
    }
    let stamps = text.lines().filter_map(|line| line.get(..7)?.trim().parse::<f64>().ok());
    let stamps: Vec<f64> = stamps.collect();
    // A machine that is very busy may deliver a line late; most of them come in order all the same.
    let back = stamps.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(stamps.len() > 50 && back * 10 < stamps.len(), "{back} of {}", stamps.len());
    assert!(!text.contains('\u{1b}'), "a pipe gets no colours");
    assert_eq!(cluster.nodes(), 0);
}

#[test]
fn ctrl_c_in_the_middle_ends_everything() {
    let mut cluster = Cluster::start(&["--jobs", "5000"]);
    cluster.wait_line(&["working there"]);
    assert_eq!(cluster.nodes(), 8);
    cluster.process.signal(Signal::INT);
    let status = cluster.wait_end();
    cluster.wait_line(&["trouble: it was told to end"]);
    assert_eq!(status.code(), Some(1));
    assert_eq!(cluster.nodes(), 0);
}

#[test]
fn nodes_die_with_who_started_them_even_if_it_is_killed() {
    let mut cluster = Cluster::start(&["--jobs", "5000"]);
    cluster.wait_line(&["working there"]);
    cluster.process.kill();
    cluster.wait_no_node();
}

#[test]
fn a_worker_that_is_killed_costs_no_job() {
    let mut cluster = Cluster::start(&["--jobs", "150", "--kill", "w1@2"]);
    let status = cluster.wait_end();
    cluster.wait_line(&["150 jobs: 150 OK, 0 failed"]);
    cluster.wait_line(&["w1 is killed, 2.00 s after the jobs came"]);
    cluster.wait_line(&["7 nodes were ended"]);
    assert_eq!(status.code(), Some(0));
    assert_eq!(cluster.nodes(), 0);
}

#[test]
fn a_cluster_whose_jobs_are_done_waits_for_nobody_s_death() {
    let mut cluster = Cluster::start(&["--jobs", "3", "--job-ms", "50", "--kill", "m1@1h"]);
    let status = cluster.wait_end();
    cluster.wait_line(&["m1 is not killed: all was done before"]);
    cluster.wait_line(&["3 jobs: 3 OK, 0 failed"]);
    assert_eq!(status.code(), Some(0), "{}", cluster.process.stdout.text());
    assert_eq!(cluster.nodes(), 0);
}

#[test]
fn a_lender_that_is_killed_costs_no_job() {
    let mut cluster = Cluster::start(&["--jobs", "200", "--kill", "m2@2"]);
    let status = cluster.wait_end();
    cluster.wait_line(&["200 jobs: 200 OK, 0 failed"]);
    cluster.wait_line(&["m2 is killed, 2.00 s after the jobs came"]);
    cluster.wait_line(&["m1 ", "TIMEOUT"]);
    cluster.wait_line(&["7 nodes were ended"]);
    assert_eq!(status.code(), Some(0), "{}", cluster.process.stdout.text());
    assert_eq!(cluster.nodes(), 0);
}

#[test]
fn a_node_that_dies_by_itself_is_told_with_the_end_of_its_log() {
    let mut cluster = Cluster::start(&["--jobs", "5000", "--for", "4"]);
    cluster.wait_line(&["saturated, seen at m1"]);
    let pid = process_of(&cluster, "w2");
    rustix::process::kill_process(pid, Signal::KILL).expect("it lives");
    cluster.wait_line(&["w2 has ended by itself: signal: 9", "the end of its log:"]);
    let status = cluster.wait_end();
    let text = cluster.process.stdout.text();
    assert!(text.lines().any(|line| line.starts_with("      20") && line.contains("works for m1")), "{text}");
    assert_eq!(status.code(), Some(1));
    cluster.wait_line(&["trouble: w2 has ended by itself"]);
}

/// The process of a node.
fn process_of(cluster: &Cluster, name: &str) -> rustix::process::Pid {
    let place = format!("{}/{name}", cluster.dir.path().display());
    let found = fs::read_dir("/proc").expect("Linux has it").flatten().find_map(|entry| {
        let id = entry.file_name().to_str()?.parse::<i32>().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        line.split(|byte| *byte == 0).any(|word| word == place.as_bytes()).then_some(id)
    });
    found.and_then(rustix::process::Pid::from_raw).expect("the node runs")
}

#[test]
fn the_tour_has_all_captions_with_their_proofs_and_ends_by_itself() {
    let started = Instant::now();
    let done = run(["demo"]);
    let text = String::from_utf8(done.stdout).expect("text");
    assert_eq!(done.status.code(), Some(0), "{text}");
    assert!(started.elapsed() < LONG);
    let captions = [
        ("0. At home.", "local 3  lent 0  borrowed 0"),
        ("1. Saturated.", "m1      SATURATED: "),
        ("2. Asked.", "m1      LOAN_ASKED (m2): m2 is asked for "),
        ("3. Agreed.", "LOAN_ACCEPTED"),
        ("4. Redirected.", "m2      WORKER_LENT"),
        ("5. Working there.", "m1      JOB_ENDED: "),
        ("6. Released.", "m1      RELEASED: "),
        ("7. Home again.", "m2      WORKER_RETURNED"),
    ];
    let mut rest = text.as_str();
    for (caption, proof) in captions {
        rest = rest.split_once(caption).unwrap_or_else(|| panic!("{caption}: {text}")).1;
        rest = rest.split_once(proof).unwrap_or_else(|| panic!("{caption} without {proof}: {text}")).1;
    }
    assert!(rest.contains("120 jobs: 120 OK, 0 failed") && rest.contains("| nc 127.0.0.1 9101"), "{rest}");
    assert!(!text.contains("not seen"), "{text}");
}

#[test]
fn loans_are_listed_and_followed() {
    let port = wait_long("two free ports side by side", || {
        let port = free_port();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok().then_some(port)
    });
    let address = format!("127.0.0.1:{port}");
    let seen = |output: &Output, parts: &[&str]| wait_long(&format!("{parts:?}"), || line_with(output, parts));
    // Before there is anybody to follow: it tries again until there is.
    let follow = Process::spawn(&mut command(["loans", &address, "--follow"]));
    let json = Process::spawn(&mut command(["loans", &address, "--follow", "--output", "json"]));
    seen(&follow.stdout, &["nobody listens", "tries again"]);
    seen(&json.stderr, &["nobody listens", "tries again"]);
    let cluster = Cluster::start(&["--jobs", "150", "--port", &port.to_string()]);
    seen(&follow.stdout, &["follows", &address]);
    seen(&follow.stdout, &["LOAN_ASKED", "[local 3, lent 0, borrowed "]);
    seen(&follow.stdout, &["WORKER_BORROWED", "borrowed 2]"]);
    let list = run(["loans", &address]);
    let text = String::from_utf8(list.stdout).expect("text");
    assert!(text.starts_with("local 3, lent 0, borrowed 2\n") && text.contains("ACTIVE"), "{text}");
    let line = seen(&json.stdout, &["\"worker_borrowed\"", "\"borrowed\":2"]);
    let event: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&event["local"], &event["lent"]), (&3.into(), &0.into()), "{event}");
    seen(&follow.stdout, &["WORKER_RETURNED"]);
    cluster.wait_line(&["8 nodes were ended"]);
    wait_long("the end to be told", || (follow.stdout.text().matches("tries again").count() == 2).then_some(()));
    assert!(!follow.stdout.text().contains("JOB_ENDED"));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_started() {
    for (args, code, what) in [
        (&["cluster", "--kill", "m3@1"][..], 2, "expected m1 to m2 or w1 to w6"),
        (&["cluster", "--kill", "m1"], 2, "NAME@SECONDS"),
        (&["__cluster-node"], 2, "no command of its own"),
        (&["loans", "127.0.0.1:1"], 1, "nobody listens"),
    ] {
        let done = run(args);
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(what), "{args:?}: {text}");
    }
    let full = tempfile::tempdir().expect("a directory");
    fs::write(full.path().join("x"), "").expect("a file");
    let done = run(["cluster", "--keep-dir", full.path().to_str().expect("plain letters")]);
    assert_eq!(done.status.code(), Some(2), "{}", String::from_utf8_lossy(&done.stderr));
    // Not the child of who says that it has started it.
    let done = run(["__cluster-node", "1", "--port", "0", "--ephemeral"]);
    assert_eq!((done.status.code(), done.stdout.len()), (Some(1), 0));
    let taken = support::NodeProcess::start(&[]);
    let done = run(["cluster", "--port", &taken.port.to_string()]);
    assert_eq!(done.status.code(), Some(3), "{}", String::from_utf8_lossy(&done.stderr));
}
