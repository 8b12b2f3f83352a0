//! The lines that a busy master reads most, SUBMIT and the STATUS of an attempt, read straight into their messages.
//!
//! So are read: the fields that native nodes write there, in any order, none twice, strings without escapes, whole
//! numbers without signs, and at most one blank behind a comma or a colon. Whatever else a line has or is, what is wrong above
//! all, is left to the general reader, so that there is one judge and one wording of what is wrong. So this may refuse what
//! it likes, and must never read a line in another way than the general reader: that is what its tests are about.

use std::time::Duration;

use crate::wire::scan::{plain_bytes, value_length};
use crate::wire::{
    Attempt, Body, DEFAULT_PRIORITY, JobId, Json, MAX_ATTEMPTS, MAX_DELAY, MAX_JSON_BYTES, MAX_PRIORITY, MAX_WAIT,
    Message, RequestId, ServerId, ServiceName, Submit, WorkerStatus,
};

use super::Shape;
use super::request::key;

/// Reads such a line. `worker`: who reported on this link before. `None`: the line is the general reader's.
pub(super) fn read(line: &str, worker: Option<&ServerId>) -> Option<(Message, Shape)> {
    if let Some(rest) = line.strip_prefix("{\"TASK\":\"SUBMIT\",") {
        return submit(Rest(rest)).map(|message| (message, Shape::Plain));
    }
    let (rest, ok) = match line.strip_prefix("{\"STATUS\":\"OK\",\"TASK\":\"JOB\",") {
        Some(rest) => (rest, true),
        None => (line.strip_prefix("{\"STATUS\":\"NOK\",\"TASK\":\"JOB\",")?, false),
    };
    status(Rest(rest), ok, worker).map(|message| (message, Shape::Native))
}

fn submit(mut line: Rest<'_>) -> Option<Message> {
    let (mut id, mut service, mut method, mut params) = (None, None, None, None);
    let (mut priority, mut delay, mut timeout, mut attempts) = (None, None, None, None);
    let (mut dedup, mut wait, mut output, mut follow, mut hops) = (None, None, None, None, None);
    loop {
        if line.key("\"ID\":") {
            once(&mut id, RequestId::new(line.text()?))?;
        } else if line.key("\"SERVICE\":") {
            once(&mut service, ServiceName::new(line.text()?))?;
        } else if line.key("\"METHOD\":") {
            once(&mut method, ServiceName::new(line.text()?))?;
        } else if line.key("\"PARAMS\":") {
            once(&mut params, Some(line.json()?))?;
        } else if line.key("\"WAIT_MS\":") {
            once(&mut wait, line.millis(Duration::ZERO, MAX_WAIT))?;
        } else if line.key("\"PRIORITY\":") {
            once(&mut priority, u8::try_from(line.number()?).ok().filter(|priority| *priority <= MAX_PRIORITY))?;
        } else if line.key("\"KEY\":") {
            once(&mut dedup, key(line.text()?))?;
        } else if line.key("\"TIMEOUT_MS\":") {
            once(&mut timeout, line.millis(Duration::from_millis(1), MAX_WAIT))?;
        } else if line.key("\"ATTEMPTS\":") {
            let number = u32::try_from(line.number()?).ok();
            once(&mut attempts, number.filter(|number| (1..=MAX_ATTEMPTS).contains(number)))?;
        } else if line.key("\"DELAY_MS\":") {
            once(&mut delay, line.millis(Duration::ZERO, MAX_DELAY))?;
        } else if line.key("\"OUTPUT\":") {
            once(&mut output, line.flag())?;
        } else if line.key("\"FOLLOW\":") {
            once(&mut follow, line.flag())?;
        } else if line.key("\"HOPS\":") {
            once(&mut hops, u32::try_from(line.number()?).ok())?;
        } else {
            return None;
        }
        if line.is_over()? {
            break;
        }
    }
    let submit = Submit {
        service: service?,
        method: method.unwrap_or_else(ServiceName::run),
        params: params.map_or_else(Json::null, Json::trusted),
        priority: priority.unwrap_or(DEFAULT_PRIORITY),
        delay: delay.unwrap_or_default(),
        timeout,
        attempts,
        key: dedup,
        wait,
        output: output.unwrap_or_default(),
        follow: follow.unwrap_or_default(),
        hops: hops.unwrap_or_default(),
    };
    Some(Message { id, body: Body::Submit(Box::new(submit)) })
}

