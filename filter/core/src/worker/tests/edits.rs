//! Header edits, and the order of what a request passes.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Every kind of way on, with edits that try to keep what a client sent.
const EVERY_WAY: &str = r#"{
    "pools": {
        "c": {"targets": [{"cluster": "ours"}]},
        "e": {"cluster": "ours", "targets": [{"endpoint": "127.0.0.1:1"}, {"endpoint": "127.0.0.1:2"}]}
    },
    "routes": [
        {"name": "pool", "match": {"path": {"prefix": "/pool"}}, "pool": "c"},
        {"name": "endpoints", "match": {"path": {"prefix": "/endpoints"}}, "pool": "e"},
        {"name": "split", "match": {"path": {"prefix": "/split"}}, "split": [{"pool": "c", "weight": 1}]},
        {"name": "pass", "match": {"path": {"prefix": "/pass"}}, "pass": true}
    ],
    "no_route": {"pass": true},
    "explain": {"header": "x-why", "token": "secret"}
}"#;

#[test]
fn upstream_headers_and_tokens_of_a_client_go_nowhere() {
    let mut test = TestWorker::of(EVERY_WAY);
    let theirs = [
        ("x-pointsman-cluster", "theirs"),
        ("x-pointsman-endpoint", "127.0.0.1:3"),
        ("x-pointsman-cluster", "theirs"),
        ("x-why", "guess"),
    ];
    for (path, cluster, endpoint) in [
        ("/pool", Some("ours"), None),
        ("/endpoints", Some("ours"), Some("127.0.0.1:1,127.0.0.1:2")),
        ("/split", Some("ours"), None),
        ("/pass", None, None),
        ("/none", None, None),
    ] {
        let decided = test.get(path, &theirs);
        assert_eq!(decided.cluster(), cluster, "{path}");
        let list = decided
            .header("x-pointsman-endpoint")
            .map(|list| list.split(',').count());
        assert_eq!(list, endpoint.map(|list| list.split(',').count()), "{path}");
        assert_eq!(decided.header("x-why"), None, "{path}");
        assert_eq!(
            decided.response,
            Vec::<String>::new(),
            "{path}: a guess is told nothing"
        );
    }
    let told = test.get("/pool", &[("x-why", "secret")]);
    assert_eq!(told.response.len(), 1);
    assert_eq!(told.header("x-why"), None);
}

#[test]
fn edits_come_in_order_and_the_choice_is_last() {
    let mut test = TestWorker::of(
        r#"{
        "pools": {"p": {"targets": [{"cluster": "c"}]}},
        "routes": [{
            "name": "r",
            "match": {"path": {"prefix": "/a"}},
            "rewrite": {"path_prefix": "/b", "host": "inner"},
            "request_headers": {"remove": ["x-gone", "x-never"], "set": {"x-set": "route"}, "add": {"x-add": "route"}},
            "split": [{"pool": "p", "weight": 1, "request_headers": {"set": {"x-set": "part"}, "remove": ["x-add"]}}]
        }]
    }"#,
    );
    let headers = [
        ("x-gone", "1"),
        ("x-set", "client"),
        ("x-envoy-original-path", "/forged"),
    ];
    let decided = test.get("/a/1?q", &headers);
    for (name, value) in [
        (":path", Some("/b/1?q")),
        (":authority", Some("inner")),
        ("x-envoy-original-path", Some("/a/1?q")),
        ("x-envoy-original-host", Some("h")),
        ("x-gone", None),
        ("x-set", Some("part")),
        ("x-add", None),
        ("x-pointsman-cluster", Some("c")),
    ] {
        assert_eq!(decided.header(name), value, "{name}");
    }
    assert_eq!(
        decided.upstream.unwrap().last().unwrap().0,
        "x-pointsman-cluster"
    );
    // A control character of the client's stays out of a header that the filter writes.
    let decided = test.get("/a/\0\r\n1\x7f", &headers);
    assert_eq!(decided.header("x-envoy-original-path"), Some("/a/1"));
}

#[test]
fn a_refused_request_takes_no_turn_and_gets_no_session() {
    let mut test = TestWorker::of(
        r#"{
        "pools": {"p": {"targets": [{"cluster": "a"}, {"cluster": "b"}], "sticky": {"cookie": {"name": "pm"}}}},
        "rate_limits": {"one": {"requests": 1, "per": "1h", "key": [{"header": "x-client"}]}},
        "routes": [{"name": "r", "rate_limits": ["one"], "pool": "p"}]
    }"#,
    );
    let first = test.get("/", &[("x-client", "1")]);
    let refused = test.get("/", &[("x-client", "1")]);
    assert_eq!((refused.status, refused.cookie), (Some(429), None));
    let second = test.get("/", &[("x-client", "2")]);
    assert_ne!(
        first.cluster(),
        second.cluster(),
        "the turn after the first is the second's"
    );
}

#[test]
fn what_tls_says_is_asked_for_once_and_only_where_it_decides() {
    let mut test = TestWorker::of(
        r#"{ "routes": [
            { "name": "plain", "match": { "path": { "prefix": "/plain" } }, "respond": { "status": 200 } },
            { "name": "a", "match": { "tls": { "sni": ["a.com"] } }, "respond": { "status": 201 } },
            { "name": "b", "match": { "tls": { "sni": ["b.com"], "peer": ["spiffe://m/ns/b/*"] } }, "respond": { "status": 202 } },
            { "name": "c", "match": { "tls": { "peer": ["spiffe://m/ns/c"] } }, "respond": { "status": 203 } }
        ] }"#,
    );
    // The name of the server, the peer, the status, and how many questions.
    let rows = [
        ("/plain", Some("a.com"), None, 200, 0),
        ("/", Some("a.com"), Some("spiffe://m/ns/c"), 201, 1),
        ("/", Some("b.com"), Some("spiffe://m/ns/b/x"), 202, 2),
        ("/", Some("b.com"), Some("spiffe://m/ns/c"), 203, 2),
        ("/", Some("B.com"), None, 404, 2),
        // As a proxy says "none".
        ("/", Some(""), Some(""), 404, 2),
        ("/", None, None, 404, 2),
    ];
    for (path, server_name, peer, status, questions) in rows {
        test.port.server_name = server_name.map(|text: &str| text.into());
        test.port.peer = peer.map(|text: &str| text.into());
        let before = test.port.tls_reads;
        assert_eq!(
            test.get(path, &[]).status,
            Some(status),
            "{server_name:?} {peer:?}"
        );
        assert_eq!(
            test.port.tls_reads - before,
            questions,
            "{server_name:?} {peer:?}"
        );
    }
}

#[test]
fn the_source_address_is_asked_for_once_and_only_where_it_decides() {
    for (balance, client_limit, questions) in [
        (r#""ip_hash""#, false, 1),
        (r#""ip_hash""#, true, 1),
        (r#"{"consistent_hash": {"key": "path"}}"#, false, 0),
        (r#""round_robin""#, false, 0),
    ] {
        let limits = if client_limit {
            r#""rate_limits": ["l"], "#
        } else {
            ""
        };
        let mut test = TestWorker::of(&format!(
            r#"{{
                "pools": {{"p": {{"balance": {balance}, "targets": [{{"cluster": "a"}}, {{"cluster": "b"}}]}}}},
                "rate_limits": {{"l": {{"requests": 9, "per": "1s", "key": ["client_ip"]}}}},
                "routes": [{{"name": "r", {limits} "pool": "p"}}]
            }}"#
        ));
        test.get("/", &[]);
        assert_eq!(
            test.port.address_reads, questions,
            "{balance} {client_limit}"
        );
    }
}
