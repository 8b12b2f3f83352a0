//! Lines that are no answers: tasks, with exact errors, and what workers say.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::fields::{Fields, Key};
use crate::wire::parts::Fault;
use crate::wire::{
    Address, Attempt, Body, Call, DEFAULT_CALL, DEFAULT_PRIORITY, ErrorCode, Heartbeat, JobId, JobOrder, JobRef,
    JobStatus, JobStop, JobTask, JobsQuery, Json, MAX_ATTEMPTS, MAX_CALL, MAX_DELAY, MAX_JSON_BYTES, MAX_PRIORITY,
    MAX_WAIT, Message, NodesQuery, RequestId, ResultQuery, ServerId, ServiceName, Submit, is_valid_name,
};

use super::{
    ADDRESS_FORM, ID_FORM, NAME_FORM, Shape, Undecoded, cycle, envelope, group, leases, loans, older, presence, quote,
    refuse, server_id, why,
};

/// The tasks that exist, as an unknown one is told.
pub(super) const TASKS: &str = "HEARTBEAT, HELLO, NODES, LOAD, EVENTS, LEAVE, SUBMIT, RESULT, CANCEL, BURY, KICK, \
                                JOBS, CALL, REDIRECT, WORKERS, QUERY, ELECT, AGREE, MEMBERS, SETTINGS, LEASE, LOANS, WHY";

const TASK_FORM: &str = "the name of a task, such as \"HEARTBEAT\"";
const SERVICE_FORM: &str =
    "the name of a service, 1 to 64 letters, digits, `_` and `-`, or of a service and its method, \"service.method\"";
const METHOD_FORM: &str = "the name of a method, 1 to 64 letters, digits, `_` and `-`";
const JOB_FORM: &str = "the id of a job, such as \"3fa9c1d2-7-42\"";
const FLAG_FORM: &str = "true or false";
const STATUS_FORM: &str = "one of DELAYED, QUEUED, RUNNING, OK, NOK, CANCELLED, BURIED";

/// A line that is no answer: a request, a line of a worker, or nothing that is known here.
pub(super) struct Request<'f, 'a> {
    pub(super) fields: &'f Fields<'a>,
    /// The line itself.
    pub(super) text: &'a str,
    /// Its `ID`, if it has a valid one.
    pub(super) id: Option<RequestId>,
    /// Who reported on this link before.
    pub(super) worker: Option<&'f ServerId>,
}

impl Request<'_, '_> {
    pub(super) fn read(self) -> Result<(Message, Shape), Undecoded> {
        if let Some(key) = self.fields.duplicate {
            if self.is_envelope() && self.fields.is_absent(Key::Task) {
                return Err(Undecoded::Ignored);
            }
            return Err(self.refuse(ErrorCode::BadJson, format!("`{}` stands twice in the line", key.as_str())));
        }
        let task = self.fields.text(Key::Task);
        if task.is_none()
            && let Some(kind) = envelope::kind(self.fields)
        {
            return envelope::read(kind, self.text, self.fields).map_err(|_| Undecoded::Ignored);
        }
        // Whatever else it carries, a heartbeat is answered.
        if task == Some("HEARTBEAT") {
            let (heartbeat, shape) = self.heartbeat();
            return Ok((Message { id: self.id, body: Body::Heartbeat(heartbeat) }, shape));
        }
        let (body, shape) = match task {
            Some(task) => self.task(task)?,
            None => self.without_task()?,
        };
        if self.id.is_none() && !self.fields.is_absent(Key::Id) {
            return Err(self.bad(Key::Id, "a string of at most 128 bytes"));
        }
        Ok((Message { id: self.id, body }, shape))
    }

