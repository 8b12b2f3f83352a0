//! What the masters of a group say to each other and of themselves: ELECT, AGREE, MEMBERS, the proof in HELLO, and
//! what heartbeats tell of a group. The words are those of the Raft paper (Ongaro and Ousterhout, 2014), figures 2 and
//! 13, as far as it has some.
//!
//! ```text
//!   candidate                              other members
//!     │ ELECT KIND PRE_VOTE, then VOTE        │  RequestVote
//!     │ ────────────────────────────────────> │
//!     │ <──── ELECT OK VOTE_GRANTED ───────── │
//!   leader
//!     │ AGREE KIND APPEND | HEARTBEAT         │  AppendEntries
//!     │ ────────────────────────────────────> │
//!     │ <──── AGREE OK SUCCESS MATCH_INDEX ── │
//!     │ AGREE KIND SNAPSHOT, a piece a line   │  InstallSnapshot
//!     │ ────────────────────────────────────> │
//! ```
//!
//! All of these with fields are read only on links whose two ends have proved to each other that they know the key of
//! the group ([`Proof`]).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Address, Json, LedgerEntry, ServerId, Status};

/// The number of a member in its group: given by the ledger, never given again, and as old as its data directory. 1 or
/// more; 0 is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RaftId(pub u64);

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The id of a group: made once when it is founded, a uuid. Two groups of one name have two ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// An id, or `None` if `text` is not 8 to 64 characters of `0-9a-f-`.
    pub fn new(text: impl Into<Arc<str>>) -> Option<GroupId> {
        let text: Arc<str> = text.into();
        let lawful = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        ((8..=64).contains(&text.len()) && lawful).then_some(GroupId(text))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight characters, as logs show it.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a native master says of its group in heartbeats and HELLO, beside `GROUP`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct GroupPresence {
    /// `GROUP_ID`: the group that it is a member of, learner or voter. Left out by who has none.
    pub group_id: Option<GroupId>,
    /// `TERM`: the latest that it knows. 0 before there is one.
    pub term: u64,
    /// `LEADER`: who leads, as far as it knows.
    pub leader: Option<ServerId>,
    /// `FOUNDER`: said by who has no group: whom it would let found one, the smallest id of the masters without a group that
    /// it sees, itself among them.
    pub founder: Option<ServerId>,
    /// `SEES`: said by who has no group: how many masters of its group name it sees ALIVE, itself among them.
    pub sees: u64,
}

/// The head of every message between members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// `GROUP_ID`.
    pub group_id: GroupId,
    /// `FROM`: the speaker. Believed only if the link has proved it.
    pub from: RaftId,
    /// `TO`: whom it means. Whoever has another number drops it.
    pub to: RaftId,
    /// `TERM` of the speaker; of a pre-vote, the term that it would stand for.
    pub term: u64,
}

/// `ELECT` with `KIND`: a question of an election. Answered by [`ElectVote`], save `NOW`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Elect {
    /// Who to whom.
    pub envelope: Envelope,
    /// What.
    pub kind: ElectKind,
}

/// What a question of an election is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElectKind {
    /// `VOTE` (RequestVote, figure 2) or `PRE_VOTE` (section 9.6 of Ongaro's thesis): may I lead?
    Vote {
        /// Whether it is a `PRE_VOTE`: nobody's term changes by it.
        pre: bool,
        /// `LAST_LOG_INDEX` of the candidate.
        last_log_index: u64,
        /// `LAST_LOG_TERM`.
        last_log_term: u64,
        /// `COMMIT_INDEX`: what the candidate knows to be committed; it helps who is behind.
        commit_index: u64,
        /// `COMMIT_TERM`: the term of that entry.
        commit_term: u64,
        /// `TRANSFER`: the leader itself has asked for this, so that who has just heard of it votes all the same.
        transfer: bool,
    },
    /// `NOW` (TimeoutNow, section 3.10 of the thesis): the leader hands over to the receiver, who stands at once.
    Now,
}

/// `ELECT` / `OK` with `VOTE_GRANTED`: the answer of one voter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ElectVote {
    /// Who to whom.
    pub envelope: Envelope,
    /// `KIND`: whether `PRE_VOTE` or `VOTE` is answered.
    pub pre: bool,
    /// `VOTE_GRANTED`.
    pub granted: bool,
    /// `COMMIT_INDEX` of the voter.
    pub commit_index: u64,
    /// `COMMIT_TERM`.
    pub commit_term: u64,
}

/// `AGREE` with `KIND`: what a leader tells a member. Answered by [`AgreeAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agree {
    /// Who to whom.
    pub envelope: Envelope,
    /// What.
    pub kind: AgreeKind,
}

