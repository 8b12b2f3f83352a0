//! CALL: done now, by a healthy instance, once; or elsewhere where that is safe.
//!
//! ```text
//!   asker ── CALL ──> Calls ── try ──> here, a worker, a peer
//!                       │  <── ended ─── result: the asker has it
//!                       │  <── ended ─── error: the asker has it; where the method may be done twice, the next is tried
//!                       │  <── lost ──── the same
//!                       └ its time is over: the asker is told what it waited for
//! ```
//!
//! Who offers what is known by others (the executor, the farm, the registry): the node lists the candidates and
//! passes them in. This machine remembers what is under way, and who failed of late.

mod breaker;

use std::collections::{BTreeMap, BTreeSet};

use super::farm::WorkerKey;
use super::links::Reply;
use super::{LinkId, Outcome, RunId};
use crate::time::{Seconds, Time};
use crate::wire::{Call, ErrorAnswer, ErrorCode, JobId, Json, ServerId};

use breaker::Breakers;

/// Calls under way at most. Each holds its parameters.
const MAX_CALLS: usize = 65_536;

/// Instances that one call tries at most.
const MAX_TRIES: usize = 4;

/// One call that is under way. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CallKey(u64);

impl CallKey {
    /// The run of this call on this node itself. Odd; those of a worker's jobs are even.
    pub(super) fn run(self) -> RunId {
        RunId(self.0 * 2 + 1)
    }

    /// The call of a run, if it is one.
    pub(super) fn of_run(run: RunId) -> Option<CallKey> {
        (run.0 % 2 == 1).then_some(CallKey(run.0 / 2))
    }

    /// What it is called towards workers: `call-<n>`.
    pub(super) fn job_id(self) -> JobId {
        JobId::new(format!("call-{}", self.0)).expect("short and without blanks")
    }

    /// The call of such a name.
    pub(super) fn of_job(id: &JobId) -> Option<CallKey> {
        id.as_str().strip_prefix("call-")?.parse().ok().map(CallKey)
    }

    /// The `ID` with which a peer is asked: `c<n>`. Heartbeats have numbers alone.
    pub(super) fn id(self) -> String {
        format!("c{}", self.0)
    }

    /// The call of such an `ID`.
    pub(super) fn of_id(id: &str) -> Option<CallKey> {
        id.strip_prefix('c')?.parse().ok().map(CallKey)
    }
}

/// Somebody who could do a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    /// Who.
    pub(super) server_id: ServerId,
    /// How it is reached.
    pub(super) at: Place,
    /// Whether it says that the method may be done twice.
    pub(super) idempotent: bool,
}

/// How somebody who does a call is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// This node itself.
    Here,
    /// A worker of this node.
    Worker(WorkerKey),
    /// A native peer, on the registry's link to it.
    Peer(LinkId),
}

/// What the node does for a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Ask this one. The node tells [`Calls::ended`] or [`Calls::lost`], or [`Calls::refused`] if it cannot.
    Try { call: CallKey, at: Place, request: Call },
    /// Nobody waits for this any more.
    Stop { call: CallKey, at: Place },
    /// Answer with a result.
    Done { reply: Reply, result: Json, served_by: ServerId },
    /// Answer with an error.
    Failed { reply: Reply, error: ErrorAnswer },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    reply: Reply,
    request: Call,
    begun: Time,
    deadline: Time,
    /// Who has it now.
    at: Candidate,
    /// Those that come after it, best first.
    next: Vec<Candidate>,
    tries: usize,
}

/// The calls that are under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Calls {
    pending: BTreeMap<CallKey, Pending>,
    agenda: BTreeSet<(Time, CallKey)>,
    /// On which links the askers and the asked are: one that goes finds its calls without a look at all others.
    on_links: BTreeSet<(LinkId, CallKey)>,
    breakers: Breakers,
    next: u64,
    effects: Vec<Effect>,
}

impl Calls {
    /// Takes a call. `candidates` are those that offer it, best first. `missing` says what is wrong where there are none.
    pub(super) fn begin(
        &mut self,
        reply: Reply,
        request: Call,
        candidates: Vec<Candidate>,
        missing: impl FnOnce() -> String,
        now: Time,
    ) {
        let refused = if self.pending.len() >= MAX_CALLS {
            let detail = format!("{MAX_CALLS} calls are under way; try again later");
            Some(ErrorAnswer::new("CALL", ErrorCode::Busy, detail))
        } else if candidates.is_empty() {
            Some(ErrorAnswer::new("CALL", ErrorCode::NoService, missing()))
        } else {
            None
        };
        if let Some(error) = refused {
            return self.effects.push(Effect::Failed { reply, error });
        }
        // Those that failed of late come last: when all did, they are still better than nobody.
        let (mut order, ill): (Vec<Candidate>, Vec<Candidate>) =
            candidates.into_iter().partition(|who| self.breakers.is_closed(&who.server_id, now));
        order.extend(ill);
        order.truncate(MAX_TRIES);
        let at = order.remove(0);
        let call = CallKey(self.next);
        self.next += 1;
        let deadline = now + request.timeout;
        self.effects.push(Effect::Try { call, at: at.at.clone(), request: request.clone() });
        self.agenda.insert((deadline, call));
        self.on_links.insert((reply.link, call));
        if let Place::Peer(link) = at.at {
            self.on_links.insert((link, call));
        }
        self.pending.insert(call, Pending { reply, request, begun: now, deadline, at, next: order, tries: 1 });
    }

