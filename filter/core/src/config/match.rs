//! The key `match` of a route.

use super::condition::{cookie, header, query};
use super::limits;
use super::path::path;
use super::reader::{Node, Report};
use super::syntax;
use crate::http::accept_language::is_tag;
use crate::http::client_ip::Network;
use crate::http::device::{Device, Devices};
use crate::route::Route;
use crate::route::host::HostMatch;
use crate::route::language::{LanguageMatch, Languages};
use crate::route::r#match::{Match, PeerMatch, TlsMatch};
use std::rc::Rc;

const BLOCK_KEYS: &[&str] = &[
    "hosts",
    "path",
    "ignore_case",
    "scheme",
    "methods",
    "headers",
    "cookies",
    "query",
    "device",
    "language",
    "client_ip",
    "tls",
];

/// Reads `match`: one block, or a list of them.
pub(super) fn blocks(node: &Node<'_>, report: &mut Report) -> Vec<Match> {
    if !node.is_list() {
        return vec![block(node, report)];
    }
    let nodes = node.filled_list(
        report,
        "a block of conditions, or a list of blocks",
        limits::MAX_ITEMS,
    );
    let mut blocks: Vec<Match> = nodes.map(|node| block(&node, report)).collect();
    blocks.shrink_to_fit();
    blocks
}

fn block(node: &Node<'_>, report: &mut Report) -> Match {
    report.has_room(node, limits::BLOCK_MEMORY);
    let Some(map) = node.map(report, BLOCK_KEYS) else {
        return Match::default();
    };
    let path_node = map.get("path");
    let ignore_case = map.get("ignore_case");
    if let (Some(node), None) = (&ignore_case, &path_node) {
        report.note(node, "stands without a path", "a `path` beside it");
    }
    let scheme = map
        .get("scheme")
        .and_then(|node| node.choice(report, limits::SCHEMES));
    let hosts = map
        .get("hosts")
        .map(|node| items(&node, "a list of hosts, at least one", host, report))
        .unwrap_or_default();
    let language = map
        .get("language")
        .map(|node| language(&node, &hosts, report));
    Match {
        hosts,
        path: path_node.and_then(|node| path(&node, ignore_case, report)),
        scheme: scheme.map(syntax::bytes),
        methods: map
            .get("methods")
            .map(|node| items(&node, "a list of methods, at least one", method, report))
            .unwrap_or_default(),
        headers: map
            .get("headers")
            .map(|node| items(&node, CONDITIONS, header, report))
            .unwrap_or_default(),
        cookies: map
            .get("cookies")
            .map(|node| items(&node, CONDITIONS, cookie, report))
            .unwrap_or_default(),
        query: map
            .get("query")
            .map(|node| items(&node, CONDITIONS, query, report))
            .unwrap_or_default(),
        devices: map
            .get("device")
            .map(|node| devices(&node, report))
            .unwrap_or_default(),
        language,
        client_ip: map
            .get("client_ip")
            .map(|node| items(&node, "a list of networks, at least one", network, report))
            .unwrap_or_default(),
        tls: map.get("tls").and_then(|node| tls(&node, report)),
    }
}

/// What is said of the connection, whatever is asked for on it.
fn tls(node: &Node<'_>, report: &mut Report) -> Option<Box<TlsMatch>> {
    let map = node.map(report, &["sni", "peer"])?;
    map.need_any(report, &["sni", "peer"]);
    Some(Box::new(TlsMatch {
        sni: map
            .get("sni")
            .map(|node| items(&node, "a list of hosts, at least one", host, report))
            .unwrap_or_default(),
        peer: map
            .get("peer")
            .map(|node| items(&node, "a list of URIs, at least one", peer, report))
            .unwrap_or_default(),
    }))
}

/// One word, or a list of them.
fn devices(node: &Node<'_>, report: &mut Report) -> Devices {
    let mut devices = Devices::default();
    one_or_more(
        node,
        "a device, or a list of them",
        report,
        |node, report| {
            let Some(device) = node.choice(report, Device::ALL) else {
                return;
            };
            if devices.has(device) {
                twice(node, report);
            }
            devices = devices.with(device);
        },
    );
    devices
}

/// One tag, or a list of them.
fn language(node: &Node<'_>, hosts: &[HostMatch], report: &mut Report) -> Box<LanguageMatch> {
    const EXPECTED: &str = "a language tag such as ko, en or pt-BR";
    // Each host stands in the table of languages too.
    let texts = hosts.iter().map(|host| match host {
        HostMatch::Exact(text) | HostMatch::Suffix(text) => limits::ITEM_MEMORY + text.len(),
        HostMatch::Any => 0,
    });
    report.has_room(node, texts.sum());
    let mut tags: Vec<Box<[u8]>> = Vec::new();
    one_or_more(
        node,
        "a language tag, or a list of them",
        report,
        |node, report| {
            let is_good = |text: &str| is_tag(text.as_bytes());
            let Some(tag) = node.text_that(report, is_good, EXPECTED) else {
                return;
            };
            let tag = syntax::lower(tag);
            if tags.contains(&tag) {
                twice(node, report);
            }
            tags.push(tag);
        },
    );
    tags.shrink_to_fit();
    Box::new(LanguageMatch::new(tags))
}

