//! The section `explain`.

use super::header::{HEADER_NAME, header_name, not_upstream};
use super::reader::{Map, Node, Report};
use super::secret::{Secret, Variables};
use super::syntax;
use crate::explain::Explain;
use crate::http::upstream::Upstream;

/// Reads `explain`.
pub(super) fn explain(
    node: &Node<'_>,
    upstream: &Upstream,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Option<Explain> {
    let map = node.map(report, &["header", "token"])?;
    let header = map.need(report, "header", HEADER_NAME);
    let token = explain_token(&map, variables, report);
    let header_node = header?;
    let header = header_name(&header_node, report);
    not_upstream(&header_node, &header, upstream, report);
    Some(Explain {
        header,
        token: token?,
    })
}

/// The token goes into a header, with `;roll=…` after it.
fn explain_token(
    map: &Map<'_>,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Option<Box<[u8]>> {
    const EXPECTED: &str =
        "a string that is not empty, without `;`, control characters and blanks at its ends";
    let node = map.need(report, "token", EXPECTED)?;
    let secret = Secret::read(&node, variables, report, EXPECTED)?;
    let token = &secret.text;
    if !syntax::is_line(token) || token.contains(';') {
        secret.wrong(
            &node,
            report,
            "a token that a header cannot carry",
            EXPECTED,
        );
    }
    Some(syntax::bytes(token))
}
