//! The stage: our node in the place of one party, and all others played from the recording.
//!
//! A line is said once everything before it in the recording has happened, whoever said it; what two played parties told each other happens
//! by itself. Our node may say its lines sooner or later than the recorded party did, but only after what it had heard from the same peer
//! before. What it says more often than was recorded is answered as the recorded peer answered the like: it is asked for work again until the
//! recorded answer comes, and a task that it gives beyond the recorded ones is done.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::compare::serves;
use super::recording::{Record, Recording, is_order, kind};
use super::support::ports::free_port;
use super::support::student::python;
use super::support::wait::pause;
use super::wire::Wire;

/// How long the play may stand still: the longest wait of a protocol is five seconds.
const STANDS_STILL: Duration = Duration::from_secs(30);

/// How often a played worker asks for work where the recorded answer has not come.
const POLL: Duration = Duration::from_millis(100);

/// A worker that is played.
#[derive(Default)]
struct Hand {
    /// It waits for the answer to something that was not recorded.
    busy: bool,
    /// It asks our node for work, the next time then: on which connection of the recording it did.
    polls: Option<(u64, Option<Instant>)>,
}

/// What a test tells the stage.
pub(crate) struct Cast<'r> {
    pub(crate) recording: &'r Recording,
    /// In whose place our node is.
    pub(crate) place: &'r str,
    /// The names by which the recorded one calls itself, and what our node calls itself.
    pub(crate) names: Vec<(&'r str, String)>,
    /// Played workers say ALIVE again after NO_TASK and ACK.
    pub(crate) asks_again: bool,
    /// They do so on a new connection.
    pub(crate) one_message: bool,
}

/// The play.
pub(crate) struct Stage<'r> {
    cast: Cast<'r>,
    done: Vec<bool>,
    wires: Vec<Wire>,
    /// The connection of ours that stands for one of the recording.
    real: BTreeMap<u64, usize>,
    listeners: BTreeMap<String, TcpListener>,
    ports: BTreeMap<String, u16>,
    /// Recorded marks, and those that our node gave in their place.
    marks: Vec<(String, String)>,
    hands: BTreeMap<String, Hand>,
    /// The play has begun.
    begun: bool,
    /// What was said and heard, for a test that fails.
    log: VecDeque<String>,
    moved: Instant,
}

