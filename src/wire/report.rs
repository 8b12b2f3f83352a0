//! The supervisor's report: one object of JSON that a master sends every ten seconds to a program that watches all masters of a classroom.
//!
//! It is no message of the protocol: nobody answers it, and a node never reads one. Its form is that of the course's sprint 4, field by
//! field. [`MasterReport`] is what the core knows at one moment, by the same functions that answer `LOAD`, `WORKERS`, `LOANS`, `JOBS` and
//! `NODES`; the shell adds what it has measured of the machine and the time of the wall, and [`super::encode_report`] writes the line.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{Permille, ServerId};

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// What the master says of itself.
    pub master: MasterReport,
    /// What was measured of its machine. `performance.system`.
    pub machine: MachineReport,
    /// `timestamp`: when the figures were taken, as the time since 1970, UTC.
    pub taken: Duration,
    /// `message_id`: a uuid v4, another one for each report.
    pub message_id: Uuid,
}

/// The figures of a master at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MasterReport {
    /// `server_uuid`.
    pub server_id: ServerId,
    /// `cpu.usage_percent`: the machine's CPU, averaged over some seconds, as `LOAD` says it.
    pub cpu: Permille,
    /// `farm_state.workers`.
    pub workers: WorkersReport,
    /// `farm_state.tasks`.
    pub tasks: TasksReport,
    /// `config_thresholds`.
    pub thresholds: ThresholdsReport,
    /// `neighbors`: the masters of the registry, in the order of their keys, as `NODES` lists them.
    pub neighbours: Vec<NeighbourReport>,
}

/// The workers of a master. A foreign worker has one slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct WorkersReport {
    /// `total_registered`: workers that `WORKERS` lists, own ones and those of others.
    pub registered: u64,
    /// `workers_utilization`: of the slots of those that are alive, the share that runs something. Nothing of nothing is zero.
    pub utilization: Permille,
    /// `workers_alive`: those that are not AWAY.
    pub alive: u64,
    /// `workers_idle`: those that are IDLE, so that they run nothing and would take work.
    pub idle: u64,
    /// `workers_failed`: those that are QUARANTINED, because they failed fast while others succeeded, or AWAY, because they are silent. One
    /// that stays silent until it counts as lost is not registered any more.
    pub failed: u64,
    /// `workers_home`: own ones that are here, as `LOCAL` of `LOANS`.
    pub home: u64,
    /// `workers_available_capacity`: jobs that could be given out now: the free slots of those that are IDLE or BUSY.
    pub available: u64,
    /// `borrowed_workers`, `workers_borrowed`, `workers_received`: for each worker that is not at home the other master; those lent out first.
    pub away_from_home: Vec<BorrowedWorker>,
}

/// A worker that is not at home.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BorrowedWorker {
    /// `direction`: `out`: an own one that is promised, on its way, or with a borrower. Else `in`: one of another master that is here.
    pub out: bool,
    /// `peer_uuid`: the other master: its id, or as it, or its worker, calls it.
    pub peer: String,
}

/// The jobs of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TasksReport {
    /// `tasks_pending`: jobs that wait for a worker, as `PENDING` of `LOAD`.
    pub pending: u64,
    /// `tasks_running`, as `RUNNING` of `LOAD`.
    pub running: u64,
    /// `tasks_completed`: jobs that ended OK, as `JOBS` says, and those of this run of the master whose results it has forgotten since.
    pub completed: u64,
    /// `tasks_failed`: jobs that ended NOK or were BURIED; the same.
    pub failed: u64,
    /// `oldest_task_age_s`, in seconds: how long the job that has waited longest has waited. Zero where none waits.
    pub oldest: Duration,
}

/// From when on a master acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThresholdsReport {
    /// `max_task`: pending jobs above which it asks for workers. `--capacity`.
    pub max_tasks: u64,
    /// `release_task`: pending jobs below which it gives them back. `--release`.
    pub release_tasks: u64,
    /// `warn_cpu_percent`: CPU above which it sends clients elsewhere. `--cpu-threshold`; 100 where it never does.
    pub warn_cpu: Permille,
    /// `warn_memory_percent`: 100, for a master never acts on its memory.
    pub warn_memory: Permille,
}

/// Another master, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NeighbourReport {
    /// `server_uuid`: its id, or its address while that is not known.
    pub server: String,
    /// `status`: `available` where it is ALIVE, else `unavailable`.
    pub available: bool,
    /// `last_heartbeat`: how long before [`Report::taken`] it answered last. `None`, `null`: it never has.
    pub silent: Option<Duration>,
}

/// What was measured of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct MachineReport {
    /// `hostname`.
    pub hostname: String,
    /// `uptime_seconds`: since the machine was started.
    pub uptime: Duration,
    /// `load_average_1m`, in thousandths: processes that run or want to, averaged over a minute. Zero on systems that do not count them.
    pub load_1m: u64,
    /// `load_average_5m`: the same over five minutes.
    pub load_5m: u64,
    /// `cpu.count_logical`.
    pub logical_cores: u64,
    /// `cpu.count_physical`; that of the logical ones where it is not known.
    pub physical_cores: u64,
    /// `memory.total_mb`, in bytes here, in units of 2^20 on the wire.
    pub memory_total: u64,
    /// `memory.available_mb`: what processes could have without swapping; the same units. `memory_used` and `percent_used` follow from it.
    pub memory_available: u64,
    /// `disk.total_gb`, in bytes here, in units of 2^30 on the wire: of the disk that holds the state of the node, or, where none is kept,
    /// its working directory. Zero where it cannot be told.
    pub disk_total: u64,
    /// `disk.free_gb`: what this process could still write. `percent_used` follows from it.
    pub disk_free: u64,
}

/// A time since 1970 as ISO 8601 has it, in whole seconds, UTC: `2026-11-22T02:05:53Z`.
pub(super) struct Iso8601(pub(super) Duration);

impl fmt::Display for Iso8601 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Days of four centuries, after which the calendar repeats.
        const CYCLE: u64 = 146_097;
        let seconds = self.0.as_secs();
        // Years begin in March here, so that the day that some of them have more is their last one.
        let days = seconds / 86_400 + 719_468;
        let day = days % CYCLE;
        let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        // Five months from March, and again from August, have 153 days.
        let month = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = year + days / CYCLE * 400 + next;
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn iso(seconds: u64) -> String {
        Iso8601(Duration::from_secs(seconds)).to_string()
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_313_153, "2026-11-22T02:05:53Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso(seconds), expected);
        }
    }

    proptest! {
        #[test]
        fn a_day_later_is_the_next_day_of_the_calendar(day in 0..100_000u64) {
            let read = |day: u64| {
                let text = iso(day * 86_400);
                let part = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
                (part(0..4), part(5..7), part(8..10))
            };
            let (year, month, date) = read(day);
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let next = match (date == length, month) {
                (false, _) => (year, month, date + 1),
                (true, 12) => (year + 1, 1, 1),
                (true, _) => (year, month + 1, 1),
            };
            prop_assert_eq!(read(day + 1), next);
        }
    }
}
