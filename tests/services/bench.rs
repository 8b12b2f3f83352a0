//! An executor under test, and programs to try it with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use mutirao::core::{Outcome, Run, RunId};
use mutirao::service::{Executor, ExecutorConfig, Report};
use mutirao::wire::{Attempt, JobId, Json, MAX_OUTPUT_BYTES, ServiceName, ServiceOffer, Stream};

use crate::support::{DEADLINE, wait_for};

/// Everything that an executor reports.
#[derive(Default)]
pub(crate) struct Reports {
    finished: Mutex<BTreeMap<RunId, Vec<Outcome>>>,
    printed: Mutex<Vec<(RunId, Stream, String)>>,
    offers: Mutex<Vec<Vec<String>>>,
    /// Something was printed by a run that had ended.
    is_late: AtomicBool,
}

impl Report for Reports {
    fn finished(&self, run: RunId, outcome: Outcome) {
        self.finished.lock().unwrap().entry(run).or_default().push(outcome);
    }

    fn printed(&self, run: RunId, stream: Stream, text: String) {
        assert!(!text.is_empty() && text.len() <= MAX_OUTPUT_BYTES);
        if self.finished.lock().unwrap().contains_key(&run) {
            self.is_late.store(true, Ordering::SeqCst);
        }
        self.printed.lock().unwrap().push((run, stream, text));
    }

    fn offers(&self, offers: Vec<ServiceOffer>) {
        assert!(offers.is_sorted());
        self.offers.lock().unwrap().push(offers.iter().map(|offer| offer.name.to_string()).collect());
    }
}

/// An executor, what it reports, and a directory for manifests.
pub(crate) struct Bench {
    pub(crate) executor: Option<Executor>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) place: tempfile::TempDir,
    pub(crate) next: AtomicU64,
}

impl Bench {
    pub(crate) fn with(config: ExecutorConfig) -> Bench {
        let reports = Arc::new(Reports::default());
        let executor = Executor::start(config, Arc::clone(&reports) as Arc<dyn Report>).unwrap();
        let place = tempfile::tempdir().unwrap();
        Bench { executor: Some(executor), reports, place, next: AtomicU64::new(1) }
    }

    pub(crate) fn builtin() -> Bench {
        Bench::with(ExecutorConfig::default())
    }

    pub(crate) fn shell() -> Bench {
        Bench::with(ExecutorConfig { allow_exec: true, ..ExecutorConfig::default() })
    }

    /// With these files in its directory, `NAME.toml` being manifests.
    pub(crate) fn programs(files: &[(&str, &str)]) -> Bench {
        let place = tempfile::tempdir().unwrap();
        files.iter().for_each(|(file, text)| put(place.path(), file, text));
        let rescan = Duration::from_millis(20);
        let directory = Some(place.path().to_owned());
        let mut bench = Bench::with(ExecutorConfig { directory, rescan, ..ExecutorConfig::default() });
        bench.place = place;
        bench
    }

    pub(crate) fn executor(&self) -> &Executor {
        self.executor.as_ref().unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        put(self.place.path(), name, text);
    }

    /// What a file holds, once a program has written a whole line to it.
    pub(crate) fn line_of(&self, name: &str) -> String {
        wait_for(name, || {
            let text = fs::read_to_string(self.file(name)).unwrap_or_default();
            text.strip_suffix('\n').map(str::to_owned)
        })
    }

    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.file(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    pub(crate) fn begin(&self, what: &str, params: Value, timeout: Duration) -> RunId {
        let (service, method) = what.split_once('.').unwrap();
        let run = RunId(self.next.fetch_add(1, Ordering::SeqCst));
        let name = |text| ServiceName::new(text).unwrap();
        let attempt = Attempt { job_id: JobId::new(format!("test-1-{}", run.0)).unwrap(), attempt: 2 };
        let (service, method, params) = (name(service), name(method), Json::of(&params));
        let started = Instant::now();
        self.executor().run(Run { run, service, method, params, timeout, attempt: Some(attempt), output: true });
        assert!(started.elapsed() < Duration::from_secs(1), "run returns at once");
        run
    }

    pub(crate) fn ended(&self, run: RunId) -> Option<Outcome> {
        self.reports.finished.lock().unwrap().get(&run).map(|outcomes| outcomes[0].clone())
    }

    pub(crate) fn end_of(&self, run: RunId) -> Outcome {
        wait_for(&format!("the end of {run:?}"), || self.ended(run))
    }

    pub(crate) fn call(&self, what: &str, params: Value) -> Outcome {
        self.end_of(self.begin(what, params, DEADLINE))
    }

    pub(crate) fn ok(&self, what: &str, params: Value) -> Value {
        match self.call(what, params) {
            Outcome::Ok(result) => result.value(),
            failed => panic!("{what}: {failed:?}"),
        }
    }

    pub(crate) fn printed(&self, run: RunId, stream: Stream) -> String {
        let printed = self.reports.printed.lock().unwrap();
        printed.iter().filter(|(of, on, _)| (*of, *on) == (run, stream)).map(|(_, _, text)| text.as_str()).collect()
    }

    pub(crate) fn offers(&self) -> Vec<String> {
        self.reports.offers.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) fn finish(&mut self, grace: Duration) {
        self.executor.take().unwrap().finish(grace);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.executor.take());
        if std::thread::panicking() {
            return;
        }
        let finished = self.reports.finished.lock().unwrap();
        for run in (1..self.next.load(Ordering::SeqCst)).map(RunId) {
            let ends = finished.get(&run).map_or(0, Vec::len);
            assert_eq!(ends, 1, "{run:?} has {ends} ends: {finished:?}");
        }
        assert!(!self.reports.is_late.load(Ordering::SeqCst), "something was printed after the end of its run");
    }
}

pub(crate) fn put(place: &Path, name: &str, text: &str) {
    // In one step, so that no look meets half a file.
    let half = place.join(format!(".{name}.new"));
    fs::write(&half, text).unwrap();
    fs::rename(half, place.join(name)).unwrap();
}

pub(crate) fn failed(outcome: Outcome) -> (String, Option<Value>, bool) {
    match outcome {
        Outcome::Failed { detail, result, retry } => (detail, result.map(|result| result.value()), retry),
        Outcome::Ok(result) => panic!("expected a failure, got {result}"),
    }
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A manifest of the program `run.sh`.
pub(crate) fn manifest(name: &str, more: &str) -> String {
    format!("name = \"{name}\"\ncommand = [\"sh\", \"run.sh\"]\nmethods = [\"run\", \"ping\"]\n{more}\n")
}

/// A program in shell that reads requests; `body` has `$id` and `$line`, and `answer JSON`.
pub(crate) fn program(body: &str) -> String {
    format!(
        "echo $$ >> pids\nanswer() {{ printf '{{\"ID\":\"%s\",\"RESULT\":%s}}\\n' \"$id\" \"$1\"; }}\n\
         while IFS= read -r line; do\nid=${{line#*:\\\"}}; id=${{id%%\\\"*}}\n{body}\ndone\necho closed >> ends\n"
    )
}

pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Whether a process of this number lives and is no zombie.
#[cfg(target_os = "linux")]
pub(crate) fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}
