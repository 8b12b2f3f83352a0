//! The socket of discovery: workers ask everybody near by who is a master, and masters answer (sprint 2.1).
//!
//! Any machine of the network reaches this socket and may write any sender on a datagram. So requests of one sender
//! are counted, and what goes beyond is left unanswered: nobody is flooded through this node. A node that serves its
//! own machine only hears nothing of others.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Interest, Registry};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use sysinfo::Networks;

use crate::time::Time;
use crate::wire::{Datagram, Undecodable, decode_datagram, encode_datagram};

use super::limits::{
    DATAGRAM_BYTES, DATAGRAMS_PER_TURN, DISCOVERIES_PER_SECOND, DISCOVERY_INTERFACES, DISCOVERY_SOURCES,
    REJECTS_LOGGED_PER_SECOND,
};
use super::{BindError, os, tokens};

/// The port of discovery unless another is asked for, as in the classroom.
pub const DISCOVERY_PORT: u16 = 5000;

/// Where discovery is asked for on every network: the classroom's group.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);

/// A bound socket for discovery, of a master that answers or of a worker that asks.
#[derive(Debug)]
pub struct Discovery {
    socket: std::net::UdpSocket,
    /// The port on which masters listen.
    port: u16,
    /// Addresses of this machine, out of each of which is asked.
    interfaces: Vec<Ipv4Addr>,
    /// A master listens, a worker asks.
    listens: bool,
}

impl Discovery {
    /// For a master: listens on this port of every interface, beside other masters of this machine. Port 0 takes any.
    ///
    /// # Errors
    /// [`BindError::Taken`] if a program that does not share it has the port, [`BindError::Other`] if it is not allowed.
    pub fn listen(port: u16) -> Result<Discovery, BindError> {
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let interfaces = interfaces();
        let socket = bind(address, os::share_port)?;
        for interface in &interfaces {
            // One that is down or cannot do it is no reason not to serve the others.
            if let Err(error) = socket.join_multicast_v4(&GROUP, interface) {
                log::debug!(target: super::LOG, "discovery: cannot join {GROUP} on {interface}: {error}");
            }
        }
        let port = socket.local_addr().map_err(|error| BindError::Other(address.into(), error))?.port();
        Ok(Discovery { socket, port, interfaces, listens: true })
    }

    /// For a worker: asks the masters that listen on this port, from a port of its own.
    ///
    /// # Errors
    /// [`BindError::Other`] if this machine gives no socket.
    pub fn ask(port: u16) -> Result<Discovery, BindError> {
        let socket = bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), |socket| {
            socket.set_broadcast(true)?;
            socket.set_multicast_loop_v4(true)?;
            socket.set_multicast_ttl_v4(1)
        })?;
        Ok(Discovery { socket, port, interfaces: interfaces(), listens: false })
    }

    /// The port on which masters listen.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn bind(
    address: SocketAddrV4,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> Result<std::net::UdpSocket, BindError> {
    let bound = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).and_then(|socket| {
        prepare(&socket)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    });
    bound.map_err(|error: io::Error| match error.kind() {
        ErrorKind::AddrInUse => BindError::Taken(address.into()),
        _ => BindError::Other(address.into(), error),
    })
}

/// The IPv4 addresses of this machine, the loopback one first and always.
fn interfaces() -> Vec<Ipv4Addr> {
    let mut found = vec![Ipv4Addr::LOCALHOST];
    for network in Networks::new_with_refreshed_list().values() {
        for address in network.ip_networks().iter().map(|network| network.addr) {
            if let IpAddr::V4(address) = address
                && !found.contains(&address)
                && found.len() < DISCOVERY_INTERFACES
            {
                found.push(address);
            }
        }
    }
    found
}

/// The socket of discovery in the loop.
pub(super) struct Udp {
    socket: UdpSocket,
    port: u16,
    interfaces: Vec<Ipv4Addr>,
    listens: bool,
    /// Only this machine is served.
    local_only: bool,
    requests: Window,
    rejects: Window,
    /// Kinds of errors of sending that the log knows.
    failed: Vec<ErrorKind>,
    encoded: Vec<u8>,
}

