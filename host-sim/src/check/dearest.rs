//! The dearest request of a configuration: of requests that bring as much as the shipped edge lets
//! in, in all places that the configuration looks at, the one that takes the most steps.

use super::{Note, Warning, example};
use crate::exchange::{ExchangeRequest, shown};
use crate::explain;
use pointsman_core::config::Config;
use pointsman_core::http::key::KeyPart;
use pointsman_core::http::steps;
use pointsman_core::rate_limit::RateLimits;
use pointsman_core::route::condition::{Condition, Text};
use pointsman_core::route::index::Index;
use pointsman_core::route::r#match::Match;
use pointsman_core::route::parts::Parts;
use pointsman_core::route::path::PathKind;
use pointsman_core::route::rewrite::PathRewrite;
use pointsman_core::route::{Route, RouteAction};
use pointsman_core::siphash::Seed;
use std::collections::BTreeSet;

/// What the headers of a request have at most at the shipped edge, without what every request has.
const HEADERS: usize = 16 * 1024 - 512;

/// How many blocks are looked at, and how many places in them: a second or so. They are spread over
/// the file.
const MAX_BLOCKS: usize = 24;
const MAX_PLACES: usize = 24;

/// Below so many times an ordinary request it is not worth a line.
const WORTH_TELLING: f64 = 2.0;

/// The dearest request that was found.
pub(super) struct Dearest {
    /// How many times an ordinary request it costs.
    times: f64,
    /// What it brings.
    what: String,
}

/// Where a request can bring much.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Path,
    Header(Vec<u8>),
    Cookie(Vec<u8>),
    Query(Vec<u8>),
}

/// The dearest request. None: no request is dear.
pub(super) fn dearest(config: &Config) -> Option<Dearest> {
    let index = Index::new(&config.routes);
    let blocks: Vec<(&Route, &Match)> = config
        .routes
        .iter()
        .flat_map(|route| route.blocks.iter().map(move |block| (route, block)))
        .filter(|(route, block)| !places(route, block).is_empty())
        .collect();
    let mut dearest: Option<Dearest> = None;
    for (route, block) in blocks.iter().step_by(blocks.len() / MAX_BLOCKS + 1) {
        let Some(ordinary) = example::of(config, block) else {
            continue;
        };
        let own = places(route, block);
        // Those of other blocks too: what no block takes goes through all of them.
        let mut all: BTreeSet<_> = own.iter().cloned().collect();
        for (route, block) in blocks.iter().step_by(blocks.len() / MAX_PLACES + 1) {
            all.extend(places(route, block).into_iter().take(MAX_PLACES));
        }
        let before = cost(config, &index, &ordinary);
        for place in own.into_iter().chain(all).take(MAX_PLACES) {
            for (request, what) in filled(config, &ordinary, &place, block) {
                let times = cost(config, &index, &request) as f64 / before as f64;
                if dearest.as_ref().is_none_or(|dearest| dearest.times < times) {
                    dearest = Some(Dearest { times, what });
                }
            }
        }
    }
    dearest.filter(|dearest| dearest.times >= WORTH_TELLING)
}

impl Dearest {
    pub(super) fn note(self) -> Note {
        Note {
            place: "routes".to_owned(),
            kind: "dearest_request",
            found: format!(
                "the dearest request that was found costs {:.0} times an ordinary one: {}",
                self.times, self.what
            ),
        }
    }

    /// Whether it costs more than is promised.
    pub(super) fn is_too_dear(&self) -> bool {
        self.times > steps::TIMES as f64
    }

    pub(super) fn warning(self) -> Warning {
        Warning::new(
            "dear_request",
            "routes".to_owned(),
            format!("a request costs {:.0} times an ordinary one", self.times),
            format!("it brings {}, and many routes look at that", self.what),
            "let fewer routes look at it, behind conditions that cost nothing (hosts, paths), or \
             lower `max_value`",
        )
    }
}

/// What a block, and the route behind it, looks at.
fn places(route: &Route, block: &Match) -> Vec<Place> {
    let mut places = Vec::new();
    let path = block.path.as_ref().map(|path| &path.kind);
    let action = match &route.action {
        RouteAction::Redirect(redirect) => redirect.path.as_ref(),
        _ => None,
    };
    let rewrite = route
        .rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.path.as_ref());
    let searches = |path: Option<&PathRewrite>| matches!(path, Some(PathRewrite::Regex { .. }));
    if matches!(path, Some(PathKind::Regex(_) | PathKind::Template(_)))
        || searches(action)
        || searches(rewrite)
    {
        places.push(Place::Path);
    }
    let name = |condition: &Condition| condition.name.to_vec();
    let scans =
        |condition: &&Condition| matches!(condition.text, Text::Regex(_) | Text::Contains(_));
    places.extend(
        block
            .headers
            .iter()
            .filter(scans)
            .map(name)
            .map(Place::Header),
    );
    places.extend(block.cookies.iter().map(name).map(Place::Cookie));
    places.extend(block.query.iter().map(name).map(Place::Query));
    for part in route.rate_limits.iter().flat_map(|limit| limit.key()) {
        places.extend(match part {
            KeyPart::Header(name) => Some(Place::Header(name.to_vec())),
            KeyPart::Cookie(name) => Some(Place::Cookie(name.to_vec())),
            KeyPart::Query(name) => Some(Place::Query(name.to_vec())),
            _ => None,
        });
    }
    // A pseudo-header has a place of its own.
    places.retain(|place| !matches!(place, Place::Header(name) if name.starts_with(b":")));
    places.dedup();
    places
}

