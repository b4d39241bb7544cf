//! Regular expressions: the syntax of Rust's `regex` crate, on bytes, in linear time whatever the
//! pattern and the input.
//!
//! On bytes means: as under `(?-u)`. `.` is any byte but a line feed, so that values that are not
//! UTF-8 match too; `\d`, `\w`, `\b` and case are those of ASCII; a character outside ASCII stands
//! for its bytes in UTF-8. What this leaves out are Unicode's tables, a fifth of the module's size,
//! and patterns whose `\w` takes 18 kB.
//!
//! A value costs a look-up for each of its bytes, where the pattern's states make a small table, and
//! else a bounded number of steps ([`states`]); a search and replacement has a bound of its own
//! ([`search`]).

mod assertion;
mod program;
mod search;
mod states;

use super::steps::Allowed;
use program::Program;
use regex_automata::nfa::thompson::{self, NFA, State, WhichCaptures};
use regex_syntax::ast::{self, Ast, Flag, Span};
use regex_syntax::hir::translate::TranslatorBuilder;
use regex_syntax::hir::{self, Hir, HirKind, Look};
use search::Searches;
use states::{Sets, Table};

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
    engine: Engine,
}

enum Engine {
    Table(Table),
    /// The table would be too large.
    Sets(Program),
}

impl Regex {
    /// Compiles. The error says what is wrong, and where in the pattern.
    pub fn new(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
        let hir = parse(pattern, ignore_case)?;
        let mut literal = Vec::new();
        push_literal(&hir, &mut literal);
        let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let nfa = compile(&whole, WhichCaptures::None)?;
        let program = Program::new(&nfa);
        Ok(Regex(Box::new(Whole {
            pattern: pattern.into(),
            literal: literal.into(),
            engine: match Table::new(&nfa, &program) {
                Some(table) => Engine::Table(table),
                None => Engine::Sets(program),
            },
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

    /// What it takes, in bytes: estimated from above, the same on every host.
    pub fn memory(&self) -> usize {
        let engine = match &self.0.engine {
            Engine::Table(table) => table.memory(),
            Engine::Sets(program) => program.memory(),
        };
        // The texts are counted with the configuration's.
        REGEX_MEMORY + engine
    }

    /// Whether two bytes of a value cost three steps. Otherwise each may cost some hundred.
    pub fn is_table(&self) -> bool {
        matches!(self.0.engine, Engine::Table(_))
    }

    /// Whether the pattern matches the value from its first byte to its last, however long that
    /// takes.
    pub fn matches_whole(&self, value: &[u8]) -> bool {
        self.matches_within(value, &mut Allowed::unbounded())
            .unwrap_or_default()
    }

    /// The same within a bound. None: the value is too long, or the steps are used up.
    pub fn matches_within(&self, value: &[u8], allowed: &mut Allowed<'_>) -> Option<bool> {
        // Every match starts with the literal; most values that do not match fail here.
        if !value.starts_with(&self.0.literal) {
            return Some(false);
        }
        if !allowed.admits(value.len()) {
            return None;
        }
        match &self.0.engine {
            Engine::Table(table) => {
                let may = allowed.take(value.len() + value.len() / 2);
                may.then(|| table.matches(value))
            }
            Engine::Sets(program) => Sets::new(program).matches(value, allowed),
        }
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
    /// On the heap: most routes have no pattern, and there may be 100,000.
    program: Box<Program>,
}

impl Search {
    /// Compiles. The error says what is wrong, and where in the pattern.
    pub fn new(pattern: &str) -> Result<Search, String> {
        let nfa = compile(&parse(pattern, false)?, WhichCaptures::All)?;
        Ok(Search {
            pattern: pattern.into(),
            program: Box::new(Program::new(&nfa)),
        })
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What it takes, in bytes: estimated from above, the same on every host.
    pub fn memory(&self) -> usize {
        REGEX_MEMORY + self.program.memory()
    }

    /// How many groups the pattern has: `\1` to `\groups` name them, `\0` is the whole match.
    pub fn groups(&self) -> usize {
        self.program.slots.saturating_sub(2) / 2
    }

    /// The input with every match replaced. Matches are those that the `regex` crate's iterator
    /// finds: from left to right, never overlapping, and an empty one never directly behind
    /// another. A group that took no part is empty.
    ///
    /// Past 64 KiB of growth, or the steps that all searches may take together, the rest of the
    /// input stays as it is.
    pub fn replace_all(&self, input: &[u8], substitution: &[SubstitutionPart]) -> Vec<u8> {
        self.replace_counted(input, substitution, &mut 0)
    }

    /// The same, and adds to the steps that it took.
    pub fn replace_counted(
        &self,
        input: &[u8],
        substitution: &[SubstitutionPart],
        steps: &mut usize,
    ) -> Vec<u8> {
        let Some(mut searches) = Searches::new(&self.program, input) else {
            return input.to_vec();
        };
        let mut replaced = Vec::with_capacity(input.len());
        let (mut from, mut copied) = (0, 0);
        while let Some((start, end)) = searches.next(from) {
            if start == end && end == copied && copied > 0 {
                from = end + 1;
                continue;
            }
            let before = replaced.len();
            replaced.extend_from_slice(input.get(copied..start).unwrap_or_default());
            for part in substitution {
                replaced.extend_from_slice(match part {
                    SubstitutionPart::Text(text) => text,
                    SubstitutionPart::Group(number) => searches
                        .group(*number)
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
        *steps += searches.steps();
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
        .nfa_size_limit(Some(WORK_LIMIT))
        .which_captures(captures);
    let compiled = thompson::Compiler::new()
        .configure(config)
        .build_from_hir(hir);
    let too_large = || format!("compiles to more than {NFA_LIMIT} bytes");
    match compiled {
        Ok(nfa) if size(&nfa) > NFA_LIMIT => Err(too_large()),
        Ok(nfa) => Ok(nfa),
        Err(error) if error.size_limit().is_some() => Err(too_large()),
        Err(error) => Err(one_line(error)),
    }
}

/// The size of an NFA as it is in the module, whatever the host's pointers: what the proxy takes
/// `host-sim` takes too, and nothing else.
fn size(nfa: &NFA) -> usize {
    let states = nfa.states().iter().map(|state| {
        16 + match state {
            State::Sparse(sparse) => 8 * sparse.transitions.len(),
            State::Dense(_) => 4 * 256,
            State::Union { alternates } => 4 * alternates.len(),
            _ => 0,
        }
    });
    states.sum()
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

/// What every pattern takes, in bytes.
const REGEX_MEMORY: usize = 128;

/// The largest NFA of one pattern in bytes: eight thousand characters, or some thousand classes.
const NFA_LIMIT: usize = 128 * 1024;

/// The most bytes while it is compiled. They depend on the host's pointers, so it is so much that
/// [`NFA_LIMIT`] decides of every pattern that anybody would write.
const WORK_LIMIT: usize = 16 * NFA_LIMIT;

/// How many bytes longer than its input a replacement may get: as much as a proxy takes for all
/// headers.
const GROWTH_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::steps::Steps;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::RngSeed;
    use regex_automata::nfa::thompson::pikevm::PikeVM;
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

    /// Pieces of patterns that say much with few bytes.
    const PIECES: &[&str] = &[
        "a",
        "b",
        "ab",
        ".",
        "[ab]",
        "[^a]",
        "a|b",
        "",
        "a*",
        "a*?",
        "b+",
        "a??",
        "^",
        "$",
        r"\b",
        r"\B",
        "(?m:^)",
        "(?m:$)",
        "(?mR:^)",
        "(?mR:$)",
        r"\n",
        r"\r",
        r"\xff",
        "(a*)*",
        "(a|ab|b)*",
        "(?:a?b??)*",
        r"\b{start}",
        r"\b{end}",
        r"\b{start-half}",
        r"\b{end-half}",
        "a{2,3}",
        "(?s:.)",
    ];

    fn pattern() -> impl Strategy<Value = String> {
        let piece = select(PIECES).prop_map(str::to_owned);
        piece.prop_recursive(3, 12, 3, |inner| {
            let many = prop::collection::vec(inner.clone(), 1..4);
            let some = (
                inner,
                select(&["", "*", "+", "?", "*?", "{2}", "{0,2}?"][..]),
            );
            prop_oneof![
                many.clone().prop_map(|all| all.concat()),
                many.prop_map(|all| format!("({})", all.join("|"))),
                some.prop_map(|(one, times)| format!("({one}){times}")),
            ]
        })
    }

    fn input() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(select(&b"aaabb_\n\r \xff"[..]), 0..12)
    }

    /// The library's own engine.
    fn oracle(pattern: &str) -> PikeVM {
        PikeVM::builder()
            .build_from_nfa(compile(&parse(pattern, false).unwrap(), WhichCaptures::All).unwrap())
            .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 4_000,
            rng_seed: RngSeed::Fixed(0x0072_6567_6578),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn values_match_as_the_library_says(pattern in pattern(), value in input()) {
            let whole = format!(r"\A(?:{pattern})\z");
            let expected = oracle(&whole).is_match(&mut oracle(&whole).create_cache(), &value[..]);
            let regex = Regex::new(&pattern, false).unwrap();
            prop_assert!(regex.is_table());
            prop_assert_eq!(regex.matches_whole(&value), expected, "{} {:?}", pattern, value);
            let whole = parse(&whole, false).unwrap();
            let nfa = compile(&whole, WhichCaptures::None).unwrap();
            let program = Program::new(&nfa);
            let sets = Sets::new(&program).matches(&value, &mut Allowed::unbounded());
            prop_assert_eq!(sets, Some(expected), "{} {:?}", pattern, value);
        }

        #[test]
        fn matches_are_those_that_the_library_finds(pattern in pattern(), value in input()) {
            let pike = oracle(&pattern);
            let mut cache = pike.create_cache();
            let mut expected = Vec::new();
            let mut copied = 0;
            for found in pike.captures_iter(&mut cache, &value[..]) {
                let all = found.get_match().unwrap();
                expected.extend_from_slice(&value[copied..all.start()]);
                for group in 0..=2 {
                    expected.push(b'<');
                    let span = found.get_group(group);
                    expected.extend_from_slice(span.map_or(&[], |span| &value[span.range()]));
                }
                copied = all.end();
            }
            expected.extend_from_slice(&value[copied..]);
            let parts = (0..=2).flat_map(|group| {
                [SubstitutionPart::Text(b"<"[..].into()), SubstitutionPart::Group(group)]
            });
            let search = Search::new(&pattern).unwrap();
            let replaced = search.replace_all(&value, &parts.collect::<Vec<_>>());
            prop_assert_eq!(replaced, expected, "{} {:?}", pattern, value);
        }
    }

    #[test]
    fn ordinary_patterns_are_tables_and_others_are_bounded() {
        let bots = "(?i).*(bot|crawl|spider|slurp|curl|wget|python|scrapy|headless|phantom|java).*";
        for pattern in [
            bots,
            r".*/(en|de|fr|ko)/[a-z0-9-]+/WORD/[0-9]+\.(html|json)",
            r"(?i).*(union\s+select|<script|\.\./|/etc/passwd|sleep\s*\().*",
            r"(?i).*\b(bot|spider)\b.*",
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            r"/v[0-9]+/users/[^/]+/orders(/.*)?",
        ] {
            assert!(Regex::new(pattern, false).unwrap().is_table(), "{pattern}");
        }
        let regex = Regex::new("(?s).*a.{20}b", false).unwrap();
        assert!(!regex.is_table());
        let value = |length| [&b"a".repeat(length)[..], b"b"].concat();
        assert!(regex.matches_whole(&value(100_000)));
        // Ordinary values never use up what a request may take; the longest may.
        let steps = Steps::default();
        for _ in 0..10_000 {
            let matches = regex.matches_within(&value(2), &mut steps.allow());
            assert_eq!(matches, Some(false));
        }
        assert!(!steps.has_skipped());
        let before = steps.taken();
        for length in [200, 300, 8000] {
            let matches = regex.matches_within(&value(length), &mut steps.allow());
            assert_eq!(matches, (length < 8000).then_some(true), "{length}");
        }
        assert!(steps.has_skipped());
        assert!(
            steps.taken() - before < 600_000,
            "{}",
            steps.taken() - before
        );
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
        // The same on every host: 16 bytes for each character, and a few states around them.
        let literal = |length| Regex::new(&"a".repeat(length), false);
        assert!(literal(4_500).is_ok() && literal(8_100).is_ok());
        assert!(literal(8_192).is_err());
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
        let mut steps = 0;
        let replaced =
            Search::new("a.*z|a")
                .unwrap()
                .replace_counted(&input, &part("b"), &mut steps);
        // The first search tries the choice and `a`, at each byte behind it and at the end the
        // loop, `.` and `z`, and then the other `a` and the end of the match: more than it may.
        assert_eq!(steps, 10 * 1024 + 64);
        assert_eq!(replaced, input);
        // Each further search of a shorter input tries the choice, `a`, the other `a` and the end:
        // the loop failed there already.
        let input = &input[..3072];
        let allowed = 10 * 1024 + 64;
        let first = 2 + 3 * input.len() + 2;
        let matches = 1 + (allowed - first) / 4;
        steps = 0;
        let replaced =
            Search::new("a.*z|a")
                .unwrap()
                .replace_counted(input, &part("b"), &mut steps);
        assert_eq!(steps, allowed);
        assert_eq!(replaced[..matches], vec![b'b'; matches]);
        assert_eq!(replaced[matches..], input[matches..]);
        // A match whose length is bounded ends its search: nothing to bound.
        assert_eq!(
            Search::new("a")
                .unwrap()
                .replace_all(&[b'a'; 5 * 1024], &part("b")),
            [b'b'; 5 * 1024]
        );
        // Nor is there in a path that is no longer than paths are.
        for length in [256, 1024] {
            let mut steps = 0;
            let input = vec![b'a'; length];
            let search = Search::new("a.*z|a").unwrap();
            assert_eq!(
                search.replace_counted(&input, &part("b"), &mut steps),
                vec![b'b'; length]
            );
            assert!(steps <= 16 * length, "{steps} for {length}");
        }
        // A pattern of many states on a long path is more than may be remembered.
        let pattern = "(a|b){500}x";
        assert_eq!(
            Search::new(pattern).unwrap().replace_all(input, &part("b")),
            input
        );
    }
}
