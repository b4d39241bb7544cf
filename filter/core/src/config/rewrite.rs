//! The key `rewrite` of a route, and the new paths that it shares with redirects.

use super::parts::{self, Matched};
use super::query::query;
use super::reader::{Map, Node, Report};
use super::regex::regex;
use super::syntax;
use crate::http::regex::Search;
use crate::http::regex::SubstitutionPart;
use crate::http::value::{Piece, ValueWithParts};
use crate::route::path::PathKind;
use crate::route::rewrite::{PathRewrite, Rewrite};

/// The keys of a new path.
pub(super) const PATH_KEYS: &[&str] = &["path_prefix", "path", "path_regex"];
const PATH: &str = "a path that starts with `/`, without query, fragment and blanks";

/// Reads `rewrite`.
pub(super) fn rewrite(
    node: &Node<'_>,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Option<Rewrite> {
    const KEYS: &[&str] = &["path_prefix", "path", "path_regex", "host", "query"];
    const HOST: &str = "a host, or `host:port`";
    let map = node.map(report, KEYS)?;
    if KEYS.iter().all(|key| map.get(key).is_none()) {
        report.note(node, "an empty map", &super::reader::one_of(KEYS));
    }
    let host = map
        .get("host")
        .and_then(|node| parts::value(&node, syntax::is_authority, HOST, matched, report));
    Some(Rewrite {
        path: new_path(&map, matched, report),
        host,
        query: map.get("query").and_then(|node| query(&node, report)),
    })
}

/// Reads the one of [`PATH_KEYS`] that the map has.
pub(super) fn new_path(
    map: &Map<'_>,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Option<PathRewrite> {
    let node = map.at_most_one(report, PATH_KEYS)?;
    match node.key() {
        "path_prefix" => {
            if let Some(place) = matched.first_that_is_not(&|block| {
                let path = block.path.as_ref().map(|path| &path.kind);
                matches!(path, Some(PathKind::Prefix(_)))
            }) {
                let found = format!("{place} matches without `prefix`");
                report.note(
                    &node,
                    &found,
                    "a `path: { prefix: … }` in every block of the match",
                );
            }
            let prefix = node.text_that(report, syntax::is_path, PATH)?;
            Some(PathRewrite::Prefix(syntax::bytes(prefix)))
        }
        "path" => {
            let value = parts::value(&node, syntax::is_path, PATH, matched, report)?;
            Some(PathRewrite::Whole(match value {
                ValueWithParts::Text(text) => vec![Piece::Text(text)],
                ValueWithParts::Built(pieces) => pieces,
            }))
        }
        _ => searched(&node, report),
    }
}

/// `path_regex: { pattern, substitution }`
fn searched(node: &Node<'_>, report: &mut Report) -> Option<PathRewrite> {
    const SUBSTITUTION: &str =
        "a string, with `\\1` for what group 1 matched and `\\\\` for a backslash";
    let map = node.map(report, &["pattern", "substitution"])?;
    let pattern = map
        .need(report, "pattern", "a regular expression")
        .and_then(|node| regex(&node, Search::new, Search::memory, report));
    let substitution_node = map.need(report, "substitution", SUBSTITUTION);
    let text = substitution_node
        .and_then(|node| node.text_that(report, syntax::is_header_value, SUBSTITUTION));
    let (pattern, node, text) = (pattern?, substitution_node?, text?);

    let mut substitution = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once('\\') {
        if !before.is_empty() {
            substitution.push(SubstitutionPart::Text(syntax::bytes(before)));
        }
        let mut letters = from.chars();
        match letters.next() {
            Some('\\') => substitution.push(SubstitutionPart::Text(syntax::bytes("\\"))),
            Some(digit @ '0'..='9') => {
                let group = digit as usize - '0' as usize;
                if group > pattern.groups() {
                    report.note(
                        &node,
                        &format!("\\{group} names a group that the pattern does not have"),
                        &format!("a group from 0 (the whole match) to {}", pattern.groups()),
                    );
                }
                substitution.push(SubstitutionPart::Group(group));
            }
            _ => {
                report.note(&node, "a backslash without a group's number", SUBSTITUTION);
                return None;
            }
        }
        rest = letters.as_str();
    }
    if !rest.is_empty() {
        substitution.push(SubstitutionPart::Text(syntax::bytes(rest)));
    }
    Some(PathRewrite::Regex {
        pattern,
        substitution,
    })
}
