//! The section `routes`.

use super::edit::{request_headers, response_headers};
use super::hash::Canonical;
use super::known::Known;
use super::limits;
use super::r#match::blocks;
use super::mirror::mirror;
use super::parts::Matched;
use super::pass::pass;
use super::problem::Problems;
use super::reader::{Map, Node, Report};
use super::redirect::redirect;
use super::respond::respond;
use super::rewrite::rewrite;
use super::router_options::router_options;
use super::split::split;
use super::syntax;
use super::value::Value;
use crate::protect::Protect;
use crate::rate_limit::RateLimit;
use crate::route::r#match::Match;
use crate::route::{Route, RouteAction};
use fnv::FnvHashMap;
use std::rc::Rc;

/// Reads the items of `routes` one by one, and hands them over. With 10,000 routes their trees
/// together would take three times the memory of the configuration that becomes of them, and a VM
/// never gives memory back.
pub(super) type ReadRoutes<'s> = dyn FnMut(&mut dyn FnMut(Value)) -> Result<(), Problems> + 's;

/// The names of routes, with the place of each.
type Names = FnvHashMap<Box<str>, usize>;

/// Reads `routes`.
pub(super) fn routes(list: &Node<'_>, known: &Known<'_>, report: &mut Report) -> Vec<Route> {
    let mut names = Names::default();
    list.list(report, "a list of routes", limits::MAX_ROUTES)
        .filter_map(|node| route(&node, known, &mut names, report))
        .collect()
}

/// The same where the `count` items are not in the tree.
pub(super) fn read_routes(
    list: &Node<'_>,
    count: usize,
    read: &mut ReadRoutes<'_>,
    hash: &mut Canonical,
    known: &Known<'_>,
    report: &mut Report,
) -> Result<Vec<Route>, Problems> {
    let mut routes = Vec::new();
    let memory = limits::ITEM_MEMORY.saturating_mul(count);
    if list.are_few(count, limits::MAX_ROUTES, report) && report.has_room(list, memory) {
        let mut names = Names::default();
        let mut position = 0;
        routes.reserve_exact(count);
        read(&mut |value| {
            hash.route(&value);
            routes.extend(route(
                &list.item(&value, position),
                known,
                &mut names,
                report,
            ));
            position += 1;
        })?;
    }
    Ok(routes)
}

const ACTIONS: &[&str] = &["pool", "split", "redirect", "respond", "pass"];

fn route(
    node: &Node<'_>,
    known: &Known<'_>,
    names: &mut Names,
    report: &mut Report,
) -> Option<Route> {
    let map = node.map(
        report,
        &[
            "name",
            "match",
            "rate_limits",
            "protect",
            "request_headers",
            "response_headers",
            "rewrite",
            "timeout",
            "retry",
            "mirror",
            "pool",
            "split",
            "redirect",
            "respond",
            "pass",
        ],
    )?;
    report.has_room(node, limits::ROUTE_MEMORY);
    let name = name(&map, names, report);
    let problems = report.len();
    let match_node = map.get("match");
    let blocks = match &match_node {
        Some(node) => blocks(node, report),
        None => vec![Match::default()],
    };
    let matched = Matched {
        node: match_node.unwrap_or(*node),
        blocks: (report.len() == problems).then_some(&blocks),
    };
    let rate_limits = map
        .get("rate_limits")
        .map(|node| limits(&node, known, report));
    let protect = map
        .get("protect")
        .map(|node| protects(&node, known, report));
    let rewrite = map
        .get("rewrite")
        .and_then(|node| rewrite(&node, &matched, report));
    let router_options = router_options(&map, report);
    let mirror = map
        .get("mirror")
        .and_then(|node| mirror(&node, known, report));
    let action = map
        .exactly_one(report, ACTIONS)
        .and_then(|node| action(&node, &matched, known, report));
    let edits = map.get("request_headers");
    let request_headers = request_headers(edits, known.upstream, &matched, report);
    let response_headers = response_headers(map.get("response_headers"), &matched, report);
    Some(Route {
        name: name?.into(),
        rate_limits: rate_limits.unwrap_or_default(),
        protect: protect.unwrap_or_default(),
        request_headers,
        response_headers,
        rewrite,
        router_options,
        mirror,
        action: action?,
        blocks,
    })
}

fn name<'n>(map: &Map<'n>, names: &mut Names, report: &mut Report) -> Option<&'n str> {
    let node = map.need(report, "name", syntax::NAME)?;
    let name = node.text_that(report, syntax::is_name, syntax::NAME)?;
    match names.get(name) {
        None => {
            names.insert(name.into(), map.node().position());
        }
        Some(other) => {
            let found = format!("{} is the name of routes[{other}] too", node.shown());
            report.note(&node, &found, "a name of its own");
        }
    }
    Some(name)
}

fn limits(list: &Node<'_>, known: &Known<'_>, report: &mut Report) -> Vec<Rc<RateLimit>> {
    let mut limits: Vec<Rc<RateLimit>> = Vec::new();
    for node in list.list(report, "a list of rate limits", limits::MAX_ROUTE_LIMITS) {
        let Some(limit) = known.rate_limits.named(&node, "rate limit", report) else {
            continue;
        };
        if limits.iter().any(|other| other.index() == limit.index()) {
            let found = format!("{} a second time", node.shown());
            report.note(&node, &found, "each limit at most once");
        }
        limits.push(limit);
    }
    limits
}

fn protects(list: &Node<'_>, known: &Known<'_>, report: &mut Report) -> Box<[Rc<Protect>]> {
    let nodes = list.list(report, "a list of protections", limits::MAX_ROUTE_PROTECTS);
    nodes
        .filter_map(|node| known.protects.named(&node, "protection", report))
        .collect()
}

fn action(
    node: &Node<'_>,
    matched: &Matched<'_>,
    known: &Known<'_>,
    report: &mut Report,
) -> Option<RouteAction> {
    match node.key() {
        "pool" => known
            .pools
            .named(node, "pool", report)
            .map(RouteAction::Pool),
        "split" => Some(RouteAction::Split(split(node, matched, known, report))),
        "redirect" => redirect(node, matched, report).map(|to| RouteAction::Redirect(Box::new(to))),
        "respond" => respond(node, report).map(RouteAction::Respond),
        _ => pass(node, report).map(|()| RouteAction::Pass),
    }
}
