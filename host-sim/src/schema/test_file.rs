//! A file of tests, for `host-sim test`.

use super::expected::{ExpectCounts, ExpectedExchange, Header, TextOrBytes};
use super::{Duration, FileOrConfiguration, VariableName};
use crate::request_test::MAX_REPEAT;
use schemars::JsonSchema;
use std::collections::BTreeMap;

/// Tests of a configuration of Pointsman.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tests of Pointsman")]
pub(super) struct TestFile {
    /// A file, relative to this one; or the configuration itself.
    config: FileOrConfiguration,
    /// Variables that the configuration asks for. Default: those of the process.
    env: Option<BTreeMap<VariableName, String>>,
    /// The tests, each on a fresh proxy of one worker.
    #[schemars(length(min = 1))]
    tests: Vec<Test>,
}

/// A test: one step, or `steps`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["steps"] }, { "required": ["request"] }]))]
struct Test {
    /// The name that reports show.
    name: String,
    /// Requests one after the other, which share cookies, limits and time.
    #[schemars(length(min = 1))]
    steps: Option<Vec<Step>>,
    /// The request.
    request: Option<Request>,
    /// What is said of it.
    #[serde(flatten)]
    sent: Sent,
}

/// A request, how often it is sent, and what must become of it.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The request.
    request: Request,
    /// What is said of it.
    #[serde(flatten)]
    sent: Sent,
}

/// How a request is sent, and what must become of it.
#[derive(JsonSchema)]
struct Sent {
    /// What the backend answers. Default: a bare 200.
    upstream_response: Option<UpstreamResponse>,
    /// What must become of every repetition.
    expect: Option<ExpectedExchange>,
    /// What must become of all repetitions together.
    expect_counts: Option<ExpectCounts>,
    /// How often the request is sent. Default: 1.
    #[schemars(range(min = 1, max = MAX_REPEAT), extend("default" = 1))]
    repeat: Option<u32>,
    /// How long to wait before the first request, at most a year. Default: 0s.
    #[schemars(extend("default" = "0s"))]
    after: Option<Duration>,
    /// Send the cookies that earlier steps were given. Default: no cookies.
    cookies: Option<Cookies>,
    /// `new`: another connection than before; `hold`: the request stays in flight.
    connection: Option<Connection>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Cookies {
    Keep,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Connection {
    New,
    Hold,
}

/// A request.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Request {
    /// The method. Default: GET.
    #[schemars(extend("default" = "GET"))]
    method: Option<String>,
    /// The URL with scheme and host.
    url: TextOrBytes,
    /// The headers in order, as pairs.
    headers: Option<Vec<Header>>,
    /// Where the connection comes from. Default: 127.0.0.1.
    #[schemars(extend("default" = "127.0.0.1"))]
    client_ip: Option<String>,
    /// What TLS says of the client.
    tls: Option<Tls>,
    /// Decides what is drawn, such as the part of a split: from 0 to below 1.
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    roll: Option<f64>,
}

/// What TLS says of the client.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tls {
    /// The host that the client asked for.
    sni: Option<String>,
    /// The URI of the client's certificate.
    peer: Option<String>,
}

/// What the backend answers.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpstreamResponse {
    /// The status. Default: 200.
    #[schemars(range(min = 200, max = 599), extend("default" = 200))]
    status: Option<u32>,
    /// The headers in order, as pairs.
    headers: Option<Vec<Header>>,
    /// The body. Default: none.
    body: Option<TextOrBytes>,
}
