//! The store as the node uses it, on real files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::store::jobs::{BOOT, JOBS, JobStore, JobWriter, Recovered, StoreNote, writer};
use crate::store::log::machine::{Fault, Keep};
use crate::wire::Durability;

const DEADLINE: Duration = Duration::from_secs(20);

fn open_store(dir: &Path, durability: Durability) -> (JobStore, Recovered) {
    JobStore::open(dir, durability, &master()).unwrap_or_else(|error| panic!("{error}"))
}

fn start(store: JobStore) -> (JobWriter, Receiver<StoreNote>) {
    let (send, notes) = unbounded();
    let writer = store.start(move |note| drop(send.send(note))).unwrap();
    (writer, notes)
}

/// Waits until everything up to `through` is stored.
fn wait(notes: &Receiver<StoreNote>, through: u64) {
    loop {
        match notes.recv_timeout(DEADLINE).expect("a note in time") {
            StoreNote::Written { through: stored } if stored == Ticket(through) => return,
            StoreNote::Written { through: stored } => assert!(stored < Ticket(through)),
            note => panic!("{note:?}"),
        }
    }
}

#[test]
fn jobs_survive_and_starts_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::new();
    for boot in 1..=3 {
        let durability = if boot == 2 { Durability::Os } else { Durability::Fsync };
        let (store, recovered) = open_store(dir.path(), durability);
        assert_eq!((recovered.boot, as_model(&recovered.jobs)), (boot, model.clone()));
        assert_eq!((recovered.rolled_back, recovered.left_alone, recovered.segments), (None, None, 1));
        let (mut writer, notes) = start(store);
        let first = u64::from(boot) * 10;
        let batch = [put(first), put(first + 1), attempt(first, 1), end(first + 1), remove(first)];
        // A job of this start: the number of the start is in it.
        let batch = batch.map(|write| in_boot(write, boot));
        for (ticket, write) in (1..).zip(&batch) {
            writer.push(Ticket(ticket), Box::new(write.clone()));
        }
        writer.flush();
        writer.flush();
        wait(&notes, 5);
        apply(&mut model, &batch);
    }
    assert_eq!(open_store(dir.path(), Durability::Fsync).1.jobs.len(), 3);
}

fn in_boot(write: JobWrite, boot: u32) -> JobWrite {
    let number = JobNumber(JobNumber::first(boot).0 + write.number().count());
    match write {
        JobWrite::Put { spec, .. } => JobWrite::Put { number, spec },
        JobWrite::State { state, .. } => JobWrite::State { number, state },
        JobWrite::Remove { .. } => JobWrite::Remove { number },
    }
}

#[test]
fn what_is_queued_is_stored_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, notes) = start(open_store(dir.path(), Durability::Fsync).0);
    for count in 1..=5_000 {
        writer.push(Ticket(count), Box::new(put(count)));
        if count % 100 == 0 {
            writer.flush();
        }
    }
    writer.finish();
    wait(&notes, 5_000);
    let (_, recovered) = open_store(dir.path(), Durability::Fsync);
    assert_eq!((recovered.jobs.len(), recovered.rolled_back), (5_000, None));
}

#[test]
fn a_batch_is_not_said_to_have_failed_before_that_is_sure() {
    let disk = SimDisk::default();
    let (log, _) = super::open(&disk, true).unwrap();
    let (send, notes) = unbounded();
    let mut writer = writer::start(Some(log), move |note| drop(send.send(note))).unwrap();
    // The write works, its sync does not, and no other segment can be begun.
    disk.fail(1, usize::MAX / 2, Fault::FailAfter);
    writer.push(Ticket(1), Box::new(put(1)));
    writer.push(Ticket(2), Box::new(put(2)));
    writer.flush();
    let started = Instant::now();
    while disk.operations() < 6 {
        assert!(notes.recv_timeout(Duration::from_millis(5)).is_err(), "a note while a restart may find the batch");
        assert!(started.elapsed() < DEADLINE);
    }
    disk.heal();
    match notes.recv_timeout(DEADLINE).unwrap() {
        StoreNote::Failed { from: Ticket(1), through: Ticket(2), reason } => {
            assert!(reason.contains("cannot sync dir/log-00000001.log"), "{reason}");
        }
        note => panic!("{note:?}"),
    }
    writer.push(Ticket(3), Box::new(put(3)));
    writer.flush();
    wait(&notes, 3);
    let cut = disk.power_cut(Keep::All);
    let (_, jobs) = super::open(&cut, true).unwrap();
    assert_eq!(jobs.iter().map(|job| job.number).collect::<Vec<_>>(), [number(3)]);
}

