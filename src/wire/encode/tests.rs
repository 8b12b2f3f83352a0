use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::wire::{
    ErrorCode, EventKind, HeartbeatAnswer, Learnt, MAX_ID_BYTES, MAX_NAME_BYTES, NODES_PAGE, Role, Score, ServerId,
    Status, decode,
};

use super::*;

fn server_id() -> impl Strategy<Value = ServerId> {
    "[^\\p{Cc}\\x{200b}-\\x{200f}\\x{2028}-\\x{202e}\\x{2060}-\\x{2069}\\x{feff}]{1,32}"
        .prop_map(|text| ServerId::new(text).unwrap())
}

fn name() -> impl Strategy<Value = String> {
    "[^\\p{Cc}\\x{200b}-\\x{200f}\\x{2028}-\\x{202e}\\x{2060}-\\x{2069}\\x{feff}]{1,16}"
}

fn address() -> impl Strategy<Value = Address> {
    let host = prop_oneof![
        any::<std::net::IpAddr>().prop_map(crate::wire::Host::Ip),
        "[a-z][a-z0-9._-]{0,20}".prop_map(crate::wire::Host::Name),
    ];
    (host, 1..=u16::MAX).prop_map(|(host, port)| Address { host, port })
}

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Master, Role::Worker])
}

fn share() -> impl Strategy<Value = Permille> {
    (0..=1000u64).prop_map(Permille::new)
}

fn millis() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

/// Thousandths up to the largest that a double keeps.
fn thousandths() -> impl Strategy<Value = u64> {
    prop_oneof![0..5000u64, 0..=crate::wire::answers::MAX_THOUSANDTHS]
}

fn load() -> impl Strategy<Value = LoadReport> {
    (share(), share(), any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
        |(cpu, memory, pending, running, workers, saturated)| LoadReport {
            cpu,
            memory,
            pending,
            running,
            workers,
            saturated,
        },
    )
}

fn presence() -> impl Strategy<Value = Presence> {
    (server_id(), name(), address(), role(), name(), load()).prop_map(
        |(server_id, name, address, role, group, load)| Presence {
            server_id,
            name,
            address,
            role,
            group,
            load,
            services: Vec::new(),
        },
    )
}

fn node() -> impl Strategy<Value = NodeEntry> {
    let who = (any::<String>(), of(server_id()), of(name()), address(), of(role()), of(name()));
    let status = select(vec![Status::Unknown, Status::Alive, Status::Timeout, Status::Left]);
    let learnt = select(vec![Learnt::Configured, Learnt::Heartbeat]);
    let seen = (status, of(millis()), of(thousandths().prop_map(Duration::from_micros)));
    (who, seen, of(load()), of(thousandths().prop_map(Score)), learnt, any::<String>()).prop_map(
        |((key, server_id, name, address, role, group), (status, last_seen, rtt), load, score, learnt, reason)| {
            NodeEntry {
                key,
                server_id,
                name,
                address,
                role,
                group,
                status,
                last_seen,
                rtt,
                load,
                score,
                learnt,
                reason,
            }
        },
    )
}

fn hello() -> impl Strategy<Value = HelloAnswer> {
    let words = (any::<String>(), vec(any::<String>(), 0..4));
    let figures = (any::<u64>(), any::<bool>(), millis(), any::<u64>(), millis(), millis());
    (presence(), words, figures).prop_map(
        |(presence, (version, dialects), (line_bytes, secret, uptime, heartbeats, interval, timeout))| HelloAnswer {
            presence,
            version,
            dialects,
            line_bytes,
            secret,
            uptime,
            heartbeats,
            interval,
            timeout,
        },
    )
}

fn load_answer() -> impl Strategy<Value = LoadAnswer> {
    let limits = (any::<bool>(), any::<u64>(), any::<u64>(), millis(), share());
    (server_id(), load(), thousandths().prop_map(Score), limits).prop_map(
        |(server_id, load, score, (hot, capacity, release, hold, cpu_threshold))| LoadAnswer {
            server_id,
            load,
            score,
            hot,
            capacity,
            release,
            hold,
            cpu_threshold,
        },
    )
}

