//! Laws of the log, at every point where something can go wrong.

use proptest::prelude::*;

use super::*;
use crate::store::log::disk::Disk;
use crate::store::log::machine::{Fault, Keep};

/// The disk after the whole script, without an orderly end, and the operations that it took.
fn finished() -> (SimDisk, Outcome, usize) {
    let disk = SimDisk::default();
    let (mut log, found) = open(&disk).unwrap();
    let mut outcome = Outcome::new(found);
    run(&mut log, &script(), &mut outcome);
    assert_eq!(outcome.0.len(), 1, "everything is stored");
    let operations = disk.operations();
    (disk, outcome, operations)
}

/// Runs the script on a disk that goes wrong once.
fn faulty(at: usize, count: usize, fault: Fault) -> (SimDisk, Outcome) {
    let disk = SimDisk::default();
    disk.fail(at, count, fault);
    let mut outcome = Outcome::new(StoredGroup::fresh(id(0)));
    if let Ok((mut log, _)) = open(&disk) {
        run(&mut log, &script(), &mut outcome);
    }
    (disk, outcome)
}

/// Everything that was told to be written is there, and of the rest whole batches from the first on.
fn check(disk: &SimDisk, outcome: &Outcome, what: &str) -> StoredGroup {
    let found = scan(disk).unwrap_or_else(|error| panic!("{what}: {error}")).group;
    assert!(outcome.0.contains(&found), "{what}: {found:#?}\n{outcome:#?}");
    found
}

/// A log that was recovered goes on, and loses nothing of what it found or took.
fn check_that_it_goes_on(disk: &SimDisk, what: &str) {
    let (mut log, found) = open(disk).unwrap();
    let mut outcome = Outcome::new(found);
    check(&disk.power_cut(Keep::Bytes(0)), &outcome, what);
    let term = outcome.last().term + 1;
    let next = outcome.last().last() + 1;
    let batches = [vec![vote(term, 1, 0)], vec![append(next, next + 1, term)], vec![snapshot(next, term)]];
    for batch in batches {
        run(&mut log, &[batch], &mut outcome);
        assert_eq!(outcome.0.len(), 1, "{what}: everything is stored");
        check(&disk.power_cut(Keep::Bytes(0)), &outcome, what);
    }
}

#[test]
fn the_script_is_compacted_and_replays() {
    let (disk, outcome, _) = finished();
    let files = disk.clone().list().unwrap();
    assert!(files.len() == 1 && files[0] > 3, "{files:?}");
    assert_eq!(scan(&disk).unwrap().group, *outcome.last());
    assert_eq!(outcome.last().entries.len(), 2);
}

