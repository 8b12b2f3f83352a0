//! One node of the cluster: a process, tied to this one, whose log is kept and told.

use std::collections::VecDeque;
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

use crossbeam_channel::Sender;

use super::plan::Who;
use super::stage::Note;
use super::tied;
use crate::service::tree::{How, Tree};

/// Lines of its log that are told when it dies by itself.
const LAST_LINES: usize = 12;

/// A node that runs, or has died and was not let go of yet. Dropping it kills it.
pub(super) struct Child {
    tree: Tree,
    /// It ends itself when this is closed.
    _rope: Option<ChildStdin>,
    /// The end of its log.
    last: VecDeque<String>,
    /// It was told to end, by whatever way: its end is no surprise.
    pub(super) told: bool,
}

impl Child {
    /// Starts a node. To be called on a thread that lives as long as the node shall: the system kills the node when that thread ends.
    ///
    /// Its log goes to the file and, a line each, to `tell`; behind the last line comes [`Note::Ended`].
    pub(super) fn start(who: Who, options: &[String], log: &Path, tell: Sender<Note>) -> io::Result<Child> {
        let mut file = File::create(log)?;
        let mut command = Command::new(program()?);
        command.arg(tied::WORD).arg(std::process::id().to_string()).args(options);
        // No option comes from outside of the plan.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NODE_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tree = Tree::spawn(&mut command)?;
        let (rope, _, errors) = tree.pipes();
        let errors = errors.ok_or_else(|| io::Error::other("it has no standard error"))?;
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            let mut errors = BufReader::new(errors);
            let mut line = Vec::new();
            while matches!(errors.read_until(b'\n', &mut line), Ok(1..)) {
                // A full disk costs the file, and not the cluster.
                let _: io::Result<()> = file.write_all(&line);
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                // Where nobody listens any more, the file goes on.
                let _ = tell.send(Note::Log { who, line: text });
            }
            let _ = tell.send(Note::Ended { who });
        })?;
        Ok(Child { tree, _rope: rope, last: VecDeque::new(), told: false })
    }

    /// Notes a line of its log.
    pub(super) fn logged(&mut self, line: &str) {
        if self.last.len() >= LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    /// Kills it, as `kill -9` does.
    pub(super) fn kill(&mut self) {
        self.told = true;
        self.tree.signal(How::Kill);
    }

    /// Asks it to end.
    pub(super) fn ask_to_end(&mut self) {
        self.told = true;
        self.tree.signal(How::Ask);
    }

    /// Lets go of one that has ended: how, and the end of its log.
    pub(super) fn bury(self) -> (Option<ExitStatus>, Vec<String>) {
        (self.tree.end(), self.last.into())
    }
}

/// This program, even if its file was replaced or deleted since.
fn program() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    let running = PathBuf::from("/proc/self/exe");
    Ok(if cfg!(target_os = "linux") && !path.exists() { running } else { path })
}

/// How a process ended, for people.
pub(super) fn how(status: Option<ExitStatus>) -> String {
    let Some(status) = status else { return "it does not let go".to_owned() };
    match status.code() {
        Some(code) => format!("exit code {code}"),
        // On Unix, it says which signal.
        None => status.to_string(),
    }
}
