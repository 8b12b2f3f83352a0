//! The heartbeats to one peer: a connection that is kept, a request in flight at most, and backoff between attempts.
//!
//! ```text
//!            due                    opened                  due, nothing in flight
//!   Idle ───────────> Dialling ──────────────> Open ──────────────────────────────> Open, asked
//!    ^                   │ refused               │  ^                                │    │
//!    │ backoff           v                       │  └────────────── answered ────────┘    │
//!    ├───────────────────┴── closed unasked <────┘        closed, or no answer in time    │
//!    └─────────────────────────────────────────────────────────────────── backoff <───────┘
//! ```
//!
//! A peer that closes after each answer (the seed's own program) has not failed: the next heartbeat opens the next
//! connection. When an answer is late, no second request is sent behind it: TCP keeps the order, so it could not be
//! answered sooner. The next request goes out the moment the late answer arrives.

use std::time::Duration;

use super::LinkId;
use super::rng::Rng;
use crate::time::{Time, micros};

/// Wait before the second attempt. Doubles with each failure up to the interval of heartbeats.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Bounds of the longest wait between attempts, which else is the interval: an attempt a second costs nothing, and a
/// peer that is back should be seen within half a minute however long the interval is.
const BACKOFF_MOST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long one attempt to connect may take at most. A SYN is repeated after 1 s and 3 s.
const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// Where the connection to the peer stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Channel {
    /// No connection; the next attempt is due at this time ([`Time::FAR`]: never by itself).
    Idle { due: Time },
    /// A connection was asked for. The shell answers with opened or refused.
    Dialling { link: LinkId },
    /// A connection stands.
    Open {
        link: LinkId,
        /// When the request in flight was sent.
        asked: Option<Time>,
        /// Whether a heartbeat was answered on this connection.
        answered: bool,
    },
}

/// What to do next. At most one a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Open a connection under a new id, and tell [`Heartbeat::dialling`].
    Dial { within: Duration },
    /// Send a heartbeat on this link.
    Ask { link: LinkId, sequence: u64 },
    /// Close this link: the request on it was not answered in time. The machine is idle already.
    HangUp { link: LinkId },
}

/// The heartbeats to one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    channel: Channel,
    /// When the next heartbeat is due; counted from the last one that was sent.
    next: Time,
    /// Attempts that failed since the last answer.
    failures: u32,
    /// Number of the last heartbeat; native peers echo it.
    sequence: u64,
}

impl Heartbeat {
    /// The heartbeats to a peer that is to be called at once.
    pub(super) fn new(interval: Duration, timeout: Duration, now: Time) -> Heartbeat {
        Heartbeat { interval, timeout, channel: Channel::Idle { due: now }, next: now, failures: 0, sequence: 0 }
    }

    /// The link that this machine asked for, if any.
    pub(super) fn link(&self) -> Option<LinkId> {
        match self.channel {
            Channel::Idle { .. } => None,
            Channel::Dialling { link } | Channel::Open { link, .. } => Some(link),
        }
    }

    /// The link, if it stands.
    pub(super) fn open_link(&self) -> Option<LinkId> {
        match self.channel {
            Channel::Open { link, .. } => Some(link),
            _ => None,
        }
    }

    /// When [`Heartbeat::tick`] has something to do.
    pub(super) fn deadline(&self) -> Time {
        match self.channel {
            Channel::Idle { due } => due,
            Channel::Dialling { .. } => Time::FAR,
            Channel::Open { asked: Some(asked), .. } => asked + self.timeout,
            Channel::Open { asked: None, .. } => self.next,
        }
    }

    /// The step that is due, if any. Call again until `None`.
    pub(super) fn tick(&mut self, now: Time, rng: &mut Rng) -> Option<Step> {
        if now < self.deadline() {
            return None;
        }
        match self.channel {
            Channel::Idle { .. } => Some(Step::Dial { within: DIAL_WITHIN.min(self.timeout) }),
            Channel::Dialling { .. } => None,
            Channel::Open { link, asked: Some(_), .. } => {
                self.back_off(now, rng);
                Some(Step::HangUp { link })
            }
            Channel::Open { link, asked: None, answered } => {
                self.channel = Channel::Open { link, asked: Some(now), answered };
                self.next = now + rng.shortened(self.interval);
                self.sequence += 1;
                Some(Step::Ask { link, sequence: self.sequence })
            }
        }
    }

