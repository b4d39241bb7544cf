//! `failover` and `when_all_unhealthy` of a pool: where a request goes when no healthy target of
//! its pool takes it.
//!
//! 1. To the first pool of [`Pool::failover`] that has a healthy target for it. That pool chooses
//!    by its own sessions, regions and balance. Its own `failover` is not followed, so that no
//!    circle can come of it.
//! 2. Where none of them has one either, `health.when_all_unhealthy` of the first pool decides
//!    ([`WhenAllUnhealthy`]).
//!
//! When a target of the first pool is healthy again, requests return to it at once, whatever the
//! order of a split: a session that began in `failover` says so, and for which pool
//! ([`crate::pool::sticky::Given`]). A client returns to its old target if it still has that cookie;
//! a cookie of the other pool replaces it if both have the same name.
//!
//! **When it happens**, by what is known of the pool's targets. `passive` alone keeps
//! `max_ejected_percent` of them in as long as one target answers, and lets go of all once all fail
//! ([`crate::pool::health::Passive`]):
//!
//! | `health` | one target of several is dead | half are | all are |
//! |---|---|---|---|
//! | none | it gets its share | they get theirs | all get theirs: no failover |
//! | `passive` | ejected, if the bound has room for one | ejected as far as the bound goes | ejected, then failover |
//! | `passive` with `max_ejected_percent: 100` | ejected | ejected | ejected, then failover |
//! | `passive` with `max_ejected_percent: 0` | it gets its share | they get theirs | all get theirs: no failover; `check` warns |
//! | `active`, with `passive` or without | ejected by probes | ejected by probes | ejected by probes, then failover |
//!
//! *Failover* is the first pool of the list that has a healthy target, and where there is none,
//! `when_all_unhealthy`: the pool's targets as if they were healthy (`use_all`), or 503. With
//! `use_all` and no list, `passive` keeps its bound where all fail: to let go of all and to use all
//! are the same.
//!
//! Probes that are good do not keep `passive` from ejecting a target: a target whose `/health` is
//! well and whose requests fail is ill. That no client brings this about is a matter of votes.
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