    /// Somebody answered: with a result, or that it cannot be done. `by` is who did it, where that is another than the
    /// one that was asked.
    pub(super) fn ended(&mut self, call: CallKey, by: Option<ServerId>, outcome: Outcome, now: Time) {
        let Some(pending) = self.pending.get(&call) else { return };
        match outcome {
            Outcome::Ok(result) => {
                self.breakers.well(&pending.at.server_id);
                let Some(pending) = self.finish(call) else { return };
                let served_by = by.unwrap_or(pending.at.server_id);
                self.effects.push(Effect::Done { reply: pending.reply, result, served_by });
            }
            Outcome::Failed { detail, retry, .. } => {
                if retry {
                    self.breakers.ill(&pending.at.server_id, now);
                }
                if retry && pending.at.idempotent && self.try_next(call, now) {
                    return;
                }
                let Some(pending) = self.finish(call) else { return };
                let mut error = ErrorAnswer::new("CALL", ErrorCode::Failed, detail);
                error.retry = retry && pending.at.idempotent;
                self.effects.push(Effect::Failed { reply: pending.reply, error });
            }
        }
    }

    /// Who had it said that it did not do it (it has no room, stops, does not offer it any more): safe to try elsewhere.
    pub(super) fn refused(&mut self, call: CallKey, error: ErrorAnswer, now: Time) {
        let Some(pending) = self.pending.get(&call) else { return };
        self.breakers.ill(&pending.at.server_id, now);
        if self.try_next(call, now) {
            return;
        }
        let Some(pending) = self.finish(call) else { return };
        self.effects
            .push(Effect::Failed { reply: pending.reply, error: ErrorAnswer { task: "CALL".to_owned(), ..error } });
    }

    /// Who had it is gone; it may have been done.
    pub(super) fn lost(&mut self, call: CallKey, reason: &str, now: Time) {
        let Some(pending) = self.pending.get(&call) else { return };
        self.breakers.ill(&pending.at.server_id, now);
        if pending.at.idempotent && self.try_next(call, now) {
            return;
        }
        let Some(pending) = self.finish(call) else { return };
        let detail = format!("{} was lost while it served the call: {reason}", pending.at.server_id.short());
        let mut error = ErrorAnswer::new("CALL", ErrorCode::Lost, detail);
        error.retry = pending.at.idempotent;
        self.effects.push(Effect::Failed { reply: pending.reply, error });
    }

    /// A link is gone: who was asked on it is lost, and who asked on it waits no more. `asked`: somebody on that link
    /// waits for an answer.
    pub(super) fn link_gone(&mut self, link: LinkId, asked: bool, reason: &str, now: Time) {
        if !asked && !link.is_outbound() {
            return;
        }
        let range = (link, CallKey(0))..=(link, CallKey(u64::MAX));
        let keys: Vec<CallKey> = self.on_links.range(range).map(|(_, key)| *key).collect();
        for key in keys {
            if self.pending.get(&key).is_some_and(|pending| pending.reply.link == link) {
                self.give_up(key);
            } else {
                self.lost(key, reason, now);
            }
        }
    }

    /// Ends the calls whose time is over.
    pub(super) fn tick(&mut self, now: Time) {
        while let Some((due, call)) = self.agenda.first().copied() {
            if due > now {
                break;
            }
            let Some(pending) = self.pending.get(&call) else { break };
            self.breakers.ill(&pending.at.server_id, now);
            let waited = Seconds(now.since(pending.begun));
            let detail = format!("no answer from {} within {waited} s", pending.at.server_id.short());
            let reply = pending.reply.clone();
            self.give_up(call);
            let error = ErrorAnswer::new("CALL", ErrorCode::TimedOut, detail);
            self.effects.push(Effect::Failed { reply, error });
        }
    }

    /// When [`Calls::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.agenda.first().map(|(due, _)| *due)
    }

    /// What is to be done, in order.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Panics if the table contradicts itself.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.agenda.len(), self.pending.len(), "each call has its deadline once");
        assert!(self.on_links.len() <= 2 * self.pending.len(), "what is over stands on no link");
        for (call, pending) in self.pending.iter().take(64) {
            assert!(self.agenda.contains(&(pending.deadline, *call)));
            assert!(pending.tries <= MAX_TRIES);
            assert!(self.on_links.contains(&(pending.reply.link, *call)));
        }
    }

    fn try_next(&mut self, call: CallKey, now: Time) -> bool {
        let Some(pending) = self.pending.get_mut(&call) else { return false };
        if pending.next.is_empty() || pending.deadline <= now {
            return false;
        }
        if let Place::Peer(link) = pending.at.at
            && link != pending.reply.link
        {
            self.on_links.remove(&(link, call));
        }
        pending.at = pending.next.remove(0);
        if let Place::Peer(link) = pending.at.at {
            self.on_links.insert((link, call));
        }
        pending.tries += 1;
        let mut request = pending.request.clone();
        request.timeout = pending.deadline.since(now);
        self.effects.push(Effect::Try { call, at: pending.at.at.clone(), request });
        true
    }

    fn give_up(&mut self, call: CallKey) {
        if let Some(pending) = self.finish(call) {
            self.effects.push(Effect::Stop { call, at: pending.at.at });
        }
    }

    fn finish(&mut self, call: CallKey) -> Option<Pending> {
        let pending = self.pending.remove(&call)?;
        self.agenda.remove(&(pending.deadline, call));
        self.on_links.remove(&(pending.reply.link, call));
        if let Place::Peer(link) = pending.at.at {
            self.on_links.remove(&(link, call));
        }
        Some(pending)
    }
}

#[cfg(test)]
mod tests;
