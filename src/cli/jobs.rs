//! `node jobs`: the queue by status, and the jobs in it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::ask::{AskError, Node, Reply, Talk, ask, strange};
use super::conclude::{Conclusion, Form};
use super::exit;
use super::pretty::printable;
use super::table::{age_text, bytes_text, fit, listing_room};
use super::work::{ToArgs, parse_service};
use crate::wire::{Body, JobCounts, JobId, JobStatus, JobView, JobsAnswer, JobsQuery, ServiceName};

/// Options of `node jobs`.
#[derive(Args, Debug)]
pub(super) struct JobsArgs {
    #[command(flatten)]
    to: ToArgs,

    /// List the jobs, too, in the order in which they were accepted
    #[arg(long)]
    list: bool,

    /// List those of this status
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Option<JobStatus>,

    /// List those of this service
    #[arg(long, value_name = "NAME", value_parser = parse_service)]
    service: Option<ServiceName>,

    /// Print the node's answers as they came, a line for each page
    #[arg(long)]
    json: bool,
}

fn parse_status(text: &str) -> Result<JobStatus, String> {
    JobStatus::parse(&text.to_ascii_uppercase())
        .ok_or_else(|| format!("expected one of {}", JobStatus::ALL.map(JobStatus::as_str).join(", ")))
}

