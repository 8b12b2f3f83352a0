//! What has been seen of the life of a loan, from the logs of the masters: they bear the time at which it was.

use std::collections::BTreeMap;

use super::plan::Who;
use crate::wire::EventKind;

/// The phases, in the order of a loan that goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    /// More jobs wait than the capacity.
    Saturated,
    /// A neighbour is asked for workers.
    Asked,
    /// It agrees.
    Agreed,
    /// Its workers are told to go.
    Redirected,
    /// They have done a job there.
    Working,
    /// The queue is short again.
    Released,
    /// All workers are at home again.
    Home,
}

impl Phase {
    /// Every one, in the order of this enum.
    pub(super) const ALL: [Phase; 7] = [
        Phase::Saturated,
        Phase::Asked,
        Phase::Agreed,
        Phase::Redirected,
        Phase::Working,
        Phase::Released,
        Phase::Home,
    ];

    /// Its name, for people.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Phase::Saturated => "saturated",
            Phase::Asked => "asked",
            Phase::Agreed => "agreed",
            Phase::Redirected => "redirected",
            Phase::Working => "working there",
            Phase::Released => "released",
            Phase::Home => "home again",
        }
    }
}

/// When each phase was seen first, in milliseconds of any clock; and who belongs to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Story {
    seen: BTreeMap<Phase, u64>,
    /// Of each worker, by its id.
    homes: BTreeMap<String, Who>,
    /// Somebody was seen away: whoever was only told to go has not come home.
    was_away: bool,
}

impl Story {
    /// A worker belongs to this master.
    pub(super) fn belongs(&mut self, worker: &str, home: Who) {
        if !self.homes.contains_key(worker) {
            self.homes.insert(worker.to_owned(), home);
        }
    }

    /// Whether a worker belongs to another master than this one. One that is not known does not.
    pub(super) fn is_of_another(&self, worker: &str, master: Who) -> bool {
        self.homes.get(worker).is_some_and(|home| *home != master)
    }

    /// A master says this, an event or something else. Returns the phase that this is the first sign of.
    pub(super) fn line(&mut self, master: Who, text: &str, at: u64) -> Option<Phase> {
        let word = text.split([':', ' ']).next()?;
        let phase = match EventKind::ALL.into_iter().find(|kind| kind.as_str() == word)? {
            EventKind::Saturated => Phase::Saturated,
            EventKind::LoanAsked => Phase::Asked,
            // Of the two who say so, the lender is the first.
            EventKind::LoanAccepted if text.contains(" lent to ") => Phase::Agreed,
            EventKind::WorkerLent => Phase::Redirected,
            EventKind::JobEnded if worker_of(text).is_some_and(|id| self.is_of_another(id, master)) => Phase::Working,
            EventKind::Released => Phase::Released,
            _ => return None,
        };
        self.see(phase, at)
    }

    /// All workers are at home. Returns the phase if that is one, and was not seen.
    pub(super) fn all_home(&mut self, at: u64) -> Option<Phase> {
        if self.was_away { self.see(Phase::Home, at) } else { None }
    }

    /// A worker is away, for the first time or again.
    pub(super) fn not_home(&mut self) {
        self.was_away = true;
        self.seen.remove(&Phase::Home);
    }

    fn see(&mut self, phase: Phase, at: u64) -> Option<Phase> {
        if self.seen.contains_key(&phase) {
            return None;
        }
        self.seen.insert(phase, at);
        Some(phase)
    }

    /// When a phase was seen first.
    pub(super) fn at(&self, phase: Phase) -> Option<u64> {
        self.seen.get(&phase).copied()
    }

    /// Milliseconds from one phase to another, if both were seen.
    pub(super) fn between(&self, from: Phase, to: Phase) -> Option<u64> {
        Some(self.at(to)?.saturating_sub(self.at(from)?))
    }
}

/// The worker that ended a job OK, as the event says it.
fn worker_of(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(" is OK by worker ")?;
    rest.split([',', ' ']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &str = "JOB_ENDED: job 93d0b36c-1-9 (sleep.run) is OK by worker W-4, attempt 1; W-4, borrowed from m2";

    #[test]
    fn each_phase_is_seen_once_by_its_line() {
        let mut story = Story::default();
        story.belongs("W-4", Who(1));
        let lines = [
            ("SATURATED: 111 pending, above the capacity of 12 for 0.3 s", Phase::Saturated),
            ("LOAN_ASKED (790ef0b8): m2 is asked for 25 workers", Phase::Asked),
            ("LOAN_ACCEPTED (93d0b36c): 2 workers lent to m1", Phase::Agreed),
            ("WORKER_LENT (W-4): W-4 goes to m1", Phase::Redirected),
            (DONE, Phase::Working),
            ("RELEASED: 0 pending, below the release of 7 for 0.3 s", Phase::Released),
        ];
        for (at, (line, phase)) in (10..).zip(lines) {
            assert_eq!(story.line(Who(0), line, at), Some(phase));
            assert_eq!(story.line(Who(0), line, 99), None);
        }
        assert_eq!(story.all_home(19), None, "those that are told to go are still here");
        story.not_home();
        assert_eq!((story.all_home(20), story.all_home(21)), (Some(Phase::Home), None));
        assert!(Phase::ALL.iter().all(|phase| story.at(*phase).is_some()));
        assert_eq!(story.between(Phase::Saturated, Phase::Working), Some(4));
        for other in [
            "",
            "LOAN_ACCEPTED (790ef0b8): m2 has promised 2 workers",
            "WORKER_LEFT (W-4): w4: it left",
            "it is SATURATED: no",
            "loan message request_help to m2",
        ] {
            assert_eq!(Story::default().line(Who(0), other, 1), None, "{other}");
        }
    }

    #[test]
    fn only_what_workers_of_others_have_done_is_a_sign_that_they_work() {
        let mut story = Story::default();
        story.belongs("W-4", Who(1));
        story.belongs("W-4", Who(0));
        for (master, line) in [
            (Who(1), DONE),
            (Who(0), "JOB_ENDED: job a (sleep.run) is OK by worker W-5, attempt 1"),
            (Who(0), "JOB_ENDED: job a (sleep.run) is NOK by worker W-4, attempt 1"),
            (Who(0), "JOB_ENDED: job a (sleep.run) is CANCELLED"),
        ] {
            assert_eq!(story.line(master, line, 1), None, "{line}");
        }
        assert_eq!(story.line(Who(0), DONE, 1), Some(Phase::Working));
    }

    #[test]
    fn a_worker_that_goes_again_is_not_home_and_comes_home_again() {
        let mut story = Story::default();
        story.not_home();
        assert_eq!(story.all_home(2), Some(Phase::Home));
        story.not_home();
        assert_eq!((story.at(Phase::Home), story.all_home(3)), (None, Some(Phase::Home)));
    }
}
