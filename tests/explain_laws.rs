//! What `explain` says of the shipped edge file is what an Envoy with that file does: random
//! requests with doubled headers, odd paths, odd hosts and odd cookies through both.
//!
//! `SEED=7 REQUESTS=100000 cargo test -p pointsman-tests --test explain_laws` plays others, and more
//! of them; any seed passes. What a target is chosen by is not compared: two workers of a real proxy
//! take turns of their own.

use fastrand::Rng;
use host_sim::backend::Received;
use host_sim::configuration;
use host_sim::connection_manager::ConnectionManager;
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Wanted, install};
use host_sim::exchange::{ExchangeRequest, Host, Pairs, shown};
use host_sim::explain;
use host_sim::explain_header::ExplainHeader;
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::world::World;
use pointsman_core::config::Config;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// How many requests, where `REQUESTS` does not say.
const REQUESTS: usize = 600;
/// The most differences to show, the shortest first.
const SHOWN: usize = 20;

const HOSTS: [&str; 14] = [
    "shop.example.com",
    "beta.example.com",
    "BETA.example.com",
    "beta.example.com.",
    "beta.example.com:8080",
    "beta.example.com.:8080",
    "a.beta.example.com",
    "a.b.beta.example.com:1",
    "xbeta.example.com",
    "a,b.beta.example.com",
    "beta.example.com:x",
    "127.0.0.1",
    "[::1]",
    "[::1]:80",
];
const SEGMENTS: [&str; 30] = [
    "api",
    "API",
    "apis",
    "internal",
    "internals",
    "internal;x=1",
    "public",
    "checkout",
    "account",
    "old",
    "new",
    "events",
    "",
    ".",
    "..",
    "...",
    "%2e",
    "%2E%2e",
    "..;x",
    "a%2fb",
    "a%5Cb",
    "%61pi",
    "a;b",
    "a:b@c",
    "%C3%A9",
    "~-_.!$&'()*+,=",
    "a\\b",
    "%zz",
    "%",
    "{x}",
];
const QUERIES: [&str; 9] = [
    "",
    "?",
    "?region=eu",
    "?region=%65u",
    "?a&region=eu",
    "?region=us&region=eu",
    "?Region=eu",
    "?/../internal",
    "?region=eu+",
];
/// Custom ones, and ones of which Envoy joins the lines.
const HEADERS: [&str; 15] = [
    "x-tier",
    "x_tier",
    "content-type",
    "forwarded",
    "x-envoy-retry-on",
    "x-envoy-internal",
    "x-envoy-downstream-service-node",
    "x-envoy-attempt-count",
    "x-custom",
    "accept",
    "user-agent",
    "referer",
    "via",
    "authorization",
    "x-pointsman-cluster",
];
const VALUES: [&str; 8] = ["gold", "Gold", "a", "b", "gold,a", "a, b", "", "beta"];
/// Values that only one header has, which is more often read then.
const SPECIAL: [(&str, &[&str]); 5] = [
    (
        "referer",
        &[
            "http://h/",
            "https://a.b:1/c?d#e",
            "/path",
            "android-app://x/",
            "http://h_/",
        ],
    ),
    (
        "x-forwarded-for",
        &[
            "10.0.0.1",
            "192.0.2.7",
            "10.0.0.1, 192.0.2.7",
            "x",
            "::1",
            "",
        ],
    ),
    ("x-forwarded-proto", &["https", "http", "ftp", "HTTPS"]),
    ("te", &["trailers", "gzip", "gzip, trailers"]),
    (
        "cookie",
        &[
            "pm_account=x",
            "pm_account=\"\"; beta=1",
            "beta=\"1",
            "beta=1, beta=2",
        ],
    ),
];
const COOKIES: [&str; 12] = [
    "beta=1",
    "beta=\"1\"",
    "beta = 1",
    "a=b; beta=1",
    "a=b;beta=1",
    "beta=2; beta=1",
    "beta=1; beta=2",
    "Beta=1",
    "beta",
    "=1",
    ";;",
    "beta=1 ",
];
const METHODS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "DELETE"];

/// Routes in front of the file's own, so that what a doubled header is compared with shows.
fn more_routes() -> Vec<Value> {
    let route = |name: &str, conditions: Value, status: u16| json!({ "name": name, "match": { "headers": conditions }, "respond": { "status": status } });
    vec![
        route("joined", json!([{ "name": "accept", "exact": "a,b" }]), 201),
        route(
            "either",
            json!([{ "name": "x-custom", "exact": "a" }, { "name": "x-custom", "exact": "b" }]),
            202,
        ),
        route(
            "neither",
            json!([
                { "name": "x-custom", "exact": "gold", "invert": true }, { "name": "x-custom", "present": true },
                { "name": "via", "prefix": "a" },
            ]),
            203,
        ),
        route(
            "secure",
            json!([{ "name": "x-forwarded-proto", "exact": "https" }, { "name": "x-tier", "present": true }]),
            207,
        ),
        route(
            "tries",
            json!([{ "name": "x-envoy-retry-on", "present": true }]),
            208,
        ),
        json!({
            "name": "near", "match": { "client_ip": ["10.0.0.0/8"], "methods": ["GET"] }, "respond": { "status": 226 },
        }),
        route(
            "agent",
            json!([{ "name": "user-agent", "suffix": "gold" }]),
            205,
        ),
        route(
            "secret",
            json!([{ "name": "authorization", "contains": "a,b" }]),
            206,
        ),
    ]
}

