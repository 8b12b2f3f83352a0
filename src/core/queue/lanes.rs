//! Who is next: a lane for each method of a service, ordered by waiting time and priority. A lane a method, because workers
//! may have different ones: what waits for a worker that never comes holds up nobody else.
//!
//! The **key** of a job is the moment from which it waits, minus ten seconds for each step of priority; the smallest
//! key is the most urgent. A job of priority 9 so overtakes what has waited at most 90 s longer at priority 0, and
//! nothing waits for ever: keys of new jobs only grow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::JobNumber;
use super::moment::Moment;
use crate::wire::{MAX_PRIORITY, ServiceName};

/// What one step of priority is worth, in waiting time.
const STEP: Duration = Duration::from_secs(10);

/// Methods of services with open jobs at a time. Whoever submits ever new names finds an end here.
pub(super) const MAX_LANES: usize = 10_000;

const STEPS: usize = MAX_PRIORITY as usize + 1;

/// The key and the number of a job: the order of urgency.
pub(super) type Urgency = (Moment, JobNumber);

/// The jobs of one service that wait for a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Lane {
    /// Jobs of this service that have not ended, waiting or not.
    open: u64,
    /// Those that wait, by priority, and then by the moment from which they wait.
    waiting: [BTreeSet<(Moment, JobNumber)>; STEPS],
    /// The most urgent of them.
    head: Option<Urgency>,
}

impl Lane {
    fn first(&self) -> Option<Urgency> {
        let firsts = self.waiting.iter().enumerate().filter_map(|(priority, jobs)| {
            let (since, number) = jobs.first()?;
            Some((key(priority, *since), *number))
        });
        firsts.min()
    }
}

/// A service or a method, as jobs share it.
type Name = Arc<ServiceName>;

/// All lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lanes {
    /// By service, and then by method.
    lanes: BTreeMap<Name, BTreeMap<Name, Lane>>,
    heads: BTreeMap<Urgency, (Name, Name)>,
    /// How many lanes there are.
    count: usize,
    /// How many jobs wait.
    len: u64,
}

fn key(priority: usize, since: Moment) -> Moment {
    since.before(STEP * priority as u32)
}

impl Lanes {
    fn lane(&self, service: &ServiceName, method: &ServiceName) -> Option<&Lane> {
        self.lanes.get(service)?.get(method)
    }

    /// How many jobs of a service wait.
    pub(super) fn ready_of(&self, service: &ServiceName) -> usize {
        let lanes = self.lanes.get(service).into_iter().flat_map(BTreeMap::values);
        lanes.flat_map(|lane| &lane.waiting).map(BTreeSet::len).sum()
    }

    /// Whether there is room for an open job of this.
    pub(super) fn has_room(&self, service: &ServiceName, method: &ServiceName) -> bool {
        self.count < MAX_LANES || self.lane(service, method).is_some()
    }

    /// There is one more open job of this.
    pub(super) fn open(&mut self, service: &Name, method: &Name) {
        let lanes = match self.lanes.get_mut(&**service) {
            Some(lanes) => lanes,
            None => self.lanes.entry(service.clone()).or_default(),
        };
        match lanes.get_mut(&**method) {
            Some(lane) => lane.open += 1,
            None => {
                lanes.insert(method.clone(), Lane { open: 1, ..Lane::default() });
                self.count += 1;
            }
        }
    }

    /// There is one less; it does not wait any more. The lane goes with the last one.
    pub(super) fn close(&mut self, service: &ServiceName, method: &ServiceName) {
        let Some(lanes) = self.lanes.get_mut(service) else { return };
        let Some(lane) = lanes.get_mut(method) else { return };
        lane.open -= 1;
        if lane.open > 0 {
            return;
        }
        debug_assert!(lane.head.is_none(), "what waits is open");
        lanes.remove(method);
        self.count -= 1;
        if lanes.is_empty() {
            self.lanes.remove(service);
        }
    }

