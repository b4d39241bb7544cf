//! `timeout`, `retry` and `mirror` on a real Envoy: its router obeys what the filter writes, and no
//! client has a say where the configuration has one.

use host_sim::backend::{Answer, Received};
use host_sim::client::{Client, header};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Deployment, Wanted, install};
use host_sim::exchange::Response;
use host_sim::module;
use host_sim::testkit::Site;
use host_sim::testkit::raw_server::{self, Then};
use host_sim::wait::until;
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// What a client may try. None of these get through.
const THEIRS: [(&str, &str); 5] = [
    ("x-envoy-upstream-rq-timeout-ms", "1"),
    ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
    ("x-envoy-max-retries", "9"),
    ("x-envoy-retry-on", "5xx"),
    ("x-envoy-retry-grpc-on", "unavailable"),
];

const SLOW: Duration = Duration::from_millis(1000);

fn at(path: &str) -> Value {
    json!({ "path": { "prefix": path } })
}

fn status(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> u16 {
    let answer = client.get_with("shop.example.com", path, headers).unwrap();
    answer.status().as_u16()
}

fn value<'r>(received: &'r Received, name: &str) -> Option<&'r [u8]> {
    let mut headers = received.headers.iter();
    let found = headers.find(|(key, _)| key == name.as_bytes());
    found.map(|(_, value)| &value[..])
}

/// Envoy lets in what a client on this machine says to its router.
fn trust_clients(deployment: &mut Deployment) {
    deployment.connection_manager_mut()["internal_address_config"] =
        json!({ "cidr_ranges": [{ "address_prefix": "0.0.0.0", "prefix_len": 0 }] });
}

fn pools_and_routes() -> Value {
    let pool = |cluster: &str, timeout: &str| {
        json!({
            "targets": [{ "cluster": cluster }],
            "timeout": timeout,
            "retry": { "attempts": 2, "on": ["5xx"] },
        })
    };
    json!({
        "pools": {
            "slow": pool("slow", "300ms"),
            // Three tries have time enough on a busy machine.
            "failing": pool("failing", "10s"),
            "plain": { "targets": [{ "cluster": "slow" }] },
            "grpc": { "targets": [{ "cluster": "grpc" }], "retry": { "attempts": 1, "on": ["unavailable"] } },
        },
        "routes": [
            { "name": "plain", "match": at("/plain"), "pool": "plain" },
            { "name": "own-timeout", "match": at("/own-timeout"), "pool": "slow", "timeout": "10s" },
            { "name": "none", "match": at("/none"), "pool": "slow", "timeout": "0s" },
            { "name": "per-try", "match": at("/per-try"), "pool": "slow", "timeout": "10s",
              "retry": { "attempts": 2, "on": ["reset"], "per_try_timeout": "200ms" } },
            { "name": "own-retry", "match": at("/own-retry"), "pool": "failing",
              "retry": { "attempts": 1, "on": ["gateway-error"] } },
            { "name": "never", "match": at("/never"), "pool": "failing", "retry": { "attempts": 0 } },
            { "name": "failing", "match": at("/failing"), "pool": "failing" },
            { "name": "grpc", "match": at("/grpc"), "pool": "grpc" },
            { "name": "rest", "pool": "slow" },
        ],
    })
}

