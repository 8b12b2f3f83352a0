//! Entries of the ledger as JSON: the same text in `ENTRIES` of AGREE, on disk and in the engine's log.
//!
//! ```text
//!   {"INDEX":7,"TERM":2,"DO":{"SET":{"NAME":"capacity","VALUE":200}}}
//!   {"INDEX":8,"TERM":2,"CHANGE":{"ADD_VOTERS":[3],"ADD_LEARNERS":[],"REMOVE":[2]}}
//!   {"INDEX":9,"TERM":3}
//! ```
//!
//! What is written is read back the same, save that durations are whole milliseconds ([`Command::rounded`]) and [`VoterSets`] ascend. Unknown
//! fields are ignored. An unknown command is an error: a member that skipped it would hold another ledger than the rest.

use super::json_object::{JsonReader, JsonWriter, whole_millis};
use super::{
    Address, Adoption, Command, Epoch, GroupId, LedgerEntry, LedgerItem, LentWorker, LoanId, NewMember, RaftId,
    ServerId, VoterChange, VoterSets,
};

impl LedgerEntry {
    /// Appends the entry as one JSON object on one line.
    pub fn to_json(&self, out: &mut String) {
        let mut object = JsonWriter::begin(out).number("INDEX", self.index).number("TERM", self.term);
        match &self.what {
            LedgerItem::Empty => {}
            LedgerItem::Command(command) => command.to_json(object.key("DO")),
            LedgerItem::Change(change) => change.to_json(object.key("CHANGE")),
        }
        object.end();
    }

    /// The entry of a JSON object. The error names the field and what was expected.
    pub fn from_json(text: &str) -> Result<LedgerEntry, String> {
        let object = JsonReader::read(text)?;
        let (index, term) = (object.positive("INDEX")?, object.number("TERM")?);
        let within = |key: &str, error: String| format!("`{key}`: {error}");
        let what = match (object.value("DO"), object.value("CHANGE")) {
            (None, None) => LedgerItem::Empty,
            (Some(text), None) => {
                LedgerItem::Command(Box::new(Command::from_json(text).map_err(|error| within("DO", error))?))
            }
            (None, Some(text)) => {
                LedgerItem::Change(VoterChange::from_json(text).map_err(|error| within("CHANGE", error))?)
            }
            (Some(_), Some(_)) => return Err("`CHANGE`: expected none beside `DO`".to_owned()),
        };
        Ok(LedgerEntry { index, term, what })
    }
}

