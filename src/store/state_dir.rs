//! The directory of one node: where it is, and the lock on it.

use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::{StateError, disk};

/// The lock file. Never deleted: a second process could lock the deleted one while a third makes a new one.
const LOCK: &str = "lock";

/// More than a pid and a time need.
const MAX_LOCK_BYTES: u64 = 256;

/// Workers without a name on one machine. More are a loop that starts them.
const MAX_NAMELESS: u32 = 1024;

/// The state directory of one node, locked for as long as this value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held, not read: closing the file ends the lock.
    _lock: File,
}

impl StateDir {
    /// Makes (if need be) and locks the directory under `base` of the node that listens at `bind` on this machine.
    ///
    /// The key is machine, address and port, so that a home directory that several machines share holds no twins.
    pub fn open(base: &Path, bind: SocketAddr) -> Result<StateDir, StateError> {
        StateDir::open_keyed(base, &key(&machine_name(), bind))
    }

    /// Makes (if need be) and locks the directory under `base` of a worker on this machine: that of its name, or else
    /// the first that no other nameless worker holds, so that the second one that is started again is again the second.
    ///
    /// # Errors
    /// [`StateError::InUse`] if the worker of that name runs, or 1024 nameless ones do; [`StateError::Io`] if the
    /// system refuses.
    pub fn open_worker(base: &Path, name: Option<&str>) -> Result<StateDir, StateError> {
        let machine = machine_name();
        if let Some(name) = name {
            return StateDir::open_keyed(base, &worker_key(&machine, WorkerSeat::Name(name)));
        }
        let mut seat = 1;
        loop {
            match StateDir::open_keyed(base, &worker_key(&machine, WorkerSeat::Number(seat))) {
                Err(StateError::InUse { .. }) if seat < MAX_NAMELESS => seat += 1,
                outcome => return outcome,
            }
        }
    }

    fn open_keyed(base: &Path, key: &str) -> Result<StateDir, StateError> {
        let path = base.join(key);
        disk::create_dir(&path).map_err(io_error("make the directory", &path))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(io_error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { dir: path, pid: holder(&lock) }),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &lock_path)(error)),
        }
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let note = format!("pid {}\nstarted {started}\n", std::process::id());
        lock.set_len(0).and_then(|()| lock.write_all(note.as_bytes())).map_err(io_error("write", &lock_path))?;
        Ok(StateDir { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Time since its newest file was written, `None` if there is none. Zero where the clock was set back since.
    pub fn age(&self) -> Option<Duration> {
        let written = |name: &str| fs::metadata(self.path.join(name)).and_then(|data| data.modified()).ok();
        let newest = super::identity::FILES.iter().filter_map(|name| written(name)).max()?;
        Some(SystemTime::now().duration_since(newest).unwrap_or_default())
    }
}

/// Where state is kept unless `--data-dir` says otherwise: `$XDG_STATE_HOME/mutirao` or `~/.local/state/mutirao` on
/// Unix, `~/Library/Application Support/mutirao` on macOS, `%LOCALAPPDATA%\mutirao` on Windows.
pub fn default_base() -> Result<PathBuf, StateError> {
    base_from(env::consts::OS, |name| env::var_os(name).map(PathBuf::from))
}

fn base_from(system: &str, var: impl Fn(&'static str) -> Option<PathBuf>) -> Result<PathBuf, StateError> {
    // The XDG specification has relative paths ignored; an empty one is not set.
    let absolute = |name| var(name).filter(|path| path.has_root());
    let need = |missing| absolute(missing).ok_or(StateError::NoHome { missing });
    let base = match system {
        "windows" => need("LOCALAPPDATA")?,
        "macos" => need("HOME")?.join("Library").join("Application Support"),
        _ => match absolute("XDG_STATE_HOME") {
            Some(base) => base,
            None => need("HOME")?.join(".local").join("state"),
        },
    };
    Ok(base.join("mutirao"))
}

/// What tells this machine from others that may share the directory.
fn machine_name() -> String {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|id| id.trim().to_owned())
        .find(|id| !id.is_empty())
        .or_else(sysinfo::System::host_name)
        .unwrap_or_else(|| "localhost".to_owned())
}

/// The name of the directory of a node that listens there.
fn key(machine: &str, bind: SocketAddr) -> String {
    let ip = bind.ip().to_string().replace(':', "_");
    format!("{}-{ip}-{}", machine_hash(machine), bind.port())
}

/// What tells the workers of one machine apart.
enum WorkerSeat<'a> {
    /// The name that the operator gave it.
    Name(&'a str),
    /// Its number among the nameless.
    Number(u32),
}

/// The name of the directory of a worker.
fn worker_key(machine: &str, seat: WorkerSeat<'_>) -> String {
    let machine = machine_hash(machine);
    match seat {
        WorkerSeat::Number(number) => format!("{machine}-worker-{number}"),
        WorkerSeat::Name(name) => {
            // Names may have slashes, and letters that some file systems fold: a hash keeps them apart.
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '_' };
            let readable: String = name.chars().take(24).map(plain).collect();
            format!("{machine}-worker-{readable}-{}", hash(&format!("mutirao worker {name}")))
        }
    }
}

