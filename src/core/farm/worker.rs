//! One worker: what is known of it, and what follows from that.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::attempts::Attempts;
use super::bonds::Ordered;
use super::index::{Rank, Standing, Variant};
use super::quarantine::Conduct;
use super::{FORGET_AFTER, MAX_CALLS, PAUSE_BEFORE_PUSH, WAITS_FOR_PUSH, WorkerKey};
use crate::core::LinkId;
use crate::core::links::Reply;
use crate::core::patience::lost_after;
use crate::time::{Seconds, Time};
use crate::wire::{
    Address, Attempt, JobId, JobOrder, ServerId, ServiceOffer, Terms, WorkerMove, WorkerState, WorkerView, quote,
};

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub(super) key: WorkerKey,
    pub(super) id: ServerId,
    pub(super) name: String,
    /// The owner of a borrowed worker, as it names it.
    pub(super) owner: Option<String>,
    /// From where it spoke last.
    pub(super) host: IpAddr,
    /// The link on which it is reached. One worker a link, one link a worker.
    pub(super) link: Option<LinkId>,
    /// Each name once.
    pub(super) services: Vec<ServiceOffer>,
    /// The same, as the index knows it.
    pub(super) variants: Vec<Variant>,
    /// Its last word.
    pub(super) seen: Time,
    pub(super) done: u64,
    pub(super) failed: u64,
    /// The number of the assignment that it was given last.
    pub(super) given: u64,
    pub(super) running: Attempts<Running>,
    pub(super) conduct: Conduct,
    pub(super) kind: Kind,
    /// Where the farm's tables have it.
    /// It is spoken for: it gets nothing new.
    pub(super) reserved: bool,
    /// An order that it may not have seen, or by which it is about to go.
    pub(super) ordered: Option<Box<Ordered>>,
    pub(super) filed: Filed,
    /// That may be another place by now.
    pub(super) loose: bool,
}

/// An attempt that a worker has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Running {
    /// What it was told; unknown where it brought the attempt along.
    pub(super) order: Option<Arc<JobOrder>>,
    pub(super) begun: Time,
    /// Nobody waits for it any more, but the worker, a foreign one, cannot be told.
    pub(super) unwanted: bool,
}

/// What a worker speaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Native(Native),
    Foreign(Foreign),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Native {
    /// 0: it drains.
    pub(super) slots: u32,
    pub(super) calls: BTreeSet<JobId>,
    /// The number of the call that it was given last.
    pub(super) called: u64,
    /// The welcome that waits for the answers to its claims. No work until then.
    pub(super) welcome: Option<Welcome>,
    /// Whom it belongs to, where that was said.
    pub(super) terms: Option<Box<Terms>>,
}

/// The answer to a native ALIVE, while it is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Welcome {
    pub(super) reply: Reply,
    /// What it said that it has, where it came on a new link: what is missing was lost on the way.
    pub(super) resumed: Option<BTreeSet<Attempt>>,
    /// Claims that are not answered yet.
    pub(super) claims: BTreeSet<Attempt>,
    pub(super) drop: Vec<Attempt>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Foreign {
    pub(super) stage: Stage,
    /// It has said TASK REQUEST: its ALIVE wants ACK.
    pub(super) requests: bool,
    /// It has done what was pushed, and has not asked since: it waits to be pushed.
    pub(super) waits: bool,
    /// Where it listens for orders to go.
    pub(super) listens: Option<Address>,
    /// How the call there stands by which it is told to go.
    pub(super) call: Call,
}

/// A call to a foreign worker that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Call {
    /// It was not called.
    None,
    /// It is being called, and answers until then.
    UnderWay { until: Time },
    /// It did not answer: it is told when it asks for work, as others are.
    Failed,
}

impl Foreign {
    /// From when on it may be pushed, if it stays silent.
    pub(super) fn pushable(&self) -> Option<Time> {
        match self.stage {
            Stage::Quiet { since } if self.waits => Some(since + PAUSE_BEFORE_PUSH),
            Stage::Quiet { since } => Some(since + WAITS_FOR_PUSH),
            _ => None,
        }
    }
}

