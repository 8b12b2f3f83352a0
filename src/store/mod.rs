//! What survives a restart: the identity, and what peers speak.
//!
//! ```text
//!   $XDG_STATE_HOME/mutirao/                  the base, or --data-dir
//!     3fa9c1d2-127.0.0.1-9101/                one directory a node: machine, bind address, port
//!       lock                                  locked while the node runs; its pid and start
//!       identity.json                         who the node is; written once
//!       dialects.json                         what peers speak; a cache, rewritten by the Writer
//!       boot.json                             how often a master was started; in the ids of its jobs
//!       reserve                               room for the next start, given up when the disk is full
//!       group/                                the group that a master belongs to: its log, votes and snapshot
//!         group-00000001.log                  text, one file at a time; see `group`
//!       jobs/                                 the jobs that a master accepted
//!         jobs-00000001.log                   an append log in segments; see `jobs`
//! ```
//!
//! Every JSON file is written beside its final name, synced and renamed, so that a reader finds the old or the new
//! file whole.

mod dialects;
mod disk;
mod error;
pub mod group;
mod identity;
pub mod jobs;
mod log;
mod reserve;
mod state_dir;
mod writer;

pub use error::StateError;
pub use state_dir::{StateDir, default_base};
pub use writer::Writer;
