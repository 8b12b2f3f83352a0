//! WHY: one true sentence on why something is as it is, and the latest decisions with what they were based on.

use std::collections::VecDeque;
use std::time::Duration;

use super::Node;
use crate::core::Identity;
use crate::core::links::Reply;
use crate::time::{Seconds, Time};
use crate::wire::{
    Body, Decision, ErrorAnswer, ErrorCode, JobRef, JobStatus, LoanId, MAX_QUOTE, ServerId, WHY_PAGE, WhyAnswer,
    WhyQuery, quote,
};

/// An id of this many bytes is in a sentence because that master is meant; a shorter one may be a part of any word.
const LONG_ID: usize = 32;

/// Decisions that are kept.
const KEPT: usize = 1000;

/// What is decided again within this time is one decision that was made so often.
const FOLDED: Duration = Duration::from_secs(60);

/// One that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kept {
    seq: u64,
    at: Time,
    about: String,
    text: String,
    /// Where it is one that folds: how often it was made, and since when.
    folded: Option<(u64, Time)>,
}

impl Kept {
    fn sentence(&self) -> String {
        match self.folded {
            Some((times, since)) if times > 1 => {
                let span = Seconds(self.at.since(since));
                format!("{}; {times} times within {span} s, and this is the last", self.text)
            }
            _ => self.text.clone(),
        }
    }
}

/// The latest decisions, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Decisions {
    kept: VecDeque<Kept>,
    seq: u64,
}

impl Decisions {
    /// Keeps one.
    pub(super) fn note(&mut self, about: String, text: String, now: Time) {
        self.keep(about, text, None, now);
    }

    /// Keeps one that can come again and again: it takes the place of the last one about the same, if that folds, too.
    pub(super) fn fold(&mut self, about: String, text: String, now: Time) {
        let mut folded = (1, now);
        if let Some(last) = self.kept.iter().rposition(|kept| kept.about == about)
            && let Some((times, since)) = self.kept[last].folded
            && now.since(self.kept[last].at) < FOLDED
        {
            folded = (times + 1, since);
            self.kept.remove(last);
        }
        self.keep(about, text, Some(folded), now);
    }

    fn keep(&mut self, about: String, text: String, folded: Option<(u64, Time)>, now: Time) {
        self.seq += 1;
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { seq: self.seq, at: now, about, text, folded });
    }

    /// The sentences about something.
    #[cfg(test)]
    pub(super) fn about(&self, about: &str) -> Vec<String> {
        self.kept.iter().filter(|kept| kept.about == about).map(Kept::sentence).collect()
    }

    /// Those before a number, and about something where that is asked for, the newest first; and whether there are more.
    fn latest(&self, before: Option<u64>, about: Option<&str>, now: Time) -> (Vec<Decision>, bool) {
        let wanted = |kept: &&Kept| {
            before.is_none_or(|before| kept.seq < before) && about.is_none_or(|about| kept.about == about)
        };
        let mut rest = self.kept.iter().rev().filter(wanted);
        let page = rest.by_ref().take(WHY_PAGE).map(|kept| Decision {
            seq: kept.seq,
            age: now.since(kept.at),
            about: kept.about.clone(),
            text: kept.sentence(),
        });
        let page = page.collect();
        (page, rest.next().is_some())
    }
}

