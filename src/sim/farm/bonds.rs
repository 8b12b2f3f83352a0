//! The laws of a native worker's bond, as it is seen after each of its steps.
//!
//! 1. **No lower epoch is followed**: as long as it lives, the highest order that it has seen only grows.
//! 2. **One order, one place**: at one epoch it starts jobs at home, or on one loan at one borrower, and nowhere else. Who has lost its owner, and
//!    works elsewhere on nobody's order, is no matter of this law.
//! 3. **One master at a time**: what it starts is its master's, and nothing of another master runs beside it, unless it was told to stop.

use std::collections::BTreeMap;

use crate::core::BondView;
use crate::sim::host::host_at;
use crate::sim::network::Host;
use crate::wire::{Epoch, LoanId};

/// Where a worker worked at an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    master: Host,
    /// `None`: it is at home.
    loan: Option<LoanId>,
}

/// What is known of all workers, each by its host and how often it was started.
#[derive(Clone, Debug, Default)]
pub(super) struct Bonds {
    seen: BTreeMap<(Host, u64), Epoch>,
    places: BTreeMap<(Host, u64, Epoch), Place>,
}

impl Bonds {
    /// A worker has done something.
    pub(super) fn look(&mut self, worker: Host, life: u64, bond: &BondView) -> Result<(), String> {
        let Some(epoch) = bond.epoch else { return Ok(()) };
        let before = self.seen.insert((worker, life), epoch).unwrap_or_default();
        if before > epoch {
            return Err(format!("worker {worker} follows an order of epoch {epoch}, and has seen {before}"));
        }
        Ok(())
    }

    /// It starts a job of this master.
    pub(super) fn starts(&mut self, worker: Host, life: u64, master: Host, bond: &BondView) -> Result<(), String> {
        let at = bond.at.as_ref().map(host_at);
        if at != Some(master) {
            return Err(format!("worker {worker} starts a job of master {master}, and is with {at:?}"));
        }
        let own = bond.owner.as_ref().is_some_and(|owner| owner.as_str() == format!("master-{master}"));
        let (Some(epoch), true) = (bond.epoch, own || bond.loan_id.is_some()) else { return Ok(()) };
        let place = Place { master, loan: bond.loan_id.clone() };
        let first = self.places.entry((worker, life, epoch)).or_insert_with(|| place.clone());
        if *first != place {
            return Err(format!("worker {worker} works at epoch {epoch} as {place:?}, and did as {first:?} before"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::host::address;
    use crate::wire::{Address, ServerId};

    fn bond(counter: u64, owner: Host, at: Host, loan: Option<&str>) -> BondView {
        BondView {
            epoch: Some(Epoch { generation: 0, counter }),
            owner: ServerId::new(format!("master-{owner}")),
            loan_id: loan.and_then(LoanId::new),
            at: Some(Address::of(address(at))),
        }
    }

    #[test]
    fn an_epoch_is_one_place_and_never_a_lower_one() {
        let mut bonds = Bonds::default();
        bonds.look(9, 1, &bond(4, 0, 0, None)).unwrap();
        bonds.starts(9, 1, 0, &bond(4, 0, 0, None)).unwrap();
        bonds.starts(9, 1, 1, &bond(5, 0, 1, Some("L"))).unwrap();
        bonds.starts(9, 1, 1, &bond(5, 0, 1, Some("L"))).unwrap();
        assert!(bonds.starts(9, 1, 1, &bond(4, 0, 1, Some("L"))).is_err(), "the epoch of home");
        assert!(bonds.starts(9, 1, 2, &bond(5, 0, 2, Some("M"))).is_err(), "two loans at one epoch");
        assert!(bonds.starts(9, 1, 0, &bond(6, 0, 1, Some("N"))).is_err(), "the job of another");
        bonds.starts(9, 1, 2, &bond(5, 0, 2, None)).unwrap();
        assert!(bonds.look(9, 1, &bond(3, 0, 0, None)).is_err());
        bonds.look(9, 2, &bond(1, 0, 0, None)).unwrap();
    }
}
