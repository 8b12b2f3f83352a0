//! The command line: one file a subcommand; no logic of the node in here.
//!
//! ```text
//!   node                 run           options, config_file, values;  console, screen, view, table
//!   node worker          worker        run
//!   node submit          submit        work, ask, waiting, conclude;  batch, batch_file, pipeline
//!   node result          result        work, ask, waiting, conclude
//!   node cancel, bury    cancel        work, ask, conclude
//!   node kick            kick          work, ask, jobs
//!   node jobs            jobs          work, ask, table
//!   node workers         workers       work, ask, table
//!   node why             why           work, ask
//!   node loans           loans         following, ask, table
//!   node call            call          work, ask, table
//!   node members, leave  members       work, ask, table
//!   node remove, lead    members       work, ask
//!   node join, recover   members       work, ask
//!   node set, get        settings      work, ask
//!   node elect           elect         client, ask
//!   node lease           lease         work, ask, table
//!   node send            send          client, pretty
//!   node status          status        client, table
//!   node cluster, demo   cluster       following, loans, workers, jobs
//!   node simulate        simulate      values
//!   node completions     completions   help
//!   node man             man           help
//! ```

mod ask;
mod batch;
mod batch_file;
mod call;
mod cancel;
mod client;
mod cluster;
mod completions;
mod conclude;
mod config_file;
mod console;
mod elect;
pub mod exit;
mod following;
mod help;
mod jobs;
mod kick;
mod lease;
mod loans;
mod man;
mod members;
mod options;
mod pipeline;
mod pretty;
mod result;
mod run;
mod screen;
mod send;
mod settings;
mod simulate;
mod status;
mod submit;
mod table;
mod values;
mod view;
mod waiting;
mod why;
mod work;
mod worker;
mod workers;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use help::ProgramName;

/// A node that keeps a registry of its peers, and tools to talk to one.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    run: options::RunArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a worker: it does the jobs of a master
    Worker(Box<worker::WorkerArgs>),
    /// Submit a job, or a file of them
    Submit(submit::SubmitArgs),
    /// Show what became of a job
    Result(result::ResultArgs),
    /// Cancel a job
    Cancel(cancel::ChangeArgs),
    /// Put a waiting job aside until it is kicked
    Bury(cancel::ChangeArgs),
    /// Queue buried jobs again
    Kick(kick::KickArgs),
    /// Show the queue of a master
    Jobs(jobs::JobsArgs),
    /// Show the workers of a master
    Workers(workers::WorkersArgs),
    /// Say why a job waits, a worker is not lent, a peer is gone; or what was decided last
    Why(why::WhyArgs),
    /// Show whom a master has lent to and borrowed from, and follow it
    Loans(loans::LoansArgs),
    /// Call a service and print its result, or list who offers what
    Call(call::CallArgs),
    /// Show who leads the group of a master, and who belongs to it
    Members(members::GroupArgs),
    /// Make a master give up its membership
    Leave(members::GroupArgs),
    /// Remove a master from its group
    Remove(members::RemoveArgs),
    /// Let another member lead
    Lead(members::LeadArgs),
    /// Make a master give up its group for another one
    Join(members::JoinArgs),
    /// Go on from one survivor when the majority is lost for good: the last resort
    Recover(members::RecoverArgs),
    /// Agree on a setting for every master of the group
    Set(settings::SetArgs),
    /// Show the settings that are agreed on
    Get(settings::GetArgs),
    /// Run a command on one machine of a cluster at a time
    Elect(elect::ElectArgs),
    /// Show the named leases
    Lease(lease::LeaseArgs),
    /// Send lines to a node and print its answers
    Send(send::SendArgs),
    /// Show one node and its registry
    Status(status::StatusArgs),
    /// See in a minute what this is: a guided tour with a cluster on this machine
    Demo,
    /// Start a whole cluster on this machine, give it work, and watch it
    Cluster(cluster::ClusterArgs),
    /// Run simulated clusters under faults and check the laws of the registry
    Simulate(simulate::SimulateArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print the man page
    Man(man::ManArgs),
}

/// Parses the command line, runs what it asks for, and tells the exit code.
pub fn main() -> ExitCode {
    if let Some(code) = elect::inner(env::args_os()) {
        return code;
    }
    let called = ProgramName::called();
    let args = match cluster::tied::arguments(env::args_os()) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let cli = match parse(called, args) {
        Ok(cli) => cli,
        Err(error) => {
            // Where it cannot be printed, the exit code still tells.
            let _: std::io::Result<()> = error.print();
            let failed = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if failed { exit::USAGE } else { exit::OK });
        }
    };
    match cli.command {
        None => run::run(cli.run),
        Some(Command::Worker(args)) => worker::run(*args),
        Some(Command::Submit(args)) => submit::run(&args),
        Some(Command::Result(args)) => result::run(&args),
        Some(Command::Cancel(args)) => cancel::cancel(&args),
        Some(Command::Bury(args)) => cancel::bury(&args),
        Some(Command::Kick(args)) => kick::run(&args),
        Some(Command::Jobs(args)) => jobs::run(&args),
        Some(Command::Workers(args)) => workers::run(&args),
        Some(Command::Why(args)) => why::run(&args),
        Some(Command::Loans(args)) => loans::run(&args),
        Some(Command::Call(args)) => call::run(&args),
        Some(Command::Members(args)) => members::members(&args),
        Some(Command::Leave(args)) => members::leave(&args),
        Some(Command::Remove(args)) => members::remove(&args),
        Some(Command::Lead(args)) => members::lead(&args),
        Some(Command::Join(args)) => members::join(&args),
        Some(Command::Recover(args)) => members::recover(&args),
        Some(Command::Set(args)) => settings::set(&args),
        Some(Command::Get(args)) => settings::get(&args),
        Some(Command::Elect(args)) => elect::run(&args),
        Some(Command::Lease(args)) => lease::run(&args),
        Some(Command::Send(args)) => send::run(&args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Demo) => cluster::demo(),
        Some(Command::Cluster(args)) => cluster::run(&args),
        Some(Command::Simulate(args)) => simulate::run(&args),
        Some(Command::Completions(args)) => completions::run(&args, command, called),
        Some(Command::Man(args)) => man::run(&args, command, called),
    }
}

