//! How many workers the excess needs, and of whom.

use std::collections::BTreeSet;

use crate::core::loans::{FOREIGN_SERVICE, MAX_LOANS, Need, Neighbour, Saturation};
use crate::wire::ServiceName;

/// What somebody can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offers<'a> {
    /// That is not known: anything, perhaps.
    Anything,
    /// These services.
    These(&'a [ServiceName]),
    /// What programs of the classroom run.
    Foreign,
}

impl Neighbour {
    /// What its workers can run.
    pub(super) fn offers(&self) -> Offers<'_> {
        match self.services.as_slice() {
            _ if !self.native => Offers::Foreign,
            [] => Offers::Anything,
            services => Offers::These(services),
        }
    }
}

impl Offers<'_> {
    /// Whether this service is among them.
    pub(super) fn include(&self, service: &ServiceName) -> bool {
        match self {
            Offers::Anything => true,
            Offers::These(services) => services.contains(service),
            Offers::Foreign => service.as_str() == FOREIGN_SERVICE,
        }
    }
}

impl Saturation {
    /// Workers that are needed beside the own ones, if they can run so many of the jobs that wait.
    ///
    /// The capacity is how many pending jobs the operator takes for normal with the own workers. So that a longer queue is waited for no longer,
    /// the workers must grow as it does: by `workers x (pending - capacity) / capacity`, rounded up. With 4 own workers and the course's example
    /// of 150 jobs at a capacity of 100, that is 2. Of what is above the capacity only as much counts as they can run. There are never more than
    /// such jobs, nor than may be borrowed at all. A master without workers counts as one that has one.
    pub(super) fn extra(&self, runnable: u64) -> u32 {
        if !self.saturated {
            return 0;
        }
        let excess = self.pending.saturating_sub(self.capacity).min(runnable);
        let wanted = (u128::from(self.workers.max(1)) * u128::from(excess)).div_ceil(u128::from(self.capacity.max(1)));
        let most = excess.min(MAX_LOANS as u64);
        u32::try_from(wanted.min(u128::from(most))).expect("at most as many as there are loans")
    }

    /// How many of the jobs that wait somebody can run who offers this.
    pub(super) fn runnable(&self, offers: Offers<'_>) -> u64 {
        let places: BTreeSet<usize> = match offers {
            Offers::Anything => return self.pending,
            Offers::These(services) => services.iter().filter_map(|one| self.place_of(one.as_str())).collect(),
            Offers::Foreign => self.place_of(FOREIGN_SERVICE).into_iter().collect(),
        };
        places.into_iter().fold(0, |sum: u64, place| sum.saturating_add(self.needs[place].waiting))
    }

    /// How many workers are needed for the jobs that wait and that these services run.
    pub(in crate::core::loans) fn extra_for(&self, services: &[ServiceName]) -> u32 {
        self.extra(self.runnable(Offers::These(services)))
    }

    /// Whether any job that waits is for a worker that runs these.
    pub(in crate::core::loans) fn is_for(&self, services: &[ServiceName]) -> bool {
        services.iter().any(|service| self.place_of(service.as_str()).is_some())
    }

    /// The services with jobs that wait and that no own worker here offers, and how many jobs of each.
    pub(super) fn stranded(&self) -> impl Iterator<Item = (&ServiceName, u64)> {
        self.needs.iter().filter(|need| !need.own).map(|Need { service, waiting, .. }| (service, *waiting))
    }

