//! The law of a setting: a register whose writes have growing indices.

use stateright::semantics::SequentialSpec;

use super::check::{Call, Checked, Law, check};

/// What was written: a value that no other write has, and the index of the entry that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) value: u64,
    pub(crate) index: u64,
}

/// The state of a setting: what was written last, if anything was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Register(pub(crate) Option<Stamp>);

/// A call to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Set(Stamp),
    Get,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ret {
    Done,
    Saw(Option<Stamp>),
}

/// What a client saw of a setting.
pub(crate) type Seen = Call<Op, Ret>;

impl SequentialSpec for Register {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Set(stamp) => {
                self.0 = Some(*stamp);
                Ret::Done
            }
            Op::Get => Ret::Saw(self.0),
        }
    }
}

impl Law for Register {
    fn ends(&self, window: &[Seen]) -> Vec<Register> {
        let writes = || window.iter().filter(|call| matches!(call.op, Op::Set(_)));
        let last = |write: &&Seen| {
            let ended = write.answer.as_ref().map_or(u64::MAX, |(ended, _)| *ended);
            writes().all(|other| other.begun < ended)
        };
        let ends = writes().filter(last).filter_map(|write| match write.op {
            Op::Set(stamp) => Some(Register(Some(stamp))),
            Op::Get => None,
        });
        if writes().next().is_none() { vec![self.clone()] } else { ends.collect() }
    }

    fn sight(&self) -> (Op, Ret) {
        (Op::Get, Ret::Saw(self.0))
    }

    fn may_change(&self, op: &Op) -> bool {
        *op != Op::Get
    }

    fn step(&mut self, op: &Op, ret: &Ret) -> bool {
        let (before, lawful) = (self.0, self.invoke(op) == *ret);
        lawful && before.is_none_or(|before| self.0.is_some_and(|after| before == after || before.index < after.index))
    }
}

/// Checks the history of one setting, none of whose values was written twice.
pub(crate) fn check_setting(calls: Vec<Seen>) -> Result<Checked, String> {
    check(Register::default(), settled(calls))
}

/// An unanswered write whose value was read has taken effect after everything that saw a smaller index began, and before anything that saw its own or a
/// larger one ended. One whose value nobody ever read may be left out: where there is a lawful order with it, there is one without.
fn settled(calls: Vec<Seen>) -> Vec<Seen> {
    // Begin, end, and the stamp that was the last one then.
    let sights: Vec<(u64, u64, Stamp)> = calls.iter().filter_map(sighted).collect();
    let settle = |call: Seen| match (&call.op, &call.answer) {
        (Op::Set(stamp), None) => {
            let (_, _, seen) = sights.iter().find(|(_, _, seen)| seen.value == stamp.value)?;
            let instants = sights.iter().map(|(begun, ended, other)| (*begun, *ended, other.index));
            let (begun, ended) = narrowed(call.begun, seen.index, instants);
            Some(Call { client: None, op: Op::Set(*seen), begun, answer: Some((ended, Ret::Done)) })
        }
        (Op::Get, None) => None,
        _ => Some(call),
    };
    calls.into_iter().filter_map(settle).collect()
}

/// When what nobody waited for can have taken effect, that has this number, by when others have begun and ended that saw a number. Numbers only grow.
/// Where they do not, nothing is narrowed from the left, and the search finds it.
pub(crate) fn narrowed(begun: u64, number: u64, sights: impl Iterator<Item = (u64, u64, u64)>) -> (u64, u64) {
    let (mut least, mut most) = (begun, u64::MAX);
    for (began, ended, seen) in sights {
        if seen < number {
            least = least.max(began);
        } else {
            most = most.min(ended);
        }
    }
    (if least < most { least } else { begun }, most)
}

