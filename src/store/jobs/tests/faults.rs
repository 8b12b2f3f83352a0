//! Laws of the log, at every point where something can go wrong.

use proptest::prelude::*;

use super::*;
use crate::store::log::disk::Disk;
use crate::store::log::machine::{Fault, Keep};

/// The disk after the whole script, without an orderly end, and the operations that it took.
fn finished(fsync: bool) -> (SimDisk, Outcome, usize) {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk, fsync).unwrap();
    let mut outcome = Outcome::default();
    run(&mut log, &script(), &mut outcome);
    assert_eq!(outcome.stored.len(), script().len());
    let operations = disk.operations();
    (disk, outcome, operations)
}

/// Runs the script on a disk that goes wrong once.
fn faulty(fsync: bool, at: usize, count: usize, fault: Fault) -> (SimDisk, Outcome) {
    let disk = SimDisk::default();
    disk.fail(at, count, fault);
    let mut outcome = Outcome::default();
    if let Ok((mut log, _)) = open(&disk, fsync) {
        run(&mut log, &script(), &mut outcome);
    }
    (disk, outcome)
}

fn found(disk: &SimDisk) -> Model {
    as_model(&scan(disk).unwrap_or_else(|error| panic!("{error}")).jobs)
}

/// Everything that was said to be stored is there; what nothing was said of is there as a whole or not at all.
fn check(disk: &SimDisk, outcome: &Outcome, what: &str) {
    let found = found(disk);
    assert!(found == outcome.last() || found == outcome.with_unknown(), "{what}: {found:#?}\n{outcome:#?}");
}

/// A log that was recovered goes on, and loses nothing of what it found or took.
fn check_that_it_goes_on(disk: &SimDisk, what: &str) {
    let (mut log, jobs) = open(disk, true).unwrap();
    let mut outcome = Outcome { stored: vec![as_model(&jobs)], unknown: None };
    check(&disk.power_cut(Keep::Bytes(0)), &outcome, what);
    run(&mut log, &[vec![put(100)], vec![attempt(100, 1), put(101)], vec![remove(101)]], &mut outcome);
    check(&disk.power_cut(Keep::Bytes(0)), &outcome, what);
    assert!(outcome.unknown.is_none() && outcome.last().contains_key(&number(100)));
}

#[test]
fn the_script_has_segments_and_compactions() {
    let (disk, outcome, _) = finished(true);
    let segments = disk.clone().list().unwrap();
    assert!(segments[0] > 2 && segments.len() > 1, "{segments:?}");
    assert!(outcome.last().contains_key(&number(1)), "copied forward all the way");
    assert_eq!(found(&disk), outcome.last());
}

#[test]
fn a_crash_at_any_point_loses_nothing_acknowledged_and_leaves_no_half() {
    let (_, _, operations) = finished(true);
    for at in 0..operations {
        let (disk, outcome) = faulty(true, at, 1, Fault::Crash);
        disk.heal();
        let what = format!("crash at operation {at}");
        check(&disk, &outcome, &what);
        for kept in 0..=disk.unsynced() {
            check(&disk.power_cut(Keep::Bytes(kept)), &outcome, &format!("{what}, {kept} bytes kept"));
        }
        check(&disk.power_cut(Keep::All), &outcome, &what);
        for seed in 0..40 {
            let cut = disk.power_cut(Keep::Sectors(seed));
            check(&cut, &outcome, &format!("{what}, sectors {seed}"));
            check_that_it_goes_on(&cut, &what);
        }
        check_that_it_goes_on(&disk.power_cut(Keep::Bytes(disk.unsynced() / 2)), &what);
        check_that_it_goes_on(&disk, &what);
    }
}

#[test]
fn a_crash_while_it_is_opened_again_loses_nothing() {
    let (disk, outcome, _) = finished(true);
    for kept in [0, 30, 90] {
        for at in 0.. {
            // A batch that was torn, and then a crash while that is put right.
            let torn = disk.power_cut(Keep::All);
            let (mut log, _) = open(&torn, true).unwrap();
            torn.fail(1, 1, Fault::Crash);
            let mut outcome = Outcome { unknown: None, ..outcome.clone() };
            run(&mut log, &[vec![put(200)]], &mut outcome);
            let torn = torn.power_cut(Keep::Bytes(kept));
            torn.fail(at, 1, Fault::Crash);
            let opened = open(&torn, true).is_ok();
            torn.heal();
            for keep in [Keep::Bytes(0), Keep::All, Keep::Sectors(at as u64)] {
                check(&torn.power_cut(keep), &outcome, &format!("{kept} bytes, operation {at}"));
            }
            if opened {
                break;
            }
        }
    }
}

