//! The core alone: nanoseconds that a node's machines take for what comes in, without bytes and sockets.
//!
//! ```text
//!   cargo bench --bench core                       all, about ten seconds
//!   cargo bench --bench core -- --only job         what has `job` in its name
//!   cargo bench --bench core -- --smoke            one short round of each
//! ```
//!
//! - *job D*: one job in memory from SUBMIT with WAIT_MS to its answer, with D in flight and one worker of 1024 slots:
//!   two inputs (SUBMIT, STATUS), four outputs at least (the order, the ACK, the answer, what the shell is told).
//! - *backlog D*: the same beside D jobs of another service that wait for a worker that never comes.
//!
//! The messages are made before the clock is read, as the edge would make them; dropping the outputs counts. The figure is
//! the median of the rounds.

#[path = "support/mod.rs"]
mod support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use mutirao::core::{Config, Identity, Input, LinkId, Node, Output, QueueConfig};
use mutirao::time::Time;
use mutirao::wire::{
    Attempt, Body, Durability, Json, Message, NativeWorker, RequestId, ServerId, ServiceName, ServiceOffer, Submit,
    WorkerAlive, WorkerStatus,
};

use support::Failure;
use support::options::Options;
use support::report::{median, rounded};

/// Rounds of each measurement.
const ROUNDS: usize = 9;
/// The payload of every job, as JSON.
const PAYLOAD: &str = "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"";
/// The links of the client and of the worker.
const CLIENT: LinkId = LinkId(2);
const WORKER: LinkId = LinkId(4);
/// How long the clock stands still between two inputs: about what a job takes.
const STEP: Duration = Duration::from_micros(2);

