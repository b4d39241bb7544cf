//! Routes one after the other, with the reason why it is none of the earlier ones. For tools and
//! tests; a worker asks [`super::index`].

use super::r#match::{AskConnection, Match, Mismatch};
use super::{Found, Route};
use crate::http::request::Request;
use crate::index::RouteIndex;

/// Why [`scan`] went on from a route, or did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Which route.
    pub route: RouteIndex,
    /// The first condition that failed, of the block that got furthest: `path: prefix /checkout,
    /// got /cart`. None: it matched.
    pub failed: Option<String>,
}

/// Tests the routes one after the other until one matches. It finds what
/// [`super::index::Index::find`] finds; it takes longer, and can say why not the earlier ones.
pub fn scan(
    routes: &[Route],
    request: &Request,
    connection: &mut dyn AskConnection,
) -> (Option<Found>, Vec<TraceEntry>) {
    let mut trace = Vec::new();
    for (route, Route { blocks, .. }) in routes.iter().enumerate() {
        let route = RouteIndex::new(route);
        let mut furthest: Option<(Mismatch, &Match)> = None;
        for (block, conditions) in blocks.iter().enumerate() {
            match conditions.mismatch(request, connection) {
                None => {
                    trace.push(TraceEntry {
                        route,
                        failed: None,
                    });
                    return (Some(Found { route, block }), trace);
                }
                Some(mismatch) if furthest.is_none_or(|(before, _)| before < mismatch) => {
                    furthest = Some((mismatch, conditions));
                }
                Some(_) => {}
            }
        }
        let failed = furthest.map(|(mismatch, block)| block.explain(mismatch, request, connection));
        trace.push(TraceEntry {
            route,
            failed: Some(failed.unwrap_or_default()),
        });
    }
    (None, trace)
}
