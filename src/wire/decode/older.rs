//! What masters of 2025/2 say about loans, and of the drafts before it.
//!
//! These are no tasks of this node, and no error answers them: what is not whole is ignored, with one sentence for the log.

use crate::wire::fields::{Fields, Key};
use crate::wire::parts::Parts;
use crate::wire::{
    Body, Dialect, LoanAnswer, LoanRequest, MAX_LINE_BYTES, MAX_WORKERS_NEEDED, MoveKind, OfferedWorker, Release,
    ReleaseAnswer, ServerId, WorkerMove,
};

use super::Shape;
use super::loose::{self, Loose, Why};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    WorkerRequest,
    /// `WORKER_RESPONSE` of a draft.
    WorkerResponse,
    Available,
    Unavailable,
    Redirect,
    Return,
    CommandRelease,
    ReleaseAck,
    ReleaseCompleted,
}

const TASKS: [(&str, Kind); 4] = [
    ("WORKER_REQUEST", Kind::WorkerRequest),
    ("WORKER_RESPONSE", Kind::WorkerResponse),
    ("RETURN", Kind::Return),
    ("COMMAND_RELEASE", Kind::CommandRelease),
];

const RESPONSES: [(&str, Kind); 4] = [
    ("AVAILABLE", Kind::Available),
    ("UNAVAILABLE", Kind::Unavailable),
    ("RELEASE_ACK", Kind::ReleaseAck),
    ("RELEASE_COMPLETED", Kind::ReleaseCompleted),
];

/// What a line with this TASK says. REDIRECT is such a line only if it says where to.
pub(super) fn of_task(task: &str) -> Option<Kind> {
    TASKS.iter().find(|(word, _)| word.eq_ignore_ascii_case(task)).map(|(_, kind)| *kind)
}

/// What a line with this RESPONSE says.
pub(super) fn of_response(response: &str) -> Option<Kind> {
    RESPONSES.iter().find(|(word, _)| word.eq_ignore_ascii_case(response)).map(|(_, kind)| *kind)
}

/// What any line says.
pub(super) fn kind(fields: &Fields) -> Option<Kind> {
    let response = fields.text(Key::Response).or_else(|| fields.text(Key::LowerResponse));
    match (response, fields.text(Key::Task)) {
        (Some(response), _) => of_response(response),
        (None, Some("REDIRECT")) if fields.has_unknown => Some(Kind::Redirect),
        (None, Some(task)) => of_task(task),
        (None, None) => of_lower_task(fields.text(Key::LowerTask)?, fields),
    }
}

/// What a line with this `task` says, where the key is in lower case.
pub(super) fn of_lower_task(task: &str, fields: &Fields) -> Option<Kind> {
    let redirect = task.eq_ignore_ascii_case("REDIRECT") && fields.has_unknown;
    if redirect { Some(Kind::Redirect) } else { of_task(task) }
}

/// In which form a request for workers is, whatever is wrong with it.
pub(super) fn shape_of_request(text: &str, fields: &Fields) -> Shape {
    let line = Parts::read(text).ok().map(|line| Loose(vec![line]));
    let has = |key: &str| line.as_ref().is_some_and(|line| line.value(&[key]).is_ok_and(|value| value.is_some()));
    let draft = !has("REQUESTOR_INFO") && has("WORKERS_NEEDED");
    shape(if draft { Shape::Draft } else { Shape::Older }, fields)
}

/// The shape of a line of this generation, in the letter case of its keys.
fn shape(shape: Shape, fields: &Fields) -> Shape {
    let upper = [Key::Task, Key::Response, Key::Status].iter().any(|key| !fields.is_absent(*key));
    match shape {
        Shape::Older if !upper => Shape::LowerOlder,
        Shape::Draft if !upper => Shape::LowerDraft,
        shape => shape,
    }
}

/// Reads the line. `fields` are those of `text`.
pub(super) fn read(kind: Kind, text: &str, fields: &Fields) -> Result<(Body, Shape), Why> {
    let (body, found) = read_upper(kind, text)?;
    Ok((body, shape(found, fields)))
}

fn read_upper(kind: Kind, text: &str) -> Result<(Body, Shape), Why> {
    let line = Loose(vec![Parts::read(text).map_err(|_| "it is no JSON object")?]);
    let body = match kind {
        Kind::WorkerRequest => return worker_request(&line),
        Kind::WorkerResponse => return Ok((worker_response(&line)?, Shape::Draft)),
        Kind::Available => Body::LoanAnswer(Box::new(available(&line, &["WORKERS_UUID", "WORKERS"])?)),
        Kind::Unavailable => Body::LoanAnswer(Box::new(unavailable(&line)?)),
        Kind::Redirect => Body::Move(Box::new(redirect(&line)?)),
        Kind::Return => Body::Move(Box::new(back(&line)?)),
        Kind::CommandRelease => Body::Release(Box::new(Release { master: master(&line)?, workers: workers(&line)? })),
        Kind::ReleaseAck | Kind::ReleaseCompleted => Body::ReleaseAnswer(Box::new(ReleaseAnswer {
            master: master(&line)?,
            workers: workers(&line)?,
            completed: kind == Kind::ReleaseCompleted,
        })),
    };
    Ok((body, Shape::Older))
}

