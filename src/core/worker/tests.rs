//! The laws of the worker, one by one, and the classroom's cases by their names.

use std::time::Duration;

use super::*;
use crate::core::patience::{AGAIN, ANSWER, DIAL, lost_after, pace};
use crate::core::{Outcome, WorkerConfig};
use crate::time::Time;
use crate::wire::*;

mod bond;

const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Clone)]
struct Desk {
    worker: Worker,
    now: Time,
    seen: Vec<Effect>,
}

fn at(host: u8) -> Address {
    format!("10.0.0.{host}:9101").parse().unwrap()
}

fn one(job: u32, attempt: u32) -> Attempt {
    Attempt { job_id: JobId::new(format!("3fa9c1d2-1-{job}")).unwrap(), attempt }
}

fn job(attempt: Attempt) -> Body {
    let (service, method) = (ServiceName::new("sleep").unwrap(), ServiceName::run());
    let (params, timeout) = (Json::null(), Duration::from_secs(9));
    Body::Job(JobOrder { attempt, call: false, service, method, params, timeout, output: false }.into())
}

fn welcome(master: &str, drop: Vec<Attempt>) -> Body {
    let (server_id, name) = (ServerId::new(master).unwrap(), master.to_owned());
    Body::WorkerWelcome(Box::new(WorkerWelcome {
        server_id,
        name,
        timeout: TIMEOUT,
        failover: Vec::new(),
        drop,
        terms: None,
    }))
}

fn query() -> Body {
    Body::Query { user: Json::string("11111111111") }
}

fn ack(attempt: Option<Attempt>) -> Body {
    Body::StatusAck(Box::new(StatusAck { worker: None, attempt }))
}

fn reply(name: &str, host: u8) -> Datagram {
    Datagram::Reply(MasterOffer { name: name.to_owned(), address: at(host) })
}

impl Desk {
    fn new(masters: &[u8]) -> Desk {
        let masters = masters.iter().map(|host| at(*host)).collect();
        let config = WorkerConfig { masters, slots: 2, grace: Duration::from_secs(30) };
        let now = Time::ZERO + Duration::from_secs(1000);
        let me = ServerId::new("W-1").unwrap();
        let worker = Worker::new(config, me, "w".to_owned(), INTERVAL, TIMEOUT, 7, now);
        let mut desk = Desk { worker, now, seen: Vec::new() };
        desk.pass(Duration::ZERO);
        desk
    }

    fn collect(&mut self) {
        self.worker.check_invariants();
        while let Some(effect) = self.worker.poll_effect() {
            self.seen.push(effect);
        }
    }

