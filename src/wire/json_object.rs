//! One JSON object, written and read field by field, for what is kept as text: entries of the ledger, snapshots.
//!
//! Not for lines of the protocol, which are read in one pass by `fields` and written by `encode`. Fields that are not
//! asked for are ignored, `null` counts as absent, and errors name the field and what was expected.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Json;

/// Whole milliseconds of a duration, rounded down.
fn millis_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration as it is read back once it was written.
pub(super) fn whole_millis(duration: Duration) -> Duration {
    Duration::from_millis(millis_of(duration))
}

/// Writes one object into a text. Keys are our own words and need no escapes.
pub(crate) struct JsonWriter<'o> {
    out: &'o mut String,
    is_first: bool,
}

impl<'o> JsonWriter<'o> {
    /// Writes `{`.
    pub(crate) fn begin(out: &'o mut String) -> JsonWriter<'o> {
        out.push('{');
        JsonWriter { out, is_first: true }
    }

    /// Writes `}`.
    pub(crate) fn end(self) {
        self.out.push('}');
    }

    /// Writes the key of the next value, and gives the text into which the caller writes that value.
    pub(crate) fn key(&mut self, key: &str) -> &mut String {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
        let _ = write!(self.out, "\"{key}\":");
        self.out
    }

    /// A string.
    pub(crate) fn text(mut self, key: &str, text: &str) -> JsonWriter<'o> {
        self.key(key).push_str(Json::string(text).as_str());
        self
    }

    /// A whole number.
    pub(crate) fn number(mut self, key: &str, number: u64) -> JsonWriter<'o> {
        let _ = write!(self.key(key), "{number}");
        self
    }

    /// A duration in whole milliseconds, rounded down.
    pub(crate) fn millis(self, key: &str, duration: Duration) -> JsonWriter<'o> {
        self.number(key, millis_of(duration))
    }

    /// `true` or `false`.
    pub(crate) fn flag(mut self, key: &str, flag: bool) -> JsonWriter<'o> {
        self.key(key).push_str(if flag { "true" } else { "false" });
        self
    }

    /// A value that passes through.
    pub(crate) fn json(mut self, key: &str, json: &Json) -> JsonWriter<'o> {
        self.key(key).push_str(json.as_str());
        self
    }

    /// A list of values, each written by `write`.
    pub(crate) fn list<T>(
        mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(T, &mut String),
    ) -> JsonWriter<'o> {
        let out = self.key(key);
        out.push('[');
        for (nth, item) in items.into_iter().enumerate() {
            if nth > 0 {
                out.push(',');
            }
            write(item, out);
        }
        out.push(']');
        self
    }
}

/// One object, taken apart by its keys. Its values are the text that they have in it. Of a key that stands there twice the last one counts.
// In the order of keys, each once. Objects are read by the thousand a second and have three fields or four: a tree costs more.
#[derive(Debug)]
pub(crate) struct JsonReader<'a>(Vec<(Cow<'a, str>, &'a str)>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for JsonReader<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonReader<'de>, D::Error> {
        struct Fill;

        impl<'de> Visitor<'de> for Fill {
            type Value = JsonReader<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonReader<'de>, A::Error> {
                let mut fields = Vec::with_capacity(4);
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    fields.push((key, value.get()));
                }
                fields.sort_by(|(one, _), (other, _)| one.cmp(other));
                fields.dedup_by(|(later, value), (earlier, kept)| {
                    let same = later == earlier;
                    if same {
                        *kept = *value;
                    }
                    same
                });
                Ok(JsonReader(fields))
            }
        }

        deserializer.deserialize_map(Fill)
    }
}

impl<'a> JsonReader<'a> {
    /// The object of a text, or one sentence on why it is none.
    pub(crate) fn read(text: &'a str) -> Result<JsonReader<'a>, String> {
        serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
    }

    /// The keys, in their order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_ref())
    }

