//! Ends: of the lease, of what runs under it, and of the process.

use super::{ANSWER, Candidate, ENDING, Phase, RELEASE};
use crate::cli::elect::asks::Goal;
use crate::cli::elect::limits::Limits;
use crate::cli::elect::{End, Exit, Moment, Output};
use crate::cli::exit;
use std::time::Duration;

impl Candidate {
    /// The lease is not to be relied on any more. `at_once`: it may be somebody else's already.
    pub(super) fn lost(&mut self, why: &str, at_once: bool, now: Moment) {
        let Phase::Holding(held) = &self.phase else { return };
        let (fence, run, limits) = (held.fence, held.run, Limits::of(&held.lease, self.plan.grace));
        let name = &self.plan.name;
        let text = match run {
            Some(_) => format!("lost `{name}` (fence {fence}): {why}; the command is stopped"),
            None => format!("lost `{name}` (fence {fence}): {why}"),
        };
        self.say(text);
        let Some(run) = run else { return self.again(Some(fence), now) };
        let kill_at = if at_once { now.at } else { limits.kill_at };
        self.asks.next_tenure();
        self.outputs.push_back(Output::Stop { kill_at });
        let backstop_at = if at_once { now.at + limits.backstop_at.since(limits.kill_at) } else { limits.backstop_at };
        // What is lost for certain needs no release.
        let fence = (!at_once).then_some(fence);
        self.phase = Phase::Stopping { run, fence, backstop_at: Some(backstop_at) };
    }

    /// Nothing runs any more, and the lease is given up: a candidate again, under another name. `fence`: the grant, where it may still be in force.
    pub(super) fn again(&mut self, fence: Option<u64>, now: Moment) {
        if let (Some(fence), Some(code)) = (fence, self.ending) {
            return self.release(fence, code, now);
        }
        // Best effort: if it does not come through, the lease expires.
        let release = fence.map(|fence| self.release_action(fence));
        self.asks.next_tenure();
        if let Some(body) = release {
            let question = self.asks.once(Goal::Release, body, ANSWER, now.at);
            self.outputs.push_back(Output::Ask(question));
        }
        self.tenure += 1;
        if let Some(code) = self.ending {
            return self.exit(code);
        }
        self.phase = Phase::Waiting;
        self.acquire(Duration::ZERO, now.at);
    }

    pub(super) fn ended(&mut self, run: u64, end: End, now: Moment) {
        match &mut self.phase {
            Phase::Stopping { run: stopping, fence, .. } if *stopping == run => {
                let fence = *fence;
                self.again(fence, now);
            }
            Phase::Holding(held) if held.run == Some(run) => {
                held.run = None;
                let (fence, tick) = (held.fence, held.tick.take());
                if let (Some(table), Some(tick)) = (&mut held.table, tick) {
                    table.claimed(tick, now.unix.as_secs());
                }
                self.ended_while_holding(fence, tick, end, now);
            }
            _ => {}
        }
    }

    fn ended_while_holding(&mut self, fence: u64, tick: Option<u64>, end: End, now: Moment) {
        let name = self.plan.name.clone();
        let what = tick.map_or_else(|| "the command".to_owned(), |tick| format!("tick {tick}"));
        match (end, tick) {
            (End::Stopped, _) => {
                self.say(format!("lost `{name}` (fence {fence}): no renewal was answered in time; {what} was stopped"));
                self.again(Some(fence), now);
            }
            (End::Itself(how), Some(_)) => {
                if how != Exit::Code(0) {
                    self.say(format!("{what}: {how}"));
                }
                self.end_if_asked(fence, now);
            }
            (End::Itself(how), None) => self.release(fence, how.code(), now),
            (End::GuardLost, Some(_)) => {
                self.say(format!("{what}: its guard process was lost, and it was stopped"));
                self.end_if_asked(fence, now);
            }
            (End::GuardLost, None) => {
                self.say("the guard process was lost, and the command was stopped".to_owned());
                self.again(Some(fence), now);
            }
            (End::NotStarted(why), _) => {
                self.say(format!("error: {what} could not be started: {why}"));
                self.release(fence, exit::FAILURE, now);
            }
        }
    }

    fn end_if_asked(&mut self, fence: u64, now: Moment) {
        if let Some(code) = self.ending {
            self.release(fence, code, now);
        }
    }

    pub(super) fn signalled(&mut self, signal: i32, delivered: bool, now: Moment) {
        let code = ENDING.contains(&signal).then(|| Exit::Signal(signal).code());
        let (fence, runs) = match &self.phase {
            Phase::Holding(held) => (Some(held.fence), held.run.is_some()),
            Phase::Confirming { fence } => (Some(*fence), false),
            Phase::Stopping { .. } => (None, true),
            _ => (None, false),
        };
        if runs {
            // Whether and when the command ends is its own affair.
            self.ending = self.ending.or(code);
            if !delivered {
                self.outputs.push_back(Output::Pass(signal));
            }
            return;
        }
        let Some(code) = code else { return };
        match (&self.phase, fence) {
            // The second one does not wait for the release.
            (Phase::Releasing { code, .. }, _) => self.exit(*code),
            (_, Some(fence)) => self.release(fence, code, now),
            (_, None) => self.exit(code),
        }
    }

    pub(super) fn release(&mut self, fence: u64, code: u8, now: Moment) {
        let (body, hedge) = (self.release_action(fence), self.hedge());
        self.asks.next_tenure();
        self.asks.pursue(Goal::Release, body, hedge * 5, ANSWER, now.at);
        self.phase = Phase::Releasing { until: now.at + RELEASE, code };
    }

    pub(super) fn released(&mut self) {
        if let Phase::Releasing { code, .. } = self.phase {
            self.exit(code);
        }
    }

    pub(super) fn exit(&mut self, code: u8) {
        self.phase = Phase::Over;
        self.asks.next_tenure();
        self.outputs.push_back(Output::Exit(code));
    }
}
