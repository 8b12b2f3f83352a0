//! What is measured of the machine for a report. Some of it may block, such as a disk of the network: nobody waits for this thread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sysinfo::{CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

use crate::wire::MachineReport;

/// The machine, with what does not change.
pub(super) struct Machine {
    system: System,
    hostname: String,
    logical_cores: u64,
    physical_cores: u64,
    directory: PathBuf,
}

impl Machine {
    /// `directory`: the disk that holds it is the one that is measured.
    pub(super) fn new(directory: PathBuf) -> Machine {
        let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
        let count = |cores: usize| u64::try_from(cores).unwrap_or(u64::MAX);
        let logical_cores = count(system.cpus().len()).max(1);
        Machine {
            hostname: System::host_name().unwrap_or_default(),
            logical_cores,
            physical_cores: System::physical_core_count().map_or(logical_cores, count),
            // Mount points are absolute and without links.
            directory: directory.canonicalize().unwrap_or(directory),
            system,
        }
    }

    pub(super) fn measure(&mut self) -> MachineReport {
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let load = System::load_average();
        let (disk_total, disk_free) = disk(&self.directory).unwrap_or_default();
        MachineReport {
            hostname: self.hostname.clone(),
            uptime: Duration::from_secs(System::uptime()),
            load_1m: thousandths(load.one),
            load_5m: thousandths(load.five),
            logical_cores: self.logical_cores,
            physical_cores: self.physical_cores,
            memory_total: self.system.total_memory(),
            memory_available: self.system.available_memory(),
            disk_total,
            disk_free,
        }
    }
}

/// Bytes of the disk that holds this directory, and those of them that are free.
fn disk(directory: &Path) -> Option<(u64, u64)> {
    // Found first and measured then: another one that does not answer, such as one of the network, is not asked.
    let mut disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing());
    let holds = disks.iter_mut().filter(|disk| directory.starts_with(disk.mount_point()));
    // What is mounted last at a place hides what was there before.
    let disk = holds.max_by_key(|disk| disk.mount_point().components().count())?;
    disk.refresh_specifics(DiskRefreshKind::nothing().with_storage());
    Some((disk.total_space(), disk.available_space()))
}

fn thousandths(load: f64) -> u64 {
    (load * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_measured() {
        let directory = tempfile::tempdir().unwrap();
        let mut machine = Machine::new(directory.path().to_owned());
        let measured = machine.measure();
        assert!(measured.uptime > Duration::ZERO && !measured.hostname.is_empty(), "{measured:?}");
        assert!(measured.logical_cores >= measured.physical_cores.min(1), "{measured:?}");
        assert!(measured.memory_total > measured.memory_available && measured.memory_available > 0, "{measured:?}");
        // Where the file system of a container is none that the list knows, nothing is said; else what is said is possible.
        assert!(measured.disk_total >= measured.disk_free, "{measured:?}");
        assert_eq!(thousandths(1.2345), 1235);
        assert_eq!(thousandths(f64::NAN), 0);
    }

    #[test]
    fn the_disk_is_that_of_the_directory() {
        let Some((total, free)) = disk(Path::new("/")) else { return };
        assert!(total > 0 && free <= total, "{free} of {total}");
        assert_eq!(disk(Path::new("relative")), None);
    }
}
