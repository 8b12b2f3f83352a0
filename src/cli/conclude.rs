//! What became of a job, for people: on standard output what they asked for, on standard error what went wrong, and
//! the exit code.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use super::exit;
use super::pretty::{pretty, printable};
use crate::wire::{JobAnswer, JobStatus, JobView, Json, Stream};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// The answer line as it came, and nothing else.
    pub(super) json: bool,
    /// Whether a terminal reads it: then JSON is indented and cannot steer it.
    pub(super) terminal: bool,
    /// Whether keys are coloured.
    pub(super) colour: bool,
}

impl Form {
    /// The form for this process's standard output.
    pub(super) fn here(json: bool) -> Form {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Form { json, terminal, colour }
    }

    /// JSON in this form.
    pub(super) fn value(self, text: &str) -> String {
        if self.terminal { pretty(&printable(text), self.colour) } else { text.to_owned() }
    }
}

/// What is printed, and how the process ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conclusion {
    /// For standard output, as it is.
    pub(super) out: String,
    /// For standard error, as it is.
    pub(super) err: String,
    /// The exit code.
    pub(super) code: u8,
}

impl Conclusion {
    /// A line for standard output, and this code.
    pub(super) fn line(text: impl Into<String>, code: u8) -> Conclusion {
        Conclusion { out: text.into() + "\n", err: String::new(), code }
    }

    /// A failure, as a sentence.
    pub(super) fn error(error: impl std::fmt::Display) -> Conclusion {
        Conclusion { err: format!("error: {error}\n"), code: exit::FAILURE, ..Conclusion::default() }
    }

    /// Prints it. Who reads our output may have enough of it: that is no failure.
    pub(super) fn print(self) -> ExitCode {
        // Where standard error cannot be written, the exit code still tells.
        let _: io::Result<()> = io::stderr().write_all(self.err.as_bytes());
        match io::stdout().write_all(self.out.as_bytes()).and_then(|()| io::stdout().flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("error: standard output: {error}");
                ExitCode::from(exit::FAILURE)
            }
            _ => ExitCode::from(self.code),
        }
    }
}

/// What a job that ended printed, and how it ended, as `shell.run` tells it in RESULT.
struct Ran {
    /// Exit code, the shell's number for a signal included.
    code: u8,
    out: String,
    err: String,
}

impl Ran {
    /// `EXIT` (or `SIGNAL`), `STDOUT`, `STDERR` of a RESULT, in any letter case.
    fn of(result: &Json) -> Option<Ran> {
        let value = result.value();
        let object = value.as_object()?;
        let field = |name: &str| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let number = |name: &str| field(name).and_then(serde_json::Value::as_i64);
        let text = |name: &str| field(name).and_then(|text| text.as_str()).unwrap_or_default().to_owned();
        let code = match (number("EXIT"), number("SIGNAL")) {
            (Some(code), _) => code,
            (None, Some(signal)) => signal + 128,
            (None, None) => return None,
        };
        // As the shell does: only eight bits count, and what is no code at all is a failure.
        Some(Ran { code: u8::try_from(code & 0xff).unwrap_or(exit::FAILURE), out: text("STDOUT"), err: text("STDERR") })
    }
}

/// What to print of a job that was waited for, or asked about.
///
/// `shell`: it was a command, so that its exit code becomes ours. `streamed`: what it printed was shown already.
pub(super) fn job(answer: &JobAnswer, line: &str, form: Form, shell: bool, streamed: bool) -> Conclusion {
    let job = &answer.job;
    let ran = if shell { job.result.as_ref().and_then(Ran::of) } else { None };
    let code = match (job.status, &ran) {
        (status, _) if !status.is_ended() => exit::UNFINISHED,
        (JobStatus::Cancelled | JobStatus::Buried, Some(ran)) if ran.code == 0 => exit::FAILURE,
        (_, Some(ran)) => ran.code,
        (JobStatus::Ok, None) => exit::OK,
        _ => exit::FAILURE,
    };
    if form.json {
        return Conclusion::line(form.value(line), code);
    }
    if !job.status.is_ended() {
        return Conclusion::line(status_line(answer), code);
    }
    let mut shown = Conclusion { code, ..Conclusion::default() };
    match (&ran, &job.result) {
        (Some(_), _) if streamed => {}
        (Some(ran), _) => (shown.out, shown.err) = (ran.out.clone(), ran.err.clone()),
        (None, Some(result)) => shown.out = form.value(result.as_str()) + "\n",
        (None, None) => {}
    }
    // A command has said for itself why it failed; its exit code tells the rest.
    if job.status != JobStatus::Ok && !(ran.is_some_and(|ran| ran.code != 0) && job.status == JobStatus::Nok) {
        shown.err += &format!("error: {}\n", status_line(answer));
    }
    shown
}

/// Writes what a job printed to the same stream of ours, unchanged: it is the program that the user asked for.
pub(super) fn write_output(stream: Stream, data: &str) {
    // Who reads our output may have enough of it; the job goes on all the same.
    let _: io::Result<()> = match stream {
        Stream::Out => io::stdout().write_all(data.as_bytes()).and_then(|()| io::stdout().flush()),
        Stream::Err => io::stderr().write_all(data.as_bytes()),
    };
}

