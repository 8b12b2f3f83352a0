//! Agreement among three masters beside etcd, in the same minutes. Linux only.
//!
//! ```text
//!   cargo bench --bench agree                       all, about five minutes
//!   cargo bench --bench agree -- --only commit      what has `commit` in its name
//!   cargo bench --bench agree -- --smoke            some seconds, without etcd: does it work?
//! ```
//!
//! | name | what | yardstick |
//! |---|---|---|
//! | `commit 1x1` | a write until a majority has it on disk, one client at the leader | etcd, three members, PUT |
//! | `commit 100x1` | the same, 100 clients with one write in flight each | the same |
//! | `commit 100x1 spread` | the same, the clients spread over all three: two of them hand on to the leader | the same |
//! | `failover` | the leader killed with SIGKILL until a write succeeds at a survivor, 20 times | etcd as it comes, and with 50 ms and 500 ms |
//! | `busy` | does the term change while as many threads as there are cores do nothing but turn, and 100 clients write, for a minute? | etcd |
//!
//! Three processes on loopback on either side, all of them with their state on one disk, and each write synced by a majority before it is
//! answered; neither is given any option that makes it faster or slower. One thread is all clients, with a connection for each. A write
//! of ours is `LEASE` with `ACTION` `TICK`: the next number of a lease that the client holds, an entry of the ledger each time. One of etcd's
//! is a PUT of the same number under a key of the same name, over gRPC: its JSON gateway would cost it more (see `support/grpc`). Every
//! answer is checked.
//!
//! How to read it: as `throughput`. Rounds are interleaved, ratios are medians over pairs of rounds. `cpu` is what all three processes spend on a
//! commit. Seven threads and more share two cores here, so nothing is pinned, and a round counts only if others had less than a tenth of a core.
//!
//! `failover` counts from just before the kill. A client at each survivor, connected before, tries again every 20 ms from the moment
//! the process is gone, and on its open connection may be answered later. The killed one is started again, and the
//! next kill waits until it has all that the leader has. A killed process closes its connections, but neither side takes that for the end of
//! its leader: both wait until it has been silent for the election time-out, so a pulled cable takes as long. What a cable adds is that requests which were
//! handed on to that leader are known to be lost only later.

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use support::cluster::{Cluster, Kind};
use support::commits::Commits;
use support::load::Round;
use support::options::Options;
use support::report::{Measurement, Series, Targets, human, median, rounded};
use support::{Failure, failover, machine};

/// Rounds of each cluster in a full run.
const ROUNDS: usize = 9;
/// Leaders that are killed in a full run.
const KILLS: usize = 20;
/// What others may have of the cores in a round that counts, in cores.
const OTHERS: f64 = 0.1;
/// How long the machine is kept busy in a full run.
const BUSY: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let options = Options::read();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("agree: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    machine::raise_open_files()?;
    let node = options.node.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_node")));
    let mut targets = Targets::default();
    let mut measured = Vec::new();
    let wanted: Vec<_> = [(1, false), (100, false), (100, true)]
        .into_iter()
        .filter(|(conns, spread)| options.wants(&name(*conns, *spread)))
        .collect();
    if !wanted.is_empty() {
        let mut clusters = clusters(options, &node, &[Kind::Etcd])?;
        for (conns, spread) in wanted {
            let measurement = commits(options, &mut clusters, conns, spread)?;
            measurement.print();
            judge(&measurement, &mut targets);
            measured.push(measurement);
        }
    }
    let mut failovers = Vec::new();
    if options.wants("failover") {
        for kind in [Kind::Node(node.clone()), Kind::Etcd, Kind::QuickEtcd] {
            failovers.extend(kills(options, kind, &mut targets)?);
        }
    }
    let mut busy = Vec::new();
    if options.wants("busy") {
        for mut cluster in clusters(options, &node, &[Kind::Etcd])? {
            busy.push(keep_busy(options, &mut cluster, &mut targets)?);
        }
    }
    targets.print(options.smoke);
    let measurements: Vec<_> = measured.iter().map(Measurement::json).collect();
    println!(
        "{}",
        json!({
            "bench": "agree", "smoke": options.smoke, "measurements": measurements, "failover": failovers, "busy": busy,
            "targets": targets.json(),
        })
    );
    Ok(())
}

fn name(conns: usize, spread: bool) -> String {
    let name = Measurement::name("commit", conns, 1);
    if spread { format!("{name} spread") } else { name }
}

/// Our cluster, and those of `others` that are to be had.
fn clusters(options: &Options, node: &Path, others: &[Kind]) -> Result<Vec<Cluster>, Failure> {
    let mut clusters: Vec<Cluster> = Cluster::start(Kind::Node(node.to_owned()))?.into_iter().collect();
    if !options.no_yardsticks && !options.smoke {
        for kind in others {
            match Cluster::start(kind.clone())? {
                Some(cluster) => clusters.push(cluster),
                None => println!("etcd is not installed: no comparison with it\n"),
            }
        }
    }
    Ok(clusters)
}