    /// An open job waits for a worker, counted from `since`.
    pub(super) fn insert(&mut self, service: &Name, method: &Name, priority: u8, since: Moment, number: JobNumber) {
        let Some(lane) = self.lanes.get_mut(&**service).and_then(|lanes| lanes.get_mut(&**method)) else { return };
        let priority = usize::from(priority.min(MAX_PRIORITY));
        if !lane.waiting[priority].insert((since, number)) {
            return;
        }
        self.len += 1;
        let urgency = (key(priority, since), number);
        if lane.head.is_none_or(|head| urgency < head) {
            if let Some(before) = lane.head.replace(urgency) {
                self.heads.remove(&before);
            }
            self.heads.insert(urgency, (service.clone(), method.clone()));
        }
    }

    /// It does not wait any more.
    pub(super) fn remove(
        &mut self,
        service: &ServiceName,
        method: &ServiceName,
        priority: u8,
        since: Moment,
        number: JobNumber,
    ) {
        let Some(lane) = self.lanes.get_mut(service).and_then(|lanes| lanes.get_mut(method)) else { return };
        let priority = usize::from(priority.min(MAX_PRIORITY));
        if !lane.waiting[priority].remove(&(since, number)) {
            return;
        }
        self.len -= 1;
        let urgency = (key(priority, since), number);
        if lane.head == Some(urgency) {
            lane.head = lane.first();
            let names = self.heads.remove(&urgency).expect("each lane with a head is among the heads");
            if let Some(head) = lane.head {
                self.heads.insert(head, names);
            }
        }
    }

