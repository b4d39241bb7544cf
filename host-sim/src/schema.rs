//! The JSON Schemas of the configuration, of files of tests and of scenarios, for completion and
//! help in editors: generated from these types, which say what the interface says.
//!
//! The parser decides what a configuration may be; it is written by hand, because it tells all
//! problems at once and where they are. Tests hold the schema to it: the same keys everywhere, and
//! what the parser takes the schema takes. The schema says less where JSON Schema is clumsy (names
//! that must be defined, sums, one key that forbids another).
#![allow(dead_code, reason = "the types are only described, never built")]

mod expected;
mod pool;
mod protect;
mod route;
mod scenario;
mod test_file;

use self::pool::Pool;
use self::protect::Protect;
use self::route::{Respond, Route};
use self::scenario::ScenarioFile;
use self::test_file::TestFile;
use pointsman_core::config::limits;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A kind of file that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Pointsman's configuration.
    Configuration,
    /// A file of tests.
    Test,
    /// A scenario.
    Scenario,
}

/// The schema, by draft 2020-12.
pub fn schema(of: Of) -> Schema {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_null));
    let generator = settings.into_generator();
    let (mut schema, name) = match of {
        Of::Configuration => (
            generator.into_root_schema_for::<Configuration>(),
            "configuration",
        ),
        Of::Test => (generator.into_root_schema_for::<TestFile>(), "test"),
        Of::Scenario => (generator.into_root_schema_for::<ScenarioFile>(), "scenario"),
    };
    // It has no address of its own; by this name editors tell it from others.
    schema.insert(
        "$id".to_owned(),
        json!(format!("urn:pointsman:schema:{name}")),
    );
    schema
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
    /// A number of bytes: `512B`, `8KiB`, `1MiB`.
    Size,
    "^[0-9]+(B|KiB|MiB)$"
);
text!(
    /// A name of up to 64 letters, digits, `-` and `_`.
    ScopeName,
    "^[0-9A-Za-z_-]{1,64}$"
);
text!(
    /// A secret that is written down.
    SecretText,
    "."
);
text!(
    /// The name of a variable: capital letters, digits and `_`.
    VariableName,
    "^[A-Z_][A-Z0-9_]*$"
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

text!(
    /// A host without its port; `*.` is one or more labels, `*` any host.
    HostPattern,
    r"^(\*|(\*\.)?([0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]+\]))$"
);
text!(
    /// An address, or a network such as `10.0.0.0/8`.
    Network,
    "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"
);
text!(
    /// `ip:port`, an IPv6 address in brackets.
    Endpoint,
    r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$"
);

/// That exactly one of these keys is there.
fn one_of(keys: &[&str]) -> Value {
    let each = keys.iter().map(|key| json!({ "required": [key] }));
    each.collect()
}

/// The name of a file, or the configuration itself.
#[derive(JsonSchema)]
#[serde(untagged)]
enum FileOrConfiguration {
    File(String),
    Configuration(Box<Configuration>),
}

/// Pointsman's configuration.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Pointsman")]
struct Configuration {
    /// What the operator calls it: told beside its hash in the log, by `explain` and by `status`.
    #[schemars(length(min = 1, max = limits::MAX_NAME))]
    version: Option<String>,
    /// Whose its records and metrics are: those of all configurations of the proxy that say the
    /// same. Default: its own.
    scope: Option<ScopeName>,
    /// The request headers that tell the proxy what was chosen.
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
    /// What looks like an attack: counted, or refused. Bodies are not looked at.
    #[schemars(extend("maxProperties" = limits::MAX_PROTECTS))]
    protect: Option<BTreeMap<String, Protect>>,
    /// The longest value that `contains` and `regex` look at: 256B to 1MiB, default 8KiB. Of a longer
    /// one they do not hold, inverted or not, and `pointsman.match.too_long` counts the request. One
    /// that takes more than a request may take before its route is known is answered 431.
    #[schemars(extend("default" = limits::size(limits::DEFAULT_MAX_VALUE)))]
    max_value: Option<Size>,
    /// The first route that matches wins.
    #[schemars(length(max = limits::MAX_ROUTES))]
    routes: Option<Vec<Route>>,
    /// What happens when nothing matches. Default: respond with 404.
    no_route: Option<NoRoute>,
    /// A request that carries the token in this header is told in the response what was decided.
    /// Off unless given.
    explain: Option<Explain>,
    /// Tells the proxy's access log of each decision, in one filter-state property: `pointsman`, or
    /// `wasm.pointsman` in an Envoy's log format. Default: false.
    #[schemars(extend("default" = false))]
    access_log: Option<bool>,
}

/// The request headers that tell the proxy what was chosen.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Upstream {
    /// For the route's `cluster_header`. Default: `x-pointsman-cluster`.
    #[schemars(extend("default" = limits::DEFAULT_CLUSTER_HEADER))]
    cluster_header: Option<HeaderName>,
    /// For the cluster's `override_host` policy. Default: `x-pointsman-endpoint`.
    #[schemars(extend("default" = limits::DEFAULT_ENDPOINT_HEADER))]
    endpoint_header: Option<HeaderName>,
    /// For the `cluster_header` of a route's mirror policy. Default: `x-pointsman-mirror`.
    #[schemars(extend("default" = limits::DEFAULT_MIRROR_HEADER))]
    mirror_header: Option<HeaderName>,
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
    /// What it answers where it refuses. Default: 429 without a body. `retry-after`,
    /// `ratelimit-policy` and `ratelimit` are added, unless they stand here. A gRPC client gets
    /// RESOURCE_EXHAUSTED, with the body as its message.
    respond: Option<Respond>,
    /// Tell admitted requests the limit's state too, in `ratelimit-policy` and `ratelimit` of the
    /// answer. Each request is then charged by itself, never many at a time. Default: false.
    #[schemars(extend("default" = false))]
    tell: Option<bool>,
    /// Over all proxies together: an engine is asked that speaks Envoy's rate limit protocol.
    global: Option<Global>,
}

