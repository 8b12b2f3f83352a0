//! How a master stands, asked for again and again, and at once when something happens there: on a thread of its own.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::plan::Who;
use super::stage::Note;
use crate::cli::ask::{AskError, Node, Talk, ask, strange};
use crate::cli::following::{Following, Heard};
use crate::cli::loans::is_about_loans;
use crate::cli::workers;
use crate::wire::{Address, Body, Role, ServerId, Status, WorkerState};

/// Time between two looks when nothing happens.
const EVERY: Duration = Duration::from_millis(100);

/// Time from an event of loans to the look at what it has changed: a worker that is told to go is on its way by then.
const SOON: Duration = Duration::from_millis(20);

/// How long a master may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Workers and jobs of a master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Own workers that are here.
    pub(super) local: u64,
    /// Own workers that are lent.
    pub(super) lent: u64,
    /// Workers of others that are here.
    pub(super) borrowed: u64,
    /// Jobs that wait.
    pub(super) pending: u64,
    /// Jobs that run.
    pub(super) running: u64,
    /// Jobs that ended OK.
    pub(super) done: u64,
    /// Jobs that ended otherwise.
    pub(super) failed: u64,
}

impl Counts {
    /// Where the workers are: what is always worth telling when it changes.
    pub(super) fn places(self) -> (u64, u64, u64) {
        (self.local, self.lent, self.borrowed)
    }
}

/// A worker that is at a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Present {
    /// Its id.
    pub(super) id: ServerId,
    /// Its name.
    pub(super) name: String,
    /// It belongs to this master.
    pub(super) own: bool,
    /// Its connection stands.
    pub(super) here: bool,
}

/// How a master stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Its id.
    pub(super) id: ServerId,
    /// Its workers and jobs.
    pub(super) counts: Counts,
    /// Who is there.
    pub(super) workers: Vec<Present>,
    /// Members of its group, itself included; 0 while there is none or no majority.
    pub(super) members: usize,
    /// Other masters that are ALIVE for it.
    pub(super) alive: usize,
}

/// Tells how a master stands until nobody hears it any more.
pub(super) fn watch(who: Who, address: Address, tell: Sender<Note>) -> io::Result<()> {
    thread::Builder::new().name("look".to_owned()).spawn(move || {
        let mut node = Node::new(address.clone(), PATIENCE);
        let mut following = Following::new(address);
        let mut due = Instant::now();
        loop {
            match following.next(due.saturating_duration_since(Instant::now())) {
                Heard::Event(event) if is_about_loans(event.kind) => due = due.min(Instant::now() + SOON),
                Heard::Lost(_) if tell.send(Note::Look { who, look: None }).is_err() => return,
                Heard::Event(_) | Heard::Lost(_) | Heard::Begun | Heard::Nothing => {}
            }
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + EVERY;
            // One that cannot be asked is told as lost by its stream, or is not there yet.
            if let Ok(look) = look(&mut node)
                && tell.send(Note::Look { who, look: Some(look) }).is_err()
            {
                return;
            }
        }
    })?;
    Ok(())
}

/// Asks for everything.
fn look(talk: &mut dyn Talk) -> Result<Look, AskError> {
    let mut reply = ask(talk, Body::Loans { after: None }, Duration::ZERO)?;
    let Body::LoansAnswer(loans) = &reply.message.body else { return Err(strange(talk.address(), &reply)) };
    let mut counts = Counts { local: loans.local, lent: loans.lent, borrowed: loans.borrowed, ..Counts::default() };
    let id = loans.server_id.clone();
    reply = ask(talk, Body::Jobs(Box::default()), Duration::ZERO)?;
    let Body::JobsAnswer(jobs) = &reply.message.body else { return Err(strange(talk.address(), &reply)) };
    let of = jobs.counts;
    (counts.pending, counts.running) = (of.queued + of.delayed, of.running);
    (counts.done, counts.failed) = (of.ok, of.nok + of.cancelled + of.buried);
    let (_, workers) = workers::farm(talk)?;
    let workers = workers.into_iter().map(|worker| Present {
        id: worker.worker,
        name: worker.name,
        own: worker.owner.is_none(),
        here: worker.status != WorkerState::Away,
    });
    let workers = workers.collect();
    reply = ask(talk, Body::ElectQuestion, Duration::ZERO)?;
    let Body::ElectAnswer(group) = &reply.message.body else { return Err(strange(talk.address(), &reply)) };
    let members = if group.quorum { group.voters.len() + group.learners.len() } else { 0 };
    reply = ask(talk, Body::Nodes(Box::default()), Duration::ZERO)?;
    let Body::NodesAnswer(nodes) = &reply.message.body else { return Err(strange(talk.address(), &reply)) };
    let alive =
        nodes.nodes.iter().filter(|node| node.status == Status::Alive && node.role == Some(Role::Master)).count();
    Ok(Look { id, counts, workers, members, alive })
}
