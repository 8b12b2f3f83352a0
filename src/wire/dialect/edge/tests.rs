//! One link, as bytes come and go.

use std::time::Duration;

use proptest::prelude::*;

use crate::wire::{GroupPresence, LoadReport, Presence, Role, SILENCE_ENDS_LINE, ServerId};

use super::*;

const BARE: &str = "{\"TASK\":\"HEARTBEAT\"}\n";
const ALIVE: &str = "{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"SERVER_ID\":\"ME\"}\n";
const NATIVE: &str = "\"SERVER_ID\":\"ME\",\"NAME\":\"me\",\"ADDRESS\":\"127.0.0.1:9101\",\"ROLE\":\"master\",\
                      \"GROUP\":\"g\",\"CPU\":0.0,\"MEMORY\":0.0,\"PENDING\":0,\"RUNNING\":0,\"WORKERS\":0,\
                      \"SATURATED\":false";

fn me() -> ServerId {
    ServerId::new("ME").unwrap()
}

fn presence() -> Box<Presence> {
    Box::new(Presence {
        server_id: me(),
        name: "me".to_owned(),
        address: "127.0.0.1:9101".parse().unwrap(),
        role: Role::Master,
        group: "g".to_owned(),
        group_presence: GroupPresence::default(),
        load: LoadReport::default(),
        services: Vec::new(),
    })
}

/// An edge, its time, and what it has shown.
struct Link {
    edge: Edge,
    now: Time,
    out: Vec<u8>,
    decoded: Vec<Decoded>,
}

impl Link {
    fn new(edge: Edge) -> Link {
        Link { edge, now: Time::ZERO, out: Vec::new(), decoded: Vec::new() }
    }

    fn inbound() -> Link {
        Link::new(Edge::inbound())
    }

    fn feed(&mut self, bytes: impl AsRef<[u8]>) -> &mut Link {
        let mut input = bytes.as_ref();
        while let Some(decoded) = self.edge.poll(&Prepared::new(&me()), &mut input, self.now, &mut self.out) {
            self.act(decoded);
        }
        assert!(input.is_empty());
        self
    }

    fn wait(&mut self, time: Duration) -> &mut Link {
        self.now = self.now + time;
        while let Some(decoded) = self.edge.expire(&Prepared::new(&me()), self.now, &mut self.out) {
            self.act(decoded);
        }
        self
    }

    fn finish(&mut self) -> &mut Link {
        while let Some(decoded) = self.edge.finish(&Prepared::new(&me()), self.now, &mut self.out) {
            self.act(decoded);
        }
        self
    }

    /// Answers heartbeats, with all that a core could say.
    fn act(&mut self, decoded: Decoded) {
        if let Decoded::Message(Message { id, body: Body::Heartbeat(_) }) = &decoded {
            let answer = HeartbeatAnswer { server_id: me(), presence: Some(presence()) };
            self.edge.render(&Message { id: id.clone(), body: Body::HeartbeatAnswer(answer) }, &mut self.out);
        }
        self.decoded.push(decoded);
    }

    fn said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out)).unwrap()
    }

    fn bodies(&self) -> Vec<&Body> {
        fn body(decoded: &Decoded) -> Option<&Body> {
            match decoded {
                Decoded::Message(message) => Some(&message.body),
                Decoded::Refused(_) | Decoded::Stray { .. } | Decoded::Ignored { .. } | Decoded::Close(_) => None,
            }
        }
        self.decoded.iter().filter_map(body).collect()
    }

    /// The codes of the error answers that were queued.
    fn errors(&mut self) -> Vec<ErrorCode> {
        let said = self.said();
        let code = |line: &str| match crate::wire::decode(line.as_bytes()).unwrap().body {
            Body::Error(error) => error.code,
            other => panic!("{other:?}"),
        };
        said.lines().map(code).collect()
    }
}

#[test]
fn an_idle_edge_is_small_and_owns_no_memory() {
    assert!(size_of::<Edge>() <= 96, "{}", size_of::<Edge>());
    let mut link = Link::inbound();
    link.feed("\r\n {\"TASK\":\"LO").feed("AD\"}\n\n ");
    assert_eq!(link.bodies(), [&Body::Load]);
    assert_eq!((link.edge.heap_bytes(), link.edge.deadline()), (0, None));
}

