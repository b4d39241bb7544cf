//! What is measured: filters and Envoys of their own, each as a listener. Several stand in one
//! Envoy, since under Valgrind that takes seconds to start.

use crate::bench::envoys_own;
use crate::bench::routes::{self, MeasuredRoute, POOLS, cookie};
use crate::envoy::fleet::Fleet;
use crate::envoy::{Deployment, PluginConfiguration};
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// How many routes a configuration has, where nothing else is said.
pub(super) const FEW: usize = 10;
/// How many a large one has.
pub(super) const MANY: usize = 10_000;

/// What is on. Each has what those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Features {
    /// Routes to weighted pools.
    Routing,
    /// Sessions; the client brings its cookie.
    Sticky,
    /// A limit by the client's address.
    Limit,
    /// `least_connections`, and passive health.
    Everything,
}

/// What the targets of the pools are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Targets {
    /// Clusters of the proxy.
    Clusters,
    /// Endpoints of one cluster, whose load balancing policy is `override_host`.
    Endpoints,
}

/// Which form of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleForm {
    /// As Cargo builds it.
    Built,
    /// As [`mod@crate::package`] writes it.
    Ships,
}

/// The proxy's routes, and what it does before the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyRoutes {
    /// Those of `envoy-config/envoy.yaml`, which removes headers of clients first.
    Shipped,
    /// One without conditions, and nothing is removed.
    One,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BenchRow {
    /// One route for everything and no filter: what everything else is compared with.
    Bare(Targets),
    /// A filter that does nothing, and is the unit of the bars.
    Empty,
    /// The host calls that no filter can do without that routes to clusters by what a request says:
    /// it reads the headers, names a cluster, and decides nothing. As it would ship.
    Calls,
    /// The same without the SDK, behind these routes of the proxy: what no filter of any make can do
    /// with less that has the callbacks of [`BenchRow::Calls`].
    Least(ProxyRoutes),
    /// Pointsman with this number of routes. Of [`MANY`] the last one is asked for, of [`FEW`] each
    /// in turn.
    Pointsman(Features, Targets, usize, ModuleForm),
    /// Envoy's own list of [`MANY`] routes; the last one is asked for.
    List,
    /// Envoy's own `local_ratelimit`, `stateful_session` and `weighted_clusters`.
    Filters,
}

/// Every row, in the order of the table. The first three are what others are compared with.
pub(super) fn all() -> Vec<BenchRow> {
    use Features::*;
    use ModuleForm::*;
    use Targets::*;
    let mut rows = vec![
        BenchRow::Bare(Clusters),
        BenchRow::Bare(Endpoints),
        BenchRow::Empty,
        BenchRow::Calls,
        BenchRow::Least(ProxyRoutes::Shipped),
        BenchRow::Least(ProxyRoutes::One),
    ];
    for (features, targets) in [
        (Routing, Clusters),
        (Routing, Endpoints),
        (Sticky, Clusters),
        (Limit, Clusters),
        (Everything, Clusters),
        (Everything, Endpoints),
    ] {
        rows.extend([Built, Ships].map(|form| BenchRow::Pointsman(features, targets, FEW, form)));
    }
    rows.extend([
        BenchRow::Pointsman(Everything, Clusters, MANY, Built),
        BenchRow::List,
        BenchRow::Filters,
    ]);
    rows
}

/// The modules of the filters.
pub(super) struct ModulePaths {
    /// Pointsman as Cargo builds it.
    pub built: PathBuf,
    /// Pointsman as it ships.
    pub ships: PathBuf,
    /// The filter that does nothing.
    pub empty: PathBuf,
    /// The filter that makes calls and decides nothing, without the exports that do not ship.
    pub calls: PathBuf,
    /// The same without the SDK.
    pub least: PathBuf,
}

impl BenchRow {
    /// What the table calls it, and what `--only` looks at.
    pub(super) fn name(self) -> String {
        match self {
            BenchRow::Bare(Targets::Clusters) => "bare Envoy, clusters".into(),
            BenchRow::Bare(Targets::Endpoints) => "bare Envoy, endpoints".into(),
            BenchRow::Empty => "empty SDK filter".into(),
            BenchRow::Calls => "the calls of routing alone, clusters, as it ships".into(),
            BenchRow::Least(ProxyRoutes::Shipped) => {
                "the calls of routing alone, clusters, no SDK".into()
            }
            BenchRow::Least(ProxyRoutes::One) => {
                "the calls of routing alone, clusters, no SDK, one route".into()
            }
            BenchRow::Pointsman(features, targets, routes, form) => {
                let features = match features {
                    Features::Routing => "routing and weights",
                    Features::Sticky => "routing, weights, sticky",
                    Features::Limit => "routing, weights, sticky, limit",
                    Features::Everything => "everything on",
                };
                let targets = match targets {
                    Targets::Clusters => "clusters",
                    Targets::Endpoints => "endpoints",
                };
                let routes = match routes {
                    FEW => String::new(),
                    routes => format!(", {routes} routes"),
                };
                let form = match form {
                    ModuleForm::Built => "",
                    ModuleForm::Ships => ", as it ships",
                };
                format!("{features}, {targets}{routes}{form}")
            }
            BenchRow::List => format!("Envoy's own list of {MANY} routes"),
            BenchRow::Filters => "Envoy's own limit, session and weights".into(),
        }
    }

