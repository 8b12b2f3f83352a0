//! The attempts that one worker has, found by a number instead of a comparison of texts at each step.
//!
//! The tag of an attempt is the number at the end of its job's id. Attempts of one master have tags of their own, but for
//! several at one job; those, and what is of another master or of a call, stand apart where they meet one that is there.

use std::collections::BTreeMap;

use crate::core::pages::Pages;
use crate::wire::Attempt;

/// A table by attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempts<T> {
    tags: Pages,
    slots: Vec<Option<(Attempt, T)>>,
    free: Vec<u32>,
    /// Those whose tag another one has.
    apart: BTreeMap<Attempt, T>,
}

impl<T> Default for Attempts<T> {
    fn default() -> Attempts<T> {
        Attempts { tags: Pages::default(), slots: Vec::new(), free: Vec::new(), apart: BTreeMap::new() }
    }
}

fn tag(attempt: &Attempt) -> u64 {
    let digits = attempt.job_id.as_str().bytes().rev().take_while(u8::is_ascii_digit);
    let (mut number, mut unit) = (0u64, 1u64);
    for digit in digits {
        number = number.wrapping_add(unit.wrapping_mul(u64::from(digit - b'0')));
        unit = unit.wrapping_mul(10);
    }
    number
}

impl<T> Attempts<T> {
    /// Where an attempt stands, unless apart.
    fn slot(&self, attempt: &Attempt) -> Option<u32> {
        let slot = self.tags.get(tag(attempt))?;
        self.slots[slot as usize].as_ref().is_some_and(|(there, _)| there == attempt).then_some(slot)
    }

    pub(super) fn contains_key(&self, attempt: &Attempt) -> bool {
        self.slot(attempt).is_some() || self.apart.contains_key(attempt)
    }

    pub(super) fn get_mut(&mut self, attempt: &Attempt) -> Option<&mut T> {
        match self.slot(attempt) {
            Some(slot) => self.slots[slot as usize].as_mut().map(|(_, value)| value),
            None => self.apart.get_mut(attempt),
        }
    }

    /// Puts one in, in the place of what it had before.
    pub(super) fn insert(&mut self, attempt: Attempt, value: T) {
        let tag = tag(&attempt);
        if let Some(slot) = self.tags.get(tag) {
            let there = &mut self.slots[slot as usize];
            if there.as_ref().is_some_and(|(there, _)| *there == attempt) {
                *there = Some((attempt, value));
            } else {
                self.apart.insert(attempt, value);
            }
            return;
        }
        if !self.apart.is_empty() && self.apart.contains_key(&attempt) {
            self.apart.insert(attempt, value);
            return;
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some((attempt, value));
                slot
            }
            None => {
                self.slots.push(Some((attempt, value)));
                u32::try_from(self.slots.len() - 1).expect("a worker brings no more than a line can name")
            }
        };
        self.tags.insert(tag, slot);
    }

    pub(super) fn remove(&mut self, attempt: &Attempt) -> Option<T> {
        let tag = tag(attempt);
        let there = |slot: &u32| self.slots[*slot as usize].as_ref().is_some_and(|(there, _)| there == attempt);
        let Some(slot) = self.tags.get(tag).filter(there) else { return self.apart.remove(attempt) };
        let (_, value) = self.slots[slot as usize].take()?;
        self.tags.remove(tag);
        self.free.push(slot);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.tags.len() + self.apart.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Attempts::default();
    }

    /// All, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().map(|(_, value)| value).chain(self.apart.values())
    }

    /// All, in the order of the attempts.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Attempt, &mut T)> {
        let near = self.slots.iter_mut().flatten().map(|(attempt, value)| (&*attempt, value));
        let mut all: Vec<_> = near.chain(self.apart.iter_mut()).collect();
        all.sort_by_key(|(attempt, _)| *attempt);
        all.into_iter()
    }

    /// The first in the order of the attempts.
    pub(super) fn pop_first(&mut self) -> Option<(Attempt, T)> {
        let near = self.slots.iter().flatten().map(|(attempt, _)| attempt);
        let first = near.chain(self.apart.keys()).min()?.clone();
        let value = self.remove(&first)?;
        Some((first, value))
    }

    /// All, in the order of the attempts.
    pub(super) fn into_sorted(self) -> Vec<(Attempt, T)> {
        let mut all: Vec<_> = self.slots.into_iter().flatten().chain(self.apart).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// What always holds.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.tags.len() + self.free.len(), self.slots.len(), "each slot is taken or free");
        for (tagged, slot) in self.tags.iter() {
            let there = self.slots[slot as usize].as_ref();
            assert!(there.is_some_and(|(attempt, _)| tag(attempt) == tagged), "{tagged:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::JobId;
    use proptest::prelude::*;

    fn attempt(id: &str, attempt: u32) -> Attempt {
        Attempt { job_id: JobId::new(id).unwrap(), attempt }
    }

    #[test]
    fn the_tag_is_the_number_at_the_end() {
        assert_eq!(tag(&attempt("3fa9c1d2-7-42", 3)), 42);
        assert_eq!(tag(&attempt("job-x", 1)), 0);
        assert_eq!(tag(&attempt("a-007", 1)), 7);
        tag(&attempt(&"9".repeat(128), u32::MAX));
    }

    proptest! {
        #[test]
        fn it_is_a_table_also_where_tags_meet(
            steps in prop::collection::vec((0..3u8, 0..3usize, 0..4u32, 1..3u32), 0..80),
        ) {
            let (mut table, mut plain) = (Attempts::default(), BTreeMap::new());
            for (count, (step, master, number, nth)) in steps.into_iter().enumerate() {
                let attempt = attempt(&format!("{}-{number}", ["m-1", "n-1", "n-20"][master]), nth);
                match step {
                    0 => {
                        table.insert(attempt.clone(), count);
                        plain.insert(attempt.clone(), count);
                    }
                    1 => prop_assert_eq!(table.remove(&attempt), plain.remove(&attempt)),
                    _ => prop_assert_eq!(table.get_mut(&attempt), plain.get_mut(&attempt)),
                }
                table.check_invariants();
                prop_assert_eq!((table.len(), table.is_empty()), (plain.len(), plain.is_empty()));
                prop_assert_eq!(table.contains_key(&attempt), plain.contains_key(&attempt));
                let all: Vec<(Attempt, usize)> = table.iter_mut().map(|(one, value)| (one.clone(), *value)).collect();
                prop_assert!(all.iter().map(|(one, value)| (one, value)).eq(plain.iter()));
                prop_assert_eq!(table.values().sum::<usize>(), plain.values().sum::<usize>());
            }
            prop_assert_eq!(table.clone().pop_first(), plain.clone().pop_first());
            prop_assert_eq!(table.into_sorted(), plain.into_iter().collect::<Vec<_>>());
        }
    }
}
