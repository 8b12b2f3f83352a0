//! WHY: requests, with exact errors.

use crate::wire::parts::{Fault, Parts};
use crate::wire::{Body, JobId, JobRef, LoanId, MAX_ID_BYTES, ServerId, WhyQuery};

use super::ID_FORM;
use super::loans::LOAN_FORM;

const JOB_FORM: &str = "the id of a job, such as \"3fa9c1d2-7-42\"";
const PEER_FORM: &str = "the id, the name or the host:port of a peer";

/// `WHY` with one of its fields, or with none.
pub(super) fn why(text: &str) -> Result<Body, Fault> {
    const FIELDS: [&str; 5] = ["JOB_ID", "KEY", "WORKER_UUID", "PEER", "LOAN_ID"];
    let parts = Parts::read(text)?;
    if let [_, second, ..] = FIELDS.into_iter().filter(|key| parts.has_any(&[key])).collect::<Vec<_>>()[..] {
        return Err(Fault::bad(second, format_args!("stands beside another; expected one of {}", FIELDS.join(", "))));
    }
    let word = |text: std::borrow::Cow<str>| (1..=MAX_ID_BYTES).contains(&text.len()).then(|| text.into_owned());
    let query = if let Some(job) = parts.maybe("JOB_ID", JOB_FORM, JobId::new)? {
        WhyQuery::Job(JobRef::Id(job))
    } else if let Some(key) = parts.maybe("KEY", ID_FORM, word)? {
        WhyQuery::Job(JobRef::Key(key))
    } else if let Some(worker) = parts.maybe("WORKER_UUID", ID_FORM, ServerId::new)? {
        WhyQuery::Worker(worker)
    } else if let Some(peer) = parts.maybe("PEER", PEER_FORM, word)? {
        WhyQuery::Peer(peer)
    } else if let Some(loan) = parts.maybe("LOAN_ID", LOAN_FORM, LoanId::new)? {
        WhyQuery::Loan(loan)
    } else {
        WhyQuery::Latest { before: parts.maybe_number("BEFORE", 1..=u64::MAX)? }
    };
    Ok(Body::Why(Box::new(query)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Result<Body, String> {
        why(&format!(r#"{{"TASK":"WHY"{fields}}}"#)).map_err(|fault| fault.detail)
    }

    #[test]
    fn one_thing_is_asked_about_or_none() {
        let is = |fields: &str, query: WhyQuery| assert_eq!(read(fields), Ok(Body::Why(Box::new(query))), "{fields}");
        is("", WhyQuery::Latest { before: None });
        is(r#","BEFORE":7"#, WhyQuery::Latest { before: Some(7) });
        is(r#","JOB_ID":"a-1-2""#, WhyQuery::Job(JobRef::Id(JobId::new("a-1-2").unwrap())));
        is(r#","KEY":"k""#, WhyQuery::Job(JobRef::Key("k".to_owned())));
        is(r#","WORKER_UUID":"w""#, WhyQuery::Worker(ServerId::new("w").unwrap()));
        is(r#","PEER":"10.0.0.1:9101""#, WhyQuery::Peer("10.0.0.1:9101".to_owned()));
        is(r#","LOAN_ID":"l-1""#, WhyQuery::Loan(LoanId::new("l-1").unwrap()));
    }

    #[test]
    fn errors_name_the_field_and_what_was_expected() {
        let error = |fields: &str, field: &str, expected: &str| {
            let detail = read(fields).unwrap_err();
            assert!(detail.contains(&format!("`{field}`")) && detail.contains(expected), "{detail}");
        };
        error(r#","PEER":"p","LOAN_ID":"l""#, "LOAN_ID", "expected one of JOB_ID, KEY, WORKER_UUID, PEER, LOAN_ID");
        error(r#","LOAN_ID":"a b""#, "LOAN_ID", "the id of a loan");
        error(r#","PEER":5"#, "PEER", "expected the id, the name");
        error(r#","BEFORE":0"#, "BEFORE", "expected");
    }
}
