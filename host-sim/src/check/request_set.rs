//! Sets of requests, as blocks describe them: whether one lies within another, whether one is
//! empty, and how one is cut into parts. "Yes" is certain, "no" is not, so a caller warns only of
//! what follows from "yes".

use super::language::Alphabet;
use super::values::{ValueSet, is_in_headers, is_in_queries};
use pointsman_core::http::client_ip::Network;
use pointsman_core::http::device::{Device, Devices};
use pointsman_core::route::condition::{Condition, Text};
use pointsman_core::route::host::HostMatch;
use pointsman_core::route::language::LanguageMatch;
use pointsman_core::route::r#match::{Match, PeerMatch, TlsMatch};
use std::rc::Rc;

/// The requests that meet all of these conditions.
#[derive(Clone)]
pub(super) struct RequestSet<'c> {
    /// The host is one of these. Empty: any.
    pub hosts: Vec<&'c HostMatch>,
    /// The path is one of these. None: any.
    pub path: Option<Rc<ValueSet<'c>>>,
    /// The scheme. None: any.
    pub scheme: Option<&'c [u8]>,
    /// The method is one of these. Empty: any.
    pub methods: Vec<&'c [u8]>,
    /// All of these hold: those of headers, then of cookies, then of the query, each in its order.
    pub requirements: Vec<Requirement<'c>>,
    /// The device is one of these. Empty: any.
    pub devices: Devices,
    /// The language that the client prefers is one of these. None: any, or none.
    pub language: Option<&'c LanguageMatch>,
    /// The client's address is in one of these. Empty: any.
    pub client_ip: Vec<Network>,
    /// What the connection's TLS says of the client. None: anything.
    pub tls: Option<&'c TlsMatch>,
}

/// A condition on the values of one name.
#[derive(Clone)]
pub(super) struct Requirement<'c> {
    /// Where the values stand.
    pub source: ValueSource,
    /// The condition's position in its list.
    pub position: usize,
    /// The name of the values.
    pub name: &'c [u8],
    /// True: at least one value is one of `values`. False: none is.
    pub some: bool,
    /// The values. None: any.
    pub values: Option<Rc<ValueSet<'c>>>,
}

/// Where named values stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueSource {
    /// In the headers.
    Header,
    /// In the cookies.
    Cookie,
    /// In the query.
    Query,
}

impl ValueSource {
    /// The key in a block.
    pub(super) fn key(self) -> &'static str {
        match self {
            ValueSource::Header => "headers",
            ValueSource::Cookie => "cookies",
            ValueSource::Query => "query",
        }
    }

    /// The bytes that values can consist of.
    fn alphabet(self) -> Alphabet {
        match self {
            ValueSource::Header | ValueSource::Cookie => is_in_headers,
            ValueSource::Query => is_in_queries,
        }
    }
}

