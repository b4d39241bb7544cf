//! One worker of a proxy: what happens to a request from its headers to the end of its stream.
//!
//! ```text
//! request headers     Worker::decide
//!                       ├─ process
//!                       │    ├─ the route that matches                               route::index
//!                       │    │    └─ none: no_route
//!                       │    ├─ refuse: the route's rate limits                      rate_limit
//!                       │    │    └─ refused: 429, with when to come back
//!                       │    ├─ protected: what looks like an attack                 protect
//!                       │    │    └─ blocked: 403
//!                       │    └─ apply_route: the route's action
//!                       │         ├─ respond, redirect: an answer of the filter's own
//!                       │         ├─ pass: the request goes on to the proxy's own routes
//!                       │         └─ pool, split: select                             select.rs
//!                       │              ├─ sticky_part or weighted_part
//!                       │              ├─ select_with_failover: a pool               failover.rs
//!                       │              │    └─ pick_target, pick_retries             target.rs
//!                       │              │         └─ choose_unless_full                full.rs
//!                       │              ├─ none takes the request: 503
//!                       │              └─ forward: upstream headers, mirror.rs, in flight
//!                       └─ strip_reserved_headers                                    edits.rs
//! response headers    Flight::on_response_headers                                   pool::flight
//!                     Worker::on_response_headers: who answered, cookie            response.rs
//!                     response_edits                                                 edits.rs
//! end of the stream   Worker::on_request_complete                                    complete.rs
//! tick                Worker::tick, Worker::on_probe_result                          tick.rs
//!                     Worker::purchases                                            global.rs
//! engine's answer     Worker::on_engine_answer, Worker::served, Worker::waited       global.rs
//! after a reload      Worker::sleep, Worker::tick_asleep, Worker::wake, Worker::finish   sleep.rs
//! ```

mod clock;
mod common;
mod complete;
mod context;
mod edits;
mod event;
mod failover;
mod full;
mod global;
mod mirror;
mod response;
mod select;
mod sleep;
mod target;
mod tick;

pub use common::{Decided, Forward};
pub use edits::response_edits;
pub use event::{Event, Fallback};
pub use global::{Refusal, Waited};

use crate::config::Config;
use crate::decision::{Action, Decision, Reason};
use crate::entropy::Entropy;
use crate::explain::{Explain, Explanation};
use crate::http::request::Request;
use crate::http::respond::Answer;
use crate::index::{RouteIndex, TargetIndex, TargetRef};
use crate::pool::balance::Balance;
use crate::pool::balance::bounded_load::BoundedLoad;
use crate::pool::balance::consistent_hash::ConsistentHash;
use crate::pool::balance::least_connections::LeastConnections;
use crate::pool::balance::retries::Retries;
use crate::pool::balance::round_robin::RoundRobin;
use crate::pool::candidates::Candidates;
use crate::pool::flight::Flight;
use crate::pool::health::{Health, HealthEvent};
use crate::pool::in_flight::{InFlight, InFlightEvent};
use crate::pool::least_response_time::ResponseTimes;
use crate::pool::look::Looks;
use crate::pool::prefer_region::Regions;
use crate::pool::sticky::{Sessions, VerifiedCookies};
use crate::pool::{Pool, Target};
use crate::port::Port;
use crate::protect::{Hit, inspect};
use crate::rate_limit::{
    RateLimit, RateLimitEvent, RateLimits, Verdict, refusal_headers, state_headers,
};
use crate::route::index::Index;
use crate::route::r#match::{AskClient, Match};
use crate::route::no_route::NoRoute;
use crate::route::parts::Parts;
use crate::route::split::SplitPart;
use crate::route::{Found, Route, RouteAction};
use crate::siphash::{Seed, SipWriter, mixed};
use crate::time::Nanos;
use clock::Clock;
use common::{Common, usual_candidates};
use context::{RequestContext, RequestRandom};
use edits::{built_values, change_to, request_edits, router_edits, strip_reserved_headers};
use failover::HealthFilter;
use global::{Asked, Purchases, refused};
use response::Answers;
use select::Selection;
use std::borrow::Cow;
use std::rc::Rc;

