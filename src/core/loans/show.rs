//! What people are shown of loans; not filled in yet.
use super::{Candidate, Counts, Loans};
use crate::time::Time;
use crate::wire::*;
pub(super) fn answer(loans: &Loans, _: Option<&LoanId>, counts: Counts, _: Time) -> LoansAnswer {
    let server_id = loans.desk.own.server_id.clone();
    let Counts { local, lent, borrowed } = counts;
    LoansAnswer { server_id, local, lent, borrowed, asks: String::new(), loans: Vec::new(), more: false }
}
pub(super) fn why(_: &Loans, _: &ServerId, _: &[Candidate], _: Time) -> Option<String> {
    None
}
pub(super) fn why_loan(_: &Loans, _: &LoanId, _: Time) -> Option<String> {
    None
}
pub(super) fn why_asks(_: &Loans, _: Time) -> String {
    String::new()
}
