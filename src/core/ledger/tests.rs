//! The laws of the ledger, over random entries.

mod farms;
mod granting;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Applied, Ledger, Refusal, words};
use crate::core::LoadConfig;
use crate::core::loans::{Lend, LoanConfig};
use crate::wire::{
    Command, GroupId, Json, LEASE_TTL, LedgerEntry, LedgerItem, MAX_LEASES, MAX_MEMBERS, NewMember, Permille, RaftId,
    ServerId, SettingName, VoterChange,
};

/// A group or state id.
pub(super) fn id(nth: u64) -> GroupId {
    GroupId::new(format!("{nth:08x}")).unwrap()
}

pub(super) fn member(server: u64, state: u64) -> NewMember {
    NewMember {
        server_id: ServerId::new(format!("server-{server}")).unwrap(),
        state_id: id(state),
        name: format!("lab-{server}"),
        address: format!("10.0.0.{server}:9101").parse().unwrap(),
    }
}

fn json(text: &str) -> Json {
    Json::new(text).unwrap()
}

fn acquire(name: &str, holder: &str, seconds: u64) -> Command {
    Command::Acquire { name: name.into(), holder: holder.into(), ttl: Duration::from_secs(seconds) }
}

fn set(name: &str, value: &str) -> Command {
    Command::Set { name: name.into(), value: json(value) }
}

/// A ledger and the next index.
pub(super) struct Log {
    pub(super) ledger: Ledger,
    index: u64,
}

impl Log {
    pub(super) fn founded() -> Log {
        let mut log = Log { ledger: Ledger::default(), index: 0 };
        let found = Command::Found { group_id: id(1), group: "default".into(), member: member(1, 1) };
        assert_eq!(log.put(found), Applied::Admitted(RaftId(1)));
        log
    }

    pub(super) fn entry(&mut self, command: Command) -> LedgerEntry {
        self.index += 1;
        LedgerEntry { index: self.index, term: 1, what: LedgerItem::Command(Box::new(command)) }
    }

    fn put(&mut self, command: Command) -> Applied {
        let entry = self.entry(command);
        self.ledger.apply(&entry)
    }

    /// The fence of a grant.
    fn grant(&mut self, name: &str, holder: &str, seconds: u64) -> u64 {
        match self.put(acquire(name, holder, seconds)) {
            Applied::Granted(lease) => lease.fence,
            other => panic!("{other:?}"),
        }
    }
}

/// What a random entry becomes, in view of the ledger: so that numbers, fences and ticks are often the right ones.
#[derive(Clone, Debug)]
struct Draw {
    kind: u8,
    which: u64,
    other: u64,
    is_stale: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    (0..30u8, 0..5u64, 0..5u64, prop::bool::weighted(0.2)).prop_map(|(kind, which, other, is_stale)| Draw {
        kind,
        which,
        other,
        is_stale,
    })
}

fn drawn(draw: &Draw, ledger: &Ledger, index: u64) -> LedgerEntry {
    let Draw { kind, which, other, is_stale } = *draw;
    let name = ["a", "b", "c", "d\n", "e"][which as usize].to_owned();
    let lease = ledger.lease(&name);
    let back = u64::from(is_stale);
    let fence = lease.as_ref().map_or(index, |lease| lease.fence) - back;
    let heard = ledger.held().find(|held| held.name == name).map_or(fence, |held| held.heard - back);
    let tick = lease.map_or(0, |lease| lease.tick) + 1 - back;
    let raft_id = RaftId(which + 1);
    let command = match kind {
        0..=4 => acquire(&name, ["x", "y", "z", "", "w"][other as usize], other + which),
        5..=7 => Command::Release { name, fence },
        8..=10 => Command::Expire { name, fence: heard },
        11..=14 => Command::Tick { name, fence, tick },
        15..=16 => Command::Admit(member(which + 1, which * 2 + other % 2)),
        17 => Command::Remove { raft_id, reason: "silent".into() },
        23 => Command::Settle { raft_ids: vec![raft_id, RaftId(other + 1)] },
        18 => Command::Move { raft_id, name, address: "lab:1".parse().unwrap() },
        19..=20 => set(
            ["capacity", "release", "cpu-threshold", "hold", "colour"][which as usize],
            ["1", "null", "62.5", "\"x\"", "900"][other as usize],
        ),
        21 if other == 0 => Command::Recover { group_id: id(index), raft_id },
        21 => Command::Found { group_id: id(index), group: "g".into(), member: member(which, which) },
        25..=26 => {
            let lent = farms::loan(which, other + 1, which + 1, 0);
            let generation = ledger.adoption(&lent.worker).map_or(0, |it| it.generation);
            let next = generation + 1 - back;
            Command::Adopt { workers: vec![farms::adoption(which, other + 1, (other + which) % 5 + 1, next)] }
        }
        27..=28 => Command::Lend(farms::loan(which, other + 1, which + 1, u64::from(is_stale))),
        29 => farms::end(&farms::loan(which, other + 1, which + 1, 0)),
        22 => return LedgerEntry { index, term: 2, what: LedgerItem::Empty },
        _ => return LedgerEntry { index, term: 2, what: LedgerItem::Change(VoterChange::default()) },
    };
    LedgerEntry { index, term: 2, what: LedgerItem::Command(Box::new(command)) }
}