fn main() -> ExitCode {
    let options = Options::read();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("core: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let kinds = [("job 1", 1, 0), ("job 64", 64, 0), ("job 1024", 1024, 0), ("backlog 100000", 64, 100_000)];
    let mut measured = Vec::new();
    for (name, depth, backlog) in kinds {
        if !options.wants(name) {
            continue;
        }
        let mut bench = Bench::new(depth, if options.smoke { backlog / 100 } else { backlog })?;
        let length = options.round(0.02) / 8;
        let rounds = if options.smoke { 1 } else { ROUNDS };
        bench.round(length / 4)?;
        let figures = (0..rounds).map(|_| bench.round(length)).collect::<Result<Vec<f64>, Failure>>()?;
        let ns = median(figures.into_iter());
        println!("{name:<16} {ns:>8.0} ns a job  {:>10.0} jobs/s", 1e9 / ns);
        measured.push(json!({"name": name, "ns": rounded(ns), "jobs": bench.count}));
    }
    println!("{}", json!({"bench": "core", "smoke": options.smoke, "measurements": measured}));
    Ok(())
}

fn name(text: &str) -> Result<ServiceName, Failure> {
    ServiceName::new(text).ok_or_else(|| format!("`{text}` is no name").into())
}

/// A node with a client and a worker.
struct Bench {
    node: Node,
    now: Time,
    depth: usize,
    count: u64,
}

impl Bench {
    fn new(depth: usize, backlog: usize) -> Result<Bench, Failure> {
        let queue = QueueConfig { durability: Durability::Memory, keep_results: 0, ..QueueConfig::default() };
        let config = Config { queue, tell_ends: false, ..Config::default() };
        let master = ServerId::new("3fa9c1d2-0000-4000-8000-000000000000").ok_or("no id")?;
        let identity = Identity { server_id: master, name: "bench".to_owned() };
        let now = Time::from_micros(1_000_000);
        let node = Node::new(config, identity, 1, now)?;
        let mut bench = Bench { node, now, depth, count: 0 };
        let (local, remote) = (SocketAddr::from(([127, 0, 0, 1], 9101)), SocketAddr::from(([127, 0, 0, 1], 40_000)));
        for link in [CLIENT, WORKER] {
            bench.node.handle(Input::LinkOpened { link, local, remote }, now);
        }
        let offer = ServiceOffer { name: name("bench")?, methods: Vec::new(), idempotent: Vec::new() };
        let native = NativeWorker {
            name: "w".to_owned(),
            slots: 1024,
            services: vec![offer],
            jobs: Vec::new(),
            epoch: None,
            loan_id: None,
        };
        let worker = ServerId::new("bench-worker").ok_or("no id")?;
        let alive = WorkerAlive { worker, owner: None, listens: None, native: Some(Box::new(native)) };
        let message = Message::plain(Body::WorkerAlive(Box::new(alive)));
        bench.node.handle(Input::Message { link: WORKER, message }, now);
        for _ in 0..backlog {
            let submit = Submit::new(name("nobody")?, name("run")?, Json::new(PAYLOAD).ok_or("no JSON")?);
            let message = Message::plain(Body::Submit(Box::new(submit)));
            bench.node.handle(Input::Message { link: CLIENT, message }, now);
            while bench.node.poll_output().is_some() {}
        }
        while bench.node.poll_output().is_some() {}
        Ok(bench)
    }

    fn submission(&mut self) -> Result<Input, Failure> {
        self.count += 1;
        let mut submit = Submit::new(name("bench")?, name("run")?, Json::new(PAYLOAD).ok_or("no JSON")?);
        submit.wait = Some(Duration::from_secs(60));
        let id = RequestId::new(self.count.to_string());
        Ok(Input::Message { link: CLIENT, message: Message { id, body: Body::Submit(Box::new(submit)) } })
    }

    /// Tells the node all this as one turn of the shell does. What it tells the worker, and how many jobs were answered.
    fn tell(&mut self, inputs: Vec<Input>, orders: &mut Vec<Attempt>) -> (Duration, usize) {
        let mut outputs = Vec::with_capacity(4 * inputs.len());
        let begin = Instant::now();
        for input in inputs {
            self.now = self.now + STEP;
            self.node.handle(input, self.now);
            while let Some(output) = self.node.poll_output() {
                outputs.push(output);
            }
        }
        while self.node.deadline().is_some_and(|due| due <= self.now) {
            self.node.handle(Input::Tick, self.now);
            while let Some(output) = self.node.poll_output() {
                outputs.push(output);
            }
        }
        let mut spent = begin.elapsed();
        let mut answered = 0;
        for output in &outputs {
            match output {
                Output::Send { message: Message { body: Body::Job(order), .. }, .. } => {
                    orders.push(order.attempt.clone());
                }
                Output::Send { message: Message { body: Body::JobAnswer(answer), .. }, .. } => {
                    answered += usize::from(answer.job.result.is_some());
                }
                _ => {}
            }
        }
        let begin = Instant::now();
        drop(black_box(outputs));
        spent += begin.elapsed();
        (spent, answered)
    }

    /// Jobs for about this long: nanoseconds a job.
    fn round(&mut self, length: Duration) -> Result<f64, Failure> {
        let (mut spent, mut jobs) = (Duration::ZERO, 0);
        let mut orders = Vec::new();
        let end = Instant::now() + length;
        while Instant::now() < end {
            let inputs = (0..self.depth).map(|_| self.submission()).collect::<Result<Vec<Input>, Failure>>()?;
            let (took, _) = self.tell(inputs, &mut orders);
            spent += took;
            let mut inputs = Vec::with_capacity(orders.len());
            for told in orders.drain(..) {
                // As they come from a line: texts of their own.
                let job_id = mutirao::wire::JobId::new(told.job_id.as_str()).ok_or("no id")?;
                let status = WorkerStatus {
                    worker: ServerId::new("bench-worker"),
                    attempt: Some(Attempt { job_id, attempt: told.attempt }),
                    ok: true,
                    result: Json::new(PAYLOAD),
                    detail: None,
                    retry: true,
                };
                let message = Message::plain(Body::WorkerStatus(Box::new(status)));
                inputs.push(Input::Message { link: WORKER, message });
            }
            let (took, answered) = self.tell(inputs, &mut orders);
            spent += took;
            if answered != self.depth {
                return Err(format!("{answered} of {} jobs were answered", self.depth).into());
            }
            jobs += self.depth;
        }
        Ok(spent.as_nanos() as f64 / jobs.max(1) as f64)
    }
}
