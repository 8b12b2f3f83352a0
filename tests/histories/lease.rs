//! The law of a named lease whose term outlives the history: a lock with growing fencing numbers, and a timetable.

use std::collections::BTreeSet;

use stateright::semantics::SequentialSpec;

use super::check::{Call, Checked, Law, check};
use super::register::narrowed;

/// One grant: who holds it, and its fencing number.
pub(crate) type Grant = (String, u64);

/// The state of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) held: Option<Grant>,
    /// Of the last grant.
    pub(crate) fence: u64,
    /// The last that was claimed.
    pub(crate) tick: u64,
}

/// A call to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Acquire(String),
    Renew(Grant),
    Release(Grant),
    Tick(Grant, u64),
    List,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ret {
    /// The asker holds it. The last tick, where the answer has said it.
    Granted { fence: u64, tick: Option<u64> },
    /// Another holds it.
    Held(Grant),
    /// It was done.
    Done,
    /// That grant does not hold.
    Over,
    /// That tick or a later one was claimed.
    Claimed,
    /// How it stands: holder, last fencing number, tick. `None`: free, and it has no tick.
    Saw(Option<(Option<String>, u64, u64)>),
}

/// What a client saw of a lease.
pub(crate) type Seen = Call<Op, Ret>;

impl Lock {
    fn is_held_by(&self, grant: &Grant) -> bool {
        self.held.as_ref() == Some(grant)
    }

    fn shown(&self) -> Option<(Option<String>, u64, u64)> {
        let is_there = self.held.is_some() || self.tick > 0;
        is_there.then(|| (self.held.as_ref().map(|(holder, _)| holder.clone()), self.fence, self.tick))
    }
}

impl SequentialSpec for Lock {
    type Op = Op;
    type Ret = Ret;

    /// What is certain of a call that was not answered. Of an ACQUIRE it is known by its sightings.
    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Acquire(_) => unreachable!("an ACQUIRE without an answer is settled before"),
            Op::Renew(grant) => {
                if self.is_held_by(grant) {
                    Ret::Done
                } else {
                    Ret::Over
                }
            }
            Op::Release(grant) if self.is_held_by(grant) => {
                self.held = None;
                Ret::Done
            }
            Op::Tick(grant, _) | Op::Release(grant) if !self.is_held_by(grant) => Ret::Over,
            Op::Release(_) => Ret::Over,
            Op::Tick(_, tick) if *tick <= self.tick => Ret::Claimed,
            Op::Tick(_, tick) => {
                self.tick = *tick;
                Ret::Done
            }
            Op::List => Ret::Saw(self.shown()),
        }
    }
}

impl Law for Lock {
    fn ends(&self, window: &[Seen]) -> Vec<Lock> {
        let grants = window.iter().filter_map(|call| match (&call.op, &call.answer) {
            (Op::Acquire(holder), Some((_, Ret::Granted { fence, .. }))) => Some((holder.clone(), *fence)),
            _ => None,
        });
        // Grants follow one another with growing numbers: whoever holds it at the end has the largest.
        let last = grants.chain(self.held.clone()).max_by_key(|(_, fence)| *fence);
        let fence = last.as_ref().map_or(self.fence, |(_, fence)| self.fence.max(*fence));
        let last = last.filter(|(_, last)| *last == fence);
        // A tick that was claimed stays; one of which nobody knows may have been.
        let ticks = |of: fn(&Option<(u64, Ret)>) -> bool| {
            window.iter().filter_map(move |call| match call.op {
                Op::Tick(_, tick) if of(&call.answer) => Some(tick),
                _ => None,
            })
        };
        let least = ticks(|answer| matches!(answer, Some((_, Ret::Done)))).fold(self.tick, u64::max);
        let ticks = ticks(Option::is_none).filter(|tick| *tick > least).chain([least]);
        let ends = |tick| BTreeSet::from([None, last.clone()]).into_iter().map(move |held| Lock { held, fence, tick });
        ticks.collect::<BTreeSet<u64>>().into_iter().flat_map(ends).collect()
    }

    fn sight(&self) -> (Op, Ret) {
        (Op::List, Ret::Saw(self.shown()))
    }

