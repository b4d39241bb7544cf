//! Conditions on paths.

use super::escaped::Escaped;
use crate::http::find::is_equal;
use crate::http::regex::Regex;
use crate::http::request::Request;
use std::fmt;

/// A condition on the path, which is compared without its query.
#[derive(Debug)]
pub struct PathMatch {
    /// What it must be.
    pub kind: PathKind,
    /// Compare without ASCII case.
    pub ignore_case: bool,
}

/// The ways to match a path.
#[derive(Debug)]
pub enum PathKind {
    /// Exactly this.
    Exact(Box<[u8]>),
    /// Whole segments: stored without a trailing slash, so that `/` is empty and `/a/` is `/a`;
    /// both match `/a` and `/a/b`, not `/ab`.
    Prefix(Box<[u8]>),
    /// Matches as a whole. (`ignore_case` is compiled in.)
    Regex(Regex),
    /// `/users/{id}`, `/files/{rest=**}`.
    Template(Vec<Segment>),
}

/// A segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// As it stands; may be empty (a trailing slash).
    Text(Box<[u8]>),
    /// `{id}`: one segment that is not empty.
    Name(Box<str>),
    /// `{rest=**}`: all that follows; only at the end.
    Rest(Box<str>),
}

impl PathMatch {
    /// Whether a path, without its query, is as it must be.
    pub fn matches(&self, path: &[u8]) -> bool {
        match &self.kind {
            PathKind::Exact(exact) => self.equal(path, exact),
            PathKind::Prefix(_) => self.after_prefix(path).is_some(),
            PathKind::Regex(regex) => regex.matches_whole(path),
            PathKind::Template(segments) => {
                let slashes: Vec<u32> = slashes(path).collect();
                self.walk(segments, path, &slashes, |_, _| ()).is_some()
            }
        }
    }

    /// The same of a request, whose steps are bounded: a regular expression does not match a path
    /// that is longer than `max_value`.
    pub fn matches_of(&self, request: &Request<'_>) -> bool {
        let path = request.path;
        match &self.kind {
            PathKind::Exact(_) | PathKind::Prefix(_) => self.matches(path),
            PathKind::Regex(regex) => {
                let allowed = &mut request.steps.allow();
                regex.matches_within(path, allowed).unwrap_or_default()
            }
            PathKind::Template(segments) => self
                .walk(segments, path, request.slashes(), |_, _| ())
                .is_some(),
        }
    }

    /// What follows the prefix that matched: nothing, or a `/` and more. None: this does not match
    /// by prefix, or not this path.
    pub fn after_prefix<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let PathKind::Prefix(prefix) = &self.kind else {
            return None;
        };
        let (start, rest) = path.split_at_checked(prefix.len())?;
        (self.equal(start, prefix) && (rest.is_empty() || rest.starts_with(b"/"))).then_some(rest)
    }

    /// What a name of the template took of a path that matches.
    pub fn captured<'p>(&self, path: &'p [u8], name: &str) -> Option<&'p [u8]> {
        let PathKind::Template(segments) = &self.kind else {
            return None;
        };
        let mut captured = None;
        let slashes: Vec<u32> = slashes(path).collect();
        self.walk(segments, path, &slashes, |taker, taken| {
            if taker == name {
                captured = Some(taken);
            }
        })?;
        captured
    }

    /// Takes a path apart. `{rest=**}` takes whatever stands behind its slash, which may be
    /// nothing: `/files/{rest=**}` matches `/files/`, not `/files`. So Envoy's URI templates have
    /// it, too.
    fn walk<'p>(
        &self,
        segments: &[Segment],
        path: &'p [u8],
        slashes: &[u32],
        mut take: impl FnMut(&str, &'p [u8]),
    ) -> Option<()> {
        let mut slashes = slashes.iter().map(|at| *at as usize).peekable();
        // Where the next segment's slash has to be.
        let mut at = 0;
        for segment in segments {
            slashes.next_if_eq(&at)?;
            let start = at + 1;
            at = slashes.peek().copied().unwrap_or(path.len());
            let here = path.get(start..at)?;
            match segment {
                Segment::Text(text) if self.equal(here, text) => {}
                Segment::Name(name) if !here.is_empty() => take(name, here),
                Segment::Rest(name) => {
                    take(name, path.get(start..)?);
                    return Some(());
                }
                Segment::Text(_) | Segment::Name(_) => return None,
            }
        }
        (at == path.len() && !segments.is_empty()).then_some(())
    }

    fn equal(&self, ours: &[u8], theirs: &[u8]) -> bool {
        match self.ignore_case {
            true => ours.eq_ignore_ascii_case(theirs),
            false => is_equal(ours, theirs),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a header map is shorter than 2^32 bytes"
)]
fn slashes(path: &[u8]) -> impl Iterator<Item = u32> {
    let bytes = path.iter().enumerate();
    bytes
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at as u32)
}

