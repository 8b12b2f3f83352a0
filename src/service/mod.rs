//! Services: what is run on this node.
