//! A file of jobs: one JSON object a line, read and checked as a whole before anything is sent.

use std::fmt;
use std::io::{self, BufRead};
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::ask::line;
use super::submit::new_key;
use super::work::{Target, json_fault, parse_key};
use crate::wire::{
    Body, Json, MAX_ATTEMPTS, MAX_DELAY, MAX_JSON_BYTES, MAX_PRIORITY, MAX_WAIT, Message, RequestId, ServiceName,
    Submit,
};

/// The jobs of a file, as the lines that are sent for them, one after another.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// On which line of the file each stands, from 1: its `ID`, too.
    numbers: Vec<usize>,
}

impl Jobs {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// What is sent for the job at this place.
    pub(super) fn line(&self, job: usize) -> &[u8] {
        let start = job.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[job]]
    }

    /// The line of the file on which a job stands, from 1.
    pub(super) fn number(&self, job: usize) -> usize {
        self.numbers[job]
    }

    /// The job that an answer is for.
    pub(super) fn place(&self, id: &RequestId) -> Option<usize> {
        self.numbers.binary_search(&id.as_str().parse().ok()?).ok()
    }

    fn push(&mut self, number: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        self.numbers.push(number);
    }
}

/// Reads every line. Returns the jobs, and the bad lines with what is wrong with each. Blank lines are left out.
///
/// # Errors
/// What the system says when the file cannot be read.
pub(super) fn read(
    mut file: impl BufRead,
    defaults: &dyn Fn(&Target) -> Submit,
) -> io::Result<(Jobs, Vec<(usize, String)>)> {
    let (mut jobs, mut bad) = (Jobs::default(), Vec::new());
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if file.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let outcome = str::from_utf8(&bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1));
        let outcome = outcome.map(|text| text.trim_start_matches('\u{feff}').trim()).and_then(|text| match text {
            "" => Ok(None),
            text => job(text, defaults).map(Some),
        });
        let encoded = outcome.and_then(|submit| {
            let Some(submit) = submit else { return Ok(None) };
            let id = RequestId::new(number.to_string());
            line(&Message { id, body: Body::Submit(Box::new(submit)) }).map(Some).map_err(|error| error.to_string())
        });
        match encoded {
            Ok(Some(line)) => jobs.push(number, &line),
            Ok(None) => {}
            Err(what) => bad.push((number, what)),
        }
    }
    Ok((jobs, bad))
}

/// The fields of a line, in their order, with values as they stand there.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object such as {\"SERVICE\":\"sleep\",\"PARAMS\":{}}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// The job of a line. Keys in any letter case; what is unknown is refused, since a slip in `PARAMS` would else do
/// something else. The error says what was expected.
fn job(text: &str, defaults: &dyn Fn(&Target) -> Submit) -> Result<Submit, String> {
    let Entries(entries) = serde_json::from_str(text).map_err(|error| json_fault(text, &error))?;
    let mut fields = Fields::default();
    for (key, value) in entries {
        let place = fields.place(&key)?;
        if place.is_some() {
            return Err(format!("`{key}` stands twice in the line"));
        }
        // `null` is no value, but for PARAMS it is one, the default.
        *place = Some(value).filter(|value| value.get() != "null");
    }
    if fields.task.is_some() && fields.text(&fields.task, "TASK")? != Some("SUBMIT".to_owned()) {
        return Err("`TASK` is another one; expected \"SUBMIT\", or none".to_owned());
    }
    let service =
        fields.text(&fields.service, "SERVICE")?.ok_or("`SERVICE` is missing; expected the name of a service")?;
    let method = fields.text(&fields.method, "METHOD")?;
    let target = match method {
        // `sleep.run` is how people know it from the command line.
        None => service.parse::<Target>().map_err(|error| format!("`SERVICE`: {error}"))?,
        Some(method) => {
            let name = |text: &str, field: &str| {
                ServiceName::new(text)
                    .ok_or_else(|| format!("`{field}` is \"{text}\"; expected 1 to 64 letters, digits, _ and -"))
            };
            Target { service: name(&service, "SERVICE")?, method: name(&method, "METHOD")? }
        }
    };
    let mut submit = defaults(&target);
    if let Some(params) = &fields.params {
        let length = params.get().len();
        if length > MAX_JSON_BYTES {
            return Err(format!("`PARAMS` is {length} bytes; expected at most {MAX_JSON_BYTES}"));
        }
        submit.params = Json::new(params.get()).ok_or("`PARAMS` is not JSON")?;
    }
    let range = |value: Option<u64>, field: &str, least: u64, most: u64| match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(format!("`{field}` is {value}; expected {least} to {most}"))
        }
        value => Ok(value),
    };
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if let Some(priority) = range(fields.whole(&fields.priority, "PRIORITY")?, "PRIORITY", 0, MAX_PRIORITY.into())? {
        submit.priority = u8::try_from(priority).unwrap_or(MAX_PRIORITY);
    }
    if let Some(delay) = range(fields.whole(&fields.delay, "DELAY_MS")?, "DELAY_MS", 0, millis(MAX_DELAY))? {
        submit.delay = Duration::from_millis(delay);
    }
    if let Some(timeout) = range(fields.whole(&fields.timeout, "TIMEOUT_MS")?, "TIMEOUT_MS", 1, millis(MAX_WAIT))? {
        submit.timeout = Some(Duration::from_millis(timeout));
    }
    if let Some(attempts) = range(fields.whole(&fields.attempts, "ATTEMPTS")?, "ATTEMPTS", 1, MAX_ATTEMPTS.into())? {
        submit.attempts = u32::try_from(attempts).ok();
    }
    submit.key = Some(match fields.text(&fields.key, "KEY")? {
        Some(key) => parse_key(&key).map_err(|expected| format!("`KEY`: {expected}"))?,
        // What a connection is lost for is sent again.
        None => new_key(),
    });
    Ok(submit)
}

