//! One test a law of the queue.

use std::time::Duration;

use super::super::{
    JobEnd, JobNumber, JobSpec, JobWrite, LogLevel, Outcome, QueueConfig, StoredJob, StoredState, Ticket,
};
use super::{Effect, Finish, Order, Queue, Submitted};
use crate::time::Time;
use crate::wire::{
    Attempt, Durability, ErrorAnswer, ErrorCode, EventKind, JOBS_PAGE, JobId, JobRef, JobStatus, JobView, JobsQuery,
    Json, ServerId, ServiceName, Submit,
};

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn worker(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

pub(super) fn job(service: &str) -> Submit {
    Submit::new(name(service), ServiceName::run(), Json::new(r#"{"n":1}"#).unwrap())
}

fn keyed(key: &str) -> Submit {
    Submit { key: Some(key.to_owned()), ..job("query") }
}

fn done() -> Outcome {
    Outcome::Ok(Json::new("42").unwrap())
}

fn failed(detail: &str) -> Outcome {
    Outcome::Failed { detail: detail.to_owned(), result: None, retry: true }
}

fn hopeless(detail: &str) -> Outcome {
    Outcome::Failed { detail: detail.to_owned(), result: Some(Json::new("\"why\"").unwrap()), retry: false }
}

/// A queue with a clock, and all that it wanted since it was last asked.
struct Desk {
    queue: Queue,
    now: Time,
    effects: Vec<Effect>,
    /// The last write it asked for.
    last: Ticket,
}

impl Desk {
    fn new(config: QueueConfig) -> Desk {
        let queue = Queue::new(config, &worker("3fa9c1d2-0000-4000-8000-000000000000"), 7);
        Desk { queue, now: Time::ZERO + SECOND * 1000, effects: Vec::new(), last: Ticket(0) }
    }

    fn memory() -> Desk {
        Desk::new(QueueConfig { durability: Durability::Memory, ..QueueConfig::default() })
    }

    fn durable() -> Desk {
        Desk::new(QueueConfig::default())
    }

    /// Takes the effects of the last input, and looks whether all is right.
    fn collect(&mut self) {
        while let Some(effect) = self.queue.poll_effect() {
            if let Effect::Write { ticket, .. } = &effect {
                assert_eq!(ticket.0, self.last.0 + 1, "tickets count 1, 2, 3");
                self.last = *ticket;
            }
            self.effects.push(effect);
        }
        self.queue.check_invariants();
    }

    /// The effects since the last call.
    fn effects(&mut self) -> Vec<Effect> {
        self.collect();
        std::mem::take(&mut self.effects)
    }

    fn submit(&mut self, submit: Submit) -> JobNumber {
        match self.queue.submit(submit, self.now) {
            Ok(Submitted::New(number)) => {
                self.collect();
                number
            }
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, submit: Submit) -> ErrorAnswer {
        let before = self.queue.clone();
        let error = self.queue.submit(submit, self.now).unwrap_err();
        self.collect();
        assert_eq!(before.counts(), self.queue.counts(), "refused whole");
        error
    }

    fn start(&mut self, number: JobNumber, by: &str) -> Order {
        let order = self.queue.start(number, &worker(by), self.now).expect("it waits");
        self.collect();
        order
    }

    fn finish(&mut self, attempt: &Attempt, by: &str, outcome: Outcome) -> Finish {
        let finish = self.queue.finish(attempt, &worker(by), outcome, self.now);
        self.collect();
        finish
    }

    fn written(&mut self) {
        self.queue.written(self.last, self.now);
        self.collect();
    }

    fn write_failed(&mut self, from: u64, through: u64) {
        self.queue.write_failed(Ticket(from), Ticket(through), "no space left", self.now);
        self.collect();
    }

    /// Time passes, with ticks where they are due.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.queue.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.queue.tick(self.now);
            self.collect();
        }
        self.now = until;
        self.queue.tick(self.now);
        self.collect();
    }

    fn view(&self, number: JobNumber) -> JobView {
        self.queue.view(number, self.now, true).expect("it is kept")
    }

    fn status(&self, number: JobNumber) -> JobStatus {
        self.view(number).status
    }

    fn reason(&self, number: JobNumber) -> String {
        self.view(number).reason.unwrap_or_default()
    }

    fn next(&self) -> Vec<JobNumber> {
        self.queue.waiting().map(|(_, _, number)| number).collect()
    }
}

fn writes(effects: &[Effect]) -> Vec<&JobWrite> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Write { write, .. } => Some(&**write),
            _ => None,
        })
        .collect()
}

fn events(effects: &[Effect]) -> Vec<(EventKind, &str)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Event { kind, detail, .. } => Some((*kind, detail.as_str())),
            _ => None,
        })
        .collect()
}

fn unwanted(effects: &[Effect]) -> Vec<(u32, &str, &str)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Unwanted { attempt, worker, reason } => Some((attempt.attempt, worker.as_str(), reason.as_str())),
            _ => None,
        })
        .collect()
}

fn stored(number: JobNumber, spec: JobSpec, state: StoredState, age: Duration, state_age: Duration) -> StoredJob {
    StoredJob { number, spec, state, age, state_age }
}

fn spec(delay: Duration, priority: u8) -> JobSpec {
    let Submit { service, method, params, .. } = job("query");
    JobSpec { service, method, params, priority, delay, timeout: SECOND * 10, attempts: 3, key: Some("k".into()) }
}

// ---- acceptance -------------------------------------------------------------------------------------------------

