//! Regular expressions: the syntax of Rust's `regex` crate, on bytes, in linear time whatever the
//! pattern and the input.
//!
//! On bytes means: as under `(?-u)`. `.` is any byte but a line feed, so that values that are not
//! UTF-8 match too; `\d`, `\w`, `\b` and case are those of ASCII; a character outside ASCII stands
//! for its bytes in UTF-8. What this leaves out are Unicode's tables, a fifth of the module's size,
//! and patterns whose `\w` takes 18 kB.
//!
//! Both engines simulate the pattern's NFA, in time proportional to pattern × input: bounded
//! backtracking, which is the faster one, while its table of visited states stays small, and the
//! Pike VM beyond. Their working memory lives for one search only: it is small, and thousands of
//! patterns that each keep some would not be.

use regex_automata::Input;
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_syntax::ast::{self, Ast, Flag, Span};
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{self, Hir, HirKind, Look};

/// A part of a `substitution`: `\1` names a group, `\\` is a backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubstitutionPart {
    /// As it stands.
    Text(Box<[u8]>),
    /// The group of this number; the configuration makes sure that the pattern has it.
    Group(usize),
}

/// A pattern that a whole value has to match. It is boxed, because most conditions have none, and
/// there may be 100,000 conditions.
pub struct Regex(Box<Whole>);

struct Whole {
    pattern: Box<str>,
    literal: Box<[u8]>,
    backtracker: BoundedBacktracker,
    pike: PikeVM,
}

impl Regex {
    /// Compiles. The error says what is wrong, and where in the pattern.
    pub fn new(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
        let hir = parse(pattern, ignore_case)?;
        let mut literal = Vec::new();
        push_literal(&hir, &mut literal);
        let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let nfa = compile(&whole, WhichCaptures::None)?;
        Ok(Regex(Box::new(Whole {
            pattern: pattern.into(),
            literal: literal.into(),
            backtracker: BoundedBacktracker::builder()
                .configure(backtrack::Config::new().visited_capacity(VISITED_LIMIT))
                .build_from_nfa(nfa.clone())
                .map_err(one_line)?,
            pike: PikeVM::new_from_nfa(nfa).map_err(one_line)?,
        })))
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.0.pattern
    }

    /// Bytes that every value that matches starts with. They may be fewer than there are.
    pub fn literal_prefix(&self) -> &[u8] {
        &self.0.literal
    }

    /// Whether the pattern matches the value from its first byte to its last.
    pub fn matches_whole(&self, value: &[u8]) -> bool {
        // Every match starts with the literal; most values that do not match fail here.
        let Whole {
            literal,
            backtracker,
            pike,
            ..
        } = &*self.0;
        if !value.starts_with(literal) {
            return false;
        }
        let input = Input::new(value).earliest(true);
        backtracker
            .try_is_match(&mut backtracker.create_cache(), input.clone())
            .unwrap_or_else(|_too_long| pike.is_match(&mut pike.create_cache(), input))
    }
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Regex({})", self.pattern())
    }
}

/// A pattern that is searched for, to replace what it matches.
pub struct Search {
    pattern: Box<str>,
    pike: PikeVM,
    /// The longest match in bytes. None: there is no bound.
    longest: Option<usize>,
}

