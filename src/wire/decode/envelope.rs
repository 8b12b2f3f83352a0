//! The envelopes of 2026/1, `{"type","request_id","payload"}`, in all their variants: official keys, own ones of one family, all in upper
//! case, flat; and what native nodes say beside them.
//!
//! Nobody is answered by an error: what is not whole is ignored, with one sentence for the log.

use crate::wire::fields::{Fields, Key};
use crate::wire::parts::Parts;
use crate::wire::{
    Body, LoanAnswer, LoanId, LoanRequest, MAX_LINE_BYTES, MAX_SERVICES, MAX_WORKERS_NEEDED, Message, MoveKind,
    NativeLoanRequest, NativeMove, OfferTerms, OfferedWorker, Registration, RequestId, Returned, ServerId, ServiceName,
    StatusAck, WorkerMove, is_valid_name,
};

use super::loans::{id, loan_id, maybe_millis, millis};
use super::loose::{self, Loose, Why};
use super::{ID_FORM, NAME_FORM, Shape};

/// What an envelope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    RequestHelp,
    Accepted,
    Rejected,
    Redirect,
    Release,
    Register,
    Returned,
    Ack,
}

const KINDS: [(&str, Kind); 8] = [
    ("request_help", Kind::RequestHelp),
    ("response_accepted", Kind::Accepted),
    ("response_rejected", Kind::Rejected),
    ("command_redirect", Kind::Redirect),
    ("command_release", Kind::Release),
    ("register_temporary_worker", Kind::Register),
    ("notify_worker_returned", Kind::Returned),
    ("ack", Kind::Ack),
];

/// What the line says as an envelope, if it is one about loans and no task.
pub(super) fn kind(fields: &Fields) -> Option<Kind> {
    if fields.stands(Key::Task) || fields.stands(Key::Response) {
        return None;
    }
    let word = fields.text(Key::Type).or_else(|| fields.text(Key::UpperType))?;
    KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, kind)| *kind)
}

/// Reads the envelope. `fields` are those of `text`.
pub(super) fn read(kind: Kind, text: &str, fields: &Fields) -> Result<(Message, Shape), Why> {
    if fields.duplicate.is_some() {
        return Err(loose::STANDS_TWICE);
    }
    let line = Parts::read(text).map_err(|_| "it is no JSON object")?;
    let around = Loose(vec![line]);
    let payload = around.maybe(&["payload"], object, "an envelope whose `payload` is no object")?;
    let id = mark(&around, fields)?;
    let Loose(mut lines) = around;
    // The payload comes first; what it does not have may stand beside it.
    if let Some(payload) = payload {
        lines.insert(0, payload);
    }
    let said = Loose(lines);
    let line = said.0.last().ok_or("it is no JSON object")?;
    let body = match kind {
        Kind::RequestHelp => Body::LoanRequest(Box::new(request_help(&said, line)?)),
        Kind::Accepted => Body::LoanAnswer(Box::new(accepted(&said, line)?)),
        Kind::Rejected => Body::LoanAnswer(Box::new(rejected(&said)?)),
        Kind::Redirect => Body::Move(Box::new(redirect(&said, line)?)),
        Kind::Release => Body::Move(Box::new(release(&said, line)?)),
        Kind::Register => Body::Register(Box::new(register(&said)?)),
        Kind::Returned => Body::Returned(Box::new(returned(&said, line)?)),
        Kind::Ack => Body::StatusAck(Box::new(StatusAck { worker: worker(&said)?, attempt: None })),
    };
    Ok((Message { id, body }, shape(fields)))
}

/// What can be told of an envelope whatever is wrong with it: its mark, and its shape.
pub(super) fn outside(text: &str, fields: &Fields) -> (Option<RequestId>, Shape) {
    let around = Parts::read(text).ok().map(|line| Loose(vec![line]));
    (around.and_then(|around| mark(&around, fields).ok().flatten()), shape(fields))
}

fn mark(around: &Loose, fields: &Fields) -> Result<Option<RequestId>, Why> {
    let id = around.value(&["request_id"])?.and_then(loose::mark);
    Ok(id.or_else(|| RequestId::new(fields.text(Key::Id)?)))
}

fn shape(fields: &Fields) -> Shape {
    if fields.is_absent(Key::Type) { Shape::UpperEnvelope } else { Shape::Envelope }
}

fn object(raw: &str) -> Option<Parts<'_>> {
    Parts::read(raw).ok()
}

/// A name, and what is none counts as not said.
fn name(said: &Loose, keys: &[&str]) -> Result<Option<String>, Why> {
    let name = said.value(keys)?.and_then(loose::text);
    Ok(name.filter(|name| is_valid_name(name)).map(|name| name.into_owned()))
}

/// Who speaks, as a master: what is no id counts as not said.
fn master(said: &Loose) -> Result<Option<ServerId>, Why> {
    Ok(said.value(&["master_id", "master_uuid", "server_uuid"])?.and_then(loose::id))
}

fn worker(said: &Loose) -> Result<Option<ServerId>, Why> {
    Ok(said.value(&["worker_id", "worker_uuid"])?.and_then(loose::id))
}