fn draw<'v>(rng: &mut Rng, values: &[&'v str]) -> &'v str {
    values[rng.usize(..values.len())]
}

fn random_request(rng: &mut Rng) -> ExchangeRequest {
    let segments = (0..rng.usize(1..4)).map(|_| ["/", draw(rng, &SEGMENTS)].concat());
    let path = segments.collect::<Vec<_>>().concat();
    let mut headers = Vec::new();
    for _ in 0..[0, 0, 1, 2, 3][rng.usize(..5)] {
        let name = draw(rng, &HEADERS);
        // Half of them twice, or more often.
        for _ in 0..[1, 1, 2, 3][rng.usize(..4)] {
            headers.push((name, draw(rng, &VALUES)));
        }
    }
    for _ in 0..[0, 0, 0, 1, 2][rng.usize(..5)] {
        headers.push(("cookie", draw(rng, &COOKIES)));
    }
    for _ in 0..[0, 0, 1, 2][rng.usize(..4)] {
        let (name, values) = SPECIAL[rng.usize(..SPECIAL.len())];
        headers.push((name, draw(rng, values)));
    }
    let url = ["http://h", &path, draw(rng, &QUERIES)].concat();
    let request = ExchangeRequest::new(draw(rng, &METHODS).as_bytes(), url.as_bytes()).unwrap();
    let host = draw(rng, &HOSTS).as_bytes().to_vec();
    let headers = headers.into_iter();
    let headers = headers.map(|(name, value)| (name.into(), value.trim().into()));
    ExchangeRequest {
        authority: host,
        roll: Some(rng.f64()),
        ..request.with_headers(headers)
    }
}

/// What both say of a request.
#[derive(Debug, PartialEq)]
struct Said {
    status: Option<u16>,
    location: Option<String>,
    /// Of the filter's own account. Empty: the proxy answered before it.
    decision: BTreeMap<&'static str, Value>,
    /// What goes upstream, each name with its values.
    upstream: Option<BTreeMap<String, Vec<String>>>,
}

const COMPARED: [&str; 6] = ["route", "action", "pool", "reason", "status", "limit"];

fn decision(object: &Value) -> BTreeMap<&'static str, Value> {
    let keys = COMPARED.iter().filter(|_| object.is_object());
    keys.map(|key| (*key, object[*key].clone())).collect()
}

/// Without what the proxy adds, and without the target. `machine`: the address that Envoy appends to
/// `x-forwarded-for` where the peer is the machine itself, which `explain` cannot know.
fn upstream(pairs: &Pairs, machine: &str) -> BTreeMap<String, Vec<String>> {
    let mut headers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, value) in pairs {
        let name = shown(name);
        let is_added = name.starts_with("x-envoy-") && !name.starts_with("x-envoy-original-");
        let is_other = [
            ":scheme",
            "x-pointsman-cluster",
            "x-pointsman-endpoint",
            "x-request-id",
            "content-length",
            "transfer-encoding",
            "connection",
        ];
        if !is_added && !is_other.contains(&&*name) {
            let mut value = shown(value);
            if name == "x-forwarded-for"
                && let Some(before) = value.strip_suffix(machine)
            {
                value = [before, "127.0.0.1"].concat();
            }
            headers.entry(name).or_default().push(value);
        }
    }
    headers
}

/// The request as it goes to the proxy, but for the empty line at its end.
fn bytes_of(request: &ExchangeRequest) -> Vec<u8> {
    let start: [&[u8]; 5] = [
        &request.method,
        b" ",
        &request.target,
        b" HTTP/1.1\r\nhost: ",
        &request.authority,
    ];
    let mut bytes = start.concat();
    bytes.extend(b"\r\nconnection: close\r\n");
    for (name, value) in &request.headers {
        bytes.extend([name, &b": "[..], value, b"\r\n"].concat());
    }
    bytes
}

/// Sends the request on a connection of its own. The status, and the headers.
fn send(site: &Site, explain: &ExplainHeader, request: &ExchangeRequest) -> (u16, Pairs) {
    let (name, value) = explain.request(request.roll);
    let last = [&name[..], b": ", &value, b"\r\n\r\n"].concat();
    let bytes = [bytes_of(request), last].concat();
    let mut stream = TcpStream::connect(site.envoy.address().unwrap()).unwrap();
    stream.write_all(&bytes).unwrap();
    // The end of the connection is not waited for: Envoy leaves it to the client for a while.
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut some = [0; 4096];
        let length = stream.read(&mut some).unwrap();
        assert!(length > 0, "the connection ended in {}", shown(&answer));
        answer.extend(&some[..length]);
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase().into(), value.trim().into())
    });
    (status.parse().unwrap(), headers.collect())
}

