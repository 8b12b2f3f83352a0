//! Three processes that agree: our nodes, or etcd. Each is killed when it is dropped.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Failure;
use super::grpc::{self, Answer, Connection};
use super::machine::{self, Spent};
use super::process::{exchange, free_port};

/// A leader that all agree on, and a member that has come back, are there within this.
const WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What agrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The node at this path, as it comes.
    Node(PathBuf),
    /// etcd from the PATH, as it comes.
    Etcd,
    /// etcd with a heartbeat of 50 ms and an election time-out of 500 ms.
    QuickEtcd,
}

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    /// Whether it leads.
    pub(crate) leads: bool,
    /// Whether it knows who leads.
    pub(crate) led: bool,
    /// Its term.
    pub(crate) term: u64,
    /// Index up to which it has applied the log.
    pub(crate) applied: u64,
    /// Members that vote, as far as it says.
    pub(crate) voters: usize,
}

/// Three members on loopback, with their state on one disk.
pub(crate) struct Cluster {
    kind: Kind,
    ports: Vec<u16>,
    peer_ports: Vec<u16>,
    children: Vec<Option<Child>>,
    state: TempDir,
}

impl Cluster {
    /// Starts three and waits until all of them vote and one leads. `None` if it is not installed.
    pub(crate) fn start(kind: Kind) -> Result<Option<Cluster>, Failure> {
        let ports = (0..3).map(|_| free_port()).collect::<Result<_, _>>()?;
        let peer_ports = (0..3).map(|_| free_port()).collect::<Result<_, _>>()?;
        let state = tempfile::tempdir()?;
        let mut cluster = Cluster { kind, ports, peer_ports, children: vec![None, None, None], state };
        for nth in 0..3 {
            if !cluster.spawn(nth)? {
                return Ok(None);
            }
        }
        cluster.wait("a leader of three", |stands| {
            let settled = stands.iter().flatten().filter(|it| it.led && it.voters == 3).count() == 3;
            settled && stands.iter().flatten().all(|it| it.term == stands[0].map_or(0, |first| first.term))
        })?;
        // The change of voters may not be over yet, and until it is the first leader is needed. What is agreed on after it has it behind it.
        let leader = cluster.leader()?;
        let index = cluster.write(leader)?;
        cluster
            .wait("a write at all", |stands| stands.iter().flatten().filter(|it| it.applied >= index).count() == 3)?;
        Ok(Some(cluster))
    }