/// What was seen of a run, and must never be seen again.
#[derive(Default)]
struct Seen {
    last_fence: u64,
    last_number: u64,
    /// Last tick by name.
    ticks: BTreeMap<String, u64>,
    /// Who holds what, by the answers alone.
    held: BTreeMap<String, (String, u64)>,
}

impl Seen {
    fn look(&mut self, entry: &LedgerEntry, applied: &Applied, before: &Ledger) {
        let LedgerItem::Command(command) = &entry.what else { return assert_eq!(*applied, Applied::Done) };
        match (&**command, applied) {
            (_, Applied::Granted(lease)) => {
                let holder = lease.holder.clone().expect("a granted lease has a holder");
                match self.held.get(&lease.name) {
                    Some(known) => assert_eq!(*known, (holder, lease.fence), "granted to two"),
                    None => {
                        assert!(lease.fence > self.last_fence, "fences grow");
                        self.last_fence = lease.fence;
                        self.held.insert(lease.name.clone(), (holder, lease.fence));
                    }
                }
                assert_eq!(lease.tick, self.ticks.get(&lease.name).copied().unwrap_or(0), "ticks are remembered");
            }
            (_, Applied::Freed { name, fence }) => {
                assert_eq!(self.held.remove(name).map(|(_, fence)| fence), Some(*fence));
            }
            (Command::Tick { name, fence, tick }, Applied::Done) => {
                assert_eq!(self.held.get(name).map(|(_, fence)| *fence), Some(*fence), "claimed by who holds it");
                let last = self.ticks.insert(name.clone(), *tick).unwrap_or(0);
                assert!(*tick > last, "no tick is claimed twice");
            }
            (Command::Found { .. } | Command::Admit(_), Applied::Admitted(id)) if before.member(*id).is_none() => {
                assert!(id.0 > self.last_number, "numbers ascend and are never given again");
                self.last_number = id.0;
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn the_laws_hold_over_random_entries(draws in proptest::collection::vec(draw(), 1..120)) {
        let mut log = Log::founded();
        let mut seen = Seen { last_number: 1, ..Seen::default() };
        let (mut twin, mut restored) = (log.ledger.clone(), log.ledger.clone());
        for (nth, draw) in draws.iter().enumerate() {
            let entry = drawn(draw, &log.ledger, nth as u64 + 2);
            let before = log.ledger.clone();
            let checked = match &entry.what {
                LedgerItem::Command(command) => before.check(command).err(),
                _ => None,
            };
            let applied = log.ledger.apply(&entry);
            // What is refused is known before, and changes nothing but the index.
            match &applied {
                Applied::Refused(refusal) => {
                    prop_assert_eq!(Some(refusal), checked.as_ref());
                    prop_assert_eq!(&log.ledger, &Ledger { index: entry.index, ..before.clone() });
                }
                _ => prop_assert_eq!(checked, None),
            }
            // Two that apply the same are the same, also one that began with a snapshot of the other at each point.
            prop_assert_eq!(&twin.apply(&entry), &applied);
            prop_assert_eq!(&restored.apply(&entry), &applied);
            prop_assert_eq!(&twin, &log.ledger);
            prop_assert_eq!(&restored, &log.ledger);
            let text = log.ledger.text();
            restored = Ledger::restored(&text).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&restored, &log.ledger);
            prop_assert_eq!(restored.text(), text);
            prop_assert_eq!(log.ledger.check_invariants(), Ok(()));
            seen.look(&entry, &applied, &before);
            let by_answers: Vec<(&String, u64)> = seen.held.iter().map(|(name, (_, fence))| (name, *fence)).collect();
            let by_ledger: Vec<(String, u64)> = log.ledger.held().map(|held| (held.name.to_owned(), held.fence)).collect();
            prop_assert!(by_answers.iter().map(|(name, fence)| ((*name).clone(), *fence)).eq(by_ledger));
            let sentence = words(&entry, &log.ledger);
            prop_assert!(!sentence.is_empty() && !sentence.contains('\n'));
            // An entry is applied once.
            let settled = log.ledger.clone();
            prop_assert!(matches!(log.ledger.apply(&entry), Applied::Refused(_)));
            prop_assert_eq!(&settled, &log.ledger);
        }
    }

    #[test]
    fn a_mangled_snapshot_is_refused_or_lawful(
        draws in proptest::collection::vec(draw(), 1..40), at: prop::sample::Index, with in "[0-9a-z\"{}\\[\\],:\\\\]{0,3}",
    ) {
        let mut log = Log::founded();
        for (nth, draw) in draws.iter().enumerate() {
            let entry = drawn(draw, &log.ledger, nth as u64 + 2);
            log.ledger.apply(&entry);
        }
        let mut text = log.ledger.text();
        let from = at.index(text.len());
        prop_assert!(Ledger::restored(&text[..from]).is_err(), "cut at {}", from);
        text.replace_range(from..=from, &with);
        if let Ok(mut ledger) = Ledger::restored(&text) {
            prop_assert_eq!(ledger.check_invariants(), Ok(()));
            for (nth, draw) in draws.iter().enumerate() {
                let entry = drawn(draw, &ledger, 1_000_000 + nth as u64);
                ledger.apply(&entry);
            }
        }
    }
}

#[test]
fn a_group_is_founded_once_and_first() {
    let mut log = Log { ledger: Ledger::default(), index: 0 };
    assert_eq!(
        log.put(acquire("a", "x", 5)),
        Applied::Refused(Refusal::Contradicts("the group is not founded yet".into()))
    );
    let found = |group| Command::Found { group_id: id(group), group: "default".into(), member: member(1, 1) };
    assert_eq!(log.put(found(1)), Applied::Admitted(RaftId(1)));
    assert!(matches!(log.put(found(2)), Applied::Refused(Refusal::Contradicts(_))));
    assert_eq!((log.ledger.group_id(), log.ledger.group_name(), log.ledger.index()), (Some(&id(1)), "default", 3));
}

#[test]
fn a_number_is_as_old_as_its_data_directory() {
    let mut log = Log::founded();
    assert_eq!(log.put(Command::Admit(member(2, 20))), Applied::Admitted(RaftId(2)));
    let moved = NewMember { name: "new".into(), address: "lab:7".parse().unwrap(), ..member(2, 20) };
    assert_eq!(log.put(Command::Admit(moved.clone())), Applied::Admitted(RaftId(2)), "the same state, the same number");
    assert_eq!(log.ledger.member(RaftId(2)), Some(&moved));
    assert_eq!(log.put(Command::Admit(member(2, 21))), Applied::Admitted(RaftId(3)), "lost its state");
    assert_eq!(log.ledger.members().count(), 3, "the old one stays until it is removed");
    assert_eq!(log.ledger.member_by_server(&member(2, 0).server_id).unwrap().0, RaftId(3), "the latest");
    assert!(matches!(log.put(Command::Admit(member(3, 21))), Applied::Refused(Refusal::Contradicts(_))));
    let remove = |id| Command::Remove { raft_id: RaftId(id), reason: "silent".into() };
    assert_eq!(log.put(remove(3)), Applied::Removed(vec![RaftId(3)]));
    assert_eq!(log.put(remove(3)), Applied::Done, "gone already");
    let settle = |ids: &[u64]| Command::Settle { raft_ids: ids.iter().map(|id| RaftId(*id)).collect() };
    assert!(!log.ledger.is_past(RaftId(3)), "its vote may be needed yet");
    assert!(matches!(log.put(settle(&[3, 2])), Applied::Refused(Refusal::Contradicts(_))), "2 is a member");
    assert_eq!(Ledger::restored(&log.ledger.text()), Ok(log.ledger.clone()));
    assert_eq!((log.put(settle(&[3])), log.put(settle(&[3]))), (Applied::Settled, Applied::Settled));
    let past: Vec<u64> = (0..9).filter(|id| log.ledger.is_past(RaftId(*id))).collect();
    assert_eq!(past, [3], "neither members nor numbers that were not given yet");
    assert_eq!(log.put(Command::Admit(member(2, 21))), Applied::Admitted(RaftId(4)), "never given again");
    assert_eq!(log.ledger.next_raft_id(), RaftId(5));
    let recover = |group| Command::Recover { group_id: id(group), raft_id: RaftId(4) };
    assert!(matches!(log.put(recover(1)), Applied::Refused(Refusal::Contradicts(_))), "a new group has a new id");
    assert_eq!(log.put(recover(9)), Applied::Removed(vec![RaftId(1), RaftId(2)]));
    assert_eq!((log.ledger.group_id(), log.ledger.members().count()), (Some(&id(9)), 1));
    assert!(matches!(log.put(remove(4)), Applied::Refused(Refusal::Contradicts(_))), "the last one stays");
}

#[test]
fn members_and_leases_are_bounded() {
    let mut log = Log::founded();
    for nth in 2..=MAX_MEMBERS as u64 {
        assert!(matches!(log.put(Command::Admit(member(nth % 250, nth))), Applied::Admitted(_)));
    }
    assert!(matches!(log.put(Command::Admit(member(1, 9999))), Applied::Refused(Refusal::Full(_))));
    for nth in 0..MAX_LEASES {
        log.grant(&nth.to_string(), "x", 5);
    }
    assert!(matches!(log.put(acquire("more", "x", 5)), Applied::Refused(Refusal::Full(_))));
    let fence = log.ledger.lease("7").unwrap().fence;
    log.put(Command::Tick { name: "7".into(), fence, tick: 3 });
    log.put(Command::Release { name: "7".into(), fence });
    assert_eq!(log.ledger.lease("7").unwrap().tick, 3, "a timetable that rests is remembered");
    log.grant("more", "x", 5);
    assert_eq!(log.ledger.lease("7"), None, "until there is no room");
    assert_eq!(log.ledger.leases().count(), MAX_LEASES);
    assert_eq!(log.ledger.check_invariants(), Ok(()));
    assert_eq!(Ledger::restored(&log.ledger.text()), Ok(log.ledger));
}

#[test]
fn a_repetition_keeps_the_fence_and_never_shortens_the_term() {
    let mut log = Log::founded();
    let fence = log.grant("a", "x", 60);
    let Applied::Refused(Refusal::Held(lease)) = log.put(acquire("a", "y", 5)) else { panic!("held") };
    assert_eq!((lease.holder.as_deref(), lease.fence), (Some("x"), fence));
    assert_eq!(log.grant("a", "x", 5), fence);
    assert_eq!(log.ledger.lease("a").unwrap().ttl.as_secs(), 60, "its holder may not have heard of the shorter one");
    assert_eq!(log.grant("a", "x", 90), fence);
    assert_eq!(log.ledger.lease("a").unwrap().ttl.as_secs(), 90);
    let heard = log.index;
    let expire = |fence| Command::Expire { name: "a".into(), fence };
    assert!(matches!(log.put(expire(fence)), Applied::Refused(Refusal::Over { lease: Some(_) })), "overtaken");
    assert_eq!(log.put(expire(heard)), Applied::Freed { name: "a".into(), fence });
    assert_eq!(log.put(expire(heard)), Applied::Refused(Refusal::Over { lease: None }));
    let next = log.grant("a", "x", 5);
    assert!(next > heard);
    assert_eq!(log.ledger.lease("a").unwrap().ttl.as_secs(), 5, "a new grant has its own term");
    let old = Command::Release { name: "a".into(), fence };
    assert!(matches!(log.put(old), Applied::Refused(Refusal::Over { lease: Some(_) })));
}

#[test]
fn a_tick_is_claimed_once_under_whichever_grant() {
    let mut log = Log::founded();
    let first = log.grant("t", "x", 5);
    let tick = |fence, tick| Command::Tick { name: "t".into(), fence, tick };
    assert!(matches!(log.put(tick(first, 0)), Applied::Refused(Refusal::Claimed { tick: 0 })));
    assert_eq!(log.put(tick(first, 4)), Applied::Done);
    assert_eq!(log.put(tick(first, 4)), Applied::Refused(Refusal::Claimed { tick: 4 }));
    log.put(Command::Release { name: "t".into(), fence: first });
    assert!(matches!(log.put(tick(first, 5)), Applied::Refused(Refusal::Over { lease: Some(_) })), "free");
    let second = log.grant("t", "y", 5);
    assert!(matches!(log.put(tick(first, 5)), Applied::Refused(Refusal::Over { .. })), "an old grant");
    assert_eq!(log.put(tick(second, 4)), Applied::Refused(Refusal::Claimed { tick: 4 }));
    assert_eq!(log.put(tick(second, 5)), Applied::Done);
}

#[test]
fn settings_are_refused_by_name_range_and_one_another() {
    let mut log = Log::founded();
    let refused = |log: &mut Log, command| match log.put(command) {
        Applied::Refused(Refusal::Contradicts(sentence)) => sentence,
        other => panic!("{other:?}"),
    };
    let unknown = refused(&mut log, set("colour", "1"));
    assert!(
        unknown.contains("no setting `colour`") && unknown.contains("capacity (1 to 1000000000 jobs)"),
        "{unknown}"
    );
    assert!(refused(&mut log, set("capacity", "0")).contains("1 to 1000000000 jobs"));
    assert_eq!(log.put(set("release", "50")), Applied::Changed { name: "release".into() });
    assert!(refused(&mut log, set("capacity", "49")).contains("at least the agreed release of 50"));
    assert_eq!(log.put(set("capacity", "200")), Applied::Changed { name: "capacity".into() });
    let at = log.index;
    assert_eq!(log.put(set("capacity", "200")), Applied::Done, "it is that already");
    assert!(refused(&mut log, set("release", "201")).contains("at most the agreed capacity of 200"));
    let capacity = log.ledger.setting(SettingName::Capacity);
    assert_eq!((capacity.value, capacity.index), (Some(json("200")), at));
    assert_eq!(log.ledger.agreed(SettingName::Capacity), Some(200));
    assert_eq!(log.put(set("capacity", "null")), Applied::Changed { name: "capacity".into() });
    assert_eq!(log.ledger.setting(SettingName::Capacity).index, 0);
    assert_eq!(log.ledger.settings().count(), SettingName::ALL.len());
}

#[test]
fn what_may_be_agreed_is_what_a_node_may_be_told() {
    // The largest number that is read, bit by bit.
    let most = |name: SettingName| {
        let bits = (0..64).rev().map(|bit| 1u64 << bit);
        bits.fold(0, |sum, bit| if name.read(&name.value(sum + bit)).is_ok() { sum + bit } else { sum })
    };
    let config = |capacity, release, hold, cpu| LoadConfig {
        capacity,
        release,
        hold: Duration::from_millis(hold),
        cpu_threshold: Permille::new(cpu),
    };
    let (capacity, release) = (most(SettingName::Capacity), most(SettingName::Release));
    let (hold, cpu) = (most(SettingName::Hold), most(SettingName::CpuThreshold));
    assert!(config(capacity, release, hold, cpu).check().is_ok());
    assert!(config(capacity + 1, release, hold, cpu).check().is_err());
    assert!(config(capacity, release, hold + 1, cpu).check().is_err());
    assert_eq!(cpu, 1000);
    let span = |name| Duration::from_millis(most(name));
    let workers = |name| u32::try_from(most(name)).unwrap();
    let loans = LoanConfig {
        keep: workers(SettingName::Keep),
        cap: Some(workers(SettingName::Cap)),
        cooldown: span(SettingName::Cooldown),
        lease: span(SettingName::Lease),
        grace: span(SettingName::Grace),
        ..LoanConfig::default()
    };
    let ms = Duration::from_millis(1);
    assert_eq!(loans.check(), Ok(()));
    assert!(LoanConfig { keep: loans.keep + 1, ..loans.clone() }.check().is_err());
    assert!(LoanConfig { cap: loans.cap.map(|cap| cap + 1), ..loans.clone() }.check().is_err());
    assert!(LoanConfig { cooldown: loans.cooldown + ms, ..loans.clone() }.check().is_err());
    assert!(LoanConfig { lease: loans.lease + ms, ..loans.clone() }.check().is_err());
    assert!(LoanConfig { grace: loans.grace + ms, ..loans.clone() }.check().is_err());
    for (number, lend) in (0..).zip(Lend::ALL) {
        assert_eq!(SettingName::Lend.value(number).as_str(), format!("\"{}\"", lend.as_str()));
    }
}

#[test]
fn bad_requests_are_told_by_their_field() {
    let log = Log::founded();
    let refused = |command: Command| match log.ledger.check(&command) {
        Err(Refusal::Contradicts(sentence)) => sentence,
        other => panic!("{other:?}"),
    };
    assert!(refused(acquire("", "x", 5)).starts_with("`NAME`: expected"));
    assert!(refused(acquire(&"n".repeat(65), "x", 5)).starts_with("`NAME`: expected"));
    assert!(refused(acquire("a", "", 5)).starts_with("`HOLDER`: expected"));
    assert!(refused(acquire("a", "x", 0)).starts_with("`TTL_MS`: expected 1000 to 3600000"));
    assert!(refused(acquire("a", "x", LEASE_TTL.1.as_secs() + 1)).starts_with("`TTL_MS`"));
    let moved = Command::Move { raft_id: RaftId(9), name: "n".into(), address: "lab:1".parse().unwrap() };
    assert_eq!(refused(moved), "there is no member 9");
}

#[test]
fn a_snapshot_reads_like_a_table_and_a_newer_form_is_refused() {
    let mut log = Log::founded();
    log.put(set("capacity", "200"));
    log.put(set("cpu-threshold", "62.5"));
    log.grant("backup", "lab-1/77", 10);
    let text = log.ledger.text();
    let expected = r#"{"FORMAT":1,"INDEX":4,"GROUP_ID":"00000001","GROUP":"default","NEXT_RAFT_ID":2,"MEMBERS":[
{"RAFT_ID":1,"SERVER_ID":"server-1","STATE_ID":"00000001","NAME":"lab-1","ADDRESS":"10.0.0.1:9101"}],"LEAVING":[],"SETTINGS":[
{"NAME":"capacity","VALUE":200,"INDEX":2},
{"NAME":"cpu-threshold","VALUE":62.5,"INDEX":3}],"LEASES":[
{"NAME":"backup","HOLDER":"lab-1/77","FENCE":4,"HEARD":4,"TTL_MS":10000,"TICK":0}],"ADOPTED":[],"LOANS":[],"ENDED":[]}"#;
    assert_eq!(text, expected);
    let error = |from: &str, to: &str| Ledger::restored(&text.replace(from, to)).unwrap_err();
    assert!(error("\"FORMAT\":1", "\"FORMAT\":2").contains("newer version"));
    assert!(error("\"NEXT_RAFT_ID\":2", "\"NEXT_RAFT_ID\":1").starts_with("`MEMBERS`"));
    assert!(error("\"FENCE\":4", "\"FENCE\":5").starts_with("`LEASES`"), "a fence from the future");
    assert!(error("200", "0").starts_with("`SETTINGS`: `VALUE`"));
    assert_eq!(Ledger::restored(&Ledger::default().text()), Ok(Ledger::default()));
}

