//! The section `routes`.

use super::pool::{OneOrMore, Retry};
use super::{Duration, HeaderName, HeaderOrPseudo, HostPattern, MatchedPath, Network, NewPath};
use pointsman_core::config::limits;
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// A route, with exactly one action: `pool`, `split`, `redirect`, `respond` or `pass`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = super::one_of(&["pool", "split", "redirect", "respond", "pass"])))]
pub(super) struct Route {
    /// Unique; in logs, metrics and answers.
    #[schemars(length(min = 1, max = limits::MAX_NAME))]
    name: String,
    /// A block of conditions that must all hold, or a list of such blocks: any of them. Without it:
    /// every request.
    r#match: Option<Match>,
    /// The names of limits; all must admit the request.
    #[schemars(length(max = limits::MAX_ROUTE_LIMITS))]
    rate_limits: Option<Vec<String>>,
    /// The names of protections. They look at what the limits admit.
    #[schemars(length(max = limits::MAX_ROUTE_PROTECTS))]
    protect: Option<Vec<String>>,
    /// Edits of the request: remove, then set, then add.
    request_headers: Option<Edits>,
    /// Edits of the response, the filter's own answers included.
    response_headers: Option<Edits>,
    /// What the upstream sees; the query stays, unless it is edited.
    rewrite: Option<Rewrite>,
    /// Of a request with its retries, 0s to 24h; 0s: none. Default: the pool's.
    timeout: Option<Duration>,
    /// What is tried again. Default: the pool's.
    retry: Option<Retry>,
    /// Copies of a part of the requests go to another pool.
    mirror: Option<Mirror>,
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

/// Copies of a part of the requests, whose answers are dropped.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mirror {
    /// Where they go: a pool of clusters.
    pool: String,
    /// How many requests are copied, with four decimals at most. Default: all.
    #[schemars(range(min = limits::MIRROR_PERCENT.least, max = limits::MIRROR_PERCENT.most), extend("default" = limits::DEFAULT_MIRROR_PERCENT))]
    percent: Option<f64>,
}

/// A block of conditions, or a list of blocks: any of them.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(
    clippy::large_enum_variant,
    reason = "a schema is made of the type; no value is"
)]
pub(super) enum Match {
    One(Block),
    Any(#[schemars(length(min = 1, max = limits::MAX_ITEMS))] Vec<Block>),
}

/// Conditions that must all hold.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    /// Any of these. Without case and port. `*.` is one or more labels, `*` any host.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    hosts: Option<Vec<HostPattern>>,
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
    /// What asks, by its user agent and `Sec-CH-UA-Mobile`: this, or any of these.
    device: Option<Devices>,
    /// The language that `accept-language` prefers among those that routes for the host name: this,
    /// or any of these. At most 64 languages in all routes together.
    language: Option<LanguageTags>,
    /// Any of these networks or addresses.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    client_ip: Option<Vec<Network>>,
    /// What the connection's TLS must say of the client: at least one of sni and peer.
    tls: Option<Tls>,
}

