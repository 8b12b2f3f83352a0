//! How long a cluster takes no writes when its leader is killed.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Failure;
use super::cluster::Cluster;
use super::grpc::{self, Connection};
use super::load::text;

/// A client gives a write up after this, and tries the next.
const DEADLINE: Duration = Duration::from_millis(20);
/// No write has succeeded for this long: the cluster is lost.
const LOST: Duration = Duration::from_secs(30);

/// Kills the leader and tells how long it took until a write succeeded at one of the others, from just before the kill. A client at each
/// survivor has its connection already, and tries as soon as the process is gone. Then starts the killed one again and waits until it
/// follows with all that the leader has.
pub(crate) fn once(cluster: &mut Cluster) -> Result<Duration, Failure> {
    let leader = cluster.leader()?;
    let (gone, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (begin, first) = thread::scope(|scope| -> Result<_, Failure> {
        let survivors = (0..3).filter(|nth| *nth != leader);
        let mut clients = Vec::new();
        for nth in survivors {
            let (address, is_etcd) = (cluster.address(nth), cluster.is_etcd());
            let stream = TcpStream::connect(address)?;
            let (gone, done) = (&gone, &done);
            clients
                .push(scope.spawn(move || tried(stream, address, is_etcd, gone, done).map_err(|why| why.to_string())));
        }
        let begin = cluster.kill(leader)?;
        gone.store(true, Ordering::Release);
        let mut first: Option<Instant> = None;
        for client in clients {
            let succeeded = client.join().map_err(|_| "a client has panicked")??;
            first = [first, succeeded].into_iter().flatten().min();
        }
        Ok((begin, first.ok_or("no write has succeeded")?))
    })?;
    cluster.restart(leader)?;
    Ok(first - begin)
}

/// Writes until one write succeeds, here or at another client. Returns when it did here.
fn tried(
    mut stream: TcpStream,
    address: SocketAddr,
    is_etcd: bool,
    gone: &AtomicBool,
    done: &AtomicBool,
) -> Result<Option<Instant>, Failure> {
    stream.set_nodelay(true)?;
    let (mut out, mut input, mut buffer) = (Vec::new(), Vec::new(), [0; 16 * 1024]);
    let mut connection = is_etcd.then(|| Connection::new(&mut out));
    stream.write_all(&out)?;
    while !gone.load(Ordering::Acquire) {
        thread::sleep(Duration::from_micros(200));
    }
    let begin = Instant::now();
    for nth in 0_u64.. {
        if done.load(Ordering::Acquire) {
            return Ok(None);
        }
        out.clear();
        match &mut connection {
            Some(connection) => {
                let message = grpc::put_request("failover", &nth.to_string());
                connection.call("/etcdserverpb.KV/Put", &message, &mut out)?;
            }
            None => {
                let value = 100 + nth % 100;
                let request = json!({"TASK": "SETTINGS", "NAME": "capacity", "VALUE": value, "ID": nth.to_string()});
                out = format!("{request}\n").into_bytes();
            }
        }
        stream.write_all(&out)?;
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            stream.set_read_timeout(Some(left))?;
            let count = match stream.read(&mut buffer) {
                Ok(0) => return Err(format!("{address} has closed a connection").into()),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let now = Instant::now();
            let succeeded = match &mut connection {
                Some(connection) => {
                    let mut answers = Vec::new();
                    out.clear();
                    connection.hear(&buffer[..count], &mut out, &mut answers)?;
                    stream.write_all(&out)?;
                    answers.iter().any(|answer| answer.message.is_some())
                }
                None => {
                    input.extend_from_slice(&buffer[..count]);
                    is_ok(&mut input)?
                }
            };
            if succeeded {
                done.store(true, Ordering::Release);
                return Ok(Some(now));
            }
        }
        if begin.elapsed() > LOST {
            return Err(format!("{address}: no write has succeeded for {LOST:?}").into());
        }
    }
    Ok(None)
}

/// Takes the whole lines of `input`. Whether one of them says that a setting was set.
fn is_ok(input: &mut Vec<u8>) -> Result<bool, Failure> {
    let Some(end) = memchr::memrchr(b'\n', input) else { return Ok(false) };
    let lines: Vec<u8> = input.drain(..=end).collect();
    let mut any = false;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let answer: Value = serde_json::from_slice(line)?;
        any |= match answer["RESPONSE"].as_str() {
            Some("OK") => true,
            // What may be asked again is no fault.
            Some("ERROR") if answer["RETRY"] == true || answer["ERROR"] == "LOST" => false,
            _ => return Err(format!("a wrong answer: {}", text(line)).into()),
        };
    }
    Ok(any)
}
