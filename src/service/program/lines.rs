//! The lines of a program: requests to it, and what it writes.

use std::io::{ErrorKind, Read};

use serde_json::{Map, Value, json};

use crate::core::Run;
use crate::wire::Json;

/// What is kept of a line that is too long: enough to find whose answer it is.
const HEAD: usize = 1024;

/// A line that was read, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The line, or its begin.
    pub(super) text: String,
    /// Whether it was longer than the limit.
    pub(super) is_cut: bool,
}

/// Reads lines of at most `most` bytes until the end of `from`, or until `tell` says that nobody listens. Longer ones
/// are told once, cut, and the rest of them is skipped.
pub(super) fn read_lines(mut from: impl Read, most: usize, mut tell: impl FnMut(Line) -> bool) {
    let mut line: Vec<u8> = Vec::new();
    let mut skips = false;
    let mut bytes = [0; 8 * 1024];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let (part, after) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
            rest = after;
            if !skips {
                line.extend_from_slice(part);
                let length = line.len() - usize::from(end.is_some());
                if length > most {
                    line.truncate(HEAD);
                    skips = true;
                }
                if (skips || end.is_some()) && !tell(told(&mut line, skips)) {
                    return;
                }
            }
            if end.is_some() {
                skips = false;
            }
        }
    }
    if !line.is_empty() {
        tell(told(&mut line, false));
    }
}

fn told(line: &mut Vec<u8>, is_cut: bool) -> Line {
    let text = String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned();
    line.clear();
    Line { text, is_cut }
}

/// The line that asks a program.
pub(super) fn request(id: u64, run: &Run, timeout_ms: u64) -> Vec<u8> {
    let mut line = head(id, run.method.as_str());
    // PARAMS are passed on as they came.
    line += &format!(",\"PARAMS\":{}", run.params.as_str());
    if let Some(attempt) = &run.attempt {
        line += &format!(",\"JOB_ID\":{},\"ATTEMPT\":{}", Json::string(attempt.job_id.as_str()), attempt.attempt);
    }
    line += &format!(",\"TIMEOUT_MS\":{timeout_ms}}}\n");
    line.into_bytes()
}

/// The line that asks a program whether it is well.
pub(super) fn health_request(id: u64, method: &str, timeout_ms: u64) -> Vec<u8> {
    format!("{},\"PARAMS\":null,\"TIMEOUT_MS\":{timeout_ms}}}\n", head(id, method)).into_bytes()
}

fn head(id: u64, method: &str) -> String {
    format!("{{\"ID\":\"{id}\",\"METHOD\":{}", Json::string(method))
}

/// An answer of a program.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// `ID`, as far as it is one that was ever given.
    pub(super) id: Option<u64>,
    /// `RESULT`, or what went wrong.
    pub(super) result: Result<Value, Fault>,
}

/// An answer with `ERROR`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// `ERROR`.
    pub(super) detail: String,
    /// `RETRY`. Default false: who answers has understood the request, and would answer the same again.
    pub(super) retry: bool,
    /// `RESULT` beside it.
    pub(super) result: Option<Value>,
}

/// The answer of a line, or `None` if it is none.
pub(super) fn answer(line: &str) -> Option<Answer> {
    if !line.trim_start().starts_with('{') {
        return None;
    }
    let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
    let id = match fields.remove("ID")? {
        Value::String(id) => id.parse().ok(),
        Value::Number(id) => id.as_u64(),
        _ => return None,
    };
    let result = fields.remove("RESULT");
    let result = match (fields.remove("ERROR"), result) {
        (None | Some(Value::Null), None) => return None,
        (None | Some(Value::Null), Some(result)) => Ok(result),
        (Some(error), result) => {
            let detail = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
            Err(Fault { detail, retry: fields.get("RETRY") == Some(&json!(true)), result })
        }
    };
    Some(Answer { id, result })
}

