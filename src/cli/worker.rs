//! `node worker`: runs a node in the other role. It works for one master at a time.

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Deserialize;

use super::config_file;
use super::options::{LogLevel, OptionError, Options, Output, RunArgs, check, peers};
use super::run::{self, Failure};
use super::values::{self, BindHost, DISCOVERY_PORT, Discovery, Label, Peer, Peers, Span};
use crate::core::WorkerConfig;
use crate::wire::MAX_SLOTS;

/// The options of a worker as one source gives them, as [`RunArgs`] are those of a master.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(after_long_help = EXAMPLES)]
pub(super) struct WorkerArgs {
    /// The master to work for; repeat it for those to try when it is gone, in this order. Without one, a master is
    /// looked for by UDP. NODE_MASTER separates masters by spaces
    #[serde(deserialize_with = "values::peers")]
    #[arg(long, env = "NODE_MASTER", value_name = "HOST:PORT[,dialect=NAME]", help_heading = "Work")]
    master: Option<Vec<Peers>>,

    /// Jobs to run at a time [default: 1 a core]
    #[arg(long, env = "NODE_SLOTS", value_name = "COUNT", allow_negative_numbers = true, help_heading = "Work", value_parser = values::parse_count)]
    slots: Option<u32>,

    /// Directory of programs that are services of this worker, each with a manifest (TOML)
    #[arg(long, env = "NODE_SERVICES", value_name = "DIR", help_heading = "Work")]
    services: Option<PathBuf>,

    /// Offer shell.run, which runs any command for whoever may submit jobs to the master
    #[arg(long, env = "NODE_ALLOW_EXEC", value_name = "BOOL", help_heading = "Work",
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    allow_exec: Option<bool>,

    /// How long to go on with what runs when told to stop; the second Ctrl-C ends it at once [default: 30]
    #[arg(long, env = "NODE_GRACE", value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Work")]
    grace: Option<Span>,

    /// Name for people to read, under which the worker also finds its state again [default: the first eight
    /// characters of the id]
    #[arg(long, env = "NODE_NAME", value_name = "NAME", help_heading = "Identity and state")]
    name: Option<Label>,

    /// TCP port on which it can be asked (LOAD, EVENTS); 0 takes any free one [default: 0]
    #[arg(long, env = "NODE_PORT", value_name = "PORT", allow_negative_numbers = true, help_heading = "Network", value_parser = values::parse_port)]
    #[serde(deserialize_with = "values::port")]
    port: Option<u16>,

    /// IP address to listen on, or localhost [default: 127.0.0.1]
    #[arg(long, env = "NODE_HOST", value_name = "IP", help_heading = "Network")]
    host: Option<BindHost>,

    /// Listen on an address that others reach although nothing asks them for a secret (a classroom)
    #[arg(long, env = "NODE_INSECURE", value_name = "BOOL", help_heading = "Network",
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    insecure: Option<bool>,

