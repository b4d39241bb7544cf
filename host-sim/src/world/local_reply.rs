//! Local replies: responses that the proxy sends by itself.

use crate::exchange::{Pairs, Response};
use crate::header_map::HeaderMap;

/// A local reply as the filter asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalReply {
    /// The HTTP status.
    pub status: u16,
    /// `response.code_details`.
    pub details: Vec<u8>,
    /// Additional headers.
    pub headers: Pairs,
    /// The body; may be empty.
    pub body: Vec<u8>,
}

impl LocalReply {
    /// The response that Envoy makes of it (`Http::Utility::prepareLocalReply`): with a body, it is
    /// `content-type: text/plain` unless the reply has one; without a body, it has no
    /// `content-type`, even if the reply has one.
    pub(super) fn response(self) -> Response {
        let mut headers = HeaderMap::new(&self.headers);
        match self.body.is_empty() {
            true => headers.remove(b"content-type"),
            false if headers.get(b"content-type").is_none() => {
                headers.add(b"content-type", b"text/plain")
            }
            false => {}
        }
        Response {
            status: self.status,
            headers: headers.pairs().clone(),
            body: self.body,
        }
    }
}

/// Envoy's response for a stream whose VM is dead.
pub(super) fn vm_is_dead() -> Response {
    plain(503, "")
}

/// Envoy's response in place of a backend that takes too long.
pub(super) fn timed_out() -> Response {
    plain(504, "upstream request timeout")
}

/// Envoy's response in place of a backend that it cannot reach.
pub(super) fn unreachable() -> Response {
    plain(
        503,
        "upstream connect error or disconnect/reset before headers",
    )
}

/// Envoy's response in place of a backend to which a circuit breaker is open.
pub(super) fn overflow() -> Response {
    plain(
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    )
}

/// Envoy's response where there is no such cluster.
pub(super) fn no_cluster() -> Response {
    plain(503, "")
}

fn plain(status: u16, body: &str) -> Response {
    let reply = LocalReply {
        status,
        details: Vec::new(),
        headers: Pairs::new(),
        body: body.into(),
    };
    reply.response()
}
