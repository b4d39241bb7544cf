//! The JSON Schema of the configuration, for completion and help in editors: generated from these
//! types, which say what the interface says.
//!
//! The parser decides what a configuration may be; it is written by hand, because it tells all
//! problems at once and where they are. Tests hold the schema to it: the same keys everywhere, and
//! what the parser takes the schema takes. The schema says less where JSON Schema is clumsy (names
//! that must be defined, sums, one key that forbids another).
#![allow(dead_code, reason = "the types are only described, never built")]

use pointsman_core::config::limits;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The schema, by draft 2020-12.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
    settings
        .into_generator()
        .into_root_schema_for::<Configuration>()
}

/// What need not be given is left out; it is never null.
fn without_null(schema: &mut Schema) {
    let is_null =
        |value: &Value| value == "null" || value.get("type").is_some_and(|kind| kind == "null");
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| !is_null(kind));
        if let [kind] = &kinds[..] {
            let kind = kind.clone();
            object.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(any)) = object.get_mut("anyOf") {
        any.retain(|schema| !is_null(schema));
        if let [Value::Object(only)] = &any[..] {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
    // A default of null only says that there is none.
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
}

/// A string of this pattern.
macro_rules! text {
    ($(#[doc = $doc:literal])+ $name:ident, $pattern:literal) => {
        $(#[doc = $doc])+
        struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": concat!($($doc),+), "pattern": $pattern })
            }
        }
    };
}

text!(
    /// A duration: `250ms`, `3s`, `1m`, `1h`.
    Duration,
    "^[0-9]+(ms|s|m|h)$"
);
text!(
    /// A header name.
    HeaderName,
    "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
);
text!(
    /// A header name, or a pseudo-header such as `:method`.
    HeaderOrPseudo,
    "^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
);
text!(
    /// A path that starts with `/`; it is compared without the query.
    MatchedPath,
    "^/[^?]*$"
);
text!(
    /// A path that starts with `/`, without query, fragment and blanks.
    NewPath,
    "^/"
);

/// Pointsman's configuration.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Pointsman")]
struct Configuration {
    /// The two request headers that tell the proxy what was chosen.
    upstream: Option<Upstream>,
    /// Who the client is. Default: the connection's source address.
    client_ip: Option<ClientIp>,
    /// Where requests can go, by name.
    #[schemars(extend("maxProperties" = limits::MAX_POOLS))]
    pools: Option<BTreeMap<String, Pool>>,
    /// Limits that routes name: each a bucket of `burst` requests that refills at `requests` per
    /// `per`, for all workers together.
    #[schemars(extend("maxProperties" = limits::MAX_LIMITS))]
    rate_limits: Option<BTreeMap<String, RateLimit>>,
    /// A hard bound on the memory of all limits together.
    rate_limit_table: Option<RateLimitTable>,
    /// The first route that matches wins.
    #[schemars(length(max = limits::MAX_ROUTES))]
    routes: Option<Vec<Route>>,
    /// What happens when nothing matches. Default: respond with 404.
    no_route: Option<NoRoute>,
    /// A request that carries the token in this header is told in the response what was decided.
    /// Off unless given.
    explain: Option<Explain>,
}

/// The two request headers that tell the proxy what was chosen.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Upstream {
    /// For the route's `cluster_header`. Default: `x-pointsman-cluster`.
    #[schemars(extend("default" = limits::DEFAULT_CLUSTER_HEADER))]
    cluster_header: Option<HeaderName>,
    /// For the cluster's `override_host` policy. Default: `x-pointsman-endpoint`.
    #[schemars(extend("default" = limits::DEFAULT_ENDPOINT_HEADER))]
    endpoint_header: Option<HeaderName>,
}

/// Who the client is.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClientIp {
    /// The header that trusted proxies append to; anybody can write it.
    header: HeaderName,
    /// Which address of the header, counted from the right. Default: 1.
    #[schemars(range(min = limits::TRUSTED_HOPS.least, max = limits::TRUSTED_HOPS.most), extend("default" = limits::DEFAULT_TRUSTED_HOPS))]
    trusted_hops: Option<u32>,
}

/// A pool of Envoy clusters, or, with `cluster`, of the endpoints of one.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pool {
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
}

