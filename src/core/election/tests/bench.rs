//! A bench of engines: one clock, a pool of letters, disks that lose what is not written, and an oracle that sees everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::super::*;
use crate::core::rng::Rng;
use crate::time::Time;
use crate::wire::{
    Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Command, Elect, ElectKind, ElectVote, GroupId, Json, LedgerItem,
    VoterChange,
};

/// A leader is back at the latest after this: three of the longest election timeouts.
pub(super) const THREE_TIMEOUTS: u64 = 3 * 500;

pub(super) fn group() -> GroupId {
    GroupId::new("0123456789abcdef").unwrap()
}

pub(super) fn ids(numbers: &[u64]) -> Vec<RaftId> {
    numbers.iter().map(|id| RaftId(*id)).collect()
}

pub(super) fn set(name: &str, value: &str) -> Command {
    Command::Set { name: name.to_owned(), value: Json::string(value) }
}

/// What a member has stored whose group began with these voters.
pub(super) fn member_of(voters: &[u64], id: u64) -> StoredGroup {
    let head = SnapshotHead { index: 1, term: 1, members: VoterSets { voters: ids(voters), ..VoterSets::default() } };
    StoredGroup { term: 1, commit: 1, snapshot: Some((head, String::new())), ..joiner(id) }
}

/// What a member has stored that was just admitted.
pub(super) fn joiner(id: u64) -> StoredGroup {
    let membership = Membership { group_id: group(), raft_id: RaftId(id), key: "0".repeat(64) };
    StoredGroup { membership: Some(membership), ..StoredGroup::fresh(GroupId::new("fedcba9876543210").unwrap()) }
}

/// Index of the last entry that is stored, or of the snapshot where none is behind it.
fn last_stored(stored: &StoredGroup) -> u64 {
    let before = stored.snapshot.as_ref().map_or(0, |(head, _)| head.index);
    stored.entries.last().map_or(before, |entry| entry.index)
}

/// What a write does to what is stored.
pub(super) fn store(stored: &mut StoredGroup, write: &GroupWrite) {
    match write {
        GroupWrite::Belong { .. } | GroupWrite::Begin(_) => panic!("an engine is one membership"),
        GroupWrite::Vote { term, vote, commit } => {
            assert!(*term >= stored.term, "terms do not fall");
            assert!(*commit <= last_stored(stored), "what is agreed on stands on disk before it is said there to be");
            (stored.term, stored.vote, stored.commit) = (*term, *vote, *commit);
        }
        GroupWrite::Append(entries) => {
            let first = entries[0].index;
            stored.entries.retain(|entry| entry.index < first);
            assert_eq!(last_stored(stored) + 1, first, "entries follow on what is stored");
            stored.entries.extend(entries.iter().cloned());
        }
        GroupWrite::Snapshot { head, text } => {
            let same = stored.entries.iter().any(|entry| (entry.index, entry.term) == (head.index, head.term));
            stored.entries.retain(|entry| same && entry.index > head.index);
            stored.snapshot = Some((head.clone(), text.clone()));
        }
    }
}

/// FNV-1a: the same on every machine.
pub(super) struct Trace(pub(super) u64);

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// What may go wrong by chance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    /// Letters in a thousand that are lost, and that come twice.
    pub(super) loss: u64,
    pub(super) doubled: u64,
    /// Longest way of a letter and of a write, in ms.
    pub(super) way: u64,
    pub(super) disk: u64,
}

pub(super) struct Member {
    pub(super) stored: StoredGroup,
    pub(super) pending: VecDeque<(LogTicket, GroupWrite, Time)>,
    pub(super) engine: Option<Engine>,
    /// Applied up to here, and what came of it.
    pub(super) applied: u64,
    pub(super) text: String,
    pub(super) asleep_until: Time,
    pub(super) boots: u64,
    pub(super) roles: Vec<Standing>,
    pub(super) reads: Vec<(u64, Option<u64>)>,
}

pub(super) struct Bench {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) pool: Vec<(Time, Letter)>,
    /// Letters from the first to the second do not arrive.
    pub(super) cuts: BTreeSet<(u64, u64)>,
    /// Disks that write nothing.
    pub(super) stalled: BTreeSet<u64>,
    pub(super) weather: Weather,
    /// Letters are kept until a test delivers them.
    pub(super) by_hand: bool,
    pub(super) trace: Trace,
    pub(super) leaders: BTreeMap<u64, u64>,
    /// What was applied anywhere, by index.
    pub(super) agreed: BTreeMap<u64, LedgerEntry>,
    /// What was agreed on when each read was asked for.
    pub(super) marks: BTreeMap<u64, u64>,
    pub(super) pieces: u64,
    pub(super) installs: u64,
}

