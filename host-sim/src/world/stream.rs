//! One stream through one worker, step by step.

use super::local_reply;
use super::proxy::FailurePolicy;
use super::stream_info::{StreamInfo, response_flags as flags};
use super::vm::Vm;
use crate::exchange::{Pairs, Response};
use crate::header_map::HeaderMap;
use pointsman_core::http::request::is_grpc_content_type;
use std::net::SocketAddr;
use std::rc::Rc;

/// A stream. Without [`Stream::close`] it never ends, as that of a client that never disconnects.
pub struct Stream {
    vm: Rc<Vm>,
    /// The filter's context. None: the VM was dead when the stream began.
    context: Option<u32>,
    /// The request headers as the client sent them, where they may go past the filter.
    headers: Pairs,
}

/// What happens to a request after the filter has seen it.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestOutcome {
    /// The request goes to the router, with these headers.
    Forward(Pairs),
    /// The proxy answers; the response has passed the filter's response phase.
    Reply(Response),
    /// The filter paused the request without an answer.
    Wait,
}

impl Stream {
    pub(super) fn open(vm: &Rc<Vm>, reloads: usize, headers: &Pairs, source: SocketAddr) -> Stream {
        Stream {
            vm: vm.clone(),
            context: vm.open(reloads, headers, source),
            headers: match vm.proxy().failure_policy {
                FailurePolicy::Open => headers.clone(),
                FailurePolicy::Closed | FailurePolicy::Reload => Pairs::new(),
            },
        }
    }

    /// Whether the stream's VM lives, so that the filter will hear of the stream's end.
    pub fn lives(&self) -> bool {
        self.living().is_some()
    }

    /// The context, if its VM lives.
    fn living(&self) -> Option<u32> {
        self.context.filter(|context| self.vm.lives(*context))
    }

    fn is_grpc(&self, context: u32) -> bool {
        let headers = self.vm.request_pairs(context);
        let mut kinds = headers.iter().filter(|(name, _)| name == b"content-type");
        kinds
            .next()
            .is_some_and(|(_, kind)| is_grpc_content_type(kind))
    }

    /// The request's headers arrive.
    pub fn request(&mut self) -> RequestOutcome {
        let Some(context) = self.living() else {
            return match self.vm.proxy().failure_policy {
                FailurePolicy::Open => RequestOutcome::Forward(self.headers.clone()),
                FailurePolicy::Closed | FailurePolicy::Reload => {
                    RequestOutcome::Reply(local_reply::vm_is_dead())
                }
            };
        };
        let continues = self.vm.request_headers(context);
        match self.reply() {
            Some(response) => RequestOutcome::Reply(response),
            None if continues => RequestOutcome::Forward(self.vm.request_pairs(context)),
            None => RequestOutcome::Wait,
        }
    }

    /// What the filter has answered of its own, after the response phase: at once, or to a request
    /// that it had paused. None: nothing yet.
    pub fn reply(&mut self) -> Option<Response> {
        let context = self.living()?;
        let reply = self.vm.take_reply(context)?;
        let details = reply.details.clone();
        self.note(|info| info.details = Some(details));
        let reply = match self.is_grpc(context) {
            true => reply.grpc_response(),
            false => reply.response(),
        };
        Some(self.response(&reply))
    }

    /// The proxy has this property to tell of the stream's connection.
    pub fn tells(&self, path: &[u8], value: &[u8]) {
        if let Some(context) = self.living() {
            self.vm.tell(context, path, value);
        }
    }

    /// The router tries this address (`ip:port`), for the first time or again.
    pub fn tries(&self, address: &str) {
        self.note(|info| info.upstream = Some(address.to_owned()));
    }

    /// A whole response arrives, a backend's or the proxy's own. Returns what the client gets.
    pub fn response(&mut self, response: &Response) -> Response {
        let answer = self.response_headers(response, response.body.is_empty());
        if !response.body.is_empty() {
            self.response_body(response.body.len(), true);
        }
        answer
    }