#[test]
fn a_request_ends_in_time_and_is_tried_again_as_its_route_or_else_its_pool_says() {
    for trusted in [false, true] {
        let site = Site::start_with(&pools_and_routes(), |_, mut deployment| {
            if trusted {
                trust_clients(&mut deployment);
            }
            Ok(deployment)
        });
        let site = site.unwrap();
        let mut client = site.client().unwrap();
        let [slow, failing, grpc] =
            ["slow", "failing", "grpc"].map(|name| site.backend(name).unwrap());
        slow.answer(Answer::After(SLOW, Response::bare(200)));
        failing.answer(Answer::With(Response::bare(503)));
        let refused = vec![
            (b"content-type".to_vec(), b"application/grpc".to_vec()),
            (b"grpc-status".to_vec(), b"14".to_vec()),
        ];
        grpc.answer(Answer::With(Response {
            headers: refused,
            ..Response::bare(200)
        }));
        for theirs in [&[][..], &THEIRS] {
            // 504 is Envoy's own, and no answer that is tried again. A try that is too long is. The
            // status and the number of tries tell which time held; no clock of a busy machine does.
            for (path, expected, tries) in [
                ("/", 504, 1),
                ("/own-timeout", 200, 1),
                ("/none", 200, 1),
                ("/per-try", 504, 3),
            ] {
                slow.take_received();
                assert_eq!(
                    status(&mut client, path, theirs),
                    expected,
                    "{path} {theirs:?}"
                );
                assert_eq!(slow.take_received().len(), tries, "{path} {theirs:?}");
            }
            for (path, tries) in [("/failing", 3), ("/own-retry", 2), ("/never", 1)] {
                assert_eq!(status(&mut client, path, theirs), 503, "{path}");
                let received = failing.take_received();
                assert_eq!(received.len(), tries, "{path} {theirs:?}");
                // The router keeps these to itself.
                let told = received.iter().flat_map(|request| &request.headers);
                let mut names = told.map(|(name, _)| String::from_utf8_lossy(name));
                assert!(!names.any(|name| name.contains("retr") || name.contains("upstream-rq")));
            }
            grpc.take_received();
            assert_eq!(status(&mut client, "/grpc", theirs), 200);
            assert_eq!(grpc.take_received().len(), 2, "{theirs:?}");
        }
        // Where the configuration says nothing it is Envoy that believes a client or does not.
        let expected = if trusted { 504 } else { 200 };
        assert_eq!(status(&mut client, "/plain", &THEIRS), expected);
    }
}

/// A pool of endpoints names the next ones in each request, and each try goes to another.
#[test]
fn a_retry_goes_to_the_next_endpoint_of_the_choice() {
    let endpoints = ["127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"];
    let targets = endpoints.map(|endpoint| json!({ "endpoint": endpoint }));
    let site = Site::start(&json!({
        "pools": { "api": { "cluster": "api", "targets": targets } },
        "routes": [
            { "name": "once", "match": at("/once"), "pool": "api", "retry": { "attempts": 1, "on": ["5xx"] } },
            { "name": "twice", "match": at("/twice"), "pool": "api", "retry": { "attempts": 2, "on": ["5xx"] } },
            { "name": "not", "match": at("/not"), "pool": "api" },
        ],
    }))
    .unwrap();
    let mut client = site.client().unwrap();
    let backends = endpoints.map(|endpoint| site.backend(endpoint).unwrap());
    for backend in &backends[..2] {
        backend.answer(Answer::With(Response::bare(503)));
    }
    let mut statuses = |path: &str| {
        let asked = (0..30).map(|_| status(&mut client, path, &[]));
        asked.collect::<Vec<_>>()
    };
    assert_eq!(statuses("/twice"), [200; 30]);
    // Two of three begin at one that fails; of these half go on to the other that fails.
    let ok = |statuses: &[u16]| statuses.iter().filter(|status| **status == 200).count();
    let (once, not) = (ok(&statuses("/once")), ok(&statuses("/not")));
    assert!(once > not && once < 30, "{once} of 30, {not} without");
    let most = backends.map(|backend| backend.count());
    println!("{most:?} requests");
}

