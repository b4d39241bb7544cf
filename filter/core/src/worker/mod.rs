//! A request's way: route → rate limit → choice of a target ([`select`]) → verdict; and back:
//! [`complete`].
//!
//! | what is missing | what happens |
//! |---|---|
//! | no route matches | `no_route` |
//! | a limit refuses | 429, with when to come back |
//! | no target takes the request (all weights 0, draining or down; or unhealthy, with `respond_503`) | 503 |

mod complete;
mod edits;
mod select;

use crate::config::Config;
use crate::decision::{Change, Decision, Reason};
use crate::entropy::Entropy;
use crate::explain::Told;
use crate::http::client_ip::Client;
use crate::http::key::KeyPart;
use crate::http::request::Request;
use crate::http::respond::Answer;
use crate::index::{PoolIndex, RouteIndex, TargetRef};
use crate::pool::Target;
use crate::pool::balance::Balance;
use crate::pool::balance::consistent_hash::ConsistentHash;
use crate::pool::balance::least_connections::LeastConnections;
use crate::pool::balance::round_robin::RoundRobin;
use crate::pool::candidates::Candidates;
use crate::pool::flight::Flight;
use crate::pool::health::{Health, HealthEvent};
use crate::pool::in_flight::{InFlight, InFlightEvent};
use crate::pool::least_response_time::ResponseTimes;
use crate::pool::prefer_region::Regions;
use crate::pool::sticky::Sessions;
use crate::port::Port;
use crate::rate_limit::{RateLimit, RateLimitEvent, RateLimits, Verdict, refusal_headers};
use crate::route::index::Index;
use crate::route::no_route::NoRoute;
use crate::route::{Action, Block, Route};
use crate::siphash::mixed;
use crate::time::Nanos;
use edits::strip_reserved_headers;
use select::Choice;

pub use edits::response_edits;
use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

/// What one worker of the proxy keeps between requests. It hangs off the root context and dies with
/// its VM.
pub struct Worker {
    config: Rc<Config>,
    index: Index,
    limits: RateLimits,
    /// One for each pool, in the order of [`Config::pools`].
    pools: Vec<PoolState>,
    /// Of the choice that is being made; kept for its memory.
    candidates: Candidates,
    in_flight: InFlight,
    health: Health,
    response_times: ResponseTimes,
    rolls: Rolls,
    limit_events: Vec<RateLimitEvent>,
    /// Those of the worker itself.
    events: Vec<Event>,
    /// How many ticks there are still to come before [`InFlight::tick`] is due.
    until_beat: u64,
}

/// Something that happened and that an operator can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// To a rate limit.
    RateLimit(RateLimitEvent),
    /// To the health of a target.
    Health(HealthEvent),
    /// To the counts in flight.
    InFlight(InFlightEvent),
    /// To a request that a route sent to a pool.
    Strayed(Strayed),
    /// A target failed a request. Only where that is known: in a pool with passive health or a
    /// balance by load.
    Failed(TargetRef),
    /// A state that the code rules out, with a name for the log. It is counted and not asserted,
    /// since a panic would kill the worker's VM; every test against a host wants none of them.
    Bug(&'static str),
}

/// A request that did not simply go to a healthy target of its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strayed {
    /// The pool that it was for.
    pub pool: PoolIndex,
    /// [`Reason::Repin`], [`Reason::Failover`], [`Reason::UseAll`], [`Reason::Unhealthy`] or
    /// [`Reason::NoTarget`].
    pub reason: Reason,
}

/// What a worker keeps for one pool.
struct PoolState {
    regions: Regions,
    /// One for each of [`Regions::numbers`], so that regions do not disturb each other's turns.
    round_robins: Vec<RoundRobin>,
    consistent_hash: ConsistentHash,
    least_connections: LeastConnections,
    sessions: Sessions,
}

/// From one [`InFlight::tick`] to the next: its rhythm.
const BEAT: Nanos = Nanos::SECOND;

