//! The common path: a request that a route sends to a pool, while nothing is unusual. From top to
//! bottom it is one function over what was looked up when the configuration was loaded, and it
//! allocates nothing.
//!
//! What is unusual is left to [`Worker::decide`] as a whole, before anything is counted: headers of
//! ours from a client, edits, copies, splits, protections, a limit without a lease, a session that
//! has to move, a target that is not quite healthy. That decides the same for what is common too,
//! only slower; a test holds the two against each other.

use super::context::{RequestContext, RequestRandom};
use super::global::Asked;
use super::target::{Picked, PoolLoad};
use super::{Event, HealthFilter, Matched, Worker, flight_of};
use crate::config::Config;
use crate::decision::{Action, Change, Decision, Reason, SessionPlan};
use crate::http::headers::NameSet;
use crate::http::key::KeyPart;
use crate::http::request::Request;
use crate::index::{RouteIndex, TargetIndex};
use crate::pool::balance::retries::Retries;
use crate::pool::balance::{Balance, random};
use crate::pool::candidates::Candidates;
use crate::pool::flight::Flight;
use crate::pool::sticky::{Given, Origin};
use crate::pool::{Pool, Target};
use crate::port::Port;
use crate::rate_limit::RateLimit;
use crate::route::{Route, RouteAction};
use crate::time::Nanos;
use std::borrow::Cow;

/// What was decided about a request. `'c` is the configuration.
#[derive(Debug)]
pub enum Decided<'c> {
    /// It goes to a target, and nothing else is to be done.
    Forward(Forward<'c>),
    /// Everything else.
    Other(Box<Decision<'c>>),
}

/// A request that goes to a target. Of its headers there is none of ours, and two are added: the one
/// that names the cluster, and in a pool of endpoints the one that names endpoints
/// ([`Worker::endpoints`]).
#[derive(Clone, Copy, Debug)]
pub struct Forward<'c> {
    /// The route that matched.
    pub route: RouteIndex,
    /// [`Reason::Balance`] or [`Reason::Sticky`].
    pub reason: Reason,
    /// Where it goes.
    pub pool: &'c Pool,
    /// Where it goes.
    pub target: &'c Target,
    /// The session that it belongs to, or will.
    pub session: Option<SessionPlan>,
}

/// What the common path knows of a configuration.
#[derive(Debug, Default)]
pub(super) struct Common {
    /// For each route whether it may take the path.
    routes: Vec<bool>,
    /// The names that lead off it.
    unusual: NameSet,
}

impl Common {
    pub(super) fn new(config: &Config) -> Common {
        let upstream = config.upstream.headers().into_iter();
        let names = upstream.chain(config.explain.iter().map(|explain| &*explain.header));
        Common {
            routes: config.routes.iter().map(is_common_route).collect(),
            unusual: names.collect(),
        }
    }
}

fn is_common_route(route: &Route) -> bool {
    let is_edited = route.edits_requests() || route.response_headers.is_some();
    let is_limited_simply = match &route.rate_limits[..] {
        [] => true,
        [limit] => is_common_limit(limit),
        _ => false,
    };
    matches!(route.action, RouteAction::Pool(_))
        && !is_edited
        && is_limited_simply
        && route.protect.is_empty()
        && route.router_options.is_none()
        && route.mirror.is_none()
}

/// What a request has several values of is looked at once only.
fn is_common_limit(limit: &RateLimit) -> bool {
    let is_lone = |part: &KeyPart| !matches!(part, KeyPart::Cookie(_) | KeyPart::Query(_));
    limit.global().is_none() && limit.key().iter().all(is_lone)
}

/// All targets of a pool that take new requests, where a choice among them needs nothing but their
/// weights, as long as all are healthy. None: it needs more.
pub(super) fn usual_candidates(pool: &Pool) -> Option<Candidates> {
    let has_header = pool.sticky.as_ref().is_some_and(|it| it.header.is_some());
    let is_common = !pool.is_limited
        && !has_header
        && pool.prefer_region.is_none()
        && pool.router_options.is_none()
        && matches!(
            pool.balance,
            Balance::RoundRobin | Balance::LeastConnections | Balance::Random
        );
    is_common.then(|| {
        let mut all = Candidates::default();
        all.collect(pool, |_| true);
        all
    })
}

