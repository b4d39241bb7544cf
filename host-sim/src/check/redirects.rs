//! Redirects that lead back to themselves.

use super::candidates::{Candidates, TakenBy};
use super::{Places, Warning, example};
use crate::exchange::{ExchangeRequest, shown};
use crate::explain;
use pointsman_core::config::Config;
use pointsman_core::index::RouteIndex;
use pointsman_core::route::parts::Parts;
use pointsman_core::route::{Found, Route, RouteAction};

/// How many redirects browsers follow.
const MAX_HOPS: usize = 20;

/// Redirects that a client which follows them never leaves, each circle once.
pub(super) fn warnings(config: &Config, candidates: &Candidates, places: &Places) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut in_circles: Vec<RouteIndex> = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let at = RouteIndex::new(at);
        if in_circles.contains(&at) || !matches!(route.action, RouteAction::Redirect(_)) {
            continue;
        }
        let circle = requests(config, candidates, at, route)
            .into_iter()
            .find_map(|request| circle(config, candidates, at, request));
        let Some(circle) = circle else { continue };
        in_circles.extend(&circle.routes);
        warnings.push(circle.warning(config, places, at, route));
    }
    warnings
}

/// Requests that the route takes: of each block one, in each scheme.
fn requests(
    config: &Config,
    candidates: &Candidates,
    at: RouteIndex,
    route: &Route,
) -> Vec<ExchangeRequest> {
    let examples = route
        .blocks
        .iter()
        .filter_map(|block| example::of(config, block));
    let schemes = examples.flat_map(|request| {
        [&b"http"[..], b"https"].map(|scheme| ExchangeRequest {
            scheme: scheme.to_vec(),
            ..request.clone()
        })
    });
    let is_taken = |request: &ExchangeRequest| {
        let taken_by = example::taken_by(config, candidates, request);
        matches!(taken_by, TakenBy::Known(Some(found)) if found.route == at)
    };
    schemes.filter(is_taken).collect()
}

/// A circle of redirects.
struct Circle {
    /// The first request of it.
    request: ExchangeRequest,
    /// What is asked for in turn; the last is the first again, or one more than clients follow.
    urls: Vec<Vec<u8>>,
    routes: Vec<RouteIndex>,
}

/// The circle that this request begins. None: it ends somewhere, or that cannot be told.
fn circle(
    config: &Config,
    candidates: &Candidates,
    start: RouteIndex,
    request: ExchangeRequest,
) -> Option<Circle> {
    let mut circle = Circle {
        urls: vec![request.url()],
        routes: Vec::new(),
        request,
    };
    let mut asked = circle.request.clone();
    // By their methods too: 303 makes a GET of a POST, which may be answered.
    let mut known = vec![(asked.method.clone(), asked.url())];
    while circle.urls.len() <= MAX_HOPS {
        let TakenBy::Known(Some(found)) = example::taken_by(config, candidates, &asked) else {
            return None;
        };
        let next = followed(config, found, &asked)?;
        circle.routes.push(found.route);
        let url = next.url();
        let step = (next.method.clone(), url.clone());
        let is_first = known.first() == Some(&step);
        let is_known = known.contains(&step);
        known.push(step);
        circle.urls.push(url);
        if is_known {
            // A route that only leads to a circle of others is not part of it.
            return (is_first || circle.urls.len() == 2 || found.route == start).then_some(circle);
        }
        asked = next;
    }
    Some(circle)
}

/// What a client asks for that follows the redirect. None: it is none, or what the client will send
/// cannot be told.
fn followed(config: &Config, found: Found, asked: &ExchangeRequest) -> Option<ExchangeRequest> {
    let route = config.route(found.route)?;
    let RouteAction::Redirect(redirect) = &route.action else {
        return None;
    };
    // Another port is another listener, which may have another configuration; and a client that is
    // given a cookie asks for something else.
    let edits = route.response_headers.iter();
    let mut added = edits.flat_map(|edits| edits.set.iter().chain(&edits.add));
    if redirect.port.is_some() || added.any(|(name, _)| &**name == b"set-cookie") {
        return None;
    }
    let block = route.blocks.get(found.block)?;
    let location = explain::with_request(config, asked, |request, connection| {
        redirect.location(&mut Parts::without_target(
            request,
            block,
            &route.name,
            &mut || connection.address(),
        ))
    });
    let method = match (redirect.status, &asked.method[..]) {
        (301..=303, b"GET" | b"HEAD") | (307 | 308, _) => &asked.method[..],
        _ => b"GET",
    };
    let next = ExchangeRequest::new(method, &location).ok()?;
    let has_cookies = asked.headers.iter().any(|(name, _)| name == b"cookie");
    if has_cookies && next.authority != asked.authority {
        return None;
    }
    Some(ExchangeRequest {
        headers: asked.headers.clone(),
        client_ip: asked.client_ip,
        tls: asked.tls.clone(),
        ..next
    })
}

impl Circle {
    fn warning(self, config: &Config, places: &Places, at: RouteIndex, route: &Route) -> Warning {
        const SHOWN: usize = 4;
        let mut urls: Vec<_> = self.urls.iter().take(SHOWN).map(|url| shown(url)).collect();
        if self.urls.len() > SHOWN {
            urls.push("…".to_owned());
        }
        let only_scheme = |route: &Route| match &route.action {
            RouteAction::Redirect(to) => {
                to.scheme.is_some() && to.host.is_none() && to.path.is_none()
            }
            _ => false,
        };
        let advice = match only_scheme(route) {
            true => "say in the route's `match` which `scheme` it is for: the other one",
            false => {
                "exempt in the route's `match` what it leads to, or put a route for that before it"
            }
        };
        let name = config.routes[at.get()].name.to_string();
        Warning {
            example: Some((self.request, name)),
            ..Warning::new(
                "redirect_loop",
                format!("{}.redirect", places.route(at)),
                "leads back to itself",
                format!("a client that follows it asks for {}", urls.join(", then ")),
                advice,
            )
        }
    }
}