    /// Lets time pass, stopping at each deadline.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.worker.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.worker.tick(self.now);
            self.collect();
        }
        self.now = end;
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.seen)
    }

    /// The only link that was asked for since the last look, and whose.
    fn dialled(&mut self) -> (LinkId, Address) {
        let opens = self.seen.iter().filter_map(|effect| match effect {
            Effect::Open { link, address, .. } => Some((*link, address.clone())),
            _ => None,
        });
        let all: Vec<_> = opens.collect();
        assert_eq!(all.len(), 1, "{:?}", self.seen);
        self.seen.retain(|effect| !matches!(effect, Effect::Open { .. }));
        all[0].clone()
    }

    fn open(&mut self) -> LinkId {
        let (link, _) = self.dialled();
        self.worker.opened(link, self.now);
        self.collect();
        link
    }

    fn say(&mut self, link: LinkId, body: Body) {
        assert!(self.worker.message(link, None, body, self.now));
        self.collect();
    }

    fn said(&mut self) -> Vec<Body> {
        let sends = self.take().into_iter();
        sends
            .filter_map(|effect| if let Effect::Send { message, .. } = effect { Some(message.body) } else { None })
            .collect()
    }

    fn logged(&self, word: &str) -> bool {
        self.seen.iter().any(|effect| matches!(effect, Effect::Log { text, .. } if text.contains(word)))
    }

    fn started(&mut self) -> Vec<RunId> {
        let starts =
            self.seen.iter().filter_map(|effect| if let Effect::Start(run) = effect { Some(run.run) } else { None });
        starts.collect()
    }

    fn stopped(&self) -> usize {
        self.seen.iter().filter(|effect| matches!(effect, Effect::StopRun { .. })).count()
    }

    fn finish(&mut self, run: RunId, ok: bool) {
        let failed = || Outcome::Failed { detail: "no".to_owned(), result: None, retry: true };
        let outcome = if ok { Outcome::Ok(Json::null()) } else { failed() };
        self.worker.finished(run, outcome, self.now);
        self.collect();
    }

    fn close(&mut self, link: LinkId) {
        self.worker.closed(link, "closed by the peer", self.now);
        self.collect();
    }

    fn refuse(&mut self, link: LinkId) {
        self.worker.refused(link, "refused", self.now);
        self.collect();
    }

    fn hear(&mut self, datagram: Datagram, host: u8) {
        self.worker.datagram(format!("10.0.0.{host}:5000").parse().unwrap(), datagram, self.now);
        self.collect();
    }

    /// Takes each call and answers nothing, until the master is given up; notes how long each answer was waited for.
    fn say_nothing(&mut self, waits: &mut Vec<Duration>) {
        while !self.logged("FALLBACK") {
            self.open();
            let begun = self.now;
            let closed = |desk: &Desk| desk.seen.iter().any(|effect| matches!(effect, Effect::Close { .. }));
            self.take();
            while !closed(self) {
                self.pass(Duration::from_millis(50));
            }
            waits.push(self.now.since(begun));
            while !self.logged("FALLBACK") && !self.seen.iter().any(|effect| matches!(effect, Effect::Open { .. })) {
                self.pass(Duration::from_millis(50));
            }
        }
    }

    /// With a native master, welcomed.
    fn native() -> (Desk, LinkId) {
        let mut desk = Desk::new(&[1, 2]);
        let link = desk.open();
        desk.say(link, welcome("M1", Vec::new()));
        desk.take();
        (desk, link)
    }

    /// With a foreign master, at work on a task.
    fn at_work() -> (Desk, LinkId, RunId) {
        let mut desk = Desk::new(&[1]);
        let link = desk.open();
        desk.say(link, query());
        let run = desk.started()[0];
        desk.take();
        (desk, link, run)
    }
}

fn alive_jobs(body: &Body) -> Vec<Attempt> {
    let Body::WorkerAlive(alive) = body else { panic!("{body:?}") };
    alive.native.as_ref().unwrap().jobs.clone()
}

#[test]
fn s2_ct03_no_task_is_followed_by_alive_after_the_interval() {
    let mut desk = Desk::new(&[1]);
    let link = desk.open();
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]));
    desk.say(link, Body::NoTask);
    desk.pass(INTERVAL * 8 / 10);
    assert_eq!(desk.said(), []);
    desk.pass(INTERVAL / 5);
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(alive)] if alive.native.is_none()));
}

fn status_then_alive(ok: bool) {
    let (mut desk, link, run) = Desk::at_work();
    desk.finish(run, ok);
    let said = desk.said();
    assert!(matches!(said.as_slice(), [Body::WorkerStatus(status)] if status.ok == ok), "{said:?}");
    desk.say(link, ack(None));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]), "at once after a task");
}

#[test]
fn s2_ct04_status_ok_then_ack() {
    status_then_alive(true);
}

#[test]
fn s2_ct05_status_nok_then_ack() {
    status_then_alive(false);
}

