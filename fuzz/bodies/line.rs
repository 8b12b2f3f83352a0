//! Any bytes, cut anyhow, at any time: the edge never panics, never holds much, and does not depend on the cuts.
//!
//! The first byte of the data says who opened the connection and what is known of the peer, the second how the
//! rest, the stream itself, is cut. A corpus file that begins with `i1` is an accepted connection.

use std::time::Duration;

use mutirao::time::Time;
use mutirao::wire::{
    Body, CloseReason, Decoded, Dialect, Edge, GroupPresence, HeartbeatAnswer, LoadReport, LoanAnswer, MAX_LINE_BYTES,
    Message, Prepared, Presence, ReleaseAnswer, Role, ServerId, StatusAck, WorkerAlive,
};

/// Runs one case. Panics where a law is broken.
pub(crate) fn run(data: &[u8]) {
    let [who, how, stream @ ..] = data else { return };
    let whole = Session::new(*who).feed_all(stream, &mut |rest: &[u8]| rest.len());
    let mut chance = Chance(u64::from(*how));
    let cut = Session::new(*who).feed_all(stream, &mut |rest: &[u8]| 1 + chance.below(rest.len().min(40)));
    assert_eq!(whole, cut, "the cuts made a difference");
    if stream.len() <= 4096 {
        let drip = Session::new(*who).feed_all(stream, &mut |_: &[u8]| 1);
        assert_eq!(whole, drip, "byte by byte made a difference");
    }
    Session::new(*who).feed_slowly(stream, &mut Chance(u64::from(*how)));
}

/// Everything that an edge has shown to the outside.
#[derive(Debug, PartialEq, Eq)]
struct Transcript {
    messages: Vec<Message>,
    closed: Option<CloseReason>,
    out: Vec<u8>,
    heartbeats: u64,
    ignored: u64,
}

struct Session {
    edge: Edge,
    prepared: Prepared,
    me: Presence,
    now: Time,
    edge_is_outbound: bool,
    waiting: bool,
    shown: Transcript,
}

impl Session {
    fn new(who: u8) -> Session {
        let mut edge = match who {
            b'n' => Edge::outbound(Some(Dialect::Native)),
            b's' => Edge::outbound(Some(Dialect::Seed)),
            b'2' => Edge::outbound(Some(Dialect::Gen2025_2)),
            b'o' | b'w' => Edge::outbound(None),
            _ => Edge::inbound(),
        };
        let (works, outbound) = (who == b'w', b"ns2ow".contains(&who));
        let server_id = ServerId::new("2f1e0000-0000-4000-8000-000000000001").expect("it is short and printable");
        let me = Presence {
            server_id: server_id.clone(),
            name: "fuzz".to_owned(),
            address: "127.0.0.1:9101".parse().expect("it is an address"),
            role: Role::Master,
            group: "default".to_owned(),
            group_presence: GroupPresence::default(),
            load: LoadReport::default(),
            services: Vec::new(),
        };
        if works {
            let alive = WorkerAlive { worker: server_id.clone(), owner: None, listens: None, native: None };
            edge.render(&Message::plain(Body::WorkerAlive(Box::new(alive))), &mut Vec::new());
        }
        let shown = Transcript { messages: Vec::new(), closed: None, out: Vec::new(), heartbeats: 0, ignored: 0 };
        Session {
            edge,
            prepared: Prepared::new(&server_id),
            me,
            now: Time::ZERO,
            edge_is_outbound: outbound,
            waiting: false,
            shown,
        }
    }

    fn feed_all(mut self, mut stream: &[u8], length: &mut dyn FnMut(&[u8]) -> usize) -> Transcript {
        while !stream.is_empty() {
            let (chunk, rest) = stream.split_at(length(stream));
            self.feed(chunk);
            stream = rest;
        }
        self.end()
    }

    /// Lets time pass between the chunks, and fires the deadlines that pass with it.
    fn feed_slowly(mut self, mut stream: &[u8], chance: &mut Chance) {
        let length = stream.len();
        while !stream.is_empty() {
            let (chunk, rest) = stream.split_at(1 + chance.below(stream.len()));
            self.feed(chunk);
            stream = rest;
            let pause = [0, 1, 99, 100, 101, 250, 10_000, 60_000][chance.below(8)];
            let until = self.now + Duration::from_millis(pause);
            while let Some(deadline) = self.edge.deadline().filter(|deadline| *deadline <= until) {
                assert!(deadline >= self.now, "a deadline that has passed was not acted upon");
                self.now = deadline;
                while let Some(decoded) = self.edge.expire(&self.prepared, self.now, &mut self.shown.out) {
                    self.act(decoded);
                }
                assert!(self.edge.deadline() > Some(self.now) || self.edge.deadline().is_none(), "it would spin");
            }
            self.now = until;
        }
        // The worst is an error answer of some 200 bytes to a line of two.
        assert!(self.end().out.len() <= 4096 + 256 * length, "a flood of answers");
    }