    /// Name in tables.
    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Node(_) => "node",
            Kind::Etcd => "etcd",
            Kind::QuickEtcd => "etcd 50/500",
        }
    }

    /// Whether it speaks gRPC; otherwise lines.
    pub(crate) fn is_etcd(&self) -> bool {
        !matches!(self.kind, Kind::Node(_))
    }

    /// Where one takes clients.
    pub(crate) fn address(&self, nth: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[nth]))
    }

    /// What the three have spent together.
    pub(crate) fn spent(&self) -> Result<Spent, Failure> {
        let mut all = Spent::default();
        for child in self.children.iter().flatten() {
            let spent = machine::spent_by(child.id())?;
            all = Spent { cpu: all.cpu + spent.cpu, waited: all.waited + spent.waited };
        }
        Ok(all)
    }

    /// What each says of itself; `None`: it does not answer.
    pub(crate) fn stands(&self) -> Vec<Option<Stand>> {
        (0..3).map(|nth| self.children[nth].as_ref().and_then(|_| self.stand(nth).ok())).collect()
    }

    /// Who leads, once every member that runs agrees on the term.
    pub(crate) fn leader(&mut self) -> Result<usize, Failure> {
        self.wait("a leader", |stands| {
            let mut running = stands.iter().flatten();
            let first = running.next().map_or(0, |it| it.term);
            running.all(|it| it.term == first) && stands.iter().flatten().filter(|it| it.leads).count() == 1
        })?;
        let leads = |stand: &Option<Stand>| stand.is_some_and(|it| it.leads);
        self.stands().iter().position(leads).ok_or_else(|| "the leader has just changed".into())
    }

    /// Kills one with SIGKILL. Returns the time just before.
    pub(crate) fn kill(&mut self, nth: usize) -> Result<Instant, Failure> {
        let mut child = self.children[nth].take().ok_or("it does not run")?;
        let begin = Instant::now();
        child.kill()?;
        child.wait()?;
        Ok(begin)
    }

    /// Starts one again, and waits until it follows and has applied all that the leader had.
    pub(crate) fn restart(&mut self, nth: usize) -> Result<(), Failure> {
        self.spawn(nth)?;
        let begin = Instant::now();
        let mut wanted = None;
        loop {
            let stands = self.stands();
            let leader = stands.iter().flatten().find(|it| it.leads);
            wanted = wanted.or(leader.map(|it| it.applied));
            if let (Some(own), Some(leader), Some(wanted)) = (stands[nth], leader, wanted)
                && own.led
                && own.term == leader.term
                && own.applied >= wanted
                && own.voters == 3
            {
                return Ok(());
            }
            if begin.elapsed() > WITHIN {
                return Err(format!("{}: member {nth} is not back: {stands:?}", self.name()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait(&mut self, what: &str, mut done: impl FnMut(&[Option<Stand>]) -> bool) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            let stands = self.stands();
            if done(&stands) {
                return Ok(());
            }
            for child in self.children.iter_mut().flatten() {
                if let Some(status) = child.try_wait()? {
                    return Err(format!("{} ended ({status})", self.name()).into());
                }
            }
            if begin.elapsed() > WITHIN {
                return Err(format!("{}: no {what} within {WITHIN:?}: {stands:?}", self.name()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the process. Returns whether it is installed.
    fn spawn(&mut self, nth: usize) -> Result<bool, Failure> {
        let data = self.state.path().join(format!("m{nth}"));
        let port = self.ports[nth].to_string();
        let mut command = match &self.kind {
            Kind::Node(path) => {
                let mut command = Command::new(path);
                command.args([
                    "--port",
                    &port,
                    "--name",
                    &format!("m{nth}"),
                    "--log-level",
                    "error",
                    "--output",
                    "text",
                ]);
                command.args(["--expect", "3", "--cpu-threshold", "0"]).arg("--data-dir").arg(data);
                for (_, other) in self.ports.iter().enumerate().filter(|(other, _)| *other != nth) {
                    command.arg("--peer").arg(format!("127.0.0.1:{other}"));
                }
                command
            }
            Kind::Etcd | Kind::QuickEtcd => {
                let mut command = Command::new("etcd");
                let url = |port: u16| format!("http://127.0.0.1:{port}");
                let (clients, peers) = (url(self.ports[nth]), url(self.peer_ports[nth]));
                let all: Vec<String> =
                    self.peer_ports.iter().enumerate().map(|(nth, port)| format!("m{nth}={}", url(*port))).collect();
                command.args(["--name", &format!("m{nth}"), "--logger", "zap", "--log-level", "error"]);
                command.arg("--data-dir").arg(data);
                command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
                command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
                command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
                if self.kind == Kind::QuickEtcd {
                    command.args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
                }
                command.stderr(Stdio::null());
                command
            }
        };
        command.current_dir(self.state.path()).stdin(Stdio::null()).stdout(Stdio::null());
        match command.spawn() {
            Ok(child) => self.children[nth] = Some(child),
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_etcd() => return Ok(false),
            Err(error) => return Err(format!("cannot start {command:?}: {error}").into()),
        }
        Ok(true)
    }

    /// Agrees on something at the leader of ours. Its index; 0 of etcd, where nothing is under way.
    fn write(&self, leader: usize) -> Result<u64, Failure> {
        if self.is_etcd() {
            return Ok(0);
        }
        let set = json!({"TASK": "SETTINGS", "NAME": "capacity", "VALUE": 100});
        let answer: Value = serde_json::from_slice(&exchange(self.address(leader), format!("{set}\n").as_bytes())?)?;
        answer["INDEX"].as_u64().ok_or_else(|| format!("a wrong answer: {answer}").into())
    }

    fn stand(&self, nth: usize) -> Result<Stand, Failure> {
        let address = self.address(nth);
        if self.is_etcd() {
            let message = etcd_status(address)?;
            let field = |number| grpc::number(&message, number).ok_or("a broken StatusResponse");
            let own = grpc::header(&message).and_then(|header| grpc::number(header, 2)).ok_or("no header")?;
            // leader 4, raftTerm 6, raftAppliedIndex 7.
            let (leader, term, applied) = (field(4)?, field(6)?, field(7)?);
            // Its voters were given at the start.
            return Ok(Stand { leads: leader == own, led: leader != 0, term, applied, voters: 3 });
        }
        let ask = |task: &str| -> Result<Value, Failure> {
            let line = format!("{}\n", json!({"TASK": task}));
            Ok(serde_json::from_slice(&exchange(address, line.as_bytes())?)?)
        };
        let (elect, agree) = (ask("ELECT")?, ask("AGREE")?);
        Ok(Stand {
            leads: elect["STATE"] == "LEADER",
            led: elect["LEADER_RAFT_ID"].is_number() && elect["STATE"] != "LEARNER",
            term: elect["TERM"].as_u64().ok_or("ELECT: expected a TERM")?,
            applied: agree["APPLIED"].as_u64().ok_or("AGREE: expected APPLIED")?,
            voters: elect["VOTERS"].as_array().map_or(0, Vec::len),
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // It may have ended by itself: then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What an etcd says of itself: a StatusResponse.
fn etcd_status(address: SocketAddr) -> Result<Vec<u8>, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let (mut out, mut answers) = (Vec::new(), Vec::new());
    let mut connection = Connection::new(&mut out);
    connection.call("/etcdserverpb.Maintenance/Status", &[], &mut out)?;
    let mut buffer = [0; 4096];
    while answers.is_empty() {
        stream.write_all(&out)?;
        out.clear();
        match stream.read(&mut buffer)? {
            0 => return Err("etcd closed the connection".into()),
            count => connection.hear(&buffer[..count], &mut out, &mut answers)?,
        }
    }
    match answers.pop() {
        Some(Answer { message: Some(message), .. }) => Ok(message),
        _ => Err("etcd does not say how it stands".into()),
    }
}
