//! Exit codes, one meaning each.
//!
//! Two commands lend their code: `node submit --wait shell.run -- command` and `node elect name -- command` end with that of the
//! command, whatever it is, and with 128 and its number for a signal. What went wrong otherwise stands on standard error then.

/// All went well; or the node was told to stop and said goodbye.
pub const OK: u8 = 0;
/// It failed while it ran: no answer, an error answer, or the system refused.
pub const FAILURE: u8 = 1;
/// The command line, the environment or the configuration file is wrong. Nothing was started.
pub const USAGE: u8 = 2;
/// Another process listens on the port. Nothing was changed.
pub const PORT_TAKEN: u8 = 3;
/// Another process holds the state directory. Nothing was changed.
pub const STATE_IN_USE: u8 = 4;
/// The state cannot be read or is damaged. Nothing was changed.
pub const STATE_UNUSABLE: u8 = 5;
/// The job that was asked about has not ended yet, or had not when the time of `--wait` was over. It goes on.
pub const UNFINISHED: u8 = 6;
/// Ended at once by a second Ctrl-C; the shell's number for SIGINT.
pub const INTERRUPTED: u8 = 130;

/// Every code with its meaning, as `--help` and the man page tell it.
pub const TABLE: [(u8, &str); 8] = [
    (OK, "all went well"),
    (FAILURE, "failed while it ran: no answer, an error answer, or the system refused"),
    (USAGE, "wrong command line, environment or configuration file"),
    (PORT_TAKEN, "port taken by another process"),
    (STATE_IN_USE, "state in use by another process"),
    (STATE_UNUSABLE, "state unreadable or damaged (see --fresh)"),
    (UNFINISHED, "the job that was asked about has not ended yet; it goes on"),
    (INTERRUPTED, "ended at once by a second Ctrl-C"),
];
