//! The supervisor's report, in the form of the course's sprint 4.

use crate::wire::report::Iso8601;
use crate::wire::{
    BorrowedWorker, Json, MAX_LINE_BYTES, MachineReport, NeighbourReport, Permille, Report, TasksReport,
    ThresholdsReport, WorkersReport,
};

use super::object::Object;

/// Bytes of the list of workers that are not at home: some three hundred. The figures beside it count them all.
const LENT_BYTES: usize = 24 * 1024;

/// Where the list of neighbours ends at the latest, so that the line is not longer than [`MAX_LINE_BYTES`], whatever stands before.
const NEIGHBOURS_END: usize = MAX_LINE_BYTES - 4 * 1024;

/// Bytes of a name of a machine, or of another master, as JSON.
const NAME_BYTES: usize = 1024;

/// Appends the report as one line, newline included. Its lists are cut where it would be longer than [`MAX_LINE_BYTES`].
pub fn encode_report(report: &Report, out: &mut Vec<u8>) {
    let Report { master, machine, taken, message_id } = report;
    let farm = |farm: Object<'_>| {
        let farm = farm.object("workers", |it| workers(it, &master.workers));
        farm.object("tasks", |it| tasks(it, &master.tasks)).close();
    };
    let performance = |it: Object<'_>| {
        let it = it.object("system", |it| system(it, machine, master.cpu)).object("farm_state", farm);
        let it = it.object("config_thresholds", |it| thresholds(it, &master.thresholds));
        let one = |one: &NeighbourReport, out: &mut Vec<u8>| neighbour(Object::begin(out), one, report);
        it.list("neighbors", NEIGHBOURS_END, &master.neighbours, one).0.close();
    };
    Object::begin(out)
        .text("server_uuid", master.server_id.as_str())
        .cut_text("hostname", &machine.hostname, NAME_BYTES)
        .word("role", "master")
        .word("task", "performance_report")
        .word("timestamp", &Iso8601(*taken).to_string())
        .word("message_id", &message_id.to_string())
        .word("payload_version", "sprint4-monitor")
        .object("performance", performance)
        .end();
}

fn system(it: Object<'_>, machine: &MachineReport, usage: Permille) {
    let cpu = |it: Object<'_>| {
        let it = it.share("usage_percent", usage).number("count_logical", machine.logical_cores);
        it.number("count_physical", machine.physical_cores).close();
    };
    let memory = |it: Object<'_>| {
        let (total, available) = (machine.memory_total, machine.memory_available.min(machine.memory_total));
        let used = total - available;
        let it = it.number("total_mb", total >> 20).number("available_mb", available >> 20);
        it.share("percent_used", Permille::of(used, total)).number("memory_used", used >> 20).close();
    };
    let disk = |it: Object<'_>| {
        let (total, free) = (machine.disk_total, machine.disk_free.min(machine.disk_total));
        let it = it.thousandths("total_gb", gigabytes(total)).thousandths("free_gb", gigabytes(free));
        it.share("percent_used", Permille::of(total - free, total)).close();
    };
    it.number("uptime_seconds", machine.uptime.as_secs())
        .thousandths("load_average_1m", machine.load_1m)
        .thousandths("load_average_5m", machine.load_5m)
        .object("cpu", cpu)
        .object("memory", memory)
        .object("disk", disk)
        .close();
}

fn workers(it: Object<'_>, workers: &WorkersReport) {
    let count = |out| workers.away_from_home.iter().filter(|one| one.out == out).count() as u64;
    let one = |one: &BorrowedWorker, out: &mut Vec<u8>| {
        let it = Object::begin(out).word("direction", if one.out { "out" } else { "in" });
        it.cut_text("peer_uuid", &one.peer, NAME_BYTES).close();
    };
    it.number("total_registered", workers.registered)
        .share("workers_utilization", workers.utilization)
        .number("workers_alive", workers.alive)
        .number("workers_idle", workers.idle)
        .number("workers_borrowed", count(true))
        .number("workers_received", count(false))
        .number("workers_failed", workers.failed)
        .number("workers_home", workers.home)
        .number("workers_available_capacity", workers.available)
        .list("borrowed_workers", LENT_BYTES, &workers.away_from_home, one)
        .0
        .close();
}

