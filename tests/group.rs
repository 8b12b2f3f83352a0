//! Masters that agree, as real processes: a leader in every start order, crashes, lost majorities, changes of members.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::group::{Masters, QUICK};
use support::process::{NodeProcess, run};
use support::{wait_for, wait_until};

/// A leader must be there within this after a start, in every order.
const LEADER_WITHIN: Duration = Duration::from_secs(5);

/// The six orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn three_masters_in_every_start_order_have_a_leader_and_lose_nothing() {
    for order in ORDERS {
        let mut masters = Masters::new(3, &QUICK);
        let begun = Instant::now();
        order.iter().for_each(|nth| masters.start(*nth));
        masters.wait_leader();
        assert!(begun.elapsed() < LEADER_WITHIN, "first boot, {order:?}: {:?}", begun.elapsed());
        masters.wait_voters(3);
        assert_eq!(masters.set(order[0], "capacity", 200)["RESPONSE"], "OK");
        // After one restart.
        masters.kill(order[1]);
        masters.start(order[1]);
        masters.wait_leader();
        assert_eq!(masters.get(order[1], "capacity"), 200, "{order:?}");
        // After all were killed, in the same order.
        (0..3).for_each(|nth| masters.kill(nth));
        let begun = Instant::now();
        order.iter().for_each(|nth| masters.start(*nth));
        masters.wait_leader();
        assert!(begun.elapsed() < LEADER_WITHIN, "after all were killed, {order:?}: {:?}", begun.elapsed());
        assert_eq!(masters.get(order[2], "capacity"), 200, "{order:?}");
    }
}

#[test]
fn another_leads_when_the_leader_dies_and_it_follows_when_it_is_back() {
    let mut masters = Masters::started(3, &QUICK);
    let first = masters.wait_leader();
    masters.kill(first);
    let second = masters.wait_leader();
    assert_ne!(second, first);
    assert_eq!(masters.set(second, "capacity", 300)["RESPONSE"], "OK");
    masters.start(first);
    wait_until("the first to follow", || masters.ask(first, &json!({"TASK": "ELECT"}))["STATE"] == "FOLLOWER");
    assert_eq!(masters.get(first, "capacity"), 300);
    wait_until("one line in the log of each", || {
        (0..3).all(|nth| masters.node(nth).process.stderr.text().contains("leads at term"))
    });
}

#[test]
fn two_masters_form_a_group_and_one_alone_says_why_it_cannot_decide() {
    let mut masters = Masters::started(2, &QUICK);
    masters.kill(1);
    let refused = wait_for("NO_QUORUM", || {
        let answer = masters.ask(0, &json!({"TASK": "SETTINGS", "NAME": "capacity", "VALUE": 7}));
        (answer["ERROR"] == "NO_QUORUM").then_some(answer)
    });
    let detail = refused["DETAIL"].as_str().unwrap();
    assert!(detail.contains("m1") && detail.contains("two cannot decide alone"), "{detail}");
    assert_eq!(refused["RETRY"], true);
    let elect = masters.ask(0, &json!({"TASK": "ELECT"}));
    assert_eq!(elect["QUORUM"], false, "{elect}");
    // Everything that needs no agreement goes on.
    let job = masters.ask(0, &json!({"TASK": "SUBMIT", "SERVICE": "sleep"}));
    assert_eq!(job["RESPONSE"], "OK", "{job}");
    masters.start(1);
    masters.wait_leader();
    assert_eq!(masters.set(0, "capacity", 7)["RESPONSE"], "OK");
}

