//! From a line to a message, or to the error answer that it deserves, or to nothing.
//!
//! Requests, heartbeats and the cycle of workers are read from one flat pass over the line ([`Fields`]). The answers
//! of native nodes, which are rare and nested, take a second, typed pass (`answers`).
//!
//! - `jobs`: the two lines of which a busy master reads most, without that pass.
//! - `request`: tasks, with exact errors.
//! - `ignored`: why a line that deserves no answer is ignored, for the log.
//! - `group`, `leases`, `loans`: what masters of a group say, and those who lend, with as exact errors.
//! - `envelope`, `older`: what foreign masters say of loans, in 2026/1 and 2025/2, and native ones in the form of the first; `loose`: how
//!   their fields are found. No error answers it.
//! - `cycle`: what workers and masters say to each other, in either letter case. Most of it is no task, and then no
//!   error answers it.

mod cycle;
mod envelope;
pub(super) mod group;
mod ignored;
mod jobs;
mod leases;
pub(super) mod loans;
mod loose;
mod older;
mod request;
#[cfg(test)]
mod tests;
mod why;

use super::answers;
use super::dialect::gen2026_1::is_answer_type;
use super::fields::{Fields, Key};
use super::{
    Body, ErrorAnswer, ErrorCode, GroupId, GroupPresence, HeartbeatAnswer, JobTask, LoadReport, MAX_ID_BYTES,
    MAX_NAME_BYTES, MAX_TERM, Message, Presence, RequestId, Role, ServerId, is_valid_name,
};

pub(super) use ignored::{refusal, why_ignored, wrong_answer};
use request::Request;

/// What ids and names must be, as an error answer says it.
pub(super) const ID_FORM: &str = "a string of 1 to 128 bytes without control characters";
const NAME_FORM: &str = "a string of 1 to 64 bytes without control characters";
pub(super) const ADDRESS_FORM: &str = "a string host:port, such as \"127.0.0.1:9102\" or \"[::1]:9102\"";
const _: () = assert!(MAX_ID_BYTES == 128 && MAX_NAME_BYTES == 64, "the words of the error answers say so");

/// Longest piece of a line that an error answer quotes, in characters.
const QUOTE_CHARS: usize = 80;

/// What became of a line that is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecoded {
    /// It deserves this error answer, whose body is [`Body::Error`].
    Refused(Box<Message>),
    /// It deserves no answer: it is an answer itself, an envelope of a `type` that is not known here, or a malformed
    /// line of a worker.
    Ignored,
}

/// How the speaker of a heartbeat, of its answer, or of a line of the worker cycle showed who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It did not, or this is neither.
    Plain,
    /// A heartbeat with `SERVER_ID` alone.
    Id,
    /// A heartbeat with `SERVER_UUID`.
    Uuid,
    /// A heartbeat with a whole [`Presence`]; of a worker, `SLOTS` or `JOB_ID`.
    Native,
    /// A line of the worker cycle with the official upper-case keys.
    Upper,
    /// The family that writes everything in lower case.
    Lower,
    /// An envelope of 2026/1: `type`, `request_id`, `payload`.
    Envelope,
    /// The same in upper case.
    UpperEnvelope,
    /// A line about loans of 2025/2.
    Older,
    /// The same of an older draft.
    Draft,
    /// A line about loans of 2025/2, in lower case.
    LowerOlder,
    /// The same of an older draft.
    LowerDraft,
}

/// Reads one line, given without its `\n`.
pub fn decode(line: &[u8]) -> Result<Message, Undecoded> {
    read(line).map(|(message, _)| message)
}

/// Reads one line, and tells how its speaker showed who it is.
pub(super) fn read(line: &[u8]) -> Result<(Message, Shape), Undecoded> {
    read_from(line, None)
}

