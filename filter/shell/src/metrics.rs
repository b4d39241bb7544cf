//! What operators count and see. In an Envoy the metrics are `wasmcustom.pointsman.…` in `/stats`,
//! and with the tag rules of `envoy-config/envoy.yaml` `pointsman_…` with labels in
//! `/stats/prometheus`; those of a second configuration have its scope in their names. `envoy-config/README.md` lists all of them.
//!
//! A metric that is defined shows, at 0, from then on, so that the first event is a rise and not a
//! new series. But a definition costs a host call when a configuration is loaded, and memory of the
//! proxy until the VM ends, in each worker and for each configuration. So the metrics of a route or
//! a target, of which there can be many, are defined with its first request.

use crate::host::{self, Counter, Histogram};
use pointsman_core::config::Config;
use pointsman_core::decision::Decision;
use pointsman_core::decision::Reason;
use pointsman_core::index::{PoolIndex, RouteIndex, TargetRef};
use pointsman_core::pool::health::{HealthChange, HealthEvent};
use pointsman_core::pool::in_flight::InFlightEvent;
use pointsman_core::pool::{Pool, Target};
use pointsman_core::rate_limit::RateLimitEvent;
use pointsman_core::route::Route;
use pointsman_core::time::Nanos;
use pointsman_core::worker::Event;
use std::cell::OnceCell;
use std::rc::Rc;

/// The names of a decision's parts in the filter state, and so in access logs. (An Envoy puts
/// `wasm.` before them.)
mod state {
    /// The route that matched.
    pub(super) const ROUTE: &[u8] = b"pointsman.route";
    /// The pool whose target was chosen.
    pub(super) const POOL: &[u8] = b"pointsman.pool";
    /// The target that was chosen.
    pub(super) const TARGET: &[u8] = b"pointsman.target";
    /// Why: a word of `explain`'s `reason`.
    pub(super) const REASON: &[u8] = b"pointsman.reason";
}

/// The metrics of one root context. Those that the host refused to define are not counted.
pub(crate) struct Metrics {
    config: Rc<Config>,
    request_failed: Option<Counter>,
    response_failed: Option<Counter>,
    no_route: Option<Counter>,
    /// Requests with a value that was too long for a condition.
    too_long: Option<Counter>,
    decision: Option<Histogram>,
    /// States that the code rules out.
    bug: Option<Counter>,
    shared_retried: Option<Counter>,
    shared_failed: Option<Counter>,
    /// Workers that found no gauges, or no slot, and go by their own counts.
    in_flight_local: Option<Counter>,
    /// Workers that expired with requests in flight, which were subtracted.
    in_flight_reaped: Option<Counter>,
    /// Workers that expired although they were alive.
    in_flight_revived: Option<Counter>,
    rate_limits: Vec<LimitMetrics>,
    routes: Vec<OnceCell<RouteMetrics>>,
    pools: Vec<PoolMetrics>,
}

/// The counters of one route: `pointsman.route.<name>.…`
struct RouteMetrics {
    requests: Option<Counter>,
    /// By one of its limits.
    refused: Option<Counter>,
}

/// The counters of one pool: `pointsman.pool.<name>.…`. Those of events that its configuration
/// rules out are not defined.
struct PoolMetrics {
    /// Requests that a session cookie held to their target.
    sticky: Option<Counter>,
    /// Clients whose target is unhealthy or down, and who have a new one.
    repin: Option<Counter>,
    /// Requests for this pool that went to one of its `failover`.
    failover: Option<Counter>,
    /// Requests that went to an unhealthy target, because all are.
    use_all: Option<Counter>,
    /// Requests answered with 503, because no target takes them.
    no_target: Option<Counter>,
    targets: Vec<OnceCell<TargetMetrics>>,
}

/// The counters of one target: `pointsman.pool.<name>.target.<name>.…`. Beside them is the gauge of
/// [`pointsman_core::pool::in_flight`].
struct TargetMetrics {
    /// Requests that it was chosen for.
    requests: Option<Counter>,
    /// Requests that it failed.
    failed: Option<Counter>,
    /// How often failures of requests ejected it.
    ejected: Option<Counter>,
    /// How often probes found it down.
    fell: Option<Counter>,
    /// How often it came back.
    recovered: Option<Counter>,
}

/// The counters of one limit: `pointsman.rate_limit.<name>.…`
struct LimitMetrics {
    refused: Option<Counter>,
    /// Requests that a shadow let pass.
    shadow: Option<Counter>,
    /// Requests whose client found no slot of its own.
    overflow: Option<Counter>,
    /// Requests decided without the record, because other workers were always faster.
    contended: Option<Counter>,
}

