//! The key `weight` of a target and of a part of a split.

use super::limits;
use super::reader::{Map, Node, Report};

/// Reads `weight`, or its default.
pub(super) fn weight(map: &Map<'_>, report: &mut Report) -> u32 {
    map.get("weight")
        .and_then(|node| node.whole_within(report, limits::WEIGHT))
        .unwrap_or(limits::DEFAULT_WEIGHT)
}

/// Together the weights of a pool or a split must fit into 32 bits, as Envoy has it too.
pub(super) fn weights(node: &Node<'_>, weights: impl Iterator<Item = u32>, report: &mut Report) {
    let sum: u64 = weights.map(u64::from).sum();
    if sum > u64::from(limits::WEIGHT.most) {
        report.note(
            node,
            &format!("weights that sum to {sum}"),
            &format!("a sum of at most {}", limits::WEIGHT.most),
        );
    }
}
