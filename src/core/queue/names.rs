//! The names of services and methods, each kept once however many jobs bear it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::wire::ServiceName;

/// The names that jobs bear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Names(BTreeMap<Arc<ServiceName>, Entry>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    name: Arc<ServiceName>,
    /// How many jobs bear it; counted here, because clones of the whole queue share the name.
    uses: u64,
}

impl Names {
    /// The name, for one more use.
    pub(super) fn take(&mut self, name: ServiceName) -> Arc<ServiceName> {
        if let Some(entry) = self.0.get_mut(&name) {
            entry.uses += 1;
            return entry.name.clone();
        }
        let name = Arc::new(name);
        self.0.insert(name.clone(), Entry { name: name.clone(), uses: 1 });
        name
    }

    /// One use less.
    pub(super) fn give_back(&mut self, name: &ServiceName) {
        if let Some(entry) = self.0.get_mut(name) {
            entry.uses -= 1;
            if entry.uses == 0 {
                self.0.remove(name);
            }
        }
    }

    /// The name as jobs bear it, if any does.
    pub(super) fn find(&self, name: &ServiceName) -> Option<&Arc<ServiceName>> {
        self.0.get(name).map(|entry| &entry.name)
    }

    /// All uses of all names.
    pub(super) fn uses(&self) -> u64 {
        self.0.values().map(|entry| entry.uses).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_dropped_with_its_last_use() {
        let (mut names, name) = (Names::default(), ServiceName::new("query").unwrap());
        let (one, two) = (names.take(name.clone()), names.take(name.clone()));
        assert!(Arc::ptr_eq(&one, &two));
        names.give_back(&name);
        assert!(names.find(&name).is_some());
        names.give_back(&name);
        assert_eq!(names, Names::default());
    }
}
