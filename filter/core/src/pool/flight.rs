//! A request under way to a target.

use crate::index::{TargetIndex, TargetRef};
use crate::pool::balance::retries::Retries;
use crate::time::Nanos;
use std::net::IpAddr;

/// A request under way to a target, from the decision to
/// [`crate::worker::Worker::on_request_complete`]: the stream keeps it, and hands it back exactly
/// once.
#[derive(Debug)]
#[must_use = "what is never handed back stays counted as in flight"]
pub struct Flight {
    /// The target that was chosen.
    pub target: TargetRef,
    /// Where the request is counted as in flight: at the target that was chosen, or at the one that
    /// answered.
    pub counted: TargetIndex,
    /// The address that answered. None: nobody looked.
    pub address: Option<Vec<u8>>,
    /// The targets of the same pool that the proxy may try after it, in order. Only endpoints can
    /// be told to the proxy; in other pools there are none.
    pub retries: Retries,
    /// Whether its request is gRPC and its outcome matters, so that it is worth to look whether the
    /// response is gRPC too.
    pub grpc: bool,
    /// Whether the request has a `grpc-timeout`: a deadline that the client chose.
    pub grpc_timeout: bool,
    /// Whether the request is a CONNECT.
    pub connect: bool,
    /// Whether the request asks for another protocol (CONNECT, or an `upgrade` without a body): it
    /// is complete with its headers, and what follows belongs to that protocol.
    pub upgrade: bool,
    /// The client's address, where it was known without a question. None: it has to be asked for.
    pub client: Option<IpAddr>,
    /// When the target was chosen.
    pub started: Nanos,
    /// Whether the pool's balance goes by response times.
    pub timed: bool,
    /// When the response's headers came. None: they have not, or it is not `timed`.
    pub answered: Option<Nanos>,
}

impl Flight {
    /// The response headers came. `clock` is the time now; it is asked only if somebody wants to
    /// know, and may have no answer.
    pub fn on_response_headers(&mut self, clock: impl FnOnce() -> Option<Nanos>) {
        if self.timed
            && let Some(now) = clock()
        {
            self.answered = Some(now);
        }
    }
}