/// Requests that bring as much as they can in a place, and what that is.
fn filled(
    config: &Config,
    ordinary: &ExchangeRequest,
    place: &Place,
    block: &Match,
) -> Vec<(ExchangeRequest, String)> {
    let longest = (config.max_value as usize).min(HEADERS);
    let mut requests = Vec::new();
    let mut add = |text: &[u8], length: usize, change: &dyn Fn(&mut ExchangeRequest, Vec<u8>)| {
        let mut request = ordinary.clone();
        change(&mut request, text.repeat(length / text.len().max(1)));
        let place = match place {
            Place::Path => "the path".to_owned(),
            Place::Header(name) => format!("the header `{}`", shown(name)),
            Place::Cookie(_) => "`cookie`".to_owned(),
            Place::Query(_) => "the query".to_owned(),
        };
        let what = format!("{length} bytes of `{}` in {place}", shown(text));
        requests.push((request, what));
    };
    let header = |name: &[u8]| {
        let name = name.to_vec();
        move |request: &mut ExchangeRequest, value: Vec<u8>| {
            request.headers.retain(|(known, _)| *known != name);
            request.headers.push((name.clone(), value));
        }
    };
    // What its conditions begin with leads farther than other text.
    let words = |conditions: &[Condition]| {
        let texts = conditions
            .iter()
            .filter_map(|condition| condition.text.text());
        texts
            .map(<[u8]>::to_vec)
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
    };
    match place {
        Place::Path => {
            let path = |request: &mut ExchangeRequest, value: Vec<u8>| {
                request.target = [&b"/"[..], &value].concat();
            };
            let own = ordinary.target.split(|byte| *byte == b'?').next();
            let own = own.unwrap_or_default().to_vec();
            for text in [&b"a"[..], b"/", b"/a", &own] {
                for length in [longest - 1, HEADERS] {
                    add(text, length, &path);
                }
            }
        }
        Place::Header(name) => {
            for text in words(&block.headers)
                .iter()
                .map(|text| &text[..])
                .chain([&b"a"[..]])
            {
                add(text, longest, &header(name));
            }
        }
        Place::Cookie(name) => {
            add(&[name, &b"=a;"[..]].concat(), HEADERS, &header(b"cookie"));
            add(b"a=b;", HEADERS, &header(b"cookie"));
            add(b"a", longest, &|request, value| {
                header(b"cookie")(request, [name, &b"="[..], &value].concat());
            });
        }
        Place::Query(name) => {
            let query = |request: &mut ExchangeRequest, value: Vec<u8>| {
                request.target.push(if request.target.contains(&b'?') {
                    b'&'
                } else {
                    b'?'
                });
                request.target.extend(value);
            };
            add(&[name, &b"=a&"[..]].concat(), HEADERS, &query);
            add(b"a=%41&", HEADERS, &query);
            add(b"a", longest, &|request, value| {
                query(request, [name, &b"="[..], &value].concat());
            });
        }
    }
    requests
}

/// What a request takes, in steps: the conditions, and what the route that matches does.
fn cost(config: &Config, index: &Index, request: &ExchangeRequest) -> u64 {
    explain::with_request(config, request, |request, client| {
        let found = index.find(&config.routes, request, client);
        let route = found.and_then(|found| Some((found, config.route(found.route)?)));
        if let Some((found, route)) = route
            && let Some(block) = route.blocks.get(found.block)
        {
            let table = config.rate_limit_table;
            let limits = RateLimits::new(table, Seed::default(), config.scope.key());
            let reader = &mut limits.reader(request, None, &route.name);
            let mut buckets = Vec::new();
            for limit in &route.rate_limits {
                limits.buckets(limit, reader, &mut buckets);
            }
            let client = &mut || client.address();
            let mut parts = Parts::without_target(request, block, &route.name, client);
            if let Some(rewrite) = &route.rewrite {
                rewrite.apply(&mut parts);
            }
            if let RouteAction::Redirect(redirect) = &route.action {
                redirect.location(&mut parts);
            }
            let edits = std::iter::once(&route.request_headers);
            for edits in edits.chain(route.response_headers.as_deref()) {
                for edit in edits.iter() {
                    edit.map(|value| parts.header(value));
                }
            }
        }
        steps::REQUEST + request.steps.taken()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration;

    fn found(routes: &str) -> Option<Dearest> {
        let tree = configuration::parse(routes).unwrap();
        dearest(&Config::from_value(&tree).unwrap())
    }

    #[test]
    fn the_dearest_request_is_named_and_cheap_configurations_say_nothing() {
        let shop = "routes: [{ name: a, match: { hosts: [h], path: { prefix: /a } }, pass: true }]";
        assert!(found(shop).is_none());
        let route = |n: usize, test: &str| {
            format!("{{ name: r{n}, match: {{ headers: [{test}] }}, pass: true }}")
        };
        let many = |count: usize, test: &str| {
            let routes = (0..count).map(|n| route(n, &test.replace('N', &n.to_string())));
            let routes: Vec<_> = routes.collect();
            format!("routes: [{}]", routes.join(", "))
        };
        let bots = found(&many(30, "{ name: x, regex: \".*botN.*\" }")).unwrap();
        assert!((5.0..20.0).contains(&bots.times), "{}", bots.times);
        assert!(bots.what.ends_with("in the header `x`"), "{}", bots.what);
        assert!(!bots.is_too_dear());
    }
}
