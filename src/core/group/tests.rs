//! The life of a membership, at its edges: each test was a run of the simulator that broke a law.

use super::*;
use crate::core::election;
use crate::core::ledger::Ledger;
use crate::core::{Membership, StoredGroup};
use crate::time::Time;
use crate::wire::{
    Command, Epoch, ErrorCode, GroupPresence, Json, LeaseAction, LeaseRequest, LedgerEntry, LedgerItem, LentWorker,
    LoanAction, LoanId, LoanRecord, MembersAction, NewMember, SettingsQuery,
};

const OTHER: LinkId = LinkId(1);

fn at(ms: u64) -> Time {
    Time::from_micros(ms * 1000)
}

fn id(text: &str) -> GroupId {
    GroupId::new(text).unwrap()
}

fn master(nth: u64) -> ServerId {
    ServerId::new(format!("server-{nth}")).unwrap()
}

fn group(stored: StoredGroup) -> Group {
    let own = Own {
        server_id: master(2),
        name: "m2".to_owned(),
        address: "10.0.0.2:9101".parse().unwrap(),
        group: "default".to_owned(),
    };
    let times = (Duration::from_secs(6), Duration::from_secs(600));
    Group::new(AgreementConfig::default(), own, times, stored, Entropy::new([7; 32]), 1, at(0)).unwrap()
}

/// What is stored by a member of this number in a group whose ledger holds its founder alone.
fn stored(raft_id: u64) -> StoredGroup {
    let member = NewMember {
        server_id: master(1),
        state_id: id("00000001"),
        name: "m1".to_owned(),
        address: "10.0.0.1:9101".parse().unwrap(),
    };
    let command = Command::Found { group_id: id("aaaaaaaa"), group: "default".to_owned(), member };
    let mut ledger = Ledger::default();
    ledger.apply(&LedgerEntry { index: 1, term: 1, what: LedgerItem::Command(Box::new(command)) });
    let membership = Membership { group_id: id("aaaaaaaa"), raft_id: RaftId(raft_id), key: "0".repeat(64) };
    election::founding(id("00000002"), membership, (1, 1), ledger.text())
}

/// A look at one other master, which is in this group.
fn view(group_id: &str, sees: u64) -> View {
    let presence = GroupPresence { group_id: Some(id(group_id)), sees, ..GroupPresence::default() };
    let sight = Sight {
        server_id: master(3),
        name: "m3".to_owned(),
        address: "10.0.0.3:9101".parse().unwrap(),
        link: Some(OTHER),
        alive: true,
        group: "default".to_owned(),
        presence,
        load: (0, 0),
    };
    View { masters: vec![sight], unanswered: 0, configured: 1, ..View::default() }
}

fn look(group: &mut Group, view: View, ms: u64) {
    group.look(view, "10.0.0.2:9101".parse().unwrap(), at(ms));
}

fn drain(group: &mut Group) -> Vec<Effect> {
    std::iter::from_fn(|| group.poll_effect()).collect()
}

#[test]
fn who_asked_to_be_taken_in_and_sees_nobody_any_more_has_nothing_due() {
    let mut group = group(StoredGroup::fresh(id("00000002")));
    look(&mut group, view("aaaaaaaa", 3), 0);
    assert!(drain(&mut group).iter().any(|effect| matches!(effect, Effect::Send { link: OTHER, .. })));
    look(&mut group, View { unanswered: 1, ..View::default() }, 5000);
    assert!(group.deadline().is_some_and(|due| due > at(5000)), "{:?}", group.deadline());
}

#[test]
fn a_founding_is_one_write() {
    let mut group = group(StoredGroup::fresh(id("00000002")));
    look(&mut group, View::default(), 0);
    let writes: Vec<GroupWrite> = drain(&mut group)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Write { write, .. } => Some(write),
            _ => None,
        })
        .collect();
    // What the engine writes of its own first term comes after it.
    let Some(GroupWrite::Begin(begun)) = writes.first() else { panic!("{writes:?}") };
    assert_eq!((begun.commit, begun.last(), begun.term), (1, 1, 1));
    let again = self::group((**begun).clone());
    assert_eq!(
        again.view_of_seat().map(|view| view.voters.voters),
        Some(vec![RaftId(1)]),
        "a crash right after it leaves a group"
    );
}

