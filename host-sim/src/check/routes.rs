//! Routes that can never match, with those that take their requests, and conditions and keys
//! without effect.

use super::candidates::{Candidates, TakenBy};
use super::request_set::{self, RequestSet, Requirement, ValueSource};
use super::values::ValueSet;
use super::{Note, Places, Warning, example, patterns, redirects};
use crate::exchange::ExchangeRequest;
use pointsman_core::config::Config;
use pointsman_core::index::RouteIndex;
use pointsman_core::route::host::HostMatch;
use pointsman_core::route::r#match::Match;
use pointsman_core::route::path::{PathKind, PathMatch};
use pointsman_core::route::{Route, RouteAction};
use std::collections::BTreeSet;
use std::rc::Rc;

/// The most pairs of blocks that are compared to find several routes that together take all
/// requests of another; a second or so. In tables of thousands of routes that overlap, some
/// warnings are therefore missing.
const MAX_COMPARISONS: usize = 5_000_000;

/// How often a set of requests is cut in two at a requirement.
const MAX_CUTS: usize = 3;

/// Every warning about routes, in their order, and a note where some were not looked for.
pub(super) fn warnings(config: &Config, places: &Places) -> (Vec<Warning>, Option<Note>) {
    let any_path = any_path();
    let mut earlier = EarlierBlocks::new(config, &any_path);
    let mut warnings = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let at = RouteIndex::new(at);
        let unreachable: Vec<Option<Unreachable>> = (0..route.blocks.len())
            .map(|block| earlier.add(at, block))
            .collect();
        warnings.extend(unreachable_warnings(config, places, at, unreachable));
        let without_path = std::mem::take(&mut earlier.without_path);
        warnings.extend(
            without_path
                .into_iter()
                .map(|block| block.warning(config, places, at)),
        );
        for (number, block) in route.blocks.iter().enumerate() {
            let place = places.block(at, number);
            warnings.extend(repeated(&place, block));
            warnings.extend(patterns::warnings(&place, block));
        }
        warnings.extend(without_effect(&places.route(at), route));
    }
    warnings.extend(redirects::warnings(config, &earlier.candidates, places));
    let note = (earlier.left_out > 0).then(|| Note {
        place: "routes".to_owned(),
        kind: "not_compared",
        found: format!(
            "of {} blocks was not looked for earlier ones that take all of their requests: there \
             are too many that differ in no host, path or header",
            earlier.left_out
        ),
    });
    (warnings, note)
}

/// Why a block never matches.
enum Unreachable {
    /// A condition of its own holds for no request: where it stands, and why.
    Contradiction { place: String, why: String },
    /// Earlier routes take every request that it would match.
    Shadowed {
        by: BTreeSet<RouteIndex>,
        /// A request that it would match, and the route that takes that.
        example: Box<ExchangeRequest>,
        taken_by: RouteIndex,
    },
    /// Earlier blocks, some of its own route, match every request that it would match.
    Repeated,
}

/// A block of a route that only requests without a path reach, because of routes before it.
struct WithoutPath {
    block: usize,
    by: BTreeSet<RouteIndex>,
    /// A request with a path that it would match, and the route that takes that.
    example: Box<ExchangeRequest>,
    taken_by: RouteIndex,
}

impl WithoutPath {
    fn warning(self, config: &Config, places: &Places, at: RouteIndex) -> Warning {
        let name = |by: &RouteIndex| config.routes[by.get()].name.to_string();
        let shown = |by: &RouteIndex| format!("`{}` ({})", name(by), places.route(*by));
        let shown: Vec<_> = self.by.iter().map(shown).collect();
        Warning {
            example: Some((*self.example, name(&self.taken_by))),
            shadowed_by: self.by.iter().map(name).collect(),
            ..Warning::new(
                "only_without_path",
                places.block(at, self.block),
                "matches nothing but CONNECT and `OPTIONS *`",
                format!(
                    "every request with a path that it matches is taken before it by {}",
                    listed(&shown)
                ),
                "put it before them, or say which `methods` it is for",
            )
        }
    }
}

/// `path: { prefix: / }`: any path. CONNECT has none, and the `*` of OPTIONS is none.
fn any_path() -> PathMatch {
    PathMatch {
        kind: PathKind::Prefix(Box::default()),
        ignore_case: false,
    }
}

/// The blocks that a block is compared with.
struct EarlierBlocks<'c> {
    config: &'c Config,
    any_path: &'c PathMatch,
    /// Of the last route: its blocks that only requests without a path reach.
    without_path: Vec<WithoutPath>,
    candidates: Candidates<'c>,
    /// The blocks in order, each with its route and the requests that it matches.
    blocks: Vec<(RouteIndex, RequestSet<'c>)>,
    /// How many pairs of blocks have been compared.
    comparisons: usize,
    /// Of how many blocks it is not known whether others take their requests.
    left_out: usize,
}

