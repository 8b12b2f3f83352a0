//! `node submit --file`: a file of jobs over one connection, with a progress bar and a sum at the end.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::style::TemplateError;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::ask::{AskError, refusal};
use super::batch_file::{self, Jobs};
use super::client::{Client, ClientError};
use super::exit;
use super::pipeline::{Fate, Pipeline};
use super::pretty::printable;
use super::submit::SubmitArgs;
use super::waiting::pass;
use crate::wire::{self, Address, Body, ErrorCode, Message};

/// Bad or refused lines that are named; the others are counted.
const NAMED: usize = 20;

/// After this long without any job being accepted, the rest is given up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Submits the jobs of a file.
pub(super) fn run(args: &SubmitArgs, file: &Path) -> ExitCode {
    let defaults = |target: &_| args.defaults(target);
    let read = if file.as_os_str() == "-" {
        batch_file::read(io::stdin().lock(), &defaults)
    } else {
        File::open(file).and_then(|file| batch_file::read(BufReader::new(file), &defaults))
    };
    let (jobs, bad) = match read {
        Ok(read) => read,
        Err(error) => {
            eprintln!("error: --file {}: {error}", file.display());
            return ExitCode::from(exit::FAILURE);
        }
    };
    if !bad.is_empty() {
        name(&bad);
        if !args.skip_bad {
            let count = bad.len();
            eprintln!("error: {count} bad lines in {}: nothing was sent; mend them, or add --skip-bad", file.display());
            return ExitCode::from(exit::USAGE);
        }
    }
    let mut pipe = TcpPipe::new(&args.to.to, args.to.patience.0, &jobs, args.json);
    let bar = progress(jobs.len());
    let started = Instant::now();
    let mut driver = Driver {
        jobs: Pipeline::new(jobs.len()),
        pipe: &mut pipe,
        patience: args.to.patience.0,
        pause: &mut pass,
        progress: &mut |jobs: &Pipeline| bar.set_position(jobs.accepted as u64 + jobs.refused.len() as u64),
    };
    let outcome = driver.run(GIVE_UP);
    let done = driver.jobs;
    let took = started.elapsed();
    bar.finish_and_clear();
    let refused: Vec<(usize, String)> =
        done.refused.iter().map(|(job, why)| (jobs.number(*job), why.clone())).collect();
    name(&refused);
    let sum = summary(&done, bad.len(), took);
    // With --json standard output has the answers and nothing else.
    let printed = if args.json { writeln!(io::stderr(), "{sum}") } else { writeln!(io::stdout(), "{sum}") };
    if let Err(error) = outcome {
        eprintln!("error: {error}");
        return ExitCode::from(exit::FAILURE);
    }
    let fine = done.refused.is_empty() && printed.is_ok();
    ExitCode::from(if fine { exit::OK } else { exit::FAILURE })
}

/// Names lines on standard error, the first of many.
fn name(lines: &[(usize, String)]) {
    for (number, what) in lines.iter().take(NAMED) {
        eprintln!("line {number}: {}", printable(what));
    }
    if lines.len() > NAMED {
        eprintln!("... and {} more", lines.len() - NAMED);
    }
}

/// `10000 accepted in 0.31 s (32258/s), 0 refused`.
fn summary(jobs: &Pipeline, bad: usize, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    // An instant is no rate.
    let rate = jobs.accepted as f64 / seconds.max(1e-6);
    let mut text =
        format!("{} accepted in {seconds:.2} s ({rate:.0}/s), {} refused", jobs.accepted, jobs.refused.len());
    if jobs.known > 0 {
        text += &format!(", {} were known by their keys", jobs.known);
    }
    if bad > 0 {
        text += &format!(", {bad} bad lines left out");
    }
    text
}

fn progress(total: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::new(total as u64).with_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn style() -> Result<ProgressStyle, TemplateError> {
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Where it cannot be drawn there is nothing to be told.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    };
    Ok(ProgressStyle::with_template("{bar:30} {human_pos}/{human_len}  {rate}  {eta} left")?.with_key("rate", rate))
}