fn status(mut line: Rest<'_>, ok: bool, before: Option<&ServerId>) -> Option<Message> {
    let (mut id, mut worker, mut job_id, mut attempt) = (None, None, None, None);
    let (mut result, mut detail, mut retry) = (None, None, None);
    loop {
        if line.key("\"WORKER_UUID\":") {
            once(&mut worker, Some(line.text()?))?;
        } else if line.key("\"JOB_ID\":") {
            once(&mut job_id, JobId::new(line.text()?))?;
        } else if line.key("\"ATTEMPT\":") {
            once(&mut attempt, u32::try_from(line.number()?).ok())?;
        } else if line.key("\"RESULT\":") {
            once(&mut result, Some(line.json()?))?;
        } else if line.key("\"ID\":") {
            once(&mut id, RequestId::new(line.text()?))?;
        } else if line.key("\"RETRY\":") {
            once(&mut retry, line.flag())?;
        } else if line.key("\"DETAIL\":") {
            once(&mut detail, Some(line.text()?))?;
        } else {
            return None;
        }
        if line.is_over()? {
            break;
        }
    }
    let attempt = Attempt { job_id: job_id?, attempt: attempt? };
    let worker = match (worker?, before) {
        (worker, Some(before)) if worker == before.as_str() => before.clone(),
        (worker, _) => ServerId::new(worker)?,
    };
    let status = WorkerStatus {
        worker: Some(worker),
        ok,
        result: result.map(Json::trusted),
        detail: detail.map(str::to_owned),
        retry: retry.unwrap_or(true),
        attempt: Some(attempt),
    };
    Some(Message { id, body: Body::WorkerStatus(Box::new(status)) })
}

/// Keeps the value of a field that has not come before and is what it should be.
#[inline]
fn once<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    if field.is_some() {
        return None;
    }
    *field = Some(value?);
    Some(())
}

