//! The behaviours of Envoy that `host-sim` copies, each asked of both: of the simulated host, and
//! of a real Envoy. The table in the docs of `host_sim::world` names these laws.
//!
//! `pointsman-probe` makes the host calls, and answers with what they returned.

use host_sim::backend::{Answer, Backend};
use host_sim::client::Client;
use host_sim::envoy::fleet::{Fleet, Member};
use host_sim::envoy::{Deployment, Envoy, PluginConfiguration, Wanted, install};
use host_sim::exchange::{ExchangeRequest, Host, Pairs, Response};
use host_sim::module;
use host_sim::world::proxy::Clusters;
use host_sim::world::stream::{RequestOutcome, Stream, UpstreamFailure};
use host_sim::world::{HttpCallOutcome, World};
use http_body_util::Full;
use hyper::Request;
use pointsman_tests::{Then, read_until, server};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

/// After this time a VM that traps is replaced with the next request: a second, and Envoy's jitter
/// of half of that.
const RELOAD_BACK_OFF: Duration = Duration::from_millis(1600);

/// A host with the probe in it and one worker. A request takes a second at most. The clusters:
/// `up`, `gone` (closes connections), `torn` (closes them in the middle of an answer), `slow`
/// (answers after two seconds), `nobody` (refuses connections), `long` (answers a little, and never
/// ends), `trails` (answers with trailers), `switches` (to whatever protocol the client wants), and
/// `pair`, whose endpoints are those of `up` and of `nobody`.
trait Site {
    /// Sends a request; what comes back, and what the backend got if one was asked.
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>);
    /// The VM traps while it handles a request. What its client gets, where that can be known.
    fn trap(&mut self) -> Option<u16>;
    /// Another plugin configuration. False: it was refused.
    fn update(&mut self, configuration: &str) -> bool;
    /// Lets time pass.
    fn wait(&mut self, time: Duration);
    /// `ip:port` of a cluster's one endpoint.
    fn address(&self, cluster: &str) -> String;
    /// A request to a cluster, with these commands, that ends so; and until its end is told.
    fn ends(&mut self, end: End, cluster: &str, commands: &str);
    /// A request to `long` that goes on until the next reload but one; then another plugin
    /// configuration.
    fn update_during_a_request(&mut self, configuration: &str);

    /// What the commands returned.
    fn did(&mut self, commands: &str) -> String {
        let (response, _) = self.send(&[("x-do", commands)]);
        assert_eq!(response.status, 200, "{commands}");
        String::from_utf8(response.body).unwrap()
    }
}

/// Waits until there is something to be seen: in a minute at most.
fn until(site: &mut dyn Site, what: &str, look: &mut dyn FnMut(&mut dyn Site) -> bool) {
    for _ in 0..600 {
        if look(site) {
            return;
        }
        site.wait(Duration::from_millis(100));
    }
    panic!("not within a minute: {what}");
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// As its cluster answers.
    Answered,
    /// The client leaves as soon as the cluster was asked, or has begun to answer.
    Left,
    /// The client asks for another protocol, and leaves when it has it.
    Switched,
}

const CLUSTERS: [&str; 8] = [
    "up", "gone", "slow", "torn", "nobody", "long", "trails", "switches",
];
const PAIR: [&str; 2] = ["127.0.0.1:9101", "127.0.0.1:9102"];
/// The port of tcpmux (RFC 1078), where nobody listens.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
/// Metrics of this name are rejected by the proxy's `stats_matcher`.
const REJECTED: &str = "rejected.";

/// Pools for nothing but their clusters.
fn clusters() -> Value {
    let targets = CLUSTERS.map(|cluster| json!({ "cluster": cluster }));
    let pair = PAIR.map(|endpoint| json!({ "endpoint": endpoint }));
    json!({ "pools": { "all": { "targets": targets }, "pair": { "cluster": "pair", "targets": pair } } })
}

fn fine() -> Response {
    Response {
        status: 200,
        headers: vec![(b"x-up".to_vec(), b"1".to_vec())],
        body: b"fine".to_vec(),
    }
}

/// The simulated host.
struct Simulated(World);

