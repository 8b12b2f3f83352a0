//! What the logs of a node have in common: what they ask of a disk, and how the loop hands them what is to be stored.

pub(super) mod disk;
pub(super) mod feeder;
#[cfg(test)]
pub(super) mod machine;
