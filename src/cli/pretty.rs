//! JSON for people: indented, keys coloured; order and numbers as they came.

/// Colour of keys.
const KEY: &str = "\x1b[36m";
/// Back to the terminal's own.
const PLAIN: &str = "\x1b[0m";

/// `json`, which must be valid, over several lines. What is no JSON comes back unchanged.
pub(super) fn pretty(json: &str, colour: bool) -> String {
    if serde_json::from_str::<serde::de::IgnoredAny>(json).is_err() {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut rest = json.trim();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after.trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                // Nothing in it: on one line.
                out.push(first);
                out.push_str(&rest[..1]);
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                out.push(first);
                depth += 1;
                new_line(&mut out, depth);
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' if colour && rest.starts_with(':') => out.extend([KEY, token, PLAIN]),
            _ => out.push_str(token),
        }
    }
    out
}

/// `text` with control characters escaped, so that what a peer says cannot steer the terminal. Newlines stay.
pub(super) fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n';
    if !text.contains(steers) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if steers(c) {
            out += &format!("\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    })
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Length of the string at the start of `text`, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_numbers_and_strings_stay_as_they_came() {
        let json = r#"{"Z":1.50,"A":[],"s":"a \"b\" {,}: \\","n":{"x":[1,{"y":null}]}}"#;
        let text = pretty(json, false);
        assert_eq!(
            text,
            "{\n  \"Z\": 1.50,\n  \"A\": [],\n  \"s\": \"a \\\"b\\\" {,}: \\\\\",\n  \"n\": {\n    \"x\": [\n      1,\n      \
             {\n        \"y\": null\n      }\n    ]\n  }\n}"
        );
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&text), value(json));
    }

    #[test]
    fn keys_are_coloured_and_values_are_not() {
        assert_eq!(pretty(r#"{"a":"b"}"#, true), format!("{{\n  {KEY}\"a\"{PLAIN}: \"b\"\n}}"));
    }

    #[test]
    fn what_is_no_json_stays_as_it_is() {
        assert_eq!(pretty("HTTP/1.1 400 {", true), "HTTP/1.1 400 {");
    }

    #[test]
    fn nothing_that_a_peer_says_steers_the_terminal() {
        assert_eq!(printable("a\x1b[2J\u{9b}2Jé\n"), "a\\u001b[2J\\u009b2Jé\n");
    }
}