fn sighted(call: &Seen) -> Option<(u64, u64, Stamp)> {
    match (&call.op, &call.answer) {
        (_, Some((ended, Ret::Saw(Some(stamp))))) | (Op::Set(stamp), Some((ended, Ret::Done))) => {
            Some((call.begun, *ended, *stamp))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(value: u64, index: u64) -> Stamp {
        Stamp { value, index }
    }

    fn set(client: usize, begun: u64, ended: u64, value: u64, index: u64) -> Seen {
        let answer = Some((ended, Ret::Done));
        Call { client: Some(client), op: Op::Set(stamp(value, index)), begun, answer }
    }

    fn lost(client: usize, begun: u64, value: u64) -> Seen {
        Call { client: Some(client), op: Op::Set(stamp(value, 0)), begun, answer: None }
    }

    fn get(client: usize, begun: u64, ended: u64, seen: Option<(u64, u64)>) -> Seen {
        let seen = seen.map(|(value, index)| stamp(value, index));
        Call { client: Some(client), op: Op::Get, begun, answer: Some((ended, Ret::Saw(seen))) }
    }

    #[test]
    fn calls_at_the_same_time_may_take_effect_in_any_order() {
        for (first, second) in [(None, Some((1, 5))), (Some((1, 5)), Some((1, 5))), (None, None)] {
            let calls =
                vec![set(1, 1, 10, 1, 5), get(2, 2, 3, first), get(2, 4, 5, second), get(3, 11, 12, Some((1, 5)))];
            let checked = check_setting(calls).unwrap();
            assert_eq!((checked.calls, checked.windows, checked.longest), (4, 2, 3));
        }
    }

    #[test]
    fn a_read_that_is_older_than_one_before_it_is_found() {
        let back = vec![set(1, 1, 10, 1, 5), get(2, 2, 3, Some((1, 5))), get(3, 4, 5, None)];
        assert!(check_setting(back).unwrap_err().contains("no order of these 3 calls"));
        let stale = vec![set(1, 1, 2, 1, 5), set(1, 3, 4, 2, 6), get(2, 5, 6, Some((1, 5)))];
        assert!(check_setting(stale).is_err());
    }

    #[test]
    fn a_lost_write_is_found_also_windows_later() {
        let mut calls = vec![set(1, 1, 2, 1, 5), set(2, 3, 6, 2, 6), set(3, 4, 5, 3, 7)];
        calls.push(get(1, 7, 8, Some((3, 7))));
        assert!(check_setting(calls.clone()).is_ok());
        calls.push(get(1, 9, 10, Some((1, 5))));
        assert!(check_setting(calls.clone()).is_err());
        let never = vec![set(1, 1, 2, 1, 5), get(2, 3, 4, None)];
        assert!(check_setting(never).is_err());
    }

    #[test]
    fn an_unanswered_write_takes_effect_once_late_or_never() {
        let late = vec![lost(1, 1, 1), set(2, 2, 3, 2, 5), get(2, 4, 5, Some((2, 5))), get(2, 6, 7, Some((1, 6)))];
        assert!(check_setting(late.clone()).is_ok());
        let never = vec![lost(1, 1, 1), set(2, 2, 3, 2, 5), get(2, 4, 5, Some((2, 5)))];
        assert_eq!(check_setting(never).unwrap().calls, 2);
        let twice = [late, vec![set(2, 8, 9, 3, 7), get(2, 10, 11, Some((1, 8)))]].concat();
        assert!(check_setting(twice).is_err());
        let early = vec![get(2, 1, 2, Some((1, 6))), lost(1, 3, 1)];
        assert!(check_setting(early).is_err());
    }

    #[test]
    fn what_was_refused_and_done_all_the_same_is_found() {
        // The refused write is not in the history: nobody has written what is read.
        assert!(check_setting(vec![get(2, 1, 2, Some((1, 6)))]).is_err());
    }

    #[test]
    fn an_entry_with_another_index_than_was_answered_is_found() {
        assert!(check_setting(vec![set(1, 1, 2, 1, 5), get(2, 3, 4, Some((1, 6)))]).is_err());
        assert!(check_setting(vec![set(1, 1, 2, 1, 5), set(1, 3, 4, 2, 4)]).is_err());
    }

    #[test]
    fn a_long_window_of_many_clients_is_settled() {
        // Four clients, six calls each, four at a time.
        let mut calls = Vec::new();
        for nth in 0..24_u64 {
            let client = (nth % 4) as usize;
            let (begun, ended) = (nth * 2 + 1, nth * 2 + 8);
            calls.push(match nth % 3 {
                0 => set(client, begun, ended, nth, nth + 1),
                _ => get(client, begun, ended, Some((nth - nth % 3, nth - nth % 3 + 1))),
            });
        }
        let checked = check_setting(calls.clone()).unwrap();
        assert_eq!((checked.windows, checked.longest, checked.unsettled), (1, 24, 0));
        let last = calls.last_mut().unwrap();
        last.answer = last.answer.take().map(|(ended, _)| (ended, Ret::Saw(Some(stamp(0, 1)))));
        assert!(check_setting(calls).is_err(), "the last one sees the first write");
    }
}
