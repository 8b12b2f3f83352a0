//! The cycle of workers: official keys, and their lower-case twins of one family. Values in either letter case.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::wire::answers::{attempts, offers};
use crate::wire::fields::{Fields, Key};
use crate::wire::parts::epoch;
use crate::wire::{
    Attempt, Body, JobId, Json, Listens, LoanId, MAX_JSON_BYTES, MAX_SLOTS, NativeWorker, ServerId, StatusAck,
    WorkerAlive, WorkerStatus, is_valid_name,
};

use super::Shape;

/// Keys of a STATUS that are not part of the work's result.
const STATUS_KEYS: [Key; 16] = [
    Key::Status,
    Key::Task,
    Key::Id,
    Key::Worker,
    Key::WorkerUuid,
    Key::ServerUuid,
    Key::Result,
    Key::Detail,
    Key::Retry,
    Key::LowerStatus,
    Key::LowerTask,
    Key::LowerWorker,
    Key::LowerWorkerUuid,
    Key::LowerServerUuid,
    Key::Mark,
    Key::UpperMark,
];

/// A text under either of two keys, and the letter case of the one that it was found under.
fn either<'f>(fields: &'f Fields, upper: Key, lower: Key) -> Option<(&'f str, Shape)> {
    match fields.text(upper) {
        Some(text) => Some((text, Shape::Upper)),
        None => fields.text(lower).map(|text| (text, Shape::Lower)),
    }
}

/// Whether the text under either key is one of these words, in any letter case.
fn is_word(found: Option<(&str, Shape)>, words: &[&str]) -> bool {
    found.is_some_and(|(text, _)| words.iter().any(|word| word.eq_ignore_ascii_case(text)))
}

fn task<'f>(fields: &'f Fields) -> Option<(&'f str, Shape)> {
    either(fields, Key::Task, Key::LowerTask)
}

fn status<'f>(fields: &'f Fields) -> Option<(&'f str, Shape)> {
    either(fields, Key::Status, Key::LowerStatus)
}

/// Whether the line answers something: STATUS ACK and PONG, NO_TASK.
pub(super) fn is_answer(fields: &Fields) -> bool {
    is_word(status(fields), &["ACK", "PONG"]) || is_word(task(fields), &["NO_TASK", WORKER_RESPONSE])
}

/// How older drafts answer a request for workers.
const WORKER_RESPONSE: &str = "WORKER_RESPONSE";

/// Whether it is the task of such an answer.
pub(super) fn is_worker_response(task: &str) -> bool {
    task.eq_ignore_ascii_case(WORKER_RESPONSE)
}

/// The body of such a line, or of an ELECTION_ACK, which is spelt alike in both directions.
pub(super) fn answer(fields: &Fields) -> Option<(Body, Shape)> {
    if is_word(either(fields, Key::UpperType, Key::Type), &["ELECTION_ACK"]) {
        return election(fields);
    }
    let asked = task(fields);
    if is_word(asked, &["NO_TASK"]) {
        return asked.map(|(_, shape)| (Body::NoTask, shape));
    }
    let (_, shape) = status(fields)?;
    // Older drafts have a STATUS ACK of other tasks, about loans.
    if asked.is_some() && !is_word(asked, &["QUERY", "REQUEST", "JOB", "KEEPALIVE", "ALIVE"]) {
        return None;
    }
    let worker = worker(fields);
    if is_word(status(fields), &["PONG"]) {
        return Some((Body::Pong { worker }, shape));
    }
    if !is_word(status(fields), &["ACK"]) {
        return None;
    }
    let attempt = attempt(fields);
    let shape = if attempt.is_some() { Shape::Native } else { shape };
    Some((Body::StatusAck(Box::new(StatusAck { worker, attempt })), shape))
}

fn election(fields: &Fields) -> Option<(Body, Shape)> {
    // The letter case is that of the names: `type` itself is lower case in official envelopes, too.
    let name = |upper: Key, lower: Key| {
        let (text, shape) = either(fields, upper, lower)?;
        Some((ServerId::new(text)?.as_str().to_owned(), shape))
    };
    if let Some((selected, shape)) = name(Key::SelectedMaster, Key::LowerSelectedMaster) {
        return Some((Body::ElectionAck { worker: worker(fields)?, selected }, shape));
    }
    if !is_word(status(fields), &["ACCEPTED"]) {
        return None;
    }
    let (master, shape) = name(Key::MasterName, Key::LowerMasterName)?;
    Some((Body::ElectionAccepted { master }, shape))
}

/// `WORKER_UUID`, which some programs write as a number.
pub(super) fn worker(fields: &Fields) -> Option<ServerId> {
    id_text(fields, Key::WorkerUuid, Key::LowerWorkerUuid).and_then(|text| ServerId::new(&*text))
}

pub(super) fn id_text<'f>(fields: &'f Fields, upper: Key, lower: Key) -> Option<Cow<'f, str>> {
    let number = |key: Key| fields.whole(key).map(|number| Cow::Owned(number.to_string()));
    let text = either(fields, upper, lower).map(|(text, _)| Cow::Borrowed(text));
    text.or_else(|| number(upper)).or_else(|| number(lower))
}

fn attempt(fields: &Fields) -> Option<Attempt> {
    let attempt = fields.whole(Key::Attempt).and_then(|number| u32::try_from(number).ok())?;
    Some(Attempt { job_id: JobId::new(fields.text(Key::JobId)?)?, attempt })
}

