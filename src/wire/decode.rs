//! From a line to a message, or to the error answer that it deserves, or to nothing.
//!
//! Requests and heartbeats are read from one flat pass over the line ([`Fields`]). The answers of native nodes,
//! which are rare and nested, take a second, typed pass (`answers`).

use std::borrow::Cow;

use super::answers;
use super::dialect::gen2026_1::is_answer_type;
use super::fields::{Field, Fields, Key};
use super::{
    Address, Body, ErrorAnswer, ErrorCode, Heartbeat, HeartbeatAnswer, LoadReport, MAX_ID_BYTES, MAX_NAME_BYTES,
    Message, NodesQuery, Presence, RequestId, Role, ServerId, is_valid_name,
};

/// The tasks that exist, as an unknown one is told.
const TASKS: &str = "HEARTBEAT, HELLO, NODES, LOAD, EVENTS, LEAVE";

/// What ids and names must be, as an error answer says it.
const ID_FORM: &str = "a string of 1 to 128 bytes without control characters";
const NAME_FORM: &str = "a string of 1 to 64 bytes without control characters";
const _: () = assert!(MAX_ID_BYTES == 128 && MAX_NAME_BYTES == 64, "the words of the error answers say so");

/// Longest piece of a line that an error answer quotes, in characters.
const QUOTE_CHARS: usize = 80;

/// What became of a line that is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecoded {
    /// It deserves this error answer, whose body is [`Body::Error`].
    Refused(Box<Message>),
    /// It deserves no answer: it is an answer itself, or an envelope of a `type` that is not known here.
    Ignored,
}

/// How the speaker of a heartbeat, or of its answer, showed who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It did not, or this is no heartbeat.
    Plain,
    /// By `SERVER_ID` alone.
    Id,
    /// By `SERVER_UUID`.
    Uuid,
    /// By a whole [`Presence`].
    Native,
}

/// Reads one line, given without its `\n`.
pub fn decode(line: &[u8]) -> Result<Message, Undecoded> {
    read(line).map(|(message, _)| message)
}

