//! A line that is sent or awaited again and again: its bytes are laid out many times over, so that a hundred
//! requests are one write and a hundred replies are one comparison.

use std::io::{self, ErrorKind, Write};

/// The same line many times over.
#[derive(Clone, Debug)]
pub(crate) struct Repeated {
    bytes: Vec<u8>,
    /// Length of the line.
    pub(crate) unit: usize,
}

impl Repeated {
    /// Room for any stretch of `span` bytes, wherever in the line it begins.
    pub(crate) fn new(line: &[u8], span: usize) -> Repeated {
        Repeated { bytes: line.repeat(span / line.len() + 2), unit: line.len() }
    }

    /// At most `length` bytes from `phase` bytes into the line.
    pub(crate) fn stretch(&self, phase: usize, length: usize) -> &[u8] {
        let end = self.bytes.len().min(phase + length);
        &self.bytes[phase..end]
    }

    /// Compares `chunk` with what comes `phase` bytes into the line. Returns the whole lines that it ends and the new
    /// phase.
    pub(crate) fn compare(&self, phase: usize, chunk: &[u8]) -> Option<(usize, usize)> {
        if self.stretch(phase, chunk.len()) != chunk {
            return None;
        }
        let end = phase + chunk.len();
        Some((end / self.unit, end % self.unit))
    }
}

/// What is still to be written of a repeated line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    bytes: usize,
    phase: usize,
}

impl Due {
    /// `lines` more.
    pub(crate) fn add(&mut self, lines: usize, repeated: &Repeated) {
        self.bytes += lines * repeated.unit;
    }

    /// Writes until nothing is due (true) or the socket is full (false).
    pub(crate) fn flush(&mut self, repeated: &Repeated, stream: &mut impl Write) -> io::Result<bool> {
        while self.bytes > 0 {
            match stream.write(repeated.stretch(self.phase, self.bytes)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.bytes -= n;
                    self.phase = (self.phase + n) % repeated.unit;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
