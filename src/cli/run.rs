//! `node` without a subcommand: runs a node.
//!
//! The order at the start matters. The port first: if another node has it, its state is not even looked at. Then the
//! state, whose place depends on the port that was got. Then the announcement: who reads it can talk to the node.

use std::net::SocketAddr;
use std::process::ExitCode;

use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use super::config_file;
use super::console::Console;
use super::exit;
use super::options::{OptionError, Options, RunArgs, StatePlace};
use super::table::age_text;
use crate::core::{Identity, StoredGroup};
use crate::net::{
    self, BindError, Discovery, GroupAtRest, JobsAtRest, Listener, RunError, Settings, Stop, Supervisor, Tls, TlsError,
};
use crate::service::{ExecutorConfig, System};
use crate::store::group::{self, GroupStore};
use crate::store::jobs::{JobStore, Recovered};
use crate::store::{StateDir, StateError, Writer, default_base};
use crate::wire::{Address, Dialect, DialectMemory, Durability, ServerId};

/// Threads of a worker for calls, beside those for its slots.
const CALL_THREADS: usize = 64;

/// Why no node ran, or why it ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Options(OptionError),
    #[error("{0}; pick another --port, or stop that process")]
    PortTaken(BindError),
    #[error("{0}")]
    Bind(BindError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("discovery: {0}; pick another UDP port with --discovery PORT")]
    Discovery(BindError),
    #[error("the console cannot be started: {0}")]
    Console(std::io::Error),
    #[error("the operating system gives no random bytes, without which no key can be made")]
    NoEntropy,
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Options(_) | Failure::Run(RunError::Config(_)) => exit::USAGE,
            Failure::PortTaken(_) => exit::PORT_TAKEN,
            Failure::State(StateError::InUse { .. }) => exit::STATE_IN_USE,
            Failure::State(_) | Failure::Run(RunError::Group(_)) => exit::STATE_UNUSABLE,
            Failure::NoEntropy
            | Failure::Bind(_)
            | Failure::Discovery(_)
            | Failure::Run(RunError::Io(_))
            | Failure::Console(_) => exit::FAILURE,
        }
    }
}

/// Runs a node until it is told to stop.
pub(super) fn run(args: RunArgs) -> ExitCode {
    end(options(args).and_then(|options| run_node(&options)))
}

