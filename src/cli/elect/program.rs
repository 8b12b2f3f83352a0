//! Programs: this one, started as another part of itself, and the user's, looked for as a shell does.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Access, access};

/// The shell's code for a command that there is not.
pub(super) const NOT_FOUND: u8 = 127;
/// The shell's code for what cannot be run.
pub(super) const NOT_EXECUTABLE: u8 = 126;

/// This program, as it runs now, even if its file was replaced or deleted since.
pub(super) fn myself() -> io::Result<Command> {
    let path = if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { env::current_exe()? };
    let mut command = Command::new(path);
    if let Some(name) = env::args_os().next() {
        command.arg0(name);
    }
    Ok(command)
}

/// Whether there is such a program, before anybody waits for a lease. Else the shell's code and a sentence.
pub(super) fn check(program: &OsStr) -> Result<(), (u8, String)> {
    let shown = program.to_string_lossy();
    let path = Path::new(program);
    if program.as_bytes().contains(&b'/') {
        return match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err((NOT_FOUND, format!("{shown}: no such file"))),
            Err(error) => Err((NOT_EXECUTABLE, format!("{shown}: {error}"))),
            Ok(found) if found.is_dir() => Err((NOT_EXECUTABLE, format!("{shown}: is a directory"))),
            Ok(_) if !is_executable(path) => Err((NOT_EXECUTABLE, format!("{shown}: not executable"))),
            Ok(_) => Ok(()),
        };
    }
    // What the system takes where there is no PATH.
    let places = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut files = env::split_paths(&places).map(|place| place.join(program)).filter(|path| path.is_file()).peekable();
    if program.is_empty() || files.peek().is_none() {
        return Err((NOT_FOUND, format!("{shown}: command not found")));
    }
    if files.any(|file| is_executable(&file)) {
        return Ok(());
    }
    Err((NOT_EXECUTABLE, format!("{shown}: not executable")))
}

fn is_executable(path: &Path) -> bool {
    access(path, Access::EXEC_OK).is_ok()
}

/// The shell's code for a program that the system did not start.
pub(super) fn code(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_run_is_told_with_the_codes_of_a_shell() {
        let check = |program: &str| check(OsStr::new(program)).map_err(|(code, _)| code);
        assert_eq!((check("sh"), check("/bin/sh")), (Ok(()), Ok(())));
        for missing in ["", "no-such-command-here", "/no/such/file", "./no-such-file"] {
            assert_eq!(check(missing), Err(NOT_FOUND), "{missing}");
        }
        for useless in ["/", "/etc/passwd", "/etc/"] {
            assert_eq!(check(useless), Err(NOT_EXECUTABLE), "{useless}");
        }
    }
}
