//! The named leases of the ledger: who holds which, by which grant, and which ticks of timetables were claimed.
//!
//! ```text
//!            ACQUIRE                    RELEASE, EXPIRE
//!   free ───────────────> held by one ──────────────────> free (kept while it has a tick to remember)
//!                          │      ▲
//!                          └──────┘ ACQUIRE by the same holder: the same fence, its term goes on
//! ```
//!
//! The fence of a grant is the index of its entry: larger with each grant of any lease, and as old as the log. A
//! repetition by the holder keeps the fence, but an EXPIRE that was proposed before it does not end it: the
//! holder was told that its term goes on. That is what `heard` is for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Refusal;
use crate::wire::{JsonReader, JsonWriter, LEASE_TTL, Lease, MAX_LEASES, MAX_QUOTE, ServerId, is_valid_name, quote};

/// All leases, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Leases(BTreeMap<String, State>);

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// `None`: free.
    holder: Option<String>,
    /// Index of the grant, the last one if it is free.
    fence: u64,
    /// Index of the last entry that changed who holds it or for how long.
    heard: u64,
    /// The longest that the holder of this grant was told.
    ttl: Duration,
    /// The last tick that was claimed, under whichever grant; 0 if none.
    tick: u64,
}

/// A lease that is held, as a leader reckons with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Holding<'l> {
    pub(super) name: &'l str,
    pub(super) fence: u64,
    pub(super) heard: u64,
    pub(super) ttl: Duration,
}

impl State {
    fn shown(&self, name: &str) -> Lease {
        Lease { name: name.to_owned(), holder: self.holder.clone(), fence: self.fence, ttl: self.ttl, tick: self.tick }
    }
}

impl Leases {
    pub(super) fn get(&self, name: &str) -> Option<Lease> {
        self.0.get(name).map(|state| state.shown(name))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Lease> {
        self.0.iter().map(|(name, state)| state.shown(name))
    }

    /// Those that are held, by name.
    pub(super) fn held(&self) -> impl Iterator<Item = Holding<'_>> {
        self.0.iter().filter(|(_, state)| state.holder.is_some()).map(|(name, state)| Holding {
            name,
            fence: state.fence,
            heard: state.heard,
            ttl: state.ttl,
        })
    }

    /// Whether this holder may have this lease now.
    pub(super) fn check_acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<(), Refusal> {
        check_name(name)?;
        // A holder is bounded as an id is.
        if ServerId::new(holder).is_none() {
            return Err(contradicts("`HOLDER`: expected 1 to 128 bytes without control characters"));
        }
        let (least, most) = LEASE_TTL;
        if !(least..=most).contains(&ttl) {
            let (least, most) = (least.as_millis(), most.as_millis());
            return Err(contradicts(format!("`TTL_MS`: expected {least} to {most}")));
        }
        match self.0.get(name) {
            Some(state) if state.holder.as_deref().is_some_and(|other| other != holder) => {
                Err(Refusal::Held(state.shown(name)))
            }
            Some(_) => Ok(()),
            None if self.0.len() >= MAX_LEASES && self.oldest_free().is_none() => {
                Err(Refusal::Full(format!("the group has {MAX_LEASES} leases, and all are held")))
            }
            None => Ok(()),
        }
    }

    /// Whether this grant still holds.
    pub(super) fn check_fence(&self, name: &str, fence: u64) -> Result<(), Refusal> {
        match self.0.get(name) {
            Some(state) if state.holder.is_some() && state.fence == fence => Ok(()),
            other => Err(Refusal::Over { lease: other.map(|state| state.shown(name)) }),
        }
    }

    /// Whether this is the last that was heard of the lease.
    pub(super) fn check_heard(&self, name: &str, heard: u64) -> Result<(), Refusal> {
        match self.0.get(name) {
            Some(state) if state.holder.is_some() && state.heard == heard => Ok(()),
            other => Err(Refusal::Over { lease: other.map(|state| state.shown(name)) }),
        }
    }

    /// Whether this tick can be claimed by this grant.
    pub(super) fn check_tick(&self, name: &str, fence: u64, tick: u64) -> Result<(), Refusal> {
        self.check_fence(name, fence)?;
        match self.0.get(name) {
            Some(state) if tick <= state.tick => Err(Refusal::Claimed { tick: state.tick }),
            _ => Ok(()),
        }
    }

