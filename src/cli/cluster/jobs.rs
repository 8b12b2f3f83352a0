//! The jobs of a cluster: submitted on a thread of their own, and counted at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::stage::Note;
use crate::cli::ask::{AskError, Node};
use crate::cli::client::Client;
use crate::cli::jobs::each_page;
use crate::cli::submit::new_key;
use crate::cli::waiting::pass;
use crate::wire::{self, Address, Body, JobStatus, JobsQuery};

/// Jobs that are sent before their answers are read.
const AT_ONCE: u32 = 500;

/// How long a connection and each answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the disk of a master may take to write the last ends.
const WRITTEN: Duration = Duration::from_secs(5);

/// How long a master that cannot be reached is tried.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Submits so many jobs that sleep, each once: each has a key, so that what is sent twice is one job.
pub(super) fn submit(address: Address, count: u32, job: Duration, tell: Sender<Note>) -> io::Result<()> {
    thread::Builder::new().name("submit".to_owned()).spawn(move || {
        let outcome = submit_all(address, count, job);
        // Nobody may be waiting any more.
        let _ = tell.send(Note::Submitted(outcome));
    })?;
    Ok(())
}

/// How many were accepted; or one sentence.
fn submit_all(address: Address, count: u32, job: Duration) -> Result<u32, String> {
    let mut client = Client::new(address, PATIENCE);
    let key = new_key();
    let (mut accepted, mut troubled) = (0, Instant::now());
    for first in (0..count).step_by(AT_ONCE as usize) {
        let some = first..count.min(first + AT_ONCE);
        loop {
            match batch(&mut client, &key, some.clone(), job) {
                Ok(()) => break,
                Err(error) if troubled.elapsed() >= GIVE_UP => return Err(error),
                Err(_) => {
                    client.hang_up();
                    pass(Duration::from_millis(100));
                }
            }
        }
        accepted += some.end - some.start;
        troubled = Instant::now();
    }
    Ok(accepted)
}

/// Sends some jobs and reads their answers. The error is one sentence.
fn batch(client: &mut Client, key: &str, jobs: std::ops::Range<u32>, job: Duration) -> Result<(), String> {
    let mut lines = String::new();
    for n in jobs.clone() {
        let ms = job.as_millis();
        // Writing to a string does not fail.
        let _ = writeln!(
            lines,
            r#"{{"TASK":"SUBMIT","SERVICE":"sleep","METHOD":"run","PARAMS":{{"ms":{ms}}},"KEY":"{key}-{n}"}}"#
        );
    }
    client.send_bytes(lines.as_bytes()).map_err(|error| error.to_string())?;
    for _ in jobs {
        let answer = client.next_line(Some(Instant::now() + PATIENCE)).map_err(|error| error.to_string())?;
        let answer = answer.ok_or_else(|| format!("{} has hung up", client.address()))?;
        match wire::decode(answer.as_bytes()).map(|message| message.body) {
            Ok(Body::JobAnswer(_)) => {}
            Ok(Body::Error(error)) => return Err(format!("{}: {}", error.code.as_str(), error.detail)),
            _ => return Err(format!("{} answered something else", client.address())),
        }
    }
    Ok(())
}

/// What became of the jobs of a master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Ended OK.
    pub(super) ok: u64,
    /// Not, and will not.
    pub(super) failed: u64,
    /// Still wait or run.
    pub(super) open: u64,
    /// Of those that ended OK, how many each worker did, by its id.
    pub(super) by: BTreeMap<String, u64>,
}

/// Counts them all, one by one. `ended`: all have, by the counts of their master. They are listed so once that is written to its disk.
pub(super) fn settled_tally(address: &Address, ended: bool) -> Result<Tally, AskError> {
    let until = Instant::now() + WRITTEN;
    loop {
        let tally = tally(address.clone())?;
        if tally.open == 0 || !ended || Instant::now() >= until {
            return Ok(tally);
        }
        pass(Duration::from_millis(50));
    }
}

/// Counts them all, one by one.
fn tally(address: Address) -> Result<Tally, AskError> {
    let mut tally = Tally::default();
    let mut node = Node::new(address, PATIENCE);
    each_page::<AskError>(&mut node, JobsQuery::default(), &mut |_, _, page| {
        for job in page.jobs.iter().flatten() {
            match job.status {
                JobStatus::Ok => {
                    tally.ok += 1;
                    if let Some(worker) = &job.worker {
                        *tally.by.entry(worker.to_string()).or_default() += 1;
                    }
                }
                status if status.is_ended() => tally.failed += 1,
                _ => tally.open += 1,
            }
        }
        Ok(())
    })?;
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::tests::peer;
    use std::collections::BTreeSet;
    use std::io::{BufRead, Write};
    use std::sync::{Arc, Mutex};

    #[test]
    fn who_is_said_to_have_ended_is_counted_once_that_is_written() {
        let mut asked = 0;
        let address = peer(move |mut stream| {
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap_or(0) > 0 {
                asked += 1;
                line.clear();
                let status = if asked < 3 { "RUNNING" } else { "OK" };
                let answer = format!(
                    r#"{{"TASK":"JOBS","RESPONSE":"OK","DELAYED":0,"QUEUED":0,"RUNNING":0,"OK":1,"NOK":0,"CANCELLED":0,"BURIED":0,"BYTES":0,"MAX_JOBS":9,"MAX_BYTES":9,"DURABILITY":"fsync","JOBS":[{{"JOB_ID":"a-1-1","STATUS":"{status}","ATTEMPT":1,"PRIORITY":0,"AGE_MS":1,"SERVICE":"sleep","METHOD":"run"}}],"MORE":false}}"#
                );
                stream.get_mut().write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
        });
        assert_eq!(settled_tally(&address, false).map(|tally| (tally.ok, tally.open)).ok(), Some((0, 1)));
        assert_eq!(settled_tally(&address, true).map(|tally| (tally.ok, tally.open)).ok(), Some((1, 0)));
    }

    #[test]
    fn what_was_lost_on_its_way_is_sent_again_under_the_same_keys() {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let keys = Arc::clone(&seen);
        let mut calls = 0;
        let address = peer(move |mut stream| {
            calls += 1;
            let mut line = String::new();
            // The first connection breaks after two answers.
            for answered in 0.. {
                line.clear();
                if stream.read_line(&mut line).unwrap() == 0 || (calls == 1 && answered == 2) {
                    return;
                }
                let value: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(value["PARAMS"]["ms"], 50);
                keys.lock().unwrap().push(value["KEY"].as_str().unwrap().to_owned());
                let answer = "{\"TASK\":\"SUBMIT\",\"RESPONSE\":\"OK\",\"JOB_ID\":\"a-1-1\",\"STATUS\":\"QUEUED\",\"ATTEMPT\":0}\n";
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(submit_all(address, 5, Duration::from_millis(50)), Ok(5));
        let keys = seen.lock().unwrap();
        assert_eq!((keys.len(), keys.iter().collect::<BTreeSet<_>>().len()), (7, 5));
    }
}