/// The `ID` of an answer of which only the begin was read.
pub(super) fn id_of_head(head: &str) -> Option<u64> {
    let (_, after) = head.split_once("\"ID\"")?;
    let value = after.trim_start().strip_prefix(':')?.trim_start();
    let value = value.strip_prefix('"').unwrap_or(value);
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    value[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::core::RunId;
    use crate::wire::{Attempt, JobId, ServiceName};

    /// Gives bytes in pieces of these sizes, again and again.
    struct Pieces<'a>(&'a [u8], Vec<usize>, usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let size = self.1[self.2 % self.1.len()].min(self.0.len()).min(into.len());
            self.2 += 1;
            into[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    fn lines(bytes: &[u8], sizes: Vec<usize>, most: usize) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        read_lines(Pieces(bytes, sizes, 0), most, |line| {
            found.push((line.text, line.is_cut));
            true
        });
        found
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_come(
            text in prop::collection::vec("[a-z]{0,12}", 0..8), ended: bool, sizes in prop::collection::vec(1usize..9, 1..5)
        ) {
            let most = 6;
            let mut bytes = text.join("\n");
            if ended { bytes.push('\n'); }
            // A line that is told as soon as it is too long is known by its begin only.
            let found = lines(bytes.as_bytes(), sizes, most);
            let mut expected: Vec<&str> = bytes.split('\n').collect();
            if expected.last() == Some(&"") { expected.pop(); }
            prop_assert_eq!(found.len(), expected.len(), "{:?} of {:?}", found, expected);
            for ((text, is_cut), expected) in found.iter().zip(expected) {
                prop_assert_eq!(*is_cut, expected.len() > most);
                let is_right = if *is_cut { expected.starts_with(text.as_str()) } else { text == expected };
                prop_assert!(is_right, "{:?} of {:?}", text, expected);
            }
        }
    }

    #[test]
    fn a_line_without_end_is_told_once_and_skipped() {
        let mut bytes = vec![b'x'; 100_000];
        bytes.extend_from_slice(b"\r\nnext\r\n\nlast");
        let found = lines(&bytes, vec![999], 5000);
        assert_eq!(found.len(), 4);
        assert!(found[0].1 && found[0].0.len() == HEAD);
        assert_eq!(found[1..], [("next".into(), false), (String::new(), false), ("last".into(), false)]);
    }

    #[test]
    fn requests_are_lines_of_json_with_what_the_manual_names() {
        let name = |text| ServiceName::new(text).unwrap();
        let attempt = Attempt { job_id: JobId::new("a-1-2").unwrap(), attempt: 3 };
        let params = Json::new("{\"big\":123456789012345678901234567890}").unwrap();
        let run = Run {
            run: RunId(1),
            service: name("s"),
            method: name("m"),
            params,
            timeout: Duration::ZERO,
            attempt: Some(attempt),
            output: false,
        };
        assert_eq!(
            String::from_utf8(request(7, &run, 250)).unwrap(),
            "{\"ID\":\"7\",\"METHOD\":\"m\",\"PARAMS\":{\"big\":123456789012345678901234567890},\"JOB_ID\":\"a-1-2\",\"ATTEMPT\":3,\"TIMEOUT_MS\":250}\n"
        );
        assert_eq!(
            String::from_utf8(health_request(8, "ping", 5)).unwrap(),
            "{\"ID\":\"8\",\"METHOD\":\"ping\",\"PARAMS\":null,\"TIMEOUT_MS\":5}\n"
        );
    }

    #[test]
    fn answers_are_told_from_whatever_else_a_program_prints() {
        let ok = |id, value: Value| Some(Answer { id, result: Ok(value) });
        assert_eq!(answer("{\"ID\":\"7\",\"RESULT\":null}"), ok(Some(7), Value::Null));
        assert_eq!(answer(" {\"ID\":7,\"RESULT\":[1],\"ERROR\":null}"), ok(Some(7), json!([1])));
        assert_eq!(answer("{\"ID\":\"x\",\"RESULT\":1}"), ok(None, json!(1)));
        let fault = |detail: &str, retry, result| {
            Some(Answer { id: Some(1), result: Err(Fault { detail: detail.into(), retry, result }) })
        };
        assert_eq!(answer("{\"ID\":\"1\",\"ERROR\":\"no\"}"), fault("no", false, None));
        assert_eq!(
            answer("{\"ID\":\"1\",\"ERROR\":{\"a\":1},\"RETRY\":true,\"RESULT\":2}"),
            fault("{\"a\":1}", true, Some(json!(2)))
        );
        for stray in ["", "hello", "{", "{\"ID\":\"1\"}", "{\"RESULT\":1}", "[1]", "{\"ID\":null,\"RESULT\":1}", "7"] {
            assert_eq!(answer(stray), None, "{stray}");
        }
    }

    #[test]
    fn the_id_of_a_long_answer_is_found_in_its_begin() {
        assert_eq!(id_of_head("{\"ID\":\"42\",\"RESULT\":\"xxx"), Some(42));
        assert_eq!(id_of_head("{\"ID\" : 42, \"RESULT\":\"xxx"), Some(42));
        for none in ["{\"RESULT\":\"xxx", "{\"ID\":\"\",", "{\"ID\"", "{\"ID\":\"99999999999999999999999\""] {
            assert_eq!(id_of_head(none), None, "{none}");
        }
    }
}
