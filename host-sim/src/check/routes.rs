//! Routes: which can never match and which others take their requests, and conditions and keys that
//! do nothing.

use super::case::{self, RequestSet, ValueSource};
use super::pattern::{self, Plain};
use super::{Places, Warning, example, path};
use crate::exchange::ExchangeRequest;
use pointsman_core::config::Config;
use pointsman_core::index::RouteIndex;
use pointsman_core::route::condition::{Condition, Text};
use pointsman_core::route::index::Index;
use pointsman_core::route::{Action, Block, HostMatch, Route};
use std::collections::BTreeSet;

/// How many pairs of blocks are compared to find several routes that together take all requests of
/// another; a second or so. In tables of thousands of routes that overlap the rest is left unsaid.
const MOST_COMPARISONS: usize = 5_000_000;

/// How often a case is cut in two at a condition.
const MOST_CUTS: usize = 3;

/// Every warning about routes, in their order.
pub fn warnings(config: &Config, places: &Places) -> Vec<Warning> {
    let mut shadows = Shadows::new(config);
    let mut warnings = Vec::new();
    for (at, route) in config.routes.iter().enumerate() {
        let at = RouteIndex::new(at);
        let dead: Vec<Option<Dead>> = (0..route.blocks.len())
            .map(|block| shadows.dead(at, block))
            .collect();
        warnings.extend(unreachable(config, places, at, dead));
        for (number, block) in route.blocks.iter().enumerate() {
            let place = places.block(at, number);
            warnings.extend(repeated(&place, block));
            warnings.extend(simpler(&place, block));
        }
        warnings.extend(without_effect(&places.route(at), route));
    }
    warnings
}

/// Why a block matches nothing, or nothing that is left for it.
enum Dead {
    /// Its own conditions: where, and why.
    Contradiction { place: String, why: String },
    /// Every request goes to one of these routes, which stand before it: this one, for example, to
    /// the first that is named.
    Shadowed {
        by: BTreeSet<RouteIndex>,
        example: ExchangeRequest,
        taken_by: RouteIndex,
    },
    /// Every request that it matches is matched by other blocks before it, some of its own route.
    Repeated,
}

struct Entry<'c> {
    route: RouteIndex,
    case: RequestSet<'c>,
}

struct Shadows<'c> {
    config: &'c Config,
    index: Index,
    /// Every block so far, in order.
    before: Vec<Entry<'c>>,
    comparisons: usize,
}

impl<'c> Shadows<'c> {
    fn new(config: &'c Config) -> Shadows<'c> {
        Shadows {
            config,
            index: Index::new(&config.routes),
            before: Vec::new(),
            comparisons: 0,
        }
    }

    /// Looks at the next block.
    fn dead(&mut self, route: RouteIndex, block: usize) -> Option<Dead> {
        let conditions = &self.config.routes[route.get()].blocks[block];
        let case = RequestSet::of(conditions);
        let dead = contradiction(&case).or_else(|| self.shadowed(route, block, conditions, &case));
        self.before.push(Entry { route, case });
        dead
    }

    fn shadowed(
        &mut self,
        route: RouteIndex,
        number: usize,
        block: &'c Block,
        case: &RequestSet<'c>,
    ) -> Option<Dead> {
        let example = example::of(self.config, block)?;
        let found = example::taken_by(self.config, &self.index, &example)?;
        // Nearly always: the request shows that the block is reached.
        if (found.route, found.block) == (route, number) {
            return None;
        }
        let mut by = self.covering(case, MOST_CUTS)?;
        if by.remove(&route) || found.route == route {
            return Some(Dead::Repeated);
        }
        by.insert(found.route);
        Some(Dead::Shadowed {
            by,
            example,
            taken_by: found.route,
        })
    }

    /// The routes of blocks that together take every request of a case.
    fn covering(&mut self, case: &RequestSet<'c>, cuts: usize) -> Option<BTreeSet<RouteIndex>> {
        if let Some(entry) = self.before.iter().find(|entry| case.within(&entry.case)) {
            return Some(BTreeSet::from([entry.route]));
        }
        self.comparisons += self.before.len();
        if self.comparisons > MOST_COMPARISONS {
            return None;
        }
        if let Some(parts) = case.parts() {
            let mut all = BTreeSet::new();
            for part in &parts {
                all.extend(self.covering(part, cuts)?);
            }
            return Some(all);
        }
        // A block that would take all but for one need takes those that meet it; then others have
        // to take the rest.
        let cuts = cuts.checked_sub(1)?;
        let lacks_one = |entry: &Entry<'c>| {
            let needs = case.within_but_for(&entry.case, 1)?;
            Some((entry.route, *needs.first()?))
        };
        let halves: Vec<_> = self.before.iter().filter_map(lacks_one).collect();
        halves.into_iter().find_map(|(route, need)| {
            let mut all = self.covering(&case.without(need), cuts)?;
            all.insert(route);
            Some(all)
        })
    }
}

