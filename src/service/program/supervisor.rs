//! The handle of one program: what is known of it, and a way to talk to the thread that keeps it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};

use crate::core::RunId;
use crate::service::running::Running;
use crate::service::runs::Runs;
use crate::wire::ServiceOffer;

use super::keeper::Keeper;
use super::manifest::Manifest;

/// What is known about a program without asking its thread.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Facts {
    pub(super) offer: ServiceOffer,
    pub(super) timeout: Option<Duration>,
}

/// A program with its thread.
pub(super) struct Supervisor {
    facts: Mutex<Arc<Facts>>,
    commands: Sender<Command>,
    is_up: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What the thread of a program is told.
pub(super) enum Command {
    /// Do this.
    Request(Arc<Running>),
    /// This shall stop.
    Stop(RunId),
    /// The manifest or a file of the program has changed.
    Change(Box<Manifest>),
    /// The manifest is gone: finish what is there, then end.
    Retire,
    /// The node stops: end, by force at this time.
    End(Instant),
}

impl Supervisor {
    /// Starts the thread, which starts the program. `changed` is called on it when [`Supervisor::is_up`] has changed.
    pub(super) fn start(
        manifest: Manifest,
        runs: Arc<Runs>,
        changed: impl Fn() + Send + 'static,
    ) -> io::Result<Supervisor> {
        let (commands, told) = unbounded();
        let is_up = Arc::new(AtomicBool::new(true));
        let facts = Mutex::new(Arc::new(Facts { offer: manifest.offer.clone(), timeout: manifest.timeout }));
        let name = format!("program-{}", manifest.offer.name);
        let keeper = Keeper::new(manifest, runs, Arc::clone(&is_up), Box::new(changed));
        let thread = thread::Builder::new().name(name).stack_size(512 * 1024).spawn(move || keeper.run(&told))?;
        Ok(Supervisor { facts, commands, is_up, thread })
    }

    pub(super) fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts.lock().expect("no holder of this lock panics"))
    }

    /// Whether it should be offered to others.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::SeqCst)
    }

    /// A way to talk to it.
    pub(super) fn commands(&self) -> Sender<Command> {
        self.commands.clone()
    }

    /// The manifest, or a file of the program, has changed.
    pub(super) fn change(&self, manifest: Manifest) {
        let facts = Facts { offer: manifest.offer.clone(), timeout: manifest.timeout };
        *self.facts.lock().expect("no holder of this lock panics") = Arc::new(facts);
        let _ = self.commands.send(Command::Change(Box::new(manifest)));
    }

    /// The manifest is gone.
    pub(super) fn retire(&self) {
        let _ = self.commands.send(Command::Retire);
    }

    /// The node stops.
    pub(super) fn end(&self, by: Instant) {
        let _ = self.commands.send(Command::End(by));
    }

    /// Whether its thread has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of its thread.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            log::warn!(
                "the thread of the program {} panicked",
                self.facts.into_inner().map_or_else(|_| String::new(), |facts| facts.offer.name.to_string())
            );
        }
    }
}
