// The group in the body of the fuzz target `core`: what is stored of it, what members and strangers say of it, and proofs of its key.
//
// Links prove the key by construction, since no fuzzer guesses an HMAC; what is said on them is as hostile as on the others. Whatever
// members gone mad say, the node must not panic.

use std::collections::BTreeMap;
use std::time::Duration;

use mutirao::core::{AgreementConfig, LinkId, Membership, Node, StoredGroup};
use mutirao::time::Time;
use mutirao::wire::{
    Admission, Admit, Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Body, Command, Elect, ElectKind, ElectVote,
    Envelope, GroupId, Json, LeaseAction, LeaseRequest, LedgerEntry, LedgerItem, MembersAction, NewMember, Proof,
    RaftId, SettingsQuery, SnapshotHead, VoterChange, VoterSets,
};
use ring::hmac;

use super::{Program, server_id, socket};

/// The group of the node, if it has one.
const GROUP: &str = "aaaaaaaa-0000";
const OTHER: &str = "bbbbbbbb-0000";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What the node begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// It takes no part in agreement.
    Alone,
    /// It has no group yet.
    Fresh,
    /// It is one of three voters.
    OfThree,
    /// It is the only member.
    Founder,
}

impl Begin {
    pub(super) fn of(byte: u8) -> Begin {
        [Begin::Alone, Begin::OfThree, Begin::Founder, Begin::Fresh][usize::from(byte / 8 % 4)]
    }

    /// Switches agreement on.
    pub(super) fn apply(self, node: &mut Node, seed: u64, now: Time) {
        let stored = match self {
            Begin::Alone => return,
            Begin::Fresh => StoredGroup::fresh(id("0000000000")),
            Begin::OfThree => stored(3),
            Begin::Founder => stored(1),
        };
        node.agree(AgreementConfig::default(), stored, [7; 32], seed, now).expect("it is sound");
    }
}

fn id(text: &str) -> GroupId {
    GroupId::new(text).expect("eight or more of its digits")
}

/// The text of the ledger at an index, with so many members.
fn ledger(index: u64, members: u64) -> String {
    let member = |n: u64| {
        let (server, address) = (server_id(if n == 1 { 0 } else { n as u8 }), socket(n as u8));
        format!(
            r#"{{"RAFT_ID":{n},"SERVER_ID":"{}","STATE_ID":"000000000{n}","NAME":"m{n}","ADDRESS":"{address}"}}"#,
            server.as_str()
        )
    };
    let members_text: Vec<String> = (1..=members).map(member).collect();
    format!(
        r#"{{"FORMAT":1,"INDEX":{index},"GROUP_ID":"{GROUP}","GROUP":"default","NEXT_RAFT_ID":{},"MEMBERS":[{}],"LEAVING":[],"SETTINGS":[],"LEASES":[]}}"#,
        members + 1,
        members_text.join(",")
    )
}

fn stored(members: u64) -> StoredGroup {
    let voters = (1..=members).map(RaftId).collect();
    let head = SnapshotHead { index: 1, term: 1, members: VoterSets { voters, ..VoterSets::default() } };
    let membership = Membership { group_id: id(GROUP), raft_id: RaftId(1), key: KEY.to_owned() };
    StoredGroup {
        membership: Some(membership),
        term: 1,
        commit: 1,
        snapshot: Some((head, ledger(1, members))),
        ..StoredGroup::fresh(id("0000000001"))
    }
}

/// What was asked for on a link, and by whom.
pub(super) struct Asked {
    raft_id: u64,
    challenge: String,
}

/// The proofs that are under way, and what was proved.
#[derive(Default)]
pub(super) struct Proofs {
    /// By dialled link: the node's challenge.
    dialled: BTreeMap<LinkId, String>,
    /// By accepted link: who has asked, and what the node has countered.
    accepted: BTreeMap<LinkId, (Asked, Option<String>)>,
    /// As whom each link speaks.
    speaks: BTreeMap<LinkId, u64>,
    /// What tells the node's process from others of its id, once it has said it.
    run: String,
}

/// The process behind a link: of each id there are two, so that some are at two addresses at once.
fn run(link: LinkId) -> String {
    format!("{:032x}", link.0 / 4 % 2)
}

