//! What a block asks of each subject of a request, and the values of a subject that conditions tell
//! apart.

use crate::check::language::joint;
use crate::check::language::{Alphabet, Language};
use crate::check::values::{is_in_headers, is_in_paths, is_in_queries};
use pointsman_core::http::client_ip::Network;
use pointsman_core::route::condition::{Condition, Text};
use pointsman_core::route::host::HostMatch;
use pointsman_core::route::r#match::{Match, PeerMatch};
use pointsman_core::route::path::{PathKind, PathMatch};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What conditions can be about. Each is independent of the others, as far as is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject<'c> {
    Host,
    Path,
    Method,
    Scheme,
    /// The client's address, as this table knows it. True: it comes from a header, which may be
    /// missing.
    Address(Table, bool),
    ServerName,
    Peer,
    /// The values of one name.
    Named(Source, &'c [u8]),
}

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    Old,
    New,
}

/// Where named values stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    Header,
    Cookie,
    Query,
}

/// One condition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constraint<'c> {
    pub subject: Subject<'c>,
    pub test: ValueTest<'c>,
    /// False: the opposite has to hold.
    pub holds: bool,
}

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum ValueTest<'c> {
    Hosts(&'c [HostMatch]),
    Path(&'c PathMatch),
    Methods(&'c [Box<[u8]>]),
    Scheme(&'c [u8]),
    Networks(&'c [Network]),
    Peers(&'c [PeerMatch]),
    Text(&'c Text),
}

/// A value of a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    Absent,
    Bytes(Vec<u8>),
    Address(IpAddr),
}

/// The conditions of a block. `address`: the subject of those on the client's address.
pub(super) fn constraints<'c>(block: &'c Match, address: Subject<'c>) -> Vec<Constraint<'c>> {
    // Every field is named, so that a new kind of condition cannot be forgotten here.
    let Match {
        hosts,
        path,
        scheme,
        methods,
        headers,
        cookies,
        query,
        client_ip,
        tls,
        // `Blocks` tells of these two: they are of several headers together.
        devices: _,
        language: _,
    } = block;
    let holds = |subject, test| Constraint {
        subject,
        test,
        holds: true,
    };
    let mut all = Vec::new();
    if !hosts.is_empty() {
        all.push(holds(Subject::Host, ValueTest::Hosts(hosts)));
    }
    all.extend(
        path.iter()
            .map(|path| holds(Subject::Path, ValueTest::Path(path))),
    );
    let scheme = scheme.iter();
    all.extend(scheme.map(|scheme| holds(Subject::Scheme, ValueTest::Scheme(scheme))));
    if !methods.is_empty() {
        all.push(holds(Subject::Method, ValueTest::Methods(methods)));
    }
    for (source, conditions) in [
        (Source::Header, headers),
        (Source::Cookie, cookies),
        (Source::Query, query),
    ] {
        all.extend(conditions.iter().map(|condition| named(source, condition)));
    }
    if !client_ip.is_empty() {
        all.push(holds(address, ValueTest::Networks(client_ip)));
    }
    if let Some(tls) = tls {
        if !tls.sni.is_empty() {
            all.push(holds(Subject::ServerName, ValueTest::Hosts(&tls.sni)));
        }
        if !tls.peer.is_empty() {
            all.push(holds(Subject::Peer, ValueTest::Peers(&tls.peer)));
        }
    }
    all
}

fn named(source: Source, condition: &Condition) -> Constraint<'_> {
    let subject = match (source, &*condition.name) {
        (Source::Header, b":method") => Subject::Method,
        (Source::Header, b":scheme") => Subject::Scheme,
        (source, name) => Subject::Named(source, name),
    };
    Constraint {
        subject,
        test: ValueTest::Text(&condition.text),
        holds: !condition.invert,
    }
}

impl Subject<'_> {
    /// Whether it has one value, which is always there.
    pub(super) fn is_one(&self) -> bool {
        !matches!(self, Subject::Named(..))
    }

    /// Whether it has at most one value.
    pub(super) fn is_at_most_one(&self) -> bool {
        match self {
            Subject::Named(Source::Header, name) => name.starts_with(b":"),
            Subject::Named(..) => false,
            _ => true,
        }
    }

    fn alphabet(&self) -> Alphabet {
        match self {
            Subject::Path => is_in_paths,
            Subject::Named(Source::Cookie, _) => |byte| is_in_headers(byte) && byte != b';',
            Subject::Named(Source::Query, _) => is_in_queries,
            _ => is_in_headers,
        }
    }

    /// The pattern of all its values.
    fn all(&self) -> &'static str {
        match self {
            Subject::Path => r"/(?s:.*)|\*",
            Subject::Method => "[!-~]+",
            Subject::Named(Source::Query, _) => "(?s:.*)",
            _ => r"(?s:([^ \t](.*[^ \t])?)?)",
        }
    }
}

/// As people name it.
impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        match self {
            Subject::Host => f.write_str("the host"),
            Subject::Path => f.write_str("the path"),
            Subject::Method => f.write_str("the method"),
            Subject::Scheme => f.write_str("the scheme"),
            Subject::Address(..) => f.write_str("the client's address"),
            Subject::ServerName => f.write_str("tls.sni"),
            Subject::Peer => f.write_str("tls.peer"),
            Subject::Named(Source::Header, of) => write!(f, "the header {}", name(of)),
            Subject::Named(Source::Cookie, of) => write!(f, "the cookie {}", name(of)),
            Subject::Named(Source::Query, of) => write!(f, "the query parameter {}", name(of)),
        }
    }
}