fn commits(options: &Options, clusters: &mut [Cluster], conns: usize, spread: bool) -> Result<Measurement, Failure> {
    let mut clients = Vec::new();
    for cluster in clusters.iter_mut() {
        let leader = cluster.leader()?;
        let members = if spread { vec![0, 1, 2] } else { vec![leader] };
        clients.push(Commits::connect(cluster, &members, conns)?);
    }
    let (count, mut repeats) = if options.smoke { (1, 0) } else { (ROUNDS, ROUNDS) };
    let (length, warm) = (options.round(0.2), Duration::from_millis(if options.smoke { 20 } else { 150 }));
    let mut kept: Vec<Vec<Round>> = vec![Vec::new(); clusters.len()];
    let mut undisturbed = true;
    while kept[0].len() < count {
        let mut together = Vec::new();
        for (cluster, clients) in clusters.iter().zip(&mut clients) {
            let round = clients.round(cluster, warm, length);
            together.push(round.map_err(|why| format!("{}: {why}", cluster.name()))?);
        }
        if together.iter().any(|round| round.waited > OTHERS) {
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
    let series = clusters.iter().zip(kept);
    let series = series.map(|(cluster, rounds)| Series { name: cluster.name(), reply_bytes: 0, rounds }).collect();
    let (name, task) = (name(conns, spread), if spread { "commit, spread" } else { "commit" });
    Ok(Measurement { name, task, conns, depth: 1, one_core: false, undisturbed, series })
}

/// What issue 4 wants of commits.
fn judge(measurement: &Measurement, targets: &mut Targets) {
    let (Some(node), Some(etcd)) = (measurement.series("node"), measurement.series("etcd")) else { return };
    let name = &measurement.name;
    if measurement.conns == 1 {
        let p50 = |round: &Round| round.latency.value_at_quantile(0.5) as f64;
        let ratio = median(node.rounds.iter().zip(&etcd.rounds).map(|(ours, theirs)| p50(ours) / p50(theirs)));
        targets.note(format!("{name}: p50 below etcd's"), ratio < 1.0, format!("{ratio:.2}"));
    } else if measurement.task == "commit" {
        let rate = node.rate_ratio(etcd);
        targets.note(format!("{name}: 3 times etcd's rate"), rate >= 3.0, format!("{rate:.2}"));
    }
}

/// Kills leaders of a cluster of its own. `None`: it is not installed, or not to be measured.
fn kills(options: &Options, kind: Kind, targets: &mut Targets) -> Result<Option<Value>, Failure> {
    let ours = matches!(kind, Kind::Node(_));
    if !ours && (options.no_yardsticks || options.smoke) {
        return Ok(None);
    }
    let Some(mut cluster) = Cluster::start(kind)? else {
        println!("etcd is not installed: no comparison with it\n");
        return Ok(None);
    };
    let kills = if options.smoke { 1 } else { KILLS };
    let mut times = (0..kills).map(|_| failover::once(&mut cluster)).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    let middle = Duration::from_secs_f64(median(times.iter().map(Duration::as_secs_f64)));
    // The smallest that nine in ten do not exceed.
    let (least, most, p90) = (times[0], times[kills - 1], times[(kills * 9).div_ceil(10) - 1]);
    println!(
        "failover, {kills} kills\n  {:<11} min {:>8}  median {:>8}  p90 {:>8}  max {:>8}",
        cluster.name(),
        human(least),
        human(middle),
        human(p90),
        human(most)
    );
    if ours {
        let wanted = "failover: below 0.6 s in the median and for nine in ten".to_owned();
        let below = p90 < Duration::from_millis(600);
        targets.note(wanted, below, format!("{} and {}", human(middle), human(p90)));
    }
    let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3);
    Ok(Some(json!({
        "cluster": cluster.name(), "kills": kills,
        "min_ms": ms(least), "median_ms": ms(middle), "p90_ms": ms(p90), "max_ms": ms(most),
    })))
}

/// Writes with 100 clients while every core has somebody else to run all the time.
fn keep_busy(options: &Options, cluster: &mut Cluster, targets: &mut Targets) -> Result<Value, Failure> {
    let leader = cluster.leader()?;
    let term = |cluster: &Cluster| cluster.stands().iter().flatten().map(|it| it.term).max().unwrap_or(0);
    let mut clients = Commits::connect(cluster, &[leader], 100)?;
    let length = if options.smoke { Duration::from_millis(500) } else { BUSY };
    let (cores, before, end) = (machine::cores()?.len(), term(cluster), AtomicBool::new(false));
    let round = thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let round = clients.round(cluster, Duration::ZERO, length);
        end.store(true, Ordering::Relaxed);
        round
    })
    .map_err(|why| format!("{} on a busy machine: {why}", cluster.name()))?;
    let elections = term(cluster) - before;
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|q| Duration::from_nanos(round.latency.value_at_quantile(q)));
    println!(
        "busy, {cores} threads that only turn, 100 clients, {:.0} s\n  {:<11} {:.0}/s  p50 {}  p99 {}  max {}  terms begun {elections}",
        length.as_secs_f64(),
        cluster.name(),
        round.rate,
        human(p50),
        human(p99),
        human(most),
    );
    if !cluster.is_etcd() {
        targets.note("busy: no election".to_owned(), elections == 0, elections.to_string());
    }
    Ok(json!({
        "cluster": cluster.name(), "seconds": length.as_secs_f64(), "terms_begun": elections, "commits_per_s": round.rate.round(),
        "max_ms": rounded(most.as_secs_f64() * 1e3),
    }))
}
