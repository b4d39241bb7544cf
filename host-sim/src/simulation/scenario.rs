//! Scenarios: what to play, and what is expected of the run. A scenario file is read with the
//! configuration's own reader, and refused with every problem at once.
//!
//! ```yaml
//! config: shop.yaml        # relative to this file; or the configuration itself
//! seed: 1                  # of everything that is random. Default 1
//! workers: 2               # the proxy's. Default 2
//! duration: 60s
//! proxy:                   # the defaults are those of envoy-config/
//!   { timeout: 15s, connect_timeout: 1s, retries: 2, failure_policy: reload }
//! every_target:
//!   service: { lognormal: { median: 20ms, sigma: 0.5 } }
//!   probe: { constant: 1ms }
//!   concurrency: 64
//!   queue: 1000
//! targets:                 # by cluster, or by the address of an endpoint
//!   web-green: { service: { exponential: { mean: 30ms } } }
//! traffic:
//!   - name: shoppers
//!     # A number, or points between which the rate is interpolated.
//!     rate: [{ at: 0s, per_second: 100 }, { at: 20s, per_second: 900 }]
//!     from: 0s
//!     until: 60s
//!     clients: 500         # each with its own address, connection and thus worker. Default 1000
//!     patience: 5s         # a client gives up after so long. Default: never
//!     request:
//!       { method: GET, url: "http://shop.example.com/", headers: { x-client: "{client}" } }
//! faults:                  # each has `at`; most may have `until`, else they last to the end
//!   # Connections are refused; with `silent` they, and requests, get no answer.
//!   - { at: 20s, until: 40s, target: web-blue, down: refused }
//!   # Requests are accepted, and none is served.
//!   - { at: 20s, until: 40s, target: web-blue, hang: true }
//!   # All that is served takes ten times as long.
//!   - { at: 20s, until: 40s, target: web-blue, slow: 10 }
//!   - { at: 20s, until: 40s, target: web-blue, fail: { status: 500, share: 0.3 } }
//!   # Half of the probes get no answer.
//!   - { at: 20s, until: 40s, target: web-blue, lose_probes: 0.5 }
//!   - { at: 30s, trap: 0 }            # the VM of this worker traps
//!   - { at: 30s, jump: 1h }           # the wall clock; `back: 1h` sets it back
//!   - { at: 30s, reload: other.yaml } # or the configuration itself
//! expect:                  # see `measure`; `from`, `until`, `traffic` and `target` select requests
//!   - { errors: { max: 0 }, from: 21s }
//!   - { share: { min: 0.08, max: 0.12 }, target: web-green }
//!   - { p99: { max: 300ms }, traffic: shoppers }
//! ```

mod faults;
mod parse;
mod targets;
mod traffic;

use super::expectation::Expectation;
use super::server::ServerModel;
use crate::exchange::Pairs;
use crate::world::proxy::FailurePolicy;
use pointsman_core::config::Config;
use pointsman_core::time::Nanos;

/// The most entries of any list: targets, traffic, faults, expectations.
const MAX_ENTRIES: usize = 1000;

/// What to play, and what is expected. All times are since the beginning of the run.
#[derive(Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// Pointsman's configuration as JSON.
    pub config: serde_json::Value,
    /// The same, loaded.
    pub loaded: Config,
    /// The seed of everything that is random. Default 1.
    pub seed: u64,
    /// The proxy's workers: 1 to 256, default 2.
    pub workers: usize,
    /// How long the run takes; above 0.
    pub duration: Nanos,
    /// The settings of the proxy around the filter.
    pub proxy: ProxySettings,
    /// All targets that any configuration of the scenario names, each once.
    pub targets: Vec<Target>,
    /// The kinds of traffic in the order of the file; at least one.
    pub traffic: Vec<Traffic>,
    /// The faults in the order of the file.
    pub faults: Vec<ScheduledFault>,
    /// The expectations in the order of the file.
    pub expect: Vec<Expectation>,
}

/// The settings of the proxy around the filter. The defaults are what `envoy-config/` ships.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProxySettings {
    /// How long a request may take. Default 15 s.
    pub timeout: Nanos,
    /// How long it may take to open a connection. Default 1 s.
    pub connect_timeout: Nanos,
    /// How often a request is retried whose connection failed: 0 to 7, default 2.
    pub retries: usize,
    /// What happens to requests while their worker's VM is dead. Default: reload.
    pub failure_policy: FailurePolicy,
}

/// A target.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The address of an endpoint, or else the name of a cluster.
    pub name: String,
    /// The clusters that it belongs to: its own, or those that have the endpoint.
    pub clusters: Vec<String>,
    /// Whether it is an endpoint.
    pub is_endpoint: bool,
    /// What the names of its metrics begin with, for each pool that has it.
    pub metric_prefixes: Vec<String>,
    /// How it works.
    pub model: ServerModel,
}

/// One kind of traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// The name; unique in the scenario.
    pub name: String,
    /// The points of the rate in the order of time; at least one.
    pub rate: Vec<RatePoint>,
    /// When the traffic begins.
    pub from: Nanos,
    /// When the traffic ends.
    pub until: Nanos,
    /// How many clients there are: 1 to 65,536, default 1000.
    pub clients: u32,
    /// After how long a client gives up. None: never.
    pub patience: Option<Nanos>,
    /// The request, with `{client}` for the client's number in the values of headers.
    pub headers: Pairs,
}

/// The rate of arrivals at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePoint {
    /// The time.
    pub at: Nanos,
    /// Requests per second.
    pub per_second: f64,
}

/// A fault, and when it happens.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledFault {
    /// When the fault begins.
    pub at: Nanos,
    /// When the fault ends. None: with the run, or it is over at once.
    pub until: Option<Nanos>,
    /// What happens.
    pub kind: FaultKind,
    /// The fault for reports: `web-green slow 10`.
    pub label: String,
}

/// A kind of fault. Targets are positions in [`Scenario::targets`], shares are from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// The target refuses connections.
    Refused(usize),
    /// The target's network drops all packets.
    Silent(usize),
    /// The target accepts requests and serves none.
    Hang(usize),
    /// The target's service times are multiplied by this.
    Slow(usize, f64),
    /// The target answers with this status, this share of the requests.
    Fail(usize, u16, f64),
    /// The target answers this share of its probes never.
    LoseProbes(usize, f64),
    /// The VM of this worker traps.
    Trap(usize),
    /// The wall clock jumps by so many nanoseconds, backwards too.
    Jump(i64),
    /// The proxy gets another configuration: JSON.
    Reload(Vec<u8>),
}
