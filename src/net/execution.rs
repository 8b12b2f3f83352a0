//! What the loop wants of who runs services, and what that tells it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::core::{Outcome, Run, RunId};
use crate::service::{Executor, ExecutorConfig, Report};
use crate::wire::{ServiceOffer, Stream};

use super::mailbox::{Note, Post};

/// Who will run services. The loop starts it when the node begins.
pub trait ServicesAtRest: Send {
    /// Starts what it needs.
    ///
    /// # Errors
    /// Where the operating system refuses what it cannot do without. The node does not start then.
    fn start(self: Box<Self>, report: Arc<dyn Report>) -> io::Result<Box<dyn Services>>;
}

/// Who runs services.
pub trait Services: Send {
    /// Begins a run. Never blocks on anything but a method that is cheap; may tell its end before it returns.
    fn run(&self, run: Run);
    /// Stops a run: asks, and after two seconds makes it end. Its end is told as any. Never blocks.
    fn stop(&self, run: RunId);
    /// Stops everything, whole process trees: asks, and after `grace` makes them end. Returns when all have ended.
    fn finish(self: Box<Self>, grace: Duration);
}

/// Reports to the loop.
impl Report for Post {
    fn finished(&self, run: RunId, outcome: Outcome) {
        self.send(Note::Finished(run, outcome));
    }

    fn printed(&self, run: RunId, stream: Stream, data: String) {
        self.send(Note::Printed { run, stream, data });
    }

    fn offers(&self, offers: Vec<ServiceOffer>) {
        self.send(Note::Offers(offers));
    }
}

impl ServicesAtRest for ExecutorConfig {
    fn start(self: Box<Self>, report: Arc<dyn Report>) -> io::Result<Box<dyn Services>> {
        Ok(Box::new(Executor::start(*self, report)?))
    }
}

impl Services for Executor {
    fn run(&self, run: Run) {
        Executor::run(self, run);
    }

    fn stop(&self, run: RunId) {
        Executor::stop(self, run);
    }

    fn finish(self: Box<Self>, grace: Duration) {
        Executor::finish(*self, grace);
    }
}
