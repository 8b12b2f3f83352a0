//! The fields of a line, read in one pass: every known one at its place, whatever its type.
//!
//! A field of a wrong type does not fail the line: it is kept as what it is, so that the answer can name it. What
//! is not known is skipped without a copy. Values that pass through (`PARAMS`, `RESULT` and their like) are kept as
//! the text that they have in the line.
//!
//! The parser is serde_json. Plain lines, nearly all, are read by `scan` instead, which gives the same fields in less than
//! half of the time, and leaves to the parser whatever is not plain or not right.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::scan;

/// Declares the known keys once: the enum, its words and the way back.
macro_rules! keys {
    ($($($key:ident = $word:literal),+;)+) => {
        /// A field that has a meaning in requests, heartbeats, the cycle of workers or the recognition of answers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Key { $($(
            #[doc = concat!("`", $word, "`.")]
            $key
        ),+),+ }

        impl Key {
            const COUNT: usize = [$($($word),+),+].len();

            #[cfg(test)]
            const ALL: [Key; Key::COUNT] = [$($(Key::$key),+),+];

            /// The word on the wire.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $($(Key::$key => $word),+),+ }
            }

            /// The key whose word is packed so (see [`packed`]).
            // Numbers, so that the compiler looks for one of some sixty by halves and not one by one.
            pub(super) fn of_packed(word: u128) -> Option<Key> {
                #[expect(non_upper_case_globals, reason = "each has the name of its key")]
                mod words { $($(pub(super) const $key: u128 = super::packed($word.as_bytes());)+)+ }
                match word {
                    $($(words::$key => Some(Key::$key),)+)+
                    _ => None,
                }
            }
        }
    };
}

keys! {
    Id = "ID";
    Cpu = "CPU", Dedup = "KEY";
    Task = "TASK", Name = "NAME", Role = "ROLE", Type = "type", UpperType = "TYPE", Wait = "WAIT", Hops = "HOPS",
       Term = "TERM", Sees = "SEES",
       List = "LIST", Jobs = "JOBS", User = "USER", Call = "CALL", Data = "DATA", LowerTask = "task", LowerUser = "user";
    Group = "GROUP", Epoch = "EPOCH", After = "AFTER", Event = "EVENT", Error = "ERROR", Retry = "RETRY", Slots = "SLOTS";
    Memory = "MEMORY", Detail = "DETAIL", Status = "STATUS", Worker = "WORKER", LowerWorker = "worker",
       Method = "METHOD", Params = "PARAMS", Output = "OUTPUT", Follow = "FOLLOW", JobId = "JOB_ID", Result = "RESULT",
       Reason = "REASON", Stream = "STREAM", Leader = "LEADER", LowerStatus = "status";
    Address = "ADDRESS", LoanId = "LOAN_ID", Pending = "PENDING", Running = "RUNNING", Workers = "WORKERS", Service = "SERVICE",
       Attempt = "ATTEMPT", WaitMs = "WAIT_MS", Founder = "FOUNDER";
    Response = "RESPONSE", Services = "SERVICES", Priority = "PRIORITY", DelayMs = "DELAY_MS",
       Attempts = "ATTEMPTS", GroupId = "GROUP_ID", LowerResponse = "response";
    ServerId = "SERVER_ID", Saturated = "SATURATED";
    Port = "port";
    TimeoutMs = "TIMEOUT_MS", Mark = "request_id", UpperMark = "REQUEST_ID";
    ServerUuid = "SERVER_UUID", WorkerHost = "WORKER_HOST", WorkerPort = "WORKER_PORT",
        LowerWorkerHost = "worker_host", LowerWorkerPort = "worker_port", WorkerUuid = "WORKER_UUID", MasterName = "MASTER_NAME",
        LowerServerUuid = "server_uuid", LowerWorkerUuid = "worker_uuid", LowerMasterName = "master_name";
    SelectedMaster = "SELECTED_MASTER", LowerSelectedMaster = "selected_master";
}

