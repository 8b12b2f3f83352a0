//! The node.
use super::*;
use crate::time::Time;
use crate::wire::NodeEntry;

/// Placeholder until the machines stand.
#[derive(Clone, Debug)]
pub struct Node {}

impl Node {
    /// A node at the time `now`. `seed` is the only source of chance: same seed, same inputs, same outputs.
    pub fn new(_config: Config, _identity: Identity, _seed: u64, _now: Time) -> Result<Node, ConfigError> {
        todo!()
    }

    /// Takes one input.
    pub fn handle(&mut self, _input: Input, _now: Time) {
        todo!()
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// When to call `handle(Input::Tick)` at the latest.
    pub fn deadline(&self) -> Option<Time> {
        todo!()
    }

    /// The registry as `NODES` would tell it, in the order of keys.
    pub fn registry(&self, _now: Time) -> Vec<NodeEntry> {
        todo!()
    }

    /// The load as `LOAD` would tell it.
    pub fn load(&self) -> crate::wire::LoadAnswer {
        todo!()
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        todo!()
    }
}
