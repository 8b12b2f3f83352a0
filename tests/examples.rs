//! Every command of run_examples.txt, run as written: only the programs' places and the ports differ.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use support::client::Line;
use support::ports::free_port;
use support::process::{PROGRAM, Process, command};
use support::shell::{Example, lines_match, netcat, parse, words};
use support::wait::pause;
use support::{Client, DEADLINE, wait_until};

const EXAMPLES: &str = include_str!("../run_examples.txt");

/// A file that lost its commands must not pass.
const AT_LEAST: usize = 15;

/// How a command of the file begins that runs this program.
const CARGO_RUN: [&str; 4] = ["cargo", "run", "--release", "--"];

/// The file with the ports 9101 to 9199 replaced by free ones, the same everywhere.
fn with_free_ports(text: &str) -> String {
    let mut ports = BTreeMap::new();
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("91") {
        let (before, tail) = rest.split_at(at);
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        let alone = digits == 4 && !before.ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '.');
        result += before;
        let (word, after) = tail.split_at(digits.max(2));
        match alone {
            true => result += &ports.entry(word.to_owned()).or_insert_with(free_port).to_string(),
            false => result += word,
        }
        rest = after;
    }
    result + rest
}

/// What the examples share: one state directory of their own, and the processes in the background, by number.
struct Session {
    state: tempfile::TempDir,
    background: Vec<Process>,
    has_netcat: bool,
}

impl Session {
    fn new() -> Session {
        // Some netcat there is: any version says something about itself.
        let has_netcat =
            Command::new("sh").args(["-c", "command -v nc"]).output().is_ok_and(|found| found.status.success());
        Session { state: tempfile::tempdir().expect("a temporary directory"), background: Vec::new(), has_netcat }
    }

    fn run(&mut self, example: &Example) {
        if let Some((bytes, port)) = netcat(&example.command) {
            speak(example, &bytes, port);
            if self.has_netcat {
                self.netcat(example);
            }
            return;
        }
        let words = words(&example.command);
        if let ["kill", job] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            return self.end(job);
        }
        let mut process = Process::spawn(&mut self.command(&words));
        if example.background {
            let what = format!("`{}` to print {:#?}", example.command, example.expected);
            wait_until(&what, || {
                if let Some(status) = process.ended() {
                    panic!("`{}` ended ({status}): {}", example.command, process.stderr.text());
                }
                let printed = process.stdout.lines();
                (0..=printed.len()).any(|from| begins_with(&example.expected, &printed[from..]))
            });
            self.background.push(process);
            return;
        }
        let (status, _) = process.wait();
        assert_eq!(status.code(), Some(example.exit), "`{}`: {}", example.command, process.stderr.text());
        wait_until(&format!("`{}` to print {:#?}", example.command, example.expected), || {
            let printed = [process.stdout.lines(), process.stderr.lines()].concat();
            lines_match(&example.expected, &printed) || example.expected.is_empty()
        });
    }

    /// `kill %N`: SIGTERM to the process in the background that was started as the N-th, and its end.
    fn end(&mut self, job: &str) {
        let number: usize = job.strip_prefix('%').and_then(|number| number.parse().ok()).expect("kill %N");
        let process = &mut self.background[number - 1];
        #[cfg(unix)]
        process.signal(rustix::process::Signal::TERM);
        #[cfg(not(unix))]
        process.kill();
        process.wait();
    }

    /// The command that runs these words: variables, then one of the ways to call this program.
    fn command(&self, words: &[String]) -> Command {
        let is_variable = |word: &String| word.split_once('=').is_some_and(|(name, _)| name.starts_with("NODE_"));
        let start = words.iter().position(|word| !is_variable(word)).expect("a command has a program");
        let (variables, words) = words.split_at(start);
        let args = match words {
            [program, args @ ..] if program == "node" || program == "mutirao" => args,
            words if words.iter().zip(CARGO_RUN).filter(|(word, run)| word == run).count() == 4 => &words[4..],
            _ => panic!("run_examples.txt: the harness does not know how to run {words:?}"),
        };
        let mut command = command(args);
        command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
        command.env("XDG_STATE_HOME", self.state.path()).env("HOME", self.state.path());
        command.env("LOCALAPPDATA", self.state.path()).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
        command
    }

    /// The example run by a shell and the netcat that is installed. Netcats differ in when they end; what they
    /// print does not.
    fn netcat(&self, example: &Example) {
        let mut process = Process::spawn(Command::new("sh").args(["-c", &example.command]));
        let what = format!("`{}` to print {:#?}", example.command, example.expected);
        wait_until(&what, || begins_with(&example.expected, &process.stdout.lines()));
        process.kill();
    }
}

/// Whether the first of the printed lines are the expected ones.
fn begins_with(expected: &[String], printed: &[String]) -> bool {
    (0..=printed.len()).any(|end| lines_match(expected, &printed[..end]))
}

/// The part of netcat, played by the harness: send, half-close, read.
fn speak(example: &Example, bytes: &[u8], port: u16) {
    let mut client = Client::connect(port).unwrap_or_else(|error| panic!("`{}`: {error}", example.command));
    client.send(bytes).unwrap();
    client.finish();
    let started = Instant::now();
    let mut printed = Vec::new();
    while !lines_match(&example.expected, &printed) {
        assert!(started.elapsed() < DEADLINE, "`{}` prints {printed:#?}", example.command);
        match client.line_within(DEADLINE) {
            Line::Text(line) => printed.push(line),
            end => {
                panic!("`{}` prints {printed:#?} and then {end:?}; expected {:#?}", example.command, example.expected)
            }
        }
    }
    // One line too many would follow at once; a stream goes on later.
    pause(std::time::Duration::from_millis(1));
}

#[test]
fn every_command_prints_what_the_file_says() {
    assert!(Path::new(PROGRAM).exists());
    let examples = parse(&with_free_ports(EXAMPLES));
    assert!(examples.len() >= AT_LEAST, "run_examples.txt has {} commands", examples.len());
    let mut session = Session::new();
    for example in &examples {
        session.run(example);
    }
}

#[test]
fn ports_are_replaced_everywhere_alike_and_nothing_else_is() {
    let text = with_free_ports("--port 9101 --peer 127.0.0.1:9102 :9101 1691 9.9101 91 919191");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_ne!(words[1], "9101");
    assert_eq!(words[4], format!(":{}", words[1]));
    assert_ne!(words[3], format!("127.0.0.1:{}", words[1]));
    assert_eq!(words[5..], ["1691", "9.9101", "91", "919191"]);
}
