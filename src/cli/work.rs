//! Work as people type it: SERVICE.METHOD, PARAMS, a command after `--`, and to which node it goes.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::values::Span;
use crate::wire::{Address, JobId, JobRef, Json, MAX_JSON_BYTES, ServiceName};

/// Longest piece of a bad text that is shown on either side of its fault, in characters.
const AROUND: usize = 30;

/// The node that a command is for.
#[derive(Args, Clone, Debug)]
pub(super) struct ToArgs {
    /// The master to ask
    #[arg(long, env = "NODE_TO", value_name = "HOST:PORT", default_value = "127.0.0.1:9101")]
    pub(super) to: Address,

    /// How long to wait for a connection, and for each answer that needs no waiting
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub(super) patience: Span,
}

/// A job by one of its names.
#[derive(Args, Clone, Debug)]
pub(super) struct JobArgs {
    /// Id of the job, as `node submit` told it
    #[arg(value_name = "JOB_ID", required_unless_present = "key", value_parser = parse_job_id)]
    job_id: Option<JobId>,

    /// Key with which it was submitted, instead of its id
    #[arg(long, value_name = "KEY", conflicts_with = "job_id", value_parser = parse_key)]
    key: Option<String>,
}

impl JobArgs {
    /// Which job is meant; `None` where neither was given, which only `--all` allows.
    pub(super) fn job(&self) -> Option<JobRef> {
        match (&self.job_id, &self.key) {
            (Some(id), _) => Some(JobRef::Id(id.clone())),
            (None, Some(key)) => Some(JobRef::Key(key.clone())),
            (None, None) => None,
        }
    }
}

/// A job's id from the command line.
pub(super) fn parse_job_id(text: &str) -> Result<JobId, &'static str> {
    JobId::new(text).ok_or("expected the id of a job, such as 3fa9c1d2-7-42")
}

/// The key of a job.
pub(super) fn parse_key(text: &str) -> Result<String, &'static str> {
    let fits = !text.is_empty() && text.len() <= crate::wire::MAX_ID_BYTES && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("expected 1 to 128 bytes without control characters") }
}

/// The name of a service.
pub(super) fn parse_service(text: &str) -> Result<ServiceName, &'static str> {
    ServiceName::new(text).ok_or("expected the name of a service: 1 to 64 letters, digits, _ and -")
}

/// `--wait[=SECONDS]`: how long to wait; without a number, until it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience(pub(super) Option<Duration>);

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Patience, String> {
        if text == Patience::FOR_EVER {
            return Ok(Patience(None));
        }
        text.parse::<Span>().map(|span| Patience(Some(span.0)))
    }
}

impl Patience {
    /// The value that stands for no number.
    pub(super) const FOR_EVER: &'static str = "for-ever";
}

/// `SERVICE.METHOD`; `SERVICE` alone means its method `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Who does it.
    pub(super) service: ServiceName,
    /// What it does.
    pub(super) method: ServiceName,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (service, method) = text.split_once('.').unwrap_or((text, "run"));
        let name = |word: &str| {
            ServiceName::new(word).ok_or_else(|| {
                format!("`{word}` is no name; expected SERVICE.METHOD, each 1 to 64 letters, digits, _ and -")
            })
        };
        Ok(Target { service: name(service)?, method: name(method)? })
    }
}

impl Target {
    /// Whether this is the built-in that runs commands, whose exit code becomes ours.
    pub(super) fn is_shell(&self) -> bool {
        is_shell(&self.service, &self.method)
    }
}

/// Whether a service and method are the built-in that runs commands.
pub(super) fn is_shell(service: &ServiceName, method: &ServiceName) -> bool {
    service.as_str() == "shell" && method.as_str() == "run"
}

/// A JSON value from the command line.
pub(super) fn parse_json(text: &str) -> Result<Json, String> {
    if text.len() > MAX_JSON_BYTES {
        return Err(format!("{} bytes of JSON; expected at most {MAX_JSON_BYTES}", text.len()));
    }
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(Json::new(text).expect("it was read as JSON")),
        Err(error) => Err(json_fault(text, &error)),
    }
}