/// The definitions of the command line, under one of its names.
fn command(name: ProgramName) -> clap::Command {
    let after = help::after(name);
    let mut command = Cli::command()
        .name(name.as_str())
        .bin_name(name.as_str())
        .long_about(help::long_about())
        .after_long_help(after);
    for subcommand in command.get_subcommands_mut() {
        if let Some(examples) = subcommand.get_after_long_help().map(ToString::to_string) {
            *subcommand = subcommand.clone().after_long_help(help::under(name, &examples));
        }
    }
    command
}

/// These definitions without the variables that are set and empty: that is how many tools pass on one that is not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let mut command = command.mut_args(|arg| match arg.get_env().map(env::var_os) {
        Some(Some(value)) if value.is_empty() => arg.env(None::<&'static str>),
        _ => arg,
    });
    for subcommand in command.get_subcommands_mut() {
        *subcommand = without_empty_variables(subcommand.clone());
    }
    command
}

fn parse(name: ProgramName, args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let definitions = without_empty_variables(command(name));
    let mut definitions_for_errors = definitions.clone();
    let mut matches = definitions.try_get_matches_from(args)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut definitions_for_errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(ProgramName::Node, line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_definitions_are_sound_under_both_names() {
        command(ProgramName::Node).debug_assert();
        command(ProgramName::Mutirao).debug_assert();
    }

    #[test]
    fn every_option_is_an_environment_variable_of_its_name() {
        let command = command(ProgramName::Node);
        let options = command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()));
        let mut count = 0;
        for option in options {
            let name = option.get_long().unwrap().to_uppercase().replace('-', "_");
            assert_eq!(option.get_env().unwrap().to_str().unwrap(), format!("NODE_{name}"));
            count += 1;
        }
        assert_eq!(count, 42);
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_one_that_was_meant() {
        let error = parsed("node --intervall 2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument);
        assert!(error.to_string().contains("--interval"), "{error}");
    }

    #[test]
    fn options_of_a_node_are_refused_before_a_subcommand() {
        assert!(parsed("node --port 1 status 127.0.0.1:1").is_err());
        assert!(matches!(parsed("node status 127.0.0.1:1").unwrap().command, Some(Command::Status(_))));
        assert!(matches!(parsed("node worker --port 1").unwrap().command, Some(Command::Worker(_))));
    }

    #[test]
    fn every_request_about_jobs_and_services_has_its_subcommand() {
        for line in [
            "node submit --to a:1 sleep.run {}",
            "node submit --wait=5 --follow shell.run -- ls -l",
            "node submit --file - --skip-bad",
            "node result a-1-1 --wait --output",
            "node result --key k --json",
            "node cancel a-1-1",
            "node bury --key k",
            "node kick --all",
            "node jobs --status buried --service sleep --list",
            "node workers --json",
            "node call a:1",
            "node call a:1 primes.count {} --timeout 1",
            "node worker --master a:1 --slots 2 --allow-exec",
        ] {
            parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in ["node submit", "node result", "node cancel", "node kick", "node kick a-1-1 --all", "node call"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn examples_of_subcommands_stand_under_the_name_that_was_called() {
        for name in [ProgramName::Node, ProgramName::Mutirao] {
            let mut command = command(name);
            for subcommand in ["submit", "call", "worker"] {
                let help = command.find_subcommand_mut(subcommand).unwrap().render_long_help().to_string();
                assert!(help.contains(&format!("  {} {subcommand} ", name.as_str())), "{help}");
                let other = if name == ProgramName::Node { "mutirao" } else { "node" };
                assert!(!help.contains(&format!("  {other} {subcommand} ")), "{help}");
                let examples = help.split_once("Examples:").unwrap().1;
                assert!(examples.lines().all(|line| line.chars().count() <= 80 + 3), "{examples}");
            }
        }
    }

    #[test]
    fn help_teaches_under_the_name_that_was_called() {
        let help = command(ProgramName::Mutirao).render_long_help().to_string();
        for part in
            ["Usage: mutirao", "mutirao --port 9101 --peer", "NODE_CPU_THRESHOLD", "Exit codes:", "nc 127.0.0.1"]
        {
            assert!(help.contains(part), "{part}: {help}");
        }
    }
}
