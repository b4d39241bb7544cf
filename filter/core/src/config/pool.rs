//! The section `pools`.

use super::rate_limit::{KEY_PART, key_part};
use super::reader::{Map, Names, Node, Report, one_of, quoted};
use super::syntax;
use super::{health, region, sticky};
use crate::http::key::KeyPart;
use crate::index::PoolIndex;
use crate::pool::balance::Balance;
use crate::pool::{Pool, State, Target};
use crate::time::Nanos;
use std::rc::Rc;

/// The most pools: more than a proxy has clusters.
pub const MAX_POOLS: usize = 10_000;
/// The most targets of a pool: a choice looks at each.
pub const MAX_TARGETS: usize = 10_000;
/// The most pools of `failover`: a request may look at each.
pub const MAX_FAILOVER: usize = 16;
/// The longest `slow_start`.
pub const MAX_SLOW_START: Nanos = Nanos::from_secs(3600);
/// The default of `slow_start` where load decides.
pub const DEFAULT_SLOW_START: Nanos = Nanos::from_secs(10);

/// What the rest of the configuration knows of a section whose entries have names.
pub struct Defined<'n, T> {
    /// The names, with their places in `all`.
    pub names: Names<'n>,
    /// None: it was not readable, which has been noted.
    pub all: Vec<Option<Rc<T>>>,
}

impl<T> Default for Defined<'_, T> {
    fn default() -> Self {
        Defined {
            names: Names::default(),
            all: Vec::new(),
        }
    }
}

impl<T> Defined<'_, T> {
    /// The entry that this node names.
    pub fn named(&self, node: &Node<'_>, what: &str, report: &mut Report) -> Option<Rc<T>> {
        let number = node.reference(report, &self.names, what)?;
        self.all.get(number).cloned().flatten()
    }
}

/// Reads `pools`.
pub fn pools<'n>(map: &Map<'n>, report: &mut Report) -> Defined<'n, Pool> {
    let mut defined = Defined::default();
    for (index, node) in map.iter().enumerate() {
        check_name(&node, report);
        // A name given twice has been noted.
        let _ = defined.names.add(node.key(), index);
    }
    for (index, node) in map.iter().enumerate() {
        let pool = pool(&node, PoolIndex::new(index), &defined.names, report);
        defined.all.push(pool.map(Rc::new));
    }
    defined
}

fn check_name(node: &Node<'_>, report: &mut Report) {
    if !syntax::is_name(node.key()) {
        report.note(node, "not a name", syntax::NAME);
    }
}

const KEYS: &[&str] = &[
    "balance",
    "cluster",
    "targets",
    "sticky",
    "health",
    "failover",
    "prefer_region",
    "slow_start",
];

fn pool(node: &Node<'_>, index: PoolIndex, pools: &Names<'_>, report: &mut Report) -> Option<Pool> {
    let map = node.map(report, KEYS)?;
    let cluster_node = map.get("cluster");
    let cluster = cluster_node
        .as_ref()
        .and_then(|node| node.text_that(report, syntax::is_line, CLUSTER));
    let balance = map.get("balance").and_then(|node| balance(&node, report));
    let balance = balance.unwrap_or_default();
    let sticky = map
        .get("sticky")
        .and_then(|node| sticky::sticky(&node, report));
    let health = map
        .get("health")
        .and_then(|node| health::checks(&node, report));
    let failover = map
        .get("failover")
        .map(|node| failover(&node, index, pools, report));
    let slow_start = map
        .get("slow_start")
        .and_then(|node| node.duration(report, Nanos::ZERO, MAX_SLOW_START, "from 0s to 1h"));
    let targets_node = map.need(report, "targets", TARGETS)?;
    let of = Of {
        cluster_node,
        cluster: cluster.unwrap_or_default(),
    };
    let targets = targets(&targets_node, &of, report);
    let prefer_region = map
        .get("prefer_region")
        .and_then(|node| region::prefer_region(&node, &targets, report));
    Some(Pool {
        index,
        name: node.key().into(),
        slow_start: slow_start.unwrap_or(match balance.is_by_load() {
            true => DEFAULT_SLOW_START,
            false => Nanos::ZERO,
        }),
        balance,
        targets,
        sticky,
        endpoints: cluster_node.is_some(),
        health: health.unwrap_or_default(),
        failover: failover.unwrap_or_default(),
        prefer_region,
    })
}

fn failover(
    list: &Node<'_>,
    own: PoolIndex,
    pools: &Names<'_>,
    report: &mut Report,
) -> Vec<PoolIndex> {
    let mut failover = Vec::new();
    for node in list.list(report, "a list of pools", MAX_FAILOVER) {
        let Some(pool) = node.reference(report, pools, "pool").map(PoolIndex::new) else {
            continue;
        };
        if pool == own {
            report.note(&node, "the pool itself", "another pool");
        } else if failover.contains(&pool) {
            let found = format!("{} a second time", node.shown());
            report.note(&node, &found, "each pool at most once");
        }
        failover.push(pool);
    }
    failover
}