/// Whose turn it is between us and a foreign worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Ours: it has asked for work. Answered at the end of the input at the latest.
    Asking { reply: Reply, requested: bool },
    /// Nobody's: it was told something at this time, and asks again or waits to be pushed.
    Quiet { since: Time },
    /// Ours: it has reported, and is acknowledged when that is recorded.
    Reported,
    /// Its own: it has an attempt, the only one. `pushed`: unasked, on this link, and nothing came since.
    Working { pushed: Option<LinkId> },
}

/// Where the tables of the farm have a worker, so that it is found there again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Filed {
    pub(super) standing: Standing,
    pub(super) due: Option<Time>,
    pub(super) left_behind: Option<(IpAddr, Time)>,
}

impl Worker {
    /// The order that it may not have seen. Who takes nothing more has seen that it goes.
    pub(super) fn unseen_order(&self) -> Option<WorkerMove> {
        let drains = self.native().is_some_and(|native| native.slots == 0);
        let unseen = self.ordered.as_ref().filter(|ordered| !(ordered.goes && drains));
        unseen.map(|ordered| ordered.order.clone())
    }

    /// Whether it is about to go elsewhere.
    pub(super) fn goes(&self) -> bool {
        self.ordered.as_ref().is_some_and(|ordered| ordered.goes)
    }

    /// How people call it, such as `W-B1, borrowed from SERVER_2`.
    pub(super) fn called(&self) -> String {
        match &self.owner {
            Some(owner) => format!("{}, borrowed from {}", self.id, quote(owner, 64)),
            None => self.id.to_string(),
        }
    }

    pub(super) fn native(&self) -> Option<&Native> {
        match &self.kind {
            Kind::Native(native) => Some(native),
            Kind::Foreign(_) => None,
        }
    }

    pub(super) fn native_mut(&mut self) -> Option<&mut Native> {
        match &mut self.kind {
            Kind::Native(native) => Some(native),
            Kind::Foreign(_) => None,
        }
    }

    pub(super) fn foreign(&self) -> Option<&Foreign> {
        match &self.kind {
            Kind::Foreign(foreign) => Some(foreign),
            Kind::Native(_) => None,
        }
    }

    pub(super) fn foreign_mut(&mut self) -> Option<&mut Foreign> {
        match &mut self.kind {
            Kind::Foreign(foreign) => Some(foreign),
            Kind::Native(_) => None,
        }
    }

    /// Whether it has an attempt that somebody waits for.
    pub(super) fn is_awaited(&self) -> bool {
        self.running.values().any(|running| !running.unwanted)
    }

    /// Whether it would be given an attempt now.
    pub(super) fn has_room(&self, now: Time) -> bool {
        if self.reserved || self.goes() || self.conduct.quarantine().is_some() {
            return false;
        }
        match &self.kind {
            Kind::Native(native) => {
                self.link.is_some() && native.welcome.is_none() && self.running.len() < native.slots as usize
            }
            Kind::Foreign(foreign) => match foreign.stage {
                Stage::Asking { .. } => true,
                _ => self.link.is_some() && foreign.pushable().is_some_and(|from| from <= now),
            },
        }
    }

    pub(super) fn standing(&self, now: Time) -> Standing {
        let quarantined = self.conduct.quarantine().is_some();
        let rank = (u32::try_from(self.running.len()).unwrap_or(u32::MAX), self.given, self.key);
        let idle = self.has_room(now).then_some(rank);
        match &self.kind {
            Kind::Native(native) => {
                let linked = self.link.is_some();
                let calls = u32::try_from(native.calls.len()).unwrap_or(u32::MAX);
                let room = linked && !quarantined && native.slots > 0 && !self.goes() && native.calls.len() < MAX_CALLS;
                let callable: Option<Rank> = room.then_some((calls, native.called, self.key));
                let draining = linked && !quarantined && (native.slots == 0 || self.goes());
                let promised = linked && !quarantined && !draining && self.reserved;
                Standing { alive: linked, linked, quarantined, draining, promised, idle, callable }
            }
            Kind::Foreign(_) => {
                // An own one that is told to go when it asks is as good as promised until then; a guest is on its way home.
                let goes = !quarantined && (self.reserved || self.goes());
                let (promised, draining) = (goes && self.owner.is_none(), goes && self.owner.is_some());
                Standing { alive: true, linked: false, quarantined, draining, promised, idle, callable: None }
            }
        }
    }