    fn task(&self, task: &str) -> Result<(Body, Shape), Undecoded> {
        let body = match task {
            "HELLO" if self.is_bare() => Body::Hello,
            "HELLO" => self.group(group::hello)?,
            "NODES" => Body::Nodes(Box::new(self.nodes()?)),
            "LOAD" => Body::Load,
            "EVENTS" => Body::Events,
            "LEAVE" => Body::Leave { server_id: self.leaver()? },
            "SUBMIT" | "RESULT" | "CANCEL" | "BURY" | "KICK" => self.job(task)?,
            "JOBS" => Body::Jobs(Box::new(self.jobs()?)),
            "CALL" if self.is_bare() => Body::Calls,
            "CALL" => Body::Call(Box::new(self.call()?)),
            "REDIRECT" if self.fields.has_unknown => return self.older(older::Kind::Redirect),
            "REDIRECT" => Body::WhereTo { hops: self.hops()? },
            "WORKERS" => Body::Workers { after: self.optional(Key::After, ServerId::new, ID_FORM)? },
            "ELECT" => self.group(group::elect)?,
            "AGREE" => self.group(group::agree)?,
            "MEMBERS" => self.group(group::members)?,
            "SETTINGS" => self.group(leases::settings)?,
            "LEASE" => self.group(leases::lease)?,
            "LOANS" => self.group(loans::loans)?,
            "WHY" => self.group(why::why)?,
            _ => return self.cycle(task, Shape::Upper),
        };
        Ok((body, Shape::Plain))
    }

    /// What masters of a group say has fields of its own, and a pass of its own.
    fn group(&self, read: impl FnOnce(&str) -> Result<Body, Fault>) -> Result<Body, Undecoded> {
        read(self.text).map_err(|fault| self.refuse(fault.code, fault.detail))
    }

    /// A task of the worker cycle, or of nobody.
    fn cycle(&self, task: &str, shape: Shape) -> Result<(Body, Shape), Undecoded> {
        let is = |word: &str| word.eq_ignore_ascii_case(task);
        if cycle::is_status(self.fields) {
            return cycle::worker_status(self.text, self.fields, self.worker).ok_or(Undecoded::Ignored);
        }
        if cycle::is_alive(self.fields) {
            return cycle::alive(self.fields).ok_or(Undecoded::Ignored);
        }
        Ok(match task {
            "JOB" => (Body::Job(Arc::new(self.order()?)), Shape::Native),
            "STOP" => (Body::JobStop(Box::new(self.stop()?)), Shape::Native),
            _ if is("QUERY") => (Body::Query { user: self.user()? }, shape),
            _ if is("REQUEST") => (Body::TaskRequest { worker: cycle::worker(self.fields) }, shape),
            _ if is("KEEPALIVE") => (Body::KeepAlive, shape),
            unknown => {
                if let Some(kind) = older::of_task(unknown) {
                    return self.older(kind);
                }
                let detail = format!("there is no task `{}` here; the tasks are {TASKS}", quote(unknown));
                return Err(self.refuse(ErrorCode::UnknownTask, detail));
            }
        })
    }

    /// A line without TASK: of a worker, in lower case, an envelope, or none.
    fn without_task(&self) -> Result<(Body, Shape), Undecoded> {
        if cycle::is_status(self.fields) {
            return cycle::worker_status(self.text, self.fields, self.worker).ok_or(Undecoded::Ignored);
        }
        if cycle::is_alive(self.fields) {
            return cycle::alive(self.fields).ok_or(Undecoded::Ignored);
        }
        match self.fields.text(Key::LowerTask) {
            Some("heartbeat") => {
                let sender = server_id(self.fields, Key::LowerServerUuid);
                return Ok((Body::Heartbeat(Heartbeat { sender, presence: None }), Shape::Lower));
            }
            Some(task @ ("query" | "request" | "keepalive")) => return self.cycle(task, Shape::Lower),
            Some(task) if self.fields.is_absent(Key::Task) => {
                if let Some(kind) = older::of_lower_task(task, self.fields) {
                    return self.older(kind);
                }
            }
            _ => {}
        }
        if self.is_envelope() {
            return Err(Undecoded::Ignored);
        }
        match self.fields.is_absent(Key::Task) {
            true => Err(self.missing(Key::Task, TASK_FORM)),
            false => Err(self.bad(Key::Task, TASK_FORM)),
        }
    }

