//! The simulator: virtual network, clock and machines for the cores.
