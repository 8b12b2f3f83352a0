//! The guard as a process: it keeps the command in its hands, hears orders, and ends the tree in time.
//!
//! Its standard input is a socket to `node elect`; the first thing on it is the command's standard input, as a descriptor. It is of a
//! process group of its own, so that what is typed on a terminal does not reach it.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use crossbeam_channel::{Sender, unbounded};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use super::alarm::Alarm;
use super::guard::{Action, Event, Guard};
use super::lines::{Order, Report};
use super::{Exit, program, trampoline};
use crate::cli::exit;
use crate::net;
use crate::service::tree::{How, Place, Tree};

/// The first argument that means this.
pub(super) const WORD: &str = "__elect-guard";

/// The word for a command that gets a process group of its own.
pub(super) const OWN_GROUP: &str = "own";

/// What the threads of a guard tell.
enum Note {
    Event(Event),
    /// The first process of the command has ended.
    Ended,
    /// Some child of this process has ended.
    #[cfg(target_os = "linux")]
    Reap,
}

/// `GROUP COMMAND ARG..`: the number of the process group of the command, or `own`; and the command.
pub(super) fn run(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let group = args.next().and_then(|group| group.into_string().ok());
    let place = match group.as_deref() {
        Some(OWN_GROUP) => Some(Place { group: None, adopts: cfg!(target_os = "linux") }),
        Some(group) => group.parse().ok().map(|group| Place { group: Some(group), adopts: cfg!(target_os = "linux") }),
        None => None,
    };
    let (Some(place), command @ [_, ..]) = (place, &args.collect::<Vec<_>>()[..]) else {
        eprintln!("error: this is a part of node elect, and no command of its own");
        return ExitCode::from(exit::USAGE);
    };
    match keep(place, command) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            eprintln!("error: guard: {error}");
            ExitCode::from(exit::FAILURE)
        }
    }
}

fn keep(place: Place, command: &[OsString]) -> io::Result<()> {
    ignore_signals()?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let input = receive(&socket)?;
    let (notes, told) = unbounded();
    let orders = (socket.try_clone()?, notes.clone());
    thread::Builder::new().name("orders".to_owned()).spawn(move || hear(orders.0, &orders.1))?;
    let rings = notes.clone();
    let alarm = Alarm::new(move || drop(rings.send(Note::Event(Event::Wake))))?;
    let mut keeper = Keeper { socket, notes, place, input: Some(input), tree: None };
    let mut guard = Guard::default();
    loop {
        let event = match told.recv() {
            Ok(Note::Event(event)) => event,
            #[cfg(target_os = "linux")]
            Ok(Note::Reap) => {
                keeper.tree.iter().for_each(Tree::reap_adopted);
                continue;
            }
            Ok(Note::Ended) | Err(_) => {
                keeper.finish(guard.has_stopped());
                return Ok(());
            }
        };
        for action in guard.handle(event, net::now()) {
            match (action, &keeper.tree) {
                (Action::Start, _) => {
                    if let Err(error) = keeper.start(command) {
                        keeper.report(&Report::Failed(error.to_string()));
                        return Ok(());
                    }
                }
                (Action::Leave, _) => {
                    keeper.report(&Report::Failed("its time was over".to_owned()));
                    return Ok(());
                }
                (Action::Pass(signal), Some(tree)) => tree.pass(signal),
                (Action::Ask, Some(tree)) => tree.signal(How::Ask),
                (Action::Kill, Some(tree)) => tree.signal(How::Kill),
                (Action::Pass(_) | Action::Ask | Action::Kill, None) => {}
            }
        }
        alarm.set(guard.deadline());
    }
}

/// What the guard has in its hands.
struct Keeper {
    socket: UnixStream,
    notes: Sender<Note>,
    place: Place,
    /// The command's standard input.
    input: Option<OwnedFd>,
    tree: Option<Tree>,
}

impl Keeper {
    /// Starts the command. On the first thread of this process, with whose end the system kills it.
    fn start(&mut self, command: &[OsString]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            let own = i32::try_from(std::process::id()).ok().and_then(rustix::process::Pid::from_raw);
            rustix::process::set_child_subreaper(own)?;
            let notes = self.notes.clone();
            let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGCHLD])?;
            let reap = move || signals.forever().all(|_| notes.send(Note::Reap).is_ok());
            thread::Builder::new().name("children".to_owned()).spawn(reap)?;
        }
        let mut first = program::myself()?;
        first.arg(trampoline::WORD).arg(std::process::id().to_string()).args(command);
        first.stdin(self.input.take().map_or_else(Stdio::null, Stdio::from));
        let tree = Tree::spawn_at(&mut first, self.place)?;
        let notes = self.notes.clone();
        tree.when_ended(move || drop(notes.send(Note::Ended)))?;
        self.tree = Some(tree);
        Ok(())
    }

    /// The command has ended: so does what it left running.
    fn finish(&mut self, stopped: bool) {
        let status = self.tree.take().and_then(Tree::end);
        self.report(&Report::Ended { exit: status.map_or(Exit::Signal(9), how), stopped });
    }

    fn report(&mut self, report: &Report) {
        // Nobody may be there to hear it.
        let _: io::Result<()> = self.socket.write_all(report.line().as_bytes());
    }
}

/// How a process ended.
fn how(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u8::try_from(code & 0xff).unwrap_or(exit::FAILURE)),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(exit::FAILURE),
    }
}

/// What asks others to end is not for the guard: it ends when its work is done. A handler, since what is ignored is ignored by the
/// command too; and what was ignored stays so.
fn ignore_signals() -> io::Result<()> {
    let nothing = Arc::<AtomicBool>::default();
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        if !net::is_ignored(signal) {
            signal_hook::flag::register(signal, Arc::clone(&nothing))?;
        }
    }
    Ok(())
}

/// The descriptor that comes first.
fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut extra = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut extra, RecvFlags::CMSG_CLOEXEC)?;
    let received = extra.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    received.ok_or_else(|| io::Error::other("no standard input came for the command"))
}

/// Orders, until nobody is left to give them.
fn hear(socket: UnixStream, notes: &Sender<Note>) {
    for line in BufReader::new(socket).lines() {
        let Ok(line) = line else { break };
        match Order::parse(&line) {
            Some(order) if notes.send(Note::Event(Event::Order(order))).is_ok() => {}
            Some(_) => return,
            // What is not understood promises nothing.
            None => log::error!("guard: `{line}` is no order"),
        }
    }
    let _ = notes.send(Note::Event(Event::Orphaned));
}
