//! The section `upstream`.

use super::header::header_name;
use super::limits;
use super::reader::{Node, Report};
use super::syntax;
use crate::http::upstream::Upstream;

/// Reads `upstream`, or its defaults.
pub(super) fn upstream(node: Option<Node<'_>>, report: &mut Report) -> Upstream {
    let map = match &node {
        Some(node) => node.map(
            report,
            &["cluster_header", "endpoint_header", "mirror_header"],
        ),
        None => None,
    };
    let mut name = |key: &str, default: &str| match map.and_then(|map| map.get(key)) {
        Some(node) => header_name(&node, report),
        None => syntax::bytes(default),
    };
    let upstream = Upstream {
        cluster_header: name("cluster_header", limits::DEFAULT_CLUSTER_HEADER),
        endpoint_header: name("endpoint_header", limits::DEFAULT_ENDPOINT_HEADER),
        mirror_header: name("mirror_header", limits::DEFAULT_MIRROR_HEADER),
    };
    let (cluster, endpoint) = (&upstream.cluster_header, &upstream.endpoint_header);
    let mirror = &upstream.mirror_header;
    let same = [
        (cluster == endpoint, "cluster_header and endpoint_header"),
        (cluster == mirror, "cluster_header and mirror_header"),
        (endpoint == mirror, "endpoint_header and mirror_header"),
    ];
    if let Some(node) = node.filter(|_| report.len() == 0) {
        for (_, names) in same.iter().filter(|(is_same, _)| *is_same) {
            report.note(&node, &format!("{names} are the same"), "different headers");
        }
    }
    upstream
}
