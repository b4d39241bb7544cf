//! `timeout`, `retry` and `mirror`: what the proxy's router would ignore, and copies that are none.

use super::uses::pools;
use super::{Warning, named};
use pointsman_core::config::Config;
use pointsman_core::config::limits::duration;
use pointsman_core::http::router_options::RouterOptions;
use pointsman_core::pool::Pool;
use pointsman_core::pool::balance::retries::RETRIES;
use pointsman_core::route::Route;
use pointsman_core::time::Nanos;

/// More attempts than this make of one request that fails everywhere a dozen.
const MANY_ATTEMPTS: u32 = 10;

/// Every warning about them, of pools, then of routes.
pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for pool in &config.pools {
        let place = named("pools", &pool.name);
        let options = pool.router_options.as_deref();
        warnings.extend(attempts(&place, options, pool.endpoints.then_some(&**pool)));
        let timeout = options.and_then(RouterOptions::timeout);
        warnings.extend(try_is_no_shorter(&place, options, timeout));
    }
    for (at, route) in config.routes.iter().enumerate() {
        let place = format!("routes[{at}]");
        warnings.extend(of_route(&place, route));
        warnings.extend(mirror(&place, route));
    }
    warnings
}

fn of_route(place: &str, route: &Route) -> Vec<Warning> {
    let options = route.router_options.as_deref();
    let endpoints = pools(route).find(|pool| pool.endpoints);
    let mut warnings: Vec<_> = attempts(place, options, endpoints).into_iter().collect();
    let own = options.and_then(RouterOptions::timeout);
    // With no timeout of its own it has those of its pools: no try ends before the request does
    // where that holds for each.
    let of_pool = |pool: &Pool| pool.router_options.as_deref()?.timeout();
    let mut of_pools = pools(route).map(of_pool);
    let longest = of_pools.try_fold(Nanos::ZERO, |longest, time| match time {
        Some(time) if time > Nanos::ZERO => Some(longest.max(time)),
        _ => None,
    });
    warnings.extend(try_is_no_shorter(place, options, own.or(longest)));
    warnings.extend(edited(place, route));
    warnings
}

fn attempts(
    place: &str,
    options: Option<&RouterOptions>,
    endpoints: Option<&Pool>,
) -> Option<Warning> {
    let attempts = options?.retry()?.attempts;
    let place = format!("{place}.retry.attempts");
    if attempts > MANY_ATTEMPTS {
        return Some(Warning::new(
            "many_attempts",
            place,
            format!("makes up to {} requests of one", attempts + 1),
            "targets that are overloaded get so many times as much to do",
            "say 3 at most",
        ));
    }
    let pool = endpoints.filter(|pool| pool.targets.len() > RETRIES + 1)?;
    (attempts as usize > RETRIES).then(|| {
        Warning::new(
            "more_attempts_than_endpoints",
            place,
            format!("is more than {RETRIES}"),
            format!(
                "a request to the pool `{}` names {RETRIES} further endpoints; after these the \
                 cluster's own policy chooses, one that has just failed too",
                pool.name
            ),
            &format!("say {RETRIES} at most"),
        )
    })
}

fn try_is_no_shorter(
    place: &str,
    options: Option<&RouterOptions>,
    timeout: Option<Nanos>,
) -> Option<Warning> {
    let per_try = options?.retry()?.per_try_timeout?;
    let timeout = timeout.filter(|timeout| *timeout > Nanos::ZERO && per_try >= *timeout)?;
    Some(Warning::new(
        "try_no_shorter",
        format!("{place}.retry.per_try_timeout"),
        format!("is not shorter than the `timeout`, {}", duration(timeout)),
        "the request ends before any of its tries does, and Envoy ignores it",
        "make it shorter than half the `timeout`, so that there is time for another try",
    ))
}

/// Edits that `timeout` or `retry` undoes.
fn edited(place: &str, route: &Route) -> Vec<Warning> {
    let mut warnings = Vec::new();
    // Those that are written whatever pool takes the request.
    let own = route.router_options.as_deref();
    let written = RouterOptions::headers(own, None).filter(|(_, value)| value.is_some());
    for (name, _) in written {
        let sets = |edit: pointsman_core::http::edit::Edit<'_, _>| {
            use pointsman_core::http::edit::Edit;
            matches!(edit, Edit::Set(edited, _) | Edit::Add(edited, _) if edited == *name)
        };
        if route.request_headers.iter().any(sets) {
            let shown = String::from_utf8_lossy(name);
            warnings.push(Warning::new(
                "edit_replaced",
                format!("{place}.request_headers"),
                format!("writes `{shown}`"),
                "the route's `timeout` or `retry` writes it after that",
                "remove one of the two",
            ));
        }
    }
    warnings
}

fn mirror(place: &str, route: &Route) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let Some(mirror) = &route.mirror else {
        return warnings;
    };
    if mirror.millionths == 0 {
        warnings.push(Warning::new(
            "copies_nothing",
            format!("{place}.mirror.percent"),
            "copies no request",
            "it is 0",
            "raise it, or remove the `mirror`",
        ));
    }
    if pools(route).any(|pool| pool.index == mirror.pool.index) {
        warnings.push(Warning::new(
            "mirror_of_itself",
            format!("{place}.mirror.pool"),
            "is a pool that the route itself sends to",
            "what is copied is done twice there, also where it changes something",
            "name a pool that nobody's requests depend on",
        ));
    }
    warnings
}
