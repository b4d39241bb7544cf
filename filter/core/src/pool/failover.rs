//! `failover` and `when_all_unhealthy` of a pool: where a request goes when no healthy target of
//! its pool takes it.
//!
//! 1. To the first pool of [`Pool::failover`] that has a healthy target for it. That pool chooses
//!    by its own sessions, regions and balance. Its own `failover` is not followed, so that no
//!    circle can come of it.
//! 2. Where none of them has one either, `health.when_all_unhealthy` of the first pool decides
//!    ([`WhenAllUnhealthy`]).
//!
//! When a target of the first pool is healthy again, requests return to it at once. A client
//! returns to its old target if it still has that cookie; a cookie of the other pool replaces it if
//! both have the same name.
//!
//! [`crate::worker`] makes the choice.
//!
//! [`Pool::failover`]: crate::pool::Pool::failover

/// `health.when_all_unhealthy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAllUnhealthy {
    /// Requests go to the pool's targets as if all of them were healthy; where none of them is up,
    /// to those of its `failover`. The default: health checks err, and this is no worse than to
    /// refuse every request.
    #[default]
    UseAll,
    /// The filter answers 503.
    Respond503,
}
