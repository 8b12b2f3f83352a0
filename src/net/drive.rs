//! The core's side: inputs in, outputs carried out.

use std::time::Duration;

use crate::core::{GroupWrite, Input, JobWrite, LinkId, LogLevel, LogTicket, Outcome, Output, Run, Ticket};
use crate::wire::{Address, Body, Message};

use super::connection::Phase;
use super::dialer::{Context, Dialled};
use super::limits::OUTPUTS_PER_INPUT;
use super::reactor::Reactor;

impl Reactor {
    /// Gives the node one input and carries out everything that it wants.
    pub(super) fn tell(&mut self, input: Input) {
        self.tell_heartbeats();
        #[cfg(test)]
        self.heard.push(input.clone());
        self.node.handle(input, self.now);
        self.carry_out();
    }

    /// The same of an input after which others may come in this turn. [`Reactor::settle_node`] comes behind the last one.
    pub(super) fn tell_one_of_many(&mut self, input: Input) {
        self.tell_heartbeats();
        #[cfg(test)]
        self.heard.push(input.clone());
        self.node.handle_one_of_many(input, self.now);
        (self.unsettled, self.works) = (true, true);
        self.carry_out();
    }

    /// Has the node do what it has left undone for many inputs.
    pub(super) fn settle_node(&mut self) {
        if std::mem::take(&mut self.unsettled) {
            self.node.settle(self.now);
            self.carry_out();
        }
    }

    /// Gives the node the count of bare heartbeats. Nobody sees the count but through the node, so it is told
    /// before anything else is, and costs a heartbeat nothing.
    pub(super) fn tell_heartbeats(&mut self) {
        let count = std::mem::take(&mut self.heartbeats);
        if count > 0 {
            self.node.handle(Input::HeartbeatsAnswered { count }, self.now);
            self.carry_out();
        }
    }

    /// Drains the node's outputs. Nothing in here tells the node anything: what happens at once waits in `later`.
    fn carry_out(&mut self) {
        let mut count = 0;
        while let Some(output) = self.node.poll_output() {
            count += 1;
            debug_assert!(count < OUTPUTS_PER_INPUT, "the core talks to itself: {output:?}");
            self.perform(output);
        }
        self.node_changed();
    }

    /// Carries out one output.
    pub(super) fn perform(&mut self, output: Output) {
        match output {
            Output::Send { link, message } => self.send(link, &message),
            Output::Open { link, address, within } => self.open(link, address, within),
            Output::Close { link } => self.close_for_core(link),
            Output::Event(event) => self.happened.push(event),
            Output::Log { level, text } => {
                let level = match level {
                    LogLevel::Warn => log::Level::Warn,
                    LogLevel::Info => log::Level::Info,
                    LogLevel::Debug => log::Level::Debug,
                };
                log::log!(target: super::LOG, level, "{text}");
            }
            Output::Waits { link, waits, full } => self.waits(link, waits, full),
            Output::Write { ticket, write } => self.write(ticket, write),
            Output::WriteGroup { ticket, write } => self.write_group(ticket, write),
            Output::Start(run) => self.start(*run),
            Output::StopRun { run } => {
                if let Some(services) = &self.services {
                    services.stop(run);
                }
            }
            Output::Datagram { to, datagram } => {
                if let Some(udp) = &mut self.udp {
                    udp.send(to, &datagram);
                }
            }
            Output::Report(report) => {
                if let Some(reporter) = &self.reporter {
                    reporter.offer(report);
                }
            }
            Output::Stopped => self.node_stopped(),
        }
    }

    /// What happened while outputs were carried out. What comes of it in turn waits for the next turn.
    pub(super) fn tell_later(&mut self) {
        for input in std::mem::take(&mut self.later) {
            self.tell(input);
        }
    }