/// What one worker of the proxy keeps between requests. It belongs to a root context and dies with
/// its VM.
pub struct Worker {
    config: Rc<Config>,
    index: Index,
    limits: RateLimits,
    /// What the names of cookies and parameters are hashed with.
    secret: u64,
    /// For each pool, in the order of [`Config::pools`].
    pools: Vec<PoolState>,
    /// The session cookies of all pools.
    verified: VerifiedCookies,
    /// Of the choice that is being made. It is kept for its memory.
    candidates: Candidates,
    in_flight: InFlight,
    health: Health,
    looks: Looks,
    response_times: ResponseTimes,
    random: SplitMix64,
    limit_events: Vec<RateLimitEvent>,
    /// Those of the worker itself.
    events: Vec<Event>,
    ticks_until_heartbeat: u64,
    purchases: Purchases,
    clock: Clock,
    common: Common,
    /// What [`Worker::endpoints`] shows. It is kept for its memory.
    endpoints: Vec<u8>,
}

/// What a worker keeps for one pool.
struct PoolState {
    regions: Regions,
    /// One for each of [`Regions::numbers`], so that regions do not disturb each other's turns.
    round_robins: Vec<RoundRobin>,
    consistent_hash: ConsistentHash,
    bounded_load: BoundedLoad,
    least_connections: LeastConnections,
    sessions: Sessions,
    answers: Answers,
    /// Of the common path.
    usual: Option<Candidates>,
}

impl PoolState {
    /// For each pool, as nothing was decided yet.
    fn of(config: &Config, random: &mut SplitMix64) -> Vec<PoolState> {
        // For each pool those that it may stand in for.
        let mut homes: Vec<Vec<&Pool>> = config.pools.iter().map(|_| Vec::new()).collect();
        for pool in &config.pools {
            for other in &pool.failover {
                let homes = homes.get_mut(other.get()).into_iter();
                homes.for_each(|homes| homes.push(pool));
            }
        }
        let pools = config.pools.iter().map(|pool| {
            let regions = Regions::new(pool);
            let homes = homes.get(pool.index.get()).map_or(&[][..], |homes| homes);
            PoolState {
                round_robins: (0..regions.numbers())
                    .map(|_| RoundRobin::new(pool.targets.len(), random.next()))
                    .collect(),
                regions,
                consistent_hash: ConsistentHash::new(pool),
                bounded_load: BoundedLoad::default(),
                least_connections: LeastConnections::default(),
                sessions: Sessions::new(pool, homes),
                answers: Answers::new(pool),
                usual: usual_candidates(pool),
            }
        });
        pools.collect()
    }
}

/// The route that a request belongs to, and the first of its matches that the request meets.
#[derive(Clone, Copy)]
struct Matched<'c> {
    index: RouteIndex,
    route: &'c Route,
    block: &'c Match,
}

impl Worker {
    /// A worker that has decided nothing yet.
    pub fn new(config: Rc<Config>, entropy: Entropy) -> Worker {
        let mut random = SplitMix64(entropy.rolls);
        Worker {
            pools: PoolState::of(&config, &mut random),
            verified: VerifiedCookies::default(),
            candidates: Candidates::default(),
            index: Index::new(&config.routes),
            limits: RateLimits::new(config.rate_limit_table, entropy.seed, config.scope.key()),
            secret: secret(entropy.seed),
            in_flight: InFlight::new(&config.pools, entropy.worker),
            health: Health::new(&config.pools, entropy.worker),
            looks: Looks::new(&config.pools),
            clock: Clock::new(&config),
            common: Common::new(&config),
            endpoints: Vec::new(),
            response_times: ResponseTimes::new(&config.pools),
            config,
            random,
            limit_events: Vec::new(),
            events: Vec::new(),
            ticks_until_heartbeat: 0,
            purchases: Purchases::default(),
        }
    }