    /// When the passing of time next changes something: it is lost or forgotten, waits to be pushed, or leaves quarantine.
    pub(super) fn due(&self, timeout: Duration, now: Time) -> Option<Time> {
        let own = match &self.kind {
            Kind::Native(_) => Some(self.seen + lost_after(timeout)),
            Kind::Foreign(Foreign { call: Call::UnderWay { until }, .. }) => Some(*until),
            Kind::Foreign(_) if self.is_left_behind() => Some(self.seen + timeout * FORGET_AFTER),
            Kind::Foreign(_) if self.link.is_none() => None,
            Kind::Foreign(foreign) => foreign.pushable().filter(|from| *from > now),
        };
        [own, self.conduct.quarantine().map(|quarantine| quarantine.until)].into_iter().flatten().min()
    }

    /// Whether it is a foreign worker without link and without a job that somebody waits for.
    pub(super) fn is_left_behind(&self) -> bool {
        self.link.is_none() && self.foreign().is_some() && !self.is_awaited()
    }

    pub(super) fn view(&self, timeout: Duration, now: Time) -> WorkerView {
        let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let (status, reason) = self.state(timeout, now);
        WorkerView {
            worker: self.id.clone(),
            name: self.name.clone(),
            status,
            native: self.native().is_some(),
            owner: self.owner.clone(),
            slots: self.native().map_or(1, |native| native.slots),
            running,
            done: self.done,
            failed: self.failed,
            services: self.services.iter().map(|offer| offer.name.clone()).collect(),
            last_seen: now.since(self.seen),
            reason,
        }
    }

    pub(super) fn state(&self, timeout: Duration, now: Time) -> (WorkerState, String) {
        let silent = Seconds(now.since(self.seen));
        if let (None, Some(_)) = (self.link, self.native()) {
            let rest = Seconds((self.seen + lost_after(timeout)).since(now));
            return (WorkerState::Away, format!("its link is gone; it may resume within {rest} s"));
        }
        if self.link.is_none() && self.running.is_empty() && now.since(self.seen) >= timeout {
            return (WorkerState::Away, format!("it has not asked for work for {silent} s"));
        }
        if let Some(quarantine) = self.conduct.quarantine() {
            let rest = Seconds(quarantine.until.since(now));
            return (WorkerState::Quarantined, format!("{}; {rest} s to go", quarantine.reason));
        }
        if self.goes() {
            let reason = "it is told to go to another master, and finishes what it runs".to_owned();
            return (WorkerState::Draining, reason);
        }
        if self.reserved {
            return (WorkerState::Draining, "it is promised to another master, and gets nothing new".to_owned());
        }
        match &self.kind {
            Kind::Native(native) if native.slots == 0 => {
                (WorkerState::Draining, "it takes no new work, and finishes what it runs".to_owned())
            }
            Kind::Native(native) if self.running.is_empty() => {
                (WorkerState::Idle, format!("{} of {} slots are free", native.slots, native.slots))
            }
            Kind::Native(native) => {
                (WorkerState::Busy, format!("{} of {} slots run", self.running.len(), native.slots))
            }
            Kind::Foreign(foreign) => match foreign.stage {
                Stage::Working { .. } if self.is_awaited() => {
                    (WorkerState::Busy, format!("it has one job; its last word was {silent} s ago"))
                }
                Stage::Working { .. } => {
                    (WorkerState::Busy, "it has a job that nobody waits for any more, and cannot be told".to_owned())
                }
                Stage::Reported => (WorkerState::Busy, "its result is being recorded".to_owned()),
                Stage::Asking { .. } => (WorkerState::Idle, "it asks for work".to_owned()),
                Stage::Quiet { .. } if self.link.is_none() => {
                    (WorkerState::Idle, "it asks again on a new connection".to_owned())
                }
                Stage::Quiet { .. } => (WorkerState::Idle, "it asks again, or waits to be pushed".to_owned()),
            },
        }
    }
}
