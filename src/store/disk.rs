//! Files that are there whole or not at all, and directories that only their owner enters.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces the file `name` in `dir`: a reader, and a restart after a power cut, finds the old bytes or the new ones.
///
/// On an error the old file stands; a temporary file may be left, which the next call overwrites. One caller at a
/// time for a name (the directory is locked).
pub(super) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

/// Makes a rename in `dir` last.
#[cfg(unix)]
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Other systems do not open directories as files; their renames are journalled by the file system.
#[cfg(not(unix))]
pub(super) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes `dir` and its parents. On Unix, what is made is entered by its owner only.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        replace(dir.path(), "a.json", b"old, and longer").unwrap();
        replace(dir.path(), "a.json", b"new").unwrap();
        assert_eq!(fs::read(dir.path().join("a.json")).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        replace(dir.path(), "a.json", b"old").unwrap();
        // A directory in the place of the temporary file makes the write fail, for root too.
        fs::create_dir(dir.path().join(".a.json.tmp")).unwrap();
        replace(dir.path(), "a.json", b"new").unwrap_err();
        assert_eq!(fs::read(dir.path().join("a.json")).unwrap(), b"old");
    }

    #[test]
    fn a_temporary_file_of_a_crash_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".a.json.tmp"), b"half a fi").unwrap();
        replace(dir.path(), "a.json", b"new").unwrap();
        assert_eq!(fs::read(dir.path().join("a.json")).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
