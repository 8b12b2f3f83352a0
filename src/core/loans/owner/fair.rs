//! Whose turn it is, where more workers are wanted than are free: nobody gets all while another gets none.
//!
//! A borrower *waits* from the request that got nothing for want of a free worker, until it gets one, or has not asked for [`WAITS`]. Two rules:
//!
//! - **What is free is dealt one at a time**, to who has the fewest workers of this master, of equals to who waits longest. Who asks is given
//!   what it is dealt; what the others are dealt is kept for them.
//! - **Nobody works on while another has none.** After a turn ([`turn`]) a native borrower is told by a recall to give back to who waits: to one
//!   that has none at all, or at least two fewer. One worker more than another is no reason to send any on its way.
//!
//! A worker that a stranger has cannot be recalled; it is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Owner, Renewal, Stage};
use crate::core::loans::desk::{Desk, workers};
use crate::time::Time;
use crate::wire::{MAX_WORKERS_NEEDED, ServerId, ServiceName};

/// A borrower that has not asked for so long waits no more: longer than any pause between two rounds of requests, and the round.
const WAITS: Duration = Duration::from_secs(60);

/// The shortest turn: a move costs a worker some time in which it does nothing.
const SHORTEST_TURN: Duration = Duration::from_secs(10);

/// Borrowers that wait at a time. Of more, the one that has not asked for longest is forgotten.
const MAX_HUNGRY: usize = 32;

/// A borrower that waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hungry {
    since: Time,
    asked: Time,
    needed: u32,
    /// What its workers must be able to run. Empty: anything.
    services: Vec<ServiceName>,
}

/// Another borrower that waits, as it matters to one that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rival {
    /// Workers that it has of this master.
    pub(super) has: usize,
    /// Workers that it wants beside them.
    pub(super) needed: usize,
    /// It has waited for longer than who asks.
    pub(super) longer: bool,
    /// As [`Hungry::services`].
    pub(super) services: Vec<ServiceName>,
}

/// How long a loan goes on before it is ended for another's sake: two leases.
pub(super) fn turn(lease: Duration) -> Duration {
    (lease * 2).max(SHORTEST_TURN)
}

/// How many of the free workers go to a borrower that has `has` and wants `needed`, if the others, of which those that have waited longer
/// stand first, are dealt theirs.
pub(super) fn hand(has: usize, needed: usize, rivals: &[Rival], free: usize) -> usize {
    // Workers, turn among equals, and what each still wants; the one that asks is the one with turn 1.
    let turn_of = |rival: &Rival| if rival.longer { 0 } else { 2 };
    let mut table: Vec<(usize, usize, usize)> = rivals.iter().map(|one| (one.has, turn_of(one), one.needed)).collect();
    table.push((has, 1, needed));
    for _ in 0..free {
        let next = table.iter_mut().filter(|(.., wants)| *wants > 0).min_by_key(|(has, turn, _)| (*has, *turn));
        let Some((has, _, wants)) = next else { break };
        (*has, *wants) = (*has + 1, *wants - 1);
    }
    needed - table.last().map_or(0, |(.., wants)| *wants)
}

impl Owner {
    /// The others that wait, for one that asks.
    pub(super) fn rivals(&mut self, peer: &ServerId, now: Time) -> Vec<Rival> {
        self.hungry.retain(|_, hungry| now.since(hungry.asked) < WAITS);
        let since = self.hungry.get(peer).map_or(now, |hungry| hungry.since);
        let others = self.hungry.iter().filter(|(other, _)| *other != peer);
        let rival = |(other, hungry): (&ServerId, &Hungry)| Rival {
            has: self.lent_to(other),
            needed: hungry.needed as usize,
            longer: hungry.since < since,
            services: hungry.services.clone(),
        };
        others.map(rival).collect()
    }

    /// Own workers that a borrower has, or is to have.
    pub(super) fn lent_to(&self, peer: &ServerId) -> usize {
        self.by_borrower.get(peer).map_or(0, |workers| workers.len())
    }

    /// A borrower got nothing for want of a free worker: it waits from now on, if others are in its way; and those that have had their turn
    /// give some back.
    pub(super) fn hungers(
        &mut self,
        desk: &mut Desk,
        (peer, name): (&ServerId, &str),
        needed: u32,
        services: Vec<ServiceName>,
        now: Time,
    ) {
        let other = |one: &ServerId| one != peer;
        if !self.by_borrower.keys().any(other) && !self.hungry.keys().any(other) {
            self.hungry.remove(peer);
            return;
        }
        if self.hungry.len() >= MAX_HUNGRY && !self.hungry.contains_key(peer) {
            let first = self.hungry.iter().min_by_key(|(_, hungry)| hungry.asked).map(|(who, _)| who.clone());
            first.and_then(|first| self.hungry.remove(&first));
        }
        let since = self.hungry.get(peer).map_or(now, |hungry| hungry.since);
        let needed = needed.clamp(1, MAX_WORKERS_NEEDED);
        self.hungry.insert(peer.clone(), Hungry { since, asked: now, needed, services: services.clone() });
        for worker in self.had_their_turn(desk, peer, needed, &services, now) {
            let Some(loan) = self.lent.get(&worker) else { continue };
            let (theirs, mine) = (self.lent_to(&loan.borrower.peer), self.lent_to(peer));
            let why = format!("{name} waits and has {mine} of this master, {} has {}", loan.name, workers(theirs));
            self.want_back(desk, &worker, &why, now);
        }
    }

