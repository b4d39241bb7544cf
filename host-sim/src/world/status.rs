//! The statuses that host calls return.

use super::metrics::MetricError;
use super::shared_data::CasMismatch;

/// A status of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Status {
    /// The call succeeded.
    Ok = 0,
    /// What the call names does not exist.
    NotFound = 1,
    /// An argument makes no sense, or the call makes none at this time.
    BadArgument = 2,
    /// The key of shared data holds another version than the one that was named.
    CasMismatch = 8,
    /// The host does not implement the call.
    Unimplemented = 12,
}

impl From<MetricError> for Status {
    fn from(error: MetricError) -> Status {
        match error {
            MetricError::NotFound => Status::NotFound,
            MetricError::BadArgument => Status::BadArgument,
        }
    }
}

impl From<CasMismatch> for Status {
    fn from(_: CasMismatch) -> Status {
        Status::CasMismatch
    }
}
