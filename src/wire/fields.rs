//! The fields of a line, read in one pass: every known one at its place, whatever its type.
//!
//! A field of a wrong type does not fail the line: it is kept as what it is, so that the answer can name it. What
//! is not known is skipped without a copy.

use std::borrow::Cow;
use std::fmt;
use std::ops::Index;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Declares the known keys once: the enum, its words and the way back.
macro_rules! keys {
    ($($key:ident = $word:literal),+ $(,)?) => {
        /// A field that has a meaning in requests, heartbeats or the recognition of answers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Key { $(
            #[doc = concat!("`", $word, "`.")]
            $key
        ),+ }

        impl Key {
            const COUNT: usize = [$($word),+].len();

            /// The word on the wire.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Key::$key => $word),+ }
            }

            fn parse(word: &str) -> Option<Key> {
                match word { $($word => Some(Key::$key),)+ _ => None }
            }
        }
    };
}

keys! {
    Task = "TASK", Response = "RESPONSE", Id = "ID", ServerId = "SERVER_ID", ServerUuid = "SERVER_UUID",
    Name = "NAME", Address = "ADDRESS", Role = "ROLE", Group = "GROUP", Cpu = "CPU", Memory = "MEMORY",
    Pending = "PENDING", Running = "RUNNING", Workers = "WORKERS", Saturated = "SATURATED", After = "AFTER",
    Event = "EVENT", Error = "ERROR", Detail = "DETAIL", Retry = "RETRY", Status = "STATUS", Worker = "WORKER",
    Type = "type",
    // The same two as one 2026/1 family writes them.
    UpperType = "TYPE", LowerWorker = "worker",
}

/// One field as it came. `null` counts as absent.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) enum Field<'a> {
    /// Not there.
    #[default]
    Absent,
    /// A string.
    Text(Cow<'a, str>),
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
}

impl Field<'_> {
    /// Whether it is not there.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Field::Absent)
    }

    /// Its text, if it is a string.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Field::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its value, if it is a whole number.
    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Field::Whole(number) => Some(*number),
            _ => None,
        }
    }

    /// Its value, if it is a number.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Field::Whole(number) => Some(*number as f64),
            Field::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Its value, if it is `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Field::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Field::Absent => "absent",
            Field::Text(_) => "a string",
            Field::Whole(_) | Field::Number(_) => "a number",
            Field::Flag(_) => "true or false",
            Field::Array => "an array",
            Field::Object => "an object",
        }
    }
}

/// The known fields of one line.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    values: [Field<'a>; Key::COUNT],
    /// One bit a key: whether it stood in the line, be it as `null`.
    seen: u32,
    /// The first known key that stood there twice.
    pub(super) duplicate: Option<Key>,
    /// Whether the line is JSON but no object.
    pub(super) not_an_object: bool,
}

const _: () = assert!(Key::COUNT <= 32, "one bit of `seen` a key");

impl<'a> Fields<'a> {
    /// Reads one line. An error means that it is not JSON.
    pub(super) fn read(text: &'a str) -> Result<Fields<'a>, serde_json::Error> {
        let mut fields = Fields::default();
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Fill(&mut fields).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(fields)
    }
}

impl<'a> Index<Key> for Fields<'a> {
    type Output = Field<'a>;
    fn index(&self, key: Key) -> &Field<'a> {
        &self.values[key as usize]
    }
}

/// Fills fields in place: they are too large to be moved about for every line.
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
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let bit = 1 << (key as u32);
            if fields.seen & bit != 0 {
                fields.duplicate.get_or_insert(key);
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            fields.seen |= bit;
            fields.values[key as usize] = map.next_value_seed(FieldSeed)?;
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

struct FieldSeed;

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
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

    #[test]
    fn plain_strings_borrow_from_the_line_and_escaped_ones_do_not() {
        let fields = Fields::read(r#"{"TASK":"LOAD","ID":"a\tb","T\u0059PE":"x"}"#).unwrap();
        assert!(matches!(&fields[Key::Task], Field::Text(Cow::Borrowed("LOAD"))));
        assert!(matches!(&fields[Key::Id], Field::Text(Cow::Owned(text)) if text == "a\tb"));
        assert_eq!(fields[Key::UpperType].text(), Some("x"), "an escaped key is the same key");
    }

    #[test]
    fn every_type_is_kept_as_what_it_is_and_null_is_absent() {
        let line = r#"{"ID":5,"NAME":-5,"ADDRESS":1.5,"ROLE":true,"GROUP":[[1],{}],"CPU":{"a":[]},"AFTER":null}"#;
        let fields = Fields::read(line).unwrap();
        assert_eq!(fields[Key::Id], Field::Whole(5));
        assert_eq!(fields[Key::Name], Field::Number(-5.0));
        assert_eq!(fields[Key::Address], Field::Number(1.5));
        assert_eq!(fields[Key::Role], Field::Flag(true));
        assert_eq!(fields[Key::Group], Field::Array);
        assert_eq!(fields[Key::Cpu], Field::Object);
        assert!(fields[Key::After].is_absent() && fields[Key::Task].is_absent());
    }

    #[test]
    fn a_known_key_that_stands_twice_is_named_even_as_null() {
        let duplicate = |line: &str| Fields::read(line).unwrap().duplicate;
        assert_eq!(duplicate(r#"{"ID":null,"ID":"x"}"#), Some(Key::Id));
        assert_eq!(duplicate(r#"{"TASK":"A","TASK":"A","ID":1,"ID":2}"#), Some(Key::Task));
        assert_eq!(duplicate(r#"{"x":1,"x":2}"#), None, "what is not known is ignored");
    }

    #[test]
    fn values_that_are_no_objects_are_told_apart_from_what_is_no_json() {
        for line in ["5", "-5", "1.5", "\"x\"", "null", "true", "[]", "[[[{}]]]"] {
            assert!(Fields::read(line).unwrap().not_an_object, "{line}");
        }
        for line in ["", "{", "[1,", "nul", "{} {}", "5 5", "{\"a\" 1}", "{'a':1}", "{\"a\":01}", "{\"a\":1,}"] {
            assert!(Fields::read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!("{{\"x\":{0}1{1},\"ID\":{0}1{1}}}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(Fields::read(&deep).unwrap()[Key::Id], Field::Array);
        assert!(Fields::read(&"[".repeat(60_000)).is_err());
    }
}
