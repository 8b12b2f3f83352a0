//! `node elect`: a command that runs on one machine of a cluster at a time, under a named lease.
//!
//! ```text
//!   node elect ── LEASE ACQUIRE, RENEW, TICK, RELEASE ──> any master
//!       │   │ machine     what is decided: (input, now) -> outputs        asks       which node is asked what
//!       │   │ runner      carries it out: threads, clock, signals         limits     the arithmetic of stopping
//!       │                                                                 timetable  which tick is due
//!       │ socket: good until .., pass this signal, stop
//!       v
//!   guard ── stops the tree in time when nothing comes from above         guard      decides; keeper carries out
//!       │                                                                 lines      what the two say
//!       v
//!   command, started through `trampoline`, which makes it die with the guard
//! ```
//!
//! Three processes, so that each can be killed, stopped or hung without the command outliving its lease: without `node elect` the guard
//! stops the command, without the guard `node elect` does (and the system kills the command's first process), and without both the
//! system kills that one.
//!
//! The tree of the command is what [`crate::service`] says it is. Processes that have left it (a session of their own, no parent) are
//! found by their environment, and if they have wiped that too, by the guard, which adopts them: when the guard itself is killed, these
//! last ones escape. Other Unixes find less: see there.

#[cfg(unix)]
mod alarm;
#[cfg(unix)]
mod asks;
#[cfg(unix)]
mod guard;
#[cfg(unix)]
mod keeper;
#[cfg(unix)]
mod limits;
#[cfg(unix)]
mod lines;
#[cfg(unix)]
mod machine;
#[cfg(unix)]
mod program;
#[cfg(unix)]
mod runner;
#[cfg(all(test, unix))]
mod tests;
#[cfg(unix)]
mod timetable;
#[cfg(unix)]
mod trampoline;

use std::ffi::OsString;
#[cfg(unix)]
use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::exit;
use super::values::{Label, Span};
use crate::wire::{Address, LEASE_TTL};
#[cfg(unix)]
pub(super) use trampoline::die_with;

/// Longest interval of a timetable.
const LONGEST_EVERY: Duration = Duration::from_secs(366 * 86_400);

/// Options of `node elect`.
#[derive(Args, Debug)]
#[command(after_long_help = HELP)]
pub(super) struct ElectArgs {
    /// Name of the lease, 1 to 64 bytes: of all who name the same one, one runs its command
    #[arg(value_name = "NAME")]
    name: Label,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<OsString>,

    /// A master to ask; repeat it, or separate several by commas or spaces, for those to ask when it is gone. The other members of its
    /// group are asked too
    #[arg(long, env = "NODE_TO", value_name = "HOST:PORT", default_value = "127.0.0.1:9101")]
    to: Vec<Masters>,

    /// How long the lease lasts without a renewal, 1 s to 1 h: so long it takes, at most, until another one takes over from a machine that
    /// is gone
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_ttl)]
    ttl: Span,

    /// Time between TERM and KILL when the lease is lost, at most a quarter of --ttl [default: a tenth of --ttl]
    #[arg(long, value_name = "SECONDS")]
    grace: Option<Span>,

    /// Run the command once every so many seconds, at one of all machines, in whole seconds from 1 s to a year
    #[arg(long, value_name = "SECONDS", value_parser = parse_every)]
    every: Option<Span>,

    /// With --every: what to do about runs that nobody started in time; several missed ones are run as one
    #[arg(long, value_name = "WHAT", default_value = "run", requires = "every")]
    missed: Missed,

    /// How long to wait for a connection
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    patience: Span,
}

const HELP: &str = "\
Examples:
  node elect backup -- ./backup.sh             on each of several machines: one of
                                               them runs it, the others wait
  node elect web --to a:9101,b:9101 --ttl 5s -- ./server
  node elect report --every 1h -- ./report.sh  a timetable for the whole cluster

The command gets the environment, standard input and outputs, and signals (INT,
TERM, HUP, QUIT, USR1, USR2) of this process, which ends with its exit code, or
128 and the number of the signal that killed it; 127: no such command, 126: it
is no program. When it ends, what it left running is ended too, the lease is
released, and the next one waiting runs its own.
  MUTIRAO_LEASE    name of the lease
  MUTIRAO_FENCE    the fencing number of this grant, larger with each
  MUTIRAO_HOLDER   who holds it: host, process and a random word
  MUTIRAO_TICK     with --every: when this run was due, in seconds since 1970

When the lease cannot be renewed (this machine is cut off, the majority of the
masters is gone), the command and all that it started get TERM when 65 % of the
TTL have passed since the last renewal was sent, KILL at 75 %, and are gone at
80 %; nobody else gets the lease before 100 %. Then this process waits for the
lease again. A guard process of its own does that even if this one is killed or
stopped. Elections of masters restart nothing; with a TTL below 3 s a slow one
can.

No process can stop itself while its machine is suspended or its clock stands
still: it may wake up, and write, when another one already holds the lease. The
fencing number is the guarantee. Give it to whatever the command changes, and
let that refuse a number smaller than one it has seen:
  UPDATE state SET fence = :fence, value = :value WHERE fence <= :fence

With --every, a run is claimed in the masters' ledger before it is started, so
that it is started once or not at all, whoever fails. Runs are due at multiples
of the interval since 1970 by the clock of whoever holds the lease: one whose
clock is ahead runs early, and the next holder waits until its own clock has
passed what was claimed. A command that fails is reported, and the timetable
goes on; TERM or INT ends it after the command that runs.";

