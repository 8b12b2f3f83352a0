//! What is known of the links that stand: their ends, who speaks on them, and whose answer is next.
//!
//! Requests without an `ID` are answered in their order. Each gets a [`Reply`] with its turn; an answer that comes
//! before its turn waits here for those before it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::LinkId;
use crate::wire::{Message, RequestId, ServerId};

/// The turn of an answer that waits for no other: its request has an `ID`, or is a stream, or came on a link of our own.
const ANY_TIME: u64 = u64::MAX;

/// Requests of one link that wait for their answers, above which the link is not read until there are half as many. Enough for any
/// pipeline to keep a disk busy; what is beyond waits in the socket.
pub(crate) const MAX_WAITING: u32 = 1024;

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
    /// Turns that were given.
    given: u64,
    /// Turns that were answered, in order.
    answered: u64,
    /// Answers that came before their turn; `None` is a reply that was given back.
    early: BTreeMap<u64, Option<Message>>,
    /// Replies that are not answered yet.
    waiting: u32,
    /// Lines that deserved no answer.
    ignored: u32,
    /// What the shell was told of it last.
    told: Told,
    /// It is among those that were touched.
    touched: bool,
}

/// What the shell must know of the answers that a link waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Told {
    /// Some are waited for: the edge answers nothing by itself, and a half-closed connection is kept.
    pub(super) waits: bool,
    /// So many that the link is not to be read.
    pub(super) full: bool,
}

/// The links that stand and that the core was told of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Links {
    table: BTreeMap<LinkId, Link>,
    /// Links of which the shell may have to be told something, each once.
    touched: Vec<LinkId>,
}

impl Link {
    /// What the shell must be told, where it was told something else.
    fn news(&self) -> Option<Told> {
        let bound = if self.told.full { MAX_WAITING / 2 } else { MAX_WAITING };
        let now = Told { waits: self.waiting > 0, full: self.waiting > bound };
        (now != self.told).then_some(now)
    }
}

impl Links {
    pub(super) fn opened(&mut self, link: LinkId, local: SocketAddr, remote: SocketAddr) {
        let new = Link {
            local,
            remote,
            speaker: None,
            given: 0,
            answered: 0,
            early: BTreeMap::new(),
            waiting: 0,
            ignored: 0,
            told: Told::default(),
            touched: false,
        };
        self.table.insert(link, new);
    }

    /// Forgets a link. Tells whether somebody holds a reply of it.
    pub(super) fn closed(&mut self, link: LinkId) -> bool {
        let Some(entry) = self.table.remove(&link) else { return false };
        if entry.touched {
            self.touched.retain(|touched| *touched != link);
        }
        entry.waiting > 0
    }

    pub(super) fn get(&self, link: LinkId) -> Option<&Link> {
        self.table.get(&link)
    }

    /// A line of this link deserved no answer: how many did so far, and whose they are.
    pub(super) fn ignored(&mut self, link: LinkId) -> Option<(u32, SocketAddr)> {
        let link = self.table.get_mut(&link)?;
        link.ignored = link.ignored.saturating_add(1);
        Some((link.ignored, link.remote))
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

    /// The right to answer a request that has just come.
    pub(super) fn take(&mut self, link: LinkId, id: Option<RequestId>) -> Reply {
        let Some(entry) = self.table.get_mut(&link) else { return Reply { link, id, turn: ANY_TIME } };
        entry.waiting += 1;
        let turn = if id.is_some() || link.is_outbound() {
            ANY_TIME
        } else {
            entry.given += 1;
            entry.given - 1
        };
        Reply { link, id, turn }
    }

    /// Takes a reply out of the order: it is a stream, and those behind it are not held up.
    pub(super) fn detach(&mut self, reply: &mut Reply, say: impl FnMut(Message)) {
        let turn = std::mem::replace(&mut reply.turn, ANY_TIME);
        if turn != ANY_TIME {
            self.settle(reply.link, turn, None, say);
        }
    }

    /// Answers, or with `None` gives the reply back. `say` is called for what is to be sent now, in order.
    pub(super) fn answer(&mut self, reply: &Reply, message: Option<Message>, mut say: impl FnMut(Message)) {
        let Some(entry) = self.table.get_mut(&reply.link) else { return };
        debug_assert!(entry.waiting > 0, "a reply of {:?} was used twice", reply.link);
        entry.waiting = entry.waiting.saturating_sub(1);
        if entry.told != Told::default() && entry.news().is_some() && !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(reply.link);
        }
        if reply.turn == ANY_TIME {
            return message.into_iter().for_each(say);
        }
        self.settle(reply.link, reply.turn, message, &mut say);
    }

