//! Probes on a real Envoy: what backends get of them, which answers are good, and what a target is
//! before its first good one.

use host_sim::backend::{self, Backend};
use host_sim::exchange::Response;
use host_sim::testkit::Site;
use host_sim::wait::until;
use pointsman_tests::grpc_server::{self, Answer};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const TARGETS: [&str; 2] = ["blue", "green"];

/// A pool whose targets are probed so.
fn configuration(active: Value) -> Value {
    json!({
        "pools": { "web": {
            "targets": TARGETS.map(|name| json!({ "cluster": name })),
            "health": { "active": active, "when_all_unhealthy": "respond_503" },
        } },
        "routes": [{ "name": "all", "pool": "web" }],
    })
}

/// How often the probes of a target made it healthy.
fn recovered(site: &Site, target: &str) -> u64 {
    let name = format!("pointsman.pool.web.target.{target}.recovered");
    let told = site.envoy.filter_stat_if_defined(&name).unwrap();
    told.unwrap_or_default()
}

#[test]
fn a_new_target_waits_for_its_first_good_probe() {
    let configuration = configuration(json!({
        "path": "/health", "method": "HEAD", "headers": { "X-Probe": "1" },
        "interval": "100ms", "fall": 1000, "initial": "unhealthy",
    }));
    let fails = |target: &Backend| {
        target.answer(backend::Answer::With(Response::bare(503)));
    };
    let site = Site::start_with(&configuration, |fleet, deployment| {
        let members = fleet.members().iter();
        members.for_each(|member| fails(&member.backend));
        Ok(deployment)
    });
    let site = site.unwrap();
    let mut client = site.client().unwrap();
    let [blue, green] = TARGETS.map(|name| site.backend(name).unwrap());
    // Both are probed, and never answered well. After so few bad probes neither would have fallen.
    until("both are probed", || blue.count() > 2 && green.count() > 2);
    assert_eq!(client.get("a", "/").unwrap().status(), 503);
    let probes = green.take_received();
    for (name, value) in [(":method", "HEAD"), (":path", "/health"), ("x-probe", "1")] {
        let has = |(other, told): &(Vec<u8>, Vec<u8>)| {
            (&other[..], &told[..]) == (name.as_bytes(), value.as_bytes())
        };
        assert!(
            probes.iter().all(|probe| probe.headers.iter().any(has)),
            "{probes:?}"
        );
    }
    blue.answer(backend::Answer::Name);
    until("blue is healthy", || recovered(&site, "blue") == 1);
    for _ in 0..20 {
        assert_eq!(client.get("a", "/").unwrap().body(), "blue\n");
    }
    green.answer(backend::Answer::Name);
    until("green takes requests", || {
        client.get("a", "/").unwrap().body() == "green\n"
    });
}

/// A gRPC server whose health service tells this of the service `shop.Cart`, and `NOT_FOUND` of any
/// other.
fn health_server(status: Arc<AtomicU8>) -> SocketAddr {
    const ASKED: &[u8] = b"\0\0\0\0\x0b\x0a\x09shop.Cart";
    grpc_server::start(move |call| {
        let is_check = call.uri().path() == "/grpc.health.v1.Health/Check"
            && call.method() == "POST"
            && call.headers()["te"] == "trailers"
            && call.headers()["content-type"] == "application/grpc"
            && call.body() == ASKED;
        let told = vec![0, 0, 0, 0, 2, 8, status.load(Ordering::Relaxed)];
        Answer {
            message: is_check.then_some(told),
            status: if is_check { 0 } else { 5 },
        }
    })
}

#[test]
fn a_target_is_healthy_while_its_grpc_service_is_serving() {
    const SERVING: u8 = 1;
    const NOT_SERVING: u8 = 2;
    let status = Arc::new(AtomicU8::new(NOT_SERVING));
    let configuration = configuration(json!({
        // A probe may take as long as its interval, and a single late one would count.
        "grpc": "shop.Cart", "interval": "1s", "rise": 1, "fall": 1, "initial": "unhealthy",
    }));
    let site = Site::start_with(&configuration, |fleet, deployment| {
        let http2 = json!({ "http2_protocol_options": {} });
        let blue = fleet.members()[0].backend.address();
        // Nothing behind green answers as gRPC does.
        Ok(deployment
            .with_upstream_protocol(http2)
            .move_endpoint(blue, health_server(status.clone())))
    });
    let site = site.unwrap();
    let metric = |target: &str, what: &str| {
        let name = format!("pointsman.pool.web.target.{target}.{what}");
        let told = site.envoy.filter_stat_if_defined(&name).unwrap();
        told.unwrap_or_default()
    };
    let mut client = site.client().unwrap();
    assert_eq!(client.get("a", "/").unwrap().status(), 503);
    for turn in 1..=2 {
        status.store(SERVING, Ordering::Relaxed);
        until("blue is healthy", || metric("blue", "recovered") == turn);
        // It is no health service for anything else.
        let answer = client.get("a", "/").unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["grpc-status"]),
            (200.try_into().unwrap(), &"5".parse().unwrap())
        );
        status.store(NOT_SERVING, Ordering::Relaxed);
        until("blue has fallen", || metric("blue", "fell") == turn);
        assert_eq!(client.get("a", "/").unwrap().status(), 503);
    }
    assert_eq!(metric("green", "recovered"), 0);
}
