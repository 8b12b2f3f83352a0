//! What runs print, on its way to the core at the pace at which links take it.
//!
//! Who prints is never made to wait: it may hold what the loop needs next. So what cannot go on yet waits here, bounded
//! by what one run may show (4 MiB, by the services) and by the runs that there may be. The end of a run waits behind
//! what it has printed; everything else overtakes.

use std::collections::{BTreeMap, VecDeque};

use crate::core::{Input, Outcome, RunId};
use crate::wire::Stream;

use super::limits::PRINTED_PIECES;

/// What was printed and is not told yet.
#[derive(Debug, Default)]
pub(super) struct Talk {
    waiting: VecDeque<Input>,
    /// Of each run, how much of that is its.
    runs: BTreeMap<RunId, usize>,
    /// Pieces that may be told in this turn.
    room: usize,
}

impl Talk {
    /// A turn begins, in which so much may be told: nothing if `congested`.
    pub(super) fn begin(&mut self, congested: bool) {
        self.room = if congested { 0 } else { PRINTED_PIECES };
    }

    /// Whether something waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Something was printed. Returns it if it may be told now.
    pub(super) fn printed(&mut self, run: RunId, stream: Stream, data: String) -> Option<Input> {
        let input = Input::Printed { run, stream, data };
        if self.room > 0 && self.waiting.is_empty() {
            self.room -= 1;
            return Some(input);
        }
        self.wait(run, input);
        None
    }

    /// A run has ended. Returns that if it may be told now.
    pub(super) fn finished(&mut self, run: RunId, outcome: Outcome) -> Option<Input> {
        let input = Input::Finished { run, outcome };
        if !self.runs.contains_key(&run) {
            return Some(input);
        }
        self.wait(run, input);
        None
    }

    /// The next that waited and may be told now.
    pub(super) fn next(&mut self) -> Option<Input> {
        let run = match self.waiting.front()? {
            Input::Finished { run, .. } => *run,
            Input::Printed { run, .. } if self.room > 0 => {
                self.room -= 1;
                *run
            }
            _ => return None,
        };
        if let Some(count) = self.runs.get_mut(&run) {
            *count -= 1;
            if *count == 0 {
                self.runs.remove(&run);
            }
        }
        self.waiting.pop_front()
    }

    fn wait(&mut self, run: RunId, input: Input) {
        *self.runs.entry(run).or_default() += 1;
        self.waiting.push_back(input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Json;

    fn print(talk: &mut Talk, run: u64) -> bool {
        talk.printed(RunId(run), Stream::Out, String::new()).is_some()
    }

    fn finish(talk: &mut Talk, run: u64) -> bool {
        talk.finished(RunId(run), Outcome::Ok(Json::null())).is_some()
    }

    #[test]
    fn a_turn_has_its_share_and_the_rest_waits_in_order() {
        let mut talk = Talk::default();
        talk.begin(false);
        assert_eq!((0..3 * PRINTED_PIECES).filter(|_| print(&mut talk, 1)).count(), PRINTED_PIECES);
        assert!(!finish(&mut talk, 1), "its end waits behind it");
        assert!(finish(&mut talk, 2), "another's does not");
        assert!(talk.next().is_none());
        for _ in 0..2 {
            talk.begin(false);
            let told =
                std::iter::from_fn(|| talk.next()).filter(|input| matches!(input, Input::Printed { .. })).count();
            assert_eq!(told, PRINTED_PIECES);
        }
        assert!(!talk.is_waiting() && talk.runs.is_empty(), "the end needs no room");
        assert!(finish(&mut talk, 1));
    }

    #[test]
    fn nothing_is_told_while_a_link_is_congested_and_nothing_overtakes() {
        let mut talk = Talk::default();
        talk.begin(true);
        assert!(!print(&mut talk, 1) && talk.is_waiting() && talk.next().is_none());
        talk.begin(false);
        assert!(!print(&mut talk, 1), "the first comes first");
        assert_eq!(std::iter::from_fn(|| talk.next()).count(), 2);
    }
}
