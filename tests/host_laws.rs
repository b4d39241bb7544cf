//! The behaviours of Envoy that `host-sim` copies, each asked of both: of the simulated host, and of a real Envoy. The
//! table in the docs of `host_sim::world` names these laws.
//!
//! `pointsman-probe` makes the host calls, and answers with what they returned.

use host_sim::backend::{Answer, Backend};
use host_sim::client::Client;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Envoy, PluginConfiguration, Wanted, install};
use host_sim::exchange::{Ask, Host, Pairs, Response};
use host_sim::module;
use host_sim::world::proxy::Clusters;
use host_sim::world::{Outcome, World};
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::{sleep, spawn};
use std::time::Duration;

/// After this time a VM that traps is replaced with the next request: a second, and Envoy's jitter of half of that.
const RELOAD_BACK_OFF: Duration = Duration::from_millis(1600);

/// A host with the probe in it, one worker, and the clusters `up`, `gone` (closes connections), `torn` (closes them in the
/// middle of an answer) and `slow` (answers after two seconds).
trait Site {
    /// Sends a request; what comes back, and what the backend got if one was asked.
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>);
    /// The VM traps while it handles a request. What its client gets, where that can be known.
    fn trap(&mut self) -> Option<u16>;
    /// Another plugin configuration. False: it was refused.
    fn update(&mut self, configuration: &str) -> bool;
    /// Lets time pass.
    fn wait(&mut self, time: Duration);

    /// What the commands returned.
    fn did(&mut self, commands: &str) -> String {
        let (response, _) = self.send(&[("x-do", commands)]);
        assert_eq!(response.status, 200, "{commands}");
        String::from_utf8(response.body).unwrap()
    }
}

/// Pools for nothing but their clusters.
fn clusters() -> Value {
    json!({ "pools": { "all": { "targets": [{ "cluster": "up" }, { "cluster": "gone" }, { "cluster": "slow" }, { "cluster": "torn" }] } } })
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
        let clusters: Clusters = ["up", "gone", "slow", "torn"]
            .map(|name| (name.to_owned(), BTreeSet::new()))
            .into();
        let builder = World::builder().guest(pointsman_probe::start);
        let builder = builder
            .exchanges(&self::clusters())
            .config(configuration.as_bytes())
            .clusters(clusters)
            .without_own_route();
        Simulated(builder.start().unwrap())
    }
}

impl Site for Simulated {
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>) {
        let told = self.0.exchange(&Ask {
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
            let worker = &self.0.workers()[0];
            for call in worker.http_calls() {
                match &*call.cluster {
                    "up" => worker.end_http_call(call.token, &Outcome::Answer(fine())),
                    "gone" => worker.end_http_call(call.token, &Outcome::Unreachable),
                    "torn" => worker.end_http_call(call.token, &Outcome::Broken),
                    _ => true,
                };
            }
            self.0.advance(step.min(left));
            left = left.saturating_sub(step);
        }
    }
}

/// A real Envoy.
struct Real {
    envoy: Envoy,
    fleet: Fleet,
    client: Client,
    deployment: Deployment,
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
        let mut deployment = Deployment::of(&fleet, probe).unwrap().with_workers(1).updatable();
        for member in fleet.members().iter().filter(|member| member.cluster == "torn") {
            deployment = deployment.move_endpoint(member.backend.address(), torn());
        }
        let deployment = deployment.with_configuration(PluginConfiguration::Text(configuration.to_owned()));
        let envoy = Envoy::start(&install::find(Wanted::Any).unwrap(), deployment.clone()).unwrap();
        Real {
            client: envoy.client().unwrap(),
            envoy,
            fleet,
            deployment,
        }
    }
}

/// A server that closes connections in the middle of its answer.
fn torn() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
        }
    });
    address
}

impl Site for Real {
    fn send(&mut self, headers: &[(&str, &str)]) -> (Response, Option<Pairs>) {
        let request = Request::get("/").header("host", "probe");
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        let response = self.client.send(request.body(Full::default()).unwrap()).unwrap();
        let pairs = response.headers().iter();
        let pairs = pairs.map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()));
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
    an_http_call_is_answered_by_the_proxy_where_the_backend_does_not_and_broken_ones_have_no_headers("call up slow gone torn nowhere");
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
    let did = site.did("put request X-New 1; header request x-NEW; put request :path /p; names request");
    let (first, names) = did.rsplit_once(";0 ").unwrap();
    assert_eq!(first, "0;0 1;0");
    let names: Vec<_> = names.split(' ').collect();
    let pseudo = names.iter().take_while(|name| name.starts_with(':')).count();
    assert_eq!(pseudo, 4, "{names:?}");
    assert_eq!(names[3], ":path", "what is set moves to the end of its kind: {names:?}");
    assert_eq!(*names.last().unwrap(), "x-new");
}

fn set_replaces_every_value_and_reading_one_gives_the_first(site: &mut dyn Site) {
    let commands = "add request x-a 1; add request x-a 2; header request x-a; put request x-a 3; add request x-b 4; \
                    remove request x-c; remove request x-b; header request x-b; put request x-pointsman-cluster up; go";
    let (_, upstream) = site.send(&[("x-do", commands)]);
    let upstream = upstream.unwrap();
    let values = |name: &str| {
        let named = upstream.iter().filter(|(other, _)| other == name.as_bytes());
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values("x-a"), ["3"]);
    assert_eq!(values("x-b"), [""; 0]);
    assert_eq!(site.did(commands.trim_end_matches("; go")), "0;0;0 1;0;0;0;0;1 ;0");
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
    // After a local reply the request's map is still there: its callback did not let the stream go on.
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
        let (response, upstream) = site.send(&[("x-do", commands), ("x-do-response", "header response :status")]);
        assert_eq!((response.status, value(&response, "x-did")), (503, "0 503".to_owned()));
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

fn a_local_reply_is_plain_text_unless_it_says_otherwise_and_without_a_body_nothing(site: &mut dyn Site) {
    for (commands, content_type) in [
        ("reply 200 text", "text/plain"),
        ("reply 200 {} content-type=application/json", "application/json"),
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
    assert_eq!(site.did("set k v 0; define counter t; up 1"), "0;0 another id;0");
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
    assert_eq!(site.did("get called.torn"), "0 no headers, 2 , 1 ");
}

/// The values of a header, joined.
fn value(response: &Response, name: &str) -> String {
    let named = response.headers.iter().filter(|(other, _)| other == name.as_bytes());
    let values: Vec<_> = named.map(|(_, value)| String::from_utf8_lossy(value)).collect();
    values.join(",")
}