impl<'c> RequestSet<'c> {
    /// The requests that a block matches.
    pub(super) fn of(block: &'c Match) -> RequestSet<'c> {
        let lists = [
            (ValueSource::Header, &block.headers),
            (ValueSource::Cookie, &block.cookies),
            (ValueSource::Query, &block.query),
        ];
        let requirements = lists.into_iter().flat_map(|(source, conditions)| {
            let conditions = conditions.iter().enumerate();
            conditions
                .map(move |(position, condition)| Requirement::of(source, position, condition))
        });
        RequestSet {
            hosts: block.hosts.iter().collect(),
            path: block.path.as_ref().map(ValueSet::of_path).map(Rc::new),
            scheme: block.scheme.as_deref(),
            methods: block.methods.iter().map(|method| &**method).collect(),
            requirements: requirements.collect(),
            devices: block.devices,
            language: block.language.as_deref(),
            client_ip: block.client_ip.clone(),
            tls: block.tls.as_deref(),
        }
    }

    /// Whether every request of this set is in the other.
    pub(super) fn is_within(&self, outer: &RequestSet) -> bool {
        self.unmet_within(outer, 0).is_some()
    }

    /// The requirements of `outer`, at most `most`, without which every request of this set would
    /// be in `outer`. None: there are more, or others of its conditions are not met.
    pub(super) fn unmet_within<'o>(
        &self,
        outer: &RequestSet<'o>,
        most: usize,
    ) -> Option<Vec<Requirement<'o>>> {
        let host = |inner: &&HostMatch| outer.hosts.iter().any(|outer| host_within(inner, outer));
        let hosts = outer.hosts.is_empty()
            || outer.hosts.contains(&&HostMatch::Any)
            || !self.hosts.is_empty() && self.hosts.iter().all(host);
        let within = hosts
            && match (self.scheme, outer.scheme) {
                (_, None) => true,
                (Some(inner), Some(outer)) => inner.eq_ignore_ascii_case(outer),
                (None, Some(_)) => false,
            }
            && (outer.methods.is_empty()
                || !self.methods.is_empty()
                    && self
                        .methods
                        .iter()
                        .all(|method| outer.methods.contains(method)))
            && (outer.devices.is_empty()
                || outer.devices.iter().count() == Device::ALL.len()
                || !self.devices.is_empty()
                    && self.devices.iter().all(|inner| outer.devices.has(inner)))
            && match (self.language, outer.language) {
                (_, None) => true,
                (Some(inner), Some(outer)) => inner.is_within(outer),
                (None, Some(_)) => false,
            }
            && (outer.client_ip.is_empty()
                || !self.client_ip.is_empty()
                    && self.client_ip.iter().all(|inner| {
                        outer
                            .client_ip
                            .iter()
                            .any(|outer| network_within(inner, outer))
                    }))
            && outer.tls.is_none_or(|outer| tls_within(self.tls, outer))
            && match (&self.path, &outer.path) {
                (_, None) => true,
                (Some(inner), Some(outer)) => inner.is_within(outer),
                (None, Some(_)) => false,
            };
        if !within {
            return None;
        }
        let is_unmet = |outer: &&Requirement| {
            let mut ours = self.requirements.iter();
            !ours.any(|inner| inner.implies(outer))
        };
        let unmet: Vec<_> = outer
            .requirements
            .iter()
            .filter(is_unmet)
            .take(most + 1)
            .cloned()
            .collect();
        (unmet.len() <= most).then_some(unmet)
    }

    /// Two of the requirements that cannot both hold, in their order.
    pub(super) fn contradiction(&self) -> Option<(&Requirement<'c>, &Requirement<'c>)> {
        let mut later = self.requirements.iter().enumerate();
        later.find_map(|(at, requirement)| {
            let earlier = self
                .requirements
                .iter()
                .take(at)
                .find(|earlier| earlier.excludes(requirement))?;
            Some((earlier, requirement))
        })
    }

    /// The parts for each item of a list that has several: their union is this set. None: there is
    /// no such list.
    pub(super) fn parts(&self) -> Option<Vec<RequestSet<'c>>> {
        let part = |change: &dyn Fn(&mut RequestSet<'c>)| {
            let mut part = self.clone();
            change(&mut part);
            part
        };
        if self.hosts.len() > 1 {
            let one = |host: &&'c HostMatch| part(&|part| part.hosts = vec![*host]);
            return Some(self.hosts.iter().map(one).collect());
        }
        if self.methods.len() > 1 {
            let one = |method: &&'c [u8]| part(&|part| part.methods = vec![*method]);
            return Some(self.methods.iter().map(one).collect());
        }
        if self.devices.iter().count() > 1 {
            let one = |device| part(&|part| part.devices = Devices::default().with(device));
            return Some(self.devices.iter().map(one).collect());
        }
        if self.client_ip.len() > 1 {
            let one = |network: &Network| part(&|part| part.client_ip = vec![*network]);
            return Some(self.client_ip.iter().map(one).collect());
        }
        None
    }

    /// The requests of this set that do not meet a requirement.
    pub(super) fn without(&self, requirement: Requirement<'c>) -> RequestSet<'c> {
        let mut rest = self.clone();
        rest.requirements.push(Requirement {
            some: !requirement.some,
            ..requirement
        });
        rest
    }
}

/// Whether what one block asks of TLS is all that another one does, or less.
fn tls_within(inner: Option<&TlsMatch>, outer: &TlsMatch) -> bool {
    let Some(inner) = inner else { return false };
    // `*` is any name, but a name.
    let sni = |inner: &HostMatch| outer.sni.iter().any(|outer| host_within(inner, outer));
    let peer = |inner: &PeerMatch| outer.peer.iter().any(|outer| peer_within(inner, outer));
    (outer.sni.is_empty() || !inner.sni.is_empty() && inner.sni.iter().all(sni))
        && (outer.peer.is_empty() || !inner.peer.is_empty() && inner.peer.iter().all(peer))
}

/// Whether every URI of one is one of the other.
pub(super) fn peer_within(inner: &PeerMatch, outer: &PeerMatch) -> bool {
    match (inner, outer) {
        (PeerMatch::Exact(uri), outer) => outer.matches(uri),
        (PeerMatch::Prefix(inner), PeerMatch::Prefix(outer)) => inner.starts_with(outer),
        (PeerMatch::Prefix(_), PeerMatch::Exact(_)) => false,
    }
}

