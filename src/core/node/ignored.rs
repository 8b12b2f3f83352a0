//! Lines that nobody answers: people read of them in the log, and never so many that the log is flooded.

use std::time::Duration;

use super::Node;
use crate::core::{LinkId, LogLevel};
use crate::time::Time;
use crate::wire::{Body, LoanAnswer, Message};

/// Time between two of these lines in the log, whatever comes on however many links: somebody who calls again and again
/// to say the same is a few hundred lines an hour beside the rest.
const EVERY: Duration = Duration::from_secs(1);

/// What was told of such lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ignored {
    /// From then on another may be told.
    next: Time,
    /// Lines since the last one that was told.
    untold: u64,
}

impl Ignored {
    /// Whether the `nth` such line of a link is told: the 1st, 10th, 100th ... Then, how many were not since the last one.
    fn tell(&mut self, nth: u32, now: Time) -> Option<u64> {
        let counts = nth > 0 && 10_u32.pow(nth.ilog10()) == nth;
        if !counts || now < self.next {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.next = now + EVERY;
        Some(std::mem::take(&mut self.untold))
    }
}

impl Node {
    /// A line came on an accepted link that deserves no answer, or only this refusal.
    pub(super) fn ignore(&mut self, link: LinkId, why: &str, line: &str, refusal: Option<Box<Message>>, now: Time) {
        match refusal {
            Some(refusal) => self.refuse_unread(link, why, line, *refusal, now),
            None => self.note_ignored(link, why, line, now),
        }
    }

    /// It is plain that a line asks for workers, and not how many, or for whom: who asks waits for an answer, and gets none of them.
    fn refuse_unread(&mut self, link: LinkId, why: &str, line: &str, refusal: Message, now: Time) {
        let Some(peer) = self.links.get(link).map(|link| link.remote.ip().to_canonical().to_string()) else { return };
        self.trace(false, "request_help", refusal.id.as_ref(), &peer, now);
        let text = format!("a request for workers of {peer} is refused: {why}: `{line}`");
        self.log_often(LogLevel::Warn, &format!("requests for workers of {peer} that cannot be read"), text, now);
        let mut body = refusal.body;
        if let Body::LoanAnswer(answer) = &mut body {
            let (LoanAnswer::Accepted { master, .. } | LoanAnswer::Rejected { master, .. }) = &mut **answer;
            *master = Some(self.identity.server_id.clone());
        }
        self.trace(true, "response_rejected", refusal.id.as_ref(), &peer, now);
        self.answer(link, refusal.id, body);
    }

    fn note_ignored(&mut self, link: LinkId, why: &str, line: &str, now: Time) {
        let Some((nth, from)) = self.links.ignored(link) else { return };
        let Some(untold) = self.ignored.tell(nth, now) else { return };
        let mut text = format!("a line of {from} is ignored: {why}: `{line}`");
        if untold > 0 {
            text.push_str(&format!("; {untold} more since the last one that stands here"));
        }
        self.log(LogLevel::Warn, text);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::core::{Config, Identity, Input, Output};
    use crate::wire::{RequestId, ServerId};

    #[test]
    fn a_storm_is_a_few_lines() {
        let (mut ignored, ms) = (Ignored::default(), |ms| Time::ZERO + Duration::from_millis(ms));
        let told: Vec<u32> =
            (1..=12_000).filter(|nth| ignored.tell(*nth, ms(u64::from(*nth) * 2000)).is_some()).collect();
        assert_eq!(told, [1, 10, 100, 1000, 10_000], "of one link");
        let begun = 30_000_000;
        let told: Vec<Option<u64>> =
            (0..2500).map(|at| ignored.tell(1, ms(begun + at))).filter(Option::is_some).collect();
        assert_eq!(told, [Some(2000), Some(999), Some(999)], "of many links");
    }

    #[test]
    fn a_request_for_workers_that_cannot_be_read_is_refused_at_once_with_its_mark() {
        let (id, own) = (ServerId::new("A").unwrap(), SocketAddr::from(([127, 0, 0, 1], 9101)));
        let identity = Identity { server_id: id.clone(), name: "a".to_owned() };
        let mut node = Node::new(Config::default(), identity, 1, Time::ZERO).unwrap();
        let link = LinkId(2);
        node.handle(Input::LinkOpened { link, local: own, remote: own }, Time::ZERO);
        let mark = RequestId::new("r-1");
        let refused = |master| {
            let answer = LoanAnswer::Rejected { master, reason: "refused".to_owned() };
            Message { id: mark.clone(), body: Body::LoanAnswer(Box::new(answer)) }
        };
        let (refusal, line) = (Some(Box::new(refused(None))), "{..}".to_owned());
        node.handle(Input::Ignored { link, why: "a number is none", line, refusal }, Time::ZERO);
        let (mut said, mut log) = (Vec::new(), Vec::new());
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { message, .. } => said.push(message),
                Output::Log { text, .. } => log.push(text),
                _ => {}
            }
        }
        assert_eq!(said, [refused(Some(id))]);
        assert!(log.iter().any(|text| text.contains("a number is none") && text.contains("127.0.0.1")), "{log:?}");
        for kind in ["request_help from", "response_rejected to"] {
            assert!(log.iter().any(|text| text.contains(kind) && text.ends_with("request_id r-1")), "{log:?}");
        }
    }
}
