//! Conditions on headers, cookies and query parameters.

use super::header::not_host;
use super::reader::{Node, Report};
use super::regex::regex;
use super::syntax;
use crate::http::regex::Regex;
use crate::route::condition::{Condition, Contained, Text};

/// Reads an item of `headers`.
pub(super) fn header(node: &Node<'_>, report: &mut Report) -> Option<Condition> {
    const NAME: &str = "a header name, or a pseudo-header such as `:method`";
    let name = |node: &Node<'_>, report: &mut Report| {
        let name = node.text_that(report, syntax::is_header_or_pseudo, NAME)?;
        let name = syntax::lower(name);
        not_host(
            node,
            &name,
            "`hosts` beside `headers`, or `:authority`",
            report,
        );
        Some(name)
    };
    condition(node, NAME, &name, report)
}

/// Reads an item of `cookies`.
pub(super) fn cookie(node: &Node<'_>, report: &mut Report) -> Option<Condition> {
    const NAME: &str = "a cookie name";
    let name = |node: &Node<'_>, report: &mut Report| {
        let name = node.text_that(report, syntax::is_cookie_name, NAME)?;
        Some(syntax::bytes(name))
    };
    condition(node, NAME, &name, report)
}

/// Reads an item of `query`.
pub(super) fn query(node: &Node<'_>, report: &mut Report) -> Option<Condition> {
    const NAME: &str = "a parameter's name, without percent-encoding";
    let name = |node: &Node<'_>, report: &mut Report| {
        let name = node.text_that(report, |name| !name.is_empty(), NAME)?;
        Some(syntax::bytes(name))
    };
    condition(node, NAME, &name, report)
}

/// Reads the name of what a condition is on.
type ReadName<'r> = &'r dyn Fn(&Node<'_>, &mut Report) -> Option<Box<[u8]>>;

fn condition(
    node: &Node<'_>,
    expected: &str,
    read_name: ReadName<'_>,
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
        .and_then(|node| read_name(&node, report));
    let invert = map.get("invert").and_then(|node| node.yes(report));
    let text = map
        .exactly_one(report, KINDS)
        .and_then(|node| text(&node, report));
    Some(Condition {
        name: name?,
        text: text?,
        invert: invert.unwrap_or_default(),
    })
}

fn text(node: &Node<'_>, report: &mut Report) -> Option<Text> {
    match node.key() {
        "present" => return node.yes(report).map(Text::Present),
        "regex" => {
            let compile = |pattern: &str| Regex::new(pattern, false);
            return regex(node, compile, Regex::memory, report).map(Text::Regex);
        }
        _ => {}
    }
    let text = syntax::bytes(node.text(report, "a string; a number needs quotes")?);
    Some(match node.key() {
        "exact" => Text::Exact(text),
        "prefix" => Text::Prefix(text),
        "suffix" => Text::Suffix(text),
        _ => {
            let contained = Contained::new(&text);
            report.has_room(node, contained.memory());
            Text::Contains(contained)
        }
    })
}
