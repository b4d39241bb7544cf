//! Which pools a route uses.

use pointsman_core::pool::Pool;
use pointsman_core::route::{Route, RouteAction};

/// The pools that a route sends requests to. Those of copies are not among them.
pub(super) fn pools(route: &Route) -> impl Iterator<Item = &Pool> {
    let (one, parts) = match &route.action {
        RouteAction::Pool(pool) => (Some(&**pool), &[][..]),
        RouteAction::Split(parts) => (None, parts.as_slice()),
        RouteAction::Redirect(_) | RouteAction::Respond(_) | RouteAction::Pass => (None, &[][..]),
    };
    one.into_iter().chain(parts.iter().map(|part| &*part.pool))
}
