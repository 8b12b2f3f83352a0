//! `node kick`: buried jobs are queued again, one or all of them.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::{AskError, Node, Talk, ask};
use super::cancel::told;
use super::conclude::{Conclusion, Form};
use super::exit;
use super::jobs::each_page;
use super::work::{ToArgs, parse_job_id, parse_key};
use crate::wire::{Body, ErrorCode, JobId, JobRef, JobStatus, JobsQuery};

/// Options of `node kick`.
#[derive(Args, Debug)]
pub(super) struct KickArgs {
    /// Id of the job, as `node submit` told it
    #[arg(value_name = "JOB_ID", required_unless_present_any = ["key", "all"], value_parser = parse_job_id)]
    job_id: Option<JobId>,

    /// Key with which it was submitted, instead of its id
    #[arg(long, value_name = "KEY", conflicts_with = "job_id", value_parser = parse_key)]
    key: Option<String>,

    /// Every job that is buried
    #[arg(long, conflicts_with_all = ["job_id", "key", "json"])]
    all: bool,

    #[command(flatten)]
    to: ToArgs,

    /// Print the node's answer as it came
    #[arg(long)]
    json: bool,
}

/// Kicks, and tells what became of it.
pub(super) fn run(args: &KickArgs) -> ExitCode {
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let job = match (&args.job_id, &args.key) {
        (Some(id), _) => JobRef::Id(id.clone()),
        (None, Some(key)) => JobRef::Key(key.clone()),
        (None, None) => return all(&mut node).print(),
    };
    let outcome = ask(&mut node, Body::Kick(job), Duration::ZERO);
    told(&node, outcome, Form::here(args.json)).print()
}

/// Kicks every buried job. One that somebody else kicked or cancelled meanwhile is none any more.
fn all(talk: &mut dyn Talk) -> Conclusion {
    let mut kicked = 0_u64;
    let buried = JobsQuery { status: Some(JobStatus::Buried), ..JobsQuery::default() };
    let outcome: Result<(), AskError> = each_page(talk, buried, &mut |talk, _, page| {
        for job in page.jobs.iter().flatten() {
            match ask(talk, Body::Kick(JobRef::Id(job.job_id.clone())), Duration::ZERO) {
                Ok(_) => kicked += 1,
                Err(error) if error.is_code(&ErrorCode::NotFound) || error.is_code(&ErrorCode::WrongState) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    });
    let line = format!("{kicked} kicked\n");
    match outcome {
        Ok(()) => Conclusion { out: line, err: String::new(), code: exit::OK },
        Err(error) => Conclusion { out: line, ..Conclusion::error(error) },
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script};
    use super::super::conclude::tests::job;
    use super::super::jobs::tests::answer;
    use super::*;
    use crate::wire::{ErrorAnswer, JobAnswer, JobTask};

    fn page(ids: &[&str], more: bool) -> Act {
        Act::Say(Body::JobsAnswer(Box::new(answer(ids, JobStatus::Buried, more))))
    }

    fn done() -> Act {
        let answer = JobAnswer { task: JobTask::Kick, duplicate: false, job: job(JobStatus::Queued) };
        Act::Say(Body::JobAnswer(Box::new(answer)))
    }

    fn refused(code: ErrorCode) -> Act {
        Act::Say(Body::Error(Box::new(ErrorAnswer::new("KICK", code, "no"))))
    }

    #[test]
    fn all_pages_of_buried_jobs_are_kicked_but_those_that_are_none_any_more() {
        let acts = [
            page(&["a-1-1", "a-1-2"], true),
            done(),
            refused(ErrorCode::WrongState),
            page(&["a-1-3", "a-1-4"], false),
            refused(ErrorCode::NotFound),
            done(),
        ];
        let mut script = Script::new("a:1", acts);
        assert_eq!(all(&mut script), Conclusion::line("2 kicked", exit::OK));
        let told = script.told();
        assert!(matches!(&told[0], Body::Jobs(query) if query.status == Some(JobStatus::Buried)));
        assert_eq!(told.iter().filter(|body| matches!(body, Body::Kick(_))).count(), 4);
    }

    #[test]
    fn what_was_kicked_before_an_error_is_told() {
        let mut script =
            Script::new("a:1", [page(&["a-1-1", "a-1-2"], false), done(), refused(ErrorCode::StoreFailed)]);
        let shown = all(&mut script);
        assert_eq!((shown.out.as_str(), shown.code), ("1 kicked\n", exit::FAILURE));
        assert!(shown.err.contains("STORE_FAILED"), "{}", shown.err);
    }
}
