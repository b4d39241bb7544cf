//! The action `redirect`.

use super::limits;
use super::parts::{self, Matched};
use super::query::query;
use super::reader::{Node, Report, one_of};
use super::rewrite::new_path;
use super::syntax;
use crate::route::redirect::Redirect;

/// Reads `redirect`.
pub(super) fn redirect(
    node: &Node<'_>,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Option<Redirect> {
    const HOST: &str = "a host without a port, which has a key of its own";
    const KEYS: &[&str] = &[
        "scheme",
        "host",
        "port",
        "path",
        "path_prefix",
        "path_regex",
        "query",
        "status",
    ];
    let map = node.map(report, KEYS)?;
    // A status alone is legal: 303 makes a GET of a POST to the same place.
    if map.iter().next().is_none() {
        report.note(
            node,
            "a redirect to where the request already is",
            "a scheme, host, port, path, query or status",
        );
    }
    let scheme = map
        .get("scheme")
        .and_then(|node| node.choice(report, limits::SCHEMES));
    let host = map
        .get("host")
        .and_then(|node| parts::value(&node, syntax::is_host, HOST, matched, report));
    let port = map
        .get("port")
        .and_then(|node| node.whole_within(report, limits::PORT));
    let status = map.get("status").and_then(|node| status(&node, report));
    Some(Redirect {
        scheme: scheme.map(syntax::bytes),
        host,
        port: port.and_then(|port| u16::try_from(port).ok()),
        path: new_path(&map, matched, report),
        query: map.get("query").and_then(|node| query(&node, report)),
        status: status.unwrap_or(limits::DEFAULT_REDIRECT_STATUS),
    })
}

fn status(node: &Node<'_>, report: &mut Report) -> Option<u16> {
    let known = |number: f64| {
        limits::REDIRECT_STATUSES
            .into_iter()
            .find(|status| f64::from(*status) == number)
    };
    let status = node.number().and_then(known);
    if status.is_none() {
        let statuses = limits::REDIRECT_STATUSES.map(|status| status.to_string());
        node.wrong(report, &one_of(&statuses.each_ref().map(String::as_str)));
    }
    status
}
