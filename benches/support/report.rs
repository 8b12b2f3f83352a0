//! Medians, ratios, tables and the list of targets.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::{Round, histogram};

/// The rounds of one server in one measurement, in the order in which they were run.
pub(crate) struct Series {
    /// `node`, or the name of a yardstick.
    pub(crate) name: &'static str,
    /// Length of its (first) reply in bytes, newline included: a comparison wants about the same.
    pub(crate) reply_bytes: usize,
    /// What each round has shown.
    pub(crate) rounds: Vec<Round>,
}

impl Series {
    /// Median of requests a second.
    pub(crate) fn rate(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.rate))
    }

    /// Median of the server's CPU a request, nanoseconds.
    pub(crate) fn cpu_ns(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.cpu_ns))
    }

    /// Our rate as a multiple of a yardstick's: the median over the pairs of rounds that were run together.
    pub(crate) fn rate_ratio(&self, yardstick: &Series) -> f64 {
        median(self.rounds.iter().zip(&yardstick.rounds).map(|(ours, theirs)| ours.rate / theirs.rate))
    }

    /// Our CPU a request as a multiple of a yardstick's.
    pub(crate) fn cpu_ratio(&self, yardstick: &Series) -> f64 {
        median(self.rounds.iter().zip(&yardstick.rounds).map(|(ours, theirs)| ours.cpu_ns / theirs.cpu_ns))
    }

    /// Latency at this quantile over all rounds.
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        let mut all = histogram();
        for round in &self.rounds {
            all.add(&round.latency).expect("every histogram has the same bounds");
        }
        Duration::from_nanos(all.value_at_quantile(quantile))
    }
}

/// One measurement: the node and its yardsticks in interleaved rounds.
pub(crate) struct Measurement {
    /// Such as `heartbeat 50x16`; what `--only` looks into.
    pub(crate) name: String,
    /// Such as `heartbeat` or `load`.
    pub(crate) task: &'static str,
    /// Connections.
    pub(crate) conns: usize,
    /// Requests in flight on each.
    pub(crate) depth: usize,
    /// Whether server and generator shared one core.
    pub(crate) one_core: bool,
    /// Whether nothing else wanted the cores in the rounds that count.
    pub(crate) undisturbed: bool,
    /// The node first.
    pub(crate) series: Vec<Series>,
}

impl Measurement {
    /// The name of a measurement, as far as it follows from these.
    pub(crate) fn name(task: &str, conns: usize, depth: usize) -> String {
        format!("{task} {conns}x{depth}")
    }

    /// The series of this name, where it was run.
    pub(crate) fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// Prints a line a server; beside each yardstick the node's ratio to it.
    pub(crate) fn print(&self) {
        let cores = if self.one_core { "one core" } else { "two cores" };
        let mark = if self.undisturbed { "" } else { "  (disturbed: something else wanted the cores)" };
        let Self { task, conns, depth, .. } = self;
        println!("{task}, {conns} connection{}, {depth} in flight, {cores}{mark}", if *conns == 1 { "" } else { "s" });
        let ours = self.series("node");
        for series in &self.series {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| human(series.latency(quantile)));
            let (rate, cpu) = (count(series.rate()), format!("{:.2} us", series.cpu_ns() / 1e3));
            let name = series.name;
            let bytes = series.reply_bytes;
            let bytes = if bytes == 0 { String::new() } else { format!("of {bytes:>3} B   ") };
            print!(
                "  {name:<6} {rate:>7}/s  {bytes}p50 {p50:>8}  p99 {p99:>8}  p99.9 {p999:>8}   cpu {cpu:>9}/request"
            );
            match ours.filter(|_| name != "node") {
                Some(ours) => {
                    println!("   node/{name}: rate {:.2}, cpu {:.2}", ours.rate_ratio(series), ours.cpu_ratio(series))
                }
                None => println!(),
            }
        }
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let ours = self.series("node");
        let servers: Vec<Value> = self
            .series
            .iter()
            .map(|series| {
                let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| series.latency(q).as_nanos() as f64 / 1e3);
                let yardstick = ours.filter(|_| series.name != "node");
                json!({
                    "server": series.name, "reply_bytes": series.reply_bytes,
                    "requests_per_s": series.rate().round(),
                    "cpu_us_per_request": rounded(series.cpu_ns() / 1e3),
                    "p50_us": rounded(p50), "p99_us": rounded(p99), "p999_us": rounded(p999),
                    "rate_ratio": yardstick.map(|_| rounded(ours.map_or(0.0, |ours| ours.rate_ratio(series)))),
                    "cpu_ratio": yardstick.map(|_| rounded(ours.map_or(0.0, |ours| ours.cpu_ratio(series)))),
                })
            })
            .collect();
        json!({
            "name": self.name,
            "one_core": self.one_core, "undisturbed": self.undisturbed, "servers": servers,
        })
    }
}

/// The targets and whether they were reached. Never fails a run: a slow machine is no fault.
#[derive(Default)]
pub(crate) struct Targets {
    seen: Vec<(String, bool, String)>,
}

impl Targets {
    /// Notes one target: what was wanted, whether it was reached, the figure.
    pub(crate) fn note(&mut self, wanted: impl Into<String>, reached: bool, figure: impl Into<String>) {
        self.seen.push((wanted.into(), reached, figure.into()));
    }

    /// Prints the list.
    pub(crate) fn print(&self, smoke: bool) {
        if self.seen.is_empty() {
            return;
        }
        println!("\nTargets{}:", if smoke { " (a smoke run: these figures mean little)" } else { "" });
        for (wanted, reached, figure) in &self.seen {
            println!("  {:<12} {wanted}: {figure}", if *reached { "reached" } else { "NOT REACHED" });
        }
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        self.seen
            .iter()
            .map(|(wanted, reached, figure)| json!({"target": wanted, "reached": reached, "figure": figure}))
            .collect()
    }
}

/// The middle of the values; of an even number the mean of the middle two; 0 of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// Three decimals.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Such as `310k` or `5.10M`.
pub(crate) fn count(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2}M", v / 1e6),
        v if v >= 1e4 => format!("{:.0}k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// Such as `150 us` or `1.2 ms`.
pub(crate) fn human(duration: Duration) -> String {
    match duration.as_nanos() {
        ns if ns < 100_000 => format!("{:.1} us", ns as f64 / 1e3),
        ns if ns < 1_000_000 => format!("{:.0} us", ns as f64 / 1e3),
        ns => format!("{:.1} ms", ns as f64 / 1e6),
    }
}