#[test]
fn in_memory_a_job_is_accepted_and_settled_at_once_and_nothing_is_written() {
    let mut desk = Desk::memory();
    let number = desk.submit(job("query"));
    assert_eq!(desk.effects(), [Effect::Accepted(number)]);
    let order = desk.start(number, "W1");
    assert_eq!(order.attempt.job_id.as_str(), "3fa9c1d2-7-0");
    assert_eq!((order.attempt.attempt, order.params.as_str(), order.timeout), (1, r#"{"n":1}"#, SECOND * 600));
    assert_eq!(desk.reason(number), "on worker W1 for 0.0 s");
    assert_eq!(desk.finish(&order.attempt, "W1", done()), Finish::Recorded(number));
    let effects = desk.effects();
    let event = "job 3fa9c1d2-7-0 (query.run) is OK by worker W1, attempt 1";
    assert_eq!(events(&effects), [(EventKind::JobEnded, event)]);
    assert_eq!(effects.last(), Some(&Effect::Settled(number)));
    let view = desk.view(number);
    assert_eq!((view.status, view.attempt, view.worker.as_ref().map(ServerId::as_str)), (JobStatus::Ok, 1, Some("W1")));
    assert_eq!((view.result, view.reason), (Json::new("42"), None));
    assert_eq!(desk.last, Ticket(0));
}

#[test]
fn a_job_waits_only_when_its_put_is_written() {
    let mut desk = Desk::durable();
    let number = desk.submit(keyed("a"));
    let effects = desk.effects();
    let [Effect::Write { ticket: Ticket(1), write }] = &effects[..] else { panic!("{effects:?}") };
    let JobWrite::Put { number: put, spec } = &**write else { panic!("{write:?}") };
    assert_eq!((*put, spec.key.as_deref(), spec.attempts, spec.timeout), (number, Some("a"), 3, SECOND * 600));
    assert_eq!(desk.next(), []);
    assert!(desk.queue.start(number, &worker("W1"), desk.now).is_none());
    assert!(!desk.queue.is_settled(number) && desk.queue.view(number, desk.now, false).is_none());
    assert_eq!(desk.queue.cancel(number, desk.now).unwrap_err().code, ErrorCode::WrongState);
    assert_eq!(desk.queue.submit(keyed("a"), desk.now), Ok(Submitted::Known(number)));
    desk.written();
    assert_eq!(desk.effects(), [Effect::Accepted(number)]);
    assert!(desk.queue.is_settled(number));
    assert_eq!(desk.next(), [number]);
}

#[test]
fn a_put_that_fails_refuses_the_job_and_leaves_nothing() {
    let mut desk = Desk::durable();
    let empty = desk.queue.clone();
    let number = desk.submit(keyed("a"));
    desk.effects();
    desk.write_failed(1, 1);
    let effects = desk.effects();
    assert_eq!(events(&effects)[0].0, EventKind::StoreFailed);
    let Some(Effect::Refused { number: gone, error }) = effects.last() else { panic!("{effects:?}") };
    assert_eq!((*gone, &error.code, error.retry), (number, &ErrorCode::StoreFailed, true));
    assert!(error.detail.contains("no space left"), "{}", error.detail);
    assert_eq!(desk.queue.find(&JobRef::Key("a".to_owned())), None);
    assert_eq!((desk.queue.bytes(), desk.queue.counts()), (0, empty.counts()));
}

#[test]
fn an_ill_disk_refuses_at_once_but_for_one_probe_a_second() {
    let mut desk = Desk::durable();
    desk.submit(job("query"));
    desk.write_failed(1, 1);
    desk.effects();
    let error = desk.refused(job("query"));
    assert!(error.code == ErrorCode::StoreFailed && error.detail.contains("no space left"), "{error:?}");
    desk.pass(SECOND);
    let probe = desk.submit(job("query"));
    assert_eq!(desk.refused(job("query")).code, ErrorCode::StoreFailed, "one probe at a time");
    desk.write_failed(2, 2);
    let effects = desk.effects();
    assert!(events(&effects).is_empty(), "one event an episode: {effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Refused { number, .. } if *number == probe)));
    desk.pass(SECOND);
    let probe = desk.submit(job("query"));
    desk.effects();
    desk.written();
    let effects = desk.effects();
    assert_eq!(effects[0], Effect::Accepted(probe));
    assert_eq!(events(&effects), [(EventKind::StoreWell, "the disk writes again")]);
    desk.submit(job("query"));
}

#[test]
fn a_slow_disk_is_told_once_and_with_how_long_it_was_when_that_is_over() {
    let mut desk = Desk::durable();
    let first = desk.submit(job("query"));
    desk.pass(SECOND * 3);
    desk.submit(job("query"));
    desk.pass(SECOND / 2);
    let slow = "the disk is slow: its oldest write has been under way for";
    assert_eq!(events(&desk.effects()), [(EventKind::StoreSlow, format!("{slow} 1.0 s").as_str())]);
    assert_eq!(desk.queue.disk_trouble(desk.now), Some(format!("{slow} 3.5 s")));
    assert!(!desk.queue.is_accepted(first) && desk.queue.view(first, desk.now, true).is_none());
    desk.written();
    let effects = desk.effects();
    assert_eq!(events(&effects), [(EventKind::StoreWell, "the disk keeps up again; it was slow for 3.5 s")]);
    assert!(desk.queue.is_accepted(first) && desk.queue.disk_trouble(desk.now).is_none());

    let order = desk.start(first, "W1");
    desk.finish(&order.attempt, "W1", done());
    desk.pass(SECOND * 2);
    let query = JobsQuery { list: true, status: None, service: None, after: None };
    let listed = desk.queue.list(&query, desk.now).0;
    let reason = listed[0].reason.as_deref().unwrap();
    assert_eq!(listed[0].status, JobStatus::Running);
    assert_eq!(reason, format!("its end is being written to the disk; {slow} 2.0 s"));
}

#[test]
fn a_full_queue_says_what_it_is_full_of() {
    let config = QueueConfig { max_jobs: 2, durability: Durability::Memory, ..QueueConfig::default() };
    let mut desk = Desk::new(config.clone());
    let first = desk.submit(job("query"));
    desk.submit(Submit { delay: SECOND, ..job("query") });
    let error = desk.refused(job("query"));
    assert_eq!((error.code, error.retry), (ErrorCode::QueueFull, true));
    assert_eq!(error.detail, "2 jobs wait or run, and max-jobs is 2");
    let order = desk.start(first, "W1");
    assert_eq!(desk.refused(job("query")).code, ErrorCode::QueueFull);
    desk.finish(&order.attempt, "W1", done());
    desk.submit(job("query"));

    let mut desk = Desk::new(QueueConfig { max_jobs: 1000, max_bytes: 64 << 10, ..config });
    let long = Submit { params: Json::string(&"x".repeat(30_000)), ..job("query") };
    desk.submit(long.clone());
    desk.submit(long.clone());
    let error = desk.refused(long);
    assert_eq!(error.code, ErrorCode::QueueFull);
    let bytes = 2 * (200 + 5 + 3 + 30_002);
    assert_eq!(error.detail, format!("jobs and results hold {bytes} bytes, this job 30210, and max-bytes is 65536"));
}

#[test]
fn services_without_end_are_refused() {
    let mut desk = Desk::memory();
    for n in 0..super::lanes::MAX_LANES {
        desk.queue.submit(job(&format!("s{n}")), desk.now).unwrap();
    }
    desk.effects();
    let error = desk.refused(job("other"));
    assert!(error.code == ErrorCode::QueueFull && error.detail.contains("10000 methods"), "{error:?}");
    desk.submit(job("s1"));
}

#[test]
fn a_key_is_one_job_as_long_as_it_is_kept() {
    let config = QueueConfig { keep_for: SECOND * 10, durability: Durability::Memory, ..QueueConfig::default() };
    let mut desk = Desk::new(config);
    let number = desk.submit(keyed("a"));
    assert_eq!(desk.queue.submit(keyed("a"), desk.now), Ok(Submitted::Known(number)));
    let order = desk.start(number, "W1");
    desk.finish(&order.attempt, "W1", done());
    assert_eq!(desk.queue.find(&JobRef::Key("a".to_owned())), Some(number));
    assert_eq!(desk.queue.submit(keyed("a"), desk.now), Ok(Submitted::Known(number)));
    desk.pass(SECOND * 10);
    assert_eq!(desk.queue.find(&JobRef::Key("a".to_owned())), None);
    assert_ne!(desk.submit(keyed("a")), number);
}

#[test]
fn an_id_has_one_spelling() {
    let mut desk = Desk::memory();
    let number = desk.submit(job("query"));
    assert_eq!(desk.queue.find(&JobRef::Id(desk.queue.id(number))), Some(number));
    for other in ["3fa9c1d2-7-00", "3fa9c1d2-07-0", "3fa9c1d2-7-+0", "3fa9c1d2-7-1", "3fa9c1d2-7-", "3fa9c1d2-7", "7-0"]
    {
        assert_eq!(desk.queue.number(&JobId::new(other).unwrap()), None, "{other}");
    }
    let huge = JobId::new(format!("3fa9c1d2-{}-{}", u64::MAX, u64::MAX)).unwrap();
    assert_eq!(desk.queue.number(&huge), None);
    assert_eq!(JobNumber::new(1 << 24, 0), None);
    assert_eq!(JobNumber::new(0, 1 << 40), None);
    let last = JobNumber::new((1 << 24) - 1, (1 << 40) - 1).unwrap();
    assert_eq!((last.0, last.boot(), last.count()), (u64::MAX, (1 << 24) - 1, (1 << 40) - 1));
}

// ---- order ------------------------------------------------------------------------------------------------------

#[test]
fn a_flood_of_high_priority_starves_nobody() {
    let mut desk = Desk::memory();
    let low = desk.submit(Submit { priority: 0, ..job("query") });
    let mut overtaken = 0;
    // One worker, a job a second, and two of the highest priority come each second, for ever.
    loop {
        desk.submit(Submit { priority: 9, ..job("query") });
        desk.submit(Submit { priority: 9, ..job("query") });
        let next = desk.next()[0];
        let order = desk.start(next, "W1");
        desk.pass(SECOND);
        desk.finish(&order.attempt, "W1", done());
        if next == low {
            break;
        }
        overtaken += 1;
        assert!(overtaken < 1000, "it starves");
    }
    // Nine steps are ninety seconds; what came in these, 180 jobs, goes before.
    assert!((90..=190).contains(&overtaken), "{overtaken}");
}

#[test]
fn the_most_urgent_service_comes_first() {
    let mut desk = Desk::memory();
    let late = Submit { priority: 3, ..job("b") };
    let (a, b) = (desk.submit(job("a")), desk.submit(late));
    let c = desk.submit(Submit { priority: 9, ..job("c") });
    let services: Vec<_> = desk.queue.waiting().map(|(service, _, _)| service.to_string()).collect();
    assert_eq!((services, desk.next()), (vec!["c".to_owned(), "a".to_owned(), "b".to_owned()], vec![c, a, b]));
    assert!(desk.queue.waiting().all(|(_, method, _)| *method == ServiceName::run()));
}

#[test]
fn after_a_restart_the_order_of_waiting_goes_on() {
    let mut desk = Desk::durable();
    desk.now = Time::ZERO + SECOND;
    let first = JobNumber::first(6);
    let [old, high, delayed, paused] = [0, 1, 2, 3].map(|n| JobNumber(first.0 + n));
    let keyless = |priority, delay| JobSpec { key: None, ..spec(delay, priority) };
    let open = |attempt| StoredState::Open { attempt, spared: 0 };
    let hour = SECOND * 3600;
    for job in [
        stored(old, spec(Duration::ZERO, 0), open(0), hour + SECOND * 91, hour),
        stored(high, keyless(9, Duration::ZERO), open(0), hour, hour),
        stored(delayed, keyless(9, hour + SECOND * 5), open(0), hour, hour),
        stored(paused, keyless(9, Duration::ZERO), open(2), hour, Duration::from_millis(500)),
    ] {
        desk.queue.restore(job, desk.now);
    }
    desk.collect();
    assert_eq!(desk.next(), [old], "91 s of waiting are more than nine steps");
    assert_eq!(desk.queue.find(&JobRef::Key("k".to_owned())), Some(old));
    assert_eq!(desk.view(old).age, Some(hour + SECOND * 91), "ages from before the clock began");
    assert_eq!(desk.queue.oldest_queued(desk.now), Some(hour + SECOND * 91));
    assert_eq!(desk.status(delayed), JobStatus::Delayed);
    assert_eq!(desk.reason(delayed), "not before 5.0 s from now, as its DELAY_MS says");
    assert_eq!(desk.reason(paused), "attempt 3 of 3 in 1.5 s");
    desk.pass(SECOND * 5);
    assert_eq!((desk.status(delayed), desk.status(paused)), (JobStatus::Queued, JobStatus::Queued));
    assert!(desk.submit(job("query")) > paused, "numbers go on");
}

// ---- attempts ---------------------------------------------------------------------------------------------------

#[test]
fn a_failed_attempt_is_followed_by_another_after_ever_longer_pauses_and_then_it_is_buried() {
    let mut desk = Desk::durable();
    let number = desk.submit(job("query"));
    desk.written();
    desk.effects();
    for (nth, pause) in [(1, 1), (2, 2)] {
        let order = desk.start(number, "W1");
        assert!(desk.effects().is_empty(), "the start costs no write");
        assert_eq!(desk.finish(&order.attempt, "W1", failed("boom")), Finish::Recorded(number));
        let effects = desk.effects();
        assert_eq!(
            writes(&effects),
            [&JobWrite::State { number, state: StoredState::Open { attempt: nth, spared: 0 } }]
        );
        desk.written();
        assert_eq!(desk.effects(), [Effect::Settled(number)], "the farm may acknowledge");
        assert_eq!(desk.status(number), JobStatus::Delayed);
        assert_eq!(desk.reason(number), format!("attempt {} of 3 in {pause}.0 s: boom", nth + 1));
        desk.pass(SECOND * pause - Duration::from_micros(1));
        assert_eq!(desk.next(), []);
        desk.pass(Duration::from_micros(1));
        assert_eq!(desk.next(), [number]);
    }
    let order = desk.start(number, "W1");
    desk.finish(&order.attempt, "W1", failed("boom\n again"));
    desk.effects();
    desk.written();
    let effects = desk.effects();
    let event =
        "job 3fa9c1d2-7-0 (query.run) is BURIED by worker W1, attempt 3: 3 attempts failed; the last: boom again";
    assert_eq!(events(&effects), [(EventKind::JobBuried, event)]);
    assert_eq!(desk.reason(number), "3 attempts failed; the last: boom\n again");
    assert_eq!(desk.next(), []);
}

#[test]
fn work_that_says_it_cannot_be_done_is_nok_at_once() {
    let mut desk = Desk::memory();
    let number = desk.submit(job("query"));
    let order = desk.start(number, "W1");
    desk.finish(&order.attempt, "W1", hopeless("no such user"));
    let view = desk.view(number);
    assert_eq!((view.status, view.reason.as_deref()), (JobStatus::Nok, Some("no such user")));
    assert_eq!((view.result, view.worker.as_ref().map(ServerId::as_str)), (Json::new("\"why\""), Some("W1")));
}

#[test]
fn an_attempt_whose_time_is_up_is_unwanted_and_its_late_result_still_wins() {
    let mut desk = Desk::memory();
    let number = desk.submit(Submit { timeout: Some(SECOND * 5), ..job("query") });
    let first = desk.start(number, "W1");
    desk.effects();
    desk.pass(SECOND * 6 - Duration::from_micros(1));
    assert_eq!(desk.status(number), JobStatus::Running, "a second more, for the report");
    desk.pass(Duration::from_micros(1));
    assert_eq!(unwanted(&desk.effects()), [(1, "W1", "no answer within 5.0 s")]);
    assert_eq!(desk.reason(number), "attempt 2 of 3 in 1.0 s: no answer within 5.0 s");
    assert!(!desk.queue.claim(&first.attempt, &worker("W1"), desk.now), "its time is up");
    desk.pass(SECOND);
    let second = desk.start(number, "W2");
    assert_eq!(second.attempt.attempt, 2);
    assert_eq!(desk.finish(&first.attempt, "W1", failed("stopped")), Finish::Late, "it counts as failed already");
    assert_eq!(desk.finish(&first.attempt, "W1", done()), Finish::Recorded(number));
    assert_eq!(unwanted(&desk.effects()), [(2, "W2", "another attempt has finished the job")]);
    assert_eq!(desk.view(number).worker.as_ref().map(ServerId::as_str), Some("W1"));
    let other = Outcome::Ok(Json::new("43").unwrap());
    assert_eq!(desk.finish(&second.attempt, "W2", other), Finish::Late);
    assert_eq!(desk.view(number).result, Json::new("42"), "the first result wins");
}

#[test]
fn a_lost_attempt_waits_again_at_once_at_its_old_place() {
    let mut desk = Desk::durable();
    let number = desk.submit(job("query"));
    desk.pass(SECOND);
    let younger = desk.submit(job("query"));
    desk.written();
    let order = desk.start(number, "W1");
    desk.effects();
    desk.queue.lost(&order.attempt, "worker W1 has been silent for 6.0 s", desk.now);
    let effects = desk.effects();
    assert_eq!(writes(&effects), [&JobWrite::State { number, state: StoredState::Open { attempt: 1, spared: 0 } }]);
    assert_eq!(desk.next(), [number], "before {younger:?}");
    desk.queue.lost(&order.attempt, "again", desk.now);
    assert!(desk.effects().is_empty(), "it does not run");

    assert!(desk.queue.claim(&order.attempt, &worker("W1"), desk.now), "it came back before another began");
    assert_eq!((desk.status(number), desk.next()), (JobStatus::Running, vec![younger]));
    desk.queue.lost(&order.attempt, "gone", desk.now);
    let second = desk.start(number, "W2");
    assert!(!desk.queue.claim(&order.attempt, &worker("W1"), desk.now), "another runs");
    desk.queue.lost(&order.attempt, "gone", desk.now);
    assert_eq!(desk.status(number), JobStatus::Running, "the second attempt is not lost");
    desk.queue.lost(&second.attempt, "gone", desk.now);
    let third = desk.start(number, "W3");
    desk.queue.lost(&third.attempt, "gone too", desk.now);
    desk.collect();
    assert_eq!(desk.status(number), JobStatus::Buried);
    assert_eq!(desk.reason(number), "3 attempts failed; the last: gone too");
}

#[test]
fn a_job_whose_worker_is_taken_away_waits_again_and_loses_no_attempt() {
    let mut desk = Desk::durable();
    let number = desk.submit(Submit { attempts: Some(1), ..job("query") });
    desk.written();
    desk.effects();
    for nth in 1..=5 {
        let order = desk.start(number, "W1");
        assert_eq!(order.attempt.attempt, nth);
        desk.queue.taken_away(&order.attempt, "its owner wants it", desk.now);
        let effects = desk.effects();
        let state = StoredState::Open { attempt: nth, spared: u8::try_from(nth).unwrap() };
        assert_eq!(writes(&effects), [&JobWrite::State { number, state }]);
        assert_eq!(desk.status(number), JobStatus::Queued, "at once, and without a pause");
    }
    desk.written();
    desk.effects();
    let order = desk.start(number, "W1");
    desk.finish(&order.attempt, "W1", failed("boom"));
    desk.collect();
    assert_eq!(desk.status(number), JobStatus::Buried);
    assert_eq!(desk.reason(number), "1 attempt failed; the last: boom");
}

#[test]
fn after_a_restart_a_worker_claims_what_it_runs() {
    let mut desk = Desk::durable();
    let number = JobNumber::first(6);
    let state = StoredState::Open { attempt: 1, spared: 0 };
    desk.queue.restore(stored(number, spec(Duration::ZERO, 4), state, SECOND * 60, SECOND * 60), desk.now);
    let id = desk.queue.id(number);
    let attempt = |nth| Attempt { job_id: id.clone(), attempt: nth };
    for nth in [0, 4, u32::MAX] {
        assert!(!desk.queue.claim(&attempt(nth), &worker("W1"), desk.now), "attempt {nth} cannot be");
        assert_eq!(desk.finish(&attempt(nth), "W1", done()), Finish::Late);
    }
    assert!(desk.queue.claim(&attempt(2), &worker("W1"), desk.now));
    assert!(desk.queue.claim(&attempt(2), &worker("W1"), desk.now), "it says so again");
    assert!(!desk.queue.claim(&attempt(2), &worker("W2"), desk.now));
    assert_eq!((desk.view(number).attempt, desk.next()), (2, vec![]));
    desk.pass(SECOND * 10);
    assert_eq!(desk.status(number), JobStatus::Running);
    desk.finish(&attempt(2), "W1", failed("x"));
    assert_eq!(desk.reason(number), "attempt 3 of 3 in 2.0 s: x");
}

#[test]
fn after_a_restart_a_report_counts_although_nobody_claimed_the_attempt() {
    let restored = |state: StoredState| {
        let mut desk = Desk::durable();
        desk.queue.restore(stored(JobNumber::first(6), spec(Duration::ZERO, 4), state, SECOND, SECOND), desk.now);
        let attempt = Attempt { job_id: desk.queue.id(JobNumber::first(6)), attempt: 1 };
        (desk, attempt)
    };
    let (mut desk, attempt) = restored(StoredState::Open { attempt: 0, spared: 0 });
    assert_eq!(desk.finish(&attempt, "W1", failed("x")), Finish::Recorded(JobNumber::first(6)));
    assert_eq!(desk.reason(JobNumber::first(6)), "attempt 2 of 3 in 1.0 s: x");
    assert_eq!(desk.finish(&attempt, "W1", failed("x")), Finish::Late, "it counts once");
    let (mut desk, attempt) = restored(StoredState::Open { attempt: 0, spared: 0 });
    assert_eq!(desk.finish(&attempt, "W1", done()), Finish::Recorded(JobNumber::first(6)));
    let end = JobEnd { status: JobStatus::Ok, attempt: 1, worker: None, result: Json::new("1"), reason: None };
    let (mut desk, attempt) = restored(StoredState::Ended(Box::new(end)));
    assert_eq!(desk.finish(&attempt, "W1", done()), Finish::Late);
    assert_eq!(desk.view(JobNumber::first(6)).result, Json::new("1"));
    assert!(desk.effects().is_empty(), "what ended before the restart is not told again");
}

// ---- attempts that go on while the master is down ---------------------------------------------------------------

fn begun(attempt: u32, by: &str) -> StoredState {
    StoredState::Begun { attempt, spared: 0, worker: by.into() }
}

/// A queue after a restart, with a job that was begun by W1, one by W2 and one by nobody.
fn restarted() -> (Desk, [JobNumber; 3]) {
    let mut desk = Desk::durable();
    desk.queue.hold_for(SECOND * 10);
    let numbers = [0, 1, 2].map(|count| JobNumber::new(6, count).unwrap());
    for (number, state) in
        numbers.into_iter().zip([begun(1, "W1"), begun(2, "W2"), StoredState::Open { attempt: 0, spared: 0 }])
    {
        let spec = JobSpec { key: None, ..spec(Duration::ZERO, 4) };
        desk.queue.restore(stored(number, spec, state, SECOND * 60, SECOND * 50), desk.now);
    }
    desk.collect();
    (desk, numbers)
}

#[test]
fn an_attempt_that_runs_for_a_while_is_noted_once_and_nobody_waits_for_that() {
    let mut desk = Desk::durable();
    let (short, long) = (desk.submit(job("query")), desk.submit(job("query")));
    desk.written();
    let attempts = [(short, "W1"), (long, "W2")].map(|(number, by)| desk.start(number, by).attempt);
    desk.pass(SECOND / 10);
    desk.finish(&attempts[0], "W1", done());
    desk.effects();
    desk.pass(SECOND);
    let note = JobWrite::State { number: long, state: begun(1, "W2") };
    assert_eq!(writes(&desk.effects()), [&note]);
    assert!(desk.queue.is_settled(long), "RESULT is answered at once");
    desk.pass(SECOND * 5);
    assert_eq!(writes(&desk.effects()), [] as [&JobWrite; 0], "once");
    // A note that the disk refuses is no loss, and none is tried while it is ill.
    let last = desk.last.0;
    desk.queue.written(Ticket(last - 1), desk.now);
    desk.write_failed(last, last);
    desk.effects();
    assert_eq!(desk.finish(&attempts[1], "W2", failed("x")), Finish::Recorded(long));
    desk.pass(SECOND * 20);
    let effects = desk.effects();
    assert_eq!(
        writes(&effects),
        [&JobWrite::State { number: long, state: StoredState::Open { attempt: 1, spared: 0 } }]
    );
    // Nothing is due of it by itself once nothing runs; in memory nothing is noted.
    let mut desk = Desk::memory();
    let number = desk.submit(job("query"));
    desk.start(number, "W1");
    desk.pass(SECOND * 5);
    assert_eq!(writes(&desk.effects()), [] as [&JobWrite; 0]);
}

#[test]
fn what_was_begun_before_a_restart_is_held_for_its_worker_and_nothing_else_is() {
    let (mut desk, [one, two, three]) = restarted();
    assert_eq!(desk.next(), [three]);
    assert_eq!((desk.status(one), desk.view(one).attempt), (JobStatus::Delayed, 0));
    assert_eq!(
        desk.reason(two),
        "waits: its attempt 2 may still run on worker W2, which has not come back since the restart; held for at most \
         10.0 s more"
    );
    let fresh = desk.submit(job("query"));
    desk.written();
    assert_eq!(desk.status(fresh), JobStatus::Queued, "a new job waits for nobody");
    // W1 still has it; W2 has lost it.
    let attempt = Attempt { job_id: desk.queue.id(one), attempt: 1 };
    assert!(desk.queue.claim(&attempt, &worker("W1"), desk.now));
    assert!(!desk.queue.returned(&worker("W1"), desk.now) && desk.status(one) == JobStatus::Running);
    assert!(desk.queue.returned(&worker("W2"), desk.now));
    desk.collect();
    assert_eq!(desk.status(two), JobStatus::Queued);
    let order = desk.start(two, "W3");
    assert_eq!(order.attempt.attempt, 2, "as if it had been forgotten that it was begun");
}

#[test]
fn a_held_job_always_goes_on() {
    let (mut desk, [one, two, _]) = restarted();
    let attempt = Attempt { job_id: desk.queue.id(one), attempt: 1 };
    assert_eq!(desk.finish(&attempt, "W1", done()), Finish::Recorded(one), "its report ends it");
    desk.pass(SECOND * 10 - Duration::from_micros(1));
    assert_eq!(desk.status(two), JobStatus::Delayed);
    desk.pass(Duration::from_micros(1));
    assert_eq!(desk.status(two), JobStatus::Queued);
    assert!(desk.effects().iter().any(|effect| matches!(effect, Effect::Log { text, .. } if text.contains("in time"))));
    assert!(desk.next().contains(&two) && !desk.next().contains(&one));
    // Cancelled and buried ones are not held any more either.
    let (mut desk, [one, two, _]) = restarted();
    desk.queue.cancel(one, desk.now).unwrap();
    desk.queue.bury(two, desk.now).unwrap();
    desk.collect();
    assert!(!desk.queue.returned(&worker("W1"), desk.now) && !desk.queue.returned(&worker("W2"), desk.now));
    // Without a time nothing is held.
    let mut desk = Desk::durable();
    let number = JobNumber::first(6);
    desk.queue.restore(stored(number, spec(Duration::ZERO, 4), begun(1, "W1"), SECOND, SECOND), desk.now);
    assert_eq!(desk.next(), [number]);
}

// ---- cancel, bury, kick -----------------------------------------------------------------------------------------

#[test]
fn a_cancelled_job_is_not_done_and_its_attempt_is_stopped() {
    let mut desk = Desk::durable();
    let number = desk.submit(job("query"));
    desk.written();
    let order = desk.start(number, "W1");
    desk.effects();
    desk.queue.cancel(number, desk.now).unwrap();
    let effects = desk.effects();
    assert_eq!(unwanted(&effects), [(1, "W1", "it is cancelled")]);
    assert!(!effects.contains(&Effect::Settled(number)) && !desk.queue.is_settled(number));
    desk.written();
    let effects = desk.effects();
    assert_eq!(events(&effects)[0].0, EventKind::JobEnded);
    assert_eq!(effects.last(), Some(&Effect::Settled(number)));
    assert_eq!(desk.finish(&order.attempt, "W1", done()), Finish::Late);
    assert_eq!(desk.status(number), JobStatus::Cancelled);
    desk.queue.cancel(number, desk.now).unwrap();
    assert!(desk.effects().is_empty(), "it has ended");
    assert_eq!(desk.queue.cancel(JobNumber(1), desk.now).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn what_is_buried_can_be_kicked_or_cancelled_and_nothing_else_can_be_kicked() {
    let mut desk = Desk::memory();
    let number = desk.submit(Submit { attempts: Some(2), ..job("query") });
    let error = desk.queue.kick(number, desk.now).unwrap_err();
    assert_eq!((error.code, error.detail), (ErrorCode::WrongState, "the job is QUEUED; expected BURIED".to_owned()));
    desk.queue.bury(number, desk.now).unwrap();
    assert_eq!((desk.status(number), desk.next()), (JobStatus::Buried, vec![]));
    assert_eq!(desk.queue.bury(number, desk.now).unwrap_err().code, ErrorCode::WrongState);
    desk.queue.kick(number, desk.now).unwrap();
    for nth in 1..=4 {
        let order = desk.start(number, "W1");
        assert_eq!(order.attempt.attempt, nth, "numbers of attempts are never reused");
        assert_eq!(
            desk.queue.bury(number, desk.now).unwrap_err().detail,
            "the job is RUNNING; expected QUEUED, DELAYED or NOK"
        );
        desk.finish(&order.attempt, "W1", failed("x"));
        match nth {
            1 | 3 => desk.pass(SECOND),
            _ => {
                assert_eq!(desk.status(number), JobStatus::Buried, "after attempt {nth}");
                desk.queue.kick(number, desk.now).unwrap();
            }
        }
    }
    let order = desk.start(number, "W1");
    desk.finish(&order.attempt, "W1", hopeless("never"));
    desk.queue.bury(number, desk.now).unwrap();
    assert_eq!(desk.reason(number), "somebody buried it; before that: never");
    desk.queue.cancel(number, desk.now).unwrap();
    assert_eq!(desk.status(number), JobStatus::Cancelled);
    let kinds: Vec<_> = events(&desk.effects()).into_iter().map(|(kind, _)| kind).collect();
    let (buried, ended) = (EventKind::JobBuried, EventKind::JobEnded);
    assert_eq!(kinds, [buried, buried, buried, ended, buried, ended]);
}

#[test]
fn a_kicked_job_has_its_work_and_its_attempts_after_a_restart_too() {
    let mut desk = Desk::durable();
    let end = JobEnd {
        status: JobStatus::Buried,
        attempt: 3,
        worker: None,
        result: None,
        reason: Some("3 attempts failed; the last: x".into()),
    };
    let number = JobNumber::first(6);
    let state = StoredState::Ended(Box::new(end));
    desk.queue.restore(stored(number, spec(Duration::ZERO, 4), state, SECOND * 60, SECOND * 60), desk.now);
    desk.queue.kick(number, desk.now).unwrap();
    let effects = desk.effects();
    assert_eq!(writes(&effects), [&JobWrite::State { number, state: StoredState::Open { attempt: 3, spared: 0 } }]);
    let order = desk.start(number, "W1");
    assert_eq!((order.attempt.attempt, order.params.as_str()), (4, r#"{"n":1}"#));
    desk.finish(&order.attempt, "W1", failed("y"));
    assert_eq!(desk.reason(number), "attempt 5 of 6 in 1.0 s: y");
}

// ---- an ill disk ------------------------------------------------------------------------------------------------

#[test]
fn an_end_that_could_not_be_written_is_written_until_it_is_and_not_said_before() {
    let mut desk = Desk::durable();
    let number = desk.submit(job("query"));
    desk.written();
    let order = desk.start(number, "W1");
    desk.finish(&order.attempt, "W1", done());
    desk.effects();
    desk.write_failed(2, 2);
    for (ticket, pause) in [(3, 1), (4, 2), (5, 4)] {
        assert!(!desk.queue.is_settled(number));
        desk.effects();
        desk.pass(SECOND * pause - Duration::from_micros(1));
        assert!(desk.effects().is_empty(), "a pause of {pause} s before ticket {ticket}");
        desk.pass(Duration::from_micros(1));
        let effects = desk.effects();
        assert!(matches!(writes(&effects)[..], [JobWrite::State { state: StoredState::Ended(_), .. }]), "{effects:?}");
        assert_eq!(desk.last, Ticket(ticket));
        if ticket < 5 {
            desk.write_failed(ticket, ticket);
        }
    }
    desk.written();
    let effects = desk.effects();
    let kinds: Vec<_> = events(&effects).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [EventKind::JobEnded, EventKind::StoreWell]);
    assert!(effects.contains(&Effect::Settled(number)) && desk.queue.is_settled(number));
}

#[test]
fn work_goes_on_while_the_disk_is_ill_and_is_settled_when_it_is_well() {
    let mut desk = Desk::durable();
    let numbers: Vec<_> = (0..300).map(|_| desk.submit(job("query"))).collect();
    desk.written();
    let probe = desk.submit(job("query"));
    desk.write_failed(301, 301);
    for number in &numbers {
        let order = desk.start(*number, "W1");
        desk.finish(&order.attempt, "W1", done());
    }
    let effects = desk.effects();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Settled(_))));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Refused { number, .. } if *number == probe)));
    assert_eq!(desk.last, Ticket(301), "nothing is written to an ill disk before its time");
    desk.pass(SECOND);
    assert_eq!(desk.last, Ticket(301 + 64), "first a small batch");
    desk.written();
    assert_eq!(desk.last, Ticket(301 + 300), "then the rest");
    desk.written();
    let settled = desk.effects().iter().filter(|effect| matches!(effect, Effect::Settled(_))).count();
    assert_eq!(settled, 300);
}

