//! A real Envoy as a [`Host`]: what runs in the simulator runs here too, with two workers and real
//! backends.
//!
//! The proxy is `envoy-config/envoy.yaml` without what Envoy itself does to requests, so that what
//! is seen is the filter's work: Envoy does not normalise paths, does not strip the upstream
//! headers of clients early, and appends nothing to `x-forwarded-for`. What else the hosts must
//! agree on, and how this one does it:
//!
//! - The client's address goes before the first byte of a connection, by the PROXY protocol.
//! - Each scheme has a listener of its own: without TLS, a connection to an edge listener is always
//!   `http`.
//! - `pass` goes to the proxy's own route, which leads to a backend that no pool names.
//! - Copies that Envoy makes of a request are no part of a result.
//! - Endpoints listen on free ports. Requests and results name them as the configuration does.
//! - A client keeps one connection for each scheme and address, so that its requests stay on one
//!   worker.
//! - The filter's account of its decision comes in the `explain` header, which is switched on where
//!   it is off.
//! - Results leave [`ADDED_BY_PROXY`] out.

use crate::backend::{Answer, Backend, Received};
use crate::client::RESPONSE_TIMEOUT;
use crate::envoy::fleet::{Fleet, Member};
use crate::envoy::{Envoy, Program};
use crate::exchange::{ClientTls, ExchangeRequest, ExchangeResult, Host, Pairs, Response};
use crate::explain_header::ExplainHeader;
use crate::testkit::Site;
use crate::wait::until;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

/// What Envoy, or a backend by being a real one, adds to messages; a `*` stands for any rest, but
/// for what the filter writes ([`WRITTEN`]).
pub const ADDED_BY_PROXY: [&str; 9] = [
    "connection",
    "content-length",
    "date",
    "server",
    "transfer-encoding",
    "x-backend",
    "x-envoy-*",
    "x-forwarded-proto",
    "x-request-id",
];

/// What the filter writes after a rewrite, as Envoy's own routes do. These Envoys have none that
/// rewrite.
const WRITTEN: &[u8] = b"x-envoy-original-";

/// The settings of Envoy's connection manager that change a path before any filter sees it.
pub const PATH_NORMALISATION: [&str; 3] = [
    "normalize_path",
    "merge_slashes",
    "path_with_escaped_slashes_action",
];

/// The name of the listener whose requests are `https`.
const SECURE: &str = "secure";
/// The cluster behind the proxy's own route.
const OWN: &str = "own";
/// How large a request's headers may be, in KiB, and how many: scenarios send large ones.
const HEADERS: (u32, u32) = (512, 2000);
/// The most headers of a response.
const RESPONSE_HEADERS: usize = 256;

/// A running Envoy with one configuration and its backends.
pub struct EnvoyHost {
    site: Site,
    own: Backend,
    explain: ExplainHeader,
    listeners: [SocketAddr; 2],
    /// The endpoints: as they stand in the configuration, and where they are.
    endpoints: Vec<(String, String)>,
}

/// A client of an [`EnvoyHost`], with connections of its own.
pub struct EnvoyClient<'e> {
    host: &'e EnvoyHost,
    connections: BTreeMap<(bool, Option<IpAddr>), Connection>,
    /// Those of requests that are held.
    held: Vec<Connection>,
}

impl Drop for EnvoyClient<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.release();
        }
    }
}

impl EnvoyHost {
    /// Starts the backends that the configuration names, and an Envoy in front of them.
    pub fn start(program: &Program, module: &Path, configuration: &Value) -> Result<EnvoyHost> {
        let mut configuration = configuration.clone();
        let explain = ExplainHeader::switch_on(&mut configuration);
        let fleet = Fleet::start(&configuration)?;
        let own = Backend::start(OWN)?;
        let mut deployment = fleet.deployment(module)?;
        bare(
            deployment.bootstrap_mut(),
            fleet.cluster_header(),
            own.address(),
        )
        .context("envoy-config/envoy.yaml")?;
        let site = Site::of(program, fleet, deployment)?;
        let listeners = [site.envoy.address()?, site.envoy.listener(SECURE)?];
        let members = site.fleet.members();
        let endpoints = members
            .iter()
            .filter_map(|member| {
                Some((
                    member.endpoint.clone()?,
                    member.backend.address().to_string(),
                ))
            })
            .collect();
        Ok(EnvoyHost {
            site,
            own,
            explain,
            listeners,
            endpoints,
        })
    }

