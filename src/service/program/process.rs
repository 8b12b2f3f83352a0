//! One process of a program, with the threads that read and write its pipes.

use std::io::{self, Read, Write};
use std::process::ExitStatus;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::service::output::{Tail, head};
use crate::service::shell::said;
use crate::service::tree::{How, Tree, small_thread};
use crate::wire::Stream;

use super::lines::{Line, read_lines};
use super::manifest::Manifest;

/// Lines that were read and not looked at yet. A program that writes faster than it is read waits in its pipe.
const UNREAD: usize = 64;

/// How much of the end of stderr is told when the process has crashed.
const STDERR_KEPT: usize = 1024;

/// Longest piece of a line of stderr.
const STDERR_LINE: usize = 8 * 1024;

/// What the threads of a process tell.
pub(super) enum Note {
    /// It wrote a line.
    Line(Stream, Line),
    /// One of its outputs has ended.
    Closed(Stream),
    /// Its first process has ended.
    Ended,
}

/// A process.
pub(super) struct Process {
    tree: Tree,
    /// Dropped to close its standard input.
    requests: Option<Sender<Vec<u8>>>,
    /// What it tells. Dropping it ends the threads.
    pub(super) notes: Receiver<Note>,
    /// When it was started.
    pub(super) started: Instant,
    /// Whether it has ever answered.
    pub(super) has_answered: bool,
    stderr: Tail,
}

impl Process {
    /// Starts one.
    pub(super) fn start(manifest: &Manifest) -> io::Result<Process> {
        let mut tree = Tree::spawn(&mut manifest.command())?;
        if let Some(bytes) = manifest.memory
            && let Err(error) = tree.limit_memory(bytes)
        {
            log::warn!("service {}: its memory is not limited: {error}", manifest.offer.name);
        }
        let (stdin, stdout, stderr) = tree.pipes();
        let (tell, notes) = bounded(UNREAD);
        let (requests, to_write) = unbounded::<Vec<u8>>();
        if let Some(mut stdin) = stdin {
            small_thread("program-in", move || {
                // An error is that it reads no more. Its end will be told.
                to_write.iter().try_for_each(|line| stdin.write_all(&line)).unwrap_or_default();
            })?;
        }
        if let Some(stdout) = stdout {
            follow(stdout, Stream::Out, manifest.output, tell.clone())?;
        }
        if let Some(stderr) = stderr {
            follow(stderr, Stream::Err, STDERR_LINE, tell.clone())?;
        }
        tree.when_ended(move || drop(tell.send(Note::Ended)))?;
        let stderr = Tail::new(STDERR_KEPT);
        let started = Instant::now();
        Ok(Process { tree, requests: Some(requests), notes, started, has_answered: false, stderr })
    }

    /// The number of the process.
    pub(super) fn id(&self) -> u32 {
        self.tree.id()
    }

    /// Writes a line to its standard input, soon.
    pub(super) fn write(&self, line: Vec<u8>) {
        if let Some(requests) = &self.requests {
            // An error is that it reads no more. Its end will be told.
            let _ = requests.send(line);
        }
    }

    /// Ends its standard input, once what was written before has gone.
    pub(super) fn close_input(&mut self) {
        self.requests = None;
    }

    /// Keeps the end of what it wrote to stderr.
    pub(super) fn keep_stderr(&mut self, line: &str) {
        self.stderr.push(line.as_bytes());
        self.stderr.push(b"\n");
    }

    /// Tells its whole tree to end.
    pub(super) fn signal(&self, how: How) {
        self.tree.signal(how);
    }

    /// Kills what is left of it. Says how it ended.
    pub(super) fn end(self) -> String {
        let status: Option<ExitStatus> = self.tree.end();
        let status = status.map_or("it was killed and does not end".to_owned(), said);
        let last = self.stderr.text(STDERR_KEPT);
        if last.trim().is_empty() {
            status
        } else {
            format!("{status}; stderr ends: {}", head(last.trim(), STDERR_KEPT))
        }
    }
}

fn follow(from: impl Read + Send + 'static, stream: Stream, most: usize, tell: Sender<Note>) -> io::Result<()> {
    small_thread("program-out", move || {
        read_lines(from, most, |line| tell.send(Note::Line(stream, line)).is_ok());
        let _ = tell.send(Note::Closed(stream));
    })
}