#[test]
fn s21_ct01_one_master_is_connected_to_and_heartbeaten() {
    let mut desk = Desk::new(&[]);
    assert!(desk.logged("DISCOVERY"));
    desk.hear(reply("MASTER_X", 7), 7);
    desk.pass(Duration::from_secs(3));
    assert!(desk.logged("ELECTION") && desk.logged("CONNECTING"));
    assert_eq!(desk.seen.iter().filter(|effect| matches!(effect, Effect::Datagram { .. })).count(), 2);
    let link = desk.open();
    assert!(!desk.take().contains(&Effect::Watch(at(7))));
    desk.say(link, Body::ElectionAccepted { master: "MASTER_X".to_owned() });
    assert!(desk.seen.contains(&Effect::Watch(at(7))));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]));
}

#[test]
fn s21_ct02_the_smallest_name_in_byte_order_is_elected() {
    let mut desk = Desk::new(&[]);
    for (name, host) in [("MASTER_2", 2), ("MASTER_10", 10), ("master_1", 1)] {
        desk.hear(reply(name, host), host);
    }
    desk.pass(Duration::from_secs(3));
    assert!(desk.logged("MASTER_10, MASTER_2, master_1; elected MASTER_10"));
    let (link, address) = desk.dialled();
    assert_eq!(address, at(10));
    desk.worker.opened(link, desk.now);
    desk.collect();
    assert!(matches!(desk.said().as_slice(), [Body::ElectionAck { selected, .. }] if selected == "MASTER_10"));
    desk.pass(Duration::from_secs(5));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]), "a master that ignores it is used all the same");
}

#[test]
fn s21_ct03_nobody_answers() {
    let mut desk = Desk::new(&[]);
    desk.pass(Duration::from_secs(3));
    assert!(desk.logged("NO_MASTER_FOUND"));
    desk.take();
    desk.pass(Duration::from_secs(1));
    assert!(desk.logged("DISCOVERY"), "again after a second");
}

#[test]
fn s21_ct04_the_elected_master_dies() {
    let mut desk = Desk::new(&[]);
    desk.hear(reply("A", 1), 1);
    desk.hear(reply("B", 2), 2);
    desk.pass(Duration::from_secs(3));
    let link = desk.open();
    desk.say(link, Body::ElectionAccepted { master: "A".to_owned() });
    desk.say(link, welcome("A", Vec::new()));
    desk.worker.master_timeout(&at(1), desk.now);
    desk.take();
    desk.pass(TIMEOUT);
    assert!(desk.logged("FALLBACK") && desk.logged("DISCOVERY"));
    assert!(desk.seen.contains(&Effect::Unwatch(at(1))));
    desk.pass(Duration::from_secs(3));
    assert!(desk.logged("NO_MASTER_FOUND"), "what was collected before counts no more");
}

#[test]
fn s21_ct05_what_is_no_reply_changes_nothing() {
    let mut desk = Desk::new(&[]);
    let before = desk.worker.clone();
    desk.hear(Datagram::Find, 1);
    desk.hear(Datagram::Found(MasterOffer { name: "A".to_owned(), address: at(1) }), 1);
    desk.hear(Datagram::Discovery { worker: ServerId::new("W-2").unwrap() }, 1);
    assert_eq!(desk.worker, before);
    desk.hear(reply("B", 2), 2);
    desk.pass(Duration::from_secs(3));
    assert_eq!(desk.dialled().1, at(2), "the others count");
}

#[test]
fn refused_or_silent_masters_are_passed_over_in_order_and_a_round_ends_in_a_pause() {
    let mut desk = Desk::new(&[1, 2]);
    let (link, first) = desk.dialled();
    assert_eq!(first, at(1));
    desk.worker.refused(link, "refused", desk.now);
    desk.collect();
    assert!(desk.logged("FALLBACK"));
    desk.open();
    desk.take();
    desk.pass(Duration::from_secs(5));
    assert!(desk.logged("FALLBACK"), "no answer to ALIVE");
    assert_eq!(desk.worker.state().phase, Phase::Pausing);
    desk.pass(Duration::from_millis(500));
    assert_eq!(desk.dialled().1, at(1));
}

