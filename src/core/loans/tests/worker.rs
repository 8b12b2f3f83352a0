//! The worker that the model checks by hand is the one that runs: both obey the same.

use proptest::prelude::*;

use super::*;
use crate::core::WorkerConfig;
use crate::core::loans::model::{A, B, Order, Worker as Checked};
use crate::core::worker::{self, Worker};
use crate::wire::{MoveKind, NativeMove, Terms, WorkerWelcome};

/// What is said to a worker at the master that it is with.
#[derive(Clone, Debug)]
enum Step {
    /// An order: of its owner at home, to go or to stay; of its borrower elsewhere, to go home.
    Order { away: bool, epoch: Epoch, loan: Option<u8> },
    /// A borrower orders what only an owner does.
    Forged { epoch: Epoch, loan: Option<u8>, target: bool },
    /// A welcome, by which a borrower claims what it likes.
    Welcome { epoch: Epoch, loan: Option<u8>, lease: bool, claims: bool },
}

fn epochs() -> impl Strategy<Value = Epoch> {
    // Loans begin low, so that most orders matter.
    prop_oneof![8 => (0_u64..1, 0_u64..12), 1 => (0_u64..3, 0_u64..12), 1 => (0_u64..1, (1_u64 << 53) - 2..1 << 53)]
        .prop_map(|(generation, counter)| Epoch { generation, counter })
}

fn step() -> impl Strategy<Value = Step> {
    let loan = || prop_oneof![1 => Just(None), 6 => (0_u8..2).prop_map(Some)];
    prop_oneof![
        6 => (any::<bool>(), epochs(), loan()).prop_map(|(away, epoch, loan)| Step::Order { away, epoch, loan }),
        1 => (epochs(), loan(), any::<bool>()).prop_map(|(epoch, loan, target)| Step::Forged { epoch, loan, target }),
        2 => (epochs(), loan(), any::<bool>(), any::<bool>())
            .prop_map(|(epoch, loan, lease, claims)| Step::Welcome { epoch, loan, lease, claims }),
    ]
}

fn master(at: usize) -> Own {
    if at == A { own("A", 9101) } else { own("B", 9102) }
}

fn loan_of(loan: Option<u8>) -> Option<LoanId> {
    loan.and_then(|loan| LoanId::new(format!("B-{loan}")))
}

/// The worker that runs, with one session at a time.
struct Running {
    worker: Worker,
    link: LinkId,
}

impl Running {
    fn new() -> Running {
        let config = WorkerConfig { masters: vec![master(B).address], slots: 1, grace: seconds(1) };
        let (second, id) = (seconds(1), id("w"));
        let mut worker = Worker::new(config, id, "w".to_owned(), second, seconds(3600), 1, at(0));
        worker.tick(at(0));
        let mut running = Running { worker, link: LinkId(0) };
        running.arrives(B, Epoch::default());
        running
    }

    /// Where it was sent, if it calls anybody.
    fn called(&mut self) -> Option<usize> {
        let mut called = None;
        while let Some(effect) = self.worker.poll_effect() {
            if let worker::Effect::Open { link, address, .. } = effect {
                self.link = link;
                called = Some(if address == master(A).address { A } else { B });
                assert_eq!(address, master(called.unwrap()).address);
            }
        }
        self.worker.check_invariants();
        called
    }

    fn say(&mut self, body: Body) {
        assert!(self.worker.message(self.link, None, body, at(0)));
    }

    fn welcome(&mut self, by: usize, terms: Terms) {
        let Own { server_id, name, .. } = master(by);
        let terms = Some(Box::new(terms));
        let (timeout, failover, drop) = (seconds(3600), Vec::new(), Vec::new());
        self.say(Body::WorkerWelcome(Box::new(WorkerWelcome { server_id, name, timeout, failover, drop, terms })));
    }

    /// The link to the master that it calls stands, and it is welcomed as it should be.
    fn arrives(&mut self, at_master: usize, epoch: Epoch) {
        assert_eq!(self.called(), Some(at_master));
        self.worker.opened(self.link, at(0));
        let view = self.worker.bond_view();
        let terms = |epoch, loan_id: Option<LoanId>| {
            let lease = loan_id.as_ref().map(|_| seconds(3600));
            Terms { owner: master(B).server_id, owner_address: None, epoch, loan_id, lease }
        };
        let loan = if at_master == A { Some(LoanId::new("B-0").unwrap()) } else { None };
        self.welcome(at_master, terms(if at_master == A { view.epoch.unwrap() } else { epoch }, loan));
        assert_eq!(self.called(), None);
    }

