//! A farm of real processes: a master that keeps its jobs on disk, and workers.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Client, Line};
use super::ports::free_port;
use super::process::{NodeProcess, Process, command};
use super::wait::{DEADLINE, wait_for, wait_until};

/// A master with a state directory of its own.
pub(crate) struct Master {
    /// Its process.
    pub(crate) node: NodeProcess,
    options: Vec<String>,
    directory: TempDir,
}

impl Master {
    /// Starts one with these options beside the usual ones.
    pub(crate) fn start(options: &[&str]) -> Master {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let node = Master::run(free_port(), directory.path(), &options);
        Master { node, options, directory }
    }

    fn run(port: u16, directory: &Path, options: &[String]) -> NodeProcess {
        let directory = directory.to_str().expect("temporary directories have plain names");
        let mut all = vec!["--data-dir", directory, "--cpu-threshold", "0"];
        if !options.iter().any(|option| option == "--name") {
            all.extend(["--name", "alpha"]);
        }
        all.extend(options.iter().map(String::as_str));
        NodeProcess::start_on(port, &all)
    }

    /// Where its state is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `kill -9`, and a new process on the same state.
    pub(crate) fn crash(&mut self) {
        self.node.process.kill();
        self.node = Master::run(self.node.port, self.directory.path(), &self.options);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.node.address()
    }

    /// The answer to one request.
    pub(crate) fn ask(&self, request: &Value) -> Value {
        self.node.ask(&request.to_string())
    }

    /// The answer to one request; `None` where the connection broke.
    pub(crate) fn try_ask(port: u16, request: &Value) -> Option<Value> {
        let mut client = Client::connect(port).ok()?;
        client.send(format!("{request}\n").as_bytes()).ok()?;
        match client.line_within(DEADLINE) {
            Line::Text(text) => serde_json::from_str(&text).ok(),
            Line::Closed | Line::Nothing => None,
        }
    }

    /// Submits a job and returns its id.
    pub(crate) fn submit(&self, service: &str, params: Value) -> String {
        let answer = self.ask(&json!({"TASK": "SUBMIT", "SERVICE": service, "PARAMS": params}));
        assert_eq!(answer["RESPONSE"], "OK", "{answer}");
        answer["JOB_ID"].as_str().expect("an accepted job has an id").to_owned()
    }

    /// The end of a job.
    pub(crate) fn result(&self, job: &str) -> Value {
        let wait = u64::try_from(DEADLINE.as_millis()).expect("some seconds");
        let answer = self.ask(&json!({"TASK": "RESULT", "JOB_ID": job, "WAIT_MS": wait}));
        assert_eq!(answer["RESPONSE"], "OK", "{answer}");
        answer
    }

    /// How many jobs have this status.
    pub(crate) fn count(&self, status: &str) -> u64 {
        let answer = self.ask(&json!({"TASK": "JOBS"}));
        answer[status].as_u64().unwrap_or_else(|| panic!("no {status} in {answer}"))
    }

    /// The worker of this name, if the master has it.
    pub(crate) fn worker(&self, name: &str) -> Option<Value> {
        let answer = self.ask(&json!({"TASK": "WORKERS"}));
        let workers = answer["WORKERS"].as_array().unwrap_or_else(|| panic!("no WORKERS in {answer}")).clone();
        workers.into_iter().find(|worker| worker["NAME"] == name)
    }

    /// Waits until a worker of this name has this status.
    pub(crate) fn wait_worker(&self, name: &str, status: &str) {
        wait_until(&format!("worker {name} to be {status}"), || {
            self.worker(name).is_some_and(|worker| worker["STATUS"] == status)
        });
    }
}

/// The command of a worker of this master.
pub(crate) fn worker_command(master: &str, name: &str, options: &[&str]) -> Command {
    let mut all = vec!["worker", "--master", master, "--name", name, "--port", "0", "--ephemeral"];
    all.extend(options);
    command(all)
}

/// A worker of this master, once the master has it.
pub(crate) fn worker(master: &Master, name: &str, options: &[&str]) -> Process {
    let process = Process::spawn(&mut worker_command(&master.address(), name, options));
    wait_for(&format!("worker {name} to join"), || master.worker(name).filter(|worker| worker["STATUS"] == "IDLE"));
    process
}
