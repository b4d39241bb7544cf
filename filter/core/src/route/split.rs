//! `split`: a route that sends its requests to several pools by weight.
//!
//! A request with a valid session cookie goes to the part that the session belongs to, whatever the
//! weights, and one with a session header always to the same part. For all others the part is drawn
//! ([`crate::pool::balance::random::pick_weighted`]).

use crate::http::edit::Edits;
use crate::pool::Pool;
use std::rc::Rc;

/// One part of a `split`.
#[derive(Debug)]
pub struct SplitPart {
    /// Where it goes.
    pub pool: Rc<Pool>,
    /// Its share of new requests. 0 brings nothing new.
    pub weight: u32,
    /// Edits beside the route's own, applied after them.
    pub request_headers: Edits,
    /// Edits beside the route's own, applied after them. None: there are none.
    pub response_headers: Option<Rc<Edits>>,
}

impl SplitPart {
    /// Whether it edits the headers of a request.
    pub(crate) fn edits_requests(&self) -> bool {
        !self.request_headers.is_empty()
    }
}