/// What a leader tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AgreeKind {
    /// `APPEND` (AppendEntries, figure 2).
    Append {
        /// `PREV_LOG_INDEX`.
        prev_log_index: u64,
        /// `PREV_LOG_TERM`.
        prev_log_term: u64,
        /// `ENTRIES`, of ascending index without gaps from `PREV_LOG_INDEX` + 1. May be empty.
        entries: Vec<LedgerEntry>,
        /// `LEADER_COMMIT`.
        leader_commit: u64,
    },
    /// `HEARTBEAT`: an append without entries that asserts nothing of the log.
    Heartbeat {
        /// `LEADER_COMMIT`, at most what the receiver is known to have.
        leader_commit: u64,
        /// `CONTEXT`: a mark that the answer echoes, by which the leader knows that it still led when it was asked
        /// something (section 6.4 of the thesis). Up to 64 bytes of text.
        context: Option<String>,
    },
    /// `SNAPSHOT` (InstallSnapshot, figure 13): a piece of the whole ledger, for who is far behind.
    Snapshot {
        /// `LAST_INCLUDED_INDEX`.
        last_index: u64,
        /// `LAST_INCLUDED_TERM`.
        last_term: u64,
        /// `VOTERS`, `LEARNERS`, `VOTERS_OUTGOING`, `LEARNERS_NEXT`, `AUTO_LEAVE` at that index.
        members: VoterSets,
        /// `OFFSET` of the piece in the text, in bytes.
        offset: u64,
        /// `DATA`: the piece, text.
        data: String,
        /// `DONE`: whether it is the last piece.
        done: bool,
    },
}

/// `AGREE` / `OK` with `KIND`: the answer of one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgreeAnswer {
    /// Who to whom.
    pub envelope: Envelope,
    /// What.
    pub kind: AgreeAnswerKind,
}

/// What a member answers a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AgreeAnswerKind {
    /// `APPEND`, also after a whole snapshot.
    Append {
        /// `SUCCESS`.
        success: bool,
        /// `MATCH_INDEX`: of a success, the last index that is the same as the leader's and durable; else the `PREV_LOG_INDEX` refused.
        match_index: u64,
        /// `HINT_INDEX` and `HINT_TERM` of a refusal: where the logs may still be the same.
        hint: Option<(u64, u64)>,
        /// `COMMIT_INDEX` of the member.
        commit_index: u64,
    },
    /// `HEARTBEAT`.
    Heartbeat {
        /// `CONTEXT`, as it was said.
        context: Option<String>,
        /// `COMMIT_INDEX` of the member.
        commit_index: u64,
    },
    /// `SNAPSHOT`: a piece has come; the leader sends the one at this offset.
    Piece {
        /// `LAST_INCLUDED_INDEX` of the snapshot.
        last_index: u64,
        /// `OFFSET` of the piece that is wanted next.
        next: u64,
    },
}

/// Who votes and who learns, by number, ascending. The outgoing sets are empty save in the middle of a joint change
/// (section 6 of the paper).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct VoterSets {
    /// `VOTERS`.
    pub voters: Vec<RaftId>,
    /// `LEARNERS`.
    pub learners: Vec<RaftId>,
    /// `VOTERS_OUTGOING`.
    pub voters_outgoing: Vec<RaftId>,
    /// `LEARNERS_NEXT`.
    pub learners_next: Vec<RaftId>,
    /// `AUTO_LEAVE`.
    pub auto_leave: bool,
}

