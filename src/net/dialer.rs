//! Opens connections to others: looks names up, tries each address in turn, gives up in time.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry};
use slab::Slab;

use crate::core::LinkId;
use crate::time::Time;
use crate::wire::{Address, Host};

use super::resolver::Resolver;
use super::timers::{Timers, Who};
use super::tokens;

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum Dialled {
    /// The connection stands; the caller registers it under its own token.
    Connected {
        /// The id that it was asked for under.
        link: LinkId,
        /// Whom it was asked for.
        address: Address,
        /// The connection.
        stream: TcpStream,
    },
    /// It could not be made.
    Refused {
        /// The id that it was asked for under.
        link: LinkId,
        /// Why, for people.
        reason: String,
    },
}

/// What an attempt needs of the loop.
pub(super) struct Context<'a> {
    /// Where sockets are registered.
    pub(super) registry: &'a Registry,
    /// Where deadlines are armed.
    pub(super) timers: &'a mut Timers,
    /// The time of this turn.
    pub(super) now: Time,
}

/// All attempts that are under way.
pub(super) struct Dialer {
    dials: Slab<Dial>,
    resolver: Resolver,
    /// Names that are being looked up. One look-up answers all who wait for a name, even those who come after others
    /// have given up, so a slow name server cannot pile them up.
    looked_up: BTreeSet<String>,
}

struct Dial {
    link: LinkId,
    address: Address,
    within: Duration,
    /// End of the whole attempt.
    deadline: Time,
    /// The timer that is armed: the end of the address that is being tried, or of the look-up.
    armed: Time,
    /// Addresses that are still to be tried.
    left: VecDeque<SocketAddr>,
    /// The address that is being tried. `None` while the name is looked up.
    trying: Option<(SocketAddr, TcpStream)>,
    /// Why the last address did not do.
    failure: Option<String>,
}

impl Dialer {
    /// A dialer without attempts.
    pub(super) fn new(resolver: Resolver) -> Dialer {
        Dialer { dials: Slab::new(), resolver, looked_up: BTreeSet::new() }
    }

    /// Begins an attempt. What comes at once is returned, the rest by the other functions.
    pub(super) fn open(
        &mut self,
        link: LinkId,
        address: Address,
        within: Duration,
        context: &mut Context<'_>,
    ) -> Option<Dialled> {
        let deadline = context.now + within;
        let mut dial = Dial {
            link,
            address,
            within,
            deadline,
            armed: Time::FAR,
            left: VecDeque::new(),
            trying: None,
            failure: None,
        };
        if let Some(socket) = dial.address.socket() {
            dial.left.push_back(socket);
            let key = self.dials.insert(dial);
            return self.try_next(key, context);
        }
        let name = dial.address.host.to_string();
        if !self.looked_up.contains(&name) {
            if let Err(error) = self.resolver.resolve(&name, self.looked_up.len()) {
                return Some(Dialled::Refused { link, reason: format!("cannot look up {name}: {error}") });
            }
            self.looked_up.insert(name);
        }
        dial.armed = deadline;
        let key = self.dials.insert(dial);
        context.timers.arm(deadline, Who::Dial(index(key)));
        None
    }

    /// Forgets an attempt of which nobody wants to hear any more. Returns whether there was one.
    pub(super) fn cancel(&mut self, link: LinkId, timers: &mut Timers) -> bool {
        let Some((key, _)) = self.dials.iter().find(|(_, dial)| dial.link == link) else { return false };
        self.remove(key, timers);
        true
    }

    /// A name was looked up: everyone who waits for it goes on.
    pub(super) fn resolved(
        &mut self,
        name: &str,
        found: &Result<Vec<IpAddr>, String>,
        context: &mut Context<'_>,
    ) -> Vec<Dialled> {
        self.looked_up.remove(name);
        let waits = |dial: &Dial| matches!(dial.looks_up(), Some(Host::Name(wanted)) if wanted == name);
        let waiting: Vec<usize> = self.dials.iter().filter(|(_, dial)| waits(dial)).map(|(key, _)| key).collect();
        let mut results = Vec::new();
        for key in waiting {
            let dial = &mut self.dials[key];
            match found {
                Ok(addresses) => {
                    let port = dial.address.port;
                    dial.left.extend(addresses.iter().map(|ip| SocketAddr::new(*ip, port)));
                }
                Err(reason) => dial.failure = Some(reason.clone()),
            }
            results.extend(self.try_next(key, context));
        }
        results
    }

    /// The socket of an attempt is ready for something.
    pub(super) fn ready(&mut self, key: usize, context: &mut Context<'_>) -> Option<Dialled> {
        let dial = self.dials.get_mut(key)?;
        let (address, stream) = dial.trying.as_ref()?;
        match connected(stream) {
            Ok(false) => None,
            Ok(true) => {
                let dial = self.remove(key, context.timers);
                let (_, stream) = dial.trying?;
                Some(Dialled::Connected { link: dial.link, address: dial.address, stream })
            }
            Err(error) => {
                dial.failure = Some(explain(*address, &error));
                self.try_next(key, context)
            }
        }
    }