#[test]
fn the_bare_heartbeat_is_answered_here_and_counted_however_it_comes() {
    let spaced = "{\"TASK\": \"HEARTBEAT\"}\n";
    for text in [BARE, spaced, "{\"TASK\":\"HEARTBEAT\"}\r\n", " {\"TASK\":\"HEARTBEAT\"} \n"] {
        let mut link = Link::inbound();
        link.feed(text).feed(text.repeat(3));
        for byte in text.as_bytes() {
            link.feed([*byte]);
        }
        assert_eq!((link.said(), link.bodies().len()), (ALIVE.repeat(5), 0), "{text:?}");
        assert_eq!((link.edge.take_heartbeats(), link.edge.take_heartbeats()), (5, 0));
    }
    let mut link = Link::inbound();
    assert_eq!(link.feed(BARE.trim()).finish().finish().said(), ALIVE, "at the end of the stream");
    let mut link = Link::inbound();
    assert_eq!(link.feed(BARE.trim()).wait(SILENCE_ENDS_LINE).said(), ALIVE, "after silence");
}

#[test]
fn answers_given_here_keep_their_place_among_those_of_the_core() {
    let mut link = Link::inbound();
    link.feed(format!("{BARE}{{\"TASK\":\"HEARTBEAT\",\"ID\":\"1\"}}\n{BARE}x\n{BARE}"));
    let said = link.said();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[1], r#"{"TASK":"HEARTBEAT","RESPONSE":"ALIVE","ID":"1","SERVER_ID":"ME"}"#);
    assert!(lines[3].contains("BAD_JSON"));
    for nth in [0, 2, 4] {
        assert_eq!(lines[nth], ALIVE.trim());
    }
}

#[test]
fn a_heartbeat_is_answered_in_the_form_of_the_question() {
    let uuid = "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\"}\n".to_owned();
    let native = format!("{{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",{NATIVE}}}\n");
    let mut link = Link::inbound();
    for (question, answer, spoken) in [
        ("{\"TASK\":\"HEARTBEAT\",\"x\":1}\n".to_owned(), ALIVE.to_owned(), None),
        ("{\"TASK\":\"LOAD\"}\n".to_owned(), String::new(), None),
        ("{\"SERVER_UUID\": \"U\", \"TASK\": \"HEARTBEAT\"}\n".to_owned(), uuid, Some(Dialect::Gen2026_1)),
        ("{\"TASK\":\"HEARTBEAT\",\"SERVER_ID\":\"U\"}\n".to_owned(), ALIVE.to_owned(), Some(Dialect::Seed)),
        (format!("{{\"TASK\":\"HEARTBEAT\",\"SERVER_UUID\":\"U\",{NATIVE}}}\n"), native, Some(Dialect::Native)),
        ("{\"TASK\":\"HEARTBEAT\",\"x\":1}\n".to_owned(), ALIVE.to_owned(), Some(Dialect::Native)),
    ] {
        assert_eq!((link.feed(&question).said(), link.edge.spoken()), (answer, spoken), "{question}");
    }
    let id = Link::inbound().feed("{\"SERVER_UUID\":\"U\",\"TASK\":\"HEARTBEAT\",\"ID\":\"7\"}\n").said();
    assert_eq!(id, "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"ID\":\"7\"}\n");
}

#[test]
fn our_heartbeat_has_the_form_of_the_dialect_and_then_that_of_the_answer() {
    let heartbeat = Message {
        id: RequestId::new("1"),
        body: Body::Heartbeat(Heartbeat { sender: None, presence: Some(presence()) }),
    };
    let say = |link: &mut Link| {
        link.edge.render(&heartbeat, &mut link.out);
        link.said()
    };
    let universal = format!("{{\"TASK\":\"HEARTBEAT\",\"ID\":\"1\",\"SERVER_UUID\":\"ME\",{NATIVE}}}\n");
    let native = format!("{{\"TASK\":\"HEARTBEAT\",\"ID\":\"1\",{NATIVE}}}\n");
    let uuid = "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\"}\n";
    for (dialect, form) in [
        (None, universal.as_str()),
        (Some(Dialect::Native), &native),
        (Some(Dialect::Seed), BARE),
        (Some(Dialect::Gen2025_2), uuid),
        (Some(Dialect::Gen2026_1), uuid),
    ] {
        assert_eq!(say(&mut Link::new(Edge::outbound(dialect))), form, "{dialect:?}");
    }
    for (answer, spoken, form) in [
        ("\"SERVER_ID\":\"S\"".to_owned(), Dialect::Seed, BARE),
        ("\"SERVER_UUID\":\"S\"".to_owned(), Dialect::Gen2026_1, uuid),
        (NATIVE.to_owned(), Dialect::Native, &native),
    ] {
        let mut link = Link::new(Edge::outbound(None));
        link.feed(format!("{{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",{answer}}}\n"));
        assert_eq!((link.edge.spoken(), say(&mut link).as_str()), (Some(spoken), form), "{answer}");
    }
    let mut told = Link::new(Edge::outbound(Some(Dialect::Gen2025_2)));
    told.feed("{\"SERVER_UUID\":\"S\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\"}\n");
    assert_eq!(told.edge.spoken(), Some(Dialect::Gen2025_2));
}

