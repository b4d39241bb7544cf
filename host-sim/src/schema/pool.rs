//! The section `pools`.

use super::{Duration, Endpoint, HeaderName, NewPath, Secret};
use pointsman_core::config::limits;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A pool of Envoy clusters, or, with `cluster`, of the endpoints of one.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pool {
    /// How new requests are spread. Default: round_robin.
    #[schemars(extend("default" = "round_robin"))]
    balance: Option<Balance>,
    /// The Envoy cluster whose endpoints are the targets. It must have the override_host policy.
    cluster: Option<String>,
    /// Where requests can go.
    #[schemars(length(min = 1, max = limits::MAX_TARGETS))]
    targets: Vec<Target>,
    /// Clients stay with the target of their first request. By `cookie`, `header` or both.
    sticky: Option<Sticky>,
    /// How the health of the targets is known. Without it every target is healthy.
    health: Option<Health>,
    /// Pools that are tried in this order when this one has no healthy target. Their own lists are
    /// not followed.
    #[schemars(length(max = limits::MAX_FAILOVER))]
    failover: Option<Vec<String>>,
    /// The targets of the region that the client is in go first, then the others.
    prefer_region: Option<PreferRegion>,
    /// How long a new or recovered target takes to get its full share, 0s to 1h. Default: 10s with
    /// least_connections and least_response_time, else 0s.
    slow_start: Option<Duration>,
    /// Of a request with its retries, 0s to 24h; 0s: none. A route's own wins. Default: the proxy's.
    timeout: Option<Duration>,
    /// What is tried again. A route's own wins. Default: as the proxy has it.
    retry: Option<Retry>,
}

/// What is tried again. The conditions of the proxy's own route are added to `on`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// So often at most; 0: never.
    #[schemars(range(min = limits::ATTEMPTS.least, max = limits::ATTEMPTS.most))]
    attempts: u32,
    /// Envoy's words. Default: connect-failure and refused-stream, which suit any request.
    #[schemars(length(min = 1, max = limits::RETRY_ON.len()), extend("default" = default_on()))]
    on: Option<Vec<RetryOn>>,
    /// Of one try, 1ms to 24h. Default: none but that of the whole.
    per_try_timeout: Option<Duration>,
}

fn default_on() -> [&'static str; 2] {
    limits::DEFAULT_RETRY_ON.map(|on| on.word)
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RetryOn {
    #[serde(rename = "5xx")]
    ServerError,
    GatewayError,
    Reset,
    ResetBeforeRequest,
    ConnectFailure,
    RefusedStream,
    #[serde(rename = "retriable-4xx")]
    Retriable4xx,
    EnvoyRatelimited,
    #[serde(rename = "http3-post-connect-failure")]
    Http3PostConnectFailure,
    Cancelled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    Unavailable,
}

/// How new requests are spread.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum Balance {
    /// In turn, at random, by load, or by the client's address.
    Word(BalanceWord),
    /// Each value of a key has its target, in every proxy.
    Hash(BalanceHash),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BalanceWord {
    /// In turn, by weight.
    RoundRobin,
    /// Independent draws, by weight.
    Random,
    /// To the target with the fewest requests in flight for its weight, over all workers.
    LeastConnections,
    /// To the target with the least load and the shortest response time.
    LeastResponseTime,
    /// Each client address has its target.
    IpHash,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BalanceHash {
    /// Each value of the key has its target, in every proxy.
    consistent_hash: ConsistentHash,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsistentHash {
    /// What is hashed: one part of the request, or a list of which the first is taken that the
    /// request has. A request without any is balanced as by round_robin.
    key: HashKey,
    /// How much more than its share of the requests in flight a target may have; what is too much
    /// goes to the next target of its key. Default: no bound.
    bounded_load: Option<LoadFactor>,
}

/// A number from 1.01 to 100, also as a text.
struct LoadFactor;

impl JsonSchema for LoadFactor {
    fn schema_name() -> Cow<'static, str> {
        "LoadFactor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let limits::Bounds { least, most } = limits::BOUNDED_LOAD_PERCENT;
        json_schema!({
            "type": ["number", "string"],
            "description": "A number with at most two decimals; as a text too, which Envoy makes of it.",
            "minimum": f64::from(least) / 100.0,
            "maximum": most / 100,
            "pattern": "^[0-9]+([.][0-9]{1,2})?$",
        })
    }
}

/// What `consistent_hash` hashes.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum HashKey {
    /// A part of the request.
    One(KeyPart),
    /// The first of them that a request has.
    FirstOf(#[schemars(length(min = 1, max = limits::MAX_KEY_PARTS))] Vec<KeyPart>),
}

/// A part of a request.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum KeyPart {
    /// The client's address, or the path without the query.
    Word(KeyWord),
    /// A header, a cookie or a query parameter.
    Named(KeyName),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyWord {
    /// The client's address.
    ClientIp,
    /// The path without the query.
    Path,
}

/// One of header, cookie and query.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct KeyName {
    /// All values of this header.
    header: Option<HeaderName>,
    /// The first value of this cookie.
    cookie: Option<String>,
    /// The first value of this query parameter; its name without percent-encoding.
    query: Option<String>,
}

/// One place where requests can go.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// The name of an Envoy cluster. In a pool of clusters.
    cluster: Option<String>,
    /// `ip:port`, an IPv6 address in brackets. In a pool of endpoints.
    endpoint: Option<Endpoint>,
    /// Unique in the pool; a sticky session belongs to it. Default: the cluster's or endpoint's
    /// own.
    name: Option<String>,
    /// The share of new requests. 0: none, while sticky sessions stay. Default: 1.
    #[schemars(range(min = limits::WEIGHT.least, max = limits::WEIGHT.most), extend("default" = limits::DEFAULT_WEIGHT))]
    weight: Option<u32>,
    /// Whether it takes part. Default: up.
    #[schemars(extend("default" = "up"))]
    state: Option<State>,
    /// A label, for `prefer_region`.
    region: Option<String>,
    /// The most requests in flight, over all workers. A full target is passed over. Default: no
    /// bound.
    #[schemars(range(min = limits::MAX_IN_FLIGHT.least, max = limits::MAX_IN_FLIGHT.most))]
    max_in_flight: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Takes part.
    Up,
    /// Its sticky sessions only, and nothing new.
    Draining,
    /// Nothing at all.
    Down,
}