/// What is answered where a limit refuses.
const TOO_MANY_REQUESTS: u16 = 429;

/// What is answered where no target takes the request.
const NO_TARGET: u16 = 503;

/// Most requests have no more changes of their headers than cluster, endpoint, path and one that
/// the route configures.
const FEW_EDITS: usize = 4;

/// The random number of one request, in units of 2^−64.
#[derive(Clone, Copy)]
struct Roll {
    number: u64,
    /// Whether the request itself fixed it (see [`crate::explain`]).
    fixed: bool,
}

/// What surrounds one request.
struct Around<'a> {
    client: Client<'a>,
    port: &'a mut dyn Port,
    now: Nanos,
}

impl Around<'_> {
    /// The client's address, for which the proxy is asked once at most, and only where it decides
    /// something.
    fn address(&mut self) -> Option<IpAddr> {
        self.client.address(self.port)
    }
}

/// The route that a request belongs to.
#[derive(Clone, Copy)]
struct Matched<'c> {
    index: RouteIndex,
    route: &'c Route,
    block: &'c Block,
}

impl Worker {
    /// A worker that has decided nothing yet.
    pub fn new(config: Rc<Config>, entropy: Entropy) -> Worker {
        let Entropy {
            seed,
            rolls,
            worker,
        } = entropy;
        let mut rolls = Rolls(rolls);
        let pools = config.pools.iter().map(|pool| {
            let regions = Regions::new(pool);
            PoolState {
                round_robins: (0..regions.numbers())
                    .map(|_| RoundRobin::new(pool.targets.len(), rolls.next()))
                    .collect(),
                regions,
                consistent_hash: ConsistentHash::new(pool),
                least_connections: LeastConnections::default(),
                sessions: Sessions::new(pool),
            }
        });
        Worker {
            pools: pools.collect(),
            candidates: Candidates::default(),
            index: Index::new(&config.routes),
            limits: RateLimits::new(config.rate_limit_table, seed),
            in_flight: InFlight::new(&config.pools, worker),
            health: Health::new(&config.pools, worker),
            response_times: ResponseTimes::new(&config.pools),
            config,
            rolls,
            limit_events: Vec::new(),
            events: Vec::new(),
            until_beat: 0,
        }
    }

    /// The configuration that this worker decides by.
    pub fn config(&self) -> &Rc<Config> {
        &self.config
    }