impl Metrics {
    /// Defines every metric that this configuration can raise, but those of routes and targets.
    pub(crate) fn define(config: &Rc<Config>) -> Metrics {
        let scope = config.scope.metric();
        let whole = |what: &str| define(scope, what);
        let decision_us = [scope, ".decision_us"].concat();
        let decision = host::define_histogram(&decision_us);
        Metrics {
            request_failed: whole("request.failed"),
            response_failed: whole("response.failed"),
            no_route: whole("no_route.requests"),
            too_long: whole("match.too_long"),
            decision: defined(&decision_us, decision),
            bug: whole("bug"),
            shared_retried: whole("shared.retried"),
            shared_failed: whole("shared.failed"),
            in_flight_local: whole("in_flight.local"),
            in_flight_reaped: whole("in_flight.reaped"),
            in_flight_revived: whole("in_flight.revived"),
            rate_limits: config
                .rate_limits
                .iter()
                .map(|limit| LimitMetrics::define(scope, limit.name()))
                .collect(),
            routes: config.routes.iter().map(|_| OnceCell::new()).collect(),
            pools: config
                .pools
                .iter()
                .map(|pool| PoolMetrics::define(pool))
                .collect(),
            config: config.clone(),
        }
    }

    /// A request that could not be decided.
    pub(crate) fn request_failed(&self) {
        increment(self.request_failed);
    }

    /// A response that could not be edited.
    pub(crate) fn response_failed(&self) {
        increment(self.response_failed);
    }

    /// A state that the code rules out. The log line says which.
    pub(crate) fn bug(&self, what: &str) {
        increment(self.bug);
        log::error!("a bug of Pointsman's own: {what}");
    }

    /// A request that was decided. Its filter state is made of names of the configuration alone.
    pub(crate) fn decided(&self, decision: &Decision<'_>) {
        let refused = decision.reason == Reason::RateLimit;
        note(state::REASON, decision.reason.word());
        match decision.response.route.and_then(|at| self.route(at)) {
            Some((route, metrics)) => {
                note(state::ROUTE, &route.name);
                increment(metrics.requests);
                increment(metrics.refused.filter(|_| refused));
            }
            None => increment(self.no_route),
        }
        if let Some(flight) = &decision.flight
            && let Some((pool, target, metrics)) = self.target(flight.target)
        {
            note(state::POOL, &pool.name);
            note(state::TARGET, &target.name);
            increment(metrics.requests);
            if decision.reason == Reason::Sticky {
                increment(
                    self.pools
                        .get(flight.target.pool.get())
                        .and_then(|pool| pool.sticky),
                );
            }
        }
    }

    /// How long a decision took with all that belongs to it.
    pub(crate) fn took(&self, time: Nanos) {
        if let Some(histogram) = self.decision {
            let _ = host::record(histogram, time / Nanos::MICROSECOND);
        }
    }

    /// What happened.
    pub(crate) fn count(&self, events: impl Iterator<Item = Event>) {
        for event in events {
            let of = |limit: usize, counter: fn(&LimitMetrics) -> Option<Counter>| {
                self.rate_limits.get(limit).and_then(counter)
            };
            let pool = |pool: PoolIndex, counter: fn(&PoolMetrics) -> Option<Counter>| {
                self.pools.get(pool.get()).and_then(counter)
            };
            let target = |target: TargetRef, counter: fn(&TargetMetrics) -> Option<Counter>| {
                self.target(target)
                    .and_then(|(_, _, metrics)| counter(metrics))
            };
            increment(match event {
                Event::RateLimit(RateLimitEvent::Refused(limit)) => {
                    of(limit, |limit| limit.refused)
                }
                Event::RateLimit(RateLimitEvent::Shadow(limit)) => of(limit, |limit| limit.shadow),
                Event::RateLimit(RateLimitEvent::Overflow(limit)) => {
                    of(limit, |limit| limit.overflow)
                }
                Event::RateLimit(RateLimitEvent::Contended(limit)) => {
                    of(limit, |limit| limit.contended)
                }
                Event::RateLimit(RateLimitEvent::Retry) => self.shared_retried,
                Event::RateLimit(RateLimitEvent::StoreFailed) => self.shared_failed,
                Event::Health(HealthEvent::Changed { target: at, change }) => target(
                    at,
                    match change {
                        HealthChange::Ejected => |target| target.ejected,
                        HealthChange::Fell => |target| target.fell,
                        HealthChange::Recovered => |target| target.recovered,
                    },
                ),
                Event::TooLong => self.too_long,
                Event::Failed(failed) => target(failed, |target| target.failed),
                Event::Fallback(fallback) => match fallback.reason {
                    Reason::Failover => pool(fallback.pool, |pool| pool.failover),
                    Reason::Repin => pool(fallback.pool, |pool| pool.repin),
                    Reason::UseAll => pool(fallback.pool, |pool| pool.use_all),
                    _ => pool(fallback.pool, |pool| pool.no_target),
                },
                Event::InFlight(InFlightEvent::NoGauges | InFlightEvent::NoSlot) => {
                    self.in_flight_local
                }
                Event::InFlight(InFlightEvent::Reclaimed(_)) => self.in_flight_reaped,
                Event::InFlight(InFlightEvent::Rejoined) => self.in_flight_revived,
                Event::Bug(what)
                | Event::Health(HealthEvent::Bug(what))
                | Event::InFlight(InFlightEvent::Bug(what)) => {
                    self.bug(what);
                    None
                }
            });
        }
    }