impl<'c> Requirement<'c> {
    fn of(source: ValueSource, position: usize, condition: &'c Condition) -> Requirement<'c> {
        let (some, values) = match &condition.text {
            Text::Present(present) => (*present, None),
            text => (true, Some(ValueSet::of_text(text, source.alphabet()))),
        };
        Requirement {
            source,
            position,
            name: &condition.name,
            some: some != condition.invert,
            values: values.map(Rc::new),
        }
    }

    /// Whether every request that meets this meets the other, too.
    pub(super) fn implies(&self, other: &Requirement) -> bool {
        self.is_of_same_name(other)
            && match (self.some, other.some) {
                (true, true) => values_within(self.values(), other.values()),
                (false, false) => values_within(other.values(), self.values()),
                _ => false,
            }
    }

    /// Whether no request meets both.
    fn excludes(&self, other: &Requirement) -> bool {
        self.is_of_same_name(other)
            && match (self.some, other.some) {
                (true, false) => values_within(self.values(), other.values()),
                (false, true) => values_within(other.values(), self.values()),
                // Of several values of a name each may meet another requirement; a pseudo-header
                // has one value.
                (true, true) => {
                    self.name.starts_with(b":")
                        && match (self.values(), other.values()) {
                            (Some(one), Some(other)) => one.is_disjoint(other),
                            _ => false,
                        }
                }
                (false, false) => false,
            }
    }

    fn is_of_same_name(&self, other: &Requirement) -> bool {
        (self.source, self.name) == (other.source, other.name)
    }

    fn values(&self) -> Option<&ValueSet<'c>> {
        self.values.as_deref()
    }

    /// Whether it accepts a value.
    pub(super) fn accepts(&self, value: &[u8]) -> bool {
        self.values().is_none_or(|values| values.has(value))
    }

    /// Why no request can meet it. None: one may.
    pub(super) fn why_never(&self) -> Option<&'static str> {
        // (`connection` and `upgrade` stay where another protocol is asked for.)
        const REMOVED: [&[u8]; 3] = [b"keep-alive", b"proxy-connection", b"transfer-encoding"];
        const PSEUDO: [&[u8]; 5] = [
            b":authority",
            b":method",
            b":path",
            b":protocol",
            b":scheme",
        ];
        if !self.some {
            return None;
        }
        if self.source == ValueSource::Header && REMOVED.contains(&self.name) {
            return Some("the proxy removes this header of a connection before any filter");
        }
        if self.name.starts_with(b":") && !PSEUDO.contains(&self.name) {
            return Some("there is no such pseudo-header");
        }
        let condition = self.values()?.text()?;
        let text = condition.text()?;
        let starts = matches!(condition, Text::Exact(_) | Text::Prefix(_));
        let ends = matches!(condition, Text::Exact(_) | Text::Suffix(_));
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        match self.source {
            ValueSource::Header
                if starts && is_blank(text.first()) || ends && is_blank(text.last()) =>
            {
                Some("blanks around a header's value are no part of it")
            }
            ValueSource::Header if !text.iter().all(|byte| is_in_headers(*byte)) => {
                Some("no header has a line break or a NUL")
            }
            ValueSource::Cookie if text.contains(&b';') => Some("a `;` ends a cookie's value"),
            ValueSource::Cookie
                if matches!(condition, Text::Exact(_)) && text.trim_ascii().len() < text.len() =>
            {
                Some("blanks around a cookie's value are no part of it")
            }
            _ => None,
        }
    }
}

/// Whether every value of `inner` is one of `outer`. None: any value.
fn values_within(inner: Option<&ValueSet>, outer: Option<&ValueSet>) -> bool {
    match (inner, outer) {
        (_, None) => true,
        (None, Some(outer)) => outer.has_all(),
        (Some(inner), Some(outer)) => inner.is_within(outer),
    }
}

/// Whether every host that `inner` accepts is one that `outer` accepts.
pub(super) fn host_within(inner: &HostMatch, outer: &HostMatch) -> bool {
    match (inner, outer) {
        (_, HostMatch::Any) => true,
        (HostMatch::Exact(host), outer) => outer.matches(host),
        (HostMatch::Suffix(inner), HostMatch::Suffix(outer)) => inner.ends_with(outer),
        _ => false,
    }
}

/// Whether both accept some host.
pub(crate) fn hosts_overlap(one: &HostMatch, other: &HostMatch) -> bool {
    match (one, other) {
        (HostMatch::Suffix(one), HostMatch::Suffix(other)) => {
            one.ends_with(other) || other.ends_with(one)
        }
        _ => host_within(one, other) || host_within(other, one),
    }
}

/// Whether every address of `inner` is one of `outer`'s.
pub(super) fn network_within(inner: &Network, outer: &Network) -> bool {
    inner.address.is_ipv4() == outer.address.is_ipv4()
        && inner.prefix >= outer.prefix
        && outer.contains(inner.address)
}
