//! gRPC on a real Envoy, over HTTP/2 on both sides: the status in a call's trailers decides which
//! target gets the next call.

use h2::client;
use host_sim::testkit::Site;
use host_sim::wait::{TIMEOUT, until};
use hyper::http::Request;
use pointsman_tests::grpc_server::{self, Answer};
use serde_json::json;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// `OK`, `UNAVAILABLE`, and `NOT_FOUND`, which is the caller's fault.
const TARGETS: [(&str, u32); 3] = [("well", 0), ("down", 14), ("strict", 5)];

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A server that ends every call with this status, in its trailers.
fn server(status: u32) -> SocketAddr {
    grpc_server::start(move |_| Answer {
        message: Some(vec![0; 5]),
        status,
    })
}

/// A call on a connection of its own: its status.
fn call(to: SocketAddr) -> u32 {
    let exchange = async {
        let stream = TcpStream::connect(to).await.unwrap();
        let (mut sender, connection) = client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("http://{to}/shop.Cart/Add"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let (response, _) = sender
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let size = data.unwrap().len();
            body.flow_control().release_capacity(size).unwrap();
        }
        let trailers = body.trailers().await.unwrap().expect("trailers");
        trailers["grpc-status"].to_str().unwrap().parse().unwrap()
    };
    runtime()
        .block_on(async { timeout(TIMEOUT, exchange).await })
        .unwrap()
}

#[test]
fn a_target_is_ejected_for_what_its_calls_say_in_their_trailers() {
    let targets = TARGETS.map(|(name, _)| json!({ "cluster": name }));
    let passive = json!({ "consecutive_failures": 3, "eject": "1h", "max_eject": "1h" });
    let configuration = json!({
        "pools": { "carts": { "targets": targets, "health": { "passive": passive } } },
        "routes": [{ "name": "all", "pool": "carts" }],
    });
    let site = Site::start_with(&configuration, |fleet, deployment| {
        let http2 = json!({ "http2_protocol_options": {} });
        let mut deployment = deployment.with_upstream_protocol(http2);
        for (member, (name, status)) in fleet.members().iter().zip(TARGETS) {
            assert_eq!(member.cluster, name);
            deployment = deployment.move_endpoint(member.backend.address(), server(status));
        }
        Ok(deployment)
    });
    let Site { envoy, .. } = &site.unwrap();
    let address = envoy.address().unwrap();
    // Those of a target are defined with its first request.
    let metric = |target: &str, what: &str| {
        envoy
            .filter_stat_if_defined(&format!("pointsman.pool.carts.target.{target}.{what}"))
            .unwrap()
    };
    let mut unavailable = 0;
    until("it is ejected", || {
        unavailable += usize::from(call(address) == 14);
        metric("down", "ejected") == Some(1)
    });
    assert_eq!((unavailable, metric("down", "failed")), (3, Some(3)));
    // On both workers.
    let after: Vec<_> = (0..30).map(|_| call(address)).collect();
    let [well, down, strict] =
        TARGETS.map(|(_, status)| after.iter().filter(|told| **told == status).count());
    assert_eq!((down, well + strict), (0, after.len()), "{after:?}");
    assert!(well.min(strict) >= 10, "{after:?}");
    assert_eq!(
        (metric("well", "failed"), metric("strict", "failed")),
        (Some(0), Some(0))
    );
    until("all counts are 0", || {
        envoy.requests_in_flight().unwrap() == 0
    });
}
