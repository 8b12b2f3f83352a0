//! `node status`: one node and its registry, readable.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::exit;
use super::pretty::{pretty, printable};
use super::table::{self, PeerRow, Room};
use super::values::Span;
use crate::wire::{Address, GroupId, ServerId};

/// Most entries of a registry that are asked for; a peer that offers more goes round in circles.
const MAX_ENTRIES: usize = 100_000;

/// How long a peer gets to answer `HELLO`. Foreign programs often meet a task that they do not know with silence.
const HELLO_WITHIN: Duration = Duration::from_secs(2);

/// Options of `node status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// The node to ask
    #[arg(value_name = "HOST:PORT")]
    address: Address,

    /// Print one JSON object with the answers as they came
    #[arg(long)]
    json: bool,

    /// How long to wait for a connection and for each answer
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    wait: Span,
}

/// Asks the node and prints what it says. Fails when it does not answer.
pub(super) fn run(args: &StatusArgs) -> ExitCode {
    let report = match Report::ask(&args.address, args.wait.0) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(exit::FAILURE);
        }
    };
    let is_terminal = io::stdout().is_terminal();
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = if args.json {
        let json = report.json().to_string();
        if is_terminal { pretty(&printable(&json), colour) } else { json }
    } else {
        // A pipe has no width; what does not fit a terminal is left out.
        let width = if is_terminal { table::terminal_size().0 } else { u16::MAX };
        report.text(&args.address, Room { width, height: u16::MAX, colour })
    };
    // Who reads our output may have enough of it: that is no failure.
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}");
            ExitCode::from(exit::FAILURE)
        }
        _ => ExitCode::from(exit::OK),
    }
}

/// What the peer answered.
#[derive(Debug)]
enum Report {
    /// A native node.
    Native {
        hello: Value,
        load: Value,
        /// The answer to a bare `ELECT`; none of a node that takes no part in agreement.
        group: Option<Value>,
        nodes: Vec<Value>,
        rtt: Duration,
    },
    /// A peer that knows `HEARTBEAT` only.
    Foreign { heartbeat: Value, rtt: Duration },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum StatusError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the peer at {0} speaks another protocol: it answered `{1}`")]
    Alien(Address, String),
    #[error("the node at {0} refused {1}: {2}")]
    Refused(Address, &'static str, String),
}

impl Report {
    fn ask(address: &Address, wait: Duration) -> Result<Report, StatusError> {
        let mut client = Client::new(address.clone(), wait.min(HELLO_WITHIN));
        let started = Instant::now();
        match client.ask(r#"{"TASK":"HELLO"}"#) {
            Ok(answer) => {
                let rtt = started.elapsed();
                let hello: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
                if hello["TASK"] == "HELLO" && hello["RESPONSE"] == "OK" {
                    client.set_wait(wait);
                    return Report::native(address, client, hello, rtt);
                }
            }
            // Silence, or the door, is how many answer what they do not know.
            Err(ClientError::NoAnswer(..) | ClientError::Closed(_) | ClientError::Broken(..)) => {}
            Err(error) => return Err(error.into()),
        }
        // On the same connection, where it stands: some programs serve one at a time.
        client.set_wait(wait);
        Report::foreign(address, client)
    }

    fn native(address: &Address, mut client: Client, hello: Value, rtt: Duration) -> Result<Report, StatusError> {
        let mut ask = |task: &'static str, line: String| {
            let answer = client.ask(&line)?;
            let value: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
            match value["RESPONSE"].as_str() {
                Some("OK") => Ok(value),
                _ => Err(StatusError::Refused(address.clone(), task, excerpt(&answer))),
            }
        };
        let load = ask("LOAD", json!({"TASK": "LOAD"}).to_string())?;
        // Workers, and nodes that are older than groups, refuse it.
        let group = ask("ELECT", json!({"TASK": "ELECT"}).to_string()).ok();
        let mut nodes: Vec<Value> = Vec::new();
        loop {
            let after = nodes.last().and_then(|last| last["KEY"].as_str());
            let line = match after {
                None => json!({"TASK": "NODES"}),
                Some(key) => json!({"TASK": "NODES", "AFTER": key}),
            };
            let mut page = ask("NODES", line.to_string())?;
            let entries = page["NODES"].as_array_mut().map(std::mem::take).unwrap_or_default();
            let more = page["MORE"] == true && !entries.is_empty();
            nodes.extend(entries);
            if !more || nodes.len() >= MAX_ENTRIES {
                return Ok(Report::Native { hello, load, group, nodes, rtt });
            }
        }
    }

