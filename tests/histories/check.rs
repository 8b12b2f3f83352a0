//! Histories of calls, and whether they are linearizable: each call seems to take effect at one instant between its
//! begin and its end. The search is stateright's; it knows nothing of this project.
//!
//! That search tries orders without remembering what it has tried, so it must be given short histories. Two things make them
//! short, and neither loses an error: each object (a setting, a lease) has a history of its own, since linearizability is
//! compositional; and each history is cut into windows where no answered call is under way. A window begins in every state in which
//! the one before may have ended; to learn whether it may end in a state, one more read that sees exactly that is appended.

use std::cell::Cell;
use std::fmt::Debug;

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// Steps of one search after which it is given up.
const MOST_STEPS: u64 = 300_000;

/// Thread numbers of calls that have no client to wait for them; clients have smaller ones.
const ALONE: usize = 1_000_000;

/// A call and what came of it. The instants are numbers of one counter, each given out once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call<O, R> {
    /// Who called: one call at a time. `None`: a call that nobody waited for, whose effect others have seen.
    pub(crate) client: Option<usize>,
    pub(crate) op: O,
    /// Before it was sent.
    pub(crate) begun: u64,
    /// After its answer came, and the answer. `None`: it may take effect at any time, or never.
    pub(crate) answer: Option<(u64, R)>,
}

/// What an object does, call by call.
pub(crate) trait Law: SequentialSpec<Op: Clone + Debug, Ret: Clone + Debug> + Clone + Debug + PartialEq {
    /// The states in which the calls of a window may leave it: all that are possible, and as few others as is easily seen.
    fn ends(&self, window: &[Call<Self::Op, Self::Ret>]) -> Vec<Self>;

    /// A read that sees that the state is this one.
    fn sight(&self) -> (Self::Op, Self::Ret);

    /// Whether an unanswered call could still change anything.
    fn may_change(&self, op: &Self::Op) -> bool;

    /// Carries out a call if it may answer this.
    fn step(&mut self, op: &Self::Op, ret: &Self::Ret) -> bool;
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checked {
    /// Answered calls, and unanswered ones whose effect was seen.
    pub(crate) calls: usize,
    pub(crate) windows: usize,
    /// Calls of the longest window.
    pub(crate) longest: usize,
    /// Windows whose search was given up: nothing is known of them.
    pub(crate) unsettled: usize,
}

impl Checked {
    /// Adds another history.
    pub(crate) fn add(&mut self, other: Checked) {
        self.calls += other.calls;
        self.windows += other.windows;
        self.longest = self.longest.max(other.longest);
        self.unsettled += other.unsettled;
    }
}

thread_local! {
    static STEPS_LEFT: Cell<u64> = const { Cell::new(0) };
}

/// A state that counts the steps of the search, and takes none when there were too many.
#[derive(Clone, Debug)]
struct Counted<L>(L);

impl<L: Law> SequentialSpec for Counted<L> {
    type Op = L::Op;
    type Ret = L::Ret;

    fn invoke(&mut self, op: &L::Op) -> L::Ret {
        self.0.invoke(op)
    }

    fn is_valid_step(&mut self, op: &L::Op, ret: &L::Ret) -> bool {
        let left = STEPS_LEFT.get();
        STEPS_LEFT.set(left.saturating_sub(1));
        left > 0 && self.0.step(op, ret)
    }
}

/// Checks the history of one object. The error shows the first window that has no lawful order.
pub(crate) fn check<L: Law>(first: L, mut calls: Vec<Call<L::Op, L::Ret>>) -> Result<Checked, String> {
    calls.sort_by_key(|call| call.begun);
    let (mut states, mut open, mut checked) = (vec![first], Vec::new(), Checked::default());
    let mut window: Vec<Call<L::Op, L::Ret>> = Vec::new();
    let mut quiet_from = 0;
    let mut rest = calls.into_iter().peekable();
    while let Some(call) = rest.next() {
        match &call.answer {
            Some((ended, _)) => {
                quiet_from = quiet_from.max(*ended);
                window.push(call);
            }
            None => open.push(call),
        }
        if !window.is_empty() && rest.peek().is_none_or(|next| next.begun > quiet_from) {
            checked.calls += window.len();
            checked.windows += 1;
            checked.longest = checked.longest.max(window.len());
            states = ends(&states, &window, &open, &mut checked.unsettled)?;
            open.retain(|call: &Call<_, _>| states.iter().any(|state| state.may_change(&call.op)));
            window.clear();
        }
    }
    Ok(checked)
}

/// The states in which a window may end that begins in one of these.
fn ends<L: Law>(
    starts: &[L],
    window: &[Call<L::Op, L::Ret>],
    open: &[Call<L::Op, L::Ret>],
    unsettled: &mut usize,
) -> Result<Vec<L>, String> {
    let (mut ends, mut given_up) = (Vec::new(), false);
    for start in starts {
        for end in start.ends(&[window, open].concat()) {
            if ends.contains(&end) {
                continue;
            }
            let found = is_lawful(start, window, open, &end);
            given_up |= found.is_none();
            // What is not settled counts as possible: an error may be missed, and none is made up.
            if found != Some(false) {
                ends.push(end);
            }
        }
    }
    *unsettled += usize::from(given_up);
    if ends.is_empty() { Err(shown(starts, window, open)) } else { Ok(ends) }
}

/// Whether a window that begins in one state may end in another. `None`: the search took too long.
fn is_lawful<L: Law>(start: &L, window: &[Call<L::Op, L::Ret>], open: &[Call<L::Op, L::Ret>], end: &L) -> Option<bool> {
    let mut tester = LinearizabilityTester::new(Counted(start.clone()));
    let calls: Vec<_> = window.iter().chain(open).collect();
    let thread = |nth: usize| match (calls[nth].client, &calls[nth].answer) {
        (Some(client), Some(_)) => client,
        _ => ALONE + nth,
    };
    // Begins and ends, by instant.
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (nth, call) in calls.iter().enumerate() {
        events.push((call.begun, false, nth));
        events.extend(call.answer.iter().map(|(ended, _)| (*ended, true, nth)));
    }
    events.sort_unstable();
    for (_, is_end, nth) in events {
        let told = match &calls[nth].answer {
            Some((_, ret)) if is_end => tester.on_return(thread(nth), ret.clone()).map(|_| ()),
            _ => tester.on_invoke(thread(nth), calls[nth].op.clone()).map(|_| ()),
        };
        told.expect("each client calls once at a time");
    }
    let (op, ret) = end.sight();
    tester.on_invret(ALONE - 1, op, ret).expect("nobody else has this number");
    STEPS_LEFT.set(MOST_STEPS);
    let lawful = tester.is_consistent();
    (lawful || STEPS_LEFT.get() > 0).then_some(lawful)
}

fn shown<L: Law>(starts: &[L], window: &[Call<L::Op, L::Ret>], open: &[Call<L::Op, L::Ret>]) -> String {
    let mut text = format!("no order of these {} calls is lawful from {starts:?}:", window.len());
    for call in window.iter().chain(open) {
        let (ended, ret) = match &call.answer {
            Some((ended, ret)) => (ended.to_string(), format!("{ret:?}")),
            None => ("?".to_owned(), "no answer".to_owned()),
        };
        let who = call.client.map_or("seen by others".to_owned(), |client| format!("client {client}"));
        text += &format!("\n  {:>8} to {ended:>8}  {who:<14} {:?} -> {ret}", call.begun, call.op);
    }
    text
}
