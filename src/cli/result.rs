//! `node result`: what became of a job.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::ask::{AskError, Node, Reply, Talk, ask, strange};
use super::conclude::{self, Conclusion, Form, write_output};
use super::waiting::{Waiting, pass};
use super::work::{JobArgs, Patience, ToArgs, is_shell};
use crate::wire::{Body, JobOutput, JobRef, ResultQuery};

/// Options of `node result`.
#[derive(Args, Debug)]
pub(super) struct ResultArgs {
    #[command(flatten)]
    job: JobArgs,

    #[command(flatten)]
    to: ToArgs,

    /// Wait until the job has ended, or this long
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = Patience::FOR_EVER)]
    wait: Option<Patience>,

    /// While waiting, print what the work prints from now on
    #[arg(long, requires = "wait")]
    output: bool,

    /// Print the node's answer as it came
    #[arg(long)]
    json: bool,
}

/// Asks, and prints the result, the status, or why there is none.
pub(super) fn run(args: &ResultArgs) -> ExitCode {
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let mut streamed = false;
    let mut print = |output: &JobOutput| {
        streamed = true;
        write_output(output.stream, &output.data);
    };
    let outcome = ask_for(args, &mut node, &mut print, &mut pass);
    conclude(args, outcome, streamed).print()
}

fn ask_for(
    args: &ResultArgs,
    talk: &mut dyn Talk,
    print: &mut dyn FnMut(&JobOutput),
    pause: &mut dyn FnMut(Duration),
) -> Result<Reply, AskError> {
    let job: JobRef = args.job.job().expect("the parser asks for one");
    let Some(wait) = args.wait else {
        return ask(talk, Body::Result(Box::new(ResultQuery { job, wait: None, output: false })), Duration::ZERO);
    };
    let until = wait.0.map(|wait| Instant::now() + wait);
    let mut waiting = Waiting { until, output: args.output, print, told: None, pause };
    let wait = Some(waiting.wait());
    waiting.run(talk, Body::Result(Box::new(ResultQuery { job, wait, output: args.output })))
}

fn conclude(args: &ResultArgs, outcome: Result<Reply, AskError>, streamed: bool) -> Conclusion {
    let reply = match outcome {
        Ok(reply) => reply,
        Err(error) => return Conclusion::error(error),
    };
    let Body::JobAnswer(answer) = &reply.message.body else {
        return Conclusion::error(strange(&args.to.to, &reply));
    };
    let shell = match (&answer.job.service, &answer.job.method) {
        (Some(service), Some(method)) => is_shell(service, method),
        _ => false,
    };
    conclude::job(answer, &reply.line, Form::here(args.json), shell, streamed)
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script};
    use super::super::conclude::tests::job;
    use super::super::exit;
    use super::*;
    use crate::wire::{ErrorAnswer, ErrorCode, JobAnswer, JobStatus, JobTask, JobView, Json, ServiceName};
    use clap::Parser;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        result: ResultArgs,
    }

    fn parsed(words: &[&str]) -> Result<ResultArgs, clap::Error> {
        Line::try_parse_from(["result"].iter().chain(words)).map(|line| line.result)
    }

    fn run(words: &[&str], acts: impl IntoIterator<Item = Act>) -> (Conclusion, Vec<Body>) {
        let args = parsed(words).unwrap();
        let mut script = Script::new("127.0.0.1:9101", acts);
        let outcome = ask_for(&args, &mut script, &mut |_| {}, &mut |_| {});
        (conclude(&args, outcome, false), script.told())
    }

    fn answer(job: JobView) -> Act {
        Act::Say(Body::JobAnswer(Box::new(JobAnswer { task: JobTask::Result, duplicate: false, job })))
    }

    #[test]
    fn a_job_is_named_by_id_or_key_and_by_one_of_them() {
        let told = |words: &[&str]| match run(words, [answer(job(JobStatus::Ok))]).1.remove(0) {
            Body::Result(query) => query.job,
            other => panic!("{other:?}"),
        };
        assert!(matches!(told(&["a-1-1"]), JobRef::Id(id) if id.as_str() == "a-1-1"));
        assert!(matches!(told(&["--key", "k 1"]), JobRef::Key(key) if key == "k 1"));
        assert!(parsed(&[]).is_err() && parsed(&["a-1-1", "--key", "k"]).is_err() && parsed(&["a b"]).is_err());
        assert!(parsed(&["a-1-1", "--output"]).is_err(), "output is of waiting");
    }

    #[test]
    fn a_result_a_status_and_an_error_end_each_in_its_way() {
        let done = JobView { result: Json::new("{\"n\":7}"), ..job(JobStatus::Ok) };
        let (shown, _) = run(&["a-1-1"], [answer(done)]);
        assert_eq!((shown.out.as_str(), shown.code), ("{\"n\":7}\n", exit::OK));
        let (shown, _) = run(&["a-1-1"], [answer(job(JobStatus::Delayed))]);
        assert_eq!((shown.out.as_str(), shown.code), ("a-1-1 DELAYED\n", exit::UNFINISHED));
        let unknown = ErrorAnswer::new("RESULT", ErrorCode::NotFound, "no job a-1-1 here");
        let (shown, _) = run(&["a-1-1"], [Act::Say(Body::Error(Box::new(unknown)))]);
        assert_eq!(shown.code, exit::FAILURE);
        assert!(shown.err.contains("no job a-1-1 here (NOT_FOUND)"), "{}", shown.err);
    }

    #[test]
    fn waiting_asks_until_the_end_and_a_command_lends_its_exit_code() {
        let ran = JobView {
            service: ServiceName::new("shell"),
            method: ServiceName::new("run"),
            result: Json::new(r#"{"EXIT":4,"STDOUT":"x"}"#),
            ..job(JobStatus::Nok)
        };
        let acts = [answer(job(JobStatus::Running)), Act::Close, answer(ran)];
        let (shown, told) = run(&["a-1-1", "--wait", "--output"], acts);
        assert_eq!((shown.out.as_str(), shown.code, told.len()), ("x", 4, 3));
    }
}
