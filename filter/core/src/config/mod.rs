//! The configuration: parsed into types that cannot be wrong, or refused with every error at once.

pub mod hash;
pub mod limits;
pub mod problem;
pub mod reader;
pub mod secret;
pub mod syntax;
pub mod value;

mod balance;
mod client_ip;
mod condition;
mod defined;
mod edit;
mod explain;
mod failover;
mod header;
mod health;
mod key;
mod known;
mod r#match;
mod mirror;
mod no_route;
mod parts;
mod pass;
mod path;
mod pool;
mod prefer_region;
mod protect;
mod protobuf;
mod query;
mod rate_limit;
mod redirect;
mod regex;
mod respond;
mod rewrite;
mod route;
mod router_options;
mod split;
mod sticky;
mod target;
mod upstream;
mod weight;

#[cfg(test)]
mod tests;

use crate::explain::Explain;
use crate::http::client_ip::ClientIp;
use crate::http::upstream::Upstream;
use crate::index::{PoolIndex, RouteIndex, TargetRef};
use crate::pool::{Pool, Target};
use crate::protect::Protect;
use crate::rate_limit::{RateLimit, Table};
use crate::route::Route;
use crate::route::no_route::NoRoute;
use crate::scope::Scope;
use hash::{Canonical, ConfigurationHash};
use problem::{Problem, Problems};
use reader::{Node, Report};
use secret::Variables;
use std::rc::Rc;
use value::Value;

/// A whole configuration that loaded.
#[derive(Debug)]
pub struct Config {
    /// What the operator calls it: told where [`Config::hash`] is. No default.
    pub version: Option<Box<str>>,
    /// Which configuration it is.
    pub hash: ConfigurationHash,
    /// Whose its records and metrics are.
    pub scope: Scope,
    /// How the choice reaches the proxy.
    pub upstream: Upstream,
    /// Who the client is. None: the connection's source address.
    pub client_ip: Option<ClientIp>,
    /// In the order of the file.
    pub pools: Vec<Rc<Pool>>,
    /// In the order of the file.
    pub rate_limits: Vec<Rc<RateLimit>>,
    /// In the order of the file.
    pub protect: Vec<Rc<Protect>>,
    /// The bound on the limits' memory.
    pub rate_limit_table: Table,
    /// The longest value in bytes that `contains` and `regex` look at. 256 to 1,048,576. Default
    /// 8,192.
    pub max_value: u32,
    /// The first match wins.
    pub routes: Vec<Route>,
    /// What happens when nothing matches.
    pub no_route: NoRoute,
    /// None: off.
    pub explain: Option<Explain>,
    /// Whether the proxy's access log is told of each decision: [`crate::access_log`].
    pub access_log: bool,
    /// What it takes in a worker, in bytes: estimated from above, the same on every host.
    pub memory: usize,
}

impl Config {
    /// A pool. None: the index is of another configuration.
    pub fn pool(&self, index: PoolIndex) -> Option<&Rc<Pool>> {
        self.pools.get(index.get())
    }

    /// A target with its pool. None: it is of another configuration.
    pub fn target(&self, at: TargetRef) -> Option<(&Rc<Pool>, &Target)> {
        let pool = self.pool(at.pool)?;
        Some((pool, pool.target(at.index)?))
    }

    /// A route. None: the index is of another configuration.
    pub fn route(&self, index: RouteIndex) -> Option<&Route> {
        self.routes.get(index.get())
    }

    /// What the log says once it is live: `pointsman 0.2.0: 30 routes, 14 pools, 4 limits;
    /// configuration 3f9c1a2b4d5e (version "2026-11-26.3")`.
    #[cold]
    pub fn summary(&self) -> String {
        let [routes, pools, limits] = [self.routes.len(), self.pools.len(), self.rate_limits.len()];
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let [before, version, after] = match &self.version {
            Some(version) => [" (version \"", version, "\")"],
            None => [""; 3],
        };
        format!(
            "pointsman {}: {routes} route{}, {pools} pool{}, {limits} limit{}; configuration \
             {}{before}{version}{after}",
            env!("CARGO_PKG_VERSION"),
            plural(routes),
            plural(pools),
            plural(limits),
            self.hash
        )
    }

