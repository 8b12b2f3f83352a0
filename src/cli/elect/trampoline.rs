//! The moment before the command: this process makes sure that it dies with the guard, and becomes the command.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::program;
use crate::cli::exit;
use crate::cli::help::ProgramName;

/// The first argument that means this.
pub(super) const WORD: &str = "__elect-exec";

/// `GUARD COMMAND ARG..`: the number of the guard's process, and what this process becomes.
pub(super) fn run(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let guard = args.next().and_then(|guard| guard.into_string().ok()?.parse::<i32>().ok());
    let (Some(guard), Some(command)) = (guard, args.next()) else {
        eprintln!("error: this is a part of node elect, and no command of its own");
        return ExitCode::from(exit::USAGE);
    };
    if !die_with(guard) {
        // The guard is gone already.
        return ExitCode::from(exit::FAILURE);
    }
    let error = Command::new(&command).args(args).exec();
    eprintln!("{} elect: {}: {error}", ProgramName::called().as_str(), command.to_string_lossy());
    ExitCode::from(program::code(&error))
}

/// Has the system kill this process, whatever it becomes, when its parent dies. Whether the parent lives still. Where the system cannot
/// do that, `node elect` alone sees to it.
pub(in crate::cli) fn die_with(guard: i32) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        log::debug!("the command does not die with its guard: {error}");
    }
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == guard)
}
