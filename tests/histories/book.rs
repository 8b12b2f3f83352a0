//! What is written down while clients call: one history for each setting and each lease.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::check::{Call, Checked};
use super::lease::{self, check_lease};
use super::register::{self, check_setting};

/// The histories of a run, and what clients share while they make them.
#[derive(Default)]
pub(crate) struct Book {
    clock: AtomicU64,
    values: AtomicU64,
    settings: Mutex<BTreeMap<&'static str, Vec<register::Seen>>>,
    leases: Mutex<BTreeMap<&'static str, Vec<lease::Seen>>>,
    orphans: Mutex<BTreeSet<String>>,
    /// How often each answer came.
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Book {
    /// The next instant.
    pub(crate) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// A number that was never given before.
    pub(crate) fn unique(&self) -> u64 {
        self.values.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn setting(&self, name: &'static str, call: register::Seen) {
        self.settings.lock().expect("no holder panics").entry(name).or_default().push(call);
    }

    pub(crate) fn lease(&self, name: &'static str, call: lease::Seen) {
        self.leases.lock().expect("no holder panics").entry(name).or_default().push(call);
    }

    /// This holder may hold a lease and does not know it: whoever finds it may release it.
    pub(crate) fn orphan(&self, holder: &str) {
        self.orphans.lock().expect("no holder panics").insert(holder.to_owned());
    }

    pub(crate) fn is_orphan(&self, holder: &str) -> bool {
        self.orphans.lock().expect("no holder panics").contains(holder)
    }

    /// Counts an answer.
    pub(crate) fn count(&self, answer: &str) {
        *self.answers.lock().expect("no holder panics").entry(answer.to_owned()).or_default() += 1;
    }

    /// How often this answer came.
    pub(crate) fn counted(&self, answer: &str) -> u64 {
        self.answers.lock().expect("no holder panics").get(answer).copied().unwrap_or(0)
    }

    /// The answers and how often each came.
    pub(crate) fn answers(&self) -> String {
        let answers = self.answers.lock().expect("no holder panics");
        let words: Vec<String> = answers.iter().map(|(answer, count)| format!("{answer} {count}")).collect();
        words.join(", ")
    }

    /// Checks all histories. The error shows the first window that is not linearizable.
    pub(crate) fn check(self) -> Result<Checked, String> {
        let mut all = Checked::default();
        for (name, calls) in self.settings.into_inner().expect("no holder panics") {
            all.add(check_setting(calls).map_err(|error| format!("the setting {name}: {error}"))?);
        }
        for (name, calls) in self.leases.into_inner().expect("no holder panics") {
            all.add(check_lease(calls).map_err(|error| format!("the lease {name}: {error}"))?);
        }
        Ok(all)
    }
}

/// A call that was answered, or was not.
pub(crate) fn call<O, R>(client: usize, op: O, begun: u64, answer: Option<(u64, R)>) -> Call<O, R> {
    Call { client: Some(client), op, begun, answer }
}
