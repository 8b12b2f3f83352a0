//! Child processes: the node, redis-server, and our own yardsticks. Each is killed when it is dropped.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::load::{Ask, Check, text};
use super::server::{HEARTBEAT, Kind, LOAD};
use super::{Failure, machine};

const START_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program<'a> {
    /// The node at this path, keeping nothing.
    Node(&'a Path),
    /// A yardstick of ours.
    Ours(Kind),
    /// redis-server from the PATH, keeping nothing.
    Redis,
    /// The node at this path with these options beside the usual ones, and its state in a directory of its own.
    NodeWith(&'a Path, &'a [&'a str]),
    /// redis-server that has each write on disk before it answers.
    RedisDurable,
    /// A broker from the PATH: `nats`, `gearmand` or `beanstalkd`.
    Broker(&'static str),
}

impl Program<'_> {
    /// Whether it may be missing on this machine.
    fn is_foreign(self) -> bool {
        !matches!(self, Program::Node(_) | Program::NodeWith(..) | Program::Ours(_))
    }
}

/// A server that runs.
pub(crate) struct Server {
    /// Name in tables.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
    /// From the spawn to its first right answer.
    pub(crate) started_in: Duration,
    child: Child,
    _directory: TempDir,
}

impl Server {
    /// Starts `program` and waits for its first answer. `None` if it is not installed.
    pub(crate) fn start(program: Program<'_>) -> Result<Option<Server>, Failure> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let (name, mut command) = match program {
            Program::Node(path) => {
                let mut command = Command::new(path);
                command.args(["--ephemeral", "--log-level", "error", "--output", "json", "--port", &port.to_string()]);
                ("node", command)
            }
            Program::Ours(kind) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args([kind.option(), &port.to_string()]);
                (kind.name(), command)
            }
            Program::Redis => {
                let mut command = Command::new("redis-server");
                command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--maxclients", "15000"]);
                command.args(["--port", &port.to_string()]);
                ("redis", command)
            }
            Program::NodeWith(path, options) => {
                let mut command = Command::new(path);
                command.args(["--log-level", "error", "--output", "text", "--port", &port.to_string()]);
                command.arg("--data-dir").arg(directory.path()).args(options);
                ("node", command)
            }
            Program::RedisDurable => {
                let mut command = Command::new("redis-server");
                command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--bind", "127.0.0.1"]);
                command.args(["--port", &port.to_string()]);
                ("redis", command)
            }
            Program::Broker(name) => {
                let port = port.to_string();
                let (program, options) = match name {
                    "nats" => ("nats-server", vec!["-a", "127.0.0.1", "-p", &port]),
                    "gearmand" => {
                        ("gearmand", vec!["-L", "127.0.0.1", "-p", &port, "--log-file", "none", "--verbose", "FATAL"])
                    }
                    _ => ("beanstalkd", vec!["-l", "127.0.0.1", "-p", &port]),
                };
                let mut command = Command::new(program);
                command.args(options).stderr(Stdio::null());
                (name, command)
            }
        };
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let begin = Instant::now();
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound && program.is_foreign() => return Ok(None),
            Err(error) => return Err(format!("cannot start {command:?}: {error}").into()),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let pid = child.id();
        let mut server = Server { name, address, pid, started_in: Duration::ZERO, child, _directory: directory };
        match program {
            Program::Broker(name) => server.wait(
                |address| Ok(super::broker::knock(name, address).is_ok_and(|answer| !answer.is_empty())),
                begin,
            )?,
            Program::Redis | Program::RedisDurable => {
                server.wait(|address| Ok(exchange(address, PING)? == PONG), begin)?
            }
            _ => server.wait(|address| Ok(is_alive(&exchange(address, HEARTBEAT)?)), begin)?,
        }
        server.started_in = begin.elapsed();
        Ok(Some(server))
    }

    /// A server that is always there: the node or one of ours.
    pub(crate) fn required(program: Program<'_>) -> Result<Server, Failure> {
        Server::start(program)?.ok_or_else(|| format!("{program:?} is not installed").into())
    }

    fn wait(&mut self, answers: impl Fn(SocketAddr) -> Result<bool, Failure>, begin: Instant) -> Result<(), Failure> {
        loop {
            match answers(self.address) {
                Ok(true) => return Ok(()),
                Ok(false) if self.name != "nats" && self.name != "gearmand" && self.name != "beanstalkd" => {
                    return Err(format!("{}: a wrong first answer", self.name).into());
                }
                Ok(false) | Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended before it answered ({status})", self.name).into());
            }
            if begin.elapsed() > START_WITHIN {
                return Err(format!("{} has not answered within {START_WITHIN:?}", self.name).into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Pins it to `cores`.
    pub(crate) fn pin(&self, cores: &[usize]) -> Result<(), Failure> {
        machine::pin_process(self.pid, cores)
    }

    /// The bare heartbeat, with this server's exact answer as the check.
    pub(crate) fn heartbeat(&self) -> Result<Ask, Failure> {
        let answer = exchange(self.address, HEARTBEAT)?;
        if !is_alive(&answer) {
            return Err(format!("a wrong answer to HEARTBEAT: {}", text(&answer)).into());
        }
        Ok(Ask { request: HEARTBEAT.to_vec(), check: Check::Exact(answer) })
    }

    /// The bare LOAD. Its figures change from answer to answer: what stands before the first one must be the same.
    pub(crate) fn load(&self) -> Result<Ask, Failure> {
        let answer = exchange(self.address, LOAD)?;
        let line = answer.strip_suffix(b"\n").unwrap_or(&answer);
        is_load(line)?;
        let figure = memchr::memmem::find(line, b"\"CPU\":").ok_or("LOAD: CPU is written in an unexpected form")?;
        let prefix = line[..figure].to_vec();
        if memchr::memmem::find(&prefix, b"\"RESPONSE\":\"OK\"").is_none() {
            return Err(
                "LOAD: expected RESPONSE before CPU, so that the beginning of a line tells right from wrong".into()
            );
        }
        Ok(Ask {
            request: LOAD.to_vec(),
            check: Check::Varying { prefix, length: line.len(), slack: 24, parse: is_load },
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Redis' own heartbeat, in its inline form.
pub(crate) const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"+PONG\r\n";

/// [`PING`] and its check.
pub(crate) fn ping() -> Ask {
    Ask { request: PING.to_vec(), check: Check::Exact(PONG.to_vec()) }
}

/// One line to a server and its answer, newline included, on a connection of its own.
pub(crate) fn exchange(to: SocketAddr, line: &[u8]) -> Result<Vec<u8>, Failure> {
    ask(&mut TcpStream::connect(to)?, line)
}

/// One line on a connection and its answer, newline included.
pub(crate) fn ask(stream: &mut TcpStream, line: &[u8]) -> Result<Vec<u8>, Failure> {
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(line)?;
    let mut answer = Vec::new();
    match BufReader::with_capacity(1024, stream).read_until(b'\n', &mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            return Err(format!("no answer to {} within {ANSWER_WITHIN:?}", text(line).trim_end()).into());
        }
        other => other?,
    };
    if answer.last() == Some(&b'\n') { Ok(answer) } else { Err("the connection ended before the answer did".into()) }
}

/// Whether `answer` is a heartbeat's: exactly TASK, RESPONSE and SERVER_ID.
fn is_alive(answer: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(answer) else { return false };
    let id = value["SERVER_ID"].as_str().unwrap_or("");
    value == serde_json::json!({"TASK": "HEARTBEAT", "RESPONSE": "ALIVE", "SERVER_ID": id}) && id.len() == 36
}

fn is_load(line: &[u8]) -> Result<(), String> {
    let value: serde_json::Value =
        serde_json::from_slice(line).map_err(|error| format!("LOAD: {error}: {}", text(line)))?;
    if value["TASK"] != "LOAD" || value["RESPONSE"] != "OK" {
        return Err(format!("LOAD: expected RESPONSE OK: {}", text(line)));
    }
    for field in ["CPU", "MEMORY", "PENDING", "RUNNING", "WORKERS", "SCORE"] {
        if !value[field].is_number() {
            return Err(format!("LOAD: expected a number as {field}: {}", text(line)));
        }
    }
    Ok(())
}

/// A free port below the ephemeral range, so that no connection of the generator has it as its own.
pub(crate) fn free_port() -> Result<u16, Failure> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % 9000)?;
    for _ in 0..9000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 21_000 + (offset + step) % 9000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port between 21000 and 30000".into())
}
