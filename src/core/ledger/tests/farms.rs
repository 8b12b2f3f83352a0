//! Adoptions and loans.

use super::*;
use crate::wire::{Adoption, Epoch, LentWorker, LoanId, MAX_ADOPTED};

fn server(nth: u64) -> ServerId {
    member(nth, 1).server_id
}

fn worker(nth: u64) -> ServerId {
    ServerId::new(format!("worker-{nth}")).unwrap()
}

pub(super) fn adoption(nth: u64, from: u64, owner: u64, generation: u64) -> Adoption {
    Adoption { worker: worker(nth), from: server(from), owner: server(owner), generation }
}

fn adopt(adoptions: &[Adoption]) -> Command {
    Command::Adopt { workers: adoptions.to_vec() }
}

pub(super) fn loan(nth: u64, owner: u64, borrower: u64, generation: u64) -> LentWorker {
    LentWorker {
        loan_id: LoanId::new(format!("server-{owner}-{nth}")).unwrap(),
        worker: worker(nth),
        owner: server(owner),
        borrower: server(borrower),
        epoch: Epoch { generation, counter: nth },
        lease: Duration::from_secs(30),
    }
}

pub(super) fn end(loan: &LentWorker) -> Command {
    Command::End { loan_id: loan.loan_id.clone(), reason: "home again".to_owned() }
}

fn three() -> Log {
    let mut log = Log::founded();
    log.put(Command::Admit(member(2, 2)));
    log.put(Command::Admit(member(3, 3)));
    log
}

