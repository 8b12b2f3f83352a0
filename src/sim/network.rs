//! The virtual network: connections that are what TCP is, and datagrams that are what UDP is.
//!
//! Bytes of a connection arrive in order or not at all. A cut delays them until it heals and the sender has repeated
//! them. A connection that breaks loses a suffix of what was under way, each direction its own. A machine that is gone
//! resets the connections of the others, unless a cut swallows the reset: then they are half-open until they send. A
//! connection may die silently, as where a router forgets it: nothing arrives on it any more, and nobody is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::plan::{Dice, Plan};
use crate::time::Time;

/// A machine of the world.
pub(super) type Host = usize;

/// A connection of the world; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Conn(pub(super) u64);

/// When a SYN is repeated, counted from the first.
const SYN_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// How long after a heal the sender repeats at the latest what was not acknowledged.
const REPEAT_WITHIN: Duration = Duration::from_secs(2);

/// What the network brings to a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Arrival {
    /// A connection that the host asked for stands.
    Connected { conn: Conn },
    /// A connection that the host asked for could not be made.
    Refused { conn: Conn, reason: &'static str },
    /// Somebody connected.
    Accepted { conn: Conn, from: Host },
    /// Bytes came.
    Bytes { conn: Conn, bytes: Vec<u8> },
    /// The other side closed: it sends no more, and reads no more.
    Closed { conn: Conn },
    /// A datagram came.
    Datagram { from: Host, bytes: Vec<u8> },
}

/// What the network does by itself at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Transit {
    /// A SYN reaches the server's kernel, or is swallowed.
    Syn { conn: Conn },
    /// The caller gives up.
    GiveUp { conn: Conn },
    /// The way from the caller to the server is done; the answer goes back.
    SynAck { conn: Conn },
    /// The next piece of a direction arrives.
    Piece { conn: Conn, to_server: bool },
    /// What a cut held back is repeated.
    Repeat { conn: Conn, to_server: bool },
    /// A reset arrives, unless a cut swallows it.
    Reset { conn: Conn, to_server: bool },
    /// A datagram arrives.
    Datagram { from: Host, to: Host, bytes: Vec<u8> },
}

/// A piece of a direction.
#[derive(Clone, Debug)]
enum Piece {
    Bytes(Vec<u8>),
    End,
}

#[derive(Clone, Debug, Default)]
struct Direction {
    under_way: VecDeque<Piece>,
    /// Pieces that came to a cut: they wait for its end.
    held: VecDeque<Piece>,
    last: Time,
}

#[derive(Clone, Debug)]
struct Connection {
    client: Host,
    server: Host,
    /// The caller was told how the attempt ended.
    settled: bool,
    accepted: bool,
    /// It has lost what was under way: nothing that is sent from then on arrives, or there would be a hole before it.
    broken: bool,
    /// It has died silently: what is sent is swallowed, and so is every close and reset.
    dead: bool,
    /// Which side's process still has its socket: [client, server].
    has: [bool; 2],
    ways: [Direction; 2],
}

