//! The routes compiled: host, then path, then the remaining conditions.
//!
//! The index maps what a request has (its host and the host's suffixes, its path and the path's
//! leading segments) to the blocks that may match it, in order, and every one of those is then
//! tested in full. So an entry may be too general without harm: keys are hashes that are never
//! compared with what was hashed, letters are hashed in lower case whether case counts or not, and
//! a template or a regular expression is found by its leading literal segments. All that must hold
//! is that no block is missing; a property test compares the index with a scan in order.
//!
//! That of a host is FNV-1a (Fowler, Noll, Vo), from its last byte on: one pass yields the hash of
//! every suffix. That of a path goes by segments, so that one pass yields the hash of all that the
//! path begins with. Collisions that a client provokes do no harm: clients insert nothing, and every
//! block that is found is tested.

use super::host::HostMatch;
use super::r#match::AskConnection;
use super::path::{PathKind, PathMatch, Segment};
use super::{Found, Route};
use crate::http::find::split_at_byte;
use crate::http::request::Request;
use crate::index::RouteIndex;
use crate::siphash::mixed;
use fnv::FnvHasher;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Deref, DerefMut};

/// The compiled routes. About 50 bytes for each block and each of its hosts.
#[derive(Debug, Default)]
pub struct Index {
    /// A host, or the suffix of a wildcard → its group.
    hosts: HashMap<u64, u32, BuildHasherDefault<IdentityHasher>>,
    /// Bytes of the longest of them.
    longest_host: usize,
    /// A group and a path, or a path's leading segments → the number of its list.
    paths: HashMap<u64, u32, BuildHasherDefault<IdentityHasher>>,
    /// A bit for each of these keys, among 16 times as many: most look-ups of a request find
    /// nothing, which this says for less than a search.
    known: Vec<u64>,
    /// Bytes of the longest of these paths.
    longest_path: usize,
    /// Of how many segments the leading segments are that are keys, as bits.
    depths: u64,
    /// List `n` is `candidates[starts[n]..starts[n + 1]]`.
    starts: Vec<u32>,
    /// Every list in the order of the routes.
    candidates: Vec<Candidate>,
}

/// A block that may match. Candidates compare in the order of the configuration: by route, then by
/// block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    route: RouteIndex,
    block: u32,
}

/// The blocks that ask for one host. 0: those that take any.
type Group = u32;

/// What a block asks of a path (or of a host, read backwards), as far as the index knows.
#[derive(Clone, Copy, Debug)]
enum Key {
    Any,
    /// The hash of all of it.
    Whole(u64),
    /// The hash of its start, behind which nothing or a new segment follows.
    Leading(u64),
}

impl Key {
    /// The key within a group. Equal bytes of different kinds have different keys.
    #[inline]
    fn of(self, group: Group) -> u64 {
        let (kind, hash) = match self {
            Key::Any => (0, 0),
            Key::Whole(hash) => (1, hash),
            Key::Leading(hash) => (2, hash),
        };
        mixed(hash ^ mixed(kind << 32 | u64::from(group)))
    }

    /// The same in [`ANY_HOST`], where half of it is a constant.
    #[inline]
    fn of_any_host(self) -> u64 {
        match self {
            Key::Any => const { mixed(mixed(0)) },
            Key::Whole(hash) => mixed(hash ^ const { mixed(1 << 32) }),
            Key::Leading(hash) => mixed(hash ^ const { mixed(2 << 32) }),
        }
    }
}