impl<'c> EarlierBlocks<'c> {
    fn new(config: &'c Config, any_path: &'c PathMatch) -> EarlierBlocks<'c> {
        EarlierBlocks {
            config,
            any_path,
            without_path: Vec::new(),
            candidates: Candidates::new(&config.routes),
            blocks: Vec::new(),
            comparisons: 0,
            left_out: 0,
        }
    }

    /// Adds the next block, and says why it never matches. None: it may.
    fn add(&mut self, route: RouteIndex, number: usize) -> Option<Unreachable> {
        let block = &self.config.routes[route.get()].blocks[number];
        let set = RequestSet::of(block);
        let unreachable = contradiction(&set).or_else(|| self.shadowed(route, number, block, &set));
        self.blocks.push((route, set));
        unreachable
    }

    fn shadowed(
        &mut self,
        route: RouteIndex,
        number: usize,
        block: &'c Match,
        set: &RequestSet<'c>,
    ) -> Option<Unreachable> {
        let example = example::of(self.config, block)?;
        let found = match example::taken_by(self.config, &self.candidates, &example) {
            TakenBy::Known(found) => found?,
            TakenBy::Unknown => {
                self.left_out += 1;
                return None;
            }
        };
        // For nearly all blocks the example shows that they are reached.
        if (found.route, found.block) == (route, number) {
            return None;
        }
        let mut by = match self.covering(set, MAX_CUTS) {
            Some(by) => by,
            None => {
                self.left_out += usize::from(self.comparisons > MAX_COMPARISONS);
                let by = self.covering_paths(route, set);
                if let Some(mut by) = by.filter(|_| found.route != route) {
                    by.insert(found.route);
                    self.without_path.push(WithoutPath {
                        block: number,
                        by,
                        example: Box::new(example),
                        taken_by: found.route,
                    });
                }
                return None;
            }
        };
        if by.remove(&route) || found.route == route {
            return Some(Unreachable::Repeated);
        }
        by.insert(found.route);
        Some(Unreachable::Shadowed {
            by,
            example: Box::new(example),
            taken_by: found.route,
        })
    }

    /// The routes before this one that together match every request of a set that has a path, where
    /// the set is neither about those without nor about all.
    fn covering_paths(
        &mut self,
        route: RouteIndex,
        set: &RequestSet<'c>,
    ) -> Option<BTreeSet<RouteIndex>> {
        let has_path = |method: &&[u8]| !matches!(*method, b"CONNECT" | b"OPTIONS");
        let is_for_others = set.methods.is_empty() || set.methods.iter().any(has_path);
        // A route for everything takes what is left, and says so.
        let everything = Match::default();
        let is_for_all = RequestSet::of(&everything).is_within(set);
        if set.path.is_some() || !is_for_others || is_for_all {
            return None;
        }
        let with_path = RequestSet {
            path: Some(Rc::new(ValueSet::of_path(self.any_path))),
            ..set.clone()
        };
        let by = self.covering(&with_path, MAX_CUTS)?;
        (!by.contains(&route)).then_some(by)
    }

    /// The routes of blocks that together match every request of a set. None: none are found.
    fn covering(&mut self, set: &RequestSet<'c>, cuts: usize) -> Option<BTreeSet<RouteIndex>> {
        if self.comparisons > MAX_COMPARISONS {
            return None;
        }
        let covers = |(_, block): &(RouteIndex, RequestSet<'c>)| set.is_within(block);
        let at = self.blocks.iter().position(covers);
        self.comparisons += at.unwrap_or(self.blocks.len());
        if let Some((route, _)) = at.and_then(|at| self.blocks.get(at)) {
            return Some(BTreeSet::from([*route]));
        }
        if let Some(parts) = set.parts() {
            let mut all = BTreeSet::new();
            for part in &parts {
                all.extend(self.covering(part, cuts)?);
            }
            return Some(all);
        }
        // A block that would match all but for one requirement matches the requests that meet it;
        // others have to match the rest.
        let cuts = cuts.checked_sub(1)?;
        let lacks_one = |(route, block): &(RouteIndex, RequestSet<'c>)| {
            let unmet = set.unmet_within(block, 1)?;
            Some((*route, unmet.into_iter().next()?))
        };
        let halves: Vec<_> = self.blocks.iter().filter_map(lacks_one).collect();
        halves.into_iter().find_map(|(route, requirement)| {
            let mut all = self.covering(&set.without(requirement), cuts)?;
            all.insert(route);
            Some(all)
        })
    }
}