impl Worker {
    /// Decides one request by `config`, which is this worker's, as [`Worker::decide`] does. The flight
    /// of a [`Forward`] comes into `flight`: it is counted as in flight from here on.
    pub fn on_request_headers<'c>(
        &mut self,
        config: &'c Config,
        request: &Request<'_>,
        port: &mut dyn Port,
        now: Nanos,
        flight: &mut Option<Flight>,
    ) -> Decided<'c> {
        if request.headers.may_have(&self.common.unusual) {
            return Decided::Other(self.decide_in_full(config, request, port, now, Asked::NotYet));
        }
        self.clock.see(now);
        let random = RequestRandom {
            number: self.random.next(),
            is_fixed: false,
        };
        let context = &mut RequestContext::new(config, request, port, now, random);
        let matched = self.find(context);
        match matched.and_then(|matched| self.forward_simply(context, matched, flight)) {
            Some(forward) => {
                if request.steps.has_skipped() {
                    self.events.push(Event::TooLong);
                }
                Decided::Forward(forward)
            }
            None => Decided::Other(self.decide_matched(context, matched, Asked::NotYet, None)),
        }
    }

    /// The way of a request whose route is known. None: something is unusual. Nothing is counted
    /// then but what `context` says.
    #[inline]
    fn forward_simply<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        matched: Matched<'c>,
        flight: &mut Option<Flight>,
    ) -> Option<Forward<'c>> {
        let (request, route, now) = (context.request, matched.route, context.now);
        let RouteAction::Pool(pool) = &route.action else {
            return None;
        };
        let pool = &**pool;
        let is_common = *self.common.routes.get(matched.index.get())?;
        let candidates = &self.pools.get(pool.index.get())?.usual;
        if !is_common || candidates.is_none() || !request.vary().is_empty() {
            return None;
        }

        // The session that the client brings.
        let cookie = pool.sticky.as_ref().and_then(|it| it.cookie.as_ref());
        let mut session = None;
        if cookie.is_some() && request.headers.has(b"cookie") {
            session = self.session(context, pool);
            context.session = Some((pool.index, session));
            if let Some(session) = session {
                pool.target(session.target)
                    .filter(|it| it.keeps_sessions())?;
            }
        }

        // The limit, where the request was charged ahead of time.
        if let [limit] = &route.rate_limits[..] {
            let client = limit.needs_client().then(|| context.client_address());
            let reader = &mut self.limits.reader(request, client.flatten(), &route.name);
            if reader.combinations(limit) != 1 {
                return None;
            }
            let bucket = self.limits.bucket(limit, reader);
            context.is_admitted = self.limits.take_leased(&bucket, now);
            context.is_admitted.then_some(())?;
        }

        // The health of the pool.
        self.health.refresh(context.port, pool, now);
        context.refreshed = Some(pool.index);
        if !self.health.is_settled(pool, now) {
            return None;
        }

        // The target: the session's, or the one whose turn it is.
        let random = context.random.number;
        let (target, reason) = match session {
            Some(session) => (session.target, Reason::Sticky),
            None => (self.usual_target(context, pool, random)?, Reason::Balance),
        };
        let chosen = pool.target(target)?;
        let mut retries = Retries::default();
        if pool.endpoints {
            let picked = Picked {
                target,
                reason,
                new_cookie: false,
                hash: session.and_then(|it| super::target::session_hash(context, pool, it)),
            };
            retries = match self.only_other(pool, target) {
                Ok(only) => Retries::from_iter(only),
                Err(()) => self.pick_retries(context, pool, &picked, HealthFilter::Healthy, random),
            };
            self.list_endpoints(pool, chosen, &retries);
        }

        self.in_flight.begin(context.port, pool, target, now);
        *flight = Some(flight_of(context, pool, target, retries));
        let session = cookie.map(|_| SessionPlan {
            origin: session.map_or(TO_ROUTE, |session| session.origin),
            is_new: session.is_none_or(|session| session.renew),
        });
        Some(Forward {
            route: matched.index,
            reason,
            pool,
            target: chosen,
            session,
        })
    }

    /// The choice by the pool's balance, among all of its targets.
    #[inline]
    fn usual_target(
        &mut self,
        context: &mut RequestContext<'_, '_>,
        pool: &Pool,
        random: u64,
    ) -> Option<TargetIndex> {
        let state = self.pools.get_mut(pool.index.get())?;
        let candidates = state.usual.as_ref()?;
        match pool.balance {
            Balance::RoundRobin => state.round_robins.first_mut()?.pick(candidates),
            Balance::Random => Some(random::pick(candidates, random)?.0),
            _ => {
                let mut load = PoolLoad {
                    pool,
                    in_flight: &mut self.in_flight,
                    port: context.port,
                    response_times: None,
                    now: context.now,
                };
                let least = &mut state.least_connections;
                least.pick(candidates, &mut load, random, context.now)
            }
        }
    }

    /// The only endpoint that a request can be tried at after this one, if there is one. An error:
    /// there are several.
    fn only_other(&self, pool: &Pool, target: TargetIndex) -> Result<Option<TargetIndex>, ()> {
        let state = self.pools.get(pool.index.get());
        let usual = state.and_then(|state| state.usual.as_ref()).ok_or(())?;
        let mut others = usual.iter().filter(|(other, _)| *other != target);
        let (first, second) = (others.next(), others.next());
        match second {
            None => Ok(first.map(|(other, _)| other)),
            Some(_) => Err(()),
        }
    }

    /// The value of the header that names endpoints, of the last [`Forward`] to a pool of them: that
    /// of the target, then those of the retries.
    pub fn endpoints(&self) -> &[u8] {
        &self.endpoints
    }

    fn list_endpoints(&mut self, pool: &Pool, target: &Target, retries: &Retries) {
        self.endpoints.clear();
        let others = retries.iter().filter_map(|retry| pool.target(*retry));
        for (number, target) in std::iter::once(target).chain(others).enumerate() {
            if number > 0 {
                self.endpoints.push(b',');
            }
            let endpoint = target.endpoint.as_deref().unwrap_or_default();
            self.endpoints.extend_from_slice(endpoint.as_bytes());
        }
    }
}

impl<'c> Forward<'c> {
    /// The same as a decision. `endpoints`: those of the worker.
    #[cold]
    #[inline(never)]
    pub fn into_decision(
        self,
        config: &'c Config,
        endpoints: &[u8],
        flight: Option<Flight>,
    ) -> Decision<'c> {
        let upstream = &config.upstream;
        let cluster = Cow::Borrowed(self.target.cluster.as_bytes());
        let mut edits = vec![Change::Add(&upstream.cluster_header, cluster)];
        if self.pool.endpoints {
            let endpoints = Cow::Owned(endpoints.to_vec());
            edits.push(Change::Add(&upstream.endpoint_header, endpoints));
        }
        let mut decision = Decision::forward(Action::Forward, self.reason, edits);
        decision.route = config.route(self.route);
        decision.route_index = Some(self.route);
        decision.target = Some((self.pool, self.target));
        decision.response.session = self.session;
        decision.flight = flight;
        decision
    }
}

/// Of a session that begins where a route sends to one pool.
const TO_ROUTE: Origin = Origin {
    part: 0,
    given: Given::Route,
};
