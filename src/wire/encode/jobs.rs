//! What is said about jobs and calls.

use crate::wire::{
    Call, CallAnswer, Instance, JobAnswer, JobOutput, JobRef, JobTask, JobView, JobsAnswer, JobsQuery, MAX_LINE_BYTES,
    Redirect, RequestId, ResultQuery, ServerId, ServiceName, Submit,
};

use super::object::Object;

/// How a task is used: one sentence, and a line to type.
fn usage(task: JobTask) -> (&'static str, &'static str) {
    match task {
        JobTask::Submit => (
            "SUBMIT gives a job to this master: SERVICE and METHOD say what, PARAMS with what; PRIORITY, DELAY_MS, \
             TIMEOUT_MS, ATTEMPTS, KEY, WAIT_MS, OUTPUT and FOLLOW may be added.",
            r#"{"TASK":"SUBMIT","SERVICE":"sleep.run","PARAMS":{"ms":100},"WAIT_MS":5000}"#,
        ),
        JobTask::Result => (
            "RESULT tells what became of the job with a JOB_ID or a KEY; WAIT_MS makes it wait for the end, and OUTPUT \
             shows what the work prints until then.",
            r#"{"TASK":"RESULT","JOB_ID":"3fa9c1d2-7-42","WAIT_MS":5000}"#,
        ),
        JobTask::Cancel => (
            "CANCEL ends the job with a JOB_ID or a KEY, and stops it where it runs.",
            r#"{"TASK":"CANCEL","JOB_ID":"3fa9c1d2-7-42"}"#,
        ),
        JobTask::Bury => (
            "BURY puts the job with a JOB_ID or a KEY, which waits, aside until it is kicked.",
            r#"{"TASK":"BURY","JOB_ID":"3fa9c1d2-7-42"}"#,
        ),
        JobTask::Kick => (
            "KICK queues the buried job with a JOB_ID or a KEY again, with all its attempts.",
            r#"{"TASK":"KICK","JOB_ID":"3fa9c1d2-7-42"}"#,
        ),
    }
}

/// What became of a job.
pub(super) fn job_answer(answer: &JobAnswer, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).word("TASK", answer.task.as_str()).constant("RESPONSE", "OK").id(id);
    line.mark("DUPLICATE", answer.duplicate).job(&answer.job).end();
}

