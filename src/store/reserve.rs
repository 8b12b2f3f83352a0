//! Room for the next start: a file that is given up when the disk is full.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::StateError;

/// The file in the state directory.
pub(super) const RESERVE: &str = "reserve";

/// Its size in bytes. A start writes two small files and a batch of nothing, some blocks in all.
const SIZE: usize = 64 * 1024;

/// Opens what is stored in the state directory `dir`. On a disk that is full it is tried a second time, with the room that earlier
/// starts have laid aside. Before all others that lay up room for themselves: a log takes all that it finds.
pub(super) fn with_room<T>(dir: &Path, open: impl Fn() -> Result<T, StateError>) -> Result<T, StateError> {
    lay_aside(dir);
    match open() {
        Err(StateError::Io { error, .. }) if error.kind() == io::ErrorKind::StorageFull && give_up(dir) => {
            log::warn!("state: the disk is full; this start uses the room that was laid aside for it");
            open()
        }
        other => other,
    }
}

/// Gives the room back to the disk. Returns whether there was any.
fn give_up(dir: &Path) -> bool {
    fs::remove_file(dir.join(RESERVE)).is_ok()
}

/// Lays room aside, as much as there is up to [`SIZE`], where none is. Best effort: without it a start on a full disk is
/// refused, and nothing is lost.
fn lay_aside(dir: &Path) {
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

    #[test]
    fn a_full_disk_is_given_the_room_once_and_other_errors_none() {
        let dir = tempfile::tempdir().unwrap();
        let fails_with = |kind: io::ErrorKind| {
            let mut tries = std::cell::Cell::new(0);
            let opened = with_room(dir.path(), || {
                tries.set(tries.get() + 1);
                let error = io::Error::from(kind);
                let had_room = dir.path().join(RESERVE).exists();
                Err::<(), _>(StateError::Io {
                    action: if had_room { "first" } else { "again" },
                    path: dir.path().into(),
                    error,
                })
            });
            (opened.unwrap_err().to_string(), std::mem::take(tries.get_mut()))
        };
        let (error, tries) = fails_with(io::ErrorKind::StorageFull);
        assert!(error.contains("cannot again") && tries == 2, "{error}");
        let (error, tries) = fails_with(io::ErrorKind::PermissionDenied);
        assert!(error.contains("cannot first") && tries == 1, "{error}");
    }
}