/// Clients stay with the target of their first request.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sticky {
    /// The session's cookie.
    cookie: Option<StickyCookie>,
    /// For clients without cookies: the hash of this header's value chooses.
    header: Option<HeaderName>,
    /// Base64 of at least 16 random bytes each, written down or in a variable of the proxy's
    /// environment. The first signs, every one verifies. Without keys a client can make a cookie up.
    #[schemars(length(min = 1, max = limits::MAX_KEYS))]
    keys: Option<Vec<Secret>>,
}

/// The session's cookie.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StickyCookie {
    /// The cookie's name.
    name: HeaderName,
    /// Whole seconds, 1s to 9600h. Default: until the browser is closed.
    ttl: Option<Duration>,
    /// Default: `/`.
    #[schemars(extend("default" = limits::DEFAULT_COOKIE_PATH))]
    path: Option<NewPath>,
    /// Whose hosts all get the cookie, such as `example.com`. Default: the host that set it alone.
    #[schemars(length(min = 1))]
    domain: Option<String>,
    /// Over https only. Default: false.
    #[schemars(extend("default" = false))]
    secure: Option<bool>,
    /// Not for scripts. Default: true.
    #[schemars(extend("default" = true))]
    http_only: Option<bool>,
    /// Default: not said. `none` only with `secure`.
    same_site: Option<SameSite>,
    /// One cookie for each site that embeds the host (CHIPS). Only with `secure`. Default: false.
    #[schemars(extend("default" = false))]
    partitioned: Option<bool>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SameSite {
    Strict,
    Lax,
    None,
}

/// How the health of the targets is known: `passive`, `active` or both.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    /// By what becomes of requests.
    passive: Option<Passive>,
    /// By probes, which one worker sends for all.
    active: Option<Active>,
    /// When neither this pool nor one of `failover` has a healthy target. Default: use_all.
    #[schemars(extend("default" = "use_all"))]
    when_all_unhealthy: Option<WhenAllUnhealthy>,
}

