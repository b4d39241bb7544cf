//! What operators count. In an Envoy these are `wasmcustom.pointsman.…` in `/stats`.

use crate::host::{self, Counter, Level};
use pointsman_core::config::Config;
use pointsman_core::decide::{Event, Reason};
use pointsman_core::health::Change;
use pointsman_core::in_flight;
use pointsman_core::pool::Pool;
use pointsman_core::rate_limit;

/// The counters of one root context. A counter that the host would not define is not counted.
pub struct Metrics {
    request_failed: Option<Counter>,
    response_failed: Option<Counter>,
    shared_retried: Option<Counter>,
    shared_failed: Option<Counter>,
    /// Workers that found no gauges, or no slot, and go by their own counts.
    in_flight_local: Option<Counter>,
    /// Dead workers whose requests were taken back.
    in_flight_reaped: Option<Counter>,
    /// Workers that were taken for dead, and were not.
    in_flight_revived: Option<Counter>,
    rate_limits: Vec<RateLimit>,
    pools: Vec<PoolCounters>,
}

/// The counters of one pool: `pointsman.pool.<name>.…`. What the pool's configuration cannot bring about has none.
struct PoolCounters {
    /// Targets that failures of requests ejected.
    ejected: Option<Counter>,
    /// Targets that probes found down.
    fell: Option<Counter>,
    /// Targets that are back.
    recovered: Option<Counter>,
    /// Requests for this pool that went to one of its `failover`.
    failover: Option<Counter>,
    /// Clients whose target is unhealthy or down, and who have a new one.
    repin: Option<Counter>,
    /// Requests that went to an unhealthy target, because all are.
    use_all: Option<Counter>,
    /// Requests answered with 503, because no target takes them.
    no_target: Option<Counter>,
}

/// The counters of one limit: `pointsman.rate_limit.<name>.…`
struct RateLimit {
    refused: Option<Counter>,
    /// Requests that a shadow let pass.
    shadow: Option<Counter>,
    /// Requests whose client found no slot of its own.
    overflow: Option<Counter>,
    /// Requests decided without the record, because other workers were always faster.
    contended: Option<Counter>,
}

impl Metrics {
    /// Defines every counter that this configuration can raise.
    pub fn define(config: &Config) -> Metrics {
        let limits = config.rate_limits.iter();
        Metrics {
            request_failed: define("pointsman.request.failed"),
            response_failed: define("pointsman.response.failed"),
            shared_retried: define("pointsman.shared.retried"),
            shared_failed: define("pointsman.shared.failed"),
            in_flight_local: define("pointsman.in_flight.local"),
            in_flight_reaped: define("pointsman.in_flight.reaped"),
            in_flight_revived: define("pointsman.in_flight.revived"),
            rate_limits: limits
                .map(|limit| {
                    let define = |what: &str| define(&["pointsman.rate_limit.", &limit.name, ".", what].concat());
                    RateLimit {
                        refused: define("refused"),
                        shadow: define("shadow"),
                        overflow: define("overflow"),
                        contended: define("contended"),
                    }
                })
                .collect(),
            pools: config.pools.iter().map(|pool| PoolCounters::define(pool)).collect(),
        }
    }

    /// A request that could not be decided.
    pub fn request_failed(&self) {
        increment(self.request_failed);
    }

    /// A response that could not be edited.
    pub fn response_failed(&self) {
        increment(self.response_failed);
    }

    /// What happened in a decision.
    pub fn count(&self, events: impl Iterator<Item = Event>) {
        for event in events {
            let of = |limit: usize, counter: fn(&RateLimit) -> Option<Counter>| {
                self.rate_limits.get(limit).and_then(counter)
            };
            let pool =
                |pool: usize, counter: fn(&PoolCounters) -> Option<Counter>| self.pools.get(pool).and_then(counter);
            increment(match event {
                Event::RateLimit(rate_limit::Event::Refused(limit)) => of(limit, |limit| limit.refused),
                Event::RateLimit(rate_limit::Event::Shadow(limit)) => of(limit, |limit| limit.shadow),
                Event::RateLimit(rate_limit::Event::Overflow(limit)) => of(limit, |limit| limit.overflow),
                Event::RateLimit(rate_limit::Event::Contended(limit)) => of(limit, |limit| limit.contended),
                Event::RateLimit(rate_limit::Event::Retry) => self.shared_retried,
                Event::RateLimit(rate_limit::Event::StoreFailed) => self.shared_failed,
                Event::Health(health) => match health.what {
                    Change::Ejected => pool(health.pool, |pool| pool.ejected),
                    Change::Fell => pool(health.pool, |pool| pool.fell),
                    Change::Recovered => pool(health.pool, |pool| pool.recovered),
                },
                Event::Strayed(strayed) => match strayed.reason {
                    Reason::Failover => pool(strayed.pool, |pool| pool.failover),
                    Reason::Repin => pool(strayed.pool, |pool| pool.repin),
                    Reason::UseAll => pool(strayed.pool, |pool| pool.use_all),
                    _ => pool(strayed.pool, |pool| pool.no_target),
                },
                Event::InFlight(in_flight::Event::NoGauges | in_flight::Event::NoSlot) => self.in_flight_local,
                Event::InFlight(in_flight::Event::Reaped(_)) => self.in_flight_reaped,
                Event::InFlight(in_flight::Event::Revived) => self.in_flight_revived,
            });
        }
    }
}

impl PoolCounters {
    fn define(pool: &Pool) -> PoolCounters {
        let define = |possible: bool, what: &str| {
            possible.then(|| define(&["pointsman.pool.", &pool.name, ".", what].concat()))?
        };
        let (passive, active) = (pool.health.passive.is_some(), pool.health.active.is_some());
        PoolCounters {
            ejected: define(passive, "ejected"),
            fell: define(active, "fell"),
            recovered: define(passive || active, "recovered"),
            failover: define(!pool.failover.is_empty(), "failover"),
            repin: define(pool.sticky.is_some(), "repin"),
            use_all: define(passive || active || !pool.failover.is_empty(), "use_all"),
            no_target: define(true, "no_target"),
        }
    }
}

fn define(name: &str) -> Option<Counter> {
    let defined = host::define_counter(name);
    if let Err(status) = defined {
        host::log(Level::Warn, &format!("the counter {name} is not there: {status}"));
    }
    defined.ok()
}

fn increment(counter: Option<Counter>) {
    // A count that is lost must not cost the request.
    let _ = counter.map(|counter| host::increment(counter, 1));
}