    /// Whether the line belongs to a conversation that this node takes no part in: between workers and masters,
    /// or in `type` envelopes.
    fn is_envelope(&self) -> bool {
        [Key::Type, Key::UpperType, Key::Worker, Key::LowerWorker, Key::Status]
            .iter()
            .any(|key| !self.fields.is_absent(*key))
    }

    /// Whether it is as short as a person types a task to see what it does.
    fn is_bare(&self) -> bool {
        self.fields.has_only(&[Key::Task, Key::Id])
    }

    fn heartbeat(&self) -> (Heartbeat, Shape) {
        let presence = presence(self.fields);
        let uuid = server_id(self.fields, Key::ServerUuid);
        let lone = if presence.is_none() { server_id(self.fields, Key::ServerId) } else { None };
        let shape = match (&presence, &uuid, &lone) {
            (Some(_), _, _) => Shape::Native,
            (None, Some(_), _) => Shape::Uuid,
            (None, None, Some(_)) => Shape::Id,
            (None, None, None) => Shape::Plain,
        };
        (Heartbeat { sender: uuid.or(lone), presence }, shape)
    }

    fn nodes(&self) -> Result<NodesQuery, Undecoded> {
        let name = |text: &str| is_valid_name(text).then(|| text.to_owned());
        Ok(NodesQuery {
            server_id: self.optional(Key::ServerId, ServerId::new, ID_FORM)?,
            address: self.optional(Key::Address, |text| text.parse::<Address>().ok(), ADDRESS_FORM)?,
            name: self.optional(Key::Name, name, NAME_FORM)?,
            after: self.optional(Key::After, |text| Some(text.to_owned()), "a string, the `KEY` of an entry")?,
        })
    }

    fn leaver(&self) -> Result<ServerId, Undecoded> {
        self.required(Key::ServerId, |text| ServerId::new(text), ID_FORM)
    }

    /// SUBMIT, RESULT, CANCEL, BURY and KICK.
    fn job(&self, task: &str) -> Result<Body, Undecoded> {
        let job_task = JobTask::parse(task).unwrap_or(JobTask::Submit);
        if self.is_bare() {
            return Ok(Body::Usage(job_task));
        }
        Ok(match job_task {
            JobTask::Submit => Body::Submit(Box::new(self.submit()?)),
            JobTask::Result => Body::Result(Box::new(ResultQuery {
                job: self.job_ref()?,
                wait: self.wait()?,
                output: self.flag(Key::Output)?,
            })),
            JobTask::Cancel => Body::Cancel(self.job_ref()?),
            JobTask::Bury => Body::Bury(self.job_ref()?),
            JobTask::Kick => Body::Kick(self.job_ref()?),
        })
    }

    fn submit(&self) -> Result<Submit, Undecoded> {
        let (service, method) = self.service_and_method()?;
        let priority = self.whole(Key::Priority, 0..=u64::from(MAX_PRIORITY))?;
        let attempts = self.whole(Key::Attempts, 1..=u64::from(MAX_ATTEMPTS))?;
        Ok(Submit {
            service,
            method,
            params: self.json(Key::Params)?.unwrap_or_else(Json::null),
            priority: priority.and_then(|priority| u8::try_from(priority).ok()).unwrap_or(DEFAULT_PRIORITY),
            delay: self.millis(Key::DelayMs, Duration::ZERO..=MAX_DELAY)?.unwrap_or_default(),
            timeout: self.millis(Key::TimeoutMs, Duration::from_millis(1)..=MAX_WAIT)?,
            attempts: attempts.and_then(|attempts| u32::try_from(attempts).ok()),
            key: self.optional(Key::Dedup, key, ID_FORM)?,
            wait: self.wait()?,
            output: self.flag(Key::Output)?,
            follow: self.flag(Key::Follow)?,
            hops: self.hops()?,
        })
    }

