//! `system`: the machine and this node.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sysinfo::MemoryRefreshKind;

use crate::service::{Context, Failure, Service};
use crate::wire::ServiceOffer;

use super::offer;

/// How old the measured memory may be. Measuring takes some 30 us, and these methods run on the node's event loop.
const FRESH: Duration = Duration::from_secs(1);

/// `system`: what this node is and how it fares. All its methods are cheap and may be done twice.
///
/// | method | answers |
/// |---|---|
/// | `info` | `OS`, `HOST`, `CORES`, `MEMORY` (bytes), `VERSION` of mutirão, `PID` |
/// | `health` | `STATUS` `ok`, `UPTIME_MS` |
/// | `metrics` | `UPTIME_MS`; `RUNS`, `RUNS_OK`, `RUNS_FAILED`, `RUNNING`; `MEMORY`, `MEMORY_USED` (bytes) |
/// | `echo` | its PARAMS |
pub struct System {
    info: Value,
    memory: Mutex<Memory>,
}

struct Memory {
    system: sysinfo::System,
    measured: Option<Instant>,
}

impl System {
    /// Looks at the machine once; what does not change is kept.
    pub fn new() -> System {
        let mut system = sysinfo::System::new();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let info = json!({
            "OS": sysinfo::System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned()),
            "HOST": sysinfo::System::host_name().unwrap_or_default(),
            "CORES": std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            "MEMORY": system.total_memory(),
            "VERSION": env!("CARGO_PKG_VERSION"),
            "PID": std::process::id(),
        });
        System { info, memory: Mutex::new(Memory { system, measured: None }) }
    }

    /// Total and used, in bytes.
    fn memory(&self) -> (u64, u64) {
        let mut memory = self.memory.lock().expect("no holder of this lock panics");
        if memory.measured.is_none_or(|measured| measured.elapsed() > FRESH) {
            memory.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            memory.measured = Some(Instant::now());
        }
        (memory.system.total_memory(), memory.system.used_memory())
    }
}

impl Default for System {
    fn default() -> System {
        System::new()
    }
}

impl Service for System {
    fn offer(&self) -> ServiceOffer {
        let methods = ["info", "health", "metrics", "echo"];
        offer("system", &methods, &methods)
    }

    fn call(&self, method: &str, params: &Value, context: &Context) -> Result<Value, Failure> {
        let counts = context.counts();
        let uptime = u64::try_from(counts.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        match method {
            "echo" => Ok(params.clone()),
            "health" => Ok(json!({ "STATUS": "ok", "UPTIME_MS": uptime })),
            "metrics" => {
                let (total, used) = self.memory();
                Ok(json!({
                    "UPTIME_MS": uptime,
                    "RUNS": counts.begun.load(Ordering::Relaxed),
                    "RUNS_OK": counts.ok.load(Ordering::Relaxed),
                    "RUNS_FAILED": counts.failed.load(Ordering::Relaxed),
                    "RUNNING": counts.running(),
                    "MEMORY": total,
                    "MEMORY_USED": used,
                }))
            }
            _ => Ok(self.info.clone()),
        }
    }

    fn is_cheap(&self, _: &str) -> bool {
        true
    }
}
