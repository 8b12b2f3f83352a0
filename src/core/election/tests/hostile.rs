//! Letters from a member gone mad, or damaged on their way: never a panic, never a term out of reach.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::check::{MAX_TERM_STEP, unlawful_sets};
use super::super::convert::conf_state_of;
use super::super::*;
use super::bench::*;
use crate::time::Time;
use crate::wire::{
    Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Elect, ElectKind, ElectVote, GroupId, LedgerItem, VoterChange,
};

/// Numbers that are near what is lawful, and some that are near nothing.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..9_u64, 2 => 9..700_u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1), 1 => any::<u64>()]
}

fn term() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 1..7_u64, 1 => Just(0), 1 => Just(MAX_TERM_STEP), 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn members() -> impl Strategy<Value = Vec<RaftId>> {
    prop::collection::btree_set(prop_oneof![9 => 1..7_u64, 1 => Just(0)], 0..4)
        .prop_map(|ids: BTreeSet<u64>| ids.into_iter().map(RaftId).collect())
}

fn sets() -> impl Strategy<Value = VoterSets> {
    let joint = prop_oneof![2 => Just(vec![]), 1 => members()];
    (members(), members(), joint.clone(), joint, any::<bool>()).prop_map(
        |(voters, learners, voters_outgoing, learners_next, auto_leave)| VoterSets {
            voters,
            learners,
            voters_outgoing,
            learners_next,
            auto_leave,
        },
    )
}

fn item() -> impl Strategy<Value = LedgerItem> {
    let change = (members(), members(), members()).prop_map(|(add_voters, add_learners, remove)| VoterChange {
        add_voters,
        add_learners,
        remove,
    });
    prop_oneof![
        1 => Just(LedgerItem::Empty),
        2 => Just(LedgerItem::Command(Box::new(set("x", "y")))),
        2 => change.prop_map(LedgerItem::Change),
    ]
}

fn entries() -> impl Strategy<Value = Vec<LedgerEntry>> {
    let wild = prop::collection::vec(
        (number(), term(), item()).prop_map(|(index, term, what)| LedgerEntry { index, term, what }),
        0..4,
    );
    let lawful = (1..9_u64, prop::collection::vec((0..2_u64, item()), 0..5)).prop_map(|(first, items)| {
        let mut term = 1;
        let entry = |(nth, (step, what))| {
            term += step;
            LedgerEntry { index: first + nth as u64, term, what }
        };
        items.into_iter().enumerate().map(entry).collect()
    });
    prop_oneof![1 => wild, 4 => lawful]
}

fn letter() -> impl Strategy<Value = Letter> {
    let group_id = prop_oneof![30 => Just(group()), 1 => Just(GroupId::new("ffffffffffff").unwrap())];
    let envelope =
        (group_id, prop_oneof![9 => 2..5_u64, 1 => number()], prop_oneof![20 => Just(1), 1 => number()], term())
            .prop_map(|(group_id, from, to, term)| Envelope { group_id, from: RaftId(from), to: RaftId(to), term });
    let context = || prop::option::of("[0-9a-z]{0,70}");
    let elect = (any::<bool>(), number(), term(), number(), number(), any::<bool>()).prop_map(
        |(pre, last_log_index, last_log_term, commit_index, commit_term, transfer)| ElectKind::Vote {
            pre,
            last_log_index,
            last_log_term,
            commit_index,
            commit_term,
            transfer,
        },
    );
    let elect = prop_oneof![6 => elect, 1 => Just(ElectKind::Now)];
    let vote = (any::<bool>(), any::<bool>(), number(), number());
    let agree = prop_oneof![
        6 => (entries(), any::<bool>(), number(), term(), number()).prop_map(|(entries, fits, index, term, leader_commit)| {
            let before = entries.first().map(|entry| (entry.index.saturating_sub(1), entry.term));
            let (prev_log_index, prev_log_term) = before.filter(|_| fits).unwrap_or((index, term));
            AgreeKind::Append { prev_log_index, prev_log_term, entries, leader_commit }
        }),
        2 => (number(), context()).prop_map(|(leader_commit, context)| AgreeKind::Heartbeat { leader_commit, context }),
        2 => (number(), term(), sets(), prop_oneof![3 => Just(0), 1 => number()], "[a-z]{0,5}", any::<bool>()).prop_map(
            |(last_index, last_term, members, offset, data, done)| AgreeKind::Snapshot {
                last_index,
                last_term,
                members,
                offset,
                data,
                done
            }
        ),
    ];
    let answer = prop_oneof![
        4 => (any::<bool>(), number(), prop::option::of((number(), number())), number()).prop_map(
            |(success, match_index, hint, commit_index)| AgreeAnswerKind::Append {
                success,
                match_index,
                hint,
                commit_index
            }
        ),
        1 => (context(), number())
            .prop_map(|(context, commit_index)| AgreeAnswerKind::Heartbeat { context, commit_index }),
        1 => (number(), number()).prop_map(|(last_index, next)| AgreeAnswerKind::Piece { last_index, next }),
    ];
    let kind = prop_oneof![
        2 => elect.prop_map(Kind::Elect),
        2 => vote.prop_map(Kind::Vote),
        4 => agree.prop_map(Kind::Agree),
        4 => answer.prop_map(Kind::Answer),
    ];
    (envelope, kind).prop_map(|(envelope, kind)| match kind {
        Kind::Elect(kind) => Letter::Elect(Elect { envelope, kind }),
        Kind::Vote((pre, granted, commit_index, commit_term)) => {
            Letter::Vote(ElectVote { envelope, pre, granted, commit_index, commit_term })
        }
        Kind::Agree(kind) => Letter::Agree(Agree { envelope, kind }),
        Kind::Answer(kind) => Letter::Answer(AgreeAnswer { envelope, kind }),
    })
}

