//! mutirão: masters that each own a farm of workers and lend them to a neighbour whose queue overflows, over
//! lines of JSON that anyone can type into netcat.
//!
//! The map of the house, from the street inwards. Imports go one way, downwards:
//!
//! ```text
//!   cli      one file a subcommand; no logic of the node
//!   net      the shell: event loop, connections, clock, threads          sim   the same place, simulated
//!   store    what survives a restart                              service   what is run here: built-ins, programs
//!   core     what a node decides: pure state machines, (input, now) -> outputs
//!   wire     what is on the wire: lines, messages, limits, errors, dialects
//!   time     the one notion of time that all of them share
//! ```
//!
//! Start reading at [`wire::Message`], the manual of the protocol, then [`core`], the contract of the state machines.

pub mod cli;
pub mod core;
pub mod net;
pub mod service;
pub mod sim;
pub mod store;
pub mod time;
pub mod wire;