/// The keys of the maps are hashes already.
#[derive(Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not called for a `u64`.
        self.0 = bytes
            .iter()
            .fold(self.0, |hash, byte| mixed(hash ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl Index {
    /// Compiles. The index belongs to these routes: [`Index::find`] wants the same ones.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "limits bound routes, hosts and blocks"
    )]
    pub fn new(routes: &[Route]) -> Index {
        let mut index = Index::default();
        let mut entries: Vec<(u64, Candidate)> = Vec::new();
        for (route, Route { blocks, .. }) in routes.iter().enumerate() {
            let route = RouteIndex::new(route);
            for (block, conditions) in (0..).zip(blocks) {
                let path = index.path_key(conditions.path.as_ref());
                let candidate = Candidate { route, block };
                if conditions.hosts.is_empty() {
                    entries.push((path.of(ANY_HOST), candidate));
                }
                for host in &conditions.hosts {
                    entries.push((path.of(index.group(host)), candidate));
                }
            }
        }
        // A heap sorts with a tenth of the code.
        let mut entries = BinaryHeap::from(entries).into_sorted_vec();
        entries.dedup();
        index.candidates.reserve_exact(entries.len());
        let mut last = None;
        for (key, candidate) in entries {
            if last.replace(key) != Some(key) {
                index.paths.insert(key, index.starts.len() as u32);
                index.starts.push(index.candidates.len() as u32);
            }
            index.candidates.push(candidate);
        }
        index.starts.push(index.candidates.len() as u32);
        index.known = vec![0; (index.paths.len() / 4).next_power_of_two()];
        for key in index.paths.keys() {
            let (word, bit) = place_of(*key, index.known.len());
            if let Some(word) = index.known.get_mut(word) {
                *word |= bit;
            }
        }
        index
    }

    /// The first route that matches, and its first block that does.
    ///
    /// The configuration bounds the time, not the request: of a host and a path it reads no more
    /// bytes than the longest configured ones have.
    pub fn find(
        &self,
        routes: &[Route],
        request: &Request,
        connection: &mut dyn AskConnection,
    ) -> Option<Found> {
        let mut lists = self.lists(request);
        let mut last = None;
        let mut matches = |candidate: Candidate| {
            // A block with several hosts may stand in several lists.
            if last.replace(candidate) == Some(candidate) {
                return None;
            }
            let (route, block) = (candidate.route, candidate.block as usize);
            let conditions = routes.get(route.get())?.blocks.get(block)?;
            request.steps.count(STEPS_PER_BLOCK);
            let matches = match conditions.lone_path() {
                Some(path) => path.matches_of(request),
                None => conditions.matches(request, connection),
            };
            matches.then_some(Found { route, block })
        };
        // Mostly there are one or two lists, for which a heap would only be slower.
        if lists.len() <= FEW_LISTS {
            while let Some(list) = lists
                .iter_mut()
                .filter(|list| !list.is_empty())
                .min_by_key(|list| list.first().copied())
            {
                let (candidate, rest) = list.split_first()?;
                *list = rest;
                if let Some(found) = matches(*candidate) {
                    return Some(found);
                }
            }
            return None;
        }
        let firsts = lists.iter().zip(0..);
        let firsts = firsts.filter_map(|(list, at)| Some(Reverse((*list.first()?, at))));
        let mut heap: BinaryHeap<Reverse<(Candidate, usize)>> = firsts.collect();
        while let Some(Reverse((candidate, at))) = heap.pop() {
            request.steps.count(STEPS_PER_LOOK_UP);
            if let Some(found) = matches(candidate) {
                return Some(found);
            }
            let list = lists.get_mut(at)?;
            *list = list.get(1..).unwrap_or_default();
            heap.extend(list.first().map(|next| Reverse((*next, at))));
        }
        None
    }

    /// Every block that may match, in lists that are each in order.
    fn lists(&self, request: &Request) -> Lists<'_> {
        let named = match self.longest_host {
            0 => Vec::new(),
            longest => {
                request.steps.count(request.host().len().min(longest));
                self.groups(request.host())
            }
        };
        request
            .steps
            .count(request.path.len().min(self.longest_path));
        let mut lists = Lists::default();
        self.look_up(Key::Any, &named, &mut lists);
        // One byte more than the longest: the `/` behind it.
        let path = request.path;
        let mut rest = path.get(..=self.longest_path).unwrap_or(path);
        let (mut hash, mut look_ups) = (PathHash::default(), 1);
        let mut depth = 1;
        while let (segment, Some(behind)) = split_at_byte(rest, b'/') {
            hash = hash.with(segment);
            if self.depths & depth != 0 {
                self.look_up(Key::Leading(hash.0), &named, &mut lists);
            }
            look_ups += 1;
            rest = behind;
            depth = next_depth(depth);
        }
        if path.len() <= self.longest_path {
            hash = hash.with(rest);
            if self.depths & depth != 0 {
                self.look_up(Key::Leading(hash.0), &named, &mut lists);
            }
            self.look_up(Key::Whole(hash.0), &named, &mut lists);
            look_ups += 2;
        }
        request
            .steps
            .count(STEPS_PER_LOOK_UP * look_ups * (1 + named.len()));
        lists
    }

    /// Adds the lists of a key.
    #[inline(always)]
    fn look_up<'i>(&'i self, key: Key, named: &[Group], lists: &mut Lists<'i>) {
        lists.extend(self.find_list(key.of_any_host()));
        for group in named {
            lists.extend(self.find_list(key.of(*group)));
        }
    }

    /// The list of a key, if there is one. Mostly there is none.
    #[inline]
    fn find_list(&self, key: u64) -> Option<&[Candidate]> {
        let (word, bit) = place_of(key, self.known.len());
        match self.known.get(word)? & bit {
            0 => None,
            _ => self.known_list(key),
        }
    }

    #[inline(never)]
    fn known_list(&self, key: u64) -> Option<&[Candidate]> {
        self.list(*self.paths.get(&key)? as usize)
    }

    fn list(&self, number: usize) -> Option<&[Candidate]> {
        let (start, end) = (self.starts.get(number)?, self.starts.get(number + 1)?);
        self.candidates.get(*start as usize..*end as usize)
    }

    /// The groups of a host beside any: each suffix behind at least one label, and the host itself.
    fn groups(&self, host: &[u8]) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut look_up = |key: Key| groups.extend(self.hosts.get(&key.of(ANY_HOST)));
        let mut hasher = FnvHasher::default();
        for (before, byte) in host.iter().rev().take(self.longest_host).enumerate() {
            hasher.write_u8(byte.to_ascii_lowercase());
            if *byte == b'.' && before + 1 < host.len() {
                look_up(Key::Leading(hasher.finish()));
            }
        }
        if host.len() <= self.longest_host {
            look_up(Key::Whole(hasher.finish()));
        }
        groups
    }

    /// The group of a configured host; a new one if it is the first with this host.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "limits bound routes and hosts"
    )]
    fn group(&mut self, host: &HostMatch) -> Group {
        let hash = |host: &[u8]| {
            let mut hasher = FnvHasher::default();
            let bytes = host.iter().rev();
            bytes.for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
            hasher.finish()
        };
        let (key, length) = match host {
            HostMatch::Any => return ANY_HOST,
            HostMatch::Exact(host) => (Key::Whole(hash(host)), host.len()),
            HostMatch::Suffix(suffix) => (Key::Leading(hash(suffix)), suffix.len()),
        };
        self.longest_host = self.longest_host.max(length);
        let next = self.hosts.len() as Group + 1;
        *self.hosts.entry(key.of(ANY_HOST)).or_insert(next)
    }

    /// The key of a configured path.
    fn path_key(&mut self, path: Option<&PathMatch>) -> Key {
        let mut leading = Vec::new();
        let start: &[u8] = match path.map(|path| &path.kind) {
            None => return Key::Any,
            Some(PathKind::Exact(path) | PathKind::Prefix(path)) => path,
            Some(PathKind::Template(segments)) => {
                let literal = segments.iter().map_while(|segment| match segment {
                    Segment::Text(text) => Some(text),
                    Segment::Name(_) | Segment::Rest(_) => None,
                });
                for text in literal {
                    leading.push(b'/');
                    leading.extend_from_slice(text);
                }
                &leading
            }
            Some(PathKind::Regex(regex)) => {
                let mut literal = regex.literal_prefix().rsplitn(2, |byte| *byte == b'/');
                match (literal.next(), literal.next()) {
                    (Some(_begun_segment), Some(segments)) => segments,
                    _ => return Key::Any,
                }
            }
        };
        self.longest_path = self.longest_path.max(start.len());
        match path.map(|path| &path.kind) {
            Some(PathKind::Exact(_)) => Key::Whole(PathHash::of(start).0),
            _ => {
                let slashes = start.iter().filter(|byte| **byte == b'/');
                self.depths |= slashes.fold(1, |depth, _| next_depth(depth));
                Key::Leading(PathHash::of(start).0)
            }
        }
    }
}

