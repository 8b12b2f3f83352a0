//! The stream of events of one node, made again whenever it breaks.

use std::time::{Duration, Instant};

use super::ask::{AskError, line};
use super::client::{Client, ClientError};
use crate::wire::{self, Address, Body, Event, Message};

/// Pause before a stream that broke is begun again. Short: what happens meanwhile is not heard.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a connection, and the answer that begins the stream, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What comes of listening for a while.
#[derive(Debug)]
pub(super) enum Heard {
    /// The stream stands, for the first time or again. What happened before is not told.
    Begun,
    /// Something happened.
    Event(Event),
    /// The stream broke, or cannot be begun. Told once until it stands again.
    Lost(AskError),
    /// Nothing came in this time.
    Nothing,
}

/// A stream that is begun again for ever.
pub(super) struct Following {
    client: Client,
    stands: bool,
    /// It was told that the stream is lost.
    told: bool,
    /// Not before this is it begun again.
    again: Instant,
}

impl Following {
    /// A stream of the events of this node. Nothing is sent yet.
    pub(super) fn new(address: Address) -> Following {
        Following { client: Client::new(address, PATIENCE), stands: false, told: false, again: Instant::now() }
    }

    /// What comes next, within about this time; beginning a stream may take longer, at most its patience of 5 s.
    pub(super) fn next(&mut self, within: Duration) -> Heard {
        let deadline = Instant::now() + within;
        if !self.stands {
            if self.again > deadline {
                pause_until(deadline);
                return Heard::Nothing;
            }
            pause_until(self.again);
            return match self.begin() {
                Ok(()) => {
                    (self.stands, self.told) = (true, false);
                    Heard::Begun
                }
                Err(error) => self.lost(error),
            };
        }
        match self.client.next_line(Some(deadline)) {
            Ok(Some(line)) => match wire::decode(line.as_bytes()).map(|message| message.body) {
                Ok(Body::Event(event)) => Heard::Event(*event),
                // What is not understood may come from a younger node.
                _ => Heard::Nothing,
            },
            Ok(None) => self.lost(ClientError::Closed(self.client.address().clone()).into()),
            Err(ClientError::NoAnswer(..)) => Heard::Nothing,
            Err(error) => self.lost(error.into()),
        }
    }

    fn begin(&mut self) -> Result<(), AskError> {
        self.client.send_bytes(&line(&Message::plain(Body::Events))?)?;
        let address = self.client.address().clone();
        let Some(answer) = self.client.next_line(Some(Instant::now() + PATIENCE))? else {
            return Err(ClientError::Closed(address).into());
        };
        match wire::decode(answer.as_bytes()).map(|message| message.body) {
            Ok(Body::EventsAnswer { .. }) => Ok(()),
            Ok(Body::Error(error)) => Err(AskError::Refused(address, *error)),
            _ => Err(AskError::Strange(address, answer.chars().take(200).collect())),
        }
    }

    fn lost(&mut self, error: AskError) -> Heard {
        self.client.hang_up();
        self.stands = false;
        self.again = Instant::now() + PAUSE;
        if std::mem::replace(&mut self.told, true) { Heard::Nothing } else { Heard::Lost(error) }
    }
}

fn pause_until(time: Instant) {
    let left = time.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        super::waiting::pass(left);
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::peer;
    use super::*;
    use std::io::{BufRead, Write};

    #[test]
    fn a_stream_that_breaks_is_told_once_and_begun_again() {
        let mut calls = 0;
        let address = peer(move |mut stream| {
            calls += 1;
            stream.read_line(&mut String::new()).unwrap();
            // The second call meets a node that is not well.
            if calls != 2 {
                let text = format!(
                    "{{\"TASK\":\"EVENTS\",\"RESPONSE\":\"OK\",\"SEQ\":0}}\n\
                     {{\"TASK\":\"EVENTS\",\"SEQ\":{calls},\"EVENT\":\"SATURATED\",\"DETAIL\":\"call {calls}\"}}\n"
                );
                stream.get_mut().write_all(text.as_bytes()).unwrap();
            }
        });
        let mut following = Following::new(address);
        let mut told = Vec::new();
        while told.len() < 5 {
            told.push(match following.next(Duration::from_secs(20)) {
                Heard::Begun => "begun".to_owned(),
                Heard::Event(event) => event.detail,
                Heard::Lost(_) => "lost".to_owned(),
                Heard::Nothing => continue,
            });
        }
        assert_eq!(told, ["begun", "call 1", "lost", "begun", "call 3"]);
    }

    #[test]
    fn silence_is_no_loss() {
        let address = peer(|mut stream| {
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(b"{\"TASK\":\"EVENTS\",\"RESPONSE\":\"OK\",\"SEQ\":0}\n").unwrap();
            // Until the other side hangs up.
            let _ = stream.read_line(&mut String::new());
        });
        let mut following = Following::new(address);
        assert!(matches!(following.next(Duration::from_secs(20)), Heard::Begun));
        assert!(matches!(following.next(Duration::from_millis(5)), Heard::Nothing));
        assert!(following.stands);
    }
}