/// Tells how a node ended, by its exit code and in words where it failed.
pub(super) fn end(outcome: Result<Stop, Failure>) -> ExitCode {
    match outcome {
        Ok(Stop::Graceful) => ExitCode::from(exit::OK),
        Ok(Stop::Forced) => ExitCode::from(exit::INTERRUPTED),
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The options of all sources together.
fn options(args: RunArgs) -> Result<Options, Failure> {
    let file = args.config.as_deref().map(config_file::read).transpose().map_err(Failure::Options)?;
    Options::resolve(args.or(file.unwrap_or_default())).map_err(Failure::Options)
}

/// Runs a master or a worker, as the options say.
pub(super) fn run_node(options: &Options) -> Result<Stop, Failure> {
    let tls = trust(options)?;
    let listener = Listener::bind(options.bind).map_err(|error| match error {
        BindError::Taken(_) => Failure::PortTaken(error),
        BindError::Other(..) => Failure::Bind(error),
    })?;
    let mut config = options.config(listener.local_addr());
    let address = Address::of(config.bind).to_string();
    let mut console = Console::start(options.output, options.log_level, &address).map_err(Failure::Console)?;

    let outcome = open_state(options, &listener).and_then(|state| {
        let name = options.name.clone().unwrap_or_else(|| state.server_id.short().to_owned());
        let identity = Identity { server_id: state.server_id, name };
        console.announce(&identity, &address);
        if options.open {
            log::warn!("--insecure: {address} is open to others, and nothing asks them for a secret");
        }
        let mut dialects = state.dialects;
        for peer in options.peers.iter().chain(options.worker.iter().flat_map(|worker| &worker.masters)) {
            if let Some(dialect) = peer.dialect {
                dialects.tell(&peer.address, dialect);
            }
        }
        // Who has spoken 2025/2 before speaks it still: what its workers here are told rests on it.
        for (address, _) in dialects.known().filter(|(_, dialect)| *dialect == Dialect::Gen2025_2) {
            config.hints.entry(address.clone()).or_default().older = true;
        }
        // Before the jobs, which take the room that they find.
        let (group, stored_group) = match options.worker {
            None => {
                open_group(state.dir.as_ref(), &identity.server_id).map(|(store, found)| (Some(store), Some(found)))?
            }
            Some(_) => (None, None),
        };
        let (store, recovered) = match &state.dir {
            Some(dir) if options.worker.is_none() => open_jobs(dir, config.queue.durability, &identity.server_id)?,
            _ => (None, None),
        };
        let (boot, stored) = recovered.map_or((1, Vec::new()), |found| (found.boot, found.jobs));
        let settings = Settings {
            writer: state.writer,
            dialects,
            boot,
            stored,
            jobs: store.map(|store| Box::new(store) as Box<dyn JobsAtRest>),
            stored_group,
            group: group.map(|store| Box::new(store) as Box<dyn GroupAtRest>),
            agreement: options.agreement.clone(),
            loans: options.worker.is_none().then(|| options.loans.clone()),
            entropy: entropy()?,
            services: Some(Box::new(executor(options))),
            discovery: options.discovery.map(|port| discovery(options, port)).transpose()?,
            supervisor: options.supervisor.as_ref().map(|supervisor| Supervisor {
                address: supervisor.address.clone(),
                tls,
                directory: state.dir.as_ref().map_or_else(|| ".".into(), |dir| dir.path().to_owned()),
            }),
            ..Settings::new(config, identity, seed())
        };
        let outcome = net::run(listener, settings, &mut console);
        // Locked until here: the writer, which `net::run` has dropped, wrote into it.
        drop(state.dir);
        Ok(outcome?)
    });
    // What was logged comes before the error that ends it all.
    console.finish();
    outcome
}

/// Whom to trust where the supervisor is called over TLS; `None`: over plain TCP, or there is none.
fn trust(options: &Options) -> Result<Option<Tls>, Failure> {
    let Some(supervisor) = options.supervisor.as_ref().filter(|supervisor| supervisor.tls) else { return Ok(None) };
    let refused = |error: TlsError| match error {
        TlsError::File { .. } => format!("--supervisor-ca {error}"),
        TlsError::NoRoots { .. } => {
            format!("--supervisor tls://{}: {error} with --supervisor-ca FILE", supervisor.address)
        }
        TlsError::Unusable(_) => format!("--supervisor tls://{}: {error}", supervisor.address),
    };
    let tls = Tls::new(options.supervisor_ca.as_deref());
    tls.map(Some).map_err(|error| Failure::Options(OptionError(refused(error))))
}

/// Opens what is stored of the group of a master, and says what was found. Without a directory it is kept in memory.
fn open_group(dir: Option<&StateDir>, master: &ServerId) -> Result<(GroupStore, StoredGroup), StateError> {
    let Some(dir) = dir else { return Ok(GroupStore::in_memory()) };
    let (store, found, rolled_back) = GroupStore::open(dir.path(), master)?;
    if let Some(text) = rolled_back {
        log::warn!("group: {text}");
    }
    log::info!("group: {}", group::describe(&found));
    Ok((store, found))
}

/// Opens the jobs of a master, and says what was found. Without a store where jobs are kept in memory.
fn open_jobs(
    dir: &StateDir,
    durability: Durability,
    master: &ServerId,
) -> Result<(Option<JobStore>, Option<Recovered>), Failure> {
    let (store, recovered) = JobStore::open(dir.path(), durability, master)?;
    for text in recovered.rolled_back.iter().chain(&recovered.left_alone) {
        log::warn!("jobs: {text}");
    }
    if durability == Durability::Memory {
        log::info!("jobs: kept in memory, and lost with this process (--durability memory)");
        return Ok((None, Some(recovered)));
    }
    let Recovered { boot, jobs, bytes, segments, .. } = &recovered;
    let count = jobs.len();
    log::info!("jobs: {count} found in {bytes} bytes of {segments} segments; start {boot} of this master");
    Ok((Some(store), Some(recovered)))
}

/// Who runs services here: of a worker all that are built in, of a master only what tells about itself, for its work is
/// to give work out.
fn executor(options: &Options) -> ExecutorConfig {
    let mut config = ExecutorConfig {
        directory: options.services.clone(),
        allow_exec: options.allow_exec,
        ..ExecutorConfig::default()
    };
    match &options.worker {
        // Calls take no slot: they must not wait for the jobs to end.
        Some(worker) => config.threads = (worker.slots as usize + CALL_THREADS).min(4096),
        None => config.services = vec![Box::new(System::new())],
    }
    config
}

fn discovery(options: &Options, port: u16) -> Result<Discovery, Failure> {
    let bound = if options.worker.is_some() { Discovery::ask(port) } else { Discovery::listen(port) };
    bound.map_err(Failure::Discovery)
}

/// What a node is made of that outlives it.
struct State {
    dir: Option<StateDir>,
    server_id: ServerId,
    dialects: DialectMemory,
    writer: Option<Writer>,
}

fn open_state(options: &Options, listener: &Listener) -> Result<State, Failure> {
    let base = match &options.state {
        StatePlace::Memory => {
            log::info!("state: none is kept, and no jobs");
            let server_id = StateDir::ephemeral_identity();
            return Ok(State { dir: None, server_id, dialects: DialectMemory::default(), writer: None });
        }
        StatePlace::Default => default_base()?,
        StatePlace::Under(base) => base.clone(),
    };
    if options.worker.is_some() {
        // Its port is another one at each start: it is known by its name, or as one of the nameless on this machine.
        let dir = StateDir::open_worker(&base, options.name.as_deref())?;
        return Ok(read_state(dir, options.fresh)?);
    }
    // Under the port that was asked for: with any free one (0) the id would else be lost with the port.
    let place = SocketAddr::new(listener.local_addr().ip(), options.bind.port());
    let dir = StateDir::open(&base, place)?;
    Ok(read_state(dir, options.fresh)?)
}

/// Reads the state, or begins it. Says which.
fn read_state(dir: StateDir, fresh: bool) -> Result<State, StateError> {
    let written = |dir: &StateDir| dir.age().map_or_else(|| "never".to_owned(), |age| format!("{} ago", age_text(age)));
    if fresh && dir.age().is_some() {
        log::warn!("state: --fresh discards {}, written {}", dir.path().display(), written(&dir));
        dir.discard()?;
    }
    let server_id = match dir.identity()? {
        Some(server_id) => {
            log::info!("state: found in {}, written {}", dir.path().display(), written(&dir));
            server_id
        }
        None => {
            let server_id = dir.create_identity()?;
            log::info!("state: new in {}", dir.path().display());
            server_id
        }
    };
    let dialects = dir.dialects();
    let writer = Writer::start(&dir)?;
    Ok(State { dir: Some(dir), server_id, dialects, writer: Some(writer) })
}

/// What nobody can guess, from the operating system.
fn entropy() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::NoEntropy)?;
    Ok(bytes)
}

