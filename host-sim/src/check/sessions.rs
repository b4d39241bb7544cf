//! Sessions that hold nobody, or whom they should not.

use super::uses::pools;
use super::values::{ValueSet, is_in_paths};
use super::{Warning, named, request_set};
use crate::exchange::shown;
use pointsman_core::config::Config;
use pointsman_core::pool::sticky::Cookie;
use pointsman_core::pool::{Pool, State};
use pointsman_core::route::condition::Text;
use pointsman_core::route::host::HostMatch;
use pointsman_core::route::path::{PathKind, PathMatch};
use pointsman_core::route::{Route, RouteAction};

/// Every warning about the sessions of a pool that routes use.
pub(super) fn of_pool(config: &Config, pool: &Pool) -> Vec<Warning> {
    let Some(sticky) = &pool.sticky else {
        return Vec::new();
    };
    let place = named("pools", &pool.name);
    let mut warnings = Vec::new();
    if let Some(cookie) = &sticky.cookie {
        warnings.extend(never_sent(config, &place, pool, cookie));
        warnings.extend(never_taken(config, &place, pool, cookie));
        warnings.extend(never_freed(&place, pool));
        if sticky.keys.is_empty()
            && let Some(target) = pool.targets.iter().find(|target| is_closed_to_new(target))
        {
            warnings.push(Warning::new(
                "forgeable_session",
                format!("{place}.sticky"),
                format!("lets any client into the target `{}`", target.name),
                "without `keys` a client can make up a session, and sessions go to targets that \
                 take nothing new",
                "give it `keys`",
            ));
        }
    }
    if sticky.header.is_some()
        && let Some(target) = pool.targets.iter().find(|target| is_closed_to_new(target))
    {
        warnings.push(Warning::new(
            "header_sessions_move",
            format!("{place}.sticky.header"),
            format!("holds nobody to the target `{}`", target.name),
            "the hash of a header cannot tell old clients from new ones: those of a target that \
             is draining or has the weight 0 move at once",
            "hold clients by a `cookie`, or leave the target its weight until they may move",
        ));
    }
    warnings
}

/// Every warning about the sessions of a route's split.
pub(super) fn of_split(place: &str, route: &Route) -> Vec<Warning> {
    let RouteAction::Split(parts) = &route.action else {
        return Vec::new();
    };
    let cookie = |pool: &Pool| pool.sticky.as_ref().is_some_and(|it| it.cookie.is_some());
    let keys = |pool: &Pool| pool.sticky.as_ref().is_some_and(|it| !it.keys.is_empty());
    let mut warnings = Vec::new();
    let taking = || parts.iter().enumerate().filter(|(_, part)| part.weight > 0);
    let holding = taking().find(|(_, part)| cookie(&part.pool));
    if let (Some((_, holding)), Some((at, _))) =
        (holding, taking().find(|(_, part)| !cookie(&part.pool)))
    {
        warnings.push(Warning::new(
            "split_drifts",
            format!("{place}.split[{at}]"),
            format!("loses its clients to `{}`", holding.pool.name),
            "a client that is once sent there gets a cookie and stays; one that is sent here is \
             drawn again with its next request",
            "give both pools a `sticky.cookie`, or neither",
        ));
    }
    for (at, part) in parts
        .iter()
        .enumerate()
        .filter(|(_, part)| part.weight == 0)
    {
        if cookie(&part.pool) && !keys(&part.pool) {
            warnings.push(Warning::new(
                "forgeable_session",
                format!("{place}.split[{at}]"),
                format!("lets any client into the pool `{}`", part.pool.name),
                "without `keys` a client can make up a session, and sessions go to parts that \
                 take nothing new",
                "give the pool's `sticky` some `keys`",
            ));
        }
    }
    warnings
}

/// Whether a target has sessions only.
fn is_closed_to_new(target: &pointsman_core::pool::Target) -> bool {
    match target.state {
        State::Up => target.weight == 0,
        State::Draining => true,
        State::Down => false,
    }
}

