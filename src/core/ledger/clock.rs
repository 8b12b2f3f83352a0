//! When a leased term ends, as the leader reckons: not in the ledger, since every member has its own clock.
//!
//! ```text
//!   lead(ledger)        every held lease has its whole term again from now
//!   applied(entry)      a grant, a repetition of it, an end
//!   renewed             a holder lives; called only when a quorum has confirmed that this member still leads
//!   due ──> EXPIRE      for each term that is over, once; from then on no renewal of it counts
//!   resign              another may lead: nothing is known any more
//! ```
//!
//! A holder counts from the moment it sent what it was answered, this clock from a moment after it was heard: so
//! each grant, renewal and repetition ends at the holder first (see [`super::HeldLease`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Applied, Ledger};
use crate::time::Time;
use crate::wire::{Command, LedgerEntry};

/// Time until an EXPIRE that could not be proposed is due again.
const AGAIN: Duration = Duration::from_millis(100);

/// The terms of all leases that are held, while this member leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct LeaseClock {
    leads: bool,
    terms: BTreeMap<String, Term>,
    /// The ends of the terms that were not yet said to be over.
    ends: BTreeSet<(Time, String)>,
}

/// The term of one grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Term {
    /// Index of the grant.
    fence: u64,
    /// Index of the grant or of its last repetition: what an EXPIRE names.
    heard: u64,
    ttl: Duration,
    ends: Time,
    /// Whether its EXPIRE is on its way.
    is_over: bool,
}

/// Why a renewal does not count. The holder stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum NotRenewed {
    /// This member does not lead. The holder asks the leader, as long as its term lasts.
    #[error("this node does not lead")]
    NotLeader,
    /// That grant has ended. The holder stops.
    #[error("that grant has ended")]
    Over,
    /// It is about to end: its term was over before the renewal was confirmed. The holder stops.
    #[error("the term of that grant is over")]
    Ending,
}

impl LeaseClock {
    /// This member leads from now on. A former leader may have taken a renewal a moment ago: every lease that is held gets its whole
    /// term again. The ledger may lack entries that are agreed on; they come by [`LeaseClock::applied`].
    pub(crate) fn lead(&mut self, ledger: &Ledger, now: Time) {
        self.resign();
        self.leads = true;
        for held in ledger.held() {
            let ends = now + held.ttl;
            let term = Term { fence: held.fence, heard: held.heard, ttl: held.ttl, ends, is_over: false };
            self.put(held.name.to_owned(), term);
        }
    }

    /// This member does not lead any more.
    pub(crate) fn resign(&mut self) {
        *self = LeaseClock::default();
    }

    /// Notes what an entry came to. Call it for every entry that is applied, leader or not, before its asker is answered.
    pub(crate) fn applied(&mut self, entry: &LedgerEntry, applied: &Applied, now: Time) {
        if !self.leads {
            return;
        }
        match applied {
            Applied::Granted(lease) => {
                let whole = now + lease.ttl;
                // A renewal under a longer term may have been answered: a repetition ends nothing earlier. An EXPIRE
                // that is on its way will be refused, since it names what was heard before.
                let before = self.take(&lease.name).filter(|term| term.fence == lease.fence);
                let ends = before.map_or(whole, |term| term.ends.max(whole));
                let term = Term { fence: lease.fence, heard: entry.index, ttl: lease.ttl, ends, is_over: false };
                self.put(lease.name.clone(), term);
            }
            Applied::Freed { name, fence } if self.terms.get(name).is_some_and(|term| term.fence == *fence) => {
                self.take(name);
            }
            _ => {}
        }
    }

    /// The holder of this grant lives. Only to be called when a read that was begun after its renewal came has been confirmed by a quorum: a
    /// leader that was replaced unawares may not promise anything. Tells the term that goes on.
    pub(crate) fn renewed(&mut self, name: &str, fence: u64, now: Time) -> Result<Duration, NotRenewed> {
        if !self.leads {
            return Err(NotRenewed::NotLeader);
        }
        let term = self.terms.get(name).filter(|term| term.fence == fence).ok_or(NotRenewed::Over)?;
        if term.is_over {
            return Err(NotRenewed::Ending);
        }
        let (ttl, ends) = (term.ttl, term.ends.max(now + term.ttl));
        self.ends_at(name, ends);
        Ok(ttl)
    }

    /// When [`LeaseClock::due`] has something to say.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.ends.first().map(|(ends, _)| *ends)
    }

    /// The EXPIREs to propose now, each once.
    pub(crate) fn due(&mut self, now: Time) -> Vec<Command> {
        let mut due = Vec::new();
        while self.deadline().is_some_and(|ends| ends <= now) {
            let Some((_, name)) = self.ends.pop_first() else { break };
            if let Some(term) = self.terms.get_mut(&name) {
                term.is_over = true;
                due.push(Command::Expire { name, fence: term.heard });
            }
        }
        due
    }

    /// The engine has refused to take this EXPIRE, so that it is certainly not in its log: it is due again soon, and until then the lease may be
    /// renewed. `fence` is that of the command.
    pub(crate) fn unproposed(&mut self, name: &str, fence: u64, now: Time) {
        let Some(term) = self.terms.get_mut(name).filter(|term| term.heard == fence && term.is_over) else { return };
        term.is_over = false;
        self.ends_at(name, now + AGAIN);
    }

    /// This process did not run for `lost`, and could not hear renewals: every term that is not over goes on as much longer. For a granter
    /// that is always safe.
    pub(crate) fn excuse(&mut self, lost: Duration) {
        let late: Vec<(Time, String)> = std::mem::take(&mut self.ends).into_iter().collect();
        for (ends, name) in late {
            self.ends_at(&name, ends + lost);
        }
    }

    fn put(&mut self, name: String, term: Term) {
        self.ends.insert((term.ends, name.clone()));
        self.terms.insert(name, term);
    }

    fn take(&mut self, name: &str) -> Option<Term> {
        let term = self.terms.remove(name)?;
        self.ends.remove(&(term.ends, name.to_owned()));
        Some(term)
    }

    /// Moves the end of a term that is not over.
    fn ends_at(&mut self, name: &str, ends: Time) {
        if let Some(term) = self.terms.get_mut(name) {
            self.ends.remove(&(term.ends, name.to_owned()));
            term.ends = ends;
            self.ends.insert((ends, name.to_owned()));
        }
    }

    /// What always holds. Panics where it does not: a fault of this module.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert!(self.leads || self.terms.is_empty());
        let open = self.terms.iter().filter(|(_, term)| !term.is_over);
        let ends: BTreeSet<(Time, String)> = open.map(|(name, term)| (term.ends, name.clone())).collect();
        assert_eq!(ends, self.ends);
        assert!(self.terms.values().all(|term| term.fence <= term.heard));
    }
}