impl Search {
    /// Compiles. The error says what is wrong, and where in the pattern.
    pub fn new(pattern: &str) -> Result<Search, String> {
        let hir = parse(pattern, false)?;
        let nfa = compile(&hir, WhichCaptures::All)?;
        Ok(Search {
            pattern: pattern.into(),
            longest: hir.properties().maximum_len(),
            pike: PikeVM::new_from_nfa(nfa).map_err(one_line)?,
        })
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// How many groups the pattern has: `\1` to `\groups` name them, `\0` is the whole match.
    pub fn groups(&self) -> usize {
        self.slots().saturating_sub(2) / 2
    }

    fn slots(&self) -> usize {
        self.pike.get_nfa().group_info().slot_len()
    }

    /// The input with every match replaced. Matches are those that the `regex` crate's iterator
    /// finds: from left to right, never overlapping, and an empty one never directly behind
    /// another. A group that took no part is empty.
    ///
    /// Past 64 KiB of growth, or 1 MiB that the searches may have looked at, the rest of the input
    /// stays as it is.
    pub fn replace_all(&self, input: &[u8], substitution: &[SubstitutionPart]) -> Vec<u8> {
        let mut replaced = Vec::with_capacity(input.len());
        let mut cache = self.pike.create_cache();
        let mut slots = vec![None; self.slots()];
        let (mut from, mut copied, mut scanned) = (0, 0, 0);
        while from <= input.len() && scanned < SCAN_LIMIT {
            let found =
                self.pike
                    .search_slots(&mut cache, &Input::new(input).range(from..), &mut slots);
            let group = |number: usize| -> Option<(usize, usize)> {
                let at = |slot: usize| {
                    slots
                        .get(slot)
                        .copied()
                        .flatten()
                        .map(|offset| offset.get())
                };
                Some((at(2 * number)?, at(2 * number + 1)?))
            };
            let (Some(_), Some((start, end))) = (found, group(0)) else {
                break;
            };
            scanned += self
                .longest
                .map_or(input.len(), |longest| start.saturating_add(longest))
                - from;
            if start == end && end == copied && copied > 0 {
                from = end + 1;
                continue;
            }
            let before = replaced.len();
            replaced.extend_from_slice(input.get(copied..start).unwrap_or_default());
            for part in substitution {
                replaced.extend_from_slice(match part {
                    SubstitutionPart::Text(text) => text,
                    SubstitutionPart::Group(number) => group(*number)
                        .and_then(|(start, end)| input.get(start..end))
                        .unwrap_or_default(),
                });
            }
            if replaced.len() > end + GROWTH_LIMIT {
                replaced.truncate(before);
                break;
            }
            copied = end;
            from = if start == end { end + 1 } else { end };
        }
        replaced.extend_from_slice(input.get(copied..).unwrap_or_default());
        replaced
    }
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Search({})", self.pattern)
    }
}

fn parse(pattern: &str, ignore_case: bool) -> Result<Hir, String> {
    let failed = |what: &dyn std::fmt::Display, at: &Span| {
        format!("{what}, at character {}", at.start.column)
    };
    let ast = match ast::parse::Parser::new().parse(pattern) {
        Ok(ast) => ast,
        Err(error) => return Err(failed(error.kind(), error.span())),
    };
    if let Some(at) = asks_for_unicode(&ast) {
        return Err(failed(&"patterns work on bytes, without the flag `u`", at));
    }
    let translated = TranslatorBuilder::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(ignore_case)
        .build()
        .translate(pattern, &ast);
    translated.map_err(|error| match error.kind() {
        hir::ErrorKind::UnicodeNotAllowed => failed(
            &"patterns work on bytes: a class takes ASCII and \\xNN, any other character stands outside of classes",
            error.span(),
        ),
        kind => failed(kind, error.span()),
    })
}

/// Where a pattern switches Unicode on. A native build has the tables for that if another crate
/// needs them, the module has not; and what one of them accepts the other must not refuse.
fn asks_for_unicode(ast: &Ast) -> Option<&Span> {
    let on = |flags: &ast::Flags| flags.flag_state(Flag::Unicode) == Some(true);
    match ast {
        Ast::Flags(set) => on(&set.flags).then_some(&set.span),
        Ast::Group(group) if group.flags().is_some_and(on) => Some(&group.span),
        // The parser bounds how deep this nests.
        Ast::Group(group) => asks_for_unicode(&group.ast),
        Ast::Repetition(repetition) => asks_for_unicode(&repetition.ast),
        Ast::Alternation(any) => any.asts.iter().find_map(asks_for_unicode),
        Ast::Concat(all) => all.asts.iter().find_map(asks_for_unicode),
        _ => None,
    }
}

fn compile(hir: &Hir, captures: WhichCaptures) -> Result<NFA, String> {
    let config = thompson::Config::new()
        .utf8(false)
        .shrink(false)
        .nfa_size_limit(Some(NFA_LIMIT))
        .which_captures(captures);
    let compiled = thompson::Compiler::new()
        .configure(config)
        .build_from_hir(hir);
    compiled.map_err(|error| match error.size_limit() {
        Some(limit) => format!("compiles to more than {limit} bytes"),
        None => one_line(error),
    })
}

fn one_line(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text.replace('\n', " ")
}

/// Appends what every match starts with. Returns whether that is all of what the expression
/// matches.
fn push_literal(hir: &Hir, literal: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty => true,
        HirKind::Literal(bytes) => {
            literal.extend_from_slice(&bytes.0);
            true
        }
        HirKind::Capture(group) => push_literal(&group.sub, literal),
        // An assertion can only take matches away.
        HirKind::Look(_) => true,
        HirKind::Concat(parts) => parts.iter().all(|part| push_literal(part, literal)),
        HirKind::Class(_) | HirKind::Repetition(_) | HirKind::Alternation(_) => false,
    }
}

/// The largest NFA of one pattern in bytes: two thousand characters and classes. As every byte of
/// an input may visit every state, this is also what bounds the time of a search.
const NFA_LIMIT: usize = 128 * 1024;

