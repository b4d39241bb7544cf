//! What routes refer to.

use super::defined::Defined;
use crate::http::upstream::Upstream;
use crate::pool::Pool;
use crate::protect::Protect;
use crate::rate_limit::RateLimit;

/// What routes refer to.
pub(super) struct Known<'n> {
    /// The headers that no edit may touch.
    pub upstream: &'n Upstream,
    /// The section `pools`.
    pub pools: Defined<'n, Pool>,
    /// The section `rate_limits`.
    pub rate_limits: Defined<'n, RateLimit>,
    /// The section `protect`.
    pub protects: Defined<'n, Protect>,
}
