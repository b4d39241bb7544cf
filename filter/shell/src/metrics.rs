//! What operators count and see. In an Envoy the metrics are `wasmcustom.pointsman.…` in `/stats`,
//! and with the tag rules of `envoy-config/envoy.yaml` `pointsman_…` with labels in
//! `/stats/prometheus`; those of a second configuration have its scope in their names. `envoy-config/README.md` lists all of them.
//!
//! A metric that is defined shows, at 0, from then on, so that the first event is a rise and not a
//! new series. But a definition costs a host call when a configuration is loaded, and memory of the
//! proxy until the VM ends, in each worker and for each configuration. So the metrics of a route or
//! a target, of which there can be many, are defined with its first request.
//!
//! What each request counts waits for the next tick ([`batch`]), a second at most; what tells of
//! trouble (failed requests and calls, changes of health, contention, bugs) is added at once. How
//! long a decision took is a sample, of one request in [`SAMPLED`] of each worker.

mod batch;

use crate::host::{self, Counter, Histogram};
use batch::{Batch, Batched};
use pointsman_core::config::Config;
use pointsman_core::decision::Decision;
use pointsman_core::decision::Reason;
use pointsman_core::index::{RouteIndex, TargetRef};
use pointsman_core::pool::health::{HealthChange, HealthEvent, Why};
use pointsman_core::pool::in_flight::InFlightEvent;
use pointsman_core::pool::{Pool, Target};
use pointsman_core::protect::Class;
use pointsman_core::rate_limit::global::Mode;
use pointsman_core::rate_limit::{RateLimit, RateLimitEvent};
use pointsman_core::route::Route;
use pointsman_core::time::Nanos;
use pointsman_core::worker::{Event, Forward, Worker};
use std::cell::{Cell, OnceCell};
use std::rc::Rc;

/// The counters that are needed whatever becomes of a configuration.
#[derive(Clone, Copy)]
pub(crate) struct Failures {
    request_failed: Option<Counter>,
    response_failed: Option<Counter>,
    /// States that the code rules out.
    bug: Option<Counter>,
}

