//! Services: what really runs work on this node.
//!
//! The core says what shall run ([`Run`]); an [`Executor`] runs it on threads and in processes of its own and tells a
//! [`Report`] how it ended. There are three kinds of services:
//!
//! - **Rust**: anything that implements [`Service`], such as the built-ins ([`builtins`]). They run on a pool of
//!   threads, those that are cheap (see [`Service::is_cheap`]) on the thread that asks.
//! - **Programs**: a manifest `*.toml` in [`ExecutorConfig::directory`] names a program that reads requests as lines
//!   from its standard input and writes answers as lines to its standard output. It is started with the node, watched
//!   over, started again after a crash, and stopped with the node. See [`manifest_help`].
//! - **`shell`**, only with [`ExecutorConfig::allow_exec`]: any command of the operating system.
//!
//! ```text
//!   core ── Run ──> Executor ──> pool of threads ──> Service::call     built-ins, shell
//!                      │   └───> one supervisor a program ──> its process
//!                      └── watch: deadlines, and what does not stop when it is asked to
//!   core <── Report: finished (once for each run), printed, offers
//! ```
//!
//! Every process that is started here leads a process group of its own, and its end is the end of its whole process
//! tree. When the node itself is ended by `kill -9`, nobody is left to do that: programs read the end of their
//! standard input, which tells them to end; what `shell` runs goes on until it writes to an output that nobody reads
//! any more, or ends by itself.

mod builtin;
mod context;
mod executor;
mod output;
mod pool;
mod program;
mod running;
mod runs;
mod shell;
pub(crate) mod tree;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::core::{Outcome, RunId};
use crate::wire::{Json, MAX_JSON_BYTES, ServiceOffer, Stream};

#[cfg(doc)]
use crate::core::Run;

pub use builtin::{Primes, Query, Sleep, System, builtins};
pub use context::Context;
pub use executor::Executor;
pub use program::manifest_help;

/// Something that this node can do, written in Rust.
pub trait Service: Send + Sync + 'static {
    /// Its name and its methods. Asked once, at the start.
    fn offer(&self) -> ServiceOffer;

    /// Does it. `method` is one of the offered ones. Called on several threads at a time. Work that takes longer than
    /// a second or so should look at [`Context::is_stopped`] now and then: it is true when nobody waits for the result
    /// any more. A panic counts as [`Failure::broken`] with its text.
    fn call(&self, method: &str, params: &Value, context: &Context) -> Result<Value, Failure>;

    /// Whether this method never waits and takes some microseconds at most. It then runs on the very thread that asks
    /// for it, often the node's event loop, without the two hops between threads (some 10 us) that others cost.
    fn is_cheap(&self, _method: &str) -> bool {
        false
    }
}

/// Why a service has no result.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// One sentence, for people.
    pub detail: String,
    /// What there is to say beside that, for programs.
    pub result: Option<Value>,
    /// Whether another attempt may succeed.
    pub retry: bool,
}

impl Failure {
    /// It cannot be done, and would not be the next time: the request is wrong, or the answer is no.
    pub fn refused(detail: impl Into<String>) -> Failure {
        Failure { detail: detail.into(), result: None, retry: false }
    }

    /// It was not done, and another attempt may succeed.
    pub fn broken(detail: impl Into<String>) -> Failure {
        Failure { detail: detail.into(), result: None, retry: true }
    }

    /// The same with a result that says more.
    pub fn with(mut self, result: Value) -> Failure {
        self.result = Some(result);
        self
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Outcome {
        let result = failure.result.map(|result| Json::of(&result));
        Outcome::Failed { detail: failure.detail, result, retry: failure.retry }
    }
}

/// Whom an executor tells. Called on its threads, and of cheap methods on the thread that called [`Executor::run`], so
/// that it must return soon. It must not call the executor.
pub trait Report: Send + Sync + 'static {
    /// A run has ended. Told exactly once for each.
    fn finished(&self, run: RunId, outcome: Outcome);

