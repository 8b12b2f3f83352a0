//! Processes where there are no process groups: the first process only.

use std::io;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{How, mark, reap, small_thread};

/// How often a process is asked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A process. Dropping it kills it.
pub(crate) struct Tree {
    /// Shared with the thread that waits for its end; taken when it is reaped.
    child: Arc<Mutex<Option<Child>>>,
    id: u32,
}

impl Tree {
    /// Starts the command.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Tree> {
        mark(command);
        let child = command.spawn()?;
        let id = child.id();
        Ok(Tree { child: Arc::new(Mutex::new(Some(child))), id })
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().expect("no holder of this lock panics")
    }

    /// Its ends of the pipes that were asked for, once.
    pub(crate) fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let mut child = self.child();
        let pipes = child.as_mut().map(|child| (child.stdin.take(), child.stdout.take(), child.stderr.take()));
        pipes.unwrap_or((None, None, None))
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Calls `tell` on a thread of its own when the process has ended.
    pub(crate) fn when_ended(&self, tell: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let child = Arc::clone(&self.child);
        small_thread("process-wait", move || {
            // Nobody sends: the receiver is a way to wait.
            let (_kept, nothing) = crossbeam_channel::bounded::<()>(0);
            let lives = || {
                let mut child = child.lock().expect("no holder of this lock panics");
                child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
            };
            while lives() {
                let _ = nothing.recv_timeout(LOOK);
            }
            tell();
        })
    }

    /// Not possible here.
    pub(crate) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("{bytes} bytes: only Linux limits a child")))
    }

    /// Ends the process, if it shall be killed; nothing asks it.
    pub(crate) fn signal(&self, how: How) {
        if let (How::Kill, Some(child)) = (how, self.child().as_mut()) {
            // An error is that it has ended.
            let _ = child.kill();
        }
    }

    /// Kills it if it lives, and tells how it ended.
    pub(crate) fn end(self) -> Option<ExitStatus> {
        self.kill_and_reap()
    }

    fn kill_and_reap(&self) -> Option<ExitStatus> {
        let mut child = self.child().take()?;
        let _ = child.kill();
        reap(child)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}
