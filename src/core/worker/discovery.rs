//! Discovery and election (sprint 2.1): ask everybody, collect for three seconds, elect the smallest name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::masters::backoff;
use crate::core::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Host, MasterOffer};

/// How long answers are collected.
pub(super) const COLLECT: Duration = Duration::from_secs(3);

/// The question is repeated once after this: a single datagram gets lost.
const REPEAT: Duration = Duration::from_secs(1);

/// Pause after the first discovery that nobody answered. Doubles up to half a minute.
const NOBODY_FIRST: Duration = Duration::from_secs(1);

/// Answers that are kept. Of more, the smallest names, which are the ones that count.
const MAX_REPLIES: usize = 256;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Ask everybody; `first`: a discovery begins.
    Ask { first: bool },
    /// This one was elected, of all these names.
    Elected { name: String, address: Address, all: Vec<String> },
    /// Nobody answered; the next discovery begins after this pause.
    Nobody { pause: Duration },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Nothing is looked for.
    Idle,
    /// Answers are collected. By name, in the order of bytes.
    Collecting { asked: bool, repeat: Option<Time>, until: Time, found: BTreeMap<String, Found> },
    /// Nobody answered.
    Pausing { until: Time },
}

/// Where a master is. `sure`: it answered from the address that it named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Found {
    address: Address,
    sure: bool,
}

/// The search for a master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Discovery {
    state: State,
    /// Discoveries in a row that nobody answered.
    failures: u32,
    /// The name that was elected last and could not be had; passed over once where others answer.
    shunned: Option<String>,
}

impl Discovery {
    pub(super) fn new() -> Discovery {
        Discovery { state: State::Idle, failures: 0, shunned: None }
    }

    /// Begins anew: what was collected is dropped.
    pub(super) fn begin(&mut self, now: Time) {
        let (repeat, until) = (Some(now + REPEAT), now + COLLECT);
        self.state = State::Collecting { asked: false, repeat, until, found: BTreeMap::new() };
    }

    /// The elected one answered discovery and could not be had: whoever else answers next is preferred, once. Else a
    /// master whose TCP port is dead and whose name is small would be elected for ever.
    pub(super) fn shun(&mut self, name: String) {
        self.shunned = Some(name);
    }

    /// A master answered. Its host counts if that is where the answer came from; else the sender's counts, with the port
    /// that it names: nobody is called on hearsay. Answers outside of a collection are late and count for nothing.
    pub(super) fn reply(&mut self, offer: MasterOffer, from: SocketAddr) {
        let State::Collecting { found, .. } = &mut self.state else { return };
        let sender = from.ip().to_canonical();
        let sure = match offer.address.host {
            Host::Ip(ip) => ip == sender || (ip.is_loopback() && sender.is_loopback()),
            Host::Name(_) => false,
        };
        let address = if sure { offer.address } else { Address { host: Host::Ip(sender), port: offer.address.port } };
        // A host with several addresses answers from each: the one that fits what it says is the better one.
        if found.get(&offer.name).is_none_or(|known| sure && !known.sure) {
            found.insert(offer.name, Found { address, sure });
        }
        if found.len() > MAX_REPLIES {
            found.pop_last();
        }
    }

    /// When [`Discovery::tick`] has something to do.
    pub(super) fn deadline(&self) -> Time {
        match &self.state {
            State::Idle => Time::FAR,
            State::Collecting { asked: false, .. } => Time::ZERO,
            State::Collecting { repeat, until, .. } => repeat.unwrap_or(*until).min(*until),
            State::Pausing { until } => *until,
        }
    }

    /// The step that is due, if any. Call again until `None`.
    pub(super) fn tick(&mut self, now: Time, rng: &mut Rng) -> Option<Step> {
        if now < self.deadline() {
            return None;
        }
        match &mut self.state {
            State::Idle => None,
            State::Collecting { asked, .. } if !*asked => {
                *asked = true;
                Some(Step::Ask { first: true })
            }
            State::Collecting { repeat, until, .. } if repeat.is_some() && now < *until => {
                *repeat = None;
                Some(Step::Ask { first: false })
            }
            State::Collecting { found, .. } => {
                let found = std::mem::take(found);
                Some(self.elect(found, now, rng))
            }
            State::Pausing { .. } => {
                self.begin(now);
                self.tick(now, rng)
            }
        }
    }

