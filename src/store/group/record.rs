//! The lines of a frame: one JSON object with one key each, which is what was written.

use crate::core::{GroupWrite, Membership, StoredGroup};
use crate::wire::{
    Command, GroupId, JsonReader, JsonWriter, LedgerEntry, LedgerItem, RaftId, ServerId, SnapshotHead, VoterSets,
};

/// The version that this program writes and reads. Every version keeps frames, and `FILE` with its `FORMAT`.
const FORMAT: u64 = 1;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// `FILE`: the first of a file.
    File {
        /// Its number.
        number: u64,
        /// Whose group it is.
        master: ServerId,
    },
    /// Any other.
    Write(GroupWrite),
}

/// Appends the first line of a file.
pub(super) fn file(number: u32, master: &ServerId, out: &mut String) {
    line("FILE", out, |object| {
        object.number("FORMAT", FORMAT).number("NUMBER", u64::from(number)).text("MASTER", master.as_str())
    });
}

/// Appends a write.
pub(super) fn write(write: &GroupWrite, out: &mut String) {
    match write {
        GroupWrite::Belong { state_id, membership } => belong(state_id, membership.as_ref(), out),
        // The lines of one write stand in one batch, which is there whole or not at all.
        GroupWrite::Begin(stored) => state(stored, out),
        GroupWrite::Vote { term, vote: for_whom, commit } => vote(*term, *for_whom, *commit, out),
        GroupWrite::Append(list) => entries(list, out),
        GroupWrite::Snapshot { head, text } => snapshot(head, text, out),
    }
}

/// Whether a write can be read back whatever it holds: of texts and whole numbers alone, which have no form that is refused. These are nearly
/// all that is written.
pub(super) fn is_plain(write: &GroupWrite) -> bool {
    let GroupWrite::Append(entries) = write else { return false };
    entries.iter().all(|entry| match &entry.what {
        LedgerItem::Empty => true,
        LedgerItem::Change(_) => false,
        LedgerItem::Command(command) => matches!(
            **command,
            Command::Acquire { .. } | Command::Release { .. } | Command::Expire { .. } | Command::Tick { .. }
        ),
    })
}

/// Appends all that is stored, as writes that make it.
pub(super) fn state(group: &StoredGroup, out: &mut String) {
    belong(&group.state_id, group.membership.as_ref(), out);
    if let Some((head, text)) = &group.snapshot {
        snapshot(head, text, out);
    }
    entries(&group.entries, out);
    vote(group.term, group.vote, group.commit, out);
}

fn belong(state_id: &GroupId, membership: Option<&Membership>, out: &mut String) {
    line("BELONG", out, |object| {
        let object = object.text("STATE_ID", state_id.as_str());
        match membership {
            None => object,
            Some(Membership { group_id, raft_id, key }) => {
                object.text("GROUP_ID", group_id.as_str()).number("RAFT_ID", raft_id.0).text("KEY", key)
            }
        }
    });
}

fn vote(term: u64, for_whom: Option<RaftId>, commit: u64, out: &mut String) {
    line("VOTE", out, |object| {
        let object = object.number("TERM", term).number("COMMIT", commit);
        match for_whom {
            None => object,
            Some(RaftId(id)) => object.number("VOTED_FOR", id),
        }
    });
}

/// A line for each, so that a pager shows them below each other.
fn entries(entries: &[LedgerEntry], out: &mut String) {
    for entry in entries {
        let mut object = JsonWriter::begin(out);
        entry.to_json(object.key("ENTRY"));
        object.end();
        out.push('\n');
    }
}

fn snapshot(head: &SnapshotHead, text: &str, out: &mut String) {
    line("SNAPSHOT", out, |object| {
        let mut object = object.number("INDEX", head.index).number("TERM", head.term);
        head.members.to_json(object.key("MEMBERS"));
        object.text("LEDGER", text)
    });
}

