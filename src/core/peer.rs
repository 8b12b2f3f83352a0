//! One peer: what is known of it, and whether it is alive.
//!
//! ```text
//!                 answer                     silent for the timeout
//!   UNKNOWN ───────────────> ALIVE ────────────────────────────────> TIMEOUT
//!                            ^  │ goodbye                               │
//!                            │  └────────> LEFT                         │
//!                            └── answer ────┴───────────────────────────┘
//! ```

use std::time::Duration;

use super::heartbeat::Heartbeat;
use crate::time::{Seconds, Time, micros};
use crate::wire::{Address, Learnt, NodeEntry, Presence, Score, ServerId, Status};

/// Weight of a new round trip in the smoothed one, as one part of so many (RFC 6298, section 2).
const RTT_WEIGHT: u64 = 8;

/// One peer of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    /// Where this node calls it.
    pub(super) address: Address,
    pub(super) learnt: Learnt,
    /// Who answered last, once somebody did.
    pub(super) server_id: Option<ServerId>,
    /// What it says of itself, for native peers.
    pub(super) presence: Option<Box<Presence>>,
    pub(super) status: Status,
    /// This peer turned out to be this very node: it is not called and not shown.
    pub(super) is_self: bool,
    /// When its last answer came.
    pub(super) seen: Option<Time>,
    /// Since when it is silent, for the timeout: its last answer, later if this process did not run in between.
    pub(super) silent: Time,
    /// Since when it is not ALIVE.
    pub(super) gone: Time,
    /// Smoothed round trip in microseconds.
    pub(super) rtt_us: Option<u64>,
    /// What went wrong last on the way to it, until it answers.
    pub(super) trouble: Option<String>,
    pub(super) beat: Heartbeat,
    /// When the registry looks at it again; kept in step with the agenda.
    pub(super) armed: Time,
}

impl Peer {
    pub(super) fn new(address: Address, learnt: Learnt, beat: Heartbeat, now: Time) -> Peer {
        Peer {
            address,
            learnt,
            server_id: None,
            presence: None,
            status: Status::Unknown,
            is_self: false,
            seen: None,
            silent: now,
            gone: now,
            rtt_us: None,
            trouble: None,
            beat,
            armed: Time::FAR,
        }
    }

    /// Takes an answer that came `rtt` after its request. Tells whether the peer was not ALIVE before.
    pub(super) fn answered(&mut self, rtt: Duration, now: Time) -> bool {
        let sample = micros(rtt);
        self.rtt_us = Some(match self.rtt_us {
            None => sample,
            Some(old) => (old.saturating_mul(RTT_WEIGHT - 1).saturating_add(sample)) / RTT_WEIGHT,
        });
        (self.seen, self.silent, self.trouble) = (Some(now), now, None);
        let back = self.status != Status::Alive;
        self.status = Status::Alive;
        back
    }

    /// The peer is gone, with this status.
    pub(super) fn lost(&mut self, status: Status, now: Time) {
        debug_assert_ne!(status, Status::Alive);
        self.gone = now;
        self.status = status;
    }

    /// When its silence makes it TIMEOUT.
    pub(super) fn timeout_due(&self, timeout: Duration) -> Time {
        if self.status == Status::Alive { self.silent + timeout } else { Time::FAR }
    }

    /// When it is to be forgotten: only what was learnt and is not ALIVE.
    pub(super) fn forget_due(&self, forget: Duration) -> Time {
        let may = self.learnt != Learnt::Configured && self.status != Status::Alive;
        if may { self.gone + forget } else { Time::FAR }
    }

    /// How it stands in the registry: under its id, or its address while it has none.
    pub(super) fn key(&self) -> String {
        self.server_id.as_ref().map_or_else(|| self.address.to_string(), |id| id.as_str().to_owned())
    }

