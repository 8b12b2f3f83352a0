//! Any line: decoding never panics, and what was decoded is the same after it was encoded and decoded again. So is
//! every error answer.

use mutirao::wire::{MAX_LINE_BYTES, Undecoded, decode, encode};

/// Runs one case. Panics where a law is broken.
pub(crate) fn run(line: &[u8]) {
    let message = match decode(line) {
        Ok(message) => message,
        Err(Undecoded::Refused(answer)) => *answer,
        Err(Undecoded::Ignored) => return,
    };
    let mut encoded = Vec::new();
    encode(&message, &mut encoded);
    let (newline, rendered) = encoded.split_last().expect("a line has a newline");
    assert_eq!((*newline, rendered.contains(&b'\n')), (b'\n', false), "one line");
    // Encoding may lengthen a line, and a page or a sentence beyond the limit is cut.
    if rendered.len() <= MAX_LINE_BYTES {
        assert_eq!(decode(rendered).as_ref(), Ok(&message), "{}", String::from_utf8_lossy(rendered));
    }
}
