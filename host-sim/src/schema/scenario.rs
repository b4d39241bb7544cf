//! A scenario, for `host-sim run`.

use super::{Duration, FileOrConfiguration, HeaderName, VariableName};
use crate::simulation::scenario::limits;
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// Traffic over time, faults, and what is expected. All times are since the beginning.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Scenario of Pointsman")]
pub(super) struct ScenarioFile {
    /// A file, relative to this one; or the configuration itself.
    config: FileOrConfiguration,
    /// Variables that the configuration asks for. Default: those of the process.
    env: Option<BTreeMap<VariableName, String>>,
    /// Of everything that is random. Default: 1.
    #[schemars(extend("default" = 1))]
    seed: Option<u32>,
    /// The proxy's workers. Default: 2.
    #[schemars(range(min = 1, max = limits::MAX_WORKERS), extend("default" = 2))]
    workers: Option<u32>,
    /// How long it takes.
    duration: Duration,
    /// What the proxy does by itself.
    proxy: Option<Proxy>,
    /// How targets work.
    every_target: Option<Model>,
    /// How single targets work: by cluster, or by the address of an endpoint.
    targets: Option<BTreeMap<String, Model>>,
    /// The kinds of traffic.
    #[schemars(length(min = 1, max = limits::MAX_ENTRIES))]
    traffic: Vec<Traffic>,
    /// What goes wrong.
    #[schemars(length(max = limits::MAX_ENTRIES))]
    faults: Option<Vec<Fault>>,
    /// What is expected of the run.
    #[schemars(length(max = limits::MAX_ENTRIES))]
    expect: Option<Vec<Expectation>>,
}

/// What the proxy does by itself.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Proxy {
    /// How long a request may take. Default: 15s.
    #[schemars(extend("default" = "15s"))]
    timeout: Option<Duration>,
    /// How long it may take to open a connection. Default: 1s.
    #[schemars(extend("default" = "1s"))]
    connect_timeout: Option<Duration>,
    /// How often a request is tried again whose connection failed. Default: 2.
    #[schemars(range(min = 0, max = limits::MAX_RETRIES), extend("default" = 2))]
    retries: Option<u32>,
    /// What happens to requests while their worker's VM is dead. Default: reload.
    #[schemars(extend("default" = "reload"))]
    failure_policy: Option<FailurePolicy>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FailurePolicy {
    Reload,
    Closed,
    Open,
}

/// How a target works.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Model {
    /// How long a request takes. Default: exponential with a mean of 10ms.
    service: Option<ServiceTime>,
    /// How long the answer of a probe of its health takes. Default: as `service`.
    probe: Option<ServiceTime>,
    /// How many requests it works on at once. Default: all.
    #[schemars(range(min = 1))]
    concurrency: Option<u32>,
    /// How many wait for that. Default: all.
    queue: Option<u32>,
}

/// A distribution of times: one of these.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
struct ServiceTime {
    /// Always this time.
    constant: Option<Duration>,
    /// Memoryless.
    exponential: Option<Exponential>,
    /// As the latencies of most web services.
    lognormal: Option<Lognormal>,
    /// Heavy-tailed.
    pareto: Option<Pareto>,
}

/// The exponential distribution.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Exponential {
    /// The mean.
    mean: Duration,
}

/// The log-normal distribution.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Lognormal {
    /// Half of the requests take longer.
    median: Duration,
    /// The standard deviation of the logarithm: 0.5 is even, 1 is uneven, 2 is wild.
    #[schemars(range(min = 0, max = 5))]
    sigma: f64,
}

/// The bounded Pareto distribution.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pareto {
    /// The shortest time.
    least: Duration,
    /// The longest time.
    most: Duration,
    /// The tail's exponent: the smaller, the heavier.
    #[schemars(extend("minimum" = 0.1, "maximum" = 10))]
    alpha: f64,
}

/// One kind of traffic.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Traffic {
    /// The name; unique.
    name: String,
    /// Requests per second, or points with straight lines between them.
    rate: Rate,
    /// When it begins. Default: at the beginning.
    from: Option<Duration>,
    /// When it ends. Default: at the end.
    until: Option<Duration>,
    /// How many clients there are, each with an address and a connection. Default: 1000.
    #[schemars(range(min = 1, max = limits::MAX_CLIENTS), extend("default" = 1000))]
    clients: Option<u32>,
    /// After how long a client gives up. Default: never.
    patience: Option<Duration>,
    /// The request.
    request: Request,
}