    fn feed(&mut self, mut chunk: &[u8]) {
        while let Some(decoded) = self.edge.poll(&self.prepared, &mut chunk, self.now, &mut self.shown.out) {
            self.act(decoded);
        }
        assert!(chunk.is_empty(), "bytes were left");
        // Beside a line that is begun, a registration may wait.
        assert!(self.edge.heap_bytes() <= 2 * (MAX_LINE_BYTES + 1) + 1024);
        assert!(self.edge.deadline().is_some() || self.edge.heap_bytes() == 0, "memory without a deadline");
    }

    fn end(mut self) -> Transcript {
        while let Some(decoded) = self.edge.finish(&self.prepared, self.now, &mut self.shown.out) {
            self.act(decoded);
        }
        assert_eq!(self.edge.heap_bytes(), 0);
        self.shown.heartbeats += self.edge.take_heartbeats();
        self.shown.ignored += self.edge.take_ignored();
        self.shown
    }

    /// Answers heartbeats and workers as a core would, so that the order and the form of answers are part of what is
    /// compared. Once a job was submitted, answers are waited for.
    fn act(&mut self, decoded: Decoded) {
        assert_eq!(self.shown.closed, None, "something came after the edge asked to close");
        match decoded {
            Decoded::Refused(answer) => {
                let after = self.shown.messages.last().map(|message| &message.body);
                let registered = matches!(after, Some(Body::Register(_)));
                assert!(self.waiting || registered, "nobody waits for an answer here");
                assert!(matches!(answer.body, Body::Error(_)), "what is refused is an error");
                self.edge.render(&answer, &mut self.shown.out);
            }
            Decoded::Stray { line, .. } => assert!(line.chars().count() <= 120, "a quote is short"),
            Decoded::Ignored { line, refusal, .. } => {
                assert!(!self.edge_is_outbound && line.chars().count() <= 120, "a quote is short");
                if let Some(refusal) = refusal {
                    self.edge.render(&refusal, &mut self.shown.out);
                }
            }
            Decoded::Close(reason) => self.shown.closed = Some(reason),
            Decoded::Message(message) => {
                if let Body::Heartbeat(heartbeat) = &message.body {
                    let server_id = self.me.server_id.clone();
                    let presence = heartbeat.presence.is_some().then(|| Box::new(self.me.clone()));
                    let body = Body::HeartbeatAnswer(HeartbeatAnswer { server_id, presence });
                    self.edge.render(&Message { id: message.id.clone(), body }, &mut self.shown.out);
                }
                match &message.body {
                    Body::WorkerAlive(_) => self.edge.render(&Message::plain(Body::NoTask), &mut self.shown.out),
                    Body::WorkerStatus(status) => {
                        let ack = StatusAck { worker: status.worker.clone(), attempt: status.attempt.clone() };
                        self.edge.render(&Message::plain(Body::StatusAck(Box::new(ack))), &mut self.shown.out);
                    }
                    Body::LoanRequest(_) => {
                        let reason = "refused".to_owned();
                        let refused = LoanAnswer::Rejected { master: Some(self.me.server_id.clone()), reason };
                        self.answer(&message, Body::LoanAnswer(Box::new(refused)));
                    }
                    Body::Register(comer) if !comer.wants_ack => self.answer(&message, Body::NoTask),
                    Body::Register(_) | Body::Returned(_) | Body::Move(_) => {
                        self.answer(&message, Body::StatusAck(Box::default()));
                    }
                    Body::Release(release) => {
                        let (master, workers) = (Some(self.me.server_id.clone()), release.workers.clone());
                        let answer = ReleaseAnswer { master, workers, completed: false };
                        self.answer(&message, Body::ReleaseAnswer(Box::new(answer)));
                    }
                    Body::Submit(_) if !self.edge_is_outbound => {
                        self.waiting = true;
                        self.edge.set_waiting(true);
                    }
                    _ => {}
                }
                self.shown.messages.push(message);
            }
        }
    }

    fn answer(&mut self, asked: &Message, body: Body) {
        self.edge.render(&Message { id: asked.id.clone(), body }, &mut self.shown.out);
    }
}

/// A small generator: one byte of the data decides all the cuts (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}
