//! Whether a master gets workers, and which: a pure function of what is known at that moment.

use std::time::Duration;

use super::fair::{Rival, hand};
use crate::core::loans::desk::{span, workers};
use crate::core::loans::{Candidate, Lend, LoanConfig};
use crate::wire::{LoanRequest, MAX_WORKERS_NEEDED, ServiceName};

/// What is known beside the request and the workers.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    pub(super) config: &'a LoanConfig,
    /// The borrower, for sentences.
    pub(super) borrower: &'a str,
    /// It is this master itself.
    pub(super) itself: bool,
    /// It is a member of the same group.
    pub(super) member: bool,
    /// Where its workers are to go is known.
    pub(super) reachable: bool,
    /// This master is saturated.
    pub(super) saturated: bool,
    /// Workers of others on which this master itself rests.
    pub(super) borrows: Borrows,
    /// Workers that the borrower has of this master already.
    pub(super) has: usize,
    /// Others that wait for workers.
    pub(super) rivals: Vec<Rival>,
    /// How much longer it gets none.
    pub(super) cooling: Option<Duration>,
    /// Loans that this master can still begin before its tables, or its epochs, are full.
    pub(super) room: usize,
    /// What is full, where there is no room: one sentence.
    pub(super) full: &'a str,
}

/// Workers of others on which this master rests: it does not lend while it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core::loans) struct Borrows {
    /// Those that work here.
    pub(in crate::core::loans) here: usize,
    /// Those that are promised, and have not come.
    pub(in crate::core::loans) promised: usize,
}

impl Borrows {
    /// Why nobody is lent then; `None`: there are none.
    pub(in crate::core::loans) fn sentence(self) -> Option<String> {
        let Borrows { here, promised } = self;
        match (here, promised) {
            (0, 0) => None,
            (here, 0) => Some(format!("this master works with {} of others itself", workers(here))),
            (0, promised) => Some(format!("this master waits for {} of others itself", workers(promised))),
            (here, promised) => {
                let here = workers(here);
                Some(format!("this master works with {here} of others itself, and waits for {promised} more"))
            }
        }
    }
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// These go.
    Lend {
        chosen: Vec<Candidate>,
        /// One sentence with the figures.
        why: String,
    },
    /// None goes.
    Refuse {
        /// The word of the course.
        reason: &'static str,
        /// It is refused because of a policy, which begins a cool-down.
        policy: bool,
        /// One sentence with the figures.
        why: String,
    },
}

