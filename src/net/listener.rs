//! The listening socket, and accepting from it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::limits::{ACCEPTS_PER_TURN, BACKLOG};
use super::{BindError, os, tokens};

/// A bound listening socket. From here on connections are completed and wait to be accepted.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    local: SocketAddr,
}

impl Listener {
    /// Binds and listens. Port 0 takes any free port; `::` serves IPv4 as well.
    ///
    /// # Errors
    /// [`BindError::Taken`] if somebody listens there, [`BindError::Other`] if the address cannot be listened on.
    pub fn bind(address: SocketAddr) -> Result<Listener, BindError> {
        let socket = bind(address).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => BindError::Taken(address),
            _ => BindError::Other(address, error),
        })?;
        let local = socket.local_addr().map_err(|error| BindError::Other(address, error))?;
        Ok(Listener { socket, local })
    }

    /// Where it listens: the port is the real one, even if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if os::REUSE_ADDRESS {
        socket.set_reuse_address(true)?;
    }
    if address.ip() == IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    if os::ACCEPTED_INHERIT {
        set_options(SockRef::from(&socket))?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn set_options(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&os::keepalive())
}

/// The listener in the loop. Edge-triggered: whoever is told that it is ready accepts until [`Accepted::Drained`],
/// now or in later turns.
pub(super) struct Acceptor {
    listener: TcpListener,
    /// Descriptors have run out, and the log knows.
    starved: bool,
}

/// How a round of accepting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// Nobody waits.
    Drained,
    /// Others may wait; the loop goes on with them in its next turn.
    More,
    /// Nothing can be accepted now. Try again after a pause.
    Pause,
}

impl Acceptor {
    /// Begins to accept.
    pub(super) fn new(listener: Listener, registry: &Registry) -> io::Result<Acceptor> {
        let mut listener = TcpListener::from_std(listener.socket);
        registry.register(&mut listener, tokens::LISTENER, Interest::READABLE)?;
        Ok(Acceptor { listener, starved: false })
    }

    /// Accepts a bounded number of connections into `take`.
    pub(super) fn accept(&mut self, take: &mut Vec<TcpStream>) -> Accepted {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if !os::ACCEPTED_INHERIT && set_options(SockRef::from(&stream)).is_err() {
                        // It was reset in the meantime.
                        continue;
                    }
                    take.push(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Only now: descriptors that come back one by one belong to the same story.
                    if self.starved {
                        self.starved = false;
                        log::info!(target: super::LOG, "accepting connections again");
                    }
                    return Accepted::Drained;
                }
                // The one connection is gone; others may wait behind it.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    if !self.starved {
                        self.starved = true;
                        let why = if os::out_of_descriptors(&error) { "out of descriptors or memory" } else { "error" };
                        log::warn!(target: super::LOG, "cannot accept connections for now, {why}: {error}");
                    }
                    return Accepted::Pause;
                }
            }
        }
        Accepted::More
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mio::Poll;

    use super::*;

    fn any_port(host: &str) -> SocketAddr {
        SocketAddr::new(host.parse().unwrap(), 0)
    }

    /// Accepts until `count` connections are there.
    fn accept(acceptor: &mut Acceptor, count: usize) -> Vec<TcpStream> {
        let mut streams = Vec::new();
        let give_up = Instant::now() + Duration::from_secs(20);
        while streams.len() < count {
            assert!(Instant::now() < give_up, "only {} of {count} came", streams.len());
            assert_ne!(acceptor.accept(&mut streams), Accepted::Pause);
        }
        streams
    }

    #[test]
    fn a_port_in_use_is_taken() {
        let first = Listener::bind(any_port("127.0.0.1")).unwrap();
        assert_ne!(first.local_addr().port(), 0);
        let second = Listener::bind(first.local_addr()).unwrap_err();
        assert!(matches!(second, BindError::Taken(address) if address == first.local_addr()), "{second}");
        assert!(second.to_string().contains("port taken"));
    }

    #[test]
    fn an_address_of_another_machine_cannot_be_listened_on() {
        // TEST-NET-1 (RFC 5737) is nobody's.
        let error = Listener::bind(any_port("192.0.2.1")).unwrap_err();
        assert!(matches!(error, BindError::Other(..)), "{error}");
    }

    #[test]
    fn the_unspecified_ipv6_address_serves_ipv4_too() {
        let Ok(listener) = Listener::bind(any_port("::")) else { return };
        let port = listener.local_addr().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn accepted_sockets_do_not_wait_and_probe_their_peer() {
        let poll = Poll::new().unwrap();
        let listener = Listener::bind(any_port("127.0.0.1")).unwrap();
        let address = listener.local_addr();
        let mut acceptor = Acceptor::new(listener, poll.registry()).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let streams = accept(&mut acceptor, 1);
        assert!(streams[0].nodelay().unwrap());
        let socket = SockRef::from(&streams[0]);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            use super::super::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        }
    }

    #[test]
    fn a_flood_is_accepted_in_bounded_rounds() {
        let poll = Poll::new().unwrap();
        let listener = Listener::bind(any_port("127.0.0.1")).unwrap();
        let address = listener.local_addr();
        let mut acceptor = Acceptor::new(listener, poll.registry()).unwrap();
        let clients: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let mut streams = Vec::new();
        assert_eq!(acceptor.accept(&mut streams), Accepted::More);
        assert_eq!(streams.len(), ACCEPTS_PER_TURN);
        streams.extend(accept(&mut acceptor, clients.len() - streams.len()));
        assert_eq!(acceptor.accept(&mut streams), Accepted::Drained);
    }
}