    fn job_ref(&self) -> Result<JobRef, Undecoded> {
        if let Some(id) = self.optional(Key::JobId, JobId::new, JOB_FORM)? {
            return Ok(JobRef::Id(id));
        }
        let key = self.optional(Key::Dedup, key, ID_FORM)?;
        key.map(JobRef::Key)
            .ok_or_else(|| self.missing(Key::JobId, &format!("{JOB_FORM}, or `KEY`, with which the job was submitted")))
    }

    fn jobs(&self) -> Result<JobsQuery, Undecoded> {
        let status = self.optional(Key::Status, JobStatus::parse, STATUS_FORM)?;
        let service = self.optional(Key::Service, ServiceName::new, SERVICE_FORM)?;
        let after = self.optional(Key::After, JobId::new, JOB_FORM)?;
        let list = self.flag(Key::List)? || status.is_some() || service.is_some() || after.is_some();
        Ok(JobsQuery { list, status, service, after })
    }

    fn call(&self) -> Result<Call, Undecoded> {
        let (service, method) = self.service_and_method()?;
        Ok(Call {
            service,
            method,
            params: self.json(Key::Params)?.unwrap_or_else(Json::null),
            timeout: self.millis(Key::TimeoutMs, Duration::from_millis(1)..=MAX_CALL)?.unwrap_or(DEFAULT_CALL),
            hops: self.hops()?,
        })
    }

    /// What a foreign master says. With other fields, a REDIRECT is its order to a worker, and no question.
    fn older(&self, kind: older::Kind) -> Result<(Body, Shape), Undecoded> {
        older::read(kind, self.text, self.fields).map_err(|_| Undecoded::Ignored)
    }

    fn order(&self) -> Result<JobOrder, Undecoded> {
        let (service, method) = self.service_and_method()?;
        let timeout = self.millis(Key::TimeoutMs, Duration::ZERO..=Duration::from_millis(u64::MAX))?;
        Ok(JobOrder {
            attempt: self.attempt()?,
            call: self.flag(Key::Call)?,
            service,
            method,
            params: self.json(Key::Params)?.unwrap_or_else(Json::null),
            timeout: timeout.ok_or_else(|| self.missing(Key::TimeoutMs, "a whole number of milliseconds"))?,
            output: self.flag(Key::Output)?,
        })
    }

    fn stop(&self) -> Result<JobStop, Undecoded> {
        let reason = self.fields.text(Key::Reason).unwrap_or_default().to_owned();
        Ok(JobStop { attempt: self.attempt()?, reason })
    }

    fn attempt(&self) -> Result<Attempt, Undecoded> {
        let job_id = self.required(Key::JobId, |text| JobId::new(text), JOB_FORM)?;
        let attempt = self.whole(Key::Attempt, 0..=u64::from(u32::MAX))?;
        let attempt = attempt.and_then(|attempt| u32::try_from(attempt).ok());
        Ok(Attempt { job_id, attempt: attempt.ok_or_else(|| self.missing(Key::Attempt, "a whole number"))? })
    }

    /// `USER`, whatever it is.
    fn user(&self) -> Result<Json, Undecoded> {
        match self.json(Key::User)? {
            Some(user) => Ok(user),
            None => self.json(Key::LowerUser)?.ok_or_else(|| self.missing(Key::User, "any JSON value")),
        }
    }

    /// `SERVICE` and `METHOD`, or both in `SERVICE`.
    fn service_and_method(&self) -> Result<(ServiceName, ServiceName), Undecoded> {
        let method = self.optional(Key::Method, ServiceName::new, METHOD_FORM)?;
        let parse = |text: &str| match (text.split_once('.'), &method) {
            (Some((service, method)), None) => Some((ServiceName::new(service)?, ServiceName::new(method)?)),
            (_, method) => Some((ServiceName::new(text)?, method.clone().unwrap_or_else(ServiceName::run))),
        };
        self.required(Key::Service, parse, SERVICE_FORM)
    }

