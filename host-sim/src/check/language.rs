//! Languages: sets of byte strings as finite automata. Questions about them are answered exactly,
//! up to bounds on the automata's size; beyond those the answer is "unknown".

pub(crate) mod joint;

use pointsman_core::route::condition::Text;
use pointsman_core::route::path::{PathKind, PathMatch, Segment};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input};
use regex_syntax::ast;
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir, HirKind, Look, Repetition};
use std::collections::{BTreeSet, VecDeque};

/// The largest automaton in bytes, and the most memory for building it.
const MAX_SIZE: usize = 1 << 20;
/// The most pairs of states that a question looks at. Two patterns as people write them have some
/// dozens.
const MAX_PAIRS: usize = 10_000;
/// The longest example in bytes: it is for people to read.
const MAX_EXAMPLE: usize = 1000;

/// The bytes that values consist of: strings with other bytes are no values, and do not count.
pub(crate) type Alphabet = fn(u8) -> bool;

/// An end of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternEnd {
    /// Its first byte.
    Start,
    /// Its last byte.
    End,
}

/// A set of byte strings.
pub(crate) struct Language {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Language {
    /// The paths that a condition accepts. None: the automaton would be too large.
    pub(crate) fn of_path(path: &PathMatch) -> Option<Language> {
        let literal = |text: &[u8]| literal(text, path.ignore_case);
        Language::new(match &path.kind {
            PathKind::Exact(text) => literal(text),
            PathKind::Prefix(text) => {
                let below = Hir::concat(vec![literal(b"/"), anything()]);
                Hir::concat(vec![
                    literal(text),
                    Hir::alternation(vec![Hir::empty(), below]),
                ])
            }
            PathKind::Template(segments) => {
                let segments = segments.iter().flat_map(|segment| {
                    let segment = match segment {
                        Segment::Text(text) => literal(text),
                        Segment::Name(_) => repeated(no_slash(), 1),
                        Segment::Rest(_) => anything(),
                    };
                    [literal(b"/"), segment]
                });
                Hir::concat(segments.collect())
            }
            PathKind::Regex(regex) => parse(regex.pattern(), path.ignore_case)?,
        })
    }

    /// The values that a condition accepts. None: the automaton would be too large.
    pub(crate) fn of_text(text: &Text) -> Option<Language> {
        let literal = |text: &[u8]| literal(text, false);
        Language::new(match text {
            Text::Exact(text) => literal(text),
            Text::Prefix(text) => Hir::concat(vec![literal(text), anything()]),
            Text::Suffix(text) => Hir::concat(vec![anything(), literal(text)]),
            Text::Contains(text) => Hir::concat(vec![anything(), literal(text.text()), anything()]),
            Text::Regex(regex) => parse(regex.pattern(), false)?,
            Text::Present(_) => anything(),
        })
    }

    /// The values that a pattern matches as a whole. None: the automaton would be too large.
    pub(crate) fn of_pattern(pattern: &str, ignore_case: bool) -> Option<Language> {
        Language::new(parse(pattern, ignore_case)?)
    }

    /// At which of its ends a pattern is anchored, and the values that a search for it would find
    /// it in. None: at both or at none, or the automaton would be too large.
    pub(super) fn beyond_anchor(
        pattern: &str,
        ignore_case: bool,
    ) -> Option<(PatternEnd, Language)> {
        let hir = parse(pattern, ignore_case)?;
        let properties = hir.properties();
        let starts = properties.look_set_prefix().contains(Look::Start);
        let ends = properties.look_set_suffix().contains(Look::End);
        let (end, found) = match (starts, ends) {
            (true, false) => (PatternEnd::Start, Hir::concat(vec![hir, anything()])),
            (false, true) => (PatternEnd::End, Hir::concat(vec![anything(), hir])),
            _ => return None,
        };
        Some((end, Language::new(found)?))
    }

    fn new(hir: Hir) -> Option<Language> {
        // Only whole values match.
        let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let nfa = thompson::Compiler::new()
            .configure(
                thompson::Config::new()
                    .utf8(false)
                    .nfa_size_limit(Some(MAX_SIZE))
                    .which_captures(thompson::WhichCaptures::None),
            )
            .build_from_hir(&whole)
            .ok()?;
        let dfa = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .accelerate(false)
                    .start_kind(StartKind::Anchored)
                    .dfa_size_limit(Some(MAX_SIZE))
                    .determinize_size_limit(Some(MAX_SIZE)),
            )
            .build_from_nfa(&nfa)
            .ok()?;
        let input = Input::new(b"").anchored(Anchored::Yes);
        let start = dfa.start_state_forward(&input).ok()?;
        Some(Language { dfa, start })
    }