    /// The timer of an attempt fired.
    pub(super) fn expired(&mut self, key: usize, context: &mut Context<'_>) -> Option<Dialled> {
        let dial = self.dials.get_mut(key)?;
        // It fired and is gone.
        dial.armed = Time::FAR;
        if let Some((address, _)) = &dial.trying {
            dial.failure = Some(format!("{address} did not answer in time"));
        } else {
            dial.failure = Some(format!("{} was not looked up within {:?}", dial.address.host, dial.within));
        }
        self.try_next(key, context)
    }

    /// Tries addresses until one is under way. Each gets an equal share of the time that is left.
    fn try_next(&mut self, key: usize, context: &mut Context<'_>) -> Option<Dialled> {
        let dial = self.dials.get_mut(key)?;
        // Dropping the old socket also takes it out of the poll.
        dial.trying = None;
        context.timers.cancel(dial.armed, Who::Dial(index(key)));
        dial.armed = Time::FAR;
        while context.now < dial.deadline
            && let Some(address) = dial.left.pop_front()
        {
            let begun = TcpStream::connect(address).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                context.registry.register(&mut stream, tokens::dial(key), interest)?;
                Ok(stream)
            });
            match begun {
                Ok(stream) => {
                    let tries = u32::try_from(dial.left.len() + 1).unwrap_or(u32::MAX);
                    dial.trying = Some((address, stream));
                    dial.armed = context.now + dial.deadline.since(context.now) / tries;
                    context.timers.arm(dial.armed, Who::Dial(index(key)));
                    return None;
                }
                Err(error) => dial.failure = Some(explain(address, &error)),
            }
        }
        let dial = self.remove(key, context.timers);
        let reason = dial.failure.unwrap_or_else(|| format!("no answer within {:?}", dial.within));
        Some(Dialled::Refused { link: dial.link, reason })
    }

    fn remove(&mut self, key: usize, timers: &mut Timers) -> Dial {
        let dial = self.dials.remove(key);
        timers.cancel(dial.armed, Who::Dial(index(key)));
        dial
    }
}

impl Dial {
    /// The name that this attempt waits for.
    fn looks_up(&self) -> Option<&Host> {
        (self.trying.is_none() && self.left.is_empty() && self.failure.is_none()).then_some(&self.address.host)
    }
}

/// Slots of the dialer are few: one for each link that the core wants.
fn index(key: usize) -> u32 {
    u32::try_from(key).unwrap_or(u32::MAX)
}

