//! The section `upstream`.

use super::header::header_name;
use super::limits;
use super::reader::{Node, Report};
use super::syntax;
use crate::http::upstream::Upstream;

/// Reads `upstream`, or its defaults.
pub(super) fn upstream(node: Option<Node<'_>>, report: &mut Report) -> Upstream {
    let map = match &node {
        Some(node) => node.map(report, &["cluster_header", "endpoint_header"]),
        None => None,
    };
    let mut name = |key: &str, default: &str| match map.and_then(|map| map.get(key)) {
        Some(node) => header_name(&node, report),
        None => syntax::bytes(default),
    };
    let upstream = Upstream {
        cluster_header: name("cluster_header", limits::DEFAULT_CLUSTER_HEADER),
        endpoint_header: name("endpoint_header", limits::DEFAULT_ENDPOINT_HEADER),
    };
    if let Some(node) = &node
        && report.len() == 0
        && upstream.cluster_header == upstream.endpoint_header
    {
        let found = "cluster_header and endpoint_header are the same";
        report.note(node, found, "two different headers");
    }
    upstream
}
