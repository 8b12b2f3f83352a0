//! The machine of one link.

use std::collections::VecDeque;

use crate::time::Time;
use crate::wire::decode::{Shape, Undecoded, read};
use crate::wire::encode::encode;
use crate::wire::line::{Framed, Lines, is_blank};
use crate::wire::{
    Body, ErrorAnswer, ErrorCode, HEAD_DEADLINE, Heartbeat, HeartbeatAnswer, LINE_DEADLINE, MAX_LINE_BYTES, MAX_QUOTE,
    MAX_WAITING_FORMS, Message, RequestId, quote,
};

use super::cycle::{self, Form, Meaning};
use super::opening::{self, Opening};
use super::{CloseReason, Decoded, Dialect, Prepared, gen2025_2, gen2026_1, native, seed};

/// The edge of one link.
///
/// ```text
///   loop {
///       read bytes; while let Some(decoded) = edge.poll(.., &mut bytes, now, &mut out) { act on it }
///       at edge.deadline(): while let Some(decoded) = edge.expire(.., now, &mut out) { act on it }
///       at the end of the stream: while let Some(decoded) = edge.finish(.., now, &mut out) { act on it }
///   }
/// ```
///
/// Act on a message, and render the answer to it into the same `out`, before the next call: that is what keeps
/// answers in the order of the requests, since some of them are given here.
pub struct Edge {
    lines: Lines,
    /// Bare heartbeats answered since they were last asked for.
    heartbeats: u64,
    /// Lines that no answer was due to since they were last asked for.
    ignored: u64,
    phase: Phase,
    /// Whether this node opened the connection.
    outbound: bool,
    /// The form of the heartbeat that was received last: its answer has the same.
    asked: Shape,
    /// What this node was told to speak here.
    ours: Option<Dialect>,
    /// What the other side has shown to speak.
    spoken: Option<Dialect>,
    /// The form of the worker cycle here, once it is known.
    form: Option<Form>,
    /// Whether this node has spoken here as a worker.
    works: bool,
    /// Whether answers of this link are waited for.
    waiting: bool,
    /// The forms of the heartbeats that are not answered yet, while answers are waited for.
    unanswered: Option<Box<Unanswered>>,
}

/// Heartbeats in their order, each with its mark and its form.
type Unanswered = VecDeque<(Option<RequestId>, Shape)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first bytes have not told the protocol yet.
    Opening,
    /// Lines, for ever.
    Lines,
    /// The caller was asked to close: everything more is swallowed.
    Closed,
}

impl Edge {
    /// The edge of a connection that was accepted: the first bytes decide what it speaks.
    pub fn inbound() -> Edge {
        Edge::new(Phase::Opening, false, None)
    }

    /// The edge of a connection that this node opened: it speaks lines, and its heartbeats have the form of
    /// `dialect`; `None` is not known yet: the first heartbeat has SERVER_UUID and the native extras together,
    /// which every generation understands, and the next ones the form that the answer has shown.
    pub fn outbound(dialect: Option<Dialect>) -> Edge {
        Edge::new(Phase::Lines, true, dialect)
    }

    fn new(phase: Phase, outbound: bool, ours: Option<Dialect>) -> Edge {
        let lines = Lines::new();
        Edge {
            lines,
            heartbeats: 0,
            ignored: 0,
            phase,
            outbound,
            asked: Shape::Native,
            ours,
            spoken: None,
            form: cycle::of_dialect(ours),
            works: false,
            waiting: false,
            unanswered: None,
        }
    }

    /// Takes bytes from the front of `input` until a message is complete or `input` is empty. Call it again until
    /// it returns `None`. Answers that need no core are appended to `out`: at most 80 times the bytes of
    /// `input`, the worst being an error for each line of one byte. Who bounds `out` feeds `input` in small parts.
    pub fn poll(&mut self, prepared: &Prepared, input: &mut &[u8], now: Time, out: &mut Vec<u8>) -> Option<Decoded> {
        loop {
            match self.phase {
                Phase::Lines => {}
                Phase::Opening => {
                    if let Some(close) = self.open(input, now, out) {
                        return Some(close);
                    }
                    if self.phase == Phase::Opening {
                        return None;
                    }
                }
                Phase::Closed => {
                    *input = &[];
                    return None;
                }
            }
            // The short cut. Legal only while no other answer of this link is pending: whoever answers later says so
            // with `set_waiting`, and every other message was answered into `out` before this call.
            if self.lines.is_idle() && !self.waiting {
                let count = seed::take_bare(input);
                self.answer_bare(prepared, count, out);
            }
            let decoded = match self.lines.next(input, now)? {
                Framed::Line(line) => self.take(prepared, &line, out),
                Framed::TooLong => Some(self.refuse_length(out)),
                Framed::TooSlow => Some(self.refuse_slowness(out)),
            };
            if decoded.is_some() {
                return decoded;
            }
        }
    }

    /// The peer will send no more: what is left counts as a line. Call it until it returns `None`.
    pub fn finish(&mut self, prepared: &Prepared, _now: Time, out: &mut Vec<u8>) -> Option<Decoded> {
        let rest = self.lines.finish()?;
        self.take(prepared, &rest, out)
    }

