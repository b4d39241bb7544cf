//! Probes on a real Envoy: what backends get of them, which answers are good, and what a target is
//! before its first good one.

use h2::server;
use host_sim::backend::Answer;
use host_sim::exchange::Response;
use host_sim::testkit::Site;
use host_sim::wait::until;
use hyper::body::Bytes;
use hyper::http::{HeaderMap, Response as Head};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::spawn;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

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
    let fails = |target: &host_sim::backend::Backend| {
        target.answer(Answer::With(Response::bare(503)));
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
    blue.answer(Answer::Name);
    until("blue is healthy", || recovered(&site, "blue") == 1);
    for _ in 0..20 {
        assert_eq!(client.get("a", "/").unwrap().body(), "blue\n");
    }
    green.answer(Answer::Name);
    until("green takes requests", || {
        client.get("a", "/").unwrap().body() == "green\n"
    });
}

/// A gRPC server whose health service tells this of the service `shop.Cart`, and `NOT_FOUND` of any
/// other. It stays for as long as the process.
fn health_server(status: Arc<AtomicU8>) -> SocketAddr {
    const ASKED: &[u8] = b"\0\0\0\0\x0b\x0a\x09shop.Cart";
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime
        .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                let status = status.clone();
                tokio::spawn(async move {
                    let mut connection = server::handshake(stream).await?;
                    while let Some(call) = connection.accept().await {
                        let (request, mut respond) = call?;
                        let status = status.clone();
                        tokio::spawn(async move {
                            let is_check = request.uri().path() == "/grpc.health.v1.Health/Check"
                                && request.method() == "POST"
                                && request.headers()["te"] == "trailers"
                                && request.headers()["content-type"] == "application/grpc";
                            let mut body = request.into_body();
                            let mut asked = Vec::new();
                            while let Some(data) = body.data().await {
                                asked.extend(data?);
                            }
                            let head = Head::builder().header("content-type", "application/grpc");
                            if !is_check || asked != ASKED {
                                // An answer without a body has its status among its headers.
                                let head = head.header("grpc-status", "5");
                                respond.send_response(head.body(()).unwrap(), true)?;
                                return Ok(());
                            }
                            let mut answer =
                                respond.send_response(head.body(()).unwrap(), false)?;
                            let told = [0, 0, 0, 0, 2, 8, status.load(Ordering::Relaxed)];
                            answer.send_data(Bytes::copy_from_slice(&told), false)?;
                            let mut trailers = HeaderMap::new();
                            trailers.insert("grpc-status", 0.into());
                            answer.send_trailers(trailers)?;
                            Ok::<_, h2::Error>(())
                        });
                    }
                    Ok::<_, h2::Error>(())
                });
            }
        });
    });
    address
}

#[test]
fn a_target_is_healthy_while_its_grpc_service_is_serving() {
    const SERVING: u8 = 1;
    const NOT_SERVING: u8 = 2;
    let status = Arc::new(AtomicU8::new(NOT_SERVING));
    let configuration = configuration(json!({
        "grpc": "shop.Cart", "interval": "100ms", "rise": 1, "fall": 1, "initial": "unhealthy",
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
