//! The durable id of a node: `identity.json`, written once.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::state_dir::io_error;
use super::{StateDir, StateError, dialects, disk, group, jobs, reserve};
use crate::wire::ServerId;

/// Name of the file.
pub(super) const IDENTITY: &str = "identity.json";

/// Every file of the state, for its age and for `--fresh`. Jobs and group have directories beside them.
pub(super) const FILES: [&str; 4] = [IDENTITY, dialects::DIALECTS, jobs::BOOT, reserve::RESERVE];

/// The format that this version writes and reads.
const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
struct IdentityFile {
    format: u64,
    server_id: String,
}

impl StateDir {
    /// The id that is stored here, or `None` in a new directory.
    ///
    /// A file that cannot be read or is damaged is an error and stays as it is: an id that changed behind the
    /// operator's back would leave a ghost in every registry.
    pub fn identity(&self) -> Result<Option<ServerId>, StateError> {
        let file = self.path().join(IDENTITY);
        let text = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &file)(error)),
        };
        parse(&text).map(Some).map_err(|what| StateError::Damaged { file, what })
    }

    /// Makes a new id, a uuid v4, and stores it. It lasts once this has returned.
    pub fn create_identity(&self) -> Result<ServerId, StateError> {
        let server_id = new_server_id();
        let content = IdentityFile { format: FORMAT, server_id: server_id.as_str().to_owned() };
        let mut text = serde_json::to_vec(&content).expect("a number and a string are always JSON");
        text.push(b'\n');
        disk::replace(self.path(), IDENTITY, &text).map_err(io_error("write", &self.path().join(IDENTITY)))?;
        Ok(server_id)
    }

    /// Discards everything that is stored here (`--fresh`), jobs and membership too, damaged or not. The lock stays.
    pub fn discard(&self) -> Result<(), StateError> {
        // The logs before the id: a new id would be refused by what is left of them.
        for log in [group::GROUP, jobs::JOBS].map(|name| self.path().join(name)) {
            match fs::remove_dir_all(&log) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &log)(error)),
                _ => {}
            }
        }
        for name in FILES {
            let file = self.path().join(name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &file)(error)),
                _ => {}
            }
        }
        disk::sync_dir(self.path()).map_err(io_error("sync", self.path()))
    }
}

/// A new id for a node whose state is kept nowhere, or not yet.
pub(super) fn new_server_id() -> ServerId {
    ServerId::new(Uuid::new_v4().to_string()).expect("a uuid is 36 printable characters")
}

impl StateDir {
    /// A new id that is stored nowhere (`--ephemeral`).
    pub fn ephemeral_identity() -> ServerId {
        new_server_id()
    }
}

fn parse(text: &[u8]) -> Result<ServerId, String> {
    // The format first: another one may have other fields.
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| format!("not JSON ({error})"))?;
    if !value.is_object() {
        return Err("not a JSON object".to_owned());
    }
    if let Some(format) = value.get("format").filter(|format| **format != FORMAT) {
        return Err(format!("format is {format}; this version reads format {FORMAT}"));
    }
    let content: IdentityFile = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let uuid = Uuid::parse_str(&content.server_id)
        .map_err(|_| format!("server_id is `{}`; expected a uuid", content.server_id.escape_debug()))?;
    Ok(ServerId::new(uuid.to_string()).expect("a uuid is 36 printable characters"))
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
    fn an_id_survives_a_restart() {
        let (base, dir) = dir();
        assert_eq!(dir.identity().unwrap(), None);
        let id = dir.create_identity().unwrap();
        drop(dir);
        let again = StateDir::open(base.path(), "127.0.0.1:9101".parse().unwrap()).unwrap();
        assert_eq!(again.identity().unwrap(), Some(id));
    }

    #[test]
    fn a_damaged_file_is_named_explained_and_kept() {
        let (_base, dir) = dir();
        let file = dir.path().join(IDENTITY);
        for (text, what) in [
            ("", "not JSON"),
            ("{\"format\":1,", "not JSON"),
            ("\u{fffd}", "not JSON"),
            ("{\"format\":1}", "server_id"),
            ("{\"server_id\":\"550e8400-e29b-41d4-a716-446655440000\"}", "format"),
            ("{\"format\":2,\"id\":7}", "format is 2; this version reads format 1"),
            ("{\"format\":1,\"server_id\":\"S1\"}", "expected a uuid"),
            ("{\"format\":1,\"server_id\":7}", "expected a string"),
            ("[]", "not a JSON object"),
        ] {
            fs::write(&file, text).unwrap();
            let error = dir.identity().unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "{text}: {error:?}");
            let error = error.to_string();
            assert!(error.contains(what) && error.contains(IDENTITY) && error.contains("--fresh"), "{text}: {error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_new_identity() {
        let (_base, dir) = dir();
        fs::create_dir(dir.path().join(IDENTITY)).unwrap();
        let error = dir.identity().unwrap_err();
        assert!(matches!(error, StateError::Io { action: "read", .. }), "{error:?}");
    }

    #[test]
    fn fresh_discards_what_is_damaged_too_and_an_empty_directory_is_fine() {
        let (_base, dir) = dir();
        dir.discard().unwrap();
        for name in FILES {
            fs::write(dir.path().join(name), "half a fi").unwrap();
        }
        for log in [group::GROUP, jobs::JOBS] {
            fs::create_dir(dir.path().join(log)).unwrap();
            fs::write(dir.path().join(log).join(format!("{log}-00000001.log")), "half a fi").unwrap();
        }
        dir.discard().unwrap();
        assert_eq!(dir.identity().unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the lock is left");
    }
}
