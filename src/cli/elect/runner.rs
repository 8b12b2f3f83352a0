//! `node elect` as a process: what the candidate wants done is done here, by threads that each wait for one thing.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IoSlice, IsTerminal, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

use super::alarm::{Alarm, now};
use super::asks::Question;
use super::lines::{Order, Report};
use super::machine::Candidate;
use super::{Answer, ElectArgs, End, Input, Output, Plan, keeper, program};
use crate::cli::ask::{line, refusal};
use crate::cli::client::Client;
use crate::cli::exit;
use crate::cli::help::ProgramName;
use crate::cli::pretty::printable;
use crate::net;
use crate::service::tree::{How, Tree};
use crate::wire::{self, Address, Body, Message};

/// Longest host name in the name of a holder, in bytes.
const HOST_BYTES: usize = 64;

/// How long a line to the guard may take. One that is hung is killed when its time is over.
const GUARD_PATIENCE: Duration = Duration::from_millis(100);

/// What the threads tell.
enum Event {
    Input(Input),
    /// An answer, and the connection if it stands.
    Answered {
        ask: u64,
        answer: Answer,
        client: Option<Client>,
    },
    /// A signal, and whether the terminal sent it to everybody in its foreground.
    Signal {
        signal: i32,
        by_terminal: bool,
    },
    /// The guard of this run has said its last word, or is gone without one.
    Guard {
        run: u64,
        report: Option<Report>,
    },
}

/// Runs the command whenever the lease is held, until it ends.
pub(super) fn run(args: &ElectArgs, grace: Duration) -> ExitCode {
    let Some(command) = args.command.first() else { return ExitCode::from(exit::USAGE) };
    if let Err((code, why)) = program::check(command) {
        say(&why);
        return ExitCode::from(code);
    }
    let mut nodes: Vec<Address> = Vec::new();
    for node in args.to.iter().flat_map(|masters| &masters.0) {
        if !nodes.contains(node) {
            nodes.push(node.clone());
        }
    }
    let plan = Plan {
        name: args.name.0.clone(),
        ttl: args.ttl.0,
        grace,
        holder: holder(),
        every: args.every.map(|every| (every.0.as_secs(), args.missed)),
    };
    match Runner::start(args, plan, nodes) {
        Ok((runner, events)) => ExitCode::from(runner.run(&events)),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(exit::FAILURE)
        }
    }
}

fn say(text: &str) {
    let text = printable(text).replace('\n', " ");
    // Where nobody reads it any more, the command goes on all the same.
    let _: io::Result<()> = writeln!(io::stderr(), "{} elect: {text}", ProgramName::called().as_str());
}

/// The name of this process as a holder, and of no other.
fn holder() -> String {
    let mut host = sysinfo::System::host_name().unwrap_or_else(|| "host".to_owned());
    host.retain(|letter| letter.is_ascii_graphic());
    host.truncate(HOST_BYTES);
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{host}-{}-{}", std::process::id(), &random[..8])
}

/// A command that runs, seen from here.
struct Running {
    run: u64,
    /// The guard and all below it.
    tree: Tree,
    socket: UnixStream,
    /// It was killed from here.
    killed: bool,
}

struct Runner {
    candidate: Candidate,
    name: String,
    command: Vec<OsString>,
    patience: Duration,
    /// The process group that the command shares with this process, where a terminal is its standard input: what is typed reaches it,
    /// and it may read.
    group: Option<i32>,
    events: Sender<Event>,
    alarm: Alarm,
    /// Connections that stand and that nobody uses now.
    idle: Vec<Client>,
    running: Option<Running>,
}

impl Runner {
    fn start(args: &ElectArgs, plan: Plan, nodes: Vec<Address>) -> io::Result<(Runner, Receiver<Event>)> {
        let (events, told) = unbounded();
        watch_signals(events.clone())?;
        let rings = events.clone();
        let alarm = Alarm::new(move || drop(rings.send(Event::Input(Input::Wake))))?;
        // Elsewhere a process tree can be told from others by its group only.
        let shares = cfg!(target_os = "linux") && io::stdin().is_terminal();
        let runner = Runner {
            name: plan.name.clone(),
            candidate: Candidate::new(plan, nodes, now()),
            command: args.command.clone(),
            patience: args.patience.0,
            group: shares.then(|| rustix::process::getpgrp().as_raw_nonzero().get()),
            events,
            alarm,
            idle: Vec::new(),
            running: None,
        };
        Ok((runner, told))
    }