    fn order(&mut self, kind: MoveKind, target: Option<usize>, epoch: Epoch, loan_id: Option<LoanId>) {
        let native = NativeMove {
            owner: master(B).server_id,
            epoch,
            loan_id,
            lease: Some(seconds(3600)),
            stay: None,
            grace: None,
        };
        let (target_id, target) = match target {
            Some(to) => (master(to).server_id, Some(master(to).address)),
            None => (master(B).server_id, None),
        };
        let (target_id, native) = (Some(target_id), Some(native));
        let order = WorkerMove { kind, target, target_id, target_name: None, native, dialect: None, registers: false };
        self.say(Body::Move(Box::new(order)));
    }
}

/// What both know at the end of a step.
fn agree(running: &Running, checked: &Checked) -> Result<(), TestCaseError> {
    let (view, at_master) = (running.worker.bond_view(), checked.at.unwrap());
    prop_assert_eq!(view.epoch.unwrap_or_default(), checked.seen.unwrap_or_default());
    prop_assert_eq!(view.at, Some(master(at_master).address));
    prop_assert_eq!(view.owner, Some(master(B).server_id));
    prop_assert_eq!(&view.loan_id, &checked.loan_id);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_worker_that_is_checked_and_the_one_that_runs_obey_the_same(steps in proptest::collection::vec(step(), 1..40)) {
        let (mut running, mut checked) = (Running::new(), Checked::new());
        // Its first welcome.
        checked.seen = Some(Epoch::default());
        for step in steps {
            let here = checked.at.unwrap();
            match step {
                Step::Order { away, epoch, loan } => {
                    let ends = here == A;
                    // An order to go names a loan, one to stay none.
                    let loan_id = if ends { loan_of(loan) } else { loan_of(away.then(|| loan.unwrap_or(0))) };
                    let order = Order { away: away && !ends, epoch, loan_id: loan_id.clone(), ends };
                    let obeyed = checked.reads(&order);
                    match (ends, away) {
                        (true, _) => running.order(MoveKind::Return, Some(B), epoch, loan_id),
                        (false, true) => running.order(MoveKind::Redirect, Some(A), epoch, loan_id),
                        (false, false) => running.order(MoveKind::Redirect, None, epoch, None),
                    }
                    prop_assert!(obeyed || checked.target.is_none());
                    if let Some(to) = checked.target.take() {
                        // Its welcome at home bears a higher epoch.
                        let seen = checked.seen.unwrap();
                        let home = Epoch { counter: seen.counter + 1, ..seen };
                        checked.at = Some(to);
                        if to == B {
                            (checked.seen, checked.loan_id) = (Some(home), None);
                        }
                        running.arrives(to, home);
                    } else {
                        prop_assert_eq!(running.called(), None, "only one of them goes");
                    }
                }
                Step::Forged { epoch, loan, target } if here == A => {
                    running.order(MoveKind::Redirect, target.then_some(A), epoch, loan_of(loan));
                    prop_assert_eq!(running.called(), None);
                }
                Step::Welcome { epoch, loan, lease, claims } if here == A => {
                    let owner = if claims { master(A).server_id } else { id("C") };
                    let (owner_address, lease) = (Some(address("10.0.0.9:1")), lease.then(|| seconds(3600)));
                    running.welcome(A, Terms { owner, owner_address, epoch, loan_id: loan_of(loan), lease });
                    prop_assert_eq!(running.called(), None);
                }
                Step::Welcome { epoch, .. } => {
                    // Its owner has told it a higher one, or has not heard of the latest.
                    checked.seen = checked.seen.max(Some(epoch));
                    let owner = master(B).server_id;
                    running.welcome(B, Terms { owner, owner_address: None, epoch, loan_id: None, lease: None });
                    prop_assert_eq!(running.called(), None);
                }
                Step::Forged { .. } => {}
            }
            agree(&running, &checked)?;
        }
    }
}