/// Who speaks; what is no id counts as not said.
fn master(line: &Loose) -> Result<Option<ServerId>, Why> {
    Ok(line.value(&["SERVER_UUID", "MASTER_UUID"])?.and_then(loose::id))
}

fn worker_request(line: &Loose) -> Result<(Body, Shape), Why> {
    let why = "a WORKER_REQUEST whose `REQUESTOR_INFO` is no object of ip, port and needed";
    let info = line.maybe(&["REQUESTOR_INFO"], |raw| Parts::read(raw).ok(), why)?.map(|info| Loose(vec![info]));
    let is_draft = info.is_none();
    if is_draft && line.value(&["WORKERS_NEEDED"])?.is_none() {
        return Err("a WORKER_REQUEST without `REQUESTOR_INFO`; expected an object of ip, port and needed");
    }
    let (mut address, mut port, mut needed) = (None, None, None);
    if let Some(info) = &info {
        address = info.address(&[], &[("ip", "port"), ("host", "port"), ("address", "port")])?;
        let has_host = info.value(&["ip", "host", "address"])?.is_some();
        port = if address.is_none() && !has_host { info.port(&["port"])? } else { None };
        needed = info.value(&["needed", "workers_needed"])?;
    }
    let needed = match needed {
        Some(needed) => Some(needed),
        None => line.value(&["WORKERS_NEEDED", "NEEDED"])?,
    };
    let why = "a WORKER_REQUEST that needs no whole number of workers";
    let needed = needed.map(|raw| loose::whole(raw).ok_or(why)).transpose()?.unwrap_or(1);
    let request = LoanRequest {
        master: master(line)?,
        name: None,
        address,
        port,
        load: 0,
        capacity: 0,
        needed: u32::try_from(needed.clamp(1, u64::from(MAX_WORKERS_NEEDED))).unwrap_or(MAX_WORKERS_NEEDED),
        dialect: Some(Dialect::Gen2025_2),
        native: None,
    };
    let shape = if is_draft { Shape::Draft } else { Shape::Older };
    Ok((Body::LoanRequest(Box::new(request)), shape))
}

fn worker_response(line: &Loose) -> Result<Body, Why> {
    let why = "a WORKER_RESPONSE whose `STATUS` is not ACK or NACK";
    let status = line.need(&["STATUS"], loose::text, why)?;
    let answer = match () {
        () if status.eq_ignore_ascii_case("ACK") => available(line, &["WORKERS", "WORKERS_UUID"])?,
        () if status.eq_ignore_ascii_case("NACK") => unavailable(line)?,
        () => return Err(why),
    };
    Ok(Body::LoanAnswer(Box::new(answer)))
}

fn available(line: &Loose, keys: &[&str]) -> Result<LoanAnswer, Why> {
    let why = "an offer of workers whose `WORKERS_UUID` is no list of their ids";
    let workers = line.need(keys, |raw| loose::ids(raw, MAX_WORKERS_NEEDED as usize), why)?;
    let offered = u32::try_from(workers.len()).unwrap_or(MAX_WORKERS_NEEDED);
    let workers = workers.into_iter().map(|worker| OfferedWorker { worker, address: None, terms: None }).collect();
    Ok(LoanAnswer::Accepted { master: master(line)?, offered, workers, dialect: Some(Dialect::Gen2025_2) })
}

fn unavailable(line: &Loose) -> Result<LoanAnswer, Why> {
    let reason = line.value(&["REASON"])?.and_then(loose::text);
    let reason = reason.map_or_else(|| "UNAVAILABLE".to_owned(), |reason| reason.into_owned());
    Ok(LoanAnswer::Rejected { master: master(line)?, reason })
}

fn redirect(line: &Loose) -> Result<WorkerMove, Why> {
    let target = line.address(&["SERVER_REDIRECT", "TARGET_MASTER"], &[])?;
    let target = target.ok_or("a REDIRECT without `SERVER_REDIRECT`; expected an object of ip and port")?;
    Ok(moved(MoveKind::Redirect, Some(target)))
}

fn back(line: &Loose) -> Result<WorkerMove, Why> {
    let keys = ["SERVER_RETURN", "HOME_MASTER", "TARGET_MASTER"];
    let target = line.address(&keys, &[])?;
    // Somewhere else than home, but where?
    if target.is_none() && line.value(&keys)?.is_some() {
        return Err("a RETURN whose `SERVER_RETURN` is no object of ip and port");
    }
    Ok(moved(MoveKind::Return, target))
}

fn moved(kind: MoveKind, target: Option<crate::wire::Address>) -> WorkerMove {
    let dialect = Some(Dialect::Gen2025_2);
    WorkerMove { kind, target, target_id: None, target_name: None, dialect, registers: false, native: None }
}

fn workers(line: &Loose) -> Result<Vec<ServerId>, Why> {
    // As many as fit a line: whoever has lent more takes several.
    let most = MAX_LINE_BYTES;
    let why = "a release of workers without `WORKERS_UUID`; expected a list of their ids";
    line.need(&["WORKERS_UUID", "WORKERS"], |raw| loose::ids(raw, most), why)
}
