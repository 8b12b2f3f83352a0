//! `node cluster`: masters and workers as processes of this program on this machine, and jobs that saturate the first master; `node demo`:
//! the same as a guided tour.
//!
//! ```text
//!   node cluster, node demo
//!       │   plan      who is started with which options            stage     starts, kills, hears and ends them all
//!       │   look      how a master stands; its events              jobs      what is submitted, and who did it
//!       │   story     which phases of a loan were seen             merge     what they all tell, in the order of its time
//!       │   paint     lines for people                             tour      captions: what `node demo` shows of all this
//!       v
//!   m1, m2, ..., w1, w2, ...     child: a process, its log;  tied: it dies with this one, whatever kills this one
//! ```

mod child;
mod jobs;
mod look;
mod merge;
mod paint;
mod plan;
mod stage;
mod story;
pub(super) mod tied;
mod tour;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::exit;
use super::values::{self, Span};
use plan::{Kill, Plan};

/// Options of `node cluster`.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ClusterArgs {
    /// Masters, which know each other
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=9))]
    masters: u32,

    /// Workers of each master
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    workers: u32,

    /// Jobs for the first master
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    jobs: u32,

    /// How long each job takes
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    job_ms: u64,

    /// Kill (as kill -9) this node so long after the jobs have come; repeat it for more
    #[arg(long, value_name = "NAME@SECONDS")]
    kill: Vec<Kill>,

    /// Port of the first master; the others have those that follow [default: free ones]
    #[arg(long, value_name = "PORT", value_parser = values::parse_port)]
    port: Option<u16>,

    /// Keep the state and the logs of all nodes in this directory, a new or an empty one [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    keep_dir: Option<PathBuf>,

    /// End so long after the jobs have come, even if not all is done
    #[arg(long = "for", value_name = "SECONDS")]
    limit: Option<Span>,
}

const EXAMPLES: &str = "\
Examples:
  node cluster
  node cluster --masters 3 --workers 2 --jobs 500
  node cluster --kill m2@2                     the lender dies
  node cluster --kill w4@1 --kill w1@2         a lent worker, and one at home
  node cluster --jobs 5000 --port 9101         time enough to ask by netcat:
    node loans 127.0.0.1:9101 --follow
    printf '{\"TASK\":\"LOANS\"}\\n' | nc 127.0.0.1 9101

Masters are m1, m2, ..., workers w1, w2, ...: with --workers 3, m1 has w1 to w3
and m2 has w4 to w6. Shown are their logs, each line with the seconds since the
start and the node, ids as names, and without the jobs that ended well; between
them how each master stands, whenever that has changed. The whole logs are in
the directory of --keep-dir, a file a node.

It ends when all jobs have ended and all workers are at home, with 0 if all jobs
ended OK, and with 1 otherwise. All nodes end with it, also when it is killed.";

/// Runs a cluster and shows what happens in it.
pub(super) fn run(args: &ClusterArgs) -> ExitCode {
    let plan = match Plan::new(args) {
        Ok(plan) => plan,
        Err(what) => {
            eprintln!("error: {what}");
            return ExitCode::from(exit::USAGE);
        }
    };
    stage::run(plan, &mut paint::Everything::here())
}

/// Runs the guided tour.
pub(super) fn demo() -> ExitCode {
    stage::run(Plan::of_the_tour(), &mut tour::Tour::here())
}

/// How long a thing took, for people: `0.31 s`.
fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
