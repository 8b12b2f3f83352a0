//! The shell with a whole node inside, talked to over real sockets.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

mod work;

use super::connection::{Connection, Phase};
use super::limits::{IDLE_DEADLINE, LINGER, STOP_DEADLINE, WRITE_DEADLINE};
use super::*;
use crate::wire::{Address, Edge, EventKind, ServerId, Status};

const ALIVE: &str = "{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"SERVER_ID\":\"self\"}\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// What a watcher was shown.
enum Shown {
    Registry(Vec<NodeEntry>),
    Event(EventKind),
}

struct Notes(Sender<Shown>);

impl Watcher for Notes {
    fn registry(&mut self, _: &Identity, _: &LoadAnswer, _: Option<GroupStanding>, nodes: &[NodeEntry]) {
        let _ = self.0.send(Shown::Registry(nodes.to_vec()));
    }
    fn event(&mut self, event: &Event) {
        let _ = self.0.send(Shown::Event(event.kind));
    }
}

fn listener() -> Listener {
    Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// A node's settings with heartbeats every 50 ms, so that stories are short.
fn settings(id: &str, peers: &[SocketAddr], timeout: Duration) -> Settings {
    let config = Config {
        interval: Duration::from_millis(50),
        timeout,
        peers: peers.iter().map(|peer| Address::of(*peer)).collect(),
        ..Config::default()
    };
    let identity = Identity { server_id: ServerId::new(id).unwrap(), name: id.to_owned() };
    Settings {
        config,
        identity,
        seed: 7,
        dialects: DialectMemory::default(),
        writer: None,
        boot: 1,
        stored: Vec::new(),
        jobs: None,
        stored_group: None,
        group: None,
        agreement: AgreementConfig::default(),
        loans: None,
        entropy: [0; 32],
        services: None,
        discovery: None,
        supervisor: None,
    }
}

fn node(id: &str, peers: &[SocketAddr]) -> (Running, Receiver<Shown>) {
    let (sender, shown) = channel();
    (start(listener(), settings(id, peers, PATIENCE), Notes(sender)).unwrap(), shown)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn client(node: &Running) -> TcpStream {
    connect(node.address())
}

/// Everything until the other side ends.
fn rest(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

fn wait_for(shown: &Receiver<Shown>, what: &str, mut right: impl FnMut(&Shown) -> bool) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        match shown.recv_timeout(left) {
            Ok(seen) if right(&seen) => return,
            Ok(_) => {}
            Err(_) => panic!("never saw {what}"),
        }
    }
}

fn wait_for_event(shown: &Receiver<Shown>, kind: EventKind) {
    wait_for(shown, kind.as_str(), |seen| matches!(seen, Shown::Event(got) if *got == kind));
}

#[test]
fn an_idle_connection_takes_little_beside_its_edge() {
    assert!(size_of::<Connection>() - size_of::<Edge>() <= 136, "{}", size_of::<Connection>());
}

#[test]
fn heartbeats_are_answered_whole_split_and_together() {
    let (node, _shown) = node("self", &[]);
    let mut stream = client(&node);
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    stream.write_all(b"{\"TASK\":\"HEARTBEAT\"}\n").unwrap();
    assert_eq!(line(&mut answers), ALIVE);
    for byte in b"{\"TASK\": \"HEARTBEAT\"}\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(line(&mut answers), ALIVE);
    stream.write_all(&b"{\"TASK\":\"HEARTBEAT\"}\n".repeat(10_000)).unwrap();
    for _ in 0..10_000 {
        assert_eq!(line(&mut answers), ALIVE);
    }
    // No newline: silence ends the line.
    stream.write_all(b"{\"TASK\":\"HEARTBEAT\"}").unwrap();
    assert_eq!(line(&mut answers), ALIVE);
}

#[test]
fn a_half_closed_client_gets_every_answer_in_order_and_then_the_end() {
    let (node, _shown) = node("self", &[]);
    let mut stream = client(&node);
    stream
        .write_all(b"{\"TASK\":\"HEARTBEAT\"}\n{\"TASK\":\"LOAD\",\"ID\":\"1\"}\nx\n{\"TASK\":\"HEARTBEAT\"}")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let text = rest(&stream);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!((lines[0], lines[3]), (ALIVE.trim_end(), ALIVE.trim_end()));
    assert!(lines[1].contains("\"ID\":\"1\"") && lines[2].contains("BAD_JSON"), "{text}");
}

#[test]
fn bare_heartbeats_are_counted_once_somebody_asks() {
    let (node, _shown) = node("self", &[]);
    let mut stream = client(&node);
    stream.write_all(&b"{\"TASK\":\"HEARTBEAT\"}\n".repeat(77)).unwrap();
    stream.write_all(b"{\"TASK\":\"HELLO\"}\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&stream).contains("\"HEARTBEATS\":77,"));
}