#[test]
fn our_first_heartbeat_is_native_to_another_edge_of_ours() {
    let mut ours = Link::new(Edge::outbound(None));
    let body = Body::Heartbeat(Heartbeat { sender: None, presence: Some(presence()) });
    ours.edge.render(&Message::plain(body), &mut ours.out);
    let mut theirs = Link::inbound();
    let answer = theirs.feed(ours.said()).said();
    assert_eq!((theirs.edge.spoken(), answer.contains("SERVER_UUID")), (Some(Dialect::Native), false));
    ours.feed(answer);
    assert_eq!(ours.edge.spoken(), Some(Dialect::Native));
}

#[test]
fn our_first_heartbeat_is_one_read_of_a_classroom_program() {
    let offer = |nth: u32| crate::wire::ServiceOffer {
        name: crate::wire::ServiceName::new(format!("service-{nth}")).unwrap(),
        methods: vec![crate::wire::ServiceName::run()],
        idempotent: Vec::new(),
    };
    let group_presence = GroupPresence {
        group_id: crate::wire::GroupId::new("f".repeat(36)),
        term: 1 << 40,
        leader: ServerId::new("e".repeat(128)),
        founder: ServerId::new("d".repeat(128)),
        sees: 3,
    };
    let presence = Box::new(Presence {
        services: (0..100).map(offer).collect(),
        address: format!("{}:9101", "a".repeat(250)).parse().unwrap(),
        name: "\"".repeat(64),
        group: "\"".repeat(64),
        group_presence,
        ..*presence()
    });
    let mut ours = Link::new(Edge::outbound(None));
    let body = || Body::Heartbeat(Heartbeat { sender: None, presence: Some(presence.clone()) });
    ours.edge.render(&Message::plain(body()), &mut ours.out);
    let first = ours.said();
    assert!(first.len() <= 1024 && !first.contains("service-") && !first.contains("LEADER"), "{first}");
    let mut theirs = Link::inbound();
    let answer = theirs.feed(first).said();
    ours.feed(answer);
    ours.edge.render(&Message::plain(body()), &mut ours.out);
    let second = ours.said();
    assert!(second.contains("service-99") && second.contains("LEADER"), "a native node is told all");
}