/// Proof between two members on one connection that both know the key of the group: challenge and HMAC-SHA-256, fresh
/// for each connection.
///
/// ```text
///   dialler                                          accepter
///     │ HELLO GROUP_ID RAFT_ID SERVER_ID CHALLENGE=a    │   Proof::Challenge
///     │ ──────────────────────────────────────────────> │
///     │ <── HELLO OK ... CHALLENGE=b PROOF=hmac(a, b) ── │   Proof::Counter
///     │ HELLO PROOF=hmac(b, a)                           │   Proof::Response
///     │ ──────────────────────────────────────────────> │
///     │ <── HELLO OK PROVED=true ─────────────────────── │   Proof::Proved
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// `HELLO` with `CHALLENGE`: prove that you are of my group. The receiver answers `Counter`, or an error.
    Challenge {
        /// `GROUP_ID` of the speaker.
        group_id: GroupId,
        /// `RAFT_ID` of the speaker.
        raft_id: RaftId,
        /// `SERVER_ID` of the speaker.
        server_id: ServerId,
        /// `RUN`: 32 hexadecimal digits, drawn when the process of the speaker started.
        run: String,
        /// `CHALLENGE`: 32 hexadecimal digits, never the same twice.
        challenge: String,
    },
    /// `HELLO` / `OK` with `CHALLENGE` and `PROOF`. The receiver checks it and says `Response`.
    Counter {
        /// `GROUP_ID` of the speaker.
        group_id: GroupId,
        /// `RAFT_ID` of the speaker.
        raft_id: RaftId,
        /// `SERVER_ID` of the speaker.
        server_id: ServerId,
        /// `RUN`.
        run: String,
        /// `CHALLENGE`.
        challenge: String,
        /// `PROOF`: 64 hexadecimal digits.
        proof: String,
        /// `REFUSES`: the speaker has the key, and believes the receiver nothing all the same. Left out where it would.
        refuses: Option<Refuses>,
    },
    /// `HELLO` with `PROOF`. The receiver answers `Proved`, or an error, and then reads nothing of the group from here.
    Response {
        /// `PROOF`.
        proof: String,
    },
    /// `HELLO` / `OK` with `PROVED` true. From now on both read ELECT and AGREE with fields here. Nobody answers.
    Proved,
}

/// Why a member believes another nothing that has the key as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refuses {
    /// `GONE`: its number belongs to nobody any more, as most of those who vote know. It gives up its seat.
    Gone,
    /// `TWINS`: its id is at two addresses at once. It says `Response` all the same, to show that it lives, and neither votes nor asks for
    /// votes until it is believed again.
    Twins,
}

impl Refuses {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refuses::Gone => "GONE",
            Refuses::Twins => "TWINS",
        }
    }

    /// The word's meaning.
    pub fn parse(word: &str) -> Option<Refuses> {
        [Refuses::Gone, Refuses::Twins].into_iter().find(|it| it.as_str() == word)
    }
}

/// The answer to a bare `ELECT`: who leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ElectAnswer {
    /// `SERVER_ID` of the speaker.
    pub server_id: ServerId,
    /// `GROUP`: the name.
    pub group: String,
    /// `GROUP_ID`; `None` while it has no group.
    pub group_id: Option<GroupId>,
    /// `RAFT_ID` of the speaker; `None` while it has no group.
    pub raft_id: Option<RaftId>,
    /// `STATE` of the speaker.
    pub state: GroupRole,
    /// `TERM`.
    pub term: u64,
    /// `LEADER`, `LEADER_RAFT_ID`, `LEADER_NAME`, `LEADER_ADDRESS`, `LEADER_STATUS`: who leads, if somebody does as far as is known here.
    pub leader: Option<Member>,
    /// `VOTERS`.
    pub voters: Vec<Member>,
    /// `LEARNERS`.
    pub learners: Vec<Member>,
    /// `QUORUM`: whether a majority of the voters is ALIVE, seen from here.
    pub quorum: bool,
    /// `SPARE`: voters that can still be lost before there is no majority.
    pub spare: u64,
    /// `REASON`: one sentence on why nothing can be decided, or why there is no group yet.
    pub reason: Option<String>,
}

/// What a master is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupRole {
    /// It leads. `LEADER`.
    Leader,
    /// It follows and votes. `FOLLOWER`.
    Follower,
    /// It stands for election. `CANDIDATE`.
    Candidate,
    /// It follows and has no vote yet. `LEARNER`.
    Learner,
    /// It has no group, and looks for one or waits to found one. `NONE`.
    None,
}

impl GroupRole {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            GroupRole::Leader => "LEADER",
            GroupRole::Follower => "FOLLOWER",
            GroupRole::Candidate => "CANDIDATE",
            GroupRole::Learner => "LEARNER",
            GroupRole::None => "NONE",
        }
    }

    /// The role of a word on the wire.
    pub fn parse(text: &str) -> Option<GroupRole> {
        let all = [GroupRole::Leader, GroupRole::Follower, GroupRole::Candidate, GroupRole::Learner, GroupRole::None];
        all.into_iter().find(|role| role.as_str() == text)
    }
}

/// A member of a group, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// `RAFT_ID`.
    pub raft_id: RaftId,
    /// `SERVER_ID`.
    pub server_id: ServerId,
    /// `NAME`.
    pub name: String,
    /// `ADDRESS`.
    pub address: Address,
    /// `STATUS` seen from the speaker; of itself ALIVE.
    pub status: Status,
}

/// Whether a member votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Votes {
    /// It does. `VOTER`.
    Voter,
    /// Not yet, or not at all while there are enough voters. `LEARNER`.
    Learner,
}