    /// Whether every string of these bytes that is in this language is in the other, too. None:
    /// unknown.
    pub(super) fn is_within(&self, other: &Language, alphabet: Alphabet) -> Option<bool> {
        let outside = self.can_reach(other, alphabet, |ours, theirs| ours && !theirs)?;
        Some(!outside)
    }

    /// Whether no string of these bytes is in both languages. None: unknown.
    pub(super) fn is_disjoint(&self, other: &Language, alphabet: Alphabet) -> Option<bool> {
        let both = self.can_reach(other, alphabet, |ours, theirs| ours && theirs)?;
        Some(!both)
    }

    /// Whether a string of these bytes exists for which `wanted` holds of "this language has it"
    /// and "the other language has it". None: unknown. `wanted` holds for none that this one lacks.
    fn can_reach(
        &self,
        other: &Language,
        alphabet: Alphabet,
        wanted: fn(bool, bool) -> bool,
    ) -> Option<bool> {
        let mut bytes: Vec<u8> = (0..=u8::MAX).filter(|byte| alphabet(*byte)).collect();
        // Of neighbours that lead to the same states one will do.
        let classes = (self.dfa.byte_classes(), other.dfa.byte_classes());
        bytes.dedup_by_key(|byte| (classes.0.get(*byte), classes.1.get(*byte)));
        let mut seen = BTreeSet::from([(self.start, other.start)]);
        let mut queue = VecDeque::from([(self.start, other.start)]);
        while let Some((ours, theirs)) = queue.pop_front() {
            if wanted(self.accepts(ours), other.accepts(theirs)) {
                return Some(true);
            }
            for byte in &bytes {
                let next = (
                    self.dfa.next_state(ours, *byte),
                    other.dfa.next_state(theirs, *byte),
                );
                if !self.dfa.is_dead_state(next.0) && seen.insert(next) {
                    queue.push_back(next);
                }
            }
            if seen.len() > MAX_PAIRS {
                return None;
            }
        }
        Some(false)
    }

    /// The shortest string of printable ASCII that is in the language and starts so, with letters
    /// rather than digits, and those rather than punctuation. None: there is none, or none is
    /// found.
    pub(super) fn example(&self, start: &[u8]) -> Option<Vec<u8>> {
        let bytes = (b'a'..=b'z').chain(b'0'..=b'9').chain(b'!'..=b'~');
        let bytes: Vec<u8> = bytes.collect();
        let state = start
            .iter()
            .fold(self.start, |state, byte| self.dfa.next_state(state, *byte));
        let mut seen = BTreeSet::from([state]);
        let mut queue = VecDeque::from([(state, start.to_vec())]);
        while let Some((state, text)) = queue.pop_front() {
            if self.accepts(state) {
                return Some(text);
            }
            if text.len() > MAX_EXAMPLE {
                return None;
            }
            for byte in &bytes {
                let next = self.dfa.next_state(state, *byte);
                if !self.dfa.is_dead_state(next) && seen.insert(next) {
                    queue.push_back((next, [&text[..], &[*byte]].concat()));
                }
            }
        }
        None
    }

    /// Whether the string that leads to a state is in the language.
    fn accepts(&self, state: StateID) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(state))
    }
}

/// Parses a pattern as the filter does: on bytes.
fn parse(pattern: &str, ignore_case: bool) -> Option<Hir> {
    let ast = ast::parse::Parser::new().parse(pattern).ok()?;
    let mut translator = TranslatorBuilder::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(ignore_case)
        .build();
    translator.translate(pattern, &ast).ok()
}

/// Texts in lower case of which every value that a pattern matches has at least one somewhere, in
/// whatever case. None: there are none, or too many.
pub(super) fn required(pattern: &str, ignore_case: bool) -> Option<Vec<Vec<u8>>> {
    required_of(&parse(pattern, ignore_case)?)
}

/// The most texts of an alternation, and the most repetitions that are written out.
const MAX_TEXTS: usize = 64;
const MAX_WRITTEN_OUT: u32 = 8;

fn required_of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    if let Some(texts) = every_text(hir) {
        return texts.iter().all(|text| !text.is_empty()).then_some(texts);
    }
    match hir.kind() {
        HirKind::Capture(capture) => required_of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required_of(&repetition.sub),
        HirKind::Alternation(parts) => {
            let texts: Option<Vec<_>> = parts.iter().map(required_of).collect();
            let texts = texts?.concat();
            (texts.len() <= MAX_TEXTS).then_some(texts)
        }
        HirKind::Concat(parts) => {
            let (mut best, mut run) = (None, vec![Vec::new()]);
            let length = |texts: &[Vec<u8>]| texts.iter().map(Vec::len).min().unwrap_or(0);
            let mut offer = |texts: Vec<Vec<u8>>| {
                let is_better = best
                    .as_ref()
                    .is_none_or(|best: &Vec<_>| length(best) < length(&texts));
                if length(&texts) > 0 && is_better {
                    best = Some(texts);
                }
            };
            for part in parts {
                let next = every_text(part);
                let longer = next.as_ref().and_then(|next| joined(&run, next));
                match longer {
                    Some(longer) => run = longer,
                    None => {
                        let begun = next.unwrap_or_else(|| vec![Vec::new()]);
                        offer(std::mem::replace(&mut run, begun));
                        required_of(part).into_iter().for_each(&mut offer);
                    }
                }
            }
            offer(run);
            best
        }
        _ => None,
    }
}

