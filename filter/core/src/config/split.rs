//! The action `split`.

use super::edit::{request_headers, response_headers};
use super::known::Known;
use super::limits;
use super::parts::Matched;
use super::reader::{Node, Report};
use super::weight::{weight, weights};
use crate::route::split::SplitPart;

/// Reads `split`.
pub(super) fn split(
    list: &Node<'_>,
    matched: &Matched<'_>,
    known: &Known<'_>,
    report: &mut Report,
) -> Vec<SplitPart> {
    const PARTS: &str = "a list of { pool: …, weight: … }, at least one";
    let nodes = list.filled_list(report, PARTS, limits::MAX_PARTS);
    let parts: Vec<SplitPart> = nodes
        .filter_map(|node| part(&node, matched, known, report))
        .collect();
    weights(list, parts.iter().map(|part| part.weight), report);
    parts
}

fn part(
    node: &Node<'_>,
    matched: &Matched<'_>,
    known: &Known<'_>,
    report: &mut Report,
) -> Option<SplitPart> {
    let map = node.map(
        report,
        &["pool", "weight", "request_headers", "response_headers"],
    )?;
    let pool = map
        .need(report, "pool", "the name of a pool")
        .and_then(|node| known.pools.named(&node, "pool", report));
    let weight = weight(&map, report);
    let request_headers =
        request_headers(map.get("request_headers"), known.upstream, matched, report);
    let response_headers = response_headers(map.get("response_headers"), matched, report);
    Some(SplitPart {
        pool: pool?,
        weight,
        request_headers,
        response_headers,
    })
}
