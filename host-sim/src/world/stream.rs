//! One stream through one worker, step by step.

use super::header_map::HeaderMap;
use super::proxy::FailurePolicy;
use super::vm::Vm;
use crate::exchange::{Pairs, Response};
use std::net::SocketAddr;
use std::rc::Rc;

/// What Envoy answers for a stream whose VM is dead.
const VM_IS_DEAD: u16 = 503;

/// A stream. Without [`Stream::close`] its end never comes, as with a client that never leaves.
pub struct Stream {
    vm: Rc<Vm>,
    context: Option<u32>,
    headers: Pairs,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// It goes on to the router, with these headers.
    Forward(Pairs),
    /// It is answered here; the answer has been through the filter's response phase.
    Reply(Response),
    /// It waits: paused without an answer.
    Wait,
}

/// A local reply as the filter asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
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
            headers: headers.clone(),
        }
    }

    /// The context, if its VM lives.
    fn living(&self) -> Option<u32> {
        self.context.filter(|context| self.vm.lives(*context))
    }

    /// The request's headers arrive.
    pub fn request(&mut self) -> Step {
        let Some(context) = self.living() else {
            return match self.vm.proxy().failure_policy {
                FailurePolicy::Open => Step::Forward(self.headers.clone()),
                FailurePolicy::Closed | FailurePolicy::Reload => Step::Reply(dead()),
            };
        };
        let goes_on = self.vm.request_headers(context);
        match self.vm.take_reply(context) {
            Some(reply) => Step::Reply(self.response(&local(reply))),
            None if goes_on => Step::Forward(self.vm.request_map(context).pairs().clone()),
            None => Step::Wait,
        }
    }

    /// A response arrives, of a backend or of the proxy's own; what comes back is what the client gets.
    pub fn response(&mut self, response: &Response) -> Response {
        let Some(context) = self.living() else {
            return match self.vm.proxy().failure_policy {
                FailurePolicy::Open => response.clone(),
                FailurePolicy::Closed | FailurePolicy::Reload => dead(),
            };
        };
        self.vm
            .response_headers(context, headers_of(response), response.body.is_empty());
        // A local reply in the response phase takes the response's place, past the filters.
        match self.vm.take_reply(context) {
            Some(reply) => local(reply),
            None => response_of(&self.vm.response_map(context), response.body.clone()),
        }
    }

    /// The end: log, done, delete. Without a response before, the client has left.
    pub fn close(self) {
        if let Some(context) = self.living() {
            self.vm.close(context);
        }
    }
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
    let others = headers.pairs().iter().filter(|(name, _)| name != b":status");
    Response {
        status: status.unwrap_or_default(),
        headers: others.cloned().collect(),
        body,
    }
}

/// A local reply as Envoy writes it (`Http::Utility::prepareLocalReply`): with a body, `content-type: text/plain`
/// unless the reply brings one; without a body, no `content-type` whatever the reply brings.
fn local(reply: Reply) -> Response {
    let mut headers = HeaderMap::new(&reply.headers);
    match reply.body.is_empty() {
        true => headers.remove(b"content-type"),
        false if headers.get(b"content-type").is_none() => headers.add(b"content-type", b"text/plain"),
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

/// What Envoy answers where a route names a cluster that does not exist, and where `cluster_header` is missing.
pub(super) fn no_cluster() -> Response {
    bare(503, "")
}

/// What Envoy answers in place of a backend that takes too long.
pub(super) fn timed_out() -> Response {
    bare(504, "upstream request timeout")
}

/// What Envoy answers in place of a backend that it cannot reach.
pub(super) fn unreachable() -> Response {
    bare(503, "upstream connect error or disconnect/reset before headers")
}

fn bare(status: u16, body: &str) -> Response {
    local(Reply {
        status,
        details: Vec::new(),
        headers: Vec::new(),
        body: body.into(),
    })
}
