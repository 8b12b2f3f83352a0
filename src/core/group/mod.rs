//! Groups of masters: founding, joining, proving, asking the leader.
