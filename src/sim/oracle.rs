//! What each registry ought to say, reckoned from what was sent and what came; and the laws that are checked.
//!
//! 1. A peer whose last answer is younger than the timeout is ALIVE; one that has been silent for longer is TIMEOUT,
//!    and becomes so at last answer + timeout, to the tick (a tick is a microsecond of a clock that keeps time).
//! 2. Ids are stable: the id under which a machine stands is the one that it answered with last.
//! 3. No ghosts: an id stands once; a configured place stands once; nothing stands that nobody is.
//! 4. Time in which a process does not run is nobody's silence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::host::{Noted, host_at};
use super::network::Host;
use crate::core::LinkId;
use crate::time::Time;
use crate::wire::{EventKind, Learnt, NodeEntry, Status};

/// What one node ought to think of one machine that it calls.
#[derive(Clone, Debug, Default)]
struct Belief {
    seen: Option<Time>,
    id: Option<String>,
    left: bool,
    /// How long this process was paused since the last answer.
    paused: Duration,
    /// How much of that the node can prove by the deadlines that it missed.
    provable: Duration,
}

/// What one node ought to think.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    timeout: Duration,
    interval: Duration,
    /// How far the simulated clock may miss a deadline: its own rounding.
    tick: Duration,
    configured: BTreeSet<Host>,
    beliefs: BTreeMap<Host, Belief>,
    asked: BTreeMap<LinkId, Host>,
    /// Ids that said goodbye at some time.
    goodbyes: BTreeSet<String>,
    /// TIMEOUT events that were lawful.
    pub(super) timeouts: u64,
}

impl Oracle {
    pub(super) fn new(timeout: Duration, interval: Duration, tick: Duration, configured: BTreeSet<Host>) -> Oracle {
        let (beliefs, asked, goodbyes) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Oracle { timeout, interval, tick, configured, beliefs, asked, goodbyes, timeouts: 0 }
    }

    /// This process did not run for `lost`.
    pub(super) fn paused(&mut self, lost: Duration) {
        // A pause shows from the first missed deadline on, which is at most an interval after it began; and less
        // than an interval of lateness passes for a busy machine.
        let provable = lost.saturating_sub(self.interval * 2);
        for belief in self.beliefs.values_mut() {
            belief.paused += lost;
            belief.provable += provable;
        }
    }

    /// Takes what a step showed. `now` is the node's own clock.
    pub(super) fn note(&mut self, noted: Noted, now: Time) -> Result<(), String> {
        match noted {
            Noted::Asked { link, server } => {
                if self.asked.insert(link, server).is_some() {
                    return Err(format!("a second heartbeat was sent to {server} before the first was answered"));
                }
            }
            Noted::Gone { link } => {
                self.asked.remove(&link);
            }
            Noted::Answered { link, server, id } => {
                if self.asked.remove(&link).is_some() {
                    let belief = Belief { seen: Some(now), id: Some(id), ..Belief::default() };
                    self.beliefs.insert(server, belief);
                }
            }
            Noted::Goodbye { id } => {
                for belief in self.beliefs.values_mut().filter(|belief| belief.id.as_ref() == Some(&id)) {
                    belief.left = true;
                }
                self.goodbyes.insert(id);
            }
            Noted::Event(event) if event.kind == EventKind::PeerTimeout => {
                let server = event.address.as_ref().map(host_at).ok_or("a TIMEOUT event without address")?;
                let belief = self.beliefs.get(&server).ok_or("a TIMEOUT event of a peer that never answered")?;
                let silent = now.since(belief.seen.ok_or("a TIMEOUT event of a peer that never answered")?);
                let (early, late) = self.bounds(belief);
                if silent < early || silent > late {
                    return Err(format!("TIMEOUT of {server} after {silent:?}, lawful is {early:?} to {late:?}"));
                }
                self.timeouts += 1;
            }
            Noted::Ordered { attempt, worker } => {
                return Err(format!("{worker} was sent {attempt:?}, and nobody submitted anything"));
            }
            Noted::Event(_) => {}
        }
        Ok(())
    }

    /// When silence may, and when it must, have become TIMEOUT.
    fn bounds(&self, belief: &Belief) -> (Duration, Duration) {
        (self.timeout + belief.provable, self.timeout + belief.paused + self.tick)
    }

    /// Compares a registry with what it ought to be.
    pub(super) fn check(&self, registry: &[NodeEntry], now: Time) -> Result<(), String> {
        let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
        for entry in registry {
            if let Some(id) = &entry.server_id
                && !ids.insert(id.clone())
            {
                return Err(format!("ghost: the id {id} stands twice"));
            }
            if !places.insert(entry.address.clone()) {
                return Err(format!("ghost: {} stands twice", entry.address));
            }
            self.check_entry(entry, now)?;
        }
        for host in &self.configured {
            if !registry.iter().any(|entry| host_at(&entry.address) == *host) {
                return Err(format!("the configured peer {host} is missing"));
            }
        }
        Ok(())
    }

    fn check_entry(&self, entry: &NodeEntry, now: Time) -> Result<(), String> {
        let host = host_at(&entry.address);
        if (entry.learnt == Learnt::Configured) != self.configured.contains(&host) {
            return Err(format!("{host} is said to be {}", entry.learnt.as_str()));
        }
        let Some(belief) = self.beliefs.get(&host) else {
            let parted = entry.server_id.as_ref().is_some_and(|id| self.goodbyes.contains(id.as_str()));
            return match entry.status {
                Status::Unknown => Ok(()),
                // Learnt from its call, and gone before it could be called back.
                Status::Left if parted => Ok(()),
                status => Err(format!("{host} never answered and is {}", status.as_str())),
            };
        };
        // A learnt row may be forgotten and learnt again: it is new then, and has never answered.
        if entry.status == Status::Unknown && entry.learnt == Learnt::Heartbeat {
            return Ok(());
        }
        let shown = entry.server_id.as_ref().map(|id| id.as_str().to_owned());
        if shown != belief.id {
            return Err(format!("{host} answered as {:?} and stands as {shown:?}", belief.id));
        }
        let silent = belief.seen.map(|seen| now.since(seen)).unwrap_or_default();
        let (early, late) = self.bounds(belief);
        let lawful: &[Status] = match belief.left {
            true => &[Status::Left],
            false if silent < early => &[Status::Alive],
            false if silent > late => &[Status::Timeout],
            false => &[Status::Alive, Status::Timeout],
        };
        if lawful.contains(&entry.status) {
            return Ok(());
        }
        Err(format!("{host} is {} after {silent:?} of silence, lawful is {lawful:?}", entry.status.as_str()))
    }
}
