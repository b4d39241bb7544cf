//! Every region of requests that two tables treat differently: which block of the old table takes
//! a request, and which of the new one.
//!
//! A region is looked for with a request that meets the conditions of both blocks. Where an earlier
//! block takes it, that block must not match either, and the search goes on: in the end there is a
//! request that both tables were asked about, or a proof that there is none, or an answer that says
//! what could not be decided.

use super::constraint::{Atom, Constraint, Source, Subject, Table, constraints};
use super::solver::{Solution, Solver};
use crate::check::example::{percent_encoded, user_agent};
use crate::exchange::{ClientTls, ExchangeRequest, Response, shown};
use crate::explain;
use pointsman_core::config::Config;
use pointsman_core::http::device::Device;
use pointsman_core::route::index::Index;
use pointsman_core::route::r#match::Match;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// How many pairs of blocks are looked at closely, and how often in all; some seconds.
const MAX_PAIRS: usize = 20_000;
const MAX_ROUNDS: usize = 60_000;
/// How often one pair is.
const MAX_ROUNDS_OF_PAIR: usize = 300;
/// How many pairs are looked at in passing.
const MAX_LOOKS: usize = 100_000_000;
/// How many languages a request is tried with.
const MAX_LANGUAGES: usize = 16;
/// Why a region is not decided that hangs on a device or a language.
const NOT_TOLD_APART: &str = "`device` and `language` are not told apart";

/// A table with its blocks in order. The last place stands for "no route".
pub(super) struct Blocks<'c> {
    config: &'c Config,
    index: Index,
    /// Each with its route and its number there.
    pub places: Vec<(usize, usize)>,
    /// By route, the place of its first block.
    first: Vec<usize>,
    constraints: Vec<Vec<Constraint<'c>>>,
    /// Whether a block asks for a device or a language, which are of several headers together and
    /// stand in no constraint.
    is_composed: Vec<bool>,
    /// What tells blocks apart.
    identities: Vec<String>,
}

impl<'c> Blocks<'c> {
    pub(super) fn new(config: &'c Config, other: &Config, table: Table) -> Blocks<'c> {
        let is_shared = config.client_ip == other.client_ip;
        let of = if is_shared { Table::Old } else { table };
        let address = Subject::Address(of, config.client_ip.is_some());
        let (mut places, mut first) = (Vec::new(), Vec::new());
        let (mut all, mut identities) = (Vec::new(), Vec::new());
        let mut is_composed = Vec::new();
        for (at, route) in config.routes.iter().enumerate() {
            first.push(places.len());
            for (number, block) in route.blocks.iter().enumerate() {
                places.push((at, number));
                all.push(constraints(block, address));
                is_composed.push(!block.devices.is_empty() || block.language.is_some());
                let is_own = !is_shared && !block.client_ip.is_empty();
                let owner = if is_own {
                    format!("{of:?} ")
                } else {
                    String::new()
                };
                identities.push(format!("{owner}{block:?}"));
            }
        }
        Blocks {
            config,
            index: Index::new(&config.routes),
            places,
            first,
            constraints: all,
            is_composed,
            identities,
        }
    }

    /// The place that stands for "no route".
    pub(super) fn none(&self) -> usize {
        self.places.len()
    }

    /// The place of the block that takes a request.
    pub(super) fn take(&self, request: &ExchangeRequest) -> usize {
        let found = explain::with_request(self.config, request, |request, client| {
            self.index.find(&self.config.routes, request, client)
        });
        found.map_or(self.none(), |found| {
            self.first[found.route.get()] + found.block
        })
    }

    fn constraints(&self, at: usize) -> &[Constraint<'c>] {
        self.constraints.get(at).map_or(&[], Vec::as_slice)
    }

    fn is_composed(&self, at: usize) -> bool {
        self.is_composed.get(at).copied().unwrap_or_default()
    }

    fn block(&self, at: usize) -> Option<&'c Match> {
        let (route, number) = *self.places.get(at)?;
        self.config.routes.get(route)?.blocks.get(number)
    }
}