    /// Until it ends. Returns the exit code.
    fn run(mut self, told: &Receiver<Event>) -> u8 {
        let mut input = Input::Wake;
        loop {
            self.candidate.handle(input, now());
            while let Some(output) = self.candidate.poll_output() {
                if let Some(code) = self.carry_out(output) {
                    return code;
                }
            }
            self.alarm.set(self.candidate.deadline(now()));
            input = match told.recv() {
                Ok(event) => self.input(event),
                // This process holds a sender itself.
                Err(_) => return exit::FAILURE,
            };
        }
    }

    /// What an event is to the candidate.
    fn input(&mut self, event: Event) -> Input {
        match event {
            Event::Input(input) => input,
            Event::Answered { ask, answer, client } => {
                if let Some(client) =
                    client.filter(|client| self.idle.iter().all(|it| it.address() != client.address()))
                {
                    self.idle.push(client);
                }
                Input::Answered { ask, answer }
            }
            Event::Signal { signal, by_terminal } => {
                Input::Signal { signal, delivered: by_terminal && self.group.is_some() }
            }
            Event::Guard { run, report } => match self.running.take_if(|running| running.run == run) {
                Some(running) => {
                    let killed = running.killed;
                    // Nothing is left of it, whatever the guard has said or not.
                    running.tree.end();
                    Input::Ended { run, end: end(report, killed) }
                }
                None => Input::Wake,
            },
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<u8> {
        match output {
            Output::Ask(question) => self.ask(question),
            Output::Start { run, fence, holder, tick, limits } => {
                let order = Order::Good { term_at: limits.term_at, kill_at: limits.kill_at };
                if let Err(error) = self.start_command(run, fence, &holder, tick, order) {
                    self.running = None;
                    let end = End::NotStarted(error.to_string());
                    let _ = self.events.send(Event::Input(Input::Ended { run, end }));
                }
            }
            Output::Extend(limits) => {
                self.tell(Order::Good { term_at: limits.term_at, kill_at: limits.kill_at });
            }
            Output::Pass(signal) => self.tell(Order::Pass(signal)),
            Output::Stop { kill_at } => self.tell(Order::Stop { kill_at }),
            Output::Kill => {
                if let Some(running) = &mut self.running {
                    running.killed = true;
                    running.tree.signal(How::Kill);
                }
            }
            Output::Say(text) => say(&text),
            Output::Exit(code) => return Some(code),
        }
        None
    }

    /// Asks on a thread of its own, over the connection that stands.
    fn ask(&mut self, question: Question) {
        let Question { ask, node, body, patience } = question;
        let position = self.idle.iter().position(|client| *client.address() == node);
        let client = position.map(|position| self.idle.swap_remove(position));
        let client = client.unwrap_or_else(|| Client::abrupt(node, self.patience));
        let (connecting, events) = (self.patience.min(patience), self.events.clone());
        let work = move || {
            let (answer, client) = put(client, body, connecting, patience);
            let _ = events.send(Event::Answered { ask, answer, client });
        };
        if let Err(error) = thread::Builder::new().name("ask".to_owned()).spawn(work) {
            let answer = Answer::Nothing(format!("no thread: {error}"));
            let _ = self.events.send(Event::Answered { ask, answer, client: None });
        }
    }

    fn start_command(&mut self, run: u64, fence: u64, holder: &str, tick: Option<u64>, order: Order) -> io::Result<()> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_write_timeout(Some(GUARD_PATIENCE))?;
        let mut guard = program::myself()?;
        guard.arg(keeper::WORD);
        match self.group {
            Some(group) => guard.arg(group.to_string()),
            None => guard.arg(keeper::OWN_GROUP),
        };
        guard.args(&self.command).stdin(Stdio::from(OwnedFd::from(theirs)));
        guard.env("MUTIRAO_LEASE", &self.name).env("MUTIRAO_FENCE", fence.to_string()).env("MUTIRAO_HOLDER", holder);
        match tick {
            Some(tick) => guard.env("MUTIRAO_TICK", tick.to_string()),
            None => guard.env_remove("MUTIRAO_TICK"),
        };
        let tree = Tree::spawn(&mut guard)?;
        // It holds the other end of the socket still, and would hide the end of the guard.
        drop(guard);
        let heard = socket.try_clone()?;
        let events = self.events.clone();
        thread::Builder::new().name("guard".to_owned()).spawn(move || hear(run, heard, &events))?;
        send_input(&socket)?;
        self.running = Some(Running { run, tree, socket, killed: false });
        self.tell(order);
        Ok(())
    }

    fn tell(&mut self, order: Order) {
        if let Some(running) = &mut self.running {
            // A guard that does not hear stops the command by itself; one that is gone is noticed where it is heard.
            let _: io::Result<()> = running.socket.write_all(order.line().as_bytes());
        }
    }
}

/// Why a run has ended, by the last word of its guard.
fn end(report: Option<Report>, killed: bool) -> End {
    match report {
        _ if killed => End::Stopped,
        Some(Report::Ended { stopped: true, .. }) => End::Stopped,
        Some(Report::Ended { exit, .. }) => End::Itself(exit),
        Some(Report::Failed(why)) => End::NotStarted(why),
        None => End::GuardLost,
    }
}

/// Passes this process's standard input on.
fn send_input(socket: &UnixStream) -> io::Result<()> {
    let stdin = io::stdin();
    let descriptors = [stdin.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut extra = SendAncillaryBuffer::new(&mut space);
    if !extra.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("a descriptor does not fit a message"));
    }
    sendmsg(socket, &[IoSlice::new(b"0")], &mut extra, SendFlags::empty())?;
    Ok(())
}