/// A connection over which jobs of a file go, each known by its place.
trait Pipe {
    /// Sends these, over a new connection if none stands.
    fn send(&mut self, jobs: &[usize]) -> Result<(), AskError>;
    /// The answers that have come, at least one, each with the place of its job if it has one.
    fn receive(&mut self, deadline: Instant) -> Result<Vec<(Option<usize>, Message)>, AskError>;
    /// With whom.
    fn address(&self) -> &Address;
}

/// The connection to a node.
struct TcpPipe<'a> {
    client: Client,
    jobs: &'a Jobs,
    bytes: Vec<u8>,
    /// Whether the answers are printed as they come.
    show: bool,
}

impl TcpPipe<'_> {
    fn new<'a>(address: &Address, patience: Duration, jobs: &'a Jobs, show: bool) -> TcpPipe<'a> {
        TcpPipe { client: Client::new(address.clone(), patience), jobs, bytes: Vec::new(), show }
    }

    fn answer(&mut self, deadline: Instant) -> Result<(Option<usize>, Message), AskError> {
        let address = self.client.address().clone();
        let line = self.client.next_line(Some(deadline))?.ok_or_else(|| ClientError::Closed(address.clone()))?;
        if self.show {
            // Who reads our output may have enough of it; the jobs are submitted all the same.
            let _: io::Result<()> = writeln!(io::stdout(), "{line}");
        }
        let message = wire::decode(line.as_bytes())
            .map_err(|_| AskError::Strange(address, printable(&line.chars().take(200).collect::<String>())))?;
        let place = message.id.as_ref().and_then(|id| self.jobs.place(id));
        Ok((place, message))
    }
}

impl Pipe for TcpPipe<'_> {
    fn send(&mut self, jobs: &[usize]) -> Result<(), AskError> {
        self.bytes.clear();
        for job in jobs {
            self.bytes.extend_from_slice(self.jobs.line(*job));
        }
        let sent = self.client.send_bytes(&self.bytes);
        sent.map_err(|error| {
            self.client.hang_up();
            error.into()
        })
    }

    fn receive(&mut self, deadline: Instant) -> Result<Vec<(Option<usize>, Message)>, AskError> {
        let mut answers = Vec::new();
        loop {
            match self.answer(deadline) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    self.client.hang_up();
                    return Err(error);
                }
            }
            if !self.client.has_line() {
                return Ok(answers);
            }
        }
    }

    fn address(&self) -> &Address {
        self.client.address()
    }
}

/// Drives a pipeline over a pipe.
struct Driver<'a> {
    jobs: Pipeline,
    pipe: &'a mut dyn Pipe,
    /// How long an answer may take.
    patience: Duration,
    pause: &'a mut dyn FnMut(Duration),
    progress: &'a mut dyn FnMut(&Pipeline),
}

impl Driver<'_> {
    /// Runs until every job has its fate. Fails where the first connection cannot be made, or where the other side is
    /// no node that takes jobs; what was accepted before stays so.
    fn run(&mut self, give_up: Duration) -> Result<(), AskError> {
        let mut connected = false;
        let mut last_accepted = Instant::now();
        while !self.jobs.is_done() {
            let before = self.jobs.accepted;
            match self.turn() {
                Ok(()) => connected = true,
                Err(error) if error.is_lost() || (connected && error.is_unreachable()) => {
                    connected = true;
                    self.jobs.lost(error.to_string());
                }
                Err(AskError::Client(error @ ClientError::NoAnswer(..))) => self.jobs.lost(error.to_string()),
                Err(error) => return Err(error),
            }
            if self.jobs.accepted > before {
                last_accepted = Instant::now();
            }
            (self.progress)(&self.jobs);
            if last_accepted.elapsed() >= give_up && !self.jobs.is_done() {
                self.jobs.give_up();
            }
            if let Some(pause) = self.jobs.pause() {
                (self.pause)(pause);
            }
        }
        Ok(())
    }

    /// Sends what may be sent, and takes the answers that come.
    fn turn(&mut self) -> Result<(), AskError> {
        let jobs = self.jobs.take();
        if !jobs.is_empty() {
            self.pipe.send(&jobs)?;
        }
        if !self.jobs.is_waiting() {
            return Ok(());
        }
        for (place, message) in self.pipe.receive(Instant::now() + self.patience)? {
            match (place, message.body) {
                (Some(job), body) => self.jobs.settle(job, fate(self.pipe.address(), body)),
                // About the connection, not about a job: no room, or it stops.
                (None, Body::Error(error)) if error.retry => {
                    self.jobs.lost(refusal(self.pipe.address(), &error));
                }
                (None, Body::Error(error)) => return Err(AskError::Refused(self.pipe.address().clone(), *error)),
                (None, _) => {}
            }
        }
        Ok(())
    }
}