impl ValueTest<'_> {
    /// What tells it from others: where it stands in memory.
    pub(super) fn id(&self) -> usize {
        match self {
            ValueTest::Hosts(it) => it.as_ptr() as usize,
            ValueTest::Path(it) => std::ptr::from_ref(*it) as usize,
            ValueTest::Methods(it) => it.as_ptr() as usize,
            ValueTest::Scheme(it) => it.as_ptr() as usize,
            ValueTest::Networks(it) => it.as_ptr() as usize,
            ValueTest::Peers(it) => it.as_ptr() as usize,
            ValueTest::Text(it) => std::ptr::from_ref(*it) as usize,
        }
    }

    /// Whether a value is as it must be.
    pub(super) fn accepts(&self, atom: &Atom) -> bool {
        match (self, atom) {
            (ValueTest::Hosts(hosts), Atom::Bytes(host)) => hosts.iter().any(|it| it.matches(host)),
            (ValueTest::Path(path), Atom::Bytes(value)) => path.matches(value),
            (ValueTest::Methods(methods), Atom::Bytes(value)) => {
                methods.iter().any(|method| **method == **value)
            }
            (ValueTest::Scheme(scheme), Atom::Bytes(value)) => scheme.eq_ignore_ascii_case(value),
            (ValueTest::Networks(networks), Atom::Address(address)) => {
                networks.iter().any(|network| network.contains(*address))
            }
            (ValueTest::Peers(peers), Atom::Bytes(uri)) => peers.iter().any(|it| it.matches(uri)),
            (ValueTest::Text(Text::Present(present)), atom) => (*atom != Atom::Absent) == *present,
            (ValueTest::Text(text), Atom::Bytes(value)) => text.matches(value),
            _ => false,
        }
    }

    fn language(&self) -> Option<Language> {
        match self {
            ValueTest::Path(path) => Language::of_path(path),
            ValueTest::Text(text) => Language::of_text(text),
            ValueTest::Methods(methods) => {
                let escaped = methods.iter().map(|method| {
                    let bytes = method.iter().map(|byte| format!(r"\x{byte:02x}"));
                    bytes.collect::<String>()
                });
                Language::of_pattern(&escaped.collect::<Vec<_>>().join("|"), false)
            }
            _ => None,
        }
    }

    /// How it is written, for people; None: it needs no automaton.
    pub(super) fn pattern(&self) -> Option<String> {
        match self {
            ValueTest::Path(path) => match &path.kind {
                PathKind::Regex(regex) => Some(format!("the path's regex {}", regex.pattern())),
                PathKind::Template(_) => Some(format!("the path's {path}")),
                _ => path.ignore_case.then(|| format!("the path's {path}")),
            },
            ValueTest::Text(Text::Regex(regex)) => Some(format!("the regex {}", regex.pattern())),
            _ => None,
        }
    }
}