impl Connection {
    fn ends(&self, to_server: bool) -> (Host, Host) {
        if to_server { (self.client, self.server) } else { (self.server, self.client) }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub(super) struct Network {
    delay: (Duration, Duration),
    loss: u64,
    doubled: u64,
    conns: BTreeMap<Conn, Connection>,
    next: u64,
    blocked: BTreeSet<(Host, Host)>,
    /// Hosts whose kernel answers.
    up: BTreeSet<Host>,
    /// What happens when; the world takes it out.
    pub(super) scheduled: Vec<(Time, Transit)>,
}

impl Network {
    pub(super) fn new(plan: &Plan) -> Network {
        Network {
            delay: (plan.delay_min, plan.delay_max),
            loss: plan.loss,
            doubled: plan.doubled,
            conns: BTreeMap::new(),
            next: 0,
            blocked: BTreeSet::new(),
            up: BTreeSet::new(),
            scheduled: Vec::new(),
        }
    }

    /// From here on nothing takes unusually long and no datagram is harmed.
    pub(super) fn calm(&mut self) {
        (self.loss, self.doubled) = (0, 0);
        self.delay.1 = self.delay.1.min(self.delay.0 + Duration::from_millis(20));
    }

    pub(super) fn host_up(&mut self, host: Host) {
        self.up.insert(host);
    }

    /// The machine's process is gone: its sockets reset what others send to it.
    pub(super) fn host_down(&mut self, host: Host, now: Time, dice: &mut Dice) {
        self.up.remove(&host);
        let conns: Vec<Conn> = self.conns_of(host);
        for conn in conns {
            self.abandon(conn, host, now, dice);
        }
    }

    pub(super) fn conns_of(&self, host: Host) -> Vec<Conn> {
        let of = |(conn, c): (&Conn, &Connection)| {
            ((c.client == host && c.has[0]) || (c.server == host && c.has[1])).then_some(*conn)
        };
        self.conns.iter().filter_map(of).collect()
    }

    /// Nothing goes from `from` to `to` any more.
    pub(super) fn cut(&mut self, from: Host, to: Host) {
        self.blocked.insert((from, to));
    }

    /// Everything goes everywhere again.
    pub(super) fn heal(&mut self, now: Time, dice: &mut Dice) {
        self.blocked.clear();
        for (conn, c) in &self.conns {
            for to_server in [true, false] {
                if !c.ways[usize::from(to_server)].held.is_empty() {
                    let at = now + dice.duration(Duration::ZERO, REPEAT_WITHIN);
                    self.scheduled.push((at, Transit::Repeat { conn: *conn, to_server }));
                }
            }
        }
    }

    /// What goes from `from` to `to` goes again, after it did not for `length`. TCP doubles its pauses: what it has sent in
    /// vain for that long it sends again after as long once more at the latest.
    pub(super) fn mend(&mut self, from: Host, to: Host, length: Duration, now: Time, dice: &mut Dice) {
        self.blocked.remove(&(from, to));
        let within = length.max(REPEAT_WITHIN);
        for (conn, c) in &self.conns {
            for to_server in [true, false] {
                if c.ends(to_server) == (from, to) && !c.ways[usize::from(to_server)].held.is_empty() {
                    let at = now + dice.duration(Duration::ZERO, within);
                    self.scheduled.push((at, Transit::Repeat { conn: *conn, to_server }));
                }
            }
        }
    }

    /// The connections between two machines.
    pub(super) fn conns_between(&self, a: Host, b: Host) -> Vec<Conn> {
        let between = |c: &Connection| (c.client, c.server) == (a, b) || (c.client, c.server) == (b, a);
        self.conns.iter().filter(|(_, c)| between(c) && c.has == [true, true]).map(|(conn, _)| *conn).collect()
    }

    /// Calls `server`; the outcome arrives within `within`.
    pub(super) fn call(&mut self, client: Host, server: Host, within: Duration, now: Time, dice: &mut Dice) -> Conn {
        let conn = Conn(self.next);
        self.next += 1;
        let ways = [Direction::default(), Direction::default()];
        let (has, broken, dead) = ([true, false], false, false);
        let c = Connection { client, server, settled: false, accepted: false, broken, dead, has, ways };
        self.conns.insert(conn, c);
        let first = now + self.way(dice);
        self.scheduled.push((first, Transit::Syn { conn }));
        for again in SYN_AGAIN.into_iter().filter(|again| *again < within) {
            self.scheduled.push((first + again, Transit::Syn { conn }));
        }
        self.scheduled.push((now + within, Transit::GiveUp { conn }));
        conn
    }

    /// Sends bytes from `host`, in pieces as the network pleases.
    pub(super) fn send(&mut self, conn: Conn, host: Host, bytes: &[u8], now: Time, dice: &mut Dice) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let cut = if dice.chance(80) { rest.len() } else { dice.pick(rest.len()) + 1 };
            let (piece, tail) = rest.split_at(cut);
            self.push(conn, host, Piece::Bytes(piece.to_vec()), now, dice);
            rest = tail;
        }
    }

    /// Closes the socket of `host`: what it sent still arrives, then the end.
    pub(super) fn close(&mut self, conn: Conn, host: Host, now: Time, dice: &mut Dice) {
        self.push(conn, host, Piece::End, now, dice);
        self.let_go(conn, host);
    }

    /// The machine at the other end of a connection.
    pub(super) fn peer_of(&self, conn: Conn, host: Host) -> Option<Host> {
        let conn = self.conns.get(&conn)?;
        Some(if conn.client == host { conn.server } else { conn.client })
    }

