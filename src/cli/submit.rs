//! `node submit`: a job, or a file of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use uuid::Uuid;

use super::ask::{AskError, Node, Reply, Talk, ask, follow, strange};
use super::batch;
use super::conclude::{self, Conclusion, Form, write_output};
use super::exit;
use super::values::Span;
use super::waiting::{Waiting, pass};
use super::work::{Patience, Target, ToArgs, command_params, parse_json, parse_key};
use crate::wire::{
    Address, Body, DEFAULT_PRIORITY, JobId, JobOutput, Json, MAX_ATTEMPTS, MAX_DELAY, MAX_PRIORITY, MAX_WAIT, Submit,
};

/// Options of `node submit`.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct SubmitArgs {
    /// What is to be done; a service alone means its method run
    #[arg(value_name = "SERVICE.METHOD", required_unless_present = "file")]
    pub(super) target: Option<Target>,

    /// With what: any JSON value [default: null]
    #[arg(value_name = "PARAMS", value_parser = parse_json)]
    pub(super) params: Option<Json>,

    /// For shell.run: the command and its arguments, instead of PARAMS
    #[arg(value_name = "COMMAND", last = true, conflicts_with = "params")]
    pub(super) command: Vec<String>,

    #[command(flatten)]
    pub(super) to: ToArgs,

    /// Submit a job for each line of this file, - for standard input: {"SERVICE":..,"METHOD":..,"PARAMS":..}, and
    /// PRIORITY, DELAY_MS, TIMEOUT_MS, ATTEMPTS and KEY where they differ from the options. All lines are read and
    /// checked before the first is sent
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "key", "wait", "follow"])]
    pub(super) file: Option<PathBuf>,

    /// Leave bad lines of the file out, and submit the others
    #[arg(long, conflicts_with = "target")]
    pub(super) skip_bad: bool,

    /// 0 to 9, higher first; each step is worth ten seconds of waiting [default: 4]
    #[arg(long, value_name = "0-9", value_parser = clap::value_parser!(u8).range(..=i64::from(MAX_PRIORITY)))]
    pub(super) priority: Option<u8>,

    /// Not before this much time has passed
    #[arg(long, value_name = "SECONDS", value_parser = parse_delay)]
    pub(super) delay: Option<Span>,

    /// How long one attempt may take [default: the master's --job-timeout]
    #[arg(long, value_name = "SECONDS", value_parser = parse_timeout)]
    pub(super) timeout: Option<Span>,

    /// How often it is tried at most [default: the master's --attempts]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ATTEMPTS)))]
    pub(super) attempts: Option<u32>,

    /// The same key twice is one job [default: a new one]
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub(super) key: Option<String>,

    /// Wait until the job has ended, or this long, and print its result
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = Patience::FOR_EVER)]
    pub(super) wait: Option<Patience>,

    /// Go to another master when this one is overloaded and says where
    #[arg(long)]
    pub(super) follow: bool,

    /// Print the node's answers as they came
    #[arg(long)]
    pub(super) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  node submit sleep.run '{\"ms\":500}'
  node submit --wait primes.count '{\"n\":100000}'
  node submit --wait shell.run -- make -j4     (streams the output; ends with
                                               the command's exit code)
  node submit --key report-7 --attempts 5 reports.build '{\"month\":7}'
  node submit --file jobs.ndjson

A job is printed as its id and its status. With --wait its RESULT is printed,
and its id on standard error as soon as it is accepted;
NOK, BURIED and CANCELLED end with 1 and the reason on standard error, a job
that has not ended when the time is over with 6.";

fn parse_delay(text: &str) -> Result<Span, String> {
    at_most(text, Duration::ZERO, MAX_DELAY, "0 to 30 days")
}

fn parse_timeout(text: &str) -> Result<Span, String> {
    at_most(text, Duration::from_millis(1), MAX_WAIT, "1 ms to 24 h")
}

fn at_most(text: &str, least: Duration, most: Duration, range: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if (least..=most).contains(&span.0) { Ok(span) } else { Err(format!("{span}: expected {range}")) }
}

/// Submits, and tells what became of it.
pub(super) fn run(args: &SubmitArgs) -> ExitCode {
    if let Some(file) = &args.file {
        return batch::run(args, file);
    }
    let submit = match args.submit() {
        Ok(submit) => submit,
        Err(what) => {
            eprintln!("error: {what}");
            return ExitCode::from(exit::USAGE);
        }
    };
    let patience = args.to.patience.0;
    let mut open = |address: &Address| Box::new(Node::new(address.clone(), patience)) as Box<dyn Talk>;
    let mut streamed = false;
    let mut print = |output: &JobOutput| {
        streamed = true;
        write_output(output.stream, &output.data);
    };
    // Standard output is the result's.
    let mut told = |id: &JobId| eprintln!("job {id}");
    let ears = Ears { print: &mut print, told: Some(&mut told) };
    let outcome = send(args, &submit, &mut open, ears, &mut pass);
    conclude(args, outcome, streamed).print()
}

impl SubmitArgs {
    /// The job of these arguments. The error names what does not fit.
    fn submit(&self) -> Result<Submit, String> {
        let target = self.target.as_ref().ok_or("SERVICE.METHOD is missing")?;
        let params = match (&self.params, self.command.as_slice()) {
            (Some(params), _) => params.clone(),
            (None, []) => Json::null(),
            (None, command) if target.is_shell() => command_params(command),
            (None, _) => {
                return Err("a command after `--` is for shell.run; expected PARAMS, a JSON value, instead".to_owned());
            }
        };
        Ok(Submit {
            service: target.service.clone(),
            method: target.method.clone(),
            params,
            // What a connection is lost for is sent again: with a key, it is one job all the same.
            key: Some(self.key.clone().unwrap_or_else(new_key)),
            follow: self.follow,
            ..self.defaults(target)
        })
    }

    /// What the options say about any job.
    pub(super) fn defaults(&self, target: &Target) -> Submit {
        Submit {
            service: target.service.clone(),
            method: target.method.clone(),
            params: Json::null(),
            priority: self.priority.unwrap_or(DEFAULT_PRIORITY),
            delay: self.delay.map_or(Duration::ZERO, |span| span.0),
            timeout: self.timeout.map(|span| span.0),
            attempts: self.attempts,
            key: None,
            wait: None,
            output: false,
            follow: false,
            hops: 0,
        }
    }

    fn is_shell(&self) -> bool {
        self.target.as_ref().is_some_and(Target::is_shell)
    }
}

/// A key that nobody else has.
pub(super) fn new_key() -> String {
    Uuid::new_v4().to_string()
}

/// How often a job whose answer was lost is submitted again, without `--wait`.
const TRIES: u32 = 5;

/// Who takes what comes before the end of a job.
struct Ears<'a> {
    /// What the work prints.
    print: &'a mut dyn FnMut(&JobOutput),
    /// Under which id it was accepted.
    told: Option<&'a mut dyn FnMut(&JobId)>,
}

