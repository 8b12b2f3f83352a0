//! A sorted set of what comes nearly in order and mostly leaves from the front: what waits, what is due, what is kept.
//!
//! Most of it stands in one ring, where the usual step (the newest is added, the oldest goes) moves nothing and allocates
//! nothing. What comes far out of order stands in a tree beside it, and what leaves far from both ends is noted as gone
//! until it has come to the front or half of the ring is gone. So every step takes logarithmic time at most, spread over
//! the steps before it.

use std::collections::{BTreeSet, VecDeque};

/// How many entries of the ring one step moves.
const NEAR: usize = 32;

/// Places of a ring that are kept although nothing stands there.
const SMALL: usize = 1024;

/// The earlier of two times that may not be.
pub(super) fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Timeline<T> {
    /// In order. Neither its first nor its last is gone.
    ring: VecDeque<T>,
    odd: Option<Box<Odd<T>>>,
}

/// What is out of order, as long as anything is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Odd<T> {
    /// Not in the ring.
    strays: BTreeSet<T>,
    /// In the ring, but not in the set.
    gone: BTreeSet<T>,
}

impl<T> Default for Timeline<T> {
    fn default() -> Timeline<T> {
        Timeline { ring: VecDeque::new(), odd: None }
    }
}

impl<T: Copy + Ord> Timeline<T> {
    /// Adds one. `false` if it was there.
    pub(super) fn insert(&mut self, entry: T) -> bool {
        if self.ring.back().is_none_or(|last| *last < entry) {
            if self.odd.is_some() && self.contains(&entry) {
                return false;
            }
            self.ring.push_back(entry);
            return true;
        }
        let Err(at) = self.ring.binary_search(&entry) else {
            let back = self.odd.as_mut().is_some_and(|odd| odd.gone.remove(&entry));
            self.tidy();
            return back;
        };
        let strayed = self.odd.as_ref().is_some_and(|odd| odd.strays.contains(&entry));
        if strayed {
            return false;
        }
        if at.min(self.ring.len() - at) <= NEAR {
            self.ring.insert(at, entry);
            return true;
        }
        self.odd().strays.insert(entry)
    }

    /// Takes one out. `false` if it was not there.
    pub(super) fn remove(&mut self, entry: &T) -> bool {
        if self.odd.is_none() && self.ring.front() == Some(entry) {
            self.ring.pop_front();
            self.shrink();
            return true;
        }
        let Ok(at) = self.ring.binary_search(entry) else {
            let was = self.odd.as_mut().is_some_and(|odd| odd.strays.remove(entry));
            self.tidy();
            return was;
        };
        if self.odd.as_ref().is_some_and(|odd| odd.gone.contains(entry)) {
            return false;
        }
        if at.min(self.ring.len() - 1 - at) <= NEAR {
            self.ring.remove(at);
        } else {
            self.odd().gone.insert(*entry);
        }
        self.tidy();
        true
    }

    /// The smallest.
    pub(super) fn first(&self) -> Option<&T> {
        let stray = self.odd.as_ref().and_then(|odd| odd.strays.first());
        earlier(self.ring.front(), stray)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ring.len() + self.odd.as_ref().map_or(0, |odd| odd.strays.len()) - self.gone()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// Whether this one is there.
    pub(super) fn contains(&self, entry: &T) -> bool {
        let (strays, gone) = self.odd.as_ref().map_or((None, None), |odd| (Some(&odd.strays), Some(&odd.gone)));
        let has = |set: Option<&BTreeSet<T>>| set.is_some_and(|set| set.contains(entry));
        self.ring.binary_search(entry).is_ok() && !has(gone) || has(strays)
    }

    /// How many are smaller than this one, which need not be there.
    pub(super) fn rank(&self, entry: &T) -> usize {
        let smaller = self.ring.partition_point(|one| one < entry);
        let count = |set: &BTreeSet<T>| set.range(..entry).count();
        let (strays, gone) = self.odd.as_ref().map_or((0, 0), |odd| (count(&odd.strays), count(&odd.gone)));
        smaller + strays - gone
    }

    /// All, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let odd = self.odd.as_deref();
        let there = move |entry: &&T| odd.is_none_or(|odd| !odd.gone.contains(*entry));
        self.ring.iter().filter(there).chain(odd.into_iter().flat_map(|odd| &odd.strays))
    }

