//! A request under way to a target.

use crate::index::{TargetIndex, TargetRef};
use crate::time::Nanos;

/// A request under way to a target, from the decision to
/// [`crate::worker::Worker::on_request_complete`]: the stream keeps it, and hands it back exactly
/// once.
#[derive(Debug)]
#[must_use = "what is never handed back stays counted as in flight"]
pub struct Flight {
    /// The target that was chosen.
    pub target: TargetRef,
    /// The targets of the same pool that the proxy may try after it, in order. Only endpoints can
    /// be told to the proxy; in other pools there are none.
    pub retries: Vec<TargetIndex>,
    /// Whether its outcome is told by a gRPC status.
    pub grpc: bool,
    /// When the target was chosen.
    pub started: Nanos,
    /// Whether the pool's balance goes by response times.
    pub timed: bool,
    /// When the response's headers came. None: they have not, or it is not `timed`.
    pub answered: Option<Nanos>,
}
