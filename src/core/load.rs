//! Load.
use crate::wire::Permille;
use std::time::Duration;

/// Thresholds of load (design.md section 6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadConfig {
    /// Pending jobs above which the node becomes saturated. Default 100, range 1 to 1,000,000,000. If unsure, the jobs that the farm
    /// finishes in the time that a user is willing to wait.
    pub capacity: u64,
    /// Pending jobs below which it stops being saturated. Default 60 % of `capacity`, range 1 to `capacity`. If unsure, the default.
    pub release: u64,
    /// How long either must last. Default 2 s, range 0 to 1 h. If unsure, the default.
    pub hold: Duration,
    /// CPU of the machine above which the node is hot; cool again ten points below. Default 70 %, 0 to 100 %, 0 = never. If unsure, the default.
    pub cpu_threshold: Permille,
}