/// For people: `prefix /checkout`, `template /users/{id}`.
impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            PathKind::Exact(path) => write!(f, "exact {}", Escaped(path))?,
            PathKind::Prefix(path) if path.is_empty() => f.write_str("prefix /")?,
            PathKind::Prefix(path) => write!(f, "prefix {}", Escaped(path))?,
            PathKind::Regex(regex) => write!(f, "regex {}", regex.pattern())?,
            PathKind::Template(segments) => {
                f.write_str("template ")?;
                for segment in segments {
                    match segment {
                        Segment::Text(text) => write!(f, "/{}", Escaped(text))?,
                        Segment::Name(name) => write!(f, "/{{{name}}}")?,
                        Segment::Rest(name) => write!(f, "/{{{name}=**}}")?,
                    }
                }
            }
        }
        f.write_str(if self.ignore_case { " in any case" } else { "" })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// `exact /a`, `prefix /a`, `regex /a.*`, `template /a/{b}`; in upper case: without case.
    pub(crate) fn path(kind: &str, text: &str) -> PathMatch {
        let ignore_case = kind.chars().all(char::is_uppercase);
        let kind = match kind.to_lowercase().as_str() {
            "exact" => PathKind::Exact(text.as_bytes().into()),
            "prefix" => PathKind::Prefix(text.strip_suffix('/').unwrap_or(text).as_bytes().into()),
            "regex" => PathKind::Regex(Regex::new(text, ignore_case).unwrap()),
            "template" => PathKind::Template(
                text.split('/')
                    .skip(1)
                    .map(|segment| match segment.strip_prefix('{') {
                        None => Segment::Text(segment.as_bytes().into()),
                        Some(name) => match name.strip_suffix("=**}") {
                            Some(name) => Segment::Rest(name.into()),
                            None => Segment::Name(name.trim_end_matches('}').into()),
                        },
                    })
                    .collect(),
            ),
            _ => unreachable!("{kind}"),
        };
        PathMatch { kind, ignore_case }
    }

    #[test]
    fn paths_match_as_the_interface_says() {
        for (kind, text, yes, no) in [
            (
                "exact",
                "/a",
                &["/a"][..],
                &["/a/", "/A", "/", "", "/ab", "a"][..],
            ),
            ("EXACT", "/Ab", &["/aB", "/AB"], &["/a"]),
            ("exact", "/", &["/"], &["", "//", "*"]),
            (
                "prefix",
                "/a",
                &["/a", "/a/", "/a/b", "/a//"],
                &["/ab", "/", "", "/A", "a", "/b/a"],
            ),
            ("prefix", "/a/", &["/a", "/a/", "/a/b"], &["/ab", "/b"]),
            ("PREFIX", "/a/B", &["/A/b", "/a/b/C"], &["/a/bc"]),
            ("prefix", "/", &["/", "/a", "//", ""], &["*", "a"]),
            ("prefix", "/a//", &["/a/", "/a//", "/a//b"], &["/a", "/a/b"]),
            (
                "regex",
                "/a|/ab",
                &["/a", "/ab"],
                &["/abc", "x/a", "/A", ""],
            ),
            ("REGEX", "/a+", &["/AAa"], &["/"]),
            (
                "template",
                "/u/{id}",
                &["/u/1", "/u/%2F"],
                &["/u", "/u/", "/u/1/", "/u/1/x", "/x/1", "u/1", "/U/1", "//1"],
            ),
            (
                "template",
                "/u/{id}/",
                &["/u/1/"],
                &["/u/1", "/u/1//", "/u//"],
            ),
            ("template", "/{a}/x/{b}", &["/1/x/2"], &["/1/y/2", "//x/2"]),
            (
                "template",
                "/f/{rest=**}",
                &["/f/", "/f/a", "/f/a/b//"],
                &["/f", "/fa", "/"],
            ),
            ("template", "/{rest=**}", &["/", "/a", "//"], &["", "*"]),
            ("template", "/a//{b}", &["/a//x"], &["/a/x", "/a///x"]),
            ("TEMPLATE", "/U/{id}", &["/u/X"], &["/v/X"]),
            ("template", "/", &["/"], &["", "//", "/a"]),
        ] {
            let path = path(kind, text);
            for (others, expected) in [(yes, true), (no, false)] {
                for other in others {
                    assert_eq!(
                        path.matches(other.as_bytes()),
                        expected,
                        "{path} on {other}"
                    );
                }
            }
        }
    }

    #[test]
    fn names_of_a_template_are_what_they_took() {
        let path = path("template", "/u/{id}/{rest=**}");
        for (on, id, rest) in [("/u/a%2Fb/c/d", "a%2Fb", "c/d"), ("/u/1/", "1", "")] {
            assert_eq!(path.captured(on.as_bytes(), "id"), Some(id.as_bytes()));
            assert_eq!(path.captured(on.as_bytes(), "rest"), Some(rest.as_bytes()));
            assert_eq!(path.captured(on.as_bytes(), "other"), None);
        }
        assert_eq!(path.captured(b"/u/1", "id"), None);
    }

    #[test]
    fn paths_are_shown_as_they_were_written() {
        for (kind, text) in [
            ("exact", "/"),
            ("prefix", "/"),
            ("prefix", "/a"),
            ("regex", "/[a]"),
            ("template", "/a/{b}/{c=**}"),
        ] {
            assert_eq!(path(kind, text).to_string(), format!("{kind} {text}"));
        }
        assert_eq!(path("PREFIX", "/a").to_string(), "prefix /a in any case");
    }
}
