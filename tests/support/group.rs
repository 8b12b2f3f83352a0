//! Masters of one group as real processes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::ports::free_port;
use super::process::{NodeProcess, Process, command};
use super::{DEADLINE, wait_for, wait_until};

/// Fast enough that a test sees peers come and go within a second.
pub(crate) const QUICK: [&str; 4] = ["--interval", "0.2", "--timeout", "1"];

/// Masters that know each other by `--peer`, some of them running.
pub(crate) struct Masters {
    ports: Vec<u16>,
    options: Vec<String>,
    state: TempDir,
    nodes: Vec<Option<NodeProcess>>,
}

impl Masters {
    /// So many masters, none of them started.
    pub(crate) fn new(count: usize, options: &[&str]) -> Masters {
        let ports = (0..count).map(|_| free_port()).collect();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let state = tempfile::tempdir().expect("a directory");
        Masters { ports, options, state, nodes: (0..count).map(|_| None).collect() }
    }

    /// So many masters, all started, that have a leader and all vote.
    pub(crate) fn started(count: usize, options: &[&str]) -> Masters {
        let mut masters = Masters::new(count, options);
        (0..count).for_each(|nth| masters.start(nth));
        masters.wait_voters(count);
        masters
    }

    /// Options that are added for all that start from now on.
    pub(crate) fn options(&mut self, options: &[&str]) {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
    }

    /// Starts one.
    pub(crate) fn start(&mut self, nth: usize) {
        let mut args = vec![
            "--name".to_owned(),
            format!("m{nth}"),
            "--data-dir".to_owned(),
            self.state.path().join(format!("m{nth}")).display().to_string(),
        ];
        for (other, port) in self.ports.iter().enumerate() {
            if other != nth {
                args.extend(["--peer".to_owned(), format!("127.0.0.1:{port}")]);
            }
        }
        args.extend(self.options.iter().cloned());
        let port = self.ports[nth].to_string();
        let all = ["--port", port.as_str()].into_iter().map(str::to_owned).chain(args);
        // The port may be in its last moments of a process that was killed.
        let started = wait_for("the port to be free", || {
            NodeProcess::listening(Process::spawn(&mut command(all.clone())), self.ports[nth])
        });
        self.nodes[nth] = Some(started);
    }

    /// Starts a second process with a copy of the state of one that does not run, at another port.
    pub(crate) fn twin(&self, nth: usize) -> NodeProcess {
        let port = free_port();
        let (from, to) = (self.state.path().join(format!("m{nth}")), self.state.path().join(format!("twin{nth}")));
        // The directory of a node is named after its address: a cloned machine has the same one, this machine another port.
        let own = std::fs::read_dir(&from).expect("its state").next().expect("a directory").expect("readable");
        let name = own.file_name().into_string().expect("plain letters");
        let name = name.replace(&format!("-{}", self.ports[nth]), &format!("-{port}"));
        copy_all(&own.path(), &to.join(name));
        let (data, port_text) = (to.display().to_string(), port.to_string());
        let mut args =
            vec!["--port".to_owned(), port_text, "--name".to_owned(), format!("m{nth}"), "--data-dir".to_owned(), data];
        for (_, port) in self.ports.iter().enumerate().filter(|(other, _)| *other != nth) {
            args.extend(["--peer".to_owned(), format!("127.0.0.1:{port}")]);
        }
        args.extend(self.options.iter().cloned());
        NodeProcess::listening(Process::spawn(&mut command(args)), port).expect("the port is free")
    }

    /// Kills one, as a power cut would.
    pub(crate) fn kill(&mut self, nth: usize) {
        if let Some(mut node) = self.nodes[nth].take() {
            node.process.kill();
        }
    }

    /// Loses the state of one that does not run.
    pub(crate) fn discard(&self, nth: usize) {
        std::fs::remove_dir_all(self.state.path().join(format!("m{nth}"))).expect("its state");
    }

    /// One that runs.
    pub(crate) fn node(&self, nth: usize) -> &NodeProcess {
        self.nodes[nth].as_ref().expect("it was started")
    }

    /// Which run.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|nth| self.nodes[*nth].is_some()).collect()
    }

    /// `HOST:PORT` of one.
    pub(crate) fn address(&self, nth: usize) -> String {
        format!("127.0.0.1:{}", self.ports[nth])
    }

    /// Asks one.
    pub(crate) fn ask(&self, nth: usize, request: &Value) -> Value {
        self.node(nth).ask(&request.to_string())
    }

    /// Who leads, once all that run say so at the same term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let answers: Vec<Value> =
            self.running().into_iter().map(|nth| self.ask(nth, &json!({"TASK": "ELECT"}))).collect();
        let first = answers.first()?;
        let agreed = answers.iter().all(|it| it["LEADER"] == first["LEADER"] && it["TERM"] == first["TERM"]);
        let name = first["LEADER_NAME"].as_str().filter(|_| agreed)?;
        name.strip_prefix('m')?.parse().ok()
    }

    /// Waits until all that run say who leads, and that it is one of them.
    pub(crate) fn wait_leader(&self) -> usize {
        let running = self.running();
        wait_for("a leader", || self.leader().filter(|nth| running.contains(nth)))
    }

    /// Waits until so many vote, and all that run know it. Returns how long it took.
    pub(crate) fn wait_voters(&self, count: usize) -> Duration {
        let begun = Instant::now();
        // In the middle of a change of voters fewer can be lost than its end promises.
        let spare = count.saturating_sub(1) as u64 / 2;
        let vote = |nth: usize| {
            let answer = self.ask(nth, &json!({"TASK": "ELECT"}));
            let voters = answer["VOTERS"].as_array().map_or(0, Vec::len);
            voters == count && answer["SPARE"].as_u64().is_some_and(|told| told >= spare)
        };
        wait_until(&format!("{count} voters"), || self.leader().is_some() && self.running().into_iter().all(vote));
        begun.elapsed()
    }

    /// Sets a setting at one, and asks again while that may help.
    pub(crate) fn set(&self, nth: usize, name: &str, value: u64) -> Value {
        let request = json!({"TASK": "SETTINGS", "NAME": name, "VALUE": value});
        let begun = Instant::now();
        loop {
            let answer = self.ask(nth, &request);
            if answer["RESPONSE"] == "OK" || answer["RETRY"] != true || begun.elapsed() > DEADLINE {
                return answer;
            }
        }
    }

    /// The value of a setting, as the majority knows it.
    pub(crate) fn get(&self, nth: usize, name: &str) -> Value {
        self.ask(nth, &json!({"TASK": "SETTINGS", "NAME": name}))["SETTINGS"][0]["VALUE"].clone()
    }
}

/// Copies a directory and all in it.
fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_all(&entry.path(), &to),
            false => {
                std::fs::copy(entry.path(), to).expect("a copy");
            }
        }
    }
}
