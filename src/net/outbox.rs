//! Output that waits to be written, and the buffers that it waits in.

use std::io::{self, ErrorKind, Write};

use super::limits::{KEPT_BUFFER, KEPT_BUFFERS};

/// Empty buffers, so that answering takes no memory from the allocator and idle connections hold none.
#[derive(Debug, Default)]
pub(super) struct Pool {
    buffers: Vec<Vec<u8>>,
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER && self.buffers.len() < KEPT_BUFFERS {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// The output of one connection. It holds a buffer only while there is something in it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// Bytes at the front of `bytes` that are written.
    written: usize,
}

/// How a flush went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flushed {
    /// Bytes written by it.
    pub(super) bytes: usize,
    /// Whether nothing is left.
    pub(super) all: bool,
}

impl Outbox {
    /// Where output is appended.
    pub(super) fn buffer(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take();
        }
        &mut self.bytes
    }

    /// Bytes that are not written yet.
    pub(super) fn pending(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Writes until nothing is left or `to` takes no more, which is no error.
    pub(super) fn flush(&mut self, to: &mut impl Write, pool: &mut Pool) -> io::Result<Flushed> {
        let before = self.written;
        while self.written < self.bytes.len() {
            match to.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let flushed = Flushed { bytes: self.written - before, all: false };
                    self.compact();
                    return Ok(flushed);
                }
                Err(error) => return Err(error),
            }
        }
        let bytes = self.written - before;
        self.written = 0;
        if self.bytes.capacity() > 0 {
            pool.give(std::mem::take(&mut self.bytes));
        }
        Ok(Flushed { bytes, all: true })
    }

    /// Drops what is written once it is most of the buffer, so that moving the rest costs less than was written.
    fn compact(&mut self) {
        if self.written >= KEPT_BUFFER && self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes and then no more.
    struct Narrow {
        room: usize,
        got: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.room).min(1000);
            self.room -= count;
            self.got.extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_not_taken_now_is_written_later_in_order() {
        let (mut pool, mut out) = (Pool::default(), Outbox::default());
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        out.buffer(&mut pool).extend_from_slice(&sent[..200_000]);
        let mut to = Narrow { room: 150_000, got: Vec::new() };
        assert_eq!(out.flush(&mut to, &mut pool).unwrap(), Flushed { bytes: 150_000, all: false });
        assert_eq!(out.pending(), 50_000);
        out.buffer(&mut pool).extend_from_slice(&sent[200_000..]);
        to.room = 7;
        assert_eq!(out.flush(&mut to, &mut pool).unwrap(), Flushed { bytes: 7, all: false });
        to.room = usize::MAX;
        assert_eq!(out.flush(&mut to, &mut pool).unwrap(), Flushed { bytes: 149_993, all: true });
        assert_eq!(out.pending(), 0);
        assert!(to.got == sent);
    }

    #[test]
    fn an_empty_outbox_holds_no_memory_and_small_buffers_are_used_again() {
        let (mut pool, mut out) = (Pool::default(), Outbox::default());
        let mut to = Narrow { room: usize::MAX, got: Vec::new() };
        out.buffer(&mut pool).extend_from_slice(&[1; 100]);
        let place = out.buffer(&mut pool).as_ptr();
        out.flush(&mut to, &mut pool).unwrap();
        assert_eq!(out.bytes.capacity(), 0);
        assert_eq!(Outbox::default().buffer(&mut pool).as_ptr(), place);
        out.buffer(&mut pool).resize(KEPT_BUFFER + 1, 0);
        out.flush(&mut to, &mut pool).unwrap();
        assert!(pool.buffers.is_empty(), "a large buffer is not kept");
    }

    #[test]
    fn a_broken_connection_is_an_error() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut pool, mut out) = (Pool::default(), Outbox::default());
        out.buffer(&mut pool).push(1);
        assert_eq!(out.flush(&mut Broken, &mut pool).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
