//! Maps of headers: the keys `request_headers` and `response_headers`, and an answer's `headers`.

use super::header::{header_name_or, not_host, not_of_the_connection, not_upstream};
use super::limits;
use super::parts::{self, Matched};
use super::reader::{Names, Node, Report};
use super::syntax;
use crate::http::edit::Edits;
use crate::http::upstream::Upstream;
use crate::http::value::ValueWithParts;
use std::rc::Rc;

/// A header's values under its name.
pub(super) type Values<V> = (Box<[u8]>, Vec<V>);

/// Reads one value.
type ReadValue<'r, V> = &'r mut dyn FnMut(&Node<'_>, &mut Report) -> Option<V>;

/// What to write instead of an edit of `host`.
const REWRITE: &str = "`rewrite: { host: … }`, which sets it";

const VALUE: &str = "a string, or a list of strings, without line breaks and NUL";

/// Reads `request_headers`.
pub(super) fn request_headers(
    node: Option<Node<'_>>,
    upstream: &Upstream,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Edits {
    edits(node, Some(upstream), matched, report)
}

/// Reads `response_headers`. None: there are none, so that a route without them takes no memory for
/// them.
pub(super) fn response_headers(
    node: Option<Node<'_>>,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Option<Rc<Edits>> {
    let edits = edits(node, None, matched, report);
    (edits != Edits::default()).then(|| Rc::new(edits))
}

fn edits(
    node: Option<Node<'_>>,
    upstream: Option<&Upstream>,
    matched: &Matched<'_>,
    report: &mut Report,
) -> Edits {
    let Some(node) = node else {
        return Edits::default();
    };
    let Some(map) = node.map(report, &["remove", "set", "add"]) else {
        return Edits::default();
    };
    let mut is_built = false;
    let mut value = |node: &Node<'_>, report: &mut Report| {
        let value = parts::value(node, syntax::is_header_value, VALUE, matched, report);
        is_built |= matches!(value, Some(ValueWithParts::Built(_)));
        value
    };
    let set = map
        .get("set")
        .map(|node| headers_of(&node, upstream, &mut value, report));
    let add = map
        .get("add")
        .map(|node| headers_of(&node, upstream, &mut value, report));
    Edits {
        remove: map
            .get("remove")
            .map(|node| names(&node, upstream, report))
            .unwrap_or_default(),
        set: set.unwrap_or_default(),
        add: add.unwrap_or_default(),
        is_built,
    }
}

fn names(list: &Node<'_>, upstream: Option<&Upstream>, report: &mut Report) -> Vec<Box<[u8]>> {
    list.list(report, "a list of header names", limits::MAX_HEADERS)
        .map(|node| {
            checked_name(
                &node,
                header_name_or(&node, REWRITE, report),
                upstream,
                report,
            )
        })
        .collect()
}

fn checked_name(
    node: &Node<'_>,
    name: Box<[u8]>,
    upstream: Option<&Upstream>,
    report: &mut Report,
) -> Box<[u8]> {
    if let Some(upstream) = upstream {
        not_upstream(node, &name, upstream, report);
    }
    name
}

/// Reads the headers of an answer: each name with a value or a list of values.
pub(super) fn headers(node: &Node<'_>, report: &mut Report) -> Vec<Values<Box<[u8]>>> {
    let value = &mut |node: &Node<'_>, report: &mut Report| {
        let text = node.text_that(report, syntax::is_header_value, VALUE);
        text.map(syntax::bytes)
    };
    headers_of(node, None, value, report)
}

fn headers_of<V>(
    node: &Node<'_>,
    upstream: Option<&Upstream>,
    value: ReadValue<'_, V>,
    report: &mut Report,
) -> Vec<Values<V>> {
    let Some(map) = node.names(report, "a map of headers", limits::MAX_HEADERS) else {
        return Vec::new();
    };
    let mut headers: Vec<Values<V>> = Vec::new();
    let mut exact = Names::default();
    for node in map.iter() {
        if !syntax::is_token(node.key()) {
            report.note(
                &node,
                "not a header name",
                "letters, digits and !#$%&'*+-.^_`|~",
            );
        }
        let name = checked_name(&node, syntax::lower(node.key()), upstream, report);
        not_of_the_connection(&node, &name, report);
        if upstream.is_some() {
            not_host(&node, &name, REWRITE, report);
        }
        // The same letters twice are a key given twice, which has been noted.
        let again =
            exact.add(node.key(), 0).is_ok() && headers.iter().any(|(other, _)| *other == name);
        if again {
            report.note(
                &node,
                "given twice: header names compare without case",
                "each header at most once",
            );
        }
        headers.push((name, values(&node, value, report)));
    }
    headers
}

fn values<V>(node: &Node<'_>, value: ReadValue<'_, V>, report: &mut Report) -> Vec<V> {
    if !node.is_list() {
        return value(node, report).into_iter().collect();
    }
    node.filled_list(report, VALUE, limits::MAX_HEADERS)
        .filter_map(|node| value(&node, report))
        .collect()
}