#[test]
fn a_founder_alone_yields_to_a_group_and_a_joiner_does_not() {
    let mut founder = group(stored(1));
    for ms in 0..3 {
        let effects = drain(&mut founder);
        write_all(&mut founder, &effects, at(ms));
    }
    look(&mut founder, view("bbbbbbbb", 3), 100);
    assert!(founder.view_of_seat().is_none());
    // What it has not applied yet may be that it has taken somebody in.
    let entry = LedgerEntry { index: 2, term: 1, what: LedgerItem::Empty };
    let mut restarted = group(StoredGroup { entries: vec![entry], ..stored(1) });
    look(&mut restarted, view("bbbbbbbb", 3), 100);
    assert_eq!(restarted.view_of_seat().map(|view| view.group_id), Some(id("aaaaaaaa")));
    // Its ledger is as young, but others count on it.
    let mut joiner = group(StoredGroup { snapshot: stored(1).snapshot, ..stored(2) });
    look(&mut joiner, view("bbbbbbbb", 3), 100);
    assert_eq!(joiner.view_of_seat().map(|view| view.group_id), Some(id("aaaaaaaa")));
}

fn lease(action: LeaseAction) -> Body {
    Body::Lease(Box::new(LeaseRequest { name: "x".to_owned(), action }))
}

/// Says that this was written, and all before.
fn write_all(group: &mut Group, effects: &[Effect], now: Time) {
    let tickets = effects.iter().filter_map(|effect| match effect {
        Effect::Write { ticket, .. } => Some(*ticket),
        _ => None,
    });
    if let Some(last) = tickets.max() {
        group.written(last, now);
    }
}

#[test]
fn a_leader_that_has_not_applied_all_that_was_agreed_on_tells_no_holder_that_its_grant_is_over() {
    let acquire = Command::Acquire { name: "x".to_owned(), holder: "a".to_owned(), ttl: Duration::from_secs(60) };
    let entry = LedgerEntry { index: 2, term: 1, what: LedgerItem::Command(Box::new(acquire)) };
    let mut group = group(StoredGroup { entries: vec![entry], ..stored(1) });
    let mut now = at(0);
    let mut unwritten = Vec::new();
    while group.role() != GroupRole::Leader {
        write_all(&mut group, &unwritten, now);
        now = group.deadline().unwrap_or(now).max(now + Duration::from_millis(1));
        group.look(View::default(), "10.0.0.2:9101".parse().unwrap(), now);
        group.tick(now);
        unwritten = drain(&mut group);
    }
    assert_eq!(group.ledger().lease("x"), None, "its own term has not begun in the log, and the grant is in there");
    let reply = |turn| Reply { link: LinkId(4), id: None, turn };
    group.asked(reply(1).link, reply(1), lease(LeaseAction::Tick { holder: "a".to_owned(), fence: 2, tick: 1 }), now);
    group.asked(reply(2).link, reply(2), lease(LeaseAction::Release { holder: "a".to_owned(), fence: 2 }), now);
    let said = drain(&mut group);
    assert!(!said.iter().any(|effect| matches!(effect, Effect::Answer { .. })), "{said:?}");
    unwritten.extend(said);
    let mut answers = Vec::new();
    while answers.len() < 2 {
        assert!(!unwritten.is_empty(), "nothing is under way any more");
        write_all(&mut group, &unwritten, now);
        unwritten = drain(&mut group);
        answers.extend(unwritten.iter().filter_map(|effect| match effect {
            Effect::Answer { body, .. } => Some(body.clone()),
            _ => None,
        }));
    }
    assert!(answers.iter().all(|body| matches!(body, Body::LeaseAnswer(_))), "{answers:?}");
}

