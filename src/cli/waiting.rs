//! Waiting for the end of a job: what it prints passes through, lost connections are made again, and the question is
//! asked again until the job has ended or the time is over.

use std::time::{Duration, Instant};

use super::ask::{AskError, Reply, Talk, accept, may_repeat, strange};
use crate::wire::{Body, ErrorCode, JobAnswer, JobId, JobOutput, JobRef, JobTask, MAX_WAIT, Message, ResultQuery};

/// How long a node that was lost may stay away. A master that is started again is back in seconds.
const AWAY: Duration = Duration::from_secs(60);

/// A connection that lasted this long had been made well: what is lost after it begins anew to be away.
const STOOD: Duration = Duration::from_secs(15);

/// First and longest pause before a lost connection is made again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Lets this much time pass. Tests hand in something else.
pub(super) fn pass(time: Duration) {
    // It tells the time at which it fires, which nobody needs.
    let _ = crossbeam_channel::after(time).recv();
}

/// How waiting goes on.
pub(super) struct Waiting<'a> {
    /// When it ends; `None`: with the job.
    pub(super) until: Option<Instant>,
    /// Whether to ask for what the work prints.
    pub(super) output: bool,
    /// Takes what the work prints.
    pub(super) print: &'a mut dyn FnMut(&JobOutput),
    /// Takes the id of a job that is submitted, once it is accepted and before it has ended. Told once.
    pub(super) told: Option<&'a mut dyn FnMut(&JobId)>,
    /// Lets this much time pass.
    pub(super) pause: &'a mut dyn FnMut(Duration),
}

