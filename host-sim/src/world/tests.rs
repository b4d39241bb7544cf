//! The world's own laws, with Pointsman as the guest, and with [`naive`] where a law is about
//! guests that err.

use super::metrics::MetricValue;
use super::stream::{RequestOutcome, UpstreamFailure};
use super::*;
use crate::exchange::{ExchangeRequest, ExchangeResult, Host, Response};
use serde_json::json;
use std::net::IpAddr;

mod naive;
mod reload;

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

fn get(path: &str) -> Pairs {
    pairs(&[
        (":authority", "a"),
        (":path", path),
        (":method", "GET"),
        (":scheme", "http"),
    ])
}

fn answered(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    Response {
        status,
        headers: pairs(headers),
        body: body.into(),
    }
}

fn request(path: &str) -> ExchangeRequest {
    ExchangeRequest {
        method: b"GET".to_vec(),
        scheme: b"http".to_vec(),
        authority: b"a".to_vec(),
        target: path.into(),
        headers: Vec::new(),
        client_ip: None,
        tls: Default::default(),
        roll: None,
        upstream: answered(200, &[("x-up", "1")], "up"),
    }
}

/// Routes: `/own` answers, `/pass` passes, `/limited` has a bucket of three, everything else goes
/// to the pool `p`.
fn config() -> Value {
    json!({
        "pools": {
            "p": { "targets": [{ "cluster": "blue", "weight": 1 }, { "cluster": "green", "weight": 1 }] },
            "api": { "cluster": "api", "targets": [{ "endpoint": "127.0.0.1:9101" }, { "endpoint": "127.0.0.1:9102" }] },
        },
        "rate_limits": { "three": { "requests": 3, "per": "1h", "key": [{ "header": "x-client" }] } },
        "routes": [
            { "name": "limited", "match": { "path": { "prefix": "/limited" } }, "rate_limits": ["three"], "pool": "p" },
            {
                "name": "own",
                "match": { "path": { "prefix": "/own" } },
                "response_headers": { "add": { "x-edit": "1" } },
                "respond": { "status": 403, "body": "no\n" },
            },
            { "name": "pass", "match": { "path": { "prefix": "/pass" } }, "pass": true },
            { "name": "api", "match": { "path": { "prefix": "/api" } }, "pool": "api" },
            { "name": "rest", "response_headers": { "add": { "x-edit": "1" } }, "pool": "p" },
        ],
    })
}

fn world(workers: usize) -> World {
    World::builder()
        .workers(workers)
        .exchanges(&config())
        .start()
        .unwrap()
}

fn value<'p>(pairs: &'p Pairs, name: &str) -> Vec<&'p [u8]> {
    let named = pairs.iter().filter(|(other, _)| other == name.as_bytes());
    named.map(|(_, value)| &value[..]).collect()
}

// Exchanges.

#[test]
fn a_local_reply_passes_the_response_phase_once() {
    let mut world = world(1);
    let ExchangeResult {
        response,
        upstream_headers,
        ..
    } = world.exchange(&request("/own")).unwrap();
    assert_eq!(
        response,
        answered(
            403,
            &[("content-type", "text/plain"), ("x-edit", "1")],
            "no\n"
        )
    );
    assert_eq!(upstream_headers, None);
}

#[test]
fn a_changed_request_header_chooses_the_route_anew() {
    let mut world = world(1);
    let result = world.exchange(&request("/")).unwrap();
    assert!(
        ["blue", "green"].contains(&result.upstream_cluster.as_deref().unwrap()),
        "{result:?}"
    );
    assert_eq!(
        result.response,
        answered(200, &[("x-up", "1"), ("x-edit", "1")], "up")
    );
    assert_eq!(result.decision["route"], "rest");
}

#[test]
fn a_cluster_that_the_proxy_does_not_have_is_503_through_the_response_phase() {
    let builder = World::builder()
        .exchanges(&config())
        .clusters(Clusters::new());
    let result = builder.start().unwrap().exchange(&request("/")).unwrap();
    assert_eq!(result.response, answered(503, &[("x-edit", "1")], ""));
    assert_eq!(result.upstream_headers, None);
}

