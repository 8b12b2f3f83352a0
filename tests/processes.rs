//! Real nodes that live, die, stop and come back beside each other.
#![cfg(unix)]

mod support;

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::fake_peer::Closing;
use support::pattern::is_uuid;
use support::ports::free_port;
use support::{Client, FakePeer, NodeProcess, wait_for, wait_until};

/// Heartbeats often enough for a test, and a timeout that a busy test machine does not run into.
const FAST: [&str; 4] = ["--interval", "0.2", "--timeout", "2"];
const TIMEOUT_MS: u64 = 2000;

/// A node without state that beats fast and knows these peers.
fn node(peers: &[&str]) -> NodeProcess {
    let peers = peers.iter().flat_map(|peer| ["--peer", peer]);
    NodeProcess::start(&FAST.into_iter().chain(peers).collect::<Vec<_>>())
}

/// Two nodes that know each other by `--peer`.
fn pair() -> (NodeProcess, NodeProcess) {
    let port = free_port();
    let first = node(&[&format!("127.0.0.1:{port}")]);
    let peer = first.address();
    let second = NodeProcess::start_on(port, &[&FAST[..], &["--peer", &peer, "--ephemeral"]].concat());
    (first, second)
}

fn entry_of(node: &NodeProcess, address: &str) -> Option<Value> {
    node.nodes().into_iter().find(|entry| entry["ADDRESS"] == *address)
}

#[test]
fn two_nodes_see_each_other_alive_by_their_ids() {
    let (first, second) = pair();
    first.wait_status(&second.address(), "ALIVE");
    second.wait_status(&first.address(), "ALIVE");
    assert_eq!(entry_of(&first, &second.address()).unwrap()["SERVER_ID"], *second.server_id());
    assert_eq!(entry_of(&second, &first.address()).unwrap()["SERVER_ID"], *first.server_id());
    assert_eq!((first.nodes().len(), second.nodes().len()), (1, 1), "nobody else is here");
}

#[test]
fn a_killed_peer_is_timeout_at_its_last_answer_plus_the_timeout_and_not_before() {
    let (first, mut second) = pair();
    let address = second.address();
    first.wait_status(&address, "ALIVE");
    second.process.kill();
    let killed = Instant::now();
    let silent = wait_for("the killed peer to be TIMEOUT", || {
        let entry = entry_of(&first, &address).expect("a configured peer stays in the registry");
        (entry["STATUS"] != "ALIVE").then_some(entry)
    });
    assert_eq!(silent["STATUS"], "TIMEOUT", "{silent}");
    let age = silent["LAST_SEEN_MS"].as_u64().expect("a peer that answered was seen");
    assert!(age >= TIMEOUT_MS, "TIMEOUT only {age} ms after the last answer");
    assert!(killed.elapsed() < Duration::from_secs(8), "TIMEOUT {:?} after the kill", killed.elapsed());
}

#[test]
fn a_peer_that_comes_back_keeps_its_id_and_leaves_no_ghost() {
    let state = tempfile::tempdir().unwrap();
    let port = free_port();
    let first = node(&[&format!("127.0.0.1:{port}")]);
    let peer = first.address();
    let args = [&FAST[..], &["--peer", &peer, "--data-dir", state.path().to_str().unwrap()]].concat();
    let mut second = NodeProcess::start_on(port, &args);
    let address = second.address();
    let id = second.server_id();
    first.wait_status(&address, "ALIVE");
    second.process.kill();
    first.wait_status(&address, "TIMEOUT");
    let second = NodeProcess::start_on(port, &args);
    first.wait_status(&address, "ALIVE");
    assert_eq!(second.server_id(), id, "the identity is durable");
    let nodes = first.nodes();
    assert_eq!(nodes.len(), 1, "one node, one entry: {nodes:?}");
    assert_eq!(nodes[0]["SERVER_ID"], *id);
}

#[test]
fn sigterm_says_goodbye_and_ends_with_zero() {
    let (first, mut second) = pair();
    let address = second.address();
    first.wait_status(&address, "ALIVE");
    second.wait_status(&first.address(), "ALIVE");
    second.process.signal(Signal::TERM);
    let (status, took) = second.process.wait();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(4), "the end took {took:?}");
    first.wait_status(&address, "LEFT");
}

