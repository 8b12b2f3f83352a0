//! `shell`: any command of the operating system, where the owner of this node allows it.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use serde_json::{Map, Value, json};

use crate::wire::{MAX_JSON_BYTES, ServiceName, ServiceOffer, Stream};

use super::output::{Decoder, Tail};
use super::tree::{How, Tree, small_thread};
use super::{Context, Failure, Service};

/// How much of the end of each output is in the result. Enough for an error message with its trace; two of them
/// usually fit a line.
const KEPT: usize = 16 * 1024;

/// How long the outputs are read after everything that wrote to them was killed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// `shell.run {"command":["prog","arg",..]}` or `{"line":"a line for the shell"}`, with `env` (an object of texts,
/// added to this node's environment), `dir` (where it runs) and `stdin` (a text; without it, nothing can be read).
///
/// What it prints is shown while it runs. It answers `{"EXIT":0,"STDOUT":"..","STDERR":".."}` with the last 16 KiB of
/// each; any other end is a failure that carries the same, `SIGNAL` in place of `EXIT` if it was one. What it leaves
/// running in the background is ended with it.
pub(super) struct Shell;

impl Service for Shell {
    fn offer(&self) -> ServiceOffer {
        let name = |name| ServiceName::new(name).expect("a name of this program is a name");
        ServiceOffer { name: name("shell"), methods: vec![name("run")], idempotent: Vec::new() }
    }

    fn call(&self, _: &str, params: &Value, context: &Context) -> Result<Value, Failure> {
        let (mut command, input) = read(params).map_err(Failure::refused)?;
        if let Some(attempt) = context.attempt() {
            command.env("JOB_ID", attempt.job_id.as_str()).env("ATTEMPT", attempt.attempt.to_string());
        }
        run(command, input, context)
    }
}

/// The command of PARAMS and its standard input. The error names the field.
fn read(params: &Value) -> Result<(Command, Option<String>), String> {
    let Value::Object(fields) = params else {
        return Err(format!("PARAMS is {}; expected an object with `command` or `line`", kind(params)));
    };
    let wrong = |field: &str, expected: &str| {
        let found = fields.get(field).map_or("missing", kind);
        Err(format!("PARAMS `{field}` is {found}; expected {expected}"))
    };
    let mut command = match (fields.get("command"), fields.get("line")) {
        (Some(Value::Array(words)), None) => {
            let texts: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
            match texts.as_deref() {
                Some([program, arguments @ ..]) if !program.is_empty() => {
                    let mut command = Command::new(program);
                    command.args(arguments);
                    command
                }
                _ => return wrong("command", "a list of texts, the program first"),
            }
        }
        (None, Some(Value::String(line))) => shell(line),
        (Some(_), Some(_)) => return Err("PARAMS has both `command` and `line`; expected one of them".to_owned()),
        (Some(_), None) => return wrong("command", "a list of texts, the program first"),
        (None, Some(_)) => return wrong("line", "a text"),
        (None, None) => return Err("PARAMS has neither `command` nor `line`; expected one of them".to_owned()),
    };
    match fields.get("env") {
        None | Some(Value::Null) => {}
        Some(Value::Object(variables)) => set(&mut command, variables)?,
        Some(_) => return wrong("env", "an object of texts"),
    }
    match fields.get("dir") {
        None | Some(Value::Null) => {}
        Some(Value::String(dir)) if Path::new(dir).is_dir() => {
            command.current_dir(dir);
        }
        Some(Value::String(dir)) => return Err(format!("PARAMS `dir` is {dir:?}; expected a directory that exists")),
        Some(_) => return wrong("dir", "a text"),
    }
    let input = match fields.get("stdin") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return wrong("stdin", "a text"),
    };
    Ok((command, input))
}

fn set(command: &mut Command, variables: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in variables {
        // The operating system can hold no others.
        let fits = !name.is_empty() && !name.contains(['=', '\0']);
        match value {
            Value::String(text) if fits && !text.contains('\0') => command.env(name, text),
            _ => return Err(format!("PARAMS `env` has {name:?} = {value}; expected a name and a text")),
        };
    }
    Ok(())
}

#[cfg(not(windows))]
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(line);
    command
}

#[cfg(windows)]
fn shell(line: &str) -> Command {
    let mut command = Command::new("cmd");
    command.arg("/C").arg(line);
    command
}

/// What a value is, for people.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What the threads around a command tell.
enum Note {
    /// The command has ended.
    Ended,
    /// The run shall stop.
    Stop,
    /// An output has ended.
    Closed,
}