    fn may_change(&self, op: &Op) -> bool {
        match op {
            Op::Release(grant) => self.is_held_by(grant),
            Op::Tick(grant, tick) => self.is_held_by(grant) && *tick > self.tick,
            Op::Acquire(_) | Op::Renew(_) | Op::List => false,
        }
    }

    fn step(&mut self, op: &Op, ret: &Ret) -> bool {
        match (op, ret) {
            (Op::Acquire(holder), Ret::Granted { fence, tick }) => {
                let lawful = match &self.held {
                    Some((other, held)) => other == holder && held == fence,
                    None => *fence > self.fence,
                };
                (self.held, self.fence) = (Some((holder.clone(), *fence)), *fence);
                lawful && tick.is_none_or(|tick| tick == self.tick)
            }
            (Op::Acquire(holder), Ret::Held(grant)) => self.is_held_by(grant) && grant.0 != *holder,
            // A member repeats a RELEASE whose answer it has lost, and is told that the grant is over: true either way.
            (Op::Release(_), Ret::Over) => {
                self.invoke(op);
                true
            }
            (Op::Acquire(_), _) => false,
            _ => self.invoke(op) == *ret,
        }
    }
}

/// Checks the history of one lease. No holder has asked again after an ACQUIRE of its own without an answer.
pub(crate) fn check_lease(calls: Vec<Seen>) -> Result<Checked, String> {
    check(Lock::default(), settled(calls))
}