/// The same of a line of a link on which this worker has reported before: where it reports again, its id is that one, and not
/// another copy.
pub(super) fn read_from(line: &[u8], worker: Option<&ServerId>) -> Result<(Message, Shape), Undecoded> {
    // The parser does not look into what it skips, so this comes first, for the whole line.
    let text = str::from_utf8(line).map_err(|error| {
        refuse("", None, ErrorCode::BadJson, format!("the line is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    match jobs::read(text, worker) {
        Some(found) => Ok(found),
        None => read_generally(text, worker),
    }
}

/// The same of any line.
fn read_generally(text: &str, worker: Option<&ServerId>) -> Result<(Message, Shape), Undecoded> {
    let mut fields = Fields::new();
    (fields.read(text))
        .map_err(|error| refuse("", None, ErrorCode::BadJson, format!("the line is not JSON: {error}")))?;
    if fields.not_an_object {
        let detail = "the line is JSON but not an object; expected {\"TASK\":...}";
        return Err(refuse("", None, ErrorCode::NotAnObject, detail));
    }
    let id = fields.text(Key::Id).and_then(RequestId::new);
    if is_answer(&fields) {
        if let Some(kind) = envelope::kind(&fields) {
            return envelope::read(kind, text, &fields).map_err(|_| Undecoded::Ignored);
        }
        let (body, shape) =
            if fields.duplicate.is_some() { None } else { answer(text, &fields) }.ok_or(Undecoded::Ignored)?;
        return Ok((Message { id: id.or_else(|| mark(&fields, &body)), body }, shape));
    }
    Request { fields: &fields, text, id, worker }.read()
}

/// Whether a line is itself an answer, which no error ever answers.
fn is_answer(fields: &Fields) -> bool {
    let answer_type = |key: Key| fields.text(key).is_some_and(is_answer_type);
    !fields.is_absent(Key::Response)
        || !fields.is_absent(Key::LowerResponse)
        || cycle::is_answer(fields)
        || answer_type(Key::Type)
        || answer_type(Key::UpperType)
        || (!fields.is_absent(Key::Event) && matches!(fields.text(Key::Task), Some("EVENTS" | "RESULT")))
}

/// The mark of the envelope that an `ACK` answers.
fn mark(fields: &Fields, body: &Body) -> Option<RequestId> {
    let mark = matches!(body, Body::StatusAck(_)).then(|| cycle::id_text(fields, Key::Mark, Key::UpperMark));
    mark.flatten().and_then(RequestId::new)
}

/// The body of an answer, if it is one that somebody here could have asked for.
fn answer(text: &str, fields: &Fields) -> Option<(Body, Shape)> {
    let Some(response) = fields.text(Key::Response) else {
        return match fields.text(Key::Task) {
            Some(task) if cycle::is_worker_response(task) => {
                older::read(older::Kind::WorkerResponse, text, fields).ok()
            }
            _ if fields.stands(Key::Response) => None,
            // The loans of 2025/2 in lower case; all else that answers so is nothing that this node has asked.
            _ if fields.stands(Key::LowerResponse) => {
                older::read(older::of_response(fields.text(Key::LowerResponse)?)?, text, fields).ok()
            }
            None if fields.text(Key::LowerTask).is_some_and(cycle::is_worker_response) => {
                older::read(older::Kind::WorkerResponse, text, fields).ok()
            }
            Some("EVENTS") if !fields.is_absent(Key::Event) => {
                Some((Body::Event(Box::new(answers::event(text)?)), Shape::Plain))
            }
            Some("RESULT") if !fields.is_absent(Key::Event) => {
                Some((Body::JobOutput(Box::new(answers::job_output(text)?)), Shape::Plain))
            }
            _ => cycle::answer(fields),
        };
    };
    let body = match (fields.text(Key::Task), response) {
        (_, "ERROR") => Body::Error(Box::new(error_answer(fields))),
        (Some("HEARTBEAT"), "ALIVE") => return heartbeat_answer(fields),
        (Some("HELLO"), "OK") => match answers::hello(text) {
            Some(hello) => Body::HelloAnswer(Box::new(hello)),
            None => answers::proved(text)?,
        },
        (Some("ELECT"), "OK") => answers::elect(text)?,
        (Some("AGREE"), "OK") => answers::agree(text)?,
        (Some("MEMBERS"), "OK") => answers::members(text)?,
        (Some("SETTINGS"), "OK") => Body::SettingsAnswer(Box::new(answers::settings(text)?)),
        (Some("WHY"), "OK") => Body::WhyAnswer(Box::new(answers::why(text)?)),
        (Some("LOANS"), "OK") => answers::loans(text)?,
        (Some("LEASE"), "OK") => answers::leases(text)?,
        (Some("NODES"), "OK") => Body::NodesAnswer(Box::new(answers::nodes(text)?)),
        (Some("LOAD"), "OK") => Body::LoadAnswer(Box::new(answers::load(text)?)),
        (Some("EVENTS"), "OK") => Body::EventsAnswer { seq: answers::events(text)? },
        (Some("JOBS"), "OK") => Body::JobsAnswer(Box::new(answers::jobs(text)?)),
        (Some("CALL"), "OK") => answers::call(text)?,
        (Some("WORKERS"), "OK") => Body::WorkersAnswer(Box::new(answers::workers(text)?)),
        (Some("WORKER"), "OK") => {
            return Some((Body::WorkerWelcome(Box::new(answers::welcome(text)?)), Shape::Native));
        }
        (Some(task), "OK") => answers::job(JobTask::parse(task)?, text)?,
        (Some(task), "REDIRECT") => Body::Redirect(Box::new(answers::redirect(task, text)?)),
        (_, response) => return older::read(older::of_response(response)?, text, fields).ok(),
    };
    Some((body, Shape::Plain))
}

fn error_answer(fields: &Fields) -> ErrorAnswer {
    let text = |key: Key| fields.text(key).unwrap_or_default();
    let code = ErrorCode::parse(text(Key::Error));
    let retry = fields.flag(Key::Retry).unwrap_or_else(|| code.retry());
    ErrorAnswer { task: text(Key::Task).to_owned(), code, detail: text(Key::Detail).to_owned(), retry }
}

fn heartbeat_answer(fields: &Fields) -> Option<(Body, Shape)> {
    let presence = presence(fields);
    let uuid = server_id(fields, Key::ServerUuid);
    let shape = match (&presence, &uuid) {
        (Some(_), _) => Shape::Native,
        (None, Some(_)) => Shape::Uuid,
        (None, None) => Shape::Id,
    };
    let server_id = server_id(fields, Key::ServerId).or(uuid)?;
    Some((Body::HeartbeatAnswer(HeartbeatAnswer { server_id, presence }), shape))
}

/// Who a native node is; `None` unless all of it is there and valid. Its load may be missing: it counts as none.
fn presence(fields: &Fields) -> Option<Box<Presence>> {
    let name = |key: Key| fields.text(key).filter(|text| is_valid_name(text)).map(str::to_owned);
    let share = |key: Key| fields.number(key).and_then(answers::permille).unwrap_or_default();
    let count = |key: Key| fields.whole(key).unwrap_or_default();
    Some(Box::new(Presence {
        server_id: server_id(fields, Key::ServerId)?,
        name: name(Key::Name)?,
        address: fields.text(Key::Address)?.parse().ok()?,
        role: Role::parse(fields.text(Key::Role)?)?,
        group: name(Key::Group)?,
        group_presence: group_presence(fields),
        load: LoadReport {
            cpu: share(Key::Cpu),
            memory: share(Key::Memory),
            pending: count(Key::Pending),
            running: count(Key::Running),
            workers: count(Key::Workers),
            saturated: fields.flag(Key::Saturated).unwrap_or_default(),
        },
        services: fields.raw(Key::Services).map(answers::offers).unwrap_or_default(),
    }))
}

/// How it stands in its group. What is not valid counts as not said.
fn group_presence(fields: &Fields) -> GroupPresence {
    let count = |key: Key| fields.whole(key).filter(|count| *count <= MAX_TERM).unwrap_or_default();
    GroupPresence {
        group_id: fields.text(Key::GroupId).and_then(GroupId::new),
        term: count(Key::Term),
        leader: server_id(fields, Key::Leader),
        founder: server_id(fields, Key::Founder),
        sees: count(Key::Sees),
    }
}

fn server_id(fields: &Fields, key: Key) -> Option<ServerId> {
    fields.text(key).and_then(ServerId::new)
}

fn refuse(task: &str, id: Option<RequestId>, code: ErrorCode, detail: impl Into<String>) -> Undecoded {
    let body = Body::Error(Box::new(ErrorAnswer::new(task, code, detail)));
    Undecoded::Refused(Box::new(Message { id, body }))
}

/// The beginning of what somebody sent, short enough for an answer.
fn quote(text: &str) -> &str {
    let end = text.char_indices().nth(QUOTE_CHARS).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