    /// Only the pools that are to be `kept`, in their places; in the others' is one without targets.
    /// What no end of a request needs is left out.
    pub(crate) fn only_pools(&self, kept: impl Fn(PoolIndex) -> bool) -> Config {
        let none = Rc::new(Pool::default());
        let pool = |pool: &Rc<Pool>| match kept(pool.index) {
            true => pool.clone(),
            false => none.clone(),
        };
        Config {
            version: self.version.clone(),
            hash: self.hash,
            upstream: self.upstream.clone(),
            client_ip: None,
            pools: self.pools.iter().map(pool).collect(),
            rate_limits: Vec::new(),
            protect: Vec::new(),
            rate_limit_table: self.rate_limit_table,
            routes: Vec::new(),
            no_route: NoRoute::Pass,
            explain: None,
            access_log: false,
            max_value: self.max_value,
            scope: self.scope.clone(),
            memory: self.memory,
        }
    }

    /// Loads JSON text, or a `google.protobuf.Struct` in binary, as the only configuration of its
    /// proxy; see [`Config::load_in`].
    ///
    /// ```
    /// use pointsman_core::config::Config;
    ///
    /// let text = r#"{
    ///     "pools": { "web": { "targets": [{ "cluster": "blue" }, { "cluster": "green", "weight": 9 }] } },
    ///     "routes": [{ "name": "all", "pool": "web" }]
    /// }"#;
    /// let config = Config::load(text.as_bytes())?;
    /// assert_eq!(config.pools[0].targets[0].weight, 1);
    ///
    /// // What is wrong is told all at once, each problem with its place.
    /// let wrong = text.replace("weight", "wait").replace(r#""pool": "web""#, r#""pool": "wob""#);
    /// let problems = Config::load(wrong.as_bytes()).unwrap_err();
    /// let places: Vec<_> = problems.0.iter().map(|problem| &*problem.place).collect();
    /// assert_eq!(places, ["pools.web.targets[1].wait", "routes[0].pool"]);
    /// assert_eq!(problems.0[1].nearest.as_deref(), Some("web"));
    /// # Ok::<(), pointsman_core::config::problem::Problems>(())
    /// ```
    pub fn load(bytes: &[u8]) -> Result<Config, Problems> {
        Config::load_in(bytes, &mut Scope::default, &|_| None)
    }

    /// As [`Config::load`]. `scope` tells whose the records and metrics are; it is asked only if the
    /// configuration does not say `scope: NAME`. `variables` gives the secrets that the configuration
    /// leaves to the environment: each must be the same for as long as the proxy runs, because the
    /// same configuration is loaded again and must not be refused then.
    pub fn load_in(
        bytes: &[u8],
        scope: &mut ScopeOf<'_>,
        variables: &Variables<'_>,
    ) -> Result<Config, Problems> {
        if bytes.is_empty() {
            return Err(unreadable(
                "",
                "nothing",
                "JSON text or a google.protobuf.Struct",
            ));
        }
        if bytes.len() > limits::MAX_CONFIGURATION {
            return Err(unreadable(
                "",
                &format!("{} bytes of configuration", bytes.len()),
                &format!("at most {} bytes", limits::MAX_CONFIGURATION),
            ));
        }
        if protobuf::is_struct(bytes) {
            let (tree, count) = protobuf::outline(bytes).map_err(no_struct)?;
            load(&tree, count, scope, variables, &mut |take| {
                protobuf::each_route(bytes, take).map_err(no_struct)
            })
        } else {
            let mut text = serde_json::Deserializer::from_slice(bytes);
            let outline =
                value::outline(&mut text).and_then(|outline| text.end().map(|()| outline));
            let (tree, count) = outline.map_err(no_json)?;
            load(&tree, count, scope, variables, &mut |take| {
                value::each_route(&mut serde_json::Deserializer::from_slice(bytes), take)
                    .map_err(no_json)
            })
        }
    }

    /// Reads a tree, however it came to be, where no variable is set.
    pub fn from_value(value: &Value) -> Result<Config, Problems> {
        Config::from_value_with(value, &|_| None)
    }

    /// The same with these variables.
    pub fn from_value_with(value: &Value, variables: &Variables<'_>) -> Result<Config, Problems> {
        let scope = &mut Scope::default;
        load(value, None, scope, variables, &mut |_| Ok(()))
    }
}

/// The scope of a configuration that says none.
pub type ScopeOf<'a> = dyn FnMut() -> Scope + 'a;

/// `count`: so many routes are not in the tree.
fn load(
    tree: &Value,
    count: Option<usize>,
    scope: &mut ScopeOf<'_>,
    variables: &Variables<'_>,
    read_routes: &mut route::ReadRoutes<'_>,
) -> Result<Config, Problems> {
    let mut report = Report::default();
    let mut hash = Canonical::new(tree, count.is_some());
    let root = Node::root(tree);
    let mut config = read(
        &root,
        count,
        scope,
        variables,
        read_routes,
        &mut hash,
        &mut report,
    )?;
    report.finish()?;
    if let Some(config) = &mut config {
        config.hash = hash.finish(tree);
    }
    // No configuration and no problem: cannot be, and is no reason to take down a worker.
    config.ok_or_else(|| unreadable("", "something unreadable", "a configuration"))
}

