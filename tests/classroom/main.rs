//! The classroom's cycle with workers and masters of every generation from the seed to 2026/1: our node is a real process,
//! the other side is played by the test, as faithful as course-protocol.md and the recordings tell it.

mod discovery;
mod loans;
mod masters;
#[path = "../support/mod.rs"]
mod support;
mod traps;
mod workers;

use serde_json::{Value, json};

use support::farm::Master;
use support::wait_until;

/// Submits a job of the classroom for this user.
fn submit(master: &Master, user: Value) -> String {
    master.submit("query", json!({ "USER": user }))
}

/// Waits until a line of the log holds all of these.
fn wait_log(process: &support::process::Process, words: &[&str]) {
    wait_until(&format!("{words:?} in one line of the log"), || {
        process.stderr.lines().iter().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

/// `WORKER` `ALIVE` of a local worker.
fn alive(worker: &str) -> Value {
    json!({"WORKER": "ALIVE", "WORKER_UUID": worker})
}

/// `STATUS` of a task.
fn status(word: &str, worker: &str) -> Value {
    json!({"STATUS": word, "TASK": "QUERY", "WORKER_UUID": worker})
}