/// The word and the bit of a key in [`Index::known`], which has so many words: a power of two. The
/// map goes by the other half of the key.
fn place_of(key: u64, words: usize) -> (usize, u64) {
    let place = (key >> 32) as usize;
    ((place / 64) & words.saturating_sub(1), 1 << (place % 64))
}

/// The bit of one segment more. All above 63 have one bit.
#[inline]
fn next_depth(depth: u64) -> u64 {
    match depth << 1 {
        0 => depth,
        next => next,
    }
}

/// The hash of a path, letters in lower case: of one segment after the other, each eight bytes at a
/// time. So one pass over a path yields the hash of all that it begins with.
#[derive(Clone, Copy, Default)]
struct PathHash(u64);

impl PathHash {
    /// Of a whole path, or of what paths begin with.
    fn of(path: &[u8]) -> PathHash {
        let segments = path.split(|byte| *byte == b'/');
        segments.fold(PathHash::default(), PathHash::with)
    }

    /// With one segment more.
    #[inline]
    fn with(self, segment: &[u8]) -> PathHash {
        let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
        let mut hash = self.0;
        // The end overlaps what stands before it.
        let end = if let Some(last) = segment.last_chunk() {
            let (words, _) = segment.as_chunks();
            for word in words {
                hash = spread(hash ^ lower_case(u64::from_le_bytes(*word)));
            }
            u64::from_le_bytes(*last)
        } else if let (Some(first), Some(last)) = (segment.first_chunk(), segment.last_chunk()) {
            half(first) << 32 | half(last)
        } else {
            let bytes = segment.iter();
            bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
        };
        // Segments of other lengths are other ones, and one more is never nothing.
        PathHash(spread(hash ^ lower_case(end)).wrapping_add(segment.len() as u64 + 1))
    }
}

