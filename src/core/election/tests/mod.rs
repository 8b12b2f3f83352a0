//! Proof of the engine: directed tests named after the paper, hostile letters, random weather, and a bounded search.

mod bench;
mod directed;
mod hostile;
mod random;
mod search;
mod snapshots;