/// A job on one line: its id, its status, and why.
pub(super) fn status_line(answer: &JobAnswer) -> String {
    let known = if answer.duplicate { ", submitted before with this key" } else { "" };
    format!("{}{known}", view_line(&answer.job))
}

/// A job on one line.
pub(super) fn view_line(job: &JobView) -> String {
    let attempt = if job.attempt > 1 { format!(", attempt {}", job.attempt) } else { String::new() };
    let reason = job.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    printable(&format!("{} {}{attempt}{reason}", job.job_id, job.status.as_str())).replace('\n', " ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wire::{JobId, JobTask};

    const PLAIN: Form = Form { json: false, terminal: false, colour: false };

    pub(in crate::cli) fn job(status: JobStatus) -> JobView {
        JobView {
            job_id: JobId::new("a-1-1").unwrap(),
            status,
            service: None,
            method: None,
            attempt: 1,
            age: None,
            worker: None,
            result: None,
            reason: None,
        }
    }

    fn concluded(status: JobStatus, result: &str, reason: &str, shell: bool, streamed: bool) -> Conclusion {
        let (result, reason) = (Json::new(result), Some(reason.to_owned()).filter(|reason| !reason.is_empty()));
        let job = JobView { result, reason, ..job(status) };
        super::job(&JobAnswer { task: JobTask::Submit, duplicate: false, job }, "LINE", PLAIN, shell, streamed)
    }

    fn conclusion(out: &str, err: &str, code: u8) -> Conclusion {
        Conclusion { out: out.to_owned(), err: err.to_owned(), code }
    }

    #[test]
    fn a_result_is_printed_and_every_other_end_is_a_failure_with_its_reason() {
        let end = |status, result, reason| concluded(status, result, reason, false, false);
        assert_eq!(end(JobStatus::Ok, r#"{"n":1}"#, ""), conclusion("{\"n\":1}\n", "", 0));
        assert_eq!(
            end(JobStatus::Nok, r#""why""#, "no such user"),
            conclusion("\"why\"\n", "error: a-1-1 NOK: no such user\n", 1)
        );
        for status in [JobStatus::Cancelled, JobStatus::Buried] {
            let shown = end(status, "", "x");
            assert_eq!((shown.code, shown.err), (1, format!("error: a-1-1 {}: x\n", status.as_str())));
        }
        assert_eq!(end(JobStatus::Ok, r#"{"EXIT":3}"#, "").code, 0, "only a command has an exit code");
    }

    #[test]
    fn a_job_that_has_not_ended_has_a_code_of_its_own() {
        let shown = concluded(JobStatus::Queued, "", "no worker offers sleep", false, false);
        assert_eq!(shown, conclusion("a-1-1 QUEUED: no worker offers sleep\n", "", exit::UNFINISHED));
    }

    #[test]
    fn the_exit_code_of_a_command_is_ours() {
        let shell = |status, result| concluded(status, result, "exit code", true, true).code;
        assert_eq!(shell(JobStatus::Ok, r#"{"EXIT":0}"#), 0);
        assert_eq!(shell(JobStatus::Nok, r#"{"EXIT":7}"#), 7);
        assert_eq!(shell(JobStatus::Ok, r#"{"EXIT":7}"#), 7);
        assert_eq!(shell(JobStatus::Nok, r#"{"exit":null,"signal":9}"#), 137);
        assert_eq!(shell(JobStatus::Nok, r#"{"EXIT":-1}"#), 255);
        assert_eq!(shell(JobStatus::Buried, r#"{"EXIT":0}"#), 1, "it was not done");
        assert_eq!(shell(JobStatus::Nok, "[]"), 1);
    }

    #[test]
    fn what_a_command_printed_is_shown_once() {
        let result = r#"{"EXIT":2,"STDOUT":"out\n","STDERR":"err\n"}"#;
        assert_eq!(concluded(JobStatus::Nok, result, "x", true, true), conclusion("", "", 2));
        assert_eq!(concluded(JobStatus::Nok, result, "x", true, false), conclusion("out\n", "err\n", 2));
    }

    #[test]
    fn json_is_the_line_as_it_came() {
        let answer = JobAnswer { task: JobTask::Result, duplicate: false, job: job(JobStatus::Nok) };
        let form = Form { json: true, ..PLAIN };
        assert_eq!(super::job(&answer, "{\"A\":1.50}", form, false, false), conclusion("{\"A\":1.50}\n", "", 1));
    }

    #[test]
    fn a_line_about_a_job_tells_attempt_reason_and_duplicate_and_steers_nothing() {
        let job = JobView { attempt: 2, reason: Some("lost\n\u{1b}[2J".to_owned()), ..job(JobStatus::Delayed) };
        let answer = JobAnswer { task: JobTask::Submit, duplicate: true, job };
        assert_eq!(status_line(&answer), "a-1-1 DELAYED, attempt 2: lost \\u001b[2J, submitted before with this key");
    }
}
