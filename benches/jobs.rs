//! Jobs and calls, beside their yardsticks, in the same minutes. Linux only.
//!
//! ```text
//!   cargo bench --bench jobs                        all, about three minutes
//!   cargo bench --bench jobs -- --only durable      what has `durable` in its name
//!   cargo bench --bench jobs -- --smoke             some seconds: does it work?
//! ```
//!
//! | name | what | yardsticks |
//! |---|---|---|
//! | `relay 1xD` | a job of 64 bytes from SUBMIT to its result, in memory, one client, one worker, D in flight; of 64, server and generator have a core each | nats-server (request and reply), gearmand (foreground), beanstalkd, as far as they are installed |
//! | `relay 1x64 one core` | the same with server and generator on one core | the same |
//! | `durable Cx1` | SUBMIT until it is on disk, C clients | redis-server with appendfsync always, SET of the same bytes |
//! | `call CxD` | CALL system.echo until its result | redis PING |
//! | `memory` | resident memory a job of 1,000,000 queued ones of 64 bytes | |
//!
//! How to read it: as `throughput`. Rounds are interleaved, ratios are medians over pairs of rounds, 1.20 is faster
//! than the yardstick. The generator is client and worker in one thread, on the first core; with a core each, all threads of
//! a server are on the second one: NATS, whose runtime has several, as well. Payloads are 64 bytes both ways, and every one is
//! compared. The generator reads the lines of each server from one field to the next and searches none, so that it is no
//! bottleneck: it takes less than half a microsecond a job for the node, a third for NATS.
//!
//! On a machine that others use, compare `p50` and `cpu`: in a closed loop the rate is the jobs in flight by the latency.
//!
//! The targets of `relay` at 64 in flight hold for a core each: a broker has a machine to itself, and the figure of NATS
//! that the target was taken from, 385,000 a second, was measured so. On one core a server rests until the generator has
//! asked for all that may be in flight: every server then answers in batches of up to 64, and the rate is that of the CPU
//! which server and generator spend on a job together. That is the steadier figure on a busy machine, and `cpu` is to be
//! compared there; NATS is twice as fast so, because it spends little but on system calls, and its batches grow.

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use support::load::{Ask, Check, Load, Round};
use support::options::Options;
use support::process::{Program, Server, exchange, ping};
use support::relay::Relay;
use support::report::{Measurement, Series, Targets};
use support::{Failure, broker, machine};

/// Rounds of each server in a full run.
const ROUNDS: usize = 5;
/// The payload of every job.
const PAYLOAD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The measurement of many jobs in flight where server and generator share a core.
const ONE_CORE: &str = "relay 1x64 one core";
/// Jobs whose memory is measured.
const QUEUED: usize = 1_000_000;

