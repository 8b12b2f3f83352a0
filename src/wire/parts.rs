//! The fields of one object by name, each as the text that it has: for the messages of a group, whose fields are many and
//! whose values are nested.
//!
//! Unknown fields are never looked at, `null` counts as absent, and errors name the field and what was expected. A field
//! that stands twice is refused when it is asked for.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Epoch, ErrorCode, MAX_TERM};

/// Longest piece of a value that an error quotes, in characters.
const QUOTE_CHARS: usize = 80;

const EPOCH_FORM: &str = "a list of two whole numbers, [generation, counter], each at most 9007199254740991";
const _: () = assert!(MAX_TERM == 9_007_199_254_740_991, "the words of the error answers say so");

/// Why a line is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// `MISSING_FIELD`, `BAD_FIELD` or `BAD_JSON`.
    pub(super) code: ErrorCode,
    /// One sentence that names the field and what was expected.
    pub(super) detail: String,
}

impl Fault {
    /// A field is not there.
    pub(super) fn missing(key: &str, expected: &str) -> Fault {
        Fault { code: ErrorCode::MissingField, detail: format!("`{key}` is missing; expected {expected}") }
    }

    /// A field is not what it should be, whatever it is.
    pub(super) fn bad(key: &str, why: impl fmt::Display) -> Fault {
        Fault { code: ErrorCode::BadField, detail: format!("`{key}`: {why}") }
    }
}

/// A field stands twice in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Twice;

/// The fields of one object, in their order.
#[derive(Debug)]
pub(super) struct Parts<'a>(Vec<(Cow<'a, str>, &'a str)>);

#[derive(Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Parts<'de>, D::Error> {
        struct Fill;

        impl<'de> Visitor<'de> for Fill {
            type Value = Parts<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
                let mut parts = Vec::with_capacity(16);
                while let Some((Word(key), value)) = map.next_entry::<Word<'de>, &'de RawValue>()? {
                    parts.push((key, value.get()));
                }
                Ok(Parts(parts))
            }
        }

        deserializer.deserialize_map(Fill)
    }
}

impl<'a> Parts<'a> {
    /// The object of a text.
    pub(super) fn read(text: &'a str) -> Result<Parts<'a>, Fault> {
        serde_json::from_str(text)
            .map_err(|_| Fault { code: ErrorCode::BadField, detail: "expected a JSON object".to_owned() })
    }

    /// The text of a value, be it `null`; `None` if it is not there.
    pub(super) fn raw(&self, key: &str) -> Result<Option<&'a str>, Fault> {
        let mut found = self.0.iter().filter(|(word, _)| word == key);
        let first = found.next().map(|(_, text)| *text);
        if found.next().is_some() {
            let detail = format!("`{key}` stands twice in the line");
            return Err(Fault { code: ErrorCode::BadJson, detail });
        }
        Ok(first)
    }

    /// The text of a value that is not `null`.
    pub(super) fn value(&self, key: &str) -> Result<Option<&'a str>, Fault> {
        Ok(self.raw(key)?.filter(|text| *text != "null"))
    }

    /// The text of a value that is not `null` under a key in any letter case: the first such, or `Err` where that very key stands twice.
    pub(super) fn any_case(&self, key: &str) -> Result<Option<&'a str>, Twice> {
        let mut found = self.0.iter().filter(|(word, _)| word.eq_ignore_ascii_case(key));
        let Some((word, text)) = found.next() else { return Ok(None) };
        if found.any(|(other, _)| other == word) {
            return Err(Twice);
        }
        Ok(Some(*text).filter(|text| *text != "null"))
    }

    /// Whether any of these is there and not `null`.
    pub(super) fn has_any(&self, keys: &[&str]) -> bool {
        self.0.iter().any(|(word, text)| *text != "null" && keys.contains(&word.as_ref()))
    }

    /// A string that becomes something, where it is there.
    pub(super) fn maybe<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(Cow<'a, str>) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        let Some(raw) = self.value(key)? else { return Ok(None) };
        let text = serde_json::from_str(raw).ok().map(|Word(text)| text);
        text.and_then(parse).map(Some).ok_or_else(|| unlike(key, raw, expected))
    }

    /// A string that becomes something.
    pub(super) fn text<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(Cow<'a, str>) -> Option<T>,
    ) -> Result<T, Fault> {
        self.maybe(key, expected, parse)?.ok_or_else(|| Fault::missing(key, expected))
    }

    /// A whole number, where it is there.
    pub(super) fn maybe_number(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
        self.figure(key, &range, "a whole number")
    }

    /// A whole number.
    pub(super) fn number(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, Fault> {
        let missing = || Fault::missing(key, &numbers("a whole number", &range));
        self.maybe_number(key, range.clone())?.ok_or_else(missing)
    }

    /// A whole number of milliseconds, where it is there.
    pub(super) fn maybe_millis(&self, key: &str, range: RangeInclusive<Duration>) -> Result<Option<Duration>, Fault> {
        let millis = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let range = millis(range.start())..=millis(range.end());
        Ok(self.figure(key, &range, "a whole number of milliseconds")?.map(Duration::from_millis))
    }

    fn figure(&self, key: &str, range: &RangeInclusive<u64>, what: &str) -> Result<Option<u64>, Fault> {
        let Some(raw) = self.value(key)? else { return Ok(None) };
        match serde_json::from_str(raw) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(unlike(key, raw, &numbers(what, range))),
        }
    }

    /// `EPOCH`, `[generation, counter]`, where it is there.
    pub(super) fn maybe_epoch(&self) -> Result<Option<Epoch>, Fault> {
        let Some(raw) = self.value("EPOCH")? else { return Ok(None) };
        epoch(raw).map(Some).ok_or_else(|| unlike("EPOCH", raw, EPOCH_FORM))
    }

    /// `EPOCH`, `[generation, counter]`.
    pub(super) fn epoch(&self) -> Result<Epoch, Fault> {
        self.maybe_epoch()?.ok_or_else(|| Fault::missing("EPOCH", EPOCH_FORM))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Fault> {
        self.maybe_flag(key)?.ok_or_else(|| Fault::missing(key, "true or false"))
    }

    /// `true` or `false`, and false where it is not there.
    pub(super) fn mark(&self, key: &str) -> Result<bool, Fault> {
        Ok(self.maybe_flag(key)?.unwrap_or_default())
    }

    fn maybe_flag(&self, key: &str) -> Result<Option<bool>, Fault> {
        match self.value(key)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(raw) => Err(unlike(key, raw, "true or false")),
        }
    }

    /// The texts of a list of at most `most` values, where it is there.
    pub(super) fn maybe_list(&self, key: &str, most: usize) -> Result<Option<Vec<&'a str>>, Fault> {
        let Some(raw) = self.value(key)? else { return Ok(None) };
        let items: Vec<&'a RawValue> =
            serde_json::from_str(raw).map_err(|_| unlike(key, raw, &format!("a list of at most {most}")))?;
        if items.len() > most {
            return Err(Fault::bad(key, format_args!("it has {} items; expected at most {most}", items.len())));
        }
        Ok(Some(items.into_iter().map(RawValue::get).collect()))
    }

    /// A list of at most `most` objects, each read by `read`.
    pub(super) fn objects<T>(
        &self,
        key: &str,
        most: usize,
        read: impl Fn(&Parts<'a>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let items = self.maybe_list(key, most)?.ok_or_else(|| Fault::missing(key, "a list of objects"))?;
        let item = |text: &'a str| Parts::read(text).and_then(|parts| read(&parts));
        items.into_iter().map(|text| item(text).map_err(|fault| Fault::bad(key, fault.detail))).collect()
    }
}