impl Failures {
    /// Defines them. `scope`: what their names begin with.
    pub(crate) fn define(scope: &str) -> Failures {
        Failures {
            request_failed: define(scope, "request.failed"),
            response_failed: define(scope, "response.failed"),
            bug: define(scope, "bug"),
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
}

/// The metrics of one root context. Those that the host refused to define are not counted.
pub(crate) struct Metrics {
    config: Rc<Config>,
    batch: Batch,
    failures: Failures,
    no_route: Option<Batched>,
    /// Requests with a value that was too long for a condition.
    too_long: Option<Counter>,
    decision: Option<Histogram>,
    /// So many requests are decided until the next one that is timed.
    until_sample: Cell<u32>,
    shared_retried: Option<Counter>,
    shared_failed: Option<Counter>,
    /// Workers that found no gauges, or no slot, and go by their own counts.
    in_flight_local: Option<Counter>,
    /// Workers that expired with requests in flight, which were subtracted.
    in_flight_reaped: Option<Counter>,
    /// Workers that expired although they were alive.
    in_flight_revived: Option<Counter>,
    rate_limits: Vec<LimitMetrics>,
    protect: Vec<ProtectMetrics>,
    /// The second of the last line about a hit, and how many it had.
    hits_logged: Cell<(u64, u32)>,
    routes: Vec<OnceCell<RouteMetrics>>,
    pools: Vec<PoolMetrics>,
}

/// The counters of one route: `pointsman.route.<name>.…`
struct RouteMetrics {
    requests: Option<Batched>,
    /// By one of its limits.
    refused: Option<Batched>,
}

/// The counters of one pool: `pointsman.pool.<name>.…`. Those of events that its configuration
/// rules out are not defined.
struct PoolMetrics {
    /// Requests that a session cookie held to their target.
    sticky: Option<Batched>,
    /// Clients whose target is unhealthy or down, and who have a new one.
    repin: Option<Batched>,
    /// Requests for this pool that went to one of its `failover`.
    failover: Option<Batched>,
    /// Requests that went to another target than the one that they belong to, which is full.
    full: Option<Batched>,
    /// Requests that went to an unhealthy target, because all are.
    use_all: Option<Batched>,
    /// Requests answered with 503, because no target takes them.
    no_target: Option<Batched>,
    targets: Vec<OnceCell<TargetMetrics>>,
}

/// The counters of one target: `pointsman.pool.<name>.target.<name>.…`. Beside them is the gauge of
/// [`pointsman_core::pool::in_flight`].
struct TargetMetrics {
    /// Requests that it was chosen for.
    requests: Option<Batched>,
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
    refused: Option<Batched>,
    /// Requests that a shadow let pass.
    shadow: Option<Batched>,
    /// Requests whose client found no slot of its own.
    overflow: Option<Batched>,
    /// Requests decided without the record, because other workers were always faster.
    contended: Option<Counter>,
    /// Requests that an engine was asked about.
    asked: Option<Batched>,
    /// Requests that the engine refused.
    asked_refused: Option<Batched>,
    /// Requests that the engine did not answer about.
    asked_failed: Option<Batched>,
    leased: Option<Counter>,
}

/// The counters of one protection: `pointsman.protect.<name>.…`
struct ProtectMetrics {
    /// Of each class that it detects, in the order of [`Class::ALL`]: requests that had it.
    found: [Option<Batched>; Class::ALL.len()],
    /// Requests that it refused.
    blocked: Option<Batched>,
    /// Requests of which it did not look at everything.
    not_inspected: Option<Batched>,
}

impl Metrics {
    /// Defines every metric that this configuration can raise, but those of routes and targets.
    pub(crate) fn define(config: &Rc<Config>, failures: Failures) -> Metrics {
        let scope = config.scope.metric();
        let whole = |what: &str| define(scope, what);
        let batch = Batch::default();
        let decision_us = [scope, ".decision_us"].concat();
        let decision = host::define_histogram(&decision_us);
        Metrics {
            failures,
            no_route: define_batched(&batch, scope, "no_route.requests"),
            too_long: whole("match.too_long"),
            decision: defined(&decision_us, decision),
            until_sample: Cell::new(0),
            shared_retried: whole("shared.retried"),
            shared_failed: whole("shared.failed"),
            in_flight_local: whole("in_flight.local"),
            in_flight_reaped: whole("in_flight.reaped"),
            in_flight_revived: whole("in_flight.revived"),
            rate_limits: config
                .rate_limits
                .iter()
                .map(|limit| LimitMetrics::define(&batch, scope, limit))
                .collect(),
            protect: ProtectMetrics::of(config, &batch),
            hits_logged: Cell::default(),
            routes: config.routes.iter().map(|_| OnceCell::new()).collect(),
            pools: config
                .pools
                .iter()
                .map(|pool| PoolMetrics::define(&batch, pool))
                .collect(),
            batch,
            config: config.clone(),
        }
    }

    /// Gives up all but the metrics of pools, and of those the targets that this configuration does
    /// not have: it has only the pools with a request under way.
    pub(crate) fn forget(&mut self, config: &Rc<Config>) {
        self.flush();
        self.rate_limits = Vec::new();
        self.protect = Vec::new();
        self.routes = Vec::new();
        for (metrics, pool) in self.pools.iter_mut().zip(&config.pools) {
            metrics.targets.truncate(pool.targets.len());
            metrics.targets.shrink_to_fit();
        }
        self.config = config.clone();
    }

    /// All of them again, for the configuration that it was before.
    pub(crate) fn recall(&mut self, config: &Rc<Config>) {
        let (batch, scope) = (&self.batch, config.scope.metric());
        let limits = config.rate_limits.iter();
        self.rate_limits = limits
            .map(|limit| LimitMetrics::define(batch, scope, limit))
            .collect();
        self.protect = ProtectMetrics::of(config, batch);
        self.routes = config.routes.iter().map(|_| OnceCell::new()).collect();
        for (metrics, pool) in self.pools.iter_mut().zip(&config.pools) {
            let targets = pool.targets.len();
            metrics.targets.resize_with(targets, OnceCell::new);
        }
        self.config = config.clone();
    }

    /// A request that was decided.
    pub(crate) fn decided(&self, decision: &Decision<'_>) {
        match decision.route_index.and_then(|at| self.route(at)) {
            Some(metrics) => {
                self.batch(metrics.requests);
                if decision.reason == Reason::RateLimit {
                    self.batch(metrics.refused);
                }
            }
            None => self.batch(self.no_route),
        }
        if let Some(flight) = &decision.flight
            && let Some(metrics) = self.target(flight.target)
        {
            self.batch(metrics.requests);
            if decision.reason == Reason::Sticky
                && let Some(pool) = self.pools.get(flight.target.pool.get())
            {
                self.batch(pool.sticky);
            }
        }
    }

    /// A request that goes to a target on the common path.
    #[inline]
    pub(crate) fn forwarded(&self, forward: &Forward<'_>, at: TargetRef) {
        if let Some(metrics) = self.route(forward.route) {
            self.batch(metrics.requests);
        }
        if let Some(metrics) = self.target(at) {
            self.batch(metrics.requests);
        }
        if forward.reason == Reason::Sticky
            && let Some(pool) = self.pools.get(at.pool.get())
        {
            self.batch(pool.sticky);
        }
    }

    /// What protections found in a request: counts, and a line for each, up to
    /// [`MAX_HITS_LOGGED`] in a second. The line has no part of a value.
    #[cold]
    #[inline(never)]
    pub(crate) fn found(&self, decision: &Decision<'_>, now: Nanos) {
        let route = decision.route.map_or("", |route| &route.name);
        for hit in &decision.hits {
            if let Some(metrics) = self.protect.get(hit.protect.index) {
                self.batch(match hit.class {
                    Some(class) => metrics.found.get(class as usize).copied().flatten(),
                    None => metrics.not_inspected,
                });
                if hit.blocks() {
                    self.batch(metrics.blocked);
                }
            }
            let (second, lines) = self.hits_logged.get();
            let now = now / Nanos::SECOND;
            let lines = if second == now { lines } else { 0 };
            self.hits_logged.set((now, lines.saturating_add(1)));
            if lines < MAX_HITS_LOGGED {
                log::warn!("protect {}, route {route}", hit.line());
            }
        }
    }

    /// Whether the decision that is being made is one of those that are timed: the first of each
    /// [`SAMPLED`].
    pub(crate) fn is_timed(&self) -> bool {
        let left = self.until_sample.get();
        self.until_sample
            .set(left.checked_sub(1).unwrap_or(SAMPLED - 1));
        left == 0
    }

    /// How long a decision that is timed took with all that belongs to it.
    pub(crate) fn took(&self, time: Nanos) {
        if let Some(histogram) = self.decision {
            let _ = host::record(histogram, time / Nanos::MICROSECOND);
        }
    }

    /// Adds what was counted since this was last called. With each tick, and when the root context
    /// ends.
    pub(crate) fn flush(&self) {
        self.batch.flush(|counter, by| {
            // A count that is lost must not cost more than itself.
            let _ = host::increment(counter, by);
        });
    }

    /// Counts what happened. Mostly nothing did.
    pub(crate) fn count_events(&self, worker: &mut Worker) {
        if worker.has_events() {
            self.count(worker.take_events());
        }
    }

    #[cold]
    #[inline(never)]
    fn count(&self, events: impl Iterator<Item = Event>) {
        for event in events {
            match event {
                Event::RateLimit(event) => self.count_limit(event),
                Event::Health(HealthEvent::Changed {
                    target,
                    change,
                    why,
                }) => {
                    self.log_health(target, change, &why);
                    if let Some(target) = self.target(target) {
                        increment(match change {
                            HealthChange::Ejected => target.ejected,
                            HealthChange::Fell => target.fell,
                            HealthChange::Recovered => target.recovered,
                        });
                    }
                }
                Event::Failed(failed) => {
                    increment(self.target(failed).and_then(|target| target.failed));
                }
                Event::Fallback(fallback) => {
                    if let Some(pool) = self.pools.get(fallback.pool.get()) {
                        self.batch(match fallback.reason {
                            Reason::Failover => pool.failover,
                            Reason::Repin => pool.repin,
                            Reason::Full => pool.full,
                            Reason::UseAll => pool.use_all,
                            _ => pool.no_target,
                        });
                    }
                }
                Event::TooLong => increment(self.too_long),
                Event::InFlight(InFlightEvent::NoGauges | InFlightEvent::NoSlot) => {
                    increment(self.in_flight_local);
                }
                Event::InFlight(InFlightEvent::Reclaimed(_)) => increment(self.in_flight_reaped),
                Event::InFlight(InFlightEvent::Rejoined) => increment(self.in_flight_revived),
                Event::Bug(what)
                | Event::Health(HealthEvent::Bug(what))
                | Event::InFlight(InFlightEvent::Bug(what)) => self.failures.bug(what),
            }
        }
    }

    /// A line for each change, by the worker that made it.
    fn log_health(&self, at: TargetRef, change: HealthChange, why: &Why) {
        let Some((pool, target)) = self.config.target(at) else {
            return;
        };
        let line = change.line(&pool.name, &target.name, why);
        match change {
            HealthChange::Recovered => log::info!("{line}"),
            HealthChange::Ejected | HealthChange::Fell => log::warn!("{line}"),
        }
    }

    fn count_limit(&self, event: RateLimitEvent) {
        let of = |limit: usize| self.rate_limits.get(limit);
        match event {
            RateLimitEvent::Refused(limit) => self.batch(of(limit).and_then(|of| of.refused)),
            RateLimitEvent::Shadow(limit) => self.batch(of(limit).and_then(|of| of.shadow)),
            RateLimitEvent::Overflow(limit) => self.batch(of(limit).and_then(|of| of.overflow)),
            RateLimitEvent::Contended(limit) => increment(of(limit).and_then(|of| of.contended)),
            RateLimitEvent::Retry => increment(self.shared_retried),
            RateLimitEvent::Asked(limit) => self.batch(of(limit).and_then(|of| of.asked)),
            RateLimitEvent::AskedRefused(limit) => {
                self.batch(of(limit).and_then(|of| of.asked_refused));
            }
            RateLimitEvent::AskedFailed(limit) => {
                self.batch(of(limit).and_then(|of| of.asked_failed));
            }
            RateLimitEvent::Leased(limit, tokens) => {
                let counter = of(limit).and_then(|of| of.leased);
                let _ = counter.map(|counter| host::increment(counter, tokens));
            }
            RateLimitEvent::StoreFailed => increment(self.shared_failed),
        }
    }

    fn batch(&self, counter: Option<Batched>) {
        if let Some(counter) = counter {
            self.batch.count(counter);
        }
    }

    #[inline]
    fn route(&self, index: RouteIndex) -> Option<&RouteMetrics> {
        let metrics = self.routes.get(index.get())?;
        metrics.get().or_else(|| self.define_route(index, metrics))
    }

    #[cold]
    #[inline(never)]
    fn define_route<'m>(
        &self,
        index: RouteIndex,
        metrics: &'m OnceCell<RouteMetrics>,
    ) -> Option<&'m RouteMetrics> {
        let (route, scope) = (self.config.route(index)?, self.config.scope.metric());
        Some(metrics.get_or_init(|| RouteMetrics::define(&self.batch, scope, route)))
    }

