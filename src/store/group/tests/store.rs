//! The store as the node uses it, on real files and threads.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::core::LogTicket;
use crate::store::group::{GROUP, GroupNote, GroupStore, GroupWriter, describe, writer};
use crate::store::log::machine::{Fault, Keep};

const DEADLINE: Duration = Duration::from_secs(20);

fn open_store(dir: &Path) -> (GroupStore, StoredGroup, Option<String>) {
    GroupStore::open(dir, &master()).unwrap_or_else(|error| panic!("{error}"))
}

fn start(store: GroupStore) -> (GroupWriter, Receiver<GroupNote>) {
    let (send, notes) = unbounded();
    (store.start(move |note| drop(send.send(note))).unwrap(), notes)
}

/// Waits until everything up to `through` is written, and nothing else is said.
fn wait(notes: &Receiver<GroupNote>, through: u64) {
    loop {
        match notes.recv_timeout(DEADLINE).expect("a note in time") {
            GroupNote::Written { through: written } if written == LogTicket(through) => return,
            GroupNote::Written { through: written } => assert!(written < LogTicket(through)),
            note => panic!("{note:?}"),
        }
    }
}

#[test]
fn a_group_survives_and_a_state_id_lasts_from_the_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let (store, fresh, rolled_back) = open_store(dir.path());
    assert_eq!((&fresh, rolled_back), (&StoredGroup::fresh(fresh.state_id.clone()), None));
    assert_eq!(describe(&fresh), "no group yet");
    drop(store);
    let (mut ticket, mut model) = (0, fresh);
    for batches in script().chunks(3) {
        let (store, found, rolled_back) = open_store(dir.path());
        assert_eq!((found, rolled_back), (model.clone(), None));
        let (mut writer, notes) = start(store);
        for write in batches.iter().flatten() {
            ticket += 1;
            writer.push(LogTicket(ticket), write.clone());
            model.apply(write.clone()).unwrap();
        }
        writer.flush();
        writer.flush();
        wait(&notes, ticket);
    }
    let found = open_store(dir.path()).1;
    assert_eq!(found, model);
    assert_eq!(describe(&found), "group 00000003, member 3, term 8, 2 entries behind snapshot 4");
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open_store(other.path()).1.state_id, open_store(other.path().join("x").as_path()).1.state_id);
}

#[test]
fn a_description_names_the_snapshot_and_not_the_key() {
    let mut group = StoredGroup::fresh(id(1));
    for write in [belong(7), append(1, 5, 1), snapshot(4, 1), vote(9, 2, 5)] {
        group.apply(write).unwrap();
    }
    assert_eq!(describe(&group), "group 00000007, member 7, term 9, 1 entry behind snapshot 4");
}

#[test]
fn what_is_queued_is_stored_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, notes) = start(open_store(dir.path()).0);
    for index in 1..=3_000 {
        writer.push(LogTicket(index), append(index, index, 1));
        if index % 100 == 0 {
            writer.flush();
        }
    }
    drop(writer);
    wait(&notes, 3_000);
    let (_, found, rolled_back) = open_store(dir.path());
    assert_eq!((found.entries.len(), rolled_back), (3_000, None));
}

#[test]
fn a_disk_that_is_ill_is_told_once_and_nothing_is_written_before_it_is_well() {
    let disk = SimDisk::default();
    let (log, _) = super::open(&disk).unwrap();
    let (send, notes) = unbounded();
    let mut writer = writer::start(Some(log), move |note| drop(send.send(note))).unwrap();
    disk.fail(0, usize::MAX / 2, Fault::FailAfter);
    writer.push(LogTicket(1), belong(1));
    writer.flush();
    match notes.recv_timeout(DEADLINE).unwrap() {
        GroupNote::Trouble { reason } => assert!(reason.contains("cannot") && !reason.contains(SECRET), "{reason}"),
        note => panic!("{note:?}"),
    }
    writer.push(LogTicket(2), vote(3, 1, 0));
    writer.flush();
    let (before, started) = (disk.operations(), Instant::now());
    // It goes on trying.
    while disk.operations() < before + 3 {
        assert!(notes.recv_timeout(Duration::from_millis(5)).is_err(), "a note while nothing is written");
        assert!(started.elapsed() < DEADLINE);
    }
    disk.heal();
    assert_eq!(notes.recv_timeout(DEADLINE).unwrap(), GroupNote::Well);
    wait(&notes, 2);
    let cut = disk.power_cut(Keep::Bytes(0));
    assert_eq!(super::open(&cut).unwrap().1.term, 3);
}

#[test]
fn after_a_write_that_contradicts_nothing_is_stored_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, notes) = start(open_store(dir.path()).0);
    writer.push(LogTicket(1), belong(1));
    writer.push(LogTicket(2), append(7, 7, 1));
    writer.push(LogTicket(3), vote(3, 1, 0));
    writer.flush();
    let first = notes.recv_timeout(DEADLINE).unwrap();
    assert!(
        matches!(&first, GroupNote::Trouble { reason } if reason.contains("write 2 cannot be stored: there is a gap")),
        "{first:?}"
    );
    wait(&notes, 1);
    writer.push(LogTicket(4), vote(3, 1, 0));
    drop(writer);
    assert_eq!(notes.iter().collect::<Vec<_>>(), []);
    let found = open_store(dir.path()).1;
    assert_eq!((found.term, found.membership.is_some()), (0, true));
}

#[test]
fn in_memory_everything_is_written_at_once() {
    let (store, found) = GroupStore::in_memory();
    assert_eq!(found, StoredGroup::fresh(found.state_id.clone()));
    let (mut writer, notes) = start(store);
    writer.push(LogTicket(1), belong(1));
    writer.push(LogTicket(2), vote(3, 1, 0));
    writer.flush();
    assert_eq!(notes.recv_timeout(DEADLINE).unwrap(), GroupNote::Written { through: LogTicket(2) });
}

#[test]
fn a_torn_file_is_cut_and_a_damaged_one_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, notes) = start(open_store(dir.path()).0);
    for (ticket, write) in [(1, belong(1)), (2, append(1, 1, 1))] {
        writer.push(LogTicket(ticket), write);
        writer.flush();
        wait(&notes, ticket);
    }
    drop(writer);
    let file = dir.path().join(GROUP).join("group-00000001.log");
    let mut text = fs::read(&file).unwrap();
    let end = text.len() - text.iter().rev().take_while(|byte| **byte == b'\n').count() + 1;
    text.truncate(end);
    text.extend_from_slice(b"#9 300 0123abcd\n{\"VOTE\":{");
    fs::write(&file, &text).unwrap();
    let (store, found, rolled_back) = open_store(dir.path());
    let said = rolled_back.unwrap();
    assert!(found.entries.len() == 1 && said.contains("group-00000001.log: at byte "), "{said}");
    drop(store);
    let mut text = fs::read(&file).unwrap();
    let at = memchr::memmem::find(&text, b"{\"n\":1}").unwrap();
    text[at] ^= 1;
    fs::write(&file, &text).unwrap();
    let error = GroupStore::open(dir.path(), &master()).unwrap_err().to_string();
    assert!(error.contains("group-00000001.log: at byte ") && error.contains("is damaged"), "{error}");
    assert!(!error.contains(SECRET), "{error}");
    assert_eq!(fs::read(&file).unwrap(), text);
}
