use proptest::prelude::*;

use crate::wire::*;

use super::request::TASKS;
use super::*;

/// The body of a line that is a message.
fn body(line: &str) -> Body {
    decode(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}")).body
}

/// The error answer that a line deserves, and the `ID` on it.
fn error(line: impl AsRef<[u8]>) -> (Option<String>, ErrorAnswer) {
    let line = line.as_ref();
    match decode(line) {
        Err(Undecoded::Refused(message)) => match message.body {
            Body::Error(error) => (message.id.map(|id| id.as_str().to_owned()), *error),
            other => panic!("{other:?}"),
        },
        other => panic!("{}: {other:?}", String::from_utf8_lossy(line)),
    }
}

fn is_ignored(line: &str) -> bool {
    decode(line.as_bytes()) == Err(Undecoded::Ignored)
}

fn id(text: &str) -> Option<ServerId> {
    ServerId::new(text)
}

const NATIVE: &str = r#""SERVER_ID":"S","NAME":"a","ADDRESS":"h:1","ROLE":"MASTER","GROUP":"g""#;

#[test]
fn a_bare_task_is_always_a_valid_question() {
    assert_eq!(body(r#"{"TASK":"HEARTBEAT"}"#), Body::Heartbeat(Heartbeat::default()));
    assert_eq!(body(r#"{"TASK":"HELLO"}"#), Body::Hello);
    assert_eq!(body(r#"{"TASK":"NODES"}"#), Body::Nodes(NodesQuery::default()));
    assert_eq!(body(r#"{"TASK":"LOAD"}"#), Body::Load);
    assert_eq!(body(" {\t\"TASK\" : \"EVENTS\" , \"X\":null}\r"), Body::Events);
}

#[test]
fn a_heartbeat_says_who_sends_it_in_every_generation() {
    let heartbeat = |line: &str| match body(line) {
        Body::Heartbeat(heartbeat) => heartbeat,
        other => panic!("{other:?}"),
    };
    let uuid = heartbeat(r#"{"SERVER_UUID": "SERVER_1", "TASK": "HEARTBEAT"}"#);
    assert_eq!((uuid.sender, uuid.presence), (id("SERVER_1"), None));
    assert_eq!(heartbeat(r#"{"TASK":"HEARTBEAT","SERVER_ID":"S"}"#).sender, id("S"));
    let native = heartbeat(&format!(r#"{{"TASK":"HEARTBEAT",{NATIVE},"CPU":12.34,"PENDING":7,"SATURATED":true}}"#));
    let presence = native.presence.unwrap();
    assert_eq!((native.sender, presence.role, presence.group.as_str()), (None, Role::Master, "g"));
    assert_eq!((presence.load.cpu.get(), presence.load.pending, presence.load.saturated), (123, 7, true));
    assert_eq!(presence.load.memory.get(), 0, "what is absent of the load is none");
    let both = heartbeat(&format!(r#"{{"TASK":"HEARTBEAT","SERVER_UUID":"U",{NATIVE}}}"#));
    assert_eq!((both.sender, both.presence.is_some()), (id("U"), true));
}

#[test]
fn a_strange_heartbeat_is_a_heartbeat_all_the_same() {
    for extras in [
        r#""ID":5"#,
        r#""SERVER_UUID":{}"#,
        r#""SERVER_ID":"""#,
        r#""SERVER_ID":"S","NAME":5,"ADDRESS":"h:1","ROLE":"master","GROUP":"g""#,
        r#""SERVER_ID":"S","NAME":"a","ADDRESS":"nowhere","ROLE":"master","GROUP":"g""#,
        r#""SERVER_ID":"S","NAME":"a""#,
    ] {
        let line = format!(r#"{{"TASK":"HEARTBEAT",{extras}}}"#);
        let Body::Heartbeat(heartbeat) = body(&line) else { panic!("{line}") };
        assert_eq!(heartbeat.presence, None, "{line}");
        assert_eq!(heartbeat.sender.is_some(), extras.contains("\"S\""), "{line}");
    }
    let odd = body(&format!(r#"{{"TASK":"HEARTBEAT",{NATIVE},"CPU":"hot","MEMORY":-1,"PENDING":1.5,"WORKERS":[]}}"#));
    let Body::Heartbeat(Heartbeat { presence: Some(presence), .. }) = odd else { panic!("{odd:?}") };
    assert_eq!(presence.load, LoadReport::default());
}

#[test]
fn an_error_names_the_field_that_is_missing_or_ill_typed_and_what_was_expected() {
    for (line, code, task, field) in [
        (r#"{"TASK":"LEAVE"}"#, ErrorCode::MissingField, "LEAVE", "`SERVER_ID` is missing"),
        (r#"{"TASK":"LEAVE","SERVER_ID":null}"#, ErrorCode::MissingField, "LEAVE", "`SERVER_ID` is missing"),
        (r#"{"TASK":"LEAVE","SERVER_ID":7}"#, ErrorCode::BadField, "LEAVE", "`SERVER_ID` is a number"),
        (r#"{"TASK":"LEAVE","SERVER_ID":""}"#, ErrorCode::BadField, "LEAVE", "`SERVER_ID` is \"\""),
        (r#"{"TASK":"NODES","SERVER_ID":[]}"#, ErrorCode::BadField, "NODES", "`SERVER_ID` is an array"),
        (r#"{"TASK":"NODES","ADDRESS":"x"}"#, ErrorCode::BadField, "NODES", "`ADDRESS` is \"x\""),
        (r#"{"TASK":"NODES","NAME":{}}"#, ErrorCode::BadField, "NODES", "`NAME` is an object"),
        (r#"{"TASK":"NODES","AFTER":true}"#, ErrorCode::BadField, "NODES", "`AFTER` is true or false"),
        (r#"{"TASK":"LOAD","ID":5}"#, ErrorCode::BadField, "LOAD", "`ID` is a number"),
        (r#"{}"#, ErrorCode::MissingField, "", "`TASK` is missing"),
        (r#"{"TASK":null,"x":1}"#, ErrorCode::MissingField, "", "`TASK` is missing"),
        (r#"{"TASK":5}"#, ErrorCode::BadField, "", "`TASK` is a number"),
    ] {
        let (_, error) = error(line);
        assert_eq!((&error.code, error.task.as_str()), (&code, task), "{line}");
        assert!(error.detail.starts_with(field) && error.detail.contains("expected"), "{line}: {}", error.detail);
        assert!(!error.retry);
    }
}

#[test]
fn an_unknown_task_is_told_which_tasks_exist() {
    for task in ["NOPE", "heartbeat", "Load", ""] {
        let (id, error) = error(format!(r#"{{"TASK":"{task}","ID":"9"}}"#));
        assert_eq!((id.as_deref(), &error.code, error.task.as_str()), (Some("9"), &ErrorCode::UnknownTask, task));
        assert!(error.detail.contains(TASKS), "{}", error.detail);
    }
    for task in TASKS.split(", ") {
        let line = format!(r#"{{"TASK":"{task}","SERVER_ID":"S"}}"#);
        assert!(decode(line.as_bytes()).is_ok(), "{task} is listed");
    }
}

#[test]
fn errors_quote_little_and_never_cut_a_character() {
    let (_, error) = error(format!(r#"{{"TASK":"{}"}}"#, "ç".repeat(500)));
    assert_eq!(error.task, "ç".repeat(QUOTE_CHARS));
    assert!(error.detail.chars().count() < 250);
}

#[test]
fn errors_echo_a_valid_id_and_no_other() {
    let echoed = |line: &str| error(line).0;
    assert_eq!(echoed(r#"{"ID":"7","TASK":"NOPE"}"#).as_deref(), Some("7"));
    assert_eq!(echoed(r#"{"ID":"7"}"#).as_deref(), Some("7"));
    assert_eq!(echoed(r#"{"ID":7,"TASK":"NOPE"}"#), None);
    assert_eq!(echoed(&format!(r#"{{"ID":"{}","TASK":"LOAD"}}"#, "x".repeat(MAX_ID_BYTES + 1))), None);
}

#[test]
fn what_is_not_json_or_no_object_or_not_utf8_says_so() {
    for line in
        [&b"{\"TASK\":\"LOAD\",\"x\":\"\xff\"}"[..], b"\xef\xbb\xbf{}", b"{", b"{\"TASK\":\"LOAD\"} x", b"hello"]
    {
        assert_eq!(error(line).1.code, ErrorCode::BadJson, "{}", String::from_utf8_lossy(line));
    }
    assert!(error(b"{\"x\":\"\xff\"}").1.detail.contains("UTF-8 at byte 6"));
    for line in ["[]", "5", "null", "\"TASK\"", "true", "[{\"TASK\":\"LOAD\"}]"] {
        assert_eq!(error(line).1.code, ErrorCode::NotAnObject, "{line}");
    }
}

#[test]
fn a_known_key_that_stands_twice_is_an_error_that_names_it() {
    let (id, error) = error(r#"{"TASK":"LOAD","ID":"7","TASK":"HELLO"}"#);
    assert_eq!((id.as_deref(), error.code), (Some("7"), ErrorCode::BadJson));
    assert!(error.detail.contains("`TASK` stands twice"), "{}", error.detail);
    assert_eq!(body(r#"{"TASK":"LOAD","x":1,"x":2}"#), Body::Load);
}

#[test]
fn an_answer_is_never_answered_by_an_error() {
    for line in [
        r#"{"RESPONSE":5}"#,
        r#"{"TASK":"NOPE","RESPONSE":"WHAT"}"#,
        r#"{"TASK":"HEARTBEAT","RESPONSE":"ALIVE"}"#,
        r#"{"TASK":"HEARTBEAT","RESPONSE":"ALIVE","SERVER_ID":"S","SERVER_ID":"S"}"#,
        r#"{"TASK":"HEARTBEAT","RESPONSE":"ALIVE","SERVER_ID":5}"#,
        r#"{"TASK":"LOAD","RESPONSE":"OK"}"#,
        r#"{"TASK":"NODES","RESPONSE":"OK","SERVER_ID":"S","NODES":[{}]}"#,
        r#"{"TASK":"HELLO","RESPONSE":"OK","SERVER_ID":"S"}"#,
        r#"{"TASK":"EVENTS","RESPONSE":"OK","SEQ":"x"}"#,
        r#"{"TASK":"EVENTS","EVENT":"NEVER_HEARD","SEQ":1}"#,
        r#"{"TASK":"EVENTS","EVENT":5}"#,
        r#"{"STATUS":"ACK"}"#,
        r#"{"STATUS":"PONG","TASK":"KEEPALIVE"}"#,
        r#"{"SERVER_UUID":"SERVER_B","RESPONSE":"UNAVAILABLE"}"#,
        r#"{"type":"response_rejected","request_id":"1","payload":{},"TASK":"NOPE"}"#,
        r#"{"TYPE":"ACK"}"#,
    ] {
        assert!(is_ignored(line), "{line}");
    }
}

#[test]
fn envelopes_and_workers_lines_are_ignored_and_their_tasks_are_not() {
    for line in [
        r#"{"type":"request_help","request_id":"1","payload":{}}"#,
        r#"{"type":"unheard_of"}"#,
        r#"{"type":5,"type":5}"#,
        r#"{"TYPE":"REQUEST_HELP"}"#,
        r#"{"WORKER":"ALIVE","WORKER_UUID":"W"}"#,
        r#"{"worker":"alive"}"#,
        r#"{"STATUS":"OK","TASK":null}"#,
        r#"{"type":"x","TASK":5}"#,
    ] {
        assert!(is_ignored(line), "{line}");
    }
    assert_eq!(error(r#"{"STATUS":"OK","TASK":"QUERY","WORKER_UUID":"W"}"#).1.code, ErrorCode::UnknownTask);
    assert_eq!(error(r#"{"type":null}"#).1.code, ErrorCode::MissingField);
    assert_eq!(body(r#"{"type":"x","TASK":"LOAD"}"#), Body::Load);
}

#[test]
fn a_heartbeat_answer_reads_in_every_generation() {
    let answer = |line: &str| match read(line.as_bytes()) {
        Ok((Message { body: Body::HeartbeatAnswer(answer), .. }, shape)) => (answer, shape),
        other => panic!("{other:?}"),
    };
    let (seed, shape) = answer(r#"{"TASK": "HEARTBEAT", "RESPONSE": "ALIVE", "SERVER_ID": "S"}"#);
    assert_eq!((seed.server_id.as_str(), seed.presence, shape), ("S", None, Shape::Id));
    let (uuid, shape) = answer(r#"{"SERVER_UUID":"U","TASK":"HEARTBEAT","RESPONSE":"ALIVE"}"#);
    assert_eq!((uuid.server_id.as_str(), shape), ("U", Shape::Uuid));
    let (native, shape) = answer(&format!(r#"{{"TASK":"HEARTBEAT","RESPONSE":"ALIVE",{NATIVE}}}"#));
    assert_eq!((native.server_id.as_str(), native.presence.is_some(), shape), ("S", true, Shape::Native));
}

#[test]
fn a_foreign_error_is_kept_as_it_came() {
    let line = r#"{"TASK":"X","RESPONSE":"ERROR","ERROR":"ODD","DETAIL":5}"#;
    let expected = ErrorAnswer::new("X", ErrorCode::Other("ODD".to_owned()), "");
    assert_eq!(body(line), Body::Error(Box::new(expected)));
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&line);
    }

    #[test]
    fn nor_does_anything_that_looks_like_a_line(
        pairs in proptest::collection::vec(("(TASK|RESPONSE|ID|EVENT|SERVER_ID|NODES|CPU|type|x)",
            "(\"(HEARTBEAT|NODES|LOAD|EVENTS|ALIVE|OK|ERROR|x)\"|null|-?[0-9]{1,25}(\\.[0-9])?|\\[\\{\\}\\]|\\{\\}|true)"), 0..6),
    ) {
        let fields: Vec<String> = pairs.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let _ = decode(format!("{{{}}}", fields.join(",")).as_bytes());
    }
}
