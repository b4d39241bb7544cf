//! Sets of requests, as blocks describe them: which lies within which, which is empty, and how one
//! is cut into parts. "Yes" is certain, "no" is not: whoever asks warns only where it is certain.

use super::path;
use pointsman_core::http::client_ip::Network;
use pointsman_core::route::condition::{Condition, Text};
use pointsman_core::route::path::PathMatch;
use pointsman_core::route::{Block, HostMatch};

/// The requests that meet all of this.
#[derive(Clone, Debug)]
pub struct RequestSet<'c> {
    /// Any of these; empty: any.
    pub hosts: Vec<&'c HostMatch>,
    /// None: any.
    pub path: Option<&'c PathMatch>,
    /// None: any.
    pub scheme: Option<&'c [u8]>,
    /// Any of these; empty: any.
    pub methods: Vec<&'c [u8]>,
    /// All of these: those of headers, then of cookies, then of the query, each in its order.
    pub needs: Vec<Requirement<'c>>,
    /// Any of these; empty: any.
    pub client_ip: Vec<Network>,
}

/// What is asked of the values of one name.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'c> {
    /// Where the values stand.
    pub kind: ValueSource,
    /// Its place in its list.
    pub at: usize,
    /// The name of the values.
    pub name: &'c [u8],
    /// Whether one value at least must be so, or none may.
    pub some: bool,
    /// What a value must be; None: anything.
    pub text: Option<&'c Text>,
}

/// Where named values stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// In the headers.
    Header,
    /// In the cookies.
    Cookie,
    /// In the query.
    Query,
}

impl ValueSource {
    /// The key in a block.
    pub fn key(self) -> &'static str {
        match self {
            ValueSource::Header => "headers",
            ValueSource::Cookie => "cookies",
            ValueSource::Query => "query",
        }
    }
}

impl<'c> RequestSet<'c> {
    /// The requests that a block matches.
    pub fn of(block: &'c Block) -> RequestSet<'c> {
        let lists = [
            (ValueSource::Header, &block.headers),
            (ValueSource::Cookie, &block.cookies),
            (ValueSource::Query, &block.query),
        ];
        let needs = lists.into_iter().flat_map(|(kind, conditions)| {
            let conditions = conditions.iter().enumerate();
            conditions.map(move |(at, condition)| Requirement::of(kind, at, condition))
        });
        RequestSet {
            hosts: block.hosts.iter().collect(),
            path: block.path.as_ref(),
            scheme: block.scheme.as_deref(),
            methods: block.methods.iter().map(|method| &**method).collect(),
            needs: needs.collect(),
            client_ip: block.client_ip.clone(),
        }
    }

    /// Whether every request of this is one of `outer`'s.
    pub fn within(&self, outer: &RequestSet) -> bool {
        self.within_but_for(outer, 0).is_some()
    }

    /// The needs of `outer`, at most `most`, without which every request of this would be one of
    /// `outer`'s.
    pub fn within_but_for<'o>(
        &self,
        outer: &RequestSet<'o>,
        most: usize,
    ) -> Option<Vec<Requirement<'o>>> {
        let host = |inner: &&HostMatch| outer.hosts.iter().any(|outer| host_within(inner, outer));
        let hosts = outer.hosts.is_empty()
            || outer.hosts.contains(&&HostMatch::Any)
            || !self.hosts.is_empty() && self.hosts.iter().all(host);
        let within = hosts
            && match (self.path, outer.path) {
                (_, None) => true,
                (Some(inner), Some(outer)) => path::within(inner, outer),
                (None, Some(_)) => false,
            }
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
            && (outer.client_ip.is_empty()
                || !self.client_ip.is_empty()
                    && self.client_ip.iter().all(|inner| {
                        outer
                            .client_ip
                            .iter()
                            .any(|outer| network_within(inner, outer))
                    }));
        if !within {
            return None;
        }
        let unmet = |outer: &&Requirement| !self.needs.iter().any(|inner| inner.implies(outer));
        let unmet: Vec<_> = outer
            .needs
            .iter()
            .filter(unmet)
            .take(most + 1)
            .copied()
            .collect();
        (unmet.len() <= most).then_some(unmet)
    }

    /// Two of the needs that cannot both hold.
    pub fn contradiction(&self) -> Option<(&Requirement<'c>, &Requirement<'c>)> {
        let mut later = self.needs.iter().enumerate();
        later.find_map(|(at, need)| {
            let earlier = self
                .needs
                .iter()
                .take(at)
                .find(|earlier| earlier.excludes(need))?;
            Some((earlier, need))
        })
    }

    /// The parts for each item of a list that has several: their union is this. None: there is no
    /// such list.
    pub fn parts(&self) -> Option<Vec<RequestSet<'c>>> {
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
        if self.client_ip.len() > 1 {
            let one = |network: &Network| part(&|part| part.client_ip = vec![*network]);
            return Some(self.client_ip.iter().map(one).collect());
        }
        None
    }

    /// Those requests of this that do not meet a need.
    pub fn without(&self, need: Requirement<'c>) -> RequestSet<'c> {
        let mut rest = self.clone();
        rest.needs.push(Requirement {
            some: !need.some,
            ..need
        });
        rest
    }
}