/// A cookie for paths that no request to the pool has.
fn never_sent(config: &Config, place: &str, pool: &Pool, cookie: &Cookie) -> Option<Warning> {
    if *cookie.path == *b"/" {
        return None;
    }
    let leads_here = |route: &&Route| {
        let mut pools = pools(route);
        pools.any(|used| used.index == pool.index || used.failover.contains(&pool.index))
    };
    let routes: Vec<_> = config.routes.iter().filter(leads_here).collect();
    // "Path-match" of RFC 6265, section 5.1.4.
    let below = Text::Prefix(cookie.path.clone());
    let segments = PathMatch {
        kind: PathKind::Prefix(cookie.path.clone()),
        ignore_case: false,
    };
    let covered = match cookie.path.ends_with(b"/") {
        true => ValueSet::of_text(&below, is_in_paths),
        false => ValueSet::of_path(&segments),
    };
    let is_outside = |path: &PathMatch| {
        let paths = ValueSet::of_path(path);
        let is_covered = |sample: &[u8]| covered.has(sample);
        !paths.sample().is_some_and(is_covered) && paths.is_disjoint(&covered)
    };
    let mut blocks = routes.iter().flat_map(|route| &route.blocks);
    if routes.is_empty() || !blocks.all(|block| block.path.as_ref().is_some_and(is_outside)) {
        return None;
    }
    Some(Warning::new(
        "cookie_never_sent",
        format!("{place}.sticky.cookie.path"),
        "is the path of no request to the pool",
        "a browser sends the cookie only there, and the pool's routes are elsewhere: it holds \
         nobody",
        "make it a path that all of the pool's routes lie below, or leave it out",
    ))
}

/// A cookie with a `domain` that a host of the pool's routes is not in: RFC 6265, section 5.3, 6.
fn never_taken(config: &Config, place: &str, pool: &Pool, cookie: &Cookie) -> Option<Warning> {
    let domain = cookie.domain.as_ref()?;
    let covered = [
        HostMatch::Exact(domain.clone()),
        HostMatch::Suffix([b".", &**domain].concat().into()),
    ];
    let is_outside = |host: &&HostMatch| {
        let mut covered = covered.iter();
        !covered.any(|covered| request_set::hosts_overlap(host, covered))
    };
    let mut routes = config.routes.iter();
    let (route, host) = routes.find_map(|route| {
        let mut pools = pools(route);
        let leads_here =
            pools.any(|used| used.index == pool.index || used.failover.contains(&pool.index));
        let mut hosts = route.blocks.iter().flat_map(|block| &block.hosts);
        let outside = hosts.find(is_outside).filter(|_| leads_here)?;
        Some((route, outside))
    })?;
    let host = match host {
        HostMatch::Any => "*".to_owned(),
        HostMatch::Exact(host) => shown(host),
        HostMatch::Suffix(suffix) => format!("*{}", shown(suffix)),
    };
    Some(Warning::new(
        "cookie_never_taken",
        format!("{place}.sticky.cookie.domain"),
        format!(
            "holds no client of `{host}`, a host of the route `{}`",
            route.name
        ),
        "a browser refuses a cookie for a domain that the host which sets it is not in",
        "make it a domain that all of the pool's hosts are in, or leave it out",
    ))
}

/// Sessions of a target that nothing ever finds unhealthy. Where there is `failover` its own
/// warning says that nothing makes it happen.
fn never_freed(place: &str, pool: &Pool) -> Option<Warning> {
    let is_checked = pool.health.passive.is_some() || pool.health.active.is_some();
    if is_checked || pool.targets.len() < 2 || !pool.failover.is_empty() {
        return None;
    }
    Some(Warning::new(
        "sessions_never_freed",
        format!("{place}.sticky"),
        "holds clients to a target that is dead",
        "the pool has no `health`: nothing tells that a target fails, so its sessions stay there",
        "add `health: { passive: {} }`, or probes by `active`",
    ))
}
