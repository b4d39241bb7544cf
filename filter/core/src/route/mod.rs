//! Routes: the first that matches wins. [`index`] finds it, [`scan`] says why it is none of the
//! earlier ones.

pub mod condition;
pub mod index;
pub mod no_route;
pub mod path;
pub mod redirect;
pub mod rewrite;

use crate::http::client_ip::Network;
use crate::http::edit::Edits;
use crate::http::request::Request;
use crate::http::respond::Respond;
use crate::index::RouteIndex;
use crate::pool::Pool;
use crate::rate_limit::RateLimit;
use crate::route::redirect::Redirect;
use crate::route::rewrite::Rewrite;
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
    /// `*.example.com`: one or more labels before this suffix, which starts with its dot
    /// (`.example.com`).
    Suffix(Box<[u8]>),
    /// `*`
    Any,
}

/// The client's address, asked for by whoever needs it. Whoever answers remembers the answer.
pub type AskClient<'a> = dyn FnMut() -> Option<IpAddr> + 'a;

/// The route that a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub route: RouteIndex,
    /// The first of its blocks that matches.
    pub block: usize,
}

/// A condition of a block that a request does not meet, in the order in which conditions are looked
/// at: what is cheap to tell first, the client's address last. The number is the condition's place
/// in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    /// `hosts`
    Host,
    /// `path`
    Path,
    /// `scheme`
    Scheme,
    /// `methods`
    Method,
    /// An item of `headers`.
    Header(usize),
    /// An item of `cookies`.
    Cookie(usize),
    /// An item of `query`.
    Query(usize),
    /// `client_ip`
    ClientIp,
}

impl Action {
    /// Where the action may send a request: pools with their weights.
    pub fn parts(&self) -> impl Iterator<Item = (&Pool, u32)> + Clone {
        let (one, several) = match self {
            Action::Pool(pool) => (Some((&**pool, 1)), &[][..]),
            Action::Split(parts) => (None, &parts[..]),
            Action::Redirect(_) | Action::Respond(_) | Action::Pass => (None, &[][..]),
        };
        one.into_iter()
            .chain(several.iter().map(|part| (&*part.pool, part.weight)))
    }

    /// A part of a `split`. None: it is no split, or has no such part.
    pub fn split_part(&self, part: usize) -> Option<&SplitPart> {
        match self {
            Action::Split(parts) => parts.get(part),
            _ => None,
        }
    }
}

impl Block {
    /// Whether a request meets every condition. The client is only asked for where nothing else
    /// failed.
    pub fn matches(&self, request: &Request, client: &mut AskClient) -> bool {
        self.mismatch(request, client).is_none()
    }

