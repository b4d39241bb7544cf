//! Rewrites: what the upstream sees in place of the client's path and host. The query stays.

use crate::regex::Search;

/// `rewrite: { path_prefix | path | path_regex, host }`.
#[derive(Debug, Default)]
pub struct Rewrite {
    /// What becomes of the path.
    pub path: Option<PathRewrite>,
    /// The new host, with a port if one is wanted.
    pub host: Option<Box<[u8]>>,
}

/// What becomes of a path. Also used by redirects.
#[derive(Debug)]
pub enum PathRewrite {
    /// Replaces the prefix that matched. The configuration makes sure that every block of the route matches by prefix.
    Prefix(Box<[u8]>),
    /// The whole path: literal text and names of the template that matched.
    Whole(Vec<Piece>),
    /// Searches, and replaces every match.
    Regex {
        /// What is searched.
        pattern: Search,
        /// What replaces each match.
        substitution: Vec<Part>,
    },
}

/// A piece of `rewrite.path` or `redirect.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Box<[u8]>),
    /// The segment (or rest) that this name of the route's template took.
    Name(Box<str>),
}

/// A part of a `substitution`: `\1` names a group, `\\` is a backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(Box<[u8]>),
    /// The group of this number; the configuration makes sure that the pattern has it.
    Group(usize),
}
