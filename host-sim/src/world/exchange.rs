//! The simulator as a [`Host`]: whole exchanges, with a backend that answers as the request says.

use super::stream::{RequestOutcome, Stream, UpstreamFailure};
use super::{Code, World};
use crate::connection_manager::header_map;
use crate::exchange::{
    ClientTls, ExchangeRequest, ExchangeResult, Host, Pairs, Response, first_value,
};
use crate::explain_header::ExplainHeader;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The port that clients connect from. Nothing depends on it.
const CLIENT_PORT: u16 = 50_000;

/// The address of the backend of a cluster for which the configuration has no endpoints: one for
/// documentation (RFC 5737).
const BACKEND: &str = "192.0.2.1:80";

/// The state of a world in which exchanges are carried out.
#[derive(Clone, Debug)]
pub(super) struct Exchanges {
    pub(super) explain: ExplainHeader,
    cluster_header: Vec<u8>,
    endpoint_header: Vec<u8>,
    /// Whether the proxy has a route for requests without the header that names the cluster.
    pub(super) own_route: bool,
    /// The worker of each connection, by the connection's scheme, client address and TLS.
    connections: BTreeMap<(Vec<u8>, Option<IpAddr>, ClientTls), usize>,
    /// How many connections were ever opened.
    opened: usize,
}

impl Exchanges {
    /// Reads the names of headers from a configuration, and switches `explain` on in it where it is
    /// off.
    pub(super) fn of(configuration: &mut Value) -> Exchanges {
        let explain = ExplainHeader::switch_on(configuration);
        let upstream = &configuration["upstream"];
        let name = |key: &str, default: &str| {
            let name = upstream[key].as_str().unwrap_or(default);
            name.to_ascii_lowercase().into_bytes()
        };
        Exchanges {
            explain,
            cluster_header: name("cluster_header", "x-pointsman-cluster"),
            endpoint_header: name("endpoint_header", "x-pointsman-endpoint"),
            own_route: true,
            connections: BTreeMap::new(),
            opened: 0,
        }
    }

    /// Pairs without the `explain` header.
    fn without_explain(&self, mut pairs: Pairs) -> Pairs {
        self.explain.remove_from(&mut pairs);
        pairs
    }
}

/// Where the router sends a request.
enum Routed {
    /// To this cluster, and to this endpoint of it if it has any.
    Cluster(String, Option<String>),
    /// Along the proxy's own route, to a backend that no pool names: the header that names the
    /// cluster is missing.
    Own,
    /// Nowhere: there is no such cluster, or neither the header nor a route of the proxy's own.
    Nowhere,
}

impl World {
    /// Carries out one exchange on this worker.
    ///
    /// # Panics
    /// In a world that was not built with [`super::Builder::exchanges`].
    pub fn exchange_on(
        &self,
        worker: usize,
        request: &ExchangeRequest,
    ) -> Result<ExchangeResult, String> {
        let (result, stream) = self.open_exchange(worker, request, &Stream::response);
        stream.close();
        result
    }

    /// An exchange whose stream is still open. `respond`: how the backend answers.
    fn open_exchange(
        &self,
        worker: usize,
        request: &ExchangeRequest,
        respond: Respond<'_>,
    ) -> (Result<ExchangeResult, String>, Stream) {
        let exchanges = self.exchanges.as_ref().expect("built with `exchanges`");
        let address = request.client_ip.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let source = SocketAddr::new(address, CLIENT_PORT);
        let mut headers = header_map(request);
        headers.push(exchanges.explain.request(request.roll));
        let mut stream = self.workers[worker].open_from(&headers, source);
        let tls = [
            (&b"connection\0requested_server_name"[..], &request.tls.sni),
            (b"connection\0uri_san_peer_certificate", &request.tls.peer),
        ];
        for (path, value) in tls {
            stream.tells(path, value.as_deref().unwrap_or_default().as_bytes());
        }
        let result = self.exchange_in(exchanges, request, &mut stream, respond);
        (result, stream)
    }

