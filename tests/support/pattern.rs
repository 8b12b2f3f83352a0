//! Patterns of JSON, as protocol.md and run_examples.txt write expected answers.
//!
//! A pattern is JSON itself. A string of the form `"<kind>"` matches any value of that kind, `"<kind?>"` also
//! `null`. An object must have exactly the keys of its pattern, unless the pattern has the key `"..."`. A list
//! must have exactly the elements of its pattern, unless the pattern ends with the element `"..."`.

use serde_json::Value;

/// The kinds that patterns know.
const KINDS: [&str; 7] = ["uuid", "number", "string", "address", "bool", "any", "object"];

/// Compares `value` with `pattern`; says where they differ.
pub(crate) fn matches(pattern: &Value, value: &Value) -> Result<(), String> {
    compare(pattern, value, "answer")
}

fn compare(pattern: &Value, value: &Value, at: &str) -> Result<(), String> {
    match (pattern, value) {
        (Value::String(text), value) if text.starts_with('<') && text.ends_with('>') => {
            let kind = &text[1..text.len() - 1];
            if is_kind(kind, value) { Ok(()) } else { Err(format!("{at}: expected <{kind}>, got {value}")) }
        }
        (Value::Object(expected), Value::Object(found)) => {
            for (key, pattern) in expected.iter().filter(|(key, _)| *key != "...") {
                let value = found.get(key).ok_or_else(|| format!("{at}: key {key} is missing"))?;
                compare(pattern, value, &format!("{at}.{key}"))?;
            }
            let open = expected.contains_key("...");
            match found.keys().find(|key| !expected.contains_key(*key)) {
                Some(key) if !open => Err(format!("{at}: key {key} is not expected")),
                _ => Ok(()),
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            let open = expected.last().is_some_and(|last| last == "...");
            let fixed = expected.len() - usize::from(open);
            if found.len() < fixed || (found.len() > fixed && !open) {
                return Err(format!("{at}: expected {fixed} elements, got {}", found.len()));
            }
            for (index, (pattern, value)) in expected[..fixed].iter().zip(found).enumerate() {
                compare(pattern, value, &format!("{at}[{index}]"))?;
            }
            Ok(())
        }
        (pattern, value) if pattern == value => Ok(()),
        (pattern, value) => Err(format!("{at}: expected {pattern}, got {value}")),
    }
}

/// Whether `value` is of this kind. Unknown kinds panic: a slip in a pattern must not pass as a mismatch.
fn is_kind(kind: &str, value: &Value) -> bool {
    let (kind, nullable) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
    assert!(KINDS.contains(&kind), "the pattern has an unknown kind <{kind}>; known: {KINDS:?}");
    if nullable && value.is_null() {
        return true;
    }
    match kind {
        "uuid" => value.as_str().is_some_and(is_uuid),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "address" => value.as_str().is_some_and(|text| text.parse::<mutirao::wire::Address>().is_ok()),
        "bool" => value.is_boolean(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// Whether `text` is a uuid in its usual form of 36 characters.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
