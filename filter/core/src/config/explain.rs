//! The section `explain`.

use super::header::{HEADER_NAME, header_name, not_upstream};
use super::reader::{Map, Node, Report};
use super::syntax;
use crate::explain::Explain;
use crate::http::upstream::Upstream;

/// Reads `explain`.
pub(super) fn explain(
    node: &Node<'_>,
    upstream: &Upstream,
    report: &mut Report,
) -> Option<Explain> {
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
