//! Masters with workers of their own, each a real process on loopback. Each is killed when it is dropped.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Failure;
use super::process::{exchange, free_port};

/// Whatever is waited for comes within this, or the bench ends.
const WITHIN: Duration = Duration::from_secs(60);

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A master and its workers.
pub(crate) struct Farm {
    /// Where the master listens.
    pub(crate) address: SocketAddr,
    /// The process of the master.
    pub(crate) pid: u32,
    program: std::path::PathBuf,
    // Dropped in this order: workers that outlive their master would look for another.
    workers: Vec<Running>,
    _master: Running,
    state: TempDir,
}

impl Farm {
    /// A master of the node at this path with these options beside the defaults, and so many workers of one slot each, at home.
    pub(crate) fn start(program: &Path, name: &str, workers: usize, options: &[&str]) -> Result<Farm, Failure> {
        let (state, port) = (tempfile::tempdir()?, free_port()?);
        let mut command = Command::new(program);
        command.args(["--log-level", "error", "--output", "json", "--name", name, "--port", &port.to_string()]);
        command.arg("--data-dir").arg(state.path()).args(options).stdout(Stdio::null()).stdin(Stdio::null());
        let master = Running(command.spawn()?);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let pid = master.0.id();
        let mut farm = Farm { address, pid, program: program.to_owned(), workers: Vec::new(), _master: master, state };
        farm.wait("the master to answer", |farm| farm.ask(&json!({"TASK": "HEARTBEAT"})).is_ok())?;
        for nth in 0..workers {
            farm.hire(&format!("{name}-w{nth}"))?;
        }
        farm.wait("all workers at home", |farm| farm.here().is_ok_and(|here| here == workers))?;
        Ok(farm)
    }

    fn hire(&mut self, name: &str) -> Result<(), Failure> {
        let mut command = Command::new(&self.program);
        command.args(["worker", "--master", &self.address.to_string(), "--name", name, "--port", "0", "--slots", "1"]);
        command.args(["--log-level", "error", "--output", "json", "--data-dir"]).arg(self.state.path().join(name));
        self.workers.push(Running(command.stdout(Stdio::null()).stdin(Stdio::null()).spawn()?));
        Ok(())
    }

    /// The answer to one question.
    pub(crate) fn ask(&self, question: &Value) -> Result<Value, Failure> {
        let answer = exchange(self.address, format!("{question}\n").as_bytes())?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Workers that this master has at the moment, its own and others.
    pub(crate) fn here(&self) -> Result<usize, Failure> {
        let answer = self.ask(&json!({"TASK": "WORKERS"}))?;
        let workers = answer["WORKERS"].as_array().ok_or("WORKERS without a list")?;
        Ok(workers.iter().filter(|worker| worker["STATUS"] == "IDLE" || worker["STATUS"] == "BUSY").count())
    }

    /// How many jobs have ended OK.
    pub(crate) fn done(&self) -> Result<u64, Failure> {
        let answer = self.ask(&json!({"TASK": "JOBS"}))?;
        answer["OK"].as_u64().ok_or_else(|| format!("no count of OK in {answer}").into())
    }

    /// Submits so many jobs that sleep that long, on one connection, and waits until all are accepted.
    pub(crate) fn submit(&self, count: usize, sleep: Duration) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(WITHIN))?;
        let line = json!({"TASK": "SUBMIT", "SERVICE": "sleep", "PARAMS": {"ms": sleep.as_millis() as u64}});
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut left = count;
        while left > 0 {
            let some = left.min(500);
            stream.write_all(format!("{line}\n").repeat(some).as_bytes())?;
            for _ in 0..some {
                let mut answer = String::new();
                answers.read_line(&mut answer)?;
                if !answer.contains("\"RESPONSE\":\"OK\"") {
                    return Err(format!("SUBMIT: {answer}").into());
                }
            }
            left -= some;
        }
        Ok(())
    }

    /// Waits until something holds.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&Farm) -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        while !holds(self) {
            if begun.elapsed() > WITHIN {
                return Err(format!("waited {WITHIN:?} in vain for {what}").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What happens at this master from now on, with the time at which it was heard here.
    pub(crate) fn events(&self) -> Result<Events, Failure> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(b"{\"TASK\":\"EVENTS\"}\n")?;
        let mut lines = BufReader::new(stream);
        let mut first = String::new();
        lines.read_line(&mut first)?;
        let (heard, events) = mpsc::channel();
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let now = Instant::now();
                let Ok(event) = serde_json::from_str(&line) else { return };
                if heard.send((now, event)).is_err() {
                    return;
                }
            }
        });
        Ok(Events { events })
    }
}

/// A stream of events.
pub(crate) struct Events {
    events: Receiver<(Instant, Value)>,
}

impl Events {
    /// When the next event that `fits` was heard; those before it are dropped.
    pub(crate) fn next(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Instant, Failure> {
        let begun = Instant::now();
        loop {
            match self.events.recv_timeout(WITHIN.saturating_sub(begun.elapsed())) {
                Ok((at, event)) if fits(&event) => return Ok(at),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err(format!("waited {WITHIN:?} in vain for {what}").into()),
                Err(RecvTimeoutError::Disconnected) => return Err(format!("events ended before {what}").into()),
            }
        }
    }

    /// Drops what was heard so far.
    pub(crate) fn clear(&self) {
        while self.events.try_recv().is_ok() {}
    }
}
