//! What this master says to others about loans and waits for: on the native link to them where one stands, else on a connection of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::LinkId;
use crate::core::loans::Token;
use crate::wire::{Address, Message, RequestId, ServerId};

/// How long a connection for one message may take to stand. What waits for an answer gives up by itself.
pub(super) const DIAL: Duration = Duration::from_secs(5);

/// Connections for errands at a time: each loan to a stranger has one now and then.
const MAX_DIALLED: usize = 256;

/// Who waits for what comes of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Waits {
    /// Nobody: the connection ends behind it.
    Nobody,
    /// The machine of loans.
    Loans(Token),
    /// The farm: it calls this worker.
    Worker(ServerId),
}

impl From<Option<Token>> for Waits {
    fn from(token: Option<Token>) -> Waits {
        token.map_or(Waits::Nobody, Waits::Loans)
    }
}

/// One message, and who waits for what comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Errand {
    /// Who waits for the answer.
    waits: Waits,
    /// Said once the connection stands.
    message: Option<Message>,
    /// Its mark, by which an answer on a shared link is known.
    id: Option<RequestId>,
}

/// The errands that are under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Errands {
    /// On connections of their own.
    dialled: BTreeMap<LinkId, Errand>,
    /// On native links, by their marks.
    shared: BTreeMap<(LinkId, RequestId), Token>,
    next: u64,
}

impl Errands {
    /// A message to an address, on a connection of its own: the link to ask for, or `None` if there are too many.
    pub(super) fn dial(&mut self, waits: Waits, message: Message) -> Option<LinkId> {
        if self.dialled.len() >= MAX_DIALLED {
            return None;
        }
        let link = LinkId::of_worker(self.next);
        self.next += 1;
        let id = message.id.clone();
        self.dialled.insert(link, Errand { waits, message: Some(message), id });
        Some(link)
    }

    /// A message that is said on a link that stands.
    pub(super) fn share(&mut self, token: Token, link: LinkId, id: RequestId) {
        self.shared.insert((link, id), token);
    }

    /// Whether this link is one of its own.
    pub(super) fn is_dialled(&self, link: LinkId) -> bool {
        self.dialled.contains_key(&link)
    }

    /// A connection stands: what is said on it, and whether anybody waits for an answer there.
    pub(super) fn opened(&mut self, link: LinkId) -> Option<(Message, bool)> {
        let errand = self.dialled.get_mut(&link)?;
        let message = errand.message.take()?;
        let waits = errand.waits != Waits::Nobody;
        if !waits {
            self.dialled.remove(&link);
        }
        Some((message, waits))
    }

    /// What was to be said on a connection of its own that could not be made.
    pub(super) fn unsaid(&self, link: LinkId) -> Option<&Message> {
        self.dialled.get(&link)?.message.as_ref()
    }

    /// A connection of its own is gone, or could not be made: who waits there.
    pub(super) fn closed(&mut self, link: LinkId) -> Option<Waits> {
        self.dialled.remove(&link).map(|errand| errand.waits).filter(|waits| *waits != Waits::Nobody)
    }

    /// A native link is gone: who waits there.
    pub(super) fn lost(&mut self, link: LinkId) -> Vec<Token> {
        let first = RequestId::new("").expect("short");
        let gone: Vec<(LinkId, RequestId)> = self
            .shared
            .range((link, first)..)
            .take_while(|((on, _), _)| *on == link)
            .map(|(key, _)| key.clone())
            .collect();
        gone.iter().filter_map(|key| self.shared.remove(key)).collect()
    }