/// Reads one line, and tells how its speaker showed who it is.
pub(super) fn read(line: &[u8]) -> Result<(Message, Shape), Undecoded> {
    // The parser does not look into what it skips, so this comes first, for the whole line.
    let text = str::from_utf8(line).map_err(|error| {
        refuse("", None, ErrorCode::BadJson, format!("the line is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    let fields = Fields::read(text)
        .map_err(|error| refuse("", None, ErrorCode::BadJson, format!("the line is not JSON: {error}")))?;
    if fields.not_an_object {
        let detail = "the line is JSON but not an object; expected {\"TASK\":...}";
        return Err(refuse("", None, ErrorCode::NotAnObject, detail));
    }
    let id = fields[Key::Id].text().and_then(RequestId::new);
    if is_answer(&fields) {
        let (body, shape) =
            if fields.duplicate.is_some() { None } else { answer(text, &fields) }.ok_or(Undecoded::Ignored)?;
        return Ok((Message { id, body }, shape));
    }
    Request { fields: &fields, id }.read()
}

/// Whether a line is itself an answer, which no error ever answers.
fn is_answer(fields: &Fields) -> bool {
    let text = |key: Key| fields[key].text();
    let answer_type = |key: Key| text(key).is_some_and(is_answer_type);
    !fields[Key::Response].is_absent()
        || matches!(text(Key::Status), Some("ACK" | "PONG"))
        || answer_type(Key::Type)
        || answer_type(Key::UpperType)
        || (text(Key::Task) == Some("EVENTS") && !fields[Key::Event].is_absent())
}

/// The body of an answer, if it is one that somebody here could have asked for.
fn answer(text: &str, fields: &Fields) -> Option<(Body, Shape)> {
    let body = match (fields[Key::Task].text(), fields[Key::Response].text()) {
        (_, Some("ERROR")) => Body::Error(Box::new(error_answer(fields))),
        (Some("HEARTBEAT"), Some("ALIVE")) => return heartbeat_answer(fields),
        (Some("HELLO"), Some("OK")) => Body::HelloAnswer(Box::new(answers::hello(text)?)),
        (Some("NODES"), Some("OK")) => Body::NodesAnswer(Box::new(answers::nodes(text)?)),
        (Some("LOAD"), Some("OK")) => Body::LoadAnswer(Box::new(answers::load(text)?)),
        (Some("EVENTS"), Some("OK")) => Body::EventsAnswer { seq: answers::events(text)? },
        (Some("EVENTS"), None) => Body::Event(Box::new(answers::event(text)?)),
        _ => return None,
    };
    Some((body, Shape::Plain))
}

fn error_answer(fields: &Fields) -> ErrorAnswer {
    let text = |key: Key| fields[key].text().unwrap_or_default();
    let code = ErrorCode::parse(text(Key::Error));
    let retry = fields[Key::Retry].flag().unwrap_or_else(|| code.retry());
    ErrorAnswer { task: text(Key::Task).to_owned(), code, detail: text(Key::Detail).to_owned(), retry }
}

fn heartbeat_answer(fields: &Fields) -> Option<(Body, Shape)> {
    let presence = presence(fields);
    let uuid = server_id(&fields[Key::ServerUuid]);
    let shape = match (&presence, &uuid) {
        (Some(_), _) => Shape::Native,
        (None, Some(_)) => Shape::Uuid,
        (None, None) => Shape::Id,
    };
    let server_id = server_id(&fields[Key::ServerId]).or(uuid)?;
    Some((Body::HeartbeatAnswer(HeartbeatAnswer { server_id, presence }), shape))
}

/// Who a native node is; `None` unless all of it is there and valid. Its load may be missing: it counts as none.
fn presence(fields: &Fields) -> Option<Box<Presence>> {
    let name = |key: Key| fields[key].text().filter(|text| is_valid_name(text)).map(str::to_owned);
    let share = |key: Key| fields[key].number().and_then(answers::permille).unwrap_or_default();
    let count = |key: Key| fields[key].whole().unwrap_or_default();
    Some(Box::new(Presence {
        server_id: server_id(&fields[Key::ServerId])?,
        name: name(Key::Name)?,
        address: fields[Key::Address].text()?.parse().ok()?,
        role: Role::parse(fields[Key::Role].text()?)?,
        group: name(Key::Group)?,
        load: LoadReport {
            cpu: share(Key::Cpu),
            memory: share(Key::Memory),
            pending: count(Key::Pending),
            running: count(Key::Running),
            workers: count(Key::Workers),
            saturated: fields[Key::Saturated].flag().unwrap_or_default(),
        },
        services: Vec::new(),
    }))
}

fn server_id(field: &Field) -> Option<ServerId> {
    field.text().and_then(ServerId::new)
}

/// A line that is no answer: a request, or nothing that is known here.
struct Request<'f, 'a> {
    fields: &'f Fields<'a>,
    /// Its `ID`, if it has a valid one.
    id: Option<RequestId>,
}

impl Request<'_, '_> {
    fn read(self) -> Result<(Message, Shape), Undecoded> {
        if let Some(key) = self.fields.duplicate {
            if self.is_envelope() && self.fields[Key::Task].is_absent() {
                return Err(Undecoded::Ignored);
            }
            return Err(self.refuse(ErrorCode::BadJson, format!("`{}` stands twice in the line", key.as_str())));
        }
        let task = match &self.fields[Key::Task] {
            Field::Text(task) => task.as_ref(),
            _ if self.is_envelope() => return Err(Undecoded::Ignored),
            Field::Absent => return Err(self.missing(Key::Task, "the name of a task, such as \"HEARTBEAT\"")),
            _ => return Err(self.bad(Key::Task, "the name of a task, such as \"HEARTBEAT\"")),
        };
        let body = match task {
            // Whatever else it carries, a heartbeat is answered.
            "HEARTBEAT" => {
                let (heartbeat, shape) = self.heartbeat();
                return Ok((Message { id: self.id, body: Body::Heartbeat(heartbeat) }, shape));
            }
            "HELLO" => Body::Hello,
            "NODES" => Body::Nodes(self.nodes()?),
            "LOAD" => Body::Load,
            "EVENTS" => Body::Events,
            "LEAVE" => Body::Leave { server_id: self.leaver()? },
            unknown => {
                let detail = format!("there is no task `{}` here; the tasks are {TASKS}", quote(unknown));
                return Err(self.refuse(ErrorCode::UnknownTask, detail));
            }
        };
        if self.id.is_none() && !self.fields[Key::Id].is_absent() {
            return Err(self.bad(Key::Id, "a string of at most 128 bytes"));
        }
        Ok((Message { id: self.id, body }, Shape::Plain))
    }

    /// Whether the line belongs to a conversation that this node takes no part in: between workers and masters,
    /// or in `type` envelopes.
    fn is_envelope(&self) -> bool {
        [Key::Type, Key::UpperType, Key::Worker, Key::LowerWorker, Key::Status]
            .iter()
            .any(|key| !self.fields[*key].is_absent())
    }

    fn heartbeat(&self) -> (Heartbeat, Shape) {
        let presence = presence(self.fields);
        let uuid = server_id(&self.fields[Key::ServerUuid]);
        let lone = if presence.is_none() { server_id(&self.fields[Key::ServerId]) } else { None };
        let shape = match (&presence, &uuid, &lone) {
            (Some(_), _, _) => Shape::Native,
            (None, Some(_), _) => Shape::Uuid,
            (None, None, Some(_)) => Shape::Id,
            (None, None, None) => Shape::Plain,
        };
        (Heartbeat { sender: uuid.or(lone), presence }, shape)
    }

    fn nodes(&self) -> Result<NodesQuery, Undecoded> {
        let name = |text: &str| is_valid_name(text).then(|| text.to_owned());
        Ok(NodesQuery {
            server_id: self.optional(Key::ServerId, |text| ServerId::new(text), ID_FORM)?,
            address: self.optional(
                Key::Address,
                |text| text.parse::<Address>().ok(),
                "a string host:port, such as \"127.0.0.1:9102\" or \"[::1]:9102\"",
            )?,
            name: self.optional(Key::Name, name, NAME_FORM)?,
            after: self.optional(Key::After, |text| Some(text.to_owned()), "a string, the `KEY` of an entry")?,
        })
    }

    fn leaver(&self) -> Result<ServerId, Undecoded> {
        let id = self.optional(Key::ServerId, |text| ServerId::new(text), ID_FORM)?;
        id.ok_or_else(|| self.missing(Key::ServerId, ID_FORM))
    }

    fn optional<T>(&self, key: Key, parse: impl Fn(&str) -> Option<T>, expected: &str) -> Result<Option<T>, Undecoded> {
        match &self.fields[key] {
            Field::Absent => Ok(None),
            field => match field.text().and_then(parse) {
                Some(value) => Ok(Some(value)),
                None => Err(self.bad(key, expected)),
            },
        }
    }

    fn missing(&self, key: Key, expected: &str) -> Undecoded {
        self.refuse(ErrorCode::MissingField, format!("`{}` is missing; expected {expected}", key.as_str()))
    }

    fn bad(&self, key: Key, expected: &str) -> Undecoded {
        let found = match &self.fields[key] {
            Field::Text(text) => Cow::Owned(format!("\"{}\"", quote(text))),
            field => Cow::Borrowed(field.kind()),
        };
        self.refuse(ErrorCode::BadField, format!("`{}` is {found}; expected {expected}", key.as_str()))
    }

    fn refuse(&self, code: ErrorCode, detail: String) -> Undecoded {
        let task = quote(self.fields[Key::Task].text().unwrap_or_default());
        refuse(task, self.id.clone(), code, detail)
    }
}

fn refuse(task: &str, id: Option<RequestId>, code: ErrorCode, detail: impl Into<String>) -> Undecoded {
    let body = Body::Error(Box::new(ErrorAnswer::new(task, code, detail)));
    Undecoded::Refused(Box::new(Message { id, body }))
}

/// The beginning of what somebody sent, short enough for an answer.
fn quote(text: &str) -> &str {
    let end = text.char_indices().nth(QUOTE_CHARS).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let odd =
            body(&format!(r#"{{"TASK":"HEARTBEAT",{NATIVE},"CPU":"hot","MEMORY":-1,"PENDING":1.5,"WORKERS":[]}}"#));
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
}
