//! The simulator in CI: time-boxed, prints what it reached, replays one seed from the environment.
//!
//! `MUTIRAO_SIM_SEED=7 cargo test --test simulation` runs that seed alone; `MUTIRAO_SIM_SECONDS` sets the time box.

use std::time::Duration;

use mutirao::sim;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn clusters_keep_the_laws_of_the_registry_under_faults() {
    if let Some(seed) = from_env("MUTIRAO_SIM_SEED") {
        println!("{:?}", sim::run(seed).unwrap_or_else(|failure| panic!("{failure}")));
        return;
    }
    let within = Duration::from_secs(from_env("MUTIRAO_SIM_SECONDS").unwrap_or(15));
    let summary = sim::run_many(0, u64::MAX, Some(within)).unwrap_or_else(|failure| panic!("{failure}"));
    println!("seeds 0 to {}: {summary:?}", summary.seeds - 1);
    assert!(summary.faults > summary.seeds, "worlds without faults prove little");
    assert!(summary.timeouts > 0, "nobody was ever lost");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    for seed in [1, 2, 3] {
        assert_eq!(sim::run(seed), sim::run(seed));
    }
    assert_ne!(sim::run(1).unwrap().trace, sim::run(2).unwrap().trace);
}