#[test]
fn entries_are_told_in_words() {
    let mut log = Log::founded();
    let mut told = |command| {
        let entry = log.entry(command);
        log.ledger.apply(&entry);
        words(&entry, &log.ledger)
    };
    assert_eq!(told(Command::Admit(member(3, 3))), "member 2 `lab-3` at 10.0.0.3:9101 is admitted");
    assert_eq!(told(acquire("backup", "lab-3/1", 10)), "lease `backup` is granted to `lab-3/1` with fence 3 for 10 s");
    assert_eq!(told(acquire("backup", "lab-3/1", 10)), "lease `backup` goes on with `lab-3/1` under fence 3 for 10 s");
    assert_eq!(told(acquire("backup", "lab-1/1", 10)), "`lab-1/1` asks for the lease `backup` for 10 s");
    assert_eq!(told(set("capacity", "200")), "capacity is 200 jobs everywhere");
    assert_eq!(told(set("capacity", "null")), "nothing is agreed on capacity any more");
    let remove = Command::Remove { raft_id: RaftId(1), reason: "silent\u{1b}[2J".into() };
    assert_eq!(told(remove), "member 1 is removed: silent[2J");
    let change = |what| words(&LedgerEntry { index: 9, term: 4, what }, &Ledger::default());
    let add = VoterChange { add_voters: [1, 2, 3].map(RaftId).to_vec(), ..VoterChange::default() };
    assert_eq!(change(LedgerItem::Change(add)), "members 1, 2 and 3 vote");
    let replace = VoterChange { add_voters: vec![RaftId(4)], remove: vec![RaftId(2)], ..VoterChange::default() };
    assert_eq!(change(LedgerItem::Change(replace)), "member 4 votes; member 2 goes");
    assert_eq!(change(LedgerItem::Change(VoterChange::default())), "the change of voters is complete");
    assert_eq!(change(LedgerItem::Empty), "term 4 begins");
}
