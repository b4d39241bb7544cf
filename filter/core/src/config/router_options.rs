//! The keys `timeout` and `retry` of routes and pools.

use super::limits;
use super::reader::{Map, Node, Report};
use crate::http::router_options::{Retry, RouterOptions};

/// Reads `timeout` and `retry` of a route or a pool. None: neither is there.
pub(super) fn router_options(map: &Map<'_>, report: &mut Report) -> Option<Box<RouterOptions>> {
    let timeout = map
        .get("timeout")
        .and_then(|node| node.duration_within(report, limits::REQUEST_TIMEOUT));
    let retry = map.get("retry").and_then(|node| retry(&node, report));
    let options = RouterOptions::new(timeout, retry);
    if options.is_some() {
        report.has_room(map.node(), limits::ROUTER_OPTIONS_MEMORY);
    }
    options
}

fn retry(node: &Node<'_>, report: &mut Report) -> Option<Retry> {
    const LIST: &str = "a list of Envoy's words for what is tried again, at least one";
    let map = node.map(report, &["attempts", "on", "per_try_timeout"])?;
    let attempts = map.need(report, "attempts", "how often a request is tried again");
    let attempts = attempts.and_then(|node| node.whole_within(report, limits::ATTEMPTS));
    let on = match map.get("on") {
        Some(list) => list
            .filled_list(report, LIST, limits::RETRY_ON.len())
            .filter_map(|node| node.choice(report, limits::RETRY_ON))
            .collect(),
        None => limits::DEFAULT_RETRY_ON.into(),
    };
    let per_try_timeout = map
        .get("per_try_timeout")
        .and_then(|node| node.duration_within(report, limits::PER_TRY_TIMEOUT));
    Some(Retry {
        attempts: attempts?,
        on,
        per_try_timeout,
    })
}
