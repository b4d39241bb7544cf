//! What was decided about one request, as the changes that a proxy has to make.

use crate::http::edit::{Edit, Edits};
use crate::http::respond::Answer;
use crate::http::vary::Vary;
use crate::index::RouteIndex;
use crate::pool::flight::Flight;
use crate::pool::sticky::Origin;
use crate::pool::{Pool, Target};
use crate::protect::Hit;
use crate::rate_limit::global::Asking;
use crate::route::Route;
use std::borrow::Cow;
use std::rc::Rc;

/// What was decided about one request. `'c` is the configuration.
#[derive(Debug)]
pub struct Decision<'c> {
    /// What is done with the request.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The route that matched.
    pub route: Option<&'c Route>,
    /// Its place in the configuration.
    pub route_index: Option<RouteIndex>,
    /// The name of the rate limit that refused.
    pub limit: Option<&'c str>,
    /// What protections found, in the order in which they looked.
    pub hits: Vec<Hit<'c>>,
    /// The target that the request goes to, with its pool.
    pub target: Option<(&'c Pool, &'c Target)>,
    /// Whether the request goes on.
    pub disposition: Disposition,
    /// The changes of the request's headers, in the order in which they are applied. None with an
    /// answer.
    pub request_edits: Vec<Change<'c>>,
    /// What the response path needs.
    pub response: ResponsePlan,
    /// Of a request that goes to a target. It is counted as in flight from here on, whatever
    /// happens to the edits.
    pub flight: Option<Flight>,
}

/// What is done with a request: the words of `explain`'s `action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `forward`: it goes to a target.
    Forward,
    /// `pass`: it is left to the proxy's own routes.
    Pass,
    /// `redirect`: it is answered with a redirect.
    Redirect,
    /// `respond`: it is answered.
    Respond,
    /// `rate_limited`: it is answered with 429.
    RateLimited,
}

/// Why a decision is what it is: the words of `explain`'s `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `route`: the route says so.
    Route,
    /// `no_route`: no route matched.
    NoRoute,
    /// `rate_limit`: a limit refused.
    RateLimit,
    /// `protect`: a protection refused.
    Protect,
    /// `balance`: a new choice by weight.
    Balance,
    /// `hash`: the pool's `ip_hash` or `consistent_hash`. (A request without its key is balanced:
    /// `balance`.)
    Hash,
    /// `sticky`: a valid session cookie.
    Sticky,
    /// `sticky_header`: the hash of `sticky.header`.
    StickyHeader,
    /// `repin`: the target of a valid session is unhealthy or down, so the client has a new one.
    Repin,
    /// `failover`: the pool has no healthy target with room, one of its `failover` has.
    Failover,
    /// `full`: the target that the request belongs to has as many requests as it may have, so another
    /// one; or no target that it may go to has room.
    Full,
    /// `use_all`: no target is healthy, so all are treated as if they were.
    UseAll,
    /// `unhealthy`: no target is healthy, and `when_all_unhealthy` wants 503.
    Unhealthy,
    /// `no_target`: no target takes the request, healthy or not.
    NoTarget,
}

impl Reason {
    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Route => "route",
            Reason::NoRoute => "no_route",
            Reason::RateLimit => "rate_limit",
            Reason::Protect => "protect",
            Reason::Balance => "balance",
            Reason::Hash => "hash",
            Reason::Sticky => "sticky",
            Reason::StickyHeader => "sticky_header",
            Reason::Repin => "repin",
            Reason::Failover => "failover",
            Reason::Full => "full",
            Reason::UseAll => "use_all",
            Reason::Unhealthy => "unhealthy",
            Reason::NoTarget => "no_target",
        }
    }
}

/// Whether a request goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Disposition {
    /// To the proxy's router, after the edits.
    Continue,
    /// It waits for the answers to questions, and for tokens. Then it is decided again, by
    /// [`crate::worker::Worker::decide_asked`].
    Ask(Asking),
    /// No further: this is the answer. It goes through the response path as every response does.
    Answer(Answer),
}

