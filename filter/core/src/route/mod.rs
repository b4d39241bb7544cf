//! Routes: the first that matches wins.

pub mod condition;
pub mod index;
pub mod path;

use crate::client_ip::Network;
use crate::edit::Edits;
use crate::pool::Pool;
use crate::rate_limit::RateLimit;
use crate::redirect::Redirect;
use crate::respond::Respond;
use crate::rewrite::Rewrite;
use condition::Condition;
use path::PathMatch;
use std::rc::Rc;

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Unique; in logs, metrics and answers.
    pub name: Box<str>,
    /// Any of these blocks. Never empty: a route without `match` has one block without conditions.
    pub blocks: Vec<Block>,
    /// In the order in which they are charged.
    pub rate_limits: Vec<Rc<RateLimit>>,
    /// Edits of the request, for whatever action sends it on.
    pub request_headers: Edits,
    /// Edits of the response, the filter's own answers included.
    pub response_headers: Edits,
    /// What the upstream sees in place of the client's path and host.
    pub rewrite: Option<Rewrite>,
    /// What happens.
    pub action: Action,
}

/// What a route does.
#[derive(Debug)]
pub enum Action {
    /// Forward to a pool.
    Pool(Rc<Pool>),
    /// Forward to one of several pools by weight. At least one part.
    Split(Vec<SplitPart>),
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer.
    Respond(Respond),
    /// Leave the request to the proxy's own routes, untouched.
    Pass,
}

/// One part of a `split`.
#[derive(Debug)]
pub struct SplitPart {
    /// Where it goes.
    pub pool: Rc<Pool>,
    /// Its share of new requests. 0 brings nothing new.
    pub weight: u32,
    /// Edits beside the route's own, applied after them.
    pub request_headers: Edits,
    /// Edits beside the route's own, applied after them.
    pub response_headers: Edits,
}

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub struct Block {
    /// Any of these; empty: any host.
    pub hosts: Vec<HostMatch>,
    /// None: any path.
    pub path: Option<PathMatch>,
    /// `http` or `https`.
    pub scheme: Option<Box<[u8]>>,
    /// Any of these; empty: any method.
    pub methods: Vec<Box<[u8]>>,
    /// Header conditions, names in lower case; pseudo-headers too.
    pub headers: Vec<Condition>,
    /// Cookie conditions.
    pub cookies: Vec<Condition>,
    /// Query conditions, names as they are after percent-decoding.
    pub query: Vec<Condition>,
    /// Any of these; empty: any address.
    pub client_ip: Vec<Network>,
}

/// A host, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    /// This one.
    Exact(Box<[u8]>),
    /// `*.example.com`: one or more labels before this suffix, which starts with its dot (`.example.com`).
    Suffix(Box<[u8]>),
    /// `*`
    Any,
}