fn contradiction(case: &RequestSet) -> Option<Dead> {
    let at = |place: String, why: String| Some(Dead::Contradiction { place, why });
    if let Some(why) = case.path.and_then(path::never) {
        return at(".path".to_owned(), why);
    }
    let place = |need: &case::Requirement| format!(".{}[{}]", need.kind.key(), need.at);
    for need in &case.needs {
        if let Some(why) = need.never() {
            return at(place(need), why.to_owned());
        }
        let other = |method: &&[u8]| !need.text.is_some_and(|text| text.matches(method));
        let is_method = need.kind == ValueSource::Header
            && need.name == b":method"
            && need.some
            && need.text.is_some();
        if is_method && !case.methods.is_empty() && case.methods.iter().all(other) {
            return at(place(need), "it contradicts `methods` beside it".to_owned());
        }
    }
    let (earlier, later) = case.contradiction()?;
    at(
        place(later),
        format!("it contradicts {}", &place(earlier)[1..]),
    )
}

/// What is said of a route's dead blocks.
fn unreachable(
    config: &Config,
    places: &Places,
    at: RouteIndex,
    dead: Vec<Option<Dead>>,
) -> Vec<Warning> {
    let all = dead.iter().all(Option::is_some);
    let only_shadowed = all
        && !dead
            .iter()
            .flatten()
            .any(|dead| matches!(dead, Dead::Contradiction { .. }));
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
        for block in dead.into_iter().flatten() {
            if let Dead::Shadowed {
                by,
                example,
                taken_by,
            } = block
            {
                all_by.extend(by);
                shown.get_or_insert((example, taken_by));
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
    for (number, block) in dead.into_iter().enumerate() {
        let place = places.block(at, number);
        match block {
            None => {}
            Some(Dead::Contradiction { place: within, why }) => warnings.push(Warning::new(
                "contradiction",
                place + &within,
                format!("holds for no request, {what}"),
                why,
                "correct or remove it",
            )),
            Some(Dead::Shadowed {
                by,
                example,
                taken_by,
            }) => {
                warnings.push(shadow("unreachable_block", place, &by, example, taken_by));
            }
            Some(Dead::Repeated) => warnings.push(Warning::new(
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

/// Items of a block's lists that say nothing more than others.
fn repeated(place: &str, block: &Block) -> Vec<Warning> {
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
    let host = |inner: &HostMatch, outer: &HostMatch| case::host_within(inner, outer);
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
    for (at, by) in within_others(&block.client_ip, case::network_within) {
        note(
            "client_ip",
            at,
            format!("{} has these addresses too", block.client_ip[by]),
        );
    }
    // Of conditions all must hold: the one that asks for less is the one too many.
    let case = RequestSet::of(block);
    for (at, by) in within_others(&case.needs, |inner, outer| outer.implies(inner)) {
        let (need, by) = (&case.needs[at], &case.needs[by]);
        let why = format!("{}[{}] asks for that too", by.kind.key(), by.at);
        note(need.kind.key(), need.at, why);
    }
    warnings
}

/// The items that lie within another, each with that one; of two that are the same the later.
fn within_others<T>(items: &[T], within: impl Fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    // Lists are short where people write them; what a program has written need not be looked at in
    // quadratic time.
    const MOST: usize = 1000;
    if items.len() > MOST {
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

/// Regular expressions where something simpler says the same.
fn simpler(place: &str, block: &Block) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut note = |place: String, pattern: &str, instead: &str| {
        let found = format!("`{instead}` says the same as the regex {pattern}");
        warnings.push(Warning::new(
            "simpler",
            place,
            found,
            "it is easier to read, and found faster than a regular expression",
            &format!("write {instead}"),
        ));
    };
    if let Some(path) = &block.path
        && let Some(instead) = path::simpler(path)
        && let pointsman_core::route::path::PathKind::Regex(regex) = &path.kind
    {
        note(format!("{place}.path.regex"), regex.pattern(), &instead);
    }
    let lists = [
        (ValueSource::Header, &block.headers),
        (ValueSource::Cookie, &block.cookies),
        (ValueSource::Query, &block.query),
    ];
    for (kind, conditions) in lists {
        for (at, condition) in conditions.iter().enumerate() {
            if let (Text::Regex(regex), Some(instead)) = (&condition.text, simpler_text(condition))
            {
                note(
                    format!("{place}.{}[{at}].regex", kind.key()),
                    regex.pattern(),
                    &instead,
                );
            }
        }
    }
    warnings
}

fn simpler_text(condition: &Condition) -> Option<String> {
    let Text::Regex(regex) = &condition.text else {
        return None;
    };
    let quoted =
        |key: &str, text: Vec<u8>| Some(format!("{key}: {:?}", String::from_utf8(text).ok()?));
    match pattern::plain(regex.pattern())? {
        Plain::Exact(text) => quoted("exact", text),
        Plain::Prefix(text) => quoted("prefix", text),
        Plain::Suffix(text) => quoted("suffix", text),
        Plain::Contains(text) => quoted("contains", text),
        Plain::Any => Some("present: true".to_owned()),
        Plain::Segments(_) => None,
    }
}

/// Keys of a route that its action makes no use of.
fn without_effect(place: &str, route: &Route) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let answers = match &route.action {
        Action::Redirect(_) => "redirects",
        Action::Respond(_) => "responds",
        Action::Pool(_) | Action::Split(_) | Action::Pass => return warnings,
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
    if !route.rate_limits.is_empty() && matches!(route.action, Action::Redirect(_)) {
        warnings.push(Warning::new(
            "limit_on_redirect",
            format!("{place}.rate_limits"),
            "limits redirects",
            "a redirect costs no upstream anything, and the limit's bookkeeping costs more than the redirect",
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
