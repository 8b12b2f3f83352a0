//! What is asked of which node: each goal is pursued at one node after another until an answer settles it.
//!
//! ```text
//!   pursue(goal) ──> ask the node that answered last ──(no answer within the hedge, or trouble)──> ask the next one as well
//!                         │ any answer                                                              │ any answer
//!                         └────────────────────────────> settle(goal) <─────────────────────────────┘
//! ```
//!
//! All of it is about one lease and one holder, so that asking twice is harmless: whichever answer comes counts from when its own
//! question was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;
use crate::wire::{Address, Body, LeaseAction, LeaseRequest};

/// Questions of one goal that may be under way at a time: silent nodes cost a thread each.
const MAX_UNDER_WAY: usize = 6;

/// Pause after trouble, so that nodes that refuse at once are asked politely.
const PAUSE: Duration = Duration::from_millis(500);

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Goal {
    /// The lease.
    Acquire,
    /// That it goes on.
    Renew,
    /// That it is free.
    Release,
    /// That this tick is ours to run.
    Tick(u64),
    /// Who else can be asked.
    Members,
}

/// A question that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ask {
    pub(super) goal: Goal,
    /// Of which holder's name it is: answers for former ones count no more.
    pub(super) tenure: u64,
    pub(super) node: Address,
    /// The clock was read before it was sent.
    pub(super) sent: Time,
}

/// A question to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Its number.
    pub(super) ask: u64,
    /// To whom.
    pub(super) node: Address,
    /// What.
    pub(super) body: Body,
    /// After this it counts as not answered.
    pub(super) patience: Duration,
}

/// A goal that is pursued.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pursuit {
    goal: Goal,
    body: Body,
    /// How long one node has before the next one is asked as well.
    hedge: Duration,
    patience: Duration,
    next_at: Time,
    /// Questions so far.
    asked: u32,
}

/// The questions of one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asks {
    told: Vec<Address>,
    learnt: Vec<Address>,
    /// Index of the node that answered last, in both lists as one.
    current: usize,
    pursuits: Vec<Pursuit>,
    under_way: BTreeMap<u64, Ask>,
    next: u64,
    tenure: u64,
}

impl Asks {
    /// Questions to these nodes, at least one, and to those that are learnt.
    pub(super) fn new(told: Vec<Address>) -> Asks {
        let (learnt, pursuits, under_way) = (Vec::new(), Vec::new(), BTreeMap::new());
        Asks { told, learnt, current: 0, pursuits, under_way, next: 0, tenure: 0 }
    }

    /// Pursues a goal from now on, in place of what was pursued for the same one. Each node has `hedge` to answer before the next is
    /// asked too, and `patience` in all.
    pub(super) fn pursue(&mut self, goal: Goal, body: Body, hedge: Duration, patience: Duration, now: Time) {
        self.settle(goal);
        self.pursuits.push(Pursuit { goal, body, hedge, patience, next_at: now, asked: 0 });
    }

    /// Whether a goal is pursued.
    pub(super) fn pursues(&self, goal: Goal) -> bool {
        self.pursuits.iter().any(|pursuit| pursuit.goal == goal)
    }

    /// How often a goal that is pursued was asked for.
    pub(super) fn asked(&self, goal: Goal) -> u32 {
        self.pursuits.iter().find(|pursuit| pursuit.goal == goal).map_or(0, |pursuit| pursuit.asked)
    }

    /// A goal is reached, or is none any more. Answers that are still to come may be of use.
    pub(super) fn settle(&mut self, goal: Goal) {
        self.pursuits.retain(|pursuit| pursuit.goal != goal);
    }

    /// Another name of the holder from now on: nothing is pursued any more, and what is under way counts no more.
    pub(super) fn next_tenure(&mut self) {
        self.tenure += 1;
        self.pursuits.clear();
    }

    /// A question to the node that answered last, which is not repeated.
    pub(super) fn once(&mut self, goal: Goal, body: Body, patience: Duration, now: Time) -> Question {
        let node = self.node(0);
        self.question(goal, node, body, patience, now)
    }

    /// The questions that are due.
    pub(super) fn due(&mut self, now: Time) -> Vec<Question> {
        let mut due = Vec::new();
        for nth in 0..self.pursuits.len() {
            let Pursuit { goal, next_at, hedge, patience, asked, .. } = self.pursuits[nth];
            if next_at > now {
                continue;
            }
            self.pursuits[nth].next_at = now + hedge;
            if self.count(goal) < MAX_UNDER_WAY {
                let (node, body) = (self.node(asked as usize), self.pursuits[nth].body.clone());
                self.pursuits[nth].asked += 1;
                due.push(self.question(goal, node, body, patience, now));
            }
        }
        due
    }

    /// An answer has come, or will not: what was asked, if that still counts.
    pub(super) fn answered(&mut self, ask: u64) -> Option<Ask> {
        let ask = self.under_way.remove(&ask)?;
        (ask.tenure == self.tenure).then_some(ask)
    }

    /// The node has answered well: it is asked first from now on.
    pub(super) fn prefer(&mut self, node: &Address) {
        let index = self.nodes().position(|known| known == node);
        self.current = index.unwrap_or(self.current);
    }

