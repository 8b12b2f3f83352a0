//! What both sides of the machine share: who this master is, its settings, its numbers, and what is to be done.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Effect, LoanConfig, LoanEvent, Own, Proposal, Token};
use crate::core::LogLevel;
use crate::core::rng::Rng;
use crate::time::Seconds;
use crate::wire::{Address, Epoch, LoanId, RequestId, ServerId};

/// Bits of the counter of an epoch that count the orders since the last start.
const ORDER_BITS: u32 = 24;

/// The largest number of the protocol is 2^53 - 1.
const MAX_BOOT: u64 = (1 << (53 - ORDER_BITS)) - 1;

/// What both sides share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Desk {
    pub(super) own: Own,
    pub(super) config: LoanConfig,
    boot: u64,
    orders: u64,
    tokens: u64,
    proposals: u64,
    pub(super) rng: Rng,
    effects: VecDeque<Effect>,
}

impl Desk {
    pub(super) fn new(own: Own, config: LoanConfig, boot: u64, seed: u64) -> Desk {
        let (orders, tokens, proposals) = (0, 0, 0);
        let (rng, effects) = (Rng::new(seed), VecDeque::new());
        Desk { own, config, boot: boot.min(MAX_BOOT), orders, tokens, proposals, rng, effects }
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    pub(super) fn proposal(&mut self) -> Proposal {
        self.proposals += 1;
        Proposal(self.proposals)
    }

    /// The counter of the next order. `None`: sixteen million were given since the start, and those of the next start begin there.
    pub(super) fn counter(&mut self) -> Option<u64> {
        let next = self.orders + 1;
        if next >= 1 << ORDER_BITS {
            return None;
        }
        self.orders = next;
        Some(self.boot << ORDER_BITS | next)
    }

    /// The epoch of the next order about a worker of this generation.
    pub(super) fn epoch(&mut self, generation: u64) -> Option<Epoch> {
        Some(Epoch { generation, counter: self.counter()? })
    }

    /// Whether the order of this counter was given by an earlier start.
    pub(super) fn is_of_before(&self, counter: u64) -> bool {
        counter >> ORDER_BITS < self.boot
    }

    /// How many orders may still be given.
    pub(super) fn orders_left(&self) -> u64 {
        (1 << ORDER_BITS) - 1 - self.orders
    }

    /// The id of a loan whose order has this counter: the first eight characters of the own id, and the counter.
    pub(super) fn loan_id(&self, counter: u64) -> LoanId {
        let graphic = |c: char| if c.is_ascii_graphic() { c } else { '_' };
        let begin: String = self.own.server_id.as_str().chars().take(8).map(graphic).collect();
        LoanId::new(format!("{begin}-{counter}")).expect("at most 25 printable characters")
    }

    /// A mark for a request: a uuid v4 from the seed.
    pub(super) fn request_id(&mut self) -> RequestId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rng.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.rng.next().to_be_bytes());
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        RequestId::new(id.to_string()).expect("36 characters")
    }

    pub(super) fn event(
        &mut self,
        kind: LoanEvent,
        worker: Option<&ServerId>,
        peer: Option<&ServerId>,
        detail: String,
    ) {
        self.push(Effect::Event { kind, worker: worker.cloned(), peer: peer.cloned(), detail });
    }

    pub(super) fn decided(&mut self, about: impl Into<String>, text: String) {
        self.push(Effect::Decision { about: about.into(), text, folds: false });
    }

    /// The same of one that others can bring about again and again.
    pub(super) fn decided_again(&mut self, about: impl Into<String>, text: String) {
        self.push(Effect::Decision { about: about.into(), text, folds: true });
    }

    pub(super) fn said(&mut self, kind: &'static str, request_id: Option<&RequestId>, peer: &str) {
        self.push(Effect::Trace { out: true, kind, request_id: request_id.cloned(), peer: peer.to_owned() });
    }

    pub(super) fn heard(&mut self, kind: &'static str, request_id: Option<&RequestId>, peer: &str) {
        self.push(Effect::Trace { out: false, kind, request_id: request_id.cloned(), peer: peer.to_owned() });
    }

    pub(super) fn log(&mut self, level: LogLevel, text: String) {
        self.push(Effect::Log { level, text });
    }

    /// How much longer than a lease that is given now an owner waits.
    pub(super) fn margin(&self) -> Duration {
        self.margin_of(self.config.lease)
    }

    /// The same of a lease that was given as long as this: clocks may differ by a twentieth.
    pub(super) fn margin_of(&self, lease: Duration) -> Duration {
        lease / 20
    }
}

/// `3.2 s`.
pub(super) fn span(duration: Duration) -> String {
    format!("{} s", Seconds(duration))
}

/// `1 worker`, `2 workers`.
pub(super) fn workers(count: usize) -> String {
    if count == 1 { "1 worker".to_owned() } else { format!("{count} workers") }
}

/// The name by which a master without an id is known: its address.
pub(super) fn named_by(address: &Address) -> ServerId {
    ServerId::new(address.to_string()).unwrap_or_else(|| ServerId::new("stranger").expect("a plain word"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(id: &str, boot: u64) -> Desk {
        let address = "10.0.0.1:9101".parse().unwrap();
        let own = Own { server_id: ServerId::new(id).unwrap(), name: "b".into(), group: "g".into(), address };
        Desk::new(own, LoanConfig::default(), boot, 1)
    }

    #[test]
    fn a_later_start_outranks_all_orders_of_an_earlier_one() {
        let (mut first, mut second) = (desk("a", 1), desk("a", 2));
        let last = (0..1000).filter_map(|_| first.epoch(3)).last().unwrap();
        assert!(second.epoch(3).unwrap() > last);
        assert!(second.epoch(2).unwrap() < last, "the generation counts first");
    }

    #[test]
    fn orders_of_one_start_never_reach_those_of_the_next() {
        let (mut first, mut second) = (desk("a", 1), desk("a", 2));
        first.orders = (1 << ORDER_BITS) - 2;
        let last = first.counter().unwrap();
        assert_eq!((first.counter(), first.orders_left()), (None, 0));
        assert!(second.counter().unwrap() > last);
        assert!(desk("a", u64::MAX).counter().unwrap() < 1 << 53);
    }

    #[test]
    fn loans_are_named_by_owner_and_counter_whatever_the_owner_is_called() {
        assert_eq!(desk("2f1e9b3c-77", 1).loan_id(16_777_217).as_str(), "2f1e9b3c-16777217");
        assert_eq!(desk("ação 1 longer", 1).loan_id(7).as_str(), "a__o_1_l-7");
    }

    #[test]
    fn marks_are_uuids_of_version_4_and_differ() {
        let mut desk = desk("a", 1);
        let (a, b) = (desk.request_id(), desk.request_id());
        assert_ne!(a, b);
        assert_eq!(a.as_str().as_bytes()[14], b'4');
    }
}
