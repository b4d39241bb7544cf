//! The changes of headers that a decision makes.

use super::Matched;
use crate::config::Config;
use crate::decision::{Change, Decision, Disposition, ResponsePlan};
use crate::http::edit::{Edit, Edits};
use crate::http::request::Request;
use crate::http::router_options::RouterOptions;
use crate::http::value::ValueWithParts;
use crate::pool::Pool;
use crate::route::Route;
use crate::route::parts::{Parts, in_header};
use std::borrow::Cow;

/// Adds the changes of the request's headers that the configuration asks for, in the order in which
/// they are applied: the rewrite, then the route's edits, then those of its split's part. Most routes
/// ask for none.
#[inline(never)]
pub(super) fn request_edits<'c>(
    edits: &mut Vec<Change<'c>>,
    matched: Matched<'c>,
    part: Option<usize>,
    parts: &mut Parts<'_>,
) {
    let (route, request) = (matched.route, parts.request);
    if let Some(rewrite) = &route.rewrite {
        let rewritten = rewrite.apply(parts);
        let path = rewritten.path.map(Cow::Owned);
        let host = rewritten.authority;
        for (name, original, value) in [
            (&b":path"[..], &b"x-envoy-original-path"[..], path),
            (b":authority", b"x-envoy-original-host", host),
        ] {
            let Some(value) = value else { continue };
            // As after a rewrite by one of Envoy's own routes: access logs and backends find what
            // the client asked for.
            if let Some(asked) = request.headers.first(name) {
                let asked = in_header(asked).collect();
                edits.push(change_to(original, Cow::Owned(asked), request));
            }
            edits.push(Change::Set(name, value));
        }
    }
    let part = part.and_then(|part| route.action.split_part(part));
    let configured = std::iter::once(&route.request_headers);
    let configured = configured.chain(part.map(|part| &part.request_headers));
    for edit in configured.flat_map(Edits::iter) {
        let is_there = |name: &[u8]| {
            request.headers.first(name).is_some()
                || edits.iter().any(|earlier: &Change| earlier.name() == name)
        };
        match edit {
            // To remove what is not there costs a host call.
            Edit::Remove(name) if !is_there(name) => {}
            Edit::Set(name, value) if !is_there(name) => {
                edits.push(Change::Add(name, parts.header(value)));
            }
            edit => edits.push(Change::from(edit.map(|value| parts.header(value)))),
        }
    }
}

/// Adds what the route and the pool ask the proxy's router for. Most ask for nothing.
pub(super) fn router_edits<'c>(
    edits: &mut Vec<Change<'c>>,
    route: &'c Route,
    pool: Option<&'c Pool>,
    request: &Request<'_>,
) {
    let route = route.router_options.as_deref();
    let pool = pool.and_then(|pool| pool.router_options.as_deref());
    if route.is_some() || pool.is_some() {
        add_router_edits(edits, route, pool, request);
    }
}

#[inline(never)]
fn add_router_edits<'c>(
    edits: &mut Vec<Change<'c>>,
    route: Option<&'c RouterOptions>,
    pool: Option<&'c RouterOptions>,
    request: &Request<'_>,
) {
    for (name, value) in RouterOptions::headers(route, pool) {
        let is_edited = edits.iter().any(|earlier| earlier.name() == *name);
        match value {
            Some(value) if is_edited => edits.push(Change::Set(name, Cow::Borrowed(value))),
            Some(value) => edits.push(change_to(name, Cow::Borrowed(value), request)),
            // What an edit of the configuration wrote stays.
            None if !is_edited && request.headers.first(name).is_some() => {
                edits.push(Change::Remove(name));
            }
            None => {}
        }
    }
}

/// The change that gives a header this value and no other. To add a header where there is none is
/// cheaper for the proxy than to replace it.
pub(super) fn change_to<'c>(
    name: &'c [u8],
    value: Cow<'c, [u8]>,
    request: &Request<'_>,
) -> Change<'c> {
    match request.headers.first(name) {
        Some(_) => Change::Set(name, value),
        None => Change::Add(name, value),
    }
}

/// The changes of the response's headers, in the order in which they are applied: the route's,
/// those of its split's part, then the filter's own, which no configured edit takes away.
pub fn response_edits<'a>(plan: &'a ResponsePlan) -> impl Iterator<Item = Edit<'a>> {
    let mut built = plan.built.iter();
    let limits = plan.limits.iter();
    let limits = limits.map(|(name, value)| Edit::Add(name, &**value));
    let cookie = plan.set_cookie.iter();
    let explain = plan.explain.iter();
    let configured = plan.route.iter().chain(&plan.part);
    configured
        .flat_map(|edits| edits.iter())
        .map(move |edit| {
            edit.map(|value| match value {
                ValueWithParts::Text(text) => text,
                ValueWithParts::Built(_) => built.next().map_or(&[][..], Vec::as_slice),
            })
        })
        .chain(limits)
        .chain(cookie.map(|value| Edit::Add(&b"set-cookie"[..], &**value)))
        .chain(explain.map(|(header, value)| Edit::Set(header, &**value)))
}

/// The values of [`response_edits`] that hold parts of the request: there is no request any more
/// where the response is edited.
pub(super) fn built_values(plan: &ResponsePlan, parts: &mut Parts<'_>) -> Vec<Vec<u8>> {
    let configured = plan.route.iter().chain(&plan.part);
    let built = configured.filter(|edits| edits.is_built);
    let mut values = Vec::new();
    for edit in built.flat_map(|edits| edits.iter()) {
        if let Edit::Set(_, value @ ValueWithParts::Built(_))
        | Edit::Add(_, value @ ValueWithParts::Built(_)) = edit
        {
            values.push(parts.header(value).into_owned());
        }
    }
    values
}

/// Removes what a client must not send from a request that goes on: the headers that choose the
/// upstream, unless the decision itself sets them last, and the token that asks for an
/// explanation. Every decision passes here.
pub(super) fn strip_reserved_headers<'c>(
    decision: &mut Decision<'c>,
    config: &'c Config,
    request: &Request<'_>,
) {
    // Hardly ever is one there.
    for name in config.upstream.headers() {
        if request.headers.has(name) {
            strip(decision, name);
        }
    }
    if let Some(explain) = &config.explain
        && request.headers.has(&explain.header)
    {
        strip(decision, &explain.header);
    }
}

#[cold]
#[inline(never)]
fn strip<'c>(decision: &mut Decision<'c>, name: &'c [u8]) {
    let mut edits = decision.request_edits.iter();
    let is_decided = edits.any(|change| change.name() == name);
    if decision.disposition == Disposition::Continue && !is_decided {
        decision.request_edits.push(Change::Remove(name));
    }
}