#[test]
fn what_a_leader_that_is_gone_may_have_done_is_not_said_to_be_undone() {
    let mut group = group(stored(1));
    let reply = Reply { link: LinkId(4), id: None, turn: 1 };
    let acquire = LeaseAction::Acquire { holder: "a".to_owned(), ttl: Duration::from_secs(60), wait: Duration::ZERO };
    let asker =
        |body| desk::Asker { reply: reply.clone(), body, until: at(5000), by_member: false, may_be_done: false };
    for (body, code) in [
        (lease(acquire), ErrorCode::Lost),
        (lease(LeaseAction::Renew { holder: "a".to_owned(), fence: 2 }), ErrorCode::NoLeader),
        (Body::LeaseQuestion { local: false, after: None }, ErrorCode::NoLeader),
    ] {
        drain(&mut group);
        group.lost_leader(asker(body), at(0));
        group.answer_overdue(at(5000));
        let said = drain(&mut group);
        let told =
            |effect: &Effect| matches!(effect, Effect::Answer { body: Body::Error(error), .. } if error.code == code);
        assert!(said.iter().any(told), "{code:?}: {said:?}");
    }
}

#[test]
fn who_waited_in_vain_for_a_lease_that_is_free_now_is_not_told_that_nobody_holds_it() {
    let (name, holder, ttl) = ("x".to_owned(), "a".to_owned(), Duration::from_secs(60));
    let commands = [
        Command::Acquire { name: name.clone(), holder: holder.clone(), ttl },
        Command::Tick { name: name.clone(), fence: 2, tick: 1 },
        Command::Release { name, fence: 2 },
    ];
    let entry = |(index, command)| LedgerEntry { index, term: 1, what: LedgerItem::Command(Box::new(command)) };
    let entries = (2..).zip(commands).map(entry).collect();
    let mut group = group(StoredGroup { entries, commit: 4, ..stored(1) });
    assert_eq!(group.ledger().lease("x").map(|lease| (lease.holder, lease.tick)), Some((None, 1)));
    let body = lease(LeaseAction::Acquire { holder, ttl, wait: Duration::from_secs(1) });
    let reply = Reply { link: LinkId(4), id: None, turn: 1 };
    group.desk.await_lease(desk::Asker { reply, body, until: at(1000), by_member: false, may_be_done: false });
    drain(&mut group);
    group.answer_overdue(at(1000));
    let said = drain(&mut group);
    let busy = |effect: &Effect| matches!(effect, Effect::Answer { body: Body::Error(error), .. } if error.code == ErrorCode::Busy);
    assert!(said.iter().any(busy), "{said:?}");
}

#[test]
fn a_disk_that_is_slow_is_named_to_who_waits_for_it() {
    let mut group = group(StoredGroup::fresh(id("00000002")));
    look(&mut group, View::default(), 0);
    drain(&mut group);
    let ask = Body::Settings(Box::new(SettingsQuery {
        name: Some("capacity".to_owned()),
        value: Some(Json::new("200").unwrap()),
        ..SettingsQuery::default()
    }));
    group.asked(OTHER, Reply { link: OTHER, id: None, turn: 1 }, ask, at(10));
    drain(&mut group);
    let due = group.deadline().unwrap();
    group.tick(due.max(at(9000)));
    let refused = drain(&mut group).into_iter().find_map(|effect| match effect {
        Effect::Answer { body: Body::Error(error), .. } => Some(error),
        _ => None,
    });
    let refused = refused.expect("nothing was written, so nothing is agreed on");
    assert!(refused.detail.contains("the disk is slow: a write has been under way for"), "{}", refused.detail);
}

