//! The jobs of a master on disk.
