//! The filter's own HTTP calls.

use crate::exchange::{Pairs, Response};
use pointsman_core::time::Nanos;

/// An HTTP call that the filter made and that has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// The call's number; unique in its thread.
    pub token: u32,
    /// The cluster that the call goes to.
    pub cluster: String,
    /// The request's headers.
    pub headers: Pairs,
    /// The request's body.
    pub body: Vec<u8>,
    /// The root context that hears of the answer.
    pub(super) root: u32,
    /// When the call times out, as the time since the world began.
    pub(super) due: Nanos,
}

/// How an HTTP call ends.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpCallOutcome {
    /// The backend answers.
    Answer(Response),
    /// No backend can be reached, or it closes the connection: the proxy answers 503.
    Unreachable,
    /// No answer comes in time: the proxy answers 504.
    TimeOut,
    /// The connection breaks in the middle of the answer: the filter's callback has no headers.
    Broken,
}
