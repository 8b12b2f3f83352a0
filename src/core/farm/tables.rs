//! The tables of the farm: who is known, by id and by link, and where everybody stands in each of them.
//!
//! Whatever changes a worker ends with [`Farm::settle`], which works out where the worker belongs now and moves it there.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::attempts::Attempts;
use super::index::{Standing, by_name};
use super::machine::{Ack, Farm};
use super::quarantine::Conduct;
use super::worker::{Call, Filed, Kind, Stage, Worker};
use super::{Effect, MAX_LEFT_BEHIND, MAX_WORKERS, WorkerKey};
use crate::core::LinkId;
use crate::wire::{EventKind, ServerId, ServiceOffer, quote};

impl Farm {
    pub(super) fn key_of(&self, id: &ServerId) -> Option<WorkerKey> {
        self.by_id.get(id).copied()
    }

    pub(super) fn key_on(&self, link: LinkId) -> Option<WorkerKey> {
        self.by_link.get(&link).copied()
    }

    /// A worker has given a sign of life.
    pub(super) fn note_word(&mut self, key: WorkerKey) {
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.seen = self.now;
        }
        self.settle(key);
    }

    /// A new worker, without a link. `None`: the farm is full.
    pub(super) fn join(
        &mut self,
        id: ServerId,
        name: String,
        owner: Option<String>,
        host: IpAddr,
        kind: Kind,
    ) -> Option<WorkerKey> {
        if self.workers.len() >= MAX_WORKERS {
            // Names that nobody holds a connection for make room for somebody who is here.
            let crowd = self.left_behind.values().max_by_key(|crowd| crowd.len());
            let longest_silent = crowd.and_then(|crowd| crowd.first()).map(|(_, key)| *key);
            self.remove(longest_silent?, None, "the farm is full");
        }
        // Whoever has spoken has not gone, or is back.
        self.pushed.retain(|_, (pushed, _)| *pushed != id);
        let key = WorkerKey(self.next_key);
        self.next_key += 1;
        let worker = Worker {
            key,
            id: id.clone(),
            name,
            owner,
            host,
            link: None,
            services: Vec::new(),
            variants: Vec::new(),
            seen: self.now,
            done: 0,
            failed: 0,
            given: 0,
            running: Attempts::default(),
            conduct: Conduct::default(),
            kind,
            reserved: false,
            ordered: None,
            filed: Filed::default(),
            loose: false,
        };
        self.by_id.insert(id, key);
        self.workers.insert(key, worker);
        Some(key)
    }

    /// A worker offers this from now on.
    pub(super) fn offer(&mut self, key: WorkerKey, services: Vec<ServiceOffer>) {
        let services = by_name(services);
        let Some(worker) = self.workers.get_mut(&key).filter(|worker| worker.services != services) else { return };
        let entered = self.index.enter(&services);
        self.index.place(&worker.variants, &worker.filed.standing, &Standing::default());
        self.index.leave(&worker.variants);
        // Filed as nobody: settling it puts it where it belongs, and tells of its room.
        worker.filed.standing = Standing::default();
        worker.variants = entered;
        worker.services = services;
    }

    /// From now on this worker is reached on this link. Whoever was reached on it before is not any more.
    pub(super) fn relink(&mut self, key: WorkerKey, link: LinkId) {
        if self.by_link.get(&link) == Some(&key) {
            return;
        }
        if let Some(before) = self.by_link.get(&link).copied() {
            self.unlink(before, true);
            self.settle(before);
        }
        self.unlink(key, true);
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.link = Some(link);
            self.by_link.insert(link, key);
        }
    }

    /// This worker is not reached on its link any more. `stands`: the link itself is still there.
    pub(super) fn unlink(&mut self, key: WorkerKey, stands: bool) {
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let Some(link) = worker.link.take() else { return };
        self.by_link.remove(&link);
        match worker.kind {
            Kind::Native(_) => self.native_unlinked(key),
            Kind::Foreign(_) => self.foreign_unlinked(key, stands),
        }
    }

    /// Closes a link that nobody shall use any more.
    pub(super) fn close(&mut self, link: LinkId) {
        self.give_back(link);
        if let Some(key) = self.by_link.get(&link).copied() {
            self.unlink(key, false);
            self.settle(key);
        }
        self.effects.push_back(Effect::Close { link });
    }

    /// Gives back the replies of a link that is gone.
    pub(super) fn give_back(&mut self, link: LinkId) {
        if let Some((_, fresh)) = &mut self.fresh
            && let Some(ack) = fresh.take_if(|ack| ack.reply.link == link)
        {
            self.effects.push_back(Effect::Unanswered { reply: ack.reply });
        }
        for attempt in self.ack_links.remove(&link).unwrap_or_default() {
            // The attempt itself stays: it is not recorded yet.
            let Some(acks) = self.ended.get_mut(&attempt) else { continue };
            for ack in acks.extract_if(.., |ack| ack.reply.link == link) {
                self.effects.push_back(Effect::Unanswered { reply: ack.reply });
            }
        }
    }

    /// Forgets a worker. What it ran is lost.
    pub(super) fn remove(&mut self, key: WorkerKey, event: Option<EventKind>, reason: &str) {
        self.unlink(key, true);
        let Some(worker) = self.workers.remove(&key) else { return };
        self.by_id.remove(&worker.id);
        self.asking.remove(&key);
        self.guests.remove(&key);
        if worker.foreign().is_some_and(|foreign| matches!(foreign.call, Call::UnderWay { .. })) {
            self.effects.push_back(Effect::HangUp { worker: worker.id.clone() });
        }
        self.index.place(&worker.variants, &worker.filed.standing, &Standing::default());
        self.index.leave(&worker.variants);
        self.refile(key, &worker.filed, &Filed::default());
        if let Some(kind) = event {
            let had = match worker.running.len() {
                0 => String::new(),
                1 => "; it had 1 job".to_owned(),
                n => format!("; it had {n} jobs"),
            };
            let borrowed = worker.owner.as_ref().map_or(String::new(), |o| format!("; borrowed from {}", quote(o, 64)));
            let detail = format!("{}: {reason}{had}{borrowed}", worker.name);
            self.effects.push_back(Effect::Event { kind, worker: worker.id.clone(), detail });
        }
        // A guest that was told to go, and went.
        let taken = worker.owner.is_some() && worker.goes();
        for (attempt, _) in worker.running.into_sorted().into_iter().filter(|(_, running)| !running.unwanted) {
            let (worker, reason) = (worker.id.clone(), format!("worker {}: {reason}", worker.id));
            self.effects.push_back(Effect::Lost { attempt, worker, reason, taken });
        }
    }

    /// Puts a worker that may have changed where it belongs in all tables.
    pub(super) fn settle(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let filed = Filed {
            standing: worker.standing(self.now),
            due: worker.due(self.timeout, self.now),
            left_behind: worker.is_left_behind().then_some((worker.host, worker.seen)),
        };
        if worker.filed == filed {
            return;
        }
        let old = std::mem::replace(&mut worker.filed, filed.clone());
        if old.standing != filed.standing {
            self.index.place(&worker.variants, &old.standing, &filed.standing);
            self.changed |= filed.standing.idle.is_some() && old.standing.idle.is_none();
        }
        self.refile(key, &old, &filed);
        let Some((host, _)) = filed.left_behind else { return };
        let crowd = self.left_behind.get(&host).filter(|crowd| crowd.len() > MAX_LEFT_BEHIND);
        if let Some((_, longest_silent)) = crowd.and_then(BTreeSet::first).copied() {
            self.remove(longest_silent, None, "too many names from its host");
        }
    }

    /// The same, before the tables are looked at next, or the input ends: attempts come in rows.
    pub(super) fn settle_later(&mut self, key: WorkerKey) {
        if let Some(worker) = self.workers.get_mut(&key)
            && !std::mem::replace(&mut worker.loose, true)
        {
            self.loose.push(key);
        }
    }

    /// Nobody is loose any more.
    pub(in crate::core) fn settle_loose(&mut self) {
        while let Some(key) = self.loose.pop() {
            if let Some(worker) = self.workers.get_mut(&key) {
                worker.loose = false;
                self.settle(key);
            }
        }
    }

    fn refile(&mut self, key: WorkerKey, old: &Filed, new: &Filed) {
        if old.due != new.due {
            if let Some(due) = old.due {
                self.timers.remove(&(due, key));
            }
            self.timers.extend(new.due.map(|due| (due, key)));
        }
        if old.left_behind != new.left_behind {
            if let Some((host, seen)) = old.left_behind
                && let Some(crowd) = self.left_behind.get_mut(&host)
            {
                crowd.remove(&(seen, key));
                if crowd.is_empty() {
                    self.left_behind.remove(&host);
                }
            }
            if let Some((host, seen)) = new.left_behind {
                self.left_behind.entry(host).or_default().insert((seen, key));
            }
        }
    }

    /// Panics if the farm contradicts itself.
    pub(in crate::core) fn check_invariants(&self) {
        self.index.check_invariants();
        assert!(self.workers.len() <= MAX_WORKERS);
        assert_eq!(self.by_id.len(), self.workers.len());
        assert_eq!(self.by_link.len(), self.workers.values().filter(|worker| worker.link.is_some()).count());
        let mut calls = 0;
        for (key, worker) in &self.workers {
            assert_eq!(self.by_id.get(&worker.id), Some(key));
            assert!(worker.link.is_none_or(|link| self.by_link.get(&link) == Some(key)), "{worker:?}");
            // What is overdue stands where it stood until the next tick.
            assert!(!worker.loose || self.loose.contains(key), "it would never be settled");
            if !worker.loose && worker.filed.due.is_none_or(|due| due > self.now) {
                assert_eq!(worker.filed.standing, worker.standing(self.now), "filed where it was: {worker:?}");
                assert_eq!(worker.filed.due, worker.due(self.timeout, self.now), "{worker:?}");
            }
            assert!(worker.filed.due.is_none_or(|due| self.timers.contains(&(due, *key))));
            assert!(worker.variants.len() == worker.services.len());
            worker.running.check_invariants();
            match &worker.kind {
                Kind::Native(native) => {
                    assert!(worker.running.values().all(|running| !running.unwanted), "its slot is freed at once");
                    assert!(native.calls.iter().all(|call| self.calls.get(call) == Some(key)));
                    assert!(worker.link.is_some() || (native.calls.is_empty() && native.welcome.is_none()));
                    calls += native.calls.len();
                }
                Kind::Foreign(foreign) => {
                    let working = matches!(foreign.stage, Stage::Working { .. });
                    assert_eq!(worker.running.len(), usize::from(working), "one job while it works: {worker:?}");
                    let asking =
                        matches!(&foreign.stage, Stage::Asking { reply, .. } if worker.link == Some(reply.link));
                    assert_eq!(self.asking.contains(key), asking);
                    assert!(asking || !matches!(foreign.stage, Stage::Asking { .. }));
                }
            }
        }
        assert_eq!(self.calls.len(), calls);
        assert!(
            self.pushed.values().all(|(worker, _)| !self.by_id.contains_key(worker)),
            "who was sent away is not here"
        );
        assert!(self.asking.iter().all(|key| self.workers.contains_key(key)));
        assert_eq!(self.timers.len(), self.workers.values().filter(|worker| worker.filed.due.is_some()).count());
        let crowds: usize = self.left_behind.values().map(BTreeSet::len).sum();
        assert_eq!(crowds, self.workers.values().filter(|worker| worker.is_left_behind()).count());
        assert!(self.fresh.as_ref().is_none_or(|(attempt, _)| !self.ended.contains_key(attempt)));
        for (attempt, acks) in &self.ended {
            let linked = |ack: &Ack| self.ack_links.get(&ack.reply.link).is_some_and(|all| all.contains(attempt));
            assert!(acks.iter().all(linked), "a closed link would not give it back");
        }
    }
}
