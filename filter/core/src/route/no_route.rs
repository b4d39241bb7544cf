//! `no_route`: what happens to a request that no route matches.

use crate::http::respond::Respond;

/// `no_route`. Default: `respond: { status: 404 }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// Answer.
    Respond(Respond),
    /// Leave the request to the proxy's own routes.
    Pass,
}
