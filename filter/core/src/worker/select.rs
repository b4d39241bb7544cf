//! The choice of a target for a request that a route sends to a pool or a split.
//!
//! 1. A part of the split: the one whose valid session cookie the request has, whatever the
//!    weights ([`sticky_part`](Worker::sticky_part)), otherwise one by weight ([`weighted_part`]).
//! 2. A pool: that of the part, or one that stands in for it ([`super::failover`]).
//! 3. A target of the pool ([`super::target`]).

use super::context::RequestContext;
use super::{Event, Fallback, Worker};
use crate::decision::Reason;
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::balance::random;
use crate::pool::sticky::{self, Session};
use crate::route::RouteAction;

/// The target that a request goes to.
pub(super) struct Selection<'c> {
    /// The part of the split.
    pub part: usize,
    pub pool: &'c Pool,
    pub target: TargetIndex,
    pub reason: Reason,
    /// Whether the client is to be given a session cookie.
    pub new_cookie: bool,
    /// The targets to try next; only in a pool of endpoints.
    pub retries: Vec<TargetIndex>,
}

/// Where in the route's action the choice begins.
#[derive(Clone, Copy)]
pub(super) struct Start<'c> {
    pub part: usize,
    pub pool: &'c Pool,
    /// From a valid session cookie of the pool.
    pub session: Option<Session>,
    /// What is left of the request's random number.
    pub random: u64,
}

impl Worker {
    /// The target of a request that a route sends to a pool, or why there is none.
    pub(super) fn select<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        action: &'c RouteAction,
    ) -> Result<Selection<'c>, Reason> {
        let start = self.sticky_part(context, action);
        let start = start
            .or_else(|| weighted_part(context, action))
            .ok_or(Reason::NoTarget)?;
        let selected = self.select_with_failover(context, start);
        let (Ok(Selection { reason, .. }) | Err(reason)) = &selected;
        match reason {
            Reason::Repin
            | Reason::Failover
            | Reason::UseAll
            | Reason::Unhealthy
            | Reason::NoTarget => self.events.push(Event::Fallback(Fallback {
                pool: start.pool.index,
                reason: *reason,
            })),
            _ => {}
        }
        selected
    }

    /// The first part with a pool of which the request has a valid session cookie.
    fn sticky_part<'c>(
        &self,
        context: &RequestContext<'c, '_>,
        action: &'c RouteAction,
    ) -> Option<Start<'c>> {
        action.parts().enumerate().find_map(|(part, (pool, _))| {
            let session = self.session(context, pool)?;
            Some(Start {
                part,
                pool,
                session: Some(session),
                random: context.random.number,
            })
        })
    }

    /// What a valid session cookie of a pool says.
    pub(super) fn session(&self, context: &RequestContext<'_, '_>, pool: &Pool) -> Option<Session> {
        let sticky = pool.sticky.as_ref()?;
        let cookie = sticky.cookie.as_ref()?;
        let request = context.request;
        let mut allowed = request.steps.allow();
        let cost = STEPS_PER_KEY * sticky.keys.len();
        // The first one of a pool is always tried; what a client forges beside it is bounded over
        // all pools of a split.
        let values = request
            .cookie_values(&cookie.name)
            .enumerate()
            .take_while(|(at, _)| *at == 0 || allowed.take(cost))
            .map(|(_, value)| value);
        let sessions = &self.pools.get(pool.index.get())?.sessions;
        sessions.find(pool, values, context.now.to_seconds())
    }
}

/// A part by weight. None: all weights are 0.
fn weighted_part<'c>(
    context: &RequestContext<'c, '_>,
    action: &'c RouteAction,
) -> Option<Start<'c>> {
    // A client with a session header keeps its part of a split as it keeps its target.
    let hash = action
        .parts()
        .find_map(|(pool, _)| sticky::header_hash(pool, context.request));
    let random = hash.filter(|_| !context.random.is_fixed);
    let random = random.unwrap_or(context.random.number);
    let weights = action.parts().map(|(_, weight)| weight);
    let (part, random) = random::pick_weighted(weights, random)?;
    let (pool, _) = action.parts().nth(part)?;
    Some(Start {
        part,
        pool,
        session: None,
        random,
    })
}

/// What it costs to try a session cookie against one key, in steps: a MAC.
const STEPS_PER_KEY: usize = 1000;
