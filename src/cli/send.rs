//! `node send`: lines to a node, its answers back.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::exit;
use super::pretty::{pretty, printable};
use super::values::Span;
use crate::wire::Address;

/// Options of `node send`.
#[derive(Args, Debug)]
pub(super) struct SendArgs {
    /// The node to ask
    #[arg(value_name = "HOST:PORT")]
    address: Address,

    /// Lines to send, each a JSON object, or a bare task such as LOAD; read from standard input if there are none
    #[arg(value_name = "LINE")]
    lines: Vec<String>,

    /// Go on printing lines until the peer closes (for EVENTS)
    #[arg(long)]
    follow: bool,

    /// Print answers as they came, on a terminal too
    #[arg(long, conflicts_with = "pretty")]
    raw: bool,

    /// Print answers indented, in a pipe too
    #[arg(long)]
    pretty: bool,

    /// How long to wait for a connection and for each answer
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    wait: Span,
}

/// How answers are printed.
#[derive(Clone, Copy)]
struct Style {
    pretty: bool,
    terminal: bool,
    colour: bool,
}

impl Style {
    fn apply(self, answer: &str) -> String {
        // Escaped first: the colours are ours. In a pipe the bytes stay as they came.
        let text = if self.terminal { printable(answer) } else { answer.to_owned() };
        if self.pretty { pretty(&text, self.colour) } else { text }
    }
}

/// Sends the lines and prints the answers. Fails when an answer is an error, or when none came.
pub(super) fn run(args: &SendArgs) -> ExitCode {
    let terminal = io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = Style { pretty: args.pretty || (terminal && !args.raw), terminal, colour: terminal && !no_colour };
    let mut out = io::stdout().lock();
    let mut session = Session { client: Client::new(args.address.clone(), args.wait.0), style, out: &mut out };
    let outcome = if args.lines.is_empty() {
        session.lines(io::stdin().lock().lines(), args.follow)
    } else {
        session.lines(args.lines.iter().map(|line| Ok(line.clone())), args.follow)
    };
    match outcome {
        Ok(true) => ExitCode::from(exit::OK),
        Ok(false) => ExitCode::from(exit::FAILURE),
        // Who reads our output has enough: `| head` is no failure.
        Err(SendError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(exit::OK),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, SendError::NotJson(..)) { exit::USAGE } else { exit::FAILURE })
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("`{0}` is not JSON ({1}); expected an object such as {{\"TASK\":\"LOAD\"}}, or a bare task such as LOAD")]
    NotJson(String, serde_json::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("standard input: {0}")]
    Input(io::Error),
    #[error("standard output: {0}")]
    Output(io::Error),
}

struct Session<'a> {
    client: Client,
    style: Style,
    out: &'a mut dyn Write,
}

impl Session<'_> {
    /// Sends each line and prints its answer. Returns whether none of the answers is an error.
    fn lines(&mut self, lines: impl Iterator<Item = io::Result<String>>, follow: bool) -> Result<bool, SendError> {
        let mut fine = true;
        for line in lines {
            let line = line.map_err(SendError::Input)?;
            if line.trim().is_empty() {
                continue;
            }
            let answer = self.client.ask(&line_to_send(&line)?)?;
            fine &= self.print(&answer)?;
        }
        while follow && let Some(line) = self.client.next_line(None)? {
            fine &= self.print(&line)?;
        }
        Ok(fine)
    }

    fn print(&mut self, answer: &str) -> Result<bool, SendError> {
        let text = self.style.apply(answer);
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(SendError::Output)?;
        Ok(!is_error(answer))
    }
}

/// Whether an answer says that the request failed; what is no JSON is no answer to it.
pub(super) fn is_error(answer: &str) -> bool {
    serde_json::from_str::<Value>(answer).is_ok_and(|answer| answer["RESPONSE"] == "ERROR")
        || serde_json::from_str::<serde::de::IgnoredAny>(answer).is_err()
}

/// What is sent for what was typed: JSON on one line, `{"TASK":"LOAD"}` for `LOAD` or `load`.
fn line_to_send(typed: &str) -> Result<String, SendError> {
    let typed = typed.trim();
    let json = match serde_json::from_str::<serde::de::IgnoredAny>(typed) {
        // Outside of strings a newline is a blank, and inside JSON has none.
        Ok(_) => return Ok(typed.replace(['\n', '\r'], " ")),
        Err(error) => error,
    };
    let is_word = typed.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !is_word {
        return Err(SendError::NotJson(typed.to_owned(), json));
    }
    Ok(format!("{{\"TASK\":\"{}\"}}", typed.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::peer;
    use super::*;
    use std::io::BufReader;
    use std::net::TcpStream;
    use std::time::Duration;

    const RAW: Style = Style { pretty: false, terminal: false, colour: false };

    fn send(address: &Address, lines: &[&str], follow: bool) -> (Result<bool, SendError>, String) {
        let mut out = Vec::new();
        let client = Client::new(address.clone(), Duration::from_secs(20));
        let lines = lines.iter().map(|line| Ok((*line).to_owned()));
        let outcome = Session { client, style: RAW, out: &mut out }.lines(lines, follow);
        (outcome, String::from_utf8(out).unwrap())
    }

    fn echo(mut stream: BufReader<TcpStream>) {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        stream.get_mut().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn bare_words_are_tasks_and_json_goes_as_it_is() {
        let line = |typed: &str| line_to_send(typed).unwrap();
        assert_eq!(line("LOAD"), "{\"TASK\":\"LOAD\"}");
        assert_eq!(line("load"), "{\"TASK\":\"LOAD\"}");
        assert_eq!(line(" {\"TASK\": \"X\",\n \"A\": 1.50} "), "{\"TASK\": \"X\",  \"A\": 1.50}");
        assert!(matches!(line_to_send("{\"TASK\":"), Err(SendError::NotJson(..))));
        assert!(matches!(line_to_send("two words"), Err(SendError::NotJson(..))));
    }

    #[test]
    fn every_line_gets_its_answer_from_a_peer_that_closes_each_time() {
        let (outcome, out) = send(&peer(echo), &["LOAD", "", "{\"A\":1}", "HELLO"], false);
        assert!(outcome.unwrap());
        assert_eq!(out, "{\"TASK\":\"LOAD\"}\n{\"A\":1}\n{\"TASK\":\"HELLO\"}\n");
    }

    #[test]
    fn an_error_answer_is_printed_and_fails() {
        let (outcome, out) = send(&peer(echo), &["{\"TASK\":\"X\",\"RESPONSE\":\"ERROR\"}"], false);
        assert!(!outcome.unwrap());
        assert_eq!(out.lines().count(), 1);
    }

    #[test]
    fn following_prints_until_the_peer_closes() {
        let stream = |mut stream: BufReader<TcpStream>| {
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(b"{\"SEQ\":0}\n{\"SEQ\":1}\n{\"SEQ\":2}").unwrap();
        };
        let (outcome, out) = send(&peer(stream), &["EVENTS"], true);
        assert!(outcome.unwrap());
        assert_eq!(out, "{\"SEQ\":0}\n{\"SEQ\":1}\n{\"SEQ\":2}\n");
    }

    #[test]
    fn answers_on_a_terminal_are_indented_and_harmless() {
        let terminal = Style { pretty: true, terminal: true, colour: false };
        assert_eq!(terminal.apply("{\"A\":\"\u{9b}2J\"}"), "{\n  \"A\": \"\\u009b2J\"\n}");
        assert_eq!(terminal.apply("\x1b[2J"), "\\u001b[2J");
        assert_eq!(RAW.apply("{\"A\":1}"), "{\"A\":1}");
    }
}