impl Proofs {
    /// The node has said this.
    pub(super) fn heard(&mut self, link: LinkId, body: &Body) {
        let Body::Proof(proof) = body else { return };
        match &**proof {
            Proof::Challenge { challenge, run, .. } => {
                self.run.clone_from(run);
                self.dialled.insert(link, challenge.clone());
            }
            Proof::Counter { challenge, run, .. } => {
                self.run.clone_from(run);
                if let Some((_, countered)) = self.accepted.get_mut(&link) {
                    *countered = Some(challenge.clone());
                }
            }
            Proof::Response { .. } | Proof::Proved => {}
        }
    }

    pub(super) fn closed(&mut self, link: LinkId) {
        self.dialled.remove(&link);
        self.accepted.remove(&link);
        self.speaks.remove(&link);
    }

    /// The next step of a proof on this link, as the member of this number.
    pub(super) fn step(&mut self, link: LinkId, raft_id: u64) -> Proof {
        let party = |raft_id: u64| (server_id(raft_id as u8 % 8), raft_id);
        let text = |raft_id: u64| format!("{}/{raft_id}/{}", party(raft_id).0.as_str(), run(link));
        let node = format!("{}/1/{}", server_id(0).as_str(), self.run);
        let ours = "ffeeddccbbaa99887766554433221100";
        if let Some(challenge) = self.dialled.get(&link) {
            self.speaks.insert(link, raft_id);
            let proof = prove("accepter", [&node, &text(raft_id), challenge, ours]);
            let server_id = party(raft_id).0;
            return Proof::Counter {
                group_id: id(GROUP),
                raft_id: RaftId(raft_id),
                server_id,
                run: run(link),
                challenge: ours.to_owned(),
                proof,
                refuses: None,
            };
        }
        if let Some((asked, Some(countered))) = self.accepted.get(&link) {
            self.speaks.insert(link, asked.raft_id);
            return Proof::Response {
                proof: prove("dialler", [&text(asked.raft_id), &node, &asked.challenge, countered]),
            };
        }
        self.accepted.insert(link, (Asked { raft_id, challenge: ours.to_owned() }, None));
        Proof::Challenge {
            group_id: id(GROUP),
            raft_id: RaftId(raft_id),
            server_id: party(raft_id).0,
            run: run(link),
            challenge: ours.to_owned(),
        }
    }

    /// As whom the link speaks; 2 where nothing was proved.
    fn speaker(&self, link: LinkId) -> u64 {
        self.speaks.get(&link).copied().unwrap_or(2)
    }
}

/// Dialler, accepter and their challenges, proved by one of them.
fn prove(end: &str, [dialler, accepter, asked, countered]: [&str; 4]) -> String {
    let text = ["mutirao group", end, GROUP, dialler, accepter, asked, countered].join("\0");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), text.as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number: small as a rule, sometimes one at which reckoning overflows.
fn number(program: &mut Program<'_>) -> u64 {
    match program.byte() {
        byte @ 0..=199 => u64::from(byte % 20),
        byte @ 200..=239 => u64::from(byte) * 1000,
        240..=244 => (1 << 53) - 1,
        245..=247 => 1 << 53,
        248..=249 => 1 << 60,
        250..=252 => u64::MAX - 1,
        _ => u64::MAX,
    }
}

fn raft_id(program: &mut Program<'_>) -> RaftId {
    RaftId(match program.byte() {
        byte @ 0..=239 => u64::from(byte % 6),
        240..=247 => 100,
        _ => u64::MAX,
    })
}

fn raft_ids(program: &mut Program<'_>) -> Vec<RaftId> {
    match program.byte() % 8 {
        0..=1 => (1..=3).map(RaftId).collect(),
        2 => vec![RaftId(1)],
        count => (3..count).map(|_| raft_id(program)).collect(),
    }
}

fn name(program: &mut Program<'_>) -> String {
    ["x", "y", "capacity", "forget", "release", "", "\u{7}"][usize::from(program.byte() % 7)].to_owned()
}

fn term(program: &mut Program<'_>) -> Duration {
    Duration::from_millis([1000, 0, 10_000, 3_600_000, 3_600_001, u64::MAX][usize::from(program.byte() % 6)])
}

fn value(program: &mut Program<'_>) -> Json {
    let texts = ["null", "1", "200", "-1", "1e99", "\"x\"", "{}", "18446744073709551615", "5000"];
    Json::new(texts[usize::from(program.byte()) % texts.len()]).expect("it is JSON")
}

fn new_member(program: &mut Program<'_>) -> NewMember {
    let n = program.byte() % 8;
    NewMember {
        server_id: server_id(n),
        state_id: id(&format!("000000000{}", program.byte() % 8)),
        name: name(program),
        address: mutirao::wire::Address::of(socket(n)),
    }
}

