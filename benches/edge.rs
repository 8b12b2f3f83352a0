//! Nanoseconds a line at the edge, where bytes become messages: without sockets.
//!
//! ```text
//!   cargo bench --bench edge                       all, about 20 seconds
//!   cargo bench --bench edge -- --only load        what has `load` in its name
//!   cargo bench --bench edge -- --smoke            one short round of each
//! ```
//!
//! Each measurement works on a buffer of 128 lines, as one read brings them under load, in rounds of an eighth of
//! `--seconds`; the figure is the median round. The yardsticks work on the same bytes in the same rounds: `split`
//! finds the ends of lines, `typed` decodes each line with serde_json into a borrowed struct of TASK and ID. `x
//! typed` is the figure as a multiple of that. A decoder that fills a whole message costs more than `typed`, which
//! looks at two fields.
//!
//! - *heartbeat*: bare heartbeats, answered at the edge from the prepared line.
//! - *load*: bare LOAD to a message. *load and answer*: and the answer rendered. The answer's body is cloned first: the
//!   core makes a new one each time, too.
//! - *submit*, *status*: a job of 64 bytes, and its result from a native worker, to a message. *and answer*: and what the
//!   client is told of the result, and the worker's ACK, rendered.
//! - *native*: a native node's heartbeat with all its fields to a message. *native and answer*: and the answer
//!   rendered.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use mutirao::time::Time;
use mutirao::wire::{
    Address, Attempt, Body, Decoded, Dialect, Edge, GroupPresence, Heartbeat, HeartbeatAnswer, JobAnswer, JobId,
    JobStatus, JobTask, JobView, Json, LoadAnswer, LoadReport, Message, Permille, Prepared, Presence, RequestId, Role,
    Score, ServerId, StatusAck,
};

use support::Failure;
use support::options::Options;
use support::report::{median, rounded};
use support::server::{HEARTBEAT, LOAD, Question, each_line};

/// A job of 64 bytes as a client submits it.
const SUBMIT: &[u8] = b"{\"TASK\":\"SUBMIT\",\"ID\":\"421234\",\"SERVICE\":\"bench\",\"WAIT_MS\":60000,\"PARAMS\":\"\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}\n";
/// And its result as a worker tells it.
const STATUS: &[u8] =
    b"{\"STATUS\":\"OK\",\"TASK\":\"JOB\",\"WORKER_UUID\":\"bench-worker\",\"JOB_ID\":\"3fa9c1d2-7-421234\",\
    \"ATTEMPT\":1,\"RESULT\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}\n";

/// Lines in the buffer.
const LINES: usize = 128;
/// Rounds of each measurement.
const ROUNDS: usize = 9;

fn main() -> ExitCode {
    let options = Options::read();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("edge: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// One way to work on the buffer: what it is called and the work, which returns how many lines it saw.
type Work<'a> = (&'static str, Box<dyn FnMut(&[u8]) -> usize + 'a>);

fn run(options: &Options) -> Result<(), Failure> {
    let server_id = ServerId::new("2f1e0c7a-4b7d-4a53-9c0e-5d1f6a7b8c9d").ok_or("the id is not one")?;
    let prepared = Prepared::new(&server_id);
    let presence = presence(&server_id)?;
    let load_answer = Body::LoadAnswer(Box::new(load_answer(&server_id)));
    let alive = Body::HeartbeatAnswer(HeartbeatAnswer { server_id, presence: Some(Box::new(presence.clone())) });

    let mut native = Vec::new();
    let heartbeat = Heartbeat { sender: None, presence: Some(Box::new(presence)) };
    let asked = Message { id: RequestId::new("1234"), body: Body::Heartbeat(heartbeat) };
    Edge::outbound(Some(Dialect::Native)).render(&asked, &mut native);

    let attempt = Attempt { job_id: JobId::new("3fa9c1d2-7-421234").ok_or("the id is not one")?, attempt: 1 };
    let done = Body::JobAnswer(Box::new(job_answer(&attempt)));
    let ack = Body::StatusAck(Box::new(StatusAck { worker: ServerId::new("bench-worker"), attempt: Some(attempt) }));

    let measurements: [(&str, &[u8], Option<&Body>); 9] = [
        ("heartbeat", HEARTBEAT, None),
        ("load", LOAD, None),
        ("load and answer", LOAD, Some(&load_answer)),
        ("submit", SUBMIT, None),
        ("submit and answer", SUBMIT, Some(&done)),
        ("status", STATUS, None),
        ("status and answer", STATUS, Some(&ack)),
        ("native", &native, None),
        ("native and answer", &native, Some(&alive)),
    ];
    let mut results = Vec::new();
    for (name, line, answer) in measurements {
        if options.wants(name) {
            results.push(measure(options, name, line, answer, &prepared)?);
        }
    }
    println!("{}", json!({"bench": "edge", "smoke": options.smoke, "ns_per_line": results}));
    Ok(())
}

fn measure(
    options: &Options,
    name: &str,
    line: &[u8],
    answer: Option<&Body>,
    prepared: &Prepared,
) -> Result<serde_json::Value, Failure> {
    let buffer = line.repeat(LINES);
    // Once with open eyes: every line must be decoded to a request, or answered here.
    let mut out = Vec::new();
    let messages = decode(&buffer, answer, prepared, &mut out);
    let answers = memchr::memchr_iter(b'\n', &out).count();
    let (wanted, wanted_answers) = match (line == HEARTBEAT, answer) {
        (true, _) => (0, LINES),
        (false, None) => (LINES, 0),
        (false, Some(_)) => (LINES, LINES),
    };
    if (messages, answers) != (wanted, wanted_answers) {
        return Err(format!("{name}: {messages} messages and {answers} answers of {LINES} lines").into());
    }

    let mut works: Vec<Work<'_>> = vec![(
        "edge",
        Box::new(move |bytes| {
            decode(bytes, answer, prepared, &mut out);
            black_box(&out);
            LINES
        }),
    )];
    if !options.no_yardsticks {
        works.push((
            "split",
            Box::new(|bytes| {
                each_line(bytes, &mut Vec::new(), |line| {
                    black_box(line);
                })
            }),
        ));
        works.push((
            "typed",
            Box::new(|bytes| {
                each_line(bytes, &mut Vec::new(), |line| {
                    let question: Result<Question<'_>, _> = serde_json::from_slice(line);
                    black_box(question.map_or(0, |question| question.task.len() + question.id.len()));
                })
            }),
        ));
    }
    let rounds = if options.smoke { 1 } else { ROUNDS };
    let length = options.round(0.02) / 8;
    let mut nanos = vec![Vec::new(); works.len()];
    for _ in 0..rounds {
        for ((_, work), nanos) in works.iter_mut().zip(&mut nanos) {
            nanos.push(time(&buffer, length, work));
        }
    }
    let figures: Vec<(&str, f64)> =
        works.iter().zip(nanos).map(|((name, _), nanos)| (*name, median(nanos.into_iter()))).collect();
    let edge = figures[0].1;
    print!("{name:<18} {:>4} bytes: {edge:>8.1} ns a line", line.len());
    for (yardstick, figure) in &figures[1..] {
        print!("   {yardstick} {figure:>7.1} (x {yardstick} {:.2})", edge / figure);
    }
    println!();
    let by_name: serde_json::Map<String, serde_json::Value> =
        figures.iter().map(|(name, figure)| ((*name).to_owned(), json!(rounded(*figure)))).collect();
    Ok(json!({"name": name, "line_bytes": line.len(), "ns": by_name}))
}

