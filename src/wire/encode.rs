//! From a message to a line, in native form: compact JSON, `TASK`, `RESPONSE` and `ID` first, then a fixed order.
//!
//! No tree is built: every field is written where it belongs.

use std::time::Duration;

use crate::time::micros;

use super::{
    Address, Body, ErrorAnswer, Event, Heartbeat, HelloAnswer, LoadAnswer, LoadReport, MAX_LINE_BYTES, Message,
    NodeEntry, NodesAnswer, NodesQuery, Permille, Presence, RequestId,
};

/// Appends `message` as a line in native form, newline included.
///
/// A page of `NODES` that would be longer than [`MAX_LINE_BYTES`] is cut after the last entry that fits, and says
/// `MORE`.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let id = message.id.as_ref();
    match &message.body {
        Body::Heartbeat(heartbeat) => request("HEARTBEAT", id, out).heartbeat(heartbeat).end(),
        Body::HeartbeatAnswer(answer) => {
            let line = response("HEARTBEAT", "ALIVE", id, out);
            match &answer.presence {
                Some(presence) => line.presence(presence).end(),
                None => line.text("SERVER_ID", answer.server_id.as_str()).end(),
            }
        }
        Body::Hello => request("HELLO", id, out).end(),
        Body::HelloAnswer(answer) => response("HELLO", "OK", id, out).hello(answer).end(),
        Body::Nodes(query) => request("NODES", id, out).nodes_query(query).end(),
        Body::NodesAnswer(answer) => response("NODES", "OK", id, out).nodes(answer).end(),
        Body::Load => request("LOAD", id, out).end(),
        Body::LoadAnswer(answer) => response("LOAD", "OK", id, out).load_answer(answer).end(),
        Body::Events => request("EVENTS", id, out).end(),
        Body::EventsAnswer { seq } => response("EVENTS", "OK", id, out).number("SEQ", *seq).end(),
        Body::Event(event) => request("EVENTS", id, out).event(event).end(),
        Body::Leave { server_id } => request("LEAVE", id, out).text("SERVER_ID", server_id.as_str()).end(),
        Body::Error(error) => response(&error.task, "ERROR", id, out).error(error).end(),
        // TEMPORARY, helper WIRE.
        _ => {}
    }
}

fn request<'o>(task: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Object<'o> {
    Object::begin(out).text("TASK", task).id(id)
}

fn response<'o>(task: &str, response: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Object<'o> {
    Object::begin(out).text("TASK", task).text("RESPONSE", response).id(id)
}

/// One JSON object that is being written. Keys are our own words and need no escapes.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    /// Where its `{` stands.
    start: usize,
}

