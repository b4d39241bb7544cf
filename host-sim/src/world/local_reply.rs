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
    /// For a client that speaks gRPC. Negative: none is given.
    pub grpc_status: i32,
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

impl LocalReply {
    /// The response to a request that is gRPC (`prepareLocalReply` and `httpToGrpcStatus`): HTTP's
    /// status is 200, and the body is the message.
    pub(super) fn grpc_response(self) -> Response {
        let mut headers = HeaderMap::new(&self.headers);
        headers.remove(b"content-type");
        headers.remove(b"content-length");
        headers.add(b"content-type", b"application/grpc");
        let status = match (self.grpc_status, self.status) {
            (0.., _) => self.grpc_status,
            (_, 400) => 13,
            (_, 401) => 16,
            (_, 403) => 7,
            (_, 404) => 12,
            (_, 429 | 502 | 503 | 504) => 14,
            _ => 2,
        };
        headers.add(b"grpc-status", status.to_string().as_bytes());
        if !self.body.is_empty() {
            headers.add(b"grpc-message", &percent_encoded(&self.body));
        }
        Response {
            status: 200,
            headers: headers.pairs().clone(),
            body: Vec::new(),
        }
    }
}

/// Envoy's `PercentEncoding::encode`.
fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for byte in text {
        match byte {
            b'%' | 0..b' ' | b'~'.. => encoded.extend(format!("%{byte:02X}").into_bytes()),
            byte => encoded.push(*byte),
        }
    }
    encoded
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
        grpc_status: -1,
    };
    reply.response()
}
