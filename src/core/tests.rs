//! Stories of one or two nodes, driven by hand on virtual time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::time::Time;
use crate::wire::{
    Address, Body, ErrorCode, EventKind, GroupPresence, Heartbeat, HeartbeatAnswer, Learnt, LoadReport, NodesQuery,
    Presence, Status,
};

/// A node, its clock, and what it has put out and nobody has looked at yet.
struct Driver {
    node: Node,
    now: Time,
    out: VecDeque<Output>,
}

fn id(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

fn config(peers: &[&str]) -> Config {
    Config { peers: peers.iter().map(|peer| at(peer)).collect(), ..Config::default() }
}

fn presence(name: &str, address: &str) -> Presence {
    Presence {
        server_id: id(name),
        name: name.to_owned(),
        address: at(address),
        role: Role::Master,
        group: "default".to_owned(),
        group_presence: GroupPresence::default(),
        load: LoadReport::default(),
        services: Vec::new(),
    }
}

impl Driver {
    fn new(config: Config) -> Driver {
        let identity = Identity { server_id: id("self"), name: "me".to_owned() };
        let node = Node::new(config, identity, 1, Time::ZERO).unwrap();
        Driver { node, now: Time::ZERO, out: VecDeque::new() }
    }

    fn give(&mut self, input: Input) -> &mut Driver {
        self.node.handle(input, self.now);
        self.out.extend(std::iter::from_fn(|| self.node.poll_output()));
        self
    }

    /// Lets time pass up to `ms` after the start, ticking when the node asks for it.
    fn until(&mut self, ms: u64) -> &mut Driver {
        let end = Time::from_micros(ms * 1000);
        while let Some(due) = self.node.deadline().filter(|due| *due <= end) {
            self.now = due;
            self.give(Input::Tick);
        }
        self.now = end;
        self
    }

    /// The first output that `pick` takes; what comes before it is dropped.
    fn expect<T>(&mut self, what: &str, pick: impl Fn(&Output) -> Option<T>) -> T {
        while let Some(output) = self.out.pop_front() {
            if let Some(found) = pick(&output) {
                return found;
            }
        }
        panic!("no {what}");
    }

    fn dialled(&mut self) -> (LinkId, Address) {
        self.expect("call", |output| match output {
            Output::Open { link, address, .. } => Some((*link, address.clone())),
            _ => None,
        })
    }

    fn open(&mut self) -> LinkId {
        let (link, address) = self.dialled();
        let remote = address.socket().unwrap_or(socket("127.0.0.1:1"));
        self.give(Input::LinkOpened { link, local: socket("127.0.0.1:40000"), remote });
        link
    }

    fn accept(&mut self, link: u64, remote: &str) -> LinkId {
        let link = LinkId(link);
        self.give(Input::LinkOpened { link, local: socket("127.0.0.1:9101"), remote: socket(remote) });
        link
    }

    fn says(&mut self, link: LinkId, body: Body) -> &mut Driver {
        self.give(Input::Message { link, message: Message::plain(body) })
    }

    fn answers(&mut self, link: LinkId, who: &str) -> &mut Driver {
        self.says(link, Body::HeartbeatAnswer(HeartbeatAnswer { server_id: id(who), presence: None }))
    }

    fn sent(&mut self, to: LinkId) -> Body {
        self.expect("line", |output| match output {
            Output::Send { link, message } if *link == to => Some(message.body.clone()),
            _ => None,
        })
    }

    fn statuses(&self) -> Vec<(String, Status)> {
        self.node.registry(self.now).into_iter().map(|entry| (entry.key, entry.status)).collect()
    }

    fn events(&mut self) -> Vec<EventKind> {
        let kinds = self.out.drain(..).filter_map(|output| match output {
            Output::Event(event) => Some(event.kind),
            _ => None,
        });
        kinds.collect()
    }
}

#[test]
fn a_peer_goes_from_unknown_to_alive_to_timeout_to_the_tick() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    assert_eq!(driver.statuses(), [("127.0.0.1:9102".to_owned(), Status::Unknown)]);
    let link = driver.open();
    assert!(matches!(driver.sent(link), Body::Heartbeat(_)));
    driver.until(500).answers(link, "b");
    assert_eq!(driver.statuses(), [("b".to_owned(), Status::Alive)]);
    assert_eq!(driver.events(), [EventKind::PeerAlive]);
    driver.until(6499);
    assert_eq!(driver.statuses(), [("b".to_owned(), Status::Alive)]);
    driver.until(6500);
    assert_eq!(driver.statuses(), [("b".to_owned(), Status::Timeout)]);
    assert_eq!(driver.events(), [EventKind::PeerTimeout]);
}