/// The shipped edge, on which nobody's headers count: neither where Pointsman's configuration says
/// something, nor where it does not.
#[test]
fn no_client_of_the_shipped_edge_tells_its_router_anything() {
    for trusted in [false, true] {
        let deployment = Deployment::file("envoy.yaml", &module::build().unwrap()).unwrap();
        let (fleet, mut deployment) =
            Fleet::in_place_of_endpoints(deployment.on_free_ports()).unwrap();
        if trusted {
            trust_clients(&mut deployment);
        }
        let program = install::find(Wanted::Any).unwrap();
        let site = Site::of(&program, fleet, deployment).unwrap();
        let mut client = site.client().unwrap();
        site.fleet
            .answer(&Answer::After(SLOW / 2, Response::bare(200)));
        // `events` has a timeout of its own, `/` has none.
        assert_eq!(status(&mut client, "/events", &THEIRS[..1]), 200);
        let expected = if trusted { 504 } else { 200 };
        assert_eq!(status(&mut client, "/", &THEIRS[..2]), expected);
        site.fleet.answer(&Answer::With(Response::bare(503)));
        site.fleet.take_received();
        assert_eq!(status(&mut client, "/", &THEIRS[2..]), 503);
        let mut received = site.fleet.take_received();
        // Probes.
        received.retain(|request| value(request, ":path") != Some(b"/health"));
        assert_eq!(received.len(), if trusted { 10 } else { 1 });
        assert!(value(&received[0], "x-envoy-max-retries").is_none());
    }
}

#[test]
fn so_many_requests_are_copied_and_what_becomes_of_a_copy_counts_for_nothing() {
    const REQUESTS: usize = 2000;
    let mut site = Site::start(&json!({
        "pools": {
            "main": { "targets": [{ "cluster": "main" }], "balance": "least_connections", "health": { "passive": {} } },
            "api": { "cluster": "api", "targets": [{ "endpoint": "127.0.0.1:9101" }] },
            "shadow": { "targets": [{ "cluster": "shadow" }], "health": { "passive": { "consecutive_failures": 1 } } },
        },
        "routes": [
            { "name": "quarter", "match": at("/quarter"), "pool": "main", "mirror": { "pool": "shadow", "percent": 25 } },
            { "name": "all", "match": at("/all"), "pool": "main", "mirror": { "pool": "shadow" } },
            { "name": "endpoint", "match": at("/endpoint"), "pool": "api", "mirror": { "pool": "shadow" } },
            { "name": "none", "pool": "main" },
        ],
    }))
    .unwrap();
    let mut client = site.client().unwrap();
    let theirs = [("x-pointsman-mirror", "shadow")];
    for _ in 0..REQUESTS {
        let answer = client.get_with("a", "/quarter", &theirs).unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "x-backend")),
            (200, "main")
        );
        client.get_with("a", "/", &theirs).unwrap();
    }
    // The last request is copied too, and then all copies before it have come.
    let body = Full::new(Bytes::from_static(b"a body"));
    let post = Request::post("/all?q=1")
        .header("host", "a")
        .body(body)
        .unwrap();
    assert_eq!(client.send(post).unwrap().status(), 200);
    let [main, shadow] = ["main", "shadow"].map(|name| site.backend(name).unwrap());
    let mut copies = Vec::new();
    until("the last copy", || {
        copies.extend(shadow.take_received());
        copies
            .iter()
            .any(|copy: &Received| value(copy, ":path") == Some(b"/all?q=1"))
    });
    let last = copies
        .iter()
        .find(|copy| value(copy, ":path") == Some(b"/all?q=1"));
    let last = last.unwrap();
    assert_eq!(last.body, b"a body");
    assert_eq!(value(last, ":authority"), Some(&b"a-shadow"[..]));
    assert_eq!(value(last, "x-pointsman-mirror"), Some(&b"shadow"[..]));
    let quarter = copies
        .iter()
        .filter(|copy| value(copy, ":path") == Some(b"/quarter"));
    let quarter = quarter.count();
    // Of a quarter 500. Chance leaves these bounds, six and a half standard deviations off, once in
    // 7 × 10^9 tests; 15 or 35 of 100 would be outside them but for once in 4,000.
    println!("{quarter} of {REQUESTS} copied");
    assert!((375..=625).contains(&quarter), "{quarter}");
    assert!(copies.len() - quarter == 1, "nothing else is copied");
    assert_eq!(main.count(), 2 * REQUESTS + 1);
    // To a copy a pool of endpoints is a pool like any other.
    let answer = client.get("a", "/endpoint").unwrap();
    assert_eq!(header(&answer, "x-backend"), "127.0.0.1:9101");
    until("its copy", || {
        let received = shadow.take_received();
        received
            .iter()
            .any(|copy| value(copy, ":path") == Some(b"/endpoint"))
    });
    // Whatever the copies' backend does, clients notice nothing, and nobody is ejected.
    shadow.answer(Answer::With(Response::bare(500)));
    for _ in 0..5 {
        assert_eq!(client.get("a", "/all").unwrap().status(), 200);
    }
    shadow.answer(Answer::After(
        Duration::from_secs(3600),
        Response::bare(200),
    ));
    for _ in 0..5 {
        assert_eq!(client.get("a", "/all").unwrap().status(), 200);
    }
    site.backend_mut("shadow").unwrap().stop();
    for _ in 0..5 {
        assert_eq!(client.get("a", "/all").unwrap().status(), 200);
    }
    let sum = |ending: &str| {
        site.envoy
            .filter_sum("pointsman.pool.shadow.", ending)
            .unwrap()
    };
    for ending in [".requests", ".failed", ".ejected", ".in_flight"] {
        assert_eq!(sum(ending).unwrap_or(0), 0, "{ending}");
    }
    let ejected = site
        .envoy
        .filter_sum("pointsman.pool.", ".ejected")
        .unwrap();
    assert_eq!(ejected.unwrap_or(0), 0);
}

