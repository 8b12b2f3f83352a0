//! Why state cannot be used.

use std::io;
use std::path::PathBuf;

/// Why the state of a node cannot be used. Nothing was changed, save that an empty directory may have been made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process holds the lock. The operator stops it, or gives this node a place of its own.
    #[error(
        "state in use by another process{}: {}; stop it, or give this node another --port or --data-dir",
        holder(*pid), dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, where it could be read.
        pid: Option<u32>,
    },
    /// A file is not what this program writes. The operator mends it, or gives it up with `--fresh`.
    #[error("state damaged: {}: {what}; mend the file, or start with --fresh to discard it and get a new id", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what was expected.
        what: String,
    },
    /// The operating system refused.
    #[error("state unusable: cannot {action} {}: {error}; choose another place with --data-dir, or keep nothing with --ephemeral", path.display())]
    Io {
        /// What was tried, such as `read`.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no home directory to derive the default place from.
    #[error("no place for state: {missing} is not set; choose one with --data-dir, or keep nothing with --ephemeral")]
    NoHome {
        /// The environment variable that is missing.
        missing: &'static str,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
