//! A real Envoy with the probe in it.

use super::{End, PAIR, ProbeHost, REJECTED, clusters, fine};
use host_sim::backend::Answer;
use host_sim::client::Client;
use host_sim::envoy::fleet::{Fleet, Member};
use host_sim::envoy::{Deployment, PluginConfiguration};
use host_sim::exchange::{Pairs, Response};
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::testkit::raw_server::{self, CHUNK, HALF, SWITCHED, Then, read_until};
use hyper::http::Request;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

/// How long a connection may go on after a reload.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The port of tcpmux (RFC 1078), where no server listens.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// An answer with trailers.
const TRAILERS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\ngrpc-status: 14\r\n\r\n";

/// A real Envoy.
pub(crate) struct Real {
    site: Site,
    client: Client,
    /// Where the clusters are that no backend of the site stands for.
    moved: BTreeMap<&'static str, SocketAddr>,
    /// Connections on which a request goes on.
    held: Vec<TcpStream>,
}

impl Real {
    pub(crate) fn start(configuration: &str) -> Real {
        static PROBE: OnceLock<PathBuf> = OnceLock::new();
        let probe = PROBE.get_or_init(|| module::build_package("pointsman-probe").unwrap());
        let moved = BTreeMap::from([
            ("nobody", NOBODY),
            ("torn", raw_server::start(HALF, Then::Close)),
            ("cut", raw_server::start(CHUNK, Then::Close)),
            ("reset", raw_server::start(HALF, Then::Reset)),
            ("long", raw_server::start(HALF, Then::Wait)),
            ("trails", raw_server::start(TRAILERS, Then::Wait)),
            ("switches", raw_server::start(SWITCHED, Then::Wait)),
        ]);
        let site = Site::start_with(&clusters(), |fleet, deployment| {
            for member in fleet.members() {
                member.backend.answer(match &*member.cluster {
                    "up" => Answer::With(fine()),
                    "gone" => Answer::Close,
                    _ => Answer::After(Duration::from_secs(2), fine()),
                });
            }
            let mut deployment = deployment
                .with_module(probe)
                .with_workers(1)
                .with_drain_time(DRAIN_TIME)
                .with_upstream_protocol(
                    json!({ "http_protocol_options": { "enable_trailers": true } }),
                );
            adjust(&mut deployment);
            deployment = move_endpoints(deployment, fleet, &moved);
            let configuration = PluginConfiguration::Text(configuration.to_owned());
            Ok(deployment.with_configuration(configuration))
        });
        let site = site.unwrap();
        Real {
            client: site.client().unwrap(),
            site,
            moved,
            held: Vec::new(),
        }
    }

    /// Sends a request on a connection of its own, with more header lines.
    fn connect(&self, commands: &str, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.site.envoy.address().unwrap()).unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: probe\r\nx-do: {commands}\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Sends a request over HTTP/2, and resets its stream when the answer has begun.
    fn reset(&self, commands: &str) {
        let address = self.site.envoy.address().unwrap();
        let request = Request::get("http://probe/").header("x-do", commands);
        let request = request.body(()).unwrap();
        let exchange = async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let (response, mut stream) = client.send_request(request, true).unwrap();
            let mut body = response.await.unwrap().into_body();
            body.data().await.unwrap().unwrap();
            stream.send_reset(h2::Reason::CANCEL);
            drop((body, stream, client));
            // The connection ends once the reset is sent.
            let _ = connection.await;
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(exchange);
    }

    fn member(&self, cluster: &str) -> Option<&Member> {
        let mut members = self.site.fleet.members().iter();
        members.find(|member| member.cluster == cluster)
    }
}

