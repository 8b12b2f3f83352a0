//! What work prints: bytes become text in pieces, and the end of it is kept.

use std::collections::VecDeque;

/// Bytes become text as they come: a character that is cut between two reads is put together, what is no UTF-8 is
/// replaced.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The begin of a character, at most three bytes.
    begun: Vec<u8>,
}

impl Decoder {
    /// The text of all whole characters so far.
    pub(super) fn text(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let whole = self.begun.len() - unfinished(&self.begun);
        let text = String::from_utf8_lossy(&self.begun[..whole]).into_owned();
        self.begun.drain(..whole);
        text
    }

    /// What is left when nothing more comes.
    pub(super) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.begun)).into_owned()
    }
}

/// How many bytes at the end are the begin of a character that may still be finished.
fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let tail = &bytes[bytes.len() - back..];
        match std::str::from_utf8(tail) {
            Err(error) if error.error_len().is_none() && error.valid_up_to() == 0 => return back,
            _ => {}
        }
    }
    0
}

/// `text` in pieces of at most `most` bytes, at least four.
pub(super) fn pieces(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut end = rest.len().min(most);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The last bytes of a stream.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    most: usize,
}

impl Tail {
    /// Keeps the last `most` bytes.
    pub(super) fn new(most: usize) -> Tail {
        Tail { bytes: VecDeque::new(), most }
    }

    /// More came.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.most)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(self.most);
        self.bytes.drain(..over);
        self.bytes.extend(kept);
    }

    /// The last `most` bytes of it as text. A character that was cut at the front is left out.
    pub(super) fn text(&self, most: usize) -> String {
        let bytes: Vec<u8> = self.bytes.iter().skip(self.bytes.len().saturating_sub(most)).copied().collect();
        let is_cut = bytes.len() == most.min(self.most);
        let continued = if is_cut { bytes.iter().take(3).take_while(|byte| **byte & 0xC0 == 0x80).count() } else { 0 };
        String::from_utf8_lossy(&bytes[continued..]).into_owned()
    }
}

/// The begin of a text, for logs: at most `most` bytes, on one line.
pub(super) fn head(text: &str, most: usize) -> String {
    let shown: String = pieces(text, most).next().unwrap_or_default().escape_debug().collect();
    // Quotes are not ambiguous here, and JSON is full of them.
    let shown = shown.replace("\\\"", "\"").replace("\\'", "'");
    if text.len() > most { shown + "..." } else { shown }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_in_pieces_is_the_same_text(text in "\\PC{0,40}", cuts in prop::collection::vec(0usize..200, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let (mut decoder, mut got, mut from) = (Decoder::default(), String::new(), 0);
            for cut in cuts.into_iter().chain([bytes.len()]) {
                got += &decoder.text(&bytes[from..cut]);
                from = cut;
            }
            got += &decoder.rest();
            prop_assert_eq!(got, text);
        }

        #[test]
        fn no_bytes_break_it_and_nothing_is_held_back_for_long(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut decoder = Decoder::default();
            let mut got = String::new();
            for byte in &bytes {
                got += &decoder.text(&[*byte]);
                prop_assert!(decoder.begun.len() <= 3);
            }
            got += &decoder.rest();
            prop_assert_eq!(got, String::from_utf8_lossy(&bytes).into_owned());
        }

        #[test]
        fn pieces_are_all_of_it_and_short(text in "\\PC{0,60}", most in 4usize..20) {
            let all: Vec<&str> = pieces(&text, most).collect();
            prop_assert!(all.iter().all(|piece| !piece.is_empty() && piece.len() <= most));
            prop_assert_eq!(all.concat(), text);
        }

        #[test]
        fn a_tail_is_the_end_of_all(parts in prop::collection::vec(prop::collection::vec(b'a'..=b'z', 0..12), 0..8)) {
            let mut tail = Tail::new(10);
            parts.iter().for_each(|part| tail.push(part));
            let all = String::from_utf8(parts.concat()).unwrap();
            prop_assert_eq!(tail.text(10), &all[all.len().saturating_sub(10)..]);
            prop_assert_eq!(tail.text(4), &all[all.len().saturating_sub(4)..]);
        }
    }

    #[test]
    fn a_character_that_is_cut_off_at_the_front_is_left_out() {
        let mut tail = Tail::new(4);
        tail.push("aéé".as_bytes());
        assert_eq!(tail.text(4), "éé");
        assert_eq!(tail.text(3), "é");
    }

    #[test]
    fn a_head_is_one_short_line() {
        assert_eq!(head("{\"a\"}\n\u{1b}[2J", 100), "{\"a\"}\\n\\u{1b}[2J");
        assert_eq!(head("abcdef", 3), "abc...");
    }
}