/// How new requests are spread.
#[derive(JsonSchema)]
#[serde(untagged)]
enum Balance {
    /// In turn, at random, by load, or by the client's address.
    Word(BalanceWord),
    /// Each value of a key has its target, in every proxy.
    Hash(BalanceHash),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum BalanceWord {
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
struct BalanceHash {
    /// Each value of the key has its target, in every proxy.
    consistent_hash: ConsistentHash,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConsistentHash {
    /// What is hashed. A request without it is balanced as by round_robin.
    key: KeyPart,
}

/// A part of a request.
#[derive(JsonSchema)]
#[serde(untagged)]
enum KeyPart {
    /// The client's address, or the path without the query.
    Word(KeyWord),
    /// A header, a cookie or a query parameter.
    Named(KeyName),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum KeyWord {
    /// The client's address.
    ClientIp,
    /// The path without the query.
    Path,
}

/// A part of a request that tells clients apart.
#[derive(JsonSchema)]
#[serde(untagged)]
enum LimitKeyPart {
    /// The client's network, or a part of the request or of what it meets.
    Word(LimitKeyWord),
    /// A network of another size, a header, a cookie or a query parameter.
    Named(LimitKeyName),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum LimitKeyWord {
    /// The client's IPv4 address, or its IPv6 /64.
    ClientIp,
    /// The host without its port, without case.
    Host,
    /// The path without the query.
    Path,
    /// The method.
    Method,
    /// The name of the route.
    Route,
}

/// One of client_ip, header, cookie and query.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
struct LimitKeyName {
    /// The client's network.
    client_ip: Option<ClientNetwork>,
    /// All values of this header.
    header: Option<HeaderName>,
    /// The first value of this cookie.
    cookie: Option<String>,
    /// The first value of this query parameter; its name without percent-encoding.
    query: Option<String>,
}

/// The lengths of a network's prefix.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct ClientNetwork {
    /// Of an IPv4 address. Default: 32.
    #[schemars(range(min = limits::V4_PREFIX.least, max = limits::V4_PREFIX.most), extend("default" = limits::DEFAULT_V4_PREFIX))]
    v4: Option<u32>,
    /// Of an IPv6 address. Default: 64.
    #[schemars(range(min = limits::V6_PREFIX.least, max = limits::V6_PREFIX.most), extend("default" = limits::DEFAULT_V6_PREFIX))]
    v6: Option<u32>,
}

/// One of header, cookie and query.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
struct KeyName {
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
struct Target {
    /// The name of an Envoy cluster. In a pool of clusters.
    cluster: Option<String>,
    /// `ip:port`, an IPv6 address in brackets. In a pool of endpoints.
    endpoint: Option<String>,
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
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum State {
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
struct Sticky {
    /// The session's cookie.
    cookie: Option<StickyCookie>,
    /// For clients without cookies: the hash of this header's value chooses.
    header: Option<HeaderName>,
    /// Base64 of at least 16 random bytes each. The first signs, every one verifies. Without keys a
    /// client can make a cookie up.
    #[schemars(length(min = 1, max = limits::MAX_KEYS))]
    keys: Option<Vec<String>>,
}

/// The session's cookie.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct StickyCookie {
    /// The cookie's name.
    name: HeaderName,
    /// Whole seconds, 1s to 9600h. Default: until the browser is closed.
    ttl: Option<Duration>,
    /// Default: `/`.
    #[schemars(extend("default" = limits::DEFAULT_COOKIE_PATH))]
    path: Option<NewPath>,
    /// Over https only. Default: false.
    #[schemars(extend("default" = false))]
    secure: Option<bool>,
    /// Not for scripts. Default: true.
    #[schemars(extend("default" = true))]
    http_only: Option<bool>,
    /// Default: not said. `none` only with `secure`.
    same_site: Option<SameSite>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SameSite {
    Strict,
    Lax,
    None,
}

/// How the health of the targets is known: `passive`, `active` or both.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Health {
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
struct Passive {
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
struct Active {
    /// What is asked for, with GET.
    #[schemars(regex(pattern = "^/"))]
    path: String,
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
}

/// A status, or a range of them.
#[derive(JsonSchema)]
#[serde(untagged)]
enum Statuses {
    /// One status.
    One(#[schemars(range(min = limits::STATUS.least, max = limits::STATUS.most))] u32),
    /// `"200-299"`
    Range(#[schemars(regex(pattern = "^[0-9]{3}-[0-9]{3}$"))] String),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WhenAllUnhealthy {
    /// As if all were healthy.
    UseAll,
    /// The filter answers 503.
    #[serde(rename = "respond_503")]
    Respond503,
}

/// The targets of the region that the client is in go first.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct PreferRegion {
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
enum OneOrMore {
    One(String),
    More(#[schemars(length(min = 1))] Vec<String>),
}

/// A limit: a bucket of `burst` requests that refills at `requests` per `per`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct RateLimit {
    /// How many requests `per` time.
    #[schemars(range(min = limits::REQUESTS.least, max = limits::REQUESTS.most))]
    requests: u32,
    /// 1ms to 8784h.
    per: Duration,
    /// The size of the bucket. Default: `requests`.
    #[schemars(range(min = limits::REQUESTS.least, max = limits::REQUESTS.most))]
    burst: Option<u32>,
    /// What tells clients apart. An empty list: one bucket for all.
    #[schemars(length(max = limits::MAX_KEY_PARTS))]
    key: Vec<LimitKeyPart>,
    /// Count, never refuse. Default: false.
    #[schemars(extend("default" = false))]
    shadow: Option<bool>,
}

/// A hard bound on the memory of all limits together.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct RateLimitTable {
    /// Past the bound whoever holds the most keys makes room. Shadow limits have as many again.
    /// Default: 65536.
    #[schemars(range(min = limits::MAX_TABLE_KEYS.least, max = limits::MAX_TABLE_KEYS.most), extend("default" = limits::DEFAULT_TABLE_KEYS))]
    max_keys: Option<u32>,
}

/// A route, with exactly one action: `pool`, `split`, `redirect`, `respond` or `pass`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// Unique; in logs, metrics and answers.
    #[schemars(length(min = 1, max = limits::MAX_NAME))]
    name: String,
    /// A block of conditions that must all hold, or a list of such blocks: any of them. Without it:
    /// every request.
    r#match: Option<Match>,
    /// The names of limits; all must admit the request.
    #[schemars(length(max = limits::MAX_ROUTE_LIMITS))]
    rate_limits: Option<Vec<String>>,
    /// Edits of the request: remove, then set, then add.
    request_headers: Option<Edits>,
    /// Edits of the response, the filter's own answers included.
    response_headers: Option<Edits>,
    /// What the upstream sees; the query stays.
    rewrite: Option<Rewrite>,
    /// Action: send the request to this pool.
    pool: Option<String>,
    /// Action: send the request to one of several pools, by weight.
    #[schemars(length(min = 1, max = limits::MAX_PARTS))]
    split: Option<Vec<Part>>,
    /// Action: redirect. What is not given is taken from the request, its query included.
    redirect: Option<Redirect>,
    /// Action: answer.
    respond: Option<Respond>,
    /// Action: leave the request to the proxy's own routes, untouched.
    #[schemars(extend("const" = true))]
    pass: Option<bool>,
}

/// A block of conditions, or a list of blocks: any of them.
#[derive(JsonSchema)]
#[serde(untagged)]
enum Match {
    One(Block),
    Any(#[schemars(length(min = 1, max = limits::MAX_ITEMS))] Vec<Block>),
}

/// Conditions that must all hold.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Block {
    /// Any of these. Without case and port. `*.` is one or more labels, `*` any host.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    hosts: Option<Vec<String>>,
    /// The path, without the query.
    path: Option<Path>,
    /// Compare the path without the case of the letters A to Z. Default: false.
    #[schemars(extend("default" = false))]
    ignore_case: Option<bool>,
    /// The scheme.
    scheme: Option<Scheme>,
    /// Any of these. By case.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    methods: Option<Vec<HeaderName>>,
    /// All of these.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    headers: Option<Vec<HeaderCondition>>,
    /// All of these.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    cookies: Option<Vec<Condition>>,
    /// All of these. Names and values are compared after percent-decoding.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    query: Option<Vec<Condition>>,
    /// Any of these networks or addresses.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    client_ip: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Scheme {
    Http,
    Https,
}

/// One of exact, prefix, regex and template.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Path {
    /// This path.
    exact: Option<MatchedPath>,
    /// Whole segments: `/a` and `/a/` both match `/a` and `/a/b`, not `/ab`.
    prefix: Option<MatchedPath>,
    /// The whole path, in the syntax of Rust's regex crate.
    regex: Option<String>,
    /// `{id}` is one segment that is not empty, `{rest=**}` (at the end) all that follows.
    template: Option<MatchedPath>,
    /// Compare without the case of the letters A to Z. Default: false.
    #[schemars(extend("default" = false))]
    ignore_case: Option<bool>,
}

/// A condition on the values of a header: its name, and one of exact, prefix, suffix, contains,
/// regex and present.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct HeaderCondition {
    /// Compares without case.
    name: HeaderOrPseudo,
    /// Exactly this.
    exact: Option<String>,
    /// Starts so.
    prefix: Option<String>,
    /// Ends so.
    suffix: Option<String>,
    /// Has this somewhere.
    contains: Option<String>,
    /// Matches as a whole, in the syntax of Rust's regex crate.
    regex: Option<String>,
    /// Is there, or is not.
    present: Option<bool>,
    /// Ask for the opposite: no value may match. Default: false.
    #[schemars(extend("default" = false))]
    invert: Option<bool>,
}

/// A condition on the values of a name, and one of exact, prefix, suffix, contains, regex and
/// present.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// Compares by case.
    #[schemars(length(min = 1))]
    name: String,
    /// Exactly this.
    exact: Option<String>,
    /// Starts so.
    prefix: Option<String>,
    /// Ends so.
    suffix: Option<String>,
    /// Has this somewhere.
    contains: Option<String>,
    /// Matches as a whole, in the syntax of Rust's regex crate.
    regex: Option<String>,
    /// Is there, or is not.
    present: Option<bool>,
    /// Ask for the opposite: no value may match. Default: false.
    #[schemars(extend("default" = false))]
    invert: Option<bool>,
}

/// Edits of headers: remove, then set, then add.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Edits {
    /// Names; all values of each go.
    #[schemars(length(max = limits::MAX_HEADERS))]
    remove: Option<Vec<HeaderName>>,
    /// What was there is replaced. A value is a string or a list of strings.
    #[schemars(extend("maxProperties" = limits::MAX_HEADERS))]
    set: Option<BTreeMap<String, OneOrMore>>,
    /// Values are added to what is there.
    #[schemars(extend("maxProperties" = limits::MAX_HEADERS))]
    add: Option<BTreeMap<String, OneOrMore>>,
}

/// One of path_prefix, path and path_regex; and `host`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rewrite {
    /// Replaces the prefix that matched: every block of the match must have one.
    path_prefix: Option<NewPath>,
    /// The whole path; `{id}` is what the template of every block took.
    path: Option<NewPath>,
    /// Searches, and replaces every match.
    path_regex: Option<PathRegex>,
    /// The new host, with a port if one is wanted.
    host: Option<String>,
}

/// Searches, and replaces every match.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct PathRegex {
    /// In the syntax of Rust's regex crate.
    pattern: String,
    /// `\1` is what group 1 matched, `\0` the match, `\\` a backslash.
    substitution: String,
}

/// A part of a split.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// The name of a pool.
    pool: String,
    /// Its share of new requests. Default: 1.
    #[schemars(range(min = limits::WEIGHT.least, max = limits::WEIGHT.most), extend("default" = limits::DEFAULT_WEIGHT))]
    weight: Option<u32>,
    /// Edits beside the route's own, applied after them.
    request_headers: Option<Edits>,
    /// Edits beside the route's own, applied after them.
    response_headers: Option<Edits>,
}

/// What is not given is taken from the request.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Redirect {
    /// A new one drops the request's port.
    scheme: Option<Scheme>,
    /// Without a port. A new one drops the request's port.
    host: Option<String>,
    /// The scheme's own is not written.
    #[schemars(range(min = limits::PORT.least, max = limits::PORT.most))]
    port: Option<u32>,
    /// The whole path; `{id}` is what the template of every block took.
    path: Option<NewPath>,
    /// Replaces the prefix that matched: every block of the match must have one.
    path_prefix: Option<NewPath>,
    /// Searches, and replaces every match.
    path_regex: Option<PathRegex>,
    /// Default: 302. A permanent one should be asked for.
    #[schemars(extend("enum" = limits::REDIRECT_STATUSES), extend("default" = limits::DEFAULT_REDIRECT_STATUS))]
    status: Option<u32>,
}

/// An answer of the filter's own.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Respond {
    /// The status.
    #[schemars(range(min = limits::STATUS.least, max = limits::STATUS.most))]
    status: u32,
    /// Up to 64 KiB. Default: empty.
    #[schemars(extend("default" = ""))]
    body: Option<String>,
    /// With a body and no content-type it is text/plain.
    #[schemars(extend("maxProperties" = limits::MAX_HEADERS))]
    headers: Option<BTreeMap<String, OneOrMore>>,
}

/// What happens when nothing matches: `respond`, or `pass`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoRoute {
    /// Answer.
    respond: Option<Respond>,
    /// Leave the request to the proxy's own routes.
    #[schemars(extend("const" = true))]
    pass: Option<bool>,
}

/// A request that carries the token in this header is told in the response what was decided.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Explain {
    /// Carries the token in the request and the decision in the response.
    header: HeaderName,
    /// The secret, without `;`.
    #[schemars(length(min = 1))]
    token: String,
}

#[cfg(test)]
mod tests;
