//! What other threads and machines tell, handed on to the core.

use crate::core::Input;

use super::dialer::Context;
use super::durable::{GroupNote, StoreNote};
use super::limits::{HIGH_WATER, NOTES_PER_TURN};
use super::mailbox::Note;
use super::reactor::Reactor;

impl Reactor {
    /// Hands on what waits in the mailbox, within bounds.
    pub(super) fn read_mailbox(&mut self) {
        for _ in 0..self.mailbox.take_stops() {
            self.stop(true);
        }
        self.talk.begin(self.congested);
        while let Some(input) = self.talk.next() {
            self.tell(input);
        }
        for _ in 0..NOTES_PER_TURN {
            let Some(note) = self.mailbox.take() else { break };
            match note {
                Note::Finished(run, outcome) => {
                    if let Some(input) = self.talk.finished(run, outcome) {
                        self.tell(input);
                    }
                }
                Note::Printed { run, stream, data } => {
                    if let Some(input) = self.talk.printed(run, stream, data) {
                        self.tell(input);
                    }
                }
                Note::Stored(StoreNote::Written { through }) => self.tell(Input::Written { through }),
                Note::Stored(StoreNote::Failed { from, through, reason }) => {
                    self.tell(Input::WriteFailed { from, through, reason });
                }
                Note::Group(GroupNote::Written { through }) => self.tell(Input::GroupWritten { through }),
                Note::Group(GroupNote::Trouble { reason }) => self.tell(Input::GroupTrouble { reason: Some(reason) }),
                Note::Group(GroupNote::Well) => self.tell(Input::GroupTrouble { reason: None }),
                Note::Offers(offers) => self.tell(Input::Offers(offers)),
                Note::Reported(outcome) => self.tell(Input::Reported(outcome)),
                Note::Sample(sample) => self.tell(Input::LoadSample(sample)),
                Note::Resolved { name, found } => {
                    let mut context =
                        Context { registry: self.poll.registry(), timers: &mut self.timers, now: self.now };
                    for dialled in self.dialer.resolved(&name, &found, &mut context) {
                        self.dialled(Some(dialled));
                    }
                }
            }
        }
    }

    /// Sees whether the links on which goes what runs print take it.
    pub(super) fn look_at_printing(&mut self) {
        let (connections, mut congested) = (&mut self.connections, false);
        self.printing.retain(|slot| {
            let Some(connection) = connections.get(*slot).filter(|connection| connection.prints) else { return false };
            congested |= connection.out.pending() > HIGH_WATER;
            true
        });
        self.congested = congested;
    }

    /// Hands on what came by UDP, within bounds.
    pub(super) fn receive_datagrams(&mut self) {
        let Some(udp) = &mut self.udp else { return };
        let mut datagrams = Vec::new();
        self.udp_more = udp.receive(self.now, &mut datagrams);
        for (from, datagram) in datagrams {
            self.tell(Input::Datagram { from, datagram });
        }
    }
}
