//! The key `path` of a `match`, and templates.

use super::reader::{Names, Node, Report};
use super::regex::regex;
use super::syntax;
use crate::http::regex::Regex;
use crate::route::path::{PathKind, PathMatch, Segment};

/// Reads `path`. `beside`: the `ignore_case` that stands beside it.
pub(super) fn path(
    node: &Node<'_>,
    beside: Option<Node<'_>>,
    report: &mut Report,
) -> Option<PathMatch> {
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
            Regex::memory,
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

/// The segments of `/users/{id}/{rest=**}`, or what is wrong with it.
fn template(text: &str) -> Result<Vec<Segment>, &'static str> {
    let mut names = Names::default();
    let mut segments = Vec::new();
    let mut parts = text
        .strip_prefix('/')
        .ok_or("no `/` at the start")?
        .split('/')
        .peekable();
    while let Some(part) = parts.next() {
        let Some(inner) = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
        else {
            if part.contains(['{', '}']) {
                return Err("a brace within a segment");
            }
            segments.push(Segment::Text(syntax::bytes(part)));
            continue;
        };
        let rest = inner.strip_suffix("=**");
        let name = rest.unwrap_or(inner);
        if !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            || name.is_empty()
        {
            return Err("a name that is not letters, digits and `_`");
        }
        if names.add(name, 0).is_err() {
            return Err("a name that is there twice");
        }
        if rest.is_some() && parts.peek().is_some() {
            return Err("`=**` before the end");
        }
        segments.push(match rest {
            Some(_) => Segment::Rest(name.into()),
            None => Segment::Name(name.into()),
        });
    }
    Ok(segments)
}