const CLUSTER: &str = "the name of an Envoy cluster";
const TARGETS: &str = "a list of targets, at least one";

/// The balances that are a word.
const BALANCES: &[&str] = &[
    "round_robin",
    "random",
    "least_connections",
    "least_response_time",
    "ip_hash",
];

fn balance(node: &Node<'_>, report: &mut Report) -> Option<Balance> {
    if node.is_map() {
        let map = node.map(report, &["consistent_hash"])?;
        let hash = map.need(report, "consistent_hash", "a map of key")?;
        let key = hash.map(report, &["key"])?.need(report, "key", KEY_PART)?;
        return key_part(&key, report).map(Balance::Hash);
    }
    let expected = format!("{}, {{ consistent_hash: {{ key: … }} }}", one_of(BALANCES));
    let text = node.text(report, &expected)?;
    match BALANCES.iter().position(|balance| *balance == text) {
        Some(0) => Some(Balance::RoundRobin),
        Some(1) => Some(Balance::Random),
        Some(2) => Some(Balance::LeastConnections),
        Some(3) => Some(Balance::LeastResponseTime),
        Some(_) => Some(Balance::Hash(KeyPart::ClientIp)),
        None => {
            let near = report.nearest(text, &mut BALANCES.iter().copied());
            report.note_near(node, &node.shown(), &expected, near);
            None
        }
    }
}

/// The pool that targets belong to.
struct Of<'n> {
    /// In a pool of endpoints.
    cluster_node: Option<Node<'n>>,
    cluster: &'n str,
}

fn targets(list: &Node<'_>, of: &Of<'_>, report: &mut Report) -> Vec<Target> {
    let mut seen = Names::default();
    let mut targets = Vec::new();
    let nodes: Vec<Node<'_>> = list.filled_list(report, TARGETS, MAX_TARGETS).collect();
    for node in &nodes {
        let Some((named, target)) = target(node, of, report) else {
            continue;
        };
        if let Err(other) = seen.add(named, node.position()) {
            let found = format!(
                "{} is the name of {}[{other}] too",
                quoted(named),
                list.place()
            );
            report.note(node, &found, "a `name` of its own");
        }
        targets.push(target);
    }
    weights(list, targets.iter().map(|target| target.weight), report);
    targets
}

/// Together the weights of a pool or a split must fit into 32 bits, as Envoy has it too.
pub fn weights(node: &Node<'_>, weights: impl Iterator<Item = u32>, report: &mut Report) {
    let sum: u64 = weights.map(u64::from).sum();
    if sum > u64::from(u32::MAX) {
        report.note(
            node,
            &format!("weights that sum to {sum}"),
            &format!("a sum of at most {}", u32::MAX),
        );
    }
}

/// A target with its name.
fn target<'n>(node: &'n Node<'n>, of: &Of<'_>, report: &mut Report) -> Option<(&'n str, Target)> {
    const STATES: &[&str] = &["up", "draining", "down"];
    let map = node.map(
        report,
        &["cluster", "endpoint", "name", "weight", "state", "region"],
    )?;
    let (own, other, expected) = match of.cluster_node {
        Some(_) => ("endpoint", "cluster", ENDPOINT),
        None => ("cluster", "endpoint", CLUSTER),
    };
    let own = match map.get(other) {
        Some(wrong) => {
            let (found, expected) = match &of.cluster_node {
                Some(cluster) => (
                    format!(
                        "stands in a pool of endpoints ({} is given)",
                        cluster.place()
                    ),
                    "`endpoint` only: the cluster is the pool's",
                ),
                None => (
                    "stands in a pool of clusters (it has no `cluster` of its own)".to_owned(),
                    "`cluster` only, or a `cluster` on the pool",
                ),
            };
            report.note(&wrong, &found, expected);
            map.get(own)
        }
        None => map.need(report, own, expected),
    };
    let good = match of.cluster_node {
        Some(_) => syntax::is_endpoint,
        None => syntax::is_line,
    };
    let own = own.and_then(|node| node.text_that(report, good, expected));
    let name = map
        .get("name")
        .map(|node| node.text_that(report, syntax::is_name, syntax::NAME));
    let weight = map
        .get("weight")
        .and_then(|node| node.whole(report, 0, u32::MAX));
    let state = map
        .get("state")
        .and_then(|node| node.choice(report, STATES));
    let region = map
        .get("region")
        .and_then(|node| node.text_that(report, syntax::is_name, syntax::NAME));
    let own = own?;
    let name = name.unwrap_or(Some(own))?;
    let target = Target {
        name: name.into(),
        cluster: if of.cluster_node.is_some() {
            of.cluster
        } else {
            own
        }
        .into(),
        endpoint: of
            .cluster_node
            .is_some()
            .then(|| syntax::endpoint(own).into()),
        weight: weight.unwrap_or(1),
        state: match state {
            Some(1) => State::Draining,
            Some(2) => State::Down,
            _ => State::Up,
        },
        region: region.map(Into::into),
    };
    Some((name, target))
}

const ENDPOINT: &str = "`ip:port`, an IPv6 address in brackets";