/// The fields that a line may have.
#[derive(Default)]
struct Fields {
    task: Option<Box<RawValue>>,
    service: Option<Box<RawValue>>,
    method: Option<Box<RawValue>>,
    params: Option<Box<RawValue>>,
    priority: Option<Box<RawValue>>,
    delay: Option<Box<RawValue>>,
    timeout: Option<Box<RawValue>>,
    attempts: Option<Box<RawValue>>,
    key: Option<Box<RawValue>>,
}

impl Fields {
    fn place(&mut self, key: &str) -> Result<&mut Option<Box<RawValue>>, String> {
        Ok(match key.to_ascii_uppercase().as_str() {
            "TASK" => &mut self.task,
            "SERVICE" => &mut self.service,
            "METHOD" => &mut self.method,
            "PARAMS" => &mut self.params,
            "PRIORITY" => &mut self.priority,
            "DELAY_MS" => &mut self.delay,
            "TIMEOUT_MS" => &mut self.timeout,
            "ATTEMPTS" => &mut self.attempts,
            "KEY" => &mut self.key,
            _ => {
                return Err(format!(
                    "`{key}` is no field of a job; expected SERVICE, METHOD, PARAMS, PRIORITY, DELAY_MS, TIMEOUT_MS, \
                     ATTEMPTS and KEY"
                ));
            }
        })
    }

    fn text(&self, field: &Option<Box<RawValue>>, name: &str) -> Result<Option<String>, String> {
        let Some(value) = field else { return Ok(None) };
        let text = serde_json::from_str(value.get());
        text.map(Some).map_err(|_| format!("`{name}` is {}; expected a string", short(value)))
    }

    fn whole(&self, field: &Option<Box<RawValue>>, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = field else { return Ok(None) };
        let number = serde_json::from_str(value.get());
        number.map(Some).map_err(|_| format!("`{name}` is {}; expected a whole number", short(value)))
    }
}

