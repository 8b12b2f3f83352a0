//! The shell with a whole node inside, talked to over real sockets.