/// Every text that it matches, in lower case. None: there are too many.
fn every_text(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(Class::Bytes(class)) => {
            let ranges = class.ranges().iter();
            let bytes = ranges.flat_map(|range| range.start()..=range.end());
            let bytes: BTreeSet<u8> = bytes.map(|byte| byte.to_ascii_lowercase()).collect();
            (bytes.len() <= MAX_WRITTEN_OUT as usize)
                .then(|| bytes.into_iter().map(|byte| vec![byte]).collect())
        }
        HirKind::Class(Class::Unicode(_)) => None,
        HirKind::Repetition(Repetition { min, max, sub, .. }) => {
            let is_fixed = Some(*min) == *max && *min <= MAX_WRITTEN_OUT;
            let once = is_fixed.then(|| every_text(sub))??;
            (0..*min).try_fold(vec![Vec::new()], |texts, _| joined(&texts, &once))
        }
        HirKind::Capture(capture) => every_text(&capture.sub),
        HirKind::Concat(parts) => parts.iter().try_fold(vec![Vec::new()], |texts, part| {
            joined(&texts, &every_text(part)?)
        }),
        HirKind::Alternation(parts) => {
            let texts: Option<Vec<_>> = parts.iter().map(every_text).collect();
            let texts = texts?.concat();
            (texts.len() <= MAX_TEXTS).then_some(texts)
        }
    }
}

/// Each of these with each of those behind it. None: there are too many.
fn joined(texts: &[Vec<u8>], next: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    (texts.len() * next.len() <= MAX_TEXTS).then(|| {
        let both = texts.iter().flat_map(|text| {
            let join = move |next: &Vec<u8>| [&text[..], next].concat();
            next.iter().map(join)
        });
        both.collect()
    })
}

fn literal(text: &[u8], ignore_case: bool) -> Hir {
    if !ignore_case {
        return Hir::literal(text);
    }
    let either = |byte: &u8| {
        let cases = [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()];
        class(cases.map(|byte| (byte, byte)))
    };
    Hir::concat(text.iter().map(either).collect())
}

fn anything() -> Hir {
    repeated(class([(0, u8::MAX)]), 0)
}

fn no_slash() -> Hir {
    class([(0, b'/' - 1), (b'/' + 1, u8::MAX)])
}

fn class(ranges: impl IntoIterator<Item = (u8, u8)>) -> Hir {
    let ranges = ranges.into_iter();
    let ranges = ranges.map(|(first, last)| ClassBytesRange::new(first, last));
    Hir::class(Class::Bytes(ClassBytes::new(ranges)))
}

