//! Programs: any executable that reads requests as lines and writes answers as lines.
//!
//! The protocol, one JSON object a line:
//!
//! ```text
//!   node ──> {"ID":"7","METHOD":"count","PARAMS":{...},"JOB_ID":"...","ATTEMPT":1,"TIMEOUT_MS":30000}
//!   node <── {"ID":"7","RESULT":{...}}
//!   node <── {"ID":"7","ERROR":"one sentence","RETRY":false,"RESULT":{...}}      RETRY and RESULT may be left out
//! ```
//!
//! `JOB_ID` and `ATTEMPT` are there for jobs, not for calls. Answers may come in any order. Every other line of the
//! standard output, and everything on the standard error, goes to the log and to whoever watches the run, and breaks nothing. When its
//! standard input ends, the program shall end.
//!
//! A program is started with the node, not at its first use: one that cannot start is known before work is sent to it.

mod backoff;
mod chatter;
mod directory;
mod keeper;
mod lines;
mod manifest;
mod process;
mod supervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::wire::{ServiceName, ServiceOffer};

use super::executor::OfferBoard;
use super::running::Running;
use super::runs::Runs;

use directory::{Changes, Directory};
use supervisor::{Command, Facts, Supervisor};

pub use manifest::manifest_help;

/// All programs of this node.
pub(super) struct Programs {
    shelf: Arc<Shelf>,
    looking: Mutex<Option<Looking>>,
}

/// The thread that looks at the directory.
struct Looking {
    /// Closing this channel ends it.
    alive: Sender<()>,
    thread: JoinHandle<()>,
}

struct Shelf {
    programs: Mutex<BTreeMap<ServiceName, Supervisor>>,
    /// Those whose manifests are gone, until they have ended.
    retired: Mutex<Vec<Supervisor>>,
    board: OfferBoard,
    runs: Arc<Runs>,
}

/// A program that was found.
pub(super) struct Program {
    facts: Arc<Facts>,
    commands: Sender<Command>,
    runs: Arc<Runs>,
}

impl Program {
    /// What it offers.
    pub(super) fn offer(&self) -> &ServiceOffer {
        &self.facts.offer
    }

    /// The longest time of one request.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.facts.timeout
    }

    /// Asks it. The run is in the table already.
    pub(super) fn request(&self, running: Arc<Running>) {
        let (run, commands) = (running.run.run, self.commands.clone());
        running.on_stop(move || drop(commands.send(Command::Stop(run))));
        if self.commands.send(Command::Request(running)).is_err() {
            let gone = super::Failure::broken(format!("{} was removed just now", self.facts.offer.name));
            self.runs.finish(run, gone.into());
        }
    }
}

impl Programs {
    /// Starts the programs of a directory, which is looked at again every `rescan`.
    pub(super) fn start(path: PathBuf, rescan: Duration, board: OfferBoard, runs: Arc<Runs>) -> io::Result<Programs> {
        let programs = Mutex::new(BTreeMap::new());
        let shelf = Arc::new(Shelf { programs, retired: Mutex::default(), board, runs });
        let mut directory = Directory::new(path.clone());
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let changes = directory.look().map_err(named)?;
        let all = Programs { shelf: Arc::clone(&shelf), looking: Mutex::new(None) };
        shelf.apply(changes);
        let (alive, ended) = bounded::<()>(0);
        let thread = thread::Builder::new().name("services-dir".into()).stack_size(512 * 1024).spawn(move || {
            while ended.recv_timeout(rescan) == Err(RecvTimeoutError::Timeout) {
                if let Some(changes) = directory.look_again() {
                    shelf.apply(changes);
                }
            }
        })?;
        *all.looking.lock().expect("no holder of this lock panics") = Some(Looking { alive, thread });
        Ok(all)
    }

    /// The program of this name.
    pub(super) fn find(&self, name: &ServiceName) -> Option<Program> {
        let programs = self.shelf.programs();
        let found = programs.get(name)?;
        Some(Program { facts: found.facts(), commands: found.commands(), runs: Arc::clone(&self.shelf.runs) })
    }

    /// Tells all to end, by force at this time.
    pub(super) fn end(&self, by: Instant) {
        let looking = self.looking.lock().expect("no holder of this lock panics").take();
        if let Some(Looking { alive, thread }) = looking {
            drop(alive);
            // A look takes some milliseconds, and after it no program is started any more.
            let _ = thread.join();
        }
        self.shelf.programs().values().for_each(|program| program.end(by));
        self.shelf.retired().iter().for_each(|program| program.end(by));
    }

    /// Waits until all have ended.
    pub(super) fn join(self) {
        let programs = mem::take(&mut *self.shelf.programs());
        let retired = mem::take(&mut *self.shelf.retired());
        programs.into_values().chain(retired).for_each(Supervisor::join);
    }
}

impl Shelf {
    fn programs(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Supervisor>> {
        self.programs.lock().expect("no holder of this lock panics")
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Supervisor>> {
        self.retired.lock().expect("no holder of this lock panics")
    }

    /// Makes the programs those of the directory.
    fn apply(self: &Arc<Shelf>, changes: Changes) {
        changes.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        let mut wanted = BTreeSet::new();
        for (manifest, is_new) in changes.manifests {
            let name = manifest.offer.name.clone();
            let problem = if self.board.is_taken(&name) {
                Some("is the name of a service that this node has anyway")
            } else if wanted.len() >= self.board.room() {
                Some("is one service more than are possible")
            } else {
                None
            };
            if let Some(problem) = problem {
                if is_new {
                    log::warn!("{}: `name`: {name} {problem}; left out", manifest.file.display());
                }
                continue;
            }
            wanted.insert(name.clone());
            let mut programs = self.programs();
            match programs.get(&name) {
                Some(program) if is_new => program.change(manifest),
                Some(_) => {}
                None => {
                    let shelf = Arc::downgrade(self);
                    let changed = move || {
                        if let Some(shelf) = shelf.upgrade() {
                            shelf.tell();
                        }
                    };
                    match Supervisor::start(manifest, Arc::clone(&self.runs), changed) {
                        Ok(program) => drop(programs.insert(name, program)),
                        Err(error) => log::warn!("service {name}: no thread can be started: {error}"),
                    }
                }
            }
        }
        let gone: Vec<Supervisor> = {
            let mut programs = self.programs();
            let names: Vec<ServiceName> = programs.keys().filter(|name| !wanted.contains(*name)).cloned().collect();
            names.iter().filter_map(|name| programs.remove(name)).collect()
        };
        gone.iter().for_each(Supervisor::retire);
        {
            let mut retired = self.retired();
            retired.retain(|program| !program.has_ended());
            retired.extend(gone);
        }
        self.tell();
    }

    /// Tells what is offered now.
    fn tell(&self) {
        self.board.tell_now(|| {
            let programs = self.programs();
            programs.values().filter(|program| program.is_up()).map(|program| program.facts().offer.clone()).collect()
        });
    }
}