#[test]
fn upstream_headers_of_a_client_never_take_effect() {
    let mut world = world(1);
    for (path, cluster) in [("/pass", false), ("/", true), ("/api", true)] {
        let mut request = request(path);
        request.headers = pairs(&[
            ("x-pointsman-cluster", "evil"),
            ("X-Pointsman-Cluster", "evil2"),
            ("x-pointsman-endpoint", "10.0.0.1:1"),
        ]);
        let result = world.exchange(&request).unwrap();
        let upstream = result.upstream_headers.unwrap();
        assert_eq!(
            value(&upstream, "x-pointsman-cluster").len(),
            usize::from(cluster),
            "{path}"
        );
        assert!(
            !upstream
                .iter()
                .any(|(_, value)| value.starts_with(b"evil") || value == b"10.0.0.1:1"),
            "{path}"
        );
        assert_eq!(result.upstream_cluster.is_some(), cluster, "{path}");
    }
}

#[test]
fn an_endpoint_is_the_first_of_the_header() {
    let result = world(1).exchange(&request("/api")).unwrap();
    let upstream = result.upstream_headers.unwrap();
    let [list] = &value(&upstream, "x-pointsman-endpoint")[..] else {
        panic!("one header")
    };
    let first = std::str::from_utf8(list).unwrap().split(',').next();
    assert_eq!(result.upstream_endpoint.as_deref(), first);
}

#[test]
fn a_connection_stays_on_its_worker_and_connections_take_turns() {
    let mut world = world(3);
    let mut used = |last| {
        world.take_calls();
        let mut request = request("/");
        request.client_ip = Some(IpAddr::from([10, 0, 0, last]));
        world.exchange(&request).unwrap();
        let calls = world
            .workers
            .iter()
            .map(|worker| !worker.0.take_calls().is_empty());
        calls.collect::<Vec<_>>()
    };
    let first: Vec<_> = (0..3).map(&mut used).collect();
    assert_eq!(
        first,
        [
            [true, false, false],
            [false, true, false],
            [false, false, true]
        ]
    );
    assert_eq!((0..3).map(&mut used).collect::<Vec<_>>(), first);
}

#[test]
fn a_client_that_connects_anew_comes_to_the_next_worker() {
    let mut world = world(2);
    world.take_calls();
    for expected in [[true, false], [false, true], [true, false]] {
        world.exchange(&request("/")).unwrap();
        let calls = world
            .workers
            .iter()
            .map(|worker| !worker.0.take_calls().is_empty());
        assert_eq!(calls.collect::<Vec<_>>(), expected);
        world.reconnect();
    }
}

// Host calls.

/// Everything that costs: a limit by client address, a session cookie, an endpoint, edits both
/// ways.
#[test]
fn a_request_with_everything_returns_bytes_three_times_on_its_way_in_and_twice_as_a_session_begins()
{
    let config = json!({
        "pools": { "api": {
            "cluster": "api",
            "targets": [{ "endpoint": "127.0.0.1:9101" }, { "endpoint": "127.0.0.1:9102" }],
            "sticky": {
                "cookie": { "name": "pm", "ttl": "1h" },
                "header": "x-session-id",
                "keys": ["c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISEhISE="],
            },
        } },
        "rate_limits": { "many": { "requests": 1000, "per": "1s", "key": ["client_ip"] } },
        "routes": [{
            "name": "all",
            "match": { "hosts": ["a"], "path": { "regex": "/.*" }, "methods": ["GET"], "client_ip": ["127.0.0.0/8"] },
            "rate_limits": ["many"],
            "request_headers": { "set": { "x-route": "all" }, "add": { "x-more": "1" }, "remove": ["x-debug"] },
            "response_headers": { "set": { "x-served-by": "pointsman" } },
            "rewrite": { "path": "/", "host": "b" },
            "pool": "api",
        }],
    });
    let world = World::of(&config, 1).unwrap();
    let mut headers = get("/x");
    headers.extend(pairs(&[
        ("x-debug", "1"),
        ("x-pointsman-cluster", "evil"),
        ("cookie", "a=b"),
    ]));
    for request in 0..100 {
        world.take_calls();
        let mut stream = world.open(0, &headers);
        assert!(matches!(stream.request(), RequestOutcome::Forward(_)));
        stream.tries("127.0.0.1:9101");
        let response = stream.response(&answered(200, &[], ""));
        stream.close();
        assert_eq!(value(&response.headers, "set-cookie").len(), 1);
        let calls = world.take_calls();
        // The first request of a worker looks for a place where it can count.
        assert!(
            request == 0 || calls[&Callback::Request].returned_bytes <= 3,
            "request {request}: {calls:?}"
        );
        // A new session asks who answered, and whether it was a target at all.
        for (callback, expected) in [(Callback::Response, 2), (Callback::End, 0)] {
            // A callback that makes no call at all is not told of.
            let returned = calls.get(&callback).map_or(0, |calls| calls.returned_bytes);
            assert_eq!(returned, expected, "request {request}: {calls:?}");
        }
    }
}

