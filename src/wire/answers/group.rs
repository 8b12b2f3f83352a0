//! What members answer each other, and what a group tells of itself.

use crate::wire::decode::group::{
    address, challenge, context, count, envelope, group_id, hexadecimal, name, proof, prover, raft_id, run, server_id,
};
use crate::wire::parts::{Fault, Parts};
use crate::wire::{
    Admission, AgreeAnswer, AgreeAnswerKind, Body, ElectAnswer, ElectVote, GroupId, GroupRole, LedgerAnswer,
    MAX_MEMBERS, MAX_TERM, Member, MembersAnswer, MembersDone, Proof, RaftId, Refuses, ServerId, ShownEntry, Status,
    Votes,
};

/// An answer to `ELECT`.
pub(in crate::wire) fn elect(text: &str) -> Option<Body> {
    let parts = Parts::read(text).ok()?;
    if parts.has_any(&["VOTE_GRANTED"]) {
        return vote(&parts).ok().map(|vote| Body::ElectVote(Box::new(vote)));
    }
    elect_answer(&parts).ok().map(|answer| Body::ElectAnswer(Box::new(answer)))
}

fn vote(parts: &Parts) -> Result<ElectVote, Fault> {
    let pre = |text: std::borrow::Cow<str>| match text.as_ref() {
        "PRE_VOTE" => Some(true),
        "VOTE" => Some(false),
        _ => None,
    };
    Ok(ElectVote {
        envelope: envelope(parts)?,
        pre: parts.text("KIND", "VOTE or PRE_VOTE", pre)?,
        granted: parts.flag("VOTE_GRANTED")?,
        commit_index: count(parts, "COMMIT_INDEX")?,
        commit_term: count(parts, "COMMIT_TERM")?,
    })
}

fn elect_answer(parts: &Parts) -> Result<ElectAnswer, Fault> {
    Ok(ElectAnswer {
        server_id: server_id(parts)?,
        group: name(parts, "GROUP")?,
        group_id: parts.maybe("GROUP_ID", "an id", GroupId::new)?,
        raft_id: parts.maybe_number("RAFT_ID", 1..=MAX_TERM)?.map(RaftId),
        state: parts.text("STATE", "a state", |text| GroupRole::parse(&text))?,
        term: count(parts, "TERM")?,
        leader: leader(parts)?,
        voters: parts.objects("VOTERS", MAX_MEMBERS, member)?,
        learners: parts.objects("LEARNERS", MAX_MEMBERS, member)?,
        quorum: parts.flag("QUORUM")?,
        spare: parts.number("SPARE", 0..=MAX_TERM)?,
        reason: parts.maybe("REASON", "a string", |text| Some(text.into_owned()))?,
    })
}

fn leader(parts: &Parts) -> Result<Option<Member>, Fault> {
    let Some(server_id) = parts.maybe("LEADER", "an id", ServerId::new)? else { return Ok(None) };
    Ok(Some(Member {
        raft_id: raft_id(parts, "LEADER_RAFT_ID")?,
        server_id,
        name: name(parts, "LEADER_NAME")?,
        address: address(parts, "LEADER_ADDRESS")?,
        status: status(parts, "LEADER_STATUS")?,
    }))
}

fn status(parts: &Parts, key: &str) -> Result<Status, Fault> {
    parts.text(key, "a status", |text| Status::parse(&text))
}

fn member(parts: &Parts) -> Result<Member, Fault> {
    Ok(Member {
        raft_id: raft_id(parts, "RAFT_ID")?,
        server_id: server_id(parts)?,
        name: name(parts, "NAME")?,
        address: address(parts, "ADDRESS")?,
        status: status(parts, "STATUS")?,
    })
}

/// An answer to `AGREE`.
pub(in crate::wire) fn agree(text: &str) -> Option<Body> {
    let parts = Parts::read(text).ok()?;
    if parts.has_any(&["KIND"]) {
        return agree_answer(&parts).ok().map(|answer| Body::AgreeAnswer(Box::new(answer)));
    }
    ledger(&parts).ok().map(|answer| Body::LedgerAnswer(Box::new(answer)))
}

