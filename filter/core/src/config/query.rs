//! The key `query` of a rewrite and of a redirect.

use super::limits;
use super::reader::{Node, Report};
use crate::http::query::QueryEdit;

/// Reads `query`.
pub(super) fn query(node: &Node<'_>, report: &mut Report) -> Option<QueryEdit> {
    const DROP: &str = "`drop`, or a map of remove, set";
    const KEYS: &[&str] = &["remove", "set"];
    const NAME: &str = "the name of a parameter, as it is after percent-decoding";
    if !node.is_map() {
        if node.as_text() != Some("drop") {
            node.wrong(report, DROP);
        }
        return Some(QueryEdit::Drop);
    }
    let map = node.map(report, KEYS)?;
    map.need_any(report, KEYS);
    let mut remove: Vec<Box<[u8]>> = Vec::new();
    let mut set = Vec::new();
    if let Some(list) = map.get("remove") {
        for node in list.filled_list(report, "a list of names, at least one", limits::MAX_HEADERS) {
            let name = node.text_that(report, |name| !name.is_empty(), NAME);
            remove.extend(name.map(|name| name.as_bytes().into()));
        }
    }
    if let Some(map) = map.get("set") {
        let map = map.names(report, "a map of parameters", limits::MAX_HEADERS)?;
        for node in map.iter() {
            if node.key().is_empty() {
                report.note(&node, "a parameter without a name", NAME);
            }
            let Some(value) = node.text(report, "a string") else {
                continue;
            };
            remove.push(node.key().as_bytes().into());
            if !set.is_empty() {
                set.push(b'&');
            }
            percent_encode(node.key(), &mut set);
            set.push(b'=');
            percent_encode(value, &mut set);
        }
    }
    Some(QueryEdit::Parameters {
        remove,
        set: set.into(),
    })
}

/// Appends a name or a value with everything but the unreserved characters of RFC 3986
/// percent-encoded.
fn percent_encode(text: &str, to: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => to.push(byte),
            false => to.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}