fn main() -> ExitCode {
    let options = Options::read();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("jobs: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    machine::raise_open_files()?;
    let cores = machine::cores()?;
    let node = options.node.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_node")));
    let mut measured = Vec::new();
    let mut targets = Targets::default();
    // With one in flight across two cores, the wake-ups would be measured.
    for (depth, one_core, name) in [(1, true, "relay 1x1"), (64, false, "relay 1x64"), (64, true, ONE_CORE)] {
        if options.wants(name) {
            measured.push(relay(options, &node, &cores, depth, one_core, name)?);
        }
    }
    for conns in [1, 100] {
        if options.wants(&Measurement::name("durable", conns, 1)) {
            measured.push(durable(options, &node, &cores, conns)?);
        }
    }
    for (conns, depth) in [(1, 1), (16, 1), (16, 16)] {
        if options.wants(&Measurement::name("call", conns, depth)) {
            measured.push(call(options, &node, &cores, conns, depth)?);
        }
    }
    for measurement in &measured {
        measurement.print();
        judge(measurement, &mut targets);
    }
    let memory = if options.wants("memory") { Some(memory(options, &node)?) } else { None };
    targets.print(options.smoke);
    let measurements: Vec<_> = measured.iter().map(Measurement::json).collect();
    println!(
        "{}",
        json!({"bench": "jobs", "smoke": options.smoke, "measurements": measurements, "memory": memory, "targets": targets.json()})
    );
    Ok(())
}

/// Runs interleaved rounds of several servers, on one core where little is in flight or that is what is measured.
fn rounds(
    options: &Options,
    cores: &[usize],
    one_core: bool,
    servers: &[&Server],
    mut round: impl FnMut(usize, Duration, Duration) -> Result<Round, Failure>,
) -> Result<(Vec<Vec<Round>>, bool), Failure> {
    let one_core = one_core || cores.len() < 2;
    machine::pin_self(&cores[..1])?;
    for server in servers {
        server.pin(&[cores[if one_core { 0 } else { 1 }]])?;
    }
    let mut kept: Vec<Vec<Round>> = vec![Vec::new(); servers.len()];
    let (count, mut repeats) = if options.smoke { (1, 0) } else { (ROUNDS, ROUNDS) };
    let (length, warm) = (options.round(0.2), Duration::from_millis(if options.smoke { 20 } else { 150 }));
    let mut undisturbed = true;
    while kept[0].len() < count {
        let together: Result<Vec<Round>, Failure> = (0..servers.len())
            .map(|index| round(index, warm, length).map_err(|why| format!("{}: {why}", servers[index].name).into()))
            .collect();
        let together = together?;
        // A server that waits for its disk leaves the core idle: only waiting for a core counts.
        let most = if one_core { 0.6 } else { 0.1 };
        if together.iter().any(|round| round.waited > most) {
            if repeats > 0 {
                repeats -= 1;
                continue;
            }
            undisturbed = false;
        }
        for (kept, round) in kept.iter_mut().zip(together) {
            kept.push(round);
        }
    }
    machine::pin_self(cores)?;
    Ok((kept, undisturbed))
}

fn relay(
    options: &Options,
    node: &Path,
    cores: &[usize],
    depth: usize,
    one_core: bool,
    name: &str,
) -> Result<Measurement, Failure> {
    // What others do not keep is not kept here.
    let memory = ["--durability", "memory", "--cpu-threshold", "0", "--keep-results", "0"];
    let mut servers = vec![Server::required(Program::NodeWith(node, &memory))?];
    if !options.no_yardsticks && !options.smoke {
        for name in ["nats", "gearmand", "beanstalkd"] {
            match Server::start(Program::Broker(name))? {
                Some(server) => servers.push(server),
                None => println!("{name} is not installed: no comparison with it\n"),
            }
        }
    }
    let refs: Vec<&Server> = servers.iter().collect();
    let (kept, undisturbed) = rounds(options, cores, one_core, &refs, |index, warm, length| {
        // Connected anew for each round: a worker that says nothing while others are measured counts as lost after 6 s.
        let server = &servers[index];
        Relay::connect(server.address, broker::of(server.name), depth)?.round(server.pid, warm, length)
    })?;
    let measurement = measurement("relay", 1, depth, one_core || cores.len() < 2, undisturbed, &servers, 0, kept);
    Ok(Measurement { name: name.to_owned(), ..measurement })
}

fn durable(options: &Options, node: &Path, cores: &[usize], conns: usize) -> Result<Measurement, Failure> {
    let settings = ["--max-jobs", "100000000", "--capacity", "1000000000", "--cpu-threshold", "0"];
    let mut servers = vec![Server::required(Program::NodeWith(node, &settings))?];
    if !options.no_yardsticks && !options.smoke {
        servers.extend(Server::start(Program::RedisDurable)?);
    }
    let request = format!("{{\"TASK\":\"SUBMIT\",\"SERVICE\":\"bench\",\"PARAMS\":\"{PAYLOAD}\"}}\n").into_bytes();
    let reply = exchange(servers[0].address, &request)?;
    let prefix = b"{\"TASK\":\"SUBMIT\",\"RESPONSE\":\"OK\",\"JOB_ID\":\"".to_vec();
    let check = Check::Varying { prefix, length: reply.len() - 1, slack: 8, parse: is_queued };
    let set = format!("SET job {}\r\n", String::from_utf8_lossy(&request).trim_end().replace('"', "_"));
    let asks = [Ask { request, check }, Ask { request: set.into_bytes(), check: Check::Exact(b"+OK\r\n".to_vec()) }];
    let mut loads: Vec<Load> = (servers.iter().zip(&asks))
        .map(|(server, ask)| Load::connect(server.address, ask, conns, 1))
        .collect::<Result<_, _>>()?;
    let refs: Vec<&Server> = servers.iter().collect();
    let (kept, undisturbed) = rounds(options, cores, conns == 1, &refs, |index, warm, length| {
        loads[index].round(servers[index].pid, warm, length)
    })?;
    Ok(measurement("durable", conns, 1, conns == 1, undisturbed, &servers, reply.len(), kept))
}

fn call(options: &Options, node: &Path, cores: &[usize], conns: usize, depth: usize) -> Result<Measurement, Failure> {
    let settings = ["--durability", "memory", "--cpu-threshold", "0"];
    let mut servers = vec![Server::required(Program::NodeWith(node, &settings))?];
    if !options.no_yardsticks && !options.smoke {
        servers.extend(Server::start(Program::Redis)?);
    }
    let request = b"{\"TASK\":\"CALL\",\"SERVICE\":\"system\",\"METHOD\":\"echo\",\"PARAMS\":{\"n\":1}}\n".to_vec();
    let reply = exchange(servers[0].address, &request)?;
    let value: Value = serde_json::from_slice(&reply)?;
    if value["RESPONSE"] != "OK" || value["RESULT"] != json!({"n": 1}) {
        return Err(format!("a wrong answer to CALL: {}", support::load::text(&reply)).into());
    }
    let length = reply.len();
    let asks = [Ask { request, check: Check::Exact(reply) }, ping()];
    let mut loads: Vec<Load> = (servers.iter().zip(&asks))
        .map(|(server, ask)| Load::connect(server.address, ask, conns, depth))
        .collect::<Result<_, _>>()?;
    let refs: Vec<&Server> = servers.iter().collect();
    let (kept, undisturbed) = rounds(options, cores, depth == 1, &refs, |index, warm, length| {
        loads[index].round(servers[index].pid, warm, length)
    })?;
    Ok(measurement("call", conns, depth, depth == 1, undisturbed, &servers, length, kept))
}

/// Queues a million jobs that nobody does, and looks at the process.
fn memory(options: &Options, node: &Path) -> Result<Value, Failure> {
    let settings = ["--durability", "memory", "--max-jobs", "100000000", "--capacity", "1000000000"];
    let server = Server::required(Program::NodeWith(node, &settings))?;
    let count = if options.smoke { QUEUED / 100 } else { QUEUED };
    let before = machine::rss_of(server.pid)?;
    let mut stream = TcpStream::connect(server.address)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let line = format!("{{\"TASK\":\"SUBMIT\",\"SERVICE\":\"bench\",\"PARAMS\":\"{PAYLOAD}\"}}\n");
    let mut answer = Vec::new();
    for begun in (0..count).step_by(500) {
        let batch = 500.min(count - begun);
        stream.write_all(line.repeat(batch).as_bytes())?;
        for _ in 0..batch {
            answer.clear();
            answers.read_until(b'\n', &mut answer)?;
            if memchr::memmem::find(&answer, b"\"QUEUED\"").is_none() {
                return Err(format!("memory: a wrong answer: {}", support::load::text(&answer)).into());
            }
        }
    }
    let after = machine::rss_of(server.pid)?;
    let each = (after.saturating_sub(before)) as f64 / count as f64;
    println!("memory, {count} queued jobs of 64 bytes: {:.0} MB, {each:.0} bytes each\n", after as f64 / 1e6);
    Ok(json!({"jobs": count, "rss_bytes": after, "bytes_a_job": each.round()}))
}

fn is_queued(line: &[u8]) -> Result<(), String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if value["STATUS"] == "QUEUED" && value["JOB_ID"].is_string() {
        return Ok(());
    }
    Err(format!("SUBMIT: expected a job that is QUEUED: {}", support::load::text(line)))
}

