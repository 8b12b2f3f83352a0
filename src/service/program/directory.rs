//! The directory of manifests: looked at again and again, so that services come and go while the node runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::wire::ServiceName;

use super::manifest::Manifest;

/// Longest manifest. Real ones have some lines.
const MAX_BYTES: u64 = 64 * 1024;

/// A directory, and what was seen in it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    seen: BTreeMap<PathBuf, Seen>,
    /// It could not be read the last time.
    is_gone: bool,
}

#[derive(Debug)]
struct Seen {
    text: String,
    /// The last manifest of this file that was good.
    good: Option<Good>,
}

#[derive(Clone, Debug, PartialEq)]
struct Good {
    manifest: Manifest,
    /// When the files of the program were changed, and how long they are.
    files: BTreeMap<PathBuf, (Option<SystemTime>, u64)>,
}

/// What is to be done after a look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// Every good manifest, by its file; `true` where it or its program is new or has changed.
    pub(super) manifests: Vec<(Manifest, bool)>,
    /// What is wrong and was not said before.
    pub(super) warnings: Vec<String>,
}

impl Directory {
    /// A directory that was not looked at yet.
    pub(super) fn new(path: PathBuf) -> Directory {
        Directory { path, seen: BTreeMap::new(), is_gone: false }
    }

    /// Looks. An error is that it cannot be read now, and changes nothing.
    pub(super) fn look(&mut self) -> io::Result<Changes> {
        let mut files = BTreeSet::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            // Hidden ones are what editors leave behind.
            let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.extension().is_some_and(|extension| extension == "toml") && !is_hidden {
                files.insert(path);
            }
        }
        let mut changes = Changes::default();
        self.seen.retain(|path, _| files.contains(path));
        let mut names: BTreeMap<ServiceName, PathBuf> = BTreeMap::new();
        for path in files {
            let is_new = self.look_at(&path, &mut changes.warnings);
            let Some(good) = self.seen.get(&path).and_then(|seen| seen.good.as_ref()) else { continue };
            let name = &good.manifest.offer.name;
            if let Some(first) = names.get(name) {
                if is_new {
                    changes.warnings.push(clash(&path, name.as_str(), first));
                }
                continue;
            }
            names.insert(name.clone(), path);
            changes.manifests.push((good.manifest.clone(), is_new));
        }
        Ok(changes)
    }

    /// Looks every time after the first: a directory that cannot be read is a warning, once.
    pub(super) fn look_again(&mut self) -> Option<Changes> {
        match self.look() {
            Ok(changes) => {
                self.is_gone = false;
                Some(changes)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_gone, true) {
                    log::warn!("{}: {error}; its services stay as they are", self.path.display());
                }
                None
            }
        }
    }

    /// Looks at one manifest. Whether it is good, and it or its program is new or has changed.
    fn look_at(&mut self, path: &Path, warnings: &mut Vec<String>) -> bool {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => {
                // Remembered as a text that no manifest has, so that it is said once.
                let text = format!("\0{error}");
                let seen = self.seen.entry(path.to_owned()).or_insert(Seen { text: String::new(), good: None });
                if std::mem::replace(&mut seen.text, text.clone()) != text {
                    warnings.push(format!("{}: {error}", path.display()));
                }
                return false;
            }
        };
        let seen = self.seen.entry(path.to_owned()).or_insert(Seen { text: "\0".to_owned(), good: None });
        let manifest = match (&seen.good, seen.text == text) {
            (None, true) => return false,
            (Some(good), true) => good.manifest.clone(),
            (_, false) => {
                seen.text = text;
                match Manifest::read(path, &seen.text) {
                    Ok(manifest) => manifest,
                    Err(error) => {
                        let stays = if seen.good.is_some() { "; the service stays as it was" } else { "" };
                        warnings.push(format!("{error}{stays}"));
                        return false;
                    }
                }
            }
        };
        let state = |file: PathBuf| {
            let data = fs::metadata(&file).ok()?;
            Some((file, (data.modified().ok(), data.len())))
        };
        let files = manifest.files().filter_map(state).collect();
        let good = Some(Good { manifest, files });
        let is_new = seen.good != good;
        seen.good = good;
        is_new
    }
}