#[test]
fn what_members_say_and_answer_reaches_the_core_and_no_answer_of_theirs_is_answered() {
    const HEAD: &str = r#""GROUP_ID":"5f0e9a34-aa","FROM":2,"TO":1,"TERM":4"#;
    let whole = [
        format!(
            r#"{{"TASK":"ELECT","RESPONSE":"OK","KIND":"VOTE",{HEAD},"VOTE_GRANTED":true,"COMMIT_INDEX":1,"COMMIT_TERM":1}}"#
        ),
        format!(r#"{{"TASK":"AGREE","RESPONSE":"OK","KIND":"HEARTBEAT",{HEAD},"COMMIT_INDEX":1}}"#),
        r#"{"TASK":"HELLO","RESPONSE":"OK","PROVED":true}"#.to_owned(),
        r#"{"TASK":"AGREE","RESPONSE":"ERROR","ERROR":"NOT_A_MEMBER","DETAIL":"prove it"}"#.to_owned(),
    ];
    let edges = [|| Edge::outbound(None), || Edge::outbound(Some(Dialect::Native)), Edge::inbound];
    for edge in edges {
        for answer in &whole {
            let mut link = Link::new(edge());
            link.feed(format!("{answer}\n"));
            assert_eq!((link.bodies().len(), link.said().as_str()), (1, ""), "{answer}");
            let mut cut = Link::new(edge());
            cut.feed(format!("{}\n", answer.replace("\"OK\"", "\"OK\",\"TERM\":-1,\"TERM\":4")));
            assert_eq!(cut.said(), "", "{answer}");
        }
    }
    let mut link = Link::inbound();
    link.feed(format!("{{\"TASK\":\"ELECT\",\"KIND\":\"NOW\",{HEAD}}}\n"));
    assert!(matches!(link.bodies()[..], [Body::Elect(_)]));
    link.feed(format!("{{\"TASK\":\"AGREE\",{HEAD}}}\n"));
    assert_eq!(link.errors(), [ErrorCode::MissingField]);
}

#[test]
fn http_is_answered_501_and_nothing_in_it_is_a_task() {
    for request in [
        format!("POST / HTTP/1.1\r\nContent-Length: 21\r\n\r\n{BARE}"),
        format!("\r\nGET / HTTP/1.1\r\n{BARE}"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{BARE}"),
    ] {
        for cut in 0..request.len() {
            let mut link = Link::inbound();
            link.feed(&request[..cut]).feed(&request[cut..]).feed(BARE).finish();
            assert_eq!(link.decoded, [Decoded::Close(CloseReason::Http)]);
            let said = link.said();
            let (head, body) = said.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 501 Not Implemented\r\n") && head.contains("Connection: close"));
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        }
    }
    let said = Link::inbound().feed("HEAD / HTTP/1.1\r\n\r\n").said();
    assert!(said.ends_with("\r\n\r\n"), "an answer to HEAD has no body");
}

#[test]
fn tls_is_closed_without_a_word() {
    let mut link = Link::inbound();
    link.feed(b"\x16\x03\x01").feed(BARE);
    assert_eq!((link.decoded.as_slice(), link.out.len()), (&[Decoded::Close(CloseReason::Tls)][..], 0));
}

#[test]
fn what_may_become_http_waits_and_then_is_closed() {
    let mut link = Link::inbound();
    link.feed("PO").wait(HEAD_DEADLINE - Duration::from_millis(1));
    assert_eq!(link.decoded, []);
    link.wait(Duration::from_millis(1));
    assert_eq!(link.decoded, [Decoded::Close(CloseReason::HeadTooSlow)]);
    assert_eq!(link.feed(BARE).said(), "");
}

#[test]
fn once_lines_are_spoken_http_is_a_bad_line() {
    let mut link = Link::inbound();
    link.feed(BARE).feed("GET / HTTP/1.1\r\n").feed(BARE);
    assert!(link.said().contains("BAD_JSON"));
    assert_eq!(link.edge.take_heartbeats(), 2);
    let mut link = Link::inbound();
    assert_eq!(link.feed("GETTING\nPO").finish().errors(), [ErrorCode::BadJson, ErrorCode::BadJson]);
    let mut link = Link::new(Edge::outbound(None));
    link.feed("GET / HTTP/1.1\r\n").feed(b"\x16\n");
    assert_eq!((link.decoded.len(), link.said(), link.edge.take_ignored()), (2, String::new(), 2));
    assert!(link.decoded.iter().all(|decoded| matches!(decoded, Decoded::Stray { .. })));
}

#[test]
fn malformed_lines_are_answered_and_the_connection_kept() {
    let mut link = Link::inbound();
    link.feed("{\n[]\n{\"TASK\":\"NOPE\"}\n{}\n\n \r\n");
    let codes = [ErrorCode::BadJson, ErrorCode::NotAnObject, ErrorCode::UnknownTask, ErrorCode::MissingField];
    assert_eq!((link.errors().as_slice(), link.decoded.len()), (&codes[..], 0));
    assert_eq!(link.feed(BARE).said(), ALIVE);
}

#[test]
fn an_object_without_newline_counts_after_silence_and_half_an_object_does_not() {
    let mut link = Link::inbound();
    link.feed("{\"TASK\":\"LOAD\"}").wait(SILENCE_ENDS_LINE - Duration::from_micros(1));
    assert_eq!(link.bodies().len(), 0);
    link.wait(Duration::from_micros(1));
    assert_eq!(link.bodies(), [&Body::Load]);
    link.feed("{\"TASK\":").wait(Duration::from_secs(5)).feed("\"HELLO\"}");
    assert_eq!(link.bodies().len(), 1);
    assert_eq!(link.finish().bodies(), [&Body::Load, &Body::Hello]);
}

#[test]
fn endless_and_slow_lines_are_answered_and_closed() {
    let mut link = Link::inbound();
    link.feed(vec![b'{'; MAX_LINE_BYTES]);
    assert_eq!(link.decoded, []);
    link.feed("{").feed(format!("\n{BARE}")).finish();
    assert_eq!(link.decoded, [Decoded::Close(CloseReason::LineTooLong)]);
    assert_eq!((link.errors(), link.edge.heap_bytes()), (vec![ErrorCode::LineTooLong], 0));

    let mut link = Link::inbound();
    link.feed("{");
    for _ in 0..59 {
        link.wait(Duration::from_secs(1)).feed("x");
    }
    assert_eq!(link.decoded, []);
    link.wait(Duration::from_secs(1));
    assert_eq!(link.decoded, [Decoded::Close(CloseReason::LineTooSlow)]);
    assert_eq!((link.errors(), link.edge.deadline()), (vec![ErrorCode::LineTooSlow], None));
}

#[test]
fn after_close_nothing_is_rendered() {
    let mut link = Link::inbound();
    link.feed("GET / HTTP/1.1\r\n");
    let before = link.out.clone();
    link.edge.render(&Message::plain(Body::Hello), &mut link.out);
    assert_eq!(link.out, before);
}

#[test]
fn only_a_native_peer_is_told_its_errors_on_a_link_that_we_opened() {
    let wrong = "OK\n{\"TASK\":\"DANCE\"}\n{\"status\":\"alive\"}\n";
    let mut link = Link::new(Edge::outbound(None));
    assert_eq!((link.feed(wrong).said(), link.edge.take_ignored()), (String::new(), 3));
    let shown = |(line, wrong): (&str, _)| Decoded::Stray { line: line.to_owned(), wrong };
    let why = [Some("it is no JSON object"), None, None];
    let shown: Vec<Decoded> = wrong.lines().zip(why).map(shown).collect();
    assert_eq!(link.decoded, shown, "but the core is, for people to see");
    link.feed(format!("{{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",{NATIVE}}}\n")).feed(wrong);
    assert_eq!((link.errors().len(), link.edge.take_ignored()), (3, 0));
}

#[test]
fn a_line_that_nobody_answers_is_handed_on_with_what_is_wrong_with_it() {
    let mut link = Link::inbound();
    link.feed("{\"worker\":\"alive\"}\n{\"type\":\"x\"}\n{\"STATUS\":\"PONG\"}\n");
    let wrong: Vec<(&str, &str)> = (link.decoded.iter())
        .filter_map(|decoded| match decoded {
            Decoded::Ignored { why, line, refusal: None } => Some((*why, line.as_str())),
            _ => None,
        })
        .collect();
    let [(first, "{\"worker\":\"alive\"}"), (second, "{\"type\":\"x\"}")] = wrong.as_slice() else {
        panic!("{wrong:?}")
    };
    assert!(first.contains("WORKER_UUID") && second.contains("`type`"), "{wrong:?}");
    assert_eq!((link.said(), link.edge.take_ignored()), (String::new(), 2));
}

#[test]
fn two_edges_that_answer_each_other_fall_silent() {
    for line in [
        "x\n",
        "{}\n",
        "{\"TASK\":\"NOPE\"}\n",
        "{\"type\":\"ack\"}\n",
        BARE,
        "{\"TASK\":\"LEAVE\"}\n",
        "{\"TASK\":\"JOB\"}\n",
        "{\"TASK\":\"STOP\",\"JOB_ID\":\"j\",\"ATTEMPT\":1}\n",
        "{\"TASK\":\"KEEPALIVE\"}\n",
        "{\"TASK\":\"SUBMIT\",\"SERVICE\":5}\n",
        "{\"TASK\":\"NO_TASK\"}\n",
        "{\"STATUS\":\"ACK\"}\n",
        "{\"status\":\"pong\"}\n",
        "{\"STATUS\":\"OK\",\"WORKER_UUID\":5.5}\n",
        "{\"server_uuid\":\"x\",\"task\":\"heartbeat\"}\n",
    ] {
        for mut two in [Link::inbound(), Link::new(Edge::outbound(None)), worker()] {
            let answer = Link::inbound().feed(line).said();
            assert_eq!(two.feed(answer).said(), "", "{line}");
        }
    }
}

/// A link on which this node has spoken as a worker.
fn worker() -> Link {
    let mut link = Link::new(Edge::outbound(None));
    let alive = crate::wire::WorkerAlive { worker: me(), owner: None, listens: None, native: None };
    link.edge.render(&Message::plain(Body::WorkerAlive(Box::new(alive))), &mut link.out);
    link.out.clear();
    link
}

#[test]
fn orders_of_a_master_count_only_on_the_link_that_a_worker_opened() {
    let orders = "{\"TASK\":\"QUERY\",\"USER\":1}\n{\"TASK\":\"NO_TASK\"}\n{\"STATUS\":\"ACK\"}\n\
                  {\"TASK\":\"KEEPALIVE\"}\n{\"TASK\":\"STOP\",\"JOB_ID\":\"j\",\"ATTEMPT\":1}\n";
    let mut working = worker();
    working.feed(orders);
    assert_eq!((working.bodies().len(), working.said()), (5, String::new()));
    let foreign = "{\"TASK\":\"REDIRECT\"}\n{\"TASK\":\"REDIRECT\",\"SERVER_REDIRECT\":{}}\n{\"TASK\":\"DANCE\"}\n";
    working.feed(foreign).feed("{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\"}\n");
    assert_eq!((working.bodies().len(), working.said(), working.edge.take_ignored()), (5, String::new(), 4));

    let mut asking = Link::new(Edge::outbound(None));
    asking.feed(orders);
    assert_eq!((asking.bodies().len(), asking.said(), asking.edge.take_ignored()), (0, String::new(), 5));
    assert!(asking.decoded.iter().all(|decoded| matches!(decoded, Decoded::Stray { .. })), "people are told");

    let mut accepted = Link::inbound();
    accepted.feed(orders);
    assert_eq!(accepted.bodies().len(), 1, "a QUERY is a client's job there");
    assert_eq!(accepted.edge.take_ignored(), 2);
    assert_eq!(accepted.errors(), [ErrorCode::NotNative, ErrorCode::NotNative]);
}

#[test]
fn while_answers_are_waited_for_everything_is_handed_on_in_its_order() {
    let mut link = Link::inbound();
    link.feed("{\"TASK\":\"LOAD\"}\n");
    link.edge.set_waiting(true);
    let prepared = Prepared::new(&me());
    let stream = format!("{BARE}x\n{{\"TASK\":\"NOPE\",\"ID\":\"7\"}}\n{BARE}{}\n", BARE.trim());
    for cut in 0..stream.len() {
        let mut handed = Vec::new();
        for mut part in [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]] {
            while let Some(decoded) = link.edge.poll(&prepared, &mut part, link.now, &mut link.out) {
                handed.push(decoded);
            }
        }
        let what = |decoded: &Decoded| match decoded {
            Decoded::Message(message) if message.body == Body::Heartbeat(Heartbeat::default()) => "heartbeat".into(),
            Decoded::Refused(answer) => match &answer.body {
                Body::Error(error) => error.code.as_str().to_owned(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let handed: Vec<String> = handed.iter().map(what).collect();
        assert_eq!(handed, ["heartbeat", "BAD_JSON", "UNKNOWN_TASK", "heartbeat", "heartbeat"], "cut at {cut}");
    }
    assert_eq!((link.said(), link.edge.take_heartbeats()), (String::new(), 0));
    link.edge.set_waiting(false);
    assert_eq!(link.feed(BARE).feed("x\n").said().lines().count(), 2);
}

#[test]
fn heartbeats_that_waited_are_answered_each_in_its_form() {
    let mut link = Link::inbound();
    link.edge.set_waiting(true);
    let prepared = Prepared::new(&me());
    let asked = format!(
        "{BARE}{{\"SERVER_UUID\":\"U\",\"TASK\":\"HEARTBEAT\"}}\n{{\"SERVER_UUID\":\"U\",\"TASK\":\"HEARTBEAT\",\"ID\":\"7\"}}\n\
         {{\"task\":\"heartbeat\"}}\n{BARE}"
    );
    let mut input = asked.as_bytes();
    while let Some(decoded) = link.edge.poll(&prepared, &mut input, link.now, &mut link.out) {
        assert!(matches!(decoded, Decoded::Message(_)));
    }
    assert!(link.edge.heap_bytes() > 0);
    link.edge.set_waiting(false);
    let mut say = |id: Option<&str>| {
        let body = Body::HeartbeatAnswer(HeartbeatAnswer { server_id: me(), presence: None });
        link.edge.render(&Message { id: id.and_then(RequestId::new), body }, &mut link.out);
        link.said()
    };
    // The one with a mark overtakes.
    assert_eq!(say(Some("7")), "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"ID\":\"7\"}\n");
    assert_eq!(say(None), ALIVE);
    assert_eq!(say(None), "{\"SERVER_UUID\":\"ME\",\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\"}\n");
    assert_eq!(say(None), "{\"server_uuid\":\"ME\",\"task\":\"heartbeat\",\"response\":\"alive\"}\n");
    assert_eq!(say(None), ALIVE);
    assert_eq!(link.edge.heap_bytes(), 0);
    for _ in 0..2 * MAX_WAITING_FORMS {
        link.edge.set_waiting(true);
        let mut input = &b"{\"TASK\":\"HEARTBEAT\",\"x\":1}\n"[..];
        assert!(link.edge.poll(&prepared, &mut input, link.now, &mut link.out).is_some());
    }
    assert!(link.edge.heap_bytes() <= 2 * MAX_LINE_BYTES, "{}", link.edge.heap_bytes());
}

#[test]
fn answers_are_at_most_eighty_times_the_input() {
    for line in ["x\n", "5\n", "{}\n", "\u{1}\n", "[\n", BARE, "{\"TASK\":\"\"}\n"] {
        let mut link = Link::inbound();
        link.feed(line.repeat(100));
        assert!(link.out.len() <= 80 * 100 * line.len(), "{line:?}: {}", link.out.len());
    }
}

#[test]
fn dialects_have_names() {
    for dialect in Dialect::ALL {
        assert_eq!(Dialect::parse(dialect.as_str()), Some(dialect));
    }
    assert_eq!(Dialect::parse("Native"), None);
}

/// Pieces that streams are made of: lines, parts of lines, blanks, other protocols, noise.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let texts = [
        BARE,
        "{\"TASK\": \"HEARTBEAT\"}\r\n",
        "{\"TASK\":\"HEARTBEAT\"}",
        "{\"TASK\":\"LOAD\",\"ID\":\"é\"}\n",
        "{\"TASK\":\"HEARTBEAT\",\"SERVER_UUID\":\"U\"}\n",
        "{\"TASK\":\"NODES\",\"NAME\":5}\n",
        "{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"SERVER_ID\":\"S\"}\n",
        "{\"type\":\"x\"}\n",
        "{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"W\"}\n",
        "{\"worker\":\"alive\",\"worker_uuid\":\"W\"}",
        "{\"STATUS\":\"OK\",\"TASK\":\"QUERY\",\"SALDO\":1}\n",
        "{\"TASK\":\"KEEPALIVE\"}\n",
        "{\"TASK\":\"SUBMIT\",\"SERVICE\":\"a\",\"PARAMS\":{\"b\":[1]}}\n",
        "GET ",
        "PO",
        "\n",
        "\r\n",
        " ",
        "{",
        "}",
        "\"",
        "\\",
    ];
    prop_oneof![
        8 => proptest::sample::select(texts.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => (MAX_LINE_BYTES - 2..MAX_LINE_BYTES + 3).prop_map(|length| vec![b'y'; length]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn cuts_make_no_difference(
        who in 0..3,
        pieces in proptest::collection::vec(piece(), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let link = || match who {
            0 => Link::inbound(),
            1 => Link::new(Edge::outbound(None)),
            _ => worker(),
        };
        let stream = pieces.concat();
        let mut whole = link();
        whole.feed(&stream).finish();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut cut = link();
        for pair in cuts.windows(2) {
            cut.feed(&stream[pair[0]..pair[1]]);
        }
        cut.finish();
        prop_assert_eq!(&whole.decoded, &cut.decoded);
        prop_assert_eq!(String::from_utf8_lossy(&whole.out), String::from_utf8_lossy(&cut.out));
        prop_assert_eq!(whole.edge.take_heartbeats(), cut.edge.take_heartbeats());
        prop_assert_eq!(whole.edge.take_ignored(), cut.edge.take_ignored());
        prop_assert_eq!(whole.edge.spoken(), cut.edge.spoken());
    }
}
