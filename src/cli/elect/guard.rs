//! What a guard decides: when the command is told to end, and when it is ended. `(event, now) -> actions`.
//!
//! ```text
//!             first GOOD               term_at, STOP, or nobody above        kill_at
//!   waiting ─────────────> running ───────────────────────────────> asked ───────────> killed
//!                             │  GOOD: later                                              │
//!                             └────────────── it ends by itself ────> gone <──────────────┘
//! ```

use std::time::Duration;

use super::lines::Order;
use crate::time::Time;

/// Time between TERM and KILL when `node elect` is gone, within what was good until then: nobody is left to pass on what the command
/// does with more.
const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// What happens to a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// `node elect` said something.
    Order(Order),
    /// `node elect` is gone.
    Orphaned,
    /// Time has passed.
    Wake,
}

/// What it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Start the command.
    Start,
    /// Pass this signal on.
    Pass(i32),
    /// TERM for the whole tree.
    Ask,
    /// KILL for the whole tree. Comes again while there is a tree.
    Kill,
    /// There is nothing to do here: nothing was started.
    Leave,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Guard {
    /// `None`: nothing was started.
    limits: Option<(Time, Time)>,
    asked: bool,
    killed: bool,
}

impl Guard {
    /// One event.
    pub(super) fn handle(&mut self, event: Event, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        match (event, &mut self.limits) {
            (Event::Order(Order::Good { term_at, kill_at }), None) => {
                self.limits = Some((term_at, kill_at));
                if now >= term_at {
                    return vec![Action::Leave];
                }
                actions.push(Action::Start);
            }
            // What was told to end is not told otherwise.
            (Event::Order(Order::Good { .. }), Some(_)) if self.asked => {}
            // Never earlier: lines come in order, but promises do not shrink.
            (Event::Order(Order::Good { term_at, kill_at }), Some(limits)) => {
                *limits = (limits.0.max(term_at), limits.1.max(kill_at));
            }
            (Event::Order(Order::Pass(signal)), Some(_)) => actions.push(Action::Pass(signal)),
            (Event::Order(Order::Stop { kill_at }), Some(limits)) => *limits = (now, limits.1.min(kill_at)),
            (Event::Orphaned, Some(limits)) => *limits = (now, limits.1.min(now + ORPHAN_GRACE)),
            (Event::Orphaned | Event::Order(Order::Stop { .. }), None) => return vec![Action::Leave],
            (Event::Order(Order::Pass(_)), None) | (Event::Wake, _) => {}
        }
        let Some((term_at, kill_at)) = self.limits else { return actions };
        if now >= term_at && !self.asked {
            self.asked = true;
            actions.push(Action::Ask);
        }
        if now >= kill_at && !self.killed {
            (self.asked, self.killed) = (true, true);
            actions.push(Action::Kill);
        }
        actions
    }

    /// When [`Event::Wake`] is due at the latest.
    pub(super) fn deadline(&self) -> Option<Time> {
        let (term_at, kill_at) = self.limits?;
        match (self.asked, self.killed) {
            (_, true) => None,
            (true, false) => Some(kill_at),
            (false, false) => Some(term_at.min(kill_at)),
        }
    }

