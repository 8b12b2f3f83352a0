//! Who is started, under which name, with which options: a pure plan, before anything runs.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ClusterArgs;
use crate::cli::values::Span;
use crate::wire::Address;

/// The largest capacity that a master gets; fewer jobs make it smaller.
const CAPACITY: u32 = 20;

/// What every node is told: quick enough that one sees in seconds what takes minutes elsewhere.
const QUICK: [&str; 6] = ["--interval", "0.5", "--timeout", "2", "--log-level", "info"];

/// What every master is told beside.
const MASTER: [&str; 12] = [
    "--hold",
    "0.3",
    "--cooldown",
    "1",
    "--lease",
    "5",
    "--grace",
    "2",
    "--forget-owner",
    "5",
    // All nodes share the CPU of one machine: that they are hot together says nothing.
    "--cpu-threshold",
    "0",
];

/// Free ports are looked for here: below those that systems take for outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// `--kill NAME@SECONDS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// Whom.
    pub(super) name: String,
    /// How long after the jobs have come.
    pub(super) after: Duration,
}

impl FromStr for Kill {
    type Err = String;

    fn from_str(text: &str) -> Result<Kill, String> {
        let expected = || "expected NAME@SECONDS, such as m1@2 or w4@0.5".to_owned();
        let (name, after) = text.split_once('@').ok_or_else(expected)?;
        let after: Span = after.parse().map_err(|_| expected())?;
        if name.is_empty() { Err(expected()) } else { Ok(Kill { name: name.to_owned(), after: after.0 }) }
    }
}

/// A node by its place in the plan: the masters first, then the workers, those of one master side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Who(pub(super) usize);

/// The whole cluster.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    masters: usize,
    /// Of each master.
    workers: usize,
    /// Jobs for the first master.
    pub(super) jobs: u32,
    /// What each takes.
    pub(super) job: Duration,
    /// Waiting jobs above which a master is saturated.
    pub(super) capacity: u32,
    /// Who is killed when, the first one first.
    pub(super) kills: Vec<(Duration, Who)>,
    /// When it ends though not all is done.
    pub(super) limit: Option<Duration>,
    /// Where the state and the logs are kept.
    pub(super) keep_dir: Option<PathBuf>,
    base: Option<u16>,
    ports: Vec<u16>,
}

impl Plan {
    /// The plan of `node cluster`. The error names what does not fit.
    pub(super) fn new(args: &ClusterArgs) -> Result<Plan, String> {
        let mut plan = Plan {
            masters: args.masters as usize,
            workers: args.workers as usize,
            jobs: args.jobs,
            job: Duration::from_millis(args.job_ms),
            capacity: (args.jobs / 10).clamp(1, CAPACITY),
            kills: Vec::new(),
            limit: args.limit.map(|limit| limit.0),
            keep_dir: args.keep_dir.clone(),
            base: args.port,
            ports: Vec::new(),
        };
        for kill in &args.kill {
            let who = plan.all().find(|who| plan.name(*who) == kill.name).ok_or_else(|| {
                let (masters, workers) = (plan.masters, plan.masters * plan.workers);
                format!("--kill {}: there is no such node; expected m1 to m{masters} or w1 to w{workers}", kill.name)
            })?;
            if plan.kills.iter().any(|(_, other)| *other == who) {
                return Err(format!("--kill {}: it is killed twice", kill.name));
            }
            plan.kills.push((kill.after, who));
        }
        plan.kills.sort_by_key(|(after, _)| *after);
        if let Some(base) = plan.base
            && (base == 0 || usize::from(base) + plan.masters - 1 > usize::from(u16::MAX))
        {
            return Err(format!("--port {base}: expected 1 to {}", usize::from(u16::MAX) - plan.masters + 1));
        }
        Ok(plan)
    }

    /// The plan of `node demo`.
    pub(super) fn of_the_tour() -> Plan {
        Plan {
            masters: 2,
            workers: 3,
            jobs: 120,
            job: Duration::from_millis(100),
            capacity: 12,
            kills: Vec::new(),
            // Its phases take some five seconds; a machine on which they take more than ten times that is no place for a tour.
            limit: Some(Duration::from_secs(30)),
            keep_dir: None,
            base: None,
            ports: Vec::new(),
        }
    }

