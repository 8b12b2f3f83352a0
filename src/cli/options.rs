//! The options of a node: where they come from, their defaults, and whether they fit together.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::values::{
    self, Advertise, BindHost, Bytes, Discovery, Durable, Label, Peer, Peers, Percent, Span, Supervisor,
};
use super::worker::WorkerOptions;
use crate::core::{AgreementConfig, Config, Lend, LoadConfig, LoanConfig, PeerHint, QueueConfig, WorkerConfig};
use crate::wire::{Address, Dialect, Durability, Permille, Role};

/// Shortest and longest `--interval`.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));
/// Longest `--timeout`.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// Longest `--hold`.
const MAX_HOLD: Duration = Duration::from_secs(3600);
/// Largest `--capacity`.
const MAX_CAPACITY: u64 = 1_000_000_000;

/// The options of a node as one source gives them: the command line with the environment, or the file. What a source
/// does not say is `None`.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RunArgs {
    /// TCP port to listen on; 0 takes any free one [default: 9101]
    #[arg(long, env = "NODE_PORT", value_name = "PORT", allow_negative_numbers = true, help_heading = "Network", value_parser = values::parse_port)]
    #[serde(deserialize_with = "values::port")]
    pub(super) port: Option<u16>,

    /// IP address to listen on, or localhost [default: 127.0.0.1]
    #[arg(long, env = "NODE_HOST", value_name = "IP", help_heading = "Network")]
    pub(super) host: Option<BindHost>,

    /// A peer to call, for ever; repeat it for more. What the peer speaks is found out, or said by dialect
    /// (native, seed, 2025-2, 2026-1); workers is the port of its workers, where that is another.
    /// NODE_PEER separates peers by spaces
    #[serde(deserialize_with = "values::peers")]
    #[arg(long, env = "NODE_PEER", value_name = "HOST:PORT[,dialect=NAME][,workers=PORT]", help_heading = "Network")]
    pub(super) peer: Option<Vec<Peers>>,

    /// What peers are told to call instead of the address that is listened on
    #[arg(long, env = "NODE_ADVERTISE", value_name = "HOST[:PORT]", help_heading = "Network")]
    pub(super) advertise: Option<Advertise>,

    /// Listen on an address that others reach although nothing asks them for a secret (a classroom)
    #[arg(long, env = "NODE_INSECURE", value_name = "BOOL", help_heading = "Network",
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub(super) insecure: Option<bool>,

    /// Time between two heartbeats to a peer, in seconds or as 500ms, 2s, 1m; below --timeout [default: 2]
    #[arg(
        long,
        env = "NODE_INTERVAL",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Heartbeats"
    )]
    pub(super) interval: Option<Span>,

    /// Silence after which a peer is TIMEOUT, counted from its last answer [default: 6]
    #[arg(
        long,
        env = "NODE_TIMEOUT",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Heartbeats"
    )]
    pub(super) timeout: Option<Span>,

    /// Time after which a peer that is gone and was not configured is forgotten [default: 600, or twice --timeout
    /// where that is longer]
    #[arg(
        long,
        env = "NODE_FORGET",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Heartbeats"
    )]
    pub(super) forget: Option<Span>,

    /// Silence of a master after which others of its group adopt its workers [default: 60, or twice the timeout if that is longer]
    #[arg(
        long,
        env = "NODE_FORGET_OWNER",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Loans"
    )]
    pub(super) forget_owner: Option<Span>,

    /// Who may borrow workers of this master [default: everyone]
    #[arg(long, env = "NODE_LEND", value_enum, value_name = "WHO", help_heading = "Loans")]
    pub(super) lend: Option<LendTo>,

    /// Own workers that are never lent [default: 1]
    #[arg(long, env = "NODE_KEEP", value_name = "WORKERS", allow_negative_numbers = true, help_heading = "Loans", value_parser = values::parse_count)]
    pub(super) keep: Option<u32>,

    /// Workers lent to one borrower at a time at most [default: no limit]
    #[arg(long, env = "NODE_CAP", value_name = "WORKERS", allow_negative_numbers = true, help_heading = "Loans", value_parser = values::parse_count)]
    pub(super) cap: Option<u32>,

    /// Pause between two loans to one borrower, and after workers were given back [default: 5]
    #[arg(long, env = "NODE_COOLDOWN", value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Loans")]
    pub(super) cooldown: Option<Span>,

    /// How long a loan goes on without a renewal [default: 30]
    #[arg(long, env = "NODE_LEASE", value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Loans")]
    pub(super) lease: Option<Span>,

    /// How long a worker that is recalled goes on with what it runs [default: 10]
    #[arg(long, env = "NODE_GRACE", value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Loans")]
    pub(super) grace: Option<Span>,

    /// Name for people to read [default: the first eight characters of the id]
    #[arg(long, env = "NODE_NAME", value_name = "NAME", help_heading = "Identity and state")]
    pub(super) name: Option<Label>,

    /// Group of masters that this node belongs to [default: default]
    #[arg(long, env = "NODE_GROUP", value_name = "NAME", help_heading = "Identity and state")]
    pub(super) group: Option<Label>,

    /// Masters that must see each other before a group is founded, 1 to 5 [default: none; without peers at once, else
    /// after --timeout]
    #[arg(long, env = "NODE_EXPECT", value_name = "COUNT", allow_negative_numbers = true, help_heading = "Identity and state", value_parser = values::parse_count)]
    pub(super) expect: Option<u32>,

    /// Silence of the leader after which others stand for election, 20ms to 60s [default: 250ms]
    #[arg(
        long,
        env = "NODE_ELECTION",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Identity and state"
    )]
    pub(super) election: Option<Span>,

    /// Directory under which the state is kept, one directory a machine, address and port in it
    /// [default: $XDG_STATE_HOME/mutirao, or the system's like]
    #[arg(long, env = "NODE_DATA_DIR", value_name = "DIR", help_heading = "Identity and state")]
    pub(super) data_dir: Option<PathBuf>,

    /// Discard the stored state and begin with a new id
    #[arg(long, env = "NODE_FRESH", value_name = "BOOL", help_heading = "Identity and state",
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub(super) fresh: Option<bool>,

    /// Keep nothing on disk: a new id at each start
    #[arg(long, env = "NODE_EPHEMERAL", value_name = "BOOL", help_heading = "Identity and state",
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub(super) ephemeral: Option<bool>,

    /// Waiting jobs above which the node is saturated [default: 100]
    #[arg(long, env = "NODE_CAPACITY", value_name = "JOBS", allow_negative_numbers = true, help_heading = "Load", value_parser = values::parse_jobs)]
    pub(super) capacity: Option<u64>,

    /// Waiting jobs below which it is not saturated any more [default: 60 % of --capacity]
    #[arg(long, env = "NODE_RELEASE", value_name = "JOBS", allow_negative_numbers = true, help_heading = "Load", value_parser = values::parse_jobs)]
    pub(super) release: Option<u64>,

    /// How long either must last before it counts [default: 2]
    #[arg(long, env = "NODE_HOLD", value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Load")]
    pub(super) hold: Option<Span>,

    /// CPU of the machine above which the node is hot; 0 is never [default: 70]
    #[arg(
        long,
        env = "NODE_CPU_THRESHOLD",
        value_name = "PERCENT",
        allow_negative_numbers = true,
        help_heading = "Load"
    )]
    pub(super) cpu_threshold: Option<Percent>,

    /// When a job counts as accepted: fsync, when the disk has it; os, when the operating system has it; memory, at
    /// once, and a crash loses it [default: fsync]
    #[arg(long, env = "NODE_DURABILITY", value_name = "WORD", help_heading = "Jobs")]
    pub(super) durability: Option<Durable>,

    /// Jobs that may wait or run [default: 1000000]
    #[arg(long, env = "NODE_MAX_JOBS", value_name = "JOBS", allow_negative_numbers = true, help_heading = "Jobs", value_parser = values::parse_jobs)]
    pub(super) max_jobs: Option<u64>,

    /// Bytes that all jobs and kept results may hold, also as 512M or 2G [default: 1G]
    #[arg(long, env = "NODE_MAX_BYTES", value_name = "BYTES", allow_negative_numbers = true, help_heading = "Jobs")]
    pub(super) max_bytes: Option<Bytes>,

    /// How often a job that does not say is tried at most [default: 3]
    #[arg(long, env = "NODE_ATTEMPTS", value_name = "COUNT", allow_negative_numbers = true, help_heading = "Jobs", value_parser = values::parse_count)]
    pub(super) attempts: Option<u32>,

    /// How long one attempt at a job that does not say may take [default: 10m]
    #[arg(
        long,
        env = "NODE_JOB_TIMEOUT",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Jobs"
    )]
    pub(super) job_timeout: Option<Span>,

    /// Pause after the first failed attempt; doubled after each, up to 5m [default: 1]
    #[arg(
        long,
        env = "NODE_RETRY_PAUSE",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Jobs"
    )]
    pub(super) retry_pause: Option<Span>,

    /// Ended jobs whose results are kept at most [default: 100000]
    #[arg(long, env = "NODE_KEEP_RESULTS", value_name = "JOBS", allow_negative_numbers = true, help_heading = "Jobs", value_parser = values::parse_jobs)]
    pub(super) keep_results: Option<u64>,

    /// How long they are kept at most; buried jobs ten times as long [default: 24h]
    #[arg(long, env = "NODE_KEEP_FOR", value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Jobs")]
    pub(super) keep_for: Option<Span>,

    /// Directory of programs that are services of this node, each with a manifest (TOML)
    #[arg(long, env = "NODE_SERVICES", value_name = "DIR", help_heading = "Services")]
    pub(super) services: Option<PathBuf>,

    /// Offer shell.run, which runs any command for whoever asks
    #[arg(long, env = "NODE_ALLOW_EXEC", value_name = "BOOL", help_heading = "Services",
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub(super) allow_exec: Option<bool>,

    /// Answer workers that look for a master by UDP, on this port [default without a number: 5000]
    #[arg(long, env = "NODE_DISCOVERY", value_name = "PORT", allow_negative_numbers = true, help_heading = "Network",
          num_args = 0..=1, default_missing_value = "true")]
    pub(super) discovery: Option<Discovery>,

    /// A supervisor that gets a report of this master every 10 s. tls:// and port 443 mean TLS, tcp:// plain TCP
    #[arg(long, env = "NODE_SUPERVISOR", value_name = "[tcp://|tls://]HOST:PORT", help_heading = "Supervisor")]
    pub(super) supervisor: Option<Supervisor>,

    /// Authorities that may vouch for the supervisor, beside those that this system trusts (PEM)
    #[arg(long, env = "NODE_SUPERVISOR_CA", value_name = "FILE", help_heading = "Supervisor")]
    pub(super) supervisor_ca: Option<PathBuf>,

    /// How much to log [default: info]
    #[arg(long, env = "NODE_LOG_LEVEL", value_name = "LEVEL", help_heading = "Output")]
    pub(super) log_level: Option<LogLevel>,

    /// Form of the registry on standard output; auto is a table on a terminal and text elsewhere [default: auto]
    #[arg(long, env = "NODE_OUTPUT", value_name = "FORM", help_heading = "Output")]
    pub(super) output: Option<Output>,

    /// Configuration file (TOML) with the names of these options as keys
    #[arg(long, env = "NODE_CONFIG", value_name = "FILE", help_heading = "Output")]
    #[serde(skip)]
    pub(super) config: Option<PathBuf>,
}

