//! Who offers what, and who of them has room: found without looking at every worker.
//!
//! Workers that offer the same service with the same methods share a *variant*. A service has few of them (a program
//! and its next version), however many workers there are, and each keeps its workers in order of load. So the best
//! worker for a method is the first of one of a few ordered sets.

use std::collections::{BTreeMap, BTreeSet};

use super::{Census, WorkerKey};
use crate::wire::{MAX_METHODS, MAX_SERVICES, ServiceName, ServiceOffer};

/// A service with its methods, as one or more workers offer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Variant(u64);

/// A place in the order in which workers are preferred: what it has at the moment, when it was given something last
/// (a count), who it is.
pub(super) type Rank = (u32, u64, WorkerKey);

/// How a worker stands with respect to new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Standing {
    /// It is there.
    pub(super) alive: bool,
    /// It is native and has a link: what it offers can be called.
    pub(super) linked: bool,
    /// It is in quarantine.
    pub(super) quarantined: bool,
    /// It is there, takes nothing more, and is in no quarantine.
    pub(super) draining: bool,
    /// It is there, is promised to another master, and is neither draining nor in quarantine.
    pub(super) promised: bool,
    /// Its place among those that take an attempt.
    pub(super) idle: Option<Rank>,
    /// Its place among those that take a call.
    pub(super) callable: Option<Rank>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    offer: ServiceOffer,
    offering: u64,
    alive: u64,
    linked: u64,
    quarantined: u64,
    draining: u64,
    promised: u64,
    idle: BTreeSet<Rank>,
    callable: BTreeSet<Rank>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Service {
    variants: BTreeSet<Variant>,
    /// What can be called of it, over all variants; `None` where nobody is linked.
    merged: Option<ServiceOffer>,
}

/// The index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Index {
    variants: BTreeMap<ServiceOffer, Variant>,
    entries: BTreeMap<Variant, Entry>,
    services: BTreeMap<ServiceName, Service>,
    /// The variants with a worker that takes an attempt.
    roomy: BTreeSet<Variant>,
    next: u64,
}

impl Index {
    /// Takes a worker in that offers this (each name once), with the standing of nobody.
    pub(super) fn enter(&mut self, offers: &[ServiceOffer]) -> Vec<Variant> {
        offers.iter().map(|offer| self.enter_one(offer)).collect()
    }

    fn enter_one(&mut self, offer: &ServiceOffer) -> Variant {
        if let Some(variant) = self.variants.get(offer) {
            if let Some(entry) = self.entries.get_mut(variant) {
                entry.offering += 1;
            }
            return *variant;
        }
        let variant = Variant(self.next);
        self.next += 1;
        let entry = Entry {
            offer: offer.clone(),
            offering: 1,
            alive: 0,
            linked: 0,
            quarantined: 0,
            draining: 0,
            promised: 0,
            idle: BTreeSet::new(),
            callable: BTreeSet::new(),
        };
        self.variants.insert(offer.clone(), variant);
        self.entries.insert(variant, entry);
        self.services.entry(offer.name.clone()).or_default().variants.insert(variant);
        variant
    }

    /// Takes a worker out that has the standing of nobody.
    pub(super) fn leave(&mut self, variants: &[Variant]) {
        for variant in variants {
            let Some(entry) = self.entries.get_mut(variant) else { continue };
            entry.offering -= 1;
            if entry.offering > 0 {
                continue;
            }
            let Some(entry) = self.entries.remove(variant) else { continue };
            self.variants.remove(&entry.offer);
            if let Some(service) = self.services.get_mut(&entry.offer.name) {
                service.variants.remove(variant);
                if service.variants.is_empty() {
                    self.services.remove(&entry.offer.name);
                }
            }
        }
    }

    /// The standing of a worker is no longer `old`, but `new`.
    pub(super) fn place(&mut self, variants: &[Variant], old: &Standing, new: &Standing) {
        for variant in variants {
            let Some(entry) = self.entries.get_mut(variant) else { continue };
            entry.alive = entry.alive + u64::from(new.alive) - u64::from(old.alive);
            entry.quarantined = entry.quarantined + u64::from(new.quarantined) - u64::from(old.quarantined);
            entry.draining = entry.draining + u64::from(new.draining) - u64::from(old.draining);
            entry.promised = entry.promised + u64::from(new.promised) - u64::from(old.promised);
            let was_linked = entry.linked > 0;
            entry.linked = entry.linked + u64::from(new.linked) - u64::from(old.linked);
            let turned = was_linked != (entry.linked > 0);
            let was_roomy = !entry.idle.is_empty();
            exchange(&mut entry.idle, old.idle, new.idle);
            match (was_roomy, !entry.idle.is_empty()) {
                (false, true) => _ = self.roomy.insert(*variant),
                (true, false) => _ = self.roomy.remove(variant),
                _ => {}
            }
            exchange(&mut entry.callable, old.callable, new.callable);
            if turned {
                let name = entry.offer.name.clone();
                self.merge(&name);
            }
        }
    }

