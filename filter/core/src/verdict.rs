//! Verdicts: what was decided for one request, as the changes that a proxy has to make.

use crate::config::{Config, Upstream};
use crate::decide::Reason;
use crate::edit::{Edit, Edits};
use crate::request::Request;
use crate::respond::Answer;
use crate::route::Action;
use crate::time::Nanos;
use std::borrow::Cow;

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

/// A request under way to a target, from the decision to [`crate::decide::Worker::landed`]: kept by
/// the stream, and handed back exactly once.
#[derive(Debug)]
#[must_use = "what is never landed stays counted as in flight"]
pub struct Flight {
    /// The place of the pool in [`Config::pools`].
    pub pool: usize,
    /// The place of the target in [`crate::pool::Pool::targets`].
    pub target: usize,
    /// The targets that the proxy may try after it, in order; only in a pool of endpoints.
    pub retries: Vec<usize>,
    /// Whether its failure is told by a gRPC status.
    pub grpc: bool,
    /// When it was decided.
    pub started: Nanos,
    /// Whether anybody wants to know when the response's headers came.
    pub timed: bool,
    /// When they came. None: they have not, or nobody wants to know.
    pub answered: Option<Nanos>,
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
    /// The route that matched, as its place in the configuration.
    pub route: Option<usize>,
    /// The part of the route's `split` that was chosen.
    pub part: Option<usize>,
    /// A `set-cookie` value.
    pub set_cookie: Option<Vec<u8>>,
    /// The decision, for a request that may know it.
    pub explain: Option<Vec<u8>>,
}

impl ResponsePlan {
    /// The changes of the response's headers, in the order in which they are applied: the route's,
    /// those of its split's part, then the filter's own, which no configured edit takes away.
    pub fn edits<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = Edit<'a>> {
        let route = self.route.and_then(|route| config.routes.get(route));
        let part = route
            .zip(self.part)
            .and_then(|(route, part)| match &route.action {
                Action::Split(parts) => parts.get(part),
                _ => None,
            });
        let cookie = self.set_cookie.iter();
        let explain = config.explain.iter().zip(&self.explain);
        let configured = route.map(|route| &route.response_headers).into_iter();
        configured
            .chain(part.map(|part| &part.response_headers))
            .flat_map(Edits::iter)
            .chain(cookie.map(|value| Edit::Add(b"set-cookie", value)))
            .chain(explain.map(|(explain, value)| Edit::Set(&explain.header, value)))
    }
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

    /// Takes what a client must not bring off a request that goes on: the headers that choose the
    /// upstream, unless the decision itself sets them last, and the token that asks for an
    /// explanation. Every decision passes here.
    pub fn close_the_way_in(&mut self, config: &'c Config, request: &Request<'_>) {
        if self.outcome != Outcome::Continue {
            return;
        }
        let Upstream {
            cluster_header,
            endpoint_header,
        } = &config.upstream;
        let token = config.explain.as_ref().map(|explain| &explain.header);
        for name in [cluster_header, endpoint_header].into_iter().chain(token) {
            let decided = || {
                self.request_edits
                    .iter()
                    .any(|change| change.name() == &**name)
            };
            // Hardly ever is one there, and headers know that without a look at each.
            if request.headers.first(name).is_some() && !decided() {
                self.request_edits.push(Change::Remove(name));
            }
        }
    }
}