#[test]
fn host_calls_are_counted_for_each_callback() {
    let world = world(1);
    for _ in [
        "the first request of a worker looks for a place where it can count",
        "this one",
    ] {
        world.take_calls();
        let mut stream = world.open(0, &get("/"));
        assert!(matches!(stream.request(), RequestOutcome::Forward(_)));
        stream.response(&answered(200, &[], ""));
        stream.close();
    }
    let calls = world.take_calls();
    assert_eq!(calls[&Callback::Request].of["get_header_map"], 1);
    assert_eq!(calls[&Callback::Request].of["add_header"], 1);
    assert!(!calls[&Callback::Request].of.contains_key("set_header"));
    assert_eq!(calls[&Callback::Request].returned_bytes, 1);
    // What tells of it costs nothing: counters wait for the tick, of 64 decisions one is timed, and
    // nothing is in the filter state unless the configuration asks for it.
    let plain = [
        "increment_metric",
        "get_current_time",
        "record_metric",
        "set_property",
    ];
    let of_request = &calls[&Callback::Request].of;
    let plain = plain.map(|kind| of_request.get(kind).copied().unwrap_or(0));
    assert_eq!(plain, [1, 1, 0, 0]);
    assert_eq!(
        calls[&Callback::Response].of,
        BTreeMap::from([("add_header", 1)])
    );
    assert_eq!(calls[&Callback::Response].returned_bytes, 0);
    // Its worker has little to do, so others see at once that it is over. The pool does not want to
    // know when, or how, requests end.
    let of_end = [("increment_metric", 1), ("set_shared_data", 1)];
    assert_eq!(calls[&Callback::End].of, BTreeMap::from(of_end));
    assert!(world.take_calls().is_empty());
}

/// Sends a request to the path; it is answered.
fn exchange(world: &World, path: &str) {
    let mut stream = world.open(0, &get(path));
    if let RequestOutcome::Forward(_) = stream.request() {
        stream.response(&answered(200, &[], ""));
    }
    stream.close();
}

#[test]
fn what_requests_count_is_added_with_the_next_tick_and_at_the_end_of_a_configuration() {
    let world = world(1);
    let counted = || world.proxy.counter("pointsman.route.rest.requests");
    for _ in 0..3 {
        exchange(&world, "/");
    }
    assert_eq!(counted(), Some(0), "it is defined, and waits");
    world.advance(Duration::from_secs(1));
    assert_eq!(counted(), Some(3));
    world.advance(Duration::from_secs(1));
    assert_eq!(counted(), Some(3));

    exchange(&world, "/");
    world.reload(config().to_string().as_bytes()).unwrap();
    assert_eq!(counted(), Some(4));

    // A VM that traps takes with it what waited. That is what batches cost.
    exchange(&world, "/");
    world.kill(0);
    world.advance(Duration::from_secs(2));
    exchange(&world, "/");
    world.advance(Duration::from_secs(1));
    assert_eq!(counted(), Some(5));
}