/// What an answer means for its job.
fn fate(address: &Address, body: Body) -> Fate {
    match body {
        Body::JobAnswer(answer) => Fate::Accepted { known: answer.duplicate },
        Body::Error(error) => {
            let later = matches!(
                error.code,
                ErrorCode::QueueFull
                    | ErrorCode::StoreFailed
                    | ErrorCode::StoreSlow
                    | ErrorCode::Busy
                    | ErrorCode::Stopping
            );
            let why = refusal(address, &error);
            if later { Fate::Later(why) } else { Fate::Refused(why) }
        }
        _ => Fate::Refused(format!("{address} answered something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::conclude::tests::job;
    use super::*;
    use crate::wire::{ErrorAnswer, JobAnswer, JobStatus, JobTask};
    use std::collections::{BTreeSet, VecDeque};

    /// What a scripted node does with one batch of jobs.
    #[derive(Clone, Copy)]
    enum Act {
        /// Takes all.
        Take,
        /// Takes this many, then its queue is full.
        TakeFew(usize),
        /// Takes all and closes before it answers.
        TakeAndClose,
        /// Nobody listens.
        Away,
        /// Answers nothing.
        Silence,
        /// Refuses every job for good.
        Refuse,
        /// Has no room for the connection.
        Busy,
    }

    /// A node that knows jobs by their places, as by keys.
    struct Scripted {
        address: Address,
        acts: VecDeque<Act>,
        act: Act,
        sent: Vec<usize>,
        has: BTreeSet<usize>,
    }

    impl Scripted {
        fn new(acts: &[Act]) -> Scripted {
            let address = "a:1".parse().unwrap();
            Scripted {
                address,
                acts: acts.iter().copied().collect(),
                act: Act::Take,
                sent: Vec::new(),
                has: BTreeSet::new(),
            }
        }
    }

    fn plain(body: Body) -> Message {
        Message::plain(body)
    }

    fn error(code: ErrorCode) -> Message {
        plain(Body::Error(Box::new(ErrorAnswer::new("SUBMIT", code, "no"))))
    }

    impl Pipe for Scripted {
        fn send(&mut self, jobs: &[usize]) -> Result<(), AskError> {
            self.act = self.acts.pop_front().unwrap_or(Act::Take);
            if matches!(self.act, Act::Away) {
                return Err(ClientError::NobodyListens(self.address.clone()).into());
            }
            self.sent = jobs.to_vec();
            Ok(())
        }

        fn receive(&mut self, _: Instant) -> Result<Vec<(Option<usize>, Message)>, AskError> {
            let few = match self.act {
                Act::TakeFew(few) => few,
                Act::Silence => return Err(ClientError::NoAnswer(self.address.clone(), Duration::ZERO).into()),
                Act::Busy => return Ok(vec![(None, error(ErrorCode::Busy))]),
                Act::Refuse => 0,
                _ => usize::MAX,
            };
            let mut answers = Vec::new();
            for (n, place) in std::mem::take(&mut self.sent).into_iter().enumerate() {
                let message = if n < few {
                    let duplicate = !self.has.insert(place);
                    let job = job(JobStatus::Queued);
                    plain(Body::JobAnswer(Box::new(JobAnswer { task: JobTask::Submit, duplicate, job })))
                } else if matches!(self.act, Act::Refuse) {
                    error(ErrorCode::NotAMaster)
                } else {
                    error(ErrorCode::QueueFull)
                };
                answers.push((Some(place), message));
            }
            match self.act {
                Act::TakeAndClose => Err(ClientError::Closed(self.address.clone()).into()),
                _ => Ok(answers),
            }
        }

        fn address(&self) -> &Address {
            &self.address
        }
    }

    fn drive(total: usize, acts: &[Act], give_up: Duration) -> (Result<(), AskError>, Pipeline, Scripted, usize) {
        let mut pipe = Scripted::new(acts);
        let mut pauses = 0;
        let mut driver = Driver {
            jobs: Pipeline::new(total),
            pipe: &mut pipe,
            patience: Duration::from_secs(20),
            pause: &mut |_| pauses += 1,
            progress: &mut |_| {},
        };
        let outcome = driver.run(give_up);
        let jobs = driver.jobs;
        (outcome, jobs, pipe, pauses)
    }

    #[test]
    fn every_job_arrives_through_full_queues_and_lost_connections() {
        let acts = [
            Act::Take,
            Act::TakeFew(10),
            Act::TakeAndClose,
            Act::Away,
            Act::Away,
            Act::Silence,
            Act::Busy,
            Act::TakeFew(0),
        ];
        let (outcome, jobs, pipe, pauses) = drive(5000, &acts, GIVE_UP);
        outcome.unwrap();
        assert_eq!((jobs.accepted, jobs.known, jobs.refused.len(), pipe.has.len()), (5000, 0, 0, 5000));
        assert!(pauses >= 6, "{pauses}");
    }

    #[test]
    fn a_node_that_was_never_there_ends_it_at_once() {
        let (outcome, jobs, ..) = drive(10, &[Act::Away], GIVE_UP);
        assert!(outcome.unwrap_err().is_unreachable());
        assert_eq!(jobs.accepted, 0);
    }

    #[test]
    fn without_progress_the_rest_is_given_up_with_the_reason() {
        let (outcome, jobs, ..) = drive(10, &[Act::TakeFew(4), Act::TakeFew(0)], Duration::ZERO);
        outcome.unwrap();
        assert_eq!(jobs.accepted + jobs.refused.len(), 10);
        assert!(jobs.refused[0].1.contains("given up: a:1 refused SUBMIT: no (QUEUE_FULL)"), "{:?}", jobs.refused);
    }

    #[test]
    fn what_is_refused_for_good_is_not_tried_again() {
        let (outcome, jobs, pipe, pauses) = drive(10, &[Act::Refuse], GIVE_UP);
        outcome.unwrap();
        assert_eq!((jobs.refused.len(), pipe.has.len(), pauses), (10, 0, 0));
    }

    #[test]
    fn the_progress_bar_has_a_template_that_is_one() {
        style().unwrap();
    }

    #[test]
    fn the_sum_tells_rate_refusals_and_what_was_known_or_left_out() {
        let mut jobs = Pipeline::new(3);
        jobs.take();
        jobs.settle(0, Fate::Accepted { known: false });
        jobs.settle(1, Fate::Refused("no".to_owned()));
        assert_eq!(summary(&jobs, 0, Duration::from_millis(500)), "1 accepted in 0.50 s (2/s), 1 refused");
        jobs.settle(2, Fate::Accepted { known: true });
        let text = summary(&jobs, 4, Duration::from_millis(500));
        assert_eq!(text, "2 accepted in 0.50 s (4/s), 1 refused, 1 were known by their keys, 4 bad lines left out");
    }
}