fn run(mut command: Command, input: Option<String>, context: &Context) -> Result<Value, Failure> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut tree = Tree::spawn(&mut command).map_err(|error| cannot_start(&program, &error))?;
    let started = |result: io::Result<()>| result.map_err(|error| Failure::broken(format!("no thread: {error}")));
    // One place for each note: nobody ever waits to tell one.
    let (notes, told) = bounded(4);
    let (stdin, stdout, stderr) = tree.pipes();
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        // An error is that the command does not read to the end.
        started(small_thread("shell-in", move || drop(stdin.write_all(input.as_bytes()))))?;
    }
    let out = Arc::new(Mutex::new(Tail::new(KEPT)));
    let err = Arc::new(Mutex::new(Tail::new(KEPT)));
    if let Some(stdout) = stdout {
        started(follow(stdout, Stream::Out, Arc::clone(&out), context.clone(), notes.clone()))?;
    }
    if let Some(stderr) = stderr {
        started(follow(stderr, Stream::Err, Arc::clone(&err), context.clone(), notes.clone()))?;
    }
    let ended = notes.clone();
    started(tree.when_ended(move || drop(ended.send(Note::Ended))))?;
    context.0.on_stop(move || drop(notes.send(Note::Stop)));

    let mut open = 2;
    let mut kill_at = None;
    loop {
        let note = match kill_at {
            None => told.recv().unwrap_or(Note::Ended),
            Some(at) => match told.recv_deadline(at) {
                Ok(note) => note,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => Note::Ended,
            },
        };
        match note {
            Note::Ended => break,
            Note::Closed => open -= 1,
            Note::Stop => {
                kill_at = context.0.kill_at();
                tree.signal(How::Ask);
            }
        }
    }
    let status = tree.end();
    // Everything that could write is gone, so this ends soon. What escaped is not waited for.
    let until = Instant::now() + LAST_WORDS;
    while open > 0 {
        match told.recv_deadline(until) {
            Ok(Note::Closed) => open -= 1,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    if let (true, Some(why)) = (kill_at.is_some(), context.0.why()) {
        let stopped = match context.0.stopped(why) {
            crate::core::Outcome::Failed { detail, .. } => detail,
            crate::core::Outcome::Ok(_) => String::new(),
        };
        return Err(Failure::broken(stopped));
    }
    let tail = |tail: &Mutex<Tail>, most| tail.lock().expect("no holder of this lock panics").text(most);
    let Some(status) = status else { return Err(Failure::broken("the command was killed and does not end")) };
    let result = fitting(|most| result_of(status, tail(&out, most), tail(&err, most)));
    match status.success() {
        true => Ok(result),
        false => Err(Failure::refused(said(status)).with(result)),
    }
}

fn cannot_start(program: &str, error: &io::Error) -> Failure {
    let detail = format!("{program} cannot be started: {error}");
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
            Failure::refused(detail)
        }
        _ => Failure::broken(detail),
    }
}

/// Reads an output to its end: shows it and keeps its tail.
fn follow(
    mut from: impl Read + Send + 'static,
    stream: Stream,
    tail: Arc<Mutex<Tail>>,
    context: Context,
    notes: Sender<Note>,
) -> io::Result<()> {
    small_thread("shell-out", move || {
        let mut decoder = Decoder::default();
        let mut bytes = [0; 8 * 1024];
        loop {
            match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    tail.lock().expect("no holder of this lock panics").push(&bytes[..count]);
                    context.print(stream, &decoder.text(&bytes[..count]));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        context.print(stream, &decoder.rest());
        let _ = notes.send(Note::Closed);
    })
}

fn result_of(status: ExitStatus, stdout: String, stderr: String) -> Value {
    let mut result = json!({ "STDOUT": stdout, "STDERR": stderr });
    match (status.code(), signal_of(status)) {
        (Some(code), _) => result["EXIT"] = code.into(),
        (None, Some(signal)) => result["SIGNAL"] = signal.into(),
        (None, None) => {}
    }
    result
}

/// The result with as much of the tails as fits a line.
fn fitting(result: impl Fn(usize) -> Value) -> Value {
    let mut most = KEPT;
    loop {
        let result = result(most);
        if most == 0 || result.to_string().len() <= MAX_JSON_BYTES {
            return result;
        }
        most /= 2;
    }
}

/// How a process ended, for people.
pub(super) fn said(status: ExitStatus) -> String {
    match (status.code(), signal_of(status)) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_: ExitStatus) -> Option<i32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_params_are_named() {
        for (params, part) in [
            (json!("ls"), "PARAMS is a text; expected an object"),
            (json!({}), "neither `command` nor `line`"),
            (json!({"command": ["ls"], "line": "ls"}), "both `command` and `line`"),
            (json!({"command": "ls"}), "`command` is a text"),
            (json!({"command": []}), "`command` is a list"),
            (json!({"command": ["ls", 1]}), "`command` is a list"),
            (json!({"line": ["ls"]}), "`line` is a list"),
            (json!({"line": "ls", "env": {"A=B": "c"}}), "`env` has \"A=B\""),
            (json!({"line": "ls", "env": {"A": 1}}), "`env` has \"A\" = 1"),
            (json!({"line": "ls", "env": []}), "`env` is a list"),
            (json!({"line": "ls", "dir": "/nowhere/at/all"}), "expected a directory that exists"),
            (json!({"line": "ls", "stdin": 1}), "`stdin` is a number"),
        ] {
            let error = read(&params).map(drop).unwrap_err();
            assert!(error.contains(part), "{params}: {error}");
        }
        assert!(read(&json!({"command": ["ls", "-l"], "env": {"A": "b"}, "dir": ".", "stdin": "x"})).is_ok());
    }

    #[test]
    fn tails_are_cut_until_the_result_fits() {
        let noisy = "\u{1}".repeat(KEPT);
        let result = fitting(|most| json!({ "STDOUT": noisy[..most], "STDERR": noisy[..most] }));
        let (bytes, kept) = (result.to_string().len(), result["STDOUT"].as_str().unwrap().len());
        assert!(bytes <= MAX_JSON_BYTES && kept == KEPT / 4, "{bytes} bytes with {kept}");
    }
}
