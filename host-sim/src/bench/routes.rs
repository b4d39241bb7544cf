//! The routes that are measured: the same in Pointsman's configuration, in Envoy's own and in the
//! load.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// How many pools the routes share, and the targets of each with their weights.
pub const POOLS: usize = 2;
const TARGETS: [(&str, u32); 2] = [("blue", 3), ("green", 1)];
/// The region of each target.
const REGIONS: [&str; 2] = ["seoul", "virginia"];
/// What Pointsman writes on every answer.
pub const SERVED_BY: (&str, &str) = ("x-served-by", "pointsman");
/// The order in which routes are asked for is the same in every run.
const SHUFFLE: u64 = 4;

/// One of the routes: every other one is exact, the rest are prefixes.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredRoute(pub usize);

impl MeasuredRoute {
    /// Its name.
    pub fn name(self) -> String {
        format!("route-{}", self.0)
    }

    /// Its path, or the start of it.
    pub fn is_exact(self) -> bool {
        self.0.is_multiple_of(2)
    }

    /// As it is configured.
    pub fn pattern(self) -> String {
        match self.is_exact() {
            true => format!("/service-{:05}/status", self.0),
            false => format!("/service-{:05}", self.0),
        }
    }

    /// A path that it matches and no other route does.
    pub fn path(self) -> String {
        match self.is_exact() {
            true => self.pattern(),
            false => format!("{}/items/4711", self.pattern()),
        }
    }

    /// Not in step with whether it is exact.
    pub fn pool(self) -> usize {
        self.0 / 2 % POOLS
    }

    /// The clusters that may get its requests, with their weights.
    pub fn clusters(self) -> impl Iterator<Item = (String, u32)> {
        clusters(self.pool())
    }

    /// Where a route without a choice leads.
    pub fn first_cluster(self) -> String {
        let (name, _) = TARGETS[0];
        cluster(name, self.pool())
    }
}

/// The clusters of a pool, with their weights.
fn clusters(pool: usize) -> impl Iterator<Item = (String, u32)> {
    TARGETS
        .into_iter()
        .map(move |(name, weight)| (cluster(name, pool), weight))
}

fn cluster(target: &str, pool: usize) -> String {
    format!("{target}-{pool}")
}

fn pool_name(pool: usize) -> String {
    format!("pool-{pool}")
}

/// The session cookie of a pool.
pub fn cookie(pool: usize) -> String {
    format!("pm_{pool}")
}

/// The paths of all routes, each once, in no order.
pub fn paths(routes: usize) -> Vec<String> {
    let mut paths: Vec<_> = (0..routes)
        .map(|route| MeasuredRoute(route).path())
        .collect();
    Rng::with_seed(SHUFFLE).shuffle(&mut paths);
    paths
}

/// How many of Pointsman's features are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureSet {
    /// Routes to weighted pools, and nothing else.
    Plain,
    /// On every route all features that one request can use.
    Everything,
}

/// Pointsman's configuration with this number of routes.
pub fn configuration(routes: usize, features: FeatureSet) -> Value {
    let pools: Map<_, _> = (0..POOLS)
        .map(|number| (pool_name(number), pool(number, features)))
        .collect();
    let routes: Vec<_> = (0..routes)
        .map(|number| route(MeasuredRoute(number), features))
        .collect();
    let mut configuration = json!({ "pools": pools, "routes": routes });
    if features == FeatureSet::Everything {
        // It never refuses, although the whole load comes from one address.
        configuration["rate_limits"] =
            json!({ "per-client": { "requests": 1_000_000, "per": "1s", "key": ["client_ip"] } });
        configuration["explain"] =
            json!({ "header": "x-pointsman-explain", "token": "not-asked-for" });
    }
    configuration
}

fn pool(number: usize, features: FeatureSet) -> Value {
    let targets = clusters(number)
        .zip(REGIONS)
        .map(|((cluster, weight), region)| match features {
            FeatureSet::Plain => json!({ "cluster": cluster, "weight": weight }),
            FeatureSet::Everything => {
                json!({ "cluster": cluster, "weight": weight, "region": region })
            }
        });
    let mut pool = json!({ "targets": targets.collect::<Vec<_>>() });
    if features == FeatureSet::Everything {
        pool["balance"] = "least_connections".into();
        pool["sticky"] = json!({
            "cookie": { "name": cookie(number), "ttl": "1h" },
            "keys": ["YS1rZXktZm9yLWJlbmNobWFya3Mtb25seS0zMi1ieXQ="],
        });
        pool["health"] = json!({ "passive": {}, "active": { "path": "/health" } });
        pool["failover"] = json!([pool_name((number + 1) % POOLS)]);
        pool["prefer_region"] =
            json!({ "header": "x-region", "map": { "a": REGIONS[0] }, "default": REGIONS });
    }
    pool
}

fn route(number: MeasuredRoute, features: FeatureSet) -> Value {
    let kind = if number.is_exact() { "exact" } else { "prefix" };
    let mut route = json!({
        "name": number.name(),
        "match": { "path": { kind: number.pattern() } },
        "pool": pool_name(number.pool()),
    });
    if features == FeatureSet::Everything {
        route["rate_limits"] = json!(["per-client"]);
        route["request_headers"] = json!({ "set": { "x-route": number.name() } });
        route["response_headers"] = json!({ "set": { SERVED_BY.0: SERVED_BY.1 } });
    }
    route
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::config::Config;
    use std::collections::BTreeSet;

    #[test]
    fn every_path_is_asked_for_once_and_belongs_to_its_route_alone() {
        const ROUTES: usize = 100;
        let paths = paths(ROUTES);
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), ROUTES);
        for path in &paths {
            let matches = |route: &MeasuredRoute| match route.is_exact() {
                true => *path == route.pattern(),
                false => path.starts_with(&route.pattern()),
            };
            let found: Vec<_> = (0..ROUTES)
                .map(MeasuredRoute)
                .filter(matches)
                .map(MeasuredRoute::path)
                .collect();
            assert_eq!(found, std::slice::from_ref(path));
        }
    }

    #[test]
    fn the_configurations_are_good() {
        for features in [FeatureSet::Plain, FeatureSet::Everything] {
            Config::load(configuration(10, features).to_string().as_bytes()).unwrap();
        }
    }
}
