//! What the node costs while nothing happens: memory, CPU, start-up; beside its yardsticks, in the same run. Linux
//! only.
//!
//! ```text
//!   cargo bench --bench footprint                       all, about a minute
//!   cargo bench --bench footprint -- --only start       one of `start`, `idle`, `connections`
//!   cargo bench --bench footprint -- --smoke            five seconds: does it work?
//! ```
//!
//! How to read it, a line a server:
//!
//! - *start*: from the spawn of the process to its first right answer, median of 20 starts, the servers in turn.
//! - *idle RSS*, *idle CPU*: resident memory once it has answered one request; its CPU time over 5 s (`--seconds`)
//!   with nobody connected, in percent of one core.
//! - *bytes a connection*: growth of resident memory over 10,000 connections, divided by them. First silent ones,
//!   then the same after each has had one request answered, since that is when buffers appear. Memory of the kernel's
//!   sockets is not in it. *CPU*: with all of them idle.
//!
//! `limit` is the fixed-answer mio server of the benches. Fewer connections are made where the hard limit of open
//! files does not allow 10,000. The last line is the same as JSON. Targets are listed and never fail a run.

#[path = "support/mod.rs"]
mod support;

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::options::Options;
use support::process::{Program, Server, ask, ping};
use support::report::{Targets, human, median, rounded};
use support::server::Kind;
use support::{Failure, machine};

/// Idle connections that are wanted.
const CONNECTIONS: u64 = 10_000;
/// Open files that a bench and a server need beside their connections.
const OTHER_FILES: u64 = 200;
/// Memory that has not changed for this long has settled.
const SETTLED: Duration = Duration::from_millis(200);
/// It is taken as it is after this long.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let options = Options::read();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("footprint: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What was measured of one server.
#[derive(Default)]
struct Figures {
    name: &'static str,
    start: Option<Duration>,
    rss: Option<u64>,
    cpu: Option<f64>,
    conns: Option<Idle>,
}

/// What idle connections cost.
#[derive(Clone, Copy)]
struct Idle {
    count: u64,
    /// Bytes a connection that has said nothing.
    silent: f64,
    /// Bytes a connection that has had one request answered.
    spoken: f64,
    /// Percent of one core with all of them idle.
    cpu: f64,
}

fn run(options: &Options) -> Result<(), Failure> {
    let files = machine::raise_open_files()?;
    let conns = if options.smoke { 2_000 } else { CONNECTIONS }.min(files.saturating_sub(OTHER_FILES));
    let path = options.node.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_node")));

    let mut programs = vec![Program::Node(&path)];
    if !options.no_yardsticks {
        programs.push(Program::Ours(Kind::Fixed));
        if !options.smoke {
            programs.push(Program::Redis);
        }
    }
    let mut figures: Vec<Figures> = Vec::new();
    let mut installed = Vec::new();
    for program in programs {
        // Started once uncounted: its file is in the page cache from here on.
        match Server::start(program)? {
            Some(server) => {
                installed.push(program);
                figures.push(Figures { name: server.name, ..Figures::default() });
            }
            None => println!("redis-server is not installed: no comparison with it\n"),
        }
    }
    if options.wants("start") {
        start_up(&installed, if options.smoke { 5 } else { 20 }, &mut figures)?;
    }
    for (program, figures) in installed.iter().zip(&mut figures) {
        if options.wants("idle") || options.wants("connections") {
            let server = Server::required(*program)?;
            idle(options, &server, conns, figures)?;
        }
    }
    figures.iter().for_each(print);
    let targets = judge(options, &figures);
    targets.print(options.smoke);
    let servers: Vec<Value> = figures.iter().map(to_json).collect();
    println!(
        "{}",
        json!({"bench": "footprint", "smoke": options.smoke, "servers": servers, "targets": targets.json()})
    );
    Ok(())
}

