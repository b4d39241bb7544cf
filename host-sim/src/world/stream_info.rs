//! What the proxy notes of a stream, and tells the filter as properties: Envoy's `StreamInfo`.

use crate::header_map::HeaderMap;

/// What the proxy notes of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamInfo {
    /// `response.code`. None: there was no response yet.
    pub code: Option<u16>,
    /// `response.flags`: a union of the flags of [`response_flags`].
    pub flags: u64,
    /// `response.code_details`. None: there was no response yet.
    pub details: Option<Vec<u8>>,
    /// `upstream.address`: the address that was tried last. None: none was tried.
    pub upstream: Option<String>,
}

/// Envoy's response flags, as bits of `response.flags` (`CoreResponseFlag` in
/// `envoy/stream_info/stream_info.h`).
pub(super) mod response_flags {
    pub(crate) const UPSTREAM_REQUEST_TIMEOUT: u64 = 1 << 2;
    pub(crate) const UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
    pub(crate) const UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
    pub(crate) const UPSTREAM_OVERFLOW: u64 = 1 << 7;
    pub(crate) const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 1 << 14;
    pub(crate) const UPSTREAM_RETRY_LIMIT_EXCEEDED: u64 = 1 << 15;
    pub(crate) const UPSTREAM_PROTOCOL_ERROR: u64 = 1 << 23;
    pub(crate) const NO_CLUSTER_FOUND: u64 = 1 << 24;
}

/// The gRPC status of a stream: that of its trailers, else that of its headers, else the one that
/// stands for the HTTP status (`Grpc::Common::getGrpcStatus`, `Grpc::Utility::httpToGrpcStatus`).
pub(super) fn grpc_status(
    trailers: &HeaderMap,
    headers: &HeaderMap,
    code: Option<u16>,
) -> Option<u32> {
    let given = |map: &HeaderMap| {
        std::str::from_utf8(map.get(b"grpc-status")?)
            .ok()?
            .parse()
            .ok()
    };
    given(trailers)
        .or_else(|| given(headers))
        .or(code.map(|code| match code {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502..=504 => 14,
            _ => 2,
        }))
}
