//! Verdicts: what was decided for one request, as the changes that a proxy has to make.

use crate::http::edit::Edit;
use crate::http::respond::Answer;
use crate::index::RouteIndex;
use crate::pool::flight::Flight;
use std::borrow::Cow;

/// Why a decision is what it is: the words of `explain`'s `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `route`: the route says so.
    Route,
    /// `no_route`: no route matched.
    NoRoute,
    /// `rate_limit`: a limit refused.
    RateLimit,
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
    /// `failover`: the pool has no healthy target, one of its `failover` has.
    Failover,
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
            Reason::Balance => "balance",
            Reason::Hash => "hash",
            Reason::Sticky => "sticky",
            Reason::StickyHeader => "sticky_header",
            Reason::Repin => "repin",
            Reason::Failover => "failover",
            Reason::UseAll => "use_all",
            Reason::Unhealthy => "unhealthy",
            Reason::NoTarget => "no_target",
        }
    }
}

/// What was decided for one request. `'c` is the configuration.
#[derive(Debug)]
pub struct Decision<'c> {
    /// Whether the request goes on.
    pub outcome: Outcome,
    /// Why it is so.
    pub reason: Reason,
    /// The changes of the request's headers, in the order in which they are applied. None with an
    /// answer.
    pub request_edits: Vec<Change<'c>>,
    /// What the response phase needs.
    pub response: ResponsePlan,
    /// A request that goes to a target. It is counted as in flight from here on, whatever becomes
    /// of the edits.
    pub flight: Option<Flight>,
}

/// Whether a request goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To the proxy's router, after the edits.
    Continue,
    /// No further: this is the answer. The response phase still applies its plan to it.
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

impl<'c> From<Edit<'c>> for Change<'c> {
    fn from(edit: Edit<'c>) -> Change<'c> {
        match edit {
            Edit::Remove(name) => Change::Remove(name),
            Edit::Set(name, value) => Change::Set(name, Cow::Borrowed(value)),
            Edit::Add(name, value) => Change::Add(name, Cow::Borrowed(value)),
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

/// What the response phase does, kept by the stream.
#[derive(Debug, Default)]
pub struct ResponsePlan {
    /// The route that matched.
    pub route: Option<RouteIndex>,
    /// The part of the route's `split` that was chosen.
    pub part: Option<usize>,
    /// A `set-cookie` value.
    pub set_cookie: Option<Vec<u8>>,
    /// The decision, for a request that may know it.
    pub explain: Option<Vec<u8>>,
}

impl<'c> Decision<'c> {
    /// The request goes on, changed so.
    pub fn forward(reason: Reason, request_edits: Vec<Change<'c>>) -> Decision<'c> {
        Decision {
            outcome: Outcome::Continue,
            reason,
            request_edits,
            response: ResponsePlan::default(),
            flight: None,
        }
    }

    /// The request ends here.
    pub fn answer(reason: Reason, answer: Answer) -> Decision<'c> {
        Decision {
            outcome: Outcome::Answer(answer),
            reason,
            request_edits: Vec::new(),
            response: ResponsePlan::default(),
            flight: None,
        }
    }
}