/// Starts each program `times` times, in turn.
fn start_up(programs: &[Program<'_>], times: usize, figures: &mut [Figures]) -> Result<(), Failure> {
    let mut seconds = vec![Vec::new(); programs.len()];
    for _ in 0..times {
        for (program, seconds) in programs.iter().zip(&mut seconds) {
            seconds.push(Server::required(*program)?.started_in.as_secs_f64());
        }
    }
    for (seconds, figures) in seconds.into_iter().zip(figures) {
        figures.start = Some(Duration::from_secs_f64(median(seconds.into_iter())));
    }
    Ok(())
}

fn idle(options: &Options, server: &Server, conns: u64, figures: &mut Figures) -> Result<(), Failure> {
    let window = if options.smoke { options.round(0.5) } else { options.round(0.5).max(Duration::from_secs(5)) };
    let before = settled_rss(server.pid)?;
    if options.wants("idle") {
        figures.rss = Some(before);
        figures.cpu = Some(idle_cpu(server.pid, window)?);
    }
    if !options.wants("connections") {
        return Ok(());
    }
    let before = settled_rss(server.pid)?;
    let question = if server.name == "redis" { ping() } else { server.heartbeat()? };
    let mut streams = Vec::new();
    for _ in 0..conns {
        streams.push(TcpStream::connect(server.address)?);
    }
    // Connections are accepted in order: an answer on the last one says that the server has all of them.
    let speak = |stream: &mut TcpStream| -> Result<(), Failure> {
        let answer = ask(stream, &question.request)?;
        Ok(question.check.reply(answer.strip_suffix(b"\n").unwrap_or(&answer), true)?)
    };
    let last = streams.last_mut().ok_or("no open files left for a connection")?;
    speak(last)?;
    let silent = settled_rss(server.pid)?;
    for stream in &mut streams {
        speak(stream).map_err(|failure| format!("{}, an idle connection: {failure}", server.name))?;
    }
    let spoken = settled_rss(server.pid)?;
    let each = |rss: u64| rss.saturating_sub(before) as f64 / conns as f64;
    figures.conns =
        Some(Idle { count: conns, silent: each(silent), spoken: each(spoken), cpu: idle_cpu(server.pid, window)? });
    Ok(())
}

/// CPU time over `window`, in percent of one core.
fn idle_cpu(pid: u32, window: Duration) -> Result<f64, Failure> {
    let (begin, before) = (Instant::now(), machine::spent_by(pid)?);
    sleep(window);
    let used = machine::spent_by(pid)?.since(before).cpu;
    Ok(used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0)
}

/// Resident memory once it no longer changes.
fn settled_rss(pid: u32) -> Result<u64, Failure> {
    let begin = Instant::now();
    let (mut rss, mut since) = (machine::rss_of(pid)?, Instant::now());
    while since.elapsed() < SETTLED && begin.elapsed() < SETTLE_WITHIN {
        sleep(Duration::from_millis(20));
        let now = machine::rss_of(pid)?;
        if now != rss {
            (rss, since) = (now, Instant::now());
        }
    }
    Ok(rss)
}

fn print(figures: &Figures) {
    let mut parts = Vec::new();
    parts.extend(figures.start.map(|start| format!("start {}", human(start))));
    parts.extend(figures.rss.map(|rss| format!("idle RSS {:.1} MB", megabytes(rss))));
    parts.extend(figures.cpu.map(|cpu| format!("idle CPU {cpu:.2} %")));
    parts.extend(figures.conns.map(|idle| {
        let Idle { count, silent, spoken, cpu } = idle;
        format!("{count} connections: {silent:.0} bytes each, {spoken:.0} after one answer, CPU {cpu:.2} %")
    }));
    println!("{:<6} {}", figures.name, parts.join(", "));
}

fn to_json(figures: &Figures) -> Value {
    json!({
        "server": figures.name,
        "start_ms": figures.start.map(|start| rounded(start.as_secs_f64() * 1e3)),
        "idle_rss_bytes": figures.rss,
        "idle_cpu_percent": figures.cpu.map(rounded),
        "connections": figures.conns.map(|idle| idle.count),
        "bytes_per_silent_connection": figures.conns.map(|idle| idle.silent.round()),
        "bytes_per_spoken_connection": figures.conns.map(|idle| idle.spoken.round()),
        "connections_cpu_percent": figures.conns.map(|idle| rounded(idle.cpu)),
    })
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// "Memory and start" under "Ours": at most 8 MB idle, 512 bytes a connection, accepting within 20 ms, below 0.5 % CPU.
fn judge(options: &Options, figures: &[Figures]) -> Targets {
    let mut targets = Targets::default();
    let Some(node) = figures.first().filter(|_| !options.no_yardsticks) else { return targets };
    if let Some(start) = node.start {
        targets.note("start within 20 ms", start <= Duration::from_millis(20), human(start));
    }
    if let Some(rss) = node.rss {
        targets.note("idle RSS at most 8 MB", megabytes(rss) <= 8.0, format!("{:.1} MB", megabytes(rss)));
    }
    if let Some(cpu) = node.cpu {
        targets.note("idle CPU below 0.5 %", cpu < 0.5, format!("{cpu:.2} %"));
    }
    if let Some(idle) = node.conns {
        let most = idle.silent.max(idle.spoken);
        targets.note("at most 512 bytes an idle connection", most <= 512.0, format!("{most:.0} bytes"));
        targets.note("idle CPU below 0.5 % with them", idle.cpu < 0.5, format!("{:.2} %", idle.cpu));
    }
    targets
}
