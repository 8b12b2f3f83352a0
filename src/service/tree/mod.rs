//! Process trees: a process that is started here, and everything that it starts.
//!
//! What of a tree is found, and so ended with it:
//!
//! - **Linux**: the process group of its first process; every process that descends from it; and every process whose
//!   environment bears the tree's mark ([`MARK`]), which children inherit, so that daemons that left the group, the
//!   session and their parent are found too. One that has wiped its environment and lost its parent escapes, unless it is adopted
//!   ([`Place::adopts`]).
//! - **Other Unixes**: the process group. What makes a group of its own escapes.
//! - **Elsewhere**: the first process only.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

#[cfg(not(unix))]
use other as os;
#[cfg(unix)]
use unix as os;

pub(crate) use os::Tree;

/// The environment variable that marks the processes of a tree: random words, the outermost tree's first, separated
/// by colons.
pub(super) const MARK: &str = "MUTIRAO_RUN";

/// How a tree is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It may finish what it does: SIGTERM. Where there are no signals, nothing.
    Ask,
    /// At once: SIGKILL.
    Kill,
}

/// Where in the system a tree is started.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// `None`: its first process leads a group of its own. Else it is of this group, which others may be of: its members are told one by
    /// one. Only on Linux, where they can be found.
    pub(crate) group: Option<i32>,
    /// This process adopts what the tree loses (a "subreaper"), and starts nothing else: whatever descends from this process is of the tree.
    /// Only on Linux.
    pub(crate) adopts: bool,
}

/// A new mark for `command`, behind the one that this process bears itself. Returns the new word.
fn mark(command: &mut Command) -> String {
    let word = uuid::Uuid::new_v4().simple().to_string();
    let outer = std::env::var(MARK).unwrap_or_default();
    // Only nodes within nodes within nodes get there.
    let outer = if outer.len() < 1024 { outer } else { String::new() };
    command.env(MARK, if outer.is_empty() { word.clone() } else { format!("{outer}:{word}") });
    word
}

/// Waits for the end of a process that was killed. One that the system does not let go of yet (a hanging disk) is
/// left to a thread.
fn reap(mut child: Child) -> Option<ExitStatus> {
    // Nobody sends: the receiver is a way to wait.
    let (_kept, nothing) = crossbeam_channel::bounded::<()>(0);
    for _ in 0..500 {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => {
                let _ = nothing.recv_timeout(Duration::from_millis(2));
            }
            Err(_) => return None,
        }
    }
    let _ = small_thread("reaper", move || drop(child.wait()));
    None
}

/// Starts a thread that does little.
pub(super) fn small_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(128 * 1024).spawn(work).map(drop)
}