fn agree_answer(parts: &Parts) -> Result<AgreeAnswer, Fault> {
    let kind = parts.text("KIND", "a string", Some)?;
    let kind = match kind.as_ref() {
        "APPEND" => AgreeAnswerKind::Append {
            success: parts.flag("SUCCESS")?,
            match_index: count(parts, "MATCH_INDEX")?,
            hint: match parts.maybe_number("HINT_INDEX", 0..=MAX_TERM)? {
                Some(index) => Some((index, count(parts, "HINT_TERM")?)),
                None => None,
            },
            commit_index: count(parts, "COMMIT_INDEX")?,
        },
        "HEARTBEAT" => {
            AgreeAnswerKind::Heartbeat { context: context(parts)?, commit_index: count(parts, "COMMIT_INDEX")? }
        }
        "SNAPSHOT" => AgreeAnswerKind::Piece {
            last_index: count(parts, "LAST_INCLUDED_INDEX")?,
            next: parts.number("OFFSET", 0..=crate::wire::MAX_SNAPSHOT_BYTES as u64)?,
        },
        _ => return Err(Fault::bad("KIND", "there is no such kind")),
    };
    Ok(AgreeAnswer { envelope: envelope(parts)?, kind })
}

fn ledger(parts: &Parts) -> Result<LedgerAnswer, Fault> {
    let shown = |parts: &Parts| {
        Ok(ShownEntry {
            index: count(parts, "INDEX")?,
            term: count(parts, "TERM")?,
            words: parts.text("WORDS", "a string", |text| Some(text.into_owned()))?,
        })
    };
    Ok(LedgerAnswer {
        server_id: server_id(parts)?,
        group_id: parts.maybe("GROUP_ID", "an id", GroupId::new)?,
        term: count(parts, "TERM")?,
        applied: count(parts, "APPLIED")?,
        committed: count(parts, "COMMITTED")?,
        last: count(parts, "LAST")?,
        snapshot: count(parts, "SNAPSHOT")?,
        entries: parts.objects("ENTRIES", crate::wire::ENTRIES_SHOWN, shown)?,
    })
}

/// An answer to a step of the proof.
pub(in crate::wire) fn proved(text: &str) -> Option<Body> {
    let parts = Parts::read(text).ok()?;
    if parts.mark("PROVED").ok()? {
        return Some(Body::Proof(Box::new(Proof::Proved)));
    }
    let (group_id, raft_id, server_id) = prover(&parts).ok()?;
    let (run, challenge, proof) = (run(&parts).ok()?, challenge(&parts).ok()?, proof(&parts).ok()?);
    // Who refuses for a reason that this version does not know is not believed to take part.
    let refuses = parts.maybe("REFUSES", "GONE or TWINS", |text| Refuses::parse(&text)).ok()?;
    Some(Body::Proof(Box::new(Proof::Counter { group_id, raft_id, server_id, run, challenge, proof, refuses })))
}

/// An answer to `MEMBERS`.
pub(in crate::wire) fn members(text: &str) -> Option<Body> {
    let parts = Parts::read(text).ok()?;
    let body = if parts.has_any(&["GROUP_KEY"]) {
        Body::Admission(Box::new(admission(&parts).ok()?))
    } else if parts.has_any(&["ACTION"]) {
        Body::MembersDone(Box::new(done(&parts).ok()?))
    } else {
        Body::MembersAnswer(Box::new(members_answer(&parts).ok()?))
    };
    Some(body)
}

fn admission(parts: &Parts) -> Result<Admission, Fault> {
    Ok(Admission {
        group_id: group_id(parts, "GROUP_ID")?,
        raft_id: raft_id(parts, "RAFT_ID")?,
        key: parts.text("GROUP_KEY", "64 hexadecimal digits", |text| hexadecimal(&text, 64))?,
        members: parts.objects("MEMBERS", MAX_MEMBERS, member)?,
    })
}

fn done(parts: &Parts) -> Result<MembersDone, Fault> {
    Ok(MembersDone {
        action: parts.text("ACTION", "a string", |text| Some(text.into_owned()))?,
        index: parts.maybe_number("INDEX", 0..=MAX_TERM)?,
        detail: parts.maybe("DETAIL", "a string", |text| Some(text.into_owned()))?.unwrap_or_default(),
    })
}

fn members_answer(parts: &Parts) -> Result<MembersAnswer, Fault> {
    let votes =
        |parts: &Parts| Ok((member(parts)?, parts.text("VOTES", "VOTER or LEARNER", |text| Votes::parse(&text))?));
    Ok(MembersAnswer {
        server_id: server_id(parts)?,
        group: name(parts, "GROUP")?,
        group_id: group_id(parts, "GROUP_ID")?,
        index: count(parts, "INDEX")?,
        members: parts.objects("MEMBERS", MAX_MEMBERS, votes)?,
        more: parts.mark("MORE")?,
    })
}
