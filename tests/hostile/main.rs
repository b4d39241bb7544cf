//! Nothing unsafe to face the internet: whatever bytes a client sends, no VM traps, the client does
//! not choose the upstream, and what the filter writes is well-formed. On the simulator, streams
//! are drawn from a seed, with all that may happen to them; on a real Envoy with two workers a raw
//! socket sends what no client library would.

mod bytes;
mod explain;
mod streams;
mod upstream_headers;

use host_sim::envoy::{Wanted, install};
use host_sim::envoy_host::EnvoyHost;
use host_sim::exchange::Pairs;
use host_sim::module;
use serde_json::{Value, json};

/// The longest value of a header or a path. Envoy takes 60 KiB by default, for all headers of a
/// request together.
const LONG: usize = 64 * 1024;
/// The most repeats of one header or cookie. Envoy takes 100 headers by default.
const REPEATS: usize = 500;

const TOKEN: &str = "secret";
/// The clusters that a decision can choose. The proxy has one more, `spare`.
const CLUSTERS: [&str; 4] = ["blue", "green", "violet", "api"];
const ENDPOINTS: [&str; 2] = ["127.0.0.1:9101", "127.0.0.1:9102"];

/// A configuration with every feature, on routes that hostile requests reach.
fn configuration() -> Value {
    let served = json!({ "set": { "x-served-by": "pointsman" }, "remove": ["server"], "add": { "x-list": ["a", "b"] } });
    json!({
        "client_ip": { "header": "x-forwarded-for", "trusted_hops": 2 },
        "pools": {
            "web": {
                "targets": [{ "cluster": "blue", "weight": 3 }, { "cluster": "green", "state": "draining" }, { "cluster": "violet" }],
                "sticky": {
                    "cookie": { "name": "pm", "ttl": "1h", "secure": true, "same_site": "none" },
                    "header": "x-session",
                    "keys": ["c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISEhISE=", "b2xkZXItc2VjcmV0LW9sZGVyLXNlY3JldA=="],
                },
            },
            "no route leads here": { "targets": [{ "cluster": "spare" }] },
            "plain": { "balance": "random", "targets": [{ "cluster": "green" }], "sticky": { "cookie": { "name": "pm" } } },
            "api": {
                "cluster": "api",
                "targets": [{ "endpoint": ENDPOINTS[0], "weight": 2 }, { "endpoint": ENDPOINTS[1] }],
            },
        },
        "rate_limits": {
            "few": { "requests": 3, "per": "1s", "key": ["client_ip", { "header": "user-agent" }, { "cookie": "a" }] },
            "seen": { "requests": 1, "per": "1m", "key": ["path", { "query": "a" }], "shadow": true },
        },
        "rate_limit_table": { "max_keys": 8 },
        "routes": [
            {
                "name": "everything",
                "match": [
                    {
                        "hosts": ["*.a", "b"],
                        "path": { "regex": "/(r|[^/]*x)+.*" },
                        "methods": ["GET", "POST"],
                        "scheme": "http",
                        "headers": [
                            { "name": "x-a", "regex": "(a|aa|.)*" },
                            { "name": "x-b", "contains": "bb", "invert": true },
                            { "name": "x-c", "prefix": "c", "invert": true },
                            { "name": ":path", "suffix": "zz", "invert": true },
                        ],
                        "cookies": [{ "name": "a", "regex": "[^b]*", "invert": true }, { "name": "z", "present": false }],
                        "query": [{ "name": "a", "contains": "z", "invert": true }],
                        "client_ip": ["0.0.0.0/0", "::/0"],
                    },
                    { "path": { "regex": "/r.*" } },
                ],
                "response_headers": served,
                "rate_limits": ["few", "seen"],
                "rewrite": { "path_regex": { "pattern": "(a+|.)(b)?", "substitution": "\\2(\\1)" }, "host": "inner:80" },
                "pool": "web",
            },
            {
                "name": "prefix",
                "match": { "path": { "prefix": "/p", "ignore_case": true } },
                "request_headers": { "set": { "x-set": "1" }, "add": { "x-a": ["1", "2"] }, "remove": ["x-b", "cookie"] },
                "response_headers": served,
                "rewrite": { "path_prefix": "/" },
                "rate_limits": ["seen"],
                "pool": "api",
            },
            {
                "name": "template",
                "match": { "path": { "template": "/t/{id}/{rest=**}" } },
                "response_headers": served,
                "rewrite": { "path": "/{rest}/{id}" },
                "split": [
                    { "pool": "web", "weight": 2, "request_headers": { "set": { "x-part": "1" } } },
                    { "pool": "api", "weight": 1, "response_headers": { "add": { "x-part": "2" } } },
                    { "pool": "plain", "weight": 1 },
                ],
            },
            {
                "name": "moved",
                "match": { "path": { "prefix": "/m" } },
                "response_headers": served,
                "redirect": { "path_regex": { "pattern": "m(.*)", "substitution": "n\\1\\1" }, "port": 8443 },
            },
            {
                "name": "shortened",
                "match": { "path": { "template": "/s/{rest=**}" } },
                "response_headers": served,
                "redirect": { "scheme": "https", "path": "/{rest}", "status": 308 },
            },
            {
                "name": "closed",
                "match": { "path": { "prefix": "/c" } },
                "response_headers": served,
                "respond": { "status": 403, "body": "no entry\n", "headers": { "x-why": ["a", "b"] } },
            },
            {
                "name": "asked",
                "match": [
                    { "path": { "prefix": "/d" }, "device": ["mobile", "bot"] },
                    { "path": { "prefix": "/d" }, "language": ["ko", "en-GB"] },
                ],
                "response_headers": served,
                "respond": { "status": 403 },
            },
            {
                "name": "not asked",
                "match": { "path": { "prefix": "/d" }, "device": "desktop" },
                "response_headers": served,
                "respond": { "status": 404 },
            },
            { "name": "tablets", "match": { "path": { "prefix": "/d" } }, "response_headers": served, "respond": { "status": 410 } },
            { "name": "out", "match": { "path": { "prefix": "/o" } }, "response_headers": served, "pass": true },
            { "name": "plain", "match": { "path": { "exact": "/" } }, "response_headers": served, "pool": "plain" },
        ],
        "no_route": { "pass": true },
        "explain": { "header": "x-explain", "token": TOKEN },
    })
}