fn tasks(it: Object<'_>, tasks: &TasksReport) {
    let age = u64::try_from(tasks.oldest.as_millis()).unwrap_or(u64::MAX);
    it.number("tasks_pending", tasks.pending)
        .number("tasks_running", tasks.running)
        .number("tasks_completed", tasks.completed)
        .number("tasks_failed", tasks.failed)
        .thousandths("oldest_task_age_s", age)
        .close();
}

fn thresholds(it: Object<'_>, thresholds: &ThresholdsReport) {
    it.number("max_task", thresholds.max_tasks)
        .share("warn_cpu_percent", thresholds.warn_cpu)
        .share("warn_memory_percent", thresholds.warn_memory)
        .number("release_task", thresholds.release_tasks)
        .close();
}

fn neighbour(it: Object<'_>, neighbour: &NeighbourReport, report: &Report) {
    let it = it.cut_text("server_uuid", &neighbour.server, NAME_BYTES);
    let it = it.word("status", if neighbour.available { "available" } else { "unavailable" });
    let heard = neighbour.silent.map(|silent| Iso8601(report.taken.saturating_sub(silent)).to_string());
    match heard {
        Some(heard) => it.word("last_heartbeat", &heard),
        None => it.json("last_heartbeat", &Json::null()),
    }
    .close();
}

