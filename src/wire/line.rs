//! Framing: bytes in, lines out, however they were cut.
//!
//! A line ends with `\n`. Blanks before a line (spaces, tabs, `\r`, `\n`) belong to no line: that is why `\r\n` and
//! empty lines need no rule of their own. Only the unfinished rest of what was read is copied, and a link on which
//! nothing is begun owns no memory.

use std::mem;
use std::ops::Deref;

use memchr::memchr;

use crate::time::Time;

use super::{LINE_DEADLINE, MAX_LINE_BYTES, SILENCE_ENDS_LINE};

/// Cuts one stream of bytes into lines.
pub(super) struct Lines {
    /// The bytes of a line that is not ended yet, from its first byte that is not blank.
    tail: Vec<u8>,
    /// What `tail` is so far.
    scan: Scan,
    /// When the first byte of `tail` came.
    begun: Time,
    /// When the last byte of `tail` came.
    last: Time,
}

/// What the framing found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framed<'a> {
    /// A line without its `\n`, not blank. A `\r` may be left at its end.
    Line(Line<'a>),
    /// A line that is longer than [`MAX_LINE_BYTES`], or will be.
    TooLong,
    /// A line that was begun [`LINE_DEADLINE`] ago and is not ended.
    TooSlow,
}

/// A line: a part of what was just read, or pieced together.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// It lies whole in the input.
    Read(&'a [u8]),
    /// It came in pieces.
    Pieced(Vec<u8>),
}

impl Deref for Line<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Line::Read(line) => line,
            Line::Pieced(line) => line,
        }
    }
}

impl PartialEq for Line<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Line<'_> {}

/// Whether a byte is blank: what JSON calls white space.
#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl Lines {
    /// No line is begun.
    pub(super) fn new() -> Lines {
        Lines { tail: Vec::new(), scan: Scan::START, begun: Time::ZERO, last: Time::ZERO }
    }

    /// Whether no line is begun.
    pub(super) fn is_idle(&self) -> bool {
        self.tail.is_empty()
    }

    /// The bytes of the line that is begun.
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Bytes of memory that are held for it.
    pub(super) fn heap_bytes(&self) -> usize {
        self.tail.capacity()
    }

    /// When the line was begun; of no meaning while none is.
    pub(super) fn begun(&self) -> Time {
        self.begun
    }

    /// Drops the blanks at the front of `input`. Only between lines.
    pub(super) fn skip_blanks(input: &mut &[u8]) {
        while let [first, rest @ ..] = *input
            && is_blank(*first)
        {
            *input = rest;
        }
    }

    /// Takes bytes from the front of `input` up to the end of a line, or all of them if no line ends in it.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8], now: Time) -> Option<Framed<'a>> {
        if self.tail.is_empty() {
            Lines::skip_blanks(input);
        }
        if input.is_empty() {
            return None;
        }
        // The pause had ended the line before these bytes came, though the timer has not fired yet.
        if self.ended_by_silence(now) {
            return Some(Framed::Line(self.take_tail()));
        }
        let (piece, rest, ended) = match memchr(b'\n', input) {
            Some(end) => (&input[..end], &input[end + 1..], true),
            None => (*input, &input[input.len()..], false),
        };
        *input = rest;
        if self.grows_too_long(piece) {
            self.tail = Vec::new();
            return Some(Framed::TooLong);
        }
        if ended && self.tail.is_empty() {
            return Some(Framed::Line(Line::Read(piece)));
        }
        if ended {
            self.tail.extend_from_slice(piece);
            return Some(Framed::Line(self.take_tail()));
        }
        self.keep(piece, now);
        None
    }

    /// Adds bytes without a `\n` to the line that is begun, or begins one with them.
    pub(super) fn keep(&mut self, piece: &[u8], now: Time) {
        if self.tail.is_empty() {
            self.begun = now;
            self.scan = Scan::START;
        }
        self.last = now;
        self.scan.feed(piece);
        self.tail.extend_from_slice(piece);
    }

    /// The stream has ended: what is begun is a line.
    pub(super) fn finish(&mut self) -> Option<Line<'static>> {
        (!self.tail.is_empty()).then(|| self.take_tail())
    }

    /// When [`Lines::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        if self.tail.is_empty() {
            return None;
        }
        let slow = self.begun + LINE_DEADLINE;
        Some(if self.scan.is_complete() { slow.min(self.last + SILENCE_ENDS_LINE) } else { slow })
    }

    /// What silence has made of the line that is begun.
    pub(super) fn expire(&mut self, now: Time) -> Option<Framed<'static>> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        if self.scan.is_complete() {
            return Some(Framed::Line(self.take_tail()));
        }
        self.tail = Vec::new();
        Some(Framed::TooSlow)
    }

    fn ended_by_silence(&self, now: Time) -> bool {
        !self.tail.is_empty() && self.scan.is_complete() && now >= self.last + SILENCE_ENDS_LINE
    }

    /// The limit counts neither `\n` nor a `\r` before it, so the byte after the last allowed one may be a `\r`.
    fn grows_too_long(&self, piece: &[u8]) -> bool {
        let length = self.tail.len() + piece.len();
        let ends_in_return = piece.last().or(self.tail.last()) == Some(&b'\r');
        length > MAX_LINE_BYTES + usize::from(ends_in_return)
    }

    fn take_tail(&mut self) -> Line<'static> {
        Line::Pieced(mem::take(&mut self.tail))
    }
}

