//! `match`: which requests a route takes. It is a list of blocks of conditions; one block is
//! enough, and in it all conditions must hold.

use super::condition::Condition;
use super::escaped::{Escaped, listed};
use super::host::HostMatch;
use super::language::LanguageMatch;
use super::path::PathMatch;
use crate::http::client_ip::Network;
use crate::http::device::Devices;
use crate::http::request::Request;
use std::fmt;
use std::net::IpAddr;

/// One block of a route's `match`: conditions that must all hold.
#[derive(Debug, Default)]
pub struct Match {
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
    /// Any of these; empty: any.
    pub devices: Devices,
    /// None: any language, or none. Few blocks have it.
    pub language: Option<Box<LanguageMatch>>,
    /// Any of these; empty: any address.
    pub client_ip: Vec<Network>,
    /// None: any connection. Few blocks have it.
    pub tls: Option<Box<TlsMatch>>,
}

/// `tls`: what the connection's TLS must say of the client. Both must hold.
#[derive(Debug, Default)]
pub struct TlsMatch {
    /// The name that the client asked for in the handshake: any of these; empty: any, or none.
    pub sni: Vec<HostMatch>,
    /// The first URI of its certificate: any of these; empty: any, or none.
    pub peer: Vec<PeerMatch>,
}

/// The URI of a certificate, by case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMatch {
    /// This one.
    Exact(Box<[u8]>),
    /// `spiffe://mesh/*`: whatever begins so, and goes on.
    Prefix(Box<[u8]>),
}

/// A condition of a block that a request does not meet, in the order in which conditions are
/// tested: cheap ones first, then the client's address, which may cost a host call, and those that
/// cost one. The number is the condition's place in its list.
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
    /// `device`
    Device,
    /// `language`
    Language,
    /// `client_ip`
    ClientIp,
    /// `tls.sni`
    Sni,
    /// `tls.peer`
    Peer,
}

/// Asks for the client's address. It is called only if something needs the address, and remembers
/// the answer.
pub type AskClient<'a> = dyn FnMut() -> Option<IpAddr> + 'a;

/// What conditions may ask of the connection. Each is asked only if a condition needs it, and
/// remembered.
pub trait AskConnection {
    /// The address that conditions on networks compare.
    fn address(&mut self) -> Option<IpAddr>;
    /// The name that the client asked for in the TLS handshake.
    fn server_name(&mut self) -> Option<&[u8]>;
    /// The first URI of the client's certificate.
    fn peer(&mut self) -> Option<&[u8]>;
}

/// A connection without TLS.
impl<F: FnMut() -> Option<IpAddr>> AskConnection for F {
    fn address(&mut self) -> Option<IpAddr> {
        self()
    }

    fn server_name(&mut self) -> Option<&[u8]> {
        None
    }

    fn peer(&mut self) -> Option<&[u8]> {
        None
    }
}

impl Match {
    /// The path, where there is no other condition.
    #[inline]
    pub(super) fn lone_path(&self) -> Option<&PathMatch> {
        let is_lone = self.hosts.len()
            + self.methods.len()
            + self.headers.len()
            + self.cookies.len()
            + self.query.len()
            + self.client_ip.len()
            == 0
            && self.scheme.is_none()
            && self.devices.is_empty()
            && self.language.is_none()
            && self.tls.is_none();
        self.path.as_ref().filter(|_| is_lone)
    }

    /// Whether a request meets every condition. Of the connection nothing is asked unless all others
    /// hold.
    pub fn matches(&self, request: &Request, connection: &mut dyn AskConnection) -> bool {
        self.mismatch(request, connection).is_none()
    }

