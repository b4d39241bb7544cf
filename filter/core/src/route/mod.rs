//! Routes: the first that matches wins. [`index`] finds it, [`scan`] says why it is none of the earlier ones.

pub mod condition;
pub mod index;
pub mod path;

use crate::client_ip::Network;
use crate::edit::Edits;
use crate::pool::Pool;
use crate::rate_limit::RateLimit;
use crate::redirect::Redirect;
use crate::request::Request;
use crate::respond::Respond;
use crate::rewrite::Rewrite;
use condition::Condition;
use path::PathMatch;
use std::fmt;
use std::net::IpAddr;
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

/// The client's address, asked for by whoever needs it. Whoever answers remembers the answer.
pub type AskClient<'a> = dyn FnMut() -> Option<IpAddr> + 'a;

/// The route that a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its place in the list of routes.
    pub route: usize,
    /// The first of its blocks that matches.
    pub block: usize,
}

/// A condition of a block that a request does not meet, in the order in which conditions are looked at: what is cheap to
/// tell first, the client's address last. The number is the condition's place in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mismatch {
    Host,
    Path,
    Scheme,
    Method,
    Header(usize),
    Cookie(usize),
    Query(usize),
    ClientIp,
}

impl Block {
    /// Whether a request meets every condition. The client is only asked for where nothing else failed.
    pub fn matches(&self, request: &Request, client: &mut AskClient) -> bool {
        self.mismatch(request, client).is_none()
    }

    fn mismatch(&self, request: &Request, client: &mut AskClient) -> Option<Mismatch> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| host.matches(request.host)) {
            return Some(Mismatch::Host);
        }
        if self.path.as_ref().is_some_and(|path| !path.matches(request.path)) {
            return Some(Mismatch::Path);
        }
        let scheme = self.scheme.as_ref();
        if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case(request.scheme)) {
            return Some(Mismatch::Scheme);
        }
        if !self.methods.is_empty() && !self.methods.iter().any(|method| &method[..] == request.method) {
            return Some(Mismatch::Method);
        }
        let fails = |header: &Condition| !header.holds(request.headers.all(&header.name));
        if let Some(at) = self.headers.iter().position(fails) {
            return Some(Mismatch::Header(at));
        }
        let fails = |cookie: &Condition| !cookie.holds(request.cookie_values(&cookie.name));
        if let Some(at) = self.cookies.iter().position(fails) {
            return Some(Mismatch::Cookie(at));
        }
        let fails = |parameter: &Condition| !parameter.holds(request.query_values(&parameter.name));
        if let Some(at) = self.query.iter().position(fails) {
            return Some(Mismatch::Query(at));
        }
        if !self.client_ip.is_empty() {
            let client = client();
            let within = |network: &Network| client.is_some_and(|client| network.contains(client));
            if !self.client_ip.iter().any(within) {
                return Some(Mismatch::ClientIp);
            }
        }
        None
    }

    /// For people: what was asked for, and what the request has.
    fn explain(&self, mismatch: Mismatch, request: &Request, client: &mut AskClient) -> String {
        let one = |value: &[u8]| match value.is_empty() {
            true => "nothing".to_owned(),
            false => Shown(value).to_string(),
        };
        let named = |kind: &str, condition: &Condition, values: &mut dyn Iterator<Item = String>| {
            let values = listed(values, ", ");
            let got = if values.is_empty() { "nothing" } else { &values };
            format!("{kind} {}: {condition}, got {got}", Shown(&condition.name))
        };
        let text = match mismatch {
            Mismatch::Host => Some(format!(
                "host: {}, got {}",
                listed(&self.hosts, " or "),
                one(request.host)
            )),
            Mismatch::Path => self
                .path
                .as_ref()
                .map(|path| format!("path: {path}, got {}", one(request.path))),
            Mismatch::Scheme => {
                let scheme = self.scheme.as_deref();
                scheme.map(|scheme| format!("scheme: {}, got {}", Shown(scheme), one(request.scheme)))
            }
            Mismatch::Method => {
                let methods = listed(self.methods.iter().map(|method| Shown(method)), " or ");
                Some(format!("method: {methods}, got {}", one(request.method)))
            }
            Mismatch::Header(at) => self.headers.get(at).map(|header| {
                let values = request.headers.all(&header.name);
                named("header", header, &mut values.map(|value| Shown(value).to_string()))
            }),
            Mismatch::Cookie(at) => self.cookies.get(at).map(|cookie| {
                let values = request.cookie_values(&cookie.name);
                named("cookie", cookie, &mut values.map(|value| Shown(value).to_string()))
            }),
            Mismatch::Query(at) => self.query.get(at).map(|parameter| {
                let values = request.query_values(&parameter.name);
                named("query", parameter, &mut values.map(|value| Shown(&value).to_string()))
            }),
            Mismatch::ClientIp => {
                let client = client().map_or_else(|| one(&[]), |client| client.to_string());
                Some(format!("client_ip: {}, got {client}", listed(&self.client_ip, " or ")))
            }
        };
        text.unwrap_or_default()
    }
}