fn values<'p>(pairs: &'p Pairs, name: &str) -> Vec<&'p [u8]> {
    let named = pairs.iter().filter(|(other, _)| other == name.as_bytes());
    named.map(|(_, value)| &value[..]).collect()
}

/// The upstream headers are those of the filter's decision, as far as its account is known.
fn assert_chosen(forwarded: &Pairs, decision: Option<&Value>) {
    let (cluster, endpoint) = (
        values(forwarded, "x-pointsman-cluster"),
        values(forwarded, "x-pointsman-endpoint"),
    );
    assert!(
        cluster.len() <= 1 && endpoint.len() <= cluster.len(),
        "{cluster:?} {endpoint:?}"
    );
    assert!(values(forwarded, "x-explain").is_empty());
    let known = |value: &[u8], all: &[&str]| all.iter().any(|one| one.as_bytes() == value);
    assert!(
        cluster.iter().all(|cluster| known(cluster, &CLUSTERS)),
        "{cluster:?}"
    );
    for list in &endpoint {
        assert!(
            list.split(|byte| *byte == b',')
                .all(|endpoint| known(endpoint, &ENDPOINTS))
        );
    }
    if let Some(decision) = decision {
        let told = |key: &str| decision[key].as_str().map(str::as_bytes);
        assert_eq!(cluster.first().copied(), told("cluster"), "{decision}");
        let first = endpoint
            .first()
            .and_then(|list| list.split(|byte| *byte == b',').next());
        assert_eq!(first, told("endpoint"), "{decision}");
        assert_eq!(
            told("action") == Some(b"forward"),
            !cluster.is_empty(),
            "{decision}"
        );
    }
}

/// A real Envoy with [`configuration`], two workers, and header limits far above what is sent.
fn envoy_host() -> EnvoyHost {
    let program = install::find(Wanted::Any).unwrap();
    EnvoyHost::start(&program, &module::build().unwrap(), &configuration()).unwrap()
}
