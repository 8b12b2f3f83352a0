//! Answers and events: what the node says, in its turn.

use super::Node;
use crate::core::links::{Reply, Told};
use crate::core::{LinkId, LogLevel, Output};
use crate::wire::{Address, Body, ErrorAnswer, ErrorCode, EventKind, Message, RequestId, ServerId};

impl Node {
    /// Answers a request that nobody has taken a [`Reply`] for, at once and in its turn.
    pub(super) fn answer(&mut self, link: LinkId, id: Option<RequestId>, body: Body) {
        let reply = self.links.take(link, id);
        self.reply(&reply, body);
    }

    /// Answers.
    pub(super) fn reply(&mut self, reply: &Reply, body: Body) {
        let message = Message { id: reply.id.clone(), body };
        let (link, outputs) = (reply.link, &mut self.outputs);
        if link.is_outbound() && self.links.get(link).is_none() {
            return outputs.push_back(Output::Send { link, message });
        }
        self.links.answer(reply, Some(message), |message| outputs.push_back(Output::Send { link, message }));
    }

    /// Answers with an error.
    pub(super) fn reply_error(&mut self, reply: &Reply, error: ErrorAnswer) {
        self.reply(reply, Body::Error(Box::new(error)));
    }

    /// Gives a reply back: nothing is said.
    pub(super) fn unanswered(&mut self, reply: &Reply) {
        let (link, outputs) = (reply.link, &mut self.outputs);
        self.links.answer(reply, None, |message| outputs.push_back(Output::Send { link, message }));
    }

    /// Takes a reply out of the order of its link: what comes later is a stream.
    pub(super) fn detach(&mut self, reply: &mut Reply) {
        let (link, outputs) = (reply.link, &mut self.outputs);
        self.links.detach(reply, |message| outputs.push_back(Output::Send { link, message }));
    }

    /// Says something that is no answer.
    pub(super) fn send(&mut self, link: LinkId, message: Message) {
        self.outputs.push_back(Output::Send { link, message });
    }

    /// Tells the shell of links whose answers are waited for.
    pub(super) fn tell_waits(&mut self) {
        while let Some((link, Told { waits, full })) = self.links.poll_news() {
            self.outputs.push_back(Output::Waits { link, waits, full });
        }
    }

    /// The answer to whoever asks a node that stops.
    pub(super) fn stopping(task: &str) -> ErrorAnswer {
        ErrorAnswer::new(task, ErrorCode::Stopping, "this node stops; ask another")
    }

    pub(super) fn event(
        &mut self,
        kind: EventKind,
        server_id: Option<ServerId>,
        address: Option<Address>,
        detail: String,
    ) {
        let event = self.events.number(kind, server_id, address, detail);
        for link in self.events.streams() {
            let body = Body::Event(Box::new(event.clone()));
            self.outputs.push_back(Output::Send { link, message: Message::plain(body) });
        }
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn log(&mut self, level: LogLevel, text: String) {
        self.outputs.push_back(Output::Log { level, text });
    }
}