impl<'o> Object<'o> {
    pub(super) fn usage(self, task: JobTask) -> Object<'o> {
        let (usage, example) = usage(task);
        self.text("USAGE", usage).text("EXAMPLE", example)
    }

    #[inline(always)]
    pub(super) fn service(self, service: &ServiceName, method: &ServiceName) -> Object<'o> {
        self.word("SERVICE", service.as_str()).word("METHOD", method.as_str())
    }

    pub(super) fn submit(self, submit: &Submit) -> Object<'o> {
        let mut line = self
            .service(&submit.service, &submit.method)
            .json("PARAMS", &submit.params)
            .number("PRIORITY", u64::from(submit.priority));
        if !submit.delay.is_zero() {
            line = line.millis("DELAY_MS", submit.delay);
        }
        line = line.maybe_millis("TIMEOUT_MS", submit.timeout);
        if let Some(attempts) = submit.attempts {
            line = line.number("ATTEMPTS", u64::from(attempts));
        }
        line.maybe("KEY", submit.key.as_deref())
            .maybe_millis("WAIT_MS", submit.wait)
            .mark("OUTPUT", submit.output)
            .mark("FOLLOW", submit.follow)
            .hops(submit.hops)
    }

    /// `HOPS`, left out where there are none.
    pub(super) fn hops(self, hops: u32) -> Object<'o> {
        if hops == 0 { self } else { self.number("HOPS", u64::from(hops)) }
    }

    pub(super) fn job_ref(self, job: &JobRef) -> Object<'o> {
        match job {
            JobRef::Id(id) => self.text("JOB_ID", id.as_str()),
            JobRef::Key(key) => self.text("KEY", key),
        }
    }

    pub(super) fn result_query(self, query: &ResultQuery) -> Object<'o> {
        self.job_ref(&query.job).maybe_millis("WAIT_MS", query.wait).mark("OUTPUT", query.output)
    }

    fn job(self, job: &JobView) -> Object<'o> {
        let mut line = self
            .text("JOB_ID", job.job_id.as_str())
            .word("STATUS", job.status.as_str())
            .maybe("SERVICE", job.service.as_ref().map(ServiceName::as_str))
            .maybe("METHOD", job.method.as_ref().map(ServiceName::as_str))
            .number("ATTEMPT", u64::from(job.attempt))
            .maybe_millis("AGE_MS", job.age)
            .maybe("WORKER_UUID", job.worker.as_ref().map(ServerId::as_str));
        if let Some(result) = &job.result {
            line = line.json("RESULT", result);
        }
        match &job.reason {
            Some(reason) => line.sentence("REASON", reason),
            None => line,
        }
    }

    pub(super) fn job_output(self, output: &JobOutput) -> Object<'o> {
        self.text("EVENT", "OUTPUT")
            .text("JOB_ID", output.job_id.as_str())
            .number("ATTEMPT", u64::from(output.attempt))
            .text("STREAM", output.stream.as_str())
            .sentence("DATA", &output.data)
    }

    pub(super) fn jobs_query(self, query: &JobsQuery) -> Object<'o> {
        self.mark("LIST", query.list)
            .maybe("STATUS", query.status.map(|status| status.as_str()))
            .maybe("SERVICE", query.service.as_ref().map(ServiceName::as_str))
            .maybe("AFTER", query.after.as_ref().map(|id| id.as_str()))
    }

    pub(super) fn jobs_answer(self, answer: &JobsAnswer) -> Object<'o> {
        let counts = &answer.counts;
        let line = self
            .number("DELAYED", counts.delayed)
            .number("QUEUED", counts.queued)
            .number("RUNNING", counts.running)
            .number("OK", counts.ok)
            .number("NOK", counts.nok)
            .number("CANCELLED", counts.cancelled)
            .number("BURIED", counts.buried)
            .number("BYTES", answer.bytes)
            .maybe_millis("OLDEST_MS", answer.oldest)
            .number("MAX_JOBS", answer.max_jobs)
            .number("MAX_BYTES", answer.max_bytes)
            .text("DURABILITY", answer.durability.as_str())
            .maybe("DISK", answer.disk.as_deref());
        match &answer.jobs {
            Some(jobs) => line.page("JOBS", jobs, answer.more, |entry, job| entry.job(job)),
            None => line,
        }
    }

    pub(super) fn call(self, call: &Call) -> Object<'o> {
        self.service(&call.service, &call.method)
            .json("PARAMS", &call.params)
            .millis("TIMEOUT_MS", call.timeout)
            .hops(call.hops)
    }

    pub(super) fn call_answer(self, answer: &CallAnswer) -> Object<'o> {
        self.text("SERVED_BY", answer.served_by.as_str()).json("RESULT", &answer.result)
    }

    pub(super) fn calls_answer(self, server_id: &ServerId, instances: &[Instance]) -> Object<'o> {
        // Two bytes for what ends the list and the line.
        self.text("SERVER_ID", server_id.as_str())
            .list("INSTANCES", MAX_LINE_BYTES - 2, instances, |instance, out| {
                Object::begin(out).instance(instance).close()
            })
            .0
    }

    fn instance(self, instance: &Instance) -> Object<'o> {
        self.text("SERVER_ID", instance.server_id.as_str())
            .text("NAME", &instance.name)
            .text("WHERE", instance.place.as_str())
            .offers(&instance.services)
    }

    pub(super) fn redirect(self, redirect: &Redirect) -> Object<'o> {
        self.address("TARGET", &redirect.target)
            .number("HOPS", u64::from(redirect.hops))
            .sentence("REASON", &redirect.reason)
    }
}