/// Thousandths of 2^30 bytes.
fn gigabytes(bytes: u64) -> u64 {
    u64::try_from((u128::from(bytes) * 1000) >> 30).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::wire::{MasterReport, ServerId};

    fn report() -> Report {
        let thresholds = ThresholdsReport {
            max_tasks: 100,
            release_tasks: 60,
            warn_cpu: Permille::new(700),
            warn_memory: Permille::new(1000),
        };
        let away = |out, peer: &str| BorrowedWorker { out, peer: peer.to_owned() };
        Report {
            master: MasterReport {
                server_id: ServerId::new("alpha").unwrap(),
                cpu: Permille::new(423),
                workers: WorkersReport {
                    registered: 5,
                    utilization: Permille::new(625),
                    alive: 4,
                    idle: 1,
                    failed: 1,
                    home: 3,
                    available: 3,
                    away_from_home: vec![away(true, "beta"), away(false, "beta"), away(false, "gamma")],
                },
                tasks: TasksReport {
                    pending: 12,
                    running: 5,
                    completed: 700,
                    failed: 3,
                    oldest: Duration::from_millis(3_250),
                },
                thresholds,
                neighbours: vec![
                    NeighbourReport {
                        server: "beta".to_owned(),
                        available: true,
                        silent: Some(Duration::from_millis(1_500)),
                    },
                    NeighbourReport { server: "127.0.0.1:9103".to_owned(), available: false, silent: None },
                ],
            },
            machine: MachineReport {
                hostname: "lab \"7\"".to_owned(),
                uptime: Duration::from_secs(86_400),
                load_1m: 1_250,
                load_5m: 700,
                logical_cores: 8,
                physical_cores: 4,
                memory_total: 16 << 30,
                memory_available: 12 << 30,
                disk_total: 500 << 30,
                disk_free: (250 << 30) + (1 << 29),
            },
            taken: Duration::from_millis(1_795_313_153_900),
            message_id: Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef),
        }
    }

    fn line(report: &Report) -> String {
        let mut out = Vec::new();
        encode_report(report, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The paths of all keys, lists by their first element.
    fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    keys(value, &path, found);
                    found.insert(path);
                }
            }
            Value::Array(list) => list.iter().for_each(|one| keys(one, path, found)),
            _ => {}
        }
    }

    #[test]
    fn the_line_holds_what_the_course_asks_for_and_nothing_else() {
        // The course's page, sprint 4.
        let official = "server_uuid hostname role task timestamp message_id payload_version performance \
            performance.system performance.system.uptime_seconds performance.system.load_average_1m \
            performance.system.load_average_5m performance.system.cpu performance.system.cpu.usage_percent \
            performance.system.cpu.count_logical performance.system.cpu.count_physical performance.system.memory \
            performance.system.memory.total_mb performance.system.memory.available_mb \
            performance.system.memory.percent_used performance.system.memory.memory_used performance.system.disk \
            performance.system.disk.total_gb performance.system.disk.free_gb performance.system.disk.percent_used \
            performance.farm_state performance.farm_state.workers performance.farm_state.workers.total_registered \
            performance.farm_state.workers.workers_utilization performance.farm_state.workers.workers_alive \
            performance.farm_state.workers.workers_idle performance.farm_state.workers.workers_borrowed \
            performance.farm_state.workers.workers_received performance.farm_state.workers.workers_failed \
            performance.farm_state.workers.workers_home performance.farm_state.workers.workers_available_capacity \
            performance.farm_state.workers.borrowed_workers performance.farm_state.workers.borrowed_workers.direction \
            performance.farm_state.workers.borrowed_workers.peer_uuid performance.farm_state.tasks \
            performance.farm_state.tasks.tasks_pending performance.farm_state.tasks.tasks_running \
            performance.farm_state.tasks.tasks_completed performance.farm_state.tasks.tasks_failed \
            performance.farm_state.tasks.oldest_task_age_s performance.config_thresholds \
            performance.config_thresholds.max_task performance.config_thresholds.warn_cpu_percent \
            performance.config_thresholds.warn_memory_percent performance.config_thresholds.release_task \
            performance.neighbors performance.neighbors.server_uuid performance.neighbors.status \
            performance.neighbors.last_heartbeat";
        let official: BTreeSet<String> = official.split_whitespace().map(str::to_owned).collect();
        let (mut found, value) = (BTreeSet::new(), serde_json::from_str::<Value>(&line(&report())).unwrap());
        keys(&value, "", &mut found);
        assert_eq!(found, official);
    }

    #[test]
    fn the_report_in_the_manual_has_the_same_fields_and_every_one_is_explained() {
        let manual = include_str!("../../../protocol.md");
        let (_, chapter) = manual.split_once("\n## The supervisor's report\n").expect("the manual has the chapter");
        let chapter = chapter.split_once("\n## ").map_or(chapter, |(chapter, _)| chapter);
        let (_, rest) = chapter.split_once("\n```json\n").expect("an example");
        let (example, table) = rest.split_once("\n```").expect("the example ends");
        let found = |text: &str| {
            let (mut found, value) = (BTreeSet::new(), serde_json::from_str::<Value>(text).unwrap());
            keys(&value, "", &mut found);
            found
        };
        let fields = found(example);
        assert_eq!(fields, found(&line(&report())));
        for field in fields {
            let name = field.rsplit('.').next().unwrap();
            let group = ["performance", "farm_state"].contains(&name);
            assert!(group || table.contains(&format!("`{name}`")), "{field} is not explained");
        }
    }

    #[test]
    fn every_figure_stands_in_its_place_and_unit() {
        let text = line(&report());
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "server_uuid": "alpha",
            "hostname": "lab \"7\"",
            "role": "master",
            "task": "performance_report",
            "timestamp": "2026-11-22T02:05:53Z",
            "message_id": "12345678-9abc-4def-8123-456789abcdef",
            "payload_version": "sprint4-monitor",
            "performance": {
                "system": {
                    "uptime_seconds": 86_400,
                    "load_average_1m": 1.25,
                    "load_average_5m": 0.7,
                    "cpu": {"usage_percent": 42.3, "count_logical": 8, "count_physical": 4},
                    "memory": {"total_mb": 16_384, "available_mb": 12_288, "percent_used": 25.0, "memory_used": 4096},
                    "disk": {"total_gb": 500.0, "free_gb": 250.5, "percent_used": 49.9},
                },
                "farm_state": {
                    "workers": {
                        "total_registered": 5,
                        "workers_utilization": 62.5,
                        "workers_alive": 4,
                        "workers_idle": 1,
                        "workers_borrowed": 1,
                        "workers_received": 2,
                        "workers_failed": 1,
                        "workers_home": 3,
                        "workers_available_capacity": 3,
                        "borrowed_workers": [
                            {"direction": "out", "peer_uuid": "beta"},
                            {"direction": "in", "peer_uuid": "beta"},
                            {"direction": "in", "peer_uuid": "gamma"},
                        ],
                    },
                    "tasks": {
                        "tasks_pending": 12,
                        "tasks_running": 5,
                        "tasks_completed": 700,
                        "tasks_failed": 3,
                        "oldest_task_age_s": 3.25,
                    },
                },
                "config_thresholds": {
                    "max_task": 100,
                    "warn_cpu_percent": 70.0,
                    "warn_memory_percent": 100.0,
                    "release_task": 60,
                },
                "neighbors": [
                    {"server_uuid": "beta", "status": "available", "last_heartbeat": "2026-11-22T02:05:52Z"},
                    {"server_uuid": "127.0.0.1:9103", "status": "unavailable", "last_heartbeat": null},
                ],
            },
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_machine_of_which_nothing_is_known_and_one_that_is_too_large_are_told_as_well() {
        let mut unknown = report();
        unknown.machine = MachineReport::default();
        let value: Value = serde_json::from_str(&line(&unknown)).unwrap();
        assert_eq!(
            value["performance"]["system"]["disk"],
            json!({"total_gb": 0.0, "free_gb": 0.0, "percent_used": 0.0})
        );
        let mut huge = report();
        let MachineReport { memory_total, memory_available, disk_total, disk_free, .. } = &mut huge.machine;
        (*memory_total, *memory_available, *disk_total, *disk_free) = (1, u64::MAX, u64::MAX, 0);
        let value: Value = serde_json::from_str(&line(&huge)).unwrap();
        assert_eq!(value["performance"]["system"]["memory"]["percent_used"], 0.0, "more than all cannot be free");
        assert_eq!(value["performance"]["system"]["disk"]["percent_used"], 100.0);
    }

    #[test]
    fn the_largest_farm_and_registry_fit_into_a_line_and_are_counted_in_full() {
        let mut large = report();
        let long = "\u{1}".repeat(4000);
        large.machine.hostname = long.clone();
        let worker = |nth: usize| BorrowedWorker { out: nth.is_multiple_of(2), peer: format!("{nth}{long}") };
        large.master.workers.away_from_home = (0..20_000).map(worker).collect();
        let neighbour = |_| NeighbourReport { server: long.clone(), available: true, silent: Some(Duration::ZERO) };
        large.master.neighbours = (0..2000).map(neighbour).collect();
        let text = line(&large);
        assert!(text.len() <= MAX_LINE_BYTES, "{} bytes", text.len());
        assert!(text.len() > MAX_LINE_BYTES / 2, "the room is used: {} bytes", text.len());
        let value: Value = serde_json::from_str(&text).unwrap();
        let workers = &value["performance"]["farm_state"]["workers"];
        assert_eq!((&workers["workers_borrowed"], &workers["workers_received"]), (&json!(10_000), &json!(10_000)));
        assert!(workers["borrowed_workers"].as_array().unwrap().len() > 10);
        assert!(value["performance"]["neighbors"].as_array().unwrap().len() > 10);
    }
}
