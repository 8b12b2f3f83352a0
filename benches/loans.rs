//! Loans of workers: how soon they help, how much, and what many workers cost. Linux only.
//!
//! ```text
//!   cargo bench --bench loans                      all, about two minutes
//!   cargo bench --bench loans -- --only help       what has `help` in its name
//!   cargo bench --bench loans -- --smoke           some seconds: does it work?
//! ```
//!
//! | name | what | yardstick |
//! |---|---|---|
//! | `help` | from `SATURATED` at a master of default settings until the first job was done there by a borrowed worker; from `RELEASED` until the first and the last worker are home | the job itself: 20 ms |
//! | `gain` | jobs/s that three borrowed workers add to one own | three own workers more, at another master in the same seconds |
//! | `crowd` | what 10,000 native workers cost one master: memory, CPU while nothing happens, a job from SUBMIT to its result, a request for workers | the same master program with one worker, in the same minute |
//!
//! Masters and workers are processes on loopback, with their state on disk as it comes. The jobs sleep, since two cores cannot show how eight workers
//! compute. The crowd is one thread with a connection for each worker, which says ALIVE every two seconds and does at once what it is given. The masters of
//! `gain` run all three at the same time, so that whatever disturbs one disturbs all.

#[path = "support/mod.rs"]
mod support;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::crowd::Crowd;
use support::farms::Farm;
use support::options::Options;
use support::report::{Targets, human, median, rounded};
use support::{Failure, machine};

/// Loans that are timed in a full run.
const LOANS: usize = 5;
/// Between two of them: the cool-down of the defaults, and some more.
const PAUSE: Duration = Duration::from_secs(6);
/// Length of the jobs of `help`.
const JOB: Duration = Duration::from_millis(20);
/// Workers that are borrowed for `gain`.
const BORROWED: usize = 3;
/// Seconds that count of `gain`.
const SECONDS: usize = 15;
/// Workers of `crowd`.
const CROWD: usize = 10_000;
/// Jobs of `crowd`.
const JOBS: usize = 500;

fn main() -> ExitCode {
    let options = Options::read();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("loans: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let files = machine::raise_open_files()?;
    let node = options.node.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_node")));
    let mut targets = Targets::default();
    let mut measured = serde_json::Map::new();
    if options.wants("help") {
        measured.insert("help".to_owned(), help(options, &node, &mut targets)?);
    }
    if options.wants("gain") {
        measured.insert("gain".to_owned(), gain(options, &node, &mut targets)?);
    }
    if options.wants("crowd") {
        // One descriptor for each worker here and at the master, and some beside.
        let most = usize::try_from(files.saturating_sub(500)).unwrap_or(CROWD);
        let size = if options.smoke { 200 } else { CROWD }.min(most);
        measured.insert("crowd".to_owned(), crowd(&node, size, options.smoke)?);
    }
    targets.print(options.smoke);
    println!(
        "{}",
        json!({"bench": "loans", "smoke": options.smoke, "measurements": measured, "targets": targets.json()})
    );
    Ok(())
}

fn kind<'a>(kinds: &'a [&str]) -> impl Fn(&Value) -> bool + 'a {
    move |event| kinds.iter().any(|kind| event["EVENT"] == **kind)
}