#[test]
fn a_stream_goes_on_after_the_client_has_half_closed() {
    let (node, _shown) = node("self", &[]);
    let mut stream = client(&node);
    stream.write_all(b"{\"TASK\":\"EVENTS\"}\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    assert!(line(&mut answers).contains("\"RESPONSE\":\"OK\""));
    // The node has read the end by now or will: another client's exchange takes longer than that.
    let mut other = client(&node);
    other.write_all(b"{\"TASK\":\"LOAD\"}").unwrap();
    other.shutdown(Shutdown::Write).unwrap();
    rest(&other);
    node.stop();
    let mut text = String::new();
    answers.read_to_string(&mut text).unwrap();
    assert!(text.contains("\"EVENT\":\"STOPPING\""), "{text}");
}

#[test]
fn a_browser_gets_the_whole_refusal_even_while_it_is_still_sending() {
    let (node, _shown) = node("self", &[]);
    let mut stream = client(&node);
    stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n").unwrap();
    // A reset instead of an end would be an error here.
    let _ = stream.write_all(&[b'x'; 100_000]);
    let text = rest(&stream);
    assert!(text.starts_with("HTTP/1.1 501 "), "{text}");
    assert!(text.contains("\r\n\r\n"), "{text}");
}

#[test]
fn a_client_that_does_not_read_waits_and_others_do_not() {
    let (node, _shown) = node("self", &[]);
    let slow = client(&node);
    const QUESTIONS: usize = 30_000;
    let mut asking = slow.try_clone().unwrap();
    // Some 14 MB of answers: far more than sockets and the node's own buffers hold.
    let asker = thread::spawn(move || {
        for number in 0..QUESTIONS {
            asking.write_all(format!("{{\"TASK\":\"HELLO\",\"ID\":\"{number}\"}}\n").as_bytes()).unwrap();
        }
    });
    let mut quick = client(&node);
    let mut answers = BufReader::new(quick.try_clone().unwrap());
    for _ in 0..1_000 {
        quick.write_all(b"{\"TASK\":\"HEARTBEAT\"}\n").unwrap();
        assert_eq!(line(&mut answers), ALIVE);
    }
    let mut answers = BufReader::new(slow);
    for number in 0..QUESTIONS {
        let answer = line(&mut answers);
        assert!(answer.contains(&format!("\"ID\":\"{number}\"")), "{number}: {answer}");
    }
    asker.join().unwrap();
}

#[test]
fn without_room_a_connection_is_told_so_and_room_that_is_freed_is_given() {
    let listener = listener();
    let address = listener.local_addr();
    let mut reactor = Reactor::new(listener, settings("self", &[], PATIENCE)).unwrap();
    reactor.room = 2;
    let stopper = reactor.stopper();
    let thread = thread::spawn(move || reactor.run(&mut Notes(channel().0)));
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"{\"TASK\":\"HEARTBEAT\"}\n").unwrap();
        line(&mut BufReader::new(stream.try_clone().unwrap()))
    };
    let (mut first, mut second) = (connect(address), connect(address));
    assert_eq!((ask(&mut first).as_str(), ask(&mut second).as_str()), (ALIVE, ALIVE));
    let mut third = connect(address);
    third.write_all(b"{\"TASK\":\"HEARTBEAT\"}\n").unwrap();
    let refusal = rest(&third);
    assert!(refusal.contains("\"ERROR\":\"BUSY\"") && refusal.contains("\"RETRY\":true"), "{refusal}");
    drop((first, third));
    let give_up = Instant::now() + PATIENCE;
    while ask(&mut connect(address)) != ALIVE {
        assert!(Instant::now() < give_up, "freed room was not given");
    }
    assert_eq!(ask(&mut second), ALIVE);
    stopper.stop();
    assert_eq!(thread.join().unwrap().unwrap(), Stop::Graceful);
}