/// What is left of a line.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Takes this key, with its quotes and its colon, if it is the next.
    #[inline(always)]
    fn key(&mut self, key: &str) -> bool {
        let Some(rest) = self.0.strip_prefix(key) else { return false };
        self.0 = rest.strip_prefix(' ').unwrap_or(rest);
        true
    }

    /// Takes what stands behind a value: whether that is the end of the line, and not another key.
    #[inline]
    fn is_over(&mut self) -> Option<bool> {
        if let Some(rest) = self.0.strip_prefix(',') {
            self.0 = rest.strip_prefix(' ').unwrap_or(rest);
            return Some(false);
        }
        (self.0 == "}").then_some(true)
    }

    /// A string without escapes.
    fn text(&mut self) -> Option<&'a str> {
        let rest = self.0.strip_prefix('"')?;
        let (text, rest) = rest.split_at_checked(plain_bytes(rest.as_bytes()))?;
        self.0 = rest.strip_prefix('"')?;
        Some(text)
    }

    /// The text of a value that passes through.
    fn json(&mut self) -> Option<&'a str> {
        let before = self.0;
        let length = match self.text() {
            Some(text) => text.len() + 2,
            None => value_length(before)?,
        };
        let (value, rest) = before.split_at_checked(length)?;
        self.0 = rest;
        (value.len() <= MAX_JSON_BYTES).then_some(value)
    }

    /// A whole number of at most 18 digits.
    fn number(&mut self) -> Option<u64> {
        const MOST: usize = 18;
        let (mut number, mut count) = (0, 0);
        while let Some(digit @ b'0'..=b'9') = self.0.as_bytes().get(count) {
            number = 10 * number + u64::from(digit - b'0');
            count += 1;
            if count > MOST {
                return None;
            }
        }
        if count == 0 || (count > 1 && self.0.starts_with('0')) {
            return None;
        }
        self.0 = self.0.get(count..)?;
        Some(number)
    }

    /// A whole number of milliseconds in these bounds.
    fn millis(&mut self, least: Duration, most: Duration) -> Option<Duration> {
        let time = Duration::from_millis(self.number()?);
        (least..=most).contains(&time).then_some(time)
    }

    /// `true` or `false`.
    fn flag(&mut self) -> Option<bool> {
        for (word, flag) in [("true", true), ("false", false)] {
            if let Some(rest) = self.0.strip_prefix(word) {
                self.0 = rest;
                return Some(flag);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read_generally;
    use super::*;
    use crate::wire::encode;

    /// The law: what is read here the general reader reads, too, and in the same way. Tells whether it was read here.
    fn agrees(line: &[u8]) -> Result<bool, String> {
        let Ok(line) = str::from_utf8(line) else { return Ok(false) };
        for worker in [None, ServerId::new("w"), ServerId::new("another")] {
            let Some(found) = read(line, worker.as_ref()) else { return Ok(false) };
            let general = read_generally(line, worker.as_ref());
            if general.as_ref() != Ok(&found) {
                return Err(format!("{line:?}: {found:?}, and the general reader {general:?}"));
            }
        }
        Ok(true)
    }

    #[test]
    fn what_clients_and_native_workers_say_is_read_here() {
        for line in [
            r#"{"TASK":"SUBMIT","ID":"7","SERVICE":"bench","WAIT_MS":60000,"PARAMS":"0123456789abcdef"}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a"}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","METHOD":"b","PARAMS":{"n":[1,-2.5e+3,{"a\"b":"\u00e9\\"}, true ,null]},"KEY":"é"}"#,
            r#"{"TASK":"SUBMIT","SERVICE": "a", "PARAMS": "\n", "OUTPUT": true}"#,
            r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"w","JOB_ID":"3fa9c1d2-7-42","ATTEMPT":1,"RESULT":"x"}"#,
            r#"{"STATUS":"NOK","TASK":"JOB","WORKER_UUID":"w","JOB_ID":"3fa9c1d2-7-42","ATTEMPT":0,"RETRY":false,"DETAIL":"é"}"#,
        ] {
            assert_eq!(agrees(line.as_bytes()), Ok(true), "{line}");
        }
    }

    #[test]
    fn what_this_node_writes_itself_is_read_here() {
        let name = |text: &str| ServiceName::new(text).unwrap();
        let whole = Submit {
            priority: 9,
            delay: MAX_DELAY,
            timeout: Some(MAX_WAIT),
            attempts: Some(MAX_ATTEMPTS),
            key: Some("k".to_owned()),
            wait: Some(MAX_WAIT),
            output: true,
            follow: true,
            hops: 3,
            ..Submit::new(name("a"), name("b"), Json::new("[1,{}]").unwrap())
        };
        let attempt = Attempt { job_id: JobId::new("3fa9c1d2-7-42").unwrap(), attempt: u32::MAX };
        let status = WorkerStatus {
            worker: ServerId::new("w"),
            ok: false,
            result: Json::new("null"),
            detail: Some("it \u{e9}".to_owned()),
            retry: false,
            attempt: Some(attempt),
        };
        let bodies = [
            Body::Submit(Box::new(whole)),
            Body::Submit(Box::new(Submit::new(name("a"), name("run"), Json::null()))),
            Body::WorkerStatus(Box::new(WorkerStatus { ok: true, retry: true, detail: None, ..status.clone() })),
            Body::WorkerStatus(Box::new(status)),
        ];
        for body in bodies {
            let message = Message { id: RequestId::new("7"), body };
            let mut line = Vec::new();
            encode(&message, &mut line);
            let line = line.trim_ascii_end();
            assert_eq!(agrees(line), Ok(true), "{}", String::from_utf8_lossy(line));
            assert_eq!(read(str::from_utf8(line).unwrap(), None).unwrap().0, message);
        }
    }

    #[test]
    fn what_is_wrong_or_rare_is_left_to_the_general_reader() {
        for line in [
            r#"{"TASK":"SUBMIT"}"#,
            r#"{"TASK":"SUBMIT","ID":"7"}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a.b"}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","SERVICE":"a"}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","x":1}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","RESPONSE":"OK"}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","PRIORITY":10}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","ATTEMPTS":0}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","TIMEOUT_MS":0}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","WAIT_MS":86400001}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","WAIT_MS":01}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","WAIT_MS":1.5}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","WAIT_MS":null}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","WAIT_MS":1111111111111111111}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a"}}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a"} "#,
            r#"{"TASK":"SUBMIT","SERVICE":"a","#,
            r#"{"STATUS":"OK","TASK":"JOB","JOB_ID":"1","ATTEMPT":1}"#,
            r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"w","ATTEMPT":1}"#,
            r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"w","JOB_ID":"1"}"#,
            r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"","JOB_ID":"1","ATTEMPT":1}"#,
            r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"w","JOB_ID":"1 2","ATTEMPT":1}"#,
            r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"w","JOB_ID":"1","ATTEMPT":4294967296}"#,
            r#"{"STATUS":"OK","TASK":"QUERY","WORKER_UUID":"w","JOB_ID":"1","ATTEMPT":1}"#,
        ] {
            assert_eq!(agrees(line.as_bytes()), Ok(false), "{line}");
        }
    }

    #[test]
    fn every_beginning_and_every_one_byte_change_is_read_as_the_general_reader_reads_it() {
        for line in [
            r#"{"TASK":"SUBMIT","ID":"7","SERVICE":"a", "PARAMS":[1,"\u12aF"],"KEY":"é","WAIT_MS":10,"OUTPUT":true}"#,
            r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"w","JOB_ID":"1-2","ATTEMPT":10,"RESULT":"\\","RETRY":false}"#,
        ] {
            let line = line.as_bytes();
            assert_eq!(agrees(line), Ok(true));
            for at in 0..line.len() {
                agrees(&line[..at]).unwrap();
                agrees(&[&line[..at], &line[at + 1..]].concat()).unwrap();
                for byte in 0..=255_u8 {
                    agrees(&[&line[..at], &[byte], &line[at..]].concat()).unwrap();
                    agrees(&[&line[..at], &[byte], &line[at + 1..]].concat()).unwrap();
                }
            }
        }
    }

    fn member() -> impl Strategy<Value = String> {
        let some = |texts: &'static str| proptest::sample::select(texts.split('|').collect::<Vec<_>>());
        let keys = some(
            "ID|SERVICE|METHOD|PARAMS|WAIT_MS|PRIORITY|KEY|TIMEOUT_MS|ATTEMPTS|DELAY_MS|OUTPUT|FOLLOW|HOPS|WORKER_UUID|\
             JOB_ID|ATTEMPT|RESULT|RETRY|DETAIL|TASK|STATUS|RESPONSE|WAIT|x",
        );
        let texts = some(r#""w"|"a"|"a-b"|"a.b"|""|"é"|"\u200b"|"\n"|"1 2""#);
        let numbers = some("0|1|4|9|10|100|101|01|-1|1.0|1e3|86400000|86400001|2592000000|4294967295|4294967296");
        let others = some(r#"true|false|null|[]|{"a":[1, {}]}|[1|"x|tru"#);
        let values = prop_oneof![4 => texts, 3 => numbers, 2 => others];
        let blanks = || proptest::sample::select(vec!["", "", "", " ", "  "]);
        (blanks(), keys, blanks(), values).prop_map(|(one, key, two, value)| format!("{one}\"{key}\":{two}{value}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn what_is_read_here_is_read_as_the_general_reader_reads_it(
            begin in proptest::sample::select(vec![
                r#"{"TASK":"SUBMIT","#,
                r#"{"TASK":"SUBMIT","SERVICE":"a","#,
                r#"{"STATUS":"OK","TASK":"JOB","#,
                r#"{"STATUS":"NOK","TASK":"JOB","WORKER_UUID":"w","JOB_ID":"1-2","ATTEMPT":3,"#,
            ]),
            members in proptest::collection::vec(member(), 1..5),
            change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8)),
        ) {
            let mut line = format!("{begin}{}}}", members.join(",")).into_bytes();
            let agreed = agrees(&line);
            prop_assert!(agreed.is_ok(), "{agreed:?}");
            if let Some((at, byte, how)) = change {
                let at = at.index(line.len());
                match how {
                    0 => line[at] = byte,
                    1 => line.insert(at, byte),
                    _ => drop(line.remove(at)),
                }
                let agreed = agrees(&line);
                prop_assert!(agreed.is_ok(), "{agreed:?}");
            }
        }
    }
}