impl Bench {
    pub(super) fn new(voters: &[u64], seed: u64) -> Bench {
        let mut bench = Bench {
            now: Time::from_micros(1_000_000),
            rng: Rng::new(seed),
            members: BTreeMap::new(),
            pool: Vec::new(),
            cuts: BTreeSet::new(),
            stalled: BTreeSet::new(),
            weather: Weather { way: 2, disk: 2, ..Weather::default() },
            by_hand: false,
            trace: Trace(0xcbf2_9ce4_8422_2325),
            leaders: BTreeMap::new(),
            agreed: BTreeMap::new(),
            marks: BTreeMap::new(),
            pieces: 0,
            installs: 0,
        };
        for id in voters {
            bench.add(*id, member_of(voters, *id));
        }
        bench
    }

    pub(super) fn add(&mut self, id: u64, stored: StoredGroup) {
        let member = Member {
            stored,
            pending: VecDeque::new(),
            engine: None,
            applied: 0,
            text: String::new(),
            asleep_until: Time::ZERO,
            boots: 0,
            roles: Vec::new(),
            reads: Vec::new(),
        };
        self.members.insert(id, member);
        self.start(id);
    }

    pub(super) fn start(&mut self, id: u64) {
        let now = self.now;
        let member = self.members.get_mut(&id).unwrap();
        assert!(member.engine.is_none());
        member.boots += 1;
        let seed = id * 1000 + member.boots;
        (member.applied, member.text) =
            member.stored.snapshot.as_ref().map_or((0, String::new()), |(head, text)| (head.index, text.clone()));
        let engine = Engine::new(&member.stored, Pace::default(), seed, LogTicket(1), now);
        member.engine = Some(engine.unwrap_or_else(|why| panic!("{id}: {why}")));
        self.drain(id);
    }

    /// The process ends. Of what was not told to be written, the first `kept` writes reached the disk all the same.
    pub(super) fn crash(&mut self, id: u64, kept: usize) {
        let member = self.members.get_mut(&id).unwrap();
        member.engine = None;
        let pending = std::mem::take(&mut member.pending);
        for (_, write, _) in pending.into_iter().take(kept) {
            store(&mut member.stored, &write);
        }
    }

    pub(super) fn engine(&self, id: u64) -> &Engine {
        self.members[&id].engine.as_ref().expect("it runs")
    }