/// Enough for what is mixed once more as a key.
#[inline]
fn spread(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number ^ number >> 32
}

/// Eight bytes with `A` to `Z` in lower case.
#[inline]
fn lower_case(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = 0x80 * ONES;
    let low_bits = word & !HIGHS;
    let from_a = low_bits + (0x80 - b'A' as u64) * ONES;
    let behind_z = low_bits + (0x7f - b'Z' as u64) * ONES;
    let letters = (from_a ^ behind_z) & !word & HIGHS;
    word | letters >> 2
}

const ANY_HOST: Group = 0;

/// The lists of most requests: that of all paths, and one for each prefix.
const FEW_LISTS: usize = 4;

/// What a block costs beside its conditions, in steps.
const STEPS_PER_BLOCK: usize = 16;

/// What a look-up in the map of paths costs, in steps.
const STEPS_PER_LOOK_UP: usize = 8;

/// Lists of candidates: few of them without an allocation.
#[derive(Default)]
struct Lists<'i> {
    few: [&'i [Candidate]; FEW_LISTS],
    count: usize,
    /// All of them, once they are more.
    many: Vec<&'i [Candidate]>,
}

impl<'i> Lists<'i> {
    fn extend(&mut self, list: Option<&'i [Candidate]>) {
        let Some(list) = list else {
            return;
        };
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = list;
                self.count += 1;
            }
            None => self.push_many(list),
        }
    }

    #[cold]
    #[inline(never)]
    fn push_many(&mut self, list: &'i [Candidate]) {
        if self.many.is_empty() {
            self.many.extend(self.few);
        }
        self.many.push(list);
    }
}