    #[inline]
    fn target(&self, at: TargetRef) -> Option<&TargetMetrics> {
        let metrics = self.pools.get(at.pool.get())?;
        let metrics = metrics.targets.get(at.index.get())?;
        metrics.get().or_else(|| self.define_target(at, metrics))
    }

    #[cold]
    #[inline(never)]
    fn define_target<'m>(
        &self,
        at: TargetRef,
        metrics: &'m OnceCell<TargetMetrics>,
    ) -> Option<&'m TargetMetrics> {
        let (pool, target) = self.config.target(at)?;
        Some(metrics.get_or_init(|| TargetMetrics::define(&self.batch, pool, target)))
    }
}

impl RouteMetrics {
    fn define(batch: &Batch, scope: &str, route: &Route) -> RouteMetrics {
        let prefix = [scope, ".route.", &route.name].concat();
        RouteMetrics {
            requests: define_batched(batch, &prefix, "requests"),
            refused: match route.rate_limits.is_empty() {
                true => None,
                false => define_batched(batch, &prefix, "refused"),
            },
        }
    }
}

impl PoolMetrics {
    fn define(batch: &Batch, pool: &Pool) -> PoolMetrics {
        let prefix = pool.metric();
        let define =
            |possible: bool, what: &str| possible.then(|| define_batched(batch, &prefix, what))?;
        let checked = pool.health.passive.is_some() || pool.health.active.is_some();
        let cookie = pool
            .sticky
            .as_ref()
            .is_some_and(|sticky| sticky.cookie.is_some());
        PoolMetrics {
            sticky: define(cookie, "sticky"),
            repin: define(cookie, "repin"),
            failover: define(!pool.failover.is_empty(), "failover"),
            full: define(pool.turns_away(), "full"),
            use_all: define(checked || !pool.failover.is_empty(), "use_all"),
            no_target: define(true, "no_target"),
            targets: pool.targets.iter().map(|_| OnceCell::new()).collect(),
        }
    }
}