impl Udp {
    /// Begins to listen. `serves`: where the node's TCP listener is bound.
    pub(super) fn new(discovery: Discovery, serves: SocketAddr, registry: &Registry) -> io::Result<Udp> {
        let Discovery { socket, port, interfaces, listens } = discovery;
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, tokens::DISCOVERY, Interest::READABLE)?;
        Ok(Udp {
            socket,
            port,
            interfaces,
            listens,
            local_only: listens && serves.ip().to_canonical().is_loopback(),
            requests: Window::default(),
            rejects: Window::default(),
            failed: Vec::new(),
            encoded: Vec::new(),
        })
    }

    /// Takes a bounded number of datagrams that say something into `take`. Returns whether more may wait.
    pub(super) fn receive(&mut self, now: Time, take: &mut Vec<(SocketAddr, Datagram)>) -> bool {
        // One byte more, so that a longer one shows.
        let mut buffer = [0; DATAGRAM_BYTES + 1];
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.recv_from(&mut buffer) {
                Ok((count, from)) => {
                    if let Some(datagram) = self.understand(&buffer[..count], from, now) {
                        take.push((from, datagram));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // Some systems tell here of an earlier datagram that found nobody, or of one that is too long.
                Err(error) => log::debug!(target: super::LOG, "discovery: {error}"),
            }
        }
        true
    }

    fn understand(&mut self, bytes: &[u8], from: SocketAddr, now: Time) -> Option<Datagram> {
        if self.local_only && !from.ip().is_loopback() {
            return None;
        }
        if bytes.len() > DATAGRAM_BYTES {
            log::debug!(target: super::LOG, "discovery: a datagram of {from} is longer than {DATAGRAM_BYTES} bytes");
            return None;
        }
        let datagram = match decode_datagram(bytes, from) {
            Ok(datagram) => datagram,
            // A worker misses a master over this, so people shall see it (S21-CT05); a master misses nothing.
            Err(Undecodable::Bad(what))
                if !self.listens && self.rejects.allows(from.ip(), REJECTS_LOGGED_PER_SECOND, now) =>
            {
                log::warn!(target: super::LOG, "DISCOVERY: what {from} says is dropped: {what}");
                return None;
            }
            Err(error) => {
                log::debug!(target: super::LOG, "discovery: a datagram of {from} is dropped: {error}");
                return None;
            }
        };
        let asks = matches!(datagram, Datagram::Discovery { .. } | Datagram::Find);
        if asks && !self.requests.allows(from.ip(), DISCOVERIES_PER_SECOND, now) {
            log::debug!(target: super::LOG, "discovery: {from} asks too often and gets no answer");
            return None;
        }
        Some(datagram)
    }

    /// Sends a datagram, to everybody who listens for discovery if `to` is `None`. What cannot be sent is lost, as any
    /// datagram may be.
    pub(super) fn send(&mut self, to: Option<SocketAddr>, datagram: &Datagram) {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        encode_datagram(datagram, &mut encoded);
        match to {
            Some(to) => self.send_to(&encoded, to),
            None => self.send_to_all(&encoded),
        }
        self.encoded = encoded;
    }

    fn send_to_all(&mut self, encoded: &[u8]) {
        let port = self.port;
        self.send_to(encoded, SocketAddr::from((Ipv4Addr::BROADCAST, port)));
        self.send_to(encoded, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        // Unspecified: wherever the system would send it, also when the interfaces have changed since the start.
        for place in 0..=self.interfaces.len() {
            let interface = self.interfaces.get(place).copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
            match SockRef::from(&self.socket).set_multicast_if_v4(&interface) {
                Ok(()) => self.send_to(encoded, SocketAddr::from((GROUP, port))),
                Err(error) => self.cannot_send(&error, GROUP.into()),
            }
        }
    }

    fn send_to(&mut self, encoded: &[u8], to: SocketAddr) {
        if let Err(error) = self.socket.send_to(encoded, to) {
            self.cannot_send(&error, to.ip());
        }
    }

    fn cannot_send(&mut self, error: &io::Error, to: IpAddr) {
        if !self.failed.contains(&error.kind()) {
            self.failed.push(error.kind());
            log::debug!(target: super::LOG, "discovery: cannot send to {to}: {error}; not logged again");
        }
    }
}

/// Counts what senders do within a second.
#[derive(Debug, Default)]
struct Window {
    since: Time,
    counts: BTreeMap<IpAddr, u32>,
}

impl Window {
    /// Counts one more of this sender. Whether that is within `most` a second, and within the senders that are counted.
    fn allows(&mut self, from: IpAddr, most: u32, now: Time) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.counts.clear();
        }
        if self.counts.len() >= DISCOVERY_SOURCES && !self.counts.contains_key(&from) {
            return false;
        }
        let count = self.counts.entry(from).or_default();
        *count = count.saturating_add(1);
        *count <= most
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mio::Poll;

    use super::*;
    use crate::wire::{Address, MasterOffer, ServerId};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn udp(discovery: Discovery, serves: &str) -> (Poll, Udp) {
        let poll = Poll::new().unwrap();
        let udp = Udp::new(discovery, serves.parse().unwrap(), poll.registry()).unwrap();
        (poll, udp)
    }

    fn question() -> Datagram {
        Datagram::Discovery { worker: ServerId::new("W-1").unwrap() }
    }

    /// What comes first.
    fn first(udp: &mut Udp) -> (SocketAddr, Datagram) {
        let give_up = Instant::now() + PATIENCE;
        let mut got = Vec::new();
        while got.is_empty() {
            assert!(Instant::now() < give_up, "nothing came");
            udp.receive(Time::ZERO, &mut got);
        }
        got.swap_remove(0)
    }

    #[test]
    fn a_question_to_all_reaches_a_master_and_its_answer_comes_back() {
        let (_one, mut master) = udp(Discovery::listen(0).unwrap(), "0.0.0.0:1");
        let (_two, mut worker) = udp(Discovery::ask(master.port).unwrap(), "127.0.0.1:1");
        worker.send(None, &question());
        let (from, asked) = first(&mut master);
        assert_eq!(asked, question());
        let address: Address = "127.0.0.1:9101".parse().unwrap();
        let reply = Datagram::Reply(MasterOffer { name: "MASTER_X".into(), address });
        master.send(Some(from), &reply);
        assert_eq!(first(&mut worker).1, reply);
    }

    #[test]
    fn who_serves_this_machine_only_hears_nobody_else() {
        let (_poll, mut udp) = udp(Discovery::listen(0).unwrap(), "127.0.0.1:9101");
        let mut text = Vec::new();
        encode_datagram(&question(), &mut text);
        assert_eq!(udp.understand(&text, "192.0.2.7:5000".parse().unwrap(), Time::ZERO), None);
        assert_eq!(udp.understand(&text, "127.0.0.1:5000".parse().unwrap(), Time::ZERO), Some(question()));
    }

    #[test]
    fn long_datagrams_and_nonsense_are_dropped() {
        let (_poll, mut udp) = udp(Discovery::listen(0).unwrap(), "0.0.0.0:1");
        let from = "127.0.0.1:5000".parse().unwrap();
        let mut text = Vec::new();
        encode_datagram(&question(), &mut text);
        text.resize(DATAGRAM_BYTES, b' ');
        assert_eq!(udp.understand(&text, from, Time::ZERO), Some(question()));
        text.push(b' ');
        assert_eq!(udp.understand(&text, from, Time::ZERO), None);
        for nonsense in [&b""[..], b"x", b"{}", b"\xff\xfe", b"[1]"] {
            assert_eq!(udp.understand(nonsense, from, Time::ZERO), None);
        }
    }

    #[test]
    fn a_flood_is_read_in_bounded_rounds() {
        let (_poll, mut master) = udp(Discovery::listen(0).unwrap(), "0.0.0.0:1");
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut text = Vec::new();
        encode_datagram(&question(), &mut text);
        for _ in 0..DATAGRAMS_PER_TURN + 10 {
            sender.send_to(&text, ("127.0.0.1", master.port)).unwrap();
        }
        let mut got = Vec::new();
        assert!(master.receive(Time::ZERO, &mut got), "more wait");
        assert!(!got.is_empty() && got.len() <= DATAGRAMS_PER_TURN);
        assert!(!master.receive(Time::ZERO, &mut got), "and are read in the next turn");
    }

    #[test]
    fn one_sender_has_its_share_a_second_and_others_have_theirs() {
        let mut window = Window::default();
        let (one, two): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let begun = Time::from_micros(5_000_000);
        let allowed = (0..100).filter(|_| window.allows(one, 7, begun)).count();
        assert_eq!((allowed, window.allows(two, 7, begun)), (7, true));
        assert!(!window.allows(one, 7, begun + Duration::from_millis(999)));
        assert!(window.allows(one, 7, begun + Duration::from_secs(1)));
        for n in 0..2 * DISCOVERY_SOURCES as u32 {
            window.allows(IpAddr::from(Ipv4Addr::from_bits(n)), 7, begun + Duration::from_secs(1));
        }
        assert_eq!(window.counts.len(), DISCOVERY_SOURCES, "forged senders take no more memory than this");
    }

    #[test]
    fn a_port_that_is_not_shared_is_taken() {
        let held = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let error = Discovery::listen(held.local_addr().unwrap().port()).unwrap_err();
        assert!(matches!(error, BindError::Taken(_)), "{error}");
    }
}