#[test]
fn two_nodes_see_each_other_and_one_that_stops_has_left() {
    let (first, _shown) = node("first", &[]);
    let (second, shown) = node("second", &[first.address()]);
    wait_for_event(&shown, EventKind::PeerAlive);
    wait_for(
        &shown,
        "a registry with the first",
        |seen| matches!(seen, Shown::Registry(nodes) if nodes.iter().any(|node| node.status == Status::Alive)),
    );
    first.stop();
    assert_eq!(first.join().unwrap(), Stop::Graceful);
    wait_for_event(&shown, EventKind::PeerLeft);
    second.stop();
    assert_eq!(second.join().unwrap(), Stop::Graceful);
}

#[test]
fn a_peer_that_closes_after_each_answer_stays_alive() {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    let (rounds, done) = channel();
    // Ends when the test ends: nobody calls any more.
    thread::spawn(move || {
        for stream in peer.incoming() {
            let mut stream = stream.unwrap();
            let question = line(&mut BufReader::new(stream.try_clone().unwrap()));
            assert!(question.contains("HEARTBEAT"), "{question}");
            stream.write_all(b"{\"TASK\": \"HEARTBEAT\", \"RESPONSE\": \"ALIVE\", \"SERVER_ID\": \"S1\"}\n").unwrap();
            if rounds.send(()).is_err() {
                return;
            }
        }
    });
    let (sender, shown) = channel();
    let _node = start(listener(), settings("self", &[address], Duration::from_secs(5)), Notes(sender)).unwrap();
    wait_for_event(&shown, EventKind::PeerAlive);
    for _ in 0..10 {
        done.recv_timeout(PATIENCE).unwrap();
    }
    while let Ok(seen) = shown.try_recv() {
        assert!(!matches!(seen, Shown::Event(EventKind::PeerTimeout)), "it was taken for dead");
    }
}

