//! The commands of run_examples.txt: their parser, and patterns of what they print.
//!
//! A line `$ command` is a command; a command that ends with `&` runs until the end of the file. The lines after
//! it, up to the next command, blank line or comment (`# text`), are what it prints. In them, `...` stands for
//! anything within a line (alone on a line: for any number of lines), and `<uuid>`, `<hex8>`, `<number>` and
//! `<string>` for what they say. `[exit N]` as the last line is the exit code, 0 where it is not written.

use super::pattern::is_uuid;
use super::transcript::escapes;

/// A command and what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    /// The command as written, without `$` and `&`.
    pub(crate) command: String,
    /// Whether it ends with `&`.
    pub(crate) background: bool,
    /// The lines that it prints.
    pub(crate) expected: Vec<String>,
    /// The code that it ends with.
    pub(crate) exit: i32,
}

/// Every command of a file.
pub(crate) fn parse(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let background = command.trim_end().ends_with('&');
            let command = command.trim_end().trim_end_matches('&').trim_end().to_owned();
            examples.push(Example { command, background, expected: Vec::new(), exit: 0 });
            open = true;
        } else if line.trim().is_empty() || line.starts_with("# ") || line == "#" {
            open = false;
        } else {
            let example = examples.last_mut().filter(|_| open);
            let example = example.unwrap_or_else(|| panic!("run_examples.txt: `{line}` belongs to no command"));
            match line.strip_prefix("[exit ").and_then(|rest| rest.strip_suffix(']')) {
                Some(code) => example.exit = code.parse().expect("[exit N] has a number"),
                None => example.expected.push(line.to_owned()),
            }
        }
    }
    examples
}

/// The words of a command, with `'...'` and `"..."` as quotes and no other magic.
pub(crate) fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in command.chars() {
        match quote {
            Some(mark) if letter == mark => quote = None,
            Some(_) => word.get_or_insert_default().push(letter),
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            None if letter.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(letter),
        }
    }
    assert!(quote.is_none(), "a quote is not closed in `{command}`");
    words.extend(word);
    words
}

/// `printf 'TEXT' | nc HOST PORT`: the bytes and the port, if `command` has this form.
pub(crate) fn netcat(command: &str) -> Option<(Vec<u8>, u16)> {
    let words = words(command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ["printf", text, "|", "nc", rest @ ..] = &words[..] else { return None };
    let port = rest.last()?.parse().ok()?;
    Some((escapes(text), port))
}

/// Whether the printed lines are exactly the expected ones.
pub(crate) fn lines_match(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "..." => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        Some((first, rest)) => match printed.split_first() {
            Some((line, printed)) => matches(first, line.trim_end()) && lines_match(rest, printed),
            None => false,
        },
    }
}

/// Whether a printed line matches a pattern with `...` and the tokens of this module.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let Some(head) = pattern.chars().next() else { return text.is_empty() };
    if let Some(rest) = pattern.strip_prefix("...") {
        let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        return starts.any(|at| matches(rest, &text[at..]));
    }
    if let Some(rest) = pattern.strip_prefix("<uuid>") {
        return text.get(..36).is_some_and(is_uuid) && matches(rest, &text[36..]);
    }
    if let Some(rest) = pattern.strip_prefix("<hex8>") {
        let hex = |head: &str| head.bytes().all(|byte| byte.is_ascii_hexdigit());
        return text.get(..8).is_some_and(hex) && matches(rest, &text[8..]);
    }
    if let Some(rest) = pattern.strip_prefix("<number>") {
        let number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        let length = text.bytes().take_while(|byte| number(byte)).count();
        return (1..=length).rev().any(|end| matches(rest, &text[end..]));
    }
    if let Some(rest) = pattern.strip_prefix("<string>") {
        let ends = text.char_indices().skip(1).map(|(at, _)| at).chain([text.len()]);
        return !text.is_empty() && ends.into_iter().any(|at| matches(rest, &text[at..]));
    }
    text.strip_prefix(head).is_some_and(|rest| matches(&pattern[head.len_utf8()..], rest))
}