    /// Grants it by the entry `index`, or notes that its holder goes on. [`Leases::check_acquire`] has said yes.
    pub(super) fn acquire(&mut self, name: &str, holder: &str, ttl: Duration, index: u64) -> Lease {
        if !self.0.contains_key(name) && self.0.len() >= MAX_LEASES {
            // A timetable that has rested longer than all others is forgotten.
            if let Some(oldest) = self.oldest_free() {
                self.0.remove(&oldest);
            }
        }
        let free = State { holder: None, fence: 0, heard: 0, ttl, tick: 0 };
        let state = self.0.entry(name.to_owned()).or_insert(free);
        if state.holder.is_none() {
            state.holder = Some(holder.to_owned());
            state.fence = index;
            state.ttl = ttl;
        }
        // Never shorter under one grant: the holder may not hear this answer and go by the longer term that it was told before.
        state.ttl = state.ttl.max(ttl);
        state.heard = index;
        state.shown(name)
    }

    /// Frees it by the entry `index`. It stays only for its tick. Tells the grant that ended.
    pub(super) fn free(&mut self, name: &str, index: u64) -> u64 {
        let Some(state) = self.0.get_mut(name) else { return 0 };
        let fence = state.fence;
        (state.holder, state.heard) = (None, index);
        if state.tick == 0 {
            self.0.remove(name);
        }
        fence
    }

    /// Claims the tick. [`Leases::check_tick`] has said yes.
    pub(super) fn claim(&mut self, name: &str, tick: u64) {
        if let Some(state) = self.0.get_mut(name) {
            state.tick = tick;
        }
    }

    /// The free lease that was freed first.
    fn oldest_free(&self) -> Option<String> {
        let free = self.0.iter().filter(|(_, state)| state.holder.is_none());
        free.min_by_key(|(_, state)| state.heard).map(|(name, _)| name.clone())
    }

    /// Writes one object for each, into a list.
    pub(super) fn write<'o>(&self, key: &str, object: JsonWriter<'o>) -> JsonWriter<'o> {
        object.list(key, &self.0, |(name, state), out| {
            out.push('\n');
            let mut object = JsonWriter::begin(out).text("NAME", name);
            if let Some(holder) = &state.holder {
                object = object.text("HOLDER", holder);
            }
            let object = object.number("FENCE", state.fence).number("HEARD", state.heard);
            object.millis("TTL_MS", state.ttl).number("TICK", state.tick).end();
        })
    }

    /// The leases of such a list. The error names the field.
    pub(super) fn read(key: &str, object: &JsonReader<'_>) -> Result<Leases, String> {
        let mut leases = Leases::default();
        for text in object.list(key)? {
            let object = JsonReader::read(text).map_err(|error| format!("`{key}`: {error}"))?;
            let state = State {
                holder: object.maybe_text("HOLDER")?,
                fence: object.positive("FENCE")?,
                heard: object.positive("HEARD")?,
                ttl: object.millis("TTL_MS")?,
                tick: object.number("TICK")?,
            };
            let name = object.text("NAME")?;
            if leases.0.insert(name, state).is_some() {
                return Err(format!("`{key}`: expected each `NAME` once"));
            }
        }
        Ok(leases)
    }

    /// What always holds at the index `index`. The error is one sentence.
    pub(super) fn check_invariants(&self, index: u64) -> Result<(), String> {
        if self.0.len() > MAX_LEASES {
            return Err(format!("`LEASES`: expected at most {MAX_LEASES}"));
        }
        let mut fences = BTreeSet::new();
        for (name, state) in &self.0 {
            let wrong = |what: &str| Err(format!("`LEASES`: `{}`: {what}", quote(name, MAX_QUOTE)));
            if !is_valid_name(name) || state.holder.as_deref().is_some_and(|holder| ServerId::new(holder).is_none()) {
                return wrong("expected names without control characters");
            }
            if state.holder.is_none() && state.tick == 0 {
                return wrong("expected no free lease without a tick");
            }
            if !(1..=state.heard).contains(&state.fence) || state.heard > index {
                return wrong("expected a fence, then what was heard last, then the index of the ledger");
            }
            if !(LEASE_TTL.0..=LEASE_TTL.1).contains(&state.ttl) {
                return wrong("expected a lawful `TTL_MS`");
            }
            if !fences.insert(state.fence) {
                return wrong("expected a fence of its own");
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if is_valid_name(name) {
        return Ok(());
    }
    Err(contradicts("`NAME`: expected 1 to 64 bytes without control characters"))
}

fn contradicts(sentence: impl Into<String>) -> Refusal {
    Refusal::Contradicts(sentence.into())
}
