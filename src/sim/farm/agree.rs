//! What owner, borrower, worker and ledger say of one loan: once all is well, they come to say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::core::BondView;
use crate::sim::host::host_at;
use crate::sim::network::Host;
use crate::time::Time;
use crate::wire::{LoanState, LoanView};

/// What a master says and knows.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) host: Host,
    pub(super) loans: Vec<LoanView>,
    /// Its copy of the ledger, where it has one.
    pub(super) ledger: Option<Value>,
}

/// What they do not agree on, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Disputes {
    since: BTreeMap<String, Time>,
}

impl Disputes {
    /// Law: nothing is in dispute for longer than `most`.
    pub(super) fn look(&mut self, now: Time, disputed: BTreeSet<String>, most: Duration) -> Result<(), String> {
        self.since.retain(|what, _| disputed.contains(what));
        for what in disputed {
            let since = *self.since.entry(what.clone()).or_insert(now);
            if now.since(since) > most {
                return Err(format!("for {:?}, though all is well: {what}", now.since(since)));
            }
        }
        Ok(())
    }

    /// Whether nothing is in dispute.
    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    /// One that there is, for people.
    pub(super) fn first(&self) -> String {
        self.since.keys().next().cloned().unwrap_or_default()
    }
}

/// The master of an id `master-N`.
pub(super) fn master_of(id: &str) -> Option<Host> {
    id.strip_prefix("master-")?.parse().ok()
}

/// All that native masters and their workers do not agree on at this moment.
pub(super) fn disputed(masters: &[Statement], workers: &[(Host, BondView)]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let of = |host: Host| masters.iter().find(|one| one.host == host);
    let has = |one: &Statement, out: bool, view: &LoanView| {
        one.loans.iter().any(|other| other.out == out && other.loan_id == view.loan_id)
    };
    for one in masters {
        let (host, ledger) = (one.host, one.ledger.as_ref());
        let open = ledger.and_then(|ledger| ledger["LOANS"].as_array());
        for view in &one.loans {
            let (worker, id) = (&view.worker, &view.loan_id);
            let other = master_of(&view.peer).and_then(of);
            let works = view.status == LoanState::Active;
            if other.is_some_and(|other| works && !has(other, !view.out, view)) {
                let way = if view.out { "lends" } else { "borrows" };
                all.insert(format!("master {host} {way} {worker} on loan {id}, and {} does not know it", view.peer));
            }
            let written = open.is_none_or(|open| open.iter().any(|loan| loan["LOAN_ID"] == id.as_str()));
            if view.out && view.agreed && works && !written {
                all.insert(format!("loan {id} of master {host} is agreed on, and is not in the ledger"));
            }
        }
        for loan in open.into_iter().flatten() {
            let id = loan["LOAN_ID"].as_str().unwrap_or_default();
            let mine = loan["OWNER"].as_str().and_then(master_of) == Some(host);
            if mine && !one.loans.iter().any(|view| view.out && view.loan_id.as_str() == id) {
                all.insert(format!("loan {id} is open in the ledger, and its owner {host} does not know it"));
            }
        }
    }
    for (worker, bond) in workers {
        let at = bond.at.as_ref().map(host_at);
        if let Some(id) = &bond.loan_id
            && let Some(master) = at.and_then(of)
            && !master.loans.iter().any(|view| !view.out && view.loan_id == *id)
        {
            all.insert(format!(
                "worker {worker} is at master {} on loan {id}, which that one does not know",
                master.host
            ));
        }
    }
    all
}

/// The owner of a worker, as the ledger of a member says; `None`: nobody has adopted it.
pub(super) fn adopted(ledger: &Value, worker: Host) -> Option<String> {
    let all = ledger["ADOPTED"].as_array()?;
    let it = all.iter().find(|it| it["WORKER_UUID"] == format!("worker-{worker}"))?;
    it["OWNER"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::{LoanId, ServerId};

    fn view(out: bool, peer: &str) -> LoanView {
        LoanView {
            loan_id: LoanId::new("L").unwrap(),
            worker: ServerId::new("worker-9").unwrap(),
            out,
            peer: peer.to_owned(),
            status: LoanState::Active,
            epoch: None,
            lease: None,
            agreed: out,
            age: Duration::ZERO,
            done: 0,
            reason: String::new(),
        }
    }

    fn says(host: Host, loans: Vec<LoanView>, ledger: Option<Value>) -> Statement {
        Statement { host, loans, ledger }
    }

    #[test]
    fn what_one_says_and_another_does_not_know_is_in_dispute() {
        let open = || Some(json!({ "LOANS": [{ "LOAN_ID": "L", "OWNER": "master-0" }] }));
        let (lends, borrows) = (view(true, "master-1"), view(false, "master-0"));
        let count = |masters: &[Statement]| disputed(masters, &[]).len();
        let whole = [says(0, vec![lends.clone()], open()), says(1, vec![borrows.clone()], open())];
        assert_eq!(count(&whole), 0);
        assert_eq!(count(&[says(0, vec![lends.clone()], open()), says(1, vec![], None)]), 1);
        assert_eq!(count(&[says(0, vec![], None), says(1, vec![borrows], None)]), 1);
        assert_eq!(count(&[says(0, vec![], open())]), 1);
        assert_eq!(count(&[says(0, vec![lends], Some(json!({ "LOANS": [] })))]), 1);
        assert_eq!(count(&[says(0, vec![view(true, "10.0.0.7:9101")], None)]), 0, "a stranger says nothing");
    }

    #[test]
    fn a_dispute_may_last_for_a_while() {
        let mut disputes = Disputes::default();
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        let one = || BTreeSet::from(["x".to_owned()]);
        disputes.look(at(0), one(), Duration::from_secs(1)).unwrap();
        disputes.look(at(1000), one(), Duration::from_secs(1)).unwrap();
        assert!(disputes.look(at(1001), one(), Duration::from_secs(1)).is_err());
        disputes.look(at(1002), BTreeSet::new(), Duration::from_secs(1)).unwrap();
        assert!(disputes.is_empty());
        disputes.look(at(1003), one(), Duration::from_secs(1)).unwrap();
        assert_eq!(disputes.first(), "x");
    }
}
