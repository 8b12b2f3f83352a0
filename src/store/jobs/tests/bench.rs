//! Commits a second next to a plain file that is written and synced, in the same minute:
//! `cargo test --release --lib jobs::tests::bench -- --ignored --nocapture`

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::store::jobs::{JobStore, JobWriter, StoreNote};
use crate::wire::Durability;

/// How long each measurement takes.
const LONG: Duration = Duration::from_millis(700);

/// Batches of `size` jobs through the writer, one after another. Returns batches a second.
fn through_the_store(writer: &mut JobWriter, notes: &Receiver<StoreNote>, size: u64, next: &mut u64) -> f64 {
    let started = Instant::now();
    let mut batches = 0;
    while started.elapsed() < LONG {
        for _ in 0..size {
            *next += 1;
            writer.push(Ticket(*next), Box::new(put(*next)));
        }
        writer.flush();
        loop {
            match notes.recv_timeout(Duration::from_secs(20)).unwrap() {
                StoreNote::Written { through } if through == Ticket(*next) => break,
                note => assert!(matches!(note, StoreNote::Written { .. }), "{note:?}"),
            }
        }
        batches += 1;
    }
    f64::from(batches) / started.elapsed().as_secs_f64()
}

/// The same bytes appended to a plain file.
fn plain(file: &mut File, bytes: usize) -> f64 {
    let bytes = vec![b'x'; bytes];
    let started = Instant::now();
    let mut batches = 0;
    while started.elapsed() < LONG {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        batches += 1;
    }
    f64::from(batches) / started.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn commits_next_to_a_plain_file() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let (store, _) = JobStore::open(dir.path(), Durability::Fsync, &master()).unwrap();
    let (send, notes) = unbounded();
    let mut writer = store.start(move |note| drop(send.send(note))).unwrap();
    let mut file = File::create(dir.path().join("plain")).unwrap();
    let mut next = 0;
    for round in 1..=3 {
        for size in [1, 100] {
            let plain = plain(&mut file, 48 + 55 * size as usize);
            let ours = through_the_store(&mut writer, &notes, size, &mut next);
            let jobs = ours * size as f64;
            println!("round {round}, {size:3} a batch: {ours:6.0} commits/s, {jobs:7.0} jobs/s; plain {plain:6.0}/s");
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn a_million_jobs() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4 / 1024
    };
    let before = resident();
    let (store, _) = JobStore::open(dir.path(), Durability::Os, &master()).unwrap();
    let (send, notes) = unbounded();
    let mut writer = store.start(move |note| drop(send.send(note))).unwrap();
    let started = Instant::now();
    for batch in 0..1_000 {
        for count in 1..=1_000 {
            let number = batch * 1_000 + count;
            writer.push(Ticket(number), Box::new(put(number)));
        }
        writer.flush();
        while !matches!(notes.recv().unwrap(), StoreNote::Written { through } if through == Ticket((batch + 1) * 1_000))
        {
        }
    }
    println!("1,000,000 jobs in {:?}, {} MB resident more", started.elapsed(), resident() - before);
    drop(writer);
    let started = Instant::now();
    let (_, recovered) = JobStore::open(dir.path(), Durability::Os, &master()).unwrap();
    println!("{} jobs, {} bytes read back in {:?}", recovered.jobs.len(), recovered.bytes, started.elapsed());
    assert_eq!(recovered.jobs.len(), 1_000_000);
}
