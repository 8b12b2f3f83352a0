//! A JSON value that passes through: kept as its text, never taken apart.

use std::fmt;
use std::sync::Arc;

/// One JSON value as compact text, such as `{"n":1}`. Always valid JSON on one line.
// Shared: values are passed on from message to job to message, and never changed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Json(Arc<str>);

impl Json {
    /// The value of a text, or `None` if it is not one JSON value. Line ends between its parts become blanks.
    pub fn new(text: impl Into<Arc<str>>) -> Option<Json> {
        let text: Arc<str> = text.into();
        serde_json::from_str::<serde::de::IgnoredAny>(&text).ok()?;
        Some(Json::trusted(text))
    }

    /// The value of a text that a parser has read as one JSON value already.
    pub(crate) fn trusted(text: impl Into<Arc<str>>) -> Json {
        let text: Arc<str> = text.into();
        // Inside strings JSON has no raw line ends, so these stand between parts.
        if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
            return Json(text.replace(['\n', '\r'], " ").into());
        }
        Json(text)
    }

    /// `text` as a JSON string.
    pub fn string(text: &str) -> Json {
        Json(serde_json::to_string(text).expect("a string becomes JSON").into())
    }

    /// A value as JSON.
    pub fn of(value: &serde_json::Value) -> Json {
        Json(value.to_string().into())
    }

    /// The value taken apart.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// `null`, which stands for no value.
    pub fn null() -> Json {
        Json("null".into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_whole_value_is_json() {
        for good in ["1", "\"x\"", "null", "[1, 2]", " {\"a\" : {}} "] {
            assert!(Json::new(good).is_some(), "{good}");
        }
        for bad in ["", "x", "1 2", "{", "{\"a\":}", "'x'"] {
            assert!(Json::new(bad).is_none(), "{bad}");
        }
        assert_eq!(Json::string("a\n\"b\"").as_str(), r#""a\n\"b\"""#);
    }

    #[test]
    fn it_stays_on_one_line() {
        assert_eq!(Json::new("{\r\n\"a\":\n1}").unwrap().as_str(), "{  \"a\": 1}");
    }
}