#[test]
fn a_master_alone_leads_at_once_and_agrees_with_itself() {
    let node = NodeProcess::start(&[]);
    wait_until("it to lead", || node.ask(r#"{"TASK":"ELECT"}"#)["STATE"] == "LEADER");
    let set = node.ask(r#"{"TASK":"SETTINGS","NAME":"capacity","VALUE":5}"#);
    assert_eq!(set["RESPONSE"], "OK", "{set}");
    assert_eq!(node.ask(r#"{"TASK":"LOAD"}"#)["CAPACITY"], 5, "it is in force at once");
    let unset = node.ask(r#"{"TASK":"SETTINGS","NAME":"capacity","VALUE":null}"#);
    assert_eq!(unset["RESPONSE"], "OK", "{unset}");
    assert_eq!(node.ask(r#"{"TASK":"LOAD"}"#)["CAPACITY"], 100);
    let unknown = node.ask(r#"{"TASK":"SETTINGS","NAME":"colour","VALUE":5}"#);
    assert!(unknown["DETAIL"].as_str().is_some_and(|why| why.contains("capacity")), "{unknown}");
    let ledger = node.ask(r#"{"TASK":"AGREE"}"#);
    assert!(ledger["ENTRIES"].to_string().contains("capacity"), "{ledger}");
}

#[test]
fn a_setting_holds_at_every_master_whoever_was_asked() {
    let masters = Masters::started(3, &QUICK);
    for (nth, value) in [(0, 11), (1, 12), (2, 13)] {
        assert_eq!(masters.set(nth, "capacity", value)["RESPONSE"], "OK");
        for other in 0..3 {
            wait_until("the capacity to be in force", || {
                masters.ask(other, &json!({"TASK": "LOAD"}))["CAPACITY"] == value
            });
            assert_eq!(masters.get(other, "capacity"), value, "a read never shows what was before");
        }
    }
}

#[test]
fn a_lease_is_held_by_one_expires_when_nobody_renews_it_and_its_fence_grows() {
    let masters = Masters::started(3, &QUICK);
    let acquire = |nth: usize, holder: &str, wait: u64| {
        let request = json!({"TASK": "LEASE", "ACTION": "ACQUIRE", "NAME": "backup", "HOLDER": holder, "TTL_MS": 1000, "WAIT_MS": wait});
        masters.ask(nth, &request)
    };
    let first = acquire(0, "a", 0);
    assert_eq!(first["RESPONSE"], "OK", "{first}");
    let held = acquire(1, "b", 0);
    assert_eq!((&held["ERROR"], &held["RETRY"]), (&json!("HELD"), &json!(true)), "{held}");
    let fence = first["FENCE"].as_u64().unwrap();
    for nth in 0..3 {
        let renewed = masters
            .ask(nth, &json!({"TASK": "LEASE", "ACTION": "RENEW", "NAME": "backup", "HOLDER": "a", "FENCE": fence}));
        assert_eq!(renewed["RESPONSE"], "OK", "{renewed}");
    }
    let begun = Instant::now();
    let second = acquire(2, "b", 10_000);
    assert_eq!(second["RESPONSE"], "OK", "{second}");
    assert!(begun.elapsed() > Duration::from_millis(800), "not before the time of the first is over");
    assert!(second["FENCE"].as_u64().unwrap() > fence);
    let over =
        masters.ask(0, &json!({"TASK": "LEASE", "ACTION": "RENEW", "NAME": "backup", "HOLDER": "a", "FENCE": fence}));
    assert_eq!((&over["ERROR"], &over["RETRY"]), (&json!("OVER"), &json!(false)), "{over}");
    let listed = masters.ask(1, &json!({"TASK": "LEASE"}));
    assert_eq!(listed["LEASES"][0]["HOLDER"], "b", "{listed}");
}

#[test]
fn a_lease_outlives_the_leader_that_granted_it() {
    let mut masters = Masters::started(3, &QUICK);
    let leader = masters.wait_leader();
    let granted = masters
        .ask(leader, &json!({"TASK": "LEASE", "ACTION": "ACQUIRE", "NAME": "x", "HOLDER": "a", "TTL_MS": 10_000}));
    let fence = granted["FENCE"].clone();
    masters.kill(leader);
    let next = masters.wait_leader();
    let renewed =
        masters.ask(next, &json!({"TASK": "LEASE", "ACTION": "RENEW", "NAME": "x", "HOLDER": "a", "FENCE": fence}));
    assert_eq!(renewed["RESPONSE"], "OK", "{renewed}");
}

#[test]
fn a_master_joins_later_by_any_member_and_leaves_by_its_own_word() {
    let masters = Masters::started(2, &QUICK);
    let state = tempfile::tempdir().unwrap();
    let peer = masters.address(1);
    let options = ["--name", "late", "--peer", &peer, "--data-dir", state.path().to_str().unwrap()];
    let late = NodeProcess::start(&[&options[..], &QUICK[..]].concat());
    masters.wait_voters(3);
    let left = run(["leave", "--to", &late.address()]);
    assert!(left.status.success(), "{left:?}");
    masters.wait_voters(2);
    wait_until("it to have no group", || late.ask(r#"{"TASK":"ELECT"}"#)["STATE"] == "NONE");
    // It is not taken in again by itself, though its peers are in the group; by the operator's word it is.
    let again = run(["join", &masters.address(0), "--to", &late.address()]);
    assert!(again.status.success(), "{again:?}");
    masters.wait_voters(3);
}

#[test]
fn a_goodbye_does_not_remove_a_member_and_an_operator_does() {
    let mut masters = Masters::started(3, &QUICK);
    let leader = masters.wait_leader();
    let gone = (leader + 1) % 3;
    masters.node(gone).process.signal(rustix::process::Signal::TERM);
    wait_until("it to have said goodbye", || {
        masters.node(leader).status_of(&masters.address(gone)).is_some_and(|status| status != "ALIVE")
    });
    masters.kill(gone);
    let count = |answer: &Value| answer["VOTERS"].as_array().map_or(0, Vec::len);
    assert_eq!(count(&masters.ask(leader, &json!({"TASK": "ELECT"}))), 3, "a goodbye removes nobody");
    let name = format!("m{gone}");
    let removed = run(["remove", name.as_str(), "--to", &masters.address(leader)]);
    assert!(removed.status.success(), "{removed:?}");
    masters.wait_voters(2);
    // It is told so when it is back, and joins anew.
    masters.start(gone);
    masters.wait_voters(3);
}

#[test]
fn the_leadership_is_handed_over_on_request() {
    let masters = Masters::started(3, &QUICK);
    let leader = masters.wait_leader();
    let heir = (leader + 1) % 3;
    let name = format!("m{heir}");
    let lead = run(["lead", name.as_str(), "--to", &masters.address((leader + 2) % 3)]);
    assert!(lead.status.success(), "{lead:?}");
    assert_eq!(masters.wait_leader(), heir);
}

#[test]
fn a_master_that_lost_its_state_is_another_member_and_replaces_itself() {
    let mut masters = Masters::started(3, &QUICK);
    let lost = (masters.wait_leader() + 1) % 3;
    masters.kill(lost);
    masters.discard(lost);
    masters.start(lost);
    wait_until("the old number to be gone and the new one to vote", || {
        let answer = masters.ask(masters.wait_leader(), &json!({"TASK": "ELECT"}));
        let voters: Vec<u64> =
            answer["VOTERS"].as_array().unwrap().iter().filter_map(|it| it["RAFT_ID"].as_u64()).collect();
        voters.len() == 3 && voters.contains(&4)
    });
}

#[test]
fn the_last_resort_is_confirmed_and_goes_on_with_the_ledger() {
    let mut masters = Masters::started(3, &QUICK);
    assert_eq!(masters.set(0, "capacity", 44)["RESPONSE"], "OK");
    wait_until("all to have it", || masters.ask(0, &json!({"TASK": "LOAD"}))["CAPACITY"] == 44);
    let sound = run(["recover", "--to", &masters.address(0)]);
    assert_eq!(sound.status.code(), Some(1), "{sound:?}");
    masters.kill(1);
    masters.kill(2);
    wait_until("the majority to be missed", || masters.ask(0, &json!({"TASK": "ELECT"}))["QUORUM"] == false);
    let warned = run(["recover", "--to", &masters.address(0)]);
    let text = String::from_utf8_lossy(&warned.stdout).into_owned();
    assert!(warned.status.code() == Some(1) && text.contains("last resort"), "{warned:?}");
    let confirm = text.split("--confirm ").nth(1).expect("how to go on").trim().to_owned();
    let recovered = run(["recover", "--to", &masters.address(0), "--confirm", &confirm]);
    assert!(recovered.status.success(), "{recovered:?}");
    wait_until("it to lead alone", || masters.ask(0, &json!({"TASK": "ELECT"}))["STATE"] == "LEADER");
    assert_eq!(masters.get(0, "capacity"), 44);
}

#[test]
fn members_of_other_groups_and_strangers_are_refused() {
    let masters = Masters::started(2, &QUICK);
    let before = masters.ask(0, &json!({"TASK": "ELECT"}));
    // Everything fits but the proof of the key: the group, and both numbers.
    let to = before["RAFT_ID"].as_u64().unwrap();
    let elect = json!({"TASK": "ELECT", "KIND": "VOTE", "GROUP_ID": before["GROUP_ID"], "FROM": 3 - to, "TO": to, "TERM": 99,
        "LAST_LOG_INDEX": 1_000_000, "LAST_LOG_TERM": 98, "COMMIT_INDEX": 0, "COMMIT_TERM": 0, "TRANSFER": true});
    let refused = masters.ask(0, &elect);
    assert_eq!(refused["ERROR"], "NOT_A_MEMBER", "{refused}");
    assert_eq!(masters.ask(0, &json!({"TASK": "ELECT"}))["TERM"], before["TERM"]);
}

#[test]
fn one_id_at_two_addresses_has_no_vote_until_one_of_the_two_stops() {
    let mut masters = Masters::started(3, &QUICK);
    masters.kill(2);
    let mut twin = masters.twin(2);
    masters.start(2);
    let reason = |node: &NodeProcess| {
        let answer: Value = node.ask(&json!({"TASK": "ELECT"}).to_string());
        answer["REASON"].as_str().unwrap_or_default().to_owned()
    };
    let doubled = |node: &NodeProcess| reason(node).contains("at two addresses at once");
    wait_until("both to know that they are two", || doubled(masters.node(2)) && doubled(&twin));
    wait_until("an event at a member", || masters.node(0).process.stderr.text().contains("TWINS"));
    let refused = twin.ask(&json!({"TASK": "SETTINGS", "NAME": "capacity", "VALUE": 1}).to_string());
    assert_eq!((&refused["ERROR"], &refused["RETRY"]), (&json!("NO_LEADER"), &json!(true)), "{refused}");
    // The others are a majority, and go on.
    assert_eq!(masters.set(0, "capacity", 500)["RESPONSE"], "OK");
    twin.process.kill();
    wait_until("the other to be believed again", || {
        let answer = masters.ask(2, &json!({"TASK": "ELECT"}));
        answer["REASON"].is_null() && answer["QUORUM"] == true && !answer["LEADER"].is_null()
    });
    assert_eq!(masters.get(2, "capacity"), 500);
    // Its vote counts: with it two of three decide.
    masters.kill(1);
    assert_eq!(masters.set(2, "capacity", 600)["RESPONSE"], "OK");
}

#[test]
fn a_master_alone_and_its_copy_find_each_other() {
    let mut masters = Masters::started(1, &QUICK);
    // Agreed on, so that the group is on the disk.
    assert_eq!(masters.set(0, "capacity", 6)["RESPONSE"], "OK");
    masters.kill(0);
    let copy = masters.twin(0);
    masters.options(&["--peer", &copy.address()]);
    masters.start(0);
    let doubled = |node: &NodeProcess| {
        let answer: Value = node.ask(&json!({"TASK": "ELECT"}).to_string());
        answer["REASON"].as_str().unwrap_or_default().contains("at two addresses at once")
    };
    wait_until("both to know that they are two", || doubled(masters.node(0)) && doubled(&copy));
    assert_eq!(masters.ask(0, &json!({"TASK": "SETTINGS", "NAME": "capacity", "VALUE": 7}))["ERROR"], "NO_LEADER");
    drop(copy);
    assert_eq!(masters.set(0, "capacity", 7)["RESPONSE"], "OK");
}

#[test]
fn a_master_that_calls_itself_is_no_copy() {
    let mut masters = Masters::new(1, &QUICK);
    let own = masters.address(0).replace("127.0.0.1", "localhost");
    masters.options(&["--peer", &own]);
    masters.start(0);
    masters.wait_leader();
    wait_until("it to notice", || masters.node(0).process.stderr.text().contains("it is this node itself"));
    let answer = masters.ask(0, &json!({"TASK": "ELECT"}));
    assert_eq!((&answer["STATE"], &answer["REASON"]), (&json!("LEADER"), &Value::Null), "{answer}");
    assert_eq!(masters.set(0, "capacity", 8)["RESPONSE"], "OK");
}
