//! The blocks that may match a request, without a look at all others.
//!
//! The filter's own index goes by hosts and by what paths begin with. Where thousands of routes
//! differ in neither, a request has to be compared with all of them, and a check of each route
//! with each earlier one would take quadratic time. Here a block is found by any text that a
//! request must have to match it: a host, what its path begins with, a text that a regular
//! expression asks for somewhere in the path, or the value of a header. Of several the one is
//! taken that the fewest blocks ask for. A block is tested in full once it is found, so all that
//! must hold is that none is missing; a test compares this with the filter's index.

use super::language;
use pointsman_core::http::request::Request;
use pointsman_core::index::RouteIndex;
use pointsman_core::route::condition::Text;
use pointsman_core::route::host::HostMatch;
use pointsman_core::route::r#match::{AskConnection, Match};
use pointsman_core::route::path::{PathKind, PathMatch, Segment};
use pointsman_core::route::{Found, Route};
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};

/// How many blocks are tested for all requests together: a second or two. Only tables of thousands
/// of routes that have nothing to be found by need more.
const MAX_TESTS: usize = 10_000_000;

/// The blocks of a configuration.
pub(super) struct Candidates<'c> {
    routes: &'c [Route],
    /// Those that ask for a feature, in order.
    by_feature: HashMap<Feature, Vec<Place>>,
    /// Those that ask for none.
    others: Vec<Place>,
    /// How long the texts are that paths must have somewhere.
    lengths: BTreeSet<usize>,
    /// How many blocks may still be tested.
    pub tests_left: Cell<usize>,
}

/// A route and one of its blocks: these compare in the order of the configuration.
type Place = (usize, usize);

/// Something that a request has, in lower case where a block may ask for it so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Feature {
    Host(Vec<u8>),
    /// Of a host, with its dot: `.example.com`
    HostEnd(Vec<u8>),
    /// All of a path, or its first segments.
    PathStart(Vec<u8>),
    /// Somewhere in a path.
    PathPart(Vec<u8>),
    /// The name of a header, and one of its values.
    Header(Vec<u8>, Vec<u8>),
}

/// Who takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakenBy {
    /// The first block that matches it, if one does.
    Known(Option<Found>),
    /// [`MAX_TESTS`] are used up.
    Unknown,
}

