//! The reports of real masters to real supervisors: good ones, over plain TCP and TLS, and bad ones, which disturb nothing.

mod support;

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use support::farm::{Master, worker};
use support::ports::free_port;
use support::process::{NodeProcess, Process, command};
use support::{DEADLINE, wait_for, wait_until, watch};

/// A little more than the time between two reports.
const TWO_REPORTS: Duration = Duration::from_millis(11_500);

/// Longer than any answer takes on a busy machine, and far shorter than a report may take.
const FAST: Duration = Duration::from_secs(2);

fn listener() -> (TcpListener, u16) {
    let port = free_port();
    (TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port that was free"), port)
}

/// What a supervisor got on one connection, up to its end.
struct Got {
    at: Instant,
    report: Value,
}

/// A supervisor that reads reports: each connection up to its end, one object a connection.
#[derive(Clone)]
struct Supervisor {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Supervisor {
    fn start() -> Supervisor {
        let (listener, port) = listener();
        let supervisor = Supervisor { port, got: Arc::default() };
        let got = Arc::clone(&supervisor.got);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let at = Instant::now();
                stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
                let mut text = String::new();
                stream.read_to_string(&mut text).expect("a report and its end");
                let report = object(&text);
                got.lock().expect("no holder panics").push(Got { at, report });
            }
        });
        supervisor
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The reports of the master with this id so far.
    fn reports_of(&self, server_id: &str) -> Vec<(Instant, Value)> {
        let got = self.got.lock().expect("no holder panics");
        let its = got.iter().filter(|got| got.report["server_uuid"] == server_id);
        its.map(|got| (got.at, got.report.clone())).collect()
    }

    /// The next report of this master, from now on.
    fn next_of(&self, server_id: &str) -> Value {
        let before = self.reports_of(server_id).len();
        wait_for("the next report", || self.reports_of(server_id).get(before).map(|(_, report)| report.clone()))
    }
}

/// The one object of a connection: one line.
fn object(text: &str) -> Value {
    assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "one line: {text:?}");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The events about its supervisor that a node with `--output json` has told.
fn news(node: &NodeProcess) -> Vec<Value> {
    let lines = node.process.stdout.lines();
    let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|it| it["event"].as_str().is_some_and(|kind| kind.starts_with("supervisor"))).collect()
}

fn kinds(node: &NodeProcess) -> Vec<String> {
    news(node).iter().map(|event| event["event"].as_str().expect("a kind").to_owned()).collect()
}