    /// Which bare Envoy it is compared with.
    pub(super) fn targets(self) -> Targets {
        match self {
            BenchRow::Bare(targets) | BenchRow::Pointsman(_, targets, ..) => targets,
            BenchRow::Empty
            | BenchRow::Calls
            | BenchRow::Least(_)
            | BenchRow::List
            | BenchRow::Filters => Targets::Clusters,
        }
    }

    /// Whether other rows are compared with it.
    pub(super) fn is_compared_with(self) -> bool {
        matches!(self, BenchRow::Bare(_) | BenchRow::Empty)
    }

    /// Whether it needs a VM.
    pub(super) fn has_vm(self) -> bool {
        matches!(
            self,
            BenchRow::Empty | BenchRow::Calls | BenchRow::Least(_) | BenchRow::Pointsman(..)
        )
    }

    /// Whether clients have sessions.
    pub(super) fn is_sticky(self) -> bool {
        match self {
            BenchRow::Pointsman(features, ..) => features >= Features::Sticky,
            BenchRow::Filters => true,
            BenchRow::Bare(_)
            | BenchRow::Empty
            | BenchRow::Calls
            | BenchRow::Least(_)
            | BenchRow::List => false,
        }
    }

    /// Whether its answers come from more than one backend.
    pub(super) fn is_split(self) -> bool {
        matches!(self, BenchRow::Pointsman(..) | BenchRow::Filters)
    }

    /// The paths that are asked for, in turn.
    pub(super) fn paths(self) -> Vec<String> {
        match self {
            BenchRow::Pointsman(_, _, MANY, _) | BenchRow::List => {
                vec![MeasuredRoute(MANY - 1).path()]
            }
            _ => routes::paths(FEW),
        }
    }

    /// Its listener, called `name`.
    pub(super) fn listener(
        self,
        name: &str,
        fleet: &Fleet,
        modules: &ModulePaths,
    ) -> Result<Value> {
        let module = match self {
            BenchRow::Pointsman(_, _, _, ModuleForm::Built) => &modules.built,
            BenchRow::Pointsman(_, _, _, ModuleForm::Ships) => &modules.ships,
            BenchRow::Calls => &modules.calls,
            BenchRow::Least(_) => &modules.least,
            _ => &modules.empty,
        };
        let mut deployment = fleet.deployment(module)?;
        if let BenchRow::Pointsman(features, targets, routes, _) = self {
            let configuration = configuration(features, targets, routes, name);
            let configuration = PluginConfiguration::Struct(fleet.moved(configuration));
            deployment = deployment.with_configuration(configuration);
        }
        let first = MeasuredRoute(0).first_cluster();
        if self == BenchRow::Calls {
            let calls = format!("{first}\nget_header_map 1 0");
            deployment = deployment.with_configuration(PluginConfiguration::Text(calls));
        }
        let manager = deployment.connection_manager_mut();
        let [mut filter, router] = [0, 1].map(|at| manager["http_filters"][at].take());
        // A VM of its own: a proxy has one for each name, code and configuration of a VM.
        filter["typed_config"]["config"]["vm_config"]["vm_id"] = name.into();
        match self {
            BenchRow::Pointsman(..) | BenchRow::Calls | BenchRow::Least(ProxyRoutes::Shipped) => {}
            BenchRow::Least(ProxyRoutes::One) => {
                envoys_own::choose(manager, |own| ("routes", own.named_by_header()))?;
            }
            BenchRow::Bare(Targets::Endpoints) => {
                envoys_own::choose(manager, |own| ("routes", own.one(&cluster(0))))?;
            }
            BenchRow::Bare(Targets::Clusters) | BenchRow::Empty => {
                envoys_own::choose(manager, |own| ("routes", own.one(&first)))?;
            }
            BenchRow::List => envoys_own::choose(manager, |own| ("routes", own.list(MANY)))?,
            BenchRow::Filters => envoys_own::choose(manager, |own| ("routes", own.weighted(FEW)))?,
        }
        let mut filters = match self {
            BenchRow::Pointsman(..) | BenchRow::Empty | BenchRow::Calls | BenchRow::Least(_) => {
                vec![filter]
            }
            BenchRow::Filters => envoys_own::filters().into(),
            BenchRow::Bare(_) | BenchRow::List => vec![],
        };
        filters.push(router);
        manager["http_filters"] = filters.into();
        let mut listener = deployment.bootstrap_mut()["static_resources"]["listeners"][0].take();
        listener["name"] = name.into();
        Ok(listener)
    }
}