    pub(super) fn runs(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|member| member.engine.is_some())
    }

    /// Has the engine do something, and what it wants then.
    pub(super) fn with<T>(&mut self, id: u64, act: impl FnOnce(&mut Engine, Time) -> T) -> T {
        let now = self.now;
        let done = act(self.members.get_mut(&id).unwrap().engine.as_mut().expect("it runs"), now);
        self.drain(id);
        done
    }

    fn drain(&mut self, id: u64) {
        while let Some(effect) = self.members.get_mut(&id).unwrap().engine.as_mut().unwrap().poll_effect() {
            (id, &effect).hash(&mut self.trace);
            self.carry_out(id, effect);
        }
        self.engine(id).check_invariants();
    }

    fn carry_out(&mut self, id: u64, effect: Effect) {
        match effect {
            Effect::Send { to, letter } => {
                assert_eq!(letter.envelope().to, to);
                self.check_durable(id, &letter);
                self.pieces +=
                    u64::from(matches!(letter, Letter::Agree(Agree { kind: AgreeKind::Snapshot { .. }, .. })));
                let copies = 1 + u64::from(self.rng.below(1000) < self.weather.doubled);
                for _ in 0..copies {
                    if self.rng.below(1000) >= self.weather.loss {
                        let way = Duration::from_millis(self.rng.below(self.weather.way + 1));
                        self.pool.push((self.now + way, letter.clone()));
                    }
                }
            }
            Effect::Write { ticket, write } => {
                let ready = self.now + Duration::from_millis(self.rng.below(self.weather.disk + 1));
                let pending = &mut self.members.get_mut(&id).unwrap().pending;
                assert!(
                    pending.back().is_none_or(|(before, ..)| before.0 + 1 == ticket.0),
                    "tickets follow one another"
                );
                pending.push_back((ticket, write, ready));
            }
            Effect::Apply(entry) => {
                let known = self.agreed.entry(entry.index).or_insert_with(|| entry.clone());
                assert_eq!(*known, entry, "all apply the same");
                let member = self.members.get_mut(&id).unwrap();
                assert_eq!(member.applied + 1, entry.index, "member {id} applies each entry once, in order");
                member.applied = entry.index;
                member.text += &line(&entry);
            }
            Effect::Install { head, text } => {
                self.installs += 1;
                let known: String = (2..=head.index).map(|index| line(&self.agreed[&index])).collect();
                assert_eq!(known, text, "a snapshot is what was agreed on up to {}", head.index);
                let member = self.members.get_mut(&id).unwrap();
                assert!(member.applied < head.index, "a snapshot does not go back");
                (member.applied, member.text) = (head.index, text);
            }
            Effect::Read { mark, index } => {
                let member = self.members.get_mut(&id).unwrap();
                assert!(member.applied >= index, "what is read is applied");
                assert!(index >= self.marks[&mark], "read {mark} at {index} misses what was agreed on before");
                member.reads.push((mark, Some(index)));
            }
            Effect::ReadLost { mark } => self.members.get_mut(&id).unwrap().reads.push((mark, None)),
            Effect::Role(standing) => {
                if standing.role == GroupRole::Leader {
                    let leader = *self.leaders.entry(standing.term).or_insert(id);
                    assert_eq!(leader, id, "one leader in term {}", standing.term);
                }
                self.members.get_mut(&id).unwrap().roles.push(standing);
            }
        }
    }

    /// What is said was durable before.
    fn check_durable(&self, id: u64, letter: &Letter) {
        let stored = &self.members[&id].stored;
        let Envelope { term, to, .. } = *letter.envelope();
        match letter {
            Letter::Vote(ElectVote { pre: false, granted: true, .. }) => {
                let told = stored.term > term || (stored.term == term && stored.vote == Some(to));
                assert!(told, "member {id} votes for {to} in term {term} before that is written");
            }
            Letter::Elect(Elect { kind: ElectKind::Vote { pre: false, .. }, .. }) => {
                let told = stored.term > term || (stored.term == term && stored.vote == Some(RaftId(id)));
                assert!(told, "member {id} stands in term {term} before its vote for itself is written");
            }
            Letter::Agree(_) => assert!(stored.term >= term, "member {id} leads in term {term} before that is written"),
            Letter::Answer(AgreeAnswer {
                kind: AgreeAnswerKind::Append { success: true, match_index, .. }, ..
            }) => {
                let last = last_stored(stored);
                // An answer that was held back until it was true may be of a term whose entries are replaced by now.
                let replaced = stored.entries.last().is_some_and(|entry| entry.term > term);
                assert!(
                    replaced || last >= *match_index,
                    "member {id} acknowledges {match_index} before it is written: {stored:?}"
                );
            }
            _ => {}
        }
    }

    /// Everything that was given to this disk is durable.
    pub(super) fn flush(&mut self, id: u64) {
        let count = self.members[&id].pending.len();
        self.flush_some(id, count);
    }

    pub(super) fn flush_some(&mut self, id: u64, count: usize) {
        let member = self.members.get_mut(&id).unwrap();
        let mut through = None;
        for (ticket, write, _) in member.pending.drain(..count) {
            store(&mut member.stored, &write);
            through = Some(ticket);
        }
        if let Some(through) = through
            && member.engine.is_some()
        {
            self.with(id, |engine, now| engine.written(through, now));
        }
    }

    /// Delivers the letters that the test wants, in the order in which they were sent; true if there was one.
    pub(super) fn deliver(&mut self, wanted: impl Fn(&Letter) -> bool) -> bool {
        let (some, rest) = std::mem::take(&mut self.pool).into_iter().partition::<Vec<_>, _>(|(_, it)| wanted(it));
        self.pool = rest;
        let any = !some.is_empty();
        for (_, letter) in some {
            self.hand_over(letter);
        }
        any
    }

    pub(super) fn hand_over(&mut self, letter: Letter) {
        let (from, to) = (letter.envelope().from.0, letter.envelope().to.0);
        if self.cuts.contains(&(from, to)) || !self.runs(to) {
            return;
        }
        let shown = format!("{letter:?}");
        if let Err(refused) = self.with(to, |engine, now| engine.step(letter, now)) {
            // Honest members say nothing unlawful, save to who does not know them yet, or not any more.
            let Refused::Unlawful(why) = &refused else { panic!("{refused}") };
            assert!(why.contains("no member") || why.contains("does not vote"), "{why}: {shown}");
        }
    }

    /// Lets time pass, 5 ms at a time: disks, letters, then clocks.
    pub(super) fn run(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(5) {
            self.now = self.now + Duration::from_millis(5);
            self.turn();
        }
    }

    fn turn(&mut self) {
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            if !self.runs(id) || self.members[&id].asleep_until > self.now {
                continue;
            }
            if !self.stalled.contains(&id) {
                let ready = self.members[&id].pending.iter().take_while(|(.., at)| *at <= self.now).count();
                self.flush_some(id, ready);
            }
            if !self.by_hand {
                let now = self.now;
                let mine = |(at, letter): &(Time, Letter)| *at <= now && letter.envelope().to.0 == id;
                let (some, rest) = std::mem::take(&mut self.pool).into_iter().partition::<Vec<_>, _>(mine);
                self.pool = rest;
                let mut some = some;
                some.sort_by_key(|(at, _)| *at);
                for (_, letter) in some {
                    self.hand_over(letter);
                }
            }
            if self.engine(id).deadline().is_some_and(|deadline| deadline <= self.now) {
                self.with(id, |engine, now| engine.tick(now));
            }
        }
        // What nobody will ever take.
        let live = |id: u64| self.members.get(&id).is_some_and(|member| member.engine.is_some());
        let kept = |(_, letter): &(Time, Letter)| self.by_hand || live(letter.envelope().to.0);
        let pool = std::mem::take(&mut self.pool);
        self.pool = pool.into_iter().filter(kept).collect();
    }

    /// Who leads in the highest term.
    pub(super) fn leader(&self) -> Option<u64> {
        let leads = |id: &u64| self.runs(*id) && self.engine(*id).standing().role == GroupRole::Leader;
        self.members.keys().copied().filter(leads).max_by_key(|id| self.engine(*id).standing().term)
    }

    /// Waits for a leader that has applied something of its own term.
    pub(super) fn elect(&mut self) -> u64 {
        for _ in 0..THREE_TIMEOUTS / 5 {
            self.run(5);
            if let Some(leader) = self.leader()
                && self.agreed.get(&self.members[&leader].applied).map(|entry| entry.term)
                    == Some(self.engine(leader).standing().term)
            {
                return leader;
            }
        }
        panic!("no leader after three election timeouts");
    }

    pub(super) fn propose(&mut self, id: u64, value: &str) -> (u64, u64) {
        let proposed = self.with(id, |engine, now| engine.propose(set("x", value), now)).unwrap();
        // The turn ends with it.
        self.with(id, |engine, _| engine.end_turn());
        proposed
    }

    pub(super) fn compact(&mut self, id: u64) {
        let (index, text) = (self.members[&id].applied, self.members[&id].text.clone());
        self.with(id, |engine, now| engine.compact(index, text, now));
    }

    pub(super) fn change(&mut self, id: u64, voters: &[u64], learners: &[u64], remove: &[u64]) -> Result<(), Refused> {
        let change = VoterChange { add_voters: ids(voters), add_learners: ids(learners), remove: ids(remove) };
        self.with(id, |engine, now| engine.change(change, now)).map(|_| ())
    }

    pub(super) fn isolate(&mut self, id: u64) {
        for other in self.members.keys().filter(|other| **other != id) {
            self.cuts.extend([(id, *other), (*other, id)]);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
        self.stalled.clear();
        self.weather = Weather { way: 2, disk: 2, ..Weather::default() };
    }
}

/// What an entry does to the ledger of the bench.
pub(super) fn line(entry: &LedgerEntry) -> String {
    match &entry.what {
        LedgerItem::Command(command) => match command.as_ref() {
            Command::Set { value, .. } => format!("{} {value}\n", entry.index),
            other => panic!("{other:?}"),
        },
        LedgerItem::Change(change) => format!("{} {change:?}\n", entry.index),
        LedgerItem::Empty => String::new(),
    }
}
