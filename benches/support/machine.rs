//! The machine: cores, CPU time, memory, open files. Linux only.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Failure;

/// The cores that this process may use, as it was started.
pub(crate) fn cores() -> Result<Vec<usize>, Failure> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

/// Pins this thread, and what it starts from now on, to `cores`.
pub(crate) fn pin_self(cores: &[usize]) -> Result<(), Failure> {
    Ok(sched_setaffinity(None, &set_of(cores))?)
}

/// Pins every thread of process `pid` to `cores`. Threads that it starts later inherit it.
pub(crate) fn pin_process(pid: u32, cores: &[usize]) -> Result<(), Failure> {
    let set = set_of(cores);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = task?.file_name();
        let id = name.to_str().and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
        sched_setaffinity(id, &set)?;
    }
    Ok(())
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    set
}

/// What the scheduler gave a process so far, all its threads together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// CPU time.
    pub(crate) cpu: Duration,
    /// Time in which it could have run and had no core: something else had it.
    pub(crate) waited: Duration,
}

impl Spent {
    /// What came since `earlier`.
    pub(crate) fn since(self, earlier: Spent) -> Spent {
        Spent { cpu: self.cpu.saturating_sub(earlier.cpu), waited: self.waited.saturating_sub(earlier.waited) }
    }
}

/// What process `pid` has spent, over the threads that it has now. From the scheduler's own count in nanoseconds; where
/// the kernel does not keep that, from utime and stime in ticks of 10 ms, without waiting.
pub(crate) fn spent_by(pid: u32) -> Result<Spent, Failure> {
    let mut spent = Spent::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { return spent_in_ticks(pid) };
        let mut fields = text.split_whitespace().map(|field| field.parse().unwrap_or(0));
        spent.cpu += Duration::from_nanos(fields.next().unwrap_or(0));
        spent.waited += Duration::from_nanos(fields.next().unwrap_or(0));
    }
    Ok(spent)
}

fn spent_in_ticks(pid: u32) -> Result<Spent, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program, in brackets, may hold spaces: fields are counted from the last bracket on.
    let fields = text.rsplit(')').next().unwrap_or("");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Spent { cpu: Duration::from_millis(ticks * 10), waited: Duration::ZERO })
}

/// Resident memory of process `pid`, in bytes. From smaps_rollup, which is exact; VmRSS of status may lag by
/// some hundred pages.
pub(crate) fn rss_of(pid: u32) -> Result<u64, Failure> {
    for (file, field) in [("smaps_rollup", "Rss:"), ("status", "VmRSS:")] {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        if let Some(kib) = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok())
        {
            return Ok(kib * 1024);
        }
    }
    Err(format!("no resident memory of process {pid} in /proc").into())
}

/// Raises the soft limit of open files to the hard one, for this process and what it starts. Returns the limit.
pub(crate) fn raise_open_files() -> Result<u64, Failure> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// CPU time that was spent on this machine so far, by whatever and whomever, all cores together.
pub(crate) fn busy() -> Result<Duration, Failure> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().ok_or("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted among users.
    let busy: u64 = ticks.iter().take(8).enumerate().filter(|(nth, _)| !matches!(nth, 3 | 4)).map(|(_, it)| it).sum();
    Ok(Duration::from_millis(busy * 10))
}
