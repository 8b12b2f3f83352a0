//! Who is next: a lane for each method of a service, ordered by waiting time and priority. A lane a method, because workers
//! may have different ones: what waits for a worker that never comes holds up nobody else.
//!
//! The **key** of a job is the moment from which it waits, minus ten seconds for each step of priority; the smallest
//! key is the most urgent. A job of priority 9 so overtakes what has waited at most 90 s longer at priority 0, and
//! nothing waits for ever: keys of new jobs only grow.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::JobNumber;
use super::super::timeline::{Timeline, earlier};
use super::moment::Moment;
use super::names::Pair;
use crate::wire::{MAX_PRIORITY, ServiceName};

/// What one step of priority is worth, in waiting time.
const STEP: Duration = Duration::from_secs(10);

/// Methods of services with open jobs at a time. Whoever submits ever new names finds an end here.
pub(super) const MAX_LANES: usize = 10_000;

const STEPS: usize = MAX_PRIORITY as usize + 1;

/// The key and the number of a job: the order of urgency.
pub(super) type Urgency = (Moment, JobNumber);

/// The jobs of one method that wait for a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Lane {
    /// Jobs of this method that have not ended, waiting or not.
    open: u64,
    /// Those that wait, by priority, and then by the moment from which they wait.
    waiting: [Timeline<(Moment, JobNumber)>; STEPS],
    /// For each priority a bit: some wait.
    filled: u16,
    /// The most urgent of them.
    head: Option<Urgency>,
}

impl Lane {
    fn first(&self) -> Option<Urgency> {
        let (mut bits, mut first) = (self.filled, None);
        while bits != 0 {
            let priority = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if let Some((since, number)) = self.waiting[priority].first() {
                first = earlier(first, Some((key(priority, *since), *number)));
            }
        }
        first
    }
}

/// All lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lanes {
    /// By pair, as far as there are any.
    lanes: Vec<Option<Box<Lane>>>,
    /// The pairs that have a lane, by service, and then by method.
    services: BTreeMap<ServiceName, BTreeMap<ServiceName, Pair>>,
    heads: BTreeMap<Urgency, Pair>,
    /// How many lanes there are.
    count: usize,
    /// How many jobs wait.
    len: u64,
}

fn key(priority: usize, since: Moment) -> Moment {
    since.before(STEP * priority as u32)
}

impl Lanes {
    fn lane(&self, pair: Pair) -> Option<&Lane> {
        self.lanes.get(pair.index())?.as_deref()
    }

    fn lane_mut(&mut self, pair: Pair) -> Option<&mut Lane> {
        self.lanes.get_mut(pair.index())?.as_deref_mut()
    }

    /// The services with jobs that wait, and how many of each.
    pub(super) fn waiting_services(&self) -> Vec<(ServiceName, u64)> {
        let waiting = self.services.keys().map(|service| (service.clone(), self.ready_of(service) as u64));
        waiting.filter(|(_, count)| *count > 0).collect()
    }

    /// The lanes of a service, by method.
    fn of(&self, service: &ServiceName) -> impl Iterator<Item = (&ServiceName, &Lane)> {
        let methods = self.services.get(service).into_iter().flatten();
        methods.filter_map(|(method, pair)| Some((method, self.lane(*pair)?)))
    }

    /// How many jobs of a service wait.
    pub(super) fn ready_of(&self, service: &ServiceName) -> usize {
        self.of(service).flat_map(|(_, lane)| &lane.waiting).map(Timeline::len).sum()
    }

    /// How many jobs of a service, by any method, wait and are more urgent than this one.
    pub(super) fn ahead_of(&self, service: &ServiceName, priority: u8, since: Moment, number: JobNumber) -> usize {
        let own = key(usize::from(priority), since);
        let lanes = self.of(service).flat_map(|(_, lane)| lane.waiting.iter().enumerate());
        // The moment from which one of that priority would wait if it had this key.
        lanes.map(|(priority, waiting)| waiting.rank(&(own.after(STEP * priority as u32), number))).sum()
    }

    /// Whether there is room for an open job of this; `None`: of one that no job bears.
    pub(super) fn has_room(&self, pair: Option<Pair>) -> bool {
        self.count < MAX_LANES || pair.is_some_and(|pair| self.lane(pair).is_some())
    }

    /// There is one more open job of this.
    pub(super) fn open(&mut self, pair: Pair, service: &ServiceName, method: &ServiceName) {
        if let Some(lane) = self.lane_mut(pair) {
            lane.open += 1;
            return;
        }
        if self.lanes.len() <= pair.index() {
            self.lanes.resize(pair.index() + 1, None);
        }
        self.lanes[pair.index()] = Some(Box::new(Lane { open: 1, ..Lane::default() }));
        self.services.entry(service.clone()).or_default().insert(method.clone(), pair);
        self.count += 1;
    }