/// An engine of Envoy's rate limit protocol, and how it is asked.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Global {
    /// The proxy's cluster of the engine, which speaks HTTP/2.
    #[schemars(length(min = 1, max = limits::MAX_ENGINE_CLUSTER))]
    cluster: String,
    /// The domain under which the engine knows the limits.
    #[schemars(length(min = 1))]
    domain: String,
    /// When the engine is asked.
    mode: GlobalMode,
    /// How long a request waits for the engine, 1ms to 1s. Default: 20ms.
    #[schemars(extend("default" = "20ms"))]
    timeout: Option<Duration>,
    /// What happens to a request that the engine did not answer about. Default: admit.
    #[schemars(extend("default" = "admit"))]
    on_error: Option<OnError>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum GlobalMode {
    /// With each request that the proxy's own bucket admits.
    Ask,
    /// Ahead of need where a key is busy. Needs a `per` of 1s or more.
    Lease,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnError {
    Admit,
    Refuse,
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

/// What happens when nothing matches: `respond`, or `pass`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = one_of(&["respond", "pass"])))]
struct NoRoute {
    /// Answer.
    respond: Option<Respond>,
    /// Leave the request to the proxy's own routes.
    #[schemars(extend("const" = true))]
    pass: Option<bool>,
}

/// A secret.
#[derive(JsonSchema)]
#[serde(untagged)]
enum Secret {
    /// The secret itself.
    Written(SecretText),
    /// A variable that has it.
    Variable(SecretVariable),
}

/// A variable of the proxy's environment. An Envoy gives it to the filter's VM if it stands in
/// `vm_config.environment_variables.host_env_keys`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct SecretVariable {
    /// The variable's name.
    env: VariableName,
}

/// A request that carries the token in this header is told in the response what was decided.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Explain {
    /// Carries the token in the request and the decision in the response.
    header: HeaderName,
    /// The secret, without `;`: written down or in a variable of the proxy's environment.
    token: Secret,
}

#[cfg(test)]
mod tests;