const REQUESTER: Why = "a request_help whose `master_id` is no string of 1 to 128 bytes without control characters";
const LOAD: Why = "a request_help whose `current_load` is no whole number";
const CAPACITY: Why = "a request_help whose `capacity` is no whole number";
const NEEDED: Why = "a request_help whose `workers_needed` is no whole number";

fn request_help(said: &Loose, line: &Parts) -> Result<LoanRequest, Why> {
    let number = |keys: &[&str], why| said.maybe(keys, loose::whole, why);
    let address = said.address(
        &["master_address", "reply_address"],
        &[("master_host", "master_port"), ("host", "port"), ("target_host", "target_port")],
    )?;
    let has_host = said.value(&["master_host", "host", "target_host"])?.is_some();
    let port = match address.is_none() && !has_host {
        true => said.port(&["master_port", "port", "target_port"])?,
        false => None,
    };
    let needed = number(&["workers_needed", "needed"], NEEDED)?.unwrap_or(1);
    let most = u64::from(MAX_WORKERS_NEEDED);
    Ok(LoanRequest {
        master: Some(said.need(&["master_id", "master_uuid", "server_uuid"], loose::id, REQUESTER)?),
        name: name(said, &["master_name"])?,
        address,
        port,
        load: number(&["current_load"], LOAD)?.unwrap_or_default(),
        capacity: number(&["capacity", "saturation_threshold"], CAPACITY)?.unwrap_or_default(),
        needed: u32::try_from(needed.clamp(1, most)).unwrap_or(MAX_WORKERS_NEEDED),
        dialect: None,
        native: native_request(line)?,
    })
}

fn native_request(line: &Parts) -> Result<Option<NativeLoanRequest>, Why> {
    if !line.has_any(&["GROUP"]) {
        return Ok(None);
    }
    let group = line.text("GROUP", NAME_FORM, |text| is_valid_name(&text).then(|| text.into_owned()));
    let group = group.map_err(|_| "a request_help whose `GROUP` is no name of 1 to 64 bytes")?;
    let items = line.maybe_list("SERVICES", MAX_SERVICES);
    let items = items.map_err(|_| "a request_help whose `SERVICES` is no list of at most 256 names")?;
    let service = |raw: &str| ServiceName::new(loose::text(raw)?);
    Ok(Some(NativeLoanRequest { services: items.unwrap_or_default().into_iter().filter_map(service).collect(), group }))
}

const DETAILS: Why = "a response_accepted whose `worker_details` is no list of workers";
const OFFERED: Why = "a response_accepted without `workers_offered` and `worker_details`; expected a number and a list";

fn accepted(said: &Loose, line: &Parts) -> Result<LoanAnswer, Why> {
    let details = said.maybe(
        &["worker_details", "workers_uuid", "workers"],
        |raw| loose::list(raw, MAX_WORKERS_NEEDED as usize),
        DETAILS,
    )?;
    let offered = said.maybe(&["workers_offered"], loose::whole, OFFERED)?;
    if details.is_none() && offered.is_none() {
        return Err(OFFERED);
    }
    let terms = terms(line)?;
    let workers: Vec<OfferedWorker> = details
        .unwrap_or_default()
        .into_iter()
        .filter_map(|raw| {
            let worker = loose::worker(raw)?;
            let terms = terms.iter().find(|(lent, _)| *lent == worker).map(|(_, terms)| terms.clone());
            Some(OfferedWorker { worker, address: worker_address(raw), terms })
        })
        .collect();
    let offered = offered.map_or(workers.len() as u64, |offered| offered.min(u64::from(u32::MAX)));
    let offered = u32::try_from(offered).unwrap_or(u32::MAX);
    Ok(LoanAnswer::Accepted { master: master(said)?, offered, workers, dialect: None })
}

fn worker_address(raw: &str) -> Option<crate::wire::Address> {
    let detail = Loose(vec![object(raw).filter(|_| raw.starts_with('{'))?]);
    let halves = [("worker_host", "worker_port"), ("host", "port"), ("ip", "port"), ("address", "port")];
    detail.address(&["address", "worker_address"], &halves).ok()?
}

/// `LOANS`, beside the offers of a native master.
fn terms(line: &Parts) -> Result<Vec<(ServerId, OfferTerms)>, Why> {
    if !line.has_any(&["LOANS"]) {
        return Ok(Vec::new());
    }
    let most = MAX_LINE_BYTES / 16;
    let read = line.objects("LOANS", most, |loan| {
        Ok((
            id(loan, "WORKER_UUID")?,
            OfferTerms {
                loan_id: loan_id(loan)?,
                epoch: loan.epoch()?,
                lease: millis(loan, "LEASE_MS")?,
                agreed: loan.flag("AGREED")?,
            },
        ))
    });
    read.map_err(|_| {
        "a response_accepted whose `LOANS` is no list of WORKER_UUID, LOAN_ID, EPOCH, LEASE_MS of at most a day, and AGREED"
    })
}

fn rejected(said: &Loose) -> Result<LoanAnswer, Why> {
    let why = "a response_rejected without `reason`; expected a string";
    let reason = said.need(&["reason"], loose::text, why)?.into_owned();
    Ok(LoanAnswer::Rejected { master: master(said)?, reason })
}