fn contradiction(set: &RequestSet) -> Option<Unreachable> {
    let at = |place: String, why: String| Some(Unreachable::Contradiction { place, why });
    if let Some(why) = set.path.as_ref().and_then(|path| path.why_no_path()) {
        return at(".path".to_owned(), why);
    }
    let place = |requirement: &Requirement| {
        format!(".{}[{}]", requirement.source.key(), requirement.position)
    };
    for requirement in &set.requirements {
        if let Some(why) = requirement.why_never() {
            return at(place(requirement), why.to_owned());
        }
        let is_on_method = requirement.source == ValueSource::Header
            && requirement.name == b":method"
            && requirement.some;
        let accepts_any = set.methods.iter().any(|method| requirement.accepts(method));
        if is_on_method && !set.methods.is_empty() && !accepts_any {
            return at(
                place(requirement),
                "it contradicts `methods` beside it".to_owned(),
            );
        }
    }
    let (earlier, later) = set.contradiction()?;
    at(
        place(later),
        format!("it contradicts {}", &place(earlier)[1..]),
    )
}

/// The warnings about a route's blocks, each with why it never matches.
fn unreachable_warnings(
    config: &Config,
    places: &Places,
    at: RouteIndex,
    blocks: Vec<Option<Unreachable>>,
) -> Vec<Warning> {
    let all = blocks.iter().all(Option::is_some);
    let is_contradiction = |block: &Unreachable| matches!(block, Unreachable::Contradiction { .. });
    let only_shadowed = all && !blocks.iter().flatten().any(is_contradiction);
    let names = |by: &BTreeSet<RouteIndex>| {
        by.iter()
            .map(|by| config.routes[by.get()].name.to_string())
            .collect::<Vec<_>>()
    };
    let shadow = |kind,
                  place: String,
                  by: &BTreeSet<RouteIndex>,
                  example: ExchangeRequest,
                  taken_by: RouteIndex| {
        let shown: Vec<_> = by
            .iter()
            .map(|by| format!("`{}` ({})", config.routes[by.get()].name, places.route(*by)))
            .collect();
        let why = format!(
            "every request that it matches is taken before it by {}",
            listed(&shown)
        );
        Warning {
            example: Some((example, config.routes[taken_by.get()].name.to_string())),
            shadowed_by: names(by),
            ..Warning::new(
                kind,
                place,
                "can never match",
                why,
                "put it before them, ask for more in the earlier match, or remove it",
            )
        }
    };
    if only_shadowed {
        let mut all_by = BTreeSet::new();
        let mut shown = None;
        for block in blocks.into_iter().flatten() {
            if let Unreachable::Shadowed {
                by,
                example,
                taken_by,
            } = block
            {
                all_by.extend(by);
                shown.get_or_insert((*example, taken_by));
            }
        }
        let name = &config.routes[at.get()].name;
        let warning = shown.map(|(example, taken_by)| {
            let place = places.route(at);
            let warning = shadow("unreachable_route", place, &all_by, example, taken_by);
            Warning {
                found: format!("the route `{name}` can never match"),
                ..warning
            }
        });
        return warning.into_iter().collect();
    }
    let what = if all {
        "so the route can never match"
    } else {
        "so this block can never match"
    };
    let mut warnings = Vec::new();
    for (number, block) in blocks.into_iter().enumerate() {
        let place = places.block(at, number);
        match block {
            None => {}
            Some(Unreachable::Contradiction { place: within, why }) => warnings.push(Warning::new(
                "contradiction",
                place + &within,
                format!("holds for no request, {what}"),
                why,
                "correct or remove it",
            )),
            Some(Unreachable::Shadowed {
                by,
                example,
                taken_by,
            }) => {
                warnings.push(shadow("unreachable_block", place, &by, *example, taken_by));
            }
            Some(Unreachable::Repeated) => warnings.push(Warning::new(
                "repeated",
                place,
                "adds nothing",
                "every request that it matches is matched by a block before it",
                "remove it",
            )),
        }
    }
    warnings
}

/// Items of a block's lists that change nothing beside others.
fn repeated(place: &str, block: &Match) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut note = |key: &str, at: usize, why: String| {
        let place = format!("{place}.{key}[{at}]");
        warnings.push(Warning::new(
            "repeated",
            place,
            "adds nothing",
            why,
            "remove it",
        ));
    };
    let host = |inner: &HostMatch, outer: &HostMatch| request_set::host_within(inner, outer);
    for (at, by) in within_others(&block.hosts, host) {
        note(
            "hosts",
            at,
            format!("{} takes these hosts too", block.hosts[by]),
        );
    }
    for (at, by) in within_others(&block.methods, |inner, outer| inner == outer) {
        note("methods", at, format!("methods[{by}] is the same"));
    }
    for (at, by) in within_others(&block.client_ip, request_set::network_within) {
        note(
            "client_ip",
            at,
            format!("{} has these addresses too", block.client_ip[by]),
        );
    }
    if let Some(tls) = &block.tls {
        for (at, by) in within_others(&tls.sni, host) {
            note(
                "tls.sni",
                at,
                format!("{} takes these names too", tls.sni[by]),
            );
        }
        for (at, by) in within_others(&tls.peer, request_set::peer_within) {
            note(
                "tls.peer",
                at,
                format!("{} takes these URIs too", tls.peer[by]),
            );
        }
    }
    // All conditions must hold, so the one that follows from another is superfluous.
    let set = RequestSet::of(block);
    let requirements = &set.requirements;
    for (at, by) in within_others(requirements, |inner, outer| outer.implies(inner)) {
        let (one, by) = (&requirements[at], &requirements[by]);
        let why = format!("{}[{}] asks for that too", by.source.key(), by.position);
        note(one.source.key(), one.position, why);
    }
    warnings
}

