//! Two machines and a cable between them, as network namespaces of this machine. Needs root, `ip`, `ss` and `nft`.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The name that the interface of each machine has.
const CABLE: &str = "cable";

/// The port that nodes listen on. Namespaces have ports of their own, so it need not be free outside.
pub(crate) const PORT: u16 = 9101;

/// A machine: a network namespace with a loopback and one end of the cable. Gone when dropped, with its faults.
pub(crate) struct Machine {
    name: String,
    namespace: File,
    /// Its IPv4 address on the cable.
    pub(crate) ip: String,
}

/// A TCP connection of a machine over the cable, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tcp {
    /// `ESTAB`, `FIN-WAIT-1`, ...
    pub(crate) state: String,
    /// Its end here.
    pub(crate) local: String,
    /// Its other end.
    pub(crate) remote: String,
}

/// Two machines, joined.
pub(crate) fn two_machines() -> (Machine, Machine) {
    let lab = next_lab();
    let machine = |side: u8| Machine::new(format!("mutirao-{}-{lab}-{side}", std::process::id()), lab, side);
    let (left, right) = (machine(1), machine(2));
    let ends = ["type", "veth", "peer", "name", CABLE, "netns", &right.name];
    run("ip", &[&["-n", &left.name, "link", "add", CABLE][..], &ends].concat());
    left.plug_in();
    right.plug_in();
    (left, right)
}

/// What joins the cables of several machines. Gone when dropped.
pub(crate) struct Switch(String);

/// The name of the bridge on the machine of a switch.
const BRIDGE: &str = "bridge";

/// So many machines, each with a cable to one switch.
pub(crate) fn machines(count: usize) -> (Switch, Vec<Machine>) {
    let lab = next_lab();
    let switch = Switch(format!("mutirao-{}-{lab}-switch", std::process::id()));
    run("ip", &["netns", "add", &switch.0]);
    run("ip", &["-n", &switch.0, "link", "add", BRIDGE, "type", "bridge"]);
    run("ip", &["-n", &switch.0, "link", "set", BRIDGE, "up"]);
    let machine = |side: u8| {
        let machine = Machine::new(format!("mutirao-{}-{lab}-{side}", std::process::id()), lab, side);
        let port = format!("port{side}");
        let ends = ["type", "veth", "peer", "name", &port, "netns", &switch.0];
        run("ip", &[&["-n", &machine.name, "link", "add", CABLE][..], &ends].concat());
        run("ip", &["-n", &switch.0, "link", "set", &port, "master", BRIDGE, "up"]);
        machine.plug_in();
        machine
    };
    let count = u8::try_from(count).expect("a few machines");
    let machines = (1..=count).map(machine).collect();
    (switch, machines)
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// The number of the next lab.
fn next_lab() -> u8 {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Machine {
    fn new(name: String, lab: u8, side: u8) -> Machine {
        run("ip", &["netns", "add", &name]);
        let namespace = File::open(format!("/run/netns/{name}")).expect("ip has made the namespace");
        Machine { name, namespace, ip: format!("10.77.{lab}.{side}") }
    }

    /// Gives the cable its address, and switches it on.
    fn plug_in(&self) {
        self.ip(&["address", "add", &format!("{}/24", self.ip), "dev", CABLE]);
        self.ip(&["link", "set", "lo", "up"]);
        self.ip(&["link", "set", CABLE, "up"]);
    }

    /// `10.77.N.M:9101`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{PORT}", self.ip)
    }

    /// Runs `action` on this machine: sockets that it opens and processes that it starts are here.
    pub(crate) fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a namespace");
                action()
            });
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Applies a rule of nftables to whatever comes in over the cable, until [`Machine::heal`].
    pub(crate) fn on_input(&self, rule: &str) {
        let chain = format!("type filter hook input priority 0\niifname != \"{CABLE}\" accept\n{rule}");
        self.nft(&format!("table inet faults {{\nchain input {{\n{chain}\n}}\n}}\n"));
    }

    /// Takes the rule away.
    pub(crate) fn heal(&self) {
        self.nft("delete table inet faults\n");
    }

    /// How many packets the rule with `counter` has seen.
    pub(crate) fn counted(&self) -> u64 {
        let rules = self.within(|| run("nft", &["list", "ruleset"]));
        let count = rules.split_once("counter packets ").and_then(|(_, rest)| rest.split_whitespace().next());
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no counter in {rules}"))
    }

    /// Pulls the cable out here, or puts it in again.
    pub(crate) fn set_link(&self, up: bool) {
        self.ip(&["link", "set", CABLE, if up { "up" } else { "down" }]);
    }

    /// Its TCP connections over the cable. Those that are only waiting for their ports to be free again are over.
    pub(crate) fn connections(&self) -> Vec<Tcp> {
        let listed = self.within(|| run("ss", &["-Htan", "src", &self.ip]));
        let fields = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [state, _, _, local, remote, ..] = fields[..] else { panic!("not a line of ss: `{line}`") };
            Tcp { state: state.to_owned(), local: local.to_owned(), remote: remote.to_owned() }
        };
        let over = |tcp: &Tcp| ["LISTEN", "TIME-WAIT"].contains(&tcp.state.as_str());
        let mut found: Vec<Tcp> =
            listed.lines().map(fields).filter(|tcp| !over(tcp) && tcp.local != tcp.remote).collect();
        found.sort();
        found
    }

    fn ip(&self, args: &[&str]) {
        run("ip", &[&["-n", &self.name][..], args].concat());
    }

    fn nft(&self, script: &str) {
        self.within(|| {
            let child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
            let mut child = child.unwrap_or_else(|error| panic!("starting nft: {error}"));
            let mut input = child.stdin.take().expect("the input is piped");
            input.write_all(script.as_bytes()).expect("nft reads its script");
            drop(input);
            let status = child.wait().expect("a child can be waited for");
            assert!(status.success(), "nft does not take `{script}`: {status}");
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The cable goes with the first of its two ends.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Runs a program to its end and returns what it printed. Panics if it fails.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("starting {program}: {error}"));
    let failure = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {failure}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
