//! The machine of one link.

use std::collections::VecDeque;

use crate::time::Time;
use crate::wire::decode::{Shape, Undecoded, read_from, refusal, why_ignored, wrong_answer};
use crate::wire::encode::encode;
use crate::wire::line::{Framed, Lines, is_blank};
use crate::wire::{
    Body, ErrorAnswer, ErrorCode, HEAD_DEADLINE, Heartbeat, HeartbeatAnswer, LINE_DEADLINE, MAX_LINE_BYTES, MAX_QUOTE,
    MAX_WAITING_FORMS, Message, RequestId, ServerId, quote,
};

use super::cycle::{self, Form, Meaning};
use super::loans::{self, Held, Known, LoanForm};
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
    /// Who opened the connection, and as what this node speaks on it.
    side: Side,
    /// The form of the heartbeat that was received last: its answer has the same.
    asked: Shape,
    /// What this node was told to speak here.
    ours: Option<Dialect>,
    /// What the other side has shown to speak.
    spoken: Option<Dialect>,
    /// The form of the worker cycle here, once it is known.
    form: Option<Form>,
    /// The form in which loans are spoken of here, once it is known.
    loan_form: Option<LoanForm>,
    /// Whether answers of this link are waited for.
    waiting: bool,
    /// The worker that reported here last: most say their id in each report.
    worker: Option<Box<ServerId>>,
    /// The forms of the heartbeats that are not answered yet, while answers are waited for.
    unanswered: Option<Box<Unanswered>>,
    /// The registration that waits for the ALIVE behind it.
    held: Option<Box<Held>>,
}