#[test]
fn a_link_that_dropped_is_redialled_at_once_and_then_with_backoff_until_timeout() {
    let (mut desk, link) = Desk::native();
    desk.close(link);
    let (link, address) = desk.dialled();
    assert_eq!(address, at(1));
    desk.refuse(link);
    assert!(desk.seen.iter().all(|effect| !matches!(effect, Effect::Open { .. })), "not at once again");
    assert_eq!(desk.worker.state().phase, Phase::Away);
    desk.pass(Duration::from_millis(500));
    desk.dialled();
    desk.pass(TIMEOUT);
    assert!(desk.logged("FALLBACK"));
    assert_eq!(desk.dialled().1, at(2));
}

#[test]
fn results_are_kept_and_said_again_until_they_are_acknowledged() {
    let (mut desk, link) = Desk::native();
    desk.say(link, job(one(1, 1)));
    desk.say(link, job(one(2, 1)));
    desk.say(link, job(one(2, 1)));
    let runs = desk.started();
    assert_eq!(runs.len(), 2, "an attempt that is held is not started again");
    desk.take();
    desk.say(link, job(one(3, 1)));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerStatus(status)] if !status.ok && status.retry));
    desk.close(link);
    desk.finish(runs[0], true);
    desk.finish(runs[1], true);
    let link = desk.open();
    assert_eq!(alive_jobs(&desk.said()[0]), [one(1, 1), one(2, 1)]);
    desk.say(link, welcome("M1", vec![one(2, 1)]));
    let said = desk.said();
    assert!(matches!(said.as_slice(), [Body::WorkerStatus(status)] if status.attempt == Some(one(1, 1))), "{said:?}");
    desk.say(link, ack(Some(one(1, 1))));
    desk.worker.offers(vec![ServiceOffer { name: ServiceName::run(), methods: vec![], idempotent: vec![] }], desk.now);
    desk.collect();
    assert_eq!(alive_jobs(&desk.said()[0]), []);
}

#[test]
fn what_runs_for_one_master_is_stopped_when_another_takes_the_worker_and_is_never_run_again() {
    let (mut desk, link) = Desk::native();
    desk.say(link, job(one(1, 1)));
    desk.close(link);
    desk.dialled();
    desk.pass(lost_after(TIMEOUT));
    assert_eq!(desk.stopped(), 0, "it goes on while no other master has taken the worker");
    let link = desk.open();
    desk.say(link, welcome("M2", Vec::new()));
    assert_eq!(desk.stopped(), 1);
    desk.take();
    desk.say(link, job(one(1, 1)));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerStatus(status)] if !status.ok && status.retry));
}

#[test]
fn stop_stops_and_the_end_of_the_run_is_swallowed() {
    let (mut desk, link) = Desk::native();
    desk.say(link, job(one(1, 1)));
    let run = desk.started()[0];
    desk.say(link, Body::JobStop(Box::new(JobStop { attempt: one(1, 1), reason: "cancelled".to_owned() })));
    assert_eq!(desk.stopped(), 1);
    desk.take();
    desk.finish(run, true);
    assert_eq!(desk.said(), []);
}

#[test]
fn calls_end_with_their_link() {
    let (mut desk, link) = Desk::native();
    let Body::Job(mut order) = job(Attempt { job_id: JobId::new("call-1").unwrap(), attempt: 1 }) else { panic!() };
    std::sync::Arc::make_mut(&mut order).call = true;
    desk.say(link, Body::Job(order));
    let run = desk.started()[0];
    assert_eq!(run.0 % 2, 0);
    desk.close(link);
    assert_eq!(desk.stopped(), 1);
    desk.finish(run, true);
    desk.open();
    assert_eq!(alive_jobs(&desk.said()[0]), []);
}

