//! Transcripts: conversations with a node, written down in protocol.md and replayed here.
//!
//! A transcript is a fenced block whose opening line is ` ```transcript NAME [OPTION]... `. Its lines:
//!
//! | line | meaning |
//! |---|---|
//! | `> text` | send `text` and a newline |
//! | `>- text` | send `text` without a newline, then only wait |
//! | `>\| text` | send `text` without a newline, then end the stream (half-close) |
//! | `< json` | the next line of the node matches this pattern (see [`super::pattern`]) |
//! | `<~ text` | the next line of the node is this text; `...` stands for anything |
//! | `= closed` | the node closes the connection, and says nothing more |
//! | `# text` | a comment |
//!
//! In `text`, `\r`, `\t`, `\0` and `\\` outside of JSON strings are the usual escapes when the line ends with the
//! mark ` \e`; otherwise text is sent as it stands. Options: `peer` (the node has a living peer), `stream` (lines
//! may follow the last one), `uncut` (not replayed in pieces, because the node answers before the end), `fresh` (each
//! replay has a node of its own, because what is said changes it; whole and byte by byte only).
//!
//! `"<string:NAME>"` in an answer is any string, and `$NAME` in what is sent later is that string.
//!
//! Addresses are written as a reader would type them and are replaced by true ones: port 9101 is the node, 9102 its
//! peer, 9103 is a port where nobody listens.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, Line};
use super::pattern;
use super::wait::DEADLINE;

/// One step of a transcript.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Send these bytes and end the stream.
    SendAndFinish(Vec<u8>),
    /// The next line matches this pattern.
    Expect(Value),
    /// The next line matches this text.
    ExpectText(String),
    /// The connection is closed by the node.
    ExpectClosed,
}

/// A conversation on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    /// The word after `transcript`.
    pub(crate) name: String,
    /// The words after the name.
    pub(crate) options: Vec<String>,
    /// What happens.
    pub(crate) steps: Vec<Step>,
}

/// How the bytes of a transcript are handed to the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Each step in one write.
    Whole,
    /// In two writes at this byte, counted over everything that is sent.
    At(usize),
    /// Byte by byte.
    EachByte,
    /// Everything in one write before the first answer is read.
    Together,
}

/// The ports that stand for 9101, 9102 and 9103.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// The node.
    pub(crate) node: u16,
    /// Its peer.
    pub(crate) peer: u16,
    /// A port where nobody listens.
    pub(crate) dark: u16,
}

impl Ports {
    /// `text` with true ports.
    pub(crate) fn put_into(&self, text: &str) -> String {
        // By marks in between, so that a true port that looks like a written one is not replaced again.
        let marked = [":9101", ":9102", ":9103"].iter().zip(["\u{1}", "\u{2}", "\u{3}"]);
        let text = marked.fold(text.to_owned(), |text, (written, mark)| text.replace(written, mark));
        let ports = [("\u{1}", self.node), ("\u{2}", self.peer), ("\u{3}", self.dark)];
        ports.iter().fold(text, |text, (mark, port)| text.replace(mark, &format!(":{port}")))
    }
}

/// Every transcript of a Markdown text. Panics on a line that is none of the forms above.
pub(crate) fn parse_all(markdown: &str) -> Vec<Transcript> {
    let mut found = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(words) = line.strip_prefix("```transcript") else { continue };
        let mut words = words.split_whitespace().map(str::to_owned);
        let name = words.next().unwrap_or_else(|| panic!("a transcript without a name: `{line}`"));
        let options: Vec<String> = words.collect();
        for option in &options {
            assert!(
                ["peer", "stream", "uncut", "fresh"].contains(&option.as_str()),
                "{name}: unknown option `{option}`"
            );
        }
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let steps: Vec<Step> = body.iter().filter_map(|line| parse_step(&name, line)).collect();
        let expects = |step: &Step| !matches!(step, Step::Send(_) | Step::SendAndFinish(_));
        assert!(steps.iter().any(expects), "transcript {name} expects nothing");
        found.push(Transcript { name, options, steps });
    }
    found
}

