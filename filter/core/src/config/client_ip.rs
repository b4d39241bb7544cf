//! The section `client_ip`.

use super::header::{HEADER_NAME, header_name};
use super::limits;
use super::reader::{Node, Report};
use crate::http::client_ip::ClientIp;

/// Reads `client_ip`.
pub(super) fn client_ip(node: &Node<'_>, report: &mut Report) -> Option<ClientIp> {
    let map = node.map(report, &["header", "trusted_hops"])?;
    let header = map.need(report, "header", HEADER_NAME);
    let hops = map
        .get("trusted_hops")
        .and_then(|node| node.whole_within(report, limits::TRUSTED_HOPS));
    Some(ClientIp {
        header: header_name(&header?, report),
        trusted_hops: u8::try_from(hops.unwrap_or(limits::DEFAULT_TRUSTED_HOPS)).ok()?,
    })
}