#[test]
fn a_later_write_of_a_job_does_not_settle_it_while_an_earlier_one_is_owed() {
    let mut desk = Desk::durable();
    let number = desk.submit(job("query"));
    desk.written();
    let first = desk.start(number, "W1");
    desk.finish(&first.attempt, "W1", failed("x"));
    desk.pass(SECOND);
    let second = desk.start(number, "W1");
    desk.finish(&second.attempt, "W1", done());
    desk.effects();
    desk.write_failed(2, 2);
    desk.queue.written(Ticket(3), desk.now);
    let effects = desk.effects();
    assert!(!effects.contains(&Effect::Settled(number)), "{effects:?}");
    assert!(matches!(writes(&effects)[..], [JobWrite::State { state: StoredState::Ended(_), .. }]), "{effects:?}");
    desk.written();
    assert_eq!(desk.effects().last(), Some(&Effect::Settled(number)));
}

// ---- retention --------------------------------------------------------------------------------------------------

#[test]
fn results_are_kept_by_number_and_age_and_forgetting_is_written() {
    let config = QueueConfig { keep_results: 2, keep_for: SECOND * 10, ..QueueConfig::default() };
    let mut desk = Desk::new(config);
    let numbers: Vec<_> = (0..3).map(|n| desk.submit(keyed(&n.to_string()))).collect();
    desk.written();
    for number in &numbers {
        let order = desk.start(*number, "W1");
        desk.finish(&order.attempt, "W1", done());
    }
    desk.pass(SECOND);
    assert_eq!(desk.queue.counts().ok, 3, "an end that is not durable is not forgotten");
    desk.written();
    desk.effects();
    desk.pass(SECOND);
    assert_eq!(writes(&desk.effects()), [&JobWrite::Remove { number: numbers[0] }]);
    assert_eq!(desk.queue.counts().ok, 2);
    assert_eq!(desk.queue.view(numbers[0], desk.now, false), None);
    let removed = desk.last.0;
    desk.write_failed(removed, removed);
    desk.effects();
    desk.pass(SECOND);
    assert_eq!(writes(&desk.effects()), [&JobWrite::Remove { number: numbers[0] }], "until it is");
    desk.written();
    desk.pass(SECOND * 10);
    assert_eq!((desk.queue.counts().ok, desk.queue.bytes()), (0, 0));
}