/// An unanswered ACQUIRE whose grant was seen has taken effect after everything that saw an earlier grant began, and before anything that saw this one or
/// a later one ended: as often as it has given grants that were answered to nobody, for members repeat it. One whose grant nobody saw may be
/// left out: nobody could have ended it, and whoever asked after it would have seen it.
fn settled(calls: Vec<Seen>) -> Vec<Seen> {
    let (mut sights, mut answered) = (Vec::new(), BTreeSet::new());
    for call in &calls {
        let Some((ended, ret)) = &call.answer else { continue };
        let seen = match (&call.op, ret) {
            (Op::Acquire(holder), Ret::Granted { fence, .. }) => {
                answered.insert((holder.clone(), *fence));
                (holder.clone(), *fence)
            }
            (Op::Acquire(_), Ret::Held(grant)) => grant.clone(),
            (_, Ret::Saw(Some((Some(holder), fence, _)))) => (holder.clone(), *fence),
            _ => continue,
        };
        sights.push((call.begun, *ended, seen));
    }
    let unanswered = |call: &Seen, holder: &String| -> Vec<Seen> {
        let of = |grant: &&Grant| grant.0 == *holder && !answered.contains(*grant);
        let fences: BTreeSet<u64> =
            sights.iter().map(|(_, _, grant)| grant).filter(of).map(|(_, fence)| *fence).collect();
        let grant = |fence: u64| {
            let (begun, ended) =
                narrowed(call.begun, fence, sights.iter().map(|(begun, ended, it)| (*begun, *ended, it.1)));
            Call { client: None, begun, answer: Some((ended, Ret::Granted { fence, tick: None })), ..call.clone() }
        };
        fences.into_iter().map(grant).collect()
    };
    let settle = |call: Seen| match (&call.op, &call.answer) {
        (Op::Acquire(holder), None) => unanswered(&call, holder),
        (Op::Renew(_) | Op::List, None) => Vec::new(),
        _ => vec![call],
    };
    calls.into_iter().flat_map(settle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(client: usize, begun: u64, ended: u64, op: Op, ret: Ret) -> Seen {
        Call { client: Some(client), op, begun, answer: Some((ended, ret)) }
    }

    fn lost(client: usize, begun: u64, op: Op) -> Seen {
        Call { client: Some(client), op, begun, answer: None }
    }

    fn granted(holder: &str, begun: u64, fence: u64) -> Seen {
        call(1, begun, begun + 1, Op::Acquire(holder.to_owned()), Ret::Granted { fence, tick: None })
    }

    fn done(begun: u64, op: Op) -> Seen {
        call(1, begun, begun + 1, op, Ret::Done)
    }

    fn grant(holder: &str, fence: u64) -> Grant {
        (holder.to_owned(), fence)
    }

    #[test]
    fn a_lease_that_goes_from_hand_to_hand_is_lawful() {
        let calls = vec![
            granted("a", 1, 5),
            call(2, 3, 4, Op::Acquire("b".to_owned()), Ret::Held(grant("a", 5))),
            done(5, Op::Tick(grant("a", 5), 3)),
            call(2, 7, 8, Op::Tick(grant("a", 5), 3), Ret::Claimed),
            done(9, Op::Release(grant("a", 5))),
            call(2, 11, 12, Op::List, Ret::Saw(Some((None, 5, 3)))),
            granted("b", 13, 9),
            call(1, 15, 16, Op::Renew(grant("a", 5)), Ret::Over),
            done(17, Op::Renew(grant("b", 9))),
        ];
        let checked = check_lease(calls).unwrap();
        assert_eq!((checked.calls, checked.windows, checked.unsettled), (9, 9, 0));
    }

    #[test]
    fn two_grants_at_a_time_and_two_of_one_number_are_found() {
        assert!(check_lease(vec![granted("a", 1, 5), granted("b", 3, 6)]).is_err(), "granted while it is held");
        let twice = vec![granted("a", 1, 5), done(3, Op::Release(grant("a", 5))), granted("b", 5, 5)];
        assert!(check_lease(twice).is_err(), "one fencing number for two");
        assert!(check_lease(vec![granted("a", 1, 5), granted("a", 3, 5)]).is_ok(), "said again");
    }

    #[test]
    fn a_refusal_from_an_old_copy_is_found() {
        let over = [granted("a", 1, 5), call(1, 3, 4, Op::Tick(grant("a", 5), 1), Ret::Over)];
        assert!(check_lease(over.to_vec()).is_err(), "it holds");
        let held = vec![
            granted("a", 1, 5),
            done(3, Op::Release(grant("a", 5))),
            call(2, 5, 6, Op::Acquire("b".to_owned()), Ret::Held(grant("a", 5))),
        ];
        assert!(check_lease(held).is_err(), "it was released");
        let claimed = [granted("a", 1, 5), done(3, Op::Tick(grant("a", 5), 1)), done(5, Op::Tick(grant("a", 5), 1))];
        assert!(check_lease(claimed.to_vec()).is_err(), "one tick run twice");
    }

    #[test]
    fn an_unanswered_call_may_take_effect_windows_later() {
        let later = vec![
            granted("a", 1, 5),
            lost(1, 3, Op::Release(grant("a", 5))),
            call(2, 5, 6, Op::List, Ret::Saw(Some((Some("a".to_owned()), 5, 0)))),
            granted("b", 7, 8),
        ];
        assert!(check_lease(later.clone()).is_ok());
        assert!(check_lease(later.into_iter().filter(|call| call.answer.is_some()).collect()).is_err());
        let tick = vec![
            granted("a", 1, 5),
            lost(1, 3, Op::Tick(grant("a", 5), 2)),
            done(5, Op::Tick(grant("a", 5), 1)),
            call(2, 7, 8, Op::List, Ret::Saw(Some((Some("a".to_owned()), 5, 2)))),
        ];
        assert!(check_lease(tick).is_ok());
    }

    #[test]
    fn an_unanswered_acquire_holds_from_when_it_was_seen_at_the_latest() {
        let seen = vec![
            lost(1, 1, Op::Acquire("a".to_owned())),
            call(2, 3, 4, Op::Acquire("b".to_owned()), Ret::Held(grant("a", 5))),
            call(2, 5, 6, Op::Release(grant("a", 5)), Ret::Done),
            granted("b", 7, 8),
        ];
        assert!(check_lease(seen.clone()).is_ok());
        assert!(check_lease(seen[1..].to_vec()).is_err(), "refused as not done, and done");
        assert!(check_lease(seen[..2].iter().cloned().chain([granted("b", 7, 8)]).collect()).is_err());
        assert_eq!(check_lease(vec![lost(1, 1, Op::Acquire("a".to_owned())), granted("b", 3, 5)]).unwrap().calls, 1);
    }

    #[test]
    fn a_release_that_says_over_has_ended_the_grant() {
        let over = call(1, 3, 4, Op::Release(grant("a", 5)), Ret::Over);
        let still = call(2, 5, 6, Op::Acquire("b".to_owned()), Ret::Held(grant("a", 5)));
        assert!(check_lease(vec![granted("a", 1, 5), over.clone(), granted("b", 5, 7)]).is_ok());
        assert!(check_lease(vec![granted("a", 1, 5), over, still]).is_err());
    }
}
