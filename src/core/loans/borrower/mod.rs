//! The borrower's side; not filled in yet.
use super::desk::Desk;
use super::{Guest, Neighbour, Saturation, Token};
use crate::core::links::Reply;
use crate::time::Time;
use crate::wire::*;
use std::time::Duration;
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Borrower;
impl Borrower {
    pub(super) fn new(_: Time) -> Borrower {
        Borrower
    }
    pub(super) fn missing(&self, _: &Saturation) -> u32 {
        0
    }
    pub(super) fn load(&mut self, _: &mut Desk, _: Saturation, _: u32, _: Time) {}
    pub(super) fn failed(&mut self, _: &mut Desk, _: Token, _: &str, _: Time) {}
    pub(super) fn renewed(&mut self, _: &mut Desk, _: Token, _: LoanDone, _: Time) {}
    pub(super) fn tick(&mut self, _: &mut Desk, _: Time) {}
    pub(super) fn deadline(&self) -> Option<Time> {
        None
    }
    pub(super) fn excuse(&mut self, _: &mut Desk, _: Duration, _: Time) {}
    pub(super) fn terms(&self, _: &ServerId, _: Time) -> Option<Terms> {
        None
    }
    pub(super) fn wants_neighbours(&self, _: &Desk, _: Time) -> bool {
        false
    }
    pub(super) fn neighbours(&mut self, _: &mut Desk, _: Vec<Neighbour>, _: Vec<ServiceName>, _: Time) {}
    pub(super) fn answered(&mut self, _: &mut Desk, _: Token, _: LoanAnswer, _: Time) {}
    pub(super) fn came(&mut self, _: &mut Desk, _: Guest, _: Time) {}
    pub(super) fn gone(&mut self, _: &mut Desk, _: &ServerId, _: Time) {}
    pub(super) fn done(&mut self, _: &ServerId) {}
    pub(super) fn recalled(&mut self, _: &mut Desk, _: Reply, _: &ServerId, _: LoanAction, _: Time) {}
    pub(super) fn release_answered(&mut self, _: &mut Desk, _: Token, _: ReleaseAnswer, _: Time) {}
    pub(super) fn borrows(&self) -> usize {
        0
    }
    pub(super) fn count(&self) -> usize {
        0
    }
    pub(super) fn check_invariants(&self) {}
}
