//! Routes: the first that matches wins. [`index`] finds it, [`scan`] says why it is none of the
//! earlier ones.

pub mod condition;
mod escaped;
pub mod host;
pub mod index;
pub mod language;
pub mod r#match;
pub mod mirror;
pub mod no_route;
pub mod parts;
pub mod path;
pub mod redirect;
pub mod rewrite;
pub mod scan;
pub mod split;

use crate::http::edit::Edits;
use crate::http::respond::Respond;
use crate::http::router_options::RouterOptions;
use crate::index::RouteIndex;
use crate::pool::Pool;
use crate::protect::Protect;
use crate::rate_limit::RateLimit;
use r#match::Match;
use mirror::Mirror;
use redirect::Redirect;
use rewrite::Rewrite;
use split::SplitPart;
use std::rc::Rc;

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Unique; in logs, metrics and answers.
    pub name: Box<str>,
    /// Any of these blocks. Never empty: a route without `match` has one block without conditions.
    pub blocks: Vec<Match>,
    /// In the order in which they are charged.
    pub rate_limits: Vec<Rc<RateLimit>>,
    /// In the order in which they look.
    pub protect: Box<[Rc<Protect>]>,
    /// Edits of the request, for whatever action sends it on.
    pub request_headers: Edits,
    /// Edits of the response, the filter's own answers included; streams share them. None: there
    /// are none.
    pub response_headers: Option<Rc<Edits>>,
    /// What the upstream sees in place of the client's path and host.
    pub rewrite: Option<Rewrite>,
    /// `timeout` and `retry`, which win over those of the pool. None: it has none.
    pub router_options: Option<Box<RouterOptions>>,
    /// Where copies go. None: there are none.
    pub mirror: Option<Box<Mirror>>,
    /// What happens.
    pub action: RouteAction,
}

impl Route {
    /// Whether the headers of a request are edited, whatever becomes of it.
    pub(crate) fn edits_requests(&self) -> bool {
        self.rewrite.is_some() || !self.request_headers.is_empty()
    }
}

/// What a route does.
#[derive(Debug)]
pub enum RouteAction {
    /// Forward to a pool.
    Pool(Rc<Pool>),
    /// Forward to one of several pools by weight. At least one part.
    Split(Vec<SplitPart>),
    /// Answer with a redirect. Few routes do.
    Redirect(Box<Redirect>),
    /// Answer.
    Respond(Respond),
    /// Leave the request to the proxy's own routes, untouched.
    Pass,
}

/// The route that a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub route: RouteIndex,
    /// The first of its blocks that matches.
    pub block: usize,
}

impl RouteAction {
    /// Where the action may send a request: pools with their weights.
    pub fn parts(&self) -> impl Iterator<Item = (&Pool, u32)> + Clone {
        let (one, several) = match self {
            RouteAction::Pool(pool) => (Some((&**pool, 1)), &[][..]),
            RouteAction::Split(parts) => (None, &parts[..]),
            RouteAction::Redirect(_) | RouteAction::Respond(_) | RouteAction::Pass => {
                (None, &[][..])
            }
        };
        one.into_iter()
            .chain(several.iter().map(|part| (&*part.pool, part.weight)))
    }

    /// A part of a `split`. None: it is no split, or has no such part.
    pub fn split_part(&self, part: usize) -> Option<&SplitPart> {
        match self {
            RouteAction::Split(parts) => parts.get(part),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
