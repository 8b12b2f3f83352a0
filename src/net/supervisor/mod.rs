//! The reports of a master to its supervisor: a thread of their own, so that nothing that answers a request waits for them.
//!
//! ```text
//!   loop ── offer ──> [newest report] ──> thread: measure the machine, look up, connect, send, close ──> Note::Reported
//! ```
//!
//! - `delivery`: one report on its way, within five seconds.
//! - `tls`: whom to trust, and what is told of those that are not.
//! - `machine`: what is measured.

mod delivery;
mod machine;
mod tls;

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use uuid::Uuid;

use crate::wire::{Address, MasterReport, Report, encode_report};

use super::mailbox::{Note, Post};
use delivery::Courier;
use machine::Machine;

pub use tls::{Tls, TlsError};

/// Who gets the reports of a master.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// Whom to call.
    pub address: Address,
    /// Over TLS, with this trust. `None`: over plain TCP.
    pub tls: Option<Tls>,
    /// Where the state of the node is kept: the disk that holds it is the one that is reported. If unsure, the working directory.
    pub directory: PathBuf,
}

/// The loop's end: hands reports over and never waits.
pub(super) struct Reporter {
    outbox: Sender<Dated>,
    /// The thread's end of the same channel: what waits there when a newer one comes is taken out.
    stale: Receiver<Dated>,
}

/// A report and when its figures were taken.
type Dated = (Box<MasterReport>, SystemTime);

impl Reporter {
    /// Starts the thread. It ends when this is dropped, after the report that it is about.
    pub(super) fn start(supervisor: Supervisor, post: Post) -> io::Result<Reporter> {
        let (outbox, inbox) = bounded::<Dated>(1);
        let stale = inbox.clone();
        let stack = 512 * 1024;
        thread::Builder::new().name("supervisor".into()).stack_size(stack).spawn(move || {
            let mut machine = Machine::new(supervisor.directory);
            let mut courier = Courier::new(supervisor.address, supervisor.tls);
            let mut line = Vec::new();
            while let Ok((master, taken)) = inbox.recv() {
                let taken = taken.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
                let report = Report { master: *master, machine: machine.measure(), taken, message_id: Uuid::new_v4() };
                line.clear();
                encode_report(&report, &mut line);
                let outcome = courier.deliver(&line);
                if let Err(reason) = &outcome {
                    log::debug!(target: super::LOG, "report {}: {reason}", report.message_id);
                } else {
                    log::debug!(target: super::LOG, "report {}: {} bytes handed over", report.message_id, line.len());
                }
                post.send(Note::Reported(outcome));
            }
        })?;
        Ok(Reporter { outbox, stale })
    }

    /// Has a report sent, instead of the one that waits, if one does.
    pub(super) fn offer(&self, report: Box<MasterReport>) {
        let mut dated = (report, SystemTime::now());
        // Nobody else puts anything in: where it was full and one was taken out, there is room.
        for _ in 0..2 {
            match self.outbox.try_send(dated) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => {
                    dated = back;
                    let _ = self.stale.try_recv();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Instant;

    use mio::{Events, Poll, Token};

    use super::*;
    use crate::net::mailbox::Mailbox;
    use crate::wire::{Permille, ServerId, TasksReport, ThresholdsReport, WorkersReport};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn report(pending: u64) -> Box<MasterReport> {
        let never = Permille::MAX;
        Box::new(MasterReport {
            server_id: ServerId::new("alpha").unwrap(),
            cpu: Permille::new(5),
            workers: WorkersReport::default(),
            tasks: TasksReport { pending, ..TasksReport::default() },
            thresholds: ThresholdsReport { max_tasks: 100, release_tasks: 60, warn_cpu: never, warn_memory: never },
            neighbours: Vec::new(),
        })
    }

    fn outcome(poll: &mut Poll, mailbox: &Mailbox) -> Result<(), String> {
        let mut events = Events::with_capacity(1);
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(Note::Reported(outcome)) = mailbox.take() {
                return outcome;
            }
            assert!(Instant::now() < give_up, "nothing is told of the report");
            poll.poll(&mut events, Some(Duration::from_millis(50))).unwrap();
        }
    }

    #[test]
    fn the_newest_report_replaces_the_one_that_waits() {
        let (outbox, inbox) = bounded(1);
        let reporter = Reporter { outbox, stale: inbox.clone() };
        for pending in 0..5 {
            reporter.offer(report(pending));
        }
        assert_eq!(inbox.try_recv().unwrap().0.tasks.pending, 4);
        assert!(inbox.try_recv().is_err(), "no other waits");
        drop(inbox);
        reporter.offer(report(5));
    }

    #[test]
    fn a_report_arrives_with_what_was_measured_and_the_end_of_the_connection() {
        let mut poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(0)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::of(listener.local_addr().unwrap());
        let supervisor = Supervisor { address, tls: None, directory: ".".into() };
        let reporter = Reporter::start(supervisor, mailbox.post.clone()).unwrap();
        let mut ids = Vec::new();
        for pending in [7, 8] {
            reporter.offer(report(pending));
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            drop(stream);
            assert_eq!(outcome(&mut poll, &mailbox), Ok(()));
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["performance"]["farm_state"]["tasks"]["tasks_pending"], pending);
            let system = &value["performance"]["system"];
            assert!(system["memory"]["total_mb"].as_u64().unwrap() > 0, "{system}");
            assert!(system["cpu"]["count_logical"].as_u64().unwrap() > 0, "{system}");
            assert_eq!(system["cpu"]["usage_percent"], 0.5);
            ids.push(value["message_id"].as_str().unwrap().to_owned());
        }
        assert_ne!(ids[0], ids[1]);
        drop(listener);
        reporter.offer(report(9));
        let reason = outcome(&mut poll, &mailbox).unwrap_err();
        assert!(reason.contains("cannot be connected to"), "{reason}");
    }
}
