//! The section `pools`.

use super::balance::balance;
use super::defined::Defined;
use super::failover::failover;
use super::health::checks;
use super::limits;
use super::prefer_region::prefer_region;
use super::reader::{Map, Names, Node, Report};
use super::router_options::router_options;
use super::secret::Variables;
use super::sticky::sticky;
use super::syntax;
use super::target::{CLUSTER, Of, TARGETS, targets};
use crate::http::upstream::Upstream;
use crate::index::PoolIndex;
use crate::pool::Pool;
use crate::scope::Scope;
use crate::time::Nanos;
use std::rc::Rc;

/// Reads `pools`.
pub(super) fn pools<'n>(
    map: &Map<'n>,
    upstream: &Upstream,
    scope: &Scope,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Defined<'n, Pool> {
    let mut defined = Defined::default();
    for (index, node) in map.iter().enumerate() {
        check_name(&node, report);
        // A name given twice has been noted.
        let _ = defined.names.add(node.key(), index);
    }
    for (index, node) in map.iter().enumerate() {
        let pool = pool(
            &node,
            PoolIndex::new(index),
            &defined.names,
            upstream,
            variables,
            report,
        );
        let pool = pool.map(|pool| Pool {
            scope: scope.clone(),
            ..pool
        });
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
    "timeout",
    "retry",
];

fn pool(
    node: &Node<'_>,
    index: PoolIndex,
    pools: &Names<'_>,
    upstream: &Upstream,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Option<Pool> {
    let map = node.map(report, KEYS)?;
    let cluster_node = map.get("cluster");
    let cluster = cluster_node
        .as_ref()
        .and_then(|node| node.text_that(report, syntax::is_line, CLUSTER));
    let balance = map.get("balance").and_then(|node| balance(&node, report));
    let balance = balance.unwrap_or_default();
    let sticky_node = map.get("sticky");
    let sticky = sticky_node.and_then(|node| sticky(&node, variables, report));
    let health = map
        .get("health")
        .and_then(|node| checks(&node, upstream, report));
    let failover = map
        .get("failover")
        .map(|node| failover(&node, index, pools, report));
    let slow_start = map
        .get("slow_start")
        .and_then(|node| node.duration_within(report, limits::SLOW_START));
    let router_options = router_options(&map, report);
    let targets_node = map.need(report, "targets", TARGETS)?;
    let of = Of {
        cluster_node,
        cluster: cluster.unwrap_or_default(),
    };
    let targets = targets(&targets_node, &of, report);
    let prefer_region = map
        .get("prefer_region")
        .and_then(|node| prefer_region(&node, &targets, report));
    let mut regions = Names::default();
    if prefer_region.is_some() {
        for region in targets.iter().flat_map(|target| &target.region) {
            let _ = regions.add(region, 0);
        }
    }
    let turns = limits::TURN_MEMORY * (1 + regions.len());
    let memory = (limits::TARGET_MEMORY + turns).saturating_mul(targets.len());
    report.has_room(node, limits::POOL_MEMORY.saturating_add(memory));
    Some(Pool {
        scope: Scope::default(),
        index,
        name: node.key().into(),
        slow_start: slow_start.unwrap_or(match balance.is_by_load() {
            true => limits::DEFAULT_SLOW_START,
            false => Nanos::ZERO,
        }),
        balance,
        is_limited: targets.iter().any(|target| target.max_in_flight.is_some()),
        targets,
        sticky,
        endpoints: cluster_node.is_some(),
        health: health.unwrap_or_default(),
        failover: failover.unwrap_or_default(),
        prefer_region,
        router_options,
    })
}
