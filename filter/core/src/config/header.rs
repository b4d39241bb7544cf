//! Names of headers.

use super::reader::{Node, Report};
use super::syntax;
use crate::http::upstream::Upstream;

/// What [`header_name`] expects.
pub(super) const HEADER_NAME: &str = "a header name";

/// A header name, in lower case.
pub(super) fn header_name(node: &Node<'_>, report: &mut Report) -> Box<[u8]> {
    let name = node.text_that(report, syntax::is_token, HEADER_NAME);
    syntax::lower(name.unwrap_or_default())
}

/// The two upstream headers are the filter's: whatever else writes them would choose an upstream.
pub(super) fn not_upstream(node: &Node<'_>, name: &[u8], upstream: &Upstream, report: &mut Report) {
    if name == &*upstream.cluster_header || name == &*upstream.endpoint_header {
        report.note(
            node,
            "one of the two upstream headers",
            "another header: these two are written by the filter alone",
        );
    }
}