    /// The most urgent job of each lane where one waits, the most urgent first.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&ServiceName, JobNumber)> {
        self.heads.iter().map(|((_, number), (service, _))| (&**service, *number))
    }

    /// How many lanes have a job that waits.
    pub(super) fn waiting(&self) -> usize {
        self.heads.len()
    }

    /// The most urgent job of each method of one service.
    pub(super) fn heads_of(&self, service: &ServiceName) -> impl Iterator<Item = Urgency> {
        self.lanes.get(service).into_iter().flat_map(BTreeMap::values).filter_map(|lane| lane.head)
    }

    /// From when on the one waits that has waited longest.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let waiting = self.heads.values().filter_map(|(service, method)| self.lane(service, method));
        waiting.flat_map(|lane| &lane.waiting).filter_map(|jobs| jobs.first()).map(|(since, _)| *since).min()
    }

    /// How many wait.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether this job waits here.
    pub(super) fn contains(
        &self,
        service: &ServiceName,
        method: &ServiceName,
        priority: u8,
        since: Moment,
        number: JobNumber,
    ) -> bool {
        let priority = usize::from(priority.min(MAX_PRIORITY));
        self.lane(service, method).is_some_and(|lane| lane.waiting[priority].contains(&(since, number)))
    }

    /// Every open job of all lanes.
    pub(super) fn opened(&self) -> u64 {
        self.lanes.values().flat_map(BTreeMap::values).map(|lane| lane.open).sum()
    }

    /// What always holds. Cheap: one step a lane.
    pub(super) fn check_invariants(&self) {
        let lanes = || self.lanes.values().flat_map(BTreeMap::values);
        assert_eq!(
            lanes().filter(|lane| lane.head.is_some()).count(),
            self.heads.len(),
            "each head is among the heads"
        );
        assert_eq!(lanes().count(), self.count);
        assert!(self.lanes.values().all(|lanes| !lanes.is_empty()), "empty services are dropped");
        for lane in lanes() {
            assert!(lane.open > 0, "empty lanes are dropped");
            assert_eq!(lane.head, lane.first(), "the head is the most urgent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Time::ZERO + Duration::from_secs(seconds))
    }

    fn name(text: &str) -> Arc<ServiceName> {
        Arc::new(ServiceName::new(text).unwrap())
    }

    fn run() -> Arc<ServiceName> {
        name("run")
    }

    fn next(lanes: &Lanes) -> Vec<(String, u64)> {
        lanes.heads().map(|(service, number)| (service.to_string(), number.0)).collect()
    }

    #[test]
    fn one_step_of_priority_is_worth_ten_seconds() {
        let (mut lanes, service) = (Lanes::default(), name("a"));
        (0..3).for_each(|_| lanes.open(&service, &run()));
        lanes.insert(&service, &run(), 4, at(0), JobNumber(1));
        lanes.insert(&service, &run(), 5, at(11), JobNumber(2));
        assert_eq!(next(&lanes), [("a".to_owned(), 1)], "eleven seconds are more than one step");
        lanes.insert(&service, &run(), 5, at(9), JobNumber(3));
        assert_eq!(next(&lanes), [("a".to_owned(), 3)]);
        lanes.remove(&service, &run(), 5, at(9), JobNumber(3));
        assert_eq!(next(&lanes), [("a".to_owned(), 1)]);
        assert_eq!(lanes.oldest(), Some(at(0)));
    }

    #[test]
    fn what_waits_for_one_method_does_not_hold_up_another() {
        let (mut lanes, files) = (Lanes::default(), name("files"));
        for (number, method) in [(1, "write"), (2, "write"), (3, "read")] {
            lanes.open(&files, &name(method));
            lanes.insert(&files, &name(method), 4, at(number), JobNumber(number));
        }
        assert_eq!(next(&lanes), [("files".to_owned(), 1), ("files".to_owned(), 3)]);
        assert_eq!(lanes.heads_of(&files).map(|(_, number)| number.0).collect::<Vec<_>>(), [3, 1], "by method");
        assert_eq!((lanes.ready_of(&files), lanes.waiting()), (3, 2));
        lanes.check_invariants();
    }

    #[test]
    fn equal_keys_go_by_number() {
        let (mut lanes, service) = (Lanes::default(), name("a"));
        (0..2).for_each(|_| lanes.open(&service, &run()));
        lanes.insert(&service, &run(), 5, at(10), JobNumber(7));
        lanes.insert(&service, &run(), 4, at(0), JobNumber(8));
        assert_eq!(next(&lanes), [("a".to_owned(), 7)]);
    }

    #[test]
    fn a_lane_is_dropped_with_its_last_open_job() {
        let (mut lanes, service) = (Lanes::default(), name("a"));
        lanes.open(&service, &run());
        lanes.insert(&service, &run(), 0, at(0), JobNumber(1));
        lanes.remove(&service, &run(), 0, at(0), JobNumber(1));
        assert_eq!(lanes.opened(), 1);
        lanes.close(&service, &run());
        assert_eq!(lanes, Lanes::default());
    }

    #[test]
    fn there_is_an_end_of_names() {
        let mut lanes = Lanes::default();
        for n in 0..MAX_LANES {
            let service = name(&format!("s{n}"));
            assert!(lanes.has_room(&service, &run()));
            lanes.open(&service, &run());
        }
        assert!(!lanes.has_room(&name("other"), &run()));
        assert!(lanes.has_room(&name("s0"), &run()), "a name that is there is not a new one");
        lanes.close(&name("s1"), &run());
        assert!(lanes.has_room(&name("other"), &run()));
    }

    proptest! {
        #[test]
        fn the_heads_are_the_minima_of_a_plain_list(
            steps in prop::collection::vec((0..3usize, 0..10u8, 0..200u64, any::<bool>()), 1..120),
        ) {
            let services = [name("a"), name("b"), name("c")];
            let (mut lanes, mut plain) = (Lanes::default(), Vec::new());
            for (count, (service, priority, since, takes)) in steps.into_iter().enumerate() {
                if takes && !plain.is_empty() {
                    let (_, number, service, priority, since): (Moment, JobNumber, usize, u8, Moment) =
                        plain.remove(count % plain.len());
                    lanes.remove(&services[service], &run(), priority, since, number);
                    lanes.close(&services[service], &run());
                } else {
                    let number = JobNumber(count as u64);
                    lanes.open(&services[service], &run());
                    lanes.insert(&services[service], &run(), priority, at(since), number);
                    let key = at(since).before(Duration::from_secs(10 * u64::from(priority)));
                    plain.push((key, number, service, priority, at(since)));
                }
                lanes.check_invariants();
                let mut heads: Vec<_> = (0..3)
                    .filter_map(|service| plain.iter().filter(|job| job.2 == service).min())
                    .map(|job| (job.0, job.1, services[job.2].to_string()))
                    .collect();
                heads.sort();
                let heads: Vec<_> = heads.into_iter().map(|(_, number, service)| (service, number.0)).collect();
                prop_assert_eq!(next(&lanes), heads);
                prop_assert_eq!(lanes.oldest(), plain.iter().map(|job| job.4).min());
                prop_assert_eq!(lanes.len(), plain.len() as u64);
            }
        }
    }
}