/// `--log-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogLevel {
    /// Nothing.
    Off,
    /// What stops something.
    Error,
    /// What somebody should act on.
    Warn,
    /// What somebody may want to know.
    Info,
    /// What who looks for a fault wants to know.
    Debug,
    /// Everything, of the libraries too.
    Trace,
}

/// `--lend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LendTo {
    /// Any master that asks.
    Everyone,
    /// Members of the own group.
    Group,
    /// Nobody.
    Nobody,
}

/// `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Output {
    /// A table on a terminal, text elsewhere.
    Auto,
    /// A live table.
    Table,
    /// A line for each registry, in the seed's form.
    Text,
    /// JSON lines, for programs.
    Json,
}

impl RunArgs {
    /// These options, completed by those of a source that counts less.
    pub(super) fn or(self, other: RunArgs) -> RunArgs {
        macro_rules! each {
            ($($field:ident),*) => { RunArgs { $($field: self.$field.or(other.$field)),* } };
        }
        each!(
            port,
            host,
            peer,
            advertise,
            insecure,
            interval,
            timeout,
            forget,
            forget_owner,
            lend,
            keep,
            cap,
            cooldown,
            lease,
            grace,
            name,
            group,
            expect,
            election,
            data_dir,
            fresh,
            ephemeral,
            capacity,
            release,
            hold,
            cpu_threshold,
            durability,
            max_jobs,
            max_bytes,
            attempts,
            job_timeout,
            retry_pause,
            keep_results,
            keep_for,
            services,
            allow_exec,
            discovery,
            supervisor,
            supervisor_ca,
            log_level,
            output,
            config
        )
    }
}