/// The items that lie within another, each with that one; of two equal ones the later.
fn within_others<T>(items: &[T], within: impl Fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    // The comparison takes quadratic time. Lists that people write are short, and longer ones need
    // no warning.
    const MAX_ITEMS: usize = 1000;
    if items.len() > MAX_ITEMS {
        return Vec::new();
    }
    let by = |(at, item): (usize, &T)| {
        let mut others = items.iter().enumerate();
        let (by, _) = others.find(|(other, outer)| {
            *other != at && within(item, outer) && (*other < at || !within(outer, item))
        })?;
        Some((at, by))
    };
    items.iter().enumerate().filter_map(by).collect()
}

/// Keys of a route that have no effect on its action.
fn without_effect(place: &str, route: &Route) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let answers = match &route.action {
        RouteAction::Redirect(_) => "redirects",
        RouteAction::Respond(_) => "responds",
        RouteAction::Pool(_) | RouteAction::Split(_) | RouteAction::Pass => return warnings,
    };
    let why = format!("the route {answers}: nothing is sent on");
    let mut note = |key: &str| {
        let place = format!("{place}.{key}");
        warnings.push(Warning::new(
            "no_effect",
            place,
            "has no effect",
            &why,
            "remove it",
        ));
    };
    if route.rewrite.is_some() {
        note("rewrite");
    }
    if route.request_headers.iter().next().is_some() {
        note("request_headers");
    }
    if let Some(options) = &route.router_options {
        if options.timeout().is_some() {
            note("timeout");
        }
        if options.retry().is_some() {
            note("retry");
        }
    }
    if route.mirror.is_some() {
        note("mirror");
    }
    if !route.rate_limits.is_empty() && matches!(route.action, RouteAction::Redirect(_)) {
        warnings.push(Warning::new(
            "limit_on_redirect",
            format!("{place}.rate_limits"),
            "limits redirects",
            "a redirect costs no upstream anything, and the limit's bookkeeping costs more than \
             the redirect",
            "put the limit on the routes to which the clients are redirected",
        ));
    }
    warnings
}

/// `a, b and c`
fn listed(names: &[String]) -> String {
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration;

    /// Each route is tested once or twice and compared with none: the time grows with the table and
    /// not with its square.
    #[test]
    fn a_large_table_is_not_compared_with_itself() {
        const ROUTES: usize = 3_000;
        let route = |number: usize| {
            format!(
                "{{ name: r{number}, match: {{ hosts: [h{0}.test, \"*.h{0}.test\"], path: {{ prefix: /p{number} }}, methods: [GET, POST] }}, pass: true }}",
                number / 10
            )
        };
        let routes: Vec<_> = (0..ROUTES).map(route).collect();
        let tree = configuration::parse(&format!("routes: [{}]", routes.join(", "))).unwrap();
        let config = Config::from_value(&tree).unwrap();
        let any_path = any_path();
        let mut earlier = EarlierBlocks::new(&config, &any_path);
        let tests = earlier.candidates.tests_left.get();
        for route in 0..ROUTES {
            assert!(earlier.add(RouteIndex::new(route), 0).is_none());
        }
        let tests = tests - earlier.candidates.tests_left.get();
        assert!((1..=2 * ROUTES).contains(&tests), "{tests}");
        assert_eq!((earlier.comparisons, earlier.left_out), (0, 0));
    }

    #[test]
    fn what_is_not_compared_is_told() {
        let text = "routes: [{ name: a, pass: true }, { name: b, pass: true }]";
        let tree = configuration::parse(text).unwrap();
        let config = Config::from_value(&tree).unwrap();
        let found = |tests: Option<usize>| {
            let any_path = any_path();
            let mut earlier = EarlierBlocks::new(&config, &any_path);
            if let Some(tests) = tests {
                earlier.candidates.tests_left.set(tests);
            }
            let blocks = [0, 1].map(|route| earlier.add(RouteIndex::new(route), 0).is_some());
            (blocks, earlier.left_out)
        };
        assert_eq!(found(None), ([false, true], 0));
        assert_eq!(found(Some(1)), ([false, false], 1));
    }
}
