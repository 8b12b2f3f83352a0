//! Windows, and whatever is not Unix.

use std::io;
use std::sync::LazyLock;
use std::time::Instant;

use mio::{Registry, Token};
use socket2::{Socket, TcpKeepalive};

use crate::time::{Time, micros};

use super::super::limits::{CONNECTIONS, KEEPALIVE_IDLE};
use super::super::mailbox::Stopper;

/// mio rearms a socket here only when it has said `WouldBlock`.
pub(in super::super) const SHORT_READ_DRAINS: bool = false;

/// Nothing is promised.
pub(in super::super) const ACCEPTED_INHERIT: bool = false;

/// On Windows the option of this name lets another process steal the port.
pub(in super::super) const REUSE_ADDRESS: bool = false;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since the first call, and a microsecond.
pub(in super::super) fn now() -> Time {
    Time::from_micros(1 + micros(START.elapsed()))
}

/// Lets a port of datagrams be shared: here this option is the only one, and for groups it does just that.
pub(in super::super) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

/// There is no such limit to raise.
pub(in super::super) fn raise_descriptor_limit() -> usize {
    CONNECTIONS
}

/// Whether accepting failed for want of sockets (WSAEMFILE) or memory (WSAENOBUFS).
pub(in super::super) fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(10_024 | 10_055))
}

/// Keepalive as far as the system can be told its times.
pub(in super::super) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE_IDLE)
}

/// Ctrl-C and closing of the console.
pub(in super::super) struct Signals;

impl Signals {
    /// Catches them from now on. They come through `stopper` on a thread of their own.
    pub(in super::super) fn watch(_registry: &Registry, _token: Token, stopper: Stopper) -> io::Result<Signals> {
        ctrlc::set_handler(move || stopper.stop()).map_err(io::Error::other)?;
        Ok(Signals)
    }

    /// Nothing comes by the poll.
    pub(in super::super) fn pending(&mut self) -> Option<bool> {
        None
    }
}
