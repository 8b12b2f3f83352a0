//! ELECT, AGREE and MEMBERS with fields, and the proof in HELLO: requests, with exact errors.

use crate::wire::parts::{Fault, Parts};
use crate::wire::{
    AGREE_BYTES, Address, Admit, Agree, AgreeKind, Body, Elect, ElectKind, Envelope, GroupId, LedgerEntry,
    MAX_CONTEXT_BYTES, MAX_ENTRY_BYTES, MAX_LINE_BYTES, MAX_MEMBERS, MAX_QUOTE, MAX_SNAPSHOT_BYTES, MAX_TERM,
    MembersAction, Proof, RaftId, ServerId, VoterSets, is_valid_name, quote,
};

use super::{ADDRESS_FORM, ID_FORM, NAME_FORM};

const GROUP_FORM: &str = "the id of a group, 8 to 64 characters of 0-9, a-f and `-`";
const STATE_FORM: &str = "a uuid, 8 to 64 characters of 0-9, a-f and `-`";
const CHALLENGE_FORM: &str = "32 of the digits 0-9 and a-f";
const PROOF_FORM: &str = "64 of the digits 0-9 and a-f";
const ELECT_KINDS: &str = "VOTE, PRE_VOTE or NOW";
const AGREE_KINDS: &str = "APPEND, HEARTBEAT or SNAPSHOT";
const ACTIONS: &str = "ADMIT, REMOVE, LEAD, LEAVE, JOIN or RECOVER";

/// Entries in one line at most: the shortest that there can be fill it.
const MAX_ENTRIES: usize = MAX_LINE_BYTES / r#"{"INDEX":1,"TERM":1},"#.len();

/// `HELLO` with fields: a step of the proof, or who are you?
pub(super) fn hello(text: &str) -> Result<Body, Fault> {
    let parts = Parts::read(text)?;
    let proof = if parts.has_any(&["CHALLENGE"]) {
        let (group_id, raft_id, server_id) = prover(&parts)?;
        Proof::Challenge { group_id, raft_id, server_id, run: run(&parts)?, challenge: challenge(&parts)? }
    } else if parts.has_any(&["PROOF"]) {
        Proof::Response { proof: proof(&parts)? }
    } else {
        return Ok(Body::Hello);
    };
    Ok(Body::Proof(Box::new(proof)))
}

/// Who proves: `GROUP_ID`, `RAFT_ID` and `SERVER_ID`.
pub(in crate::wire) fn prover(parts: &Parts) -> Result<(GroupId, RaftId, ServerId), Fault> {
    Ok((group_id(parts, "GROUP_ID")?, raft_id(parts, "RAFT_ID")?, server_id(parts)?))
}

pub(in crate::wire) fn challenge(parts: &Parts) -> Result<String, Fault> {
    parts.text("CHALLENGE", CHALLENGE_FORM, |text| hexadecimal(&text, 32))
}

pub(in crate::wire) fn run(parts: &Parts) -> Result<String, Fault> {
    parts.text("RUN", CHALLENGE_FORM, |text| hexadecimal(&text, 32))
}

pub(in crate::wire) fn proof(parts: &Parts) -> Result<String, Fault> {
    parts.text("PROOF", PROOF_FORM, |text| hexadecimal(&text, 64))
}

/// A text of so many hexadecimal digits in lower case: one text for each value.
pub(in crate::wire) fn hexadecimal(text: &str, digits: usize) -> Option<String> {
    let lawful = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    lawful.then(|| text.to_owned())
}

/// Who to whom.
pub(in crate::wire) fn envelope(parts: &Parts) -> Result<Envelope, Fault> {
    Ok(Envelope {
        group_id: group_id(parts, "GROUP_ID")?,
        from: raft_id(parts, "FROM")?,
        to: raft_id(parts, "TO")?,
        term: count(parts, "TERM")?,
    })
}

/// A term or an index, 0 or more.
pub(in crate::wire) fn count(parts: &Parts, key: &str) -> Result<u64, Fault> {
    parts.number(key, 0..=MAX_TERM)
}

pub(in crate::wire) fn raft_id(parts: &Parts, key: &str) -> Result<RaftId, Fault> {
    parts.number(key, 1..=MAX_TERM).map(RaftId)
}

pub(in crate::wire) fn group_id(parts: &Parts, key: &str) -> Result<GroupId, Fault> {
    parts.text(key, GROUP_FORM, GroupId::new)
}

pub(in crate::wire) fn server_id(parts: &Parts) -> Result<ServerId, Fault> {
    parts.text("SERVER_ID", ID_FORM, ServerId::new)
}

/// A `NAME` or `GROUP`.
pub(in crate::wire) fn name(parts: &Parts, key: &str) -> Result<String, Fault> {
    parts.text(key, NAME_FORM, |text| is_valid_name(&text).then(|| text.into_owned()))
}

pub(in crate::wire) fn address(parts: &Parts, key: &str) -> Result<Address, Fault> {
    parts.text(key, ADDRESS_FORM, |text| text.parse().ok())
}

