//! What is on the wire: lines, messages, limits, errors, and the dialects of the classroom.
//!
//! [`Message`] is the manual of the protocol: every line that a node understands or says is one of its variants.
//! `protocol.md` is its translation for people with netcat.
//!
//! Bytes become messages in [`Edge`], a pure machine per link, `(bytes, now) -> messages, deadline`. It frames
//! lines, tells protocols apart by their first bytes, answers what is malformed by itself, and renders answers in
//! the form in which the link was spoken to. Behind it nobody knows of bytes or of generations.
//!
//! ```text
//!   socket bytes ──> Edge ──> Message ──> core ──> Message ──> Edge ──> socket bytes
//!                     │ malformed, unknown, too long: answered here
//!                     └ bare heartbeat: answered here, and only counted
//! ```

mod address;
mod answers;
mod datagram;
mod decode;
mod dialect;
mod encode;
mod error;
mod event;
mod farm;
mod fields;
mod group;
mod job;
mod json;
mod json_object;
mod ledger;
mod ledger_json;
mod limits;
mod line;
mod loan;
mod message;
mod parts;
mod report;
mod scan;
mod service;
mod settings;
mod why;

pub use address::{Address, AddressError, Host};
pub use datagram::{Undecodable, decode_datagram, encode_datagram};
pub use decode::{Undecoded, decode};
pub use dialect::{CloseReason, Decoded, Dialect, DialectMemory, Edge, Prepared};
pub use encode::{encode, encode_report};
pub use error::{ErrorAnswer, ErrorCode};
pub use event::*;
pub use farm::*;
pub use group::*;
pub use job::*;
pub use json::Json;
pub(crate) use json_object::{JsonReader, JsonWriter};
pub use ledger::*;
pub(crate) use ledger_json::{group_id, raft_ids};
pub use limits::*;
pub use loan::*;
pub use message::*;
pub use report::{
    BorrowedWorker, MachineReport, MasterReport, NeighbourReport, Report, TasksReport, ThresholdsReport, WorkersReport,
};
pub use service::*;
pub use settings::SettingName;
pub use why::*;
