//! `node why`: why a job waits, a worker is not lent, a peer is TIMEOUT, a loan stands as it does; or what was decided last.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::{AskError, Node, Reply, Talk, ask, strange};
use super::conclude::{Conclusion, Form};
use super::exit;
use super::pretty::printable;
use super::work::ToArgs;
use crate::time::Seconds;
use crate::wire::{
    Body, Decision, ErrorAnswer, ErrorCode, JobId, JobRef, LoanId, MAX_ID_BYTES, ServerId, WhyAnswer, WhyQuery, quote,
};

/// Characters of a decision that are shown.
const LONGEST: usize = 2048;

/// Options of `node why`.
#[derive(Args, Debug)]
pub(super) struct WhyArgs {
    #[command(flatten)]
    to: ToArgs,

    /// What is asked about: the id of a job or a loan, the id or the name of a worker or a peer, or HOST:PORT of a peer. Without it
    /// the latest decisions are listed
    #[arg(value_name = "JOB|WORKER|PEER|LOAN")]
    what: Option<String>,

    /// Print the node's answers as they came, a line each
    #[arg(long)]
    json: bool,
}

/// Asks and prints.
pub(super) fn run(args: &WhyArgs) -> ExitCode {
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let form = Form::here(args.json);
    let found = match &args.what {
        Some(what) => about(&mut node, what),
        None => latest(&mut node),
    };
    match found {
        Ok(found) if found.is_empty() => {
            let what = args.what.as_deref().unwrap_or_default();
            let text = format!("nothing here is called `{}`: no job, worker, peer or loan", printable(what));
            let error = ErrorAnswer { retry: false, ..ErrorAnswer::new("WHY", ErrorCode::NotFound, text) };
            Conclusion::error(AskError::Refused(args.to.to.clone(), error))
        }
        Ok(found) if args.json => {
            let lines: Vec<String> = found.iter().map(|(_, reply, _)| form.value(&reply.line)).collect();
            Conclusion::line(lines.join("\n"), exit::OK)
        }
        Ok(found) => Conclusion::line(text(&found), exit::OK),
        Err(error) => Conclusion::error(error),
    }
    .print()
}

/// What is known of something, by what it is.
type Found = Vec<(&'static str, Reply, WhyAnswer)>;

/// Asks what a word may mean, one after the other.
fn about(talk: &mut dyn Talk, what: &str) -> Result<Found, AskError> {
    let mut queries = Vec::new();
    if let Some(job) = JobId::new(what) {
        queries.push(("job", WhyQuery::Job(JobRef::Id(job))));
    }
    if let Some(worker) = ServerId::new(what) {
        queries.push(("worker", WhyQuery::Worker(worker)));
    }
    if (1..=MAX_ID_BYTES).contains(&what.len()) {
        queries.push(("peer", WhyQuery::Peer(what.to_owned())));
    }
    if let Some(loan) = LoanId::new(what) {
        queries.push(("loan", WhyQuery::Loan(loan)));
    }
    let mut found = Vec::new();
    for (kind, query) in queries {
        match asked(talk, query) {
            Ok((reply, answer)) => found.push((kind, reply, answer)),
            Err(AskError::Refused(_, error)) if error.code == ErrorCode::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Every page of the latest decisions.
fn latest(talk: &mut dyn Talk) -> Result<Found, AskError> {
    let mut found: Found = Vec::new();
    let mut before = None;
    loop {
        let (reply, answer) = asked(talk, WhyQuery::Latest { before })?;
        let last = answer.decisions.last().map(|decision| decision.seq);
        let more = answer.more && last.is_some() && last != before;
        before = last;
        found.push(("", reply, answer));
        if !more {
            return Ok(found);
        }
    }
}

fn asked(talk: &mut dyn Talk, query: WhyQuery) -> Result<(Reply, WhyAnswer), AskError> {
    let reply = ask(talk, Body::Why(Box::new(query)), Duration::ZERO)?;
    match &reply.message.body {
        Body::WhyAnswer(answer) => {
            let answer = (**answer).clone();
            Ok((reply, answer))
        }
        _ => Err(strange(talk.address(), &reply)),
    }
}

fn text(found: &Found) -> String {
    let mut lines = Vec::new();
    for (kind, _, answer) in found {
        if let Some(why) = &answer.why {
            lines.push(format!("{kind}: {}", printable(why)));
        }
        let named = answer.why.is_some();
        lines.extend(answer.decisions.iter().map(|decision| line(decision, named)));
    }
    if lines.is_empty() {
        return "nothing was decided yet".to_owned();
    }
    lines.join("\n")
}

fn line(decision: &Decision, named: bool) -> String {
    let Decision { seq, age, about, text } = decision;
    let about = if named { String::new() } else { format!("{}: ", quote(about, LONGEST)) };
    format!("  {seq}, {} s ago: {about}{}", Seconds(*age), quote(text, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_one_line_with_its_age() {
        let decision = Decision {
            seq: 7,
            age: Duration::from_millis(1500),
            about: "w-1".to_owned(),
            text: "not lent:\n kept, keep=1".to_owned(),
        };
        assert!(!line(&decision, false).contains('\n'));
        assert!(line(&decision, false).starts_with("  7, 1.5 s ago: w-1: not lent:"));
        assert!(line(&decision, true).starts_with("  7, 1.5 s ago: not lent:"));
    }
}
