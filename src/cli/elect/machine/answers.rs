//! Answers: what they mean for the lease, and which of them settle what was asked.

use super::{ANSWER, Candidate, Held, MEMBERS_AGE, Phase, WAIT};
use crate::cli::elect::asks::{Ask, Goal};
use crate::cli::elect::limits::Limits;
use crate::cli::elect::timetable::Timetable;
use crate::cli::elect::{Answer, Moment, Output};
use crate::cli::exit;
use crate::core::HeldLease;
use crate::time::Time;
use crate::wire::{Address, Body, ErrorCode, Lease};

impl Candidate {
    pub(super) fn answered(&mut self, number: u64, answer: Answer, now: Moment) {
        let Some(ask) = self.asks.answered(number) else { return };
        if ask.goal == Goal::Release && !matches!(self.phase, Phase::Releasing { .. }) {
            return;
        }
        match answer {
            Answer::Members(members) => self.asks.learn(members),
            // Who else could be asked is asked again some other time.
            Answer::Nothing(_) | Answer::Refused(..) if ask.goal == Goal::Members => {}
            Answer::Nothing(text) => {
                self.asks.trouble(&ask, now.at);
                self.in_trouble(text);
            }
            Answer::Refused(code, text) if !self.settled(&ask, &code, &text, now) => {
                self.asks.trouble(&ask, now.at);
                self.in_trouble(text);
            }
            Answer::Refused(..) => self.served(&ask.node, now),
            Answer::Lease(lease) => {
                self.served(&ask.node, now);
                self.granted(ask.goal, ask.sent, &lease, now);
            }
        }
    }

    /// The node is of use: it is asked first, and now and then who else could be.
    fn served(&mut self, node: &Address, now: Moment) {
        self.asks.prefer(node);
        self.trouble = None;
        if self.learnt_at.is_none_or(|at| now.at.since(at) >= MEMBERS_AGE) {
            self.learnt_at = Some(now.at);
            let question = self.asks.once(Goal::Members, Body::MembersQuestion, ANSWER, now.at);
            self.outputs.push_back(Output::Ask(question));
        }
    }

    fn in_trouble(&mut self, text: String) {
        if self.phase == Phase::Waiting {
            self.say_once(format!("{text}; trying on"));
        }
        self.trouble = Some(text);
    }

    /// Whether a refusal is an answer to what was asked; else another node may know better.
    fn settled(&mut self, ask: &Ask, code: &ErrorCode, text: &str, now: Moment) -> bool {
        let goal = ask.goal;
        match (goal, code) {
            (Goal::Acquire, ErrorCode::Held) if self.phase == Phase::Waiting => {
                self.say_once(format!("waiting: {text}"));
                // Who does not wait though it was asked to is asked politely.
                if !self.wait.is_zero() && now.at.since(ask.sent) < self.wait / 4 {
                    self.asks.trouble(ask, now.at);
                } else {
                    self.acquire(WAIT, now.at);
                }
            }
            (Goal::Acquire, ErrorCode::Held) => {}
            (_, ErrorCode::BadField | ErrorCode::MissingField) => {
                self.say(format!("error: {text}"));
                self.asks.settle(goal);
                match &self.phase {
                    Phase::Waiting | Phase::Releasing { .. } => self.exit(exit::FAILURE),
                    _ => self.lost(text, true, now),
                }
            }
            (Goal::Release, ErrorCode::Over) => self.released(),
            (Goal::Renew | Goal::Tick(_), ErrorCode::Over) => match &self.phase {
                Phase::Confirming { .. } => self.again(None, now),
                Phase::Holding(_) => self.lost(text, true, now),
                _ => {}
            },
            // Of several questions one was answered well already.
            (Goal::Tick(_), ErrorCode::Claimed) if !self.asks.pursues(goal) => {}
            (Goal::Tick(tick), ErrorCode::Claimed) => {
                // Nobody but the holder claims. If the first answer was lost, the claim may have been agreed on all the same.
                let ours = self.asks.asked(goal) > 1;
                self.asks.settle(goal);
                if ours { self.run_tick(tick, now) } else { self.leave_tick(tick, now) }
            }
            _ => return false,
        }
        true
    }

    /// Good news about the lease.
    fn granted(&mut self, goal: Goal, sent: Time, lease: &Lease, now: Moment) {
        let ours = lease.holder.as_deref() == Some(self.holder().as_str());
        match (goal, &mut self.phase) {
            (Goal::Acquire, Phase::Waiting) if ours => {
                self.asks.settle(goal);
                let held = HeldLease::new(sent, lease.ttl);
                if now.at < held.renew_at() {
                    return self.hold(held, lease, now);
                }
                self.phase = Phase::Confirming { fence: lease.fence };
                self.renew(lease.fence, now.at);
            }
            (Goal::Renew, Phase::Confirming { fence }) if ours && lease.fence == *fence => {
                self.asks.settle(goal);
                let held = HeldLease::new(sent, lease.ttl);
                if now.at < held.renew_at() { self.hold(held, lease, now) } else { self.renew(lease.fence, now.at) }
            }
            (Goal::Renew, Phase::Holding(held)) if ours && lease.fence == held.fence => {
                held.lease.renewed(sent, lease.ttl, now.at);
                let (renewed, runs) = (held.lease, held.run.is_some());
                if now.at < renewed.renew_at() {
                    self.asks.settle(goal);
                }
                if runs {
                    self.outputs.push_back(Output::Extend(Limits::of(&renewed, self.plan.grace)));
                }
            }
            (Goal::Tick(tick), Phase::Holding(_)) if self.asks.pursues(goal) => {
                self.asks.settle(goal);
                self.run_tick(tick, now);
            }
            (Goal::Release, Phase::Releasing { .. }) => self.released(),
            _ => {}
        }
    }

    fn hold(&mut self, held: HeldLease, lease: &Lease, now: Moment) {
        if self.said.take().is_some() {
            self.say(format!("holds `{}` with fence {}", self.plan.name, lease.fence));
        }
        let unix = now.unix.as_secs();
        let table = self.plan.every.map(|(every, missed)| Timetable::new(every, missed, lease.tick, unix));
        if let (Some(table), Some((every, _))) = (&table, self.plan.every)
            && table.ahead(unix) > every
        {
            let ahead = table.ahead(unix);
            self.say(format!(
                "the last tick was claimed by a clock that is {ahead} s ahead of this one; waiting for it"
            ));
        }
        let is_table = table.is_some();
        self.phase = Phase::Holding(Held { fence: lease.fence, lease: held, run: None, table, tick: None });
        if !is_table {
            self.start(None, now);
        }
    }
}