#[test]
fn a_native_master_hears_alive_at_a_pace_and_is_called_anew_when_it_does_not_answer() {
    let (mut desk, link) = Desk::native();
    for _ in 0..5 {
        desk.pass(pace(TIMEOUT));
        assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]));
        desk.say(link, welcome("M1", Vec::new()));
        assert_eq!(desk.said(), []);
    }
    desk.pass(pace(TIMEOUT) + ANSWER - Duration::from_micros(1));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]));
    desk.pass(Duration::from_micros(1));
    assert!(desk.seen.contains(&Effect::Close { link }), "a link that brings nothing is not waited for");
    assert_eq!(desk.dialled().1, at(1), "at once, and nobody else");
    assert!(!desk.logged("FALLBACK"));
    desk.pass(TIMEOUT);
    assert!(desk.logged("FALLBACK"), "it held nothing, and turns to another");
}

#[test]
fn who_holds_jobs_calls_its_master_at_a_fixed_pace_until_it_is_lost_there() {
    let (mut desk, link) = Desk::native();
    desk.say(link, job(one(1, 1)));
    let begun = desk.now;
    desk.close(link);
    let mut link = desk.dialled().0;
    let mut swallowed = 0;
    while desk.now.since(begun) + DIAL + AGAIN < lost_after(TIMEOUT) {
        // The cut swallows the attempt.
        desk.pass(DIAL);
        desk.refuse(link);
        desk.pass(AGAIN);
        let (next, address) = desk.dialled();
        assert_eq!(address, at(1));
        (link, swallowed) = (next, swallowed + 1);
    }
    assert_eq!(swallowed, 7, "10 s by 1.25 s");
    assert!(!desk.logged("FALLBACK"));
    assert_eq!(desk.stopped(), 0);
    let mut resumed = desk.clone();
    resumed.worker.opened(link, resumed.now);
    resumed.collect();
    assert_eq!(alive_jobs(&resumed.said()[0]), [one(1, 1)]);
    desk.pass(lost_after(TIMEOUT));
    assert!(desk.logged("FALLBACK"));
}

#[test]
fn a_master_that_refuses_at_once_is_called_about_once_a_second() {
    let (mut desk, link) = Desk::native();
    desk.say(link, job(one(1, 1)));
    desk.close(link);
    let begun = desk.now;
    let mut calls = Vec::new();
    while calls.len() < 6 {
        let link = desk.dialled().0;
        calls.push(desk.now.since(begun));
        desk.refuse(link);
        while !desk.seen.iter().any(|effect| matches!(effect, Effect::Open { .. })) {
            desk.pass(Duration::from_millis(10));
        }
    }
    let gaps: Vec<u128> = calls.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert_eq!(gaps, [250, 500, 1000, 1000, 1000]);
}

#[test]
fn a_slow_master_is_waited_for_longer_each_time() {
    let (mut desk, link) = Desk::native();
    desk.close(link);
    let mut waits = Vec::new();
    desk.say_nothing(&mut waits);
    assert_eq!(waits[..2], [1, 2].map(Duration::from_secs), "{waits:?}");
    // Answers that take long are waited for in proportion, and a single late one changes little.
    let (mut desk, link) = Desk::native();
    desk.pass(pace(TIMEOUT));
    let until = |desk: &Desk| desk.worker.deadline().unwrap().since(desk.now);
    assert_eq!(until(&desk), ANSWER);
    desk.pass(Duration::from_millis(900));
    desk.say(link, welcome("M1", Vec::new()));
    desk.pass(pace(TIMEOUT) - Duration::from_millis(900));
    assert_eq!(until(&desk), ANSWER, "one late answer doubles what the first took, and that was nothing");
}

#[test]
fn a_foreign_master_that_closes_after_each_answer_is_called_for_each_exchange() {
    let (mut desk, link, run) = Desk::at_work();
    desk.close(link);
    desk.pass(INTERVAL * 5);
    assert_eq!(desk.take(), [], "nothing is to be said before the task is done");
    desk.finish(run, true);
    let link = desk.open();
    assert!(matches!(desk.said().as_slice(), [Body::WorkerStatus(_)]));
    desk.close(link);
    let link = desk.open();
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]));
    desk.say(link, Body::NoTask);
    desk.close(link);
    desk.pass(INTERVAL);
    desk.open();
    assert!(!desk.logged("FALLBACK"));
}