/// The bytes of a word of at most 16, the first one lowest, as one number. Words without a NUL have different numbers.
const fn packed(word: &[u8]) -> u128 {
    let (mut number, mut at) = (0, 0);
    while at < word.len() {
        number |= (word[at] as u128) << (8 * at);
        at += 1;
    }
    number
}

/// Whether a key has a meaning of its own in some line.
pub(super) fn is_known(word: &str) -> bool {
    Key::parse(word).is_some()
}

impl Key {
    pub(super) fn parse(word: &str) -> Option<Key> {
        let found = if word.len() <= 16 { Key::of_packed(packed(word.as_bytes())) } else { None };
        // Only an escaped NUL makes them differ.
        found.filter(|key| key.as_str().len() == word.len())
    }

    /// Whether its value passes through, and is kept as text.
    pub(super) const fn is_raw(self) -> bool {
        matches!(self, Key::Params | Key::Result | Key::User | Key::LowerUser | Key::Services | Key::Jobs | Key::Epoch)
    }
}

/// One field as it came. `null` counts as absent, but for values that pass through.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) enum Field<'a> {
    /// Not there.
    #[default]
    Absent,
    /// A string, as it stands in the line.
    Text(&'a str),
    /// A string that has escapes: its place among [`Fields::unescaped`].
    Unescaped(usize),
    /// A whole number that is not negative and below 2^64.
    Whole(u64),
    /// Any other number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// An array.
    Array,
    /// An object.
    Object,
    /// The text of a value that passes through, be it `null`.
    Raw(&'a str),
}

impl Field<'_> {
    /// What it is, for people.
    fn kind(self) -> &'static str {
        match self {
            Field::Absent => "absent",
            Field::Text(_) | Field::Unescaped(_) => "a string",
            Field::Whole(_) | Field::Number(_) => "a number",
            Field::Flag(_) => "true or false",
            Field::Array => "an array",
            Field::Object => "an object",
            Field::Raw(text) => match text.as_bytes().first() {
                Some(b'"') => "a string",
                Some(b'[') => "an array",
                Some(b'{') => "an object",
                Some(b't' | b'f') => "true or false",
                Some(b'n') => "null",
                _ => "a number",
            },
        }
    }
}

/// Fields that are kept without memory of their own. A native heartbeat has 18.
const INLINE: usize = 18;

/// The known fields of one line.
#[derive(Debug, PartialEq)]
pub(super) struct Fields<'a> {
    /// Where a key stands: 0 nowhere, else one more than its place in `values`, and after those in `more`.
    places: [u8; Key::COUNT],
    values: [Field<'a>; INLINE],
    more: Vec<Field<'a>>,
    /// The strings that had escapes.
    unescaped: Vec<String>,
    /// Known keys that stood there, be it as `null`.
    count: u8,
    /// Whether keys stood there that are not known.
    pub(super) has_unknown: bool,
    /// The first known key that stood there twice.
    pub(super) duplicate: Option<Key>,
    /// Whether the line is JSON but no object.
    pub(super) not_an_object: bool,
}

const _: () = assert!(Key::COUNT < 256, "places are counted in bytes");