#[test]
fn two_masters_report_every_ten_seconds_what_they_say_of_themselves() {
    let supervisor = Supervisor::start();
    let quick = ["--interval", "0.2", "--timeout", "2", "--hold", "0.1", "--cooldown", "0"];
    let to = supervisor.address();
    let beta = Master::start(&[&quick[..], &["--name", "beta", "--supervisor", &to]].concat());
    let (peer, capacity) = (beta.address(), ["--capacity", "5", "--retry-pause", "0", "--attempts", "1"]);
    let of_alpha = ["--peer", &peer, "--supervisor", &to];
    let alpha = Master::start(&[&quick[..], &capacity, &of_alpha].concat());
    let ids = (alpha.node.server_id(), beta.node.server_id());
    let _workers: Vec<Process> = [(&alpha, "a1"), (&beta, "b1"), (&beta, "b2"), (&beta, "b3")]
        .map(|(master, name)| worker(master, name, &["--slots", "1"]))
        .into();

    // Three that end well, one that does not, and then more than the capacity, for longer than the test goes on.
    for _ in 0..3 {
        let job = alpha.submit("sleep", json!({"ms": 1}));
        assert_eq!(alpha.result(&job)["STATUS"], "OK");
    }
    let bad = alpha.submit("sleep", json!({"ms": "many"}));
    assert_ne!(alpha.result(&bad)["STATUS"], "OK");
    for _ in 0..20 {
        alpha.submit("sleep", json!({"ms": 600_000}));
    }
    let loans = |master: &Master| master.ask(&json!({"TASK": "LOANS"}));
    wait_until("alpha to borrow, and beta to have lent", || {
        let (inward, outward) = (loans(&alpha), loans(&beta));
        let load = alpha.ask(&json!({"TASK": "LOAD"}));
        let active = |loans: &Value| loans["LOANS"].to_string().matches("\"ACTIVE\"").count() as u64;
        let counts = |loans: &Value, which: &str| loans[which].as_u64().expect("a count");
        counts(&inward, "BORROWED") > 0
            && counts(&inward, "BORROWED") == active(&inward)
            && counts(&outward, "LENT") == active(&inward)
            && load["RUNNING"] == 1 + counts(&inward, "BORROWED")
    });
    let (own, other) = thread::scope(|scope| {
        let other = scope.spawn(|| supervisor.next_of(&ids.1));
        (supervisor.next_of(&ids.0), other.join().expect("a report"))
    });

    let (load, inward, outward) = (alpha.ask(&json!({"TASK": "LOAD"})), loans(&alpha), loans(&beta));
    let borrowed = inward["BORROWED"].as_u64().expect("a count");
    let tasks = json!({
        "tasks_pending": load["PENDING"],
        "tasks_running": load["RUNNING"],
        "tasks_completed": 3,
        "tasks_failed": 1,
        "oldest_task_age_s": own["performance"]["farm_state"]["tasks"]["oldest_task_age_s"],
    });
    assert_eq!(own["performance"]["farm_state"]["tasks"], tasks);
    assert!(tasks["oldest_task_age_s"].as_f64().expect("a number") > 0.0);
    let lends = |direction: &str, peer: &str, count: u64| -> Vec<Value> {
        (0..count).map(|_| json!({"direction": direction, "peer_uuid": peer})).collect()
    };
    let workers = json!({
        "total_registered": 1 + borrowed,
        "workers_utilization": 100.0,
        "workers_alive": 1 + borrowed,
        "workers_idle": 0,
        "workers_borrowed": 0,
        "workers_received": borrowed,
        "workers_failed": 0,
        "workers_home": 1,
        "workers_available_capacity": 0,
        "borrowed_workers": lends("in", &ids.1, borrowed),
    });
    assert_eq!(own["performance"]["farm_state"]["workers"], workers);
    let workers = &other["performance"]["farm_state"]["workers"];
    assert_eq!((&workers["workers_borrowed"], &outward["LENT"]), (&json!(borrowed), &json!(borrowed)));
    assert_eq!(workers["borrowed_workers"], json!(lends("out", &ids.0, borrowed)));
    assert_eq!((&workers["workers_home"], &workers["workers_idle"]), (&json!(3 - borrowed), &json!(3 - borrowed)));
    let thresholds = json!({"max_task": 5, "warn_cpu_percent": 100.0, "warn_memory_percent": 100.0, "release_task": 3});
    assert_eq!(own["performance"]["config_thresholds"], thresholds);
    for (report, neighbour) in [(&own, &ids.1), (&other, &ids.0)] {
        let neighbours = report["performance"]["neighbors"].as_array().expect("a list");
        assert_eq!(neighbours.len(), 1, "{report}");
        assert_eq!((&neighbours[0]["server_uuid"], &neighbours[0]["status"]), (&json!(neighbour), &json!("available")));
        let heard = neighbours[0]["last_heartbeat"].as_str().expect("a time");
        assert!(heard.len() == 20 && heard.ends_with('Z'), "{heard}");
        assert!(heard <= report["timestamp"].as_str().expect("a time"), "{report}");
        assert_eq!((&report["role"], &report["task"]), (&json!("master"), &json!("performance_report")));
        let system = &report["performance"]["system"];
        assert!(system["memory"]["total_mb"].as_u64().is_some_and(|total| total > 0), "{system}");
        assert!(system["uptime_seconds"].as_u64().is_some_and(|uptime| uptime > 0), "{system}");
    }

    let of_alpha = supervisor.reports_of(&ids.0);
    let marks: std::collections::BTreeSet<&str> =
        of_alpha.iter().filter_map(|(_, it)| it["message_id"].as_str()).collect();
    assert_eq!(marks.len(), of_alpha.len(), "each has a mark of its own");
    for pair in of_alpha.windows(2) {
        let apart = pair[1].0 - pair[0].0;
        let right = Duration::from_secs(9)..Duration::from_secs(12);
        assert!(right.contains(&apart), "{apart:?} between two reports");
    }
    assert!(of_alpha.len() >= 2, "one at the start, and the next");
}

