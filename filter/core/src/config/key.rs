//! Parts of a request that tell requests apart: a limit's `key`, and that of `consistent_hash`.

use super::header::header_name;
use super::limits;
use super::reader::{Node, Report};
use super::syntax;
use crate::http::key::KeyPart;

/// What a limit's `key` looks like.
pub const KEY: &str =
    "a list of client_ip, path, { header: … }, { cookie: … } or { query: … }, at least one";
/// What a part of a key looks like.
pub const KEY_PART: &str = "one of client_ip, path, { header: … }, { cookie: … }, { query: … }";

/// Reads the `key` of a limit.
pub fn key_parts(list: &Node<'_>, report: &mut Report) -> Vec<KeyPart> {
    list.filled_list(report, KEY, limits::MAX_KEY_PARTS)
        .filter_map(|node| key_part(&node, report))
        .collect()
}

/// Reads a part of a key.
pub fn key_part(node: &Node<'_>, report: &mut Report) -> Option<KeyPart> {
    const WORDS: &[(&str, KeyPart)] = &[("client_ip", KeyPart::ClientIp), ("path", KeyPart::Path)];
    const NAMED: &[&str] = &["header", "cookie", "query"];
    if !node.is_map() {
        return node.choice_or(report, WORDS, KEY_PART);
    }
    let map = node.map(report, NAMED)?;
    let part = map.exactly_one(report, NAMED)?;
    Some(match part.key() {
        "header" => KeyPart::Header(header_name(&part, report)),
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
