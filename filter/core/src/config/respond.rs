//! The action `respond`.

use super::edit::{Values, headers};
use super::limits;
use super::reader::{Node, Report};
use super::syntax;
use crate::http::respond::Respond;

/// Reads `respond`.
pub(super) fn respond(node: &Node<'_>, report: &mut Report) -> Option<Respond> {
    let map = node.map(report, &["status", "body", "headers"])?;
    let status = map
        .need(
            report,
            "status",
            &format!("a status from {}", limits::STATUS),
        )
        .and_then(|node| node.whole_within(report, limits::STATUS));
    let body = map
        .get("body")
        .and_then(|node| body(&node, status, report))
        .unwrap_or_default();
    let given = map
        .get("headers")
        .map(|node| headers(&node, report))
        .unwrap_or_default();
    let each = |(name, values): Values<Box<[u8]>>| {
        values.into_iter().map(move |value| (name.clone(), value))
    };
    let mut headers: Vec<_> = given.into_iter().flat_map(each).collect();
    if !body.is_empty() && !headers.iter().any(|(name, _)| &**name == b"content-type") {
        headers.push((syntax::bytes("content-type"), syntax::bytes("text/plain")));
    }
    Some(Respond {
        status: u16::try_from(status?).ok()?,
        body,
        headers,
    })
}

/// Statuses whose responses have no content (RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5): the
/// next response on the connection would begin with the body.
const WITHOUT_BODY: [u32; 3] = [204, 205, 304];

fn body(node: &Node<'_>, status: Option<u32>, report: &mut Report) -> Option<Box<[u8]>> {
    let body = node.text(report, "a string")?;
    if let Some(status) = status.filter(|status| WITHOUT_BODY.contains(status))
        && !body.is_empty()
    {
        report.note(
            node,
            &format!("a body beside the status {status}, whose responses have none"),
            "no `body`, or another status",
        );
    }
    if body.len() > limits::MAX_BODY {
        report.note(
            node,
            &format!("a body of {} bytes", body.len()),
            &format!("at most {}", limits::MAX_BODY),
        );
    }
    Some(syntax::bytes(body))
}
