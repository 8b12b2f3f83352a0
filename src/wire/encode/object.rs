//! One JSON object that is being written: no tree is built, every field is written where it belongs.

use std::time::Duration;

use crate::wire::scan::is_plain;
use crate::wire::{Address, Json, MAX_LINE_BYTES, Permille, RequestId};

/// One JSON object that is being written. Keys are our own words and need no escapes.
pub(in crate::wire) struct Object<'o> {
    pub(super) out: &'o mut Vec<u8>,
    /// Where its `{` stands.
    pub(super) start: usize,
}

impl<'o> Object<'o> {
    /// Writes `{`.
    pub(in crate::wire) fn begin(out: &'o mut Vec<u8>) -> Object<'o> {
        let start = out.len();
        out.push(b'{');
        Object { out, start }
    }

    /// Writes `}` and the newline.
    pub(in crate::wire) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    /// The key of the next value, and what stands before it.
    // Inlined, a key is a constant, and written in two steps of the machine instead of in a call.
    #[inline(always)]
    pub(super) fn key(&mut self, key: &str) {
        self.out.extend_from_slice(if self.length() > 1 { b",\"" } else { b"\"" });
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A string.
    #[inline(always)]
    pub(in crate::wire) fn text(mut self, key: &str, text: &str) -> Object<'o> {
        self.key(key);
        push_text(self.out, text);
        self
    }

    /// A word of our own, or another text that is known to need no escapes.
    #[inline(always)]
    pub(in crate::wire) fn word(mut self, key: &str, word: &str) -> Object<'o> {
        debug_assert!(is_plain(word), "{word:?}");
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
        self
    }

    /// A list of strings.
    pub(super) fn texts<'t>(self, key: &str, texts: impl IntoIterator<Item = &'t str>) -> Object<'o> {
        self.list(key, usize::MAX, texts, |text, out| push_text(out, text)).0
    }

    /// A list, cut after the last item with which the line is not longer than `room`. Its first item always goes: a
    /// page without any would make the asker ask for ever. Tells whether something was cut.
    pub(super) fn list<T>(
        mut self,
        key: &str,
        room: usize,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(T, &mut Vec<u8>),
    ) -> (Object<'o>, bool) {
        self.key(key);
        self.out.push(b'[');
        for (nth, item) in items.into_iter().enumerate() {
            let before = self.out.len();
            if nth > 0 {
                self.out.push(b',');
            }
            write(item, self.out);
            if nth > 0 && self.out.len() - self.start > room {
                self.out.truncate(before);
                self.out.push(b']');
                return (self, true);
            }
        }
        self.out.push(b']');
        (self, false)
    }

    /// A page of objects, and `MORE`: cut so that the line is not longer than [`MAX_LINE_BYTES`].
    pub(super) fn page<T>(
        self,
        key: &str,
        items: &[T],
        more: bool,
        write: impl for<'e> Fn(Object<'e>, &T) -> Object<'e>,
    ) -> Object<'o> {
        const END: usize = r#"],"MORE":false}"#.len();
        let (line, cut) =
            self.list(key, MAX_LINE_BYTES - END, items, |item, out| write(Object::begin(out), item).close());
        line.flag("MORE", more || cut)
    }

    /// Bytes of the line so far.
    pub(in crate::wire) fn length(&self) -> usize {
        self.out.len() - self.start
    }

    /// Writes `}` of an object within another.
    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    /// The text of a value that passes through.
    #[inline(always)]
    pub(in crate::wire) fn json(mut self, key: &str, json: &Json) -> Object<'o> {
        self.key(key);
        self.out.extend_from_slice(json.as_str().as_bytes());
        self
    }

    /// A sentence for people, the last long field of a line: cut so that the line is not longer than [`MAX_LINE_BYTES`].
    pub(super) fn sentence(self, key: &str, text: &str) -> Object<'o> {
        // Room for the key itself and for what follows: a flag at most.
        const REST: usize = 64;
        let room = (MAX_LINE_BYTES - REST).saturating_sub(self.length());
        self.text(key, fitting(text, room))
    }

    /// A text for people, cut so that it has at most `room` bytes as JSON.
    pub(super) fn cut_text(self, key: &str, text: &str, room: usize) -> Object<'o> {
        self.text(key, fitting(text, room))
    }

    /// An address, as a string.
    pub(super) fn address(self, key: &str, address: &Address) -> Object<'o> {
        self.text(key, &address.to_string())
    }

    /// A string, where it is there.
    #[inline(always)]
    pub(in crate::wire) fn maybe(self, key: &str, text: Option<&str>) -> Object<'o> {
        match text {
            Some(text) => self.text(key, text),
            None => self,
        }
    }

    /// The asker's mark, where there is one.
    pub(in crate::wire) fn id(self, id: Option<&RequestId>) -> Object<'o> {
        self.maybe("ID", id.map(RequestId::as_str))
    }

    /// A whole number.
    #[inline(always)]
    pub(in crate::wire) fn number(mut self, key: &str, number: u64) -> Object<'o> {
        self.key(key);
        push_number(self.out, number);
        self
    }

    /// `true` or `false`.
    pub(in crate::wire) fn flag(mut self, key: &str, flag: bool) -> Object<'o> {
        self.key(key);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
        self
    }

    /// A duration, in whole milliseconds.
    pub(super) fn millis(self, key: &str, duration: Duration) -> Object<'o> {
        self.number(key, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// A duration, where it is there.
    pub(super) fn maybe_millis(self, key: &str, duration: Option<Duration>) -> Object<'o> {
        match duration {
            Some(duration) => self.millis(key, duration),
            None => self,
        }
    }

    /// `true`, and nothing where it is not so.
    pub(super) fn mark(self, key: &str, flag: bool) -> Object<'o> {
        if flag { self.flag(key, true) } else { self }
    }

    /// A percentage with one decimal.
    pub(super) fn share(self, key: &str, share: Permille) -> Object<'o> {
        self.decimal(key, share.get() / 10, share.get() % 10, 1)
    }

    /// A figure with one to three decimals.
    pub(super) fn thousandths(self, key: &str, number: u64) -> Object<'o> {
        let (whole, rest) = (number / 1000, number % 1000);
        match rest {
            rest if rest % 100 == 0 => self.decimal(key, whole, rest / 100, 1),
            rest if rest % 10 == 0 => self.decimal(key, whole, rest / 10, 2),
            rest => self.decimal(key, whole, rest, 3),
        }
    }

    /// A figure with `digits` decimals, 1 to 3, which `rest` holds as a number.
    pub(super) fn decimal(mut self, key: &str, whole: u64, rest: u64, digits: usize) -> Object<'o> {
        self.key(key);
        push_number(self.out, whole);
        self.out.push(b'.');
        let digit = |power: u64| b'0' + (rest / power % 10) as u8;
        self.out.extend_from_slice(&[digit(100), digit(10), digit(1)][3 - digits..]);
        self
    }
}

/// The longest beginning of `text` that has at most `room` bytes as a JSON string without its quotes.
fn fitting(text: &str, room: usize) -> &str {
    // The longest escape has six bytes.
    if text.len().saturating_mul(6) <= room {
        return text;
    }
    let mut length = 0;
    for (at, letter) in text.char_indices() {
        length += match letter {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            letter if letter < ' ' => 6,
            letter => letter.len_utf8(),
        };
        if length > room {
            return &text[..at];
        }
    }
    text
}

/// A string in quotes. Those without anything to escape, nearly all, are copied.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    if !is_plain(text) {
        serde_json::to_writer(out, text).expect("writing a string into memory cannot fail");
        return;
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    // The largest has 20 digits.
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}
