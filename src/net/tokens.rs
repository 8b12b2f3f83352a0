//! Which source of events a token stands for.

use mio::Token;

/// Other threads.
pub(super) const WAKER: Token = Token(0);
/// The listening socket.
pub(super) const LISTENER: Token = Token(1);
/// Requests to stop from outside.
pub(super) const SIGNALS: Token = Token(2);
/// The time that the loop waits for.
pub(super) const ALARM: Token = Token(3);
/// The socket of discovery.
pub(super) const DISCOVERY: Token = Token(4);

/// Even, so that connections have even tokens and attempts odd ones.
const FIRST: usize = 6;

/// What a token stands for. Slots are used again, so an event that was on its way may meet the next one in its
/// slot: every event is only a hint to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// [`WAKER`].
    Waker,
    /// [`LISTENER`].
    Listener,
    /// [`SIGNALS`].
    Signals,
    /// [`ALARM`].
    Alarm,
    /// [`DISCOVERY`].
    Discovery,
    /// The connection in this slot.
    Connection(usize),
    /// The attempt in this slot of the dialer.
    Dial(usize),
}

/// The token of the connection in a slot.
pub(super) const fn connection(slot: usize) -> Token {
    Token(FIRST + 2 * slot)
}

/// The token of the attempt in a slot.
pub(super) const fn dial(slot: usize) -> Token {
    Token(FIRST + 2 * slot + 1)
}

/// What a token stands for.
pub(super) const fn source(token: Token) -> Source {
    match token.0 {
        0 => Source::Waker,
        1 => Source::Listener,
        2 => Source::Signals,
        3 => Source::Alarm,
        4 => Source::Discovery,
        number if number % 2 == 0 => Source::Connection((number - FIRST) / 2),
        number => Source::Dial((number - FIRST) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        assert_eq!(source(WAKER), Source::Waker);
        assert_eq!(source(LISTENER), Source::Listener);
        assert_eq!(source(SIGNALS), Source::Signals);
        assert_eq!(source(ALARM), Source::Alarm);
        assert_eq!(source(DISCOVERY), Source::Discovery);
        for slot in [0, 1, 2, 77, 1_000_000] {
            assert_eq!(source(connection(slot)), Source::Connection(slot));
            assert_eq!(source(dial(slot)), Source::Dial(slot));
        }
    }
}