/// Why options cannot be used: which one, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OptionError(pub(super) String);

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the state of a node is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StatePlace {
    /// Nowhere.
    Memory,
    /// Under the default directory.
    Default,
    /// Under this directory.
    Under(PathBuf),
}

/// The options of a node, complete and fitting together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Where to listen; port 0 is any free one.
    pub(super) bind: SocketAddr,
    /// The peers to call.
    pub(super) peers: Vec<Peer>,
    /// What peers are told to call.
    pub(super) advertise: Option<Advertise>,
    /// Whether `bind` is open to others, which `--insecure` allowed.
    pub(super) open: bool,
    /// Time between heartbeats.
    pub(super) interval: Duration,
    /// Silence after which a peer is TIMEOUT.
    pub(super) timeout: Duration,
    /// Time after which a peer that is gone is forgotten.
    pub(super) forget: Duration,
    /// Time after which the workers of a master that is gone are adopted.
    pub(super) forget_owner: Duration,
    /// Name, where one was given.
    pub(super) name: Option<String>,
    /// Group.
    pub(super) group: String,
    /// How the masters of the group agree.
    pub(super) agreement: AgreementConfig,
    /// How workers are lent and borrowed.
    pub(super) loans: LoanConfig,
    /// Where state is kept.
    pub(super) state: StatePlace,
    /// Whether stored state is discarded.
    pub(super) fresh: bool,
    /// Thresholds.
    pub(super) load: LoadConfig,
    /// The queue of a master.
    pub(super) queue: QueueConfig,
    /// What a worker does; `None` for a master.
    pub(super) worker: Option<WorkerOptions>,
    /// Directory of the programs that are services here.
    pub(super) services: Option<PathBuf>,
    /// Whether `shell.run` is offered.
    pub(super) allow_exec: bool,
    /// UDP port of discovery: on which a master answers, and to which a worker without masters asks.
    pub(super) discovery: Option<u16>,
    /// Who gets the reports of a master.
    pub(super) supervisor: Option<Supervisor>,
    /// Authorities that may vouch for it, beside those of the system.
    pub(super) supervisor_ca: Option<PathBuf>,
    /// How much to log.
    pub(super) log_level: LogLevel,
    /// Form of the output.
    pub(super) output: Output,
}

