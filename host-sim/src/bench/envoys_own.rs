//! Envoy's own routes and filters for what is measured.

use super::routes::{MeasuredRoute, cookie};
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// Envoy's own routes. The value is what a route does with its requests, but for the cluster:
/// timeout and retries, the same for all candidates.
#[derive(Clone, Debug)]
pub(super) struct EnvoyRoutes(pub Value);

/// Has the first virtual host of a connection manager choose by Envoy's own routes, and has nothing
/// removed of what clients send: `routes` are its `routes` or its `matcher`.
pub(super) fn choose(
    manager: &mut Value,
    routes: impl FnOnce(&EnvoyRoutes) -> (&'static str, Value),
) -> Result<()> {
    let host = &mut manager["route_config"]["virtual_hosts"][0];
    // That of a request to an endpoint: routes for what is seldom asked for, such as a mirror, which
    // makes every request dearer, stand before it.
    let is_of_endpoints = |route: &&mut Value| {
        let headers = route["match"]["headers"].as_array();
        let mut names = headers.into_iter().flatten().map(|header| &header["name"]);
        names.any(|name| name == "x-pointsman-endpoint")
    };
    let mut shipped = host["routes"].as_array_mut().into_iter().flatten();
    let route = shipped.find(is_of_endpoints);
    let mut action = route.map_or(Value::Null, |route| route["route"].take());
    action
        .as_object_mut()
        .context("envoy-config/envoy.yaml has another route")?
        .remove("cluster_header");
    let (key, routes) = routes(&EnvoyRoutes(action));
    *host = json!({ "name": "all", "domains": ["*"], key: routes });
    // Only a filter's choice has to be protected from clients.
    manager["early_header_mutation_extensions"] = json!([]);
    Ok(())
}

impl EnvoyRoutes {
    fn with(&self, key: &str, value: Value) -> Value {
        let mut action = self.0.clone();
        action[key] = value;
        action
    }

    fn to(&self, route: MeasuredRoute) -> Value {
        self.with("cluster", route.first_cluster().into())
    }

    /// One route for everything, to one cluster.
    pub(super) fn one(&self, cluster: &str) -> Value {
        json!([{ "match": { "prefix": "/" }, "route": self.with("cluster", cluster.into()) }])
    }

    /// One route for everything, to the cluster that a filter names.
    pub(super) fn named_by_header(&self) -> Value {
        let action = self.with("cluster_header", "x-pointsman-cluster".into());
        json!([{ "match": { "prefix": "/" }, "route": action }])
    }

    /// A route for each of these matches, and one for everything, all to one cluster.
    pub(super) fn matching(&self, matches: &[Value], cluster: &str) -> Value {
        let everything = json!({ "prefix": "/" });
        let action = self.with("cluster", cluster.into());
        let matches = matches.iter().chain([&everything]);
        let routes = matches.map(|matched| json!({ "match": matched, "route": action }));
        routes.collect()
    }

    /// A list of routes.
    pub(super) fn list(&self, routes: usize) -> Value {
        let routes = (0..routes)
            .map(MeasuredRoute)
            .map(|route| json!({ "match": pattern(route), "route": self.to(route) }));
        routes.collect()
    }

    /// The same as a matcher tree: a map of the exact paths, and behind it a radix tree of the
    /// prefixes.
    pub(super) fn tree(&self, routes: usize) -> Value {
        let entries = |exact: bool| -> Map<_, _> {
            let of_kind = (0..routes)
                .map(MeasuredRoute)
                .filter(|route| route.is_exact() == exact);
            of_kind
                .map(|route| (route.pattern(), self.leaf(route)))
                .collect()
        };
        let input = json!({
            "name": "path",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                "header_name": ":path",
            },
        });
        let prefixes = json!({ "matcher_tree": { "input": input, "prefix_match_map": { "map": entries(false) } } });
        json!({
            "matcher_tree": { "input": input, "exact_match_map": { "map": entries(true) } },
            "on_no_match": { "matcher": prefixes },
        })
    }

    fn leaf(&self, route: MeasuredRoute) -> Value {
        json!({ "action": {
            "name": "route",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.route.v3.Route",
                "match": { "prefix": "/" },
                "route": self.to(route),
            },
        } })
    }

    /// A list of routes to weighted clusters.
    pub(super) fn weighted(&self, routes: usize) -> Value {
        let routes = (0..routes).map(MeasuredRoute).map(|route| {
            let clusters = route
                .clusters()
                .map(|(name, weight)| json!({ "name": name, "weight": weight }));
            let clusters = json!({ "clusters": clusters.collect::<Vec<_>>() });
            json!({
                "match": pattern(route),
                "route": self.with("weighted_clusters", clusters),
            })
        });
        routes.collect()
    }
}

/// What Envoy's own list matches a route by.
fn pattern(route: MeasuredRoute) -> Value {
    let kind = if route.is_exact() { "path" } else { "prefix" };
    json!({ kind: route.pattern() })
}

/// Filters for limits by the client's address, which never refuse here, and for sessions.
pub(super) fn filters() -> [Value; 2] {
    [
        json!({
            "name": "envoy.filters.http.local_ratelimit",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
                "stat_prefix": "bench",
                "token_bucket": { "max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s" },
                "filter_enabled": { "default_value": { "numerator": 100 } },
                "filter_enforced": { "default_value": { "numerator": 100 } },
                "rate_limits": [{ "actions": [{ "remote_address": {} }] }],
                // Without a value: a bucket for each address.
                "descriptors": [{
                    "entries": [{ "key": "remote_address" }],
                    "token_bucket": { "max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s" },
                }],
            },
        }),
        json!({
            "name": "envoy.filters.http.stateful_session",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
                "session_state": {
                    "name": "envoy.http.stateful_session.cookie",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
                        "cookie": { "name": cookie(0), "path": "/", "ttl": "3600s" },
                    },
                },
            },
        }),
    ]
}
