//! Clients that are slow, many, deaf, or speak something else.
#![cfg(unix)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::group::{Masters, QUICK};
use support::ports::free_port;
use support::process::{PROGRAM, Process};
use support::wait::pause;
use support::{Client, DEADLINE, Line, NodeProcess, wait_until};

const HEARTBEAT: &str = r#"{"TASK":"HEARTBEAT"}"#;

/// Raises the soft limit of open files of this process, and so of the nodes that it starts, to the hard one.
/// Returns how many connections fit.
fn raise_open_files() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be raised to the hard one");
    let spare = 200;
    limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)).saturating_sub(spare)
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the node listens");
    stream.set_nodelay(true).unwrap();
    stream
}

/// Everything that the node sends until it closes.
fn read_all(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the node does not close: {error}, after {:?}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn five_thousand_idle_connections_and_a_slow_drip_keep_nobody_from_an_answer() {
    let count = raise_open_files().min(5000);
    let node = NodeProcess::start(&[]);
    let mut drip = node.client();
    let mut idle = Vec::with_capacity(count);
    let text = format!("{HEARTBEAT}\n");
    let mut dripped = text.bytes();
    for index in 0..count {
        idle.push(connect(node.port));
        if index % 200 == 0 {
            if let Some(byte) = dripped.next() {
                drip.send(&[byte]).unwrap();
            }
            node.assert_healthy();
        }
    }
    // They are served, not only in the backlog: the first, the last and some between.
    for stream in idle.iter().step_by((count / 20).max(1)).chain(idle.last()) {
        let mut stream = stream;
        stream.write_all(text.as_bytes()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).expect("an idle connection is still served");
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.contains(r#""RESPONSE":"ALIVE""#), "{answer}");
    }
    drip.send(&dripped.collect::<Vec<u8>>()).unwrap();
    assert_eq!(drip.json()["RESPONSE"], "ALIVE");
    drop(idle);
    node.assert_healthy();
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_nobody_else_notices() {
    let node = NodeProcess::start(&[]);
    let mut deaf = connect(node.port);
    deaf.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let requests = "{\"TASK\":\"LOAD\"}\n".repeat(4096);
    let started = Instant::now();
    loop {
        match deaf.write(requests.as_bytes()) {
            Ok(_) => {}
            // The node has stopped reading from who does not read; its patience ends too.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => {
                let closed = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
                assert!(closed, "expected to be disconnected, got {error}");
                break;
            }
        }
        node.assert_healthy();
        assert!(started.elapsed() < Duration::from_secs(90), "a deaf client is still connected");
    }
    node.assert_healthy();
}

#[test]
#[cfg(target_os = "linux")]
fn a_node_out_of_file_descriptors_serves_whom_it_has_and_does_not_spin() {
    let port = free_port();
    let limited = r#"ulimit -n 128; exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", limited, PROGRAM, "--port", &port.to_string(), "--ephemeral"]);
    let node = NodeProcess::listening(Process::spawn(&mut command), port).expect("the port was free");
    let mut early = node.client();
    assert_eq!(early.ask(HEARTBEAT)["RESPONSE"], "ALIVE");

    let mut many: Vec<Client> = (0..300).map(|_| node.client()).collect();
    let (mut served, mut turned_away) = (0, 0);
    for client in &mut many {
        // A connection that was turned away may be closed before this is written.
        let _ = client.send(format!("{HEARTBEAT}\n").as_bytes());
        match client.line_within(DEADLINE) {
            Line::Text(line) if line.contains(r#""ALIVE""#) => served += 1,
            Line::Text(line) if line.contains(r#""BUSY""#) => turned_away += 1,
            Line::Closed => turned_away += 1,
            other => panic!("expected ALIVE, BUSY or the end of the connection, got {other:?}"),
        }
    }
    assert!(served > 20, "only {served} of 300 were served");
    assert!(turned_away > 100, "only {turned_away} of 300 were turned away, with 128 file descriptors");
    assert_eq!(early.ask(HEARTBEAT)["RESPONSE"], "ALIVE");

    let before = node.cpu_seconds();
    assert_eq!(early.line_within(Duration::from_secs(1)), Line::Nothing);
    let used = node.cpu_seconds() - before;
    assert!(used < 0.5, "{used} s of CPU in a second of nothing to do");

    drop(many);
    wait_until("a new connection to be served", || {
        let Ok(mut client) = Client::connect(port) else { return false };
        let _ = client.send(format!("{HEARTBEAT}\n").as_bytes());
        matches!(client.line_within(Duration::from_secs(1)), Line::Text(line) if line.contains(r#""ALIVE""#))
    });
}

#[test]
fn http_is_answered_501_and_closed() {
    let node = NodeProcess::start(&[]);
    let requests = [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "HEAD /health HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "DELETE /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for request in requests {
        let mut stream = connect(node.port);
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 501 "), "{request:?} was answered {answer:?}");
    }
    // The same when the method comes in two pieces.
    for cut in 1..4 {
        let mut stream = connect(node.port);
        stream.write_all(&b"GET / HTTP/1.1\r\n\r\n"[..cut]).unwrap();
        pause(Duration::from_millis(20));
        stream.write_all(&b"GET / HTTP/1.1\r\n\r\n"[cut..]).unwrap();
        let answer = read_all(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 501 "), "cut at {cut}: {answer:?}");
    }
    node.assert_healthy();
}

/// How many heartbeats the node says to have answered.
fn heartbeats(node: &NodeProcess) -> u64 {
    let hello = node.ask(r#"{"TASK":"HELLO"}"#);
    hello["HEARTBEATS"].as_u64().unwrap_or_else(|| panic!("no HEARTBEATS in {hello}"))
}

#[test]
fn lines_in_the_body_of_a_post_are_never_tasks() {
    let node = NodeProcess::start(&[]);
    let before = heartbeats(&node);
    let body = format!("{HEARTBEAT}\n").repeat(20);
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    for pieces in [
        vec![format!("{head}{body}")],
        vec![head.clone(), body.clone()],
        vec!["P".to_owned(), head[1..].to_owned(), body.clone()],
    ] {
        let mut stream = connect(node.port);
        for piece in &pieces {
            // The node may have closed already; that is an answer too.
            if stream.write_all(piece.as_bytes()).is_err() {
                break;
            }
            pause(Duration::from_millis(20));
        }
        let answer = read_all(&mut stream);
        assert!(!answer.contains("ALIVE"), "a task in a body was answered: {answer}");
    }
    assert_eq!(heartbeats(&node), before, "a task in a body was dispatched");
}

#[test]
fn tls_is_closed_without_an_answer() {
    let node = NodeProcess::start(&[]);
    let mut stream = connect(node.port);
    stream.write_all(&[0x16, 0x03, 0x01, 0x00, 0x05, b'h', b'e', b'l', b'l', b'o']).unwrap();
    assert_eq!(read_all(&mut stream), "");
    node.assert_healthy();
}

#[test]
fn a_word_that_only_begins_like_http_is_a_line() {
    let node = NodeProcess::start(&[]);
    for text in ["GETTING", "POSTER", "get / HTTP/1.1", "G"] {
        let answer = node.ask(text);
        assert_eq!(answer["ERROR"], "BAD_JSON", "`{text}`: {answer}");
    }
}

#[test]
fn a_line_longer_than_the_limit_is_an_error_and_the_end_of_the_connection() {
    let node = NodeProcess::start(&[]);
    for newline in ["\n", ""] {
        let mut client = node.client();
        let line = format!(r#"{{"TASK":"HEARTBEAT","X":"{}"}}"#, "x".repeat(mutirao::wire::MAX_LINE_BYTES));
        // The node may close before the last byte is written.
        let _ = client.send(format!("{line}{newline}").as_bytes());
        let lines = client.until_closed();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let answer: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(answer["ERROR"], "LINE_TOO_LONG", "{answer}");
    }
}

#[test]
fn a_line_of_exactly_the_limit_is_read() {
    let node = NodeProcess::start(&[]);
    let frame = r#"{"TASK":"HEARTBEAT","X":""}"#;
    let line = frame.replace(r#""""#, &format!(r#""{}""#, "x".repeat(mutirao::wire::MAX_LINE_BYTES - frame.len())));
    assert_eq!(line.len(), mutirao::wire::MAX_LINE_BYTES);
    assert_eq!(node.ask(&line)["RESPONSE"], "ALIVE");
}

#[test]
fn a_half_closed_connection_gets_all_its_answers_and_then_the_end() {
    let node = NodeProcess::start(&[]);
    let mut client = node.client();
    client.send(format!("{HEARTBEAT}\n{{\"TASK\":\"LOAD\"}}\n{{\"TASK\":\"HELLO\"}}").as_bytes()).unwrap();
    client.finish();
    let answers: Vec<serde_json::Value> =
        client.until_closed().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tasks: Vec<&str> = answers.iter().filter_map(|answer| answer["TASK"].as_str()).collect();
    assert_eq!(tasks, ["HEARTBEAT", "LOAD", "HELLO"]);
}

#[test]
fn a_half_closed_stream_goes_on() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let node = NodeProcess::start(&["--interval", "0.2", "--timeout", "2", "--peer", &address]);
    let mut stream = node.client();
    stream.send(b"{\"TASK\":\"EVENTS\"}\n").unwrap();
    stream.finish();
    assert_eq!(stream.json()["RESPONSE"], "OK");
    let _peer = NodeProcess::start_on(port, &["--ephemeral"]);
    let event = stream.json();
    assert_eq!(event["TASK"], "EVENTS", "{event}");
    assert!(event["EVENT"].is_string(), "{event}");
}

/// What a stranger may say of elections and of the log, in the form of members: everything fits but what is changed in each line.
fn letters_of_a_stranger(group: &str, to: u64, from: u64) -> Vec<Value> {
    let most = (1_u64 << 53) - 1;
    let head = |task: &str, kind: &str, term: u64, rest: Value| {
        let mut line = json!({"TASK": task, "KIND": kind, "GROUP_ID": group, "FROM": from, "TO": to, "TERM": term});
        line.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        line
    };
    let vote = |kind: &str, term: u64, index: u64| {
        let log = json!({"LAST_LOG_INDEX": index, "LAST_LOG_TERM": term, "COMMIT_INDEX": index, "COMMIT_TERM": term, "TRANSFER": true});
        head("ELECT", kind, term, log)
    };
    let append = |term: u64, prev: u64, entries: Value| {
        let log = json!({"PREV_LOG_INDEX": prev, "PREV_LOG_TERM": 1, "LEADER_COMMIT": most, "ENTRIES": entries});
        head("AGREE", "APPEND", term, log)
    };
    let set = |index: u64| json!({"INDEX": index, "TERM": 9, "DO": "SET", "NAME": "capacity", "VALUE": 1});
    let snapshot = |offset: u64, done: bool| {
        let piece = json!({"LAST_INCLUDED_INDEX": most, "LAST_INCLUDED_TERM": 9, "VOTERS": [from], "LEARNERS": [], "OFFSET": offset, "DATA": "{}", "DONE": done});
        head("AGREE", "SNAPSHOT", 9, piece)
    };
    let mut lines = Vec::new();
    for term in [0, 1, 99, most] {
        lines.extend([vote("VOTE", term, most), vote("PRE_VOTE", term, 0), head("ELECT", "NOW", term, json!({}))]);
        lines.push(head("AGREE", "HEARTBEAT", term, json!({"LEADER_COMMIT": most, "CONTEXT": "1"})));
        lines.extend([append(term, 1, json!([])), append(term, most, json!([set(most)]))]);
        // With a gap, backwards, and twice the same.
        lines.extend([append(term, 1, json!([set(2), set(9)])), append(term, 3, json!([set(5), set(4), set(4)]))]);
    }
    lines.extend([snapshot(0, true), snapshot(0, false), snapshot(most, true)]);
    // Unknown senders and receivers, the receiver itself, another group.
    for (field, value) in
        [("FROM", json!(77)), ("FROM", json!(to)), ("TO", json!(77)), ("GROUP_ID", json!("ffffffff-0000"))]
    {
        let mut line = vote("VOTE", 99, most);
        line[field] = value;
        lines.push(line);
    }
    lines
}

#[test]
fn strangers_change_neither_who_leads_nor_what_is_agreed_on() {
    let masters = Masters::started(3, &QUICK);
    let leader = masters.wait_leader();
    assert_eq!(masters.set(leader, "capacity", 44)["RESPONSE"], "OK");
    let stands = |nth: usize| {
        let elect = masters.ask(nth, &json!({"TASK": "ELECT"}));
        ["GROUP_ID", "STATE", "TERM", "LEADER", "QUORUM"].map(|field| elect[field].clone())
    };
    for nth in [leader, (leader + 1) % 3] {
        let elect = masters.ask(nth, &json!({"TASK": "ELECT"}));
        let (before, to) = (stands(nth), elect["RAFT_ID"].as_u64().unwrap());
        let group = elect["GROUP_ID"].as_str().unwrap();
        let other =
            if nth == leader { elect["VOTERS"][0]["RAFT_ID"].as_u64() } else { elect["LEADER_RAFT_ID"].as_u64() };
        let from = other.filter(|other| *other != to).unwrap_or(to % 3 + 1);
        let mut stranger = masters.node(nth).client();
        let lines = letters_of_a_stranger(group, to, from);
        for line in &lines {
            let answer = stranger.ask(&line.to_string());
            assert_eq!(answer["RESPONSE"], "ERROR", "{line} was answered {answer}");
            // A line that is no lawful letter is refused for that, all others for want of proof.
            let code = answer["ERROR"].as_str().unwrap();
            assert!(matches!(code, "NOT_A_MEMBER" | "BAD_FIELD"), "{line} was answered {answer}");
        }
        // A proof with a key that is not known, after which nothing else is believed either.
        let challenge = json!({"TASK": "HELLO", "SERVER_ID": "stranger", "GROUP_ID": group, "RAFT_ID": from, "RUN": "1".repeat(32), "CHALLENGE": "0".repeat(32)});
        assert_eq!(stranger.ask(&challenge.to_string())["RESPONSE"], "OK");
        let wrong = stranger.ask(&json!({"TASK": "HELLO", "PROOF": "0".repeat(64)}).to_string());
        assert_eq!(wrong["ERROR"], "NOT_A_MEMBER", "{wrong}");
        for line in &lines {
            assert_eq!(stranger.ask(&line.to_string())["RESPONSE"], "ERROR");
        }
        // Answers that nobody asked for are not answered, and mean nothing.
        for line in [
            json!({"TASK": "ELECT", "RESPONSE": "OK", "KIND": "VOTE", "GROUP_ID": group, "FROM": from, "TO": to, "TERM": 99, "VOTE_GRANTED": true, "COMMIT_INDEX": 0, "COMMIT_TERM": 0}),
            json!({"TASK": "AGREE", "RESPONSE": "OK", "KIND": "APPEND", "GROUP_ID": group, "FROM": from, "TO": to, "TERM": 99, "SUCCESS": true, "MATCH_INDEX": 1_000_000, "COMMIT_INDEX": 1_000_000}),
        ] {
            stranger.send_line(&line.to_string());
        }
        assert_eq!(stranger.ask(HEARTBEAT)["RESPONSE"], "ALIVE");
        assert_eq!(stands(nth), before, "what a stranger said was believed");
    }
    (0..3).for_each(|nth| assert_eq!(masters.get(nth, "capacity"), 44));
}