impl<'c> Requirement<'c> {
    fn of(kind: ValueSource, at: usize, condition: &'c Condition) -> Requirement<'c> {
        let (some, text) = match &condition.text {
            Text::Present(present) => (*present, None),
            text => (true, Some(text)),
        };
        Requirement {
            kind,
            at,
            name: &condition.name,
            some: some != condition.invert,
            text,
        }
    }

    /// Whether whatever meets this meets the other too.
    pub fn implies(&self, other: &Requirement) -> bool {
        self.is_of_same(other)
            && match (self.some, other.some) {
                (true, true) => text_within(self.text, other.text),
                (false, false) => text_within(other.text, self.text),
                _ => false,
            }
    }

    /// Whether nothing can meet both.
    fn excludes(&self, other: &Requirement) -> bool {
        self.is_of_same(other)
            && match (self.some, other.some) {
                (true, false) => text_within(self.text, other.text),
                (false, true) => text_within(other.text, self.text),
                // Of the values of a name each may meet another need; a pseudo-header has one
                // value.
                (true, true) => self.name.starts_with(b":") && differ(self.text, other.text),
                (false, false) => false,
            }
    }

    fn is_of_same(&self, other: &Requirement) -> bool {
        (self.kind, self.name) == (other.kind, other.name)
    }

    /// Why nothing can meet it. None: something may.
    pub fn never(&self) -> Option<&'static str> {
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
        if self.name.starts_with(b":") && !PSEUDO.contains(&self.name) {
            return Some("there is no such pseudo-header");
        }
        let (Text::Exact(text) | Text::Prefix(text) | Text::Suffix(text) | Text::Contains(text)) =
            self.text?
        else {
            return None;
        };
        match self.kind {
            ValueSource::Header if text.iter().any(|byte| b"\0\r\n".contains(byte)) => {
                Some("no header has a line break or a NUL")
            }
            ValueSource::Cookie if text.contains(&b';') => Some("a `;` ends a cookie's value"),
            ValueSource::Cookie
                if matches!(self.text, Some(Text::Exact(_)))
                    && text.trim_ascii().len() < text.len() =>
            {
                Some("blanks around a cookie's value are no part of it")
            }
            _ => None,
        }
    }
}

/// Whether every value that `inner` takes is one that `outer` takes. None takes any.
fn text_within(inner: Option<&Text>, outer: Option<&Text>) -> bool {
    use Text::{Contains, Exact, Prefix, Regex, Suffix};
    let has = |text: &[u8], part: &[u8]| Contains(part.into()).matches(text);
    match (inner, outer) {
        (_, None) => true,
        (_, Some(Prefix(text) | Suffix(text) | Contains(text))) if text.is_empty() => true,
        (Some(Exact(text)), Some(outer)) => outer.matches(text),
        (Some(Prefix(inner)), Some(Prefix(outer))) => inner.starts_with(outer),
        (Some(Suffix(inner)), Some(Suffix(outer))) => inner.ends_with(outer),
        (Some(Prefix(inner) | Suffix(inner) | Contains(inner)), Some(Contains(outer))) => {
            has(inner, outer)
        }
        (Some(Regex(inner)), Some(Regex(outer))) => inner.pattern() == outer.pattern(),
        (Some(Regex(inner)), Some(Prefix(outer))) => inner.literal_prefix().starts_with(outer),
        (Some(Regex(inner)), Some(Contains(outer))) => has(inner.literal_prefix(), outer),
        _ => false,
    }
}

/// Whether no single value is as both ask.
fn differ(one: Option<&Text>, other: Option<&Text>) -> bool {
    match (one, other) {
        (Some(Text::Exact(text)), Some(other)) | (Some(other), Some(Text::Exact(text))) => {
            !other.matches(text)
        }
        _ => false,
    }
}

/// Whether every host that `inner` takes is one that `outer` takes.
pub fn host_within(inner: &HostMatch, outer: &HostMatch) -> bool {
    match (inner, outer) {
        (_, HostMatch::Any) => true,
        (HostMatch::Exact(host), outer) => outer.matches(host),
        (HostMatch::Suffix(inner), HostMatch::Suffix(outer)) => inner.ends_with(outer),
        _ => false,
    }
}

/// Whether some host may be one of both.
pub fn hosts_meet(one: &HostMatch, other: &HostMatch) -> bool {
    match (one, other) {
        (HostMatch::Suffix(one), HostMatch::Suffix(other)) => {
            one.ends_with(other) || other.ends_with(one)
        }
        _ => host_within(one, other) || host_within(other, one),
    }
}

/// Whether every address of `inner` is one of `outer`'s.
pub fn network_within(inner: &Network, outer: &Network) -> bool {
    inner.address.is_ipv4() == outer.address.is_ipv4()
        && inner.prefix >= outer.prefix
        && outer.contains(inner.address)
}
