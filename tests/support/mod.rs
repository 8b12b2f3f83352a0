//! What the test programs share: real nodes as processes, a client that speaks lines, patterns of JSON, and the
//! parser of transcripts. Nothing in here knows how a node works inside.
//!
//! Nothing sleeps: every wait is for a condition, with a deadline.

// Each test program compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports)]

pub(crate) mod client;
pub(crate) mod fake_peer;
pub(crate) mod farm;
pub(crate) mod group;
#[cfg(target_os = "linux")]
pub(crate) mod lending;
pub(crate) mod native_peer;
#[cfg(target_os = "linux")]
pub(crate) mod netns;
pub(crate) mod pattern;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod screen;
pub(crate) mod shell;
pub(crate) mod student;
#[cfg(target_os = "linux")]
pub(crate) mod terminal;
pub(crate) mod transcript;
pub(crate) mod wait;

pub(crate) use client::{Client, Line};
pub(crate) use fake_peer::FakePeer;
pub(crate) use native_peer::NativePeer;
pub(crate) use process::NodeProcess;
pub(crate) use wait::{DEADLINE, wait_for, wait_until, watch};