impl Simulated {
    fn start(configuration: &str) -> Simulated {
        let mut clusters: Clusters = CLUSTERS
            .map(|name| (name.to_owned(), BTreeSet::new()))
            .into();
        clusters.insert("pair".to_owned(), PAIR.map(str::to_owned).into());
        let builder = World::builder().guest(pointsman_probe::start);
        let builder = builder
            .exchanges(&self::clusters())
            .config(configuration.as_bytes())
            .clusters(clusters)
            .without_own_route();
        let world = builder.start().unwrap();
        world.proxy().metrics().reject(REJECTED);
        Simulated(world)
    }

    fn request(&self, cluster: &str, commands: &str) -> Stream {
        let choose = format!("{commands}; put request x-pointsman-cluster {cluster}; go");
        let headers = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "probe"),
            (":path", "/"),
            ("x-do", &choose),
        ];
        let headers = headers.map(|(name, value)| (name.into(), value.into()));
        let mut stream = self.0.open(0, &headers.into());
        assert!(matches!(stream.request(), RequestOutcome::Forward(_)));
        stream
    }
}

impl Site for Simulated {
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>) {
        let told = self.0.exchange(&ExchangeRequest {
            method: b"GET".to_vec(),
            scheme: b"http".to_vec(),
            authority: b"probe".to_vec(),
            target: b"/".to_vec(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
            client_ip: None,
            roll: None,
            upstream: fine(),
        });
        let told = told.unwrap();
        (told.response, told.upstream_headers)
    }

    fn trap(&mut self) -> Option<u16> {
        self.0.kill(0);
        None
    }

    fn update(&mut self, configuration: &str) -> bool {
        self.0.reload(configuration.as_bytes()).is_ok()
    }

    fn wait(&mut self, time: Duration) {
        let step = Duration::from_millis(10);
        let mut left = time;
        while !left.is_zero() {
            for call in self.0.http_calls() {
                let endpoint = call
                    .headers
                    .iter()
                    .find(|(name, _)| name == b"x-pointsman-endpoint");
                match &*call.cluster {
                    "pair" if endpoint.is_some_and(|(_, value)| value == PAIR[0].as_bytes()) => {
                        self.0
                            .end_http_call(call.token, &HttpCallOutcome::Answer(fine()))
                    }
                    "up" => self
                        .0
                        .end_http_call(call.token, &HttpCallOutcome::Answer(fine())),
                    "gone" | "pair" | "nobody" => self
                        .0
                        .end_http_call(call.token, &HttpCallOutcome::Unreachable),
                    "torn" => self.0.end_http_call(call.token, &HttpCallOutcome::Broken),
                    _ => true,
                };
            }
            self.0.advance(step.min(left));
            left = left.saturating_sub(step);
        }
    }

    fn address(&self, cluster: &str) -> String {
        match cluster {
            "up" => PAIR[0].to_owned(),
            "nobody" => PAIR[1].to_owned(),
            _ => format!("{cluster}:1"),
        }
    }

    fn ends(&mut self, end: End, cluster: &str, commands: &str) {
        let mut stream = self.request(cluster, commands);
        let first = |status| Response { status, ..fine() };
        if cluster != "nowhere" {
            let retried = commands.contains("x-pointsman-endpoint");
            [("nobody", retried), (cluster, !retried), ("up", retried)]
                .iter()
                .filter(|(_, tried)| *tried)
                .for_each(|(cluster, _)| stream.tries(&self.address(cluster)));
        }
        match (end, cluster) {
            (End::Left, "long") => {
                stream.response_headers(&first(200), false);
                stream.response_body(4, false);
                return stream.leaves();
            }
            (End::Left, _) => return stream.leaves(),
            (End::Switched, _) => {
                stream.response_headers(&first(101), false);
                return stream.leaves();
            }
            (End::Answered, "torn") => {
                stream.response_headers(&first(200), false);
                stream.response_body(4, false);
                return stream.breaks();
            }
            (End::Answered, "trails") => {
                stream.response_headers(&first(200), false);
                stream.response_body(4, false);
                stream.response_trailers(&vec![(b"grpc-status".to_vec(), b"14".to_vec())]);
            }
            (End::Answered, "nowhere") => drop(stream.fails(UpstreamFailure::NoCluster)),
            (End::Answered, "nobody") => drop(stream.fails(UpstreamFailure::Unreachable)),
            (End::Answered, "gone") => drop(stream.fails(UpstreamFailure::Closed)),
            (End::Answered, "slow") => drop(stream.fails(UpstreamFailure::TimedOut)),
            (End::Answered, _) => drop(stream.response(&fine())),
        }
        stream.close();
    }

    fn update_during_a_request(&mut self, configuration: &str) {
        // Never closed.
        let _held = self.request("long", "");
        self.0.reload(configuration.as_bytes()).unwrap();
    }
}

