//! SipHash-2-4, the one hash whose values leave a worker.
