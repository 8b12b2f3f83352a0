//! Limits of the wire: each a named constant with its reason.

use std::time::Duration;

/// Longest line that is read, in bytes without its newline. The classroom's strictest generation (2026/2) sends
/// up to 65,536 bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Longest `ID`, `SERVER_ID` and `SERVER_UUID`, in bytes. A uuid is 36; names are longer, documents are not ids.
pub const MAX_ID_BYTES: usize = 128;

/// Longest `NAME` and `GROUP`, in bytes. They stand in tables and logs.
pub const MAX_NAME_BYTES: usize = 64;

/// Longest host name in an address, in bytes (RFC 1035, section 2.3.4).
pub const MAX_HOST_BYTES: usize = 253;

/// Entries in one answer to `NODES`. Usual entries are below 1 KiB, so that such a page is a line that any node
/// reads; where names are full of characters that JSON escapes, [`super::encode`] cuts the page to
/// [`MAX_LINE_BYTES`] and says `MORE`.
pub const NODES_PAGE: usize = 60;

/// A complete object that is followed by this much silence counts as a line. Several classroom programs send the
/// last object without a newline; recorded pauses within one line are shorter.
pub const SILENCE_ENDS_LINE: Duration = Duration::from_millis(100);

/// A line that was begun must be ended within this time. Longer than a person needs to paste, far shorter than
/// what a slow drip needs to hold a buffer of [`MAX_LINE_BYTES`] for ever.
pub const LINE_DEADLINE: Duration = Duration::from_secs(60);

/// The first bytes of a connection must tell its protocol within this time once they have begun to look like HTTP.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long a registration waits for the ALIVE that some workers say right behind it, and which alone is answered then. Recorded ones are
/// some milliseconds apart.
pub const REGISTER_WAIT: Duration = Duration::from_millis(250);

/// Addresses whose dialect is remembered. More than peers are ever known at once; whoever makes a node call ever new
/// addresses finds an end here.
pub const MAX_DIALECTS: usize = 4096;

/// Characters of somebody's text that are quoted to people, in logs and reasons. Enough to recognise it by.
pub const MAX_QUOTE: usize = 120;

/// Jobs in one page of `JOBS`; the page is cut earlier where it would be longer than [`MAX_LINE_BYTES`].
pub const JOBS_PAGE: usize = 100;

/// Workers in one page of `WORKERS`; cut earlier as `JOBS` is.
pub const WORKERS_PAGE: usize = 100;

/// Instances in the answer to a bare `CALL`; cut earlier as `JOBS` is.
pub const INSTANCES_PAGE: usize = 100;

/// Longest `PARAMS`, `RESULT` and `USER`, in bytes of JSON. With the fields beside it, it still fits a line.
pub const MAX_JSON_BYTES: usize = 60 * 1024;

/// Longest piece of `DATA` that a worker sends, in bytes of text. Fully escaped (six bytes each) it still fits a line.
pub const MAX_OUTPUT_BYTES: usize = 10 * 1024;

/// Most `SERVICES` that one node tells of.
pub const MAX_SERVICES: usize = 256;

/// Most `METHODS` of one service.
pub const MAX_METHODS: usize = 64;

/// Most `SLOTS` of one worker.
pub const MAX_SLOTS: u32 = 1024;

/// Highest `PRIORITY`.
pub const MAX_PRIORITY: u8 = 9;

/// `PRIORITY` of who says none.
pub const DEFAULT_PRIORITY: u8 = 4;

/// Longest `DELAY_MS`.
pub const MAX_DELAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longest `TIMEOUT_MS` of a job, and longest `WAIT_MS`.
pub const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Longest `TIMEOUT_MS` of a call.
pub const MAX_CALL: Duration = Duration::from_secs(3600);

/// `TIMEOUT_MS` of a call that says none.
pub const DEFAULT_CALL: Duration = Duration::from_secs(30);