impl TargetMetrics {
    fn define(batch: &Batch, pool: &Pool, target: &Target) -> TargetMetrics {
        let prefix = pool.target_metric(target);
        let define = |possible: bool, what: &str| define_if(possible, &prefix, what);
        let (passive, active) = (pool.health.passive.is_some(), pool.health.active.is_some());
        TargetMetrics {
            requests: define_batched(batch, &prefix, "requests"),
            failed: define(passive || pool.balance.is_by_load(), "failed"),
            ejected: define(passive, "ejected"),
            fell: define(active, "fell"),
            recovered: define(passive || active, "recovered"),
        }
    }
}

impl LimitMetrics {
    fn define(batch: &Batch, scope: &str, limit: &RateLimit) -> LimitMetrics {
        let prefix = [scope, ".rate_limit.", limit.name()].concat();
        let is_global = limit.global().is_some();
        let leases = limit.global().is_some_and(|it| it.mode == Mode::Lease);
        let global = |what: &str| is_global.then(|| define_batched(batch, &prefix, what))?;
        LimitMetrics {
            refused: define_batched(batch, &prefix, "refused"),
            shadow: define_batched(batch, &prefix, "shadow"),
            overflow: define_batched(batch, &prefix, "overflow"),
            contended: define(&prefix, "contended"),
            asked: global("asked"),
            asked_refused: global("asked_refused"),
            asked_failed: global("asked_failed"),
            leased: define_if(leases, &prefix, "leased"),
        }
    }
}

impl ProtectMetrics {
    fn of(config: &Config, batch: &Batch) -> Vec<ProtectMetrics> {
        let protects = config.protect.iter();
        let scope = config.scope.metric();
        protects
            .map(|protect| {
                let prefix = [scope, ".protect.", &protect.name].concat();
                let define = |what| define_batched(batch, &prefix, what);
                ProtectMetrics {
                    found: Class::ALL.map(|(word, class)| {
                        protect.rules.detect.has(class).then(|| define(word))?
                    }),
                    blocked: protect.rules.stops.then(|| define("blocked")).flatten(),
                    not_inspected: define("not_inspected"),
                }
            })
            .collect()
    }
}

fn define_batched(batch: &Batch, prefix: &str, what: &str) -> Option<Batched> {
    Some(batch.take_in(define(prefix, what)?))
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

/// So many lines about hits a worker writes in a second: who floods does not fill the log.
const MAX_HITS_LOGGED: u32 = 10;

/// One decision in so many is timed: to time one costs two host calls.
const SAMPLED: u32 = 64;