    /// UDP port on which masters are looked for, where no --master is named [default: 5000]
    #[arg(long, env = "NODE_DISCOVERY", value_name = "PORT", allow_negative_numbers = true, help_heading = "Network",
          num_args = 0..=1, default_missing_value = "true")]
    discovery: Option<Discovery>,

    /// Time between two signs of life to the master, in seconds or as 500ms, 2s, 1m; below --timeout [default: 2]
    #[arg(
        long,
        env = "NODE_INTERVAL",
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "Network"
    )]
    interval: Option<Span>,

    /// Silence after which the master counts as gone [default: 6]
    #[arg(long, env = "NODE_TIMEOUT", value_name = "SECONDS", allow_negative_numbers = true, help_heading = "Network")]
    timeout: Option<Span>,

    /// Directory under which the state is kept, one directory a worker in it
    /// [default: $XDG_STATE_HOME/mutirao, or the system's like]
    #[arg(long, env = "NODE_DATA_DIR", value_name = "DIR", help_heading = "Identity and state")]
    data_dir: Option<PathBuf>,

    /// Discard the stored state and begin with a new id
    #[arg(long, env = "NODE_FRESH", value_name = "BOOL", help_heading = "Identity and state",
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    fresh: Option<bool>,

    /// Keep nothing on disk: a new id at each start
    #[arg(long, env = "NODE_EPHEMERAL", value_name = "BOOL", help_heading = "Identity and state",
          num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    ephemeral: Option<bool>,

    /// How much to log [default: info]
    #[arg(long, env = "NODE_LOG_LEVEL", value_name = "LEVEL", help_heading = "Output")]
    log_level: Option<LogLevel>,

    /// Form of the registry on standard output; auto is a table on a terminal and text elsewhere [default: auto]
    #[arg(long, env = "NODE_OUTPUT", value_name = "FORM", help_heading = "Output")]
    output: Option<Output>,

    /// Configuration file (TOML) with the names of these options as keys
    #[arg(long, env = "NODE_CONFIG", value_name = "FILE", help_heading = "Output")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  node worker --master 127.0.0.1:9101
  node worker --master lab-1:9101 --master lab-2:9101 --slots 8
  node worker --services ./services --name crusher
  node worker --master 127.0.0.1:9101 --allow-exec

The first Ctrl-C lets what runs end, for --grace at most; the second ends it.

State: a worker keeps its id under its --name, or, without one, under the first
number that no other nameless worker of this machine holds.";

/// What only a worker has, complete and within its ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WorkerOptions {
    /// The masters to work for, in the order in which they are tried. Empty: one is discovered.
    pub(super) masters: Vec<Peer>,
    /// Jobs that run at a time.
    pub(super) slots: u32,
    /// How long it goes on when it is told to stop.
    pub(super) grace: Duration,
}

impl WorkerArgs {
    /// These options, completed by those of a source that counts less.
    fn or(self, other: WorkerArgs) -> WorkerArgs {
        macro_rules! each {
            ($($field:ident),*) => { WorkerArgs { $($field: self.$field.or(other.$field)),* } };
        }
        each!(
            master, slots, services, allow_exec, grace, name, port, host, insecure, discovery, interval, timeout,
            data_dir, fresh, ephemeral, log_level, output, config
        )
    }

    /// Fills in the defaults and checks every option, alone and with its neighbours.
    fn resolve(self) -> Result<Options, OptionError> {
        let masters = peers("--master", self.master.unwrap_or_default())?;
        for master in &masters {
            check(master.workers.is_none(), || {
                format!(
                    "--master {}: a worker calls where workers are served; expected that port, and no workers=PORT",
                    master.address
                )
            })?;
        }
        let worker = WorkerOptions {
            masters,
            slots: self.slots.unwrap_or_else(cores),
            grace: self.grace.map_or(Duration::from_secs(30), |span| span.0),
        };
        let core = WorkerConfig { masters: Vec::new(), slots: worker.slots, grace: worker.grace };
        core.check().map_err(|error| OptionError(format!("--{error}")))?;
        let discovery = match (worker.masters.is_empty(), self.discovery) {
            (false, _) => None,
            (true, None) => Some(DISCOVERY_PORT),
            (true, Some(Discovery(port))) => {
                check(port.is_some(), || {
                    "--discovery=false without --master: the worker could find no master; expected one of them"
                        .to_owned()
                })?;
                port
            }
        };
        let shared = RunArgs {
            port: Some(self.port.unwrap_or(0)),
            host: self.host,
            insecure: self.insecure,
            interval: self.interval,
            timeout: self.timeout,
            name: self.name,
            data_dir: self.data_dir,
            fresh: self.fresh,
            ephemeral: self.ephemeral,
            services: self.services,
            allow_exec: self.allow_exec,
            log_level: self.log_level,
            output: self.output,
            ..RunArgs::default()
        };
        Ok(Options { worker: Some(worker), discovery, ..Options::resolve_any(shared, true)? })
    }
}

/// Cores that this process may use.
fn cores() -> u32 {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(cores).unwrap_or(MAX_SLOTS).min(MAX_SLOTS)
}

