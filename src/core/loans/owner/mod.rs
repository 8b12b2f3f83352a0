//! The owner's side; not filled in yet.
use super::desk::Desk;
use super::{Asked, Proposal, Saturation, Token};
use crate::core::LinkId;
use crate::core::links::Reply;
use crate::time::Time;
use crate::wire::*;
use std::net::IpAddr;
use std::time::Duration;
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Owner;
impl Owner {
    pub(super) fn load(&mut self, _: &mut Desk, _: &Saturation, _: u32, _: Time) -> u32 {
        0
    }
    pub(super) fn recall_failed(&mut self, _: &mut Desk, _: Token, _: &str) -> bool {
        false
    }
    pub(super) fn recall_done(&mut self, _: &mut Desk, _: Token) -> bool {
        false
    }
    pub(super) fn tick(&mut self, _: &mut Desk, _: Time) {}
    pub(super) fn deadline(&self) -> Option<Time> {
        None
    }
    pub(super) fn excuse(&mut self, _: Duration) {}
    pub(super) fn asked(&mut self, _: &mut Desk, _: Asked, _: usize, _: Time) {}
    pub(super) fn agreed(&mut self, _: &mut Desk, _: Proposal, _: Result<u64, String>, _: Time) {}
    pub(super) fn in_ledger(&mut self, _: &mut Desk, _: &[LoanId], _: Time) {}
    pub(super) fn renew(&mut self, _: &mut Desk, _: Reply, _: &ServerId, _: Vec<LoanId>, _: Time) {}
    pub(super) fn arrived(&mut self, _: &mut Desk, _: &ServerId, _: Time) {}
    pub(super) fn home(&mut self, _: &mut Desk, _: &ServerId, _: Option<Epoch>, _: u64, _: Time) {}
    pub(super) fn left(&mut self, _: &mut Desk, _: &ServerId, _: Time) {}
    pub(super) fn disowned(&mut self, _: &mut Desk, _: &ServerId, _: Time) {}
    pub(super) fn released(&mut self, _: &mut Desk, _: Reply, _: Option<&ServerId>, _: IpAddr, _: Release, _: Time) {}
    pub(super) fn returned(&mut self, _: &mut Desk, _: &str, _: Returned, _: Time) {}
    pub(super) fn peer_alive(&mut self, _: &Desk, _: &ServerId, _: Time) {}
    pub(super) fn peer_timeout(&mut self, _: &mut Desk, _: &ServerId, _: Time) {}
    pub(super) fn link_closed(&mut self, _: &mut Desk, _: LinkId, _: Time) {}
    pub(super) fn count(&self) -> usize {
        0
    }
    pub(super) fn check_invariants(&self) {}
}
