//! What a test expects of a value, and the parts of its requests.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Text, or `{ bytes: "\xff" }`: each character, at most U+00FF, is one byte.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum TextOrBytes {
    Text(String),
    Bytes(Bytes),
}

/// Bytes that are no text.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bytes {
    /// Each character, at most U+00FF, is one byte.
    bytes: String,
}

/// A pair of name and value: `[name, value]`. A whole number and a boolean are taken as their text.
pub(super) struct Header;

impl JsonSchema for Header {
    fn schema_name() -> Cow<'static, str> {
        "Header".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<TextOrBytes>();
        json_schema!({
            "description": "A pair of name and value: `[name, value]`.",
            "type": "array",
            "prefixItems": [
                { "type": "string" },
                { "anyOf": [{ "type": ["integer", "boolean"] }, text] },
            ],
            "minItems": 2,
            "maxItems": 2,
        })
    }
}

/// What is expected of a value: the value itself, null where it must be absent, or a matcher.
pub(super) struct Expected;

impl JsonSchema for Expected {
    fn schema_name() -> Cow<'static, str> {
        "Expected".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let [matcher, item] = [
            generator.subschema_for::<Matcher>(),
            generator.subschema_for::<TraceItem>(),
        ];
        let itself = generator.subschema_for::<Expected>();
        json_schema!({
            "description": "The value itself, null where it must be absent, or a matcher.",
            "anyOf": [
                { "const": null },
                { "type": ["boolean", "number", "string"] },
                { "type": "array", "items": itself },
                matcher,
                item,
            ],
        })
    }
}

/// How often a value must come: a number, or a matcher.
pub(super) struct Count;

impl JsonSchema for Count {
    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let [expected, matcher] = [
            generator.subschema_for::<Expected>(),
            generator.subschema_for::<CountMatcher>(),
        ];
        json_schema!({
            "description": "How often the value must come: a number, or a matcher.",
            "anyOf": [{ "type": "integer", "minimum": 0 }, matcher, expected],
        })
    }
}

/// A matcher: one of these.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
struct Matcher {
    /// Any of these.
    one_of: Option<Vec<Expected>>,
    /// Anything but this.
    not: Option<Box<Expected>>,
    /// Whether there is a value.
    #[schemars(extend("const" = true))]
    present: Option<bool>,
    /// A regular expression for the whole value.
    regex: Option<String>,
    /// Each character, at most U+00FF, is one byte.
    bytes: Option<String>,
}

/// A matcher of a count: `min`, `max` or both; `about`; or one of the others.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 2))]
struct CountMatcher {
    /// Never less.
    min: Option<u32>,
    /// Never more.
    max: Option<u32>,
    /// So many of `repeat` independent draws, give or take what chance does.
    about: Option<u32>,
    /// Any of these.
    one_of: Option<Vec<Expected>>,
    /// Anything but this.
    not: Option<Box<Expected>>,
}

/// A route that was looked at, as `trace` has it.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
struct TraceItem {
    /// Its name.
    name: Option<Expected>,
    /// Whether it matched.
    matched: Option<Expected>,
    /// The first condition that failed.
    failed: Option<Expected>,
}

/// What is expected of one exchange. What is not given does not matter.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Expect")]
pub(super) struct ExpectedExchange {
    /// The name of the route; null: none.
    route: Option<Expected>,
    /// forward, redirect, respond, pass, rate_limited, or proxy.
    action: Option<Expected>,
    /// The pool.
    pool: Option<Expected>,
    /// The target.
    target: Option<Expected>,
    /// The proxy's cluster.
    cluster: Option<Expected>,
    /// The endpoint, `ip:port`.
    endpoint: Option<Expected>,
    /// The target's region.
    region: Option<Expected>,
    /// Why it went there.
    reason: Option<Expected>,
    /// The status of an answer of the filter's own.
    status: Option<Expected>,
    /// The limit that refused the request.
    limit: Option<Expected>,
    /// What looked like an attack, a line each.
    protect: Option<Expected>,
    /// The configuration's hash.
    configuration: Option<Expected>,
    /// What the configuration calls itself.
    version: Option<Expected>,
    /// Headers that the backend gets, by name.
    request_headers: Option<BTreeMap<String, Expected>>,
    /// Headers that the client gets, by name.
    response_headers: Option<BTreeMap<String, Expected>>,
    /// The routes that were looked at, in order.
    trace: Option<Expected>,
    /// The body that the client gets.
    body: Option<Expected>,
}

/// How often each value of a key comes in all repetitions together. One that is not named must not
/// come.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectCounts {
    /// Of the names of routes.
    route: Option<BTreeMap<String, Count>>,
    /// Of actions.
    action: Option<BTreeMap<String, Count>>,
    /// Of pools.
    pool: Option<BTreeMap<String, Count>>,
    /// Of targets.
    target: Option<BTreeMap<String, Count>>,
    /// Of clusters.
    cluster: Option<BTreeMap<String, Count>>,
    /// Of endpoints.
    endpoint: Option<BTreeMap<String, Count>>,
    /// Of regions.
    region: Option<BTreeMap<String, Count>>,
    /// Of reasons.
    reason: Option<BTreeMap<String, Count>>,
    /// Of statuses of the filter's own answers.
    status: Option<BTreeMap<String, Count>>,
    /// Of limits that refused a request.
    limit: Option<BTreeMap<String, Count>>,
    /// Of what looked like attacks.
    protect: Option<BTreeMap<String, Count>>,
    /// Of the configuration's hash.
    configuration: Option<BTreeMap<String, Count>>,
    /// Of what the configuration calls itself.
    version: Option<BTreeMap<String, Count>>,
    /// Of all headers that the backend gets.
    request_headers: Option<BTreeMap<String, Count>>,
    /// Of all headers that the client gets.
    response_headers: Option<BTreeMap<String, Count>>,
    /// Of the routes that were looked at.
    trace: Option<BTreeMap<String, Count>>,
}
