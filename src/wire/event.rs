//! Events: what happened, as `EVENTS` tells it.

use super::{Address, ServerId};

/// Something that happened, as `EVENTS` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// `SEQ`: 1, 2, 3 ... since the node started. A gap means that something was lost.
    pub seq: u64,
    /// `EVENT`: what kind.
    pub kind: EventKind,
    /// `SERVER_ID` of the peer that it is about, where it is about one that is known by id.
    pub server_id: Option<ServerId>,
    /// `ADDRESS` of the peer that it is about.
    pub address: Option<Address>,
    /// `DETAIL`: one sentence.
    pub detail: String,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A peer was learnt from its own heartbeat.
    PeerLearnt,
    /// A peer answered for the first time, or again.
    PeerAlive,
    /// A peer has not answered for the timeout.
    PeerTimeout,
    /// A peer said goodbye.
    PeerLeft,
    /// Another id answers at the address of a peer.
    PeerReplaced,
    /// A peer that was gone was dropped from the registry.
    PeerForgotten,
    /// The pending jobs have been above the capacity for the hold time.
    Saturated,
    /// The pending jobs have been below release for the hold time.
    Released,
    /// The CPU is above its threshold.
    Hot,
    /// The CPU is ten points below its threshold.
    Cool,
    /// A worker has come, or come back from being lost.
    WorkerJoined,
    /// A worker has been silent for the timeout: what it ran is queued again.
    WorkerLost,
    /// A worker said goodbye.
    WorkerLeft,
    /// A neighbour is asked for workers.
    LoanAsked,
    /// A neighbour offers some, or this master does.
    LoanAccepted,
    /// A neighbour refuses, or is silent; or this master refuses.
    LoanRefused,
    /// An own worker is on its way to a borrower.
    WorkerLent,
    /// A worker of another master works here.
    WorkerBorrowed,
    /// An own worker is at home again; or one of another master was let go.
    WorkerReturned,
    /// A loan is over, though its worker has not been seen to come home.
    LoanEnded,
    /// An owner wants a worker back.
    WorkerRecalled,
    /// The owner of a worker is gone, and another master of the group has adopted it.
    WorkerAdopted,
    /// A worker failed fast while others succeeded: it gets no work for a while.
    WorkerQuarantined,
    /// A job has ended: OK, NOK or CANCELLED.
    JobEnded,
    /// A job has used up its attempts, or was buried by hand.
    JobBuried,
    /// The disk refuses to write: new jobs are refused until it is well.
    StoreFailed,
    /// A write has been under way for more than a second: what waits for it waits.
    StoreSlow,
    /// The disk writes again, or keeps up again.
    StoreWell,
    /// Somebody leads the group, at a new term.
    Leader,
    /// This node is a member of a group now: it has founded, joined or recovered it.
    GroupJoined,
    /// This node is not a member of its group any more.
    GroupLeft,
    /// There is another group of the same name: they stay apart.
    GroupsMeet,
    /// One id is at two addresses at once: neither of the two votes until one of them stops.
    Twins,
    /// A majority of the voters is missing: nothing can be agreed on.
    QuorumLost,
    /// A majority is there again.
    QuorumBack,
    /// A master has been taken into the group.
    MemberAdmitted,
    /// A master has been removed from the group.
    MemberRemoved,
    /// A report has reached the supervisor, for the first time or again.
    SupervisorReached,
    /// Reports do not reach the supervisor.
    SupervisorUnreachable,
    /// This node stops.
    Stopping,
}

