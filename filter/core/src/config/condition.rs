//! The key `match` of a route.

use super::reader::{Node, Report};
use super::redirect::SCHEMES;
use super::rewrite::template;
use super::syntax;
use crate::http::client_ip::Network;
use crate::http::regex::Regex;
use crate::route::condition::{Condition, Text};
use crate::route::path::{PathKind, PathMatch};
use crate::route::{Block, HostMatch};

/// The most blocks of a route, and the most items of each list in a block.
pub const MAX_ITEMS: usize = 10_000;

const BLOCK_KEYS: &[&str] = &[
    "hosts",
    "path",
    "ignore_case",
    "scheme",
    "methods",
    "headers",
    "cookies",
    "query",
    "client_ip",
];

/// Reads `match`: one block, or a list of them.
pub fn blocks(node: &Node<'_>, report: &mut Report) -> Vec<Block> {
    if !node.is_list() {
        return vec![block(node, report)];
    }
    node.filled_list(
        report,
        "a block of conditions, or a list of blocks",
        MAX_ITEMS,
    )
    .map(|node| block(&node, report))
    .collect()
}

fn block(node: &Node<'_>, report: &mut Report) -> Block {
    let Some(map) = node.map(report, BLOCK_KEYS) else {
        return Block::default();
    };
    let path_node = map.get("path");
    let ignore_case = map.get("ignore_case");
    if let (Some(node), None) = (&ignore_case, &path_node) {
        report.note(node, "stands without a path", "a `path` beside it");
    }
    let scheme = map
        .get("scheme")
        .and_then(|node| node.choice(report, SCHEMES));
    Block {
        hosts: map
            .get("hosts")
            .map(|node| items(&node, "a list of hosts, at least one", host, report))
            .unwrap_or_default(),
        path: path_node.and_then(|node| path(&node, ignore_case, report)),
        scheme: scheme
            .and_then(|chosen| SCHEMES.get(chosen))
            .map(|scheme| syntax::bytes(scheme)),
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
        client_ip: map
            .get("client_ip")
            .map(|node| items(&node, "a list of networks, at least one", network, report))
            .unwrap_or_default(),
    }
}

const CONDITIONS: &str = "a list of conditions such as { name: x, exact: y }, at least one";

fn items<T>(
    list: &Node<'_>,
    expected: &str,
    read: fn(&Node<'_>, &mut Report) -> Option<T>,
    report: &mut Report,
) -> Vec<T> {
    list.filled_list(report, expected, MAX_ITEMS)
        .filter_map(|node| read(&node, report))
        .collect()
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
    Some(match wild {
        Some(_) => HostMatch::Suffix(syntax::lower(text.strip_prefix('*').unwrap_or_default())),
        None => HostMatch::Exact(syntax::lower(text)),
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

fn path(node: &Node<'_>, beside: Option<Node<'_>>, report: &mut Report) -> Option<PathMatch> {
    const KINDS: &[&str] = &["exact", "prefix", "regex", "template"];
    const PATH: &str = "a path that starts with `/`; it is compared without the query";
    let map = node.map(
        report,
        &["exact", "prefix", "regex", "template", "ignore_case"],
    )?;
    let within = map.get("ignore_case");
    if let (Some(within), Some(beside)) = (&within, &beside) {
        report.note(
            within,
            &format!("{} is given too", beside.place()),
            "one of the two",
        );
    }
    let ignore_case = within
        .or(beside)
        .and_then(|node| node.yes(report))
        .unwrap_or_default();
    let kind_node = map.exactly_one(report, KINDS)?;
    if kind_node.key() == "regex" {
        let kind = PathKind::Regex(regex(
            &kind_node,
            |pattern| Regex::new(pattern, ignore_case),
            report,
        )?);
        return Some(PathMatch { kind, ignore_case });
    }
    let text = kind_node.text_that(
        report,
        |text| text.starts_with('/') && !text.contains('?'),
        PATH,
    )?;
    let kind = match kind_node.key() {
        "exact" => PathKind::Exact(syntax::bytes(text)),
        "prefix" => PathKind::Prefix(syntax::bytes(text.strip_suffix('/').unwrap_or(text))),
        _ => match template(text) {
            Ok(segments) => PathKind::Template(segments),
            Err(why) => {
                const EXPECTED: &str = "a template such as /users/{id} or /files/{rest=**}";
                report.note(
                    &kind_node,
                    &format!("{} has {why}", kind_node.shown()),
                    EXPECTED,
                );
                return None;
            }
        },
    };
    Some(PathMatch { kind, ignore_case })
}

/// Reads a regular expression with what compiles it.
pub fn regex<T>(
    node: &Node<'_>,
    compile: impl Fn(&str) -> Result<T, String>,
    report: &mut Report,
) -> Option<T> {
    const EXPECTED: &str = "a regular expression in the syntax of Rust's regex crate";
    match compile(node.text(report, EXPECTED)?) {
        Ok(regex) => Some(regex),
        Err(why) => {
            report.note(node, &format!("{}: {why}", node.shown()), EXPECTED);
            None
        }
    }
}

fn header(node: &Node<'_>, report: &mut Report) -> Option<Condition> {
    const NAME: &str = "a header name, or a pseudo-header such as `:method`";
    let mut condition = condition(node, syntax::is_header_or_pseudo, NAME, report)?;
    condition.name.make_ascii_lowercase();
    Some(condition)
}

fn cookie(node: &Node<'_>, report: &mut Report) -> Option<Condition> {
    condition(node, syntax::is_cookie_name, "a cookie name", report)
}

fn query(node: &Node<'_>, report: &mut Report) -> Option<Condition> {
    condition(
        node,
        |name| !name.is_empty(),
        "a parameter's name, without percent-encoding",
        report,
    )
}

fn condition(
    node: &Node<'_>,
    good: fn(&str) -> bool,
    expected: &str,
    report: &mut Report,
) -> Option<Condition> {
    const KINDS: &[&str] = &["exact", "prefix", "suffix", "contains", "regex", "present"];
    let map = node.map(
        report,
        &[
            "name", "exact", "prefix", "suffix", "contains", "regex", "present", "invert",
        ],
    )?;
    let name = map
        .need(report, "name", expected)
        .and_then(|node| node.text_that(report, good, expected));
    let invert = map.get("invert").and_then(|node| node.yes(report));
    let text = map
        .exactly_one(report, KINDS)
        .and_then(|node| text(&node, report));
    Some(Condition {
        name: syntax::bytes(name?),
        text: text?,
        invert: invert.unwrap_or_default(),
    })
}

fn text(node: &Node<'_>, report: &mut Report) -> Option<Text> {
    match node.key() {
        "present" => return node.yes(report).map(Text::Present),
        "regex" => {
            return regex(node, |pattern| Regex::new(pattern, false), report).map(Text::Regex);
        }
        _ => {}
    }
    let text = syntax::bytes(node.text(report, "a string; a number needs quotes")?);
    Some(match node.key() {
        "exact" => Text::Exact(text),
        "prefix" => Text::Prefix(text),
        "suffix" => Text::Suffix(text),
        _ => Text::Contains(text),
    })
}
