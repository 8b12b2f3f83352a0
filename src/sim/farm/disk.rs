//! A virtual disk: what it was given becomes durable a batch at a time, or not at all.
//!
//! ```text
//!   write ─> waiting ─ begin ─> under way ─ end ──> durable, told
//!               │                   │ └── refused: nothing of it is stored, told
//!               └──── crash ────────┴────> lost, except a prefix of what was under way
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::core::{Input, JobNumber, JobSpec, JobWrite, StoredJob, StoredState, Ticket};
use crate::sim::plan::Dice;
use crate::time::Time;
use crate::wire::JobStatus;

/// A job that is durable.
#[derive(Clone, Debug)]
struct Kept {
    spec: JobSpec,
    put: Time,
    state: StoredState,
    changed: Time,
}

/// The disk of a master.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    durable: BTreeMap<JobNumber, Kept>,
    /// Jobs that it said to have written without having done so: only a planted fault does that.
    lied: BTreeSet<JobNumber>,
    waiting: VecDeque<(Ticket, JobWrite)>,
    under_way: Vec<(Ticket, JobWrite)>,
    busy: bool,
    /// It refuses most batches until then.
    pub(super) ill_until: Time,
    /// It takes this much time more until then.
    pub(super) slow: (Time, Duration),
    /// It loses what is written of ends: a planted fault.
    pub(super) loses_ends: bool,
}

impl Disk {
    /// Takes a write.
    pub(super) fn take(&mut self, ticket: Ticket, write: JobWrite) {
        self.waiting.push_back((ticket, write));
    }

    /// Says that all that waits is written, which it is not: a planted fault.
    pub(super) fn lie(&mut self) -> Option<Input> {
        let through = self.waiting.back()?.0;
        self.lied.extend(self.waiting.iter().map(|(_, write)| write.number()));
        Some(Input::Written { through })
    }

    /// Begins a batch, if there is something to do and none is under way. The time that it takes.
    pub(super) fn begin(&mut self, sync: Duration, now: Time, dice: &mut Dice) -> Option<Duration> {
        if self.busy || self.waiting.is_empty() {
            return None;
        }
        self.busy = true;
        let most = if dice.chance(70) { self.waiting.len() } else { 1 + dice.pick(self.waiting.len()) };
        self.under_way = self.waiting.drain(..most).collect();
        let slow = if now < self.slow.0 { self.slow.1 } else { Duration::ZERO };
        Some(dice.duration(Duration::ZERO, sync) + slow)
    }

    /// The batch is done, or refused. What the master is told.
    pub(super) fn end(&mut self, now: Time, dice: &mut Dice) -> Result<Option<Input>, String> {
        self.busy = false;
        let batch = std::mem::take(&mut self.under_way);
        let (Some(from), Some(through)) = (batch.first().map(|one| one.0), batch.last().map(|one| one.0)) else {
            return Ok(None);
        };
        if now < self.ill_until && dice.chance(80) {
            return Ok(Some(Input::WriteFailed { from, through, reason: "no space left".to_owned() }));
        }
        for (_, write) in batch {
            self.apply(write, now)?;
        }
        Ok(Some(Input::Written { through }))
    }

    /// The machine loses its power: nothing that waits survives, and of what is under way none, a part, or all.
    pub(super) fn crash(&mut self, now: Time, dice: &mut Dice) -> Result<(), String> {
        self.waiting.clear();
        self.lied.clear();
        self.busy = false;
        let batch = std::mem::take(&mut self.under_way);
        let kept = match dice.pick(3) {
            0 => 0,
            1 => batch.len(),
            _ => dice.pick(batch.len() + 1),
        };
        batch.into_iter().take(kept).try_for_each(|(_, write)| self.apply(write, now))
    }

    /// What a master finds at its start.
    pub(super) fn stored(&self, now: Time) -> Vec<StoredJob> {
        let stored = |(number, kept): (&JobNumber, &Kept)| StoredJob {
            number: *number,
            spec: kept.spec.clone(),
            state: kept.state.clone(),
            age: now.since(kept.put),
            state_age: now.since(kept.changed),
        };
        self.durable.iter().map(stored).collect()
    }

    /// Whether it has this job, or says so.
    pub(super) fn has(&self, number: JobNumber) -> bool {
        self.durable.contains_key(&number) || self.lied.contains(&number)
    }

    /// Whether something is still to be written.
    pub(super) fn is_idle(&self) -> bool {
        !self.busy && self.waiting.is_empty()
    }

    /// Law: a number is put once, a state is that of a job that was put, and no end replaces another, unless the job
    /// was buried or is to be.
    fn apply(&mut self, write: JobWrite, now: Time) -> Result<(), String> {
        match write {
            JobWrite::Put { number, spec } => {
                if self.durable.keys().next_back().is_some_and(|last| *last >= number) {
                    return Err(format!("{number:?} is put, which is not above all before"));
                }
                let state = StoredState::Open { attempt: 0, spared: 0 };
                self.durable.insert(number, Kept { spec, put: now, state, changed: now });
            }
            JobWrite::State { number, state } => {
                let Some(kept) = self.durable.get_mut(&number) else {
                    return Err(format!("{number:?} was never put, and is said to be {state:?}"));
                };
                let buried =
                    |state: &StoredState| matches!(state, StoredState::Ended(end) if end.status == JobStatus::Buried);
                let ended = matches!(kept.state, StoredState::Ended(_));
                // What a disk that is ill has not taken is written at once with what came after it: of a NOK that was buried and then
                // cancelled or kicked only the last is seen.
                let nok = matches!(&kept.state, StoredState::Ended(end) if end.status == JobStatus::Nok);
                let unseen = nok && self.ill_until > Time::ZERO;
                if ended && kept.state != state && !buried(&kept.state) && !buried(&state) && !unseen {
                    return Err(format!("{number:?} has ended twice: {:?}, then {state:?}", kept.state));
                }
                if !(self.loses_ends && matches!(state, StoredState::Ended(_))) {
                    (kept.state, kept.changed) = (state, now);
                }
            }
            JobWrite::Remove { number } => {
                self.durable.remove(&number);
            }
        }
        Ok(())
    }
}
