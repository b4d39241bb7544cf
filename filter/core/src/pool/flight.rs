//! A request under way to a target.

use crate::index::PoolIndex;
use crate::time::Nanos;

/// A request under way to a target, from the decision to [`crate::worker::Worker::landed`]: kept by
/// the stream, and handed back exactly once.
#[derive(Debug)]
#[must_use = "what is never landed stays counted as in flight"]
pub struct Flight {
    /// The pool.
    pub pool: PoolIndex,
    /// The place of the target in [`crate::pool::Pool::targets`].
    pub target: usize,
    /// The targets that the proxy may try after it, in order; only in a pool of endpoints.
    pub retries: Vec<usize>,
    /// Whether its failure is told by a gRPC status.
    pub grpc: bool,
    /// When it was decided.
    pub started: Nanos,
    /// Whether anybody wants to know when the response's headers came.
    pub timed: bool,
    /// When they came. None: they have not, or nobody wants to know.
    pub answered: Option<Nanos>,
}
