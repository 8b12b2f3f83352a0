//! Entries in words, for people: one sentence each.

use std::time::Duration;

use super::state::Ledger;
use crate::time::Seconds;
use crate::wire::{Command, LedgerEntry, LedgerItem, MAX_QUOTE, RaftId, SettingName, VoterChange, quote};

/// One sentence on what an entry says. `ledger` is one that knows the members it speaks of; without, they are numbers.
///
/// Whether the entry came to anything is not in it: that depends on the ledger to which it was applied.
pub(crate) fn words(entry: &LedgerEntry, ledger: &Ledger) -> String {
    match &entry.what {
        LedgerItem::Empty => format!("term {} begins", entry.term),
        LedgerItem::Change(change) => of_change(change),
        LedgerItem::Command(command) => of_command(command, entry.index, ledger),
    }
}

fn of_change(change: &VoterChange) -> String {
    let parts = [
        (&change.add_voters, "votes", "vote"),
        (&change.add_learners, "learns", "learn"),
        (&change.remove, "goes", "go"),
    ];
    let parts = parts.into_iter().filter(|(ids, ..)| !ids.is_empty()).map(|(ids, one, more)| match ids.as_slice() {
        [id] => format!("member {id} {one}"),
        ids => format!("members {} {more}", listed(ids)),
    });
    let parts: Vec<String> = parts.collect();
    // The second half of a joint change names nobody (section 6 of the paper).
    if parts.is_empty() { "the change of voters is complete".to_owned() } else { parts.join("; ") }
}

/// `1, 2 and 3`.
fn listed(ids: &[RaftId]) -> String {
    let words: Vec<String> = ids.iter().map(RaftId::to_string).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

fn of_command(command: &Command, index: u64, ledger: &Ledger) -> String {
    let short = |text: &str| quote(text, MAX_QUOTE);
    let member = |id: RaftId| match ledger.member(id) {
        Some(member) => format!("member {id} `{}`", short(&member.name)),
        None => format!("member {id}"),
    };
    let server = |id: &crate::wire::ServerId| match ledger.member_by_server(id) {
        Some((_, member)) => format!("`{}`", short(&member.name)),
        None => format!("`{}`", short(id.short())),
    };
    match command {
        Command::Found { group_id, group, member } => {
            let (name, address) = (short(&member.name), &member.address);
            format!("the group `{}` is founded as {} by `{name}` at {address}", short(group), group_id.short())
        }
        Command::Admit(new) => {
            let (name, address) = (short(&new.name), &new.address);
            match ledger.member_by_state(&new.state_id) {
                Some((id, _)) => format!("member {id} `{name}` at {address} is admitted"),
                None => format!("`{name}` at {address} is admitted"),
            }
        }
        Command::Move { raft_id, name, address } => format!("member {raft_id} is `{}` at {address} now", short(name)),
        Command::Remove { raft_id, reason } => format!("{} is removed: {}", member(*raft_id), short(reason)),
        Command::Settle { raft_ids } => match raft_ids.as_slice() {
            [id] => format!("member {id} is gone for good"),
            ids => format!("members {} are gone for good", listed(ids)),
        },
        Command::Set { name, value } if value.as_str() == "null" => {
            format!("nothing is agreed on {} any more", short(name))
        }
        Command::Set { name, value } => match SettingName::parse(name) {
            Some(setting) => format!("{name} is {} {} everywhere", short(value.as_str()), setting.unit()),
            None => format!("{} is {} everywhere", short(name), short(value.as_str())),
        },
        Command::Acquire { name, holder, ttl } => {
            let (name, holder, term) = (short(name), short(holder), span(*ttl));
            match ledger.lease(&name).filter(|lease| lease.holder.as_deref() == Some(holder.as_str())) {
                Some(lease) if lease.fence == index => {
                    format!("lease `{name}` is granted to `{holder}` with fence {index} for {term}")
                }
                Some(lease) if lease.fence < index => {
                    format!("lease `{name}` goes on with `{holder}` under fence {} for {term}", lease.fence)
                }
                _ => format!("`{holder}` asks for the lease `{name}` for {term}"),
            }
        }
        Command::Release { name, fence } => format!("lease `{}` with fence {fence} is released", short(name)),
        Command::Expire { name, fence } => {
            format!("lease `{}` ends if its holder was last heard at entry {fence}: nobody has renewed it", short(name))
        }
        Command::Tick { name, fence, tick } => {
            format!("tick {tick} of lease `{}` is claimed under fence {fence}", short(name))
        }
        Command::Adopt { workers } => {
            let one = |it: &crate::wire::Adoption| {
                let (worker, owner, from) = (it.worker.short(), server(&it.owner), server(&it.from));
                format!("{owner} adopts the worker {worker} of {from}, generation {}", it.generation)
            };
            match workers.as_slice() {
                [it] => one(it),
                [it, rest @ ..] => format!("{}; and {} more", one(it), rest.len()),
                [] => "nobody is adopted".to_owned(),
            }
        }
        Command::Lend(loan) => {
            let (owner, borrower) = (server(&loan.owner), server(&loan.borrower));
            let (worker, term) = (loan.worker.short(), span(loan.lease));
            format!("{owner} lends the worker {worker} to {borrower} for {term}, epoch {}", loan.epoch)
        }
        Command::End { loan_id, reason } => format!("the loan {loan_id} is over: {}", short(reason)),
        Command::Recover { group_id, raft_id } => {
            format!("{} goes on alone as the group {}", member(*raft_id), group_id.short())
        }
    }
}

/// A duration in seconds, with a decimal only where it has one.
fn span(duration: Duration) -> String {
    if duration.subsec_millis() == 0 { format!("{} s", duration.as_secs()) } else { format!("{} s", Seconds(duration)) }
}
