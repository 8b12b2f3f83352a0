//! Who is meant, and who is believed: the names by which masters call each other, and workers that say they are somebody's.

use std::net::IpAddr;

use super::Node;
use crate::core::links::Reply;
use crate::core::loans::{Neighbour, Party, of_borrower};
use crate::core::{LinkId, LogLevel};
use crate::time::Time;
use crate::wire::{Address, Body, Host, LoanRequest, ServerId, WorkerAlive};

impl Node {
    /// Whether a link from this host can be this master's: it is called there, or was reached there under its name.
    pub(super) fn is_at(&self, neighbour: &Neighbour, from: IpAddr) -> bool {
        let from = from.to_canonical();
        let reached = || self.registry.link_to(&neighbour.peer).and_then(|link| self.links.get(link));
        match &neighbour.address.host {
            // All loopback addresses are this machine.
            Host::Ip(ip) => ip.to_canonical() == from || ip.to_canonical().is_loopback() && from.is_loopback(),
            Host::Name(name) if name == "localhost" => from.is_loopback(),
            Host::Name(_) => reached().is_some_and(|link| link.remote.ip().to_canonical() == from),
        }
    }

    /// Which of `all` neighbours asks for workers, on a link from this host. `speaker`: who has shown there who it is.
    pub(super) fn who_asks(
        &self,
        all: &[Neighbour],
        request: &LoanRequest,
        from: IpAddr,
        speaker: Option<ServerId>,
        trusted: &[Address],
    ) -> Option<Neighbour> {
        // Who only says that it is a member is a stranger.
        let is_member = |id: &ServerId| self.group.as_ref().is_some_and(|group| group.has_member(id));
        let proved = speaker.is_some();
        let named = speaker.or_else(|| request.master.clone().filter(|id| !is_member(id)));
        // Who names itself on a link of its own is taken at its word where that link comes from where it is known to be.
        let known = named.and_then(|id| all.iter().find(|one| one.peer == id));
        let known = known.filter(|one| proved || self.is_at(one, from));
        // Many requests name nobody, or not as heartbeats do. Whose workers would come to where one peer is called, or serves workers, and who calls
        // from there, is that peer.
        let known = known.or_else(|| {
            let port = of_borrower(request, from, None, trusted, self.own_address().port)?.port;
            let is_it =
                |one: &&Neighbour| self.has_port(&one.address, port) && !is_member(&one.peer) && self.is_at(one, from);
            let mut found = all.iter().filter(is_it);
            found.next().filter(|_| found.next().is_none())
        });
        known.cloned()
    }

    /// Whether the master that is called at this address is met at this port of its host: there, or where it serves workers.
    fn has_port(&self, called: &Address, port: u16) -> bool {
        let hinted = self.config.hints.get(called).and_then(|hint| hint.workers);
        called.port == port || hinted == Some(port)
    }

    /// Where a master that is called at this address serves workers: there, unless the operator has named another port.
    pub(super) fn gate(&self, called: Address) -> Address {
        let hints = &self.config.hints;
        if hints.values().all(|hint| hint.workers.is_none()) {
            return called;
        }
        let same = |one: &&Neighbour| match &called.host {
            Host::Ip(ip) => one.address.port == called.port && self.is_at(one, *ip),
            Host::Name(_) => false,
        };
        let hint = hints.get(&called).copied().or_else(|| {
            let peers = self.registry.neighbours();
            hints.get(&peers.iter().find(same)?.address).copied()
        });
        Address { port: hint.and_then(|hint| hint.workers).unwrap_or(called.port), ..called }
    }