    fn place_of(&self, service: &str) -> Option<usize> {
        self.needs.binary_search_by(|need| need.service.as_str().cmp(service)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pending: u64, capacity: u64, workers: u64) -> u32 {
        let load = Saturation { saturated: true, pending, capacity, workers, ..Saturation::default() };
        load.extra(pending)
    }

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    /// A queue of 150 at a capacity of 100, with 4 workers: so many of each.
    fn queue(needs: &[(&str, u64)]) -> Saturation {
        let needs =
            needs.iter().map(|(service, waiting)| Need { service: name(service), waiting: *waiting, own: true });
        let needs = needs.collect();
        Saturation { saturated: true, pending: 150, capacity: 100, workers: 4, needs, ..Saturation::default() }
    }

    #[test]
    fn the_queue_is_waited_for_no_longer_than_at_the_capacity() {
        assert_eq!(of(150, 100, 4), 2);
        assert_eq!(of(101, 100, 4), 1);
        assert_eq!(of(200, 100, 3), 3);
        assert_eq!(of(200, 100, 0), 1, "a master without workers counts as one with one");
        assert_eq!(of(100, 100, 4), 0);
        assert_eq!(of(10_000, 100, 50), 50 * 99, "what one request may ask for bounds only that");
        assert_eq!(of(u64::MAX, 1, u64::MAX), MAX_LOANS as u32);
        assert_eq!(of(12, 10, 1000), 2, "no more than jobs above the capacity");
        let calm = Saturation { saturated: false, pending: 500, capacity: 100, workers: 4, ..Saturation::default() };
        assert_eq!(calm.extra(500), 0);
    }

    #[test]
    fn only_what_the_workers_of_a_neighbour_can_run_is_needed_of_it() {
        let load = queue(&[("primes", 20), ("query", 10), ("slepp", 120)]);
        let of = |offers| load.extra(load.runnable(offers));
        assert_eq!(load.runnable(Offers::Foreign), 10);
        let both = [name("query"), name("primes"), name("query"), name("render")];
        assert_eq!(load.runnable(Offers::These(&both)), 30, "each once");
        assert_eq!(of(Offers::These(&both)), 2, "4 x 30 / 100");
        assert_eq!(of(Offers::Foreign), 1);
        let other = [name("render")];
        assert_eq!(of(Offers::These(&other)), 0);
        assert_eq!((load.runnable(Offers::Anything), of(Offers::Anything)), (150, 2));
        // Half of each: whoever runs one of them is worth asking, though that one alone would be no reason.
        let load = queue(&[("primes", 75), ("query", 75)]);
        assert_eq!(load.extra(load.runnable(Offers::Foreign)), 2);
    }

    #[test]
    fn strangers_run_query_whatever_they_say_and_who_says_nothing_may_run_anything() {
        let mut one = crate::core::loans::tests::neighbour("B", 9102);
        assert_eq!(one.offers(), Offers::Anything);
        one.services = vec![name("sleep")];
        assert_eq!(one.offers(), Offers::These(&[name("sleep")]));
        assert!(one.offers().include(&name("sleep")) && !one.offers().include(&name("query")));
        one.native = false;
        assert_eq!(one.offers(), Offers::Foreign);
        assert!(one.offers().include(&name("query")) && !one.offers().include(&name("sleep")));
    }

    proptest! {
        #[test]
        fn a_longer_queue_never_needs_fewer(pending: u64, more: u32, capacity in 1..=u64::MAX, workers: u64) {
            let longer = pending.saturating_add(u64::from(more));
            prop_assert!(of(longer, capacity, workers) >= of(pending, capacity, workers));
            prop_assert!(pending <= capacity || of(pending, capacity, workers) >= 1);
        }

        #[test]
        fn who_can_run_more_is_needed_no_less_and_nobody_for_more_than_there_is(
            pending: u64, capacity in 1..=u64::MAX, workers: u64, runnable: u64, more: u32,
        ) {
            let load = Saturation { saturated: true, pending, capacity, workers, ..Saturation::default() };
            let (few, many) = (load.extra(runnable), load.extra(runnable.saturating_add(u64::from(more))));
            prop_assert!(few <= many && u64::from(few) <= runnable && many <= load.extra(pending).max(few));
            prop_assert!(pending <= capacity || runnable == 0 || few >= 1);
        }
    }
}
