//! WHY: one true sentence on why something is as it is, and the latest decisions.

use std::time::Duration;

use super::{JobRef, LoanId, ServerId};

/// `WHY`: what is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WhyQuery {
    /// `JOB_ID`, or `KEY`: why it waits, failed, or is not done.
    Job(JobRef),
    /// `WORKER_UUID`: why it is where it is, and why it is lent or not. Its id or its name.
    Worker(ServerId),
    /// `PEER`: why it has its status. Its `SERVER_ID`, its name, or `host:port`.
    Peer(String),
    /// `LOAN_ID`: why it stands as it does.
    Loan(LoanId),
    /// None of them: the latest decisions, the newest first.
    Latest {
        /// `BEFORE`: those before this number, for the next page.
        before: Option<u64>,
    },
}

/// `WHY` / `OK`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WhyAnswer {
    /// `SERVER_ID` of the speaker.
    pub server_id: ServerId,
    /// `WHY`: one sentence, where something was asked about.
    pub why: Option<String>,
    /// `DECISIONS`: the latest ones, or those about what was asked, the newest first, at most [`super::WHY_PAGE`].
    pub decisions: Vec<Decision>,
    /// `MORE`: ask again with `BEFORE` the last `SEQ`.
    pub more: bool,
}

/// A decision, with what it was based on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// `SEQ`: 1, 2, 3 ... since the node started.
    pub seq: u64,
    /// `AGE_MS`.
    pub age: Duration,
    /// `ABOUT`: a worker, a peer or a loan.
    pub about: String,
    /// `TEXT`: one sentence.
    pub text: String,
}