impl Node {
    pub(super) fn why(&mut self, reply: &Reply, query: &WhyQuery, now: Time) {
        // One sentence has the figures of one moment.
        self.tell_loans_load_now(now);
        let (why, about, before) = match query {
            WhyQuery::Latest { before } => (Ok(None), None, *before),
            WhyQuery::Job(job) => (self.why_job(job, now).map(Some), None, None),
            WhyQuery::Worker(worker) => {
                let worker = self.named_worker(worker);
                (self.why_worker(&worker, now).map(Some), Some(worker.as_str().to_owned()), None)
            }
            WhyQuery::Peer(peer) => match self.why_peer(peer, now) {
                Ok((id, why)) => (Ok(Some(why)), Some(id), None),
                Err(error) => (Err(error), None, None),
            },
            WhyQuery::Loan(loan) => (self.why_loan(loan, now).map(Some), Some(loan.as_str().to_owned()), None),
        };
        let answer = match why {
            Ok(why) => {
                let why = why.map(|why| self.with_names(why, now));
                let named = why.is_none() || about.is_some();
                let (decisions, more) = match named {
                    true => self.decisions.latest(before, about.as_deref(), now),
                    false => (Vec::new(), false),
                };
                let server_id = self.identity.server_id.clone();
                Body::WhyAnswer(Box::new(WhyAnswer { server_id, why, decisions, more }))
            }
            Err(detail) => {
                let mut error = ErrorAnswer::new("WHY", ErrorCode::NotFound, detail);
                error.retry = false;
                Body::Error(Box::new(error))
            }
        };
        self.reply(reply, answer);
    }

    /// A sentence for people, with the names of masters where their ids stand in it.
    fn with_names(&self, mut sentence: String, now: Time) -> String {
        for entry in self.registry.view(now) {
            if let (Some(id), Some(name)) = (&entry.server_id, &entry.name)
                && id.as_str().len() >= LONG_ID
            {
                sentence = sentence.replace(id.as_str(), name);
            }
        }
        sentence
    }

    fn why_job(&self, job: &JobRef, now: Time) -> Result<String, String> {
        let view =
            self.queue.find(job).and_then(|number| self.queue.view(number, now, false).map(|view| (number, view)));
        let Some((number, view)) = view else {
            let job = match job {
                JobRef::Id(id) => id.as_str(),
                JobRef::Key(key) => key,
            };
            return Err(format!(
                "no job `{}` is known here: it is another master's, or forgotten",
                quote(job, MAX_QUOTE)
            ));
        };
        let reason = self.why_queued(number).or(view.reason).unwrap_or_default();
        let worker = view.worker.as_ref().map(|worker| format!(" on worker {worker}")).unwrap_or_default();
        let attempt = view.attempt;
        Ok(match view.status {
            JobStatus::Queued | JobStatus::Delayed => reason,
            JobStatus::Running => format!("attempt {attempt} runs{worker}"),
            JobStatus::Ok => format!("it ended OK at attempt {attempt}{worker}"),
            status => format!("{} at attempt {attempt}{worker}: {reason}", status.as_str()),
        })
    }

    /// The id of a worker that is called by its id or its name: one of the farm's, or this node itself.
    fn named_worker(&self, worker: &ServerId) -> ServerId {
        let Identity { server_id, name } = &self.identity;
        match self.farm.named(worker) {
            Some(known) => known,
            None if self.worker.is_some() && worker.as_str() == name => server_id.clone(),
            None => worker.clone(),
        }
    }

    fn why_worker(&self, worker: &ServerId, now: Time) -> Result<String, String> {
        if let Some(machine) = self.worker.as_ref().filter(|_| *worker == self.identity.server_id) {
            return Ok(machine.why(now));
        }
        let here = self.farm.reason_of(worker, now);
        let lent = self.desk.as_ref().and_then(|desk| desk.loans.why(worker, &self.candidates_to_lend(), now));
        match (here, lent) {
            (Some(here), Some(lent)) => Ok(format!("{here}; {lent}")),
            (Some(why), None) | (None, Some(why)) => Ok(why),
            (None, None) => {
                Err(format!("no worker `{}` is known here; WORKERS lists them", quote(worker.as_str(), MAX_QUOTE)))
            }
        }
    }

