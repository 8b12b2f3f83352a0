//! When what is due: one time a worker, found without a look at all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Time;
use crate::wire::ServerId;

/// The next moment at which something is to be done about each worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Agenda {
    due: BTreeMap<ServerId, Time>,
    order: BTreeSet<(Time, ServerId)>,
}

impl Agenda {
    /// From now on this worker is due then; `None`: never.
    pub(super) fn set(&mut self, worker: &ServerId, due: Option<Time>) {
        if self.due.get(worker).copied() == due {
            return;
        }
        if let Some(before) = self.due.remove(worker) {
            self.order.remove(&(before, worker.clone()));
        }
        if let Some(due) = due {
            self.due.insert(worker.clone(), due);
            self.order.insert((due, worker.clone()));
        }
    }

    /// The first moment.
    pub(super) fn first(&self) -> Option<Time> {
        self.order.first().map(|(due, _)| *due)
    }

    /// Those that are due, each once.
    pub(super) fn due(&self, now: Time) -> Vec<ServerId> {
        self.order.iter().take_while(|(due, _)| *due <= now).map(|(_, worker)| worker.clone()).collect()
    }

    /// When this worker is due.
    pub(super) fn of(&self, worker: &ServerId) -> Option<Time> {
        self.due.get(worker).copied()
    }

    /// Panics if the two tables differ.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.due.len(), self.order.len());
        assert!(self.due.iter().all(|(worker, due)| self.order.contains(&(*due, worker.clone()))));
    }
}

/// Takes out of a table what is to go.
// `BTreeMap::extract_if`, which the oldest compiler that this project is built with does not have.
pub(super) fn take_out<K: Ord + Clone, V>(
    table: &mut BTreeMap<K, V>,
    mut goes: impl FnMut(&K, &mut V) -> bool,
) -> Vec<(K, V)> {
    let keys: Vec<K> = table.iter_mut().filter_map(|(key, value)| goes(key, value).then(|| key.clone())).collect();
    keys.into_iter().filter_map(|key| table.remove_entry(&key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_is_due_once_and_when_it_was_said_last() {
        let (mut agenda, a, b) = (Agenda::default(), ServerId::new("a").unwrap(), ServerId::new("b").unwrap());
        agenda.set(&a, Some(Time::from_micros(5)));
        agenda.set(&b, Some(Time::from_micros(3)));
        agenda.set(&a, Some(Time::from_micros(1)));
        agenda.check_invariants();
        assert_eq!(agenda.first(), Some(Time::from_micros(1)));
        assert_eq!(agenda.due(Time::from_micros(3)), [a.clone(), b.clone()]);
        agenda.set(&a, None);
        assert_eq!((agenda.of(&a), agenda.first()), (None, Some(Time::from_micros(3))));
        agenda.check_invariants();
    }
}