/// How soon borrowed workers help, and how soon they are home.
fn help(options: &Options, node: &Path, targets: &mut Targets) -> Result<Value, Failure> {
    let lender = Farm::start(node, "lender", 3, &[])?;
    let peer = lender.address.to_string();
    let hungry = Farm::start(node, "hungry", 1, &["--peer", &peer])?;
    hungry.wait("the lender to be ALIVE", |farm| {
        farm.ask(&json!({"TASK": "NODES"})).is_ok_and(|nodes| nodes.to_string().contains("\"ALIVE\""))
    })?;
    let (there, here) = (lender.events()?, hungry.events()?);
    let (mut first, mut home, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..if options.smoke { 1 } else { LOANS } {
        if nth > 0 {
            std::thread::sleep(PAUSE);
        }
        there.clear();
        here.clear();
        hungry.submit(400, JOB)?;
        let saturated = here.next("saturation", kind(&["SATURATED"]))?;
        let done = here.next("a job done by a borrowed worker", |event| {
            event["EVENT"] == "JOB_ENDED" && event["DETAIL"].as_str().is_some_and(|text| text.contains("borrowed from"))
        })?;
        let released = here.next("release", kind(&["RELEASED"]))?;
        let mut back = Vec::new();
        // One of three is kept.
        for _ in 0..2 {
            back.push(there.next("a worker at home again", kind(&["WORKER_RETURNED"]))?);
        }
        first.push((done - saturated).as_secs_f64());
        home.push(back[0].saturating_duration_since(released).as_secs_f64());
        all.push(back[1].saturating_duration_since(released).as_secs_f64());
        lender.wait("all workers at home", |farm| farm.here().is_ok_and(|count| count == 3))?;
        hungry.wait("the queue to be empty", |farm| {
            farm.ask(&json!({"TASK": "LOAD"})).is_ok_and(|load| load["PENDING"] == 0 && load["SATURATED"] == false)
        })?;
    }
    let worst = first.iter().copied().fold(0.0, f64::max);
    let middle = |values: &[f64]| median(values.iter().copied());
    let time = |seconds: f64| human(Duration::from_secs_f64(seconds));
    let ours = (middle(&first) - JOB.as_secs_f64()).max(0.0);
    println!("help, {} loans of two workers, default settings", first.len());
    println!(
        "  saturated until the first job done by a borrowed worker  p50 {}  worst {}",
        time(middle(&first)),
        time(worst)
    );
    println!("  of it beside the job itself                              p50 {}", time(ours));
    println!(
        "  released until the first worker is home, and the last    p50 {}, {}",
        time(middle(&home)),
        time(middle(&all))
    );
    targets.note("help: below 1 s from saturation to the first job", worst < 1.0, time(worst));
    targets.note("help: at most 50 ms of it beside the job, p50", ours <= 0.050, time(ours));
    let ms = |seconds: f64| rounded(seconds * 1e3);
    Ok(json!({
        "loans": first.len(), "first_ms": ms(middle(&first)), "first_worst_ms": ms(worst), "beside_the_job_ms": ms(ours),
        "first_home_ms": ms(middle(&home)), "last_home_ms": ms(middle(&all)),
    }))
}

/// What borrowed workers add, beside as many own ones.
fn gain(options: &Options, node: &Path, targets: &mut Targets) -> Result<Value, Failure> {
    let quick = ["--hold", "0", "--capacity", "10", "--release", "5", "--cooldown", "0"];
    let lender = Farm::start(node, "lender", BORROWED, &[&quick[..], &["--keep", "0"]].concat())?;
    let peer = lender.address.to_string();
    let farms = [
        ("1 own", Farm::start(node, "base", 1, &quick)?),
        ("4 own", Farm::start(node, "own", 1 + BORROWED, &quick)?),
        ("1 own, 3 borrowed", Farm::start(node, "borrower", 1, &[&quick[..], &["--peer", &peer]].concat())?),
    ];
    let seconds = if options.smoke { 1 } else { SECONDS };
    let job = Duration::from_millis(10);
    // Enough for all the time, and for the workers to come: at most 100 a second and worker.
    let jobs = (seconds + 10) * 100 * (1 + BORROWED);
    for (_, farm) in &farms {
        farm.submit(jobs, job)?;
    }
    farms[2].1.wait("all workers to come over", |farm| farm.here().is_ok_and(|here| here == 1 + BORROWED))?;
    let mut rates: [Vec<f64>; 3] = Default::default();
    for _ in 0..seconds {
        let mut before = Vec::new();
        for (_, farm) in &farms {
            before.push((Instant::now(), farm.done()?));
        }
        std::thread::sleep(Duration::from_secs(1));
        for (nth, (_, farm)) in farms.iter().enumerate() {
            let (at, count) = before[nth];
            rates[nth].push((farm.done()? - count) as f64 / at.elapsed().as_secs_f64());
        }
    }
    let gains = (0..seconds).map(|at| (rates[2][at] - rates[0][at]) / (rates[1][at] - rates[0][at]));
    let gain = median(gains);
    println!("gain, {BORROWED} workers of one slot, jobs of {} ms", job.as_millis());
    let middles: Vec<f64> = rates.iter().map(|rates| median(rates.iter().copied())).collect();
    for ((name, _), rate) in farms.iter().zip(&middles) {
        println!("  {name:<18} {rate:>6.1} jobs/s");
    }
    println!("  borrowed workers add {gain:.3} of what as many own ones add");
    targets.note("gain: at least 0.95 of what as many own workers add", gain >= 0.95, format!("{gain:.3}"));
    let rates: Vec<f64> = middles.into_iter().map(rounded).collect();
    Ok(json!({"workers": BORROWED, "jobs_per_s": rates, "gain": rounded(gain)}))
}

/// What a master of many workers costs.
fn crowd(node: &Path, size: usize, smoke: bool) -> Result<Value, Failure> {
    println!("crowd, native workers at one master, played by one thread");
    let mut rows = Vec::new();
    for count in [1, size] {
        let farm = Farm::start(node, "many", 0, &["--durability", "memory", "--keep", "0"])?;
        let empty = machine::rss_of(farm.pid)?;
        let begun = Instant::now();
        let mut crowd = Crowd::join(farm.address, count)?;
        let joined = begun.elapsed();
        let length = Duration::from_secs(if smoke { 1 } else { 10 });
        let spent = machine::spent_by(farm.pid)?;
        crowd.run(length)?;
        let idle = machine::spent_by(farm.pid)?.since(spent).cpu.as_secs_f64() / length.as_secs_f64();
        let each = machine::rss_of(farm.pid)?.saturating_sub(empty) / count as u64;
        let latency = jobs(&farm, &mut crowd, if smoke { 50 } else { JOBS })?;
        let asked = lend(&farm, &mut crowd)?;
        println!(
            "  {count:>6} workers   joined in {:>8}   {each:>6} B each   idle {:>5.1} % of a core   job p50 {:>8}  p99 {:>8}   lends five in {}",
            human(joined),
            idle * 100.0,
            human(latency.0),
            human(latency.1),
            human(asked),
        );
        rows.push(json!({
            "workers": count, "joined_ms": rounded(joined.as_secs_f64() * 1e3), "bytes_each": each, "idle_cores": rounded(idle),
            "job_p50_us": rounded(latency.0.as_secs_f64() * 1e6), "job_p99_us": rounded(latency.1.as_secs_f64() * 1e6),
            "lend_ms": rounded(asked.as_secs_f64() * 1e3),
        }));
    }
    Ok(Value::Array(rows))
}

/// Jobs one after another: the median of their times, and the 99th percentile.
fn jobs(farm: &Farm, crowd: &mut Crowd, count: usize) -> Result<(Duration, Duration), Failure> {
    let mut stream = TcpStream::connect(farm.address)?;
    stream.set_nodelay(true)?;
    let line = b"{\"TASK\":\"SUBMIT\",\"SERVICE\":\"crowd\",\"WAIT_MS\":60000}\n";
    let mut times = Vec::new();
    for _ in 0..count {
        times.push(while_the_crowd_lives(&mut stream, line, crowd, |answer| {
            answer["STATUS"] == "OK" && answer["RESULT"] == 1
        })?);
    }
    times.sort_unstable();
    Ok((times[count / 2], times[(count * 99 / 100).min(count - 1)]))
}

/// A neighbour asks for five workers: how long until it is answered.
fn lend(farm: &Farm, crowd: &mut Crowd) -> Result<Duration, Failure> {
    let mut stream = TcpStream::connect(farm.address)?;
    stream.set_nodelay(true)?;
    let line = json!({"type": "request_help", "request_id": "1", "payload": {
        "master_id": "Hungry", "current_load": 150, "capacity": 100, "workers_needed": 5, "master_address": "127.0.0.1:9",
    }});
    // The crowd has no `query`, which is all that a stranger may want: it is looked at whole, and refused.
    let answered = |answer: &Value| answer["type"].as_str().is_some_and(|kind| kind.starts_with("response_"));
    while_the_crowd_lives(&mut stream, format!("{line}\n").as_bytes(), crowd, answered)
}

/// Says a line, and lets the crowd live until the answer is there. Returns how long that took.
fn while_the_crowd_lives(
    stream: &mut TcpStream,
    line: &[u8],
    crowd: &mut Crowd,
    right: impl Fn(&Value) -> bool,
) -> Result<Duration, Failure> {
    use std::io::{ErrorKind, Read, Write};
    stream.set_nonblocking(true)?;
    let begun = Instant::now();
    stream.write_all(line)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\n") {
        match stream.read(&mut buffer) {
            Ok(0) => return Err("the master closed the connection of a client".into()),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => crowd.run(Duration::ZERO)?,
            Err(error) => return Err(error.into()),
        }
        if begun.elapsed() > Duration::from_secs(10) {
            return Err("no answer within 10 s".into());
        }
    }
    let took = begun.elapsed();
    let answer: Value = serde_json::from_slice(&answer)?;
    if right(&answer) { Ok(took) } else { Err(format!("unexpected: {answer}").into()) }
}