    /// What happened since this was last asked, for counters.
    pub fn take_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        let limits = self.limit_events.drain(..).map(Event::RateLimit);
        let health = self
            .health
            .take_events()
            .into_iter()
            .map(|event| match event {
                HealthEvent::Bug(what) => Event::Bug(what),
                event => Event::Health(event),
            });
        let response_times = self.response_times.take_bugs().into_iter().map(Event::Bug);
        let in_flight = self
            .in_flight
            .take_events()
            .into_iter()
            .map(|event| match event {
                InFlightEvent::Bug(what) => Event::Bug(what),
                event => Event::InFlight(event),
            });
        limits
            .chain(health)
            .chain(in_flight)
            .chain(response_times)
            .chain(self.events.drain(..))
    }

    /// Decides one request by `config`, which is this worker's.
    ///
    /// ```
    /// use pointsman_core::config::Config;
    /// use pointsman_core::decision::Reason;
    /// use pointsman_core::entropy::{Entropy, WorkerId};
    /// use pointsman_core::http::request::{Headers, Request};
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
        let asked = config
            .explain
            .as_ref()
            .and_then(|explain| explain.asked(request));
        // Drawn for every request, so that what one request needs does not shift what the next one
        // gets.
        let drawn = self.rolls.next();
        let fixed = asked.and_then(|asked| asked.roll);
        let roll = Roll {
            number: fixed.unwrap_or(drawn),
            fixed: fixed.is_some(),
        };
        let mut told = Told::default();

        let mut decision = self.way(config, request, port, now, roll, &mut told);
        strip_reserved_headers(&mut decision, config, request);
        decision.response.explain = asked.map(|_| told.to_json(&decision));
        decision
    }

    fn way<'c>(
        &mut self,
        config: &'c Config,
        request: &Request<'_>,
        port: &mut dyn Port,
        now: Nanos,
        roll: Roll,
        told: &mut Told<'c>,
    ) -> Decision<'c> {
        let mut around = Around {
            client: Client::new(config.client_ip.as_ref(), request.headers),
            port,
            now,
        };
        let found = self
            .index
            .find(&config.routes, request, &mut || around.address());
        let Some(matched) = found.and_then(|found| Matched::new(config, found.route, found.block))
        else {
            return no_route(&config.no_route, told);
        };
        told.route = Some(&matched.route.name);

        let mut decision = match self.refusal(&matched.route.rate_limits, request, &mut around) {
            Some((limit, answer)) => {
                told.limit = Some(limit);
                told.action = "rate_limited";
                Decision::answer(Reason::RateLimit, answer)
            }
            None => self.act(config, matched, request, &mut around, roll, told),
        };
        decision.response.route = Some(matched.index);
        decision
    }

    /// The answer of the first limit that refuses, with its name.
    fn refusal<'c>(
        &mut self,
        limits: &'c [Rc<RateLimit>],
        request: &Request<'_>,
        around: &mut Around<'_>,
    ) -> Option<(&'c str, Answer)> {
        if limits.is_empty() {
            return None;
        }
        let ip = match limits
            .iter()
            .any(|limit| limit.key().contains(&KeyPart::ClientIp))
        {
            true => around.address(),
            false => None,
        };
        let bucket = |limit: &'c Rc<RateLimit>| self.limits.bucket(limit, request, ip);
        let (one, several);
        let buckets = match limits {
            [limit] => {
                one = [bucket(limit)];
                &one[..]
            }
            limits => {
                several = limits.iter().map(bucket).collect::<Vec<_>>();
                &several
            }
        };
        match self
            .limits
            .check(buckets, around.port, around.now, &mut self.limit_events)
        {
            Verdict::Admitted => None,
            Verdict::Refused { limit, retry_after } => {
                let limit = limits.get(limit)?;
                let headers = refusal_headers(limit, retry_after);
                let answer = Answer {
                    headers: headers.map(|(name, value)| (name.to_vec(), value)).into(),
                    ..Answer::of(TOO_MANY_REQUESTS)
                };
                Some((limit.name(), answer))
            }
        }
    }

    /// What a route does with a request that its limits admitted.
    fn act<'c>(
        &mut self,
        config: &'c Config,
        matched: Matched<'c>,
        request: &Request<'_>,
        around: &mut Around<'_>,
        roll: Roll,
        told: &mut Told<'c>,
    ) -> Decision<'c> {
        match &matched.route.action {
            Action::Respond(respond) => {
                told.action = "respond";
                Decision::answer(Reason::Route, respond.answer())
            }
            Action::Redirect(redirect) => {
                told.action = "redirect";
                let answer = Answer {
                    status: redirect.status,
                    headers: vec![(
                        b"location".to_vec(),
                        redirect.location(request, matched.block),
                    )],
                    body: Vec::new(),
                };
                Decision::answer(Reason::Route, answer)
            }
            Action::Pass => {
                told.action = "pass";
                Decision::forward(Reason::Route, matched.edits(None, request))
            }
            action @ (Action::Pool(_) | Action::Split(_)) => {
                let choice = self.choose(config, action, request, around, roll);
                let choice = choice.and_then(|choice| {
                    Ok((
                        choice.pool.target(choice.target).ok_or(Reason::NoTarget)?,
                        choice,
                    ))
                });
                match choice {
                    Ok((target, choice)) => {
                        told.action = "forward";
                        told.target = Some((choice.pool, target));
                        self.forward(config, matched, choice, target, request, around)
                    }
                    Err(reason) => {
                        told.action = "respond";
                        Decision::answer(reason, Answer::of(NO_TARGET))
                    }
                }
            }
        }
    }

    /// The request on its way to its target.
    fn forward<'c>(
        &mut self,
        config: &'c Config,
        matched: Matched<'c>,
        choice: Choice<'c>,
        target: &'c Target,
        request: &Request<'_>,
        around: &mut Around<'_>,
    ) -> Decision<'c> {
        let now = around.now;
        let mut edits = matched.edits(Some(choice.part), request);
        // Last, so that no configured edit changes the choice.
        let cluster = Cow::Borrowed(target.cluster.as_bytes());
        edits.push(Change::Set(&config.upstream.cluster_header, cluster));
        if let Some(endpoint) = &target.endpoint {
            let others = choice.retries.iter();
            let others = others.filter_map(|at| choice.pool.target(*at)?.endpoint.as_deref());
            let mut list = endpoint.as_bytes().to_vec();
            for other in others {
                list.push(b',');
                list.extend_from_slice(other.as_bytes());
            }
            edits.push(Change::Set(
                &config.upstream.endpoint_header,
                Cow::Owned(list),
            ));
        }
        let mut decision = Decision::forward(choice.reason, edits);
        decision.response.part = Some(choice.part);
        if choice.new_cookie {
            let state = self.pools.get_mut(choice.pool.index.get());
            decision.response.set_cookie = state.and_then(|state| {
                state
                    .sessions
                    .set_cookie(choice.pool, choice.target, now.to_seconds())
            });
        }
        self.in_flight
            .begin(around.port, choice.pool, choice.target, now);
        decision.flight = Some(Flight {
            target: TargetRef {
                pool: choice.pool.index,
                index: choice.target,
            },
            retries: choice.retries,
            grpc: request.is_grpc(),
            started: now,
            timed: choice.pool.balance == Balance::LeastResponseTime,
            answered: None,
        });
        decision
    }
}

