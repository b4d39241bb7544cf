//! Pools and rate limits: those that nothing uses, those that get no requests, and session cookies
//! that collide.

use super::uses::pools;
use super::{Warning, named, request_set, sessions};
use pointsman_core::config::{Config, limits};
use pointsman_core::index::PoolIndex;
use pointsman_core::pool::Pool;
use pointsman_core::pool::failover::WhenAllUnhealthy;
use pointsman_core::pool::sticky::Cookie;
use pointsman_core::route::host::HostMatch;
use pointsman_core::route::{Route, RouteAction};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Every warning about pools, rate limits, and splits over pools.
pub(super) fn warnings(config: &Config) -> Vec<Warning> {
    let sent_to = sent_to(config);
    let mut used = sent_to.clone();
    used.extend(copied_to(config));
    let mut warnings = Vec::new();
    for pool in &config.pools {
        let place = named("pools", &pool.name);
        if !used.contains(&pool.index) {
            warnings.push(Warning::new(
                "unused_pool",
                place,
                "nothing uses the pool",
                "no route sends requests to it, or copies of them, and no pool that is used has it in its \
                 `failover`",
                "name it in a route, or remove it",
            ));
            continue;
        }
        let is_sent_to = sent_to.contains(&pool.index);
        warnings.extend(takes_nothing_new(&place, pool, is_sent_to));
        warnings.extend(never_ejects(&place, pool));
        warnings.extend(unused_method(&place, pool));
        warnings.extend(unused_failover(&place, pool, config));
        warnings.extend(sessions::of_pool(config, pool));
    }
    warnings.extend(same_cookies(config, &used));
    for limit in &config.rate_limits {
        let names = |route: &Route| {
            route
                .rate_limits
                .iter()
                .any(|used| used.index() == limit.index())
        };
        if !config.routes.iter().any(names) {
            warnings.push(Warning::new(
                "unused_rate_limit",
                named("rate_limits", limit.name()),
                "nothing uses the limit",
                "no route names it",
                "name it in the `rate_limits` of a route, or remove it",
            ));
        }
    }
    for (at, route) in config.routes.iter().enumerate() {
        if let RouteAction::Split(parts) = &route.action
            && parts.iter().all(|part| part.weight == 0)
        {
            warnings.push(Warning::new(
                "no_weight",
                format!("routes[{at}].split"),
                "sends new clients nowhere: they are answered 503",
                "its weights sum to zero",
                "give a part a weight above 0",
            ));
        }
        warnings.extend(sessions::of_split(&format!("routes[{at}]"), route));
    }
    warnings
}

/// The pools that routes send requests to, and those that these fail over to.
fn sent_to(config: &Config) -> BTreeSet<PoolIndex> {
    let sent = config.routes.iter().flat_map(pools);
    sent.flat_map(|pool| {
        let others = pool.failover.iter().copied();
        [pool.index].into_iter().chain(others)
    })
    .collect()
}

/// The pools that routes send copies of requests to. A copy that no target takes goes nowhere else.
fn copied_to(config: &Config) -> impl Iterator<Item = PoolIndex> {
    let mirrors = config
        .routes
        .iter()
        .filter_map(|route| route.mirror.as_ref());
    mirrors.map(|mirror| mirror.pool.index)
}

/// `is_sent_to`: it gets more than copies of requests.
fn takes_nothing_new(place: &str, pool: &Pool, is_sent_to: bool) -> Option<Warning> {
    if pool.targets.iter().any(|target| target.takes_new()) {
        return None;
    }
    let found = match pool.failover.is_empty() {
        _ if !is_sent_to => "takes no copies of requests",
        true => "takes no new requests: they are answered 503",
        false => "takes no new requests: they all go to its `failover`",
    };
    Some(Warning::new(
        "no_weight",
        format!("{place}.targets"),
        found,
        "every target has the weight 0, or is draining or down",
        "give a target that is up a weight above 0",
    ))
}