    fn settle(&mut self, link: LinkId, turn: u64, message: Option<Message>, mut say: impl FnMut(Message)) {
        let Some(entry) = self.table.get_mut(&link) else { return };
        if turn != entry.answered {
            entry.early.insert(turn, message);
            return;
        }
        entry.answered += 1;
        message.into_iter().for_each(&mut say);
        while let Some(next) = entry.early.remove(&entry.answered) {
            entry.answered += 1;
            next.into_iter().for_each(&mut say);
        }
    }

    /// A request of this link was handed on and is not answered at once. The link, if it stands.
    pub(super) fn touch(&mut self, link: LinkId) -> Option<&Link> {
        let entry = self.table.get_mut(&link)?;
        if entry.news().is_some() && !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(link);
        }
        Some(entry)
    }

    /// What the shell must be told now, of one link at a time.
    pub(super) fn poll_news(&mut self) -> Option<(LinkId, Told)> {
        // In the order of the links, whoever was touched first.
        if self.touched.len() > 1 {
            self.touched.sort_unstable_by(|one, other| other.cmp(one));
        }
        while let Some(link) = self.touched.pop() {
            let Some(entry) = self.table.get_mut(&link) else { continue };
            entry.touched = false;
            if let Some(now) = entry.news().filter(|_| !link.is_outbound()) {
                entry.told = now;
                return Some((link, now));
            }
        }
        None
    }

    /// Panics if the table contradicts itself.
    pub(super) fn check_invariants(&self) {
        // Each of many links would make each input slow.
        for link in self.table.values().take(64) {
            assert!(link.answered <= link.given);
            assert!(link.early.keys().all(|turn| *turn > link.answered), "what is next does not wait");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Body;

    fn link() -> (Links, LinkId) {
        let (mut links, at) = (Links::default(), SocketAddr::from(([127, 0, 0, 1], 1)));
        links.opened(LinkId(2), at, at);
        (links, LinkId(2))
    }

    fn message(seq: u64) -> Option<Message> {
        Some(Message::plain(Body::EventsAnswer { seq }))
    }

    fn said(links: &mut Links, reply: &Reply, body: Option<Message>) -> Vec<u64> {
        let mut out = Vec::new();
        links.answer(reply, body, |message| match message.body {
            Body::EventsAnswer { seq } => out.push(seq),
            other => panic!("{other:?}"),
        });
        out
    }

    #[test]
    fn answers_keep_the_order_of_their_requests() {
        let (mut links, link) = link();
        let replies: Vec<Reply> = (0..4).map(|_| links.take(link, None)).collect();
        assert!(said(&mut links, &replies[2], message(2)).is_empty());
        assert!(said(&mut links, &replies[1], None).is_empty(), "given back, and waits for its turn, too");
        assert_eq!(said(&mut links, &replies[0], message(0)), [0, 2]);
        assert_eq!(said(&mut links, &replies[3], message(3)), [3]);
    }

    #[test]
    fn those_with_an_id_and_streams_hold_nobody_up() {
        let (mut links, link) = link();
        let mut stream = links.take(link, None);
        let marked = links.take(link, RequestId::new("x"));
        let plain = links.take(link, None);
        links.detach(&mut stream, |_| panic!("nothing to say yet"));
        assert_eq!(said(&mut links, &plain, message(1)), [1]);
        assert_eq!(said(&mut links, &stream, message(2)), [2]);
        assert_eq!(said(&mut links, &marked, message(3)), [3]);
    }

    #[test]
    fn the_shell_hears_of_waiting_and_of_too_much_of_it_once() {
        let (mut links, link) = link();
        let replies: Vec<Reply> = (0..=MAX_WAITING).map(|_| links.take(link, None)).collect();
        links.touch(link);
        assert_eq!(links.poll_news(), Some((link, Told { waits: true, full: true })));
        assert_eq!(links.poll_news(), None);
        for reply in &replies[..replies.len() / 2] {
            said(&mut links, reply, None);
        }
        assert_eq!(links.poll_news(), None, "half is still much");
        said(&mut links, &replies[replies.len() / 2], None);
        assert_eq!(links.poll_news(), Some((link, Told { waits: true, full: false })));
        for reply in &replies[replies.len() / 2 + 1..] {
            said(&mut links, reply, None);
        }
        assert_eq!(links.poll_news(), Some((link, Told::default())));
    }

    #[test]
    fn a_link_that_is_gone_swallows_its_answers() {
        let (mut links, link) = link();
        let reply = links.take(link, None);
        assert!(links.closed(link));
        assert!(said(&mut links, &reply, message(1)).is_empty());
        assert_eq!(links.poll_news(), None);
    }
}
