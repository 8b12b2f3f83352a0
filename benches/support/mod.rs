//! What the benches share: the load generator, the yardstick servers, child processes, measuring, tables.
//!
//! ```text
//!   throughput ─┐            ┌─ load      the closed-loop generator; checks every reply
//!   footprint  ─┼─ support ──┼─ server    the yardsticks: fixed answer, lines split, typed serde
//!   edge       ─┤            ├─ broker    the languages of job brokers; relay drives them
//!   jobs       ─┤            ├─ commits   clients that write to a cluster in a closed loop, by lines or gRPC
//!   agree      ─┤            ├─ cluster   three nodes, or three etcd
//!   loans      ─┘            ├─ farms     masters with workers of their own, each a process
//!                            ├─ crowd     thousands of workers played by one thread
//!                            ├─ process   children: the node, redis-server, brokers, our yardsticks
//!                            ├─ machine   cores, CPU time, memory, open files
//!                            ├─ report    medians, ratios, targets
//!                            └─ options   the command line
//! ```
//!
//! A yardstick server of ours is a child process too: the bench starts itself again with a hidden option.
#![allow(dead_code, reason = "each bench uses its part of this")]

pub(crate) mod broker;
pub(crate) mod cluster;
pub(crate) mod commits;
pub(crate) mod crowd;
pub(crate) mod failover;
pub(crate) mod farms;
pub(crate) mod grpc;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod repeated;
pub(crate) mod report;
pub(crate) mod server;

/// What ends a bench: one sentence for the person who runs it.
pub(crate) type Failure = Box<dyn std::error::Error>;