#[test]
fn closes_after_many_answers_in_a_row_slow_nothing_down() {
    let mut desk = Desk::new(&[1]);
    for nth in 0..20 {
        // QUERY, end; STATUS on a new link, ACK, end; ALIVE was said on the link that ended.
        let link = desk.open();
        desk.say(link, query());
        let run = desk.started()[0];
        desk.take();
        desk.close(link);
        desk.finish(run, true);
        let link = desk.open();
        desk.say(link, ack(None));
        desk.take();
        desk.close(link);
        assert_eq!(desk.seen.len(), 1, "task {nth}: the next link is called at once: {:?}", desk.seen);
    }
}

#[test]
fn tasks_that_are_pushed_while_one_runs_wait_and_are_all_done() {
    let (mut desk, link, mut run) = Desk::at_work();
    for _ in 0..2 {
        desk.say(link, query());
    }
    assert_eq!(desk.take(), [], "one at a time");
    for acknowledges in [true, false] {
        desk.finish(run, true);
        assert!(matches!(desk.said().as_slice(), [Body::WorkerStatus(_)]));
        if acknowledges {
            desk.say(link, ack(None));
        } else {
            desk.pass(Duration::from_millis(249));
            assert_eq!(desk.take(), [], "never two lines in one read");
            desk.pass(Duration::from_millis(1));
        }
        run = desk.started()[0];
        assert_eq!(desk.said(), []);
    }
    desk.finish(run, true);
    assert!(matches!(desk.said().as_slice(), [Body::WorkerStatus(_)]));
    desk.say(link, ack(None));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]), "none waits any more");
}

#[test]
fn what_a_link_has_pushed_ends_with_it() {
    let (mut desk, link, run) = Desk::at_work();
    desk.say(link, query());
    desk.close(link);
    desk.finish(run, true);
    let link = desk.open();
    assert!(matches!(desk.said().as_slice(), [Body::WorkerStatus(_)]));
    desk.say(link, ack(None));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]));
}

#[test]
fn ack_to_alive_is_answered_by_a_request_and_keepalive_by_pong() {
    let mut desk = Desk::new(&[1]);
    let link = desk.open();
    desk.take();
    desk.say(link, ack(None));
    assert!(matches!(desk.said().as_slice(), [Body::TaskRequest { .. }]));
    desk.pass(Duration::from_secs(5));
    assert_eq!(desk.said(), []);
    desk.say(link, Body::KeepAlive);
    assert!(matches!(desk.said().as_slice(), [Body::Pong { .. }]));
    desk.say(link, query());
    assert_eq!(desk.started().len(), 1, "a pushed task is taken while idle");
    desk.say(link, query());
    assert_eq!(desk.started().len(), 1, "and the next one waits while it runs");
}

#[test]
fn a_master_that_never_acknowledges_is_asked_again_after_five_seconds() {
    let (mut desk, _, run) = Desk::at_work();
    desk.finish(run, true);
    desk.take();
    desk.pass(Duration::from_secs(5));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerAlive(_)]));
}

#[test]
fn draining_takes_nothing_new_and_ends_when_all_is_acknowledged() {
    let (mut desk, link) = Desk::native();
    desk.say(link, job(one(1, 1)));
    let run = desk.started()[0];
    desk.take();
    desk.worker.drain(desk.now);
    desk.collect();
    let said = desk.said();
    assert!(matches!(&said[0], Body::WorkerAlive(alive) if alive.native.as_ref().unwrap().slots == 0));
    desk.say(link, job(one(2, 1)));
    assert!(matches!(desk.said().as_slice(), [Body::WorkerStatus(status)] if status.retry));
    desk.finish(run, true);
    assert!(!desk.seen.contains(&Effect::Drained));
    desk.say(link, ack(Some(one(1, 1))));
    assert!(desk.seen.contains(&Effect::Drained) && desk.seen.contains(&Effect::Close { link }));
    assert!(desk.said().iter().any(|body| matches!(body, Body::Leave { .. })));
    assert_eq!(desk.worker.deadline(), None);
}

