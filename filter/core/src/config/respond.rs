//! The action `respond`, and `no_route`, which is one.

use super::edit::{Values, headers};
use super::reader::{Map, Node, Report};
use super::syntax;
use crate::http::respond::Respond;
use crate::route::no_route::NoRoute;

/// The longest body in bytes: every worker holds a copy, and a page that is longer belongs on a
/// server.
pub const MAX_BODY: usize = 64 * 1024;

/// Reads `respond`.
pub fn respond(node: &Node<'_>, report: &mut Report) -> Option<Respond> {
    let map = node.map(report, &["status", "body", "headers"])?;
    let status = map
        .need(report, "status", "a status from 200 to 599")
        .and_then(|node| node.whole(report, 200, 599));
    let body = map
        .get("body")
        .and_then(|node| body(&node, report))
        .unwrap_or_default();
    let given = map
        .get("headers")
        .map(|node| headers(&node, None, report))
        .unwrap_or_default();
    let each = |(name, values): Values| values.into_iter().map(move |value| (name.clone(), value));
    let mut headers: Vec<_> = given.into_iter().flat_map(each).collect();
    if !body.is_empty() && !headers.iter().any(|(name, _)| &**name == b"content-type") {
        headers.push((syntax::bytes("content-type"), syntax::bytes("text/plain")));
    }
    Some(Respond {
        status: status? as u16,
        body,
        headers,
    })
}

fn body(node: &Node<'_>, report: &mut Report) -> Option<Box<[u8]>> {
    let body = node.text(report, "a string")?;
    if body.len() > MAX_BODY {
        report.note(
            node,
            &format!("a body of {} bytes", body.len()),
            &format!("at most {MAX_BODY}"),
        );
    }
    Some(syntax::bytes(body))
}

/// Reads `pass`, which says nothing beside that it is there.
pub fn pass(node: &Node<'_>, report: &mut Report) -> Option<()> {
    match node.is_true() {
        true => Some(()),
        false => {
            node.wrong(report, "true, or another action");
            None
        }
    }
}

/// Reads `no_route`, or its default.
pub fn no_route(node: Option<Node<'_>>, report: &mut Report) -> NoRoute {
    let default = NoRoute::Respond(Respond {
        status: 404,
        body: Box::default(),
        headers: Vec::new(),
    });
    let read = |map: &Map<'_>, report: &mut Report| {
        let action = map.exactly_one(report, ACTIONS)?;
        match action.key() {
            "pass" => pass(&action, report).map(|()| NoRoute::Pass),
            _ => respond(&action, report).map(NoRoute::Respond),
        }
    };
    let map = node.as_ref().and_then(|node| node.map(report, ACTIONS));
    map.and_then(|map| read(&map, report)).unwrap_or(default)
}

const ACTIONS: &[&str] = &["respond", "pass"];