    /// The first condition that a request does not meet. None: it meets all.
    pub fn mismatch(&self, request: &Request, client: &mut AskClient) -> Option<Mismatch> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| host.matches(request.host)) {
            return Some(Mismatch::Host);
        }
        if self
            .path
            .as_ref()
            .is_some_and(|path| !path.matches(request.path))
        {
            return Some(Mismatch::Path);
        }
        let scheme = self.scheme.as_ref();
        if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case(request.scheme)) {
            return Some(Mismatch::Scheme);
        }
        if !self.methods.is_empty()
            && !self
                .methods
                .iter()
                .any(|method| &method[..] == request.method)
        {
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
        let named =
            |kind: &str, condition: &Condition, values: &mut dyn Iterator<Item = String>| {
                let values = listed(values, ", ");
                let got = if values.is_empty() {
                    "nothing"
                } else {
                    &values
                };
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
                scheme
                    .map(|scheme| format!("scheme: {}, got {}", Shown(scheme), one(request.scheme)))
            }
            Mismatch::Method => {
                let methods = listed(self.methods.iter().map(|method| Shown(method)), " or ");
                Some(format!("method: {methods}, got {}", one(request.method)))
            }
            Mismatch::Header(at) => self.headers.get(at).map(|header| {
                let values = request.headers.all(&header.name);
                named(
                    "header",
                    header,
                    &mut values.map(|value| Shown(value).to_string()),
                )
            }),
            Mismatch::Cookie(at) => self.cookies.get(at).map(|cookie| {
                let values = request.cookie_values(&cookie.name);
                named(
                    "cookie",
                    cookie,
                    &mut values.map(|value| Shown(value).to_string()),
                )
            }),
            Mismatch::Query(at) => self.query.get(at).map(|parameter| {
                let values = request.query_values(&parameter.name);
                named(
                    "query",
                    parameter,
                    &mut values.map(|value| Shown(&value).to_string()),
                )
            }),
            Mismatch::ClientIp => {
                let client = client().map_or_else(|| one(&[]), |client| client.to_string());
                Some(format!(
                    "client_ip: {}, got {client}",
                    listed(&self.client_ip, " or ")
                ))
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
                .is_some_and(|(labels, end)| {
                    !labels.is_empty() && end.eq_ignore_ascii_case(suffix)
                }),
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
    /// Which route.
    pub route: RouteIndex,
    /// The first condition that failed, of the block that got furthest: `path: prefix /checkout,
    /// got /cart`. None: it matched.
    pub failed: Option<String>,
}

/// Looks at the routes one after the other until one matches. What it finds is what
/// [`index::Index::find`] finds; it takes longer, and can say why not the earlier ones.
pub fn scan(
    routes: &[Route],
    request: &Request,
    client: &mut AskClient,
) -> (Option<Found>, Vec<Looked>) {
    let mut trace = Vec::new();
    for (route, Route { blocks, .. }) in routes.iter().enumerate() {
        let route = RouteIndex::new(route);
        let mut furthest: Option<(Mismatch, &Block)> = None;
        for (block, conditions) in blocks.iter().enumerate() {
            match conditions.mismatch(request, client) {
                None => {
                    trace.push(Looked {
                        route,
                        failed: None,
                    });
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

/// Bytes for people: control characters escaped, what is not UTF-8 as U+FFFD, and no more than fits
/// a line.
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
        f.write_str(if shown.len() < self.0.len() {
            "…"
        } else {
            ""
        })
    }
}

/// How many of several values are shown.
const LISTED: usize = 8;

fn listed<T: fmt::Display>(values: impl IntoIterator<Item = T>, between: &str) -> String {
    let mut values = values.into_iter();
    let mut shown: Vec<String> = values
        .by_ref()
        .take(LISTED)
        .map(|value| value.to_string())
        .collect();
    if values.next().is_some() {
        shown.push("…".to_owned());
    }
    shown.join(between)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::condition::Text;
    use super::path::tests::path;
    use super::*;
    use crate::http::request::Headers;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// A host as it is written: `a.b`, `*.a.b`, `*`.
    pub(crate) fn host(text: &str) -> HostMatch {
        match text.strip_prefix('*') {
            Some("") => HostMatch::Any,
            Some(suffix) => HostMatch::Suffix(suffix.as_bytes().into()),
            None => HostMatch::Exact(text.as_bytes().into()),
        }
    }

    /// A route of these blocks that does nothing.
    pub(crate) fn route(blocks: Vec<Block>) -> Route {
        Route {
            name: "".into(),
            blocks,
            rate_limits: vec![],
            request_headers: Edits::default(),
            response_headers: Edits::default(),
            rewrite: None,
            action: Action::Pass,
        }
    }

    #[test]
    fn hosts_match_as_the_interface_says() {
        for (ours, authority, expected) in [
            ("shop.example.com", "shop.example.com", true),
            ("shop.example.com", "SHOP.example.COM:8080", true),
            ("shop.example.com", "a.shop.example.com", false),
            ("shop.example.com", "shop.example.com.", false),
            ("shop.example.com", "", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.EXAMPLE.com:1", true),
            ("*.example.com", "aexample.com", false),
            ("*.example.com", "a.example.com.org", false),
            ("*", "", true),
            ("*", "a", true),
            ("::1", "[::1]:80", false),
            ("[::1]", "[::1]:80", true),
        ] {
            let headers = Headers::from_pairs(&[(":authority", authority)]);
            assert_eq!(
                host(ours).matches(Request::new(&headers).host),
                expected,
                "{ours} on {authority}"
            );
            assert_eq!(host(ours).to_string(), ours);
        }
    }

    fn named(name: &str, text: &str, invert: bool) -> Vec<Condition> {
        vec![Condition {
            name: name.as_bytes().into(),
            text: match text {
                "" => Text::Present(true),
                text => Text::Exact(text.as_bytes().into()),
            },
            invert,
        }]
    }

    /// A block with one condition of each kind.
    fn full() -> Block {
        Block {
            hosts: vec![host("a"), host("*.a")],
            path: Some(path("prefix", "/checkout")),
            scheme: Some(b"https"[..].into()),
            methods: vec![b"GET"[..].into(), b"POST"[..].into()],
            headers: named("x-tier", "gold", false),
            cookies: named("beta", "1", false),
            query: named("re gion", "us east", false),
            client_ip: vec![
                Network::parse("10.0.0.0/8").unwrap(),
                Network::parse("::1").unwrap(),
            ],
        }
    }

    const GOOD: &[(&str, &str)] = &[
        (":authority", "a:80"),
        (":path", "/checkout/x?re%20gion=us+east&x"),
        (":scheme", "HTTPS"),
        (":method", "POST"),
        ("x-tier", "gold"),
        ("cookie", "beta=0; beta=1"),
    ];

    fn traced(blocks: Vec<Block>, request: &[(&str, &str)], client: &str) -> Option<String> {
        let headers = Headers::from_pairs(request);
        let (found, mut trace) = scan(&[route(blocks)], &Request::new(&headers), &mut || {
            client.parse().ok()
        });
        let looked = trace.pop().unwrap();
        assert!(trace.is_empty());
        assert_eq!(found.is_some(), looked.failed.is_none());
        looked.failed
    }

    #[test]
    fn every_condition_is_needed_and_the_first_that_fails_is_told() {
        assert_eq!(traced(vec![full()], GOOD, "10.1.2.3"), None);
        assert_eq!(traced(vec![Block::default()], &[], ""), None);
        for (name, value, failed) in [
            (":authority", "b:80", "host: a or *.a, got b"),
            (":authority", "", "host: a or *.a, got nothing"),
            (":path", "/cart?region", "path: prefix /checkout, got /cart"),
            (
                ":path",
                "/\x00\x01",
                "path: prefix /checkout, got /\\u{0}\\u{1}",
            ),
            (":scheme", "http", "scheme: https, got http"),
            (":method", "get", "method: GET or POST, got get"),
            ("x-tier", "silver", "header x-tier: exact gold, got silver"),
            ("cookie", "beta=0; beta=2", "cookie beta: exact 1, got 0, 2"),
            ("cookie", "", "cookie beta: exact 1, got nothing"),
            (
                ":path",
                "/checkout?re+gion=%75s",
                "query re gion: exact us east, got us",
            ),
        ] {
            let mut request = GOOD.to_vec();
            request
                .iter_mut()
                .filter(|pair| pair.0 == name)
                .for_each(|pair| pair.1 = value);
            assert_eq!(
                traced(vec![full()], &request, "10.1.2.3").as_deref(),
                Some(failed)
            );
        }
        let networks = "client_ip: 10.0.0.0/8 or ::1/128, got";
        assert_eq!(
            traced(vec![full()], GOOD, "11.0.0.1"),
            Some(format!("{networks} 11.0.0.1"))
        );
        assert_eq!(
            traced(vec![full()], GOOD, ""),
            Some(format!("{networks} nothing"))
        );
    }

    #[test]
    fn pseudo_headers_are_headers_and_inverted_none_may_match() {
        for (name, text, invert, failed) in [
            (":method", "POST", false, None),
            (
                ":method",
                "POST",
                true,
                Some("header :method: not exact POST, got POST"),
            ),
            (
                "x-none",
                "",
                false,
                Some("header x-none: present, got nothing"),
            ),
            ("x-none", "", true, None),
            ("x-none", "a", true, None),
        ] {
            let block = Block {
                headers: named(name, text, invert),
                ..Block::default()
            };
            assert_eq!(traced(vec![block], GOOD, "").as_deref(), failed);
        }
    }

    #[test]
    fn of_several_blocks_the_one_that_got_furthest_is_told() {
        let blocks = || {
            let other_host = Block {
                hosts: vec![host("b")],
                ..Block::default()
            };
            let other_method = Block {
                methods: vec![b"PUT"[..].into()],
                ..Block::default()
            };
            let other_path = Block {
                path: Some(path("exact", "/y")),
                ..Block::default()
            };
            vec![other_host, other_method, other_path]
        };
        assert_eq!(
            traced(blocks(), GOOD, "").as_deref(),
            Some("method: PUT, got POST")
        );
    }

    #[test]
    fn long_values_are_shortened() {
        let value = "x".repeat(10_000);
        let failed = traced(vec![full()], &[(":authority", &value)], "").unwrap();
        assert_eq!(failed, format!("host: a or *.a, got {}…", "x".repeat(80)));
        let cookies = "beta=0;".repeat(1_000);
        let mut request = GOOD.to_vec();
        request
            .iter_mut()
            .filter(|pair| pair.0 == "cookie")
            .for_each(|pair| pair.1 = &cookies);
        let failed = traced(vec![full()], &request, "").unwrap();
        assert_eq!(
            failed,
            "cookie beta: exact 1, got 0, 0, 0, 0, 0, 0, 0, 0, …"
        );
    }

    #[test]
    fn the_client_is_asked_for_only_where_all_else_matches() {
        let routes = [route(vec![full()]), route(vec![full(), Block::default()])];
        let index = index::Index::new(&routes);
        for (method, asked) in [("PUT", 0), ("GET", 2)] {
            let mut request = GOOD.to_vec();
            request
                .iter_mut()
                .filter(|pair| pair.0 == ":method")
                .for_each(|pair| pair.1 = method);
            let headers = Headers::from_pairs(&request);
            let mut times = 0;
            let found = index.find(&routes, &Request::new(&headers), &mut || {
                times += 1;
                None
            });
            assert_eq!(
                (found, times),
                (
                    Some(Found {
                        route: RouteIndex::new(1),
                        block: 1
                    }),
                    asked
                )
            );
        }
    }
}
