//! The sections `upstream`, `client_ip` and `explain`.

use super::reader::{Map, Node, Report};
use super::syntax;
use crate::explain::Explain;
use crate::http::client_ip::ClientIp;
use crate::http::upstream::Upstream;

const HEADER_NAME: &str = "a header name";

/// Reads `upstream`, or its defaults.
pub fn upstream(node: Option<Node<'_>>, report: &mut Report) -> Upstream {
    let map = match &node {
        Some(node) => node.map(report, &["cluster_header", "endpoint_header"]),
        None => None,
    };
    let mut name = |key: &str, default: &str| match map.and_then(|map| map.get(key)) {
        Some(node) => header_name(&node, report),
        None => syntax::bytes(default),
    };
    let upstream = Upstream {
        cluster_header: name("cluster_header", "x-pointsman-cluster"),
        endpoint_header: name("endpoint_header", "x-pointsman-endpoint"),
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

/// Reads `client_ip`.
pub fn client_ip(node: &Node<'_>, report: &mut Report) -> Option<ClientIp> {
    let map = node.map(report, &["header", "trusted_hops"])?;
    let header = map.need(report, "header", HEADER_NAME);
    let hops = map
        .get("trusted_hops")
        .and_then(|hops| hops.whole(report, 1, 255));
    Some(ClientIp {
        header: header_name(&header?, report),
        trusted_hops: hops.unwrap_or(1) as u8,
    })
}

/// Reads `explain`.
pub fn explain(node: &Node<'_>, upstream: &Upstream, report: &mut Report) -> Option<Explain> {
    let map = node.map(report, &["header", "token"])?;
    let header = map.need(report, "header", HEADER_NAME);
    let token = explain_token(&map, report);
    let header_node = header?;
    let header = header_name(&header_node, report);
    not_upstream(&header_node, &header, upstream, report);
    Some(Explain {
        header,
        token: token?,
    })
}

/// The token goes into a header, with `;roll=…` after it.
fn explain_token(map: &Map<'_>, report: &mut Report) -> Option<Box<[u8]>> {
    const EXPECTED: &str =
        "a string that is not empty, without `;`, control characters and blanks at its ends";
    let node = map.need(report, "token", EXPECTED)?;
    let token = node.secret(report, EXPECTED)?;
    if !syntax::is_line(token) || token.contains(';') {
        report.note(&node, "a token that a header cannot carry", EXPECTED);
    }
    Some(syntax::bytes(token))
}

/// A header name, in lower case.
pub fn header_name(node: &Node<'_>, report: &mut Report) -> Box<[u8]> {
    let name = node.text_that(report, syntax::is_token, HEADER_NAME);
    syntax::lower(name.unwrap_or_default())
}

/// The two upstream headers are the filter's: whatever else writes them would choose an upstream.
pub fn not_upstream(node: &Node<'_>, name: &[u8], upstream: &Upstream, report: &mut Report) {
    if name == &*upstream.cluster_header || name == &*upstream.endpoint_header {
        report.note(
            node,
            "one of the two upstream headers",
            "another header: these two are written by the filter alone",
        );
    }
}