    /// The first condition that a request does not meet. None: it meets all.
    #[inline(never)]
    pub fn mismatch(
        &self,
        request: &Request,
        connection: &mut dyn AskConnection,
    ) -> Option<Mismatch> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| host.matches(request.host())) {
            return Some(Mismatch::Host);
        }
        if self
            .path
            .as_ref()
            .is_some_and(|path| !path.matches_of(request))
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
        let steps = &request.steps;
        let fails = |header: &Condition| {
            steps.count(request.headers.count());
            !header.holds(request.headers.all(&header.name), steps)
        };
        if let Some(at) = self.headers.iter().position(fails) {
            return Some(Mismatch::Header(at));
        }
        let fails = |cookie: &Condition| !cookie.holds(request.cookie_values(&cookie.name), steps);
        if let Some(at) = self.cookies.iter().position(fails) {
            return Some(Mismatch::Cookie(at));
        }
        let fails =
            |parameter: &Condition| !parameter.holds(request.query_values(&parameter.name), steps);
        if let Some(at) = self.query.iter().position(fails) {
            return Some(Mismatch::Query(at));
        }
        if !self.devices.is_empty() && !self.devices.has(request.device()) {
            return Some(Mismatch::Device);
        }
        if let Some(language) = &self.language
            && !language.matches(request)
        {
            return Some(Mismatch::Language);
        }
        if !self.client_ip.is_empty() {
            let client = connection.address();
            let within = |network: &Network| client.is_some_and(|client| network.contains(client));
            if !self.client_ip.iter().any(within) {
                return Some(Mismatch::ClientIp);
            }
        }
        self.tls.as_ref().and_then(|tls| tls.mismatch(connection))
    }

    /// What a condition wants and what the request has, as text for people.
    pub(super) fn explain(
        &self,
        mismatch: Mismatch,
        request: &Request,
        connection: &mut dyn AskConnection,
    ) -> String {
        let one = |value: &[u8]| match value.is_empty() {
            true => "nothing".to_owned(),
            false => Escaped(value).to_string(),
        };
        let named =
            |kind: &str, condition: &Condition, values: &mut dyn Iterator<Item = String>| {
                let values = listed(values, ", ");
                let got = if values.is_empty() {
                    "nothing"
                } else {
                    &values
                };
                format!(
                    "{kind} {}: {condition}, got {got}",
                    Escaped(&condition.name)
                )
            };
        let text = match mismatch {
            Mismatch::Host => Some(format!(
                "host: {}, got {}",
                listed(&self.hosts, " or "),
                one(request.host())
            )),
            Mismatch::Path => self
                .path
                .as_ref()
                .map(|path| format!("path: {path}, got {}", one(request.path))),
            Mismatch::Scheme => {
                let scheme = self.scheme.as_deref();
                scheme.map(|scheme| {
                    format!("scheme: {}, got {}", Escaped(scheme), one(request.scheme))
                })
            }
            Mismatch::Method => {
                let methods = listed(self.methods.iter().map(|method| Escaped(method)), " or ");
                Some(format!("method: {methods}, got {}", one(request.method)))
            }
            Mismatch::Header(at) => self.headers.get(at).map(|header| {
                let values = request.headers.all(&header.name);
                named(
                    "header",
                    header,
                    &mut values.map(|value| Escaped(value).to_string()),
                )
            }),
            Mismatch::Cookie(at) => self.cookies.get(at).map(|cookie| {
                let values = request.cookie_values(&cookie.name);
                named(
                    "cookie",
                    cookie,
                    &mut values.map(|value| Escaped(value).to_string()),
                )
            }),
            Mismatch::Query(at) => self.query.get(at).map(|parameter| {
                let values = request.query_values(&parameter.name);
                named(
                    "query",
                    parameter,
                    &mut values.map(|value| Escaped(value).to_string()),
                )
            }),
            Mismatch::Device => Some(format!(
                "device: {}, got {}",
                self.devices,
                request.device().word()
            )),
            Mismatch::Language => self.language.as_ref().map(|language| {
                let got = one(language.preferred(request).unwrap_or_default());
                format!("language: {language}, got {got}")
            }),
            Mismatch::ClientIp => {
                let client = connection.address();
                let client = client.map_or_else(|| one(&[]), |client| client.to_string());
                Some(format!(
                    "client_ip: {}, got {client}",
                    listed(&self.client_ip, " or ")
                ))
            }
            Mismatch::Sni => self.tls.as_ref().map(|tls| {
                let got = one(connection.server_name().unwrap_or_default());
                format!("tls sni: {}, got {got}", listed(&tls.sni, " or "))
            }),
            Mismatch::Peer => self.tls.as_ref().map(|tls| {
                let got = one(connection.peer().unwrap_or_default());
                format!("tls peer: {}, got {got}", listed(&tls.peer, " or "))
            }),
        };
        text.unwrap_or_default()
    }
}

impl TlsMatch {
    fn mismatch(&self, connection: &mut dyn AskConnection) -> Option<Mismatch> {
        if !self.sni.is_empty() {
            let name = connection.server_name();
            let is_it = |host: &HostMatch| name.is_some_and(|name| host.matches(name));
            if !self.sni.iter().any(is_it) {
                return Some(Mismatch::Sni);
            }
        }
        if !self.peer.is_empty() {
            let peer = connection.peer();
            let is_it = |wanted: &PeerMatch| peer.is_some_and(|peer| wanted.matches(peer));
            if !self.peer.iter().any(is_it) {
                return Some(Mismatch::Peer);
            }
        }
        None
    }
}

impl PeerMatch {
    /// Whether a certificate's URI is as it must be.
    pub fn matches(&self, uri: &[u8]) -> bool {
        match self {
            PeerMatch::Exact(exact) => uri == &exact[..],
            PeerMatch::Prefix(prefix) => uri.len() > prefix.len() && uri.starts_with(prefix),
        }
    }
}

/// As it stands in the configuration.
impl fmt::Display for PeerMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerMatch::Exact(uri) => write!(f, "{}", Escaped(uri)),
            PeerMatch::Prefix(start) => write!(f, "{}*", Escaped(start)),
        }
    }
}
