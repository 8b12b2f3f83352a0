//! The group of a master: how it comes to be, who belongs to it, and who is asked what has to be agreed on.
//!
//! ```text
//!   no group ── Search ──> found, or ask to be taken in ──> Seat: engine, ledger, leases, proofs
//!      ^                                                      │
//!      └──────── removed, left, told to join another ─────────┘
//!
//!   client ── request ──> any member ── handed on ──> leader ── engine ──> ledger ──> answer
//! ```
//!
//! The node tells it what it sees of its peers ([`Group::look`]), what members say ([`Group::letter`], [`Group::proof`]), what clients
//! want ([`Group::asked`]), and carries out its [`Effect`]s.

mod answers;
mod asks;
mod desk;
mod farms;
mod founding;
mod machine;
mod membership;
mod policy;
mod proof;
mod seat;
mod secret;
mod show;
#[cfg(test)]
mod tests;
mod twins;
mod voters;

use std::time::Duration;

use super::election::LogTicket;
use super::links::Reply;
use super::{ConfigError, GroupWrite, LinkId, LogLevel};
use crate::wire::{
    Address, Adoption, Body, EventKind, GroupId, GroupRole, Message, RaftId, ServerId, SettingName, VoterSets,
};

pub(super) use desk::is_handed_on;
pub(super) use founding::{Sight, View};
pub(super) use machine::{Group, Own};
pub(super) use secret::Entropy;

/// Agreement among the masters of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgreementConfig {
    /// Masters that must see each other before one of them founds a group. Default none: a master without peers founds at once, others after the
    /// timeout. Range 1 to 5. If unsure, none on one machine, and the number of masters in production.
    pub expect: Option<u32>,
    /// Time between two heartbeats of the leader to a member. Default 50 ms, range 5 ms to 10 s, at most a third of `election`. If unsure, the
    /// default on a LAN; above the worst round trip elsewhere.
    pub heartbeat: Duration,
    /// Silence of the leader after which others stand for election, drawn between this and twice this. Default 250 ms, range 20 ms to 60 s. If
    /// unsure, five heartbeats.
    pub election: Duration,
}

impl Default for AgreementConfig {
    fn default() -> AgreementConfig {
        AgreementConfig { expect: None, heartbeat: Duration::from_millis(50), election: Duration::from_millis(250) }
    }
}

impl AgreementConfig {
    /// Whether the settings are within their ranges. The error names the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |setting, value: String, expected: &str| {
            Err(ConfigError::Range { setting, value, expected: expected.to_owned() })
        };
        if self.expect.is_some_and(|expect| !(1..=crate::wire::MAX_VOTERS).contains(&(expect as usize))) {
            return range("expect", self.expect.unwrap_or(0).to_string(), "1 to 5 masters");
        }
        if !(Duration::from_millis(20)..=Duration::from_secs(60)).contains(&self.election) {
            return range("election", format!("{:?}", self.election), "20 ms to 60 s");
        }
        if self.heartbeat < Duration::from_millis(5) || self.heartbeat * 3 > self.election {
            let expected = format!("5 ms to a third of the election time-out of {:?}", self.election);
            return range("group-heartbeat", format!("{:?}", self.heartbeat), &expected);
        }
        Ok(())
    }
}

/// What a master is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupStanding {
    /// Its role.
    pub role: GroupRole,
    /// The latest term that it knows; 0 where it has no group.
    pub term: u64,
}

/// A look at a seat from outside, for who checks the laws of agreement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupView {
    /// The group.
    pub(crate) group_id: GroupId,
    /// The number of this member.
    pub(crate) raft_id: RaftId,
    /// Its term.
    pub(crate) term: u64,
    /// What it is.
    pub(crate) role: GroupRole,
    /// Who leads, as far as it knows.
    pub(crate) leader: Option<RaftId>,
    /// Index of the last entry that its ledger holds.
    pub(crate) applied: u64,
    /// Who votes, as far as it knows.
    pub(crate) voters: VoterSets,
}

/// What a group wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Say this on a link.
    Send {
        /// On which.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Answer a request.
    Answer {
        /// Which.
        reply: Reply,
        /// With what.
        body: Body,
    },
    /// Hang up: what was proved there is not believed any more.
    Close(LinkId),
    /// Make it durable, then call [`Group::written`].
    Write {
        /// Its number.
        ticket: LogTicket,
        /// What.
        write: GroupWrite,
    },
    /// A member listens there: call it from now on.
    Watch(Address),
    /// Nobody of the group listens there any more. Configured peers are called all the same.
    Unwatch(Address),
    /// This link leads back to this very node.
    Itself(LinkId),
    /// What this node says in heartbeats has changed: say it now.
    Hurry,
    /// Tell everybody.
    Event {
        /// What happened.
        kind: EventKind,
        /// To whom, where it is one.
        server_id: Option<ServerId>,
        /// One sentence.
        detail: String,
    },
    /// Log it.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// These workers have new owners. Whoever knows one of them acts on it.
    Adopted(Vec<Adoption>),
    /// This setting is agreed on, or with `None` none is any more: go by it.
    Setting {
        /// Which.
        name: SettingName,
        /// Its value: jobs, milliseconds, thousandths of a CPU.
        value: Option<u64>,
    },
}