fn clash(path: &Path, name: &str, first: &Path) -> String {
    format!("{}: `name` is {name}, as that of {}; expected another", path.display(), first.display())
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        let detail = format!("the manifest is longer than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str) -> String {
        format!("name = \"{name}\"\ncommand = [\"sh\", \"run.sh\"]\nmethods = [\"run\"]\n")
    }

    fn found(changes: &Changes) -> Vec<(&str, bool)> {
        changes.manifests.iter().map(|(manifest, is_new)| (manifest.offer.name.as_str(), *is_new)).collect()
    }

    #[test]
    fn manifests_come_change_go_bad_and_go() {
        let place = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(place.path().join(file), text).unwrap();
        let mut directory = Directory::new(place.path().to_owned());
        assert_eq!(directory.look().unwrap(), Changes::default());

        write("a.toml", &manifest("a"));
        write("b.toml", &manifest("b"));
        write(".hidden.toml", &manifest("c"));
        write("readme.txt", "name = 1");
        assert_eq!(found(&directory.look().unwrap()), [("a", true), ("b", true)]);
        assert_eq!(found(&directory.look().unwrap()), [("a", false), ("b", false)]);

        write("a.toml", &format!("{}concurrency = 2\n", manifest("a")));
        assert_eq!(found(&directory.look().unwrap()), [("a", true), ("b", false)]);

        write("run.sh", "echo changed");
        assert_eq!(
            found(&directory.look().unwrap()),
            [("a", true), ("b", true)],
            "a script of the command is part of it"
        );

        write("a.toml", "name = ");
        let changes = directory.look().unwrap();
        assert_eq!(found(&changes), [("a", false), ("b", false)], "the good one stays");
        assert!(changes.warnings.len() == 1 && changes.warnings[0].contains("a.toml: line 1"), "{changes:?}");
        assert!(directory.look().unwrap().warnings.is_empty(), "said once");

        write("a.toml", &manifest("a"));
        assert_eq!(found(&directory.look().unwrap()), [("a", true), ("b", false)]);
        fs::remove_file(place.path().join("a.toml")).unwrap();
        assert_eq!(found(&directory.look().unwrap()), [("b", false)]);
    }

    #[test]
    fn a_name_that_is_taken_and_a_file_that_cannot_be_read_are_warnings_and_the_rest_goes_on() {
        let place = tempfile::tempdir().unwrap();
        let write = |file: &str, bytes: &[u8]| fs::write(place.path().join(file), bytes).unwrap();
        write("a.toml", manifest("same").as_bytes());
        write("b.toml", manifest("same").as_bytes());
        write("c.toml", b"\xff\xfe");
        write("d.toml", &vec![b'#'; 70_000]);
        write("e.toml", manifest("e").as_bytes());
        let mut directory = Directory::new(place.path().to_owned());
        let changes = directory.look().unwrap();
        assert_eq!(found(&changes), [("same", true), ("e", true)]);
        let parts = ["b.toml: `name` is same, as that of ", "c.toml: ", "d.toml: the manifest is longer"];
        assert_eq!(changes.warnings.len(), parts.len(), "{changes:?}");
        for (warning, part) in changes.warnings.iter().zip(parts) {
            assert!(warning.contains(part), "{warning}");
        }
        assert!(directory.look().unwrap().warnings.is_empty());
        // With the first gone, the second takes the name.
        fs::remove_file(place.path().join("a.toml")).unwrap();
        let names = directory.look().unwrap();
        assert_eq!(names.manifests[0].0.file, place.path().join("b.toml"));
    }
}