/// By what becomes of requests.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Passive {
    /// So many failures in a row eject a target. Default: 5.
    #[schemars(range(min = limits::IN_A_ROW.least, max = limits::IN_A_ROW.most), extend("default" = limits::DEFAULT_CONSECUTIVE_FAILURES))]
    consecutive_failures: Option<u32>,
    /// For how long; that long again for each repetition. 1ms to 24h. Default: 30s.
    #[schemars(extend("default" = limits::duration(limits::DEFAULT_EJECT)))]
    eject: Option<Duration>,
    /// But never for longer. `eject` to 24h. Default: 5m, or `eject`.
    #[schemars(extend("default" = limits::duration(limits::DEFAULT_MAX_EJECT)))]
    max_eject: Option<Duration>,
    /// Of the pool's targets, rounded down, so many are ejected at a time. Default: 50.
    #[schemars(range(min = limits::MAX_EJECTED_PERCENT.least, max = limits::MAX_EJECTED_PERCENT.most), extend("default" = limits::DEFAULT_MAX_EJECTED_PERCENT))]
    max_ejected_percent: Option<u32>,
    /// The statuses of answers that are failures. Default: 500 and 502-504.
    #[schemars(length(min = 1, max = limits::MAX_EXPECTED), extend("default" = default_statuses()))]
    statuses: Option<Vec<Statuses>>,
}

/// `passive.statuses`, as it is written where it is given.
fn default_statuses() -> serde_json::Value {
    let written = limits::DEFAULT_STATUSES.map(|(first, last)| match first == last {
        true => serde_json::Value::from(first),
        false => serde_json::Value::from(format!("{first}-{last}")),
    });
    written.to_vec().into()
}

/// By probes.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["path"] }, { "required": ["grpc"] }]))]
pub(super) struct Active {
    /// What is asked for. Needed, but not with `grpc`.
    #[schemars(regex(pattern = "^/"))]
    path: Option<String>,
    /// Any but CONNECT. Default: GET. With `grpc` always POST.
    #[schemars(extend("default" = limits::DEFAULT_PROBE_METHOD))]
    method: Option<HeaderName>,
    /// Further headers of the probe, each with one value.
    #[schemars(extend("maxProperties" = limits::MAX_HEADERS))]
    headers: Option<BTreeMap<String, String>>,
    /// In place of `path` and `expect`: the standard gRPC health service is asked for this service;
    /// empty: for the server as a whole. Good is SERVING.
    grpc: Option<String>,
    /// The probe's host. Default: the cluster's name.
    host: Option<String>,
    /// From one probe of a target to the next, 10ms to 1h. Default: 10s.
    #[schemars(extend("default" = limits::duration(limits::DEFAULT_INTERVAL)))]
    interval: Option<Duration>,
    /// How long an answer may take, up to `interval`. Default: 1s.
    #[schemars(extend("default" = limits::duration(limits::DEFAULT_TIMEOUT)))]
    timeout: Option<Duration>,
    /// So many good answers in a row make a target healthy. Default: 2.
    #[schemars(range(min = limits::IN_A_ROW.least, max = limits::IN_A_ROW.most), extend("default" = limits::DEFAULT_RISE))]
    rise: Option<u32>,
    /// So many bad ones make it unhealthy. Default: 3.
    #[schemars(range(min = limits::IN_A_ROW.least, max = limits::IN_A_ROW.most), extend("default" = limits::DEFAULT_FALL))]
    fall: Option<u32>,
    /// The statuses of good answers. Default: 200.
    #[schemars(length(min = 1, max = limits::MAX_EXPECTED), extend("default" = [limits::DEFAULT_EXPECT]))]
    expect: Option<Vec<Statuses>>,
    /// What a new target is until its first good probe. Default: healthy.
    #[schemars(extend("default" = "healthy"))]
    initial: Option<Initial>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Initial {
    /// It gets requests at once.
    Healthy,
    /// It gets none, unless no target is healthy.
    Unhealthy,
}

/// A status, or a range of them.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum Statuses {
    /// One status.
    One(#[schemars(range(min = limits::STATUS.least, max = limits::STATUS.most))] u32),
    /// `"200-299"`
    Range(#[schemars(regex(pattern = "^[0-9]{3}-[0-9]{3}$"))] String),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WhenAllUnhealthy {
    /// As if all were healthy.
    UseAll,
    /// The filter answers 503.
    #[serde(rename = "respond_503")]
    Respond503,
}

/// The targets of the region that the client is in go first.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreferRegion {
    /// Tells where the client is.
    header: HeaderName,
    /// Values of the header, with one region or several in their order.
    #[schemars(extend("maxProperties" = limits::MAX_VALUES))]
    map: BTreeMap<String, OneOrMore>,
    /// For every other value, and without the header.
    default: Option<OneOrMore>,
    /// The regions after those. All that are named nowhere come last.
    #[schemars(length(min = 1))]
    order: Option<Vec<String>>,
}

/// A string, or a list of strings.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(#[schemars(length(min = 1))] Vec<String>),
}