/// Values of a subject such that whatever value a request has, one of these is accepted by the same
/// of the tests. Simple ones come first. None: there are too many to look at.
pub(super) fn atoms(subject: &Subject<'_>, tests: &[ValueTest<'_>]) -> Option<Vec<Atom>> {
    match subject {
        Subject::Host | Subject::ServerName => {
            let hosts = tests.iter().flat_map(|test| match test {
                ValueTest::Hosts(hosts) => *hosts,
                _ => &[],
            });
            let absent = (*subject == Subject::ServerName).then_some(Atom::Absent);
            let hosts = host_atoms(hosts).into_iter().map(Atom::Bytes);
            Some(hosts.chain(absent).collect())
        }
        Subject::Scheme => Some(
            [b"http", &b"https"[..]]
                .map(|it| Atom::Bytes(it.into()))
                .into(),
        ),
        Subject::Address(_, can_be_absent) => {
            let networks = tests.iter().flat_map(|test| match test {
                ValueTest::Networks(networks) => *networks,
                _ => &[],
            });
            let absent = can_be_absent.then_some(Atom::Absent);
            Some(addresses(networks).into_iter().chain(absent).collect())
        }
        Subject::Peer => {
            let peers = tests.iter().flat_map(|test| match test {
                ValueTest::Peers(peers) => *peers,
                _ => &[],
            });
            let mut texts = Vec::new();
            let mut prefixes = vec![Vec::new()];
            for peer in peers {
                match peer {
                    PeerMatch::Exact(uri) => texts.push(uri.to_vec()),
                    // One that is the prefix itself is accepted as any shorter one is.
                    PeerMatch::Prefix(start) => prefixes.push(start.to_vec()),
                }
            }
            let atoms = literal_atoms(texts, prefixes).into_iter();
            let atoms = atoms.filter(|uri| !uri.is_empty()).map(Atom::Bytes);
            Some(atoms.chain([Atom::Absent]).collect())
        }
        Subject::Path | Subject::Method | Subject::Named(..) => text_atoms(subject, tests),
    }
}

fn text_atoms(subject: &Subject<'_>, tests: &[ValueTest<'_>]) -> Option<Vec<Atom>> {
    let (mut texts, mut prefixes) = (Vec::new(), Vec::new());
    let mut are_literal = true;
    for test in tests {
        match test {
            ValueTest::Path(path) => match &path.kind {
                PathKind::Exact(text) if !path.ignore_case => texts.push(text.to_vec()),
                PathKind::Prefix(text) if !path.ignore_case => {
                    texts.push(text.to_vec());
                    prefixes.push([text, &b"/"[..]].concat());
                }
                _ => are_literal = false,
            },
            ValueTest::Methods(methods) => {
                texts.extend(methods.iter().map(|method| method.to_vec()))
            }
            ValueTest::Text(Text::Exact(text)) => texts.push(text.to_vec()),
            ValueTest::Text(Text::Prefix(text)) => {
                texts.push(text.to_vec());
                prefixes.push(text.to_vec());
            }
            ValueTest::Text(Text::Present(_)) => {}
            _ => are_literal = false,
        }
    }
    let values: Vec<Vec<u8>> = match are_literal {
        true => {
            match subject {
                Subject::Path => {
                    texts.extend([b"/".to_vec(), b"*".to_vec()]);
                    prefixes.push(b"/".to_vec());
                }
                Subject::Method => {
                    texts.splice(0..0, [b"GET".to_vec()]);
                    prefixes.push(b"OTHER".to_vec());
                }
                _ => prefixes.push(Vec::new()),
            }
            let alphabet = subject.alphabet();
            let is_one = |text: &Vec<u8>| match subject {
                Subject::Path => text == b"*" || text.starts_with(b"/"),
                Subject::Method => !text.is_empty(),
                Subject::Named(Source::Query, _) => true,
                _ => text.trim_ascii().len() == text.len(),
            };
            let all = literal_atoms(texts, prefixes).into_iter();
            all.filter(|text| is_one(text) && text.iter().all(|byte| alphabet(*byte)))
                .collect()
        }
        false => {
            let languages: Option<Vec<Language>> = tests.iter().map(ValueTest::language).collect();
            let languages = languages?;
            let languages: Vec<&Language> = languages.iter().collect();
            let all = Language::of_pattern(subject.all(), false)?;
            let samples = joint::samples(&all, &languages, subject.alphabet())?;
            samples.into_iter().map(|(_, text)| text).collect()
        }
    };
    Some(values.into_iter().map(Atom::Bytes).collect())
}