impl Command {
    /// The word of its kind, the one key of its object.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Command::Found { .. } => "FOUND",
            Command::Admit(_) => "ADMIT",
            Command::Move { .. } => "MOVE",
            Command::Remove { .. } => "REMOVE",
            Command::Settle { .. } => "SETTLE",
            Command::Set { .. } => "SET",
            Command::Acquire { .. } => "ACQUIRE",
            Command::Release { .. } => "RELEASE",
            Command::Expire { .. } => "EXPIRE",
            Command::Tick { .. } => "TICK",
            Command::Adopt { .. } => "ADOPT",
            Command::Lend(_) => "LEND",
            Command::End { .. } => "END",
            Command::Recover { .. } => "RECOVER",
        }
    }

    /// The command as it is read back: durations are whole milliseconds, rounded down. A leader applies what it has in
    /// memory and the others what they have read, so nothing finer may enter a log.
    pub(crate) fn rounded(mut self) -> Command {
        match &mut self {
            Command::Acquire { ttl: duration, .. } | Command::Lend(LentWorker { lease: duration, .. }) => {
                *duration = whole_millis(*duration);
            }
            Command::Found { .. }
            | Command::Admit(_)
            | Command::Move { .. }
            | Command::Remove { .. }
            | Command::Settle { .. }
            | Command::Set { .. }
            | Command::Release { .. }
            | Command::Expire { .. }
            | Command::Tick { .. }
            | Command::Adopt { .. }
            | Command::End { .. }
            | Command::Recover { .. } => {}
        }
        self
    }

    /// Appends the command as one JSON object with one key, on one line.
    pub fn to_json(&self, out: &mut String) {
        let mut outer = JsonWriter::begin(out);
        let out = outer.key(self.as_str());
        if let Command::Admit(member) = self {
            member.to_json(out);
            return outer.end();
        }
        if let Command::Lend(loan) = self {
            loan.to_json(out);
            return outer.end();
        }
        let object = JsonWriter::begin(out);
        let object = match self {
            Command::Found { group_id, group, member } => {
                let mut object = object.text("GROUP_ID", group_id.as_str()).text("GROUP", group);
                member.to_json(object.key("MEMBER"));
                object
            }
            Command::Admit(_) | Command::Lend(_) => object,
            Command::Move { raft_id, name, address } => {
                object.number("RAFT_ID", raft_id.0).text("NAME", name).text("ADDRESS", &address.to_string())
            }
            Command::Remove { raft_id, reason } => object.number("RAFT_ID", raft_id.0).text("REASON", reason),
            Command::Settle { raft_ids } => object.list("RAFT_IDS", raft_ids, push_id),
            Command::Set { name, value } => object.text("NAME", name).json("VALUE", value),
            Command::Acquire { name, holder, ttl } => {
                object.text("NAME", name).text("HOLDER", holder).millis("TTL_MS", *ttl)
            }
            Command::Release { name, fence } | Command::Expire { name, fence } => {
                object.text("NAME", name).number("FENCE", *fence)
            }
            Command::Tick { name, fence, tick } => {
                object.text("NAME", name).number("FENCE", *fence).number("TICK", *tick)
            }
            Command::Adopt { workers } => object.list("WORKERS", workers, Adoption::to_json),
            Command::End { loan_id, reason } => object.text("LOAN_ID", loan_id.as_str()).text("REASON", reason),
            Command::Recover { group_id, raft_id } => {
                object.text("GROUP_ID", group_id.as_str()).number("RAFT_ID", raft_id.0)
            }
        };
        object.end();
        outer.end();
    }

    /// The command of a JSON object with one key. The error names the field and what was expected.
    pub fn from_json(text: &str) -> Result<Command, String> {
        let outer = JsonReader::read(text)?;
        let mut keys = outer.keys();
        let (Some(word), None) = (keys.next(), keys.next()) else {
            return Err("expected an object with one key, the command".to_owned());
        };
        outer.object(word, |object| Command::of(word, object))
    }

    fn of(word: &str, object: &JsonReader<'_>) -> Result<Command, String> {
        let name = || object.text("NAME");
        let fence = || object.number("FENCE");
        Ok(match word {
            "FOUND" => Command::Found {
                group_id: group_id(object, "GROUP_ID")?,
                group: object.text("GROUP")?,
                member: object.object("MEMBER", NewMember::of)?,
            },
            "ADMIT" => Command::Admit(NewMember::of(object)?),
            "MOVE" => Command::Move { raft_id: raft_id(object)?, name: name()?, address: address(object)? },
            "REMOVE" => Command::Remove { raft_id: raft_id(object)?, reason: object.text("REASON")? },
            "SETTLE" => Command::Settle { raft_ids: raft_ids(object, "RAFT_IDS")? },
            "SET" => Command::Set { name: name()?, value: object.json("VALUE") },
            "ACQUIRE" => {
                Command::Acquire { name: name()?, holder: object.text("HOLDER")?, ttl: object.millis("TTL_MS")? }
            }
            "RELEASE" => Command::Release { name: name()?, fence: fence()? },
            "EXPIRE" => Command::Expire { name: name()?, fence: fence()? },
            "TICK" => Command::Tick { name: name()?, fence: fence()?, tick: object.number("TICK")? },
            "ADOPT" => {
                let workers = object.list("WORKERS")?.into_iter().map(Adoption::from_json).collect::<Result<_, _>>();
                Command::Adopt { workers: workers.map_err(|error| format!("`WORKERS`: {error}"))? }
            }
            "LEND" => Command::Lend(LentWorker::of(object)?),
            "END" => Command::End { loan_id: loan_id(object)?, reason: object.text("REASON")? },
            "RECOVER" => Command::Recover { group_id: group_id(object, "GROUP_ID")?, raft_id: raft_id(object)? },
            _ => return Err("expected a command that this version knows".to_owned()),
        })
    }
}