/// Decides on a request. `candidates` are the own workers that are here and not spoken for.
pub(super) fn decide(facts: &Facts<'_>, request: &LoanRequest, candidates: Vec<Candidate>) -> Verdict {
    let Facts { config, borrower, .. } = facts;
    let no = |reason, policy, why| Verdict::Refuse { reason, policy, why };
    if facts.itself {
        return no("refused", false, "it is this master itself that asks".to_owned());
    }
    match config.lend {
        Lend::Nobody => return no("refused", true, "workers are lent to nobody here".to_owned()),
        Lend::Group if !facts.member => {
            return no(
                "refused",
                true,
                format!("workers are lent to members of the own group, and {borrower} is none"),
            );
        }
        _ => {}
    }
    if let Some(rest) = facts.cooling {
        return no("refused", false, format!("{borrower} is cooling down for {} more", span(rest)));
    }
    if !facts.reachable {
        return no("refused", false, format!("{borrower} does not say where it listens, and is not known here"));
    }
    if facts.saturated {
        return no("high_load", false, "this master is saturated itself".to_owned());
    }
    if let Some(why) = facts.borrows.sentence() {
        return no("high_load", false, why);
    }
    let most = config.cap.map_or("none".to_owned(), |cap| cap.to_string());
    let cap = config.cap.map_or(usize::MAX, |cap| cap as usize).saturating_sub(facts.has);
    if cap == 0 {
        return no("refused", true, format!("{borrower} has {} of this master, cap={most}", workers(facts.has)));
    }
    let here = candidates.len();
    let well = candidates.iter().filter(|one| is_well(one)).count();
    let services = needed_services(request);
    let idle = candidates.iter().filter(|one| is_well(one) && one.idle).count();
    let mut fit: Vec<Candidate> = candidates.into_iter().filter(|one| obstacle(one, &services).is_none()).collect();
    let figures = format!("{idle} of {} here idle, keep={}", workers(here), config.keep);
    if fit.is_empty() && idle > 0 {
        let wanted: Vec<&str> = services.iter().map(ServiceName::as_str).take(8).collect();
        return no("no_workers_available", false, format!("no idle worker offers {} ({figures})", wanted.join(", ")));
    }
    if fit.is_empty() {
        return no("no_workers_available", false, format!("no worker is idle ({figures})"));
    }
    let spare = well.saturating_sub(config.keep as usize);
    if spare == 0 {
        return no("no_workers_available", false, format!("the idle ones are kept ({figures})"));
    }
    if facts.room == 0 {
        return no("refused", false, facts.full.to_owned());
    }
    // Native workers keep leases and come home by themselves: they go first.
    fit.sort_by(|a, b| b.native.cmp(&a.native).then_with(|| a.worker.cmp(&b.worker)));
    let needed = request.needed.clamp(1, MAX_WORKERS_NEEDED) as usize;
    let serves = |rival: &&Rival| fit.iter().any(|one| obstacle(one, &rival.services).is_none());
    let rivals: Vec<Rival> = facts.rivals.iter().filter(serves).cloned().collect();
    let dealt = hand(facts.has, needed.min(cap), &rivals, fit.len().min(spare));
    if dealt == 0 {
        let others =
            if rivals.len() == 1 { "another master that waits and has" } else { "other masters that wait and have" };
        let why = format!("what is free is kept for {others} no more than it ({figures})");
        return no("no_workers_available", false, why);
    }
    fit.truncate(dealt.min(facts.room));
    let had = facts.has;
    let why = format!("{needed} wanted, {} given ({figures}, cap={most}, {had} lent to it before)", fit.len());
    Verdict::Lend { chosen: fit, why }
}

/// What the worker must be able to run for this borrower. Empty: anything will do. Foreign workers and masters know `query` alone.
pub(super) fn needed_services(request: &LoanRequest) -> Vec<ServiceName> {
    match &request.native {
        Some(native) => native.services.clone(),
        None => ServiceName::new("query").into_iter().collect(),
    }
}

fn is_well(candidate: &Candidate) -> bool {
    !candidate.quarantined && !candidate.draining
}

/// Why a worker that is here is not to be lent, whoever asks: one clause. `None`: nothing is in the way.
pub(in crate::core::loans) fn obstacle(candidate: &Candidate, services: &[ServiceName]) -> Option<String> {
    if candidate.quarantined {
        return Some("in quarantine".to_owned());
    }
    if candidate.draining {
        return Some("draining".to_owned());
    }
    if candidate.promised {
        return Some("promised to another master".to_owned());
    }
    if !candidate.idle {
        return Some("busy".to_owned());
    }
    if !services.is_empty() && !services.iter().any(|name| candidate.services.contains(name)) {
        return Some("it offers nothing of what is needed".to_owned());
    }
    None
}

