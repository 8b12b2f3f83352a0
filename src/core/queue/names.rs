//! The names of services and methods, each pair kept once however many jobs bear it, under a small number.

use std::collections::BTreeMap;

use crate::wire::ServiceName;

/// A service with one of its methods, as jobs bear it. Reused once no job bears it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::core) struct Pair(u32);

impl Pair {
    /// Its place in a table of all.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    #[cfg(test)]
    pub(super) const fn new(index: u32) -> Pair {
        Pair(index)
    }
}

/// The names that jobs bear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Names {
    /// By pair. One without uses is free.
    entries: Vec<Entry>,
    free: Vec<Pair>,
    /// By service, and then by method.
    pairs: BTreeMap<ServiceName, BTreeMap<ServiceName, Pair>>,
    /// What was taken last.
    last: Pair,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    service: ServiceName,
    method: ServiceName,
    /// How many jobs bear it.
    uses: u64,
}

impl Names {
    /// The pair of these names, if a job bears it.
    pub(super) fn find(&self, service: &ServiceName, method: &ServiceName) -> Option<Pair> {
        self.pairs.get(service)?.get(method).copied()
    }

    /// The pair of these names, for one more use.
    pub(super) fn take(&mut self, service: ServiceName, method: ServiceName) -> Pair {
        // Jobs of one kind come in rows.
        if let Some(entry) = self.entries.get_mut(self.last.index())
            && entry.uses > 0
            && entry.service == service
            && entry.method == method
        {
            entry.uses += 1;
            return self.last;
        }
        let pair = self.take_other(service, method);
        self.last = pair;
        pair
    }

    fn take_other(&mut self, service: ServiceName, method: ServiceName) -> Pair {
        if let Some(pair) = self.find(&service, &method) {
            self.entries[pair.index()].uses += 1;
            return pair;
        }
        let entry = Entry { service: service.clone(), method: method.clone(), uses: 1 };
        let pair = match self.free.pop() {
            Some(pair) => {
                self.entries[pair.index()] = entry;
                pair
            }
            None => {
                self.entries.push(entry);
                Pair(
                    u32::try_from(self.entries.len() - 1)
                        .expect("four thousand million pairs of jobs fit in no memory"),
                )
            }
        };
        self.pairs.entry(service).or_default().insert(method, pair);
        pair
    }

    /// One use less.
    pub(super) fn give_back(&mut self, pair: Pair) {
        let entry = &mut self.entries[pair.index()];
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        if let Some(methods) = self.pairs.get_mut(&entry.service) {
            methods.remove(&entry.method);
            if methods.is_empty() {
                self.pairs.remove(&entry.service);
            }
        }
        self.free.push(pair);
        if self.pairs.is_empty() {
            *self = Names::default();
        }
    }

    /// Whether any job bears the name of this service.
    pub(super) fn has_service(&self, service: &ServiceName) -> bool {
        self.pairs.contains_key(service)
    }

    /// The service of a pair that is borne.
    pub(super) fn service(&self, pair: Pair) -> &ServiceName {
        &self.entries[pair.index()].service
    }

    /// The method of a pair that is borne.
    pub(super) fn method(&self, pair: Pair) -> &ServiceName {
        &self.entries[pair.index()].method
    }

    /// What people write: `service.method`.
    pub(super) fn task(&self, pair: Pair) -> String {
        format!("{}.{}", self.service(pair), self.method(pair))
    }

    /// All uses of all names.
    pub(super) fn uses(&self) -> u64 {
        self.entries.iter().map(|entry| entry.uses).sum()
    }

    /// What always holds.
    pub(super) fn check_invariants(&self) {
        let listed = self.pairs.values().map(BTreeMap::len).sum::<usize>();
        assert_eq!(listed + self.free.len(), self.entries.len(), "each pair is borne or free");
        for (service, methods) in &self.pairs {
            assert!(!methods.is_empty(), "empty services are dropped");
            for (method, pair) in methods {
                let entry = &self.entries[pair.index()];
                assert!((&entry.service, &entry.method) == (service, method) && entry.uses > 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_kept_once_and_dropped_with_its_last_use() {
        let name = |text| ServiceName::new(text).unwrap();
        let mut names = Names::default();
        let take = |names: &mut Names, method| names.take(name("query"), name(method));
        let (one, two, other) = (take(&mut names, "a"), take(&mut names, "a"), take(&mut names, "b"));
        assert!(one == two && one != other);
        assert_eq!((names.uses(), names.task(other)), (3, "query.b".to_owned()));
        names.give_back(one);
        assert_eq!(names.find(&name("query"), &name("a")), Some(one));
        names.give_back(one);
        assert_eq!(names.find(&name("query"), &name("a")), None);
        assert!(names.has_service(&name("query")) && !names.has_service(&name("a")));
        names.check_invariants();
        assert_eq!(take(&mut names, "c"), one, "its number is used again");
        assert_eq!((names.service(one).as_str(), names.method(one).as_str()), ("query", "c"));
        names.check_invariants();
        names.give_back(one);
        names.give_back(other);
        assert_eq!(names, Names::default());
    }
}
