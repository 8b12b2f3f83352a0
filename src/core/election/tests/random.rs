//! Random weather: letters lost, doubled and late, crashes that lose what was not written, pauses, cuts, changes of voters and
//! snapshots; then a calm in which everything must come to rest.
//!
//! `MUTIRAO_SIM_SEED=7 cargo test --lib core::election::tests::random` runs that seed alone, `MUTIRAO_SIM_SEEDS=10000` as many as that.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::*;
use super::bench::*;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// What one run came to.
struct Run {
    trace: u64,
    agreed: u64,
    terms: u64,
    installs: u64,
    changes: u64,
}

struct Storm {
    bench: Bench,
    next_id: u64,
    proposed: u64,
    marks: u64,
    changes: u64,
    /// Proposals that their leader has applied: index and term.
    hoped: BTreeSet<(u64, u64)>,
}

impl Storm {
    fn below(&mut self, bound: u64) -> u64 {
        self.bench.rng.below(bound)
    }

    fn pick(&mut self, wanted: impl Fn(&Bench, u64) -> bool) -> Option<u64> {
        let ids: Vec<u64> = self.bench.members.keys().copied().filter(|id| wanted(&self.bench, *id)).collect();
        (!ids.is_empty()).then(|| ids[self.bench.rng.below(ids.len() as u64) as usize])
    }

    fn act(&mut self) {
        match self.below(100) {
            0..=29 => {
                if let Some(id) = self.pick(|bench, id| bench.runs(id)) {
                    self.proposed += 1;
                    let length = if self.below(20) == 0 { 9000 } else { 5 };
                    let value = format!("{}{}", self.proposed, "x".repeat(length));
                    let offered = self.bench.with(id, |engine, now| engine.propose(set("x", &value), now));
                    self.hoped.extend(offered.ok());
                }
            }
            30..=44 => {
                if let Some(id) = self.pick(|bench, id| bench.runs(id)) {
                    self.marks += 1;
                    let agreed = self.bench.agreed.keys().next_back().copied().unwrap_or(1);
                    self.bench.marks.insert(self.marks, agreed);
                    let mark = self.marks;
                    let _ = self.bench.with(id, |engine, now| engine.read(mark, now));
                }
            }
            45..=52 => {
                if let Some(id) = self.pick(|bench, id| bench.runs(id)) {
                    let kept = self.below(4) as usize;
                    self.bench.crash(id, kept);
                }
            }
            53..=64 => {
                if let Some(id) = self.pick(|bench, id| !bench.runs(id)) {
                    self.bench.start(id);
                }
            }
            65..=69 => {
                if let Some(id) = self.pick(|bench, id| bench.runs(id)) {
                    let pause = Duration::from_millis(self.below(1500));
                    let until = self.bench.now + pause;
                    self.bench.members.get_mut(&id).unwrap().asleep_until = until;
                }
            }
            70..=74 => {
                let (one, other) = (self.pick(|_, _| true).unwrap(), self.pick(|_, _| true).unwrap());
                self.bench.cuts.insert((one, other));
                if self.below(2) == 0 {
                    self.bench.isolate(one);
                }
            }
            75..=79 => self.bench.cuts.clear(),
            80..=84 => {
                if let Some(id) = self.pick(|bench, id| bench.runs(id)) {
                    self.bench.compact(id);
                }
            }
            85..=91 => self.change(),
            92..=94 => {
                let (Some(id), Some(to)) = (self.bench.leader(), self.pick(|_, _| true)) else { return };
                let _ = self.bench.with(id, |engine, now| engine.transfer(RaftId(to), now));
            }
            95..=96 => {
                if let Some(id) = self.pick(|_, _| true) {
                    self.bench.stalled.insert(id);
                }
            }
            97..=98 => self.bench.stalled.clear(),
            _ => {
                if let Some(id) = self.pick(|bench, id| bench.runs(id)) {
                    let late = Duration::from_millis(self.below(150));
                    self.bench.with(id, |engine, _| engine.delayed(late));
                }
            }
        }
    }

    fn change(&mut self) {
        let Some(leader) = self.bench.leader() else { return };
        let members = self.bench.engine(leader).view().members;
        let matched = self.bench.engine(leader).view().last;
        let progress = self.bench.engine(leader).progress();
        let ready = progress.iter().find(|it| members.learners.contains(&it.id) && it.matched + 5 >= matched);
        let other = members.voters.iter().map(|id| id.0).find(|id| *id != leader);
        let changed = match (self.below(4), ready.map(|it| it.id.0), other) {
            (0, _, _) if members.learners.is_empty() => {
                let id = self.next_id;
                let done = self.bench.change(leader, &[], &[id], &[]);
                if done.is_ok() {
                    self.next_id += 1;
                    self.bench.add(id, joiner(id));
                }
                done.is_ok()
            }
            (1, Some(learner), _) if members.voters.len() < 5 => {
                self.bench.change(leader, &[learner], &[], &[]).is_ok()
            }
            (2, Some(learner), Some(voter)) => self.bench.change(leader, &[learner], &[], &[voter]).is_ok(),
            (3, _, Some(voter)) if members.voters.len() > 3 => self.bench.change(leader, &[], &[], &[voter]).is_ok(),
            _ => false,
        };
        self.changes += u64::from(changed);
    }