    /// A run that asked for it has printed something: 1 to [`crate::wire::MAX_OUTPUT_BYTES`] bytes. Never told after
    /// its end.
    fn printed(&self, run: RunId, stream: Stream, text: String);

    /// This is now what can be run here, ordered by name. Told at the start, before [`Executor::start`] returns, and
    /// on each change.
    fn offers(&self, offers: Vec<ServiceOffer>);
}

/// The settings of an executor.
pub struct ExecutorConfig {
    /// Services written in Rust. Default: [`builtins`].
    pub services: Vec<Box<dyn Service>>,
    /// `--services`: where manifests of programs lie. Default none. A directory that cannot be read at the start is an
    /// error; one that vanishes later changes nothing.
    pub directory: Option<PathBuf>,
    /// `--allow-exec`: offer `shell`, with which anybody who may submit jobs here runs anything that this user may.
    /// Default false. If unsure, false.
    pub allow_exec: bool,
    /// How many runs of Rust services and of `shell` run at a time; others wait for their turn. Default 64, range 1 to
    /// 4096. At least the slots of a worker. Threads are started when they are needed and end when they are not, so a
    /// high number costs nothing. Programs have a concurrency of their own.
    pub threads: usize,
    /// How often the directory is looked at. Default 1 s, range 10 ms to 1 h. If unsure, the default.
    pub rescan: Duration,
}

impl Default for ExecutorConfig {
    fn default() -> ExecutorConfig {
        let rescan = Duration::from_secs(1);
        ExecutorConfig { services: builtins(), directory: None, allow_exec: false, threads: 64, rescan }
    }
}

/// Time between the request to stop and the end by force, of everything that runs. The contract with the core.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A time as people say it: `2 s`, `1.5 s`, `250 ms`, `10 min`.
fn spoken(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 if !time.is_zero() => "1 ms".to_owned(),
        0..1000 => format!("{ms} ms"),
        _ if ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        _ => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    }
}

/// The outcome as it may go on the wire: results have a size limit.
fn within_limits(outcome: Outcome) -> Outcome {
    let too_long = |json: &Json| json.as_str().len() > MAX_JSON_BYTES;
    match outcome {
        Outcome::Ok(result) if too_long(&result) => {
            let bytes = result.as_str().len();
            let detail = format!("the result has {bytes} bytes; at most {MAX_JSON_BYTES} are possible");
            Outcome::Failed { detail, result: None, retry: false }
        }
        Outcome::Failed { detail, result: Some(result), retry } if too_long(&result) => {
            Outcome::Failed { detail, result: None, retry }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = |ms| spoken(Duration::from_millis(ms));
        assert_eq!(
            [said(0), said(250), said(2000), said(1550), said(600_000)],
            ["0 ms", "250 ms", "2 s", "1.5 s", "10 min"]
        );
        assert_eq!(spoken(Duration::from_micros(3)), "1 ms");
    }

    #[test]
    fn a_result_that_does_not_fit_a_line_is_a_failure_and_one_that_just_fits_is_not() {
        let of = |length| Outcome::Ok(Json::string(&"x".repeat(length - 2)));
        assert_eq!(within_limits(of(MAX_JSON_BYTES)), of(MAX_JSON_BYTES));
        let Outcome::Failed { detail, result: None, retry: false } = within_limits(of(MAX_JSON_BYTES + 1)) else {
            panic!("a result that is too long went through");
        };
        assert_eq!(detail, "the result has 61441 bytes; at most 61440 are possible");
        let failure = Outcome::from(Failure::broken("x").with(json!("y".repeat(MAX_JSON_BYTES))));
        assert_eq!(within_limits(failure), Failure::broken("x").into());
        let failure = Outcome::from(Failure::refused("x").with(json!({"EXIT": 1})));
        assert_eq!(within_limits(failure.clone()), failure);
    }
}
