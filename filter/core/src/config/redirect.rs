//! The action `redirect`.

use super::reader::{Node, Report};
use super::rewrite::{Matched, new_path};
use super::syntax;
use crate::route::redirect::Redirect;

/// The schemes of HTTP.
pub const SCHEMES: &[&str] = &["http", "https"];

/// Reads `redirect`.
pub fn redirect(node: &Node<'_>, matched: &Matched<'_>, report: &mut Report) -> Option<Redirect> {
    const HOST: &str = "a host without a port, which has a key of its own";
    const KEYS: &[&str] = &[
        "scheme",
        "host",
        "port",
        "path",
        "path_prefix",
        "path_regex",
        "status",
    ];
    let map = node.map(report, KEYS)?;
    if map.iter().all(|node| node.key() == "status") {
        report.note(
            node,
            "a redirect to where the request already is",
            "a scheme, host, port or path",
        );
    }
    let scheme = map
        .get("scheme")
        .and_then(|node| node.choice(report, SCHEMES));
    let host = map
        .get("host")
        .and_then(|node| node.text_that(report, syntax::is_host, HOST));
    let port = map
        .get("port")
        .and_then(|node| node.whole(report, 1, u32::from(u16::MAX)));
    let status = map.get("status").and_then(|node| status(&node, report));
    Some(Redirect {
        scheme: scheme
            .and_then(|chosen| SCHEMES.get(chosen))
            .map(|scheme| syntax::bytes(scheme)),
        host: host.map(syntax::bytes),
        port: port.map(|port| port as u16),
        path: new_path(&map, matched, report),
        status: status.unwrap_or(302),
    })
}

fn status(node: &Node<'_>, report: &mut Report) -> Option<u16> {
    let status = node
        .number()
        .filter(|number| [301.0, 302.0, 303.0, 307.0, 308.0].contains(number));
    if status.is_none() {
        node.wrong(report, "one of 301, 302, 303, 307, 308");
    }
    status.map(|status| status as u16)
}
