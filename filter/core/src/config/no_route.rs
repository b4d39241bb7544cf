//! The section `no_route`.

use super::limits;
use super::pass::pass;
use super::reader::{Map, Node, Report};
use super::respond::respond;
use crate::http::respond::Respond;
use crate::route::no_route::NoRoute;

/// Reads `no_route`, or its default.
pub(super) fn no_route(node: Option<Node<'_>>, report: &mut Report) -> NoRoute {
    let default = NoRoute::Respond(Respond {
        status: limits::DEFAULT_NO_ROUTE_STATUS,
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