/// An [`Edit`] that may own its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'c> {
    /// Remove every value of the name.
    Remove(&'c [u8]),
    /// Replace every value of the name by this one.
    Set(&'c [u8], Cow<'c, [u8]>),
    /// Add a value to the name.
    Add(&'c [u8], Cow<'c, [u8]>),
}

impl<'c> From<Edit<'c, Cow<'c, [u8]>>> for Change<'c> {
    fn from(edit: Edit<'c, Cow<'c, [u8]>>) -> Change<'c> {
        match edit {
            Edit::Remove(name) => Change::Remove(name),
            Edit::Set(name, value) => Change::Set(name, value),
            Edit::Add(name, value) => Change::Add(name, value),
        }
    }
}

impl Change<'_> {
    /// The header that changes.
    pub fn name(&self) -> &[u8] {
        match self {
            Change::Remove(name) | Change::Set(name, _) | Change::Add(name, _) => name,
        }
    }
}

/// What the response path does. The stream keeps it, and with it nothing else of the configuration:
/// a request that waits for its response must not hold ten thousand routes in memory.
#[derive(Debug, Default)]
pub struct ResponsePlan {
    /// The `response_headers` of the route that matched.
    pub route: Option<Rc<Edits>>,
    /// Those of the part of its `split` that was chosen.
    pub part: Option<Rc<Edits>>,
    /// Values of these edits that were built of the request, in the order of the edits.
    pub built: Vec<Vec<u8>>,
    /// Headers that tell the states of limits.
    pub limits: Vec<(&'static [u8], Vec<u8>)>,
    /// The session that the request belongs to, or will.
    pub session: Option<SessionPlan>,
    /// A `set-cookie` value. It names the target that answered, so
    /// [`crate::worker::Worker::on_response_headers`] writes it.
    pub set_cookie: Option<Vec<u8>>,
    /// What the decision looked at, for the response's `vary`.
    pub vary: Vary,
    /// The decision, for a request that may know it, with the header that tells it.
    pub explain: Option<(Box<[u8]>, Vec<u8>)>,
}

/// The session of a request to a pool with `sticky.cookie`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPlan {
    /// Where it belongs.
    pub origin: Origin,
    /// Whether the client is to get a cookie, whoever answers. Otherwise it has one, of the target
    /// that was chosen.
    pub is_new: bool,
}

impl ResponsePlan {
    /// Whether the response's headers are edited.
    pub fn has_edits(&self) -> bool {
        let is_configured = self.route.is_some() || self.part.is_some();
        is_configured
            || self.set_cookie.is_some()
            || !self.limits.is_empty()
            || self.explain.is_some()
    }

    /// Whether one of the edits has a value that is built of the request.
    pub(crate) fn has_built_values(&self) -> bool {
        let is_built = |edits: &Rc<Edits>| edits.is_built;
        self.route.as_ref().is_some_and(is_built) || self.part.as_ref().is_some_and(is_built)
    }
}

impl<'c> Decision<'c> {
    /// The request goes on with these changes.
    pub fn forward(action: Action, reason: Reason, request_edits: Vec<Change<'c>>) -> Decision<'c> {
        Decision {
            action,
            reason,
            route: None,
            route_index: None,
            limit: None,
            hits: Vec::new(),
            target: None,
            disposition: Disposition::Continue,
            request_edits,
            response: ResponsePlan::default(),
            flight: None,
        }
    }

    /// The request is answered.
    pub fn answer(action: Action, reason: Reason, answer: Answer) -> Decision<'c> {
        Decision {
            disposition: Disposition::Answer(answer),
            ..Decision::forward(action, reason, Vec::new())
        }
    }
}

impl Action {
    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Action::Forward => "forward",
            Action::Pass => "pass",
            Action::Redirect => "redirect",
            Action::Respond => "respond",
            Action::RateLimited => "rate_limited",
        }
    }
}