/// Whether the line is `WORKER` `ALIVE`.
pub(super) fn is_alive(fields: &Fields) -> bool {
    is_word(either(fields, Key::Worker, Key::LowerWorker), &["ALIVE"])
}

/// `WORKER` `ALIVE`; `None` if it does not say who, or if it begins to be native and is not well-formed.
pub(super) fn alive(fields: &Fields) -> Option<(Body, Shape)> {
    let (_, shape) = either(fields, Key::Worker, Key::LowerWorker)?;
    let worker = worker(fields)?;
    let owner = id_text(fields, Key::ServerUuid, Key::LowerServerUuid);
    let owner = owner.and_then(|owner| ServerId::new(&*owner)).map(|owner| owner.as_str().to_owned());
    let listens = if fields.is_absent(Key::Slots) { listens(fields) } else { None };
    let native = if fields.is_absent(Key::Slots) { None } else { Some(Box::new(native(fields, &worker)?)) };
    let shape = if native.is_some() { Shape::Native } else { shape };
    Some((Body::WorkerAlive(Box::new(WorkerAlive { worker, owner, listens, native })), shape))
}

/// Where it listens; what is no port counts as not said.
fn listens(fields: &Fields) -> Option<Listens> {
    let port = |key: Key| {
        let number = fields.whole(key).or_else(|| fields.text(key)?.parse().ok())?;
        u16::try_from(number).ok().filter(|port| *port != 0)
    };
    let port = [Key::WorkerPort, Key::LowerWorkerPort, Key::Port].into_iter().find_map(port)?;
    let host = either(fields, Key::WorkerHost, Key::LowerWorkerHost).and_then(|(text, _)| text.parse().ok());
    Some(Listens { host, port })
}

fn native(fields: &Fields, worker: &ServerId) -> Option<NativeWorker> {
    let name = fields.text(Key::Name).filter(|name| is_valid_name(name)).unwrap_or(worker.short());
    Some(NativeWorker {
        name: name.to_owned(),
        slots: fields.whole(Key::Slots).and_then(|slots| u32::try_from(slots).ok()).filter(|n| *n <= MAX_SLOTS)?,
        services: fields.raw(Key::Services).map(offers).unwrap_or_default(),
        jobs: fields.raw(Key::Jobs).map(attempts).unwrap_or_default(),
        epoch: match fields.raw(Key::Epoch) {
            None | Some("null") => None,
            Some(raw) => Some(epoch(raw)?),
        },
        loan_id: match fields.is_absent(Key::LoanId) {
            true => None,
            false => Some(LoanId::new(fields.text(Key::LoanId)?)?),
        },
    })
}

/// Whether the line is `STATUS` `OK` or `NOK`.
pub(super) fn is_status(fields: &Fields) -> bool {
    is_word(status(fields), &["OK", "NOK"])
}

/// `STATUS` `OK` or `NOK`; `None` if what it says of a worker or of a job is not well-formed.
pub(super) fn worker_status(text: &str, fields: &Fields, before: Option<&ServerId>) -> Option<(Body, Shape)> {
    let (word, shape) = status(fields)?;
    let worker = match before {
        Some(before) if fields.text(Key::WorkerUuid) == Some(before.as_str()) => Some(before.clone()),
        _ => worker(fields),
    };
    let silent = worker.is_none() && fields.is_absent(Key::WorkerUuid) && fields.is_absent(Key::LowerWorkerUuid);
    if worker.is_none() && !silent {
        return None;
    }
    let attempt = attempt(fields);
    if attempt.is_none() && !fields.is_absent(Key::JobId) {
        return None;
    }
    let result = match fields.raw(Key::Result) {
        Some(result) if result.len() > MAX_JSON_BYTES => return None,
        Some(result) => Some(Json::trusted(result)),
        None if attempt.is_some() => None,
        None => beside(text, fields),
    };
    let status = WorkerStatus {
        worker,
        ok: word.eq_ignore_ascii_case("OK"),
        result,
        detail: fields.text(Key::Detail).map(str::to_owned),
        retry: fields.flag(Key::Retry).unwrap_or(true),
        attempt,
    };
    let shape = if status.attempt.is_some() { Shape::Native } else { shape };
    Some((Body::WorkerStatus(Box::new(status)), shape))
}

/// What a foreign worker says beside the known fields, as an object: a second pass, where there is any.
fn beside(text: &str, fields: &Fields) -> Option<Json> {
    if fields.has_only(&STATUS_KEYS) {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Beside).ok()?;
    (members.len() > 2 && members.len() <= MAX_JSON_BYTES).then(|| Json::trusted(members))
}

/// Collects the members of an object that are no known fields of a STATUS, as they stand.
struct Beside;

impl<'de> Visitor<'de> for Beside {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
        let mut members = String::from("{");
        while let Some((key, value)) = map.next_entry::<Cow<'de, str>, &RawValue>()? {
            if STATUS_KEYS.iter().any(|known| known.as_str() == key) {
                continue;
            }
            if members.len() > 1 {
                members.push(',');
            }
            members.push_str(&serde_json::to_string(&key).map_err(serde::de::Error::custom)?);
            members.push(':');
            members.push_str(value.get());
        }
        members.push('}');
        Ok(members)
    }
}
