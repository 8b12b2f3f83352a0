//! The fields of a plain line, in less than half of the time that the parser takes.
//!
//! Plain is an object whose keys have no escapes, and whose known values, but those that pass through, are strings
//! without escapes, numbers of few digits and no sign or exponent, `true`, `false` or `null`. Whatever else there is, what is not
//! JSON above all, is left to the parser, so that there is one judge and one wording of what is wrong. So this may refuse
//! what it likes, and must never accept what the parser refuses or reads in another way: that is what its tests are about.

use super::fields::{Field, Fields, Key};

/// Objects and arrays within each other, in a value that is kept as text or ignored. As many as a number has bits.
const MAX_DEPTH: u32 = 64;

/// Reads one line into fields that are new. `None`: the line is the parser's, and the fields are of no meaning.
pub(super) fn plain<'a>(text: &'a str, fields: &mut Fields<'a>) -> Option<()> {
    let mut scan = Scan { text, bytes: text.as_bytes(), at: 0 };
    scan.object(fields)?;
    scan.skip_blanks();
    (scan.at == text.len()).then_some(())
}

/// Whether a text is a JSON string as it stands, between two quotes.
pub(super) fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    // No place is asked for, so the last bytes may be looked at twice.
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let are_plain = |chunk: &[u8; 16]| chunk.iter().fold(true, |plain, byte| plain & !is_special(*byte));
        return are_plain(first) && are_plain(last) && bytes[16..].as_chunks().0.iter().all(are_plain);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return marks(u64::from_le_bytes(*first)) | marks(u64::from_le_bytes(*last)) == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
        return marks(first | last << 32) == 0;
    }
    !bytes.iter().any(|byte| is_special(*byte))
}

/// How many bytes the JSON value has that a text begins with; `None` if it begins with none, or that is the parser's to say.
pub(super) fn value_length(text: &str) -> Option<usize> {
    let mut scan = Scan { text, bytes: text.as_bytes(), at: 0 };
    scan.skip_value()?;
    Some(scan.at)
}

/// How many bytes come before a quote, a backslash, a control character or the end.
pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut eights = 0;
    while let Some((chunk, next)) = rest.split_first_chunk() {
        let length = special(u64::from_le_bytes(*chunk));
        if length < 8 {
            return bytes.len() - rest.len() + length as usize;
        }
        rest = next;
        eights += 1;
        // A long text: sixteen at a time cost half as much, and do not tell the place, which is then looked for by eights.
        while eights == 2
            && let Some((chunk, next)) = rest.split_first_chunk::<16>()
            && chunk.iter().fold(true, |plain, byte| plain & !is_special(*byte))
        {
            rest = next;
        }
    }
    if rest.is_empty() {
        return bytes.len();
    }
    // The last eight bytes once more, where there are so many: those before the rest have nothing special.
    if let Some(chunk) = bytes.last_chunk() {
        return bytes.len() - 8 + special(u64::from_le_bytes(*chunk)) as usize;
    }
    bytes.len() - rest.len() + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

/// Whether a byte cannot stand in a JSON string as it is, or ends it.
// Without a way out in between, so that many are looked at as one.
#[inline(always)]
fn is_special(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

struct Scan<'a> {
    text: &'a str,
    /// The same.
    bytes: &'a [u8],
    /// What is before is read.
    at: usize,
}