/// Most `ATTEMPTS` of a job.
pub const MAX_ATTEMPTS: u32 = 100;

/// Redirects and nodes after which a request is served where it is.
pub const MAX_HOPS: u32 = 3;

/// Most `FAILOVER` addresses that a master gives its workers.
pub const MAX_FAILOVER: usize = 16;

/// Longest datagram of discovery that is read, in bytes. Usual ones are below 200.
pub const MAX_DATAGRAM_BYTES: usize = 2048;

/// Forms of heartbeats that an edge remembers while their answers are waited for; what is more is answered in the form
/// of the last one. Whoever asks that often without an answer does so in one form.
pub const MAX_WAITING_FORMS: usize = 256;

/// `ENTRIES` of a bare `AGREE`: the last ones, enough to see what a screen shows.
pub const ENTRIES_SHOWN: usize = 20;

/// Bytes of entries in one `APPEND`, and of text in one piece of a `SNAPSHOT`: with its head, and with every byte of the text escaped
/// to two, a line stays below [`MAX_LINE_BYTES`].
pub const AGREE_BYTES: usize = 24 << 10;

/// Longest entry of the ledger, as JSON: one always fits into a line.
pub const MAX_ENTRY_BYTES: usize = 16 << 10;

/// Longest text of a whole ledger, a snapshot. Far above what members, leases and settings of any lawful number come to; a leader that sends more
/// is refused.
pub const MAX_SNAPSHOT_BYTES: usize = 64 << 20;

/// Largest `TERM`, `INDEX`, number of a member, `FENCE` and `TICK`: what every reader of JSON keeps exactly (a double has 53
/// bits), and one more never overflows.
pub const MAX_TERM: u64 = (1 << 53) - 1;

/// Longest `CONTEXT` of a `HEARTBEAT` of a leader, in bytes.
pub const MAX_CONTEXT_BYTES: usize = 64;

/// Longest `VALUE` of a setting, in bytes of JSON: with its name and what wraps it, an entry of the ledger holds it.
pub const MAX_SETTING_BYTES: usize = 4 << 10;

/// Named leases of a group at most.
pub const MAX_LEASES: usize = 10_000;

/// Members of a group at most, voters and learners.
pub const MAX_MEMBERS: usize = 256;

/// Voters of a group at most (design.md section 7): more make commits slower and hardly safer.
pub const MAX_VOTERS: usize = 5;

/// Shortest and longest `TTL_MS` of a lease.
pub const LEASE_TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// `TTL_MS` of who says none.
pub const DEFAULT_LEASE_TTL: Duration = Duration::from_secs(10);

/// Longest `WAIT_MS` of `LEASE` `ACQUIRE`; who wants it longer asks again.
pub const MAX_LEASE_WAIT: Duration = Duration::from_secs(60);

/// Leases in one answer: with names and holders of the longest kind, a line stays below [`MAX_LINE_BYTES`].
pub const LEASES_PAGE: usize = 50;

/// Workers that one request for help asks for at most, and that one offer or renewal names: more are asked for by the next one.
pub const MAX_WORKERS_NEEDED: u32 = 64;

/// Orphans that one request for adoption names: those of a large farm take several.
pub const MAX_ADOPTED: usize = 64;

/// Workers of whom the ledger knows that they were adopted, at most: as many as one master knows at a time.
pub const MAX_ADOPTED_WORKERS: usize = 20_000;

/// Open loans of a group at most.
pub const MAX_LOANS: usize = 10_000;

/// Decisions on one page of `WHY`: each is some 300 bytes.
pub const WHY_PAGE: usize = 100;

/// Loans on one page of `LOANS`: each is some 300 bytes.
pub const LOANS_PAGE: usize = 128;

/// Longest `LEASE_MS` of a loan, and longest `GRACE_MS`: a day, as the longest job.
pub const MAX_LEASE: Duration = Duration::from_secs(24 * 3600);
