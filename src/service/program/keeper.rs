//! Keeps one program running and hands it requests: one thread a program.
//!
//! ```text
//!              start                     crash, hang, ill health
//!   (pause) ──────────> serving ───────────────────────────────────> (pause: 0.1 s, doubled to 30 s)
//!      ^                  │ manifest changed, all answered: input closed, TERM after 2 s, KILL after 5 s
//!      └──────────────────┘
//! ```
//!
//! A program that hung in a request, or whose only request was stopped, is started again at once: it answers for what
//! it was asked, and whoever asks with short time-outs must not be able to slow it down for others.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use crate::core::{Outcome, RunId};
use crate::service::output::head;
use crate::service::running::{Running, Why};
use crate::service::runs::Runs;
use crate::service::tree::How;
use crate::service::{Failure, STOP_GRACE, spoken};
use crate::wire::{Json, Stream};

use super::backoff::Backoff;
use super::chatter::Chatter;
use super::lines::{self, Line};
use super::manifest::Manifest;
use super::process::{Note, Process};
use super::supervisor::Command;

/// Of a program that is ended gracefully: from the end of its input to TERM.
const ASK_AFTER: Duration = Duration::from_secs(2);

/// And to KILL.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// How long the outputs of a process are read after its end. Everything that could write was killed; what escaped is
/// not waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who has closed its standard output can answer nothing. It gets this long to end.
const MUTE: Duration = Duration::from_secs(1);

/// A program without a health method that lives this long counts as well again.
const SETTLED: Duration = Duration::from_secs(1);

/// Longest time of one health check.
const HEALTH: Duration = Duration::from_secs(5);

/// And of the first one of a process: it may still be starting.
const STARTING: Duration = Duration::from_secs(30);

/// A request that was written.
struct Flight {
    /// Whose it is. `None`: a health check, or the run was stopped while others were in flight, and its answer is waited
    /// for only to know that the program is free again.
    running: Option<Arc<Running>>,
    is_health: bool,
    deadline: Instant,
}

/// Where a process is in its life.
enum Phase {
    /// It gets requests.
    Serving,
    /// It is being ended.
    Ending {
        /// For those whose requests are in flight.
        reason: String,
        next: Next,
        /// When it gets TERM.
        ask_at: Option<Instant>,
        /// When it gets KILL.
        kill_at: Option<Instant>,
    },
    /// Its first process has ended or was killed, and so was the rest; its outputs are read until then.
    Over { until: Instant, ending: Option<(String, Next)> },
}

/// When a program is started again that was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    AtOnce,
    AfterPause,
}

/// The state of the thread of one program.
pub(super) struct Keeper {
    manifest: Manifest,
    change: Option<Manifest>,
    interval: Duration,
    runs: Arc<Runs>,
    is_up: Arc<AtomicBool>,
    changed: Box<dyn Fn() + Send>,
    waiting: VecDeque<Arc<Running>>,
    flights: BTreeMap<u64, Flight>,
    last_id: u64,
    process: Option<Process>,
    phase: Phase,
    is_mute_since: Option<Instant>,
    /// Outputs of the process that have not ended.
    open: u8,
    /// Without a process: when the next is started.
    start_at: Instant,
    health_at: Instant,
    backoff: Backoff,
    /// Why it is down.
    reason: String,
    retires: bool,
    end_by: Option<Instant>,
    chatter: Chatter,
}

impl Keeper {
    /// A program that is started as soon as it is kept.
    pub(super) fn new(
        manifest: Manifest,
        runs: Arc<Runs>,
        is_up: Arc<AtomicBool>,
        changed: Box<dyn Fn() + Send>,
    ) -> Keeper {
        let now = Instant::now();
        Keeper {
            interval: manifest.interval,
            manifest,
            change: None,
            runs,
            is_up,
            changed,
            waiting: VecDeque::new(),
            flights: BTreeMap::new(),
            last_id: 0,
            process: None,
            phase: Phase::Serving,
            is_mute_since: None,
            open: 0,
            start_at: now,
            health_at: now,
            backoff: Backoff::new(),
            reason: String::new(),
            retires: false,
            end_by: None,
            chatter: Chatter::new(now),
        }
    }