    /// A connection was asked for, under this id.
    pub(super) fn dialling(&mut self, link: LinkId) {
        self.channel = Channel::Dialling { link };
    }

    /// The connection stands: the first heartbeat is due at once.
    pub(super) fn opened(&mut self, now: Time) {
        if let Channel::Dialling { link } = self.channel {
            self.channel = Channel::Open { link, asked: None, answered: false };
            self.next = now;
        }
    }

    /// The connection could not be made.
    pub(super) fn refused(&mut self, now: Time, rng: &mut Rng) {
        self.back_off(now, rng);
    }

    /// The connection is gone. Tells whether that was a failure: a request was in flight, or none was ever answered.
    pub(super) fn closed(&mut self, now: Time, rng: &mut Rng) -> bool {
        if let Channel::Open { asked: None, answered: true, .. } = self.channel {
            self.channel = Channel::Idle { due: self.next.max(now) };
            return false;
        }
        self.back_off(now, rng);
        true
    }

    /// An answer came. The time since the request, or `None` if nothing was asked, or something else (`echo` is of
    /// another request): the answer counts for nothing then.
    pub(super) fn answered(&mut self, echo: Option<&str>, now: Time) -> Option<Duration> {
        let Channel::Open { link, asked: Some(asked), .. } = self.channel else {
            return None;
        };
        if echo.is_some_and(|echo| echo != self.sequence.to_string()) {
            return None;
        }
        self.channel = Channel::Open { link, asked: None, answered: true };
        self.failures = 0;
        Some(now.since(asked))
    }

    /// The request in flight was answered by a refusal. Counts as a failure; the caller closes the link.
    pub(super) fn rejected(&mut self, now: Time, rng: &mut Rng) -> Option<LinkId> {
        let Channel::Open { link, asked: Some(_), .. } = self.channel else {
            return None;
        };
        self.back_off(now, rng);
        Some(link)
    }

    /// There is news of the peer from elsewhere (it called us): if no connection stands, try soon. Not at once, so
    /// that whoever calls us in a loop cannot make us call in a loop.
    pub(super) fn nudge(&mut self, now: Time) {
        if let Channel::Idle { due } = &mut self.channel {
            *due = (now + BACKOFF_FIRST).min(*due);
        }
    }

    /// There is news to tell the peer: if a connection stands, the next request is due at once, or as soon as the one in
    /// flight is answered.
    pub(super) fn hurry(&mut self, now: Time) {
        self.next = self.next.min(now);
    }

    /// Gives the connection up and calls anew at once. The caller closes the link that is returned.
    pub(super) fn redial(&mut self, now: Time) -> Option<LinkId> {
        match self.channel {
            // An attempt that is under way is as fresh as a new one.
            Channel::Idle { .. } | Channel::Dialling { .. } => None,
            Channel::Open { link, .. } => {
                self.channel = Channel::Idle { due: now };
                Some(link)
            }
        }
    }

    /// Gives the connection up and calls again at `due`. The caller closes the link that is returned.
    pub(super) fn rest(&mut self, due: Time) -> Option<LinkId> {
        let link = self.link();
        self.channel = Channel::Idle { due };
        link
    }

    /// This process did not run for `lost`: that time is not the peer's.
    pub(super) fn excuse(&mut self, lost: Duration) {
        if let Channel::Open { asked: Some(asked), .. } = &mut self.channel {
            *asked = *asked + lost;
        }
    }

