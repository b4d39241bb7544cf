//! Patterns that look like those of other programs, and mean something else here.

use super::language::{Alphabet, Language, PatternEnd};
use super::values::is_in_paths;
use super::{Warning, values};
use pointsman_core::route::condition::{Condition, Text};
use pointsman_core::route::r#match::Match;
use pointsman_core::route::path::{PathKind, PathMatch, Segment};

/// Every warning about the patterns of a block.
pub(super) fn warnings(place: &str, block: &Match) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let Some(path) = &block.path {
        warnings.extend(path_warning(&format!("{place}.path"), path));
    }
    let lists = [
        ("headers", &block.headers),
        ("cookies", &block.cookies),
        ("query", &block.query),
    ];
    for (key, conditions) in lists {
        for (at, Condition { text, .. }) in conditions.iter().enumerate() {
            if let Text::Regex(regex) = text {
                let place = format!("{place}.{key}[{at}].regex");
                let alphabet = values::is_in_headers;
                warnings.extend(half_anchored(place, regex.pattern(), false, alphabet));
            }
        }
    }
    warnings
}

fn path_warning(place: &str, path: &PathMatch) -> Option<Warning> {
    let (key, segments): (_, Vec<&[u8]>) = match &path.kind {
        PathKind::Regex(regex) => {
            let place = format!("{place}.regex");
            return half_anchored(place, regex.pattern(), path.ignore_case, is_in_paths);
        }
        PathKind::Exact(path) => ("exact", path.split(|byte| *byte == b'/').collect()),
        PathKind::Prefix(path) => ("prefix", path.split(|byte| *byte == b'/').collect()),
        PathKind::Template(segments) => {
            let texts = segments.iter().filter_map(|segment| match segment {
                Segment::Text(text) => Some(&**text),
                Segment::Name(_) | Segment::Rest(_) => None,
            });
            ("template", texts.collect())
        }
    };
    let wildcard = segments.iter().find_map(|segment| Wildcard::of(segment))?;
    let shown = segments
        .iter()
        .find(|segment| Wildcard::of(segment).is_some())
        .map(|segment| String::from_utf8_lossy(segment).into_owned())
        .unwrap_or_default();
    let advice = match (wildcard, key) {
        (Wildcard::Star, "prefix") => {
            "leave it out: a prefix takes all that follows, in whole segments"
        }
        (Wildcard::Star, _) => "write `prefix`, or a `template` with `{rest=**}` at its end",
        (Wildcard::Name, _) => "write a `template` with `{name}`",
    };
    Some(Warning::new(
        "literal_wildcard",
        format!("{place}.{key}"),
        format!("takes `{shown}` as it stands"),
        match wildcard {
            Wildcard::Star => "a `*` is a letter like others here: it stands for itself only",
            Wildcard::Name => "this segment is no name here: it stands for itself only",
        },
        advice,
    ))
}

/// What a segment of a literal stands for in other programs.
#[derive(Clone, Copy, PartialEq)]
enum Wildcard {
    /// `*`, `**`, `a*`
    Star,
    /// `:id`, and `{id}` outside of a template
    Name,
}

impl Wildcard {
    fn of(segment: &[u8]) -> Option<Wildcard> {
        match segment {
            [.., b'*'] | [b'*', ..] => Some(Wildcard::Star),
            [b':', first, ..] if first.is_ascii_alphabetic() || *first == b'_' => {
                Some(Wildcard::Name)
            }
            [b'{', .., b'}'] => Some(Wildcard::Name),
            _ => None,
        }
    }
}

/// A pattern that is anchored at one end, and would match more if it were not taken as a whole.
fn half_anchored(
    place: String,
    pattern: &str,
    ignore_case: bool,
    alphabet: Alphabet,
) -> Option<Warning> {
    let (end, more) = Language::beyond_anchor(pattern, ignore_case)?;
    let whole = Language::of_pattern(pattern, ignore_case)?;
    if more.is_within(&whole, alphabet) != Some(false) {
        return None;
    }
    let (anchor, missing) = match end {
        PatternEnd::Start => ("starts with `^`", "end it with `.*`"),
        PatternEnd::End => ("ends with `$`", "begin it with `.*`"),
    };
    Some(Warning::new(
        "half_anchored",
        place,
        format!("{anchor}, and matches nothing more than the whole value"),
        "a regex here always matches the whole value, with or without `^` and `$`",
        &format!("{missing} if more may stand there, or leave the anchor out"),
    ))
}