impl Options {
    /// Fills in the defaults of a master and checks every option, alone and with its neighbours.
    pub(super) fn resolve(args: RunArgs) -> Result<Options, OptionError> {
        let discovery = args.discovery.and_then(|discovery| discovery.0);
        Ok(Options { discovery, ..Options::resolve_any(args, false)? })
    }

    /// Fills in what the options of masters and workers share. A worker's state is found by its name, not its port.
    pub(super) fn resolve_any(args: RunArgs, is_worker: bool) -> Result<Options, OptionError> {
        let bind = SocketAddr::new(
            args.host.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |host| host.0),
            args.port.unwrap_or(9101),
        );
        let open = !bind.ip().to_canonical().is_loopback();
        check(!open || args.insecure == Some(true), || {
            format!(
                "--host {}: others can reach this address, and there are no secrets yet by which the node could tell \
                 who may use it; add --insecure to open it all the same (a classroom), or stay on 127.0.0.1",
                bind.ip()
            )
        })?;

        let allow_exec = args.allow_exec == Some(true);
        check(!(open && allow_exec), || {
            format!(
                "--allow-exec with --insecure on --host {}: anybody who reaches this address could run any command as \
                 this user, because nothing asks them for a secret; leave one of them out, or stay on 127.0.0.1",
                bind.ip()
            )
        })?;

        let interval = args.interval.map_or(Duration::from_secs(2), |span| span.0);
        let timeout = args.timeout.map_or(Duration::from_secs(6), |span| span.0);
        let range = INTERVAL.0..=INTERVAL.1;
        check(range.contains(&interval), || format!("--interval {}: expected 10 ms to 1 h", Span(interval)))?;
        check(timeout <= MAX_TIMEOUT, || format!("--timeout {}: expected at most 24 h", Span(timeout)))?;
        check(interval < timeout, || {
            format!(
                "--interval {} is not below --timeout {}; expected less, such as a third of it, or no peer could ever \
                 answer in time",
                Span(interval),
                Span(timeout)
            )
        })?;
        let forget_owner = args.forget_owner.map_or(Duration::from_secs(60).max(timeout * 2), |span| span.0);
        check(forget_owner > timeout && forget_owner <= Duration::from_secs(48 * 3600), || {
            let (given, timeout) = (Span(forget_owner), Span(timeout));
            format!("--forget-owner {given}: expected more than --timeout {timeout}, at most 48 h")
        })?;
        let forget = args.forget.map_or(Duration::from_secs(600).max(timeout * 2), |span| span.0);
        check(forget > timeout, || {
            format!("--forget {} is not above --timeout {}; expected more", Span(forget), Span(timeout))
        })?;

        let election = args.election.map_or(AgreementConfig::default().election, |span| span.0);
        let agreement = AgreementConfig { expect: args.expect, heartbeat: election / 5, election };
        agreement.check().map_err(|error| OptionError(format!("--{error}")))?;

