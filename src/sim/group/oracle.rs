//! The laws of a group, as clients, disks and whoever looks at the members see them. All of them hold within one
//! group id.
//!
//! 1. **One leader a term.**
//! 2. **Ledgers are prefixes of one another.** At one index every member has the same ledger.
//! 3. **Settings are registers.** What a set that was answered OK, or a read, has shown, every later read shows, or
//!    something newer; and each set is carried out once.
//! 4. **Fences grow.** A grant is one holder's, and whoever asks after a grant was known gets no older one.
//! 5. **Leases are exclusive.** A holder that stops at 80 % of its term, counted from sending, has stopped before the
//!    next grant, under clocks that run up to a tenth wrong.
//! 6. **One founding**, where all masters are expected, or as long as nothing has gone wrong.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde_json::Value;

use super::Planted;
use super::client::{Ask, News};
use crate::core::{GroupView, HeldLease};
use crate::sim::network::Host;
use crate::sim::trace::Fnv;
use crate::time::Time;
use crate::wire::{GroupId, GroupRole, RaftId};

/// What is known of a number that only grows: when it was known first to be at least that.
#[derive(Clone, Debug, Default)]
struct Floor(Vec<(Time, u64)>);

impl Floor {
    fn learn(&mut self, number: u64, now: Time) {
        if self.0.last().is_none_or(|(_, last)| *last < number) {
            self.0.push((now, number));
        }
    }

    /// The largest that was known before `at`.
    fn before(&self, at: Time) -> u64 {
        let count = self.0.partition_point(|(known, _)| *known < at);
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }

    fn last(&self) -> u64 {
        self.0.last().map_or(0, |(_, last)| *last)
    }
}

/// A setting of one group.
#[derive(Clone, Debug, Default)]
struct Register {
    floor: Floor,
    /// The index at which a value was set.
    values: BTreeMap<u64, u64>,
}

/// A lease of one group.
#[derive(Clone, Debug, Default)]
struct Grants {
    holders: BTreeMap<u64, String>,
    floor: Floor,
    /// Who relies on it, by which grant.
    relied: BTreeMap<String, (u64, HeldLease)>,
}

/// What is known of one group.
#[derive(Clone, Debug, Default)]
struct Known {
    leaders: BTreeMap<u64, RaftId>,
    ledgers: BTreeMap<u64, u64>,
    registers: BTreeMap<String, Register>,
    leases: BTreeMap<String, Grants>,
}

/// What one master was seen as last.
#[derive(Clone, Debug, Default)]
struct Seen {
    group: Option<GroupId>,
    /// Since when it has been in that group, or in none.
    since: Time,
    applied: u64,
}

/// Who knows all that was said.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Oracle {
    groups: BTreeMap<GroupId, Known>,
    seen: BTreeMap<Host, Seen>,
    /// A planted fault: holders count from the answer, and go on to the last moment.
    late_holders: bool,
    /// Sets that were answered OK.
    pub(super) sets: u64,
    /// Grants of leases.
    pub(super) grants: u64,
}

impl Oracle {
    pub(in crate::sim) fn new(planted: Planted) -> Oracle {
        Oracle { late_holders: planted == Planted::LateHolders, ..Oracle::default() }
    }

    /// Leaders that there have been.
    pub(in crate::sim) fn leaders(&self) -> u64 {
        self.groups.values().map(|known| known.leaders.len() as u64).sum()
    }

    /// The process of this master is gone.
    pub(in crate::sim) fn down(&mut self, host: Host, now: Time) {
        self.seen.insert(host, Seen { since: now, ..Seen::default() });
    }

    /// What a master is now. `text` tells the text of its ledger.
    pub(in crate::sim) fn look(
        &mut self,
        host: Host,
        view: Option<&GroupView>,
        text: impl FnOnce() -> Option<String>,
        now: Time,
    ) -> Result<(), String> {
        let seen = self.seen.entry(host).or_default();
        let group = view.map(|view| view.group_id.clone());
        if group != seen.group {
            *seen = Seen { group, since: now, applied: 0 };
        }
        let Some(view) = view else { return Ok(()) };
        let known = self.groups.entry(view.group_id.clone()).or_default();
        if view.role == GroupRole::Leader {
            let leader = *known.leaders.entry(view.term).or_insert(view.raft_id);
            if leader != view.raft_id {
                return Err(format!("members {leader} and {} lead in term {}", view.raft_id, view.term));
            }
        }
        if view.applied == seen.applied {
            return Ok(());
        }
        seen.applied = view.applied;
        let Some(text) = text() else { return Ok(()) };
        let mut hasher = Fnv::default();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        if *known.ledgers.entry(view.applied).or_insert(hash) != hash {
            return Err(format!("master {host} has another ledger at index {} than others: {text}", view.applied));
        }
        let ledger: Value =
            serde_json::from_str(&text).map_err(|error| format!("a ledger that is no JSON: {error}"))?;
        known.has_applied(&ledger, now)
    }

    /// A client was told something.
    pub(super) fn heard(&mut self, news: News, now: Time) -> Result<(), String> {
        match news {
            News::GivesUp { lease, holder } => {
                for known in self.groups.values_mut() {
                    known.leases.entry(lease.clone()).or_default().relied.remove(&holder);
                }
                Ok(())
            }
            News::Answered { ask, server, sent, answer } => {
                if answer["RESPONSE"] != "OK" {
                    return Ok(());
                }
                // Whose answer is it? Who has changed its group meanwhile may speak for either.
                let Some(seen) = self.seen.get(&server).filter(|seen| seen.since < sent) else { return Ok(()) };
                let Some(known) = seen.group.as_ref().and_then(|group| self.groups.get_mut(group)) else {
                    return Ok(());
                };
                self.sets += u64::from(matches!(ask, Ask::Set { .. }));
                self.grants += u64::from(matches!(ask, Ask::Acquire { .. }));
                // HeldLease stops at four fifths of what it is given.
                let reckoned = |ttl: Duration| match self.late_holders {
                    true => HeldLease::new(now, ttl / 4 * 5),
                    false => HeldLease::new(sent, ttl),
                };
                known.answered(&ask, sent, &answer, reckoned, now).map_err(|what| format!("master {server}: {what}"))
            }
        }
    }
}

