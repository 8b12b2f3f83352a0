//! How many workers the excess needs.

use crate::core::loans::Saturation;
use crate::wire::MAX_WORKERS_NEEDED;

/// Workers that are needed beside the own ones.
///
/// The capacity is how many pending jobs the operator takes for normal with the own workers. So that a longer queue is waited for no longer,
/// the workers must grow as it does: by `workers x (pending - capacity) / capacity`, rounded up. With 4 own workers and the course's example of
/// 150 jobs at a capacity of 100, that is 2. There are never more than jobs above the capacity, nor than one request may ask for. A master without
/// workers counts as one that has one.
pub(super) fn extra(load: &Saturation) -> u32 {
    if !load.saturated {
        return 0;
    }
    let excess = load.pending.saturating_sub(load.capacity);
    let wanted = (u128::from(load.workers.max(1)) * u128::from(excess)).div_ceil(u128::from(load.capacity.max(1)));
    let most = excess.min(u64::from(MAX_WORKERS_NEEDED));
    u32::try_from(wanted.min(u128::from(most))).expect("at most what one request may ask for")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(pending: u64, capacity: u64, workers: u64) -> u32 {
        extra(&Saturation { saturated: true, pending, capacity, workers, ..Saturation::default() })
    }

    #[test]
    fn the_queue_is_waited_for_no_longer_than_at_the_capacity() {
        assert_eq!(of(150, 100, 4), 2);
        assert_eq!(of(101, 100, 4), 1);
        assert_eq!(of(200, 100, 3), 3);
        assert_eq!(of(200, 100, 0), 1, "a master without workers counts as one with one");
        assert_eq!(of(100, 100, 4), 0);
        assert_eq!(of(10_000, 100, 50), MAX_WORKERS_NEEDED);
        assert_eq!(of(12, 10, 1000), 2, "no more than jobs above the capacity");
        let calm = Saturation { saturated: false, pending: 500, capacity: 100, workers: 4, ..Saturation::default() };
        assert_eq!(extra(&calm), 0);
    }

    proptest! {
        #[test]
        fn a_longer_queue_never_needs_fewer(pending: u64, more: u32, capacity in 1..=u64::MAX, workers: u64) {
            let longer = pending.saturating_add(u64::from(more));
            prop_assert!(of(longer, capacity, workers) >= of(pending, capacity, workers));
            prop_assert!(pending <= capacity || of(pending, capacity, workers) >= 1);
        }
    }
}