#[test]
fn every_cut_of_the_file_is_a_prefix_of_what_was_written() {
    // One file, never compacted: its frames are all batches.
    let disk = SimDisk::default();
    let sizes = Sizes { compact: u64::MAX, ..SMALL };
    let first = scan(&disk).unwrap();
    let mut log = recover::resume(disk.clone(), &first, &master(), sizes).unwrap();
    let mut outcome = Outcome::new(first.group);
    let mut ends = vec![(log.end, outcome.last().clone())];
    let mut file = log.disk.list().unwrap();
    for batch in script() {
        run(&mut log, &[batch], &mut outcome);
        if log.disk.list().unwrap() != file {
            // It went on in another file, because the group is another.
            file = log.disk.list().unwrap();
            ends.clear();
        }
        ends.push((log.end, outcome.last().clone()));
    }
    let (file, base) = (file[0], ends[0].0);
    assert!(ends.len() > 1);
    for cut in 0..=log.end {
        let disk = disk.cut(file, cut as usize);
        if cut < base {
            let error = scan(&disk).unwrap_err().to_string();
            assert!(error.contains("at byte 0: its first batch is damaged"), "{cut}: {error}");
            continue;
        }
        let found = scan(&disk).unwrap();
        let whole = ends.iter().rev().find(|(end, _)| *end <= cut).unwrap();
        assert_eq!(found.group, whole.1, "cut at {cut}");
        assert_eq!(found.rolled_back.is_some(), whole.0 != cut, "cut at {cut}: {:?}", found.rolled_back);
        check_that_it_goes_on(&disk, &format!("cut at {cut}"));
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing_that_was_told() {
    let (_, _, operations) = finished();
    for at in 0..operations {
        let (disk, outcome) = faulty(at, 1, Fault::Crash);
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
    let (disk, outcome, _) = finished();
    for kept in [0, 30, 90] {
        for at in 0.. {
            // A batch that was torn, and then a crash while that is put right.
            let torn = disk.power_cut(Keep::All);
            let (mut log, _) = open(&torn).unwrap();
            torn.fail(1, 1, Fault::Crash);
            let mut outcome = outcome.clone();
            run(&mut log, &[vec![vote(50, 1, 0)]], &mut outcome);
            let torn = torn.power_cut(Keep::Bytes(kept));
            torn.fail(at, 1, Fault::Crash);
            let opened = open(&torn).is_ok();
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
fn an_operation_that_fails_loses_nothing_and_is_made_good() {
    let (_, _, operations) = finished();
    for fault in [Fault::Fail, Fault::FailAfter] {
        for (at, count) in (0..operations).flat_map(|at| (1..=5).map(move |count| (at, count))) {
            let (disk, outcome) = faulty(at, count, fault);
            disk.heal();
            let what = format!("{fault:?} of {count} at operation {at}");
            for keep in [Keep::Bytes(0), Keep::All, Keep::Sectors(at as u64)] {
                check(&disk.power_cut(keep), &outcome, &what);
            }
            check(&disk, &outcome, &what);
            check_that_it_goes_on(&disk, &what);
        }
    }
}

#[test]
fn a_disk_that_is_full_for_long_keeps_what_it_has_and_takes_the_rest_later() {
    let (disk, mut outcome, _) = finished();
    let before = outcome.last().clone();
    let (mut log, _) = open(&disk).unwrap();
    for term in 10..40 {
        // Everything fails but the cut.
        disk.fail(0, if term % 2 == 0 { 1 } else { 9 }, Fault::Fail);
        let mut state = outcome.last().clone();
        log.take(vote(term, 1, 0)).unwrap();
        state.apply(vote(term, 1, 0)).unwrap();
        outcome.0.push(state);
        disk.fail(0, usize::MAX / 2, Fault::Fail);
        log.store().unwrap_err();
        check(&disk.power_cut(Keep::All), &outcome, "full");
    }
    assert_eq!(check(&disk.power_cut(Keep::Bytes(0)), &outcome, "full"), before);
    disk.heal();
    log.store().unwrap();
    let found = check(&disk.power_cut(Keep::Bytes(0)), &outcome, "room again");
    assert_eq!(found.term, 39);
}

#[test]
fn after_a_sync_that_failed_the_file_is_not_written_to_again() {
    let (disk, mut outcome, _) = finished();
    let (mut log, _) = open(&disk).unwrap();
    let file = disk.clone().list().unwrap();
    disk.fail(1, 1, Fault::FailAfter);
    log.take(vote(10, 1, 0)).unwrap();
    let reason = log.store().unwrap_err();
    assert!(reason.contains("cannot sync"), "{reason}");
    log.store().unwrap();
    assert_eq!(disk.clone().list().unwrap(), [file[0] + 1]);
    let mut state = outcome.last().clone();
    state.apply(vote(10, 1, 0)).unwrap();
    outcome = Outcome::new(state);
    check(&disk.power_cut(Keep::Bytes(0)), &outcome, "the next file");
}

#[test]
fn a_flipped_bit_is_refused_or_costs_the_last_batch_and_says_so() {
    for orderly in [true, false] {
        let disk = SimDisk::default();
        let (mut log, found) = open(&disk).unwrap();
        let mut outcome = Outcome::new(found);
        run(&mut log, &script()[..6], &mut outcome);
        let before_last = outcome.last().clone();
        run(&mut log, &[vec![vote(9, 2, 3)]], &mut outcome);
        if orderly {
            log.mark().unwrap();
        }
        let file = disk.clone().list().unwrap()[0];
        let mut refused = 0;
        for at in 0..disk.clone().size(file).unwrap() as usize {
            for bits in [1, 0x80, 0xff] {
                let what = format!("byte {at}, bits {bits}");
                match scan(&disk.flipped(file, at, bits)) {
                    Err(StateError::Damaged { what: said, .. }) => {
                        assert!(said.contains("at byte ") && !said.contains(SECRET), "{said}");
                        refused += 1;
                    }
                    Err(error) => panic!("{what}: {error}"),
                    Ok(scan) => {
                        let is_last = !orderly && scan.group == before_last && scan.rolled_back.is_some();
                        assert!(scan.group == *outcome.last() || is_last, "{what}: {:#?}", scan.group);
                    }
                }
            }
        }
        assert!(refused > 3 * 700, "{refused}");
    }
}

#[test]
fn what_does_not_belong_is_refused_by_name() {
    let (disk, _, _) = finished();
    let file = disk.clone().list().unwrap()[0];
    let renamed = scan(&disk.renamed(file, Some(file + 1))).unwrap_err().to_string();
    assert!(renamed.contains(&format!("it is file {file} under another name")), "{renamed}");
    let other = ServerId::new("other").unwrap();
    let foreign = recover::scan(&mut disk.clone(), &other, id(0)).unwrap_err().to_string();
    assert!(foreign.contains(&format!("holds the group of server {}; this is server other", master())), "{foreign}");
    assert!(foreign.contains("moving dir away") && foreign.contains("--fresh"), "{foreign}");
    assert!(!foreign.contains(SECRET), "{foreign}");
}

#[test]
fn a_compaction_that_fails_at_any_point_loses_nothing_that_is_told_after_it() {
    for (at, fault) in (0..7).flat_map(|at| [(at, Fault::Fail), (at, Fault::FailAfter)]) {
        let disk = SimDisk::default();
        let (mut log, found) = open(&disk).unwrap();
        let mut outcome = Outcome::new(found);
        run(&mut log, &[vec![belong(1)], vec![append(1, 2, 1)]], &mut outcome);
        let mut state = outcome.last().clone();
        for write in [leave(1), vote(7, 1, 0)] {
            log.take(write.clone()).unwrap();
            state.apply(write).unwrap();
            log.store().unwrap();
            // Once: the thread waits before it tries again.
            if log.wants_compaction() && state.term == 0 {
                disk.fail(at, 1, fault);
                assert_eq!(log.compact().is_ok(), at > 4, "{fault:?} at {at}");
                disk.heal();
            }
            for keep in [Keep::Bytes(0), Keep::All, Keep::Sectors(at as u64), Keep::Sectors(at as u64 + 100)] {
                check(&disk.power_cut(keep), &Outcome::new(state.clone()), &format!("{fault:?} at {at}"));
            }
        }
    }
}

#[test]
fn the_key_of_a_group_that_was_left_is_gone() {
    let disk = SimDisk::default();
    let (mut log, found) = open(&disk).unwrap();
    let mut outcome = Outcome::new(found);
    let holds_key = |disk: &SimDisk| {
        let mut disk = disk.clone();
        let files = disk.list().unwrap();
        files
            .iter()
            .any(|file| memchr::memmem::find(&disk.read(*file, 0, 1 << 20).unwrap(), SECRET.as_bytes()).is_some())
    };
    run(&mut log, &[vec![belong(1)], vec![append(1, 2, 1)]], &mut outcome);
    assert!(holds_key(&disk));
    run(&mut log, &[vec![leave(1)]], &mut outcome);
    assert!(!holds_key(&disk));
}

#[test]
fn writes_that_contradict_are_refused_and_change_nothing() {
    let disk = SimDisk::default();
    let (mut log, found) = open(&disk).unwrap();
    let mut outcome = Outcome::new(found);
    run(&mut log, &[vec![belong(1), append(1, 2, 1), vote(1, 1, 1)]], &mut outcome);
    for (write, said) in
        [(append(4, 4, 1), "gap"), (vote(1, 2, 1), "vote"), (vote(0, 0, 1), "term"), (snapshot(0, 0), "back")]
    {
        let error = log.take(write).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    // A number that no restart reads.
    let members = VoterSets { voters: vec![RaftId(0)], ..VoterSets::default() };
    let head = SnapshotHead { index: 2, term: 1, members };
    let error = log.take(GroupWrite::Snapshot { head, text: String::new() }).unwrap_err();
    assert!(error.contains("VOTERS"), "{error}");
    log.store().unwrap();
    check(&disk, &outcome, "refused");
    run(&mut log, &[vec![append(3, 3, 1)]], &mut outcome);
    check(&disk, &outcome, "and then goes on");
}

#[test]
fn compaction_keeps_the_file_short_and_a_log_that_lives_is_left_alone() {
    let disk = SimDisk::default();
    let (mut log, found) = open(&disk).unwrap();
    let mut outcome = Outcome::new(found);
    for term in 1..400 {
        run(
            &mut log,
            &[vec![vote(term, 1, 0)], vec![append(term, term, term)], vec![snapshot(term, term)]],
            &mut outcome,
        );
        assert!(log.end < 2 * SMALL.compact, "{} bytes", log.end);
    }
    check(&disk, &outcome, "short");
    let files = disk.clone().list().unwrap();
    assert!(files.len() == 1 && files[0] > 20 && files[0] < 400, "{files:?}");
    // Entries that all live: the file grows, and is not written again and again.
    for index in 400..800 {
        run(&mut log, &[vec![append(index, index, 400)]], &mut outcome);
    }
    let more = disk.clone().list().unwrap()[0] - files[0];
    assert!(more < 4, "{more} files");
    check(&disk, &outcome, "long");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_history_with_any_faults_is_that_of_the_model(
        lives in proptest::collection::vec((
            proptest::collection::vec(proptest::collection::vec((0..9u8, 0..5u64), 1..5), 1..25),
            (0..80usize, 1..6usize, 0..4u8),
            (0..4u8, any::<u64>()),
        ), 1..6),
    ) {
        let mut disk = SimDisk::default();
        let mut outcome = Outcome::new(StoredGroup::fresh(id(0)));
        for (batches, (at, count, fault), (cut, seed)) in lives {
            disk.heal();
            match fault {
                0 => disk.fail(at, 1, Fault::Crash),
                1 => disk.fail(at, count, Fault::Fail),
                2 => disk.fail(at, count, Fault::FailAfter),
                _ => {}
            }
            if let Ok((mut log, found)) = open(&disk) {
                prop_assert!(outcome.0.contains(&found));
                outcome = Outcome::new(found.clone());
                let mut state = found;
                for batch in &batches {
                    let writes: Vec<GroupWrite> = batch.iter().map(|(kind, back)| {
                        let last = state.last();
                        let from = (last + 1).saturating_sub(*back).max(state.snapshot_index() + 1);
                        let write = match kind {
                            0..=2 => append(from, from + back, state.term),
                            3 => vote(state.term + 1, *back, last),
                            4 => vote(state.term, state.vote.map_or(*back, |vote| vote.0), from),
                            5 | 6 => snapshot(from.max(1), state.term),
                            7 if *back == 0 => leave(seed % 100),
                            8 if *back == 0 => belong(seed % 100 + 1),
                            _ => append(last + 1, last + 1 + back, state.term + 1),
                        };
                        state.apply(write.clone()).unwrap();
                        write
                    }).collect();
                    run(&mut log, &[writes], &mut outcome);
                }
            }
            disk = match cut {
                0 => disk.power_cut(Keep::Bytes(seed as usize % (disk.unsynced() + 1))),
                1 => disk.power_cut(Keep::Sectors(seed)),
                2 => disk.power_cut(Keep::All),
                _ => disk,
            };
            disk.heal();
            let found = scan(&disk).unwrap().group;
            prop_assert!(outcome.0.contains(&found), "{found:#?} {outcome:#?}");
        }
    }
}