#[test]
fn a_configuration_without_pools_counts_too() {
    let configuration = r#"{ "routes": [{ "name": "all", "respond": { "status": 200 } }] }"#;
    let world = World::builder().config(configuration.as_bytes());
    let world = world.start().unwrap();
    exchange(&world, "/");
    world.advance(Duration::from_secs(1));
    assert_eq!(world.proxy.counter("pointsman.route.all.requests"), Some(1));
}

#[test]
fn one_decision_in_64_is_timed_and_the_first_of_them() {
    let world = world(1);
    let timed = |world: &World| match world.proxy.metrics().named("pointsman.decision_us") {
        Some(MetricValue::Samples(samples)) => samples.values().sum(),
        _ => 0,
    };
    for (requests, expected) in [(1, 1), (63, 1), (1, 2), (128, 4)] {
        (0..requests).for_each(|_| exchange(&world, "/pass"));
        assert_eq!(timed(&world), expected);
    }
}

// Host calls that are refused.

#[test]
fn a_request_that_cannot_be_decided_is_503_and_counted() {
    for refused in ["get_header_map", "get_current_time", "add_header"] {
        let world = world(1);
        world.workers[0].refuse(&[refused]);
        let mut stream = world.open(0, &get("/"));
        let step = stream.request();
        assert!(
            matches!(step, RequestOutcome::Reply(Response { status: 503, .. })),
            "{refused}: {step:?}"
        );
        stream.close();
        assert_eq!(
            world.proxy.counter("pointsman.request.failed"),
            Some(1),
            "{refused}"
        );
        assert_eq!(world.proxy.take_log().len(), 1, "{refused}");
        world.workers[0].refuse(&[]);
        assert!(
            matches!(
                world.open(0, &get("/")).request(),
                RequestOutcome::Forward(_)
            ),
            "{refused}: for one request only"
        );
    }
}

#[test]
fn a_request_that_cannot_even_be_answered_goes_nowhere() {
    let world = world(1);
    world.workers[0].refuse(&["send_local_response"]);
    assert_eq!(world.open(0, &get("/own")).request(), RequestOutcome::Wait);
}

#[test]
fn a_response_that_cannot_be_edited_reaches_its_client() {
    let world = world(1);
    let mut stream = world.open(0, &get("/"));
    stream.request();
    world.workers[0].refuse(&["add_header"]);
    assert_eq!(
        stream.response(&answered(200, &[], "ok")),
        answered(200, &[], "ok")
    );
    assert_eq!(world.proxy.counter("pointsman.response.failed"), Some(1));
}

#[test]
fn a_counter_that_nothing_defined_has_no_value() {
    let world = world(1);
    let counter = |name| world.proxy.counter(name);
    assert_eq!(counter("pointsman.response.failed"), Some(0));
    assert_eq!(counter("pointsman.responses.failed"), None);
}

#[test]
fn no_host_call_is_one_that_the_filter_cannot_do_without() {
    let every = [
        "add_header",
        "define_metric",
        "get_current_time",
        "get_header_map",
        "get_property",
        "get_shared_data",
        "increment_metric",
        "log",
        "random_get",
        "remove_header",
        "send_local_response",
        "set_header",
        "set_shared_data",
    ];
    let world = world(1);
    let request = |stream: &mut Stream| {
        if let RequestOutcome::Forward(_) = stream.request() {
            stream.response(&answered(200, &[], ""));
        }
    };
    for refused in every.iter().map(std::slice::from_ref).chain([&every[..]]) {
        world.workers[0].refuse(refused);
        world.reload(config().to_string().as_bytes()).unwrap();
        for path in ["/", "/own", "/pass", "/api", "/limited"] {
            let mut stream = world.open(0, &get(path));
            request(&mut stream);
            stream.close();
        }
    }
    world.workers[0].refuse(&[]);
    assert!(matches!(
        world.open(0, &get("/")).request(),
        RequestOutcome::Forward(_)
    ));
}

// Limits.

