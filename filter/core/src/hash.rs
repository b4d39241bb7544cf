//! SipHash-2-4, the one hash whose values leave a worker.

/// The secret of a SipHash.
pub type Seed = [u8; 16];