#[derive(Clone, Debug)]
enum Kind {
    Elect(ElectKind),
    Vote((bool, bool, u64, u64)),
    Agree(AgreeKind),
    Answer(AgreeAnswerKind),
}

#[derive(Clone, Debug)]
enum Step {
    Letter(Box<Letter>),
    /// As a letter, with the term of the receiver: it is looked at closely.
    Near(Box<Letter>),
    /// The question that the receiver asked is answered with yes.
    Elected,
    Wait(u64),
    Flush,
    Propose,
    Change(VoterChange),
    Read,
    Compact,
    Transfer(u64),
    Unreachable(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let change = (members(), members(), members()).prop_map(|(add_voters, add_learners, remove)| VoterChange {
        add_voters,
        add_learners,
        remove,
    });
    prop_oneof![
        8 => letter().prop_map(|letter| Step::Letter(Box::new(letter))),
        12 => letter().prop_map(|letter| Step::Near(Box::new(letter))),
        6 => Just(Step::Elected),
        4 => (1..700_u64).prop_map(Step::Wait),
        8 => Just(Step::Flush),
        3 => Just(Step::Propose),
        2 => change.prop_map(Step::Change),
        2 => Just(Step::Read),
        1 => Just(Step::Compact),
        1 => (0..6_u64).prop_map(Step::Transfer),
        1 => (0..6_u64).prop_map(Step::Unreachable),
        1 => Just(Step::Restart),
    ]
}

/// One engine among liars: there is nothing to agree on, but it goes on, and what it stored starts again.
struct Victim {
    engine: Engine,
    stored: StoredGroup,
    pending: Vec<(LogTicket, GroupWrite)>,
    asked: Vec<Letter>,
    now: Time,
}

impl Victim {
    fn drain(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Write { ticket, write } => self.pending.push((ticket, write)),
                Effect::Send { letter: letter @ Letter::Elect(_), .. } => self.asked.push(letter),
                _ => {}
            }
        }
        self.engine.check_invariants();
    }

    fn take(&mut self, mut letter: Letter, near: bool) {
        let before = self.engine.standing().term;
        if near {
            let envelope = match &mut letter {
                Letter::Elect(it) => &mut it.envelope,
                Letter::Vote(it) => &mut it.envelope,
                Letter::Agree(it) => &mut it.envelope,
                Letter::Answer(it) => &mut it.envelope,
            };
            envelope.term = before.max(1);
        }
        let _ = self.engine.step(letter, self.now);
        self.drain();
        let after = self.engine.standing().term;
        assert!(after >= before && after - before <= MAX_TERM_STEP + 1, "{before} to {after}");
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Letter(letter) => self.take(*letter, false),
            Step::Near(letter) => self.take(*letter, true),
            Step::Elected => {
                for letter in std::mem::take(&mut self.asked) {
                    let Letter::Elect(Elect { envelope, kind: ElectKind::Vote { pre, .. } }) = letter else { continue };
                    let envelope = Envelope { from: envelope.to, to: envelope.from, ..envelope };
                    let vote = ElectVote { envelope, pre, granted: true, commit_index: 0, commit_term: 0 };
                    self.take(Letter::Vote(vote), false);
                }
            }
            Step::Wait(ms) => {
                for _ in 0..ms.div_ceil(50) {
                    self.now = self.now + std::time::Duration::from_millis(50);
                    self.engine.tick(self.now);
                    self.drain();
                }
            }
            Step::Flush => {
                for (ticket, write) in std::mem::take(&mut self.pending) {
                    store(&mut self.stored, &write);
                    self.engine.written(ticket, now);
                }
            }
            Step::Propose => drop(self.engine.propose(set("x", "y"), now)),
            Step::Change(change) => drop(self.engine.change(change, now)),
            Step::Read => drop(self.engine.read(1, now)),
            Step::Compact => {
                let applied = self.engine.view().applied;
                self.engine.compact(applied, "text".to_owned(), now);
            }
            Step::Transfer(to) => drop(self.engine.transfer(RaftId(to), now)),
            Step::Unreachable(id) => self.engine.unreachable(RaftId(id)),
            Step::Restart => {
                self.pending.clear();
                self.asked.clear();
                self.engine = Engine::new(&self.stored, Pace::default(), 3, LogTicket(1), now).expect("what it stored");
            }
        }
        self.drain();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_letter_brings_an_engine_down(
        begin in 0..3_u64,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let stored = match begin {
            0 => joiner(1),
            1 => member_of(&[1], 1),
            _ => member_of(&[1, 2, 3], 1),
        };
        let engine = Engine::new(&stored, Pace::default(), 7, LogTicket(1), Time::ZERO).unwrap();
        let mut victim = Victim { engine, stored, pending: Vec::new(), asked: Vec::new(), now: Time::ZERO };
        victim.drain();
        for step in steps {
            victim.step(step);
        }
    }

    #[test]
    fn sets_that_are_lawful_are_taken_by_the_crate(sets in sets()) {
        if unlawful_sets(&sets).is_none() {
            let mut stored = member_of(&[1], 1);
            stored.snapshot.as_mut().unwrap().0.members = sets.clone();
            let engine = Engine::new(&stored, Pace::default(), 7, LogTicket(1), Time::ZERO).unwrap();
            prop_assert_eq!(engine.view().members, sets.clone());
            prop_assert_eq!(super::super::convert::sets_of(&conf_state_of(&sets)), sets);
        }
    }
}
