//! Commits a second: `cargo test --release --lib group::tests::bench -- --ignored --nocapture`

use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;

use super::*;
use crate::core::LogTicket;
use crate::store::group::{GroupNote, GroupStore};

/// How long each measurement takes.
const LONG: Duration = Duration::from_millis(700);

#[test]
#[ignore = "a measurement"]
fn commits_with_one_and_with_many_in_flight() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let (store, _, _) = GroupStore::open(dir.path(), &master()).unwrap();
    let (send, notes) = unbounded();
    let mut writer = store.start(move |note| drop(send.send(note))).unwrap();
    let mut next = 0;
    for (round, in_flight) in (1..=3).flat_map(|round| [1, 100].map(|in_flight| (round, in_flight))) {
        let (mut written, first, mut syncs, started) = (next, next, 0, Instant::now());
        while started.elapsed() < LONG {
            while next < written + in_flight {
                next += 1;
                writer.push(LogTicket(next), append(next, next, 1));
            }
            writer.flush();
            match notes.recv_timeout(Duration::from_secs(20)).unwrap() {
                GroupNote::Written { through } => written = through.0,
                note => panic!("{note:?}"),
            }
            syncs += 1;
        }
        let per_second = |count: u64| count as f64 / started.elapsed().as_secs_f64();
        let (commits, syncs) = (per_second(written - first), per_second(syncs));
        println!("round {round}, {in_flight:3} in flight: {commits:7.0} commits/s, {syncs:6.0} syncs/s");
    }
}
