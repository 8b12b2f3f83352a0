//! What workers and masters say to each other, in native form.

use crate::wire::{
    Attempt, JobOrder, JobStop, MAX_LINE_BYTES, NativeWorker, RequestId, ServerId, ServiceName, ServiceOffer,
    StatusAck, WorkerAlive, WorkerStatus, WorkerView, WorkerWelcome, WorkersAnswer,
};

use super::object::{Object, push_text};

/// Longest list of `SERVICES` that one node tells, in bytes: most have some hundred. The rest of a heartbeat, and the
/// `JOBS` of a worker, stand on the same line.
const SERVICES_BYTES: usize = 24 * 1024;

/// What is left for the end of a line after its last list: the twins of a universal ALIVE, at their longest.
const END: usize = 1024;

/// An order to do a job.
pub(super) fn order(order: &JobOrder, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).constant("TASK", "JOB").id(id).attempt(&order.attempt).mark("CALL", order.call);
    line.service(&order.service, &order.method)
        .json("PARAMS", &order.params)
        .millis("TIMEOUT_MS", order.timeout)
        .mark("OUTPUT", order.output)
        .end();
}

/// What became of an attempt, or of a query.
pub(super) fn worker_status(status: &WorkerStatus, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).word("STATUS", if status.ok { "OK" } else { "NOK" });
    let line = line.word("TASK", if status.attempt.is_some() { "JOB" } else { "QUERY" });
    let mut line = line.id(id).worker_uuid(status.worker.as_ref());
    if let Some(attempt) = &status.attempt {
        line = line.attempt(attempt);
    }
    if !status.retry {
        line = line.flag("RETRY", false);
    }
    if let Some(result) = &status.result {
        line = line.json("RESULT", result);
    }
    match &status.detail {
        Some(detail) => line.sentence("DETAIL", detail).end(),
        None => line.end(),
    }
}

/// That a STATUS is taken.
pub(super) fn ack(ack: &StatusAck, id: Option<&RequestId>, out: &mut Vec<u8>) {
    let line = Object::begin(out).constant("STATUS", "ACK").id(id).worker_uuid(ack.worker.as_ref());
    match &ack.attempt {
        Some(attempt) => line.attempt(attempt).end(),
        None => line.end(),
    }
}

impl<'o> Object<'o> {
    /// `SERVICES`, left out where there are none.
    pub(in crate::wire) fn offers(self, offers: &[ServiceOffer]) -> Object<'o> {
        if offers.is_empty() {
            return self;
        }
        let room = self.length() + SERVICES_BYTES;
        self.list("SERVICES", room, offers, push_offer).0
    }

    fn attempts(self, key: &str, attempts: &[Attempt]) -> Object<'o> {
        self.list(key, MAX_LINE_BYTES - END, attempts, |attempt, out| {
            push_text(out, &format!("{}/{}", attempt.job_id, attempt.attempt));
        })
        .0
    }

    #[inline(always)]
    fn attempt(self, attempt: &Attempt) -> Object<'o> {
        self.text("JOB_ID", attempt.job_id.as_str()).number("ATTEMPT", u64::from(attempt.attempt))
    }

    #[inline(always)]
    pub(in crate::wire) fn worker_uuid(self, worker: Option<&ServerId>) -> Object<'o> {
        self.maybe("WORKER_UUID", worker.map(|id| id.as_str()))
    }

    /// `WORKER` `ALIVE` with all that the message holds.
    pub(in crate::wire) fn worker_alive(self, alive: &WorkerAlive) -> Object<'o> {
        let line = self.worker_uuid(Some(&alive.worker)).maybe("SERVER_UUID", alive.owner.as_deref());
        match &alive.native {
            Some(native) => line.native_worker(native),
            None => line.listens(alive, "WORKER_HOST", "WORKER_PORT"),
        }
    }

    /// Where a worker that is not native listens.
    pub(in crate::wire) fn listens(self, alive: &WorkerAlive, host: &str, port: &str) -> Object<'o> {
        match &alive.listens {
            Some(listens) if alive.native.is_none() => {
                let name = listens.host.as_ref().map(|host| host.to_string());
                self.maybe(host, name.as_deref()).number(port, u64::from(listens.port))
            }
            _ => self,
        }
    }

    /// What only native workers say. `WAIT`: the answer may come when there is work.
    fn native_worker(self, native: &NativeWorker) -> Object<'o> {
        let line = self.text("NAME", &native.name).number("SLOTS", u64::from(native.slots)).flag("WAIT", true);
        let line = line.obeys(native).offers(&native.services);
        if native.jobs.is_empty() { line } else { line.attempts("JOBS", &native.jobs) }
    }

    pub(super) fn welcome(self, welcome: &WorkerWelcome) -> Object<'o> {
        let line = self
            .text("SERVER_ID", welcome.server_id.as_str())
            .text("NAME", &welcome.name)
            .millis("TIMEOUT_MS", welcome.timeout);
        let line = match &welcome.terms {
            Some(terms) => line.terms(terms),
            None => line,
        };
        let failover: Vec<String> = welcome.failover.iter().map(|address| address.to_string()).collect();
        let line = line.texts("FAILOVER", failover.iter().map(String::as_str));
        line.attempts("DROP", &welcome.drop)
    }

    pub(super) fn stop(self, stop: &JobStop) -> Object<'o> {
        self.attempt(&stop.attempt).sentence("REASON", &stop.reason)
    }

    pub(super) fn workers(self, answer: &WorkersAnswer) -> Object<'o> {
        let line = self.text("SERVER_ID", answer.server_id.as_str());
        line.page("WORKERS", &answer.workers, answer.more, |entry, worker| entry.worker(worker))
    }

    fn worker(self, worker: &WorkerView) -> Object<'o> {
        self.text("WORKER_UUID", worker.worker.as_str())
            .text("NAME", &worker.name)
            .text("STATUS", worker.status.as_str())
            .flag("NATIVE", worker.native)
            .maybe("OWNER", worker.owner.as_deref())
            .number("SLOTS", u64::from(worker.slots))
            .number("RUNNING", u64::from(worker.running))
            .number("DONE", worker.done)
            .number("FAILED", worker.failed)
            .texts("SERVICES", worker.services.iter().map(ServiceName::as_str))
            .millis("LAST_SEEN_MS", worker.last_seen)
            .text("REASON", &worker.reason)
    }
}

/// A service that somebody offers: its name alone where it has any method.
fn push_offer(offer: &ServiceOffer, out: &mut Vec<u8>) {
    if offer.methods.is_empty() && offer.idempotent.is_empty() {
        return push_text(out, offer.name.as_str());
    }
    let mut object = Object::begin(out).text("NAME", offer.name.as_str());
    for (key, names) in [("METHODS", &offer.methods), ("IDEMPOTENT", &offer.idempotent)] {
        if !names.is_empty() {
            object = object.texts(key, names.iter().map(ServiceName::as_str));
        }
    }
    object.close();
}