/// One Envoy with these listeners, and one worker.
pub(super) fn deployment(
    fleet: &Fleet,
    module: &Path,
    listeners: Vec<Value>,
) -> Result<Deployment> {
    let mut deployment = fleet.deployment(module)?.with_workers(1);
    deployment.bootstrap_mut()["static_resources"]["listeners"] = listeners.into();
    Ok(deployment)
}

/// Backends for all rows.
pub(super) fn backends() -> Result<Fleet> {
    let [mut all, others] = [Targets::Clusters, Targets::Endpoints]
        .map(|targets| configuration(Features::Routing, targets, FEW, targets_name(targets)));
    let pools = all["pools"].as_object_mut().context("pools")?;
    pools.extend(others["pools"].as_object().cloned().unwrap_or_default());
    Fleet::start(&all)
}

fn targets_name(targets: Targets) -> &'static str {
    match targets {
        Targets::Clusters => "c",
        Targets::Endpoints => "e",
    }
}

/// The cluster of a pool of endpoints.
fn cluster(pool: usize) -> String {
    format!("endpoints-{pool}")
}

/// Where the endpoint of a pool is configured; the fleet moves it.
fn endpoint(pool: usize, number: usize) -> String {
    format!("127.0.0.1:9{pool}{number}1")
}

/// Pointsman's configuration. The pools are called after `name`, because gauges of the same name
/// would be shared by all filters in one Envoy.
pub(super) fn configuration(
    features: Features,
    targets: Targets,
    routes: usize,
    name: &str,
) -> Value {
    let pool_name = |number| format!("{name}-{number}");
    let pools: Map<_, _> = (0..POOLS)
        .map(|number| (pool_name(number), pool(features, targets, number)))
        .collect();
    let routes = (0..routes).map(MeasuredRoute).map(|route| {
        let kind = if route.is_exact() { "exact" } else { "prefix" };
        let mut value = json!({
            "name": route.name(),
            "match": { "path": { kind: route.pattern() } },
            "pool": pool_name(route.pool()),
        });
        if features >= Features::Limit {
            value["rate_limits"] = json!(["per-client"]);
        }
        value
    });
    let mut configuration = json!({ "pools": pools, "routes": routes.collect::<Vec<_>>() });
    if features >= Features::Limit {
        // As the shipped configuration has it: Envoy appends the client's address there.
        configuration["client_ip"] = json!({ "header": "x-forwarded-for" });
        // It never refuses, although the whole load comes from one address.
        configuration["rate_limits"] =
            json!({ "per-client": { "requests": 1_000_000, "per": "1s", "key": ["client_ip"] } });
    }
    configuration
}

fn pool(features: Features, targets: Targets, number: usize) -> Value {
    // A route of this pool, for the names and the weights of its targets.
    let clusters = MeasuredRoute(2 * number).clusters().enumerate();
    let targets_of = clusters.map(|(at, (cluster, weight))| match targets {
        Targets::Clusters => json!({ "cluster": cluster, "weight": weight }),
        Targets::Endpoints => json!({ "endpoint": endpoint(number, at), "weight": weight }),
    });
    let mut pool = json!({ "targets": targets_of.collect::<Vec<_>>() });
    if targets == Targets::Endpoints {
        pool["cluster"] = cluster(number).into();
    }
    if features >= Features::Sticky {
        pool["sticky"] = json!({
            "cookie": { "name": cookie(number), "ttl": "1h" },
            "keys": ["YS1rZXktZm9yLWJlbmNobWFya3Mtb25seS0zMi1ieXQ="],
        });
    }
    if features >= Features::Everything {
        pool["balance"] = "least_connections".into();
        pool["health"] = json!({ "passive": {} });
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::config::Config;

    #[test]
    fn the_configurations_are_good() {
        for row in all() {
            if let BenchRow::Pointsman(features, targets, routes, _) = row {
                let text = configuration(features, targets, routes, "a").to_string();
                Config::load(text.as_bytes()).unwrap();
            }
        }
    }

    #[test]
    fn every_row_has_a_name_of_its_own_and_something_to_be_compared_with() {
        let rows = all();
        let names: std::collections::BTreeSet<_> = rows.iter().map(|row| row.name()).collect();
        assert_eq!(names.len(), rows.len());
        assert!(rows.contains(&BenchRow::Empty));
        for row in &rows {
            assert!(rows.contains(&BenchRow::Bare(row.targets())));
        }
    }
}