impl VoterChange {
    /// Appends the change as one JSON object on one line.
    pub fn to_json(&self, out: &mut String) {
        JsonWriter::begin(out)
            .list("ADD_VOTERS", &self.add_voters, push_id)
            .list("ADD_LEARNERS", &self.add_learners, push_id)
            .list("REMOVE", &self.remove, push_id)
            .end();
    }

    /// The change of a JSON object; lists that are absent are empty. The error names the field and what was expected.
    pub fn from_json(text: &str) -> Result<VoterChange, String> {
        let object = JsonReader::read(text)?;
        Ok(VoterChange {
            add_voters: raft_ids(&object, "ADD_VOTERS")?,
            add_learners: raft_ids(&object, "ADD_LEARNERS")?,
            remove: raft_ids(&object, "REMOVE")?,
        })
    }
}

impl VoterSets {
    /// Appends the sets as one JSON object on one line.
    pub fn to_json(&self, out: &mut String) {
        JsonWriter::begin(out)
            .list("VOTERS", &self.voters, push_id)
            .list("LEARNERS", &self.learners, push_id)
            .list("VOTERS_OUTGOING", &self.voters_outgoing, push_id)
            .list("LEARNERS_NEXT", &self.learners_next, push_id)
            .flag("AUTO_LEAVE", self.auto_leave)
            .end();
    }

    /// The sets of a JSON object, which may have other fields; lists that are absent are empty. The sets come out
    /// ascending, each number once. The error names the field and what was expected.
    pub fn from_json(text: &str) -> Result<VoterSets, String> {
        let object = JsonReader::read(text)?;
        let set = |key| {
            let mut ids = raft_ids(&object, key)?;
            ids.sort_unstable();
            ids.dedup();
            Ok::<_, String>(ids)
        };
        Ok(VoterSets {
            voters: set("VOTERS")?,
            learners: set("LEARNERS")?,
            voters_outgoing: set("VOTERS_OUTGOING")?,
            learners_next: set("LEARNERS_NEXT")?,
            auto_leave: object.flag("AUTO_LEAVE")?,
        })
    }
}

impl Adoption {
    /// Appends the adoption as one JSON object on one line.
    pub fn to_json(&self, out: &mut String) {
        let object = JsonWriter::begin(out).text("WORKER_UUID", self.worker.as_str()).text("FROM", self.from.as_str());
        object.text("OWNER", self.owner.as_str()).number("GENERATION", self.generation).end();
    }

    /// The adoption of a JSON object. The error names the field and what was expected.
    pub fn from_json(text: &str) -> Result<Adoption, String> {
        let object = JsonReader::read(text)?;
        Ok(Adoption {
            worker: server_id(&object, "WORKER_UUID")?,
            from: server_id(&object, "FROM")?,
            owner: server_id(&object, "OWNER")?,
            generation: object.positive("GENERATION")?,
        })
    }
}

impl LentWorker {
    /// Appends the loan as one JSON object on one line.
    pub fn to_json(&self, out: &mut String) {
        let object = JsonWriter::begin(out).text("LOAN_ID", self.loan_id.as_str());
        let object = object.text("WORKER_UUID", self.worker.as_str()).text("OWNER", self.owner.as_str());
        let object = object.text("BORROWER", self.borrower.as_str());
        let epoch = [self.epoch.generation, self.epoch.counter];
        let object = object.list("EPOCH", epoch, |number, out| out.push_str(&number.to_string()));
        object.millis("LEASE_MS", self.lease).end();
    }

    /// The loan of a JSON object. The error names the field and what was expected.
    pub fn from_json(text: &str) -> Result<LentWorker, String> {
        LentWorker::of(&JsonReader::read(text)?)
    }

