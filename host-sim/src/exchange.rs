//! One exchange through one host: a request, the backend's answer to it, and the result.
//! Every host that we have (the simulator, a real Envoy) implements [`Host`], so that a test is
//! written once and runs on each.

use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// A host that runs the filter with one configuration.
pub trait Host {
    /// Sends one request and waits for its end. An error says that the host could not carry the
    /// exchange out, never that the filter decided wrongly.
    fn exchange(&mut self, request: &ExchangeRequest) -> Result<ExchangeResult, String>;
    /// Sends one request whose response begins and does not end: it is in flight until
    /// [`Host::reconnect`], or the end of the host. It has a connection of its own.
    fn hold(&mut self, request: &ExchangeRequest) -> Result<ExchangeResult, String>;
    /// Lets time pass: virtual time in the simulator, real time in an Envoy.
    fn advance(&mut self, by: Duration);
    /// Drops the connections that the client kept, so that another worker may get the next request,
    /// and ends the requests that are held.
    fn reconnect(&mut self);
    /// The host's name for messages: `host-sim`, `envoy 1.40.0`.
    fn name(&self) -> String;
}

/// Header pairs, names in lower case.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A request, and what the backend will answer to it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeRequest {
    /// The method: `GET`.
    pub method: Vec<u8>,
    /// The scheme: `http` or `https`.
    pub scheme: Vec<u8>,
    /// The authority: `host[:port]`.
    pub authority: Vec<u8>,
    /// The path with its query, as it goes over the wire.
    pub target: Vec<u8>,
    /// Headers in order; names may repeat.
    pub headers: Pairs,
    /// The address that the connection comes from. None: 127.0.0.1.
    pub client_ip: Option<IpAddr>,
    /// What the connection's TLS says of the client.
    pub tls: ClientTls,
    /// Fixes the decision's random number, from 0 to below 1. None: the host draws it.
    pub roll: Option<f64>,
    /// The backend's answer, whichever backend is chosen.
    pub upstream: Response,
}

/// What a connection's TLS says of the client. Default: there is no TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientTls {
    /// The name that it asked for in the handshake. None: it named none.
    pub sni: Option<String>,
    /// The first URI of its certificate. None: it showed none.
    pub peer: Option<String>,
}

impl ExchangeRequest {
    /// A request of this method to this URL, without headers, which the backend answers with a bare
    /// 200. A fragment is dropped, as every client does. An error says what is wrong with the URL.
    pub fn new(method: &[u8], url: &[u8]) -> Result<ExchangeRequest, String> {
        let shown = || shown(url);
        let scheme: &[u8] = match url {
            _ if url.starts_with(b"http://") => b"http",
            _ if url.starts_with(b"https://") => b"https",
            _ => {
                return Err(format!(
                    "`{}` does not start with http:// or https://",
                    shown()
                ));
            }
        };
        if let Some(byte) = url.iter().find(|byte| **byte <= b' ' || **byte == 0x7f) {
            return Err(format!(
                "the byte 0x{byte:02x} in `{}`, which must be percent-encoded",
                shown()
            ));
        }
        let rest = &url[scheme.len() + b"://".len()..];
        let rest = rest.split(|byte| *byte == b'#').next().unwrap_or_default();
        let path = rest.iter().position(|byte| b"/?".contains(byte));
        let (authority, target) = rest.split_at(path.unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(format!("`{}` names no host", shown()));
        }
        Ok(ExchangeRequest {
            method: method.to_vec(),
            scheme: scheme.to_vec(),
            authority: authority.to_vec(),
            target: match target.starts_with(b"/") {
                true => target.to_vec(),
                false => [b"/", target].concat(),
            },
            headers: Pairs::new(),
            client_ip: None,
            tls: ClientTls::default(),
            roll: None,
            upstream: Response::bare(200),
        })
    }

    /// The request's URL.
    pub fn url(&self) -> Vec<u8> {
        [&self.scheme, &b"://"[..], &self.authority, &self.target].concat()
    }

    /// Adds headers. One with the name `host` is the request's authority, as with curl.
    pub fn with_headers(mut self, headers: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        for (name, value) in headers {
            match name.eq_ignore_ascii_case(b"host") {
                true => self.authority = value,
                false => self.headers.push((name, value)),
            }
        }
        self
    }
}

/// A response of a backend, or the one that the client got.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers in order; names may repeat. A host leaves out what the proxy adds by itself (`date`,
    /// `server`, `content-length`, `x-envoy-…`).
    pub headers: Pairs,
    /// The body; may be empty.
    pub body: Vec<u8>,
}

impl Response {
    /// A response without headers and body.
    pub fn bare(status: u16) -> Response {
        Response {
            status,
            headers: Pairs::new(),
            body: Vec::new(),
        }
    }
}

/// The result of an exchange.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeResult {
    /// The response that the client got.
    pub response: Response,
    /// The request headers that the backend got, pseudo-headers included, without what the proxy
    /// adds by itself. None: no backend was asked.
    pub upstream_headers: Option<Pairs>,
    /// The cluster whose backend was asked. (In the simulator: that the proxy would have asked.)
    pub upstream_cluster: Option<String>,
    /// In a pool of endpoints the endpoint that was asked, as it stands in the configuration.
    pub upstream_endpoint: Option<String>,
    /// The filter's own account of its decision: the object in the `explain` header, which the
    /// hosts switch on for this. Keys: `route`, `action`, `pool`, `target`, `cluster`, `endpoint`,
    /// `reason`, `status`.
    pub decision: Value,
}

impl ExchangeResult {
    /// The result of a request that the proxy answered before the filter saw it.
    pub fn of_proxy(response: Response) -> ExchangeResult {
        ExchangeResult {
            response,
            upstream_headers: None,
            upstream_cluster: None,
            upstream_endpoint: None,
            decision: Value::Null,
        }
    }
}

/// The first value of a header.
pub fn first_value<'p>(pairs: &'p Pairs, name: &[u8]) -> Option<&'p [u8]> {
    let found = pairs.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| &value[..])
}

/// Headers as JSON: a list of pairs of texts.
pub fn pairs_to_json(pairs: &Pairs) -> Value {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| json!([shown(name), shown(value)]))
        .collect()
}

/// Bytes as text: UTF-8 as it is, any other byte as `\xff`.
pub fn shown(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .map(|chunk| chunk.valid().to_owned() + &chunk.invalid().escape_ascii().to_string())
        .collect()
}