    /// The configuration that this worker decides by.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// Decides one request by `config`, which is this worker's.
    ///
    /// ```
    /// use pointsman_core::config::Config;
    /// use pointsman_core::decision::Reason;
    /// use pointsman_core::entropy::{Entropy, WorkerId};
    /// use pointsman_core::http::headers::Headers;
    /// use pointsman_core::http::request::Request;
    /// use pointsman_core::port::{Connection, Expected, Gauge, SetFailed, Stats, Store, StoreFailed};
    /// use pointsman_core::time::Nanos;
    /// use pointsman_core::worker::Worker;
    /// use std::rc::Rc;
    ///
    /// /// A proxy that has nothing to share.
    /// struct Alone;
    /// # impl Connection for Alone {
    /// #     fn source_address(&mut self) -> Option<std::net::IpAddr> {
    /// #         None
    /// #     }
    /// # }
    /// # impl Store for Alone {
    /// #     fn get(&mut self, _: &[u8]) -> Result<Option<(Vec<u8>, u32)>, StoreFailed> {
    /// #         Ok(None)
    /// #     }
    /// #     fn set(&mut self, _: &[u8], _: &[u8], _: Expected) -> Result<(), SetFailed> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// # impl Stats for Alone {
    /// #     fn gauge(&mut self, _: &str) -> Option<Gauge> {
    /// #         None
    /// #     }
    /// #     fn add(&mut self, _: Gauge, _: i64) {}
    /// #     fn value(&mut self, _: Gauge) -> Option<i64> {
    /// #         None
    /// #     }
    /// # }
    ///
    /// let config = Config::load(
    ///     br#"{
    ///         "pools": { "web": { "targets": [{ "cluster": "blue" }] } },
    ///         "routes": [{ "name": "all", "match": { "path": { "prefix": "/" } }, "pool": "web" }]
    ///     }"#,
    /// )?;
    /// let config = Rc::new(config);
    /// // What differs from worker to worker, and the time, come from outside.
    /// let now = Nanos::from_secs(1_767_225_600);
    /// let worker = WorkerId::new(now.to_seconds(), 7);
    /// let mut worker = Worker::new(config.clone(), Entropy { seed: [7; 16], rolls: 7, worker });
    ///
    /// let headers = Headers::from_pairs(&[(":method", "GET"), (":path", "/cart")]);
    /// let decision = worker.decide(&config, &Request::new(&headers), &mut Alone, now);
    /// assert_eq!(decision.reason, Reason::Balance);
    /// assert!(decision.flight.is_some());
    /// # Ok::<(), pointsman_core::config::problem::Problems>(())
    /// ```
    pub fn decide<'c>(
        &mut self,
        config: &'c Config,
        request: &Request<'_>,
        port: &mut dyn Port,
        now: Nanos,
    ) -> Decision<'c> {
        let mut flight = None;
        match self.on_request_headers(config, request, port, now, &mut flight) {
            Decided::Forward(forward) => forward.into_decision(config, &self.endpoints, flight),
            Decided::Other(decision) => *decision,
        }
    }

    /// Decides without the common path.
    #[cold]
    #[inline(never)]
    fn decide_in_full<'c>(
        &mut self,
        config: &'c Config,
        request: &Request<'_>,
        port: &mut dyn Port,
        now: Nanos,
        engine: Asked,
    ) -> Box<Decision<'c>> {
        self.clock.see(now);
        let explain = config.explain.as_ref();
        let asked = explain.and_then(|explain| explain.asked(request));
        // Drawn for every request, so that what one request needs does not shift what the next one
        // gets.
        let drawn = self.random.next();
        let fixed = asked.and_then(|asked| asked.roll);
        let random = RequestRandom {
            number: fixed.unwrap_or(drawn),
            is_fixed: fixed.is_some(),
        };
        let mut context = RequestContext::new(config, request, port, now, random);
        let matched = self.find(&mut context);
        let explain = explain.filter(|_| asked.is_some());
        self.decide_matched(&mut context, matched, engine, explain)
    }

    /// The decision about a request whose route is known. None: it has none. `explain`: it is to be
    /// explained.
    #[inline(never)]
    fn decide_matched<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        matched: Option<Matched<'c>>,
        engine: Asked,
        explain: Option<&Explain>,
    ) -> Box<Decision<'c>> {
        let (config, request) = (context.config, context.request);
        let mut decision = Box::new(match matched {
            Some(matched) => self.process(context, matched, engine),
            None if context.is_undecided => undecided(),
            None => no_route(&config.no_route),
        });
        strip_reserved_headers(&mut decision, config, request);
        decision.response.vary = request.vary();
        if request.steps.has_skipped() {
            self.events.push(Event::TooLong);
        }
        if let Some(explain) = explain {
            let explanation = Explanation {
                decision: &decision,
                configuration: &config.hash.to_string(),
                version: config.version.as_deref(),
            };
            let told = explanation.to_json();
            decision.response.explain = Some((explain.header.clone(), told));
        }
        decision
    }

    /// The route of a request.
    #[inline]
    fn find<'c>(&mut self, context: &mut RequestContext<'c, '_>) -> Option<Matched<'c>> {
        let (config, request) = (context.config, context.request);
        request.steps.set_max_value(config.max_value);
        request.set_secret(self.secret);
        let found = self.index.find(&config.routes, request, context);
        // A condition that nobody looked at to its end may be that of a route before this one.
        context.is_undecided = request.steps.has_run_out();
        Matched::new(config, found.filter(|_| !context.is_undecided)?)
    }

    /// Rate limits, protections, action.
    fn process<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        matched: Matched<'c>,
        engine: Asked,
    ) -> Decision<'c> {
        let (config, request) = (context.config, context.request);
        let refusal = match engine {
            Asked::NotYet if context.is_admitted => None,
            Asked::NotYet => self.refuse(context, matched.route),
            engine => engine.refusal(config),
        };
        let mut hits = Vec::new();
        let refusal = refusal.or_else(|| {
            // Behind the limits: whoever floods is not looked at.
            hits = protected(config, matched.route, request);
            let refused = hits.iter().find(|hit| hit.blocks())?;
            let answer = refused.protect.answer();
            Some(Decision::answer(Action::Respond, Reason::Protect, answer))
        });
        let mut decision = match refusal {
            Some(refusal) => refusal,
            None => self.apply_route(context, matched),
        };
        decision.hits = hits;
        decision.route = Some(matched.route);
        decision.route_index = Some(matched.index);
        decision.response.route = matched.route.response_headers.clone();
        if decision.response.has_built_values() {
            let chosen = decision.target;
            decision.response.built = built_values(
                &decision.response,
                &mut parts(matched, chosen, request, &mut || context.client_address()),
            );
        }
        // Without limits nothing was checked.
        if !matched.route.rate_limits.is_empty()
            && !self.limits.states().is_empty()
            && decision.action != Action::RateLimited
        {
            decision.response.limits = self.limit_states(context.now);
        }
        decision
    }

    /// The answer of the first rate limit that refuses.
    fn refuse<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        route: &'c Route,
    ) -> Option<Decision<'c>> {
        let (limits, name) = (&route.rate_limits, &*route.name);
        if limits.is_empty() {
            return None;
        }
        let address = match limits.iter().any(|limit| limit.needs_client()) {
            true => context.client_address(),
            false => None,
        };
        let reader = &mut self.limits.reader(context.request, address, name);
        // Of one limit, as most routes have it, without an allocation.
        let (one, mut several);
        let buckets = match &limits[..] {
            [limit] if reader.combinations(limit) == 1 => {
                one = [self.limits.bucket(limit, reader)];
                &one[..]
            }
            limits => {
                several = Vec::with_capacity(limits.len());
                for limit in limits {
                    self.limits.buckets(limit, reader, &mut several);
                }
                &several
            }
        };
        let events = &mut self.limit_events;
        match self
            .limits
            .check(buckets, context.port, context.now, events)
        {
            Verdict::Admitted if limits.iter().any(|limit| limit.global().is_some()) => {
                self.ask(limits, buckets, reader, context.now)
            }
            Verdict::Admitted => None,
            Verdict::Refused { limit, retry_after } => {
                let refuses = buckets.get(limit)?.limit().index();
                let limit = limits.iter().find(|limit| limit.index() == refuses)?;
                Some(refused(limit, retry_after))
            }
        }
    }

    /// The headers that tell an admitted request the states of its limits.
    fn limit_states(&self, now: Nanos) -> Vec<(&'static [u8], Vec<u8>)> {
        let limit = |place: usize| self.config.rate_limits.get(place);
        let states = self.limits.states().iter();
        states
            .filter_map(|state| Some(state_headers(limit(state.limit)?, state.full_at, now)))
            .flatten()
            .collect()
    }

    /// The action of the route of a request that its rate limits admit.
    fn apply_route<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        matched: Matched<'c>,
    ) -> Decision<'c> {
        let request = context.request;
        match &matched.route.action {
            RouteAction::Respond(respond) => {
                Decision::answer(Action::Respond, Reason::Route, respond.answer())
            }
            RouteAction::Redirect(redirect) => {
                let client = &mut || context.client_address();
                let location = redirect.location(&mut parts(matched, None, request, client));
                let answer = Answer {
                    headers: vec![(b"location".to_vec(), location)],
                    ..Answer::of(redirect.status)
                };
                Decision::answer(Action::Redirect, Reason::Route, answer)
            }
            RouteAction::Pass => {
                let client = &mut || context.client_address();
                let mut edits = Vec::with_capacity(FEW_EDITS);
                let parts = &mut parts(matched, None, request, client);
                request_edits(&mut edits, matched, None, parts);
                router_edits(&mut edits, matched.route, None, request);
                self.mirror_edit(&mut edits, context, matched);
                Decision::forward(Action::Pass, Reason::Route, edits)
            }
            action @ (RouteAction::Pool(_) | RouteAction::Split(_)) => {
                match self.select(context, action) {
                    Ok(selection) => self.forward(context, matched, selection),
                    Err(reason) => no_target(reason),
                }
            }
        }
    }

    /// Sends the request to its target.
    fn forward<'c>(
        &mut self,
        context: &mut RequestContext<'c, '_>,
        matched: Matched<'c>,
        selection: Selection<'c>,
    ) -> Decision<'c> {
        let (config, request, now) = (context.config, context.request, context.now);
        let (pool, index) = (selection.pool, selection.target);
        let Some(target) = pool.target(index) else {
            self.events.push(Event::Bug("a target is not of its pool"));
            return no_target(Reason::NoTarget);
        };
        let part = matched.route.action.split_part(selection.part);
        let mut edits = Vec::with_capacity(FEW_EDITS);
        if matched.route.edits_requests() || part.is_some_and(SplitPart::edits_requests) {
            let chosen = Some((pool, target));
            let client = &mut || context.client_address();
            let parts = &mut parts(matched, chosen, request, client);
            request_edits(&mut edits, matched, Some(selection.part), parts);
        }
        router_edits(&mut edits, matched.route, Some(pool), request);
        // Last, so that no configured edit changes the choice.
        let upstream = &config.upstream;
        let cluster = Cow::Borrowed(target.cluster.as_bytes());
        edits.push(change_to(&upstream.cluster_header, cluster, request));
        if let Some(endpoints) = endpoints(pool, target, &selection) {
            let endpoints = Cow::Owned(endpoints);
            edits.push(change_to(&upstream.endpoint_header, endpoints, request));
        }
        self.mirror_edit(&mut edits, context, matched);
        let mut decision = Decision::forward(Action::Forward, selection.reason, edits);
        decision.target = Some((pool, target));
        decision.response.part = part.and_then(|part| part.response_headers.clone());
        decision.response.session = selection.session;
        // Where it is bounded, it was counted as it was chosen.
        if pool.max_in_flight(index).is_none() {
            self.in_flight.begin(context.port, pool, index, now);
        }
        decision.flight = Some(flight_of(context, pool, index, selection.retries));
        decision
    }

    /// The time to give to [`Worker::decide`] with the next request. `ask` asks the proxy, which is
    /// not always needed (see `clock.rs`), but where this decision `is_timed`.
    #[inline]
    pub fn request_time<E>(
        &mut self,
        is_timed: bool,
        ask: impl FnOnce() -> Result<Nanos, E>,
    ) -> Result<Nanos, E> {
        self.clock.at_request(is_timed, ask)
    }

    /// Whether something happened since [`Worker::take_events`] was last called. With most requests
    /// nothing does.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
            || !self.limit_events.is_empty()
            || self.health.has_events()
            || self.response_times.has_bugs()
            || self.in_flight.has_events()
    }

    /// What happened since this was last asked.
    pub fn take_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        let limits = self.limit_events.drain(..).map(Event::RateLimit);
        let health = self.health.take_events().into_iter();
        let health = health.map(|event| match event {
            HealthEvent::Bug(what) => Event::Bug(what),
            event => Event::Health(event),
        });
        let response_times = self.response_times.take_bugs().into_iter().map(Event::Bug);
        let in_flight = self.in_flight.take_events().into_iter();
        let in_flight = in_flight.map(|event| match event {
            InFlightEvent::Bug(what) => Event::Bug(what),
            event => Event::InFlight(event),
        });
        limits
            .chain(health)
            .chain(response_times)
            .chain(in_flight)
            .chain(self.events.drain(..))
    }
}