    /// Keeps it until it shall end, and has.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let Some(deadline) = self.advance(Instant::now()) else { return };
            let notes = self.process.as_ref().map_or_else(never, |process| process.notes.clone());
            let wait = deadline.saturating_duration_since(Instant::now());
            select! {
                recv(commands) -> command => match command {
                    Ok(command) => self.obey(command),
                    // Nobody can ask for anything any more.
                    Err(_) => self.obey(Command::End(Instant::now())),
                },
                recv(notes) -> note => if let Ok(note) = note { self.hear(note) },
                default(wait) => {}
            }
        }
    }

    /// Does everything that is due. `None`: it is all over. Otherwise: when to come again at the latest.
    fn advance(&mut self, now: Instant) -> Option<Instant> {
        if self.process.is_none() {
            if self.end_by.is_some() || (self.retires && self.waiting.is_empty()) {
                let stops = Failure::broken("this node stops");
                self.refuse_waiting(&stops);
                return None;
            }
            if let Some(manifest) = self.change.take() {
                self.interval = manifest.interval;
                self.manifest = manifest;
                self.backoff = Backoff::new();
                self.start_at = now;
            }
            if now >= self.start_at {
                self.start(now);
            }
        }
        if self.process.is_some() {
            self.advance_process(now);
        }
        if self.process.is_none() {
            // Another round decides whether to start or to end.
            return Some(if self.end_by.is_some() || self.retires { now } else { self.start_at });
        }
        Some(self.deadline(now))
    }

    fn advance_process(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Serving => self.serve(now),
            Phase::Ending { ask_at, kill_at, .. } => {
                let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
                let (kills, asks) = (is_due(kill_at), is_due(ask_at));
                if let Some(process) = self.process.as_ref().filter(|_| kills || asks) {
                    process.signal(if kills { How::Kill } else { How::Ask });
                }
                if kills {
                    self.last_words(now);
                }
            }
            Phase::Over { until, .. } => {
                if self.open == 0 || now >= *until {
                    self.settle(now);
                }
            }
        }
    }

    /// The next time at which something is due.
    fn deadline(&self, now: Instant) -> Instant {
        let far = now + Duration::from_secs(3600);
        match &self.phase {
            Phase::Serving => {
                let flights = self.flights.values().filter(|flight| flight.running.is_none()).map(|it| it.deadline);
                let health = self.is_checked().then_some(self.health_at);
                let mute = self.is_mute_since.map(|since| since + MUTE);
                let settled = self.process.as_ref().filter(|_| !self.is_up()).map(|process| process.started + SETTLED);
                flights.chain(health).chain(mute).chain(settled).min().unwrap_or(far)
            }
            Phase::Ending { ask_at, kill_at, .. } => ask_at.iter().chain(kill_at).min().copied().unwrap_or(far),
            Phase::Over { until, .. } => *until,
        }
    }

    fn start(&mut self, now: Instant) {
        match Process::start(&self.manifest) {
            Ok(process) => {
                log::info!("service {}: process {} started", self.manifest.offer.name, process.id());
                self.process = Some(process);
                self.phase = Phase::Serving;
                self.open = 2;
                self.is_mute_since = None;
                // A program that was ill proves at once that it is well.
                self.health_at = if self.is_up() { now + self.interval } else { now };
            }
            Err(error) => {
                let program = self.manifest.command.first().map_or("", String::as_str);
                self.pause(format!("{program} cannot be started: {error}"), Duration::ZERO, true);
            }
        }
    }

    /// The next start is after a pause.
    fn pause(&mut self, reason: String, lived: Duration, is_down: bool) {
        let pause = self.backoff.after(lived);
        log::warn!("service {}: {reason}; started again in {}", self.manifest.offer.name, spoken(pause));
        self.start_at = Instant::now() + pause;
        self.reason = reason;
        if is_down || Backoff::is_down(pause) {
            self.set_up(false);
        }
    }

    fn is_up(&self) -> bool {
        self.is_up.load(Ordering::SeqCst)
    }

    fn set_up(&mut self, is_up: bool) {
        if self.is_up.swap(is_up, Ordering::SeqCst) != is_up {
            (self.changed)();
        }
        if !is_up {
            let failure = self.down();
            self.refuse_waiting(&failure);
        }
    }

    fn down(&self) -> Failure {
        Failure::broken(format!("{} is down: {}", self.manifest.offer.name, self.reason))
    }

    fn refuse_waiting(&mut self, failure: &Failure) {
        for running in mem::take(&mut self.waiting) {
            self.runs.finish(running.run.run, failure.clone().into());
        }
    }

    /// Everything that a living process is due.
    fn serve(&mut self, now: Instant) {
        let Some(process) = &self.process else { return };
        if !self.is_up() && self.manifest.health.is_none() && now >= process.started + SETTLED {
            self.set_up(true);
        }
        if self.is_mute_since.is_some_and(|since| now >= since + MUTE) {
            return self.end_process("it has closed its standard output".to_owned(), Next::AfterPause, now);
        }
        let hangs = self.flights.values().find(|flight| flight.running.is_none() && now >= flight.deadline);
        if let Some(flight) = hangs {
            if flight.is_health {
                let reason = format!("no answer to its health check within {}", spoken(self.patience()));
                self.fall_ill(reason, now);
            } else {
                self.end_process("another request had no result in time".to_owned(), self.next_start(), now);
            }
            return;
        }
        let leaves = self.end_by.is_some() || self.change.is_some() || (self.retires && self.waiting.is_empty());
        if leaves && self.flights.is_empty() {
            return self.end_gracefully(now);
        }
        if self.change.is_some() || self.end_by.is_some() {
            return;
        }
        if self.is_checked() && now >= self.health_at && self.flights.len() < self.manifest.concurrency {
            self.check_health(now);
        }
        while self.is_up() && self.flights.len() < self.manifest.concurrency {
            let Some(running) = self.waiting.pop_front() else { break };
            self.ask(running, now);
        }
    }

    /// Whether a health check is to be sent at `health_at`.
    fn is_checked(&self) -> bool {
        let under_way = self.flights.values().any(|flight| flight.is_health);
        self.manifest.health.is_some() && !under_way && self.flights.len() < self.manifest.concurrency
    }

    /// How long a health check may take.
    fn patience(&self) -> Duration {
        let is_starting = self.process.as_ref().is_some_and(|process| !process.has_answered);
        if is_starting { STARTING } else { self.interval.min(HEALTH) }
    }

    fn check_health(&mut self, now: Instant) {
        let (Some(method), Some(process)) = (&self.manifest.health, &self.process) else { return };
        self.last_id += 1;
        let patience = self.patience();
        process.write(lines::health_request(self.last_id, method.as_str(), patience.as_millis() as u64));
        self.flights.insert(self.last_id, Flight { running: None, is_health: true, deadline: now + patience });
    }

    fn ask(&mut self, running: Arc<Running>, now: Instant) {
        let Some(process) = &self.process else { return };
        self.last_id += 1;
        let left = running.deadline.saturating_duration_since(now).as_millis() as u64;
        process.write(lines::request(self.last_id, &running.run, left.max(1)));
        let deadline = running.deadline;
        self.flights.insert(self.last_id, Flight { running: Some(running), is_health: false, deadline });
    }

    fn fall_ill(&mut self, reason: String, now: Instant) {
        self.reason = reason.clone();
        self.set_up(false);
        self.end_process(reason, Next::AfterPause, now);
    }

    /// A process that has shown that it works may start again at once.
    fn next_start(&self) -> Next {
        let works = self.process.as_ref().is_some_and(|process| process.has_answered);
        if works { Next::AtOnce } else { Next::AfterPause }
    }

    /// Ends the process tree: TERM now, KILL soon.
    fn end_process(&mut self, reason: String, next: Next, now: Instant) {
        if let (Phase::Serving, Some(process)) = (&self.phase, &self.process) {
            process.signal(How::Ask);
            self.phase = Phase::Ending { reason, next, ask_at: None, kill_at: Some(now + STOP_GRACE) };
        }
    }

    /// Ends the process tree: input closed now, TERM and KILL later.
    fn end_gracefully(&mut self, now: Instant) {
        let (Phase::Serving, Some(process)) = (&self.phase, &mut self.process) else { return };
        process.close_input();
        let kill_at = self.end_by.map_or(now + KILL_AFTER, |by| by.clamp(now, now + KILL_AFTER));
        let ask_at = (now + ASK_AFTER).min(now + (kill_at - now) / 2);
        let reason = "the program was stopped".to_owned();
        self.phase = Phase::Ending { reason, next: Next::AtOnce, ask_at: Some(ask_at), kill_at: Some(kill_at) };
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Request(running) if !self.is_up() => {
                let failure = self.down();
                self.runs.finish(running.run.run, failure.into());
            }
            Command::Request(running) => self.waiting.push_back(running),
            Command::Stop(run) => self.stop(run, now),
            Command::Change(manifest) => self.change = Some(*manifest),
            Command::Retire => self.retires = true,
            Command::End(by) => {
                self.end_by = Some(by);
                let stops = Failure::broken("this node stops");
                self.refuse_waiting(&stops);
                match &mut self.phase {
                    Phase::Serving => self.end_gracefully(now),
                    Phase::Ending { kill_at: Some(kill_at), .. } => *kill_at = by.min(*kill_at),
                    _ => {}
                }
            }
        }
    }

    /// A run shall stop: somebody said so, or its time is over.
    fn stop(&mut self, run: RunId, now: Instant) {
        if let Some(at) = self.waiting.iter().position(|running| running.run.run == run)
            && let Some(running) = self.waiting.remove(at)
        {
            return self.runs.finish(run, running.stopped(running.why().unwrap_or(Why::Stopped)));
        }
        let is_meant = |flight: &&mut Flight| flight.running.as_ref().is_some_and(|running| running.run.run == run);
        let Some(flight) = self.flights.values_mut().find(is_meant) else { return };
        let Some(running) = flight.running.clone() else { return };
        let why = running.why().unwrap_or(Why::Stopped);
        let is_shared = self.manifest.concurrency > 1;
        if why == Why::Stopped && is_shared {
            // The others must not suffer. Its place is free when it is answered, or when its time is over.
            flight.running = None;
            return self.runs.finish(run, running.stopped(why));
        }
        let reason = match why {
            Why::TimedOut => "another request had no result in time",
            Why::Stopped => "its request was stopped",
        };
        self.end_process(format!("the program was ended: {reason}"), self.next_start(), now);
        if let (Phase::Ending { kill_at: Some(at), .. }, Some(force)) = (&mut self.phase, running.kill_at()) {
            *at = force.min(*at);
        }
    }

    fn hear(&mut self, note: Note) {
        match note {
            Note::Line(Stream::Out, line) => self.read(line),
            Note::Line(Stream::Err, line) => {
                if let Some(process) = &mut self.process {
                    process.keep_stderr(&line.text);
                }
                self.show(Stream::Err, &line.text);
            }
            Note::Closed(stream) => {
                self.open = self.open.saturating_sub(1);
                if stream == Stream::Out {
                    self.is_mute_since = Some(Instant::now());
                }
            }
            Note::Ended => {
                // What it started goes with it, which also ends its outputs.
                if let Some(process) = &self.process {
                    process.signal(How::Kill);
                }
                self.last_words(Instant::now());
            }
        }
    }

    /// The tree was killed: what it wrote is read, then it is over.
    fn last_words(&mut self, now: Instant) {
        let ending = match mem::replace(&mut self.phase, Phase::Serving) {
            Phase::Serving => None,
            Phase::Ending { reason, next, .. } => Some((reason, next)),
            Phase::Over { ending, .. } => ending,
        };
        self.phase = Phase::Over { until: now + LAST_WORDS, ending };
    }

    /// A line of its standard output: an answer, or anything.
    fn read(&mut self, line: Line) {
        if line.is_cut {
            return self.read_cut(&line.text);
        }
        let Some(answer) = lines::answer(&line.text) else { return self.show(Stream::Out, &line.text) };
        let Some(flight) = answer.id.and_then(|id| self.flights.remove(&id)) else {
            let line = head(&line.text, 200);
            return self.chatter.note(&self.manifest.offer.name, &format!("answers what was not asked: {line}"));
        };
        if let Some(process) = &mut self.process {
            process.has_answered = true;
        }
        if flight.is_health {
            let now = Instant::now();
            self.health_at = now + self.interval;
            match answer.result {
                Ok(_) => self.set_up(true),
                Err(fault) => self.fall_ill(format!("its health check says: {}", fault.detail), now),
            }
            return;
        }
        let Some(running) = flight.running else { return };
        let outcome = match answer.result {
            Ok(result) => Outcome::Ok(Json::of(&result)),
            Err(fault) => Failure { detail: fault.detail, result: fault.result, retry: fault.retry }.into(),
        };
        self.runs.finish(running.run.run, running.judged(outcome));
    }

    /// A line that was too long.
    fn read_cut(&mut self, text: &str) {
        let only = if self.flights.len() == 1 { self.flights.keys().next().copied() } else { None };
        let id = lines::id_of_head(text).filter(|id| self.flights.contains_key(id)).or(only);
        let flight = id.filter(|_| text.trim_start().starts_with('{')).and_then(|id| self.flights.remove(&id));
        let most = self.manifest.output;
        let Some(flight) = flight else {
            return self.show(Stream::Out, &format!("{}... [longer than {most} bytes]", head(text, 200)));
        };
        if let Some(running) = flight.running {
            let detail = format!("its answer is longer than the {most} bytes that `output` of its manifest allows");
            self.runs.finish(running.run.run, Failure::refused(detail).into());
        }
    }

    /// Shows a line that is no answer to people, and to the run if it can only be of one.
    fn show(&mut self, stream: Stream, line: &str) {
        let mut flights = self.flights.values().filter_map(|flight| flight.running.as_ref());
        if let (Some(running), None) = (flights.next(), flights.next()) {
            running.print(stream, &format!("{line}\n"));
        }
        self.chatter.note(&self.manifest.offer.name, &format!("{}: {}", stream.as_str(), head(line, 1000)));
    }

    /// The process is gone: its requests fail, and the next start is decided.
    fn settle(&mut self, now: Instant) {
        let Some(process) = self.process.take() else { return };
        let lived = now.saturating_duration_since(process.started);
        let status = process.end();
        let phase = mem::replace(&mut self.phase, Phase::Serving);
        let (reason, next) = match phase {
            Phase::Over { ending: Some((reason, next)), .. } => (reason, next),
            _ => (status, Next::AfterPause),
        };
        for flight in mem::take(&mut self.flights).into_values() {
            if let Some(running) = flight.running {
                let failed = Failure::broken(reason.clone());
                self.runs.finish(running.run.run, running.judged(failed.into()));
            }
        }
        match next {
            Next::AtOnce => self.start_at = now,
            Next::AfterPause => {
                let was_down = !self.is_up();
                self.pause(reason, lived, was_down);
            }
        }
    }
}
