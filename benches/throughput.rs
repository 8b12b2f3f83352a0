//! Requests a second, latency and CPU of the node, beside its yardsticks, in the same minutes. Linux only.
//!
//! ```text
//!   cargo bench --bench throughput                        all, about four minutes
//!   cargo bench --bench throughput -- --only 'load'       what has `load` in its name; names are `heartbeat 50x16`
//!   cargo bench --bench throughput -- --smoke             five seconds: does it work?
//!   cargo bench --bench throughput -- --node PATH         another build of the node
//! ```
//!
//! How to read it. Absolute figures drift with the machine: only ratios count. `limit` answers without looking at
//! what it was asked, `split` finds the ends of lines, `typed` decodes and encodes with serde_json; redis is asked
//! `PING` by the same generator. Rounds are interleaved (node, limit, redis, node, limit, ...), a figure is the
//! median of its rounds, a ratio the median of the ratios of rounds that stand side by side. Rate `1.20` is faster
//! than the yardstick, cpu `1.20` costs more.
//!
//! With one or few requests in flight, server and generator share one core: across two cores of a virtual machine the
//! wake-ups would be measured. Such a round counts only if the pair had more than 90 % of the core. Elsewhere each
//! has a core of its own, and a server that is faster than the generator shows it only in its CPU a request; such a
//! round counts only if neither waited for its core for more than 10 % of the time. What does not count is run again,
//! a few times, and then marked as disturbed.
//!
//! The last line is the same as JSON. Targets are listed and never fail a run.

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use support::load::{Ask, Load, Round};
use support::options::Options;
use support::process::{Program, Server, ping};
use support::report::{Measurement, Series, Targets};
use support::server::Kind;
use support::{Failure, machine};

/// Rounds of each server in a full run.
const ROUNDS: usize = 5;
/// Rounds that may be run again because something else wanted the cores.
const REPEATS: usize = 5;