impl<'c> Matched<'c> {
    /// None: the index is of another configuration.
    fn new(config: &'c Config, found: Found) -> Option<Matched<'c>> {
        let route = config.route(found.route)?;
        Some(Matched {
            index: found.route,
            route,
            block: route.blocks.get(found.block)?,
        })
    }
}

/// A request that goes to a target.
#[inline]
fn flight_of(
    context: &RequestContext<'_, '_>,
    pool: &Pool,
    index: TargetIndex,
    retries: Retries,
) -> Flight {
    let request = context.request;
    let is_checked = pool.wants_outcomes();
    Flight {
        target: TargetRef {
            pool: pool.index,
            index,
        },
        counted: index,
        address: None,
        retries,
        grpc: is_checked && request.is_grpc(),
        grpc_timeout: is_checked && request.headers.first(b"grpc-timeout").is_some(),
        connect: request.method == b"CONNECT",
        upgrade: is_checked && request.asks_for_another_protocol(),
        client: context.client.known().filter(|_| is_checked),
        started: context.now,
        timed: pool.balance == Balance::LeastResponseTime,
        answered: None,
    }
}

/// What values may hold of a request that this route matched, and of the target that it goes to.
fn parts<'a>(
    matched: Matched<'a>,
    chosen: Option<(&'a Pool, &'a Target)>,
    request: &'a Request<'a>,
    client: &'a mut AskClient<'a>,
) -> Parts<'a> {
    let (pool, target) = chosen.unzip();
    Parts {
        pool: pool.map_or("", |pool| &pool.name),
        target: target.map_or("", |target| &target.name),
        ..Parts::without_target(request, matched.block, &matched.route.name, client)
    }
}