#[test]
fn buried_jobs_are_kept_longer_and_their_end_is_told() {
    let config =
        QueueConfig { keep_results: 0, keep_for: SECOND, durability: Durability::Memory, ..QueueConfig::default() };
    let mut desk = Desk::new(config);
    let number = desk.submit(job("query"));
    desk.queue.bury(number, desk.now).unwrap();
    desk.effects();
    desk.pass(SECOND * 10 - Duration::from_micros(1));
    assert_eq!(desk.status(number), JobStatus::Buried);
    desk.pass(Duration::from_micros(1));
    let effects = desk.effects();
    assert!(matches!(&effects[..], [Effect::Log { level: LogLevel::Warn, .. }]), "{effects:?}");
    let other = desk.submit(job("query"));
    let order = desk.start(other, "W1");
    desk.finish(&order.attempt, "W1", done());
    assert_eq!(desk.status(other), JobStatus::Ok, "who waits for it still gets it");
    desk.pass(SECOND);
    assert_eq!(desk.queue.counts().ok, 0);
}

#[test]
fn where_nothing_is_kept_a_job_is_forgotten_once_its_end_is_told_unless_it_has_a_key() {
    let config = QueueConfig { keep_results: 0, durability: Durability::Memory, ..QueueConfig::default() };
    let mut desk = Desk::new(config.clone());
    let (plain, with_key) = (desk.submit(job("query")), desk.submit(keyed("k")));
    desk.queue.told(plain);
    assert_eq!(desk.status(plain), JobStatus::Queued, "it has no end that could have been told");
    for number in [plain, with_key] {
        let order = desk.start(number, "W1");
        desk.finish(&order.attempt, "W1", done());
        desk.queue.told(number);
    }
    assert_eq!(desk.queue.view(plain, desk.now, false), None);
    assert_eq!(desk.status(with_key), JobStatus::Ok);
    assert_eq!(desk.queue.counts().ok, 1);
    desk.queue.told(plain);
    desk.pass(SECOND);
    assert_eq!((desk.queue.counts().ok, desk.queue.bytes()), (0, 0));

    let kept = QueueConfig { keep_results: 1, ..config };
    let mut desk = Desk::new(kept);
    let number = desk.submit(job("query"));
    let order = desk.start(number, "W1");
    desk.finish(&order.attempt, "W1", done());
    desk.queue.told(number);
    assert_eq!(desk.status(number), JobStatus::Ok, "the last result is kept");
}

