//! What clients and masters say about jobs: SUBMIT, RESULT, CANCEL, BURY, KICK and JOBS.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use super::{Address, DEFAULT_PRIORITY, Json, MAX_ID_BYTES, ServerId, ServiceName};

/// The id of a job: `<master>-<boot>-<number>`, such as `3fa9c1d2-7-42`. It names the master that accepted the job:
/// the first eight characters of its id, how often it had been started, and a count. At most 128 bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(SmolStr);

impl JobId {
    /// An id, or `None` if `text` is empty, longer than 128 bytes or has blanks or control characters.
    pub fn new(text: impl AsRef<str>) -> Option<JobId> {
        let text = text.as_ref();
        let fits = !text.is_empty()
            && text.len() <= MAX_ID_BYTES
            && text.bytes().fold(true, |fits, byte| fits & byte.is_ascii_graphic());
        fits.then(|| JobId(text.into()))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `SUBMIT`: a job to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Submit {
    /// `SERVICE`: who does it.
    pub service: ServiceName,
    /// `METHOD`: what it does. Default `run`.
    pub method: ServiceName,
    /// `PARAMS`: any JSON value. Default `null`.
    pub params: Json,
    /// `PRIORITY`: 0 to 9, higher first. Default 4. One step is worth ten seconds of waiting, so that nothing starves.
    pub priority: u8,
    /// `DELAY_MS`: not before this much time has passed. Default 0, at most 30 days.
    pub delay: Duration,
    /// `TIMEOUT_MS`: how long one attempt may take. `None`: the master's default.
    pub timeout: Option<Duration>,
    /// `ATTEMPTS`: how often it is tried at most, 1 to 100. `None`: the master's default.
    pub attempts: Option<u32>,
    /// `KEY`: the same key twice is one job. 1 to 128 bytes without control characters.
    pub key: Option<String>,
    /// `WAIT_MS`: answer when the job has ended, or after this time, whichever comes first. `None`: answer when the
    /// job is accepted. At most 24 h.
    pub wait: Option<Duration>,
    /// `OUTPUT`: with `WAIT_MS`, what the work prints comes as lines before the answer.
    pub output: bool,
    /// `FOLLOW`: the asker follows a redirect to a master that is less busy.
    pub follow: bool,
    /// `HOPS`: redirects that the asker has followed.
    pub hops: u32,
}

impl Submit {
    /// A job with the defaults of every field that is not required.
    pub fn new(service: ServiceName, method: ServiceName, params: Json) -> Submit {
        Submit {
            service,
            method,
            params,
            priority: DEFAULT_PRIORITY,
            delay: Duration::ZERO,
            timeout: None,
            attempts: None,
            key: None,
            wait: None,
            output: false,
            follow: false,
            hops: 0,
        }
    }
}

/// Which job is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JobRef {
    /// `JOB_ID`.
    Id(JobId),
    /// `KEY` with which it was submitted.
    Key(String),
}

/// `RESULT`: what became of a job?
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResultQuery {
    /// Which job.
    pub job: JobRef,
    /// `WAIT_MS`: answer when the job has ended, or after this time. `None`: answer now.
    pub wait: Option<Duration>,
    /// `OUTPUT`: with `WAIT_MS`, what the work prints from now on comes as lines before the answer.
    pub output: bool,
}

/// The requests that are about one job, and that share their answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobTask {
    /// `SUBMIT`.
    Submit,
    /// `RESULT`.
    Result,
    /// `CANCEL`.
    Cancel,
    /// `BURY`.
    Bury,
    /// `KICK`.
    Kick,
}

impl JobTask {
    /// Every one, in the order of this enum.
    pub const ALL: [JobTask; 5] = [JobTask::Submit, JobTask::Result, JobTask::Cancel, JobTask::Bury, JobTask::Kick];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobTask::Submit => "SUBMIT",
            JobTask::Result => "RESULT",
            JobTask::Cancel => "CANCEL",
            JobTask::Bury => "BURY",
            JobTask::Kick => "KICK",
        }
    }

    /// The task of a word on the wire.
    pub fn parse(text: &str) -> Option<JobTask> {
        JobTask::ALL.into_iter().find(|task| task.as_str() == text)
    }
}

/// How far a job has come.
///
/// ```text
///   SUBMIT ─> DELAYED ─> QUEUED ─> RUNNING ─> OK, NOK
///                ^                   │ failed or lost: again, after a pause
///                └───────────────────┤
///                  KICK  <─ BURIED <─┘ after the last attempt         CANCEL from anywhere before the end: CANCELLED
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobStatus {
    /// It waits for its time: `DELAY_MS`, or the pause after a failed attempt.
    Delayed,
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// It was done, and has a result.
    Ok,
    /// The work answered that it cannot be done, and that trying again would not help.
    Nok,
    /// Somebody cancelled it.
    Cancelled,
    /// Its attempts are used up, or somebody buried it. It stays until it is kicked or cancelled, or is too old.
    Buried,
}

impl JobStatus {
    /// Every one, in the order of this enum.
    pub const ALL: [JobStatus; 7] = [
        JobStatus::Delayed,
        JobStatus::Queued,
        JobStatus::Running,
        JobStatus::Ok,
        JobStatus::Nok,
        JobStatus::Cancelled,
        JobStatus::Buried,
    ];

