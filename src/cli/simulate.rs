//! `node simulate`: many simulated clusters under faults, each from a seed of its own.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::exit;
use super::values::Span;
use crate::sim;

/// Seeds between two lines of progress.
const PROGRESS_EVERY: u64 = 1000;

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
}

/// Runs the simulations and prints what they came to. A broken law ends them, with the seed that replays it.
pub(super) fn run(args: &SimulateArgs) -> ExitCode {
    let begun = Instant::now();
    let within = args.within.map(|within| within.0);
    let mut total = sim::Summary::default();
    let mut next = args.seed;
    while total.seeds < args.seeds {
        let rest = within.map(|within| within.saturating_sub(begun.elapsed()));
        if rest == Some(Duration::ZERO) {
            break;
        }
        let part = match sim::run_many(next, PROGRESS_EVERY.min(args.seeds - total.seeds), rest) {
            Ok(part) => part,
            Err(failure) => {
                eprintln!("error: a law was broken: {failure}");
                return ExitCode::from(exit::FAILURE);
            }
        };
        next += part.seeds;
        total = sim::Summary {
            seeds: total.seeds + part.seeds,
            steps: total.steps + part.steps,
            faults: total.faults + part.faults,
            timeouts: total.timeouts + part.timeouts,
        };
        if total.seeds < args.seeds {
            eprintln!("seeds {} to {}: no law broken", args.seed, next - 1);
        }
    }
    println!(
        "{} seeds ({} to {}), {} steps, {} faults, {} lawful timeouts, {:.1} s: no law broken",
        total.seeds,
        args.seed,
        next.saturating_sub(1),
        total.steps,
        total.faults,
        total.timeouts,
        begun.elapsed().as_secs_f64()
    );
    ExitCode::from(exit::OK)
}