fn short(value: &RawValue) -> String {
    crate::wire::quote(value.get(), 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(target: &Target) -> Submit {
        Submit {
            service: target.service.clone(),
            method: target.method.clone(),
            priority: 7,
            attempts: Some(2),
            ..super::super::ask::tests::submit(None)
        }
    }

    fn good(text: &str) -> Submit {
        job(text, &defaults).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_line_says_what_differs_from_the_options() {
        let submit = good(r#"{"SERVICE":"a"}"#);
        assert_eq!((submit.service.as_str(), submit.method.as_str(), submit.params.as_str()), ("a", "run", "null"));
        assert_eq!((submit.priority, submit.attempts, submit.key.map(|key| key.len())), (7, Some(2), Some(36)));
        let submit = good(
            r#"{"task":"SUBMIT","service":"a","METHOD":"b","params":{"z":1.50,"a":123456789012345678901},"priority":0,
               "delay_ms":5,"TIMEOUT_MS":6,"attempts":9,"key":"k"}"#,
        );
        assert_eq!(submit.params.as_str(), r#"{"z":1.50,"a":123456789012345678901}"#, "as it stands there");
        assert_eq!((submit.priority, submit.attempts, submit.key.as_deref()), (0, Some(9), Some("k")));
        assert_eq!((submit.delay.as_millis(), submit.timeout.unwrap().as_millis()), (5, 6));
        assert_eq!(good(r#"{"SERVICE":"sleep.long"}"#).method.as_str(), "long");
        assert_eq!(good(r#"{"SERVICE":"a","METHOD":null,"PARAMS":null}"#).params.as_str(), "null");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        for (text, what) in [
            ("{\"SERVICE\":x}", "expected value at column 12"),
            ("5", "an object such as"),
            ("{}", "`SERVICE` is missing"),
            (r#"{"SERVICE":5}"#, "`SERVICE` is 5; expected a string"),
            (r#"{"SERVICE":"a b"}"#, "`SERVICE`: `a b` is no name"),
            (r#"{"SERVICE":"a.b","METHOD":"c"}"#, "`SERVICE` is \"a.b\""),
            (r#"{"SERVICE":"a","PRAMS":1}"#, "`PRAMS` is no field"),
            (r#"{"SERVICE":"a","service":"b"}"#, "`service` stands twice"),
            (r#"{"SERVICE":"a","PRIORITY":10}"#, "`PRIORITY` is 10; expected 0 to 9"),
            (r#"{"SERVICE":"a","PRIORITY":1.5}"#, "expected a whole number"),
            (r#"{"SERVICE":"a","ATTEMPTS":0}"#, "expected 1 to 100"),
            (r#"{"SERVICE":"a","TIMEOUT_MS":0}"#, "`TIMEOUT_MS` is 0"),
            (r#"{"SERVICE":"a","DELAY_MS":-1}"#, "whole number"),
            (r#"{"SERVICE":"a","KEY":""}"#, "`KEY`: expected 1 to 128 bytes"),
            (r#"{"SERVICE":"a","TASK":"CALL"}"#, "expected \"SUBMIT\""),
        ] {
            let error = job(text, &defaults).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
        let long = format!(r#"{{"SERVICE":"a","PARAMS":"{}"}}"#, "x".repeat(MAX_JSON_BYTES));
        assert!(job(&long, &defaults).unwrap_err().contains("`PARAMS` is 61442 bytes"));
    }

    #[test]
    fn a_file_is_read_whole_and_bad_lines_keep_their_numbers() {
        let text = b"\xef\xbb\xbf{\"SERVICE\":\"a\"}\r\n\n{\"SERVICE\":\nnonsense\n\xff\xfe\n{\"SERVICE\":\"b\"}";
        let (jobs, bad) = read(text.as_slice(), &defaults).unwrap();
        assert_eq!((0..jobs.len()).map(|job| jobs.number(job)).collect::<Vec<_>>(), [1, 6]);
        assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(bad[2].1.contains("not UTF-8"), "{bad:?}");
        let place = |id: &str| jobs.place(&RequestId::new(id).unwrap());
        assert_eq!((place("1"), place("6"), place("3"), place("x")), (Some(0), Some(1), None, None));
    }

    #[test]
    fn the_lines_that_are_sent_are_kept_apart() {
        let mut jobs = Jobs::default();
        for (number, line) in [(1, "one\n"), (4, ""), (5, "five\n")] {
            jobs.push(number, line.as_bytes());
        }
        assert_eq!((jobs.line(0), jobs.line(1), jobs.line(2)), (&b"one\n"[..], &b""[..], &b"five\n"[..]));
    }
}
