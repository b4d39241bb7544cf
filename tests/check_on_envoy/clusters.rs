//! Clusters that lead back to the proxy, or to an engine that does not understand.

use super::{EDGE, checked};
use host_sim::envoy::fleet::Fleet;
use host_sim::envoy::{Wanted, install};
use host_sim::testkit::Site;
use host_sim::wait::until;
use pointsman_tests::grpc_server::{Answer, GrpcServer};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_cluster_that_leads_to_the_proxys_own_listener_is_a_circle() {
    let envoy = install::find(Wanted::Any).unwrap();
    // How many requests one request for `eu` is to Envoy, which wants to have answered all.
    let requests = |port: u16, is_wrong: bool| {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = free.local_addr().unwrap();
        let listener = format!("port_value: {}", own.port());
        let target = match port {
            0 => listener.clone(),
            port => format!("port_value: {port}"),
        };
        let changes = [
            ("port_value: 10000", &*listener),
            ("port_value: 9005", &*target),
        ];
        let mut deployment = checked(EDGE, &changes, "own_listener", is_wrong).with_workers(1);
        let bootstrap = deployment.bootstrap_mut();
        bootstrap["admin"]["address"]["socket_address"]["port_value"] = 0.into();
        let (fleet, mut deployment) = Fleet::in_place_of_endpoints(deployment).unwrap();
        let members = fleet.members().iter();
        let mut stand_ins = members.filter(|it| it.endpoint == Some(own.to_string()));
        if let Some(stand_in) = stand_ins.next() {
            // As the file has it.
            deployment = deployment.move_endpoint(stand_in.backend.address(), own);
        }
        drop(free);
        let site = Site::of(&envoy, fleet, deployment).unwrap();
        let mut client = site.client().unwrap();
        let status = client.get("h", "/?region=eu").unwrap().status();
        assert_eq!(status != 200, is_wrong, "{status}");
        until("all have been answered", || {
            site.envoy.stat("http.edge.downstream_rq_active").unwrap() == 0
        });
        site.envoy.stat("http.edge.downstream_rq_total").unwrap()
    };
    assert_eq!(requests(9005, false), 1);
    assert!(requests(0, true) > 100);
}

#[test]
fn an_engine_over_http_1_is_never_asked_and_its_limit_holds_nobody() {
    const LOGIN: &str = "requests: 1, per: 2s, burst: 3, key: [client_ip] }";
    const EU: &str = "- name: eu\n      type: STATIC";
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let http2 = format!(
        "- name: eu\n      typed_extension_protocol_options: {{ {OPTIONS}: {{ \"@type\": \
         type.googleapis.com/{OPTIONS}, explicit_http_config: {{ http2_protocol_options: {{}} }} }} }}\
         \n      type: STATIC"
    );
    // It refuses every request: `RateLimitResponse` with OVER_LIMIT, in a frame of gRPC.
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let engine = GrpcServer::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Some(Answer {
            message: Some(vec![0, 0, 0, 0, 2, 8, 2]),
            status: 0,
        })
    });
    let asks = |cluster: &str| {
        format!(
            "requests: 1000, per: 1s, key: [client_ip], global: {{ cluster: {cluster}, domain: d, \
             mode: ask, timeout: 1s }} }}"
        )
    };
    let (eu, silver) = (asks("eu"), asks("silver"));
    for (changes, kind, is_wrong) in [
        (&[(LOGIN, &*eu)][..], "engine_without_http2", true),
        (&[(LOGIN, &silver)], "unknown_cluster", true),
        (&[(LOGIN, &eu), (EU, &http2)], "engine_without_http2", false),
    ] {
        let deployment = checked(EDGE, changes, kind, is_wrong);
        let deployment = deployment.on_free_ports().with_workers(1);
        let (fleet, mut deployment) = Fleet::in_place_of_endpoints(deployment).unwrap();
        let eu = fleet
            .members()
            .iter()
            .find(|it| it.cluster == "eu")
            .unwrap();
        deployment = deployment.move_endpoint(eu.backend.address(), engine.address());
        let envoy = install::find(Wanted::Any).unwrap();
        let site = Site::of(&envoy, fleet, deployment).unwrap();
        let mut client = site.client().unwrap();
        let mut status = || client.get("h", "/login").unwrap().status();
        match is_wrong {
            true => assert!((0..5).all(|_| status() == 200), "{kind}"),
            // An answer that takes too long is none.
            false => until("the engine refuses", || status() == 429),
        }
        assert_eq!(calls.load(Ordering::Relaxed) > 0, !is_wrong, "{kind}");
    }
}
