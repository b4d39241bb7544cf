//! One stream through one worker, step by step.

use super::header_map::HeaderMap;
use super::proxy::FailurePolicy;
use super::vm::{StreamInfo, Vm};
use crate::exchange::{Pairs, Response};
use std::net::SocketAddr;
use std::rc::Rc;

/// What Envoy answers for a stream whose VM is dead.
const VM_IS_DEAD: u16 = 503;

/// A stream. Without [`Stream::close`] its end never comes, as with a client that never leaves.
pub struct Stream {
    vm: Rc<Vm>,
    context: Option<u32>,
    /// As the client sent them, where they may go past the filter.
    headers: Pairs,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestOutcome {
    /// It goes on to the router, with these headers.
    Forward(Pairs),
    /// It is answered here; the answer has been through the filter's response phase.
    Reply(Response),
    /// It waits: paused without an answer.
    Wait,
}

/// A local reply as the filter asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// The HTTP status.
    pub status: u16,
    /// `response.code_details`.
    pub details: Vec<u8>,
    /// Additional headers.
    pub headers: Pairs,
    /// The body.
    pub body: Vec<u8>,
}

impl Stream {
    pub(super) fn open(vm: &Rc<Vm>, headers: &Pairs, source: SocketAddr) -> Stream {
        Stream {
            vm: vm.clone(),
            context: vm.open(headers, source),
            headers: match vm.proxy().failure_policy {
                FailurePolicy::Open => headers.clone(),
                FailurePolicy::Closed | FailurePolicy::Reload => Pairs::new(),
            },
        }
    }

    /// Whether its VM lives, so that the filter will hear of its end.
    pub fn lives(&self) -> bool {
        self.living().is_some()
    }

    /// The context, if its VM lives.
    fn living(&self) -> Option<u32> {
        self.context.filter(|context| self.vm.lives(*context))
    }

    /// The request's headers arrive.
    pub fn request(&mut self) -> RequestOutcome {
        let Some(context) = self.living() else {
            return match self.vm.proxy().failure_policy {
                FailurePolicy::Open => RequestOutcome::Forward(self.headers.clone()),
                FailurePolicy::Closed | FailurePolicy::Reload => RequestOutcome::Reply(dead()),
            };
        };
        let goes_on = self.vm.request_headers(context);
        match self.vm.take_reply(context) {
            Some(reply) => RequestOutcome::Reply(self.response(&local(reply))),
            None if goes_on => RequestOutcome::Forward(self.vm.request_pairs(context)),
            None => RequestOutcome::Wait,
        }
    }

    /// The router tries this address (`ip:port`): the first time, or once more.
    pub fn tries(&self, address: &str) {
        self.note(|info| info.upstream = Some(address.to_owned()));
    }

    /// A whole response arrives, of a backend or of the proxy's own; what comes back is what the
    /// client gets.
    pub fn response(&mut self, response: &Response) -> Response {
        let answer = self.response_headers(response, response.body.is_empty());
        if !response.body.is_empty() {
            self.response_body(response.body.len(), true);
        }
        answer
    }

    /// A response begins; without `end` there is more to come: [`Stream::response_body`],
    /// [`Stream::response_trailers`]. What comes back is what the client gets, the body included.
    pub fn response_headers(&mut self, response: &Response, end: bool) -> Response {
        let Some(context) = self.living() else {
            return match self.vm.proxy().failure_policy {
                FailurePolicy::Open => response.clone(),
                FailurePolicy::Closed | FailurePolicy::Reload => dead(),
            };
        };
        self.note(|info| info.code = Some(response.status));
        self.vm.response_headers(context, headers_of(response), end);
        // A local reply in the response phase takes the response's place, past the filters.
        match self.vm.take_reply(context) {
            Some(reply) => local(reply),
            None => response_of(&self.vm.response_map(context), response.body.clone()),
        }
    }

    /// So many bytes of the response's body arrive; with `end` the last ones, which can be none.
    pub fn response_body(&mut self, size: usize, end: bool) {
        if let Some(context) = self.living() {
            self.vm.response_body(context, size, end);
        }
    }

    /// The response ends with trailers.
    pub fn response_trailers(&mut self, trailers: &Pairs) {
        if let Some(context) = self.living() {
            self.vm.response_trailers(context, HeaderMap::new(trailers));
        }
    }

    /// The proxy answers in place of the backend; what comes back is what the client gets.
    pub fn fails(&mut self, failure: UpstreamFailure) -> Response {
        self.note(|info| info.flags |= failure.flags());
        self.response(&failure.response())
    }

    /// The backend closes the connection in the middle of an HTTP/1.1 response.
    pub fn breaks(self) {
        self.note(|info| info.flags |= UPSTREAM_PROTOCOL_ERROR);
        self.close();
    }

    /// The client leaves before the end of the response.
    pub fn leaves(self) {
        self.note(|info| info.flags |= DOWNSTREAM_CONNECTION_TERMINATION);
        self.close();
    }