        let loans = loans(&args)?;
        let capacity = args.capacity.unwrap_or(100);
        check((1..=MAX_CAPACITY).contains(&capacity), || {
            format!("--capacity {capacity}: expected 1 to {MAX_CAPACITY} jobs")
        })?;
        let release = args.release.unwrap_or((capacity * 60 / 100).max(1));
        check((1..=capacity).contains(&release), || {
            format!("--release {release}: expected 1 to --capacity {capacity} jobs")
        })?;
        let hold = args.hold.map_or(Duration::from_secs(2), |span| span.0);
        check(hold <= MAX_HOLD, || format!("--hold {}: expected at most 1 h", Span(hold)))?;
        let cpu_threshold = args.cpu_threshold.map_or(Permille::new(700), |percent| percent.0);

        let (fresh, ephemeral) = (args.fresh == Some(true), args.ephemeral == Some(true));
        check(!(fresh && ephemeral), || {
            "--fresh discards what is stored and --ephemeral leaves it alone; expected one of them".to_owned()
        })?;
        let state = match (ephemeral, args.data_dir.clone()) {
            (true, _) => StatePlace::Memory,
            (false, Some(dir)) => StatePlace::Under(dir),
            // Nobody could find the state of a port that is another one at each start.
            (false, None) if bind.port() == 0 && !is_worker => StatePlace::Memory,
            (false, None) => StatePlace::Default,
        };

        let mut queue = queue(&args)?;
        if state == StatePlace::Memory {
            check(args.durability.is_none_or(|durable| durable.0 == Durability::Memory), || {
                format!(
                    "--durability {} needs a disk, and with --ephemeral, or --port 0 without --data-dir, nothing is \
                     kept on one; expected --durability memory, or a place for the state",
                    queue.durability.as_str()
                )
            })?;
            queue.durability = Durability::Memory;
        }

        if let Some(path) = &args.supervisor_ca {
            let needs = "tells whom to trust over TLS; expected --supervisor tls://HOST:PORT with it";
            let tls = args.supervisor.as_ref().is_some_and(|supervisor| supervisor.tls);
            check(tls, || format!("--supervisor-ca {} {needs}", path.display()))?;
        }

        Ok(Options {
            bind,
            peers: peers("--peer", args.peer.unwrap_or_default())?,
            advertise: args.advertise,
            open,
            interval,
            timeout,
            forget,
            forget_owner,
            name: args.name.map(|label| label.0),
            group: args.group.map_or_else(|| "default".to_owned(), |label| label.0),
            agreement,
            loans,
            state,
            fresh,
            load: LoadConfig { capacity, release, hold, cpu_threshold },
            queue,
            worker: None,
            services: args.services,
            allow_exec,
            discovery: None,
            supervisor: args.supervisor,
            supervisor_ca: args.supervisor_ca,
            log_level: args.log_level.unwrap_or(LogLevel::Info),
            output: args.output.unwrap_or(Output::Auto),
        })
    }

    /// What the operator says of peers that are other people's programs.
    fn hints(&self) -> BTreeMap<Address, PeerHint> {
        let hint = |peer: &Peer| PeerHint { older: peer.dialect == Some(Dialect::Gen2025_2), workers: peer.workers };
        let all = self.peers.iter().map(|peer| (peer.address.clone(), hint(peer)));
        all.filter(|(_, hint)| *hint != PeerHint::default()).collect()
    }

    /// The settings of the core for a listener that got the address `bound`.
    pub(super) fn config(&self, bound: SocketAddr) -> Config {
        let advertise = self.advertise.as_ref();
        Config {
            interval: self.interval,
            timeout: self.timeout,
            peers: self.peers.iter().map(|peer| peer.address.clone()).collect(),
            hints: self.hints(),
            bind: bound,
            advertise: advertise
                .map(|told| Address { host: told.host.clone(), port: told.port.unwrap_or_else(|| bound.port()) }),
            role: if self.worker.is_some() { Role::Worker } else { Role::Master },
            group: self.group.clone(),
            forget: self.forget,
            forget_owner: self.forget_owner,
            supervisor: self.supervisor.as_ref().map(|supervisor| supervisor.address.clone()),
            load: self.load.clone(),
            queue: self.queue.clone(),
            // The log has them at `info`, and JSON always.
            tell_ends: self.output == Output::Json || self.log_level >= LogLevel::Info,
            worker: self.worker.as_ref().map(|worker| WorkerConfig {
                masters: worker.masters.iter().map(|master| master.address.clone()).collect(),
                slots: worker.slots,
                grace: worker.grace,
            }),
        }
    }
}

