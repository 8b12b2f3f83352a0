//! Faults of the network between nodes that have a machine each: cut both ways and one way, halves, cables pulled.

use std::io;

use rustix::process::Signal;
use tempfile::TempDir;

use super::clients::Doors;
use super::seed::Draw;
use super::support::group::QUICK;
use super::support::netns::{Machine, PORT, Switch, machines};
use super::support::wait::pause;
use super::support::{Client, NodeProcess, wait_until};

/// Nodes on machines of their own. Fields are dropped in this order: the nodes end before their machines go.
pub(crate) struct Lab {
    nodes: Vec<NodeProcess>,
    machines: Vec<Machine>,
    _switch: Switch,
    _state: TempDir,
}

impl Lab {
    /// So many masters that all vote.
    pub(crate) fn started(count: usize) -> Lab {
        let (switch, machines) = machines(count);
        let state = tempfile::tempdir().expect("a directory");
        let start = |(nth, machine): (usize, &Machine)| {
            let (name, own) = (format!("m{nth}"), machine.address());
            let directory = state.path().join(&name).display().to_string();
            let place =
                ["--name", &name, "--data-dir", &directory, "--host", "0.0.0.0", "--insecure", "--advertise", &own];
            let peers: Vec<String> = machines.iter().map(Machine::address).filter(|peer| *peer != own).collect();
            let peers: Vec<&str> = peers.iter().flat_map(|peer| ["--peer", peer.as_str()]).collect();
            machine.within(|| NodeProcess::start_on(PORT, &[&place[..], &peers[..], &QUICK[..]].concat()))
        };
        let nodes: Vec<NodeProcess> = machines.iter().enumerate().map(start).collect();
        let lab = Lab { nodes, machines, _switch: switch, _state: state };
        wait_until("all to vote", || {
            (0..count).all(|nth| lab.ask(nth)["VOTERS"].as_array().is_some_and(|voters| voters.len() == count))
        });
        lab
    }

    fn ask(&self, nth: usize) -> serde_json::Value {
        self.machines[nth].within(|| self.nodes[nth].ask(r#"{"TASK":"ELECT"}"#))
    }

    /// Who leads, as the first node that knows says.
    fn leader(&self) -> Option<usize> {
        let name = |nth| self.ask(nth)["LEADER_NAME"].as_str().and_then(|name| name.strip_prefix('m')?.parse().ok());
        (0..self.nodes.len()).find_map(name)
    }

    /// `deaf` does not hear what comes from `mute`.
    fn rule(&self, mute: usize) -> String {
        format!("ip saddr {} drop\n", self.machines[mute].ip)
    }

    /// Does one drawn fault, from its begin to its end. Returns its words.
    pub(crate) fn fault(&self, draw: &mut Draw) -> String {
        let count = self.nodes.len();
        let hit = if draw.chance(60) { self.leader().unwrap_or(0) } else { draw.below(count) };
        let other = (hit + 1 + draw.below(count - 1)) % count;
        let others = || (0..count).filter(|nth| *nth != hit);
        let lasts = draw.millis(100, 2500);
        // Who does not hear whom.
        let mut deaf: Vec<(usize, usize)> = Vec::new();
        let words = match draw.below(8) {
            0 | 1 => {
                others().for_each(|nth| deaf.extend([(hit, nth), (nth, hit)]));
                format!("m{hit} is cut off")
            }
            2 => {
                others().for_each(|nth| deaf.push((hit, nth)));
                format!("m{hit} hears nobody")
            }
            3 => {
                others().for_each(|nth| deaf.push((nth, hit)));
                format!("nobody hears m{hit}")
            }
            4 => {
                deaf.extend([(hit, other), (other, hit)]);
                format!("m{hit} and m{other} do not hear each other")
            }
            5 => {
                deaf.push((hit, other));
                format!("m{hit} does not hear m{other}")
            }
            6 => {
                // All but one on each side of the one who still hears all.
                for one in others().filter(|nth| *nth != other) {
                    deaf.extend([(hit, one), (one, hit)]);
                }
                format!("m{hit} and the others meet in m{other} alone")
            }
            _ => {
                self.machines[hit].set_link(false);
                format!("m{hit} is unplugged")
            }
        };
        let stopped = draw.chance(20).then_some(other);
        for nth in 0..count {
            let rules: String = deaf.iter().filter(|(who, _)| *who == nth).map(|(_, mute)| self.rule(*mute)).collect();
            if !rules.is_empty() {
                self.machines[nth].on_input(&rules);
            }
        }
        if let Some(nth) = stopped {
            self.nodes[nth].process.signal(Signal::STOP);
        }
        pause(lasts);
        if let Some(nth) = stopped {
            self.nodes[nth].process.signal(Signal::CONT);
        }
        if deaf.is_empty() {
            self.machines[hit].set_link(true);
        }
        for nth in (0..count).filter(|nth| deaf.iter().any(|(who, _)| who == nth)) {
            self.machines[nth].heal();
        }
        pause(draw.millis(0, 1500));
        let and = stopped.map_or(String::new(), |nth| format!(", m{nth} stopped"));
        format!("{words}{and} for {lasts:?}")
    }
}

impl Doors for Lab {
    fn count(&self) -> usize {
        self.nodes.len()
    }

    /// From the node's own machine: whatever is cut, its clients reach it.
    fn open(&self, nth: usize) -> io::Result<Client> {
        self.machines[nth].within(|| Client::connect(PORT))
    }
}