    /// The time at which [`Edge::expire`] must be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Opening => (!self.lines.is_idle()).then(|| self.lines.begun() + HEAD_DEADLINE),
            Phase::Lines => self.lines.deadline(),
            Phase::Closed => None,
        }
    }

    /// Acts on a deadline that has passed; does nothing before it. Call it until it returns `None`.
    pub fn expire(&mut self, prepared: &Prepared, now: Time, out: &mut Vec<u8>) -> Option<Decoded> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        if self.phase == Phase::Opening {
            return Some(self.close(CloseReason::HeadTooSlow));
        }
        match self.lines.expire(now)? {
            Framed::Line(line) => self.take(prepared, &line, out),
            Framed::TooLong => Some(self.refuse_length(out)),
            Framed::TooSlow => Some(self.refuse_slowness(out)),
        }
    }

    /// Appends `message` as a line, in the form in which the link spoke last. Appends nothing once the edge has
    /// asked to close.
    pub fn render(&mut self, message: &Message, out: &mut Vec<u8>) {
        if self.phase == Phase::Closed {
            return;
        }
        match &message.body {
            Body::Heartbeat(heartbeat) => self.render_heartbeat(heartbeat, message.id.as_ref(), out),
            Body::HeartbeatAnswer(answer) => self.render_alive(answer, message, out),
            body => {
                self.works |= self.outbound && cycle::is_of_worker(body);
                cycle::render(message, self.form, out);
            }
        }
    }

    /// How many bare heartbeats were answered here since the last call.
    pub fn take_heartbeats(&mut self) -> u64 {
        std::mem::take(&mut self.heartbeats)
    }

    /// How many lines were read since the last call that no answer is due to: answers that nobody here asked for,
    /// envelopes that are not known, and, on a link that this node opened to a peer that is not known to be native,
    /// whatever is wrong.
    pub fn take_ignored(&mut self) -> u64 {
        std::mem::take(&mut self.ignored)
    }

    /// Whether answers of this link are waited for. While they are, nothing is answered here: bare heartbeats and the
    /// error answers of malformed lines are handed on, so that all answers keep the order of their requests.
    pub fn set_waiting(&mut self, waiting: bool) {
        self.waiting = waiting;
    }

    /// What the other side turned out to speak, once its heartbeat or answer has shown it.
    pub fn spoken(&self) -> Option<Dialect> {
        self.spoken
    }

    /// Bytes of memory that are held beside the edge itself: none while no line is begun and no answer is waited for,
    /// and never more than twice the longest line, with some for each heartbeat that waits.
    pub fn heap_bytes(&self) -> usize {
        let unanswered =
            self.unanswered.as_ref().map_or(0, |queue| queue.capacity() * size_of::<(Option<RequestId>, Shape)>());
        self.lines.heap_bytes() + unanswered
    }

    /// Looks at the first bytes until they tell the protocol or `input` is empty.
    fn open(&mut self, input: &mut &[u8], now: Time, out: &mut Vec<u8>) -> Option<Decoded> {
        if self.lines.is_idle() {
            Lines::skip_blanks(input);
        }
        // At most the bytes of one method are kept here; they become the begin of a line if it is none.
        while let [byte, rest @ ..] = *input {
            let first = [self.lines.tail(), &[*byte]].concat();
            match opening::judge(&first) {
                Opening::Open => {
                    self.lines.keep(&[*byte], now);
                    *input = rest;
                }
                Opening::Lines => {
                    self.phase = Phase::Lines;
                    return None;
                }
                Opening::Http => {
                    opening::refuse_http(&first, out);
                    return Some(self.close(CloseReason::Http));
                }
                Opening::Tls => return Some(self.close(CloseReason::Tls)),
            }
        }
        None
    }

    /// What a whole line is worth.
    fn take(&mut self, prepared: &Prepared, line: &[u8], out: &mut Vec<u8>) -> Option<Decoded> {
        let end = line.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
        let line = &line[..end];
        if seed::is_bare(line) && !self.waiting {
            self.answer_bare(prepared, 1, out);
            return None;
        }
        let refused = match read(line) {
            Ok((message, shape)) => match cycle::meaning(&message.body, self.outbound, self.works) {
                Meaning::Message => {
                    self.note(&message, shape);
                    return Some(Decoded::Message(message));
                }
                Meaning::Stray => None,
                Meaning::Order(task) => Some(Box::new(refuse_order(task, message.id))),
            },
            Err(Undecoded::Refused(answer)) => Some(answer),
            Err(Undecoded::Ignored) => None,
        };
        match refused {
            // On a link that this node opened it is the asker: what is wrong there is an answer that went wrong,
            // and an error in return could have a foreign peer answer that in turn, for ever. A native one never does.
            Some(_) if self.outbound && self.spoken != Some(Dialect::Native) => Some(self.stray(line)),
            None if self.outbound => Some(self.stray(line)),
            Some(answer) if self.waiting => Some(Decoded::Refused(answer)),
            Some(answer) => {
                encode(&answer, out);
                None
            }
            None => {
                self.ignored += 1;
                None
            }
        }
    }

    fn stray(&mut self, line: &[u8]) -> Decoded {
        self.ignored += 1;
        Decoded::Stray(quote(&String::from_utf8_lossy(line), MAX_QUOTE))
    }

    /// Remembers how the other side showed who it is.
    fn note(&mut self, message: &Message, shape: Shape) {
        match &message.body {
            Body::Heartbeat(_) => self.note_asked(message.id.as_ref(), shape),
            Body::HeartbeatAnswer(_) => {}
            body => {
                self.form = cycle::shown(self.form, body, shape);
                return;
            }
        }
        let older = [self.spoken, self.ours].contains(&Some(Dialect::Gen2025_2));
        self.spoken = match shape {
            Shape::Native => Some(Dialect::Native),
            Shape::Uuid if older => Some(Dialect::Gen2025_2),
            Shape::Uuid => Some(Dialect::Gen2026_1),
            Shape::Id => Some(Dialect::Seed),
            Shape::Plain | Shape::Upper | Shape::Lower => self.spoken,
        };
    }

    /// Remembers the form of a heartbeat until it is answered.
    fn note_asked(&mut self, id: Option<&RequestId>, shape: Shape) {
        self.asked = shape;
        if !self.waiting {
            self.unanswered = None;
            return;
        }
        let queue = self.unanswered.get_or_insert_default();
        if queue.len() < MAX_WAITING_FORMS {
            queue.push_back((id.cloned(), shape));
        }
    }

    /// The form of the heartbeat that is answered now.
    fn asked_by(&mut self, id: Option<&RequestId>) -> Shape {
        let Some(queue) = &mut self.unanswered else { return self.asked };
        let place = queue.iter().position(|(mark, _)| mark.as_ref() == id);
        let found = place.and_then(|place| queue.remove(place));
        if queue.is_empty() {
            self.unanswered = None;
        }
        found.map_or(self.asked, |(_, shape)| shape)
    }

    fn answer_bare(&mut self, prepared: &Prepared, count: usize, out: &mut Vec<u8>) {
        seed::repeat(&prepared.bare_heartbeat, count, out);
        self.heartbeats += count as u64;
    }

    fn render_heartbeat(&self, heartbeat: &Heartbeat, id: Option<&RequestId>, out: &mut Vec<u8>) {
        let speaker = heartbeat.presence.as_ref().map(|presence| &presence.server_id).or(heartbeat.sender.as_ref());
        match (self.ours.or(self.spoken), &heartbeat.presence, speaker) {
            // Foreign generations know no ID, and some of them compare whole lines.
            (Some(Dialect::Seed), _, _) => seed::heartbeat(out),
            (Some(Dialect::Gen2025_2), _, Some(speaker)) => gen2025_2::heartbeat(speaker, out),
            (Some(Dialect::Gen2026_1), _, Some(speaker)) => gen2026_1::heartbeat(speaker, out),
            (Some(Dialect::Native), Some(presence), _) => native::heartbeat(presence, id, out),
            (None, Some(presence), _) => native::first_heartbeat(presence, id, out),
            _ => native::plain_heartbeat(heartbeat, id, out),
        }
    }

    fn render_alive(&mut self, answer: &HeartbeatAnswer, message: &Message, out: &mut Vec<u8>) {
        let id = message.id.as_ref();
        match self.asked_by(id) {
            Shape::Plain | Shape::Id | Shape::Upper => seed::alive(&answer.server_id, id, out),
            Shape::Uuid => gen2025_2::alive(&answer.server_id, id, out),
            Shape::Lower => gen2026_1::lower_alive(&answer.server_id, id, out),
            Shape::Native => encode(message, out),
        }
    }

    fn refuse_length(&mut self, out: &mut Vec<u8>) -> Decoded {
        let detail = format!("the line is longer than {MAX_LINE_BYTES} bytes; the connection is closed");
        self.refuse(ErrorCode::LineTooLong, detail, CloseReason::LineTooLong, out)
    }

    fn refuse_slowness(&mut self, out: &mut Vec<u8>) -> Decoded {
        let seconds = LINE_DEADLINE.as_secs();
        let detail = format!("the line was not ended within {seconds} s of its first byte; the connection is closed");
        self.refuse(ErrorCode::LineTooSlow, detail, CloseReason::LineTooSlow, out)
    }

    fn refuse(&mut self, code: ErrorCode, detail: String, reason: CloseReason, out: &mut Vec<u8>) -> Decoded {
        encode(&Message::plain(Body::Error(Box::new(ErrorAnswer::new("", code, detail)))), out);
        self.close(reason)
    }

    fn close(&mut self, reason: CloseReason) -> Decoded {
        self.phase = Phase::Closed;
        self.lines = Lines::new();
        Decoded::Close(reason)
    }
}

