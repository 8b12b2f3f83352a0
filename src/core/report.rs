//! When a master reports to the supervisor, and what people hear of it.

use std::time::Duration;

use crate::time::Time;

/// Time between two reports: the course's.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(10);

/// What people are told once each time it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReportNews {
    /// A report was handed over, the first one or the first again. The node tells its streams.
    Reached,
    /// A report could not be handed over, for this reason. The node tells its streams.
    Unreachable(String),
}

/// The reports of a master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reports {
    next: Time,
    /// Whether the last one was handed over; `None`: nothing is known yet.
    reached: Option<bool>,
}

impl Reports {
    /// The first report is due at once.
    pub(super) fn new(now: Time) -> Reports {
        Reports { next: now, reached: None }
    }

    /// When the next report is due.
    pub(super) fn deadline(&self) -> Time {
        self.next
    }

    /// Whether a report is due now. If so, the next one is due one interval later; those that were missed are not made up for.
    pub(super) fn take(&mut self, now: Time) -> bool {
        if now < self.next {
            return false;
        }
        let next = self.next + REPORT_EVERY;
        self.next = if next > now { next } else { now + REPORT_EVERY };
        true
    }

    /// Whether the last report was handed over; `None`: nothing is known yet.
    pub(super) fn reached(&self) -> Option<bool> {
        self.reached
    }

    /// What became of a report.
    pub(super) fn told(&mut self, outcome: Result<(), String>) -> Option<ReportNews> {
        let before = self.reached.replace(outcome.is_ok());
        match outcome {
            Ok(()) if before != Some(true) => Some(ReportNews::Reached),
            Err(reason) if before != Some(false) => Some(ReportNews::Unreachable(reason)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn reports_keep_their_beat_and_are_not_made_up_for() {
        let mut reports = Reports::new(at(500));
        assert_eq!(reports.deadline(), at(500));
        assert!(!reports.take(at(499)));
        assert!(reports.take(at(500)));
        assert!(!reports.take(at(500)), "once");
        assert!(!reports.take(at(10_499)));
        assert!(reports.take(at(10_600)), "somewhat late");
        assert_eq!(reports.deadline(), at(20_500), "and the beat stays");
        assert!(reports.take(at(95_000)), "the process was suspended");
        assert_eq!(reports.deadline(), at(105_000), "one report, not eight");
        assert!(!reports.take(at(95_000)));
    }

    #[test]
    fn people_hear_of_changes_only() {
        let mut reports = Reports::new(at(0));
        let failed = |reason: &str| Err(reason.to_owned());
        assert_eq!(reports.told(failed("refused")), Some(ReportNews::Unreachable("refused".to_owned())));
        assert_eq!(reports.told(failed("too slow")), None);
        assert_eq!(reports.told(Ok(())), Some(ReportNews::Reached));
        assert_eq!(reports.told(Ok(())), None);
        assert_eq!(reports.reached(), Some(true));
        assert_eq!(reports.told(failed("gone")), Some(ReportNews::Unreachable("gone".to_owned())));
        assert_eq!((reports.reached(), Reports::new(at(0)).reached()), (Some(false), None));
        assert_eq!(Reports::new(at(0)).told(Ok(())), Some(ReportNews::Reached), "the first one is news as well");
    }
}
