//! The choice of a pool: the one that the request was sent to if it has a healthy target for the
//! request, otherwise as [`crate::pool::failover`] says.
//!
//! | what | then |
//! |---|---|
//! | the target of a session is unhealthy or down | the client moves within the pool and gets a new cookie; in a split it keeps its part |
//! | no target of the pool takes the request | the pools of its `failover`, in order |
//! | none of theirs does either | `when_all_unhealthy` of the first pool |
//! | all healthy targets of the pool are full ([`crate::pool::max_in_flight`]) | the pools of its `failover`, in order; then 503 |
//! | a target is `draining` or has the weight 0 | it takes the requests of its sessions and no others, as long as it is healthy |

use super::Worker;
use super::context::RequestContext;
use super::select::{Selection, Start};
use crate::decision::{Reason, SessionPlan};
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::failover::WhenAllUnhealthy;
use crate::pool::health::Health;
use crate::pool::sticky::{Given, Origin};
use crate::time::Nanos;

/// Which targets can be chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HealthFilter {
    Healthy,
    /// All, as if they were healthy.
    Any,
}

/// Why no target of a pool is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotPicked {
    /// None that the filter admits takes the request.
    NoTarget,
    /// All of those are full.
    Full,
}

impl HealthFilter {
    pub(super) fn admits(
        self,
        health: &Health,
        pool: &Pool,
        target: TargetIndex,
        now: Nanos,
    ) -> bool {
        self == HealthFilter::Any || health.is_healthy(pool, target, now)
    }
}

impl Worker {
    /// A target of the pool where the choice begins, or of one that stands in for it; otherwise why
    /// there is none.
    pub(super) fn select_with_failover<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        start: Start<'c>,
    ) -> Result<Selection<'c>, Reason> {
        let full = match self.select_among(context, start, HealthFilter::Healthy) {
            Ok(healthy) => return Ok(healthy),
            Err(full) => full,
        };
        // What is too much for the healthy targets does not go to the others.
        if full.first {
            return Err(Reason::Full);
        }
        match self.select_among(context, start, HealthFilter::Any) {
            Ok(any) if start.pool.health.when_all_unhealthy == WhenAllUnhealthy::Respond503 => {
                self.give_up(context, &any);
                Err(Reason::Unhealthy)
            }
            Ok(any) => Ok(any),
            Err(more) if full.any || more.any => Err(Reason::Full),
            Err(_) => Err(Reason::NoTarget),
        }
    }

    /// A target of the first pool that has one: that where the choice begins, then those of its
    /// `failover`.
    fn select_among<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        start: Start<'c>,
        filter: HealthFilter,
    ) -> Result<Selection<'c>, FullPools> {
        let mut full = FullPools::default();
        match self.select_in(context, &start, start.pool, filter) {
            Ok(selection) => return Ok(selection),
            Err(NotPicked::NoTarget) => {}
            Err(NotPicked::Full) => {
                full = FullPools {
                    first: true,
                    any: true,
                }
            }
        }
        let config = context.config;
        let others = start.pool.failover.iter();
        for pool in others.filter_map(|other| config.pool(*other)) {
            match self.select_in(context, &start, pool, filter) {
                Ok(selection) => return Ok(selection),
                Err(NotPicked::NoTarget) => {}
                Err(NotPicked::Full) => full.any = true,
            }
        }
        Err(full)
    }

    /// A target of this pool: the one where the choice begins, or one that stands in for it.
    fn select_in<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        start: &Start<'c>,
        pool: &'c Pool,
        filter: HealthFilter,
    ) -> Result<Selection<'c>, NotPicked> {
        let is_first = pool.index == start.pool.index;
        if context.refreshed != Some(pool.index) {
            self.health.refresh(context.port, pool, context.now);
        }
        let session = match is_first {
            true => start.session,
            false => self.session(context, pool),
        };
        let random = start.random;
        let picked = self.pick_target(context, pool, session, filter, random)?;
        let retries = self.pick_retries(context, pool, &picked, filter, random);
        let sticky = pool.sticky.as_ref();
        let has_cookie = sticky.is_some_and(|sticky| sticky.cookie.is_some());
        let origin = || match session {
            // Whatever becomes of its target.
            Some(session) => session.origin,
            None => Origin {
                part: start.ordinal,
                given: match is_first {
                    true => Given::Route,
                    false => Given::Failover(Some(start.pool.index)),
                },
            },
        };
        Ok(Selection {
            part: start.part,
            pool,
            target: picked.target,
            // A session whose target is full for now is kept.
            session: (has_cookie && !context.is_session_full).then(|| SessionPlan {
                origin: origin(),
                is_new: picked.new_cookie,
            }),
            reason: match (filter, is_first) {
                (HealthFilter::Healthy, true) => picked.reason,
                (HealthFilter::Healthy, false) => Reason::Failover,
                (HealthFilter::Any, _) => Reason::UseAll,
            },
            retries,
        })
    }
}

/// Which pools had targets for a request, all of which were full.
#[derive(Clone, Copy, Default)]
struct FullPools {
    /// The one where the choice began.
    first: bool,
    any: bool,
}
