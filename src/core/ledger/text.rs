//! The whole ledger as one JSON text: a snapshot. The same ledger gives the same text, an item a line.

use std::collections::{BTreeMap, BTreeSet};

use super::farms::Farms;
use super::leases::Leases;
use super::state::Ledger;
use crate::wire::{JsonReader, JsonWriter, NewMember, RaftId, SettingName, group_id, raft_ids};

/// The form that is written. A larger one is refused: its writer may have agreed on what this version does not know.
const FORMAT: u64 = 1;

impl Ledger {
    /// The text of the whole ledger.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut object = JsonWriter::begin(&mut out).number("FORMAT", FORMAT).number("INDEX", self.index);
        if let Some((id, name)) = &self.group {
            object = object.text("GROUP_ID", id.as_str()).text("GROUP", name);
        }
        let object = object.number("NEXT_RAFT_ID", self.next_raft_id);
        let object = object.list("MEMBERS", &self.members, |(id, member), out| {
            out.push('\n');
            member.fields(JsonWriter::begin(out).number("RAFT_ID", id.0)).end();
        });
        let object = object.list("LEAVING", &self.leaving, |id, out| out.push_str(&id.to_string()));
        let object = object.list("SETTINGS", &self.settings, |(name, (number, index)), out| {
            out.push('\n');
            let object = JsonWriter::begin(out).text("NAME", name.as_str());
            object.json("VALUE", &name.value(*number)).number("INDEX", *index).end();
        });
        self.farms.write(self.leases.write("LEASES", object)).end();
        out
    }

    /// The ledger of such a text. The error names the field and what was expected.
    pub(crate) fn restored(text: &str) -> Result<Ledger, String> {
        let object = JsonReader::read(text)?;
        if object.positive("FORMAT")? > FORMAT {
            return Err(format!("`FORMAT`: expected at most {FORMAT}; a newer version has written this ledger"));
        }
        let group = match object.value("GROUP_ID") {
            Some(_) => Some((group_id(&object, "GROUP_ID")?, object.text("GROUP")?)),
            None => None,
        };
        let ledger = Ledger {
            index: object.number("INDEX")?,
            group,
            members: once(&object, "MEMBERS", |member| {
                Ok((RaftId(member.positive("RAFT_ID")?), NewMember::of(member)?))
            })?,
            leaving: raft_ids(&object, "LEAVING")?.into_iter().collect::<BTreeSet<RaftId>>(),
            next_raft_id: object.positive("NEXT_RAFT_ID")?,
            settings: once(&object, "SETTINGS", |setting| {
                let name =
                    setting.parsed("NAME", "a setting that this version knows", |name| SettingName::parse(&name))?;
                Ok((name, (name.read(&setting.json("VALUE"))?, setting.positive("INDEX")?)))
            })?,
            leases: Leases::read("LEASES", &object)?,
            farms: Farms::read(&object)?,
        };
        ledger.check_invariants()?;
        Ok(ledger)
    }
}

/// The items of a list of objects, none twice.
fn once<K: Ord, V>(
    object: &JsonReader<'_>,
    key: &str,
    read: impl Fn(&JsonReader<'_>) -> Result<(K, V), String>,
) -> Result<BTreeMap<K, V>, String> {
    let mut items = BTreeMap::new();
    for text in object.list(key)? {
        let (name, item) =
            JsonReader::read(text).and_then(|item| read(&item)).map_err(|error| format!("`{key}`: {error}"))?;
        if items.insert(name, item).is_some() {
            return Err(format!("`{key}`: expected each once"));
        }
    }
    Ok(items)
}