    fn gone(&self) -> usize {
        self.odd.as_ref().map_or(0, |odd| odd.gone.len())
    }

    fn odd(&mut self) -> &mut Odd<T> {
        self.odd.get_or_insert_with(|| Box::new(Odd { strays: BTreeSet::new(), gone: BTreeSet::new() }))
    }

    /// Gives memory back once a quarter of it would do.
    fn shrink(&mut self) {
        if self.ring.capacity() > SMALL && self.ring.len() * 4 < self.ring.capacity() {
            self.ring.shrink_to(self.ring.len() * 2);
        }
    }

    /// Drops what is gone where that moves little.
    fn tidy(&mut self) {
        self.shrink();
        let Some(odd) = &mut self.odd else { return };
        if odd.gone.len() * 2 > self.ring.len() {
            self.ring.retain(|entry| !odd.gone.contains(entry));
            odd.gone.clear();
        }
        while self.ring.front().is_some_and(|entry| odd.gone.remove(entry)) {
            self.ring.pop_front();
        }
        while self.ring.back().is_some_and(|entry| odd.gone.remove(entry)) {
            self.ring.pop_back();
        }
        if odd.gone.is_empty() && odd.strays.is_empty() {
            self.odd = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What always holds.
    fn check(line: &Timeline<u32>, plain: &BTreeSet<u32>) {
        let ring: Vec<u32> = line.ring.iter().copied().collect();
        assert!(ring.is_sorted_by(|one, next| one < next));
        if let Some(odd) = &line.odd {
            assert!(!odd.gone.is_empty() || !odd.strays.is_empty(), "nothing odd, nothing kept");
            assert!(odd.gone.iter().all(|entry| ring.contains(entry)));
            assert!(odd.strays.iter().all(|entry| !ring.contains(entry)));
            assert!(ring.first().is_none_or(|entry| !odd.gone.contains(entry)));
            assert!(ring.last().is_none_or(|entry| !odd.gone.contains(entry)));
        }
        assert_eq!((line.first(), line.len(), line.is_empty()), (plain.first(), plain.len(), plain.is_empty()));
        assert_eq!(line.iter().copied().collect::<BTreeSet<u32>>(), *plain);
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            begin in 0..300u32,
            steps in prop::collection::vec((0..4u8, 0..400u32), 0..200),
        ) {
            let (mut line, mut plain) = (Timeline::default(), BTreeSet::new());
            for entry in 0..begin {
                prop_assert_eq!(line.insert(entry), plain.insert(entry));
            }
            for (step, entry) in steps {
                match step {
                    0 => prop_assert_eq!(line.insert(entry), plain.insert(entry)),
                    1 => prop_assert_eq!(line.remove(&entry), plain.remove(&entry)),
                    2 => {
                        let first = plain.pop_first();
                        prop_assert_eq!(line.first().copied(), first);
                        prop_assert_eq!(first.is_some(), first.is_some_and(|first| line.remove(&first)));
                    }
                    _ => {
                        prop_assert_eq!(line.contains(&entry), plain.contains(&entry));
                        prop_assert_eq!(line.rank(&entry), plain.range(..entry).count());
                    }
                }
                check(&line, &plain);
            }
            while let Some(first) = plain.pop_first() {
                prop_assert!(line.remove(&first));
                check(&line, &plain);
            }
            prop_assert_eq!(line, Timeline::default(), "nothing stays behind");
        }
    }

    #[test]
    fn a_hundred_thousand_leave_in_any_order_without_moving_the_rest_each_time() {
        let mut line = Timeline::default();
        let many = 100_003u64;
        // Out of order both ways: a walk by a step that reaches each number once.
        let walk = || (0..many).map(move |n| n * 39_119 % many);
        assert!(walk().all(|entry| line.insert(entry)));
        assert_eq!(line.len() as u64, many);
        assert!(walk().skip(7).all(|entry| line.remove(&entry)));
        assert_eq!(line.len(), 7);
    }
}