#[test]
fn old_results_keep_no_new_job_out() {
    let config = QueueConfig { max_bytes: 64 << 10, durability: Durability::Memory, ..QueueConfig::default() };
    let mut desk = Desk::new(config);
    for _ in 0..50 {
        let number = desk.submit(job("query"));
        let order = desk.start(number, "W1");
        desk.finish(&order.attempt, "W1", Outcome::Ok(Json::string(&"x".repeat(10_000))));
        desk.pass(SECOND);
        assert!(desk.queue.bytes() <= 32 << 10, "{}", desk.queue.bytes());
        assert_eq!(desk.status(number), JobStatus::Ok);
    }
}

// ---- listing ----------------------------------------------------------------------------------------------------

#[test]
fn listings_go_page_by_page_in_the_order_of_acceptance() {
    let mut desk = Desk::memory();
    let mut numbers: Vec<_> = (0..250).map(|_| desk.submit(job("query"))).collect();
    let mut query = JobsQuery { list: true, ..JobsQuery::default() };
    let (mut seen, mut more) = (Vec::new(), true);
    while more {
        let (page, rest) = desk.queue.list(&query, desk.now);
        assert!(page.len() <= JOBS_PAGE && (!rest || !page.is_empty()));
        query.after = page.last().map(|view| view.job_id.clone());
        seen.extend(page.iter().map(|view| desk.queue.number(&view.job_id).unwrap()));
        more = rest;
    }
    assert_eq!(seen, numbers);

    let running = numbers.split_off(240);
    running.iter().for_each(|number| {
        desk.start(*number, "W1");
    });
    let only = |status, service: Option<&str>, after: Option<JobNumber>| {
        let (service, after) = (service.map(name), after.map(|number| desk.queue.id(number)));
        let query = JobsQuery { list: true, status, service, after };
        desk.queue.list(&query, desk.now).0.iter().map(|view| desk.queue.number(&view.job_id).unwrap()).collect()
    };
    let found: Vec<JobNumber> = only(Some(JobStatus::Running), None, None);
    assert_eq!(found, running);
    assert_eq!(only(Some(JobStatus::Running), Some("query"), Some(running[3])), running[4..]);
    assert!(only(Some(JobStatus::Ok), None, None).is_empty() && only(None, Some("other"), None).is_empty());
    let foreign = JobsQuery { after: JobId::new("elsewhere-1-1"), ..JobsQuery::default() };
    assert_eq!(desk.queue.list(&foreign, desk.now), (vec![], false));
}

#[test]
fn a_listing_says_no_end_that_is_not_durable() {
    let mut desk = Desk::durable();
    let (accepting, number) = {
        let number = desk.submit(job("query"));
        desk.written();
        (desk.submit(job("query")), number)
    };
    let order = desk.start(number, "W1");
    desk.finish(&order.attempt, "W1", done());
    let (page, more) = desk.queue.list(&JobsQuery::default(), desk.now);
    assert_eq!((page.len(), more), (1, false), "{accepting:?} is not accepted yet");
    assert_eq!((page[0].status, &page[0].result), (JobStatus::Running, &None));
    let ended = JobsQuery { status: Some(JobStatus::Ok), ..JobsQuery::default() };
    assert_eq!(desk.queue.list(&ended, desk.now).0.len(), 0);
    desk.written();
    assert_eq!(desk.queue.list(&ended, desk.now).0.len(), 1);
}