    /// There is one less; it does not wait any more. The lane goes with the last one.
    pub(super) fn close(&mut self, pair: Pair, service: &ServiceName, method: &ServiceName) {
        let Some(lane) = self.lane_mut(pair) else { return };
        lane.open -= 1;
        if lane.open > 0 {
            return;
        }
        debug_assert!(lane.head.is_none(), "what waits is open");
        self.lanes[pair.index()] = None;
        self.count -= 1;
        if let Some(methods) = self.services.get_mut(service) {
            methods.remove(method);
            if methods.is_empty() {
                self.services.remove(service);
            }
        }
        if self.count == 0 {
            self.lanes.clear();
        }
    }

    /// An open job waits for a worker, counted from `since`.
    pub(super) fn insert(&mut self, pair: Pair, priority: u8, since: Moment, number: JobNumber) {
        let Some(lane) = self.lanes.get_mut(pair.index()).and_then(Option::as_deref_mut) else { return };
        let priority = usize::from(priority.min(MAX_PRIORITY));
        if !lane.waiting[priority].insert((since, number)) {
            return;
        }
        lane.filled |= 1 << priority;
        self.len += 1;
        let urgency = (key(priority, since), number);
        if lane.head.is_none_or(|head| urgency < head) {
            if let Some(before) = lane.head.replace(urgency) {
                self.heads.remove(&before);
            }
            self.heads.insert(urgency, pair);
        }
    }

    /// It does not wait any more.
    pub(super) fn remove(&mut self, pair: Pair, priority: u8, since: Moment, number: JobNumber) {
        let Some(lane) = self.lanes.get_mut(pair.index()).and_then(Option::as_deref_mut) else { return };
        let priority = usize::from(priority.min(MAX_PRIORITY));
        if !lane.waiting[priority].remove(&(since, number)) {
            return;
        }
        lane.filled &= !(u16::from(lane.waiting[priority].is_empty()) << priority);
        self.len -= 1;
        let urgency = (key(priority, since), number);
        if lane.head == Some(urgency) {
            lane.head = lane.first();
            self.heads.remove(&urgency);
            if let Some(head) = lane.head {
                self.heads.insert(head, pair);
            }
        }
    }

    /// The most urgent job of each lane where one waits, the most urgent first.
    pub(super) fn heads(&self) -> impl Iterator<Item = (Pair, JobNumber)> {
        self.heads.iter().map(|((_, number), pair)| (*pair, *number))
    }

    /// How many lanes have a job that waits.
    pub(super) fn waiting(&self) -> usize {
        self.heads.len()
    }

    /// The most urgent job of each method of one service.
    pub(super) fn heads_of(&self, service: &ServiceName) -> impl Iterator<Item = (&ServiceName, Urgency)> {
        self.of(service).filter_map(|(method, lane)| Some((method, lane.head?)))
    }

    /// From when on the one waits that has waited longest.
    pub(super) fn oldest(&self) -> Option<Moment> {
        let waiting = self.heads.values().filter_map(|pair| self.lane(*pair));
        waiting.flat_map(|lane| &lane.waiting).filter_map(|jobs| jobs.first()).map(|(since, _)| *since).min()
    }

    /// How many wait.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether this job waits here.
    pub(super) fn contains(&self, pair: Pair, priority: u8, since: Moment, number: JobNumber) -> bool {
        let priority = usize::from(priority.min(MAX_PRIORITY));
        self.lane(pair).is_some_and(|lane| lane.waiting[priority].contains(&(since, number)))
    }

    /// Every open job of all lanes.
    pub(super) fn opened(&self) -> u64 {
        self.lanes.iter().flatten().map(|lane| lane.open).sum()
    }