    pub(super) fn view(&self, timeout: Duration, now: Time) -> NodeEntry {
        let presence = self.presence.as_deref();
        let load = presence.map(|presence| presence.load);
        let rtt = self.rtt_us.map(Duration::from_micros);
        NodeEntry {
            key: self.key(),
            server_id: self.server_id.clone(),
            name: presence.map(|presence| presence.name.clone()),
            address: self.address.clone(),
            role: presence.map(|presence| presence.role),
            group: presence.map(|presence| presence.group.clone()),
            group_id: presence.and_then(|presence| presence.group_presence.group_id.clone()),
            leads: presence
                .is_some_and(|presence| presence.group_presence.leader.as_ref() == Some(&presence.server_id)),
            status: self.status,
            last_seen: self.seen.map(|seen| now.since(seen)),
            rtt,
            load,
            score: load.zip(rtt).map(|(load, rtt)| Score::of(load.cpu, rtt)),
            learnt: self.learnt,
            reason: self.reason(timeout, now),
        }
    }

    /// One true sentence on why it has its status.
    fn reason(&self, timeout: Duration, now: Time) -> String {
        let since = self.seen.map(|seen| Seconds(now.since(seen)));
        let trouble = match (&self.trouble, self.beat.link()) {
            (Some(trouble), _) => trouble.as_str(),
            (None, Some(_)) => "a call is under way",
            (None, None) => "not called yet",
        };
        match (self.status, since) {
            (Status::Alive, Some(since)) => format!("answered {since} s ago"),
            (Status::Timeout, Some(since)) => {
                format!("no answer for {since} s, the timeout is {} s; {trouble}", Seconds(timeout))
            }
            (Status::Left, _) => format!("said goodbye {} s ago", Seconds(now.since(self.gone))),
            _ => format!("has never answered; {trouble}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Time {
        Time::ZERO + Duration::from_secs(n)
    }

    fn peer() -> Peer {
        let timeout = Duration::from_secs(6);
        let beat = Heartbeat::new(Duration::from_secs(2), timeout, Time::ZERO);
        Peer::new("127.0.0.1:9102".parse().unwrap(), Learnt::Configured, beat, Time::ZERO)
    }

    #[test]
    fn the_round_trip_is_smoothed_by_an_eighth() {
        let mut peer = peer();
        assert!(peer.answered(Duration::from_millis(80), second(1)));
        assert_eq!(peer.rtt_us, Some(80_000), "the first sample stands alone");
        assert!(!peer.answered(Duration::from_millis(160), second(2)));
        assert_eq!(peer.rtt_us, Some(90_000));
        peer.answered(Duration::from_millis(10), second(3));
        assert_eq!(peer.rtt_us, Some(80_000));
    }

    #[test]
    fn each_status_has_its_own_true_reason() {
        let timeout = Duration::from_secs(6);
        let mut peer = peer();
        assert_eq!(peer.reason(timeout, second(0)), "has never answered; not called yet");
        peer.trouble = Some("connection refused".to_owned());
        assert_eq!(peer.reason(timeout, second(0)), "has never answered; connection refused");
        peer.answered(Duration::ZERO, second(1));
        assert_eq!(peer.reason(timeout, second(3)), "answered 2.0 s ago");
        peer.lost(Status::Timeout, second(7));
        peer.trouble = Some("connection refused".to_owned());
        let expected = "no answer for 7.0 s, the timeout is 6.0 s; connection refused";
        assert_eq!(peer.reason(timeout, second(8)), expected);
        peer.lost(Status::Left, second(9));
        assert_eq!(peer.reason(timeout, second(12)), "said goodbye 3.0 s ago");
    }

    #[test]
    fn only_who_was_learnt_and_is_gone_is_forgotten_counted_from_when_it_went() {
        let forget = Duration::from_secs(600);
        let mut peer = peer();
        assert_eq!(peer.forget_due(forget), Time::FAR, "configured");
        peer.learnt = Learnt::Heartbeat;
        assert_eq!(peer.forget_due(forget), second(600));
        peer.answered(Duration::ZERO, second(1));
        assert_eq!(peer.forget_due(forget), Time::FAR, "ALIVE");
        peer.lost(Status::Timeout, second(7));
        assert_eq!(peer.forget_due(forget), second(607));
    }
}
