//! The registry: the table of peers, and how they come to be in it.
//!
//! Peers are configured, or learnt from their own heartbeats. A row is a place that this node calls; who answers
//! there is found out. Rows never outlive their meaning: a place where another id answers has the new id alone, and
//! an id that was learnt at one place and answers at a configured one is shown there alone. So there are no ghosts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::group::{Sight, View};
use super::heartbeat::{Heartbeat, Step};
use super::loans;
use super::peer::Peer;
use super::rng::Rng;
use super::{Config, LinkId, LogLevel};
use crate::time::{Seconds, Time, micros};
use crate::wire::{
    Address, EventKind, HeartbeatAnswer, Host, Learnt, NodeEntry, Permille, Presence, Role, Score, ServerId, Status,
};

/// Peers that are learnt at most. Anyone who can connect can be learnt; the configured ones always have a place.
pub(super) const MAX_LEARNT: usize = 1024;

/// Peers that are learnt at most from one host, so that one that makes ids up leaves places for the others. A class
/// on one machine fits.
pub(super) const MAX_LEARNT_PER_HOST: usize = 256;

/// A peer that answered with this node's own id is asked again after this: another program may have taken its place.
const SELF_AGAIN: Duration = Duration::from_secs(60);

/// The CPU of a stranger, which does not say it: neither better nor worse than a native one that is half busy.
const UNKNOWN_CPU: u64 = 500;

/// What the registry wants done. The node carries it out or hands it on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Open a connection.
    Open { link: LinkId, address: Address, within: Duration },
    /// Send a heartbeat.
    Ask { link: LinkId, sequence: u64 },
    /// Close a connection.
    Close { link: LinkId },
    /// Tell everybody.
    Event { kind: EventKind, server_id: Option<ServerId>, address: Address, detail: String },
    /// Log it.
    Log { level: LogLevel, text: String },
}

/// A native master that could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour<'a> {
    /// The registry's link to it.
    pub(super) link: LinkId,
    /// Its score seen from here.
    pub(super) score: Score,
    /// Where this node calls it.
    pub(super) address: &'a Address,
    /// What it said of itself last.
    pub(super) presence: &'a Presence,
}

/// A row of the table. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u64);

/// The table of peers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Registry {
    own_id: ServerId,
    interval: Duration,
    timeout: Duration,
    forget: Duration,
    peers: BTreeMap<Key, Peer>,
    /// When which row is due. Holds each row once, at its `armed` time.
    agenda: BTreeSet<(Time, Key)>,
    by_link: BTreeMap<LinkId, Key>,
    next_key: u64,
    next_link: u64,
    rng: Rng,
    effects: VecDeque<Effect>,
    /// The group finds out whether who answers with this node's own id is this node.
    asks_doubles: bool,
}

impl Registry {
    pub(super) fn new(config: &Config, own_id: ServerId, seed: u64, now: Time) -> Registry {
        let mut registry = Registry {
            own_id,
            interval: config.interval,
            timeout: config.timeout,
            forget: config.forget,
            peers: BTreeMap::new(),
            agenda: BTreeSet::new(),
            by_link: BTreeMap::new(),
            next_key: 0,
            next_link: 0,
            rng: Rng::new(seed),
            effects: VecDeque::new(),
            asks_doubles: false,
        };
        let once: BTreeSet<&Address> = config.peers.iter().collect();
        for address in once {
            registry.insert(address.clone(), Learnt::Configured, now);
        }
        registry
    }