fn no_struct(malformed: protobuf::Malformed) -> Problems {
    let place = format!("byte {}", malformed.at);
    unreadable(&place, malformed.why, "a google.protobuf.Struct")
}

fn no_json(error: serde_json::Error) -> Problems {
    let place = format!("line {}, column {}", error.line(), error.column());
    let message = error.to_string();
    let why = message.split(" at line ").next().unwrap_or_default();
    unreadable(&place, why, "JSON text")
}

fn unreadable(place: &str, found: &str, expected: &str) -> Problems {
    Problems(vec![Problem {
        place: place.to_owned(),
        found: found.to_owned(),
        expected: expected.to_owned(),
        nearest: None,
    }])
}

fn read(
    root: &Node<'_>,
    count: Option<usize>,
    scope: &mut ScopeOf<'_>,
    variables: &Variables<'_>,
    read_routes: &mut route::ReadRoutes<'_>,
    hash: &mut Canonical,
    report: &mut Report,
) -> Result<Option<Config>, Problems> {
    let map = root.map(
        report,
        &[
            "upstream",
            "client_ip",
            "pools",
            "rate_limits",
            "rate_limit_table",
            "protect",
            "max_value",
            "routes",
            "no_route",
            "explain",
            "scope",
            "access_log",
            "version",
        ],
    );
    let Some(map) = map else {
        return Ok(None);
    };
    let scope = match map.get("scope") {
        None => scope(),
        Some(node) => Scope::named(
            node.text_that(report, syntax::is_scope, syntax::SCOPE)
                .unwrap_or_default(),
        ),
    };
    let version = map
        .get("version")
        .and_then(|node| node.text_that(report, syntax::is_name, syntax::NAME));
    let upstream = upstream::upstream(map.get("upstream"), report);
    let client_ip = map
        .get("client_ip")
        .and_then(|node| client_ip::client_ip(&node, report));
    let explain = map
        .get("explain")
        .and_then(|node| explain::explain(&node, &upstream, variables, report));
    let access_log = map
        .get("access_log")
        .and_then(|node| node.yes(report))
        .unwrap_or_default();
    let pools_node = map.get("pools");
    let pools_map = pools_node
        .as_ref()
        .and_then(|node| node.names(report, "a map of pools", limits::MAX_POOLS));
    let limits_node = map.get("rate_limits");
    let limits_map = limits_node
        .as_ref()
        .and_then(|node| node.names(report, "a map of rate limits", limits::MAX_LIMITS));
    let protect_node = map.get("protect");
    let protect_map = protect_node
        .as_ref()
        .and_then(|node| node.names(report, "a map of protections", limits::MAX_PROTECTS));
    let known = known::Known {
        upstream: &upstream,
        pools: pools_map
            .map(|map| pool::pools(&map, &upstream, &scope, variables, report))
            .unwrap_or_default(),
        rate_limits: limits_map
            .map(|map| rate_limit::rate_limits(&map, report))
            .unwrap_or_default(),
        protects: protect_map
            .map(|map| protect::protects(&map, report))
            .unwrap_or_default(),
    };
    let routes_node = map.get(value::ROUTES);
    let mut routes = match (&routes_node, count) {
        (None, _) => Vec::new(),
        (Some(node), None) => route::routes(node, &known, report),
        (Some(node), Some(count)) => {
            route::read_routes(node, count, read_routes, hash, &known, report)?
        }
    };
    if let Some(node) = &routes_node {
        r#match::link_languages(node, &mut routes, report);
    }
    let max_value = map
        .get("max_value")
        .and_then(|node| node.size_within(report, limits::MAX_VALUE));
    let no_route = no_route::no_route(map.get("no_route"), report);
    let rate_limit_table = rate_limit::table(map.get("rate_limit_table"), report);
    let (pools, rate_limits) = (known.pools.all, known.rate_limits.all);
    let protects = known.protects.all;
    Ok(Some(Config {
        version: version.map(Into::into),
        hash: ConfigurationHash::default(),
        scope,
        client_ip,
        pools: pools.into_iter().flatten().collect(),
        rate_limits: rate_limits.into_iter().flatten().collect(),
        protect: protects.into_iter().flatten().collect(),
        rate_limit_table,
        memory: report.memory(),
        max_value: max_value.unwrap_or(limits::DEFAULT_MAX_VALUE),
        routes,
        no_route,
        explain,
        access_log,
        upstream,
    }))
}
