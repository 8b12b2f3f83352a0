//! A table from numbers that are nearly consecutive to places: a step costs a look into a small tree, and nothing moves.
//!
//! Numbers stand in pages of 64. A page goes with the last number on it, so that what is left behind of a long row holds
//! one page each.

use std::collections::BTreeMap;

/// Numbers of one page.
const PAGE: u64 = 64;

/// Not a place.
const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Page {
    places: [u32; PAGE as usize],
    /// How many of them are.
    count: u32,
}

/// The table. A place is any number but the largest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pages {
    pages: BTreeMap<u64, Box<Page>>,
    len: usize,
}

const fn split(number: u64) -> (u64, usize) {
    (number / PAGE, (number % PAGE) as usize)
}

impl Pages {
    /// Where this number stands.
    pub(super) fn get(&self, number: u64) -> Option<u32> {
        let (page, at) = split(number);
        Some(self.pages.get(&page)?.places[at]).filter(|place| *place != NOWHERE)
    }

    /// This number stands there now.
    pub(super) fn insert(&mut self, number: u64, place: u32) {
        debug_assert!(place != NOWHERE);
        let (page, at) = split(number);
        let page =
            self.pages.entry(page).or_insert_with(|| Box::new(Page { places: [NOWHERE; PAGE as usize], count: 0 }));
        if std::mem::replace(&mut page.places[at], place) == NOWHERE {
            page.count += 1;
            self.len += 1;
        }
    }

    /// This number stands nowhere any more. Returns where it stood.
    pub(super) fn remove(&mut self, number: u64) -> Option<u32> {
        let (index, at) = split(number);
        let page = self.pages.get_mut(&index)?;
        let place = Some(std::mem::replace(&mut page.places[at], NOWHERE)).filter(|place| *place != NOWHERE)?;
        page.count -= 1;
        self.len -= 1;
        if page.count == 0 {
            self.pages.remove(&index);
        }
        Some(place)
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All numbers with their places, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.pages.iter().flat_map(|(index, page)| {
            let there = page.places.iter().enumerate().filter(|(_, place)| **place != NOWHERE);
            there.map(move |(at, place)| (index * PAGE + at as u64, *place))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..3u8, prop_oneof![0..200u64, u64::MAX - 70..=u64::MAX]), 0..200)) {
            let (mut pages, mut plain) = (Pages::default(), BTreeMap::new());
            for (count, (step, number)) in (0..).zip(steps) {
                match step {
                    0 => {
                        pages.insert(number, count);
                        plain.insert(number, count);
                    }
                    1 => prop_assert_eq!(pages.remove(number), plain.remove(&number)),
                    _ => prop_assert_eq!(pages.get(number), plain.get(&number).copied()),
                }
                prop_assert_eq!(pages.len(), plain.len());
                prop_assert!(pages.iter().eq(plain.iter().map(|(number, place)| (*number, *place))));
            }
            for number in plain.into_keys() {
                pages.remove(number);
            }
            prop_assert_eq!(pages, Pages::default(), "nothing stays behind");
        }
    }
}