/// A real Envoy.
struct Real {
    envoy: Envoy,
    fleet: Fleet,
    client: Client,
    deployment: Deployment,
    /// Where the clusters are that are no members of the fleet.
    moved: BTreeMap<&'static str, SocketAddr>,
    /// Connections on which a request goes on.
    held: Vec<TcpStream>,
}

impl Real {
    fn start(configuration: &str) -> Real {
        static PROBE: OnceLock<PathBuf> = OnceLock::new();
        let probe = PROBE.get_or_init(|| module::build_package("pointsman-probe").unwrap());
        let fleet = Fleet::start(&clusters()).unwrap();
        for member in fleet.members() {
            member.backend.answer(match &*member.cluster {
                "up" => Answer::With(fine()),
                "gone" => Answer::Close,
                _ => Answer::After(Duration::from_secs(2), fine()),
            });
        }
        let moved = BTreeMap::from([
            ("nobody", NOBODY),
            (
                "torn",
                server(
                    "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
                    Then::Close,
                ),
            ),
            (
                "long",
                server(
                    "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
                    Then::Wait,
                ),
            ),
            (
                "trails",
                server(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\ngrpc-status: 14\r\n\r\n",
                    Then::Wait,
                ),
            ),
            (
                "switches",
                server(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhalf",
                    Then::Wait,
                ),
            ),
        ]);
        let mut deployment = Deployment::of(&fleet, probe)
            .unwrap()
            .with_workers(1)
            .with_drain_time(DRAIN_TIME)
            .with_upstream_protocol(json!({ "http_protocol_options": { "enable_trailers": true } }))
            .updatable();
        for member in fleet.members() {
            let up = fleet
                .members()
                .iter()
                .find(|member| member.cluster == "up")
                .unwrap();
            let to = match (&*member.cluster, member.endpoint.as_deref()) {
                ("pair", Some(endpoint)) if endpoint == PAIR[0] => Some(up.backend.address()),
                ("pair", _) => Some(NOBODY),
                (cluster, _) => moved.get(cluster).copied(),
            };
            if let Some(to) = to {
                deployment = deployment.move_endpoint(member.backend.address(), to);
            }
        }
        let bootstrap = deployment.bootstrap_mut();
        bootstrap["stats_config"]["stats_matcher"]["exclusion_list"]["patterns"] =
            json!([{ "prefix": format!("wasmcustom.{REJECTED}") }]);
        let manager = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
            [0]["typed_config"];
        manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
        // A stream that goes on is logged too, again and again; that must not look like its end.
        manager["access_log_options"] = json!({ "access_log_flush_interval": "0.01s", "flush_access_log_on_new_request": true });
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
        routes
            .unwrap()
            .iter_mut()
            .for_each(|route| route["route"]["timeout"] = "1s".into());
        let deployment =
            deployment.with_configuration(PluginConfiguration::Text(configuration.to_owned()));
        let envoy = Envoy::start(&install::find(Wanted::Any).unwrap(), deployment.clone()).unwrap();
        Real {
            client: envoy.client().unwrap(),
            envoy,
            fleet,
            deployment,
            moved,
            held: Vec::new(),
        }
    }

    /// Sends a request on a connection of its own.
    fn connect(&self, commands: &str, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.envoy.address().unwrap()).unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: probe\r\nx-do: {commands}\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    fn member(&self, cluster: &str) -> Option<&Member> {
        self.fleet
            .members()
            .iter()
            .find(|member| member.cluster == cluster)
    }
}

/// How long a connection may go on after a reload.
const DRAIN_TIME: Duration = Duration::from_secs(10);