#[test]
fn memory_counts_starts_stores_nothing_and_leaves_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recovered) = open_store(dir.path(), Durability::Memory);
    assert_eq!((recovered.boot, recovered.left_alone), (1, None));
    assert!(!dir.path().join(JOBS).exists());
    let (mut writer, notes) = start(store);
    writer.push(Ticket(1), Box::new(put(1)));
    writer.flush();
    wait(&notes, 1);
    drop(writer);

    let (mut writer, notes) = start(open_store(dir.path(), Durability::Fsync).0);
    writer.push(Ticket(1), Box::new(in_boot(put(2), 2)));
    writer.flush();
    wait(&notes, 1);
    drop(writer);

    let (_, recovered) = open_store(dir.path(), Durability::Memory);
    let left = recovered.left_alone.unwrap();
    assert!(recovered.jobs.is_empty() && left.contains("1 jobs of earlier starts"), "{left}");
    let (_, recovered) = open_store(dir.path(), Durability::Fsync);
    assert_eq!((recovered.boot, recovered.jobs.len()), (4, 1));
}

#[test]
fn a_start_is_never_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open_store(dir.path(), Durability::Fsync);
    let (mut writer, notes) = start(store);
    writer.push(Ticket(1), Box::new(put(1)));
    writer.flush();
    wait(&notes, 1);
    drop(writer);
    // A start that cannot be counted does not happen. A directory in the place of the temporary file makes it fail.
    fs::create_dir(dir.path().join(format!(".{BOOT}.tmp"))).unwrap();
    let error = JobStore::open(dir.path(), Durability::Fsync, &master()).unwrap_err();
    assert!(matches!(error, StateError::Io { action: "write", .. }), "{error}");
    fs::remove_dir(dir.path().join(format!(".{BOOT}.tmp"))).unwrap();
    assert_eq!(open_store(dir.path(), Durability::Fsync).1.boot, 2);
    // Nor does one whose count is lost.
    fs::remove_file(dir.path().join(BOOT)).unwrap();
    let error = JobStore::open(dir.path(), Durability::Fsync, &master()).unwrap_err().to_string();
    assert!(error.contains(BOOT) && error.contains("no start is counted") && error.contains("start 1"), "{error}");
    assert!(!dir.path().join(BOOT).exists());
    // Giving up the jobs does not begin again.
    fs::write(dir.path().join(BOOT), "{\"format\":1,\"boot\":9}").unwrap();
    fs::remove_dir_all(dir.path().join(JOBS)).unwrap();
    assert_eq!(open_store(dir.path(), Durability::Fsync).1.boot, 10);
    fs::write(dir.path().join(BOOT), format!("{{\"format\":1,\"boot\":{}}}", u32::MAX)).unwrap();
    let error = JobStore::open(dir.path(), Durability::Memory, &master()).unwrap_err().to_string();
    assert!(error.contains("no number of a start is left"), "{error}");
}

#[test]
fn a_torn_file_is_cut_and_a_damaged_one_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, notes) = start(open_store(dir.path(), Durability::Fsync).0);
    for ticket in 1..=2 {
        writer.push(Ticket(ticket), Box::new(put(ticket)));
        writer.flush();
        wait(&notes, ticket);
    }
    drop(writer);
    let file = dir.path().join(JOBS).join("jobs-00000001.log");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len() - bytes.iter().rev().take_while(|byte| **byte == 0).count();
    bytes[end] = 7;
    fs::write(&file, &bytes[..end + 9]).unwrap();
    let (store, recovered) = open_store(dir.path(), Durability::Fsync);
    let said = recovered.rolled_back.unwrap();
    assert!(recovered.jobs.len() == 2 && said.contains("jobs-00000001.log: at byte "), "{said}");
    drop(store);
    let mut bytes = fs::read(&file).unwrap();
    let job = memchr::memmem::find(&bytes, b"{\"n\":2}").unwrap();
    bytes[job] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let error = JobStore::open(dir.path(), Durability::Fsync, &master()).unwrap_err().to_string();
    assert!(error.contains("jobs-00000001.log: at byte ") && error.contains("is damaged"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
}