#[test]
fn with_os_a_crash_of_the_process_loses_nothing_and_a_power_cut_only_the_last_batches() {
    let (_, _, operations) = finished(false);
    for at in 0..operations {
        let (disk, outcome) = faulty(false, at, 1, Fault::Crash);
        disk.heal();
        check(&disk, &outcome, &format!("crash at operation {at}"));
        let mut possible = outcome.stored.clone();
        possible.extend([Model::new(), outcome.with_unknown()]);
        let step = (disk.unsynced() / 50).max(1);
        let bytes = (0..=disk.unsynced()).step_by(step).map(Keep::Bytes);
        for keep in bytes.chain((0..20).map(Keep::Sectors)) {
            let cut = disk.power_cut(keep);
            let found = found(&cut);
            assert!(possible.contains(&found), "operation {at}, {keep:?}: {found:#?}");
            check_that_it_goes_on(&cut, &format!("operation {at}, {keep:?}"));
        }
    }
}

#[test]
fn an_operation_that_fails_loses_nothing_and_brings_nothing_back() {
    for fsync in [true, false] {
        let (_, _, operations) = finished(fsync);
        for fault in [Fault::Fail, Fault::FailAfter] {
            for (at, count) in (0..operations).flat_map(|at| (1..=4).map(move |count| (at, count))) {
                let (disk, outcome) = faulty(fsync, at, count, fault);
                disk.heal();
                let what = format!("{fault:?} of {count} at operation {at}");
                check(&disk, &outcome, &what);
                if fsync {
                    check(&disk.power_cut(Keep::Bytes(0)), &outcome, &what);
                    check(&disk.power_cut(Keep::All), &outcome, &what);
                    check(&disk.power_cut(Keep::Sectors(at as u64)), &outcome, &what);
                }
                check_that_it_goes_on(&disk, &what);
            }
        }
    }
}

#[test]
fn a_disk_that_is_full_for_long_fails_every_batch_and_works_again_later() {
    let (disk, mut outcome, _) = finished(true);
    let before = outcome.last();
    let (mut log, _) = open(&disk, true).unwrap();
    // Every second operation works: the write fails, the cut does not.
    for count in 300..340 {
        disk.fail(0, 2, Fault::Fail);
        run(&mut log, &[vec![put(count), end(1)]], &mut outcome);
    }
    assert_eq!(outcome.last(), before);
    disk.heal();
    check(&disk.power_cut(Keep::Bytes(0)), &outcome, "full");
    run(&mut log, &[vec![put(340), remove(1)]], &mut outcome);
    assert!(outcome.last().contains_key(&number(340)));
    check(&disk.power_cut(Keep::Bytes(0)), &outcome, "room again");
}

#[test]
fn a_flipped_bit_is_refused_or_costs_the_last_batch_and_says_so() {
    for orderly in [true, false] {
        let (disk, mut outcome, _) = finished(true);
        let (mut log, _) = open(&disk, true).unwrap();
        // Several batches in the newest segment.
        run(&mut log, &[vec![put(50), put(51)], vec![remove(50)], vec![attempt(51, 1)], vec![put(52)]], &mut outcome);
        for next in 53..80 {
            if log.end > 600 {
                break;
            }
            run(&mut log, &[vec![put(next)]], &mut outcome);
        }
        assert!(log.end > 600, "{} bytes", log.end);
        if orderly {
            log.close(4_000);
        }
        let before_last = outcome.stored[outcome.stored.len() - 2].clone();
        let mut refused = 0;
        for segment in disk.clone().list().unwrap() {
            for at in 0..disk.clone().size(segment).unwrap() as usize {
                for bits in [1, 0x80, 0xff] {
                    let what = format!("segment {segment}, byte {at}, bits {bits}");
                    match scan(&disk.flipped(segment, at, bits)) {
                        Err(StateError::Damaged { what: said, .. }) => {
                            assert!(said.contains("at byte "), "{said}");
                            refused += 1;
                        }
                        Err(error) => panic!("{what}: {error}"),
                        Ok(scan) => {
                            let found = as_model(&scan.jobs);
                            let is_last = !orderly && found == before_last && scan.rolled_back.is_some();
                            assert!(found == outcome.last() || is_last, "{what}: {found:#?}");
                        }
                    }
                }
            }
        }
        assert!(refused > 3 * 1000, "{refused}");
    }
}