impl<'i> Deref for Lists<'i> {
    type Target = [&'i [Candidate]];

    fn deref(&self) -> &[&'i [Candidate]] {
        match self.many.is_empty() {
            true => self.few.get(..self.count).unwrap_or_default(),
            false => &self.many,
        }
    }
}

impl<'i> DerefMut for Lists<'i> {
    fn deref_mut(&mut self) -> &mut [&'i [Candidate]] {
        match self.many.is_empty() {
            true => self.few.get_mut(..self.count).unwrap_or_default(),
            false => &mut self.many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::client_ip::Network;
    use crate::http::device::Devices;
    use crate::http::headers::Headers;
    use crate::route::condition::{Condition, Text};
    use crate::route::r#match::Match;
    use crate::route::path::tests::path;
    use crate::route::scan::scan;
    use crate::route::tests::{host, route};
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::RngSeed;
    use std::net::IpAddr;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SEED: u64 = 0x0070_6f69_6e74;

    /// Few words, so that what is drawn for the routes and for the request meets often.
    const SEGMENTS: &[&str] = &["a", "b", "A", "ab", ""];
    const REGEXES: &[&str] = &[
        "/a.*",
        "/(a|b)/a",
        ".*",
        "/a/b",
        "(/a)+",
        "a|/b",
        "/a/?",
        "/ab?",
        "^/b/.*$",
        "/A(?i)/b",
        "",
        "/a/(b|ab)/.*",
        "/a/b?",
        "(?:/|/a)b",
    ];
    const HOSTS: &[&str] = &[
        "a", "b", "a.b", "b.a", "b.a.b", "*.a", "*.b", "*.a.b", "*.b.a", "*.a.a.b", "*",
    ];

    fn path_match() -> impl Strategy<Value = PathMatch> {
        let joined = |segments: Vec<&str>| format!("/{}", segments.join("/"));
        let literal = prop::collection::vec(select(SEGMENTS), 0..4).prop_map(joined);
        let named = prop::collection::vec(select(&["a", "b", "", "{x}"][..]), 0..4);
        let template = (named, any::<bool>()).prop_map(move |(mut segments, rest)| {
            segments.extend(rest.then_some("{r=**}"));
            joined(segments)
        });
        prop_oneof![
            (select(&["exact", "EXACT", "prefix", "PREFIX"][..]), literal),
            (
                select(&["regex", "REGEX"][..]),
                select(REGEXES).prop_map(str::to_owned)
            ),
            (select(&["template", "TEMPLATE"][..]), template),
        ]
        .prop_map(|(kind, text)| path(kind, &text))
    }

    fn condition() -> impl Strategy<Value = Vec<Condition>> {
        let text = prop_oneof![
            select(&["1", "2"][..]).prop_map(|text| Text::Exact(text.as_bytes().into())),
            any::<bool>().prop_map(Text::Present),
        ];
        let condition = (text, any::<bool>()).prop_map(|(text, invert)| Condition {
            name: b"x"[..].into(),
            text,
            invert,
        });
        prop::option::weighted(0.2, condition).prop_map(Vec::from_iter)
    }

    fn block() -> impl Strategy<Value = Match> {
        let methods = prop_oneof![4 => Just(vec![]), 1 => Just(vec![b"GET"[..].into()])];
        let client =
            prop_oneof![4 => Just(vec![]), 1 => Just(vec![Network::parse("10.0.0.0/8").unwrap()])];
        let hosts = prop::collection::vec(select(HOSTS).prop_map(host), 0..3);
        (
            hosts,
            prop::option::weighted(0.8, path_match()),
            methods,
            condition(),
            condition(),
            condition(),
            client,
        )
            .prop_map(
                |(hosts, path, methods, headers, cookies, query, client_ip)| Match {
                    hosts,
                    path,
                    scheme: None,
                    methods,
                    headers,
                    cookies,
                    query,
                    client_ip,
                    devices: Devices::default(),
                    language: None,
                    tls: None,
                },
            )
    }

    fn table() -> impl Strategy<Value = Vec<Route>> {
        let blocks = prop::collection::vec(block(), 1..4);
        prop::collection::vec(blocks.prop_map(route), 0..12)
    }

    fn request() -> impl Strategy<Value = Headers> {
        let labels = prop::collection::vec(select(&["a", "b", "A", "B", ""][..]), 0..5);
        let authority = (labels, any::<bool>())
            .prop_map(|(labels, port)| labels.join(".") + if port { ":80" } else { "" });
        let segments = prop::collection::vec(select(SEGMENTS), 0..6);
        let target = (
            select(&["/", "/", "/", "/", "*", ""][..]),
            segments,
            select(&["", "?x=1", "?x=%32"][..]),
        )
            .prop_map(|(start, segments, query)| format!("{start}{}{query}", segments.join("/")));
        let method = select(&["GET", "POST"][..]).prop_map(str::to_owned);
        let header = select(&[("x", "1"), ("x", "2"), ("y", "1")][..]);
        let cookie = select(&[("cookie", "x=1"), ("cookie", "x=2"), ("y", "1")][..]);
        (method, authority, target, header, cookie).prop_map(
            |(method, authority, target, header, cookie)| {
                Headers::from_pairs(&[
                    (":method", &method[..]),
                    (":authority", &authority),
                    (":path", &target),
                    header,
                    cookie,
                ])
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 3_000,
            rng_seed: RngSeed::Fixed(SEED),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn index_finds_what_a_scan_in_order_finds(
            routes in table(),
            requests in prop::collection::vec(request(), 8),
            client in select(&["10.1.1.1", "11.1.1.1"][..]),
        ) {
            let index = Index::new(&routes);
            let client: Option<IpAddr> = client.parse().ok();
            for headers in &requests {
                let request = Request::new(headers);
                let found = index.find(&routes, &request, &mut || client);
                prop_assert_eq!(found, scan(&routes, &request, &mut || client).0, "seed {}: {:?}", SEED, request);
            }
        }
    }

    /// Ten thousand routes of the usual kinds over a hundred hosts; the answer for `/r{n}` is route
    /// n.
    fn large(count: usize) -> Vec<Route> {
        (0..count)
            .map(|n| {
                let path = match n % 4 {
                    0 => path("exact", &format!("/r{n}/items")),
                    1 => path("prefix", &format!("/r{n}")),
                    2 => path("template", &format!("/r{n}/{{id}}")),
                    _ => path("regex", &format!("/r{n}/[a-z]+")),
                };
                let hosts = match n % 3 {
                    0 => vec![],
                    1 => vec![host(&format!("h{}.example.com", n % 100))],
                    _ => vec![host(&format!("*.d{}.example.com", n % 100))],
                };
                let block = Match {
                    hosts,
                    path: Some(path),
                    ..Match::default()
                };
                route(vec![block])
            })
            .collect()
    }

    #[test]
    fn ten_thousand_routes_leave_one_to_test() {
        let routes = large(10_000);
        let index = Index::new(&routes);
        for n in [
            0, 1, 2, 3, 4_444, 5_555, 9_994, 9_995, 9_996, 9_997, 9_998, 9_999,
        ] {
            let authority = match n % 3 {
                0 => "any".to_owned(),
                1 => format!("H{}.example.com:80", n % 100),
                _ => format!("a.b.D{}.Example.com", n % 100),
            };
            let headers = Headers::from_pairs(&[
                (":authority", authority),
                (":path", format!("/r{n}/items")),
            ]);
            let request = Request::new(&headers);
            let found = index.find(&routes, &request, &mut || None);
            let route = RouteIndex::new(n);
            assert_eq!(found, Some(Found { route, block: 0 }));
            assert_eq!(index.lists(&request).concat().len(), 1, "{n}");
        }
    }

    #[test]
    fn ten_thousand_routes_take_less_than_a_megabyte() {
        let index = Index::new(&large(10_000));
        // A hash map has a control byte for each entry, and is between 7/16 and 7/8 full.
        let map = |map: &HashMap<u64, u32, BuildHasherDefault<IdentityHasher>>| {
            map.capacity() * 8 / 7 * (size_of::<(u64, u32)>() + 1)
        };
        let bytes = map(&index.hosts)
            + map(&index.paths)
            + 8 * index.known.capacity()
            + 4 * index.starts.capacity()
            + 8 * index.candidates.capacity();
        assert!(bytes < 1_000_000, "{bytes}");
    }

    #[test]
    fn the_hash_of_a_path_is_that_of_its_segments_whatever_their_case() {
        let paths = [
            "",
            "/",
            "//",
            "///",
            "/a",
            "/b",
            "/a/",
            "/a//b",
            "/abc",
            "/abcd",
            "/abcde",
            "/abcdefg",
            "/abcdefgh",
            "/abcdefghi",
            "/abcdefgh/i",
            "/abcdefghabcdefgh",
            "/abcdefghabcdefg",
            "/[",
            "/{",
            "/@",
            "/`",
            "/service-00002/status",
            "/service-00012/status",
        ];
        let hash = |path: &str| PathHash::of(path.as_bytes()).0;
        for (at, path) in paths.iter().enumerate() {
            assert_eq!(hash(&path.to_uppercase()), hash(path), "{path}");
            for other in &paths[..at] {
                assert_ne!(hash(other), hash(path), "{other} {path}");
            }
        }
        assert_ne!(hash("/\u{e0}"), hash("/\u{c0}"));
    }

    #[test]
    fn no_request_is_too_long_or_too_deep() {
        let mut routes = large(100);
        routes.push(route(vec![Match {
            path: Some(path("prefix", "/")),
            ..Match::default()
        }]));
        let index = Index::new(&routes);
        let (deep, long) = ("/".repeat(65_536), format!("/{}", "a".repeat(65_535)));
        let (labels, name) = ("a.".repeat(30_000), "a".repeat(65_536));
        for (path, authority) in [
            (&deep, &labels),
            (&long, &name),
            (&deep, &name),
            (&long, &labels),
        ] {
            let headers = Headers::from_pairs(&[(":authority", authority), (":path", path)]);
            let request = Request::new(&headers);
            assert_eq!(
                index
                    .find(&routes, &request, &mut || None)
                    .map(|found| found.route),
                Some(RouteIndex::new(100))
            );
            assert_eq!(index.lists(&request).concat().len(), 1);
        }
    }
}
