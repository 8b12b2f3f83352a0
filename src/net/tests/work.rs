//! Answers that are waited for, jobs on disk, runs, discovery, and the end of all of them.
//!
//! The loop is the real one, turned by hand, with real sockets; what the core wants is said by the test.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mio::Events;

use super::*;
use crate::core::{Input, JobNumber, JobWrite, LinkId, Outcome, Output, Run, RunId, Ticket, WorkerConfig};
use crate::net::limits::{
    EVENTS_PER_TURN, HIGH_WATER, HOLD, PRINTED_PIECES, READ_BUFFER, SERVICES_DEADLINE, STOP_AFTER_GRACE,
};
use crate::service::Report;
use crate::wire::{
    Attempt, Body, Datagram, JobId, JobOutput, JobStop, Json, Message, Role, ServiceName, ServiceOffer, StatusAck,
    Stream,
};

const LOAD: &[u8] = b"{\"TASK\":\"LOAD\"}\n";

/// A loop that is turned by hand.
struct Bench {
    reactor: Reactor,
    watcher: Notes,
    events: Events,
    buffer: Vec<u8>,
    address: SocketAddr,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Settings)) -> Bench {
        let mut settings = settings("self", &[], PATIENCE);
        change(&mut settings);
        let listener = listener();
        let address = listener.local_addr();
        let reactor = Reactor::new(listener, settings).unwrap();
        let (events, buffer) = (Events::with_capacity(EVENTS_PER_TURN), vec![0; READ_BUFFER]);
        Bench { reactor, watcher: Notes(channel().0), events, buffer, address }
    }

    /// One turn. It waits for 50 ms at most, since then the registry is shown.
    fn turn(&mut self) -> Option<Stop> {
        self.reactor.turn(&mut self.watcher, &mut self.events, &mut self.buffer).unwrap()
    }

    fn until(&mut self, what: &str, mut right: impl FnMut(&mut Bench) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !right(self) {
            assert!(Instant::now() < give_up, "waited in vain until {what}");
            assert_eq!(self.turn(), None, "it ended before {what}");
        }
    }

    /// A client that has asked one thing and had its answer, so that the core knows it.
    fn client(&mut self) -> (TcpStream, LinkId, usize) {
        let mut stream = connect(self.address);
        stream.write_all(LOAD).unwrap();
        let known = |bench: &mut Bench| bench.told().count();
        let before = known(self);
        self.until("the client is known", |bench| known(bench) > before);
        let link = self.told().last().unwrap();
        self.turn();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        (stream, link, self.reactor.connections.find(link).unwrap())
    }

    /// Links that were told to be open.
    fn told(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.reactor.heard.iter().filter_map(|input| match input {
            Input::LinkOpened { link, .. } => Some(*link),
            _ => None,
        })
    }

    /// What was told, but for links, measurements and time.
    fn heard(&mut self) -> Vec<Input> {
        let heard = std::mem::take(&mut self.reactor.heard);
        let dull = |input: &Input| {
            matches!(input, Input::LinkOpened { .. } | Input::LinkClosed { .. } | Input::LoadSample(_) | Input::Tick)
        };
        heard.into_iter().filter(|input| !dull(input)).collect()
    }

    /// How many messages were told.
    fn messages(&self) -> usize {
        self.reactor.heard.iter().filter(|input| matches!(input, Input::Message { .. })).count()
    }

    fn send(&mut self, link: LinkId, body: Body) {
        self.reactor.perform(Output::Send { link, message: Message::plain(body) });
    }

    fn waits(&mut self, link: LinkId, waits: bool, full: bool) {
        self.reactor.perform(Output::Waits { link, waits, full });
    }
}

/// A line that is rendered and ends nothing.
fn printed(seq: u64) -> Body {
    Body::Event(Box::new(Event { seq, kind: EventKind::Hot, server_id: None, address: None, detail: String::new() }))
}

