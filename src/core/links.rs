//! What is known of the links that stand: their ends, and who speaks on them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::LinkId;
use crate::wire::{RequestId, ServerId};

/// The right to answer one request, in its turn. Whoever is given one answers it exactly once, now or later, or gives it
/// back unanswered; the node sees to the order of the answers of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Reply {
    /// Where the request came from.
    pub(super) link: LinkId,
    /// Its `ID`, which the answer echoes. With one, the answer may overtake others.
    pub(super) id: Option<RequestId>,
    /// Its place among the requests of the link that have no `ID`.
    pub(super) turn: u64,
}

/// A link that stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link {
    /// This end.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) remote: SocketAddr,
    /// The native node that speaks on it, as its heartbeats said. Only accepted links learn this; of the others the
    /// registry knows whom they lead to.
    pub(super) speaker: Option<ServerId>,
}

/// The links that stand and that the core was told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Links {
    table: BTreeMap<LinkId, Link>,
}

impl Links {
    pub(super) fn opened(&mut self, link: LinkId, local: SocketAddr, remote: SocketAddr) {
        self.table.insert(link, Link { local, remote, speaker: None });
    }

    pub(super) fn closed(&mut self, link: LinkId) {
        self.table.remove(&link);
    }

    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.table.get(&link)
    }

    pub(super) fn speaks(&mut self, link: LinkId, speaker: ServerId) {
        if let Some(link) = self.table.get_mut(&link) {
            link.speaker = Some(speaker);
        }
    }

    /// The accepted links on which a native node speaks.
    pub(super) fn native(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.table.iter().filter(|(_, link)| link.speaker.is_some()).map(|(id, _)| *id)
    }
}