    fn of(object: &JsonReader<'_>) -> Result<LentWorker, String> {
        let numbers: Option<Vec<u64>> =
            object.list("EPOCH")?.into_iter().map(|text| serde_json::from_str(text).ok()).collect();
        let Some([generation, counter]) = numbers.as_deref() else {
            return Err("`EPOCH`: expected two whole numbers, the generation and the counter".to_owned());
        };
        Ok(LentWorker {
            loan_id: loan_id(object)?,
            worker: server_id(object, "WORKER_UUID")?,
            owner: server_id(object, "OWNER")?,
            borrower: server_id(object, "BORROWER")?,
            epoch: Epoch { generation: *generation, counter: *counter },
            lease: object.millis("LEASE_MS")?,
        })
    }
}

impl NewMember {
    /// Appends the member as one JSON object on one line.
    pub fn to_json(&self, out: &mut String) {
        self.fields(JsonWriter::begin(out)).end();
    }

    /// Its fields, beside others of one object.
    pub(crate) fn fields<'o>(&self, object: JsonWriter<'o>) -> JsonWriter<'o> {
        object
            .text("SERVER_ID", self.server_id.as_str())
            .text("STATE_ID", self.state_id.as_str())
            .text("NAME", &self.name)
            .text("ADDRESS", &self.address.to_string())
    }

    /// The member of an object's fields.
    pub(crate) fn of(object: &JsonReader<'_>) -> Result<NewMember, String> {
        Ok(NewMember {
            server_id: server_id(object, "SERVER_ID")?,
            state_id: group_id(object, "STATE_ID")?,
            name: object.text("NAME")?,
            address: address(object)?,
        })
    }
}

fn push_id(id: &RaftId, out: &mut String) {
    out.push_str(&id.to_string());
}

/// Numbers of members.
pub(crate) fn raft_ids(object: &JsonReader<'_>, key: &str) -> Result<Vec<RaftId>, String> {
    let id = |text: &str| serde_json::from_str(text).ok().filter(|id| *id > 0).map(RaftId);
    let ids: Option<Vec<RaftId>> = object.list(key)?.into_iter().map(id).collect();
    ids.ok_or_else(|| format!("`{key}`: expected numbers of members, 1 or more"))
}

fn server_id(object: &JsonReader<'_>, key: &str) -> Result<ServerId, String> {
    object.parsed(key, "1 to 128 bytes without control characters", ServerId::new)
}

fn loan_id(object: &JsonReader<'_>) -> Result<LoanId, String> {
    object.parsed("LOAN_ID", "1 to 64 printable characters without blanks", LoanId::new)
}

fn raft_id(object: &JsonReader<'_>) -> Result<RaftId, String> {
    object.positive("RAFT_ID").map(RaftId)
}

fn address(object: &JsonReader<'_>) -> Result<Address, String> {
    object.text("ADDRESS")?.parse().map_err(|error| format!("`ADDRESS`: {error}"))
}

