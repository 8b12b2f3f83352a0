//! The shell: event loop, connections, clock and threads around the core.

use std::io;
use std::net::SocketAddr;

use crate::core::{Config, ConfigError, Identity};
use crate::store::Writer;
use crate::wire::{DialectMemory, Event, LoadAnswer, NodeEntry};

/// What a running node is made from.
pub struct Settings {
    /// The settings of the core. `bind` is the listener's address.
    pub config: Config,
    /// Who this node is.
    pub identity: Identity,
    /// Seed of the core's chance (jitter).
    pub seed: u64,
    /// What peers speak, as far as it is known at the start.
    pub dialects: DialectMemory,
    /// Where news of dialects are stored; `None` with `--ephemeral`.
    pub writer: Option<Writer>,
}

/// Who is shown what the node does. Called on the event loop: must never block.
pub trait Watcher {
    /// Every interval: the registry, as `NODES` would tell it, and the load of this node.
    fn registry(&mut self, identity: &Identity, load: &LoadAnswer, nodes: &[NodeEntry]);
    /// When something happened.
    fn event(&mut self, event: &Event);
}

/// A bound listening socket.
pub struct Listener {}

impl Listener {
    /// Binds and listens. Port 0 takes any free port.
    pub fn bind(_address: SocketAddr) -> Result<Listener, BindError> {
        todo!()
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }
}

/// Why the node cannot listen. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port. The operator picks another or stops the other process.
    #[error("port taken: another process listens on {0}")]
    Taken(SocketAddr),
    /// The address is not one of this machine's, or not allowed.
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, io::Error),
}

/// Why a node ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system refused something that the loop cannot do without.
    #[error("event loop: {0}")]
    Io(#[from] io::Error),
}

/// Runs a node until it is told to stop by a signal.
pub fn run(_listener: Listener, _settings: Settings, _watcher: &mut dyn Watcher) -> Result<(), RunError> {
    todo!()
}