    /// Whom the latest sets that were agreed on name.
    fn members(&self) -> VoterSets {
        let applied = |id: &&u64| self.bench.members[*id].applied;
        let ahead = self.bench.members.keys().filter(|id| self.bench.runs(**id)).max_by_key(applied).unwrap();
        self.bench.engine(*ahead).view().members
    }

    fn calm(&mut self) {
        self.bench.heal();
        let ids: Vec<u64> = self.bench.members.keys().copied().collect();
        for id in ids {
            self.bench.members.get_mut(&id).unwrap().asleep_until = Time::ZERO;
            if !self.bench.runs(id) {
                self.bench.start(id);
            }
        }
        // The letters of the storm still arrive.
        let agreed = self.bench.agreed.keys().next_back().copied().unwrap_or(1);
        let mut waited = 0;
        while self.bench.agreed.keys().next_back().copied().unwrap_or(1) <= agreed || self.bench.leader().is_none() {
            let engines = self.bench.members.values().map(|member| &member.engine).collect::<Vec<_>>();
            assert!(waited < THREE_TIMEOUTS, "nothing is agreed on after three election timeouts: {engines:#?}");
            self.bench.run(5);
            waited += 5;
            if let Some(leader) = self.bench.leader() {
                let _ = self.bench.with(leader, |engine, now| engine.propose(set("x", "calm"), now));
            }
        }
        self.bench.run(3000);
        let (last, text) = {
            let leader = &self.bench.members[&self.bench.leader().expect("a leader stays")];
            (leader.applied, leader.text.clone())
        };
        assert_eq!(Some(&last), self.bench.agreed.keys().next_back(), "what was ever applied is the leader's");
        let members = self.members();
        assert!(members.voters_outgoing.is_empty(), "a joint change ends");
        for id in members.voters.iter().chain(&members.learners) {
            let member = &self.bench.members[&id.0];
            assert!(member.applied == last && member.text == text, "member {id} has {} of {last}", member.applied);
        }
    }
}

use crate::time::Time;

fn storm(seed: u64, voters: &[u64]) -> Run {
    let bench = Bench::new(voters, seed);
    let next_id = voters.len() as u64 + 1;
    let mut storm = Storm { bench, next_id, proposed: 0, marks: 0, changes: 0, hoped: BTreeSet::new() };
    let bench = &mut storm.bench;
    let (loss, doubled) = (bench.rng.below(4) * 60, bench.rng.below(3) * 60);
    let (way, disk) = ([1, 10, 40, 120][bench.rng.below(4) as usize], [1, 10, 60][bench.rng.below(3) as usize]);
    bench.weather = Weather { loss, doubled, way, disk };
    for _ in 0..160 {
        storm.act();
        let pause = 5 + storm.below(60);
        storm.bench.run(pause);
    }
    storm.calm();
    let bench = &storm.bench;
    for (index, term) in &storm.hoped {
        // An index that was agreed on with this term holds what was proposed; it was checked when it was applied.
        assert!(bench.agreed.get(index).is_none_or(|entry| entry.term != *term || !line(entry).is_empty()));
    }
    Run {
        trace: bench.trace.0,
        agreed: bench.agreed.len() as u64,
        terms: bench.leaders.len() as u64,
        installs: bench.installs,
        changes: storm.changes,
    }
}

fn storms(voters: &[u64], seeds: u64) {
    if let Some(seed) = from_env("MUTIRAO_SIM_SEED") {
        storm(seed, voters);
        return;
    }
    let (mut agreed, mut terms, mut installs, mut changes) = (0, 0, 0, 0);
    for seed in 0..from_env("MUTIRAO_SIM_SEEDS").unwrap_or(seeds) {
        let told = Told(seed);
        let run = storm(seed, voters);
        std::mem::forget(told);
        agreed += run.agreed;
        terms += run.terms;
        installs += run.installs;
        changes += run.changes;
    }
    println!("{agreed} entries, {terms} leaders, {installs} snapshots, {changes} changes of voters");
    assert!(agreed > 10 * seeds && terms > 2 * seeds, "the storms are no calm: {agreed} entries, {terms} leaders");
    assert!(installs > 0 && changes > seeds / 4, "{installs} snapshots, {changes} changes");
}

/// Names the seed of a run that panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("MUTIRAO_SIM_SEED={} repeats this", self.0);
    }
}

#[test]
fn three_engines_agree_in_any_weather() {
    storms(&[1, 2, 3], 60);
}

#[test]
fn five_engines_agree_in_any_weather() {
    storms(&[1, 2, 3, 4, 5], 30);
}

#[test]
fn one_engine_alone_grows_in_any_weather() {
    storms(&[1], 30);
}

#[test]
fn same_seed_same_trace() {
    for seed in [3, 11] {
        assert_eq!(storm(seed, &[1, 2, 3]).trace, storm(seed, &[1, 2, 3]).trace);
    }
    assert_ne!(storm(3, &[1, 2, 3]).trace, storm(4, &[1, 2, 3]).trace);
}