#[test]
fn at_the_timeout_the_connection_is_replaced_and_an_answer_on_the_new_one_heals() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    let link = driver.open();
    driver.answers(link, "b").until(6000);
    let closed = driver.expect("close", |output| match output {
        Output::Close { link } => Some(*link),
        _ => None,
    });
    assert_eq!(closed, link);
    let link = driver.open();
    driver.answers(link, "b");
    assert_eq!(driver.statuses(), [("b".to_owned(), Status::Alive)]);
}

#[test]
fn another_id_at_the_same_place_leaves_no_ghost() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    let link = driver.open();
    driver.answers(link, "first");
    driver.give(Input::LinkClosed { link, reason: "reset".to_owned() }).until(2000);
    let link = driver.open();
    driver.answers(link, "second");
    assert_eq!(driver.statuses(), [("second".to_owned(), Status::Alive)]);
    assert!(driver.events().contains(&EventKind::PeerReplaced));
}

#[test]
fn a_native_caller_is_learnt_called_back_and_forgotten_when_gone() {
    let mut driver = Driver::new(config(&[]));
    let inbound = driver.accept(0, "127.0.0.1:50000");
    let caller = presence("b", "127.0.0.1:9102");
    driver.says(inbound, Body::Heartbeat(Heartbeat { sender: None, presence: Some(Box::new(caller)) }));
    let Body::HeartbeatAnswer(answer) = driver.sent(inbound) else { panic!("not answered") };
    assert_eq!(answer.presence.unwrap().address, at("127.0.0.1:9101"), "a native caller is told who we are");
    let (link, address) = driver.dialled();
    assert_eq!(address, at("127.0.0.1:9102"));
    let remote = socket("127.0.0.1:9102");
    driver.give(Input::LinkOpened { link, local: socket("127.0.0.1:40000"), remote });
    driver.answers(link, "b");
    assert_eq!(driver.node.registry(driver.now)[0].learnt, Learnt::Heartbeat);
    driver.until(6000);
    assert_eq!(driver.statuses(), [("b".to_owned(), Status::Timeout)]);
    driver.until(6000 + 600_000);
    assert_eq!(driver.statuses(), []);
    assert_eq!(driver.events().last(), Some(&EventKind::PeerForgotten));
}

#[test]
fn an_address_in_a_heartbeat_counts_only_if_it_is_the_connections_own() {
    let mut driver = Driver::new(config(&[]));
    let inbound = driver.accept(0, "192.0.2.7:50000");
    let caller = presence("b", "203.0.113.9:9102");
    driver.says(inbound, Body::Heartbeat(Heartbeat { sender: None, presence: Some(Box::new(caller)) }));
    assert_eq!(driver.dialled().1, at("192.0.2.7:9102"), "the victim at 203.0.113.9 is not called");
}

#[test]
fn loopback_addresses_are_all_this_machine() {
    let mut driver = Driver::new(config(&[]));
    let inbound = driver.accept(0, "[::1]:50000");
    let caller = presence("b", "127.0.0.1:9102");
    driver.says(inbound, Body::Heartbeat(Heartbeat { sender: None, presence: Some(Box::new(caller)) }));
    assert_eq!(driver.dialled().1, at("127.0.0.1:9102"));
}

