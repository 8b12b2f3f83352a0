//! The queue of jobs.