fn parse_step(name: &str, line: &str) -> Option<Step> {
    let after = |mark: &str| (line == mark).then_some("").or_else(|| line.strip_prefix(&format!("{mark} ")));
    if line.trim().is_empty() || line.starts_with('#') {
        return None;
    }
    if let Some(text) = after(">") {
        return Some(Step::Send([bytes_of(text), b"\n".to_vec()].concat()));
    }
    if let Some(text) = after(">-") {
        return Some(Step::Send(bytes_of(text)));
    }
    if let Some(text) = after(">|") {
        return Some(Step::SendAndFinish(bytes_of(text)));
    }
    if let Some(text) = after("<~") {
        return Some(Step::ExpectText(text.to_owned()));
    }
    if let Some(text) = after("<") {
        let json = serde_json::from_str(text);
        return Some(Step::Expect(json.unwrap_or_else(|error| panic!("{name}: `{text}` is not JSON: {error}"))));
    }
    assert_eq!(line, "= closed", "transcript {name}: not a step");
    Some(Step::ExpectClosed)
}

fn bytes_of(text: &str) -> Vec<u8> {
    let Some(escaped) = text.strip_suffix(r" \e") else { return text.as_bytes().to_vec() };
    escapes(escaped)
}

/// The bytes of a text with the escapes `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH`. Other escapes stay as they are.
pub(crate) fn escapes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let tail = &rest[at + 1..];
        let hex = tail.strip_prefix('x').and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok());
        let (byte, used) = match (tail.chars().next(), hex) {
            (_, Some(byte)) => (byte, 3),
            (Some('n'), _) => (b'\n', 1),
            (Some('r'), _) => (b'\r', 1),
            (Some('t'), _) => (b'\t', 1),
            (Some('0'), _) => (0, 1),
            (Some('\\'), _) => (b'\\', 1),
            _ => (b'\\', 0),
        };
        bytes.push(byte);
        rest = &tail[used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

impl Transcript {
    /// Whether an option is set.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|found| found == option)
    }

    /// This transcript with true ports.
    pub(crate) fn with_ports(&self, ports: Ports) -> Transcript {
        let bytes = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => ports.put_into(text).into_bytes(),
            Err(_) => bytes.to_vec(),
        };
        let step = |step: &Step| match step {
            Step::Send(sent) => Step::Send(bytes(sent)),
            Step::SendAndFinish(sent) => Step::SendAndFinish(bytes(sent)),
            Step::Expect(json) => {
                let text = ports.put_into(&json.to_string());
                Step::Expect(serde_json::from_str(&text).expect("a port does not break JSON"))
            }
            Step::ExpectText(text) => Step::ExpectText(ports.put_into(text)),
            Step::ExpectClosed => Step::ExpectClosed,
        };
        Transcript { steps: self.steps.iter().map(step).collect(), ..self.clone() }
    }

    /// How many bytes it sends.
    pub(crate) fn sent_bytes(&self) -> usize {
        let length = |step: &Step| match step {
            Step::Send(bytes) | Step::SendAndFinish(bytes) => bytes.len(),
            _ => 0,
        };
        self.steps.iter().map(length).sum()
    }

    /// Replays it on a new connection; says what went otherwise.
    pub(crate) fn replay(&self, port: u16, cut: Cut) -> Result<(), String> {
        self.converse(port, cut).map_err(|error| format!("transcript {} ({cut:?}): {error}", self.name))
    }

    fn converse(&self, port: u16, cut: Cut) -> Result<(), String> {
        let mut client = Client::connect(port).map_err(|error| format!("connecting: {error}"))?;
        let mut sent = 0;
        let mut finished = false;
        let mut closed = false;
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        if cut == Cut::Together {
            let all: Vec<u8> = self.steps.iter().filter_map(Step::bytes).flatten().copied().collect();
            client.send(&all).map_err(|error| format!("sending: {error}"))?;
        }
        for step in &self.steps {
            match step {
                Step::Send(bytes) | Step::SendAndFinish(bytes) => {
                    if cut != Cut::Together {
                        let named = put_names(bytes, &names);
                        send_cut(&mut client, &named, cut, sent).map_err(|error| format!("sending: {error}"))?;
                    }
                    sent += bytes.len();
                    if matches!(step, Step::SendAndFinish(_)) {
                        client.finish();
                        finished = true;
                    }
                }
                Step::Expect(json) => {
                    let line = next_line(&mut client)?;
                    let value = serde_json::from_str(&line).map_err(|error| format!("`{line}` is no JSON: {error}"))?;
                    let json = take_names(json, &value, &mut names);
                    pattern::matches(&json, &value).map_err(|error| format!("{error}; the line was `{line}`"))?;
                }
                Step::ExpectText(text) => {
                    let line = next_line(&mut client)?;
                    if !super::shell::matches(text, line.trim_end()) {
                        return Err(format!("expected `{text}`, got `{line}`"));
                    }
                }
                Step::ExpectClosed => {
                    expect_closed(&mut client)?;
                    closed = true;
                }
            }
        }
        if closed || self.has("stream") {
            return Ok(());
        }
        // What is left unsaid is left unsaid by the node too.
        if !finished {
            client.finish();
        }
        expect_closed(&mut client)
    }
}