impl Known {
    /// What stands in a ledger that a member has applied.
    fn has_applied(&mut self, ledger: &Value, now: Time) -> Result<(), String> {
        for setting in ledger["SETTINGS"].as_array().into_iter().flatten() {
            let name = setting["NAME"].as_str().unwrap_or_default();
            let register = self.registers.entry(name.to_owned()).or_default();
            if let (Some(value), Some(index)) = (setting["VALUE"].as_u64(), setting["INDEX"].as_u64()) {
                register.stands(name, value, index)?;
            }
        }
        for lease in ledger["LEASES"].as_array().into_iter().flatten() {
            let name = lease["NAME"].as_str().unwrap_or_default();
            if let (Some(holder), Some(fence)) = (lease["HOLDER"].as_str(), lease["FENCE"].as_u64()) {
                self.leases.entry(name.to_owned()).or_default().granted(name, holder, fence, now)?;
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        ask: &Ask,
        sent: Time,
        answer: &Value,
        reckoned: impl Fn(Duration) -> HeldLease,
        now: Time,
    ) -> Result<(), String> {
        match ask {
            Ask::Set { name, value } => {
                let index = answer["INDEX"].as_u64().ok_or("a set was answered without INDEX")?;
                let register = self.registers.entry((*name).to_owned()).or_default();
                let known = register.floor.before(sent);
                if index <= known {
                    return Err(format!("{name} was set to {value} at index {index}, and {known} was known before"));
                }
                // What was carried out twice with nothing between stands where it was first.
                let stands = register.values.get(value).copied().unwrap_or(index).min(index);
                register.floor.learn(stands, now);
            }
            Ask::Get { name, local } => {
                let shown = &answer["SETTINGS"][0];
                let (value, index) = (shown["VALUE"].as_u64(), shown["INDEX"].as_u64().unwrap_or(0));
                let register = self.registers.entry((*name).to_owned()).or_default();
                if let Some(value) = value {
                    register.stands(name, value, index)?;
                }
                let known = register.floor.before(sent);
                if !local && index < known {
                    return Err(format!(
                        "a read of {name} shows index {index}, and {known} was known before: {answer}"
                    ));
                }
                if !local {
                    register.floor.learn(index, now);
                }
            }
            Ask::Acquire { lease, holder } | Ask::Renew { lease, holder, .. } => {
                let fence = answer["FENCE"].as_u64().ok_or("a lease without FENCE")?;
                let ttl = answer["TTL_MS"].as_u64().ok_or("a lease without TTL_MS")?;
                if answer["HOLDER"] != holder.as_str() {
                    return Err(format!("{holder} was given what is another's: {answer}"));
                }
                let grants = self.leases.entry(lease.clone()).or_default();
                let known = grants.floor.before(sent);
                if fence < known {
                    return Err(format!("{lease} is {holder}'s by grant {fence}, and grant {known} was known before"));
                }
                grants.granted(lease, holder, fence, now)?;
                grants.relies(lease, holder, fence, reckoned(Duration::from_millis(ttl)), now)?;
            }
            Ask::Release { .. } | Ask::Other => {}
        }
        Ok(())
    }
}

impl Register {
    /// This value was set at this index.
    fn stands(&mut self, name: &str, value: u64, index: u64) -> Result<(), String> {
        let first = *self.values.entry(value).or_insert(index);
        if first == index {
            return Ok(());
        }
        Err(format!("{name} was set to {value} once, and stands by index {first} and by {index}"))
    }
}

impl Grants {
    /// A grant is known, by an answer or because a member has applied it.
    fn granted(&mut self, lease: &str, holder: &str, fence: u64, now: Time) -> Result<(), String> {
        let first = self.holders.entry(fence).or_insert_with(|| holder.to_owned());
        if first != holder {
            return Err(format!("grant {fence} of {lease} is {first}'s, and {holder}'s"));
        }
        let late = self
            .relied
            .iter()
            .find(|(other, (before, held))| other.as_str() != holder && *before < fence && !held.is_lapsed(now));
        if let Some((other, (before, held))) = late {
            let left = held.stop_at().since(now);
            return Err(format!(
                "{lease} is granted to {holder} by {fence}, and {other} relies on grant {before} for {left:?} more"
            ));
        }
        self.floor.learn(fence, now);
        Ok(())
    }

    /// A holder relies on a grant from now on.
    fn relies(&mut self, lease: &str, holder: &str, fence: u64, held: HeldLease, now: Time) -> Result<(), String> {
        if held.is_lapsed(now) {
            return Ok(());
        }
        let newest = self.floor.last();
        if newest > fence {
            return Err(format!("{holder} may rely on grant {fence} of {lease}, and {newest} was made"));
        }
        match self
            .relied
            .get_mut(holder)
            .filter(|(before, before_held)| *before == fence && !before_held.is_lapsed(now))
        {
            Some((_, before)) if before.stop_at() >= held.stop_at() => {}
            _ => {
                self.relied.insert(holder.to_owned(), (fence, held));
            }
        }
        Ok(())
    }
}
