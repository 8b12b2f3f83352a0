//! Process trees on Unix: a process group, and on Linux what else belongs to the tree.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{How, mark, reap, small_thread};

/// A process that leads a group, and its descendants. Dropping it kills them.
pub(in super::super) struct Tree {
    /// Not reaped before its group has been killed: until then no other group gets its number.
    child: Option<Child>,
    leader: Pid,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux shows the environment of others"))]
    mark: String,
}

impl Tree {
    /// Starts the command as the first process of a tree.
    pub(in super::super) fn spawn(command: &mut Command) -> io::Result<Tree> {
        let mark = mark(command);
        let child = command.process_group(0).spawn()?;
        let leader = Pid::from_child(&child);
        Ok(Tree { child: Some(child), leader, mark })
    }

    /// Its ends of the pipes that were asked for, once.
    pub(in super::super) fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let child = self.child.as_mut();
        child.map_or((None, None, None), |child| (child.stdin.take(), child.stdout.take(), child.stderr.take()))
    }

    /// The number of its first process.
    pub(in super::super) fn id(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Calls `tell` on a thread of its own when the first process has ended.
    pub(in super::super) fn when_ended(&self, tell: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let leader = self.leader;
        small_thread("process-wait", move || {
            // NOWAIT leaves it to be reaped by whoever ends the tree.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(leader), options), Err(Errno::INTR)) {}
            tell();
        })
    }

    /// Lets no process of the tree that is started from now on, nor its first one, have more memory than this. Only on
    /// Linux; says whether it could be done.
    pub(in super::super) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return super::linux::limit_memory(self.leader, bytes);
        #[cfg(not(target_os = "linux"))]
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("{bytes} bytes: only Linux limits a child")));
    }

    /// Tells the whole tree.
    pub(in super::super) fn signal(&self, how: How) {
        let signal = match how {
            How::Ask => Signal::TERM,
            How::Kill => Signal::KILL,
        };
        #[cfg(target_os = "linux")]
        // Found before the first signal: the death of a parent hides whose child a process was.
        let outside = super::linux::members_outside_the_group(self.leader, &self.mark);
        // An error is that nobody is left, or that all have become another user.
        let _ = kill_process_group(self.leader, signal);
        #[cfg(target_os = "linux")]
        super::linux::signal_members(self.leader, &self.mark, outside, signal);
    }

    /// Kills what is left of it, and tells how its first process ended. `None` if the system does not let go of it.
    pub(in super::super) fn end(mut self) -> Option<ExitStatus> {
        self.kill_and_reap()
    }

    fn kill_and_reap(&mut self) -> Option<ExitStatus> {
        let child = self.child.take()?;
        self.signal(How::Kill);
        reap(child)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}
