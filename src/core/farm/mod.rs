//! The workers of a master.
