//! Programs of the classroom, played by the test. They read as such programs do: one `recv` of 1024 bytes, of which
//! only the first line counts.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::wait::{DEADLINE, pause, wait_until};

/// Bytes of one `recv`.
const RECV: usize = 1024;

/// What one `recv` brought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// A line.
    Line(Value),
    /// The end of the stream.
    Closed,
    /// Nothing in the given time.
    Nothing,
}

/// One end of a connection.
pub(crate) struct Student {
    stream: TcpStream,
}

impl Student {
    /// Connects to a port of this machine.
    pub(crate) fn connect(port: u16) -> Student {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        Student::on(stream.unwrap_or_else(|error| panic!("connecting to port {port}: {error}")))
    }

    fn on(stream: TcpStream) -> Student {
        stream.set_nodelay(true).expect("a stream takes this option");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout above zero is accepted");
        Student { stream }
    }

    /// Sends bytes as they are. A connection that is gone is the reader's business.
    pub(crate) fn send(&mut self, bytes: &str) {
        let _ = self.stream.write_all(bytes.as_bytes());
    }

    /// Sends a line as Python writes it: a space after `:` and `,`.
    pub(crate) fn say(&mut self, value: &Value) {
        self.send(&format!("{}\n", python(value)));
    }

    /// The first line of what one `recv` brings. Panics where such a program would lose what came behind it, or find no
    /// whole line.
    pub(crate) fn hear_within(&mut self, within: Duration) -> Heard {
        let begun = Instant::now();
        let mut chunk = [0; RECV];
        loop {
            let left = within.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Heard::Nothing;
            }
            self.stream.set_read_timeout(Some(left)).expect("a timeout above zero is accepted");
            match self.stream.read(&mut chunk) {
                Ok(0) => return Heard::Closed,
                Ok(count) => {
                    let text = String::from_utf8_lossy(&chunk[..count]).into_owned();
                    let (line, rest) =
                        text.split_once('\n').unwrap_or_else(|| panic!("one recv found no line: {text}"));
                    assert_eq!(rest, "", "behind `{line}` came what a program of the classroom loses");
                    return Heard::Line(serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}`: {error}")));
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Heard::Closed,
            }
        }
    }

    /// The next line. Panics if none comes.
    pub(crate) fn hear(&mut self) -> Value {
        match self.hear_within(DEADLINE) {
            Heard::Line(line) => line,
            other => panic!("expected a line, got {other:?}"),
        }
    }

    /// Says a line and hears the next one.
    pub(crate) fn ask(&mut self, line: &Value) -> Value {
        self.say(line);
        self.hear()
    }

    /// Ends the connection.
    pub(crate) fn close(self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// One message on a connection of its own, as programs send it that close after each: the answer, and the end.
pub(crate) fn one_shot(port: u16, line: &Value) -> Value {
    let mut student = Student::connect(port);
    let answer = student.ask(line);
    student.close();
    answer
}

/// The text of a value as Python's `json.dumps` writes it.
pub(crate) fn python(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let all: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), python(value)))
                .collect();
            format!("{{{}}}", all.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        plain => plain.to_string(),
    }
}

/// A line that a fake master heard.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// On which connection, counted from 0.
    pub(crate) connection: usize,
    /// When.
    pub(crate) at: Instant,
    /// What.
    pub(crate) line: Value,
}

/// What a fake master and its threads share.
struct Shared {
    name: String,
    beats: bool,
    stopped: AtomicBool,
    noted: Mutex<Vec<Noted>>,
    open: Mutex<Vec<TcpStream>>,
    faults: Mutex<Vec<String>>,
}

/// A connection of a fake master.
pub(crate) struct Talk {
    student: Student,
    /// Which connection, counted from 0.
    pub(crate) connection: usize,
    shared: Arc<Shared>,
}

impl Talk {
    /// The next line that is no heartbeat, within a time. Heartbeats are answered on the way, unless the master does not.
    pub(crate) fn hear_within(&mut self, within: Duration) -> Heard {
        let begun = Instant::now();
        loop {
            let heard = self.student.hear_within(within.saturating_sub(begun.elapsed()));
            let Heard::Line(line) = &heard else { return heard };
            let noted = Noted { connection: self.connection, at: Instant::now(), line: line.clone() };
            self.shared.noted.lock().expect("no holder of this lock panics").push(noted);
            if line["TASK"] != "HEARTBEAT" {
                return heard;
            }
            if self.shared.beats {
                let name = &self.shared.name;
                self.say(&json!({"SERVER_UUID": name, "TASK": "HEARTBEAT", "RESPONSE": "ALIVE"}));
            }
        }
    }

    /// The next line that is no heartbeat; `None` at the end of the stream.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        loop {
            match self.hear_within(DEADLINE) {
                Heard::Line(line) => return Some(line),
                Heard::Closed => return None,
                Heard::Nothing => {}
            }
        }
    }

    /// Says a line as Python writes it.
    pub(crate) fn say(&mut self, line: &Value) {
        self.student.say(line);
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &str) {
        self.student.send(bytes);
    }
}

/// A master of the classroom. Gone, with its connections, when dropped; a panic of one of its threads is then the test's.
pub(crate) struct FakeMaster {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeMaster {
    /// Listens on `port`. `beats`: whether it answers heartbeats. `serve` is called with each connection, on a thread of its own; the connection ends with it.
    pub(crate) fn start(
        port: u16,
        name: &str,
        beats: bool,
        serve: impl Fn(&mut Talk) + Send + Sync + 'static,
    ) -> FakeMaster {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener can be made not to block");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            beats,
            stopped: AtomicBool::new(false),
            noted: Mutex::default(),
            open: Mutex::default(),
            faults: Mutex::default(),
        });
        let acceptor = {
            let (shared, serve) = (Arc::clone(&shared), Arc::new(serve));
            thread::spawn(move || accept(&listener, &shared, &serve))
        };
        FakeMaster { port, shared, acceptor: Some(acceptor) }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Everything that it heard so far, heartbeats too.
    pub(crate) fn noted(&self) -> Vec<Noted> {
        self.shared.noted.lock().expect("no holder of this lock panics").clone()
    }

    /// The lines that it heard so far and that are no heartbeats.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.noted().into_iter().map(|noted| noted.line);
        lines.filter(|line| line["TASK"] != "HEARTBEAT").collect()
    }

    /// How many lines of this kind it heard so far.
    pub(crate) fn count(&self, is: impl Fn(&Value) -> bool) -> usize {
        self.noted().iter().filter(|noted| is(&noted.line)).count()
    }

    /// Waits until it has heard so many lines of this kind.
    pub(crate) fn wait_count(&self, what: &str, least: usize, is: impl Fn(&Value) -> bool) {
        wait_until(&format!("{}: {least} times {what}", self.shared.name), || {
            self.check();
            self.count(&is) >= least
        });
    }

    /// Panics if one of its threads did.
    fn check(&self) {
        let faults = self.shared.faults.lock().expect("no holder of this lock panics").clone();
        assert!(faults.is_empty(), "{}: {faults:?}; heard {:?}", self.shared.name, self.lines());
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.open.lock().expect("no holder of this lock panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if thread::panicking() {
            eprintln!("--- {} heard\n{:#?}", self.shared.name, self.lines());
        } else {
            self.check();
        }
    }
}

fn accept<F: Fn(&mut Talk) + Send + Sync + 'static>(listener: &TcpListener, shared: &Arc<Shared>, serve: &Arc<F>) {
    let mut connections = 0;
    while !shared.stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("a stream can be made to block");
                let twin = stream.try_clone().expect("a stream can be cloned");
                shared.open.lock().expect("no holder of this lock panics").push(twin);
                let mut talk =
                    Talk { student: Student::on(stream), connection: connections, shared: Arc::clone(shared) };
                connections += 1;
                let serve = Arc::clone(serve);
                thread::spawn(move || {
                    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serve(&mut talk)));
                    if let Err(fault) = served {
                        let text = fault.downcast_ref::<String>().cloned();
                        let text = text.or_else(|| fault.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                        let text = text.unwrap_or_else(|| "a panic".to_owned());
                        talk.shared.faults.lock().expect("no holder of this lock panics").push(text);
                    }
                    // The twin in `open` keeps the socket: it is ended by name.
                    let _ = talk.student.stream.shutdown(Shutdown::Both);
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(Duration::from_millis(5)),
            Err(error) => panic!("accepting: {error}"),
        }
    }
}