    /// `WAIT_MS`, or `WAIT`, which is as long as can be.
    fn wait(&self) -> Result<Option<Duration>, Undecoded> {
        let wait = self.flag(Key::Wait)?.then_some(MAX_WAIT);
        Ok(self.millis(Key::WaitMs, Duration::ZERO..=MAX_WAIT)?.or(wait))
    }

    fn hops(&self) -> Result<u32, Undecoded> {
        let hops = self.whole(Key::Hops, 0..=u64::from(u32::MAX))?;
        Ok(hops.and_then(|hops| u32::try_from(hops).ok()).unwrap_or_default())
    }

    fn required<T>(&self, key: Key, parse: impl FnOnce(&str) -> Option<T>, expected: &str) -> Result<T, Undecoded> {
        self.optional(key, parse, expected)?.ok_or_else(|| self.missing(key, expected))
    }

    fn optional<'s, T>(
        &'s self,
        key: Key,
        parse: impl FnOnce(&'s str) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, Undecoded> {
        if self.fields.is_absent(key) {
            return Ok(None);
        }
        match self.fields.text(key).and_then(parse) {
            Some(value) => Ok(Some(value)),
            None => Err(self.bad(key, expected)),
        }
    }

    /// `false` where it is not there.
    fn flag(&self, key: Key) -> Result<bool, Undecoded> {
        match self.fields.flag(key) {
            Some(flag) => Ok(flag),
            None if self.fields.is_absent(key) => Ok(false),
            None => Err(self.bad(key, FLAG_FORM)),
        }
    }

    fn whole(&self, key: Key, range: RangeInclusive<u64>) -> Result<Option<u64>, Undecoded> {
        self.number(key, range, "a whole number")
    }

    fn millis(&self, key: Key, range: RangeInclusive<Duration>) -> Result<Option<Duration>, Undecoded> {
        let millis = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let number = self.number(key, millis(range.start())..=millis(range.end()), "a whole number of milliseconds")?;
        Ok(number.map(Duration::from_millis))
    }

    fn number(&self, key: Key, range: RangeInclusive<u64>, what: &str) -> Result<Option<u64>, Undecoded> {
        match self.fields.whole(key) {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            None if self.fields.is_absent(key) => Ok(None),
            _ => Err(self.bad(key, &format!("{what} from {} to {}", range.start(), range.end()))),
        }
    }

    fn json(&self, key: Key) -> Result<Option<Json>, Undecoded> {
        match self.fields.raw(key) {
            Some(raw) if raw.len() > MAX_JSON_BYTES => {
                let detail = format!("`{}` has {} bytes; expected at most {MAX_JSON_BYTES}", key.as_str(), raw.len());
                Err(self.refuse(ErrorCode::BadField, detail))
            }
            raw => Ok(raw.map(Json::trusted)),
        }
    }

    fn missing(&self, key: Key, expected: &str) -> Undecoded {
        self.refuse(ErrorCode::MissingField, format!("`{}` is missing; expected {expected}", key.as_str()))
    }

    fn bad(&self, key: Key, expected: &str) -> Undecoded {
        let found = match (self.fields.text(key), self.fields.whole(key)) {
            (Some(text), _) => Cow::Owned(format!("\"{}\"", quote(text))),
            // Where a number was expected, its value is what is wrong.
            (_, Some(number)) if expected.starts_with("a whole number") => Cow::Owned(number.to_string()),
            _ => Cow::Borrowed(self.fields.kind(key)),
        };
        self.refuse(ErrorCode::BadField, format!("`{}` is {found}; expected {expected}", key.as_str()))
    }

    fn refuse(&self, code: ErrorCode, detail: String) -> Undecoded {
        let task = quote(self.fields.text(Key::Task).unwrap_or_default());
        refuse(task, self.id.clone(), code, detail)
    }
}

/// A `KEY` of a job.
pub(super) fn key(text: &str) -> Option<String> {
    ServerId::new(text).map(|key| key.as_str().to_owned())
}
