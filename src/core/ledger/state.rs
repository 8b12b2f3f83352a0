//! The state of the ledger and what each entry does to it.

use std::collections::{BTreeMap, BTreeSet};

use super::farms::Farms;
use super::leases::{Holding, Leases};
use super::{Applied, Refusal};
use crate::wire::{
    Adoption, Command, GroupId, Lease, LedgerEntry, LedgerItem, LentWorker, MAX_ADOPTED, MAX_MEMBERS, MAX_QUOTE,
    NewMember, RaftId, ServerId, Setting, SettingName, is_valid_name, quote,
};

/// What a group has agreed on up to an index. Equal at every member that has applied the same entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    /// Index of the last entry that was applied; 0 before the first.
    pub(super) index: u64,
    /// Id and name, once it is founded.
    pub(super) group: Option<(GroupId, String)>,
    pub(super) members: BTreeMap<RaftId, NewMember>,
    /// Removed, and not settled: somebody may still count on their votes.
    pub(super) leaving: BTreeSet<RaftId>,
    /// The number of the next member.
    pub(super) next_raft_id: u64,
    /// What is agreed: the number in the setting's unit, and the index of the entry that set it.
    pub(super) settings: BTreeMap<SettingName, (u64, u64)>,
    pub(super) leases: Leases,
    pub(super) farms: Farms,
}

impl Default for Ledger {
    /// The ledger of a group that is not founded yet.
    fn default() -> Ledger {
        Ledger {
            index: 0,
            group: None,
            members: BTreeMap::new(),
            leaving: BTreeSet::new(),
            next_raft_id: 1,
            settings: BTreeMap::new(),
            leases: Leases::default(),
            farms: Farms::default(),
        }
    }
}

impl Ledger {
    /// Index of the last entry that was applied; 0 before the first.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    /// The id of the group, once it is founded.
    pub(crate) fn group_id(&self) -> Option<&GroupId> {
        self.group.as_ref().map(|(id, _)| id)
    }

    /// The name of the group; empty before it is founded.
    #[cfg(test)]
    pub(crate) fn group_name(&self) -> &str {
        self.group.as_ref().map_or("", |(_, name)| name)
    }

    /// The members by number, ascending. Who of them votes is the engine's.
    pub(crate) fn members(&self) -> impl Iterator<Item = (RaftId, &NewMember)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// The member of this number.
    pub(crate) fn member(&self, id: RaftId) -> Option<&NewMember> {
        self.members.get(&id)
    }

