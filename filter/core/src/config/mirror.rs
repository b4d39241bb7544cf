//! The key `mirror` of a route.

use super::known::Known;
use super::limits;
use super::reader::{Node, Report};
use crate::route::mirror::Mirror;

/// Reads `mirror`.
pub(super) fn mirror(
    node: &Node<'_>,
    known: &Known<'_>,
    report: &mut Report,
) -> Option<Box<Mirror>> {
    let map = node.map(report, &["pool", "percent"])?;
    let pool_node = map.need(report, "pool", "the name of a pool")?;
    let pool = known.pools.named(&pool_node, "pool", report);
    if let Some(pool) = pool.as_ref().filter(|pool| pool.endpoints) {
        let cluster = pool.targets.first().map_or("", |target| &target.cluster);
        report.note(
            &pool_node,
            &format!("{} is a pool of endpoints", pool_node.shown()),
            &format!(
                "a pool of clusters, such as {{ targets: [ {{ cluster: {cluster} }} ] }}: for its \
                 copies a proxy is told a cluster and no endpoint"
            ),
        );
    }
    let millionths = match map.get("percent") {
        Some(node) => percent(&node, report),
        None => Some(limits::DEFAULT_MIRROR_PERCENT * limits::MILLIONTHS_OF_PERCENT),
    };
    report.has_room(node, limits::ITEM_MEMORY);
    Some(Box::new(Mirror {
        pool: pool?,
        millionths: millionths?,
    }))
}

/// A share in percent, as millionths.
#[expect(clippy::cast_possible_truncation, reason = "in the range and whole")]
fn percent(node: &Node<'_>, report: &mut Report) -> Option<u32> {
    let limits::Bounds { least, most } = limits::MIRROR_PERCENT;
    let millionths = node
        .decimal()
        .filter(|percent| (f64::from(least)..=f64::from(most)).contains(percent))
        .map(|percent| percent * f64::from(limits::MILLIONTHS_OF_PERCENT));
    match millionths {
        // A decimal fraction is seldom exact in binary.
        Some(parts) if (parts - parts.round()).abs() < 1e-6 => Some(parts.round() as u32),
        _ => {
            let expected = format!(
                "a number from {}, with four decimals at most",
                limits::MIRROR_PERCENT
            );
            node.wrong(report, &expected);
            None
        }
    }
}
