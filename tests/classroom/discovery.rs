//! Sprint 2.1: discovery by UDP and election by the workers, from both sides.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use super::masters::{Queue, is_alive, official};
use super::support::farm::Master;
use super::support::ports::free_port;
use super::support::process::{Process, command};
use super::support::student::{FakeMaster, Heard, Student, python};
use super::support::{wait_for, wait_until, watch};
use super::{alive, wait_log};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);

/// A socket on a port that others share, as the classroom opens it: SO_REUSEADDR, and the group where this machine can.
fn shared(port: u16) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).expect("a shared port");
    let socket = UdpSocket::from(socket);
    if let Err(error) = socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST) {
        eprintln!("this machine has no multicast on loopback: {error}");
    }
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout above zero is accepted");
    socket
}

/// Answers DISCOVERY on a shared port with one line each. Silent when dropped.
pub(super) struct Beacon {
    stopped: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<(Instant, Value)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Beacon {
    pub(super) fn start(port: u16, reply: Option<Value>) -> Beacon {
        let (stopped, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let socket = shared(port);
        let (stop, notes) = (Arc::clone(&stopped), Arc::clone(&heard));
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
                let Ok(line) = serde_json::from_slice::<Value>(&buffer[..count]) else { continue };
                notes.lock().expect("no holder of this lock panics").push((Instant::now(), line));
                if let Some(reply) = &reply {
                    let _ = socket.send_to(format!("{}\n", python(reply)).as_bytes(), from);
                }
            }
        });
        Beacon { stopped, heard, thread: Some(thread) }
    }

    fn heard(&self) -> Vec<(Instant, Value)> {
        self.heard.lock().expect("no holder of this lock panics").clone()
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A whole master of the classroom: it answers discovery, elections, heartbeats and workers.
struct Announced {
    tcp: FakeMaster,
    _beacon: Beacon,
}

impl Announced {
    fn start(udp: u16, name: &str) -> Announced {
        let tcp = FakeMaster::start(free_port(), name, true, |talk| {
            let queue = Queue::default();
            while let Some(line) = talk.hear() {
                let answer = official(&queue, &line);
                talk.say(&answer);
            }
        });
        let beacon = Beacon::start(udp, Some(reply(name, tcp.port)));
        Announced { tcp, _beacon: beacon }
    }

    /// Waits for ELECTION_ACK, ALIVE and a heartbeat, in this order of the first two.
    fn wait_elected(&self, name: &str) {
        self.tcp.wait_count("ALIVE", 2, is_alive);
        self.tcp.wait_count("HEARTBEAT", 2, |line| line["TASK"] == "HEARTBEAT");
        let noted = self.tcp.noted();
        let first = &noted[0].line;
        assert_eq!((&first["TYPE"], &first["SELECTED_MASTER"]), (&json!("ELECTION_ACK"), &json!(name)), "{first}");
        let elections = noted.iter().filter(|noted| noted.line["TYPE"] == "ELECTION_ACK").count();
        assert_eq!(elections, 1, "the election is told once");
        let worker = noted.iter().find(|noted| is_alive(&noted.line)).expect("it was waited for");
        assert_eq!(worker.line["WORKER_UUID"], first["WORKER_UUID"]);
    }
}

pub(super) fn reply(name: &str, port: u16) -> Value {
    json!({"TYPE": "DISCOVERY_REPLY", "MASTER_NAME": name, "MASTER_IP": "127.0.0.1", "MASTER_PORT": port, "STATUS": "AVAILABLE"})
}

pub(super) fn start_worker(udp: u16) -> Process {
    let udp = udp.to_string();
    let quick = ["--interval", "0.2", "--timeout", "1", "--discovery", &udp];
    Process::spawn(&mut command([&["worker", "--name", "w", "--port", "0", "--ephemeral"][..], &quick].concat()))
}

/// Whether what one socket sends to all reaches another one here, on a port that is shared. Says so where it does not.
fn reaches_all(port: u16) -> bool {
    let (one, two) = (shared(port), shared(port));
    let sender = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let socket = Socket::from(sender);
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).expect("the loopback interface");
    let sender = UdpSocket::from(socket);
    let sent = sender.send_to(b"{}", SocketAddr::from((GROUP, port)));
    let reached = [one, two].iter().all(|socket| {
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout above zero is accepted");
        socket.recv_from(&mut [0; 16]).is_ok()
    });
    if !reached {
        eprintln!("SKIPPED: multicast on loopback does not reach two programs of one port here ({sent:?})");
    }
    reached
}

