//! CALL: routed to a healthy instance.