    /// Whether it has told the command to end.
    pub(super) fn has_stopped(&self) -> bool {
        self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn good(term: u64, kill: u64) -> Event {
        Event::Order(Order::Good { term_at: at(term), kill_at: at(kill) })
    }

    #[test]
    fn silence_is_term_and_then_kill() {
        let mut guard = Guard::default();
        assert_eq!(guard.handle(good(650, 750), at(0)), [Action::Start]);
        assert_eq!(guard.handle(good(1650, 1750), at(400)), []);
        assert_eq!((guard.deadline(), guard.has_stopped()), (Some(at(1650)), false));
        assert_eq!(guard.handle(Event::Wake, at(1650)), [Action::Ask]);
        assert_eq!(guard.handle(good(9650, 9750), at(1651)), [], "too late");
        assert_eq!((guard.deadline(), guard.has_stopped()), (Some(at(1750)), true));
        assert_eq!(guard.handle(Event::Wake, at(1800)), [Action::Kill]);
        assert_eq!(guard.deadline(), None);
        let mut suspended = Guard::default();
        suspended.handle(good(650, 750), at(0));
        assert_eq!(suspended.handle(Event::Wake, at(99_000)), [Action::Ask, Action::Kill]);
    }

    #[test]
    fn an_order_to_stop_and_the_death_of_who_gives_orders_are_term_at_once() {
        let mut guard = Guard::default();
        guard.handle(good(6500, 7500), at(0));
        let stop = Event::Order(Order::Stop { kill_at: at(7500) });
        assert_eq!(guard.handle(stop, at(100)), [Action::Ask]);
        assert_eq!(guard.deadline(), Some(at(7500)));
        assert_eq!(guard.handle(Event::Order(Order::Stop { kill_at: at(90) }), at(110)), [Action::Kill]);
        let mut guard = Guard::default();
        guard.handle(good(6500, 7500), at(0));
        assert_eq!(guard.handle(Event::Orphaned, at(100)), [Action::Ask]);
        assert_eq!(guard.deadline(), Some(at(1100)));
        let mut guard = Guard::default();
        guard.handle(good(650, 750), at(0));
        guard.handle(Event::Orphaned, at(100));
        assert_eq!(guard.deadline(), Some(at(750)), "never later than it was good");
    }

    #[test]
    fn nothing_is_started_too_late_or_for_nobody() {
        assert_eq!(Guard::default().handle(Event::Orphaned, at(0)), [Action::Leave]);
        assert_eq!(Guard::default().handle(good(650, 750), at(650)), [Action::Leave]);
        assert_eq!(Guard::default().handle(Event::Order(Order::Pass(15)), at(0)), []);
    }

    fn event() -> impl Strategy<Value = Event> {
        let order = prop_oneof![
            (0..900u64, 0..200u64).prop_map(|(term, grace)| good(term, term + grace)),
            (0..40i32).prop_map(|signal| Event::Order(Order::Pass(signal))),
            (0..1200u64).prop_map(|kill| Event::Order(Order::Stop { kill_at: at(kill) })),
        ];
        prop_oneof![6 => order, 1 => Just(Event::Orphaned), 3 => Just(Event::Wake)]
    }

    proptest! {
        /// Whatever is said in whatever order: TERM is told once, KILL once and not before it, both no later than the latest moment that
        /// was said to be good, if it is woken in time.
        #[test]
        fn a_tree_never_outlives_what_it_was_promised(events in proptest::collection::vec((0..150u64, event()), 1..40)) {
            let mut guard = Guard::default();
            let (mut now, mut promised) = (at(0), None::<(Time, Time)>);
            let (mut asks, mut kills, mut started) = (0, 0, false);
            for (pause, event) in events {
                let next = now + Duration::from_millis(pause);
                let mut steps: Vec<(Time, Event)> = Vec::new();
                while let Some(due) = guard.deadline().filter(|due| *due <= next) {
                    steps.push((due.max(now), Event::Wake));
                    let actions = guard.handle(Event::Wake, due.max(now));
                    asks += actions.iter().filter(|it| **it == Action::Ask).count();
                    kills += actions.iter().filter(|it| **it == Action::Kill).count();
                }
                now = next;
                if let (Event::Order(Order::Good { term_at, kill_at }), false) = (event, guard.has_stopped()) {
                    let (term, kill) = promised.unwrap_or((term_at, kill_at));
                    promised = Some((term.max(term_at), kill.max(kill_at)));
                }
                let actions = guard.handle(event, now);
                if actions.contains(&Action::Leave) {
                    prop_assert!(!started);
                    return Ok(());
                }
                started |= actions.contains(&Action::Start);
                asks += actions.iter().filter(|it| **it == Action::Ask).count();
                kills += actions.iter().filter(|it| **it == Action::Kill).count();
                prop_assert!(asks <= 1 && kills <= 1 && asks >= kills);
                if let (true, Some((term, kill))) = (started, promised) {
                    prop_assert!(now < term || asks == 1);
                    prop_assert!(now < kill || kills == 1);
                }
            }
        }
    }
}
