//! Parts of a request that tell requests apart: a limit's `key`, and that of `consistent_hash`.

use super::header::header_name_or;
use super::limits;
use super::reader::{Node, Report};
use super::syntax;
use crate::http::key::KeyPart;

/// What a limit's `key` looks like.
pub(super) const KEY: &str = "a list of client_ip, { client_ip: { v4: 24, v6: 64 } }, host, path, method, \
     route, { header: … }, { cookie: … } or { query: … }; [] is one bucket for all";
/// What a part of a limit's key looks like.
pub(super) const LIMIT_PART: &str = "one of client_ip, { client_ip: { v4: 24, v6: 64 } }, host, path, method, \
     route, { header: … }, { cookie: … }, { query: … }";
/// What the key of `consistent_hash` looks like.
pub(super) const KEY_PART: &str =
    "one of client_ip, path, { header: … }, { cookie: … }, { query: … }";
/// What the `key` of `consistent_hash` is: one, or several to try.
pub(super) const HASH_KEY: &str = "one of client_ip, path, { header: … }, { cookie: … }, { query: … }, or a list of \
     them, of which the first is taken that a request has";
/// What `{ client_ip: … }` looks like.
const NETWORK: &str = "a map of v4 and v6, the lengths of a network's prefix";

/// `client_ip` in a limit's key.
const CLIENT: KeyPart = KeyPart::ClientNetwork {
    v4: limits::DEFAULT_V4_PREFIX,
    v6: limits::DEFAULT_V6_PREFIX,
};

/// Reads the `key` of a limit.
pub(super) fn key_parts(list: &Node<'_>, report: &mut Report) -> Vec<KeyPart> {
    list.list(report, KEY, limits::MAX_KEY_PARTS)
        .filter_map(|node| limit_part(&node, report))
        .collect()
}

/// Reads a part of a limit's key.
fn limit_part(node: &Node<'_>, report: &mut Report) -> Option<KeyPart> {
    const WORDS: &[(&str, KeyPart)] = &[
        ("client_ip", CLIENT),
        ("host", KeyPart::Host),
        ("path", KeyPart::Path),
        ("method", KeyPart::Method),
        ("route", KeyPart::Route),
    ];
    if !node.is_map() {
        return node.choice_or(report, WORDS, LIMIT_PART);
    }
    const NAMED: &[&str] = &["client_ip", "header", "cookie", "query"];
    let map = node.map(report, NAMED)?;
    let part = map.exactly_one(report, NAMED)?;
    match part.key() {
        "client_ip" => client_network(&part, report),
        _ => named_part(&part, "`host` in the key, without `header`", report),
    }
}

fn client_network(node: &Node<'_>, report: &mut Report) -> Option<KeyPart> {
    if !node.is_map() {
        node.wrong(report, NETWORK);
        return None;
    }
    let map = node.map(report, &["v4", "v6"])?;
    let mut read = |key, bounds: limits::Bounds<u32>, default: u8| {
        let length = map
            .get(key)
            .and_then(|node| node.whole_within(report, bounds));
        length
            .and_then(|length| u8::try_from(length).ok())
            .unwrap_or(default)
    };
    Some(KeyPart::ClientNetwork {
        v4: read("v4", limits::V4_PREFIX, limits::DEFAULT_V4_PREFIX),
        v6: read("v6", limits::V6_PREFIX, limits::DEFAULT_V6_PREFIX),
    })
}

/// Reads the key of `consistent_hash`.
pub(super) fn key_part(node: &Node<'_>, report: &mut Report) -> Option<KeyPart> {
    const WORDS: &[(&str, KeyPart)] = &[("client_ip", KeyPart::ClientIp), ("path", KeyPart::Path)];
    const NAMED: &[&str] = &["header", "cookie", "query"];
    if !node.is_map() {
        return node.choice_or(report, WORDS, KEY_PART);
    }
    let map = node.map(report, NAMED)?;
    let part = map.exactly_one(report, NAMED)?;
    named_part(
        &part,
        "another key: the host is no header of the request",
        report,
    )
}

/// `instead`: what to write for the header `host`.
fn named_part(part: &Node<'_>, instead: &str, report: &mut Report) -> Option<KeyPart> {
    Some(match part.key() {
        "header" => KeyPart::Header(header_name_or(part, instead, report)),
        "cookie" => KeyPart::Cookie(syntax::bytes(part.text_that(
            report,
            syntax::is_cookie_name,
            "a cookie name",
        )?)),
        _ => KeyPart::Query(syntax::bytes(part.text_that(
            report,
            |name| !name.is_empty(),
            "a parameter's name",
        )?)),
    })
}
