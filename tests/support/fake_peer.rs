//! Peers of other implementations, played by the test.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wait::pause;

/// When a fake peer closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// After each answer, as the seed does.
    AfterAnswer,
    /// When the other side does.
    Never,
}

/// What a fake peer and its threads share.
struct Shared {
    answer: String,
    closing: Closing,
    stopped: AtomicBool,
    heard: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

/// A listener that answers every line with one fixed line. Gone, with its connections, when dropped.
pub(crate) struct FakePeer {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl FakePeer {
    /// Listens on `port` and answers each line with `answer` and a newline.
    pub(crate) fn start(port: u16, answer: &str, closing: Closing) -> FakePeer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener can be made not to block");
        let shared = Arc::new(Shared {
            answer: format!("{answer}\n"),
            closing,
            stopped: AtomicBool::new(false),
            heard: Mutex::default(),
            open: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        FakePeer { port, shared, acceptor: Some(acceptor) }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The lines that it was sent so far.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.shared.heard.lock().expect("no holder of this lock panics").clone()
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.open.lock().expect("no holder of this lock panics").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
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
        shared.heard.lock().expect("no holder of this lock panics").push(line);
        if writer.write_all(shared.answer.as_bytes()).is_err() || shared.closing == Closing::AfterAnswer {
            break;
        }
    }
    // The twin in `open` keeps the socket: it is ended by name.
    let _ = writer.shutdown(std::net::Shutdown::Both);
}