impl<'r> Stage<'r> {
    /// Opens the ports of all that are played.
    pub(crate) fn new(cast: Cast<'r>) -> Stage<'r> {
        let (mut listeners, mut ports) = (BTreeMap::new(), BTreeMap::new());
        for party in cast.recording.addresses.keys().filter(|party| *party != cast.place) {
            let port = free_port();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
            listener.set_nonblocking(true).expect("a listener can be made not to block");
            listeners.insert(party.clone(), listener);
            ports.insert(party.clone(), port);
        }
        let workers =
            cast.recording.records.iter().map(|record| &record.from).filter(|from| from.starts_with("worker"));
        let hands = workers.filter(|worker| *worker != cast.place);
        let hands = hands.map(|worker| (worker.clone(), Hand::default())).collect();
        Stage {
            done: vec![false; cast.recording.records.len()],
            cast,
            wires: Vec::new(),
            real: BTreeMap::new(),
            listeners,
            ports,
            marks: Vec::new(),
            hands,
            begun: false,
            log: VecDeque::new(),
            moved: Instant::now(),
        }
    }

    /// Where this party is called in the play.
    pub(crate) fn address(&self, party: &str) -> String {
        format!("127.0.0.1:{}", self.ports[party])
    }

    /// The names of our node, as in [`Cast`].
    pub(crate) fn names(&mut self) -> &mut Vec<(&'r str, String)> {
        &mut self.cast.names
    }

    /// Our node listens there.
    pub(crate) fn ours_is_at(&mut self, port: u16) {
        self.ports.insert(self.cast.place.to_owned(), port);
    }

    /// Plays until everything has happened. `feeds` submits a job of this USER to our node, where a worker is given one in answer to ALIVE.
    pub(crate) fn play(&mut self, feeds: &mut dyn FnMut(Value)) {
        self.begun = true;
        self.moved = Instant::now();
        while self.done.contains(&false) {
            self.step(feeds);
            if self.moved.elapsed() > STANDS_STILL {
                let waits = self.done.iter().position(|done| !done).expect("something is not done");
                let open: Vec<&Record> = (0..self.done.len())
                    .filter(|at| !self.done[*at])
                    .map(|at| &self.cast.recording.records[at])
                    .take(4)
                    .collect();
                panic!("the play stands still at line {}: {open:#?}\n{}", waits + 1, self.told());
            }
            pause(Duration::from_millis(2));
        }
    }

    /// Goes on answering until `ended`; before the play has begun, heartbeats only.
    pub(crate) fn play_until(&mut self, what: &str, mut ended: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !ended() {
            assert!(begun.elapsed() < STANDS_STILL, "waited in vain for: {what}\n{}", self.told());
            self.step(&mut |_| ());
            pause(Duration::from_millis(2));
        }
    }

    /// What was said and heard.
    fn told(&self) -> String {
        self.log.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    fn note(&mut self, text: String) {
        self.log.push_back(text);
        if self.log.len() > 120 {
            self.log.pop_front();
        }
    }

    fn step(&mut self, feeds: &mut dyn FnMut(Value)) {
        for (party, listener) in &self.listeners {
            while let Some(wire) = Wire::accept(party, listener) {
                self.wires.push(wire);
            }
        }
        for at in 0..self.wires.len() {
            while let Some(line) = self.wires[at].is_open().then(|| self.wires[at].hear()).flatten() {
                self.heard(at, &line);
            }
        }
        while self.begun && self.advance(feeds) {}
        self.ask_again();
    }

    /// Lets the next thing of the recording happen, if it may. Returns whether it did.
    fn advance(&mut self, feeds: &mut dyn FnMut(Value)) -> bool {
        let recording = self.cast.recording;
        let Some(at) = self.done.iter().position(|done| !done) else { return false };
        let record = &recording.records[at];
        let place = self.cast.place;
        if record.kind == "end" {
            if let Some(wire) = self.real.get(&record.conn).copied().filter(|_| record.from != place) {
                self.wires[wire].close();
            }
            return self.has_happened(at);
        }
        if record.from == place {
            return false;
        }
        if record.to != place {
            // Between two who are played: it has happened.
            if let Some(hand) = self.hands.get_mut(&record.to).filter(|_| is_order(&record.kind)) {
                *hand = Hand::default();
            }
            return self.has_happened(at);
        }
        if self.hands.get(&record.from).is_some_and(|hand| hand.busy) {
            return false;
        }
        let is_alive = record.kind == "ALIVE";
        if is_alive {
            // What the recorded answer gives it must be there.
            let answer = recording.records[at + 1..].iter().find(|next| next.conn == record.conn && next.from == place);
            if let Some(answer) = answer.filter(|answer| answer.kind == "QUERY") {
                let user: Value = serde_json::from_str(&answer.raw).expect("JSON");
                feeds(user["USER"].clone());
            }
        }
        if let Some(hand) = self.hands.get_mut(&record.from) {
            hand.polls = is_alive.then_some((record.conn, None));
        }
        self.say(at);
        self.has_happened(at)
    }

    fn has_happened(&mut self, at: usize) -> bool {
        self.done[at] = true;
        self.moved = Instant::now();
        true
    }

    /// Says a recorded line, on the connection on which it was said.
    fn say(&mut self, at: usize) {
        let record = &self.cast.recording.records[at];
        let wire = match self.real.get(&record.conn).copied() {
            Some(wire) => wire,
            None => self.dial(record),
        };
        self.say_on(wire, &record.from, &record.raw);
    }

    fn dial(&mut self, record: &Record) -> usize {
        let opener = self.cast.recording.openers.get(&record.conn);
        assert_eq!(opener, Some(&record.from), "our node has not opened the connection of {record:?}\n{}", self.told());
        let port = self.ports.get(self.cast.place).copied();
        let port = port.unwrap_or_else(|| panic!("our node has not said where it listens\n{}", self.told()));
        self.wires.push(Wire::dial(&record.from, port));
        let wire = self.wires.len() - 1;
        self.real.insert(record.conn, wire);
        wire
    }

    fn say_on(&mut self, wire: usize, from: &str, raw: &str) {
        let line = self.replaced(raw);
        let said = self.wires[wire].say(&line);
        self.note(format!("{from} > {} ({wire}{})", line.trim_end(), if said { "" } else { ", which is gone" }));
        assert!(said, "our node has hung up on {from}\n{}", self.told());
    }

    /// A recorded text with the addresses, names and marks of the play.
    fn replaced(&self, raw: &str) -> String {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (party, addresses) in &self.cast.recording.addresses {
            let Some(port) = self.ports.get(party) else { continue };
            for (ip, recorded) in addresses {
                pairs.push((format!("\"{ip}:{recorded}\""), format!("\"127.0.0.1:{port}\"")));
                for (host, name) in [("ip", "port"), ("WORKER_HOST", "WORKER_PORT")] {
                    let pair = |ip: &str, port: u16| format!("\"{host}\": \"{ip}\", \"{name}\": {port}");
                    pairs.push((pair(ip, *recorded), pair("127.0.0.1", *port)));
                }
            }
        }
        let names = self.cast.names.iter().map(|(name, ours)| (*name, ours.as_str()));
        let marks = self.marks.iter().map(|(mark, ours)| (mark.as_str(), ours.as_str()));
        let words = names.chain(marks).map(|(recorded, ours)| (format!("\"{recorded}\""), format!("\"{ours}\"")));
        pairs.extend(words);
        // By way of a number, so that nothing is replaced twice.
        let mut text = raw.to_owned();
        for (nth, (recorded, _)) in pairs.iter().enumerate() {
            text = text.replace(recorded, &format!("\u{1}{nth}\u{2}"));
        }
        for (nth, (_, ours)) in pairs.iter().enumerate() {
            text = text.replace(&format!("\u{1}{nth}\u{2}"), ours);
        }
        text
    }

    /// Our node said something to somebody who is played.
    fn heard(&mut self, wire: usize, line: &Value) {
        let party = self.wires[wire].party.clone();
        let kind = kind(line);
        self.learn(line);
        if kind == "HEARTBEAT" {
            return self.heartbeat(wire, &party, line);
        }
        self.note(format!("{party} < {} ({wire})", python(line)));
        let Some(at) = self.recorded(wire, &party, &kind) else { return self.more(wire, &party, &kind, line) };
        let record = &self.cast.recording.records[at];
        // An order is no answer, whatever it stands behind.
        let answers = self.cast.recording.openers.get(&record.conn) != Some(&record.from) && !is_order(&kind);
        let recorded: Value = serde_json::from_str(&self.replaced(&record.raw)).expect("JSON");
        let context = format!("{} says {kind} to {party}\n{}", self.cast.place, self.told());
        serves(&recorded, line, answers, &context);
        if let (Some(mark), Some(ours)) = (recorded["request_id"].as_str(), line["request_id"].as_str()) {
            self.marks.push((mark.to_owned(), ours.to_owned()));
        }
        self.real.insert(record.conn, wire);
        self.has_happened(at);
        let (conn, asks_again) = (record.conn, self.cast.asks_again);
        if let Some(hand) = self.hands.get_mut(&party) {
            hand.busy = false;
            hand.polls = match kind.as_str() {
                "NO_TASK" | "ACK" if asks_again => Some((conn, Some(Instant::now() + POLL))),
                _ => None,
            };
        }
    }

    /// What our worker calls itself, and where it listens, is known from what it says.
    fn learn(&mut self, line: &Value) {
        if let Some(port) = line["WORKER_PORT"].as_u64().filter(|_| self.cast.place.starts_with("worker")) {
            self.ports.insert(self.cast.place.to_owned(), u16::try_from(port).expect("a port"));
        }
        if let Some(id) = line["WORKER_UUID"].as_str().filter(|_| self.cast.place.starts_with("worker")) {
            for (_, ours) in &mut self.cast.names {
                id.clone_into(ours);
            }
        }
    }

    /// Heartbeats come when our node likes, and are answered as the recorded peer answered them.
    fn heartbeat(&mut self, wire: usize, party: &str, line: &Value) {
        let recording = self.cast.recording;
        for (at, record) in recording.records.iter().enumerate() {
            if record.from == self.cast.place && record.to == party && record.kind == "HEARTBEAT" {
                let recorded: Value = serde_json::from_str(&record.raw).expect("JSON");
                serves(&recorded, line, false, "a heartbeat");
                self.real.entry(record.conn).or_insert(wire);
                self.done[at] = true;
            } else if record.from == party && record.to == self.cast.place && record.kind == "HEARTBEAT ALIVE" {
                self.done[at] = true;
            }
        }
        if let Some(answer) = recording.said(party, "HEARTBEAT ALIVE") {
            let line = self.replaced(&answer.raw);
            self.wires[wire].say(&line);
        }
    }

    /// The first line of this kind that the recorded one said to this party and our node has not, if it may say it by now.
    fn recorded(&self, wire: usize, party: &str, kind: &str) -> Option<usize> {
        let records = &self.cast.recording.records;
        let place = self.cast.place;
        let mut found = None;
        for (at, record) in records.iter().enumerate() {
            if record.from == party && record.to == place && !self.done[at] && record.kind != "HEARTBEAT ALIVE" {
                break;
            }
            if record.from == place && record.to == party && record.kind == kind && !self.done[at] {
                if self.real.get(&record.conn) == Some(&wire) {
                    return Some(at);
                }
                found = found.or(Some(at));
            }
        }
        found
    }

    /// Our node says more than was recorded.
    fn more(&mut self, wire: usize, party: &str, kind: &str, line: &Value) {
        let recording = self.cast.recording;
        let again = Some(Instant::now() + POLL);
        if let Some(hand) = self.hands.get_mut(party) {
            match kind {
                "QUERY" => {
                    hand.busy = true;
                    let status = recording.said(party, "STATUS").expect("it has done a task");
                    return self.say_on(wire, party, &status.raw);
                }
                "NO_TASK" | "ACK" => {
                    hand.busy = false;
                    let again = again.filter(|_| self.cast.asks_again);
                    hand.polls = hand.polls.map(|(conn, _)| (conn, again));
                    return;
                }
                _ => {}
            }
        }
        let answer = match kind {
            "request_help" => recording.said(party, "response_rejected").map(|record| record.raw.clone()),
            // 3.2b of the course's protocol: none was recorded.
            "WORKER_REQUEST" => Some("{\"SERVER_UUID\": \"SERVER_2\", \"RESPONSE\": \"UNAVAILABLE\"}\n".to_owned()),
            "ALIVE" => return self.asked_again(wire, party),
            _ => panic!("our node says what {} never said: {line}\n{}", self.cast.place, self.told()),
        };
        let answer = answer.unwrap_or_else(|| panic!("{party} knows no answer to {line}\n{}", self.told()));
        if let (Ok(recorded), Some(mark)) = (serde_json::from_str::<Value>(&answer), line["request_id"].as_str()) {
            let answer = answer.replace(recorded["request_id"].as_str().unwrap_or("no mark"), mark);
            return self.say_on(wire, party, &answer);
        }
        self.say_on(wire, party, &answer);
    }

    /// Our worker asks a played master for work once more than was recorded.
    fn asked_again(&mut self, wire: usize, party: &str) {
        // Masters of 2025/2 push, and say nothing where they have nothing to do.
        if let Some(answer) = self.cast.recording.said(party, "NO_TASK") {
            self.say_on(wire, party, &answer.raw);
            if self.cast.one_message {
                self.wires[wire].close();
            }
        }
    }

    /// Played workers that were answered otherwise than recorded ask again.
    fn ask_again(&mut self) {
        let now = Instant::now();
        let due = |hand: &Hand| !hand.busy && hand.polls.is_some_and(|(_, at)| at.is_some_and(|at| at <= now));
        let due: Vec<String> =
            self.hands.iter().filter(|(_, hand)| due(hand)).map(|(party, _)| party.clone()).collect();
        for party in due {
            let Some(hand) = self.hands.get_mut(&party) else { continue };
            let Some((conn, _)) = hand.polls else { continue };
            (hand.busy, hand.polls) = (true, Some((conn, None)));
            let records = &self.cast.recording.records;
            let place = self.cast.place;
            let alive = records.iter().enumerate().rfind(|(at, record)| {
                record.from == party && record.to == place && record.kind == "ALIVE" && self.done[*at]
            });
            let Some((_, alive)) = alive else { continue };
            let alive = alive.clone();
            if self.cast.one_message || !self.real.get(&conn).is_some_and(|wire| self.wires[*wire].is_open()) {
                let port = self.ports[place];
                self.wires.push(Wire::dial(&party, port));
                self.real.insert(conn, self.wires.len() - 1);
            }
            let wire = self.real[&conn];
            self.say_on(wire, &party, &alive.raw);
        }
    }
}
