//! Every transcript of protocol.md, replayed against a real node: whole, cut at every byte, byte by byte, and with
//! all requests in one write.

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use support::NodeProcess;
use support::ports::free_port;
use support::transcript::{Cut, Ports, Transcript, parse_all};

const MANUAL: &str = include_str!("../protocol.md");

/// A manual that lost its transcripts must not pass.
const AT_LEAST: usize = 30;

/// The nodes that the transcripts speak of: one alone, and one with a peer.
struct World {
    alone: NodeProcess,
    paired: NodeProcess,
    peer: NodeProcess,
    dark: u16,
}

impl World {
    fn start() -> World {
        let alone = NodeProcess::start(&["--name", "alpha"]);
        let peer = NodeProcess::start(&["--name", "beta", "--interval", "0.2", "--timeout", "5"]);
        let args = ["--name", "alpha", "--peer", &peer.address(), "--interval", "0.2", "--timeout", "5"];
        let paired = NodeProcess::start(&args);
        paired.wait_status(&peer.address(), "ALIVE");
        World { alone, paired, peer, dark: free_port() }
    }

    /// The transcript as it is said to the node that it is about, and that node's port.
    fn cast(&self, transcript: &Transcript) -> (Transcript, u16) {
        let node = if transcript.has("peer") { self.paired.port } else { self.alone.port };
        (transcript.with_ports(Ports { node, peer: self.peer.port, dark: self.dark }), node)
    }
}

/// Replays all of `work` on several connections at once and panics with everything that went wrong.
fn replay_all(work: &[(Transcript, u16, Cut)]) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((transcript, port, cut)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = transcript.replay(*port, *cut) {
                        failures.lock().expect("no holder of this lock panics").push(error);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no holder of this lock panics");
    let first: Vec<&String> = failures.iter().take(10).collect();
    assert!(failures.is_empty(), "{} of {} replays failed, the first being {first:#?}", failures.len(), work.len());
}

#[test]
fn the_manual_has_its_transcripts_under_different_names() {
    let transcripts = parse_all(MANUAL);
    assert!(transcripts.len() >= AT_LEAST, "protocol.md has {} transcripts", transcripts.len());
    let mut names: Vec<&str> = transcripts.iter().map(|transcript| transcript.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), transcripts.len(), "two transcripts have one name");
}

#[test]
fn the_manual_names_every_kind_of_event() {
    for kind in mutirao::wire::EventKind::ALL {
        assert!(MANUAL.contains(&format!("`{}`", kind.as_str())), "{} is not in protocol.md", kind.as_str());
    }
}

#[test]
fn transcripts_hold_whole_and_all_at_once() {
    let world = World::start();
    let mut work = Vec::new();
    for transcript in parse_all(MANUAL).iter().filter(|transcript| !transcript.has("fresh")) {
        let (cast, port) = world.cast(transcript);
        work.push((cast.clone(), port, Cut::Whole));
        if !transcript.has("uncut") {
            work.push((cast, port, Cut::Together));
        }
    }
    replay_all(&work);
    world.alone.assert_healthy();
}

#[test]
fn transcripts_hold_however_their_bytes_are_cut() {
    let world = World::start();
    let mut work = Vec::new();
    for transcript in parse_all(MANUAL).iter().filter(|transcript| !transcript.has("uncut") && !transcript.has("fresh"))
    {
        let (cast, port) = world.cast(transcript);
        let cuts = (1..cast.sent_bytes()).map(Cut::At);
        work.extend(cuts.chain([Cut::EachByte]).map(|cut| (cast.clone(), port, cut)));
    }
    assert!(work.len() > 1000, "only {} ways to cut", work.len());
    replay_all(&work);
    world.alone.assert_healthy();
}

#[test]
fn transcripts_that_change_a_node_hold_on_one_of_their_own() {
    let mut failures = Vec::new();
    for transcript in parse_all(MANUAL).iter().filter(|transcript| transcript.has("fresh")) {
        let cuts: &[Cut] = if transcript.has("uncut") { &[Cut::Whole] } else { &[Cut::Whole, Cut::EachByte] };
        for cut in cuts {
            let node = NodeProcess::start(&["--name", "alpha"]);
            let ports = Ports { node: node.port, peer: free_port(), dark: free_port() };
            failures.extend(transcript.with_ports(ports).replay(node.port, *cut).err());
            node.assert_healthy();
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
