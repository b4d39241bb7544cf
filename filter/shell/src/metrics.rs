//! What operators count. In an Envoy these are `wasmcustom.pointsman.…` in `/stats`.

use crate::host::{self, Counter, Level};
use pointsman_core::config::Config;
use pointsman_core::rate_limit::Event;

/// The counters of one root context. A counter that the host would not define is not counted.
pub struct Metrics {
    request_failed: Option<Counter>,
    response_failed: Option<Counter>,
    rate_limits: Vec<RateLimit>,
}

/// The counters of one limit: `pointsman.rate_limit.<name>.…`
struct RateLimit {
    refused: Option<Counter>,
}

impl Metrics {
    /// Defines every counter that this configuration can raise.
    pub fn define(config: &Config) -> Metrics {
        let limits = config.rate_limits.iter();
        Metrics {
            request_failed: define("pointsman.request.failed"),
            response_failed: define("pointsman.response.failed"),
            rate_limits: limits
                .map(|limit| {
                    let define = |what: &str| define(&["pointsman.rate_limit.", &limit.name, ".", what].concat());
                    RateLimit {
                        refused: define("refused"),
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
            increment(match event {
                Event::Refused(limit) => self.rate_limits.get(limit).and_then(|limit| limit.refused),
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
