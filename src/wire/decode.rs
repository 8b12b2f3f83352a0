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
