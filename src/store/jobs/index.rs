//! Where the living records of each job are. 32 bytes a job.

use std::collections::BTreeMap;

use crate::core::JobNumber;

/// Dead entries are kept below this many, however few live.
const KEPT_DEAD: usize = 1024;

/// Where a record is. `len` 0: nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// In which segment.
    pub(super) segment: u32,
    /// At which byte of it.
    pub(super) at: u32,
    /// How many bytes.
    pub(super) len: u32,
}

/// Where the records of a job are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// What it is.
    pub(super) put: Place,
    /// Its last state, if one was ever written.
    pub(super) state: Place,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: JobNumber,
    /// A put of length 0 is a job that is gone.
    places: Places,
}

impl Entry {
    fn is_live(&self) -> bool {
        self.places.put.len > 0
    }
}

/// The jobs that are stored.
///
/// A sorted vector and not a map: numbers come in ascending order, and a million jobs take 32 MB.
#[derive(Clone, Debug, Default)]
pub(super) struct JobIndex {
    entries: Vec<Entry>,
    dead: usize,
    /// Bytes of living records by segment.
    live: BTreeMap<u32, u64>,
    live_bytes: u64,
}

impl JobIndex {
    /// Where the records of a job are, if it is there.
    pub(super) fn get(&self, number: JobNumber) -> Option<Places> {
        let at = self.find(number).ok()?;
        Some(self.entries[at].places).filter(|places| places.put.len > 0)
    }

    /// Sets where they are; `None`: the job is gone. Returns what was there before, with which it can be undone.
    pub(super) fn set(&mut self, number: JobNumber, places: Option<Places>) -> Option<Places> {
        let before = self.get(number);
        for place in before.iter().flat_map(|places| [places.put, places.state]) {
            self.count(place, false);
        }
        for place in places.iter().flat_map(|places| [places.put, places.state]) {
            self.count(place, true);
        }
        match (self.find(number), places) {
            (Ok(at), places) => {
                self.dead = self.dead + usize::from(before.is_some()) - usize::from(places.is_some());
                self.entries[at].places = places.unwrap_or(Places { put: Place::default(), state: Place::default() });
            }
            (Err(at), Some(places)) => self.entries.insert(at, Entry { number, places }),
            (Err(_), None) => {}
        }
        before
    }

    /// Bytes of all living records.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Bytes of the living records of a segment.
    pub(super) fn live_bytes_of(&self, segment: u32) -> u64 {
        self.live.get(&segment).copied().unwrap_or(0)
    }

    /// Gives up the memory of jobs that are gone. Cheap on average.
    pub(super) fn tidy(&mut self) {
        if self.dead > KEPT_DEAD && self.dead > self.entries.len() / 2 {
            self.entries.retain(Entry::is_live);
            self.dead = 0;
            if self.entries.capacity() / 4 > self.entries.len() {
                self.entries.shrink_to(self.entries.len() * 2);
            }
        }
    }

    fn find(&self, number: JobNumber) -> Result<usize, usize> {
        // The newest are asked for most, and every new one goes behind them all.
        match self.entries.last() {
            Some(last) if number > last.number => Err(self.entries.len()),
            _ => self.entries.binary_search_by_key(&number, |entry| entry.number),
        }
    }

    fn count(&mut self, place: Place, comes: bool) {
        if place.len == 0 {
            return;
        }
        let bytes = u64::from(place.len);
        let live = self.live.entry(place.segment).or_default();
        if comes {
            *live += bytes;
            self.live_bytes += bytes;
        } else {
            *live -= bytes;
            self.live_bytes -= bytes;
            if *live == 0 {
                self.live.remove(&place.segment);
            }
        }
    }

    /// What must hold at any time.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert!(self.entries.windows(2).all(|pair| pair[0].number < pair[1].number));
        assert_eq!(self.entries.iter().filter(|entry| !entry.is_live()).count(), self.dead);
        let mut live = BTreeMap::<u32, u64>::new();
        for place in self.entries.iter().flat_map(|entry| [entry.places.put, entry.places.state]) {
            if place.len > 0 {
                *live.entry(place.segment).or_default() += u64::from(place.len);
            }
        }
        assert_eq!(live, self.live);
        assert_eq!(live.values().sum::<u64>(), self.live_bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(segment: u32, at: u32, state: u32) -> Places {
        Places { put: Place { segment, at, len: 60 }, state: Place { segment: segment + 1, at, len: state } }
    }

    #[test]
    fn a_job_takes_32_bytes() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn what_is_gone_gives_its_memory_back() {
        let mut index = JobIndex::default();
        for number in 0..100_000 {
            index.set(JobNumber(number), Some(places(1, number as u32, 0)));
        }
        for number in 0..99_990 {
            index.set(JobNumber(number), None);
            index.tidy();
        }
        index.check_invariants();
        assert_eq!((index.live_bytes(), index.live_bytes_of(1), index.live_bytes_of(2)), (600, 600, 0));
        assert!(index.entries.capacity() <= 4 * KEPT_DEAD, "{}", index.entries.capacity());
        assert_eq!(index.get(JobNumber(99_995)), Some(places(1, 99_995, 0)));
    }

    proptest! {
        #[test]
        fn it_is_a_map_whose_changes_can_be_undone(
            steps in proptest::collection::vec((0..40u64, proptest::option::of((0..3u32, 0..9u32, 0..5u32))), 0..200),
        ) {
            let mut index = JobIndex::default();
            let mut model = BTreeMap::new();
            let mut undo = Vec::new();
            for (number, change) in steps {
                let number = JobNumber(number);
                let change = change.map(|(segment, at, state)| places(segment, at, state));
                let before = match change {
                    Some(places) => model.insert(number, places),
                    None => model.remove(&number),
                };
                prop_assert_eq!(index.set(number, change), before);
                undo.push((number, before));
                index.check_invariants();
            }
            for number in (0..40).map(JobNumber) {
                prop_assert_eq!(index.get(number), model.get(&number).copied());
            }
            for (number, before) in undo.into_iter().rev() {
                index.set(number, before);
            }
            index.check_invariants();
            prop_assert_eq!(index.live_bytes(), 0);
            prop_assert!((0..40).all(|number| index.get(JobNumber(number)).is_none()));
        }
    }
}