/// Whether a connection has come to stand.
fn connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    let remote = match stream.peer_addr() {
        Ok(remote) => remote,
        Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(false),
        Err(error) => return Err(error),
    };
    // A port of the ephemeral range that nobody listens on may be given to the caller itself, which then meets
    // itself in a simultaneous open.
    if stream.local_addr()? == remote {
        return Err(io::Error::new(ErrorKind::ConnectionRefused, "met itself"));
    }
    Ok(true)
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused; nobody listens there".to_owned(),
        ErrorKind::HostUnreachable => "no route to the host".to_owned(),
        ErrorKind::NetworkUnreachable => "no route to the network".to_owned(),
        ErrorKind::TimedOut => "no answer".to_owned(),
        ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    };
    format!("{address}: {why}")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use mio::{Events, Poll};

    use super::*;
    use crate::net::clock::Clock;
    use crate::net::mailbox::{Mailbox, Note};

    /// A loop that does nothing but dial.
    struct Desk {
        poll: Poll,
        mailbox: Mailbox,
        timers: Timers,
        clock: Clock,
        dialer: Dialer,
    }

    impl Desk {
        fn new() -> Desk {
            let poll = Poll::new().unwrap();
            let mailbox = Mailbox::new(poll.registry(), tokens::WAKER).unwrap();
            let dialer = Dialer::new(Resolver::new(mailbox.post.clone()));
            Desk { poll, mailbox, timers: Timers::default(), clock: Clock::default(), dialer }
        }

        fn open(&mut self, link: u64, address: &str, within: Duration) -> Option<Dialled> {
            let now = self.clock.now();
            let mut context = Context { registry: self.poll.registry(), timers: &mut self.timers, now };
            self.dialer.open(LinkId(link), address.parse().unwrap(), within, &mut context)
        }

        /// Turns until something comes of an attempt.
        fn result(&mut self) -> Dialled {
            let mut events = Events::with_capacity(16);
            let give_up = self.clock.now() + Duration::from_secs(60);
            loop {
                let timeout = self.timers.next().map_or(Duration::from_secs(1), |at| at.since(self.clock.now()));
                self.poll.poll(&mut events, Some(timeout)).unwrap();
                let now = self.clock.now();
                assert!(now < give_up, "nothing came");
                let mut context = Context { registry: self.poll.registry(), timers: &mut self.timers, now };
                for event in &events {
                    if let tokens::Source::Dial(key) = tokens::source(event.token())
                        && let Some(result) = self.dialer.ready(key, &mut context)
                    {
                        return result;
                    }
                }
                while let Some(Note::Resolved { name, found }) = self.mailbox.take() {
                    if let Some(result) = self.dialer.resolved(&name, &found, &mut context).pop() {
                        return result;
                    }
                }
                while let Some(who) = context.timers.expire(now) {
                    let Who::Dial(key) = who else { panic!("{who:?}") };
                    if let Some(result) = self.dialer.expired(key as usize, &mut context) {
                        return result;
                    }
                }
            }
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_number_is_connected_and_leaves_no_timer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut desk = Desk::new();
        assert!(desk.open(1, &listener.local_addr().unwrap().to_string(), LONG).is_none());
        let Dialled::Connected { link, stream, .. } = desk.result() else { panic!("refused") };
        assert_eq!(link, LinkId(1));
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(desk.timers.next(), None);
        assert!(desk.dialer.dials.is_empty());
    }

    #[test]
    fn a_name_with_two_addresses_reaches_the_one_that_listens() {
        // `localhost` is ::1 and 127.0.0.1 on many machines, and one of them on all; only IPv4 listens here.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut desk = Desk::new();
        assert!(desk.open(3, &format!("localhost:{port}"), LONG).is_none());
        let result = desk.result();
        assert!(matches!(result, Dialled::Connected { link: LinkId(3), .. }), "{result:?}");
    }

    #[test]
    fn every_address_is_tried_before_giving_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut desk = Desk::new();
        assert!(desk.open(5, &format!("two.invalid:{port}"), LONG).is_none());
        // The answer of the name server is replaced: nobody listens on 127.0.0.9.
        let found = Ok(vec!["127.0.0.9".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        let now = desk.clock.now();
        let mut context = Context { registry: desk.poll.registry(), timers: &mut desk.timers, now };
        let at_once = desk.dialer.resolved("two.invalid", &found, &mut context).pop();
        let result = at_once.unwrap_or_else(|| desk.result());
        let Dialled::Connected { stream, .. } = result else { panic!("{result:?}") };
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[test]
    fn a_closed_port_is_refused_with_a_reason_for_people() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let mut desk = Desk::new();
        let result = desk.open(7, &format!("127.0.0.1:{port}"), LONG).unwrap_or_else(|| desk.result());
        let Dialled::Refused { link, reason } = result else { panic!("connected") };
        assert_eq!(link, LinkId(7));
        assert_eq!(reason, format!("127.0.0.1:{port}: connection refused; nobody listens there"));
        assert_eq!(desk.timers.next(), None);
    }

    #[test]
    fn an_unknown_name_is_refused_and_names_the_name() {
        let mut desk = Desk::new();
        assert!(desk.open(9, "nobody.invalid:9101", LONG).is_none());
        let Dialled::Refused { reason, .. } = desk.result() else { panic!("connected") };
        assert!(reason.contains("nobody.invalid"), "{reason}");
    }

    #[test]
    fn a_look_up_that_takes_too_long_is_given_up() {
        let mut desk = Desk::new();
        assert!(desk.open(11, "nobody.invalid:9101", Duration::from_micros(1)).is_none());
        let at = desk.timers.next().unwrap();
        assert_eq!(desk.timers.expire(at), Some(Who::Dial(0)));
        let mut context = Context { registry: desk.poll.registry(), timers: &mut desk.timers, now: at };
        let result = desk.dialer.expired(0, &mut context);
        let Some(Dialled::Refused { reason, .. }) = result else { panic!("{result:?}") };
        assert!(reason.contains("looked up"), "{reason}");
        assert!(desk.dialer.dials.is_empty());
    }

    #[test]
    fn two_attempts_wait_for_one_look_up_and_a_cancelled_one_hears_nothing() {
        let mut desk = Desk::new();
        for link in [1, 3, 5] {
            assert!(desk.open(link, "nobody.invalid:9101", LONG).is_none());
        }
        assert!(desk.dialer.cancel(LinkId(3), &mut desk.timers));
        assert!(!desk.dialer.cancel(LinkId(3), &mut desk.timers));
        let now = desk.clock.now();
        let mut context = Context { registry: desk.poll.registry(), timers: &mut desk.timers, now };
        let results = desk.dialer.resolved("nobody.invalid", &Err("gone".into()), &mut context);
        let links: Vec<LinkId> = results
            .iter()
            .map(|result| match result {
                Dialled::Refused { link, .. } | Dialled::Connected { link, .. } => *link,
            })
            .collect();
        assert_eq!(links, [LinkId(1), LinkId(5)]);
        assert_eq!(desk.timers.next(), None);
    }

    #[test]
    fn a_connection_to_itself_is_none() {
        // Bound and connected to the same port: the simultaneous open that happens by chance in the wild.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let own = socket.local_addr().unwrap();
        if socket.connect(&own).is_err() {
            // Not every system connects a socket to itself, and then there is nothing to guard against.
            return;
        }
        socket.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(socket.into());
        assert_eq!(connected(&stream).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
