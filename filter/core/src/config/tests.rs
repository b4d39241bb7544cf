//! Laws of loading a configuration.

use super::Config;

/// The example of the interface, without what is not in this version.
const INTERFACE: &str = r#"{
  "upstream": { "cluster_header": "x-pointsman-cluster", "endpoint_header": "x-pointsman-endpoint" },
  "client_ip": { "header": "x-forwarded-for", "trusted_hops": 1 },
  "pools": {
    "web": {
      "balance": "round_robin",
      "targets": [
        { "cluster": "web-blue", "name": "blue", "weight": 9 },
        { "cluster": "web-green", "name": "green", "weight": 1, "state": "up" }
      ],
      "sticky": {
        "cookie": { "name": "pm_web", "ttl": "1h", "path": "/", "secure": true, "http_only": true, "same_site": "lax" },
        "header": "x-session-id",
        "keys": ["c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISEhISE="]
      }
    },
    "api": {
      "cluster": "api",
      "targets": [
        { "endpoint": "127.0.0.1:9101", "weight": 4, "region": "seoul" },
        { "endpoint": "127.0.0.1:9102" }
      ]
    },
    "spare": { "targets": [ { "cluster": "spare" } ] }
  },
  "rate_limits": {
    "per-ip": { "requests": 100, "per": "1s", "burst": 50, "key": ["client_ip"] },
    "login": { "requests": 5, "per": "1m", "key": ["client_ip", { "header": "user-agent" }], "shadow": true }
  },
  "rate_limit_table": { "max_keys": 65536 },
  "routes": [
    { "name": "checkout",
      "match": {
        "hosts": ["shop.example.com", "*.shop.example.com"],
        "path": { "prefix": "/checkout" },
        "methods": ["GET", "POST"],
        "headers": [ { "name": "x-tier", "exact": "gold" } ],
        "cookies": [ { "name": "beta", "exact": "1" } ],
        "query": [ { "name": "region", "exact": "us-east" } ],
        "client_ip": ["10.0.0.0/8"]
      },
      "rate_limits": ["per-ip"],
      "request_headers": { "set": { "x-route": "checkout" }, "add": {}, "remove": ["x-debug"] },
      "response_headers": { "set": { "x-served-by": "pointsman" } },
      "rewrite": { "path_prefix": "/", "host": "internal.example.com" },
      "pool": "web" },
    { "name": "canary", "match": { "path": { "prefix": "/api" } },
      "split": [ { "pool": "api", "weight": 95 }, { "pool": "spare", "weight": 5 } ] },
    { "name": "old", "match": { "path": { "exact": "/old" } },
      "redirect": { "scheme": "https", "host": "new.example.com", "path": "/new", "status": 301 } },
    { "name": "closed", "match": { "path": { "prefix": "/internal" } },
      "respond": { "status": 403, "body": "no entry\n", "headers": { "content-type": "text/plain" } } },
    { "name": "rest", "pass": true }
  ],
  "no_route": { "respond": { "status": 404 } },
  "explain": { "header": "x-pointsman-explain", "token": "a-secret" }
}"#;

#[test]
fn interface_example_loads() {
    let config = Config::load(INTERFACE.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.pools.len(), 3);
    assert_eq!(config.routes.len(), 5);
}