    fn route(&self, index: RouteIndex) -> Option<(&Route, &RouteMetrics)> {
        let (route, metrics) = (self.config.route(index)?, self.routes.get(index.get())?);
        Some((
            route,
            metrics.get_or_init(|| RouteMetrics::define(self.config.scope.metric(), route)),
        ))
    }

    fn target(&self, at: TargetRef) -> Option<(&Pool, &Target, &TargetMetrics)> {
        let (pool, target) = self.config.target(at)?;
        let metrics = self.pools.get(at.pool.get())?;
        let metrics = metrics.targets.get(at.index.get())?;
        Some((
            pool,
            target,
            metrics.get_or_init(|| TargetMetrics::define(pool, target)),
        ))
    }
}

impl RouteMetrics {
    fn define(scope: &str, route: &Route) -> RouteMetrics {
        let prefix = [scope, ".route.", &route.name].concat();
        RouteMetrics {
            requests: define(&prefix, "requests"),
            refused: define_if(!route.rate_limits.is_empty(), &prefix, "refused"),
        }
    }
}

impl PoolMetrics {
    fn define(pool: &Pool) -> PoolMetrics {
        let prefix = pool.metric();
        let define = |possible: bool, what: &str| define_if(possible, &prefix, what);
        let checked = pool.health.passive.is_some() || pool.health.active.is_some();
        let cookie = pool
            .sticky
            .as_ref()
            .is_some_and(|sticky| sticky.cookie.is_some());
        PoolMetrics {
            sticky: define(cookie, "sticky"),
            repin: define(cookie, "repin"),
            failover: define(!pool.failover.is_empty(), "failover"),
            use_all: define(checked || !pool.failover.is_empty(), "use_all"),
            no_target: define(true, "no_target"),
            targets: pool.targets.iter().map(|_| OnceCell::new()).collect(),
        }
    }
}

impl TargetMetrics {
    fn define(pool: &Pool, target: &Target) -> TargetMetrics {
        let prefix = pool.target_metric(target);
        let define = |possible: bool, what: &str| define_if(possible, &prefix, what);
        let (passive, active) = (pool.health.passive.is_some(), pool.health.active.is_some());
        TargetMetrics {
            requests: define(true, "requests"),
            failed: define(passive || pool.balance.is_by_load(), "failed"),
            ejected: define(passive, "ejected"),
            fell: define(active, "fell"),
            recovered: define(passive || active, "recovered"),
        }
    }
}

impl LimitMetrics {
    fn define(scope: &str, name: &str) -> LimitMetrics {
        let prefix = [scope, ".rate_limit.", name].concat();
        LimitMetrics {
            refused: define(&prefix, "refused"),
            shadow: define(&prefix, "shadow"),
            overflow: define(&prefix, "overflow"),
            contended: define(&prefix, "contended"),
        }
    }
}

fn note(name: &[u8], value: &str) {
    // Without it the request is no worse; only a log says less.
    let _ = host::set_property(name, value.as_bytes());
}

fn define_if(possible: bool, prefix: &str, what: &str) -> Option<Counter> {
    possible.then(|| define(prefix, what))?
}

fn define(prefix: &str, what: &str) -> Option<Counter> {
    let name = [prefix, ".", what].concat();
    defined(&name, host::define_counter(&name))
}

fn defined<T>(name: &str, defined: Result<T, host::Status>) -> Option<T> {
    if let Err(status) = &defined {
        log::warn!("the metric {name} is not there: {status}");
    }
    defined.ok()
}

fn increment(counter: Option<Counter>) {
    // A count that is lost must not cost the request.
    let _ = counter.map(|counter| host::increment(counter, 1));
}
