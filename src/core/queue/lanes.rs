//! Who is next: a lane a service, ordered by waiting time and priority.
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

/// Services with open jobs at a time. A decision looks at each; whoever submits ever new names finds an end here.
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

/// All lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lanes {
    lanes: BTreeMap<Arc<ServiceName>, Lane>,
    heads: BTreeMap<Urgency, Arc<ServiceName>>,
    len: u64,
}

fn key(priority: usize, since: Moment) -> Moment {
    since.before(STEP * priority as u32)
}

impl Lanes {
    /// How many jobs of a service wait.
    pub(super) fn ready_of(&self, service: &ServiceName) -> usize {
        self.lanes.get(service).map_or(0, |lane| lane.waiting.iter().map(BTreeSet::len).sum())
    }

    /// Whether there is room for an open job of this service.
    pub(super) fn has_room(&self, service: &ServiceName) -> bool {
        self.lanes.len() < MAX_LANES || self.lanes.contains_key(service)
    }

    /// There is one more open job of this service.
    pub(super) fn open(&mut self, service: &Arc<ServiceName>) {
        match self.lanes.get_mut(&**service) {
            Some(lane) => lane.open += 1,
            None => {
                self.lanes.insert(service.clone(), Lane { open: 1, ..Lane::default() });
            }
        }
    }

    /// There is one less; it does not wait any more. The lane goes with the last one.
    pub(super) fn close(&mut self, service: &ServiceName) {
        if let Some(lane) = self.lanes.get_mut(service) {
            lane.open -= 1;
            if lane.open == 0 {
                debug_assert!(lane.head.is_none(), "what waits is open");
                self.lanes.remove(service);
            }
        }
    }

    /// An open job waits for a worker, counted from `since`.
    pub(super) fn insert(&mut self, service: &Arc<ServiceName>, priority: u8, since: Moment, number: JobNumber) {
        let Some(lane) = self.lanes.get_mut(&**service) else { return };
        let priority = usize::from(priority.min(MAX_PRIORITY));
        if !lane.waiting[priority].insert((since, number)) {
            return;
        }
        self.len += 1;
        let urgency = (key(priority, since), number);
        if lane.head.is_none_or(|head| urgency < head) {
            let before = lane.head.replace(urgency);
            before.map(|head| self.heads.remove(&head));
            self.heads.insert(urgency, service.clone());
        }
    }

    /// It does not wait any more.
    pub(super) fn remove(&mut self, service: &ServiceName, priority: u8, since: Moment, number: JobNumber) {
        let Some(lane) = self.lanes.get_mut(service) else { return };
        let priority = usize::from(priority.min(MAX_PRIORITY));
        if !lane.waiting[priority].remove(&(since, number)) {
            return;
        }
        self.len -= 1;
        let urgency = (key(priority, since), number);
        if lane.head == Some(urgency) {
            lane.head = lane.first();
            let name = self.heads.remove(&urgency).expect("each lane with a head is among the heads");
            lane.head.map(|head| self.heads.insert(head, name));
        }
    }

    /// The most urgent job of each lane where one waits, the most urgent first.
    pub(super) fn heads(&self) -> impl Iterator<Item = (&ServiceName, JobNumber)> {
        self.heads.iter().map(|((_, number), service)| (&**service, *number))
    }

    /// How many services have a job that waits.
    pub(super) fn waiting_services(&self) -> usize {
        self.heads.len()
    }

    /// The most urgent job of one service.
    pub(super) fn head_of(&self, service: &ServiceName) -> Option<Urgency> {
        self.lanes.get(service)?.head
    }

    /// From when on the one waits that has waited longest.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let waiting = self.heads.values().filter_map(|service| self.lanes.get(service));
        waiting.flat_map(|lane| &lane.waiting).filter_map(|jobs| jobs.first()).map(|(since, _)| *since).min()
    }

    /// How many wait.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether this job waits here.
    pub(super) fn contains(&self, service: &ServiceName, priority: u8, since: Moment, number: JobNumber) -> bool {
        let priority = usize::from(priority.min(MAX_PRIORITY));
        self.lanes.get(service).is_some_and(|lane| lane.waiting[priority].contains(&(since, number)))
    }

    /// Every open job of all lanes.
    pub(super) fn opened(&self) -> u64 {
        self.lanes.values().map(|lane| lane.open).sum()
    }

    /// What always holds. Cheap: one step a lane.
    pub(super) fn check_invariants(&self) {
        let heads = self.lanes.values().filter(|lane| lane.head.is_some()).count();
        assert_eq!(heads, self.heads.len(), "each lane has its head among the heads");
        for (service, lane) in &self.lanes {
            assert!(lane.open > 0, "empty lanes are dropped: {service}");
            assert_eq!(lane.head, lane.first(), "the head is the most urgent: {service}");
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

    fn next(lanes: &Lanes) -> Vec<(String, u64)> {
        lanes.heads().map(|(service, number)| (service.to_string(), number.0)).collect()
    }

    #[test]
    fn one_step_of_priority_is_worth_ten_seconds() {
        let (mut lanes, service) = (Lanes::default(), name("a"));
        (0..3).for_each(|_| lanes.open(&service));
        lanes.insert(&service, 4, at(0), JobNumber(1));
        lanes.insert(&service, 5, at(11), JobNumber(2));
        assert_eq!(next(&lanes), [("a".to_owned(), 1)], "eleven seconds are more than one step");
        lanes.insert(&service, 5, at(9), JobNumber(3));
        assert_eq!(next(&lanes), [("a".to_owned(), 3)]);
        lanes.remove(&service, 5, at(9), JobNumber(3));
        assert_eq!(next(&lanes), [("a".to_owned(), 1)]);
        assert_eq!(lanes.oldest(), Some(at(0)));
    }

    #[test]
    fn equal_keys_go_by_number() {
        let (mut lanes, service) = (Lanes::default(), name("a"));
        (0..2).for_each(|_| lanes.open(&service));
        lanes.insert(&service, 5, at(10), JobNumber(7));
        lanes.insert(&service, 4, at(0), JobNumber(8));
        assert_eq!(next(&lanes), [("a".to_owned(), 7)]);
    }

    #[test]
    fn a_lane_is_dropped_with_its_last_open_job() {
        let (mut lanes, service) = (Lanes::default(), name("a"));
        lanes.open(&service);
        lanes.insert(&service, 0, at(0), JobNumber(1));
        lanes.remove(&service, 0, at(0), JobNumber(1));
        assert_eq!(lanes.opened(), 1);
        lanes.close(&service);
        assert_eq!(lanes, Lanes::default());
    }

    #[test]
    fn there_is_an_end_of_names() {
        let mut lanes = Lanes::default();
        for n in 0..MAX_LANES {
            let service = name(&format!("s{n}"));
            assert!(lanes.has_room(&service));
            lanes.open(&service);
        }
        assert!(!lanes.has_room(&name("other")));
        assert!(lanes.has_room(&name("s0")), "a name that is there is not a new one");
        lanes.close(&name("s1"));
        assert!(lanes.has_room(&name("other")));
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
                    lanes.remove(&services[service], priority, since, number);
                    lanes.close(&services[service]);
                } else {
                    let number = JobNumber(count as u64);
                    lanes.open(&services[service]);
                    lanes.insert(&services[service], priority, at(since), number);
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