    /// Breaks a connection: each direction loses a suffix, and both sides learn it.
    pub(super) fn break_up(&mut self, conn: Conn, now: Time, dice: &mut Dice) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if !c.accepted {
            return;
        }
        c.broken = true;
        for to_server in [true, false] {
            let way = &mut c.ways[usize::from(to_server)];
            way.held.clear();
            let keep = dice.pick(way.under_way.len() + 1);
            for piece in way.under_way.iter_mut().skip(keep) {
                // The pieces stay on the agenda, empty: they bring nothing.
                *piece = Piece::Bytes(Vec::new());
            }
            let at = way.last.max(now) + Duration::from_micros(dice.between(1, 50_000));
            way.last = at;
            self.scheduled.push((at, Transit::Reset { conn, to_server }));
        }
    }

    /// Lets a connection die silently.
    pub(super) fn mute(&mut self, conn: Conn) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.dead = true;
            c.ways.iter_mut().for_each(|way| way.held.clear());
        }
    }

    pub(super) fn datagram(&mut self, from: Host, to: Host, bytes: &[u8], now: Time, dice: &mut Dice) {
        let copies = 1 + u32::from(dice.chance(self.doubled));
        for _ in 0..copies {
            if !dice.chance(self.loss) && !self.blocked.contains(&(from, to)) {
                let at = now + self.way(dice);
                self.scheduled.push((at, Transit::Datagram { from, to, bytes: bytes.to_vec() }));
            }
        }
    }

    /// Lets the network do what was scheduled; tells what arrives where.
    pub(super) fn step(&mut self, transit: Transit, now: Time, dice: &mut Dice) -> Option<(Host, Arrival)> {
        match transit {
            Transit::Syn { conn } => {
                let c = self.conns.get_mut(&conn).filter(|c| !c.settled && !c.accepted && c.has[0])?;
                let (client, server) = (c.client, c.server);
                if self.blocked.contains(&(client, server)) || self.blocked.contains(&(server, client)) {
                    return None;
                }
                if !self.up.contains(&server) {
                    c.settled = true;
                    return Some((client, Arrival::Refused { conn, reason: "connection refused" }));
                }
                (c.accepted, c.has[1]) = (true, true);
                let back = now + self.way(dice);
                let c = self.conns.get_mut(&conn)?;
                c.ways[0].last = back;
                self.scheduled.push((back, Transit::SynAck { conn }));
                Some((server, Arrival::Accepted { conn, from: client }))
            }
            Transit::SynAck { conn } => {
                let c = self.conns.get_mut(&conn).filter(|c| !c.settled && c.has[0])?;
                c.settled = true;
                Some((c.client, Arrival::Connected { conn }))
            }
            Transit::GiveUp { conn } => {
                let c = self.conns.get_mut(&conn).filter(|c| !c.settled && c.has[0])?;
                c.settled = true;
                let client = c.client;
                if c.accepted {
                    self.abandon(conn, client, now, dice);
                }
                Some((client, Arrival::Refused { conn, reason: "no answer to the call" }))
            }
            Transit::Piece { conn, to_server } => {
                let c = self.conns.get_mut(&conn)?;
                let ends = c.ends(to_server);
                let way = &mut c.ways[usize::from(to_server)];
                let piece = way.under_way.pop_front()?;
                if c.dead {
                    return None;
                }
                if self.blocked.contains(&ends) || !way.held.is_empty() {
                    way.held.push_back(piece);
                    return None;
                }
                self.arrive(conn, to_server, piece, now, dice)
            }
            Transit::Repeat { conn, to_server } => {
                let c = self.conns.get_mut(&conn)?;
                let ends = c.ends(to_server);
                if self.blocked.contains(&ends) {
                    return None;
                }
                let way = &mut c.ways[usize::from(to_server)];
                let piece = way.held.pop_front()?;
                if !way.held.is_empty() {
                    // The next one follows in the same instant, before anything that is still under way.
                    self.scheduled.push((now, Transit::Repeat { conn, to_server }));
                }
                self.arrive(conn, to_server, piece, now, dice)
            }
            Transit::Reset { conn, to_server } => {
                let c = self.conns.get_mut(&conn)?;
                let (from, to) = c.ends(to_server);
                if c.dead || self.blocked.contains(&(from, to)) || !c.has[usize::from(to_server)] {
                    return None;
                }
                let told = to_server || c.settled;
                c.settled |= !to_server;
                self.let_go(conn, to);
                Some((to, if told { Arrival::Closed { conn } } else { Arrival::Refused { conn, reason: "reset" } }))
            }
            Transit::Datagram { from, to, bytes } => {
                self.up.contains(&to).then_some((to, Arrival::Datagram { from, bytes }))
            }
        }
    }

    fn arrive(
        &mut self,
        conn: Conn,
        to_server: bool,
        piece: Piece,
        now: Time,
        dice: &mut Dice,
    ) -> Option<(Host, Arrival)> {
        let c = self.conns.get(&conn)?;
        let to = c.ends(to_server).1;
        if !c.has[usize::from(to_server)] {
            // Nobody is there: the kernel resets the sender.
            let at = now + self.way(dice);
            self.scheduled.push((at, Transit::Reset { conn, to_server: !to_server }));
            return None;
        }
        match piece {
            Piece::Bytes(bytes) if bytes.is_empty() => None,
            Piece::Bytes(bytes) => Some((to, Arrival::Bytes { conn, bytes })),
            Piece::End => {
                self.let_go(conn, to);
                Some((to, Arrival::Closed { conn }))
            }
        }
    }

    fn push(&mut self, conn: Conn, host: Host, piece: Piece, now: Time, dice: &mut Dice) {
        let delay = self.way(dice);
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let to_server = c.client == host;
        if !c.has[usize::from(!to_server)] {
            return;
        }
        if c.broken {
            // Its reset may have been swallowed by a cut: who sends on learns it now.
            self.scheduled.push((now + delay, Transit::Reset { conn, to_server: !to_server }));
            return;
        }
        let way = &mut c.ways[usize::from(to_server)];
        way.under_way.push_back(piece);
        way.last = way.last.max(now + delay);
        self.scheduled.push((way.last, Transit::Piece { conn, to_server }));
    }

    /// The process of `host` no longer has this socket; the other side is reset.
    fn abandon(&mut self, conn: Conn, host: Host, now: Time, dice: &mut Dice) {
        let at = now + self.way(dice);
        if let Some(c) = self.conns.get(&conn) {
            self.scheduled.push((at, Transit::Reset { conn, to_server: c.client == host }));
        }
        self.let_go(conn, host);
    }

    fn let_go(&mut self, conn: Conn, host: Host) {
        if let Some(c) = self.conns.get_mut(&conn) {
            let side = usize::from(c.server == host);
            c.has[side] = false;
        }
    }

    fn way(&self, dice: &mut Dice) -> Duration {
        let way = dice.duration(self.delay.0, self.delay.1);
        if self.loss > 0 && dice.chance(1) {
            way * u32::try_from(dice.between(2, 10)).expect("at most 10")
        } else {
            way
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the network dry and tells what arrived, in order.
    fn drain(network: &mut Network, dice: &mut Dice) -> Vec<(Host, Arrival)> {
        let mut agenda: BTreeMap<(Time, u64), Transit> = BTreeMap::new();
        let (mut seq, mut arrivals) = (0, Vec::new());
        loop {
            for (at, transit) in network.scheduled.drain(..) {
                agenda.insert((at, seq), transit);
                seq += 1;
            }
            let Some(((now, _), transit)) = agenda.pop_first() else { return arrivals };
            arrivals.extend(network.step(transit, now, dice));
        }
    }

    fn bytes_to(host: Host, arrivals: &[(Host, Arrival)]) -> Vec<u8> {
        let of = |(to, arrival): &(Host, Arrival)| match arrival {
            Arrival::Bytes { bytes, .. } if *to == host => Some(bytes.clone()),
            _ => None,
        };
        arrivals.iter().filter_map(of).flatten().collect()
    }

    fn connected(seed: u64) -> (Network, Dice, Conn) {
        let (mut network, mut dice) = (Network::new(&Plan::draw(seed)), Dice::new(seed));
        network.host_up(0);
        network.host_up(1);
        let conn = network.call(0, 1, Duration::from_secs(60), Time::ZERO, &mut dice);
        let arrivals = drain(&mut network, &mut dice);
        assert!(arrivals.contains(&(1, Arrival::Accepted { conn, from: 0 })));
        assert!(arrivals.contains(&(0, Arrival::Connected { conn })));
        (network, dice, conn)
    }

    #[test]
    fn bytes_arrive_whole_and_in_order() {
        for seed in 0..50 {
            let (mut network, mut dice, conn) = connected(seed);
            for n in 0..20_u8 {
                network.send(conn, 0, &[n; 7], Time::ZERO, &mut dice);
            }
            let expected: Vec<u8> = (0..20).flat_map(|n| [n; 7]).collect();
            assert_eq!(bytes_to(1, &drain(&mut network, &mut dice)), expected);
        }
    }

    #[test]
    fn a_cut_holds_bytes_back_and_a_heal_brings_them_in_order() {
        for seed in 0..50 {
            let (mut network, mut dice, conn) = connected(seed);
            network.cut(0, 1);
            network.send(conn, 0, b"first ", Time::ZERO, &mut dice);
            network.send(conn, 1, b"back", Time::ZERO, &mut dice);
            let arrivals = drain(&mut network, &mut dice);
            assert_eq!(bytes_to(1, &arrivals), b"", "the cut way brings nothing");
            assert_eq!(bytes_to(0, &arrivals), b"back", "the other way is open");
            network.heal(Time::ZERO, &mut dice);
            network.send(conn, 0, b"second", Time::ZERO, &mut dice);
            assert_eq!(bytes_to(1, &drain(&mut network, &mut dice)), b"first second");
        }
    }

    #[test]
    fn a_break_loses_a_suffix_only_and_both_sides_learn_it() {
        let mut lost = 0;
        for seed in 0..50 {
            let (mut network, mut dice, conn) = connected(seed);
            let sent: Vec<u8> = (0..100).collect();
            for piece in sent.chunks(10) {
                network.send(conn, 0, piece, Time::ZERO, &mut dice);
            }
            network.break_up(conn, Time::ZERO, &mut dice);
            let arrivals = drain(&mut network, &mut dice);
            let got = bytes_to(1, &arrivals);
            assert!(sent.starts_with(&got));
            lost += usize::from(got.len() < sent.len());
            for host in [0, 1] {
                assert!(arrivals.contains(&(host, Arrival::Closed { conn })));
            }
        }
        assert!(lost > 25, "a break that never loses anything is none");
    }

    #[test]
    fn a_connection_that_died_silently_brings_nothing_more_and_tells_nobody() {
        let (mut network, mut dice, conn) = connected(5);
        network.send(conn, 0, b"under way", Time::ZERO, &mut dice);
        network.mute(conn);
        network.send(conn, 1, b"later", Time::ZERO, &mut dice);
        network.close(conn, 0, Time::ZERO, &mut dice);
        network.host_down(0, Time::ZERO, &mut dice);
        assert_eq!(drain(&mut network, &mut dice), []);
        assert_eq!(network.conns_of(1), [conn], "half-open");
    }

    #[test]
    fn datagrams_are_lost_doubled_and_reordered_but_never_changed() {
        let plan = Plan { loss: 20, doubled: 30, ..Plan::draw(3) };
        let (mut network, mut dice) = (Network::new(&plan), Dice::new(3));
        network.host_up(1);
        for n in 0..200_u8 {
            network.datagram(0, 1, &[n], Time::ZERO, &mut dice);
        }
        let came: Vec<u8> = (drain(&mut network, &mut dice).into_iter())
            .map(|(_, arrival)| match arrival {
                Arrival::Datagram { bytes, .. } => bytes[0],
                other => panic!("{other:?}"),
            })
            .collect();
        let distinct: BTreeSet<u8> = came.iter().copied().collect();
        assert!(distinct.len() < 200, "some are lost");
        assert!(came.len() > distinct.len(), "some come twice");
        assert!(!came.is_sorted(), "some overtake");
    }

    #[test]
    fn nobody_at_home_refuses_and_a_cut_lets_the_caller_wait() {
        let (mut network, mut dice) = (Network::new(&Plan::draw(1)), Dice::new(1));
        let within = Duration::from_secs(5);
        let conn = network.call(0, 1, within, Time::ZERO, &mut dice);
        let refused = (0, Arrival::Refused { conn, reason: "connection refused" });
        assert_eq!(drain(&mut network, &mut dice), [refused]);
        network.host_up(1);
        network.cut(1, 0);
        let conn = network.call(0, 1, within, Time::ZERO, &mut dice);
        let gave_up = (0, Arrival::Refused { conn, reason: "no answer to the call" });
        assert_eq!(drain(&mut network, &mut dice), [gave_up]);
    }
}
