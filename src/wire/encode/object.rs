//! One JSON object that is being written: no tree is built, every field is written where it belongs.

use std::time::Duration;

use crate::wire::scan::is_plain;
use crate::wire::{Address, Json, MAX_LINE_BYTES, Permille, RequestId};

/// One JSON object that is being written. Keys are our own words and need no escapes.
pub(in crate::wire) struct Object<'o> {
    pub(super) out: &'o mut Vec<u8>,
    /// Where its `{` will stand. Until its end the comma before the first key stands there, so that all keys are alike.
    pub(super) start: usize,
}

// What is inlined here is written as constants, a key with all that stands around it in some steps of the machine, instead of
// in calls.
impl<'o> Object<'o> {
    /// Begins after what is written so far.
    #[inline(always)]
    pub(in crate::wire) fn begin(out: &'o mut Vec<u8>) -> Object<'o> {
        let start = out.len();
        Object { out, start }
    }

    /// Writes `}` and the newline.
    #[inline(always)]
    pub(in crate::wire) fn end(self) {
        self.ended().extend_from_slice(b"}\n");
    }

    /// Writes `}` of an object within another.
    pub(super) fn close(self) {
        self.ended().push(b'}');
    }

    /// What its `}` belongs to.
    #[inline(always)]
    fn ended(self) -> &'o mut Vec<u8> {
        match self.out.get_mut(self.start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out
    }

    /// The key of the next value, and what stands before it.
    #[inline(always)]
    pub(super) fn key(&mut self, key: &str) {
        push_joined(self.out, [",\"", key, "\":"]);
    }

    /// A string.
    #[inline(always)]
    pub(in crate::wire) fn text(self, key: &str, text: &str) -> Object<'o> {
        if is_plain(text) { self.plain(key, text) } else { self.escaped(key, text) }
    }

    /// A text that is known to need no escapes.
    #[inline(always)]
    pub(in crate::wire) fn word(self, key: &str, word: &str) -> Object<'o> {
        debug_assert!(is_plain(word), "{word:?}");
        self.plain(key, word)
    }

    /// A word of our own that the code names here: it is written at one go with its key.
    #[inline(always)]
    pub(in crate::wire) fn constant(self, key: &str, word: &str) -> Object<'o> {
        debug_assert!(is_plain(word), "{word:?}");
        push_joined(self.out, [",\"", key, "\":\"", word, "\""]);
        self
    }

    #[inline(always)]
    fn plain(self, key: &str, text: &str) -> Object<'o> {
        push_joined(self.out, [",\"", key, "\":\""]);
        push_plain(self.out, text);
        self
    }

    #[cold]
    fn escaped(mut self, key: &str, text: &str) -> Object<'o> {
        self.key(key);
        push_text(self.out, text);
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
    #[inline(always)]
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
    #[inline(always)]
    pub(in crate::wire) fn flag(mut self, key: &str, flag: bool) -> Object<'o> {
        self.key(key);
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
        self
    }

    /// A duration, in whole milliseconds.
    #[inline(always)]
    pub(super) fn millis(self, key: &str, duration: Duration) -> Object<'o> {
        let seconds = duration.as_secs().saturating_mul(1000);
        self.number(key, seconds.saturating_add(u64::from(duration.subsec_millis())))
    }

    /// A duration, where it is there.
    #[inline(always)]
    pub(super) fn maybe_millis(self, key: &str, duration: Option<Duration>) -> Object<'o> {
        match duration {
            Some(duration) => self.millis(key, duration),
            None => self,
        }
    }

    /// `true`, and nothing where it is not so.
    #[inline(always)]
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
    out.push(b'"');
    push_plain(out, text);
}