/// Sends the job, along redirects, and waits for its end where that was asked for.
fn send(
    args: &SubmitArgs,
    submit: &Submit,
    open: &mut dyn FnMut(&Address) -> Box<dyn Talk>,
    mut ears: Ears<'_>,
    pause: &mut dyn FnMut(Duration),
) -> Result<Reply, AskError> {
    let until = args.wait.map(|wait| wait.0.map(|wait| Instant::now() + wait));
    let mut one = |talk: &mut dyn Talk, hops: u32| {
        let Some(until) = until else {
            return send_keyed(talk, &Submit { hops, ..submit.clone() }, pause);
        };
        let output = args.is_shell();
        let told = ears.told.as_mut().map(|told| &mut **told as &mut dyn FnMut(&JobId));
        let mut waiting = Waiting { until, output, print: ears.print, told, pause };
        let wait = Some(waiting.wait());
        waiting.run(talk, Body::Submit(Box::new(Submit { hops, wait, output, ..submit.clone() })))
    };
    follow(&args.to.to, open, &mut one).map(|(_, reply)| reply)
}

/// Submits; again where the connection is lost, which the key makes one job all the same.
fn send_keyed(talk: &mut dyn Talk, submit: &Submit, pause: &mut dyn FnMut(Duration)) -> Result<Reply, AskError> {
    let mut tries = 1;
    loop {
        match ask(talk, Body::Submit(Box::new(submit.clone())), Duration::ZERO) {
            Err(error)
                if tries < TRIES
                    && submit.key.is_some()
                    && (error.is_lost() || tries > 1 && error.is_unreachable()) =>
            {
                pause(Duration::from_millis(100) * 2_u32.pow(tries));
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

fn conclude(args: &SubmitArgs, outcome: Result<Reply, AskError>, streamed: bool) -> Conclusion {
    let form = Form::here(args.json);
    let reply = match outcome {
        Ok(reply) => reply,
        Err(error) => return Conclusion::error(error),
    };
    let Body::JobAnswer(answer) = &reply.message.body else {
        return Conclusion::error(strange(&args.to.to, &reply));
    };
    if args.wait.is_some() {
        return conclude::job(answer, &reply.line, form, args.is_shell(), streamed);
    }
    // Accepted is all that was asked for.
    let text = if args.json { form.value(&reply.line) } else { conclude::status_line(answer) };
    Conclusion::line(text, exit::OK)
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script, redirect};
    use super::super::conclude::tests::job;
    use super::*;
    use crate::wire::{ErrorAnswer, ErrorCode, JobAnswer, JobStatus, JobTask, JobView};
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        submit: SubmitArgs,
    }

    fn parsed(words: &[&str]) -> Result<SubmitArgs, clap::Error> {
        Line::try_parse_from(["submit"].iter().chain(words)).map(|line| line.submit)
    }

    fn args(words: &[&str]) -> SubmitArgs {
        parsed(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn answer(status: JobStatus, result: Option<&str>) -> Act {
        let job = JobView { result: result.and_then(Json::new), ..job(status) };
        Act::Say(Body::JobAnswer(Box::new(JobAnswer { task: JobTask::Submit, duplicate: false, job })))
    }

    /// What the command does with a node that acts like this, and the submits that it sent.
    fn run(words: &[&str], acts: impl IntoIterator<Item = Act>) -> (Conclusion, Vec<Submit>) {
        let args = args(words);
        let script = Script::new("127.0.0.1:9101", acts);
        let submit = args.submit().unwrap();
        let mut open = |address: &Address| Box::new(script.at(address)) as Box<dyn Talk>;
        let outcome = {
            let ears = Ears { print: &mut |_| {}, told: None };
            send(&args, &submit, &mut open, ears, &mut |_| {})
        };
        let sent = script.told().into_iter().filter_map(|body| match body {
            Body::Submit(submit) => Some(*submit),
            _ => None,
        });
        (conclude(&args, outcome, false), sent.collect())
    }

    #[test]
    fn options_become_the_fields_of_the_job() {
        let words = [
            "--priority",
            "9",
            "--delay",
            "1m",
            "--timeout",
            "2",
            "--attempts",
            "5",
            "--key",
            "k",
            "--follow",
            "a.b",
            "[1]",
        ];
        let submit = args(&words).submit().unwrap();
        assert_eq!((submit.service.as_str(), submit.method.as_str(), submit.params.as_str()), ("a", "b", "[1]"));
        assert_eq!(
            (submit.priority, submit.delay, submit.timeout),
            (9, Duration::from_secs(60), Some(Duration::from_secs(2)))
        );
        assert_eq!((submit.attempts, submit.key.as_deref(), submit.follow), (Some(5), Some("k"), true));
        let plain = args(&["a"]).submit().unwrap();
        assert_eq!((plain.method.as_str(), plain.params.as_str(), plain.priority), ("run", "null", 4));
        assert_eq!((plain.timeout, plain.attempts, plain.wait), (None, None, None));
    }

    #[test]
    fn a_job_always_has_a_key_and_each_its_own() {
        let key = || args(&["a"]).submit().unwrap().key.unwrap();
        let (one, other) = (key(), key());
        assert!(one != other && one.len() == 36 && one.as_bytes()[14] == b'4', "{one}");
    }

    #[test]
    fn bad_arguments_are_refused_with_what_was_expected() {
        for (words, what) in [
            (&["a", "{\"n\":x}"][..], "not JSON: expected value at column 6"),
            (&["a.b.c"], "SERVICE.METHOD"),
            (&["--priority", "10", "a"], "0..=9"),
            (&["--attempts", "0", "a"], "1..=100"),
            (&["--delay", "31d", "a"], "expected seconds"),
            (&["--delay", "721h", "a"], "0 to 30 days"),
            (&["--timeout", "0", "a"], "1 ms to 24 h"),
            (&["--key", "", "a"], "1 to 128 bytes"),
            (&["--to", "lab", "a"], "has no port"),
            (&[], "SERVICE.METHOD"),
            (&["--file", "f", "a"], "cannot be used with"),
            (&["--file", "f", "--wait"], "cannot be used with"),
            (&["--skip-bad", "a"], "cannot be used with"),
        ] {
            let error = parsed(words).unwrap_err().to_string();
            assert!(error.contains(what), "{words:?}: {error}");
        }
        assert!(args(&["sleep.run", "--", "ls"]).submit().unwrap_err().contains("shell.run"));
    }

    #[test]
    fn a_command_stands_after_two_dashes_with_its_own_options() {
        let args = args(&["--wait", "shell.run", "--", "ls", "--all", "-l"]);
        assert_eq!(args.wait, Some(Patience(None)));
        assert_eq!(args.submit().unwrap().params.as_str(), r#"{"command":["ls","--all","-l"]}"#);
        assert!(parsed(&["shell.run", "{}", "--", "ls"]).is_err(), "one or the other");
    }

    #[test]
    fn without_waiting_an_accepted_job_is_told_by_id_and_status() {
        let (shown, sent) = run(&["a"], [answer(JobStatus::Queued, None)]);
        assert_eq!((shown.out.as_str(), shown.code), ("a-1-1 QUEUED\n", exit::OK));
        assert_eq!((sent[0].wait, sent[0].output), (None, false));
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_under_the_same_key() {
        let (shown, sent) = run(&["a"], [Act::Close, Act::Refuse, Act::Close, answer(JobStatus::Queued, None)]);
        assert_eq!((shown.code, sent.len()), (exit::OK, 3));
        assert!(sent.iter().all(|submit| submit.key == sent[0].key));
        let (shown, sent) = run(&["a"], (0..9).map(|_| Act::Close));
        assert_eq!((shown.code, sent.len()), (exit::FAILURE, TRIES as usize));
        assert!(shown.err.contains("closed the connection"), "{}", shown.err);
    }

    #[test]
    fn waiting_prints_the_result_or_the_reason() {
        let (shown, sent) = run(&["--wait=5", "a"], [answer(JobStatus::Ok, Some("[7]"))]);
        assert_eq!((shown.out.as_str(), shown.code), ("[7]\n", exit::OK));
        assert!(sent[0].wait.is_some_and(|wait| wait <= Duration::from_secs(5)) && !sent[0].output);
        let (shown, sent) = run(&["--wait", "shell.run", "--", "x"], [answer(JobStatus::Nok, Some(r#"{"EXIT":3}"#))]);
        assert_eq!((shown.code, shown.err.as_str(), sent[0].output), (3, "", true));
        let (shown, _) = run(&["--wait=0", "a"], [answer(JobStatus::Running, None)]);
        assert_eq!(shown.code, exit::UNFINISHED);
    }

    #[test]
    fn an_overloaded_master_sends_on_who_follows() {
        let (shown, sent) = run(&["--follow", "a"], [redirect("b:1", 1), answer(JobStatus::Queued, None)]);
        assert_eq!(shown.code, exit::OK);
        assert_eq!(sent.iter().map(|submit| submit.hops).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_refusal_is_one_sentence_on_standard_error() {
        let full = ErrorAnswer::new("SUBMIT", ErrorCode::QueueFull, "the queue holds 5 jobs");
        let (shown, sent) = run(&["a"], [Act::Say(Body::Error(Box::new(full)))]);
        assert_eq!((shown.code, sent.len()), (exit::FAILURE, 1));
        assert!(shown.err.ends_with("(QUEUE_FULL); trying again may help\n"), "{}", shown.err);
    }
}