/// An authority, and a supervisor's certificate of it.
struct Authority {
    file: PathBuf,
    config: Arc<ServerConfig>,
}

impl Authority {
    /// Its certificate stands in `directory`; it vouches for `name`.
    fn new(directory: &Path, file: &str, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, file);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let path = directory.join(file);
        std::fs::write(&path, issuer.pem()).expect("the directory can be written");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(leaf.der().to_vec())], key)
            .expect("a certificate and its key");
        Authority { file: path, config: Arc::new(config) }
    }
}

/// What a supervisor over TLS got on one connection: the name that was asked for, and the report or why there was none.
type Secret = (Option<String>, Result<Value, String>);

/// A supervisor over TLS.
fn secret_supervisor(config: &Arc<ServerConfig>) -> (u16, Arc<Mutex<Vec<Secret>>>) {
    let (listener, port) = listener();
    let got: Arc<Mutex<Vec<Secret>>> = Arc::default();
    let (book, config) = (Arc::clone(&got), Arc::clone(config));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).expect("a config"), stream);
            let mut text = String::new();
            // Fails where the other side ends without close_notify.
            let read = stream.read_to_string(&mut text);
            let name = stream.conn.server_name().map(str::to_owned);
            let outcome = read.map(|_| object(&text)).map_err(|error| error.to_string());
            book.lock().expect("no holder panics").push((name, outcome));
        }
    });
    (port, got)
}

#[test]
fn reports_go_over_tls_to_whom_the_authority_vouches_for_and_to_nobody_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(directory.path(), "ca.pem", "localhost");
    let other = Authority::new(directory.path(), "other.pem", "localhost");
    let (port, got) = secret_supervisor(&authority.config);
    let start = |target: String, ca: &Path| {
        let ca = ca.to_str().expect("temporary directories have plain names");
        NodeProcess::start(&["--output", "json", "--supervisor", &target, "--supervisor-ca", ca])
    };
    let took = || got.lock().expect("no holder panics").clone();

    let good = start(format!("tls://localhost:{port}"), &authority.file);
    let (name, report) = wait_for("a report over TLS", || took().pop());
    assert_eq!(name.as_deref(), Some("localhost"), "SNI");
    let report = report.expect("a report, and a clean end");
    assert_eq!(report["server_uuid"], good.server_id());
    wait_until("the news", || kinds(&good) == ["supervisor_reached"]);
    drop(good);

    for (target, ca, told) in [
        (format!("tls://localhost:{port}"), &other.file, "an authority that is not trusted here; --supervisor-ca FILE"),
        (format!("tls://127.0.0.1:{port}"), &authority.file, "certificate not valid for name \"127.0.0.1\""),
    ] {
        let refused = start(target, ca);
        wait_until("the news", || kinds(&refused) == ["supervisor_unreachable"]);
        let detail = news(&refused)[0]["detail"].as_str().expect("a sentence").to_owned();
        assert!(detail.contains(told), "{detail}");
        refused.assert_healthy();
    }
    wait_until("the supervisor to have seen three", || took().len() == 3);
    assert!(took()[1..].iter().all(|(_, outcome)| outcome.is_err()), "nobody unknown is told anything: {:?}", took());
}

