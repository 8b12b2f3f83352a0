// Body of the fuzz target `core`, shared with the test that replays its corpus.
//
// The bytes are a program: each operation is one input to a node, or an answer to what the node asked for. Whatever
// the order, the node must not panic, must not contradict itself (its invariants are checked in debug builds), must
// name deadlines that a tick satisfies, and must do the same when it is given the same again.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use mutirao::core::{Command, Config, Identity, Input, LinkId, LoadSample, LogTicket, Node, Output};
use mutirao::time::Time;
use mutirao::wire::{
    Body, ErrorAnswer, ErrorCode, GroupPresence, Heartbeat, HeartbeatAnswer, LoadReport, Message, NodesQuery, Permille,
    Presence, RequestId, Role, ServerId,
};

mod group;

/// Reads the program byte by byte; zeros after its end.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        u64::from(self.byte()) << 8 | u64::from(self.byte())
    }

    fn link(&mut self, opened: &VecDeque<LinkId>) -> LinkId {
        let n = usize::from(self.byte());
        if n % 4 == 3 || opened.is_empty() { LinkId(n as u64) } else { opened[n % opened.len()] }
    }
}

fn server_id(n: u8) -> ServerId {
    let name = if n.is_multiple_of(8) { "self".to_owned() } else { format!("peer-{}", n % 8) };
    ServerId::new(name).expect("a short name")
}

fn socket(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n % 4 + 1], 9100 + u16::from(n % 8)))
}

fn presence(n: u8, m: u8) -> Option<Box<Presence>> {
    let presence = Presence {
        server_id: server_id(n),
        name: "somebody".to_owned(),
        address: mutirao::wire::Address::of(socket(m)),
        role: if m.is_multiple_of(2) { Role::Master } else { Role::Worker },
        group: "default".to_owned(),
        group_presence: GroupPresence::default(),
        load: LoadReport { cpu: Permille::new(u64::from(m) * 4), ..LoadReport::default() },
        services: Vec::new(),
    };
    (!m.is_multiple_of(3)).then(|| Box::new(presence))
}

fn body(program: &mut Program<'_>) -> Body {
    let (n, m) = (program.byte(), program.byte());
    match program.byte() % 12 {
        0 | 1 => Body::Heartbeat(Heartbeat { sender: Some(server_id(n)), presence: presence(n, m) }),
        2..=4 => Body::HeartbeatAnswer(HeartbeatAnswer { server_id: server_id(n), presence: presence(n, m) }),
        5 => Body::Hello,
        6 => Body::Nodes(Box::new(NodesQuery {
            server_id: m.is_multiple_of(2).then(|| server_id(n)),
            ..NodesQuery::default()
        })),
        7 => Body::Load,
        8 => Body::Events,
        9 => Body::Leave { server_id: server_id(n) },
        10 => Body::Error(Box::new(ErrorAnswer::new("HEARTBEAT", ErrorCode::Other("X".to_owned()), "no"))),
        _ => Body::EventsAnswer { seq: u64::from(n) },
    }
}

