//! A request under way to a target.

use crate::index::{TargetIndex, TargetRef};
use crate::time::Nanos;

/// A request under way to a target, from the decision to [`crate::worker::Worker::landed`]: kept by
/// the stream, and handed back exactly once.
#[derive(Debug)]
#[must_use = "what is never landed stays counted as in flight"]
pub struct Flight {
    /// Where it goes.
    pub target: TargetRef,
    /// The targets of the same pool that the proxy may try after it, in order; only in a pool of
    /// endpoints.
    pub retries: Vec<TargetIndex>,
    /// Whether its failure is told by a gRPC status.
    pub grpc: bool,
    /// When it was decided.
    pub started: Nanos,
    /// Whether anybody wants to know when the response's headers came.
    pub timed: bool,
    /// When they came. None: they have not, or nobody wants to know.
    pub answered: Option<Nanos>,
}
