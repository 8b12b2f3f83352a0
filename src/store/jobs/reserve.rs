//! Room for the next start: a file that is given up when the disk is full.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// The file in the state directory.
pub(in crate::store) const RESERVE: &str = "reserve";

/// Its size in bytes. A start writes two small files and a batch of nothing, some blocks in all.
const SIZE: usize = 64 * 1024;

/// Gives the room back to the disk. Returns whether there was any.
pub(super) fn give_up(dir: &Path) -> bool {
    fs::remove_file(dir.join(RESERVE)).is_ok()
}

/// Lays room aside, as much as there is up to [`SIZE`], where none is. Best effort: without it a start on a full disk is
/// refused, and nothing is lost.
pub(super) fn lay_aside(dir: &Path) {
    let path = dir.join(RESERVE);
    if path.exists() {
        return;
    }
    let Ok(mut file) = File::create(&path) else { return };
    for _ in 0..SIZE / 4096 {
        if file.write_all(&[0; 4096]).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_aside_is_there_once_and_can_be_given_up_once() {
        let dir = tempfile::tempdir().unwrap();
        lay_aside(dir.path());
        lay_aside(dir.path());
        assert_eq!(fs::metadata(dir.path().join(RESERVE)).unwrap().len(), SIZE as u64);
        assert!(give_up(dir.path()) && !give_up(dir.path()));
    }
}