impl<'a> Fields<'a> {
    /// No fields.
    pub(super) fn new() -> Fields<'a> {
        Fields {
            places: [0; Key::COUNT],
            values: [Field::Absent; INLINE],
            more: Vec::new(),
            unescaped: Vec::new(),
            count: 0,
            has_unknown: false,
            duplicate: None,
            not_an_object: false,
        }
    }

    /// Reads one line into fields that are [new](Fields::new): they are too large to be moved about for every line. An
    /// error means that it is not JSON; what was read of it until then is of no meaning.
    pub(super) fn read(&mut self, text: &'a str) -> Result<(), serde_json::Error> {
        if scan::plain(text, self).is_some() {
            return Ok(());
        }
        *self = Fields::new();
        self.parse(text)
    }

    /// The same for any line.
    pub(super) fn parse(&mut self, text: &'a str) -> Result<(), serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Fill(self).deserialize(&mut deserializer)?;
        deserializer.end()
    }

    #[inline]
    fn get(&self, key: Key) -> Field<'a> {
        match usize::from(self.places[key as usize]) {
            0 => Field::Absent,
            place if place <= INLINE => self.values[place - 1],
            place => self.more[place - 1 - INLINE],
        }
    }

    /// Adds a key that does not stand there yet.
    #[inline]
    pub(super) fn put(&mut self, key: Key, field: Field<'a>) {
        let place = usize::from(self.count);
        match self.values.get_mut(place) {
            Some(value) => *value = field,
            None => self.more.push(field),
        }
        self.count += 1;
        self.places[key as usize] = self.count;
    }

    /// Whether the key stands in the line, be it as `null`.
    #[inline]
    pub(super) fn stands(&self, key: Key) -> bool {
        self.places[key as usize] != 0
    }

    /// Whether the line has no other keys than these.
    pub(super) fn has_only(&self, keys: &[Key]) -> bool {
        !self.has_unknown && keys.iter().filter(|key| self.stands(**key)).count() == usize::from(self.count)
    }

    /// Whether it is not there.
    #[inline]
    pub(super) fn is_absent(&self, key: Key) -> bool {
        matches!(self.get(key), Field::Absent)
    }

    /// Its text, if it is a string. Not for values that pass through.
    #[inline]
    pub(super) fn text(&self, key: Key) -> Option<&str> {
        match self.get(key) {
            Field::Text(text) => Some(text),
            Field::Unescaped(place) => self.unescaped.get(place).map(String::as_str),
            _ => None,
        }
    }

    /// Its value, if it is a whole number.
    pub(super) fn whole(&self, key: Key) -> Option<u64> {
        match self.get(key) {
            Field::Whole(number) => Some(number),
            _ => None,
        }
    }

    /// Its value, if it is a number.
    pub(super) fn number(&self, key: Key) -> Option<f64> {
        match self.get(key) {
            Field::Whole(number) => Some(number as f64),
            Field::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Its value, if it is `true` or `false`.
    pub(super) fn flag(&self, key: Key) -> Option<bool> {
        match self.get(key) {
            Field::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    /// The text of a value that passes through.
    pub(super) fn raw(&self, key: Key) -> Option<&'a str> {
        match self.get(key) {
            Field::Raw(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for people.
    pub(super) fn kind(&self, key: Key) -> &'static str {
        self.get(key).kind()
    }
}

/// Fills fields in place.
struct Fill<'f, 'a>(&'f mut Fields<'a>);

impl Fill<'_, '_> {
    fn other<E>(self) -> Result<(), E> {
        self.0.not_an_object = true;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Fill<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fill<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let fields = self.0;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let Some(key) = key else {
                fields.has_unknown = true;
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if fields.stands(key) {
                fields.duplicate.get_or_insert(key);
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let field = if key.is_raw() {
                Field::Raw(map.next_value::<&RawValue>()?.get())
            } else {
                map.next_value_seed(FieldSeed(&mut fields.unescaped))?
            };
            fields.put(key, field);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.other()
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.other()
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.other()
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.other()
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.other()
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.other()
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.other()
    }
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<Key>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Key>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<Key>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, word: &str) -> Result<Option<Key>, E> {
        Ok(Key::parse(word))
    }
}

/// Reads one value; strings with escapes go to the list.
struct FieldSeed<'u>(&'u mut Vec<String>);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Field<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        self.0.push(text.to_owned());
        Ok(Field::Unescaped(self.0.len() - 1))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Field<'de>, E> {
        Ok(Field::Number(number))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Field<'de>, E> {
        Ok(Field::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Field<'de>, E> {
        Ok(Field::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Fields<'_>, serde_json::Error> {
        let mut fields = Fields::new();
        fields.read(text).map(|()| fields)
    }

    #[test]
    fn plain_strings_borrow_from_the_line_and_escaped_ones_do_not() {
        let fields = read(r#"{"TASK":"LOAD","ID":"a\tb","T\u0059PE":"x"}"#).unwrap();
        assert_eq!(fields.get(Key::Task), Field::Text("LOAD"));
        assert_eq!((fields.get(Key::Id), fields.text(Key::Id)), (Field::Unescaped(0), Some("a\tb")));
        assert_eq!(fields.text(Key::UpperType), Some("x"), "an escaped key is the same key");
    }

    #[test]
    fn every_type_is_kept_as_what_it_is_and_null_is_absent() {
        let line = r#"{"ID":5,"NAME":-5,"ADDRESS":1.5,"ROLE":true,"GROUP":[[1],{}],"CPU":{"a":[]},"AFTER":null}"#;
        let fields = read(line).unwrap();
        assert_eq!(fields.get(Key::Id), Field::Whole(5));
        assert_eq!(fields.get(Key::Name), Field::Number(-5.0));
        assert_eq!(fields.get(Key::Address), Field::Number(1.5));
        assert_eq!(fields.get(Key::Role), Field::Flag(true));
        assert_eq!(fields.get(Key::Group), Field::Array);
        assert_eq!(fields.get(Key::Cpu), Field::Object);
        assert!(fields.is_absent(Key::After) && fields.is_absent(Key::Task));
    }

    #[test]
    fn a_known_key_that_stands_twice_is_named_even_as_null() {
        let duplicate = |line: &str| read(line).unwrap().duplicate;
        assert_eq!(duplicate(r#"{"ID":null,"ID":"x"}"#), Some(Key::Id));
        assert_eq!(duplicate(r#"{"TASK":"A","TASK":"A","ID":1,"ID":2}"#), Some(Key::Task));
        assert_eq!(duplicate(r#"{"x":1,"x":2}"#), None, "what is not known is ignored");
    }

    #[test]
    fn values_that_are_no_objects_are_told_apart_from_what_is_no_json() {
        for line in ["5", "-5", "1.5", "\"x\"", "null", "true", "[]", "[[[{}]]]"] {
            assert!(read(line).unwrap().not_an_object, "{line}");
        }
        for line in ["", "{", "[1,", "nul", "{} {}", "5 5", "{\"a\" 1}", "{'a':1}", "{\"a\":01}", "{\"a\":1,}"] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!("{{\"x\":{0}1{1},\"ID\":{0}1{1}}}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(read(&deep).unwrap().get(Key::Id), Field::Array);
        assert!(read(&"[".repeat(60_000)).is_err());
    }

    #[test]
    fn every_key_is_found_by_its_word() {
        for key in Key::ALL {
            assert_eq!(Key::parse(key.as_str()), Some(key), "{} is not found", key.as_str());
        }
        assert_eq!((Key::parse("TASKS"), Key::parse(""), Key::parse("Task")), (None, None, None));
    }

    #[test]
    fn what_passes_through_is_kept_as_its_text_whatever_its_type() {
        for (text, kind) in [
            ("null", "null"),
            ("-1.50", "a number"),
            ("\"a\\u0041\"", "a string"),
            ("{ \"n\" : [1, 2] }", "an object"),
            ("[]", "an array"),
            ("false", "true or false"),
        ] {
            let line = format!("{{\"PARAMS\": {text} ,\"ID\":\"1\"}}");
            let fields = read(&line).unwrap();
            assert_eq!((fields.raw(Key::Params), fields.kind(Key::Params)), (Some(text), kind));
            assert!(!fields.is_absent(Key::Params) && fields.text(Key::Params).is_none());
        }
        assert!(read("{\"PARAMS\":tru}").is_err());
    }

    #[test]
    fn more_fields_than_have_a_place_are_kept_all_the_same() {
        let fields: Vec<String> =
            Key::ALL.iter().enumerate().map(|(nth, key)| format!("\"{}\":{nth}", key.as_str())).collect();
        let line = format!("{{{}}}", fields.join(","));
        let fields = read(&line).unwrap();
        for (nth, key) in Key::ALL.into_iter().enumerate() {
            let nth = nth.to_string();
            let found = fields.raw(key).map(str::to_owned).or(fields.whole(key).map(|number| number.to_string()));
            assert_eq!(found, Some(nth), "{}", key.as_str());
        }
        assert!(fields.has_only(&Key::ALL) && !fields.has_only(&Key::ALL[1..]));
    }
}