/// Nanoseconds a line over `length`.
fn time(buffer: &[u8], length: Duration, work: &mut dyn FnMut(&[u8]) -> usize) -> f64 {
    let (begin, mut lines) = (Instant::now(), 0);
    loop {
        // A clock reading costs as much as a few lines: read it seldom.
        for _ in 0..16 {
            lines += work(black_box(buffer));
        }
        let elapsed = begin.elapsed();
        if elapsed >= length {
            return elapsed.as_nanos() as f64 / lines as f64;
        }
    }
}

/// One link's whole life over the buffer. Renders `answer` to each message where one is given. Returns how many
/// messages came; the answers are in `out`.
fn decode(bytes: &[u8], answer: Option<&Body>, prepared: &Prepared, out: &mut Vec<u8>) -> usize {
    let now = Time::from_micros(1);
    let (mut edge, mut input, mut messages) = (Edge::inbound(), bytes, 0);
    out.clear();
    while let Some(decoded) = edge.poll(prepared, &mut input, now, out) {
        let Decoded::Message(message) = black_box(decoded) else { break };
        messages += 1;
        if let Some(body) = answer {
            edge.render(&Message { id: message.id, body: body.clone() }, out);
        }
    }
    black_box(edge.take_heartbeats());
    messages
}

fn presence(server_id: &ServerId) -> Result<Presence, Failure> {
    Ok(Presence {
        server_id: server_id.clone(),
        name: "2f1e0c7a".to_owned(),
        address: "127.0.0.1:9101".parse::<Address>()?,
        role: Role::Master,
        group: "default".to_owned(),
        group_presence: GroupPresence::default(),
        load: load(),
        services: Vec::new(),
    })
}

fn load() -> LoadReport {
    LoadReport {
        cpu: Permille::new(315),
        memory: Permille::new(427),
        pending: 12,
        running: 3,
        workers: 4,
        saturated: false,
    }
}

fn load_answer(server_id: &ServerId) -> LoadAnswer {
    LoadAnswer {
        server_id: server_id.clone(),
        load: load(),
        score: Score(22_050),
        hot: false,
        capacity: 100,
        release: 60,
        hold: Duration::from_secs(2),
        cpu_threshold: Permille::new(700),
    }
}

/// What a client is told that has waited for its result.
fn job_answer(attempt: &Attempt) -> JobAnswer {
    let job = JobView {
        job_id: attempt.job_id.clone(),
        status: JobStatus::Ok,
        service: None,
        method: None,
        attempt: attempt.attempt,
        age: None,
        worker: ServerId::new("bench-worker"),
        result: Some(Json::string("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")),
        reason: None,
    };
    JobAnswer { task: JobTask::Submit, duplicate: false, job }
}
