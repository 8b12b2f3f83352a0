//! `node simulate`: many simulated clusters and farms under faults, each from a seed of its own.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::exit;
use super::values::Span;
use crate::sim;

/// Seeds between two lines of progress.
const PROGRESS_EVERY: u64 = 1000;

/// Which worlds are run.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Worlds {
    /// What the registries of masters say under faults
    Registry,
    /// What becomes of jobs under faults
    Farm,
    /// That short cuts start nothing twice
    Cuts,
    /// What groups of masters agree on under faults
    Group,
    /// What becomes of jobs and workers where masters lend workers to each other
    Loans,
    /// Each seed in all of them
    All,
}

/// Options of `node simulate`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct SimulateArgs {
    /// How many seeds to run
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// The first seed; the others follow it
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Begin no further seed after this time
    #[arg(long, value_name = "SECONDS")]
    within: Option<Span>,

    /// Which worlds to run
    #[arg(long, value_name = "WORLD", value_enum, default_value_t = Worlds::All)]
    world: Worlds,

    /// Print what every simulated node logs, by its own clock: for the one seed that broke a law
    #[arg(long)]
    log: bool,
}

/// Runs the simulations and prints what they came to. A broken law ends them, with the seed that replays it.
pub(super) fn run(args: &SimulateArgs) -> ExitCode {
    let begun = Instant::now();
    if args.log {
        // Another logger can only be there where this is not the program but a part of one.
        let _: Result<(), log::SetLoggerError> = env_logger::Builder::new()
            .filter_module(sim::LOG_TARGET, log::LevelFilter::Debug)
            .format(|out, record| writeln!(out, "{}", record.args()))
            .try_init();
    }
    let within = args.within.map(|within| within.0);
    let kinds: &[sim::Kind] = match args.world {
        Worlds::Registry => &[sim::Kind::Registry],
        Worlds::Farm => &[sim::Kind::Farm],
        Worlds::Cuts => &[sim::Kind::Cuts],
        Worlds::Group => &[sim::Kind::Group],
        Worlds::Loans => &[sim::Kind::Loans],
        Worlds::All => &sim::Kind::ALL,
    };
    let mut total = sim::Tally::default();
    let mut next = args.seed;
    let end = args.seed.saturating_add(args.seeds);
    while next < end {
        let rest = within.map(|within| within.saturating_sub(begun.elapsed()));
        if rest == Some(Duration::ZERO) {
            break;
        }
        let part = match sim::run_many(kinds, next, PROGRESS_EVERY.min(end - next), rest) {
            Ok(part) => part,
            Err(failure) => {
                eprintln!("error: a law was broken: {failure}");
                return ExitCode::from(exit::FAILURE);
            }
        };
        // A seed that the time cut short counts as reached: some of its worlds were run.
        next += part.runs.div_ceil(kinds.len() as u64);
        total += part;
        if next < end {
            eprintln!("seeds {} to {}: no law broken", args.seed, next.saturating_sub(1));
        }
    }
    let sim::Tally {
        runs,
        steps,
        faults,
        crashes,
        timeouts,
        jobs,
        attempts,
        failed_writes,
        cuts,
        lost,
        leaders,
        loans,
        strange,
        adopted,
        feasts,
        agreed,
        healed_ms,
    } = total;
    println!(
        "seeds {} to {}: {runs} worlds, {steps} steps, {faults} faults: {crashes} crashes, {cuts} cuts, {failed_writes} \
         failed writes; {jobs} jobs in {attempts} attempts, {timeouts} lawful timeouts; {loans} workers lent, {strange} to or \
         by strangers, {adopted} adopted, shared fairly in {feasts} worlds of feasts; {agreed} settings and \
         leases agreed on under {leaders} leaders, {lost} data directories \
         lost, well again within {healed_ms} ms, {:.1} s: no law broken",
        args.seed,
        next.saturating_sub(1),
        begun.elapsed().as_secs_f64()
    );
    ExitCode::from(exit::OK)
}
