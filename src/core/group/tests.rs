//! The life of a membership, at its edges: each test was a run of the simulator that broke a law.

use super::*;
use crate::core::election;
use crate::core::ledger::Ledger;
use crate::core::{Membership, StoredGroup};
use crate::time::Time;
use crate::wire::{Command, GroupPresence, LedgerEntry, LedgerItem, NewMember};

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
    look(&mut founder, view("bbbbbbbb", 3), 100);
    assert!(founder.view_of_seat().is_none());
    // Its ledger is as young, but others count on it.
    let mut joiner = group(StoredGroup { snapshot: stored(1).snapshot, ..stored(2) });
    look(&mut joiner, view("bbbbbbbb", 3), 100);
    assert_eq!(joiner.view_of_seat().map(|view| view.group_id), Some(id("aaaaaaaa")));
}