/// A group id, or another id of that form.
pub(crate) fn group_id(object: &JsonReader<'_>, key: &str) -> Result<GroupId, String> {
    object.parsed(key, "8 to 64 characters of 0-9a-f-", GroupId::new)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::Json;

    fn member() -> impl Strategy<Value = NewMember> {
        ("[a-z \"\\\\é]{1,20}", "[0-9a-f-]{8,64}", ".{0,30}", 1..=u16::MAX).prop_map(|(server, state, name, port)| {
            NewMember {
                server_id: ServerId::new(server).unwrap(),
                state_id: GroupId::new(state).unwrap(),
                name,
                address: format!("lab-{port}:{port}").parse().unwrap(),
            }
        })
    }

    fn server() -> impl Strategy<Value = ServerId> {
        "[a-z \"\\\\é]{1,20}".prop_map(|text| ServerId::new(text).unwrap())
    }

    fn loan() -> impl Strategy<Value = LoanId> {
        "[!-~]{1,64}".prop_map(|text| LoanId::new(text).unwrap())
    }

    fn id() -> impl Strategy<Value = RaftId> {
        (1..=u64::MAX).prop_map(RaftId)
    }

    fn ids() -> impl Strategy<Value = Vec<RaftId>> {
        proptest::collection::btree_set(id(), 0..4).prop_map(|ids| ids.into_iter().collect())
    }

    fn group() -> impl Strategy<Value = GroupId> {
        "[0-9a-f-]{8,64}".prop_map(|text| GroupId::new(text).unwrap())
    }

    fn value() -> impl Strategy<Value = Json> {
        prop_oneof![
            Just(Json::null()),
            any::<u64>().prop_map(|number| Json::new(number.to_string()).unwrap()),
            ".{0,20}".prop_map(|text| Json::string(&text)),
            Just(Json::new(r#"{"a" : [1.50, 1e400, 123456789012345678901234567890]}"#).unwrap()),
        ]
    }

    fn duration() -> impl Strategy<Value = Duration> {
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
    }

    fn command() -> impl Strategy<Value = Command> {
        let named = || (".{0,30}", any::<u64>());
        prop_oneof![
            (group(), ".{0,30}", member()).prop_map(|(group_id, group, member)| Command::Found {
                group_id,
                group,
                member
            }),
            member().prop_map(Command::Admit),
            (id(), member()).prop_map(|(raft_id, NewMember { name, address, .. })| Command::Move {
                raft_id,
                name,
                address
            }),
            (id(), ".{0,30}").prop_map(|(raft_id, reason)| Command::Remove { raft_id, reason }),
            ids().prop_map(|raft_ids| Command::Settle { raft_ids }),
            (".{0,30}", value()).prop_map(|(name, value)| Command::Set { name, value }),
            (".{0,30}", ".{0,30}", duration()).prop_map(|(name, holder, ttl)| Command::Acquire { name, holder, ttl }),
            named().prop_map(|(name, fence)| Command::Release { name, fence }),
            named().prop_map(|(name, fence)| Command::Expire { name, fence }),
            (named(), any::<u64>()).prop_map(|((name, fence), tick)| Command::Tick { name, fence, tick }),
            proptest::collection::vec((server(), server(), server(), 1..=u64::MAX), 0..4).prop_map(|workers| {
                let adoption = |(worker, from, owner, generation)| Adoption { worker, from, owner, generation };
                Command::Adopt { workers: workers.into_iter().map(adoption).collect() }
            }),
            (loan(), server(), server(), server(), any::<u64>(), any::<u64>(), duration()).prop_map(
                |(loan_id, worker, owner, borrower, generation, counter, lease)| {
                    let epoch = Epoch { generation, counter };
                    Command::Lend(LentWorker { loan_id, worker, owner, borrower, epoch, lease })
                }
            ),
            (loan(), ".{0,30}").prop_map(|(loan_id, reason)| Command::End { loan_id, reason }),
            (group(), id()).prop_map(|(group_id, raft_id)| Command::Recover { group_id, raft_id }),
        ]
    }

    fn entry() -> impl Strategy<Value = LedgerEntry> {
        let change = (ids(), ids(), ids()).prop_map(|(add_voters, add_learners, remove)| VoterChange {
            add_voters,
            add_learners,
            remove,
        });
        let what = prop_oneof![
            1 => Just(LedgerItem::Empty),
            8 => command().prop_map(|command| LedgerItem::Command(Box::new(command.rounded()))),
            2 => change.prop_map(LedgerItem::Change),
        ];
        (1..=u64::MAX, any::<u64>(), what).prop_map(|(index, term, what)| LedgerEntry { index, term, what })
    }

    fn written(entry: &LedgerEntry) -> String {
        let mut out = String::new();
        entry.to_json(&mut out);
        out
    }

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written(entry in entry()) {
            let text = written(&entry);
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(LedgerEntry::from_json(&text), Ok(entry));
        }

        #[test]
        fn a_command_is_read_as_it_was_rounded(command in command()) {
            let (mut text, mut rounded) = (String::new(), String::new());
            command.to_json(&mut text);
            command.clone().rounded().to_json(&mut rounded);
            prop_assert_eq!(&text, &rounded);
            prop_assert_eq!(Command::from_json(&text), Ok(command.rounded()));
        }

        #[test]
        fn voter_sets_are_read_as_they_were_written(
            voters in ids(), learners in ids(), voters_outgoing in ids(), learners_next in ids(), auto_leave: bool,
        ) {
            let sets = VoterSets { voters, learners, voters_outgoing, learners_next, auto_leave };
            let mut text = String::new();
            sets.to_json(&mut text);
            prop_assert_eq!(VoterSets::from_json(&text), Ok(sets));
        }

        #[test]
        fn hostile_text_is_refused_and_never_panics(entry in entry(), at: prop::sample::Index, with in "\\PC{0,3}", junk in ".{0,80}") {
            let mut text = written(&entry);
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let from = *at.get(&places);
            let to = from + text[from..].chars().next().map_or(0, char::len_utf8);
            text.replace_range(from..to, &with);
            let _ = LedgerEntry::from_json(&text);
            let _ = Command::from_json(&text);
            let _ = VoterSets::from_json(&text);
            let _ = VoterChange::from_json(&junk);
            prop_assert!(LedgerEntry::from_json(&text[..from]).is_err(), "cut");
        }
    }

    #[test]
    fn entries_look_as_the_paper_says() {
        let set = Command::Set { name: "capacity".into(), value: Json::new("200").unwrap() };
        let entry = |what| written(&LedgerEntry { index: 7, term: 2, what });
        assert_eq!(
            entry(LedgerItem::Command(Box::new(set))),
            r#"{"INDEX":7,"TERM":2,"DO":{"SET":{"NAME":"capacity","VALUE":200}}}"#
        );
        let change = VoterChange { add_voters: vec![RaftId(3)], remove: vec![RaftId(2)], ..VoterChange::default() };
        assert_eq!(
            entry(LedgerItem::Change(change)),
            r#"{"INDEX":7,"TERM":2,"CHANGE":{"ADD_VOTERS":[3],"ADD_LEARNERS":[],"REMOVE":[2]}}"#
        );
        assert_eq!(entry(LedgerItem::Empty), r#"{"INDEX":7,"TERM":2}"#);
    }

    #[test]
    fn errors_name_the_field() {
        let error = |text: &str| LedgerEntry::from_json(text).unwrap_err();
        assert_eq!(error(r#"{"TERM":1}"#), "`INDEX` is missing");
        assert_eq!(error(r#"{"INDEX":0,"TERM":1}"#), "`INDEX`: expected 1 or more");
        assert_eq!(error(r#"{"INDEX":-1,"TERM":1}"#), "`INDEX`: expected a whole number");
        assert_eq!(
            error(r#"{"INDEX":1,"TERM":1,"DO":{"GIVE":{}}}"#),
            "`DO`: `GIVE`: expected a command that this version knows"
        );
        assert_eq!(error(r#"{"INDEX":1,"TERM":1,"DO":{}}"#), "`DO`: expected an object with one key, the command");
        assert_eq!(
            error(r#"{"INDEX":1,"TERM":1,"DO":{"TICK":{"NAME":"x","FENCE":"1"}}}"#),
            "`DO`: `TICK`: `FENCE`: expected a whole number"
        );
        assert_eq!(
            error(r#"{"INDEX":1,"TERM":1,"CHANGE":{"ADD_VOTERS":[0]}}"#),
            "`CHANGE`: `ADD_VOTERS`: expected numbers of members, 1 or more"
        );
        assert_eq!(error(r#"{"INDEX":1,"TERM":1,"DO":{},"CHANGE":{}}"#), "`CHANGE`: expected none beside `DO`");
        let sets = VoterSets::from_json(r#"{"VOTERS":[3,1,3],"DATA":"x"}"#).unwrap();
        assert_eq!(sets.voters, [RaftId(1), RaftId(3)], "ascending, each once, other fields ignored");
    }

    #[test]
    fn deep_nesting_does_not_exhaust_the_stack() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let _ =
            LedgerEntry::from_json(&format!(r#"{{"INDEX":1,"TERM":1,"DO":{{"SET":{{"NAME":"x","VALUE":{deep}}}}}}}"#));
        let _ = LedgerEntry::from_json(&format!(r#"{{"INDEX":1,"TERM":1,"DO":{deep}}}"#));
    }
}