fn main() -> ExitCode {
    let options = Options::read();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("throughput: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    machine::raise_open_files()?;
    let cores = machine::cores()?;
    let path = options.node.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_node")));
    let yard = Yard::start(options, &path)?;
    let mut measured = Vec::new();
    for (task, conns, depth) in plan() {
        if !options.wants(&Measurement::name(task, conns, depth)) {
            continue;
        }
        let measurement = yard.measure(options, &cores, (task, conns, depth))?;
        measurement.print();
        measured.push(measurement);
    }
    let mut targets = Targets::default();
    for measurement in &measured {
        judge(measurement, &mut targets);
    }
    targets.print(options.smoke);
    let measurements: Vec<_> = measured.iter().map(Measurement::json).collect();
    println!(
        "{}",
        json!({"bench": "throughput", "smoke": options.smoke, "measurements": measurements, "targets": targets.json()})
    );
    Ok(())
}

/// Task, connections, requests in flight.
fn plan() -> Vec<(&'static str, usize, usize)> {
    let heartbeats = [1, 50, 1000].into_iter().flat_map(|conns| [1, 16, 128].map(|depth| ("heartbeat", conns, depth)));
    heartbeats.chain([("load", 1, 1), ("load", 50, 1)]).collect()
}

/// The servers that are compared.
struct Yard {
    node: Server,
    ours: Vec<Server>,
    redis: Option<Server>,
}

impl Yard {
    fn start(options: &Options, node: &Path) -> Result<Yard, Failure> {
        let node = Server::required(Program::Node(node))?;
        let (mut ours, mut redis) = (Vec::new(), None);
        if !options.no_yardsticks {
            for kind in [Kind::Fixed, Kind::Split, Kind::Typed] {
                ours.push(Server::required(Program::Ours(kind))?);
            }
            if !options.smoke {
                redis = Server::start(Program::Redis)?;
                if redis.is_none() {
                    println!("redis-server is not installed: no comparison with it\n");
                }
            }
        }
        Ok(Yard { node, ours, redis })
    }

    /// Who takes part in a measurement, and what each is asked.
    fn field(&self, options: &Options, task: &str, depth: usize) -> Result<Vec<(&Server, Ask)>, Failure> {
        let ours = |name: &'static str| self.ours.iter().filter(move |server| server.name == name);
        if task == "load" {
            let servers = [&self.node].into_iter().chain(ours("typed"));
            return servers.map(|server| Ok((server, server.load().map_err(|why| named(server, why))?))).collect();
        }
        // Splitting lines costs nothing that shows while a wake-up brings one line.
        let split = ours("split").filter(|_| depth > 1 && !options.smoke);
        let servers = [&self.node].into_iter().chain(ours("limit")).chain(split);
        let mut field: Vec<_> = servers
            .map(|server| Ok((server, server.heartbeat().map_err(|why| named(server, why))?)))
            .collect::<Result<_, Failure>>()?;
        field.extend(self.redis.iter().map(|redis| (redis, ping())));
        Ok(field)
    }

    fn measure(
        &self,
        options: &Options,
        cores: &[usize],
        (task, conns, depth): (&'static str, usize, usize),
    ) -> Result<Measurement, Failure> {
        // Without pipelining, waking the other core costs more than the request: see "How to measure here" of performance.md.
        let one_core = cores.len() < 2 || conns == 1 || depth == 1;
        let (own, theirs) = if one_core { (cores[0], cores[0]) } else { (cores[0], cores[1]) };
        machine::pin_self(&[own])?;
        let (mut field, mut series) = (Vec::new(), Vec::new());
        for (server, ask) in self.field(options, task, depth)? {
            server.pin(&[theirs])?;
            let load = Load::connect(server.address, &ask, conns, depth).map_err(|failure| named(server, failure))?;
            field.push((server, load));
            series.push(Series { name: server.name, reply_bytes: ask.reply_bytes(), rounds: Vec::new() });
        }

        let (rounds, mut repeats) = if options.smoke { (1, 0) } else { (ROUNDS, REPEATS) };
        let (length, warm) = (options.round(0.1), Duration::from_millis(if options.smoke { 20 } else { 150 }));
        let mut undisturbed = true;
        let mut kept = 0;
        while kept < rounds {
            let mut together: Vec<Round> = Vec::new();
            for (server, load) in &mut field {
                let round = load.round(server.pid, warm, length);
                together.push(round.map_err(|failure| named(server, failure))?);
            }
            if together.iter().any(|round| round.disturbed(one_core)) {
                if repeats > 0 {
                    repeats -= 1;
                    continue;
                }
                undisturbed = false;
            }
            for (series, round) in series.iter_mut().zip(together) {
                series.rounds.push(round);
            }
            kept += 1;
        }
        machine::pin_self(cores)?;
        Ok(Measurement {
            name: Measurement::name(task, conns, depth),
            task,
            conns,
            depth,
            one_core,
            undisturbed,
            series,
        })
    }
}

fn named(server: &Server, failure: Failure) -> Failure {
    format!("{}: {failure}", server.name).into()
}

/// What issue 2 wants of one measurement.
fn judge(measurement: &Measurement, targets: &mut Targets) {
    let Measurement { name, depth, .. } = measurement;
    let mut name = name.clone();
    if !measurement.undisturbed {
        name += " (disturbed)";
    }
    let Some(node) = measurement.series("node") else { return };
    if let Some(limit) = measurement.series("limit").filter(|_| *depth == 1) {
        let (rate, cpu) = (node.rate_ratio(limit), node.cpu_ratio(limit));
        targets.note(
            format!("{name}: rate at least 0.9 of the limit, or cpu at most 1.15 of it"),
            rate >= 0.9 || cpu <= 1.15,
            format!("rate {rate:.2}, cpu {cpu:.2}"),
        );
    }
    if let Some(redis) = measurement.series("redis") {
        let wanted = match depth {
            1 => 1.25,
            16 => 2.0,
            _ => 4.0,
        };
        let rate = node.rate_ratio(redis);
        // Where the limit itself is no faster than that, no server can be.
        let limit = measurement.series("limit").map_or(0.0, |limit| limit.rate_ratio(redis));
        targets.note(
            format!("{name}: rate at least {wanted} of redis"),
            rate >= wanted,
            format!("{rate:.2}, cpu {:.2} (limit/redis: rate {limit:.2})", node.cpu_ratio(redis)),
        );
    }
    if let Some(typed) = measurement.series("typed") {
        let rate = node.rate_ratio(typed);
        targets.note(format!("{name}: rate at least 0.8 of typed serde"), rate >= 0.8, format!("{rate:.2}"));
    }
}
