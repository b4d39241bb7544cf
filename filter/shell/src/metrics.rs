//! What operators count. In an Envoy these are `wasmcustom.pointsman.…` in `/stats`.

use crate::host::{self, Counter, Level};
use pointsman_core::config::Config;
use pointsman_core::decide::Event;
use pointsman_core::in_flight;
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
            increment(match event {
                Event::RateLimit(rate_limit::Event::Refused(limit)) => of(limit, |limit| limit.refused),
                Event::RateLimit(rate_limit::Event::Shadow(limit)) => of(limit, |limit| limit.shadow),
                Event::RateLimit(rate_limit::Event::Overflow(limit)) => of(limit, |limit| limit.overflow),
                Event::RateLimit(rate_limit::Event::Contended(limit)) => of(limit, |limit| limit.contended),
                Event::RateLimit(rate_limit::Event::Retry) => self.shared_retried,
                Event::RateLimit(rate_limit::Event::StoreFailed) => self.shared_failed,
                Event::Health(_) => None,
                Event::InFlight(in_flight::Event::NoGauges | in_flight::Event::NoSlot) => self.in_flight_local,
                Event::InFlight(in_flight::Event::Reaped(_)) => self.in_flight_reaped,
                Event::InFlight(in_flight::Event::Revived) => self.in_flight_revived,
            });
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