/// What is wrong with a text that should be JSON, and where, over three lines: the fault, the text around it, a mark.
pub(super) fn json_fault(text: &str, error: &serde_json::Error) -> String {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    // The parser counts bytes from 1, and the byte after the last where the text ends too early.
    let fault = error.column().saturating_sub(1).min(line.len());
    let before = line.char_indices().take_while(|(at, _)| *at < fault).count();
    let first = before.saturating_sub(AROUND);
    let around: String =
        line.chars().skip(first).take(before - first + AROUND).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let at = if error.line() > 1 {
        format!("line {}, column {}", error.line(), before + 1)
    } else {
        format!("column {}", before + 1)
    };
    format!("not JSON: {what} at {at}\n    {around}\n    {blank}^", blank = " ".repeat(before - first))
}

/// The params of `shell.run` for a command.
pub(super) fn command_params(command: &[String]) -> Json {
    Json::of(&serde_json::json!({ "command": command }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_service_and_a_method() {
        let target = |text: &str| text.parse::<Target>().map(|it| format!("{}/{}", it.service, it.method));
        assert_eq!(target("sleep.run"), Ok("sleep/run".to_owned()));
        assert_eq!(target("my-files"), Ok("my-files/run".to_owned()));
        for bad in ["", ".", "a.", ".b", "a.b.c", "a b", "é"] {
            assert!(target(bad).unwrap_err().contains("SERVICE.METHOD"), "{bad}");
        }
        assert!("shell.run".parse::<Target>().unwrap().is_shell() && "shell".parse::<Target>().unwrap().is_shell());
        assert!(!"shell.walk".parse::<Target>().unwrap().is_shell());
    }

    #[test]
    fn bad_json_is_shown_where_it_is_bad() {
        let fault = |text: &str| parse_json(text).unwrap_err();
        let marked = |text: &str| {
            let fault = fault(text);
            let lines: Vec<&str> = fault.lines().collect();
            let at = lines[2].chars().position(|c| c == '^').unwrap();
            (lines[0].to_owned(), lines[1].chars().nth(at))
        };
        assert_eq!(marked(r#"{"n":x}"#), ("not JSON: expected value at column 6".to_owned(), Some('x')));
        assert_eq!(marked(r#"{"é":x}"#).1, Some('x'), "columns are characters");
        assert_eq!(marked("{\n\"a\": 1\n\"b\": 2}").1, Some('"'));
        assert!(marked("{\n\"a\": 1\n\"b\": 2}").0.contains("line 3, column 1"));
        assert!(fault("{\"a\":").contains("EOF"));
        let long = format!("[{}x{}]", "1,".repeat(500), " ".repeat(500));
        assert_eq!(marked(&long).1, Some('x'));
        assert!(fault(&long).lines().all(|line| line.chars().count() < 80));
        assert!(fault("").contains("column 1"));
        assert!(fault("{'a':1}").contains("^"));
    }

    #[test]
    fn good_json_stays_as_it_was_typed() {
        assert_eq!(
            parse_json(" {\"z\": 1.50, \"a\": 12345678901234567890123}").unwrap().as_str(),
            " {\"z\": 1.50, \"a\": 12345678901234567890123}"
        );
        assert!(parse_json(&format!("\"{}\"", "x".repeat(MAX_JSON_BYTES))).unwrap_err().contains("at most 61440"));
    }

    #[test]
    fn waiting_has_a_time_or_none() {
        assert_eq!("5".parse(), Ok(Patience(Some(Duration::from_secs(5)))));
        assert_eq!(Patience::FOR_EVER.parse(), Ok(Patience(None)));
        assert!("soon".parse::<Patience>().is_err());
    }

    #[test]
    fn a_command_keeps_its_words_apart() {
        let command = ["echo".to_owned(), "a \"b\"".to_owned()];
        assert_eq!(command_params(&command).as_str(), r#"{"command":["echo","a \"b\""]}"#);
    }
}