fn why(applied: Applied) -> String {
    match applied {
        Applied::Refused(Refusal::Contradicts(why) | Refusal::Full(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_an_adoption_advances_the_generation_and_each_by_one() {
    let mut log = three();
    let first = adoption(7, 1, 2, 1);
    assert_eq!(log.put(adopt(std::slice::from_ref(&first))), Applied::Adopted(vec![first.clone()]));
    assert_eq!(log.ledger.adoption(&worker(7)), Some(&first));
    assert_eq!(why(log.put(adopt(std::slice::from_ref(&first)))), "`FROM`: the worker worker-7 belongs to server-2");
    assert_eq!(why(log.put(adopt(&[adoption(7, 2, 3, 1)]))), "`GENERATION`: expected 2 for the worker worker-7");
    assert_eq!(why(log.put(adopt(&[adoption(7, 2, 3, 3)]))), "`GENERATION`: expected 2 for the worker worker-7");
    assert_eq!(
        why(log.put(adopt(&[adoption(8, 1, 2, 2)]))),
        "`GENERATION`: expected 1 for the worker worker-8, which nobody has adopted"
    );
    let second = adoption(7, 2, 3, 2);
    assert_eq!(
        log.put(adopt(std::slice::from_ref(&second))),
        Applied::Adopted(vec![second.clone()]),
        "the next owner is gone, too"
    );
    assert_eq!(log.ledger.adoption(&worker(7)), Some(&second));
}

#[test]
fn only_members_adopt_and_only_the_workers_of_members_are_adopted() {
    let mut log = three();
    assert_eq!(why(log.put(adopt(&[adoption(1, 1, 9, 1)]))), "`OWNER`: server-9 is no member of the group");
    assert_eq!(
        why(log.put(adopt(&[adoption(1, 9, 1, 1)]))),
        "`FROM`: server-9 is no member of the group, its workers stay its own"
    );
    assert_eq!(why(log.put(adopt(&[adoption(1, 2, 2, 1)]))), "`OWNER`: server-2 owns the worker worker-1 already");
    assert_eq!(why(log.put(adopt(&[]))), "`WORKERS`: expected at least one");
    let many: Vec<Adoption> = (0..=MAX_ADOPTED as u64).map(|nth| adoption(nth, 1, 2, 1)).collect();
    assert_eq!(why(log.put(adopt(&many))), format!("`WORKERS`: expected at most {MAX_ADOPTED}"));
}

#[test]
fn of_several_orphans_those_are_adopted_that_can_be() {
    let mut log = three();
    let (good, bad) = (adoption(1, 1, 2, 1), adoption(2, 9, 2, 1));
    assert_eq!(log.put(adopt(&[bad, good.clone()])), Applied::Adopted(vec![good]));
}

#[test]
fn an_owner_that_was_replaced_lends_nothing_any_more() {
    let mut log = three();
    let lent = loan(7, 1, 3, 0);
    assert_eq!(log.put(Command::Lend(lent.clone())), Applied::Done);
    assert_eq!(log.ledger.loans().count(), 1);
    log.put(adopt(&[adoption(7, 1, 2, 1)]));
    assert_eq!(log.ledger.loans().count(), 0, "with its owner the loan is over");
    assert_eq!(why(log.put(Command::Lend(lent))), "`EPOCH`: the worker worker-7 belongs to server-2, in generation 1");
    assert_eq!(log.put(Command::Lend(loan(7, 2, 3, 1))), Applied::Done);
    assert_eq!(log.put(end(&loan(7, 2, 3, 1))), Applied::Done);
    assert_eq!(log.put(end(&loan(7, 2, 3, 1))), Applied::Done, "an end may be written twice");
    assert_eq!(log.ledger.loans().count(), 0);
}

#[test]
fn a_worker_is_lent_once_and_a_loan_is_one_loan() {
    let mut log = three();
    let first = loan(7, 1, 3, 0);
    assert_eq!(log.put(Command::Lend(first.clone())), Applied::Done);
    assert_eq!(log.put(Command::Lend(first.clone())), Applied::Done, "said twice, it is the same");
    let other = LentWorker { borrower: server(2), ..first.clone() };
    assert_eq!(why(log.put(Command::Lend(other))), "`LOAN_ID`: server-1-7 is another loan");
    let next = LentWorker { loan_id: LoanId::new("server-1-8").unwrap(), borrower: server(2), ..first };
    assert_eq!(log.put(Command::Lend(next.clone())), Applied::Done);
    assert_eq!(log.ledger.loans().collect::<Vec<_>>(), [&next], "the next loan of a worker ends the one before");
    assert_eq!(why(log.put(Command::Lend(loan(1, 9, 1, 0)))), "`OWNER`: server-9 is no member of the group");
    assert_eq!(why(log.put(Command::Lend(loan(1, 1, 1, 0)))), "`BORROWER`: expected another than the owner");
}

#[test]
fn a_beginning_that_comes_behind_its_end_begins_nothing() {
    let mut log = three();
    let late = loan(7, 1, 3, 0);
    assert_eq!(log.put(end(&late)), Applied::Done, "an end may come first");
    assert_eq!(why(log.put(Command::Lend(late.clone()))), "`LOAN_ID`: server-1-7 is over");
    assert_eq!(log.ledger.loans().count(), 0);
    // The owner's own next loan of the same worker is another one.
    let next = LentWorker { loan_id: LoanId::new("server-1-8").unwrap(), ..late.clone() };
    assert_eq!(log.put(Command::Lend(next.clone())), Applied::Done);
    log.put(end(&next));
    assert_eq!(why(log.put(Command::Lend(next))), "`LOAN_ID`: server-1-8 is over");
    // It is remembered by who starts from a snapshot, and for long enough.
    let copy = Ledger::restored(&log.ledger.text()).unwrap();
    assert_eq!(copy, log.ledger);
    for nth in 0..1_023 {
        log.put(end(&loan(1_000 + nth, 1, 3, 0)));
    }
    assert_eq!(
        why(log.put(Command::Lend(LentWorker { loan_id: LoanId::new("server-1-8").unwrap(), ..late.clone() }))),
        "`LOAN_ID`: server-1-8 is over"
    );
    log.ledger.check_invariants().unwrap();
}

#[test]
fn a_loan_that_was_agreed_on_unheard_is_agreed_on_again_under_a_later_order() {
    let mut log = three();
    let first = loan(7, 1, 3, 0);
    log.put(Command::Lend(first.clone()));
    let recalled = LentWorker { epoch: Epoch { generation: 0, counter: 8 }, ..first.clone() };
    assert_eq!(log.put(Command::Lend(recalled.clone())), Applied::Done);
    assert_eq!(log.put(Command::Lend(first)), Applied::Done, "said late, it is the same");
    assert_eq!(log.ledger.loans().collect::<Vec<_>>(), [&recalled], "and the later order counts");
}

#[test]
fn the_loans_of_a_member_that_is_removed_are_over_and_its_adoptions_stay() {
    let mut log = three();
    log.put(Command::Lend(loan(7, 2, 3, 0)));
    log.put(Command::Lend(loan(8, 1, 3, 0)));
    log.put(adopt(&[adoption(9, 1, 2, 1)]));
    log.put(Command::Remove { raft_id: RaftId(2), reason: "silent".into() });
    assert_eq!(log.ledger.loans().map(|loan| loan.owner.clone()).collect::<Vec<_>>(), [server(1)]);
    let again = adoption(9, 2, 3, 2);
    assert_eq!(
        log.put(adopt(std::slice::from_ref(&again))),
        Applied::Adopted(vec![again]),
        "its own by the ledger's word"
    );
}

#[test]
fn they_are_told_in_words() {
    let mut log = three();
    let mut told = |command| {
        let entry = log.entry(command);
        log.ledger.apply(&entry);
        words(&entry, &log.ledger)
    };
    assert_eq!(told(adopt(&[adoption(7, 1, 2, 1)])), "`lab-2` adopts the worker worker-7 of `lab-1`, generation 1");
    assert_eq!(
        told(adopt(&[adoption(8, 1, 2, 1), adoption(9, 1, 2, 1)])),
        "`lab-2` adopts the worker worker-8 of `lab-1`, generation 1; and 1 more"
    );
    assert_eq!(
        told(Command::Lend(loan(7, 2, 3, 1))),
        "`lab-2` lends the worker worker-7 to `lab-3` for 30 s, epoch 1.7"
    );
    assert_eq!(told(end(&loan(7, 2, 3, 1))), "the loan server-2-7 is over: home again");
}