    /// Whether this is what this master itself is called, on this link: its id, its name, where it is called, and its bare host where no other
    /// master is known.
    pub(super) fn is_own(&self, said: &str, link: LinkId) -> bool {
        if said == self.identity.server_id.as_str() {
            return true;
        }
        let others = || self.registry.neighbours().into_iter();
        if said == self.identity.name {
            return !others().any(|other| other.peer.as_str() == said || other.name == said);
        }
        let own = [Some(self.own_address()), self.links.get(link).map(|link| Address::of(link.local))];
        let mut own = own.into_iter().flatten();
        let is_host = |one: &Host, other: &Host| match (one, other) {
            (Host::Ip(one), Host::Ip(other)) => one.to_canonical() == other.to_canonical(),
            (Host::Name(name), Host::Ip(ip)) => name == "localhost" && ip.to_canonical().is_loopback(),
            (one, other) => one == other,
        };
        if let Ok(address) = said.parse::<Address>() {
            return own.any(|own| own.port == address.port && is_host(&address.host, &own.host));
        }
        let Ok(ip) = said.parse::<IpAddr>() else { return false };
        let host = Host::Ip(ip);
        let there = |other: &Address| is_host(&host, &other.host) || is_host(&other.host, &host);
        let shared = others().any(|other| there(&other.address)) || self.peers_but_self().any(there);
        own.any(|own| is_host(&host, &own.host)) && !shared
    }

    /// The configured peers, without this master itself.
    fn peers_but_self(&self) -> impl Iterator<Item = &Address> {
        let own = self.own_address();
        self.config.peers.iter().filter(move |peer| **peer != own)
    }

    /// The master that is meant by an owner's id, name or address, and where this node calls it. `None`: no peer, or one of several.
    pub(super) fn peer_named(&self, said: &str) -> Option<Party> {
        let all = self.registry.neighbours();
        let address = said.parse::<Address>().ok();
        let host = said.parse::<IpAddr>().ok().map(|ip| Host::Ip(ip.to_canonical()));
        let party = |one: &Neighbour| Party { peer: one.peer.clone(), address: Some(one.address.clone()) };
        if let Some(one) = all.iter().find(|one| one.peer.as_str() == said) {
            return Some(party(one));
        }
        let called = |one: &&Neighbour| {
            let there = |it: &Address| one.address.host == it.host && self.has_port(&one.address, it.port);
            one.name == said || address.as_ref().is_some_and(there) || Some(&one.address.host) == host.as_ref()
        };
        let mut found = all.iter().filter(called);
        match (found.next(), found.next()) {
            (Some(only), None) => return Some(party(only)),
            (Some(_), Some(_)) => return None,
            (None, _) => {}
        }
        // One that has not answered yet has no id.
        let is_it = |peer: &&Address| Some(*peer) == address.as_ref() || Some(&peer.host) == host.as_ref();
        let mut there = self.peers_but_self().filter(is_it);
        let (first, second) = (there.next(), there.next());
        let only = first.filter(|_| second.is_none())?;
        Some(Party { peer: ServerId::new(said)?, address: Some(only.clone()) })
    }

    /// Whether this is somebody else who has taken the id of a native worker: the programs of the classroom do not know what that one has seen, so
    /// that nothing of it is concluded from what they say.
    pub(super) fn is_impostor(&mut self, host: IpAddr, alive: &WorkerAlive) -> bool {
        let lent = self.desk.as_ref().is_some_and(|desk| desk.loans.has_lent_native(&alive.worker));
        if alive.native.is_some() || !(lent || self.farm.is_native(&alive.worker)) {
            return false;
        }
        let (worker, is) = (&alive.worker, if lent { "is lent" } else { "is here" });
        let text = format!("somebody at {host} calls itself {worker}, which is a native worker and {is}: NO_TASK");
        self.log_often(LogLevel::Warn, "programs that call themselves as native workers", text, self.now);
        true
    }

