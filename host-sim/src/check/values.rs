//! Sets of values: the paths, headers, cookies and query parameters that a condition accepts.

use super::language::{Alphabet, Language};
use pointsman_core::route::condition::Text;
use pointsman_core::route::path::{PathKind, PathMatch, Segment};
use std::cell::OnceCell;

/// The values that a condition accepts, with what has been computed from it.
pub(super) struct ValueSet<'c> {
    condition: ValueCondition<'c>,
    alphabet: Alphabet,
    sample: OnceCell<Option<Vec<u8>>>,
    language: OnceCell<Option<Language>>,
}

#[derive(Clone, Copy)]
enum ValueCondition<'c> {
    Path(&'c PathMatch),
    Text(&'c Text),
}

impl<'c> ValueSet<'c> {
    /// The paths that a condition accepts.
    pub(super) fn of_path(path: &'c PathMatch) -> ValueSet<'c> {
        ValueSet::new(ValueCondition::Path(path), is_in_paths)
    }

    /// The values of these bytes that a condition accepts.
    pub(super) fn of_text(text: &'c Text, alphabet: Alphabet) -> ValueSet<'c> {
        ValueSet::new(ValueCondition::Text(text), alphabet)
    }

    fn new(condition: ValueCondition<'c>, alphabet: Alphabet) -> ValueSet<'c> {
        ValueSet {
            condition,
            alphabet,
            sample: OnceCell::new(),
            language: OnceCell::new(),
        }
    }

    /// The text condition, if it is one.
    pub(super) fn text(&self) -> Option<&'c Text> {
        match self.condition {
            ValueCondition::Path(_) => None,
            ValueCondition::Text(text) => Some(text),
        }
    }

    /// Whether the set has a value.
    pub(super) fn has(&self, value: &[u8]) -> bool {
        match self.condition {
            ValueCondition::Path(path) => path.matches(value),
            ValueCondition::Text(text) => text.matches(value),
        }
    }

    /// A value of the set, as simple as possible. None: none is found.
    pub(super) fn sample(&self) -> Option<&[u8]> {
        let sample = self.sample.get_or_init(|| match self.condition {
            ValueCondition::Path(path) => match &path.kind {
                PathKind::Exact(path) => Some(path.to_vec()),
                PathKind::Prefix(path) if path.is_empty() => Some(b"/".to_vec()),
                PathKind::Prefix(path) => Some(path.to_vec()),
                PathKind::Regex(_) => self.language()?.example(b"/"),
                PathKind::Template(segments) => Some(template_sample(segments)),
            },
            ValueCondition::Text(text) => match text {
                Text::Regex(_) => self.language()?.example(b""),
                text => text.text().map(<[u8]>::to_vec),
            },
        });
        sample.as_deref()
    }

    /// Whether every value of this set is in the other. False where that is not certain.
    pub(super) fn is_within(&self, outer: &ValueSet) -> bool {
        // Nearly always this is enough to tell, and the automata are not needed.
        if self.sample().is_some_and(|sample| !outer.has(sample)) {
            return false;
        }
        if self.is_one_value() || self.has_condition_of(outer) {
            return true;
        }
        let (Some(ours), Some(theirs)) = (self.language(), outer.language()) else {
            return false;
        };
        ours.is_within(theirs, self.alphabet) == Some(true)
    }

    /// Whether no value is in both sets. False where that is not certain.
    pub(super) fn is_disjoint(&self, other: &ValueSet) -> bool {
        let (Some(ours), Some(theirs)) = (self.language(), other.language()) else {
            return false;
        };
        ours.is_disjoint(theirs, self.alphabet) == Some(true)
    }

    /// Whether every value is in the set. False where that is not certain.
    pub(super) fn has_all(&self) -> bool {
        let all = Text::Present(true);
        self.has(b"") && ValueSet::of_text(&all, self.alphabet).is_within(self)
    }

    /// Why no request has a path of this set, which is one of paths. None: one may have.
    pub(super) fn why_no_path(&self) -> Option<String> {
        let ValueCondition::Path(path) = self.condition else {
            return None;
        };
        let start = match &path.kind {
            PathKind::Exact(path) | PathKind::Prefix(path) => path.to_vec(),
            PathKind::Regex(regex) => regex.literal_prefix().to_vec(),
            PathKind::Template(segments) => template_start(segments),
        };
        if let Some(at) = start.iter().position(|byte| !is_in_paths(*byte)) {
            if start[at] == b'?' {
                return Some("paths are compared without the query: no path has a `?`".to_owned());
            }
            let rest = String::from_utf8_lossy(&start[at..]);
            let first = rest.chars().next().unwrap_or_default();
            let encoded: String = match first.is_ascii() {
                true => format!("%{:02X}", start[at]),
                false => first
                    .to_string()
                    .bytes()
                    .map(|byte| format!("%{byte:02X}"))
                    .collect(),
            };
            return Some(format!(
                "no path of a request has {first:?}: clients write {encoded}, and paths are \
                 compared as they are written"
            ));
        }
        let PathKind::Regex(regex) = &path.kind else {
            return None;
        };
        match start.first() {
            Some(first) if !b"/*".contains(first) => {
                Some("a regex matches the whole path, which starts with a `/`".to_owned())
            }
            _ if self.has(b"") => None,
            _ => {
                let starts = [b"/", b"*"].map(|start| Text::Prefix(start[..].into()));
                let is_empty = starts
                    .iter()
                    .map(|start| ValueSet::of_text(start, self.alphabet))
                    .all(|paths| self.is_disjoint(&paths));
                is_empty.then(|| format!("no path of a request matches {}", regex.pattern()))
            }
        }
    }

    /// Whether the sample is the only value.
    fn is_one_value(&self) -> bool {
        match self.condition {
            ValueCondition::Path(path) => {
                matches!(path.kind, PathKind::Exact(_)) && !path.ignore_case
            }
            ValueCondition::Text(text) => matches!(text, Text::Exact(_)),
        }
    }

    /// Whether both are the same regular expression: that much is certain of any.
    fn has_condition_of(&self, other: &ValueSet) -> bool {
        match (self.condition, other.condition) {
            (ValueCondition::Path(one), ValueCondition::Path(other)) => {
                let (PathKind::Regex(one_regex), PathKind::Regex(other_regex)) =
                    (&one.kind, &other.kind)
                else {
                    return false;
                };
                (one_regex.pattern(), one.ignore_case) == (other_regex.pattern(), other.ignore_case)
            }
            (ValueCondition::Text(Text::Regex(one)), ValueCondition::Text(Text::Regex(other))) => {
                one.pattern() == other.pattern()
            }
            _ => false,
        }
    }

    fn language(&self) -> Option<&Language> {
        let language = self.language.get_or_init(|| match self.condition {
            ValueCondition::Path(path) => Language::of_path(path),
            ValueCondition::Text(text) => Language::of_text(text),
        });
        language.as_ref()
    }
}

/// The bytes of paths: clients encode all others, and a query or a fragment is no part of a path.
pub(crate) fn is_in_paths(byte: u8) -> bool {
    !matches!(byte, 0..=b' ' | 0x7f.. | b'?' | b'#')
}

/// The bytes of header values.
pub(crate) fn is_in_headers(byte: u8) -> bool {
    !matches!(byte, b'\0' | b'\r' | b'\n')
}

/// The bytes of query parameters, which are decoded: any.
pub(crate) fn is_in_queries(_: u8) -> bool {
    true
}

/// What all paths of a template start with.
fn template_start(segments: &[Segment]) -> Vec<u8> {
    let mut start = Vec::new();
    for segment in segments {
        start.push(b'/');
        match segment {
            Segment::Text(text) => start.extend_from_slice(text),
            Segment::Name(_) | Segment::Rest(_) => break,
        }
    }
    start
}

/// A path that a template accepts: its names stand for themselves.
fn template_sample(segments: &[Segment]) -> Vec<u8> {
    segments.iter().fold(Vec::new(), |mut path, segment| {
        path.push(b'/');
        path.extend_from_slice(match segment {
            Segment::Text(text) => text,
            Segment::Name(name) | Segment::Rest(name) => name.as_bytes(),
        });
        path
    })
}
