//! The simulator as a [`Host`]: whole exchanges, with a backend that answers what it is told to.

use super::World;
use super::stream::{RequestOutcome, Stream, UpstreamFailure};
use crate::exchange::{ExchangeRequest, ExchangeResult, Host, Pairs};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The header and the secret of `explain` where the configuration does not have it.
const EXPLAIN: (&str, &str) = ("x-pointsman-explain", "host-sim");
/// The port that clients come from. Nothing depends on it.
const CLIENT_PORT: u16 = 50_000;

/// Where the backend of a cluster is whose endpoints no configuration names: an address for
/// documentation (RFC 5737).
const BACKEND: &str = "192.0.2.1:80";

/// What a world needs to know for exchanges.
#[derive(Clone, Debug)]
pub struct Exchanges {
    explain: (String, Vec<u8>),
    cluster_header: Vec<u8>,
    endpoint_header: Vec<u8>,
    pub(super) own_route: bool,
    /// Of each connection, by scheme and address, its worker.
    connections: BTreeMap<(Vec<u8>, Option<IpAddr>), usize>,
    /// How many connections there ever were.
    opened: usize,
}

impl Exchanges {
    /// Reads what it needs from a configuration, and switches `explain` on where it is off.
    pub(super) fn of(configuration: &mut Value) -> Exchanges {
        let explain = &mut configuration["explain"];
        if explain.is_null() {
            *explain = json!({ "header": EXPLAIN.0, "token": EXPLAIN.1 });
        }
        let text =
            |value: &Value, default: &str| value.as_str().unwrap_or(default).to_ascii_lowercase();
        let upstream = &configuration["upstream"];
        Exchanges {
            explain: (
                text(&configuration["explain"]["header"], EXPLAIN.0),
                configuration["explain"]["token"]
                    .as_str()
                    .unwrap_or_default()
                    .into(),
            ),
            cluster_header: text(&upstream["cluster_header"], "x-pointsman-cluster").into(),
            endpoint_header: text(&upstream["endpoint_header"], "x-pointsman-endpoint").into(),
            own_route: true,
            connections: BTreeMap::new(),
            opened: 0,
        }
    }

    /// The request as it reaches the filter.
    fn request(&self, ask: &ExchangeRequest) -> Pairs {
        let roll = ask
            .roll
            .map_or(String::new(), |roll| format!(";roll={roll}"));
        let token = [&self.explain.1, roll.as_bytes()].concat();
        let pseudo = [
            (":authority", &ask.authority),
            (":path", &ask.target),
            (":method", &ask.method),
            (":scheme", &ask.scheme),
        ];
        let pseudo = pseudo.map(|(name, value)| (name.into(), value.clone()));
        let explain = (self.explain.0.clone().into_bytes(), token);
        pseudo
            .into_iter()
            .chain(ask.headers.iter().cloned())
            .chain([explain])
            .collect()
    }

    /// Pairs without those that only the hosts know of.
    fn told(&self, mut pairs: Pairs) -> Pairs {
        pairs.retain(|(name, _)| *name != self.explain.0.as_bytes());
        pairs
    }
}

/// Where the router sends a request.
enum Routed {
    /// To this cluster, and this endpoint of it if it has any.
    Cluster(String, Option<String>),
    /// Along the proxy's own route, to a backend that no pool names: the header that names the
    /// cluster is missing.
    Own,
    /// Nowhere: there is no such cluster, or no header and no own route.
    Nowhere,
}

impl World {
    /// One exchange on this worker.
    ///
    /// # Panics
    /// In a world that was not built with [`super::Builder::exchanges`].
    pub fn exchange_on(
        &self,
        worker: usize,
        ask: &ExchangeRequest,
    ) -> Result<ExchangeResult, String> {
        let exchanges = self.exchanges.as_ref().expect("built with `exchanges`");
        let source = SocketAddr::new(
            ask.client_ip.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            CLIENT_PORT,
        );
        let mut stream = self.workers[worker].open_from(&exchanges.request(ask), source);
        let told = self.talk(exchanges, ask, &mut stream);
        stream.close();
        told
    }

    fn talk(
        &self,
        exchanges: &Exchanges,
        ask: &ExchangeRequest,
        stream: &mut Stream,
    ) -> Result<ExchangeResult, String> {
        let mut told = ExchangeResult {
            response: ask.upstream.clone(),
            upstream_headers: None,
            upstream_cluster: None,
            upstream_endpoint: None,
            decision: Value::Null,
        };
        told.response = match stream.request() {
            RequestOutcome::Wait => {
                return Err("the request waits for good: paused without an answer".to_owned());
            }
            RequestOutcome::Reply(response) => response,
            RequestOutcome::Forward(headers) => match self.route(exchanges, &headers) {
                Routed::Nowhere => stream.fails(UpstreamFailure::NoCluster),
                Routed::Own => {
                    told.upstream_headers = Some(exchanges.told(headers));
                    stream.response(&ask.upstream)
                }
                Routed::Cluster(cluster, endpoint) => {
                    told.upstream_headers = Some(exchanges.told(headers));
                    told.upstream_cluster = Some(cluster);
                    stream.tries(endpoint.as_deref().unwrap_or(BACKEND));
                    told.upstream_endpoint = endpoint;
                    stream.response(&ask.upstream)
                }
            },
        };
        if ask.method == b"HEAD" {
            told.response.body.clear();
        }
        if let Some(account) = first(&told.response.headers, exchanges.explain.0.as_bytes()) {
            told.decision = serde_json::from_slice(account)
                .map_err(|error| format!("the filter's account of its decision: {error}"))?;
        }
        told.response.headers = exchanges.told(told.response.headers);
        Ok(told)
    }

    /// Envoy's router: `cluster_header`, and in a cluster with endpoints the policy
    /// `override_host`. It looks at the headers as the filter left them, because every change of
    /// them clears the route cache.
    fn route(&self, exchanges: &Exchanges, headers: &Pairs) -> Routed {
        let text = |name: &[u8]| {
            first(headers, name).map(|value| String::from_utf8_lossy(value).into_owned())
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
        // The fallback policy takes any; here it is the first.
        let endpoint = endpoints.get(chosen).or(endpoints.first()).cloned();
        Routed::Cluster(cluster, endpoint)
    }
}

impl Host for World {
    /// A client keeps one connection for each scheme and address, and a connection stays on its
    /// worker; connections go to the workers in turn.
    fn exchange(&mut self, ask: &ExchangeRequest) -> Result<ExchangeResult, String> {
        let workers = self.workers.len();
        let exchanges = self.exchanges.as_mut().expect("built with `exchanges`");
        let connection = (ask.scheme.clone(), ask.client_ip);
        let worker = *exchanges.connections.entry(connection).or_insert_with(|| {
            exchanges.opened += 1;
            (exchanges.opened - 1) % workers
        });
        self.exchange_on(worker, ask)
    }

    fn advance(&mut self, by: Duration) {
        World::advance(self, by);
    }

    fn reconnect(&mut self) {
        if let Some(exchanges) = &mut self.exchanges {
            exchanges.connections.clear();
        }
    }

    fn name(&self) -> String {
        "host-sim".to_owned()
    }
}

fn first<'p>(pairs: &'p Pairs, name: &[u8]) -> Option<&'p [u8]> {
    let found = pairs.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| &value[..])
}
