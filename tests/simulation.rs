//! The simulator in CI: time-boxed, prints what it reached, replays one seed from the environment.
//!
//! `MUTIRAO_SIM_SEED=7 cargo test --test simulation` runs that seed alone; `MUTIRAO_SIM_SECONDS` sets the time box.

use std::time::Duration;

use mutirao::sim::{self, Kind, Planted, PlantedInGroup, Tally};

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Runs worlds of one kind as long as the time box allows, or the one seed that was asked for.
fn simulate(kind: Kind) -> Option<Tally> {
    if let Some(seed) = from_env("MUTIRAO_SIM_SEED") {
        println!("{:?}", sim::run(kind, seed).unwrap_or_else(|failure| panic!("{failure}")));
        return None;
    }
    let within = Duration::from_secs(from_env("MUTIRAO_SIM_SECONDS").unwrap_or(12));
    let tally = sim::run_many(&[kind], 0, u64::MAX, Some(within)).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{} worlds, seeds 0 to {}: {tally:?}", kind.as_str(), tally.runs - 1);
    Some(tally)
}

#[test]
fn clusters_keep_the_laws_of_the_registry_under_faults() {
    let Some(tally) = simulate(Kind::Registry) else { return };
    assert!(tally.faults > tally.runs, "worlds without faults prove little");
    assert!(tally.timeouts > 0, "nobody was ever lost");
}

#[test]
fn farms_keep_the_laws_of_jobs_under_faults() {
    let Some(tally) = simulate(Kind::Farm) else { return };
    assert!(tally.crashes > tally.runs / 2 && tally.cuts > tally.runs && tally.failed_writes > 0, "{tally:?}");
    assert!(tally.jobs > tally.runs && tally.attempts > tally.jobs / 2, "farms without work prove little: {tally:?}");
}

#[test]
fn short_cuts_start_nothing_twice() {
    let Some(tally) = simulate(Kind::Cuts) else { return };
    println!("{} cuts, {} jobs, {} attempts", tally.cuts, tally.jobs, tally.attempts);
    assert!(tally.cuts > 0 && tally.crashes == 0);
    assert_eq!(tally.attempts, tally.jobs, "each job was started once");
}

#[test]
fn groups_keep_the_laws_of_agreement_under_faults() {
    let Some(tally) = simulate(Kind::Group) else { return };
    assert!(tally.crashes > tally.runs && tally.cuts > tally.runs && tally.failed_writes > 0, "{tally:?}");
    assert!(tally.leaders > tally.runs * 2, "groups without elections prove little: {tally:?}");
    assert!(tally.agreed > tally.runs * 10, "groups that agree on little prove little: {tally:?}");
}

#[test]
fn loans_keep_the_laws_of_jobs_and_all_workers_come_home() {
    let Some(tally) = simulate(Kind::Loans) else { return };
    assert!(tally.loans > tally.runs, "worlds without loans prove little: {tally:?}");
    assert!(tally.crashes > tally.runs / 2 && tally.cuts > tally.runs, "{tally:?}");
    assert!(tally.strange > 0 && tally.leaders > 0, "nobody met a stranger, or agreed on anything: {tally:?}");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    for kind in Kind::ALL {
        for seed in [1, 2, 3] {
            assert_eq!(sim::run(kind, seed), sim::run(kind, seed));
        }
        assert_ne!(sim::run(kind, 1).unwrap().trace, sim::run(kind, 2).unwrap().trace);
    }
}

/// The law that the first of many farms with this fault breaks.
fn bitten(planted: Planted) -> String {
    let broken = (0..200).find_map(|seed| sim::run_planted(seed, planted).err());
    let broken = broken.unwrap_or_else(|| panic!("nobody noticed {planted:?}"));
    println!("{planted:?}: {broken}");
    broken.what
}

#[test]
fn a_disk_that_says_written_too_early_loses_accepted_jobs() {
    let what = bitten(Planted::DiskLies);
    assert!(what.contains("forgotten") || what.contains("was told as") || what.contains("never put"), "{what}");
}

#[test]
fn a_disk_that_loses_ends_has_jobs_done_again_that_were_told_as_ended() {
    let what = bitten(Planted::EndsLost);
    assert!(what.contains("was told"), "{what}");
}

#[test]
fn a_worker_that_forgets_what_it_runs_starts_it_again() {
    let what = bitten(Planted::WorkerForgets);
    assert!(what.contains("is started on worker") || what.contains("slots"), "{what}");
}

#[test]
fn a_result_that_nobody_worked_out_is_noticed() {
    let what = bitten(Planted::MadeUpResults);
    assert!(what.contains("nobody worked out"), "{what}");
}

#[test]
fn a_cut_that_outlasts_the_patience_of_the_master_is_noticed() {
    let what = bitten(Planted::LongCuts);
    assert!(what.contains("has cost an attempt"), "{what}");
}

#[test]
fn a_worker_that_takes_more_than_its_slots_is_noticed() {
    let what = bitten(Planted::TooManySlots);
    assert!(what.contains("slots"), "{what}");
}

#[test]
fn owners_that_forget_their_epochs_are_noticed() {
    let what = bitten(Planted::OldBoots);
    let laws = ["works at epoch", "follows an order", "not at home", "not ended"];
    assert!(laws.iter().any(|law| what.contains(law)), "{what}");
}

#[test]
fn a_disk_that_says_a_ledger_is_written_too_early_is_noticed() {
    let what = bitten(Planted::GroupDiskLies);
    let laws = ["lead in term", "another ledger", "does not fit", "not ended", "cannot go on", "though all is well"];
    assert!(laws.iter().any(|law| what.contains(law)), "{what}");
}

#[test]
fn a_loan_whose_end_the_ledger_never_hears_of_is_noticed() {
    let what = bitten(Planted::EndsLostOnTheWay);
    assert!(what.contains("though all is well") && what.contains("ledger"), "{what}");
}

#[test]
fn a_storm_of_lines_to_a_stranger_is_noticed() {
    let what = bitten(Planted::Storms);
    assert!(what.contains("has heard"), "{what}");
}

#[test]
fn workers_that_never_go_home_are_noticed() {
    let what = bitten(Planted::ReturnsLost);
    assert!(what.contains("not at home") || what.contains("workers lent"), "{what}");
}

#[test]
fn a_borrower_that_gets_nothing_while_others_feast_is_noticed() {
    let what = bitten(Planted::OneIsNotHeard);
    assert!(what.contains("of hunger"), "{what}");
}

/// The law that the first of many groups with this fault breaks.
fn bitten_in_group(planted: PlantedInGroup) -> String {
    let broken = (0..200).find_map(|seed| sim::run_planted_in_group(seed, planted).err());
    let broken = broken.unwrap_or_else(|| panic!("nobody noticed {planted:?}"));
    println!("{planted:?}: {broken}");
    broken.what
}

#[test]
fn a_disk_that_says_written_too_early_breaks_agreement() {
    let what = bitten_in_group(PlantedInGroup::DiskLies);
    let laws = ["lead in term", "another ledger", "was known before", "was made", "not well", "does not fit"];
    assert!(laws.iter().any(|law| what.contains(law)), "{what}");
}

#[test]
fn reads_that_no_majority_confirmed_are_noticed() {
    let what = bitten_in_group(PlantedInGroup::LocalReads);
    assert!(what.contains("a read of") && what.contains("was known before"), "{what}");
}

#[test]
fn holders_that_go_on_too_long_are_noticed() {
    let what = bitten_in_group(PlantedInGroup::LateHolders);
    assert!(what.contains("relies on grant"), "{what}");
}