    /// TASK REQUEST: of one that is lent it says that the worker is here.
    pub(super) fn worker_requests(&mut self, reply: Reply, host: IpAddr, worker: Option<ServerId>, now: Time) {
        let who = worker.as_ref().or_else(|| self.farm.pushed_away_on(reply.link)).cloned();
        let lent = |worker: &ServerId| self.desk.as_ref().is_some_and(|desk| desk.loans.has_lent(worker));
        if let Some(who) = who.filter(lent) {
            let alive = WorkerAlive { worker: who, owner: None, listens: None, native: None };
            if self.is_impostor(host, &alive) {
                return self.reply(&reply, Body::NoTask);
            }
            self.worker_of(reply.link, &alive, None, now);
        }
        self.farm.request(reply, host, worker, now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::core::loans::{Counts, LoanConfig};
    use crate::core::{Config, Identity, Input, Output, PeerHint};
    use crate::wire::{
        Dialect, HeartbeatAnswer, LoanAnswer, LoanState, Message, MoveKind, NativeWorker, Registration, Release,
        RequestId, ServiceName, ServiceOffer,
    };

    const OWN: &str = "10.0.0.1:9101";
    const PEER: &str = "10.0.0.2:9102";

    fn id(text: &str) -> ServerId {
        ServerId::new(text).unwrap()
    }

    /// A master A, called ana, at 10.0.0.1:9101, which knows the stranger SERVER_2 at 10.0.0.2:9102.
    struct Desk {
        node: Node,
        now: Time,
        said: Vec<(LinkId, Body)>,
        opened: Vec<(LinkId, Address)>,
        logged: Vec<String>,
    }

    impl Desk {
        fn new() -> Desk {
            Desk::knowing(PeerHint::default())
        }

        /// The same, which knows this beforehand of SERVER_2.
        fn knowing(hint: PeerHint) -> Desk {
            let identity = Identity { server_id: id("A"), name: "ana".to_owned() };
            let config = Config {
                bind: OWN.parse().unwrap(),
                peers: vec![PEER.parse().unwrap()],
                hints: [(PEER.parse().unwrap(), hint)].into(),
                timeout: Duration::from_secs(60),
                forget_owner: Duration::from_secs(120),
                ..Config::default()
            };
            let mut node = Node::new(config, identity, 1, Time::ZERO).unwrap();
            node.lend(LoanConfig { keep: 0, ..LoanConfig::default() }, 1, 1, Time::ZERO).unwrap();
            let (said, opened, logged) = (Vec::new(), Vec::new(), Vec::new());
            let mut desk = Desk { node, now: Time::ZERO, said, opened, logged };
            desk.handle(Input::Tick);
            let (link, _) = desk.opened.remove(0);
            desk.link(link.0, "10.0.0.2:9102");
            let answer = HeartbeatAnswer { server_id: id("SERVER_2"), presence: None };
            desk.say(link.0, None, Body::HeartbeatAnswer(answer));
            desk.take();
            desk
        }

        fn handle(&mut self, input: Input) {
            self.node.handle(input, self.now);
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Send { link, message } => self.said.push((link, message.body)),
                    Output::Open { link, address, .. } => self.opened.push((link, address)),
                    Output::Log { text, .. } => self.logged.push(text),
                    _ => {}
                }
            }
        }

        fn link(&mut self, link: u64, remote: &str) {
            let (local, remote): (SocketAddr, SocketAddr) = (OWN.parse().unwrap(), remote.parse().unwrap());
            self.handle(Input::LinkOpened { link: LinkId(link), local, remote });
        }

        fn close(&mut self, link: u64) {
            self.handle(Input::LinkClosed { link: LinkId(link), reason: "gone".to_owned() });
        }

        fn say(&mut self, link: u64, mark: Option<&str>, body: Body) {
            let message = Message { id: mark.and_then(RequestId::new), body };
            self.handle(Input::Message { link: LinkId(link), message });
        }

        fn pass(&mut self, ms: u64) {
            let end = self.now + Duration::from_millis(ms);
            while let Some(due) = self.node.deadline().filter(|due| *due <= end) {
                self.now = self.now.max(due);
                self.handle(Input::Tick);
            }
            self.now = end;
            self.handle(Input::Tick);
        }

        fn take(&mut self) -> Vec<(LinkId, Body)> {
            self.said.drain(..).collect()
        }

        /// What was said on this link since the last look.
        fn told(&mut self, link: u64) -> Vec<Body> {
            self.take().into_iter().filter(|(to, _)| *to == LinkId(link)).map(|(_, body)| body).collect()
        }

        fn alive(&mut self, link: u64, worker: &str, owner: Option<&str>) -> Vec<Body> {
            let owner = owner.map(str::to_owned);
            let alive = WorkerAlive { worker: id(worker), owner, listens: None, native: None };
            self.say(link, None, Body::WorkerAlive(Box::new(alive)));
            self.told(link)
        }

        fn native(&mut self, link: u64, worker: &str) {
            let name = ServiceName::new("query").unwrap();
            let services = vec![ServiceOffer { name, methods: Vec::new(), idempotent: Vec::new() }];
            let (name, jobs) = (worker.to_owned(), Vec::new());
            let native = NativeWorker { name, slots: 1, services, epoch: None, loan_id: None, jobs };
            let native = Some(Box::new(native));
            let alive = WorkerAlive { worker: id(worker), owner: None, listens: None, native };
            self.say(link, None, Body::WorkerAlive(Box::new(alive)));
            self.take();
        }

        /// Somebody asks on this link for a worker, in the name of this master.
        fn asked(&mut self, link: u64, master: &str) -> Vec<(LinkId, Body)> {
            let address = Some("10.0.0.2:9102".parse().unwrap());
            let request = LoanRequest { master: Some(id(master)), address, ..bare() };
            self.say(link, Some("r-1"), Body::LoanRequest(Box::new(request)));
            let said = self.take();
            let accepted =
                |body: &Body| matches!(body, Body::LoanAnswer(it) if matches!(**it, LoanAnswer::Accepted { .. }));
            assert!(said.iter().any(|(to, body)| *to == LinkId(link) && accepted(body)), "{said:?}");
            said
        }

        fn loans(&self) -> Vec<(String, LoanState)> {
            self.node.loan_views(self.now).into_iter().map(|view| (view.peer, view.status)).collect()
        }

        /// A foreign worker W of A that waits to be pushed, is lent to SERVER_2, and was told so on its own link, 6.
        fn pushed_away() -> Desk {
            let mut desk = Desk::new();
            desk.link(6, "10.0.0.9:40000");
            desk.alive(6, "W", None);
            desk.pass(4_000);
            desk.link(8, "10.0.0.2:50000");
            desk.take();
            let told = desk.asked(8, "SERVER_2");
            let told: Vec<Body> = told.into_iter().filter(|(to, _)| *to == LinkId(6)).map(|(_, body)| body).collect();
            assert!(matches!(&told[..], [Body::Move(order)] if order.kind == MoveKind::Redirect), "{told:?}");
            desk
        }
    }

