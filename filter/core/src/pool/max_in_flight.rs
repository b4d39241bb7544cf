//! `max_in_flight` of a target: a bound on its requests in flight, over all workers together.
//!
//! **How exact.** Workers share each begin and each end at such a target at once, also where they
//! are too busy to do so for others ([`super::in_flight`]). A worker counts its request in the gauge
//! first, and reads the gauge then. If that says more than the bound, the worker takes its request
//! back and chooses another target. So no interleaving lets through more than the bound: of all
//! requests that stay, the one that was counted last read a gauge that had the others in it. Workers
//! that come for the last place at the same instant can each see the other's request and both go
//! elsewhere; so within the time of a few host calls a target may be passed over though it has one
//! place left for each two workers.
//!
//! **What it is not.** The bound is one of choices. These go past it:
//!
//! - a retry that the proxy makes by itself. The list of endpoints that it is given leaves out what
//!   is full, but some time passes until the retry, and it is counted at its target from its answer
//!   on;
//! - a client that leaves: its request is over for the proxy, and may go on at the backend;
//! - a worker that hung for more than three seconds, until it rejoins; where the proxy has no gauges
//!   for us, or no slot is free, each worker keeps the bound for itself alone. The metrics
//!   `in_flight.reaped` and `in_flight.local` say so;
//! - each proxy has a bound of its own.
//!
//! After a trap the requests of the VM stay counted for up to five seconds. Penalties do not count.
//!
//! **A full target is passed over**: by new requests, by those of its sessions, and by those whose
//! hash it owns. A session stays what it is: its client gets another target for this request and no
//! cookie. Where all healthy targets of a pool are full, a pool of its `failover` takes the
//! request; otherwise the answer is 503. A target that is unhealthy does not get what is too much
//! for those that are healthy.
//!
//! The prices of a request to such a target: one write, two changes of a gauge and two reads more
//! than to another one of a busy worker; and in pools of at most [`MAX_LOOKED_AT`] targets one read
//! for each that has a bound. In larger pools those are read that were chosen.

use crate::pool::balance::least_connections::MAX_COMPARED;

/// The largest pool of which a choice looks at all targets with a bound, before it is made.
pub const MAX_LOOKED_AT: usize = MAX_COMPARED;

/// How many targets of a larger pool, or of those that a hash belongs to, may turn out to be full
/// before a choice looks at all; and how many may be taken by other workers in that instant, before
/// the pool counts as full.
pub const TRIES: usize = 8;

#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod tests;
