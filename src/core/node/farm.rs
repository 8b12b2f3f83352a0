//! The farm: what workers say, and what the farm wants done.

use super::Node;
use crate::core::calls::CallKey;
use crate::core::farm::Effect;
use crate::core::links::Reply;
use crate::core::{LinkId, Output};
use crate::time::Time;
use crate::wire::{Body, ErrorAnswer, ErrorCode, EventKind, Message, ServerId, WorkersAnswer};

impl Node {
    /// A line of the worker cycle, on a link that is not this node's own session with a master.
    pub(super) fn worker_says(&mut self, reply: Reply, body: Body, now: Time) {
        if self.worker.is_some() {
            // Two workers that take each other for a master would ask for ever: nothing is said.
            return self.unanswered(&reply);
        }
        let Some(host) = self.links.touch(reply.link).map(|link| link.remote.ip()) else {
            return self.unanswered(&reply);
        };
        match body {
            Body::WorkerAlive(mut alive) => {
                alive.listens = self.believed(alive.listens.take(), host);
                if self.is_impostor(host, &alive) {
                    return self.reply(&reply, Body::NoTask);
                }
                let terms = self.worker_shows(reply.link, &mut alive, now);
                self.farm.alive_with(reply, host, *alive, terms, now);
            }
            Body::Register(registration) => self.registers(reply, host, *registration, now),
            Body::TaskRequest { worker } => self.worker_requests(reply, host, worker, now),
            Body::WorkerStatus(status) => self.farm.status(reply, *status, now),
            Body::ElectionAck { worker, selected } => {
                let text = format!("worker {worker} has elected `{selected}`, and asks this master");
                self.log_often(crate::core::LogLevel::Info, "ELECTION_ACK of workers", text, now);
                let master = self.identity.name.clone();
                self.reply(&reply, Body::ElectionAccepted { master });
            }
            _ => self.unanswered(&reply),
        }
    }

    /// What a worker says without waiting for an answer.
    pub(super) fn told_by_worker(&mut self, link: LinkId, body: Body, now: Time) {
        match body {
            Body::JobOutput(output) => self.farm.printed(link, *output, now),
            Body::Pong { worker } => self.farm.pong(link, worker, now),
            _ => {}
        }
    }

    pub(super) fn workers(&mut self, reply: &Reply, after: Option<&ServerId>, now: Time) {
        if let Some(error) = self.not_a_master("WORKERS") {
            return self.reply_error(reply, error);
        }
        let (workers, more) = self.farm.view(after, now);
        let answer = WorkersAnswer { server_id: self.identity.server_id.clone(), workers, more };
        self.reply(reply, Body::WorkersAnswer(Box::new(answer)));
    }

    /// Carries out what the farm wants done. Returns whether there was anything.
    pub(super) fn carry_out_farm(&mut self, now: Time) -> bool {
        let mut any = false;
        while let Some(effect) = self.farm.poll_effect() {
            any = true;
            match effect {
                Effect::Answer { reply, body } => {
                    let message = self.marked(Message { id: reply.id.clone(), body });
                    self.reply(&Reply { id: message.id, ..reply }, message.body);
                }
                Effect::Unanswered { reply } => self.unanswered(&reply),
                Effect::Send { link, message } => {
                    let message = self.marked(message);
                    self.send(link, message);
                }
                Effect::WentAway { worker } => {
                    if let Some(desk) = &mut self.desk {
                        desk.loans.left(&worker, now);
                    }
                }
                Effect::Call { worker, address, order } => self.call_worker(worker, address, order, now),
                Effect::HangUp { worker } => self.hang_up_worker(worker),
                Effect::Close { link } => {
                    self.forget_link(link, "replaced by a newer one", now);
                    self.outputs.push_back(Output::Close { link });
                }
                Effect::Ended { attempt, worker, outcome } => self.attempt_ended(attempt, &worker, outcome, now),
                Effect::Lost { attempt, reason, taken, .. } => {
                    match taken {
                        true => self.queue.taken_away(&attempt, &reason, now),
                        false => self.queue.lost(&attempt, &reason, now),
                    }
                    self.give_out = true;
                }
                Effect::Claim { worker, attempt } => {
                    let id = self.farm.id_of(worker).cloned();
                    let kept = id.is_some_and(|id| self.queue.claim(&attempt, &id, now));
                    self.farm.claimed(worker, &attempt, kept);
                }
                Effect::Welcomed { worker } => self.give_out |= self.queue.returned(&worker, now),
                Effect::CallEnded { call, worker, outcome } => {
                    if let Some(call) = CallKey::of_job(&call) {
                        self.calls.ended(call, Some(worker), outcome, now);
                    }
                }
                Effect::CallLost { call, reason, .. } => {
                    if let Some(call) = CallKey::of_job(&call) {
                        self.calls.lost(call, &reason, now);
                    }
                }
                Effect::Printed(output) => self.printed(&output),
                Effect::Event { kind, worker, detail } => {
                    if matches!(kind, EventKind::WorkerLeft | EventKind::WorkerLost) {
                        self.worker_gone(&worker, now);
                    }
                    if kind == EventKind::WorkerQuarantined {
                        self.decisions.note(worker.as_str().to_owned(), format!("quarantined: {detail}"), now);
                    }
                    // One that comes without JOBS claims nothing. A native one is welcomed in a moment.
                    if kind == EventKind::WorkerJoined && !self.farm.is_native(&worker) {
                        self.give_out |= self.queue.returned(&worker, now);
                    }
                    self.event(kind, Some(worker), None, detail);
                }
                Effect::Log { level, text } => self.log(level, text),
                Effect::Often { level, of, text } => self.log_often(level, of, text, now),
            }
        }
        any
    }

    /// The error for a line of the worker cycle that makes no sense here.
    pub(super) fn no_call_here(&self) -> ErrorAnswer {
        ErrorAnswer::new("CALL", ErrorCode::NoService, "that worker is gone")
    }
}