impl Waiting<'_> {
    /// `WAIT_MS` of a question that is asked now.
    pub(super) fn wait(&self) -> Duration {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        // Whole milliseconds go on the wire: cut down, the last question would be asked again and again.
        let whole =
            |left: Duration| Duration::from_millis(u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX));
        left.map_or(MAX_WAIT, whole).min(MAX_WAIT)
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// Asks `first`, a SUBMIT or RESULT with `WAIT_MS`, and goes on asking. Returns the last answer: a redirect of a
    /// SUBMIT, or the job as it stands, which has ended unless the time is over.
    pub(super) fn run(&mut self, talk: &mut dyn Talk, first: Body) -> Result<Reply, AskError> {
        let mut question = first;
        let mut lost_since: Option<Instant> = None;
        let mut pause = PAUSES.0;
        let mut connected = false;
        loop {
            let began = Instant::now();
            let outcome = self.ask(talk, &question);
            if began.elapsed() >= STOOD {
                (lost_since, pause) = (None, PAUSES.0);
            }
            let away = match &outcome {
                // A first connection that cannot be made is a wrong address.
                Err(error) if error.is_unreachable() => connected,
                Err(error) if error.is_lost() => may_repeat(&question),
                // A master that stops closes its doors first, and may be back.
                Err(error) if error.is_code(&ErrorCode::Stopping) => connected && may_repeat(&question),
                _ => false,
            };
            if away {
                connected = true;
                let since = *lost_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= AWAY || self.is_over() {
                    return outcome;
                }
                (self.pause)(pause);
                pause = (pause * 2).min(PAUSES.1);
                self.renew(&mut question);
                continue;
            }
            let reply = outcome?;
            connected = true;
            (lost_since, pause) = (None, PAUSES.0);
            let Body::JobAnswer(answer) = &reply.message.body else { return Ok(reply) };
            if answer.job.status.is_ended() || self.is_over() {
                return Ok(reply);
            }
            question = self.result(answer);
        }
    }

    /// The next question about a job.
    fn result(&self, answer: &JobAnswer) -> Body {
        let job = JobRef::Id(answer.job.job_id.clone());
        Body::Result(Box::new(ResultQuery { job, wait: Some(self.wait()), output: self.output }))
    }

    /// The same question with the time that is left.
    fn renew(&self, question: &mut Body) {
        match question {
            Body::Submit(submit) => submit.wait = submit.wait.map(|_| self.wait()),
            Body::Result(query) => query.wait = query.wait.map(|_| self.wait()),
            _ => {}
        }
    }

    /// One question, what is printed meanwhile, and its answer.
    fn ask(&mut self, talk: &mut dyn Talk, question: &Body) -> Result<Reply, AskError> {
        talk.say(&Message::plain(question.clone()))?;
        let key = match question {
            Body::Submit(submit) if self.told.is_some() => submit.key.clone(),
            _ => None,
        };
        // The answer to the SUBMIT comes with the end of the job; this one, as soon as the job is accepted.
        let beside = key.map(|key| ResultQuery { job: JobRef::Key(key), wait: None, output: false });
        if let Some(query) = &beside {
            talk.say(&Message::plain(Body::Result(Box::new(query.clone()))))?;
        }
        let wait = match question {
            Body::Submit(submit) => submit.wait,
            Body::Result(query) => query.wait,
            _ => None,
        };
        let deadline = Instant::now() + wait.unwrap_or_default() + talk.patience();
        loop {
            let reply = talk.hear(Some(deadline))?;
            match &reply.message.body {
                Body::JobOutput(output) => (self.print)(output),
                Body::JobAnswer(answer) if beside.is_some() && answer.task == JobTask::Result => {
                    if let Some(told) = self.told.take() {
                        told(&answer.job.job_id);
                    }
                }
                // What is wrong, the answer to the SUBMIT says as well.
                Body::Error(error) if beside.is_some() && error.task == JobTask::Result.as_str() => {}
                Body::JobAnswer(_) | Body::Redirect(_) | Body::Error(_) => return accept(talk.address(), reply),
                _ => return Err(strange(talk.address(), &reply)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::{Act, Script, submit};
    use super::super::conclude::tests::job;
    use super::*;
    use crate::wire::{ErrorAnswer, JobStatus, Stream};

    fn answer(status: JobStatus) -> Act {
        Act::Say(Body::JobAnswer(Box::new(JobAnswer { task: JobTask::Submit, duplicate: false, job: job(status) })))
    }

    fn printed(data: &str) -> Act {
        let job_id = JobId::new("a-1-1").unwrap();
        Act::Say(Body::JobOutput(Box::new(JobOutput {
            job_id,
            attempt: 1,
            stream: Stream::Out,
            data: data.to_owned(),
        })))
    }

    fn run(
        script: &mut Script,
        key: Option<&str>,
        until: Option<Instant>,
    ) -> (Result<JobStatus, AskError>, String, usize) {
        let (mut out, mut pauses) = (String::new(), 0);
        let mut print = |output: &JobOutput| out += &output.data;
        let mut pause = |_| pauses += 1;
        let mut waiting = Waiting { until, output: true, print: &mut print, told: None, pause: &mut pause };
        let first = Submit { wait: Some(waiting.wait()), ..submit(key) };
        let outcome = waiting.run(script, Body::Submit(Box::new(first))).map(|reply| match reply.message.body {
            Body::JobAnswer(answer) => answer.job.status,
            other => panic!("{other:?}"),
        });
        (outcome, out, pauses)
    }

    use crate::wire::Submit;

    #[test]
    fn what_is_printed_passes_through_until_the_job_has_ended() {
        let mut script = Script::new("a:1", [printed("one "), printed("two"), answer(JobStatus::Ok)]);
        let (outcome, out, _) = run(&mut script, Some("k"), None);
        assert_eq!((outcome.unwrap(), out.as_str()), (JobStatus::Ok, "one two"));
    }

    #[test]
    fn an_answer_before_the_end_is_asked_about_again_by_its_id() {
        let acts = [answer(JobStatus::Queued), answer(JobStatus::Running), printed("x"), answer(JobStatus::Buried)];
        let mut script = Script::new("a:1", acts);
        let (outcome, out, _) = run(&mut script, Some("k"), None);
        assert_eq!((outcome.unwrap(), out.as_str()), (JobStatus::Buried, "x"));
        let told = script.told();
        assert!(matches!(told[0], Body::Submit(_)) && told.len() == 3);
        for question in &told[1..] {
            let Body::Result(query) = question else { panic!("{question:?}") };
            assert!(
                query.output && query.wait == Some(MAX_WAIT) && query.job == JobRef::Id(JobId::new("a-1-1").unwrap())
            );
        }
    }

    #[test]
    fn the_id_of_a_job_is_told_once_it_is_accepted_and_before_it_has_ended() {
        let accepted = JobAnswer { task: JobTask::Result, duplicate: false, job: job(JobStatus::Queued) };
        let unknown = ErrorAnswer::new("RESULT", ErrorCode::NotFound, "no such key");
        for (beside, expected) in
            [(Body::JobAnswer(Box::new(accepted)), "told a-1-1, x"), (Body::Error(Box::new(unknown)), "x")]
        {
            let mut script = Script::new("a:1", [Act::Say(beside), printed("x"), answer(JobStatus::Ok)]);
            let seen = std::cell::RefCell::new(String::new());
            let mut print = |output: &JobOutput| seen.borrow_mut().push_str(&output.data);
            let mut told = |id: &JobId| *seen.borrow_mut() += &format!("told {id}, ");
            let (told, pause) = (Some(&mut told as &mut dyn FnMut(&JobId)), &mut |_| ());
            let mut waiting = Waiting { until: None, output: true, print: &mut print, told, pause };
            let first = Submit { wait: Some(MAX_WAIT), ..submit(Some("k")) };
            let reply = waiting.run(&mut script, Body::Submit(Box::new(first))).unwrap();
            assert!(matches!(&reply.message.body, Body::JobAnswer(answer) if answer.job.status == JobStatus::Ok));
            assert_eq!(*seen.borrow(), expected);
            let told = script.told();
            assert!(
                matches!(told.as_slice(), [Body::Submit(_), Body::Result(query)] if query.wait.is_none()),
                "{told:?}"
            );
        }
    }

    #[test]
    fn when_the_time_is_over_the_job_is_told_as_it_stands() {
        let mut script = Script::new("a:1", [answer(JobStatus::Queued)]);
        let (outcome, _, _) = run(&mut script, Some("k"), Some(Instant::now()));
        assert_eq!(outcome.unwrap(), JobStatus::Queued);
    }

    #[test]
    fn a_lost_connection_is_made_again_with_the_same_key_and_only_with_one() {
        let stopping = || Act::Say(Body::Error(Box::new(ErrorAnswer::new("SUBMIT", ErrorCode::Stopping, "bye"))));
        let acts = || [Act::Close, Act::Refuse, Act::Refuse, stopping(), answer(JobStatus::Ok)];
        let mut script = Script::new("a:1", acts());
        let (outcome, _, pauses) = run(&mut script, Some("k"), None);
        assert_eq!((outcome.unwrap(), pauses), (JobStatus::Ok, 4));
        let keys: Vec<_> = script
            .told()
            .into_iter()
            .map(|body| match body {
                Body::Submit(submit) => submit.key,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(keys, vec![Some("k".to_owned()); 3]);

        let mut script = Script::new("a:1", acts());
        let (outcome, _, pauses) = run(&mut script, None, None);
        assert!(outcome.unwrap_err().is_lost());
        assert_eq!((script.told().len(), pauses), (1, 0));
    }

    #[test]
    fn a_node_that_was_never_there_and_one_that_refuses_end_it_at_once() {
        let (outcome, _, pauses) = run(&mut Script::new("a:1", [Act::Refuse]), Some("k"), None);
        assert!(outcome.unwrap_err().is_unreachable() && pauses == 0);
        let full = Act::Say(Body::Error(Box::new(ErrorAnswer::new("SUBMIT", ErrorCode::QueueFull, "full"))));
        let (outcome, _, pauses) = run(&mut Script::new("a:1", [full]), Some("k"), None);
        assert!(outcome.unwrap_err().is_code(&ErrorCode::QueueFull) && pauses == 0);
    }
}
