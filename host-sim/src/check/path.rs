//! Which paths a condition takes, compared with which another takes.

use super::pattern::{self, Plain};
use pointsman_core::route::path::{PathKind, PathMatch, Segment};

/// What is known of all paths that a condition takes.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// Exactly this.
    Exact(Vec<u8>),
    /// Whatever starts so.
    Prefix(Vec<u8>),
    /// This and all that is below it.
    Segments(Vec<u8>),
    /// Something that starts so.
    Within(Vec<u8>),
}

/// Whether every path that `inner` takes is one that `outer` takes, as far as that is certain.
pub fn within(inner: &PathMatch, outer: &PathMatch) -> bool {
    if let (PathKind::Regex(inner_regex), PathKind::Regex(outer_regex)) = (&inner.kind, &outer.kind)
        && (inner_regex.pattern(), inner.ignore_case) == (outer_regex.pattern(), outer.ignore_case)
    {
        return true;
    }
    if let (PathKind::Template(inner_segments), PathKind::Template(outer_segments)) =
        (&inner.kind, &outer.kind)
        && template_within(inner_segments, outer_segments, &|inner_text, outer_text| {
            equal(inner_text, outer_text, inner, outer)
        })
    {
        return true;
    }
    let inner_shape = shape(inner);
    // Where letters of the inner one stand for both cases, they have to for the outer one.
    let cased = |text: &[u8]| inner.ignore_case && text.iter().any(u8::is_ascii_alphabetic);
    if let Shape::Exact(path) = &inner_shape {
        let same_case =
            !cased(path) || outer.ignore_case && !matches!(outer.kind, PathKind::Regex(_));
        return same_case && outer.matches(path);
    }
    let starts = |start: &[u8], with: &[u8]| {
        start
            .split_at_checked(with.len())
            .is_some_and(|(start, _)| equal(start, with, inner, outer))
    };
    match (&inner_shape, shape(outer)) {
        (Shape::Segments(top), Shape::Segments(outer_top)) => {
            starts(top, &outer_top) && matches!(top.get(outer_top.len()), None | Some(b'/'))
        }
        (Shape::Prefix(start) | Shape::Within(start), Shape::Segments(outer_top)) => {
            starts(start, &outer_top) && start.get(outer_top.len()) == Some(&b'/')
        }
        (
            Shape::Segments(start) | Shape::Prefix(start) | Shape::Within(start),
            Shape::Prefix(outer_start),
        ) => starts(start, &outer_start),
        _ => false,
    }
}

/// Why no path of a request is taken. None: one may be.
pub fn never(path: &PathMatch) -> Option<String> {
    let (Shape::Exact(start)
    | Shape::Prefix(start)
    | Shape::Segments(start)
    | Shape::Within(start)) = shape(path);
    let is_in_no_path = |byte: &&u8| matches!(byte, 0..=b' ' | 0x7f | b'?' | b'#');
    if let Some(byte) = start.iter().find(is_in_no_path) {
        let byte = char::from(*byte);
        return Some(match byte {
            '?' => "paths are compared without the query: no path has a `?`".to_owned(),
            _ => format!(
                "no path of a request has {byte:?}: clients encode it, and paths are compared encoded"
            ),
        });
    }
    match (start.first(), &path.kind) {
        (Some(first), PathKind::Regex(_)) if !b"/*".contains(first) => {
            Some("a regex matches the whole path, which starts with a `/`".to_owned())
        }
        _ => None,
    }
}

