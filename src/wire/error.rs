//! Errors as they stand on the wire.

/// An error answer: `{"TASK":"...","RESPONSE":"ERROR","ERROR":"<code>","DETAIL":"...","RETRY":true|false}`.
///
/// A request is refused whole or done whole. That nothing changed is meant by every code but those that say that it may have
/// been done: [`ErrorCode::TimedOut`], [`ErrorCode::Lost`], [`ErrorCode::Failed`] and [`ErrorCode::StoreSlow`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorAnswer {
    /// `TASK` of the request; empty where the line had none.
    pub task: String,
    /// `ERROR`: the code, for programs.
    pub code: ErrorCode,
    /// `DETAIL`: one sentence, for people. Names the field and what was expected.
    pub detail: String,
    /// `RETRY`: whether the same line may succeed later.
    pub retry: bool,
}

impl ErrorAnswer {
    /// An error answer whose `RETRY` follows from its code.
    pub fn new(task: impl Into<String>, code: ErrorCode, detail: impl Into<String>) -> ErrorAnswer {
        let retry = code.retry();
        ErrorAnswer { task: task.into(), code, detail: detail.into(), retry }
    }
}

/// What went wrong, for programs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The line is not JSON, or not UTF-8. The asker mends the line.
    BadJson,
    /// The line is JSON but not an object. The asker mends the line.
    NotAnObject,
    /// A required field is missing; `DETAIL` names it. The asker adds it.
    MissingField,
    /// A field has a wrong type or value; `DETAIL` names it. The asker mends it.
    BadField,
    /// This node knows no such task. The asker reads protocol.md.
    UnknownTask,
    /// The line is longer than the limit; the connection is closed after this answer.
    LineTooLong,
    /// The begun line was not ended in time; the connection is closed after this answer.
    LineTooSlow,
    /// What was asked for is not here. It may be later.
    NotFound,
    /// Only a native peer may say this, on its own link.
    NotNative,
    /// This node has no room for another connection or stream now. The asker waits.
    Busy,
    /// This node stops. The asker goes elsewhere.
    Stopping,
    /// The queue holds as many jobs or bytes as it may; `DETAIL` says which. Nothing was accepted. The asker waits.
    QueueFull,
    /// The disk refused; `DETAIL` says why. Nothing was accepted, and nothing that was accepted before is lost. The asker waits.
    StoreFailed,
    /// The disk takes so long that nothing can be said yet; `DETAIL` says how long. It may be done, or not. The asker asks again,
    /// with the `KEY` of a job.
    StoreSlow,
    /// Nobody here offers that service or method now. The asker looks at a bare `CALL`.
    NoService,
    /// The time of the call is over; `DETAIL` says what it waited for. It may have been done.
    TimedOut,
    /// The service answered with an error; `DETAIL` is its own.
    Failed,
    /// Who served the call is gone, and it may have been done. The asker repeats what may be done twice.
    Lost,
    /// The job is not in a state in which this can be done; `DETAIL` says which it is in. Nothing was changed.
    WrongState,
    /// This node is a worker and keeps no jobs. The asker goes to its master, which `DETAIL` names.
    NotAMaster,
    /// No majority of the voters answers, so nothing can be decided; `DETAIL` says how many are missing and who. Nothing
    /// was changed, as far as is known here. The asker waits, or brings one of them back.
    NoQuorum,
    /// A majority may be there, but nobody leads yet, or not any more. The asker waits a moment.
    NoLeader,
    /// This node belongs to no group yet; `DETAIL` says what it waits for. The asker waits, or goes to a member.
    NoGroup,
    /// Another holds the lease; `DETAIL` names it. The asker waits and asks again.
    Held,
    /// What only members may say to each other, on a link that has not proved the key of this group, or for another
    /// group. The asker proves it, or leaves it.
    NotAMember,
    /// The grant is over: the lease was released, has expired, or is another's. The asker stops what the lease protects, and
    /// acquires anew.
    Over,
    /// This tick of a timetable, or a later one, was claimed before. The asker does not run it.
    Claimed,
    /// A code of another program, kept as it came.
    Other(String),
}

impl ErrorCode {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            ErrorCode::BadJson => "BAD_JSON",
            ErrorCode::NotAnObject => "NOT_AN_OBJECT",
            ErrorCode::MissingField => "MISSING_FIELD",
            ErrorCode::BadField => "BAD_FIELD",
            ErrorCode::UnknownTask => "UNKNOWN_TASK",
            ErrorCode::LineTooLong => "LINE_TOO_LONG",
            ErrorCode::LineTooSlow => "LINE_TOO_SLOW",
            ErrorCode::NotFound => "NOT_FOUND",
            ErrorCode::NotNative => "NOT_NATIVE",
            ErrorCode::Busy => "BUSY",
            ErrorCode::Stopping => "STOPPING",
            ErrorCode::QueueFull => "QUEUE_FULL",
            ErrorCode::StoreFailed => "STORE_FAILED",
            ErrorCode::StoreSlow => "STORE_SLOW",
            ErrorCode::NoService => "NO_SERVICE",
            ErrorCode::TimedOut => "TIMED_OUT",
            ErrorCode::Failed => "FAILED",
            ErrorCode::Lost => "LOST",
            ErrorCode::WrongState => "WRONG_STATE",
            ErrorCode::NotAMaster => "NOT_A_MASTER",
            ErrorCode::NoQuorum => "NO_QUORUM",
            ErrorCode::NoLeader => "NO_LEADER",
            ErrorCode::NoGroup => "NO_GROUP",
            ErrorCode::Held => "HELD",
            ErrorCode::NotAMember => "NOT_A_MEMBER",
            ErrorCode::Over => "OVER",
            ErrorCode::Claimed => "CLAIMED",
            ErrorCode::Other(code) => code,
        }
    }

    /// The code of a word on the wire.
    pub fn parse(text: &str) -> ErrorCode {
        let known = [
            ErrorCode::BadJson,
            ErrorCode::NotAnObject,
            ErrorCode::MissingField,
            ErrorCode::BadField,
            ErrorCode::UnknownTask,
            ErrorCode::LineTooLong,
            ErrorCode::LineTooSlow,
            ErrorCode::NotFound,
            ErrorCode::NotNative,
            ErrorCode::Busy,
            ErrorCode::Stopping,
            ErrorCode::QueueFull,
            ErrorCode::StoreFailed,
            ErrorCode::StoreSlow,
            ErrorCode::NoService,
            ErrorCode::TimedOut,
            ErrorCode::Failed,
            ErrorCode::Lost,
            ErrorCode::WrongState,
            ErrorCode::NotAMaster,
            ErrorCode::NoQuorum,
            ErrorCode::NoLeader,
            ErrorCode::NoGroup,
            ErrorCode::Held,
            ErrorCode::NotAMember,
            ErrorCode::Over,
            ErrorCode::Claimed,
        ];
        known.into_iter().find(|code| code.as_str() == text).unwrap_or_else(|| ErrorCode::Other(text.to_owned()))
    }

    /// Whether the same line may succeed later.
    pub fn retry(&self) -> bool {
        matches!(
            self,
            ErrorCode::LineTooSlow
                | ErrorCode::NotFound
                | ErrorCode::Busy
                | ErrorCode::Stopping
                | ErrorCode::QueueFull
                | ErrorCode::StoreFailed
                | ErrorCode::StoreSlow
                | ErrorCode::NoService
                | ErrorCode::NoQuorum
                | ErrorCode::NoLeader
                | ErrorCode::NoGroup
                | ErrorCode::Held
        )
    }
}
