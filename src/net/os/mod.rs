//! What differs between operating systems, and nothing else does. Each file offers the same names:
//!
//! | name | what |
//! |---|---|
//! | `now` | a clock that counts suspension where there is one |
//! | `raise_descriptor_limit` | lets the process have as many sockets as it may; returns how many |
//! | `out_of_descriptors` | whether an error of accept means that descriptors or buffers have run out |
//! | `keepalive` | the keepalive that the system can be told |
//! | `SHORT_READ_DRAINS` | whether a read that does not fill the buffer has emptied the socket |
//! | `ACCEPTED_INHERIT` | whether accepted sockets have the options of their listener |
//! | `REUSE_ADDRESS` | whether that option means what it means on Unix |
//! | `share_port` | lets other programs of this machine listen to the same datagrams |
//! | `Signals` | requests to stop that come from outside |
//! | `Alarm` | wakes the poll at a time |

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(super) use unix::*;

#[cfg(not(unix))]
mod other;
#[cfg(not(unix))]
pub(super) use other::*;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod alarm_linux;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use alarm_linux::Alarm;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod alarm_other;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use alarm_other::Alarm;