/// The texts, and for each prefix something that starts so and is none of the texts, nor starts
/// with a longer prefix.
fn literal_atoms(texts: Vec<Vec<u8>>, prefixes: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let longer: BTreeSet<Vec<u8>> = texts.iter().chain(&prefixes).cloned().collect();
    let mut seen = BTreeSet::new();
    let mut all: Vec<_> = texts;
    for prefix in &prefixes {
        let from = longer.range(prefix.clone()..);
        let below: Vec<_> = from.take_while(|text| text.starts_with(prefix)).collect();
        let number = |number: u32| match number {
            0 => [&prefix[..], b"x"].concat(),
            number => [&prefix[..], format!("x{number}").as_bytes()].concat(),
        };
        let is_new = |text: &Vec<u8>| {
            let taken = |other: &&&Vec<u8>| {
                other.len() > prefix.len() && text.starts_with(other) || *other == &text
            };
            !below.iter().any(|other| taken(&other))
        };
        // Where `x` itself is a text, so is what starts with it; then other letters will do.
        let letters = (b'a'..=b'z').chain(b'0'..=b'9').chain(0x21..=0x7e);
        let others = letters.map(|byte| [&prefix[..], &[byte, b'q', b'z']].concat());
        let found = (0..4).map(number).chain(others).find(is_new);
        all.extend(found);
    }
    all.retain(|text| seen.insert(text.clone()));
    all
}

fn host_atoms<'c>(hosts: impl Iterator<Item = &'c HostMatch>) -> Vec<Vec<u8>> {
    let (mut exact, mut suffixes) = (Vec::new(), Vec::new());
    for host in hosts {
        match host {
            HostMatch::Exact(host) => exact.push(host.to_vec()),
            HostMatch::Suffix(suffix) => suffixes.push(suffix.to_vec()),
            HostMatch::Any => {}
        }
    }
    suffixes.push(b".example.com".to_vec());
    suffixes.push(b".other.test".to_vec());
    let taken: BTreeSet<Vec<u8>> = exact.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    let labels = |suffix: &Vec<u8>| {
        let names = std::iter::once("www".to_owned()).chain((0..).map(|n| format!("x{n}")));
        let mut all = names.map(|name| [name.as_bytes(), suffix].concat());
        all.find(|host| !taken.contains(host)).unwrap_or_default()
    };
    let mut all = exact.clone();
    all.extend(suffixes.iter().map(labels));
    all.retain(|host| seen.insert(host.clone()));
    all
}

/// The first address of each network, the one behind each, and some that are in none.
fn addresses<'c>(networks: impl Iterator<Item = &'c Network>) -> Vec<Atom> {
    let mut all = vec![
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    for network in networks {
        let prefix = u32::from(network.prefix);
        let behind = match network.address {
            IpAddr::V4(first) => {
                // Not the network's own address where there is another one.
                if prefix < 31 {
                    all.push(IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | 1)));
                }
                let last = first.to_bits() | u32::MAX.checked_shr(prefix).unwrap_or(0);
                last.checked_add(1)
                    .map(|it| IpAddr::V4(Ipv4Addr::from_bits(it)))
            }
            IpAddr::V6(first) => {
                let last = first.to_bits() | u128::MAX.checked_shr(prefix).unwrap_or(0);
                last.checked_add(1)
                    .map(|it| IpAddr::V6(Ipv6Addr::from_bits(it)))
            }
        };
        all.push(network.address);
        all.extend(behind);
    }
    // (An IPv4 address that is mapped counts as IPv4, so it is no address of its own here.)
    let mut seen = BTreeSet::new();
    all.retain(|address| address.to_canonical() == *address && seen.insert(*address));
    all.into_iter().map(Atom::Address).collect()
}