/// Own workers that are here and well, of which `keep` stay.
pub(in crate::core::loans) fn well(candidates: &[Candidate]) -> usize {
    candidates.iter().filter(|one| is_well(one)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ServerId;

    const FACTS: Facts<'static> = Facts {
        config: &LoanConfig {
            lend: Lend::Everyone,
            keep: 0,
            cap: Some(3),
            cooldown: Duration::ZERO,
            lease: Duration::from_secs(30),
            grace: Duration::ZERO,
            match_timeout: Duration::from_secs(10),
            answer: Duration::from_secs(5),
        },
        borrower: "a",
        itself: false,
        member: true,
        reachable: true,
        saturated: false,
        borrows: Borrows { here: 0, promised: 0 },
        has: 0,
        rivals: Vec::new(),
        cooling: None,
        room: 9,
        full: "it is full",
    };

    fn candidate() -> Candidate {
        Candidate {
            worker: ServerId::new("w1").unwrap(),
            native: true,
            idle: true,
            promised: false,
            quarantined: false,
            draining: false,
            services: needed_services(&request()),
            slots: 1,
            generation: 0,
            address: None,
        }
    }

    fn request() -> LoanRequest {
        LoanRequest {
            master: None,
            name: None,
            address: None,
            port: None,
            load: 150,
            capacity: 100,
            needed: 1,
            native: None,
            dialect: None,
        }
    }

    fn told(facts: &Facts<'_>) -> (&'static str, bool, String) {
        match decide(facts, &request(), vec![candidate()]) {
            Verdict::Refuse { reason, policy, why } => (reason, policy, why),
            Verdict::Lend { chosen, why } => panic!("{chosen:?}: {why}"),
        }
    }

    #[test]
    fn each_refusal_says_its_figures_and_whether_a_policy_is_the_reason() {
        let is =
            |facts: Facts<'_>, reason, policy, why: &str| assert_eq!(told(&facts), (reason, policy, why.to_owned()));
        is(Facts { itself: true, ..FACTS }, "refused", false, "it is this master itself that asks");
        let borrows = "this master works with 2 workers of others itself";
        is(Facts { borrows: Borrows { here: 2, promised: 0 }, ..FACTS }, "high_load", false, borrows);
        let promised = "this master waits for 1 worker of others itself";
        is(Facts { borrows: Borrows { here: 0, promised: 1 }, ..FACTS }, "high_load", false, promised);
        let both = "this master works with 1 worker of others itself, and waits for 2 more";
        is(Facts { borrows: Borrows { here: 1, promised: 2 }, ..FACTS }, "high_load", false, both);
        is(Facts { room: 0, ..FACTS }, "refused", false, "it is full");
        is(Facts { has: 4, ..FACTS }, "refused", true, "a has 4 workers of this master, cap=3");
        let cooling = Some(Duration::from_millis(1500));
        is(Facts { cooling, ..FACTS }, "refused", false, "a is cooling down for 1.5 s more");
        let rival = || Rival { has: 0, needed: 1, longer: true, services: Vec::new() };
        let (one, two) = (vec![rival()], vec![rival(), rival()]);
        let kept = "what is free is kept for another master that waits and has no more than it (1 of 1 worker here idle, keep=0)";
        is(Facts { rivals: one, ..FACTS }, "no_workers_available", false, kept);
        let kept = "what is free is kept for other masters that wait and have no more than it (1 of 1 worker here idle, keep=0)";
        is(Facts { rivals: two, ..FACTS }, "no_workers_available", false, kept);
        assert!(matches!(decide(&FACTS, &request(), vec![candidate()]), Verdict::Lend { .. }));
    }

    #[test]
    fn each_obstacle_has_its_clause() {
        let clause = |candidate: Candidate| obstacle(&candidate, &needed_services(&request()));
        assert_eq!(clause(candidate()), None);
        assert_eq!(clause(Candidate { quarantined: true, ..candidate() }).as_deref(), Some("in quarantine"));
        assert_eq!(clause(Candidate { draining: true, ..candidate() }).as_deref(), Some("draining"));
        let promised = Candidate { idle: false, promised: true, ..candidate() };
        assert_eq!(clause(promised).as_deref(), Some("promised to another master"));
        assert_eq!(clause(Candidate { idle: false, ..candidate() }).as_deref(), Some("busy"));
        let other = clause(Candidate { services: Vec::new(), ..candidate() });
        assert_eq!(other.as_deref(), Some("it offers nothing of what is needed"));
    }
}