impl HostMatch {
    /// Whether a host, without its port, is as it must be. Case does not count.
    pub fn matches(&self, host: &[u8]) -> bool {
        match self {
            HostMatch::Exact(exact) => host.eq_ignore_ascii_case(exact),
            HostMatch::Suffix(suffix) => host
                .len()
                .checked_sub(suffix.len())
                .and_then(|labels| host.split_at_checked(labels))
                .is_some_and(|(labels, end)| !labels.is_empty() && end.eq_ignore_ascii_case(suffix)),
            HostMatch::Any => true,
        }
    }
}

/// As it stands in the configuration.
impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostMatch::Exact(host) => write!(f, "{}", Shown(host)),
            HostMatch::Suffix(suffix) => write!(f, "*{}", Shown(suffix)),
            HostMatch::Any => f.write_str("*"),
        }
    }
}

/// What [`scan`] saw of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The route's place in the list.
    pub route: usize,
    /// The first condition that failed, of the block that got furthest: `path: prefix /checkout, got /cart`. None: it matched.
    pub failed: Option<String>,
}

/// Looks at the routes one after the other until one matches. What it finds is what [`index::Index::find`] finds; it takes
/// longer, and can say why not the earlier ones.
pub fn scan(routes: &[Route], request: &Request, client: &mut AskClient) -> (Option<Found>, Vec<Looked>) {
    let mut trace = Vec::new();
    for (route, Route { blocks, .. }) in routes.iter().enumerate() {
        let mut furthest: Option<(Mismatch, &Block)> = None;
        for (block, conditions) in blocks.iter().enumerate() {
            match conditions.mismatch(request, client) {
                None => {
                    trace.push(Looked { route, failed: None });
                    return (Some(Found { route, block }), trace);
                }
                Some(mismatch) if furthest.is_none_or(|(before, _)| before < mismatch) => {
                    furthest = Some((mismatch, conditions));
                }
                Some(_) => {}
            }
        }
        let failed = furthest.map(|(mismatch, block)| block.explain(mismatch, request, client));
        trace.push(Looked {
            route,
            failed: Some(failed.unwrap_or_default()),
        });
    }
    (None, trace)
}

/// Bytes for people: control characters escaped, what is not UTF-8 as U+FFFD, and no more than fits a line.
pub(crate) struct Shown<'a>(pub &'a [u8]);

/// How many bytes of a value are shown: enough to recognise it.
const SHOWN: usize = 80;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..SHOWN).unwrap_or(self.0);
        for character in String::from_utf8_lossy(shown).chars() {
            match character.is_control() {
                true => write!(f, "{}", character.escape_default())?,
                false => write!(f, "{character}")?,
            }
        }
        f.write_str(if shown.len() < self.0.len() { "…" } else { "" })
    }
}

/// How many of several values are shown.
const LISTED: usize = 8;

fn listed<T: fmt::Display>(values: impl IntoIterator<Item = T>, between: &str) -> String {
    let mut values = values.into_iter();
    let mut shown: Vec<String> = values.by_ref().take(LISTED).map(|value| value.to_string()).collect();
    if values.next().is_some() {
        shown.push("…".to_owned());
    }
    shown.join(between)
}