#[test]
fn a_setting_without_a_name_is_answered_and_asks_no_majority_for_ever() {
    let mut group = group(stored(1));
    let mut now = at(0);
    let mut effects = drain(&mut group);
    while group.role() != GroupRole::Leader || !effects.is_empty() {
        write_all(&mut group, &effects, now);
        now = now + Duration::from_millis(50);
        group.tick(now);
        effects = drain(&mut group);
    }
    let query = SettingsQuery { name: None, value: Json::new("1"), local: false };
    let reply = Reply { link: LinkId(4), id: None, turn: 1 };
    group.asked(reply.link, reply, Body::Settings(Box::new(query)), now);
    assert!(drain(&mut group).iter().any(|effect| matches!(effect, Effect::Answer { .. })));
}

/// The leader held 19.945844 s of its own loan and the others 19.945 s: the next order of it, which had been through a text, was another loan to
/// the one and the same loan to the others.
#[test]
fn a_loan_whose_lease_is_no_whole_milliseconds_is_the_same_loan_when_it_is_said_again() {
    let mut group = group(stored(1));
    let mut now = at(0);
    let mut effects = drain(&mut group);
    while group.role() != GroupRole::Leader || !effects.is_empty() {
        write_all(&mut group, &effects, now);
        now = now + Duration::from_millis(50);
        group.tick(now);
        effects = drain(&mut group);
    }
    let loan = |counter, lease| LentWorker {
        loan_id: LoanId::new("loan-1").unwrap(),
        worker: master(7),
        owner: master(1),
        borrower: master(2),
        epoch: Epoch { generation: 0, counter },
        lease,
    };
    let (fine, whole) = (Duration::from_micros(19_945_844), Duration::from_millis(19_945));
    for (mark, lease) in [(1, fine), (2, whole), (3, fine)] {
        group.ask(mark, LoanAction::Record(LoanRecord::Lend(loan(mark, lease))), now);
        let (mut said, mut effects) = (Vec::new(), drain(&mut group));
        while !effects.is_empty() {
            write_all(&mut group, &effects, now);
            said.extend(effects);
            effects = drain(&mut group);
        }
        let done = |effect: &Effect| matches!(effect, Effect::Answer { body: Body::LoanDone(_), .. });
        assert!(said.iter().any(done), "{said:?}");
        assert_eq!(group.loans_of(&master(1)), [loan(mark, whole)]);
        assert_eq!(Ledger::restored(&group.ledger().text()).as_ref(), Ok(group.ledger()));
    }
}

#[test]
fn the_only_one_that_votes_is_not_removed_and_who_was_refused_does_not_mean_to_leave() {
    let new = |nth: u64| NewMember {
        server_id: master(nth),
        state_id: id(&format!("0000000{nth}")),
        name: format!("m{nth}"),
        address: format!("10.0.0.{nth}:9101").parse().unwrap(),
    };
    let found = Command::Found { group_id: id("aaaaaaaa"), group: "default".to_owned(), member: new(2) };
    let mut ledger = Ledger::default();
    for (index, command) in [(1, found), (2, Command::Admit(new(1)))] {
        ledger.apply(&LedgerEntry { index, term: 1, what: LedgerItem::Command(Box::new(command)) });
    }
    let membership = Membership { group_id: id("aaaaaaaa"), raft_id: RaftId(1), key: "0".repeat(64) };
    let mut group = group(election::founding(id("00000002"), membership, (2, 1), ledger.text()));
    let mut now = at(0);
    let mut effects = drain(&mut group);
    while group.role() != GroupRole::Leader || !effects.is_empty() {
        write_all(&mut group, &effects, now);
        now = now + Duration::from_millis(50);
        group.tick(now);
        effects = drain(&mut group);
    }
    let reply = Reply { link: LinkId(4), id: None, turn: 1 };
    group.asked(reply.link, reply, Body::Members(Box::new(MembersAction::Leave)), now);
    let refused = drain(&mut group).into_iter().find_map(|effect| match effect {
        Effect::Answer { body: Body::Error(error), .. } => Some(error),
        _ => None,
    });
    let refused = refused.expect("nobody else votes");
    assert_eq!(refused.code, ErrorCode::WrongState, "{}", refused.detail);
    assert!(refused.detail.contains("the only one that votes"), "{}", refused.detail);
    assert!(!group.leaving);
}
