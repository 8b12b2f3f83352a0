//! What people are shown of loans: the list, and one true sentence for each why.

use std::collections::BTreeMap;
use std::time::Duration;

use super::desk::{span, workers};
use super::owner::{obstacle, well};
use super::{Candidate, Counts, Lend, Loans};
use crate::time::Time;
use crate::wire::{LOANS_PAGE, LoanId, LoanState, LoanView, LoansAnswer, ServerId};

/// A page of the list, in the order of the ids.
pub(super) fn answer(loans: &Loans, after: Option<&LoanId>, counts: Counts, now: Time) -> LoansAnswer {
    let all = loans.owner.views(now).into_iter().chain(loans.borrower.views(now));
    // One that is over here and goes on there, or the other way round, is shown as what goes on.
    let mut listed: BTreeMap<LoanId, LoanView> = BTreeMap::new();
    for view in all.filter(|view| after.is_none_or(|after| view.loan_id > *after)) {
        let over = |view: &LoanView| view.status == LoanState::Ended;
        if listed.get(&view.loan_id).is_none_or(|before| over(before) || !over(&view)) {
            listed.insert(view.loan_id.clone(), view);
        }
    }
    let more = listed.len() > LOANS_PAGE;
    let Counts { local, lent, borrowed } = counts;
    LoansAnswer {
        server_id: loans.desk.own.server_id.clone(),
        local,
        lent,
        borrowed,
        asks: loans.borrower.why_asks(now),
        loans: listed.into_values().take(LOANS_PAGE).collect(),
        more,
    }
}

/// Why a worker is where it is.
pub(super) fn why(loans: &Loans, worker: &ServerId, candidates: &[Candidate], now: Time) -> Option<String> {
    let live = |found: &Option<(LoanView, Option<Duration>)>| matches!(found, Some((_, None)));
    let (lent, guest) = (loans.owner.view_of(worker, now), loans.borrower.view_of(worker, now));
    if let Some((view, None)) = &lent {
        return Some(format!("lent to {}", sentence(view)));
    }
    if let Some((view, None)) = &guest {
        return Some(format!("borrowed from {}", sentence(view)));
    }
    if let Some(candidate) = candidates.iter().find(|one| one.worker == *worker) {
        return Some(format!("not lent: {}", not_lent(loans, candidate, candidates, now)));
    }
    debug_assert!(!live(&lent) && !live(&guest));
    let (view, ago) = lent.or(guest)?;
    let (peer, ago) = (&view.peer, span(ago.unwrap_or_default()));
    let way = if view.out { "lent to" } else { "borrowed from" };
    Some(format!("not here: its loan {} ({way} {peer}) ended {ago} ago: {}", view.loan_id, view.reason))
}

/// Why a loan is as it is.
pub(super) fn why_loan(loans: &Loans, loan: &LoanId, now: Time) -> Option<String> {
    let (lent, guest) = (loans.owner.view_by_id(loan, now), loans.borrower.view_by_id(loan, now));
    let (view, ago) = match (lent, guest) {
        (Some((_, Some(_))), Some(live @ (_, None))) => live,
        (Some(lent), _) => lent,
        (None, guest) => guest?,
    };
    let way = if view.out { "lent to" } else { "borrowed from" };
    match ago {
        None => Some(format!("{} is {way} {}", view.worker, sentence(&view))),
        Some(ago) => Some(format!("over for {}: {} was {way} {}: {}", span(ago), view.worker, view.peer, view.reason)),
    }
}

/// Why this master asks, or does not.
pub(super) fn why_asks(loans: &Loans, now: Time) -> String {
    loans.borrower.why_asks(now)
}

/// Whom, for how long, and how it stands.
fn sentence(view: &LoanView) -> String {
    let LoanView { peer, loan_id, age, reason, .. } = view;
    let lease = view.lease.map_or("open-ended".to_owned(), |lease| format!("{} of its lease left", span(lease)));
    let status = view.status.as_str();
    format!("{peer} for {} on loan {loan_id}, {status}, {lease}: {reason}", span(*age))
}

fn not_lent(loans: &Loans, candidate: &Candidate, candidates: &[Candidate], now: Time) -> String {
    let config = &loans.desk.config;
    if let Some(why) = obstacle(candidate, &[]) {
        return format!("it is {why}");
    }
    if config.lend == Lend::Nobody {
        return "workers are lent to nobody here".to_owned();
    }
    if loans.owner.is_saturated() {
        return "this master is saturated itself".to_owned();
    }
    if let Some(why) = loans.rests_on().sentence() {
        return why;
    }
    let free: Vec<Candidate> = candidates.iter().filter(|one| !loans.owner.has(&one.worker)).cloned().collect();
    let well = well(&free);
    if well <= config.keep as usize {
        return format!("it is kept, keep={}, and {} here and well", config.keep, workers(well));
    }
    let waiting = loans.owner.waiting(now);
    if waiting > 0 {
        let (whom, asks) =
            if waiting == 1 { ("a borrower that waits", "it asks") } else { ("borrowers that wait", "they ask") };
        return format!("it is kept for {whom}, until {asks} again");
    }
    // Who is cooling down may have been told so long ago.
    let cooling = loans.owner.all_cooling(now).next();
    let cooling = cooling.map_or(String::new(), |(who, rest)| format!("; {who} may borrow again in {}", span(rest)));
    match loans.owner.last_asked(now) {
        Some((text, ago)) => format!("nobody has asked since the last request, {} ago: {text}{cooling}", span(ago)),
        None => format!("nobody has asked for workers{cooling}"),
    }
}
