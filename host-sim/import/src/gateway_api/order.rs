//! The specification's precedence, turned into an order.
//!
//! For each host name first those routes that have it, then wildcards by their length, then routes
//! for every host. Within a host name: an exact path, a pattern, the longest prefix; then a method,
//! more headers, more query parameters; then the oldest route, by name, and the place in it. A
//! request that no route of its own host name takes falls through to those of wildcards, as the
//! specification's "precedence must be given" reads. (Envoy Gateway and Istio answer 404 then.)

use super::route::{Route, Rule};
use crate::fields::Report;
use crate::output::Entry;
use crate::pools::Names;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The routes without those that stand back: where the host names of an `HTTPRoute` and a
/// `GRPCRoute` of one listener meet, the specification accepts the older one only.
pub(super) fn accepted(mut routes: Vec<Route>, report: &Report) -> Vec<Route> {
    routes.sort_by(|one, other| age(one).cmp(&age(other)));
    let mut accepted: Vec<Route> = Vec::new();
    for route in routes {
        let older = accepted.iter().find(|other| {
            other.kind != route.kind && other.attached == route.attached && meet(other, &route)
        });
        match older {
            None => accepted.push(route),
            Some(older) => report.add(
                route.title(),
                format!(
                    "its host names meet those of {}, which is older: where the kinds differ the \
                     specification accepts that one only",
                    older.title()
                ),
            ),
        }
    }
    accepted
}

/// Older ones first. Of what has no date nothing is known.
fn age(route: &Route) -> (bool, &str, &str, &str) {
    (
        route.created.is_empty(),
        &route.created,
        &route.namespace,
        &route.name,
    )
}

/// Whether a request can be for both.
fn meet(one: &Route, other: &Route) -> bool {
    let all =
        |route: &Route| route.hostnames.is_empty() || route.hostnames.iter().any(|it| it == "*");
    all(one)
        || all(other)
        || one
            .hostnames
            .iter()
            .any(|one| other.hostnames.iter().any(|other| hosts_meet(one, other)))
}

fn hosts_meet(one: &str, other: &str) -> bool {
    // What a wildcard stands for is not empty: `.a` alone is no host of `*.a`.
    let within = |host: &str, wild: &str| {
        wild.strip_prefix('*')
            .is_some_and(|suffix| host.ends_with(suffix) && host.len() > suffix.len())
    };
    one == other || within(one, other) || within(other, one)
}

/// Which requests a group of routes is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hosts {
    /// A name, or several that the same routes have.
    Exact,
    /// Of this many characters, the longest first.
    Wild(Reverse<usize>),
    Any,
}

/// The routes of the configuration, in their order.
pub(super) fn entries(routes: &[Route]) -> Vec<Entry> {
    let mut of_host: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut of_all = Vec::new();
    for (at, route) in routes.iter().enumerate() {
        let is_for_all = route.hostnames.is_empty() || route.hostnames.iter().any(|it| it == "*");
        if is_for_all {
            of_all.push(at);
        }
        for host in route.hostnames.iter().filter(|host| *host != "*") {
            let routes = of_host.entry(host).or_default();
            if routes.last() != Some(&at) {
                routes.push(at);
            }
        }
    }
    // Names that exclude each other (exact ones, wildcards of one length) and have the same routes
    // are written together.
    let mut groups: BTreeMap<(Hosts, Vec<usize>), Vec<&str>> = BTreeMap::new();
    for (host, routes) in of_host {
        let hosts = match host {
            _ if host.starts_with('*') => Hosts::Wild(Reverse(host.chars().count())),
            _ => Hosts::Exact,
        };
        groups.entry((hosts, routes)).or_default().push(host);
    }
    if !of_all.is_empty() {
        groups.insert((Hosts::Any, of_all), Vec::new());
    }
    let mut names = Names::default();
    let mut entries = Vec::new();
    for ((_, members), hosts) in &groups {
        let members = members.iter().map(|at| &routes[*at]);
        of_group(members, hosts, &mut names, &mut entries);
    }
    entries
}

/// Adds the routes of some hosts.
fn of_group<'r>(
    members: impl Iterator<Item = &'r Route>,
    hosts: &[&str],
    names: &mut Names,
    entries: &mut Vec<Entry>,
) {
    let mut matches = Vec::new();
    // Routes come by their age, and their rules and matches in their order: a stable sort keeps it.
    for route in members {
        for rule in &route.rules {
            matches.extend(rule.matches.iter().map(|one| (route, rule, one)));
        }
    }
    matches.sort_by_key(|(_, _, one)| Reverse(one.precedence));
    let same = |one: (&Route, &Rule), other: (&Route, &Rule)| {
        std::ptr::eq(one.0, other.0) && std::ptr::eq(one.1, other.1)
    };
    // Matches of one rule that stand together are one route.
    for together in matches.chunk_by(|one, other| same((one.0, one.1), (other.0, other.1))) {
        let (route, rule, _) = together[0];
        let blocks = together.iter().map(|(_, _, one)| {
            let mut block = one.block.clone();
            if !hosts.is_empty() {
                block.insert("hosts".into(), json!(hosts));
            }
            Value::Object(block)
        });
        let mut blocks: Vec<Value> = blocks.collect();
        blocks.dedup();
        let mut value = rule.value.clone();
        let matched = match blocks.len() {
            1 => blocks.remove(0),
            _ => blocks.into(),
        };
        value.insert("match".into(), matched);
        let said = match &rule.name {
            Some(name) => format!(" ({name})"),
            None => String::new(),
        };
        let short = match &rule.name {
            Some(name) => name.clone(),
            None => rule.number.to_string(),
        };
        entries.push(Entry {
            comments: vec![format!(
                "from: {} rule {}{said}",
                route.title(),
                rule.number
            )],
            name: names.unique(&format!("{}/{}/{short}", route.namespace, route.name)),
            value,
        });
    }
}