/// What the laws need of Envoy itself.
fn adjust(deployment: &mut Deployment) {
    deployment.bootstrap_mut()["stats_config"]["stats_matcher"]["exclusion_list"]["patterns"] =
        json!([{ "prefix": format!("wasmcustom.{REJECTED}") }]);
    let manager = deployment.connection_manager_mut();
    manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
    // A stream that goes on is logged too, again and again; that must not look like its end.
    manager["access_log_options"] =
        json!({ "access_log_flush_interval": "0.01s", "flush_access_log_on_new_request": true });
    let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
    routes
        .unwrap()
        .iter_mut()
        .for_each(|route| route["route"]["timeout"] = "1s".into());
}

/// Leads the clusters to where they are, and the endpoints of `pair` to `up` and to [`NOBODY`].
fn move_endpoints(
    mut deployment: Deployment,
    fleet: &Fleet,
    moved: &BTreeMap<&str, SocketAddr>,
) -> Deployment {
    let members = fleet.members();
    let up = members.iter().find(|member| member.cluster == "up");
    let up = up.unwrap().backend.address();
    for member in members {
        let to = match (&*member.cluster, member.endpoint.as_deref()) {
            ("pair", Some(endpoint)) if endpoint == PAIR[0] => Some(up),
            ("pair", _) => Some(NOBODY),
            (cluster, _) => moved.get(cluster).copied(),
        };
        if let Some(to) = to {
            deployment = deployment.move_endpoint(member.backend.address(), to);
        }
    }
    deployment
}

/// What Envoy and the backends add to an answer.
const ADDED: [&str; 5] = [
    "date",
    "server",
    "content-length",
    "x-backend",
    "x-envoy-upstream-service-time",
];

impl ProbeHost for Real {
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>) {
        let response = self.client.get_with("probe", "/", headers).unwrap();
        let pairs = response.headers().iter();
        let pairs = pairs
            .filter(|(name, _)| !ADDED.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()));
        let received = self.site.fleet.take_received().pop();
        let response = Response {
            status: response.status().as_u16(),
            headers: pairs.collect(),
            body: response.body().to_vec(),
        };
        (response, received.map(|received| received.headers))
    }

    fn trap(&mut self) -> Option<u16> {
        Some(self.send(&[("x-do", "trap")]).0.status)
    }

    fn update(&mut self, configuration: &str) -> bool {
        let text = PluginConfiguration::Text(configuration.to_owned());
        let deployment = self.site.envoy.deployment().clone();
        let updated = self.site.envoy.update(deployment.with_configuration(text));
        self.client.disconnect();
        self.client = self.site.client().unwrap();
        updated.is_ok()
    }

    fn wait(&mut self, time: Duration) {
        sleep(time);
    }

    fn address(&self, cluster: &str) -> String {
        let address = self.moved.get(cluster).copied();
        address
            .or_else(|| Some(self.member(cluster)?.backend.address()))
            .unwrap()
            .to_string()
    }

    fn ends(&mut self, end: End, cluster: &str, commands: &str) {
        let commands = format!("{commands}; put request x-pointsman-cluster {cluster}; go");
        match end {
            End::Answered => {
                // Some answers break off.
                let _ = self.client.get_with("probe", "/", &[("x-do", commands)]);
            }
            End::Left => {
                let before = self
                    .member(cluster)
                    .map_or(0, |member| member.backend.count());
                let mut stream = self.connect(&commands, "");
                match cluster {
                    "long" => read_until(&mut stream, "half"),
                    _ => {
                        let backend = &self.member(cluster).unwrap().backend;
                        host_sim::wait::until("it is asked", || backend.count() > before);
                    }
                }
            }
            End::Reset => self.reset(&commands),
            End::LeftUploading => {
                let mut stream = self.connect(&commands, "content-length: 100\r\n");
                read_until(&mut stream, "half");
            }
            End::Switched => {
                let mut stream =
                    self.connect(&commands, "connection: upgrade\r\nupgrade: websocket\r\n");
                read_until(&mut stream, "half");
            }
        }
    }

    fn update_during_a_request(&mut self, configuration: &str) {
        let mut stream = self.connect("put request x-pointsman-cluster long; go", "");
        read_until(&mut stream, "half");
        self.held.push(stream);
        assert!(self.update(configuration));
    }
}