fn play(bytes: &[u8]) -> Vec<Output> {
    let mut program = Program(bytes);
    let first = program.byte();
    let peers = (0..first % 8 % 5).map(|n| mutirao::wire::Address::of(socket(n))).collect();
    let identity = Identity { server_id: server_id(0), name: "me".to_owned() };
    let config = Config { peers, ..Config::default() };
    let mut now = Time::ZERO;
    let seed = u64::from(program.byte());
    let mut node = Node::new(config, identity, seed, now).expect("lawful settings");
    group::Begin::of(first).apply(&mut node, seed, now);
    // Group writes that are not durable yet, oldest first.
    let (mut unwritten, mut proofs) = (VecDeque::new(), group::Proofs::default());
    let mut accepted = BTreeSet::new();
    let (mut asked, mut opened, mut trace) = (VecDeque::new(), VecDeque::new(), Vec::new());
    while !program.0.is_empty() {
        let input = match program.byte() % 16 {
            0 => {
                now = now + Duration::from_millis(program.number());
                Input::Tick
            }
            1 => {
                now = now + Duration::from_secs(program.number());
                Input::Tick
            }
            2 => {
                now = node.deadline().unwrap_or(now).max(now);
                Input::Tick
            }
            3 | 4 => match asked.pop_front() {
                Some(link) => {
                    opened.push_back(link);
                    Input::LinkOpened { link, local: socket(0), remote: socket(program.byte()) }
                }
                None => Input::Tick,
            },
            5 => match asked.pop_front() {
                Some(link) => Input::LinkRefused { link, reason: "refused".to_owned() },
                None => Input::LinkRefused { link: program.link(&opened), reason: "never asked".to_owned() },
            },
            6 => {
                // No id is used twice.
                let mut link = LinkId(u64::from(program.byte()) * 2);
                while !accepted.insert(link) {
                    link = LinkId(link.0 + 512);
                }
                opened.push_back(link);
                Input::LinkOpened { link, local: socket(0), remote: socket(program.byte()) }
            }
            7 => {
                let link = program.link(&opened);
                opened.retain(|known| *known != link);
                proofs.closed(link);
                Input::LinkClosed { link, reason: "closed".to_owned() }
            }
            8 => Input::HeartbeatsAnswered { count: program.number() },
            9 if program.byte() > 127 => {
                let wrong = (program.byte() > 127).then_some("it is odd");
                Input::Stray { link: program.link(&opened), line: "?".to_owned(), wrong }
            }
            9 if program.byte() > 127 => {
                let refusal = mutirao::wire::LoanAnswer::Rejected { master: None, reason: "refused".to_owned() };
                let refusal = Message { id: None, body: Body::LoanAnswer(Box::new(refusal)) };
                let refusal = (program.byte() > 127).then(|| Box::new(refusal));
                Input::Ignored { link: program.link(&opened), why: "it is odd", line: "?".to_owned(), refusal }
            }
            9 => Input::Datagram { from: socket(1), datagram: mutirao::wire::Datagram::Find },
            10 => {
                let cpu = Permille::new(program.number());
                Input::LoadSample(LoadSample { cpu, memory: cpu })
            }
            11 if program.byte() > 63 => match (unwritten.pop_front(), program.byte()) {
                (Some(first), more) => {
                    let more = usize::from(more % 8).min(unwritten.len());
                    let through = unwritten.drain(..more).next_back().unwrap_or(first);
                    Input::GroupWritten { through }
                }
                (None, 0) => Input::GroupTrouble { reason: Some("no room".to_owned()) },
                (None, 1) => Input::GroupTrouble { reason: None },
                // What is told twice.
                (None, old) => Input::GroupWritten { through: LogTicket(u64::from(old % 2)) },
            },
            11 => Input::Written { through: mutirao::core::Ticket(program.number()) },
            12 if program.byte() == 255 => Input::Command(Command::Stop),
            13 | 14 => {
                let (id, link) = (program.byte(), program.link(&opened));
                let handed_on = || RequestId::new(format!("group-{}", id % 8));
                let id = if id < 200 {
                    None
                } else if id < 210 {
                    RequestId::new("proof")
                } else {
                    handed_on()
                };
                Input::Message { link, message: Message { id, body: group::body(&mut program, link, &mut proofs) } }
            }
            _ => {
                let id = program.byte().is_multiple_of(4).then(|| RequestId::new(program.byte().to_string())).flatten();
                Input::Message { link: program.link(&opened), message: Message { id, body: body(&mut program) } }
            }
        };
        let ticked = input == Input::Tick;
        // A tick that changes the group has it look around at once; soon it rests.
        for (nth, input) in std::iter::once(input).chain(std::iter::repeat_n(Input::Tick, 7)).enumerate() {
            if nth > 0 && !(ticked && node.deadline().is_some_and(|due| due <= now)) {
                break;
            }
            node.handle(input, now);
            while let Some(output) = node.poll_output() {
                match &output {
                    Output::Open { link, .. } => asked.push_back(*link),
                    Output::WriteGroup { ticket, .. } => unwritten.push_back(*ticket),
                    Output::Send { link, message } => proofs.heard(*link, &message.body),
                    Output::Close { link } => {
                        proofs.closed(*link);
                        asked.retain(|known| known != link);
                        opened.retain(|known| known != link);
                    }
                    _ => {}
                }
                trace.push(output);
                assert!(trace.len() < 1_000_000, "one program never makes that much");
            }
        }
        node.check_invariants();
        if ticked {
            assert!(node.deadline().is_none_or(|due| due > now), "a few ticks leave nothing due");
        }
        let registry = node.registry(now);
        assert!(registry.is_sorted_by(|a, b| a.key < b.key), "each key stands once, in order");
        opened.truncate(64);
    }
    trace
}

/// Runs the program twice: it must not panic, and do the same both times.
pub(crate) fn run(bytes: &[u8]) {
    assert_eq!(play(bytes), play(bytes), "same inputs, same outputs");
}