    /// The text of a field's value, `None` if it is absent or `null`.
    pub(crate) fn value(&self, key: &str) -> Option<&'a str> {
        let place = self.0.binary_search_by(|(word, _)| word.as_ref().cmp(key)).ok()?;
        Some(self.0[place].1).filter(|text| *text != "null")
    }

    /// The text of a field's value.
    pub(crate) fn required(&self, key: &str) -> Result<&'a str, String> {
        self.value(key).ok_or_else(|| format!("`{key}` is missing"))
    }

    /// A value that passes through; absent, `null`.
    pub(crate) fn json(&self, key: &str) -> Json {
        // The text is a part of one that was read as JSON, and so is JSON itself.
        self.value(key).map_or_else(Json::null, Json::trusted)
    }

    /// A string.
    pub(crate) fn text(&self, key: &str) -> Result<String, String> {
        serde_json::from_str(self.required(key)?).map_err(|_| format!("`{key}`: expected a string"))
    }

    /// A string, where it is there.
    pub(crate) fn maybe_text(&self, key: &str) -> Result<Option<String>, String> {
        self.value(key).map(|_| self.text(key)).transpose()
    }

    /// A string that becomes something else, such as an id. `expected` says what was expected.
    pub(crate) fn parsed<T>(
        &self,
        key: &str,
        expected: &str,
        parse: impl FnOnce(String) -> Option<T>,
    ) -> Result<T, String> {
        parse(self.text(key)?).ok_or_else(|| format!("`{key}`: expected {expected}"))
    }

    /// A whole number, 0 to 2^64 - 1.
    pub(crate) fn number(&self, key: &str) -> Result<u64, String> {
        serde_json::from_str(self.required(key)?).map_err(|_| format!("`{key}`: expected a whole number"))
    }

    /// A whole number, 1 to 2^64 - 1.
    pub(crate) fn positive(&self, key: &str) -> Result<u64, String> {
        match self.number(key)? {
            0 => Err(format!("`{key}`: expected 1 or more")),
            number => Ok(number),
        }
    }

    /// A duration in whole milliseconds.
    pub(crate) fn millis(&self, key: &str) -> Result<Duration, String> {
        self.number(key).map(Duration::from_millis)
    }

    /// `true` or `false`; absent, false.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, String> {
        let Some(text) = self.value(key) else { return Ok(false) };
        serde_json::from_str(text).map_err(|_| format!("`{key}`: expected true or false"))
    }

    /// The texts of a list's values; absent, none.
    pub(crate) fn list(&self, key: &str) -> Result<Vec<&'a str>, String> {
        let Some(text) = self.value(key) else { return Ok(Vec::new()) };
        let items: Vec<&'a RawValue> = serde_json::from_str(text).map_err(|_| format!("`{key}`: expected a list"))?;
        Ok(items.into_iter().map(RawValue::get).collect())
    }

    /// An object within this one, read by `read`. Its errors are told with this key before them.
    pub(crate) fn object<T>(
        &self,
        key: &str,
        read: impl FnOnce(&JsonReader<'a>) -> Result<T, String>,
    ) -> Result<T, String> {
        JsonReader::read(self.required(key)?)
            .and_then(|object| read(&object))
            .map_err(|error| format!("`{key}`: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = String::new();
        JsonWriter::begin(&mut out)
            .text("NAME", "a \"b\"\n")
            .number("N", u64::MAX)
            .millis("TTL_MS", Duration::from_millis(1500))
            .flag("YES", true)
            .json("VALUE", &Json::new("[1.50]").unwrap())
            .list("LIST", [1, 2], |item, out| out.push_str(&item.to_string()))
            .end();
        assert_eq!(
            out,
            r#"{"NAME":"a \"b\"\n","N":18446744073709551615,"TTL_MS":1500,"YES":true,"VALUE":[1.50],"LIST":[1,2]}"#
        );
        let read = JsonReader::read(&out).unwrap();
        assert_eq!(read.text("NAME").unwrap(), "a \"b\"\n");
        assert_eq!(read.number("N"), Ok(u64::MAX));
        assert_eq!(read.millis("TTL_MS"), Ok(Duration::from_millis(1500)));
        assert_eq!(read.flag("YES"), Ok(true));
        assert_eq!(read.json("VALUE").as_str(), "[1.50]");
        assert_eq!(read.list("LIST").unwrap(), ["1", "2"]);
        assert_eq!(read.keys().count(), 6);
    }

    #[test]
    fn of_a_key_that_stands_twice_the_last_one_counts_and_keys_may_have_escapes() {
        let read = JsonReader::read(r#"{"B":1,"A":2,"B":3,"A":4,"C":5,"B":6,"\u0044":7}"#).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["A", "B", "C", "D"]);
        let numbers: Vec<_> = ["A", "B", "C", "D"].iter().map(|key| read.number(key)).collect();
        assert_eq!(numbers, [Ok(4), Ok(6), Ok(5), Ok(7)]);
        assert_eq!(JsonReader::read("{}").unwrap().keys().count(), 0);
    }

    #[test]
    fn errors_name_the_field_and_what_was_expected() {
        let read = JsonReader::read(r#"{"A":"x","B":null,"C":1,"D":0,"E":{"F":-1}}"#).unwrap();
        assert_eq!(read.number("A").unwrap_err(), "`A`: expected a whole number");
        assert_eq!(read.text("B").unwrap_err(), "`B` is missing");
        assert_eq!(read.text("Z").unwrap_err(), "`Z` is missing");
        assert_eq!(read.text("C").unwrap_err(), "`C`: expected a string");
        assert_eq!(read.flag("C").unwrap_err(), "`C`: expected true or false");
        assert_eq!(read.list("C").unwrap_err(), "`C`: expected a list");
        assert_eq!(read.positive("D").unwrap_err(), "`D`: expected 1 or more");
        assert_eq!(read.object("E", |e| e.number("F")).unwrap_err(), "`E`: `F`: expected a whole number");
        assert_eq!((read.maybe_text("B"), read.flag("B")), (Ok(None), Ok(false)));
        assert!(JsonReader::read("[1]").unwrap_err().starts_with("expected a JSON object"));
    }
}