#[test]
fn a_foreign_heartbeat_is_answered_plainly_and_teaches_nothing() {
    let mut driver = Driver::new(config(&[]));
    let inbound = driver.accept(0, "127.0.0.1:50000");
    driver.says(inbound, Body::Heartbeat(Heartbeat { sender: Some(id("Master_A")), presence: None }));
    let Body::HeartbeatAnswer(answer) = driver.sent(inbound) else { panic!("not answered") };
    assert_eq!((answer.server_id, answer.presence), (id("self"), None));
    assert_eq!(driver.statuses(), []);
}

#[test]
fn what_was_learnt_gives_way_to_the_same_id_at_a_configured_place() {
    let mut driver = Driver::new(config(&["localhost:9102"]));
    driver.until(0);
    let configured = driver.open();
    let inbound = driver.accept(0, "127.0.0.1:50000");
    let caller = presence("b", "127.0.0.1:9102");
    driver.says(inbound, Body::Heartbeat(Heartbeat { sender: None, presence: Some(Box::new(caller)) }));
    assert_eq!(driver.statuses().len(), 2);
    let (learnt, _) = driver.dialled();
    driver.answers(configured, "b");
    assert_eq!(driver.statuses(), [("b".to_owned(), Status::Alive)]);
    let closed = driver.expect("close", |output| match output {
        Output::Close { link } => Some(*link),
        _ => None,
    });
    assert_eq!(closed, learnt, "the place that was learnt is not called any more");
    assert_eq!(driver.node.registry(driver.now)[0].address, at("localhost:9102"));
}

#[test]
fn a_goodbye_is_believed_only_from_the_link_of_who_leaves() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    let link = driver.open();
    driver.answers(link, "b");
    let stranger = driver.accept(0, "127.0.0.1:50000");
    driver.says(stranger, Body::Leave { server_id: id("b") });
    let Body::Error(error) = driver.sent(stranger) else { panic!("not refused") };
    assert_eq!(error.code, ErrorCode::NotNative);
    assert_eq!(driver.statuses()[0].1, Status::Alive);
    driver.says(link, Body::Leave { server_id: id("b") });
    assert_eq!(driver.statuses()[0].1, Status::Left);
    assert_eq!(driver.events(), [EventKind::PeerLeft]);
    // It is configured: it is called again, and an answer brings it back.
    driver.until(60_000);
    let link = driver.open();
    driver.answers(link, "b");
    assert_eq!(driver.statuses()[0].1, Status::Alive);
}

#[test]
fn this_node_among_its_own_peers_is_left_out() {
    let mut driver = Driver::new(config(&["127.0.0.1:9101"]));
    driver.until(0);
    let link = driver.open();
    driver.answers(link, "self");
    assert_eq!(driver.statuses(), []);
    // It is asked again now and then: another program may have taken its place.
    driver.out.clear();
    driver.until(59_000);
    assert!(!driver.out.iter().any(|output| matches!(output, Output::Open { .. })));
    driver.until(60_000);
    let link = driver.open();
    driver.answers(link, "other");
    assert_eq!(driver.statuses(), [("other".to_owned(), Status::Alive)]);
}

#[test]
fn a_wrong_answer_is_shown_as_the_reason() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    let link = driver.open();
    driver.give(Input::Stray { link, line: "{\"alive\":1}".to_owned(), wrong: None });
    let reason = |driver: &Driver| driver.node.registry(driver.now)[0].reason.clone();
    assert!(reason(&driver).contains("`{\"alive\":1}`; expected RESPONSE ALIVE"), "{}", reason(&driver));
    driver.give(Input::LinkClosed { link, reason: "closed".to_owned() });
    assert!(reason(&driver).contains("alive"), "closing after it tells less");
    driver.until(1000);
    let link = driver.open();
    driver.give(Input::LinkClosed { link, reason: "reset".to_owned() });
    assert!(reason(&driver).contains("did not answer: reset"), "{}", reason(&driver));
    driver.until(3000);
    let (link, _) = driver.dialled();
    driver.give(Input::LinkRefused { link, reason: "no route".to_owned() });
    assert_eq!(reason(&driver), "has never answered; no route");
    driver.until(60_000);
    driver.dialled();
}

