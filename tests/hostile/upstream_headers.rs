//! A client's upstream headers choose nothing.

use super::{ENDPOINTS, assert_chosen, configuration, envoy_host};
use host_sim::exchange::{ExchangeRequest, Host, Pairs, Response};
use host_sim::world::World;

/// Upstream headers that a client may send in the hope of choosing.
fn forgeries() -> Vec<Pairs> {
    let pairs = |pairs: &[(&str, &str)]| -> Pairs {
        pairs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    };
    let (cluster, endpoint) = ("x-pointsman-cluster", "x-pointsman-endpoint");
    vec![
        pairs(&[(cluster, "spare"), (endpoint, ENDPOINTS[1])]),
        pairs(&[
            ("X-POINTSMAN-CLUSTER", "spare"),
            ("X-Pointsman-Endpoint", ENDPOINTS[1]),
        ]),
        pairs(&[
            ("x-PoInTsMaN-cLuStEr", "spare"),
            ("X-pointsman-endpoinT", "127.0.0.1:1"),
        ]),
        pairs(&[(cluster, "spare"); 20]),
        pairs(&[
            (cluster, ""),
            (cluster, "spare"),
            (endpoint, ""),
            (endpoint, ENDPOINTS[1]),
        ]),
        pairs(&[
            (cluster, "spare"),
            (cluster, ""),
            ("X-Pointsman-Cluster", "evil"),
        ]),
        pairs(&[(cluster, ""), (endpoint, "")]),
        pairs(&[(cluster, "   spare \t "), (endpoint, " \t")]),
        pairs(&[
            (cluster, "blue, spare"),
            (endpoint, "127.0.0.1:1, 127.0.0.1:9102"),
        ]),
        pairs(&[
            ("connection", "x-pointsman-cluster, close"),
            (cluster, "spare"),
        ]),
    ]
}

/// Paths of [`configuration`], and whether a pool gets them; otherwise they take the proxy's own
/// route.
const FORGED: [(&str, bool); 7] = [
    ("/r?1", true),
    ("/p/1", true),
    ("/t/1/2", true),
    ("/", true),
    ("/o", false),
    ("/none", false),
    ("/none?x-pointsman-cluster=spare", false),
];

fn upstream_headers_never_take_effect(host: &mut dyn Host) {
    for (path, to_a_pool) in FORGED {
        for (number, headers) in forgeries().into_iter().enumerate() {
            let told = host
                .exchange(&ExchangeRequest {
                    method: b"GET".to_vec(),
                    scheme: b"http".to_vec(),
                    authority: b"b".to_vec(),
                    target: path.into(),
                    // A client of its own, for the limit.
                    headers: [
                        &headers[..],
                        &[(b"user-agent".to_vec(), number.to_string().into())],
                    ]
                    .concat(),
                    client_ip: None,
                    tls: Default::default(),
                    roll: None,
                    upstream: Response {
                        status: 200,
                        headers: Vec::new(),
                        body: Vec::new(),
                    },
                })
                .unwrap();
            let what = format!("{} {path} {number}: {told:?}", host.name());
            assert_eq!(told.response.status, 200, "{what}");
            assert_eq!(told.upstream_cluster.is_some(), to_a_pool, "{what}");
            assert_eq!(
                told.decision["cluster"].as_str(),
                told.upstream_cluster.as_deref(),
                "{what}"
            );
            assert_eq!(
                told.decision["endpoint"].as_str(),
                told.upstream_endpoint.as_deref(),
                "{what}"
            );
            assert_chosen(&told.upstream_headers.unwrap(), Some(&told.decision));
        }
    }
}

#[test]
fn upstream_headers_never_take_effect_on_the_simulator() {
    upstream_headers_never_take_effect(&mut World::of(&configuration(), 2).unwrap());
}

#[test]
fn upstream_headers_never_take_effect_on_a_real_envoy() {
    upstream_headers_never_take_effect(&mut envoy_host().client());
}