    /// The best worker for an attempt at this.
    pub(super) fn pick(&self, service: &ServiceName, method: &ServiceName) -> Option<WorkerKey> {
        let first = self.entries_of(service, method).filter_map(|entry| entry.idle.first()).min();
        first.map(|(_, _, worker)| *worker)
    }

    /// How many attempts this worker, the best one for this, takes before another is better; `None`: there is no other.
    /// With as many attempts as another one, who was just given one comes behind it. 1 for one that is not among the best.
    pub(super) fn before_next(&self, worker: WorkerKey, service: &ServiceName, method: &ServiceName) -> Option<u32> {
        let mut firsts: Vec<&Rank> = Vec::new();
        for entry in self.entries_of(service, method) {
            firsts.extend(entry.idle.iter().take(2));
        }
        firsts.sort_unstable();
        match firsts.as_slice() {
            [(_, _, first)] if *first == worker => None,
            [(load, _, first), (next, ..), ..] if *first == worker => Some(next.saturating_sub(*load)),
            _ => Some(1),
        }
    }

    /// The best worker for any method of a service, if no worker that is there has this one.
    pub(super) fn pick_any(&self, service: &ServiceName, method: &ServiceName) -> Option<WorkerKey> {
        if self.entries_of(service, method).any(|entry| entry.alive > 0) {
            return None;
        }
        let variants = self.services.get(service).into_iter().flat_map(|service| &service.variants);
        let first = variants.filter_map(|variant| self.entries.get(variant)?.idle.first()).min();
        first.map(|(_, _, worker)| *worker)
    }

    /// How many variants have a worker that takes an attempt.
    pub(super) fn with_room(&self) -> usize {
        self.roomy.len()
    }

    /// Their services, each once for each of its variants.
    pub(super) fn services_with_room(&self) -> impl Iterator<Item = &ServiceName> {
        self.roomy.iter().filter_map(|variant| self.entries.get(variant)).map(|entry| &entry.offer.name)
    }

    /// The best `most` workers for a call of this, best first.
    pub(super) fn callable(&self, service: &ServiceName, method: &ServiceName, most: usize) -> Vec<WorkerKey> {
        let firsts = self.entries_of(service, method).flat_map(|entry| entry.callable.iter().take(most));
        let ranks: BTreeSet<Rank> = firsts.copied().collect();
        ranks.into_iter().take(most).map(|(_, _, worker)| worker).collect()
    }

    /// How many there are for a job of this: those that have the method or, where none of them is there, all that have the
    /// service.
    pub(super) fn census(&self, service: &ServiceName, method: &ServiceName) -> Census {
        let mut census = Census::default();
        let variants = self.services.get(service).into_iter().flat_map(|service| &service.variants);
        let any = !self.entries_of(service, method).any(|entry| entry.alive > 0);
        let entries = variants.filter_map(|variant| self.entries.get(variant));
        for entry in entries.filter(|entry| any || entry.offer.has(method)) {
            census.offering += entry.offering;
            census.alive += entry.alive;
            census.idle += entry.idle.len() as u64;
            census.quarantined += entry.quarantined;
            census.draining += entry.draining;
            census.promised += entry.promised;
        }
        census
    }

    /// What can be called, merged by name, at most [`MAX_SERVICES`].
    pub(super) fn offers(&self) -> Vec<ServiceOffer> {
        self.services.values().filter_map(|service| service.merged.clone()).take(MAX_SERVICES).collect()
    }

    fn entries_of<'a>(&'a self, service: &ServiceName, method: &'a ServiceName) -> impl Iterator<Item = &'a Entry> {
        let variants = self.services.get(service).into_iter().flat_map(|service| &service.variants);
        variants.filter_map(|variant| self.entries.get(variant)).filter(|entry| entry.offer.has(method))
    }

