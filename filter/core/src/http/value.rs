//! Values that may hold parts of the request: those of header edits, and the hosts and paths of
//! redirects and rewrites.

/// A value as the configuration has it. It is taken apart when the configuration is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueWithParts {
    /// The same for every request.
    Text(Box<[u8]>),
    /// Built for each request. At least one piece is a part of it.
    Built(Vec<Piece>),
}

/// A piece of a value that is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Box<[u8]>),
    /// What the request, or the decision about it, has there. What is absent is empty.
    Part(Part),
}

/// A part of a request as it came, before any rewrite or edit, or of the decision about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `{client_ip}`: the client's address, as limits and hashes have it.
    ClientIp,
    /// `{host}`: without the port, its case as it came.
    Host,
    /// `{path}`: without the query.
    Path,
    /// `{query}`: what follows the first `?`, as it came.
    Query,
    /// `{method}`
    Method,
    /// `{scheme}`
    Scheme,
    /// `{header.x}`: every value, joined with `,` (cookies with `; `). Lower case.
    Header(Box<[u8]>),
    /// `{cookie.x}`: the first value.
    Cookie(Box<[u8]>),
    /// `{query.x}`: the first value, percent-decoded.
    Parameter(Box<[u8]>),
    /// `{label}`: what the wildcard of `hosts` stood for.
    Label,
    /// `{route}`: the route's name.
    Route,
    /// `{pool}`: the name of the pool that takes the request.
    Pool,
    /// `{target}`: the name of the target that is tried first.
    Target,
    /// The segment (or rest) that this name of the route's path template took.
    Name(Box<str>),
}

/// The words that stand for parts, and the starts of those that a name follows.
pub const WORDS: &[(&str, Part)] = &[
    ("client_ip", Part::ClientIp),
    ("host", Part::Host),
    ("path", Part::Path),
    ("query", Part::Query),
    ("method", Part::Method),
    ("scheme", Part::Scheme),
    ("label", Part::Label),
    ("route", Part::Route),
    ("pool", Part::Pool),
    ("target", Part::Target),
];

/// The most bytes that the parts of one built value may have together: more than a proxy takes for
/// all headers of a request, as far as its configuration does not say otherwise. A part that does
/// not fit is empty.
pub const MAX_PARTS: usize = 64 * 1024;