/// Asks and prints.
pub(super) fn run(args: &JobsArgs) -> ExitCode {
    let mut node = Node::new(args.to.to.clone(), args.to.patience.0);
    let form = Form::here(args.json);
    let mut out = io::stdout().lock();
    match show(args, &mut node, form, &mut out) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(exit::OK),
        Err(failure) => Conclusion::error(failure).print(),
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

fn show(args: &JobsArgs, talk: &mut dyn Talk, form: Form, out: &mut dyn Write) -> Result<(), Failure> {
    let list = args.list || args.status.is_some() || args.service.is_some();
    if !list {
        let (reply, answer) = page(talk, JobsQuery::default())?;
        let text = if args.json { form.value(&reply.line) } else { summary(&answer) };
        return Ok(writeln!(out, "{text}")?);
    }
    let width = listing_room(form.terminal, form.colour).width;
    let query = JobsQuery { list, status: args.status, service: args.service.clone(), after: None };
    let mut titled = false;
    each_page(talk, query, &mut |_, reply, answer| {
        if args.json {
            return Ok(writeln!(out, "{}", form.value(&reply.line))?);
        }
        if !titled {
            writeln!(out, "{}", fit(&row(&TITLES.map(str::to_owned)), width))?;
            titled = true;
        }
        for job in answer.jobs.iter().flatten() {
            writeln!(out, "{}", fit(&row(&cells(job)), width))?;
        }
        Ok(())
    })
}

/// One page of the queue.
pub(super) fn page(talk: &mut dyn Talk, query: JobsQuery) -> Result<(Reply, JobsAnswer), AskError> {
    let reply = ask(talk, Body::Jobs(Box::new(query)), Duration::ZERO)?;
    match &reply.message.body {
        Body::JobsAnswer(answer) => {
            let answer = (**answer).clone();
            Ok((reply, answer))
        }
        _ => Err(strange(talk.address(), &reply)),
    }
}

/// What is done with a page: the node that sent it, its line, and what it says.
pub(super) type TakePage<'a, E> = &'a mut dyn FnMut(&mut dyn Talk, &Reply, &JobsAnswer) -> Result<(), E>;

/// Every page of a listing, one after another.
pub(super) fn each_page<E: From<AskError>>(
    talk: &mut dyn Talk,
    query: JobsQuery,
    take: TakePage<'_, E>,
) -> Result<(), E> {
    let mut after: Option<JobId> = None;
    loop {
        let (reply, answer) = page(talk, JobsQuery { list: true, after: after.clone(), ..query.clone() })?;
        take(talk, &reply, &answer)?;
        let last = answer.jobs.iter().flatten().next_back().map(|job| job.job_id.clone());
        // A node that says MORE and does not go on would be asked for ever.
        if !answer.more || last.is_none() || last == after {
            return Ok(());
        }
        after = last;
    }
}

/// The queue, for people.
fn summary(answer: &JobsAnswer) -> String {
    let JobCounts { delayed, queued, running, ok, nok, cancelled, buried } = answer.counts;
    let open = delayed + queued + running;
    let oldest = answer.oldest.map(|age| format!("   oldest {}", age_text(age))).unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    for status in JobStatus::ALL {
        let count = match status {
            JobStatus::Delayed => delayed,
            JobStatus::Queued => queued,
            JobStatus::Running => running,
            JobStatus::Ok => ok,
            JobStatus::Nok => nok,
            JobStatus::Cancelled => cancelled,
            JobStatus::Buried => buried,
        };
        let note = match status {
            JobStatus::Queued => oldest.as_str(),
            JobStatus::Buried if count > 0 => "   node kick --all queues them again",
            _ => "",
        };
        lines.push(format!("{:<9} {count:>10}{note}", status.as_str()));
    }
    lines.push(format!("open      {open:>10}   of {}", answer.max_jobs));
    lines.push(format!("bytes     {:>10}   of {}", bytes_text(answer.bytes), bytes_text(answer.max_bytes)));
    let trouble = answer.disk.as_ref().map(|disk| format!("   {}", printable(disk))).unwrap_or_default();
    lines.push(format!("durable   {:>10}{trouble}", answer.durability.as_str()));
    lines.join("\n")
}

const TITLES: [&str; 7] = ["JOB_ID", "STATUS", "SERVICE.METHOD", "ATTEMPT", "AGE", "WORKER", "REASON"];

/// Widths of all columns but the last. Pages are printed as they come, so widths are fixed; a long cell pushes its line.
const WIDTHS: [usize; 6] = [20, 9, 20, 7, 7, 12];

fn cells(job: &JobView) -> [String; 7] {
    let target = match (&job.service, &job.method) {
        (Some(service), Some(method)) => format!("{service}.{method}"),
        (Some(service), None) => service.to_string(),
        _ => String::new(),
    };
    let worker: String = job.worker.iter().flat_map(|worker| worker.as_str().chars().take(WIDTHS[5])).collect();
    [
        job.job_id.to_string(),
        job.status.as_str().to_owned(),
        target,
        job.attempt.to_string(),
        job.age.map(age_text).unwrap_or_default(),
        worker,
        job.reason.clone().unwrap_or_default(),
    ]
}

fn row(cells: &[String; 7]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        line += &format!("{cell:<width$}  ");
    }
    line += &cells[6];
    printable(line.trim_end()).replace('\n', " ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ask::tests::{Act, Script};
    use super::super::conclude::tests::job;
    use super::*;
    use crate::wire::{Durability, ServerId};
    use clap::Parser;

    const PLAIN: Form = Form { json: false, terminal: false, colour: false };

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        jobs: JobsArgs,
    }

    pub(in crate::cli) fn answer(ids: &[&str], status: JobStatus, more: bool) -> JobsAnswer {
        let jobs = ids.iter().map(|id| JobView {
            job_id: JobId::new(*id).unwrap(),
            service: ServiceName::new("sleep"),
            method: Some(ServiceName::run()),
            age: Some(Duration::from_secs(90)),
            worker: ServerId::new("3fa9c1d2-aaaa-bbbb"),
            reason: Some("because\n\u{1b}[2J".to_owned()),
            ..job(status)
        });
        JobsAnswer {
            counts: JobCounts { delayed: 1, queued: 2, running: 3, ok: 4, nok: 5, cancelled: 6, buried: 7 },
            bytes: 2048,
            oldest: Some(Duration::from_millis(1500)),
            max_jobs: 1000,
            max_bytes: 1 << 30,
            durability: Durability::Fsync,
            disk: Some("it is slow".to_owned()),
            jobs: Some(jobs.collect()),
            more,
        }
    }

    fn say(answer: JobsAnswer) -> Act {
        Act::Say(Body::JobsAnswer(Box::new(answer)))
    }

    fn run(words: &[&str], acts: impl IntoIterator<Item = Act>) -> (String, Vec<JobsQuery>) {
        let args = Line::try_parse_from(["jobs"].iter().chain(words)).unwrap_or_else(|error| panic!("{error}")).jobs;
        let mut script = Script::new("a:1", acts);
        let mut out = Vec::new();
        show(&args, &mut script, PLAIN, &mut out).unwrap();
        let asked = script.told().into_iter().map(|body| match body {
            Body::Jobs(query) => *query,
            other => panic!("{other:?}"),
        });
        (String::from_utf8(out).unwrap(), asked.collect())
    }

    #[test]
    fn the_queue_is_told_by_status_with_its_oldest_and_its_limits() {
        let (out, asked) = run(&[], [say(JobsAnswer { jobs: None, ..answer(&[], JobStatus::Ok, false) })]);
        assert_eq!(asked, [JobsQuery::default()]);
        let lines: Vec<String> =
            out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "DELAYED 1",
            "QUEUED 2 oldest 1.5 s",
            "RUNNING 3",
            "OK 4",
            "NOK 5",
            "CANCELLED 6",
            "BURIED 7 node kick --all queues them again",
            "open 6 of 1000",
            "bytes 2.0 KiB of 1.0 GiB",
            "durable fsync it is slow",
        ] {
            assert!(lines.iter().any(|shown| shown == line), "{line} is missing in\n{out}");
        }
    }

    #[test]
    fn a_listing_goes_through_all_pages() {
        let pages = [
            say(answer(&["a-1-1", "a-1-2"], JobStatus::Queued, true)),
            say(answer(&["a-1-3"], JobStatus::Queued, false)),
        ];
        let (out, asked) = run(&["--status", "queued", "--service", "sleep"], pages);
        assert_eq!(
            asked.iter().map(|query| query.after.as_ref().map(JobId::as_str)).collect::<Vec<_>>(),
            [None, Some("a-1-2")]
        );
        assert!(
            asked.iter().all(|query| query.status == Some(JobStatus::Queued) && query.service.is_some() && query.list)
        );
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 4, "one title, three jobs:\n{out}");
        let words: Vec<&str> = lines[3].split_whitespace().collect();
        assert_eq!(words, ["a-1-3", "QUEUED", "sleep.run", "1", "1", "min", "3fa9c1d2-aaa", "because", "\\u001b[2J"]);
        assert_eq!(lines[0].find("STATUS"), lines[1].find("QUEUED"));
    }

    #[test]
    fn a_node_that_says_more_and_does_not_go_on_is_left() {
        let circle = (0..9).map(|_| say(answer(&["a-1-1"], JobStatus::Ok, true)));
        let (_, asked) = run(&["--list"], circle);
        assert_eq!(asked.len(), 2);
        let (_, asked) = run(&["--list"], [say(answer(&[], JobStatus::Ok, true))]);
        assert_eq!(asked.len(), 1);
    }

    #[test]
    fn an_unknown_status_is_refused_with_those_that_are() {
        let error = Line::try_parse_from(["jobs", "--status", "lost"]).unwrap_err().to_string();
        assert!(error.contains("QUEUED") && error.contains("BURIED"), "{error}");
    }
}
