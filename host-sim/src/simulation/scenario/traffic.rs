//! Reads the traffic of a scenario.

use super::limits::{MAX_CLIENTS, MAX_ENTRIES, MAX_RATE};
use super::{RatePoint, Traffic};
use crate::connection_manager::header_map;
use crate::exchange::{ExchangeRequest, Pairs};
use crate::simulation::quantity::{number, time};
use pointsman_core::config::reader::{Map, Node, Report};
use pointsman_core::config::syntax;
use pointsman_core::time::Nanos;

/// Reads one kind of traffic of a scenario that takes so long. None: the problem is noted.
pub(super) fn traffic_of(node: &Node<'_>, duration: Nanos, report: &mut Report) -> Option<Traffic> {
    const REQUEST: &str = "a request: method, url, headers";
    let map = node.map(
        report,
        &[
            "name", "rate", "from", "until", "clients", "patience", "request",
        ],
    )?;
    let mut time_of = |key| map.get(key).and_then(|node| time(&node, report));
    let (from, until, patience) = (time_of("from"), time_of("until"), time_of("patience"));
    let name = map
        .need(report, "name", "a name")
        .and_then(|node| node.text(report, "a name"));
    let rate = map
        .need(report, "rate", RATE)
        .and_then(|node| rate(&node, report));
    let clients = map
        .get("clients")
        .and_then(|node| node.whole(report, 1, MAX_CLIENTS));
    let request = map
        .need(report, "request", REQUEST)
        .and_then(|node| request(&node, report));
    Some(Traffic {
        name: name?.to_owned(),
        rate: rate?,
        from: from.unwrap_or_default(),
        until: until.unwrap_or(duration).min(duration),
        clients: clients.unwrap_or(1000),
        patience,
        headers: request?,
    })
}

const RATE: &str =
    "a number of requests per second, or a list of points { at, per_second } in order";

fn rate(node: &Node<'_>, report: &mut Report) -> Option<Vec<RatePoint>> {
    if node.number().is_some() {
        return number(node, report, 0.0, MAX_RATE).map(|per_second| {
            vec![RatePoint {
                at: Nanos::ZERO,
                per_second,
            }]
        });
    }
    let mut points: Vec<RatePoint> = Vec::new();
    for node in node
        .filled_list(report, RATE, MAX_ENTRIES)
        .collect::<Vec<_>>()
    {
        let Some(map) = node.map(report, &["at", "per_second"]) else {
            continue;
        };
        let at = map
            .need(report, "at", "a duration")
            .and_then(|node| time(&node, report));
        let per_second = map.need(report, "per_second", "a number");
        let per_second = per_second.and_then(|node| number(&node, report, 0.0, MAX_RATE));
        let (Some(at), Some(per_second)) = (at, per_second) else {
            continue;
        };
        if points.last().is_some_and(|last| last.at > at) {
            report.note(&node, "earlier than the point before", RATE);
        }
        points.push(RatePoint { at, per_second });
    }
    Some(points)
}

fn request(node: &Node<'_>, report: &mut Report) -> Option<Pairs> {
    let map = node.map(report, &["method", "url", "headers"])?;
    let method = map
        .get("method")
        .and_then(|node| node.text_that(report, syntax::is_token, "a method"))
        .unwrap_or("GET");
    let url_node = map.need(report, "url", "a URL")?;
    let url = url_node.text(report, "a URL")?;
    let mut request = match ExchangeRequest::new(method.as_bytes(), url.as_bytes()) {
        Ok(request) => request,
        Err(error) => {
            report.note(&url_node, &error, "a URL");
            return None;
        }
    };
    let headers = map.get("headers");
    let headers = headers
        .as_ref()
        .and_then(|node| node.names(report, "a map of headers", MAX_ENTRIES));
    for node in headers.iter().flat_map(Map::iter) {
        let value = node.text_that(report, syntax::is_header_value, "a header's value");
        let pair = value.map(|value| (node.key().to_ascii_lowercase().into(), value.into()));
        request.headers.extend(pair);
    }
    Some(header_map(&request))
}