#[test]
fn stopping_answers_what_is_asked_and_refuses_what_is_new() {
    let (node, _shown) = node("self", &[]);
    let address = node.address();
    let mut stream = client(&node);
    stream.write_all(b"{\"TASK\":\"HEARTBEAT\"}\n").unwrap();
    let mut answers = BufReader::new(stream);
    assert_eq!(line(&mut answers), ALIVE);
    let begun = Instant::now();
    node.stop();
    assert_eq!(node.join().unwrap(), Stop::Graceful);
    assert!(begun.elapsed() < Duration::from_secs(10), "idle connections hold nobody up");
    assert_eq!(line(&mut answers), "", "the connection has ended");
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn who_is_told_twice_ends_at_once() {
    let reactor = Reactor::new(listener(), settings("self", &[], PATIENCE)).unwrap();
    let stopper = reactor.stopper();
    stopper.stop();
    stopper.stop();
    assert_eq!(reactor.run(&mut Notes(channel().0)).unwrap(), Stop::Forced);
}

/// A reactor that does not run, with one connection accepted, and its client. Time is what the test says.
fn at_rest() -> (Reactor, usize, TcpStream) {
    let listener = listener();
    let address = listener.local_addr();
    let mut reactor = Reactor::new(listener, settings("self", &[], PATIENCE)).unwrap();
    let stream = connect(address);
    let give_up = Instant::now() + PATIENCE;
    while reactor.connections.inbound() == 0 {
        assert!(Instant::now() < give_up, "nobody was accepted");
        reactor.accept();
    }
    let slot = reactor.connections.iter().next().unwrap().0;
    (reactor, slot, stream)
}

impl Reactor {
    /// Lets time pass, and tells what has become of a connection.
    fn after(&mut self, time: Duration, slot: usize) -> Option<Phase> {
        self.now = self.now + time;
        self.fire_timers();
        self.connections.get(slot).map(|connection| connection.phase)
    }

    /// Sends until the socket takes no more.
    fn stuff(&mut self, slot: usize) {
        while let Some(connection) = self.connections.get(slot).filter(|connection| !connection.waits) {
            connection.out.buffer(&mut self.pool).extend_from_slice(&[b' '; 100_000]);
            self.settle(slot);
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_idle_client_is_let_go_gently_after_ten_minutes_and_what_it_says_counts() {
    let (mut reactor, slot, stream) = at_rest();
    assert_eq!(reactor.after(IDLE_DEADLINE - SECOND, slot), Some(Phase::Open));
    reactor.connections.get(slot).unwrap().active = reactor.now;
    assert_eq!(reactor.after(IDLE_DEADLINE - SECOND, slot), Some(Phase::Open));
    assert_eq!(reactor.after(SECOND, slot), Some(Phase::Lingering));
    assert_eq!(rest(&stream), "");
    assert_eq!(reactor.after(LINGER, slot), None);
}

#[test]
fn who_listens_to_a_stream_may_be_silent() {
    let (mut reactor, slot, _stream) = at_rest();
    reactor.connections.get(slot).unwrap().streams = true;
    assert_eq!(reactor.after(IDLE_DEADLINE * 100, slot), Some(Phase::Open));
}

#[test]
fn output_that_nobody_takes_ends_the_connection_in_time_and_progress_counts() {
    let (mut reactor, slot, mut stream) = at_rest();
    reactor.stuff(slot);
    assert_eq!(reactor.after(WRITE_DEADLINE - SECOND, slot), Some(Phase::Open));
    let give_up = Instant::now() + PATIENCE;
    let moved = reactor.connections.get(slot).unwrap().moved;
    let stuck = |reactor: &mut Reactor| {
        let connection = reactor.connections.get(slot).unwrap();
        connection.waits && connection.moved == moved
    };
    while stuck(&mut reactor) {
        assert!(Instant::now() < give_up, "what is read makes no room");
        stream.read_exact(&mut [0; 10_000]).unwrap();
        reactor.settle(slot);
    }
    reactor.stuff(slot);
    assert_eq!(reactor.after(WRITE_DEADLINE - SECOND, slot), Some(Phase::Open));
    assert_eq!(reactor.after(SECOND, slot), None);
}

#[test]
fn a_stream_that_is_taken_too_slowly_is_cut_and_not_buffered_for_ever() {
    let (mut reactor, slot, _stream) = at_rest();
    reactor.stuff(slot);
    let connection = reactor.connections.get(slot).unwrap();
    connection.out.buffer(&mut reactor.pool).extend_from_slice(&vec![b' '; 1024 * 1024]);
    reactor.settle(slot);
    assert!(reactor.connections.get(slot).is_some(), "what was asked for is not cut");
    reactor.connections.get(slot).unwrap().streams = true;
    reactor.settle(slot);
    assert!(reactor.connections.get(slot).is_none());
}

#[test]
fn an_event_of_a_connection_that_is_gone_meets_nobody() {
    let (mut reactor, slot, stream) = at_rest();
    let address = stream.peer_addr().unwrap();
    let link = reactor.connections.get(slot).unwrap().link;
    reactor.close(slot, "over");
    assert_eq!(reactor.connections.find(link), None);
    drop(stream);
    let _second = connect(address);
    let give_up = Instant::now() + PATIENCE;
    while reactor.connections.inbound() == 0 {
        assert!(Instant::now() < give_up, "nobody was accepted");
        reactor.accept();
    }
    assert!(reactor.connections.get(slot).is_some(), "the slot is used again");
    assert_eq!(reactor.connections.find(link), None, "but not under the old name");
}

#[test]
fn a_client_that_takes_nothing_is_waited_for_at_the_end_but_not_for_ever() {
    let (mut reactor, slot, _stream) = at_rest();
    reactor.stuff(slot);
    reactor.stopper().stop();
    let begun = Instant::now();
    assert_eq!(reactor.run(&mut Notes(channel().0)).unwrap(), Stop::Graceful);
    assert!(begun.elapsed() >= STOP_DEADLINE, "the output might have been taken");
}
