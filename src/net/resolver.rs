//! Looks up names on threads of its own, because the operating system's look-up blocks.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::limits::{ADDRESSES_PER_NAME, RESOLVER_THREADS};
use super::mailbox::{Note, Post};

/// The loop's end of the look-up threads. They start when there is something to look up and end when it is dropped.
pub(super) struct Resolver {
    post: Post,
    /// Bounded by its user, who asks for one name once at a time.
    names: Sender<String>,
    queue: Receiver<String>,
    threads: usize,
}

impl Resolver {
    /// Answers go to `post`.
    pub(super) fn new(post: Post) -> Resolver {
        let (names, queue) = unbounded();
        Resolver { post, names, queue, threads: 0 }
    }

    /// Asks for the addresses of a name; they come as [`Note::Resolved`]. `others` is how many names are being
    /// looked up already.
    pub(super) fn resolve(&mut self, name: &str, others: usize) -> io::Result<()> {
        if self.threads < RESOLVER_THREADS && others >= self.threads {
            let (queue, post) = (self.queue.clone(), self.post.clone());
            let spawned = thread::Builder::new().name("resolver".into()).stack_size(512 * 1024).spawn(move || {
                for name in queue {
                    let found = look_up(&name);
                    post.send(Note::Resolved { name, found });
                }
            });
            match spawned {
                Ok(_) => self.threads += 1,
                // Fewer threads than wished for still look names up, if there is one.
                Err(error) if self.threads == 0 => return Err(error),
                Err(error) => log::debug!(target: super::LOG, "no further look-up thread: {error}"),
            }
        }
        self.names.send(name.to_owned()).map_err(|_| io::Error::other("look-up threads are gone"))
    }
}

/// The addresses of a name in the order in which the operating system would try them.
pub(super) fn look_up(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = (name, 0).to_socket_addrs().map_err(|error| format!("name {name} unknown: {error}"))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|socket| socket.ip()) {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_PER_NAME {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(format!("name {name} has no address")) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use mio::{Events, Poll, Token};

    use super::*;
    use crate::net::mailbox::Mailbox;

    #[test]
    fn names_are_answered_whether_they_exist_or_not() {
        let mut poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(0)).unwrap();
        let mut resolver = Resolver::new(mailbox.post.clone());
        resolver.resolve("localhost", 0).unwrap();
        // RFC 6761: names under `invalid` never exist.
        resolver.resolve("nobody.invalid", 1).unwrap();
        let mut answers = BTreeMap::new();
        let mut events = Events::with_capacity(1);
        let give_up = Instant::now() + Duration::from_secs(60);
        while answers.len() < 2 {
            assert!(Instant::now() < give_up, "only {answers:?} came");
            poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
            while let Some(Note::Resolved { name, found }) = mailbox.take() {
                answers.insert(name, found);
            }
        }
        let local = answers["localhost"].as_ref().unwrap();
        assert!(!local.is_empty() && local.iter().all(IpAddr::is_loopback), "{local:?}");
        assert!(answers["nobody.invalid"].as_ref().unwrap_err().contains("nobody.invalid"));
    }
}