/// The search over both tables.
pub(super) struct Regions<'b, 'c> {
    old: &'b Blocks<'c>,
    new: &'b Blocks<'c>,
    solver: Solver<'c>,
    /// Requests by the blocks that take them.
    pub examples: BTreeMap<(usize, usize), ExchangeRequest>,
    rounds_left: usize,
    max_hops: usize,
    /// What clients may say of their device, and of their language: nothing, and what blocks ask
    /// for.
    devices: Vec<Option<&'static str>>,
    languages: Vec<Option<Vec<u8>>>,
}

fn devices(tables: &[&Blocks<'_>]) -> Vec<Option<&'static str>> {
    let mut routes = tables.iter().flat_map(|table| &table.config.routes);
    let asked = routes.any(|route| route.blocks.iter().any(|it| !it.devices.is_empty()));
    let all = Device::ALL.iter().filter(|_| asked);
    let said = all.map(|(_, device)| Some(user_agent(*device)));
    std::iter::once(None).chain(said).collect()
}

fn languages(tables: &[&Blocks<'_>]) -> Vec<Option<Vec<u8>>> {
    let routes = tables.iter().flat_map(|table| &table.config.routes);
    let blocks = routes.flat_map(|route| &route.blocks);
    let tags = blocks
        .filter_map(|it| it.language.as_ref())
        .flat_map(|it| &it.tags);
    let tags: BTreeSet<Vec<u8>> = tags.map(|tag| tag.to_vec()).collect();
    let said = tags.into_iter().take(MAX_LANGUAGES).map(Some);
    std::iter::once(None).chain(said).collect()
}

/// Whether no client's device is one that all of these blocks take.
fn exclude_each_other(blocks: &[&Match]) -> bool {
    let mut asked = blocks.iter().filter(|it| !it.devices.is_empty());
    let Some(first) = asked.next() else {
        return false;
    };
    let others: Vec<_> = asked.collect();
    let is_for_all = |device: Device| others.iter().all(|it| it.devices.has(device));
    !first.devices.iter().any(is_for_all)
}

/// Whether some of these earlier blocks may take less than their constraints say, since they ask for
/// a device or a language, which stand in none. Not where every client that the blocks take that
/// are `asked` for has such a device.
fn takes_less(blocks: &Blocks<'_>, earlier: &BTreeSet<usize>, asked: &[&Match]) -> bool {
    let follows = |earlier: &Match| {
        let mut asked = asked.iter().filter(|it| !it.devices.is_empty());
        earlier.language.is_none()
            && asked.any(|it| it.devices.iter().all(|device| earlier.devices.has(device)))
    };
    let mut composed = earlier.iter().filter(|at| blocks.is_composed(**at));
    composed.any(|at| !blocks.block(*at).is_some_and(follows))
}

/// What is known of a region.
#[derive(Debug)]
pub(super) enum Region {
    /// There is a request in it, which stands in [`Regions::examples`].
    Found,
    Empty,
    Unknown(String),
}

impl<'b, 'c> Regions<'b, 'c> {
    pub(super) fn new(old: &'b Blocks<'c>, new: &'b Blocks<'c>) -> Regions<'b, 'c> {
        let hops = [old, new].map(|blocks| {
            let header = blocks.config.client_ip.as_ref();
            header.map_or(1, |it| usize::from(it.trusted_hops))
        });
        Regions {
            old,
            new,
            solver: Solver::default(),
            examples: BTreeMap::new(),
            rounds_left: MAX_ROUNDS,
            max_hops: hops[0].max(hops[1]),
            devices: devices(&[old, new]),
            languages: languages(&[old, new]),
        }
    }

    /// Looks for a request that the block `old` takes in the old table, and `new` in the new one.
    /// None: whichever takes it.
    pub(super) fn look(&mut self, old: Option<usize>, new: Option<usize>) -> Region {
        let known = self.examples.keys().any(|(one, other)| {
            old.is_none_or(|old| old == *one) && new.is_none_or(|new| new == *other)
        });
        if known {
            return Region::Found;
        }
        let blocks = [
            old.and_then(|at| self.old.block(at)),
            new.and_then(|at| self.new.block(at)),
        ];
        let asked: Vec<&Match> = blocks.into_iter().flatten().collect();
        if exclude_each_other(&asked) {
            return Region::Empty;
        }
        let (mut before_old, mut before_new) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..MAX_ROUNDS_OF_PAIR {
            let Some(left) = self.rounds_left.checked_sub(1) else {
                break;
            };
            self.rounds_left = left;
            let required = [
                old.map_or(&[][..], |at| self.old.constraints(at)),
                new.map_or(&[][..], |at| self.new.constraints(at)),
            ];
            let old_ones = before_old.iter().map(|at| self.old.constraints(*at));
            let new_ones = before_new.iter().map(|at| self.new.constraints(*at));
            let forbidden: Vec<_> = old_ones.chain(new_ones).collect();
            let values = match self.solver.solve(&required, &forbidden) {
                Solution::Values(values) => values,
                // Without such a condition an earlier block seems to take more than it does.
                Solution::Nothing
                    if takes_less(self.old, &before_old, &asked)
                        || takes_less(self.new, &before_new, &asked) =>
                {
                    return Region::Unknown(NOT_TOLD_APART.to_owned());
                }
                Solution::Nothing => return Region::Empty,
                Solution::Unknown(why) => return Region::Unknown(why),
            };
            let request = self.request(&values);
            let taken = (self.old.take(&request), self.new.take(&request));
            self.examples
                .entry(taken)
                .or_insert_with(|| request.clone());
            let is_it = |taken: (usize, usize)| {
                old.is_none_or(|old| old == taken.0) && new.is_none_or(|new| new == taken.1)
            };
            if is_it(taken) {
                return Region::Found;
            }
            let mut all_taken = vec![taken];
            for other in self.of_other_clients(&request) {
                let taken = (self.old.take(&other), self.new.take(&other));
                if is_it(taken) {
                    self.examples.entry(taken).or_insert(other);
                    return Region::Found;
                }
                all_taken.push(taken);
            }
            // The earlier block that takes one of them must not match.
            let mut learned = false;
            for (taken_old, taken_new) in all_taken {
                if old.is_some_and(|old| taken_old < old) {
                    learned |= before_old.insert(taken_old);
                }
                if new.is_some_and(|new| taken_new < new) {
                    learned |= before_new.insert(taken_new);
                }
                if learned {
                    break;
                }
            }
            let is_composed = |it: &&Match| !it.devices.is_empty() || it.language.is_some();
            if !learned && asked.iter().any(is_composed) {
                return Region::Unknown(NOT_TOLD_APART.to_owned());
            }
            if !learned {
                return Region::Unknown(entangled(&values));
            }
        }
        Region::Unknown("too many earlier routes overlap with it".to_owned())
    }

    /// The same request of clients with each device and each language that blocks ask for.
    fn of_other_clients(&self, request: &ExchangeRequest) -> Vec<ExchangeRequest> {
        let has = |name: &[u8]| request.headers.iter().any(|(own, _)| own == name);
        let (has_device, has_language) = (has(b"user-agent"), has(b"accept-language"));
        let devices = self.devices.iter().filter(|it| it.is_none() || !has_device);
        let mut all = Vec::new();
        for device in devices {
            let languages = self.languages.iter();
            for language in languages.filter(|it| it.is_none() || !has_language) {
                let mut other = request.clone();
                let device = device.map(|it| (b"user-agent".to_vec(), it.into()));
                let language = language.clone().map(|it| (b"accept-language".to_vec(), it));
                if device.is_some() || language.is_some() {
                    other.headers.extend(device.into_iter().chain(language));
                    all.push(other);
                }
            }
        }
        all
    }

    /// A request of these values.
    fn request(&self, values: &BTreeMap<Subject<'c>, Vec<Atom>>) -> ExchangeRequest {
        let bytes = |subject: Subject<'c>| match values.get(&subject).map(Vec::as_slice) {
            Some([Atom::Bytes(value), ..]) => Some(value.clone()),
            _ => None,
        };
        let path = bytes(Subject::Path).unwrap_or_else(|| b"/".to_vec());
        let mut headers: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let (mut cookies, mut query) = (Vec::new(), Vec::new());
        let mut pseudo: HashMap<&[u8], Vec<u8>> = HashMap::new();
        for (subject, values) in values {
            let Subject::Named(source, name) = subject else {
                continue;
            };
            for value in values {
                let Atom::Bytes(value) = value else { continue };
                match source {
                    Source::Header if name.starts_with(b":") => {
                        pseudo.insert(name, value.clone());
                    }
                    Source::Header => headers.push((name.to_vec(), value.clone())),
                    Source::Cookie => cookies.push([name, &b"="[..], value].concat()),
                    Source::Query => query.push(
                        [percent_encoded(name), b"=".to_vec(), percent_encoded(value)].concat(),
                    ),
                }
            }
        }
        if !cookies.is_empty() {
            headers.push((b"cookie".to_vec(), cookies.join(&b"; "[..])));
        }
        let client_ip = self.clients(values, &mut headers);
        let mut target = path.clone();
        if !query.is_empty() {
            target.push(b'?');
            target.extend(query.join(&b'&'));
        }
        let default_method: &[u8] = if path == b"*" { b"OPTIONS" } else { b"GET" };
        let protocol = pseudo.remove(&b":protocol"[..]);
        headers.extend(protocol.map(|value| (b":protocol".to_vec(), value)));
        let text = |subject| bytes(subject).map(|value| shown(&value));
        ExchangeRequest {
            method: bytes(Subject::Method).unwrap_or_else(|| default_method.to_vec()),
            scheme: bytes(Subject::Scheme).unwrap_or_else(|| b"http".to_vec()),
            authority: pseudo
                .remove(&b":authority"[..])
                .or_else(|| bytes(Subject::Host))
                .unwrap_or_else(|| b"example.com".to_vec()),
            target: pseudo.remove(&b":path"[..]).unwrap_or(target),
            headers,
            client_ip,
            tls: ClientTls {
                sni: text(Subject::ServerName),
                peer: text(Subject::Peer),
            },
            roll: None,
            upstream: Response::bare(200),
        }
    }

    /// The connection's address; what headers tell of it is added to them.
    fn clients(
        &self,
        values: &BTreeMap<Subject<'c>, Vec<Atom>>,
        headers: &mut Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Option<IpAddr> {
        let mut connection = None;
        let mut lists: BTreeMap<&[u8], Vec<Option<IpAddr>>> = BTreeMap::new();
        for (blocks, table) in [(self.old, Table::Old), (self.new, Table::New)] {
            let header = blocks.config.client_ip.as_ref();
            let address = match values
                .get(&Subject::Address(table, header.is_some()))
                .map(Vec::as_slice)
            {
                Some([Atom::Address(address), ..]) => *address,
                _ => continue,
            };
            match header {
                None => connection = Some(address),
                Some(header) => {
                    let list = lists
                        .entry(&header.header)
                        .or_insert_with(|| vec![None; self.max_hops]);
                    list[usize::from(header.trusted_hops) - 1] = Some(address);
                }
            }
        }
        for (name, list) in lists {
            let highest = list.iter().rposition(Option::is_some).unwrap_or(0);
            let fill = list.iter().flatten().next().copied();
            let entries = list[..=highest].iter().rev();
            let entries = entries
                .filter_map(|it| it.or(fill))
                .map(|it| it.to_string());
            let value = entries.collect::<Vec<_>>().join(", ");
            headers.push((name.to_vec(), value.into_bytes()));
        }
        connection
    }
}

/// Why the tables do not do with a request what its values say.
fn entangled(values: &BTreeMap<Subject<'_>, Vec<Atom>>) -> String {
    let subjects: Vec<_> = values.keys().map(ToString::to_string).collect();
    format!(
        "conditions on {} depend on each other, or no request has such values",
        subjects.join(", ")
    )
}

/// Calls `body` with each pair of blocks that may take the same request, in order, until it has
/// had enough: false. Error: there are too many pairs.
///
/// A block that stands in both tables takes a request before any block behind it does, so nearly
/// all pairs of two similar tables need not be looked at.
pub(super) fn pairs(
    old: &Blocks<'_>,
    new: &Blocks<'_>,
    mut is_wanted: impl FnMut(usize, usize) -> bool,
    mut body: impl FnMut(usize, usize),
) -> Result<(), String> {
    let places = |blocks: &Blocks<'_>| -> HashMap<String, usize> {
        let all = blocks.identities.iter().enumerate().rev();
        all.map(|(at, identity)| (identity.clone(), at)).collect()
    };
    let (in_old, in_new) = (places(old), places(new));
    let of =
        |places: &HashMap<String, usize>, identity: Option<&String>, none: usize| match identity {
            Some(identity) => places.get(identity).copied().unwrap_or(usize::MAX),
            None => none,
        };
    let in_old: Vec<usize> = (0..=new.none())
        .map(|at| of(&in_old, new.identities.get(at), old.none()))
        .collect();
    let in_new: Vec<usize> = (0..=old.none())
        .map(|at| of(&in_new, old.identities.get(at), new.none()))
        .collect();
    // The blocks of the new table that no block of the old one takes everything of, so far.
    let mut left: BTreeSet<usize> = (0..=new.none()).collect();
    let mut leaving: Vec<Vec<usize>> = vec![Vec::new(); old.none() + 1];
    for (at, place) in in_old.iter().enumerate() {
        if let Some(leaving) = leaving.get_mut(*place) {
            leaving.push(at);
        }
    }
    let (mut looks, mut pairs) = (0, 0);
    for at in 0..=old.none() {
        if at > 0 {
            for gone in &leaving[at - 1] {
                left.remove(gone);
            }
        }
        let last = in_new[at].min(new.none());
        for other in left.range(..=last).copied() {
            looks += 1;
            if looks > MAX_LOOKS {
                return Err("the tables differ in too many places".to_owned());
            }
            if !is_wanted(at, other) || are_apart(old.constraints(at), new.constraints(other)) {
                continue;
            }
            pairs += 1;
            if pairs > MAX_PAIRS {
                return Err(format!(
                    "of the pairs of routes that overlap only {MAX_PAIRS} were looked at"
                ));
            }
            body(at, other);
        }
    }
    Ok(())
}

/// Whether no request meets both, as far as that is seen without a search.
fn are_apart(one: &[Constraint<'_>], other: &[Constraint<'_>]) -> bool {
    use super::constraint::ValueTest;
    use crate::check::request_set::hosts_overlap;
    use pointsman_core::route::path::PathKind;
    let apart = |one: &ValueTest<'_>, other: &ValueTest<'_>| match (one, other) {
        (ValueTest::Hosts(one), ValueTest::Hosts(other)) => !one
            .iter()
            .any(|one| other.iter().any(|other| hosts_overlap(one, other))),
        (ValueTest::Methods(one), ValueTest::Methods(other)) => {
            !one.iter().any(|it| other.contains(it))
        }
        (ValueTest::Path(one), ValueTest::Path(other)) => match (&one.kind, &other.kind) {
            (PathKind::Exact(text), _) if !one.ignore_case => !other.matches(text),
            (_, PathKind::Exact(text)) if !other.ignore_case => !one.matches(text),
            (PathKind::Prefix(a), PathKind::Prefix(b))
                if !one.ignore_case && !other.ignore_case =>
            {
                !one.matches(b) && !other.matches(a) && !a.is_empty() && !b.is_empty()
            }
            _ => false,
        },
        _ => false,
    };
    one.iter().any(|one| {
        let of_same = |it: &&Constraint<'_>| it.subject == one.subject;
        one.subject.is_one()
            && other
                .iter()
                .filter(of_same)
                .any(|other| one.holds && other.holds && apart(&one.test, &other.test))
    })
}