#[test]
fn s21_ct01_one_master_is_elected_and_heartbeats_begin() {
    let udp = free_port();
    let master = Announced::start(udp, "MASTER_X");
    let worker = start_worker(udp);
    master.wait_elected("MASTER_X");
    for word in ["DISCOVERY", "ELECTION", "CONNECTING"] {
        wait_log(&worker, &[word]);
    }
    assert!(!worker.stderr.text().contains("FALLBACK"), "{}", worker.stderr.text());
    let asked = master._beacon.heard().first().expect("it was asked").1.clone();
    assert_eq!(asked, json!({"TYPE": "DISCOVERY", "WORKER_UUID": master.tcp.lines()[0]["WORKER_UUID"]}));
}

#[test]
fn s21_ct02_of_several_masters_the_smallest_name_is_elected_and_the_others_are_ignored() {
    let udp = free_port();
    if !reaches_all(udp) {
        return;
    }
    // In the order of letters, not of numbers: the document's own trap.
    let others = [Announced::start(udp, "MASTER_2"), Announced::start(udp, "MASTER_B")];
    let smallest = Announced::start(udp, "MASTER_10");
    let worker = start_worker(udp);
    smallest.wait_elected("MASTER_10");
    wait_log(&worker, &["ELECTION", "3 answered", "MASTER_10", "MASTER_2", "MASTER_B"]);
    for other in &others {
        assert!(other.tcp.noted().is_empty(), "{:?}", other.tcp.noted());
    }
}

#[test]
fn s21_ct03_nobody_answers_and_it_asks_again_after_pauses_that_grow() {
    let udp = free_port();
    let deaf = Beacon::start(udp, None);
    let worker = start_worker(udp);
    let rounds =
        |worker: &Process| worker.stderr.lines().iter().filter(|line| line.contains("NO_MASTER_FOUND")).count();
    wait_until("two rounds without a master", || rounds(&worker) >= 2);
    wait_until("the third round to begin", || {
        worker.stderr.lines().iter().filter(|line| line.contains("DISCOVERY: looking")).count() == 3
    });
    // Rounds ask twice, a second apart: the first question of each is more than two seconds after what came before.
    let times: Vec<Instant> = wait_for("the third question", || {
        let heard: Vec<Instant> = deaf.heard().iter().map(|(at, _)| *at).collect();
        let mut begins: Vec<Instant> = heard.first().copied().into_iter().collect();
        begins.extend(heard.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_secs(2)).map(|pair| pair[1]));
        (begins.len() >= 3).then_some(begins)
    });
    let pauses: Vec<Duration> =
        times.windows(2).map(|pair| (pair[1] - pair[0]).saturating_sub(Duration::from_secs(3))).collect();
    assert!(pauses[0] >= Duration::from_millis(850), "{pauses:?}");
    assert!(pauses[1] >= pauses[0].mul_f64(1.5), "exponential: {pauses:?}");
    drop(deaf);
    let master = Announced::start(udp, "MASTER_1");
    master.wait_elected("MASTER_1");
}