/// An epoch, of its text.
pub(super) fn epoch(raw: &str) -> Option<Epoch> {
    let (generation, counter) = serde_json::from_str::<(u64, u64)>(raw).ok()?;
    (generation <= MAX_TERM && counter <= MAX_TERM).then_some(Epoch { generation, counter })
}

fn numbers(what: &str, range: &RangeInclusive<u64>) -> String {
    format!("{what} from {} to {}", range.start(), range.end())
}

/// A field whose value is not what it should be. Values of no more than a line of people are shown.
fn unlike(key: &str, raw: &str, expected: &str) -> Fault {
    let end = raw.char_indices().nth(QUOTE_CHARS).map_or(raw.len(), |(at, _)| at);
    let found = match raw.as_bytes().first() {
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        Some(b'"') if end < raw.len() => "a long string",
        _ => &raw[..end],
    };
    Fault { code: ErrorCode::BadField, detail: format!("`{key}` is {found}; expected {expected}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field_what_it_is_and_what_was_expected() {
        let line = r#"{"A":"x","B":null,"C":7,"D":[1,2],"E":{},"F":1.5,"G":"y","G":"z","H":[{"I":-1}]}"#;
        let parts = Parts::read(line).unwrap();
        let detail = |fault: Fault| fault.detail;
        let text = |key| parts.text(key, "a word", |text| Some(text.into_owned()));
        assert_eq!(text("A").unwrap(), "x");
        assert_eq!(detail(text("B").unwrap_err()), "`B` is missing; expected a word");
        assert_eq!(detail(text("C").unwrap_err()), "`C` is 7; expected a word");
        assert_eq!(detail(text("D").unwrap_err()), "`D` is an array; expected a word");
        assert_eq!(text("G").unwrap_err().code, ErrorCode::BadJson);
        assert_eq!(detail(parts.number("A", 0..=9).unwrap_err()), "`A` is \"x\"; expected a whole number from 0 to 9");
        assert_eq!(detail(parts.number("C", 0..=6).unwrap_err()), "`C` is 7; expected a whole number from 0 to 6");
        assert_eq!(detail(parts.number("F", 0..=6).unwrap_err()), "`F` is 1.5; expected a whole number from 0 to 6");
        assert_eq!(detail(parts.flag("C").unwrap_err()), "`C` is 7; expected true or false");
        assert_eq!(parts.mark("B"), Ok(false));
        assert_eq!(detail(parts.maybe_list("D", 1).unwrap_err()), "`D`: it has 2 items; expected at most 1");
        let nested = parts.objects("H", 3, |parts| parts.number("I", 0..=1));
        assert_eq!(detail(nested.unwrap_err()), "`H`: `I` is -1; expected a whole number from 0 to 1");
        assert!(parts.has_any(&["Z", "A"]) && !parts.has_any(&["Z", "B"]));
        for bad in ["5", "[1]", "null", "{", ""] {
            assert!(Parts::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_and_values_with_escapes_are_the_same() {
        let parts = Parts::read(r#"{"N\u0041ME":"a\tb"}"#).unwrap();
        assert_eq!(parts.text("NAME", "", |text| Some(text.into_owned())).unwrap(), "a\tb");
    }
}
