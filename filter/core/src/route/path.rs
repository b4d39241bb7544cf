//! Conditions on paths.

use crate::regex::Regex;

/// A condition on the path, which is compared without its query.
#[derive(Debug)]
pub struct PathMatch {
    /// What it must be.
    pub kind: PathKind,
    /// Compare without ASCII case.
    pub ignore_case: bool,
}

/// The ways to match a path.
#[derive(Debug)]
pub enum PathKind {
    /// Exactly this.
    Exact(Box<[u8]>),
    /// Whole segments: stored without a trailing slash, so that `/` is empty and `/a/` is `/a`; both match `/a` and `/a/b`, not `/ab`.
    Prefix(Box<[u8]>),
    /// Matches as a whole. (`ignore_case` is compiled in.)
    Regex(Regex),
    /// `/users/{id}`, `/files/{rest=**}`.
    Template(Vec<Segment>),
}

/// A segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// As it stands; may be empty (a trailing slash).
    Text(Box<[u8]>),
    /// `{id}`: one segment that is not empty.
    Name(Box<str>),
    /// `{rest=**}`: all that follows; only at the end.
    Rest(Box<str>),
}
