//! The changes of headers that a decision makes.

use crate::config::Config;
use crate::decision::{Change, Decision, Outcome, ResponsePlan};
use crate::http::edit::{Edit, Edits};
use crate::http::request::Request;
use crate::http::upstream::Upstream;
use crate::route::Action;

/// The changes of the response's headers, in the order in which they are applied: the route's,
/// those of its split's part, then the filter's own, which no configured edit takes away.
pub fn response_edits<'a>(
    plan: &'a ResponsePlan,
    config: &'a Config,
) -> impl Iterator<Item = Edit<'a>> {
    let route = plan.route.and_then(|route| config.route(route));
    let part = route
        .zip(plan.part)
        .and_then(|(route, part)| match &route.action {
            Action::Split(parts) => parts.get(part),
            _ => None,
        });
    let cookie = plan.set_cookie.iter();
    let explain = config.explain.iter().zip(&plan.explain);
    let configured = route.map(|route| &route.response_headers).into_iter();
    configured
        .chain(part.map(|part| &part.response_headers))
        .flat_map(Edits::iter)
        .chain(cookie.map(|value| Edit::Add(b"set-cookie", value)))
        .chain(explain.map(|(explain, value)| Edit::Set(&explain.header, value)))
}

/// Takes what a client must not bring off a request that goes on: the headers that choose the
/// upstream, unless the decision itself sets them last, and the token that asks for an
/// explanation. Every decision passes here.
pub(super) fn strip_reserved_headers<'c>(
    decision: &mut Decision<'c>,
    config: &'c Config,
    request: &Request<'_>,
) {
    if decision.outcome != Outcome::Continue {
        return;
    }
    let Upstream {
        cluster_header,
        endpoint_header,
    } = &config.upstream;
    let token = config.explain.as_ref().map(|explain| &explain.header);
    for name in [cluster_header, endpoint_header].into_iter().chain(token) {
        let decided = || {
            decision
                .request_edits
                .iter()
                .any(|change| change.name() == &**name)
        };
        // Hardly ever is one there, and headers know that without a look at each.
        if request.headers.first(name).is_some() && !decided() {
            decision.request_edits.push(Change::Remove(name));
        }
    }
}