/// A kind of device, or several.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum Devices {
    One(Device),
    Any(#[schemars(length(min = 1))] Vec<Device>),
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Device {
    /// A phone.
    Mobile,
    /// A tablet, or a television with Android.
    Tablet,
    /// Anything else.
    Desktop,
    /// A program that nobody looks at: crawlers, scanners, HTTP libraries.
    Bot,
}

/// A language tag such as `ko`, `en` or `pt-BR`, or several.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum LanguageTags {
    One(LanguageTag),
    Any(#[schemars(length(min = 1, max = limits::MAX_LANGUAGES))] Vec<LanguageTag>),
}

#[derive(JsonSchema)]
pub(super) struct LanguageTag(
    #[schemars(regex(pattern = "^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"))] String,
);

/// What the connection's TLS must say of the client. Both must hold.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    /// The name that the client asked for in the handshake: any of these. `*.` is one or more
    /// labels, `*` any name.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    sni: Option<Vec<String>>,
    /// The first URI of the client's certificate: any of these. By case; a `*` at the end is
    /// whatever follows.
    #[schemars(length(min = 1, max = limits::MAX_ITEMS))]
    peer: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scheme {
    Http,
    Https,
}

/// One of exact, prefix, regex and template.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = super::one_of(&["exact", "prefix", "regex", "template"])))]
pub(super) struct Path {
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
#[schemars(extend("oneOf" = super::one_of(&["exact", "prefix", "suffix", "contains", "regex", "present"])))]
pub(super) struct HeaderCondition {
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
#[schemars(extend("oneOf" = super::one_of(&["exact", "prefix", "suffix", "contains", "regex", "present"])))]
pub(super) struct Condition {
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

/// Edits of headers: remove, then set, then add. Values may hold parts of the request: `{client_ip}`,
/// `{host}`, `{path}`, `{query}`, `{method}`, `{scheme}`, `{header.x}`, `{cookie.x}`, `{query.x}`,
/// `{label}` (what the wildcard of `hosts` stood for), `{route}`, `{pool}`, `{target}`, and the names
/// of the path's template. What is absent is empty; `{{` is a brace.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Edits {
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

/// One of path_prefix, path and path_regex; `host`; and `query`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rewrite {
    /// Replaces the prefix that matched: every block of the match must have one.
    path_prefix: Option<NewPath>,
    /// The whole path; `{id}` is what the template of every block took. It may hold the parts of the
    /// request that header edits may.
    path: Option<NewPath>,
    /// Searches, and replaces every match.
    path_regex: Option<PathRegex>,
    /// The new host, with a port if one is wanted. It may hold the parts of the request that header
    /// edits may; where what they make is no host, the request's stays.
    host: Option<String>,
    /// Edits of the query. Without it the query stays.
    query: Option<Query>,
}

/// `drop`, or edits of the query.
#[derive(JsonSchema)]
#[serde(untagged)]
pub(super) enum Query {
    Word(DropQuery),
    Edits(QueryEdits),
}

/// `drop`: nothing of the query stays.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DropQuery {
    Drop,
}

/// Edits of the query: remove, then set. All other parameters stay as they are.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryEdits {
    /// Names; all parameters of each go. Names compare after percent-decoding.
    #[schemars(length(min = 1, max = limits::MAX_HEADERS))]
    remove: Option<Vec<String>>,
    /// Parameters that stand at the end, in place of those of the same names.
    #[schemars(extend("maxProperties" = limits::MAX_HEADERS))]
    set: Option<BTreeMap<String, String>>,
}

/// Searches, and replaces every match.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PathRegex {
    /// In the syntax of Rust's regex crate.
    pattern: String,
    /// `\1` is what group 1 matched, `\0` the match, `\\` a backslash.
    substitution: String,
}

/// A part of a split.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
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
pub(super) struct Redirect {
    /// A new one drops the request's port.
    scheme: Option<Scheme>,
    /// Without a port. A new one drops the request's port. It may hold the parts of the request that
    /// header edits may; where what they make is no host, the request's stays.
    host: Option<String>,
    /// The scheme's own is not written.
    #[schemars(range(min = limits::PORT.least, max = limits::PORT.most))]
    port: Option<u32>,
    /// The whole path; `{id}` is what the template of every block took. It may hold the parts of the
    /// request that header edits may.
    path: Option<NewPath>,
    /// Replaces the prefix that matched: every block of the match must have one.
    path_prefix: Option<NewPath>,
    /// Searches, and replaces every match.
    path_regex: Option<PathRegex>,
    /// Edits of the query. Without it the query stays.
    query: Option<Query>,
    /// Default: 302. A permanent one should be asked for.
    #[schemars(extend("enum" = limits::REDIRECT_STATUSES), extend("default" = limits::DEFAULT_REDIRECT_STATUS))]
    status: Option<u32>,
}

/// An answer of the filter's own.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Respond {
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