    fn send(&mut self, link: LinkId, message: &Message) {
        let Some(slot) = self.connections.find(link) else { return };
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        match &message.body {
            Body::EventsAnswer { .. } => connection.streams = true,
            Body::JobOutput(_) if !connection.prints => {
                connection.prints = true;
                self.printing.push(slot);
            }
            Body::Heartbeat(_) => {
                if let Some(outbound) = &mut connection.outbound {
                    outbound.asked = true;
                }
            }
            _ => {}
        }
        connection.active = self.now;
        let before = connection.out.pending();
        connection.edge.render(message, connection.out.buffer(&mut self.pool));
        // A native worker goes on without it, and the next order is likely to come in a moment.
        let may_wait = matches!(&message.body, Body::StatusAck(ack) if ack.attempt.is_some());
        connection.added(before, may_wait);
        self.mark(slot);
    }

    fn waits(&mut self, link: LinkId, waits: bool, full: bool) {
        let Some(slot) = self.connections.find(link) else { return };
        let Some(connection) = self.connections.get(slot).filter(|connection| connection.phase == Phase::Open) else {
            return;
        };
        // Whoever has ended or was silent meanwhile is looked at again.
        let done = connection.unanswered && !waits;
        if connection.set_unanswered(waits, full) {
            self.mark_again(slot);
        }
        if done {
            self.mark(slot);
        }
    }

    fn write(&mut self, ticket: Ticket, write: Box<JobWrite>) {
        match &mut self.jobs {
            Some(jobs) => {
                jobs.push(ticket, write);
                self.pushed = true;
            }
            None => {
                let reason = "this node was started without a store of jobs".to_owned();
                self.later.push(Input::WriteFailed { from: ticket, through: ticket, reason });
            }
        }
    }

    fn write_group(&mut self, ticket: LogTicket, write: GroupWrite) {
        match &mut self.group {
            Some(group) => {
                group.push(ticket, write);
                self.pushed = true;
            }
            None => {
                let reason = "this node was started without a store of its group".to_owned();
                self.later.push(Input::GroupTrouble { reason: Some(reason) });
            }
        }
    }

    fn start(&mut self, run: Run) {
        match &self.services {
            Some(services) => services.run(run),
            None => {
                let detail = "this node was started without services".to_owned();
                let outcome = Outcome::Failed { detail, result: None, retry: true };
                self.later.push(Input::Finished { run: run.run, outcome });
            }
        }
    }

    /// Lets what the core wrote in this turn become durable, together.
    pub(super) fn flush_stores(&mut self) {
        if !std::mem::take(&mut self.pushed) {
            return;
        }
        // The group first: others wait for its votes and entries.
        if let Some(group) = &mut self.group {
            group.flush();
        }
        if let Some(jobs) = &mut self.jobs {
            jobs.flush();
        }
    }

    fn open(&mut self, link: LinkId, address: Address, within: Duration) {
        let mut context = Context { registry: self.poll.registry(), timers: &mut self.timers, now: self.now };
        match self.dialer.open(link, address, within, &mut context) {
            None => {}
            Some(Dialled::Refused { link, reason }) => self.later.push(Input::LinkRefused { link, reason }),
            // Connecting without blocking tells of success by an event, even to this machine.
            Some(Dialled::Connected { link, .. }) => {
                let reason = "connected before it was waited for".to_owned();
                self.later.push(Input::LinkRefused { link, reason });
            }
        }
    }

    fn close_for_core(&mut self, link: LinkId) {
        if let Some(slot) = self.connections.find(link) {
            if let Some(connection) = self.connections.get(slot) {
                connection.finish(self.now);
            }
            self.mark(slot);
        } else if link.is_outbound() {
            self.dialer.cancel(link, &mut self.timers);
        }
    }

    /// Looks after a connection at the end of the turn.
    pub(super) fn mark(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get(slot)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Reads a connection on in the next turn.
    pub(super) fn mark_again(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get(slot)
            && !connection.again
        {
            connection.again = true;
            self.again.push(slot);
        }
    }
}
