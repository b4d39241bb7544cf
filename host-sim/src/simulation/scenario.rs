//! Scenarios: what to play, and what is expected of the run. A scenario file is read with the
//! configuration's own reader, and refused with every problem at once.
//! `host-sim/README.md` shows the format ("run"), and a test reads what it shows.

mod faults;
mod parse;
mod targets;
mod traffic;

use super::expectation::Expectation;
use super::server::ServerModel;
use crate::environment::Environment;
use crate::exchange::Pairs;
use crate::world::proxy::FailurePolicy;
use pointsman_core::config::Config;
use pointsman_core::time::Nanos;

/// Bounds of what a scenario says.
pub(crate) mod limits {
    /// The most entries of any list: targets, traffic, faults, expectations.
    pub(crate) const MAX_ENTRIES: usize = 1000;
    /// The most workers: as many as a large machine has threads.
    pub(crate) const MAX_WORKERS: u32 = 256;
    /// The most retries: a request's tries are kept in a small array.
    pub(crate) const MAX_RETRIES: u32 = 7;
    /// The most clients of one kind of traffic: their addresses are 10.*k*.*x*.*y*.
    pub(crate) const MAX_CLIENTS: u32 = 1 << 16;
    /// The highest rate, in requests per second.
    pub(crate) const MAX_RATE: f64 = 1e9;
}

/// What to play, and what is expected. All times are since the beginning of the run.
#[derive(Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// The file, as it was named. None: it was no file.
    pub file: Option<String>,
    /// What the file's leading comment tells, without its marks; an empty line parts paragraphs.
    pub story: String,
    /// Pointsman's configuration as JSON.
    pub config: serde_json::Value,
    /// The file of the configuration, as the scenario names it. None: it stands in the scenario.
    pub config_file: Option<String>,
    /// The same, loaded.
    pub loaded: Config,
    /// The variables that it asks for: those of the file, and else of this process.
    pub environment: Environment,
    /// The seed of everything that is random. Default 1.
    pub seed: u64,
    /// The proxy's workers: 1 to 256, default 2.
    pub workers: usize,
    /// How long the run takes; above 0.
    pub duration: Nanos,
    /// The settings of the proxy around the filter.
    pub proxy: ProxySettings,
    /// All targets that any configuration of the scenario names, each once.
    pub targets: Vec<SimulatedTarget>,
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
pub struct SimulatedTarget {
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
    /// The fault for reports: `web-green 10 × slower`.
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

impl FaultKind {
    /// The target that has the fault.
    pub fn target(&self) -> Option<usize> {
        match *self {
            Self::Refused(target)
            | Self::Silent(target)
            | Self::Hang(target)
            | Self::Slow(target, _)
            | Self::Fail(target, ..)
            | Self::LoseProbes(target, _) => Some(target),
            Self::Trap(_) | Self::Jump(_) | Self::Reload(_) => None,
        }
    }
}