impl Votes {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Votes::Voter => "VOTER",
            Votes::Learner => "LEARNER",
        }
    }

    /// What a word on the wire means.
    pub fn parse(text: &str) -> Option<Votes> {
        [Votes::Voter, Votes::Learner].into_iter().find(|votes| votes.as_str() == text)
    }
}

/// The answer to a bare `MEMBERS`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MembersAnswer {
    /// `SERVER_ID` of the speaker.
    pub server_id: ServerId,
    /// `GROUP`: the name.
    pub group: String,
    /// `GROUP_ID`.
    pub group_id: GroupId,
    /// `INDEX`: the speaker's ledger up to here is in the answer.
    pub index: u64,
    /// `MEMBERS`, by number, each with `VOTES`.
    pub members: Vec<(Member, Votes)>,
    /// `MORE`: whether the line had no room for all of them.
    pub more: bool,
}

/// The answer to a bare `AGREE`: the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LedgerAnswer {
    /// `SERVER_ID` of the speaker.
    pub server_id: ServerId,
    /// `GROUP_ID`.
    pub group_id: Option<GroupId>,
    /// `TERM`.
    pub term: u64,
    /// `APPLIED`: index of the last entry whose effect is in force here.
    pub applied: u64,
    /// `COMMITTED`: index of the last entry that is known to be agreed on.
    pub committed: u64,
    /// `LAST`: index of the last entry in the log.
    pub last: u64,
    /// `SNAPSHOT`: index up to which the log was folded into a snapshot.
    pub snapshot: u64,
    /// `ENTRIES`: the last ones, oldest first, at most [`super::ENTRIES_SHOWN`], with `INDEX`, `TERM` and `WORDS`.
    pub entries: Vec<ShownEntry>,
}

/// One entry in words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShownEntry {
    /// `INDEX`.
    pub index: u64,
    /// `TERM`.
    pub term: u64,
    /// `WORDS`: one sentence.
    pub words: String,
}

/// `MEMBERS` with `ACTION`: a change of who belongs to the group. The leader does it; another member hands it on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MembersAction {
    /// `ADMIT`: a native master asks to be taken in. Said on a native link. Answered by [`Admission`].
    Admit(Box<Admit>),
    /// `REMOVE` with `SERVER_ID`: this member does not belong to the group any more. `FORCE` removes one that is ALIVE.
    Remove {
        /// `SERVER_ID`.
        server_id: ServerId,
        /// `FORCE`. Default false.
        force: bool,
    },
    /// `LEAD` with `SERVER_ID`: this member shall lead.
    Lead {
        /// `SERVER_ID`.
        server_id: ServerId,
    },
    /// `LEAVE`: the receiver itself gives up its membership.
    Leave,
    /// `JOIN` with `TARGET`: the receiver gives up its group, whose ledger it forgets, and asks the one at that address to take it in.
    Join {
        /// `TARGET`.
        target: Address,
    },
    /// `RECOVER` with `CONFIRM`: the receiver founds a new group of itself alone, with the ledger that it has. The last resort:
    /// what others had agreed on and it has not is lost, and two may do it.
    Recover {
        /// `CONFIRM`: the `GROUP_ID` that is given up, so that nobody does this by mistake.
        confirm: GroupId,
    },
}

impl MembersAction {
    /// The word on the wire.
    pub const fn word(&self) -> &'static str {
        match self {
            MembersAction::Admit(_) => "ADMIT",
            MembersAction::Remove { .. } => "REMOVE",
            MembersAction::Lead { .. } => "LEAD",
            MembersAction::Leave => "LEAVE",
            MembersAction::Join { .. } => "JOIN",
            MembersAction::Recover { .. } => "RECOVER",
        }
    }
}

/// Who asks to be taken in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Admit {
    /// `SERVER_ID`.
    pub server_id: ServerId,
    /// `NAME`.
    pub name: String,
    /// `ADDRESS` where it listens.
    pub address: Address,
    /// `GROUP`: the name of the group that it wants to join.
    pub group: String,
    /// `STATE_ID`: a uuid made with its data directory. The same asks again: it gets the same number. Another: it has lost its state,
    /// and gets a new one.
    pub state_id: GroupId,
}

/// The answer to `ADMIT`: what a joiner must know. Its `GROUP_KEY` is a secret: it is in no log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Admission {
    /// `GROUP_ID`.
    pub group_id: GroupId,
    /// `RAFT_ID` of the joiner.
    pub raft_id: RaftId,
    /// `GROUP_KEY`: 64 hexadecimal digits.
    pub key: String,
    /// `MEMBERS`: whom to expect.
    pub members: Vec<Member>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Admission { group_id, raft_id, members, .. } = self;
        f.debug_struct("Admission")
            .field("group_id", group_id)
            .field("raft_id", raft_id)
            .field("members", members)
            .finish_non_exhaustive()
    }
}

