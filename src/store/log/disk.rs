//! The few things that a log asks of a disk. Tests put another one in its place, which fails and forgets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::store::disk;

/// A directory of segments, by their numbers: 1 or more. Number 0 is one that is being made; it is not listed.
///
/// After an error nothing is known of what was to be changed: all, a part or nothing of it may have happened.
pub(in crate::store) trait Disk {
    /// The segments that are there, ascending.
    fn list(&mut self) -> io::Result<Vec<u32>>;

    /// Bytes of a segment.
    fn size(&mut self, segment: u32) -> io::Result<u64>;

    /// At most `length` bytes from `at` on; fewer only at the end of the file.
    fn read(&mut self, segment: u32, at: u64, length: usize) -> io::Result<Vec<u8>>;

    /// Makes an empty segment, in the place of one that is there.
    fn create(&mut self, segment: u32) -> io::Result<()>;

    /// Writes all of `bytes` at `at`, which is not behind the end.
    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written last.
    fn sync(&mut self, segment: u32) -> io::Result<()>;

    /// Cuts a segment, and makes that last.
    fn truncate(&mut self, segment: u32, to: u64) -> io::Result<()>;

    /// Removes a segment.
    fn remove(&mut self, segment: u32) -> io::Result<()>;

    /// Gives the segment `from` the number `to`, in the place of one that is there.
    fn rename(&mut self, from: u32, to: u32) -> io::Result<()>;

    /// Makes what was created, renamed and removed last.
    fn sync_dir(&mut self) -> io::Result<()>;

    /// What a segment is called, for people.
    fn path(&self, segment: u32) -> PathBuf;
}

/// A directory of the file system.
#[derive(Debug)]
pub(in crate::store) struct FileDisk {
    dir: PathBuf,
    /// What the names of its segments begin with.
    kind: &'static str,
    /// The segment that was used last. Rounds use the same one again and again.
    open: Option<(u32, File)>,
}

impl FileDisk {
    /// The directory, which is made where it is not there, of segments that are called `kind-00000001.log` and so on.
    pub(in crate::store) fn new(dir: &Path, kind: &'static str) -> io::Result<FileDisk> {
        if !dir.is_dir() {
            disk::create_dir(dir)?;
            dir.parent().map_or(Ok(()), disk::sync_dir)?;
        }
        Ok(FileDisk { dir: dir.to_owned(), kind, open: None })
    }

    fn file(&mut self, segment: u32) -> io::Result<&mut File> {
        if self.open.as_ref().is_none_or(|(number, _)| *number != segment) {
            let file = OpenOptions::new().read(true).write(true).open(self.path(segment))?;
            self.open = Some((segment, file));
        }
        self.open.as_mut().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for FileDisk {
    fn list(&mut self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            found.extend(entry?.file_name().to_str().and_then(|name| segment_of(name, self.kind)));
        }
        found.sort_unstable();
        Ok(found)
    }

    fn size(&mut self, segment: u32) -> io::Result<u64> {
        Ok(self.file(segment)?.metadata()?.len())
    }

    fn read(&mut self, segment: u32, at: u64, length: usize) -> io::Result<Vec<u8>> {
        // A handle of its own: reading the oldest segment must not close the newest at every step.
        let mut file = File::open(self.path(segment))?;
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&mut self, segment: u32) -> io::Result<()> {
        let path = self.path(segment);
        self.open = None;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        // What is stored may be a secret, and nobody else's business in any case.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        self.open = Some((segment, file));
        Ok(())
    }

    fn write(&mut self, segment: u32, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(segment)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    }

    fn sync(&mut self, segment: u32) -> io::Result<()> {
        self.file(segment)?.sync_data()
    }

    fn truncate(&mut self, segment: u32, to: u64) -> io::Result<()> {
        let file = self.file(segment)?;
        file.set_len(to)?;
        file.sync_all()
    }

    fn remove(&mut self, segment: u32) -> io::Result<()> {
        self.open.take_if(|(number, _)| *number == segment);
        fs::remove_file(self.path(segment))
    }

    fn rename(&mut self, from: u32, to: u32) -> io::Result<()> {
        self.open = None;
        fs::rename(self.path(from), self.path(to))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        disk::sync_dir(&self.dir)
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.dir.join(format!("{}-{segment:08}.log", self.kind))
    }
}

/// The number of the segment of this name, if it is one of this kind.
fn segment_of(name: &str, kind: &str) -> Option<u32> {
    let digits = name.strip_prefix(kind)?.strip_prefix('-')?.strip_suffix(".log")?;
    let plain = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_is_made_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("group");
        let mut disk = FileDisk::new(&dir, "group").unwrap();
        disk.create(1).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&disk.path(1))), (0o700, 0o600));
    }

    #[test]
    fn segments_are_written_read_cut_and_removed() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("jobs");
        let mut disk = FileDisk::new(&dir, "jobs").unwrap();
        assert_eq!(disk.list().unwrap(), Vec::<u32>::new());
        for segment in [2, 1, 100_000_000] {
            disk.create(segment).unwrap();
            disk.write(segment, 0, b"0123456789").unwrap();
        }
        fs::write(dir.join("jobs-7.log"), "no segment").unwrap();
        fs::write(dir.join("jobs-00000003.log~"), "no segment").unwrap();
        fs::write(dir.join("group-00000003.log"), "another kind").unwrap();
        assert_eq!(disk.list().unwrap(), [1, 2, 100_000_000]);
        disk.write(1, 8, b"xyz").unwrap();
        disk.sync(1).unwrap();
        assert_eq!(disk.read(1, 7, 100).unwrap(), b"7xyz");
        assert_eq!(disk.read(1, 0, 3).unwrap(), b"012");
        disk.truncate(1, 4).unwrap();
        assert_eq!((disk.size(1).unwrap(), disk.size(2).unwrap()), (4, 10));
        disk.create(1).unwrap();
        assert_eq!(disk.size(1).unwrap(), 0);
        disk.remove(1).unwrap();
        disk.sync_dir().unwrap();
        assert_eq!(disk.list().unwrap(), [2, 100_000_000]);
        disk.create(0).unwrap();
        disk.write(0, 0, b"whole").unwrap();
        assert_eq!(disk.list().unwrap(), [2, 100_000_000], "what is being made is not there yet");
        disk.rename(0, 3).unwrap();
        assert_eq!((disk.list().unwrap(), disk.read(3, 0, 9).unwrap()), (vec![2, 3, 100_000_000], b"whole".to_vec()));
        assert_eq!(disk.size(1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
