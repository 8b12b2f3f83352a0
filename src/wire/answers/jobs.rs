//! Answers about jobs: one job, the queue, what a job prints, and redirects.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::wire::{
    Body, Durability, JobAnswer, JobCounts, JobId, JobOutput, JobStatus, JobTask, JobView, JobsAnswer, Json, Redirect,
    ServerId, ServiceName, Stream,
};

use super::valid;

/// A value that is there even where it is `null`.
pub(super) fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Job<'a> {
    #[serde(borrow)]
    job_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    service: Option<String>,
    method: Option<String>,
    attempt: Option<u32>,
    age_ms: Option<u64>,
    worker_uuid: Option<String>,
    #[serde(borrow, default, deserialize_with = "there")]
    result: Option<&'a RawValue>,
    reason: Option<String>,
    duplicate: Option<bool>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// The answer to SUBMIT, RESULT, CANCEL, BURY or KICK: a job, or how the task is used.
pub(in crate::wire) fn job(task: JobTask, text: &str) -> Option<Body> {
    let job: Job = serde_json::from_str(text).ok()?;
    if job.job_id.is_none() && job.usage.is_some() {
        return Some(Body::UsageAnswer(task));
    }
    let duplicate = job.duplicate.unwrap_or_default();
    Some(Body::JobAnswer(Box::new(JobAnswer { task, duplicate, job: view(job)? })))
}

fn view(job: Job) -> Option<JobView> {
    Some(JobView {
        job_id: JobId::new(job.job_id?)?,
        status: JobStatus::parse(&job.status?)?,
        service: valid(job.service, ServiceName::new)?,
        method: valid(job.method, ServiceName::new)?,
        attempt: job.attempt.unwrap_or_default(),
        age: job.age_ms.map(Duration::from_millis),
        worker: valid(job.worker_uuid, ServerId::new)?,
        result: job.result.map(|result| Json::trusted(result.get())),
        reason: job.reason,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Jobs<'a> {
    delayed: Option<u64>,
    queued: Option<u64>,
    running: Option<u64>,
    ok: Option<u64>,
    nok: Option<u64>,
    cancelled: Option<u64>,
    buried: Option<u64>,
    bytes: u64,
    oldest_ms: Option<u64>,
    max_jobs: u64,
    max_bytes: u64,
    #[serde(borrow)]
    durability: Cow<'a, str>,
    disk: Option<String>,
    #[serde(borrow)]
    jobs: Option<Vec<Job<'a>>>,
    more: Option<bool>,
}

/// The answer to `JOBS`.
pub(in crate::wire) fn jobs(text: &str) -> Option<JobsAnswer> {
    let answer: Jobs = serde_json::from_str(text).ok()?;
    let jobs = valid(answer.jobs, |jobs| jobs.into_iter().map(view).collect::<Option<Vec<_>>>())?;
    Some(JobsAnswer {
        counts: JobCounts {
            delayed: answer.delayed.unwrap_or_default(),
            queued: answer.queued.unwrap_or_default(),
            running: answer.running.unwrap_or_default(),
            ok: answer.ok.unwrap_or_default(),
            nok: answer.nok.unwrap_or_default(),
            cancelled: answer.cancelled.unwrap_or_default(),
            buried: answer.buried.unwrap_or_default(),
        },
        bytes: answer.bytes,
        oldest: answer.oldest_ms.map(Duration::from_millis),
        max_jobs: answer.max_jobs,
        max_bytes: answer.max_bytes,
        durability: Durability::parse(&answer.durability)?,
        disk: answer.disk,
        // Without a page there is no next one.
        more: jobs.is_some() && answer.more.unwrap_or_default(),
        jobs,
    })
}

/// What a job prints.
pub(in crate::wire) fn job_output(text: &str) -> Option<JobOutput> {
    #[derive(Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct Output<'a> {
        #[serde(borrow)]
        event: Cow<'a, str>,
        #[serde(borrow)]
        job_id: Cow<'a, str>,
        attempt: u32,
        #[serde(borrow)]
        stream: Cow<'a, str>,
        data: String,
    }
    let output: Output = serde_json::from_str(text).ok()?;
    (output.event == "OUTPUT").then_some(())?;
    let (job_id, stream) = (JobId::new(output.job_id)?, Stream::parse(&output.stream)?);
    Some(JobOutput { job_id, attempt: output.attempt, stream, data: output.data })
}

/// Where to ask instead.
pub(in crate::wire) fn redirect(task: &str, text: &str) -> Option<Redirect> {
    #[derive(Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct There<'a> {
        #[serde(borrow)]
        target: Cow<'a, str>,
        hops: Option<u32>,
        reason: Option<String>,
    }
    let there: There = serde_json::from_str(text).ok()?;
    Some(Redirect {
        task: task.to_owned(),
        target: there.target.parse().ok()?,
        hops: there.hops.unwrap_or_default(),
        reason: there.reason.unwrap_or_default(),
    })
}
