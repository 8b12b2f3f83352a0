//! A loan whose parties are on three machines with a network that fails: cut between borrower and owner, or between worker and borrower, both
//! ways and one way, for less than the lease and for more. No job is lost, the loan ends, and nobody is used beyond the lease.
#![cfg(target_os = "linux")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::lending::{Lab, Step};
use support::netns::{Machine, Switch, machines};
use support::wait::watch;

/// The machines of the borrower, the owner and the worker, and the loan on them.
struct Field {
    lab: Lab,
    borrower: Arc<Machine>,
    owner: Arc<Machine>,
    worker: Arc<Machine>,
    _switch: Switch,
}

impl Field {
    /// The worker runs a job at the borrower, and its lease was renewed.
    fn lent(options: &[&str]) -> Field {
        let (switch, all) = machines(3);
        let [borrower, owner, worker] = <[Machine; 3]>::try_from(all).ok().expect("three").map(Arc::new);
        let places = [&borrower, &owner, &worker].map(|machine| Some(Arc::clone(machine)));
        let mut lab = Lab::start_at(places, options);
        lab.reach(Step::Renewing);
        Field { lab, borrower, owner, worker, _switch: switch }
    }
}

/// Two ends of a way through the network.
#[derive(Clone, Copy)]
enum Way {
    /// From the borrower to the owner.
    BorrowerOwner,
    /// And back.
    OwnerBorrower,
    WorkerBorrower,
    BorrowerWorker,
}

impl Field {
    /// Nothing arrives any more at the ends of these ways.
    fn cut(&mut self, ways: &[Way]) {
        self.lab.is_cut = true;
        for way in ways {
            let (from, to) = self.ends(*way);
            to.on_input(&format!("ip saddr {} drop", from.ip));
        }
    }

    /// The network is well again.
    fn heal(&mut self, ways: &[Way]) {
        ways.iter().for_each(|way| self.ends(*way).1.heal());
    }

    fn ends(&self, way: Way) -> (&Machine, &Machine) {
        match way {
            Way::BorrowerOwner => (&self.borrower, &self.owner),
            Way::OwnerBorrower => (&self.owner, &self.borrower),
            Way::WorkerBorrower => (&self.worker, &self.borrower),
            Way::BorrowerWorker => (&self.borrower, &self.worker),
        }
    }
}

#[test]
#[ignore = "needs root, ip and nft; run by .ci/run"]
fn a_cut_between_borrower_and_owner_that_is_longer_than_the_lease_ends_the_loan() {
    let mut field = Field::lent(&[]);
    field.cut(&[Way::BorrowerOwner, Way::OwnerBorrower]);
    // The worker hears both: it goes home when nobody renews, and the borrower has stopped to use it by then.
    field.lab.borrower.wait_logged(1, &["LOAN_ENDED", "its lease is over"]);
    field.lab.wait_home();
    field.lab.owner_works();
    let used = field.lab.runs("w").len();
    field.lab.open_all();
    field.lab.wait_borrower_done();
    let late = field.lab.runs("w")[used..].iter().filter(|run| run.starts_with("begin")).count();
    assert_eq!(late, 0, "the lease was over: {:?}", field.lab.runs("w"));
    field.heal(&[Way::BorrowerOwner, Way::OwnerBorrower]);
    field.lab.settle();
}

#[test]
#[ignore = "needs root, ip and nft; run by .ci/run"]
fn a_cut_between_borrower_and_owner_that_is_shorter_than_the_lease_is_nothing() {
    // What is lost in a cut arrives after twice its length: the lease and the timeout are longer than that.
    let mut field = Field::lent(&["--lease", "6", "--timeout", "4"]);
    let renewed = |field: &Field| field.lab.owner.logged(&["loan message loans_renew from"]);
    field.cut(&[Way::BorrowerOwner, Way::OwnerBorrower]);
    watch(Duration::from_millis(1200), || field.lab.watch());
    field.heal(&[Way::BorrowerOwner, Way::OwnerBorrower]);
    let before = renewed(&field);
    field.lab.owner.wait_logged(before + 2, &["loan message loans_renew from"]);
    assert_eq!(field.lab.borrower.logged(&["LOAN_ENDED"]) + field.lab.owner.logged(&["LOAN_ENDED"]), 0);
    assert!(field.lab.borrower.has_here("w"), "it has worked on");
    field.lab.settle();
    let job = format!("begin {}", field.lab.guests_job());
    assert_eq!(field.lab.runs("w").iter().filter(|run| **run == job).count(), 1, "nothing was begun twice");
}

#[test]
#[ignore = "needs root, ip and nft; run by .ci/run"]
fn an_owner_that_is_not_heard_by_the_borrower_has_its_worker_back() {
    let mut field = Field::lent(&[]);
    // The renewals arrive, and their answers do not: the borrower's lease runs out first.
    field.cut(&[Way::OwnerBorrower]);
    field.lab.borrower.wait_logged(1, &["LOAN_ENDED", "its lease is over"]);
    field.lab.wait_home();
    field.lab.open_all();
    field.lab.wait_borrower_done();
    field.heal(&[Way::OwnerBorrower]);
    field.lab.settle();
}

#[test]
#[ignore = "needs root, ip and nft; run by .ci/run"]
fn a_worker_that_is_cut_off_from_its_borrower_goes_home() {
    let mut field = Field::lent(&[]);
    field.cut(&[Way::WorkerBorrower, Way::BorrowerWorker]);
    // The borrower renews what it takes for its guest until that is TIMEOUT there; the worker is at home sooner or later, and only once.
    field.lab.wait_home();
    field.lab.owner_works();
    field.lab.open_all();
    field.lab.wait_borrower_done();
    field.heal(&[Way::WorkerBorrower, Way::BorrowerWorker]);
    field.lab.settle();
}

#[test]
#[ignore = "needs root, ip and nft; run by .ci/run"]
fn a_worker_that_does_not_hear_its_borrower_goes_home() {
    let mut field = Field::lent(&[]);
    field.cut(&[Way::BorrowerWorker]);
    field.lab.wait_home();
    field.lab.open_all();
    field.lab.wait_borrower_done();
    field.heal(&[Way::BorrowerWorker]);
    field.lab.settle();
}