#[test]
fn what_does_not_belong_is_refused_by_name() {
    let (disk, _, _) = finished(true);
    let segments = disk.clone().list().unwrap();
    let (first, last) = (segments[0], segments[segments.len() - 1]);
    let said = |disk: &SimDisk| scan(disk).unwrap_err().to_string();
    assert!(said(&disk.renamed(first, None)).contains("the file is missing"), "{}", said(&disk.renamed(first, None)));
    let renamed = said(&disk.renamed(last, Some(last + 1)));
    assert!(renamed.contains(&format!("it is segment {last} under another name")), "{renamed}");
    let other = ServerId::new("other").unwrap();
    let foreign = recover::scan(&mut disk.clone(), &other, 0).unwrap_err().to_string();
    assert!(foreign.contains(&format!("holds jobs of server {}; this is server other", master())), "{foreign}");
    assert!(foreign.contains("moving") && foreign.contains("--fresh"), "{foreign}");
}

#[test]
fn ages_are_those_of_the_first_write_after_any_number_of_copies() {
    let (disk, _, _) = finished(true);
    let jobs = recover::scan(&mut disk.clone(), &master(), 5_000).unwrap().jobs;
    assert!(jobs.iter().all(|job| job.age.as_millis() == 1_000 && job.state_age.as_millis() == 1_000), "{jobs:#?}");
    let back = recover::scan(&mut disk.clone(), &master(), 3_000).unwrap().jobs;
    assert!(back.iter().all(|job| job.age.is_zero()), "the clock was set back");
}

#[test]
fn compaction_ends_and_keeps_the_log_short() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk, true).unwrap();
    let mut outcome = Outcome::default();
    run(&mut log, &[vec![put(1), put(2), put(3)]], &mut outcome);
    for count in 10..400 {
        run(&mut log, &[vec![put(count)], vec![end(count)], vec![remove(count)]], &mut outcome);
    }
    let mut steps = 0;
    while log.wants_compaction() {
        log.compact(4_000).unwrap();
        steps += 1;
        assert!(steps < 100);
    }
    assert!(log.bytes() < 4 * SMALL.segment && log.older.len() < 3, "{} bytes", log.bytes());
    assert_eq!(found(&disk), outcome.last());
    assert_eq!(outcome.last().len(), 3);
}

fn any_batch() -> impl Strategy<Value = Vec<(u8, u64)>> {
    proptest::collection::vec((0..8u8, 0..6u64), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_history_with_any_faults_is_that_of_the_model(
        lives in proptest::collection::vec((
            proptest::collection::vec(any_batch(), 1..25),
            (0..80usize, 1..5usize, 0..4u8),
            (0..4u8, any::<u64>()),
        ), 1..6),
    ) {
        let mut disk = SimDisk::default();
        let mut next = 1;
        let mut outcome = Outcome::default();
        for (batches, (at, count, fault), (cut, seed)) in lives {
            disk.heal();
            match fault {
                0 => disk.fail(at, 1, Fault::Crash),
                1 => disk.fail(at, count, Fault::Fail),
                2 => disk.fail(at, count, Fault::FailAfter),
                _ => {}
            }
            if let Ok((mut log, jobs)) = open(&disk, true) {
                let jobs = as_model(&jobs);
                prop_assert!(jobs == outcome.last() || jobs == outcome.with_unknown());
                outcome = Outcome { stored: vec![jobs], unknown: None };
                let script: Vec<Vec<JobWrite>> = batches.iter().map(|batch| batch.iter().map(|(kind, back)| {
                    let old = u64::saturating_sub(next, *back);
                    match kind {
                        0..=3 => {
                            next += 1;
                            put(next)
                        }
                        4 => attempt(old, *kind as u32),
                        5 => end(old),
                        _ => remove(old),
                    }
                }).collect()).collect();
                run(&mut log, &script, &mut outcome);
            }
            disk = match cut {
                0 => disk.power_cut(Keep::Bytes(seed as usize % (disk.unsynced() + 1))),
                1 => disk.power_cut(Keep::Sectors(seed)),
                2 => disk.power_cut(Keep::All),
                _ => disk,
            };
            disk.heal();
            let found = found(&disk);
            prop_assert!(found == outcome.last() || found == outcome.with_unknown(), "{found:#?} {outcome:#?}");
        }
    }
}