    fn elect(&mut self, found: BTreeMap<String, Found>, now: Time, rng: &mut Rng) -> Step {
        let shunned = self.shunned.take();
        let other = found.iter().find(|(name, _)| Some(*name) != shunned.as_ref());
        let Some((name, place)) = other.or_else(|| found.first_key_value()) else {
            let pause = backoff(NOBODY_FIRST, self.failures, rng);
            self.failures = self.failures.saturating_add(1);
            self.state = State::Pausing { until: now + pause };
            return Step::Nobody { pause };
        };
        (self.state, self.failures) = (State::Idle, 0);
        Step::Elected { name: name.clone(), address: place.address.clone(), all: found.keys().cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::rng::Rng;

    fn ms(n: u64) -> Time {
        Time::ZERO + Duration::from_millis(n)
    }

    fn offer(name: &str, address: &str) -> MasterOffer {
        MasterOffer { name: name.to_owned(), address: address.parse().unwrap() }
    }

    fn from(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn collecting() -> (Discovery, Rng) {
        let (mut discovery, mut rng) = (Discovery::new(), Rng::new(1));
        discovery.begin(ms(0));
        assert_eq!(discovery.tick(ms(0), &mut rng), Some(Step::Ask { first: true }));
        assert_eq!(discovery.tick(ms(0), &mut rng), None);
        (discovery, rng)
    }

    #[test]
    fn the_question_is_repeated_once_after_a_second_and_the_election_is_after_three() {
        let (mut discovery, mut rng) = collecting();
        assert_eq!(discovery.deadline(), ms(1000));
        assert_eq!(discovery.tick(ms(1000), &mut rng), Some(Step::Ask { first: false }));
        assert_eq!(discovery.deadline(), ms(3000));
        discovery.reply(offer("M", "10.0.0.7:9101"), from("10.0.0.7:5000"));
        assert_eq!(discovery.tick(ms(2999), &mut rng), None);
        assert!(matches!(discovery.tick(ms(3000), &mut rng), Some(Step::Elected { .. })));
        assert_eq!(discovery.deadline(), Time::FAR);
    }

    #[test]
    fn a_clock_that_jumped_over_everything_elects_at_once() {
        let (mut discovery, mut rng) = collecting();
        discovery.reply(offer("M", "10.0.0.7:9101"), from("10.0.0.7:5000"));
        assert!(matches!(discovery.tick(ms(60_000), &mut rng), Some(Step::Elected { .. })));
    }

    #[test]
    fn nobody_means_a_pause_that_doubles_from_one_second_to_half_a_minute() {
        let (mut discovery, mut rng) = collecting();
        let mut now = ms(0);
        for nth in 0..8 {
            now = now + COLLECT;
            let step = loop {
                match discovery.tick(now, &mut rng) {
                    Some(Step::Ask { .. }) => {}
                    step => break step,
                }
            };
            let Some(Step::Nobody { pause }) = step else { panic!("{step:?}") };
            let full = (NOBODY_FIRST * (1 << nth)).min(Duration::from_secs(30));
            assert!(pause <= full && pause >= full * 9 / 10, "{nth}: {pause:?}");
            now = discovery.deadline();
            assert_eq!(discovery.tick(now, &mut rng), Some(Step::Ask { first: true }));
        }
    }

    #[test]
    fn nobody_is_called_on_hearsay() {
        let (mut discovery, mut rng) = collecting();
        discovery.reply(offer("A", "192.0.2.9:22"), from("10.0.0.7:5000"));
        let Some(Step::Elected { address, .. }) = discovery.tick(ms(9000), &mut rng) else { panic!() };
        assert_eq!(address, "10.0.0.7:22".parse().unwrap());

        let (mut discovery, mut rng) = collecting();
        discovery.reply(offer("A", "10.0.0.7:9101"), from("127.0.0.1:5000"));
        discovery.reply(offer("A", "10.0.0.7:9101"), from("10.0.0.7:5000"));
        discovery.reply(offer("A", "10.0.0.7:9102"), from("10.0.0.7:5000"));
        let Some(Step::Elected { address, .. }) = discovery.tick(ms(9000), &mut rng) else { panic!() };
        assert_eq!(address, "10.0.0.7:9101".parse().unwrap(), "the answer from where it says it is, and the first one");
    }

    #[test]
    fn one_that_could_not_be_had_is_passed_over_once_where_others_answer() {
        for (others, expected) in [(vec!["B"], "B"), (vec![], "A")] {
            let (mut discovery, mut rng) = collecting();
            discovery.shun("A".to_owned());
            for name in others.into_iter().chain(["A"]) {
                discovery.reply(offer(name, "10.0.0.7:9101"), from("10.0.0.7:5000"));
            }
            let Some(Step::Elected { name, .. }) = discovery.tick(ms(9000), &mut rng) else { panic!() };
            assert_eq!(name, expected);
        }
    }

    proptest! {
        #[test]
        fn the_smallest_name_by_bytes_is_elected_whatever_the_order(names in prop::collection::vec("[A-Z_0-9é]{1,12}", 1..400)) {
            let (mut discovery, mut rng) = collecting();
            for name in &names {
                discovery.reply(offer(name, "10.0.0.7:9101"), from("10.0.0.7:5000"));
            }
            let Some(Step::Elected { name, all, .. }) = discovery.tick(ms(9000), &mut rng) else { panic!() };
            let smallest = names.iter().min_by(|a, b| a.as_bytes().cmp(b.as_bytes())).unwrap();
            prop_assert_eq!(&name, smallest);
            prop_assert!(all.len() <= MAX_REPLIES);
        }
    }
}