#[expect(clippy::too_many_arguments, reason = "each is a field of the measurement")]
fn measurement(
    task: &'static str,
    conns: usize,
    depth: usize,
    one_core: bool,
    undisturbed: bool,
    servers: &[Server],
    reply_bytes: usize,
    kept: Vec<Vec<Round>>,
) -> Measurement {
    let series = |(server, rounds): (&Server, Vec<Round>)| Series { name: server.name, reply_bytes, rounds };
    let series = servers.iter().zip(kept).map(series).collect();
    Measurement { name: Measurement::name(task, conns, depth), task, conns, depth, one_core, undisturbed, series }
}

/// What issue 3 wants of one measurement.
fn judge(measurement: &Measurement, targets: &mut Targets) {
    let name = &measurement.name;
    let Some(node) = measurement.series("node") else { return };
    let mut at_least = |of: &'static str, wanted: f64| {
        if let Some(series) = measurement.series(of) {
            let rate = node.rate_ratio(series);
            targets.note(format!("{name}: rate at least {wanted} of {of}"), rate >= wanted, format!("{rate:.2}"));
        }
    };
    match (measurement.task, measurement.depth) {
        // The rates beside each other on one core are printed, and wanted by nobody.
        ("relay", 64) if name == ONE_CORE => {}
        ("relay", 64) => {
            at_least("nats", 1.0);
            at_least("gearmand", 5.0);
        }
        ("relay", _) => at_least("nats", 1.0),
        ("durable", _) => at_least("redis", 1.0),
        _ => {
            let (rate, p99) = (node.rate(), node.latency(0.99));
            if measurement.conns == 16 {
                let figure = format!("{:.0}/s, p99 {:?}", rate, p99);
                let reached = rate >= 100_000.0 && p99 < Duration::from_millis(1);
                targets.note(format!("{name}: 100,000 calls/s with a p99 below 1 ms"), reached, figure);
            }
        }
    }
}
