//! The shell: event loop, connections, clock and threads around the core.
//!
//! One thread does everything but measuring the machine, looking up names, writing files and running services. It reads sockets, hands
//! what the edges decode to the core, carries out what the core wants, and writes. Nothing in it blocks.
//!
//! ```text
//!   mod         what the command line sees: Listener, Settings, Watcher, run, start
//!   reactor     the loop: wait, read, fire timers, write         drive     core's outputs carried out
//!   traffic     bytes of one connection: read, decode, write     life      connections begin and end
//!   connection, connections, outbox      what is known of them   dialer, resolver, listener, sampler, mailbox
//!   durable     what the stores are to the loop                  execution what the services are to it
//!   udp         discovery                                        hearing   what others tell, handed on
//!   talk        what runs print, at the pace of links            stopping  the end
//!   limits      every bound and its reason                       os        what differs between systems
//!   lookout     when it looks out before it sleeps        supervisor the reports of a master, on a thread of their own
//! ```

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use crate::core::{AgreementConfig, Config, ConfigError, GroupStanding, Identity, LoanConfig, StoredGroup, StoredJob};
use crate::store::Writer;
use crate::wire::{DialectMemory, Event, LoadAnswer, NodeEntry};

mod clock;
mod connection;
mod connections;
mod dialer;
mod drive;
mod durable;
mod execution;
mod hearing;
mod life;
mod limits;
mod listener;
mod lookout;
mod mailbox;
mod os;
mod outbox;
mod reactor;
mod resolver;
mod sampler;
mod stopping;
mod supervisor;
mod talk;
mod timers;
mod tokens;
mod traffic;
mod udp;

#[cfg(test)]
mod tests;

pub use durable::{GroupAtRest, GroupLog, GroupNote, Jobs, JobsAtRest, StoreNote, TellGroup, TellStored};
pub use execution::{Services, ServicesAtRest};
pub use listener::Listener;
pub use supervisor::{Supervisor, Tls, TlsError};
pub use udp::{DISCOVERY_PORT, Discovery};

use reactor::Reactor;

/// Target of what the shell and the core log. Under the name of the library, so that one setting of the log covers all.
const LOG: &str = "mutirao::node";

/// Now, by the clock that counts suspension where there is one: what other processes of this machine read as well.
#[cfg(unix)]
pub(crate) fn now() -> crate::time::Time {
    os::now()
}

/// Whether a signal was ignored when this process started, as `nohup` and shells do: then it stays so.
#[cfg(unix)]
pub(crate) fn is_ignored(signal: i32) -> bool {
    os::is_ignored(signal)
}

/// What a running node is made from.
pub struct Settings {
    /// The settings of the core. `bind` is replaced by the listener's address, `supervisor` by that of the one below.
    pub config: Config,
    /// Who this node is.
    pub identity: Identity,
    /// Seed of the core's chance (jitter).
    pub seed: u64,
    /// What peers speak, as far as it is known at the start.
    pub dialects: DialectMemory,
    /// Where news of dialects are stored; `None` with `--ephemeral`.
    pub writer: Option<Writer>,
    /// How often this node was started with this identity, this time included: never the same twice. 1 where nothing is
    /// kept.
    pub boot: u32,
    /// The jobs of its last run, in the order of their numbers.
    pub stored: Vec<StoredJob>,
    /// Where jobs are stored. `None` where the core is told to keep them in memory.
    pub jobs: Option<Box<dyn JobsAtRest>>,
    /// What was found of its group; `None`: a worker, or nothing was looked for.
    pub stored_group: Option<StoredGroup>,
    /// Where the state of its group is stored. `None`: nowhere, and the node takes part in none.
    pub group: Option<Box<dyn GroupAtRest>>,
    /// How the masters of the group agree.
    pub agreement: AgreementConfig,
    /// How it lends and borrows workers; `None`: a worker, or a master that does neither.
    pub loans: Option<LoanConfig>,
    /// What nobody can guess, from the operating system: keys and challenges of the group are drawn from it.
    pub entropy: [u8; 32],
    /// Who runs services here. `None`: none are run.
    pub services: Option<Box<dyn ServicesAtRest>>,
    /// A master that answers discovery, or a worker that asks. `None`: neither.
    pub discovery: Option<Discovery>,
    /// Who gets the reports of a master. `None`: a worker, or nobody does.
    pub supervisor: Option<Supervisor>,
}

