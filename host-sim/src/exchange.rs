//! One request through one host: what a scenario asks, and what it is told. Every host that we have
//! (the simulator, a real Envoy) implements [`Host`], so that a scenario is written once.

use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

/// A host that runs the filter with one configuration.
pub trait Host {
    /// Sends one request and waits for its end.
    fn exchange(&mut self, ask: &ExchangeRequest) -> Result<ExchangeResult, String>;
    /// Lets time pass: virtual time in the simulator, real time in an Envoy.
    fn advance(&mut self, by: Duration);
    /// Drops the connections that the client kept: the next request may come to another worker.
    /// Nothing where a host keeps none.
    fn reconnect(&mut self) {}
    /// For messages: `host-sim`, `envoy 1.40.0`.
    fn name(&self) -> String;
}

/// Header pairs, names in lower case.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A request, and what the backend will answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeRequest {
    /// `GET`
    pub method: Vec<u8>,
    /// `http` or `https`
    pub scheme: Vec<u8>,
    /// `host[:port]`
    pub authority: Vec<u8>,
    /// The path with its query, as it goes over the wire.
    pub target: Vec<u8>,
    /// In order; names may repeat.
    pub headers: Pairs,
    /// Where the connection comes from. None: 127.0.0.1.
    pub client_ip: Option<IpAddr>,
    /// Fixes the decision's random number, from 0 to below 1.
    pub roll: Option<f64>,
    /// What the backend answers, whichever is chosen.
    pub upstream: Response,
}

/// A response of a backend, or the one that the client got.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// In order; names may repeat. A host leaves out what the proxy adds by itself (`date`,
    /// `server`, `content-length`, `x-envoy-…`).
    pub headers: Pairs,
    /// The body.
    pub body: Vec<u8>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeResult {
    /// What the client got.
    pub response: Response,
    /// What the backend got, pseudo-headers included, without what the proxy adds by itself; None:
    /// no backend was asked.
    pub upstream_headers: Option<Pairs>,
    /// The cluster whose backend was asked. (In the simulator: that the proxy would have asked.)
    pub upstream_cluster: Option<String>,
    /// The endpoint that was asked, as it stands in the configuration, in a pool of endpoints.
    pub upstream_endpoint: Option<String>,
    /// The filter's own account of its decision: the object in the `explain` header, which the
    /// hosts switch on for this. Keys: `route`, `action`, `pool`, `target`, `cluster`, `endpoint`,
    /// `reason`, `status`.
    pub decision: Value,
}