/// Lending and borrowing. The ranges are the core's.
fn loans(args: &RunArgs) -> Result<LoanConfig, OptionError> {
    let default = LoanConfig::default();
    let span = |given: Option<Span>, default: Duration| given.map_or(default, |span| span.0);
    let loans = LoanConfig {
        lend: match args.lend.unwrap_or(LendTo::Everyone) {
            LendTo::Everyone => Lend::Everyone,
            LendTo::Group => Lend::Group,
            LendTo::Nobody => Lend::Nobody,
        },
        keep: args.keep.unwrap_or(default.keep),
        cap: args.cap,
        cooldown: span(args.cooldown, default.cooldown),
        lease: span(args.lease, default.lease),
        grace: span(args.grace, default.grace),
        ..default
    };
    loans.check().map_err(|error| OptionError(format!("--{error}")))?;
    Ok(loans)
}

/// The queue of a master. The ranges are the core's.
fn queue(args: &RunArgs) -> Result<QueueConfig, OptionError> {
    let default = QueueConfig::default();
    let span = |given: Option<Span>, default: Duration| given.map_or(default, |span| span.0);
    let queue = QueueConfig {
        durability: args.durability.map_or(default.durability, |durable| durable.0),
        max_jobs: args.max_jobs.unwrap_or(default.max_jobs),
        max_bytes: args.max_bytes.map_or(default.max_bytes, |bytes| bytes.0),
        attempts: args.attempts.unwrap_or(default.attempts),
        job_timeout: span(args.job_timeout, default.job_timeout),
        retry_pause: span(args.retry_pause, default.retry_pause),
        keep_results: args.keep_results.unwrap_or(default.keep_results),
        keep_for: span(args.keep_for, default.keep_for),
    };
    queue.check().map_err(|error| OptionError(format!("--{error}")))?;
    Ok(queue)
}

/// The peers of all values, each address once. Two dialects, or two ports of workers, for one address contradict each other.
pub(super) fn peers(option: &str, values: Vec<Peers>) -> Result<Vec<Peer>, OptionError> {
    let mut peers: Vec<Peer> = Vec::new();
    for peer in values.into_iter().flat_map(|value| value.0) {
        match peers.iter_mut().find(|known| known.address == peer.address) {
            None => peers.push(peer),
            Some(known) => {
                check(known.dialect.is_none() || peer.dialect.is_none() || known.dialect == peer.dialect, || {
                    format!("{option} {}: named twice with different dialects; expected one", peer.address)
                })?;
                known.dialect = known.dialect.or(peer.dialect);
                check(known.workers.is_none() || peer.workers.is_none() || known.workers == peer.workers, || {
                    format!("{option} {}: named twice with different ports of workers; expected one", peer.address)
                })?;
                known.workers = known.workers.or(peer.workers);
            }
        }
    }
    Ok(peers)
}