    fn foreign(address: &Address, mut client: Client) -> Result<Report, StatusError> {
        let started = Instant::now();
        // With SERVER_UUID every generation understands it; the seed ignores the field.
        let answer = client.ask(r#"{"TASK":"HEARTBEAT","SERVER_UUID":"mutirao-status"}"#)?;
        let rtt = started.elapsed();
        let heartbeat: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
        if heartbeat["RESPONSE"] != "ALIVE" {
            return Err(StatusError::Alien(address.clone(), excerpt(&answer)));
        }
        Ok(Report::Foreign { heartbeat, rtt })
    }

    fn json(&self) -> Value {
        let millis = |rtt: &Duration| crate::time::micros(*rtt) as f64 / 1000.0;
        match self {
            Report::Native { hello, load, group, nodes, rtt } => {
                json!({"native": true, "hello": hello, "load": load, "group": group, "nodes": nodes, "rtt_ms": millis(rtt)})
            }
            Report::Foreign { heartbeat, rtt } => {
                json!({"native": false, "heartbeat": heartbeat, "rtt_ms": millis(rtt)})
            }
        }
    }

    fn text(&self, address: &Address, room: Room) -> String {
        match self {
            Report::Native { hello, load, group, nodes, rtt } => {
                native_text(address, (hello, load, group.as_ref()), nodes, *rtt, room)
            }
            Report::Foreign { heartbeat, rtt } => {
                let id = ["SERVER_ID", "SERVER_UUID"].into_iter().find_map(|key| heartbeat[key].as_str());
                format!(
                    "{address}  ALIVE\n  id         {}\n  round trip {}\n  It answers HEARTBEAT and not HELLO: a peer of \
                     another implementation, which tells no more.",
                    word(id),
                    rtt_text(*rtt),
                )
            }
        }
    }
}

fn native_text(
    address: &Address,
    (hello, load, group): (&Value, &Value, Option<&Value>),
    nodes: &[Value],
    rtt: Duration,
    room: Room,
) -> String {
    let id = hello["SERVER_ID"].as_str().and_then(ServerId::new);
    let dialects: Vec<&str> = hello["DIALECTS"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let flag = |value: &Value| if value == true { "yes" } else { "no" };
    let mut lines = vec![
        format!(
            "{}  {address}",
            printable(&table::name_and_id(hello["NAME"].as_str(), id.as_ref().map(|id| id.short())))
        ),
        format!("  id         {}", word(hello["SERVER_ID"].as_str())),
        format!(
            "  node       {} of group {}, listens at {}, version {}",
            word(hello["ROLE"].as_str()),
            word(hello["GROUP"].as_str()),
            word(hello["ADDRESS"].as_str()),
            word(hello["VERSION"].as_str())
        ),
        format!("  speaks     {}", printable(&dialects.join(", "))),
        format!(
            "  up         {}, {} heartbeats answered, round trip {}",
            age(&hello["UPTIME_MS"]),
            number(&hello["HEARTBEATS"]),
            rtt_text(rtt)
        ),
        format!(
            "  load       CPU {} %, memory {} %, {} pending, {} running, {} workers, score {}",
            number(&load["CPU"]),
            number(&load["MEMORY"]),
            number(&load["PENDING"]),
            number(&load["RUNNING"]),
            number(&load["WORKERS"]),
            number(&load["SCORE"])
        ),
        format!(
            "  saturated  {}: above {} pending, until below {}, each for {}",
            flag(&load["SATURATED"]),
            number(&load["CAPACITY"]),
            number(&load["RELEASE"]),
            age(&load["HOLD_MS"])
        ),
        match load["CPU_THRESHOLD"].as_f64() {
            Some(0.0) => "  hot        never (threshold 0)".to_owned(),
            _ => format!("  hot        {}: above {} % CPU", flag(&load["HOT"]), number(&load["CPU_THRESHOLD"])),
        },
        format!(
            "  peers      {}, asked every {}, TIMEOUT after {}",
            nodes.len(),
            age(&hello["INTERVAL_MS"]),
            age(&hello["TIMEOUT_MS"])
        ),
    ];
    if let Some(group) = group {
        lines.push(format!("  agreement  {}", group_text(group)));
    }
    if let Some(supervisor) = hello["SUPERVISOR"].as_str() {
        let reached = match hello["SUPERVISOR_REACHED"].as_bool() {
            Some(true) => "reached by the last report",
            Some(false) => "not reached by the last report",
            None => "no report was sent yet",
        };
        lines.push(format!("  supervisor {}, {reached}", printable(supervisor)));
    }
    let services = services(&hello["SERVICES"]);
    if !services.is_empty() {
        lines.push(format!("  services   {}", printable(&services.join(", "))));
    }
    if !nodes.is_empty() {
        lines.push(String::new());
        let rows: Vec<PeerRow> = nodes.iter().map(peer_row).collect();
        lines.extend(table::peers(&rows, room));
        // The reason is worth reading for peers that do not answer.
        let troubles = nodes.iter().filter(|node| node["STATUS"] != "ALIVE");
        let reasons = troubles.filter_map(|node| Some((node["ADDRESS"].as_str()?, node["REASON"].as_str()?)));
        let reasons: Vec<String> = reasons.map(|(peer, reason)| printable(&format!("{peer}: {reason}"))).collect();
        if !reasons.is_empty() {
            lines.push(String::new());
            lines.extend(reasons);
        }
    }
    lines.join("\n")
}

/// What the answer to a bare `ELECT` says: who leads whom, and how many voters can be lost.
fn group_text(group: &Value) -> String {
    let voters = group["VOTERS"].as_array().map_or(0, Vec::len);
    let who = match (group["STATE"].as_str(), group["LEADER_NAME"].as_str()) {
        (Some("LEADER"), _) => "leads".to_owned(),
        (Some("LEARNER"), Some(leader)) => format!("learns from {}", printable(leader)),
        (_, Some(leader)) => format!("follows {}", printable(leader)),
        (Some("NONE"), None) => "none".to_owned(),
        (state, None) => format!("nobody leads, it is {}", word(state)),
    };
    let mut text = match group["GROUP_ID"].as_str().map(str::to_owned).and_then(GroupId::new) {
        Some(id) => {
            let (member, term, spare) = (number(&group["RAFT_ID"]), number(&group["TERM"]), number(&group["SPARE"]));
            format!("{who} at term {term}, member {member} of {}; {voters} vote, {spare} spare", id.short())
        }
        None => who,
    };
    if let Some(reason) = group["REASON"].as_str() {
        text += &format!("; {}", printable(reason));
    }
    text
}

/// The names in `SERVICES`: each an object with `NAME`, or a name alone.
fn services(offers: &Value) -> Vec<&str> {
    let offers = offers.as_array().into_iter().flatten();
    offers.filter_map(|offer| offer["NAME"].as_str().or(offer.as_str())).collect()
}

/// The row of an entry of `NODES`.
fn peer_row(node: &Value) -> PeerRow {
    let id = node["SERVER_ID"].as_str().and_then(ServerId::new);
    let text = |value: &Value| value.as_str().map(printable).unwrap_or_default();
    let tenth = |value: &Value| value.as_f64().map(|value| format!("{value:.1}"));
    PeerRow {
        cells: [
            printable(&table::name_and_id(node["NAME"].as_str(), id.as_ref().map(|id| id.short()))),
            text(&node["ADDRESS"]),
            table::role_text(&text(&node["ROLE"]), node["LEADS"] == true),
            text(&node["STATUS"]),
            node["LAST_SEEN_MS"].as_f64().map(|_| age(&node["LAST_SEEN_MS"])).unwrap_or_default(),
            node["RTT_MS"].as_f64().map(table::millis_text).unwrap_or_default(),
            tenth(&node["CPU"]).map(|cpu| format!("{cpu} %")).unwrap_or_default(),
            node["PENDING"].as_u64().map(|pending| pending.to_string()).unwrap_or_default(),
            tenth(&node["SCORE"]).unwrap_or_default(),
            text(&node["LEARNT"]),
        ],
    }
}

fn rtt_text(rtt: Duration) -> String {
    table::millis_text(crate::time::micros(rtt) as f64 / 1000.0)
}

/// Milliseconds as people read them; `?` where there is no number, or none that a duration can hold.
fn age(millis: &Value) -> String {
    let seconds = millis.as_f64().map(|millis| millis / 1000.0);
    let age = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    age.map_or_else(|| "?".to_owned(), table::age_text)
}

fn number(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { "?".to_owned() }
}

fn word(text: Option<&str>) -> String {
    printable(text.unwrap_or("?"))
}

/// The beginning of an answer, for an error.
fn excerpt(answer: &str) -> String {
    printable(&answer.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::peer;
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpStream;

    const WAIT: Duration = Duration::from_secs(20);
    const ROOM: Room = Room { width: 120, height: u16::MAX, colour: false };

    fn hello() -> Value {
        json!({"TASK":"HELLO","RESPONSE":"OK","SERVER_ID":"ab12cd34-0000","NAME":"alpha","ROLE":"master",
               "GROUP":"default","ADDRESS":"127.0.0.1:9101","VERSION":"0.1.0","DIALECTS":["native","seed"],
               "UPTIME_MS":90_000,"HEARTBEATS":12,"SUPERVISOR":"lab:8000","SUPERVISOR_REACHED":false,
               "SERVICES":[{"NAME":"sleep","METHODS":["run"]},"query"],"INTERVAL_MS":2000,"TIMEOUT_MS":6000})
    }

    fn load() -> Value {
        json!({"TASK":"LOAD","RESPONSE":"OK","CPU":12.3,"MEMORY":40.0,"PENDING":7,"RUNNING":0,"WORKERS":0,
               "SCORE":8.6,"SATURATED":true,"HOT":false,"CAPACITY":100,"RELEASE":60,"HOLD_MS":2000,"CPU_THRESHOLD":70.0})
    }

    fn elect() -> Value {
        json!({"TASK":"ELECT","RESPONSE":"OK","SERVER_ID":"ab12cd34-0000","GROUP":"default","GROUP_ID":"5f0e9a34-7d3b",
               "RAFT_ID":1,"STATE":"FOLLOWER","TERM":4,"LEADER":"b","LEADER_NAME":"beta","QUORUM":true,"SPARE":1,
               "VOTERS":[{},{},{}],"LEARNERS":[]})
    }

    #[test]
    fn the_line_on_agreement_says_who_leads_and_what_is_missing() {
        let spare = "follows beta at term 4, member 1 of 5f0e9a34; 3 vote, 1 spare";
        assert_eq!(group_text(&elect()), spare);
        let with = |key: &str, value: Value| {
            let mut answer = elect();
            answer[key] = value;
            answer
        };
        assert!(group_text(&with("STATE", json!("LEADER"))).starts_with("leads at term 4"));
        let missing = json!("2 of 3 voters are missing");
        assert_eq!(group_text(&with("REASON", missing)), format!("{spare}; 2 of 3 voters are missing"));
        assert!(group_text(&with("LEADER_NAME", Value::Null)).starts_with("nobody leads, it is FOLLOWER at term 4"));
        let none = json!({"STATE":"NONE","TERM":0,"QUORUM":false,"SPARE":0,"VOTERS":[],"REASON":"no group yet: it has just started"});
        assert_eq!(group_text(&none), "none; no group yet: it has just started");
    }

    fn node(key: &str, status: &str) -> Value {
        json!({"KEY":key,"ADDRESS":format!("{key}:9102"),"STATUS":status,"LAST_SEEN_MS":1500,"RTT_MS":0.42,"CPU":5.0,
               "PENDING":1,"SCORE":3.6,"LEARNT":"configured","REASON":"it is said why"})
    }

    /// A native node with three peers in two pages that closes after each answer.
    fn native() -> Address {
        peer(|mut stream: BufReader<TcpStream>| {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let asked: Value = serde_json::from_str(&line).unwrap();
            let answer = match (asked["TASK"].as_str().unwrap(), asked["AFTER"].as_str()) {
                ("HELLO", _) => hello(),
                ("LOAD", _) => load(),
                ("ELECT", _) => elect(),
                ("NODES", None) => json!({"RESPONSE":"OK","NODES":[node("a","ALIVE"),node("b","TIMEOUT")],"MORE":true}),
                ("NODES", Some("b")) => json!({"RESPONSE":"OK","NODES":[node("c","ALIVE")],"MORE":false}),
                other => panic!("asked for {other:?}"),
            };
            stream.get_mut().write_all(format!("{answer}\n").as_bytes()).unwrap();
        })
    }

    #[test]
    fn a_native_node_is_shown_with_all_pages_of_its_registry() {
        let address = native();
        let report = Report::ask(&address, WAIT).unwrap();
        let text = report.text(&address, ROOM);
        for part in [
            "alpha ab12cd34",
            "master of group default",
            "up         1 min, 12 heartbeats answered",
            "CPU 12.3 %, memory 40.0 %, 7 pending",
            "saturated  yes: above 100 pending, until below 60, each for 2.0 s",
            "hot        no: above 70.0 % CPU",
            "peers      3, asked every 2.0 s, TIMEOUT after 6.0 s",
            "agreement  follows beta at term 4, member 1 of 5f0e9a34; 3 vote, 1 spare",
            "supervisor lab:8000, not reached by the last report",
            "services   sleep, query",
            "a:9102",
            "c:9102",
            "b:9102: it is said why",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("a:9102: it is"), "only troubles are explained:\n{text}");
        assert_eq!(report.json()["nodes"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_peer_that_knows_only_heartbeats_is_shown_as_what_it_is() {
        let address = peer(|mut stream| {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if line.contains("HEARTBEAT") {
                stream
                    .get_mut()
                    .write_all(b"{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"SERVER_ID\":\"S1\"}")
                    .unwrap();
            }
        });
        let report = Report::ask(&address, WAIT).unwrap();
        let text = report.text(&address, ROOM);
        assert!(text.contains("id         S1") && text.contains("not HELLO"), "{text}");
        assert_eq!(report.json()["native"], false);
    }

    #[test]
    fn what_is_no_node_is_an_error_with_its_words() {
        let address = peer(|mut stream| {
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(b"220 mail ready\x1b[2J\n").unwrap();
        });
        let error = Report::ask(&address, WAIT).unwrap_err().to_string();
        assert!(error.contains("speaks another protocol") && error.contains("220 mail ready\\u001b"), "{error}");
    }

    #[test]
    fn a_registry_that_goes_in_circles_ends() {
        let address = peer(|mut stream| {
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|count| count > 0) {
                let page: Vec<Value> = (0..5000).map(|_| json!({"KEY":"k"})).collect();
                let answer = match line.as_str() {
                    line if line.contains("HELLO") => hello(),
                    line if line.contains("LOAD") => load(),
                    line if line.contains("ELECT") => json!({"RESPONSE":"ERROR","ERROR":"UNKNOWN_TASK"}),
                    _ => json!({"RESPONSE":"OK","NODES":page,"MORE":true}),
                };
                line.clear();
                if stream.get_mut().write_all(format!("{answer}\n").as_bytes()).is_err() {
                    return;
                }
            }
        });
        let report = Report::ask(&address, WAIT).unwrap();
        assert_eq!(report.json()["nodes"].as_array().unwrap().len(), MAX_ENTRIES);
    }
}