/// The answer to the other actions: what was done, and at which index of the ledger where it is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MembersDone {
    /// `ACTION`.
    pub action: String,
    /// `INDEX` of the entry.
    pub index: Option<u64>,
    /// `DETAIL`: one sentence.
    pub detail: String,
}

/// `SETTINGS`: bare, what is agreed; with `NAME` and `VALUE`, agree on a value; with `NAME` and `VALUE` null, on none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct SettingsQuery {
    /// `NAME`: one setting. See [`super::SettingName`] for which there are.
    pub name: Option<String>,
    /// `VALUE`: there if it is to be changed; JSON null unsets.
    pub value: Option<Json>,
    /// `LOCAL`: answer from this node's own copy, which may be old, instead of asking the majority. Default false.
    pub local: bool,
}

/// The answer to `SETTINGS`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SettingsAnswer {
    /// `INDEX`: the ledger up to here is in the answer.
    pub index: u64,
    /// `LOCAL`: it is this node's own copy, and may be old.
    pub local: bool,
    /// `SETTINGS`: those that were asked for, by name.
    pub settings: Vec<Setting>,
}

/// One agreed setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// `NAME`.
    pub name: String,
    /// `VALUE`; `None` if none is agreed on, and each node goes by its own options.
    pub value: Option<Json>,
    /// `INDEX` of the entry that set it; 0 if none.
    pub index: u64,
}

/// `LEASE` with `ACTION`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseRequest {
    /// `NAME` of the lease: 1 to 64 bytes without control characters.
    pub name: String,
    /// What.
    pub action: LeaseAction,
}

/// What is wanted of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LeaseAction {
    /// `ACQUIRE` with `HOLDER`, `TTL_MS`, `WAIT_MS`: give it to me. Who holds it already gets the same again. Answered when it is granted, else at
    /// once or after `WAIT_MS` by an error HELD.
    Acquire {
        /// `HOLDER`: who asks, 1 to 128 bytes; each process its own.
        holder: String,
        /// `TTL_MS`: 1 s to 1 h. Default 10 s.
        ttl: Duration,
        /// `WAIT_MS`: up to 60 s. Default 0.
        wait: Duration,
    },
    /// `RENEW` with `HOLDER`, `FENCE`: it goes on for a whole TTL. Answered once a majority has confirmed that the leader still leads.
    Renew {
        /// `HOLDER`.
        holder: String,
        /// `FENCE`.
        fence: u64,
    },
    /// `RELEASE` with `HOLDER`, `FENCE`: it is free.
    Release {
        /// `HOLDER`.
        holder: String,
        /// `FENCE`.
        fence: u64,
    },
    /// `TICK` with `HOLDER`, `FENCE`, `TICK`: this tick of a timetable is run by me. Refused by CLAIMED if it, or a later one, was claimed before.
    Tick {
        /// `HOLDER`.
        holder: String,
        /// `FENCE`.
        fence: u64,
        /// `TICK`: its number, 1 or more.
        tick: u64,
    },
}

impl LeaseAction {
    /// The word on the wire.
    pub const fn word(&self) -> &'static str {
        match self {
            LeaseAction::Acquire { .. } => "ACQUIRE",
            LeaseAction::Renew { .. } => "RENEW",
            LeaseAction::Release { .. } => "RELEASE",
            LeaseAction::Tick { .. } => "TICK",
        }
    }
}

/// One lease, as it is shown and granted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// `NAME`.
    pub name: String,
    /// `HOLDER`; `None` while it is free.
    pub holder: Option<String>,
    /// `FENCE`: larger with each grant of any lease of the group; what it protects refuses smaller ones than it has seen.
    pub fence: u64,
    /// `TTL_MS`.
    pub ttl: Duration,
    /// `TICK`: the last tick that was claimed; 0 if none.
    pub tick: u64,
}

/// The answer to a bare `LEASE`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeasesAnswer {
    /// `INDEX`: the ledger up to here is in the answer.
    pub index: u64,
    /// `LOCAL`: it is this node's own copy, and may be old.
    pub local: bool,
    /// `LEASES`, by name.
    pub leases: Vec<Lease>,
    /// `MORE`: whether there are leases after the last one; ask again with `AFTER` its `NAME`.
    pub more: bool,
}