/// The machine stands as a hash: its id is not to be shown around (machine-id(5)).
fn machine_hash(machine: &str) -> String {
    hash(&format!("mutirao state {machine}"))
}

/// Eight hexadecimal digits.
fn hash(text: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).simple().to_string()[..8].to_owned()
}

fn holder(mut lock: &File) -> Option<u32> {
    let mut note = String::new();
    lock.take(MAX_LOCK_BYTES).read_to_string(&mut note).ok()?;
    lock.flush().ok()?;
    note.lines().next()?.strip_prefix("pid ")?.parse().ok()
}

/// Makes an [`StateError::Io`] of what the system said.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |error| StateError::Io { action, path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_node_and_free_after_it() {
        let base = tempfile::tempdir().unwrap();
        let first = StateDir::open_keyed(base.path(), "k").unwrap();
        let error = StateDir::open_keyed(base.path(), "k").unwrap_err();
        let pid = std::process::id();
        assert!(matches!(error, StateError::InUse { pid: Some(p), .. } if p == pid), "{error:?}");
        assert!(error.to_string().starts_with(&format!("state in use by another process (pid {pid}): ")));
        drop(first);
        StateDir::open_keyed(base.path(), "k").unwrap();
    }

    #[test]
    fn machines_addresses_and_ports_have_directories_of_their_own() {
        let at = |machine: &str, bind: &str| key(machine, bind.parse().unwrap());
        let first = at("a", "127.0.0.1:9101");
        assert_eq!(first, at("a", "127.0.0.1:9101"));
        assert!(first.ends_with("-127.0.0.1-9101") && first.len() == 8 + "-127.0.0.1-9101".len(), "{first}");
        for other in [at("b", "127.0.0.1:9101"), at("a", "127.0.0.2:9101"), at("a", "127.0.0.1:9102")] {
            assert_ne!(first, other);
        }
        assert!(at("a", "[::1]:9101").ends_with("-__1-9101"));
    }

    #[test]
    fn a_worker_has_the_directory_of_its_name_or_the_first_free_one() {
        let base = tempfile::tempdir().unwrap();
        let open = |name| StateDir::open_worker(base.path(), name);
        let (first, second) = (open(None).unwrap(), open(None).unwrap());
        let path = second.path().to_owned();
        assert!(path.to_string_lossy().ends_with("-worker-2"), "{}", path.display());
        drop(second);
        assert_eq!(open(None).unwrap().path(), path, "the second is again the second");
        let named = open(Some("1")).unwrap();
        assert_ne!(named.path(), first.path(), "a number is a name like others");
        assert!(matches!(open(Some("1")), Err(StateError::InUse { .. })));
    }

    #[test]
    fn names_of_workers_are_kept_apart_whatever_is_in_them() {
        let at = |machine: &str, name: &str| worker_key(machine, WorkerSeat::Name(name));
        assert_eq!(at("a", "w"), at("a", "w"));
        let keys =
            [at("a", "w"), at("a", "W"), at("b", "w"), at("a", "../w"), at("a", "é"), at("a", "è"), at("a", "_")];
        for (n, key) in keys.iter().enumerate() {
            assert!(!key.contains(['/', '.']) && key.is_ascii(), "{key}");
            assert!(!keys[..n].contains(key), "{key}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_made_is_an_error_that_names_it() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        let error = StateDir::open_keyed(&file, "k").unwrap_err().to_string();
        assert!(error.contains("cannot make the directory") && error.contains("--data-dir"), "{error}");
    }

    #[test]
    fn the_default_place_follows_the_system() {
        let vars = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| PathBuf::from(pair.1))
        };
        let linux = |pairs| base_from("linux", vars(pairs));
        assert_eq!(linux(&[("HOME", "/h")]).unwrap(), Path::new("/h/.local/state/mutirao"));
        assert_eq!(linux(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]).unwrap(), Path::new("/s/mutirao"));
        assert_eq!(linux(&[("HOME", "/h"), ("XDG_STATE_HOME", "s")]).unwrap(), Path::new("/h/.local/state/mutirao"));
        let mac = base_from("macos", vars(&[("HOME", "/h")])).unwrap();
        assert_eq!(mac, Path::new("/h/Library/Application Support/mutirao"));
        let error = base_from("windows", vars(&[])).unwrap_err().to_string();
        assert!(error.contains("LOCALAPPDATA") && error.contains("--ephemeral"), "{error}");
    }

    #[test]
    fn age_is_that_of_the_newest_file_of_the_state() {
        let base = tempfile::tempdir().unwrap();
        let dir = StateDir::open_keyed(base.path(), "k").unwrap();
        assert_eq!(dir.age(), None);
        let path = dir.path().join("identity.json");
        fs::write(&path, "x").unwrap();
        let past = SystemTime::now() - Duration::from_secs(7200);
        File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
        let age = dir.age().unwrap();
        assert!(age >= Duration::from_secs(7199) && age < Duration::from_secs(7300), "{age:?}");
    }
}