/// A `CONTEXT`, where it is there.
pub(in crate::wire) fn context(parts: &Parts) -> Result<Option<String>, Fault> {
    let form = format!("a string of at most {MAX_CONTEXT_BYTES} bytes");
    parts.maybe("CONTEXT", &form, |text| (text.len() <= MAX_CONTEXT_BYTES).then(|| text.into_owned()))
}

/// The word of a field that tells messages of one task apart; `None` if it and all of `others` are not there.
fn kind(parts: &Parts, key: &str, words: &str, others: &[&str]) -> Result<Option<String>, Fault> {
    match parts.maybe(key, &format!("one of {words}"), |text| Some(text.into_owned()))? {
        None if parts.has_any(others) => Err(Fault::missing(key, &format!("one of {words}"))),
        word => Ok(word),
    }
}

fn unknown(key: &str, word: &str, words: &str) -> Fault {
    Fault::bad(key, format_args!("there is no \"{}\"; expected one of {words}", super::quote(word)))
}

/// `ELECT`: a question of an election, or who leads?
pub(super) fn elect(text: &str) -> Result<Body, Fault> {
    const OTHERS: [&str; 9] = [
        "GROUP_ID",
        "FROM",
        "TO",
        "TERM",
        "LAST_LOG_INDEX",
        "LAST_LOG_TERM",
        "COMMIT_INDEX",
        "COMMIT_TERM",
        "TRANSFER",
    ];
    let parts = Parts::read(text)?;
    let Some(word) = kind(&parts, "KIND", ELECT_KINDS, &OTHERS)? else { return Ok(Body::ElectQuestion) };
    let kind = match word.as_str() {
        "VOTE" | "PRE_VOTE" => ElectKind::Vote {
            pre: word == "PRE_VOTE",
            last_log_index: count(&parts, "LAST_LOG_INDEX")?,
            last_log_term: count(&parts, "LAST_LOG_TERM")?,
            commit_index: count(&parts, "COMMIT_INDEX")?,
            commit_term: count(&parts, "COMMIT_TERM")?,
            transfer: parts.mark("TRANSFER")?,
        },
        "NOW" => ElectKind::Now,
        _ => return Err(unknown("KIND", &word, ELECT_KINDS)),
    };
    Ok(Body::Elect(Box::new(Elect { envelope: envelope(&parts)?, kind })))
}

/// `AGREE`: what a leader tells, or what is agreed on?
pub(super) fn agree(text: &str) -> Result<Body, Fault> {
    const OTHERS: [&str; 14] = [
        "GROUP_ID",
        "FROM",
        "TO",
        "TERM",
        "PREV_LOG_INDEX",
        "PREV_LOG_TERM",
        "ENTRIES",
        "LEADER_COMMIT",
        "CONTEXT",
        "LAST_INCLUDED_INDEX",
        "LAST_INCLUDED_TERM",
        "OFFSET",
        "DATA",
        "DONE",
    ];
    let parts = Parts::read(text)?;
    let Some(word) = kind(&parts, "KIND", AGREE_KINDS, &OTHERS)? else { return Ok(Body::LedgerQuestion) };
    let envelope = envelope(&parts)?;
    let kind = match word.as_str() {
        "APPEND" => append(&parts, envelope.term)?,
        "HEARTBEAT" => {
            AgreeKind::Heartbeat { leader_commit: count(&parts, "LEADER_COMMIT")?, context: context(&parts)? }
        }
        "SNAPSHOT" => snapshot(&parts)?,
        _ => return Err(unknown("KIND", &word, AGREE_KINDS)),
    };
    Ok(Body::Agree(Box::new(Agree { envelope, kind })))
}

/// An append whose entries follow each other as those of a log do: whoever reads it need not look again.
fn append(parts: &Parts, term: u64) -> Result<AgreeKind, Fault> {
    let prev_log_index = count(parts, "PREV_LOG_INDEX")?;
    let prev_log_term = count(parts, "PREV_LOG_TERM")?;
    let leader_commit = count(parts, "LEADER_COMMIT")?;
    let texts = parts.maybe_list("ENTRIES", MAX_ENTRIES)?.ok_or_else(|| Fault::missing("ENTRIES", "a list"))?;
    let mut entries: Vec<LedgerEntry> = Vec::with_capacity(texts.len());
    for text in texts {
        if text.len() > MAX_ENTRY_BYTES {
            let why = format!("an entry has {} bytes; expected at most {MAX_ENTRY_BYTES}", text.len());
            return Err(Fault::bad("ENTRIES", why));
        }
        let entry = LedgerEntry::from_json(text).map_err(|why| Fault::bad("ENTRIES", quote(&why, MAX_QUOTE)))?;
        let (last_index, last_term) =
            entries.last().map_or((prev_log_index, prev_log_term), |last| (last.index, last.term));
        if entry.index != last_index + 1 {
            let why = format!("an entry has `INDEX` {}; expected {}, without gaps", entry.index, last_index + 1);
            return Err(Fault::bad("ENTRIES", why));
        }
        if !(last_term..=term).contains(&entry.term) {
            let why = format!(
                "the entry of `INDEX` {} has `TERM` {}; expected {last_term}, as that before it, to {term}, the leader's",
                entry.index, entry.term
            );
            return Err(Fault::bad("ENTRIES", why));
        }
        entries.push(entry);
    }
    Ok(AgreeKind::Append { prev_log_index, prev_log_term, entries, leader_commit })
}