#[test]
fn what_cannot_be_trusted_or_understood_is_refused_at_the_start() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, "no certificate").expect("the directory can be written");
    let file = file.to_str().expect("a plain name");
    for (options, told) in [
        (vec!["--supervisor", "tls://lab:443", "--supervisor-ca", file], "no certificate stands in it"),
        (vec!["--supervisor", "lab:443", "--supervisor-ca", "/nowhere/ca.pem"], "--supervisor-ca /nowhere/ca.pem"),
        (vec!["--supervisor", "lab:8000", "--supervisor-ca", file], "tells whom to trust over TLS"),
        (vec!["--supervisor", "https://lab:443"], "expected HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT"),
        (vec!["--supervisor", "lab"], "has no port"),
        (vec!["worker", "--supervisor", "lab:8000"], "unexpected argument"),
    ] {
        let ended = command(&options).output().expect("the program under test starts");
        let told_us = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{options:?}: {told_us}");
        assert!(told_us.contains(told), "{options:?}: {told_us}");
    }
}

/// Accepts connections and does this with each.
fn accepting(mut with: impl FnMut(TcpStream) + Send + 'static) -> u16 {
    let (listener, port) = listener();
    thread::spawn(move || listener.incoming().for_each(|stream| with(stream.expect("a connection"))));
    port
}

#[test]
fn supervisors_that_are_absent_silent_or_rude_disturb_nothing_and_are_told_of_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(directory.path(), "ca.pem", "127.0.0.1");
    let ca = authority.file.to_str().expect("a plain name");
    // Kept open, and never accepted from.
    let (_deaf, deaf_port) = listener();
    let (reads_nothing, rude) = (Arc::new(Mutex::new(Vec::new())), accepting(drop));
    let kept = Arc::clone(&reads_nothing);
    let silent = accepting(move |stream| kept.lock().expect("no holder panics").push(stream));
    let garbage = accepting(|mut stream| {
        // It says something that is no TLS, and reads what it is told.
        let _ = std::io::Write::write_all(&mut stream, b"220 mail ready\r\n");
        let read = stream.read_to_end(&mut Vec::new());
        assert!(read.is_ok() || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    });
    let (lost, reached) = ("supervisor_unreachable", "supervisor_reached");
    let cases = [
        ("absent", format!("127.0.0.1:{}", free_port()), None, lost),
        ("unknown by name", "nobody.invalid:8000".to_owned(), None, lost),
        ("never accepts", format!("127.0.0.1:{deaf_port}"), None, reached),
        ("never accepts TLS", format!("tls://127.0.0.1:{deaf_port}"), Some(ca), lost),
        ("closes at once", format!("127.0.0.1:{rude}"), None, reached),
        ("closes TLS at once", format!("tls://127.0.0.1:{rude}"), Some(ca), lost),
        ("never reads", format!("127.0.0.1:{silent}"), None, reached),
        ("speaks no TLS", format!("tls://127.0.0.1:{garbage}"), Some(ca), lost),
    ];
    let nodes: Vec<(&str, NodeProcess, &str)> = cases
        .into_iter()
        .map(|(what, target, ca, expected)| {
            let mut options = vec!["--output", "json", "--supervisor", &target];
            options.extend(ca.iter().flat_map(|ca| ["--supervisor-ca", ca]));
            (what, NodeProcess::start(&options), expected)
        })
        .collect();
    let mut clients: Vec<_> = nodes.iter().map(|(_, node, _)| node.client()).collect();
    let mut slowest = Duration::ZERO;
    watch(TWO_REPORTS, || {
        for client in &mut clients {
            let asked = Instant::now();
            // Not the bare one, which the edge answers: the core is asked.
            assert_eq!(client.ask(r#"{"TASK":"HEARTBEAT","ID":"x"}"#)["RESPONSE"], "ALIVE");
            slowest = slowest.max(asked.elapsed());
        }
    });
    assert!(slowest < FAST, "an answer took {slowest:?}");
    for (what, node, expected) in &nodes {
        // A name may be looked up for longer than a report may take.
        wait_until(&format!("the news of the one that is {what}"), || !kinds(node).is_empty());
        assert_eq!(kinds(node), [*expected], "{what}: {:?}", news(node));
    }
}