impl<'a> Scan<'a> {
    fn object(&mut self, fields: &mut Fields<'a>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.take(b'"')?;
            let key = self.key()?;
            self.take(b':')?;
            self.skip_blanks();
            match key {
                Some(key) if fields.stands(key) => {
                    fields.duplicate.get_or_insert(key);
                    self.skip_value()?;
                }
                Some(key) if key.is_raw() => fields.put(key, Field::Raw(self.raw()?)),
                Some(key) => fields.put(key, self.value()?),
                None => {
                    fields.has_unknown = true;
                    self.skip_value()?;
                }
            }
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes the next byte if it is this one.
    fn next_is(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    /// Takes this byte, and blanks before it. Without it, only the blanks.
    fn take(&mut self, byte: u8) -> Option<()> {
        if self.next_is(byte) {
            return Some(());
        }
        self.skip_blanks();
        self.next_is(byte).then_some(())
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(super::line::is_blank) {
            self.at += 1;
        }
    }

    /// Takes these bytes.
    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// The key whose opening quote is taken, and its closing one; the inner `None` is one that is not known.
    fn key(&mut self) -> Option<Option<Key>> {
        // Sixteen bytes hold every known key and its quote.
        let Some(chunk) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) else {
            let start = self.at;
            self.string_end()?;
            return Some(Key::parse(&self.text[start..self.at - 1]));
        };
        let chunk = u128::from_le_bytes(*chunk);
        let length = match (special(chunk as u64), special((chunk >> 64) as u64)) {
            (8, 8) => {
                self.at += 16;
                self.string_end()?;
                return Some(None);
            }
            (8, more) => 8 + more,
            (length, _) => length,
        };
        self.at += length as usize;
        self.next_is(b'"').then_some(())?;
        Some(Key::of_packed(chunk & ((1 << (8 * length)) - 1)))
    }

    /// Takes the rest of a string without escapes, and its quote.
    fn string_end(&mut self) -> Option<()> {
        self.skip_to_special();
        self.next_is(b'"').then_some(())
    }

    /// Stops before a quote, a backslash, a control character or the end.
    fn skip_to_special(&mut self) {
        self.at += plain_bytes(&self.bytes[self.at..]);
    }

    /// A known value.
    fn value(&mut self) -> Option<Field<'a>> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                let start = self.at;
                self.string_end()?;
                Some(Field::Text(&self.text[start..self.at - 1]))
            }
            b'0'..=b'9' => {
                let start = self.at;
                self.number()?;
                number(&self.bytes[start..self.at])
            }
            b't' => self.word(b"true").map(|()| Field::Flag(true)),
            b'f' => self.word(b"false").map(|()| Field::Flag(false)),
            b'n' => self.word(b"null").map(|()| Field::Absent),
            _ => None,
        }
    }

    /// The text of a value.
    fn raw(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.skip_value()?;
        Some(&self.text[start..self.at])
    }

    /// Takes a value of any kind.
    fn skip_value(&mut self) -> Option<()> {
        // What is open, the innermost lowest: 1 an object, 0 an array.
        let (mut open, mut depth) = (0_u64, 0);
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.skip_string()?;
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                b'n' => self.word(b"null")?,
                byte @ (b'{' | b'[') if depth < MAX_DEPTH => {
                    self.at += 1;
                    if byte == b'{' && self.take(b'}').is_none() {
                        (open, depth) = (open << 1 | 1, depth + 1);
                        self.skip_key()?;
                        continue;
                    }
                    if byte == b'[' && self.take(b']').is_none() {
                        (open, depth) = (open << 1, depth + 1);
                        continue;
                    }
                }
                _ => return None,
            }
            // A value has ended, and with it perhaps what it was in.
            loop {
                if depth == 0 {
                    return Some(());
                }
                let object = open & 1 == 1;
                if self.take(b',').is_some() {
                    if object {
                        self.skip_key()?;
                    } else {
                        self.skip_blanks();
                    }
                    break;
                }
                self.take(if object { b'}' } else { b']' })?;
                (open, depth) = (open >> 1, depth - 1);
            }
        }
    }

    /// Takes the key of a value that is ignored, its colon, and blanks up to its value.
    fn skip_key(&mut self) -> Option<()> {
        self.take(b'"')?;
        self.skip_string()?;
        self.take(b':')?;
        self.skip_blanks();
        Some(())
    }

    /// Takes the rest of a string that may have escapes, and its quote.
    fn skip_string(&mut self) -> Option<()> {
        loop {
            self.skip_to_special();
            if self.next_is(b'"') {
                return Some(());
            }
            self.next_is(b'\\').then_some(())?;
            match self.peek()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                b'u' => {
                    let digits = self.bytes.get(self.at + 1..self.at + 5)?;
                    digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                    self.at += 5;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        self.next_is(b'-');
        if !self.next_is(b'0') {
            self.digits()?;
        } else if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if self.next_is(b'.') {
            self.digits()?;
        }
        if self.next_is(b'e') || self.next_is(b'E') {
            let _sign = self.next_is(b'+') || self.next_is(b'-');
            self.digits()?;
        }
        Some(())
    }

    /// Takes one digit or more.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// A number that is well-formed and begins with a digit.
fn number<'a>(text: &[u8]) -> Option<Field<'a>> {
    let (mut number, mut point) = (0_u64, None);
    // Nineteen digits are below 2^64.
    for (at, byte) in text.iter().enumerate().take_while(|(at, _)| *at < 19) {
        match byte {
            b'0'..=b'9' => number = 10 * number + u64::from(byte - b'0'),
            b'.' => point = Some(at),
            _ => return None,
        }
    }
    match point {
        None => (text.len() < 20).then_some(Field::Whole(number)),
        // Both are exact as floating-point numbers, and what is divided so is what the parser divides, too.
        Some(point) if text.len() <= 16 => {
            let decimals = u32::try_from(text.len() - point - 1).ok()?;
            Some(Field::Number(number as f64 / 10_u64.pow(decimals) as f64))
        }
        Some(_) => None,
    }
}

/// How many of eight bytes, the lowest first, come before a quote, a backslash or a control character.
#[inline]
fn special(bytes: u64) -> u32 {
    marks(bytes).trailing_zeros() / 8
}

/// The high bit of the first of such bytes: none, if there is none.
#[inline(always)]
fn marks(bytes: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The high bit of each byte that is below `limit`, which is at most 128. Of a byte behind such a one it may be wrong,
    // since it has been borrowed from: the first is right.
    let below = |bytes: u64, limit: u64| bytes.wrapping_sub(ONES * limit) & !bytes;
    let is = |byte: u8| below(bytes ^ (ONES * u64::from(byte)), 1);
    (is(b'"') | is(b'\\') | below(bytes, 0x20)) & HIGH
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::*;

    fn parsed(text: &str) -> Option<Fields<'_>> {
        let mut fields = Fields::new();
        fields.parse(text).ok().map(|()| fields)
    }

    fn scanned(text: &str) -> Option<Fields<'_>> {
        let mut fields = Fields::new();
        plain(text, &mut fields).map(|()| fields)
    }

    /// The law: what is accepted here the parser accepts, and it reads the same.
    fn agrees(text: &str) -> Result<bool, String> {
        let Some(scanned) = scanned(text) else { return Ok(false) };
        match parsed(text) {
            Some(parsed) if parsed == scanned => Ok(true),
            parsed => Err(format!("{text:?}: {scanned:?}, and the parser {parsed:?}")),
        }
    }

    #[test]
    fn what_nodes_say_to_each_other_is_plain() {
        for line in [
            r#"{"TASK":"SUBMIT","ID":"7","SERVICE":"bench","WAIT_MS":60000,"PARAMS":"0123456789abcdef"}"#,
            r#"{"TASK":"SUBMIT","SERVICE":"a.b","PARAMS":{"n":[1,-2.5e+3,{"a\"b":"\u00e9\\"}, true ,null,{},[]],"é":0}}"#,
            r#"{"STATUS":"OK","TASK":"JOB","WORKER_UUID":"w","JOB_ID":"3fa9c1d2-7-42","ATTEMPT":1,"RESULT":"\n"}"#,
            r#"{"TASK":"JOB","JOB_ID":"3fa9c1d2-7-42","ATTEMPT":1,"SERVICE":"a","METHOD":"run","PARAMS":null,"TIMEOUT_MS":9}"#,
            r#"{"TASK":"HEARTBEAT","SERVER_ID":"x","SATURATED":false,"OUTPUT":true,"WORKERS":0,"a key that is longer":1}"#,
            r#"{"TASK":"SUBMIT","RESPONSE":"OK","JOB_ID":"3fa9c1d2-7-42","STATUS":"OK","DELAY_MS":9999999999999999999}"#,
            r#"{"TASK":"HEARTBEAT","CPU":31.5,"MEMORY":0.0,"PENDING":100.25,"RUNNING":12345678901.1234}"#,
            " { \"TASK\" : \"LOAD\" ,\t\"x\" : [ 1 , 2 ] , \"ID\":\"1\", \"ID\":2 } \r\n",
            "{}",
            " { } ",
        ] {
            assert_eq!(agrees(line), Ok(true), "{line}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_parser() {
        for line in [
            r#"{"TASK":"a\tb"}"#,
            r#"{"T\u0041SK":"a"}"#,
            r#"{"ID\u0000":"a"}"#,
            r#"{"ATTEMPT":-1}"#,
            r#"{"ATTEMPT":1e1}"#,
            r#"{"ATTEMPT":1.0e1}"#,
            r#"{"ATTEMPT":1.000000000000001}"#,
            r#"{"ATTEMPT":18446744073709551616}"#,
            r#"{"ATTEMPT":[]}"#,
            "[1]",
            "5",
        ] {
            assert!(scanned(line).is_none(), "{line}");
            assert!(parsed(line).is_some(), "{line}");
        }
        let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!((agrees(&nested(64)), agrees(&nested(65))), (Ok(true), Ok(false)));
    }

    #[test]
    fn every_beginning_and_every_one_byte_change_of_a_line_is_read_as_the_parser_reads_it() {
        let line = r#"{"TASK":"SUBMIT", "x":{"a":[1,"\u12aF"],"b":{}},"ID":"7","PARAMS":[-1.5e+3,"é\\",tru e],"RETRY":false,"ATTEMPT":10}"#;
        for line in [line.to_owned(), line.replace("tru e", "true"), line.replace("tru e", "{\"n\":null}")] {
            for at in (0..line.len()).filter(|at| line.is_char_boundary(*at)) {
                agrees(&line[..at]).unwrap();
                agrees(&format!("{}{}", &line[..at], line[at..].chars().skip(1).collect::<String>())).unwrap();
                for byte in 0..128_u8 {
                    let with = |rest: &str| format!("{}{}{rest}", &line[..at], char::from(byte));
                    agrees(&with(&line[at..])).unwrap();
                    agrees(&with(&line[at..].chars().skip(1).collect::<String>())).unwrap();
                }
            }
        }
    }

    #[test]
    fn the_first_special_byte_of_eight_is_found_wherever_it_is() {
        for byte in 0..=255_u8 {
            let ends = byte < b' ' || byte == b'"' || byte == b'\\';
            for at in 0..8 {
                for (before, after) in
                    [(b' ', b' '), (0xff, 0x00), (b'#', b'"'), (0x80, 0x1f), (b'[', b'\\'), (b'!', b'!')]
                {
                    let mut bytes = [after; 8];
                    bytes[..at].fill(before);
                    bytes[at] = byte;
                    let found = bytes.iter().position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\');
                    assert_eq!(special(u64::from_le_bytes(bytes)) as usize, found.unwrap_or(8), "{bytes:?}");
                    assert!(!ends || found == Some(at));
                }
            }
        }
    }

    #[test]
    fn the_first_special_byte_of_any_text_is_found_wherever_it_is() {
        for length in 0..100 {
            let plain = vec![b'x'; length];
            assert_eq!(plain_bytes(&plain), length);
            assert!(is_plain(str::from_utf8(&plain).unwrap()));
            for at in 0..length {
                for (byte, after) in [(b'"', b'"'), (b'\\', b'x'), (0x1f, b'x'), (0, 0), (b'"', 0xff)] {
                    let mut bytes = vec![0x80; length];
                    bytes[at..].fill(after);
                    bytes[at] = byte;
                    assert_eq!(plain_bytes(&bytes), at, "{bytes:?}");
                    let mut text = plain.clone();
                    text[at] = byte;
                    assert!(!is_plain(str::from_utf8(&text).unwrap()), "{text:?}");
                }
            }
        }
    }

    /// A value, nearly always JSON.
    fn value() -> impl Strategy<Value = String> {
        let texts = |texts: &'static str| proptest::sample::select(texts.split(',').collect::<Vec<_>>());
        let plain =
            texts(r#""a","","é","0123456789abcdef",0,7,60000,31.5,0.10,9999999999999999999,true,false,null,{},[]"#);
        let other = texts(r#""a\nb","\ud800","\u00e9","\\",-0,-5,1.5,1e9,1E-2,1e999,18446744073709551615"#);
        let wrong = texts("\"\\x\",\"\t\",\"a,01,-,1.,.5,1e,nul,True,'a',\u{e9},}");
        let leaf = prop_oneof![60 => plain, 10 => other, 1 => wrong].prop_map(str::to_owned);
        leaf.prop_recursive(4, 24, 4, |inner| {
            let list = (blank(), proptest::collection::vec(inner.clone(), 0..4));
            let array = list.prop_map(|(blank, items)| format!("[{blank}{}{blank}]", items.join(&format!("{blank},"))));
            let members = (blank(), proptest::collection::vec((key(), inner), 0..4));
            prop_oneof![array, members.prop_map(|(blank, members)| object(blank, &members))]
        })
    }

    fn blank() -> impl Strategy<Value = &'static str> + Clone {
        proptest::sample::select(vec!["", "", "", " ", "\t", "\r\n "])
    }

    fn key() -> impl Strategy<Value = String> {
        let plain = "TASK,ID,SERVICE,PARAMS,RESULT,ATTEMPT,RETRY,JOBS,USER,SELECTED_MASTER,task,x,,é,a key of sixteen,\
                     a key of more than sixteen,SELECTED_MASTERS,ID ,WAIT_MS,STATUS,METHOD,KEY,HOPS";
        let other = r"T\u0041SK,ID\u0000,\ud800,\n";
        let texts = |texts: &'static str| proptest::sample::select(texts.split(',').collect::<Vec<_>>());
        prop_oneof![60 => texts(plain), 1 => texts(other)].prop_map(str::to_owned)
    }

    fn object(blank: &str, members: &[(String, String)]) -> String {
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!("{blank}\"{key}\"{blank}:{blank}{value}{blank}")).collect();
        format!("{{{}{blank}}}", members.join(","))
    }

    #[test]
    fn the_lines_that_are_compared_are_plain_often_and_not_always() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let lines = proptest::collection::vec((key(), value()), 0..10);
        let plain = (0..200).filter(|_| {
            let members = lines.new_tree(&mut runner).unwrap().current();
            agrees(&object("", &members)).unwrap()
        });
        let plain = plain.count();
        assert!((40..160).contains(&plain), "{plain} of 200");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_accepted_is_read_as_the_parser_reads_it(
            blank in blank(),
            members in proptest::collection::vec((key(), value()), 0..10),
            change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8)),
        ) {
            let mut line = object(blank, &members).into_bytes();
            if let Some((at, byte, how)) = change {
                let at = at.index(line.len());
                match how {
                    0 => line[at] = byte,
                    1 => line.insert(at, byte),
                    _ => drop(line.remove(at)),
                }
            }
            if let Ok(line) = str::from_utf8(&line) {
                let plain = agrees(line);
                prop_assert!(plain.is_ok(), "{plain:?}");
            }
        }
    }
}