/// A text that needs no escapes, and the quote behind it.
fn push_plain(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let end = out.len() + bytes.len();
    // Most are ids and names, and to call for a copy costs more than a few bytes too many, which are taken back.
    if let (4..=7, Some(first), Some(last)) = (bytes.len(), bytes.first_chunk(), bytes.last_chunk()) {
        let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
        out.extend_from_slice(&(first | last << (8 * (bytes.len() - 4))).to_le_bytes());
        out.truncate(end);
    } else if let (8..=16, Some(first), Some(last)) = (bytes.len(), bytes.first_chunk(), bytes.last_chunk()) {
        let [first, last] = [first, last].map(|half| u128::from(u64::from_le_bytes(*half)));
        out.extend_from_slice(&(first | last << (8 * (bytes.len() - 8))).to_le_bytes());
        out.truncate(end);
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'"');
}

/// Texts one after another.
#[inline(always)]
fn push_joined<const N: usize>(out: &mut Vec<u8>, texts: [&str; N]) {
    // Where the texts are constants, so is the whole of them, and is written without a call.
    let mut joined = [0; 64];
    let mut length = 0;
    for text in texts {
        let Some(room) = joined.get_mut(length..length + text.len()) else {
            return texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
        };
        room.copy_from_slice(text.as_bytes());
        length += text.len();
    }
    out.extend_from_slice(&joined[..length]);
}

#[inline]
fn push_number(out: &mut Vec<u8>, number: u64) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => out.push(b'0' + digit),
        _ => push_digits(out, number),
    }
}

fn push_digits(out: &mut Vec<u8>, mut number: u64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: impl for<'o> FnOnce(Object<'o>) -> Object<'o>) -> String {
        // Behind another line, as in the output of a connection.
        let mut out = b"before\n".to_vec();
        write(Object::begin(&mut out)).end();
        let line = String::from_utf8(out).unwrap();
        line.strip_prefix("before\n").unwrap().to_owned()
    }

    #[test]
    fn texts_of_every_length_are_written_as_the_library_writes_them() {
        for length in 0..70 {
            let plain: String = ('0'..='9').cycle().take(length).collect();
            let json = |text: &str| serde_json::to_string(text).unwrap();
            assert_eq!(line(|o| o.text("KEY", &plain)), format!("{{\"KEY\":{}}}\n", json(&plain)));
            assert_eq!(line(|o| o.word("A", &plain).word("B", "x")), format!("{{\"A\":\"{plain}\",\"B\":\"x\"}}\n"));
            assert_eq!(line(|o| o.constant("A", &plain)), format!("{{\"A\":\"{plain}\"}}\n"));
            for special in ["\"", "\\", "\n", "\u{1f}", "é", "\u{7f}"] {
                for at in 0..=length {
                    let text = format!("{}{special}{}", &plain[..at], &plain[at..]);
                    assert_eq!(line(|o| o.text("KEY", &text)), format!("{{\"KEY\":{}}}\n", json(&text)));
                }
            }
        }
    }

    #[test]
    fn keys_may_be_longer_than_any_of_ours() {
        let key = "K".repeat(200);
        assert_eq!(line(|o| o.number(&key, 1).text(&key, "x")), format!("{{\"{key}\":1,\"{key}\":\"x\"}}\n"));
    }

    #[test]
    fn objects_stand_in_each_other_and_may_be_empty() {
        assert_eq!(line(|o| o), "{}\n");
        assert_eq!(line(|o| o.page("A", &[1, 2], false, |item, _| item)), "{\"A\":[{},{}],\"MORE\":false}\n");
    }

    #[test]
    fn numbers_and_durations_are_whole() {
        let mut numbers = vec![0, u64::MAX];
        numbers.extend((0..20).flat_map(|power| [10_u64.pow(power) - 1, 10_u64.pow(power), 10_u64.pow(power) + 1]));
        for number in numbers {
            assert_eq!(line(|o| o.number("A", number)), format!("{{\"A\":{number}}}\n"));
            assert_eq!(line(|o| o.millis("A", Duration::from_millis(number))), format!("{{\"A\":{number}}}\n"));
        }
        assert_eq!(line(|o| o.millis("A", Duration::from_micros(1_999))), "{\"A\":1}\n");
        assert_eq!(line(|o| o.millis("A", Duration::MAX)), format!("{{\"A\":{}}}\n", u64::MAX));
    }
}
