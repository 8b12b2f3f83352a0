//! How often the master was started: `boot.json`, the upper half of the numbers of its jobs.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::store::state_dir::io_error;
use crate::store::{StateError, disk};

/// Name of the file. It stands beside the directory of the jobs, so that giving them up repeats no number.
pub(in crate::store) const BOOT: &str = "boot.json";

/// The format that this version writes and reads.
const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
struct BootFile {
    format: u64,
    boot: u32,
}

/// How often it was started before; `None`: no start was ever counted here.
pub(super) fn read(dir: &Path) -> Result<Option<u32>, StateError> {
    let file = dir.join(BOOT);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", &file)(error)),
    };
    let what = match serde_json::from_slice::<BootFile>(&text) {
        Ok(content) if content.format == FORMAT && content.boot > 0 => return Ok(Some(content.boot)),
        Ok(content) if content.format == FORMAT => "boot is 0; expected 1 or more".to_owned(),
        Ok(content) => format!("format is {}; this version reads format {FORMAT}", content.format),
        Err(error) => error.to_string(),
    };
    Err(StateError::Damaged { file, what })
}

/// Stores it. It lasts once this has returned.
pub(super) fn write(dir: &Path, boot: u32) -> Result<(), StateError> {
    let mut text = serde_json::to_vec(&BootFile { format: FORMAT, boot }).expect("two numbers are always JSON");
    text.push(b'\n');
    disk::replace(dir, BOOT, &text).map_err(io_error("write", &dir.join(BOOT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_reads_back_and_a_damaged_one_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        write(dir.path(), 7).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(BOOT)).unwrap(), "{\"format\":1,\"boot\":7}\n");
        assert_eq!(read(dir.path()).unwrap(), Some(7));
        for (text, what) in [
            ("", "EOF"),
            ("{\"format\":2,\"boot\":7}", "format is 2"),
            ("{\"format\":1,\"boot\":0}", "expected 1 or more"),
            ("{\"format\":1,\"boot\":-1}", "u32"),
        ] {
            fs::write(dir.path().join(BOOT), text).unwrap();
            let error = read(dir.path()).unwrap_err();
            assert!(matches!(error, StateError::Damaged { .. }), "{error:?}");
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(fs::read_to_string(dir.path().join(BOOT)).unwrap(), text);
        }
    }
}
