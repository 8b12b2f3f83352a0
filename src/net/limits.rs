//! Limits of the shell: each a named constant with its reason.

use std::time::Duration;

use crate::wire::{MAX_LINE_BYTES, MAX_SLOTS};

/// Bytes read from a socket at once, in one buffer that all connections share. As long as the longest line, so that
/// most lines are seen whole; the fixed-answer yardstick gains nothing from more.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// Input that an edge is given at once, in bytes. One-byte bad lines are answered with up to eighty times their
/// length, and room for output is looked at between pieces: one of the worst kind fills about [`HIGH_WATER`].
pub(super) const PIECE: usize = 4 * 1024;

/// Reads from one connection in one turn. A connection that pours has 1 MiB, then the others have theirs.
pub(super) const READS_PER_TURN: usize = 16;

/// Answers that one connection may cause in one turn, in bytes. Short questions with long answers (`NODES`) are
/// bounded by this and not by the reads.
pub(super) const ANSWERS_PER_TURN: usize = 1024 * 1024;

/// Socket events taken from the operating system at once.
pub(super) const EVENTS_PER_TURN: usize = 1024;

/// Connections accepted in one turn, so that a flood of them does not starve those that exist.
pub(super) const ACCEPTS_PER_TURN: usize = 256;

/// Rounds of reading sockets before timers fire after a late wake-up: with [`EVENTS_PER_TURN`] enough for every
/// connection that [`CONNECTIONS`] allows, and an end for those that keep pouring.
pub(super) const CATCH_UP_ROUNDS: usize = 1024;

/// Rounds of writing out in one turn. One is enough unless a write fails and the core answers that with more output;
/// what is left waits for the next turn.
pub(super) const SETTLE_ROUNDS: usize = 4;

/// Messages that one connection brings at a time, from which on what comes of them is written before another one is read.
/// Of fewer it is written at the end of the turn: a write costs more than they do.
pub(super) const BATCH: usize = 16;

/// Output that is held back for a moment, in bytes: acknowledgements of some hundred jobs. More is worth a write of its own.
pub(super) const HELD_BACK: usize = 32 * 1024;

/// How long it is held back at most: the next order for the same worker is there sooner while there is work, and a write costs
/// more than the rest of a job's way through this node.
pub(super) const HOLD: Duration = Duration::from_millis(1);

/// Outputs after one input. More than this is a core that talks to itself; checked in debug builds.
pub(super) const OUTPUTS_PER_INPUT: usize = 1_000_000;

/// Output above which a connection is not read any more: who does not take answers asks no more questions. A page
/// of four of the longest lines.
pub(super) const HIGH_WATER: usize = 256 * 1024;

/// Output at which a connection is read again. Half of [`HIGH_WATER`], so that it does not flap.
pub(super) const LOW_WATER: usize = HIGH_WATER / 2;

/// Output above which a connection is cut on which a stream runs: events, or what jobs print. Its reader is too slow.
pub(super) const OUTPUT_LIMIT: usize = 1024 * 1024;

/// Requests of one connection that the core leaves unanswered at most before it has the connection not read.
pub(super) const UNANSWERED: usize = crate::core::MAX_WAITING as usize;

/// Output above which any connection is cut. What was asked for does not reach it: the most is a worker with as many
/// slots as are allowed that takes its orders, each of the longest line; answers are bounded by [`UNANSWERED`].
pub(super) const ASKED_LIMIT: usize = (MAX_SLOTS as usize + UNANSWERED) * MAX_LINE_BYTES;

/// An output buffer larger than this is given back to the allocator once it is empty.
pub(super) const KEPT_BUFFER: usize = 64 * 1024;

/// Empty output buffers that are kept for the next use. Only connections that are being answered in the same turn
/// hold one.
pub(super) const KEPT_BUFFERS: usize = 16;

/// Output of which nothing is taken for this long ends the connection. A reader on a bad line takes something.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// An accepted connection without a line and without a stream ends after this. A person in netcat thinks long.
pub(super) const IDLE_DEADLINE: Duration = Duration::from_secs(600);

/// After the last byte is written, input is thrown away for this long, so that the operating system does not
/// destroy the answer with a reset.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Input that is thrown away while lingering, in bytes. Whoever sends more does not read answers.
pub(super) const LINGER_BYTES: u32 = 256 * 1024;

/// Refused connections that may linger at once. They use descriptors of [`RESERVED_DESCRIPTORS`].
pub(super) const LINGERING_REFUSALS: usize = 16;