impl Settings {
    /// A node that keeps nothing on disk, runs no services and discovers nobody.
    pub fn new(config: Config, identity: Identity, seed: u64) -> Settings {
        Settings {
            config,
            identity,
            seed,
            dialects: DialectMemory::default(),
            writer: None,
            boot: 1,
            stored: Vec::new(),
            jobs: None,
            stored_group: None,
            group: None,
            agreement: AgreementConfig::default(),
            loans: None,
            entropy: [0; 32],
            services: None,
            discovery: None,
            supervisor: None,
        }
    }
}

/// Who is shown what the node does. Called on the event loop: must never block.
pub trait Watcher {
    /// The registry, as `NODES` would tell it, and the load of this node. First after one interval, at most a
    /// second, then every interval.
    ///
    /// `group`: what this node is in its group; `None` where it takes no part in agreement.
    fn registry(&mut self, identity: &Identity, load: &LoadAnswer, group: Option<GroupStanding>, nodes: &[NodeEntry]);
    /// When something happened.
    fn event(&mut self, event: &Event);
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
    /// What is stored of the group contradicts itself.
    #[error("what is stored of the group cannot be used: {0}; --fresh discards it, and this node joins anew")]
    Group(String),
    /// The operating system refused something that the loop cannot do without.
    #[error("event loop: {0}")]
    Io(#[from] io::Error),
}

/// How a node that was told to stop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Peers were told goodbye and open answers were written, as far as 800 ms allowed. A worker had its grace before.
    Graceful,
    /// It was told twice, and dropped everything.
    Forced,
}

/// Runs a node until it is told to stop by SIGINT, SIGTERM, SIGHUP or Ctrl-C. A second one ends it at once.
///
/// # Errors
/// [`RunError::Config`] if the settings do not fit together, [`RunError::Io`] if the operating system refuses what
/// the loop cannot do without. The node has ended in both cases.
pub fn run(listener: Listener, settings: Settings, watcher: &mut dyn Watcher) -> Result<Stop, RunError> {
    let mut reactor = Reactor::new(listener, settings)?;
    reactor.watch_signals()?;
    reactor.run(watcher)
}

/// Runs a node on a thread of its own until it is told to stop by [`Running::stop`]. It minds no signals. For tests,
/// benchmarks and programs that have a node inside.
///
/// # Errors
/// As [`run`]; what fails later is told by [`Running::join`].
pub fn start(
    listener: Listener,
    settings: Settings,
    mut watcher: impl Watcher + Send + 'static,
) -> Result<Running, RunError> {
    let address = listener.local_addr();
    let reactor = Reactor::new(listener, settings)?;
    let stopper = reactor.stopper();
    let thread = thread::Builder::new().name("node".into()).spawn(move || reactor.run(&mut watcher))?;
    Ok(Running { address, stopper, thread: Some(thread) })
}

/// A node on a thread of its own. Dropping it asks the node to stop and does not wait.
pub struct Running {
    address: SocketAddr,
    stopper: mailbox::Stopper,
    thread: Option<JoinHandle<Result<Stop, RunError>>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it to stop, as a signal would: the first time gently, the second time at once.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Waits until it has ended. A panic of its thread goes on here.
    ///
    /// # Errors
    /// As [`run`].
    pub fn join(mut self) -> Result<Stop, RunError> {
        let thread = self.thread.take().expect("only join takes the thread, and it takes self");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stopper.stop();
        }
    }
}
