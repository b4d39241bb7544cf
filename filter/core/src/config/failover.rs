//! The key `failover` of a pool.

use super::limits;
use super::reader::{Names, Node, Report};
use crate::index::PoolIndex;

/// Reads `failover` of the pool `own`.
pub(super) fn failover(
    list: &Node<'_>,
    own: PoolIndex,
    pools: &Names<'_>,
    report: &mut Report,
) -> Vec<PoolIndex> {
    let mut failover = Vec::new();
    for node in list.list(report, "a list of pools", limits::MAX_FAILOVER) {
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