/// At least `min` repetitions.
fn repeated(hir: Hir, min: u32) -> Hir {
    Hir::repetition(Repetition {
        min,
        max: None,
        greedy: true,
        sub: Box::new(hir),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_core::http::regex::Regex;

    fn sample(pattern: &str) -> Option<Vec<u8>> {
        Language::new(parse(pattern, false)?)?.example(b"")
    }

    #[test]
    fn sample_matches() {
        for (pattern, expected) in [
            ("/users/[0-9]+", "/users/0"),
            ("(a|b)c?", "a"),
            ("x{3}", "xxx"),
            (r"\w\W", "a!"),
            ("^/a$", "/a"),
            (".", "a"),
        ] {
            let value = sample(pattern).unwrap();
            assert_eq!(String::from_utf8_lossy(&value), expected, "{pattern}");
            assert!(
                Regex::new(pattern, false).unwrap().matches_whole(&value),
                "{pattern}"
            );
        }
        for none in [r"[\x80-\xff]", "a{999}{999}"] {
            assert_eq!(sample(none), None, "{none}");
        }
    }

    #[test]
    fn every_value_has_one_of_the_required_texts() {
        let rows: [(&str, &[&str]); 12] = [
            (
                "/(en|de)/shop-1/[0-9]+(/.*)?",
                &["/en/shop-1/", "/de/shop-1/"],
            ),
            (".*(foo|ba[rz]).*", &["foo", "bar", "baz"]),
            ("(?i)/Ab+", &["/a"]),
            ("/a?bc*", &["/"]),
            ("[0-9]+-x.*", &["-x"]),
            ("(ab){2}", &["abab"]),
            ("(ab)+c", &["ab"]),
            ("(a|.)b?", &[]),
            (".*", &[]),
            ("(foo)?", &[]),
            ("foo|.*", &[]),
            (".*/[a-z]+/needle/x.*", &["/needle/x"]),
        ];
        for (pattern, expected) in rows {
            let texts = required(pattern, false).unwrap_or_default();
            let shown: Vec<_> = texts
                .iter()
                .map(|text| String::from_utf8_lossy(text))
                .collect();
            assert_eq!(shown, expected, "{pattern}");
        }
    }

    fn path(text: &str, ignore_case: bool) -> PathMatch {
        let (kind, text) = text.split_once(' ').unwrap();
        let segment = |segment: &str| match segment {
            "{x}" => Segment::Name("x".into()),
            "{x=**}" => Segment::Rest("x".into()),
            text => Segment::Text(text.as_bytes().into()),
        };
        let kind = match kind {
            "exact" => PathKind::Exact(text.as_bytes().into()),
            "prefix" => PathKind::Prefix(text.as_bytes().into()),
            "template" => PathKind::Template(text[1..].split('/').map(segment).collect()),
            _ => PathKind::Regex(Regex::new(text, ignore_case).unwrap()),
        };
        PathMatch { kind, ignore_case }
    }

    const LETTERS: [u8; 5] = *b"/abAB";

    /// Every string of up to six letters. If one of the conditions below accepts a string that
    /// another does not, it also accepts such a string of these.
    fn strings() -> Vec<Vec<u8>> {
        let mut strings = vec![Vec::new()];
        let mut last = strings.clone();
        for _ in 0..6 {
            let longer = |text: &Vec<u8>| LETTERS.map(|byte| [&text[..], &[byte]].concat());
            last = last.iter().flat_map(longer).collect();
            strings.extend(last.iter().cloned());
        }
        strings
    }

    /// The oracle are the conditions themselves, on every string.
    #[test]
    fn conditions_on_paths_are_compared_exactly() {
        let conditions = [
            "exact /a",
            "exact /a/b",
            "prefix ",
            "prefix /a",
            "prefix /a/b",
            "template /{x}",
            "template /a/{x}",
            "template /{x}/b",
            "template /{x=**}",
            "template /a/{x=**}",
            "template /a/",
            "regex /a.*",
            "regex /a(/.*)?",
            "regex .*",
            "regex /.*",
            "regex /(a|b)",
            "regex (/a|/a/b)",
            "regex /[^/]+",
            "regex /a/b?",
            "regex /A(?-i)/b",
            "regex ^/a$",
            r"regex /a\b.*",
            "regex a$b",
        ];
        let conditions: Vec<_> = conditions
            .iter()
            .flat_map(|text| [path(text, false), path(text, true)])
            .collect();
        let languages: Vec<_> = conditions
            .iter()
            .map(|path| Language::of_path(path).unwrap())
            .collect();
        let strings = strings();
        let accepted: Vec<Vec<bool>> = conditions
            .iter()
            .map(|path| strings.iter().map(|text| path.matches(text)).collect())
            .collect();
        let letters: Alphabet = |byte| LETTERS.contains(&byte);
        for (one, of_one) in accepted.iter().enumerate() {
            for (other, of_other) in accepted.iter().enumerate() {
                let mut pairs = of_one.iter().zip(of_other);
                let within = pairs.clone().all(|(one, other)| !one || *other);
                let disjoint = !pairs.any(|(one, other)| *one && *other);
                let (a, b) = (&languages[one], &languages[other]);
                let what = format!("{} and {}", conditions[one], conditions[other]);
                assert_eq!(a.is_within(b, letters), Some(within), "{what}");
                assert_eq!(a.is_disjoint(b, letters), Some(disjoint), "{what}");
            }
        }
    }

    #[test]
    fn strings_of_other_bytes_do_not_count() {
        let language = |pattern| Language::new(parse(pattern, false).unwrap()).unwrap();
        let (dots, anything) = (language(".*"), language("(?s).*"));
        assert_eq!(anything.is_within(&dots, |_| true), Some(false));
        assert_eq!(anything.is_within(&dots, |byte| byte != b'\n'), Some(true));
        assert_eq!(
            language("a\nb").is_disjoint(&anything, |byte| byte != b'\n'),
            Some(true)
        );
    }

    #[test]
    fn what_would_take_too_long_is_unknown() {
        // The automaton has to remember which of the last 24 bytes were `a`.
        assert!(Language::new(parse("(?s).*a.{24}", false).unwrap()).is_none());
        let language = |pattern| Language::new(parse(pattern, false).unwrap()).unwrap();
        let counts = language("(a{101})*").is_within(&language("(a{103})*b?"), |_| true);
        assert_eq!(counts, Some(false));
        let long = language("(a{1009})*").is_disjoint(&language("a(a{1013})*"), |_| true);
        assert_eq!(long, None);
    }
}
