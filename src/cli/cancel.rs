//! `node cancel` and `node bury`: one job is not to be done, or not now.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::{AskError, Node, Reply, Talk, ask, strange};
use super::conclude::{self, Conclusion, Form};
use super::exit;
use super::work::{JobArgs, ToArgs};
use crate::wire::{Body, JobRef};

/// Options of `node cancel` and `node bury`.
#[derive(Args, Debug)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    job: JobArgs,

    #[command(flatten)]
    to: ToArgs,

    /// Print the node's answer as it came
    #[arg(long)]
    json: bool,
}

/// Cancels a job. One that had ended stays as it is, which is told.
pub(super) fn cancel(args: &ChangeArgs) -> ExitCode {
    run(args, Body::Cancel)
}

/// Buries a job that waits.
pub(super) fn bury(args: &ChangeArgs) -> ExitCode {
    run(args, Body::Bury)
}

fn run(args: &ChangeArgs, change: fn(JobRef) -> Body) -> ExitCode {
    let job = args.job.job().expect("the parser asks for one");
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let outcome = ask(&mut node, change(job), Duration::ZERO);
    told(&node, outcome, Form::here(args.json)).print()
}

/// The job as it stands after a change.
pub(super) fn told(talk: &dyn Talk, outcome: Result<Reply, AskError>, form: Form) -> Conclusion {
    let reply = match outcome {
        Ok(reply) => reply,
        Err(error) => return Conclusion::error(error),
    };
    match &reply.message.body {
        Body::JobAnswer(_) if form.json => Conclusion::line(form.value(&reply.line), exit::OK),
        Body::JobAnswer(answer) => Conclusion::line(conclude::status_line(answer), exit::OK),
        _ => Conclusion::error(strange(talk.address(), &reply)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script};
    use super::super::conclude::tests::job;
    use super::*;
    use crate::wire::{JobAnswer, JobId, JobStatus, JobTask};

    #[test]
    fn the_job_is_told_as_it_stands_and_another_answer_is_an_error() {
        let form = Form { json: false, terminal: false, colour: false };
        let answer = JobAnswer { task: JobTask::Cancel, duplicate: false, job: job(JobStatus::Cancelled) };
        let mut script = Script::new("a:1", [Act::Say(Body::JobAnswer(Box::new(answer))), Act::Say(Body::NoTask)]);
        let cancel = || Body::Cancel(JobRef::Id(JobId::new("a-1-1").unwrap()));
        let outcome = ask(&mut script, cancel(), Duration::ZERO);
        assert_eq!(told(&script, outcome, form), Conclusion::line("a-1-1 CANCELLED", exit::OK));
        let outcome = ask(&mut script, cancel(), Duration::ZERO);
        let shown = told(&script, outcome, form);
        assert!(shown.code == exit::FAILURE && shown.err.contains("answered something else"), "{shown:?}");
    }
}
