//! The choice of a target for a request that a route sends to a pool or a split.
//!
//! 1. A part of the split: the one that a valid session cookie of the request belongs to, whatever
//!    the weights ([`sticky_part`](Worker::sticky_part)), otherwise one by weight
//!    ([`weighted_part`]).
//! 2. A pool: that of the part, or one that stands in for it ([`super::failover`]).
//! 3. A target of the pool ([`super::target`]).

use super::context::RequestContext;
use super::{Event, Fallback, Worker};
use crate::decision::{Reason, SessionPlan};
use crate::index::TargetIndex;
use crate::pool::Pool;
use crate::pool::balance::random;
use crate::pool::balance::retries::Retries;
use crate::pool::sticky::{self, Given, Origin, Session};
use crate::route::RouteAction;

/// The target that a request goes to.
pub(super) struct Selection<'c> {
    /// The part of the split.
    pub part: usize,
    pub pool: &'c Pool,
    pub target: TargetIndex,
    pub reason: Reason,
    /// The session that the request belongs to, or will. None: the pool gives no cookies.
    pub session: Option<SessionPlan>,
    /// The targets to try next; only in a pool of endpoints.
    pub retries: Retries,
}

/// Where in the route's action the choice begins.
#[derive(Clone, Copy)]
pub(super) struct Start<'c> {
    pub part: usize,
    /// Which of the parts that send to the same pool it is, from 0.
    pub ordinal: u16,
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
        let start = match start {
            Some(start) => start,
            None => {
                let mut start = weighted_part(context, action).ok_or(Reason::NoTarget)?;
                if let RouteAction::Split(_) = action {
                    start.session = self.adopted(context, &start);
                }
                start
            }
        };
        let selected = self.select_with_failover(context, start);
        let reason = match &selected {
            Ok(Selection { reason, .. }) => *reason,
            // An answer of 503, whatever for.
            Err(_) => Reason::NoTarget,
        };
        match reason {
            Reason::Repin | Reason::Failover | Reason::Full | Reason::UseAll | Reason::NoTarget => {
                self.events.push(Event::Fallback(Fallback {
                    pool: start.pool.index,
                    reason,
                }))
            }
            _ => {}
        }
        selected
    }

    /// The part that the request's session belongs to: the first that a session was given by, or
    /// else the first whose pool one stood in for.
    fn sticky_part<'c>(
        &mut self,
        context: &RequestContext<'c, '_>,
        action: &'c RouteAction,
    ) -> Option<Start<'c>> {
        let random = context.random.number;
        if let RouteAction::Pool(pool) = action {
            // There is nothing to choose, so any session is kept as it is.
            let session = self.session(context, pool)?;
            return Some(Start {
                part: 0,
                ordinal: session.origin.part,
                pool,
                session: Some(session),
                random,
            });
        }
        self.sticky_part_of_split(context, action)
    }

    /// The same of a split.
    #[inline(never)]
    fn sticky_part_of_split<'c>(
        &mut self,
        context: &RequestContext<'c, '_>,
        action: &'c RouteAction,
    ) -> Option<Start<'c>> {
        let random = context.random.number;
        for (part, (pool, _)) in action.parts().enumerate() {
            let Some(session) = self.session(context, pool) else {
                continue;
            };
            if session.origin.given == Given::Route {
                let ordinal = session.origin.part;
                return Some(Start {
                    part: part_of(action, pool, ordinal).unwrap_or(part),
                    ordinal,
                    pool,
                    session: Some(session),
                    random,
                });
            }
        }
        if !context.request.headers.has(b"cookie") {
            return None;
        }
        // A client that came by `failover` goes home. It has no target there, so where nothing new
        // is to go there it does not either.
        for (part, (pool, weight)) in action.parts().enumerate() {
            let others = pool.failover.iter().filter(|_| weight > 0);
            let others = others.filter_map(|other| context.config.pool(*other));
            let mut sessions = others.filter_map(|other| self.session(context, other));
            let home = Given::Failover(Some(pool.index));
            let Some(session) = sessions.find(|session| session.origin.given == home) else {
                continue;
            };
            let ordinal = session.origin.part;
            let told = part_of(action, pool, ordinal);
            let takes_new = |part: &usize| {
                let mut parts = action.parts();
                parts.nth(*part).is_some_and(|(_, weight)| weight > 0)
            };
            return Some(Start {
                part: told.filter(takes_new).unwrap_or(part),
                ordinal,
                pool,
                session: None,
                random,
            });
        }
        None
    }

    /// The session of a client that came to this pool by `failover` for a pool that the split does
    /// not have, or not any more. From now on it belongs to the split's part.
    fn adopted(&mut self, context: &RequestContext<'_, '_>, start: &Start<'_>) -> Option<Session> {
        let session = self.session(context, start.pool)?;
        Some(Session {
            origin: Origin {
                part: start.ordinal,
                given: Given::Route,
            },
            renew: true,
            ..session
        })
    }

    /// What a valid session cookie of a pool says.
    pub(super) fn session(
        &mut self,
        context: &RequestContext<'_, '_>,
        pool: &Pool,
    ) -> Option<Session> {
        if let Some((_, session)) = context.session.filter(|(of, _)| *of == pool.index) {
            return session;
        }
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
        let now = context.now.to_seconds();
        sessions.find(pool, values, now, &mut self.verified)
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
    // Where there is no choice nothing of the number is used.
    if let RouteAction::Pool(pool) = action {
        return Some(Start {
            part: 0,
            ordinal: 0,
            pool,
            session: None,
            random,
        });
    }
    let weights = action.parts().map(|(_, weight)| weight);
    let (part, random) = random::pick_weighted(weights, random)?;
    let (pool, _) = action.parts().nth(part)?;
    let same = action.parts().take(part);
    let same = same.filter(|(other, _)| other.index == pool.index);
    Some(Start {
        part,
        ordinal: u16::try_from(same.count()).unwrap_or(u16::MAX),
        pool,
        session: None,
        random,
    })
}

/// The place of one of the parts that send to this pool; of the first, where there are not so many.
fn part_of(action: &RouteAction, pool: &Pool, ordinal: u16) -> Option<usize> {
    let parts = action.parts().enumerate();
    let mut same = parts.filter(|(_, (other, _))| other.index == pool.index);
    let (first, _) = same.next()?;
    let wanted = usize::from(ordinal).checked_sub(1);
    let told = wanted.and_then(|others| same.nth(others));
    Some(told.map_or(first, |(part, _)| part))
}

/// What it costs to try a session cookie against one key, in steps: a MAC.
const STEPS_PER_KEY: usize = 1000;