    /// Workers that are to come back for one that waits, those that have been away longest first.
    fn had_their_turn(
        &self,
        desk: &Desk,
        peer: &ServerId,
        needed: u32,
        services: &[ServiceName],
        now: Time,
    ) -> Vec<ServerId> {
        let runs = |all: &[ServiceName]| services.is_empty() || services.iter().any(|name| all.contains(name));
        let turn = turn(desk.config.lease);
        let mut due: Vec<(Time, &ServerId, &ServerId)> = Vec::new();
        // Workers that a borrower keeps, beside those that are on their way home.
        let mut keeps: BTreeMap<&ServerId, usize> = BTreeMap::new();
        for (worker, loan) in &self.lent {
            if matches!(loan.stage, Stage::Recalled { .. } | Stage::Returning { .. }) {
                continue;
            }
            *keeps.entry(&loan.borrower.peer).or_default() += 1;
            let over = loan.renewal == Renewal::Lease && loan.stage == Stage::Active && loan.since + turn <= now;
            if over && loan.borrower.peer != *peer && runs(&loan.services) {
                due.push((loan.since, worker, &loan.borrower.peer));
            }
        }
        // What comes back anyway is for who waits, too.
        let mut mine = self.lent_to(peer) + self.awaited() as usize;
        let mut back = Vec::new();
        while back.len() < needed as usize {
            let more = |keeps: usize, mine: usize| keeps >= mine + 2 || (mine == 0 && keeps > 0);
            let of = |keeps: &BTreeMap<&ServerId, usize>, borrower| keeps.get(borrower).copied().unwrap_or(0);
            let best = (0..due.len())
                .filter(|nth| more(of(&keeps, due[*nth].2), mine))
                .max_by_key(|nth| (of(&keeps, due[*nth].2), std::cmp::Reverse((due[*nth].0, due[*nth].1))));
            let Some(best) = best else { break };
            let (_, worker, borrower) = due.swap_remove(best);
            if let Some(keeps) = keeps.get_mut(borrower) {
                *keeps -= 1;
            }
            mine += 1;
            back.push(worker.clone());
        }
        back
    }

    /// Borrowers that wait, for sentences.
    pub(in crate::core::loans) fn waiting(&self, now: Time) -> usize {
        self.hungry.values().filter(|hungry| now.since(hungry.asked) < WAITS).count()
    }

    /// This process did not run for so long.
    pub(super) fn excuse_hungry(&mut self, lost: Duration) {
        self.hungry.values_mut().for_each(|hungry| hungry.asked = hungry.asked + lost);
    }

    /// Panics if the table contradicts itself.
    pub(super) fn check_hungry(&self) {
        assert!(self.hungry.len() <= MAX_HUNGRY);
        assert!(self.hungry.values().all(|one| one.since <= one.asked && one.needed > 0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rival(has: usize, needed: usize, longer: bool) -> Rival {
        Rival { has, needed, longer, services: Vec::new() }
    }

    #[test]
    fn what_is_free_is_dealt_to_who_has_the_fewest() {
        assert_eq!(hand(0, 3, &[], 5), 3);
        assert_eq!(hand(0, 8, &[], 5), 5);
        assert_eq!(hand(2, 8, &[rival(0, 8, false)], 2), 0, "the other has none");
        assert_eq!(hand(2, 8, &[rival(0, 1, false)], 2), 1, "and wants one");
        assert_eq!(hand(1, 8, &[rival(1, 8, true)], 1), 0, "of equals the one that waits longer");
        assert_eq!(hand(1, 8, &[rival(1, 8, false)], 1), 1);
        assert_eq!(hand(0, 8, &[rival(0, 8, true), rival(0, 8, false)], 6), 2);
        assert_eq!(hand(0, 0, &[rival(0, 8, true)], 6), 0);
    }

    #[test]
    fn a_turn_is_two_leases_and_never_short() {
        assert_eq!(turn(Duration::from_secs(30)), Duration::from_secs(60));
        assert_eq!(turn(Duration::from_secs(1)), SHORTEST_TURN);
    }

    proptest! {
        /// Whatever is dealt: no more than is free or wanted, nothing free is left while one that asks wants some, and nobody
        /// who wants more ends with two fewer than the one that asks.
        #[test]
        fn a_hand_is_fair(
            has in 0..6usize, needed in 1..8usize, free in 0..20usize,
            others in proptest::collection::vec((0..6usize, 1..8usize, any::<bool>()), 0..4),
        ) {
            let rivals: Vec<Rival> = others.iter().map(|(has, needed, longer)| rival(*has, *needed, *longer)).collect();
            let mine = hand(has, needed, &rivals, free);
            prop_assert!(mine <= needed && mine <= free);
            let wanted: usize = others.iter().map(|(_, needed, _)| needed).sum();
            prop_assert!(mine + wanted >= free.min(needed), "nothing lies idle for want of a rule");
            if mine > 0 {
                // All that the others could have been dealt before this one's last.
                let level = has + mine - 1;
                let before: usize = others.iter().map(|(has, needed, _)| level.saturating_sub(*has).min(*needed)).sum();
                prop_assert!(before + mine <= free, "somebody with fewer went empty");
            }
        }
    }
}