/// What the protections of a route find in a request.
fn protected<'c>(config: &Config, route: &'c Route, request: &Request<'_>) -> Vec<Hit<'c>> {
    if route.protect.is_empty() {
        return Vec::new();
    }
    let protects = route.protect.iter().map(|protect| &**protect);
    inspect(protects, request, config.max_value)
}

/// The decision about a request that no route matches.
fn no_route(no_route: &NoRoute) -> Decision<'_> {
    match no_route {
        NoRoute::Pass => Decision::forward(Action::Pass, Reason::NoRoute, Vec::new()),
        NoRoute::Respond(respond) => {
            Decision::answer(Action::Respond, Reason::NoRoute, respond.answer())
        }
    }
}

/// The decision about a request that took more than a request may take before its route was known.
/// Nothing else would be safe: a route that refuses it may be one of those that were not looked at.
fn undecided<'c>() -> Decision<'c> {
    let answer = Answer::of(HEADERS_TOO_LARGE);
    Decision::answer(Action::Respond, Reason::NoRoute, answer)
}

/// The answer of a limit that refuses. What its own `respond` says goes before what every refusal
/// has.
fn refusal(limit: &RateLimit, retry_after: Nanos) -> Answer {
    let mut answer = match limit.respond() {
        Some(respond) => respond.answer(),
        None => Answer::of(TOO_MANY_REQUESTS),
    };
    for (name, value) in refusal_headers(limit, retry_after) {
        if !answer.headers.iter().any(|(own, _)| own == name) {
            answer.headers.push((name.to_vec(), value));
        }
    }
    answer.grpc_status = Some(RESOURCE_EXHAUSTED);
    answer
}

