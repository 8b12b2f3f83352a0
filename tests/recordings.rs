//! The recorded conversation of two nodes of the seed, replayed with our node in the place of either; and what workers
//! and masters were recorded to say.
//!
//! `fixtures/seed.ndjson` holds the lines of the recording `seed.ndjson` that are about data, in their order: when,
//! on which connection, from whom, and the exact text.

mod support;

use std::collections::BTreeMap;

use mutirao::wire::{Body, decode, decode_datagram};
use serde_json::Value;
use support::fake_peer::Closing;
use support::ports::free_port;
use support::{FakePeer, NodeProcess, wait_until};

const SEED: &str = include_str!("fixtures/seed.ndjson");

/// One exchange on one connection of the recording.
struct Exchange {
    asker: String,
    request: String,
    answer: String,
}

fn exchanges() -> Vec<Exchange> {
    let mut connections: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in SEED.lines() {
        let record: Value = serde_json::from_str(line).expect("a recording is JSON lines");
        connections.entry(record["conn"].as_u64().expect("conn is a number")).or_default().push(record);
    }
    let text = |record: &Value, key: &str| record[key].as_str().expect("a string").to_owned();
    let exchange = |records: Vec<Value>| {
        let [request, answer] = &records[..] else { panic!("expected one request and one answer, got {records:?}") };
        assert_eq!((&request["dir"], &answer["dir"]), (&"c>s".into(), &"s>c".into()));
        Exchange { asker: text(request, "from"), request: text(request, "raw"), answer: text(answer, "raw") }
    };
    connections.into_values().map(exchange).collect()
}

#[test]
fn every_recorded_request_gets_the_recorded_answer_with_our_id() {
    let exchanges = exchanges();
    assert_eq!(exchanges.len(), 7, "the recording has seven heartbeats");
    for place in ["nodeA", "nodeB"] {
        let node = NodeProcess::start(&[]);
        let id = node.server_id();
        for exchange in exchanges.iter().filter(|exchange| exchange.asker != place) {
            let mut recorded: Value = serde_json::from_str(&exchange.answer).expect("an answer is JSON");
            recorded["SERVER_ID"] = id.clone().into();
            let mut client = node.client();
            client.send(exchange.request.as_bytes()).unwrap();
            assert_eq!(client.json(), recorded, "in the place of {place}");
            // The seed's client closes its end after the answer; nothing more may come.
            client.finish();
            assert_eq!(client.until_closed(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_recorded_peer_is_alive_while_it_answers_and_timeout_once_it_is_killed() {
    for place in ["nodeA", "nodeB"] {
        let exchanges = exchanges();
        // What our node hears in this place: the answers to the requests that this place sent.
        let exchange = exchanges.iter().find(|exchange| exchange.asker == place).expect("both places asked");
        let peer = FakePeer::start(free_port(), exchange.answer.trim_end(), Closing::AfterAnswer);
        let address = peer.address();
        // The recording's 2 s and 6 s, ten and five times as fast.
        let node = NodeProcess::start(&["--peer", &address, "--interval", "0.2", "--timeout", "1.2"]);
        let mut stream = node.client();
        stream.ask(r#"{"TASK":"EVENTS"}"#);
        node.wait_status(&address, "ALIVE");
        // Longer than the timeout by far: were the closes failures, it would show.
        wait_until("fifteen heartbeats to be answered", || peer.heard().len() >= 15);
        assert_eq!(node.status_of(&address).as_deref(), Some("ALIVE"));
        let log = node.process.stderr.text();
        assert!(!log.contains("TIMEOUT") && !log.contains("WARN"), "a close after an answer is no failure: {log}");

        let recorded: Value = serde_json::from_str(&exchange.answer).expect("an answer is JSON");
        let entry = node.nodes().into_iter().find(|entry| entry["ADDRESS"] == *address).expect("a configured peer");
        assert_eq!(entry["SERVER_ID"], recorded["SERVER_ID"]);

        drop(peer);
        node.wait_status(&address, "TIMEOUT");
        let mut kinds = Vec::new();
        while kinds.last().is_none_or(|kind| kind != "PEER_TIMEOUT") {
            kinds.push(stream.json()["EVENT"].as_str().expect("an event has a kind").to_owned());
        }
        let timeouts = kinds.iter().filter(|kind| *kind == "PEER_TIMEOUT").count();
        assert_eq!(timeouts, 1, "{kinds:?}");
    }
}

#[test]
fn what_the_node_asks_is_understood_by_a_reader_of_the_seed() {
    let exchange = &exchanges()[0];
    let peer = FakePeer::start(free_port(), exchange.answer.trim_end(), Closing::AfterAnswer);
    let told = format!("{},dialect=seed", peer.address());
    let node = NodeProcess::start(&["--peer", &told, "--interval", "0.2", "--timeout", "2"]);
    node.wait_status(&peer.address(), "ALIVE");
    let recorded: Value = serde_json::from_str(&exchange.request).expect("a request is JSON");
    for line in peer.heard() {
        assert_eq!(serde_json::from_str::<Value>(&line).expect("a heartbeat is JSON"), recorded);
    }
}

/// Every different line of the worker cycle, and every datagram of discovery, of the recordings `2025-2-pushed`,
/// `2026-1-dialled` and `2026-1-queued`.
const CYCLE: &str = include_str!("fixtures/cycle.ndjson");

#[test]
fn every_recorded_line_of_the_worker_cycle_is_understood() {
    let (mut lines, mut datagrams) = (0, 0);
    for line in CYCLE.lines() {
        let record: Value = serde_json::from_str(line).expect("a recording is JSON lines");
        let raw = record["raw"].as_str().expect("a string");
        if record["ev"] == "udp" {
            let from = "127.0.0.1:20305".parse().expect("an address");
            decode_datagram(raw.as_bytes(), from).unwrap_or_else(|error| panic!("{raw}: {error}"));
            datagrams += 1;
            continue;
        }
        let body = decode(raw.as_bytes()).unwrap_or_else(|error| panic!("{raw}: {error:?}")).body;
        let json: Value = serde_json::from_str(raw).expect("a line is JSON");
        let found = match &body {
            Body::WorkerAlive(alive) => {
                assert_eq!((alive.native.is_none(), alive.owner.as_deref()), (true, json["SERVER_UUID"].as_str()));
                json["WORKER"] == "ALIVE" && json["WORKER_UUID"] == alive.worker.as_str()
            }
            Body::Query { user } => json["TASK"] == "QUERY" && json["USER"] == user.value(),
            Body::NoTask => json["TASK"] == "NO_TASK",
            Body::KeepAlive => json["TASK"] == "KEEPALIVE",
            Body::WorkerStatus(status) => {
                let saldo = status.result.as_ref().map(|result| result.value()["SALDO"].clone());
                assert_eq!(saldo, json.get("SALDO").cloned(), "{raw}");
                json["STATUS"] == if status.ok { "OK" } else { "NOK" }
            }
            Body::StatusAck(ack) => {
                assert_eq!(ack.worker.as_ref().map(|id| id.as_str()), json["WORKER_UUID"].as_str());
                json["STATUS"] == "ACK"
            }
            Body::Pong { .. } => json["STATUS"] == "PONG",
            Body::ElectionAck { selected, .. } => json["SELECTED_MASTER"] == selected.as_str(),
            Body::ElectionAccepted { master } => json["MASTER_NAME"] == master.as_str(),
            _ => false,
        };
        assert!(found, "{raw}: {body:?}");
        lines += 1;
    }
    assert!(lines >= 30 && datagrams >= 3, "{lines} lines and {datagrams} datagrams");
}