impl EventKind {
    /// Every kind, in the order of this enum.
    pub const ALL: [EventKind; 40] = [
        EventKind::PeerLearnt,
        EventKind::PeerAlive,
        EventKind::PeerTimeout,
        EventKind::PeerLeft,
        EventKind::PeerReplaced,
        EventKind::PeerForgotten,
        EventKind::Saturated,
        EventKind::Released,
        EventKind::Hot,
        EventKind::Cool,
        EventKind::WorkerJoined,
        EventKind::WorkerLost,
        EventKind::WorkerLeft,
        EventKind::LoanAsked,
        EventKind::LoanAccepted,
        EventKind::LoanRefused,
        EventKind::WorkerLent,
        EventKind::WorkerBorrowed,
        EventKind::WorkerReturned,
        EventKind::LoanEnded,
        EventKind::WorkerRecalled,
        EventKind::WorkerAdopted,
        EventKind::WorkerQuarantined,
        EventKind::JobEnded,
        EventKind::JobBuried,
        EventKind::StoreFailed,
        EventKind::StoreSlow,
        EventKind::StoreWell,
        EventKind::Leader,
        EventKind::GroupJoined,
        EventKind::GroupLeft,
        EventKind::GroupsMeet,
        EventKind::Twins,
        EventKind::QuorumLost,
        EventKind::QuorumBack,
        EventKind::MemberAdmitted,
        EventKind::MemberRemoved,
        EventKind::SupervisorReached,
        EventKind::SupervisorUnreachable,
        EventKind::Stopping,
    ];

    /// The word on the wire, such as `PEER_ALIVE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::PeerLearnt => "PEER_LEARNT",
            EventKind::PeerAlive => "PEER_ALIVE",
            EventKind::PeerTimeout => "PEER_TIMEOUT",
            EventKind::PeerLeft => "PEER_LEFT",
            EventKind::PeerReplaced => "PEER_REPLACED",
            EventKind::PeerForgotten => "PEER_FORGOTTEN",
            EventKind::Saturated => "SATURATED",
            EventKind::Released => "RELEASED",
            EventKind::Hot => "HOT",
            EventKind::Cool => "COOL",
            EventKind::WorkerJoined => "WORKER_JOINED",
            EventKind::WorkerLost => "WORKER_LOST",
            EventKind::WorkerLeft => "WORKER_LEFT",
            EventKind::LoanAsked => "LOAN_ASKED",
            EventKind::LoanAccepted => "LOAN_ACCEPTED",
            EventKind::LoanRefused => "LOAN_REFUSED",
            EventKind::WorkerLent => "WORKER_LENT",
            EventKind::WorkerBorrowed => "WORKER_BORROWED",
            EventKind::WorkerReturned => "WORKER_RETURNED",
            EventKind::LoanEnded => "LOAN_ENDED",
            EventKind::WorkerRecalled => "WORKER_RECALLED",
            EventKind::WorkerAdopted => "WORKER_ADOPTED",
            EventKind::WorkerQuarantined => "WORKER_QUARANTINED",
            EventKind::JobEnded => "JOB_ENDED",
            EventKind::JobBuried => "JOB_BURIED",
            EventKind::StoreFailed => "STORE_FAILED",
            EventKind::StoreSlow => "STORE_SLOW",
            EventKind::StoreWell => "STORE_WELL",
            EventKind::Leader => "LEADER",
            EventKind::GroupJoined => "GROUP_JOINED",
            EventKind::GroupLeft => "GROUP_LEFT",
            EventKind::GroupsMeet => "GROUPS_MEET",
            EventKind::Twins => "TWINS",
            EventKind::QuorumLost => "QUORUM_LOST",
            EventKind::QuorumBack => "QUORUM_BACK",
            EventKind::MemberAdmitted => "MEMBER_ADMITTED",
            EventKind::MemberRemoved => "MEMBER_REMOVED",
            EventKind::SupervisorReached => "SUPERVISOR_REACHED",
            EventKind::SupervisorUnreachable => "SUPERVISOR_UNREACHABLE",
            EventKind::Stopping => "STOPPING",
        }
    }

    /// The kind of a word on the wire.
    pub fn parse(text: &str) -> Option<EventKind> {
        EventKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_on_the_wire_read_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
        }
    }
}