#[test]
fn one_host_that_makes_ids_up_leaves_places_for_others() {
    let mut driver = Driver::new(config(&[]));
    let mut learn = |link: u64, id: usize, host: &str| {
        let inbound = driver.accept(link, &format!("{host}:50000"));
        let caller = presence(&format!("peer-{id}"), &format!("{host}:{}", 1 + id));
        driver.says(inbound, Body::Heartbeat(Heartbeat { sender: None, presence: Some(Box::new(caller)) }));
        driver.statuses().len()
    };
    for id in 0..300 {
        learn(0, id, "192.0.2.1");
    }
    assert_eq!(learn(0, 300, "192.0.2.1"), super::registry::MAX_LEARNT_PER_HOST);
    assert_eq!(learn(2, 301, "192.0.2.2"), super::registry::MAX_LEARNT_PER_HOST + 1);
}

#[test]
fn what_a_native_caller_says_of_itself_is_taken_up_while_it_is_alive() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    let link = driver.open();
    driver.answers(link, "b");
    let inbound = driver.accept(0, "127.0.0.1:50000");
    let caller = presence("b", "127.0.0.1:9102");
    driver.says(inbound, Body::Heartbeat(Heartbeat { sender: None, presence: Some(Box::new(caller)) }));
    assert_eq!(driver.node.registry(driver.now)[0].name.as_deref(), Some("b"));
    // Somebody else who calls from the place of `b` does not change what is known of `b`.
    let other = Presence { name: "not b".to_owned(), ..presence("c", "127.0.0.1:9102") };
    driver.says(inbound, Body::Heartbeat(Heartbeat { sender: None, presence: Some(Box::new(other)) }));
    let names: Vec<_> = driver.node.registry(driver.now).into_iter().filter_map(|entry| entry.name).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn a_learnt_peer_that_was_lost_is_called_where_it_calls_from_next() {
    let mut driver = Driver::new(config(&[]));
    let inbound = driver.accept(0, "192.0.2.7:50000");
    let heartbeat =
        |address: &str| Body::Heartbeat(Heartbeat { sender: None, presence: Some(Box::new(presence("b", address))) });
    driver.says(inbound, heartbeat("192.0.2.7:9102"));
    let (link, _) = driver.dialled();
    driver.give(Input::LinkRefused { link, reason: "refused".to_owned() });
    driver.says(inbound, heartbeat("192.0.2.7:9103")).until(200);
    assert_eq!(driver.dialled().1, at("192.0.2.7:9103"));
    assert_eq!(driver.statuses().len(), 1);
}

#[test]
fn one_node_at_two_configured_places_is_shown_once() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102", "127.0.0.2:9102"]));
    driver.until(0);
    let (first, second) = (driver.open(), driver.open());
    driver.answers(first, "b").answers(second, "b");
    assert_eq!(driver.statuses(), [("b".to_owned(), Status::Alive)]);
    // One of the two places goes dark: the node is still alive at the other.
    for ms in (1000..=12_000).step_by(1000) {
        driver.until(ms).answers(second, "b");
    }
    assert_eq!(driver.statuses(), [("b".to_owned(), Status::Alive)]);
}

#[test]
fn time_in_which_this_process_did_not_run_is_nobodys_silence() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    let link = driver.open();
    driver.answers(link, "b").until(1000);
    // Stopped for an hour: then the sockets are read first (nothing there), then the tick comes.
    driver.now = Time::ZERO + Duration::from_secs(3600);
    driver.give(Input::HeartbeatsAnswered { count: 1 }).give(Input::Tick);
    assert_eq!(driver.statuses()[0].1, Status::Alive);
    driver.answers(link, "b");
    assert_eq!(driver.statuses()[0].1, Status::Alive);
    // But silence from here on counts.
    driver.until(3_600_000 + 6000);
    assert_eq!(driver.statuses()[0].1, Status::Timeout);
}

