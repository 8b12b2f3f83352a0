use proptest::prelude::*;

use crate::wire::*;

use super::request::TASKS;
use super::*;

mod group;
mod loans;

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
    assert_eq!(body(r#"{"TASK":"NODES"}"#), Body::Nodes(Box::default()));
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
        (r#"{"TASK":"SUBMIT","PARAMS":{}}"#, ErrorCode::MissingField, "SUBMIT", "`SERVICE` is missing"),
        (r#"{"TASK":"SUBMIT","SERVISE":"x"}"#, ErrorCode::MissingField, "SUBMIT", "`SERVICE` is missing"),
        (r#"{"TASK":"SUBMIT","SERVICE":null}"#, ErrorCode::MissingField, "SUBMIT", "`SERVICE` is missing"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a b"}"#, ErrorCode::BadField, "SUBMIT", "`SERVICE` is \"a b\""),
        (r#"{"TASK":"SUBMIT","SERVICE":"a.b.c"}"#, ErrorCode::BadField, "SUBMIT", "`SERVICE` is \"a.b.c\""),
        (r#"{"TASK":"SUBMIT","SERVICE":"a.b","METHOD":"c"}"#, ErrorCode::BadField, "SUBMIT", "`SERVICE` is \"a.b\""),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","METHOD":[]}"#, ErrorCode::BadField, "SUBMIT", "`METHOD` is an array"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","PRIORITY":10}"#, ErrorCode::BadField, "SUBMIT", "`PRIORITY` is 10"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","PRIORITY":"9"}"#, ErrorCode::BadField, "SUBMIT", "`PRIORITY` is \"9\""),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","PRIORITY":-1}"#, ErrorCode::BadField, "SUBMIT", "`PRIORITY` is a number"),
        (
            r#"{"TASK":"SUBMIT","SERVICE":"a","DELAY_MS":2592000001}"#,
            ErrorCode::BadField,
            "SUBMIT",
            "`DELAY_MS` is 2592",
        ),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","TIMEOUT_MS":0}"#, ErrorCode::BadField, "SUBMIT", "`TIMEOUT_MS` is 0"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","TIMEOUT_MS":1.5}"#, ErrorCode::BadField, "SUBMIT", "`TIMEOUT_MS` is a num"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","ATTEMPTS":0}"#, ErrorCode::BadField, "SUBMIT", "`ATTEMPTS` is 0"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","ATTEMPTS":101}"#, ErrorCode::BadField, "SUBMIT", "`ATTEMPTS` is 101"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","KEY":""}"#, ErrorCode::BadField, "SUBMIT", "`KEY` is \"\""),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","KEY":7}"#, ErrorCode::BadField, "SUBMIT", "`KEY` is a number"),
        (
            r#"{"TASK":"SUBMIT","SERVICE":"a","WAIT_MS":86400001}"#,
            ErrorCode::BadField,
            "SUBMIT",
            "`WAIT_MS` is 86400001",
        ),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","WAIT":1}"#, ErrorCode::BadField, "SUBMIT", "`WAIT` is a number"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","OUTPUT":"yes"}"#, ErrorCode::BadField, "SUBMIT", "`OUTPUT` is \"yes\""),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","FOLLOW":0}"#, ErrorCode::BadField, "SUBMIT", "`FOLLOW` is a number"),
        (r#"{"TASK":"SUBMIT","SERVICE":"a","HOPS":-1}"#, ErrorCode::BadField, "SUBMIT", "`HOPS` is a number"),
        (r#"{"TASK":"RESULT","WAIT_MS":1}"#, ErrorCode::MissingField, "RESULT", "`JOB_ID` is missing"),
        (r#"{"TASK":"RESULT","JOB_ID":"a b"}"#, ErrorCode::BadField, "RESULT", "`JOB_ID` is \"a b\""),
        (r#"{"TASK":"CANCEL","x":1}"#, ErrorCode::MissingField, "CANCEL", "`JOB_ID` is missing"),
        (r#"{"TASK":"BURY","KEY":[]}"#, ErrorCode::BadField, "BURY", "`KEY` is an array"),
        (r#"{"TASK":"KICK","JOB_ID":7}"#, ErrorCode::BadField, "KICK", "`JOB_ID` is a number"),
        (r#"{"TASK":"JOBS","STATUS":"odd"}"#, ErrorCode::BadField, "JOBS", "`STATUS` is \"odd\""),
        (r#"{"TASK":"JOBS","LIST":1}"#, ErrorCode::BadField, "JOBS", "`LIST` is a number"),
        (r#"{"TASK":"JOBS","AFTER":{}}"#, ErrorCode::BadField, "JOBS", "`AFTER` is an object"),
        (r#"{"TASK":"CALL","METHOD":"m"}"#, ErrorCode::MissingField, "CALL", "`SERVICE` is missing"),
        (
            r#"{"TASK":"CALL","SERVICE":"a","TIMEOUT_MS":3600001}"#,
            ErrorCode::BadField,
            "CALL",
            "`TIMEOUT_MS` is 3600001",
        ),
        (r#"{"TASK":"REDIRECT","HOPS":"0"}"#, ErrorCode::BadField, "REDIRECT", "`HOPS` is \"0\""),
        (r#"{"TASK":"WORKERS","AFTER":""}"#, ErrorCode::BadField, "WORKERS", "`AFTER` is \"\""),
        (r#"{"TASK":"QUERY"}"#, ErrorCode::MissingField, "QUERY", "`USER` is missing"),
        (r#"{"task":"query"}"#, ErrorCode::MissingField, "", "`USER` is missing"),
        (
            r#"{"TASK":"JOB","SERVICE":"a","ATTEMPT":1,"TIMEOUT_MS":1}"#,
            ErrorCode::MissingField,
            "JOB",
            "`JOB_ID` is mis",
        ),
        (
            r#"{"TASK":"JOB","SERVICE":"a","JOB_ID":"j","ATTEMPT":1}"#,
            ErrorCode::MissingField,
            "JOB",
            "`TIMEOUT_MS` is m",
        ),
        (r#"{"TASK":"STOP","JOB_ID":"j"}"#, ErrorCode::MissingField, "STOP", "`ATTEMPT` is missing"),
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
        match decode(line.as_bytes()) {
            Err(Undecoded::Refused(_)) => assert_eq!(error(&line).1.code, ErrorCode::MissingField, "{task} is listed"),
            other => assert!(other.is_ok(), "{task} is listed"),
        }
    }
}

#[test]
fn errors_quote_little_and_never_cut_a_character() {
    let (_, error) = error(format!(r#"{{"TASK":"{}"}}"#, "ç".repeat(500)));
    assert_eq!(error.task, "ç".repeat(QUOTE_CHARS));
    assert!(error.detail.chars().count() < 300);
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
        r#"{"STATUS":"ACK","STATUS":"ACK"}"#,
        r#"{"TASK":"WORKER_RESPONSE","STATUS":"PERHAPS","MASTER_UUID":"M","WORKERS":[]}"#,
        r#"{"TASK":"WORKER_RESPONSE","STATUS":"ACK","MASTER_UUID":"M","WORKERS":5}"#,
        r#"{"response":"alive","task":"heartbeat","server_uuid":"S"}"#,
        r#"{"TYPE":"ELECTION_ACK","STATUS":"REFUSED","MASTER_NAME":"M"}"#,
        r#"{"TYPE":"ELECTION_ACK","SELECTED_MASTER":"M"}"#,
        r#"{"TASK":"SUBMIT","RESPONSE":"OK"}"#,
        r#"{"TASK":"SUBMIT","RESPONSE":"OK","JOB_ID":"a b","STATUS":"QUEUED"}"#,
        r#"{"TASK":"RESULT","RESPONSE":"OK","JOB_ID":"j","STATUS":"ODD"}"#,
        r#"{"TASK":"RESULT","EVENT":"OUTPUT","JOB_ID":"j"}"#,
        r#"{"TASK":"RESULT","EVENT":"SOMETHING","JOB_ID":"j","ATTEMPT":1,"STREAM":"stdout","DATA":""}"#,
        r#"{"TASK":"CALL","RESPONSE":"OK"}"#,
        r#"{"TASK":"CALL","RESPONSE":"OK","RESULT":null}"#,
        r#"{"TASK":"CALL","RESPONSE":"REDIRECT","TARGET":"nowhere"}"#,
        r#"{"TASK":"JOBS","RESPONSE":"OK","JOBS":[{}]}"#,
        r#"{"TASK":"WORKERS","RESPONSE":"OK","SERVER_ID":"S","WORKERS":3}"#,
        r#"{"TASK":"WORKER","RESPONSE":"OK","SERVER_ID":"S"}"#,
        r#"{"SERVER_UUID":"SERVER_B","RESPONSE":"AVAILABLE"}"#,
        r#"{"SERVER_UUID":"SERVER_B","RESPONSE":"RELEASE_ACK","WORKERS_UUID":"W"}"#,
        r#"{"type":"response_rejected","request_id":"1","payload":{},"TASK":"NOPE"}"#,
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
        r#"{"WORKER":"ALIVE"}"#,
        r#"{"WORKER":"ALIVE","WORKER_UUID":""}"#,
        r#"{"WORKER":"ALIVE","WORKER_UUID":["W"]}"#,
        r#"{"WORKER":"ASLEEP","WORKER_UUID":"W"}"#,
        r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SLOTS":"four"}"#,
        r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SLOTS":1025}"#,
        r#"{"worker":"alive"}"#,
        r#"{"STATUS":"MAYBE"}"#,
        r#"{"STATUS":"OK","WORKER_UUID":{}}"#,
        r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"W","JOB_ID":"a b","ATTEMPT":1}"#,
        r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"W","JOB_ID":"j"}"#,
        r#"{"TASK":"REDIRECT","SERVER_REDIRECT":{"ip":"127.0.0.1"}}"#,
        r#"{"TASK":"REDIRECT","TARGET":"127.0.0.1:20902"}"#,
        r#"{"type":"x","TASK":5}"#,
    ] {
        assert!(is_ignored(line), "{line}");
    }
    assert_eq!(error(r#"{"STATUS":"MAYBE","TASK":"DANCE"}"#).1.code, ErrorCode::UnknownTask);
    assert_eq!(error(r#"{"task":"load"}"#).1.code, ErrorCode::MissingField, "lower case is for workers only");
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

#[test]
fn a_bare_task_about_jobs_is_a_question_about_itself() {
    for task in JobTask::ALL {
        assert_eq!(body(&format!(r#"{{"TASK":"{}","ID":"1"}}"#, task.as_str())), Body::Usage(task));
    }
    assert_eq!(body(r#"{"TASK":"CALL"}"#), Body::Calls);
    assert_eq!(body(r#"{"TASK":"JOBS"}"#), Body::Jobs(Box::default()));
    assert_eq!(body(r#"{"TASK":"REDIRECT"}"#), Body::WhereTo { hops: 0 });
    assert_eq!(body(r#"{"TASK":"WORKERS"}"#), Body::Workers { after: None });
}

#[test]
fn a_job_needs_no_more_than_its_service() {
    let submit = |fields: &str| match body(&format!(r#"{{"TASK":"SUBMIT",{fields}}}"#)) {
        Body::Submit(submit) => *submit,
        other => panic!("{other:?}"),
    };
    let plain = submit(r#""SERVICE":"sleep""#);
    assert_eq!((plain.method.as_str(), plain.params.as_str(), plain.priority), ("run", "null", DEFAULT_PRIORITY));
    assert_eq!((plain.delay.is_zero(), plain.timeout, plain.attempts, plain.wait), (true, None, None, None));
    let dotted = submit(r#""SERVICE":"primes.count","PARAMS":{ "n" : 1 }"#);
    assert_eq!((dotted.service.as_str(), dotted.method.as_str()), ("primes", "count"));
    assert_eq!(dotted.params.as_str(), r#"{ "n" : 1 }"#, "what passes through is not touched");
    assert_eq!(submit(r#""SERVICE":"a","WAIT":true"#).wait, Some(MAX_WAIT));
    assert_eq!(submit(r#""SERVICE":"a","WAIT":false"#).wait, None);
    assert_eq!(submit(r#""SERVICE":"a","WAIT":true,"WAIT_MS":5"#).wait, Some(std::time::Duration::from_millis(5)));
    let Body::Call(call) = body(r#"{"TASK":"CALL","SERVICE":"system.info"}"#) else { panic!() };
    assert_eq!((call.method.as_str(), call.timeout, call.hops), ("info", DEFAULT_CALL, 0));
    let Body::Jobs(jobs) = body(r#"{"TASK":"JOBS","STATUS":"OK"}"#) else { panic!("STATUS OK is no worker's here") };
    assert_eq!((jobs.list, jobs.status), (true, Some(JobStatus::Ok)));
}

#[test]
fn what_passes_through_is_bounded() {
    let line = |task: &str, key: &str, bytes: usize| {
        format!(r#"{{"TASK":"{task}","SERVICE":"a","{key}":"{}"}}"#, "x".repeat(bytes))
    };
    for (task, key) in [("SUBMIT", "PARAMS"), ("CALL", "PARAMS"), ("QUERY", "USER")] {
        assert!(decode(line(task, key, MAX_JSON_BYTES - 2).as_bytes()).is_ok());
        let (_, error) = error(line(task, key, MAX_JSON_BYTES - 1));
        assert_eq!(error.code, ErrorCode::BadField);
        assert!(error.detail.contains(key) && error.detail.contains("61440"), "{}", error.detail);
    }
    assert!(is_ignored(&format!(r#"{{"STATUS":"OK","RESULT":"{}"}}"#, "x".repeat(MAX_JSON_BYTES))));
}

#[test]
fn every_line_of_the_classrooms_cycle_reads() {
    let worker = |text: &str| id(text).unwrap();
    let alive = |name: &str, owner: Option<&str>| {
        let owner = owner.map(str::to_owned);
        Body::WorkerAlive(Box::new(WorkerAlive { worker: worker(name), owner, listens: None, native: None }))
    };
    let status = |name: Option<&str>, ok: bool, result: Option<&str>| {
        Body::WorkerStatus(Box::new(WorkerStatus {
            worker: name.map(worker),
            attempt: None,
            ok,
            result: result.map(|text| Json::new(text).unwrap()),
            detail: None,
            retry: true,
        }))
    };
    let ack = |name: Option<&str>| Body::StatusAck(Box::new(StatusAck { worker: name.map(worker), attempt: None }));
    let user = |text: &str| Body::Query { user: Json::new(text).unwrap() };
    let elect = || Body::ElectionAck { worker: worker("W-61CC"), selected: "MASTER_8".to_owned() };
    let elected = || Body::ElectionAccepted { master: "MASTER_8".to_owned() };
    for (line, body, shape) in [
        (r#"{"WORKER": "ALIVE", "WORKER_UUID": "W-B1"}"#, alive("W-B1", None), Shape::Upper),
        (r#"{"WORKER": "ALIVE", "WORKER_UUID": 17}"#, alive("17", None), Shape::Upper),
        (r#"{"WORKER":"ALIVE","WORKER_UUID":"B1","WORKER_HOST":"127.0.0.1"}"#, alive("B1", None), Shape::Upper),
        (
            r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SERVER_UUID":"127.0.0.1:20302"}"#,
            alive("W", Some("127.0.0.1:20302")),
            Shape::Upper,
        ),
        (r#"{"WORKER":"ALIVE","WORKER_UUID":"W","SERVER_UUID":5}"#, alive("W", Some("5")), Shape::Upper),
        (r#"{"WORKER":"alive","WORKER_UUID":"W","TASK":"X"}"#, alive("W", None), Shape::Upper),
        (r#"{"worker":"alive","worker_uuid":"W","server_uuid":"B"}"#, alive("W", Some("B")), Shape::Lower),
        (r#"{"TASK": "QUERY", "USER": "11111111111"}"#, user("\"11111111111\""), Shape::Upper),
        (r#"{"TASK":"query","USER":["a",{"b":1}]}"#, user(r#"["a",{"b":1}]"#), Shape::Upper),
        (r#"{"task":"query","user":null}"#, user("null"), Shape::Lower),
        (r#"{"TASK": "NO_TASK"}"#, Body::NoTask, Shape::Upper),
        (r#"{"task":"no_task"}"#, Body::NoTask, Shape::Lower),
        (r#"{"STATUS": "OK", "TASK": "QUERY", "WORKER_UUID": "A1"}"#, status(Some("A1"), true, None), Shape::Upper),
        (r#"{"STATUS":"NOK","TASK":"QUERY","WORKER_UUID":"W"}"#, status(Some("W"), false, None), Shape::Upper),
        (r#"{"STATUS":"OK"}"#, status(None, true, None), Shape::Upper),
        (
            r#"{"STATUS":"ok","TASK":"SOMETHING","WORKER_UUID":7,"request_id":"r"}"#,
            status(Some("7"), true, None),
            Shape::Upper,
        ),
        (
            r#"{"WORKER_UUID": "W-B1", "TASK": "QUERY", "STATUS": "OK", "CPF": "11111111111", "SALDO": "25.000"}"#,
            status(Some("W-B1"), true, Some(r#"{"CPF":"11111111111","SALDO":"25.000"}"#)),
            Shape::Upper,
        ),
        (
            r#"{"STATUS":"OK","USER":[1, 2],"a\"b":{"c":null},"WORKER_UUID":"W"}"#,
            status(Some("W"), true, Some(r#"{"USER":[1, 2],"a\"b":{"c":null}}"#)),
            Shape::Upper,
        ),
        (r#"{"status":"nok","task":"query","worker_uuid":"W"}"#, status(Some("W"), false, None), Shape::Lower),
        (r#"{"STATUS": "ACK"}"#, ack(None), Shape::Upper),
        (r#"{"STATUS": "ACK", "WORKER_UUID": "A1"}"#, ack(Some("A1")), Shape::Upper),
        (r#"{"STATUS":"ACK","WORKER_UUID":"B1","request_id":"3fc0"}"#, ack(Some("B1")), Shape::Upper),
        (r#"{"status":"ack","worker_uuid":"A1"}"#, ack(Some("A1")), Shape::Lower),
        (r#"{"TASK": "KEEPALIVE"}"#, Body::KeepAlive, Shape::Upper),
        (r#"{"task":"keepalive"}"#, Body::KeepAlive, Shape::Lower),
        (r#"{"STATUS": "PONG", "WORKER_UUID": "W-B1"}"#, Body::Pong { worker: id("W-B1") }, Shape::Upper),
        (r#"{"STATUS":"PONG","TASK":"KEEPALIVE"}"#, Body::Pong { worker: None }, Shape::Upper),
        (r#"{"TASK":"REQUEST","WORKER_UUID":"W"}"#, Body::TaskRequest { worker: id("W") }, Shape::Upper),
        (r#"{"task":"request"}"#, Body::TaskRequest { worker: None }, Shape::Lower),
        (r#"{"TYPE": "ELECTION_ACK", "WORKER_UUID": "W-61CC", "SELECTED_MASTER": "MASTER_8"}"#, elect(), Shape::Upper),
        (r#"{"type":"ELECTION_ACK","WORKER_UUID":"W-61CC","SELECTED_MASTER":"MASTER_8"}"#, elect(), Shape::Upper),
        (r#"{"type":"election_ack","worker_uuid":"W-61CC","selected_master":"MASTER_8"}"#, elect(), Shape::Lower),
        (r#"{"TYPE": "ELECTION_ACK", "STATUS": "ACCEPTED", "MASTER_NAME": "MASTER_8"}"#, elected(), Shape::Upper),
        (r#"{"type":"election_ack","status":"accepted","master_name":"MASTER_8"}"#, elected(), Shape::Lower),
    ] {
        let (message, found) = read(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!((message.body, found), (body, shape), "{line}");
    }
    let (message, shape) = read(br#"{"server_uuid":"W","task":"heartbeat"}"#).unwrap();
    assert_eq!(shape, Shape::Lower);
    assert_eq!(message.body, Body::Heartbeat(Heartbeat { sender: id("W"), presence: None }));
}

#[test]
fn a_native_worker_may_say_too_much_or_too_little_of_its_services() {
    let native =
        |fields: &str| match body(&format!(r#"{{"WORKER":"ALIVE","WORKER_UUID":"0123456789","SLOTS":2{fields}}}"#)) {
            Body::WorkerAlive(alive) => *alive.native.unwrap(),
            other => panic!("{other:?}"),
        };
    assert_eq!(native("").name, "01234567");
    let services =
        native(r#","SERVICES":["a","",5,{"NAME":"b","METHODS":["m","!"],"IDEMPOTENT":["m"]},{"METHODS":[]}]"#).services;
    let name = |text: &str| ServiceName::new(text).unwrap();
    assert_eq!(
        services,
        [
            ServiceOffer { name: name("a"), methods: vec![], idempotent: vec![] },
            ServiceOffer { name: name("b"), methods: vec![name("m")], idempotent: vec![name("m")] },
        ]
    );
    let many = vec!["\"a\""; MAX_SERVICES + 1].join(",");
    assert_eq!(native(&format!(r#","SERVICES":[{many}]"#)).services.len(), MAX_SERVICES);
    let jobs = native(r#","JOBS":["j-1-2/3","j","/1","j/x",7,"a/b/4"],"SERVICES":"a""#).jobs;
    let jobs: Vec<String> = jobs.iter().map(|attempt| format!("{} {}", attempt.job_id, attempt.attempt)).collect();
    assert_eq!(jobs, ["j-1-2 3", "a/b 4"]);
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&line);
    }

    #[test]
    fn nor_does_anything_that_looks_like_a_line(
        pairs in proptest::collection::vec(("(TASK|RESPONSE|ID|EVENT|SERVER_ID|NODES|CPU|type|x|STATUS|WORKER|WORKER_UUID|SERVICE|PARAMS|RESULT|JOB_ID|status|task|worker|SLOTS|JOBS|SERVICES)",
            "(\"(HEARTBEAT|NODES|LOAD|EVENTS|ALIVE|OK|ERROR|x|SUBMIT|RESULT|CALL|JOBS|JOB|WORKER|WORKERS|QUERY|query|alive|ack|REDIRECT)\"|null|-?[0-9]{1,25}(\\.[0-9])?|\\[\\{\\}\\]|\\{\\}|true)"), 0..6),
    ) {
        let fields: Vec<String> = pairs.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let _ = decode(format!("{{{}}}", fields.join(",")).as_bytes());
    }
}

#[test]
fn who_reports_again_is_known_by_the_same_id_and_another_by_its_own() {
    let line = br#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"W1","JOB_ID":"a-1-1","ATTEMPT":1}"#;
    let known = |id: &str| read_from(line, ServerId::new(id).as_ref()).unwrap();
    assert_eq!(known("W1"), read(line).unwrap());
    assert_eq!(known("W2"), read(line).unwrap());
    let wrong = br#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"","JOB_ID":"a-1-1","ATTEMPT":1}"#;
    assert_eq!(read_from(wrong, ServerId::new("W1").as_ref()), Err(Undecoded::Ignored));
    let silent = br#"{"STATUS":"OK","TASK":"JOB","JOB_ID":"a-1-1","ATTEMPT":1}"#;
    assert_eq!(read_from(silent, ServerId::new("W1").as_ref()), read(silent));
}