fn command(program: &mut Program<'_>) -> Command {
    match program.byte() % 12 {
        0..=1 => Command::Set { name: name(program), value: value(program) },
        2..=3 => Command::Acquire { name: name(program), holder: name(program), ttl: term(program) },
        4 => Command::Release { name: name(program), fence: number(program) },
        5 => Command::Expire { name: name(program), fence: number(program) },
        6 => Command::Tick { name: name(program), fence: number(program), tick: number(program) },
        7 => Command::Admit(new_member(program)),
        8 => Command::Remove { raft_id: raft_id(program), reason: name(program) },
        9 => {
            let address = mutirao::wire::Address::of(socket(program.byte()));
            Command::Move { raft_id: raft_id(program), name: name(program), address }
        }
        10 => Command::Recover { group_id: group_id(program), raft_id: raft_id(program) },
        _ => Command::Found { group_id: group_id(program), group: name(program), member: new_member(program) },
    }
}

fn group_id(program: &mut Program<'_>) -> GroupId {
    id(if program.byte() % 16 == 15 { OTHER } else { GROUP })
}

fn entries(program: &mut Program<'_>, after: u64) -> Vec<LedgerEntry> {
    let count = program.byte() % 5;
    let mut entries = Vec::new();
    for nth in 0..u64::from(count) {
        let gap = u64::from(program.byte() % 16 == 15);
        let term = number(program);
        let what = match program.byte() % 6 {
            0 => LedgerItem::Empty,
            1 => LedgerItem::Change(VoterChange {
                add_voters: raft_ids(program),
                add_learners: raft_ids(program),
                remove: raft_ids(program),
            }),
            _ => LedgerItem::Command(Box::new(command(program))),
        };
        entries.push(LedgerEntry { index: after.saturating_add(nth + 1 + gap), term, what });
    }
    entries
}

fn sets(program: &mut Program<'_>) -> VoterSets {
    match program.byte() % 4 {
        0..=1 => VoterSets { voters: (1..=3).map(RaftId).collect(), ..VoterSets::default() },
        2 => VoterSets { voters: raft_ids(program), learners: raft_ids(program), ..VoterSets::default() },
        _ => VoterSets {
            voters: raft_ids(program),
            learners: raft_ids(program),
            voters_outgoing: raft_ids(program),
            learners_next: raft_ids(program),
            auto_leave: program.byte().is_multiple_of(2),
        },
    }
}

/// A piece of a snapshot: of a sound text as a rule, whole or in two.
fn piece(program: &mut Program<'_>) -> AgreeKind {
    let (last_index, last_term) = (number(program), number(program));
    let text = match program.byte() % 8 {
        0 => "not a ledger".to_owned(),
        1 => ledger(number(program), 3),
        2 => ledger(last_index, u64::from(program.byte() % 8)),
        _ => ledger(last_index, 3),
    };
    let (offset, data, done) = match program.byte() % 8 {
        0..=2 => (0, text.as_str(), true),
        3..=4 => (0, &text[..text.len() / 2], false),
        5..=6 => ((text.len() / 2) as u64, &text[text.len() / 2..], true),
        _ => (number(program), "", program.byte().is_multiple_of(2)),
    };
    AgreeKind::Snapshot { last_index, last_term, members: sets(program), offset, data: data.to_owned(), done }
}

fn context(program: &mut Program<'_>) -> Option<String> {
    match program.byte() % 4 {
        0 => None,
        1 => Some("x".repeat(65)),
        _ => Some((program.byte() % 4).to_string()),
    }
}