/// The answer to an order of a master from somebody who is not this node's.
fn refuse_order(task: &str, id: Option<RequestId>) -> Message {
    let detail = format!("`{task}` is what a master says to its worker, on the link that the worker opened");
    Message { id, body: Body::Error(Box::new(ErrorAnswer::new(task, ErrorCode::NotNative, detail))) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::wire::{GroupPresence, LoadReport, Presence, Role, SILENCE_ENDS_LINE, ServerId};

    use super::*;

    const BARE: &str = "{\"TASK\":\"HEARTBEAT\"}\n";
    const ALIVE: &str = "{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"SERVER_ID\":\"ME\"}\n";
    const NATIVE: &str = "\"SERVER_ID\":\"ME\",\"NAME\":\"me\",\"ADDRESS\":\"127.0.0.1:9101\",\"ROLE\":\"master\",\
                          \"GROUP\":\"g\",\"CPU\":0.0,\"MEMORY\":0.0,\"PENDING\":0,\"RUNNING\":0,\"WORKERS\":0,\
                          \"SATURATED\":false";

    fn me() -> ServerId {
        ServerId::new("ME").unwrap()
    }

    fn presence() -> Box<Presence> {
        Box::new(Presence {
            server_id: me(),
            name: "me".to_owned(),
            address: "127.0.0.1:9101".parse().unwrap(),
            role: Role::Master,
            group: "g".to_owned(),
            group_presence: GroupPresence::default(),
            load: LoadReport::default(),
            services: Vec::new(),
        })
    }

    /// An edge, its time, and what it has shown.
    struct Link {
        edge: Edge,
        now: Time,
        out: Vec<u8>,
        decoded: Vec<Decoded>,
    }

    impl Link {
        fn new(edge: Edge) -> Link {
            Link { edge, now: Time::ZERO, out: Vec::new(), decoded: Vec::new() }
        }

        fn inbound() -> Link {
            Link::new(Edge::inbound())
        }

        fn feed(&mut self, bytes: impl AsRef<[u8]>) -> &mut Link {
            let mut input = bytes.as_ref();
            while let Some(decoded) = self.edge.poll(&Prepared::new(&me()), &mut input, self.now, &mut self.out) {
                self.act(decoded);
            }
            assert!(input.is_empty());
            self
        }

        fn wait(&mut self, time: Duration) -> &mut Link {
            self.now = self.now + time;
            while let Some(decoded) = self.edge.expire(&Prepared::new(&me()), self.now, &mut self.out) {
                self.act(decoded);
            }
            self
        }

        fn finish(&mut self) -> &mut Link {
            while let Some(decoded) = self.edge.finish(&Prepared::new(&me()), self.now, &mut self.out) {
                self.act(decoded);
            }
            self
        }

        /// Answers heartbeats, with all that a core could say.
        fn act(&mut self, decoded: Decoded) {
            if let Decoded::Message(Message { id, body: Body::Heartbeat(_) }) = &decoded {
                let answer = HeartbeatAnswer { server_id: me(), presence: Some(presence()) };
                self.edge.render(&Message { id: id.clone(), body: Body::HeartbeatAnswer(answer) }, &mut self.out);
            }
            self.decoded.push(decoded);
        }

        fn said(&mut self) -> String {
            String::from_utf8(std::mem::take(&mut self.out)).unwrap()
        }

        fn bodies(&self) -> Vec<&Body> {
            fn body(decoded: &Decoded) -> Option<&Body> {
                match decoded {
                    Decoded::Message(message) => Some(&message.body),
                    Decoded::Refused(_) | Decoded::Stray(_) | Decoded::Close(_) => None,
                }
            }
            self.decoded.iter().filter_map(body).collect()
        }

        /// The codes of the error answers that were queued.
        fn errors(&mut self) -> Vec<ErrorCode> {
            let said = self.said();
            let code = |line: &str| match crate::wire::decode(line.as_bytes()).unwrap().body {
                Body::Error(error) => error.code,
                other => panic!("{other:?}"),
            };
            said.lines().map(code).collect()
        }
    }

    #[test]
    fn an_idle_edge_is_small_and_owns_no_memory() {
        assert!(size_of::<Edge>() <= 96, "{}", size_of::<Edge>());
        let mut link = Link::inbound();
        link.feed("\r\n {\"TASK\":\"LO").feed("AD\"}\n\n ");
        assert_eq!(link.bodies(), [&Body::Load]);
        assert_eq!((link.edge.heap_bytes(), link.edge.deadline()), (0, None));
    }

    #[test]
    fn the_bare_heartbeat_is_answered_here_and_counted_however_it_comes() {
        let spaced = "{\"TASK\": \"HEARTBEAT\"}\n";
        for text in [BARE, spaced, "{\"TASK\":\"HEARTBEAT\"}\r\n", " {\"TASK\":\"HEARTBEAT\"} \n"] {
            let mut link = Link::inbound();
            link.feed(text).feed(text.repeat(3));
            for byte in text.as_bytes() {
                link.feed([*byte]);
            }
            assert_eq!((link.said(), link.bodies().len()), (ALIVE.repeat(5), 0), "{text:?}");
            assert_eq!((link.edge.take_heartbeats(), link.edge.take_heartbeats()), (5, 0));
        }
        let mut link = Link::inbound();
        assert_eq!(link.feed(BARE.trim()).finish().finish().said(), ALIVE, "at the end of the stream");
        let mut link = Link::inbound();
        assert_eq!(link.feed(BARE.trim()).wait(SILENCE_ENDS_LINE).said(), ALIVE, "after silence");
    }

    #[test]
    fn answers_given_here_keep_their_place_among_those_of_the_core() {
        let mut link = Link::inbound();
        link.feed(format!("{BARE}{{\"TASK\":\"HEARTBEAT\",\"ID\":\"1\"}}\n{BARE}x\n{BARE}"));
        let said = link.said();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[1], r#"{"TASK":"HEARTBEAT","RESPONSE":"ALIVE","ID":"1","SERVER_ID":"ME"}"#);
        assert!(lines[3].contains("BAD_JSON"));
        for nth in [0, 2, 4] {
            assert_eq!(lines[nth], ALIVE.trim());
        }
    }

    #[test]
    fn a_heartbeat_is_answered_in_the_form_of_the_question() {
        let uuid = "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\"}\n".to_owned();
        let native = format!("{{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",{NATIVE}}}\n");
        let mut link = Link::inbound();
        for (question, answer, spoken) in [
            ("{\"TASK\":\"HEARTBEAT\",\"x\":1}\n".to_owned(), ALIVE.to_owned(), None),
            ("{\"TASK\":\"LOAD\"}\n".to_owned(), String::new(), None),
            ("{\"SERVER_UUID\": \"U\", \"TASK\": \"HEARTBEAT\"}\n".to_owned(), uuid, Some(Dialect::Gen2026_1)),
            ("{\"TASK\":\"HEARTBEAT\",\"SERVER_ID\":\"U\"}\n".to_owned(), ALIVE.to_owned(), Some(Dialect::Seed)),
            (format!("{{\"TASK\":\"HEARTBEAT\",\"SERVER_UUID\":\"U\",{NATIVE}}}\n"), native, Some(Dialect::Native)),
            ("{\"TASK\":\"HEARTBEAT\",\"x\":1}\n".to_owned(), ALIVE.to_owned(), Some(Dialect::Native)),
        ] {
            assert_eq!((link.feed(&question).said(), link.edge.spoken()), (answer, spoken), "{question}");
        }
        let id = Link::inbound().feed("{\"SERVER_UUID\":\"U\",\"TASK\":\"HEARTBEAT\",\"ID\":\"7\"}\n").said();
        assert_eq!(id, "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"ID\":\"7\"}\n");
    }

    #[test]
    fn our_heartbeat_has_the_form_of_the_dialect_and_then_that_of_the_answer() {
        let heartbeat = Message {
            id: RequestId::new("1"),
            body: Body::Heartbeat(Heartbeat { sender: None, presence: Some(presence()) }),
        };
        let say = |link: &mut Link| {
            link.edge.render(&heartbeat, &mut link.out);
            link.said()
        };
        let universal = format!("{{\"TASK\":\"HEARTBEAT\",\"ID\":\"1\",\"SERVER_UUID\":\"ME\",{NATIVE}}}\n");
        let native = format!("{{\"TASK\":\"HEARTBEAT\",\"ID\":\"1\",{NATIVE}}}\n");
        let uuid = "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\"}\n";
        for (dialect, form) in [
            (None, universal.as_str()),
            (Some(Dialect::Native), &native),
            (Some(Dialect::Seed), BARE),
            (Some(Dialect::Gen2025_2), uuid),
            (Some(Dialect::Gen2026_1), uuid),
        ] {
            assert_eq!(say(&mut Link::new(Edge::outbound(dialect))), form, "{dialect:?}");
        }
        for (answer, spoken, form) in [
            ("\"SERVER_ID\":\"S\"".to_owned(), Dialect::Seed, BARE),
            ("\"SERVER_UUID\":\"S\"".to_owned(), Dialect::Gen2026_1, uuid),
            (NATIVE.to_owned(), Dialect::Native, &native),
        ] {
            let mut link = Link::new(Edge::outbound(None));
            link.feed(format!("{{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",{answer}}}\n"));
            assert_eq!((link.edge.spoken(), say(&mut link).as_str()), (Some(spoken), form), "{answer}");
        }
        let mut told = Link::new(Edge::outbound(Some(Dialect::Gen2025_2)));
        told.feed("{\"SERVER_UUID\":\"S\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\"}\n");
        assert_eq!(told.edge.spoken(), Some(Dialect::Gen2025_2));
    }

    #[test]
    fn our_first_heartbeat_is_native_to_another_edge_of_ours() {
        let mut ours = Link::new(Edge::outbound(None));
        let body = Body::Heartbeat(Heartbeat { sender: None, presence: Some(presence()) });
        ours.edge.render(&Message::plain(body), &mut ours.out);
        let mut theirs = Link::inbound();
        let answer = theirs.feed(ours.said()).said();
        assert_eq!((theirs.edge.spoken(), answer.contains("SERVER_UUID")), (Some(Dialect::Native), false));
        ours.feed(answer);
        assert_eq!(ours.edge.spoken(), Some(Dialect::Native));
    }

    #[test]
    fn our_first_heartbeat_is_one_read_of_a_classroom_program() {
        let offer = |nth: u32| crate::wire::ServiceOffer {
            name: crate::wire::ServiceName::new(format!("service-{nth}")).unwrap(),
            methods: vec![crate::wire::ServiceName::run()],
            idempotent: Vec::new(),
        };
        let group_presence = GroupPresence {
            group_id: crate::wire::GroupId::new("f".repeat(36)),
            term: 1 << 40,
            leader: ServerId::new("e".repeat(128)),
            founder: ServerId::new("d".repeat(128)),
            sees: 3,
        };
        let presence = Box::new(Presence {
            services: (0..100).map(offer).collect(),
            address: format!("{}:9101", "a".repeat(250)).parse().unwrap(),
            name: "\"".repeat(64),
            group: "\"".repeat(64),
            group_presence,
            ..*presence()
        });
        let mut ours = Link::new(Edge::outbound(None));
        let body = || Body::Heartbeat(Heartbeat { sender: None, presence: Some(presence.clone()) });
        ours.edge.render(&Message::plain(body()), &mut ours.out);
        let first = ours.said();
        assert!(first.len() <= 1024 && !first.contains("service-") && !first.contains("LEADER"), "{first}");
        let mut theirs = Link::inbound();
        let answer = theirs.feed(first).said();
        ours.feed(answer);
        ours.edge.render(&Message::plain(body()), &mut ours.out);
        let second = ours.said();
        assert!(second.contains("service-99") && second.contains("LEADER"), "a native node is told all");
    }

    #[test]
    fn what_members_say_and_answer_reaches_the_core_and_no_answer_of_theirs_is_answered() {
        const HEAD: &str = r#""GROUP_ID":"5f0e9a34-aa","FROM":2,"TO":1,"TERM":4"#;
        let whole = [
            format!(
                r#"{{"TASK":"ELECT","RESPONSE":"OK","KIND":"VOTE",{HEAD},"VOTE_GRANTED":true,"COMMIT_INDEX":1,"COMMIT_TERM":1}}"#
            ),
            format!(r#"{{"TASK":"AGREE","RESPONSE":"OK","KIND":"HEARTBEAT",{HEAD},"COMMIT_INDEX":1}}"#),
            r#"{"TASK":"HELLO","RESPONSE":"OK","PROVED":true}"#.to_owned(),
            r#"{"TASK":"AGREE","RESPONSE":"ERROR","ERROR":"NOT_A_MEMBER","DETAIL":"prove it"}"#.to_owned(),
        ];
        let edges = [|| Edge::outbound(None), || Edge::outbound(Some(Dialect::Native)), Edge::inbound];
        for edge in edges {
            for answer in &whole {
                let mut link = Link::new(edge());
                link.feed(format!("{answer}\n"));
                assert_eq!((link.bodies().len(), link.said().as_str()), (1, ""), "{answer}");
                let mut cut = Link::new(edge());
                cut.feed(format!("{}\n", answer.replace("\"OK\"", "\"OK\",\"TERM\":-1,\"TERM\":4")));
                assert_eq!(cut.said(), "", "{answer}");
            }
        }
        let mut link = Link::inbound();
        link.feed(format!("{{\"TASK\":\"ELECT\",\"KIND\":\"NOW\",{HEAD}}}\n"));
        assert!(matches!(link.bodies()[..], [Body::Elect(_)]));
        link.feed(format!("{{\"TASK\":\"AGREE\",{HEAD}}}\n"));
        assert_eq!(link.errors(), [ErrorCode::MissingField]);
    }

    #[test]
    fn http_is_answered_501_and_nothing_in_it_is_a_task() {
        for request in [
            format!("POST / HTTP/1.1\r\nContent-Length: 21\r\n\r\n{BARE}"),
            format!("\r\nGET / HTTP/1.1\r\n{BARE}"),
            format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{BARE}"),
        ] {
            for cut in 0..request.len() {
                let mut link = Link::inbound();
                link.feed(&request[..cut]).feed(&request[cut..]).feed(BARE).finish();
                assert_eq!(link.decoded, [Decoded::Close(CloseReason::Http)]);
                let said = link.said();
                let (head, body) = said.split_once("\r\n\r\n").unwrap();
                assert!(head.starts_with("HTTP/1.1 501 Not Implemented\r\n") && head.contains("Connection: close"));
                assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
            }
        }
        let said = Link::inbound().feed("HEAD / HTTP/1.1\r\n\r\n").said();
        assert!(said.ends_with("\r\n\r\n"), "an answer to HEAD has no body");
    }

    #[test]
    fn tls_is_closed_without_a_word() {
        let mut link = Link::inbound();
        link.feed(b"\x16\x03\x01").feed(BARE);
        assert_eq!((link.decoded.as_slice(), link.out.len()), (&[Decoded::Close(CloseReason::Tls)][..], 0));
    }

    #[test]
    fn what_may_become_http_waits_and_then_is_closed() {
        let mut link = Link::inbound();
        link.feed("PO").wait(HEAD_DEADLINE - Duration::from_millis(1));
        assert_eq!(link.decoded, []);
        link.wait(Duration::from_millis(1));
        assert_eq!(link.decoded, [Decoded::Close(CloseReason::HeadTooSlow)]);
        assert_eq!(link.feed(BARE).said(), "");
    }

    #[test]
    fn once_lines_are_spoken_http_is_a_bad_line() {
        let mut link = Link::inbound();
        link.feed(BARE).feed("GET / HTTP/1.1\r\n").feed(BARE);
        assert!(link.said().contains("BAD_JSON"));
        assert_eq!(link.edge.take_heartbeats(), 2);
        let mut link = Link::inbound();
        assert_eq!(link.feed("GETTING\nPO").finish().errors(), [ErrorCode::BadJson, ErrorCode::BadJson]);
        let mut link = Link::new(Edge::outbound(None));
        link.feed("GET / HTTP/1.1\r\n").feed(b"\x16\n");
        assert_eq!((link.decoded.len(), link.said(), link.edge.take_ignored()), (2, String::new(), 2));
        assert!(link.decoded.iter().all(|decoded| matches!(decoded, Decoded::Stray(_))));
    }

    #[test]
    fn malformed_lines_are_answered_and_the_connection_kept() {
        let mut link = Link::inbound();
        link.feed("{\n[]\n{\"TASK\":\"NOPE\"}\n{}\n\n \r\n");
        let codes = [ErrorCode::BadJson, ErrorCode::NotAnObject, ErrorCode::UnknownTask, ErrorCode::MissingField];
        assert_eq!((link.errors().as_slice(), link.decoded.len()), (&codes[..], 0));
        assert_eq!(link.feed(BARE).said(), ALIVE);
    }

    #[test]
    fn an_object_without_newline_counts_after_silence_and_half_an_object_does_not() {
        let mut link = Link::inbound();
        link.feed("{\"TASK\":\"LOAD\"}").wait(SILENCE_ENDS_LINE - Duration::from_micros(1));
        assert_eq!(link.bodies().len(), 0);
        link.wait(Duration::from_micros(1));
        assert_eq!(link.bodies(), [&Body::Load]);
        link.feed("{\"TASK\":").wait(Duration::from_secs(5)).feed("\"HELLO\"}");
        assert_eq!(link.bodies().len(), 1);
        assert_eq!(link.finish().bodies(), [&Body::Load, &Body::Hello]);
    }

    #[test]
    fn endless_and_slow_lines_are_answered_and_closed() {
        let mut link = Link::inbound();
        link.feed(vec![b'{'; MAX_LINE_BYTES]);
        assert_eq!(link.decoded, []);
        link.feed("{").feed(format!("\n{BARE}")).finish();
        assert_eq!(link.decoded, [Decoded::Close(CloseReason::LineTooLong)]);
        assert_eq!((link.errors(), link.edge.heap_bytes()), (vec![ErrorCode::LineTooLong], 0));

        let mut link = Link::inbound();
        link.feed("{");
        for _ in 0..59 {
            link.wait(Duration::from_secs(1)).feed("x");
        }
        assert_eq!(link.decoded, []);
        link.wait(Duration::from_secs(1));
        assert_eq!(link.decoded, [Decoded::Close(CloseReason::LineTooSlow)]);
        assert_eq!((link.errors(), link.edge.deadline()), (vec![ErrorCode::LineTooSlow], None));
    }

    #[test]
    fn after_close_nothing_is_rendered() {
        let mut link = Link::inbound();
        link.feed("GET / HTTP/1.1\r\n");
        let before = link.out.clone();
        link.edge.render(&Message::plain(Body::Hello), &mut link.out);
        assert_eq!(link.out, before);
    }

    #[test]
    fn only_a_native_peer_is_told_its_errors_on_a_link_that_we_opened() {
        let wrong = "OK\n{\"TASK\":\"DANCE\"}\n{\"status\":\"alive\"}\n";
        let mut link = Link::new(Edge::outbound(None));
        assert_eq!((link.feed(wrong).said(), link.edge.take_ignored()), (String::new(), 3));
        let shown: Vec<Decoded> = wrong.lines().map(|line| Decoded::Stray(line.to_owned())).collect();
        assert_eq!(link.decoded, shown, "but the core is, for people to see");
        link.feed(format!("{{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",{NATIVE}}}\n")).feed(wrong);
        assert_eq!((link.errors().len(), link.edge.take_ignored()), (3, 0));
    }

    #[test]
    fn two_edges_that_answer_each_other_fall_silent() {
        for line in [
            "x\n",
            "{}\n",
            "{\"TASK\":\"NOPE\"}\n",
            "{\"type\":\"ack\"}\n",
            BARE,
            "{\"TASK\":\"LEAVE\"}\n",
            "{\"TASK\":\"JOB\"}\n",
            "{\"TASK\":\"STOP\",\"JOB_ID\":\"j\",\"ATTEMPT\":1}\n",
            "{\"TASK\":\"KEEPALIVE\"}\n",
            "{\"TASK\":\"SUBMIT\",\"SERVICE\":5}\n",
            "{\"TASK\":\"NO_TASK\"}\n",
            "{\"STATUS\":\"ACK\"}\n",
            "{\"status\":\"pong\"}\n",
            "{\"STATUS\":\"OK\",\"WORKER_UUID\":5.5}\n",
            "{\"server_uuid\":\"x\",\"task\":\"heartbeat\"}\n",
        ] {
            for mut two in [Link::inbound(), Link::new(Edge::outbound(None)), worker()] {
                let answer = Link::inbound().feed(line).said();
                assert_eq!(two.feed(answer).said(), "", "{line}");
            }
        }
    }

    /// A link on which this node has spoken as a worker.
    fn worker() -> Link {
        let mut link = Link::new(Edge::outbound(None));
        let alive = crate::wire::WorkerAlive { worker: me(), owner: None, native: None };
        link.edge.render(&Message::plain(Body::WorkerAlive(Box::new(alive))), &mut link.out);
        link.out.clear();
        link
    }

    #[test]
    fn orders_of_a_master_count_only_on_the_link_that_a_worker_opened() {
        let orders = "{\"TASK\":\"QUERY\",\"USER\":1}\n{\"TASK\":\"NO_TASK\"}\n{\"STATUS\":\"ACK\"}\n\
                      {\"TASK\":\"KEEPALIVE\"}\n{\"TASK\":\"STOP\",\"JOB_ID\":\"j\",\"ATTEMPT\":1}\n";
        let mut working = worker();
        working.feed(orders);
        assert_eq!((working.bodies().len(), working.said()), (5, String::new()));
        let foreign = "{\"TASK\":\"REDIRECT\"}\n{\"TASK\":\"REDIRECT\",\"SERVER_REDIRECT\":{}}\n{\"TASK\":\"DANCE\"}\n";
        working.feed(foreign).feed("{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\"}\n");
        assert_eq!((working.bodies().len(), working.said(), working.edge.take_ignored()), (5, String::new(), 4));

        let mut asking = Link::new(Edge::outbound(None));
        asking.feed(orders);
        assert_eq!((asking.bodies().len(), asking.said(), asking.edge.take_ignored()), (0, String::new(), 5));
        assert!(asking.decoded.iter().all(|decoded| matches!(decoded, Decoded::Stray(_))), "people are told");

        let mut accepted = Link::inbound();
        accepted.feed(orders);
        assert_eq!(accepted.bodies().len(), 1, "a QUERY is a client's job there");
        assert_eq!(accepted.edge.take_ignored(), 2);
        assert_eq!(accepted.errors(), [ErrorCode::NotNative, ErrorCode::NotNative]);
    }

    #[test]
    fn while_answers_are_waited_for_everything_is_handed_on_in_its_order() {
        let mut link = Link::inbound();
        link.feed("{\"TASK\":\"LOAD\"}\n");
        link.edge.set_waiting(true);
        let prepared = Prepared::new(&me());
        let stream = format!("{BARE}x\n{{\"TASK\":\"NOPE\",\"ID\":\"7\"}}\n{BARE}{}\n", BARE.trim());
        for cut in 0..stream.len() {
            let mut handed = Vec::new();
            for mut part in [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]] {
                while let Some(decoded) = link.edge.poll(&prepared, &mut part, link.now, &mut link.out) {
                    handed.push(decoded);
                }
            }
            let what = |decoded: &Decoded| match decoded {
                Decoded::Message(message) if message.body == Body::Heartbeat(Heartbeat::default()) => {
                    "heartbeat".into()
                }
                Decoded::Refused(answer) => match &answer.body {
                    Body::Error(error) => error.code.as_str().to_owned(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            };
            let handed: Vec<String> = handed.iter().map(what).collect();
            assert_eq!(handed, ["heartbeat", "BAD_JSON", "UNKNOWN_TASK", "heartbeat", "heartbeat"], "cut at {cut}");
        }
        assert_eq!((link.said(), link.edge.take_heartbeats()), (String::new(), 0));
        link.edge.set_waiting(false);
        assert_eq!(link.feed(BARE).feed("x\n").said().lines().count(), 2);
    }

    #[test]
    fn heartbeats_that_waited_are_answered_each_in_its_form() {
        let mut link = Link::inbound();
        link.edge.set_waiting(true);
        let prepared = Prepared::new(&me());
        let asked = format!(
            "{BARE}{{\"SERVER_UUID\":\"U\",\"TASK\":\"HEARTBEAT\"}}\n{{\"SERVER_UUID\":\"U\",\"TASK\":\"HEARTBEAT\",\"ID\":\"7\"}}\n\
             {{\"task\":\"heartbeat\"}}\n{BARE}"
        );
        let mut input = asked.as_bytes();
        while let Some(decoded) = link.edge.poll(&prepared, &mut input, link.now, &mut link.out) {
            assert!(matches!(decoded, Decoded::Message(_)));
        }
        assert!(link.edge.heap_bytes() > 0);
        link.edge.set_waiting(false);
        let mut say = |id: Option<&str>| {
            let body = Body::HeartbeatAnswer(HeartbeatAnswer { server_id: me(), presence: None });
            link.edge.render(&Message { id: id.and_then(RequestId::new), body }, &mut link.out);
            link.said()
        };
        // The one with a mark overtakes.
        assert_eq!(
            say(Some("7")),
            "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"ID\":\"7\"}\n"
        );
        assert_eq!(say(None), ALIVE);
        assert_eq!(say(None), "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\"}\n");
        assert_eq!(say(None), "{\"server_uuid\":\"ME\",\"task\":\"heartbeat\",\"response\":\"alive\"}\n");
        assert_eq!(say(None), ALIVE);
        assert_eq!(link.edge.heap_bytes(), 0);
        for _ in 0..2 * MAX_WAITING_FORMS {
            link.edge.set_waiting(true);
            let mut input = &b"{\"TASK\":\"HEARTBEAT\",\"x\":1}\n"[..];
            assert!(link.edge.poll(&prepared, &mut input, link.now, &mut link.out).is_some());
        }
        assert!(link.edge.heap_bytes() <= 2 * MAX_LINE_BYTES, "{}", link.edge.heap_bytes());
    }

    #[test]
    fn answers_are_at_most_eighty_times_the_input() {
        for line in ["x\n", "5\n", "{}\n", "\u{1}\n", "[\n", BARE, "{\"TASK\":\"\"}\n"] {
            let mut link = Link::inbound();
            link.feed(line.repeat(100));
            assert!(link.out.len() <= 80 * 100 * line.len(), "{line:?}: {}", link.out.len());
        }
    }

    #[test]
    fn dialects_have_names() {
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::parse(dialect.as_str()), Some(dialect));
        }
        assert_eq!(Dialect::parse("Native"), None);
    }

    /// Pieces that streams are made of: lines, parts of lines, blanks, other protocols, noise.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let texts = [
            BARE,
            "{\"TASK\": \"HEARTBEAT\"}\r\n",
            "{\"TASK\":\"HEARTBEAT\"}",
            "{\"TASK\":\"LOAD\",\"ID\":\"é\"}\n",
            "{\"TASK\":\"HEARTBEAT\",\"SERVER_UUID\":\"U\"}\n",
            "{\"TASK\":\"NODES\",\"NAME\":5}\n",
            "{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"SERVER_ID\":\"S\"}\n",
            "{\"type\":\"x\"}\n",
            "{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\"}\n",
            "{\"worker\":\"alive\",\"worker_uuid\":\"W\"}",
            "{\"STATUS\":\"OK\",\"TASK\":\"QUERY\",\"SALDO\":1}\n",
            "{\"TASK\":\"KEEPALIVE\"}\n",
            "{\"TASK\":\"SUBMIT\",\"SERVICE\":\"a\",\"PARAMS\":{\"b\":[1]}}\n",
            "GET ",
            "PO",
            "\n",
            "\r\n",
            " ",
            "{",
            "}",
            "\"",
            "\\",
        ];
        prop_oneof![
            8 => proptest::sample::select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..20),
            1 => (MAX_LINE_BYTES - 2..MAX_LINE_BYTES + 3).prop_map(|length| vec![b'y'; length]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn cuts_make_no_difference(
            who in 0..3,
            pieces in proptest::collection::vec(piece(), 0..12),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let link = || match who {
                0 => Link::inbound(),
                1 => Link::new(Edge::outbound(None)),
                _ => worker(),
            };
            let stream = pieces.concat();
            let mut whole = link();
            whole.feed(&stream).finish();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut cut = link();
            for pair in cuts.windows(2) {
                cut.feed(&stream[pair[0]..pair[1]]);
            }
            cut.finish();
            prop_assert_eq!(&whole.decoded, &cut.decoded);
            prop_assert_eq!(String::from_utf8_lossy(&whole.out), String::from_utf8_lossy(&cut.out));
            prop_assert_eq!(whole.edge.take_heartbeats(), cut.edge.take_heartbeats());
            prop_assert_eq!(whole.edge.take_ignored(), cut.edge.take_ignored());
            prop_assert_eq!(whole.edge.spoken(), cut.edge.spoken());
        }
    }
}