    /// What always holds. Cheap: one step a lane.
    pub(super) fn check_invariants(&self) {
        let lanes = || self.lanes.iter().flatten();
        assert_eq!(
            lanes().filter(|lane| lane.head.is_some()).count(),
            self.heads.len(),
            "each head is among the heads"
        );
        assert_eq!(lanes().count(), self.count);
        assert!(self.services.values().all(|methods| !methods.is_empty()), "empty services are dropped");
        let pairs = || self.services.values().flat_map(BTreeMap::values);
        assert_eq!(pairs().count(), self.count);
        assert!(pairs().all(|pair| self.lane(*pair).is_some()), "each listed pair has its lane");
        for lane in lanes() {
            assert!(lane.open > 0, "empty lanes are dropped");
            for (priority, jobs) in lane.waiting.iter().enumerate() {
                assert_eq!(lane.filled >> priority & 1 == 0, jobs.is_empty(), "a bit for those that wait");
            }
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

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    /// The pairs `a`, `b` and `c` of the same method.
    const A: Pair = Pair::new(0);
    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn open(lanes: &mut Lanes, pair: Pair) {
        lanes.open(pair, &name(NAMES[pair.index()]), &name("run"));
    }

    fn close(lanes: &mut Lanes, pair: Pair) {
        lanes.close(pair, &name(NAMES[pair.index()]), &name("run"));
    }

    fn next(lanes: &Lanes) -> Vec<(usize, u64)> {
        lanes.heads().map(|(pair, number)| (pair.index(), number.0)).collect()
    }

    #[test]
    fn one_step_of_priority_is_worth_ten_seconds() {
        let mut lanes = Lanes::default();
        (0..3).for_each(|_| open(&mut lanes, A));
        lanes.insert(A, 4, at(0), JobNumber(1));
        lanes.insert(A, 5, at(11), JobNumber(2));
        assert_eq!(next(&lanes), [(0, 1)], "eleven seconds are more than one step");
        lanes.insert(A, 5, at(9), JobNumber(3));
        assert_eq!(next(&lanes), [(0, 3)]);
        lanes.remove(A, 5, at(9), JobNumber(3));
        assert_eq!(next(&lanes), [(0, 1)]);
        assert_eq!(lanes.oldest(), Some(at(0)));
    }

    #[test]
    fn how_many_are_ahead_is_how_many_are_given_out_before() {
        let mut lanes = Lanes::default();
        let jobs = [(0, 100, 1), (2, 115, 2), (0, 90, 3), (9, 180, 4), (2, 120, 5), (0, 100, 6)];
        for (priority, since, number) in jobs {
            open(&mut lanes, A);
            lanes.insert(A, priority, at(since), JobNumber(number));
        }
        let mut order = jobs;
        order.sort_by_key(|(priority, since, number)| (key(usize::from(*priority), at(*since)), *number));
        for (before, (priority, since, number)) in order.into_iter().enumerate() {
            assert_eq!(lanes.ahead_of(&name("a"), priority, at(since), JobNumber(number)), before, "job {number}");
        }
    }

    #[test]
    fn what_waits_for_one_method_does_not_hold_up_another() {
        let (mut lanes, files) = (Lanes::default(), name("files"));
        for (number, pair, method) in [(1, 5, "write"), (2, 5, "write"), (3, 9, "read")] {
            lanes.open(Pair::new(pair), &files, &name(method));
            lanes.insert(Pair::new(pair), 4, at(number), JobNumber(number));
        }
        assert_eq!(next(&lanes), [(5, 1), (9, 3)]);
        let heads: Vec<_> = lanes.heads_of(&files).map(|(method, (_, number))| (method.as_str(), number.0)).collect();
        assert_eq!(heads, [("read", 3), ("write", 1)], "by method");
        assert_eq!((lanes.ready_of(&files), lanes.waiting()), (3, 2));
        lanes.check_invariants();
    }

    #[test]
    fn equal_keys_go_by_number() {
        let mut lanes = Lanes::default();
        (0..2).for_each(|_| open(&mut lanes, A));
        lanes.insert(A, 5, at(10), JobNumber(7));
        lanes.insert(A, 4, at(0), JobNumber(8));
        assert_eq!(next(&lanes), [(0, 7)]);
    }

    #[test]
    fn a_lane_is_dropped_with_its_last_open_job() {
        let mut lanes = Lanes::default();
        open(&mut lanes, A);
        lanes.insert(A, 0, at(0), JobNumber(1));
        lanes.remove(A, 0, at(0), JobNumber(1));
        assert_eq!(lanes.opened(), 1);
        close(&mut lanes, A);
        assert_eq!(lanes, Lanes::default());
    }

    #[test]
    fn there_is_an_end_of_names() {
        let mut lanes = Lanes::default();
        let service = |n: usize| name(&format!("s{n}"));
        for n in 0..MAX_LANES {
            assert!(lanes.has_room(None));
            lanes.open(Pair::new(n as u32), &service(n), &name("run"));
        }
        assert!(!lanes.has_room(None));
        assert!(!lanes.has_room(Some(Pair::new(MAX_LANES as u32))), "kept jobs bear it, open ones do not");
        assert!(lanes.has_room(Some(A)), "a name that is there is not a new one");
        lanes.close(Pair::new(1), &service(1), &name("run"));
        assert!(lanes.has_room(None));
    }

    proptest! {
        #[test]
        fn the_heads_are_the_minima_of_a_plain_list(
            steps in prop::collection::vec((0..3u32, 0..10u8, 0..200u64, any::<bool>()), 1..120),
        ) {
            let (mut lanes, mut plain) = (Lanes::default(), Vec::new());
            for (count, (service, priority, since, takes)) in steps.into_iter().enumerate() {
                if takes && !plain.is_empty() {
                    let (_, number, service, priority, since): (Moment, JobNumber, u32, u8, Moment) =
                        plain.remove(count % plain.len());
                    lanes.remove(Pair::new(service), priority, since, number);
                    close(&mut lanes, Pair::new(service));
                } else {
                    let number = JobNumber(count as u64);
                    open(&mut lanes, Pair::new(service));
                    lanes.insert(Pair::new(service), priority, at(since), number);
                    let key = at(since).before(Duration::from_secs(10 * u64::from(priority)));
                    plain.push((key, number, service, priority, at(since)));
                }
                lanes.check_invariants();
                let mut heads: Vec<_> = (0..3)
                    .filter_map(|service| plain.iter().filter(|job| job.2 == service).min())
                    .map(|job| (job.0, job.1, job.2 as usize))
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