fn never_ejects(place: &str, pool: &Pool) -> Option<Warning> {
    let percent = pool.health.passive.as_ref()?.max_ejected_percent;
    let count = pool.targets.len();
    let says_what_then =
        !pool.failover.is_empty() || pool.health.when_all_unhealthy == WhenAllUnhealthy::Respond503;
    if count as u64 * u64::from(percent) >= 100 || count == 1 && percent > 0 && says_what_then {
        return None;
    }
    if percent > 0 && says_what_then {
        return Some(Warning::new(
            "ejects_all_or_none",
            format!("{place}.health.passive"),
            "ejects all targets at once or none",
            format!(
                "`max_ejected_percent`, {percent} % of its {count} targets, is less than one, and \
                 the bound only ends once all of them fail"
            ),
            &format!("raise it to {} at least", 100usize.div_ceil(count.max(1))),
        ));
    }
    if percent == 0 && pool.health.active.is_none() && says_what_then {
        return Some(Warning::new(
            "empty_promise",
            format!("{place}.health.passive.max_ejected_percent"),
            "keeps every target in, so what is to happen without a healthy one never does",
            "`failover` and `when_all_unhealthy` wait for targets that are unhealthy, and 0 % of \
             them ever are",
            "raise it, or add `active`",
        ));
    }
    let of = if count == 1 {
        "its one target".to_owned()
    } else {
        format!("its {count} targets")
    };
    Some(Warning::new(
        "never_ejects",
        format!("{place}.health.passive"),
        "never ejects a target",
        format!(
            "`max_ejected_percent`, {percent} % of {of}, is less than one, and is rounded down"
        ),
        &format!(
            "raise it to {} at least, or remove `passive`",
            100usize.div_ceil(count.max(1))
        ),
    ))
}

/// A probe's method beside `grpc`, which is another one.
fn unused_method(place: &str, pool: &Pool) -> Option<Warning> {
    let active = pool.health.active.as_ref()?;
    active.grpc.as_ref()?;
    let is_given = *active.method != *limits::DEFAULT_PROBE_METHOD && *active.method != *"POST";
    is_given.then(|| {
        Warning::new(
            "unused_method",
            format!("{place}.health.active.method"),
            "is not the method of any probe",
            "a gRPC call is a POST, and `grpc` makes each probe one",
            "remove it",
        )
    })
}

/// A `failover` without effect: that of a pool which is itself only failed over to is not followed.
fn unused_failover(place: &str, pool: &Pool, config: &Config) -> Option<Warning> {
    let sent = |route: &Route| pools(route).any(|used| used.index == pool.index);
    if pool.failover.is_empty() || config.routes.iter().any(sent) {
        return None;
    }
    Some(Warning::new(
        "unused_failover",
        format!("{place}.failover"),
        "nothing uses the list",
        "the pool is only failed over to, and then its own `failover` is not followed",
        "name its pools in the `failover` of the pools that routes use, or remove it",
    ))
}

/// Cookies of one name that a client would send to two pools, each of which takes the other's for
/// its own.
fn same_cookies<'c>(config: &'c Config, used: &BTreeSet<PoolIndex>) -> Vec<Warning> {
    let with_cookie = |pool: &'c Rc<Pool>| Some((pool, pool.sticky.as_ref()?.cookie.as_ref()?));
    let pools = config
        .pools
        .iter()
        .filter(|pool| used.contains(&pool.index));
    let cookies: Vec<_> = pools.filter_map(with_cookie).collect();
    let mut warnings = Vec::new();
    for (at, (pool, own)) in cookies.iter().enumerate() {
        let meets = |(other, theirs): &&(&Rc<Pool>, &Cookie)| {
            theirs.name == own.name
                && (covers(&theirs.path, &own.path) || covers(&own.path, &theirs.path))
                && share_a_host(config, pool, other)
        };
        if let Some((other, _)) = cookies.iter().take(at).find(meets) {
            warnings.push(Warning::new(
                "same_cookie",
                format!("{}.sticky.cookie.name", named("pools", &pool.name)),
                format!("is the name of the cookie of the pool `{}` too", other.name),
                "a client has one cookie of a name: each pool overwrites the other's session",
                "give each pool a cookie name of its own, or `path`s that do not overlap",
            ));
        }
    }
    warnings
}

/// Whether a cookie of the first path is sent to the second: "path-match" of RFC 6265, section
/// 5.1.4.
fn covers(cookie: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(cookie)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || cookie.ends_with(b"/"))
}

/// Whether a client may send both pools' cookies to one host: without a `domain` they go back to the
/// same host only.
fn share_a_host(config: &Config, one: &Pool, other: &Pool) -> bool {
    let hosts = |pool: &Pool| {
        let mut hosts = Vec::new();
        let cookie = pool
            .sticky
            .as_ref()
            .and_then(|sticky| sticky.cookie.as_ref());
        if let Some(domain) = cookie.and_then(|cookie| cookie.domain.as_ref()) {
            hosts.push(HostMatch::Exact(domain.clone()));
            hosts.push(HostMatch::Suffix([b".", &**domain].concat().into()));
        }
        for route in &config.routes {
            if pools(route)
                .any(|used| used.index == pool.index || used.failover.contains(&pool.index))
            {
                for block in &route.blocks {
                    match block.hosts.is_empty() {
                        true => hosts.push(HostMatch::Any),
                        false => hosts.extend(block.hosts.iter().cloned()),
                    }
                }
            }
        }
        hosts
    };
    let (one, other) = (hosts(one), hosts(other));
    one.iter().any(|one| {
        other
            .iter()
            .any(|other| request_set::hosts_overlap(one, other))
    })
}