impl Step {
    fn bytes(&self) -> Option<&Vec<u8>> {
        match self {
            Step::Send(bytes) | Step::SendAndFinish(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Notes what stands where `expected` has `"<string:NAME>"`, and makes that a plain `"<string>"`. Names are of the
/// outermost object, or one level below.
fn take_names(expected: &Value, value: &Value, names: &mut BTreeMap<String, String>) -> Value {
    match (expected, value) {
        (Value::String(text), _) => {
            let Some(name) = text.strip_prefix("<string:").and_then(|rest| rest.strip_suffix('>')) else {
                return expected.clone();
            };
            if let Value::String(found) = value {
                names.insert(name.to_owned(), found.clone());
            }
            Value::String("<string>".to_owned())
        }
        (Value::Object(fields), _) => {
            let named = |(key, field): (&String, &Value)| {
                (key.clone(), take_names(field, value.get(key).unwrap_or(&Value::Null), names))
            };
            Value::Object(fields.iter().map(named).collect())
        }
        (Value::Array(items), _) => {
            let named = |(nth, item): (usize, &Value)| take_names(item, value.get(nth).unwrap_or(&Value::Null), names);
            Value::Array(items.iter().enumerate().map(named).collect())
        }
        _ => expected.clone(),
    }
}

fn put_names(bytes: &[u8], names: &BTreeMap<String, String>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(bytes) else { return bytes.to_vec() };
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value)).into_bytes()
}

/// Sends a step whose first byte is the byte `before` of the whole transcript.
fn send_cut(client: &mut Client, bytes: &[u8], cut: Cut, before: usize) -> std::io::Result<()> {
    match cut {
        Cut::EachByte => bytes.iter().try_for_each(|byte| client.send(&[*byte])),
        Cut::At(at) if at > before && at < before + bytes.len() => {
            let (head, tail) = bytes.split_at(at - before);
            client.send(head)?;
            client.send(tail)
        }
        _ => client.send(bytes),
    }
}

fn next_line(client: &mut Client) -> Result<String, String> {
    match client.line_within(DEADLINE) {
        Line::Text(text) => Ok(text),
        Line::Closed => Err("the node closed the connection where a line was expected".to_owned()),
        Line::Nothing => Err(format!("no line within {DEADLINE:?}")),
    }
}

fn expect_closed(client: &mut Client) -> Result<(), String> {
    match client.line_within(DEADLINE) {
        Line::Closed => Ok(()),
        Line::Text(text) => Err(format!("expected the end of the connection, got the line `{text}`")),
        Line::Nothing => Err(format!("the node does not close the connection within {DEADLINE:?}")),
    }
}

/// How long a test waits to see that nothing comes. Longer than any delay that the protocol has.
pub(crate) const QUIET: Duration = Duration::from_millis(400);
