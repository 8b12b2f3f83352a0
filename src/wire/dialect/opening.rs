//! What the first bytes of a connection say about its protocol.

/// The methods of HTTP/1.1 (RFC 9110, section 9) and RFC 5789, and the first word of an HTTP/2 preface, each with
/// the space that ends it.
const METHODS: [&[u8]; 10] =
    [b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ", b"PRI "];

/// The first byte of a TLS record that holds a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What a connection speaks, by its first bytes that are not blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// HTTP.
    Http,
    /// TLS.
    Tls,
    /// Lines.
    Lines,
    /// More bytes are needed: this may still become HTTP.
    Open,
}

/// Judges the first bytes.
pub(super) fn judge(first: &[u8]) -> Opening {
    if first.first() == Some(&TLS_HANDSHAKE) {
        Opening::Tls
    } else if METHODS.iter().any(|method| first.starts_with(method)) {
        Opening::Http
    } else if METHODS.iter().any(|method| method.starts_with(first)) {
        Opening::Open
    } else {
        Opening::Lines
    }
}

/// Appends the answer to a request in HTTP, which this node does not serve.
pub(super) fn refuse_http(first: &[u8], out: &mut Vec<u8>) {
    let body = "This port speaks lines of JSON, not HTTP. Try: printf '{\"TASK\":\"HELLO\"}\\n' | nc HOST PORT\n";
    let head = format!(
        "HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    // The answer to HEAD ends with its head (RFC 9110, section 9.3.2).
    if !first.starts_with(b"HEAD ") {
        out.extend_from_slice(body.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_and_a_space_is_http_and_what_may_become_one_waits() {
        for method in METHODS {
            assert_eq!(judge(method), Opening::Http);
            for cut in 0..method.len() {
                assert_eq!(judge(&method[..cut]), Opening::Open);
            }
        }
        assert_eq!(judge(b"GET / HTTP/1.1\r\n"), Opening::Http);
    }

    #[test]
    fn anything_else_is_lines() {
        for first in ["{", "GEX", "GET\t", "get ", "POST\n", "PATCHY ", "[", "\u{16}"] {
            let expected = if first == "\u{16}" { Opening::Tls } else { Opening::Lines };
            assert_eq!(judge(first.as_bytes()), expected, "{first:?}");
        }
    }
}
