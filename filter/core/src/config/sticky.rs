//! The key `sticky` of a pool.

use super::header::header_name;
use super::limits;
use super::reader::{Node, Report};
use super::secret::{Secret, Variables};
use super::syntax;
use crate::base64;
use crate::pool::sticky::{Cookie, Key, SameSite, Sticky};
use crate::time::{Nanos, Seconds};

/// Reads `sticky`.
pub(super) fn sticky(
    node: &Node<'_>,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Option<Sticky> {
    let map = node.map(report, &["cookie", "header", "keys"])?;
    let cookie_node = map.get("cookie");
    let header_node = map.get("header");
    map.need_any(report, &["cookie", "header"]);
    Some(Sticky {
        cookie: cookie_node.and_then(|node| cookie(&node, report)),
        header: header_node.map(|node| header_name(&node, report)),
        keys: map
            .get("keys")
            .map(|node| keys(&node, variables, report))
            .unwrap_or_default(),
    })
}

fn keys(list: &Node<'_>, variables: &Variables<'_>, report: &mut Report) -> Vec<Key> {
    const EXPECTED: &str = "a list of keys in base64";
    list.filled_list(report, EXPECTED, limits::MAX_KEYS)
        .filter_map(|node| key(&node, variables, report))
        .collect()
}

/// Neither a key nor a part of one is ever shown.
fn key(node: &Node<'_>, variables: &Variables<'_>, report: &mut Report) -> Option<Key> {
    let expected = format!("base64 of at least {} random bytes", limits::MIN_KEY);
    let secret = Secret::read(node, variables, report, &expected)?;
    let found = match base64::decode(&secret.text) {
        None => "a string that is not base64",
        Some(key) if key.len() < limits::MIN_KEY => &format!("a key of {} bytes", key.len()),
        Some(key) => return Some(Key(key.into())),
    };
    secret.wrong(node, report, found, &expected);
    None
}

fn cookie(node: &Node<'_>, report: &mut Report) -> Option<Cookie> {
    const NAME: &str = "a cookie name: letters, digits and !#$%&'*+-.^_`|~";
    const PATH: &str = "a path in ASCII that starts with `/` and has no `;`, `?`, `#` or blank";
    const DOMAIN: &str = "a domain such as example.com, without a dot at its ends; no address";
    const SAME_SITE: &[(&str, SameSite)] = &[
        ("strict", SameSite::Strict),
        ("lax", SameSite::Lax),
        ("none", SameSite::None),
    ];
    let map = node.map(
        report,
        &[
            "name",
            "ttl",
            "path",
            "domain",
            "secure",
            "http_only",
            "same_site",
            "partitioned",
        ],
    )?;
    let name_node = map.need(report, "name", NAME);
    let name = name_node.and_then(|node| node.text_that(report, syntax::is_token, NAME));
    let ttl = map.get("ttl").and_then(|node| ttl(&node, report));
    let path = map
        .get("path")
        .and_then(|node| node.text_that(report, syntax::is_cookie_path, PATH));
    let domain_node = map.get("domain");
    let domain =
        domain_node.and_then(|node| node.text_that(report, syntax::is_cookie_domain, DOMAIN));
    let partitioned_node = map.get("partitioned");
    let partitioned = partitioned_node.and_then(|node| node.yes(report));
    let secure = map.get("secure").and_then(|node| node.yes(report));
    let http_only = map.get("http_only").and_then(|node| node.yes(report));
    let same_site_node = map.get("same_site");
    let same_site = same_site_node.and_then(|node| node.choice(report, SAME_SITE));
    let secure = secure.unwrap_or_default();
    let path = path.unwrap_or(limits::DEFAULT_COOKIE_PATH);
    // Browsers drop such cookies without a word.
    if let (Some(node), Some(SameSite::None), false) = (same_site_node, same_site, secure) {
        report.note(
            &node,
            "none on a cookie that is not secure",
            "`secure: true` beside it",
        );
    }
    if let (Some(node), Some(true), false) = (partitioned_node, partitioned, secure) {
        report.note(
            &node,
            "a partitioned cookie that is not secure",
            "`secure: true` beside it",
        );
    }
    if let (Some(node), Some(name)) = (domain_node, name)
        && name.starts_with("__Host-")
    {
        report.note(&node, "a domain of a __Host- cookie", "no `domain`");
    }
    if let (Some(node), Some(name)) = (name_node, name) {
        if name.starts_with("__Host-") && !(secure && path == "/") {
            report.note(
                &node,
                "a __Host- cookie",
                "`secure: true` and `path: /` beside it",
            );
        } else if name.starts_with("__Secure-") && !secure {
            report.note(&node, "a __Secure- cookie", "`secure: true` beside it");
        }
    }
    Some(Cookie {
        name: syntax::bytes(name?),
        ttl,
        path: syntax::bytes(path),
        domain: domain.map(syntax::lower),
        secure,
        http_only: http_only.unwrap_or(true),
        same_site,
        partitioned: partitioned.unwrap_or_default(),
    })
}

/// In whole seconds, the only unit of a cookie's `Max-Age`.
fn ttl(node: &Node<'_>, report: &mut Report) -> Option<Seconds> {
    let range = format!("in whole seconds from {}", limits::TTL);
    let ttl = node.duration(report, limits::TTL.least, limits::TTL.most, &range)?;
    if ttl % Nanos::SECOND != Nanos::ZERO {
        node.wrong(report, &format!("a duration {range}"));
    }
    Some(ttl.to_seconds())
}