    /// The word on the wire, such as `QUEUED`.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobStatus::Delayed => "DELAYED",
            JobStatus::Queued => "QUEUED",
            JobStatus::Running => "RUNNING",
            JobStatus::Ok => "OK",
            JobStatus::Nok => "NOK",
            JobStatus::Cancelled => "CANCELLED",
            JobStatus::Buried => "BURIED",
        }
    }

    /// The status of a word on the wire.
    pub fn parse(text: &str) -> Option<JobStatus> {
        JobStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether nothing more happens to it by itself.
    pub const fn is_ended(self) -> bool {
        matches!(self, JobStatus::Ok | JobStatus::Nok | JobStatus::Cancelled | JobStatus::Buried)
    }
}

/// One job as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobView {
    /// `JOB_ID`.
    pub job_id: JobId,
    /// `STATUS`.
    pub status: JobStatus,
    /// `SERVICE`. Left out of answers about one job that the asker has just named.
    pub service: Option<ServiceName>,
    /// `METHOD`; there when `SERVICE` is.
    pub method: Option<ServiceName>,
    /// `ATTEMPT`: attempts that were begun; 0 before the first.
    pub attempt: u32,
    /// `AGE_MS`: milliseconds since it was accepted. In listings only.
    pub age: Option<Duration>,
    /// `WORKER_UUID`: the worker that runs it or finished it.
    pub worker: Option<ServerId>,
    /// `RESULT`, for OK, and for NOK where the work gave one.
    pub result: Option<Json>,
    /// `REASON`: one sentence on why it has this status: why it waits, why it failed. Left out for OK.
    pub reason: Option<String>,
}

/// The answer to SUBMIT, RESULT, CANCEL, BURY and KICK.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobAnswer {
    /// `TASK` that it answers.
    pub task: JobTask,
    /// `DUPLICATE`, with SUBMIT: the key was known, this is the job that has it. Left out where false.
    pub duplicate: bool,
    /// The job.
    pub job: JobView,
}

/// A stream of what the work prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output. `stdout`.
    Out,
    /// Standard error. `stderr`.
    Err,
}

impl Stream {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        }
    }

    /// The stream of a word on the wire.
    pub fn parse(text: &str) -> Option<Stream> {
        [Stream::Out, Stream::Err].into_iter().find(|stream| stream.as_str() == text)
    }
}

/// `{"TASK":"RESULT","EVENT":"OUTPUT",...}`: what the work of a job printed. From a worker to its master, and from there to those that wait
/// with `OUTPUT`. Nobody answers. Output is best effort: what is printed while a link is cut is lost, the result is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobOutput {
    /// `JOB_ID`.
    pub job_id: JobId,
    /// `ATTEMPT` that printed it.
    pub attempt: u32,
    /// `STREAM`.
    pub stream: Stream,
    /// `DATA`: the text, at most [`super::MAX_OUTPUT_BYTES`]; bytes that are not UTF-8 are replaced.
    pub data: String,
}

/// `JOBS`: the queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct JobsQuery {
    /// `LIST`: the jobs themselves, too. Set by any of the next fields as well.
    pub list: bool,
    /// `STATUS`: only those.
    pub status: Option<JobStatus>,
    /// `SERVICE`: only those.
    pub service: Option<ServiceName>,
    /// `AFTER`: those after this job, for the next page.
    pub after: Option<JobId>,
}

/// How many jobs there are of each status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct JobCounts {
    /// `DELAYED`.
    pub delayed: u64,
    /// `QUEUED`.
    pub queued: u64,
    /// `RUNNING`.
    pub running: u64,
    /// `OK` that are kept.
    pub ok: u64,
    /// `NOK` that are kept.
    pub nok: u64,
    /// `CANCELLED` that are kept.
    pub cancelled: u64,
    /// `BURIED` that are kept.
    pub buried: u64,
}

/// The answer to `JOBS`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobsAnswer {
    /// Jobs by status.
    pub counts: JobCounts,
    /// `BYTES` of the jobs and results that are held.
    pub bytes: u64,
    /// `OLDEST_MS`: age of the oldest that is QUEUED. Left out where none is.
    pub oldest: Option<Duration>,
    /// `MAX_JOBS`: how many may wait or run.
    pub max_jobs: u64,
    /// `MAX_BYTES`: how many bytes all may hold.
    pub max_bytes: u64,
    /// `DURABILITY`: `fsync`, `os` or `memory`.
    pub durability: Durability,
    /// `DISK`: what is wrong with it, one sentence. Left out where nothing is.
    pub disk: Option<String>,
    /// `JOBS`: a page, in the order in which they were accepted. `None` where none was asked for.
    pub jobs: Option<Vec<JobView>>,
    /// `MORE`: ask again with `AFTER` the last `JOB_ID`. There when `JOBS` is.
    pub more: bool,
}

/// When a job counts as accepted. `--durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Durability {
    /// When the disk has it: it survives a power cut. `fsync`.
    #[default]
    Fsync,
    /// When the operating system has it: it survives a crash of the process. `os`.
    Os,
    /// At once: it survives nothing. `memory`.
    Memory,
}

impl Durability {
    /// The word on the command line and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Os => "os",
            Durability::Memory => "memory",
        }
    }

    /// The durability of a word.
    pub fn parse(text: &str) -> Option<Durability> {
        [Durability::Fsync, Durability::Os, Durability::Memory].into_iter().find(|word| word.as_str() == text)
    }
}

/// `RESPONSE` `REDIRECT`: ask there instead. The asker follows, counting `HOPS`; nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Redirect {
    /// `TASK` that it answers: `CALL`, `SUBMIT` or `REDIRECT`.
    pub task: String,
    /// `TARGET`: whom to ask.
    pub target: Address,
    /// `HOPS`: to be sent with the next request.
    pub hops: u32,
    /// `REASON`: one sentence.
    pub reason: String,
}
