//! Where a borrower is: which of the addresses that a request suggests is believed.