pub(super) fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), OptionError> {
    if holds { Ok(()) } else { Err(OptionError(otherwise())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn resolve(line: &str) -> Result<Options, OptionError> {
        let words = std::iter::once("node").chain(line.split_whitespace());
        Options::resolve(Line::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).run)
    }

    fn refusal(line: &str) -> String {
        resolve(line).unwrap_err().0
    }

    #[test]
    fn a_negative_number_is_a_bad_value_and_not_an_unknown_option() {
        for option in [
            "port",
            "interval",
            "timeout",
            "forget",
            "forget-owner",
            "keep",
            "cap",
            "cooldown",
            "lease",
            "grace",
            "expect",
            "election",
            "capacity",
            "release",
            "hold",
            "cpu-threshold",
            "max-jobs",
            "max-bytes",
            "attempts",
            "job-timeout",
            "retry-pause",
            "keep-results",
            "keep-for",
            "discovery",
        ] {
            let error =
                Line::try_parse_from(["node", &format!("--{option}"), "-1"]).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("invalid value '-1'") && error.contains("expected"), "--{option}: {error}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let options = resolve("").unwrap();
        assert_eq!(options.bind, "127.0.0.1:9101".parse().unwrap());
        assert_eq!((options.interval, options.timeout), (Duration::from_secs(2), Duration::from_secs(6)));
        assert_eq!((options.load.capacity, options.load.release), (100, 60));
        assert_eq!((options.load.hold, options.load.cpu_threshold), (Duration::from_secs(2), Permille::new(700)));
        assert_eq!((options.forget, options.group.as_str()), (Duration::from_secs(600), "default"));
        assert_eq!((options.state.clone(), options.fresh, options.open), (StatePlace::Default, false, false));
        assert_eq!((&options.services, options.allow_exec, options.discovery), (&None, false, None));
        let config = options.config(options.bind);
        assert_eq!((config.queue, config.role, config.worker), (QueueConfig::default(), Role::Master, None));
    }

    #[test]
    fn each_bad_setting_is_refused_by_its_name() {
        for (line, what) in [
            ("--interval 6", "--interval 6 s is not below --timeout 6 s"),
            ("--interval 2 --timeout 1", "--interval 2 s is not below --timeout 1 s"),
            ("--interval 1ms", "--interval 0.001 s: expected 10 ms to 1 h"),
            ("--interval 2h --timeout 3h", "expected 10 ms to 1 h"),
            ("--timeout 25h", "--timeout 90000 s: expected at most 24 h"),
            ("--forget 6", "--forget 6 s is not above --timeout 6 s"),
            ("--forget-owner 6", "--forget-owner 6 s: expected more than --timeout 6 s, at most 48 h"),
            ("--forget-owner 49h", "--forget-owner 176400 s: expected more than"),
            ("--capacity 0", "--capacity 0: expected 1 to"),
            ("--release 101", "--release 101: expected 1 to --capacity 100"),
            ("--release 0", "--release 0: expected"),
            ("--hold 2h", "--hold 7200 s: expected at most 1 h"),
            ("--fresh --ephemeral", "expected one of them"),
            ("--ephemeral --durability os", "--durability os needs a disk"),
            ("--port 0 --durability fsync", "--durability fsync needs a disk"),
            ("--max-jobs 0", "--max-jobs is 0; expected 1 to"),
            ("--max-bytes 1K", "--max-bytes is 1024; expected 65536 to"),
            ("--attempts 101", "--attempts is 101; expected 1 to 100"),
            ("--job-timeout 25h", "--job-timeout is 90000s; expected 1 ms to 24 h"),
            ("--retry-pause 6m", "--retry-pause is 360s; expected 0 to 5 min"),
            ("--keep-for 0", "--keep-for is 0ns; expected 1 s to 365 days"),
            ("--supervisor a:8000 --supervisor-ca f", "--supervisor-ca f tells whom to trust over TLS"),
            ("--supervisor-ca f", "expected --supervisor tls://HOST:PORT"),
            ("--host 0.0.0.0 --insecure --allow-exec", "anybody who reaches this address could run any command"),
            ("--host 0.0.0.0", "add --insecure"),
            ("--host 192.168.1.7 --insecure=false", "add --insecure"),
            ("--peer a:1,dialect=seed --peer a:1,dialect=2025-2", "different dialects"),
            ("--peer a:1,workers=2 --peer a:1,workers=3", "different ports of workers"),
        ] {
            let refusal = refusal(line);
            assert!(refusal.contains(what), "{line}: {refusal}");
        }
    }

    #[test]
    fn the_queue_is_as_the_options_say() {
        let line = "--durability os --max-jobs 5 --max-bytes 2G --attempts 7 --job-timeout 1m --retry-pause 0 \
                    --keep-results 0 --keep-for 1h";
        let options = resolve(line).unwrap();
        let queue = options.config(options.bind).queue;
        let expected = QueueConfig {
            durability: Durability::Os,
            max_jobs: 5,
            max_bytes: 2 << 30,
            attempts: 7,
            job_timeout: Duration::from_secs(60),
            retry_pause: Duration::ZERO,
            keep_results: 0,
            keep_for: Duration::from_secs(3600),
        };
        assert_eq!(queue, expected);
    }

    #[test]
    fn discovery_is_off_or_on_a_port_which_is_5000_unless_said() {
        let port = |line: &str| resolve(line).unwrap().discovery;
        assert_eq!(port("--discovery"), Some(5000));
        assert_eq!(port("--discovery --port 1"), Some(5000));
        assert_eq!(port("--discovery 6000"), Some(6000));
        assert_eq!(port("--discovery=false"), None);
    }

    #[test]
    fn a_supervisor_is_nobody_unless_named() {
        let supervisor = |line: &str| resolve(line).map(|options| options.config(options.bind).supervisor);
        assert_eq!(supervisor(""), Ok(None));
        assert_eq!(supervisor("--supervisor lab:8000"), Ok(Some("lab:8000".parse().unwrap())));
        assert_eq!(supervisor("--supervisor tls://lab:1 --supervisor-ca f"), Ok(Some("lab:1".parse().unwrap())));
    }

    #[test]
    fn commands_may_be_offered_where_only_this_machine_reaches() {
        assert!(resolve("--allow-exec").unwrap().allow_exec);
        assert!(resolve("--allow-exec --insecure").unwrap().allow_exec, "the address is not open");
        assert!(!resolve("--host 0.0.0.0 --insecure --allow-exec=false").unwrap().allow_exec);
    }

    #[test]
    fn bad_words_are_refused_by_the_parser_with_what_was_expected() {
        for (line, what) in [
            (["--peer", "127.0.0.1"], "has no port"),
            (["--interval", "soon"], "expected seconds"),
            (["--host", "lab"], "or localhost"),
            (["--cpu-threshold", "101"], "0 to 100"),
            (["--port", "70000"], "expected a port from 0 to 65535"),
            (["--port", "x"], "expected a port from 0 to 65535"),
            (["--capacity", "many"], "expected a whole number of jobs"),
            (["--name", "a\tb"], "control characters"),
            (["--durability", "often"], "expected fsync, os or memory"),
            (["--max-bytes", "2X"], "expected bytes"),
            (["--attempts", "few"], "expected a whole number"),
            (["--supervisor", "http://a:80"], "tls://HOST:PORT"),
            (["--discovery", "0"], "expected a UDP port from 1 to 65535"),
            (["--intervall", "2"], "--interval"),
        ] {
            let error = Line::try_parse_from(["node"].into_iter().chain(line)).map(|_| ()).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(super::super::exit::USAGE));
            assert!(error.to_string().contains(what), "{line:?}: {error}");
        }
    }

    #[test]
    fn an_open_address_wants_insecure_and_a_loopback_one_does_not() {
        assert!(resolve("--host 0.0.0.0 --insecure").unwrap().open);
        for host in ["127.0.0.2", "::1", "localhost", "::ffff:127.0.0.1"] {
            assert!(!resolve(&format!("--host {host}")).unwrap().open, "{host}");
        }
    }

    #[test]
    fn a_port_of_chance_keeps_no_state_unless_told_where() {
        assert_eq!(resolve("--port 0").unwrap().state, StatePlace::Memory);
        assert_eq!(resolve("--port 0 --data-dir d").unwrap().state, StatePlace::Under("d".into()));
        assert_eq!(resolve("--ephemeral --data-dir d").unwrap().state, StatePlace::Memory);
    }

    #[test]
    fn jobs_are_as_durable_as_the_state_that_holds_them() {
        let durability = |line: &str| resolve(line).unwrap().queue.durability;
        assert_eq!(durability(""), Durability::Fsync);
        assert_eq!(durability("--port 0 --data-dir d"), Durability::Fsync);
        assert_eq!(durability("--port 0"), Durability::Memory);
        assert_eq!(durability("--ephemeral --durability memory"), Durability::Memory);
    }

    #[test]
    fn an_advertised_host_without_port_takes_the_bound_one() {
        let advertised = |line: &str| {
            let config = resolve(line).unwrap().config("127.0.0.1:4000".parse().unwrap());
            config.advertise.map(|address| address.to_string())
        };
        assert_eq!(advertised("--port 0 --advertise lab").as_deref(), Some("lab:4000"));
        assert_eq!(advertised("--advertise lab:7").as_deref(), Some("lab:7"));
        assert_eq!(advertised(""), None);
    }

    #[test]
    fn a_peer_named_twice_is_called_once() {
        let options = resolve("--peer a:1 --peer b:2,dialect=seed --peer a:1,dialect=native").unwrap();
        assert_eq!(options.peers.len(), 2);
        assert_eq!(options.peers[0].dialect, Some(crate::wire::Dialect::Native));
    }

    #[test]
    fn release_follows_capacity_and_forget_follows_timeout() {
        assert_eq!(resolve("--capacity 1").unwrap().load.release, 1);
        assert_eq!(resolve("--capacity 50").unwrap().load.release, 30);
        assert_eq!(resolve("--timeout 1h").unwrap().forget, Duration::from_secs(7200));
        assert_eq!(resolve("--timeout 1h").unwrap().forget_owner, Duration::from_secs(7200));
        assert_eq!(resolve("").unwrap().forget_owner, Duration::from_secs(60));
    }

    #[test]
    fn the_source_that_counts_more_wins_option_by_option() {
        let args = |line: &str| Line::try_parse_from(line.split_whitespace()).unwrap().run;
        let upper = args("node --port 1 --ephemeral=false --peer a:1");
        let lower = args("node --port 2 --ephemeral --peer b:2 --interval 1");
        let merged = upper.or(lower);
        assert_eq!(
            (merged.port, merged.ephemeral, merged.interval),
            (Some(1), Some(false), Some("1".parse().unwrap()))
        );
        assert_eq!(merged.peer.unwrap()[0].0[0].address.to_string(), "a:1");
    }
}
