//! The routes compiled: host, then path, then the remaining conditions.
//!
//! The index never decides. It maps what a request has (its host and the host's suffixes, its path and the path's leading
//! segments) to the blocks that may match it, in order, and every one of those is then tested in full. So an entry may be
//! too general and nothing is wrong: keys are hashes that are never compared with what was hashed, letters are hashed in
//! lower case whether case counts or not, and a template or a regular expression stands where its leading literal segments
//! do. What must hold is only that no block is missing; a property test holds the index against a scan in order.
//!
//! The hash is FNV-1a (Fowler, Noll, Vo): a byte at a time, so that one pass over a path has the hash of every prefix. That
//! clients could make collisions does not matter: they insert nothing, and what they hit is tested.

use super::path::{PathKind, PathMatch, Segment};
use super::{AskClient, Found, HostMatch, Route};
use crate::request::Request;
use fnv::{FnvBuildHasher, FnvHasher};
use std::collections::HashMap;
use std::hash::Hasher;

/// The compiled routes. About 50 bytes for each block and each of its hosts.
#[derive(Debug, Default)]
pub struct Index {
    /// A host, or the suffix of a wildcard → its group.
    hosts: HashMap<u64, u32, FnvBuildHasher>,
    /// Bytes of the longest of them.
    longest_host: usize,
    /// A group and a path, or a path's leading segments → the number of its list.
    paths: HashMap<u64, u32, FnvBuildHasher>,
    /// Bytes of the longest of these paths.
    longest_path: usize,
    /// List `n` is `candidates[starts[n]..starts[n + 1]]`.
    starts: Vec<u32>,
    /// Every list in the order of the routes.
    candidates: Vec<Candidate>,
}

/// A block that may match. Candidates compare in the order of the configuration: by route, then by block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    route: u32,
    block: u32,
}

/// The blocks that ask for one host. 0: those that take any.
type Group = u32;

const ANY_HOST: Group = 0;

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
    fn of(self, group: Group) -> u64 {
        let (kind, hash) = match self {
            Key::Any => (0, 0),
            Key::Whole(hash) => (1, hash),
            Key::Leading(hash) => (2, hash),
        };
        let mut hasher = FnvHasher::with_key(hash);
        hasher.write_u8(kind);
        hasher.write_u32(group);
        hasher.finish()
    }
}

impl Index {
    /// Compiles. The index belongs to these routes: [`Index::find`] wants the same ones.
    pub fn new(routes: &[Route]) -> Index {
        let mut index = Index::default();
        let mut entries: Vec<(u64, Candidate)> = Vec::new();
        for (route, Route { blocks, .. }) in (0..).zip(routes) {
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
        entries.sort_unstable();
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
        index
    }

    /// The first route that matches, and its first block that does.
    ///
    /// The time is bounded by the configuration, not by the request: of a host and a path it reads no more than the longest
    /// configured ones have.
    pub fn find(&self, routes: &[Route], request: &Request, client: &mut AskClient) -> Option<Found> {
        let mut lists = self.lists(request);
        let mut tested = None;
        // Mostly there are one or two lists, for which a heap would only be slower.
        while let Some(list) = lists
            .iter_mut()
            .filter(|list| !list.is_empty())
            .min_by_key(|list| list.first().copied())
        {
            let (candidate, rest) = list.split_first()?;
            *list = rest;
            // A block with several hosts may stand in several lists.
            if tested.replace(*candidate) == Some(*candidate) {
                continue;
            }
            let (route, block) = (candidate.route as usize, candidate.block as usize);
            let conditions = routes.get(route).and_then(|route| route.blocks.get(block));
            if conditions.is_some_and(|conditions| conditions.matches(request, client)) {
                return Some(Found { route, block });
            }
        }
        None
    }

    /// Every block that may match, in lists that are each in order.
    fn lists(&self, request: &Request) -> Vec<&[Candidate]> {
        let groups = self.groups(request.host);
        let mut lists = Vec::new();
        let mut look_up = |key: Key| {
            for group in &groups {
                lists.extend(
                    self.paths
                        .get(&key.of(*group))
                        .and_then(|list| self.list(*list as usize)),
                );
            }
        };
        look_up(Key::Any);
        let mut hasher = FnvHasher::default();
        // One byte more than the longest: the `/` behind it.
        for byte in request.path.iter().take(self.longest_path + 1) {
            if *byte == b'/' {
                look_up(Key::Leading(hasher.finish()));
            }
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        if request.path.len() <= self.longest_path {
            look_up(Key::Leading(hasher.finish()));
            look_up(Key::Whole(hasher.finish()));
        }
        lists
    }

    fn list(&self, number: usize) -> Option<&[Candidate]> {
        let (start, end) = (self.starts.get(number)?, self.starts.get(number + 1)?);
        self.candidates.get(*start as usize..*end as usize)
    }

    /// The groups of a host: any, each suffix behind at least one label, and the host itself.
    fn groups(&self, host: &[u8]) -> Vec<Group> {
        let mut groups = vec![ANY_HOST];
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
    fn group(&mut self, host: &HostMatch) -> Group {
        let hash = |host: &[u8]| hash(host.iter().rev());
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
            Some(PathKind::Exact(_)) => Key::Whole(hash(start.iter())),
            _ => Key::Leading(hash(start.iter())),
        }
    }
}

fn hash<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    let mut hasher = FnvHasher::default();
    bytes.for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
    hasher.finish()
}
