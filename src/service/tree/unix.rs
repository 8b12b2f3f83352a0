//! Process trees on Unix: a process group, and on Linux what else belongs to the tree.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use super::{How, Place, mark, reap, small_thread};

/// A process that leads a group, and its descendants. Dropping it kills them.
pub(crate) struct Tree {
    /// Not reaped before its group has been killed: until then no other group gets its number.
    child: Option<Child>,
    leader: Pid,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux tells who descends from whom"))]
    place: Place,
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux shows the environment of others"))]
    mark: String,
}

impl Tree {
    /// Starts the command as the first process of a tree.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Tree> {
        Tree::spawn_at(command, Place::default())
    }

    /// The same, at another place.
    pub(crate) fn spawn_at(command: &mut Command, place: Place) -> io::Result<Tree> {
        let mark = mark(command);
        let child = command.process_group(place.group.unwrap_or(0)).spawn()?;
        let leader = Pid::from_child(&child);
        Ok(Tree { child: Some(child), leader, place, mark })
    }

    /// Sends a signal to the first process only. One that there is not is not sent.
    pub(crate) fn pass(&self, signal: i32) {
        if let Some(signal) = Signal::from_named_raw(signal) {
            // It is not reaped yet, so that its number is its own. An error is that it has ended, or has become another user.
            let _ = kill_process(self.leader, signal);
        }
    }

    /// Lets go of those that the tree has lost and this process has adopted ([`Place::adopts`]), once they have ended.
    #[cfg(target_os = "linux")]
    pub(crate) fn reap_adopted(&self) {
        super::linux::reap_adopted(self.leader);
    }

    /// Its ends of the pipes that were asked for, once.
    pub(crate) fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let child = self.child.as_mut();
        child.map_or((None, None, None), |child| (child.stdin.take(), child.stdout.take(), child.stderr.take()))
    }

    /// The number of its first process.
    pub(crate) fn id(&self) -> u32 {
        self.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Calls `tell` on a thread of its own when the first process has ended.
    pub(crate) fn when_ended(&self, tell: impl FnOnce() + Send + 'static) -> io::Result<()> {
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
    pub(crate) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return super::linux::limit_memory(self.leader, bytes);
        #[cfg(not(target_os = "linux"))]
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("{bytes} bytes: only Linux limits a child")));
    }

    /// Tells the whole tree.
    pub(crate) fn signal(&self, how: How) {
        let signal = match how {
            How::Ask => Signal::TERM,
            How::Kill => Signal::KILL,
        };
        #[cfg(target_os = "linux")]
        // Found before the first signal: the death of a parent hides whose child a process was.
        let kin = super::linux::Kin { leader: self.leader, place: self.place, mark: &self.mark };
        #[cfg(target_os = "linux")]
        let outside = kin.members();
        // An error is that nobody is left, or that all have become another user.
        let _ = match self.place.group {
            None => kill_process_group(self.leader, signal),
            Some(_) => kill_process(self.leader, signal),
        };
        #[cfg(target_os = "linux")]
        kin.signal(outside, signal);
    }

    /// Kills what is left of it, and tells how its first process ended. `None` if the system does not let go of it.
    pub(crate) fn end(mut self) -> Option<ExitStatus> {
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
