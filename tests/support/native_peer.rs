//! A native peer, played by the test: it answers heartbeats with who it is and how busy, and everything else as the
//! test says. Written by protocol.md alone.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::wait::pause;

/// What a peer answers to what is no heartbeat.
type Answer = Box<dyn Fn(&Value) -> Option<Value> + Send + Sync>;

/// What a peer and its threads share.
struct Shared {
    presence: Value,
    answer: Answer,
    stopped: AtomicBool,
    heard: Mutex<Vec<Value>>,
    open: Mutex<Vec<TcpStream>>,
}

/// The peer. Gone, with its connections, when dropped.
pub(crate) struct NativePeer {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl NativePeer {
    /// Its `SERVER_ID`.
    pub(crate) const ID: &str = "5c0de9ee-0000-4000-8000-000000000001";

    /// Listens on `port`: an idle master that offers these `SERVICES`. What is no heartbeat is answered by `answer`, with the
    /// `ID` of the request; `None` says nothing.
    pub(crate) fn start(
        port: u16,
        services: &Value,
        answer: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static,
    ) -> NativePeer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener can be made not to block");
        let presence = json!({
            "TASK": "HEARTBEAT", "RESPONSE": "ALIVE", "SERVER_ID": NativePeer::ID, "NAME": "scripted",
            "ADDRESS": format!("127.0.0.1:{port}"), "ROLE": "master", "GROUP": "default", "CPU": 0.0, "MEMORY": 0.0,
            "PENDING": 0, "RUNNING": 0, "WORKERS": 0, "SATURATED": false, "SERVICES": services,
        });
        let shared = Arc::new(Shared {
            presence,
            answer: Box::new(answer),
            stopped: AtomicBool::new(false),
            heard: Mutex::default(),
            open: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        NativePeer { port, shared, acceptor: Some(acceptor) }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The requests of this task that it was sent so far.
    pub(crate) fn asked(&self, task: &str) -> Vec<Value> {
        let heard = self.shared.heard.lock().expect("no holder of this lock panics");
        heard.iter().filter(|line| line["TASK"] == task).cloned().collect()
    }
}

impl Drop for NativePeer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.open.lock().expect("no holder of this lock panics").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("a stream can be made to block");
                let twin = stream.try_clone().expect("a stream can be cloned");
                shared.open.lock().expect("no holder of this lock panics").push(twin);
                let shared = Arc::clone(shared);
                thread::spawn(move || serve(stream, &shared));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => pause(Duration::from_millis(5)),
            Err(error) => panic!("accepting: {error}"),
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let mut writer = stream.try_clone().expect("a stream can be cloned");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap_or_default();
        shared.heard.lock().expect("no holder of this lock panics").push(request.clone());
        let beat = request["TASK"] == "HEARTBEAT";
        let answer = if beat { Some(shared.presence.clone()) } else { (shared.answer)(&request) };
        let Some(mut answer) = answer else { continue };
        if let Some(id) = request.get("ID") {
            answer["ID"] = id.clone();
        }
        if writer.write_all(format!("{answer}\n").as_bytes()).is_err() {
            break;
        }
    }
    // The twin in `open` keeps the socket: it is ended by name.
    let _ = writer.shutdown(Shutdown::Both);
}