/// Hears the guard's last word.
fn hear(run: u64, socket: UnixStream, events: &Sender<Event>) {
    let mut line = String::new();
    let heard = BufReader::new(socket).read_line(&mut line);
    let report = heard.ok().and_then(|_| Report::parse(line.trim_end()));
    let _ = events.send(Event::Guard { run, report });
}

/// Signals, from now on. What was ignored when this process started stays so.
fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    let wanted = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    let wanted = wanted.into_iter().filter(|signal| !net::is_ignored(*signal));
    let mut signals = SignalsInfo::<WithOrigin>::new(wanted)?;
    let wait = move || {
        for origin in signals.forever() {
            let by_terminal = matches!(origin.cause, Cause::Kernel);
            if events.send(Event::Signal { signal: origin.signal, by_terminal }).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

/// Asks once: what is lost is not repeated here, for the candidate must know. Returns the connection if it can be used again.
fn put(mut client: Client, body: Body, connecting: Duration, patience: Duration) -> (Answer, Option<Client>) {
    let deadline = Instant::now() + patience;
    let line = match line(&Message::plain(body)) {
        Ok(line) => line,
        Err(error) => return (Answer::Nothing(error.to_string()), Some(client)),
    };
    client.set_wait(connecting);
    let heard = client.send_bytes(&line).and_then(|()| {
        client.set_wait(patience);
        client.next_line(Some(deadline))
    });
    match heard {
        Ok(Some(text)) => (read(client.address(), &text), Some(client)),
        Ok(None) => (Answer::Nothing(format!("{} closed the connection without an answer", client.address())), None),
        Err(error) => (Answer::Nothing(error.to_string()), None),
    }
}

/// What an answer means to a candidate.
fn read(node: &Address, text: &str) -> Answer {
    match wire::decode(text.as_bytes()).map(|message| message.body) {
        Ok(Body::LeaseAnswer(lease)) => Answer::Lease(*lease),
        Ok(Body::MembersAnswer(answer)) => {
            Answer::Members(answer.members.into_iter().map(|(member, _)| member.address).collect())
        }
        Ok(Body::Error(error)) if error.code == wire::ErrorCode::Held => Answer::Refused(error.code, error.detail),
        Ok(Body::Error(error)) => {
            let text = refusal(node, &error);
            Answer::Refused(error.code, text)
        }
        _ => Answer::Nothing(format!("{node} answered something else than asked")),
    }
}
