//! Why a line that deserves no answer was ignored, in words for the log. Asked of few lines, so each is read once more.

use crate::wire::fields::{Fields, Key};
use crate::wire::{Body, LoanAnswer, MAX_JSON_BYTES, MAX_SLOTS, Message, RequestId};

use super::{Shape, cycle, envelope, is_answer, older};

const _: () = assert!(MAX_JSON_BYTES == 60 * 1024 && MAX_SLOTS == 1024, "the words of this file say so");

/// What is wrong with a line that [`super::read`] ignores, and what was expected.
pub(in crate::wire) fn why_ignored(line: &[u8]) -> &'static str {
    let mut fields = Fields::new();
    let Ok(text) = str::from_utf8(line) else { return "it is no JSON object" };
    if fields.read(text).is_err() || fields.not_an_object {
        return "it is no JSON object";
    }
    // A duplicate is told by each of them, too.
    if let Some(kind) = envelope::kind(&fields) {
        let read = envelope::read(kind, text, &fields);
        return read.err().unwrap_or("it answers nothing that this node has asked");
    }
    if let Some(kind) = older::kind(&fields)
        && let Err(why) = older::read(kind, text, &fields)
    {
        return why;
    }
    let absent = |keys: [Key; 2]| keys.iter().all(|key| fields.is_absent(*key));
    let nameless = cycle::worker(&fields).is_none();
    if is_answer(&fields) {
        "it answers nothing that this node has asked"
    } else if fields.duplicate.is_some() {
        "a field stands twice in it"
    } else if cycle::is_status(&fields) {
        match nameless && !absent([Key::WorkerUuid, Key::LowerWorkerUuid]) {
            true => "a STATUS whose WORKER_UUID is no string of 1 to 128 bytes without control characters",
            false => "a STATUS with a JOB_ID but no ATTEMPT at a job, or with a RESULT of more than 60 KiB",
        }
    } else if cycle::is_alive(&fields) {
        match (nameless, absent([Key::WorkerUuid, Key::LowerWorkerUuid])) {
            (true, true) => "WORKER ALIVE without WORKER_UUID; expected the id of the worker",
            (true, false) => "WORKER ALIVE whose WORKER_UUID is no string of 1 to 128 bytes without control characters",
            (false, _) => {
                "WORKER ALIVE whose SLOTS is no whole number from 0 to 1024, or whose EPOCH or LOAN_ID is not well-formed"
            }
        }
    } else if !absent([Key::Type, Key::UpperType]) {
        "a `type` that is not known here"
    } else {
        "it belongs to a conversation between workers and masters that is not known here"
    }
}

/// The refusal that is due to a line which is ignored, if it is plain that it asks for workers: who asks waits for an answer. And its shape,
/// which is that of the answer.
pub(in crate::wire) fn refusal(line: &[u8]) -> Option<(Message, Shape)> {
    let text = str::from_utf8(line).ok()?;
    let mut fields = Fields::new();
    fields.read(text).ok()?;
    if fields.duplicate.is_some() {
        return None;
    }
    let (id, shape) = match (envelope::kind(&fields), older::kind(&fields)) {
        (Some(envelope::Kind::RequestHelp), _) => envelope::outside(text, &fields),
        (None, Some(older::Kind::WorkerRequest)) => {
            (fields.text(Key::Id).and_then(RequestId::new), older::shape_of_request(text, &fields))
        }
        _ => return None,
    };
    let answer = LoanAnswer::Rejected { master: None, reason: "refused".to_owned() };
    Some((Message { id, body: Body::LoanAnswer(Box::new(answer)) }, shape))
}

/// What is wrong with a line that came where an answer is waited for, if it is one, or nothing at all. `None`: it is something else, and the
/// answer may come yet.
pub(in crate::wire) fn wrong_answer(line: &[u8]) -> Option<&'static str> {
    let mut fields = Fields::new();
    let read = str::from_utf8(line).is_ok_and(|text| fields.read(text).is_ok());
    (!read || fields.not_an_object || is_answer(&fields)).then(|| why_ignored(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode::{Undecoded, read};

    #[test]
    fn every_line_that_is_ignored_has_its_reason() {
        for (line, reason) in [
            (r#"{"WORKER":"ALIVE"}"#, "without WORKER_UUID"),
            (r#"{"worker":"alive"}"#, "without WORKER_UUID"),
            (r#"{"WORKER":"Alive","SERVER_UUID":"Master_B"}"#, "without WORKER_UUID"),
            (r#"{"WORKER":"ALIVE","SLOTS":4,"WAIT":true}"#, "without WORKER_UUID"),
            (r#"{"WORKER":"ALIVE","WORKER_UUID":""}"#, "WORKER_UUID is no string"),
            (r#"{"WORKER":"ALIVE","WORKER_UUID":["W"]}"#, "WORKER_UUID is no string"),
            (r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SLOTS":"four"}"#, "SLOTS"),
            (r#"{"STATUS":"OK","TASK":"QUERY","WORKER_UUID":{}}"#, "STATUS whose WORKER_UUID"),
            (r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"W","JOB_ID":"a-1-1"}"#, "ATTEMPT"),
            (r#"{"type":"request_kitchen","payload":{}}"#, "a `type` that is not known"),
            (r#"{"type":"a","type":"b"}"#, "stands twice"),
            (r#"{"TASK":"REDIRECT","SERVER_REDIRECT":{"ip":"127.0.0.1","port":0}}"#, "SERVER_REDIRECT"),
            (r#"{"TASK":"LOAD","RESPONSE":"PERHAPS"}"#, "answers nothing"),
            (r#"{"WORKER":"SLEEPS"}"#, "conversation"),
        ] {
            assert!(matches!(read(line.as_bytes()), Err(Undecoded::Ignored)), "{line}");
            assert!(why_ignored(line.as_bytes()).contains(reason), "{line}: {}", why_ignored(line.as_bytes()));
        }
    }
}
