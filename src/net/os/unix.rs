//! Linux, macOS and the BSDs.

use std::io;

use mio::{Registry, Token};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use socket2::{Socket, TcpKeepalive};

use crate::time::Time;

use super::super::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};
use super::super::mailbox::Stopper;

/// Edge-triggered epoll and kqueue tell of bytes that come after a short read.
pub(in super::super) const SHORT_READ_DRAINS: bool = true;

/// Linux copies TCP_NODELAY and keepalive from the listener; others promise nothing.
pub(in super::super) const ACCEPTED_INHERIT: bool = cfg!(target_os = "linux");

/// On Unix it lets a node restart on the port whose old connections are in TIME_WAIT, and never steals a port.
pub(in super::super) const REUSE_ADDRESS: bool = true;

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Time since the machine started, with the time that it slept where the system tells that.
pub(in super::super) fn now() -> Time {
    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Time::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
}

/// Lets a port of datagrams be shared. The BSDs want the second option for groups, Linux for sharing with programs
/// that set only that one.
pub(in super::super) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    #[cfg(not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))]
    socket.set_reuse_port(true)?;
    Ok(())
}

/// Raises the soft limit of open files to the hard one. Returns the limit that holds afterwards.
pub(in super::super) fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // macOS reports a hard limit that it does not grant; 10,240 is what it grants without configuration.
        for wanted in [limit.maximum, Some(10_240)] {
            let better = wanted.is_none() || limit.current.is_some_and(|current| wanted > Some(current));
            if better && setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: limit.maximum }).is_ok() {
                break;
            }
        }
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Whether accepting failed for want of descriptors or memory, which time may bring back.
pub(in super::super) fn out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].iter().any(|want| code == Some(want.raw_os_error()))
}

/// Keepalive as far as the system can be told its times.
pub(in super::super) fn keepalive() -> TcpKeepalive {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    keepalive
}

/// The signals that ask a node to stop.
pub(in super::super) struct Signals(signal_hook_mio::v1_0::Signals);

impl Signals {
    /// Catches SIGINT and SIGTERM from now on, and SIGHUP where it is not known to be ignored: `nohup` shall work.
    pub(in super::super) fn watch(registry: &Registry, token: Token, _stopper: Stopper) -> io::Result<Signals> {
        let mut wanted = vec![SIGINT, SIGTERM];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        let mut signals = signal_hook_mio::v1_0::Signals::new(wanted)?;
        registry.register(&mut signals, token, mio::Interest::READABLE)?;
        Ok(Signals(signals))
    }

    /// Whether a request came since the last call, and if so whether a second one of its kind means hurry. SIGHUP
    /// does not: service managers send it along with SIGTERM.
    pub(in super::super) fn pending(&mut self) -> Option<bool> {
        let mut request = None;
        for signal in self.0.pending() {
            request = Some(signal != SIGHUP || request == Some(true));
        }
        request
    }
}

/// Whether a signal was ignored when this process started. Only Linux tells without unsafe code; elsewhere the system's own action
/// stays for SIGHUP, as if it were ignored here.
pub(in super::super) fn is_ignored(signal: i32) -> bool {
    if !cfg!(target_os = "linux") {
        return signal == SIGHUP;
    }
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_descriptors_is_the_hard_one_afterwards() {
        let got = raise_descriptor_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(Some(got as u64), limit.current);
        if cfg!(target_os = "linux") {
            assert_eq!(limit.current, limit.maximum);
        }
    }

    #[test]
    fn running_out_of_descriptors_is_told_from_other_errors() {
        assert!(out_of_descriptors(&io::Error::from(Errno::MFILE)));
        assert!(out_of_descriptors(&io::Error::from(Errno::NFILE)));
        assert!(!out_of_descriptors(&io::Error::from(Errno::CONNABORTED)));
        assert!(!out_of_descriptors(&io::Error::other("no number")));
    }
}