#[test]
fn lost_time_is_excused_once_however_many_inputs_follow() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    let link = driver.open();
    driver.answers(link, "b").until(1000);
    let due = driver.node.deadline().unwrap();
    driver.now = due + Duration::from_secs(3);
    for _ in 0..10 {
        driver.give(Input::HeartbeatsAnswered { count: 1 });
    }
    driver.give(Input::Tick);
    // Last answer at 0, excused for 3 s: TIMEOUT at 9 s.
    driver.until(8999);
    assert_eq!(driver.statuses()[0].1, Status::Alive);
    driver.until(9000);
    assert_eq!(driver.statuses()[0].1, Status::Timeout);
}

#[test]
fn streams_get_each_event_once_until_their_link_closes() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    let watcher = driver.accept(0, "127.0.0.1:50000");
    driver.says(watcher, Body::Events);
    assert_eq!(driver.sent(watcher), Body::EventsAnswer { seq: 0 });
    driver.until(0);
    let link = driver.open();
    driver.answers(link, "b");
    let Body::Event(event) = driver.sent(watcher) else { panic!("no event") };
    assert_eq!((event.seq, event.kind), (1, EventKind::PeerAlive));
    driver.give(Input::LinkClosed { link: watcher, reason: "closed".to_owned() }).until(6000);
    let to_watcher = |output: &Output| matches!(output, Output::Send { link, .. } if *link == watcher);
    assert!(!driver.out.iter().any(to_watcher));
}

#[test]
fn nodes_are_paged_in_the_order_of_keys() {
    let peers: Vec<String> = (1..=150).map(|n| format!("10.0.0.{n}:9101")).collect();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    let mut driver = Driver::new(config(&peers));
    let link = driver.accept(0, "127.0.0.1:50000");
    let (mut after, mut keys, mut pages) = (None, Vec::new(), 0);
    loop {
        driver.says(link, Body::Nodes(Box::new(NodesQuery { after: after.clone(), ..NodesQuery::default() })));
        let Body::NodesAnswer(page) = driver.sent(link) else { panic!("no page") };
        keys.extend(page.nodes.iter().map(|entry| entry.key.clone()));
        pages += 1;
        after = keys.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!((pages, keys.len()), (3, 150));
    assert!(keys.is_sorted());
}

#[test]
fn one_node_that_is_not_there_is_an_error() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    let link = driver.accept(0, "127.0.0.1:50000");
    driver.says(link, Body::Nodes(Box::new(NodesQuery { name: Some("nobody".to_owned()), ..NodesQuery::default() })));
    let Body::Error(error) = driver.sent(link) else { panic!("no error") };
    assert_eq!((error.code, error.retry), (ErrorCode::NotFound, true));
    driver
        .says(link, Body::Nodes(Box::new(NodesQuery { address: Some(at("127.0.0.1:9102")), ..NodesQuery::default() })));
    assert!(matches!(driver.sent(link), Body::NodesAnswer(page) if page.nodes.len() == 1));
}

#[test]
fn stopping_says_goodbye_to_native_peers_only() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102", "127.0.0.1:9103"]));
    driver.until(0);
    let (native, foreign) = (driver.open(), driver.open());
    let known = Some(Box::new(presence("b", "127.0.0.1:9102")));
    driver.says(native, Body::HeartbeatAnswer(HeartbeatAnswer { server_id: id("b"), presence: known }));
    driver.answers(foreign, "c");
    driver.out.clear();
    driver.give(Input::Command(Command::Stop));
    let goodbyes: Vec<LinkId> = (driver.out.iter())
        .filter_map(|output| match output {
            Output::Send { link, message } if matches!(message.body, Body::Leave { .. }) => Some(*link),
            _ => None,
        })
        .collect();
    assert_eq!(goodbyes, [native]);
    assert_eq!(driver.out.back(), Some(&Output::Stopped));
    assert_eq!(driver.node.deadline(), None);
}