/// `--to`: masters, separated by commas or blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Masters(Vec<Address>);

impl FromStr for Masters {
    type Err = String;

    fn from_str(text: &str) -> Result<Masters, String> {
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        let masters: Vec<Address> =
            words.map(|word| word.parse().map_err(|error| format!("{error}"))).collect::<Result<_, String>>()?;
        if masters.is_empty() { Err("expected HOST:PORT, or several".to_owned()) } else { Ok(Masters(masters)) }
    }
}

/// `--missed`: what is done about ticks that nobody ran, because nobody held the lease or the command took longer than the interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
enum Missed {
    /// Run it once, at once
    Run,
    /// Leave it out
    Skip,
}

fn parse_ttl(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    let (least, most) = LEASE_TTL;
    if (least..=most).contains(&span.0) { Ok(span) } else { Err(format!("{span}: expected 1 s to 1 h")) }
}

fn parse_every(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    let whole = span.0.subsec_nanos() == 0 && (Duration::from_secs(1)..=LONGEST_EVERY).contains(&span.0);
    if whole { Ok(span) } else { Err(format!("{span}: expected whole seconds, 1 s to a year")) }
}

/// Runs the command whenever the lease is held here.
pub(super) fn run(args: &ElectArgs) -> ExitCode {
    #[cfg(unix)]
    {
        let grace = args.grace.map_or_else(|| limits::default_grace(args.ttl.0), |grace| grace.0);
        let longest = limits::longest_grace(args.ttl.0);
        if grace > longest {
            eprintln!("error: --grace {}: expected at most a quarter of --ttl, {}", Span(grace), Span(longest));
            return ExitCode::from(exit::USAGE);
        }
        runner::run(args, grace)
    }
    #[cfg(not(unix))]
    {
        eprintln!(
            "error: node elect needs a Unix system, which can signal a command and end all that it started; here, a program can hold a \
             lease itself: see LEASE in protocol.md"
        );
        ExitCode::from(exit::FAILURE)
    }
}

/// The processes that this program starts as itself, of which nobody should know: the guard and the trampoline. They are no
/// subcommands, so that neither help nor completions nor the man page have them.
pub(super) fn inner(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let _program = args.next();
    let first = args.next()?;
    #[cfg(unix)]
    {
        if first == keeper::WORD {
            return Some(keeper::run(args));
        }
        if first == trampoline::WORD {
            return Some(trampoline::run(args));
        }
    }
    let _ = first;
    None
}

/// What is wanted.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Plan {
    /// Name of the lease.
    name: String,
    /// How long it lasts without a renewal.
    ttl: Duration,
    /// Time between TERM and KILL.
    grace: Duration,
    /// The begin of the holder's name: of this process and no other.
    holder: String,
    /// A timetable: the interval in seconds, and what is done about missed ticks.
    every: Option<(u64, Missed)>,
}

/// Now, by both clocks.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Moment {
    /// By the one that counts suspension: for leases.
    at: crate::time::Time,
    /// Since 1970, by the clock of the wall: for the phase of a timetable only.
    unix: Duration,
}

/// What happens to a candidate.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
enum Input {
    /// Time has passed.
    Wake,
    /// A question was answered, or will not be. Told once for each.
    Answered {
        /// Its number.
        ask: u64,
        /// What came.
        answer: Answer,
    },
    /// A signal came.
    Signal {
        /// Its number.
        signal: i32,
        /// Whether the command has got it as well, from the terminal.
        delivered: bool,
    },
    /// Everything that a run started is gone. Told once for each.
    Ended {
        /// Its number.
        run: u64,
        /// Why.
        end: End,
    },
}

/// What came of a question.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// The lease as it stands.
    Lease(crate::wire::Lease),
    /// Where the members of the group can be asked.
    Members(Vec<Address>),
    /// The node refused, and said why.
    Refused(crate::wire::ErrorCode, String),
    /// Nothing that helps, and why.
    Nothing(String),
}

/// Why a run has ended.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// By itself, or by a signal that was passed on or came from elsewhere.
    Itself(Exit),
    /// The guard stopped it: its time was over, or it was told to.
    Stopped,
    /// The guard died, and what was left was stopped by its end.
    GuardLost,
    /// It was never started, and why.
    NotStarted(String),
}

/// How a process ended.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Exit {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

#[cfg(unix)]
impl Exit {
    /// The code with which a shell tells it.
    fn code(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

#[cfg(unix)]
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

/// What a candidate wants done.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
enum Output {
    /// Ask a node, and tell [`Input::Answered`].
    Ask(asks::Question),
    /// Start the command under a guard, and tell [`Input::Ended`].
    Start {
        /// Its number.
        run: u64,
        /// The fencing number.
        fence: u64,
        /// The holder's name.
        holder: String,
        /// The tick that it is run for.
        tick: Option<u64>,
        /// When the guard stops it, if nothing else is said.
        limits: limits::Limits,
    },
    /// It may run on, until these.
    Extend(limits::Limits),
    /// Pass a signal on to the command.
    Pass(i32),
    /// Stop the tree: TERM now, KILL then.
    Stop {
        /// When what is left is killed.
        kill_at: crate::time::Time,
    },
    /// The guard should have stopped it and has not said so: kill it and all below it.
    Kill,
    /// Say this to the user.
    Say(String),
    /// End with this code. Nothing comes after it.
    Exit(u8),
}