#[test]
fn draining_ends_at_once_when_idle_and_at_the_latest_after_the_grace() {
    let (mut desk, _) = Desk::native();
    desk.worker.drain(desk.now);
    desk.collect();
    assert!(desk.seen.contains(&Effect::Drained));

    let (mut desk, link) = Desk::native();
    desk.say(link, job(one(1, 1)));
    for told in 1..=2 {
        desk.worker.drain(desk.now);
        desk.collect();
        assert_eq!(desk.seen.contains(&Effect::Drained), told == 2, "told again, it waits for nothing");
    }
    assert_eq!(desk.stopped(), 1);
    assert!(desk.said().iter().any(|body| matches!(body, Body::Leave { .. })));

    let (mut desk, link, _) = Desk::at_work();
    desk.worker.drain(desk.now);
    desk.pass(Duration::from_secs(29));
    assert!(!desk.seen.contains(&Effect::Drained));
    desk.pass(Duration::from_secs(1));
    assert!(desk.seen.contains(&Effect::Drained) && desk.seen.contains(&Effect::Close { link }));
    assert_eq!(desk.stopped(), 1);
}

#[test]
fn the_first_alive_is_one_read_of_a_classroom_program_and_the_rest_is_told_after_the_welcome() {
    let offers: Vec<ServiceOffer> = (0..100)
        .map(|nth| ServiceOffer {
            name: ServiceName::new(format!("service-{nth}")).unwrap(),
            methods: vec![ServiceName::run()],
            idempotent: Vec::new(),
        })
        .collect();
    let services = |body: &Body| {
        let Body::WorkerAlive(alive) = body else { panic!("{body:?}") };
        alive.native.as_ref().map_or(0, |native| native.services.len())
    };
    let mut desk = Desk::new(&[1]);
    desk.worker.listens_at(Some("192.168.100.200:65535".parse().unwrap()));
    desk.worker.offers(offers, desk.now);
    let link = desk.open();
    let said = desk.said();
    let mut line = Vec::new();
    Edge::outbound(None).render(&Message::plain(said[0].clone()), &mut line);
    assert!(line.len() <= 1024, "{} bytes", line.len());
    assert!((1..100).contains(&services(&said[0])));
    desk.say(link, welcome("M1", Vec::new()));
    assert_eq!(desk.said().iter().map(services).collect::<Vec<_>>(), [100]);
    desk.say(link, welcome("M1", Vec::new()));
    assert_eq!(desk.said(), [], "once");
    desk.close(link);
    desk.open();
    assert_eq!(services(&desk.said()[0]), 100, "a master that is known to be native is told all at once");
}

#[test]
fn a_master_with_less_patience_than_the_interval_hears_of_its_worker_often_enough() {
    let mut desk = Desk::new(&[1]);
    let link = desk.open();
    let patience = Duration::from_secs(1);
    assert!(patience < INTERVAL);
    let welcome = || match welcome("M", Vec::new()) {
        Body::WorkerWelcome(welcome) => Body::WorkerWelcome(Box::new(WorkerWelcome { timeout: patience, ..*welcome })),
        other => panic!("{other:?}"),
    };
    desk.say(link, welcome());
    let (mut heard, begun) = (desk.now, desk.now);
    desk.take();
    while desk.now < begun + Duration::from_secs(20) {
        desk.pass(Duration::from_millis(20));
        if desk.said().iter().any(|body| matches!(body, Body::WorkerAlive(_))) {
            heard = desk.now;
            desk.say(link, welcome());
        }
        assert!(desk.now.since(heard) < patience, "silent for {:?}", desk.now.since(heard));
    }
}