    /// The headers of a response arrive; unless `end`, more follows: [`Stream::response_body`],
    /// [`Stream::response_trailers`]. Returns what the client gets, the body included.
    pub fn response_headers(&mut self, response: &Response, end: bool) -> Response {
        let Some(context) = self.living() else {
            return match self.vm.proxy().failure_policy {
                FailurePolicy::Open => response.clone(),
                FailurePolicy::Closed | FailurePolicy::Reload => local_reply::vm_is_dead(),
            };
        };
        self.note(|info| {
            info.code = Some(response.status);
            info.details.get_or_insert_with(|| VIA_UPSTREAM.to_vec());
        });
        self.vm
            .response_headers(context, HeaderMap::of_response(response), end);
        // A local reply in the response phase replaces the response, and no filter sees it.
        match self.vm.take_reply(context) {
            Some(reply) => reply.response(),
            None => {
                let headers = self.vm.response_map(context);
                headers.into_response(response.body.clone())
            }
        }
    }

    /// So many bytes of the response's body arrive; with `end` the last ones, possibly none.
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

    /// The proxy answers in place of the backend. Returns what the client gets.
    pub fn fails(&mut self, failure: UpstreamFailure) -> Response {
        self.note(|info| {
            info.flags |= failure.flags();
            info.details = Some(failure.details().to_vec());
        });
        self.response(&failure.response())
    }

    /// The backend closes the connection in the middle of an HTTP/1.1 response.
    pub fn breaks(self) {
        self.note(|info| info.flags |= flags::UPSTREAM_PROTOCOL_ERROR);
        self.close();
    }

    /// The route's time-out ends a response that has begun.
    pub fn is_cut(self) {
        self.note(|info| info.flags |= flags::UPSTREAM_REQUEST_TIMEOUT);
        self.close();
    }

    /// The client disconnects before the end of the response.
    pub fn leaves(self) {
        self.note(|info| info.flags |= flags::DOWNSTREAM_CONNECTION_TERMINATION);
        self.close();
    }

    /// The stream ends: log, done, delete.
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

/// `response.code_details` of a response that came from a backend.
const VIA_UPSTREAM: &[u8] = b"via_upstream";

/// Why the proxy answers in place of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// No connection to the address that was tried last, nor to the others that the proxy may try.
    Unreachable,
    /// The backend closed the connection before it answered, and so did the others that the proxy
    /// may try.
    Closed,
    /// The backend did not answer in time.
    TimedOut,
    /// A circuit breaker is open.
    Overflow,
    /// There is no such cluster, or the header that names it is missing.
    NoCluster,
}

impl UpstreamFailure {
    /// The response flags of the stream.
    fn flags(self) -> u64 {
        match self {
            UpstreamFailure::Unreachable => {
                flags::UPSTREAM_CONNECTION_FAILURE | flags::UPSTREAM_RETRY_LIMIT_EXCEEDED
            }
            UpstreamFailure::Closed => {
                flags::UPSTREAM_CONNECTION_TERMINATION | flags::UPSTREAM_RETRY_LIMIT_EXCEEDED
            }
            UpstreamFailure::TimedOut => flags::UPSTREAM_REQUEST_TIMEOUT,
            UpstreamFailure::Overflow => flags::UPSTREAM_OVERFLOW,
            UpstreamFailure::NoCluster => flags::NO_CLUSTER_FOUND,
        }
    }

    /// `response.code_details` of the stream.
    fn details(self) -> &'static [u8] {
        match self {
            UpstreamFailure::Unreachable => {
                b"upstream_reset_before_response_started{connection_failure}"
            }
            UpstreamFailure::Closed => {
                b"upstream_reset_before_response_started{connection_termination}"
            }
            UpstreamFailure::TimedOut => b"response_timeout",
            UpstreamFailure::Overflow => b"upstream_reset_before_response_started{overflow}",
            UpstreamFailure::NoCluster => b"cluster_not_found",
        }
    }

    /// The response that the proxy sends.
    fn response(self) -> Response {
        match self {
            UpstreamFailure::Unreachable | UpstreamFailure::Closed => local_reply::unreachable(),
            UpstreamFailure::TimedOut => local_reply::timed_out(),
            UpstreamFailure::Overflow => local_reply::overflow(),
            UpstreamFailure::NoCluster => local_reply::no_cluster(),
        }
    }
}