#[test]
fn acknowledgements_go_with_the_next_order_and_wait_for_it_for_a_moment_only() {
    let mut bench = Bench::new(|_| {});
    let (stream, link, slot) = bench.client();
    let attempt = || Attempt { job_id: JobId::new("self-1-0").unwrap(), attempt: 1 };
    let ack = |attempt| Body::StatusAck(Box::new(StatusAck { worker: None, attempt }));
    let stop = || Body::JobStop(Box::new(JobStop { attempt: attempt(), reason: "x".to_owned() }));
    let pending = |bench: &mut Bench| bench.reactor.connections.get(slot).unwrap().out.pending();
    let mut answers = BufReader::new(stream);
    let acknowledged = "{\"STATUS\":\"ACK\",\"JOB_ID\":\"self-1-0\",\"ATTEMPT\":1}\n";

    for _ in 0..2 {
        bench.send(link, ack(Some(attempt())));
        bench.reactor.settle_all();
        assert!(pending(&mut bench) > 0, "nobody waits for it");
    }
    bench.send(link, stop());
    bench.reactor.settle_all();
    assert_eq!(pending(&mut bench), 0);
    assert_eq!([line(&mut answers), line(&mut answers)], [acknowledged; 2]);
    assert!(line(&mut answers).contains("STOP"));

    // Behind what is in a hurry it is in no less.
    bench.send(link, stop());
    bench.send(link, ack(Some(attempt())));
    bench.reactor.settle_all();
    assert_eq!(pending(&mut bench), 0);
    // Foreign workers may wait for it.
    bench.send(link, ack(None));
    bench.reactor.settle_all();
    assert_eq!(pending(&mut bench), 0);
    bench.until("what was held back before is forgotten", |bench| bench.reactor.held_back.is_empty());

    bench.send(link, ack(Some(attempt())));
    bench.reactor.settle_all();
    let until = bench.reactor.held_until;
    assert_eq!(until, bench.reactor.now + HOLD);
    bench.until("the moment is over", |bench| pending(bench) == 0);
    assert!(bench.reactor.now >= until && bench.reactor.held_back.is_empty());

    bench.reactor.begin_to_stop();
    bench.send(link, ack(Some(attempt())));
    bench.reactor.settle_all();
    assert_eq!(pending(&mut bench), 0, "who stops leaves nothing for later");
}