/// Every body that a line can hold.
pub(in crate::wire) fn body() -> impl Strategy<Value = Body> {
    let event = (any::<u64>(), select(EventKind::ALL.to_vec()), of(server_id()), of(address()), any::<String>());
    let query = (of(server_id()), of(address()), of(name()), of(any::<String>()));
    prop_oneof![
        (of(server_id()), of(presence().prop_map(Box::new)))
            .prop_map(|(sender, presence)| Body::Heartbeat(Heartbeat { sender, presence })),
        server_id().prop_map(|server_id| Body::HeartbeatAnswer(HeartbeatAnswer { server_id, presence: None })),
        presence().prop_map(|presence| Body::HeartbeatAnswer(HeartbeatAnswer {
            server_id: presence.server_id.clone(),
            presence: Some(Box::new(presence)),
        })),
        Just(Body::Hello),
        hello().prop_map(|answer| Body::HelloAnswer(Box::new(answer))),
        query.prop_map(|(server_id, address, name, after)| Body::Nodes(NodesQuery { server_id, address, name, after })),
        (server_id(), vec(node(), 0..4), any::<bool>())
            .prop_map(|(server_id, nodes, more)| Body::NodesAnswer(Box::new(NodesAnswer { server_id, nodes, more }))),
        Just(Body::Load),
        load_answer().prop_map(|answer| Body::LoadAnswer(Box::new(answer))),
        Just(Body::Events),
        any::<u64>().prop_map(|seq| Body::EventsAnswer { seq }),
        event.prop_map(|(seq, kind, server_id, address, detail)| Body::Event(Box::new(Event {
            seq,
            kind,
            server_id,
            address,
            detail
        }))),
        server_id().prop_map(|server_id| Body::Leave { server_id }),
        (any::<String>(), any::<String>(), any::<String>(), any::<bool>()).prop_map(|(task, code, detail, retry)| {
            Body::Error(Box::new(ErrorAnswer { task, code: ErrorCode::parse(&code), detail, retry }))
        }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (of(any::<String>().prop_map(|text| RequestId::new(text.chars().take(32).collect::<String>()).unwrap())), body())
        .prop_map(|(id, body)| Message { id, body })
}

fn line(message: &Message) -> String {
    let mut out = Vec::new();
    encode(message, &mut out);
    let text = String::from_utf8(out).unwrap();
    text.strip_suffix('\n').expect("a line ends with a newline").to_owned()
}

proptest! {
    #[test]
    fn what_was_encoded_decodes_to_the_same(message in message()) {
        let line = line(&message);
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(decode(line.as_bytes()), Ok(message), "{}", line);
    }
}

fn longest_presence() -> Presence {
    Presence {
        server_id: ServerId::new("\"".repeat(MAX_ID_BYTES)).unwrap(),
        name: "\"".repeat(MAX_NAME_BYTES),
        address: format!("{}:65535", "a".repeat(crate::wire::MAX_HOST_BYTES)).parse().unwrap(),
        role: Role::Worker,
        group: "\\".repeat(MAX_NAME_BYTES),
        load: LoadReport { pending: u64::MAX, running: u64::MAX, workers: u64::MAX, ..LoadReport::default() },
        services: Vec::new(),
    }
}

#[test]
fn keys_stand_in_one_order_and_figures_have_their_decimals() {
    let load = LoadReport { cpu: Permille::new(123), memory: Permille::new(1000), pending: 3, ..Default::default() };
    let answer = LoadAnswer {
        server_id: ServerId::new("S").unwrap(),
        load,
        score: Score(8_610),
        hot: false,
        capacity: 100,
        release: 60,
        hold: Duration::from_secs(2),
        cpu_threshold: Permille::new(700),
    };
    let message = Message { id: RequestId::new("7"), body: Body::LoadAnswer(Box::new(answer)) };
    assert_eq!(
        line(&message),
        "{\"TASK\":\"LOAD\",\"RESPONSE\":\"OK\",\"ID\":\"7\",\"SERVER_ID\":\"S\",\"CPU\":12.3,\"MEMORY\":100.0,\
         \"PENDING\":3,\"RUNNING\":0,\"WORKERS\":0,\"SATURATED\":false,\"SCORE\":8.61,\"HOT\":false,\
         \"CAPACITY\":100,\"RELEASE\":60,\"HOLD_MS\":2000,\"CPU_THRESHOLD\":70.0}"
    );
    for (number, text) in [(0, "0.0"), (38_000, "38.0"), (2_170, "2.17"), (305, "0.305"), (1_005, "1.005")] {
        let mut out = Vec::new();
        Object::begin(&mut out).thousandths("RTT_MS", number).end();
        assert_eq!(out, format!("{{\"RTT_MS\":{text}}}\n").into_bytes());
    }
}

#[test]
fn an_error_answer_reads_as_protocol_md_shows_it() {
    let error = ErrorAnswer::new("NODES", ErrorCode::NotFound, "no such node");
    assert_eq!(
        line(&Message::plain(Body::Error(Box::new(error)))),
        r#"{"TASK":"NODES","RESPONSE":"ERROR","ERROR":"NOT_FOUND","DETAIL":"no such node","RETRY":true}"#
    );
}

#[test]
fn a_page_of_the_longest_entries_is_cut_to_a_line_and_says_more() {
    let presence = longest_presence();
    let entry = NodeEntry {
        key: "\"".repeat(MAX_ID_BYTES),
        server_id: Some(presence.server_id.clone()),
        name: Some(presence.name),
        address: presence.address,
        role: Some(presence.role),
        group: Some(presence.group),
        status: Status::Timeout,
        last_seen: Some(Duration::from_millis(u64::MAX)),
        rtt: Some(Duration::from_secs(86_400)),
        load: Some(presence.load),
        score: Some(Score(1)),
        learnt: Learnt::Configured,
        reason: "no answer for 6 s".to_owned(),
    };
    let answer = NodesAnswer { server_id: presence.server_id, nodes: vec![entry; NODES_PAGE], more: false };
    let mut out = b"before\n".to_vec();
    encode(&Message::plain(Body::NodesAnswer(Box::new(answer))), &mut out);
    let line = &out[b"before\n".len()..out.len() - 1];
    assert!(line.len() <= MAX_LINE_BYTES, "{}", line.len());
    let Ok(Message { body: Body::NodesAnswer(read), .. }) = decode(line) else { panic!("it does not decode") };
    assert!(read.more && read.nodes.len() > 30 && read.nodes.len() < NODES_PAGE, "{}", read.nodes.len());
}

#[test]
fn every_message_but_pages_fits_a_line_at_its_longest() {
    let hello = HelloAnswer {
        presence: longest_presence(),
        version: "0.1.0".to_owned(),
        dialects: vec!["native".to_owned(); 4],
        line_bytes: u64::MAX,
        secret: false,
        uptime: Duration::MAX,
        heartbeats: u64::MAX,
        interval: Duration::MAX,
        timeout: Duration::MAX,
    };
    let id = RequestId::new("\u{1}".repeat(MAX_ID_BYTES));
    assert!(line(&Message { id, body: Body::HelloAnswer(Box::new(hello)) }).len() < 4096);
}