#[test]
fn a_limit_admits_its_burst_and_no_more_in_every_interleaving() {
    for seed in 0..100 {
        let builder = World::builder()
            .workers(3)
            .seed(seed)
            .config(config().to_string().as_bytes());
        let race = builder.race(Some(seed), |_, worker| {
            let admitted = (0..6).filter(|_| {
                let mut stream = worker.open(&get("/limited"));
                let step = stream.request();
                stream.close();
                matches!(step, RequestOutcome::Forward(_))
            });
            admitted.count()
        });
        let race = race.unwrap();
        let admitted: usize = race.results.iter().sum();
        let contended = race
            .proxy
            .counter("pointsman.rate_limit.three.contended")
            .unwrap();
        assert!(admitted <= 3, "seed {seed}: {admitted}");
        assert!(
            admitted == 3 || contended > 0,
            "seed {seed}: {admitted}, none contended"
        );
    }
}

// Streams.

#[test]
fn a_client_may_leave_at_any_step() {
    let world = world(1);
    for steps in 0..3 {
        let mut stream = world.open(0, &get("/"));
        if steps > 0 {
            stream.request();
        }
        if steps > 1 {
            stream.response(&answered(200, &[], ""));
        }
        stream.close();
    }
    let mut stream = world.open(0, &get("/own"));
    assert!(matches!(stream.request(), RequestOutcome::Reply(_)));
    stream.close();
    assert_eq!(world.proxy.take_log(), []);
}

// Configuration.

#[test]
fn a_refused_configuration_is_an_error_with_its_reasons() {
    let Err(ConfigureFailed { log }) = World::builder().config(b"{\"routs\": []}").start() else {
        panic!("it loaded")
    };
    assert!(
        log.iter()
            .any(|line| line.message.contains("routs") && line.level == 4),
        "{log:?}"
    );
}