    /// When [`Registry::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.agenda.first().map(|(due, _)| *due).filter(|due| *due < Time::FAR)
    }

    /// Does what is due: raises TIMEOUT, forgets, asks, calls.
    pub(super) fn tick(&mut self, now: Time) {
        while let Some(&(due, key)) = self.agenda.first() {
            if due > now {
                break;
            }
            self.tick_row(key, now);
            self.rearm(key);
            debug_assert!(self.peers.get(&key).is_none_or(|peer| peer.armed > now), "a row that was served is not due");
        }
    }

    fn tick_row(&mut self, key: Key, now: Time) {
        let (timeout, forget) = (self.timeout, self.forget);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.timeout_due(timeout) <= now {
            peer.lost(Status::Timeout, now);
            let detail = format!("no answer for {} s", Seconds(now.since(peer.silent)));
            let (server_id, address) = (peer.server_id.clone(), peer.address.clone());
            // What is still under way on the old connection would come too late; a fresh one may be sound.
            let stale = peer.beat.redial(now);
            self.effects.push_back(Effect::Event { kind: EventKind::PeerTimeout, server_id, address, detail });
            self.hang_up(stale);
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.forget_due(forget) <= now {
            let detail = format!("gone for {} s", Seconds(forget));
            return self.remove(key, EventKind::PeerForgotten, detail);
        }
        while let Some(peer) = self.peers.get_mut(&key) {
            match peer.beat.tick(now, &mut self.rng) {
                None => break,
                Some(Step::Ask { link, sequence }) => {
                    // It was reached: what went wrong before is over.
                    peer.trouble = None;
                    self.effects.push_back(Effect::Ask { link, sequence });
                }
                Some(Step::HangUp { link }) => {
                    peer.trouble.get_or_insert_with(|| "it took the connection and did not answer".to_owned());
                    self.hang_up(Some(link));
                }
                Some(Step::Dial { within }) => {
                    let link = LinkId::of_registry(self.next_link);
                    self.next_link += 1;
                    peer.beat.dialling(link);
                    self.by_link.insert(link, key);
                    self.effects.push_back(Effect::Open { link, address: peer.address.clone(), within });
                }
            }
        }
    }

    /// A connection that was asked for stands.
    pub(super) fn opened(&mut self, link: LinkId, now: Time) {
        self.on_link(link, |peer, _| peer.beat.opened(now));
        self.tick(now);
    }

    /// A connection that was asked for could not be made.
    pub(super) fn refused(&mut self, link: LinkId, reason: String, now: Time) {
        self.on_link(link, |peer, rng| {
            peer.beat.refused(now, rng);
            peer.trouble = Some(reason);
        });
        self.by_link.remove(&link);
    }

    /// A connection to a peer is gone.
    pub(super) fn closed(&mut self, link: LinkId, reason: String, now: Time) {
        self.on_link(link, |peer, rng| {
            if peer.beat.closed(now, rng) {
                peer.trouble.get_or_insert_with(|| format!("it took the connection and did not answer: {reason}"));
            }
        });
        self.by_link.remove(&link);
    }

    /// The peer refused the heartbeat: it does not speak this protocol, or not this form of it.
    pub(super) fn rejected(&mut self, link: LinkId, reason: String, now: Time) {
        let stale = self.on_link(link, |peer, rng| {
            peer.trouble = Some(reason);
            peer.beat.rejected(now, rng)
        });
        self.hang_up(stale.flatten());
    }

    /// The peer said something that is no answer: people shall see what it was.
    pub(super) fn stray(&mut self, link: LinkId, line: &str) {
        self.on_link(link, |peer, _| {
            peer.trouble = Some(format!("it answered `{line}`; expected RESPONSE ALIVE with SERVER_ID or SERVER_UUID"));
        });
    }

    /// A heartbeat was answered. `echo` is the ID of the answer; foreign peers send none.
    pub(super) fn answered(&mut self, link: LinkId, echo: Option<&str>, answer: HeartbeatAnswer, now: Time) {
        let Some(&key) = self.by_link.get(&link) else { return };
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let Some(rtt) = peer.beat.answered(echo, now) else { return };
        let HeartbeatAnswer { server_id, presence } = answer;
        let address = peer.address.clone();
        if server_id == self.own_id {
            let news = !std::mem::replace(&mut peer.is_self, true);
            (peer.server_id, peer.presence, peer.seen, peer.status) = (None, None, None, Status::Unknown);
            let asked = self.asks_doubles && presence.is_some_and(|presence| presence.role == Role::Master);
            if !asked {
                // Another program may take its place one day.
                let stale = peer.beat.rest(now + SELF_AGAIN);
                self.hang_up(stale);
            }
            self.rearm(key);
            if !news {
                return;
            }
            let text = format!(
                "peer {address} answers with the id of this node: it is this node itself, or runs on a copy of its state; \
                 it is left out"
            );
            return self.effects.push_back(Effect::Log { level: LogLevel::Warn, text });
        }
        peer.is_self = false;
        let replaced = peer.server_id.replace(server_id.clone()).filter(|old| *old != server_id);
        if replaced.is_some() || presence.is_some() {
            peer.presence = presence;
        }
        let back = peer.answered(rtt, now);
        if let Some(old) = replaced {
            let detail = format!("was {old}");
            let (server_id, address) = (Some(server_id.clone()), address.clone());
            self.effects.push_back(Effect::Event { kind: EventKind::PeerReplaced, server_id, address, detail });
        }
        if back {
            let detail = format!("answered in {}.{:03} ms", micros(rtt) / 1000, micros(rtt) % 1000);
            let server_id = Some(server_id.clone());
            self.effects.push_back(Effect::Event { kind: EventKind::PeerAlive, server_id, address, detail });
        }
        self.rearm(key);
        self.merge(key, &server_id);
        // A late answer makes the next request due at once.
        self.tick(now);
    }

    /// From now on links to who answers with this node's own id stay open, until [`Registry::is_self`] says that it is this node.
    pub(super) fn ask_doubles(&mut self) {
        self.asks_doubles = true;
    }

    /// This link leads back to this node.
    pub(super) fn is_self(&mut self, link: LinkId, now: Time) {
        let stale = self.on_link(link, |peer, _| if peer.is_self { peer.beat.rest(now + SELF_AGAIN) } else { None });
        self.hang_up(stale.flatten());
    }

    /// A native node said on an accepted link who it is: it is known already, or learnt. Its address counts only if
    /// it is the connection's own or a configured one; else the connection's own with the port that it names.
    pub(super) fn heard(&mut self, presence: &Presence, remote: SocketAddr, now: Time) {
        // Workers call their master; a master does not call its workers back.
        if presence.server_id == self.own_id || presence.role == Role::Worker {
            return;
        }
        let called = self.callable(&presence.address, remote);
        let by_id = self.find(|peer| peer.server_id.as_ref() == Some(&presence.server_id));
        let Some(key) = by_id.or_else(|| self.find(|peer| peer.address == called)) else {
            return self.learn(presence, called, now);
        };
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if peer.is_self {
            return;
        }
        if peer.server_id.as_ref() == Some(&presence.server_id) {
            peer.presence = Some(Box::new(presence.clone()));
        }
        if peer.status != Status::Alive {
            if peer.learnt == Learnt::Heartbeat && peer.address != called && peer.beat.link().is_none() {
                peer.address = called;
            }
            peer.beat.nudge(now);
        }
        self.rearm(key);
        self.tick(now);
    }

    /// The native node with this id said goodbye.
    pub(super) fn left(&mut self, server_id: &ServerId, now: Time) {
        let keys: Vec<Key> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.server_id.as_ref() == Some(server_id))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let interval = self.interval;
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            if peer.status == Status::Left {
                continue;
            }
            peer.lost(Status::Left, now);
            peer.trouble = None;
            // A configured peer may be started again at any time; one that was learnt calls by itself then.
            let due = if peer.learnt == Learnt::Configured { now + interval } else { Time::FAR };
            let stale = peer.beat.rest(due);
            let (server_id, address) = (peer.server_id.clone(), peer.address.clone());
            let detail = "said goodbye".to_owned();
            self.effects.push_back(Effect::Event { kind: EventKind::PeerLeft, server_id, address, detail });
            self.hang_up(stale);
            self.rearm(key);
        }
    }

    /// This process did not run for `lost`: nobody's silence is counted over that time.
    pub(super) fn excuse(&mut self, lost: Duration, now: Time) {
        let keys: Vec<Key> = self.peers.keys().copied().collect();
        for key in keys {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.silent = (peer.silent + lost).min(now);
                peer.beat.excuse(lost);
            }
            self.rearm(key);
        }
    }

    /// The id of the peer to whom this link leads, if it is one of the registry's own and has answered.
    pub(super) fn peer_of(&self, link: LinkId) -> Option<&ServerId> {
        self.peers.get(self.by_link.get(&link)?)?.server_id.as_ref()
    }

    /// Whether this link is one of the registry's own.
    pub(super) fn peer_of_link(&self, link: LinkId) -> bool {
        self.by_link.contains_key(&link)
    }

    /// The links to native peers that stand.
    pub(super) fn native_links(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.peers.values().filter(|peer| peer.presence.is_some()).filter_map(|peer| peer.beat.open_link())
    }

    /// Calls this place from now on, as a configured one: a worker watches its master.
    pub(super) fn watch(&mut self, address: &Address, now: Time) {
        match self.find(|peer| peer.address == *address) {
            Some(key) => {
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.learnt = Learnt::Configured;
                    peer.beat.nudge(now);
                }
                self.rearm(key);
            }
            None => {
                self.insert(address.clone(), Learnt::Configured, now);
            }
        }
        self.tick(now);
    }

    /// Calls this place no more.
    pub(super) fn unwatch(&mut self, address: &Address) {
        if let Some(key) = self.find(|peer| peer.address == *address) {
            self.drop_row(key);
        }
    }

    /// The native masters that are ALIVE and have an open link, best score first.
    pub(super) fn masters(&self) -> Vec<Neighbour<'_>> {
        let neighbour = |peer: &'_ Peer| {
            let presence = peer.presence.as_deref()?;
            let fits = peer.status == Status::Alive && !peer.is_self && presence.role == Role::Master;
            let link = peer.beat.open_link().filter(|_| fits)?;
            let score = Score::of(presence.load.cpu, Duration::from_micros(peer.rtt_us?));
            Some((score, link))
        };
        let mut found: Vec<Neighbour<'_>> = (self.peers.values())
            .filter_map(|peer| {
                let (score, link) = neighbour(peer)?;
                let presence = peer.presence.as_deref()?;
                Some(Neighbour { link, score, address: &peer.address, presence })
            })
            .collect();
        found.sort_by_key(|neighbour| (neighbour.score, neighbour.link));
        found.dedup_by(|one, other| one.presence.server_id == other.presence.server_id);
        found
    }

    /// The native masters as their group sees them, each id once, and how many configured peers have not answered.
    pub(super) fn masters_seen(&self) -> View {
        let mut masters: BTreeMap<&ServerId, Sight> = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| !peer.is_self) {
            let (Some(server_id), Some(presence)) = (&peer.server_id, &peer.presence) else { continue };
            if presence.role != Role::Master {
                continue;
            }
            let sight = Sight {
                server_id: server_id.clone(),
                name: presence.name.clone(),
                address: peer.address.clone(),
                link: peer.beat.open_link().filter(|_| peer.status == Status::Alive),
                alive: peer.status == Status::Alive,
                group: presence.group.clone(),
                presence: presence.group_presence.clone(),
                load: (presence.load.pending, presence.load.workers),
            };
            // Of several places of one node the one that is ALIVE and has a link.
            match masters.get(server_id) {
                Some(known) if (known.alive, known.link.is_some()) >= (sight.alive, sight.link.is_some()) => {}
                _ => {
                    masters.insert(server_id, sight);
                }
            }
        }
        let configured = || self.peers.values().filter(|peer| peer.learnt == Learnt::Configured && !peer.is_self);
        let doubles = self.peers.values().filter(|peer| peer.is_self);
        View {
            masters: masters.into_values().collect(),
            doubles: doubles.filter_map(|peer| peer.beat.open_link()).collect(),
            unanswered: configured().filter(|peer| peer.seen.is_none()).count(),
            configured: configured().count(),
            own_load: (0, 0),
        }
    }

    /// How a master stands that has this id, for how long it has been silent, and where it is called; of several places the one that is
    /// best. `None`: nothing is known of it.
    pub(super) fn standing_of(&self, server_id: &ServerId, now: Time) -> Option<(Status, Duration, Address)> {
        let here = self.peers.values().filter(|peer| !peer.is_self && peer.server_id.as_ref() == Some(server_id));
        let best = here.min_by_key(|peer| (peer.status != Status::Alive, now.since(peer.silent)))?;
        let silent = if best.status == Status::Alive { Duration::ZERO } else { now.since(best.gone) };
        Some((best.status, silent, best.address.clone()))
    }

    /// The native link to this peer, where one stands.
    pub(super) fn native_link_to(&self, server_id: &ServerId) -> Option<LinkId> {
        let its =
            self.peers.values().filter(|peer| peer.presence.is_some() && peer.server_id.as_ref() == Some(server_id));
        its.filter(|peer| peer.status == Status::Alive).find_map(|peer| peer.beat.open_link())
    }

    /// The registry's own link to this peer, where one stands.
    pub(super) fn link_to(&self, server_id: &ServerId) -> Option<LinkId> {
        let its = self.peers.values().filter(|peer| peer.server_id.as_ref() == Some(server_id));
        its.into_iter().find_map(|peer| peer.beat.open_link())
    }

    /// The other masters that are known, native ones and strangers, each id once. `member` says whether it has told a group of its own.
    pub(super) fn neighbours(&self) -> Vec<loans::Neighbour> {
        let mut found: BTreeMap<&ServerId, loans::Neighbour> = BTreeMap::new();
        for peer in self.peers.values().filter(|peer| !peer.is_self) {
            let Some(server_id) = &peer.server_id else { continue };
            let presence = peer.presence.as_deref();
            // Strangers are called because somebody has configured them: nobody configures a worker as a peer.
            if presence.is_some_and(|presence| presence.role != Role::Master) {
                continue;
            }
            let rtt = Duration::from_micros(peer.rtt_us.unwrap_or_default());
            let cpu = presence.map_or(Permille::new(UNKNOWN_CPU), |presence| presence.load.cpu);
            let neighbour = loans::Neighbour {
                peer: server_id.clone(),
                name: presence.map_or_else(|| server_id.as_str().to_owned(), |presence| presence.name.clone()),
                address: peer.address.clone(),
                link: presence.and_then(|_| peer.beat.open_link()),
                native: presence.is_some(),
                alive: peer.status == Status::Alive,
                saturated: presence.is_some_and(|presence| presence.load.saturated),
                score: Score::of(cpu, rtt).0,
                member: presence.is_some_and(|presence| presence.group_presence.group_id.is_some()),
                services: presence
                    .map(|presence| presence.services.iter().map(|offer| offer.name.clone()).collect())
                    .unwrap_or_default(),
                asks_back: false,
            };
            match found.get(server_id) {
                Some(known) if (known.alive, known.link.is_some()) >= (neighbour.alive, neighbour.link.is_some()) => {}
                _ => {
                    found.insert(server_id, neighbour);
                }
            }
        }
        found.into_values().collect()
    }

    /// What this node says of itself has changed: every peer to which a connection stands is told soon.
    pub(super) fn hurry(&mut self, now: Time) {
        let keys: Vec<Key> = self.by_link.values().copied().collect();
        for key in keys {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.beat.hurry(now);
            }
            self.rearm(key);
        }
        self.tick(now);
    }

    /// Whether something is to be done.
    pub(super) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// What is to be done, until `None`.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The rows as they are shown, in the order of their keys, each id once: where two configured places lead to one
    /// node, the one that answers, or answered last.
    pub(super) fn view(&self, now: Time) -> Vec<NodeEntry> {
        let mut shown: BTreeMap<String, &Peer> = BTreeMap::new();
        let rank = |peer: &Peer| (peer.status == Status::Alive, peer.seen, peer.learnt == Learnt::Configured);
        for peer in self.peers.values().filter(|peer| !peer.is_self) {
            let best = shown.entry(peer.key()).or_insert(peer);
            if rank(peer) > rank(best) {
                *best = peer;
            }
        }
        shown.into_values().map(|peer| peer.view(self.timeout, now)).collect()
    }

    /// Panics if the table contradicts itself.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.agenda.len(), self.peers.len(), "each row is on the agenda once");
        let mut links = 0;
        for (key, peer) in &self.peers {
            assert!(self.agenda.contains(&(peer.armed, *key)), "{key:?} is on the agenda at its time");
            assert_eq!(peer.armed, self.due(peer), "{key:?} is armed for what is due");
            assert!(peer.seen.is_none_or(|seen| seen <= peer.silent), "silence begins with the last answer or later");
            assert!((peer.status == Status::Unknown) <= peer.seen.is_none(), "UNKNOWN has never answered");
            assert!((peer.status == Status::Alive) <= peer.server_id.is_some(), "ALIVE has an id");
            if let Some(link) = peer.beat.link() {
                links += 1;
                assert!(link.is_outbound());
                assert_eq!(self.by_link.get(&link), Some(key), "{key:?} owns its link");
            }
        }
        assert_eq!(links, self.by_link.len(), "each link belongs to a row");
    }

    fn learn(&mut self, presence: &Presence, called: Address, now: Time) {
        let learnt = || self.peers.values().filter(|peer| peer.learnt == Learnt::Heartbeat);
        let from_host = learnt().filter(|peer| peer.address.host == called.host).count();
        if learnt().count() >= MAX_LEARNT || from_host >= MAX_LEARNT_PER_HOST {
            let text = format!("{} at {called} is not learnt: too many others are", presence.server_id);
            return self.effects.push_back(Effect::Log { level: LogLevel::Debug, text });
        }
        let detail = format!("{} called from {called}", presence.name);
        self.effects.push_back(Effect::Event {
            kind: EventKind::PeerLearnt,
            server_id: Some(presence.server_id.clone()),
            address: called.clone(),
            detail,
        });
        let key = self.insert(called, Learnt::Heartbeat, now);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.server_id = Some(presence.server_id.clone());
            peer.presence = Some(Box::new(presence.clone()));
        }
        self.tick(now);
    }

    fn callable(&self, said: &Address, remote: SocketAddr) -> Address {
        // All loopback addresses are this machine: one may call from ::1 and listen on 127.0.0.1.
        let looped = |host: &Host| matches!(host, Host::Ip(ip) if ip.is_loopback());
        if remote.ip().to_canonical().is_loopback() && looped(&said.host) {
            return said.clone();
        }
        let own = Address { host: Host::Ip(remote.ip().to_canonical()), port: said.port };
        let configured = || self.find(|peer| peer.learnt == Learnt::Configured && peer.address == *said).is_some();
        if own != *said && configured() { said.clone() } else { own }
    }

    fn insert(&mut self, address: Address, learnt: Learnt, now: Time) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        let beat = Heartbeat::new(self.interval, self.timeout, now);
        self.peers.insert(key, Peer::new(address, learnt, beat, now));
        self.agenda.insert((Time::FAR, key));
        self.rearm(key);
        key
    }

    /// After `key` answered as `server_id`: rows that were learnt and mean the same node go.
    fn merge(&mut self, key: Key, server_id: &ServerId) {
        let Some(peer) = self.peers.get(&key) else { return };
        let learnt = peer.learnt;
        let same = |(other, peer): (&Key, &Peer)| {
            let same = *other != key && peer.server_id.as_ref() == Some(server_id);
            same.then_some((*other, peer.learnt, peer.status))
        };
        let others: Vec<_> = self.peers.iter().filter_map(same).collect();
        for (other, other_learnt, status) in others {
            if other_learnt == Learnt::Heartbeat {
                self.drop_row(other);
            } else if learnt == Learnt::Heartbeat && status == Status::Alive {
                self.drop_row(key);
                return;
            }
        }
    }

    fn remove(&mut self, key: Key, kind: EventKind, detail: String) {
        if let Some(peer) = self.peers.get(&key) {
            let (server_id, address) = (peer.server_id.clone(), peer.address.clone());
            self.effects.push_back(Effect::Event { kind, server_id, address, detail });
        }
        self.drop_row(key);
    }

    fn drop_row(&mut self, key: Key) {
        if let Some(mut peer) = self.peers.remove(&key) {
            self.agenda.remove(&(peer.armed, key));
            let stale = peer.beat.rest(Time::FAR);
            self.hang_up(stale);
        }
    }

    fn hang_up(&mut self, link: Option<LinkId>) {
        if let Some(link) = link {
            self.by_link.remove(&link);
            self.effects.push_back(Effect::Close { link });
        }
    }

    fn on_link<T>(&mut self, link: LinkId, act: impl FnOnce(&mut Peer, &mut Rng) -> T) -> Option<T> {
        let key = *self.by_link.get(&link)?;
        let done = self.peers.get_mut(&key).map(|peer| act(peer, &mut self.rng));
        self.rearm(key);
        done
    }

    fn find(&self, wanted: impl Fn(&Peer) -> bool) -> Option<Key> {
        self.peers.iter().find(|(_, peer)| wanted(peer)).map(|(key, _)| *key)
    }

    fn due(&self, peer: &Peer) -> Time {
        peer.timeout_due(self.timeout).min(peer.forget_due(self.forget)).min(peer.beat.deadline())
    }

    fn rearm(&mut self, key: Key) {
        let Some(due) = self.peers.get(&key).map(|peer| self.due(peer)) else { return };
        if let Some(peer) = self.peers.get_mut(&key) {
            self.agenda.remove(&(peer.armed, key));
            peer.armed = due;
            self.agenda.insert((due, key));
        }
    }
}