#[test]
fn a_half_closed_client_waits_for_its_answer_and_for_a_stream_before_it() {
    let mut bench = Bench::new(|_| {});
    let (mut stream, link, slot) = bench.client();
    bench.waits(link, true, false);
    // The last line has no newline: the end of the input ends it, too.
    stream.write_all(b"{\"TASK\":\"LOAD\"}").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    bench.until("the end is read", |bench| {
        bench.reactor.connections.get(slot).is_some_and(|connection| connection.ended)
    });
    let phase = |bench: &mut Bench| bench.reactor.connections.get(slot).map(|connection| connection.phase);
    assert_eq!(phase(&mut bench), Some(Phase::Open));
    assert_eq!(bench.reactor.after(IDLE_DEADLINE * 100, slot), Some(Phase::Open), "who waits is not idle");
    for seq in 1..=3 {
        bench.send(link, printed(seq));
        bench.turn();
        assert_eq!(phase(&mut bench), Some(Phase::Open), "a stream is no end");
    }
    bench.waits(link, true, false);
    bench.turn();
    assert_eq!(phase(&mut bench), Some(Phase::Open), "one is still waited for");
    bench.send(link, printed(4));
    bench.waits(link, false, false);
    bench.until("the connection has ended", |bench| bench.reactor.connections.get(slot).is_none());
    let text = rest(&stream);
    assert_eq!(text.matches("\"LOAD\"").count(), 1, "{text}");
    let places: Vec<_> = (1..=4).map(|seq| text.find(&format!("\"SEQ\":{seq}")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn a_half_closed_client_that_waits_for_nothing_more_is_let_go_without_another_word() {
    let mut bench = Bench::new(|_| {});
    let (stream, link, slot) = bench.client();
    bench.waits(link, true, false);
    stream.shutdown(Shutdown::Write).unwrap();
    bench.until("the end is read", |bench| {
        bench.reactor.connections.get(slot).is_some_and(|connection| connection.ended)
    });
    // The core gave the turn back unanswered.
    bench.waits(link, false, false);
    bench.until("the connection has ended", |bench| bench.reactor.connections.get(slot).is_none());
    assert_eq!(rest(&stream), "");
}

#[test]
fn who_has_too_many_unanswered_requests_is_not_read_until_the_core_says_so() {
    let mut bench = Bench::new(|_| {});
    let (mut stream, link, slot) = bench.client();
    let before = bench.messages();
    bench.waits(link, true, false);
    stream.write_all(LOAD).unwrap();
    bench.until("the last request is read", |bench| bench.messages() == before + 1);
    bench.waits(link, true, true);
    let asker = thread::spawn(move || {
        // More than fits into the sockets and the held input.
        stream.write_all(&LOAD.repeat(100_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        BufReader::new(stream).lines().map(Result::unwrap).filter(|line| line.contains("LOAD")).count()
    });
    let mut other = bench.client();
    for _ in 0..2 {
        bench.waits(link, true, true);
        for _ in 0..3 {
            other.0.write_all(LOAD).unwrap();
            bench.turn();
        }
    }
    let mine = |input: &Input| matches!(input, Input::Message { link: from, .. } if *from == link);
    assert_eq!(bench.reactor.heard.iter().filter(|input| mine(input)).count(), 2, "it was read while it was full");
    assert!(bench.reactor.connections.get(slot).unwrap().full);
    bench.waits(link, true, false);
    bench.until("everything is read", |bench| {
        bench.reactor.connections.get(slot).is_some_and(|connection| connection.ended)
    });
    bench.waits(link, false, false);
    bench.until("the connection has ended", |bench| bench.reactor.connections.get(slot).is_none());
    assert_eq!(asker.join().unwrap(), 100_001);
}

#[test]
fn a_client_that_breaks_off_while_it_is_not_read_is_noticed() {
    let mut bench = Bench::new(|_| {});
    let (stream, link, slot) = bench.client();
    bench.waits(link, true, true);
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    bench.until("the reset is noticed", |bench| bench.reactor.connections.get(slot).is_none());
    assert!(
        bench.reactor.heard.iter().any(|input| matches!(input, Input::LinkClosed { link: gone, .. } if *gone == link))
    );
}

/// What a store of jobs was asked to do.
#[derive(Debug, PartialEq)]
enum Asked {
    Push(u64),
    Flush,
    Dropped,
}

/// A store that only notes, and hands its voice to the test.
struct FakeJobs(Sender<Asked>, Sender<TellStored>);

struct FakeWriter(Sender<Asked>);

impl JobsAtRest for FakeJobs {
    fn start(self: Box<Self>, tell: TellStored) -> io::Result<Box<dyn Jobs>> {
        self.1.send(tell).unwrap();
        Ok(Box::new(FakeWriter(self.0)))
    }
}

impl Jobs for FakeWriter {
    fn push(&mut self, ticket: Ticket, _: Box<JobWrite>) {
        self.0.send(Asked::Push(ticket.0)).unwrap();
    }
    fn flush(&mut self) {
        self.0.send(Asked::Flush).unwrap();
    }
}

impl Drop for FakeWriter {
    fn drop(&mut self) {
        let _ = self.0.send(Asked::Dropped);
    }
}

fn write(ticket: u64) -> Output {
    Output::Write { ticket: Ticket(ticket), write: Box::new(JobWrite::Remove { number: JobNumber(ticket) }) }
}

#[test]
fn the_writes_of_a_turn_become_durable_together_and_what_became_of_them_is_told_in_order() {
    let (asked, saw) = channel();
    let (voice, voices) = channel();
    let mut bench = Bench::new(|settings| settings.jobs = Some(Box::new(FakeJobs(asked, voice))));
    let tell = voices.recv().unwrap();
    (1..=3).for_each(|ticket| bench.reactor.perform(write(ticket)));
    bench.turn();
    bench.turn();
    let all: Vec<Asked> = saw.try_iter().collect();
    assert_eq!(all, [Asked::Push(1), Asked::Push(2), Asked::Push(3), Asked::Flush]);
    bench.heard();
    let failed = |ticket| StoreNote::Failed { from: Ticket(ticket), through: Ticket(ticket), reason: "full".into() };
    let teller = thread::spawn(move || {
        for ticket in (2..10_000).step_by(2) {
            tell(failed(ticket - 1));
            tell(StoreNote::Written { through: Ticket(ticket) });
        }
    });
    let mut heard = Vec::new();
    bench.until("all is told", |bench| {
        heard.extend(bench.heard());
        heard.len() == 9_998
    });
    teller.join().unwrap();
    for (place, input) in heard.iter().enumerate() {
        let right = match input {
            Input::WriteFailed { from, through, reason } => {
                from == through && from.0 == place as u64 + 1 && place % 2 == 0 && reason == "full"
            }
            Input::Written { through } => through.0 == place as u64 + 1 && place % 2 == 1,
            _ => false,
        };
        assert!(right, "{place}: {input:?}");
    }
}

#[test]
fn who_submits_to_a_disk_that_hangs_is_told_so_and_has_the_job_once_it_writes() {
    let (asked, _saw) = channel();
    let (voice, voices) = channel();
    let (shown, events) = channel();
    let mut settings = settings("self", &[], PATIENCE);
    settings.jobs = Some(Box::new(FakeJobs(asked, voice)));
    let node = crate::net::start(listener(), settings, Notes(shown)).unwrap();
    let tell = voices.recv().unwrap();
    let mut client = BufReader::new(connect(node.address()));
    let mut ask = |question: &str| {
        client.get_mut().write_all(format!("{question}\n").as_bytes()).unwrap();
        line(&mut client)
    };
    let begun = Instant::now();
    let slow = ask(r#"{"TASK":"SUBMIT","SERVICE":"sleep","KEY":"k","WAIT_MS":1}"#);
    assert!(slow.contains("\"ERROR\":\"STORE_SLOW\"") && slow.contains("\"RETRY\":true"), "{slow}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "a disk that is merely busy is waited for");
    wait_for_event(&events, EventKind::StoreSlow);
    let jobs = ask(r#"{"TASK":"JOBS"}"#);
    assert!(jobs.contains("\"QUEUED\":0,") && jobs.contains("\"DISK\":\"the disk is slow: "), "{jobs}");
    tell(StoreNote::Written { through: Ticket(1) });
    wait_for_event(&events, EventKind::StoreWell);
    let known = ask(r#"{"TASK":"SUBMIT","SERVICE":"sleep","KEY":"k"}"#);
    assert!(known.contains("\"DUPLICATE\":true") && known.contains("\"STATUS\":\"QUEUED\""), "{known}");
    node.stop();
}

#[test]
fn without_a_store_a_write_fails_and_without_services_a_run_does() {
    let mut bench = Bench::new(|_| {});
    bench.reactor.perform(write(1));
    bench.reactor.perform(start(7, "x"));
    let mut heard = Vec::new();
    bench.until("both have failed", |bench| {
        heard.extend(bench.heard());
        heard.len() == 2
    });
    assert!(matches!(&heard[0], Input::WriteFailed { from: Ticket(1), through: Ticket(1), .. }), "{heard:?}");
    assert!(
        matches!(&heard[1], Input::Finished { run: RunId(7), outcome: Outcome::Failed { retry: true, .. } }),
        "{heard:?}"
    );
}

/// Services that end a run `now`, while it is started, or `later`, on another thread, after they have printed `talk`
/// pieces.
struct FakeServices {
    talk: usize,
    ended: Sender<Duration>,
}

struct FakeExecutor {
    report: Arc<dyn Report>,
    services: FakeServices,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    stopped: Sender<RunId>,
    stops: Mutex<Receiver<RunId>>,
}

impl ServicesAtRest for FakeServices {
    fn start(self: Box<Self>, report: Arc<dyn Report>) -> io::Result<Box<dyn Services>> {
        let name = ServiceName::new("fake").unwrap();
        report.offers(vec![ServiceOffer { name, methods: Vec::new(), idempotent: Vec::new() }]);
        let (stopped, stops) = channel();
        let stops = Mutex::new(stops);
        Ok(Box::new(FakeExecutor { report, services: *self, threads: Mutex::default(), stopped, stops }))
    }
}

fn work(report: &dyn Report, run: &Run, talk: usize) {
    for piece in 0..talk {
        report.printed(run.run, Stream::Out, piece.to_string());
    }
    report.finished(run.run, Outcome::Ok(run.params.clone()));
}

impl Services for FakeExecutor {
    fn run(&self, run: Run) {
        let talk = self.services.talk;
        if run.method.as_str() == "now" {
            return work(&*self.report, &run, talk);
        }
        let report = Arc::clone(&self.report);
        self.threads.lock().unwrap().push(thread::spawn(move || work(&*report, &run, talk)));
    }
    fn stop(&self, run: RunId) {
        self.stopped.send(run).unwrap();
        let detail = "stopped".to_owned();
        self.report.finished(run, Outcome::Failed { detail, result: None, retry: false });
    }
    fn finish(self: Box<Self>, grace: Duration) {
        for thread in self.threads.into_inner().unwrap() {
            thread.join().unwrap();
        }
        drop(self.stops);
        self.services.ended.send(grace).unwrap();
    }
}

fn start(run: u64, method: &str) -> Output {
    Output::Start(Box::new(Run {
        run: RunId(run),
        service: ServiceName::new("fake").unwrap(),
        method: ServiceName::new(method).unwrap(),
        params: Json::new(run.to_string()).unwrap(),
        timeout: PATIENCE,
        attempt: None,
        output: true,
    }))
}

fn with_services(talk: usize) -> (Bench, Receiver<Duration>) {
    let (ended, end) = channel();
    (Bench::new(|settings| settings.services = Some(Box::new(FakeServices { talk, ended }))), end)
}

#[test]
fn runs_that_end_at_once_and_runs_that_end_later_are_told_once_each_after_what_they_printed() {
    const RUNS: u64 = 200;
    const TALK: usize = 3 * PRINTED_PIECES;
    let (mut bench, _end) = with_services(TALK);
    bench.turn();
    assert!(matches!(&bench.heard()[..], [Input::Offers(offers)] if offers.len() == 1));
    for run in 0..RUNS {
        bench.reactor.perform(start(run, if run % 20 == 0 { "later" } else { "now" }));
        assert!(bench.heard().is_empty(), "the core is not told anything while it speaks");
    }
    let mut printed = vec![0; RUNS as usize];
    let mut finished = vec![false; RUNS as usize];
    bench.until("all have ended", |bench| {
        for input in bench.heard() {
            match input {
                Input::Printed { run, data, .. } => {
                    assert_eq!((data, finished[run.0 as usize]), (printed[run.0 as usize].to_string(), false));
                    printed[run.0 as usize] += 1;
                }
                Input::Finished { run, outcome } => {
                    assert_eq!(outcome, Outcome::Ok(Json::new(run.0.to_string()).unwrap()));
                    assert!(!std::mem::replace(&mut finished[run.0 as usize], true), "told twice");
                }
                other => panic!("{other:?}"),
            }
        }
        finished.iter().all(|finished| *finished)
    });
    assert!(printed.iter().all(|count| *count == TALK), "{printed:?}");
    bench.reactor.perform(Output::StopRun { run: RunId(77) });
    bench.turn();
    assert!(matches!(&bench.heard()[..], [Input::Finished { run: RunId(77), outcome: Outcome::Failed { .. } }]));
}

#[test]
fn runs_that_end_at_once_do_not_keep_sockets_waiting() {
    let (mut bench, _end) = with_services(0);
    let (mut stream, ..) = bench.client();
    bench.heard();
    for run in 0..100_000 {
        bench.reactor.perform(start(run, "now"));
    }
    stream.write_all(LOAD).unwrap();
    let mut ended = 0;
    bench.until("the client is heard", |bench| {
        let heard = bench.heard();
        ended += heard.iter().filter(|input| matches!(input, Input::Finished { .. })).count();
        heard.iter().any(|input| matches!(input, Input::Message { .. }))
    });
    assert!(ended < 100_000, "all of them came first");
}

#[test]
fn what_is_printed_waits_while_the_link_on_which_it_goes_is_congested() {
    let (mut bench, end) = with_services(100 * PRINTED_PIECES);
    let (mut stream, link, slot) = bench.client();
    bench.reactor.stuff(slot);
    assert!(bench.reactor.connections.get(slot).unwrap().waits);
    let output = JobOutput { job_id: JobId::new("a-1-1").unwrap(), attempt: 1, stream: Stream::Out, data: "x".into() };
    bench.send(link, Body::JobOutput(Box::new(output)));
    // Below what a stream may have, above what is congested.
    let connection = bench.reactor.connections.get(slot).unwrap();
    let room = HIGH_WATER + 1 - connection.out.pending().min(HIGH_WATER);
    connection.out.buffer(&mut bench.reactor.pool).extend_from_slice(&vec![b' '; room]);
    bench.turn();
    bench.heard();
    bench.reactor.perform(start(1, "later"));
    bench.until("it has printed", |bench| bench.reactor.talk.is_waiting());
    bench.reactor.perform(start(2, "now"));
    (0..5).for_each(|_| assert_eq!(bench.turn(), None));
    assert_eq!(bench.heard(), [], "nothing flows");
    let taker = thread::spawn(move || while !matches!(stream.read(&mut [0; 65_536]), Ok(0) | Err(_)) {});
    let (mut printed, mut finished) = (0, 0);
    bench.until("all is told", |bench| {
        for input in bench.heard() {
            match input {
                Input::Printed { .. } => printed += 1,
                Input::Finished { .. } => finished += 1,
                other => panic!("{other:?}"),
            }
        }
        finished == 2
    });
    assert_eq!(printed, 200 * PRINTED_PIECES);
    bench.reactor.stopper().stop();
    assert_eq!(bench.reactor.run(&mut bench.watcher).unwrap(), Stop::Graceful);
    assert_eq!(end.try_recv(), Ok(SERVICES_DEADLINE));
    taker.join().unwrap();
}

#[test]
fn the_end_waits_for_nobody_who_waits_for_the_loop() {
    for forced in [false, true] {
        let (asked, saw) = channel();
        let (voice, voices) = channel();
        let (ended, end) = channel();
        let mut bench = Bench::new(|settings| {
            settings.jobs = Some(Box::new(FakeJobs(asked, voice)));
            // Far more than may be printed before the loop takes it.
            settings.services = Some(Box::new(FakeServices { talk: 1000 * PRINTED_PIECES, ended }));
        });
        let tell = voices.recv().unwrap();
        (0..8).for_each(|run| bench.reactor.perform(start(run, "later")));
        bench.reactor.perform(write(1));
        let go = Arc::new(AtomicBool::new(true));
        let going = Arc::clone(&go);
        let teller = thread::spawn(move || {
            for through in 1.. {
                if !going.load(Ordering::Relaxed) {
                    return;
                }
                tell(StoreNote::Written { through: Ticket(through) });
                thread::yield_now();
            }
        });
        (0..if forced { 2 } else { 1 }).for_each(|_| bench.reactor.stopper().stop());
        let stop = bench.reactor.run(&mut bench.watcher).unwrap();
        assert_eq!(stop, if forced { Stop::Forced } else { Stop::Graceful });
        assert_eq!(end.try_recv(), Ok(if forced { Duration::ZERO } else { SERVICES_DEADLINE }));
        assert!(saw.try_iter().last() == Some(Asked::Dropped), "the store is closed by the end");
        go.store(false, Ordering::Relaxed);
        teller.join().unwrap();
    }
}

#[test]
fn a_worker_has_its_grace_and_is_seen_meanwhile_and_told_twice_it_ends() {
    let grace = Duration::from_secs(30);
    let mut bench = Bench::new(|settings| {
        settings.config.role = Role::Worker;
        settings.config.worker = Some(WorkerConfig { masters: Vec::new(), slots: 1, grace });
    });
    let begun = bench.reactor.now;
    // As long as the core has not stopped; this one would at once.
    bench.reactor.begin_to_stop();
    assert_eq!(bench.reactor.stops_by(), Some(begun + grace + STOP_AFTER_GRACE));
    let (mut stream, ..) = bench.client();
    stream.write_all(LOAD).unwrap();
    let before = bench.messages();
    bench.until("a question is heard", |bench| bench.messages() > before);
    bench.reactor.perform(Output::Stopped);
    let now = bench.reactor.now;
    assert_eq!(bench.reactor.stops_by(), Some(now + STOP_DEADLINE), "what is left of the grace is not waited for");
    assert_eq!(TcpStream::connect(bench.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let mut bench = Bench::new(|settings| {
        settings.config.role = Role::Worker;
        settings.config.worker = Some(WorkerConfig { masters: Vec::new(), slots: 1, grace });
    });
    bench.reactor.begin_to_stop();
    bench.reactor.stopper().stop();
    assert_eq!(bench.reactor.run(&mut bench.watcher).unwrap(), Stop::Forced);
}

const QUESTION: &[u8] = b"{\"TYPE\":\"DISCOVERY\",\"WORKER_UUID\":\"W-1\"}";

fn master(name: &str, port: u16) -> (Bench, u16) {
    let discovery = Discovery::listen(port).unwrap();
    let port = discovery.port();
    let bench = Bench::new(|settings| {
        settings.discovery = Some(discovery);
        settings.identity.name = name.to_owned();
    });
    (bench, port)
}

/// Takes the next question, which the core answers.
fn answer(bench: &mut Bench) {
    bench.until("a question comes", |bench| {
        bench.heard().into_iter().any(|input| match input {
            Input::Datagram { datagram: Datagram::Discovery { worker }, .. } => worker.as_str() == "W-1",
            _ => false,
        })
    });
}

fn asker() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn reply(socket: &UdpSocket) -> String {
    let mut buffer = [0; 2048];
    let (count, _) = socket.recv_from(&mut buffer).unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

#[test]
fn a_question_by_unicast_is_told_and_its_answer_comes_back() {
    let (mut bench, port) = master("MASTER_X", 0);
    let socket = asker();
    socket.send_to(QUESTION, ("127.0.0.1", port)).unwrap();
    answer(&mut bench);
    let reply = reply(&socket);
    assert!(reply.contains("\"DISCOVERY_REPLY\"") && reply.contains("\"MASTER_X\""), "{reply}");
}

#[test]
fn two_masters_on_one_port_both_hear_the_group() {
    let ((mut one, port), socket) = (master("MASTER_1", 0), asker());
    let (mut two, same) = master("MASTER_2", port);
    assert_eq!(same, port);
    let group = std::net::Ipv4Addr::new(239, 255, 255, 250);
    let sent = socket2::SockRef::from(&socket)
        .set_multicast_if_v4(&std::net::Ipv4Addr::LOCALHOST)
        .and_then(|()| socket.send_to(QUESTION, (group, port)));
    if let Err(error) = sent {
        eprintln!("SKIPPED: this machine forbids multicast on its loopback interface: {error}");
        return;
    }
    answer(&mut one);
    answer(&mut two);
    let mut replies = [reply(&socket), reply(&socket)];
    replies.sort_unstable();
    assert!(replies[0].contains("MASTER_1") && replies[1].contains("MASTER_2"), "{replies:?}");
}

#[test]
fn a_worker_asks_all_hears_the_replies_and_drops_one_without_a_port() {
    let (mut master, port) = master("self", 0);
    let discovery = Discovery::ask(port).unwrap();
    let mut worker = Bench::new(|settings| settings.discovery = Some(discovery));
    let datagram = Datagram::Discovery { worker: ServerId::new("W-1").unwrap() };
    worker.reactor.perform(Output::Datagram { to: None, datagram });
    let mut asked = Vec::new();
    master.until("it is asked", |bench| {
        asked.extend(bench.heard().into_iter().filter_map(|input| match input {
            Input::Datagram { from, .. } => Some(from),
            _ => None,
        }));
        !asked.is_empty()
    });
    let socket = asker();
    let worker_at = SocketAddr::from(([127, 0, 0, 1], asked[0].port()));
    socket
        .send_to(b"{\"TYPE\":\"DISCOVERY_REPLY\",\"MASTER_NAME\":\"A\",\"MASTER_IP\":\"127.0.0.1\"}", worker_at)
        .unwrap();
    let good = b"{\"TYPE\":\"DISCOVERY_REPLY\",\"MASTER_NAME\":\"B\",\"MASTER_IP\":\"127.0.0.1\",\"MASTER_PORT\":7}";
    socket.send_to(good, worker_at).unwrap();
    let mut names = Vec::new();
    worker.until("the good reply is heard", |bench| {
        names.extend(bench.heard().into_iter().filter_map(|input| match input {
            Input::Datagram { datagram: Datagram::Reply(offer), .. } => Some(offer.name),
            _ => None,
        }));
        names.iter().any(|name| name == "B")
    });
    assert!(names.iter().all(|name| name == "B" || name == "self"), "one without a port is dropped: {names:?}");
}

#[test]
fn a_node_without_discovery_sends_no_datagrams() {
    let mut bench = Bench::new(|_| {});
    let datagram = Datagram::Discovery { worker: ServerId::new("W-1").unwrap() };
    bench.reactor.perform(Output::Datagram { to: None, datagram });
    bench.turn();
    assert_eq!(bench.heard(), []);
}
