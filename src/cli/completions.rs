//! `node completions`: completions for the shell, from the same definitions as the parser.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::help::{self, ProgramName};

/// Options of `node completions`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,

    /// Name under which the program is called [default: the one it was called by now]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<ProgramName>,
}

/// Prints the completions for `called`, or the name that was asked for.
pub(super) fn run(args: &CompletionsArgs, command: impl Fn(ProgramName) -> Command, called: ProgramName) -> ExitCode {
    let name = args.name.unwrap_or(called);
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(name), name.as_str(), &mut script);
    help::print(&script)
}