/// What a member says, or one who claims to be one.
fn letter(program: &mut Program<'_>, envelope: Envelope) -> Body {
    match program.byte() % 12 {
        0..=1 => Body::Elect(Box::new(Elect {
            envelope,
            kind: match program.byte() % 8 {
                0 => ElectKind::Now,
                kind => ElectKind::Vote {
                    pre: kind % 2 == 0,
                    last_log_index: number(program),
                    last_log_term: number(program),
                    commit_index: number(program),
                    commit_term: number(program),
                    transfer: program.byte().is_multiple_of(4),
                },
            },
        })),
        2..=3 => Body::ElectVote(Box::new(ElectVote {
            envelope,
            pre: program.byte().is_multiple_of(2),
            granted: !program.byte().is_multiple_of(4),
            commit_index: number(program),
            commit_term: number(program),
        })),
        4..=6 => {
            let prev_log_index = number(program);
            let kind = AgreeKind::Append {
                prev_log_index,
                prev_log_term: number(program),
                entries: entries(program, prev_log_index),
                leader_commit: number(program),
            };
            Body::Agree(Box::new(Agree { envelope, kind }))
        }
        7 => {
            let kind = AgreeKind::Heartbeat { leader_commit: number(program), context: context(program) };
            Body::Agree(Box::new(Agree { envelope, kind }))
        }
        8 => Body::Agree(Box::new(Agree { envelope, kind: piece(program) })),
        _ => {
            let kind = match program.byte() % 6 {
                0..=2 => AgreeAnswerKind::Append {
                    success: !program.byte().is_multiple_of(4),
                    match_index: number(program),
                    hint: (program.byte().is_multiple_of(2)).then(|| (number(program), number(program))),
                    commit_index: number(program),
                },
                3..=4 => AgreeAnswerKind::Heartbeat { context: context(program), commit_index: number(program) },
                _ => AgreeAnswerKind::Piece { last_index: number(program), next: number(program) },
            };
            Body::AgreeAnswer(Box::new(AgreeAnswer { envelope, kind }))
        }
    }
}

/// What clients and joiners say.
fn request(program: &mut Program<'_>) -> Body {
    match program.byte() % 12 {
        0 => Body::ElectQuestion,
        1 => Body::LedgerQuestion,
        2 => Body::MembersQuestion,
        3..=5 => Body::Settings(Box::new(SettingsQuery {
            name: (!program.byte().is_multiple_of(4)).then(|| name(program)),
            value: (program.byte().is_multiple_of(2)).then(|| value(program)),
            local: program.byte().is_multiple_of(8),
        })),
        6 => Body::LeaseQuestion {
            local: program.byte().is_multiple_of(2),
            after: (program.byte().is_multiple_of(4)).then(|| name(program)),
        },
        7..=9 => {
            let (name, holder, fence) = (name(program), name(program), number(program));
            let action = match program.byte() % 4 {
                0 => LeaseAction::Acquire { holder, ttl: term(program), wait: term(program) },
                1 => LeaseAction::Renew { holder, fence },
                2 => LeaseAction::Release { holder, fence },
                _ => LeaseAction::Tick { holder, fence, tick: number(program) },
            };
            Body::Lease(Box::new(LeaseRequest { name, action }))
        }
        10 => Body::Members(Box::new(match program.byte() % 8 {
            0..=2 => {
                let member = new_member(program);
                MembersAction::Admit(Box::new(Admit {
                    server_id: member.server_id,
                    name: member.name,
                    address: member.address,
                    group: if program.byte().is_multiple_of(4) { "other".to_owned() } else { "default".to_owned() },
                    state_id: member.state_id,
                }))
            }
            3 => {
                MembersAction::Remove { server_id: server_id(program.byte()), force: program.byte().is_multiple_of(2) }
            }
            4 => MembersAction::Lead { server_id: server_id(program.byte()) },
            5 => MembersAction::Leave,
            6 => MembersAction::Join { target: mutirao::wire::Address::of(socket(program.byte())) },
            _ => MembersAction::Recover { confirm: group_id(program) },
        })),
        _ => {
            let (group_id, raft_id) = (group_id(program), raft_id(program));
            let key = if program.byte().is_multiple_of(4) { "k".to_owned() } else { KEY.to_owned() };
            Body::Admission(Box::new(Admission { group_id, raft_id, key, members: Vec::new() }))
        }
    }
}

/// One message of the group on this link.
pub(super) fn body(program: &mut Program<'_>, link: LinkId, proofs: &mut Proofs) -> Body {
    match program.byte() % 8 {
        0..=1 => {
            let raft_id = u64::from(program.byte() % 4) + u64::from(program.byte() < 250);
            Body::Proof(Box::new(match program.byte() {
                0..=250 => proofs.step(link, raft_id),
                251..=252 => Proof::Response { proof: "0".repeat(64) },
                253..=254 => Proof::Proved,
                _ => Proof::Challenge {
                    group_id: id(OTHER),
                    raft_id: RaftId(raft_id),
                    server_id: server_id(3),
                    run: String::new(),
                    challenge: String::new(),
                },
            }))
        }
        2..=3 => request(program),
        _ => {
            let from = if program.byte() < 230 { RaftId(proofs.speaker(link)) } else { raft_id(program) };
            let to = if program.byte() < 230 { RaftId(1) } else { raft_id(program) };
            let envelope = Envelope { group_id: group_id(program), from, to, term: number(program) };
            letter(program, envelope)
        }
    }
}