/// The decision about a request that no target takes.
fn no_target<'c>(reason: Reason) -> Decision<'c> {
    Decision::answer(Action::Respond, reason, Answer::of(NO_TARGET))
}

/// The value of the endpoint header: the target's address, then those of the retries. None: the
/// target is no endpoint.
fn endpoints(pool: &Pool, target: &Target, selection: &Selection<'_>) -> Option<Vec<u8>> {
    let first = target.endpoint.as_ref()?.as_bytes();
    let mut list = Vec::with_capacity((1 + selection.retries.len()) * MOST_ENDPOINTS);
    list.extend_from_slice(first);
    for retry in selection.retries.iter() {
        if let Some(endpoint) = pool
            .target(*retry)
            .and_then(|retry| retry.endpoint.as_ref())
        {
            list.push(b',');
            list.extend_from_slice(endpoint.as_bytes());
        }
    }
    Some(list)
}

/// What the names of a request's cookies and parameters are hashed with.
fn secret(seed: Seed) -> u64 {
    let mut hash = SipWriter::new(seed);
    hash.write(b"names of pairs");
    hash.finish()
}

/// Random numbers from a seed (see [`mixed`]). They spread load; no secret depends on them.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }
}

/// Most requests have no more changes of their headers than cluster, endpoint, path with what it
/// was, and one that the route configures.
const FEW_EDITS: usize = 5;

/// Most endpoints have less bytes, with a comma.
const MOST_ENDPOINTS: usize = 32;

/// The status of the answer where a rate limit refuses.
const TOO_MANY_REQUESTS: u16 = 429;

/// gRPC's status of an answer where a rate limit refuses. From the HTTP status 429 a proxy would
/// make UNAVAILABLE, after which clients try again at once.
const RESOURCE_EXHAUSTED: u32 = 8;

/// The status of the answer where a request takes too much (RFC 6585 section 5).
const HEADERS_TOO_LARGE: u16 = 431;

/// The status of the answer where no target takes the request.
const NO_TARGET: u16 = 503;

#[cfg(test)]
mod tests;