impl Site for Real {
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>) {
        let request = Request::get("/").header("host", "probe");
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let response = self
            .client
            .send(request.body(Full::default()).unwrap())
            .unwrap();
        let pairs = response.headers().iter();
        let pairs = pairs
            .map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()));
        let added = [
            "date",
            "server",
            "content-length",
            "x-backend",
            "x-envoy-upstream-service-time",
        ];
        let pairs = pairs.filter(|(name, _)| !added.iter().any(|added| name == added.as_bytes()));
        let received = self
            .fleet
            .members()
            .iter()
            .flat_map(|member| Backend::take_received(&member.backend))
            .last();
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
        let updated = self
            .envoy
            .update(self.deployment.clone().with_configuration(text))
            .is_ok();
        self.client.disconnect();
        self.client = self.envoy.client().unwrap();
        updated
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
                let _ = self.client.send(
                    Request::get("/")
                        .header("host", "probe")
                        .header("x-do", commands)
                        .body(Full::default())
                        .unwrap(),
                );
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
                        pointsman_tests::until("it is asked", || backend.count() > before);
                    }
                }
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

/// Each law, with the configuration that it starts with, on both hosts.
macro_rules! laws {
    ($($(#[$doc:meta])* $name:ident($configuration:literal);)*) => {
        mod simulated {
            $(#[test] fn $name() { super::$name(&mut super::Simulated::start($configuration)); })*
        }
        mod envoy {
            $(#[test] fn $name() { super::$name(&mut super::Real::start($configuration)); })*
        }
        #[test]
        fn every_law_stands_in_the_table_of_the_simulated_host() {
            let world = include_str!("../host-sim/src/world.rs");
            for law in [$(stringify!($name)),*] {
                assert!(world.contains(&format!("`{law}`")), "{law}");
            }
        }
    };
}

laws! {
    cas_decides_where_the_key_exists_and_is_ignored_where_it_does_not("");
    writes_of_all_keys_are_numbered_in_one_row("");
    an_empty_value_is_a_value("");
    names_have_no_case_and_pseudo_headers_come_first("");
    set_replaces_every_value_and_reading_one_gives_the_first("");
    a_map_is_there_only_in_its_phase("");
    a_changed_request_header_chooses_the_route_anew("");
    a_cluster_that_is_unknown_or_not_named_is_503_through_the_response_phase("");
    a_local_reply_passes_the_response_phase("");
    a_local_reply_is_plain_text_unless_it_says_otherwise_and_without_a_body_nothing("");
    only_the_first_local_reply_counts("");
    properties_of_the_connection_are_there_and_unknown_ones_are_not_found("");
    a_metric_defined_twice_has_two_ids_and_one_value("");
    each_kind_of_metric_takes_only_what_it_can("");
    the_configuration_is_there_only_while_it_is_loaded("text");
    a_configuration_is_loaded_workers_plus_two_times("");
    a_refused_configuration_leaves_the_one_before_and_shared_data("");
    randomness_comes_in_pieces_of_at_most_64_kib("");
    a_trap_answers_503_and_the_next_request_has_a_fresh_vm("");
    an_http_call_is_answered_by_the_proxy_where_the_backend_does_not_and_broken_ones_have_no_headers("call up slow gone torn nobody nowhere");
    an_http_call_reaches_the_endpoint_that_its_header_names("");
    a_gauge_has_no_sign_and_wraps_around("");
    what_is_added_to_a_metric_that_the_proxy_rejects_is_lost("");
    the_end_of_a_stream_is_told_once_with_what_became_of_it("");
    the_upstream_address_is_the_one_that_was_tried_last("");
    workers_and_the_main_thread_tick_and_share_gauges("tick a");
    the_ticks_of_a_root_context_go_on_while_it_has_streams("tick a");
}

fn cas_decides_where_the_key_exists_and_is_ignored_where_it_does_not(site: &mut dyn Site) {
    assert_eq!(site.did("get k"), "1 ");
    assert_eq!(site.did("set k a never; set k b never; get k"), "0;8;0 a");
    assert_eq!(
        site.did("get k; set k c other; set k d same; set k e same; get k"),
        "0 a;8;0;8;0 d"
    );
    assert_eq!(site.did("set k f 0; get k"), "0;0 f");
    assert_eq!(site.did("set fresh x other; get fresh"), "0;0 x");
}

/// What the filter foretells versions by, to write without a read.
fn writes_of_all_keys_are_numbered_in_one_row(site: &mut dyn Site) {
    assert_eq!(site.did("set one a never; get one"), "0;0 a");
    // Another key, then this one; its version is neither its own next one nor a later one.
    assert_eq!(
        site.did("get one; set two a 0; set one b same; set one c 1; set one c 3; set one c 2"),
        "0 a;0;0;8;8;0"
    );
    // A write that is refused takes no number.
    assert_eq!(
        site.did("get one; set one d other; set two d never; set one d same; set one e 1"),
        "0 c;8;8;0;0"
    );
}

fn an_empty_value_is_a_value(site: &mut dyn Site) {
    assert_eq!(site.did("set k  0; get k; set k x never"), "0;0 ;8");
}

fn names_have_no_case_and_pseudo_headers_come_first(site: &mut dyn Site) {
    let did =
        site.did("put request X-New 1; header request x-NEW; put request :path /p; names request");
    let (first, names) = did.rsplit_once(";0 ").unwrap();
    assert_eq!(first, "0;0 1;0");
    let names: Vec<_> = names.split(' ').collect();
    let pseudo = names
        .iter()
        .take_while(|name| name.starts_with(':'))
        .count();
    assert_eq!(pseudo, 4, "{names:?}");
    assert_eq!(
        names[3], ":path",
        "what is set moves to the end of its kind: {names:?}"
    );
    assert_eq!(*names.last().unwrap(), "x-new");
}

fn set_replaces_every_value_and_reading_one_gives_the_first(site: &mut dyn Site) {
    let commands = "add request x-a 1; add request x-a 2; header request x-a; put request x-a 3; add request x-b 4; \
                    remove request x-c; remove request x-b; header request x-b; put request x-pointsman-cluster up; go";
    let (_, upstream) = site.send(&[("x-do", commands)]);
    let upstream = upstream.unwrap();
    let values = |name: &str| {
        let named = upstream
            .iter()
            .filter(|(other, _)| other == name.as_bytes());
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values("x-a"), ["3"]);
    assert_eq!(values("x-b"), [""; 0]);
    assert_eq!(
        site.did(commands.trim_end_matches("; go")),
        "0;0;0 1;0;0;0;0;1 ;0"
    );
}

fn a_map_is_there_only_in_its_phase(site: &mut dyn Site) {
    assert_eq!(
        site.did("names response; put response x-a 1; header call :status"),
        "0 ;2;2 "
    );
    let (response, _) = site.send(&[
        ("x-do", "go"),
        ("x-do-response", "header request :path; put request x-a 1"),
    ]);
    assert_eq!(value(&response, "x-did"), "2 ;2");
    // After a local reply the request's map is still there: its callback did not let the stream go
    // on.
    let (response, _) = site.send(&[("x-do-response", "header request :path; put request x-a 1")]);
    assert_eq!(value(&response, "x-did"), "0 /;0");
}

fn a_changed_request_header_chooses_the_route_anew(site: &mut dyn Site) {
    let (response, upstream) = site.send(&[("x-do", "put request x-pointsman-cluster up; go")]);
    assert_eq!((response.status, &response.body[..]), (200, &b"fine"[..]));
    assert!(upstream.is_some());
}

fn a_cluster_that_is_unknown_or_not_named_is_503_through_the_response_phase(site: &mut dyn Site) {
    for commands in ["put request x-pointsman-cluster nowhere; go", "go"] {
        let (response, upstream) = site.send(&[
            ("x-do", commands),
            ("x-do-response", "header response :status"),
        ]);
        assert_eq!(
            (response.status, value(&response, "x-did")),
            (503, "0 503".to_owned())
        );
        assert_eq!(upstream, None);
    }
}

fn a_local_reply_passes_the_response_phase(site: &mut dyn Site) {
    let (response, upstream) = site.send(&[
        ("x-do", "reply 403 no x-a=1"),
        (
            "x-do-response",
            "header response :status; put response x-a 2; add response x-a 3",
        ),
    ]);
    assert_eq!((response.status, &response.body[..]), (403, &b"no"[..]));
    assert_eq!(value(&response, "x-did"), "0 403;0;0");
    assert_eq!(value(&response, "x-a"), "2,3");
    assert_eq!(upstream, None);
}

fn a_local_reply_is_plain_text_unless_it_says_otherwise_and_without_a_body_nothing(
    site: &mut dyn Site,
) {
    for (commands, content_type) in [
        ("reply 200 text", "text/plain"),
        (
            "reply 200 {} content-type=application/json",
            "application/json",
        ),
        ("reply 200 -", ""),
        ("reply 200 - content-type=application/json", ""),
    ] {
        let (response, _) = site.send(&[("x-do", commands)]);
        assert_eq!(value(&response, "content-type"), content_type, "{commands}");
    }
}

fn only_the_first_local_reply_counts(site: &mut dyn Site) {
    let (response, _) = site.send(&[("x-do", "reply 403 first; reply 404 second")]);
    assert_eq!((response.status, &response.body[..]), (403, &b"first"[..]));
}

fn properties_of_the_connection_are_there_and_unknown_ones_are_not_found(site: &mut dyn Site) {
    let did = site.did("property source.address; property no.such.thing");
    let (address, unknown) = did.split_once(';').unwrap();
    assert!(address.starts_with("0 127.0.0.1:"), "{address}");
    assert_eq!(unknown, "1 ");
}

fn a_metric_defined_twice_has_two_ids_and_one_value(site: &mut dyn Site) {
    let did = site.did("define counter c; up 2; define counter c; value; up 1; value");
    assert_eq!(did, "0 another id;0;0 another id;0 2;0;0 3");
}

fn each_kind_of_metric_takes_only_what_it_can(site: &mut dyn Site) {
    assert_eq!(
        site.did("define counter d; up -1; record 5; value"),
        "0 another id;2;0;0 5"
    );
    assert_eq!(
        site.did("define gauge g; up 5; up -2; value; record 9; value"),
        "0 another id;0;0;0 3;0;0 9"
    );
    assert_eq!(
        site.did("define histogram h; up 1; record 5; value"),
        "0 another id;2;0;2 0"
    );
}

fn the_configuration_is_there_only_while_it_is_loaded(site: &mut dyn Site) {
    assert_eq!(site.did("configuration"), "1 ");
}

fn a_configuration_is_loaded_workers_plus_two_times(site: &mut dyn Site) {
    assert_eq!(site.did("get configured"), "0 3");
}

fn a_refused_configuration_leaves_the_one_before_and_shared_data(site: &mut dyn Site) {
    assert_eq!(site.did("set k v 0"), "0");
    assert!(!site.update("refuse"));
    assert_eq!(site.did("get k"), "0 v");
    assert!(site.update("another"));
    assert_eq!(site.did("get k"), "0 v");
}

fn randomness_comes_in_pieces_of_at_most_64_kib(site: &mut dyn Site) {
    assert_eq!(site.did("random 0; random 65536; random 65537"), "0;0;28");
}

fn a_trap_answers_503_and_the_next_request_has_a_fresh_vm(site: &mut dyn Site) {
    assert_eq!(
        site.did("set k v 0; define counter t; up 1"),
        "0;0 another id;0"
    );
    site.wait(RELOAD_BACK_OFF);
    let status = site.trap();
    assert!([None, Some(503)].contains(&status), "{status:?}");
    assert_eq!(
        site.did("get k; define counter t; value; get configured"),
        "0 v;0 another id;0 1;0 4"
    );
    // A VM that was loaded a moment ago is not replaced at once.
    site.trap();
    let (response, _) = site.send(&[("x-do", "get k")]);
    assert_eq!(response.status, 503);
    site.wait(RELOAD_BACK_OFF);
    assert_eq!(site.did("get k; get configured"), "0 v;0 5");
}

fn an_http_call_is_answered_by_the_proxy_where_the_backend_does_not_and_broken_ones_have_no_headers(
    site: &mut dyn Site,
) {
    site.wait(Duration::from_millis(1000));
    assert_eq!(site.did("get called.nowhere"), "0 not: 2");
    assert_eq!(site.did("get called.up"), "0 some headers, 0 200, 0 fine");
    assert_eq!(
        site.did("get called.slow"),
        "0 some headers, 0 504, 0 upstream request timeout"
    );
    assert!(
        site.did("get called.gone")
            .starts_with("0 some headers, 0 503, 0 upstream connect error")
    );
    assert!(
        site.did("get called.nobody")
            .starts_with("0 some headers, 0 503, 0 upstream connect error")
    );
    assert_eq!(site.did("get called.torn"), "0 no headers, 2 , 1 ");
}

fn an_http_call_reaches_the_endpoint_that_its_header_names(site: &mut dyn Site) {
    let (up, nobody) = (site.address("up"), site.address("nobody"));
    assert!(site.update(&format!("call pair={up} pair={nobody}")));
    site.wait(Duration::from_millis(1000));
    assert_eq!(
        site.did(&format!("get called.pair={up}")),
        "0 some headers, 0 200, 0 fine"
    );
    let nobody = site.did(&format!("get called.pair={nobody}"));
    assert!(
        nobody.starts_with("0 some headers, 0 503, 0 upstream connect error"),
        "{nobody}"
    );
}

fn a_gauge_has_no_sign_and_wraps_around(site: &mut dyn Site) {
    assert_eq!(
        site.did("define gauge low; up -1; value; up 3; value"),
        "0 another id;0;0 18446744073709551615;0;0 2"
    );
}

fn what_is_added_to_a_metric_that_the_proxy_rejects_is_lost(site: &mut dyn Site) {
    for kind in ["gauge", "counter"] {
        let did = site.did(&format!(
            "define {kind} rejected.{kind}; up 1; value; record 7; value"
        ));
        assert_eq!(did, "0 another id;0;0 0;0;0 0", "{kind}");
    }
}

fn the_end_of_a_stream_is_told_once_with_what_became_of_it(site: &mut dyn Site) {
    for (number, (end, cluster, told)) in [
        (End::Answered, "up", "end body, code 200, flags 0, grpc 2"),
        (
            End::Answered,
            "trails",
            "end trailers, code 200, flags 0, grpc 14",
        ),
        (
            End::Answered,
            "torn",
            "end nowhere, code 200, flags 8388608, grpc 2",
        ),
        (
            End::Answered,
            "gone",
            "end body, code 503, flags 32832, grpc 14",
        ),
        (
            End::Answered,
            "nobody",
            "end body, code 503, flags 32800, grpc 14",
        ),
        (
            End::Answered,
            "slow",
            "end body, code 504, flags 4, grpc 14",
        ),
        (
            End::Answered,
            "nowhere",
            "end headers, code 503, flags 16777216, grpc 14",
        ),
        (
            End::Left,
            "slow",
            "end nowhere, code not: 1, flags 16384, grpc not: 1",
        ),
        (
            End::Left,
            "long",
            "end nowhere, code 200, flags 16384, grpc 2",
        ),
        (
            End::Switched,
            "switches",
            "end nowhere, code 101, flags 16384, grpc 2",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        site.ends(end, cluster, &format!("log {number}"));
        let upstream = match cluster {
            "nowhere" => "1 ".to_owned(),
            _ => format!("0 {}", site.address(cluster)),
        };
        assert_eq!(
            is_told(site, number),
            format!("0 {told}, upstream {upstream}\n"),
            "{cluster}"
        );
    }
}

fn is_told(site: &mut dyn Site, name: impl Display) -> String {
    let get = format!("get log.{name}");
    until(site, "the end of a stream", &mut |site| {
        site.did(&get) != "1 "
    });
    site.did(&get)
}

fn the_upstream_address_is_the_one_that_was_tried_last(site: &mut dyn Site) {
    let (up, nobody) = (site.address("up"), site.address("nobody"));
    let list = format!("log retried; put request x-pointsman-endpoint {nobody},{up}");
    site.ends(End::Answered, "pair", &list);
    assert_eq!(
        is_told(site, "retried"),
        format!("0 end body, code 200, flags 0, grpc 2, upstream 0 {up}\n")
    );
}

fn workers_and_the_main_thread_tick_and_share_gauges(site: &mut dyn Site) {
    until(site, "two VMs that tick", &mut |site| {
        let did = site.did("define gauge ticking.a; value");
        assert!(
            ["0 another id;0 0", "0 another id;0 1", "0 another id;0 2"].contains(&&*did),
            "{did}"
        );
        did.ends_with('2')
    });
}

fn the_ticks_of_a_root_context_go_on_while_it_has_streams(site: &mut dyn Site) {
    site.update_during_a_request("tick b");
    let ticked = |site: &mut dyn Site| site.did("get ticked.a");
    for _ in 0..2 {
        let before = ticked(site);
        until(site, "a tick", &mut |site| ticked(site) != before);
    }
}

/// The values of a header, joined.
fn value(response: &Response, name: &str) -> String {
    let named = response
        .headers
        .iter()
        .filter(|(other, _)| other == name.as_bytes());
    let values: Vec<_> = named
        .map(|(_, value)| String::from_utf8_lossy(value))
        .collect();
    values.join(",")
}