#[test]
fn s21_ct04_when_the_elected_master_dies_discovery_begins_anew() {
    let udp = free_port();
    let first = Announced::start(udp, "MASTER_1");
    let worker = start_worker(udp);
    first.wait_elected("MASTER_1");
    let address = first.tcp.address();
    // Its answer is not kept: the second one was not there before, and the first one is not called again.
    drop(first);
    let second = Announced::start(udp, "MASTER_2");
    second.wait_elected("MASTER_2");
    wait_log(&worker, &["FALLBACK", &address]);
    let lines = worker.stderr.lines();
    let place =
        |word: &str| lines.iter().rposition(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {lines:?}"));
    assert!(place("FALLBACK") < place("DISCOVERY: looking"), "{lines:?}");
    assert!(place("DISCOVERY: looking") < place("ELECTION"), "{lines:?}");
}

#[test]
fn s21_ct05_a_reply_without_a_port_is_dropped_with_a_warning_and_the_others_count() {
    let udp = free_port();
    if !reaches_all(udp) {
        return;
    }
    let mut broken = reply("MASTER_0", 1);
    broken.as_object_mut().expect("an object").remove("MASTER_PORT");
    let _broken = Beacon::start(udp, Some(broken));
    let master = Announced::start(udp, "MASTER_5");
    let worker = start_worker(udp);
    master.wait_elected("MASTER_5");
    wait_log(&worker, &["WARN", "MASTER_PORT", "missing"]);
}

#[test]
fn a_master_that_does_not_answer_the_election_or_closes_after_it_is_served() {
    for closes in [true, false] {
        let udp = free_port();
        let tcp = FakeMaster::start(free_port(), "MASTER_1", true, move |talk| {
            while let Some(line) = talk.hear() {
                if line["TYPE"] != "ELECTION_ACK" || closes {
                    let answer = official(&Queue::default(), &line);
                    talk.say(&answer);
                }
                if closes {
                    return;
                }
            }
        });
        let _beacon = Beacon::start(udp, Some(reply("MASTER_1", tcp.port)));
        let worker = start_worker(udp);
        tcp.wait_count("ALIVE", 3, is_alive);
        assert_eq!(tcp.count(|line| line["TYPE"] == "ELECTION_ACK"), 1, "closes: {closes}");
        assert!(!worker.stderr.text().contains("FALLBACK"), "{}", worker.stderr.text());
    }
}

/// What comes back to a datagram, by unicast.
fn ask_udp(port: u16, question: &str) -> Value {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout above zero is accepted");
    // Asked again until it is answered, as everybody does by UDP: the node may have begun to listen by TCP only.
    wait_for("an answer by UDP", || {
        socket.send_to(question.as_bytes(), (Ipv4Addr::LOCALHOST, port)).expect("a datagram can be sent");
        let mut buffer = [0; 2048];
        let (count, _) = socket.recv_from(&mut buffer).ok()?;
        Some(serde_json::from_slice(&buffer[..count]).expect("JSON"))
    })
}

#[test]
fn a_foreign_worker_finds_our_master_tells_its_election_and_is_served() {
    let udp = free_port().to_string();
    let master = Master::start(&["--discovery", &udp]);
    let udp: u16 = udp.parse().expect("a port");
    let port = master.node.port;
    let offer = ask_udp(udp, "{\"TYPE\": \"DISCOVERY\", \"WORKER_UUID\": \"W-61CC\"}\n");
    assert_eq!(offer, reply("alpha", port));
    let found = ask_udp(udp, r#"{"TASK": "FIND_MASTER", "WORKER_UUID": "W-61CC"}"#);
    assert_eq!(
        (&found["TASK"], &found["MASTER_IP"], &found["MASTER_PORT"]),
        (&json!("MASTER_FOUND"), &json!("127.0.0.1"), &json!(port))
    );
    let mut student = Student::connect(port);
    let election = json!({"TYPE": "ELECTION_ACK", "WORKER_UUID": "W-61CC", "SELECTED_MASTER": "alpha"});
    let accepted = json!({"TYPE": "ELECTION_ACK", "STATUS": "ACCEPTED", "MASTER_NAME": "alpha"});
    assert_eq!(student.ask(&election), accepted);
    let beat = student.ask(&json!({"SERVER_UUID": "W-61CC", "TASK": "HEARTBEAT"}));
    assert_eq!(beat["RESPONSE"], "ALIVE");
    assert_eq!(student.ask(&alive("W-61CC")), json!({"TASK": "NO_TASK"}));
    watch(Duration::from_millis(200), || {});
    assert_eq!(student.hear_within(Duration::from_millis(100)), Heard::Nothing);
}