impl<'o> Object<'o> {
    /// Writes `{`.
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Object<'o> {
        let start = out.len();
        out.push(b'{');
        Object { out, start }
    }

    /// Writes `}` and the newline.
    pub(super) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn key(&mut self, key: &str) {
        if self.out.len() > self.start + 1 {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A string.
    pub(super) fn text(mut self, key: &str, text: &str) -> Object<'o> {
        self.key(key);
        push_text(self.out, text);
        self
    }

    fn texts(mut self, key: &str, texts: &[String]) -> Object<'o> {
        self.key(key);
        self.out.push(b'[');
        for (nth, text) in texts.iter().enumerate() {
            if nth > 0 {
                self.out.push(b',');
            }
            push_text(self.out, text);
        }
        self.out.push(b']');
        self
    }

    fn address(self, key: &str, address: &Address) -> Object<'o> {
        self.text(key, &address.to_string())
    }

    /// A string, where it is there.
    fn maybe(self, key: &str, text: Option<&str>) -> Object<'o> {
        match text {
            Some(text) => self.text(key, text),
            None => self,
        }
    }

    /// The asker's mark, where there is one.
    pub(super) fn id(self, id: Option<&RequestId>) -> Object<'o> {
        self.maybe("ID", id.map(RequestId::as_str))
    }

    fn number(mut self, key: &str, number: u64) -> Object<'o> {
        self.key(key);
        push_number(self.out, number);
        self
    }

    fn flag(mut self, key: &str, flag: bool) -> Object<'o> {
        self.key(key);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
        self
    }

    fn millis(self, key: &str, duration: Duration) -> Object<'o> {
        self.number(key, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// A percentage with one decimal.
    fn share(self, key: &str, share: Permille) -> Object<'o> {
        self.decimal(key, share.get() / 10, share.get() % 10, 1)
    }

    /// A figure with one to three decimals.
    fn thousandths(self, key: &str, number: u64) -> Object<'o> {
        let (whole, rest) = (number / 1000, number % 1000);
        match rest {
            rest if rest % 100 == 0 => self.decimal(key, whole, rest / 100, 1),
            rest if rest % 10 == 0 => self.decimal(key, whole, rest / 10, 2),
            rest => self.decimal(key, whole, rest, 3),
        }
    }

    /// A figure with `digits` decimals, 1 to 3, which `rest` holds as a number.
    fn decimal(mut self, key: &str, whole: u64, rest: u64, digits: usize) -> Object<'o> {
        self.key(key);
        push_number(self.out, whole);
        self.out.push(b'.');
        let digit = |power: u64| b'0' + (rest / power % 10) as u8;
        self.out.extend_from_slice(&[digit(100), digit(10), digit(1)][3 - digits..]);
        self
    }

    fn heartbeat(self, heartbeat: &Heartbeat) -> Object<'o> {
        let line = self.maybe("SERVER_UUID", heartbeat.sender.as_ref().map(|id| id.as_str()));
        match &heartbeat.presence {
            Some(presence) => line.presence(presence),
            None => line,
        }
    }

    /// Who a native node is, and how busy.
    pub(super) fn presence(self, presence: &Presence) -> Object<'o> {
        self.who(presence).load(&presence.load)
    }

    fn who(self, presence: &Presence) -> Object<'o> {
        self.text("SERVER_ID", presence.server_id.as_str())
            .text("NAME", &presence.name)
            .address("ADDRESS", &presence.address)
            .text("ROLE", presence.role.as_str())
            .text("GROUP", &presence.group)
    }

    fn load(self, load: &LoadReport) -> Object<'o> {
        self.share("CPU", load.cpu)
            .share("MEMORY", load.memory)
            .number("PENDING", load.pending)
            .number("RUNNING", load.running)
            .number("WORKERS", load.workers)
            .flag("SATURATED", load.saturated)
    }

    fn hello(self, hello: &HelloAnswer) -> Object<'o> {
        self.who(&hello.presence)
            .text("VERSION", &hello.version)
            .texts("DIALECTS", &hello.dialects)
            .number("LINE_BYTES", hello.line_bytes)
            .flag("SECRET", hello.secret)
            .millis("UPTIME_MS", hello.uptime)
            .number("HEARTBEATS", hello.heartbeats)
            .millis("INTERVAL_MS", hello.interval)
            .millis("TIMEOUT_MS", hello.timeout)
            .load(&hello.presence.load)
    }

    fn nodes_query(mut self, query: &NodesQuery) -> Object<'o> {
        self = self.maybe("SERVER_ID", query.server_id.as_ref().map(|id| id.as_str()));
        if let Some(address) = &query.address {
            self = self.address("ADDRESS", address);
        }
        self.maybe("NAME", query.name.as_deref()).maybe("AFTER", query.after.as_deref())
    }

    fn nodes(self, answer: &NodesAnswer) -> Object<'o> {
        const END: usize = r#"],"MORE":false}"#.len();
        let mut line = self.text("SERVER_ID", answer.server_id.as_str());
        line.key("NODES");
        line.out.push(b'[');
        let mut more = answer.more;
        for (nth, node) in answer.nodes.iter().enumerate() {
            let before = line.out.len();
            if nth > 0 {
                line.out.push(b',');
            }
            let entry = Object::begin(line.out).node(node);
            entry.out.push(b'}');
            // The first entry always goes: a page without any would make the asker ask for ever.
            if nth > 0 && line.out.len() - line.start + END > MAX_LINE_BYTES {
                line.out.truncate(before);
                more = true;
                break;
            }
        }
        line.out.push(b']');
        line.flag("MORE", more)
    }

    fn node(mut self, node: &NodeEntry) -> Object<'o> {
        self = self
            .text("KEY", &node.key)
            .maybe("SERVER_ID", node.server_id.as_ref().map(|id| id.as_str()))
            .maybe("NAME", node.name.as_deref())
            .address("ADDRESS", &node.address)
            .maybe("ROLE", node.role.map(|role| role.as_str()))
            .maybe("GROUP", node.group.as_deref())
            .text("STATUS", node.status.as_str());
        if let Some(last_seen) = node.last_seen {
            self = self.millis("LAST_SEEN_MS", last_seen);
        }
        if let Some(rtt) = node.rtt {
            self = self.thousandths("RTT_MS", micros(rtt));
        }
        if let Some(load) = &node.load {
            self = self.load(load);
        }
        if let Some(score) = node.score {
            self = self.thousandths("SCORE", score.0);
        }
        self.text("LEARNT", node.learnt.as_str()).text("REASON", &node.reason)
    }

    fn load_answer(self, answer: &LoadAnswer) -> Object<'o> {
        self.text("SERVER_ID", answer.server_id.as_str())
            .load(&answer.load)
            .thousandths("SCORE", answer.score.0)
            .flag("HOT", answer.hot)
            .number("CAPACITY", answer.capacity)
            .number("RELEASE", answer.release)
            .millis("HOLD_MS", answer.hold)
            .share("CPU_THRESHOLD", answer.cpu_threshold)
    }

    fn event(mut self, event: &Event) -> Object<'o> {
        self = self
            .text("EVENT", event.kind.as_str())
            .number("SEQ", event.seq)
            .maybe("SERVER_ID", event.server_id.as_ref().map(|id| id.as_str()));
        if let Some(address) = &event.address {
            self = self.address("ADDRESS", address);
        }
        self.text("DETAIL", &event.detail)
    }

    fn error(self, error: &ErrorAnswer) -> Object<'o> {
        self.text("ERROR", error.code.as_str()).text("DETAIL", &error.detail).flag("RETRY", error.retry)
    }
}