    /// An answer has come: whose it is, and the connection that is not needed any more.
    pub(super) fn answered(&mut self, link: LinkId, id: Option<&RequestId>) -> Option<(Waits, Option<LinkId>)> {
        if let Some(errand) = self.dialled.get(&link) {
            // What stands there alone is answered by whatever comes; who echoes a mark echoes this one.
            let echoes = id.is_none() || errand.id.is_none() || id == errand.id.as_ref();
            if !echoes || errand.waits == Waits::Nobody {
                return None;
            }
            let errand = self.dialled.remove(&link)?;
            return Some((errand.waits, Some(link)));
        }
        let token = self.shared.remove(&(link, id?.clone()))?;
        Some((Waits::Loans(token), None))
    }

    /// The mark that was said on a connection of its own, on which an answer of another mark has come to the machine of loans.
    pub(super) fn asked_as(&self, link: LinkId, answer: &RequestId) -> Option<&RequestId> {
        let errand = self.dialled.get(&link).filter(|errand| matches!(errand.waits, Waits::Loans(_)))?;
        errand.id.as_ref().filter(|asked| *asked != answer)
    }

    /// What came on a connection of its own is no answer, and none will follow: of what the machine of loans waits for there.
    pub(super) fn failed(&mut self, link: LinkId) -> Option<Token> {
        let Some(Waits::Loans(token)) = self.dialled.get(&link).map(|errand| errand.waits.clone()) else { return None };
        self.dialled.remove(&link);
        Some(token)
    }

    /// Nobody waits for this any more: the connection that is to be closed.
    pub(super) fn drop(&mut self, token: Token) -> Option<LinkId> {
        self.shared.retain(|_, waits| *waits != token);
        self.hang_up(&Waits::Loans(token))
    }

    /// The same of a connection that was made for who waits there.
    pub(super) fn hang_up(&mut self, who: &Waits) -> Option<LinkId> {
        let link = self.dialled.iter().find(|(_, errand)| errand.waits == *who).map(|(link, _)| *link)?;
        self.dialled.remove(&link);
        Some(link)
    }
}

/// Where a message is said: a link that stands, or an address.
pub(super) enum Way {
    /// The native link.
    Link(LinkId),
    /// To be dialled.
    Dial(Address),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Body;

    fn id(text: &str) -> RequestId {
        RequestId::new(text).unwrap()
    }

    fn message(text: &str) -> Message {
        Message { id: Some(id(text)), body: Body::Load }
    }

    #[test]
    fn an_answer_is_known_by_its_connection_and_on_a_shared_one_by_its_mark() {
        let mut errands = Errands::default();
        let link = errands.dial(Waits::Loans(Token(1)), message("a")).unwrap();
        assert_eq!(errands.opened(link), Some((message("a"), true)));
        assert_eq!(errands.opened(link), None, "once");
        assert_eq!(errands.answered(link, Some(&id("b"))), None, "another's");
        assert_eq!(
            errands.answered(link, None),
            Some((Waits::Loans(Token(1)), Some(link))),
            "a stranger leaves the mark out"
        );
        assert_eq!(errands.answered(link, None), None);
        let native = LinkId(1);
        errands.share(Token(2), native, id("c"));
        errands.share(Token(3), native, id("d"));
        assert_eq!(errands.answered(native, None), None);
        assert_eq!(errands.answered(native, Some(&id("c"))), Some((Waits::Loans(Token(2)), None)));
        assert_eq!(errands.lost(native), [Token(3)]);
    }

    #[test]
    fn what_nobody_waits_for_is_said_and_forgotten() {
        let mut errands = Errands::default();
        let link = errands.dial(Waits::Nobody, message("a")).unwrap();
        assert_eq!(errands.opened(link), Some((message("a"), false)));
        assert!(!errands.is_dialled(link));
        let link = errands.dial(Waits::Loans(Token(7)), message("b")).unwrap();
        assert_eq!(errands.drop(Token(7)), Some(link));
        assert_eq!(errands.closed(link), None);
        let many = (0..=MAX_DIALLED).filter_map(|_| errands.dial(Waits::Loans(Token(9)), message("c"))).count();
        assert_eq!(many, MAX_DIALLED, "bounded");
    }
}