impl<'c> Matched<'c> {
    fn new(config: &'c Config, index: RouteIndex, block: usize) -> Option<Matched<'c>> {
        let route = config.route(index)?;
        let block = route.blocks.get(block)?;
        Some(Matched {
            index,
            route,
            block,
        })
    }

    /// The rewrite, then the route's edits, then those of the split's part.
    fn edits(&self, part: Option<usize>, request: &Request<'_>) -> Vec<Change<'c>> {
        let mut edits = Vec::with_capacity(FEW_EDITS);
        if let Some(rewrite) = &self.route.rewrite {
            let rewritten = rewrite.apply(request, self.block);
            edits.extend(
                rewritten
                    .path
                    .map(|path| Change::Set(b":path", Cow::Owned(path))),
            );
            edits.extend(
                rewritten
                    .authority
                    .map(|host| Change::Set(b":authority", Cow::Borrowed(host))),
            );
        }
        let part = part.and_then(|part| match &self.route.action {
            Action::Split(parts) => Some(&parts.get(part)?.request_headers),
            _ => None,
        });
        for edit in [&self.route.request_headers]
            .into_iter()
            .chain(part)
            .flat_map(|edits| edits.iter())
        {
            let change = Change::from(edit);
            // To remove what is not there costs a host call.
            let there = |name: &[u8]| {
                request.headers.first(name).is_some()
                    || edits.iter().any(|earlier: &Change| earlier.name() == name)
            };
            if !matches!(change, Change::Remove(name) if !there(name)) {
                edits.push(change);
            }
        }
        edits
    }
}

fn no_route<'c>(no_route: &'c NoRoute, told: &mut Told<'c>) -> Decision<'c> {
    match no_route {
        NoRoute::Pass => {
            told.action = "pass";
            Decision::forward(Reason::NoRoute, Vec::new())
        }
        NoRoute::Respond(respond) => {
            told.action = "respond";
            Decision::answer(Reason::NoRoute, respond.answer())
        }
    }
}

/// Random numbers from a seed: SplitMix64 (see [`mixed`]). They spread load; no secret depends on
/// them.
struct Rolls(u64);

impl Rolls {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }
}

#[cfg(test)]
mod tests;
