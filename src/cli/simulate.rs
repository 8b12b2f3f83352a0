//! `node simulate`: many simulated clusters under faults, each from a seed of its own.

use std::process::ExitCode;

use clap::Args;

use super::exit;

/// Options of `node simulate`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct SimulateArgs {
    /// How many seeds to run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// The first seed; the others follow it
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// Steps of each simulation; the simulator's own choice if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
}

/// Runs `simulate` and prints its report. An `Err` of it is a broken law, with the seed that shows it.
pub fn run(args: &SimulateArgs, simulate: impl FnOnce(&SimulateArgs) -> Result<String, String>) -> ExitCode {
    match simulate(args) {
        Ok(report) => {
            println!("{report}");
            ExitCode::from(exit::OK)
        }
        Err(broken) => {
            eprintln!("error: {broken}");
            ExitCode::from(exit::FAILURE)
        }
    }
}