const TARGET: Why = "a command_redirect without `new_master_address`; expected a string host:port";

fn redirect(said: &Loose, line: &Parts) -> Result<WorkerMove, Why> {
    let halves = [("new_master_host", "new_master_port"), ("new_master_ip", "new_master_port")];
    let target = said.address(&["new_master_address"], &halves)?;
    let native = native_move(line)?;
    let why = "an order to move whose `REGISTER` is neither true nor false";
    let registers = native.is_none() || line.mark("REGISTER").map_err(|_| why)?;
    Ok(WorkerMove {
        kind: MoveKind::Redirect,
        target: Some(target.ok_or(TARGET)?),
        target_id: target_id(said, &["new_master_id", "new_master_uuid"])?,
        target_name: name(said, &["new_master_name"])?,
        dialect: None,
        registers,
        native,
    })
}

const HOME: Why = "a command_release whose `original_master_address` is no string host:port";

fn release(said: &Loose, line: &Parts) -> Result<WorkerMove, Why> {
    let whole = ["original_master_address", "return_to_master_address"];
    let halves = [
        ("return_to_master_host", "return_to_master_port"),
        ("original_master_host", "original_master_port"),
        ("original_master_ip", "original_master_port"),
    ];
    let target = said.address(&whole, &halves)?;
    // Somewhere else than home, but where?
    if target.is_none()
        && said.value(&["original_master_address", "return_to_master_host", "original_master_host"])?.is_some()
    {
        return Err(HOME);
    }
    Ok(WorkerMove {
        kind: MoveKind::Return,
        target,
        target_id: target_id(said, &["original_master_id", "original_master_uuid", "return_to_master_uuid"])?,
        target_name: name(said, &["original_master_name", "return_to_master_name"])?,
        dialect: None,
        registers: false,
        native: native_move(line)?,
    })
}

fn target_id(said: &Loose, keys: &[&str]) -> Result<Option<ServerId>, Why> {
    Ok(said.value(keys)?.and_then(loose::id))
}

/// What a native master says beside an order. An order that begins to be native and is not whole is not obeyed.
fn native_move(line: &Parts) -> Result<Option<NativeMove>, Why> {
    if !line.has_any(&["OWNER", "EPOCH"]) {
        return Ok(None);
    }
    let why = "an order to move whose `OWNER` is no id, or whose `EPOCH` is no list of two whole numbers";
    let (owner, epoch) = (line.text("OWNER", ID_FORM, ServerId::new), line.epoch());
    let (Ok(owner), Ok(epoch)) = (owner, epoch) else { return Err(why) };
    let times =
        || Ok((maybe_millis(line, "LEASE_MS")?, maybe_millis(line, "STAY_MS")?, maybe_millis(line, "GRACE_MS")?));
    let times: Result<_, crate::wire::parts::Fault> = times();
    let (lease, stay, grace) = times.map_err(
        |_| "an order to move whose `LEASE_MS`, `STAY_MS` or `GRACE_MS` is no whole number of milliseconds of at most a day",
    )?;
    let why = "an order to move whose `LOAN_ID` is no 1 to 64 printable characters without blanks";
    Ok(Some(NativeMove { owner, epoch, loan_id: maybe_loan(line, why)?, lease, stay, grace }))
}

fn maybe_loan(line: &Parts, why: Why) -> Result<Option<LoanId>, Why> {
    line.has_any(&["LOAN_ID"]).then(|| loan_id(line).map_err(|_| why)).transpose()
}

const COMER: Why =
    "a register_temporary_worker whose `worker_id` is no string of 1 to 128 bytes without control characters";

fn register(said: &Loose) -> Result<Registration, Why> {
    let home = [("original_master_host", "original_master_port"), ("original_master_ip", "original_master_port")];
    let owner = |keys: &[&str]| -> Result<Option<String>, Why> {
        Ok(said.value(keys)?.and_then(loose::id).map(|id| id.as_str().to_owned()))
    };
    let (told, whole) = (owner(&["original_master_id"])?, said.address(&["worker_address"], &[])?);
    let wants_ack = told.is_some() || whole.is_some();
    let (told, whole) = match wants_ack {
        // What is said beside official keys in other words.
        true => (told, whole),
        false => (owner(&["original_master_uuid"])?, said.address(&[], &[("worker_host", "worker_port")])?),
    };
    Ok(Registration {
        worker: said.need(&["worker_id", "worker_uuid"], loose::id, COMER)?,
        home: said.address(&["original_master_address"], &home)?,
        owner: told,
        listens: whole,
        wants_ack,
    })
}

fn returned(said: &Loose, line: &Parts) -> Result<Returned, Why> {
    let why = "a notify_worker_returned whose `worker_id` is no string of 1 to 128 bytes without control characters";
    let worker = said.need(&["worker_id", "worker_uuid"], loose::id, why)?;
    let why = "a notify_worker_returned whose `LOAN_ID` is no 1 to 64 printable characters without blanks";
    Ok(Returned { worker, loan_id: maybe_loan(line, why)? })
}
