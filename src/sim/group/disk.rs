//! The disk of a master for its group: what it was given becomes durable a batch at a time, in order, sooner or later.
//!
//! ```text
//!   write ─> waiting ─ begin ─> under way ─ end ──> durable, told
//!               │                │   ^  └── refused: told once, tried again
//!               │                └───┘
//!               └──── crash ─────┴────> lost, except a prefix of what was under way
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::{GroupWrite, Input, LogTicket, StoredGroup};
use crate::sim::plan::Dice;
use crate::time::Time;
use crate::wire::{GroupId, LedgerEntry};

/// A batch that was refused is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);

/// The disk of a master.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Disk {
    stored: StoredGroup,
    waiting: VecDeque<(LogTicket, GroupWrite)>,
    under_way: VecDeque<(LogTicket, GroupWrite)>,
    busy: bool,
    /// It refuses most batches until then.
    pub(in crate::sim) ill_until: Time,
    /// It takes this much time more until then.
    pub(in crate::sim) slow: (Time, Duration),
    /// The master was told that it refuses.
    told_ill: bool,
}

impl Disk {
    /// An empty one.
    pub(in crate::sim) fn new(dice: &mut Dice) -> Disk {
        Disk {
            stored: fresh(dice),
            waiting: VecDeque::new(),
            under_way: VecDeque::new(),
            busy: false,
            ill_until: Time::ZERO,
            slow: (Time::ZERO, Duration::ZERO),
            told_ill: false,
        }
    }

    /// Takes a write.
    pub(in crate::sim) fn take(&mut self, ticket: LogTicket, write: GroupWrite) {
        self.waiting.push_back((ticket, write));
    }

    /// Says that all that waits is written, which it is not: a planted fault.
    pub(in crate::sim) fn lie(&self) -> Option<Input> {
        let through = self.waiting.back()?.0;
        Some(Input::GroupWritten { through })
    }

    /// Begins a batch, if there is something to do and none is under way. The time that it takes.
    pub(in crate::sim) fn begin(&mut self, sync: Duration, now: Time, dice: &mut Dice) -> Option<Duration> {
        if self.busy || (self.waiting.is_empty() && self.under_way.is_empty()) {
            return None;
        }
        self.busy = true;
        if !self.under_way.is_empty() {
            return Some(AGAIN);
        }
        let most = if dice.chance(70) { self.waiting.len() } else { 1 + dice.pick(self.waiting.len()) };
        self.under_way = self.waiting.drain(..most).collect();
        let slow = if now < self.slow.0 { self.slow.1 } else { Duration::ZERO };
        Some(dice.duration(Duration::ZERO, sync) + slow)
    }

    /// The batch is done, or refused. What the master is told; and whether it was refused.
    ///
    /// Law: what is written fits what is stored.
    pub(in crate::sim) fn end(&mut self, now: Time, dice: &mut Dice) -> Result<(Vec<Input>, bool), String> {
        self.busy = false;
        if now < self.ill_until && dice.chance(80) {
            let news = !std::mem::replace(&mut self.told_ill, true);
            let told = news.then(|| Input::GroupTrouble { reason: Some("no space left".to_owned()) });
            return Ok((told.into_iter().collect(), true));
        }
        let mut told = Vec::new();
        if std::mem::take(&mut self.told_ill) {
            told.push(Input::GroupTrouble { reason: None });
        }
        if let Some((through, _)) = self.under_way.back() {
            told.push(Input::GroupWritten { through: *through });
        }
        for (ticket, write) in std::mem::take(&mut self.under_way) {
            self.store(ticket, write)?;
        }
        Ok((told, false))
    }

    /// The machine loses its power: nothing that waits survives, and of what is under way none, a part, or all.
    pub(in crate::sim) fn crash(&mut self, dice: &mut Dice) -> Result<(), String> {
        self.waiting.clear();
        (self.busy, self.told_ill) = (false, false);
        let batch = std::mem::take(&mut self.under_way);
        let kept = match dice.pick(3) {
            0 => 0,
            1 => batch.len(),
            _ => dice.pick(batch.len() + 1),
        };
        batch.into_iter().take(kept).try_for_each(|(ticket, write)| self.store(ticket, write))
    }

    /// The data directory is lost.
    pub(super) fn lose(&mut self, dice: &mut Dice) {
        self.stored = fresh(dice);
    }

    /// What a master finds at its start.
    pub(in crate::sim) fn stored(&self) -> &StoredGroup {
        &self.stored
    }

    /// Law: a disk holds the text of an entry, and what is read from it is what was written.
    fn store(&mut self, ticket: LogTicket, write: GroupWrite) -> Result<(), String> {
        let text = format!("{write:?}");
        if let GroupWrite::Append(entries) = &write
            && let Some(entry) = entries.iter().find(|entry| !is_read_back(entry))
        {
            return Err(format!("write {}: a restart would read another entry than {entry:?}", ticket.0));
        }
        self.stored.apply(write).map_err(|why| format!("write {} does not fit what is stored: {why}: {text}", ticket.0))
    }
}

fn is_read_back(entry: &LedgerEntry) -> bool {
    let mut text = String::new();
    entry.to_json(&mut text);
    LedgerEntry::from_json(&text).is_ok_and(|read| read == *entry)
}

/// A new data directory.
fn fresh(dice: &mut Dice) -> StoredGroup {
    let text = format!("{:016x}", dice.next());
    StoredGroup::fresh(GroupId::new(text).expect("hexadecimal digits"))
}
