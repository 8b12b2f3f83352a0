//! Now, and an alarm, by the clock that counts suspension: a machine that wakes up rings at once.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Moment;
use crate::net;
use crate::time::Time;

/// Now, by both clocks.
pub(super) fn now() -> Moment {
    // A clock before 1970 is wrong by so much that nothing is due by it.
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Moment { at: net::now(), unix }
}

/// Rings by calling a function on a thread of its own.
pub(super) struct Alarm(os::Alarm);

impl Alarm {
    /// An alarm that is not set.
    pub(super) fn new(ring: impl FnMut() + Send + 'static) -> io::Result<Alarm> {
        os::Alarm::new(ring).map(Alarm)
    }

    /// Sets it anew: it rings once at that time, or soon if that is over. `None`: not at all.
    pub(super) fn set(&self, at: Option<Time>) {
        self.0.set(at);
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod os {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;
    use std::thread;

    use rustix::io::Errno;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    use crate::time::Time;

    pub(super) struct Alarm(Arc<OwnedFd>);

    impl Alarm {
        pub(super) fn new(mut ring: impl FnMut() + Send + 'static) -> io::Result<Alarm> {
            let timer = Arc::new(timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?);
            let rings = Arc::clone(&timer);
            let wait = move || {
                let mut count = [0; 8];
                // An interrupted read is none.
                while matches!(rustix::io::read(&rings, &mut count), Ok(_) | Err(Errno::INTR)) {
                    ring();
                }
            };
            thread::Builder::new().name("alarm".to_owned()).spawn(wait)?;
            Ok(Alarm(timer))
        }

        pub(super) fn set(&self, at: Option<Time>) {
            // Zero means never: what is over rings at the first nanosecond after the start of the machine.
            let (seconds, nanos) = at.map_or((0, 0), |at| {
                let us = at.as_micros().max(1);
                (us / 1_000_000, us % 1_000_000 * 1000)
            });
            let it_value = Timespec {
                tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(nanos).unwrap_or(0),
            };
            let spec = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            if let Err(error) = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &spec) {
                // Not seen to happen: the descriptor and the time are lawful.
                log::error!("timer: {error}");
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod os {
    use std::io;
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};

    use crate::net;
    use crate::time::Time;

    /// Longest wait at one go: these clocks may stand still while the machine sleeps.
    const LOOK_AGAIN: Duration = Duration::from_millis(200);

    pub(super) struct Alarm(Sender<Option<Time>>);

    impl Alarm {
        pub(super) fn new(mut ring: impl FnMut() + Send + 'static) -> io::Result<Alarm> {
            let (set, told) = unbounded::<Option<Time>>();
            let wait = move || {
                let mut at = None::<Time>;
                loop {
                    let left = at.map_or(Duration::from_secs(3600), |at| at.since(net::now()).min(LOOK_AGAIN));
                    match told.recv_timeout(left) {
                        Ok(next) => at = next,
                        Err(RecvTimeoutError::Timeout) if at.is_some_and(|at| at <= net::now()) => {
                            at = None;
                            ring();
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            };
            thread::Builder::new().name("alarm".to_owned()).spawn(wait)?;
            Ok(Alarm(set))
        }

        pub(super) fn set(&self, at: Option<Time>) {
            // The thread lives as long as this.
            let _ = self.0.send(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    #[test]
    fn it_rings_at_its_time_and_not_when_it_was_set_to_later() {
        let (rings, rang) = unbounded();
        let alarm = Alarm::new(move || rings.send(net::now()).unwrap()).unwrap();
        for pause in [0, 5, 30] {
            let at = net::now() + Duration::from_millis(pause);
            alarm.set(Some(at));
            assert!(rang.recv_timeout(Duration::from_secs(20)).unwrap() >= at);
        }
        alarm.set(Some(net::now() + Duration::from_millis(20)));
        alarm.set(None);
        assert!(rang.recv_timeout(Duration::from_millis(60)).is_err());
        alarm.set(Some(Time::from_micros(1)));
        assert!(rang.recv_timeout(Duration::from_secs(20)).is_ok(), "what is over rings at once");
    }
}