    fn back_off(&mut self, now: Time, rng: &mut Rng) {
        let most = self.interval.clamp(BACKOFF_MOST.0, BACKOFF_MOST.1);
        let doubled = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.channel = Channel::Idle { due: now + rng.shortened(doubled.min(most)) };
        debug_assert!(micros(self.deadline().since(now)) > 0, "an attempt that failed is never repeated at once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);
    const TIMEOUT: Duration = Duration::from_secs(6);

    fn second(n: u64) -> Time {
        Time::ZERO + Duration::from_secs(n)
    }

    fn opened_at(now: Time) -> (Heartbeat, Rng) {
        let (mut beat, mut rng) = (Heartbeat::new(INTERVAL, TIMEOUT, now), Rng::new(1));
        assert!(matches!(beat.tick(now, &mut rng), Some(Step::Dial { .. })));
        beat.dialling(LinkId(1));
        beat.opened(now);
        (beat, rng)
    }

    #[test]
    fn asks_at_once_and_then_once_an_interval() {
        let (mut beat, mut rng) = opened_at(second(0));
        assert_eq!(beat.tick(second(0), &mut rng), Some(Step::Ask { link: LinkId(1), sequence: 1 }));
        assert_eq!(beat.tick(second(0), &mut rng), None, "one request in flight at most");
        assert_eq!(beat.answered(None, second(1)), Some(Duration::from_secs(1)));
        let next = beat.deadline();
        assert!(next > second(1) && next <= second(2), "{next:?}");
        assert_eq!(beat.tick(next, &mut rng), Some(Step::Ask { link: LinkId(1), sequence: 2 }));
    }

    #[test]
    fn a_late_answer_is_followed_by_the_next_request_at_once() {
        let (mut beat, mut rng) = opened_at(second(0));
        beat.tick(second(0), &mut rng);
        beat.answered(None, second(5));
        assert_eq!(beat.tick(second(5), &mut rng), Some(Step::Ask { link: LinkId(1), sequence: 2 }));
    }

    #[test]
    fn a_peer_that_closes_after_each_answer_has_not_failed() {
        let (mut beat, mut rng) = opened_at(second(0));
        beat.tick(second(0), &mut rng);
        beat.answered(None, second(0));
        assert!(!beat.closed(second(0), &mut rng));
        assert!(beat.deadline() > second(1), "the next connection is due with the next heartbeat");
        assert!(beat.deadline() <= second(2));
    }

    #[test]
    fn a_close_with_a_request_in_flight_is_a_failure() {
        let (mut beat, mut rng) = opened_at(second(0));
        beat.tick(second(0), &mut rng);
        assert!(beat.closed(second(0), &mut rng));
        assert!(beat.deadline() > second(0));
    }

    #[test]
    fn attempts_back_off_up_to_the_interval_and_never_stop() {
        let (mut beat, mut rng) = (Heartbeat::new(INTERVAL, TIMEOUT, second(0)), Rng::new(1));
        let mut now = second(0);
        let mut waits = Vec::new();
        for n in 0..40 {
            assert!(matches!(beat.tick(now, &mut rng), Some(Step::Dial { .. })));
            beat.dialling(LinkId(2 * n + 1));
            beat.refused(now, &mut rng);
            waits.push(beat.deadline().since(now));
            now = beat.deadline();
        }
        assert!(waits[0] <= Duration::from_millis(100));
        assert!(waits.iter().all(|wait| *wait <= INTERVAL && *wait >= Duration::from_millis(90)));
        assert!(*waits.last().unwrap() >= INTERVAL * 9 / 10);
    }

    #[test]
    fn a_mute_peer_is_hung_up_on_after_the_timeout() {
        let (mut beat, mut rng) = opened_at(second(0));
        beat.tick(second(0), &mut rng);
        assert_eq!(beat.deadline(), second(6));
        assert_eq!(beat.tick(second(6), &mut rng), Some(Step::HangUp { link: LinkId(1) }));
        assert_eq!(beat.link(), None);
    }

    #[test]
    fn time_in_which_this_process_did_not_run_is_not_the_peers() {
        let (mut beat, mut rng) = opened_at(second(0));
        beat.tick(second(0), &mut rng);
        beat.excuse(Duration::from_secs(3));
        assert_eq!(beat.deadline(), second(9));
    }

    #[test]
    fn news_of_a_peer_shortens_the_wait_but_not_to_nothing() {
        let (mut beat, mut rng) = (Heartbeat::new(INTERVAL, TIMEOUT, second(0)), Rng::new(1));
        beat.rest(Time::FAR);
        for ms in 0..100 {
            beat.nudge(Time::ZERO + Duration::from_millis(ms));
        }
        assert_eq!(beat.deadline(), Time::ZERO + BACKOFF_FIRST);
        assert!(beat.tick(beat.deadline(), &mut rng).is_some());
    }

    #[test]
    fn an_answer_that_was_not_asked_for_counts_for_nothing() {
        let (mut beat, mut rng) = opened_at(second(0));
        assert_eq!(beat.answered(None, second(0)), None);
        beat.tick(second(0), &mut rng);
        assert_eq!(beat.answered(Some("2"), second(0)), None, "the answer to another request");
        assert!(beat.answered(Some("1"), second(0)).is_some());
        assert_eq!(beat.answered(None, second(0)), None);
    }
}