    /// Who was removed and is not settled, ascending.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = RaftId> {
        self.leaving.iter().copied()
    }

    /// Whether this number was given and belongs to nobody any more, for good: nobody asks for its vote.
    pub(crate) fn is_past(&self, id: RaftId) -> bool {
        (1..self.next_raft_id).contains(&id.0) && !self.members.contains_key(&id) && !self.leaving.contains(&id)
    }

    /// The latest member of this server id. There are two while one that lost its state waits to be replaced.
    pub(crate) fn member_by_server(&self, server_id: &ServerId) -> Option<(RaftId, &NewMember)> {
        self.members().filter(|(_, member)| member.server_id == *server_id).last()
    }

    /// The member of this data directory.
    pub(crate) fn member_by_state(&self, state_id: &GroupId) -> Option<(RaftId, &NewMember)> {
        self.members().find(|(_, member)| member.state_id == *state_id)
    }

    /// The number that the next new member gets.
    pub(crate) fn next_raft_id(&self) -> RaftId {
        RaftId(self.next_raft_id)
    }

    /// Every setting that there is, agreed or not, by name.
    pub(crate) fn settings(&self) -> impl Iterator<Item = Setting> {
        SettingName::ALL.into_iter().map(|name| self.setting(name))
    }

    /// One setting, agreed or not.
    pub(crate) fn setting(&self, name: SettingName) -> Setting {
        let agreed = self.settings.get(&name);
        Setting {
            name: name.as_str().to_owned(),
            value: agreed.map(|(number, _)| name.value(*number)),
            index: agreed.map_or(0, |(_, index)| *index),
        }
    }

    /// The number that is agreed for a setting: jobs, milliseconds, thousandths of a CPU.
    pub(crate) fn agreed(&self, name: SettingName) -> Option<u64> {
        self.settings.get(&name).map(|(number, _)| *number)
    }

    /// The leases that are held, and the free ones whose ticks are remembered, by name.
    pub(crate) fn leases(&self) -> impl Iterator<Item = Lease> {
        self.leases.all()
    }

    /// One lease; `None`: nobody holds it and it has no tick.
    pub(crate) fn lease(&self, name: &str) -> Option<Lease> {
        self.leases.get(name)
    }

    /// The latest adoption of a worker; `None`: it belongs to whom it was with first.
    pub(crate) fn adoption(&self, worker: &ServerId) -> Option<&Adoption> {
        self.farms.adoption(worker)
    }

    /// The loans whose end is not written, by id.
    pub(crate) fn loans(&self) -> impl Iterator<Item = &LentWorker> {
        self.farms.loans()
    }

    /// The leases that are held, for the clock of a leader.
    pub(super) fn held(&self) -> impl Iterator<Item = Holding<'_>> {
        self.leases.held()
    }

    /// Applies the next entry, whose index is larger than all before.
    pub(crate) fn apply(&mut self, entry: &LedgerEntry) -> Applied {
        if entry.index <= self.index {
            return Applied::Refused(contradicts(format!("the entry {} was applied before", entry.index)));
        }
        self.index = entry.index;
        let LedgerItem::Command(command) = &entry.what else { return Applied::Done };
        match self.check(command) {
            Ok(()) => self.carry_out(command),
            Err(refusal) => Applied::Refused(refusal),
        }
    }

    /// Whether a command would be refused if it were applied now. What a leader asks before it proposes one.
    ///
    /// By the time that it is applied the answer may be another: leases come and go. `Over` and `Claimed` stay true for ever.
    pub(crate) fn check(&self, command: &Command) -> Result<(), Refusal> {
        if self.group.is_none() && !matches!(command, Command::Found { .. }) {
            return Err(contradicts("the group is not founded yet"));
        }
        match command {
            Command::Found { group, member, .. } => {
                if self.group.is_some() {
                    return Err(contradicts("the group is founded already"));
                }
                check_name("GROUP", group)?;
                check_name("NAME", &member.name)
            }
            Command::Admit(member) => self.check_admit(member),
            Command::Move { raft_id, name, .. } => {
                self.check_member(*raft_id)?;
                check_name("NAME", name)
            }
            Command::Remove { raft_id, .. } => {
                if self.members.len() == 1 && self.members.contains_key(raft_id) {
                    return Err(contradicts(format!("member {raft_id} is the last one of the group")));
                }
                Ok(())
            }
            Command::Settle { raft_ids } => match raft_ids.iter().find(|id| self.members.contains_key(id)) {
                Some(id) => Err(contradicts(format!("member {id} is not removed"))),
                None => Ok(()),
            },
            Command::Set { name, value } => self.check_set(name, value),
            Command::Acquire { name, holder, ttl } => self.leases.check_acquire(name, holder, *ttl),
            Command::Release { name, fence } => self.leases.check_fence(name, *fence),
            Command::Expire { name, fence } => self.leases.check_heard(name, *fence),
            Command::Tick { name, fence, tick } => self.leases.check_tick(name, *fence, *tick),
            Command::Adopt { workers } => self.check_adopt(workers),
            Command::Lend(loan) => self.farms.check_lend(loan, |id| self.has(id)),
            Command::End { .. } => Ok(()),
            Command::Recover { group_id, raft_id } => {
                self.check_member(*raft_id)?;
                if self.group_id() == Some(group_id) {
                    return Err(contradicts("`GROUP_ID`: expected a new one"));
                }
                Ok(())
            }
        }
    }

    /// Whether a server is a member.
    fn has(&self, server_id: &ServerId) -> bool {
        self.members.values().any(|member| member.server_id == *server_id)
    }

    /// An adoption of several is refused only where it would change nothing: then for the first reason.
    fn check_adopt(&self, workers: &[Adoption]) -> Result<(), Refusal> {
        if workers.len() > MAX_ADOPTED {
            return Err(contradicts(format!("`WORKERS`: expected at most {MAX_ADOPTED}")));
        }
        let mut first = None;
        for adoption in workers {
            match self.farms.check_adopt(adoption, |id| self.has(id)) {
                Ok(()) => return Ok(()),
                Err(refusal) => first = first.or(Some(refusal)),
            }
        }
        Err(first.unwrap_or_else(|| contradicts("`WORKERS`: expected at least one")))
    }

    fn check_member(&self, id: RaftId) -> Result<(), Refusal> {
        if self.members.contains_key(&id) { Ok(()) } else { Err(contradicts(format!("there is no member {id}"))) }
    }

    fn check_admit(&self, member: &NewMember) -> Result<(), Refusal> {
        check_name("NAME", &member.name)?;
        match self.member_by_state(&member.state_id) {
            Some((_, known)) if known.server_id == member.server_id => Ok(()),
            Some((id, _)) => Err(contradicts(format!(
                "`STATE_ID`: the data directory of member {id}, which has another `SERVER_ID`"
            ))),
            // The last number is never given: the one after it must be a number as well.
            None if self.members.len() >= MAX_MEMBERS || self.next_raft_id == u64::MAX => {
                Err(Refusal::Full(format!("the group has {MAX_MEMBERS} members, no more are taken in")))
            }
            None => Ok(()),
        }
    }

    fn check_set(&self, name: &str, value: &crate::wire::Json) -> Result<(), Refusal> {
        let Some(setting) = SettingName::parse(name) else {
            let (name, known) = (quote(name, MAX_QUOTE), SettingName::known());
            return Err(contradicts(format!("`NAME`: there is no setting `{name}`; there are {known}")));
        };
        if value.as_str() == "null" {
            return Ok(());
        }
        let number = setting.read(value).map_err(contradicts)?;
        match (setting, self.agreed(SettingName::Capacity), self.agreed(SettingName::Release)) {
            (SettingName::Release, Some(capacity), _) if number > capacity => {
                let expected = format!("at most the agreed capacity of {capacity} jobs");
                Err(contradicts(format!("`VALUE`: expected {expected} for release")))
            }
            (SettingName::Capacity, _, Some(release)) if number < release => {
                let expected = format!("at least the agreed release of {release} jobs");
                Err(contradicts(format!("`VALUE`: expected {expected} for capacity; lower that first")))
            }
            _ => Ok(()),
        }
    }

    /// Carries out a command that [`Ledger::check`] has allowed.
    fn carry_out(&mut self, command: &Command) -> Applied {
        let index = self.index;
        match command {
            Command::Found { group_id, group, member } => {
                self.group = Some((group_id.clone(), group.clone()));
                Applied::Admitted(self.admit(member))
            }
            Command::Admit(member) => Applied::Admitted(self.admit(member)),
            Command::Move { raft_id, name, address } => {
                if let Some(member) = self.members.get_mut(raft_id) {
                    (member.name, member.address) = (name.clone(), address.clone());
                }
                Applied::Done
            }
            Command::Remove { raft_id, .. } => match self.members.remove(raft_id) {
                Some(_) => {
                    self.drop_loans();
                    self.leaving.insert(*raft_id);
                    Applied::Removed(vec![*raft_id])
                }
                None => Applied::Done,
            },
            Command::Settle { raft_ids } => {
                self.leaving.retain(|id| !raft_ids.contains(id));
                Applied::Settled
            }
            Command::Set { name, value } => self.set(name, value),
            Command::Acquire { name, holder, ttl } => Applied::Granted(self.leases.acquire(name, holder, *ttl, index)),
            Command::Release { name, .. } | Command::Expire { name, .. } => {
                Applied::Freed { name: name.clone(), fence: self.leases.free(name, index) }
            }
            Command::Tick { name, tick, .. } => {
                self.leases.claim(name, *tick);
                Applied::Done
            }
            Command::Adopt { workers } => {
                let mut done = Vec::new();
                for adoption in workers {
                    if self.farms.check_adopt(adoption, |id| self.has(id)).is_ok() {
                        self.farms.adopt(adoption);
                        done.push(adoption.clone());
                    }
                }
                Applied::Adopted(done)
            }
            Command::Lend(loan) => {
                self.farms.lend(loan);
                Applied::Done
            }
            Command::End { loan_id, .. } => {
                self.farms.end(loan_id);
                Applied::Done
            }
            Command::Recover { group_id, raft_id } => {
                if let Some((id, _)) = &mut self.group {
                    *id = group_id.clone();
                }
                let gone = self.members.keys().copied().filter(|id| id != raft_id).collect();
                self.members.retain(|id, _| id == raft_id);
                self.drop_loans();
                // None of them votes in the new group, which only the survivor knows.
                self.leaving.clear();
                Applied::Removed(gone)
            }
        }
    }

    /// What an owner that is no member any more has lent ends by its own authority alone.
    fn drop_loans(&mut self) {
        let members: BTreeSet<&ServerId> = self.members.values().map(|member| &member.server_id).collect();
        self.farms.drop_loans_of_others(|id| members.contains(id));
    }

    fn admit(&mut self, member: &NewMember) -> RaftId {
        let known = self.member_by_state(&member.state_id).map(|(id, _)| id);
        let id = known.unwrap_or(RaftId(self.next_raft_id));
        if known.is_none() {
            self.next_raft_id += 1;
        }
        self.members.insert(id, member.clone());
        id
    }

    fn set(&mut self, name: &str, value: &crate::wire::Json) -> Applied {
        let Some(setting) = SettingName::parse(name) else { return Applied::Done };
        let (before, index) = (self.agreed(setting), self.index);
        let after = setting.read(value).ok();
        if before == after {
            return Applied::Done;
        }
        match after {
            Some(number) => self.settings.insert(setting, (number, index)),
            None => self.settings.remove(&setting),
        };
        Applied::Changed { name: name.to_owned() }
    }

    /// What always holds. The error is one sentence that names the field of the text.
    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(what.to_owned());
        if self.group.is_none() && *self != (Ledger { index: self.index, ..Ledger::default() }) {
            return wrong("`GROUP_ID`: expected one where there is anything else");
        }
        if self.group.as_ref().is_some_and(|(_, name)| !is_valid_name(name)) {
            return wrong("`GROUP`: expected 1 to 64 bytes without control characters");
        }
        if self.group.is_some() && (self.members.is_empty() || self.index == 0) {
            return wrong("`MEMBERS`: expected at least one, by an entry");
        }
        if self.members.len() > MAX_MEMBERS {
            return Err(format!("`MEMBERS`: expected at most {MAX_MEMBERS}"));
        }
        if self.members.iter().any(|(id, member)| {
            !(1..self.next_raft_id).contains(&id.0)
                || !is_valid_name(&member.name)
                || self.member_by_state(&member.state_id).is_none_or(|(first, _)| first != *id)
        }) {
            return wrong("`MEMBERS`: expected numbers below `NEXT_RAFT_ID`, lawful names, and each `STATE_ID` once");
        }
        if self.leaving.iter().any(|id| !(1..self.next_raft_id).contains(&id.0) || self.members.contains_key(id)) {
            return wrong("`LEAVING`: expected numbers below `NEXT_RAFT_ID` that no member has");
        }
        let lawful = |(name, (number, index)): (&SettingName, &(u64, u64))| {
            name.read(&name.value(*number)) == Ok(*number) && (1..=self.index).contains(index)
        };
        if !self.settings.iter().all(lawful) {
            return wrong("`SETTINGS`: expected values within their ranges, set by entries up to `INDEX`");
        }
        self.farms.check_invariants()?;
        self.leases.check_invariants(self.index)
    }
}

fn contradicts(sentence: impl Into<String>) -> Refusal {
    Refusal::Contradicts(sentence.into())
}

fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    if is_valid_name(name) {
        return Ok(());
    }
    Err(contradicts(format!("`{field}`: expected 1 to 64 bytes without control characters")))
}