/// Tells, byte by byte, whether what came so far is one whole JSON object, with blanks after it at most.
///
/// It counts braces outside of strings and nothing else: whether the object is well-formed is the parser's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scan {
    /// Open braces. At most as many as a line has bytes.
    depth: u32,
    state: ScanState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanState {
    /// Nothing came yet.
    Start,
    /// Inside the object, outside of strings.
    Object,
    /// Inside a string.
    Text,
    /// Inside a string, after a backslash.
    Escape,
    /// The object is complete.
    Complete,
    /// This is not, or no longer, one object.
    Other,
}

impl Scan {
    const START: Scan = Scan { depth: 0, state: ScanState::Start };

    fn is_complete(self) -> bool {
        self.state == ScanState::Complete
    }

    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (ScanState::Other, _) => return,
                (ScanState::Start | ScanState::Object, b'{') => {
                    self.depth += 1;
                    ScanState::Object
                }
                (ScanState::Start, _) => ScanState::Other,
                (ScanState::Object, b'}') => {
                    self.depth -= 1;
                    if self.depth == 0 { ScanState::Complete } else { ScanState::Object }
                }
                (ScanState::Object, b'"') => ScanState::Text,
                (ScanState::Object, _) => ScanState::Object,
                (ScanState::Text, b'\\') => ScanState::Escape,
                (ScanState::Text, b'"') => ScanState::Object,
                (ScanState::Text | ScanState::Escape, _) => ScanState::Text,
                (ScanState::Complete, byte) if is_blank(byte) => ScanState::Complete,
                (ScanState::Complete, _) => ScanState::Other,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn line(text: &[u8]) -> Option<Framed<'_>> {
        Some(Framed::Line(Line::Read(text)))
    }

    #[test]
    fn lines_end_with_newline_and_blanks_before_them_do_not_count() {
        let mut lines = Lines::new();
        let mut input: &[u8] = b"\r\n \n\t{\"a\":1}\r\n\n{}\nrest";
        assert_eq!(lines.next(&mut input, Time::ZERO), line(b"{\"a\":1}\r"));
        assert_eq!(lines.next(&mut input, Time::ZERO), line(b"{}"));
        assert_eq!(lines.next(&mut input, Time::ZERO), None);
        assert_eq!(lines.tail(), b"rest");
        let mut input: &[u8] = b"\n";
        assert_eq!(lines.next(&mut input, Time::ZERO), line(b"rest"));
        assert_eq!(lines.tail.capacity(), 0, "an idle link owns no memory");
    }

    #[test]
    fn blanks_alone_begin_no_line_and_no_deadline() {
        let mut lines = Lines::new();
        let mut input: &[u8] = b"  \r\n\t ";
        assert_eq!(lines.next(&mut input, Time::ZERO), None);
        assert!(lines.is_idle() && input.is_empty());
        assert_eq!(lines.deadline(), None);
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn the_limit_counts_neither_newline_nor_return() {
        let longest = vec![b'x'; MAX_LINE_BYTES];
        for (end, fits) in [("\n", true), ("\r\n", true), ("x\n", false), ("\r\r\n", false)] {
            let whole = [&longest, end.as_bytes()].concat();
            let mut pieces = Lines::new();
            let mut found = None;
            for byte in &whole {
                found = found.or(pieces.next(&mut std::slice::from_ref(byte), Time::ZERO));
            }
            let direct = Lines::new().next(&mut &whole[..], Time::ZERO);
            assert_eq!(direct, found, "{end:?}");
            assert_eq!(matches!(found, Some(Framed::Line(_))), fits, "{end:?}");
        }
    }

    #[test]
    fn an_endless_line_is_noticed_without_its_end_and_forgotten() {
        let mut lines = Lines::new();
        let flood = vec![b'{'; 1000];
        let mut fed = 0;
        while lines.next(&mut &flood[..], Time::ZERO).is_none() {
            fed += flood.len();
            assert!(fed <= MAX_LINE_BYTES);
        }
        assert_eq!(lines.tail.capacity(), 0);
    }

    #[test]
    fn a_complete_object_is_a_line_after_silence_and_not_before() {
        for text in ["{}", r#"{"a":{"b":"}"}}"#, r#"{"a":"\"}{"}"#, "{} \t", r#"{"a":"\\"}"#] {
            let mut lines = Lines::new();
            for byte in text.bytes() {
                assert_eq!(lines.next(&mut &[byte][..], Time::ZERO), None);
            }
            assert_eq!(lines.deadline(), Some(Time::ZERO + SILENCE_ENDS_LINE), "{text}");
            assert_eq!(lines.expire(Time::ZERO + SILENCE_ENDS_LINE - MS), None);
            assert_eq!(lines.expire(Time::ZERO + SILENCE_ENDS_LINE), line(text.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_complete_object_waits_for_the_line_deadline() {
        for text in ["{", r#"{"a":"}"#, "[1]", "hello", "{} x", "{}{}", r#"{"a":"\"}"#, "}{", "5{}"] {
            let mut lines = Lines::new();
            assert_eq!(lines.next(&mut text.as_bytes(), Time::ZERO), None);
            assert_eq!(lines.deadline(), Some(Time::ZERO + LINE_DEADLINE), "{text}");
            assert_eq!(lines.expire(Time::ZERO + LINE_DEADLINE - MS), None);
            assert_eq!(lines.expire(Time::ZERO + LINE_DEADLINE), Some(Framed::TooSlow));
            assert_eq!((lines.deadline(), lines.tail.capacity()), (None, 0));
        }
    }

    #[test]
    fn a_drip_does_not_move_the_line_deadline() {
        let mut lines = Lines::new();
        let mut now = Time::ZERO;
        for _ in 0..50 {
            assert_eq!(lines.next(&mut &b"x"[..], now), None);
            now = now + Duration::from_secs(1);
        }
        assert_eq!(lines.deadline(), Some(Time::ZERO + LINE_DEADLINE));
    }

    #[test]
    fn silence_before_more_bytes_ends_the_line_though_no_timer_fired() {
        let mut lines = Lines::new();
        assert_eq!(lines.next(&mut &b"{}"[..], Time::ZERO), None);
        let mut input: &[u8] = b"{\"b\":1}\n";
        let later = Time::ZERO + SILENCE_ENDS_LINE;
        assert_eq!(lines.next(&mut input, later), line(b"{}"));
        assert_eq!(lines.next(&mut input, later), line(b"{\"b\":1}"));
    }

    #[test]
    fn at_the_end_of_the_stream_any_rest_is_a_line() {
        let mut lines = Lines::new();
        assert_eq!(lines.next(&mut &b"\n{\"a\""[..], Time::ZERO), None);
        assert_eq!(lines.finish().as_deref(), Some(&b"{\"a\""[..]));
        assert_eq!(lines.finish(), None);
    }
}
