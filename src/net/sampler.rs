//! The thread that measures the machine, so that nothing that answers a request ever waits for a measurement.

use std::io;
use std::thread;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use sysinfo::{CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, System};

use crate::core::LoadSample;
use crate::wire::Permille;

use super::limits::SAMPLE_INTERVAL;
use super::mailbox::{Note, Post};

/// Measures once a second until it is dropped.
pub(super) struct Sampler {
    /// Closing this channel ends the thread.
    _alive: Sender<()>,
}

impl Sampler {
    /// Starts the thread.
    pub(super) fn start(post: Post) -> io::Result<Sampler> {
        let (alive, ended) = bounded::<()>(0);
        thread::Builder::new().name("sampler".into()).stack_size(256 * 1024).spawn(move || {
            let mut system = System::new();
            // Usage is the difference of two looks; this is the first.
            measure(&mut system);
            // The first sample comes early: LOAD is asked right after the start, too.
            let mut wait = MINIMUM_CPU_UPDATE_INTERVAL;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                wait = SAMPLE_INTERVAL;
                post.offer(Note::Sample(measure(&mut system)));
            }
        })?;
        Ok(Sampler { _alive: alive })
    }
}

fn measure(system: &mut System) -> LoadSample {
    system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_cpu_usage());
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let cpu = Permille::new((f64::from(system.global_cpu_usage()) * 10.0).round() as u64);
    let memory = Permille::of(system.used_memory(), system.total_memory());
    LoadSample { cpu, memory }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mio::{Poll, Token};

    use super::*;
    use crate::net::mailbox::Mailbox;

    #[test]
    fn shares_are_thousandths_and_survive_any_numbers() {
        assert_eq!(Permille::of(1, 4).get(), 250);
        assert_eq!(Permille::of(0, 0).get(), 0);
        assert_eq!(Permille::of(u64::MAX, u64::MAX).get(), 1000);
        assert_eq!(Permille::of(u64::MAX, 1).get(), 1000);
    }

    #[test]
    fn the_machine_has_memory_in_use_and_the_thread_ends_when_told() {
        let mut poll = Poll::new().unwrap();
        let mailbox = Mailbox::new(poll.registry(), Token(0)).unwrap();
        let sampler = Sampler::start(mailbox.post.clone()).unwrap();
        let mut events = mio::Events::with_capacity(1);
        let give_up = Instant::now() + Duration::from_secs(20);
        let sample = loop {
            poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
            if let Some(Note::Sample(sample)) = mailbox.take() {
                break sample;
            }
            assert!(Instant::now() < give_up, "no sample came");
        };
        assert!(sample.memory.get() > 0 && sample.memory.get() <= 1000);
        drop(sampler);
    }
}