fn location(headers: &Pairs) -> Option<String> {
    let found = headers.iter().find(|(name, _)| name == b"location");
    found.map(|(_, value)| shown(value))
}

/// What Envoy did.
fn done(site: &Site, header: &ExplainHeader, machine: &str, request: &ExchangeRequest) -> Said {
    site.fleet.take_received();
    let (status, headers) = send(site, header, request);
    let account = header.account(&headers);
    let object = account.map(|account| serde_json::from_slice(account).unwrap());
    let is_probe = |received: &Received| {
        let mut headers = received.headers.iter();
        headers.any(|(name, value)| name == b":path" && value == b"/health")
    };
    let mut received = site.fleet.take_received();
    received.retain(|received| !is_probe(received));
    assert!(received.len() < 2);
    let decision = decision(&object.unwrap_or_default());
    let forwards = decision.get("action") == Some(&"forward".into());
    Said {
        // The backend's own is none of the decision.
        status: (!forwards).then_some(status),
        location: location(&headers),
        decision,
        upstream: received
            .first()
            .map(|received| upstream(&received.headers, machine)),
    }
}

/// What `explain` says.
fn said(
    manager: &ConnectionManager,
    config: &Config,
    world: &mut World,
    request: &ExchangeRequest,
) -> Said {
    let admitted = match manager.admit(request) {
        Ok(admitted) => admitted,
        Err(answer) => {
            return Said {
                status: Some(answer.status),
                location: location(&answer.headers),
                decision: BTreeMap::new(),
                upstream: None,
            };
        }
    };
    let result = world.exchange(&admitted).unwrap();
    let object = explain::object(config, &admitted, &result).unwrap();
    let status = object["status"].as_u64();
    Said {
        status: status.map(|status| status.try_into().unwrap()),
        location: location(&result.response.headers),
        decision: decision(&Value::Object(object)),
        upstream: result
            .upstream_headers
            .map(|headers| upstream(&headers, "127.0.0.1")),
    }
}

#[test]
fn explain_says_of_random_requests_what_the_shipped_edge_does() {
    compare(1, |_| {});
}

/// What a connection manager can do otherwise than the shipped one does.
#[test]
fn explain_says_what_an_edge_behind_a_balancer_does() {
    compare(2, |manager| {
        manager["xff_num_trusted_hops"] = 1.into();
        manager["path_with_escaped_slashes_action"] = "UNESCAPE_AND_FORWARD".into();
        manager["common_http_protocol_options"]["headers_with_underscores_action"] =
            "DROP_HEADER".into();
        manager["strip_any_host_port"] = true.into();
        configuration_of(manager)["client_ip"]["trusted_hops"] = 2.into();
    });
}

fn configuration_of(manager: &mut Value) -> &mut Value {
    let filter = &mut manager["http_filters"][0]["typed_config"];
    &mut filter["config"]["configuration"]["value"]
}

/// With the shipped file, whose connection manager is edited so.
fn compare(seed: u64, edit: impl FnOnce(&mut Value)) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seed = number("SEED").unwrap_or(seed);
    let requests = number("REQUESTS").map_or(REQUESTS, |requests| requests as usize);
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);

    let deployment = Deployment::file("envoy.yaml", &module::build().unwrap()).unwrap();
    let (fleet, mut deployment) =
        Fleet::in_place_of_endpoints(deployment.on_free_ports().without_access_log()).unwrap();
    edit(deployment.connection_manager_mut());
    let shipped = configuration_of(deployment.connection_manager_mut());
    let routes = shipped["routes"].as_array_mut().unwrap();
    routes.splice(..0, more_routes());
    let header = ExplainHeader::switch_on(shipped);
    let shipped = shipped.clone();

    let file = deployment.bootstrap_mut().to_string();
    let tree = configuration::envoy_tree(&file, Path::new("envoy.yaml")).unwrap();
    let manager = ConnectionManager::of(&tree).unwrap();
    let config = Config::load(shipped.to_string().as_bytes()).unwrap();
    let mut world = World::of(&shipped, 1).unwrap();
    let site = Site::of(&install::find(Wanted::Any).unwrap(), fleet, deployment).unwrap();

    let plain = ExchangeRequest::new(b"GET", b"http://h/").unwrap();
    let seen = done(&site, &header, "nowhere", &plain).upstream.unwrap();
    let machine = seen["x-forwarded-for"].concat();

    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut differences = Vec::new();
    for _ in 0..requests {
        let request = random_request(&mut rng);
        let said = said(&manager, &config, &mut world, &request);
        let done = done(&site, &header, &machine, &request);
        if said != done {
            differences.push(format!(
                "{}\nexplain: {said:?}\nEnvoy:   {done:?}\n",
                shown(&bytes_of(&request))
            ));
        }
        let route = said.decision.get("route").map(|route| route.to_string());
        *taken
            .entry(route.unwrap_or("the proxy".to_owned()))
            .or_default() += 1;
    }
    println!("{taken:?}");
    differences.sort_by_key(String::len);
    differences.truncate(SHOWN);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    // Routes, and the proxy's own answers: what is not drawn shows nothing.
    assert!(taken.len() >= 10, "{taken:?}");
}