/// On the page, of a copy: "CONNECT is not copied". The mirroring route has taken it all the same.
#[test]
fn a_connect_goes_through_and_is_not_copied() {
    let configuration = json!({
        "pools": {
            "tunnel": { "targets": [{ "cluster": "tunnel" }] },
            "main": { "targets": [{ "cluster": "main" }] },
            "shadow": { "targets": [{ "cluster": "shadow" }] },
        },
        "routes": [
            { "name": "tunnel", "match": { "methods": ["CONNECT"] }, "pool": "tunnel", "mirror": { "pool": "shadow" } },
            { "name": "rest", "pool": "main", "mirror": { "pool": "shadow" } },
        ],
    });
    let tunnel = raw_server::start("HTTP/1.1 200 OK\r\n\r\nhalf", Then::Wait);
    let site = Site::start_with(&configuration, |fleet, mut deployment| {
        let backends = fleet.members().iter().map(|member| &member.backend);
        let own = backends.clone().find(|backend| backend.name() == "tunnel");
        deployment = deployment.move_endpoint(own.unwrap().address(), tunnel);
        let manager = deployment.connection_manager_mut();
        let upgrades = manager["upgrade_configs"].as_array_mut().unwrap();
        upgrades.push(json!({ "upgrade_type": "CONNECT" }));
        let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
        let route = json!({
            "match": {
                "connect_matcher": {},
                "headers": [{ "name": "x-pointsman-mirror", "string_match": { "exact": "shadow" } }],
            },
            "route": {
                "cluster_header": "x-pointsman-cluster",
                "request_mirror_policies": [{ "cluster_header": "x-pointsman-mirror" }],
            },
        });
        routes.as_array_mut().unwrap().insert(0, route);
        Ok(deployment)
    });
    let site = site.unwrap();
    let mut stream = TcpStream::connect(site.envoy.address().unwrap()).unwrap();
    stream
        .write_all(b"CONNECT db.internal:5432 HTTP/1.1\r\nhost: db.internal:5432\r\n\r\n")
        .unwrap();
    raw_server::read_until(&mut stream, "half");
    // What is copied comes, and that of before has not.
    for _ in 0..20 {
        assert_eq!(status(&mut site.client().unwrap(), "/", &[]), 200);
    }
    let shadow = site.backend("shadow").unwrap();
    until("the copies", || shadow.count() >= 20);
    let received = shadow.take_received();
    assert_eq!(received.len(), 20);
    assert!(
        received
            .iter()
            .all(|copy| value(copy, ":method") == Some(b"GET"))
    );
}