/// A seed from the operating system.
fn seed() -> u64 {
    let (high, low) = Uuid::new_v4().as_u64_pair();
    // The fixed bits of a uuid v4 stand in different places of its halves: turned, they do not meet.
    high ^ low.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const BIND: &str = "127.0.0.1:9101";

    fn open(base: &tempfile::TempDir) -> Result<StateDir, StateError> {
        StateDir::open(base.path(), BIND.parse::<SocketAddr>().unwrap())
    }

    #[test]
    fn a_node_keeps_its_id_until_fresh_gives_it_up() {
        let base = tempfile::tempdir().unwrap();
        let id = |fresh| read_state(open(&base).unwrap(), fresh).unwrap().server_id;
        let first = id(false);
        assert_eq!(id(false), first);
        let second = id(true);
        assert_ne!(second, first);
        assert_eq!(id(false), second);
    }

    #[test]
    fn a_damaged_identity_stops_the_start_and_fresh_mends_it() {
        let base = tempfile::tempdir().unwrap();
        let dir = open(&base).unwrap();
        fs::write(dir.path().join("identity.json"), "half").unwrap();
        drop(dir);
        let failure = Failure::State(read_state(open(&base).unwrap(), false).map(|_| ()).unwrap_err());
        assert_eq!(failure.exit_code(), exit::STATE_UNUSABLE);
        read_state(open(&base).unwrap(), true).unwrap();
        read_state(open(&base).unwrap(), false).unwrap();
    }

    #[test]
    fn each_failure_has_its_exit_code() {
        let base = tempfile::tempdir().unwrap();
        let _held = open(&base).unwrap();
        let in_use = Failure::State(open(&base).unwrap_err());
        assert_eq!(in_use.exit_code(), exit::STATE_IN_USE);
        let taken = Failure::PortTaken(BindError::Taken(BIND.parse().unwrap()));
        assert_eq!(taken.exit_code(), exit::PORT_TAKEN);
        assert!(taken.to_string().contains("port taken") && taken.to_string().contains("--port"), "{taken}");
        let denied = BindError::Other(BIND.parse().unwrap(), std::io::ErrorKind::PermissionDenied.into());
        assert_eq!(Failure::Bind(denied).exit_code(), exit::FAILURE);
    }

    #[test]
    fn the_command_line_counts_more_than_the_file_and_the_file_more_than_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        fs::write(&file, "port = 9200\ninterval = 1\npeer = ['a:1', 'b:2']\n").unwrap();
        let line = RunArgs { config: Some(file.clone()), port: Some(9300), ..RunArgs::default() };
        let options = options(line).unwrap();
        assert_eq!((options.bind.port(), options.interval.as_secs(), options.timeout.as_secs()), (9300, 1, 6));
        assert_eq!(options.peers.len(), 2);
        fs::write(&file, "prot = 9200\n").unwrap();
        let line = RunArgs { config: Some(file), ..RunArgs::default() };
        let failure = super::options(line).unwrap_err();
        assert_eq!(failure.exit_code(), exit::USAGE);
        assert!(failure.to_string().contains("prot"), "{failure}");
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(seed(), seed());
    }
}
