//! The harness tested by itself: patterns, transcripts and examples are read and compared as they say.

mod support;

use support::screen::Screen;

mod patterns {
    use serde_json::json;

    use super::support::pattern::*;

    #[test]
    fn kinds_match_their_values_only() {
        let id = "2f1e9c04-5a6b-4c7d-8e9f-0a1b2c3d4e5f";
        assert!(matches(&json!("<uuid>"), &json!(id)).is_ok());
        assert!(matches(&json!("<uuid>"), &json!("2f1e")).is_err());
        assert!(matches(&json!("<uuid>"), &json!("2f1e9c04-5a6b-4c7d-8e9f-0a1b2c3d4e5g")).is_err());
        assert!(matches(&json!("<number>"), &json!(3.5)).is_ok());
        assert!(matches(&json!("<number>"), &json!("3.5")).is_err());
        assert!(matches(&json!("<number>"), &json!(null)).is_err());
        assert!(matches(&json!("<number?>"), &json!(null)).is_ok());
        assert!(matches(&json!("<address>"), &json!("[::1]:9101")).is_ok());
        assert!(matches(&json!("<address>"), &json!("9101")).is_err());
        assert!(matches(&json!("<bool>"), &json!(false)).is_ok());
        assert!(matches(&json!("<bool>"), &json!(0)).is_err());
        assert!(matches(&json!("<any>"), &json!([1])).is_ok());
        assert!(matches(&json!("exactly"), &json!("exactly")).is_ok());
        assert!(matches(&json!("exactly"), &json!("other")).is_err());
    }

    #[test]
    #[should_panic(expected = "unknown kind")]
    fn a_slip_in_a_kind_is_an_error_of_the_pattern() {
        let _ = matches(&json!("<uid>"), &json!("x"));
    }

    #[test]
    fn objects_have_exactly_their_keys_unless_open() {
        let pattern = json!({"A": 1, "B": "<string>"});
        assert!(matches(&pattern, &json!({"B": "x", "A": 1})).is_ok());
        assert!(matches(&pattern, &json!({"A": 1})).unwrap_err().contains("key B is missing"));
        assert!(matches(&pattern, &json!({"A": 1, "B": "x", "C": 0})).unwrap_err().contains("key C is not expected"));
        let open = json!({"A": 1, "...": "..."});
        assert!(matches(&open, &json!({"A": 1, "C": 0})).is_ok());
        assert!(matches(&open, &json!({"C": 0})).is_err());
    }

    #[test]
    fn lists_have_exactly_their_elements_unless_open() {
        assert!(matches(&json!([1, "<number>"]), &json!([1, 2])).is_ok());
        assert!(matches(&json!([1]), &json!([1, 2])).is_err());
        assert!(matches(&json!([1, 2]), &json!([1])).is_err());
        assert!(matches(&json!([1, "..."]), &json!([1, 2, 3])).is_ok());
        assert!(matches(&json!([1, "..."]), &json!([2])).unwrap_err().contains("[0]"));
    }
}

mod transcripts {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use serde_json::json;

    use super::support::transcript::*;

    const PAGE: &str = "\
text
```transcript one
# a comment
> {\"TASK\":\"X\"}
< {\"A\":\"<number>\"}
```
```json
> not a transcript
```
```transcript two peer stream
>- a
>| b\\r \\e
>
<~ HTTP/1.1 501...
= closed
```
";

