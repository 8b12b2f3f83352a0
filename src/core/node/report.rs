//! What a master reports to the supervisor: the figures that `LOAD`, `WORKERS`, `LOANS`, `JOBS` and `NODES` would tell at that moment.

use std::collections::BTreeMap;

use super::Node;
use crate::core::Output;
use crate::core::loans::Counts;
use crate::core::report::{REPORT_EVERY, ReportNews};
use crate::time::{Seconds, Time};
use crate::wire::{
    BorrowedWorker, EventKind, MasterReport, NeighbourReport, Permille, Role, ServerId, Status, TasksReport,
    ThresholdsReport, WorkersReport, quote,
};

/// A threshold that is never reached.
const NEVER: Permille = Permille::MAX;

/// Letters of the reason why a report was not handed over. What is wrong with a certificate takes some room.
const REASON: usize = 300;

impl Node {
    /// Reports, if it is time. Called once everything else of an input is carried out, so that the figures are those of afterwards.
    pub(super) fn report_if_due(&mut self, now: Time) {
        let Some(reports) = self.reports.as_mut().filter(|_| !self.stopped) else { return };
        if reports.take(now) {
            let report = Box::new(self.report(now));
            self.outputs.push_back(Output::Report(report));
        }
    }

    /// A report was handed over, or not.
    pub(super) fn reported(&mut self, outcome: Result<(), String>) {
        let Some(reports) = &mut self.reports else { return };
        let address = self.config.supervisor.clone();
        match reports.told(outcome) {
            None => {}
            Some(ReportNews::Reached) => {
                let detail = format!("reports reach the supervisor, one every {} s", Seconds(REPORT_EVERY));
                self.event(EventKind::SupervisorReached, None, address, detail);
            }
            Some(ReportNews::Unreachable(reason)) => {
                let (reason, every) = (quote(&reason, REASON), Seconds(REPORT_EVERY));
                let detail = format!("reports do not reach the supervisor: {reason}; tried again every {every} s");
                self.event(EventKind::SupervisorUnreachable, None, address, detail);
            }
        }
    }

    /// What the supervisor is told of this master now.
    fn report(&self, now: Time) -> MasterReport {
        let (load, config) = (self.load.report(), self.load.config());
        let (completed, failed) = self.queue.ended();
        let oldest = self.queue.oldest_queued(now).unwrap_or_default();
        MasterReport {
            server_id: self.identity.server_id.clone(),
            cpu: load.cpu,
            workers: self.workers_report(now),
            tasks: TasksReport { pending: load.pending, running: load.running, completed, failed, oldest },
            thresholds: ThresholdsReport {
                max_tasks: config.capacity,
                release_tasks: config.release,
                warn_cpu: if config.cpu_threshold.get() == 0 { NEVER } else { config.cpu_threshold },
                warn_memory: NEVER,
            },
            neighbours: self.neighbours_report(now),
        }
    }

    fn workers_report(&self, now: Time) -> WorkersReport {
        let lent = self.desk.iter().flat_map(|desk| desk.loans.lent());
        let lent = lent.map(|(_, borrower)| BorrowedWorker { out: true, peer: borrower.to_string() });
        let guests = self.guests_here().into_values();
        let guests = guests.map(|owner| BorrowedWorker { out: false, peer: owner.to_owned() });
        let away_from_home = lent.chain(guests).collect();
        WorkersReport { home: self.whereabouts().local, away_from_home, ..self.farm.figures(now) }
    }

    fn neighbours_report(&self, now: Time) -> Vec<NeighbourReport> {
        // What a stranger is it does not say; nobody configures a worker as a peer.
        let masters = self.registry.view(now).into_iter().filter(|entry| entry.role != Some(Role::Worker));
        let neighbours = masters.map(|entry| NeighbourReport {
            server: entry.key,
            available: entry.status == Status::Alive,
            silent: entry.last_seen,
        });
        neighbours.collect()
    }

    /// Where the workers are that have to do with this master.
    pub(super) fn whereabouts(&self) -> Counts {
        let lent = self.desk.as_ref().map_or(0, |desk| desk.loans.counts().0);
        Counts { local: self.farm.whose().0, lent, borrowed: self.guests_here().len() as u64 }
    }

    /// The workers of others that are here, each with its owner. One that has registered and has not asked for work yet is none of the
    /// farm's; one that has lost its owner is on no loan.
    fn guests_here(&self) -> BTreeMap<&ServerId, &str> {
        let guests = self.desk.iter().flat_map(|desk| desk.loans.guests());
        let guests = guests.map(|(worker, owner)| (worker, owner.as_str()));
        self.farm.owners().chain(guests).collect()
    }
}