/// A string in quotes. Those without anything to escape, nearly all, are copied.
fn push_text(out: &mut Vec<u8>, text: &str) {
    // Looking at every byte, without a way out, is what the compiler does many at a time.
    let plain = text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'));
    if !plain {
        serde_json::to_writer(out, text).expect("writing a string into memory cannot fail");
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    // The largest has 20 digits.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
pub(super) mod tests {
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
            |(presence, (version, dialects), (line_bytes, secret, uptime, heartbeats, interval, timeout))| {
                HelloAnswer { presence, version, dialects, line_bytes, secret, uptime, heartbeats, interval, timeout }
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
            query.prop_map(|(server_id, address, name, after)| Body::Nodes(NodesQuery {
                server_id,
                address,
                name,
                after
            })),
            (server_id(), vec(node(), 0..4), any::<bool>()).prop_map(|(server_id, nodes, more)| Body::NodesAnswer(
                Box::new(NodesAnswer { server_id, nodes, more })
            )),
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
            (any::<String>(), any::<String>(), any::<String>(), any::<bool>()).prop_map(
                |(task, code, detail, retry)| Body::Error(Box::new(ErrorAnswer {
                    task,
                    code: ErrorCode::parse(&code),
                    detail,
                    retry
                }))
            ),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        (
            of(any::<String>().prop_map(|text| RequestId::new(text.chars().take(32).collect::<String>()).unwrap())),
            body(),
        )
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
        let load =
            LoadReport { cpu: Permille::new(123), memory: Permille::new(1000), pending: 3, ..Default::default() };
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
}