    /// Works out anew what can be called of one service.
    fn merge(&mut self, name: &ServiceName) {
        let Some(service) = self.services.get(name) else { return };
        let linked: Vec<&ServiceOffer> = service
            .variants
            .iter()
            .filter_map(|variant| self.entries.get(variant))
            .filter(|entry| entry.linked > 0)
            .map(|entry| &entry.offer)
            .collect();
        let merged = merged(name, &linked);
        if let Some(service) = self.services.get_mut(name) {
            service.merged = merged;
        }
    }

    /// How many variants of a service there are: what a pick looks at.
    #[cfg(test)]
    pub(super) fn kinds(&self, service: &ServiceName) -> usize {
        self.services.get(service).map_or(0, |service| service.variants.len())
    }

    /// Panics if the index contradicts itself.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.variants.len(), self.entries.len());
        assert!(self.roomy.iter().all(|variant| self.entries.contains_key(variant)), "nobody is gone and has room");
        for (variant, entry) in &self.entries {
            assert_eq!(self.variants.get(&entry.offer), Some(variant));
            assert!(self.services.get(&entry.offer.name).is_some_and(|service| service.variants.contains(variant)));
            assert!(entry.offering > 0, "nobody offers this any more");
            assert_eq!(self.roomy.contains(variant), !entry.idle.is_empty(), "who has room is found");
            assert!(entry.alive <= entry.offering && entry.linked <= entry.alive);
            assert!(entry.idle.len() as u64 <= entry.alive && entry.callable.len() as u64 <= entry.linked);
        }
        let listed: usize = self.services.values().map(|service| service.variants.len()).sum();
        assert_eq!(listed, self.entries.len());
    }
}

fn exchange(ranks: &mut BTreeSet<Rank>, old: Option<Rank>, new: Option<Rank>) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        ranks.remove(&old);
    }
    if let Some(new) = new {
        ranks.insert(new);
    }
}

/// One offer for several of the same name. It has the methods of all; one may be done twice only where everybody who
/// has it says so, since nobody knows who will do it.
fn merged(name: &ServiceName, offers: &[&ServiceOffer]) -> Option<ServiceOffer> {
    if offers.is_empty() {
        return None;
    }
    let any = offers.iter().any(|offer| offer.methods.is_empty());
    let methods: BTreeSet<&ServiceName> = offers.iter().flat_map(|offer| &offer.methods).collect();
    let methods = if any { Vec::new() } else { methods.into_iter().take(MAX_METHODS).cloned().collect() };
    let twice: BTreeSet<&ServiceName> = offers.iter().flat_map(|offer| &offer.idempotent).collect();
    let by_all = |method: &&ServiceName| {
        offers.iter().all(|offer| !offer.has(method) || offer.idempotent.contains(method))
            && (any || methods.contains(method))
    };
    let idempotent = twice.into_iter().filter(by_all).take(MAX_METHODS).cloned().collect();
    Some(ServiceOffer { name: name.clone(), methods, idempotent })
}

