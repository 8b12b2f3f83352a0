//! Real nodes, as processes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::ports::free_port;
use super::wait::{DEADLINE, pause, wait_for};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_node");

/// The exit code of a node whose port is taken.
pub(crate) const EXIT_PORT_TAKEN: i32 = 3;

/// Ticks of a second in `/proc/PID/stat`: USER_HZ, which Linux fixes at 100 for all common machines.
#[cfg(target_os = "linux")]
const TICKS_PER_SECOND: f64 = 100.0;

/// The lines that a process wrote so far to one of its outputs.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<String>>>);

impl Output {
    /// Reads `stream` on a thread of its own until it ends.
    pub(crate) fn read(stream: impl Read + Send + 'static) -> Output {
        let output = Output::default();
        let lines = output.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(stream.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                lines.0.lock().expect("no holder of this lock panics").push(text);
                line.clear();
            }
        });
        output
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no holder of this lock panics").clone()
    }

    /// The lines so far, as one text.
    pub(crate) fn text(&self) -> String {
        self.lines().join("\n")
    }
}

/// A process with its outputs. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    /// What it wrote to standard output.
    pub(crate) stdout: Output,
    /// What it wrote to standard error.
    pub(crate) stderr: Output,
}

impl Process {
    /// Starts `command` with its outputs read and its input closed.
    pub(crate) fn spawn(command: &mut Command) -> Process {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let stdout = Output::read(child.stdout.take().expect("the output is piped"));
        let stderr = Output::read(child.stderr.take().expect("the output is piped"));
        Process { child, stdout, stderr }
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits until it ends, and says how long that took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let started = Instant::now();
        let status = wait_for("the process to end", || self.ended());
        (status, started.elapsed())
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw);
        let id = id.expect("a running process has an id above zero");
        rustix::process::kill_process(id, signal).expect("a child can be signalled");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- process {}: stdout\n{}\n--- stderr\n{}", self.id(), self.stdout.text(), self.stderr.text());
        }
    }
}

/// A command whose process hears SIGINT and SIGQUIT. Shells have the processes that they start in the background ignore them, and
/// what is ignored stays so in all that a process starts: in a test run of that kind nobody would hear Ctrl-C.
fn heedful(program: &str) -> Command {
    let ignored = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    // SIGINT is 2, SIGQUIT is 3, and the lowest bit stands for 1.
    if mask & 0b110 == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,QUIT,HUP,TERM").arg(program);
    command
}

/// A command that runs the program under test with a clean environment: no option comes from outside the test.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = heedful(PROGRAM);
    command.args(args);
    for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("NODE_")) {
        command.env_remove(key);
    }
    command
}

/// A command that ends by itself: what it wrote and how it ended.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> std::process::Output {
    command(args).stdin(Stdio::null()).output().expect("the program under test starts")
}

/// A node that listens.
pub(crate) struct NodeProcess {
    /// Its process.
    pub(crate) process: Process,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
}

impl NodeProcess {
    /// Starts a node without state on a free port, and waits until it listens.
    pub(crate) fn start(args: &[&str]) -> NodeProcess {
        // Between the choice of a port and its use another program may take it: then another is chosen.
        for _ in 0..5 {
            if let Some(node) = NodeProcess::try_start(free_port(), &[args, &["--ephemeral"]].concat()) {
                return node;
            }
        }
        panic!("five free ports in a row were taken by others");
    }

    /// Starts a node on this port with these options only, and waits until it listens.
    pub(crate) fn start_on(port: u16, args: &[&str]) -> NodeProcess {
        NodeProcess::try_start(port, args).unwrap_or_else(|| panic!("port {port} is taken"))
    }

    fn try_start(port: u16, args: &[&str]) -> Option<NodeProcess> {
        let port_text = port.to_string();
        let process = Process::spawn(&mut command(["--port", &port_text].iter().chain(args)));
        NodeProcess::listening(process, port)
    }

    /// Waits until `process` listens on `port`; `None` if it ended because the port was taken.
    pub(crate) fn listening(mut process: Process, port: u16) -> Option<NodeProcess> {
        let started = Instant::now();
        loop {
            if Client::connect(port).is_ok() {
                return Some(NodeProcess { process, port });
            }
            match process.ended() {
                Some(status) if status.code() == Some(EXIT_PORT_TAKEN) => return None,
                Some(status) => panic!("the node ended before it listened: {status}"),
                None => assert!(started.elapsed() < DEADLINE, "the node does not listen on port {port}"),
            }
            pause(Duration::from_millis(5));
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|error| panic!("connecting to {}: {error}", self.address()))
    }

    /// The answer to one line on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Value {
        self.client().ask(request)
    }

    /// Its id, as its heartbeat says it.
    pub(crate) fn server_id(&self) -> String {
        let answer = self.ask(r#"{"TASK":"HEARTBEAT"}"#);
        answer["SERVER_ID"].as_str().unwrap_or_else(|| panic!("no SERVER_ID in {answer}")).to_owned()
    }

    /// Its registry: the first page of `NODES`.
    pub(crate) fn nodes(&self) -> Vec<Value> {
        let answer = self.ask(r#"{"TASK":"NODES"}"#);
        answer["NODES"].as_array().unwrap_or_else(|| panic!("no list NODES in {answer}")).clone()
    }

    /// The STATUS of the peer at this address, if there is one.
    pub(crate) fn status_of(&self, address: &str) -> Option<String> {
        let entry = self.nodes().into_iter().find(|entry| entry["ADDRESS"] == *address)?;
        entry["STATUS"].as_str().map(str::to_owned)
    }

    /// Waits until the peer at this address has this STATUS.
    pub(crate) fn wait_status(&self, address: &str, status: &str) {
        let what = format!("{} to show {address} {status}", self.address());
        super::wait_until(&what, || self.status_of(address).as_deref() == Some(status));
    }

    /// Waits until it answers a heartbeat on a new connection.
    pub(crate) fn assert_healthy(&self) {
        let answer = self.ask(r#"{"TASK":"HEARTBEAT"}"#);
        assert_eq!(answer["RESPONSE"], "ALIVE", "{answer}");
    }

    /// Seconds of CPU that it has used so far.
    #[cfg(target_os = "linux")]
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("the node runs");
        // The name of the program, in parentheses, may hold blanks; utime and stime are the 12th and 13th after it.
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a stat line").1.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
        ticks / TICKS_PER_SECOND
    }
}