fn line(word: &str, out: &mut String, fields: impl FnOnce(JsonWriter<'_>) -> JsonWriter<'_>) {
    let mut outer = JsonWriter::begin(out);
    fields(JsonWriter::begin(outer.key(word))).end();
    outer.end();
    out.push('\n');
}

/// Reads a line, without its end. An error names the field and what was expected, and never shows what stands there: it may be the
/// key of the group.
pub(super) fn read(text: &str) -> Result<Line, String> {
    let outer = JsonReader::read(text)?;
    let mut keys = outer.keys();
    let (Some(word), None) = (keys.next(), keys.next()) else {
        return Err("expected an object with one key".to_owned());
    };
    if word == "ENTRY" {
        let entry = LedgerEntry::from_json(outer.required(word)?).map_err(|error| format!("`ENTRY`: {error}"))?;
        return Ok(Line::Write(GroupWrite::Append(vec![entry])));
    }
    outer.object(word, |object| {
        let id = |key| object.parsed(key, "8 to 64 characters of 0-9a-f-", GroupId::new);
        Ok(match word {
            "FILE" => {
                let format = object.number("FORMAT")?;
                if format != FORMAT {
                    return Err(format!("`FORMAT` is {format}; this version reads format {FORMAT}"));
                }
                let master = object.parsed("MASTER", "the id of a server", ServerId::new)?;
                Line::File { number: object.number("NUMBER")?, master }
            }
            "BELONG" => {
                let state_id = id("STATE_ID")?;
                let membership = match object.value("GROUP_ID") {
                    None => None,
                    Some(_) => Some(Membership {
                        group_id: id("GROUP_ID")?,
                        raft_id: RaftId(object.number("RAFT_ID")?),
                        key: object.text("KEY")?,
                    }),
                };
                Line::Write(GroupWrite::Belong { state_id, membership })
            }
            "VOTE" => {
                let vote = match object.value("VOTED_FOR") {
                    None => None,
                    Some(_) => Some(RaftId(object.number("VOTED_FOR")?)),
                };
                Line::Write(GroupWrite::Vote { term: object.number("TERM")?, vote, commit: object.number("COMMIT")? })
            }
            "SNAPSHOT" => {
                let members = VoterSets::from_json(object.required("MEMBERS")?)?;
                let head = SnapshotHead { index: object.number("INDEX")?, term: object.number("TERM")?, members };
                Line::Write(GroupWrite::Snapshot { head, text: object.text("LEDGER")? })
            }
            _ => return Err("expected FILE, BELONG, VOTE, ENTRY or SNAPSHOT".to_owned()),
        })
    })
}

/// Reads the lines of a frame.
pub(super) fn read_all(body: &[u8]) -> impl Iterator<Item = Result<Line, String>> {
    body.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n").ok_or("a line without its end")?;
        read(std::str::from_utf8(line).map_err(|_| "a line that is not UTF-8")?)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_plain_is_read_back_whatever_it_holds(
            name in any::<String>(),
            holder in any::<String>(),
            (index, term, fence, tick) in (1_u64.., any::<u64>(), any::<u64>(), any::<u64>()),
            ttl in any::<u64>().prop_map(Duration::from_millis),
        ) {
            let commands = [
                Command::Acquire { name: name.clone(), holder, ttl },
                Command::Release { name: name.clone(), fence },
                Command::Expire { name: name.clone(), fence },
                Command::Tick { name, fence, tick },
            ];
            let items = commands.map(|command| LedgerItem::Command(Box::new(command)));
            for what in items.into_iter().chain([LedgerItem::Empty]) {
                let append = GroupWrite::Append(vec![LedgerEntry { index, term, what }]);
                prop_assert!(is_plain(&append));
                let mut out = String::new();
                write(&append, &mut out);
                let read: Result<Vec<Line>, String> = read_all(out.as_bytes()).collect();
                prop_assert_eq!(read, Ok(vec![Line::Write(append)]));
            }
        }
    }
}