/// Requests per second, or points in the order of time.
#[derive(JsonSchema)]
#[serde(untagged)]
enum Rate {
    PerSecond(PerSecond),
    Points(Points),
}

/// Requests per second.
#[derive(JsonSchema)]
#[schemars(extend("minimum" = 0, "maximum" = limits::MAX_RATE))]
struct PerSecond(f64);

/// Points with straight lines between them.
#[derive(JsonSchema)]
#[schemars(extend("minItems" = 1, "maxItems" = limits::MAX_ENTRIES))]
struct Points(Vec<RatePoint>);

/// The rate at one time.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct RatePoint {
    /// The time; not earlier than the point before.
    at: Duration,
    /// Requests per second.
    per_second: PerSecond,
}

/// A request; `{client}` in a header's value is the client's number.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The method. Default: GET.
    #[schemars(extend("default" = "GET"))]
    method: Option<String>,
    /// The URL with scheme and host.
    url: String,
    /// The headers, by name.
    #[schemars(extend("maxProperties" = limits::MAX_ENTRIES))]
    headers: Option<BTreeMap<HeaderName, String>>,
}

/// A fault: `at` a time, and one of the others.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 2, "maxProperties" = 4))]
struct Fault {
    /// When it begins.
    at: Duration,
    /// When it ends. Default: with the run.
    until: Option<Duration>,
    /// The target: a cluster, or the address of an endpoint.
    target: Option<String>,
    /// It refuses connections, or all packets are lost.
    down: Option<Down>,
    /// It takes requests and works on none.
    #[schemars(extend("const" = true))]
    hang: Option<bool>,
    /// It is so many times slower.
    #[schemars(extend("minimum" = 0.001, "maximum" = 1_000_000))]
    slow: Option<f64>,
    /// It answers some requests with a status.
    fail: Option<Fail>,
    /// This share of its probes is never answered.
    lose_probes: Option<Share>,
    /// The VM of this worker, counted from 0.
    #[schemars(range(max = limits::MAX_WORKERS - 1))]
    trap: Option<u32>,
    /// The wall clock is set ahead.
    jump: Option<Duration>,
    /// The wall clock is set back.
    back: Option<Duration>,
    /// Another configuration.
    reload: Option<FileOrConfiguration>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Down {
    Refused,
    Silent,
}

/// What a target answers.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fail {
    /// The status.
    #[schemars(range(min = 200, max = 599))]
    status: u32,
    /// The share of the requests. Default: 1.
    #[schemars(extend("default" = 1))]
    share: Option<Share>,
}

/// From 0 to 1.
#[derive(JsonSchema)]
#[schemars(extend("minimum" = 0, "maximum" = 1))]
struct Share(f64);

/// What is expected: one measure with its bounds. `from`, `until`, `traffic` and `target` narrow
/// what is looked at.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 5))]
struct Expectation {
    /// Requests that ended.
    requests: Option<Numbers>,
    /// Requests without an answer, or with a 5xx.
    errors: Option<Numbers>,
    /// The same as a share of all requests.
    error_share: Option<Numbers>,
    /// Requests that a limit refused.
    refused: Option<Numbers>,
    /// The same as a share of all requests.
    refused_share: Option<Numbers>,
    /// Clients that gave up.
    left: Option<Numbers>,
    /// Tries beyond the first.
    retries: Option<Numbers>,
    /// The share of `target` in all requests that were answered by any.
    share: Option<Numbers>,
    /// How far the filter's counts of requests in flight were off.
    miscounted: Option<Numbers>,
    /// The latency that half of the requests do not exceed.
    p50: Option<Times>,
    /// The latency that 90 % of the requests do not exceed.
    p90: Option<Times>,
    /// The latency that 99 % of the requests do not exceed.
    p99: Option<Times>,
    /// The latency that 99.9 % of the requests do not exceed.
    p999: Option<Times>,
    /// Requests that began at this time or later.
    from: Option<Duration>,
    /// Requests that began before this time.
    until: Option<Duration>,
    /// Requests of this kind of traffic.
    traffic: Option<String>,
    /// Requests to this target.
    target: Option<String>,
}

/// Bounds of a number.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
struct Numbers {
    /// Never less.
    #[schemars(extend("minimum" = 0))]
    min: Option<f64>,
    /// Never more.
    #[schemars(extend("minimum" = 0))]
    max: Option<f64>,
}

/// Bounds of a latency.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
struct Times {
    /// Never less.
    min: Option<Duration>,
    /// Never more.
    max: Option<Duration>,
}
