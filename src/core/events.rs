//! Events: numbered, and told to the links that asked for them.

use std::collections::BTreeSet;

use super::LinkId;
use crate::wire::{Address, Event, EventKind, ServerId};

/// Streams of events at a time. Each event is sent once a stream, so that the number bounds the work of one event.
const MAX_STREAMS: usize = 1024;

/// The numbering of events and the links that listen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Events {
    seq: u64,
    streams: BTreeSet<LinkId>,
}

impl Events {
    /// The number of the last event; 0 before the first.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether any stream runs.
    pub(super) fn is_heard(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Begins a stream. `false` if there are too many; nothing changed then.
    pub(super) fn subscribe(&mut self, link: LinkId) -> bool {
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains(&link) {
            return false;
        }
        self.streams.insert(link);
        true
    }

    pub(super) fn unsubscribe(&mut self, link: LinkId) {
        self.streams.remove(&link);
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.streams.iter().copied()
    }

    /// Numbers an event.
    pub(super) fn number(
        &mut self,
        kind: EventKind,
        server_id: Option<ServerId>,
        address: Option<Address>,
        detail: String,
    ) -> Event {
        self.seq += 1;
        Event { seq: self.seq, kind, server_id, address, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_bounded_and_one_a_link() {
        let mut events = Events::default();
        for n in 0..MAX_STREAMS as u64 {
            assert!(events.subscribe(LinkId(n * 2)));
        }
        assert!(!events.subscribe(LinkId(1_000_000)));
        assert!(events.subscribe(LinkId(0)), "a stream that runs is not a second one");
        events.unsubscribe(LinkId(0));
        assert!(events.subscribe(LinkId(1_000_000)));
        assert_eq!(events.streams().count(), MAX_STREAMS);
    }

    #[test]
    fn numbers_have_no_gaps() {
        let mut events = Events::default();
        let seqs: Vec<_> = (0..3).map(|_| events.number(EventKind::Hot, None, None, String::new()).seq).collect();
        assert_eq!(seqs, [1, 2, 3]);
    }
}
