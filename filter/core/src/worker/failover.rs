//! The choice of a pool: the one that the request was sent to if it has a healthy target for the
//! request, otherwise as [`crate::pool::failover`] says.
//!
//! | what | then |
//! |---|---|
//! | the target of a session is unhealthy or down | the client moves within the pool and gets a new cookie; in a split it keeps its part |
//! | no target of the pool takes the request | the pools of its `failover`, in order |
//! | none of theirs does either | `when_all_unhealthy` of the first pool |
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
        if let Some(healthy) = self.select_among(context, start, HealthFilter::Healthy) {
            return Ok(healthy);
        }
        let any = self.select_among(context, start, HealthFilter::Any);
        match start.pool.health.when_all_unhealthy {
            WhenAllUnhealthy::Respond503 if any.is_some() => Err(Reason::Unhealthy),
            WhenAllUnhealthy::UseAll | WhenAllUnhealthy::Respond503 => any.ok_or(Reason::NoTarget),
        }
    }

    /// A target of the first pool that has one: that where the choice begins, then those of its
    /// `failover`.
    fn select_among<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        start: Start<'c>,
        filter: HealthFilter,
    ) -> Option<Selection<'c>> {
        let config = context.config;
        let others = start.pool.failover.iter();
        let others = others.filter_map(|other| config.pool(*other));
        let pools = std::iter::once(start.pool).chain(others.map(|pool| &**pool));
        for (place, pool) in pools.enumerate() {
            self.health.refresh(context.port, pool, context.now);
            let session = match place {
                0 => start.session,
                _ => self.session(context, pool),
            };
            let random = start.random;
            let Some(picked) = self.pick_target(context, pool, session, filter, random) else {
                continue;
            };
            let retries = self.pick_retries(context, pool, &picked, filter, random);
            let origin = || match session {
                // Whatever becomes of its target.
                Some(session) => session.origin,
                None => Origin {
                    part: start.ordinal,
                    given: match place {
                        0 => Given::Route,
                        _ => Given::Failover(Some(start.pool.index)),
                    },
                },
            };
            let has_cookie = pool
                .sticky
                .as_ref()
                .is_some_and(|sticky| sticky.cookie.is_some());
            return Some(Selection {
                part: start.part,
                pool,
                target: picked.target,
                session: has_cookie.then(|| SessionPlan {
                    origin: origin(),
                    is_new: picked.new_cookie,
                }),
                reason: match (filter, place) {
                    (HealthFilter::Healthy, 0) => picked.reason,
                    (HealthFilter::Healthy, _) => Reason::Failover,
                    (HealthFilter::Any, _) => Reason::UseAll,
                },
                retries,
            });
        }
        None
    }
}
