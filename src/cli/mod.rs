//! The command line: one file a subcommand; no logic of the node in here.

use std::process::ExitCode;

/// Parses the command line, runs what it asks for, and tells the exit code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