    fn why_peer(&self, peer: &str, now: Time) -> Result<(String, String), String> {
        let all = self.registry.view(now);
        let is = |entry: &&crate::wire::NodeEntry| {
            entry.key == peer
                || entry.server_id.as_ref().is_some_and(|id| id.as_str() == peer)
                || entry.name.as_deref() == Some(peer)
                || entry.address.to_string() == peer
        };
        let entry = all.iter().find(is);
        if self.is_this_master(peer, entry.is_some()) {
            return Ok((self.identity.server_id.as_str().to_owned(), self.why_itself(now)));
        }
        let Some(entry) = entry else {
            return Err(format!("no peer `{}` is known here; NODES lists them", quote(peer, MAX_QUOTE)));
        };
        let asks = self.desk.as_ref().map(|desk| desk.loans.why_asks(now)).unwrap_or_default();
        let asks = if asks.is_empty() { asks } else { format!("; for workers this master {asks}") };
        Ok((entry.key.clone(), format!("{}: {}{asks}", entry.status.as_str(), entry.reason)))
    }

    /// Whether this master itself is meant, by its id, its address, or its name where that is no peer's, too.
    fn is_this_master(&self, peer: &str, known: bool) -> bool {
        let Identity { server_id, name } = &self.identity;
        let called = peer == server_id.as_str() || peer == self.own_address().to_string() || (peer == name && !known);
        self.worker.is_none() && called
    }

    /// Whether this master is saturated, and why it asks for workers, or does not.
    fn why_itself(&self, now: Time) -> String {
        let (report, config) = (self.load.report(), self.load.config());
        let saturated = match self.saturated_since {
            Some(since) => format!("saturated for {} s", Seconds(now.since(since))),
            None => "not saturated".to_owned(),
        };
        let (pending, capacity, release) = (report.pending, config.capacity, config.release);
        let asks =
            self.desk.as_ref().map_or_else(|| "takes part in no loans".to_owned(), |desk| desk.loans.why_asks(now));
        format!(
            "it is this master itself, {saturated}: {pending} jobs pending, capacity={capacity}, release={release}; \
             for workers it {asks}"
        )
    }

    fn why_loan(&self, loan: &LoanId, now: Time) -> Result<String, String> {
        let why = self.desk.as_ref().and_then(|desk| desk.loans.why_loan(loan, now));
        why.ok_or_else(|| format!("no loan `{loan}` is known here; LOANS lists them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_thousand_are_kept_and_told_page_by_page_the_newest_first() {
        let mut decisions = Decisions::default();
        let at = |nth: u64| Time::ZERO + Duration::from_secs(nth);
        for nth in 1..=1234 {
            decisions.note(["w", "p"][(nth % 2) as usize].to_owned(), format!("number {nth}"), at(nth));
        }
        let mut before = None;
        let mut told = Vec::new();
        loop {
            let (page, more) = decisions.latest(before, None, at(1300));
            assert!(page.len() <= WHY_PAGE);
            before = page.last().map(|last| last.seq);
            told.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(told.len(), KEPT);
        assert_eq!((told[0].seq, told[0].age, told[999].seq), (1234, Duration::from_secs(66), 235));
        let (about, more) = decisions.latest(None, Some("p"), at(1300));
        assert!(more && about.iter().all(|decision| decision.about == "p"));
    }

    #[test]
    fn what_is_decided_again_and_again_is_one_decision_that_tells_how_often() {
        let mut decisions = Decisions::default();
        let at = |ms: u64| Time::ZERO + Duration::from_millis(ms);
        decisions.note("w".into(), "it goes".into(), at(0));
        for nth in 0..5000 {
            decisions.fold("x".into(), format!("refused for {} workers", nth % 2 + 1), at(nth));
            decisions.fold("y".into(), "refused".into(), at(nth));
        }
        assert_eq!(decisions.kept.len(), 3);
        assert_eq!(decisions.about("x"), ["refused for 2 workers; 5000 times within 4.9 s, and this is the last"]);
        assert_eq!(decisions.about("w"), ["it goes"]);
        // What was decided otherwise meanwhile stands between, and what is long ago stands for itself.
        decisions.note("x".into(), "it gets one".into(), at(5001));
        decisions.fold("x".into(), "refused".into(), at(5002));
        decisions.fold("x".into(), "refused".into(), at(5003) + FOLDED);
        assert_eq!(decisions.about("x")[1..], ["it gets one", "refused", "refused"]);
    }
}