    /// A new client.
    pub fn client(&self) -> EnvoyClient<'_> {
        EnvoyClient {
            host: self,
            connections: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    /// The Envoy itself.
    pub fn envoy(&self) -> &Envoy {
        &self.site.envoy
    }

    /// The bytes of a request, as they go over the wire.
    fn request(&self, ask: &ExchangeRequest) -> Vec<u8> {
        let explain = self.explain.request(ask.roll);
        let mut bytes = [
            &ask.method,
            &b" "[..],
            &ask.target,
            b" HTTP/1.1\r\nhost: ",
            &ask.authority,
            b"\r\n",
        ]
        .concat();
        for (name, value) in ask.headers.iter().chain([&explain]) {
            let value = self.real(value);
            bytes.extend([name, &b": "[..], &value, b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes
    }

    /// The requests that the backends got since the last call, each with its backend's place; None:
    /// the backend of the proxy's own route.
    fn take_received(&self) -> Vec<(Option<&Member>, Received)> {
        let members = self
            .site
            .fleet
            .members()
            .iter()
            .map(|member| (Some(member), &member.backend));
        members
            .chain([(None, &self.own)])
            .flat_map(|(member, backend)| {
                backend
                    .take_received()
                    .into_iter()
                    .map(move |received| (member, received))
            })
            .collect()
    }

    /// Header pairs as a result has them.
    fn in_result(&self, mut pairs: Pairs) -> Pairs {
        self.explain.remove_from(&mut pairs);
        pairs
            .into_iter()
            .filter(|(name, _)| !added_by_proxy(name))
            .map(|(name, value)| (name, self.configured(&value)))
            .collect()
    }

    /// Bytes with the endpoints where they really are.
    fn real(&self, bytes: &[u8]) -> Vec<u8> {
        let swaps = self.endpoints.iter();
        swaps.fold(bytes.to_vec(), |bytes, (configured, real)| {
            replaced(&bytes, configured, real)
        })
    }

    /// Bytes with the endpoints as they stand in the configuration.
    fn configured(&self, bytes: &[u8]) -> Vec<u8> {
        let swaps = self.endpoints.iter();
        swaps.fold(bytes.to_vec(), |bytes, (configured, real)| {
            replaced(&bytes, real, configured)
        })
    }
}

impl EnvoyClient<'_> {
    /// Ends the requests that are held, and waits until the filter knows it.
    fn release(&mut self) {
        if self.held.is_empty() {
            return;
        }
        self.held.clear();
        until("the requests that were held are over", || {
            self.host.site.envoy.requests_in_flight().unwrap_or(1) == 0
        });
    }

    fn try_exchange(&mut self, ask: &ExchangeRequest, holds: bool) -> Result<ExchangeResult> {
        let host = self.host;
        ensure!(
            ask.tls == ClientTls::default(),
            "tests/match_tls.rs has the requests that come over TLS"
        );
        let answer = match holds {
            true => Answer::Begin(ask.upstream.clone()),
            false => Answer::With(ask.upstream.clone()),
        };
        host.site.fleet.answer(&answer);
        host.own.answer(answer);
        // Of an exchange that broke off.
        host.take_received();

        let secure = ask.scheme == b"https";
        let key = (secure, ask.client_ip);
        let kept = match holds {
            true => None,
            false => self.connections.remove(&key),
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(host.listeners[usize::from(secure)], ask.client_ip)?,
        };
        let has_no_body = holds || ask.method == b"HEAD";
        let response = connection.exchange(&host.request(ask), has_no_body)?;
        let closes = response
            .headers
            .iter()
            .any(|(name, value)| name == b"connection" && value == b"close");
        match closes {
            _ if holds => self.held.push(connection),
            true => {}
            false => {
                self.connections.insert(key, connection);
            }
        }

        let mut asked = host.take_received();
        asked.retain(|(_, received)| !is_copy(received));
        if asked.len() > 1 {
            bail!("{} backends got the request", asked.len());
        }
        let asked = asked.pop();
        let account = host.explain.account(&response.headers);
        let account = account.map(|account| host.configured(account));
        let decision = match account {
            None => Value::Null,
            Some(account) => {
                serde_json::from_slice(&account).context("the filter's account of its decision")?
            }
        };
        let member = asked.as_ref().and_then(|(member, _)| *member);
        Ok(ExchangeResult {
            upstream_cluster: member.map(|member| member.cluster.clone()),
            upstream_endpoint: member.and_then(|member| member.endpoint.clone()),
            upstream_headers: asked.map(|(_, received)| host.in_result(received.headers)),
            response: Response {
                headers: host.in_result(response.headers),
                ..response
            },
            decision,
        })
    }
}

impl Host for EnvoyClient<'_> {
    fn exchange(&mut self, ask: &ExchangeRequest) -> Result<ExchangeResult, String> {
        self.try_exchange(ask, false)
            .map_err(|error| format!("{error:#}"))
    }

    fn hold(&mut self, ask: &ExchangeRequest) -> Result<ExchangeResult, String> {
        self.try_exchange(ask, true)
            .map_err(|error| format!("{error:#}"))
    }

    fn advance(&mut self, by: Duration) {
        std::thread::sleep(by);
    }

    fn reconnect(&mut self) {
        self.connections.clear();
        self.release();
    }

    fn name(&self) -> String {
        format!("envoy {}", self.host.site.envoy.program().version)
    }
}

/// Takes from a bootstrap what would stand between a scenario and the filter, and puts in what
/// scenarios need.
fn bare(bootstrap: &mut Value, cluster_header: &str, own: SocketAddr) -> Result<()> {
    let resources = &mut bootstrap["static_resources"];
    let clusters = resources["clusters"]
        .as_array_mut()
        .context("no clusters")?;
    let address = json!({ "socket_address": { "address": own.ip(), "port_value": own.port() } });
    clusters.push(json!({
        "name": OWN,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": OWN,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
    }));

    let listeners = resources["listeners"]
        .as_array_mut()
        .context("no listeners")?;
    let listener = listeners.first_mut().context("no listener")?;
    listener["listener_filters"] = json!([{
        "name": "envoy.filters.listener.proxy_protocol",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
            "allow_requests_without_proxy_protocol": true,
        },
    }]);
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let settings = manager.as_object_mut().context("no connection manager")?;
    for setting in PATH_NORMALISATION {
        settings.remove(setting);
    }
    settings.remove("early_header_mutation_extensions");
    settings.remove("strip_trailing_host_dot");
    manager["skip_xff_append"] = true.into();
    manager["generate_request_id"] = false.into();
    manager["max_request_headers_kb"] = HEADERS.0.into();
    manager["common_http_protocol_options"] = json!({ "max_headers_count": HEADERS.1 });
    let routes = manager["route_config"]["virtual_hosts"][0]["routes"]
        .as_array_mut()
        .context("no routes")?;
    for chosen in &mut *routes {
        let headers = &mut chosen["match"]["headers"];
        if headers.is_null() {
            *headers = json!([]);
        }
        let headers = headers.as_array_mut().context("headers that are no list")?;
        headers.push(json!({ "name": cluster_header, "present_match": true }));
    }
    routes.push(json!({ "match": { "prefix": "/" }, "route": { "cluster": OWN } }));

    let mut secure = listener.clone();
    secure["name"] = SECURE.into();
    secure["filter_chains"][0]["filters"][0]["typed_config"]["scheme_header_transformation"] =
        json!({ "scheme_to_overwrite": "https" });
    listeners.push(secure);
    Ok(())
}

/// Whether Envoy's router copied a request for this one. Copies come when they come, after the
/// answer too.
fn is_copy(received: &Received) -> bool {
    let host = received.headers.iter();
    let mut host = host.filter(|(name, _)| name == b":authority");
    host.any(|(_, host)| host.ends_with(b"-shadow"))
}

fn added_by_proxy(name: &[u8]) -> bool {
    ADDED_BY_PROXY
        .iter()
        .any(|added| match added.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix.as_bytes()) && !name.starts_with(WRITTEN),
            None => name == added.as_bytes(),
        })
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(from.as_bytes()) {
            Some(after) => {
                out.extend(to.as_bytes());
                rest = after;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// An HTTP/1.1 connection that sends any bytes: a client library refuses those of a scenario that
/// is about them.
struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// A connection that says that it comes from `source`.
    fn open(to: SocketAddr, source: Option<IpAddr>) -> Result<Connection> {
        let mut stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
        // https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, version 1. The ports are
        // made up.
        match source {
            None => {}
            Some(IpAddr::V4(source)) => {
                write!(stream, "PROXY TCP4 {source} 127.0.0.1 50000 80\r\n")?
            }
            Some(IpAddr::V6(source)) => write!(stream, "PROXY TCP6 {source} ::1 50000 80\r\n")?,
        }
        Ok(Connection { stream })
    }

    fn exchange(&mut self, request: &[u8], is_head: bool) -> Result<Response> {
        self.stream.write_all(request).context("sending")?;
        let mut bytes = Vec::new();
        loop {
            self.read_more(&mut bytes)?;
            let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS];
            let mut parsed = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(size) = parsed.parse(&bytes).context("the response")?
            else {
                continue;
            };
            let headers: Pairs = parsed
                .headers
                .iter()
                .map(|header| {
                    (
                        header.name.to_ascii_lowercase().into_bytes(),
                        header.value.to_vec(),
                    )
                })
                .collect();
            let status = parsed.code.context("no status")?;
            let mut body = bytes.split_off(size);
            if !is_head && ![204, 304].contains(&status) {
                let size = content_length(&headers)?;
                while body.len() < size {
                    self.read_more(&mut body)?;
                }
            }
            return Ok(Response {
                status,
                headers,
                body,
            });
        }
    }

    fn read_more(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                // A signal that somebody else handles.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("receiving"),
                Ok(0) => bail!(
                    "the connection was closed after {} bytes of the response",
                    bytes.len()
                ),
                Ok(size) => {
                    bytes.extend_from_slice(&chunk[..size]);
                    return Ok(());
                }
            }
        }
    }
}

/// Our backends, and Envoy's own answers, say how long they are.
fn content_length(headers: &Pairs) -> Result<usize> {
    let value = headers.iter().find(|(name, _)| name == b"content-length");
    let (_, value) = value.ok_or_else(|| anyhow!("the response does not say how long it is"))?;
    Ok(std::str::from_utf8(value)?.parse()?)
}
