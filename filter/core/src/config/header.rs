//! Names of headers.

use super::reader::{Node, Report};
use super::syntax;
use crate::http::upstream::Upstream;

/// What [`header_name`] expects.
pub(super) const HEADER_NAME: &str = "a header name";

/// The request's host, which filters see as `:authority` only: no map of a proxy has a header of
/// this name.
const HOST: &str = "host";

/// The headers that frame a message or belong to one connection (RFC 9110, sections 6.6, 7.6.1 and
/// 7.8). The proxy writes them by what it sends: other values make a receiver read the next message
/// from the wrong byte on, or another protocol.
const OF_THE_CONNECTION: [&[u8]; 9] = [
    b"connection",
    b"content-length",
    b"http2-settings",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

/// A header name, in lower case.
pub(super) fn header_name(node: &Node<'_>, report: &mut Report) -> Box<[u8]> {
    header_name_or(
        node,
        "another header: the host is no header of the request",
        report,
    )
}

/// A header name, in lower case. `instead`: what to write where it is `host`.
pub(super) fn header_name_or(node: &Node<'_>, instead: &str, report: &mut Report) -> Box<[u8]> {
    let name = node.text_that(report, syntax::is_token, HEADER_NAME);
    let name = syntax::lower(name.unwrap_or_default());
    not_host(node, &name, instead, report);
    name
}

/// Notes the name `host`. `instead`: what to write.
pub(super) fn not_host(node: &Node<'_>, name: &[u8], instead: &str, report: &mut Report) {
    if name == HOST.as_bytes() {
        report.note(node, "the name of the request's host", instead);
    }
}

/// Notes a header that only the proxy may write.
pub(super) fn not_of_the_connection(node: &Node<'_>, name: &[u8], report: &mut Report) {
    if OF_THE_CONNECTION.contains(&name) {
        report.note(
            node,
            "a header of the connection",
            "another header: the proxy writes this one, by what it sends",
        );
    }
}

/// The upstream headers are the filter's: whatever else writes them would choose an upstream.
pub(super) fn not_upstream(node: &Node<'_>, name: &[u8], upstream: &Upstream, report: &mut Report) {
    if upstream.headers().contains(&name) {
        report.note(
            node,
            "one of the upstream headers",
            "another header: these are written by the filter alone",
        );
    }
}
