//! What masters tell of their loans.

use std::time::Duration;

use crate::wire::decode::loans::{id, loan_id};
use crate::wire::decode::{ADDRESS_FORM, ID_FORM};
use crate::wire::parts::{Fault, Parts};
use crate::wire::{
    Body, LoanDone, LoanState, LoanView, LoansAnswer, MAX_LEASE, MAX_LINE_BYTES, MAX_TERM, MAX_WORKERS_NEEDED,
    ServerId, Terms,
};

/// Loans in one line at most: the shortest fill it.
const MAX_LOANS: usize = MAX_LINE_BYTES / 16;

/// An answer to `LOANS`.
pub(in crate::wire) fn loans(text: &str) -> Option<Body> {
    let parts = Parts::read(text).ok()?;
    if parts.has_any(&["ACTION"]) {
        return done(&parts).ok().map(|done| Body::LoanDone(Box::new(done)));
    }
    loans_answer(&parts).ok().map(|answer| Body::LoansAnswer(Box::new(answer)))
}

fn done(parts: &Parts) -> Result<LoanDone, Fault> {
    let renewed = |loan: &Parts| Ok((loan_id(loan)?, millis(loan, "LEASE_MS")?.unwrap_or_default()));
    Ok(LoanDone {
        action: words(parts, "ACTION")?,
        index: parts.maybe_number("INDEX", 0..=MAX_TERM)?,
        renewed: match parts.has_any(&["RENEWED"]) {
            true => parts.objects("RENEWED", MAX_WORKERS_NEEDED as usize, renewed)?,
            false => Vec::new(),
        },
    })
}

fn loans_answer(parts: &Parts) -> Result<LoansAnswer, Fault> {
    let count = |key| parts.number(key, 0..=u64::MAX);
    Ok(LoansAnswer {
        server_id: id(parts, "SERVER_ID")?,
        local: count("LOCAL")?,
        lent: count("LENT")?,
        borrowed: count("BORROWED")?,
        asks: words(parts, "ASKED")?,
        loans: parts.objects("LOANS", MAX_LOANS, loan)?,
        more: parts.mark("MORE")?,
    })
}

fn loan(parts: &Parts) -> Result<LoanView, Fault> {
    let direction = |text: std::borrow::Cow<str>| match text.as_ref() {
        "OUT" => Some(true),
        "IN" => Some(false),
        _ => None,
    };
    Ok(LoanView {
        loan_id: loan_id(parts)?,
        worker: id(parts, "WORKER_UUID")?,
        out: parts.text("DIRECTION", "OUT or IN", direction)?,
        peer: words(parts, "PEER")?,
        status: parts.text("STATUS", "a state", |text| LoanState::parse(&text))?,
        epoch: parts.maybe_epoch()?,
        lease: millis(parts, "LEASE_MS")?,
        agreed: parts.flag("AGREED")?,
        age: millis(parts, "AGE_MS")?.unwrap_or_default(),
        done: parts.number("DONE", 0..=u64::MAX)?,
        reason: words(parts, "REASON")?,
    })
}

/// A text, empty where it is not there.
fn words(parts: &Parts, key: &str) -> Result<String, Fault> {
    Ok(parts.maybe(key, "a string", |text| Some(text.into_owned()))?.unwrap_or_default())
}

fn millis(parts: &Parts, key: &str) -> Result<Option<Duration>, Fault> {
    parts.maybe_millis(key, Duration::ZERO..=Duration::from_millis(u64::MAX))
}

/// How a native master stands with the worker that it welcomes; `None`, if it does not say so.
pub(super) fn terms(text: &str) -> Option<Terms> {
    let parts = Parts::read(text).ok()?;
    let read = || {
        Ok::<_, Fault>(Terms {
            owner: parts.text("OWNER", ID_FORM, ServerId::new)?,
            owner_address: parts.maybe("OWNER_ADDRESS", ADDRESS_FORM, |text| text.parse().ok())?,
            epoch: parts.epoch()?,
            loan_id: parts.has_any(&["LOAN_ID"]).then(|| loan_id(&parts)).transpose()?,
            lease: parts.maybe_millis("LEASE_MS", Duration::ZERO..=MAX_LEASE)?,
        })
    };
    read().ok()
}