#[test]
fn a_bad_update_leaves_the_old_configuration_and_the_next_good_one_loads() {
    let world = world(2);
    let status = |worker| {
        let mut stream = world.open(worker, &get("/own"));
        let RequestOutcome::Reply(response) = stream.request() else {
            panic!("no reply")
        };
        stream.close();
        response.status
    };
    world.reload(b"{").unwrap_err();
    assert_eq!((status(0), status(1)), (403, 403));
    world
        .reload(br#"{"no_route": {"respond": {"status": 410}}, "routes": []}"#)
        .unwrap();
    assert_eq!((status(0), status(1)), (410, 410));
}

#[test]
fn a_stream_under_way_ends_with_the_configuration_it_began_with() {
    let world = world(1);
    let mut old = world.open(0, &get("/"));
    old.request();
    world.reload(br#"{"routes": []}"#).unwrap();
    assert_eq!(
        old.response(&answered(200, &[], "")),
        answered(200, &[("x-edit", "1")], "")
    );
    old.close();
    let mut new = world.open(0, &get("/"));
    assert!(matches!(
        new.request(),
        RequestOutcome::Reply(Response { status: 404, .. })
    ));
}

// A VM that traps.

#[test]
fn a_trap_ends_the_streams_of_its_vm_and_the_next_request_has_a_fresh_one() {
    let world = world(2);
    let mut lost = world.open(0, &get("/"));
    let mut kept = world.open(1, &get("/"));
    lost.request();
    kept.request();
    world.advance(Duration::from_secs(1));
    world.kill(0);
    assert_eq!(lost.response(&answered(200, &[], "")).status, 503);
    assert_eq!(kept.response(&answered(200, &[], "")).status, 200);
    lost.close();
    assert!(matches!(
        world.open(0, &get("/")).request(),
        RequestOutcome::Forward(_)
    ));

    // A second trap right after: not before the back-off is over.
    world.kill(0);
    assert!(matches!(
        world.open(0, &get("/")).request(),
        RequestOutcome::Reply(Response { status: 503, .. })
    ));
    world.advance(Duration::from_secs(1));
    assert!(matches!(
        world.open(0, &get("/")).request(),
        RequestOutcome::Forward(_)
    ));
}

#[test]
fn a_trap_leaves_shared_data_and_metrics_as_they_are() {
    let world = world(1);
    // The first tick writes the configuration in as the newest.
    world.advance(Duration::from_secs(1));
    world.proxy.shared_data.set(b"k", b"v", 0).unwrap();
    let keys = world.proxy.shared_data.len();
    world.kill(0);
    world.advance(Duration::from_secs(1));
    assert!(matches!(
        world.open(0, &get("/own")).request(),
        RequestOutcome::Reply(_)
    ));
    assert_eq!(world.proxy.shared_data.len(), keys);
    assert_eq!(world.proxy.shared_data.get(b"k").unwrap().0, b"v");
}

#[test]
fn a_dead_vm_answers_503_for_ever_or_is_passed_by_as_the_policy_says() {
    for (policy, passes) in [(FailurePolicy::Closed, false), (FailurePolicy::Open, true)] {
        let builder = World::builder()
            .config(br#"{"routes": []}"#)
            .failure_policy(policy);
        let world = builder.start().unwrap();
        world.kill(0);
        world.advance(Duration::from_secs(60));
        let step = world.open(0, &get("/")).request();
        match passes {
            true => assert_eq!(step, RequestOutcome::Forward(get("/"))),
            false => assert_eq!(step, RequestOutcome::Reply(answered(503, &[], ""))),
        }
    }
}

// Time and chance.

#[test]
fn the_clock_passes_and_jumps_as_told() {
    let world = World::builder()
        .config(br#"{"routes": []}"#)
        .start_time(Duration::from_secs(100))
        .start()
        .unwrap();
    world.advance(Duration::from_millis(1));
    assert_eq!(world.proxy.now(), Nanos::from_millis(100_001));
    world.proxy.jump(-50_000_000_000);
    assert_eq!(world.proxy.now(), Nanos::from_millis(50_001));
}

#[test]
fn a_seed_is_a_history() {
    let history = |seed| {
        let mut config = config();
        config["pools"]["p"]["balance"] = "random".into();
        let mut world = World::builder()
            .workers(2)
            .seed(seed)
            .exchanges(&config)
            .start()
            .unwrap();
        let mut cluster = || {
            world
                .exchange(&request("/"))
                .unwrap()
                .upstream_cluster
                .unwrap()
        };
        (0..64).map(|_| cluster()).collect::<Vec<_>>()
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}

// Ends.

/// Two failures in a row eject a target, so whether a success in between is seen shows.
#[test]
fn a_whole_response_is_a_success_however_it_ends_and_half_a_one_is_not() {
    let config = json!({
        "pools": { "p": {
            "targets": [{ "cluster": "a" }],
            "health": { "passive": { "consecutive_failures": 2, "max_ejected_percent": 100 } },
        } },
        "routes": [{ "name": "all", "pool": "p" }],
    });
    let body = answered(200, &[], "body");
    type End = fn(Stream, &Response);
    let ends: [(End, u64); 5] = [
        (
            |mut stream, body| {
                stream.response_headers(body, true);
                stream.close();
            },
            0,
        ),
        (
            |mut stream, body| {
                stream.response_headers(body, false);
                stream.response_body(2, false);
                stream.response_body(2, true);
                stream.close();
            },
            0,
        ),
        (
            |mut stream, body| {
                stream.response_headers(body, false);
                stream.response_body(4, false);
                stream.response_trailers(&pairs(&[("x-t", "1")]));
                stream.close();
            },
            0,
        ),
        (
            |mut stream, body| {
                stream.response_headers(body, false);
                stream.leaves();
            },
            1,
        ),
        (|stream, _| stream.leaves(), 1),
    ];
    for (number, (end, ejected)) in ends.into_iter().enumerate() {
        let world = World::of(&config, 1).unwrap();
        let request = || {
            let mut stream = world.open(0, &get("/"));
            assert!(matches!(stream.request(), RequestOutcome::Forward(_)));
            stream
        };
        let fail = || {
            let mut stream = request();
            stream.fails(UpstreamFailure::Unreachable);
            stream.close();
        };
        fail();
        end(request(), &body);
        fail();
        assert_eq!(
            world.proxy.counter("pointsman.pool.p.target.a.ejected"),
            Some(ejected),
            "{number}"
        );
    }
}