impl<'c> Candidates<'c> {
    pub(super) fn new(routes: &'c [Route]) -> Candidates<'c> {
        let blocks = routes.iter().enumerate().flat_map(|(route, it)| {
            let blocks = it.blocks.iter().enumerate();
            blocks.map(move |(number, block)| ((route, number), lists(block)))
        });
        let blocks: Vec<_> = blocks.collect();
        let mut counts: HashMap<&Feature, usize> = HashMap::new();
        for feature in blocks.iter().flat_map(|(_, lists)| lists.iter().flatten()) {
            *counts.entry(feature).or_default() += 1;
        }
        let count = |list: &&Vec<Feature>| list.iter().map(|it| counts[it]).sum::<usize>();
        let mut candidates = Candidates {
            routes,
            by_feature: HashMap::new(),
            others: Vec::new(),
            lengths: BTreeSet::new(),
            tests_left: Cell::new(MAX_TESTS),
        };
        for (place, lists) in &blocks {
            let Some(rarest) = lists.iter().min_by_key(count) else {
                candidates.others.push(*place);
                continue;
            };
            for feature in rarest {
                if let Feature::PathPart(text) = feature {
                    candidates.lengths.insert(text.len());
                }
                let list = candidates.by_feature.entry(feature.clone()).or_default();
                list.push(*place);
            }
        }
        candidates
    }

    /// The first block that matches.
    pub(super) fn find(&self, request: &Request, client: &mut dyn AskConnection) -> TakenBy {
        let mut found: Vec<Place> = Vec::new();
        let mut look_up = |feature: Feature| {
            found.extend(self.by_feature.get(&feature).into_iter().flatten());
        };
        let host = request.host().to_ascii_lowercase();
        for at in (1..host.len()).filter(|at| host[*at] == b'.') {
            look_up(Feature::HostEnd(host[at..].to_vec()));
        }
        look_up(Feature::Host(host));
        let path = request.path.to_ascii_lowercase();
        for at in (0..path.len()).filter(|at| path[*at] == b'/') {
            look_up(Feature::PathStart(path[..at].to_vec()));
        }
        for length in self.lengths.iter().filter(|length| **length <= path.len()) {
            let parts = path.windows(*length);
            parts.for_each(|part| look_up(Feature::PathPart(part.to_vec())));
        }
        look_up(Feature::PathStart(path));
        for (name, value) in request.headers.iter() {
            look_up(Feature::Header(name.to_vec(), value.to_vec()));
        }
        found.sort_unstable();
        found.dedup();
        let (mut found, mut others) = (found.iter().peekable(), self.others.iter().peekable());
        loop {
            let next = match (found.peek(), others.peek()) {
                (Some(one), Some(other)) if one < other => found.next(),
                (Some(_), None) => found.next(),
                _ => others.next(),
            };
            let Some((route, block)) = next else {
                return TakenBy::Known(None);
            };
            let Some(left) = self.tests_left.get().checked_sub(1) else {
                return TakenBy::Unknown;
            };
            self.tests_left.set(left);
            if self.routes[*route].blocks[*block].matches(request, client) {
                let route = RouteIndex::new(*route);
                let block = *block;
                return TakenBy::Known(Some(Found { route, block }));
            }
        }
    }
}

/// Lists of features: of each a request that the block matches has at least one.
fn lists(block: &Match) -> Vec<Vec<Feature>> {
    let mut lists = Vec::new();
    let host = |host: &HostMatch| match host {
        HostMatch::Exact(host) => Some(Feature::Host(host.to_ascii_lowercase())),
        HostMatch::Suffix(end) => Some(Feature::HostEnd(end.to_ascii_lowercase())),
        HostMatch::Any => None,
    };
    let hosts: Option<Vec<_>> = block.hosts.iter().map(host).collect();
    lists.extend(hosts.filter(|hosts| !hosts.is_empty()));
    lists.extend(block.path.as_ref().and_then(path_features));
    for condition in &block.headers {
        if let (Text::Exact(value), false) = (&condition.text, condition.invert) {
            let (name, value) = (condition.name.to_vec(), value.to_vec());
            lists.push(vec![Feature::Header(name, value)]);
        }
    }
    lists
}

/// One of these is in every path that the condition accepts. None: there is no such list.
fn path_features(path: &PathMatch) -> Option<Vec<Feature>> {
    let start = |text: &[u8]| Some(vec![Feature::PathStart(text.to_ascii_lowercase())]);
    let part = |text: Vec<u8>| Feature::PathPart(text);
    match &path.kind {
        PathKind::Prefix(text) if text.is_empty() => None,
        PathKind::Exact(text) | PathKind::Prefix(text) => start(text),
        PathKind::Template(segments) => {
            let texts = segments.iter().map_while(|segment| match segment {
                Segment::Text(text) => Some(text),
                Segment::Name(_) | Segment::Rest(_) => None,
            });
            let leading: Vec<u8> = texts.flat_map(|text| [b"/", &text[..]].concat()).collect();
            if !leading.is_empty() {
                return start(&leading);
            }
            let texts = segments.iter().filter_map(|segment| match segment {
                Segment::Text(text) => Some(text),
                Segment::Name(_) | Segment::Rest(_) => None,
            });
            let longest = texts.max_by_key(|text| text.len())?;
            Some(vec![part(
                [b"/", &longest.to_ascii_lowercase()[..]].concat(),
            )])
        }
        PathKind::Regex(regex) => {
            let texts = language::required(regex.pattern(), path.ignore_case)?;
            Some(texts.into_iter().map(part).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration;
    use crate::exchange::ExchangeRequest;
    use crate::explain;
    use fastrand::Rng;
    use pointsman_core::config::Config;
    use pointsman_core::route::index::Index;

    const HOSTS: [&str; 5] = ["a.test", "*.a.test", "b.a.test", "*", "B.test"];
    const PATHS: [&str; 14] = [
        "prefix: /",
        "prefix: /a",
        "prefix: /a/b",
        "exact: /a",
        "exact: /",
        "template: \"/{x}/b\"",
        "template: \"/a/{x=**}\"",
        "regex: \"/(a|b)/x[0-9]+\"",
        "regex: \".*(foo|ba[rz]).*\"",
        "regex: \"/a?b*\"",
        "regex: \"(/a/b){2}\"",
        "regex: \"/(?i)a/B+\"",
        "regex: \"/AB/.+\"",
        "prefix: /AB",
    ];
    const HEADERS: [&str; 4] = [
        "exact: one",
        "exact: one, invert: true",
        "prefix: o",
        "exact: \"one,two\"",
    ];

    fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
        of[rng.usize(..of.len())]
    }

    fn table(rng: &mut Rng) -> String {
        let route = |number: usize, rng: &mut Rng| {
            let mut conditions = Vec::new();
            if rng.bool() {
                let hosts = [pick(rng, &HOSTS), pick(rng, &HOSTS)];
                conditions.push(format!("hosts: [\"{}\", \"{}\"]", hosts[0], hosts[1]));
            }
            if rng.bool() {
                let path = pick(rng, &PATHS);
                conditions.push(format!("path: {{ {path} }}"));
                if rng.bool() {
                    conditions.push("ignore_case: true".to_owned());
                }
            }
            if rng.bool() {
                let name = pick(rng, &["x-a", "accept"]);
                conditions.push(format!(
                    "headers: [{{ name: {name}, {} }}]",
                    pick(rng, &HEADERS)
                ));
            }
            let conditions = conditions.join(", ");
            format!("{{ name: r{number}, match: {{ {conditions} }}, pass: true }}")
        };
        let routes: Vec<_> = (0..8).map(|number| route(number, rng)).collect();
        format!("routes: [{}]", routes.join(", "))
    }

    fn request(rng: &mut Rng) -> ExchangeRequest {
        const ASKED: [&str; 4] = ["a.test", "b.a.test", "B.TEST:80", "c.test"];
        const SEGMENTS: [&str; 8] = ["a", "b", "A", "AB", "x12", "foo", "xbazx", ""];
        let segments = (0..rng.usize(..5)).map(|_| pick(rng, &SEGMENTS));
        let path = segments.fold(String::new(), |path, segment| format!("{path}/{segment}"));
        let path = if path.is_empty() { "/" } else { &path };
        let host = pick(rng, &ASKED);
        let mut request =
            ExchangeRequest::new(b"GET", format!("http://{host}{path}").as_bytes()).unwrap();
        for _ in 0..rng.usize(..3) {
            let name = pick(rng, &["x-a", "accept"]).as_bytes().to_vec();
            let value = pick(rng, &["one", "two", "one,two"]).as_bytes().to_vec();
            request.headers.push((name, value));
        }
        request
    }

    #[test]
    fn a_request_is_taken_by_the_same_block_as_by_the_filters_index() {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let mut taken = 0;
        for _ in 0..1_000 {
            let text = table(&mut rng);
            let tree = configuration::parse(&text).unwrap();
            let config = Config::from_value(&tree).unwrap_or_else(|it| panic!("{it}: {text}"));
            let candidates = Candidates::new(&config.routes);
            let index = Index::new(&config.routes);
            for _ in 0..20 {
                let request = request(&mut rng);
                let both = explain::with_request(&config, &request, |request, client| {
                    let expected = index.find(&config.routes, request, client);
                    (candidates.find(request, client), expected)
                });
                taken += usize::from(both.1.is_some());
                assert_eq!(
                    both.0,
                    TakenBy::Known(both.1),
                    "seed {seed}: {text} {request:?}"
                );
            }
        }
        println!("{taken} of 20000 are taken");
        assert!(taken > 5_000, "{taken}");
    }

    #[test]
    fn a_block_is_found_by_what_only_it_asks_for() {
        let text = |number: usize| {
            format!(
                "{{ name: r{number}, match: {{ hosts: [a.test], path: {{ regex: \"/(en|de)/w{number}/.*\" }} }}, pass: true }}"
            )
        };
        let routes: Vec<_> = (0..500).map(text).collect();
        let tree = configuration::parse(&format!("routes: [{}]", routes.join(", "))).unwrap();
        let config = Config::from_value(&tree).unwrap();
        let candidates = Candidates::new(&config.routes);
        assert!(candidates.others.is_empty());
        let request = ExchangeRequest::new(b"GET", b"http://a.test/de/w499/").unwrap();
        let found = explain::with_request(&config, &request, |request, client| {
            candidates.find(request, client)
        });
        let (route, block) = (RouteIndex::new(499), 0);
        assert_eq!(found, TakenBy::Known(Some(Found { route, block })));
        assert_eq!(candidates.tests_left.get(), MAX_TESTS - 1);
    }
}