    /// The node did not help: the next one is asked soon.
    pub(super) fn trouble(&mut self, ask: &Ask, now: Time) {
        let count = self.told.len() + self.learnt.len();
        let Some(pursuit) = self.pursuits.iter_mut().find(|pursuit| pursuit.goal == ask.goal) else { return };
        // Once round, and then there is time: somebody must be elected or started first.
        let others = !(pursuit.asked as usize).is_multiple_of(count.max(1));
        let pause = if others { Duration::ZERO } else { PAUSE.min(pursuit.hedge) };
        pursuit.next_at = pursuit.next_at.min(now + pause);
    }

    /// Who belongs to the group: they can be asked too.
    pub(super) fn learn(&mut self, mut members: Vec<Address>) {
        let current = self.node(0);
        members.retain(|member| !self.told.contains(member));
        self.learnt = members;
        let index = self.nodes().position(|node| *node == current);
        self.current = index.unwrap_or(0);
    }

    /// When [`Asks::due`] has something.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.pursuits.iter().map(|pursuit| pursuit.next_at).min()
    }

    fn nodes(&self) -> impl Iterator<Item = &Address> {
        self.told.iter().chain(&self.learnt)
    }

    /// The node that is asked as the `turn`-th.
    fn node(&self, turn: usize) -> Address {
        let count = (self.told.len() + self.learnt.len()).max(1);
        let node = self.nodes().nth((self.current + turn) % count);
        node.or(self.told.first()).expect("a candidate is told one node at least").clone()
    }

    fn count(&self, goal: Goal) -> usize {
        self.under_way.values().filter(|ask| ask.goal == goal && ask.tenure == self.tenure).count()
    }

    fn question(&mut self, goal: Goal, node: Address, body: Body, patience: Duration, now: Time) -> Question {
        self.next += 1;
        self.under_way.insert(self.next, Ask { goal, tenure: self.tenure, node: node.clone(), sent: now });
        Question { ask: self.next, node, body, patience }
    }
}

/// A request about a lease.
pub(super) fn request(name: &str, action: LeaseAction) -> Body {
    Body::Lease(Box::new(LeaseRequest { name: name.to_owned(), action }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEDGE: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn asks(nodes: &[&str]) -> Asks {
        Asks::new(nodes.iter().map(|node| node.parse().unwrap()).collect())
    }

    fn pursue(asks: &mut Asks, now: Time) {
        asks.pursue(Goal::Renew, Body::MembersQuestion, HEDGE, HEDGE * 5, now);
    }

    fn whom(questions: &[Question]) -> Vec<String> {
        questions.iter().map(|question| question.node.to_string()).collect()
    }

    #[test]
    fn a_silent_node_costs_a_hedge_and_a_refusal_nothing() {
        let mut asks = asks(&["a:1", "b:2"]);
        asks.learn(vec!["b:2".parse().unwrap(), "c:3".parse().unwrap()]);
        pursue(&mut asks, at(0));
        let first = asks.due(at(0));
        assert_eq!((whom(&first), asks.due(at(99)).len(), asks.deadline()), (vec!["a:1".to_owned()], 0, Some(at(100))));
        let second = asks.due(at(100));
        assert_eq!(whom(&second), ["b:2"]);
        let refused = asks.answered(second[0].ask).unwrap();
        asks.trouble(&refused, at(110));
        let third = asks.due(at(110));
        assert_eq!(whom(&third), ["c:3"], "one that is learnt");
        let refused = asks.answered(third[0].ask).unwrap();
        asks.trouble(&refused, at(120));
        assert_eq!(asks.due(at(120)).len(), 0, "all were asked: now there is a pause");
        // The first answers at last: it counts from when it was asked.
        let answered = asks.answered(first[0].ask).unwrap();
        assert_eq!((answered.sent, asks.asked(Goal::Renew)), (at(0), 3));
    }

    #[test]
    fn who_answered_last_is_asked_first() {
        let mut asks = asks(&["a:1", "b:2"]);
        asks.prefer(&"b:2".parse().unwrap());
        pursue(&mut asks, at(0));
        assert_eq!(whom(&asks.due(at(0))), ["b:2"]);
        asks.learn(vec!["c:3".parse().unwrap()]);
        asks.prefer(&"c:3".parse().unwrap());
        pursue(&mut asks, at(1));
        assert_eq!(whom(&asks.due(at(1))), ["c:3"]);
        asks.learn(Vec::new());
        pursue(&mut asks, at(2));
        assert_eq!(whom(&asks.due(at(2))), ["a:1"], "it is no member any more");
    }

    #[test]
    fn silent_nodes_do_not_pile_up_and_old_tenures_do_not_count() {
        let mut asks = asks(&["a:1"]);
        pursue(&mut asks, at(0));
        let all: Vec<Question> = (0..100).flat_map(|nth| asks.due(at(nth * 100))).collect();
        assert_eq!(all.len(), MAX_UNDER_WAY);
        asks.next_tenure();
        assert_eq!((asks.answered(all[0].ask), asks.deadline()), (None, None));
    }
}