/// The backtracker's table of visited states in bytes: a bit for each state and byte of input. 32
/// KiB let a pattern of 500 states see 500 bytes, more than most paths have. Measured, it takes a
/// half to a quarter of the Pike VM's time.
const VISITED_LIMIT: usize = 32 * 1024;

/// How many bytes the searches of one replacement may look at, all together. Each search starts at
/// the end of the last match, but one that has a match may have to look at all that remains before
/// it knows (`a.*z|a` on `aaaa`), which would be quadratic in the input. Inputs of 1 KiB never come
/// near it, of 8 KiB have 128 matches, of 64 KiB 17; patterns whose matches have a greatest length
/// have all of theirs. The worst found takes a tenth of a second.
const SCAN_LIMIT: usize = 1024 * 1024;

/// How many bytes longer than its input a replacement may get: as much as a proxy takes for all
/// headers.
const GROWTH_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_value_matches_as_a_whole_or_not_at_all() {
        for (pattern, ignore_case, value, expected) in [
            ("a|ab", false, &b"ab"[..], true),
            ("a|ab", false, b"a", true),
            ("a|ab", false, b"abc", false),
            ("a|ab", false, b"cab", false),
            ("ab?", false, b"abb", false),
            ("", false, b"", true),
            ("", false, b"x", false),
            ("/users/[0-9]+", false, b"/users/42", true),
            ("/users/[0-9]+", false, b"/users/42/", false),
            ("/users/[0-9]+", false, b"/USERS/42", false),
            ("/users/[0-9]+", true, b"/USERS/42", true),
            ("gr\u{fc}n", false, "gr\u{fc}n".as_bytes(), true),
            ("(?i)gr\u{fc}n", false, "GR\u{fc}N".as_bytes(), true),
            ("(?i)gr\u{fc}n", false, "GR\u{dc}N".as_bytes(), false),
            // `.` is a byte; never a line feed unless asked for.
            ("..", false, "\u{fc}".as_bytes(), true),
            (".", false, b"\xff", true),
            (r"[\x80-\xff]+", false, b"\xff\x80", true),
            ("[^/]+", false, b"\xff\x80", true),
            (".*", false, b"a\nb", false),
            ("(?s).*", false, b"a\nb", true),
            (r"\d+", false, b"0123456789", true),
            (r"\d+", false, "\u{665}".as_bytes(), false),
            (r"\w+ \bx\b", false, b"abc x", true),
            // Anchors of the pattern's own are harmless, and those of lines cannot cut a value
            // short.
            ("^a$", false, b"a", true),
            ("(?m)^a$", false, b"a\nb", false),
            ("(?m)^a$\n^b$", false, b"a\nb", true),
            ("^", false, b"", true),
            ("a^", false, b"a", false),
        ] {
            let regex = Regex::new(pattern, ignore_case).unwrap();
            assert_eq!(
                regex.matches_whole(value),
                expected,
                "{pattern} on {}",
                value.escape_ascii()
            );
        }
    }

    #[test]
    fn both_engines_agree_at_the_border_between_them() {
        let regex = Regex::new("(a|ab|b)*c?", false).unwrap();
        let border = regex.0.backtracker.max_haystack_len();
        assert!((1000..100_000).contains(&border), "{border}");
        for length in border - 2..border + 3 {
            let mut value = b"ab".repeat(length)[..length].to_vec();
            assert!(regex.matches_whole(&value), "{length}");
            value[length / 2] = b'c';
            assert!(!regex.matches_whole(&value), "{length}");
        }
    }

    #[test]
    fn patterns_that_other_engines_choke_on_take_linear_time() {
        for pattern in [
            "(a*)*b",
            "(a|a)*b",
            "(a|aa)+$b",
            "(.*)(.*)(.*)b",
            "(?:a?){64}a{64}b",
        ] {
            assert!(
                !Regex::new(pattern, false)
                    .unwrap()
                    .matches_whole(&[b'a'; 65_536]),
                "{pattern}"
            );
        }
    }

    #[test]
    fn literal_prefix_is_what_every_match_starts_with() {
        for (pattern, ignore_case, literal) in [
            ("/users/[0-9]+", false, "/users/"),
            ("^/a(/b)(/c?)", false, "/a/b/"),
            ("/a|/b", false, ""),
            ("/ab?", false, "/a"),
            (".*", false, ""),
            ("", false, ""),
            ("/1/a", true, "/1/"),
            ("(?:/x){2}", false, ""),
        ] {
            let regex = Regex::new(pattern, ignore_case).unwrap();
            assert_eq!(regex.literal_prefix(), literal.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn errors_are_one_line_and_say_where() {
        for (pattern, error) in [
            ("a(b", "unclosed group, at character 2"),
            ("a\n(b", "unclosed group, at character 1"),
            (
                "a[\u{fc}]",
                "patterns work on bytes: a class takes ASCII and \\xNN, any other character stands outside of classes, at character 3",
            ),
            (
                r"\pL",
                "patterns work on bytes: a class takes ASCII and \\xNN, any other character stands outside of classes, at character 1",
            ),
            (
                "(a|b(?i-u:c)(?u:d))*",
                "patterns work on bytes, without the flag `u`, at character 13",
            ),
            (
                "(?u)a",
                "patterns work on bytes, without the flag `u`, at character 1",
            ),
            (
                "[z-a]",
                "invalid character class range, the start must be <= the end, at character 2",
            ),
            (
                "(?=a)",
                "look-around, including look-ahead and look-behind, is not supported, at character 1",
            ),
        ] {
            assert_eq!(Regex::new(pattern, false).unwrap_err(), error, "{pattern}");
            assert_eq!(Search::new(pattern).unwrap_err(), error, "{pattern}");
        }
        let error = Regex::new(r"(\w{100}){100}", false).unwrap_err();
        assert!(
            error.starts_with("compiles to more than 131072 bytes") && !error.contains('\n'),
            "{error}"
        );
    }

    fn part(text: &str) -> Vec<SubstitutionPart> {
        // `1` is the group, everything else is text.
        text.split_inclusive(|_| true)
            .map(|one| match one {
                "0" => SubstitutionPart::Group(0),
                "1" => SubstitutionPart::Group(1),
                "2" => SubstitutionPart::Group(2),
                _ => SubstitutionPart::Text(one.as_bytes().into()),
            })
            .collect()
    }

    #[test]
    fn every_match_is_replaced() {
        for (pattern, input, substitution, expected) in [
            ("a", &b"banana"[..], "o", &b"bonono"[..]),
            ("^/v([0-9])/(.*)", b"/v2/x/y", "/2?1", b"/x/y?2"),
            ("/+", b"//a///b", "/", b"/a/b"),
            ("(a)|(b)", b"abc", "<1|2>", b"<a|><|b>c"),
            ("x", b"banana", "o", b"banana"),
            ("", b"ab", "-", b"-a-b-"),
            ("", b"", "-", b"-"),
            ("b*", b"abbc", "-", b"-a-c-"),
            ("a*?", b"aa", "-", b"-a-a-"),
            ("^", b"aa", "-", b"-aa"),
            ("$", b"aa", "-", b"aa-"),
            ("^a", b"aaa", "", b"aa"),
            (r"\ba", b"aa a", "0x", b"axa ax"),
            (r"\xff", b"\xff\x80\xff", "0.", b"\xff.\x80\xff."),
            (".", b"\xff\xc3\xbc", "x", b"xxx"),
        ] {
            let replaced = Search::new(pattern)
                .unwrap()
                .replace_all(input, &part(substitution));
            assert_eq!(
                replaced.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{pattern}"
            );
        }
    }

    #[test]
    fn groups_are_counted() {
        for (pattern, groups) in [("a", 0), ("(a)(?:b)(?<n>c)", 2), ("((a)|(b))*", 3)] {
            assert_eq!(Search::new(pattern).unwrap().groups(), groups, "{pattern}");
        }
    }

    #[test]
    fn growth_is_bounded_and_the_rest_stays() {
        let input = [b'a'; 1000];
        let substitution = [SubstitutionPart::Text(vec![b'x'; 10_000].into())];
        let replaced = Search::new("a").unwrap().replace_all(&input, &substitution);
        assert_eq!(replaced.len(), 6 * 10_000 + 994);
        assert!(replaced.ends_with(b"aa"));
    }

    #[test]
    fn searches_that_scan_to_the_end_are_bounded_and_the_rest_stays() {
        let input = [b'a'; 65_536];
        let replaced = Search::new("a.*z|a")
            .unwrap()
            .replace_all(&input, &part("b"));
        assert_eq!(replaced.iter().filter(|byte| **byte == b'b').count(), 17);
        assert_eq!(replaced.len(), input.len());
        // A match whose length is bounded ends its search: nothing to bound.
        assert_eq!(
            Search::new("a").unwrap().replace_all(&input, &part("b")),
            [b'b'; 65_536]
        );
        // Nor is there in what fits a path.
        assert_eq!(
            Search::new("a.*z|a")
                .unwrap()
                .replace_all(&[b'a'; 1024], &part("b")),
            [b'b'; 1024]
        );
    }
}
