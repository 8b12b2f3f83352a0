//! A virtual executor: what a worker starts takes its time, and ends well or not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::FarmPlan;
use crate::core::{Outcome, Run, RunId};
use crate::sim::plan::Dice;
use crate::wire::Json;

/// How long the end of a run that is stopped may take: it is asked first, and made after two seconds.
const STOPPING: Duration = Duration::from_secs(2);

/// Something that runs.
#[derive(Clone, Debug)]
struct Running {
    outcome: Outcome,
    /// Which result it works out, and for whom.
    made: Made,
    stopped: bool,
}

/// A result that was truly worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// No other has it.
    pub(super) serial: u64,
    /// The key of the job.
    pub(super) key: String,
}

impl Made {
    /// As it stands in RESULT.
    pub(super) fn json(&self) -> Json {
        Json::of(&serde_json::json!({ "SERIAL": self.serial, "KEY": self.key }))
    }
}

/// The executor of a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Executor {
    runs: BTreeMap<RunId, Running>,
}

impl Executor {
    /// Starts a run, which would work out `made`. When it will end.
    pub(super) fn start(&mut self, run: &Run, made: Made, plan: &FarmPlan, dice: &mut Dice) -> Duration {
        let mut takes = dice.duration(plan.run_least, plan.run_most);
        let mut outcome = if !dice.chance(plan.failing) {
            Outcome::Ok(made.json())
        } else {
            let retry = dice.chance(80);
            let result = (!retry).then(|| made.json());
            Outcome::Failed { detail: format!("failed, {}", made.serial), result, retry }
        };
        if takes > run.timeout {
            takes = run.timeout;
            outcome = Outcome::Failed { detail: "its time is up".to_owned(), result: None, retry: true };
        }
        self.runs.insert(run.run, Running { outcome, made, stopped: false });
        takes
    }

    /// Stops a run. When it will end, unless it ends before.
    pub(super) fn stop(&mut self, run: RunId, dice: &mut Dice) -> Option<Duration> {
        let running = self.runs.get_mut(&run)?;
        running.stopped = true;
        if !dice.chance(20) {
            let detail = "it was stopped".to_owned();
            running.outcome = Outcome::Failed { detail, result: None, retry: true };
        }
        Some(dice.duration(Duration::ZERO, STOPPING))
    }

    /// A run ends, if it has not ended yet: how, and what it has worked out.
    pub(super) fn end(&mut self, run: RunId) -> Option<(Outcome, Made)> {
        self.runs.remove(&run).map(|running| (running.outcome, running.made))
    }

    /// All that runs dies.
    pub(super) fn crash(&mut self) {
        self.runs.clear();
    }

    /// Those that run and were not told to stop.
    pub(super) fn unstopped(&self) -> impl Iterator<Item = RunId> {
        self.runs.iter().filter(|(_, running)| !running.stopped).map(|(run, _)| *run)
    }

    /// How many run and were not told to stop.
    pub(super) fn busy(&self) -> usize {
        self.runs.values().filter(|running| !running.stopped).count()
    }
}
