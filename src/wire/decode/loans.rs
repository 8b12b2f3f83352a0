//! LOANS between native masters: requests, with exact errors.

use std::borrow::Cow;
use std::time::Duration;

use crate::wire::parts::{Fault, Parts};
use crate::wire::{
    Body, LentWorker, LoanAction, LoanId, LoanRecord, MAX_ADOPTED, MAX_LEASE, MAX_QUOTE, MAX_TERM, MAX_WORKERS_NEEDED,
    Orphan, ServerId, quote,
};

use super::ID_FORM;

pub(in crate::wire) const LOAN_FORM: &str = "the id of a loan, 1 to 64 printable ASCII characters without blanks";
const ACTIONS: &str = "RENEW, RECALL, RECORD or ADOPT";
const KINDS: &str = "LEND or END";

/// `LOANS`: one of the actions, or who has lent whom to whom?
pub(super) fn loans(text: &str) -> Result<Body, Fault> {
    const OTHERS: [&str; 12] = [
        "LOANS",
        "LOAN_ID",
        "WORKER_UUID",
        "EPOCH",
        "GRACE_MS",
        "LEASE_MS",
        "KIND",
        "OWNER",
        "BORROWER",
        "WORKERS",
        "REASON",
        "SERVER_ID",
    ];
    let parts = Parts::read(text)?;
    let Some(word) = word(&parts, "ACTION", ACTIONS)? else {
        if parts.has_any(&OTHERS) {
            return Err(Fault::missing("ACTION", &format!("one of {ACTIONS}")));
        }
        return Ok(Body::Loans { after: parts.maybe("AFTER", LOAN_FORM, LoanId::new)? });
    };
    let action = match word.as_ref() {
        "RENEW" => LoanAction::Renew { loans: loan_ids(&parts)? },
        "RECALL" => LoanAction::Recall {
            loan_id: loan_id(&parts)?,
            worker: id(&parts, "WORKER_UUID")?,
            epoch: parts.epoch()?,
            grace: millis(&parts, "GRACE_MS")?,
        },
        "RECORD" => LoanAction::Record(record(&parts)?),
        "ADOPT" => LoanAction::Adopt {
            master: id(&parts, "SERVER_ID")?,
            workers: parts.objects("WORKERS", MAX_ADOPTED, |orphan| {
                Ok(Orphan {
                    worker: id(orphan, "WORKER_UUID")?,
                    owner: id(orphan, "OWNER")?,
                    generation: orphan.number("GENERATION", 0..=MAX_TERM)?,
                })
            })?,
        },
        _ => return Err(unknown("ACTION", &word, ACTIONS)),
    };
    Ok(Body::LoanAction(Box::new(action)))
}

fn record(parts: &Parts) -> Result<LoanRecord, Fault> {
    let word = word(parts, "KIND", KINDS)?.ok_or_else(|| Fault::missing("KIND", &format!("one of {KINDS}")))?;
    Ok(match word.as_ref() {
        "LEND" => LoanRecord::Lend(LentWorker {
            loan_id: loan_id(parts)?,
            worker: id(parts, "WORKER_UUID")?,
            owner: id(parts, "OWNER")?,
            borrower: id(parts, "BORROWER")?,
            epoch: parts.epoch()?,
            lease: millis(parts, "LEASE_MS")?,
        }),
        "END" => LoanRecord::End {
            loan_id: loan_id(parts)?,
            reason: parts.text("REASON", "a string", |text| Some(text.into_owned()))?,
        },
        _ => return Err(unknown("KIND", &word, KINDS)),
    })
}

fn word<'a>(parts: &Parts<'a>, key: &str, words: &str) -> Result<Option<Cow<'a, str>>, Fault> {
    parts.maybe(key, &format!("one of {words}"), Some)
}

fn unknown(key: &str, word: &str, words: &str) -> Fault {
    Fault::bad(key, format_args!("there is no \"{}\"; expected one of {words}", super::quote(word)))
}

/// A `LOAN_ID`.
pub(in crate::wire) fn loan_id(parts: &Parts) -> Result<LoanId, Fault> {
    parts.text("LOAN_ID", LOAN_FORM, LoanId::new)
}

/// The id of a node.
pub(in crate::wire) fn id(parts: &Parts, key: &str) -> Result<ServerId, Fault> {
    parts.text(key, ID_FORM, ServerId::new)
}

/// How long a loan or a grace may last.
pub(in crate::wire) fn maybe_millis(parts: &Parts, key: &str) -> Result<Option<Duration>, Fault> {
    parts.maybe_millis(key, Duration::ZERO..=MAX_LEASE)
}

/// The same where it must be there.
pub(in crate::wire) fn millis(parts: &Parts, key: &str) -> Result<Duration, Fault> {
    let expected = || format!("a whole number of milliseconds from 0 to {}", MAX_LEASE.as_millis());
    maybe_millis(parts, key)?.ok_or_else(|| Fault::missing(key, &expected()))
}

/// The `LOANS` of a renewal.
fn loan_ids(parts: &Parts) -> Result<Vec<LoanId>, Fault> {
    let items = parts.maybe_list("LOANS", MAX_WORKERS_NEEDED as usize)?;
    let items = items.ok_or_else(|| Fault::missing("LOANS", "a list of ids of loans"))?;
    let loan_id = |raw: &str| {
        let found = serde_json::from_str::<String>(raw).ok().and_then(LoanId::new);
        found.ok_or_else(|| {
            Fault::bad("LOANS", format_args!("it has {}; expected each to be {LOAN_FORM}", quote(raw, MAX_QUOTE)))
        })
    };
    items.into_iter().map(loan_id).collect()
}