    #[test]
    fn every_form_of_a_line_is_read() {
        let found = parse_all(PAGE);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].name, "one");
        assert_eq!(
            found[0].steps,
            [Step::Send(b"{\"TASK\":\"X\"}\n".to_vec()), Step::Expect(json!({"A": "<number>"}))]
        );
        assert!(found[1].has("peer") && found[1].has("stream") && !found[0].has("peer"));
        let expected = [
            Step::Send(b"a".to_vec()),
            Step::SendAndFinish(b"b\r".to_vec()),
            Step::Send(b"\n".to_vec()),
            Step::ExpectText("HTTP/1.1 501...".to_owned()),
            Step::ExpectClosed,
        ];
        assert_eq!(found[1].steps, expected);
        assert_eq!(found[1].sent_bytes(), 4);
    }

    #[test]
    #[should_panic(expected = "not a step")]
    fn a_line_of_no_form_is_a_mistake() {
        parse_all("```transcript x\n< {}\nhello\n```\n");
    }

    #[test]
    #[should_panic(expected = "expects nothing")]
    fn a_transcript_without_an_expectation_is_a_mistake() {
        parse_all("```transcript x\n> {}\n```\n");
    }

    #[test]
    fn written_ports_become_true_ones() {
        let ports = Ports { node: 9102, peer: 9103, dark: 9101 };
        assert_eq!(ports.put_into("127.0.0.1:9101 :9102 [::1]:9103 9101"), "127.0.0.1:9102 :9103 [::1]:9101 9101");
    }

    #[test]
    fn escapes_are_those_of_printf() {
        assert_eq!(escapes(r#"{"A":"\u00e7"}\r\n\x16\0\\"#), b"{\"A\":\"\\u00e7\"}\r\n\x16\0\\");
    }

    /// A peer that answers each line with `answers` in turn and then closes when the stream ends; returns its port
    /// and what it read.
    fn actor(answers: &'static [&'static str]) -> (u16, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut heard = Vec::new();
            for answer in answers {
                reader.read_until(b'\n', &mut heard).unwrap();
                (&stream).write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
            reader.read_to_end(&mut heard).unwrap();
            heard
        });
        (port, heard)
    }

    const TWO: &str = "```transcript two\n> first\n< {\"N\":1}\n> second\n< {\"N\":2}\n```\n";

    #[test]
    fn the_same_bytes_are_sent_however_they_are_cut() {
        let transcript = &parse_all(TWO)[0];
        let cuts = (0..transcript.sent_bytes()).map(Cut::At);
        for cut in cuts.chain([Cut::Whole, Cut::EachByte, Cut::Together]) {
            let (port, heard) = actor(&["{\"N\":1}", "{\"N\":2}"]);
            transcript.replay(port, cut).unwrap();
            assert_eq!(heard.join().unwrap(), b"first\nsecond\n");
        }
    }

    #[test]
    fn a_wrong_answer_and_one_too_many_are_seen() {
        let transcript = &parse_all(TWO)[0];
        let (port, _) = actor(&["{\"N\":1}", "{\"N\":3}"]);
        assert!(transcript.replay(port, Cut::Whole).unwrap_err().contains("expected 2, got 3"));
        let (port, _) = actor(&["{\"N\":1}", "{\"N\":2}\n{\"N\":3}"]);
        assert!(transcript.replay(port, Cut::Whole).unwrap_err().contains("expected the end"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let closing = thread::spawn(move || drop(listener.accept().unwrap()));
        assert!(transcript.replay(port, Cut::Whole).is_err());
        closing.join().unwrap();
    }
}

mod examples {
    use super::support::shell::*;

    #[test]
    fn commands_and_what_they_print_are_read() {
        let text = "# intro\n$ node --port 9101 &\n[<hex8>] registry: {}\n\n# next\n$ false\n[exit 3]\n$ true\n";
        let examples = parse(text);
        assert_eq!(examples.len(), 3);
        assert_eq!(examples[0].command, "node --port 9101");
        assert!(examples[0].background);
        assert_eq!(examples[0].expected, ["[<hex8>] registry: {}"]);
        assert_eq!((examples[1].exit, examples[2].exit), (3, 0));
    }

    #[test]
    #[should_panic(expected = "belongs to no command")]
    fn a_stray_line_is_a_mistake() {
        parse("$ true\n\nstray\n");
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(words(r#"send h:1 '{"A": 1}' """#), ["send", "h:1", r#"{"A": 1}"#, ""]);
        let (bytes, port) = netcat(r#"printf '{"TASK":"LOAD"}\n' | nc 127.0.0.1 9101"#).unwrap();
        assert_eq!((bytes.as_slice(), port), (b"{\"TASK\":\"LOAD\"}\n".as_slice(), 9101));
        assert_eq!(netcat("node --help"), None);
    }

    #[test]
    fn lines_match_by_tokens_and_dots() {
        let id = "2f1e9c04-5a6b-4c7d-8e9f-0a1b2c3d4e5f";
        assert!(matches(r#"{"ID":"<uuid>"}"#, &format!(r#"{{"ID":"{id}"}}"#)));
        assert!(!matches("<uuid>", &id[1..]));
        assert!(matches("[<hex8>] a...z", "[ab12cd34] a and z"));
        assert!(!matches("[<hex8>] a...z", "[ab12cd34] a and"));
        assert!(matches("<number> ms", "-3.5 ms"));
        assert!(!matches("<number> ms", " ms"));
        assert!(matches("<string>!", "çé!"));
        assert!(!matches("<string>!", "!"));
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(lines_match(&lines("a\n...\nd"), &lines("a\nb\nc\nd")));
        assert!(lines_match(&lines("a\n...\nd"), &lines("a\nd")));
        assert!(!lines_match(&lines("a\n...\nd"), &lines("a\nb")));
        assert!(!lines_match(&lines("a"), &lines("a\nb")));
    }
}

/// The rows of a screen of ten columns and three rows after these bytes.
fn rows_after(bytes: &str) -> Vec<String> {
    let mut screen = Screen::new(10, 3);
    screen.write(bytes.as_bytes());
    screen.rows()
}

#[test]
fn the_screen_overwrites_erases_and_wraps() {
    assert_eq!(rows_after("one\r\ntwo\r\n\x1b[1A\rT"), ["one", "Two", ""]);
    assert_eq!(rows_after("one\r\ntwo\r\n\x1b[2A\r\x1b[Jnew"), ["new"]);
    assert_eq!(rows_after("0123456789abc"), ["0123456789", "abc"]);
    assert_eq!(rows_after("whole\x1b[3"), ["whole"], "a sequence that has not come yet");
}

#[test]
fn the_screen_does_not_go_up_into_what_has_scrolled_off() {
    assert_eq!(rows_after("a\r\nb\r\nc\r\nd\x1b[9A\rX"), ["a", "X", "c", "d"]);
}

#[test]
fn the_screen_tells_what_is_lost_at_its_edge() {
    let mut screen = Screen::new(4, 3);
    screen.write(b"\x1b[?7labcdef\x1b[?7h\r\n\x1b[31mx");
    assert_eq!((screen.lost.as_str(), screen.styles, screen.cursor()), ("ef", 1, (1, 1)));
}
