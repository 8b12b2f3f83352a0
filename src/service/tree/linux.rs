//! What of a process tree Linux lets find beyond its process group.
//!
//! A number of a process may be used again at any time, so a signal goes to a descriptor (pidfd), opened first and
//! checked then: if what is seen under the number *after* it was opened is a member, then the descriptor is that
//! member's, or of a process that is gone and gets no signal.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, io};

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, prlimit, waitid,
};

use super::{MARK, Place};

/// Looks for what was started between two looks, at most so often. A tree that grows faster than it is killed is a
/// fork bomb, which a limit of processes must end.
const MAX_LOOKS: usize = 50;

/// One process, as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    parent: i32,
    group: i32,
    /// Ticks since the machine was started: together with the number, who it is.
    started: u64,
    /// It has ended and waits for its parent to notice.
    is_zombie: bool,
}

/// Members of a tree by number.
pub(super) type Members = BTreeMap<i32, u64>;

/// Limits the memory of a process, and of those that it starts from now on.
pub(super) fn limit_memory(leader: Pid, bytes: u64) -> io::Result<()> {
    prlimit(Some(leader), Resource::As, Rlimit { current: Some(bytes), maximum: Some(bytes) })?;
    Ok(())
}

/// Reaps the children of this process that have ended, but not `leader`.
pub(super) fn reap_adopted(leader: Pid) {
    let own = std::process::id().cast_signed();
    let ended = processes().into_iter().filter(|(_, entry)| entry.is_zombie && entry.parent == own);
    for pid in ended.filter_map(|(id, _)| Pid::from_raw(id)).filter(|pid| *pid != leader) {
        // Its number is its own until then. An error is that somebody else was faster.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// By what the members of a tree are known.
#[derive(Clone, Copy)]
pub(super) struct Kin<'t> {
    pub(super) leader: Pid,
    pub(super) place: Place,
    pub(super) mark: &'t str,
}

impl Kin<'_> {
    /// Who belongs to the tree, is alive, and is not of the group that it has for itself.
    pub(super) fn members(self) -> Members {
        let leader = self.leader.as_raw_nonzero().get();
        let own = std::process::id();
        let all = processes();
        let family = descendants(if self.place.adopts { own.cast_signed() } else { leader }, &all);
        let is_of_group = |entry: &Entry| self.place.group.is_none() && entry.group == leader;
        let is_member = |id: i32, entry: &Entry| {
            id.unsigned_abs() != own
                && !is_of_group(entry)
                && !entry.is_zombie
                && (family.contains(&id) || bears(id, self.mark))
        };
        all.iter().filter(|(id, entry)| is_member(**id, entry)).map(|(id, entry)| (*id, entry.started)).collect()
    }

    /// Signals those, and, to kill, looks again until nobody is left.
    pub(super) fn signal(self, mut members: Members, signal: Signal) {
        for _ in 0..MAX_LOOKS {
            members.iter().for_each(|(id, started)| signal_one(*id, *started, signal));
            if signal != Signal::KILL || members.is_empty() {
                return;
            }
            // Those that were killed may still be dying; they are signalled again, which does no harm.
            std::thread::yield_now();
            members = self.members();
        }
    }
}

/// Signals the process `id` if it is the one that was started then.
fn signal_one(id: i32, started: u64, signal: Signal) {
    let Some(pid) = Pid::from_raw(id) else { return };
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if read(id).is_some_and(|entry| entry.started == started) {
        // An error is that it has ended, or has become another user.
        let _ = pidfd_send_signal(&descriptor, signal);
    }
}

/// Every process that can be seen.
fn processes() -> BTreeMap<i32, Entry> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter_map(|id| Some((id, read(id)?))).collect()
}

/// One process, or `None` if it is gone.
fn read(id: i32) -> Option<Entry> {
    parse(&fs::read(format!("/proc/{id}/stat")).ok()?)
}

/// The line of `/proc/ID/stat`. The name in it may hold anything, also parentheses and blanks.
fn parse(stat: &[u8]) -> Option<Entry> {
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(&stat[name_ends + 1..]).ok()?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    Some(Entry {
        is_zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Everything below `leader`.
fn descendants(leader: i32, all: &BTreeMap<i32, Entry>) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut parents = vec![leader];
    while let Some(parent) = parents.pop() {
        for (id, _) in all.iter().filter(|(_, entry)| entry.parent == parent) {
            if *id != leader && found.insert(*id) {
                parents.push(*id);
            }
        }
    }
    found
}

/// Whether the environment of a process, as it was started, bears the mark.
fn bears(id: i32, mark: &str) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{id}/environ")) else { return false };
    let value = |variable: &[u8]| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec);
    let marks = environment.split(|byte| *byte == 0).find_map(value);
    marks.is_some_and(|marks| marks.split(|byte| *byte == b':').any(|word| word == mark.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(parent: i32) -> Entry {
        Entry { parent, group: 0, started: 0, is_zombie: false }
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_confuse_the_fields() {
        let tail = "S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 20";
        let expected = Entry { parent: 7, group: 8, started: 12345, is_zombie: false };
        for name in ["sh", "a) Z 1 1", "((", "x y"] {
            assert_eq!(parse(format!("42 ({name}) {tail}").as_bytes()), Some(expected));
        }
        let mut not_utf8 = b"42 (\xff) ".to_vec();
        not_utf8.extend_from_slice(tail.as_bytes());
        assert_eq!(parse(&not_utf8), Some(expected));
        for torn in ["", "42 (sh", "42 (sh)", "42 (sh) S 7 8"] {
            assert_eq!(parse(torn.as_bytes()), None);
        }
    }

    #[test]
    fn descendants_are_children_and_theirs_and_nobody_else() {
        let all: BTreeMap<i32, Entry> =
            [(1, 0), (10, 1), (11, 10), (12, 11), (13, 10), (20, 1), (21, 20)].map(|(id, up)| (id, entry(up))).into();
        assert_eq!(descendants(10, &all), BTreeSet::from([11, 12, 13]));
        assert_eq!(descendants(12, &all), BTreeSet::new());
        // Whatever /proc says while it changes, it ends.
        let circle = [(5, 6), (6, 5)].map(|(id, up)| (id, entry(up))).into();
        assert_eq!(descendants(5, &circle), BTreeSet::from([6]));
    }

    #[test]
    fn this_process_is_seen_and_bears_no_mark() {
        let own = std::process::id() as i32;
        assert_eq!(processes().get(&own).map(|entry| entry.started), read(own).map(|entry| entry.started));
        assert!(read(own).is_some());
        assert!(!bears(own, "a word that nobody bears"));
    }

    #[test]
    fn a_number_that_was_used_again_is_not_hit() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let id = child.id() as i32;
        let started = read(id).unwrap().started;
        signal_one(id, started + 1, Signal::KILL);
        // A signal that is on its way would be seen here: it is delivered before the next system call returns.
        assert!(child.try_wait().unwrap().is_none() && read(id).is_some_and(|entry| !entry.is_zombie));
        signal_one(id, started, Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