    fn exchange_in(
        &self,
        exchanges: &Exchanges,
        request: &ExchangeRequest,
        stream: &mut Stream,
        respond: Respond<'_>,
    ) -> Result<ExchangeResult, String> {
        let mut result = ExchangeResult {
            response: request.upstream.clone(),
            upstream_headers: None,
            upstream_cluster: None,
            upstream_endpoint: None,
            decision: Value::Null,
        };
        result.response = match stream.request() {
            RequestOutcome::Wait => {
                return Err("the request waits for good: paused without an answer".to_owned());
            }
            RequestOutcome::Reply(response) => response,
            RequestOutcome::Forward(headers) => match self.route(exchanges, &headers) {
                Routed::Nowhere => stream.fails(UpstreamFailure::NoCluster),
                Routed::Own => {
                    result.upstream_headers = Some(exchanges.without_explain(headers));
                    respond(stream, &request.upstream)
                }
                Routed::Cluster(cluster, endpoint) => {
                    result.upstream_headers = Some(exchanges.without_explain(headers));
                    result.upstream_cluster = Some(cluster);
                    stream.tries(endpoint.as_deref().unwrap_or(BACKEND));
                    result.upstream_endpoint = endpoint;
                    respond(stream, &request.upstream)
                }
            },
        };
        if request.method == b"HEAD" {
            result.response.body.clear();
        }
        if let Some(account) = exchanges.explain.account(&result.response.headers) {
            result.decision = serde_json::from_slice(account)
                .map_err(|error| format!("the filter's account of its decision: {error}"))?;
        }
        result.response.headers = exchanges.without_explain(result.response.headers);
        Ok(result)
    }

    /// Envoy's router: `cluster_header`, and in a cluster with endpoints the policy
    /// `override_host`. It reads the headers as the filter left them, because every change of them
    /// clears the route cache.
    fn route(&self, exchanges: &Exchanges, headers: &Pairs) -> Routed {
        let text = |name: &[u8]| {
            first_value(headers, name).map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let Some(cluster) = text(&exchanges.cluster_header) else {
            return match exchanges.own_route {
                true => Routed::Own,
                false => Routed::Nowhere,
            };
        };
        let Some(endpoints) = self.proxy.endpoints(&cluster) else {
            return Routed::Nowhere;
        };
        let chosen = text(&exchanges.endpoint_header).unwrap_or_default();
        let chosen = chosen.split(',').next().unwrap_or_default();
        // Envoy's fallback policy may take any endpoint; here it takes the first.
        let endpoint = endpoints.get(chosen).or(endpoints.first()).cloned();
        Routed::Cluster(cluster, endpoint)
    }
}

/// How a backend answers: what the client gets.
type Respond<'r> = &'r dyn Fn(&mut Stream, &Response) -> Response;

impl Host for World {
    /// A client keeps one connection for each scheme, address and TLS, and a connection stays on its
    /// worker; connections are assigned to the workers in turn.
    fn exchange(&mut self, request: &ExchangeRequest) -> Result<ExchangeResult, String> {
        let workers = self.workers.len();
        let exchanges = self.exchanges.as_mut().expect("built with `exchanges`");
        let connection = (
            request.scheme.clone(),
            request.client_ip,
            request.tls.clone(),
        );
        let worker = *exchanges.connections.entry(connection).or_insert_with(|| {
            exchanges.opened += 1;
            (exchanges.opened - 1) % workers
        });
        self.exchange_on(worker, request)
    }

    /// The connection of each such request is assigned to the workers in turn too.
    fn hold(&mut self, request: &ExchangeRequest) -> Result<ExchangeResult, String> {
        let exchanges = self.exchanges.as_mut().expect("built with `exchanges`");
        exchanges.opened += 1;
        let worker = (exchanges.opened - 1) % self.workers.len();
        let begins =
            |stream: &mut Stream, response: &Response| stream.response_headers(response, false);
        let (result, stream) = self.open_exchange(worker, request, &begins);
        match &result {
            Ok(ExchangeResult {
                upstream_headers: Some(_),
                ..
            }) => self.held.push(stream),
            _ => stream.close(),
        }
        result
    }

    fn advance(&mut self, by: Duration) {
        World::advance(self, by);
    }

    fn reconnect(&mut self) {
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.connections.clear();
        }
        self.held.drain(..).for_each(Stream::leaves);
    }

    fn name(&self) -> String {
        match self.code {
            Code::Linked(_) => "host-sim".to_owned(),
            Code::Module(_) => "host-sim with the module".to_owned(),
        }
    }
}