    /// Where a foreign worker of A that asks for work is sent to, once SERVER_2 has asked for one.
    fn sent_to(desk: &mut Desk) -> String {
        desk.link(6, "10.0.0.9:40000");
        desk.alive(6, "W", None);
        desk.link(8, "10.0.0.2:50000");
        desk.asked(8, "SERVER_2");
        match &desk.alive(6, "W", None)[..] {
            [Body::Move(order)] => order.target.as_ref().unwrap().to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_asks_without_its_name_is_known_by_where_it_is_called() {
        for master in [None, Some("A_NAME_OF_ITS_OWN")] {
            for (port, peer) in [(9102, "SERVER_2"), (9109, "10.0.0.2:9109")] {
                let mut desk = Desk::new();
                desk.link(6, "10.0.0.9:40000");
                desk.alive(6, "W", None);
                desk.link(8, "10.0.0.2:50000");
                let request = LoanRequest {
                    master: master.map(id),
                    address: Some(format!("10.0.0.2:{port}").parse().unwrap()),
                    ..bare()
                };
                desk.say(8, None, Body::LoanRequest(Box::new(request)));
                assert_eq!(desk.loans(), [(peer.to_owned(), LoanState::Moving)], "{master:?} at {port}");
            }
        }
        // It says nothing of an address, as the course's own examples: it is the only peer there is at its host.
        let mut desk = Desk::new();
        desk.link(6, "10.0.0.9:40000");
        desk.alive(6, "W", None);
        desk.link(8, "10.0.0.2:50000");
        desk.say(8, None, Body::LoanRequest(Box::new(LoanRequest { master: Some(id("A_NAME")), ..bare() })));
        assert_eq!(desk.loans(), [("SERVER_2".to_owned(), LoanState::Moving)]);
        // It names the port of its workers, as the operator has.
        let mut desk = Desk::knowing(PeerHint { older: true, workers: Some(9103) });
        desk.link(6, "10.0.0.9:40000");
        desk.alive(6, "W", None);
        desk.link(8, "10.0.0.2:50000");
        let request = LoanRequest { address: Some("10.0.0.2:9103".parse().unwrap()), ..bare() };
        desk.say(8, None, Body::LoanRequest(Box::new(request)));
        assert_eq!(desk.loans(), [("SERVER_2".to_owned(), LoanState::Moving)]);
        assert!(desk.node.peer_named("10.0.0.2:9103").is_some_and(|party| party.peer == id("SERVER_2")));
        // Another host says the same.
        let mut desk = Desk::new();
        desk.link(6, "10.0.0.9:40000");
        desk.alive(6, "W", None);
        desk.link(8, "10.0.0.3:50000");
        let request = LoanRequest { address: Some("10.0.0.3:9102".parse().unwrap()), ..bare() };
        desk.say(8, None, Body::LoanRequest(Box::new(request)));
        assert_eq!(desk.loans(), [("10.0.0.3:9102".to_owned(), LoanState::Moving)]);
    }

    /// A request that says next to nothing.
    fn bare() -> LoanRequest {
        LoanRequest {
            master: None,
            name: None,
            address: None,
            port: None,
            load: 150,
            capacity: 100,
            needed: 1,
            native: None,
            dialect: None,
        }
    }

    #[test]
    fn a_worker_is_sent_to_the_port_on_which_a_peer_serves_workers() {
        assert_eq!(sent_to(&mut Desk::new()), PEER);
        let hint = PeerHint { older: false, workers: Some(9103) };
        assert_eq!(sent_to(&mut Desk::knowing(hint)), "10.0.0.2:9103");
    }

    #[test]
    fn a_guest_of_an_older_program_goes_home_by_its_words_although_nobody_has_promised_it() {
        let told = |hint: PeerHint| {
            let mut desk = Desk::knowing(hint);
            desk.link(6, "10.0.0.9:40000");
            desk.alive(6, "W", Some("SERVER_2"));
            assert_eq!(desk.node.worker_counts().borrowed, 1);
            let moved = |desk: &mut Desk| {
                desk.told(6).into_iter().find_map(|body| match body {
                    Body::Move(order) => Some((order.dialect, order.target.as_ref().unwrap().to_string())),
                    _ => None,
                })
            };
            // Nobody has asked for it: it is given work first, for a while. Then it is pushed its order, since it waits.
            desk.pass(12_000);
            let early = moved(&mut desk);
            assert_eq!(early.is_none(), hint.older, "COMMAND_RELEASE comes first, and waits for its answer");
            desk.pass(6_000);
            early.or_else(|| moved(&mut desk)).unwrap()
        };
        assert_eq!(told(PeerHint::default()), (None, PEER.to_owned()));
        let older = PeerHint { older: true, workers: Some(9103) };
        assert_eq!(told(older), (Some(Dialect::Gen2025_2), "10.0.0.2:9103".to_owned()));
    }

    #[test]
    fn a_worker_that_names_its_own_master_is_no_guest_however_it_calls_it() {
        for name in ["A", "ana", OWN, "10.0.0.1"] {
            let mut desk = Desk::new();
            desk.link(6, "10.0.0.9:40000");
            desk.alive(6, "W", Some(name));
            assert_eq!(desk.node.worker_counts(), Counts { local: 1, lent: 0, borrowed: 0 }, "{name}");
        }
        for name in ["SERVER_2", PEER, "10.0.0.2", "10.0.0.1:9109", "B"] {
            let mut desk = Desk::new();
            desk.link(6, "10.0.0.9:40000");
            desk.alive(6, "W", Some(name));
            assert_eq!(desk.node.worker_counts(), Counts { local: 0, lent: 0, borrowed: 1 }, "{name}");
        }
    }

    #[test]
    fn a_worker_that_is_lent_and_comes_home_under_its_masters_name_is_counted_once() {
        let mut desk = Desk::pushed_away();
        desk.close(6);
        assert_eq!(desk.node.worker_counts(), Counts { local: 0, lent: 1, borrowed: 0 });
        desk.link(10, "10.0.0.9:40001");
        desk.alive(10, "W", Some("ana"));
        assert_eq!(desk.node.worker_counts(), Counts { local: 1, lent: 0, borrowed: 0 });
        let mut desk = Desk::pushed_away();
        desk.close(6);
        desk.link(10, "10.0.0.9:40001");
        let (worker, home) = (id("W"), Some(OWN.parse().unwrap()));
        let body = Registration { worker, home, owner: None, listens: None, wants_ack: true };
        desk.say(10, None, Body::Register(Box::new(body)));
        desk.pass(10_000);
        assert_eq!(desk.loans(), [], "it has registered at home");
    }

    #[test]
    fn the_bare_host_that_another_master_shares_is_not_ones_own() {
        let mut desk = Desk::new();
        desk.node.config.peers.push("10.0.0.1:9105".parse().unwrap());
        assert!(!desk.node.is_own("10.0.0.1", LinkId(6)) && desk.node.is_own(OWN, LinkId(6)));
    }

    #[test]
    fn a_guest_that_was_not_promised_is_given_back_to_the_peer_that_it_names() {
        for owner in ["SERVER_2", PEER, "10.0.0.2"] {
            let mut desk = Desk::new();
            desk.link(6, "10.0.0.9:40000");
            desk.alive(6, "W", Some(owner));
            desk.pass(11_000);
            let told = desk.told(6);
            let [Body::Move(order)] = &told[..] else { panic!("{owner}: {told:?}") };
            assert_eq!((order.kind, order.target.clone()), (MoveKind::Return, Some(PEER.parse().unwrap())), "{owner}");
            let told = |desk: &Desk| desk.logged.iter().any(|text| text.contains("notify_worker_returned to"));
            assert!(!told(&desk), "it is not said yet");
            let (link, address) = desk.opened.pop().expect("its owner is called");
            assert_eq!(address, PEER.parse().unwrap());
            desk.link(link.0, PEER);
            assert!(
                matches!(&desk.told(link.0)[..], [Body::Returned(returned)] if returned.worker == id("W")),
                "{owner}"
            );
            assert!(told(&desk));
        }
        // Of one that is nobody's peer there is nobody to tell, and nobody says that he was.
        let mut desk = Desk::new();
        desk.link(6, "10.0.0.9:40000");
        desk.alive(6, "W", Some("STRANGER"));
        desk.pass(11_000);
        assert!(desk.logged.iter().any(|text| text.starts_with("STRANGER is not told")), "{:?}", desk.logged);
        assert!(!desk.logged.iter().any(|text| text.contains("notify_worker_returned to")));
    }

    #[test]
    fn who_asks_in_the_name_of_a_master_from_another_host_is_not_taken_for_it() {
        for (from, peer) in [("10.0.0.2:50000", "SERVER_2"), ("10.6.6.6:50000", PEER)] {
            let mut desk = Desk::new();
            desk.link(6, "10.0.0.9:40000");
            desk.alive(6, "W", None);
            desk.link(8, from);
            desk.asked(8, "SERVER_2");
            assert_eq!(desk.loans()[0].0, peer, "known by its address, since its name proves nothing");
        }
    }

    #[test]
    fn what_a_foreign_program_says_under_the_id_of_a_native_worker_that_is_lent_is_no_sign_of_it() {
        let mut desk = Desk::new();
        desk.link(6, "10.0.0.9:40000");
        desk.native(6, "W");
        desk.link(8, "10.0.0.2:50000");
        desk.asked(8, "SERVER_2");
        desk.close(6);
        let lent = [("SERVER_2".to_owned(), LoanState::Active)];
        assert_eq!(desk.loans(), lent);
        desk.link(10, "10.6.6.6:40000");
        assert_eq!(desk.alive(10, "W", None), [Body::NoTask]);
        desk.say(10, None, Body::TaskRequest { worker: Some(id("W")) });
        assert_eq!(desk.told(10), [Body::NoTask]);
        assert_eq!(desk.loans(), lent);
        assert!(desk.logged.iter().any(|text| text.contains("calls itself W, which is a native worker and is lent")));
        assert_eq!(desk.node.worker_counts(), Counts { local: 0, lent: 1, borrowed: 0 });
        for _ in 0..200 {
            assert_eq!(desk.alive(10, "W", None), [Body::NoTask]);
        }
        let lines = desk.logged.iter().filter(|text| text.contains("calls itself W")).count();
        assert!(lines < 40, "who says it again and again fills no log: {lines} lines");
        desk.link(12, "10.0.0.9:40001");
        desk.native(12, "W");
        assert_eq!(desk.loans(), [], "its own return is one");
    }

    #[test]
    fn a_foreign_worker_that_does_not_heed_a_pushed_order_is_taken_back() {
        let mut desk = Desk::pushed_away();
        assert_eq!(desk.loans(), [("SERVER_2".to_owned(), LoanState::Moving)]);
        desk.pass(9_900);
        assert_eq!(desk.loans().len(), 1);
        desk.pass(200);
        assert_eq!(desk.loans(), []);
        assert_eq!(
            desk.node.worker_counts(),
            Counts { local: 1, lent: 0, borrowed: 0 },
            "it is one of the farm's again"
        );
        // One that goes is seen to.
        let mut desk = Desk::pushed_away();
        desk.close(6);
        assert_eq!(desk.loans(), [("SERVER_2".to_owned(), LoanState::Active)]);
        desk.pass(15_000);
        assert_eq!(desk.loans().len(), 1);
    }

    #[test]
    fn a_task_request_of_one_that_is_lent_says_that_it_is_here() {
        for who in [Some(id("W")), None] {
            let mut desk = Desk::pushed_away();
            desk.say(6, None, Body::TaskRequest { worker: who });
            assert_eq!(desk.told(6), [Body::NoTask]);
            assert_eq!(desk.loans(), [], "it has not gone");
            assert_eq!(desk.node.worker_counts(), Counts { local: 1, lent: 0, borrowed: 0 });
        }
    }

    #[test]
    fn a_release_by_a_host_that_borrows_nothing_ends_nothing() {
        let mut desk = Desk::pushed_away();
        desk.close(6);
        desk.link(14, "10.6.6.6:1");
        let release = Release { master: Some(id("SERVER_2")), workers: vec![id("W")] };
        desk.say(14, Some("x"), Body::Release(Box::new(release)));
        assert_eq!(desk.loans(), [("SERVER_2".to_owned(), LoanState::Active)]);
    }
}
