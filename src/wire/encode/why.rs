//! WHY, in native form.

use crate::wire::{Decision, JobRef, WhyAnswer, WhyQuery};

use super::object::Object;

/// Longest sentence of an answer, in bytes.
const SENTENCE: usize = 2048;

impl<'o> Object<'o> {
    pub(super) fn why(self, query: &WhyQuery) -> Object<'o> {
        match query {
            WhyQuery::Job(JobRef::Id(job)) => self.text("JOB_ID", job.as_str()),
            WhyQuery::Job(JobRef::Key(key)) => self.text("KEY", key),
            WhyQuery::Worker(worker) => self.text("WORKER_UUID", worker.as_str()),
            WhyQuery::Peer(peer) => self.text("PEER", peer),
            WhyQuery::Loan(loan) => self.text("LOAN_ID", loan.as_str()),
            WhyQuery::Latest { before: Some(before) } => self.number("BEFORE", *before),
            WhyQuery::Latest { before: None } => self,
        }
    }

    pub(super) fn why_answer(self, answer: &WhyAnswer) -> Object<'o> {
        let line = self.text("SERVER_ID", answer.server_id.as_str());
        let line = match &answer.why {
            Some(why) => line.cut_text("WHY", why, SENTENCE),
            None => line,
        };
        line.page("DECISIONS", &answer.decisions, answer.more, |entry, decision| entry.decision(decision))
    }

    fn decision(self, decision: &Decision) -> Object<'o> {
        let line = self.number("SEQ", decision.seq).millis("AGE_MS", decision.age);
        line.cut_text("ABOUT", &decision.about, 128).cut_text("TEXT", &decision.text, SENTENCE)
    }
}
