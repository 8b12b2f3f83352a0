//! What peers speak: `dialects.json`. A cache: losing it costs one exchange with each peer.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StateDir, disk};
use crate::wire::{Address, Dialect, DialectMemory};

/// Name of the file.
pub(super) const DIALECTS: &str = "dialects.json";

/// The format that this version writes and reads.
const FORMAT: u64 = 1;

/// Address to name of dialect, as it stands in the file.
pub(super) type Snapshot = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
struct DialectsFile {
    format: u64,
    dialects: Snapshot,
}

impl StateDir {
    /// What peers spoke when it was last stored; empty where nothing is stored. A damaged file is set aside as
    /// `dialects.json.damaged`, with a warning.
    pub fn dialects(&self) -> DialectMemory {
        let file = self.path().join(DIALECTS);
        let what = match fs::read(&file) {
            Ok(text) => match parse(&text) {
                Ok(memory) => return memory,
                Err(what) => what,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return DialectMemory::default(),
            Err(error) => error.to_string(),
        };
        let aside = self.path().join(format!("{DIALECTS}.damaged"));
        match fs::rename(&file, &aside) {
            Ok(()) => log::warn!("{}: {what}; set aside as {}", file.display(), aside.display()),
            Err(error) => log::warn!("{}: {what}; it cannot be set aside: {error}", file.display()),
        }
        DialectMemory::default()
    }
}

/// What is to be stored of `memory`.
pub(super) fn snapshot(memory: &DialectMemory) -> Snapshot {
    memory.known().map(|(address, dialect)| (address.to_string(), dialect.as_str().to_owned())).collect()
}

/// Stores a snapshot.
pub(super) fn write(dir: &Path, dialects: &Snapshot) -> io::Result<()> {
    let content = DialectsFile { format: FORMAT, dialects: dialects.clone() };
    let mut text = serde_json::to_vec(&content).map_err(io::Error::other)?;
    text.push(b'\n');
    disk::replace(dir, DIALECTS, &text)
}

fn parse(text: &[u8]) -> Result<DialectMemory, String> {
    let content: DialectsFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if content.format != FORMAT {
        return Err(format!("format is {}; this version reads format {FORMAT}", content.format));
    }
    let mut memory = DialectMemory::default();
    for (address, dialect) in &content.dialects {
        let address: Address = address.parse().map_err(|error| format!("{error}"))?;
        let dialect =
            Dialect::parse(dialect).ok_or_else(|| format!("no dialect is called `{}`", dialect.escape_debug()))?;
        memory.learn(&address, dialect);
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, StateDir) {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open(base.path(), "127.0.0.1:9101".parse().unwrap()).unwrap();
        (base, dir)
    }

    #[test]
    fn dialects_read_back_as_they_were_written() {
        let (_base, dir) = dir();
        assert_eq!(dir.dialects().known().count(), 0);
        let mut memory = DialectMemory::default();
        let seed: Address = "127.0.0.1:9102".parse().unwrap();
        let old: Address = "[::1]:9103".parse().unwrap();
        memory.learn(&seed, Dialect::Seed);
        memory.learn(&old, Dialect::Gen2025_2);
        write(dir.path(), &snapshot(&memory)).unwrap();
        let text = fs::read_to_string(dir.path().join(DIALECTS)).unwrap();
        assert_eq!(text, "{\"format\":1,\"dialects\":{\"127.0.0.1:9102\":\"seed\",\"[::1]:9103\":\"2025-2\"}}\n");
        let again = dir.dialects();
        assert_eq!(again.known().collect::<Vec<_>>(), [(&seed, Dialect::Seed), (&old, Dialect::Gen2025_2)]);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_the_node_goes_on() {
        let (_base, dir) = dir();
        for text in [
            "{",
            "{\"format\":2,\"dialects\":{}}",
            "{\"format\":1,\"dialects\":{\"nowhere\":\"seed\"}}",
            "{\"format\":1,\"dialects\":{\"a:1\":\"latin\"}}",
        ] {
            fs::write(dir.path().join(DIALECTS), text).unwrap();
            assert_eq!(dir.dialects().known().count(), 0, "{text}");
            assert!(!dir.path().join(DIALECTS).exists(), "{text}");
            assert_eq!(fs::read_to_string(dir.path().join("dialects.json.damaged")).unwrap(), text);
        }
    }
}