/// A piece of a snapshot.
fn snapshot(parts: &Parts) -> Result<AgreeKind, Fault> {
    let form = format!("a string of at most {AGREE_BYTES} bytes");
    let data = parts.text("DATA", &form, |text| (text.len() <= AGREE_BYTES).then(|| text.into_owned()))?;
    let offset = parts.number("OFFSET", 0..=(MAX_SNAPSHOT_BYTES - data.len()) as u64)?;
    Ok(AgreeKind::Snapshot {
        last_index: parts.number("LAST_INCLUDED_INDEX", 1..=MAX_TERM)?,
        last_term: parts.number("LAST_INCLUDED_TERM", 1..=MAX_TERM)?,
        members: voter_sets(parts)?,
        offset,
        data,
        done: parts.flag("DONE")?,
    })
}

/// Who votes: sets that can stand beside each other.
fn voter_sets(parts: &Parts) -> Result<VoterSets, Fault> {
    let sets = VoterSets {
        voters: raft_ids(parts, "VOTERS")?,
        learners: raft_ids(parts, "LEARNERS")?,
        voters_outgoing: raft_ids(parts, "VOTERS_OUTGOING")?,
        learners_next: raft_ids(parts, "LEARNERS_NEXT")?,
        auto_leave: parts.mark("AUTO_LEAVE")?,
    };
    let VoterSets { voters, learners, voters_outgoing, learners_next, auto_leave } = &sets;
    let meet = |some: &[RaftId], others: &[RaftId]| some.iter().any(|id| others.contains(id));
    if voters.is_empty() {
        return Err(Fault::bad("VOTERS", "it is empty; expected one voter or more"));
    }
    if meet(learners, voters) || meet(learners, voters_outgoing) {
        return Err(Fault::bad("LEARNERS", "one of them votes; expected members that do not"));
    }
    if meet(learners_next, voters) || learners_next.iter().any(|id| !voters_outgoing.contains(id)) {
        return Err(Fault::bad("LEARNERS_NEXT", "expected only members of `VOTERS_OUTGOING` that are not of `VOTERS`"));
    }
    if *auto_leave && voters_outgoing.is_empty() {
        return Err(Fault::bad("AUTO_LEAVE", "it is true without `VOTERS_OUTGOING`; expected both or neither"));
    }
    Ok(sets)
}

/// A list of numbers of members, ascending; empty where it is not there.
fn raft_ids(parts: &Parts, key: &str) -> Result<Vec<RaftId>, Fault> {
    let form = "numbers of members, 1 or more, ascending";
    let mut ids: Vec<RaftId> = Vec::new();
    for text in parts.maybe_list(key, MAX_MEMBERS)?.unwrap_or_default() {
        let last = ids.last().map_or(0, |id| id.0);
        match serde_json::from_str(text) {
            Ok(number) if (last + 1..=MAX_TERM).contains(&number) => ids.push(RaftId(number)),
            _ => return Err(Fault::bad(key, format_args!("expected {form}"))),
        }
    }
    Ok(ids)
}

/// `MEMBERS`: a change of who belongs to the group, or who does?
pub(super) fn members(text: &str) -> Result<Body, Fault> {
    const OTHERS: [&str; 8] = ["SERVER_ID", "NAME", "ADDRESS", "GROUP", "STATE_ID", "FORCE", "TARGET", "CONFIRM"];
    let parts = Parts::read(text)?;
    let Some(word) = kind(&parts, "ACTION", ACTIONS, &OTHERS)? else { return Ok(Body::MembersQuestion) };
    let action = match word.as_str() {
        "ADMIT" => MembersAction::Admit(Box::new(Admit {
            server_id: server_id(&parts)?,
            name: name(&parts, "NAME")?,
            address: address(&parts, "ADDRESS")?,
            group: name(&parts, "GROUP")?,
            state_id: parts.text("STATE_ID", STATE_FORM, GroupId::new)?,
        })),
        "REMOVE" => MembersAction::Remove { server_id: server_id(&parts)?, force: parts.mark("FORCE")? },
        "LEAD" => MembersAction::Lead { server_id: server_id(&parts)? },
        "LEAVE" => MembersAction::Leave,
        "JOIN" => MembersAction::Join { target: address(&parts, "TARGET")? },
        "RECOVER" => MembersAction::Recover { confirm: group_id(&parts, "CONFIRM")? },
        _ => return Err(unknown("ACTION", &word, ACTIONS)),
    };
    Ok(Body::Members(Box::new(action)))
}