#[test]
fn an_answer_that_is_open_at_the_end_is_flushed() {
    let mut node = node(&[]);
    let mut client = node.client();
    client.ask(r#"{"TASK":"EVENTS"}"#);
    node.process.signal(Signal::INT);
    let lines = client.until_closed();
    assert!(lines.iter().any(|line| line.contains(r#""STOPPING""#)), "the stream ends without STOPPING: {lines:?}");
    assert_eq!(node.process.wait().0.code(), Some(0));
}

#[test]
fn a_second_signal_ends_the_node_at_once() {
    let mut node = node(&[]);
    let mut stream = node.client();
    stream.ask(r#"{"TASK":"EVENTS"}"#);
    // A client that asks and does not read: the goodbye waits for it.
    let mut deaf = TcpStream::connect((Ipv4Addr::LOCALHOST, node.port)).unwrap();
    deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let questions = "{\"TASK\":\"HELLO\"}\n".repeat(4096);
    while deaf.write(questions.as_bytes()).is_ok() {}

    node.process.signal(Signal::INT);
    while stream.json()["EVENT"] != "STOPPING" {}
    node.process.signal(Signal::INT);
    assert_eq!(node.process.wait().0.code(), Some(130), "the code of an end without goodbye");
}

#[test]
fn a_stopped_process_is_timeout_and_both_sides_recover_when_it_goes_on() {
    let (first, second) = pair();
    let (one, two) = (first.address(), second.address());
    first.wait_status(&two, "ALIVE");
    second.wait_status(&one, "ALIVE");
    second.process.signal(Signal::STOP);
    first.wait_status(&two, "TIMEOUT");
    second.process.signal(Signal::CONT);
    first.wait_status(&two, "ALIVE");
    second.wait_status(&one, "ALIVE");
    assert_eq!(first.nodes().len(), 1, "{:?}", first.nodes());
    assert_eq!(second.nodes().len(), 1, "{:?}", second.nodes());
}

#[test]
fn a_port_can_be_used_again_at_once_after_kill_9() {
    let mut node = NodeProcess::start(&[]);
    let mut client = node.client();
    client.ask(r#"{"TASK":"HEARTBEAT"}"#);
    node.process.kill();
    // The connection of the killed node lingers on this port; the next node takes it all the same.
    let again = NodeProcess::start_on(node.port, &["--ephemeral"]);
    again.assert_healthy();
    assert_eq!(client.until_closed(), Vec::<String>::new());
}

/// Reads a stream of EVENTS up to the event of this kind about this address. Numbers must have no gap.
fn await_event(stream: &mut Client, last: &mut u64, kind: &str, address: &str) -> Value {
    loop {
        let event = stream.json();
        let number = event["SEQ"].as_u64().unwrap_or_else(|| panic!("no SEQ in {event}"));
        assert_eq!(number, *last + 1, "a gap in the stream at {event}");
        *last = number;
        if event["EVENT"] == kind && event["ADDRESS"] == address {
            return event;
        }
    }
}

#[test]
fn the_stream_of_events_tells_the_life_of_a_peer() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let first = node(&[&address]);
    let mut stream = first.client();
    let begin = stream.ask(r#"{"TASK":"EVENTS"}"#);
    assert_eq!(begin["RESPONSE"], "OK", "{begin}");
    let mut last = begin["SEQ"].as_u64().expect("the number of the last event before the stream");

    let mut second = NodeProcess::start_on(port, &[&FAST[..], &["--ephemeral"]].concat());
    let alive = await_event(&mut stream, &mut last, "PEER_ALIVE", &address);
    assert!(alive["SERVER_ID"].as_str().is_some_and(is_uuid), "{alive}");
    assert!(alive["DETAIL"].as_str().is_some_and(|detail| !detail.is_empty()), "{alive}");
    second.process.kill();
    await_event(&mut stream, &mut last, "PEER_TIMEOUT", &address);
    let second = NodeProcess::start_on(port, &[&FAST[..], &["--ephemeral", "--peer", &first.address()]].concat());
    await_event(&mut stream, &mut last, "PEER_ALIVE", &address);
    second.process.signal(Signal::TERM);
    await_event(&mut stream, &mut last, "PEER_LEFT", &address);
}

#[test]
fn a_node_learns_a_native_peer_from_its_heartbeat() {
    let first = node(&[]);
    let second = node(&[&first.address()]);
    first.wait_status(&second.address(), "ALIVE");
    let entry = entry_of(&first, &second.address()).unwrap();
    assert_eq!(entry["LEARNT"], "heartbeat", "{entry}");
    assert_eq!(entry["SERVER_ID"], *second.server_id());
}

#[test]
fn a_peer_of_2026_1_that_answers_with_server_uuid_is_alive() {
    let answer = r#"{"SERVER_UUID": "Master_B", "TASK": "HEARTBEAT", "RESPONSE": "ALIVE"}"#;
    let peer = FakePeer::start(free_port(), answer, Closing::Never);
    let node = node(&[&peer.address()]);
    node.wait_status(&peer.address(), "ALIVE");
    assert_eq!(entry_of(&node, &peer.address()).unwrap()["SERVER_ID"], "Master_B");
    let heard = peer.heard();
    let first: Value = serde_json::from_str(&heard[0]).expect("a heartbeat is JSON");
    assert_eq!(first["TASK"], "HEARTBEAT", "{first}");
    assert!(first["SERVER_UUID"].is_string(), "a 2026/1 peer is shown SERVER_UUID: {first}");
}

#[test]
fn a_peer_that_closes_after_each_answer_has_not_failed() {
    let answer = r#"{"TASK": "HEARTBEAT", "RESPONSE": "ALIVE", "SERVER_ID": "seed-1"}"#;
    let peer = FakePeer::start(free_port(), answer, Closing::AfterAnswer);
    let node = node(&[&peer.address()]);
    let mut stream = node.client();
    stream.ask(r#"{"TASK":"EVENTS"}"#);
    // More answers than the timeout has room for without a fresh one among them.
    wait_until("twenty heartbeats to be answered", || peer.heard().len() >= 20);
    assert_eq!(node.status_of(&peer.address()).as_deref(), Some("ALIVE"));
    node.process.signal(Signal::TERM);
    let events = stream.until_closed().join("\n");
    assert!(!events.contains("PEER_TIMEOUT"), "{events}");
}

#[test]
fn a_peer_may_be_named_and_a_node_that_names_itself_leaves_itself_out() {
    let second = node(&[]);
    let port = free_port();
    let (own, named) = (format!("127.0.0.1:{port}"), format!("localhost:{}", second.port));
    let args = [&FAST[..], &["--ephemeral", "--peer", &own, "--peer", &named]].concat();
    let first = NodeProcess::start_on(port, &args);
    wait_until("the named peer to be the only one, and ALIVE", || {
        let nodes = first.nodes();
        nodes.len() == 1 && nodes[0]["STATUS"] == "ALIVE" && nodes[0]["SERVER_ID"] == *second.server_id()
    });
}

#[test]
fn the_registry_is_printed_every_interval_in_the_form_of_the_seed() {
    let (first, second) = pair();
    let id = second.server_id();
    let own = &first.server_id()[..8];
    let prefix = format!("[{own}] registry: ");
    let alive = wait_for("a printed registry that shows the peer ALIVE", || {
        let lines = first.process.stdout.lines();
        let mut registries = lines.iter().rev().filter_map(|line| line.strip_prefix(&prefix));
        let found = registries.find(|registry| registry.contains("ALIVE"))?;
        Some(serde_json::from_str::<Value>(found).unwrap_or_else(|error| panic!("`{found}` is not JSON: {error}")))
    });
    let entry = &alive[&id];
    assert_eq!(entry["server_id"], *id, "{alive}");
    assert_eq!(entry["host"], "127.0.0.1");
    assert_eq!(entry["port"], second.port);
    assert_eq!(entry["status"], "ALIVE");
    assert!(entry["last_seen"].is_number(), "{entry}");
}

#[test]
fn output_json_prints_nothing_but_json_lines() {
    let peer = node(&[]);
    let node = NodeProcess::start(&[&FAST[..], &["--peer", &peer.address(), "--output", "json"]].concat());
    wait_until("five printed lines", || node.process.stdout.lines().len() >= 5);
    for line in node.process.stdout.lines() {
        let value: Result<Value, _> = serde_json::from_str(&line);
        assert!(value.is_ok_and(|value| value.is_object()), "not a JSON object: `{line}`");
    }
}

#[test]
fn nodes_can_be_asked_for_one_peer_by_id_address_and_name() {
    let (first, second) = pair();
    first.wait_status(&second.address(), "ALIVE");
    let id = second.server_id();
    let queries = [("SERVER_ID", id.clone()), ("ADDRESS", second.address()), ("NAME", id[..8].to_owned())];
    for (field, value) in queries {
        let answer = first.ask(&format!(r#"{{"TASK":"NODES","{field}":"{value}"}}"#));
        assert_eq!(answer["NODES"].as_array().map(Vec::len), Some(1), "by {field}: {answer}");
        assert_eq!(answer["NODES"][0]["SERVER_ID"], *id, "by {field}: {answer}");
        assert_eq!(answer["MORE"], false, "by {field}: {answer}");
    }
    let nobody = first.ask(r#"{"TASK":"NODES","SERVER_ID":"nobody"}"#);
    assert_eq!(nobody["ERROR"], "NOT_FOUND", "{nobody}");
}

#[test]
fn a_large_registry_is_told_in_pages_without_gap_or_repetition() {
    // Nobody listens at 127.0.0.2 on these ports; configured peers are in the registry all the same.
    let peers: Vec<String> = (0..150).map(|index| format!("127.0.0.2:{}", 2000 + index)).collect();
    let node = node(&peers.iter().map(String::as_str).collect::<Vec<_>>());
    let mut client = node.client();
    let mut keys: Vec<String> = Vec::new();
    let mut pages = 0;
    loop {
        let after = keys.last().map(|key| format!(r#","AFTER":"{key}""#)).unwrap_or_default();
        let page = client.ask(&format!(r#"{{"TASK":"NODES"{after}}}"#));
        let entries = page["NODES"].as_array().unwrap_or_else(|| panic!("no NODES in {page}"));
        assert!(entries.len() <= mutirao::wire::NODES_PAGE);
        keys.extend(entries.iter().map(|entry| entry["KEY"].as_str().expect("KEY is a string").to_owned()));
        pages += 1;
        if page["MORE"] != true {
            break;
        }
        assert!(pages < 10, "pages without end");
    }
    assert_eq!(pages, 3);
    assert_eq!(keys.len(), 150);
    assert!(keys.windows(2).all(|two| two[0] < two[1]), "keys are in order, none twice");
}