/// Each name once: the same service said twice has the methods of both.
pub(super) fn by_name(offers: Vec<ServiceOffer>) -> Vec<ServiceOffer> {
    let mut table: BTreeMap<ServiceName, Vec<ServiceOffer>> = BTreeMap::new();
    for mut offer in offers.into_iter().take(MAX_SERVICES) {
        for names in [&mut offer.methods, &mut offer.idempotent] {
            names.sort();
            names.dedup();
        }
        table.entry(offer.name.clone()).or_default().push(offer);
    }
    table.into_iter().filter_map(|(name, offers)| merged(&name, &offers.iter().collect::<Vec<_>>())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    fn offer(service: &str, methods: &[&str], idempotent: &[&str]) -> ServiceOffer {
        let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect();
        ServiceOffer { name: name(service), methods: names(methods), idempotent: names(idempotent) }
    }

    fn ready(worker: u64, load: u32, given: u64) -> Standing {
        let rank = Some((load, given, WorkerKey(worker)));
        Standing { alive: true, linked: true, idle: rank, callable: rank, ..Standing::default() }
    }

    #[test]
    fn the_one_with_the_least_is_picked_and_then_the_one_that_waited_longest() {
        let mut index = Index::default();
        let old = index.enter(&[offer("files", &["read"], &[])]);
        let new = index.enter(&[offer("files", &["read", "write"], &[])]);
        assert_eq!(index.pick(&name("files"), &name("read")), None);
        index.place(&old, &Standing::default(), &ready(1, 0, 9));
        index.place(&new, &Standing::default(), &ready(2, 1, 1));
        assert_eq!(index.pick(&name("files"), &name("read")), Some(WorkerKey(1)));
        assert_eq!(index.pick(&name("files"), &name("write")), Some(WorkerKey(2)), "the other does not have it");
        assert_eq!(index.pick(&name("files"), &name("erase")), None);
        assert_eq!(index.callable(&name("files"), &name("read"), 8), [WorkerKey(1), WorkerKey(2)]);
        assert_eq!(index.callable(&name("files"), &name("read"), 1), [WorkerKey(1)]);
        index.place(&new, &ready(2, 1, 1), &ready(2, 0, 1));
        assert_eq!(index.pick(&name("files"), &name("read")), Some(WorkerKey(2)));
        index.check_invariants();
        let census = index.census(&name("files"), &name("never"));
        assert_eq!(census, Census { offering: 2, alive: 2, idle: 2, ..Census::default() });
        index.place(&old, &ready(1, 0, 9), &Standing::default());
        index.leave(&old);
        assert_eq!(index.census(&name("files"), &name("never")).offering, 1);
        index.place(&new, &ready(2, 0, 1), &Standing::default());
        index.leave(&new);
        assert_eq!(index, Index { next: 2, ..Index::default() }, "nothing stays behind");
    }

    #[test]
    fn offers_are_merged_and_careful_about_what_may_be_done_twice() {
        let mut index = Index::default();
        let one = index.enter(&[offer("files", &["list", "read"], &["list", "read"]), offer("any", &[], &["x"])]);
        let two = index.enter(&[offer("files", &["read", "write"], &[])]);
        assert_eq!(index.offers(), []);
        index.place(&one, &Standing::default(), &ready(1, 0, 0));
        index.place(&two, &Standing::default(), &ready(2, 0, 0));
        let both = offer("files", &["list", "read", "write"], &["list"]);
        assert_eq!(index.offers(), [offer("any", &[], &["x"]), both]);
        index.place(&one, &ready(1, 0, 0), &Standing::default());
        assert_eq!(index.offers(), [offer("files", &["read", "write"], &[])]);
    }

    #[test]
    fn a_name_said_twice_is_one_service() {
        let said = vec![offer("a", &["y", "x", "x"], &[]), offer("b", &[], &[]), offer("a", &["z"], &["z"])];
        assert_eq!(by_name(said), [offer("a", &["x", "y", "z"], &["z"]), offer("b", &[], &[])]);
        let many = (0..300).map(|n| offer(&format!("s{n}"), &[], &[])).collect();
        assert_eq!(by_name(many).len(), MAX_SERVICES);
    }

    proptest! {
        #[test]
        fn the_best_one_stays_so_for_as_many_attempts_as_is_told(
            workers in prop::collection::vec((0..3usize, 0..6u32), 1..6),
        ) {
            let offers = [offer("x", &["run"], &[]), offer("x", &["run", "stop"], &[]), offer("x", &[], &[])];
            let (x, run) = (name("x"), name("run"));
            let (mut index, mut table) = (Index::default(), BTreeMap::new());
            for (key, (kind, load)) in (0..).zip(workers) {
                let variants = index.enter(&offers[kind..=kind]);
                let standing = ready(key, load, key);
                index.place(&variants, &Standing::default(), &standing);
                table.insert(WorkerKey(key), (variants, standing));
            }
            let best = index.pick(&x, &run).unwrap();
            let row = index.before_next(best, &x, &run);
            for key in table.keys().filter(|key| **key != best) {
                prop_assert_eq!(index.before_next(*key, &x, &run), Some(1), "it is not the best");
            }
            for given in 0..row.unwrap_or(10).max(1) {
                prop_assert_eq!(index.pick(&x, &run), Some(best), "after {} of {:?}", given, row);
                let (variants, before) = table.get_mut(&best).unwrap();
                let (load, ..) = before.idle.unwrap();
                let after = ready(best.0, load + 1, 100 + u64::from(given));
                index.place(variants, before, &after);
                *before = after;
            }
            prop_assert_eq!(index.pick(&x, &run) == Some(best), table.len() == 1);
        }
    }
}