/// A simpler condition that says the same: `prefix: /a`.
pub fn simpler(path: &PathMatch) -> Option<String> {
    let PathKind::Regex(regex) = &path.kind else {
        return None;
    };
    let good = |text: Vec<u8>| {
        String::from_utf8(text)
            .ok()
            .filter(|text| text.starts_with('/') && !text.contains(['?', '{', '}']))
    };
    match pattern::plain(regex.pattern())? {
        Plain::Exact(text) => Some(format!("exact: {}", good(text)?)),
        Plain::Segments(text) => Some(format!("prefix: {}", good(text)?)),
        Plain::Prefix(text) if text == b"/" => Some("prefix: /".to_owned()),
        Plain::Prefix(text) if text.ends_with(b"/") => {
            Some(format!("template: \"{}{{rest=**}}\"", good(text)?))
        }
        _ => None,
    }
}

/// A path that is taken, if one is easily found.
pub fn sample(path: &PathMatch) -> Option<Vec<u8>> {
    match &path.kind {
        PathKind::Exact(path) => Some(path.to_vec()),
        PathKind::Prefix(path) if path.is_empty() => Some(b"/".to_vec()),
        PathKind::Prefix(path) => Some(path.to_vec()),
        PathKind::Regex(regex) => pattern::sample(regex.pattern()),
        PathKind::Template(segments) => {
            Some(segments.iter().fold(Vec::new(), |mut path, segment| {
                path.push(b'/');
                path.extend_from_slice(match segment {
                    Segment::Text(text) => text,
                    Segment::Name(name) | Segment::Rest(name) => name.as_bytes(),
                });
                path
            }))
        }
    }
}

fn shape(path: &PathMatch) -> Shape {
    match &path.kind {
        PathKind::Exact(path) => Shape::Exact(path.to_vec()),
        PathKind::Prefix(path) => Shape::Segments(path.to_vec()),
        PathKind::Template(segments) => {
            let mut start = Vec::new();
            for (at, segment) in segments.iter().enumerate() {
                start.push(b'/');
                match segment {
                    Segment::Text(text) => start.extend_from_slice(text),
                    Segment::Rest(_) if at + 1 == segments.len() => return Shape::Prefix(start),
                    Segment::Name(_) | Segment::Rest(_) => return Shape::Within(start),
                }
            }
            Shape::Exact(start)
        }
        PathKind::Regex(regex) => {
            // Flags within the pattern may switch case off again.
            let readable = !path.ignore_case || !regex.pattern().contains("(?");
            match pattern::plain(regex.pattern()).filter(|_| readable) {
                Some(Plain::Exact(text)) => Shape::Exact(text),
                Some(Plain::Prefix(text)) => Shape::Prefix(text),
                Some(Plain::Segments(text)) => Shape::Segments(text),
                Some(Plain::Any) => Shape::Prefix(Vec::new()),
                Some(Plain::Suffix(_) | Plain::Contains(_)) | None => {
                    Shape::Within(regex.literal_prefix().to_vec())
                }
            }
        }
    }
}

/// Whether texts are equal for the outer condition however the inner one takes them.
fn equal(inner_text: &[u8], outer_text: &[u8], inner: &PathMatch, outer: &PathMatch) -> bool {
    match (inner.ignore_case, outer.ignore_case) {
        (_, true) => inner_text.eq_ignore_ascii_case(outer_text),
        (false, false) => inner_text == outer_text,
        (true, false) => {
            inner_text == outer_text && !inner_text.iter().any(u8::is_ascii_alphabetic)
        }
    }
}

fn template_within(
    inner: &[Segment],
    outer: &[Segment],
    equal: &dyn Fn(&[u8], &[u8]) -> bool,
) -> bool {
    for (at, outer_segment) in outer.iter().enumerate() {
        let fits = match (inner.get(at), outer_segment) {
            (Some(_), Segment::Rest(_)) => return true,
            (Some(Segment::Text(inner_text)), Segment::Text(outer_text)) => {
                equal(inner_text, outer_text)
            }
            (Some(Segment::Text(text)), Segment::Name(_)) => !text.is_empty(),
            (Some(Segment::Name(_)), Segment::Name(_)) => true,
            _ => false,
        };
        if !fits {
            return false;
        }
    }
    inner.len() == outer.len()
}