#[test]
fn a_peer_that_answers_the_heartbeat_with_an_error_is_not_alive() {
    let mut driver = Driver::new(config(&["127.0.0.1:9102"]));
    driver.until(0);
    let link = driver.open();
    let detail = format!("no\x1b[2J{}", "!".repeat(70_000));
    let error = crate::wire::ErrorAnswer::new("", ErrorCode::Other("WHAT".to_owned()), detail);
    driver.says(link, Body::Error(Box::new(error)));
    assert_eq!(driver.statuses()[0].1, Status::Unknown);
    let reason = &driver.node.registry(driver.now)[0].reason;
    assert!(reason.contains("WHAT: no[2J!!!"), "{reason}");
    assert!(reason.len() < 250 && !reason.contains('\x1b'), "it stands on one short line");
    driver.expect("close", |output| matches!(output, Output::Close { .. }).then_some(()));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let named = |config: Config| match config.check() {
        Err(ConfigError::Range { setting, .. }) => setting,
        Ok(()) => panic!("accepted"),
    };
    let second = Duration::from_secs(1);
    assert_eq!(named(Config { interval: Duration::ZERO, ..config(&[]) }), "interval");
    assert_eq!(named(Config { interval: 6 * second, ..config(&[]) }), "timeout");
    assert_eq!(named(Config { forget: 6 * second, ..config(&[]) }), "forget");
    assert_eq!(named(Config { group: String::new(), ..config(&[]) }), "group");
}

#[test]
fn a_guest_that_comes_when_nobody_needs_it_any_more_is_told_to_go() {
    use crate::wire::{JobRef, Json, LoanAnswer, MoveKind, OfferedWorker, Permille, ServiceName, Submit, WorkerAlive};
    let load = LoadConfig { capacity: 1, release: 1, hold: Duration::ZERO, cpu_threshold: Permille::new(0) };
    let queue = QueueConfig { durability: Durability::Memory, ..QueueConfig::default() };
    let mut it = Driver::new(Config { load, queue, ..config(&["127.0.0.1:9102"]) });
    it.node.lend(LoanConfig::default(), 1, 1, Time::ZERO).unwrap();
    it.give(Input::Tick);
    let peer = it.open();
    let presence = Some(Box::new(presence("B", "127.0.0.1:9102")));
    it.says(peer, Body::HeartbeatAnswer(HeartbeatAnswer { server_id: id("B"), presence }));
    let client = it.accept(2, "127.0.0.1:50000");
    let name = |text: &str| ServiceName::new(text).unwrap();
    for nth in 0..3 {
        let key = Some(format!("job-{nth}"));
        let submit = Submit { key, ..Submit::new(name("query"), name("run"), Json::of(&serde_json::json!(1))) };
        it.says(client, Body::Submit(Box::new(submit)));
    }
    it.until(300);
    let mark = it.expect("request for workers", |output| match output {
        Output::Send { message: Message { id, body: Body::LoanRequest(_) }, .. } => Some(id.clone()),
        _ => None,
    });
    let workers = vec![OfferedWorker { worker: id("W"), address: None, terms: None }];
    let answer = LoanAnswer::Accepted { master: Some(id("B")), offered: 1, workers, dialect: None };
    it.give(Input::Message { link: peer, message: Message { id: mark, body: Body::LoanAnswer(Box::new(answer)) } });
    for nth in 0..3 {
        it.says(client, Body::Cancel(JobRef::Key(format!("job-{nth}"))));
    }
    it.until(1000);
    let guest = it.accept(4, "127.0.0.1:50001");
    let alive = || {
        let alive = WorkerAlive { worker: id("W"), owner: Some("B".to_owned()), listens: None, native: None };
        Body::WorkerAlive(Box::new(alive))
    };
    it.out.clear();
    it.says(guest, alive());
    it.until(2000);
    it.says(guest, alive());
    let kind = it.expect("order to go home", |output| match output {
        Output::Send { link, message: Message { body: Body::Move(order), .. } } if *link == guest => Some(order.kind),
        _ => None,
    });
    assert_eq!(kind, MoveKind::Return);
}