/// Descriptors that accepted connections never get: standard streams, poll, files and refusals. Links to
/// configured peers are reserved on top.
pub(super) const RESERVED_DESCRIPTORS: usize = 64;

/// Descriptors that are kept for services beside those of runs: programs that stay, their pipes, the directory.
pub(super) const DESCRIPTORS_FOR_SERVICES: usize = 256;

/// Descriptors of one run of a program: three pipes, and one to wait for its end.
pub(super) const DESCRIPTORS_PER_RUN: usize = 4;

/// Accepted connections whatever the limit of descriptors. Slots are numbered in 20 bits, and outbound links need
/// some of them.
pub(super) const CONNECTIONS: usize = 1_000_000;

/// Connections that the operating system completes before they are accepted. With mio's 128, a thousand clients
/// that come at once wait for seconds.
pub(super) const BACKLOG: i32 = 4096;

/// Pause of accepting when descriptors have run out: long enough not to spin, short enough not to be noticed.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// TCP keepalive of accepted connections: a machine that vanished is noticed after 60 + 4 × 15 = 120 s.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two probes.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Probes that stay unanswered before the connection ends.
pub(super) const KEEPALIVE_PROBES: u32 = 4;

/// Addresses of one name that are tried in one attempt.
pub(super) const ADDRESSES_PER_NAME: usize = 8;

/// Threads that look up names. A dead name server holds one for up to half a minute; four let other names through.
pub(super) const RESOLVER_THREADS: usize = 4;

/// Notes from other threads that may wait before a measurement of the machine is left out. Ends of runs may be as many
/// for a moment; a loop that is further behind has no use for measurements.
pub(super) const NOTES: usize = 64 * 1024;

/// Notes from other threads that are told to the core in one turn, so that runs that end as soon as they begin do not
/// keep sockets waiting. As many as a turn reads of short questions.
pub(super) const NOTES_PER_TURN: usize = 4096;

/// Pieces of what runs print that are told in one turn, before their link is written to. Of 10 KiB each, all of
/// characters that JSON escapes with six, they stay below [`OUTPUT_LIMIT`].
pub(super) const PRINTED_PIECES: usize = 16;

/// Time between two measurements of the machine.
pub(super) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// How long handing over a report to the supervisor may take, from the look-up of its name to the last byte: the course's time-out. Half of the
/// time between two reports.
pub(super) const REPORT_WITHIN: Duration = Duration::from_secs(5);

/// Time from the first request to stop until the loop ends at the latest. Promised is a second, of which the
/// process needs some to end.
pub(super) const STOP_DEADLINE: Duration = Duration::from_millis(800);

/// What a worker that stops has beyond its grace, from the first request until the loop ends at the latest: the core
/// has its last word at the end of the grace, and that is written as fast as any (see [`STOP_DEADLINE`]).
pub(super) const STOP_AFTER_GRACE: Duration = Duration::from_secs(1);

/// How long services have to end by themselves once the loop has ended gracefully. What they worked on is over by
/// then; a program that reads the end of its input needs far less.
pub(super) const SERVICES_DEADLINE: Duration = Duration::from_secs(1);

/// Longest datagram of discovery, in bytes. Those of the classroom are below 200, and an Ethernet frame carries 1,472.
pub(super) const DATAGRAM_BYTES: usize = 2 * 1024;

/// Datagrams read in one turn. A flood of them does not starve connections; what the socket's buffer cannot hold
/// meanwhile is lost, as datagrams may be.
pub(super) const DATAGRAMS_PER_TURN: usize = 64;

/// Requests for discovery that one sender is answered in a second. A machine that starts twelve workers at once, each
/// heard on five ways; a forged sender gets some 10 KB a second through this node, and no more.
pub(super) const DISCOVERIES_PER_SECOND: u32 = 64;

/// Senders that are answered in a second. Several classrooms at once; whoever forges thousands gets no memory for them.
pub(super) const DISCOVERY_SOURCES: usize = 1024;

/// Warnings in a second about bad replies of one sender. One says what is wrong.
pub(super) const REJECTS_LOGGED_PER_SECOND: u32 = 1;

/// Addresses of this machine out of each of which masters are asked for. A laptop with containers has fewer; each costs
/// one datagram a round.
pub(super) const DISCOVERY_INTERFACES: usize = 16;

/// The first registry is shown after one interval, at most after this.
pub(super) const FIRST_REGISTRY: Duration = Duration::from_secs(1);