/// Heartbeats in their order, each with its mark and its form.
type Unanswered = VecDeque<(Option<RequestId>, Shape)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The peer opened it.
    Accepted,
    /// This node opened it.
    Opened,
    /// This node opened it, and has spoken there as a worker.
    Works,
}

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
        Edge::new(Phase::Opening, Side::Accepted, None)
    }

    /// The edge of a connection that this node opened: it speaks lines, and its heartbeats have the form of
    /// `dialect`; `None` is not known yet: the first heartbeat has SERVER_UUID and the native extras together,
    /// which every generation understands, and the next ones the form that the answer has shown.
    pub fn outbound(dialect: Option<Dialect>) -> Edge {
        Edge::new(Phase::Lines, Side::Opened, dialect)
    }

    fn new(phase: Phase, side: Side, ours: Option<Dialect>) -> Edge {
        let lines = Lines::new();
        Edge {
            lines,
            heartbeats: 0,
            ignored: 0,
            phase,
            side,
            asked: Shape::Native,
            ours,
            spoken: None,
            form: cycle::of_dialect(ours),
            loan_form: None,
            waiting: false,
            worker: None,
            unanswered: None,
            held: None,
        }
    }

    /// Takes bytes from the front of `input` until a message is complete or `input` is empty. Call it again until
    /// it returns `None`. Answers that need no core are appended to `out`: at most 80 times the bytes of
    /// `input`, the worst being an error for each line of one byte. Who bounds `out` feeds `input` in small parts.
    pub fn poll(&mut self, prepared: &Prepared, input: &mut &[u8], now: Time, out: &mut Vec<u8>) -> Option<Decoded> {
        loop {
            if let Some(next) = loans::after(&mut self.held) {
                return Some(next);
            }
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
            if self.lines.is_idle() && !self.is_waiting() {
                let count = seed::take_bare(input);
                self.answer_bare(prepared, count, out);
            }
            let decoded = match self.lines.next(input, now)? {
                Framed::Line(line) => self.take(prepared, &line, out),
                Framed::TooLong => Some(self.refuse_length(out)),
                Framed::TooSlow => Some(self.refuse_slowness(out)),
            };
            if let Some(decoded) = self.hand_on(decoded, now) {
                return Some(decoded);
            }
        }
    }

    /// What of that is to be handed on now: a registration waits for what follows it.
    #[inline]
    fn hand_on(&mut self, decoded: Option<Decoded>, now: Time) -> Option<Decoded> {
        let decoded = decoded?;
        if self.held.is_none() && !Held::is_due(&decoded) {
            return Some(decoded);
        }
        loans::look_ahead(&mut self.held, decoded, now)
    }

    /// The peer will send no more: what is left counts as a line. Call it until it returns `None`.
    pub fn finish(&mut self, prepared: &Prepared, now: Time, out: &mut Vec<u8>) -> Option<Decoded> {
        if let Some(next) = loans::after(&mut self.held) {
            return Some(next);
        }
        if let Some(rest) = self.lines.finish() {
            let decoded = self.take(prepared, &rest, out);
            if let Some(decoded) = self.hand_on(decoded, now) {
                return Some(decoded);
            }
        }
        loans::give_up(&mut self.held)
    }

    /// The time at which [`Edge::expire`] must be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Opening => (!self.lines.is_idle()).then(|| self.lines.begun() + HEAD_DEADLINE),
            Phase::Lines => {
                let held = self.held.as_ref().map(|held| held.until());
                self.lines.deadline().into_iter().chain(held).min()
            }
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
        if let Some(next) = loans::after(&mut self.held) {
            return Some(next);
        }
        let decoded = match self.lines.expire(now) {
            Some(Framed::Line(line)) => self.take(prepared, &line, out),
            Some(Framed::TooLong) => Some(self.refuse_length(out)),
            Some(Framed::TooSlow) => Some(self.refuse_slowness(out)),
            None => None,
        };
        if let Some(decoded) = self.hand_on(decoded, now) {
            return Some(decoded);
        }
        match &self.held {
            Some(held) if now >= held.until() => loans::give_up(&mut self.held),
            _ => None,
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
                if self.side == Side::Opened && cycle::is_of_worker(body) {
                    self.side = Side::Works;
                }
                let known = Known { shown: self.loan_form, told: self.ours, cycle: self.form };
                match loans::render(message, known, out) {
                    // What this node says first decides until it is answered.
                    Some(form) => self.loan_form = self.loan_form.or(Some(form)),
                    None => cycle::render(message, self.form, out),
                }
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
    /// and never more than twice the longest line, with some for each heartbeat that waits, and for a registration that does.
    pub fn heap_bytes(&self) -> usize {
        let unanswered =
            self.unanswered.as_ref().map_or(0, |queue| queue.capacity() * size_of::<(Option<RequestId>, Shape)>());
        let held = self.held.as_ref().map_or(0, |_| size_of::<Held>());
        self.lines.heap_bytes() + unanswered + held
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
        if seed::is_bare(line) && !self.is_waiting() {
            self.answer_bare(prepared, 1, out);
            return None;
        }
        let refused = match read_from(line, self.worker.as_deref()) {
            Ok((message, shape)) => match self.meaning(&message.body) {
                Meaning::Message => {
                    self.note(&message, shape);
                    return Some(Decoded::Message(message));
                }
                Meaning::Stray => None,
                Meaning::Order(task) => Some(Box::new(refuse_order(task, message.id))),
            },
            Err(Undecoded::Refused(answer)) => Some(answer),
            Err(Undecoded::Ignored) if !self.is_outbound() => {
                self.ignored += 1;
                let refusal = refusal(line).map(|(message, shape)| {
                    self.note(&message, shape);
                    Box::new(message)
                });
                return Some(Decoded::Ignored { why: why_ignored(line), line: quoted(line), refusal });
            }
            Err(Undecoded::Ignored) => None,
        };
        match refused {
            // On a link that this node opened it is the asker: what is wrong there is an answer that went wrong,
            // and an error in return could have a foreign peer answer that in turn, for ever. A native one never does.
            Some(_) if self.is_outbound() && self.spoken != Some(Dialect::Native) => Some(self.stray(line)),
            None if self.is_outbound() => Some(self.stray(line)),
            Some(answer) if self.is_waiting() => Some(Decoded::Refused(answer)),
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

    fn is_outbound(&self) -> bool {
        self.side != Side::Accepted
    }

    /// Whether answers of this link are waited for, or will be once a registration was handed on.
    fn is_waiting(&self) -> bool {
        self.waiting || self.held.is_some()
    }

    fn meaning(&self, body: &Body) -> Meaning {
        // What was said of loans here may be acknowledged as a STATUS is.
        let said = matches!(body, Body::StatusAck(_)) && self.is_outbound() && self.loan_form.is_some();
        if said { Meaning::Message } else { cycle::meaning(body, self.is_outbound(), self.side == Side::Works) }
    }

    fn stray(&mut self, line: &[u8]) -> Decoded {
        self.ignored += 1;
        Decoded::Stray { line: quoted(line), wrong: wrong_answer(line) }
    }

    /// Remembers how the other side showed who it is.
    fn note(&mut self, message: &Message, shape: Shape) {
        match &message.body {
            Body::Heartbeat(_) => self.note_asked(message.id.as_ref(), shape),
            Body::HeartbeatAnswer(_) => {}
            body => {
                self.form = cycle::shown(self.form, body, shape);
                self.loan_form = LoanForm::of(shape).or(self.loan_form);
                // Its heartbeats are those of 2026/1; this tells them apart.
                if matches!(shape, Shape::Older | Shape::Draft | Shape::LowerOlder | Shape::LowerDraft)
                    && self.spoken != Some(Dialect::Native)
                {
                    self.spoken = Some(Dialect::Gen2025_2);
                }
                if let Body::WorkerStatus(status) = body
                    && status.attempt.is_some()
                    && status.worker.as_ref() != self.worker.as_deref()
                {
                    self.worker = status.worker.clone().map(Box::new);
                }
                return;
            }
        }
        let older = [self.spoken, self.ours].contains(&Some(Dialect::Gen2025_2));
        self.spoken = match shape {
            Shape::Native => Some(Dialect::Native),
            Shape::Uuid if older => Some(Dialect::Gen2025_2),
            Shape::Uuid => Some(Dialect::Gen2026_1),
            Shape::Id => Some(Dialect::Seed),
            _ => self.spoken,
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
            // No heartbeat has these.
            Shape::Envelope | Shape::UpperEnvelope => encode(message, out),
            Shape::Older | Shape::Draft | Shape::LowerOlder | Shape::LowerDraft => encode(message, out),
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
        self.held = None;
        Decoded::Close(reason)
    }
}

/// The begin of a line, for people.
fn quoted(line: &[u8]) -> String {
    quote(&String::from_utf8_lossy(line), MAX_QUOTE)
}

/// The answer to an order of a master from somebody who is not this node's.
fn refuse_order(task: &str, id: Option<RequestId>) -> Message {
    let detail = format!("`{task}` is what a master says to its worker, on the link that the worker opened");
    Message { id, body: Body::Error(Box::new(ErrorAnswer::new(task, ErrorCode::NotNative, detail))) }
}

#[cfg(test)]
mod tests;
