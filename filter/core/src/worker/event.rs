//! What happened while a worker decided, for an operator's counters.

use crate::decision::Reason;
use crate::index::{PoolIndex, TargetRef};
use crate::pool::health::HealthEvent;
use crate::pool::in_flight::InFlightEvent;
use crate::rate_limit::RateLimitEvent;

/// Something that happened and that an operator can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// To a rate limit.
    RateLimit(RateLimitEvent),
    /// To the health of a target.
    Health(HealthEvent),
    /// To the counts of requests in flight.
    InFlight(InFlightEvent),
    /// To a request that a route sent to a pool.
    Fallback(Fallback),
    /// To a request of which a value was too long for a condition, or which used up the steps that
    /// its conditions may take: that condition did not hold. See [`crate::http::steps`].
    TooLong,
    /// A target failed a request. Only where that is known: in a pool with passive health or a
    /// balance by load.
    Failed(TargetRef),
    /// A state that the code rules out, with a name for the log. It is counted and not asserted,
    /// since a panic would kill the worker's VM; every test against a host wants none of them.
    Bug(&'static str),
}

/// A request that did not simply go to a healthy target of its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The pool that the request was for.
    pub pool: PoolIndex,
    /// [`Reason::Repin`], [`Reason::Failover`], [`Reason::Full`] or [`Reason::UseAll`];
    /// [`Reason::NoTarget`] where it was answered, whatever for.
    pub reason: Reason,
}