    /// Every node.
    pub(super) fn all(&self) -> impl Iterator<Item = Who> + use<> {
        (0..self.masters * (1 + self.workers)).map(Who)
    }

    /// Every master.
    pub(super) fn masters(&self) -> impl Iterator<Item = Who> + use<> {
        (0..self.masters).map(Who)
    }

    /// Every worker.
    pub(super) fn workers(&self) -> impl Iterator<Item = Who> + use<> {
        (self.masters..self.masters * (1 + self.workers)).map(Who)
    }

    /// Whether it is a master.
    pub(super) fn is_master(&self, who: Who) -> bool {
        who.0 < self.masters
    }

    /// The master of a worker; a master itself.
    pub(super) fn home(&self, who: Who) -> Who {
        if self.is_master(who) { who } else { Who((who.0 - self.masters) / self.workers) }
    }

    /// The workers of a master.
    pub(super) fn workers_of(&self, master: Who) -> impl Iterator<Item = Who> + '_ {
        self.workers().filter(move |worker| self.home(*worker) == master)
    }

    /// Its name: `m1`, `w4`.
    pub(super) fn name(&self, who: Who) -> String {
        if self.is_master(who) { format!("m{}", who.0 + 1) } else { format!("w{}", who.0 - self.masters + 1) }
    }

    /// Chooses the ports of the masters: those of `--port`, or others that are free at this moment.
    pub(super) fn choose_ports(&mut self) -> Result<(), String> {
        if let Some(base) = self.base {
            self.ports = (base..).take(self.masters).collect();
            return Ok(());
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = std::process::id().wrapping_mul(2_654_435_761).wrapping_add(since.subsec_nanos());
        let count = u32::from(PORTS.end - PORTS.start);
        let walk = (0..count).map(|step| {
            let place = (u64::from(seed) + u64::from(step)) % u64::from(count);
            PORTS.start + u16::try_from(place).expect("below the count of ports")
        });
        // All are held until all are found, so that no port is found twice.
        let held: Vec<TcpListener> =
            walk.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).take(self.masters).collect();
        self.ports = held.iter().filter_map(|listener| Some(listener.local_addr().ok()?.port())).collect();
        let (found, needed) = (self.ports.len(), self.masters);
        if found == needed {
            Ok(())
        } else {
            Err(format!("{needed} free ports of 127.0.0.1 are needed; {found} found"))
        }
    }

    /// Whether other ports may be tried where one turns out to be taken.
    pub(super) fn may_choose_again(&self) -> bool {
        self.base.is_none()
    }

    /// Where a master listens.
    pub(super) fn address(&self, master: Who) -> Address {
        Address::of((Ipv4Addr::LOCALHOST, self.ports[master.0]).into())
    }

    /// With what `node` is called for this node, whose state is under `dir`.
    pub(super) fn options(&self, who: Who, dir: &Path) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |all: &[&str]| words.extend(all.iter().map(|word| (*word).to_owned()));
        let name = self.name(who);
        let home = self.address(self.home(who));
        if self.is_master(who) {
            let (port, capacity) = (home.port.to_string(), self.capacity.to_string());
            add(&["--port", &port, "--capacity", &capacity, "--output", "text"]);
            add(&MASTER);
            // The only worker of a master can be lent, too: there is nobody else.
            add(&["--keep", if self.workers > 1 { "1" } else { "0" }]);
            for other in self.masters().filter(|other| *other != who) {
                add(&["--peer", &self.address(other).to_string()]);
            }
            if (2..=5).contains(&self.masters) {
                add(&["--expect", &self.masters.to_string()]);
            }
        } else {
            add(&["worker", "--master", &home.to_string(), "--port", "0", "--slots", "1", "--grace", "1"]);
        }
        add(&["--name", &name]);
        add(&QUICK);
        add(&["--data-dir", &dir.join(&name).to_string_lossy()]);
        words
    }

    /// How long the workers of the first master alone would take for its jobs.
    pub(super) fn alone(&self) -> Duration {
        let rounds = (self.jobs as usize).div_ceil(self.workers.max(1));
        self.job.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    fn parsed(line: &str) -> Result<ClusterArgs, clap::Error> {
        Line::try_parse_from(["cluster"].into_iter().chain(line.split_whitespace())).map(|line| line.cluster)
    }

    /// The plan of a command line, with the ports from 9101.
    pub(in super::super) fn plan(line: &str) -> Plan {
        let mut plan = Plan::new(&parsed(&format!("--port 9101 {line}")).unwrap()).unwrap();
        plan.choose_ports().unwrap();
        plan
    }

    fn refused(line: &str) -> String {
        match parsed(line) {
            Ok(args) => Plan::new(&args).unwrap_err(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn nodes_have_names_and_homes() {
        let plan = plan("--masters 2 --workers 3");
        let names: Vec<String> = plan.all().map(|who| plan.name(who)).collect();
        assert_eq!(names.join(" "), "m1 m2 w1 w2 w3 w4 w5 w6");
        let homes: Vec<String> = plan.workers().map(|who| plan.name(plan.home(who))).collect();
        assert_eq!(homes.join(" "), "m1 m1 m1 m2 m2 m2");
        assert_eq!(plan.workers_of(Who(1)).map(|who| plan.name(who)).collect::<Vec<_>>(), ["w4", "w5", "w6"]);
        assert!(plan.masters().all(|who| plan.is_master(who) && plan.home(who) == who));
        assert_eq!(plan.address(Who(1)).to_string(), "127.0.0.1:9102");
    }

    #[test]
    fn arguments_have_defaults_and_ranges() {
        let plain = parsed("").unwrap();
        assert_eq!((plain.masters, plain.workers, plain.jobs, plain.job_ms), (2, 3, 200, 100));
        assert_eq!((plain.kill.len(), plain.port, plain.limit), (0, None, None));
        let args = parsed("--kill m2@2 --kill w1@500ms --for 1m --jobs 60").unwrap();
        assert_eq!(args.kill[1], Kill { name: "w1".to_owned(), after: Duration::from_millis(500) });
        let plan = Plan::new(&args).unwrap();
        assert_eq!(plan.kills, [(Duration::from_millis(500), Who(2)), (Duration::from_secs(2), Who(1))]);
        assert_eq!((plan.limit, plan.capacity), (Some(Duration::from_secs(60)), 6));
        for bad in
            ["--masters 0", "--masters 10", "--workers 0", "--jobs 0", "--job-ms x", "--for soon", "--port 70000"]
        {
            assert!(parsed(bad).is_err(), "{bad}");
        }
        for (bad, what) in [
            ("--kill m1", "NAME@SECONDS"),
            ("--kill @2", "NAME@SECONDS"),
            ("--kill m1@soon", "NAME@SECONDS"),
            ("--kill m3@1", "m1 to m2 or w1 to w6"),
            ("--kill w7@1", "m1 to m2 or w1 to w6"),
            ("--kill w1@1 --kill w1@2", "twice"),
            ("--port 65535", "1 to 65534"),
            ("--port 0", "1 to 65534"),
        ] {
            assert!(refused(bad).contains(what), "{bad}: {}", refused(bad));
        }
    }

    #[test]
    fn the_capacity_is_small_enough_for_the_jobs_to_saturate_it() {
        for (jobs, capacity) in [(1, 1), (19, 1), (60, 6), (200, 20), (50_000, 20)] {
            assert_eq!(plan(&format!("--jobs {jobs}")).capacity, capacity);
        }
        assert_eq!(plan("--jobs 200").alone(), Duration::from_millis(6700));
    }

    #[test]
    fn every_node_is_called_with_options_that_node_takes() {
        for line in ["", "--masters 1 --workers 1", "--masters 5", "--masters 9"] {
            let plan = plan(line);
            for who in plan.all() {
                let words = plan.options(who, Path::new("/tmp/x"));
                let text = words.join(" ");
                crate::cli::tests::parsed(&format!("node {text}")).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert!(text.contains(&format!("--data-dir /tmp/x/{}", plan.name(who))), "{text}");
                assert_eq!(text.matches("--peer").count(), if plan.is_master(who) { plan.masters - 1 } else { 0 });
            }
        }
    }

    #[test]
    fn free_ports_are_different_ones() {
        let mut plan = Plan::new(&parsed("--masters 9").unwrap()).unwrap();
        plan.choose_ports().unwrap();
        let ports: std::collections::BTreeSet<u16> = plan.ports.iter().copied().collect();
        assert!(ports.len() == 9 && ports.iter().all(|port| PORTS.contains(port)), "{ports:?}");
    }
}
