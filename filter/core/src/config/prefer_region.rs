//! The key `prefer_region` of a pool.

use super::header::header_name;
use super::limits;
use super::reader::{Names, Node, Report};
use super::syntax;
use crate::pool::Target;
use crate::pool::prefer_region::PreferRegion;
use std::collections::BinaryHeap;

/// Reads `prefer_region` of a pool with these targets.
pub(super) fn prefer_region(
    node: &Node<'_>,
    targets: &[Target],
    report: &mut Report,
) -> Option<PreferRegion> {
    const MAP: &str = "a map of the header's values to regions";
    let map = node.map(report, &["header", "map", "default", "order"])?;
    let header = map.need(report, "header", "a header name");
    let mut regions = Names::default();
    for region in targets.iter().filter_map(|target| target.region.as_deref()) {
        // Many targets may be in one region.
        let _ = regions.add(region, 0);
    }
    if regions.len() > limits::MAX_REGIONS {
        let found = format!("targets in {} regions", regions.len());
        report.note(
            node,
            &found,
            &format!(
                "at most {} in a pool that prefers some",
                limits::MAX_REGIONS
            ),
        );
    }

    let mut values = Vec::new();
    let map_node = map.need(report, "map", MAP);
    let map_entries = map_node
        .as_ref()
        .and_then(|node| node.names(report, MAP, limits::MAX_VALUES));
    for node in map_entries.iter().flat_map(|entries| entries.iter()) {
        if !syntax::is_line(node.key()) {
            report.note(&node, "not a header's value", VALUE);
        }
        values.push((
            syntax::bytes(node.key()),
            one_or_more(&node, &regions, report),
        ));
    }
    Some(PreferRegion {
        header: header_name(&header?, report),
        // A heap sorts with a tenth of the code.
        map: BinaryHeap::from(values).into_sorted_vec(),
        default: map
            .get("default")
            .map(|node| one_or_more(&node, &regions, report))
            .unwrap_or_default(),
        order: map
            .get("order")
            .map(|node| several(&node, &regions, report))
            .unwrap_or_default(),
    })
}

const VALUE: &str = "a value that is not empty, without control characters and blanks at its ends";

fn one_or_more(node: &Node<'_>, regions: &Names<'_>, report: &mut Report) -> Vec<Box<str>> {
    match node.is_list() {
        true => several(node, regions, report),
        false => named(node, regions, report).into_iter().collect(),
    }
}

fn several(list: &Node<'_>, regions: &Names<'_>, report: &mut Report) -> Vec<Box<str>> {
    let mut several: Vec<Box<str>> = Vec::new();
    for node in list.filled_list(
        report,
        "a list of regions, at least one",
        limits::MAX_REGIONS,
    ) {
        let Some(region) = named(&node, regions, report) else {
            continue;
        };
        if several.contains(&region) {
            let found = format!("{} a second time", node.shown());
            report.note(&node, &found, "each region at most once");
        }
        several.push(region);
    }
    several
}

/// A region that a target of the pool is in: any other would never be preferred, which nobody
/// means.
fn named(node: &Node<'_>, regions: &Names<'_>, report: &mut Report) -> Option<Box<str>> {
    node.reference(report, regions, "region of this pool's targets")?;
    node.as_text().map(Into::into)
}