/// Runs a worker until it is told to stop.
pub(super) fn run(args: WorkerArgs) -> ExitCode {
    run::end(options(args).and_then(|options| run::run_node(&options)))
}

/// The options of all sources together.
fn options(args: WorkerArgs) -> Result<Options, Failure> {
    let file = args.config.as_deref().map(config_file::read).transpose().map_err(Failure::Options)?;
    args.or(file.unwrap_or_default()).resolve().map_err(Failure::Options)
}

#[cfg(test)]
mod tests {
    use super::super::options::StatePlace;
    use super::*;
    use crate::wire::{Dialect, Role};
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        worker: WorkerArgs,
    }

    fn resolve(line: &str) -> Result<Options, OptionError> {
        let words = std::iter::once("worker").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).worker.resolve()
    }

    #[test]
    fn every_option_is_an_environment_variable_of_its_name() {
        let command = Line::command();
        let mut count = 0;
        for option in command.get_arguments().filter(|arg| arg.get_id() != "help") {
            let name = option.get_long().unwrap().to_uppercase().replace('-', "_");
            assert_eq!(option.get_env().unwrap().to_str().unwrap(), format!("NODE_{name}"));
            count += 1;
        }
        assert_eq!(count, 18);
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let options = resolve("").unwrap();
        let worker = options.worker.clone().unwrap();
        assert_eq!((worker.masters.len(), worker.slots, worker.grace), (0, cores(), Duration::from_secs(30)));
        assert_eq!((options.bind.to_string().as_str(), options.discovery), ("127.0.0.1:0", Some(5000)));
        assert_eq!(options.state, StatePlace::Default, "it is found by its name, not by its port");
        let config = options.config("127.0.0.1:7".parse().unwrap());
        assert_eq!(config.role, Role::Worker);
        config.check().unwrap();
    }

    #[test]
    fn masters_are_tried_in_their_order_and_may_have_a_dialect() {
        let options = resolve("--master b:2 --master a:1,dialect=2026-1 --slots 3 --grace 1m").unwrap();
        let config = options.config(options.bind).worker.unwrap();
        assert_eq!(config.masters.iter().map(ToString::to_string).collect::<Vec<_>>(), ["b:2", "a:1"]);
        assert_eq!((config.slots, config.grace), (3, Duration::from_secs(60)));
        assert_eq!(options.worker.unwrap().masters[1].dialect, Some(Dialect::Gen2026_1));
        assert_eq!(options.discovery, None, "nothing is looked for");
    }

    #[test]
    fn each_bad_setting_is_refused_by_its_name() {
        for (line, what) in [
            ("--slots 0", "--slots is 0; expected 1 to 1024"),
            ("--slots 1025", "--slots is 1025"),
            ("--grace 25h", "--grace is 90000s; expected 0 to 24 h"),
            ("--discovery=false", "could find no master"),
            ("--master a:1,dialect=seed --master a:1,dialect=native", "--master a:1: named twice"),
            ("--master a:1,workers=2", "--master a:1: a worker calls where workers are served"),
            ("--host 0.0.0.0", "add --insecure"),
            ("--host 0.0.0.0 --insecure --allow-exec", "anybody who reaches this address could run any command"),
            ("--interval 6", "not below --timeout"),
            ("--fresh --ephemeral", "expected one of them"),
        ] {
            let refusal = resolve(line).unwrap_err().0;
            assert!(refusal.contains(what), "{line}: {refusal}");
        }
        assert!(resolve("--discovery=false --master a:1").is_ok());
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("worker.toml");
        std::fs::write(&file, "master = 'a:1'\nslots = 2\nname = 'w'\n").unwrap();
        let line = WorkerArgs { config: Some(file), slots: Some(3), ..WorkerArgs::default() };
        let options = options(line).unwrap();
        let worker = options.worker.unwrap();
        assert_eq!((worker.slots, worker.masters.len(), options.name.as_deref()), (3, 1, Some("w")));
    }
}