fn one_or_more(
    node: &Node<'_>,
    expected: &str,
    report: &mut Report,
    mut read: impl FnMut(&Node<'_>, &mut Report),
) {
    if !node.is_list() {
        return read(node, report);
    }
    let nodes = node.filled_list(report, expected, limits::MAX_LANGUAGES);
    nodes.for_each(|node| read(&node, report));
}

fn twice(node: &Node<'_>, report: &mut Report) {
    let found = format!("{} a second time", node.shown());
    report.note(node, &found, "each at most once");
}

/// Links the conditions on languages: each compares with what all routes name.
pub(super) fn link_languages(list: &Node<'_>, routes: &mut [Route], report: &mut Report) {
    let blocks = routes.iter().flat_map(|route| &route.blocks);
    let conditions = || {
        let of = |block: &'_ Match| block.language.is_some();
        blocks.clone().filter(move |block| of(block))
    };
    if conditions().next().is_none() {
        return;
    }
    let named = conditions().filter_map(|block| Some((&*block.hosts, block.language.as_deref()?)));
    let Some(languages) = Languages::of(named) else {
        let most = limits::MAX_LANGUAGES;
        let expected = format!("at most {most} languages in all");
        return report.note(list, "more languages", &expected);
    };
    let languages = Rc::new(languages);
    for block in routes.iter_mut().flat_map(|route| &mut route.blocks) {
        if let Some(condition) = &mut block.language {
            languages.link(condition);
        }
    }
}

const CONDITIONS: &str = "a list of conditions such as { name: x, exact: y }, at least one";

fn items<T>(
    list: &Node<'_>,
    expected: &str,
    read: fn(&Node<'_>, &mut Report) -> Option<T>,
    report: &mut Report,
) -> Vec<T> {
    let items = list.filled_list(report, expected, limits::MAX_ITEMS);
    let mut items: Vec<T> = items.filter_map(|node| read(&node, report)).collect();
    // Nearly all lists have one item, and a vector that grows has room for four.
    items.shrink_to_fit();
    items
}

fn host(node: &Node<'_>, report: &mut Report) -> Option<HostMatch> {
    const EXPECTED: &str =
        "`*`, a host such as shop.example.com, or `*.example.com`; without a port";
    let text = node.text(report, EXPECTED)?;
    if text == "*" {
        return Some(HostMatch::Any);
    }
    let wild = text.strip_prefix("*.");
    if !syntax::is_host(wild.unwrap_or(text)) {
        node.wrong(report, EXPECTED);
    }
    // As requests have it: without the dot that makes a name absolute.
    let text = text.strip_suffix('.').unwrap_or(text);
    Some(match wild {
        Some(_) => HostMatch::Suffix(syntax::lower(text.strip_prefix('*').unwrap_or_default())),
        None => HostMatch::Exact(syntax::lower(text)),
    })
}

fn peer(node: &Node<'_>, report: &mut Report) -> Option<PeerMatch> {
    const EXPECTED: &str = "the URI of a certificate, such as spiffe://mesh/ns/shop/sa/web, or the \
                            beginning of some with a `*` behind it";
    let text = node.text(report, EXPECTED)?;
    let begins = text.strip_suffix('*');
    let uri = begins.unwrap_or(text);
    if !syntax::is_uri_text(uri) {
        node.wrong(report, EXPECTED);
    }
    Some(match begins {
        Some(_) => PeerMatch::Prefix(syntax::bytes(uri)),
        None => PeerMatch::Exact(syntax::bytes(uri)),
    })
}

fn method(node: &Node<'_>, report: &mut Report) -> Option<Box<[u8]>> {
    const EXPECTED: &str = "a method such as GET; methods compare by case";
    const KNOWN: &[&str] = &[
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    let text = node.text_that(report, syntax::is_token, EXPECTED)?;
    let meant = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(text));
    if let Some(meant) = meant
        && *meant != text
    {
        report.note_near(node, &node.shown(), EXPECTED, Some(meant));
    }
    Some(syntax::bytes(text))
}

fn network(node: &Node<'_>, report: &mut Report) -> Option<Network> {
    const EXPECTED: &str = "a network such as 10.0.0.0/8 or 2001:db8::/32, or an address";
    let text = node.text(report, EXPECTED)?;
    let network = Network::parse(text);
    if network.is_none() {
        node.wrong(report, EXPECTED);
    }
    network
}