    /// The end: log, done, delete.
    pub fn close(self) {
        if let Some(context) = self.living() {
            self.vm.close(context);
        }
    }

    fn note(&self, note: impl FnOnce(&mut StreamInfo)) {
        if let Some(context) = self.living() {
            self.vm.note(context, note);
        }
    }
}

/// Envoy's response flags, as bits of `response.flags` (`CoreResponseFlag` in
/// `envoy/stream_info/stream_info.h`).
const UPSTREAM_REQUEST_TIMEOUT: u64 = 1 << 2;
const UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
const UPSTREAM_CONNECTION_TERMINATION: u64 = 1 << 6;
const UPSTREAM_OVERFLOW: u64 = 1 << 7;
const DOWNSTREAM_CONNECTION_TERMINATION: u64 = 1 << 14;
const UPSTREAM_RETRY_LIMIT_EXCEEDED: u64 = 1 << 15;
const UPSTREAM_PROTOCOL_ERROR: u64 = 1 << 23;
const NO_CLUSTER_FOUND: u64 = 1 << 24;

/// Why the proxy answers in place of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// Nobody listens at the address that was tried last, after as many others as the proxy may
    /// try.
    Unreachable,
    /// The backend closed the connection before it answered, and so did as many others as the proxy
    /// may try.
    Closed,
    /// No answer in time.
    TimedOut,
    /// A circuit breaker is open.
    Overflow,
    /// There is no such cluster, or the header that names it is missing.
    NoCluster,
}

impl UpstreamFailure {
    fn flags(self) -> u64 {
        match self {
            UpstreamFailure::Unreachable => {
                UPSTREAM_CONNECTION_FAILURE | UPSTREAM_RETRY_LIMIT_EXCEEDED
            }
            UpstreamFailure::Closed => {
                UPSTREAM_CONNECTION_TERMINATION | UPSTREAM_RETRY_LIMIT_EXCEEDED
            }
            UpstreamFailure::TimedOut => UPSTREAM_REQUEST_TIMEOUT,
            UpstreamFailure::Overflow => UPSTREAM_OVERFLOW,
            UpstreamFailure::NoCluster => NO_CLUSTER_FOUND,
        }
    }

    fn response(self) -> Response {
        match self {
            UpstreamFailure::Unreachable | UpstreamFailure::Closed => unreachable(),
            UpstreamFailure::TimedOut => timed_out(),
            UpstreamFailure::Overflow => bare(
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: overflow",
            ),
            UpstreamFailure::NoCluster => bare(503, ""),
        }
    }
}

/// The gRPC status of a stream: of its trailers, else of its headers, else what the HTTP status
/// means (`Grpc::Common::getGrpcStatus`, `Grpc::Utility::httpToGrpcStatus`).
pub(super) fn grpc_status(
    trailers: &HeaderMap,
    headers: &HeaderMap,
    code: Option<u16>,
) -> Option<u32> {
    let said = |map: &HeaderMap| {
        std::str::from_utf8(map.get(b"grpc-status")?)
            .ok()?
            .parse()
            .ok()
    };
    said(trailers)
        .or_else(|| said(headers))
        .or(code.map(|code| match code {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502..=504 => 14,
            _ => 2,
        }))
}

/// A response's header map, with `:status`.
pub(super) fn headers_of(response: &Response) -> HeaderMap {
    let mut headers = HeaderMap::default();
    headers.add(b":status", response.status.to_string().as_bytes());
    for (name, value) in &response.headers {
        headers.add(name, value);
    }
    headers
}

fn response_of(headers: &HeaderMap, body: Vec<u8>) -> Response {
    let status = headers
        .get(b":status")
        .and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    let others = headers
        .pairs()
        .iter()
        .filter(|(name, _)| name != b":status");
    Response {
        status: status.unwrap_or_default(),
        headers: others.cloned().collect(),
        body,
    }
}

/// A local reply as Envoy writes it (`Http::Utility::prepareLocalReply`): with a body,
/// `content-type: text/plain` unless the reply brings one; without a body, no `content-type`
/// whatever the reply brings.
fn local(reply: LocalReply) -> Response {
    let mut headers = HeaderMap::new(&reply.headers);
    match reply.body.is_empty() {
        true => headers.remove(b"content-type"),
        false if headers.get(b"content-type").is_none() => {
            headers.add(b"content-type", b"text/plain")
        }
        false => {}
    }
    Response {
        status: reply.status,
        headers: headers.pairs().clone(),
        body: reply.body,
    }
}

fn dead() -> Response {
    bare(VM_IS_DEAD, "")
}

/// What Envoy answers in place of a backend that takes too long.
pub(super) fn timed_out() -> Response {
    bare(504, "upstream request timeout")
}

/// What Envoy answers in place of a backend that it cannot reach.
pub(super) fn unreachable() -> Response {
    bare(
        503,
        "upstream connect error or disconnect/reset before headers",
    )
}

fn bare(status: u16, body: &str) -> Response {
    local(LocalReply {
        status,
        details: Vec::new(),
        headers: Vec::new(),
        body: body.into(),
    })
}
